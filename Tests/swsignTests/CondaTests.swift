import Foundation
import InToto
import LocalSigstore
import SigstoreCrypto
import StrictJSON
import TestServices
import Testing

/// Packages of conda with publish attestations (CEP 27), signed by a Sigstore on loopback.
@Suite("conda", .localSigstore)
struct CondaTests {
    private static let file = "demo-tool-1.2.0-h12_0.conda"
    private static let type = "https://schemas.conda.org/attestations-publish-1.schema.json"
    private let place: SigningFixture
    private var directory: TemporaryDirectory { place.directory }

    init() throws {
        place = try SigningFixture()
        try directory.write(Self.file, "a package")
    }

    private var workflow: [String] {
        ["--cert-identity", "https://github.com/example/demo/.github/workflows/release.yml@refs/heads/main"] + issuer
    }
    private var issuer: [String] { ["--cert-oidc-issuer", place.services.issuer.issuer(of: .gitHubWorkflow())] }

    /// The subject that a publish attestation has.
    private static func subject(_ name: String = file, _ more: String = "") throws -> String {
        #"{"name":"\#(name)","digest":{"sha256":"\#(try Digest.sha256(Array("a package".utf8)).hex)"\#(more)}}"#
    }

    /// Has a workflow of `example/demo` sign a statement.
    /// - Returns: The bundle.
    private func attest(
        _ subject: String, _ predicate: String = #"{"targetChannel":"https://prefix.dev/demo"}"#, type: String = type
    ) async throws -> String {
        try directory.write(
            "statement",
            #"{"_type":"https://in-toto.io/Statement/v1","subject":[\#(subject)],"predicateType":"\#(type)","#
                + #""predicate":\#(predicate)}"#)
        await place.run(
            ["attest-blob", "--yes", "--statement", "statement", "--bundle", "bundle.json"] + place.services(.v1)
                + (try place.token(.gitHubWorkflow()))
        ).expectSuccess()
        return try directory.text("bundle.json")
    }

    private func verify(_ flags: [String], _ file: String = file) async -> Program.Outcome {
        await place.run(["verify-provenance"] + place.trust + flags + [file])
    }

    private func expectRefusal(
        _ code: String, _ words: String..., of flags: [String], _ file: String = file,
        sourceLocation: SourceLocation = #_sourceLocation
    ) async {
        let outcome = await verify(flags, file)
        #expect(
            outcome.ending == .exit(1) && outcome.code == code, "\(code) expected: \(outcome.messages)",
            sourceLocation: sourceLocation)
        for word in words {
            #expect(outcome.messages.contains(word), "\(word): \(outcome.messages)", sourceLocation: sourceLocation)
        }
    }

    @Test("A package holds by what stands beside it, among attestations of other kinds, and what it says is printed")
    func holds() async throws {
        let good = try await attest(try Self.subject())
        let build = try await attest(try Self.subject(), "{}", type: "https://slsa.dev/provenance/v1")
        try directory.write(Self.file + ".sigs", "[\(good)]")
        let repository = ["--repo", "example/demo"] + issuer
        for flags in [
            workflow, ["--from", "conda"] + workflow, repository, ["--owner", "example"] + issuer,
            workflow + ["--channel", "https://prefix.dev/demo"],
            repository + ["--channel", "https://prefix.dev/demo/"],
        ] {
            let outcome = await verify(flags)
            #expect(outcome.succeeded, "\(flags): \(outcome.messages)")
            #expect(
                outcome.messages.contains(
                    "  package: demo-tool\n  version: 1.2.0\n  channel: https://prefix.dev/demo\n  source: https://github.com/example/demo\n"
                ), "\(outcome.messages)")
        }
        // What a channel of prefix.dev has, with more beside it.
        try directory.write(Self.file + ".sigs", "[\(build),\(good)]")
        let json = await verify(["--from", "conda", "--output", "json"] + workflow)
        let object = try #require(try json.objects().first, "\(json.messages)")
        #expect(try object.member("from").string() == "conda")
        #expect(try object.member("facts").member("channel").string() == "https://prefix.dev/demo")
        #expect(try object.member("attestations").elements().count == 1)
        // A folder in one call.
        try directory.makeDirectory("channel")
        for name in [Self.file, Self.file + ".sigs"] {
            try directory.write("channel/\(name)", try directory.read(name))
        }
        let folder = await verify(["--from", "conda"] + workflow, "channel")
        #expect(folder.succeeded, "\(folder.messages)")
    }

    @Test("Without a channel in the attestation, none can be demanded")
    func noChannel() async throws {
        try directory.write(Self.file + ".sigs", "[\(try await attest(try Self.subject(), "null"))]")
        let outcome = await verify(workflow)
        #expect(outcome.succeeded && !outcome.messages.contains("channel"), "\(outcome.messages)")
        await expectRefusal("wrong-channel", "names none", of: workflow + ["--channel", "https://prefix.dev/demo"])
    }

    @Test(
        "One thing changed is refused by its own code: file, name, version, channel, publisher, one byte, no attestation"
    )
    func changed() async throws {
        let good = try await attest(try Self.subject())
        try directory.write(Self.file + ".sigs", "[\(good)]")
        await expectRefusal(
            "wrong-channel",
            "expected the channel https://prefix.dev/other, the attestation names https://prefix.dev/demo",
            of: workflow + ["--channel", "https://prefix.dev/other"])
        await expectRefusal("wrong-channel", of: workflow + ["--channel", "prefix.dev/demo"])
        await expectRefusal("wrong-identity", of: ["--cert-identity", "a"] + issuer)
        await expectRefusal("wrong-issuer", of: workflow.prefix(2) + ["--cert-oidc-issuer", "https://gitlab.com"])
        await expectRefusal("wrong-source", of: ["--repo", "example/other"] + issuer)
        await expectRefusal("wrong-branch", of: ["--repo", "example/demo", "--source-ref", "refs/heads/x"] + issuer)
        await expectRefusal("usage", "--repo or --owner", of: [])
        await expectRefusal(
            "usage", "--channel was given, and the rules of github",
            of: ["--from", "github", "--repo", "example/demo", "--channel", "https://prefix.dev/demo"] + issuer)
        await expectRefusal(
            "usage", "--predicate-type was given",
            of: ["--from", "conda", "--repo", "example/demo", "--predicate-type", "spdxjson"] + issuer)
        for (name, code) in [
            ("demo-tool-1.2.1-h12_0.conda", "wrong-version"), ("demo-tool-1.2.0-h12_1.conda", "wrong-package"),
            ("demo-1.2.0-h12_0.conda", "wrong-package"), ("demo-tool-1.2.0-h12_0.tar.bz2", "wrong-package"),
            ("demo.conda", "wrong-package"), ("demo-tool-1.2.0-h12_0.zip", "wrong-package"),
        ] {
            try directory.write(name, "a package")
            await expectRefusal(code, of: workflow + ["-b", Self.file + ".sigs"], name)
        }
        try directory.write(Self.file, "another package")
        await expectRefusal("wrong-subject", of: workflow)
        try directory.write(Self.file, "a package")
        let signature = try #require(good.firstMatch(of: /"sig":\s*"([^"]{20})/)).1
        try directory.write(
            "changed", good.replacing(signature, with: signature.dropLast() + (signature.last == "A" ? "B" : "A")))
        await expectRefusal("timestamp-mismatch", of: workflow + ["-b", "changed"])
        // An empty list is no attestation, and neither is nothing.
        try directory.write(Self.file + ".sigs", "[]")
        await expectRefusal("no-bundle", "nothing was signed", of: workflow)
        try FileManager.default.removeItem(atPath: directory[Self.file + ".sigs"])
        await expectRefusal("file-not-found", Self.file + ".sigs", of: workflow)
    }

    @Test("Statements that CEP 27 does not allow do not hold, by any signer")
    func statements() async throws {
        let digest = #","sha512":"\#(try Digest.hash(Array("a package".utf8), .sha512).hex)""#
        for (subject, predicate, type, code) in [
            (try Self.subject() + "," + (try Self.subject("x-1-0.conda")), "null", Self.type, "malformed-provenance"),
            (
                try Self.subject().replacing(#""name":"\#(Self.file)","#, with: ""), "null", Self.type,
                "malformed-provenance"
            ),
            (try Self.subject(Self.file, digest), "null", Self.type, "malformed-provenance"),
            (try Self.subject(), "{}", Self.type, "malformed-provenance"),
            (try Self.subject(), #"{"targetChannel":1}"#, Self.type, "malformed-provenance"),
            (try Self.subject(), "null", "https://docs.pypi.org/attestations/publish/v1", "wrong-predicate-type"),
        ] {
            try directory.write(Self.file + ".sigs", "[\(try await attest(subject, predicate, type: type))]")
            await expectRefusal(code, of: ["--from", "conda"] + workflow)
        }
    }

    @Test("RubyGems' answer, an array of signatures over the file, is read by verify-blob; an empty one is refused")
    func rubyGems() async throws {
        try directory.write("demo-1.0.gem", "a gem")
        await place.run(
            ["sign-blob", "--yes", "--bundle", "bundle.json"] + place.services(.v1)
                + (try place.token()) + ["demo-1.0.gem"]
        ).expectSuccess()
        try directory.write("answer.json", "[\(try directory.text("bundle.json"))]")
        let outcome = await place.verify("demo-1.0.gem", "answer.json")
        #expect(outcome.succeeded, "\(outcome.messages)")
        try directory.write("demo-1.0.gem", "another gem")
        #expect(await place.verify("demo-1.0.gem", "answer.json").code == "artifact-mismatch")
        try directory.write("answer.json", "[]")
        #expect(await place.verify("demo-1.0.gem", "answer.json").code == "no-bundle")
    }
}
