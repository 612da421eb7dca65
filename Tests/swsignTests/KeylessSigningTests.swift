import FaultServer
import Foundation
import HTTPTransport
import LocalSigstore
import OCIRegistry
import SigstoreCrypto
import StrictJSON
import TestServices
import Testing

@Suite("Signing without a key", .localSigstore(.own))
struct KeylessSigningTests {
    private let place: SigningFixture

    init() throws { place = try SigningFixture() }

    // MARK: - Identity tokens

    /// Where a token can come from without a person, as the makers of these systems document it.
    enum Surroundings: String, CaseIterable, Sendable {
        case github = "github-actions"
        case gitlab = "envvar"
        case buildkite = "buildkite-agent"
        case google = "google-workload-identity"
        case spiffe
    }

    @Test("The token of a CI job is found", arguments: Surroundings.allCases)
    func ambient(_ surroundings: Surroundings) async throws {
        let identity: LocalIdentity =
            surroundings == .github
            ? .gitHubWorkflow() : surroundings == .google ? .email("robot@project.test") : .uri("/job/1")
        let token = try place.services.issuer.token(for: identity)
        let metadata = FaultServer { request, connection in
            let isGood =
                request.header("metadata-flavor") == "Google"
                && request.target
                    == "/computeMetadata/v1/instance/service-accounts/default/identity?audience=sigstore&format=full"
            connection.respond(isGood ? 200 : 404, ["Metadata-Flavor: Google"], isGood ? token : "")
        }
        defer { metadata.stop() }
        let workload = WorkloadAPIServer(WorkloadAPIServer.answer(token: token))
        defer { workload.stop() }
        var environment: [String: String]
        switch surroundings {
        case .github: environment = place.gitHubJob
        case .gitlab: environment = ["CI": "true", "GITLAB_CI": "true", "SIGSTORE_ID_TOKEN": token]
        case .google: environment = ["GCE_METADATA_HOST": metadata.authority]
        case .spiffe: environment = ["SPIFFE_ENDPOINT_SOCKET": "unix://\(workload.path)"]
        case .buildkite:
            try place.directory.makeDirectory("bin")
            try place.directory.write(
                "bin/buildkite-agent",
                "#!/bin/sh\n[ \"$*\" = 'oidc request-token --audience sigstore' ] && [ -n \"$BUILDKITE_AGENT_ACCESS_TOKEN\" ] "
                    + "&& echo '\(token)'\n", mode: 0o755)
            environment = [
                "CI": "true", "BUILDKITE": "true", "BUILDKITE_AGENT_ACCESS_TOKEN": "secret",
                "PATH": "\(place.directory["bin"]):/usr/bin:/bin",
            ]
        }
        try place.directory.write("file", "signed by a job")
        for flags in [[], ["--oidc-provider", surroundings.rawValue]] {
            let outcome = await place.run(
                ["sign-blob", "--bundle", "bundle.json"] + place.services(.v1) + flags + ["file"],
                environment: environment)
            #expect(outcome.succeeded, "\(outcome.messages)")
            #expect(!outcome.messages.contains(token))
            let verified = await place.verify("file", by: identity)
            #expect(verified.succeeded, "\(verified.messages)")
        }
        // Another place was named, or none is to be looked at.
        for flags in [
            ["--oidc-provider", surroundings == .spiffe ? "google" : "spiffe"],
            ["--oidc-disable-ambient-providers"],
        ] {
            let outcome = await place.run(
                ["sign-blob", "--bundle", "other.json"] + place.services(.v1) + flags + ["file"],
                environment: environment)
            #expect(outcome.ending == .exit(1))
            #expect(outcome.code == "no-identity-token", "\(outcome.messages)")
            #expect(!place.directory.exists("other.json"))
        }
        #expect(place.recorded == 2)
    }

    @Test("What the certificate says of a job is printed for programs, the deprecated claims apart")
    func claims() async throws {
        let job = LocalIdentity.gitHubWorkflow()
        try place.directory.write("file", "signed by a job")
        try place.directory.write("predicate", "{}")
        for command in [["sign-blob"], ["attest-blob", "--type", "custom", "--predicate", "predicate"]] {
            let signed = await place.run(
                command + ["--yes", "--bundle", "bundle.json"] + place.services(.v1) + (try place.token(job))
                    + ["file"])
            #expect(signed.succeeded, "\(signed.messages)")
            let verified = await place.run(
                [command == ["sign-blob"] ? "verify-blob" : "verify-blob-attestation", "--output", "json"]
                    + ["--bundle", "bundle.json"] + place.trust + place.expecting(job) + ["file"])
            let printed = try #require(try verified.objects().first, "\(verified.messages)")
            let claims = try printed.member("claims")
            #expect(try claims.member("issuer").string() == place.services.issuer.issuer(of: job))
            #expect(try claims.member("runnerEnvironment").string() == "github-hosted")
            #expect(try claims.member("buildTrigger").string() == "push")
            #expect(try claims.names().count == 16)
            let deprecated = try printed.member("deprecatedClaims")
            #expect(try deprecated.member("githubWorkflowTrigger").string() == "push")
            #expect(try deprecated.names().count == 6)
        }
        // A person's certificate says less, and a key nothing.
        let person = await place.run(
            ["sign-blob", "--yes", "--bundle", "person.json"] + place.services(.v1) + (try place.token())
                + ["file"])
        #expect(person.succeeded, "\(person.messages)")
        let verified = await place.verify("file", "person.json", flags: ["--output", "json"])
        #expect(try verified.objects().first?.member("claims").names() == ["issuer", "tokenSubject"])
        #expect(try verified.objects().first?.member("deprecatedClaims").names() == ["deprecatedIssuer"])
    }

    @Test(
        "Without a token and without anybody to sign in, signing fails at once and says what to set",
        arguments: [
            (["CI": "true", "GITHUB_ACTIONS": "true"], "id-token: write"),
            (["CI": "true", "GITLAB_CI": "true"], "id_tokens"),
            (["CI": "true"], "SIGSTORE_ID_TOKEN"), ([:], "SIGSTORE_ID_TOKEN"),
        ])
    func noToken(_ environment: [String: String], _ words: String) async throws {
        try place.directory.write("file", "never signed")
        let outcome = await place.run(
            ["sign-blob", "--bundle", "bundle.json"] + place.services(.v1) + ["file"], environment: environment)
        #expect(outcome.ending == .exit(1))
        #expect(outcome.code == "no-identity-token", "\(outcome.messages)")
        #expect(outcome.messages.contains(words), "\(outcome.messages)")
        #expect(outcome.seconds < 100)
        #expect(place.services.servers.allSatisfy { $0.server.requests.isEmpty })
    }

    /// A token that is no good.
    struct BadToken: Sendable, CustomTestStringConvertible {
        let code: String
        let words: String
        var identity = SigningFixture.alice
        var options = TokenOptions()

        init(
            _ code: String, _ words: String, _ identity: LocalIdentity = SigningFixture.alice,
            _ change: (inout TokenOptions) -> Void = { _ in }
        ) {
            (self.code, self.words, self.identity) = (code, words, identity)
            change(&options)
        }
        var testDescription: String { code }
    }

    @Test(
        "What is wrong with a token is named before Fulcio is asked",
        arguments: [
            BadToken("identity-token-expired", "expired at") { $0.lifetime = -60 },
            BadToken("identity-token-audience", "expected sigstore") { $0.audience = "https://github.com/example" },
            BadToken("identity-token-not-yet-valid", "counts from") { $0.delay = 3600 },
            BadToken(
                "identity-token-email-unverified", "alice@local.test", .email("alice@local.test", verified: false)),
            BadToken("identity-token-email-not-ascii", "only ASCII", .email("jürgen@exämple.test")),
        ])
    func badToken(_ bad: BadToken) async throws {
        try place.directory.write("file", "never signed")
        let token = try place.token(bad.identity, bad.options)
        let outcome = await place.run(
            ["sign-blob", "--yes", "--bundle", "bundle.json"] + place.services(.v1) + token + ["file"])
        #expect(outcome.ending == .exit(1))
        #expect(outcome.code == bad.code, "\(outcome.messages)")
        #expect(outcome.messages.contains(bad.words), "\(outcome.messages)")
        #expect(!outcome.messages.contains(token[1]))
        #expect(place.services.fulcio.requests.isEmpty)
        #expect(!place.directory.exists("bundle.json"))
    }

    @Test("A token for another audience, from a file, and one that Fulcio refuses")
    func otherTokens() async throws {
        try place.directory.write("file", "signed with a token from a file")
        try place.directory.write("token", try place.token()[1] + "\n", mode: 0o600)
        let arguments = ["sign-blob", "--yes", "--bundle", "bundle.json"] + place.services(.v1)
        let outcome = await place.run(arguments + ["--identity-token", "token", "file"])
        #expect(outcome.succeeded, "\(outcome.messages)")
        // Fulcio knows the reason, and does not say it; what the token says is said then.
        for (identity, change) in [
            (SigningFixture.alice, { (options: inout TokenOptions) in options.forged = true }),
            (SigningFixture.alice, { $0.audience = "other" }),
        ] {
            var options = TokenOptions()
            change(&options)
            let refused = await place.run(
                arguments + (try place.token(identity, options)) + ["--oidc-client-id", options.audience, "file"])
            #expect(refused.ending == .exit(1))
            #expect(refused.code == "identity-token-refused", "\(refused.messages)")
            #expect(refused.messages.contains("that Fulcio itself can reach the issuer"), "\(refused.messages)")
            #expect(refused.messages.contains(place.services.issuer.url), "\(refused.messages)")
            #expect(refused.messages.contains("Fulcio at \(place.services.fulcio.address)"), "\(refused.messages)")
        }
        #expect(place.recorded == 1)
    }

    @Test("A person signs in on another device")
    func device() async throws {
        try place.directory.write("file", "signed after signing in")
        let services = place.services
        let person = Task {
            while !Task.isCancelled {
                try await Task.sleep(for: .milliseconds(5))
                guard let code = services.pendingUserCodes.first else { continue }
                let body = Array("user_code=\(code)&email=ann%40local.test".utf8)
                _ = try await CurlClient().send(
                    HTTPRequest(
                        "POST", try HTTPURL(parsing: "\(services.issuer.url)/auth/device"),
                        headers: [(name: "Content-Type", value: "application/x-www-form-urlencoded")],
                        body: .bytes(body)))
                return
            }
        }
        let outcome = await place.run(
            ["sign-blob", "--yes", "--fulcio-auth-flow", "device", "--bundle", "bundle.json"] + place.services(.v2)
                + ["file"])
        person.cancel()
        #expect(outcome.succeeded, "\(outcome.messages)")
        #expect(outcome.messages.contains("\(services.issuer.url)/auth/device"), "\(outcome.messages)")
        let verified = await place.verify("file", by: .email("ann@local.test"))
        #expect(verified.succeeded, "\(verified.messages)")
        let refused = await place.run(
            ["sign-blob", "--yes", "--fulcio-auth-flow", "token", "--bundle", "b.json"] + place.services(.v2) + [
                "file"
            ])
        #expect(refused.code == "no-identity-token", "\(refused.messages)")
    }

    // MARK: - What becomes public

    @Test(
        "On a terminal a person agrees to what becomes public, or nothing is asked of anybody",
        arguments: ["y\n", "n\n", "\n", "\u{3}"])
    func confirmed(_ answer: String) async throws {
        try place.directory.write("file", "signed when somebody agreed")
        let arguments =
            ["sign-blob", "--bundle", "bundle.json"] + place.services(.v1) + (try place.token()) + ["file"]
        let outcome = await place.run(arguments, input: .terminal, terminal: [Program.Turn("Go on? [y/N]", answer)])
        #expect(outcome.screen.contains("Go on? [y/N]"))
        for words in [
            "alice@local.test", place.services.issuer.url, place.services.rekorV1.url, "cannot be taken back",
        ] {
            #expect(outcome.messages.contains(words), "\(outcome.messages)")
        }
        let agreed = answer == "y\n"
        #expect(outcome.succeeded == agreed, "\(outcome.messages)")
        #expect(place.certificates == (agreed ? 1 : 0) && place.recorded == (agreed ? 1 : 0))
        #expect(place.directory.exists("bundle.json") == agreed)
        if !agreed { #expect(outcome.ending == .exit(answer == "\u{3}" ? 130 : 1), "\(outcome.messages)") }
    }

    @Test("Nobody is asked who has no terminal, or said --yes; standard input is left alone")
    func notAsked() async throws {
        try place.directory.write("file", "signed without a question")
        let arguments = ["sign-blob", "--bundle", "bundle.json"] + place.services(.v1) + (try place.token())
        let piped = await place.run(arguments + ["file"], input: .text("n\n"))
        #expect(piped.succeeded, "\(piped.messages)")
        #expect(piped.messages.contains("cannot be taken back"))
        // What is on standard input is the file, and no answer.
        let streamed = await place.run(arguments + ["-"], input: .text("n\n"))
        #expect(streamed.succeeded, "\(streamed.messages)")
        try place.directory.write("n", "n\n")
        let verified = await place.verify("n")
        #expect(verified.succeeded, "\(verified.messages)")
        let sure = await place.run(
            arguments + ["--yes", "file"], input: .terminal, terminal: [Program.Turn("[y/N]", "n\n")])
        #expect(sure.succeeded, "\(sure.messages)")
        #expect(!sure.screen.contains("[y/N]"))
    }

    @Test(
        "An attestation becomes public whole in Rekor v1, and by its digest in v2; a key without services tells nobody")
    func notice() async throws {
        try place.directory.write("file", "attested")
        try place.directory.write("predicate", "{}")
        try place.directory.makeKey()
        func messages(_ kind: LocalServices.SigningConfigKind, _ who: [String]) async -> String {
            await place.run(
                [
                    "attest-blob", "--yes", "--type", "slsaprovenance1", "--predicate", "predicate", "--bundle",
                    "\(kind).json",
                ] + who
                    + place.services(kind) + ["file"]
            ).messages
        }
        #expect(await messages(.v1, try place.token()).contains("each attestation, whole,"))
        #expect(await messages(.v2, try place.token()).contains("whole") == false)
        #expect(await messages(.v1, ["--key", "key.pem"]).contains("the public key, in the transparency log"))
        let quiet = await messages(.none, ["--key", "key.pem"])
        #expect(!quiet.contains("public"), "\(quiet)")
    }

    // MARK: - One certificate for a run

    @Test("One certificate serves many files")
    func manyFiles() async throws {
        let files = (0..<12).map { "file-\($0)" }
        for file in files { try place.directory.write(file, "this is \(file)") }
        let outcome = await place.run(["sign-blob", "--yes"] + place.services(.v2) + (try place.token()) + files)
        #expect(outcome.succeeded, "\(outcome.messages)")
        #expect(outcome.messages.contains("12 of 12 files signed"))
        #expect(place.certificates == 1 && place.recorded == 12)
        let verified = await place.run(
            ["verify-blob"] + place.trust + place.expecting(SigningFixture.alice) + files)
        #expect(verified.succeeded, "\(verified.messages)")
    }

    @Test("One certificate serves an index with its images", arguments: ["sign", "attest"])
    func recursive(_ command: String) async throws {
        try place.directory.write("predicate", #"{"buildType":"test"}"#)
        let images = try ["amd64", "arm64"].map { (architecture: $0, name: try place.push("for \($0)")) }
        let entries = try images.map { image in
            let digest = try #require(image.name.split(separator: "@").last)
            let size = try #require(place.services.registry.manifest(String(digest), in: ImageFixture.path)).bytes
                .count
            return #"{"mediaType":"\#(MediaType.imageManifest)","digest":"\#(digest)","size":\#(size),"#
                + #""platform":{"os":"linux","architecture":"\#(image.architecture)"}}"#
        }
        let index = Array(
            #"{"schemaVersion":2,"mediaType":"\#(MediaType.imageIndex)","manifests":[\#(entries.joined(separator: ","))]}"#
                .utf8)
        try place.services.registry.placeManifest(index, mediaType: MediaType.imageIndex, in: ImageFixture.path)
        let name = "\(place.services.registry.address)/\(ImageFixture.path)@\(try Digest.sha256(index))"
        let what = command == "attest" ? ["--type", "slsaprovenance", "--predicate", "predicate"] : []
        let outcome = await place.run(
            [command, "--yes", "--recursive"] + what + place.services(.v1) + (try place.token()) + [name])
        #expect(outcome.succeeded, "\(outcome.messages)")
        #expect(place.certificates == 1 && place.recorded == 3)
        let verify = command == "sign" ? ["verify"] : ["verify-attestation", "--type", "slsaprovenance"]
        for image in [name] + images.map(\.name) {
            let verified = await place.run(verify + place.trust + place.expecting(SigningFixture.alice) + [image])
            #expect(verified.succeeded, "\(image): \(verified.messages)")
        }
    }

    // MARK: - Keys and logs, services by flags, older outputs

    @Test(
        "With a key a signature is recorded unless that is not wanted",
        arguments: ["sign-blob", "attest-blob", "sign", "attest"])
    func keys(_ command: String) async throws {
        try place.directory.makeKey()
        try place.directory.write("file", "signed with a key")
        try place.directory.write("predicate", #"{"buildType":"test"}"#)
        let isImage = ["sign", "attest"].contains(command)
        let attested = command.hasPrefix("attest") ? ["--type", "slsaprovenance", "--predicate", "predicate"] : []
        let type = attested.isEmpty ? [] : ["--type", "slsaprovenance"]
        let verify = [
            "sign-blob": "verify-blob", "attest-blob": "verify-blob-attestation", "sign": "verify",
            "attest": "verify-attestation",
        ]
        for (number, (flags, entries)) in [
            (["--signing-config", place.services.files.signingConfig(.v1)], 1),
            (["--signing-config", place.services.files.signingConfig(.v2)], 1),
            (["--rekor-url", place.services.rekorV1.url], 1),
            (["--signing-config", place.services.files.signingConfig(.v1), "--tlog-upload=false"], 0),
            (["--signing-config", place.services.files.signingConfig(.timestamp)], 0),
            (["--signing-config", place.services.files.signingConfig(.none)], 0),
        ].enumerated() {
            let before = place.recorded
            let target = isImage ? try place.push("image \(number)") : "file"
            let bundle = isImage ? [] : ["--bundle", "\(number).json"]
            let outcome = await place.run(
                [command, "--yes", "--key", "key.pem"] + place.trust + flags + attested + bundle + [target])
            #expect(outcome.succeeded, "\(flags): \(outcome.messages)")
            #expect(place.recorded == before + entries, "\(flags)")
            let verifying = [try #require(verify[command]), "--key", "key.pub"] + place.trust + type + bundle
            let verified = await place.run(verifying + [target])
            #expect(verified.succeeded == (entries == 1), "\(flags): \(verified.messages)")
            if entries == 0 {
                let ignoring = await place.run(verifying + ["--insecure-ignore-tlog", target])
                #expect(ignoring.succeeded, "\(flags): \(ignoring.messages)")
            }
        }
        #expect(place.certificates == 0)
    }

    @Test("Services that flags name, and the separate files that cosign 2 writes")
    func olderFiles() async throws {
        try place.directory.write("file", "signed the older way")
        let flags = [
            "--fulcio-url", place.services.fulcio.url, "--rekor-url", place.services.rekorV1.url,
            "--timestamp-server-url",
            place.services.timestampURL,
        ]
        let outcome = await place.run(
            [
                "sign-blob", "--yes", "--new-bundle-format=false", "--bundle", "bundle", "--output-signature",
                "signature",
            ]
                + ["--output-certificate", "certificate", "--rfc3161-timestamp-bundle", "timestamp"] + place.trust
                + flags
                + (try place.token()) + ["file"])
        #expect(outcome.succeeded, "\(outcome.messages)")
        // base64 of PEM, base64 of the signature, and cosign 2's JSON.
        let pem = try #require(Base64.decode(try place.directory.text("certificate")))
        #expect(try Certificate.chain(pem: pem).count == 1)
        let older = JSONCursor(try JSONValue(parsing: try place.directory.read("bundle")))
        #expect(try older.member("base64Signature").string() == place.directory.text("signature"))
        #expect(try older.member("cert").string() == place.directory.text("certificate"))
        #expect(try !older.member("rekorBundle").member("SignedEntryTimestamp").bytes().isEmpty)
        let timestamp = JSONCursor(try JSONValue(parsing: try place.directory.read("timestamp")))
        #expect(try !timestamp.member("SignedRFC3161Timestamp").bytes().isEmpty)
        #expect(place.recorded == 1 && place.certificates == 1)
        let verifying = ["verify-blob"] + place.trust + place.expecting(SigningFixture.alice)
        for parts in [
            ["--bundle", "bundle"], ["--bundle", "bundle", "--rfc3161-timestamp", "timestamp"],
            [
                "--signature", "signature", "--certificate", "certificate", "--rfc3161-timestamp", "timestamp",
                "--insecure-ignore-tlog",
            ],
        ] {
            let verified = await place.run(verifying + parts + ["file"])
            #expect(verified.succeeded, "\(parts): \(verified.messages)")
        }
    }

    @Test("The older scheme on images keeps all parts as annotations", arguments: ["sign", "attest"])
    func olderImages(_ command: String) async throws {
        let image = try place.push()
        try place.directory.write("predicate", #"{"buildType":"test"}"#)
        let what =
            command == "attest" ? ["--type", "slsaprovenance", "--predicate", "predicate"] : ["-a", "by=tests"]
        let outcome = await place.run(
            [command, "--yes", "--new-bundle-format=false"] + what + place.services(.v1) + (try place.token()) + [
                image
            ])
        #expect(outcome.succeeded, "\(outcome.messages)")
        let hex = try #require(image.split(separator: ":").last)
        let tag = "sha256-\(hex).\(command == "sign" ? "sig" : "att")"
        let manifest = try #require(place.services.registry.manifest(tag, in: ImageFixture.path)).bytes
        let layer = try #require(
            try JSONCursor(try JSONValue(parsing: manifest)).member("layers").elements().first)
        let annotations = try layer.member("annotations")
        for name in ["certificate", "bundle", "rfc3161timestamp"] {
            #expect(try !annotations.member("dev.sigstore.cosign/\(name)").string().isEmpty)
        }
        #expect(
            try annotations.member("dev.cosignproject.cosign/signature").string().isEmpty == (command == "attest"))
        let verify =
            command == "sign" ? ["verify", "-a", "by=tests"] : ["verify-attestation", "--type", "slsaprovenance"]
        let verified = await place.run(verify + place.trust + place.expecting(SigningFixture.alice) + [image])
        #expect(verified.succeeded, "\(verified.messages)")
        let other = await place.run(verify + place.trust + place.expecting(.email("bob@local.test")) + [image])
        #expect(other.ending == .exit(12), "\(other.messages)")
    }
}

@Suite("Looking into a log", .localSigstore(.own))
struct TransparencyLogTests {
    private let place: SigningFixture

    init() throws { place = try SigningFixture() }

    /// The command with a log, its trusted root, and JSON as output.
    private func tlog(
        _ place: SigningFixture, _ command: String, _ kind: LocalServices.SigningConfigKind, _ arguments: [String]
    )
        async -> Program.Outcome
    {
        await place.run(["tlog", command, "-o", "json"] + place.services(kind) + arguments)
    }

    /// Signs a file by alice, and other files by others and with a key.
    private func fill(_ place: SigningFixture, _ kind: LocalServices.SigningConfigKind) async throws {
        try place.directory.makeKey()
        for name in ["file", "other", "keyed"] { try place.directory.write(name, "this is \(name)") }
        for (name, who) in [
            ("file", try place.token()), ("other", try place.token(.email("bob@local.test"))),
            ("keyed", ["--key", "key.pem"]),
        ] {
            let outcome = await place.run(
                ["sign-blob", "--yes", "--bundle", "\(name).json"] + place.services(kind) + who + [name])
            #expect(outcome.succeeded, "\(outcome.messages)")
        }
    }

    private func index(_ place: SigningFixture, _ name: String) throws -> Int64 {
        let bundle = JSONCursor(try JSONValue(parsing: try place.directory.read("\(name).json")))
        let entry = try #require(try bundle.member("verificationMaterial").member("tlogEntries").elements().first)
        return try entry.optional("logIndex")?.integer() ?? 0
    }

    @Test("get, verify and info over both versions", arguments: [LocalServices.SigningConfigKind.v1, .v2])
    func reading(_ kind: LocalServices.SigningConfigKind) async throws {
        try await fill(place, kind)
        let number = String(try index(place, "file"))
        let digest = try Digest.sha256(try place.directory.read("file"))
        let got = await tlog(place, "get", kind, ["--log-index", number])
        #expect(got.succeeded, "\(got.messages)")
        let entry = try #require(try got.objects().first)
        #expect(try entry.member("logIndex").integer() == Int64(number))
        #expect(try entry.member("body").member("kind").string() == "hashedrekord")
        let text = await place.run(["tlog", "get"] + place.services(kind) + ["--log-index", number])
        for words in [digest.description, "alice@local.test", place.services.issuer.url] {
            #expect(text.output.contains(words), "\(text.output)")
        }
        if kind == .v1 {
            let uuid = try entry.member("leafHash").string()
            let same = try #require(try await tlog(place, "get", kind, ["--uuid", uuid]).objects().first)
            #expect(try same.member("logIndex").integer() == Int64(number))
            let absent = await tlog(place, "get", kind, ["--uuid", String(uuid.reversed())])
            #expect(absent.code == "no-such-log-entry", "\(absent.messages)")
            let foreign = await tlog(place, "get", kind, ["--uuid", "00000000000000ff\(uuid)"])
            #expect(foreign.code == "no-such-log-entry", "\(foreign.messages)")
            #expect(foreign.messages.contains("in another log: its UUID names the tree 255"), "\(foreign.messages)")
        }
        for (arguments, code) in [
            (["--log-index", "1000"], "no-such-log-entry"), (["--log-index", "-1"], "usage"), ([], "usage"),
            (["--uuid", "x"], kind == .v1 ? "malformed-uuid" : "not-in-rekor-v2"),
        ] {
            let refused = await tlog(place, "get", kind, arguments)
            #expect(refused.ending == .exit(1) && refused.stdout.isEmpty, "\(refused.messages)")
            #expect(refused.code == code, "\(refused.messages)")
        }

        let verified = await tlog(place, "verify", kind, ["--bundle", "file.json", "--artifact", "file"])
        #expect(verified.succeeded, "\(verified.messages)")
        #expect(await tlog(place, "verify", kind, ["--log-index", number, "--sha", digest.hex]).succeeded)
        let wrongFile = await tlog(place, "verify", kind, ["--bundle", "file.json", "--artifact", "other"])
        #expect(wrongFile.code == "log-entry-mismatch" && wrongFile.stdout.isEmpty, "\(wrongFile.messages)")

        let info = try #require(try await tlog(place, "info", kind, []).objects().first)
        #expect(try info.member("treeSize").integer() == Int64(number).map { $0 + 3 })
    }

    @Test(
        "With a trusted root, its addresses are used and no mirror is asked",
        arguments: [LocalServices.SigningConfigKind.v1, .v2])
    func addresses(_ kind: LocalServices.SigningConfigKind) async throws {
        try await fill(place, kind)
        let mirror = ["TUF_MIRROR": place.services.tufMirror.url]
        let number = String(try index(place, "file"))
        for arguments in [["verify", "--bundle", "file.json"], ["get", "--log-index", number], ["info"]] {
            // Which of a root's logs is meant, only a bundle says; else it is the one of the newest version.
            guard arguments.contains("--bundle") || kind == .v2 else { continue }
            let outcome = await place.run(["tlog"] + arguments + place.trust, environment: mirror)
            outcome.expectSuccess()
            let log = kind == .v1 ? place.services.rekorV1 : place.services.rekorV2
            #expect(outcome.output.contains(log.url), "\(outcome.output)")
        }
        #expect(place.services.tufMirror.requests.isEmpty)
    }

    @Test("An entry that is looked up in another log than its own is said to be")
    func anotherLog() async throws {
        try await fill(place, .v1)
        let (own, other) = (place.services.rekorV1, place.services.rekorV2)
        let asked = own.requests.count
        let refused = await place.run(
            ["tlog", "verify", "--bundle", "file.json", "--rekor-url", other.url] + place.trust)
        #expect(refused.code == "log-entry-mismatch" && refused.stdout.isEmpty, "\(refused.messages)")
        #expect(refused.messages.contains("is in another log"), "\(refused.messages)")
        #expect(refused.messages.contains("the entry's log is \(own.url)"), "\(refused.messages)")
        #expect(other.requests.isEmpty && own.requests.count == asked)
    }

    @Test("search by file, digest, email and key, which only Rekor v1 has")
    func searching() async throws {
        try await fill(place, .v1)
        let digest = try Digest.sha256(try place.directory.read("file"))
        for (arguments, name) in [
            (["--artifact", "file"], "file"), (["--sha", digest.description], "file"),
            (["--sha", digest.hex], "file"),
            (["--email", "bob@local.test"], "other"), (["--public-key", "key.pub"], "keyed"),
        ] {
            let found = await tlog(place, "search", .v1, arguments)
            #expect(found.succeeded, "\(arguments): \(found.messages)")
            #expect(
                try found.objects().map { try $0.member("logIndex").integer() } == [try index(place, name)],
                "\(arguments)")
        }
        try place.directory.write("unsigned", "nobody signed this")
        let nothing = await tlog(place, "search", .v1, ["--artifact", "unsigned"])
        #expect(nothing.ending == .exit(1) && nothing.code == "no-such-log-entry", "\(nothing.messages)")
        let noIndex = await tlog(place, "search", .v2, ["--email", "bob@local.test"])
        #expect(noIndex.code == "not-in-rekor-v2", "\(noIndex.messages)")
        #expect(await tlog(place, "search", .v1, []).code == "usage")
    }

    @Test(
        "Nothing is shown that does not verify",
        arguments: [
            (LocalServices.SigningConfigKind.v1, Fault.Action.wrongProof), (.v1, .wrongPromise),
            (.v1, .wrongCheckpoint),
            (.v1, .wrongEntry), (.v1, .corruptBody), (.v1, .status(500, retryAfter: nil)), (.v2, .wrongCheckpoint),
            (.v2, .corruptBody),
            (.v2, .status(403, retryAfter: nil)),
        ])
    func lies(_ kind: LocalServices.SigningConfigKind, _ action: Fault.Action) async throws {
        try await fill(place, kind)
        let number = String(try index(place, "file"))
        let server = kind == .v1 ? place.services.rekorV1 : place.services.rekorV2
        server.faults.add(Fault(action, method: "GET"))
        var commands = [("get", ["--log-index", number]), ("verify", ["--bundle", "file.json"])]
        if kind == .v1 { commands.append(("search", ["--artifact", "file"])) }
        // The other lies are about one entry.
        if action == .wrongCheckpoint { commands.append(("info", [])) }
        for (command, arguments) in commands {
            let outcome = await tlog(place, command, kind, arguments)
            #expect(outcome.ending == .exit(1), "\(command): \(outcome.messages)")
            #expect(outcome.stdout.isEmpty)
            #expect(outcome.messages.contains("transparency log \(server.address)"), "\(outcome.messages)")
        }
    }

    @Test(
        "A bundle whose entry the log does not have is not verified; a log that is not trusted is not shown",
        .localSigstore(.own, .another))
    func otherLogs() async throws {
        try await fill(place, .v1)
        let other = try SigningFixture(.another)
        try await fill(other, .v1)
        try place.directory.write("stranger.json", try other.directory.read("file.json"))
        let wrong = await tlog(place, "verify", .v1, ["--bundle", "stranger.json"])
        #expect(wrong.code == "log-entry-mismatch" && wrong.stdout.isEmpty, "\(wrong.messages)")
        #expect(wrong.messages.contains("is in another log"), "\(wrong.messages)")
        for command in [["info"], ["get", "--log-index", "1"]] {
            let refused = await place.run(
                ["tlog"] + command + place.trust + ["--rekor-url", other.services.rekorV1.url])
            #expect(refused.ending == .exit(1) && refused.stdout.isEmpty, "\(refused.messages)")
        }
    }
}
