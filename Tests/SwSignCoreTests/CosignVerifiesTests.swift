import Foundation
import InToto
import LocalSigstore
import SigstoreCrypto
import SigstoreVerification
import Spawning
import StrictJSON
import SwSignCore
import TestServices
import Testing

/// cosign 3 itself: where `SWSIGN_PEERS` says, or unpacked from `../shared/peers`.
private let cosign: String? = {
    if let named = ProcessInfo.processInfo.environment["SWSIGN_PEERS"] { return "\(named)/cosign3" }
    let repository = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        .deletingLastPathComponent()
    let script = repository.deletingLastPathComponent().appendingPathComponent("shared/peers/unpack").path
    let folder = repository.appendingPathComponent(".build/peers").path
    guard FileManager.default.isExecutableFile(atPath: script) else { return nil }
    let process = Process()
    process.executableURL = URL(filePath: script)
    process.arguments = [folder]
    process.standardOutput = FileHandle.nullDevice
    guard (try? Spawning.exclusively { try process.run() }) != nil else { return nil }
    process.waitUntilExit()
    return process.terminationStatus == 0 ? "\(folder)/cosign3" : nil
}()

@Suite(
    "cosign 3 verifies what is signed here", .localSigstore, .serialized,
    .enabled(if: cosign != nil, "cosign is not here: ../shared/peers/unpack, or SWSIGN_PEERS"))
struct CosignVerifiesTests {
    /// Runs cosign in a folder, without holding a thread of the services that it may talk to.
    private func run(_ arguments: [String], in folder: String) async throws -> (status: Int32, messages: String) {
        let messages = "\(folder)/messages"
        let status = try await Spawning.run(
            try #require(cosign), arguments, in: folder, environment: ["PATH": "/usr/bin:/bin", "HOME": folder],
            output: "/dev/null", errors: messages)
        return (status, try String(contentsOfFile: messages, encoding: .utf8))
    }

    @Test(
        "Files and attestations",
        arguments: [LocalServices.SigningConfigKind.v1, .v2, .timestamp],
        [LocalIdentity.email("alice+x@local.test"), .gitHubWorkflow(), .uri("/users/1")])
    func verifies(_ kind: LocalServices.SigningConfigKind, _ identity: LocalIdentity) async throws {
        let shop = try Workshop()
        let folder = FileManager.default.temporaryDirectory.appendingPathComponent("cosign-\(UUID().uuidString)").path
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(atPath: folder) }
        let content = Array("signed here: \(kind) \(identity)".utf8)
        try Data(content).write(to: URL(filePath: "\(folder)/blob"))
        let session = try shop.session(identity, try shop.clients(kind))
        let bundle = try await session.sign(ArtifactBytes(content))
        try Data(bundle.serialized()).write(to: URL(filePath: "\(folder)/bundle"))
        let digest = try Digest.sha256(content).hex
        let attested = try await session.attest(
            Statement(
                layout: .v01,
                subjects: [ResourceDescriptor(name: "blob", digests: [(algorithm: "sha256", hex: digest)])],
                predicateType: PredicateType(uri: "https://example.com/p"), predicate: .object(["a": .integer(1)])
            ).json().serialized())
        try Data(attested.serialized()).write(to: URL(filePath: "\(folder)/attestation"))

        let flags =
            [
                "--trusted-root", shop.services.files.trustedRoot, "--certificate-identity",
                shop.services.issuer.subject(of: identity), "--certificate-oidc-issuer",
                shop.services.issuer.issuer(of: identity), "--use-signed-timestamps",
            ] + (kind == .timestamp ? ["--insecure-ignore-tlog"] : [])
        let blob = try await run(["verify-blob"] + flags + ["--bundle", "bundle", "blob"], in: folder)
        #expect(blob.status == 0, "\(blob.messages)")
        let attestation = try await run(
            ["verify-blob-attestation", "--type", "https://example.com/p"] + flags + [
                "--bundle", "attestation", "blob",
            ],
            in: folder)
        #expect(attestation.status == 0, "\(attestation.messages)")
        // The same call refuses another file.
        try Data("another".utf8).write(to: URL(filePath: "\(folder)/blob"))
        #expect(try await run(["verify-blob"] + flags + ["--bundle", "bundle", "blob"], in: folder).status != 0)
    }
}
