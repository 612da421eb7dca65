import Foundation
import SigstoreCrypto
public import StrictJSON
import Synchronization

/// Who a token of the local issuer says that its holder is.
public enum LocalIdentity: Sendable, Equatable {
    /// A person with an email address.
    case email(String, verified: Bool = true)
    /// A job of GitHub Actions.
    case gitHubWorkflow(GitHubWorkflow = GitHubWorkflow())
    /// Something named by a URI, which must stand under the issuer's own URL; a path such as `/users/1` is enough.
    case uri(String)
    /// A person with an email address for whom another issuer vouches; certificates name that one (its connector id).
    case federated(email: String, connector: String)
}

/// What GitHub says of the job that asks for a token.
public struct GitHubWorkflow: Sendable, Equatable {
    /// Owner and name, such as `example/demo`.
    public var repository: String
    /// The workflow's file in the repository.
    public var file: String
    /// The git reference that the workflow ran on.
    public var ref: String
    /// The commit.
    public var sha: String
    /// What started the workflow, such as `push`.
    public var event: String
    /// The workflow's name.
    public var name: String
    /// The reusable workflow that it calls and that signs, `OWNER/NAME/FILE@REF`; `nil` if it signs itself.
    public var builder: String?
    /// The issuer that certificates name in place of this one, such as GitHub's own.
    public var certificateIssuer: String?
    /// Whose machine it runs on: `github-hosted`, `self-hosted`.
    public var runner = "github-hosted"

    /// Describes a job.
    public init(
        repository: String = "example/demo", file: String = ".github/workflows/release.yml",
        ref: String = "refs/heads/main", sha: String = String(repeating: "a", count: 40), event: String = "push",
        name: String = "release"
    ) {
        self.repository = repository
        self.file = file
        self.ref = ref
        self.sha = sha
        self.event = event
        self.name = name
    }

    /// Where GitHub is for an issuer of tokens: `github.com`, or the host of an enterprise that has its own issuer.
    static func host(of issuer: String?) -> String {
        let (start, end) = ("https://token.actions.", ".ghe.com")
        guard let issuer, issuer.hasPrefix(start), issuer.hasSuffix(end) else { return "https://github.com" }
        return "https://\(issuer.dropFirst(start.utf8.count))"
    }

    /// The identity in its certificates.
    public var identity: String {
        "\(Self.host(of: certificateIssuer))/\(builder ?? "\(repository)/\(file)@\(ref)")"
    }

    fileprivate var claims: JSONObject {
        let owner = String(repository.prefix { $0 != "/" })
        var claims: JSONObject = [
            "sub": .string("repo:\(repository):ref:\(ref)"), "repository": .string(repository),
            "repository_owner": .string(owner), "repository_id": .string("1001"),
            "repository_owner_id": .string("2002"), "repository_visibility": .string("public"), "ref": .string(ref),
            "ref_type": .string(ref.hasPrefix("refs/tags/") ? "tag" : "branch"), "sha": .string(sha),
            "event_name": .string(event), "workflow": .string(name),
            "workflow_ref": .string("\(repository)/\(file)@\(ref)"), "workflow_sha": .string(sha),
            "job_workflow_ref": .string(builder ?? "\(repository)/\(file)@\(ref)"), "job_workflow_sha": .string(sha),
            "runner_environment": .string(runner), "run_id": .string("42"), "run_number": .string("7"),
            "run_attempt": .string("1"), "actor": .string("octo"), "actor_id": .string("3003"),
        ]
        if let certificateIssuer {
            claims["federated_claims"] = .object(["connector_id": .string(certificateIssuer)])
        }
        return claims
    }
}

/// What a token holds besides who its holder is; every default makes a good token.
public struct TokenOptions: Sendable {
    /// Whom the token is for.
    public var audience = "sigstore"
    /// For how many seconds it holds; a negative number makes one that has expired.
    public var lifetime: Int64 = 600
    /// In how many seconds it begins to hold.
    public var delay: Int64 = 0
    /// The nonce of the flow that it comes from.
    public var nonce: String?
    /// Whether it is signed by a key that nobody knows.
    public var forged = false
    /// Makes the options of a good token.
    public init() {}
}

/// An OpenID Connect issuer: discovery, keys, tokens, the code flow with PKCE, the device flow, and GitHub's endpoint
/// for jobs. It believes every name that it is told, so it must never be trusted by anything but tests and demos.
///
/// There are four issuers behind one key: the port's root (`email`), `/github`, `/uri` and `/fed`.
public struct IdentityIssuer: Sendable {
    let key: PrivateKey
    /// The URL of the issuer of tokens with email addresses; the others' begin with it.
    public let url: String
    private let keyID: String

    init(key: PrivateKey, url: String) throws(SigstoreError) {
        self.key = key
        self.url = url
        keyID = Base64.encodeURLSafe(try Digest.sha256(key.publicKey.spki).bytes)
    }

    /// The issuer that speaks for an identity, as a certificate names it.
    public func issuer(of identity: LocalIdentity) -> String {
        switch identity {
        case .email: url
        case .gitHubWorkflow(let workflow): workflow.certificateIssuer ?? "\(url)/github"
        case .uri: "\(url)/uri"
        case .federated(_, let connector): connector
        }
    }

    /// The name of an identity in certificates.
    public func subject(of identity: LocalIdentity) -> String {
        switch identity {
        case .email(let email, _), .federated(let email, _): email
        case .gitHubWorkflow(let workflow): workflow.identity
        case .uri(let uri): uri.hasPrefix("/") ? url + uri : uri
        }
    }

    /// Makes a token (a JSON Web Token signed with RS256).
    /// - Parameters:
    ///   - identity: Who its holder is.
    ///   - options: What else it holds.
    /// - Throws: If signing fails.
    public func token(for identity: LocalIdentity, options: TokenOptions = TokenOptions()) throws(SigstoreError)
        -> String
    {
        let now = Int64(Date().timeIntervalSince1970)
        let issuer =
            switch identity {
            case .federated: "\(url)/fed"
            case .gitHubWorkflow: "\(url)/github"
            case .email, .uri: issuer(of: identity)
            }
        var claims: JSONObject = [
            "iss": .string(issuer), "aud": .string(options.audience), "iat": .integer(now),
            "nbf": .integer(now + options.delay), "exp": .integer(now + options.delay + options.lifetime),
            "jti": .string(UUID().uuidString.lowercased()),
        ]
        switch identity {
        case .email(let email, let verified):
            claims["sub"] = .string(try Self.opaque(email))
            claims["email"] = .string(email)
            claims["email_verified"] = .bool(verified)
        case .federated(let email, let connector):
            let subject = try Self.opaque(email)
            claims["sub"] = .string(subject)
            claims["email"] = .string(email)
            claims["email_verified"] = .bool(true)
            claims["federated_claims"] = .object(["connector_id": .string(connector), "user_id": .string(subject)])
        case .uri: claims["sub"] = .string(subject(of: identity))
        case .gitHubWorkflow(let workflow):
            for member in workflow.claims.members { claims[member.name] = member.value }
        }
        claims["nonce"] = options.nonce.map { .string($0) }
        let header: JSONValue = .object(["typ": .string("JWT"), "alg": .string("RS256"), "kid": .string(keyID)])
        let signed =
            Base64.encodeURLSafe(header.serialized()) + "."
            + Base64.encodeURLSafe(JSONValue.object(claims).serialized())
        let signer = options.forged ? try PrivateKey.generate(.rsa2048) : key
        return signed + "." + Base64.encodeURLSafe(try signer.sign(Array(signed.utf8), scheme: .rsaPKCS1(.sha256)))
    }

    /// A subject as issuers make them: the same for the same person, and telling nothing.
    private static func opaque(_ email: String) throws(SigstoreError) -> String {
        String(try Digest.sha256(Array(email.utf8)).hex.prefix(20))
    }

    /// The claims of a token that one of these issuers signed, that holds now and is for Sigstore.
    /// - Returns: `nil` for any other token.
    func claims(of token: String) -> JSONObject? {
        let parts = token.split(separator: ".", omittingEmptySubsequences: false).map(String.init)
        let now = Int64(Date().timeIntervalSince1970)
        guard parts.count == 3, let payload = Base64.decodeURLSafe(parts[1]),
            let signature = Base64.decodeURLSafe(parts[2]),
            (try? key.publicKey.verifies(
                signature, ofBytes: Array("\(parts[0]).\(parts[1])".utf8), scheme: .rsaPKCS1(.sha256))) == true,
            case .object(let claims)? = try? JSONValue(parsing: payload),
            case .string(let issuer)? = claims["iss"],
            ["", "/github", "/uri", "/fed"].contains(where: { url + $0 == issuer }),
            case .string("sigstore")? = claims["aud"],
            case .number(let expires)? = claims["exp"], let end = Int64(expires), end > now,
            case .number(let begins)? = claims["nbf"], let start = Int64(begins), start <= now
        else { return nil }
        return claims
    }

    // MARK: - Over HTTP

    func discovery(path: String) -> JSONValue {
        .object([
            "issuer": .string(url + path), "authorization_endpoint": .string("\(url)/auth/auth"),
            "token_endpoint": .string("\(url)/auth/token"),
            "device_authorization_endpoint": .string("\(url)/auth/device/code"), "jwks_uri": .string("\(url)/keys"),
            "response_types_supported": .array([.string("code")]),
            "subject_types_supported": .array([.string("public")]),
            "id_token_signing_alg_values_supported": .array([.string("RS256")]),
            "scopes_supported": .array([.string("openid"), .string("email")]),
            "code_challenge_methods_supported": .array([.string("S256")]),
            "grant_types_supported": .array([
                .string("authorization_code"), .string("urn:ietf:params:oauth:grant-type:device_code"),
            ]),
            "claims_supported": .array(
                ["iss", "sub", "aud", "exp", "iat", "email", "email_verified"].map(JSONValue.string)),
        ])
    }

    /// The key as a JSON Web Key Set (RFC 7517).
    func keySet() throws(SigstoreError) -> JSONValue {
        let bits = try DERElement(parsing: key.publicKey.spki).children().at(1, 0x03).bits
        let numbers = try DERElement(parsing: bits).children()
        func number(_ index: Int) throws(SigstoreError) -> JSONValue {
            .string(Base64.encodeURLSafe(Array(try numbers.at(index, 0x02).content.drop { $0 == 0 })))
        }
        return .object([
            "keys": .array([
                .object([
                    "kty": .string("RSA"), "use": .string("sig"), "alg": .string("RS256"), "kid": .string(keyID),
                    "n": try number(0), "e": try number(1),
                ])
            ])
        ])
    }
}

/// The issuer's pages and endpoints, and the flows that are under way.
final class IdentityIssuerService: Sendable {
    private struct CodeFlow: Sendable {
        let email: String
        let redirect: String
        let client: String
        let challenge: String?
        let nonce: String?
    }
    private struct DeviceFlow: Sendable {
        let userCode: String
        let expires: Double
        var email: String?
        var denied = false
    }
    private struct Flows: Sendable {
        var codes: [String: CodeFlow] = [:]
        var devices: [String: DeviceFlow] = [:]
    }
    private let flows = Mutex(Flows())
    let issuer: IdentityIssuer
    /// What a job must send to GitHub's endpoint.
    let requestToken: String

    init(issuer: IdentityIssuer, requestToken: String) {
        self.issuer = issuer
        self.requestToken = requestToken
    }

    func answer(_ request: LoopbackRequest) throws -> LoopbackResponse {
        switch (request.method, request.path) {
        case ("GET", let path) where path.hasSuffix("/.well-known/openid-configuration"):
            let issuer = String(path.dropLast("/.well-known/openid-configuration".count))
            guard ["", "/github", "/uri", "/fed"].contains(issuer) else { return .text(404, "not found\n") }
            return .json(200, self.issuer.discovery(path: issuer))
        case ("GET", "/keys"): return .json(200, try issuer.keySet())
        case ("GET", "/auth/auth"), ("POST", "/auth/auth"): return authorize(request)
        case ("POST", "/auth/token"): return try token(request)
        case ("POST", "/auth/device/code"): return startDevice()
        case ("GET", "/auth/device"), ("POST", "/auth/device"): return approveDevice(request)
        case ("GET", "/github/token"): return try gitHubToken(request)
        case ("GET", "/healthz"): return .text(200, "ok\n")
        default: return .text(404, "not found\n")
        }
    }

    private func options(for request: LoopbackRequest) -> TokenOptions {
        var options = TokenOptions()
        if request.faults.contains(.staleToken) { options.lifetime = -60 }
        return options
    }

    private func oauthError(_ code: String, _ description: String, status: Int = 400) -> LoopbackResponse {
        .json(status, .object(["error": .string(code), "error_description": .string(description)]))
    }

    // MARK: Code flow (RFC 6749, section 4.1; PKCE, RFC 7636)

    /// The page where a person says who they are, or refuses; then back to the client with a code, or with the error.
    private func authorize(_ request: LoopbackRequest) -> LoopbackResponse {
        let form = request.form
        func field(_ name: String) -> String? { request.parameter(name) ?? form.first { $0.name == name }?.value }
        guard let redirect = field("redirect_uri"), let client = field("client_id"), field("response_type") == "code",
            let target = URLComponents(string: redirect),
            ["127.0.0.1", "localhost", "[::1]"].contains(target.host ?? "")
        else {
            return page(400, "Sign-in cannot start", "<p>The client's request is not a code flow to this machine.</p>")
        }
        if let method = field("code_challenge_method"), method != "S256" {
            return page(400, "Sign-in cannot start", "<p>Only S256 is known as a code challenge.</p>")
        }
        var back = target
        let state = field("state").map { [URLQueryItem(name: "state", value: $0)] } ?? []
        if field("deny") != nil {
            back.queryItems =
                (target.queryItems ?? []) + [
                    URLQueryItem(name: "error", value: "access_denied"),
                    URLQueryItem(name: "error_description", value: "The sign-in was refused."),
                ] + state
            return LoopbackResponse(303, headers: [(name: "Location", value: back.string ?? redirect)])
        }
        guard let email = field("email"), !email.isEmpty else {
            let hidden = (request.query + form).filter { !["email", "deny"].contains($0.name) }.map {
                "<input type=\"hidden\" name=\"\($0.name.escapedForHTML)\" value=\"\($0.value.escapedForHTML)\">"
            }
            return page(
                200, "Local Sigstore",
                """
                <form method="post" action="/auth/auth">\(hidden.joined())
                <p><label>Email <input id="email" name="email" type="email" required autofocus
                value="\((field("login_hint") ?? "").escapedForHTML)"></label></p>
                <p><button id="sign-in">Sign in</button>
                <button id="deny" name="deny" value="1" formnovalidate>Refuse</button></p></form>
                <p>This issuer believes whoever asks. It is for tests and demos.</p>
                """)
        }
        let code = UUID().uuidString.lowercased()
        flows.withLock {
            $0.codes[code] = CodeFlow(
                email: email, redirect: redirect, client: client, challenge: field("code_challenge"),
                nonce: field("nonce"))
        }
        back.queryItems = (target.queryItems ?? []) + [URLQueryItem(name: "code", value: code)] + state
        return LoopbackResponse(303, headers: [(name: "Location", value: back.string ?? redirect)])
    }

    private func page(_ status: Int, _ title: String, _ body: String) -> LoopbackResponse {
        .text(
            status,
            """
            <!doctype html><html lang="en"><head><meta charset="utf-8"><title>\(title)</title>
            <meta name="viewport" content="width=device-width">
            <style>body{font-family:sans-serif;max-width:32em;margin:4em auto;padding:0 1em}</style></head>
            <body><h1>\(title)</h1>\(body)</body></html>

            """, contentType: "text/html; charset=utf-8")
    }

    private func token(_ request: LoopbackRequest) throws -> LoopbackResponse {
        let form = request.form
        func field(_ name: String) -> String? { form.first { $0.name == name }?.value }
        let email: String
        var options = options(for: request)
        switch field("grant_type") {
        case "authorization_code":
            let flow = field("code").flatMap { code in flows.withLock { $0.codes.removeValue(forKey: code) } }
            guard let flow, flow.redirect == field("redirect_uri") else {
                return oauthError("invalid_grant", "Invalid or expired code parameter.")
            }
            if let challenge = flow.challenge {
                let verifier = field("code_verifier") ?? ""
                guard Base64.encodeURLSafe(try Digest.sha256(Array(verifier.utf8)).bytes) == challenge else {
                    return oauthError("invalid_grant", "Invalid code_verifier.")
                }
            }
            email = flow.email
            options.audience = flow.client
            options.nonce = flow.nonce
        case "urn:ietf:params:oauth:grant-type:device_code":
            let code = field("device_code") ?? ""
            guard let flow = flows.withLock({ $0.devices[code] }) else {
                return oauthError("invalid_grant", "Invalid device code.")
            }
            if flow.denied { return oauthError("access_denied", "The sign-in was refused.", status: 401) }
            if flow.expires < Date().timeIntervalSince1970 {
                return oauthError("expired_token", "The device code has expired.")
            }
            guard let approved = flow.email else {
                return oauthError("authorization_pending", "The sign-in was not confirmed yet.", status: 401)
            }
            flows.withLock { $0.devices[code] = nil }
            email = approved
            options.audience = field("client_id") ?? "sigstore"
        default: return oauthError("unsupported_grant_type", "The grant type is not supported.")
        }
        let token = try issuer.token(for: .email(email), options: options)
        return .json(
            200,
            .object([
                "access_token": .string(UUID().uuidString.lowercased()), "token_type": .string("bearer"),
                "expires_in": .integer(options.lifetime), "id_token": .string(token),
            ]), headers: [(name: "Cache-Control", value: "no-store")])
    }

    /// The codes that devices show and nobody confirmed yet.
    var pendingUserCodes: [String] {
        let now = Date().timeIntervalSince1970
        return flows.withLock { flows in
            flows.devices.values.filter { $0.email == nil && !$0.denied && $0.expires > now }.map(\.userCode)
        }
    }

    // MARK: Device flow (RFC 8628)

    private func startDevice() -> LoopbackResponse {
        let code = UUID().uuidString.lowercased()
        var generator = SystemRandomNumberGenerator()
        let letters = (0..<8).map { _ in "BCDFGHJKLMNPQRSTVWXZ".randomElement(using: &generator) ?? "B" }
        let userCode = String(letters[..<4]) + "-" + String(letters[4...])
        flows.withLock {
            $0.devices[code] = DeviceFlow(userCode: userCode, expires: Date().timeIntervalSince1970 + 300)
        }
        return .json(
            200,
            .object([
                "device_code": .string(code), "user_code": .string(userCode),
                "verification_uri": .string("\(issuer.url)/auth/device"),
                "verification_uri_complete": .string("\(issuer.url)/auth/device?user_code=\(userCode)"),
                "expires_in": .integer(300), "interval": .integer(1),
            ]))
    }

    /// The page where a person confirms the code that the device shows: `user_code`, `email`, or `deny=1`.
    private func approveDevice(_ request: LoopbackRequest) -> LoopbackResponse {
        let form = request.form
        func field(_ name: String) -> String? { form.first { $0.name == name }?.value ?? request.parameter(name) }
        guard request.method == "POST", let userCode = field("user_code"), field("email") != nil || field("deny") != nil
        else {
            return page(
                200, "Confirm a device",
                """
                <form method="post" action="/auth/device">
                <p><label>Code <input name="user_code" required
                value="\((field("user_code") ?? "").escapedForHTML)"></label></p>
                <p><label>Email <input id="email" name="email" type="email" required></label></p>
                <p><button id="confirm">Confirm</button></p></form>
                """)
        }
        let found = flows.withLock { flows -> Bool in
            guard let code = flows.devices.first(where: { $0.value.userCode == userCode })?.key else { return false }
            flows.devices[code]?.email = field("email")
            flows.devices[code]?.denied = field("deny") != nil
            return true
        }
        return found
            ? page(200, "Confirmed", "<p>The device can go on.</p>")
            : page(404, "No such code", "<p>No device waits with this code.</p>")
    }

    // MARK: GitHub Actions

    /// GitHub's endpoint for a job's token: `?audience=sigstore`, with the job's request token.
    /// The workflow can be chosen with `repository`, `file`, `ref`, `sha`, `event` and `name`.
    private func gitHubToken(_ request: LoopbackRequest) throws -> LoopbackResponse {
        guard request.header("Authorization")?.lowercased() == "bearer \(requestToken)".lowercased() else {
            return .json(401, .object(["message": .string("Bad credentials")]))
        }
        var workflow = GitHubWorkflow()
        if let repository = request.parameter("repository") { workflow.repository = repository }
        if let file = request.parameter("file") { workflow.file = file }
        if let ref = request.parameter("ref") { workflow.ref = ref }
        if let sha = request.parameter("sha") { workflow.sha = sha }
        if let event = request.parameter("event") { workflow.event = event }
        if let name = request.parameter("name") { workflow.name = name }
        var options = options(for: request)
        options.audience = request.parameter("audience") ?? "https://github.com/example"
        let token = try issuer.token(for: .gitHubWorkflow(workflow), options: options)
        return .json(200, .object(["count": .integer(1), "value": .string(token)]))
    }
}
