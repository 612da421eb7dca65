import Foundation
import LocalSigstore
import SigstoreCrypto
import StrictJSON
import TestServices
import Testing

/// SLSA's provenance of builders on GitHub, signed and verified by the real program. The certificates are by a local Sigstore that
/// names GitHub as the issuer.
@Suite("SLSA provenance", .localSigstore)
struct SLSATests {
    private static let generator = "slsa-framework/slsa-github-generator/.github/workflows"
    private static let generic = "\(generator)/generator_generic_slsa3.yml"
    private static let delegator = "\(generator)/delegator_generic_slsa3.yml"
    private static let own = "example/builder/.github/workflows/build.yml"
    private static let source = "git+https://github.com/example/demo"
    static let content = "what was built"

    /// One build: who signs, and what its provenance says.
    struct Build: Sendable {
        var signer = "\(generic)@refs/tags/v2.1.0"
        var isGitHub = true
        var event = "push"
        var ref = "refs/tags/v13.0.30"
        /// The ref in the certificate, if it is another one.
        var certifiedRef: String?
        /// The ref among the build's variables, if it is another one.
        var variable: String?
        var runner = "github-hosted"
        /// The kind of a build of version 0.2.
        var oldKind = "https://github.com/slsa-framework/slsa-github-generator/generic@v1"
        var name = "app"
        /// The subject's SHA-256, if it is no file.
        var subjectDigest: String?
        /// The builder that the provenance names, if it is not the signer.
        var builder: String?
        var trigger = source
        var built: String?
        /// The kind of a build of version 1; without one it is version 0.2.
        var kind: String?
        var algorithm = HashAlgorithm.sha256
        var algorithmName: String?
        var predicateType: String?
        var subject = content

        func statement() throws -> String {
            let digest = try Digest.hash(Array(subject.utf8), algorithm)
            let builder = self.builder ?? "https://github.com/\(signer)"
            let built = self.built ?? "\(source)@\(ref)"
            let kindOfRef = ref.hasPrefix("refs/tags/") ? "tag" : "branch"
            let payload = #"{"base_ref":"refs/heads/main","inputs":{"release":"yes"}}"#
            let predicate: String
            switch kind {
            case nil:
                predicate =
                    #"{"builder":{"id":"\#(builder)"},"buildType":"\#(oldKind)","invocation":{"configSource":{"uri":"\#(trigger)@\#(ref)"},"environment":{"github_event_name":"\#(event)","github_ref":"\#(variable ?? ref)","github_ref_type":"\#(kindOfRef)","github_base_ref":"","github_event_payload":\#(payload)}},"materials":[{"uri":"\#(built)"}]}"#
            case let kind? where kind.contains("workflow"):
                predicate =
                    #"{"runDetails":{"builder":{"id":"\#(builder)"}},"buildDefinition":{"buildType":"\#(kind)","externalParameters":{"workflow":{"repository":"\#(trigger.dropFirst(4))","ref":"\#(ref)","path":".github/workflows/release.yml"}},"resolvedDependencies":[{"uri":"\#(built)"}]}}"#
            case let kind?:
                let name = trigger.dropFirst("git+https://github.com/".count)
                predicate =
                    #"{"runDetails":{"builder":{"id":"\#(builder)"}},"buildDefinition":{"buildType":"\#(kind)","internalParameters":{"GITHUB_WORKFLOW_REF":"\#(name)/.github/workflows/release.yml@\#(ref)","GITHUB_EVENT_NAME":"\#(event)","GITHUB_EVENT_PAYLOAD":\#(payload)},"resolvedDependencies":[{"uri":"\#(built)"}]}}"#
            }
            let type = predicateType ?? "https://slsa.dev/provenance/\(kind == nil ? "v0.2" : "v1")"
            return
                #"{"_type":"https://in-toto.io/Statement/v1","subject":[{"name":"\#(name)","digest":{"\#(algorithmName ?? algorithm.rawValue)":"\#(subjectDigest ?? digest.hex)"}}],"predicateType":"\#(type)","predicate":\#(predicate)}"#
        }
    }

    private static let containerBased = "https://slsa.dev/container-based-build/v0.1?draft"
    private static let delegated = "https://github.com/slsa-framework/slsa-github-generator/delegator-generic@v0"
    private static let byAction = "https://actions.github.io/buildtypes/workflow/v1"

    private static let builds: [String: Build] = [
        "generic": Build(),
        "sha512": Build(algorithm: .sha512),
        "container-based": Build(
            signer: "\(generator)/builder_container-based_slsa3.yml@refs/tags/v2.1.0", kind: containerBased),
        "branch": Build(signer: "\(generator)/builder_go_slsa3.yml@refs/tags/v2.1.0", ref: "refs/heads/main"),
        "by-hand": Build(event: "workflow_dispatch", ref: "refs/heads/main"),
        "delegated": Build(
            signer: "\(delegator)@refs/tags/v2.1.0", event: "workflow_dispatch", ref: "refs/heads/main",
            builder: "https://github.com/\(own)@refs/tags/v1.4.0", kind: delegated),
        "delegated-trusted": Build(
            signer: "\(delegator)@refs/tags/v2.1.0",
            builder: "https://github.com/\(generator)/builder_maven_slsa3.yml@refs/tags/v2.1.0", built: source,
            kind: delegated),
        "delegated-branch": Build(
            signer: "\(delegator)@refs/tags/v2.1.0", builder: "https://github.com/\(own)@refs/heads/main",
            kind: delegated),
        "own": Build(signer: "\(own)@refs/tags/v1.4.0", kind: byAction),
        "unreleased": Build(signer: "\(generic)@refs/heads/main"),
        "prerelease": Build(signer: "\(generic)@refs/tags/v2.1.0-rc.1"),
        "short-tag": Build(signer: "\(generic)@refs/tags/v2"),
        "image-builder": Build(signer: "\(generator)/generator_container_slsa3.yml@refs/tags/v2.1.0"),
        "other-builder": Build(builder: "https://github.com/\(generator)/builder_go_slsa3.yml@refs/tags/v2.1.0"),
        "other-version": Build(builder: "https://github.com/\(generic)@refs/tags/v2.0.0"),
        "other-trigger": Build(trigger: "git+https://github.com/example/other"),
        "other-source": Build(built: "git+https://github.com/example/other@refs/tags/v13.0.30"),
        "other-ref": Build(built: "\(source)@refs/heads/main"),
        "other-certified-ref": Build(certifiedRef: "refs/heads/main"),
        "other-variable": Build(variable: "refs/tags/v13.0.31"),
        "no-ref": Build(built: source),
        "no-git": Build(built: "https://github.com/example/demo@refs/tags/v13.0.30"),
        "other-issuer": Build(isGitHub: false),
        "sha1": Build(algorithmName: "sha1"),
        "other-file": Build(subject: "something else"),
        "sbom": Build(predicateType: "https://spdx.dev/Document"),
    ]

    /// Signs provenance.
    static func sign(_ name: String, _ build: Build, in place: SigningFixture) async throws {
        var workflow = GitHubWorkflow(
            repository: "example/demo", ref: build.certifiedRef ?? build.ref, event: build.event)
        workflow.builder = build.signer
        workflow.runner = build.runner
        if build.isGitHub { workflow.certificateIssuer = "https://token.actions.githubusercontent.com" }
        try place.directory.write("\(name).statement", try build.statement())
        let made = try await place.run(
            ["attest-blob", "--yes"] + place.services(.v1) + place.token(.gitHubWorkflow(workflow)) + [
                "--statement", "\(name).statement", "--bundle", name,
            ])
        try #require(made.succeeded, "\(name): \(made.messages)")
    }

    private static func verify(_ place: SigningFixture, _ arguments: [String]) async -> Program.Outcome {
        await place.run(["verify-provenance"] + place.trust + arguments)
    }

    private static func signed(_ names: Set<String>) async throws -> SigningFixture {
        let place = try SigningFixture()
        try place.directory.write("app", content)
        try await withThrowingTaskGroup(of: Void.self) { group in
            for (name, build) in builds where names.contains(name) {
                group.addTask { try await sign(name, build, in: place) }
            }
            try await group.waitForAll()
        }
        return place
    }

    @Test("Every rule of SLSA's own verifier: what holds, and what is refused, each by its own code")
    func rules() async throws {
        let place = try await Self.signed(Set(Self.builds.keys))
        let go = "https://github.com/\(Self.generator)/builder_go_slsa3.yml"
        let generic = "https://github.com/\(Self.generic)"
        let own = "https://github.com/\(Self.own)"
        let cases: [(build: String, flags: [String], code: String?, words: String)] = [
            ("generic", [], nil, "builder: \(generic)@refs/tags/v2.1.0"),
            ("generic", ["--builder-id", generic], nil, ""),
            ("generic", ["--builder-id", "\(generic)@v2.1.0"], nil, ""),
            ("generic", ["--builder-id", "\(generic)@refs/tags/v2.1.0"], nil, ""),
            ("generic", ["--builder-id", "\(generic)@v2.1"], "wrong-builder", "\(generic)@v2.1, found"),
            ("generic", ["--builder-id", go], "wrong-builder", "found \(generic)@refs/tags/v2.1.0"),
            ("generic", ["--builder-id", "builder"], "wrong-builder", "is no builder at GitHub"),
            ("generic", ["--builder-id", "\(generic)@"], "wrong-builder", "is no builder at GitHub"),
            ("generic", ["--source-tag", "v13.0.30"], nil, "branch or tag: refs/tags/v13.0.30"),
            (
                "generic", ["--source-tag", "v13.0.3"], "wrong-tag",
                "expected the tag v13.0.3, the provenance names v13.0.30"
            ),
            ("generic", ["--source-branch", "main"], nil, ""),
            (
                "generic", ["--source-branch", "Main"], "wrong-branch",
                "expected the branch Main, the provenance names main"
            ),
            ("generic", ["--source-versioned-tag", "v13"], nil, ""),
            ("generic", ["--source-versioned-tag", "v13.0"], nil, ""),
            (
                "generic", ["--source-versioned-tag", "v13.1"], "wrong-versioned-tag",
                "expected the version v13.1, the provenance names v13.0.30"
            ),
            ("generic", ["--source-versioned-tag", "13"], "wrong-versioned-tag", "is no version"),
            ("generic", ["--source-tag", "v13.0.30", "--source-versioned-tag", "v13"], "usage", "together"),
            ("generic", ["--build-workflow-input", "release=yes"], "wrong-workflow-input", "found push"),
            ("generic", ["--build-workflow-input", "release"], "usage", "NAME=VALUE"),
            ("generic", ["--repository", "https://github.com/example/demo"], "usage", "--repository"),
            ("generic", ["--cert-identity", "a", "--cert-oidc-issuer", "b"], "usage", "--certificate-identity"),
            ("sha512", [], nil, ""), ("container-based", ["--source-tag", "v13.0.30"], nil, ""),
            ("container-based", ["--source-branch", "main"], "wrong-branch", "names none"),
            ("branch", ["--source-branch", "main"], nil, ""),
            ("branch", ["--source-tag", "v13.0.30"], "wrong-tag", "names none"),
            ("branch", ["--source-versioned-tag", "v13"], "wrong-versioned-tag", "names none"),
            ("by-hand", ["--build-workflow-input", "release=yes"], nil, ""),
            (
                "by-hand", ["--build-workflow-input", "release=no"], "wrong-workflow-input",
                "expected the input release=no, the provenance has release=yes"
            ),
            (
                "by-hand", ["--build-workflow-input", "release=yes", "--build-workflow-input", "a=b"],
                "wrong-workflow-input", "no text of that name"
            ),
            ("delegated", [], "wrong-builder", "the provenance names \(own)@refs/tags/v1.4.0"),
            (
                "delegated", ["--builder-id", own, "--build-workflow-input", "release=yes"], nil,
                "builder: \(own)@refs/tags/v1.4.0"
            ),
            ("delegated", ["--builder-id", "\(own)@v1.4.0"], nil, ""),
            ("delegated", ["--builder-id", "\(own)@v1.4.1"], "wrong-builder", "\(own)@v1.4.1"),
            ("delegated", ["--builder-id", "https://github.com/\(Self.delegator)"], "wrong-builder", "\(own)"),
            ("delegated-trusted", [], nil, "builder_maven_slsa3.yml@refs/tags/v2.1.0"),
            ("delegated-branch", ["--builder-id", own], "unreleased-builder", "refs/heads/main"),
            ("own", ["--builder-id", own, "--source-tag", "v13.0.30"], nil, ""),
            ("own", [], "wrong-builder", "the certificate is of \(own)@refs/tags/v1.4.0"),
            ("own", ["--builder-id", own, "--build-workflow-input", "release=yes"], "wrong-workflow-input", ""),
            ("unreleased", [], "unreleased-builder", "refs/heads/main"),
            ("unreleased", ["--builder-id", generic], "unreleased-builder", "refs/tags/vX.Y.Z"),
            ("prerelease", [], "unreleased-builder", "v2.1.0-rc.1"), ("short-tag", [], "unreleased-builder", "tags/v2"),
            ("image-builder", [], "wrong-builder", "generator_container_slsa3.yml"),
            ("other-builder", [], "wrong-builder", "the provenance names the builder \(go)@refs/tags/v2.1.0"),
            ("other-version", [], "wrong-builder", "v2.0.0"),
            ("other-trigger", [], "wrong-source", "the provenance's trigger is git+https://github.com/example/other"),
            ("other-source", [], "wrong-source", "the provenance's source is git+https://github.com/example/other"),
            ("other-ref", [], "malformed-provenance", "refs/tags/v13.0.30"),
            ("other-certified-ref", [], "malformed-provenance", "refs/tags/v13.0.30, or refs/heads/main"),
            ("other-variable", ["--source-tag", "v13.0.31"], "malformed-provenance", "or refs/tags/v13.0.31"),
            ("no-ref", [], "malformed-provenance", "names no branch or tag"),
            ("no-git", [], "malformed-provenance", "expected git+https://"),
            ("other-issuer", [], "wrong-issuer", "https://token.actions.githubusercontent.com"),
            ("sha1", [], "wrong-subject", ""), ("other-file", [], "wrong-subject", ""),
            ("sbom", [], "wrong-predicate-type", "https://spdx.dev/Document"),
        ]
        await withTaskGroup(of: Void.self) { group in
            for one in cases {
                group.addTask {
                    let outcome = await Self.verify(
                        place,
                        ["--from", "slsa", "--source-uri", "github.com/example/demo", "-b", one.build] + one.flags
                            + ["app"])
                    let shown = "\(one.build) \(one.flags): \(outcome.messages)"
                    #expect(outcome.ending == .exit(one.code == nil ? 0 : 1) && outcome.code == one.code, "\(shown)")
                    #expect(
                        one.words.isEmpty || outcome.messages.contains(one.words),
                        "\"\(one.words)\" is not said: \(shown)")
                }
            }
        }
    }

    @Test("The source is compared exactly, in every way to write it, and cannot be left out")
    func source() async throws {
        let place = try await Self.signed(["generic"])
        for (source, code) in [
            ("github.com/example/demo", nil), ("https://github.com/example/demo", nil),
            ("git+https://github.com/example/demo", nil), ("github.com/example/Demo", "wrong-source"),
            ("github.com/example/dem", "wrong-source"), ("github.com/example/demo/", "wrong-source"),
            ("github.com/example", "wrong-source"), ("gitlab.com/example/demo", "wrong-source"),
            ("http://github.com/example/demo", "wrong-source"),
            ("github.com/example/demo@refs/heads/a", "wrong-source"),
        ] as [(String, String?)] {
            // By the generator: --from need not be given.
            let outcome = await Self.verify(place, ["--source-uri", source, "-b", "generic", "app"])
            #expect(
                outcome.ending == .exit(code == nil ? 0 : 1) && outcome.code == code, "\(source): \(outcome.messages)")
        }
        for flags in [[], ["--source-branch", "main"], ["--builder-id", "https://github.com/a/b/c"]] {
            let outcome = await Self.verify(place, ["--from", "slsa", "-b", "generic"] + flags + ["app"])
            #expect(outcome.code == "usage" && outcome.messages.contains("--source-uri"), "\(outcome.messages)")
        }
        let unknown = await place.run([
            "verify-provenance", "--source-uri", "github.com/example/demo", "-b", "generic", "app",
        ])
        #expect(unknown.code == "unknown-log", "\(unknown.messages)")
    }

    @Test("Of several attestations one must hold; each failure is named; programs read the builder")
    func several() async throws {
        let place = try await Self.signed(["generic", "other-file", "other-builder"])
        func lines(_ names: String...) throws -> String {
            try names.map { name in
                let json = try JSONValue(parsing: place.directory.read(name))
                return String(decoding: json.serialized(), as: UTF8.self)
            }.joined(separator: "\n")
        }
        try place.directory.write("app.intoto.jsonl", try lines("other-file", "generic"))
        let flags = ["--from", "slsa", "--source-uri", "github.com/example/demo"]
        let held = await Self.verify(place, flags + ["--output", "json", "app"])
        let facts = try #require(try held.objects().first).member("facts")
        #expect(
            try facts.member("builder").string() == "https://github.com/\(Self.generic)@refs/tags/v2.1.0"
                && facts.member("sourceRepository").string() == "https://github.com/example/demo"
                && facts.member("sourceRef").string() == "refs/tags/v13.0.30", "\(held.output)")
        try place.directory.write("app.intoto.jsonl", try lines("other-file", "other-builder"))
        let refused = await Self.verify(place, flags + ["app"])
        // What is about another file is not verified.
        #expect(refused.ending == .exit(1) && refused.code == "wrong-builder")
        for words in ["line 2: ", "[wrong-builder]", "1 other is about something else"] {
            #expect(refused.messages.contains(words), "\(refused.messages)")
        }
        // Several files may be the same one, and are verified by the same attestations.
        try place.directory.write("other", Self.content)
        try place.directory.write("lines", try lines("other-file", "generic", "other-builder", "generic"))
        let both = await Self.verify(place, flags + ["-b", "lines", "--output", "json", "app", "other"])
        let objects = try both.objects()
        for object in objects {
            #expect(try object.member("verified").bool() && object.member("attestations").elements().count == 2)
        }
        #expect(both.succeeded && objects.count == 2, "\(both.messages)")
        // A demand that the environment makes is said.
        let demanding = await place.run(
            ["verify-provenance"] + place.trust + flags + ["-b", "lines", "app"],
            environment: ["COSIGN_SOURCE_TAG": "v13.0.30"])
        #expect(
            demanding.succeeded && demanding.messages.contains("whom to believe: COSIGN_SOURCE_TAG"),
            "\(demanding.messages)")
        // One byte of the file changed.
        try place.directory.write("app.intoto.jsonl", try lines("generic"))
        try place.directory.write("app", Self.content + "!")
        #expect(await Self.verify(place, flags + ["app"]).code == "wrong-subject")
    }

    // MARK: - npm

    private static let runner = "https://github.com/actions/runner"
    private static let nodejs = "https://github.com/\(generator)/builder_nodejs_slsa3.yml"

    /// A build of a package by npm's own program, in a workflow of the repository.
    private static func package(_ builder: String, _ change: (inout Build) -> Void = { _ in }) -> Build {
        var build = Build(signer: "example/demo/.github/workflows/release.yml@refs/tags/v13.0.30")
        build.kind = "https://slsa-framework.github.io/github-actions-buildtypes/workflow/v1"
        (build.builder, build.algorithm, build.name) = (builder, .sha512, "pkg:npm/demo@13.0.30")
        change(&build)
        return build
    }

    @Test("npm: builders are machines or workflows, and a workflow has to have signed")
    func npm() async throws {
        let place = try SigningFixture()
        try place.directory.write("app", Self.content)
        let key = await place.run(
            ["generate-key-pair", "--output-key-prefix", "npm"], environment: ["COSIGN_PASSWORD": ""])
        try #require(key.succeeded, "\(key.messages)")
        // The registry's attestation. Its key's name is written into it, which no signature covers.
        let digest = try Digest.hash(Array(Self.content.utf8), .sha512).hex
        try place.directory.write(
            "published.statement",
            #"{"_type":"https://in-toto.io/Statement/v1","subject":[{"name":"pkg:npm/demo@13.0.30","digest":{"sha512":"\#(digest)"}}],"predicateType":"https://github.com/npm/attestation/tree/main/specs/publish/v0.1","predicate":{"name":"demo","version":"13.0.30","registry":"https://registry.npmjs.org"}}"#
        )
        let published = await place.run(
            ["attest-blob", "--yes", "--key", "npm.key"] + place.services(.v1) + [
                "--statement", "published.statement", "--bundle", "published",
            ], environment: ["COSIGN_PASSWORD": ""])
        try #require(published.succeeded, "\(published.messages)")
        var bundle = try String(decoding: place.directory.read("published"), as: UTF8.self)
        let hint = try #require(bundle.firstMatch(of: /"hint": *"([^"]*)"/)).1
        bundle = bundle.replacing(/"sig":/, with: #""keyid":"\#(hint)","sig":"#)

        let builds: [String: Build] = [
            "hosted": Self.package("\(Self.runner)/github-hosted"),
            "first": Self.package(Self.runner) {
                ($0.kind, $0.oldKind) = (nil, "https://github.com/npm/cli/gha@v1")
                $0.built = Self.source
            },
            "self": Self.package("\(Self.runner)/self-hosted") { $0.runner = "self-hosted" },
            "self-first": Self.package(Self.runner) { $0.runner = "self-hosted" },
            "self-hidden": Self.package("\(Self.runner)/github-hosted") { $0.runner = "self-hosted" },
            "nodejs": Self.package("\(Self.nodejs)@refs/tags/v2.1.0") {
                $0.signer = "\(Self.delegator)@refs/tags/v2.1.0"
                ($0.kind, $0.oldKind) = (nil, Self.delegated)
            },
            "nodejs-claimed": Self.package("\(Self.nodejs)@refs/tags/v2.1.0"),
            "other-material": Self.package("\(Self.runner)/github-hosted") {
                $0.built = "git+https://github.com/example/other@refs/tags/v13.0.30"
            },
        ]
        try await withThrowingTaskGroup(of: Void.self) { group in
            for (name, build) in builds { group.addTask { try await Self.sign(name, build, in: place) } }
            try await group.waitForAll()
        }
        for name in builds.keys {
            let built = try String(decoding: place.directory.read(name), as: UTF8.self)
            try place.directory.write(
                "\(name).json",
                #"{"attestations":[{"predicateType":"https://slsa.dev/provenance/\#(builds[name]?.kind == nil ? "v0.2" : "v1")","bundle":\#(built)},{"predicateType":"https://github.com/npm/attestation/tree/main/specs/publish/v0.1","bundle":\#(bundle)}]}"#
            )
        }
        let cases: [(build: String, builder: String, code: String?)] = [
            ("hosted", "\(Self.runner)/github-hosted", nil), ("hosted", Self.runner, nil),
            ("hosted", "\(Self.runner)/self-hosted", "wrong-builder"), ("hosted", Self.nodejs, "wrong-builder"),
            ("first", "\(Self.runner)/github-hosted", nil), ("first", Self.runner, nil),
            ("first", "\(Self.runner)/self-hosted", "wrong-builder"),
            ("self", "\(Self.runner)/self-hosted", nil), ("self", Self.runner, "wrong-builder"),
            ("self-first", Self.runner, "wrong-builder"), ("self-hidden", Self.runner, "wrong-builder"),
            ("nodejs", Self.nodejs, nil), ("nodejs", "\(Self.nodejs)@v2.1.0", nil),
            ("nodejs", "\(Self.nodejs)@v2.1.1", "wrong-builder"), ("nodejs", Self.runner, "wrong-builder"),
            ("nodejs-claimed", Self.nodejs, "wrong-builder"),
            ("nodejs-claimed", "\(Self.nodejs)@refs/tags/v2.1.0", "wrong-builder"),
            ("other-material", Self.runner, "wrong-source"),
        ]
        await withTaskGroup(of: Void.self) { group in
            for one in cases {
                group.addTask {
                    // By the names that slsa-verifier has for the flags.
                    let outcome = await Self.verify(
                        place,
                        [
                            "--from", "npm", "--package-name", "demo", "--package-version", "13.0.30", "--source-uri",
                            "github.com/example/demo", "--npm-keys", "npm.pub", "--attestations-path",
                            "\(one.build).json", "--builder-id", one.builder, "app",
                        ])
                    #expect(
                        outcome.ending == .exit(one.code == nil ? 0 : 1) && outcome.code == one.code,
                        "\(one.build) \(one.builder): \(outcome.messages)")
                }
            }
        }
        let elsewhere = await Self.verify(
            place,
            [
                "--from", "npm", "--package", "demo", "--package-version", "13.0.30", "--source-uri",
                "gitlab.com/example/demo",
                "--npm-keys", "npm.pub", "-b", "nodejs.json", "--builder-id", Self.nodejs, "app",
            ])
        #expect(elsewhere.code == "wrong-builder", "\(elsewhere.messages)")
    }

    // MARK: - Images

    @Test(
        "An image's provenance is by the container generator, beside it or in its registry, and by no builder of files")
    func image() async throws {
        let place = try SigningFixture()
        let image = try place.push("what was built")
        let digest = try #require(image.split(separator: ":").last)
        let container = "\(Self.generator)/generator_container_slsa3.yml"
        for (name, signer) in [("image", container), ("file", Self.generic)] {
            var build = Build(signer: "\(signer)@refs/tags/v2.1.0")
            build.subjectDigest = String(digest)
            try await Self.sign(name, build, in: place)
        }
        var workflow = GitHubWorkflow(repository: "example/demo", ref: "refs/tags/v13.0.30", event: "push")
        workflow.builder = "\(container)@refs/tags/v2.1.0"
        workflow.certificateIssuer = "https://token.actions.githubusercontent.com"
        let attested = try await place.run(
            ["attest", "--yes"] + place.services(.v1) + place.token(.gitHubWorkflow(workflow)) + [
                "--statement", "image.statement", image,
            ])
        try #require(attested.succeeded, "\(attested.messages)")
        let named = "oci://\(image)"
        let builder = "https://github.com/\(Self.generic)"
        for (flags, code) in [
            (["-b", "image", named], nil), (["--fetch", "--bundle-from-oci", named], nil),
            (["-b", "image", "--builder-id", "https://github.com/\(container)@v2.1.0", named], nil),
            (["-b", "image", "--source-tag", "v13.0.31", named], "wrong-tag"),
            (["-b", "file", named], "wrong-builder"), (["-b", "file", "--builder-id", builder, named], nil),
            (["-b", "image", "sha256:\(digest)"], "wrong-builder"),
            (["-b", "image", String(named.dropLast()) + (named.hasSuffix("0") ? "1" : "0")], "wrong-subject"),
        ] as [([String], String?)] {
            let outcome = await Self.verify(
                place, ["--from", "slsa", "--source-uri", "github.com/example/demo"] + flags)
            #expect(outcome.succeeded == (code == nil) && outcome.code == code, "\(flags): \(outcome.messages)")
        }
    }

    // MARK: - Verification summaries

    @Test(
        "A verification summary: digest, verifier, resource, result and levels, by a key; its signature in DER or as bare numbers"
    )
    func summary() async throws {
        let place = try SigningFixture()
        try place.directory.write("app", Self.content)
        let noPassword = ["COSIGN_PASSWORD": ""]
        for name in ["verifier", "other"] {
            let key = await place.run(["generate-key-pair", "--output-key-prefix", name], environment: noPassword)
            try #require(key.succeeded, "\(key.messages)")
        }
        let digest = try Digest.hash(Array(Self.content.utf8), .sha256).hex
        let statement =
            #"{"_type":"https://in-toto.io/Statement/v1","subject":[{"name":"_","digest":{"sha256":"\#(digest)","gce_image_id":"8970"}}],"predicateType":"https://slsa.dev/verification_summary/v1","predicate":{"timeVerified":"2024-06-12T07:24:34Z","verifier":{"id":"https://verifier.example"},"verificationResult":"PASSED","verifiedLevels":["LOCAL_L1","SLSA_BUILD_LEVEL_2"],"resourceUri":"pkg:generic/app"}}"#
        for (name, text) in [
            ("vsa", statement), ("failed", statement.replacing("PASSED", with: "FAILED")),
            ("provenance", statement.replacing("verification_summary", with: "provenance")),
            ("no-verifier", statement.replacing(#""id":"#, with: #""uri":"#)),
        ] {
            try place.directory.write("\(name).statement", text)
            let made = await place.run(
                [
                    "attest-blob", "--yes", "--key", "verifier.key", "--tlog-upload=false", "--statement",
                    "\(name).statement", "--bundle", "\(name).bundle",
                ], environment: noPassword)
            try #require(made.succeeded, "\(made.messages)")
        }
        // A bare envelope, as verifiers write it, and its signature as two bare numbers.
        let envelope = try JSONValue(parsing: place.directory.read("vsa.bundle"))
        let bare = try JSONCursor(envelope).member("dsseEnvelope")
        let der = try #require(try bare.member("signatures").elements().first).member("sig").bytes()
        var numbers: [UInt8] = []
        var rest = der.dropFirst(2)
        for _ in 0..<2 {
            let count = Int(try #require(rest.dropFirst().first))
            let digits = rest.dropFirst(2).prefix(count).drop { $0 == 0 }
            numbers += [UInt8](repeating: 0, count: 32 - digits.count) + digits
            rest = rest.dropFirst(2 + count)
        }
        let text = String(decoding: bare.value.serialized(), as: UTF8.self)
        try place.directory.write("vsa.json", text)
        let p1363 = text.replacing(Base64.encode(der), with: Base64.encode(numbers))
        try place.directory.write("p1363.json", p1363)
        numbers[40] ^= 1
        try place.directory.write("damaged.json", text.replacing(Base64.encode(der), with: Base64.encode(numbers)))

        let all = [
            "--verifier-id", "https://verifier.example", "--resource-uri", "pkg:generic/app", "--key", "verifier.pub",
        ]
        let cases: [(file: String, flags: [String], code: String?)] = [
            ("vsa.bundle", all + ["app"], nil), ("vsa.json", all + ["app"], nil), ("p1363.json", all + ["app"], nil),
            (
                "p1363.json",
                all + ["--subject-digest", "gce_image_id:8970", "--verified-level", "SLSA_BUILD_LEVEL_2"], nil
            ),
            (
                "vsa.json",
                all + ["--subject-digest", "sha256:\(digest)", "--verified-level", "SLSA_BUILD_LEVEL_1", "app"], nil
            ),
            ("vsa.json", all + ["--verified-levels", "LOCAL_L1,SLSA_BUILD_LEVEL_2", "app"], nil),
            ("vsa.json", all + ["--verified-level", "SLSA_BUILD_LEVEL_3", "app"], "wrong-level"),
            ("vsa.json", all + ["--verified-level", "SLSA_SOURCE_LEVEL_1", "app"], "wrong-level"),
            ("vsa.json", all + ["--verified-level", "LOCAL_L1", "--verified-level", "LOCAL_L2", "app"], "wrong-level"),
            ("vsa.json", all + ["--verified-level", "SLSA_BUILD_LEVEL_+1", "app"], "wrong-level"),
            ("vsa.json", all + ["vsa.json"], "wrong-subject"),
            ("vsa.json", all + ["--subject-digest", "gce_image_id:897", "app"], "wrong-subject"),
            ("vsa.json", all + ["--subject-digest", "gce_image_id"], "wrong-subject"),
            ("vsa.json", all + ["--verifier-id", "https://verifier.example/", "app"], "wrong-verifier"),
            ("vsa.json", all + ["--resource-uri", "pkg:generic/ap", "app"], "wrong-resource"),
            ("failed.bundle", all + ["app"], "verification-not-passed"),
            ("provenance.bundle", all + ["app"], "wrong-predicate-type"),
            ("no-verifier.bundle", all + ["app"], "unexpected-json"),
            ("damaged.json", all + ["app"], "invalid-signature"),
            ("vsa.json", all.dropLast() + ["other.pub", "app"], "invalid-signature"),
            ("vsa.json", all, "usage"), ("vsa.json", all.dropLast(2) + ["app"], "usage"),
            ("vsa.json", all + ["--source-uri", "github.com/example/demo", "app"], "usage"),
            ("vsa.json", all + ["--fetch", "app"], "usage"), ("vsa.json", all + ["--from", "npm", "app"], "usage"),
            ("vsa.json", all + ["app", "vsa.json"], "usage"),
        ]
        await withTaskGroup(of: Void.self) { group in
            for one in cases {
                group.addTask {
                    let outcome = await place.run(["verify-provenance", "-b", one.file] + one.flags)
                    #expect(
                        outcome.ending == .exit(one.code == nil ? 0 : 1) && outcome.code == one.code,
                        "\(one.file) \(one.flags): \(outcome.messages)")
                }
            }
        }
        let shown = await place.run(["verify-provenance", "-b", "vsa.json", "--output", "json"] + all + ["app"])
        let facts = try #require(try shown.objects().first).member("facts")
        #expect(try facts.member("levels").string() == "LOCAL_L1, SLSA_BUILD_LEVEL_2")
        #expect(shown.messages.contains("\n  verifier: https://verifier.example\n"), "\(shown.messages)")
        let nothing = await place.run(["verify-provenance"])
        #expect(nothing.code == "usage", "\(nothing.messages)")
    }
}
