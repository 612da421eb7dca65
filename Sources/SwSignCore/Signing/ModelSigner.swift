internal import LocalSystem
public import Provenance
internal import SigstoreCrypto
public import SigstoreVerification
public import StrictJSON

/// Signs models as `model_signing` does, which verifies what is made here.
public struct ModelSigner: Sendable {
    private let session: SigningSession

    /// Makes a signer of models.
    /// - Parameter session: Who signs, and who is told of it.
    /// - Throws: `SigstoreError` with `unsupported-key` for a key that `model_signing` does not verify, and with `usage` if a key
    ///   signs and a log or a timestamp authority would be told: the form has no place for what they answer.
    public init(_ session: SigningSession) throws(SigstoreError) {
        self.session = session
        guard let key = session.key?.publicKey else { return }
        guard [.ecP256, .ecP384, .ecP521].contains(key.kind) else {
            throw SigstoreError(
                .unsupportedKey, "the key is \(key.kind), and models are signed with ECDSA on P-256, P-384 or P-521",
                advice: "use a key of that kind: no program verifies models by another")
        }
        guard !session.isLogged, !session.isTimestamped else {
            throw SigstoreError(
                .usage, "a model's signature by a key has no place for log entries and timestamps; nothing was signed",
                advice: "sign without a key for these, or name no log and no timestamp authority")
        }
    }

    /// Signs a model that was hashed.
    /// - Parameter manifest: Its files.
    /// - Returns: The signature, which our own verifier has accepted as it will stand in the file.
    /// - Throws: `SigstoreError` as ``SigningSession`` does.
    public func sign(_ manifest: ModelManifest) async throws(SigstoreError) -> SigstoreBundle {
        let bundle = try await session.attest(try manifest.statement())
        _ = try serialized(bundle)
        return bundle
    }

    /// The signature as it stands in a file.
    /// - Returns: JSON in UTF-8.
    /// - Throws: `SigstoreError` with `signed-wrongly` and the like if what stands there does not verify.
    public func serialized(_ bundle: SigstoreBundle) throws(SigstoreError) -> [UInt8] {
        let key = session.key?.publicKey
        let written = try ModelSignature.serialized(bundle, key: key, chain: session.certificates)
        let readBack = try ModelSignature(parsing: written)
        guard let key else {
            // The session has verified it by its identity, and it is written as it was read back there.
            guard readBack.chain == nil, try readBack.bundle.signature() == bundle.signature() else {
                throw SigstoreError.signedWrongly
            }
            return written
        }
        let policy = VerificationPolicy(signedBy: .key(key), transparencyLog: .insecurelyIgnored)
        let verifier = ModelVerifier(
            Verifier(trustedRoot: nil, now: { SystemClock.now() }), .demanded(DemandedSigners(policy)),
            now: { SystemClock.now() })
        _ = try verifier.verify(readBack)
        return written
    }
}
