import HTTPTransport
import LocalSystem
import SigstoreCrypto
import StrictJSON

/// Who asks Google, and by what that is shown: what was found in variables, in a file, or of the machine. Nothing has been asked
/// for it yet.
struct GoogleCredentials: Sendable {
    /// How a token is had.
    indirect enum Kind: Sendable {
        /// It is there already.
        case token(Authorization)
        /// It is made here, with the key of a service account.
        case serviceAccount(key: PrivateKey, keyID: String?, email: String)
        /// It is had for a token that is good for new ones.
        case refresh(GoogleRefresh)
        /// It is had for a token of another issuer.
        case federated(GoogleFederation)
        /// It is a service account's, which others may act as.
        case impersonated(by: Kind, url: HTTPURL, delegates: [String], seconds: Int64)
        /// The machine has it.
        case machine
    }

    let kind: Kind
    /// Where they come from, for a person.
    let source: String
    /// Who they are for, if they say so.
    var account: String?
    /// The domain that Google's services have for them, if they say so.
    var universe: String?
    /// The project whose quota counts, if they say so.
    var quotaProject: String?
    /// What to do if they are not accepted.
    let renewal: String
}

/// A token that is good for new ones, and with which client.
struct GoogleRefresh: Sendable {
    let url: HTTPURL
    let client: String
    let clientSecret: SecretBytes
    let token: SecretBytes
    /// Whether the client is named in a header field (RFC 6749, section 2.3.1), not in the form.
    let hasClientInHeader: Bool
}

extension GoogleCredentials {
    /// Looks for credentials where Google's own programs do, in their order ("How Application Default Credentials works"); a token
    /// in a variable comes first.
    static func find(_ surroundings: KeySurroundings) async throws(SigstoreError) -> GoogleCredentials {
        let variable = surroundings.variable
        for name in ["GOOGLE_OAUTH_ACCESS_TOKEN", "CLOUDSDK_AUTH_ACCESS_TOKEN"] {
            guard let token = surroundings.secret(name) else { continue }
            let isWord = unsafe token.withBytes { unsafe $0.allSatisfy { (0x21...0x7e).contains($0) } }
            guard isWord, token.count <= 1 << 14 else {
                throw SigstoreError(
                    .keyServiceSettings, "\(name) holds no token: it is too long, or not one word of visible ASCII",
                    advice: .sentence("set it to what gcloud auth print-access-token prints, or unset it"))
            }
            return GoogleCredentials(
                kind: .token(unsafe token.withBytes { unsafe Authorization(scheme: "Bearer", $0) }),
                source: "the token in the variable \(name)",
                renewal: "set \(name) to a new token (gcloud auth print-access-token)")
        }
        return try await onBlockingThread { () throws(SigstoreError) in
            if let path = variable("GOOGLE_APPLICATION_CREDENTIALS") {
                return try GoogleCredentials(
                    file: path, "\(path), named by GOOGLE_APPLICATION_CREDENTIALS", isNamed: true)
            }
            if let path = defaultFile(variable), LocalFile.exists(path) {
                return try GoogleCredentials(file: path, path, isNamed: false)
            }
            return GoogleCredentials(
                kind: .machine, source: "the service account of this machine (metadata service)",
                renewal: "check the service account of this machine")
        }
    }

    /// The file that `gcloud auth application-default login` writes.
    static func defaultFile(_ variable: (String) -> String?) -> String? {
        let folder = variable("CLOUDSDK_CONFIG") ?? variable("HOME").map { "\($0)/.config/gcloud" }
        return folder.map { "\($0)/application_default_credentials.json" }
    }

    /// Reads a file. To be called on a thread that may block.
    /// - Parameters:
    ///   - path: Where it is.
    ///   - words: How it is called in messages.
    ///   - isNamed: Whether the person named it.
    /// - Throws: `SigstoreError` with `key-service-settings` that names the file, and nothing of what stands there.
    private init(file path: String, _ words: String, isNamed: Bool) throws(SigstoreError) {
        func unusable(_ why: String, _ cause: SigstoreError? = nil) -> SigstoreError {
            SigstoreError(
                .keyServiceSettings, "Google's credentials in \(words): \(why)",
                advice: isNamed
                    ? "correct GOOGLE_APPLICATION_CREDENTIALS, or unset it"
                    : "run gcloud auth application-default login",
                cause: cause)
        }
        var bytes: [UInt8]
        do throws(SigstoreError) { bytes = try LocalFile.contents(path, limit: 1 << 18) } catch {
            throw unusable("they cannot be read: \(error.message)", error)
        }
        defer { SecretBytes.cleanse(&bytes) }
        do throws(SigstoreError) {
            let json = JSONCursor(try JSONValue(parsing: bytes, depth: 16, values: 4096))
            try self.init(json, words)
        } catch { throw unusable(error.message, error) }
    }

    /// Reads credentials in the form of a file.
    /// - Throws: `SigstoreError` that says which member is wrong.
    private init(_ json: JSONCursor, _ words: String) throws(SigstoreError) {
        guard let type = try json.optional("type")?.string() else {
            let names = try json.names()
            throw json.fault(
                names.contains("installed") || names.contains("web")
                    ? "is the secret of an OAuth client, not credentials" : "has no \"type\"")
        }
        var login = "log in again with gcloud auth application-default login"
        var account: String?
        let kind: Kind
        switch type {
        case "service_account":
            let email = try Self.word(json.member("client_email"))
            var pem = Array(try json.member("private_key").string().utf8)
            defer { SecretBytes.cleanse(&pem) }
            let key: PrivateKey
            do throws(SigstoreError) {
                key = try PrivateKey.read(file: pem) { () throws(SigstoreError) in
                    throw SigstoreError(.malformedKey, "it is encrypted")
                }
            } catch { throw json.fault("has a private_key that cannot be used: \(error.message)") }
            guard case .rsa = key.publicKey.kind else {
                throw json.fault("has a private_key that is \(key.publicKey.kind), expected RSA")
            }
            (account, kind) = (
                email,
                .serviceAccount(
                    key: key, keyID: try Self.optionalWord("private_key_id", of: json), email: email)
            )
            login = "check that this key of the service account still exists, or make another one"
        case "authorized_user", "external_account_authorized_user":
            let isExternal = type != "authorized_user"
            let member = isExternal ? "token_url" : "token_uri"
            var url = try HTTPURL(parsing: "https://oauth2.googleapis.com/token")
            let names = try json.names()
            if isExternal || names.contains(member) { url = try Self.tokenURL(json.member(member)) }
            account = try Self.optionalWord("account", of: json)
            kind = .refresh(
                GoogleRefresh(
                    url: url, client: try json.member("client_id").string(),
                    clientSecret: SecretBytes(try json.member("client_secret").string().utf8),
                    token: SecretBytes(try json.member("refresh_token").string().utf8),
                    hasClientInHeader: isExternal))
        case "external_account":
            let url = try json.optional("service_account_impersonation_url")
            var email: String?
            if let url { email = try Self.email(url) }
            let federated = Kind.federated(try GoogleFederation(json, impersonating: email))
            if let url {
                let seconds = try json.optional("service_account_impersonation")?.optional("token_lifetime_seconds")
                kind = .impersonated(
                    by: federated, url: try Self.tokenURL(url), delegates: [], seconds: try seconds?.integer() ?? 3600)
            } else {
                kind = federated
            }
            account = email
            login = "check the token that is exchanged, and the workload identity pool and its provider"
        case "impersonated_service_account":
            let inner = try GoogleCredentials(Self.source(json.member("source_credentials")), words)
            let url = try json.member("service_account_impersonation_url")
            var delegates: [String] = []
            for delegate in try json.optional("delegates")?.elements() ?? [] { delegates.append(try delegate.string()) }
            (account, kind) = (
                try Self.email(url),
                .impersonated(by: inner.kind, url: try Self.tokenURL(url), delegates: delegates, seconds: 3600)
            )
            login = inner.renewal
            universe = inner.universe
        default:
            throw json.fault(
                "is of the type \"\(SigstoreError.shortened(String(type.prefix(64))))\", which is not known here, but service_account, authorized_user, external_account, external_account_authorized_user and impersonated_service_account"
            )
        }
        if let domain = try json.optional("universe_domain")?.string(), !domain.isEmpty { universe = domain }
        // What no file says is Google's own.
        universe = universe ?? "googleapis.com"
        quotaProject = try Self.optionalWord("quota_project_id", of: json)
        (self.kind, self.account, renewal) = (kind, account, login)
        source = "\(words), of the type \(type)"
    }

    /// The credentials that impersonate, which are no impersonation themselves.
    private static func source(_ json: JSONCursor) throws(SigstoreError) -> JSONCursor {
        if try json.optional("type")?.string() == "impersonated_service_account" {
            throw json.fault("impersonates in turn; name the accounts between in \"delegates\"")
        }
        return json
    }

    /// A word of visible ASCII.
    static func word(_ json: JSONCursor) throws(SigstoreError) -> String {
        let text = try json.string()
        guard (1...1024).contains(text.utf8.count), text.utf8.allSatisfy({ (0x21...0x7e).contains($0) }) else {
            throw json.fault("is not one word of visible ASCII")
        }
        return text
    }

    /// The same of a member that may be absent or empty.
    private static func optionalWord(_ name: String, of json: JSONCursor) throws(SigstoreError) -> String? {
        guard let member = try json.optional(name), try !member.string().isEmpty else { return nil }
        return try word(member)
    }

    /// Where a token is asked for: over https, or on this machine.
    static func tokenURL(_ json: JSONCursor) throws(SigstoreError) -> HTTPURL {
        let url: HTTPURL
        do throws(SigstoreError) { url = try HTTPURL(parsing: try json.string()) } catch {
            throw json.fault("is no URL: \(error.message)")
        }
        guard url.origin.scheme == .https || url.origin.isLoopback else {
            throw json.fault("is \(url.redacted): credentials are sent over https only")
        }
        return url
    }

    /// The service account that a URL is for: `…/serviceAccounts/EMAIL:generateAccessToken`.
    private static func email(_ json: JSONCursor) throws(SigstoreError) -> String? {
        let parts = try json.string().split(separator: "/")
        guard let last = parts.last, parts.dropLast().last == "serviceAccounts" else { return nil }
        let email = last.prefix { $0 != ":" }
        return email.utf8.count <= 256 && email.utf8.allSatisfy({ (0x21...0x7e).contains($0) }) ? String(email) : nil
    }
}
