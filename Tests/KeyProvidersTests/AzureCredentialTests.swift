import Foundation
import HTTPTransport
import SigstoreCrypto
import Spawning
import StrictJSON
import Testing

@testable import KeyProviders

/// Where tokens for Azure come from.
struct AzureCredentialTests {
    private static let recordings: Comment = "left out: the recorded exchanges, in ../shared/keys/wire"
    private typealias Service = AWSTests.Service
    private static let client = AzureTests.client
    private static let ids = ["AZURE_TENANT_ID": AzureTests.tenant, "AZURE_CLIENT_ID": AzureTests.client]

    private func token(
        _ service: any HTTPClient, _ variables: [String: String], host: String = "v.vault.azure.net",
        tenant: String = AzureTests.tenant, arcFolder: String = "/nonexistent", pauses: AWSTests.Pauses? = nil
    ) async throws -> AzureToken {
        let origin = try HTTPURL.origin(host, .https)
        let resource = host.split(separator: ".").dropFirst().joined(separator: ".")
        let challenge = try AzureChallenge(
            ["Bearer authorization=\"https://login.microsoftonline.com/\(tenant)\", resource=\"https://\(resource)\""],
            of: origin)
        var surroundings = AWSTests.surroundings(service, variables)
        if let pauses { surroundings.pause = pauses.add }
        return try await AzureCredentialChain(surroundings, service, host: host, arcFolder: arcFolder).token(challenge)
    }

    private static func entra(_ answer: String = #"{"access_token":"t","expires_in":3599}"#, _ status: Int = 200)
        -> Service
    {
        Service { _, _ throws(SigstoreError) in
            (status, [(name: "date", value: "Thu, 01 Jan 2026 00:00:00 GMT")], answer)
        }
    }

    private func form(_ request: HTTPRequest?) -> [String: String] {
        let pairs = (request?.text ?? "").split(separator: "&").map { pair in
            let parts = pair.split(separator: "=", maxSplits: 1).map {
                $0.replacing("+", with: " ").removingPercentEncoding ?? ""
            }
            return (parts[0], parts.count > 1 ? parts[1] : "")
        }
        return Dictionary(pairs) { first, _ in first }
    }

    // MARK: - Where tokens are asked for

    @Test(
        "Tokens are had where a variable says, else in the cloud that the vault is in; what the vault says does not count",
        arguments: [
            ([:], "v.vault.azure.net", "login.microsoftonline.com"),
            ([:], "v.vault.usgovcloudapi.net", "login.microsoftonline.us"),
            ([:], "v.managedhsm.azure.cn", "login.chinacloudapi.cn"),
            (["AZURE_AUTHORITY_HOST": "https://login.example/"], "v.vault.azure.cn", "login.example"),
            (["AZURE_AUTHORITY_HOST": "login.example"], "v.vault.azure.net", "login.example"),
            (
                ["AZURE_AUTHORITY_HOST": "https://login.example/", "AZURE_ENVIRONMENT": "AzureUSGovernment"],
                "v.vault.azure.net", "login.microsoftonline.us"
            ),
        ] as [([String: String], String, String)])
    func authorities(_ more: [String: String], _ host: String, _ authority: String) async throws {
        let service = Self.entra()
        _ = try await token(service, AzureTests.secret.merging(more) { $1 }, host: host)
        let request = try #require(service.requests.first)
        #expect(request.url.description == "https://\(authority)/\(AzureTests.tenant)/oauth2/v2.0/token")
        let resource = host.split(separator: ".").dropFirst().joined(separator: ".")
        #expect(form(request)["scope"] == "https://\(resource)/.default openid offline_access profile")
        #expect(request.refusesRedirects && service.requests.count == 1)
    }

    @Test(
        "Settings that cannot be meant are refused before anything is sent",
        arguments: [
            (AzureTests.secret, ["AZURE_AUTHORITY_HOST": "http://login.example"], "over plain HTTP"),
            (AzureTests.secret, ["AZURE_AUTHORITY_HOST": "https://user@login.example"], "AZURE_AUTHORITY_HOST"),
            (AzureTests.secret, ["AZURE_ENVIRONMENT": "AZUREGERMANCLOUD"], "AZURE_ENVIRONMENT"),
            (AzureTests.secret, ["AZURE_TENANT_ID": ""], "AZURE_TENANT_ID is not"),
            (AzureTests.secret, ["AZURE_CLIENT_ID": ""], "AZURE_CLIENT_ID is not"),
            (AzureTests.secret, ["AZURE_TENANT_ID": "a/../b"], "AZURE_TENANT_ID"),
            (AzureTests.secret, ["AZURE_CLIENT_ID": "a b"], "AZURE_CLIENT_ID"),
            (
                AzureTests.secret, ["AZURE_TENANT_ID": "99999999-2222-3333-4444-555555555555"],
                "belongs to the tenant \(AzureTests.tenant)"
            ),
            (AzureTests.secret, ["AZURE_TOKEN_CREDENTIALS": "AzurePowerShellCredential"], "AzurePowerShellCredential"),
            (ids, ["AZURE_USERNAME": "u", "AZURE_PASSWORD": "p"], "AZURE_USERNAME and AZURE_PASSWORD"),
            (ids, ["AZURE_CLIENT_CERTIFICATE_PATH": "/nonexistent"], "/nonexistent"),
            (ids, ["AZURE_FEDERATED_TOKEN_FILE": "/nonexistent"], "/nonexistent"),
            (
                ids, ["AZURE_FEDERATED_TOKEN_FILE": "/nonexistent", "AZURE_CLIENT_ID": ""], "AZURE_CLIENT_ID is not"
            ),
            (
                ids, ["IDENTITY_ENDPOINT": "http://127.0.0.1/", "IDENTITY_SERVER_THUMBPRINT": "x"], "Service Fabric"
            ),
            (
                ids, ["IDENTITY_ENDPOINT": "http://evil.example/", "IDENTITY_HEADER": "h"], "not asked for over http"
            ),
            (
                ids, ["IDENTITY_ENDPOINT": "http://evil.example/", "IMDS_ENDPOINT": "http://127.0.0.1/"],
                "not asked for over http"
            ),
            (ids, ["MSI_ENDPOINT": "http://evil.example/"], "not asked for over http"),
            (ids, ["AZURE_POD_IDENTITY_AUTHORITY_HOST": "http://evil.example/"], "not asked for over http"),
        ] as [([String: String], [String: String], String)])
    func settings(_ base: [String: String], _ more: [String: String], _ words: String) async throws {
        let service = Self.entra()
        let error = await AWSTests.failure { _ = try await token(service, base.merging(more) { $1 }) }
        #expect(error?.code == .keyServiceSettings, "\(error?.description ?? "")")
        #expect(error?.message.contains(words) == true, "\(error?.description ?? "")")
        #expect(service.requests.isEmpty && error?.description.contains("s3cr3t") == false)
    }

    @Test(
        "Half of a setting is an error that names both halves, and nobody else's token is asked for",
        arguments: [
            (ids.merging(["AZURE_CLIENT_SECRET": ""]) { $1 }, ["AZURE_CLIENT_ID", "AZURE_CLIENT_SECRET"]),
            (["AZURE_TENANT_ID": "t", "AZURE_CLIENT_SECRET": ""], ["AZURE_TENANT_ID", "AZURE_CLIENT_SECRET"]),
            (
                ids.merging(["AZURE_CLIENT_CERTIFICATE_PATH": ""]) { $1 },
                ["AZURE_CLIENT_ID", "AZURE_CLIENT_CERTIFICATE_PATH"]
            ),
            (
                ids.merging(["AZURE_FEDERATED_TOKEN_FILE": ""]) { $1 },
                ["AZURE_CLIENT_ID", "AZURE_FEDERATED_TOKEN_FILE"]
            ),
            (
                ["AZURE_CLIENT_CERTIFICATE_PASSWORD": "p"],
                ["AZURE_CLIENT_CERTIFICATE_PASSWORD", "AZURE_CLIENT_CERTIFICATE_PATH"]
            ),
            (["IDENTITY_ENDPOINT": "http://127.0.0.1:1/"], ["IDENTITY_ENDPOINT", "IDENTITY_HEADER"]),
            (
                ["IDENTITY_ENDPOINT": "http://127.0.0.1:1/", "IDENTITY_HEADER": ""],
                ["IDENTITY_ENDPOINT", "IDENTITY_HEADER"]
            ),
            (["IDENTITY_HEADER": "h"], ["IDENTITY_HEADER", "IDENTITY_ENDPOINT"]),
            (["MSI_SECRET": "h"], ["MSI_SECRET", "MSI_ENDPOINT"]),
            (
                ["MSI_ENDPOINT": "http://localhost:50342/", "AZURE_CLIENT_ID": client],
                ["MSI_ENDPOINT", "AZURE_CLIENT_ID"]
            ),
            (
                [
                    "IDENTITY_ENDPOINT": "http://localhost:40342/", "IMDS_ENDPOINT": "http://localhost:40342",
                    "AZURE_CLIENT_ID": client,
                ], ["IDENTITY_ENDPOINT", "AZURE_CLIENT_ID"]
            ),
            (["AZURE_TENANT_ID": "-x"], ["AZURE_TENANT_ID"]),
            (["AZURE_TENANT_ID": "-x", "AZURE_TOKEN_CREDENTIALS": "dev"], ["AZURE_TENANT_ID"]),
            (["AZURE_TENANT_ID": "-x", "AZURE_TOKEN_CREDENTIALS": "ManagedIdentityCredential"], ["AZURE_TENANT_ID"]),
        ] as [([String: String], [String])])
    func halves(_ variables: [String: String], _ names: [String]) async throws {
        let home = try Home()
        try Spawning.writeProgram(
            "\(home.path)/az", "#!/bin/sh\necho '{\"accessToken\":\"of-another\",\"expires_on\":4102444800}'\n")
        let service = Self.entra()
        let error = await AWSTests.failure {
            _ = try await token(service, variables.merging(["PATH": home.path]) { $1 })
        }
        #expect(error?.code == .keyServiceSettings, "\(error?.description ?? "no error")")
        for name in names { #expect(error?.message.contains(name) == true, "\(error?.description ?? "")") }
        #expect(service.requests.isEmpty)
    }

    @Test("A vault of another tenant is asked for there if that is allowed")
    func otherTenants() async throws {
        for allowed in ["*", "x;\(AzureTests.tenant)"] {
            let service = Self.entra()
            let variables = [
                "AZURE_TENANT_ID": "99999999-2222-3333-4444-555555555555",
                "AZURE_ADDITIONALLY_ALLOWED_TENANTS": allowed,
            ]
            _ = try await token(service, AzureTests.secret.merging(variables) { $1 })
            #expect(service.requests.first?.url.path.hasPrefix("/\(AzureTests.tenant)/") == true)
        }
    }

    @Test("If there are no credentials, every place that was looked in is named")
    func nothing() async throws {
        let error = await AWSTests.failure { _ = try await token(AWSTests.unreachable, [:]) }
        #expect(error?.code == .keyServiceSettings)
        for name in [
            "AZURE_CLIENT_SECRET", "AZURE_CLIENT_CERTIFICATE_PATH", "AZURE_FEDERATED_TOKEN_FILE", "169.254.169.254",
            "az",
        ] { #expect(error?.message.contains(name) == true, "\(error?.message ?? "")") }
        #expect(error?.advice?.description.contains("az login") == true)
        let probe = AWSTests.unreachable
        _ = await AWSTests.failure { _ = try await token(probe, ["AZURE_TOKEN_CREDENTIALS": "dev"]) }
        #expect(!probe.requests.contains { $0.url.origin.host == "169.254.169.254" && $0.timeout > .seconds(1) })
    }

    // MARK: - Certificates

    @Test(
        "A certificate in PEM or PKCS#12 signs an assertion that Entra ID can check",
        arguments: [("pem", false), ("encrypted.pem", true), ("p12", true), ("pem", true)])
    func certificates(_ form: String, _ sendsChain: Bool) async throws {
        let home = try Home()
        try await Self.makeCertificate(home)
        var variables = Self.ids.merging(["AZURE_CLIENT_CERTIFICATE_PATH": "\(home.path)/both.\(form)"]) { $1 }
        if form != "pem" { variables["AZURE_CLIENT_CERTIFICATE_PASSWORD"] = "t0psecret" }
        if sendsChain { variables["AZURE_CLIENT_SEND_CERTIFICATE_CHAIN"] = "true" }
        let service = Self.entra()
        let found = try await token(service, variables)
        #expect(found.source.contains("both.\(form)"))
        let sent = self.form(service.requests.first)
        #expect(sent["client_assertion_type"] == "urn:ietf:params:oauth:client-assertion-type:jwt-bearer")
        #expect(sent["client_secret"] == nil && sent["grant_type"] == "client_credentials")
        let parts = try #require(sent["client_assertion"]).split(separator: ".").map(String.init)
        try #require(parts.count == 3)
        let certificate = try #require(
            try PEM.blocks(in: Array(Data(contentsOf: URL(fileURLWithPath: "\(home.path)/cert.pem")))).first
        ).bytes
        let signature = try #require(Base64.decodeURLSafe(parts[2]))
        #expect(
            try Certificate(der: certificate).publicKey.verifies(
                signature, ofBytes: Array("\(parts[0]).\(parts[1])".utf8), scheme: .rsaPSS(.sha256)))
        func object(_ part: String) throws -> JSONCursor {
            JSONCursor(try JSONValue(parsing: try #require(Base64.decodeURLSafe(part))))
        }
        let (header, claims) = (try object(parts[0]), try object(parts[1]))
        #expect(try header.member("alg").string() == "PS256" && header.member("typ").string() == "JWT")
        #expect(
            try Base64.decodeURLSafe(header.member("x5t#S256").string()) == Digest.sha256(certificate).bytes)
        #expect(try header.optional("x5c")?.elements().first?.bytes() == (sendsChain ? certificate : nil))
        for name in ["iss", "sub"] { #expect(try claims.member(name).string() == AzureTests.client) }
        #expect(try claims.member("aud").string() == service.requests.first?.url.description)
        #expect(
            try claims.member("nbf").integer() == AWSTests.now && claims.member("exp").integer() == AWSTests.now + 600)
    }

    @Test("A wrong password, a key without its certificate, and a certificate for another key are refused")
    func badCertificates() async throws {
        let home = try Home()
        try await Self.makeCertificate(home)
        for (file, password, words) in [
            ("both.p12", "wrong", "does not open the PKCS#12 file"), ("both.p12", "", "no password is given"),
            ("both.encrypted.pem", "wrong", "password"), ("both.encrypted.pem", "", "no password is given"),
            ("key.pem", "", "no certificate"), ("cert.pem", "", "0 private keys"),
            ("other.pem", "", "is for its private key"),
            ("curve.pem", "", "RSA alone"), ("junk", "", "neither PEM nor PKCS#12"),
        ] {
            let variables = [
                "AZURE_CLIENT_CERTIFICATE_PATH": "\(home.path)/\(file)", "AZURE_CLIENT_CERTIFICATE_PASSWORD": password,
            ]
            let service = Self.entra()
            let error = await AWSTests.failure { _ = try await token(service, Self.ids.merging(variables) { $1 }) }
            #expect(error?.code == .keyServiceSettings, "\(file): \(error?.description ?? "")")
            #expect(error?.message.contains(words) == true, "\(file): \(error?.description ?? "")")
            #expect(service.requests.isEmpty)
        }
    }

    private static func makeCertificate(_ home: Home) async throws {
        try home.write("junk", "\u{30}\u{1}\u{1}")
        let script = """
            set -e
            openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=app -keyout key.pem -out cert.pem
            openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=c -keyout k2 -out c2
            cat key.pem cert.pem > both.pem; cat key.pem c2 > other.pem; cat k2 c2 > curve.pem
            openssl pkcs8 -topk8 -in key.pem -passout pass:t0psecret -out locked.pem
            cat cert.pem locked.pem > both.encrypted.pem
            openssl pkcs12 -export -inkey key.pem -in cert.pem -certfile c2 -passout pass:t0psecret -out both.p12
            """
        let status = try await Spawning.run(
            "/bin/sh", ["-c", script], in: home.path, environment: ["PATH": "/usr/bin:/bin"], output: "/dev/null",
            errors: "/dev/null")
        try #require(status == 0)
    }

    // MARK: - Refusals of Entra ID

    @Test(
        "What Entra ID refuses is said with its own line, and with what helps",
        arguments: [
            ("AADSTS7000215: Invalid client secret provided. Trace ID: 0 Correlation ID: 0", "copy the secret's value"),
            ("AADSTS7000222: The provided client secret keys are expired.\r\nTrace ID: 0", "has expired"),
            ("AADSTS700016: Application was not found", "check AZURE_CLIENT_ID"),
            ("AADSTS90002: Tenant 'x' not found", "check AZURE_TENANT_ID"),
            ("AADSTS700024: Client assertion is not within its valid time range.", "there it is Thu, 01 Jan 2026"),
            ("AADSTS700027: The certificate with identifier is not registered", "add the certificate"),
            ("AADSTS700213: No matching federated identity record found", "federated credential"),
            ("AADSTS500011: The resource principal was not found", "AZURE_TENANT_ID"),
            ("AADSTS53003: Access has been blocked by Conditional Access", "conditional access"),
            ("AADSTS99999999999999999999: \u{1b}[31m", "names the cause"),
        ])
    func refusals(_ text: String, _ words: String) async throws {
        let json = JSONValue.object(["error": .string("invalid_client"), "error_description": .string(text)])
        let service = Self.entra(String(decoding: json.serialized(), as: UTF8.self), 401)
        let error = await AWSTests.failure { _ = try await token(service, AzureTests.secret) }
        #expect(error?.code == .keyDenied, "\(error?.description ?? "")")
        let ids = [AzureTests.client, AzureTests.tenant]
        #expect(ids.contains { error?.message.contains($0) == true }, "\(error?.description ?? "")")
        for words in [words, String(text.prefix(12))] {
            #expect(error?.description.contains(words) == true, "\(error?.description ?? "")")
        }
        for words in ["Trace ID", "s3cr3t", "\u{1b}"] { #expect(error?.description.contains(words) == false) }
    }

    @Test(
        "A token that is none, and an answer that is none, are refused",
        arguments: ["", "{}", #"{"access_token":""}"#, #"{"access_token":"a\nb"}"#, #"{"access_token":7}"#])
    func strangeTokens(_ answer: String) async throws {
        let error = await AWSTests.failure { _ = try await token(Self.entra(answer), AzureTests.secret) }
        #expect(error?.code == .keyServiceAnswer, "\(error?.description ?? "")")
    }

    @Test("Who a token is for is read from it, to be shown")
    func identity() async throws {
        func jwt(_ claims: String) -> String { "e30.\(Base64.encodeURLSafe(Array(claims.utf8))).x" }
        for (claims, identity) in [
            (#"{"appid":"app","oid":"obj","tid":"ten"}"#, "application app, object obj"),
            (#"{"upn":"ann@example.org","oid":"obj","appid":"cli"}"#, "ann@example.org, object obj"),
            (#"{"appid":"\u001b[31m","oid":7}"#, "application \(AzureTests.client)"),
            ("[]", "application \(AzureTests.client)"),
        ] {
            let service = Self.entra("{\"access_token\":\"\(jwt(claims))\",\"expires_in\":3599}")
            let found = try await token(service, AzureTests.secret)
            #expect(found.identity == identity && found.tenant == AzureTests.tenant)
            #expect(found.expiration == Instant(seconds: AWSTests.now + 3599))
        }
    }

    // MARK: - Managed identity

    @Test(
        "A virtual machine is asked as the real client asks: first whether it is there",
        .enabled(if: RecordedExchanges.folder != nil, recordings))
    func instance() async throws {
        let (probe, exchange) = (
            try RecordedExchanges.exchange("azuremi-01"), try RecordedExchanges.exchange("azuremi-02")
        )
        let service = Service { request, number throws(SigstoreError) in
            number == 1 ? (probe.status, [], probe.answer) : (exchange.status, [], exchange.answer)
        }
        let found = try await token(service, ["AZURE_CLIENT_ID": AzureTests.client])
        let asked = service.requests
        #expect(asked.map(\.url.description) == [probe.path, exchange.path])
        #expect(asked.map { $0.header("metadata") } == [nil, "true"])
        #expect(asked.allSatisfy { $0.isDirect && $0.refusesRedirects && $0.method == "GET" })
        #expect(asked[0].timeout <= .seconds(1) && asked[0].latestStart != nil)
        #expect(found.source.contains("virtual machine") && found.expiration == Instant(seconds: AWSTests.now + 86399))
        // A machine without an identity is no reason to stop: the next place is looked in.
        let without = Service { _, number throws(SigstoreError) in
            (400, [], #"{"error":"invalid_request","error_description":"Identity not found"}"#)
        }
        let error = await AWSTests.failure { _ = try await token(without, [:]) }
        #expect(error?.message.contains("Identity not found") == true && error?.message.contains("(az)") == true)
    }

    @Test(
        "An App Service, the Cloud Shell and Azure ML are asked where they say, with what they want to see",
        arguments: [
            (
                ["IDENTITY_ENDPOINT": "http://169.254.129.2:8081/msi/token", "IDENTITY_HEADER": "hdr"],
                "GET http://169.254.129.2:8081/msi/token?api-version=2019-08-01&resource=https%3A%2F%2Fvault.azure.net",
                "hdr"
            ),
            (
                ["MSI_ENDPOINT": "http://localhost:50342/oauth2/token"], "POST http://localhost:50342/oauth2/token", ""
            ),
            (
                ["MSI_ENDPOINT": "http://127.0.0.1:1/t", "MSI_SECRET": "hdr", "AZURE_CLIENT_ID": "id"],
                "GET http://127.0.0.1:1/t?api-version=2017-09-01&resource=https%3A%2F%2Fvault.azure.net&clientid=id",
                "hdr"
            ),
        ])
    func appService(_ variables: [String: String], _ asked: String, _ secret: String) async throws {
        let service = Self.entra(#"{"access_token":"t","expires_on":"1767326645","resource":"r"}"#)
        let found = try await token(service, variables)
        let request = try #require(service.requests.first)
        #expect("\(request.method) \(request.url)" == asked && request.isDirect && request.refusesRedirects)
        #expect(request.secrets.map { AWSTests.value($0) } == (secret.isEmpty ? [] : [secret]))
        #expect(found.expiration == Instant(seconds: 1_767_326_645))
        if secret.isEmpty {
            #expect(request.text == "resource=https%3A%2F%2Fvault.azure.net" && request.header("metadata") == "true")
        }
    }

    @Test("The App Service is asked as the real client asks", .enabled(if: RecordedExchanges.folder != nil, recordings))
    func recordedAppService() async throws {
        let exchange = try RecordedExchanges.exchange("azuremi-03")
        let service = Self.entra()
        let place = "http://127.0.0.1:1/metadata/identity/oauth2/token"
        _ = try await token(service, ["IDENTITY_ENDPOINT": place, "IDENTITY_HEADER": "hdr"])
        let request = try #require(service.requests.first)
        #expect(request.url.description == "http://127.0.0.1:1\(exchange.path)")
        #expect(request.secrets.map { AWSTests.value($0) } == [exchange.headers["x-identity-header"]])
    }

    @Test(
        "A virtual machine's metadata service is asked again while it changes and until it knows the identity, within limits",
        arguments: [
            (400, [404, 404], [1, 2], true), (400, [404, 404, 404], [1, 2, 4], true),
            (400, [404, 404, 404, 404], [1, 2, 4], false), (400, [410, 410], [10, 10], true),
            (400, [410, 404], [10, 2], true), (410, [410], [10], true),
            (400, Array(repeating: 410, count: 8), Array(repeating: 10, count: 7), false),
            // Of another cloud: it says the same to what Azure would refuse.
            (404, [404], [], false),
        ])
    func changingInstance(_ probe: Int, _ statuses: [Int], _ seconds: [Int], _ holds: Bool) async throws {
        let pauses = AWSTests.Pauses()
        let service = Service { request, number throws(SigstoreError) in
            guard request.header("metadata") != nil else { return (probe, [], "") }
            return number - 2 < statuses.count
                ? (statuses[number - 2], [], #"{"error":"x","error_description":"not ready"}"#)
                : (200, [], #"{"access_token":"t","expires_in":"3599"}"#)
        }
        let only = ["AZURE_TOKEN_CREDENTIALS": "ManagedIdentityCredential"]
        let error = await AWSTests.failure { _ = try await token(service, only, pauses: pauses) }
        #expect((error == nil) == holds, "\(error?.description ?? "")")
        #expect(pauses.all == seconds.map { .seconds($0) })
        #expect(service.requests.count == seconds.count + 2)
        if !holds { #expect(error?.message.contains("not ready") == true, "\(error?.description ?? "")") }
    }

    @Test("Azure Arc's agent is shown its file; without the agent or the right to read the file, Azure's CLI is next")
    func arc() async throws {
        let home = try Home()
        try FileManager.default.createDirectory(atPath: "\(home.path)/tokens", withIntermediateDirectories: true)
        try home.write("tokens/1.key", "arc-secret")
        try home.write("other.key", "another-secret")
        try Spawning.writeProgram(
            "\(home.path)/az", "#!/bin/sh\necho '{\"accessToken\":\"of-az\",\"expires_on\":4102444800}'\n")
        let variables = [
            "IDENTITY_ENDPOINT": "http://localhost:40342/metadata/identity/oauth2/token",
            "IMDS_ENDPOINT": "http://localhost:40342", "PATH": home.path,
        ]
        func agent(_ header: String) -> Service {
            Service { request, _ throws(SigstoreError) in
                request.authorization == nil
                    ? (401, [(name: "www-authenticate", value: header)], "")
                    : (200, [], #"{"access_token":"of-arc","expires_in":"3599"}"#)
            }
        }
        let folder = "\(home.path)/tokens"
        let good = agent("Basic realm=\(folder)/1.key")
        let found = try await token(good, variables, arcFolder: folder)
        #expect(AWSTests.value(found.authorization) == "Bearer of-arc" && found.source.contains("Azure Arc"))
        #expect(
            good.requests.map(\.url.description)
                == Array(
                    repeating:
                        "http://localhost:40342/metadata/identity/oauth2/token?api-version=2020-06-01&resource=https%3A%2F%2Fvault.azure.net",
                    count: 2))
        #expect(good.requests.map { AWSTests.value($0.authorization) } == ["", "Basic arc-secret"])
        #expect(good.requests.allSatisfy { $0.isDirect && $0.refusesRedirects && $0.header("metadata") == "true" })

        let unreadable = agent("Basic realm=\(folder)/2.key")
        let second = try await token(unreadable, variables, arcFolder: folder)
        #expect(AWSTests.value(second.authorization) == "Bearer of-az" && unreadable.requests.count == 1)
        let third = try await token(AWSTests.unreachable, variables, arcFolder: folder)
        #expect(AWSTests.value(third.authorization) == "Bearer of-az")
        let narrowed = variables.merging(["AZURE_TOKEN_CREDENTIALS": "prod"]) { $1 }
        let none = await AWSTests.failure {
            _ = try await token(agent("Basic realm=\(folder)/2.key"), narrowed, arcFolder: folder)
        }
        #expect(none?.message.contains("2.key") == true && none?.message.contains("himds") == true)

        for header in [
            "Basic realm=\(home.path)/other.key", "Basic realm=\(folder)/../other.key", "Basic realm=\(folder)/1.pem",
            "Basic realm=/etc/passwd", "Basic realm=", "Bearer realm=\(folder)/1.key", "",
        ] {
            let service = agent(header)
            let error = await AWSTests.failure { _ = try await token(service, variables, arcFolder: folder) }
            #expect(error?.code == .keyServiceAnswer && service.requests.count == 1, "\(error?.description ?? "")")
        }
    }

    // MARK: - Azure's CLI

    @Test(
        "Azure's CLI gives the token of the person who logged in, for the vault's tenant; what it prints else is not shown"
    )
    func commandLine() async throws {
        let home = try Home()
        let variables = ["PATH": home.path, "AZURE_TOKEN_CREDENTIALS": "dev"]
        func say(_ text: String, _ status: Int = 0) throws {
            try Spawning.writeProgram(
                "\(home.path)/az", "#!/bin/sh\necho \"$@\" > '\(home.path)/asked'\necho '\(text)'\nexit \(status)\n")
        }
        try say(
            #"{"accessToken":"the-token","expires_on":1767326645,"expiresOn":"2026-01-02 04:04:05.000000","tenant":"x","tokenType":"Bearer"}"#
        )
        let found = try await token(AWSTests.unreachable, variables)
        #expect(AWSTests.value(found.authorization) == "Bearer the-token" && found.tenant == "x")
        #expect(found.expiration == Instant(seconds: 1_767_326_645))
        #expect(
            try String(contentsOfFile: "\(home.path)/asked", encoding: .utf8)
                == "account get-access-token --output json --resource https://vault.azure.net --tenant \(AzureTests.tenant)\n"
        )
        // Older versions say the time without its zone alone.
        try say(#"{"accessToken":"the-token","expiresOn":"2026-01-02 04:04:05.000000"}"#)
        #expect(try await token(AWSTests.unreachable, variables).expiration == Instant(seconds: AWSTests.now + 300))
        try say(#"{"accessToken":"the-token","expires_on":1767323044}"#)
        let ended = await AWSTests.failure { _ = try await token(AWSTests.unreachable, variables) }
        #expect(ended?.code == .keyServiceSettings && ended?.message.contains("the token ended at 2026-01-02") == true)
        try say("s3cr3t is no token")
        let strange = await AWSTests.failure { _ = try await token(AWSTests.unreachable, variables) }
        #expect(strange?.code == .keyServiceSettings && strange?.description.contains("s3cr3t") == false)
        try say("", 1)
        let loggedOut = await AWSTests.failure { _ = try await token(AWSTests.unreachable, variables) }
        #expect(loggedOut?.message.contains("nobody has logged in") == true)
    }

    @Test(
        "AZURE_TOKEN_CREDENTIALS leaves one place, or those for production or for people, and no other one is asked",
        arguments: [
            ("", "client_secret"), ("prod", "client_secret"), ("PROD", "client_secret"), ("dev", "az"),
            ("Dev", "az"), ("EnvironmentCredential", "client_secret"), ("environmentcredential", "client_secret"),
            ("WorkloadIdentityCredential", "client_assertion"), ("ManagedIdentityCredential", "metadata"),
            ("AzureCLICredential", "az"), ("production", nil), ("prod,dev", nil), ("devs", nil),
        ] as [(String, String?)])
    func narrowing(_ value: String, _ source: String?) async throws {
        // All four places have a token.
        let home = try Home()
        try home.write("token", "federated")
        try Spawning.writeProgram(
            "\(home.path)/az",
            "#!/bin/sh\ntouch '\(home.path)/asked'\necho '{\"accessToken\":\"az\",\"expires_on\":4102444800}'\n")
        let all = AzureTests.secret.merging(["AZURE_FEDERATED_TOKEN_FILE": "\(home.path)/token", "PATH": home.path]) {
            $1
        }
        let service = Service { request, _ throws(SigstoreError) in
            request.url.origin.host == "169.254.169.254" && request.header("metadata") == nil
                ? (400, [], "") : (200, [], #"{"access_token":"t","expires_in":3599}"#)
        }
        let error = await AWSTests.failure {
            _ = try await token(service, all.merging(["AZURE_TOKEN_CREDENTIALS": value]) { $1 })
        }
        var asked = service.requests.map { request in
            request.url.origin.host == "169.254.169.254"
                ? "metadata" : ["client_secret", "client_assertion"].first { form(request)[$0] != nil } ?? "other"
        }
        if FileManager.default.fileExists(atPath: "\(home.path)/asked") { asked.append("az") }
        #expect(Set(asked) == (source.map { [$0] } ?? []), "\(asked)")
        #expect((error == nil) == (source != nil), "\(error?.description ?? "")")
        guard source == nil else { return }
        #expect(error?.code == .keyServiceSettings)
        for words in [value, "prod", "dev", "AzureCLICredential"] {
            #expect(error?.description.contains(words) == true, "\(error?.description ?? "")")
        }
    }

    @Test("For production, a person's login does not count; for development, nothing but it does")
    func nothingElse() async throws {
        let home = try Home()
        try Spawning.writeProgram(
            "\(home.path)/az", "#!/bin/sh\necho '{\"accessToken\":\"az\",\"expires_on\":4102444800}'\n")
        let login = ["PATH": home.path]
        let unreachable = AWSTests.unreachable
        #expect(AWSTests.value(try await token(unreachable, login).authorization) == "Bearer az")
        let prod = await AWSTests.failure {
            _ = try await token(unreachable, login.merging(["AZURE_TOKEN_CREDENTIALS": "prod"]) { $1 })
        }
        #expect(prod?.code == .keyServiceSettings && prod?.message.contains("(az)") == false)
        let service = Self.entra()
        let dev = await AWSTests.failure {
            _ = try await token(
                service, AzureTests.secret.merging(["AZURE_TOKEN_CREDENTIALS": "dev", "PATH": "/nonexistent"]) { $1 })
        }
        #expect(dev?.code == .keyServiceSettings && dev?.message.contains("(az)") == true)
        #expect(dev?.message.contains("AZURE_CLIENT_SECRET") == false && service.requests.isEmpty)
    }
}
