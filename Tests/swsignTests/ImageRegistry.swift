import Foundation
import Glibc
import OCIRegistry
import SigstoreCrypto
import Spawning
import StrictJSON
import Testing

extension TemporaryDirectory {
    /// Makes an OCI layout with an image tagged `one` and an index of two platforms tagged `multi`.
    /// - Returns: The digests of both.
    @discardableResult
    func makeImages(_ name: String = "img", layer: [UInt8]? = nil) async throws -> (one: Digest, multi: Digest) {
        let layout = try ImageLayout(creating: self[name])
        func image(_ architecture: String) async throws -> Manifest {
            let content = try Blob(layer ?? Array("layer for \(architecture)".utf8))
            let config = try Blob(
                JSONValue.object([
                    "architecture": .string(architecture), "os": .string("linux"), "config": .object([:]),
                    "rootfs": .object([
                        "type": .string("layers"), "diff_ids": .array([.string(content.digest.description)]),
                    ]),
                ]).serialized())
            for blob in [content, config] { try await layout.putBlob(blob) }
            return try ImageManifest(
                config: Descriptor(
                    mediaType: "application/vnd.oci.image.config.v1+json", digest: config.digest, size: config.size),
                layers: [
                    Descriptor(
                        mediaType: "application/vnd.oci.image.layer.v1.tar", digest: content.digest, size: content.size)
                ]
            ).encoded()
        }
        let (one, other) = (try await image("amd64"), try await image("arm64"))
        try await layout.putManifest(one, tag: "one")
        try await layout.putManifest(other, tag: nil)
        var entries = [one.descriptor, other.descriptor]
        entries[0].platform = Platform(os: "linux", architecture: "amd64")
        entries[1].platform = Platform(os: "linux", architecture: "arm64")
        let index = try ImageIndex(manifests: entries).encoded()
        try await layout.putManifest(index, tag: "multi")
        return (one.digest, index.digest)
    }

    /// Runs the program in here, and expects it to succeed.
    @discardableResult
    func must(
        _ arguments: String..., environment: [String: String] = [:], input: Program.Input = .nothing,
        sourceLocation: SourceLocation = #_sourceLocation
    ) async throws -> Program.Outcome {
        let outcome = await Program(directory: path, environment: environment).run(arguments, input: input)
        try #require(outcome.succeeded, "\(arguments): \(outcome.messages)", sourceLocation: sourceLocation)
        return outcome
    }

    /// Signs an image with a key, in the newer scheme or the older one.
    func sign(_ image: String, key: String = "key", older: Bool, sourceLocation: SourceLocation = #_sourceLocation)
        async throws
    {
        try await must(
            "sign", "--key", "\(key).pem", "--tlog-upload=false", "--new-bundle-format=\(!older)", image,
            sourceLocation: sourceLocation)
    }

    /// Attests an image with a key, in the newer scheme or the older one.
    func attest(
        _ image: String, type: String = "custom", key: String = "key", older: Bool,
        sourceLocation: SourceLocation = #_sourceLocation
    ) async throws {
        try write("predicate.json", #"{"buildType":"x","builder":{"id":"y"}}"#)
        try await must(
            "attest", "--key", "\(key).pem", "--tlog-upload=false", "--new-bundle-format=\(!older)", "--type", type,
            "--predicate", "predicate.json", image, sourceLocation: sourceLocation)
    }

    /// How often an image is signed with a key, in both schemes: what `verify --all-signatures` prints.
    func signatures(_ image: String, key: String = "key", _ more: String...) async throws -> Int {
        let outcome = await Program(directory: path).run(
            ["verify", "--all-signatures", "--key", "\(key).pub", "--insecure-ignore-tlog"] + more + [image])
        if outcome.ending == .exit(10) { return 0 }
        try #require(outcome.succeeded, "\(outcome.messages)")
        return try JSONCursor(try JSONValue(parsing: outcome.stdout)).elements().count
    }

    /// How many attestations of a type with a key an image has, in both schemes.
    func attestations(_ image: String, type: String = "custom", key: String = "key", _ more: String...) async throws
        -> Int
    {
        let outcome = await Program(directory: path).run(
            ["verify-attestation", "--all-signatures", "--key", "\(key).pub", "--insecure-ignore-tlog", "--type", type]
                + more + [image])
        // 12 where there are attestations of another type.
        if [.exit(10), .exit(12)].contains(outcome.ending) { return 0 }
        try #require(outcome.succeeded, "\(outcome.messages)")
        return try outcome.objects().count
    }
}

/// cosign 2 and cosign 3, where they can be had.
enum Cosign: String, CaseIterable, Sendable {
    case two = "cosign2"
    case three = "cosign3"

    private static let programs = Result {
        let directory = TemporaryDirectory()
        let unpack = Process()
        unpack.executableURL = URL(filePath: "\(sharedDirectory)/peers/unpack")
        unpack.arguments = [directory.path]
        unpack.standardOutput = FileHandle.nullDevice
        try Spawning.exclusively { try unpack.run() }
        unpack.waitUntilExit()
        return directory
    }

    /// Runs it in a directory.
    func run(_ arguments: String..., in directory: TemporaryDirectory) async throws -> Program.Outcome {
        try await run(arguments, in: directory)
    }

    func run(_ arguments: [String], in directory: TemporaryDirectory) async throws -> Program.Outcome {
        let program = "\(try Self.programs.get().path)/\(rawValue)"
        return await Program(
            executable: program, directory: directory.path,
            environment: ["COSIGN_PASSWORD": "", "TUF_ROOT": directory["tuf"], "HTTPS_PROXY": "http://127.0.0.1:9"]
        ).run(arguments)
    }
}
