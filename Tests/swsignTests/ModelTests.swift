import Foundation
import LocalSigstore
import SigstoreCrypto
import StrictJSON
import TestServices
import Testing

/// Folders of models, signed and verified by the real program.
struct ModelTests {
    private let directory = TemporaryDirectory()

    /// A model of three files, one of them in a folder.
    private func makeModel(_ name: String = "model") throws {
        try directory.makeDirectory("\(name)/layers")
        for (file, text) in [("weights", "1"), ("layers/a", "2"), ("layers.json", "{}")] {
            try directory.write("\(name)/\(file)", text)
        }
    }

    private func sign(_ arguments: String...) async throws {
        let outcome = await Program(directory: directory.path).run(["sign-model", "--key", "key.pem"] + arguments)
        try #require(outcome.succeeded, "\(outcome.messages)")
    }

    private func verify(_ arguments: String..., key: String = "key.pub") async -> Program.Outcome {
        await Program(directory: directory.path).run(
            ["verify-provenance", "--from", "model", "--key", key] + arguments)
    }

    private func expectRefusal(
        _ code: String, _ words: String, sourceLocation: SourceLocation = #_sourceLocation
    ) async throws {
        try await directory.expectRefusal(
            code, words, of: ["verify-provenance", "--key", "key.pub", "model"], sourceLocation: sourceLocation)
    }

    // MARK: - What was published

    private static let given = "\(sharedDirectory)/provenance/model-signing"
    private static let keys = "\(given)/keys/certificate"
    private static let trusting = ["--trusted-root", "\(sharedDirectory)/trust/production/trusted_root.json"]

    /// The samples of `model_signing`, each with what must have signed it, and with another that must be refused.
    struct Sample: Sendable, CustomTestStringConvertible {
        let name: String
        let signer: [String]
        let others: [(signer: [String], code: String)]
        var testDescription: String { name }
    }

    static let samples = [
        Sample(
            name: "v1.1.0-elliptic-key", signer: ["--key", "\(keys)/signing-key-pub.pem"],
            others: [
                (["--key", "other.pub"], "wrong-key"),
                (["--certificate-chain", "\(keys)/ca-cert.pem"], "model-signature-form"),
                (trusting + ["--cert-identity", "a", "--cert-oidc-issuer", "b"], "key-not-certificate"),
            ]),
        Sample(
            name: "v1.1.0-certificate", signer: ["--certificate-chain", "\(keys)/ca-cert.pem"],
            others: [
                (["--certificate-chain", "other.pem"], "certificate-path"),
                (["--key", "other.pub"], "model-signature-form"),
                (trusting + ["--cert-identity", "a", "--cert-oidc-issuer", "b"], "model-signature-form"),
            ]),
        Sample(
            name: "v1.1.0-sigstore",
            signer: trusting + [
                "--certificate-identity", "stefanb@us.ibm.com", "--certificate-oidc-issuer",
                "https://sigstore.verify.ibm.com/oauth2",
            ],
            others: [
                (
                    trusting + [
                        "--certificate-identity", "stefanb@us.ibm.com", "--certificate-oidc-issuer",
                        "https://sigstore.verify.ibm.com",
                    ], "wrong-issuer"
                ),
                (
                    trusting + [
                        "--certificate-identity", "Stefanb@us.ibm.com", "--certificate-oidc-issuer",
                        "https://sigstore.verify.ibm.com/oauth2",
                    ], "wrong-identity"
                ), (["--key", "other.pub"], "certificate-not-key"),
                (["--certificate-chain", "\(keys)/ca-cert.pem"], "model-signature-form"),
            ]),
    ]

    @Test(
        "The samples of model_signing hold, and with one thing changed each is refused by its own code", .needsShared,
        arguments: samples)
    func published(sample: Sample) async throws {
        let model = directory["model"]
        func restore() throws {
            try? FileManager.default.removeItem(atPath: model)
            try FileManager.default.copyItem(atPath: "\(Self.given)/\(sample.name)", toPath: model)
            for name in try FileManager.default.contentsOfDirectory(atPath: model) {
                try FileManager.default.setAttributes([.posixPermissions: 0o644], ofItemAtPath: "\(model)/\(name)")
            }
        }
        try restore()
        let command = ["verify-provenance", "--from", "model"]
        let outcome = await Program(directory: directory.path).run(command + sample.signer + ["model"])
        #expect(outcome.succeeded, "\(outcome.messages)")
        #expect(outcome.messages.contains("\n  model: \(sample.name), 2 files by sha256\n"), "\(outcome.messages)")

        // Another signer.
        try directory.makeKey("other")
        try await directory.tool(
            "/usr/bin/openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
            "-keyout",
            "other.key", "-out", "other.pem", "-subj", "/CN=root-ca", "-days", "10")
        for (signer, code) in sample.others {
            let outcome = await Program(directory: directory.path).run(command + signer + ["model"])
            #expect(outcome.ending == .exit(1) && outcome.code == code, "\(code) expected: \(outcome.messages)")
        }
        // The files.
        let changes: [(code: String, words: String, change: () throws -> Void)] = [
            (
                "model-file-changed", "changed: signme-1, expected sha256:",
                { try directory.write("model/signme-1", "signme-!") }
            ),
            ("model-file-extra", "extra: more", { try directory.write("model/more", "") }),
            (
                "model-file-extra", "extra: signature",
                { try FileManager.default.linkItem(atPath: "\(model)/model.sig", toPath: "\(model)/signature") }
            ),
            (
                "model-file-missing", "missing: signme-2",
                { try FileManager.default.removeItem(atPath: "\(model)/signme-2") }
            ),
            (
                "model-file-link", "symbolic link: link",
                { try FileManager.default.createSymbolicLink(atPath: "\(model)/link", withDestinationPath: "signme-1") }
            ),
            (
                "model-file-link", "symbolic link: signme-1",
                {
                    try FileManager.default.moveItem(atPath: "\(model)/signme-1", toPath: directory["moved"])
                    try FileManager.default.createSymbolicLink(
                        atPath: "\(model)/signme-1", withDestinationPath: "../moved")
                }
            ),
        ]
        for (code, words, change) in changes {
            try restore()
            try change()
            try await directory.expectRefusal(code, words, of: command + sample.signer + ["model"])
        }
        // The signature, by one letter, and the statement.
        for (member, code) in [("\"sig\":\"M", "invalid-signature"), ("\"payload\":\"ew", "invalid-signature")] {
            try restore()
            let text = try directory.text("model/model.sig")
            let place = try #require(text.range(of: member)).upperBound
            let next = text.index(place, offsetBy: 30)
            let changed = text.replacingCharacters(in: next...next, with: text[next] == "A" ? "B" : "A")
            try directory.write("model/model.sig", changed)
            let outcome = await Program(directory: directory.path).run(command + sample.signer + ["model"])
            #expect(outcome.ending == .exit(1), "\(member): \(outcome.messages)")
            #expect(
                [code, "signature-malformed", "log-entry-mismatch", "timestamp-mismatch", "malformed-json"].contains(
                    outcome.code ?? ""),
                "\(member): \(outcome.messages)")
        }
    }

    // MARK: - What is signed here

    @Test(
        "A model signed by a key verifies; what Git keeps and what is left out does not count, and the signature never does"
    )
    func signsAndVerifies() async throws {
        try makeModel()
        try directory.makeKey()
        try directory.makeDirectory("model/.git")
        try directory.write("model/.git/HEAD", "ref")
        try directory.write("model/README", "text")
        try await sign("--ignore-paths", "model/README", "model")
        try directory.write("model/.git/HEAD", "other")
        try directory.write("model/README", "other")
        // A folder with its signature is plainly a model.
        let outcome = await directory.swsign("verify-provenance", "--key", "key.pub", "model", "--output", "json")
        let object = try #require(try outcome.objects().first)
        #expect(try object.member("verified").bool() && object.member("from").string() == "model")
        let facts = try object.member("facts")
        #expect(try facts.member("model").string() == "model" && facts.member("files").value.isThree)
        #expect(try facts.member("ignoredPaths").elements().map { try $0.string() }.contains("README"))
        #expect(try object.member("notProven").elements().map { try $0.string() } == ["time"])
        #expect(outcome.messages.contains("not proven: when it was signed"))
        // Nothing is replaced without a word, and what is replaced is not hashed.
        try await directory.expectRefusal("file-exists", "--yes", of: ["sign-model", "--key", "key.pem", "model"])
        try await sign("--yes", "--ignore-paths", "model/README", "model")
        #expect(await verify("model").succeeded)
        // A file that was signed is not to be left out.
        try await expectRefusal("model-file-missing", "weights", flags: ["--ignore-paths", "model/weights"])
        try await expectRefusal("usage", "is not in the folder", flags: ["--ignore-paths", "key.pub"])
        try directory.write("model/notes", "more")
        try await expectRefusal("model-file-extra", "extra: notes")
        #expect(await verify("--ignore-paths", "model/notes", "model").succeeded)
        // What Git keeps counts if it was signed, and is looked at then whatever is left out by name.
        try await sign("--yes", "--ignore-git-paths=false", "model")
        #expect(await verify("model").succeeded)
        try directory.write("model/.git/HEAD", "ref")
        try await expectRefusal("model-file-changed", "changed: .git/HEAD")
        try directory.write("model/.git/HEAD", "other")
        try directory.write("model/.git/more", "")
        try await expectRefusal("model-file-extra", "extra: .git/more")
    }

    private func expectRefusal(
        _ code: String, _ words: String, flags: [String], sourceLocation: SourceLocation = #_sourceLocation
    ) async throws {
        try await directory.expectRefusal(
            code, words, of: ["verify-provenance", "--key", "key.pub"] + flags + ["model"],
            sourceLocation: sourceLocation)
    }

    @Test("All differences are named, many with their count")
    func differences() async throws {
        try makeModel()
        try directory.makeKey()
        try await sign("model")
        for number in 10..<40 { try directory.write("model/more\(number)", "") }
        try directory.write("model/weights", "!")
        try directory.write("model/esc\u{1b}[2J", "")
        try FileManager.default.removeItem(atPath: directory["model/layers/a"])
        // A pipe, which is not waited for.
        try await directory.tool("/usr/bin/mkfifo", "model/pipe")
        let outcome = await verify("model")
        #expect(outcome.code == "model-file-changed")
        for words in [
            "1 changed, 1 missing, 32 extra", "changed: weights", "missing: layers/a", "extra: more10",
            "extra: 12 more",
            "esc\\u{1b}[2J",
        ] { #expect(outcome.messages.contains(words), "\(words): \(outcome.messages)") }
        #expect(!outcome.messages.contains("\u{1b}"))
    }

    @Test("Links are signed if that is asked for, and never lead out of the folder")
    func links() async throws {
        try makeModel()
        try directory.makeKey()
        try directory.write("outside", "1")
        func link(_ name: String, to target: String) throws {
            try? FileManager.default.removeItem(atPath: directory["model/\(name)"])
            try FileManager.default.createSymbolicLink(
                atPath: directory["model/\(name)"], withDestinationPath: target)
        }
        try link("link", to: "layers/../weights")
        try await directory.expectRefusal(
            "model-file-link", "symbolic link: link", "--allow-symlinks",
            of: ["sign-model", "--key", "key.pem", "model"])
        for target in ["../outside", directory["model/weights"], "layers", "layers/../../model/weights", "link"] {
            try link("link", to: target)
            let outcome = await directory.swsign("sign-model", "--allow-symlinks", "--key", "key.pem", "model")
            #expect(outcome.code == "model-file-link", "\(target): \(outcome.messages)")
        }
        try link("link", to: "layers/../weights")
        try await sign("--allow-symlinks", "model")
        #expect(await verify("model").succeeded)
        // The same content from elsewhere is not the model.
        for (target, code) in [
            ("../outside", "model-file-link"), (directory["model/weights"], "model-file-link"),
            ("layers", "model-file-link"), ("nowhere", "model-file-missing"), ("layers/a", "model-file-changed"),
        ] {
            try link("link", to: target)
            let outcome = await verify("model")
            #expect(outcome.code == code && outcome.messages.contains("link"), "\(target): \(outcome.messages)")
        }
        try link("link", to: "weights")
        #expect(await verify("model").succeeded)
        // A folder by a link is no folder of the model.
        try FileManager.default.moveItem(atPath: directory["model/layers"], toPath: directory["model/real"])
        try link("layers", to: "real")
        let outcome = await verify("model")
        #expect(outcome.code == "model-file-missing" && outcome.messages.contains("missing: layers/a"))
    }

    @Test("BLAKE2b, every curve, and keys that nobody could verify with")
    func hashesAndKeys() async throws {
        try makeModel()
        for (index, algorithm) in [SigningAlgorithm.ecdsaP256, .ecdsaP384, .ecdsaP521].enumerated() {
            try directory.makeKey("key\(index)", algorithm)
            let signed = await directory.swsign(
                "sign-model", "--yes", "--hash-type", "blake2", "--key", "key\(index).pem", "model")
            #expect(signed.succeeded, "\(signed.messages)")
            let outcome = await verify("model", key: "key\(index).pub")
            #expect(outcome.succeeded && outcome.messages.contains("3 files by blake2b"), "\(outcome.messages)")
        }
        try directory.makeKey("ed25519", .ed25519)
        try await directory.expectRefusal(
            "unsupported-key", "P-256, P-384 or P-521",
            of: ["sign-model", "--yes", "--key", "ed25519.pem", "--signature", "new.sig", "model"])
    }

    @Test("A certificate counts if it is valid now, meant for signing, and of the authority that is trusted")
    func certificates() async throws {
        try makeModel()
        try directory.makeKey()
        for name in ["ca", "other"] {
            try await directory.tool(
                "/usr/bin/openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                "-keyout", "\(name).key", "-out", "\(name).pem", "-subj", "/CN=\(name)", "-days", "10", "-addext",
                "keyUsage=critical,keyCertSign")
        }
        try await directory.tool(
            "/usr/bin/openssl", "req", "-new", "-key", "key.pem", "-subj", "/CN=signer", "-out", "leaf.csr")
        /// A certificate of the authority for the key, in base64 of DER.
        func certificate(_ name: String, _ extensions: String, days: String = "5") async throws -> String {
            try directory.write("ext", "authorityKeyIdentifier=keyid\n" + extensions)
            try await directory.tool(
                "/usr/bin/openssl", "x509", "-req", "-in", "leaf.csr", "-CA", "ca.pem", "-CAkey", "ca.key",
                "-CAcreateserial",
                "-days", days, "-extfile", "ext", "-out", "\(name).pem")
            try await directory.tool(
                "/usr/bin/openssl", "x509", "-in", "\(name).pem", "-outform", "DER", "-out", "\(name).der")
            return Base64.encode(try directory.read("\(name).der"))
        }
        let good = try await certificate("good", "keyUsage=critical,digitalSignature\nextendedKeyUsage=codeSigning\n")
        try await sign("--certificate", "good.pem", "--certificate-chain", "ca.pem", "model")
        let signature = try directory.text("model/model.sig")
        try #require(signature.contains(good))
        let verifying = ["verify-provenance", "model", "--certificate-chain"]
        let outcome = await Program(directory: directory.path).run(verifying + ["ca.pem"])
        #expect(
            outcome.succeeded && outcome.messages.contains("signed with the certificate of CN=signer"),
            "\(outcome.messages)")
        try await directory.expectRefusal("certificate-path", "CN=signer", of: verifying + ["other.pem"])
        // The same key in another certificate: what was signed holds.
        for (name, extensions, days, code) in [
            ("tls", "keyUsage=critical,digitalSignature\nextendedKeyUsage=serverAuth\n", "5", "certificate-key-usage"),
            ("none", "", "5", "certificate-key-usage"),
            (
                "agreeing", "keyUsage=critical,keyAgreement\nextendedKeyUsage=codeSigning\n", "5",
                "certificate-key-usage"
            ),
            ("ended", "keyUsage=critical,digitalSignature\n", "-1", "certificate-expired"),
            ("usage", "keyUsage=critical,digitalSignature\n", "5", nil),
            ("extended", "extendedKeyUsage=codeSigning\n", "5", nil),
        ] {
            let other = try await certificate(name, extensions, days: days)
            try directory.write("model/model.sig", signature.replacingOccurrences(of: good, with: other))
            let outcome = await Program(directory: directory.path).run(verifying + ["ca.pem"])
            #expect(outcome.code == code && outcome.succeeded == (code == nil), "\(name): \(outcome.messages)")
        }
    }

    @Test("What cannot be a model, or be named in a signature, is refused before it is signed")
    func refusals() async throws {
        try directory.makeKey()
        try directory.makeDirectory("empty")
        try directory.write("file", "")
        let signing = ["sign-model", "--key", "key.pem"]
        try await directory.expectRefusal("malformed-model-signature", "has no file", of: signing + ["empty"])
        try await directory.expectRefusal("file-unreadable", "is not a folder", of: signing + ["file"])
        try await directory.expectRefusal("file-not-found", of: signing + ["nowhere"])
        try makeModel()
        try await directory.expectRefusal(
            "usage", "no place for log entries and timestamps",
            of: signing + ["--timestamp-server-url", "http://127.0.0.1:9", "model"])
        // Nobody is told, and that is said.
        let outcome = await directory.swsign(
            "sign-model", "--key", "key.pem", "--signature", "told.sig", "--rekor-url", "http://127.0.0.1:9", "model")
        #expect(outcome.succeeded && outcome.messages.contains("--rekor-url has no part"), "\(outcome.messages)")
        try await directory.expectRefusal(
            "file-not-found", "--signature", of: ["verify-provenance", "--from", "model", "--key", "key.pub", "model"])
        try await directory.expectRefusal(
            "usage", "nothing says who", of: ["verify-provenance", "--from", "model", "model"])
        for name in ["back\\slash", "line\nbreak"] {
            try directory.write("model/\(name)", "")
            try await directory.expectRefusal("model-file-name", "the file name", of: signing + ["model"])
            try FileManager.default.removeItem(atPath: directory["model/\(name)"])
        }
        // One letter in two ways of Unicode: two files here, one elsewhere.
        try directory.write("model/e\u{301}", "")
        try directory.write("model/\u{e9}", "")
        if try FileManager.default.contentsOfDirectory(atPath: directory["model"]).count == 5 {
            try await directory.expectRefusal("model-file-name", "twice", of: signing + ["model"])
        }
        // A signature of something else.
        try directory.write("predicate", "{}")
        let other = await directory.swsign(
            "attest-blob", "--key", "key.pem", "--tlog-upload=false", "--predicate", "predicate", "--type",
            "slsaprovenance1",
            "--bundle", "model/model.sig", "file")
        #expect(other.succeeded, "\(other.messages)")
        try await directory.expectRefusal(
            "not-a-model-signature", "model_signing",
            of: ["verify-provenance", "--from", "model", "--key", "key.pub", "model"])
    }

    @Test("Large models are streamed: memory stays below 64 MiB")
    func memory() async throws {
        try directory.makeDirectory("model")
        for name in ["a", "b"] { try directory.writeSparse("model/\(name)", size: 300 << 20) }
        try directory.makeKey()
        try await sign("model")
        var program = Program(directory: directory.path)
        program.measuresMemory = true
        let outcome = await program.run(["verify-provenance", "--key", "key.pub", "model"])
        #expect(outcome.succeeded && outcome.peakMemory < 64 << 10, "\(outcome.peakMemory) KiB, \(outcome.messages)")
    }

    @Test("A model signed by an identity verifies by it, and by no other", .localSigstore)
    func keyless() async throws {
        let place = try SigningFixture()
        defer { withExtendedLifetime(place) {} }
        try place.directory.makeDirectory("model")
        try place.directory.write("model/weights", "1")
        let signed = await place.run(
            ["sign-model", "--yes", "model"] + place.services(.both) + (try place.token()))
        try #require(signed.succeeded, "\(signed.messages)")
        let verifying = ["verify-provenance", "model"] + place.trust
        let outcome = await place.run(verifying + place.expecting(SigningFixture.alice))
        #expect(outcome.succeeded && outcome.messages.contains("alice@local.test"), "\(outcome.messages)")
        #expect(!outcome.messages.contains("not proven"))
        let other = await place.run(verifying + place.expecting(.email("bob@local.test")))
        #expect(other.code == "wrong-identity", "\(other.messages)")
    }
}

extension JSONValue {
    fileprivate var isThree: Bool { if case .number("3") = self { true } else { false } }
}
