import Foundation
import HTTPTransport
import SigstoreCrypto
import StrictJSON
import Synchronization
import Testing

@testable import KeyProviders

/// Where credentials for AWS come from, and AWS's configuration files.
struct AWSCredentialTests {
    private static let recordings: Comment = "left out: the recorded exchanges, in ../shared/keys/wire"
    private typealias Service = AWSTests.Service

    private func credentials(_ service: any HTTPClient, _ home: Home? = nil, _ more: [String: String] = [:])
        async throws -> AWSCredentials
    {
        let variables = ["HOME": home?.path ?? "/nonexistent", "AWS_REGION": "us-east-1"].merging(more) { $1 }
        let surroundings = AWSTests.surroundings(service, variables)
        return try await AWSCredentialChain(
            surroundings, AWSProfiles(surroundings.variable), service, region: "us-east-1"
        ).credentials()
    }

    private func text(_ secret: SecretBytes?) -> String {
        secret.map { secret in unsafe secret.withBytes { unsafe String(decoding: $0, as: UTF8.self) } } ?? ""
    }

    /// The form with what differs from run to run left out.
    private func form(_ text: String) -> [String] {
        text.split(separator: "&").map(String.init).filter { !$0.hasPrefix("RoleSessionName=") }.sorted()
    }

    // MARK: - Sources

    @Test("Variables come before a profile, and a half of a pair is not passed over")
    func variables() async throws {
        let home = try Home(credentials: "[default]\naws_access_key_id = AKIDFILE\naws_secret_access_key = filed\n")
        let both = ["AWS_ACCESS_KEY_ID": "AKIDENV", "AWS_SECRET_ACCESS_KEY": "s", "AWS_SESSION_TOKEN": "t"]
        let found = try await credentials(AWSTests.unreachable, home, both)
        #expect(found.accessKeyID == "AKIDENV" && text(found.secret) == "s" && text(found.sessionToken) == "t")
        let older = ["AWS_ACCESS_KEY": "AKIDOLD", "AWS_SECRET_KEY": "s"]
        #expect(try await credentials(AWSTests.unreachable, home, older).accessKeyID == "AKIDOLD")
        let filed = try await credentials(AWSTests.unreachable, home)
        #expect(filed.accessKeyID == "AKIDFILE" && text(filed.secret) == "filed" && filed.sessionToken == nil)
        for name in ["AWS_ACCESS_KEY_ID", "AWS_SECRET_KEY"] {
            let error = await AWSTests.failure { _ = try await credentials(AWSTests.unreachable, home, [name: "x"]) }
            #expect(error?.code == .keyServiceSettings && error?.message.hasPrefix("\(name) is set, and ") == true)
        }
        let spaced = ["AWS_ACCESS_KEY_ID": "A", "AWS_SECRET_ACCESS_KEY": "s", "AWS_SESSION_TOKEN": "a\nb"]
        let error = await AWSTests.failure { _ = try await credentials(AWSTests.unreachable, home, spaced) }
        #expect(error?.message.contains("session token") == true && error?.message.contains("a\nb") == false)
    }

    @Test("A named profile that is in neither file is an error at once")
    func missingProfile() async throws {
        let home = try Home(config: "[profile other]\nregion=x\n")
        let error = await AWSTests.failure {
            _ = try await credentials(
                AWSTests.unreachable, home,
                ["AWS_PROFILE": "work", "AWS_ACCESS_KEY_ID": "A", "AWS_SECRET_ACCESS_KEY": "s"])
        }
        #expect(error?.message.contains("AWS_PROFILE names the profile \"work\"") == true)
    }

    @Test(
        "A web identity is exchanged as the real client does", .enabled(if: RecordedExchanges.folder != nil, recordings)
    )
    func webIdentity() async throws {
        for (name, profile) in [("awssts-01", false), ("awssts-03", true)] {
            let exchange = try RecordedExchanges.exchange(name)
            let home = try Home()
            try home.write("token", "eyJhbGciOiJub25lIn0.eyJzdWIiOiJ4In0.x\n")
            let role = profile ? "arn:aws:iam::123456789012:role/x" : "arn:aws:iam::123456789012:role/irsa"
            var more = ["AWS_WEB_IDENTITY_TOKEN_FILE": "\(home.path)/token", "AWS_ROLE_ARN": role]
            if profile {
                try home.write(
                    ".aws/config",
                    "[profile p]\nrole_arn = \(role)\nweb_identity_token_file = \(home.path)/token\n")
                more = ["AWS_PROFILE": "p"]
            }
            // The credentials of the recording have ended since then.
            let answer = exchange.answer.replacing("2026-11-25T2", with: "2099-11-25T2")
            let service = Service { _, _ throws(SigstoreError) in (200, [], answer) }
            let found = try await credentials(service, home, more)
            #expect(found.accessKeyID.hasPrefix("ASIA") && text(found.secret) == "SECRET")
            #expect(text(found.sessionToken).hasSuffix("SESSIONTOKEN"))
            #expect(found.identity?.hasPrefix("arn:aws:sts::123456789012:assumed-role/") == true)
            let request = try #require(service.requests.first)
            #expect(request.url.description == "https://sts.us-east-1.amazonaws.com/")
            #expect(request.header("content-type") == exchange.headers["content-type"])
            #expect(request.authorization == nil && form(request.text) == form(exchange.body))
        }
    }

    @Test(
        "A role is taken with the source profile's keys as the real client does",
        .enabled(if: RecordedExchanges.folder != nil, recordings))
    func assumedRole() async throws {
        let exchange = try RecordedExchanges.exchange("awssts-02")
        let home = try Home(
            config: """
                [profile work]
                role_arn = arn:aws:iam::123456789012:role/target
                source_profile = base
                """, credentials: "[base]\naws_access_key_id = AKIDBASE\naws_secret_access_key = s\n")
        let answer = exchange.answer.replacing("2026-11-25T2", with: "2099-11-25T2")
        let service = Service { _, _ throws(SigstoreError) in (200, [], answer) }
        let found = try await credentials(service, home, ["AWS_PROFILE": "work"])
        #expect(found.accessKeyID.hasPrefix("ASIA") && found.source.contains("role/target"))
        let request = try #require(service.requests.first)
        #expect(form(request.text) == form(exchange.body))
        #expect(
            AWSTests.value(request.authorization).hasPrefix(
                "AWS4-HMAC-SHA256 Credential=AKIDBASE/20260102/us-east-1/sts/aws4_request, SignedHeaders=content-type;host;x-amz-date,"
            ))
    }

    @Test("Profiles that lead in a circle, to nothing, or to a device end with words")
    func profiles() async throws {
        for (config, words) in [
            ("[profile p]\nrole_arn=r\nsource_profile=q\n[profile q]\nrole_arn=r\nsource_profile=p\n", "leads back"),
            ("[profile p]\nrole_arn=r\nsource_profile=none\n", "source_profile"),
            ("[profile p]\nrole_arn=r\n", "says not with which credentials"),
            ("[profile p]\nrole_arn=r\ncredential_source=Moon\n", "Moon"),
            ("[profile p]\nrole_arn=r\ncredential_source=Environment\n", "AWS_ACCESS_KEY_ID is not set"),
            ("[profile p]\nrole_arn=r\ncredential_source=EcsContainer\n", "EcsContainer"),
            ("[profile p]\naws_access_key_id=A\naws_secret_access_key=s\nrole_arn=r\nmfa_serial=m\n", "mfa_serial"),
            ("[profile p]\naws_access_key_id=A\n", "has aws_access_key_id and not aws_secret_access_key"),
            ("[profile p]\nweb_identity_token_file=t\n", "role_arn is not"),
            ("[profile p]\nsso_session=s\n", "no [sso-session s]"),
            ("[profile p]\nsso_start_url=u\n", "has no sso_region"),
        ] {
            let home = try Home(config: config)
            let error = await AWSTests.failure {
                _ = try await credentials(AWSTests.unreachable, home, ["AWS_PROFILE": "p"])
            }
            #expect(error?.message.contains(words) == true, "\(words): \(error?.description ?? "none")")
        }
    }

    @Test("Another program gives credentials, and what else it prints is not shown")
    func process() async throws {
        let home = try Home(
            config: #"[default]"# + "\n"
                + #"credential_process = echo '{"Version":1,"AccessKeyId":"AKIDPROC","SecretAccessKey":"s","SessionToken":"t","Expiration":"2099-01-01T00:00:00Z"}'"#
        )
        let found = try await credentials(AWSTests.unreachable, home)
        #expect(found.accessKeyID == "AKIDPROC" && text(found.sessionToken) == "t" && found.expiration != nil)
        for command in [
            "exit 3", "echo '{\"Version\":2,\"AccessKeyId\":\"A\",\"SecretAccessKey\":\"hidden\"}'", "echo hidden",
            "head -c 100000 /dev/zero",
        ] {
            try home.write(".aws/config", "[default]\ncredential_process = \(command)\n")
            let error = await AWSTests.failure { _ = try await credentials(AWSTests.unreachable, home) }
            #expect(error?.code == .keyServiceSettings && error?.message.contains("credential_process") == true)
            #expect(error?.description.contains("hidden") == false)
        }
    }

    @Test("The token that aws sso login left is exchanged, unless it has ended")
    func signOn() async throws {
        let home = try Home(
            config: """
                [profile p]
                sso_session = corp
                sso_account_id = 123456789012
                sso_role_name = Signer
                [sso-session corp]
                sso_start_url = https://corp.example/start
                sso_region = eu-west-1
                """)
        let service = Service { _, _ throws(SigstoreError) in
            (
                200, [],
                #"{"roleCredentials":{"accessKeyId":"ASIASSO","secretAccessKey":"s","sessionToken":"t","expiration":4070908800000}}"#
            )
        }
        let missing = await AWSTests.failure { _ = try await credentials(service, home, ["AWS_PROFILE": "p"]) }
        #expect(missing?.advice?.description == "run aws sso login --profile p" && service.requests.isEmpty)
        // The name of the file is the SHA-1 of `corp`.
        let file = ".aws/sso/cache/ee0bfd2552fbd840c02cc48b6e823320543c450f.json"
        try home.write(file, #"{"accessToken":"sso-token","expiresAt":"2099-01-01T00:00:00UTC"}"#)
        let found = try await credentials(service, home, ["AWS_PROFILE": "p"])
        #expect(found.accessKeyID == "ASIASSO" && found.expiration == Instant(milliseconds: 4_070_908_800_000))
        let request = try #require(service.requests.first)
        #expect(
            request.url.description
                == "https://portal.sso.eu-west-1.amazonaws.com/federation/credentials?role_name=Signer&account_id=123456789012"
        )
        #expect(AWSTests.value(request.secrets.first) == "sso-token" && request.refusesRedirects)
        try home.write(file, #"{"accessToken":"sso-token","expiresAt":"2020-01-01T00:00:00Z"}"#)
        let ended = await AWSTests.failure { _ = try await credentials(service, home, ["AWS_PROFILE": "p"]) }
        #expect(ended?.message.contains("2020-01-01T00:00:00Z") == true && service.requests.count == 1)
    }

    @Test(
        "Containers are asked with their token, over http only where they are",
        .enabled(if: RecordedExchanges.folder != nil, recordings))
    func containers() async throws {
        let exchange = try RecordedExchanges.exchange("awscred-04")
        let service = Service { _, _ throws(SigstoreError) in (200, [], exchange.answer) }
        let full = ["AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://127.0.0.1:7/ecs/creds"]
        let found = try await credentials(
            service, nil, full.merging(["AWS_CONTAINER_AUTHORIZATION_TOKEN": "tok123"]) { $1 })
        #expect(found.accessKeyID == "ASIAEXAMPLE" && found.identity == "arn:aws:iam::123456789012:role/r")
        let request = try #require(service.requests.first)
        #expect(request.url.path == exchange.path && request.isDirect)
        #expect(AWSTests.value(request.authorization) == exchange.headers["authorization"])
        #expect(request.header("accept") == exchange.headers["accept"])
        let relative = try await credentials(service, nil, ["AWS_CONTAINER_CREDENTIALS_RELATIVE_URI": "/v2/x"])
        #expect(relative.accessKeyID == "ASIAEXAMPLE")
        #expect(service.requests.last?.url.description == "http://169.254.170.2/v2/x")
        let home = try Home()
        try home.write("token", "tok\n")
        let count = service.requests.count
        for more in [
            ["AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://10.0.0.1/creds"],
            ["AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://example.com/creds"],
            ["AWS_CONTAINER_CREDENTIALS_RELATIVE_URI": "x"], ["AWS_CONTAINER_CREDENTIALS_FULL_URI": "ftp://x"],
            full.merging(["AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": "\(home.path)/token"]) { $1 },
            full.merging(["AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": "\(home.path)/none"]) { $1 },
        ] {
            let error = await AWSTests.failure { _ = try await credentials(service, home, more) }
            #expect(error?.code == .keyServiceSettings, "\(more)")
        }
        #expect(service.requests.count == count)
    }

    @Test("An instance's metadata service that cannot answer now is asked again, and one that is not there is not")
    func busyInstance() async throws {
        let counts = Mutex<[String: Int]>([:])
        let service = Service { request, _ throws(SigstoreError) in
            let count = counts.withLock { counts in
                counts[request.url.path, default: 0] += 1
                return counts[request.url.path]
            }
            guard count == 2 else { return (count == 1 ? 503 : 500, [], "") }
            if request.method == "PUT" { return (200, [], "token") }
            return request.url.path.hasSuffix("/")
                ? (200, [], "role")
                : (
                    200, [],
                    #"{"Code":"Success","AccessKeyId":"ASIAEXAMPLE","SecretAccessKey":"s","Token":"t","Expiration":"2099-01-01T00:00:00Z"}"#
                )
        }
        #expect(try await credentials(service).accessKeyID == "ASIAEXAMPLE")
        #expect(service.requests.count == 6 && counts.withLock { $0.values.allSatisfy { $0 == 2 } })
        let missing = Service { _, _ throws(SigstoreError) in throw SigstoreError(.unreachable, "there is no network") }
        let error = await AWSTests.failure { _ = try await credentials(missing) }
        #expect(error?.code == .keyServiceSettings && error?.message.contains("there are no credentials") == true)
        #expect(missing.requests.count == 1)
    }

    @Test("An instance is asked as the real client does", .enabled(if: RecordedExchanges.folder != nil, recordings))
    func instance() async throws {
        let exchanges = try ["awscred-01", "awscred-02", "awscred-03"].map(RecordedExchanges.exchange)
        let service = Service { request, _ throws(SigstoreError) in
            guard let exchange = exchanges.first(where: { $0.path == request.url.path && $0.method == request.method })
            else { return (404, [], "") }
            return (exchange.status, [], exchange.answer)
        }
        let found = try await credentials(service)
        #expect(found.accessKeyID == "ASIAEXAMPLE" && text(found.sessionToken) == "session-token")
        #expect(found.source.contains("my-role") && service.requests.count == 3)
        for (request, exchange) in zip(service.requests, exchanges) {
            #expect(request.url.path == exchange.path && request.method == exchange.method && request.isDirect)
            let ttl = "x-aws-ec2-metadata-token-ttl-seconds"
            #expect(request.header(ttl) == exchange.headers[ttl])
            #expect(AWSTests.value(request.secrets.first) == exchange.headers["x-aws-ec2-metadata-token"] ?? "")
        }
        let elsewhere = await AWSTests.failure {
            _ = try await credentials(service, nil, ["AWS_EC2_METADATA_SERVICE_ENDPOINT": "http://10.0.0.1"])
        }
        #expect(elsewhere?.code == .keyServiceSettings && service.requests.count == 3)
    }

    @Test("Without credentials, each place that was looked in is named")
    func none() async throws {
        let error = await AWSTests.failure {
            _ = try await credentials(AWSTests.unreachable, nil, ["AWS_EC2_METADATA_DISABLED": "true"])
        }
        #expect(error?.code == .keyServiceSettings)
        for words in [
            "AWS_ACCESS_KEY_ID", "AWS_WEB_IDENTITY_TOKEN_FILE", "no profile \"default\"",
            "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_EC2_METADATA_DISABLED is true",
        ] { #expect(error?.message.contains(words) == true, "\(error?.message ?? "")") }
    }

    @Test(
        "What the security token service refuses is said, and what it answers is read within bounds",
        arguments: [
            (
                403,
                "<ErrorResponse><Error><Code>AccessDenied</Code><Message>no &amp; no</Message></Error></ErrorResponse>",
                SigstoreError.Code.keyDenied, "sts:AssumeRoleWithWebIdentity is missing: AWS says AccessDenied: no & no"
            ),
            (
                400, "<ErrorResponse><Error><Code>ExpiredTokenException</Code></Error></ErrorResponse>", .keyDenied,
                "identity token has expired"
            ),
            (
                400, "<ErrorResponse><Error><Code>InvalidIdentityToken</Code></Error></ErrorResponse>", .keyDenied,
                "identity token is not accepted"
            ), (200, "<a><b></a>", .keyServiceAnswer, "not open"), (200, "{}", .keyServiceAnswer, "XML"),
            (200, "<!DOCTYPE a><a/>", .keyServiceAnswer, "declaration"),
            (200, "<a>&x;</a>", .keyServiceAnswer, "entity"), (200, "<a/>", .keyServiceAnswer, "no Credentials/"),
            (200, "<a", .keyServiceAnswer, "does not end"),
            (200, String(repeating: "<a>", count: 40), .keyServiceAnswer, "nested too deeply"),
        ] as [(Int, String, SigstoreError.Code, String)])
    func tokenService(_ status: Int, _ answer: String, _ code: SigstoreError.Code, _ words: String) async throws {
        let home = try Home()
        try home.write("token", "secret-token")
        let service = Service { _, _ throws(SigstoreError) in (status, [], answer) }
        let error = await AWSTests.failure {
            _ = try await credentials(
                service, home,
                ["AWS_WEB_IDENTITY_TOKEN_FILE": "\(home.path)/token", "AWS_ROLE_ARN": "arn:aws:iam::1:role/x"])
        }
        #expect(error?.code == code && error?.message.contains(words) == true, "\(error?.description ?? "none")")
        #expect(error?.description.contains("secret-token") == false)
    }

    @Test("Credentials are had anew in the minute before they end, not before; those that have ended are not taken")
    func endings() async throws {
        for (left, asked) in [(3600, 1), (90, 1), (30, 3), (-1, 3)] {
            let end = Instant(seconds: AWSTests.now + Int64(left))
            let service = Service { _, _ throws(SigstoreError) in
                (
                    200, [],
                    "{\"AccessKeyId\":\"ASIAEXAMPLE\",\"SecretAccessKey\":\"s\",\"Token\":\"t\",\"Expiration\":\"\(end)\"}"
                )
            }
            let surroundings = AWSTests.surroundings(
                service, ["AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://127.0.0.1:7/ecs/creds"])
            let chain = AWSCredentialChain(
                surroundings, try AWSProfiles(surroundings.variable), service, region: "us-east-1")
            for _ in 1...3 {
                let error = await AWSTests.failure { _ = try await chain.credentials() }
                #expect((error == nil) == (left > 0))
                if let error { #expect(error.message.contains("\(end)") && error.message.contains("container")) }
            }
            #expect(service.requests.count == asked, "\(left) s")
        }
    }

    @Test("Credentials go over plain HTTP to no other machine, whatever endpoint is configured")
    func plainHTTP() async throws {
        let home = try Home()
        try home.write("token", "secret-token")
        let service = Service { _, _ throws(SigstoreError) in (200, [], "<a/>") }
        for variable in ["AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_STS"] {
            let error = await AWSTests.failure {
                _ = try await credentials(
                    service, home,
                    [
                        "AWS_WEB_IDENTITY_TOKEN_FILE": "\(home.path)/token", "AWS_ROLE_ARN": "arn:aws:iam::1:role/x",
                        variable: "http://192.0.2.2:4566",
                    ])
            }
            #expect(error?.code == .keyServiceSettings && error?.message.contains("http://192.0.2.2:4566") == true)
        }
        #expect(service.requests.isEmpty)
    }

    @Test("In GovCloud the endpoints for FIPS are the plain ones, but for KMS")
    func governmentEndpoints() throws {
        let variables = ["AWS_USE_FIPS_ENDPOINT": "true"]
        let profiles = try AWSProfiles { variables[$0] }
        for (service, region, host) in [
            ("sts", "us-gov-west-1", "sts.us-gov-west-1.amazonaws.com"),
            ("portal.sso", "us-gov-east-1", "portal.sso.us-gov-east-1.amazonaws.com"),
            ("kms", "us-gov-west-1", "kms-fips.us-gov-west-1.amazonaws.com"),
            ("sts", "us-east-2", "sts-fips.us-east-2.amazonaws.com"),
        ] { #expect(try profiles.standardEndpoint(service, region: region).origin.host == host) }
    }

    // MARK: - Files

    @Test("Settings that are indented are settings all the same, and further below one with a value they are an error")
    func indented() throws {
        let text = "[profile work]\n  region = eu-west-1\n  role_arn = r\n\tsource_profile = s\n"
        let bytes = Array(text.replacingOccurrences(of: "\t", with: "  ").utf8)
        let file = try AWSConfigurationFile(parsing: bytes, path: "config", isConfig: true)
        #expect(
            file.sections[.init(.profile, "work".utf8)]?.settings
                == ["region": "eu-west-1", "role_arn": "r", "source_profile": "s"])
        let deeper = "[profile work]\nregion = eu-west-1\n  role_arn = hidden\n"
        let error = #expect(throws: SigstoreError.self) {
            _ = try AWSConfigurationFile(parsing: Array(deeper.utf8), path: "config", isConfig: true)
        }
        #expect(error?.message.contains("line 3") == true && error?.message.contains("region") == true)
        #expect(error?.description.contains("hidden") == false)
    }

    @Test("Configuration files are read as AWS has them")
    func configuration() throws {
        let text = """
            \u{feff}# a comment
            [default]
            region = plain
            [profile default]
            region = named ; comment
            [profile  "two words"]
            Output=json#kept
            s3 =
              max = 1
              # comment
            region = eu-west-1\r
            [preview]
            broken line = x
            [services s]
            kms =
            \tendpoint_url = https://kms.example/
            sts =
              endpoint_url = https://sts.example/
            [sso-session corp]
            sso_region = r
            """
        let file = try AWSConfigurationFile(parsing: Array(text.utf8), path: "config", isConfig: true)
        #expect(file.sections[.init(.profile, "default".utf8)]?.settings == ["region": "named"])
        let second = file.sections[.init(.profile, "two words".utf8)]
        #expect(second?.settings["output"] == "json#kept" && second?.settings["region"] == "eu-west-1")
        #expect(second?.nested["s3"] == ["max": "1"])
        #expect(file.sections[.init(.services, "s".utf8)]?.nested["kms"]?["endpoint_url"] == "https://kms.example/")
        #expect(file.sections[.init(.services, "s".utf8)]?.nested["sts"]?["endpoint_url"] == "https://sts.example/")
        #expect(file.sections[.init(.session, "corp".utf8)]?.settings["sso_region"] == "r")
        #expect(file.sections.count == 4)
    }

    @Test(
        "A malformed file is refused by its line, without what stands there",
        arguments: [
            "[default\nx=1", "[default]\nhidden", "[default] hidden\n", "[default]\n=hidden",
            "[default]\na = \u{1}hidden\u{ff}",
        ])
    func malformed(_ text: String) {
        var bytes = Array(text.utf8)
        // Not UTF-8.
        if text.contains("\u{ff}") { bytes = bytes.filter { $0 != 0xc3 } }
        let error = #expect(throws: SigstoreError.self) {
            _ = try AWSConfigurationFile(parsing: bytes, path: "/home/me/.aws/config", isConfig: true)
        }
        #expect(error?.code == .keyServiceSettings && error?.message.hasPrefix("/home/me/.aws/config, line ") == true)
        #expect(error?.description.contains("hidden") == false)
    }
}
