internal import InToto
public import OCIRegistry
public import SigstoreCrypto
internal import SigstoreVerification
public import StrictJSON

/// What is attached to an image, in both of cosign's schemes, as it is stored. Nothing of it is verified.
public struct ImageAttachments: Sendable {
    /// What stands at a tag of the older scheme.
    public struct Tagged: Sendable {
        /// Which tag.
        public let kind: SignatureStore.Kind
        /// The tag itself.
        public let tag: String
        /// What stands there.
        public let manifest: Manifest
    }

    /// A manifest that refers to the image.
    public struct Referrer: Sendable {
        /// The manifest.
        public let manifest: Manifest
        /// What it holds of cosign's; `nil` for anything else.
        public let kind: SignatureStore.Kind?

        /// The type of its predicate if it says so, else of the artifact.
        public var typeName: String {
            let descriptor = manifest.referrerDescriptor
            return descriptor.annotations[SignatureStore.predicateTypeAnnotation] ?? descriptor.artifactType
                ?? manifest.mediaType
        }
    }

    /// What stands at the tags of the older scheme.
    public let tagged: [Tagged]
    /// What refers to the image.
    public let referrers: [Referrer]
    /// What is listed as referring to the image and is not there.
    public let missing: [Digest]
    /// What was looked at and cannot be read, each with its place and reason.
    public let unreadable: [SigstoreError]

    /// Whether nothing is attached.
    public var isEmpty: Bool { tagged.isEmpty && referrers.isEmpty }

    /// What is attached, if all of it could be read.
    /// - Throws: `SigstoreError`: why something could not be read.
    public func whole() throws(SigstoreError) -> ImageAttachments {
        if let error = unreadable.first { throw error }
        return self
    }
}

extension SignatureStore {
    /// The annotation of a bundle's manifest that names the type of its predicate.
    static let predicateTypeAnnotation = "dev.sigstore.bundle.predicateType"
    private static let contentAnnotation = "dev.sigstore.bundle.content"
    private static let artifactTypePrefix = "application/vnd.dev.cosign.artifact."
    static let bundleTypePrefix = "application/vnd.dev.sigstore.bundle"

    /// Finds what is attached, as far as it can be read.
    /// - Throws: `SigstoreError` if something could not be looked at, or more than 1,000 manifests refer to the image.
    public func attachments() async throws(SigstoreError) -> ImageAttachments {
        try await attachments(at: Kind.allCases)
    }

    /// - Parameter kinds: The tags that are looked at, beside what refers to the image.
    private func attachments(at kinds: [Kind]) async throws(SigstoreError) -> ImageAttachments {
        let store = image.signatureStore
        let atTags = try await concurrently(kinds) { kind throws(SigstoreError) in
            try await Self.read(self.tag(kind)) { () throws(SigstoreError) in
                try await store.manifest(try ManifestSelector(tag: self.tag(kind)))
            }
        }
        let listed = try await store.referrers(of: image.digest, artifactType: nil).descriptors
        guard listed.count <= Manifest.layerLimit else {
            throw SigstoreError(
                .tooManySignatures,
                "\(listed.count) manifests refer to \(image.name), more than the \(Manifest.layerLimit) that are looked at"
            )
        }
        let atDigests = try await concurrently(listed) { descriptor throws(SigstoreError) in
            try await Self.read("referrer \(descriptor.digest)") {
                () throws(SigstoreError) -> ImageAttachments.Referrer? in
                guard let manifest = try await store.manifest(.digest(descriptor.digest)) else { return nil }
                return ImageAttachments.Referrer(manifest: manifest, kind: try await self.kind(of: manifest))
            }
        }
        var tagged: [ImageAttachments.Tagged] = []
        var referrers: [ImageAttachments.Referrer] = []
        var missing: [Digest] = []
        var unreadable: [SigstoreError] = []
        for (kind, result) in zip(kinds, atTags) {
            switch result {
            case .success(let manifest?):
                tagged.append(ImageAttachments.Tagged(kind: kind, tag: tag(kind), manifest: manifest))
            case .success(nil): break
            case .failure(let error): unreadable.append(error)
            }
        }
        for (descriptor, result) in zip(listed, atDigests) {
            switch result {
            case .success(let referrer?): referrers.append(referrer)
            case .success(nil): missing.append(descriptor.digest)
            case .failure(let error): unreadable.append(error)
            }
        }
        return ImageAttachments(tagged: tagged, referrers: referrers, missing: missing, unreadable: unreadable)
    }

    /// What was read, or why it is something that cannot be read.
    /// - Throws: `SigstoreError` if it could not be looked at.
    private static func read<Value>(
        _ place: String, _ body: () async throws(SigstoreError) -> Value
    ) async throws(SigstoreError) -> Result<Value, SigstoreError> {
        do throws(SigstoreError) { return .success(try await body()) } catch {
            guard error.isAboutContent else { throw error }
            return .failure(error.concerning(place))
        }
    }

    private static func result<Value>(
        _ body: () async throws(SigstoreError) -> Value
    ) async -> Result<Value, SigstoreError> {
        do throws(SigstoreError) { return .success(try await body()) } catch { return .failure(error) }
    }

    /// What a referrer holds of cosign's.
    private func kind(of manifest: Manifest) async throws(SigstoreError) -> Kind? {
        guard let content = manifest.image else { return nil }
        let types = [content.artifactType, content.config.mediaType].compactMap { $0 }
        // cosign 2's experiment with referrers: …artifact.sig.v1+json and the like.
        if let type = types.first(where: { $0.utf8.starts(with: Self.artifactTypePrefix.utf8) }) {
            let name = type.dropFirst(Self.artifactTypePrefix.count).prefix { $0 != "." }
            return Kind(rawValue: String(name))
        }
        guard let layer = content.layers.first, layer.mediaType.utf8.starts(with: Self.bundleTypePrefix.utf8) else {
            return nil
        }
        if let type = content.annotations[Self.predicateTypeAnnotation] {
            return PredicateType(uri: type).matches(.cosignSign) ? .signature : .attestation
        }
        if content.annotations[Self.contentAnnotation] == "message-signature" { return .signature }
        do throws(SigstoreError) {
            guard case .dsse(let envelope) = try await bundle(layer).content else { return .signature }
            return try Statement(parsing: envelope.payload).predicateType.matches(.cosignSign)
                ? .signature : .attestation
        } catch {
            // What cannot be read is still there to be copied and removed.
            guard error.isAboutContent || [.notFound, .digestMismatch].contains(error.code) else { throw error }
            return .signature
        }
    }

    private func bundle(_ layer: Descriptor) async throws(SigstoreError) -> SigstoreBundle {
        try SigstoreBundle(parsing: try await image.signatureStore.blob(layer, limit: attachmentLimit))
    }

    // MARK: Removing

    /// What is to be removed.
    public enum Removal: String, Sendable, CaseIterable {
        case signature, attestation, sbom
        /// Everything that refers to the image, by whichever tool it was made.
        case referrer
        /// Signatures, attestations and SBOMs.
        case all
    }

    /// What was removed.
    public struct Removed: Sendable {
        /// The tags and digests that are gone, as references.
        public internal(set) var references: [String] = []
        /// What was left, each with the reason.
        public internal(set) var left: [SigstoreError] = []
    }

    /// Removes what is attached, in both schemes.
    ///
    /// A tag is removed alone if the store can do that. A manifest is removed only if its own content says that it is
    /// attached to this image: anyone who may push may point a signature's tag at another image. It is left if a tag
    /// would go with it that has nothing to do with the image, or if that cannot be found out.
    /// - Parameters:
    ///   - removal: What is removed.
    ///   - takingTags: Whether manifests are removed even if other tags go with them.
    /// - Throws: `SigstoreError` if something could not be looked at; nothing is removed then.
    public func remove(_ removal: Removal, takingTags: Bool = false) async throws(SigstoreError) -> Removed {
        let kinds: [Kind] =
            switch removal {
            case .signature: [.signature]
            case .attestation: [.attestation]
            case .sbom: [.sbom]
            case .referrer: []
            case .all: Kind.allCases
            }
        // First everything is looked at, so that a store which cannot be asked keeps all.
        let store = image.signatureStore
        var names: [String] = []
        var notListed: SigstoreError?
        if !kinds.isEmpty {
            do throws(SigstoreError) { names = try await store.tags() ?? [] } catch {
                notListed = error.concerning("what other writers left beside \(image.name) is not known")
            }
        }
        var tagged: [TaggedContent] = []
        for kind in kinds {
            let announced = names.filter { TagMerge.isAnnouncement($0, for: tag(kind)) }
            for name in announced + [tag(kind)] {
                if let content = try await content(at: name, kind) { tagged.append(content) }
            }
        }
        let found = try await attachments(at: [])
        let referrers = found.referrers.filter { referrer in
            referrer.manifest.subject?.digest == image.digest
                && (removal == .referrer || referrer.kind.map { kinds.contains($0) } ?? false)
        }.map(\.manifest.digest)

        // What is left of the tags can only be removed with what it points at.
        var removed = Removed()
        var pending: [TaggedContent] = []
        for content in tagged where content.isOwn {
            do throws(SigstoreError) {
                if try await store.delete(try ManifestSelector(tag: content.tag)) {
                    removed.references.append("\(store.name):\(content.tag)")
                }
            } catch {
                if error.code == .unsupported { pending.append(content) } else { removed.left.append(error) }
            }
        }
        let foreign = tagged.filter { !$0.isOwn }
        for content in foreign { await removeTagAlone(content, &removed) }
        if !(pending.isEmpty && referrers.isEmpty) {
            let tags = await tags(
                of: Set(pending.compactMap { $0.manifest?.digest } + referrers), known: pending.map(\.tag),
                wereListed: !names.isEmpty)
            await remove(pending, tags, takingTags: takingTags, &removed)
            await removeReferrers(Set(referrers), tags, takingTags: takingTags, &removed)
        }
        removed.left += found.unreadable
        if let notListed, !takingTags { removed.left.append(notListed) }
        return removed
    }

    /// Removes manifests that refer to the image, and leaves those with which other tags would go.
    /// - Parameter referrers: The manifests, which were seen to refer to the image.
    func removeReferrers(_ referrers: Set<Digest>) async -> Removed {
        var removed = Removed()
        guard !referrers.isEmpty else { return removed }
        await removeReferrers(referrers, await tags(of: referrers, known: []), takingTags: false, &removed)
        return removed
    }

    /// What stands at a tag of the older scheme, or at one that a writer uses for it.
    private struct TaggedContent {
        let tag: String
        /// The manifest; `nil` if it cannot be read.
        let manifest: Manifest?
        /// Whether its own content says that it is attached to this image.
        let isOwn: Bool
    }

    /// The tags that point at each manifest; or why that is not known.
    private typealias KnownTags = Result<[Digest: [String]], SigstoreError>

    private func content(at tag: String, _ kind: Kind) async throws(SigstoreError) -> TaggedContent? {
        do throws(SigstoreError) {
            guard let manifest = try await image.signatureStore.manifest(try ManifestSelector(tag: tag)) else {
                return nil
            }
            return TaggedContent(tag: tag, manifest: manifest, isOwn: try await isAttached(manifest, kind))
        } catch {
            guard error.isAboutContent else { throw error }
            return TaggedContent(tag: tag, manifest: nil, isOwn: false)
        }
    }

    /// Whether a manifest's own content says that it is attached to this image: its layers are signatures, attestations
    /// or SBOMs, and its subject or what was signed names the image. An SBOM's manifest names none.
    private func isAttached(_ manifest: Manifest, _ kind: Kind) async throws(SigstoreError) -> Bool {
        if let subject = manifest.subject, subject.digest != image.digest { return false }
        if kind == .sbom { return manifest.holdsSBOM }
        guard manifest.holdsSignatures, let layers = manifest.image?.layers else { return false }
        if manifest.subject != nil { return true }
        for layer in layers.prefix(Self.limit) {
            do throws(SigstoreError) {
                let content = try await image.signatureStore.blob(layer, limit: attachmentLimit)
                if try isAboutImage(content, layer.mediaType) { return true }
            } catch {
                guard error.isAboutContent || [.notFound, .digestMismatch].contains(error.code) else { throw error }
            }
        }
        return false
    }

    private func isAboutImage(_ content: [UInt8], _ mediaType: String) throws(SigstoreError) -> Bool {
        if mediaType.utf8.elementsEqual(SimpleSigningPayload.mediaType.utf8) {
            return try SimpleSigningPayload(parsing: content).digest == image.digest
        }
        let envelope: DSSEEnvelope
        if mediaType.utf8.starts(with: Self.bundleTypePrefix.utf8) {
            guard case .dsse(let signed) = try SigstoreBundle(parsing: content).content else { return false }
            envelope = signed
        } else {
            envelope = try DSSEEnvelope(JSONCursor(try JSONValue(parsing: content)))
        }
        return try Statement(parsing: envelope.payload).subjects.contains { subject in
            subject.digests.contains {
                $0.algorithm.utf8.elementsEqual(image.digest.algorithm.rawValue.utf8)
                    && $0.hex.utf8.elementsEqual(image.digest.hex.utf8)
            }
        }
    }

    /// The most tags that are looked at to find those which point at a manifest.
    private static let tagLimit = 1000

    /// The tags that point at these manifests.
    /// - Parameters:
    ///   - known: Tags that are there: a list without one of them is not believed.
    ///   - wereListed: Whether the store has listed tags in this run. If it has no list now, that was the last of them.
    private func tags(of digests: Set<Digest>, known: [String], wereListed: Bool = false) async -> KnownTags {
        let store = image.signatureStore
        var known = known
        if case .registry(let reference) = image.location, case .tag(let tag) = reference.selector,
            store.name == image.store.name
        {
            known.append(tag)
        }
        return await Self.result { [known] () throws(SigstoreError) in
            guard let names = try await store.tags() ?? (wereListed ? [] : nil) else {
                throw SigstoreError(.unsupported, "\(store.name) does not list its tags")
            }
            guard names.count <= Self.tagLimit else {
                throw SigstoreError(
                    .unsupported,
                    "\(store.name) has \(names.count) tags, more than the \(Self.tagLimit) that are looked at")
            }
            // A layout lists no tags for what cosign saved there.
            if !(store is ImageLayout),
                let tag = known.first(where: { tag in !names.contains { $0.utf8.elementsEqual(tag.utf8) } })
            {
                throw SigstoreError(.unsupported, "\(store.name) does not list all of its tags: \(tag) is not named")
            }
            let algorithms = Set(digests.map(\.algorithm))
            let found = try await concurrently(names) { name throws(SigstoreError) -> [Digest] in
                do throws(SigstoreError) {
                    guard let manifest = try await store.manifest(try ManifestSelector(tag: name)) else { return [] }
                    var found: [Digest] = []
                    for algorithm in algorithms { found.append(try Digest.hash(manifest.bytes, algorithm)) }
                    return found.filter { digests.contains($0) }
                } catch {
                    // What cannot be read is none of the manifests, which could.
                    guard error.isAboutContent else { throw error }
                    return []
                }
            }
            var tags: [Digest: [String]] = [:]
            for (name, digests) in zip(names, found) {
                for digest in digests { tags[digest, default: []].append(name) }
            }
            return tags
        }
    }

    /// The tags that would go with a manifest and have nothing to do with what is removed.
    /// - Throws: `SigstoreError`: why the manifest is left.
    private func otherTags(
        _ digest: Digest, _ tags: KnownTags, removing: [String], takingTags: Bool
    ) throws(SigstoreError) -> [String] {
        let name = "\(image.signatureStore.name)@\(digest)"
        let place = removing.first.map { ", which stands at the tag \($0)," } ?? ""
        let advice = SigstoreError.Advice.remedy(.removeWithTags)
        let all: [String]
        do throws(SigstoreError) { all = try tags.get()[digest] ?? [] } catch {
            if takingTags { return [] }
            throw SigstoreError(
                .unsupported,
                "\(name)\(place) is left: which tags would go with it is not known: \(error.message)", advice: advice,
                cause: error)
        }
        let list = FallbackTag.name(of: image.digest)
        let others = all.filter { tag in
            !removing.contains { $0.utf8.elementsEqual(tag.utf8) } && !TagMerge.isAnnouncement(tag, for: list)
        }
        guard takingTags || others.isEmpty else {
            throw SigstoreError(
                .unsupported, "\(name)\(place) is left: with it these tags would go: \(Self.few(others))",
                advice: advice)
        }
        return others
    }

    private static func few(_ names: [String]) -> String {
        names.prefix(5).joined(separator: ", ") + (names.count > 5 ? " and \(names.count - 5) more" : "")
    }

    /// Removes manifests whose tags the store cannot remove alone.
    private func remove(
        _ contents: [TaggedContent], _ tags: KnownTags, takingTags: Bool, _ removed: inout Removed
    ) async {
        let store = image.signatureStore
        var seen: Set<Digest> = []
        for case let digest? in contents.map({ $0.manifest?.digest }) where seen.insert(digest).inserted {
            let own = contents.filter { $0.manifest?.digest == digest }.map(\.tag)
            do throws(SigstoreError) {
                let others = try otherTags(digest, tags, removing: own, takingTags: takingTags)
                guard try await store.delete(.digest(digest)) else { continue }
                removed.references += (own + others).map { "\(store.name):\($0)" }
            } catch { removed.left.append(error) }
        }
    }

    private func removeReferrers(
        _ referrers: Set<Digest>, _ tags: KnownTags, takingTags: Bool, _ removed: inout Removed
    ) async {
        let store = image.signatureStore
        var others: [Digest: [String]] = [:]
        for digest in referrers.sorted(by: { $0.hex < $1.hex }) {
            do throws(SigstoreError) {
                others[digest] = try otherTags(digest, tags, removing: [], takingTags: takingTags)
            } catch { removed.left.append(error) }
        }
        guard !others.isEmpty else { return }
        do throws(SigstoreError) { try await store.deleteReferrers(Set(others.keys), of: image.digest) } catch {
            removed.left.append(error)
            for digest in others.keys {
                let there = await Self.result { () throws(SigstoreError) in try await store.resolve(.digest(digest)) }
                if case .success(nil) = there { continue }
                others[digest] = nil
            }
        }
        for (digest, tags) in others.sorted(by: { $0.key.hex < $1.key.hex }) {
            removed.references.append("\(store.name)@\(digest)")
            removed.references += tags.map { "\(store.name):\($0)" }
        }
    }

    /// Removes a tag of this image's that points at something else, which stays, with all its other tags.
    ///
    /// Some registries remove a manifest with its tag. So the tag is pointed at an empty manifest of our own first, and
    /// whatever is removed then is that one.
    private func removeTagAlone(_ content: TaggedContent, _ removed: inout Removed) async {
        let store = image.signatureStore
        do throws(SigstoreError) {
            if let layout = store as? ImageLayout {
                guard try await layout.untag(content.tag) else { return }
            } else {
                guard let manifest = content.manifest else { throw SigstoreError(.unsupported, "it cannot be read") }
                let empty = try await store.putEmptyManifest(at: content.tag)
                do throws(SigstoreError) {
                    do throws(SigstoreError) {
                        _ = try await store.delete(try ManifestSelector(tag: content.tag))
                    } catch {
                        guard error.code == .unsupported else { throw error }
                        _ = try await store.delete(.digest(empty.digest))
                    }
                } catch {
                    try await store.putManifest(manifest, tag: content.tag)
                    throw error
                }
            }
            removed.references.append("\(store.name):\(content.tag)")
        } catch {
            removed.left.append(
                SigstoreError(
                    error.code,
                    "\(store.name):\(content.tag) is left: what stands there is not attached to this image: \(error.message)",
                    advice: "look at what stands there, and remove the tag in the registry", cause: error))
        }
    }
}

extension SigstoreError.Remedy {
    /// Other tags would go with what is removed.
    public static let removeWithTags = Self("look-at-it-and-remove-it-with-all-its-tags")
}
