import HTTPTransport
public import SigstoreCrypto
public import StrictJSON

/// The media types that registries and layouts are made of.
public enum MediaType {
    /// An image manifest (OCI image specification).
    public static let imageManifest = "application/vnd.oci.image.manifest.v1+json"
    /// An index of manifests (OCI image specification).
    public static let imageIndex = "application/vnd.oci.image.index.v1+json"
    /// An image manifest as Docker writes it.
    public static let dockerManifest = "application/vnd.docker.distribution.manifest.v2+json"
    /// A list of manifests as Docker writes it.
    public static let dockerManifestList = "application/vnd.docker.distribution.manifest.list.v2+json"
    /// An image's config (OCI image specification).
    public static let imageConfig = "application/vnd.oci.image.config.v1+json"
    /// An image's config as Docker writes it.
    public static let dockerConfig = "application/vnd.docker.container.image.v1+json"
    /// The two bytes `{}`, for a manifest that needs a config and has none.
    public static let empty = "application/vnd.oci.empty.v1+json"

    static let manifests = [imageManifest, imageIndex, dockerManifest, dockerManifestList]
}

/// Annotations in order. Names are compared byte by byte, never by Unicode equivalence.
public struct Annotations: Sendable, ExpressibleByDictionaryLiteral {
    /// The annotations in the order in which they were written.
    public private(set) var entries: [(name: String, value: String)]

    /// Makes annotations; if a name stands twice, the last one counts.
    public init(_ entries: [(name: String, value: String)] = []) {
        self.entries = []
        for entry in entries { self[entry.name] = entry.value }
    }
    public init(dictionaryLiteral elements: (String, String)...) {
        self.init(elements.map { (name: $0.0, value: $0.1) })
    }

    /// Whether there are none.
    public var isEmpty: Bool { entries.isEmpty }

    /// The annotation of that name; setting `nil` removes it.
    public subscript(name: String) -> String? {
        get { entries.first { $0.name.utf8.elementsEqual(name.utf8) }?.value }
        set {
            let index = entries.firstIndex { $0.name.utf8.elementsEqual(name.utf8) }
            switch (index, newValue) {
            case (let index?, let value?): entries[index].value = value
            case (let index?, nil): entries.remove(at: index)
            case (nil, let value?): entries.append((name: name, value: value))
            case (nil, nil): break
            }
        }
    }

    init(_ json: JSONCursor?) throws(SigstoreError) {
        entries = []
        guard let json else { return }
        guard case .object(let object) = json.value else { throw json.fault("is not an object") }
        // Each member is looked at once, and none is looked up by its name: there may be a hundred thousand.
        for member in object.members {
            switch member.value {
            case .string(let value): entries.append((name: member.name, value: value))
            // Go writes no null here, but other writers do, and mean that there is none.
            case .null: break
            default: throw json.fault("holds \"\(member.name.prefix(128))\", which is not a string")
            }
        }
    }

    /// The annotations as a JSON object.
    public var json: JSONValue { .object(JSONObject(entries.map { (name: $0.name, value: .string($0.value)) })) }
}

/// What an image runs on.
public struct Platform: Sendable, CustomStringConvertible {
    /// Such as `linux`.
    public var os: String
    /// Such as `arm64`.
    public var architecture: String
    /// Such as `v8`; empty if none is given.
    public var variant: String
    /// Such as `10.0.20348`; empty if none is given.
    public var osVersion: String

    public init(os: String, architecture: String, variant: String = "", osVersion: String = "") {
        self.os = os
        self.architecture = architecture
        self.variant = variant
        self.osVersion = osVersion
    }

    /// Reads the platform that a descriptor or an image's config names (OCI image specification); what is absent is empty.
    /// - Throws: `SigstoreError` naming the member that is no string.
    public init(_ json: JSONCursor) throws(SigstoreError) {
        os = try json.optional("os")?.string() ?? ""
        architecture = try json.optional("architecture")?.string() ?? ""
        variant = try json.optional("variant")?.string() ?? ""
        osVersion = try json.optional("os.version")?.string() ?? ""
    }

    var json: JSONValue {
        var object: JSONObject = ["architecture": .string(architecture), "os": .string(os)]
        if !osVersion.isEmpty { object["os.version"] = .string(osVersion) }
        if !variant.isEmpty { object["variant"] = .string(variant) }
        return .object(object)
    }

    /// `os/architecture[/variant][:version]`, in go-containerregistry's form.
    public var description: String {
        "\(os)/\(architecture)\(variant.isEmpty ? "" : "/\(variant)")\(osVersion.isEmpty ? "" : ":\(osVersion)")"
    }
}

/// Says of some content what it is, how large, and its digest (OCI image specification, "Content descriptors").
public struct Descriptor: Sendable {
    /// The media type of the content.
    public var mediaType: String
    /// The digest of the content.
    public var digest: Digest
    /// The size of the content in bytes.
    public var size: Int64
    /// Annotations.
    public var annotations: Annotations
    /// The type of an artifact, if the content is its manifest.
    public var artifactType: String?
    /// What the content runs on, in an index.
    public var platform: Platform?

    /// Makes a descriptor.
    public init(
        mediaType: String, digest: Digest, size: Int64, annotations: Annotations = [:], artifactType: String? = nil,
        platform: Platform? = nil
    ) {
        self.mediaType = mediaType
        self.digest = digest
        self.size = size
        self.annotations = annotations
        self.artifactType = artifactType
        self.platform = platform
    }

    /// Reads a descriptor. Members that are not known are skipped, as the specification demands; `urls` are among
    /// them, so nothing is ever fetched from where a manifest says.
    /// - Throws: `SigstoreError` naming the member that is missing or malformed.
    public init(_ json: JSONCursor) throws(SigstoreError) {
        mediaType = try json.member("mediaType").string()
        let digestMember = try json.member("digest")
        do throws(SigstoreError) {
            digest = try ImageReference.digest(try digestMember.string())
        } catch {
            throw digestMember.fault("is not a digest of a kind that is known here")
        }
        let sizeMember = try json.member("size")
        guard case .number = sizeMember.value else { throw sizeMember.fault("is not a number") }
        size = try sizeMember.integer()
        guard size >= 0 else { throw sizeMember.fault("is negative") }
        annotations = try Annotations(try json.optional("annotations"))
        artifactType = try json.optional("artifactType")?.string()
        platform = try json.optional("platform").map { (value) throws(SigstoreError) in try Platform(value) }
    }

    /// The descriptor as JSON, its members in the order of the specification.
    public var json: JSONValue {
        var object: JSONObject = [
            "mediaType": .string(mediaType), "digest": .string(digest.description), "size": .integer(size),
        ]
        if !annotations.isEmpty { object["annotations"] = annotations.json }
        if let platform { object["platform"] = platform.json }
        if let artifactType { object["artifactType"] = .string(artifactType) }
        return .object(object)
    }
}

/// An image or an artifact: a config and layers (OCI image specification, "Image manifest").
public struct ImageManifest: Sendable {
    /// The type of an artifact; `nil` on most images.
    public var artifactType: String?
    /// The config.
    public var config: Descriptor
    /// The layers, at most ``Manifest/layerLimit``.
    public var layers: [Descriptor]
    /// The manifest that this one is about.
    public var subject: Descriptor?
    /// Annotations.
    public var annotations: Annotations

    /// Makes a manifest.
    public init(
        artifactType: String? = nil, config: Descriptor, layers: [Descriptor], subject: Descriptor? = nil,
        annotations: Annotations = [:]
    ) {
        self.artifactType = artifactType
        self.config = config
        self.layers = layers
        self.subject = subject
        self.annotations = annotations
    }

    /// The manifest as it is stored.
    /// - Parameter mediaType: `MediaType.imageManifest` unless told.
    /// - Throws: If hashing fails.
    public func encoded(mediaType: String = MediaType.imageManifest) throws(SigstoreError) -> Manifest {
        var object: JSONObject = ["schemaVersion": .integer(2), "mediaType": .string(mediaType)]
        if let artifactType { object["artifactType"] = .string(artifactType) }
        object["config"] = config.json
        object["layers"] = .array(layers.map(\.json))
        if let subject { object["subject"] = subject.json }
        if !annotations.isEmpty { object["annotations"] = annotations.json }
        return try Manifest(JSONValue.object(object).serialized())
    }
}

/// A list of manifests, for platforms or for referrers (OCI image specification, "Image index").
public struct ImageIndex: Sendable {
    /// The type of an artifact; `nil` on most indexes.
    public var artifactType: String?
    /// The manifests.
    public var manifests: [Descriptor]
    /// The manifest that this index is about.
    public var subject: Descriptor?
    /// Annotations.
    public var annotations: Annotations

    /// Makes an index.
    public init(
        artifactType: String? = nil, manifests: [Descriptor], subject: Descriptor? = nil, annotations: Annotations = [:]
    ) {
        self.artifactType = artifactType
        self.manifests = manifests
        self.subject = subject
        self.annotations = annotations
    }

    /// The index as it is stored.
    /// - Parameter mediaType: `MediaType.imageIndex` unless told.
    /// - Throws: If hashing fails.
    public func encoded(mediaType: String = MediaType.imageIndex) throws(SigstoreError) -> Manifest {
        var object: JSONObject = ["schemaVersion": .integer(2), "mediaType": .string(mediaType)]
        if let artifactType { object["artifactType"] = .string(artifactType) }
        object["manifests"] = .array(manifests.map(\.json))
        if let subject { object["subject"] = subject.json }
        if !annotations.isEmpty { object["annotations"] = annotations.json }
        return try Manifest(JSONValue.object(object).serialized())
    }
}

/// A manifest's bytes with what they say. The bytes are what is signed, copied and compared; nothing is ever written
/// back from the parsed form of what another tool made.
public struct Manifest: Sendable {
    /// A larger manifest is refused.
    public static let byteLimit = 4 << 20
    /// A manifest with more layers is refused.
    public static let layerLimit = 1000

    /// The two kinds that are read, and the ones that only have a digest here.
    public enum Content: Sendable {
        case image(ImageManifest)
        case index(ImageIndex)
        /// A kind that is not read here, such as Docker's first schema.
        case other
    }

    /// The bytes as they were stored.
    public let bytes: [UInt8]
    /// The digest of the bytes, computed here.
    public let digest: Digest
    /// What the manifest says that it is.
    public let mediaType: String
    /// What stands in it.
    public let content: Content

    /// Reads a manifest.
    /// - Parameters:
    ///   - bytes: The bytes as they were stored.
    ///   - contentType: The media type that came with them; it must not contradict what stands in them.
    ///   - algorithm: The function of the digest; SHA-256 unless they were asked for by another one.
    /// - Throws: `SigstoreError` with `malformed-manifest` if they are not JSON, could be read as two kinds of
    ///   manifest, have too many layers, or lack what their kind needs.
    public init(
        _ bytes: [UInt8], contentType: String? = nil, algorithm: HashAlgorithm = .sha256
    ) throws(SigstoreError) {
        guard bytes.count <= Self.byteLimit else {
            throw SigstoreError(.tooLarge, "a manifest of \(bytes.count) bytes is larger than the 4 MiB accepted")
        }
        digest = try Digest.hash(bytes, algorithm)
        self.bytes = bytes
        do throws(SigstoreError) {
            (mediaType, content) = try Self.read(JSONCursor(try JSONValue(parsing: bytes, depth: 32)), contentType)
        } catch {
            throw SigstoreError(
                .malformedManifest, "the manifest \(digest) cannot be used: \(error.message)", cause: error)
        }
    }

    private static func read(
        _ json: JSONCursor, _ contentType: String?
    ) throws(SigstoreError) -> (mediaType: String, content: Content) {
        let written = try json.optional("mediaType")?.string()
        let known = contentType.flatMap { type in MediaType.manifests.first { $0.utf8.elementsEqual(type.utf8) } }
        if let written, let known, !written.utf8.elementsEqual(known.utf8) {
            throw json.fault("says that it is \(written.prefix(128)), but came as \(known)")
        }
        let hasManifests = try json.optional("manifests") != nil
        let hasLayers = try json.optional("layers") != nil
        // One text must not be an index to one reader and an image to another (CVE-2021-41190).
        let hasConfig = try json.optional("config") != nil
        guard !(hasManifests && (hasLayers || hasConfig)) else {
            throw json.fault("is an index and an image at once")
        }
        let isSchema2 = try json.optional("schemaVersion")?.integer() == 2
        let fallback = hasManifests ? MediaType.imageIndex : hasLayers && isSchema2 ? MediaType.imageManifest : nil
        guard let mediaType = written ?? known ?? fallback ?? contentType, !mediaType.isEmpty else {
            throw json.fault("does not say what it is")
        }
        func isOne(of types: [String]) -> Bool { types.contains { $0.utf8.elementsEqual(mediaType.utf8) } }
        if isOne(of: [MediaType.imageIndex, MediaType.dockerManifestList]) {
            return (mediaType, .index(try index(json)))
        }
        if isOne(of: [MediaType.imageManifest, MediaType.dockerManifest]) {
            return (mediaType, .image(try image(json)))
        }
        return (mediaType, .other)
    }

    private static func descriptors(_ list: JSONCursor) throws(SigstoreError) -> [Descriptor] {
        var descriptors: [Descriptor] = []
        for element in try list.elements() { descriptors.append(try Descriptor(element)) }
        return descriptors
    }

    private static func subject(_ json: JSONCursor) throws(SigstoreError) -> Descriptor? {
        guard let subject = try json.optional("subject") else { return nil }
        return try Descriptor(subject)
    }

    private static func image(_ json: JSONCursor) throws(SigstoreError) -> ImageManifest {
        let layers = try json.member("layers")
        let count = try layers.elements().count
        guard count <= layerLimit else {
            throw layers.fault("has \(count) elements, more than the \(layerLimit) accepted")
        }
        return ImageManifest(
            artifactType: try json.optional("artifactType")?.string(),
            config: try Descriptor(try json.member("config")),
            layers: try descriptors(layers), subject: try subject(json),
            annotations: try Annotations(try json.optional("annotations")))
    }

    private static func index(_ json: JSONCursor) throws(SigstoreError) -> ImageIndex {
        ImageIndex(
            artifactType: try json.optional("artifactType")?.string(),
            manifests: try descriptors(try json.member("manifests")), subject: try subject(json),
            annotations: try Annotations(try json.optional("annotations")))
    }

    /// The manifest as an image or artifact; `nil` if it is none.
    public var image: ImageManifest? {
        if case .image(let image) = content { image } else { nil }
    }
    /// Whether it holds nothing, as one of ours does to which a tag points that is to be removed.
    var isEmpty: Bool { image?.artifactType?.utf8.elementsEqual(MediaType.empty.utf8) ?? false }
    /// The manifest as an index; `nil` if it is none.
    public var index: ImageIndex? {
        if case .index(let index) = content { index } else { nil }
    }
    /// The manifest that this one is about.
    public var subject: Descriptor? { image?.subject ?? index?.subject }

    /// The media types of the configs of images that can be run.
    private static let runnableConfigTypes = [
        "application/vnd.oci.image.config.v1+json", "application/vnd.docker.container.image.v1+json",
    ]
    /// How the media types of layers begin that hold signatures and attestations.
    private static let signatureTypes = [
        "application/vnd.dev.cosign.simplesigning.", "application/vnd.dsse.envelope.",
        "application/vnd.dev.sigstore.bundle",
    ]
    /// What stands in the media types of layers that hold SBOMs.
    private static let sbomTypes = ["spdx", "cyclonedx", "syft"]

    /// Whether it is an artifact: its config is not that of an image that can be run.
    package var isArtifact: Bool {
        guard let type = image?.config.mediaType else { return false }
        return !Self.runnableConfigTypes.contains { $0.utf8.elementsEqual(type.utf8) }
    }
    /// Whether it has layers, and each is a signature or an attestation by its media type.
    package var holdsSignatures: Bool {
        hasLayers { layer in Self.signatureTypes.contains { layer.mediaType.utf8.starts(with: $0.utf8) } }
    }
    /// Whether it has layers, and each is an SBOM by its media type.
    package var holdsSBOM: Bool {
        hasLayers { layer in Self.sbomTypes.contains { layer.mediaType.lowercased().contains($0) } }
    }
    private func hasLayers(_ all: (Descriptor) -> Bool) -> Bool {
        guard let layers = image?.layers, !layers.isEmpty else { return false }
        return layers.allSatisfy(all)
    }

    /// Reads a list of referrers, each entry by itself: one that is malformed hides no other.
    /// - Parameters:
    ///   - bytes: The list, an index.
    ///   - contentType: The media type that came with it.
    /// - Returns: The manifests that are listed, and why entries could not be read; `nil` if it is no index.
    /// - Throws: `SigstoreError` with `malformed-manifest` if it cannot be read at all.
    static func listed(
        _ bytes: [UInt8], contentType: String
    ) throws(SigstoreError) -> (manifests: [Descriptor], unread: [SigstoreError])? {
        do throws(SigstoreError) {
            return try Manifest(bytes, contentType: contentType).index.map { ($0.manifests, []) }
        } catch {
            guard error.code == .malformedManifest, let whole = try? JSONValue(parsing: bytes, depth: 32),
                case .object(var document) = whole,
                let entries = try? JSONCursor(whole).optional("manifests")?.elements()
            else { throw error }
            var (kept, unread): ([JSONValue], [SigstoreError]) = ([], [])
            for entry in entries {
                do throws(SigstoreError) {
                    _ = try Descriptor(entry)
                    kept.append(entry.value)
                } catch {
                    unread.append(SigstoreError(.malformedManifest, error.message, cause: error))
                }
            }
            guard !unread.isEmpty else { throw error }
            document["manifests"] = .array(kept)
            let rest = try Manifest(JSONValue.object(document).serialized(), contentType: contentType)
            return rest.index.map { ($0.manifests, unread) }
        }
    }

    /// A descriptor of this manifest: media type, digest and size.
    public var descriptor: Descriptor {
        Descriptor(mediaType: mediaType, digest: digest, size: Int64(bytes.count))
    }

    /// The descriptor that a list of referrers holds: with the artifact's type, which is the config's media type if
    /// none is given, and with the annotations (OCI distribution specification, "Listing referrers").
    public var referrerDescriptor: Descriptor {
        var descriptor = descriptor
        descriptor.artifactType = image?.artifactType ?? index?.artifactType ?? image?.config.mediaType
        descriptor.annotations = image?.annotations ?? index?.annotations ?? [:]
        return descriptor
    }
}

extension SigstoreError.Code {
    /// A manifest is not JSON, is two things at once, or lacks what its kind needs.
    public static let malformedManifest = Self("malformed-manifest")
}
