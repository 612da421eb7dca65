public import StrictJSON

/// Signed data that is being made, by one signer over content that is kept elsewhere (RFC 5652, section 5).
///
/// First there are the attributes, which are what the signer's key signs; then the signature, and with it the whole.
public struct SignedDataDraft: Sendable {
    /// What is to be signed: the attributes as a SET in DER (section 5.4).
    public let signedAttributes: [UInt8]
    /// The hash function of the content's digest and of the signature.
    public let hash: HashAlgorithm

    private typealias Tag = DERReader.Tag
    private typealias Identifiers = SignedData.Identifiers

    /// Makes the attributes: the content's type, the time, the content's digest.
    /// - Parameters:
    ///   - content: The content, which is plain bytes.
    ///   - hash: The hash function, also of the signature.
    ///   - time: The time that the signer says it is, in seconds since 1970. It proves nothing.
    /// - Throws: `SigstoreError` with `cryptography-failed`, or `malformed-signed-data` for a time outside the years 1950 to
    ///   9999.
    public init(content: [UInt8], hash: HashAlgorithm, time: Int64) throws(SigstoreError) {
        let attributes = [
            Self.attribute(Identifiers.contentType, Self.identifier(Identifiers.plainContent)),
            Self.attribute(Identifiers.signingTime, try Self.time(time)),
            Self.attribute(
                Identifiers.messageDigest, DERWriter.element(Tag.octetString, try Digest.hash(content, hash).bytes)),
        ]
        self.hash = hash
        signedAttributes = Self.set(of: attributes, tag: Tag.set)
    }

    /// How the signer is named.
    public enum Signer: Sendable {
        /// By issuer and serial number of this certificate, which goes in with it.
        case certificate(Certificate)
        /// By the identifier of this key; no certificate goes in.
        case key(PublicKey)
    }

    /// Puts the whole together.
    /// - Parameters:
    ///   - signature: The signature over ``signedAttributes``.
    ///   - scheme: How it was made: ECDSA or RSA PKCS#1 with ``hash``.
    ///   - signer: Who made it.
    ///   - unsigned: Attributes that are not signed: each a type in dotted form, and the value in DER.
    /// - Returns: The ContentInfo (section 3) in DER.
    /// - Throws: `SigstoreError` with `unsupported-key` for a signature of another kind, or `malformed-signed-data`.
    public func serialized(
        _ signature: [UInt8], _ scheme: SignatureScheme, by signer: Signer, unsigned: [(type: String, value: [UInt8])]
    ) throws(SigstoreError) -> [UInt8] {
        let digest = DERWriter.element(Tag.sequence, Self.identifier(hash.identifier))
        // Section 5.1: it is version 3 if a key is named, and else 1.
        let version: UInt8
        var certificates: [UInt8] = []
        let name: [UInt8]
        switch signer {
        case .certificate(let certificate):
            version = 1
            certificates = DERWriter.element(Tag.constructed(0), certificate.der)
            name = DERWriter.element(
                Tag.sequence, certificate.issuer + DERWriter.element(Tag.integer, certificate.serialNumber))
        case .key(let key):
            version = 3
            name = DERWriter.element(Tag.primitive(0), try key.subjectKeyIdentifier())
        }
        var others: [[UInt8]] = []
        for (type, value) in unsigned {
            guard let type = ObjectIdentifier(dotted: type) else {
                throw SigstoreError(.malformedSignedData, "\"\(type)\" is not an object identifier in dotted form")
            }
            others.append(Self.attribute(type, value))
        }
        let info =
            DERWriter.element(Tag.integer, [version]) + name + digest
            + DERWriter.element(Tag.constructed(0), try Self.content(of: signedAttributes))
            + (try algorithm(scheme)) + DERWriter.element(Tag.octetString, signature)
            + (others.isEmpty ? [] : Self.set(of: others, tag: Tag.constructed(1)))
        let signedData =
            DERWriter.element(Tag.integer, [version]) + DERWriter.element(Tag.set, digest)
            + DERWriter.element(Tag.sequence, Self.identifier(Identifiers.plainContent)) + certificates
            + DERWriter.element(Tag.set, DERWriter.element(Tag.sequence, info))
        let whole = DERWriter.element(
            Tag.sequence,
            Self.identifier(Identifiers.signedData)
                + DERWriter.element(Tag.constructed(0), DERWriter.element(Tag.sequence, signedData)))
        guard whole.count <= SignedData.sizeLimit else {
            throw SigstoreError(
                .malformedSignedData,
                "the signed data has \(whole.count) bytes, more than the \(SignedData.sizeLimit) that are read")
        }
        return whole
    }

    /// Whether signed data has a way to say that a signature was made so.
    public static func allows(_ scheme: SignatureScheme) -> Bool {
        switch scheme {
        case .ecdsa, .rsaPKCS1: true
        case .rsaPSS, .ed25519, .ed25519ph: false
        }
    }

    /// Bytes as an OCTET STRING in DER, for an attribute that holds such.
    public static func octetString(_ bytes: [UInt8]) -> [UInt8] { DERWriter.element(Tag.octetString, bytes) }

    private func algorithm(_ scheme: SignatureScheme) throws(SigstoreError) -> [UInt8] {
        switch scheme {
        case .ecdsa(hash):
            return DERWriter.element(Tag.sequence, Self.identifier(Identifiers.ecdsaSignature(over: hash)))
        // RFC 4055, section 5: the parameters are NULL.
        case .rsaPKCS1(hash):
            return DERWriter.element(Tag.sequence, Self.identifier(Identifiers.rsaSignature(over: hash)) + [5, 0])
        default:
            throw SigstoreError(
                .unsupportedKey, "signed data over \(hash.rawValue) has no place for a signature by \(scheme)",
                advice: "use an ECDSA or RSA key")
        }
    }

    private static func identifier(_ identifier: ObjectIdentifier) -> [UInt8] {
        DERWriter.element(Tag.objectIdentifier, identifier.content)
    }

    private static func attribute(_ type: ObjectIdentifier, _ value: [UInt8]) -> [UInt8] {
        DERWriter.element(Tag.sequence, identifier(type) + DERWriter.element(Tag.set, value))
    }

    /// X.690, section 11.6: what is in a set comes in the order of its bytes.
    private static func set(of elements: [[UInt8]], tag: UInt8) -> [UInt8] {
        DERWriter.element(tag, elements.sorted { $0.lexicographicallyPrecedes($1) }.flatMap(\.self))
    }

    /// What an element of our own making holds.
    private static func content(of element: [UInt8]) throws(SigstoreError) -> ArraySlice<UInt8> {
        var reader = DERReader(element[...], of: DERSubject(code: .malformedSignedData, name: "the signed data"))
        return try reader.next().content
    }

    /// Section 11.3: UTCTime until 2049, GeneralizedTime from then on.
    private static func time(_ seconds: Int64) throws(SigstoreError) -> [UInt8] {
        guard
            let first = Instant(year: 1950, month: 1, day: 1, hour: 0, minute: 0, second: 0)?.seconds,
            let later = Instant(year: 2050, month: 1, day: 1, hour: 0, minute: 0, second: 0)?.seconds,
            case let digits = Instant(seconds: seconds).description.utf8.filter({ (0x30...0x39).contains($0) }),
            seconds >= first, digits.count == 14
        else { throw SigstoreError(.malformedSignedData, "the time \(seconds) cannot be written") }
        return seconds < later
            ? DERWriter.element(Tag.utcTime, digits.dropFirst(2) + [0x5a])
            : DERWriter.element(Tag.generalizedTime, digits + [0x5a])
    }
}

extension PublicKey {
    /// What names the key where there is no certificate: SHA-1 of the key's bits (RFC 5280, section 4.2.1.2, the first way).
    /// - Throws: `SigstoreError` with `cryptography-failed`.
    public func subjectKeyIdentifier() throws(SigstoreError) -> [UInt8] {
        var outer = DERReader(spki[...], of: DERSubject(code: .malformedSignedData, name: "the public key"))
        var reader = try outer.enter(DERReader.Tag.sequence, "the public key")
        _ = try reader.read(DERReader.Tag.sequence, "the key's algorithm")
        let bits = try reader.read(DERReader.Tag.bitString, "the key's bits").content
        return try Digest.sha1(Array(bits.dropFirst()))
    }
}
