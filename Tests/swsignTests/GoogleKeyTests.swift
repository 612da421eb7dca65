import FaultServer
import Foundation
import HTTPTransport
import SigstoreCrypto
import StrictJSON
import TestServices
import Testing

/// Keys in Google Cloud KMS, with the real program and a server that is held to recorded exchanges.
@Suite(
    "Keys in Google Cloud KMS",
    .enabled(if: KeyServices.folder != nil, "left out: the servers of key services, in ../shared/keys/fakes"))
struct GoogleKeyTests {
    private let fixture: KeyServiceFixture
    private let address: String
    private var directory: TemporaryDirectory { fixture.directory }
    private static let ring = "projects/proj/locations/global/keyRings/swsign"

    init() throws {
        let address = "http://127.0.0.1:\(try KeyServices.running().port)"
        self.address = address
        fixture = try KeyServiceFixture { _ in
            [
                "CLOUDSDK_API_ENDPOINT_OVERRIDES_CLOUDKMS": address,
                "GOOGLE_OAUTH_ACCESS_TOKEN": "ya29.of-the-variable",
            ]
        }
    }

    private func swsign(_ arguments: [String], _ more: [String: String] = [:]) async -> Program.Outcome {
        await fixture.swsign(arguments, more)
    }

    private func key(_ name: String) -> String { "gcpkms://\(Self.ring)/cryptoKeys/\(name)" }

    /// Has the service do something that the program never asks for.
    private func post(_ path: String, query: String? = nil, _ body: String) async throws {
        let url = try HTTPURL(HTTPURL(parsing: address).origin, path: "/v1/\(path)", query: query)
        _ = try await CurlClient().send(
            HTTPRequest(
                "POST", url, headers: [(name: "Content-Type", value: "application/json")],
                authorization: Authorization(scheme: "Bearer", "test".utf8), body: .bytes(Array(body.utf8))))
    }

    @Test(
        "A file and an attestation are signed, and verified by reference, by the exported key and by openssl",
        arguments: [
            ("EC_SIGN_P256_SHA256", "ecdsa-sha2-256-nistp256", ["-sha256"]),
            ("EC_SIGN_P384_SHA384", "ecdsa-sha2-384-nistp384", ["-sha384"]),
            ("EC_SIGN_ED25519", "ed25519", []),
            ("RSA_SIGN_PKCS1_2048_SHA256", "rsa-sign-pkcs1-2048-sha256", ["-sha256"]),
            ("RSA_SIGN_PKCS1_4096_SHA512", nil, ["-sha512"]),
            ("RSA_SIGN_PSS_2048_SHA256", nil, ["-sha256", "-sigopt", "rsa_padding_mode:pss"]),
            ("RSA_SIGN_PSS_4096_SHA512", nil, ["-sha512", "-sigopt", "rsa_padding_mode:pss"]),
        ] as [(String, String?, [String])])
    func everyKind(_ name: String, _ algorithm: String?, _ check: [String]) async throws {
        let key = key(name)
        if let algorithm {
            let made = await swsign(["generate-key-pair", "--kms", key, "--signing-algorithm", algorithm])
            #expect(made.succeeded, "\(made.messages)")
        } else {
            // Google has kinds of keys that no name of cosign's stands for.
            try await post(
                "\(Self.ring)/cryptoKeys", query: "cryptoKeyId=\(name)",
                #"{"purpose":"ASYMMETRIC_SIGN","versionTemplate":{"algorithm":"\#(name)"}}"#)
            #expect(await swsign(["public-key", "--key", key, "--outfile", "cosign.pub"]).succeeded)
        }
        try await fixture.expectSigns(
            key, also: ["\(key)/versions/1"], away: ["CLOUDSDK_API_ENDPOINT_OVERRIDES_CLOUDKMS": "http://127.0.0.1:1"],
            openssl: check)
        let facts = await swsign(["key", "info", key])
        for line in [
            "service: Google Cloud KMS, \(address)", "key: \(Self.ring)/cryptoKeys/\(name)", "version: 1",
            "signs as: \(name) (", "hash: ", "credentials: the token in the variable GOOGLE_OAUTH_ACCESS_TOKEN",
        ] { #expect(facts.output.contains(line), "\(line): \(facts.output)") }
        #expect(!facts.output.contains("ya29"))
    }

    @Test("Images are signed and attested, and one look-up of the key is enough for many")
    func images() async throws {
        let key = key("images")
        let (signed, verified) = try await fixture.expectSignsImages(key, also: "\(key)/cryptoKeyVersions/1")
        let service = "\(address)/v1/"
        #expect(signed.lines(with: service, "/publicKey") == 1, "\(signed.messages)")
        #expect(signed.lines(with: service, ":asymmetricSign") == 3, "\(signed.messages)")
        // Without the version, the list of versions is asked for too.
        #expect(verified.map { $0.lines(with: service) } == [2, 1], "\(verified)")
    }

    @Test("A new version signs, and what the older one signed holds too; both are one signer")
    func rotation() async throws {
        let key = key("rotated")
        #expect(await swsign(["generate-key-pair", "--kms", key]).succeeded)
        let again = await swsign(["generate-key-pair", "--kms", key, "--output-key-prefix", "again"])
        #expect(again.succeeded && again.messages.contains("is there already"), "\(again.messages)")
        let sign = ["sign-blob", "--key", key, "--tlog-upload=false", "--bundle"]
        #expect(await swsign(sign + ["1.json", "file"]).succeeded)
        try await post("\(Self.ring)/cryptoKeys/rotated/cryptoKeyVersions", "{}")
        #expect(await swsign(sign + ["2.json", "file"]).succeeded)
        let verify = ["verify-blob", "--insecure-ignore-tlog", "--bundle"]
        for (bundle, given, holds) in [
            ("1.json", key, true), ("2.json", key, true), ("1.json", "\(key)/versions/1", true),
            ("1.json", "\(key)/versions/2", false), ("2.json", "\(key)/cryptoKeyVersions/2", true),
        ] {
            let outcome = await swsign(verify + [bundle, "--key", given, "file"])
            #expect(outcome.succeeded == holds, "\(bundle), \(given): \(outcome.messages)")
        }
        let two = await swsign([
            "verify-blob", "--insecure-ignore-tlog", "--threshold", "2", "--key", "\(key)/versions/1", "--key",
            "\(key)/versions/2", "file",
        ])
        #expect(two.code == "usage", "\(two.messages)")
        let json = await swsign(verify + ["2.json", "--key", key, "-o", "json", "file"])
        #expect(
            json.output.contains(#""trustVariables":["CLOUDSDK_API_ENDPOINT_OVERRIDES_CLOUDKMS"]"#), "\(json.output)")
    }

    @Test("Each kind of credentials signs, says whose it is, and its secrets are in no message")
    func credentials() async throws {
        let key = key("credentials")
        #expect(await swsign(["generate-key-pair", "--kms", key]).succeeded)
        let pair = try PrivateKey.generate(.rsa2048)
        let pem = try unsafe pair.pkcs8().withBytes { unsafe PEM.encode(label: "PRIVATE KEY", Array($0)) }
        let account = #"""
            {"type":"service_account","client_email":"signer@proj.test","private_key_id":"kid1",
            "private_key":"\#(pem.replacing("\n", with: "\\n"))"}
            """#
        let impersonation =
            #""service_account_impersonation_url":"\#(address)/v1/projects/-/serviceAccounts/acted@proj.test:generateAccessToken""#
        try directory.write("token", "secret-subject")
        for (name, file, identity) in [
            ("service_account", account, "signer@proj.test"),
            (
                "authorized_user",
                #"{"type":"authorized_user","client_id":"c","client_secret":"secret-client","refresh_token":"secret-refresh","token_uri":"\#(address)/token"}"#,
                nil
            ),
            (
                "external_account",
                #"{"type":"external_account","audience":"//x","subject_token_type":"t","token_url":"\#(address)/v1/token","credential_source":{"file":"token"},\#(impersonation)}"#,
                "acted@proj.test"
            ),
            (
                "impersonated_service_account",
                #"{"type":"impersonated_service_account","source_credentials":\#(account),\#(impersonation)}"#,
                "acted@proj.test"
            ), ("metadata service", "", nil),
        ] {
            try directory.write("credentials.json", file)
            var more = ["GOOGLE_OAUTH_ACCESS_TOKEN": "", "HOME": directory.path]
            if file.isEmpty {
                more["GCE_METADATA_HOST"] = String(address.dropFirst("http://".count))
            } else {
                more["GOOGLE_APPLICATION_CREDENTIALS"] = directory["credentials.json"]
            }
            let signed = await swsign(
                ["sign-blob", "--verbose", "--key", key, "--tlog-upload=false", "--bundle", "b.json", "file"], more)
            #expect(signed.succeeded, "\(name): \(signed.messages)")
            let facts = await swsign(["key", "info", key], more)
            #expect(facts.output.contains(name))
            if let identity { #expect(facts.output.contains("identity: \(identity)\n"), "\(facts.output)") }
            for secret in ["secret-", "ya29", "eyJ", "PRIVATE"] {
                #expect(!signed.messages.contains(secret) && !facts.output.contains(secret), "\(secret)")
            }
        }
    }

    @Test("A machine's metadata service that is just starting is waited for")
    func startingMachine() async throws {
        let metadata = FaultServer { request, connection in
            let fields = ["Metadata-Flavor: Google", "Content-Type: application/json"]
            guard request.number > 0 else { return connection.respond(503, fields, "") }
            let isEmail = request.path.hasSuffix("/email")
            connection.respond(200, fields, isEmail ? "sa@proj" : #"{"access_token":"ya29.m","expires_in":3599}"#)
        }
        defer { metadata.stop() }
        #expect(await swsign(["generate-key-pair", "--kms", key("starting")]).succeeded)
        let info = await swsign(
            ["key", "info", key("starting")],
            [
                "GOOGLE_OAUTH_ACCESS_TOKEN": "", "HOME": directory.path,
                "GCE_METADATA_HOST": String(metadata.url.dropFirst("http://".count)),
            ])
        #expect(info.output.contains("identity: sa@proj\n"), "\(info.output)\(info.messages)")
        #expect(metadata.requests.count == 3)
    }

    @Test("A signature by another key is refused, with service, version, algorithm and hash")
    func otherKey() async throws {
        let key = key("signs-with-another")
        #expect(await swsign(["generate-key-pair", "--kms", key]).succeeded)
        let outcome = await swsign(["sign-blob", "--key", key, "--tlog-upload=false", "--bundle", "none.json", "file"])
        #expect(outcome.code == "key-mismatch" && !directory.exists("none.json"), "\(outcome.messages)")
        for words in ["Google Cloud KMS", "signs-with-another/cryptoKeyVersions/1", "EC_SIGN_P256_SHA256", "sha256"] {
            #expect(outcome.messages.contains(words), "\(outcome.messages)")
        }
    }

    @Test("A service with a certificate of nobody known, and answers that cannot be, are refused")
    func transport() async throws {
        let name = "CLOUDSDK_API_ENDPOINT_OVERRIDES_CLOUDKMS"
        // A server with a certificate: those of Azure.
        let secured = [name: "https://kms.vault.azure.net", "HTTPS_PROXY": try AzureServices.running().url]
        await fixture.expectUntrusted(key("x"), host: "kms.vault.azure.net", secured)
        await fixture.expectRefusesAnswers(key("x")) { [name: $0] }
    }

    @Test("What is missing or refused is said before anything is written")
    func refusals() async throws {
        let denied = FaultServer { _, connection in
            connection.respond(
                403, ["Content-Type: application/json"],
                #"{"error":{"code":403,"status":"PERMISSION_DENIED","message":"Permission denied on \u001b[31m it"}}"#)
        }
        defer { denied.stop() }
        let sign = ["sign-blob", "--tlog-upload=false", "--bundle", "none.json", "--key"]
        for (reference, more, code, words) in [
            (key("none"), [:], "key-not-found", "\(Self.ring)/cryptoKeys/none"),
            ("gcpkms:\(Self.ring)/cryptoKeys/x", [:], "unknown-key-reference", key("x")),
            ("\(Self.ring)/cryptoKeys/x", [:], "unknown-key-reference", key("x")),
            (
                "\(key("x"))/versions/1", ["CLOUDSDK_API_ENDPOINT_OVERRIDES_CLOUDKMS": denied.url], "key-denied",
                "the permission cloudkms.cryptoKeyVersions.viewPublicKey is missing on"
            ),
            (
                key("x"), ["GOOGLE_OAUTH_ACCESS_TOKEN": "", "HOME": "/nonexistent", "NO_GCE_CHECK": "true"],
                "key-service-settings", "gcloud auth application-default login"
            ),
            (
                key("x"), ["GOOGLE_OAUTH_ACCESS_TOKEN": "", "GOOGLE_APPLICATION_CREDENTIALS": "/nonexistent"],
                "key-service-settings", "named by GOOGLE_APPLICATION_CREDENTIALS"
            ),
        ] as [(String, [String: String], String, String)] {
            let outcome = await swsign(sign + [reference, "file"], more)
            #expect(!outcome.succeeded && outcome.code == code, "\(outcome.messages)")
            #expect(outcome.messages.contains(words) && !outcome.messages.contains("\u{1b}"), "\(outcome.messages)")
            #expect(!directory.exists("none.json"))
        }
        let offline = await swsign(
            ["verify-blob", "--offline", "--key", key("x"), "--insecure-ignore-tlog", "--bundle", "b.json", "file"],
            ["CLOUDSDK_API_ENDPOINT_OVERRIDES_CLOUDKMS": denied.url])
        #expect(offline.code == "usage" && denied.requests.count == 1, "\(offline.messages)")
    }
}
