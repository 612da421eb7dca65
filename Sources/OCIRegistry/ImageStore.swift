public import HTTPTransport
public import LocalSystem
public import SigstoreCrypto
public import StrictJSON
import Synchronization

/// Where images and what is attached to them are kept: a repository of a registry, or an OCI image layout on disk.
///
/// Whatever is asked for by digest is checked against it here. `nil` and an empty list mean that the store answered
/// and has nothing; that it could not be asked is always an error.
public protocol ImageStore: Sendable {
    /// The store's name: the repository with its registry, or `oci-layout:PATH`.
    var name: String { get }

    /// What a tag points at now, or what a digest names.
    /// - Returns: Media type, digest and size; `nil` if the store has no such manifest.
    func resolve(_ selector: ManifestSelector) async throws(SigstoreError) -> Descriptor?

    /// A manifest of at most 4 MiB, its digest recomputed.
    /// - Returns: `nil` if the store has no such manifest.
    func manifest(_ selector: ManifestSelector) async throws(SigstoreError) -> Manifest?

    /// A blob, its digest and size checked, handed out piece by piece.
    /// - Parameters:
    ///   - descriptor: What to fetch.
    ///   - limit: The most bytes to accept; a larger size in the descriptor is refused before anything is fetched.
    ///   - sink: Takes the bytes. They are not to be trusted before this call has returned.
    /// - Throws: `SigstoreError` with `too-large`, `digest-mismatch`, `not-found`, or because the store cannot be read.
    func fetchBlob(_ descriptor: Descriptor, limit: Int64, into sink: any BodySink) async throws(SigstoreError)

    /// Whether the store has a blob of that digest and size.
    func hasBlob(_ descriptor: Descriptor) async throws(SigstoreError) -> Bool

    /// Stores a blob, unless it is there.
    func putBlob(_ blob: Blob) async throws(SigstoreError)

    /// The repository that other repositories of its registry can take blobs over from; `nil` if the store is in none.
    var mountableRepository: Repository? { get }

    /// Hands a blob out as something that can be stored elsewhere. A large one is in a file, never in memory as a whole.
    /// - Parameters:
    ///   - descriptor: The blob. What comes is checked against it.
    ///   - body: Is given the blob, which is valid until it returns.
    func withBlob(
        _ descriptor: Descriptor, _ body: (Blob) async throws(SigstoreError) -> Void
    ) async throws(SigstoreError)

    /// Copies a blob from another store, unless it is there. Within one registry it does not travel at all.
    /// - Parameters:
    ///   - descriptor: The blob. What comes is checked against it.
    ///   - source: Where the blob is.
    /// - Throws: `SigstoreError` if it cannot be fetched or stored, or is not what its digest says.
    func copyBlob(_ descriptor: Descriptor, from source: any ImageStore) async throws(SigstoreError)

    /// Stores a manifest whose blobs are there.
    /// - Parameters:
    ///   - manifest: What to store.
    ///   - tag: The tag to point at it; `nil` to store it by digest only.
    func putManifest(_ manifest: Manifest, tag: String?) async throws(SigstoreError)

    /// Asks ahead what ``putReferrer(_:announcedAs:)`` needs to know.
    /// - Parameter digest: The manifest that will be referred to.
    func prepareReferrer(of digest: Digest) async

    /// Stores a manifest that has a subject, so that ``referrers(of:artifactType:)`` lists it.
    /// - Parameters:
    ///   - manifest: What to store.
    ///   - name: The name for announcing it to other writers; see ``TagMerge/announcedAs``.
    /// - Throws: Also if the manifest is stored, but it cannot be made sure that it is listed.
    func putReferrer(_ manifest: Manifest, announcedAs name: String) async throws(SigstoreError)

    /// Stores manifests that have one subject, as ``putReferrer(_:announcedAs:)`` does, and changes their list once.
    func putReferrers(_ manifests: [Manifest]) async throws(SigstoreError)

    /// What refers to a manifest.
    /// - Parameters:
    ///   - digest: The manifest that is referred to; it need not exist.
    ///   - artifactType: Leaves out what is known to be of another type. What lists say is not always right: look
    ///     into the manifests.
    /// - Throws: `SigstoreError` if the list, or an entry of it, cannot be read.
    func referrers(of digest: Digest, artifactType: String?) async throws(SigstoreError) -> Referrers

    /// What refers to a manifest, as far as it can be read; ``Referrers/unread`` says what could not.
    /// - Parameter digest: The manifest that is referred to; it need not exist.
    func readableReferrers(of digest: Digest) async -> Referrers

    /// What refers to a manifest, for those who need one that suffices and not all: as ``readableReferrers(of:)``, but if
    /// the store has said that it has no list of its own for another manifest, it is not asked for this one's, and
    /// ``Referrers/leavesOutList`` is set.
    /// - Parameter digest: The manifest that is referred to; it need not exist.
    func likelyReferrers(of digest: Digest) async -> Referrers

    /// What the store's own list says of a manifest, for those who left it out. The source is ``Referrers/Source/list``,
    /// `nothing` if the store has no such list, or `notAnIndex`.
    /// - Parameter digest: The manifest that is referred to; it need not exist.
    func listedReferrers(of digest: Digest) async -> Referrers

    /// Changes what a tag points at together with writers who do the same at the same time; see ``TagMerge``.
    /// - Throws: `SigstoreError` with `contended` if it cannot be made sure that the entry is there.
    func merge(_ change: TagMerge) async throws(SigstoreError)

    /// All tags.
    /// - Returns: `nil` if the store answers that it has no such list. Many registries say so of a repository without any
    ///   tag.
    func tags() async throws(SigstoreError) -> [String]?

    /// Removes a tag, or a manifest with all its tags.
    /// - Returns: False if there was nothing to remove.
    /// - Throws: `SigstoreError` with `unsupported` if the store cannot remove a tag without its manifest.
    func delete(_ selector: ManifestSelector) async throws(SigstoreError) -> Bool

    /// Removes manifests that refer to another one, with all their tags, and takes them out of its list.
    /// - Parameters:
    ///   - referrers: The manifests to remove. The caller has seen that they refer to the subject.
    ///   - subject: What they refer to.
    /// - Throws: `SigstoreError` if one of them cannot be removed. The others are removed all the same.
    func deleteReferrers(_ referrers: Set<Digest>, of subject: Digest) async throws(SigstoreError)
}

extension ImageStore {
    public func putReferrers(_ manifests: [Manifest]) async throws(SigstoreError) {
        for manifest in manifests { try await putReferrer(manifest) }
    }

    /// Stores a manifest that has a subject, announced by its own digest; see ``putReferrer(_:announcedAs:)``.
    public func putReferrer(_ manifest: Manifest) async throws(SigstoreError) {
        try await putReferrer(manifest, announcedAs: String(manifest.digest.hex.prefix(32)))
    }

    public func prepareReferrer(of digest: Digest) async {}

    public func likelyReferrers(of digest: Digest) async -> Referrers { await readableReferrers(of: digest) }

    public func listedReferrers(of digest: Digest) async -> Referrers { await readableReferrers(of: digest) }

    /// A blob in memory, its digest and size checked.
    /// - Parameters:
    ///   - descriptor: What to fetch.
    ///   - limit: The most bytes to accept.
    public func blob(_ descriptor: Descriptor, limit: Int64) async throws(SigstoreError) -> [UInt8] {
        let sink = MemorySink()
        try await fetchBlob(descriptor, limit: limit, into: sink)
        return sink.bytes.withLock { $0 }
    }

    /// Points a tag at a manifest that holds nothing and that no other tag points at, so that it can be removed and
    /// nothing else goes.
    package func putEmptyManifest(at tag: String) async throws(SigstoreError) -> Manifest {
        let content = try Blob(Array("{}".utf8))
        try await putBlob(content)
        let empty = Descriptor(mediaType: MediaType.empty, digest: content.digest, size: content.size)
        let manifest = try ImageManifest(
            artifactType: MediaType.empty, config: empty, layers: [empty],
            annotations: ["org.opencontainers.image.ref.name": tag]
        ).encoded()
        try await putManifest(manifest, tag: tag)
        return manifest
    }
}

/// Runs requests side by side and gives the results in order. The client bounds how many run at once.
package func concurrently<Input: Sendable, Output: Sendable>(
    _ inputs: [Input], _ body: @escaping @Sendable (Input) async throws(SigstoreError) -> Output
) async throws(SigstoreError) -> [Output] {
    let results = await withTaskGroup(of: (Int, Result<Output, SigstoreError>).self) { group in
        for (index, input) in inputs.enumerated() {
            group.addTask {
                do throws(SigstoreError) { return (index, .success(try await body(input))) } catch {
                    return (index, .failure(error))
                }
            }
        }
        var results = [Result<Output, SigstoreError>?](repeating: nil, count: inputs.count)
        for await (index, result) in group { results[index] = result }
        return results
    }
    var outputs: [Output] = []
    for result in results { if let result { outputs.append(try result.get()) } }
    return outputs
}

/// Bytes to be stored under their digest.
public struct Blob: Sendable {
    /// The digest of the bytes.
    public let digest: Digest
    /// How many they are.
    public let size: Int64
    /// Where they come from.
    public let body: HTTPRequest.Body
    /// A repository of the same registry that has the blob: it need not be sent then.
    public var source: Repository?
    /// Whether no store can have it yet, so that none is asked: it was made a moment ago, and no two are the same.
    public var isNew = false

    /// Bytes in memory.
    /// - Throws: If hashing fails.
    public init(_ bytes: [UInt8]) throws(SigstoreError) {
        digest = try Digest.sha256(bytes)
        size = Int64(bytes.count)
        body = .bytes(bytes)
    }

    /// An open file, from its beginning.
    /// - Parameters:
    ///   - file: The file.
    ///   - digest: The digest of its content. The store checks it.
    ///   - size: The size of its content in bytes.
    public init(file: OpenFile, digest: Digest, size: Int64) {
        self.digest = digest
        self.size = size
        body = .file(file, offset: 0, count: size)
    }
}

/// What refers to a manifest, and who said so.
public struct Referrers: Sendable {
    /// How the list was found.
    public enum Source: Sendable, Hashable {
        /// The registry's referrers API, or the index of a layout.
        case list
        /// The fallback tag `sha256-<hex>`.
        case fallbackTag
        /// The registry has no referrers API, and nothing stands at the fallback tag.
        case nothing
        /// The registry answers with something that is no index, and so cannot be said to list nothing: what stands at
        /// the fallback tag is the subject itself, or the referrers API answers with a page and there is no such tag.
        case notAnIndex
    }
    /// The manifests that refer to it.
    public var descriptors: [Descriptor]
    /// How the list was found.
    public var source: Source
    /// What could not be read: more may refer to the manifest than is listed here.
    public var unread: [SigstoreError]
    /// Whether the store's own list was not asked for, because the store has said of another manifest that it has none: more
    /// may refer to this one.
    public var leavesOutList = false

    /// Makes a list.
    public init(_ descriptors: [Descriptor], source: Source, unread: [SigstoreError] = []) {
        self.descriptors = descriptors
        self.source = source
        self.unread = unread
    }

    /// The list, if all of it could be read.
    func whole() throws(SigstoreError) -> Referrers {
        if let error = unread.first { throw error }
        return self
    }
}

/// Keeps a body in memory.
final class MemorySink: BodySink {
    let bytes = Mutex<[UInt8]>([])
    func begin() throws(SigstoreError) { bytes.withLock { $0 = [] } }
    func receive(_ piece: UnsafeRawBufferPointer) throws(SigstoreError) {
        bytes.withLock { (bytes) in unsafe bytes.append(contentsOf: piece) }
    }
}

/// Writes a body into a file that gets its name later, or never.
final class FileSink: BodySink {
    let file: TemporaryFile
    init(_ file: TemporaryFile) { self.file = file }
    func begin() throws(SigstoreError) { try file.rewind() }
    func receive(_ bytes: UnsafeRawBufferPointer) throws(SigstoreError) { unsafe try file.write(bytes) }
}

/// Passes a body on, and checks its size and digest. Unchecked, because the sender of a body calls its sink from one
/// thread at a time, and `finish()` comes after the last of those calls.
final class VerifyingSink: BodySink, @unchecked Sendable {
    private let expected: Descriptor
    private let sink: any BodySink
    private var hasher: MessageHasher?
    private var size: Int64 = 0

    init(_ expected: Descriptor, _ sink: any BodySink) {
        self.expected = expected
        self.sink = sink
    }

    func begin() throws(SigstoreError) {
        hasher = try MessageHasher(digests: [expected.digest.algorithm])
        size = 0
        try sink.begin()
    }

    func receive(_ bytes: UnsafeRawBufferPointer) throws(SigstoreError) {
        size &+= Int64(bytes.count)
        guard size <= expected.size else { throw mismatch("more than \(expected.size) bytes came") }
        unsafe try hasher?.update(bytes)
        unsafe try sink.receive(bytes)
    }

    /// Checks what came. To be called once, after the last byte.
    func finish() throws(SigstoreError) {
        guard size == expected.size else { throw mismatch("\(size) bytes came in place of \(expected.size)") }
        guard let hasher = hasher.take() else { throw mismatch("nothing came") }
        guard try hasher.finish().digest(expected.digest.algorithm) == expected.digest else {
            throw mismatch("other content came")
        }
    }

    func mismatch(_ what: String) -> SigstoreError {
        SigstoreError(
            .digestMismatch, "\(expected.digest) is not what was asked for: \(what)",
            advice: "the store or something on the way to it is broken or lies; do not use what came")
    }
}

extension SigstoreError {
    static func blobTooLarge(_ descriptor: Descriptor, _ store: String, _ limit: Int64) -> SigstoreError {
        SigstoreError(
            .tooLarge, "\(descriptor.digest) in \(store) has \(descriptor.size) bytes, more than the \(limit) accepted",
            advice: .remedy(.allowLargerAttachments))
    }
    static func noSubject(_ manifest: Manifest) -> SigstoreError {
        SigstoreError(
            .malformedManifest, "the manifest \(manifest.digest) refers to nothing: it has no subject")
    }
}

extension SigstoreError.Code {
    /// The store has no such manifest or blob.
    public static let notFound = Self("not-found")
    /// What came is not what its digest or size says.
    public static let digestMismatch = Self("digest-mismatch")
    /// Others write to the same tag so often that it cannot be made sure that an entry is there.
    public static let contended = Self("contended")
    /// The registry or layout cannot do what is asked of it.
    public static let unsupported = Self("unsupported")
}

extension SigstoreError.Remedy {
    /// What is attached is larger than the limit.
    public static let allowLargerAttachments = Self("if-that-is-right-allow-larger-attachments")
}
