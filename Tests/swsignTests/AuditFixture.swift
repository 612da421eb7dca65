import Foundation
import InToto
import LocalSigstore
import OCIRegistry
import SigstoreCrypto
import SigstoreVerification
import StrictJSON
import SwSignCore
import TestServices
import Testing

/// What a test expects of one digest.
struct ExpectedRow: Equatable {
    var names: Set<String> = []
    var signed: AuditRow.Signed
    var verdict: AuditRow.Verdict
    /// The verdicts of its signatures, sorted.
    var signatures: [String] = []
    var attestations: [String] = []
    var sboms: [String] = []

    init(
        _ names: Set<String>, _ signed: AuditRow.Signed, _ verdict: AuditRow.Verdict, _ signatures: [String] = [],
        attestations: [String] = [], sboms: [String] = []
    ) {
        (self.names, self.signed, self.verdict) = (names, signed, verdict)
        (self.signatures, self.attestations, self.sboms) = (signatures.sorted(), attestations.sorted(), sboms)
    }

    init(_ row: AuditRow) {
        (names, signed, verdict) = (Set(row.names), row.signed, row.verdict)
        signatures = row.signatures.map { "\($0.scheme) \($0.verdict.rawValue)" }.sorted()
        attestations = row.attestations.map { "\($0.scheme) \($0.verdict.rawValue)" }.sorted()
        sboms = row.sboms
    }
}

/// A repository of many images of every kind, made behind the program's back, and what an audit must say of it.
final class AuditFixture: Sendable {
    static let path = "team/app"

    let registry: RegistryFixture
    let directory = TemporaryDirectory()
    let repository: String
    let store: RegistryClient
    private let keys: [String: PrivateKey]
    /// Whether manifests that refer to another one are listed by the registry.
    private let listsReferrers: Bool

    init(_ kind: RegistryKind, _ configuration: LocalRegistry.Configuration = .init()) async throws {
        registry = try await RegistryFixture(kind, configuration)
        repository = "\(try #require(registry.address))/\(Self.path)"
        store = ImageFixture.registries.client(for: try Repository(parsing: repository))
        listsReferrers = kind == .referrersAPI
        var keys: [String: PrivateKey] = [:]
        for name in ["key", "old", "wrong"] { keys[name] = try directory.makeKey(name) }
        self.keys = keys
    }

    // MARK: - Putting things there

    /// Stores a manifest and its blobs.
    func put(_ blobs: [[UInt8]], _ manifest: Manifest, tags: [String?] = [nil]) async throws {
        for blob in blobs {
            if let local = registry.local {
                try local.placeBlob(blob, in: Self.path)
            } else {
                try await store.putBlob(try Blob(blob))
            }
        }
        for tag in tags {
            if let local = registry.local {
                try local.placeManifest(manifest.bytes, mediaType: manifest.mediaType, tag: tag, in: Self.path)
            } else {
                try await store.putManifest(manifest, tag: tag)
            }
        }
    }

    /// Pushes an image that can be run.
    func push(_ number: Int, tags: [String?]) async throws -> Descriptor {
        let config = JSONValue.object([
            "architecture": .string("amd64"), "os": .string("linux"), "created": .string("2026-01-02T03:04:05Z"),
            "config": .object([
                "Labels": .object(["org.opencontainers.image.source": .string("https://example.com/\(number)")])
            ]), "rootfs": .object(["type": .string("layers"), "diff_ids": .array([])]),
        ]).serialized()
        let layer = Array("layer".utf8)
        let manifest = try ImageManifest(
            config: Descriptor(
                mediaType: MediaType.imageConfig, digest: try Digest.sha256(config), size: Int64(config.count)),
            layers: [
                Descriptor(
                    mediaType: "application/vnd.oci.image.layer.v1.tar", digest: try Digest.sha256(layer),
                    size: Int64(layer.count))
            ]
        ).encoded()
        try await put([config, layer], manifest, tags: tags)
        return manifest.descriptor
    }

    private func signature(_ message: [UInt8], _ key: String) throws -> [UInt8] {
        let scheme = SignatureScheme.ecdsa(.sha256)
        return try #require(keys[key]).sign(try HashedMessage.of(message, schemes: [scheme]), scheme: scheme)
    }

    /// Signs in the older scheme, once with each key.
    func signOlder(_ image: Descriptor, _ keys: [String]) async throws {
        var layers: [(content: [UInt8], mediaType: String, annotations: Annotations)] = []
        for key in keys {
            let payload = SimpleSigningPayload(
                dockerReference: repository, digest: image.digest, annotations: ["by": .string(key)]
            ).json().serialized()
            let signature = Base64.encode(try signature(payload, key))
            layers.append(
                (payload, ImageFixture.payloadType, ["dev.cosignproject.cosign/signature": signature]))
        }
        try await put(
            [Array("{}".utf8)] + layers.map(\.content), try ImageFixture.manifest(layers),
            tags: ["sha256-\(image.digest.hex).sig"])
    }

    /// Signs or attests in the newer scheme, once with each key.
    func signNewer(_ image: Descriptor, _ keys: [String], type: PredicateType = .cosignSign) async throws {
        var referrers: [Descriptor] = []
        for key in keys {
            let statement = Statement(
                layout: .v1,
                subjects: [
                    ResourceDescriptor(name: nil, digests: [(algorithm: "sha256", hex: image.digest.hex)])
                ], predicateType: type, predicate: .object([:])
            ).json().serialized()
            let signed = DSSEEnvelope.preAuthenticationEncoding(
                payloadType: Statement.payloadType, payload: statement)
            let hint = try #require(self.keys[key]).publicKey.hint()
            let bundle = SigstoreBundle(
                keyMaterial: .publicKey(hint: hint),
                content: .dsse(
                    DSSEEnvelope(
                        payloadType: Statement.payloadType, payload: statement,
                        signatures: [DSSEEnvelope.Signature(signature: try signature(signed, key))]))
            ).serialized()
            let manifest = try ImageFixture.manifest(
                [(bundle, ImageFixture.bundleType, [:])], subject: image, artifactType: ImageFixture.bundleType)
            try await put([Array("{}".utf8), bundle], manifest)
            var descriptor = manifest.descriptor
            descriptor.artifactType = ImageFixture.bundleType
            referrers.append(descriptor)
        }
        guard !listsReferrers else { return }
        try await put([], try ImageIndex(manifests: referrers).encoded(), tags: ["sha256-\(image.digest.hex)"])
    }

    /// Attaches an SBOM in the older way.
    func attachSBOM(_ image: Descriptor) async throws {
        let content = Array(#"{"spdxVersion":"SPDX-2.3"}"#.utf8)
        try await put(
            [Array("{}".utf8), content], try ImageFixture.manifest([(content, "text/spdx+json", [:])]),
            tags: ["sha256-\(image.digest.hex).sbom"])
    }

    /// Makes images of every kind that keys alone make.
    /// - Parameters:
    ///   - count: How many digests have tags.
    ///   - tags: How many tags each has.
    /// - Returns: What an audit must say of each digest.
    func fill(_ count: Int, tags: Int) async throws -> [Digest: ExpectedRow] {
        var expected: [Digest: ExpectedRow] = [:]
        try await withThrowingTaskGroup(of: (Digest, ExpectedRow).self) { group in
            for number in 0..<count {
                if number >= 16, let (digest, row) = try await group.next() { expected[digest] = row }
                group.addTask { try await self.make(number, (0..<tags).map { "v\(number).\($0)" }) }
            }
            for try await (digest, row) in group { expected[digest] = row }
        }
        return expected
    }

    private func make(_ number: Int, _ tags: [String]) async throws -> (Digest, ExpectedRow) {
        let names = Set(tags)
        if number % 10 == 6 {
            // The platforms are there, and have no tags.
            var entries: [Descriptor] = []
            for architecture in ["amd64", "arm64"] {
                var image = try await push(1_000_000 + number * 2 + entries.count, tags: [nil])
                image.platform = Platform(os: "linux", architecture: architecture)
                entries.append(image)
            }
            let index = try ImageIndex(manifests: entries).encoded()
            try await put([], index, tags: tags)
            try await signNewer(index.descriptor, ["key"])
            return (index.digest, ExpectedRow(names, .yes, .accepted, ["bundle accepted"]))
        }
        let image = try await push(number, tags: tags)
        let row: ExpectedRow
        switch number % 10 {
        case 0:
            try await signNewer(image, ["key"])
            row = ExpectedRow(names, .yes, .accepted, ["bundle accepted"])
        case 1:
            try await signOlder(image, ["key"])
            row = ExpectedRow(names, .yes, .accepted, ["tag accepted"])
        case 2:
            try await signNewer(image, ["old"])
            row = ExpectedRow(names, .yes, .formerSigner, ["bundle former-signer"])
        case 3:
            try await signOlder(image, ["old"])
            row = ExpectedRow(names, .yes, .formerSigner, ["tag former-signer"])
        case 4:
            try await signNewer(image, ["wrong"])
            row = ExpectedRow(names, .yes, .invalid, ["bundle invalid"])
        case 5: row = ExpectedRow(names, .no, .unsigned)
        case 7:
            try await signOlder(image, ["wrong", "key"])
            try await attachSBOM(image)
            row = ExpectedRow(
                names, .yes, .accepted, ["tag invalid", "tag accepted"], sboms: ["text/spdx+json"])
        case 8:
            try await signNewer(image, ["key"], type: PredicateType(uri: "https://spdx.dev/Document"))
            row = ExpectedRow(
                names, .no, .unsigned, attestations: ["bundle accepted"], sboms: ["https://spdx.dev/Document"])
        default:
            try await signNewer(image, ["old", "key"])
            try await signOlder(image, ["old"])
            row = ExpectedRow(
                names, .yes, .accepted, ["bundle former-signer", "bundle accepted", "tag former-signer"])
        }
        return (image.digest, row)
    }

    // MARK: - The command

    /// The flags that say who is accepted.
    static let signers = ["--key", "key.pub", "--former-key", "old.pub", "--insecure-ignore-tlog"]

    /// Runs an audit.
    func audit(
        _ arguments: [String] = [], signers: [String] = AuditFixture.signers, environment: [String: String] = [:]
    ) async -> Program.Outcome {
        await Program(directory: directory.path, environment: environment).run(
            ["audit"] + signers + ["--output", "jsonl"] + arguments)
    }
}

extension Program.Outcome {
    /// The rows of a report in JSON Lines.
    func rows() throws -> [AuditRow] {
        var rows: [AuditRow] = []
        for line in stdout.split(separator: 0x0a) {
            guard let row = try JSONCursor(try JSONValue(parsing: Array(line))).optional("row") else { continue }
            rows.append(try AuditRow(row))
        }
        return rows
    }

    /// The rows by their digests; each digest must be there once.
    func rowsByDigest() throws -> [Digest: AuditRow] {
        var found: [Digest: AuditRow] = [:]
        for row in try rows() {
            guard let digest = row.digest else { continue }
            #expect(found.updateValue(row, forKey: digest) == nil, "\(digest) is there twice")
        }
        return found
    }
}
