import FaultServer
import Foundation
import HTTPTransport
import SigstoreCrypto
import StrictJSON
import TestServices
import Testing

/// Keys in Vault or OpenBao, with the real program and a server that is held to recorded exchanges.
@Suite(
    "Keys in Vault",
    .enabled(if: KeyServices.folder != nil, "left out: the servers of key services, in ../shared/keys/fakes"))
struct VaultKeyTests {
    private let fixture: KeyServiceFixture
    private let services: KeyServices
    private var directory: TemporaryDirectory { fixture.directory }

    init() throws {
        let services = try KeyServices.running()
        self.services = services
        fixture = try KeyServiceFixture { _ in
            ["VAULT_ADDR": "http://127.0.0.1:\(services.port)", "VAULT_TOKEN": "test-root"]
        }
    }

    private func swsign(_ arguments: [String], _ more: [String: String] = [:]) async -> Program.Outcome {
        await fixture.swsign(arguments, more)
    }

    @Test(
        "A file and an attestation are signed, and verified by reference, by the exported key and by openssl",
        arguments: [
            // What stands alone is over SHA-256, if the key can sign so: that is what a file without a bundle is taken for.
            ("ecdsa-sha2-256-nistp256", ["-sha256"]), ("ecdsa-sha2-384-nistp384", ["-sha256"]),
            ("ecdsa-sha2-512-nistp521", ["-sha256"]), ("ed25519", []), ("rsa-sign-pkcs1-2048-sha256", ["-sha256"]),
        ])
    func everyKind(_ algorithm: String, _ check: [String]) async throws {
        let key = "hashivault://file-\(algorithm)"
        let made = await swsign(["generate-key-pair", "--kms", key, "--signing-algorithm", algorithm])
        #expect(made.succeeded, "\(made.messages)")
        try await fixture.expectSigns(key, away: ["VAULT_ADDR": "http://127.0.0.1:1"], openssl: check)
    }

    @Test("Images are signed and attested, and one look-up of the key is enough for many")
    func images() async throws {
        let (_, verified) = try await fixture.expectSignsImages("openbao://images")
        #expect(verified.map { $0.lines(with: "/v1/transit/") } == [1], "\(verified)")
    }

    @Test("After a rotation both versions' signatures hold, and count as one signer")
    func rotation() async throws {
        let key = "hashivault://rotated"
        #expect(await swsign(["generate-key-pair", "--kms", key]).succeeded)
        let sign = ["sign-blob", "--key", key, "--tlog-upload=false", "--yes", "--bundle"]
        #expect(await swsign(sign + ["1.json", "file"]).succeeded)
        let url = try HTTPURL(parsing: "http://127.0.0.1:\(services.port)/v1/transit/keys/rotated/rotate")
        _ = try await CurlClient().send(
            HTTPRequest(
                "PUT", url, headers: [("X-Vault-Request", "true")],
                authorization: Authorization(field: "X-Vault-Token", Array("test-root".utf8))))
        #expect(await swsign(sign + ["2.json", "file"]).succeeded)
        let verify = ["verify-blob", "--insecure-ignore-tlog", "--bundle"]
        for bundle in ["1.json", "2.json"] {
            let outcome = await swsign(verify + [bundle, "--key", key, "file"])
            #expect(outcome.succeeded, "\(outcome.messages)")
        }
        // A version that is named is the only one.
        for (bundle, version) in [("2.json", 1), ("1.json", 2)] {
            let other = await swsign(verify + [bundle, "--key", "\(key)?version=\(version)", "file"])
            #expect(!other.succeeded && other.messages.contains("[wrong-key]"), "\(other.messages)")
        }
        #expect(await swsign(verify + ["1.json", "--key", key + "?version=1", "file"]).succeeded)
        try directory.write(
            "file.sigstore.jsonl",
            try ["1.json", "2.json"].map { try directory.text($0).replacing("\n", with: "") + "\n" }.joined())
        try directory.makeKey("other")
        // Neither a version that is named, nor the file that an older one was exported to, is another signer.
        #expect(await swsign(["public-key", "--key", key + "?version=1", "--outfile", "old.pub"]).succeeded)
        for same in [key + "?version=1", "old.pub"] {
            let refused = await swsign(
                ["verify-blob", "--insecure-ignore-tlog", "--threshold", "2", "--key", same, "--key", key, "file"])
            #expect(!refused.succeeded && refused.messages.contains("[usage]"), "\(refused.messages)")
        }
        let versions = await swsign(
            [
                "verify-blob", "--insecure-ignore-tlog", "--threshold", "2", "--key", key + "?version=1", "--key",
                key + "?version=2", "file",
            ])
        #expect(!versions.succeeded && versions.messages.contains("[usage]"), "\(versions.messages)")
        let two = await swsign(
            ["verify-blob", "--insecure-ignore-tlog", "--threshold", "2", "--key", key, "--key", "other.pub", "file"])
        #expect(!two.succeeded && two.messages.contains("[too-few-signers]"), "\(two.messages)")
    }

    @Test("Success names the variables that said where the key is")
    func trustVariables() async throws {
        #expect(await swsign(["generate-key-pair", "--kms", "hashivault://named"]).succeeded)
        #expect(
            await swsign([
                "sign-blob", "--key", "hashivault://named", "--tlog-upload=false", "--bundle", "b.json", "file",
            ])
            .succeeded)
        let verified = await swsign(
            [
                "verify-blob", "-o", "json", "--key", "hashivault://named", "--insecure-ignore-tlog", "--bundle",
                "b.json", "file",
            ])
        #expect(verified.output.contains(#""trustVariables":["VAULT_ADDR"]"#), "\(verified.output)")
    }

    @Test("Authorities that a variable or a folder holds are believed, and no other ones")
    func authorities() async throws {
        // A server with a certificate: those of Azure answer as Vault too.
        let secured = try AzureServices.running()
        let place = ["VAULT_ADDR": "https://server.vault.azure.net", "HTTPS_PROXY": secured.url]
        try directory.makeDirectory("authorities/more")
        try directory.write("authorities/notes", "no certificate")
        let arguments = ["generate-key-pair", "--kms", "hashivault://secured", "--output-key-prefix"]
        let empty = await swsign(arguments + ["a"], place.merging(["VAULT_CAPATH": "authorities"]) { $1 })
        #expect(empty.code == "key-service-settings", "\(empty.messages)")
        try directory.write("authorities/ca.pem", secured.authority)
        for (number, more) in [["VAULT_CACERT_BYTES": secured.authority], ["BAO_CAPATH": "authorities"]].enumerated() {
            let outcome = await swsign(arguments + ["key\(number)"], place.merging(more) { $1 })
            #expect(outcome.succeeded, "\(outcome.messages)")
        }
        for more in [
            [:], ["VAULT_CACERT": "/etc/ssl/certs/ca-certificates.crt", "VAULT_CACERT_BYTES": secured.authority],
        ] {
            let outcome = await swsign(arguments + ["none"], place.merging(more) { $1 })
            #expect(outcome.code == "tls-failed", "\(outcome.messages)")
        }
    }

    @Test("A service with a certificate of nobody known, and answers that cannot be, are refused")
    func transport() async throws {
        // A server with a certificate: those of Azure.
        let secured = ["VAULT_ADDR": "https://kms.vault.azure.net", "HTTPS_PROXY": try AzureServices.running().url]
        await fixture.expectUntrusted("hashivault://x", host: "kms.vault.azure.net", secured)
        await fixture.expectRefusesAnswers("hashivault://x") { ["VAULT_ADDR": $0] }
    }

    @Test("A signature by another key is refused, with service, version and hash")
    func otherKey() async throws {
        let (shown, other) = (try PrivateKey.generate(.ecdsaP256), try PrivateKey.generate(.ecdsaP256))
        let key = JSONValue.object(["public_key": .string(shown.publicKey.pem)]).serialized()
        let signature = Base64.encode(try fixture.signature(by: other))
        let server = FaultServer { request, connection in
            connection.respond(
                200, [],
                request.target.contains("/sign/")
                    ? #"{"data":{"signature":"vault:v1:\#(signature)"}}"#
                    : #"{"data":{"type":"ecdsa-p256","keys":{"1":\#(String(decoding: key, as: UTF8.self))}}}"#)
        }
        defer { server.stop() }
        await fixture.expectRefused(
            "hashivault://release", ["VAULT_ADDR": server.url], "key-mismatch",
            ["transit, key release, version 1", "ECDSA with sha256"])
        #expect(server.requests.count == 2)
    }

    @Test("A token that may not use the key says which policy is missing, and nothing is written")
    func denied() async throws {
        let outcome = await swsign(
            ["sign-blob", "--key", "hashivault://x", "--tlog-upload=false", "--bundle", "b.json", "file"],
            ["VAULT_TOKEN": "hvs.secret-of-another"])
        #expect(!outcome.succeeded && outcome.messages.contains("[key-denied]"), "\(outcome.messages)")
        #expect(outcome.messages.contains("read on the path transit/keys/x"), "\(outcome.messages)")
        #expect(!outcome.messages.contains("secret-of-another"))
        #expect(!FileManager.default.fileExists(atPath: directory["b.json"]))
    }
}
