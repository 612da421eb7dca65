internal import COpenSSL
public import StrictJSON

extension SigstoreError.Code {
    /// Bytes that should be a timestamp are not one, or break a rule of RFC 3161 or DER.
    public static let malformedTimestamp = Self("malformed-timestamp")
    /// A timestamp authority's answer says that it did not make a timestamp.
    public static let timestampRefused = Self("timestamp-refused")
    /// A timestamp was made over other bytes.
    public static let timestampMismatch = Self("timestamp-mismatch")
    /// A timestamp was not made by the authority that is trusted.
    public static let timestampAuthority = Self("timestamp-authority")
    /// The signature on a timestamp does not hold.
    public static let timestampSignature = Self("timestamp-signature")
}

/// A timestamp (RFC 3161): an authority's signed statement that it saw some bytes at a time.
///
/// That it was read says nothing about whether it can be trusted: see ``verify(over:authority:intermediates:)``.
public struct TimestampToken: Sendable {
    /// Answers and tokens larger than this many bytes are refused.
    public static let sizeLimit = 65_536

    /// When the authority saw the bytes (`genTime`): seconds since 1970 in UTC, a fraction cut off.
    public let time: Int64
    /// The digest of the bytes that the authority saw.
    public let imprint: Digest
    /// The policy under which the authority made it, in dotted form.
    public let policy: String
    /// The timestamp's serial number: the octets of its INTEGER.
    public let serialNumber: [UInt8]
    /// The nonce of the request, where it had one: the octets of its INTEGER.
    public let nonce: [UInt8]?
    /// The certificates that the token carries. Nothing about them is trusted.
    public let certificates: [Certificate]

    /// The ContentInfo, byte for byte.
    private let contentInfo: [UInt8]
    private let signer: SignerInfo

    static let subject = DERSubject(code: .malformedTimestamp, name: "the timestamp")
    /// How many certificates a token may carry.
    static let certificateLimit = 16

    // MARK: - Reading

    /// Reads an authority's answer (TimeStampResp, RFC 3161, section 2.4.2), or a token without the answer around it.
    /// - Parameter response: DER, with nothing after it.
    /// - Throws: ``SigstoreError`` with ``SigstoreError/Code/malformedTimestamp``, or
    ///   ``SigstoreError/Code/timestampRefused`` where the answer's status is not `granted` or `grantedWithMods`.
    public init(response: [UInt8]) throws(SigstoreError) {
        typealias Tag = DERReader.Tag
        guard response.count <= Self.sizeLimit else {
            throw Self.subject.fault("it has more than \(Self.sizeLimit) bytes")
        }
        var outer = DERReader(response[...], of: Self.subject)
        let whole = try outer.read(Tag.sequence, "a timestamp")
        try outer.end()
        var reader = DERReader(whole.content, of: Self.subject)
        var token = whole
        if reader.nextTag == Tag.sequence {
            try Self.checkStatus(try reader.read(Tag.sequence, "the status"))
            token = try reader.read(Tag.sequence, "the token")
            try reader.end()
            reader = DERReader(token.content, of: Self.subject)
        }
        contentInfo = Array(token.encoded)

        // ContentInfo and SignedData (RFC 5652, sections 3 and 5.1).
        guard try reader.objectIdentifier("the content type") == Identifiers.signedData else {
            throw reader.fault("it is not signed data")
        }
        var wrapped = try reader.enter(Tag.constructed(0), "the signed data")
        try reader.end()
        var signedData = try wrapped.enter(Tag.sequence, "the signed data")
        try wrapped.end()
        guard (3...5).contains(try signedData.smallInteger("the version")) else {
            throw signedData.fault("its version is unknown")
        }
        _ = try signedData.read(Tag.set, "the digest algorithms")
        var content = try signedData.enter(Tag.sequence, "the content")
        guard try content.objectIdentifier("the content's type") == Identifiers.timestampInfo else {
            throw content.fault("what is signed is not a timestamp")
        }
        var explicit = try content.enter(Tag.constructed(0), "the content")
        try content.end()
        let info = try Info(try explicit.octetString("the content"))
        try explicit.end()

        var certificates: [Certificate] = []
        if var list = try signedData.enterIfPresent(Tag.constructed(0)) {
            while !list.isAtEnd {
                guard certificates.count < Self.certificateLimit else {
                    throw list.fault("it carries more than \(Self.certificateLimit) certificates")
                }
                certificates.append(try Certificate(der: Array(try list.read(Tag.sequence, "a certificate").encoded)))
            }
        }
        _ = try signedData.readIfPresent(Tag.constructed(1))
        var signers = try signedData.enter(Tag.set, "the signers")
        try signedData.end()
        signer = try SignerInfo(try signers.read(Tag.sequence, "a signer").content)
        guard signers.isAtEnd else { throw signers.fault("it has more than one signer") }

        time = info.time
        imprint = info.imprint
        policy = info.policy
        serialNumber = info.serialNumber
        nonce = info.nonce
        self.certificates = certificates
    }

    private static func checkStatus(_ element: DERElement) throws(SigstoreError) {
        typealias Tag = DERReader.Tag
        var reader = DERReader(element.content, of: subject)
        let status = try reader.smallInteger("the status")
        _ = try reader.readIfPresent(Tag.sequence)
        _ = try reader.readIfPresent(Tag.bitString)
        try reader.end()
        // 0 is granted, 1 is grantedWithMods.
        guard status <= 1 else {
            throw SigstoreError(
                .timestampRefused, "the timestamp authority made no timestamp: it answered with status \(status)")
        }
    }

    private enum Identifiers {
        static let signedData = ObjectIdentifier(arcs: [42, 840, 113549, 1, 7, 2])
        static let timestampInfo = ObjectIdentifier(arcs: [42, 840, 113549, 1, 9, 16, 1, 4])
        static let contentType = ObjectIdentifier(arcs: [42, 840, 113549, 1, 9, 3])
        static let messageDigest = ObjectIdentifier(arcs: [42, 840, 113549, 1, 9, 4])
        static let signingCertificate = ObjectIdentifier(arcs: [42, 840, 113549, 1, 9, 16, 2, 12])
        static let signingCertificateV2 = ObjectIdentifier(arcs: [42, 840, 113549, 1, 9, 16, 2, 47])
        static let rsa = ObjectIdentifier(arcs: [42, 840, 113549, 1, 1, 1])
        /// The hash functions, and the signature algorithms over each.
        static let hashes: [(hash: HashAlgorithm, digest: ObjectIdentifier, signatures: [ObjectIdentifier])] = [
            (.sha256, 1, 11, 2), (.sha384, 2, 12, 3), (.sha512, 3, 13, 4),
        ].map { (hash: HashAlgorithm, digest: UInt32, rsa: UInt32, ecdsa: UInt32) in
            (
                hash, ObjectIdentifier(arcs: [96, 840, 1, 101, 3, 4, 2, digest]),
                [
                    ObjectIdentifier(arcs: [42, 840, 113549, 1, 1, rsa]),
                    ObjectIdentifier(arcs: [42, 840, 10045, 4, 3, ecdsa]),
                ]
            )
        }

        static func hash(_ identifier: ObjectIdentifier, _ what: String) throws(SigstoreError) -> HashAlgorithm {
            guard let known = hashes.first(where: { $0.digest == identifier }) else {
                throw TimestampToken.subject.fault("\(what) is \(identifier), not SHA-256, SHA-384 or SHA-512")
            }
            return known.hash
        }
    }

    /// What the authority states: TSTInfo (RFC 3161, section 2.4.2).
    private struct Info {
        let policy: String
        let imprint: Digest
        let serialNumber: [UInt8]
        let time: Int64
        let nonce: [UInt8]?

        init(_ bytes: ArraySlice<UInt8>) throws(SigstoreError) {
            typealias Tag = DERReader.Tag
            var outer = DERReader(bytes, of: TimestampToken.subject)
            var reader = try outer.enter(Tag.sequence, "what is stated")
            try outer.end()
            guard try reader.smallInteger("the version") == 1 else { throw reader.fault("its version is not 1") }
            policy = try reader.objectIdentifier("the policy").description
            var imprint = try reader.enter(Tag.sequence, "the imprint")
            let hash = try Identifiers.hash(try imprint.plainAlgorithm("the imprint's hash"), "the imprint's hash")
            let hashed = Array(try imprint.octetString("the imprint"))
            try imprint.end()
            guard hashed.count == hash.byteCount else { throw reader.fault("the imprint's length is not its hash's") }
            self.imprint = try Digest(hash, bytes: hashed)
            serialNumber = Array(try reader.integer("the serial number"))
            let stated = try reader.read(Tag.generalizedTime, "the time")
            guard let time = CalendarTime.seconds(of: stated, allowingFraction: true) else {
                throw reader.fault("its time is not a date in UTC")
            }
            self.time = time
            _ = try reader.readIfPresent(Tag.sequence)  // accuracy
            if reader.nextTag == Tag.boolean { _ = try reader.boolean("the ordering") }
            nonce = reader.nextTag == Tag.integer ? Array(try reader.integer("the nonce")) : nil
            _ = try reader.readIfPresent(Tag.constructed(0))  // the authority's name: a hint
            if var list = try reader.enterIfPresent(Tag.constructed(1)) {
                while !list.isAtEnd {
                    var entry = try list.enter(Tag.sequence, "an extension")
                    let identifier = try entry.objectIdentifier("an extension")
                    if entry.nextTag == Tag.boolean, try entry.boolean("an extension's criticality") {
                        throw entry.fault("its critical extension \(identifier) is not understood")
                    }
                    _ = try entry.octetString("an extension's value")
                    try entry.end()
                }
            }
            try reader.end()
        }
    }

    /// How the token is signed: SignerInfo (RFC 5652, section 5.3).
    private struct SignerInfo {
        let issuer: [UInt8]
        let serialNumber: [UInt8]
        /// Every digest of the signer's certificate that is signed (RFC 5035): one, or an old and a new one.
        let certificateIDs: [CertificateID]

        init(_ bytes: ArraySlice<UInt8>) throws(SigstoreError) {
            typealias Tag = DERReader.Tag
            var reader = DERReader(bytes, of: TimestampToken.subject)
            guard try reader.smallInteger("the signer's version") == 1 else {
                throw reader.fault("the signer is not named by issuer and serial number")
            }
            var name = try reader.enter(Tag.sequence, "the signer's name")
            issuer = Array(try name.read(Tag.sequence, "the signer's issuer").encoded)
            serialNumber = Array(try name.integer("the signer's serial number"))
            try name.end()
            let digest = try reader.plainAlgorithm("the signer's hash")
            let hash = try Identifiers.hash(digest, "the signer's hash")
            let attributes = try reader.enter(Tag.constructed(0), "the signed attributes")
            certificateIDs = try Self.read(attributes, hash)
            var algorithm = try reader.enter(Tag.sequence, "the signature's algorithm")
            let signature = try algorithm.objectIdentifier("the signature's algorithm")
            let fitting = Identifiers.hashes.first { $0.hash == hash }?.signatures ?? []
            guard signature == Identifiers.rsa || fitting.contains(signature) else {
                throw reader.fault(
                    "its signature algorithm \(signature) is neither RSA nor ECDSA over \(hash.rawValue)")
            }
            _ = try reader.octetString("the signature")
            _ = try reader.readIfPresent(Tag.constructed(1))  // attributes that are not signed
            try reader.end()
        }

        private static func read(_ attributes: DERReader, _ hash: HashAlgorithm)
            throws(SigstoreError) -> [CertificateID]
        {
            typealias Tag = DERReader.Tag
            var attributes = attributes
            var values: [(type: ObjectIdentifier, value: DERElement)] = []
            func value(_ type: ObjectIdentifier) -> DERElement? { values.first { $0.type == type }?.value }
            while !attributes.isAtEnd {
                var attribute = try attributes.enter(Tag.sequence, "a signed attribute")
                let type = try attribute.objectIdentifier("a signed attribute")
                var set = try attribute.enter(Tag.set, "a signed attribute")
                try attribute.end()
                guard values.count < 32, value(type) == nil else {
                    throw attributes.fault("the signed attribute \(type) stands twice, or there are too many")
                }
                values.append((type: type, value: try set.next()))
                guard set.isAtEnd else { throw attributes.fault("the signed attribute \(type) has several values") }
            }
            guard
                value(Identifiers.contentType)?.encoded.elementsEqual(
                    DERWriter.element(Tag.objectIdentifier, Identifiers.timestampInfo.content)) == true
            else { throw attributes.fault("its signed content type is not that of a timestamp") }
            // OpenSSL compares the digest with the content.
            guard let digest = value(Identifiers.messageDigest), digest.tag == Tag.octetString,
                digest.content.count == hash.byteCount
            else { throw attributes.fault("the digest of its content is not signed") }
            var identifiers: [CertificateID] = []
            if let value = value(Identifiers.signingCertificateV2) {
                identifiers.append(try CertificateID(value, version: 2))
            }
            if let value = value(Identifiers.signingCertificate) {
                identifiers.append(try CertificateID(value, version: 1))
            }
            guard !identifiers.isEmpty else { throw attributes.fault("it does not sign which certificate signs it") }
            return identifiers
        }
    }

    /// The first ESSCertID (RFC 2634, section 5.4) or ESSCertIDv2 (RFC 5035): the signer's certificate.
    private struct CertificateID {
        /// The hash function; `nil` is SHA-1, which the first version is fixed to.
        let hash: HashAlgorithm?
        let digest: [UInt8]
        let issuerAndSerial: (issuer: [UInt8], serialNumber: [UInt8])?

        init(_ element: DERElement, version: Int) throws(SigstoreError) {
            typealias Tag = DERReader.Tag
            let what = "the signing certificate"
            guard element.tag == Tag.sequence else { throw TimestampToken.subject.fault("\(what) is not a SEQUENCE") }
            var outer = DERReader(element.content, of: TimestampToken.subject)
            var list = try outer.enter(Tag.sequence, what)
            var reader = try list.enter(Tag.sequence, what)
            if version == 1 {
                hash = nil
            } else if reader.nextTag == Tag.sequence {
                hash = try Identifiers.hash(try reader.plainAlgorithm("\(what)'s hash"), "\(what)'s hash")
            } else {
                hash = .sha256
            }
            digest = Array(try reader.octetString("\(what)'s digest"))
            if reader.isAtEnd {
                issuerAndSerial = nil
            } else {
                var pair = try reader.enter(Tag.sequence, what)
                var names = try pair.enter(Tag.sequence, what)
                var name = try names.enter(Tag.constructed(4), what)
                issuerAndSerial = (
                    Array(try name.read(Tag.sequence, what).encoded), Array(try pair.integer("\(what)'s serial number"))
                )
                try name.end()
                try names.end()
                try pair.end()
            }
            try reader.end()
        }

        func matches(_ certificate: Certificate) throws(SigstoreError) -> Bool {
            if let stated = issuerAndSerial,
                stated.issuer != certificate.issuer || stated.serialNumber != certificate.serialNumber
            {
                return false
            }
            if let hash { return try Digest.hash(certificate.der, hash).bytes == digest }
            return try TimestampToken.sha1(certificate.der) == digest
        }
    }

    /// SHA-1, for nothing but the first version's digest of a certificate that is trusted for other reasons.
    static func sha1(_ bytes: [UInt8]) throws(SigstoreError) -> [UInt8] {
        var digest = [UInt8](repeating: 0, count: 20)
        var length: UInt32 = 0
        guard unsafe EVP_Digest(bytes, bytes.count, &digest, &length, EVP_sha1(), nil) == 1, length == 20 else {
            throw opensslFailure("hashing a certificate")
        }
        return digest
    }

    // MARK: - Verifying

    /// Verifies that a trusted authority made this timestamp over these bytes.
    ///
    /// The certificate that is checked is the one that the token's signer names by issuer, serial number and digest;
    /// whatever else the token carries can at most be an intermediate of its path, if the authority lists none.
    /// - Parameters:
    ///   - signature: The bytes that were timestamped: in Sigstore, an artifact's signature.
    ///   - authority: The authority's certificates, its anchor last. Where its signing certificate is among them, only
    ///     that one may have signed; otherwise the token must carry one that leads to the anchor.
    ///   - intermediates: Other certificates that the path may go through; they need not be trusted. `nil` stands for the
    ///     authorities' certificates that the token carries, if `authority` has none but its anchor, and else for none.
    /// - Returns: The path from the signer's certificate to the anchor, valid at ``time``.
    /// - Throws: ``SigstoreError`` with ``SigstoreError/Code/timestampMismatch``,
    ///   ``SigstoreError/Code/timestampAuthority``, ``SigstoreError/Code/timestampSignature``, or a code of
    ///   ``CertificatePath``.
    @discardableResult
    public func verify(over signature: [UInt8], authority: [Certificate], intermediates: [Certificate]? = nil)
        throws(SigstoreError) -> [Certificate]
    {
        let digest = try Digest.hash(signature, imprint.algorithm)
        guard digest == imprint else {
            throw SigstoreError(
                .timestampMismatch,
                "the timestamp was made over other bytes: expected \(digest), it states \(imprint)")
        }
        guard let anchor = authority.last else {
            throw SigstoreError(.timestampAuthority, "no timestamp authority is given")
        }
        let leaves = authority.filter { !$0.isCA }
        guard leaves.count <= 1 else {
            throw SigstoreError(
                .timestampAuthority, "the timestamp authority has \(leaves.count) signing certificates, not one")
        }
        var signing: Certificate?
        for candidate in leaves + certificates where signing == nil {
            if try isSigner(candidate) { signing = candidate }
        }
        guard let signing else {
            throw SigstoreError(
                .timestampAuthority,
                "the timestamp was signed by serial number \(Hexadecimal.encode(signer.serialNumber)) of "
                    + "\(Certificate.text(ofName: signer.issuer)), whose certificate is neither in it nor trusted",
                advice: "check that the trusted root knows the timestamp authority that was used")
        }
        if let leaf = leaves.first, !leaf.equals(signing) {
            throw SigstoreError(
                .timestampAuthority,
                "the timestamp was signed with another certificate of \(signing.displayName) than the trusted one, "
                    + "serial number \(signing.serialNumberHex) where \(leaf.serialNumberHex) was expected",
                advice: "check that the trusted root knows the timestamp authority that was used")
        }
        // RFC 3161, section 2.4.1: with certificates come the signer's own. Another one in its place was changed.
        guard certificates.isEmpty || certificates.contains(where: { $0.equals(signing) }) else {
            throw SigstoreError(
                .timestampAuthority,
                "the timestamp carries certificates, and that of its signer, \(signing.displayName), is not among them",
                advice: "the timestamp was changed after it was made: get the file from its source again")
        }
        let listed = authority.dropLast().filter(\.isCA)
        let others = intermediates ?? (listed.isEmpty ? certificates.filter(\.isCA) : [])
        let path = try CertificatePath.build(
            leaf: signing, intermediates: listed + others, anchors: [anchor], at: time, purpose: .timestamping)
        try verifySignature(by: signing)
        return path
    }

    private func isSigner(_ certificate: Certificate) throws(SigstoreError) -> Bool {
        guard certificate.issuer == signer.issuer, certificate.serialNumber == signer.serialNumber else { return false }
        for identifier in signer.certificateIDs where try !identifier.matches(certificate) { return false }
        return true
    }

    /// Tokens whose signature held, with the certificate by which it did: a signer verifies a token when it comes, and again
    /// in the finished bundle.
    private static let held = BoundedCache<Void>(limit: 256)

    /// Has OpenSSL verify the signature over the signed attributes, and the content against their digest.
    private func verifySignature(by certificate: Certificate) throws(SigstoreError) {
        let name = try Digest.sha256(try Digest.sha256(contentInfo).bytes + certificate.fingerprint.bytes)
        try Self.held.answer(for: name) { () throws(SigstoreError) in try verifySignatureAnew(by: certificate) }
    }

    private func verifySignatureAnew(by certificate: Certificate) throws(SigstoreError) {
        let message = unsafe decode(contentInfo, { unsafe d2i_CMS_ContentInfo(nil, $0, $1) }, CMS_ContentInfo_free)
        defer { ERR_clear_error() }
        guard let message = unsafe message else { throw Self.subject.fault("OpenSSL cannot read it") }
        defer { unsafe CMS_ContentInfo_free(message) }
        // The stack borrows the certificate; only the stack itself is freed.
        guard let signers = unsafe OPENSSL_sk_new_null() else { throw opensslFailure("verifying a timestamp") }
        defer { unsafe OPENSSL_sk_free(signers) }
        guard unsafe OPENSSL_sk_push(signers, UnsafeRawPointer(certificate.pointer)) > 0 else {
            throw opensslFailure("verifying a timestamp")
        }
        // The path is verified already; certificates in the token are not to be looked at.
        let flags = UInt32(CMS_NO_SIGNER_CERT_VERIFY) | UInt32(CMS_NOINTERN) | UInt32(CMS_BINARY)
        guard unsafe CMS_verify(message, signers, nil, nil, nil, flags) == 1 else {
            throw SigstoreError(
                .timestampSignature, "the signature of \(certificate.displayName) on the timestamp does not hold")
        }
    }
}
