public import OCIRegistry
internal import SigstoreCrypto
public import StrictJSON

/// Where an image is to be put.
public struct ImageDestination: Sendable {
    /// How the person named it.
    public let name: String
    let location: ImageLocation
    let store: any ImageStore
    let signatureStore: any ImageStore

    /// Opens a place; a layout is made if there is none.
    /// - Parameters:
    ///   - name: A reference as cosign takes it, or `oci-layout:PATH[:TAG]`.
    ///   - registries: Opens repositories.
    ///   - signatureRepository: The repository for signatures, if it is not the image's own.
    /// - Throws: `SigstoreError` if the name is malformed, or the layout cannot be made.
    public init(_ name: String, _ registries: Registries, signatureRepository: String? = nil) throws(SigstoreError) {
        self.name = name
        location = try ImageLocation(parsing: name)
        switch location {
        case .registry(let reference):
            store = registries.client(for: reference.repository)
            signatureStore =
                try signatureRepository.map { (name) throws(SigstoreError) in
                    registries.client(for: try Repository(parsing: name))
                } ?? store
        case .layout(let path, _):
            store = try ImageLayout(creating: path)
            signatureStore = store
        }
    }

    private var selector: ManifestSelector? {
        switch location {
        case .registry(let reference): reference.selector
        case .layout(_, let selector): selector
        }
    }

    /// Throws if something else stands at the name.
    func expectFree(for image: Image, replacing: Bool) async throws(SigstoreError) {
        guard let selector else { return }
        if case .digest(let digest) = selector {
            guard digest == image.digest else {
                throw SigstoreError(
                    .usage, "\(name) names another image than the one to be put there, which is \(image.digest)")
            }
            return
        }
        guard !replacing, let there = try await store.resolve(selector), there.digest != image.digest else { return }
        throw SigstoreError(
            .alreadyThere, "\(name) is another image already: expected \(image.digest), found \(there.digest)",
            advice: .remedy(.replaceTag))
    }

    /// Gives the image its name.
    func name(_ manifest: Manifest) async throws(SigstoreError) {
        switch selector {
        case .tag(let tag)?: try await store.putManifest(manifest, tag: tag)
        case .digest?, nil:
            if let layout = store as? ImageLayout { try await layout.list(manifest) }
        }
    }
}

/// Copies an image with what is attached to it, between registries and layouts.
///
/// Blobs are copied side by side and never held in memory; every digest is computed again. The tag comes last: an
/// interrupted copy leaves it as it was, and an image that is found under its tag has its signatures already. What is
/// attached at the destination already stays.
public struct ImageCopy: Sendable {
    /// What is copied.
    public struct Selection: Sendable {
        /// The image itself.
        public var image = true
        /// What is attached to it, in both schemes.
        public var kinds = Set(SignatureStore.Kind.allCases)
        /// What refers to it and is not cosign's.
        public var otherReferrers = true
        /// Everything.
        public init() {}
    }

    private let image: Image
    private let selection: Selection
    private let progress: @Sendable (String) -> Void
    private let count: @Sendable (_ more: Int64, _ copied: Int64) -> Void

    /// - Parameters:
    ///   - image: What is copied; of an index, every image within it as well.
    ///   - selection: What of it.
    ///   - count: Told how many bytes of blobs more there are to copy, and how many more are copied.
    ///   - progress: Takes a line about each step, for a person.
    public init(
        _ image: Image, _ selection: Selection = Selection(),
        count: @escaping @Sendable (_ more: Int64, _ copied: Int64) -> Void = { _, _ in },
        progress: @escaping @Sendable (String) -> Void
    ) {
        self.count = count
        self.image = image
        self.selection = selection
        self.progress = progress
    }

    /// Copies.
    /// - Parameters:
    ///   - destination: Where to.
    ///   - tagPrefixes: What stands before tags of the older scheme here and there.
    ///   - replacing: Whether a tag that points at another image, or an SBOM at another SBOM, is pointed at this one.
    /// - Throws: `SigstoreError` with `already-there`, or because something cannot be read or written; the tag is as it
    ///   was then.
    public func run(
        to destination: ImageDestination, tagPrefixes: (source: String, target: String) = ("", ""),
        replacing: Bool = false
    ) async throws(SigstoreError) {
        let images = try await image.withPlatforms().map(\.image)
        var top: Manifest?
        if selection.image {
            try await destination.expectFree(for: image, replacing: replacing)
            progress("Copying \(image.name) to \(destination.name)")
            top = try await copyContent(of: images, to: destination.store)
        }
        // Signatures that are kept in one place for both need not be copied.
        if image.signatureStore.name != destination.signatureStore.name {
            _ = try await concurrently(images) { image throws(SigstoreError) in
                let copied = Image(
                    image, at: destination.location, destination.store, signatureStore: destination.signatureStore)
                try await copyAttachments(
                    of: SignatureStore(image, tagPrefix: tagPrefixes.source),
                    to: SignatureStore(copied, tagPrefix: tagPrefixes.target), replacing: replacing)
            }
        }
        if let top { try await destination.name(top) }
    }

    /// Copies the images' manifests and all that these name.
    /// - Returns: The manifest of the first of them.
    private func copyContent(of images: [Image], to target: any ImageStore) async throws(SigstoreError) -> Manifest? {
        let manifests = try await concurrently(images) { image throws(SigstoreError) in
            guard let manifest = try await image.store.manifest(.digest(image.digest)) else {
                throw SigstoreError(
                    .imageNotFound, "\(image.name) is named by an index, or was there a moment ago, and is gone")
            }
            return manifest
        }
        try await copyBlobs(of: manifests, from: image.store, to: target)
        // An index comes after what it lists.
        _ = try await concurrently(manifests.filter { $0.index == nil }) { manifest throws(SigstoreError) in
            try await target.putManifest(manifest, tag: nil)
        }
        for index in manifests.reversed() where index.index != nil { try await target.putManifest(index, tag: nil) }
        return manifests.first
    }

    private func copyBlobs(
        of manifests: [Manifest], from source: any ImageStore, to target: any ImageStore
    ) async throws(SigstoreError) {
        var blobs: [Descriptor] = []
        var seen: Set<Digest> = []
        for manifest in manifests {
            if case .other = manifest.content {
                throw SigstoreError(
                    .unsupported, "\(manifest.digest) is of the kind \(manifest.mediaType), which cannot be copied here"
                )
            }
            guard let content = manifest.image else { continue }
            // Layers that may not be distributed stay where their vendor keeps them.
            let layers = content.layers.filter {
                !$0.mediaType.contains("nondistributable") && !$0.mediaType.contains("rootfs.foreign")
            }
            for blob in [content.config] + layers where seen.insert(blob.digest).inserted { blobs.append(blob) }
        }
        for blob in blobs { count(blob.size, 0) }
        _ = try await concurrently(blobs) { blob throws(SigstoreError) in
            try await target.copyBlob(blob, from: source)
            count(0, blob.size)
        }
    }

    private func isSelected(_ referrer: ImageAttachments.Referrer) -> Bool {
        referrer.kind.map { selection.kinds.contains($0) } ?? selection.otherReferrers
    }

    private func copyAttachments(
        of source: SignatureStore, to target: SignatureStore, replacing: Bool, depth: Int = 0
    ) async throws(SigstoreError) {
        let (from, to) = (source.image.signatureStore, target.image.signatureStore)
        let found = try await source.attachments().whole()
        for digest in found.missing {
            progress("Not copied, because it is listed and not there: \(from.name)@\(digest)")
        }
        for tagged in found.tagged where selection.kinds.contains(tagged.kind) {
            let tag = target.tag(tagged.kind)
            progress("Copying \(from.name):\(tagged.tag) to \(to.name):\(tag)")
            try await copyBlobs(of: [tagged.manifest], from: from, to: to)
            if tagged.kind != .sbom {
                try await target.merge(tagged.kind, tagged.manifest)
                continue
            }
            let there = try await to.resolve(try ManifestSelector(tag: tag))
            guard replacing || there == nil || there?.digest == tagged.manifest.digest else {
                throw SigstoreError(
                    .alreadyThere, "\(to.name):\(tag) is another SBOM already", advice: .remedy(.replaceSBOM))
            }
            try await to.putManifest(tagged.manifest, tag: tag)
            // An SBOM may be signed as an image is.
            if depth == 0 {
                let signed = (
                    Image(source.image, tagged.manifest.descriptor), Image(target.image, tagged.manifest.descriptor)
                )
                try await copyAttachments(
                    of: SignatureStore(signed.0, tagPrefix: source.tagPrefix),
                    to: SignatureStore(signed.1, tagPrefix: target.tagPrefix), replacing: replacing, depth: depth + 1)
            }
        }
        let referrers = found.referrers.filter(isSelected).map(\.manifest)
        for referrer in referrers { progress("Copying \(from.name)@\(referrer.digest) to \(to.name)") }
        try await copyBlobs(of: referrers, from: from, to: to)
        try await to.putReferrers(referrers)
    }

    // MARK: Saving

    /// Saves the image with what is attached to it into a folder, as `cosign save` does: an OCI image layout whose
    /// entries say what they are. Bundles, SBOMs and what is attached to an index's images are saved as well.
    /// - Parameters:
    ///   - folder: The folder; it is made if there is none. An image that was saved there before is replaced.
    ///   - tagPrefix: What stands before tags of the older scheme.
    /// - Throws: `SigstoreError` if the folder holds something else, or something cannot be read or written; what the
    ///   folder listed before is listed as before then.
    public func save(to folder: String, tagPrefix: String = "") async throws(SigstoreError) {
        let layout = try Self.layout(forSavingIn: folder)
        let images = try await image.withPlatforms().map(\.image)
        progress("Saving \(image.name) in \(folder)")
        guard let top = try await copyContent(of: images, to: layout) else { return }
        var entries: [(manifest: Manifest, annotations: Annotations)] = []
        let kind: ImageLayout.SavedKind = top.index == nil ? .image : .imageIndex
        entries.append((top, [ImageLayout.kindAnnotation: kind.rawValue]))
        for each in images {
            entries += try await saveAttachments(
                of: SignatureStore(each, tagPrefix: tagPrefix), in: layout, isTop: each.digest == image.digest)
        }
        try await layout.replaceEntries(entries)
    }

    private func saveAttachments(of source: SignatureStore, in layout: ImageLayout, isTop: Bool)
        async throws(SigstoreError)
        -> [(manifest: Manifest, annotations: Annotations)]
    {
        let from = source.image.signatureStore
        let found = try await source.attachments().whole()
        for digest in found.missing {
            progress("Not saved, because it is listed and not there: \(from.name)@\(digest)")
        }
        try await copyBlobs(
            of: found.tagged.map(\.manifest) + found.referrers.map(\.manifest), from: from, to: layout)
        var entries: [(manifest: Manifest, annotations: Annotations)] = []
        for tagged in found.tagged {
            try await layout.putManifest(tagged.manifest, tag: nil)
            switch (isTop, tagged.kind) {
            case (true, .signature):
                entries.append(
                    (tagged.manifest, [ImageLayout.kindAnnotation: ImageLayout.SavedKind.signatures.rawValue]))
            case (true, .attestation):
                entries.append(
                    (tagged.manifest, [ImageLayout.kindAnnotation: ImageLayout.SavedKind.attestations.rawValue]))
            default:
                // cosign has no kind for these, and passes over what has none.
                entries.append(
                    (tagged.manifest, [ImageLayout.tagAnnotation: SignatureStore(source.image).tag(tagged.kind)]))
            }
            // An SBOM may be signed as an image is.
            if isTop, tagged.kind == .sbom {
                let signed = Image(source.image, tagged.manifest.descriptor)
                entries += try await saveAttachments(
                    of: SignatureStore(signed, tagPrefix: source.tagPrefix), in: layout, isTop: false)
            }
        }
        for referrer in found.referrers {
            try await layout.putManifest(referrer.manifest, tag: nil)
            entries.append((referrer.manifest, [:]))
        }
        return entries
    }

    /// A layout that is new, empty, or holds what was saved before.
    private static func layout(forSavingIn folder: String) throws(SigstoreError) -> ImageLayout {
        let layout: ImageLayout
        do throws(SigstoreError) { layout = try ImageLayout(opening: folder) } catch {
            guard error.code == .notFound else { throw error }
            guard try InputFile(folder).filesInDirectory()?.isEmpty ?? true else {
                throw SigstoreError(
                    .alreadyThere, "the folder \(folder) is not empty, and no image was saved in it",
                    advice: "name a new folder")
            }
            return try ImageLayout(creating: folder)
        }
        let entries = try layout.entries()
        guard entries.isEmpty || entries.contains(where: { $0.annotations[ImageLayout.kindAnnotation] != nil }) else {
            throw SigstoreError(
                .alreadyThere,
                "the folder \(folder) is an image layout with images of its own, which saving would replace",
                advice: .remedy(.copyIntoLayout, of: folder))
        }
        return layout
    }
}

extension SigstoreError.Code {
    /// Something else stands where an image is to be put.
    public static let alreadyThere = Self("already-there")
}

extension SigstoreError.Remedy {
    /// The tag is another image already.
    public static let replaceTag = Self("use-another-tag-or-replace-this-one")
    /// The tag is another SBOM already.
    public static let replaceSBOM = Self("replace-it")
    /// The folder that is named is an image layout with images of its own.
    public static let copyIntoLayout = Self("name-a-new-folder-or-copy-into-the-layout")
}
