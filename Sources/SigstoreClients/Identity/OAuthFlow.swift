public import HTTPTransport
internal import LocalSystem
internal import SigstoreCrypto
internal import SigstoreVerification
public import StrictJSON
internal import Synchronization

/// Signing in to an OpenID Connect issuer: through the browser (RFC 6749, section 4.1, with PKCE, RFC 7636, and a
/// redirect to this machine, RFC 8252), or with a code that is entered on another device (RFC 8628).
public struct OAuthFlow: IdentityTokenProvider {
    /// How a person signs in.
    public enum Method: Sendable {
        /// With the browser on this machine. The redirect URL is `http://`, a loopback host, a port of which 0 is any
        /// free one, and a path.
        case browser(redirectURL: String)
        /// With a code that is entered on any device.
        case device
    }

    /// What a person is to do now, and that it is done.
    public enum Prompt: Sendable {
        /// Open this URL in the browser.
        case open(url: String)
        /// Open the URL on any device and enter the code; the second URL, if there is one, has the code in it.
        case enter(code: String, url: String, complete: String?)
        /// Nothing more: the person has signed in as this identity.
        case signedIn(identity: String)
    }

    /// The redirect URL that cosign uses: any free port.
    public static let defaultRedirectURL = "http://localhost:0/auth/callback"

    public var name: String { "the sign-in at \(issuer.origin.authority)" }

    private let issuer: HTTPURL
    private let issuerText: String
    private let clientSecret: String?
    private let method: Method
    private let timeout: Duration
    private let program: String?
    private let http: any HTTPClient
    private let prompt: @Sendable (Prompt) -> Void

    /// Prepares a sign-in.
    /// - Parameters:
    ///   - issuer: The issuer's URL, as its tokens name it.
    ///   - clientSecret: The secret of the client, if it has one.
    ///   - method: How a person signs in.
    ///   - timeout: How long the person may take.
    ///   - program: The name that the browser's page shows in its title, if it is to show one.
    ///   - http: Who carries the requests.
    ///   - prompt: Told what the person is to do.
    /// - Throws: `SigstoreError` if the issuer or the redirect URL is not a usable URL.
    public init(
        issuer: String, clientSecret: String? = nil, method: Method = .browser(redirectURL: defaultRedirectURL),
        timeout: Duration = .seconds(300), program: String? = nil, http: any HTTPClient,
        prompt: @escaping @Sendable (Prompt) -> Void
    ) throws(SigstoreError) {
        self.issuer = try HTTPURL(parsing: issuer)
        issuerText = issuer
        self.clientSecret = clientSecret
        self.method = method
        self.timeout = timeout
        self.program = program
        self.http = http
        self.prompt = prompt
        if case .browser(let redirectURL) = method { _ = try LoopbackResponder.Address(parsing: redirectURL) }
    }

    /// Has the person sign in.
    /// - Parameter audience: The client id, which is whom the token is meant for.
    /// - Throws: `SigstoreError` with `sign-in-failed`, `sign-in-refused` if an answer is not to our request,
    ///   `timed-out`, or what the transport throws.
    public func token(audience: String) async throws(SigstoreError) -> IdentityToken {
        do throws(SigstoreError) {
            let endpoints = try await discover()
            let token =
                switch method {
                case .browser(let redirectURL): try await signIn(endpoints, redirectURL, clientID: audience)
                case .device: try await enterCode(endpoints, clientID: audience)
                }
            prompt(.signedIn(identity: token.identity))
            return token
        } catch { throw error.concerning(name) }
    }

    // MARK: - Discovery

    private struct Endpoints {
        let authorization: HTTPURL
        let token: HTTPURL
        let device: HTTPURL?
        let postsSecret: Bool
    }

    /// OpenID Connect Discovery 1.0, section 4.
    private func discover() async throws(SigstoreError) -> Endpoints {
        let answer = try await http.send(
            HTTPRequest(
                "GET", try issuer.appending("/.well-known/openid-configuration"), bodyLimit: 1 << 20,
                timeout: .seconds(20)))
        do throws(SigstoreError) {
            let json = JSONCursor(try JSONValue(parsing: answer.body, depth: 16))
            let stated = try json.member("issuer")
            guard try stated.string().utf8.elementsEqual(issuerText.utf8) else {
                throw stated.fault("is \"\(try stated.string())\", expected \"\(issuerText)\"")
            }
            let methods = try json.optional("token_endpoint_auth_methods_supported")?.elements() ?? []
            var names: [String] = []
            for method in methods { names.append(try method.string()) }
            let device = try json.optional("device_authorization_endpoint")
            return Endpoints(
                authorization: try endpoint(json.member("authorization_endpoint")),
                token: try endpoint(json.member("token_endpoint")),
                device: try device.map { json throws(SigstoreError) in try endpoint(json) },
                postsSecret: !names.isEmpty && !names.contains("client_secret_basic"))
        } catch {
            throw SigstoreError(
                .signInFailed, "the issuer's configuration cannot be used: \(error.message)",
                advice: .remedy(.checkIssuer), cause: error)
        }
    }

    /// An endpoint, which is not reached with less protection than the issuer itself.
    private func endpoint(_ json: JSONCursor) throws(SigstoreError) -> HTTPURL {
        let url = try HTTPURL(parsing: try json.string())
        guard url.origin.scheme == .https || issuer.origin.scheme == .http else {
            throw json.fault("is not an https URL, although the issuer's is")
        }
        return url
    }

    // MARK: - The browser

    private func signIn(_ endpoints: Endpoints, _ redirectURL: String, clientID: String) async throws(SigstoreError)
        -> IdentityToken
    {
        let responder = try LoopbackResponder(
            try LoopbackResponder.Address(parsing: redirectURL), program: program)
        let (state, nonce, verifier) = (Self.secret(), Self.secret(), Self.secret())
        let challenge = Base64.encodeURLSafe(try Digest.sha256(Array(verifier.utf8)).bytes)
        let url = endpoints.authorization.adding("response_type", "code").adding("client_id", clientID)
            .adding("redirect_uri", responder.redirectURL).adding("scope", "openid email").adding("state", state)
            .adding("nonce", nonce).adding("code_challenge", challenge).adding("code_challenge_method", "S256")
        prompt(.open(url: url.description))
        guard let callback = await responder.callback(within: timeout) else {
            responder.finish(nil, .failure(""))
            guard !Task.isCancelled else { throw SigstoreError(.cancelled, "the sign-in was cancelled") }
            throw SigstoreError(
                .timedOut, "nobody signed in within \(timeout.components.seconds) s",
                advice: .remedy(.signInElsewhere))
        }
        do throws(SigstoreError) {
            let code = try Self.code(in: callback, state: state)
            let token = try await exchange(
                [
                    ("grant_type", "authorization_code"), ("code", code), ("redirect_uri", responder.redirectURL),
                    ("code_verifier", verifier),
                ], endpoints, clientID)
            guard let found = token.nonce, found.utf8.elementsEqual(nonce.utf8) else {
                throw SigstoreError(
                    .signInRefused,
                    "the identity token is not from this sign-in: its nonce is not the one that was sent",
                    advice: "somebody may have put another token in its place; sign in again")
            }
            try token.check(audience: clientID, now: SystemClock.now())
            responder.finish(
                callback,
                LandingPage(
                    title: "Signed in", identity: token.identity,
                    text: "You can close this page and go back to the terminal, where signing goes on."))
            return token
        } catch {
            responder.finish(callback, .failure(error.message))
            throw error
        }
    }

    /// The code in a redirect that answers our request.
    private static func code(in callback: LoopbackResponder.Callback, state: String) throws(SigstoreError) -> String {
        guard let found = callback.value("state"), found.utf8.elementsEqual(state.utf8) else {
            throw SigstoreError(
                .signInRefused,
                "what came back from the browser is not the answer to this sign-in: its state is not the one that was sent",
                advice: "somebody may have sent you a link of theirs; sign in again, and follow no other link")
        }
        if let error = callback.value("error") {
            let description = callback.value("error_description").map { ": \($0.prefix(512))" } ?? ""
            throw SigstoreError(.signInFailed, "the issuer did not sign you in: \(error.prefix(128))\(description)")
        }
        guard let code = callback.value("code"), !code.isEmpty else {
            throw SigstoreError(.signInFailed, "the issuer sent the browser back without a code")
        }
        return code
    }

    // MARK: - Another device

    private func enterCode(_ endpoints: Endpoints, clientID: String) async throws(SigstoreError) -> IdentityToken {
        guard let device = endpoints.device else {
            throw SigstoreError(
                .signInFailed, "the issuer offers no sign-in on another device",
                advice: .remedy(.signInWithBrowser))
        }
        let verifier = Self.secret()
        let challenge = Base64.encodeURLSafe(try Digest.sha256(Array(verifier.utf8)).bytes)
        let response = try await post(
            device, [("scope", "openid email"), ("code_challenge", challenge), ("code_challenge_method", "S256")],
            endpoints,
            clientID)
        guard (200...299).contains(response.status) else { throw Self.failure(response) }
        let (code, shown, interval, lifetime) = try Self.deviceCode(response.body)
        prompt(shown)
        let end = ContinuousClock.now + min(timeout, .seconds(lifetime))
        var pause = interval
        while ContinuousClock.now + .seconds(pause) < end {
            do { try await Task.sleep(for: .seconds(pause)) } catch {
                throw SigstoreError(.cancelled, "the sign-in was cancelled")
            }
            let answer = try await post(
                endpoints.token,
                [
                    ("grant_type", "urn:ietf:params:oauth:grant-type:device_code"), ("device_code", code),
                    ("code_verifier", verifier),
                ], endpoints, clientID)
            if (200...299).contains(answer.status) { return try Self.token(in: answer.body, from: issuerText) }
            // RFC 8628, section 3.5.
            switch Self.errorCode(answer.body) {
            case "authorization_pending": break
            case "slow_down": pause += 5
            default: throw Self.failure(answer)
            }
        }
        throw SigstoreError(
            .timedOut, "nobody entered the code in time", advice: "try again, and enter the code right away")
    }

    private static func deviceCode(_ body: [UInt8]) throws(SigstoreError) -> (String, Prompt, Int64, Int64) {
        let json = JSONCursor(try JSONValue(parsing: body, depth: 8))
        // Some issuers write the name of an earlier draft.
        let earlier = try json.optional("verification_url")
        let url = if let earlier { earlier } else { try json.member("verification_uri") }
        return (
            try json.member("device_code").string(),
            .enter(
                code: try json.member("user_code").string(), url: try url.string(),
                complete: try json.optional("verification_uri_complete")?.string()),
            min(max(try json.optional("interval")?.integer() ?? 5, 1), 60),
            min(max(try json.member("expires_in").integer(), 1), 3600)
        )
    }

    // MARK: - The token

    private func exchange(_ form: [(String, String)], _ endpoints: Endpoints, _ clientID: String)
        async throws(SigstoreError) -> IdentityToken
    {
        let response = try await post(endpoints.token, form, endpoints, clientID)
        guard (200...299).contains(response.status) else { throw Self.failure(response) }
        return try Self.token(in: response.body, from: issuerText)
    }

    /// Sends a form as the client that we are (RFC 6749, section 2.3.1).
    private func post(_ url: HTTPURL, _ form: [(String, String)], _ endpoints: Endpoints, _ clientID: String)
        async throws(SigstoreError) -> HTTPResponse
    {
        var form = form
        let headers = [
            (name: "Content-Type", value: "application/x-www-form-urlencoded"),
            (name: "Accept", value: "application/json"),
        ]
        var authorization: Authorization?
        form.append(("client_id", clientID))
        if let clientSecret {
            if endpoints.postsSecret {
                form.append(("client_secret", clientSecret))
            } else {
                authorization = Authorization(
                    user: HTTPURL.percentEncoded(clientID).utf8, password: HTTPURL.percentEncoded(clientSecret).utf8)
            }
        }
        let body = Array(form.map { "\($0)=\(HTTPURL.percentEncoded($1))" }.joined(separator: "&").utf8)
        return try await http.send(
            HTTPRequest(
                "POST", url, headers: headers, authorization: authorization, body: .bytes(body), bodyLimit: 1 << 20,
                timeout: .seconds(20), handledStatuses: [400, 401, 403]))
    }

    private static func token(in body: [UInt8], from issuer: String) throws(SigstoreError) -> IdentityToken {
        let json = JSONCursor(try JSONValue(parsing: body, depth: 16))
        guard let text = try json.optional("id_token")?.string() else {
            throw SigstoreError(
                .signInFailed, "the issuer gave no identity token", advice: "the client may lack the scope openid")
        }
        let token = try IdentityToken(parsing: text)
        guard token.issuer.utf8.elementsEqual(issuer.utf8) else {
            throw SigstoreError(
                .signInRefused, "the identity token is from another issuer: expected \(issuer), found \(token.issuer)")
        }
        return token
    }

    private static func errorCode(_ body: [UInt8]) -> String? {
        guard let value = try? JSONValue(parsing: body, depth: 8) else { return nil }
        return (try? JSONCursor(value).optional("error")?.string()) ?? nil
    }

    private static func failure(_ response: HTTPResponse) -> SigstoreError {
        let description = (try? JSONValue(parsing: response.body, depth: 8))
            .flatMap { try? JSONCursor($0).optional("error_description")?.string() }
        let words = [errorCode(response.body), description].compactMap { $0?.prefix(512) }.joined(separator: ": ")
        return SigstoreError(
            .signInFailed, "the issuer refuses: \(words.isEmpty ? "status \(response.status)" : words)",
            advice: response.status == 401 ? .remedy(.checkClient) : nil,
            cause: HTTPStatusError(response: response))
    }

    /// 256 random bits from the system's generator, in 43 letters.
    private static func secret() -> String {
        var generator = SystemRandomNumberGenerator()
        return Base64.encodeURLSafe((0..<32).map { _ in UInt8.random(in: .min ... .max, using: &generator) })
    }
}

extension LandingPage {
    static func failure(_ reason: String) -> LandingPage {
        LandingPage(
            status: 400, title: "Not signed in", reason: reason,
            text: "Nothing was signed. Go back to the terminal, which says what to do.")
    }
}

extension SigstoreError.Code {
    /// An issuer does not sign a person in.
    public static let signInFailed = Self("sign-in-failed")
    /// What came back is not the answer to this sign-in.
    public static let signInRefused = Self("sign-in-refused")
}

extension SigstoreError.Remedy {
    /// The issuer's configuration cannot be used.
    public static let checkIssuer = Self("check-the-url-of-the-issuer")
    /// Nobody signed in.
    public static let signInElsewhere = Self("try-again-or-sign-in-on-another-device")
    /// The issuer offers no sign-in on another device.
    public static let signInWithBrowser = Self("sign-in-with-the-browser")
    /// The issuer does not know the client, or refuses its secret.
    public static let checkClient = Self("check-the-client-and-its-secret")
    /// The port for the sign-in cannot be listened on.
    public static let listenElsewhere = Self("give-another-port-or-sign-in-on-another-device")
}
