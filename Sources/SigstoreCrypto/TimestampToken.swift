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
    /// The nonce of the request, if it had one: the octets of its INTEGER.
    public let nonce: [UInt8]?
    /// The token itself in DER, without the answer around it.
    public let der: [UInt8]
    /// The certificates that the token carries. Nothing about them is trusted.
    public var certificates: [Certificate] { signed.certificates }

    /// The authority's statement, signed.
    private let signed: SignedData
    /// Every digest of the signer's certificate that is signed (RFC 5035): one, or an old and a new one.
    private let certificateIDs: [CertificateID]

    static let subject = DERSubject(code: .malformedTimestamp, name: "the timestamp")

    // MARK: - Reading

    /// Reads an authority's answer (TimeStampResp, RFC 3161, section 2.4.2), or a token without the answer around it.
    /// - Parameter response: DER, with nothing after it.
    /// - Throws: `SigstoreError` with `malformed-timestamp`, or `timestamp-refused` if the answer's status is not
    ///   `granted` or `grantedWithMods`.
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
        }
        der = Array(token.encoded)
        let signed = try SignedData(der, contentType: Identifiers.timestampInfo, of: Self.subject)
        guard let content = signed.content else { throw Self.subject.fault("it holds no statement") }
        let info = try Info(content[...])
        certificateIDs = try CertificateID.all(in: signed)
        self.signed = signed
        time = info.time
        imprint = info.imprint
        policy = info.policy
        serialNumber = info.serialNumber
        nonce = info.nonce
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
        static let timestampInfo = ObjectIdentifier(arcs: [42, 840, 113549, 1, 9, 16, 1, 4])
        static let signingCertificate = ObjectIdentifier(arcs: [42, 840, 113549, 1, 9, 16, 2, 12])
        static let signingCertificateV2 = ObjectIdentifier(arcs: [42, 840, 113549, 1, 9, 16, 2, 47])
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
            let hash = try HashAlgorithm(
                identifier: try imprint.plainAlgorithm("the imprint's hash"), of: TimestampToken.subject,
                "the imprint's hash")
            let hashed = Array(try imprint.octetString("the imprint"))
            try imprint.end()
            guard hashed.count == hash.byteCount else { throw reader.fault("the imprint's length is not its hash's") }
            self.imprint = try Digest(hash, bytes: hashed)
            serialNumber = Array(try reader.integer("the serial number"))
            let stated = try reader.read(Tag.generalizedTime, "the time")
            guard let time = stated.seconds(allowingFraction: true) else {
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

    /// The first ESSCertID (RFC 2634, section 5.4) or ESSCertIDv2 (RFC 5035): the signer's certificate.
    private struct CertificateID {
        /// The hash function; `nil` is SHA-1, which the first version is fixed to.
        let hash: HashAlgorithm?
        let digest: [UInt8]
        let issuerAndSerial: (issuer: [UInt8], serialNumber: [UInt8])?

        /// All that are signed; at least one must be.
        static func all(in signed: SignedData) throws(SigstoreError) -> [CertificateID] {
            var identifiers: [CertificateID] = []
            if let value = signed.attribute(Identifiers.signingCertificateV2) {
                identifiers.append(try CertificateID(value, version: 2))
            }
            if let value = signed.attribute(Identifiers.signingCertificate) {
                identifiers.append(try CertificateID(value, version: 1))
            }
            guard !identifiers.isEmpty else {
                throw TimestampToken.subject.fault("it does not sign which certificate signs it")
            }
            return identifiers
        }

        private init(_ element: DERElement, version: Int) throws(SigstoreError) {
            typealias Tag = DERReader.Tag
            let what = "the signing certificate"
            guard element.tag == Tag.sequence else { throw TimestampToken.subject.fault("\(what) is not a SEQUENCE") }
            var outer = DERReader(element.content, of: TimestampToken.subject)
            var list = try outer.enter(Tag.sequence, what)
            var reader = try list.enter(Tag.sequence, what)
            if version == 1 {
                hash = nil
            } else if reader.nextTag == Tag.sequence {
                hash = try HashAlgorithm(
                    identifier: try reader.plainAlgorithm("\(what)'s hash"), of: TimestampToken.subject,
                    "\(what)'s hash")
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
            return try Digest.sha1(certificate.der) == digest
        }
    }

    // MARK: - Verifying

    /// Verifies that a trusted authority made this timestamp over these bytes.
    ///
    /// The certificate that is checked is the one that the token's signer names by issuer, serial number and digest;
    /// whatever else the token carries can at most be an intermediate of its path, if the authority lists none.
    /// - Parameters:
    ///   - signature: The bytes that were timestamped: in Sigstore, an artifact's signature.
    ///   - authority: The authority's certificates, its anchor last. If its signing certificate is among them, only
    ///     that one may have signed; otherwise the token must carry one that leads to the anchor.
    ///   - intermediates: Other certificates that the path may go through; they need not be trusted. `nil` stands for the
    ///     authorities' certificates that the token carries, if `authority` has none but its anchor, and else for none.
    /// - Returns: The path from the signer's certificate to the anchor, valid at ``time``.
    /// - Throws: `SigstoreError` with `timestamp-mismatch`, `timestamp-authority`, `timestamp-signature`, or a code of
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
                "the timestamp was signed by serial number \(Hexadecimal.encode(signed.serialNumber)) of "
                    + "\(Certificate.text(ofName: signed.issuer)), whose certificate is neither in it nor trusted",
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

    /// Whether anything about this timestamp points to one of these certificates: the issuer of its signer's certificate
    /// is the subject or the issuer of one of them, or a certificate that it carries has the key of one of them. That
    /// proves nothing: it only says that ``verify(over:authority:intermediates:)`` can tell.
    public func mayBe(by authority: [Certificate]) -> Bool {
        authority.contains { known in
            known.subject == signed.issuer || known.issuer == signed.issuer
                || certificates.contains { $0.publicKey.spki == known.publicKey.spki }
        }
    }

    /// The name of who issued the signer's certificate, for people. It is text from outside.
    public var issuerName: String { Certificate.text(ofName: signed.issuer) }

    private func isSigner(_ certificate: Certificate) throws(SigstoreError) -> Bool {
        guard signed.names(certificate) else { return false }
        for identifier in certificateIDs where try !identifier.matches(certificate) { return false }
        return true
    }

    private func verifySignature(by certificate: Certificate) throws(SigstoreError) {
        do throws(SigstoreError) { try signed.verify(by: certificate) } catch {
            guard error.code == .signedDataSignature || error.code == .signedDataMismatch else { throw error }
            throw SigstoreError(
                .timestampSignature, "the signature of \(certificate.displayName) on the timestamp does not hold",
                cause: error)
        }
    }
}
