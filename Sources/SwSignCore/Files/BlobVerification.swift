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
            do throws(RejectedBundle) { return try verify(oneOf: bundles, .message(file), policy) } catch {
                throw error.explained.concerning(file.name)
            }
        }
    }
}
