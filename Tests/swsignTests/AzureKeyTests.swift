import FaultServer
import Foundation
import TestServices
import Testing

/// Keys in Azure Key Vault, with the real program and servers that are held to recorded exchanges.
@Suite(
    "Keys in Azure Key Vault",
    .enabled(if: KeyServices.folder != nil, "left out: the servers of key services, in ../shared/keys/fakes"))
struct AzureKeyTests {
    private let fixture: KeyServiceFixture
    private let services: AzureServices
    private var directory: TemporaryDirectory { fixture.directory }

    init() throws {
        let services = try AzureServices.running()
        self.services = services
        fixture = try KeyServiceFixture { directory in
            try directory.write("authority.pem", services.authority)
            return services.environment(authorityFile: directory["authority.pem"])
        }
    }

    private func swsign(_ arguments: [String], _ more: [String: String] = [:], withSecret: Bool = true) async
        -> Program.Outcome
    {
        await fixture.swsign(arguments, more, without: withSecret ? nil : "AZURE_CLIENT_SECRET")
    }

    private func key(_ name: String) -> String { "azurekms://testvault.vault.azure.net/\(name)" }

    @Test(
        "A file and an attestation are signed, and verified by reference, by the exported key and by openssl",
        arguments: [
            ("ecdsa-sha2-256-nistp256", "sha256"), ("ecdsa-sha2-384-nistp384", "sha384"),
            ("ecdsa-sha2-512-nistp521", "sha512"), ("rsa-sign-pkcs1-2048-sha256", "sha256"),
            ("rsa-sign-pkcs1-3072-sha256", "sha256"), ("rsa-sign-pkcs1-4096-sha256", "sha256"),
        ])
    func everyKind(_ algorithm: String, _ hash: String) async throws {
        let key = key("file-\(algorithm)")
        let made = await swsign(["generate-key-pair", "--kms", key, "--signing-algorithm", algorithm])
        #expect(made.succeeded, "\(made.messages)")
        try await fixture.expectSigns(key, away: ["HTTPS_PROXY": "http://127.0.0.1:1"], openssl: ["-\(hash)"])
    }

    @Test("Images are signed and attested, and one look-up of the key is enough for many")
    func images() async throws {
        let (signed, verified) = try await fixture.expectSignsImages(key("images"))
        // Without a token and with one, and then once for each image.
        let vault = "https://testvault.vault.azure.net/keys/"
        #expect(signed.lines(with: "GET \(vault)") == 2, "\(signed.messages)")
        #expect(signed.lines(with: "POST \(vault)") == 3, "\(signed.messages)")
        #expect(signed.lines(with: "POST https://login.microsoftonline.com/") == 1, "\(signed.messages)")
        #expect(verified.map { $0.lines(with: vault) } == [2], "\(verified)")
    }

    @Test("A Managed HSM makes keys in hardware, and key info says so, with who signs and no secret")
    func hardware() async throws {
        let key = "azurekms://testhsm.managedhsm.azure.net/hsm-key"
        #expect(await swsign(["generate-key-pair", "--kms", key]).succeeded)
        let info = await swsign(["key", "info", key, "--verbose"])
        for line in [
            "service: Azure Managed HSM, testhsm.managedhsm.azure.net", "key: hsm-key",
            "version: 00000000000000000000000000000abc", "algorithm: ECDSA P-256", "kept in: hardware (EC-HSM)",
            "signs as: ECDSA with sha256 (ES256)", "credentials: the variable AZURE_CLIENT_SECRET",
            "tenant: 11111111-2222-3333-4444-555555555555",
            "identity: application aaaaaaaa-0000-0000-0000-000000000000",
        ] { #expect(info.output.contains(line + "\n"), "\(line): \(info.output)\(info.messages)") }
        for secret in ["s3cr3t", "az-token"] {
            #expect(!info.output.contains(secret) && !info.messages.contains(secret))
        }
        let offline = await swsign([
            "verify-blob", "--offline", "--key", key, "--insecure-ignore-tlog", "--bundle", "b.json", "file",
        ])
        #expect(!offline.succeeded && offline.messages.contains("--offline"), "\(offline.messages)")
    }

    @Test("A certificate, a workload's token and a managed identity sign, and Azure's CLI does")
    func credentials() async throws {
        let key = key("credentials")
        #expect(await swsign(["generate-key-pair", "--kms", key]).succeeded)
        try directory.write("token", "e30.e30.x\n")
        try directory.makeDirectory("bin")
        try directory.write(
            "bin/az", "#!/bin/sh\necho '{\"accessToken\":\"az-token\",\"expires_on\":4102444800}'\n", mode: 0o755)
        var openssl = Program(directory: directory.path)
        openssl.executable = "/usr/bin/openssl"
        #expect(
            await openssl.run([
                "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=app", "-keyout", "app.pem",
                "-out", "app.crt",
            ]).succeeded)
        try directory.write("both.pem", try directory.text("app.pem") + directory.text("app.crt"))
        for (more, source) in [
            (["AZURE_CLIENT_CERTIFICATE_PATH": "both.pem"], "the certificate both.pem"),
            (["AZURE_FEDERATED_TOKEN_FILE": "token"], "the workload's identity token token"),
            (["AZURE_POD_IDENTITY_AUTHORITY_HOST": services.url], "the managed identity of the virtual machine"),
            (
                ["AZURE_TOKEN_CREDENTIALS": "dev", "PATH": "\(directory["bin"]):/usr/bin:/bin"],
                "Azure's CLI (az login)"
            ),
            (
                // Of Azure Arc's agent there are only its variables.
                [
                    "IDENTITY_ENDPOINT": "http://127.0.0.1:1/", "IMDS_ENDPOINT": "http://127.0.0.1:1",
                    "AZURE_CLIENT_ID": "", "PATH": "\(directory["bin"]):/usr/bin:/bin",
                ], "Azure's CLI (az login)"
            ),
        ] {
            let info = await swsign(["key", "info", key], more, withSecret: false)
            #expect(info.output.contains("credentials: \(source)"), "\(info.output)\(info.messages)")
        }
    }

    @Test("An identity of a machine that is not ready yet is waited for")
    func unreadyIdentity() async throws {
        let metadata = FaultServer { request, connection in
            guard request.header("metadata") == "true" else { return connection.respond(400, [], "{}") }
            guard request.number > 1 else { return connection.respond(404, [], #"{"error":"invalid_request"}"#) }
            connection.respond(
                200, ["Content-Type: application/json"], #"{"access_token":"az-token","expires_in":"3599"}"#)
        }
        defer { metadata.stop() }
        #expect(await swsign(["generate-key-pair", "--kms", key("unready")]).succeeded)
        let info = await swsign(
            ["key", "info", key("unready")], ["AZURE_POD_IDENTITY_AUTHORITY_HOST": metadata.url], withSecret: false)
        #expect(info.output.contains("the managed identity of the virtual machine"), "\(info.output)\(info.messages)")
        #expect(metadata.requests.count == 3)
    }

    @Test(
        "Half of a setting stops the command, with the names of both halves",
        arguments: [
            (["AZURE_CLIENT_SECRET": ""], "AZURE_CLIENT_ID is set, and AZURE_CLIENT_SECRET is empty"),
            (["IDENTITY_ENDPOINT": "http://127.0.0.1:1/"], "IDENTITY_ENDPOINT is set, and neither IDENTITY_HEADER"),
            (["MSI_ENDPOINT": "http://127.0.0.1:1/"], "AZURE_CLIENT_ID is set, and MSI_ENDPOINT"),
            (["AZURE_TENANT_ID": "-x"], "AZURE_TENANT_ID is neither"),
        ])
    func halves(_ more: [String: String], _ words: String) async throws {
        let outcome = await swsign(["public-key", "--key", key("x")], more, withSecret: false)
        #expect(outcome.code == "key-service-settings", "\(outcome.messages)")
        #expect(outcome.messages.contains(words), "\(outcome.messages)")
    }

    @Test(
        "A key that may have been made, and one that was deleted, are said with the commands that show and recover them"
    )
    func unmade() async throws {
        for (name, code, words) in [
            (
                "fault-lost", "unreachable",
                ["the key may have been made", "az keyvault key show --vault-name testvault"]
            ),
            ("fault-deleted", "key-unusable", ["can still be recovered", "az keyvault key recover --vault-name"]),
        ] {
            let outcome = await swsign(["generate-key-pair", "--kms", key(name)])
            #expect(outcome.code == code && !directory.exists("cosign.pub"), "\(outcome.messages)")
            for words in words { #expect(outcome.messages.contains(words), "\(outcome.messages)") }
        }
    }

    @Test(
        "What is missing, refused or broken is said, and nothing is written",
        arguments: [
            ("none", [:], "key-not-found", "there is no key none"),
            ("x", ["AZURE_CLIENT_SECRET": "wrong"], "key-denied", "AADSTS7000215: Invalid client secret provided."),
            ("x", ["AZURE_TENANT_ID": ""], "key-service-settings", "AZURE_TENANT_ID is not"),
            ("fault-rbac", [:], "key-denied", "Microsoft.KeyVault/vaults/keys/read is missing on the key fault-rbac"),
            ("fault-firewall", [:], "key-denied", "firewall"), ("fault-disabled", [:], "key-unusable", "is disabled"),
            ("fault-throttled", [:], "key-service-failed", "too many requests"),
            ("fault-redirect", [:], "redirect-refused", "elsewhere.vault.azure.net"),
            ("fault-large", [:], "too-large", "testvault"), ("fault-type", [:], "key-service-answer", "cannot be read"),
            ("fault-wrong", [:], "key-service-answer", "not as it should be"),
            ("fault-truncated", [:], "unreachable", "testvault"),
            ("fault-other-key", [:], "key-mismatch", "version 00000000000000000000000000000000"),
        ] as [(String, [String: String], String, String)])
    func refusals(_ name: String, _ more: [String: String], _ code: String, _ words: String) async throws {
        let outcome = await swsign(
            ["sign-blob", "--tlog-upload=false", "--yes", "--bundle", "none.json", "--key", key(name), "file"], more)
        #expect(!outcome.succeeded && outcome.code == code, "\(outcome.messages)")
        #expect(outcome.messages.contains(words) && !outcome.messages.contains("\u{1b}"), "\(outcome.messages)")
        #expect(!outcome.messages.contains("az-token") && !outcome.messages.contains("s3cr3t"))
        #expect(!directory.exists("none.json"))
    }

    @Test("A vault whose certificate nobody known has issued is refused")
    func untrusted() async { await fixture.expectUntrusted(key("x"), host: "testvault.vault.azure.net", [:]) }

    @Test("A reference that is nearly right is refused with the right form")
    func nearlyRight() async throws {
        let outcome = await swsign(["public-key", "--key", "azurekms://testvault/release"])
        #expect(outcome.code == "unknown-key-reference")
        #expect(outcome.messages.contains("azurekms://testvault.vault.azure.net/release"), "\(outcome.messages)")
    }
}
