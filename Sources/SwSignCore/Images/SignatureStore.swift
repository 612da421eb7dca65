internal import HTTPTransport
public import InToto
public import OCIRegistry
public import SigstoreCrypto
public import SigstoreVerification
public import StrictJSON

/// A signature or attestation as it was found with an image: already a bundle, whatever its form was.
public struct StoredSignature: Sendable {
    /// What was found.
    public enum Form: Sendable {
        /// A bundle of the newer scheme.
        case bundle
        /// A signature of the older scheme, with the payload that it is over.
        case simpleSigning([UInt8])
        /// An attestation of the older scheme.
        case envelope
    }

    /// The signature.
    public internal(set) var bundle: SigstoreBundle
    /// What it was made of.
    public let form: Form
    /// Whether it is a bundle, which brings all that it has.
    var isOfNewerScheme: Bool { if case .bundle = form { true } else { false } }
    /// Where it was found, such as `sha256-….sig, layer 0`.
    public let place: String
    /// The manifest that holds it; none for one that came in files.
    public let manifest: Digest?

    /// Makes one of files: a signature of the older scheme with its payload.
    public init(bundle: SigstoreBundle, payload: [UInt8]) {
        self.init(bundle: bundle, form: .simpleSigning(payload), place: "the signature file", manifest: nil)
    }

    /// Makes one of a file: a bundle of the newer scheme.
    public init(bundle: SigstoreBundle) {
        self.init(bundle: bundle, form: .bundle, place: "the signature file", manifest: nil)
    }

    init(bundle: SigstoreBundle, form: Form, place: String, manifest: Digest?) {
        self.bundle = bundle
        self.form = form
        self.place = place
        self.manifest = manifest
    }

    /// The type of its predicate; none for a signature of the older scheme, or if the statement cannot be read.
    public var predicateType: PredicateType? { try? bundle.statement()?.predicateType }

    /// The type of its predicate; none for a signature over bytes. The statement is kept for the verifier.
    /// - Throws: `SigstoreError` with `unreadable-signature` if the statement cannot be read.
    mutating func readPredicateType() throws(SigstoreError) -> PredicateType? {
        do throws(SigstoreError) { return try bundle.readStatement()?.predicateType } catch {
            throw SigstoreError(
                .unreadableSignature, "its statement cannot be read: \(error.message)", cause: error
            ).concerning(place)
        }
    }
}

/// What was found with an image.
public struct StoredSignatures: Sendable {
    /// What could be read.
    public internal(set) var readable: [StoredSignature] = []
    /// What was looked at and is no signature that can be read, each with its place and reason. It neither counts as a
    /// signature nor hides one.
    public internal(set) var unreadable: [SigstoreError] = []
    /// What could not be looked at, each with the reason: there may be more signatures than were found. One that holds
    /// decides all the same; what is said of all signatures must not be decided unless this is empty.
    public internal(set) var unread: [SigstoreError] = []

    public init(_ readable: [StoredSignature] = []) { self.readable = readable }

    mutating func add(_ part: StoredSignatures) {
        readable += part.readable
        unreadable += part.unreadable
        unread += part.unread
    }

    /// Adds why something was not read.
    /// - Throws: The error, if it is about all signatures together.
    mutating func add(_ error: SigstoreError, _ place: String) throws(SigstoreError) {
        guard error.code != .tooManySignatures else { throw error }
        if error.isAboutContent {
            unreadable.append(SigstoreError(.unreadableSignature, error.message, cause: error).concerning(place))
        } else {
            unread.append(error.concerning(place))
        }
    }
}

/// Where the signatures and attestations of an image live, in both of cosign's schemes.
///
/// The newer scheme keeps each as a bundle that refers to the image (OCI referrers); the older one keeps signatures as
/// layers of the tag `sha256-<hex>.sig`, attestations of `.att`. Both can be read.
public struct SignatureStore: Sendable {
    /// The media type of a bundle, and of the manifest that holds it.
    public static let bundleMediaType = "application/vnd.dev.sigstore.bundle.v0.3+json"
    /// The media type of an attestation's layer in the older scheme.
    public static let envelopeMediaType = "application/vnd.dsse.envelope.v1+json"
    /// The config's media type by which cosign 2 marks a signature manifest that is a referrer.
    static let signatureArtifactType = "application/vnd.dev.cosign.artifact.sig.v1+json"
    /// The most signatures, and the most attestations, that one image may have (cosign's limit).
    public static let limit = 100
    /// The annotation of a layer that holds its signature, in base64.
    static let signatureAnnotation = "dev.cosignproject.cosign/signature"

    /// What is kept under a tag of the older scheme.
    public enum Kind: String, Sendable, CaseIterable {
        case signature = "sig"
        case attestation = "att"
        case sbom
    }

    /// The image.
    public let image: Image
    /// The most bytes that one signature may have.
    public var attachmentLimit: Int64 = 128 << 20
    let tagPrefix: String
    /// Whether manifests of the older scheme are written with Docker's media types, for registries that know no others.
    public var usesDockerMediaTypes = false

    /// The time that manifests of the older scheme are said to be made at, RFC 3339; by default none is said.
    public var creationTime: String?

    /// - Parameters:
    ///   - image: The image whose signatures are kept.
    ///   - tagPrefix: What stands before tags of the older scheme.
    public init(_ image: Image, tagPrefix: String = "") {
        self.image = image
        self.tagPrefix = tagPrefix
    }

    /// The tag of the older scheme.
    public func tag(_ kind: Kind) -> String {
        "\(tagPrefix)\(image.digest.algorithm.rawValue)-\(image.digest.hex).\(kind.rawValue)"
    }

    // MARK: Reading

    /// Finds what is there, in both schemes at once.
    /// - Parameter kind: `signature` or `attestation`: which tag of the older scheme is read. Bundles of both come back.
    /// - Returns: What is there. What could not be looked at, because the store could not be asked or sent something else
    ///   than was asked for, is in ``StoredSignatures/unread``: nothing is ever "not there" for that.
    /// - Throws: `SigstoreError` if more than ``limit`` are there, or they are too large together.
    public func find(_ kind: Kind) async throws(SigstoreError) -> StoredSignatures {
        var search = SignatureSearch(self, kind)
        return try await search.look(.bundles, .tag)
    }

    static func expect(_ count: Int, of image: Image) throws(SigstoreError) {
        guard count <= limit else {
            throw SigstoreError(
                .tooManySignatures, "\(image.name) has \(count) signatures, more than the \(limit) that are looked at",
                advice: .remedy(.removeSignatures))
        }
    }

    /// The newer scheme. What a list says of an artifact's type is not always right, so manifests are looked into.
    func bundles(_ referrers: Referrers, _ kind: Kind, _ blobs: ImageBlobs) async throws(SigstoreError)
        -> StoredSignatures
    {
        let candidates = referrers.descriptors.filter { descriptor in
            guard let type = descriptor.artifactType, type != MediaType.empty else { return true }
            return type.hasPrefix("application/vnd.dev.sigstore.bundle") || type == Self.signatureArtifactType
        }
        try Self.expect(candidates.count, of: image)
        var found = StoredSignatures()
        found.unread = referrers.unread
        if referrers.source == .notAnIndex {
            found.unread.append(
                SigstoreError(
                    .notAnIndex,
                    "\(image.signatureStore.name) does not list what refers to \(image.digest): it answers with no index",
                    advice: "look at what stands at its tag \(image.digest.algorithm.rawValue)-\(image.digest.hex)"))
        }
        let parts = try await concurrently(candidates) { descriptor throws(SigstoreError) in
            do throws(SigstoreError) { return try await self.referrer(descriptor, kind, blobs) } catch {
                var found = StoredSignatures()
                try found.add(error, "referrer \(descriptor.digest)")
                return found
            }
        }
        for part in parts { found.add(part) }
        return found
    }

    private func referrer(_ descriptor: Descriptor, _ kind: Kind, _ blobs: ImageBlobs)
        async throws(SigstoreError)
        -> StoredSignatures
    {
        var found = StoredSignatures()
        guard let manifest = try await image.signatureStore.manifest(.digest(descriptor.digest)) else {
            found.unreadable.append(
                SigstoreError(
                    .unreadableSignature,
                    "\(descriptor.digest) is listed as a referrer of \(image.name) and is not there"))
            return found
        }
        guard let content = manifest.image else { return found }
        if content.config.mediaType == Self.signatureArtifactType {
            return kind == .signature ? try await layers(of: manifest, "\(manifest.digest)", .signature, blobs) : found
        }
        guard let first = content.layers.first, first.mediaType.hasPrefix("application/vnd.dev.sigstore.bundle") else {
            return found
        }
        do throws(SigstoreError) {
            guard content.layers.count == 1 else {
                throw SigstoreError(
                    .unreadableSignature, "it has \(content.layers.count) layers, and a bundle is exactly one")
            }
            guard manifest.subject?.digest == image.digest else {
                throw SigstoreError(
                    .unreadableSignature,
                    "it refers to \(manifest.subject.map { "\($0.digest)" } ?? "nothing"), not to this image")
            }
            found.readable.append(
                StoredSignature(
                    bundle: try await blobs.bundles.value(first), form: .bundle,
                    place: "referrer \(manifest.digest)", manifest: manifest.digest))
        } catch  where error.code == .unreadableSignature {
            found.unreadable.append(error.concerning("referrer \(manifest.digest)"))
        }
        return found
    }

    /// The older scheme: one layer each, what else it needs in annotations.
    func layers(_ kind: Kind, _ blobs: ImageBlobs) async throws(SigstoreError) -> StoredSignatures {
        let tag = tag(kind)
        do throws(SigstoreError) {
            guard let manifest = try await image.signatureStore.manifest(try ManifestSelector(tag: tag)) else {
                return StoredSignatures()
            }
            return try await layers(of: manifest, tag, kind, blobs)
        } catch {
            guard error.code != .tooManySignatures else { throw error }
            var found = StoredSignatures()
            found.unread.append(error)
            return found
        }
    }

    private func layers(of manifest: Manifest, _ place: String, _ kind: Kind, _ blobs: ImageBlobs)
        async throws(SigstoreError)
        -> StoredSignatures
    {
        var found = StoredSignatures()
        guard let content = manifest.image else {
            found.unreadable.append(SigstoreError(.unreadableSignature, "\(place) is not a manifest with layers"))
            return found
        }
        try Self.expect(content.layers.count, of: image)
        let parts = try await concurrently(Array(content.layers.enumerated())) { entry throws(SigstoreError) in
            try await self.layer(entry.element, manifest, "\(place), layer \(entry.offset)", kind, blobs)
        }
        for part in parts { found.add(part) }
        return found
    }

    private func layer(
        _ layer: Descriptor, _ manifest: Manifest, _ place: String, _ kind: Kind, _ blobs: ImageBlobs
    )
        async throws(SigstoreError)
        -> StoredSignatures
    {
        var found = StoredSignatures()
        let expected = kind == .attestation ? Self.envelopeMediaType : SimpleSigningPayload.mediaType
        guard layer.mediaType.utf8.elementsEqual(expected.utf8) else {
            found.unreadable.append(
                SigstoreError(.unreadableSignature, "\(place) has the media type \(layer.mediaType), not \(expected)"))
            return found
        }
        do throws(SigstoreError) {
            let content = try await blobs.layers.value(layer)
            // Each envelope is kept once more, as what it was read into.
            if kind == .attestation { try blobs.budget.take(layer) }
            var annotations: [String: String] = [:]
            for entry in layer.annotations.entries { annotations[entry.name] = entry.value }
            found.readable.append(
                StoredSignature(
                    bundle: try SigstoreBundle(
                        annotations: annotations, layer: content, isAttestation: kind == .attestation),
                    form: kind == .attestation ? .envelope : .simpleSigning(content), place: place,
                    manifest: manifest.digest))
        } catch { try found.add(error, place) }
        return found
    }

    // MARK: Writing

    /// Does what storing a bundle needs and does not depend on what is in it, while that is still being made. What fails
    /// is tried again, and said, by ``add(_:created:)``.
    public func prepare() async {
        let (store, digest) = (image.signatureStore, image.digest)
        async let asked: Void = store.prepareReferrer(of: digest)
        if let config = try? Blob(Array("{}".utf8)) { try? await store.putBlob(config) }
        await asked
    }

    /// Adds a bundle to the image in the newer scheme.
    /// - Parameters:
    ///   - bundle: The bundle.
    ///   - created: The time in the manifest's annotation, RFC 3339.
    /// - Throws: `SigstoreError` if it could not be stored, or it cannot be made sure that it is listed.
    /// - Returns: The digest of the manifest that holds it.
    @discardableResult
    public func add(_ bundle: SigstoreBundle, created: String) async throws(SigstoreError) -> Digest {
        let store = image.signatureStore
        let config = try Blob(Array("{}".utf8))
        var layer = try Blob(bundle.serialized())
        layer.isNew = true
        _ = try await concurrently([config, layer]) { blob throws(SigstoreError) in try await store.putBlob(blob) }
        var annotations: Annotations = ["org.opencontainers.image.created": created]
        switch bundle.content {
        case .messageSignature: annotations["dev.sigstore.bundle.content"] = "message-signature"
        case .dsse(let envelope):
            annotations["dev.sigstore.bundle.content"] = "dsse-envelope"
            annotations["dev.sigstore.bundle.predicateType"] = try Statement(parsing: envelope.payload).predicateType
                .uri
        }
        let described = try await image.descriptor()
        let subject = Descriptor(mediaType: described.mediaType, digest: image.digest, size: described.size)
        let manifest = try ImageManifest(
            artifactType: Self.bundleMediaType,
            config: Descriptor(mediaType: MediaType.empty, digest: config.digest, size: config.size),
            layers: [Descriptor(mediaType: Self.bundleMediaType, digest: layer.digest, size: layer.size)],
            subject: subject, annotations: annotations
        ).encoded()
        var payload = layer.digest
        if case .dsse(let envelope) = bundle.content { payload = try Digest.sha256(envelope.payload) }
        try await store.putReferrer(
            manifest, announcedAs: try Self.announcement(bundle.keyMaterial, payload))
        return manifest.digest
    }

    /// The name at which a signature is announced to other writers: the same for the same signer and payload.
    private static func announcement(
        _ signer: SigstoreBundle.KeyMaterial, _ payload: Digest
    ) throws(SigstoreError) -> String {
        var name: String
        switch signer {
        case .publicKey(let hint): name = hint
        case .certificates(let chain):
            // Each certificate of an identity is another one.
            let certificate = try Certificate(der: chain.first ?? [])
            name = "\(certificate.displayName) \(try CertificateClaims(certificate).issuer() ?? "")"
        }
        name += " \(payload)"
        return String(try Digest.sha256(Array(name.utf8)).hex.prefix(32))
    }

    /// Adds a layer to the tag of the older scheme, beside those that are there.
    /// - Parameters:
    ///   - kind: Which tag.
    ///   - content: The layer: what was signed, or the envelope of an attestation.
    ///   - annotations: The layer's annotations.
    ///   - signer: Who signed, as a bundle says it; `nil` if that is not known.
    ///   - replacing: Says of the annotations of a layer that is there whether the layer is left out.
    public func add(
        _ kind: Kind, _ content: [UInt8], annotations: Annotations, by signer: SigstoreBundle.KeyMaterial? = nil,
        replacing: @escaping @Sendable (Annotations) -> Bool = { _ in false }
    ) async throws(SigstoreError) {
        let store = image.signatureStore
        let blob = try Blob(content)
        let layer = Descriptor(
            mediaType: kind == .attestation ? Self.envelopeMediaType : SimpleSigningPayload.mediaType,
            digest: blob.digest, size: blob.size, annotations: annotations)
        let own = try manifest([layer])
        _ = try await concurrently([own.config, blob]) { blob throws(SigstoreError) in try await store.putBlob(blob) }
        var payload = blob.digest
        // An envelope has its signature in it.
        if kind == .attestation, let envelope = try? DSSEEnvelope(JSONCursor(JSONValue(parsing: content))) {
            payload = try Digest.sha256(envelope.payload)
        }
        let name = try signer.map { (signer) throws(SigstoreError) in try Self.announcement(signer, payload) }
        try await merge(kind, own.manifest, announcedAs: name, replacing: replacing)
    }

    /// Adds the layers of a manifest to those of the tag of the older scheme.
    /// - Parameters:
    ///   - kind: Which tag.
    ///   - own: The manifest, whose blobs are stored. It stands at the tag as it is if nothing stood there.
    ///   - name: The name for announcing it; `nil` for that of its content.
    ///   - replacing: Leaves out layers that are there, by their annotations.
    func merge(
        _ kind: Kind, _ own: Manifest, announcedAs name: String? = nil,
        replacing: @escaping @Sendable (Annotations) -> Bool = { _ in false }
    ) async throws(SigstoreError) {
        let store = image.signatureStore
        let added = try Self.identifiers(own)
        var present: Set<String> = []
        if added.count > 1, let there = try await store.manifest(try ManifestSelector(tag: tag(kind))) {
            present = try Self.identifiers(there)
        }
        // What is made known to other writers must be something that is not there yet.
        guard let id = added.subtracting(present).sorted().first else { return }
        var change = TagMerge(tag: tag(kind), own: own, id: id, announcedAs: name) { (manifest) throws(SigstoreError) in
            try Self.identifiers(manifest)
        } isList: {
            $0.image?.layers.count != 1
        } merged: { [self] (manifests) throws(SigstoreError) in
            if manifests.allSatisfy({ $0.digest == own.digest }) { return own }
            var layers: [Descriptor] = []
            var known: Set<String> = []
            for found in manifests {
                for layer in found.image?.layers ?? [] {
                    let name = try Self.identifier(layer)
                    if !added.contains(name), replacing(layer.annotations) { continue }
                    if known.insert(name).inserted { layers.append(layer) }
                }
            }
            try Self.expect(layers.count, of: image)
            return try manifest(layers).manifest
        }
        change.removed = { (manifest) throws(SigstoreError) in
            var removed: Set<String> = []
            for layer in manifest.image?.layers ?? [] where replacing(layer.annotations) {
                removed.insert(try Self.identifier(layer))
            }
            return removed
        }
        change.blobs = { [self] (found) throws(SigstoreError) in
            found.digest == own.digest ? [] : [try manifest(found.image?.layers ?? []).config]
        }
        try await store.merge(change)
    }

    private static func identifiers(_ manifest: Manifest) throws(SigstoreError) -> Set<String> {
        var ids: Set<String> = []
        for layer in manifest.image?.layers ?? [] { ids.insert(try identifier(layer)) }
        return ids
    }

    /// What names a layer among those of a tag: two signatures over one payload differ in their annotations only.
    private static func identifier(_ layer: Descriptor) throws(SigstoreError) -> String {
        let signature = layer.annotations[signatureAnnotation] ?? ""
        return String(try Digest.sha256(Array("\(layer.digest) \(signature)".utf8)).hex.prefix(48))
    }

    /// A manifest of these layers, and the config that go-containerregistry expects with them.
    func manifest(_ layers: [Descriptor]) throws(SigstoreError) -> (manifest: Manifest, config: Blob) {
        let never = "0001-01-01T00:00:00Z"
        let config = try Blob(
            JSONValue.object([
                "architecture": .string(""), "created": .string(creationTime ?? never),
                "history": .array(layers.map { _ in .object(["created": .string(never)]) }), "os": .string(""),
                "rootfs": .object([
                    "type": .string("layers"), "diff_ids": .array(layers.map { .string($0.digest.description) }),
                ]), "config": .object([:]),
            ]).serialized())
        let manifest = try ImageManifest(
            config: Descriptor(
                mediaType: usesDockerMediaTypes
                    ? MediaType.dockerConfig : MediaType.imageConfig,
                digest: config.digest, size: config.size),
            layers: layers
        ).encoded(mediaType: usesDockerMediaTypes ? MediaType.dockerManifest : MediaType.imageManifest)
        return (manifest, config)
    }
}

extension SigstoreError.Code {
    /// A signature that was found cannot be read.
    public static let unreadableSignature = Self("unreadable-signature")
    /// A registry answers the question for an image's signatures with something that is no list.
    public static let notAnIndex = Self("not-an-index")
    /// More signatures than are looked at.
    public static let tooManySignatures = Self("too-many-signatures")
}

extension SigstoreError {
    /// Whether something was read and is no signature, in contrast to a store that could not be asked. An attacker who
    /// may write beside an image could otherwise hide its signatures behind one that is broken.
    var isAboutContent: Bool {
        [
            .malformedManifest, .tooLarge, .unreadableSignature, .malformedJSON, .unexpectedJSON, .malformedBase64,
            .malformedBundle, .notABundle, .unknownBundleVersion, .tooManyEntries, .malformedCertificate, .malformedPEM,
            .malformedKey, .unsupportedKey, .malformedTimestamp, .malformedDigest,
        ].contains(code)
    }
}

extension SigstoreError.Remedy {
    /// The image has more signatures than are looked at.
    public static let removeSignatures = Self("remove-those-that-nobody-needs")
}
