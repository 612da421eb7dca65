public import SigstoreCrypto
public import SigstoreVerification
public import StrictJSON

/// A signature of git in CMS, as gitsign writes it, turned into a bundle.
///
/// What the signer's key has signed are the attributes, and one of them is the digest of the commit or tag. So the bundle's
/// artifact is the attributes, and that the digest is the object's is checked here, before anything else; and that the signature
/// is one by the certificate in it, so that what is damaged is never called another signer's. The log entry and the
/// timestamp stand beside the signature in attributes that are not signed; what they are worth, the verifier says.
public struct GitSignature: Sendable {
    /// The signature, of which nothing is believed yet.
    public let bundle: SigstoreBundle
    /// What is claimed of it: the signed attributes.
    public let claim: BundleClaim
    /// What names the signer's key, if there is no certificate; `nil` if there is one.
    public let keyIdentifier: [UInt8]?

    /// Whether there is no log entry with it although a certificate signed: gitsign's online mode keeps it in the log alone.
    public var isWithoutEntry: Bool { keyIdentifier == nil && bundle.logEntries.isEmpty }

    /// The type of the attribute with the log entry, as gitsign has it.
    static let logEntryAttribute = "1.3.6.1.4.1.57264.3.1"
    /// The type of the attribute with a timestamp over the signature (RFC 3161, appendix A).
    static let timestampAttribute = "1.2.840.113549.1.9.16.2.14"

    /// Reads a signature, and compares the digest in it with the object.
    /// - Parameters:
    ///   - pem: The whole block, `SIGNED MESSAGE`.
    ///   - payload: What was signed, byte for byte: the object without its signature.
    ///   - note: Is given what was read before anything of it is compared, so that it can be named if it does not hold.
    /// - Throws: `SigstoreError` with `malformed-pem` or `malformed-signed-data`, with `signed-data-mismatch` if it is over
    ///   another object, with `signed-data-signature` if it is not that of the certificate in it, or with
    ///   `malformed-git-signature`.
    public init(pem: [UInt8], payload: [UInt8], noting note: (SignedData) -> Void = { _ in }) throws(SigstoreError) {
        // git writes none, and a commit with one is another commit.
        guard !pem.contains(0x0d) else { throw Self.fault("its lines end with carriage returns") }
        let blocks = try PEM.blocks(in: pem, limit: 1)
        guard let block = blocks.first, block.label.utf8.elementsEqual("SIGNED MESSAGE".utf8) else {
            throw Self.fault("it is no PEM block SIGNED MESSAGE")
        }
        let signed = try SignedData(block.bytes, contentType: SignedData.plainContent)
        note(signed)
        guard signed.content == nil else {
            throw Self.fault("the content stands inside, expected a detached signature")
        }
        try signed.expectContent(payload)

        let keyMaterial: SigstoreBundle.KeyMaterial
        var certificate: Certificate?
        if signed.keyIdentifier != nil, signed.certificates.isEmpty {
            keyMaterial = .publicKey(hint: "")
        } else {
            let named = signed.certificates.filter(signed.names)
            guard named.count == 1, let signer = named.first else {
                throw Self.fault("it holds \(named.count) certificates of the signer that it names, expected one")
            }
            // First of all, whether it was made over this at all: by whom is asked later, and by another it is not damaged.
            try signed.verify(content: payload, by: signer)
            certificate = signer
            keyMaterial = .certificates([signer.der])
        }
        keyIdentifier = certificate == nil ? signed.keyIdentifier : nil

        let digest = try Digest.hash(signed.signedAttributes, signed.hash)
        var entry: TransparencyLogEntry?
        if let encoded = try signed.unsignedBytes(Self.logEntryAttribute) {
            var read = try TransparencyLogEntry(protobuf: encoded)
            if read.body.isEmpty { read.body = try Self.body(of: read, digest, signed.signature, certificate) }
            entry = read
        }
        let timestamp = try signed.unsignedAttribute(Self.timestampAttribute)
        let isProven = entry.map { $0.proof?.checkpoint != nil } ?? true
        bundle = SigstoreBundle(
            keyMaterial: keyMaterial,
            content: .messageSignature(.init(digest: digest, signature: signed.signature)),
            logEntries: entry.map { [$0] } ?? [], timestamps: timestamp.map { [$0] } ?? [],
            // Before checkpoints there was the promise alone.
            version: isProven ? .v03 : .v01)
        try bundle.validate()
        claim = .message(ArtifactBytes(signed.signedAttributes))
    }

    /// What is to be said if it does not hold for any key that may sign: it is another's, if the key that it names is.
    /// - Parameters:
    ///   - error: What was found.
    ///   - keys: The keys that may sign.
    public func explained(_ error: SigstoreError, keys: [PublicKey]) -> SigstoreError {
        guard [.invalidSignature, .logEntryMismatch].contains(error.code), let keyIdentifier, !keys.isEmpty,
            !keys.contains(where: { (try? $0.subjectKeyIdentifier()) == keyIdentifier })
        else { return error }
        return SigstoreError(
            .unknownGitKey,
            "it is signed by the key \(Hexadecimal.encode(keyIdentifier)), as it says, which is not among those that may sign"
        )
    }

    /// Writes a signature in the same form, with the log entry and the timestamp in it.
    /// - Parameters:
    ///   - bundle: The signature over the attributes of the draft, with at most one log entry and one timestamp.
    ///   - draft: What was signed.
    ///   - scheme: How.
    ///   - signer: Who signed.
    /// - Returns: The PEM block, as git keeps it.
    /// - Throws: `SigstoreError` with `malformed-git-signature` if there are more entries or timestamps than have a place, and
    ///   what `SignedDataDraft` throws.
    public static func pem(
        of bundle: SigstoreBundle, _ draft: SignedDataDraft, _ scheme: SignatureScheme,
        by signer: SignedDataDraft.Signer
    ) throws(SigstoreError) -> String {
        guard bundle.logEntries.count <= 1, bundle.timestamps.count <= 1 else {
            throw fault("it has a place for one log entry and one timestamp")
        }
        let signature = try bundle.signature()
        var unsigned: [(type: String, value: [UInt8])] = []
        if var entry = bundle.logEntries.first {
            let digest = try Digest.hash(draft.signedAttributes, draft.hash)
            // gitsign leaves out what follows from the rest, and makes it up itself when it reads.
            if case .certificate(let certificate) = signer,
                let body = try? body(of: entry, digest, signature, certificate), body == entry.body
            {
                entry.body = []
            }
            unsigned.append((logEntryAttribute, SignedDataDraft.octetString(entry.protobuf())))
        }
        if let timestamp = bundle.timestamps.first {
            unsigned.append((timestampAttribute, try TimestampToken(response: timestamp).der))
        }
        return PEM.encode(
            label: "SIGNED MESSAGE", try draft.serialized(signature, scheme, by: signer, unsigned: unsigned))
    }

    private static func fault(_ what: String) -> SigstoreError {
        SigstoreError(.malformedGitSignature, "git's signature is malformed: \(what)")
    }

    /// The log entry itself, which gitsign leaves out: it follows from what was signed.
    private static func body(
        of entry: TransparencyLogEntry, _ digest: Digest, _ signature: [UInt8], _ certificate: Certificate?
    ) throws(SigstoreError) -> [UInt8] {
        guard entry.kind.utf8.elementsEqual("hashedrekord".utf8), entry.kindVersion.utf8.elementsEqual("0.0.1".utf8),
            let certificate
        else {
            throw fault(
                "its log entry of kind \(entry.kind) \(entry.kindVersion) does not hold the entry itself, which only "
                    + "hashedrekord 0.0.1 of a certificate can do without")
        }
        return JSONValue.object([
            "apiVersion": .string("0.0.1"), "kind": .string("hashedrekord"),
            "spec": .object([
                "data": .object([
                    "hash": .object(["algorithm": .string(digest.algorithm.rawValue), "value": .string(digest.hex)])
                ]),
                "signature": .object([
                    "content": .bytes(signature),
                    "publicKey": .object(["content": .bytes(Array(certificate.pem.utf8))]),
                ]),
            ]),
        ]).canonicalized()
    }
}

extension SigstoreError.Code {
    /// A signature of git is not of the form that gitsign writes.
    public static let malformedGitSignature = Self("malformed-git-signature")
    /// The key that is named as the signer's is not among those that may sign.
    public static let unknownGitKey = Self("unknown-git-key")
}
