import FaultServer
import Foundation
import SigstoreCrypto
import StrictJSON
import TestServices
import Testing

/// Keys in AWS KMS, with the real program and moto's server.
@Suite(
    "Keys in AWS KMS",
    .enabled(if: KeyManagementServer.isThere, "left out: moto's AWS KMS, by make test-deps and ../shared/keys/fakes"))
struct AWSKeyTests {
    private let fixture: KeyServiceFixture
    private let address: String
    private var directory: TemporaryDirectory { fixture.directory }

    init() throws {
        let server = try KeyManagementServer.running()
        address = server.url
        fixture = try KeyServiceFixture { _ in server.environment }
    }

    private func swsign(_ arguments: [String], _ more: [String: String] = [:]) async -> Program.Outcome {
        await fixture.swsign(arguments, more)
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
        let detached = try await fixture.expectSigns(
            key, away: ["AWS_ENDPOINT_URL": "http://127.0.0.1:1"], openssl: ["-\(hash)"])
        #expect(detached.messages.contains("stands by itself is ECDSA with \(hash)") == (hash != "sha256"))
        // What is made is kept.
        let again = await swsign(["generate-key-pair", "--kms", key, "--output-key-prefix", "again"])
        #expect(again.succeeded, "\(again.messages)")
        #expect(try directory.text("again.pub") == directory.text("cosign.pub"))
    }

    @Test("Images are signed and attested, and one look-up of the key is enough for many")
    func images() async throws {
        let (signed, verified) = try await fixture.expectSignsImages("awskms:///alias/swsign-images")
        #expect(signed.lines(with: "POST \(address)/") == 4, "\(signed.messages)")
        #expect(verified.map { $0.lines(with: "POST \(address)/") } == [1], "\(verified)")
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

    @Test("A service with a certificate of nobody known, and answers that cannot be, are refused")
    func transport() async throws {
        let key = "awskms:///alias/x"
        // A server with a certificate: those of Azure.
        let secured = [
            "AWS_ENDPOINT_URL": "https://kms.vault.azure.net", "HTTPS_PROXY": try AzureServices.running().url,
        ]
        await fixture.expectUntrusted(key, host: "kms.vault.azure.net", secured)
        await fixture.expectRefusesAnswers(key) { ["AWS_ENDPOINT_URL": $0] }
    }

    @Test("A signature by another key is refused, with service, key, algorithm and hash")
    func otherKey() async throws {
        let (shown, other) = (try PrivateKey.generate(.ecdsaP256), try PrivateKey.generate(.ecdsaP256))
        let (key, signature) = (
            Base64.encode(shown.publicKey.spki), Base64.encode(try fixture.signature(by: other))
        )
        let id = "arn:aws:kms:us-east-1:000000000000:key/9932cde6-6bc6-4f84-a155-9bbd4dc23210"
        let server = FaultServer { request, connection in
            connection.respond(
                200, ["Content-Type: application/x-amz-json-1.1"],
                request.header("x-amz-target") == "TrentService.Sign"
                    ? #"{"KeyId":"\#(id)","Signature":"\#(signature)","SigningAlgorithm":"ECDSA_SHA_256"}"#
                    : #"{"KeyId":"\#(id)","KeyUsage":"SIGN_VERIFY","KeySpec":"ECC_NIST_P256","PublicKey":"\#(key)","#
                        + #""SigningAlgorithms":["ECDSA_SHA_256"]}"#)
        }
        defer { server.stop() }
        await fixture.expectRefused(
            "awskms:///alias/release", ["AWS_ENDPOINT_URL": server.url], "key-mismatch",
            ["AWS KMS", "9932cde6", "ECDSA with sha256"])
        #expect(server.requests.count == 2)
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
