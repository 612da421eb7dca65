public import HTTPTransport
public import OCIRegistry
public import SigstoreCrypto
public import StrictJSON

/// An image. Its tag was resolved once; from here on only its digest is used.
public struct Image: Sendable {
    /// How the person named it.
    public let name: String
    /// Where it is.
    public let location: ImageLocation
    /// The registry's repository, or the layout, that holds it.
    public let store: any ImageStore
    /// Where its signatures are: the same, unless they are kept in another repository.
    public let signatureStore: any ImageStore
    /// The digest of the manifest.
    public let digest: Digest
    /// What the name stands for; `nil` if the store was not asked.
    private let found: Descriptor?

    /// Finds an image.
    /// - Parameters:
    ///   - name: A reference as cosign takes it, or `oci-layout:PATH[:TAG|@DIGEST]`.
    ///   - registries: Opens repositories and layouts; many images share one. By default, with the credentials that Docker and
    ///     Podman keep.
    ///   - signatureRepository: The repository for signatures, if it is not the image's own.
    ///   - isFolder: Whether the name is the path of a layout that holds one image.
    /// - Throws: `SigstoreError` with `image-not-found` if there is no such image, or because the store could not be
    ///   asked.
    public init(
        finding name: String, _ registries: Registries = Registries(CurlClient()), signatureRepository: String? = nil,
        isFolder: Bool = false
    ) async throws(SigstoreError) {
        try await self.init(name, registries, signatureRepository, isFolder: isFolder, isAskedFor: true)
    }

    /// Takes an image as it is named. If that is by its digest, the store is not asked for it: what needs its manifest asks
    /// then, and so does an ``ImageVerifier`` before it says that nothing holds.
    /// - Parameters:
    ///   - name: A reference as cosign takes it, or `oci-layout:PATH[:TAG|@DIGEST]`.
    ///   - registries: Opens repositories and layouts; many images share one. By default, with the credentials that Docker and
    ///     Podman keep.
    ///   - signatureRepository: The repository for signatures, if it is not the image's own.
    ///   - isFolder: Whether the name is the path of a layout that holds one image.
    /// - Throws: `SigstoreError` with `image-not-found` if there is no such tag, or because the store could not be asked.
    public init(
        named name: String, _ registries: Registries = Registries(CurlClient()), signatureRepository: String? = nil,
        isFolder: Bool = false
    ) async throws(SigstoreError) {
        try await self.init(name, registries, signatureRepository, isFolder: isFolder, isAskedFor: false)
    }

    private init(
        _ name: String, _ registries: Registries, _ signatureRepository: String?, isFolder: Bool, isAskedFor: Bool
    ) async throws(SigstoreError) {
        try Cryptography.prepare()
        location = isFolder ? .layout(path: name, nil) : try ImageLocation(parsing: name)
        store = try registries.store(for: location)
        if let signatureRepository, case .registry = location {
            signatureStore = registries.client(for: try Repository(parsing: signatureRepository))
        } else {
            signatureStore = store
        }
        let selector: ManifestSelector
        switch location {
        case .registry(let reference): selector = reference.selector
        case .layout(_, let picked?): selector = picked
        case .layout(let path, nil): selector = try ImageLayout(opening: path).onlyImage()
        }
        self.name = name
        if !isAskedFor, case .digest(let digest) = selector {
            (self.digest, found) = (digest, nil)
            return
        }
        guard let found = try await store.resolve(selector) else { throw .noImage(name) }
        (digest, self.found) = (found.digest, found)
    }

    /// What the name stands for: media type, digest and size of the manifest. The store is asked unless it was before.
    /// - Throws: `SigstoreError` with `image-not-found` if there is no such image, or because the store could not be asked.
    public func descriptor() async throws(SigstoreError) -> Descriptor {
        if let found { return found }
        guard let found = try await store.resolve(.digest(digest)) else { throw .noImage(name) }
        return found
    }

    /// Why it is not known that the image is there: it is not, or the store cannot be asked. `nil` if it is there, or was once
    /// seen there.
    func absence() async -> SigstoreError? {
        do throws(SigstoreError) { _ = try await descriptor() } catch { return error }
        return nil
    }

    /// Something else in the same place as an image.
    init(_ image: Image, _ descriptor: Descriptor) {
        name = "\(image.store.name)@\(descriptor.digest)"
        location = image.location
        store = image.store
        signatureStore = image.signatureStore
        (digest, found) = (descriptor.digest, descriptor)
    }

    /// The same content as it is, or will be, somewhere else.
    init(
        _ image: Image, at location: ImageLocation, _ store: any ImageStore, signatureStore: any ImageStore
    ) {
        name = "\(store.name)@\(image.digest)"
        self.location = location
        self.store = store
        self.signatureStore = signatureStore
        (digest, found) = (image.digest, image.found)
    }

    /// What is attached to this image under a tag of the older scheme, such as its SBOM, as something to verify itself.
    /// - Throws: `SigstoreError` with `image-not-found` if nothing is attached.
    public func attachment(_ kind: SignatureStore.Kind, tagPrefix: String) async throws(SigstoreError) -> Image {
        let tag = SignatureStore(self, tagPrefix: tagPrefix).tag(kind)
        guard let found = try await signatureStore.resolve(try ManifestSelector(tag: tag)) else {
            throw await absence() ?? SigstoreError(.imageNotFound, "\(name) has no attachment \(tag)")
        }
        return Image(self, found)
    }

    /// Whether the name has a tag, which may point elsewhere tomorrow.
    public var isNamedByTag: Bool {
        switch location {
        case .registry(let reference): reference.digest == nil
        case .layout(_, .tag?): true
        case .layout: false
        }
    }

    /// The name as it was given, without `oci://` before it.
    var reference: String {
        name.utf8.starts(with: "oci://".utf8) ? String(Substring(name.utf8.dropFirst(6))) : name
    }

    /// The repository as signatures name it (`docker-reference`, an attestation's subject).
    public var repositoryName: String {
        switch location {
        case .registry(let reference): reference.repository.name
        case .layout(let path, _): path.split(separator: "/").last.map(String.init) ?? path
        }
    }

    /// The image for one platform: those of an index, or this image itself if its config says that it is for that platform.
    /// - Parameter platform: Such as `linux/arm64` or `linux/arm64/v8`.
    /// - Throws: `SigstoreError` with `image-not-found` if there is none.
    public func picking(_ platform: String) async throws(SigstoreError) -> [Image] {
        var (all, manifest) = try await contents()
        let isSingle = all.count == 1
        if isSingle { all[0].platform = try await ownPlatform(manifest) }
        let picked = all.filter { entry in
            guard let found = entry.platform else { return false }
            return "\(found)".utf8.elementsEqual(platform.utf8)
                || "\(found.os)/\(found.architecture)".utf8.elementsEqual(platform.utf8)
        }
        guard !picked.isEmpty else {
            let known = all.compactMap(\.platform).map(\.description).joined(separator: ", ")
            throw SigstoreError(
                .imageNotFound, "\(name) has no image for the platform \(platform)",
                advice: isSingle
                    ? "it is a single image, \(known.isEmpty ? "which does not say for which platform" : "for \(known)")"
                    : "it has: \(known)")
        }
        return picked.map(\.image)
    }

    /// The platform that a single image's config names; `nil` if it names none, or this is no image with a config.
    private func ownPlatform(_ manifest: Manifest?) async throws(SigstoreError) -> Platform? {
        guard let content = manifest?.image else { return nil }
        let types = [MediaType.imageConfig, MediaType.dockerConfig]
        guard types.contains(where: { $0.utf8.elementsEqual(content.config.mediaType.utf8) }) else { return nil }
        do throws(SigstoreError) {
            let config = try JSONValue(
                parsing: try await store.blob(content.config, limit: 16 << 20), values: 1 << 18)
            let platform = try Platform(JSONCursor(config))
            return platform.os.isEmpty && platform.architecture.isEmpty ? nil : platform
        } catch { throw error.concerning("the config of \(name)") }
    }

    /// This image and, if it is an index, every image within it. What the image is follows from its bytes: the media
    /// type in ``descriptor()`` may be what the registry answered to HEAD, and one that lies would hide what is within.
    /// - Throws: `SigstoreError` if an index cannot be read, or more than 1,000 images are nested in it.
    public func withPlatforms() async throws(SigstoreError) -> [(image: Image, platform: Platform?)] {
        try await contents().images
    }

    /// The same, with this image's own manifest.
    private func contents() async throws(SigstoreError) -> (
        images: [(image: Image, platform: Platform?)], manifest: Manifest?
    ) {
        var own: Manifest?
        var all: [(image: Image, platform: Platform?)] = [(image: self, platform: nil)]
        var next = 0
        while next < all.count {
            let image = all[next].image
            let isTop = next == 0
            next += 1
            // Of what stands in an index, the index says what it is, and that has been checked with it.
            let types = [MediaType.imageIndex, MediaType.dockerManifestList]
            guard isTop || image.found.map({ types.contains($0.mediaType) }) ?? true else { continue }
            guard let manifest = try await store.manifest(.digest(image.digest)) else {
                guard image.found != nil else { throw .noImage(image.name) }
                throw SigstoreError(.imageNotFound, "\(image.name) cannot be read: it is not there any more")
            }
            if isTop { own = manifest }
            guard let index = manifest.index else {
                if isTop { continue }
                throw SigstoreError(
                    .malformedManifest, "\(image.name) is listed as an index, and is \(manifest.mediaType)")
            }
            for descriptor in index.manifests where !all.contains(where: { $0.image.digest == descriptor.digest }) {
                guard all.count < Manifest.layerLimit else {
                    throw SigstoreError(
                        .tooManySignatures, "the index \(name) holds more than \(Manifest.layerLimit) images")
                }
                all.append((image: Image(self, descriptor), platform: descriptor.platform))
            }
        }
        return (all, own)
    }
}

extension SigstoreError {
    fileprivate static func noImage(_ name: String) -> SigstoreError {
        SigstoreError(
            .imageNotFound, "there is no image \(name)",
            advice: "check the name and the tag; some registries hide images from those who are not logged in")
    }
}

extension SigstoreError.Code {
    /// There is no such image or tag.
    public static let imageNotFound = Self("image-not-found")
}
