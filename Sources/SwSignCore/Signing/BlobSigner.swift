internal import HTTPTransport
internal import LocalSystem
internal import SigstoreClients
public import SigstoreCrypto
public import SigstoreVerification
public import StrictJSON

/// Signs files: the digest of a file, streamed, goes in; a bundle and a detached signature come out.
public struct BlobSigner: Sendable {
    /// What is made of a signature.
    public enum Form: Hashable, Sendable {
        /// A Sigstore bundle, version 0.3, as cosign 3 writes it.
        case bundle
        /// The bare signature or envelope, as cosign 2 prints it: ECDSA over SHA-256 whatever the curve.
        case detached
    }

    /// A signed file.
    public struct SignedBlob: Sendable {
        /// The bundle.
        public let bundle: SigstoreBundle
        /// The detached signature, where it was asked for: DER for ECDSA, the bare bytes otherwise.
        public let detached: [UInt8]?
    }

    /// Who signs, and who is told of it.
    public let session: SigningSession

    /// Makes a signer.
    /// - Parameter session: Who signs, and who is told of it.
    public init(_ session: SigningSession) { self.session = session }

    /// Makes a signer with a key that tells nobody of its signatures.
    /// - Parameters:
    ///   - signer: The private key.
    ///   - algorithm: The algorithm for bundles where the key allows more than one (`ed25519-ph` for Ed25519 keys).
    /// - Throws: ``SigstoreError`` with ``SigstoreError/Code/unsupportedKey`` where the algorithm is not for this key.
    public init(signer: any Signer, algorithm: SigningAlgorithm? = nil) throws(SigstoreError) {
        self.init(try SigningSession(signatory: .key(signer, algorithm: algorithm)))
    }

    /// Signs a file, and checks what was signed before giving it back.
    /// - Parameters:
    ///   - artifact: The file, read once.
    ///   - forms: What is wanted. With services the signature is timestamped and recorded in either form.
    /// - Throws: ``SigstoreError`` where the file cannot be read, or pure Ed25519 would need more than 128 MiB of it,
    ///   and what ``SigningSession/sign(_:scheme:)`` throws.
    public func sign(_ artifact: some ArtifactSource, forms: Set<Form>) async throws(SigstoreError) -> SignedBlob {
        let kind = session.key?.publicKey.kind ?? .ecP256
        let detachedScheme = kind.detachedScheme(for: session.messageScheme)
        // One signature serves both forms where both are made in the same way, and the one that is asked for is the
        // one that is recorded.
        let scheme = forms.contains(.bundle) ? session.messageScheme : detachedScheme
        var schemes: Set<SignatureScheme> = [scheme]
        if forms.contains(.detached) { schemes.insert(detachedScheme) }
        let message = try await onBlockingThread { [schemes, session] () throws(SigstoreError) in
            try artifact.read(digests: session.digests, schemes: schemes)
        }
        let bundle = try await session.sign(message, scheme: scheme)
        var detached: [UInt8]?
        if forms.contains(.detached) {
            if scheme == detachedScheme {
                detached = try bundle.signature()
            } else if let signer = session.key {
                let signature = try await onBlockingThread { () throws(SigstoreError) in
                    try signer.sign(message, scheme: detachedScheme)
                }
                guard try signer.publicKey.verifies(signature, of: message, scheme: detachedScheme) else {
                    throw .signedWrongly
                }
                detached = signature
            }
        }
        return SignedBlob(bundle: bundle, detached: detached)
    }

    /// Signs a statement as a DSSE envelope, and checks the bundle before giving it back.
    /// - Parameters:
    ///   - statement: JSON in UTF-8, signed as it is.
    ///   - form: Whether the envelope goes into a bundle or stands by itself, which decides on the hash function and on
    ///     what is timestamped.
    public func attest(_ statement: [UInt8], form: Form = .bundle) async throws(SigstoreError) -> SigstoreBundle {
        let kind = session.key?.publicKey.kind ?? .ecP256
        let scheme = session.attestationScheme
        guard form == .detached else { return try await session.attest(statement, scheme: scheme) }
        return try await session.attest(
            statement, scheme: kind.detachedScheme(for: scheme), envelopeIsTimestamped: true)
    }
}

extension PublicKey.Kind {
    func allows(_ algorithm: SigningAlgorithm) -> Bool {
        switch (self, algorithm) {
        case (.ecP256, .ecdsaP256), (.ecP384, .ecdsaP384), (.ecP521, .ecdsaP521), (.ed25519, .ed25519),
            (.ed25519, .ed25519ph), (.rsa(2048), .rsa2048), (.rsa(3072), .rsa3072), (.rsa(4096), .rsa4096):
            true
        default: false
        }
    }

    /// cosign checks detached ECDSA signatures over SHA-256 whatever the curve.
    func detachedScheme(for scheme: SignatureScheme) -> SignatureScheme {
        switch self {
        case .ecP256, .ecP384, .ecP521: .ecdsa(.sha256)
        case .rsa, .ed25519: scheme
        }
    }
}

extension SigstoreError {
    static var signedWrongly: SigstoreError {
        SigstoreError(
            .cryptographyFailed, "the signature that was just made does not verify; nothing was written",
            advice: "the machine or the key may be faulty: try again, and do not trust this machine if it happens twice"
        )
    }
}
