public import Provenance
public import SigstoreCrypto
public import SigstoreVerification
public import StrictJSON

/// A model whose signature and files were verified.
public struct VerifiedModel: Sendable {
    /// What the signature says of the files.
    public let manifest: ModelManifest
    /// The signature; if signers are counted, that of each.
    public let signatures: [VerifiedBundle]
    /// The signer's certificate, if an authority of one's own vouches for it.
    public let certificate: Certificate?
}

/// Verifies models: the signature first, and then the folder against what it says.
public struct ModelVerifier: Sendable {
    /// Who must have signed a model.
    public enum Signers: Sendable {
        /// Owners of keys, or of identities that Sigstore vouches for.
        case demanded(DemandedSigners)
        /// Every owner of a key for which one of these authorities has issued a certificate for signing.
        case certified(anchors: [Certificate], intermediates: [Certificate])
    }

    private let verifier: Verifier
    private let signers: Signers
    /// The time now, in seconds since 1970.
    private let now: @Sendable () -> Int64

    /// Makes a verifier.
    /// - Parameters:
    ///   - verifier: What verifies bundles.
    ///   - signers: Who must have signed. No log entry is demanded of an authority of one's own: there is none.
    ///   - now: The time now, in seconds since 1970.
    public init(_ verifier: Verifier, _ signers: Signers, now: @escaping @Sendable () -> Int64) {
        self.verifier = verifier
        self.signers = signers
        self.now = now
    }

    /// Verifies a model.
    /// - Parameters:
    ///   - folder: The model's folder.
    ///   - signature: Its signature.
    ///   - report: Called for each check of the signature as soon as it has held.
    /// - Throws: `SigstoreError` that says what does not hold, as `Verifier`, `ModelManifest` and `ModelFolder` do.
    public func verify(
        _ folder: ModelFolder, _ signature: ModelSignature, report: (@Sendable (VerificationCheck) -> Void)? = nil
    ) async throws(SigstoreError) -> VerifiedModel {
        let model = try verify(signature, report: report)
        try await folder.expect(model.manifest)
        return model
    }

    /// Verifies a model's signature, and nothing of its files.
    func verify(_ signature: ModelSignature, report: (@Sendable (VerificationCheck) -> Void)? = nil)
        throws(SigstoreError) -> VerifiedModel
    {
        let demanded: DemandedSigners
        var certificate: Certificate?
        switch signers {
        case .demanded(let signers):
            demanded = signers
            try signature.expectNoChain(keys: signers.keys)
            try Self.expectHint(of: signers.keys, signature)
        case .certified(let anchors, let intermediates):
            let leaf = try signature.signer(intermediates: intermediates, anchors: anchors, at: now())
            certificate = leaf
            demanded = DemandedSigners(
                VerificationPolicy(signedBy: .key(leaf.publicKey), transparencyLog: .insecurelyIgnored))
        }
        let claim = BundleClaim.attestation(subject: nil, predicateType: nil)
        let verified: [VerifiedBundle]
        do throws(RejectedBundle) {
            verified = try verifier.verify([signature.bundle], claim, demanded, report: report)
        } catch { throw error.explained }
        guard let statement = verified.first?.statement else {
            throw SigstoreError(.malformedModelSignature, "the signature holds no statement")
        }
        return VerifiedModel(
            manifest: try ModelManifest(statement), signatures: verified, certificate: certificate)
    }

    /// Refuses a signature whose hint is that of none of the keys.
    private static func expectHint(of keys: [PublicKey], _ signature: ModelSignature) throws(SigstoreError) {
        var refusal: SigstoreError?
        for key in keys {
            do throws(SigstoreError) { return try signature.expectHint(of: key) } catch { refusal = refusal ?? error }
        }
        if let refusal { throw refusal }
    }
}
