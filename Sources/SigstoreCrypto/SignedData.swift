internal import COpenSSL
public import StrictJSON

extension SigstoreError.Code {
    /// Bytes that should be CMS signed data are not, or break a rule of RFC 5652 or DER.
    public static let malformedSignedData = Self("malformed-signed-data")
    /// Signed data was made over other content.
    public static let signedDataMismatch = Self("signed-data-mismatch")
    /// The signature of signed data does not hold.
    public static let signedDataSignature = Self("signed-data-signature")
}

/// Content that one signer has signed (Cryptographic Message Syntax, RFC 5652, section 5). A timestamp is such, and so is
/// git's signature by an X.509 certificate.
///
/// The content is inside, or it is kept elsewhere ("detached") and only its digest is inside. What the signature is over are
/// the signed attributes: the content's type, its digest, and others. They must be there.
///
/// That it was read says nothing about whether it can be trusted: ``verify(content:by:)`` says whether the key of a
/// certificate has signed it, and ``CertificatePath`` whether the certificate is to be trusted.
public struct SignedData: Sendable {
    /// Signed data larger than this many bytes is refused.
    public static let sizeLimit = 65_536
    /// The type of content that is nothing but bytes, in dotted form (RFC 5652, section 4).
    public static let plainContent = "1.2.840.113549.1.7.1"

    /// The content; `nil` if it is kept elsewhere.
    public let content: [UInt8]?
    /// The certificates that came along. Nothing about them is trusted.
    public let certificates: [Certificate]
    /// The distinguished name, in DER, of the authority that issued the signer's certificate; empty if a key is named.
    public let issuer: [UInt8]
    /// The serial number of the signer's certificate: the octets of its INTEGER; empty if a key is named.
    public let serialNumber: [UInt8]
    /// What names the signer's key, if no certificate is named (section 5.3, `subjectKeyIdentifier`).
    public let keyIdentifier: [UInt8]?
    /// The hash function of the content's digest and of the signature.
    public let hash: HashAlgorithm

    /// How many certificates it may carry.
    static let certificateLimit = 16
    /// How many attributes may be signed.
    static let attributeLimit = 32

    private let attributes: [(type: ObjectIdentifier, value: DERElement)]
    private let contentDigest: [UInt8]
    /// What the signature is over: the signed attributes as a SET (section 5.4), byte for byte as they came but for the tag.
    public let signedAttributes: [UInt8]
    /// The signature: DER for ECDSA, the bare bytes for RSA.
    public let signature: [UInt8]
    private let isRSA: Bool
    private let unsigned: DERElement?
    /// What it is, for errors.
    private let subject: DERSubject

    // MARK: - Reading

    /// Reads signed data.
    /// - Parameters:
    ///   - der: The ContentInfo (section 3) in DER, with nothing after it.
    ///   - contentType: The type that the content must have, in dotted form, such as ``plainContent``.
    /// - Throws: `SigstoreError` with `malformed-signed-data`: also if there is not exactly one signer, or
    ///   if the hash function is not SHA-256, SHA-384 or SHA-512.
    public init(_ der: [UInt8], contentType: String) throws(SigstoreError) {
        let subject = DERSubject(code: .malformedSignedData, name: "the signed data")
        guard let type = ObjectIdentifier(dotted: contentType) else {
            throw SigstoreError(.malformedSignedData, "\"\(contentType)\" is not an object identifier in dotted form")
        }
        try self.init(der, contentType: type, of: subject)
    }

    /// Reads signed data that is part of something else.
    /// - Parameter subject: What it is called in errors, and their code.
    init(_ der: [UInt8], contentType: ObjectIdentifier, of subject: DERSubject) throws(SigstoreError) {
        typealias Tag = DERReader.Tag
        self.subject = subject
        guard der.count <= Self.sizeLimit else { throw subject.fault("it has more than \(Self.sizeLimit) bytes") }
        var outer = DERReader(der[...], of: subject)
        var info = try outer.enter(Tag.sequence, "the signed data")
        try outer.end()
        guard try info.objectIdentifier("the content type") == Identifiers.signedData else {
            throw info.fault("it is not signed data")
        }
        var wrapped = try info.enter(Tag.constructed(0), "the signed data")
        try info.end()
        var reader = try wrapped.enter(Tag.sequence, "the signed data")
        try wrapped.end()
        let version = try reader.smallInteger("the version")
        // Only plain content has version 1 (section 5.1).
        let isPlain = contentType == Identifiers.plainContent
        guard (3...5).contains(version) || version == 1 && isPlain else {
            throw reader.fault("its version is unknown")
        }
        var listed = try reader.enter(Tag.set, "the digest algorithms")
        var hashes: [ObjectIdentifier] = []
        while !listed.isAtEnd {
            guard hashes.count < Self.attributeLimit else { throw listed.fault("it lists too many digest algorithms") }
            hashes.append(try listed.plainAlgorithm("a digest algorithm"))
        }
        var encapsulated = try reader.enter(Tag.sequence, "the content")
        let type = try encapsulated.objectIdentifier("the content's type")
        guard type == contentType else {
            throw encapsulated.fault("its content is of the type \(type), expected \(contentType)")
        }
        if var explicit = try encapsulated.enterIfPresent(Tag.constructed(0)) {
            content = Array(try explicit.octetString("the content"))
            try explicit.end()
        } else {
            content = nil
        }
        try encapsulated.end()

        var certificates: [Certificate] = []
        if var list = try reader.enterIfPresent(Tag.constructed(0)) {
            while !list.isAtEnd {
                guard certificates.count < Self.certificateLimit else {
                    throw list.fault("it carries more than \(Self.certificateLimit) certificates")
                }
                certificates.append(try Certificate(der: Array(try list.read(Tag.sequence, "a certificate").encoded)))
            }
        }
        self.certificates = certificates
        _ = try reader.readIfPresent(Tag.constructed(1))  // revocation lists
        var signers = try reader.enter(Tag.set, "the signers")
        try reader.end()
        var signer = try signers.enter(Tag.sequence, "a signer")
        guard signers.isAtEnd else { throw signers.fault("it has more than one signer") }

        // SignerInfo (section 5.3).
        switch (try signer.smallInteger("the signer's version"), isPlain) {
        case (1, _):
            var name = try signer.enter(Tag.sequence, "the signer's name")
            issuer = Array(try name.read(Tag.sequence, "the signer's issuer").encoded)
            serialNumber = Array(try name.integer("the signer's serial number"))
            keyIdentifier = nil
            try name.end()
        case (3, true):
            let identifier = Array(try signer.read(Tag.primitive(0), "the signer's key identifier").content)
            guard (1...64).contains(identifier.count) else {
                throw signer.fault("the signer's key identifier has a wrong length")
            }
            (issuer, serialNumber, keyIdentifier) = ([], [], identifier)
        default: throw signer.fault("the signer is not named by issuer and serial number")
        }
        let identifier = try signer.plainAlgorithm("the signer's hash")
        let hash = try HashAlgorithm(identifier: identifier, of: subject, "the signer's hash")
        self.hash = hash
        // Section 5.1: what is not listed need not be accepted. It is not signed, so it must agree with what is.
        guard hashes.contains(identifier) else {
            throw signer.fault("the signer's hash, \(hash.rawValue), is not among its digest algorithms")
        }
        let attributes = try signer.read(Tag.constructed(0), "the signed attributes")
        signedAttributes = [Tag.set] + attributes.encoded.dropFirst()
        let values = try Self.values(of: attributes, subject)
        self.attributes = values
        var algorithm = try signer.enter(Tag.sequence, "the signature's algorithm")
        let scheme = try algorithm.objectIdentifier("the signature's algorithm")
        switch scheme {
        case Identifiers.rsa, Identifiers.rsaSignature(over: hash): isRSA = true
        case Identifiers.ecdsaSignature(over: hash): isRSA = false
        default:
            throw signer.fault("its signature algorithm \(scheme) is neither RSA nor ECDSA over \(hash.rawValue)")
        }
        signature = Array(try signer.octetString("the signature"))
        unsigned = try signer.readIfPresent(Tag.constructed(1))
        try signer.end()

        // Section 11: both attributes must be there.
        func value(_ type: ObjectIdentifier) -> DERElement? { values.first { $0.type == type }?.value }
        guard let stated = value(Identifiers.contentType), stated.tag == Tag.objectIdentifier,
            stated.content.elementsEqual(contentType.content)
        else { throw signer.fault("its signed content type is not \(contentType)") }
        guard let digest = value(Identifiers.messageDigest), digest.tag == Tag.octetString,
            digest.content.count == hash.byteCount
        else { throw signer.fault("the digest of its content is not signed") }
        contentDigest = Array(digest.content)
    }

    private static func values(of element: DERElement, _ subject: DERSubject, _ kind: String = "signed")
        throws(SigstoreError) -> [(type: ObjectIdentifier, value: DERElement)]
    {
        typealias Tag = DERReader.Tag
        let what = "an attribute of the signer"
        var reader = DERReader(element.content, of: subject)
        var values: [(type: ObjectIdentifier, value: DERElement)] = []
        while !reader.isAtEnd {
            var attribute = try reader.enter(Tag.sequence, what)
            let type = try attribute.objectIdentifier(what)
            var set = try attribute.enter(Tag.set, what)
            try attribute.end()
            guard values.count < attributeLimit, !values.contains(where: { $0.type == type }) else {
                throw reader.fault("the \(kind) attribute \(type) stands twice, or there are too many")
            }
            values.append((type: type, value: try set.next()))
            guard set.isAtEnd else { throw reader.fault("the \(kind) attribute \(type) has several values") }
        }
        return values
    }

    enum Identifiers {
        static let signedData = ObjectIdentifier(arcs: [42, 840, 113549, 1, 7, 2])
        static let plainContent = ObjectIdentifier(arcs: [42, 840, 113549, 1, 7, 1])
        static let contentType = ObjectIdentifier(arcs: [42, 840, 113549, 1, 9, 3])
        static let messageDigest = ObjectIdentifier(arcs: [42, 840, 113549, 1, 9, 4])
        static let signingTime = ObjectIdentifier(arcs: [42, 840, 113549, 1, 9, 5])
        static let rsa = ObjectIdentifier(arcs: [42, 840, 113549, 1, 1, 1])

        static func rsaSignature(over hash: HashAlgorithm) -> ObjectIdentifier {
            let arc: UInt32 =
                switch hash {
                case .sha256: 11
                case .sha384: 12
                case .sha512: 13
                }
            return ObjectIdentifier(arcs: [42, 840, 113549, 1, 1, arc])
        }
        static func ecdsaSignature(over hash: HashAlgorithm) -> ObjectIdentifier {
            let arc: UInt32 =
                switch hash {
                case .sha256: 2
                case .sha384: 3
                case .sha512: 4
                }
            return ObjectIdentifier(arcs: [42, 840, 10045, 4, 3, arc])
        }
    }

    /// The value of a signed attribute; `nil` if there is none of that type.
    func attribute(_ type: ObjectIdentifier) -> DERElement? { attributes.first { $0.type == type }?.value }

    /// The value of an attribute that is not signed, in DER: what others added, such as a timestamp.
    /// - Parameter type: Its type, in dotted form.
    /// - Returns: `nil` if there is none of that type.
    /// - Throws: `SigstoreError` with `malformed-signed-data`, also if any attribute stands twice or has several values.
    public func unsignedAttribute(_ type: String) throws(SigstoreError) -> [UInt8]? {
        guard let unsigned else { return nil }
        guard let type = ObjectIdentifier(dotted: type) else {
            throw SigstoreError(.malformedSignedData, "\"\(type)\" is not an object identifier in dotted form")
        }
        return try Self.values(of: unsigned, subject, "unsigned").first { $0.type == type }.map {
            Array($0.value.encoded)
        }
    }

    /// The bytes of an attribute that is not signed and is an OCTET STRING.
    /// - Parameter type: Its type, in dotted form.
    /// - Returns: `nil` if there is none of that type.
    /// - Throws: `SigstoreError` with `malformed-signed-data`.
    public func unsignedBytes(_ type: String) throws(SigstoreError) -> [UInt8]? {
        guard let value = try unsignedAttribute(type) else { return nil }
        var reader = DERReader(value[...], of: subject)
        let bytes = Array(try reader.octetString("the unsigned attribute \(type)"))
        try reader.end()
        return bytes
    }

    // MARK: - Verifying

    /// Whether the signer is named as the holder of this certificate, by issuer and serial number or by its key's identifier.
    /// That proves nothing: the signature does.
    public func names(_ certificate: Certificate) -> Bool {
        if let keyIdentifier { return certificate.subjectKeyIdentifier == keyIdentifier }
        return certificate.issuer == issuer && certificate.serialNumber == serialNumber
    }

    /// Compares the content with the digest that was signed. Whether the signature holds is not looked at.
    /// - Parameter given: The content, if it is kept elsewhere. If it is inside too, both must be the same.
    /// - Throws: `SigstoreError` with `signed-data-mismatch` if the signature was made over other content,
    ///   `malformed-signed-data` if there is no content.
    public func expectContent(_ given: [UInt8]? = nil) throws(SigstoreError) {
        guard let whole = given ?? content else {
            throw subject.fault("its content is kept elsewhere, and was not given")
        }
        let digest = try Digest.hash(whole, hash)
        guard content == nil || content == whole, digest.bytes == contentDigest else {
            throw SigstoreError(
                .signedDataMismatch,
                "\(subject.name) was made over other content: expected \(digest), "
                    + "it states \(hash.rawValue):\(Hexadecimal.encode(contentDigest))")
        }
    }

    /// Verifies that the key of this certificate has signed the content. Whether the certificate is to be trusted is not
    /// looked at.
    /// - Parameters:
    ///   - given: The content, if it is kept elsewhere. If it is inside too, both must be the same.
    ///   - certificate: The signer's certificate.
    /// - Throws: `SigstoreError` with `signed-data-mismatch` if the signature was made over other content,
    ///   `signed-data-signature` if it is not this certificate's or does not hold,
    ///   `malformed-signed-data` if there is no content.
    public func verify(content given: [UInt8]? = nil, by certificate: Certificate) throws(SigstoreError) {
        try expectContent(given)
        guard names(certificate) else {
            let signer =
                keyIdentifier.map { "the key \(Hexadecimal.encode($0))" }
                ?? "serial number \(Hexadecimal.encode(serialNumber)) of \(Certificate.text(ofName: issuer))"
            throw SigstoreError(
                .signedDataSignature,
                "\(subject.name) was signed by \(signer), and not by \(certificate.displayName)")
        }
        let attributes = try Digest.hash(signedAttributes, hash)
        let name = try Digest.sha256(
            attributes.bytes + (try Digest.sha256(signature).bytes) + certificate.fingerprint.bytes)
        try Self.held.answer(for: name) { () throws(SigstoreError) in
            let scheme: SignatureScheme = isRSA ? .rsaPKCS1(hash) : .ecdsa(hash)
            guard try certificate.publicKey.verifies(signature, of: attributes, scheme: scheme) else {
                throw SigstoreError(
                    .signedDataSignature,
                    "the signature of \(certificate.displayName) on \(subject.name) does not hold")
            }
        }
    }

    /// Signatures that held, with the certificate by which they did: a signer verifies a timestamp when it comes, and again
    /// in the finished bundle.
    private static let held = BoundedCache<Void>(limit: 256)
}

extension HashAlgorithm {
    /// Reads the identifier of a hash function (RFC 5754, section 2).
    /// - Throws: An error of the subject if it is none of these; SHA-1 and MD5 never are.
    init(identifier: ObjectIdentifier, of subject: DERSubject, _ what: String) throws(SigstoreError) {
        guard let found = [Self.sha256, .sha384, .sha512].first(where: { $0.identifier == identifier }) else {
            throw subject.fault("\(what) is \(identifier), not SHA-256, SHA-384 or SHA-512")
        }
        self = found
    }

    /// What names the hash function.
    var identifier: ObjectIdentifier {
        let arc: UInt32 =
            switch self {
            case .sha256: 1
            case .sha384: 2
            case .sha512: 3
            }
        return ObjectIdentifier(arcs: [96, 840, 1, 101, 3, 4, 2, arc])
    }
}

extension PublicKey {
    /// Whether a signature by this key over a digest holds. Unlike bundles, signed data may have any of the hash functions on
    /// any curve.
    /// - Parameter scheme: ECDSA or RSA PKCS#1; the digest must be by its hash function.
    fileprivate func verifies(_ signature: [UInt8], of digest: Digest, scheme: SignatureScheme) throws(SigstoreError)
        -> Bool
    {
        switch (kind, scheme) {
        case (.rsa, .rsaPKCS1), (.ecP256, .ecdsa), (.ecP384, .ecdsa), (.ecP521, .ecdsa): break
        default: return false
        }
        let context = try unsafe DigestSignatureContext(pointer, scheme, digest.algorithm, signing: false)
        let result = unsafe EVP_PKEY_verify(
            context.pointer, signature, signature.count, digest.bytes, digest.bytes.count)
        ERR_clear_error()
        return result == 1
    }
}
