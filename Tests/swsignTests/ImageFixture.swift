import Foundation
import HTTPTransport
import InToto
import LocalSigstore
import OCIRegistry
import SigstoreCrypto
import StrictJSON
import TestServices
import Testing

/// cosign's two schemes.
enum Scheme: String, CaseIterable, Sendable {
    case newer, older

    /// The flags that make `sign` and `attest` write it.
    var flags: [String] { self == .older ? ["--new-bundle-format=false"] : [] }
    /// The path of the request for what is looked for in it, on a registry with the referrers API.
    var path: String { self == .older ? ".sig" : "/referrers/" }
}

/// An image that a test pushed.
struct TestImage: Sendable {
    let repository: String
    let descriptor: Descriptor

    var digest: Digest { descriptor.digest }
    /// The image by its digest, as the commands take it.
    var name: String { "\(repository)@\(digest)" }
    /// The tag of the older scheme: `sha256-….sig`.
    func tag(_ suffix: String) -> String { "sha256-\(digest.hex).\(suffix)" }
}

/// A working directory with keys, and an empty store for images.
final class ImageFixture: Sendable {
    /// The repository in a registry.
    static let path = "team/app"

    let kind: RegistryKind
    let directory = TemporaryDirectory()
    /// The repository or layout, as the commands take it.
    let repository: String
    /// The same, behind the program's back.
    let store: any ImageStore
    /// Whether programs wait for their turn here; see ``Program/takesTurns``.
    private let takesTurns: Bool
    private let running: RegistryFixture

    /// Makes an empty store; `key.pem`, `other.pem` and their public keys are in the directory.
    init(
        _ kind: RegistryKind = .referrersAPI, takesTurns: Bool = true,
        _ change: @Sendable (inout LocalRegistry.Configuration) -> Void = { _ in }
    ) async throws {
        self.kind = kind
        self.takesTurns = takesTurns
        var configuration = LocalRegistry.Configuration()
        change(&configuration)
        running = try await RegistryFixture(kind, configuration)
        if let address = running.address {
            repository = "\(address)/\(Self.path)"
            store = Self.registries.client(for: try Repository(parsing: repository))
        } else {
            repository = "oci-layout:\(directory["layout"])"
            store = try ImageLayout(creating: directory["layout"])
        }
        try directory.makeKey("key")
        try directory.makeKey("other")
    }

    /// Registries as somebody without any credentials sees them.
    static var registries: Registries {
        var options = RegistryOptions()
        options.credentials = CredentialStore(environment: { _ in nil })
        return Registries(CurlClient(), options)
    }

    /// The registry of this process.
    var registry: LocalRegistry { get throws { try #require(running.local) } }

    // MARK: Putting things there

    /// Stores a manifest and its blobs, whatever the registry demands of clients.
    func put(_ blobs: [[UInt8]], _ manifest: Manifest, tag: String? = nil) async throws {
        if let local = running.local {
            for blob in blobs { try local.placeBlob(blob, in: Self.path) }
            try local.placeManifest(manifest.bytes, mediaType: manifest.mediaType, tag: tag, in: Self.path)
        } else {
            for blob in blobs { try await store.putBlob(try Blob(blob)) }
            try await store.putManifest(manifest, tag: tag)
        }
    }

    /// Pushes an image with this text as its layer.
    func push(_ text: String = "an image", tag: String? = nil) async throws -> TestImage {
        let manifest = try Self.manifest([(Array(text.utf8), "text/plain", [:])])
        try await put([Array("{}".utf8), Array(text.utf8)], manifest, tag: tag)
        return TestImage(repository: repository, descriptor: manifest.descriptor)
    }

    /// Pushes an index of images for these architectures of Linux.
    func pushIndex(_ architectures: [String], tag: String? = nil) async throws -> (
        index: TestImage, images: [TestImage]
    ) {
        var images: [TestImage] = []
        var descriptors: [Descriptor] = []
        for architecture in architectures {
            let image = try await push("for \(architecture)")
            images.append(image)
            var descriptor = image.descriptor
            descriptor.platform = Platform(os: "linux", architecture: architecture)
            descriptors.append(descriptor)
        }
        let index = try ImageIndex(manifests: descriptors).encoded()
        try await put([], index, tag: tag)
        return (TestImage(repository: repository, descriptor: index.descriptor), images)
    }

    /// A manifest with these layers and an empty config.
    static func manifest(
        _ layers: [(content: [UInt8], mediaType: String, annotations: Annotations)], subject: Descriptor? = nil,
        artifactType: String? = nil
    ) throws -> Manifest {
        try ImageManifest(
            artifactType: artifactType,
            config: Descriptor(mediaType: MediaType.empty, digest: try Digest.sha256(Array("{}".utf8)), size: 2),
            layers: try layers.map {
                Descriptor(
                    mediaType: $0.mediaType, digest: try Digest.sha256($0.content), size: Int64($0.content.count),
                    annotations: $0.annotations)
            }, subject: subject
        ).encoded()
    }

    /// Puts a bundle beside an image, whatever it holds.
    func putBundle(_ content: [UInt8], for image: TestImage, mediaType: String = ImageFixture.bundleType) async throws {
        let manifest = try Self.manifest(
            [(content, mediaType, [:])], subject: image.descriptor, artifactType: Self.bundleType)
        for blob in [Array("{}".utf8), content] { try await store.putBlob(try Blob(blob)) }
        try await store.putReferrer(manifest)
    }

    /// Puts a layer of the older scheme beside an image, whatever it holds.
    func putLayer(
        _ content: [UInt8], for image: TestImage, _ suffix: String = "sig",
        mediaType: String = ImageFixture.payloadType,
        annotations: Annotations = ["dev.cosignproject.cosign/signature": "c2lnbmF0dXJl"]
    ) async throws {
        let manifest = try Self.manifest([(content, mediaType, annotations)])
        try await put([Array("{}".utf8), content], manifest, tag: image.tag(suffix))
    }

    static let bundleType = "application/vnd.dev.sigstore.bundle.v0.3+json"
    static let payloadType = "application/vnd.dev.cosign.simplesigning.v1+json"

    /// Puts what stands beside one image beside another as well, as if it had been made for that one.
    func copySignatures(from image: TestImage, to other: TestImage) async throws {
        for descriptor in try await store.referrers(of: image.digest, artifactType: nil).descriptors {
            let manifest = try #require(try await store.manifest(.digest(descriptor.digest)))
            var copy = try #require(manifest.image)
            copy.subject = other.descriptor
            try await store.putReferrer(try copy.encoded())
        }
        for suffix in ["sig", "att"] {
            guard let manifest = try await store.manifest(try ManifestSelector(tag: image.tag(suffix))) else {
                continue
            }
            try await store.putManifest(manifest, tag: other.tag(suffix))
        }
    }

    // MARK: The commands

    /// Runs the program in the directory.
    func swsign(_ arguments: [String], environment: [String: String] = [:]) async -> Program.Outcome {
        var program = Program(directory: directory.path, environment: environment)
        program.takesTurns = takesTurns
        return await program.run(arguments)
    }

    static let signing = ["--tlog-upload=false"]
    static let verifying = ["--insecure-ignore-tlog"]

    func sign(
        _ images: String..., scheme: Scheme = .newer, key: String = "key", flags: [String] = [],
        environment: [String: String] = [:]
    ) async -> Program.Outcome {
        await swsign(
            ["sign", "--key", "\(key).pem"] + Self.signing + scheme.flags + flags + images, environment: environment)
    }

    func verify(
        _ images: String..., key: String = "key", flags: [String] = [], environment: [String: String] = [:]
    ) async -> Program.Outcome {
        await swsign(["verify", "--key", "\(key).pub"] + Self.verifying + flags + images, environment: environment)
    }

    func attest(
        _ images: String..., type: String, scheme: Scheme = .newer, key: String = "key", flags: [String] = [],
        environment: [String: String] = [:]
    ) async throws -> Program.Outcome {
        try directory.write("predicate.json", #"{"buildType":"test"}"#)
        return await swsign(
            ["attest", "--key", "\(key).pem", "--type", type, "--predicate", "predicate.json"] + Self.signing
                + scheme.flags
                + flags + images, environment: environment)
    }

    func verifyAttestation(
        _ images: String..., type: String, key: String = "key", flags: [String] = [],
        environment: [String: String] = [:]
    ) async -> Program.Outcome {
        await swsign(
            ["verify-attestation", "--key", "\(key).pub", "--type", type] + Self.verifying + flags + images,
            environment: environment)
    }
}

extension Program.Outcome {
    /// Expects a success.
    func expectSuccess(_ what: String = "", sourceLocation: SourceLocation = #_sourceLocation) {
        #expect(ending == .exit(0), "\(what): \(messages)", sourceLocation: sourceLocation)
    }

    /// Expects a refusal with cosign's exit code, our reason code, these words, and nothing on standard output.
    func expectRefusal(
        _ status: Int32, _ code: String, _ words: String..., sourceLocation: SourceLocation = #_sourceLocation
    ) {
        #expect(ending == .exit(status), "\(messages)", sourceLocation: sourceLocation)
        #expect(self.code == code, "\(messages)", sourceLocation: sourceLocation)
        #expect(stdout.isEmpty, "\(output)", sourceLocation: sourceLocation)
        for word in words {
            #expect(messages.contains(word), "\"\(word)\" is not said: \(messages)", sourceLocation: sourceLocation)
        }
    }

    /// The payloads that `verify` prints, of all images.
    func payloads() throws -> [JSONCursor] { try objects().flatMap { try $0.elements() } }

    /// The statements inside the envelopes that `verify-attestation` prints.
    func statements() throws -> [Statement] {
        try objects().map { try Statement(parsing: try $0.member("payload").bytes()) }
    }
}

extension JSONCursor {
    /// The digest that a payload of `verify` names.
    func imageDigest() throws -> String {
        try member("critical").member("image").member("docker-manifest-digest").string()
    }
}
