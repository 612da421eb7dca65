public import InToto
public import SigstoreCrypto
public import SigstoreVerification

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
        /// The bundle, where it was asked for.
        public let bundle: SigstoreBundle?
        /// The detached signature, where it was asked for: DER for ECDSA, the bare bytes otherwise.
        public let detached: [UInt8]?
    }

    private let signer: any Signer
    private let scheme: SignatureScheme
    private var detachedScheme: SignatureScheme { signer.publicKey.kind.detachedScheme(for: scheme) }

    /// Makes a signer.
    /// - Parameters:
    ///   - signer: The private key.
    ///   - algorithm: The algorithm for bundles where the key allows more than one (`ed25519-ph` for Ed25519 keys).
    /// - Throws: ``SigstoreError`` with ``SigstoreError/Code/unsupportedKey`` where the algorithm is not for this key.
    public init(signer: any Signer, algorithm: SigningAlgorithm? = nil) throws(SigstoreError) {
        self.signer = signer
        let key = signer.publicKey
        guard let algorithm else {
            scheme = key.defaultScheme
            return
        }
        guard key.kind.allows(algorithm) else {
            throw SigstoreError(
                .unsupportedKey, "the key is \(key.kind), which cannot sign with \(algorithm.rawValue)",
                advice: "leave --signing-algorithm out, or give the key that belongs to it")
        }
        scheme = algorithm.scheme
    }

    /// Signs a file, and checks what was signed before giving it back.
    /// - Parameters:
    ///   - artifact: The file, read once.
    ///   - forms: What is wanted.
    /// - Throws: ``SigstoreError`` where the file cannot be read, or pure Ed25519 would need more than 128 MiB of it.
    public func sign(_ artifact: some ArtifactSource, forms: Set<Form>) throws(SigstoreError) -> SignedBlob {
        var schemes: Set<SignatureScheme> = []
        if forms.contains(.bundle) { schemes.insert(scheme) }
        if forms.contains(.detached) { schemes.insert(detachedScheme) }
        let message = try artifact.read(digests: [], schemes: schemes)
        var bundle: SigstoreBundle?
        if forms.contains(.bundle) {
            let made = SigstoreBundle(
                keyMaterial: .publicKey(hint: try signer.publicKey.hint()),
                content: .messageSignature(
                    SigstoreBundle.MessageSignature(
                        digest: scheme.hash.flatMap { message.digest($0) },
                        signature: try signer.sign(message, scheme: scheme))))
            bundle = try verified(made, .message(ReadArtifact(message: message)))
        }
        var detached: [UInt8]?
        if forms.contains(.detached) {
            let signature = try signer.sign(message, scheme: detachedScheme)
            guard try signer.publicKey.verifies(signature, of: message, scheme: detachedScheme) else {
                throw .signedWrongly
            }
            detached = signature
        }
        return SignedBlob(bundle: bundle, detached: detached)
    }

    /// Signs a statement as a DSSE envelope, and checks the bundle before giving it back.
    /// - Parameters:
    ///   - statement: JSON in UTF-8, signed as it is.
    ///   - form: Whether the envelope goes into a bundle or stands by itself, which decides on the hash function.
    public func attest(_ statement: [UInt8], form: Form = .bundle) throws(SigstoreError) -> SigstoreBundle {
        let scheme = form == .bundle ? scheme : detachedScheme
        let encoding = DSSEEnvelope.preAuthenticationEncoding(payloadType: Statement.payloadType, payload: statement)
        let signature = try signer.sign(HashedMessage.of(encoding, schemes: [scheme]), scheme: scheme)
        let bundle = SigstoreBundle(
            keyMaterial: .publicKey(hint: try signer.publicKey.hint()),
            content: .dsse(
                DSSEEnvelope(
                    payloadType: Statement.payloadType, payload: statement,
                    signatures: [DSSEEnvelope.Signature(signature: signature)])))
        return try verified(bundle, .attestation(subject: nil, predicateType: nil))
    }

    /// A bundle that was read back from its JSON and passed the verifier.
    private func verified(_ bundle: SigstoreBundle, _ claim: VerificationPolicy.Claim) throws(SigstoreError)
        -> SigstoreBundle
    {
        let readBack = try SigstoreBundle(parsing: bundle.serialized())
        let policy = VerificationPolicy(
            signedBy: .key(signer.publicKey), claim: claim, transparencyLog: .insecurelyIgnored)
        do throws(RejectedBundle) { _ = try Verifier(trustedRoot: nil).verify(readBack, policy) } catch {
            throw SigstoreError.signedWrongly
        }
        return readBack
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
            advice: "the machine or the key may be faulty: try again, and do not trust this machine if it happens twice")
    }
}
