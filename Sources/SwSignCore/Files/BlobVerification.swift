internal import LocalSystem
internal import SigstoreCrypto
public import SigstoreVerification
public import StrictJSON
import Synchronization

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
            let claim = BundleClaim.message(file).readOnce(for: bundles.count)
            do throws(RejectedBundle) { return try verify(oneOf: bundles, claim, policy) } catch {
                throw error.explained.concerning(file.name)
            }
        }
    }
}

extension BundleClaim {
    /// The same claim, whose file is read once for several bundles, of which one must hold.
    /// - Parameter count: How many bundles there are.
    public func readOnce(for count: Int) -> BundleClaim {
        guard count > 1 else { return self }
        switch self {
        case .message(let file as InputFile): return .message(FileReadOnce(file))
        case .attestation(.artifact(let file as InputFile), let type):
            return .attestation(subject: .artifact(FileReadOnce(file)), predicateType: type)
        default: return self
        }
    }
}

/// A file that several bundles may be for. It is read for the first of them with all digests, and again only if another
/// needs what these do not give.
private final class FileReadOnce: ArtifactSource {
    private let file: InputFile
    private let read = Mutex<(schemes: Set<SignatureScheme>, message: HashedMessage)?>(nil)

    init(_ file: InputFile) { self.file = file }

    func read(digests: Set<HashAlgorithm>, schemes: Set<SignatureScheme>) throws(SigstoreError) -> HashedMessage {
        try read.withLock { (read) throws(SigstoreError) in
            // What schemes need beside digests is what Ed25519 needs.
            let special = schemes.filter { $0.hash == nil || $0 == .ed25519ph }
            if let read, special.isSubset(of: read.schemes) { return read.message }
            guard read == nil || !file.isStandardInput else {
                throw SigstoreError(
                    .usage, "standard input can be read once only, and the bundles need it in different ways",
                    advice: .remedy(.nameFileOrOneBundle))
            }
            let wanted = special.union(read?.schemes ?? [.ed25519ph])
            let message = try file.read(digests: Set(HashAlgorithm.allCases), schemes: wanted)
            read = (wanted, message)
            return message
        }
    }
}

extension SigstoreError.Remedy {
    /// Standard input is read once only.
    public static let nameFileOrOneBundle = Self("name-the-file-or-give-one-bundle")
}
