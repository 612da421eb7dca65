public import OCIRegistry
public import SigstoreCrypto
public import StrictJSON

/// What the tags of a repository, or the entries of a layout, point at: each digest once. Tags of signatures, attestations and
/// SBOMs are told from images by their names alone; a manifest says more (``isCarrier(_:)``).
public struct RepositoryWalk: Sendable {
    /// A digest, with the tags that point at it.
    public struct Entry: Sendable {
        /// The digest.
        public let digest: Digest
        /// Its tags in the order of the list; none for an entry of a layout without a tag.
        public fileprivate(set) var tags: [String]
    }

    /// The digests, in the order in which their first tag is listed.
    public private(set) var entries: [Entry] = []
    /// Tags that could not be asked for.
    public private(set) var unread: [(tag: String, error: SigstoreError)] = []
    /// Tags that are listed, and of which the store says that they are not there.
    public private(set) var gone: [String] = []
    /// How many tags are those of carriers.
    public private(set) var carriers = 0
    private var places: [Digest: Int] = [:]

    /// How many tags are asked for before the next ones are.
    private static let stride = 256

    /// Asks for the list of tags, and for what each of them points at.
    /// - Parameters:
    ///   - store: The repository or layout.
    ///   - tagPrefix: What stands before tags of the older scheme.
    /// - Throws: `SigstoreError` if there is no list of tags, or it could not be read: that is never "no images".
    public init(_ store: any ImageStore, tagPrefix: String = "") async throws(SigstoreError) {
        if let layout = store as? ImageLayout {
            for image in try layout.images() {
                if let tag = image.tag, Self.isCarrier(tag: tag, prefix: tagPrefix) {
                    carriers += 1
                } else {
                    add(image.digest, image.tag)
                }
            }
            return
        }
        guard let listed = try await store.tags() else {
            throw SigstoreError(
                .imageNotFound, "\(store.name) has no list of tags",
                advice: "check the name of the repository, and that these credentials may see it")
        }
        var seen: Set<String> = []
        let tags = listed.filter { tag in
            guard seen.insert(tag).inserted else { return false }
            guard Self.isCarrier(tag: tag, prefix: tagPrefix) else { return true }
            carriers += 1
            return false
        }
        var rest = tags[...]
        while !rest.isEmpty {
            let part = Array(rest.prefix(Self.stride))
            rest = rest.dropFirst(Self.stride)
            let found = try await concurrently(part) { tag throws(SigstoreError) -> Result<Digest?, SigstoreError> in
                do throws(SigstoreError) {
                    return .success(try await store.resolve(try ManifestSelector(tag: tag))?.digest)
                } catch { return .failure(error) }
            }
            for (tag, result) in zip(part, found) {
                switch result {
                case .success(let digest?): add(digest, tag)
                case .success(nil): gone.append(tag)
                case .failure(let error): unread.append((tag, error))
                }
            }
        }
    }

    private mutating func add(_ digest: Digest, _ tag: String?) {
        if let place = places[digest] {
            if let tag { entries[place].tags.append(tag) }
            return
        }
        places[digest] = entries.count
        entries.append(Entry(digest: digest, tags: tag.map { [$0] } ?? []))
    }

    /// Whether a tag has the form of those that carry what belongs to another digest: `sha256-<hex>` alone (a list of
    /// referrers), or with cosign's `.sig`, `.att`, `.sbom` or the announcement of a writer behind it.
    public static func isCarrier(tag: String, prefix: String = "") -> Bool {
        func hasForm(_ tag: Substring.UTF8View) -> Bool {
            func isHex(_ byte: UInt8) -> Bool { (0x30...0x39).contains(byte) || (0x61...0x66).contains(byte) }
            guard let hyphen = tag.firstIndex(of: 0x2d) else { return false }
            let algorithm = tag[..<hyphen]
            guard ["sha256", "sha384", "sha512"].contains(where: { $0.utf8.elementsEqual(algorithm) }) else {
                return false
            }
            let rest = tag[tag.index(after: hyphen)...]
            let hex = rest.prefix(while: isHex)
            guard hex.count >= 64 else { return false }
            let suffix = rest.dropFirst(hex.count)
            return suffix.isEmpty || suffix.first == 0x2e
        }
        let bytes = tag[...].utf8
        return hasForm(bytes)
            || !prefix.isEmpty && bytes.starts(with: prefix.utf8) && hasForm(bytes.dropFirst(prefix.utf8.count))
    }

    /// Whether a manifest carries what belongs to another digest: signatures or attestations, or an artifact that refers to
    /// something. An image that can be run is none, whatever it refers to.
    public static func isCarrier(_ manifest: Manifest) -> Bool {
        manifest.holdsSignatures || manifest.isArtifact && manifest.subject != nil
    }
}
