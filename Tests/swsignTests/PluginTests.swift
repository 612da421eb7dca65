import Foundation
import SigstoreCrypto
import StrictJSON
import TestServices
import Testing

/// Keys of other programs, and this program as one.
struct PluginTests {
    let directory = TemporaryDirectory()
    private let environment: [String: String]

    init() throws {
        try directory.makeDirectory("bin")
        try directory.makeDirectory("keys")
        try directory.write("bin/sigstore-kms-test", KeyPlugin.program, mode: 0o755)
        for (name, algorithm) in [("p256", SigningAlgorithm.ecdsaP256), ("p384", .ecdsaP384), ("rsa", .rsa2048)] {
            try directory.makeKey("keys/\(name)", algorithm)
        }
        for name in ["file", "other"] { try directory.write(name, "hello kms\n") }
        environment = ["PATH": "\(directory.path)/bin:/usr/local/bin:/usr/bin:/bin", "PLUGIN_KEYS": directory["keys"]]
    }

    private func run(_ arguments: String..., manner: String = "") async -> Program.Outcome {
        await Program(
            directory: directory.path, environment: environment.merging(["PLUGIN_MANNER": manner]) { $1 }
        ).run(arguments)
    }

    /// The methods that were called since it was asked last, and the last call.
    private func calls() throws -> (methods: [String], last: String) {
        guard directory.exists("keys/calls") else { return ([], "") }
        let lines = try directory.text("keys/calls").split(separator: "\n").map(String.init)
        try FileManager.default.removeItem(atPath: directory["keys/calls"])
        let words = lines.map { $0.split(separator: " ", maxSplits: 1).map(String.init) }
        return (words.map { $0[0] }, words.last?[1] ?? "")
    }

    // MARK: - Other programs

    @Test(
        "A plugin is called as cosign calls it, once for the key and once for each signature",
        arguments: ["p256", "p384", "rsa"])
    func signing(key: String) async throws {
        let signed = await run("sign-blob", "--key", "test://\(key)", "--tlog-upload=false", "file", "other")
        #expect(signed.succeeded, "\(signed.messages)")
        let (methods, last) = try calls()
        #expect(methods == ["publicKey", "signMessage", "signMessage"])
        let (hash, number) = key == "p384" ? (HashAlgorithm.sha384, 6) : (.sha256, 5)
        let digest = Base64.encode(try Digest.hash(try directory.read("file"), hash).bytes)
        // As it was recorded of cosign 3, but for the hash function, which it never names.
        let options = #"{"keyVersion":"","remoteVerification":false}"#
        #expect(
            last
                == #"{"initOptions":{"protocolVersion":"v1","keyResourceID":"\#(key)","hashFunc":\#(number),"rpcOptions":\#(options)},"#
                + #""methodName":"signMessage","signMessage":{"signOptions":{"rpcOptions":\#(options),"#
                + #""messageOptions":{"digest":"\#(digest)"}}}}"#)
        // Verified here, by reference and by the exported key.
        let verified = await run("verify-blob", "--key", "test://\(key)", "--insecure-ignore-tlog", "file")
        #expect(verified.succeeded, "\(verified.messages)")
        #expect(try calls().methods == ["publicKey"])
        let exported = await run("public-key", "--key", "test://\(key)")
        #expect(exported.output == (try directory.text("keys/\(key).pub")))
        try directory.write("exported.pub", exported.output)
        let byKey = await run("verify-blob", "--key", "exported.pub", "--insecure-ignore-tlog", "other")
        #expect(byKey.succeeded, "\(byKey.messages)")
    }

    @Test("Every command takes a reference; many images ask for the key once, and sign once each")
    func everyCommand() async throws {
        let key = ["--key", "test://p256"]
        try directory.write("predicate", "{}")
        func must(_ arguments: [String]) async throws {
            let outcome = await Program(directory: directory.path, environment: environment).run(arguments)
            #expect(outcome.succeeded, "\(arguments): \(outcome.messages)")
        }
        let signing = key + ["--tlog-upload=false"]
        let verifying = key + ["--insecure-ignore-tlog"]
        let predicate = ["--type", "custom", "--predicate", "predicate"]
        try await must(["attest-blob"] + signing + predicate + ["--bundle", "att.json", "file"])
        try await must(
            ["verify-blob-attestation"] + verifying + ["--type", "custom", "--bundle", "att.json", "file"])
        try await must(["sign-blob"] + signing + ["--output-signature", "file.sig", "file"])
        try await must(
            ["bundle", "create"] + key + [
                "--artifact", "file", "--signature", "file.sig", "--ignore-tlog", "--out", "new.json",
            ])
        try await must(["verify-blob"] + verifying + ["--bundle", "new.json", "file"])
        var images: [String] = []
        for number in 0..<12 {
            try await directory.makeImages("layout\(number)", layer: Array("layer \(number)".utf8))
            images.append("oci-layout:layout\(number):one")
        }
        _ = try calls()
        try await must(["sign"] + signing + images)
        #expect(try calls().methods == ["publicKey"] + Array(repeating: "signMessage", count: 12))
        try await must(["verify"] + verifying + images)
        #expect(try calls().methods == ["publicKey"])
        try await must(["attest"] + signing + predicate + [images[0]])
        try await must(["verify-attestation"] + verifying + ["--type", "custom", images[0]])
    }

    @Test("A plugin makes a key once; nothing is overwritten without asking")
    func making() async throws {
        let made = await run(
            "generate-key-pair", "--kms", "test://new", "--signing-algorithm", "ecdsa-sha2-384-nistp384")
        #expect(made.succeeded && made.messages.contains("Made the key test://new (ECDSA P-384)"), "\(made.messages)")
        #expect(try calls().methods == ["publicKey", "supportedAlgorithms", "createKey"])
        #expect(try PublicKey(file: directory.read("cosign.pub")).kind == .ecP384)
        #expect(!directory.exists("cosign.key"))
        let standing = await run("generate-key-pair", "--kms", "test://other")
        #expect(standing.code == "file-exists", "\(standing.messages)")
        #expect(try calls().methods.isEmpty, "a key was made although its public key had no place")
        let again = await run("generate-key-pair", "--kms", "test://new", "--output-key-prefix", "again")
        #expect(again.succeeded && again.messages.contains("is there already"), "\(again.messages)")
        #expect(try calls().methods == ["publicKey"])
        let usual = await run("generate-key-pair", "--kms", "test://usual", "--output-key-prefix", "usual")
        #expect(usual.succeeded && usual.messages.contains("it says: there is no such key"), "\(usual.messages)")
        #expect(try calls().methods == ["publicKey", "defaultAlgorithm", "createKey"])
        for (algorithm, words) in [("ed25519", "ecdsa-p256, ecdsa-p384"), ("ecdsa-sha2-256-nistp256", "ECDSA P-384")] {
            let name = algorithm == "ed25519" ? "none" : "new"
            let refused = await run(
                "generate-key-pair", "--kms", "test://\(name)", "--signing-algorithm", algorithm, "--output-key-prefix",
                "x")
            #expect(refused.code == "key-unusable" && refused.messages.contains(words), "\(refused.messages)")
        }
        #expect(!directory.exists("x.pub"))
        // Whether there is a key, a program that does not answer has not said.
        _ = try calls()
        for manner in ["dies", "says nothing"] {
            let unanswered = await Program(
                directory: directory.path, environment: environment.merging(["PLUGIN_MANNER": manner]) { $1 }
            ).run(["generate-key-pair", "--kms", "test://unseen", "--output-key-prefix", "x"])
            #expect(!unanswered.succeeded && !directory.exists("x.pub"), "\(manner): \(unanswered.messages)")
            #expect(try calls().methods == ["publicKey"], "\(manner)")
        }
    }

    @Test(
        "What a plugin does that it should not is said, and nothing is written",
        arguments: [
            ("refuses", "key-service-failed", "token is locked"), ("says nothing", "key-service-answer", "status 7"),
            ("says too much", "key-service-failed", "said more than"),
            ("is cut short", "key-service-answer", "sigstore-kms-test"),
            ("says another thing", "key-service-answer", "publicKey"), ("dies", "key-service-failed", "signal 9"),
            ("signs another message", "key-mismatch", "ECDSA with sha256"),
        ])
    func misbehaving(manner: String, code: String, words: String) async throws {
        let outcome = await run(
            "sign-blob", "--key", "test://p256", "--tlog-upload=false", "--bundle", "b.json", "file", manner: manner)
        #expect(outcome.code == code && outcome.messages.contains(words), "\(outcome.messages)")
        #expect(outcome.messages.contains("test://p256") && !directory.exists("b.json"))
    }

    @Test("A plugin's key is not imported, and a scheme without a program is no file")
    func refused() async throws {
        let imported = await run("import-key-pair", "--key", "test://p256")
        #expect(imported.code == "unsupported-key", "\(imported.messages)")
        #expect(try calls().methods.isEmpty)
        for reference in ["absent://x", "a/b://x", "://x"] {
            let outcome = await run("public-key", "--key", reference)
            #expect(outcome.code == "unknown-key-reference", "\(outcome.messages)")
        }
        let absent = await run("public-key", "--key", "absent://x")
        #expect(absent.messages.contains("sigstore-kms-absent"), "\(absent.messages)")
    }

    @Test("key info says what a reference is, and no secret")
    func info() async throws {
        let plugin = await run("key", "info", "test://p384")
        for line in [
            "service: plugin sigstore-kms-test", "key: p384", "algorithm: ECDSA P-384",
            "program: \(directory["bin/sigstore-kms-test"])",
        ] { #expect(plugin.output.contains(line + "\n"), "\(plugin.output)\(plugin.messages)") }
        let hint = try PublicKey(file: directory.read("keys/p256.pub")).hint()
        for (name, holds) in [("p256.pub", "a public key"), ("p256.pem", "a private key")] {
            let file = await run("key", "info", "keys/\(name)", "--output", "json")
            let facts = try #require(try file.objects().first).member("facts").elements()
            var found: [String: String] = [:]
            for fact in facts { found[try fact.member("name").string()] = try fact.member("value").string() }
            #expect(found["holds"] == holds && found["hint"] == hint && found["algorithm"] == "ECDSA P-256")
        }
    }

    // MARK: - This program as a plugin

    /// Calls this program as a plugin.
    private func ask(_ name: String, _ call: String, message: String = "", _ more: [String: String] = [:]) async throws
        -> JSONCursor
    {
        let link = "bin/sigstore-kms-\(name)"
        if !directory.exists(link) {
            try FileManager.default.createSymbolicLink(atPath: directory[link], withDestinationPath: Program.path)
        }
        var program = Program(directory: directory.path, environment: environment.merging(more) { $1 })
        program.executable = directory[link]
        let outcome = await program.run(["v1", call], input: .text(message))
        return try #require(try outcome.objects().first, "\(outcome.messages)")
    }

    private func call(_ method: String, _ arguments: String, of resource: String) -> String {
        #"{"initOptions":{"ctxDeadline":"2026-11-25T22:27:25.403655122Z","protocolVersion":"v1","keyResourceID":"\#(resource)","hashFunc":5,"#
            + #""rpcOptions":{"keyVersion":"","remoteVerification":false}},"methodName":"\#(method)","\#(method)":\#(arguments)}"#
    }

    @Test("As sigstore-kms-swsign it signs with any key, over the digest that it is given, or by the message")
    func serving() async throws {
        let message = "hello kms\n"
        for (key, digest, hash) in [
            ("p256", "\"\(Base64.encode(try Digest.sha256(Array(message.utf8)).bytes))\"", HashAlgorithm.sha256),
            ("p384", "\"\(Base64.encode(try Digest.hash(Array(message.utf8), .sha384).bytes))\"", .sha384),
            ("p384", "null", .sha256), ("rsa", "null", .sha256),
        ] {
            let answer = try await ask(
                "swsign",
                call(
                    "signMessage", #"{"signOptions":{"messageOptions":{"digest":\#(digest)}}}"#, of: "keys/\(key).pem"),
                message: message)
            let signature = try answer.member("signMessage").member("signature").bytes()
            let publicKey = try PublicKey(file: directory.read("keys/\(key).pub"))
            let scheme = key == "rsa" ? SignatureScheme.rsaPKCS1(hash) : .ecdsa(hash)
            #expect(try publicKey.verifies(signature, ofBytes: Array(message.utf8), scheme: scheme))
            let verify = call(
                "verifySignature", #"{"signature":"\#(Base64.encode(signature))","verifyOptions":{}}"#,
                of: "keys/\(key).pub")
            #expect(try await ask("swsign", verify, message: message).optional("verifySignature") != nil)
            let wrong = try await ask("swsign", verify, message: "another")
            #expect(try wrong.member("errorMessage").string().contains("[invalid-signature]"))
        }
        let environment = ["MY_KEY": try directory.text("keys/p256.pem")]
        let key = try await ask("swsign", call("publicKey", "{}", of: "env://MY_KEY"), environment)
        #expect(
            try key.member("publicKey").member("publicKeyPEM").bytes() == directory.read("keys/p256.pub"))
    }

    @Test("As a plugin it refuses what it cannot do by words, and asks no other plugin")
    func servingRefused() async throws {
        let other = "\"\(Base64.encode(try Digest.sha256([1]).bytes))\""
        for (name, resource, method, arguments, words) in [
            ("swsign", "none.key", "publicKey", "{}", "[file-not-found]"),
            ("swsign", "-", "publicKey", "{}", "standard input"),
            ("swsign", "test://p256", "publicKey", "{}", "[unknown-key-reference]"),
            ("test2", "test2://p256", "publicKey", "{}", "[unknown-key-reference]"),
            (
                "swsign", "keys/p256.pem", "signMessage", #"{"signOptions":{"messageOptions":{"digest":\#(other)}}}"#,
                "another one"
            ),
            ("swsign", "keys/p256.pem", "somethingElse", "{}", "somethingElse"),
            ("swsign", "keys/p256.pem", "createKey", #"{"algorithm":"ed25519"}"#, "[usage]"),
            ("k8s", "name", "publicKey", "{}", "[unknown-key-reference]"),
        ] {
            let answer = try await ask(
                name, call(method, arguments, of: resource), message: method == "signMessage" ? "x" : "")
            #expect(try answer.member("errorMessage").string().contains(words), "\(resource): \(words)")
        }
        #expect(try calls().methods.isEmpty)
        let broken = try await ask("swsign", "{")
        #expect(try broken.member("errorMessage").string().contains("[malformed-json]"))
    }
}
