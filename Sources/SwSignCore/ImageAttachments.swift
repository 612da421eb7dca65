public import InToto
public import OCIRegistry
public import SigstoreCrypto
internal import SigstoreVerification

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

        /// The type of its predicate where it says so, else of the artifact.
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

    /// Whether nothing is attached.
    public var isEmpty: Bool { tagged.isEmpty && referrers.isEmpty }
}

extension SignatureStore {
    /// The annotation of a bundle's manifest that names the type of its predicate.
    static let predicateTypeAnnotation = "dev.sigstore.bundle.predicateType"
    private static let contentAnnotation = "dev.sigstore.bundle.content"
    private static let artifactTypePrefix = "application/vnd.dev.cosign.artifact."
    static let bundleTypePrefix = "application/vnd.dev.sigstore.bundle"

    /// Finds what is attached.
    /// - Throws: ``SigstoreError`` where the store could not be asked, or more than 1,000 manifests refer to the image.
    public func attachments() async throws(SigstoreError) -> ImageAttachments {
        let store = image.signatureStore
        let tagged = try await concurrently(Kind.allCases) { kind throws(SigstoreError) -> ImageAttachments.Tagged? in
            let tag = self.tag(kind)
            guard let manifest = try await store.manifest(try ManifestSelector(tag: tag)) else { return nil }
            return ImageAttachments.Tagged(kind: kind, tag: tag, manifest: manifest)
        }
        let listed = try await store.referrers(of: image.digest, artifactType: nil).descriptors
        guard listed.count <= Manifest.layerLimit else {
            throw SigstoreError(
                .tooManySignatures,
                "\(listed.count) manifests refer to \(image.name), more than the \(Manifest.layerLimit) that are looked at"
            )
        }
        let referrers = try await concurrently(listed) {
            descriptor throws(SigstoreError) -> ImageAttachments.Referrer? in
            guard let manifest = try await store.manifest(.digest(descriptor.digest)) else { return nil }
            return ImageAttachments.Referrer(manifest: manifest, kind: try await self.kind(of: manifest))
        }
        return ImageAttachments(
            tagged: tagged.compactMap { $0 }, referrers: referrers.compactMap { $0 },
            missing: zip(listed, referrers).filter { $0.1 == nil }.map(\.0.digest))
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
            guard error.isAboutContent else { throw error }
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
        /// Everything that refers to the image, whoever made it.
        case referrer
        /// Signatures, attestations and SBOMs.
        case all
    }

    /// Removes what is attached, in both schemes.
    /// - Parameter removal: What is removed.
    /// - Returns: The tags and digests that were removed, as references.
    /// - Throws: ``SigstoreError`` where the store could not be asked or does not allow it.
    public func remove(_ removal: Removal) async throws(SigstoreError) -> [String] {
        let kinds: [Kind] =
            switch removal {
            case .signature: [.signature]
            case .attestation: [.attestation]
            case .sbom: [.sbom]
            case .referrer: []
            case .all: Kind.allCases
            }
        let store = image.signatureStore
        // First everything is looked at, so that a store which cannot be asked keeps all.
        let found = try await attachments()
        // What does not say itself that it refers to the image is not removed, whatever lists it.
        let referrers = found.referrers.filter { referrer in
            referrer.manifest.subject?.digest == image.digest
                && (removal == .referrer || referrer.kind.map { kinds.contains($0) } ?? false)
        }.map(\.manifest.digest)
        var removed: [String] = []
        for kind in kinds where try await store.deleteMerged(tag(kind)) { removed.append("\(store.name):\(tag(kind))") }
        if !referrers.isEmpty {
            try await store.deleteReferrers(Set(referrers), of: image.digest)
            removed += referrers.map { "\(store.name)@\($0)" }
        }
        return removed
    }
}
