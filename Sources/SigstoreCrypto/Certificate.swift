internal import COpenSSL
public import StrictJSON

extension SigstoreError.Code {
    /// Bytes that should be an X.509 certificate are not one, or break a rule of DER.
    public static let malformedCertificate = Self("malformed-certificate")
}

/// An X.509 certificate (RFC 5280). That it was read says nothing about whether it can be trusted: see
/// ``CertificatePath``.
///
/// The fields are read by a strict reader of our own, from the very bytes that OpenSSL verifies signatures over.
@safe public final class Certificate: @unchecked Sendable {
    /// Certificates larger than this many bytes are refused.
    public static let sizeLimit = 65_536
    /// How many extensions a certificate may have.
    static let extensionLimit = 64

    /// What the key may be used for (RFC 5280, section 4.2.1.3).
    public struct KeyUsage: OptionSet, Sendable {
        /// The bits as in the standard: bit 0, `digitalSignature`, is 1.
        public let rawValue: UInt16
        /// Makes a set from its bits.
        public init(rawValue: UInt16) { self.rawValue = rawValue }
        /// `digitalSignature`, bit 0.
        public static let digitalSignature = KeyUsage(rawValue: 1 << 0)
        /// `nonRepudiation` (`contentCommitment`), bit 1.
        public static let nonRepudiation = KeyUsage(rawValue: 1 << 1)
        /// `keyCertSign`, bit 5.
        public static let certificateSigning = KeyUsage(rawValue: 1 << 5)
    }

    /// One extension as it stands in the certificate.
    struct Extension: Sendable {
        let identifier: ObjectIdentifier
        let isCritical: Bool
        let value: ArraySlice<UInt8>
        /// The whole Extension element.
        let encoded: ArraySlice<UInt8>
    }

    /// The certificate in DER, byte for byte as it was read.
    public let der: [UInt8]
    /// The SHA-256 of ``der``.
    public let fingerprint: Digest
    /// The key that the certificate is about.
    public let publicKey: PublicKey
    /// The first second at which the certificate is valid, since 1970 in UTC.
    public let notBefore: Int64
    /// The last second at which the certificate is valid, since 1970 in UTC.
    public let notAfter: Int64
    /// The subject's distinguished name in DER; an empty SEQUENCE in Fulcio's certificates.
    public let subject: [UInt8]
    /// The issuer's distinguished name in DER.
    public let issuer: [UInt8]
    /// The serial number's octets, as the INTEGER holds them.
    public let serialNumber: [UInt8]
    /// Every subject alternative name, in order; empty if there is no such extension.
    public let subjectAlternativeNames: [SubjectAlternativeName]
    /// Whether basicConstraints says that this is a certificate authority.
    public let isCA: Bool
    /// What the key may be used for; `nil` if there is no keyUsage extension.
    public let keyUsage: KeyUsage?
    /// The extended key usages in dotted form; `nil` if there is no such extension.
    public let extendedKeyUsage: [String]?

    let extensions: [Extension]

    private static let subject = DERSubject(code: .malformedCertificate, name: "the certificate")

    /// Reads a certificate.
    /// - Parameter der: The certificate in DER, with nothing after it.
    /// - Throws: `SigstoreError` with `malformed-certificate`, or `unsupported-key` if its key is of a kind that is not
    ///   used here.
    public init(der: [UInt8]) throws(SigstoreError) {
        try Libraries.ready()
        let fields = try Fields(der)
        let identified = try Identified(fields.extensions)

        fingerprint = try Digest.sha256(der)
        publicKey = try Self.publicKey(fields.spki, der, fingerprint)
        self.der = der
        serialNumber = fields.serialNumber
        issuer = fields.issuer
        subject = fields.subject
        notBefore = fields.notBefore
        notAfter = fields.notAfter
        extensions = fields.extensions
        subjectAlternativeNames = identified.subjectAlternativeNames
        isCA = identified.isCA
        keyUsage = identified.keyUsage
        extendedKeyUsage = identified.extendedKeyUsage
    }

    /// The keys of certificates that were read lately. Authorities' certificates, and a signer's, are read several times in a run.
    private static let keys = BoundedCache<PublicKey>(limit: 64)

    /// The key of a certificate. OpenSSL takes longer to read a certificate than anything else here, and for a key on one of the
    /// curves it does not have to: most certificates that are read lie on no path that is looked for.
    private static func publicKey(_ spki: [UInt8], _ der: [UInt8], _ fingerprint: Digest) throws(SigstoreError)
        -> PublicKey
    {
        try keys.answer(for: fingerprint) { () throws(SigstoreError) in
            do throws(SigstoreError) {
                if let key = unsafe PublicKey.decodePoint(spki) {
                    return try unsafe PublicKey(takingOwnershipOf: unsafe key, spki: spki)
                }
                let object = try x509(der, fingerprint, spki)
                guard let key = unsafe withExtendedLifetime(object, { unsafe X509_get_pubkey(object.pointer) }) else {
                    ERR_clear_error()
                    throw SigstoreError(
                        .unsupportedKey, "the certificate's public key is of a kind that is not supported")
                }
                return try unsafe PublicKey(takingOwnershipOf: unsafe key, spki: spki)
            } catch {
                throw error.code == .malformedKey ? subject.fault(error.message) : error
            }
        }
    }

    /// OpenSSL's own object for a certificate, never changed.
    @safe final class X509Reference: @unchecked Sendable {
        let pointer: OpaquePointer
        fileprivate init(takingOwnershipOf pointer: OpaquePointer) { unsafe self.pointer = unsafe pointer }
        deinit { unsafe X509_free(pointer) }
    }

    /// What OpenSSL made of those that were looked for on a path.
    private static let lately = BoundedCache<X509Reference>(limit: 64)

    /// What OpenSSL makes of this certificate.
    /// - Throws: `SigstoreError` with `malformed-certificate` if OpenSSL cannot read it, or reads another key in it.
    func x509() throws(SigstoreError) -> X509Reference { try Self.x509(der, fingerprint, publicKey.spki) }

    private static func x509(_ der: [UInt8], _ fingerprint: Digest, _ spki: [UInt8]) throws(SigstoreError)
        -> X509Reference
    {
        try lately.answer(for: fingerprint) { () throws(SigstoreError) in
            guard let new = unsafe decode(der, { unsafe d2i_X509(nil, $0, $1) }, X509_free) else {
                ERR_clear_error()
                throw subject.fault("OpenSSL cannot read it")
            }
            let reference = unsafe X509Reference(takingOwnershipOf: new)
            var encoded: UnsafeMutablePointer<UInt8>?
            let count = unsafe i2d_X509_PUBKEY(X509_get_X509_PUBKEY(new), &encoded)
            defer { unsafe CRYPTO_free(encoded, #file, #line) }
            // Of two readers that see different keys, one would be believed for what the other one has checked.
            guard count > 0, let start = unsafe encoded,
                unsafe UnsafeBufferPointer(start: start, count: Int(count)).elementsEqual(spki)
            else {
                ERR_clear_error()
                throw subject.fault("OpenSSL reads another public key in it")
            }
            return reference
        }
    }

    /// Reads the certificates of a PEM text, in order.
    /// - Parameter pem: Blocks `CERTIFICATE`; text between them is passed over.
    /// - Throws: `SigstoreError` with `malformed-pem`, or `malformed-certificate` if a block is something else, or
    ///   there is none.
    public static func chain(pem: [UInt8]) throws(SigstoreError) -> [Certificate] {
        var chain: [Certificate] = []
        for block in try PEM.blocks(in: pem) {
            guard block.label.utf8.elementsEqual("CERTIFICATE".utf8) else {
                throw SigstoreError(.malformedCertificate, "found a \(block.label) where a certificate should be")
            }
            chain.append(try Certificate(der: block.bytes))
        }
        guard !chain.isEmpty else {
            throw SigstoreError(.malformedCertificate, "there is no certificate in PEM")
        }
        return chain
    }

    /// The certificate as a PEM block `CERTIFICATE`.
    public var pem: String { PEM.encode(label: "CERTIFICATE", der) }

    /// Whether both are the same certificate, byte for byte.
    /// - Parameter other: Another certificate.
    public func equals(_ other: Certificate) -> Bool { der == other.der }

    /// Whether subject and issuer are the same name, as in a root.
    public var isSelfIssued: Bool { subject == issuer }

    /// The serial number in lower case hexadecimal.
    public var serialNumberHex: String { Hexadecimal.encode(serialNumber) }

    /// Whether the certificate is valid at a time, both ends included.
    /// - Parameter time: Seconds since 1970 in UTC.
    public func isValid(at time: Int64) -> Bool { notBefore <= time && time <= notAfter }

    /// The content octets of an extension.
    /// - Parameter oid: The extension's identifier in dotted form.
    /// - Returns: What its OCTET STRING holds, or `nil` if the certificate does not have it.
    public func extensionValue(oid: String) -> [UInt8]? {
        guard let identifier = ObjectIdentifier(dotted: oid) else { return nil }
        return extensions.first { $0.identifier == identifier }.map { Array($0.value) }
    }

    /// The text of one of Fulcio's extensions, 1.3.6.1.4.1.57264.1.N (Fulcio's `oid-info.md`): raw text for 1 to 6,
    /// a DER UTF8String from 8 on.
    /// - Parameter arc: N. 7 is not an extension but a kind of subject alternative name.
    /// - Returns: The text, or `nil` if the certificate does not have the extension.
    /// - Throws: `SigstoreError` with `malformed-certificate` if it is not UTF-8 in that form.
    public func fulcioExtension(_ arc: UInt32) throws(SigstoreError) -> String? {
        let identifier = ObjectIdentifier(arcs: Identifiers.fulcio + [arc])
        guard let found = extensions.first(where: { $0.identifier == identifier }) else { return nil }
        var content = found.value
        if arc > 6 {
            var reader = DERReader(found.value, of: Self.subject)
            content = try reader.read(DERReader.Tag.utf8String, "the extension \(identifier)").content
            try reader.end()
        }
        guard let text = String(validating: content, as: UTF8.self) else {
            throw Self.subject.fault("the extension \(identifier) is not UTF-8")
        }
        return text
    }

    /// The numbers N of Fulcio's extensions, 1.3.6.1.4.1.57264.1.N, that the certificate has, in order.
    public var fulcioExtensions: [UInt32] {
        let parent = ObjectIdentifier(arcs: Identifiers.fulcio).content
        return extensions.compactMap { found -> UInt32? in
            let content = found.identifier.content
            guard content.starts(with: parent) else { return nil }
            // One arc: every octet but the last has its highest bit. Five octets hold 32 bits.
            let arc = content.dropFirst(parent.count)
            guard (1...5).contains(arc.count), arc.dropLast().allSatisfy({ $0 >= 0x80 }) else { return nil }
            return UInt32(exactly: arc.reduce(UInt64(0)) { $0 << 7 | UInt64($1 & 0x7f) })
        }.sorted()
    }

    /// The key identifier that the certificate states (RFC 5280, section 4.2.1.2); `nil` if it states none.
    public var subjectKeyIdentifier: [UInt8]? {
        guard let value = extensions.first(where: { $0.identifier == Identifiers.subjectKeyIdentifier })?.value else {
            return nil
        }
        var reader = DERReader(value, of: Self.subject)
        return try? Array(reader.octetString("the key identifier"))
    }

    /// A name for people: the subject, or if that is empty the first subject alternative name, or the serial number.
    public var displayName: String {
        let name = Certificate.text(ofName: subject)
        if !name.isEmpty { return name }
        return subjectAlternativeNames.first?.text ?? "serial number \(serialNumberHex)"
    }

    /// The subject's organization, the first if there are several.
    public var organization: String? { Certificate.attributes(ofName: subject).first { $0.type == "2.5.4.10" }?.value }

    /// The subject's common name, the first if there are several.
    public var commonName: String? { Certificate.attributes(ofName: subject).first { $0.type == "2.5.4.3" }?.value }

    /// The issuer in words, as ``displayName`` says the subject.
    public var issuerName: String { Certificate.text(ofName: issuer) }

    /// A distinguished name as `O=sigstore.dev, CN=sigstore`, for people only.
    static func text(ofName name: [UInt8]) -> String {
        let labels: [String: String] = [
            "2.5.4.3": "CN", "2.5.4.6": "C", "2.5.4.7": "L", "2.5.4.8": "ST", "2.5.4.10": "O", "2.5.4.11": "OU",
        ]
        return attributes(ofName: name).map { "\(labels[$0.type] ?? $0.type)=\($0.value)" }.joined(separator: ", ")
    }

    /// The attributes of a distinguished name, as far as they can be read, at most 16.
    private static func attributes(ofName name: [UInt8]) -> [(type: String, value: String)] {
        var attributes: [(type: String, value: String)] = []
        var outer = DERReader(name[...], of: subject)
        guard var sets = try? outer.enter(DERReader.Tag.sequence, "a name") else { return [] }
        while !sets.isAtEnd, attributes.count < 16 {
            guard var set = try? sets.enter(DERReader.Tag.set, "a name"),
                var pair = try? set.enter(DERReader.Tag.sequence, "a name"),
                let type = try? pair.objectIdentifier("a name").description, let value = try? pair.next()
            else { return attributes }
            attributes.append((type: type, value: String(decoding: value.content, as: UTF8.self)))
        }
        return attributes
    }

    // MARK: - Reading

    enum Identifiers {
        static let fulcio: [UInt32] = [43, 6, 1, 4, 1, 57264, 1]
        static let subjectKeyIdentifier = ObjectIdentifier(arcs: [85, 29, 14])
        static let keyUsage = ObjectIdentifier(arcs: [85, 29, 15])
        static let subjectAlternativeName = ObjectIdentifier(arcs: [85, 29, 17])
        static let basicConstraints = ObjectIdentifier(arcs: [85, 29, 19])
        static let nameConstraints = ObjectIdentifier(arcs: [85, 29, 30])
        static let certificatePolicies = ObjectIdentifier(arcs: [85, 29, 32])
        static let authorityKeyIdentifier = ObjectIdentifier(arcs: [85, 29, 35])
        static let extendedKeyUsage = ObjectIdentifier(arcs: [85, 29, 37])
    }

    /// The fields of a TBSCertificate, in the order in which they stand.
    private struct Fields {
        let serialNumber: [UInt8]
        let issuer: [UInt8]
        let notBefore: Int64
        let notAfter: Int64
        let subject: [UInt8]
        let spki: [UInt8]
        let extensions: [Extension]

        init(_ der: [UInt8]) throws(SigstoreError) {
            guard der.count <= Certificate.sizeLimit else {
                throw Certificate.subject.fault("it has more than \(Certificate.sizeLimit) bytes")
            }
            typealias Tag = DERReader.Tag
            var outer = DERReader(der[...], of: Certificate.subject)
            var certificate = try outer.enter(Tag.sequence, "a certificate")
            try outer.end()
            var tbs = try certificate.enter(Tag.sequence, "the part that is signed")
            let algorithm = try certificate.read(Tag.sequence, "the signature's algorithm")
            _ = try certificate.read(Tag.bitString, "the signature")
            try certificate.end()

            var version: UInt8 = 0
            if tbs.nextTag == Tag.constructed(0) {
                var wrapped = try tbs.enter(Tag.constructed(0), "the version")
                version = try wrapped.smallInteger("the version")
                try wrapped.end()
                guard version == 1 || version == 2 else { throw tbs.fault("its version is not 1, 2 or 3") }
            }
            serialNumber = Array(try tbs.integer("the serial number"))
            let statedAlgorithm = try tbs.read(Tag.sequence, "the signature's algorithm")
            guard statedAlgorithm.encoded == algorithm.encoded else {
                throw tbs.fault("it states two different signature algorithms")
            }
            issuer = Array(try tbs.read(Tag.sequence, "the issuer").encoded)
            var validity = try tbs.enter(Tag.sequence, "the validity")
            notBefore = try validity.time("the beginning of its validity")
            notAfter = try validity.time("the end of its validity")
            try validity.end()
            subject = Array(try tbs.read(Tag.sequence, "the subject").encoded)
            spki = Array(try tbs.read(Tag.sequence, "the public key").encoded)
            if version >= 1 {
                _ = try tbs.readIfPresent(Tag.primitive(1))
                _ = try tbs.readIfPresent(Tag.primitive(2))
            }
            var extensions: [Extension] = []
            if version == 2, tbs.nextTag == Tag.constructed(3) {
                var wrapped = try tbs.enter(Tag.constructed(3), "the extensions")
                var list = try wrapped.enter(Tag.sequence, "the extensions")
                try wrapped.end()
                repeat {
                    guard extensions.count < Certificate.extensionLimit else {
                        throw tbs.fault("it has more than \(Certificate.extensionLimit) extensions")
                    }
                    let element = try list.read(Tag.sequence, "an extension")
                    var reader = DERReader(element.content, of: Certificate.subject)
                    let identifier = try reader.objectIdentifier("an extension's identifier")
                    var isCritical = false
                    if reader.nextTag == Tag.boolean {
                        isCritical = try reader.boolean("an extension's criticality")
                        guard isCritical else { throw reader.fault("an extension states the default criticality") }
                    }
                    let value = try reader.octetString("an extension's value")
                    try reader.end()
                    guard !extensions.contains(where: { $0.identifier == identifier }) else {
                        throw tbs.fault("the extension \(identifier) stands in it twice")
                    }
                    extensions.append(
                        Extension(
                            identifier: identifier, isCritical: isCritical, value: value, encoded: element.encoded))
                } while !list.isAtEnd
            }
            self.extensions = extensions
            try tbs.end()
        }
    }

    /// What the extensions that we act on say.
    private struct Identified {
        var subjectAlternativeNames: [SubjectAlternativeName] = []
        var isCA = false
        var keyUsage: KeyUsage?
        var extendedKeyUsage: [String]?

        init(_ extensions: [Extension]) throws(SigstoreError) {
            typealias Tag = DERReader.Tag
            for found in extensions {
                var reader = DERReader(found.value, of: Certificate.subject)
                switch found.identifier {
                case Identifiers.subjectAlternativeName:
                    subjectAlternativeNames = try SubjectAlternativeName.read(found.value, of: Certificate.subject)
                case Identifiers.basicConstraints:
                    var constraints = try reader.enter(Tag.sequence, "the basic constraints")
                    try reader.end()
                    if constraints.nextTag == Tag.boolean { isCA = try constraints.boolean("the CA flag") }
                    if constraints.nextTag == Tag.integer { _ = try constraints.integer("the path length") }
                    try constraints.end()
                case Identifiers.keyUsage:
                    let bits = try reader.read(Tag.bitString, "the key usage").content
                    try reader.end()
                    guard let unused = bits.first, unused < 8, (2...3).contains(bits.count) else {
                        throw reader.fault("the key usage is not a BIT STRING of at most 16 bits")
                    }
                    // Bit 0 of the standard is the first octet's highest.
                    var usage: UInt16 = 0
                    for (index, octet) in bits.dropFirst().enumerated() {
                        for bit in 0..<8 where octet & (0x80 >> UInt8(bit)) != 0 {
                            usage |= 1 << UInt16(index * 8 + bit)
                        }
                    }
                    keyUsage = KeyUsage(rawValue: usage)
                case Identifiers.extendedKeyUsage:
                    var list = try reader.enter(Tag.sequence, "the extended key usage")
                    try reader.end()
                    var usages: [String] = []
                    repeat {
                        guard usages.count < 64 else { throw list.fault("more than 64 extended key usages") }
                        usages.append(try list.objectIdentifier("an extended key usage").description)
                    } while !list.isAtEnd
                    extendedKeyUsage = usages
                default: break
                }
            }
        }
    }
}
