internal import LocalSystem
internal import SigstoreCrypto
public import SigstoreVerification
public import StrictJSON

extension Verifier {
    /// Verifies a file with its signatures, of which one must hold. The file is streamed, and read on a thread of its own.
    /// - Parameters:
    ///   - file: The file.
    ///   - bundle: The file with its bundle, old or new, or with several, one a line. By default, what stands beside the
    ///     file: `FILE.sigstore.json`.
    ///   - policy: Who must have signed, and what must hold.
    /// - Returns: What is now known of the file.
    /// - Throws: `SigstoreError` that says what did not hold, or what could not be read.
    public func verify(_ file: InputFile, bundle: InputFile? = nil, _ policy: VerificationPolicy)
        async throws(SigstoreError) -> VerifiedBundle
    {
        try await onBlockingThread { () throws(SigstoreError) in
            let bundles =
                if let bundle { try SignatureFile.bundles(bundle) } else {
                    try SignatureFile.bundles(beside: file, attestation: false)
                }
            let claim = BundleClaim.message(file).readOnce(for: bundles, DemandedSigners(policy))
            do throws(RejectedBundle) { return try verify(oneOf: bundles, claim, policy) } catch {
                throw error.explained.concerning(file.name)
            }
        }
    }
}

extension BundleClaim {
    /// The same claim, whose file is read once for several bundles and keys, with all digests. Standard input, which cannot be
    /// read again, is read for all schemes of the keys too.
    /// - Parameters:
    ///   - bundles: The bundles.
    ///   - signers: Who must have signed.
    ///   - isLookedUp: Whether the file is read for a log entry before it is verified.
    public func readOnce(for bundles: [SigstoreBundle], _ signers: DemandedSigners, isLookedUp: Bool = false)
        -> BundleClaim
    {
        var keys = signers.keys
        // Most often there is one signature by one signer.
        guard bundles.count > 1 || !keys.isEmpty || isLookedUp else { return self }
        for bundle in bundles {
            guard case .certificates(let chain) = bundle.keyMaterial, let leaf = chain.first else { continue }
            if let certificate = try? Certificate(der: leaf) { keys.append(certificate.publicKey) }
        }
        // A digest in place of a file is what it is.
        let isForSeveral = bundles.count > 1 || keys.count > 1
        guard isForSeveral || isLookedUp, let file else { return self }
        return readOnce(
            digests: isForSeveral || file.isStandardInput ? Set(HashAlgorithm.allCases) : [],
            schemes: file.isStandardInput ? Set(keys.flatMap(\.schemes)) : [])
    }

    private var file: InputFile? {
        switch self {
        case .message(let file as InputFile), .attestation(.artifact(let file as InputFile, _)?, _): file
        default: nil
        }
    }
}
