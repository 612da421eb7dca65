internal import SigstoreCrypto
public import StrictJSON

/// One writer's part in changing a tag that many write to: an index of referrers, or a cosign `.sig` manifest.
///
/// No registry offers compare-and-swap on tags. So a writer first makes its own entry reachable under a tag of its
/// own, `<tag>.<id>`, and only then reads the shared tag, adds its entry and all others that were made known in that
/// way, and writes. It is done when, after its last write, the shared tag has all entries that are made known. The
/// writer that writes last looks last, so no entry is lost between writers that keep to this. Other tools do not;
/// what they overwrite is seen on a further look after a random pause, and put back.
public struct TagMerge: Sendable {
    /// The tag that many write to.
    public var tag: String
    /// This writer's entry alone, as a manifest that could stand at the tag or be listed by what stands there. It may
    /// hold further entries, which are written with it.
    public var own: Manifest
    /// The name of the entry: lower case hexadecimal digits, at most 48, the same for the same entry.
    public var id: String
    /// The names of the entries in what stands at the tag, or in what a writer made known.
    public var entries: @Sendable (Manifest) throws(SigstoreError) -> Set<String>
    /// Makes a manifest that has the entries of all these, but those taken away. The first is what stands at the tag, or
    /// else an entry.
    public var merged: @Sendable ([Manifest]) throws(SigstoreError) -> Manifest

    /// The names of the entries in a manifest that this change takes away; those of its own excepted.
    public var removed: @Sendable (Manifest) throws(SigstoreError) -> Set<String> = { _ in [] }

    /// The blobs that a merged manifest needs beside those of its parts, such as its config; stored before it.
    public var blobs: @Sendable (Manifest) throws(SigstoreError) -> [Blob] = { _ in [] }

    /// Makes a change.
    public init(
        tag: String, own: Manifest, id: String,
        entries: @escaping @Sendable (Manifest) throws(SigstoreError) -> Set<String>,
        merged: @escaping @Sendable ([Manifest]) throws(SigstoreError) -> Manifest
    ) {
        self.tag = tag
        self.own = own
        self.id = id
        self.entries = entries
        self.merged = merged
    }

    /// The names of this writer's own entries.
    func ownEntries() throws(SigstoreError) -> Set<String> { try entries(own).union([id]) }

    /// The tag under which an entry is made known.
    func announcement(_ id: String) -> String { "\(tag).\(id)" }

    /// Whether a tag makes an entry for another tag known.
    package static func isAnnouncement(_ name: String, for tag: String) -> Bool {
        guard name.utf8.starts(with: "\(tag).".utf8) else { return false }
        let id = name.utf8.dropFirst(tag.utf8.count + 1)
        return (1...48).contains(id.count)
            && id.allSatisfy { (0x30...0x39).contains($0) || (0x61...0x66).contains($0) }
    }

    /// Adds a referrer to the index at the fallback tag.
    static func referrer(_ own: Manifest, of subject: Digest) -> TagMerge {
        @Sendable func id(_ digest: Digest) -> String { String(digest.hex.prefix(48)) }
        return TagMerge(tag: FallbackTag.name(of: subject), own: own, id: id(own.digest)) { manifest in
            // If the subject itself stands at the tag, as some tools leave it, it lists nothing.
            if manifest.digest == subject { return [] }
            if let index = manifest.index { return Set(index.manifests.map { id($0.digest) }) }
            return manifest.subject?.digest == subject ? [id(manifest.digest)] : []
        } merged: { (manifests) throws(SigstoreError) in
            let manifests = manifests.filter { $0.digest != subject }
            // What others wrote is kept as they wrote it, with members that are not known here.
            var document: JSONObject = [
                "schemaVersion": .integer(2), "mediaType": .string(MediaType.imageIndex), "manifests": .array([]),
            ]
            if let first = manifests.first, first.index != nil,
                case .object(let written) = try JSONValue(parsing: first.bytes)
            {
                document = written
            }
            var list: [JSONValue] = []
            var known: Set<Digest> = []
            for manifest in manifests {
                guard manifest.index != nil else {
                    // What is neither an index nor refers to the subject is nothing that belongs in the list.
                    guard manifest.subject?.digest == subject else { continue }
                    if known.insert(manifest.digest).inserted { list.append(manifest.referrerDescriptor.json) }
                    continue
                }
                for element in try JSONCursor(try JSONValue(parsing: manifest.bytes)).member("manifests").elements() {
                    if known.insert(try Descriptor(element).digest).inserted { list.append(element.value) }
                }
            }
            document["manifests"] = .array(list)
            return try Manifest(JSONValue.object(document).serialized())
        }
    }
}
