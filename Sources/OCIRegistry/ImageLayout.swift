public import HTTPTransport
internal import LocalSystem
import LocalSystem
public import SigstoreCrypto
public import StrictJSON

/// An OCI image layout on disk (OCI image specification, "Image Layout"): the same operations as on a registry.
///
/// Blobs appear under their name when they are whole, and `index.json` is replaced as a whole under a lock, so that a
/// write that is interrupted leaves the layout as it was. Nothing outside the folder is written.
public struct ImageLayout: ImageStore {
    /// The annotation that names an entry of `index.json`.
    public static let tagAnnotation = "org.opencontainers.image.ref.name"
    /// The annotation by which `cosign save` says what an entry is, in place of a tag; see ``SavedKind``.
    public static let kindAnnotation = "kind"

    /// What `cosign save` writes into ``kindAnnotation``.
    public enum SavedKind: String, Sendable {
        case image = "dev.cosignproject.cosign/image"
        case imageIndex = "dev.cosignproject.cosign/imageIndex"
        /// The image's tag `sha256-<hex>.sig`.
        case signatures = "dev.cosignproject.cosign/sigs"
        /// The image's tag `sha256-<hex>.att`.
        case attestations = "dev.cosignproject.cosign/atts"

        fileprivate init?(_ descriptor: Descriptor) {
            guard let text = descriptor.annotations[ImageLayout.kindAnnotation] else { return nil }
            self.init(rawValue: text)
        }
    }

    /// The folder.
    public let path: String
    private let root: OpenFolder

    public var name: String { "oci-layout:\(path)" }

    // MARK: Opening

    /// Opens a layout that is there.
    /// - Parameter path: The folder.
    /// - Throws: `SigstoreError` with `not-found` if there is no layout, or `malformed-layout`.
    public init(opening path: String) throws(SigstoreError) {
        guard let root = try? OpenFolder(path) else {
            throw SigstoreError(
                .notFound, "there is no image layout at \(path)",
                advice: "name a folder that holds oci-layout and index.json")
        }
        self.path = path
        self.root = root
        guard let marker = try read("oci-layout", limit: 4096) else {
            throw SigstoreError(
                .notFound, "\(path) is no image layout: it has no file oci-layout",
                advice: "name a folder that holds oci-layout and index.json")
        }
        do throws(SigstoreError) {
            let version = try JSONCursor(try JSONValue(parsing: marker)).member("imageLayoutVersion").string()
            guard version.utf8.starts(with: "1.".utf8) else { throw malformed("its version is \(version.prefix(32))") }
        } catch {
            throw error.code == .malformedLayout ? error : malformed(error.message)
        }
    }

    /// Opens a layout, and makes an empty one if there is none.
    /// - Parameter path: The folder; it is made with those above it.
    public init(creating path: String) throws(SigstoreError) {
        try LocalFile.makeFolder(path, mode: 0o755)
        let root = try OpenFolder(path)
        // Another process may be doing the same, and may be further: what is there stays.
        let empty = JSONValue.object(Self.emptyIndex).serialized()
        try LocalFile.replace("index.json", in: root, with: empty, mode: 0o644, unlessThere: true)
        let marker = Array(#"{"imageLayoutVersion":"1.0.0"}"#.utf8)
        try LocalFile.replace("oci-layout", in: root, with: marker, mode: 0o644, unlessThere: true)
        try self.init(opening: path)
    }

    private static let emptyIndex: JSONObject = [
        "schemaVersion": .integer(2), "mediaType": .string(MediaType.imageIndex), "manifests": .array([]),
    ]

    /// The content of a file of the layout.
    /// - Throws: `SigstoreError` with `too-large`, as for what a registry sends.
    private func read(_ path: String, limit: Int) throws(SigstoreError) -> [UInt8]? {
        do throws(SigstoreError) { return try LocalFile.read(path, in: root, limit: limit) } catch {
            guard error.code == .fileTooLarge else { throw error }
            throw SigstoreError(.tooLarge, error.message, advice: error.advice, cause: error)
        }
    }

    private func malformed(_ what: String) -> SigstoreError {
        SigstoreError(.malformedLayout, "\(name) cannot be used: \(what)")
    }

    // MARK: The index

    private func readIndex() throws(SigstoreError) -> JSONObject {
        guard let bytes = try read("index.json", limit: Manifest.byteLimit) else {
            throw malformed("it has no index.json")
        }
        do throws(SigstoreError) {
            guard case .object(let object) = try JSONValue(parsing: bytes, depth: 32) else {
                throw malformed("index.json is not an object")
            }
            return object
        } catch {
            throw error.code == .malformedLayout ? error : malformed("index.json is \(error.message)")
        }
    }

    private func entries(_ index: JSONObject) throws(SigstoreError) -> [(json: JSONValue, descriptor: Descriptor)] {
        do throws(SigstoreError) {
            var entries: [(json: JSONValue, descriptor: Descriptor)] = []
            for element in try JSONCursor(.object(index)).optional("manifests")?.elements() ?? [] {
                entries.append((element.value, try Descriptor(element)))
            }
            return entries
        } catch {
            throw malformed("in index.json, \(error.message)")
        }
    }

    /// The entries of `index.json`, with their annotations.
    /// - Throws: `SigstoreError` with `malformed-layout`.
    public func entries() throws(SigstoreError) -> [Descriptor] {
        try entries(try readIndex()).map(\.descriptor)
    }

    /// The images in the layout, each entry with its tag if it has one. What is attached to an image is left out.
    /// - Throws: `SigstoreError` with `malformed-layout`.
    package func images() throws(SigstoreError) -> [(digest: Digest, tag: String?)] {
        var images: [(digest: Digest, tag: String?)] = []
        for entry in try entries() where try !isAttachment(entry) {
            images.append((entry.digest, entry.annotations[Self.tagAnnotation]))
        }
        return images
    }

    /// The only image in the layout, for a name without tag and digest. What is attached to an image does not count.
    /// - Throws: `SigstoreError` with `malformed-reference` if there are several, `not-found` if there is none.
    public func onlyImage() throws(SigstoreError) -> ManifestSelector {
        var found: Set<Digest> = []
        for entry in try entries() where !found.contains(entry.digest) {
            if try !isAttachment(entry) { found.insert(entry.digest) }
        }
        guard let only = found.first else { throw SigstoreError(.notFound, "\(name) holds no image") }
        guard found.count == 1 else {
            throw SigstoreError(
                .malformedReference, "\(name) holds \(found.count) images, and none was picked",
                advice: "write oci-layout:PATH:TAG or oci-layout:PATH@DIGEST")
        }
        return .digest(only)
    }

    /// Whether an entry is attached to something else in the folder. An image that can be run may have a subject, too,
    /// and any annotation: what is not certainly an attachment is an image, and if there are two, none is picked.
    private func isAttachment(_ entry: Descriptor) throws(SigstoreError) -> Bool {
        switch SavedKind(entry) {
        case .image, .imageIndex: return false
        case .signatures, .attestations: return try listedManifest(entry)?.holdsSignatures ?? false
        case nil: break
        }
        // A tag alone says nothing: what it points at must be attached by its own content. A tag of another form makes an
        // image of the entry, whatever its subject is.
        let tag = entry.annotations[Self.tagAnnotation]
        guard let manifest = try listedManifest(entry),
            let digest = tag.map(Self.attachmentTagDigest) ?? manifest.subject?.digest, digest != entry.digest
        else { return false }
        var isAttached = manifest.isArtifact && manifest.subject?.digest == digest
        if tag != nil, !isAttached {
            let isList = try isList(manifest, of: digest)
            isAttached = isList || manifest.holdsSignatures || manifest.holdsSBOM
        }
        guard isAttached else { return false }
        return try find(.digest(digest)) != nil
    }

    /// Whether a manifest is an index of what refers to another one, and of nothing else.
    private func isList(_ manifest: Manifest, of subject: Digest) throws(SigstoreError) -> Bool {
        guard let index = manifest.index else { return false }
        for entry in index.manifests {
            guard let listed = try readManifest(entry), listed.subject?.digest == subject else { return false }
        }
        return true
    }

    /// The digest in `sha256-<hex>`, alone (the fallback tag of referrers) or with cosign's `.sig`, `.att` or `.sbom`
    /// behind it; `nil` for any other tag.
    private static func attachmentTagDigest(_ tag: String) -> Digest? {
        guard tag.utf8.starts(with: "sha256-".utf8) else { return nil }
        let rest = tag.utf8.dropFirst(7)
        let (hex, suffix) = (rest.prefix(64), rest.dropFirst(64))
        guard ["", ".sig", ".att", ".sbom"].contains(where: { $0.utf8.elementsEqual(suffix) }) else { return nil }
        return try? Digest(hex: String(decoding: hex, as: UTF8.self), .sha256)
    }

    /// The entry that a tag names. If `cosign save` wrote the layout, the kinds of the entries stand for the tags of
    /// the saved image's signatures and attestations.
    private static func position(of tag: String, in entries: [Descriptor]) -> Int? {
        func isTag(_ entry: Descriptor) -> Bool {
            entry.annotations[tagAnnotation].map { $0.utf8.elementsEqual(tag.utf8) } ?? false
        }
        if let index = entries.firstIndex(where: isTag) { return index }
        guard let kind = kind(of: tag, in: entries) else { return nil }
        return entries.firstIndex { SavedKind($0) == kind && $0.annotations[tagAnnotation] == nil }
    }

    /// What `cosign save` would call the entry with this tag; `nil` if it did not save the image that the tag is for.
    private static func kind(of tag: String, in entries: [Descriptor]) -> SavedKind? {
        guard let saved = entries.first(where: { [.image, .imageIndex].contains(SavedKind($0)) }) else { return nil }
        let base = FallbackTag.name(of: saved.digest)
        return tag.utf8.elementsEqual("\(base).sig".utf8)
            ? .signatures : tag.utf8.elementsEqual("\(base).att".utf8) ? .attestations : nil
    }

    /// Changes `index.json` while no other writer does.
    /// - Parameter change: Gets the index as it is; `nil` to leave it so.
    private func update<Value: Sendable>(
        _ change: @Sendable (JSONObject) throws(SigstoreError) -> (JSONObject?, Value)
    ) async throws(SigstoreError) -> Value {
        // The lock is the file that every layout has and that is never replaced. It is let go by the system, too, when
        // a process dies.
        let lock = try FileLock(on: "oci-layout", in: root)
        guard try await lock.take(within: .seconds(60)) else {
            throw SigstoreError(
                .contended, "\(name) has been locked by another process for a minute",
                advice: "look for a process that hangs while it writes there")
        }
        defer { withExtendedLifetime(lock) {} }
        let (new, value) = try change(try readIndex())
        if let new {
            let bytes = JSONValue.object(new).serialized()
            guard bytes.count <= Manifest.byteLimit else {
                throw SigstoreError(.tooLarge, "index.json of \(name) would be larger than 4 MiB")
            }
            try LocalFile.replace("index.json", in: root, with: bytes, mode: 0o644)
        }
        return value
    }

    /// Puts a manifest into the index.
    private func adding(
        _ manifest: Manifest, tag: String?, annotations: Annotations = [:], to index: JSONObject
    ) throws(SigstoreError) -> JSONObject {
        let all = try entries(index)
        let descriptors = all.map(\.descriptor)
        let replaced = tag.flatMap { Self.position(of: $0, in: descriptors) }
        var kept = all.indices.filter { $0 != replaced }.map { all[$0].json }
        if tag != nil || !descriptors.contains(where: { $0.digest == manifest.digest }) {
            var entry = tag == nil ? manifest.referrerDescriptor : manifest.descriptor
            entry.annotations = annotations
            if let tag {
                entry.annotations[Self.tagAnnotation] = tag
                entry.annotations[Self.kindAnnotation] = Self.kind(of: tag, in: descriptors)?.rawValue
            }
            kept.append(entry.json)
        }
        var index = index
        index["manifests"] = .array(kept)
        return index
    }

    // MARK: Manifests

    private func find(_ selector: ManifestSelector) throws(SigstoreError) -> Descriptor? {
        switch selector {
        case .tag(let tag):
            let entries = try entries()
            return Self.position(of: tag, in: entries).map { entries[$0] }
        case .digest(let digest):
            guard let file = try OpenFile(reading: blobPath(digest), in: root) else { return nil }
            return Descriptor(mediaType: "", digest: digest, size: file.size)
        }
    }

    private func readManifest(_ descriptor: Descriptor) throws(SigstoreError) -> Manifest? {
        guard
            let bytes = try read(blobPath(descriptor.digest), limit: Manifest.byteLimit)
        else { return nil }
        let digest = try Digest.hash(bytes, descriptor.digest.algorithm)
        guard digest == descriptor.digest, Int64(bytes.count) == descriptor.size else {
            throw SigstoreError(
                .digestMismatch, "\(name) holds something else than \(descriptor.digest) under that name",
                advice: "the layout is damaged or was tampered with; get it again")
        }
        return try Manifest(bytes, contentType: descriptor.mediaType, algorithm: digest.algorithm)
    }

    public func resolve(_ selector: ManifestSelector) async throws(SigstoreError) -> Descriptor? {
        try await manifest(selector)?.descriptor
    }

    public func manifest(_ selector: ManifestSelector) async throws(SigstoreError) -> Manifest? {
        guard let descriptor = try find(selector) else { return nil }
        guard let manifest = try readManifest(descriptor) else { throw malformed(missing: descriptor) }
        return manifest
    }

    /// The manifest that an entry of `index.json` names; `nil` if it names something that is no manifest.
    private func listedManifest(_ entry: Descriptor) throws(SigstoreError) -> Manifest? {
        guard MediaType.manifests.contains(where: { $0.utf8.elementsEqual(entry.mediaType.utf8) }) else { return nil }
        guard let manifest = try readManifest(entry) else { throw malformed(missing: entry) }
        return manifest
    }

    private func malformed(missing entry: Descriptor) -> SigstoreError {
        malformed("index.json names \(entry.digest), which is not there")
    }

    public func putManifest(_ manifest: Manifest, tag: String?) async throws(SigstoreError) {
        if let tag { _ = try ManifestSelector(tag: tag) }
        try await putBlob(try Blob(manifest.bytes))
        guard tag != nil else { return }
        try await update { (index) throws(SigstoreError) in (try adding(manifest, tag: tag, to: index), ()) }
    }

    /// Lists a manifest in `index.json` without a tag. It must be stored.
    public func list(_ manifest: Manifest) async throws(SigstoreError) {
        try await update { (index) throws(SigstoreError) in (try adding(manifest, tag: nil, to: index), ()) }
    }

    /// Lists these manifests, and nothing else, in `index.json`, as a whole or not at all.
    /// - Parameter manifests: What to list, stored with all that belongs to it, and the annotations of each entry.
    public func replaceEntries(_ manifests: [(manifest: Manifest, annotations: Annotations)])
        async throws(SigstoreError)
    {
        var entries: [JSONValue] = []
        for (manifest, annotations) in manifests {
            var entry = manifest.subject == nil ? manifest.descriptor : manifest.referrerDescriptor
            entry.annotations = annotations
            entries.append(entry.json)
        }
        try await update { [entries] (_) throws(SigstoreError) in
            var index = Self.emptyIndex
            index["manifests"] = .array(entries)
            return (index, ())
        }
    }

    public func putReferrer(_ manifest: Manifest, announcedAs name: String) async throws(SigstoreError) {
        guard manifest.subject != nil else { throw .noSubject(manifest) }
        try await putBlob(try Blob(manifest.bytes))
        try await update { (index) throws(SigstoreError) in (try adding(manifest, tag: nil, to: index), ()) }
    }

    public func referrers(
        of digest: Digest, artifactType: String?
    ) async throws(SigstoreError) -> Referrers {
        var found = try await readableReferrers(of: digest).whole()
        found.descriptors = RegistryClient.mayBe(artifactType, found.descriptors)
        return found
    }

    public func readableReferrers(of digest: Digest) async -> Referrers {
        var found = Referrers([], source: .nothing)
        var seen: Set<Digest> = []
        let fallback = FallbackTag.name(of: digest)
        do throws(SigstoreError) {
            let entries = try entries()
            for entry in entries {
                do throws(SigstoreError) {
                    // The layout's own list does not say what refers to what: the manifests do.
                    guard let manifest = try listedManifest(entry) else { continue }
                    if manifest.subject?.digest == digest, seen.insert(manifest.digest).inserted {
                        found.descriptors.append(manifest.referrerDescriptor)
                    }
                    guard entry.annotations[Self.tagAnnotation].map({ $0.utf8.elementsEqual(fallback.utf8) }) ?? false
                    else { continue }
                    for listed in manifest.index?.manifests ?? [] where seen.insert(listed.digest).inserted {
                        found.descriptors.append(listed)
                    }
                } catch { found.unread.append(error) }
            }
            for manifest in try unlisted(entries) where manifest.subject?.digest == digest {
                if seen.insert(manifest.digest).inserted { found.descriptors.append(manifest.referrerDescriptor) }
            }
        } catch { found.unread.append(error) }
        found.source = found.descriptors.isEmpty ? .nothing : .list
        return found
    }

    /// The manifests with a subject that cosign 3's `save` puts among the blobs without listing them anywhere.
    private func unlisted(_ entries: [Descriptor]) throws(SigstoreError) -> [Manifest] {
        guard entries.contains(where: { SavedKind($0) != nil }) else { return [] }
        let folder = "blobs/\(HashAlgorithm.sha256.rawValue)"
        let listed = Set(entries.map(\.digest))
        var manifests: [Manifest] = []
        for name in try LocalFile.names(folder, in: root, limit: 10_000) {
            guard let digest = try? Digest(hex: name, .sha256), !listed.contains(digest),
                let file = try OpenFile(reading: "\(folder)/\(name)", in: root),
                file.size <= Int64(Manifest.byteLimit), try file.firstByte() == 0x7b
            else { continue }
            do throws(SigstoreError) {
                let descriptor = Descriptor(mediaType: "", digest: digest, size: file.size)
                if let manifest = try readManifest(descriptor), manifest.subject != nil { manifests.append(manifest) }
            } catch {
                // Configs, bundles and SBOMs are JSON as well, and no manifests.
                guard error.code == .malformedManifest else { throw error }
            }
        }
        return manifests
    }

    public func merge(_ change: TagMerge) async throws(SigstoreError) {
        try await putBlob(try Blob(change.own.bytes))
        try await update { (index) throws(SigstoreError) in
            let entries = try entries(index).map(\.descriptor)
            let entry = Self.position(of: change.tag, in: entries).map { entries[$0] }
            let current = try entry.map { (entry) throws(SigstoreError) in try readManifest(entry) } ?? nil
            if let current, try change.ownEntries().isSubset(of: try change.entries(current)) { return (nil, ()) }
            let merged = try change.merged((current.map { [$0] } ?? []) + [change.own])
            for blob in try change.blobs(merged) + [try Blob(merged.bytes)] { try write(blob) }
            return (try adding(merged, tag: change.tag, to: index), ())
        }
    }

    public func tags() async throws(SigstoreError) -> [String]? {
        try entries().compactMap { $0.annotations[Self.tagAnnotation] }
    }

    public func delete(_ selector: ManifestSelector) async throws(SigstoreError) -> Bool {
        try await update { (index) throws(SigstoreError) in
            let all = try entries(index)
            let picked: Set<Int>
            switch selector {
            case .digest(let digest): picked = Set(all.indices.filter { all[$0].descriptor.digest == digest })
            case .tag(let tag): picked = Set([Self.position(of: tag, in: all.map(\.descriptor))].compactMap { $0 })
            }
            guard !picked.isEmpty else { return (nil, false) }
            var index = index
            index["manifests"] = .array(all.indices.filter { !picked.contains($0) }.map { all[$0].json })
            return (index, true)
        }
    }

    /// Removes a tag, and leaves what it points at listed.
    /// - Returns: False if there is no such tag.
    public func untag(_ tag: String) async throws(SigstoreError) -> Bool {
        try await update { (index) throws(SigstoreError) in
            let all = try entries(index)
            guard let position = Self.position(of: tag, in: all.map(\.descriptor)), all.indices.contains(position),
                case .object(var entry) = all[position].json
            else { return (nil, false) }
            var rest = all.map(\.json)
            rest.remove(at: position)
            let digest = all[position].descriptor.digest
            if !all.indices.contains(where: { $0 != position && all[$0].descriptor.digest == digest }) {
                var annotations = all[position].descriptor.annotations
                annotations[Self.tagAnnotation] = nil
                annotations[Self.kindAnnotation] = nil
                entry["annotations"] = annotations.isEmpty ? nil : annotations.json
                rest.append(.object(entry))
            }
            var index = index
            index["manifests"] = .array(rest)
            return (index, true)
        }
    }

    public func deleteReferrers(_ referrers: Set<Digest>, of subject: Digest) async throws(SigstoreError) {
        let tag = FallbackTag.name(of: subject)
        try await update { (index) throws(SigstoreError) in
            let all = try entries(index)
            var kept: [JSONValue] = []
            for (json, entry) in all where !referrers.contains(entry.digest) {
                guard entry.annotations[Self.tagAnnotation].map({ $0.utf8.elementsEqual(tag.utf8) }) ?? false,
                    let list = try readManifest(entry),
                    list.index?.manifests.contains(where: { referrers.contains($0.digest) }) ?? false
                else {
                    kept.append(json)
                    continue
                }
                let rest = try FallbackTag.index(list, without: referrers)
                if rest.index?.manifests.isEmpty ?? true { continue }
                try write(try Blob(rest.bytes))
                var entry = entry
                (entry.digest, entry.size) = (rest.digest, Int64(rest.bytes.count))
                kept.append(entry.json)
            }
            var index = index
            index["manifests"] = .array(kept)
            return (index, ())
        }
        // cosign 3 finds what nothing lists, too; so the manifests go as well.
        for digest in referrers { root.remove(blobPath(digest)) }
    }

    // MARK: Blobs

    /// A digest holds nothing but hexadecimal digits, so this path stays in the folder.
    private func blobPath(_ digest: Digest) -> String { "blobs/\(digest.algorithm.rawValue)/\(digest.hex)" }

    public func fetchBlob(
        _ descriptor: Descriptor, limit: Int64, into sink: any BodySink
    ) async throws(SigstoreError) {
        guard descriptor.size <= limit else { throw .blobTooLarge(descriptor, name, limit) }
        try await onBlockingThread { () throws(SigstoreError) in
            guard let file = try OpenFile(reading: blobPath(descriptor.digest), in: root) else {
                throw SigstoreError(
                    .notFound, "\(name) has no blob \(descriptor.digest), although a manifest there names it")
            }
            let verifying = VerifyingSink(descriptor, sink)
            try verifying.begin()
            unsafe try file.forEachPiece { (piece) throws(SigstoreError) in unsafe try verifying.receive(piece) }
            try verifying.finish()
        }
    }

    public func hasBlob(_ descriptor: Descriptor) throws(SigstoreError) -> Bool {
        try OpenFile(reading: blobPath(descriptor.digest), in: root)?.size == descriptor.size
    }

    public var mountableRepository: Repository? { nil }

    /// Takes a blob from another store straight to its place.
    public func copyBlob(_ descriptor: Descriptor, from source: any ImageStore) async throws(SigstoreError) {
        if try hasBlob(descriptor) { return }
        let folder = try blobFolder(descriptor.digest)
        let file = try TemporaryFile(beside: descriptor.digest.hex, in: folder, mode: 0o644)
        try await source.fetchBlob(descriptor, limit: descriptor.size, into: FileSink(file))
        try await onBlockingThread { () throws(SigstoreError) in
            try file.commit(as: descriptor.digest.hex)
        }
    }

    public func withBlob(
        _ descriptor: Descriptor, _ body: (Blob) async throws(SigstoreError) -> Void
    ) async throws(SigstoreError) {
        guard let file = try OpenFile(reading: blobPath(descriptor.digest), in: root) else {
            throw SigstoreError(
                .notFound, "\(name) has no blob \(descriptor.digest), although a manifest there names it")
        }
        guard file.size == descriptor.size else {
            throw SigstoreError(
                .digestMismatch, "\(name) holds something else than \(descriptor.digest) under that name",
                advice: "the layout is damaged or was tampered with; get it again")
        }
        try await body(Blob(file: file, digest: descriptor.digest, size: descriptor.size))
        withExtendedLifetime(file) {}
    }

    public func putBlob(_ blob: Blob) async throws(SigstoreError) {
        try await onBlockingThread { () throws(SigstoreError) in try write(blob) }
    }

    private func write(_ blob: Blob) throws(SigstoreError) {
        let path = blobPath(blob.digest)
        if let file = try OpenFile(reading: path, in: root), file.size == blob.size { return }
        let folder = try blobFolder(blob.digest)
        let file = try TemporaryFile(beside: blob.digest.hex, in: folder, mode: 0o644)
        let descriptor = Descriptor(mediaType: "", digest: blob.digest, size: blob.size)
        let check = VerifyingSink(descriptor, FileSink(file))
        try check.begin()
        switch blob.body {
        case .none: break
        case .bytes(let bytes):
            unsafe try bytes.span.bytes.withUnsafeBytes { (bytes) throws(SigstoreError) in
                unsafe try check.receive(bytes)
            }
        case .secret(let secret):
            unsafe try secret.withBytes { (bytes) throws(SigstoreError) in unsafe try check.receive(bytes) }
        case .file(let source, let offset, let count):
            unsafe try source.forEachPiece(from: offset, count: count) { (piece) throws(SigstoreError) in
                unsafe try check.receive(piece)
            }
        }
        try check.finish()
        try file.commit(as: blob.digest.hex)
    }

    /// A link in place of a folder would lead a write out of the layout.
    private func blobFolder(_ digest: Digest) throws(SigstoreError) -> OpenFolder {
        do throws(SigstoreError) {
            return try root.folder(making: "blobs", mode: 0o755)
                .folder(making: digest.algorithm.rawValue, mode: 0o755)
        } catch { throw error.concerning(path) }
    }
}

extension SigstoreError.Code {
    /// A folder is no image layout, or a damaged one.
    public static let malformedLayout = Self("malformed-layout")
}
