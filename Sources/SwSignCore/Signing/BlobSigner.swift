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
        /// The detached signature, if it was asked for: DER for ECDSA, the bare bytes otherwise.
        public let detached: [UInt8]?
        /// How the detached signature was made, if it is ECDSA over another hash than the SHA-256 that verifiers take for granted:
        /// some key services sign over nothing but their curve's own.
        public let unusualScheme: SignatureScheme?
    }

    /// Who signs, and who is told of it.
    public let session: SigningSession

    /// Makes a signer.
    /// - Parameter session: Who signs, and who is told of it.
    public init(_ session: SigningSession) { self.session = session }

    /// Makes a signer with a key, which tells no service of its signatures.
    /// - Parameters:
    ///   - signer: The private key.
    ///   - algorithm: The algorithm for bundles if the key allows more than one (`ed25519-ph` for Ed25519 keys).
    /// - Throws: `SigstoreError` with `unsupported-key` if the algorithm is not for this key.
    public init(signer: any Signer, algorithm: SigningAlgorithm? = nil) throws(SigstoreError) {
        self.init(try SigningSession(signatory: .key(signer, algorithm: algorithm)))
    }

    /// Signs a file, and checks what was signed before giving it back.
    /// - Parameters:
    ///   - artifact: The file, read once.
    ///   - forms: What is wanted. With services the signature is timestamped and recorded in either form.
    /// - Throws: `SigstoreError` if the file cannot be read, or pure Ed25519 would need more than 128 MiB of it, and
    ///   what ``SigningSession`` throws when it signs.
    public func sign(_ artifact: some ArtifactSource, forms: Set<Form>) async throws(SigstoreError) -> SignedBlob {
        let scheme = try scheme(ofFilesAs: forms)
        let detachedScheme = session.schemes.schemeBeside(scheme)
        var schemes: Set<SignatureScheme> = [scheme]
        if forms.contains(.detached) { schemes.insert(detachedScheme) }
        let message = try await session.read(artifact, schemes: schemes)
        var detached: [UInt8]?
        // A second signature comes first: if it cannot be made, nothing is recorded.
        if forms.contains(.detached), scheme != detachedScheme, let signer = session.key {
            detached = try await session.signature(over: message, by: signer, detachedScheme)
        }
        let bundle = try await session.sign(message, scheme: scheme)
        if forms.contains(.detached), scheme == detachedScheme { detached = try bundle.signature() }
        var unusual: SignatureScheme?
        if case .ecdsa(let hash) = detachedScheme, hash != .sha256, detached != nil { unusual = detachedScheme }
        return SignedBlob(bundle: bundle, detached: detached, unusualScheme: unusual)
    }

    /// Whether a bundle is what this would make of a file: by the same signer, in the same way, with what the services give,
    /// and it holds. If a detached signature is wanted too, it must be the bundle's own.
    /// - Parameters:
    ///   - bundle: A bundle, of which nothing is believed yet.
    ///   - artifact: The file, which is read once.
    ///   - forms: What is wanted.
    /// - Throws: `SigstoreError` if there is no identity token, or the file cannot be read.
    public func hasMade(_ bundle: SigstoreBundle, of artifact: some ArtifactSource, forms: Set<Form>)
        async throws(SigstoreError) -> Bool
    {
        let scheme = try scheme(ofFilesAs: forms)
        guard !forms.contains(.detached) || scheme == session.schemes.schemeBeside(scheme) else { return false }
        return try await session.hasMade(bundle, of: artifact, scheme: scheme)
    }

    /// Signs a statement as a DSSE envelope, and checks the bundle before giving it back.
    /// - Parameters:
    ///   - statement: JSON in UTF-8, signed as it is.
    ///   - form: Whether the envelope goes into a bundle or stands by itself, which decides on the hash function and on
    ///     what is timestamped.
    public func attest(_ statement: [UInt8], form: Form = .bundle) async throws(SigstoreError) -> SigstoreBundle {
        try await session.attest(
            statement, scheme: try scheme(ofStatementsAs: form), envelopeIsTimestamped: form == .detached)
    }

    /// One signature serves both forms if both are made in the same way, and the one that is asked for is the one that is
    /// recorded.
    private func scheme(ofFilesAs forms: Set<Form>) throws(SigstoreError) -> SignatureScheme {
        try session.schemes.scheme(for: forms.contains(.bundle) ? .file : .fileWithoutBundle)
    }

    private func scheme(ofStatementsAs form: Form) throws(SigstoreError) -> SignatureScheme {
        try session.schemes.scheme(for: form == .bundle ? .envelope : .envelopeWithoutBundle)
    }

    /// Refuses to sign files in a way that the logs would not record, before any service is asked.
    /// - Parameter forms: What is wanted of their signatures.
    /// - Throws: `SigstoreError` as ``SchemeChoice/scheme(for:)`` does.
    public func expectRecordable(filesAs forms: Set<Form>) throws(SigstoreError) {
        _ = try scheme(ofFilesAs: forms)
    }

    /// Refuses to sign statements in a way that the logs would not record, before any service is asked.
    /// - Parameter form: What is wanted of their signatures.
    /// - Throws: `SigstoreError` as ``SchemeChoice/scheme(for:)`` does.
    public func expectRecordable(statementsAs form: Form) throws(SigstoreError) {
        _ = try scheme(ofStatementsAs: form)
    }
}

extension BlobSigner {
    /// Signs a file and writes its bundle. If the bundle cannot be written, and the session keeps unfinished signatures, the
    /// next call writes it instead of signing again.
    /// - Parameters:
    ///   - file: The file, read once.
    ///   - path: Where the bundle goes; by default beside the file, as `FILE.sigstore.json`.
    ///   - replacing: Whether a file that stands there is replaced.
    /// - Returns: The bundle, which our own verifier has accepted.
    /// - Throws: `SigstoreError` with `file-exists`, or what signing throws.
    @discardableResult
    public func sign(_ file: InputFile, writingBundleTo path: String? = nil, replacing: Bool = false)
        async throws(SigstoreError) -> SigstoreBundle
    {
        let output = OutputFile(path ?? file.path + SignatureFile.bundleSuffix, mode: 0o644)
        try await onBlockingThread { () throws(SigstoreError) in
            guard replacing || !output.exists else { throw SigstoreError.exists(output.path) }
            try output.expectWritable()
        }
        let signed = try await sign(file, forms: [.bundle])
        try await session.deliver(signed.bundle) { bundle throws(SigstoreError) in
            try await onBlockingThread { () throws(SigstoreError) in
                try output.write(bundle.serialized(), replacing: replacing)
            }
        }
        return signed.bundle
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
}

extension SigstoreError {
    static var signedWrongly: SigstoreError {
        SigstoreError(
            .cryptographyFailed, "the signature that was just made does not verify; nothing was written",
            advice: "the machine or the key may be faulty: try again, and do not trust this machine if it happens twice"
        )
    }
}
