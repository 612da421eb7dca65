internal import LocalSystem
public import SigstoreVerification
public import StrictJSON

extension Verifier {
    /// Verifies a file with its signatures, of which one must hold. The file is streamed, and read on a thread of its own.
    /// - Parameters:
    ///   - file: The file.
    ///   - bundle: The file with its bundle, old or new. By default, the bundle that stands beside the file:
    ///     `FILE.sigstore.json`.
    ///   - policy: Who must have signed, and what must hold.
    /// - Returns: What is now known of the file.
    /// - Throws: `SigstoreError` that says what did not hold, or what could not be read.
    public func verify(_ file: InputFile, bundle: InputFile? = nil, _ policy: VerificationPolicy)
        async throws(SigstoreError) -> VerifiedBundle
    {
        try await onBlockingThread { () throws(SigstoreError) in
            let bundles =
                if let bundle { [try SignatureFile.bundle(bundle)] } else {
                    try SignatureFile.bundles(beside: file, attestation: false)
                }
            var failure: RejectedBundle?
            for bundle in bundles {
                do throws(RejectedBundle) { return try verify(bundle, .message(file), policy) } catch {
                    // The first signature's reason is told, unless a later one came further.
                    if failure.map({ $0.checks.count < error.checks.count }) ?? true { failure = error }
                }
            }
            throw failure?.explained.concerning(file.name)
                ?? SigstoreError(.noSignature, "there is no signature for \(file.name)")
        }
    }
}
