import Foundation
import InToto
import SigstoreCrypto
import StrictJSON
import Testing

/// attest-blob and verify-blob-attestation.
struct AttestationTests {
    let directory = TemporaryDirectory()

    static let content = "content of the file\n"

    private func prepare() throws {
        try directory.makeKey()
        try directory.write("file", Self.content)
        try directory.write("predicate.json", #"{"a":[1,"é"]}"#)
    }

    private func attest(_ arguments: String..., input: Program.Input = .nothing) async -> Program.Outcome {
        await Program(directory: directory.path)
            .run(["attest-blob", "--key", "key.pem", "--tlog-upload=false"] + arguments, input: input)
    }

    private func verify(_ arguments: String..., input: Program.Input = .nothing) async -> Program.Outcome {
        await Program(directory: directory.path)
            .run(["verify-blob-attestation", "--key", "key.pub", "--insecure-ignore-tlog"] + arguments, input: input)
    }

    /// The statement inside a bundle.
    private func statement(_ name: String) throws -> JSONCursor {
        let envelope = try JSONCursor(try JSONValue(parsing: directory.read(name))).member("dsseEnvelope")
        #expect(try envelope.member("payloadType").string() == "application/vnd.in-toto+json")
        return JSONCursor(try JSONValue(parsing: try envelope.member("payload").bytes()))
    }

    private func digest(_ algorithm: HashAlgorithm = .sha256) throws -> Digest {
        try Digest.hash(Array(Self.content.utf8), algorithm)
    }

    @Test(
        "Every type has cosign's statement, and is verified as that type",
        arguments: PredicateType.shortNames.map(\.name) + ["https://example.com/t/v1"])
    func everyType(type: String) async throws {
        try prepare()
        let made = await attest("--predicate", "predicate.json", "--type", type, "--bundle", "b.json", "file")
        #expect(made.succeeded, "\(made.messages)")
        #expect(made.stdout.isEmpty)
        #expect(try directory.mode("b.json") == 0o600)
        let statement = try statement("b.json")
        #expect(try statement.member("_type").string() == "https://in-toto.io/Statement/v1")
        #expect(try statement.member("predicateType").string() == PredicateType(named: type).uri)
        let subjects = try statement.member("subject").elements()
        #expect(subjects.count == 1)
        #expect(try subjects[0].member("name").string() == "file")
        #expect(try subjects[0].member("digest").member("sha256").string() == digest().hex)
        let predicate = try statement.member("predicate")
        switch type {
        case "custom":
            #expect(try predicate.member("Data").string() == #"{"a":[1,"é"]}"#)
            #expect(try predicate.member("Timestamp").string().hasSuffix("Z"))
        case "spdx": #expect(try predicate.string() == #"{"a":[1,"é"]}"#)
        default: #expect(String(decoding: predicate.value.serialized(), as: UTF8.self) == #"{"a":[1,"é"]}"#)
        }
        let verified = await verify("--bundle", "b.json", "--type", type, "file")
        #expect(verified.succeeded, "\(verified.messages)")
        #expect(verified.messages.contains("Verified OK"))
    }

    @Test("Another type than --type is refused, and so is the default one")
    func otherType() async throws {
        try prepare()
        #expect(
            await attest("--predicate", "predicate.json", "--type", "openvex", "--bundle", "b.json", "file").succeeded)
        for type in [["--type", "spdx"], [], ["--type", "https://openvex.dev/ns/"]] {
            let outcome = await Program(directory: directory.path).run(
                [
                    "verify-blob-attestation", "--key", "key.pub", "--insecure-ignore-tlog", "--bundle", "b.json", "-o",
                    "json",
                ] + type + ["file"])
            #expect(outcome.ending == .exit(1))
            #expect(outcome.code == "wrong-predicate-type")
            #expect(outcome.messages.contains("https://openvex.dev/ns"))
            #expect(try outcome.objects().first?.member("error").member("code").string() == "wrong-predicate-type")
            #expect(try outcome.objects().first?.member("failedStep").string() == "statement")
        }
    }

    @Test("A type that is none is refused, when signing and when verifying")
    func unknownType() async throws {
        try prepare()
        for command in [
            ["attest-blob", "--key", "key.pem", "--tlog-upload=false", "--predicate", "predicate.json"],
            ["verify-blob-attestation", "--key", "key.pub", "--insecure-ignore-tlog", "--bundle", "b.json"],
        ] {
            try await directory.expectRefusal(
                "unknown-predicate-type", "sbom", "cyclonedx", of: command + ["--type", "sbom", "file"])
        }
    }

    @Test("The envelope is printed, or written with --output-signature, and verified with --signature")
    func detachedEnvelope() async throws {
        try prepare()
        let printed = await attest("--predicate", "predicate.json", "file")
        #expect(printed.succeeded, "\(printed.messages)")
        let envelope = try #require(try printed.objects().first)
        #expect(try envelope.names() == ["payloadType", "payload", "signatures"])
        #expect(try envelope.member("signatures").elements().first?.names() == ["keyid", "sig"])
        let written = await attest("--predicate", "predicate.json", "--output-signature", "att", "file")
        #expect(written.succeeded, "\(written.messages)")
        #expect(written.stdout.isEmpty)
        #expect(try directory.mode("att") == 0o600)
        try directory.write("printed", printed.stdout)
        try directory.write("base64", Base64.encode(printed.stdout))
        for name in ["att", "printed", "base64"] {
            let outcome = await verify("--signature", name, "file")
            #expect(outcome.succeeded, "\(name): \(outcome.messages)")
        }
    }

    @Test("--output-attestation writes the statement that was signed")
    func outputAttestation() async throws {
        try prepare()
        let made = await attest(
            "--predicate", "predicate.json", "--output-attestation", "statement", "--bundle", "b.json", "file")
        #expect(made.succeeded, "\(made.messages)")
        let envelope = try JSONCursor(try JSONValue(parsing: directory.read("b.json"))).member("dsseEnvelope")
        #expect(try envelope.member("payload").bytes() == directory.read("statement"))
        #expect(try directory.mode("statement") == 0o600)
    }

    @Test("A statement that a person wrote is signed byte for byte")
    func ownStatement() async throws {
        try prepare()
        let text =
            #"{ "_type":"https://in-toto.io/Statement/v1", "subject":[{"name":"other"  ,"digest":{"sha256":"\#(try digest().hex)"}}],"predicateType":"https://example.com/t","predicate":{}}"#
            + "\n"
        try directory.write("statement.json", text)
        let made = await attest("--statement", "statement.json", "--bundle", "b.json", "file")
        #expect(made.succeeded, "\(made.messages)")
        let envelope = try JSONCursor(try JSONValue(parsing: directory.read("b.json"))).member("dsseEnvelope")
        #expect(try envelope.member("payload").bytes() == Array(text.utf8))
        #expect(await verify("--bundle", "b.json", "--type", "https://example.com/t", "file").succeeded)
        let unnamed = await attest("--statement", "statement.json", "--bundle", "c.json")
        #expect(unnamed.succeeded, "\(unnamed.messages)")
        let input = await attest("--statement", "-", "--bundle", "d.json", "file", input: .text(text))
        #expect(input.succeeded, "\(input.messages)")
    }

    @Test("A statement about something else is not signed")
    func statementAboutSomethingElse() async throws {
        try prepare()
        try directory.write(
            "statement.json",
            #"{"_type":"https://in-toto.io/Statement/v1","subject":[{"name":"file","digest":{"sha256":"\#(String(repeating: "0", count: 64))"}}],"predicateType":"t","predicate":{}}"#
        )
        let base = ["attest-blob", "--key", "key.pem", "--tlog-upload=false", "--bundle", "b.json", "--statement"]
        try await directory.expectRefusal(
            "wrong-subject", "statement.json", "subjects", of: base + ["statement.json", "file"])
        try await directory.expectRefusal(
            "wrong-subject", of: base + ["statement.json", "--hash", try digest().hex])
        try directory.write("bad.json", "{}")
        try await directory.expectRefusal("unexpected-json", "bad.json", "_type", of: base + ["bad.json", "file"])
        try directory.write("cut.json", "{")
        try await directory.expectRefusal("malformed-json", "cut.json", of: base + ["cut.json", "file"])
    }

    @Test("--hash stands for a file that is kept elsewhere, --digest and --digestAlg do when verifying")
    func hashAndDigest() async throws {
        try prepare()
        let made = await attest(
            "--predicate", "predicate.json", "--hash", try digest().hex.uppercased(), "--bundle", "b.json",
            "elsewhere/file")
        #expect(made.succeeded, "\(made.messages)")
        #expect(await verify("--bundle", "b.json", "file").succeeded)
        #expect(await verify("--bundle", "b.json", "--digest", try digest().hex).succeeded)
        #expect(await verify("--bundle", "b.json", "--digest", try digest().hex, "--digestAlg", "sha256").succeeded)
        let other = await verify("--bundle", "b.json", "--digest", try Digest.sha256([1]).hex)
        #expect(other.code == "wrong-subject", "\(other.messages)")
        let longer = await verify("--bundle", "b.json", "--digest", try digest(.sha512).hex, "--digestAlg", "sha512")
        #expect(longer.code == "wrong-subject", "\(longer.messages)")
        let base = ["verify-blob-attestation", "--key", "key.pub", "--insecure-ignore-tlog", "--bundle", "b.json"]
        try await directory.expectRefusal("malformed-digest", "abc", of: base + ["--digest", "abc"])
        try await directory.expectRefusal(
            "unknown-algorithm", "md5", of: base + ["--digest", "abc", "--digestAlg", "md5"])
        try await directory.expectRefusal(
            "usage", "--digest", of: base + ["--digestAlg", "sha256", "--check-claims=false", "file"])
        try await directory.expectRefusal("usage", "together", of: base + ["--digest", try digest().hex, "file"])
        try await directory.expectRefusal("usage", "--digest", of: base)
        try await directory.expectRefusal(
            "malformed-digest", "xyz",
            of: [
                "attest-blob", "--key", "key.pem", "--tlog-upload=false", "--predicate", "predicate.json", "--hash",
                "xyz", "file",
            ])
    }

    @Test("A file as sha256:… does as well")
    func digestAsFile() async throws {
        try prepare()
        #expect(await attest("--predicate", "predicate.json", "--bundle", "b.json", "file").succeeded)
        let outcome = await verify("--bundle", "b.json", try digest().description)
        #expect(outcome.succeeded, "\(outcome.messages)")
        let other = await verify("--bundle", "b.json", try Digest.sha256([1]).description)
        #expect(other.code == "wrong-subject", "\(other.messages)")
    }

    @Test("The statement must be about the file, unless --check-claims=false, which warns")
    func checkClaims() async throws {
        try prepare()
        #expect(await attest("--predicate", "predicate.json", "--bundle", "b.json", "file").succeeded)
        try directory.write("other", "other")
        let refused = await verify("--bundle", "b.json", "other")
        #expect(refused.ending == .exit(1))
        #expect(refused.code == "wrong-subject")
        #expect(refused.messages.contains(try digest().hex))
        for files in [["other"], []] {
            let outcome = await Program(directory: directory.path).run(
                [
                    "verify-blob-attestation", "--key", "key.pub", "--insecure-ignore-tlog", "--bundle", "b.json",
                    "--check-claims=false",
                ] + files)
            #expect(outcome.succeeded, "\(outcome.messages)")
            #expect(outcome.messages.contains("WARNING: what the attestation is about is not checked"))
        }
        // The type counts still.
        let type = await verify("--bundle", "b.json", "--check-claims=false", "--type", "spdx")
        #expect(type.code == "wrong-predicate-type")
    }

    @Test("A predicate that is not what its type needs is refused")
    func badPredicate() async throws {
        try prepare()
        try directory.write("text", "not JSON")
        try directory.write("list", "[1]")
        try directory.write("binary", [0xff, 0xfe])
        let base = ["attest-blob", "--key", "key.pem", "--tlog-upload=false", "--bundle", "b.json"]
        try await directory.expectRefusal(
            "malformed-predicate", "text", "JSON", of: base + ["--type", "cyclonedx", "--predicate", "text", "file"])
        try await directory.expectRefusal(
            "malformed-predicate", "list", "object", of: base + ["--type", "cyclonedx", "--predicate", "list", "file"])
        try await directory.expectRefusal(
            "malformed-predicate", "binary", "UTF-8", of: base + ["--predicate", "binary", "file"])
        try await directory.expectRefusal("file-not-found", "none", of: base + ["--predicate", "none", "file"])
        try await directory.expectRefusal("usage", "--predicate", "--statement", of: base + ["file"])
        try await directory.expectRefusal(
            "usage", "--predicate", of: base + ["--predicate", "list", "--statement", "list", "file"])
        try await directory.expectRefusal("usage", "file", of: base + ["--predicate", "predicate.json"])
    }

    @Test("A predicate may come from standard input")
    func predicateOnStandardInput() async throws {
        try prepare()
        let made = await attest("--predicate", "-", "--bundle", "b.json", "file", input: .text("some text"))
        #expect(made.succeeded, "\(made.messages)")
        #expect(try statement("b.json").member("predicate").member("Data").string() == "some text")
    }

    @Test("--output-directory takes the bundle under the file's name")
    func outputDirectory() async throws {
        try prepare()
        try directory.makeDirectory("out")
        #expect(await attest("--predicate", "predicate.json", "--output-directory", "out", "file").succeeded)
        #expect(await verify("--bundle", "out/file.sigstore.json", "file").succeeded)
        let again = await attest("--predicate", "predicate.json", "--output-directory", "out", "file")
        #expect(again.code == "file-exists")
    }

    @Test("An attestation is not taken for a signature, nor a signature for an attestation")
    func kindsAreKeptApart() async throws {
        try prepare()
        #expect(await attest("--predicate", "predicate.json", "--bundle", "att.json", "file").succeeded)
        #expect(
            await directory.swsign(
                "sign-blob", "--key", "key.pem", "--tlog-upload=false", "--bundle", "sig.json", "file"
            ).succeeded)
        let blob = await directory.swsign(
            "verify-blob", "--key", "key.pub", "--insecure-ignore-tlog", "--bundle", "att.json", "file")
        #expect(blob.code == "attestation-not-signature")
        #expect(blob.messages.contains("verify-blob-attestation"))
        let attestation = await verify("--bundle", "sig.json", "file")
        #expect(attestation.code == "signature-not-attestation")
        #expect(attestation.messages.contains("verify-blob"))
    }

    @Test("Every kind of key attests", arguments: [SigningAlgorithm.ecdsaP384, .ecdsaP521, .rsa2048, .ed25519])
    func everyKey(algorithm: SigningAlgorithm) async throws {
        try prepare()
        try directory.makeKey("key", algorithm)
        #expect(await attest("--predicate", "predicate.json", "--bundle", "b.json", "file").succeeded)
        let outcome = await verify("--bundle", "b.json", "file")
        #expect(outcome.succeeded, "\(outcome.messages)")
    }
}
