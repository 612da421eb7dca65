import Foundation
import LocalSigstore
import SigstoreCrypto
import SigstoreVerification
import StrictJSON
import TestServices
import Testing

/// Whatever can fail without a service fails before a service is told anything, and before it is said what becomes public.
@Suite(.localSigstore(.own))
struct EarlyFailureTests {
    private let place: SigningFixture

    init() throws { place = try SigningFixture() }

    /// A command that fails, and how.
    private struct Case {
        let code: String
        let arguments: [String]
        let environment: [String: String]

        init(_ code: String, _ arguments: [String], _ environment: [String: String] = [:]) {
            (self.code, self.arguments, self.environment) = (code, arguments, environment)
        }
    }

    /// How many timestamps were made.
    private var timestamps: Int { place.services.timestampAuthority.requests.filter { $0.method == "POST" }.count }

    private func expectNothingTold(_ cases: [Case], sourceLocation: SourceLocation = #_sourceLocation) async throws {
        for one in cases {
            let before = try place.directory.snapshot()
            let outcome = await place.run(one.arguments, environment: one.environment)
            let shown = "\(one.arguments): \(outcome.messages)"
            #expect(!outcome.succeeded && outcome.ending != .timeOut, "\(shown)", sourceLocation: sourceLocation)
            #expect(outcome.code == one.code, "\(shown)", sourceLocation: sourceLocation)
            #expect(!outcome.messages.contains("becomes public"), "\(shown)", sourceLocation: sourceLocation)
            let told = place.recorded + place.certificates + timestamps
            #expect(told == 0, "\(shown)", sourceLocation: sourceLocation)
            #expect(try place.directory.snapshot() == before, "\(shown)", sourceLocation: sourceLocation)
        }
    }

    /// Keys and files, and one of each thing that is in the way.
    private func prepare() async throws {
        try place.directory.makeKey()
        try place.directory.makeKey("ed", .ed25519)
        try place.directory.makeKey("other")
        await place.run(
            ["generate-key-pair", "--output-key-prefix", "sealed"], environment: ["COSIGN_PASSWORD": "secret"]
        ).expectSuccess()
        try await place.directory.tool(
            "openssl", "req", "-x509", "-key", "other.pem", "-subj", "/CN=other", "-days", "1", "-out", "other.crt")
        for (name, content) in [
            ("file", "content"), ("predicate", "{}"), ("broken", "{"), ("occupied.sigstore.json", "something"),
            ("occupied", "content"),
            (
                "statement",
                #"{"_type":"https://in-toto.io/Statement/v1","predicateType":"https://slsa.dev/provenance/v1","#
                    + #""subject":[{"name":"x","digest":{"sha256":"\#(String(repeating: "0", count: 64))"}}],"predicate":{}}"#
            ),
        ] { try place.directory.write(name, content) }
        try place.directory.makeDirectory("folder")
    }

    /// A signing config of the services, in which a list has its services twice.
    private func configWithTwice(_ list: String, _ selector: String) throws -> [String] {
        let text = try String(contentsOfFile: place.services.files.signingConfig(.both), encoding: .utf8)
        guard case .object(var config) = try JSONValue(parsing: Array(text.utf8)),
            case .array(let services)? = config[list]
        else { return [] }
        let again = services.map { service -> JSONValue in
            guard case .object(var copy) = service else { return service }
            copy["operator"] = .string("another")
            if case .string(let url)? = copy["url"] { copy["url"] = .string(url + "/") }
            return .object(copy)
        }
        config[list] = .array(services + again)
        config[selector] = .object(["selector": .string("ALL")])
        try place.directory.write("\(list).json", JSONValue.object(config).serialized())
        return place.trust + ["--signing-config", "\(list).json"]
    }

    /// The trusted root without these lists.
    private func root(without lists: String...) throws -> [String] {
        let text = try String(contentsOfFile: place.services.files.trustedRoot, encoding: .utf8)
        guard case .object(var root) = try JSONValue(parsing: Array(text.utf8)) else { return [] }
        for list in lists { root[list] = nil }
        let name = "root-\(lists[0]).json"
        try place.directory.write(name, JSONValue.object(root).serialized())
        return ["--trusted-root", name]
    }

    @Test("sign-blob tells nobody anything if it cannot end well")
    func files() async throws {
        try await prepare()
        let token = try place.token()
        let sign = ["sign-blob", "--yes"]
        let (all, one) = (place.services(.both) + token, place.services(.v1) + token)
        let byKey = ["--key", "key.pem"] + place.services(.both)
        var cases = [
            // Files, and places for what is written.
            Case("file-not-found", sign + all + ["--bundle", "b", "absent"]),
            Case("file-not-found", sign + all + ["absent", "absent/too"]),
            Case("file-not-found", sign + all + ["folder"]),
            Case("file-unwritable", sign + all + ["--bundle", "absent/b", "file"]),
            Case("is-directory", sign + all + ["--bundle", "folder", "file"]),
            Case("file-unwritable", sign + all + ["--output-directory", "absent", "file"]),
            Case("file-exists", sign.dropLast() + all + ["--output-directory", ".", "occupied"]),
            Case("usage", sign + all + ["--bundle", "b", "--output-signature", "b", "file"]),
            Case("usage", sign + all + ["--bundle", "file", "file"]),
            Case("usage", sign + all + ["--bundle", "b", "file", "occupied"]),
            // The signature is printed too.
            Case("usage", sign + all + ["--output-certificate", "-", "file"]),
            // Keys, passwords, algorithms, certificates, tokens.
            Case("file-not-found", sign + place.services(.both) + ["--key", "absent", "--bundle", "b", "file"]),
            Case(
                "wrong-password", sign + place.services(.both) + ["--key", "sealed.key", "--bundle", "b", "file"],
                ["COSIGN_PASSWORD": "wrong"]),
            Case("no-password", sign + place.services(.both) + ["--key", "sealed.key", "--bundle", "b", "file"]),
            Case("malformed-key", sign + place.services(.both) + ["--key", "key.pub", "--bundle", "b", "file"]),
            Case(
                "unsupported-key", sign + byKey + ["--signing-algorithm", "ed25519", "--bundle", "b", "file"]),
            Case("unknown-algorithm", sign + byKey + ["--signing-algorithm", "none", "--bundle", "b", "file"]),
            Case(
                "log-entry-refused",
                sign + place.services(.both) + [
                    "--key", "ed.pem", "--signing-algorithm", "ed25519", "--bundle", "b", "file",
                ]),
            Case("wrong-key", sign + byKey + ["--certificate", "other.crt", "--bundle", "b", "file"]),
            Case("usage", sign + all + ["--certificate", "other.crt", "--bundle", "b", "file"]),
            Case(
                "malformed-identity-token",
                sign + place.services(.both) + ["--identity-token", "file", "--bundle", "b", "file"]),
            // Services.
            Case("usage", sign + place.services(.v2) + token + ["--new-bundle-format=false", "--bundle", "b", "file"]),
            Case("not-built-yet", sign + all + ["--rekor-entry-type", "hashedrekord", "--bundle", "b", "file"]),
            Case(
                "file-not-found",
                sign + one + [
                    "--timestamp-server-url", place.services.timestampURL, "--timestamp-client-cacert", "absent",
                    "--bundle",
                    "b", "file",
                ]),
            Case("malformed-url", sign + one + ["--rekor-url", "nowhere", "--bundle", "b", "file"]),
            Case(
                "usage",
                sign + (try configWithTwice("rekorTlogUrls", "rekorTlogConfig")) + token + ["--bundle", "b", "file"]),
            Case("usage", sign + (try configWithTwice("tsaUrls", "tsaConfig")) + token + ["--bundle", "b", "file"]),
            Case(
                "no-trusted-root",
                sign + one + (try root(without: "tlogs")) + ["--bundle", "b", "file"]),
            Case(
                "no-time",
                sign + place.services(.v2) + token + (try root(without: "timestampAuthorities")) + [
                    "--bundle", "b", "file",
                ]),
            // A timestamp that nobody is asked for.
            Case(
                "usage",
                sign + place.trust + [
                    "--key", "key.pem", "--rekor-url", place.services.rekorV1.url, "--rfc3161-timestamp", "t",
                    "--bundle",
                    "b", "file",
                ]),
        ]
        for flag in ["--output-signature", "--output-certificate", "--rfc3161-timestamp"] {
            cases.append(Case("file-unwritable", sign + one + ["--bundle", "b", flag, "absent/\(flag)", "file"]))
        }
        try await expectNothingTold(cases)
    }

    @Test("attest-blob neither")
    func attestationsOfFiles() async throws {
        try await prepare()
        let all = ["attest-blob", "--yes"] + place.services(.both) + (try place.token())
        let attest = all + ["--type", "slsaprovenance1"]
        let sound = attest + ["--predicate", "predicate"]
        try await expectNothingTold([
            Case("file-not-found", sound + ["--bundle", "b", "absent"]),
            Case("file-not-found", attest + ["--predicate", "absent", "--bundle", "b", "file"]),
            Case("malformed-predicate", attest + ["--predicate", "broken", "--bundle", "b", "file"]),
            Case(
                "unknown-predicate-type",
                all + ["--type", "nothing", "--predicate", "predicate", "--bundle", "b", "file"]),
            Case("wrong-subject", all + ["--statement", "statement", "--bundle", "b", "file"]),
            Case("unexpected-json", all + ["--statement", "predicate", "--bundle", "b"]),
            Case("usage", all + ["--statement", "statement", "--output-directory", "."]),
            Case("usage", sound + ["--bundle", "b"]),
            Case("malformed-digest", sound + ["--hash", "xyz", "--bundle", "b", "file"]),
            Case("file-unwritable", sound + ["--bundle", "absent/b", "file"]),
            Case("file-unwritable", sound + ["--bundle", "b", "--output-attestation", "absent/a", "file"]),
            Case("file-unwritable", sound + ["--output-directory", "absent", "file"]),
            Case("usage", sound + ["--output-attestation", "-", "file"]),
            Case("file-unwritable", sound + ["--bundle", "b", "--rfc3161-timestamp-bundle", "absent/t", "file"]),
        ])
    }

    @Test("sign and attest neither", arguments: ["sign", "attest"])
    func images(_ command: String) async throws {
        try await prepare()
        let image = try place.push()
        let repository = String(image.prefix { $0 != "@" })
        let what = command == "attest" ? ["--type", "slsaprovenance1", "--predicate", "predicate"] : []
        let all = [command, "--yes"] + place.services(.both) + (try place.token())
        let sign = all + what
        let older = [command, "--yes", "--new-bundle-format=false"] + place.services(.v1) + (try place.token()) + what
        var cases = [
            Case("malformed-reference", sign + ["Not A Reference"]),
            Case("malformed-reference", sign + ["\(repository)@sha256:1"]),
            Case("image-not-found", sign + ["\(repository):nowhere"]),
            Case("image-not-found", sign + ["\(repository)@sha256:\(String(repeating: "0", count: 64))"]),
            Case("image-not-found", sign + ["\(repository):nowhere", "\(repository):neither"]),
            Case("usage", sign + [image], ["COSIGN_MAX_ATTACHMENT_SIZE": "large"]),
            Case("usage", sign + [image], ["SOURCE_DATE_EPOCH": "yesterday"]),
            Case("malformed-reference", sign + [image], ["COSIGN_REPOSITORY": "Not A Reference"]),
            Case("malformed-reference", older + ["--attachment-tag-prefix", "not a tag ", image]),
            Case("file-unwritable", sign + ["--bundle", "absent/b", image]),
            Case("usage", sign + ["--bundle", "b", image, image]),
            Case("usage", older + ["--bundle", "b", image]),
            Case("wrong-password", sign + ["--key", "sealed.key", image], ["COSIGN_PASSWORD": "wrong"]),
            Case(
                "usage",
                [command, "--yes", "--key", "key.pem", "--rekor-url", place.services.rekorV1.url] + place.trust + what
                    + [
                        "--rfc3161-timestamp", "t", image,
                    ]),
        ]
        if command == "sign" {
            cases += [
                Case("usage", all + ["-a", "nonsense", image]),
                Case("file-not-found", older + ["--payload", "absent", image]),
                Case("image-not-found", all + ["--attachment", "sbom", image]),
                Case(
                    "usage",
                    all + ["--upload=false", "--output-signature", "s", "--output-payload", "p", image]),
                Case("usage", all + ["--upload=false", "--output-payload", "p", image]),
                Case("usage", older + ["--upload=false", "--output-payload", "-", image]),
                Case("file-unwritable", all + ["--output-payload", "absent/p", image]),
            ]
        } else {
            cases += [
                Case("file-not-found", all + ["--predicate", "absent", image]),
                Case("malformed-predicate", all + ["--type", "link", "--predicate", "broken", image]),
                Case("wrong-subject", all + ["--statement", "statement", image]),
                Case("usage", sign + ["--upload=false", "--bundle", "-", image]),
            ]
        }
        try await expectNothingTold(cases)
        #expect(!place.hasPushed)
    }

    @Test(
        "An image's signature whose log entry neither a bundle nor the image keeps is warned of",
        arguments: ["sign", "attest"])
    func entryKeptNowhere(_ command: String) async throws {
        try await prepare()
        let image = try place.push()
        let what = command == "attest" ? ["--type", "slsaprovenance1", "--predicate", "predicate"] : []
        let sign = [command, "--yes", "--upload=false"] + place.services(.v1) + what
        let cases: [([String], advice: String?)] = [
            (["--key", "key.pem"], "give --bundle FILE to keep it\n"),
            (["--key", "key.pem", "--new-bundle-format=false"], "leave --upload=false out to keep it\n"),
            (["--key", "key.pem", "--bundle", "b"], nil), (try place.token(), "give --bundle FILE to keep them\n"),
        ]
        for (flags, advice) in cases {
            let outcome = await place.run(sign + flags + [image])
            outcome.expectSuccess()
            let isWarned = outcome.messages.contains("will be kept nowhere")
            #expect(isWarned == (advice != nil), "\(flags): \(outcome.messages)")
            if let advice { #expect(outcome.messages.contains(advice), "\(flags): \(outcome.messages)") }
        }
        let uploaded = await place.run([command, "--yes", "--key", "key.pem"] + place.services(.v1) + what + [image])
        uploaded.expectSuccess()
        #expect(!uploaded.messages.contains("kept nowhere"), "\(uploaded.messages)")
    }

    @Test(
        "--output-certificate with a key is warned of and written nowhere, as by cosign",
        arguments: ["sign-blob", "attest-blob", "sign", "attest"])
    func certificateOfKey(_ command: String) async throws {
        try await prepare()
        let target = command.hasSuffix("-blob") ? "file" : try place.push()
        let what = command.hasPrefix("attest") ? ["--type", "slsaprovenance1", "--predicate", "predicate"] : []
        let outcome = await place.run(
            [command, "--yes", "--key", "key.pem", "--bundle", "b", "--output-certificate", "c"] + what
                + place.services(.v1) + [target])
        outcome.expectSuccess()
        #expect(outcome.messages.contains("WARNING: a key signs, so there is no certificate"), "\(outcome.messages)")
        #expect(place.directory.exists("b") && !place.directory.exists("c"))
        #expect(place.recorded == 1)
    }
}

/// The same command again.
struct SignAgainTests {
    private let directory = TemporaryDirectory()
    private static let sign = ["sign-blob", "--key", "key.pem", "--tlog-upload=false"]
    private static let verify = ["verify-blob", "--key", "key.pub", "--insecure-ignore-tlog"]

    private func run(_ arguments: [String]) async -> Program.Outcome {
        await Program(directory: directory.path).run(arguments)
    }

    private func write(_ names: [String]) throws {
        try directory.makeDirectory("dist/more")
        for name in names { try directory.write("dist/\(name)", "content of \(name)") }
    }

    @Test("sign-blob DIRECTORY signs everything in it but the signatures beside its files, as verify-blob verifies it")
    func directories() async throws {
        try directory.makeKey()
        try directory.makeKey("another")
        try write(["a", "b.pem", "more/c", "a.sig"])
        let signed = await run(Self.sign + ["dist"])
        signed.expectSuccess()
        #expect(signed.messages.contains("3 of 3 files signed"), "\(signed.messages)")
        #expect(signed.messages.contains("not signed, since") && signed.messages.contains("dist/a.sig"))
        await run(Self.verify + ["dist"]).expectSuccess()
        // Again: nothing is left to do, and nothing is signed twice.
        let before = try directory.snapshot()
        for flags in [[], ["--yes"]] {
            let again = await run(Self.sign + flags + ["dist/"])
            again.expectSuccess()
            #expect(again.messages.contains("is signed already"), "\(again.messages)")
            #expect(try directory.snapshot() == before)
        }
        // What was changed is signed anew only if that is said, and so is what another key signed.
        try directory.write("dist/a", "changed")
        let refused = await run(Self.sign + ["dist"])
        #expect(
            refused.code == "file-exists" && refused.messages.contains("2 of 3 files signed"), "\(refused.messages)")
        await run(Self.sign + ["--yes", "dist"]).expectSuccess()
        await run(Self.verify + ["dist"]).expectSuccess()
        let other = await run(["sign-blob", "--key", "another.pem", "--tlog-upload=false", "dist"])
        #expect(other.code == "file-exists" && other.messages.contains("0 of 3 files signed"), "\(other.messages)")
        // One file in a directory has its bundle beside it too.
        try directory.makeDirectory("one")
        try directory.write("one/x", "x")
        await run(Self.sign + ["one"]).expectSuccess()
        await run(Self.verify + ["one"]).expectSuccess()
        try await directory.expectRefusal("usage", "names only one", of: Self.sign + ["--bundle", "b", "one"])
    }

    @Test("Of many files those are left out that the first run wrote", arguments: [true, false])
    func outputsOfFirstRun(isNewer: Bool) async throws {
        try directory.makeKey()
        try write(["a", "b"])
        let sign = Self.sign + ["--new-bundle-format=\(isNewer)"]
        func all() throws -> [String] {
            try FileManager.default.subpathsOfDirectory(atPath: directory["dist"]).map { "dist/\($0)" }.filter {
                $0 != "dist/more" && $0 != "dist/signatures"
            }.sorted()
        }
        let failed = await run(sign + ["dist/a", "dist/b", "dist/c"])
        #expect(
            failed.code == "file-not-found" && failed.messages.contains("2 of 3 files signed"), "\(failed.messages)")
        try write(["c"])
        let before = try directory.snapshot()
        let names = try all()
        #expect(names.count == 5)
        let again = await run(sign + names)
        again.expectSuccess()
        var after = try directory.snapshot()
        #expect(after.removeValue(forKey: "dist/c.sigstore.json") != nil)
        #expect(after == before, "\(after.keys.sorted())")
        // The same with a directory for the bundles, among the files.
        try directory.makeDirectory("dist/signatures")
        for _ in 0..<2 { await run(sign + ["--output-directory", "dist/signatures", "dist"]).expectSuccess() }
        let written = try FileManager.default.contentsOfDirectory(atPath: directory["dist/signatures"]).sorted()
        #expect(written == ["a.sigstore.json", "b.sigstore.json", "c.sigstore.json"])
    }

    @Test("With a log only what is missing is signed and recorded", .localSigstore(.own))
    func logged() async throws {
        let place = try SigningFixture()
        for name in ["a", "b"] { try place.directory.write(name, "content of \(name)") }
        let sign =
            ["sign-blob", "--yes", "--output-certificate", "cert"] + place.services(.both) + (try place.token())
        await place.run(sign + ["a", "b", "c"]).expectRefusal(1, "file-not-found", "2 of 3 files signed")
        #expect(place.recorded == 2 && place.certificates == 1)
        let bundles = try ["a", "b"].map { try place.directory.read("\($0).sigstore.json") }
        try place.directory.write("c", "content of c")
        let again = await place.run(sign + ["a", "a.sigstore.json", "b", "b.sigstore.json", "c", "cert"])
        again.expectSuccess()
        #expect(again.messages.contains("3 of 3 files signed"), "\(again.messages)")
        #expect(place.recorded == 3 && place.certificates == 2)
        let kept = try ["a", "b"].map { try place.directory.read("\($0).sigstore.json") }
        #expect(kept == bundles)
        // Nothing is left: nobody is told anything.
        let third = await place.run(sign + ["a", "b", "c"])
        third.expectSuccess()
        #expect(place.recorded == 3 && place.certificates == 2 && !third.messages.contains("becomes public"))
        // What was made without a log, or by another identity, is not what this would make.
        try place.directory.makeKey()
        try place.directory.write("d", "content of d")
        await place.run(["sign-blob", "--key", "key.pem", "--tlog-upload=false", "--output-directory", ".", "d"])
            .expectSuccess()
        await place.run(["sign-blob", "--key", "key.pem", "--output-directory", "."] + place.services(.v1) + ["d"])
            .expectRefusal(1, "file-exists")
        let bob = try place.token(.email("bob@local.test"))
        await place.run(["sign-blob", "--output-directory", "."] + place.services(.both) + bob + ["a"])
            .expectRefusal(1, "file-exists")
        #expect(place.recorded == 3)
    }

    @Test("What is wanted beside a bundle that stands there is written from it")
    func partsOfStandingBundle() async throws {
        try directory.makeKey()
        try directory.makeKey("long", .ecdsaP384)
        try directory.write("file", "content")
        try directory.makeDirectory("out")
        let sign = Self.sign + ["--output-directory", "out"]
        // The bundle does not stand there before all else is written.
        await run(sign + ["--output-signature", "/dev/full", "file"]).expectRefusal(1, "file-unwritable")
        #expect(!directory.exists("out/file.sigstore.json"))
        await run(sign + ["file"]).expectSuccess()
        let bundle = try directory.read("out/file.sigstore.json")
        for flag in ["--output-signature", "--output"] {
            let again = await run(sign + [flag, "file.sig", "file"])
            again.expectSuccess()
            #expect(again.messages.contains("is signed already"), "\(again.messages)")
            await run(Self.verify + ["--signature", "file.sig", "file"]).expectSuccess()
            try FileManager.default.removeItem(atPath: directory["file.sig"])
        }
        #expect(try directory.read("out/file.sigstore.json") == bundle)
        // A signature alone is over SHA-256, and this bundle's is not.
        let long = ["sign-blob", "--key", "long.pem", "--tlog-upload=false", "--output-directory", "out", "--yes"]
        await run(long + ["file"]).expectSuccess()
        try await directory.expectRefusal(
            "file-exists", of: long.dropLast() + ["--output-signature", "file.sig", "file"])
        await run(long + ["--output-signature", "file.sig", "file"]).expectSuccess()
        #expect(directory.exists("file.sig"))
    }

    @Test(
        "What was recorded and not written whole is finished by the same command, and once only", .localSigstore(.own))
    func partsWithLog() async throws {
        let place = try SigningFixture()
        try place.directory.write("file", "content")
        try place.directory.write("predicate", "{}")
        try place.directory.makeDirectory("out")
        let services = ["--output-directory", "out"] + place.services(.v1) + (try place.token()) + ["file"]
        let parts = ["--output-signature", "--output-certificate", "--rfc3161-timestamp"]
        for (entries, command) in [["sign-blob"], ["attest-blob", "--predicate", "predicate"]].enumerated() {
            for flag in parts {
                await place.run(command + [flag, "/dev/full"] + services).expectRefusal(
                    1, "file-unwritable", "already recorded")
                #expect(place.recorded == entries + 1 && place.unfinished.count == 1)
                #expect(!place.directory.exists("out/file.sigstore.json"))
            }
            let whole = command + parts.flatMap { [$0, "out/\($0.dropFirst(2))"] } + services
            await place.run(whole).expectSuccess()
            #expect(place.recorded == entries + 1 && place.unfinished.isEmpty)
            let before = try place.directory.snapshot()
            for part in parts {
                try FileManager.default.removeItem(atPath: place.directory["out/\(part.dropFirst(2))"])
            }
            if command == ["sign-blob"] {
                await place.run(whole).expectSuccess()
                #expect(try place.directory.snapshot() == before)
                #expect(place.recorded == entries + 1)
            }
            try FileManager.default.removeItem(atPath: place.directory["out/file.sigstore.json"])
        }
    }

    @Test("A bundle made in another way, or with other services, is not taken for done", .localSigstore(.own))
    func madeOtherwise() async throws {
        let place = try SigningFixture()
        try place.directory.makeKey()
        try place.directory.makeKey("ed", .ed25519)
        for name in ["pure", "recorded", "timed"] { try place.directory.write(name, "content of \(name)") }
        func sign(_ key: String, _ flags: [String], _ file: String) async -> Program.Outcome {
            await place.run(["sign-blob", "--key", "\(key).pem", "--output-directory", "."] + flags + [file])
        }
        // Pure Ed25519 is not Ed25519ph.
        await sign("ed", ["--tlog-upload=false"], "pure").expectSuccess()
        await sign("ed", ["--tlog-upload=false", "--signing-algorithm", "ed25519-ph"], "pure").expectRefusal(
            1, "file-exists")
        // An entry of another version of Rekor, or of another log than that at the URL.
        await sign("key", place.services(.v1), "recorded").expectSuccess()
        await sign("key", place.services(.v2), "recorded").expectRefusal(1, "file-exists")
        let url = place.services.rekorV1.url
        var root = try TrustedRoot(parsing: Array(try Data(contentsOf: URL(fileURLWithPath: place.trust[1]))))
        let config = ["--signing-config", place.services.files.signingConfig(.v1)]
        for index in root.transparencyLogs.indices { root.transparencyLogs[index].baseURL = "" }
        try place.directory.write("unnamed.json", root.serialized())
        var another = try TrustedRoot.Log(publicKey: try PrivateKey.generate(.ecdsaP256).publicKey)
        another.baseURL = url
        root.transparencyLogs.append(another)
        try place.directory.write("another.json", root.serialized())
        await sign("key", config + ["--trusted-root", "another.json"], "recorded").expectRefusal(1, "file-exists")
        for trust in [place.trust, ["--trusted-root", "unnamed.json"]] {
            let done = await sign("key", config + trust, "recorded")
            done.expectSuccess()
            #expect(done.messages.contains("is signed already"), "\(done.messages)")
        }
        // A timestamp is wanted, also of an authority that the trusted root does not know.
        root = try TrustedRoot(parsing: Array(try Data(contentsOf: URL(fileURLWithPath: place.trust[1]))))
        root.timestampAuthorities = []
        try place.directory.write("timeless.json", root.serialized())
        let timeless = ["--trusted-root", "timeless.json", "--rekor-url", url]
        await sign("key", timeless, "timed").expectSuccess()
        await sign("key", timeless + ["--timestamp-server-url", place.services.timestampURL], "timed").expectRefusal(
            1, "file-exists")
        #expect(place.recorded == 2)
    }

    @Test("A pipe in the place of a bundle is neither read nor written to", arguments: [[], ["--yes"]])
    func pipeAsBundle(_ flags: [String]) async throws {
        try directory.makeKey()
        try write(["a", "b"])
        #expect(unsafe mkfifo(directory["dist/a.sigstore.json"], 0o600) == 0)
        let signed = await run(Self.sign + flags + ["dist"])
        #expect(signed.ending == .exit(1) && signed.code == "file-exists", "\(signed.messages)")
        #expect(signed.messages.contains("1 of 2 files signed"), "\(signed.messages)")
        await run(Self.verify + ["dist/b"]).expectSuccess()
    }

    @Test("A hundred failures of one cause are one message with a count and the first names")
    func manyFailures() async throws {
        try directory.makeKey()
        try write((0..<100).map { "file-\(1000 + $0)" })
        try directory.write("dist/odd", "odd")
        try directory.write("dist/odd.sigstore.json", "{}")
        let outcome = await run(Self.verify + ["dist"])
        #expect(outcome.ending == .exit(1))
        let errors = outcome.messages.split(separator: "\n").filter { $0.hasPrefix("Error: ") }
        #expect(errors.count == 2, "\(outcome.messages)")
        #expect(
            errors.first?.hasPrefix("Error: 100 files (dist/file-1000, dist/file-1001, dist/file-1002, …): ") == true,
            "\(errors)")
        #expect(
            errors.last?.contains("dist/odd") == true && errors.last?.hasSuffix("[not-a-bundle]") == true, "\(errors)")
        #expect(outcome.messages.contains("0 of 101 files verified"))
        #expect(outcome.messages.contains("not verified: 91 more") && !outcome.messages.contains("file-1050"))
        let images = (0..<5).map { "oci-layout:absent-\($0)" }
        let missing = await run(Self.verify.map { $0 == "verify-blob" ? "verify" : $0 } + images)
        #expect(
            missing.messages.split(separator: "\n").filter { $0.hasPrefix("Error: ") }.count == 1, "\(missing.messages)"
        )
        #expect(missing.messages.contains("5 images (oci-layout:absent-0, "), "\(missing.messages)")
    }
}
