internal import SigstoreCrypto
public import StrictJSON

/// One writer's part in changing a tag that many write to: an index of referrers, or a cosign `.sig` manifest.
///
/// No registry offers compare-and-swap on tags, so of two writers that read at the same moment the later one replaces
/// what the earlier one wrote. Nothing is lost because of these rules:
///
/// 1. A writer sends its list within D/5 (200 ms) of its last read of the tag, once; else, or if that fails, it reads
///    again. The longest time from its read to its answer is to be D (``RegistryOptions/longestWrite``, 1 s).
/// 2. It looks at the tag at once, and again 1.25 D after its last write, and after it first saw what it sees. If the tag
///    shows the same still, all who had read before have written by then, and all who read later read its entry.
/// 3. If a look shows something else, or from the start with ``RegistryOptions/announcesWriters``, it announces its
///    entry at a tag of its own, `<tag>.<name>`, which no other writer is using, before it reads on. It puts back
///    everything that it has seen at the tag or announced, and ends by rule 2 once all of that is there.
/// 4. Then it removes its announcement, or if another writer is at work, or it cannot, points it at the list, which says
///    that it is done. What was done with before a writer came does not count for it any more.
/// 5. A writer that took longer than D says so. It looks at all announcements again, also at those done with meanwhile.
///
/// What can go wrong with one writer X of ours while another one A signs, D = 1 s:
///
/// | X's write | without announcements | with them |
/// |---|---|---|
/// | reaches the registry within D | A sees that X replaced it, and both are kept | the same |
/// | its answer comes within D | X sees A's list, and both are kept | the same |
/// | reaches it after D | A may be done: its entry is lost. X says so | X finds A's announcement, and puts it back |
/// | its answer comes after D | nothing is lost; X cannot know that, and says so | the same |
/// | is repeated on the way within D | A sees that X replaced it, and both are kept | the same |
/// | is repeated after D, then answered | as if it had reached the registry after D | the same as there |
/// | is lost on the way | X reads again, and writes again | the same |
/// | is lost, having reached the registry | X reads its own entry there, and looks again as after a write | the same |
/// | is lost, having reached it after D | as if it had been answered then | the same as there |
///
/// That holds for writers that are not killed in between, whose lists nobody guards then. What is taken out of a
/// list can come back by a writer that had read it before.
///
/// Other tools do not look again. What cosign replaces within 1.25 D after our write is put back; what it replaces
/// later, from a list that it read before, is lost, and so is what it wrote itself between our read and our write.
public struct TagMerge: Sendable {
    /// The tag that many write to.
    public var tag: String
    /// This writer's entry alone, as a manifest that could stand at the tag or be listed by what stands there. It may
    /// hold further entries, which are written with it.
    public var own: Manifest
    /// The name of the entry: lower case hexadecimal digits, at most 48, the same for the same entry.
    public var id: String
    /// The name of its announcement: 32 lower case hexadecimal digits, the same for the same signer and payload, so that
    /// what is signed again uses one tag.
    public var announcedAs: String
    /// The names of the entries in what stands at the tag, or in what a writer made known.
    public var entries: @Sendable (Manifest) throws(SigstoreError) -> Set<String>
    /// Makes a manifest that has the entries of all these, but those taken away. The first is what stands at the tag, or
    /// else an entry.
    public var merged: @Sendable ([Manifest]) throws(SigstoreError) -> Manifest
    /// Whether this is what stands at the tag, and not an entry alone. An announcement that points at it is done with.
    public var isList: @Sendable (Manifest) -> Bool

    /// The names of the entries in a manifest that this change takes away; those of its own excepted.
    public var removed: @Sendable (Manifest) throws(SigstoreError) -> Set<String> = { _ in [] }

    /// Whether ``own`` is stored by its digest. If not, that is done while the tag is read.
    public var isStored = true

    /// The blobs that a merged manifest needs beside those of its parts, such as its config; stored before it.
    public var blobs: @Sendable (Manifest) throws(SigstoreError) -> [Blob] = { _ in [] }

    /// Makes a change.
    public init(
        tag: String, own: Manifest, id: String, announcedAs: String? = nil,
        entries: @escaping @Sendable (Manifest) throws(SigstoreError) -> Set<String>,
        isList: @escaping @Sendable (Manifest) -> Bool = { _ in false },
        merged: @escaping @Sendable ([Manifest]) throws(SigstoreError) -> Manifest
    ) {
        self.tag = tag
        self.own = own
        self.id = id
        self.announcedAs = announcedAs ?? String(decoding: id.utf8.prefix(32), as: UTF8.self)
        self.entries = entries
        self.isList = isList
        self.merged = merged
    }

    /// What a person may want to know of writing to such a tag.
    public enum Notice: Sendable {
        /// Everything is written; the writer waits this long until it can look whether another one replaced it.
        case waiting(Duration)
        /// Reading and writing took so long that others may not have waited for it.
        case slow(tag: String, Duration)
        /// The entry is there, but others keep changing the list, or it could not be looked at to the end.
        case unsettled(tag: String, SigstoreError)
    }

    /// The names of this writer's own entries.
    func ownEntries() throws(SigstoreError) -> Set<String> { try entries(own).union([id]) }

    /// The tag under which an entry is announced.
    func announcement(_ name: String) -> String { "\(tag).\(name)" }

    /// The name of the announcement that a tag is; `nil` if it is none for that tag.
    static func announcement(_ name: String, for tag: String) -> String? {
        guard name.utf8.starts(with: "\(tag).".utf8) else { return nil }
        let id = name.utf8.dropFirst(tag.utf8.count + 1)
        guard (1...48).contains(id.count),
            id.allSatisfy({ (0x30...0x39).contains($0) || (0x61...0x66).contains($0) })
        else { return nil }
        return String(id)
    }

    /// Whether a tag announces an entry for another tag.
    package static func isAnnouncement(_ name: String, for tag: String) -> Bool { announcement(name, for: tag) != nil }

    /// Adds a referrer to the index at the fallback tag, or all that an index lists.
    static func referrer(_ own: Manifest, of subject: Digest, announcedAs name: String) -> TagMerge {
        @Sendable func id(_ digest: Digest) -> String { String(digest.hex.prefix(48)) }
        let first = own.index?.manifests.first?.digest ?? own.digest
        return TagMerge(tag: FallbackTag.name(of: subject), own: own, id: id(first), announcedAs: name) {
            manifest in
            // If the subject itself stands at the tag, as some tools leave it, it lists nothing.
            if manifest.digest == subject { return [] }
            if let index = manifest.index { return Set(index.manifests.map { id($0.digest) }) }
            return manifest.subject?.digest == subject ? [id(manifest.digest)] : []
        } isList: {
            $0.index != nil
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
