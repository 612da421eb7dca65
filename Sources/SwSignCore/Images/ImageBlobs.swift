internal import HTTPTransport
internal import OCIRegistry
internal import SigstoreCrypto
internal import SigstoreVerification
public import StrictJSON
import Synchronization

/// What is kept in memory of one image's signatures while they are looked for: each blob once, and not too much in all.
struct ImageBlobs: Sendable {
    /// The most bytes that are kept for one image. A hundred signatures take less than one of them; this is for SBOMs
    /// and the like in attestations, and for an attacker who puts a hundred large layers beside an image.
    static let byteLimit: Int64 = 256 << 20

    /// The bytes.
    let budget: ByteBudget
    /// Layers of the older scheme as they are.
    let layers: KeptOnce<[UInt8]>
    /// Bundles, read.
    let bundles: KeptOnce<SigstoreBundle>

    /// - Parameters:
    ///   - image: The image.
    ///   - attachmentLimit: The most bytes of one blob. Who allows a larger one may have one, and what it is read into.
    init(_ image: Image, attachmentLimit: Int64) {
        let (two, overflows) = attachmentLimit.multipliedReportingOverflow(by: 2)
        budget = ByteBudget(limit: max(Self.byteLimit, overflows ? .max : two), name: image.name)
        layers = KeptOnce(image.signatureStore, attachmentLimit, budget) { $0 }
        bundles = KeptOnce(image.signatureStore, attachmentLimit, budget) { (json) throws(SigstoreError) in
            do throws(SigstoreError) { return try SigstoreBundle(parsing: json) } catch {
                throw SigstoreError(.unreadableSignature, error.message, cause: error)
            }
        }
    }
}

/// Counts the bytes that are kept.
final class ByteBudget: Sendable {
    private struct State: Sendable {
        var taken: Int64 = 0
        var refusal: SigstoreError?
    }
    private let state = Mutex(State())
    private let limit: Int64
    private let name: String

    init(limit: Int64, name: String) {
        self.limit = limit
        self.name = name
    }

    /// Why something was refused; `nil` if nothing was.
    var refusal: SigstoreError? { state.withLock { $0.refusal } }

    /// Counts what is about to be kept.
    func take(_ layer: Descriptor) throws(SigstoreError) {
        try state.withLock { (state) throws(SigstoreError) in
            let (sum, overflows) = state.taken.addingReportingOverflow(layer.size)
            guard !overflows, sum <= limit else {
                let error = SigstoreError(
                    .tooLarge,
                    "the signatures and attestations of \(name) take more than the \(limit) bytes that are kept for one image: \(state.taken), and \(layer.size) of \(layer.digest)",
                    advice: .remedy(.removeSignaturesOrAllowMore))
                state.refusal = state.refusal ?? error
                throw error
            }
            state.taken = sum
        }
    }
}

/// What stands in blobs, each fetched and kept once, however often it is named.
final class KeptOnce<Value: Sendable>: Sendable {
    private struct Key: Hashable {
        let digest: Digest
        let size: Int64
    }
    private typealias Fetching = Task<Result<Value, SigstoreError>, Never>
    private let tasks = Mutex<[Key: Fetching]>([:])
    private let store: any ImageStore
    private let limit: Int64
    private let budget: ByteBudget
    private let read: @Sendable ([UInt8]) throws(SigstoreError) -> Value

    init(
        _ store: any ImageStore, _ limit: Int64, _ budget: ByteBudget,
        _ read: @escaping @Sendable ([UInt8]) throws(SigstoreError) -> Value
    ) {
        self.store = store
        self.limit = limit
        self.budget = budget
        self.read = read
    }

    /// What stands in a blob.
    /// - Throws: `SigstoreError` with `too-large` if it, or all together, is larger than what is accepted, or because
    ///   it cannot be fetched or read.
    func value(_ layer: Descriptor) async throws(SigstoreError) -> Value {
        // What is too large by itself is refused before anything is fetched.
        guard layer.size <= limit else { return try read(try await store.blob(layer, limit: limit)) }
        let key = Key(digest: layer.digest, size: layer.size)
        let (store, limit, read) = (store, limit, read)
        let task = try tasks.withLock { (tasks) throws(SigstoreError) -> Fetching in
            if let task = tasks[key] { return task }
            try budget.take(layer)
            let task = Fetching {
                do throws(SigstoreError) {
                    return .success(try read(try await store.blob(layer, limit: limit)))
                } catch {
                    return .failure(error)
                }
            }
            tasks[key] = task
            return task
        }
        return try await task.value.get()
    }
}

extension SigstoreError.Remedy {
    /// The signatures and attestations of the image are larger than the limit.
    public static let removeSignaturesOrAllowMore = Self("remove-those-that-nobody-needs-or-allow-more")
}
