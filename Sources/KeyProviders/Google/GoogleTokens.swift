import HTTPTransport
import SigstoreCrypto
import StrictJSON

/// A token that Google's services take.
struct GoogleToken: Expiring {
    let authorization: Authorization
    /// When it ends; `nil` if nobody says.
    let expiration: Instant?
    /// Where it comes from, for a person.
    let source: String
    /// Whose it is, if that is known.
    let account: String?
    /// The project whose quota counts; `nil` for that of the key.
    let quotaProject: String?
    /// What to do if it is not accepted.
    let renewal: String
}

/// The credentials of a run, looked for once, and their token, had anew before it ends.
struct GoogleCredentialChain: Sendable {
    private let surroundings: KeySurroundings
    private let http: any HTTPClient
    private let found = Once<Int, GoogleCredentials>()
    private let once = Once<Int, GoogleToken>()

    init(_ surroundings: KeySurroundings, _ http: any HTTPClient) {
        (self.surroundings, self.http) = (surroundings, http)
    }

    /// What was found. Nothing is asked over the network.
    func credentials() async throws(SigstoreError) -> GoogleCredentials {
        let surroundings = surroundings
        return try await found.value(0) { () async throws(SigstoreError) in
            try await GoogleCredentials.find(surroundings)
        }
    }

    /// A token that holds for a minute at least.
    /// - Parameter refused: One that was not accepted.
    func token(otherThan refused: GoogleToken? = nil) async throws(SigstoreError) -> GoogleToken {
        let (surroundings, http) = (surroundings, http)
        return try await once.value(
            0, while: { !$0.isEnding(at: surroundings.now()) && $0.authorization !== refused?.authorization }
        ) {
            () async throws(SigstoreError) in
            let credentials = try await self.credentials()
            let tokens = GoogleTokens(surroundings: surroundings, http: http, credentials: credentials)
            let (token, account) = try await tokens.get()
            let now = Instant(seconds: surroundings.now())
            if let end = token.expiration, end <= now {
                throw SigstoreError(
                    .keyServiceSettings, "\(credentials.source): the token ended at \(end), and it is \(now)",
                    advice: "set this machine's clock, or renew the credentials")
            }
            let project = surroundings.variable("GOOGLE_CLOUD_QUOTA_PROJECT") ?? credentials.quotaProject
            if let project, !project.utf8.allSatisfy({ (0x21...0x7e).contains($0) }) {
                throw SigstoreError(
                    .keyServiceSettings, "GOOGLE_CLOUD_QUOTA_PROJECT is not the id of a project",
                    advice: "correct it, or unset it")
            }
            return GoogleToken(
                authorization: token.authorization, expiration: token.expiration, source: credentials.source,
                account: account ?? credentials.account, quotaProject: project, renewal: credentials.renewal)
        }
    }
}

/// Gets tokens for credentials.
struct GoogleTokens: Sendable {
    let surroundings: KeySurroundings
    let http: any HTTPClient
    let credentials: GoogleCredentials

    /// A token, and until when it holds.
    typealias Token = (authorization: Authorization, expiration: Instant?)

    private static let platform = "https://www.googleapis.com/auth/cloud-platform"
    /// What the tokens are for. The first one is enough to act as another account.
    private static let scopes = [platform, "https://www.googleapis.com/auth/cloudkms"]

    /// A new token, and whose it is if that is learned only now.
    func get() async throws(SigstoreError) -> (Token, String?) {
        if case .machine = credentials.kind { return try await ofMachine() }
        return (try await get(credentials.kind, scopes: Self.scopes), nil)
    }

    private func get(_ kind: GoogleCredentials.Kind, scopes: [String]) async throws(SigstoreError) -> Token {
        switch kind {
        case .token(let authorization): return (authorization, nil)
        case .serviceAccount(let key, let keyID, let email): return try ofAccount(key, keyID, email, scopes)
        case .refresh(let refresh): return try await refreshed(refresh)
        case .federated(let federation): return try await exchanged(federation, scopes)
        case .impersonated(let other, let url, let delegates, let seconds):
            let base = try await get(other, scopes: [Self.platform])
            return try await impersonated(base.authorization, url, delegates, seconds)
        case .machine: return try await ofMachine().0
        }
    }

    // MARK: - A service account's own key

    /// A token that is signed here: nobody is asked for it ("Self-signed JWTs", AIP-4111).
    private func ofAccount(_ key: PrivateKey, _ keyID: String?, _ email: String, _ scopes: [String])
        throws(SigstoreError) -> Token
    {
        let now = surroundings.now()
        let end = now.addingReportingOverflow(3600).partialValue
        var header: [(name: String, value: JSONValue)] = [("alg", .string("RS256")), ("typ", .string("JWT"))]
        if let keyID, !keyID.isEmpty { header.append(("kid", .string(keyID))) }
        var token = try SignedToken.make(
            header: JSONObject(header),
            claims: [
                "iss": .string(email), "scope": .string(scopes.joined(separator: " ")), "exp": .integer(end),
                "iat": .integer(now), "aud": .string(""), "sub": .string(email),
            ], key: key)
        defer { SecretBytes.cleanse(&token) }
        return (Authorization(scheme: "Bearer", token), Instant(seconds: end))
    }

    // MARK: - Tokens for tokens

    private func refreshed(_ refresh: GoogleRefresh) async throws(SigstoreError) -> Token {
        let form: [(String, FormValue)] = [
            ("grant_type", .text("refresh_token")), ("refresh_token", .secret(refresh.token)),
        ]
        guard refresh.hasClientInHeader else {
            return try await ask(
                refresh.url,
                [("client_id", .text(refresh.client)), ("client_secret", .secret(refresh.clientSecret))] + form)
        }
        let client = unsafe refresh.clientSecret.withBytes {
            unsafe Authorization(user: refresh.client.utf8, password: $0)
        }
        return try await ask(refresh.url, form, client)
    }

    /// The security token service (RFC 8693).
    private func exchanged(_ federation: GoogleFederation, _ scopes: [String]) async throws(SigstoreError) -> Token {
        let subject: SecretBytes
        do throws(SigstoreError) { subject = try await federation.subjectToken(surroundings, http) } catch {
            throw error.concerning(credentials.source)
        }
        var form: [(String, FormValue)] = [
            ("audience", .text(federation.audience)),
            ("grant_type", .text("urn:ietf:params:oauth:grant-type:token-exchange")),
            ("requested_token_type", .text("urn:ietf:params:oauth:token-type:access_token")),
            ("scope", .text(scopes.joined(separator: " "))), ("subject_token", .secret(subject)),
            ("subject_token_type", .text(federation.tokenType)),
        ]
        var client: Authorization?
        if let (id, secret) = federation.client {
            client = unsafe secret.withBytes { unsafe Authorization(user: id.utf8, password: $0) }
        } else if let project = federation.userProject {
            let options = JSONValue.object(["userProject": .string(project)]).serialized()
            form.insert(("options", .text(String(decoding: options, as: UTF8.self))), at: 2)
        }
        return try await ask(federation.url, form, client)
    }

    /// Sends a form, and reads the token in the answer (RFC 6749, section 5).
    /// - Parameter client: What proves which client asks, if that does not stand in the form.
    private func ask(_ url: HTTPURL, _ form: [(String, FormValue)], _ client: Authorization? = nil)
        async throws(SigstoreError) -> Token
    {
        var request = HTTPRequest(form: form, to: url)
        request.authorization = client
        var answer = try await http.askForCredentials(request, attempts: 3)
        defer { SecretBytes.cleanse(&answer.body) }
        guard answer.status == 200 else { throw refusal(answer, of: request.url) }
        return try token(in: answer)
    }

    private func token(in answer: HTTPResponse) throws(SigstoreError) -> Token {
        do throws(SigstoreError) {
            let json = JSONCursor(try JSONValue(parsing: answer.body, depth: 8, values: 1024))
            if let type = try json.optional("token_type"), try type.string().lowercased() != "bearer" {
                throw type.fault("is not \"Bearer\"")
            }
            let seconds = try json.optional("expires_in")
            let end = try seconds.map { seconds throws(SigstoreError) in
                let (end, isTooLate) = surroundings.now().addingReportingOverflow(try seconds.integer())
                guard !isTooLate else { throw seconds.fault("is no time that will come") }
                return Instant(seconds: end)
            }
            return (try Self.authorization(json.member("access_token")), end)
        } catch { throw answer.url.strangeAnswer(error) }
    }

    private static func authorization(_ json: JSONCursor) throws(SigstoreError) -> Authorization {
        let text = try json.string()
        guard (1...(1 << 14)).contains(text.utf8.count), text.utf8.allSatisfy({ (0x21...0x7e).contains($0) }) else {
            throw json.fault("is not one word of visible ASCII, or is too long")
        }
        return Authorization(scheme: "Bearer", text.utf8)
    }

    /// Acts as a service account (IAM Service Account Credentials API, generateAccessToken).
    private func impersonated(
        _ base: Authorization, _ url: HTTPURL, _ delegates: [String], _ seconds: Int64
    ) async throws(SigstoreError) -> Token {
        guard (600...43_200).contains(seconds) else {
            throw SigstoreError(
                .keyServiceSettings,
                "\(credentials.source): token_lifetime_seconds is \(seconds), expected 600 to 43200",
                advice: "correct it in the credentials file")
        }
        var members: [(name: String, value: JSONValue)] = [
            ("lifetime", .string("\(seconds)s")), ("scope", .array(Self.scopes.map { .string($0) })),
        ]
        if !delegates.isEmpty { members.append(("delegates", .array(delegates.map { .string($0) }))) }
        let request = HTTPRequest(
            "POST", url, headers: [(name: "Content-Type", value: "application/json")], authorization: base,
            body: .bytes(JSONValue.object(JSONObject(members)).serialized()))
        var answer = try await http.askForCredentials(request, attempts: 3)
        defer { SecretBytes.cleanse(&answer.body) }
        guard answer.status == 200 else {
            guard answer.status == 403 || answer.status == 404 else { throw refusal(answer, of: url) }
            let account = credentials.account ?? "the service account"
            let status = GoogleKeyService.Status(answer)
            throw SigstoreError(
                .keyDenied,
                "\(credentials.source): the permission \(status.permission ?? "iam.serviceAccounts.getAccessToken") is missing on \(account), or there is no such account; \(status.said(answer, by: "Google"))",
                advice: .sentence(
                    "grant roles/iam.serviceAccountTokenCreator on \(account) to who acts as it; for a federated identity, roles/iam.workloadIdentityUser"
                ), cause: HTTPStatusError(response: answer))
        }
        do throws(SigstoreError) {
            let json = JSONCursor(try JSONValue(parsing: answer.body, depth: 8, values: 1024))
            let time = try json.member("expireTime")
            guard let end = Instant(rfc3339: try time.string()) else { throw time.fault("is not a time (RFC 3339)") }
            return (try Self.authorization(json.member("accessToken")), end)
        } catch { throw url.strangeAnswer(error) }
    }

    /// What a refusal to give a token means: `{"error":"invalid_grant","error_description":"…"}`, or as Google's other services
    /// say it.
    private func refusal(_ answer: HTTPResponse, of url: HTTPURL) -> SigstoreError {
        if answer.status >= 500 || answer.status == 429 {
            return SigstoreError(
                .keyServiceFailed, "\(credentials.source): \(url.origin.authority) answers HTTP \(answer.status)",
                advice: "try again later", cause: HTTPStatusError(response: answer))
        }
        if let clock = Self.clockError(answer, surroundings.now()) { return clock.concerning(credentials.source) }
        let json = (try? JSONValue(parsing: answer.body, depth: 8, values: 1024)).map(JSONCursor.init)
        func member(_ name: String) -> String? {
            ((try? json?.optional(name)?.string()) ?? nil).map { SigstoreError.shortened($0) }
        }
        let code = member("error")
        // What was sent may stand in what is answered, and is not repeated.
        let description = member("error_description") ?? ""
        let words = description.isEmpty || holdsSecret(description) ? "" : ": \(description)"
        let said =
            code.map { "Google says \($0)\(words)" } ?? GoogleKeyService.Status(answer).said(answer, by: "Google")
        let what =
            code == "invalid_grant"
            ? "the token or key that proves who asks was revoked, has ended, or is not accepted"
            : "no token is given for these credentials"
        return SigstoreError(
            .keyDenied, "\(credentials.source): \(what); \(said)", advice: .sentence(credentials.renewal),
            cause: HTTPStatusError(response: answer))
    }

    /// Whether a text has a secret in it that was sent to have a token.
    private func holdsSecret(_ text: String) -> Bool {
        guard case .refresh(let refresh) = credentials.kind else { return false }
        let text = Array(text.utf8)
        return [refresh.clientSecret, refresh.token].contains { secret in
            var hidden = unsafe secret.withBytes { unsafe Array($0) }
            defer { SecretBytes.cleanse(&hidden) }
            guard !hidden.isEmpty, text.count >= hidden.count else { return false }
            return (0...(text.count - hidden.count)).contains { text[$0...].starts(with: hidden) }
        }
    }

    /// The error that clocks differ, if those of an answer and of this machine do, by more than Google accepts.
    static func clockError(_ answer: HTTPResponse, _ now: Int64) -> SigstoreError? {
        guard let theirs = answer.date, theirs.seconds.subtractingReportingOverflow(now).partialValue.magnitude > 300
        else {
            return nil
        }
        return SigstoreError(
            .keyDenied,
            "Google does not accept the token, and clocks differ: here it is \(Instant(seconds: now)), there it is \(theirs)",
            advice: "set this machine's clock")
    }

    // MARK: - The machine

    /// Asks the metadata service again while it starts, for 7.5 seconds at the most besides the attempts (GKE, "Troubleshoot
    /// authentication": it takes some seconds until a new container may ask; Compute Engine, "Query VM metadata", on HTTP 503).
    @Sendable private static func whileStarting(_ failure: CredentialFailure, _ attempt: Int) -> Duration? {
        guard (1...4).contains(attempt) else { return nil }
        let pause = Duration.milliseconds(250 << attempt)
        switch failure {
        case .status(let status): return status == 429 || status >= 500 ? pause : nil
        case .unreachable: return pause
        case .late: return attempt < 3 ? pause : nil
        }
    }

    /// The token of the service account that a machine has (Compute Engine, "About VM metadata"), and that account.
    private func ofMachine() async throws(SigstoreError) -> (Token, String?) {
        let name = "GCE_METADATA_HOST"
        let given = surroundings.variable(name)
        let host = given ?? "169.254.169.254"
        func nothing(_ why: String, _ cause: SigstoreError? = nil) -> SigstoreError {
            let file = GoogleCredentials.defaultFile(surroundings.variable).map { "there is no \($0)" }
            let tried = [
                "GOOGLE_OAUTH_ACCESS_TOKEN, CLOUDSDK_AUTH_ACCESS_TOKEN and GOOGLE_APPLICATION_CREDENTIALS are not set",
                file ?? "HOME is not set, so there is no file of gcloud's", why,
            ]
            return SigstoreError(
                .keyServiceSettings, "there are no credentials for Google Cloud: \(tried.joined(separator: "; "))",
                advice: "log in with gcloud auth application-default login, or set GOOGLE_APPLICATION_CREDENTIALS",
                cause: cause)
        }
        guard surroundings.variable("NO_GCE_CHECK")?.lowercased() != "true" || given != nil else {
            throw nothing("NO_GCE_CHECK is true, so this machine is not asked")
        }
        let url: HTTPURL
        do throws(SigstoreError) {
            url = try HTTPURL(
                try HTTPURL.origin(host, .http), path: "/computeMetadata/v1/instance/service-accounts/default/")
        } catch { throw error.concerning(name) }
        try url.expectNear(
            name, also: ["169.254.169.254", "metadata.google.internal", "metadata", "[fd20:ce::254]"])
        func request(_ path: String) throws(SigstoreError) -> HTTPRequest {
            var request = HTTPRequest(
                "GET", try HTTPURL(url.origin, path: url.path + path),
                headers: [(name: "Metadata-Flavor", value: "Google")])
            request.isDirect = true
            return request
        }
        func expectGoogle(_ answer: HTTPResponse) throws(SigstoreError) {
            guard answer.header("metadata-flavor")?.utf8.elementsEqual("Google".utf8) == true else {
                throw nothing("what answers at \(host) is not Google's metadata service")
            }
            guard answer.status != 404 else { throw nothing("this machine has no service account") }
        }
        // It is on the link or not there: a machine without one is not kept waiting. One of Google's may have just been started, or a
        // container on it, and then the service needs some seconds more.
        let isThere = given != nil || surroundings.machineName()?.utf8.starts(with: "Google".utf8) == true
        let email: HTTPResponse
        do throws(SigstoreError) {
            email = try await http.askForCredentials(
                try request("email"), limit: 1024, timeout: .seconds(given == nil ? 1 : 5), pause: surroundings.pause,
                again: isThere ? Self.whileStarting : nil)
        } catch {
            guard [.unreachable, .timedOut].contains(error.code) else { throw error }
            throw nothing("this machine has no metadata service (\(host))", error)
        }
        try expectGoogle(email)
        let isEmail = email.status == 200 && !email.body.isEmpty && email.body.allSatisfy { (0x21...0x7e).contains($0) }
        let account = isEmail ? String(decoding: email.body, as: UTF8.self) : nil
        var second = try request("token")
        second.url = second.url.adding("scopes", Self.scopes.joined(separator: ","))
        var answer = try await http.askForCredentials(
            second, timeout: .seconds(5), pause: surroundings.pause, again: Self.whileStarting)
        defer { SecretBytes.cleanse(&answer.body) }
        try expectGoogle(answer)
        guard answer.status == 200 else { throw refusal(answer, of: second.url) }
        return (try token(in: answer), account)
    }
}
