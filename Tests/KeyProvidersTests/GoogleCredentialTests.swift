import Foundation
import HTTPTransport
import SigstoreCrypto
import Spawning
import StrictJSON
import Testing

@testable import KeyProviders

/// Where credentials for Google Cloud come from, and how tokens are had for them.
struct GoogleCredentialTests {
    private static let recordings: Comment = "left out: the recorded exchanges, in ../shared/keys/wire"
    private typealias Service = AWSTests.Service

    private func token(
        _ client: any HTTPClient, _ variables: [String: String], now: Int64 = AWSTests.now, machine: String? = nil,
        pauses: AWSTests.Pauses? = nil
    ) async throws -> GoogleToken {
        var surroundings = AWSTests.surroundings(client, variables, now: now)
        surroundings.machineName = { machine }
        if let pauses { surroundings.pause = pauses.add }
        return try await GoogleCredentialChain(surroundings, client).token()
    }

    private let home: Home

    init() throws { home = try Home() }

    /// The variable that names a file with such credentials.
    private func file(_ text: String) throws -> [String: String] {
        try home.write("credentials.json", text)
        return ["GOOGLE_APPLICATION_CREDENTIALS": "\(home.path)/credentials.json"]
    }

    private static func account(_ more: String = "") throws -> String {
        let key = try GoogleTests.privateKey(.rsa2048)
        let pem = try unsafe key.pkcs8().withBytes { unsafe PEM.encode(label: "PRIVATE KEY", Array($0)) }
        return #"""
            {"type":"service_account","client_email":"signer@proj.iam.gserviceaccount.com","private_key_id":"kid1",
            "private_key":"\#(pem.replacing("\n", with: "\\n"))","token_uri":"https://oauth2.googleapis.com/token"\#(more)}
            """#
    }

    private static let user = #"""
        {"type":"authorized_user","client_id":"cid.apps.googleusercontent.com","client_secret":"cs","refresh_token":"rt",
        "quota_project_id":"of-the-file"}
        """#

    private static func external(_ source: String, _ more: String = "") -> String {
        #"""
        {"type":"external_account","audience":"//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/p/providers/q",
        "subject_token_type":"urn:ietf:params:oauth:token-type:jwt","token_url":"https://sts.googleapis.com/v1/token",
        "credential_source":\#(source)\#(more)}
        """#
    }

    private static let impersonation =
        #","service_account_impersonation_url":"https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts/signer@proj.iam.gserviceaccount.com:generateAccessToken""#

    private static let given = #"{"access_token":"ya29.sts","token_type":"Bearer","expires_in":3599}"#

    // MARK: - The order

    @Test("A token in a variable comes first, then the file that is named, then gcloud's, then the machine's")
    func order() async throws {
        let named = try file(Self.user)
        let service = Service { request, _ throws(SigstoreError) in
            (
                200, [(name: "metadata-flavor", value: "Google")],
                request.url.path.hasSuffix("/email") ? "sa@p" : Self.given
            )
        }
        var variables = named.merging(["GOOGLE_OAUTH_ACCESS_TOKEN": "one", "CLOUDSDK_AUTH_ACCESS_TOKEN": "two"]) { $1 }
        variables["HOME"] = home.path
        for (name, value) in [("GOOGLE_OAUTH_ACCESS_TOKEN", "one"), ("CLOUDSDK_AUTH_ACCESS_TOKEN", "two")] {
            let token = try await token(service, variables)
            #expect(AWSTests.value(token.authorization) == "Bearer \(value)" && token.source.contains(name))
            #expect(token.quotaProject == nil)
            variables[name] = nil
        }
        #expect(service.requests.isEmpty)
        let filed = try await token(service, variables)
        #expect(
            filed.source.contains(
                "credentials.json, named by GOOGLE_APPLICATION_CREDENTIALS, of the type authorized_user"))
        #expect(filed.quotaProject == "of-the-file")
        variables["GOOGLE_CLOUD_QUOTA_PROJECT"] = "of-the-variable"
        #expect(try await token(service, variables).quotaProject == "of-the-variable")
        variables["GOOGLE_APPLICATION_CREDENTIALS"] = nil
        let machine = try await token(service, variables)
        #expect(machine.source.contains("metadata service") && machine.account == "sa@p")
        try FileManager.default.createDirectory(
            atPath: "\(home.path)/.config/gcloud", withIntermediateDirectories: true)
        try home.write(".config/gcloud/application_default_credentials.json", Self.user)
        #expect(
            try await token(service, variables).source.contains("/.config/gcloud/application_default_credentials.json"))
        variables["CLOUDSDK_CONFIG"] = home.path
        #expect(try await token(service, variables).source.contains("metadata service"))
    }

    // MARK: - Files

    @Test(
        "A service account signs its token itself, as the real client does",
        .enabled(if: RecordedExchanges.folder != nil, recordings))
    func serviceAccount() async throws {
        let folder = try #require(RecordedExchanges.folder)
        let text = try String(
            contentsOf: folder.appendingPathComponent("gcpgrpc-11-sign-AsymmetricSign.txt"), encoding: .utf8)
        let line = try #require(text.split(separator: "\n").first { $0.hasPrefix("authorization: Bearer ") })
        let recorded = line.dropFirst("authorization: Bearer ".count).split(separator: ".").map(String.init)
        let claims = try JSONCursor.of(String(decoding: try #require(Base64.decodeURLSafe(recorded[1])), as: UTF8.self))
        let variables = try file(Self.account())
        let now = try claims.member("iat").integer()
        let found = try await token(AWSTests.unreachable, variables, now: now)
        let sent = AWSTests.value(found.authorization).dropFirst("Bearer ".count).split(separator: ".").map(String.init)
        #expect(sent.count == 3 && sent[0] == recorded[0] && sent[1] == recorded[1])
        let signature = try #require(Base64.decodeURLSafe(sent[2]))
        let key = try GoogleTests.privateKey(.rsa2048).publicKey
        #expect(
            try key.verifies(signature, ofBytes: Array("\(sent[0]).\(sent[1])".utf8), scheme: .rsaPKCS1(.sha256)))
        #expect(
            found.account == "signer@proj.iam.gserviceaccount.com" && found.expiration == Instant(seconds: now + 3600))
    }

    @Test(
        "A person's token is renewed as the real client does it",
        .enabled(if: RecordedExchanges.folder != nil, recordings))
    func authorizedUser() async throws {
        let exchange = try RecordedExchanges.exchange("gcpauth-01")
        let service = Service { _, _ throws(SigstoreError) in (exchange.status, [], exchange.answer) }
        let variables = try file(Self.user)
        let found = try await token(service, variables)
        #expect(AWSTests.value(found.authorization) == "Bearer ya29.fake")
        #expect(found.expiration == Instant(seconds: AWSTests.now + 3599))
        let request = try #require(service.requests.first)
        #expect(request.method == exchange.method && request.text == exchange.body && request.refusesRedirects)
        #expect(request.url.description == "https://\(exchange.headers["host"] ?? "")\(exchange.path)")
        #expect(request.header("content-type") == exchange.headers["content-type"] && request.authorization == nil)
    }

    @Test(
        "Another issuer's token is exchanged, and a service account acted as, as the real client does it",
        .enabled(if: RecordedExchanges.folder != nil, recordings))
    func federation() async throws {
        let exchanges = try ["gcpauth-02", "gcpauth-03"].map(RecordedExchanges.exchange)
        let service = Service { _, number throws(SigstoreError) in (200, [], exchanges[min(number, 2) - 1].answer) }
        try home.write("token", "eyJhbGciOiJub25lIn0.eyJzdWIiOiJ4In0.x\n")
        let variables = try file(Self.external(#"{"file":"\#(home.path)/token"}"#, Self.impersonation))
        let found = try await token(service, variables)
        #expect(AWSTests.value(found.authorization) == "Bearer ya29.imp")
        #expect(found.expiration == Instant(rfc3339: "2099-01-01T00:00:00Z"))
        #expect(found.account == "signer@proj.iam.gserviceaccount.com")
        #expect(service.requests.count == 2)
        for (request, exchange) in zip(service.requests, exchanges) {
            #expect(request.method == exchange.method && request.text == exchange.body)
            #expect(request.url.description == "https://\(exchange.headers["host"] ?? "")\(exchange.path)")
            #expect(request.header("content-type") == exchange.headers["content-type"])
            #expect(AWSTests.value(request.authorization) == exchange.headers["authorization"] ?? "")
        }
    }

    @Test("The other issuer's token comes out of JSON, from a URL, or from a program that was allowed")
    func sources() async throws {
        try home.write("token.json", #"{"value":"from-json"}"#)
        try Spawning.writeProgram(
            "\(home.path)/program",
            """
            #!/bin/sh
            printf '{"version":1,"success":true,"token_type":"urn:ietf:params:oauth:token-type:jwt","id_token":"%s","expiration_time":4070908800}' \\
                "$1-$GOOGLE_EXTERNAL_ACCOUNT_TOKEN_TYPE-$GOOGLE_EXTERNAL_ACCOUNT_INTERACTIVE-$GOOGLE_EXTERNAL_ACCOUNT_IMPERSONATED_EMAIL"
            """)
        let format = #""format":{"type":"json","subject_token_field_name":"value"}"#
        let service = Service { request, _ throws(SigstoreError) in
            if request.url.origin.host == "tokens.example" || request.url.origin.host == "169.254.169.254" {
                #expect(AWSTests.value(request.secrets.first) == "s3cret" && request.refusesRedirects)
                #expect(request.isDirect == (request.url.origin.scheme == .http))
                return (200, [], #"{"value":"from-url"}"#)
            }
            return request.url.path == "/v1/token"
                ? (200, [], Self.given) : (200, [], #"{"accessToken":"i","expireTime":"2099-01-01T00:00:00Z"}"#)
        }
        for (source, more, subject) in [
            (#"{"file":"\#(home.path)/token.json",\#(format)}"#, "", "from-json"),
            (#"{"url":"https://tokens.example/x","headers":{"X-Secret":"s3cret"},\#(format)}"#, "", "from-url"),
            (#"{"url":"http://169.254.169.254/x","headers":{"X-Secret":"s3cret"},\#(format)}"#, "", "from-url"),
            (
                #"{"executable":{"command":"\#(home.path)/program one"}}"#, Self.impersonation,
                "one-urn%3Aietf%3Aparams%3Aoauth%3Atoken-type%3Ajwt-0-signer%40proj.iam.gserviceaccount.com"
            ),
        ] {
            let variables = try file(Self.external(source, more))
            _ = try await token(
                service, variables.merging(["GOOGLE_EXTERNAL_ACCOUNT_ALLOW_EXECUTABLES": "1"]) { $1 })
            let form = try #require(service.requests.last { $0.url.path == "/v1/token" }).text
            #expect(form.contains("&subject_token=\(subject)&"), "\(form)")
            let scope = "https%3A%2F%2Fwww.googleapis.com%2Fauth%2Fcloud-platform"
            #expect(form.contains("&scope=\(scope)&") == !more.isEmpty && form.contains("&scope=\(scope)"))
        }
    }

    @Test("A program's token that an earlier run left is used, and another one got if it has ended")
    func outputFile() async throws {
        let answer =
            #"{"version":1,"success":true,"token_type":"urn:ietf:params:oauth:token-type:saml2","saml_response":"LEFT","expiration_time":END}"#
        try Spawning.writeProgram(
            "\(home.path)/program", "#!/bin/sh\necho '\(answer)' | sed 's/LEFT/made/; s/END/4070908800/'\n")
        let service = Service { _, _ throws(SigstoreError) in (200, [], Self.given) }
        let variables = try file(
            Self.external(#"{"executable":{"command":"\#(home.path)/program","output_file":"\#(home.path)/left"}}"#))
        let allowed = variables.merging(["GOOGLE_EXTERNAL_ACCOUNT_ALLOW_EXECUTABLES": "1"]) { $1 }
        for (end, subject) in [("4070908800", "left"), ("1", "made")] {
            try home.write("left", answer.replacing("LEFT", with: "left").replacing("END", with: end))
            _ = try await token(service, allowed)
            #expect(service.requests.last?.text.contains("&subject_token=\(subject)&") == true)
        }
        let refused = await AWSTests.failure { _ = try await token(service, variables) }
        #expect(refused?.message.contains("GOOGLE_EXTERNAL_ACCOUNT_ALLOW_EXECUTABLES is not 1") == true)
        for program in [
            "exit 3", "echo hidden", #"echo '{"version":1,"success":false,"code":"401","message":"not today"}'"#,
            #"echo '{"version":2,"success":true}'"#, "head -c 100000 /dev/zero",
            #"echo '{"version":1,"success":true,"token_type":"x","id_token":"hidden","expiration_time":1}'"#,
        ] {
            try Spawning.writeProgram("\(home.path)/program", "#!/bin/sh\n\(program)\n")
            let error = await AWSTests.failure { _ = try await token(service, allowed) }
            #expect(error?.code == .keyServiceSettings && error?.description.contains("hidden") == false)
            #expect(error?.message.contains("\(home.path)/program") == true)
            #expect(error?.message.contains("not today") == program.contains("not today"))
        }
    }

    @Test("AWS's credentials sign a question, which Google asks in their name")
    func aws() async throws {
        let service = Service { _, _ throws(SigstoreError) in (200, [], Self.given) }
        let variables = try file(
            Self.external(
                #"{"environment_id":"aws1","region_url":"http://169.254.169.254/x","url":"http://169.254.169.254/y","regional_cred_verification_url":"https://sts.{region}.amazonaws.com?Action=GetCallerIdentity&Version=2011-06-15"}"#
            ))
        _ = try await token(
            service,
            variables.merging(AWSTests.keys) { $1 }.merging(["AWS_SESSION_TOKEN": "session", "HOME": "/nonexistent"]) {
                $1
            })
        let form = try #require(service.requests.first).text
        let field = try #require(form.split(separator: "&").first { $0.hasPrefix("subject_token=") })
        // It is percent-encoded as a whole, and once more as part of the form.
        let once = try #require(field.dropFirst("subject_token=".count).removingPercentEncoding)
        let sent = try JSONCursor.of(try #require(once.removingPercentEncoding))
        #expect(try sent.member("method").string() == "POST")
        let url = "https://sts.us-east-1.amazonaws.com?Action=GetCallerIdentity&Version=2011-06-15"
        #expect(try sent.member("url").string() == url)
        var headers: [String: String] = [:]
        for header in try sent.member("headers").elements() {
            headers[try header.member("key").string()] = try header.member("value").string()
        }
        let authorization = headers.removeValue(forKey: "Authorization")
        #expect(
            headers == [
                "host": "sts.us-east-1.amazonaws.com", "x-amz-date": "20260102T030405Z",
                "x-amz-security-token": "session",
                "x-goog-cloud-target-resource":
                    "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/p/providers/q",
            ])
        headers["host"] = nil
        let expected = try RequestSignature(
            method: "POST", url: HTTPURL(parsing: url), headers: headers.map { (name: $0.key, value: $0.value) },
            body: [], accessKeyID: "AKIDEXAMPLE", secret: SecretBytes("secret".utf8), region: "us-east-1",
            service: "sts", date: "20260102T030405Z")
        #expect(authorization == "AWS4-HMAC-SHA256 \(expected.credentials)")
    }

    @Test("A service account is acted as by another one, and by those between")
    func impersonated() async throws {
        let service = Service { _, _ throws(SigstoreError) in
            (200, [], #"{"accessToken":"ya29.imp","expireTime":"2099-01-01T00:00:00Z"}"#)
        }
        let variables = try file(
            #"{"type":"impersonated_service_account","source_credentials":\#(try Self.account()),"delegates":["projects/-/serviceAccounts/between@p"]\#(Self.impersonation)}"#
        )
        let found = try await token(service, variables)
        #expect(AWSTests.value(found.authorization) == "Bearer ya29.imp")
        #expect(found.account == "signer@proj.iam.gserviceaccount.com")
        let request = try #require(service.requests.first)
        #expect(service.requests.count == 1 && AWSTests.value(request.authorization).hasPrefix("Bearer eyJ"))
        #expect(request.text.contains(#""delegates":["projects/-/serviceAccounts/between@p"]"#))
        let denied = Service { _, _ throws(SigstoreError) in
            (403, [], #"{"error":{"code":403,"message":"Permission denied","status":"PERMISSION_DENIED"}}"#)
        }
        let error = await AWSTests.failure { _ = try await token(denied, variables) }
        #expect(error?.code == .keyDenied)
        for words in [
            "iam.serviceAccounts.getAccessToken is missing on signer@proj.iam.gserviceaccount.com",
            "roles/iam.serviceAccountTokenCreator",
        ] { #expect(error?.description.contains(words) == true, "\(error?.description ?? "")") }
    }

    @Test("A file that cannot be meant is refused by its member, without what stands there")
    func wrongFiles() async throws {
        for (text, words) in [
            ("hidden", "credentials.json"), ("[]", "not an object"), ("{}", "has no \"type\""),
            (#"{"installed":{"client_secret":"hidden"}}"#, "secret of an OAuth client"),
            (#"{"type":"gdch_service_account"}"#, "gdch_service_account"),
            (#"{"type":"service_account","client_email":"x"}"#, "private_key"),
            (
                #"{"type":"service_account","client_email":"x","private_key":"hidden"}"#,
                "private_key that cannot be used"
            ),
            (#"{"type":"authorized_user","client_id":"x","client_secret":"hidden"}"#, "refresh_token"),
            (
                Self.user.replacing("\"client_id\"", with: "\"token_uri\":\"http://tokens.example\",\"client_id\""),
                "https only"
            ),
            (
                Self.external(#"{"file":"/nonexistent/hidden-not"}"#).replacing("https://sts", with: "http://sts"),
                "https only"
            ),
            (Self.external(#"{"url":"http://10.0.0.1/x"}"#), "its link only"), (Self.external("{}"), "names no file"),
            (Self.external(#"{"certificate":{}}"#), "certificate"),
            (Self.external(#"{"environment_id":"aws2"}"#), "aws1"),
            (Self.external(#"{"environment_id":"aws1","regional_cred_verification_url":"http://x"}"#), "https URL"),
            (Self.external(#"{"executable":{"command":" "}}"#), "empty command"),
            (Self.external(#"{"executable":{"command":"x","timeout_millis":1}}"#), "timeout_millis"),
            (Self.external(#"{"file":"x","format":{"type":"xml"}}"#), "format"),
            (Self.external(#"{"file":"x"}"#, #","service_account_impersonation_url":"http://x""#), "https only"),
            (
                #"{"type":"impersonated_service_account","source_credentials":{"type":"impersonated_service_account"}}"#,
                "impersonates in turn"
            ),
        ] {
            let variables = try file(text)
            let error = await AWSTests.failure { _ = try await token(AWSTests.unreachable, variables) }
            #expect(error?.code == .keyServiceSettings, "\(text): \(error?.description ?? "none")")
            #expect(error?.message.contains(words) == true, "\(words): \(error?.description ?? "none")")
            #expect(error?.description.contains("hidden\"") == false && error?.message.contains("GOOGLE_APPL") == true)
        }
        let missing = await AWSTests.failure {
            _ = try await token(AWSTests.unreachable, ["GOOGLE_APPLICATION_CREDENTIALS": "/nonexistent/x.json"])
        }
        #expect(missing?.code == .keyServiceSettings && missing?.message.contains("/nonexistent/x.json") == true)
        let spaced = await AWSTests.failure {
            _ = try await token(AWSTests.unreachable, ["GOOGLE_OAUTH_ACCESS_TOKEN": "se cret"])
        }
        #expect(spaced?.code == .keyServiceSettings && spaced?.description.contains("se cret") == false)
    }

    @Test("Credentials for another universe decide the address, and may not disagree with the variable")
    func universe() async throws {
        let variables = try file(Self.account(#","universe_domain":"apis.example.eu""#))
        let service = Service { _, _ throws(SigstoreError) in (404, [], "") }
        _ = await AWSTests.failure {
            _ = try await GoogleTests.place(service, variables).publicKey(GoogleTests.reference)
        }
        #expect(service.requests.first?.url.origin.host == "cloudkms.apis.example.eu")
        let other = variables.merging(["GOOGLE_CLOUD_UNIVERSE_DOMAIN": "googleapis.com"]) { $1 }
        let error = await AWSTests.failure {
            _ = try await GoogleTests.place(service, other).publicKey(GoogleTests.reference)
        }
        #expect(error?.code == .keyServiceSettings && error?.message.contains("apis.example.eu") == true)
        #expect(service.requests.count == 1)
    }

    // MARK: - The machine

    @Test("The machine is asked as the real client asks it", .enabled(if: RecordedExchanges.folder != nil, recordings))
    func machine() async throws {
        let exchange = try RecordedExchanges.exchange("gcpmeta-01")
        let service = Service { request, _ throws(SigstoreError) in
            let flavor = [(name: "metadata-flavor", value: "Google")]
            return request.url.path.hasSuffix("/email") ? (200, flavor, "") : (200, flavor, exchange.answer)
        }
        let found = try await token(service, ["HOME": "/nonexistent"])
        #expect(AWSTests.value(found.authorization) == "Bearer ya29.fake" && found.account == nil)
        let request = try #require(service.requests.last)
        #expect(service.requests.count == 2)
        #expect(request.method == exchange.method && "\(request.url.path)?\(request.url.query ?? "")" == exchange.path)
        for request in service.requests {
            #expect(request.header("metadata-flavor") == exchange.headers["metadata-flavor"])
            #expect(
                request.isDirect && request.refusesRedirects
                    && request.url.origin.description == "http://169.254.169.254")
        }
        // It is there or not: nobody waits for it.
        #expect(service.requests[0].timeout <= .seconds(1))
        let named = try await token(service, ["GCE_METADATA_HOST": "127.0.0.1:7"])
        #expect(named.account == nil && service.requests.last?.url.origin.authority == "127.0.0.1:7")
    }

    @Test("Without credentials each place that was looked in is named; another host than Google's is not asked")
    func none() async throws {
        let nothing = Service { _, _ throws(SigstoreError) in throw SigstoreError(.unreachable, "there is no network") }
        for (service, variables, words) in [
            (nothing, [:], "no metadata service (169.254.169.254)"),
            (Service { _, _ throws(SigstoreError) in (200, [], "<html>") }, [:], "not Google's metadata service"),
            (
                Service { _, _ throws(SigstoreError) in (404, [(name: "metadata-flavor", value: "Google")], "") }, [:],
                "no service account"
            ), (nothing, ["NO_GCE_CHECK": "true"], "NO_GCE_CHECK is true"),
        ] as [(Service, [String: String], String)] {
            let count = service.requests.count
            let error = await AWSTests.failure {
                _ = try await token(service, variables.merging(["HOME": "/nonexistent"]) { $1 })
            }
            #expect(error?.code == .keyServiceSettings && service.requests.count <= count + 1)
            for words in [
                words, "GOOGLE_OAUTH_ACCESS_TOKEN", "GOOGLE_APPLICATION_CREDENTIALS",
                "/nonexistent/.config/gcloud/application_default_credentials.json",
            ] { #expect(error?.message.contains(words) == true, "\(error?.message ?? "")") }
        }
        for host in ["10.0.0.1", "metadata.example", "a/b", "user@169.254.169.254"] {
            let service = Service { _, _ throws(SigstoreError) in (200, [], "") }
            let error = await AWSTests.failure { _ = try await token(service, ["GCE_METADATA_HOST": host]) }
            #expect(error != nil && service.requests.isEmpty, "\(host)")
        }
    }

    @Test(
        "A metadata service that is being started is asked again, if the machine is Google's or one is named; another machine is not kept waiting",
        arguments: [
            ("Google Compute Engine\n", nil, 4), ("Google", nil, 4), (nil, "127.0.0.1:7", 4), (nil, nil, 0),
            ("ThinkPad", nil, 0),
        ] as [(String?, String?, Int)])
    func starting(_ machine: String?, _ host: String?, _ attempts: Int) async throws {
        let variables = ["HOME": "/nonexistent", "GCE_METADATA_HOST": host ?? ""]
        let flavor = [(name: "metadata-flavor", value: "Google")]
        for failures in [1, 4, 5] {
            let pauses = AWSTests.Pauses()
            let service = Service { request, number throws(SigstoreError) in
                if number <= failures {
                    guard number == 2 else { throw SigstoreError(.unreachable, "connection refused") }
                    return (503, flavor, "")
                }
                return request.url.path.hasSuffix("/email") ? (200, flavor, "sa@p") : (200, flavor, Self.given)
            }
            let error = await AWSTests.failure {
                _ = try await token(service, variables, machine: machine, pauses: pauses)
            }
            #expect((error == nil) == (failures <= attempts), "\(failures): \(error?.description ?? "")")
            #expect(pauses.all.count == min(failures, attempts))
            #expect(pauses.all.reduce(.zero, +) < .seconds(8))
        }
        // Nothing answers in time: not for long either.
        let pauses = AWSTests.Pauses()
        let silent = Service { _, _ throws(SigstoreError) in throw SigstoreError(.timedOut, "no answer") }
        let error = await AWSTests.failure { _ = try await token(silent, variables, machine: machine, pauses: pauses) }
        #expect(error?.code == .keyServiceSettings && silent.requests.count == (attempts == 0 ? 1 : 3))
        #expect(silent.requests.allSatisfy { $0.timeout <= .seconds(host == nil ? 1 : 5) })
    }

    @Test("A metadata service that cannot give a token now is asked again, also where nobody knows whose machine it is")
    func busyMachine() async throws {
        let pauses = AWSTests.Pauses()
        let flavor = [(name: "metadata-flavor", value: "Google")]
        let service = Service { request, number throws(SigstoreError) in
            if request.url.path.hasSuffix("/email") { return (200, flavor, "sa@p") }
            return number < 5 ? ([503, 429, 500][number - 2], flavor, "") : (200, flavor, Self.given)
        }
        let found = try await token(service, ["HOME": "/nonexistent"], pauses: pauses)
        #expect(found.account == "sa@p" && pauses.all == [.milliseconds(500), .seconds(1), .seconds(2)])
    }

    // MARK: - Refusals

    @Test(
        "What Google's token service refuses is said, and what it answers is read within bounds",
        arguments: [
            (
                400, #"{"error":"invalid_grant","error_description":"Token has been expired or revoked."}"#,
                SigstoreError.Code.keyDenied,
                ["revoked", "invalid_grant: Token has been", "gcloud auth application-default login"]
            ),
            (401, #"{"error":"invalid_client"}"#, .keyDenied, ["no token is given", "invalid_client"]),
            (403, #"{"error":{"status":"PERMISSION_DENIED","message":"no"}}"#, .keyDenied, ["PERMISSION_DENIED: no"]),
            (429, "", .keyServiceFailed, ["HTTP 429"]), (503, "", .keyServiceFailed, ["HTTP 503"]),
            (200, "{", .keyServiceAnswer, ["oauth2.googleapis.com"]), (200, "[]", .keyServiceAnswer, ["not an object"]),
            (200, "{}", .keyServiceAnswer, ["access_token"]),
            (200, #"{"access_token":"hidden\n"}"#, .keyServiceAnswer, ["visible ASCII"]),
            (200, #"{"access_token":"hidden","token_type":"mac"}"#, .keyServiceAnswer, ["token_type"]),
            (200, #"{"access_token":"hidden","expires_in":9223372036854775807}"#, .keyServiceAnswer, ["expires_in"]),
            (200, #"{"access_token":"hidden","expires_in":0}"#, .keyServiceSettings, ["the token ended at"]),
        ] as [(Int, String, SigstoreError.Code, [String])])
    func refusals(_ status: Int, _ answer: String, _ code: SigstoreError.Code, _ words: [String]) async throws {
        let service = Service { _, _ throws(SigstoreError) in (status, [], answer) }
        let variables = try file(Self.user)
        let error = await AWSTests.failure { _ = try await token(service, variables) }
        #expect(error?.code == code, "\(error?.description ?? "none")")
        for word in words { #expect(error?.description.contains(word) == true, "\(word): \(error?.description ?? "")") }
        #expect(error?.description.contains("hidden") == false && error?.description.contains("\"rt\"") == false)
        #expect(service.requests.count == ([429, 503].contains(status) ? 3 : 1))
    }

    @Test("A token is had once, and anew within a minute of its end")
    func renewal() async throws {
        let variables = try file(Self.user)
        let service = Service { _, number throws(SigstoreError) in
            (200, [], #"{"access_token":"t\#(number)","expires_in":\#(number == 1 ? 60 : 61)}"#)
        }
        let chain = GoogleCredentialChain(AWSTests.surroundings(service, variables), service)
        for expected in ["t1", "t2", "t2", "t2"] {
            #expect(AWSTests.value(try await chain.token().authorization) == "Bearer \(expected)")
        }
        #expect(service.requests.count == 2)
    }

    @Test("A token that is refused before its time is renewed once, and no secret that an answer repeats is shown")
    func refusedToken() async throws {
        let variables = try file(Self.user)
        let service = Service { request, number throws(SigstoreError) in
            if request.url.path == "/token" { return (200, [], #"{"access_token":"t\#(number)","expires_in":3599}"#) }
            return AWSTests.value(request.authorization) == "Bearer t1" ? (401, [], "") : (404, [], "")
        }
        let error = await AWSTests.failure {
            _ = try await GoogleTests.place(service, variables).publicKey(GoogleTests.reference)
        }
        #expect(error?.code == .keyNotFound && service.requests.count == 4, "\(error?.description ?? "")")
        let never = Service { request, _ throws(SigstoreError) in
            request.url.path == "/token" ? (200, [], #"{"access_token":"t","expires_in":3599}"#) : (401, [], "")
        }
        let refused = await AWSTests.failure {
            _ = try await GoogleTests.place(never, variables).publicKey(GoogleTests.reference)
        }
        #expect(refused?.code == .keyDenied && never.requests.count == 4)
        let echo = Service { _, _ throws(SigstoreError) in
            (400, [], #"{"error":"invalid_grant","error_description":"no such token: rt"}"#)
        }
        let repeated = await AWSTests.failure { _ = try await token(echo, variables) }
        #expect(repeated?.code == .keyDenied && repeated?.message.contains("no such token") == false)
    }
}
