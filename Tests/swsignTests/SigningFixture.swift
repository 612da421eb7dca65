import Foundation
import LocalSigstore
import OCIRegistry
import SigstoreCrypto
import StrictJSON
import TestServices
import Testing

/// A directory, and a whole Sigstore on loopback to sign with.
final class SigningFixture: Sendable {
    static let alice = LocalIdentity.email("alice@local.test")

    let services: LocalServices
    let directory = TemporaryDirectory()

    /// Takes the services that the test declares, unless others are given.
    init(_ services: LocalServices? = nil) throws { self.services = try services ?? .current }

    var trust: [String] { ["--trusted-root", services.files.trustedRoot] }

    func services(_ kind: LocalServices.SigningConfigKind) -> [String] {
        trust + ["--signing-config", services.files.signingConfig(kind)]
    }

    func token(_ identity: LocalIdentity = alice, _ options: TokenOptions = TokenOptions()) throws -> [String] {
        ["--identity-token", try services.issuer.token(for: identity, options: options)]
    }

    /// Variables that make a job of GitHub Actions of the program's surroundings.
    var gitHubJob: [String: String] {
        [
            "GITHUB_ACTIONS": "true", "CI": "true", "ACTIONS_ID_TOKEN_REQUEST_URL": services.gitHubTokenURL,
            "ACTIONS_ID_TOKEN_REQUEST_TOKEN": services.requestToken,
        ]
    }

    func run(
        _ arguments: [String], environment: [String: String] = [:], input: Program.Input = .nothing,
        terminal: [Program.Turn]? = nil, takesTurns: Bool = true
    ) async -> Program.Outcome {
        var program = Program(directory: directory.path, environment: environment)
        program.takesTurns = takesTurns
        return await program.run(arguments, input: input, terminal: terminal)
    }

    /// Verifies a file's bundle as a stranger does.
    func verify(
        _ file: String, _ bundle: String = "bundle.json", by identity: LocalIdentity = alice, flags: [String] = []
    ) async -> Program.Outcome {
        await run(
            ["verify-blob", "--bundle", bundle] + trust + expecting(identity) + flags + [file])
    }

    func expecting(_ identity: LocalIdentity) -> [String] {
        [
            "--certificate-identity", services.issuer.subject(of: identity), "--certificate-oidc-issuer",
            services.issuer.issuer(of: identity),
        ]
    }

    /// How many entries the logs have taken.
    var recorded: Int {
        [services.rekorV1, services.rekorV2].flatMap(\.requests).filter { $0.method == "POST" && $0.status == 201 }
            .count
    }

    /// How many certificates were issued.
    var certificates: Int {
        services.fulcio.requests.filter { $0.target.hasSuffix("signingCert") && $0.status == 200 }.count
    }

    /// The signatures that are kept for another run.
    var unfinished: [String] {
        (try? FileManager.default.contentsOfDirectory(atPath: directory[".sigstore/swsign/unfinished"])) ?? []
    }

    /// Puts an image into the registry.
    /// - Returns: Its reference.
    func push(_ text: String = "an image") throws -> String {
        let layer = Array(text.utf8)
        let manifest = try ImageFixture.manifest([(layer, "text/plain", [:])])
        for blob in [Array("{}".utf8), layer] { try services.registry.placeBlob(blob, in: ImageFixture.path) }
        try services.registry.placeManifest(manifest.bytes, mediaType: manifest.mediaType, in: ImageFixture.path)
        return "\(services.registry.address)/\(ImageFixture.path)@\(manifest.digest)"
    }

    /// Whether anything but images was pushed.
    var hasPushed: Bool {
        services.registry.server.requests.contains { ["PUT", "POST", "PATCH"].contains($0.method) }
    }
}
