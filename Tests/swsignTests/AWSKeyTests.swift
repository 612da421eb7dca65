import FaultServer
import Foundation
import TestServices
import Testing

/// Keys in AWS KMS, with the real program and moto's server.
@Suite(
    "Keys in AWS KMS",
    .enabled(if: KeyManagementServer.isThere, "left out: moto's AWS KMS, by make test-deps and ../shared/keys/fakes"))
struct AWSKeyTests {
    private let directory = TemporaryDirectory()
    private let environment: [String: String]

    init() throws {
        environment = try KeyManagementServer.running().environment
        try directory.write("file", "the release")
        try directory.write("predicate.json", "{}")
    }

    private func swsign(_ arguments: [String], _ more: [String: String] = [:]) async -> Program.Outcome {
        await Program(directory: directory.path, environment: environment.merging(more) { $1 }).run(arguments)
    }

    @Test(
        "A file and an attestation are signed, and verified by reference, by the exported key and by openssl",
        arguments: [
            ("ecdsa-sha2-256-nistp256", "sha256"), ("ecdsa-sha2-384-nistp384", "sha384"),
            ("ecdsa-sha2-512-nistp521", "sha512"), ("rsa-sign-pkcs1-2048-sha256", "sha256"),
            ("rsa-sign-pkcs1-4096-sha256", "sha256"),
        ])
    func everyKind(_ algorithm: String, _ hash: String) async throws {
        let key = "awskms:///alias/swsign-\(algorithm)"
        let made = await swsign(["generate-key-pair", "--kms", key, "--signing-algorithm", algorithm])
        #expect(made.succeeded, "\(made.messages)")
        let away = ["AWS_ENDPOINT_URL": "http://127.0.0.1:1"]
        for (sign, verify) in [
            (["sign-blob"], ["verify-blob"]),
            (
                ["attest-blob", "--type", "custom", "--predicate", "predicate.json"],
                ["verify-blob-attestation", "--type", "custom"]
            ),
        ] {
            let signed = await swsign(
                sign + ["--key", key, "--tlog-upload=false", "--yes", "--bundle", "b.json", "file"])
            #expect(signed.succeeded, "\(signed.messages)")
            for given in [key, "cosign.pub"] {
                let verified = await swsign(
                    verify + ["--key", given, "--insecure-ignore-tlog", "--bundle", "b.json", "file"],
                    given == key ? [:] : away)
                #expect(verified.succeeded, "\(verified.messages)")
            }
        }
        // What is made is kept, and signed alone too.
        let again = await swsign(["generate-key-pair", "--kms", key, "--output-key-prefix", "again"])
        #expect(again.succeeded, "\(again.messages)")
        #expect(try directory.text("again.pub") == directory.text("cosign.pub"))
        let detached = await swsign(
            [
                "sign-blob", "--key", key, "--tlog-upload=false", "--new-bundle-format=false", "--output-signature",
                "sig", "file",
            ])
        #expect(detached.succeeded, "\(detached.messages)")
        #expect(detached.messages.contains("stands by itself is ECDSA with \(hash)") == (hash != "sha256"))
        let signature = try #require(
            Data(base64Encoded: try directory.text("sig").replacingOccurrences(of: "\n", with: "")))
        try directory.write("sig.der", Array(signature))
        var openssl = Program(directory: directory.path)
        openssl.executable = "/usr/bin/openssl"
        let checked = await openssl.run(["dgst", "-\(hash)", "-verify", "cosign.pub", "-signature", "sig.der", "file"])
        #expect(checked.succeeded, "\(checked.messages)")
    }

    @Test("Images are signed and attested, and one look-up of the key is enough for many")
    func images() async throws {
        let key = "awskms:///alias/swsign-images"
        #expect(await swsign(["generate-key-pair", "--kms", key]).succeeded)
        let layout = try await ImageFixture()
        let images = try await [layout.push(tag: "1"), layout.push(tag: "2"), layout.push(tag: "3")]
        let names = images.map { "\(layout.repository)@\($0.digest)" }
        let signed = await swsign(["sign", "--verbose", "--key", key, "--tlog-upload=false"] + names)
        #expect(signed.succeeded, "\(signed.messages)")
        func asked(_ outcome: Program.Outcome) throws -> Int {
            let address = try #require(environment["AWS_ENDPOINT_URL"])
            return outcome.messages.components(separatedBy: "\n").filter { $0.contains("POST \(address)/") }.count
        }
        #expect(try asked(signed) == 4, "\(signed.messages)")
        let verified = await swsign(["verify", "--verbose", "--key", key, "--insecure-ignore-tlog"] + names)
        #expect(verified.succeeded, "\(verified.messages)")
        #expect(try asked(verified) == 1, "\(verified.messages)")
        let attest = ["--key", key, "--type", "custom"]
        let attested = await swsign(
            ["attest", "--tlog-upload=false", "--predicate", "predicate.json"] + attest + [names[0]])
        #expect(attested.succeeded, "\(attested.messages)")
        let held = await swsign(["verify-attestation", "--insecure-ignore-tlog"] + attest + [names[0]])
        #expect(held.succeeded, "\(held.messages)")
    }

    @Test("A role of a profile signs, and its secrets are in no message")
    func profile() async throws {
        let key = "awskms:///alias/swsign-profile"
        #expect(await swsign(["generate-key-pair", "--kms", key]).succeeded)
        try directory.makeDirectory("home/.aws")
        try directory.write(
            "home/.aws/config",
            """
            [profile work]
            role_arn = arn:aws:iam::123456789012:role/signer
            source_profile = base
            [profile base]
            credential_process = echo '{"Version":1,"AccessKeyId":"AKIDBASE","SecretAccessKey":"hidden-secret"}'
            """)
        let variables = [
            "AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": "", "AWS_PROFILE": "work", "HOME": directory["home"],
        ]
        let outcome = await swsign(
            ["sign-blob", "--verbose", "--key", key, "--tlog-upload=false", "--yes", "--bundle", "b.json", "file"],
            variables)
        #expect(outcome.succeeded, "\(outcome.messages)")
        let info = await swsign(["key", "info", key], variables)
        #expect(
            info.output.contains("the role arn:aws:iam::123456789012:role/signer, taken with credential_process"),
            "\(info.output)\(info.messages)")
        #expect(info.output.contains("arn:aws:sts::123456789012:assumed-role/signer/"), "\(info.output)")
        for text in [outcome.messages, outcome.output, info.output, info.messages] {
            #expect(!text.contains("hidden-secret"))
        }
    }

    @Test("What is missing or refused is said before anything is written")
    func refusals() async throws {
        let sign = ["sign-blob", "--tlog-upload=false", "--yes", "--bundle", "none.json", "--key"]
        let denied = FaultServer { _, connection in
            connection.respond(
                400, ["Content-Type: application/x-amz-json-1.1"],
                #"{"__type":"AccessDeniedException","message":"User: arn:aws:iam::1:user/b\u001b[31m is not authorized"}"#
            )
        }
        defer { denied.stop() }
        for (reference, more, code, words) in [
            ("awskms:///alias/none", [:], "key-not-found", "alias/none"),
            ("awskms://alias/x", [:], "unknown-key-reference", "awskms:///alias/x"),
            (
                "awskms:///alias/x", ["AWS_ENDPOINT_URL": denied.url], "key-denied",
                "the permission kms:GetPublicKey is missing on alias/x"
            ),
            (
                "awskms:///alias/x", ["AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": "", "HOME": "/nonexistent"],
                "key-service-settings", "AWS_EC2_METADATA_DISABLED is true"
            ),
            ("awskms:///alias/x", ["AWS_PROFILE": "none"], "key-service-settings", "AWS_PROFILE names the profile"),
        ] as [(String, [String: String], String, String)] {
            let outcome = await swsign(sign + [reference, "file"], more)
            #expect(!outcome.succeeded && outcome.code == code, "\(outcome.messages)")
            #expect(outcome.messages.contains(words) && !outcome.messages.contains("\u{1b}"), "\(outcome.messages)")
            #expect(!FileManager.default.fileExists(atPath: directory["none.json"]))
        }
    }
}
