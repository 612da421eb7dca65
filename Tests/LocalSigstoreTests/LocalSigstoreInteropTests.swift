import Foundation
import InToto
import LocalSigstore
import Spawning
import StrictJSON
import TestServices
import Testing

/// The real clients that the local services are held to.
private enum Peers {
    static let repository = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        .deletingLastPathComponent()

    /// A folder with `cosign3`, `cosign2` and `oras`: where `SWSIGN_PEERS` says, or unpacked from `../shared/peers`.
    static let folder: String? = {
        if let named = ProcessInfo.processInfo.environment["SWSIGN_PEERS"] { return named }
        let script = repository.deletingLastPathComponent().appendingPathComponent("shared/peers/unpack").path
        let folder = repository.appendingPathComponent(".build/peers").path
        guard FileManager.default.isExecutableFile(atPath: script), runs(script, [folder]) else { return nil }
        return folder
    }()

    /// sigstore-python's program: where `SIGSTORE_PYTHON` says, or installed from PyPI.
    static let sigstorePython: String? = {
        if let named = ProcessInfo.processInfo.environment["SIGSTORE_PYTHON"] { return named }
        let environment = repository.appendingPathComponent(".build/sigstore-python").path
        let program = "\(environment)/bin/sigstore"
        if FileManager.default.isExecutableFile(atPath: program) { return program }
        guard runs("/usr/bin/env", ["python3", "-m", "venv", environment]),
            runs("\(environment)/bin/pip", ["install", "--quiet", "sigstore>=4,<5"])
        else { return nil }
        return program
    }()

    private static func runs(_ program: String, _ arguments: [String]) -> Bool {
        let process = Process()
        process.executableURL = URL(filePath: program)
        process.arguments = arguments
        process.standardInput = FileHandle.nullDevice
        process.standardOutput = FileHandle.nullDevice
        process.standardError = FileHandle.nullDevice
        guard (try? Spawning.exclusively { try process.run() }) != nil else { return false }
        process.waitUntilExit()
        return process.terminationStatus == 0
    }
}

/// Local services, a folder for files, and clients that run there.
private final class Bench: Sendable {
    let services: LocalServices
    let folder: String

    struct Outcome {
        let status: Int32
        let output: String
        let messages: String
    }

    init() throws {
        services = try LocalServices.current
        folder = FileManager.default.temporaryDirectory.appendingPathComponent("interop-\(UUID().uuidString)").path
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
        try Data("hello".utf8).write(to: URL(filePath: "\(folder)/blob"))
        try Data(#"{"a":1}"#.utf8).write(to: URL(filePath: "\(folder)/predicate"))
    }

    deinit { try? FileManager.default.removeItem(atPath: folder) }

    /// Runs a program in the folder, apart from the person's own environment. Does not hold a thread while it waits:
    /// the services that it talks to need them.
    func run(_ program: String, _ arguments: [String], _ environment: [String: String] = [:]) async throws -> Outcome {
        let files = ["out", "err"].map { "\(folder)/\(UUID().uuidString).\($0)" }
        let status = try await Spawning.run(
            program, arguments, in: folder,
            environment: ["PATH": "/usr/bin:/bin", "HOME": folder, "TMPDIR": folder, "COSIGN_PASSWORD": "pw"]
                .merging(environment) { $1 }, output: files[0], errors: files[1])
        let texts = files.map { String(decoding: FileManager.default.contents(atPath: $0) ?? Data(), as: UTF8.self) }
        return Outcome(status: status, output: texts[0], messages: texts[1])
    }

    func peer(_ name: String, _ arguments: [String], _ environment: [String: String] = [:]) async throws -> Outcome {
        try await run("\(try #require(Peers.folder))/\(name)", arguments, environment)
    }

    /// Runs a peer that has to succeed.
    @discardableResult
    func must(
        _ name: String, _ arguments: [String], _ environment: [String: String] = [:],
        sourceLocation: SourceLocation = #_sourceLocation
    ) async throws -> Outcome {
        let outcome = try await peer(name, arguments, environment)
        #expect(
            outcome.status == 0, "\(name) \(arguments.first ?? ""): \(outcome.messages)", sourceLocation: sourceLocation
        )
        return outcome
    }

    func services(_ kind: LocalServices.SigningConfigKind) -> [String] {
        ["-y", "--signing-config", services.files.signingConfig(kind), "--trusted-root", services.files.trustedRoot]
    }

    func token(_ identity: LocalIdentity) throws -> [String] {
        ["--identity-token", try services.issuer.token(for: identity)]
    }

    func expecting(_ identity: LocalIdentity) -> [String] {
        [
            "--certificate-identity", services.issuer.subject(of: identity), "--certificate-oidc-issuer",
            services.issuer.issuer(of: identity),
        ]
    }

    var trust: [String] { ["--trusted-root", services.files.trustedRoot] }
}

private let identities: [LocalIdentity] = [.email("alice+x@local.test"), .gitHubWorkflow(), .uri("/users/1")]
private let logs: [LocalServices.SigningConfigKind] = [.v1, .v2, .both]

/// One at a time: the clients have time limits of their own, some of five seconds.
@Suite(
    .localSigstore(.own), .serialized,
    .enabled(if: Peers.folder != nil, "cosign and oras are not here: ../shared/peers/unpack, or SWSIGN_PEERS"))
struct LocalSigstoreInteropTests {
    private let bench: Bench

    init() throws { bench = try Bench() }

    @Test(arguments: logs, identities)
    func cosign3SignsBlobs(_ kind: LocalServices.SigningConfigKind, _ identity: LocalIdentity) async throws {
        try await bench.must(
            "cosign3", ["sign-blob"] + bench.services(kind) + bench.token(identity) + ["--bundle", "b", "blob"])
        try await bench.must(
            "cosign3", ["verify-blob"] + bench.trust + bench.expecting(identity) + ["--bundle", "b", "blob"])
        let logs = [bench.services.rekorV1, bench.services.rekorV2].map {
            $0.requests.filter { $0.method == "POST" }.count
        }
        #expect(logs == (kind == .v1 ? [1, 0] : [0, 1]))
        let other = try await bench.peer(
            "cosign3",
            ["verify-blob"] + bench.trust + bench.expecting(.email("bob@local.test")) + ["--bundle", "b", "blob"])
        #expect(other.status != 0)
    }

    @Test func cosign3SignsWithATimestampOnly() async throws {
        let identity = identities[0]
        try await bench.must(
            "cosign3",
            ["sign-blob"] + bench.services(.timestamp) + bench.token(identity) + ["--bundle", "b", "blob"])
        try await bench.must(
            "cosign3",
            ["verify-blob", "--insecure-ignore-tlog", "--use-signed-timestamps"] + bench.trust
                + bench.expecting(identity) + ["--bundle", "b", "blob"])
    }

    @Test(arguments: logs)
    func cosign3SignsWithAKey(_ kind: LocalServices.SigningConfigKind) async throws {
        try await bench.must("cosign3", ["generate-key-pair"])
        try await bench.must(
            "cosign3", ["sign-blob", "--key", "cosign.key"] + bench.services(kind) + ["--bundle", "b", "blob"])
        try await bench.must(
            "cosign3", ["verify-blob", "--key", "cosign.pub"] + bench.trust + ["--bundle", "b", "blob"])
    }

    private func pushImage(_ bench: Bench) async throws -> String {
        let name = "\(bench.services.registry.address)/demo/app"
        try await bench.must("oras", ["push", "--plain-http", "\(name):v1", "blob:text/plain"])
        let digest = try await bench.must("oras", ["resolve", "--plain-http", "\(name):v1"])
        return "\(name)@\(digest.output.trimmingCharacters(in: .whitespacesAndNewlines))"
    }

    @Test(arguments: logs, identities.prefix(2))
    func cosign3SignsImages(_ kind: LocalServices.SigningConfigKind, _ identity: LocalIdentity) async throws {
        let image = try await pushImage(bench)
        try await bench.must("cosign3", ["sign"] + bench.services(kind) + bench.token(identity) + [image])
        try await bench.must("cosign3", ["verify"] + bench.trust + bench.expecting(identity) + [image])
        try await bench.must(
            "cosign3",
            ["attest"] + bench.services(kind) + bench.token(identity)
                + ["--predicate", "predicate", "--type", "custom", image])
        try await bench.must(
            "cosign3",
            ["verify-attestation", "--type", "custom"] + bench.trust + bench.expecting(identity) + [image])
        let referrers = try await bench.must("oras", ["discover", "--plain-http", "--format", "json", image])
        #expect(referrers.output.contains("application/vnd.dev.sigstore.bundle.v0.3+json"))
    }

    @Test func cosign2SignsBlobsAndImages() async throws {
        let identity = identities[0]
        let environment = Dictionary(
            bench.services.cosign2Environment.map { ($0.name, $0.value) }, uniquingKeysWith: { $1 })
        let urls = [
            "-y", "--fulcio-url", bench.services.fulcio.url, "--rekor-url", bench.services.rekorV1.url,
        ]
        try await bench.must(
            "cosign2",
            ["sign-blob", "--timestamp-server-url", bench.services.timestampURL, "--rfc3161-timestamp", "t"] + urls
                + bench.token(identity) + ["--bundle", "b", "blob"], environment)
        try await bench.must(
            "cosign2",
            ["verify-blob", "--bundle", "b", "--rfc3161-timestamp", "t", "--timestamp-certificate-chain"]
                + ["services/tsa_chain.pem"] + bench.expecting(identity) + ["blob"], environment)
        let image = try await pushImage(bench)
        let rekor = ["--rekor-url", bench.services.rekorV1.url]
        try await bench.must("cosign2", ["sign"] + urls + bench.token(identity) + [image], environment)
        try await bench.must("cosign2", ["verify"] + rekor + bench.expecting(identity) + [image], environment)
        try await bench.must(
            "cosign2",
            ["attest", "--predicate", "predicate", "--type", "custom"] + urls + bench.token(identity) + [image],
            environment)
        try await bench.must(
            "cosign2", ["verify-attestation", "--type", "custom"] + rekor + bench.expecting(identity) + [image],
            environment)
    }

    @Test func cosign3TakesTheTokenOfAJob() async throws {
        let job = [
            "ACTIONS_ID_TOKEN_REQUEST_URL": bench.services.gitHubTokenURL,
            "ACTIONS_ID_TOKEN_REQUEST_TOKEN": bench.services.requestToken,
        ]
        try await bench.must("cosign3", ["sign-blob"] + bench.services(.v1) + ["--bundle", "b", "blob"], job)
        try await bench.must(
            "cosign3",
            ["verify-blob"] + bench.trust + bench.expecting(.gitHubWorkflow()) + ["--bundle", "b", "blob"])
    }

    @Test func cosign3SignsInByDevice() async throws {
        let services = bench.services
        let person = Task {
            // The page that a person would open: a code comes with the device's request, and is confirmed there.
            while !Task.isCancelled {
                try await Task.sleep(for: .milliseconds(50))
                guard let code = services.pendingUserCodes.first else { continue }
                let body = Array("user_code=\(code)&email=ann%40local.test".utf8)
                _ = try await RawClient(port: services.issuerServer.port).send("POST", "/auth/device", body: body)
                return
            }
        }
        try await bench.must(
            "cosign3",
            ["sign-blob", "--fulcio-auth-flow", "device"] + bench.services(.v1) + ["--bundle", "b", "blob"])
        person.cancel()
        try await bench.must(
            "cosign3",
            ["verify-blob"] + bench.trust + bench.expecting(.email("ann@local.test")) + ["--bundle", "b", "blob"])
    }

    /// A fault at a service must keep cosign from success: it refuses to sign, or what it signed does not verify.
    @Test(arguments: [
        ("fulcio", Fault.Action.wrongSCT), ("fulcio", .missingSCT), ("fulcio", .wrongCertificate),
        ("fulcio", .wrongKey), ("fulcio", .wrongChain), ("fulcio", .status(400, retryAfter: nil)),
        ("rekor-v1", .wrongPromise), ("rekor-v1", .wrongProof), ("rekor-v1", .wrongCheckpoint),
        ("rekor-v1", .wrongEntry),
        ("rekor-v1", .status(400, retryAfter: nil)), ("rekor-v2", .wrongProof), ("rekor-v2", .wrongCheckpoint),
        ("rekor-v2", .wrongEntry), ("timestamp", .wrongCertificate), ("timestamp", .wrongImprint),
        ("timestamp", .status(400, retryAfter: nil)), ("timestamp", .wrongTime(seconds: -86_400)),
    ])
    func cosign3DoesNotSucceedWith(_ service: String, _ fault: Fault.Action) async throws {
        let identity = identities[0]
        let server = try #require(bench.services.servers.first { $0.name == service }?.server)
        server.faults.add(Fault(fault))
        let kind: LocalServices.SigningConfigKind = service == "rekor-v1" ? .v1 : .v2
        let signed = try await bench.peer(
            "cosign3",
            ["sign-blob"] + bench.services(kind) + bench.token(identity) + ["--bundle", "b", "blob"])
        #expect(!server.requests.isEmpty)
        if signed.status == 0 {
            let verified = try await bench.peer(
                "cosign3", ["verify-blob"] + bench.trust + bench.expecting(identity) + ["--bundle", "b", "blob"])
            #expect(verified.status != 0, "signed: \(signed.messages) verified: \(verified.messages)")
        }
    }

    @Test(
        .enabled(if: Peers.sigstorePython != nil, "sigstore-python is not here and did not come from PyPI"),
        arguments: logs, identities.prefix(2))
    func sigstorePythonSigns(_ kind: LocalServices.SigningConfigKind, _ identity: LocalIdentity) async throws {
        let program = try #require(Peers.sigstorePython)
        let trust = ["--trust-config", bench.services.files.trustConfig(kind)]
        let signed = try await bench.run(
            program, trust + ["sign"] + bench.token(identity) + ["--bundle", "python", "blob"])
        #expect(signed.status == 0, "\(signed.messages)")
        try await bench.must(
            "cosign3", ["verify-blob"] + bench.trust + bench.expecting(identity) + ["--bundle", "python", "blob"])
        try await bench.must(
            "cosign3", ["sign-blob"] + bench.services(kind) + bench.token(identity) + ["--bundle", "b", "blob"])
        for bundle in ["python", "b"] {
            let verified = try await bench.run(
                program,
                trust + [
                    "verify", "identity", "--cert-identity", bench.services.issuer.subject(of: identity),
                    "--cert-oidc-issuer", bench.services.issuer.issuer(of: identity), "--bundle", bundle, "blob",
                ])
            #expect(verified.status == 0, "\(verified.messages)")
        }
    }

    /// The public conformance suite's client for swsign signs a file and a statement; it verifies both itself, and so do
    /// the others.
    @Test(
        .enabled(if: Peers.sigstorePython != nil, "sigstore-python is not here and did not come from PyPI"),
        arguments: logs.prefix(2))
    func theConformanceClientSigns(_ kind: LocalServices.SigningConfigKind) async throws {
        let identity = identities[0]
        let files = bench.services.files
        let swsign =
            ProcessInfo.processInfo.environment["SWSIGN"]
            ?? URL(fileURLWithPath: "/proc/self/exe").resolvingSymlinksInPath().deletingLastPathComponent()
            .appendingPathComponent("swsign").path
        func client(_ arguments: [String]) async throws -> Bench.Outcome {
            try await bench.run(
                Peers.repository.appendingPathComponent("Tests/Conformance/swsign-conformance").path, arguments,
                ["SWSIGN": swsign])
        }
        // SHA-256 of the blob.
        let digest = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"
        try Data(
            """
            {"_type":"https://in-toto.io/Statement/v1","subject":[{"name":"blob","digest":{"sha256":"\(digest)"}}],\
            "predicateType":"https://example.org/p","predicate":{"a":1}}
            """.utf8
        ).write(to: URL(filePath: "\(bench.folder)/statement"))
        for (bundle, flags, signed) in [("b", [], "blob"), ("s", ["--in-toto"], "statement")] {
            let made = try await client(
                ["sign-bundle"] + flags + bench.token(identity)
                    + ["--bundle", bundle, "--trusted-root", files.trustedRoot, "--signing-config"]
                    + [files.signingConfig(kind), signed])
            #expect(made.status == 0, "\(made.messages)")
            for artifact in ["blob", "sha256:\(digest)"] {
                let verify = ["verify-bundle", "--bundle", bundle] + bench.expecting(identity) + bench.trust
                let verified = try await client(verify + [artifact])
                #expect(verified.status == 0, "\(verified.messages)")
            }
            let other = try await client(
                ["verify-bundle", "--bundle", bundle] + bench.expecting(identity) + bench.trust + ["predicate"])
            #expect(other.status == 1, "\(other.messages)")
            let python = try await bench.run(
                try #require(Peers.sigstorePython),
                [
                    "--trust-config", files.trustConfig(kind), "verify", "identity", "--cert-identity",
                    bench.services.issuer.subject(of: identity), "--cert-oidc-issuer",
                    bench.services.issuer.issuer(of: identity), "--bundle", bundle, "blob",
                ])
            #expect(python.status == 0, "\(python.messages)")
        }
        try await bench.must(
            "cosign3", ["verify-blob"] + bench.trust + bench.expecting(identity) + ["--bundle", "b", "blob"])
        try await bench.must(
            "cosign3",
            ["verify-blob-attestation", "--type", "https://example.org/p"] + bench.trust + bench.expecting(identity)
                + ["--bundle", "s", "blob"])
        // What is not the protocol is refused before anything is signed.
        let unknown = try await client(["sign-bundle", "--key", "k", "--bundle", "b", "blob"])
        #expect(unknown.status == 2 && unknown.messages.contains("the flag --key is not known"))
    }
}
