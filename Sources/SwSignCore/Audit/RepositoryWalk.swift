public import OCIRegistry
public import SigstoreCrypto
public import StrictJSON

/// What the tags of a repository, or the entries of a layout, point at: each digest once. Tags of signatures, attestations and
/// SBOMs are told from images by their names alone; a manifest says more (`Manifest.isCarrier`).
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
                if let tag = image.tag, CarrierTag(tag, prefix: tagPrefix) != nil {
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
            guard CarrierTag(tag, prefix: tagPrefix) != nil else { return true }
            carriers += 1
            return false
        }
        try await inOrder(tags, width: Self.stride) { tag throws(SigstoreError) -> Digest? in
            try await store.resolve(try ManifestSelector(tag: tag))?.digest
        } take: { tag, result throws(SigstoreError) in
            switch result {
            case .success(let digest?): add(digest, tag)
            case .success(nil): gone.append(tag)
            case .failure(let error): unread.append((tag, error))
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
}

/// A tag that is named as those are which carry what belongs to another digest: `sha256-<hex>` alone (a list of referrers), or with
/// cosign's `.sig`, `.att`, `.sbom` or the announcement of a writer behind it. The name proves nothing.
struct CarrierTag: Sendable {
    /// The tag.
    let name: String
    /// What it belongs to; `nil` if the name holds only a part of the digest, as of a longer one than SHA-256.
    let subject: Digest?
    /// What stands behind the digest, with its dot.
    let suffix: String

    /// - Parameter prefix: What stands before cosign's tags, if anything does.
    /// - Returns: `nil` if the tag has another form.
    init?(_ tag: String, prefix: String) {
        let bytes = tag.utf8
        let bare = bytes.starts(with: prefix.utf8) ? bytes.dropFirst(prefix.utf8.count) : bytes[...]
        guard let hyphen = bare.firstIndex(of: 0x2d),
            let algorithm = HashAlgorithm(rawValue: String(Substring(bare[..<hyphen])))
        else { return nil }
        let rest = bare[bare.index(after: hyphen)...]
        let hex = rest.prefix { (0x30...0x39).contains($0) || (0x61...0x66).contains($0) }
        let suffix = rest.dropFirst(hex.count)
        guard hex.count == 64 || hex.count == algorithm.byteCount * 2, [nil, 0x2e].contains(suffix.first) else {
            return nil
        }
        (name, self.suffix) = (tag, String(Substring(suffix)))
        subject = try? Digest(hex: String(Substring(hex)), algorithm)
    }

    /// What a tag of this name holds, of the older scheme.
    var kinds: CarrierKinds {
        let named: [(suffix: String, kinds: CarrierKinds)] = [
            (".sig", .signatures), (".att", .attestations), (".sbom", .sbom),
        ]
        return named.first { $0.suffix.utf8.elementsEqual(suffix.utf8) }?.kinds ?? []
    }
}

/// What carriers of the older scheme hold.
struct CarrierKinds: OptionSet, Sendable {
    let rawValue: UInt8
    static let signatures = Self(rawValue: 1)
    static let attestations = Self(rawValue: 2)
    static let sbom = Self(rawValue: 4)
}

extension Manifest {
    /// Whether its own content says that it is attached to something else, and is no image that can be run: it holds signatures,
    /// attestations or an SBOM, or is an artifact that refers to something.
    var isCarrier: Bool { holdsSignatures || holdsSBOM || isArtifact && subject != nil }
}
