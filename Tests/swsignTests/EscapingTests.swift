import Foundation
import InToto
import LocalSigstore
import OCIRegistry
import SigstoreCrypto
import StrictJSON
import TestServices
import Testing

@testable import swsign

/// The text as the program prints it.
func swsignEscaped(_ text: String) -> String { Output.escaped(text) }

/// Text from outside can neither hide nor forge a line, wherever it comes from.
struct EscapingTests {
    let directory = TemporaryDirectory()
    let key: PrivateKey

    /// What an attacker would like to print, each as a name may hold it. Tests take the indices, because the arguments
    /// of a test are printed as they are.
    static let hostile = [
        "::error::a\u{1b}[2K\u{1b}[1AVerified OK\u{202e}KO deifireV\u{202c}\u{9b}2K\u{7}\u{8}\u{2066}b\u{200b}\u{feff}\u{e0041}",
        "a\rVerified OK\n::error::forged\n  ::notice::x\u{2028}Verified OK",
        "\n::set-output name=x::y##[error]z###vso[task.complete]",
    ]

    init() throws {
        key = try directory.makeKey()
        try directory.write("file", "content")
        try directory.write("predicate", "{}")
    }

    /// Expects that nothing on either output could do more than show glyphs, and that no line is a command to a CI system.
    private func expectClean(_ outcome: Program.Outcome, sourceLocation: SourceLocation = #_sourceLocation) {
        for (name, bytes) in [("stdout", outcome.stdout), ("stderr", outcome.stderr)] {
            let text = String(decoding: bytes, as: UTF8.self)
            let shown = Comment(rawValue: "\(name): \(text.debugDescription)")
            for scalar in text.unicodeScalars where scalar.changesDisplay && scalar != "\n" {
                Issue.record(
                    "U+\(String(scalar.value, radix: 16)) was printed: \(shown)", sourceLocation: sourceLocation)
            }
            for line in bytes.split(whereSeparator: { $0 == 0x0a || $0 == 0x0d }) {
                let words = String(decoding: line.drop { $0 == 0x20 || $0 == 0x09 }, as: UTF8.self)
                #expect(!words.hasPrefix("::"), shown, sourceLocation: sourceLocation)
                #expect(!words.contains("##[") && !words.contains("##vso["), shown, sourceLocation: sourceLocation)
                if words.hasPrefix("{") || words.hasPrefix("[") {
                    #expect(!words.contains("::"), shown, sourceLocation: sourceLocation)
                }
                #expect(!words.hasPrefix("Verified OK") || outcome.succeeded, shown, sourceLocation: sourceLocation)
            }
        }
        #expect(outcome.ending != .timeOut, sourceLocation: sourceLocation)
        if case .signal(let number) = outcome.ending {
            Issue.record("signal \(number)", sourceLocation: sourceLocation)
        }
    }

    private func run(_ arguments: String..., environment: [String: String] = [:]) async -> Program.Outcome {
        await Program(directory: directory.path, environment: environment).run(arguments)
    }

    /// Runs a command as it is; and, where that is asked for, with `--output json` where it has that or else with
    /// `--errors json`.
    private func expectCleanRuns(
        _ arguments: [String], environment: [String: String] = [:], json alsoAsJSON: Bool = false,
        sourceLocation: SourceLocation = #_sourceLocation
    ) async {
        let program = Program(directory: directory.path, environment: environment)
        expectClean(await program.run(arguments), sourceLocation: sourceLocation)
        guard alsoAsJSON else { return }
        let json = arguments.first?.hasPrefix("verify") == true ? ["-d", "--output", "json"] : ["--errors", "json"]
        expectClean(await program.run([arguments[0]] + json + arguments.dropFirst()), sourceLocation: sourceLocation)
    }

    private static let sign = ["sign-blob", "--key", "key.pem", "--tlog-upload=false"]
    private static let verify = ["verify-blob", "--key", "key.pub", "--insecure-ignore-tlog"]
    private static let attest = ["attest-blob", "--key", "key.pem", "--tlog-upload=false"]
    private static let verifyAttestation = ["verify-blob-attestation", "--key", "key.pub", "--insecure-ignore-tlog"]

    @Test("File names", arguments: hostile.indices)
    func fileNames(_ index: Int) async throws {
        let name = Self.hostile[index]
        try directory.write(name, "x")
        try directory.write("b", "b")
        await expectCleanRuns(Self.sign + [name], json: true)
        // Writes and, the second time, refuses to replace.
        await expectCleanRuns(Self.sign + [name, "b"], json: true)
        await expectCleanRuns(Self.verify + [name, "b"], json: true)
        await expectCleanRuns(Self.verify + [name])
        try directory.write(name, "changed")
        await expectCleanRuns(Self.verify + [name, "b"], json: true)
        await expectCleanRuns(Self.sign + ["\(name)-missing"])
        await expectCleanRuns(Self.sign + ["\(name)-missing", "b"])
        try directory.makeDirectory("\(name).d")
        await expectCleanRuns(Self.sign + ["\(name).d"])
        await expectCleanRuns(Self.verify + ["\(name).d"])
        await expectCleanRuns(Self.sign + ["--bundle", "\(name).json", "b"])
        await expectCleanRuns(Self.sign + ["--bundle", "\(name).d", "b"])
        await expectCleanRuns(Self.sign + ["--output-signature", "\(name).sig", "b"])
        await expectCleanRuns(Self.sign + ["--output-directory", "\(name).d", "b", name])
        await expectCleanRuns(Self.sign + ["--signing-config", name, "b"])
        await expectCleanRuns(Self.sign + ["--output-file", "none/\(name)", "b"])
        await expectCleanRuns(Self.verify + ["--bundle", name, "b"])
        await expectCleanRuns(Self.verify + ["--signature", name, "b"])
        await expectCleanRuns(Self.verify + ["--signature", "\(name)-missing", "b"])
        await expectCleanRuns(Self.verify + ["--trusted-root", name, "b"])
        await expectCleanRuns(Self.verify + ["--certificate", name, "--signature", "AQID", "b"])
        await expectCleanRuns(Self.attest + ["--predicate", "predicate", name])
        await expectCleanRuns(Self.attest + ["--predicate", "\(name)-missing", "b"])
        await expectCleanRuns(Self.attest + ["--statement", name, "b"])
        await expectCleanRuns(
            Self.attest + [
                "--predicate", "predicate", "--output-attestation", "\(name).att", "--bundle", "\(name).json", "b",
            ])
        await expectCleanRuns(["bundle", "inspect", name])
    }

    @Test("Names of keys and key files", arguments: hostile.indices)
    func keyNames(_ index: Int) async throws {
        let name = Self.hostile[index]
        try directory.write("\(name).key", try directory.read("key.pem"))
        try directory.write("\(name).bad", "x")
        let variable = name.replacingOccurrences(of: "=", with: "")
        for reference in [
            "\(name).bad", "\(name).none", "env://\(variable)", "env://none\(variable)", "\(name)://x",
            "awskms://\(name)",
        ] {
            await expectCleanRuns(
                ["sign-blob", "--key", reference, "--tlog-upload=false", "file"], environment: [variable: "x"])
            await expectCleanRuns(
                ["verify-blob", "--key", reference, "--insecure-ignore-tlog", "--errors", "json", "file"],
                environment: [variable: "x"])
            await expectCleanRuns(["import-key-pair", "--key", reference], environment: [variable: "x"])
        }
        await expectCleanRuns(["generate-key-pair", "--output-key-prefix", name], environment: ["COSIGN_PASSWORD": ""])
        await expectCleanRuns(
            ["import-key-pair", "--key", "\(name).key", "-o", "i\(name)"], environment: ["COSIGN_PASSWORD": ""])
        await expectCleanRuns(["public-key", "--key", "\(name).key", "--outfile", "\(name).out"])
        // The question on the terminal names the files too.
        let asked = await directory.swsign(
            "generate-key-pair", "--output-key-prefix", name, environment: ["COSIGN_PASSWORD": ""], input: .terminal,
            terminal: [.init("[y/N] ", "y\r")])
        expectClean(asked)
        let screen = asked.screen.replacingOccurrences(of: "\r\n", with: "\n")
        for scalar in screen.unicodeScalars where scalar.changesDisplay && scalar != "\n" {
            Issue.record("U+\(String(scalar.value, radix: 16)) on the terminal: \(screen.debugDescription)")
        }
        #expect(
            !screen.split(separator: "\n").contains { $0.drop { $0 == " " }.hasPrefix("::") },
            "\(screen.debugDescription)")
    }

    @Test("What a key file holds", arguments: hostile.indices)
    func keyContents(_ index: Int) async throws {
        let name = Self.hostile[index]
        let quoted = String(decoding: JSONValue.string(name).serialized(), as: UTF8.self)
        let json =
            #"{"kdf":{"name":\#(quoted),"params":{"N":65536,"r":8,"p":1},"salt":"AQID"},"cipher":{"name":\#(quoted),"nonce":"AQID"},"ciphertext":"AQID"}"#
        for text in [
            PEM.encode(label: "ENCRYPTED SIGSTORE PRIVATE KEY", Array(json.utf8)),
            PEM.encode(label: "ENCRYPTED SIGSTORE PRIVATE KEY", Array(#"{\#(quoted):1}"#.utf8)),
            PEM.encode(label: name, [1, 2, 3]),
            "-----BEGIN \(name)-----\n!\n-----END \(name)-----\n",
        ] {
            try directory.write("k", text)
            await expectCleanRuns(["public-key", "--key", "k"], environment: ["COSIGN_PASSWORD": ""])
            await expectCleanRuns([
                "verify-blob", "--key", "k", "--insecure-ignore-tlog", "--signature", "AQID", "file",
            ])
        }
    }

    @Test("Predicate types, subjects, payload types and the other parts of an attestation", arguments: hostile.indices)
    func attestations(_ index: Int) async throws {
        let name = Self.hostile[index]
        let quoted = String(decoding: JSONValue.string(name).serialized(), as: UTF8.self)
        let digest = try Digest.sha256(Array("content".utf8)).hex
        func statement(
            type: String = "\"t:x\"", subject: String = "\"n\"", digests: String? = nil,
            layout: String = "\"https://in-toto.io/Statement/v1\""
        )
            -> String
        {
            #"{"_type":\#(layout),"subject":[{"name":\#(subject),"digest":\#(digests ?? "{\"sha256\":\"\(digest)\"}")}],"predicateType":\#(type),"predicate":{\#(quoted):\#(quoted)}}"#
        }
        let statements = [
            statement(type: quoted), statement(subject: quoted), statement(digests: "{\(quoted):\(quoted)}"),
            statement(digests: "{\"sha256\":\(quoted)}"), statement(layout: quoted),
        ]
        for text in statements {
            try directory.write("statement", text)
            await expectCleanRuns(Self.attest + ["--statement", "statement", "file"])
            try writeEnvelope(text, payloadType: Statement.payloadType)
            await expectCleanRuns(Self.verifyAttestation + ["--bundle", "b.json", "file"], json: true)
            await expectCleanRuns(Self.verifyAttestation + ["--bundle", "b.json", "--type", "t:x", "file"])
            expectClean(await run("bundle", "inspect", "b.json"))
        }
        try writeEnvelope(statement(), payloadType: name)
        await expectCleanRuns(Self.verifyAttestation + ["--bundle", "b.json", "file"])
        expectClean(await run("bundle", "inspect", "b.json"))
        expectClean(await run("bundle", "inspect", "-o", "json", "b.json"))
        await expectCleanRuns(Self.attest + ["--predicate", "predicate", "--type", name, "file"])
        await expectCleanRuns(Self.attest + ["--predicate", "predicate", "--type", "x:\(name)", "file"])
        try directory.write("p", name)
        await expectCleanRuns(Self.attest + ["--predicate", "p", "file"])
        await expectCleanRuns(Self.attest + ["--predicate", "p", "--type", "spdxjson", "file"])
    }

    private func writeEnvelope(_ payload: String, payloadType: String) throws {
        let encoded = DSSEEnvelope.preAuthenticationEncoding(payloadType: payloadType, payload: Array(payload.utf8))
        let envelope = DSSEEnvelope(
            payloadType: payloadType, payload: Array(payload.utf8),
            signatures: [.init(signature: try key.sign(encoded, scheme: .ecdsa(.sha256)))])
        try directory.write(
            "b.json",
            #"{"mediaType":"application/vnd.dev.sigstore.bundle.v0.3+json","verificationMaterial":{"publicKey":{}},"dsseEnvelope":"#
                + String(decoding: envelope.json().serialized(), as: UTF8.self) + "}")
    }

    @Test("Every field of a bundle", arguments: hostile.indices)
    func bundleFields(_ index: Int) async throws {
        let name = Self.hostile[index]
        let quoted = String(decoding: JSONValue.string(name).serialized(), as: UTF8.self)
        let good = #"""
            {"mediaType":"application/vnd.dev.sigstore.bundle.v0.3+json","verificationMaterial":{"publicKey":{"hint":"h"},"tlogEntries":[{"logIndex":"1",
            "logId":{"keyId":"AQID"},"kindVersion":{"kind":"k","version":"v"},"integratedTime":"1","inclusionPromise":{"signedEntryTimestamp":"AQID"},
            "inclusionProof":{"logIndex":"1","rootHash":"AQID","treeSize":"2","hashes":["AQID"],"checkpoint":{"envelope":"e"}},"canonicalizedBody":"e30="}]},
            "messageSignature":{"messageDigest":{"algorithm":"SHA2_256","digest":"AQID"},"signature":"AQID"}}
            """#
        // Each value in turn, and each name.
        for part in [
            "\"application/vnd.dev.sigstore.bundle.v0.3+json\"", "\"h\"", "\"1\"", "\"AQID\"", "\"k\"", "\"v\"",
            "\"e\"", "\"e30=\"", "\"2\"",
            "\"SHA2_256\"", "\"mediaType\"", "\"publicKey\"", "\"hint\"", "\"tlogEntries\"", "\"logId\"",
            "\"kindVersion\"", "\"messageSignature\"",
        ] {
            try #require(good.contains(part))
            try directory.write("b.json", good.replacingOccurrences(of: part, with: quoted))
            // Both commands read it with the same reader.
            expectClean(
                part.utf8.count % 2 == 0
                    ? await run(
                        "verify-blob", "--key", "key.pub", "--insecure-ignore-tlog", "--bundle", "b.json", "file")
                    : await run("bundle", "inspect", "b.json"))
        }
        // A hint over a signature that does not hold, with a digest that does.
        let digest = Base64.encode(try Digest.sha256(Array("content".utf8)).bytes)
        try directory.write(
            "b.json",
            #"{"mediaType":"application/vnd.dev.sigstore.bundle.v0.3+json","verificationMaterial":{"publicKey":{"hint":\#(quoted)}},"messageSignature":{"messageDigest":{"algorithm":"SHA2_256","digest":"\#(digest)"},"signature":"MAAA"}}"#
        )
        await expectCleanRuns(Self.verify + ["--bundle", "b.json", "file"])
        try directory.write(
            "old.json",
            #"{"base64Signature":\#(quoted),"cert":\#(quoted),"rekorBundle":{"SignedEntryTimestamp":\#(quoted),"Payload":\#(quoted)}}"#
        )
        await expectCleanRuns(Self.verify + ["--bundle", "old.json", "file"])
        try directory.write("raw", name)
        await expectCleanRuns(Self.verify + ["--bundle", "raw", "file"])
        await expectCleanRuns(Self.verify + ["--signature", "raw", "file"])
    }

    @Test("The command line and the environment", arguments: hostile.indices)
    func commandLine(_ index: Int) async throws {
        let name = Self.hostile[index]
        for arguments in [
            [name], ["--\(name)"], ["-\(name)"], ["sign-blob", "--\(name)=x", "file"],
            ["sign-blob", "-\(name)", "file"],
            ["sign-blob", "--yes=\(name)", "file"], ["version", name], ["version", "--timeout", name],
            ["version", "--errors", name],
            ["completion", name], ["help", name], ["bundle", name], ["verify-blob", "--output", name, "file"],
            ["verify-blob", "--max-workers", name, "file"], ["generate-key-pair", "--signing-algorithm", name],
            ["verify-blob-attestation", "--key", "key.pub", "--digest", name],
            ["verify-blob", "--key", "key.pub", "--insecure-ignore-tlog", "sha256:\(name)"],
            ["verify-blob-attestation", "--key", "key.pub", "--digest", "ab", "--digestAlg", name],
            [
                "attest-blob", "--key", "key.pem", "--tlog-upload=false", "--predicate", "predicate", "--hash", name,
                "file",
            ],
            ["verify-blob", "--certificate-identity", name, "--certificate-oidc-issuer", name, "file"],
            [
                "verify-blob", "--certificate-identity-regexp", "(\(name)", "--certificate-oidc-issuer-regexp", name,
                "file",
            ],
        ] { expectClean(await Program(directory: directory.path).run(arguments)) }
        expectClean(await run("version", environment: ["COSIGN_JSON": name]))
        expectClean(await run("sign-blob", "file", environment: ["COSIGN_KEY": name, "COSIGN_TLOG_UPLOAD": "false"]))
        expectClean(
            await run(
                "env", "--show-sensitive-values", environment: ["COSIGN_PASSWORD": name, "COSIGN_EXPERIMENTAL": name]))
    }

    @Test("A signing config", arguments: hostile.indices)
    func signingConfig(_ index: Int) async throws {
        let name = Self.hostile[index]
        let quoted = String(decoding: JSONValue.string(name).serialized(), as: UTF8.self)
        for text in [
            #"{"mediaType":\#(quoted)}"#, #"{\#(quoted):1}"#,
            #"{"mediaType":"application/vnd.dev.sigstore.signingconfig.v0.2+json","rekorTlogConfig":{"selector":\#(quoted)}}"#,
        ] {
            try directory.write("config", text)
            await expectCleanRuns(["sign-blob", "--key", "key.pem", "--signing-config", "config", "file"])
        }
    }

    /// What would be a command to a CI system in a name, a media type or a payload.
    private static let command = "::error::a##[error]b##vso[task.complete]c"

    @Test("A certificate's identity and a log's entry, in words and as JSON", .localSigstore, arguments: [false, true])
    func certificate(isURI: Bool) async throws {
        let place = try SigningFixture()
        defer { withExtendedLifetime(place) {} }
        let identity: LocalIdentity =
            isURI ? .uri("/\(Self.command)") : .email("\(Self.command)\n::notice::d@local.test")
        try place.directory.write("file", "content")
        let signed = await place.run(
            ["sign-blob", "--yes", "--bundle", "bundle.json"] + place.services(.v1) + (try place.token(identity))
                + ["file"])
        #expect(signed.succeeded, "\(signed.messages)")
        expectClean(signed)
        let subject = place.services.issuer.subject(of: identity)
        // Programs read what stands there.
        let verified = await place.verify("file", by: identity, flags: ["--output", "json"])
        #expect(try verified.objects().first?.member("signer").member("identity").string() == subject)
        let inspected = await place.run(["bundle", "inspect", "--output", "json", "bundle.json"])
        let certificate = try #require(try inspected.objects().first?.member("certificates").elements().first)
        #expect(try certificate.member("identity").string() == subject)
        for outcome in [
            verified, inspected, await place.verify("file", by: identity),
            await place.verify("file", by: SigningFixture.alice, flags: ["--output", "json"]),
            await place.verify("file", by: SigningFixture.alice, flags: ["--errors", "json"]),
            await place.run(["bundle", "inspect", "bundle.json"]),
            await place.run(["tlog", "get", "--log-index", "0"] + place.services(.v1)),
            await place.run(["tlog", "get", "-o", "json", "--log-index", "0"] + place.services(.v1)),
        ] { expectClean(outcome) }
    }

    @Test("An image's annotations, media types, bundles and envelopes")
    func images() async throws {
        let place = try await ImageFixture()
        let image = try await place.push()
        let command = Self.command
        await place.sign(image.name, scheme: .older, flags: ["-a", "\(command)=\(command)"]).expectSuccess()
        await place.sign(image.name, flags: ["-a", "\(command)=\(command)"]).expectSuccess()
        let verified = await place.verify(image.name, flags: ["--all-signatures"])
        for payload in try verified.payloads() {
            #expect(try payload.member("optional").member(command).string() == command)
        }
        #expect(try verified.payloads().count == 2)
        // What anybody may put beside an image.
        let name = String(decoding: JSONValue.string("\n\(command)").serialized(), as: UTF8.self)
        let envelope =
            #"{"payloadType":"application/vnd.in-toto+json","payload":"e30=","signatures":[{"keyid":\#(name),"sig":"AQID"}]}"#
        try await place.putLayer(
            Array(envelope.utf8), for: image, "att", mediaType: "application/vnd.dsse.envelope.v1+json")
        let other = try await place.push("another image")
        try await place.putBundle(
            Array(
                #"{"mediaType":"\#(ImageFixture.bundleType)","verificationMaterial":{"publicKey":{"hint":\#(name)}},"messageSignature":{"messageDigest":{"algorithm":"SHA2_256","digest":"\#(Base64.encode(other.digest.bytes))"},"signature":"MAAA"}}"#
                    .utf8), for: other)
        try await place.putLayer(
            Array("{}".utf8), for: other,
            annotations: [
                "dev.cosignproject.cosign/signature": command, "dev.sigstore.cosign/bundle": "{\(name):\(name)}",
            ])
        try await place.putLayer(Array("{}".utf8), for: other, "sbom", mediaType: command)
        let attestation = await place.swsign(["download", "attestation", image.name])
        #expect(
            try attestation.objects().first?.member("signatures").elements().first?.member("keyid").string()
                == "\n\(command)", "\(attestation.messages)")
        let signatures = await place.swsign(["download", "signature", other.name])
        #expect(try signatures.objects().first?.member("Base64Signature").string() == command)
        #expect(try signatures.objects().count == 2, "\(signatures.messages)")
        for outcome in [
            verified, attestation, signatures, await place.verify(other.name),
            await place.swsign(["tree", image.name]), await place.swsign(["tree", other.name]),
            await place.swsign(["download", "sbom", other.name]), await place.swsign(["triangulate", command]),
            await place.swsign(["verify", "--errors", "json", "--key", "key.pub", command]),
        ] { expectClean(outcome) }
        // A file has the bytes as they are.
        let file = await place.swsign(["download", "attestation", "--output-file", "result", image.name])
        #expect(file.succeeded && file.stdout.isEmpty)
        #expect(try place.directory.text("result").contains(##""keyid":"\n::error::a##[error]b"##))
        expectClean(await place.swsign(["download", "attestation", "--output-file", "/dev/stdout", image.name]))
    }

    @Test("download shows no control characters on a terminal, and keeps all bytes for a pipe or a file")
    func terminal() async throws {
        let place = try await ImageFixture()
        let image = try await place.push()
        let hostile = Array("a\tb\r\n\u{1b}[2K\u{1b}]0;x\u{7}Verified OK\r\u{202e}\n\u{9b}2K\u{8}".utf8) + [0xff, 0x0a]
        try await place.putLayer(hostile, for: image, "sbom", mediaType: "text/\u{1b}[2Kspdx")
        var program = Program(directory: place.directory.path)
        program.printsOnTerminal = true
        let arguments = ["download", "sbom", image.name]
        let shown = await program.run(arguments, terminal: [])
        #expect(shown.succeeded && shown.stdout.isEmpty)
        expectClean(shown)
        #expect(shown.messages.contains("WARNING: control characters are shown as escapes; redirect"))
        let escaped =
            "a\tb\n\\u{1b}[2K\\u{1b}]0;x\\u{7}Verified OK\\u{d}\\u{202e}\n\\u{9b}2K\\u{8}\u{fffd}\n"
        #expect(
            shown.screen.replacingOccurrences(of: "\r\n", with: "\n") == escaped,
            "\(shown.screen.debugDescription)")
        let piped = await place.swsign(arguments)
        #expect(piped.stdout == hostile && !piped.messages.contains("redirect"))
        expectClean(Program.Outcome(ending: piped.ending, stderr: piped.stderr))
        let kept = await program.run(["download", "sbom", "--output-file", "sbom", image.name], terminal: [])
        #expect(kept.succeeded && kept.terminal.isEmpty)
        #expect(try place.directory.read("sbom") == hostile)
        // A file's name can lead to a terminal as well.
        for name in ["/dev/tty", "/dev/stdout"] {
            let shown = await program.run(["download", "sbom", "--output-file", name, image.name], terminal: [])
            #expect(shown.succeeded, "\(name): \(shown.messages)")
            #expect(shown.screen.replacingOccurrences(of: "\r\n", with: "\n") == escaped, "\(name)")
        }

        // What is harmless is shown as it is.
        let other = try await place.push("another image")
        try await place.putLayer(Array("{\r\n\t\"é\": 1\r\n}".utf8), for: other, "sbom", mediaType: "text/json")
        let plain = await program.run(["download", "sbom", other.name], terminal: [])
        #expect(plain.screen.replacingOccurrences(of: "\r\n", with: "\n") == "{\n\t\"é\": 1\n}")
        #expect(!plain.messages.contains("redirect"))
        // Attestations and signatures are JSON.
        try await place.putLayer(
            Array("{\"a\":1}".utf8), for: other,
            annotations: ["dev.cosignproject.cosign/signature": "\u{1b}[2K\u{7f}\u{202e}"])
        let signature = await program.run(["download", "signature", other.name], terminal: [])
        #expect(signature.screen.contains(#""Base64Signature":"\u001b[2K\u007f\u202e""#), "\(signature.screen)")
        #expect(!signature.terminal.contains(0x1b))
    }

    @Test("What is escaped is still recognisable, and plain names stay as they are")
    func escapedForm() {
        #expect(Output.escaped("plain name é 😀.txt") == "plain name é 😀.txt")
        #expect(Output.escaped("a\r\u{1b}[2K\u{202e}\n") == "a\\u{d}\\u{1b}[2K\\u{202e}\\u{a}")
        #expect(Output.escaped("::error::x").hasPrefix("::") == false)
        #expect(Output.escaped("  ::error::x").contains("  ::") == false)
        #expect(Output.escaped("https://a::b") == "https://a::b")
        #expect(Output.escaped("\u{3000}\u{a0}::error::x").contains("::error") == false)
        #expect(Output.escaped("a ##[set-output name=x;]y") == "a \\u{23}#[set-output name=x;]y")
        #expect(Output.escaped("####vso[task.setvariable]").contains("##vso[") == false)
        #expect(Output.escaped("issue #1, ## heading") == "issue #1, ## heading")
        #expect(Output.escaped(String(repeating: ":", count: 100_000)).hasPrefix("\\u{3a}:::"))
    }
}
