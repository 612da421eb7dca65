public import SigstoreCrypto
public import StrictJSON

/// What a log entry says: a signature, who verifies it, and what it is over (Rekor's types `hashedrekord` 0.0.1 and
/// 0.0.2, `dsse` 0.0.1 and 0.0.2, `intoto` 0.0.1 and 0.0.2).
public struct LogEntryBody: Sendable {
    /// Who verifies a signature in a log.
    public enum Verifier: Sendable {
        /// A public key as DER SubjectPublicKeyInfo.
        case publicKey([UInt8])
        /// A certificate in DER.
        case certificate([UInt8])
    }

    /// One signature in an entry.
    public struct Signature: Sendable {
        /// The signature; absent in `intoto` 0.0.1, whose hash of the envelope covers it.
        public let signature: [UInt8]?
        /// Who verifies it.
        public let verifier: Verifier
    }

    /// What an entry is about.
    public enum Subject: Sendable {
        /// The digest of the file, or of an envelope's pre-authentication encoding.
        case message(Digest)
        /// The digest of an envelope's payload.
        case payload(Digest)
        /// The digests of an envelope as it was sent to the log, and of its payload.
        case envelope(Digest, payload: Digest)
    }

    /// The kind of entry.
    public let kind: String
    /// The version of that kind.
    public let kindVersion: String
    /// What the entry is about.
    public let subject: Subject
    /// The signatures; one in everything that Sigstore makes.
    public let signatures: [Signature]
    /// Whether only Rekor v2 has entries of this kind and version.
    public var isRekorV2: Bool {
        kindVersion.utf8.elementsEqual("0.0.2".utf8) && !kind.utf8.elementsEqual("intoto".utf8)
    }

    /// Reads the body of an entry.
    /// - Parameter body: Canonical JSON, as the log holds it.
    /// - Throws: `SigstoreError` with `unknown-entry-kind`, or naming the member that is wrong.
    public init(parsing body: [UInt8]) throws(SigstoreError) {
        let top = JSONCursor(try JSONValue(parsing: body, values: SigstoreBundle.valueLimit))
        try top.expectOnly(["apiVersion", "kind", "spec"])
        kind = try top.member("kind").string()
        kindVersion = try top.member("apiVersion").string()
        let spec = try top.member("spec")
        let known:
            (kind: String, version: String, read: (JSONCursor) throws(SigstoreError) -> (Subject, [Signature]))? =
                Self.readers.first { [kind, kindVersion] in
                    $0.kind.utf8.elementsEqual(kind.utf8) && $0.version.utf8.elementsEqual(kindVersion.utf8)
                }
        guard let known else {
            throw SigstoreError(.unknownEntryKind, "log entries of kind \(kind) \(kindVersion) are not known")
        }
        (subject, signatures) = try known.read(spec)
    }

    private static let readers:
        [(kind: String, version: String, read: @Sendable (JSONCursor) throws(SigstoreError) -> (Subject, [Signature]))] =
            [
                ("hashedrekord", "0.0.1", hashedrekord1), ("hashedrekord", "0.0.2", hashedrekord2),
                ("dsse", "0.0.1", dsse1), ("dsse", "0.0.2", dsse2), ("intoto", "0.0.1", intoto1),
                ("intoto", "0.0.2", intoto2),
            ]

    @Sendable private static func hashedrekord1(_ spec: JSONCursor) throws(SigstoreError) -> (Subject, [Signature]) {
        let signature = try spec.member("signature")
        return (
            .message(try digest1(try spec.member("data").member("hash"))),
            [
                Signature(
                    signature: try signature.member("content").bytes(),
                    verifier: try verifier(pem: try signature.member("publicKey").member("content")))
            ]
        )
    }

    @Sendable private static func hashedrekord2(_ spec: JSONCursor) throws(SigstoreError) -> (Subject, [Signature]) {
        let record = try spec.member("hashedRekordV002")
        return (.message(try digest2(try record.member("data"))), [try signature2(try record.member("signature"))])
    }

    @Sendable private static func dsse1(_ spec: JSONCursor) throws(SigstoreError) -> (Subject, [Signature]) {
        // The hash of the envelope depends on how it was written when it was logged; payload and signatures do not.
        var signatures: [Signature] = []
        for entry in try spec.member("signatures").elements() {
            signatures.append(
                Signature(
                    signature: try entry.member("signature").bytes(),
                    verifier: try verifier(pem: try entry.member("verifier"))))
        }
        return (.payload(try digest1(try spec.member("payloadHash"))), signatures)
    }

    @Sendable private static func dsse2(_ spec: JSONCursor) throws(SigstoreError) -> (Subject, [Signature]) {
        let record = try spec.member("dsseV002")
        var signatures: [Signature] = []
        for entry in try record.member("signatures").elements() { signatures.append(try signature2(entry)) }
        return (.payload(try digest2(try record.member("payloadHash"))), signatures)
    }

    @Sendable private static func intoto1(_ spec: JSONCursor) throws(SigstoreError) -> (Subject, [Signature]) {
        let content = try spec.member("content")
        return (
            .envelope(
                try digest1(try content.member("hash")), payload: try digest1(try content.member("payloadHash"))),
            [Signature(signature: nil, verifier: try verifier(pem: try spec.member("publicKey")))]
        )
    }

    @Sendable private static func intoto2(_ spec: JSONCursor) throws(SigstoreError) -> (Subject, [Signature]) {
        let content = try spec.member("content")
        var signatures: [Signature] = []
        for entry in try content.member("envelope").member("signatures").elements() {
            // Encoded twice: the envelope holds base64, and Rekor encodes that once more.
            let sig = try entry.member("sig")
            guard let signature = Base64.decode(try sig.bytes()) else { throw sig.fault("is not base64 of base64") }
            signatures.append(
                Signature(signature: signature, verifier: try verifier(pem: try entry.member("publicKey"))))
        }
        return (.payload(try digest1(try content.member("payloadHash"))), signatures)
    }

    /// A digest as Rekor v1 writes it: the algorithm's short name, and hexadecimal.
    private static func digest1(_ json: JSONCursor) throws(SigstoreError) -> Digest {
        let algorithm = try json.member("algorithm")
        let name = try algorithm.string()
        guard let known = HashAlgorithm.allCases.first(where: { $0.rawValue.utf8.elementsEqual(name.utf8) }) else {
            throw algorithm.fault("is \"\(name)\", not one of sha256, sha384 and sha512")
        }
        return try Digest(hex: try json.member("value").string(), known)
    }

    /// A digest as Rekor v2 writes it: protobuf's name of the algorithm, and base64.
    private static func digest2(_ json: JSONCursor) throws(SigstoreError) -> Digest {
        try Digest(
            try SigstoreBundle.MessageSignature.algorithm(named: try json.member("algorithm")),
            bytes: try json.member("digest").bytes())
    }

    private static func signature2(_ json: JSONCursor) throws(SigstoreError) -> Signature {
        let verifier = try json.member("verifier")
        let read: Verifier
        switch (try verifier.optional("publicKey"), try verifier.optional("x509Certificate")) {
        case (let key?, nil): read = .publicKey(try key.member("rawBytes").bytes())
        case (nil, let certificate?): read = .certificate(try certificate.member("rawBytes").bytes())
        default: throw verifier.fault("is not one public key or one certificate")
        }
        return Signature(signature: try json.member("content").bytes(), verifier: read)
    }

    /// A key or certificate as Rekor v1 writes it: base64 of PEM.
    private static func verifier(pem json: JSONCursor) throws(SigstoreError) -> Verifier {
        let blocks = try PEM.blocks(in: try json.bytes())
        guard blocks.count == 1, let block = blocks.first else {
            throw json.fault("holds \(blocks.count) PEM blocks where one is expected")
        }
        switch block.label {
        case "PUBLIC KEY", "RSA PUBLIC KEY": return .publicKey(try PublicKey(der: block.bytes).spki)
        case "CERTIFICATE": return .certificate(block.bytes)
        default: throw json.fault("is a \(block.label), not a public key or a certificate")
        }
    }
}

extension SigstoreError.Code {
    /// A log entry of a kind or version that is not known.
    public static let unknownEntryKind = Self("unknown-entry-kind")
}
