import Foundation
import InToto
import LocalSigstore
import SigstoreCrypto
import StrictJSON
import TestServices
import Testing

/// What the real program signs without a key, with each choice of services, for each kind of identity; verified by
/// itself, by cosign 3 and, where it is files, by sigstore-python.
@Suite(.needsPeers, .localSigstore(.own), .serialized)
struct KeylessTests {
    private let place: Workplace

    init() throws { place = try Workplace() }

    /// An identity, and others that look like it and are not it.
    struct Identity: Sendable, CustomTestStringConvertible {
        let identity: LocalIdentity
        let nearMisses: [@Sendable (String) -> String]
        let testDescription: String
    }

    static let identities = [
        Identity(
            identity: .email("alice.o'hara+release@local.test"),
            nearMisses: [
                { $0.replacingOccurrences(of: "+release", with: "") }, { $0.replacingOccurrences(of: "+", with: " ") },
                { $0.replacingOccurrences(of: "alice", with: "Alice") }, { $0 + " " },
                { $0.replacingOccurrences(of: "a", with: "\u{430}") },
            ], testDescription: "an email address with + and '"),
        Identity(
            identity: .gitHubWorkflow(
                GitHubWorkflow(
                    repository: "an-organization-of-39-characters-in-all/" + String(repeating: "repository", count: 10),
                    file: ".github/workflows/" + String(repeating: "deep-", count: 30) + "release+1.yml",
                    ref: "refs/heads/feature/" + String(repeating: "long/", count: 10) + "v1.0")),
            nearMisses: [
                { $0 + "0" }, { String($0.dropLast()) }, { $0.replacingOccurrences(of: "v1.0", with: "v1x0") },
                { $0.replacingOccurrences(of: "+1", with: "%2B1") },
            ], testDescription: "a GitHub workflow with a long path"),
        Identity(
            identity: .uri("/ns/team-a/sa/build%20bot"),
            nearMisses: [
                { $0 + "/" }, { $0.replacingOccurrences(of: "%20", with: " ") },
                { $0.replacingOccurrences(of: "team-a", with: "team-b") },
            ], testDescription: "a URI"),
    ]

    static let kinds: [LocalServices.SigningConfigKind] = [.v1, .v2, .both, .timestamp]

    /// sigstore-python's program: where `SIGSTORE_PYTHON` says, or installed from PyPI.
    static let sigstorePython = Task { () -> String? in
        if let named = ProcessInfo.processInfo.environment["SIGSTORE_PYTHON"] { return named }
        let environment = Shared.checkout.appendingPathComponent(".build/sigstore-python").path
        let program = "\(environment)/bin/sigstore"
        if FileManager.default.isExecutableFile(atPath: program) { return program }
        let place = try Workplace()
        let network = ["HTTPS_PROXY": "", "HTTP_PROXY": ""]
        guard try await place.run("/usr/bin/env", ["python3", "-m", "venv", environment]).status == 0,
            try await place.run("\(environment)/bin/pip", ["install", "--quiet", "sigstore>=4,<5"], network).status == 0
        else { return nil }
        return program
    }

    /// Local services, and a place to work in.
    private struct Bench: Sendable {
        let services: LocalServices
        let place: Workplace
        let identity: LocalIdentity

        init(_ identity: LocalIdentity, in place: Workplace) throws {
            (services, self.place, self.identity) = (try LocalServices.current, place, identity)
        }

        func signing(_ kind: LocalServices.SigningConfigKind) throws -> [String] {
            [
                "--yes", "--trusted-root", services.files.trustedRoot, "--signing-config",
                services.files.signingConfig(kind), "--identity-token", try services.issuer.token(for: identity),
            ]
        }

        var subject: String { services.issuer.subject(of: identity) }

        func expecting(_ subject: String) -> [String] {
            [
                "--trusted-root", services.files.trustedRoot, "--certificate-identity", subject,
                "--certificate-oidc-issuer", services.issuer.issuer(of: identity),
            ]
        }

        /// What a verifier has to be told of a signature that is in no log.
        func logs(_ kind: LocalServices.SigningConfigKind) -> [String] {
            kind == .timestamp ? ["--insecure-ignore-tlog", "--use-signed-timestamps"] : []
        }

        /// Has both tools verify a signature, which must hold; nobody else has signed it.
        func verify(
            _ command: String, _ kind: LocalServices.SigningConfigKind, _ flags: [String], _ artifact: String,
            nearMisses: [String]
        ) async throws {
            for tool in [Tool.swsign, .cosign3] {
                let program = try await tool.program
                let cell = "\(tool) \(command) \(kind)"
                let outcome = try await place.run(
                    program, [command] + expecting(subject) + logs(kind) + flags + [artifact])
                #expect(outcome.status == 0, "\(cell): \(outcome.messages)")
                for other in tool == .swsign && kind == .both ? nearMisses : Array(nearMisses.prefix(1)) {
                    let refused = try await place.run(
                        program, [command] + expecting(other) + logs(kind) + flags + [artifact])
                    #expect(refused.status != 0, "\(cell) as \(other): \(refused.messages)")
                    if tool == .swsign {
                        #expect(refused.messages.contains("expected identity"), "\(cell): \(refused.messages)")
                    }
                }
            }
        }
    }

    @Test("Files and attestations of files", arguments: identities)
    func files(_ case: Identity) async throws {
        let bench = try Bench(`case`.identity, in: place)
        let program = try await Tool.swsign.program
        let nearMisses = `case`.nearMisses.map { $0(bench.subject) }
        try place.write(#"{"buildDefinition":{},"runDetails":{}}"#, to: "predicate")
        try await withThrowingTaskGroup(of: Void.self) { group in
            for kind in Self.kinds {
                group.addTask { try await files(kind, bench, place, program, nearMisses) }
            }
            try await group.waitForAll()
        }
        try await python(bench, nearMisses)
    }

    private func files(
        _ kind: LocalServices.SigningConfigKind, _ bench: Bench, _ place: Workplace, _ program: String,
        _ nearMisses: [String]
    ) async throws {
        let (file, attested) = ("file-\(kind)", "attested-\(kind)")
        for name in [file, attested] { try place.write("\(name) is signed\n", to: name) }
        try await place.must(
            program, ["sign-blob"] + bench.signing(kind) + ["--bundle", "\(file).sigstore.json", file])
        try await bench.verify(
            "verify-blob", kind, ["--bundle", "\(file).sigstore.json"], file, nearMisses: nearMisses)
        try await place.must(
            program,
            ["attest-blob"] + bench.signing(kind) + [
                "--type", "slsaprovenance1", "--predicate", "predicate", "--bundle",
            ]
                + ["\(attested).sigstore.json", attested])
        try await bench.verify(
            "verify-blob-attestation", kind, ["--type", "slsaprovenance1", "--bundle", "\(attested).sigstore.json"],
            attested,
            nearMisses: Array(nearMisses.prefix(1)))
        // What is in no log, is verified by nobody who was not told to do without.
        guard kind == .timestamp else { return }
        for tool in [Tool.swsign, .cosign3] {
            let refused = try await place.run(
                tool.program,
                ["verify-blob"] + bench.expecting(bench.subject) + ["--bundle", "\(file).sigstore.json", file])
            #expect(refused.status != 0, "\(tool): \(refused.messages)")
        }
    }

    /// sigstore-python starts slowly, so it verifies all files in one run. It has no way to verify without a log, and reads
    /// statements of version 1 only.
    private func python(_ bench: Bench, _ nearMisses: [String]) async throws {
        let program = try #require(
            try await Self.sigstorePython.value, "sigstore-python is not here and did not come from PyPI")
        func verify(_ subject: String, _ files: [String]) async throws -> Workplace.Outcome {
            try await bench.place.run(
                program,
                [
                    "--trust-config", bench.services.files.trustConfig(.v2), "verify", "identity", "--cert-identity",
                    subject,
                    "--cert-oidc-issuer", bench.services.issuer.issuer(of: bench.identity),
                ] + files)
        }
        let files = Self.kinds.filter { $0 != .timestamp }.flatMap { ["file-\($0)", "attested-\($0)"] }
        async let right = verify(bench.subject, files)
        async let wrong = verify(nearMisses[0], [files[0]])
        let (verified, refused) = (try await right, try await wrong)
        #expect(verified.status == 0, "\(verified.messages)")
        #expect(refused.status != 0, "\(refused.messages)")
    }

    @Test("Images and attestations of images", arguments: identities)
    func images(_ case: Identity) async throws {
        let bench = try Bench(`case`.identity, in: place)
        let program = try await Tool.swsign.program
        let nearMisses = `case`.nearMisses.map { $0(bench.subject) }
        try place.write(#"{"builder":{"id":"tests"},"buildType":"tested"}"#, to: "predicate")
        try await withThrowingTaskGroup(of: Void.self) { group in
            for kind in Self.kinds {
                let image = try push("an image for \(kind)", to: bench.services.registry)
                group.addTask {
                    try await place.must(program, ["sign"] + bench.signing(kind) + ["-a", "kind=\(kind)", image])
                    try await bench.verify("verify", kind, ["-a", "kind=\(kind)"], image, nearMisses: nearMisses)
                    try await place.must(
                        program,
                        ["attest"] + bench.signing(kind) + [
                            "--type", "slsaprovenance", "--predicate", "predicate", image,
                        ])
                    try await bench.verify(
                        "verify-attestation", kind, ["--type", "slsaprovenance"], image,
                        nearMisses: Array(nearMisses.prefix(1)))
                }
            }
            try await group.waitForAll()
        }
    }

    @Test("Both cosigns verify the older forms")
    func olderForms() async throws {
        let bench = try Bench(.email("alice+old@local.test"), in: place)
        let (services, program) = (bench.services, try await Tool.swsign.program)
        try place.write("signed the older way\n", to: "file")
        try place.write(#"{"builder":{"id":"tests"},"buildType":"tested"}"#, to: "predicate")
        let image = try push("an image", to: services.registry)
        let signing = try bench.signing(.v1) + ["--new-bundle-format=false"]
        try await place.must(
            program,
            [
                "sign-blob", "--bundle", "bundle", "--output-signature", "signature", "--output-certificate",
                "certificate",
            ]
                + ["--rfc3161-timestamp-bundle", "timestamp"] + signing + ["file"])
        try await place.must(program, ["sign"] + signing + ["-a", "by=tests", image])
        try await place.must(
            program, ["attest"] + signing + ["--type", "slsaprovenance", "--predicate", "predicate", image])
        // cosign reads whom to believe from these where no trusted root is given; and it cannot read one with them.
        let environment = Dictionary(
            services.cosign2Environment.map { ($0.name, $0.value) }, uniquingKeysWith: { $1 })
        let timestamps = ["--timestamp-certificate-chain", "\(services.files.folder)/tsa_chain.pem"]
        for tool in [Tool.cosign2, .cosign3] {
            let older = tool == .cosign3 ? ["--new-bundle-format=false"] : []
            for (subject, holds) in [(bench.subject, true), ("alice@local.test", false)] {
                let expecting =
                    older + ["--rekor-url", services.rekorV1.url, "--certificate-identity", subject]
                    + ["--certificate-oidc-issuer", services.issuer.issuer(of: bench.identity)]
                for command in [
                    ["verify-blob", "--bundle", "bundle", "--rfc3161-timestamp", "timestamp"] + timestamps
                        + expecting + ["file"],
                    ["verify-blob", "--bundle", "bundle"] + expecting + ["file"],
                    ["verify", "-a", "by=tests"] + timestamps + expecting + [image],
                    ["verify-attestation", "--type", "slsaprovenance"] + timestamps + expecting + [image],
                ] {
                    let outcome = try await place.run(tool.program, command, environment)
                    #expect(
                        (outcome.status == 0) == holds, "\(tool) \(command[0]) as \(subject): \(outcome.messages)")
                }
            }
        }
    }

    @Test("All verify attestations by keys of larger curves in Rekor v1", arguments: ["384-nistp384", "512-nistp521"])
    func largerCurves(algorithm: String) async throws {
        let bench = try Bench(.email("unused@local.test"), in: place)
        let program = try await Tool.swsign.program
        let image = try push("signed over SHA-256 by \(algorithm)", to: bench.services.registry)
        try place.write("attested over SHA-256\n", to: "file")
        try place.write(#"{"builder":{"id":"tests"},"buildType":"tested"}"#, to: "predicate")
        try await place.must(
            program,
            ["generate-key-pair", "--signing-algorithm", "ecdsa-sha2-\(algorithm)", "--output-key-prefix", "key"])
        let trust = ["--trusted-root", bench.services.files.trustedRoot]
        let signing =
            ["--yes", "--key", "key.key", "--signing-config", bench.services.files.signingConfig(.v1)] + trust
        let type = ["--type", "slsaprovenance"]
        let predicate = type + ["--predicate", "predicate"]
        try await place.must(program, ["attest-blob"] + signing + predicate + ["--bundle", "attestation", "file"])
        try await place.must(program, ["sign"] + signing + [image])
        try await place.must(program, ["attest"] + signing + predicate + [image])
        for tool in Tool.allCases {
            let verifying = ["--key", "key.pub"] + trust + (tool == .cosign2 ? ["--new-bundle-format"] : [])
            var commands = [
                ["verify-blob-attestation", "--bundle", "attestation"] + type + verifying + ["file"],
                ["verify-attestation"] + type + verifying + [image],
            ]
            // cosign 2.5 looks for bundles of attestations only.
            if tool != .cosign2 { commands.append(["verify"] + verifying + [image]) }
            for command in commands {
                let outcome = try await place.run(tool.program, command)
                #expect(outcome.status == 0, "\(tool) \(command[0]): \(outcome.messages)")
            }
        }
    }

    /// Puts an image into the registry.
    /// - Returns: Its reference.
    private func push(_ text: String, to registry: LocalRegistry) throws -> String {
        let (config, layer) = (Array(#"{"architecture":"amd64","os":"linux"}"#.utf8), Array(text.utf8))
        func descriptor(_ content: [UInt8], _ type: String) throws -> String {
            let digest = try Digest.sha256(content)
            return #"{"mediaType":"application/vnd.oci.image.\#(type)","digest":"\#(digest)","size":\#(content.count)}"#
        }
        for blob in [config, layer] { try registry.placeBlob(blob, in: "team/app") }
        let mediaType = "application/vnd.oci.image.manifest.v1+json"
        let manifest = Array(
            """
            {"schemaVersion":2,"mediaType":"\(mediaType)","config":\(try descriptor(config, "config.v1+json")),\
            "layers":[\(try descriptor(layer, "layer.v1.tar"))]}
            """.utf8)
        try registry.placeManifest(manifest, mediaType: mediaType, tag: nil, in: "team/app")
        return "\(registry.address)/team/app@\(try Digest.sha256(manifest))"
    }
}
