import DebianRegistry
import Foundation
import HTTPTransport
import OCIRegistry
import SigstoreCrypto
import StrictJSON
import Testing

extension DockerRegistry {
    @TaskLocal static var current: DockerRegistry?

    func repository(_ path: String) throws -> Repository { try Repository(parsing: "\(address)/\(path)") }
}

/// Runs a test with a `docker-registry` of its own in ``DockerRegistry/current``.
struct DockerRegistryTrait: TestTrait, SuiteTrait, TestScoping {
    @concurrent func provideScope(
        for test: Test, testCase: Test.Case?, performing function: @concurrent @Sendable () async throws -> Void
    ) async throws {
        let registry = try await DockerRegistry()
        try await DockerRegistry.$current.withValue(registry) { try await function() }
    }
}

extension Trait where Self == DockerRegistryTrait {
    static var dockerRegistry: Self { Self() }
}

/// What many tests need.
enum Sample {
    /// A client that finds no credentials anywhere and does not wait long.
    static func registries(workers: Int = 10, _ change: (inout RegistryOptions) -> Void = { _ in }) -> Registries {
        var options = RegistryOptions()
        options.credentials = CredentialStore(environment: { _ in nil })
        change(&options)
        var configuration = CurlClient.Configuration()
        configuration.retryPolicy.baseDelay = .milliseconds(5)
        configuration.maxWorkers = workers
        return Registries(CurlClient(configuration), options)
    }

    /// A client for a repository on a server of a test.
    static func client(
        _ authority: String, workers: Int = 10, _ change: (inout RegistryOptions) -> Void = { _ in }
    ) throws -> RegistryClient {
        registries(workers: workers, change).client(for: try Repository(parsing: "\(authority)/team/app"))
    }

    /// The digest of `{}`.
    static let emptyHex = "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
    static var emptyConfig: Descriptor {
        get throws { Descriptor(mediaType: MediaType.empty, digest: try Digest(hex: emptyHex, .sha256), size: 2) }
    }

    /// An image with one layer, stored with its blobs.
    static func putImage(_ text: String, in store: any ImageStore, tag: String?) async throws -> Manifest {
        let layer = try Blob(Array(text.utf8))
        try await store.putBlob(layer)
        try await store.putBlob(try Blob(Array("{}".utf8)))
        let manifest = try ImageManifest(
            config: try emptyConfig,
            layers: [Descriptor(mediaType: "text/plain", digest: layer.digest, size: layer.size)]
        ).encoded()
        try await store.putManifest(manifest, tag: tag)
        return manifest
    }

    /// An artifact that refers to an image; its blobs are stored.
    static func referrer(_ text: String, of subject: Manifest, in store: any ImageStore) async throws -> Manifest {
        let layer = try Blob(Array(text.utf8))
        try await store.putBlob(layer)
        try await store.putBlob(try Blob(Array("{}".utf8)))
        return try ImageManifest(
            artifactType: "application/x-test", config: try emptyConfig,
            layers: [Descriptor(mediaType: "text/plain", digest: layer.digest, size: layer.size)],
            subject: subject.descriptor, annotations: ["org.example.text": text]
        ).encoded()
    }

    /// The error that some work ends with.
    static func failure(_ work: () async throws -> Void) async -> SigstoreError? {
        do {
            try await work()
            return nil
        } catch {
            return error as? SigstoreError
        }
    }
}
