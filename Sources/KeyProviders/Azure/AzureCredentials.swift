import HTTPTransport
import LocalSystem
import SigstoreCrypto
import StrictJSON

/// What proves to a vault who asks.
struct AzureToken: Expiring {
    /// The token.
    let authorization: Authorization
    /// When it ends; `nil` if nobody knows.
    let expiration: Instant?
    /// Where it comes from, for a person.
    let source: String
    /// The tenant that it was asked for in, if one is known.
    let tenant: String?
    /// Who it is for, if that is known: a name, or the ids of the application and of the object that roles are given to.
    let identity: String?

    /// Takes a token over.
    /// - Parameters:
    ///   - text: The token.
    ///   - client: The application that it was asked for, if the token itself says nothing.
    /// - Throws: `SigstoreError` with `key-service-answer` if it cannot be sent.
    init(_ text: String, expiration: Instant?, source: String, tenant: String?, client: String?) throws(SigstoreError) {
        guard (1...1 << 16).contains(text.utf8.count), text.utf8.allSatisfy({ (0x21...0x7e).contains($0) }) else {
            throw SigstoreError(
                .keyServiceAnswer, "\(source): what was given is no token: it is not one word of visible ASCII")
        }
        authorization = Authorization(scheme: "Bearer", text.utf8)
        (self.expiration, self.source) = (expiration, source)
        let claims = Self.claims(text)
        func claim(_ name: String) -> String? {
            guard let value = (try? claims?.optional(name)?.string()) ?? nil, (1...256).contains(value.utf8.count),
                value.utf8.allSatisfy({ (0x21...0x7e).contains($0) })
            else { return nil }
            return value
        }
        self.tenant = tenant ?? claim("tid")
        let application = (claim("appid") ?? client).map { "application \($0)" }
        let object = claim("oid").map { "object \($0)" }
        let parts = [claim("upn") ?? claim("unique_name") ?? application, object].compactMap { $0 }
        identity = parts.isEmpty ? nil : parts.joined(separator: ", ")
    }

    /// What the token says, for people to see alone: who reads it must not rest anything on it.
    private static func claims(_ text: String) -> JSONCursor? {
        let parts = text.split(separator: ".", omittingEmptySubsequences: false)
        guard parts.count == 3, let json = Base64.decodeURLSafe(String(parts[1])) else { return nil }
        return (try? JSONValue(parsing: json, depth: 16, values: 4096)).map(JSONCursor.init)
    }
}

/// The clouds of Azure, by what of theirs is asked.
enum AzureCloud: Sendable {
    case `public`, government, china

    /// Where tokens are had.
    var authority: String {
        switch self {
        case .public: "https://login.microsoftonline.com/"
        case .government: "https://login.microsoftonline.us/"
        case .china: "https://login.chinacloudapi.cn/"
        }
    }

    /// The cloud that a name of `AZURE_ENVIRONMENT` means.
    init?(named name: String) {
        switch name.uppercased() {
        case "AZURECLOUD", "AZUREPUBLICCLOUD": self = .public
        case "AZUREUSGOVERNMENT", "AZUREUSGOVERNMENTCLOUD": self = .government
        case "AZURECHINACLOUD": self = .china
        default: return nil
        }
    }

    /// The cloud that a vault is in.
    init(of host: String) {
        func isBelow(_ name: String) -> Bool { host.utf8.reversed().starts(with: ".\(name)".utf8.reversed()) }
        if isBelow("usgovcloudapi.net") {
            self = .government
        } else if isBelow("vault.azure.cn") || isBelow("managedhsm.azure.cn") {
            self = .china
        } else {
            self = .public
        }
    }
}

/// The tokens of a run, looked for once in the places that Azure's own libraries look in, in their order
/// (`DefaultAzureCredential`), and had anew before they end.
struct AzureCredentialChain: Sendable {
    private let surroundings: KeySurroundings
    private let http: any HTTPClient
    /// The host of the vault, which says in which cloud it is.
    private let host: String
    /// The folder in which the agent of Azure Arc shows that a program may read its files.
    private let arcFolder: String
    private let once = Once<AzureChallenge, AzureToken>()

    init(
        _ surroundings: KeySurroundings, _ http: any HTTPClient, host: String,
        arcFolder: String = "/var/opt/azcmagent/tokens"
    ) {
        (self.surroundings, self.http, self.host, self.arcFolder) = (surroundings, http, host, arcFolder)
    }

    /// A token that holds for a minute at least.
    /// - Parameters:
    ///   - challenge: For whom it must be.
    ///   - refused: One that was not accepted.
    /// - Throws: `SigstoreError` with `key-service-settings` that says which places were looked in.
    func token(_ challenge: AzureChallenge, otherThan refused: AzureToken? = nil) async throws(SigstoreError)
        -> AzureToken
    {
        try await once.value(
            challenge,
            while: { !$0.isEnding(at: surroundings.now()) && $0.authorization !== refused?.authorization }
        ) { () async throws(SigstoreError) in try await find(challenge) }
    }

    private func variable(_ name: String) -> String? { surroundings.variable(name) }

    /// A place that tokens may come from.
    private enum Source: String, CaseIterable {
        case environment = "EnvironmentCredential"
        case workload = "WorkloadIdentityCredential"
        case managed = "ManagedIdentityCredential"
        case commandLine = "AzureCLICredential"
    }

    /// The places that `AZURE_TOKEN_CREDENTIALS` leaves.
    private func sources() throws(SigstoreError) -> [Source] {
        guard let text = variable("AZURE_TOKEN_CREDENTIALS") else { return Source.allCases }
        switch text.lowercased() {
        case "dev": return [.commandLine]
        case "prod": return [.environment, .workload, .managed]
        default:
            let named = Source.allCases.filter { $0.rawValue.lowercased().utf8.elementsEqual(text.lowercased().utf8) }
            guard named.isEmpty else { return named }
            throw SigstoreError(
                .keyServiceSettings, "AZURE_TOKEN_CREDENTIALS is \"\(text.prefix(64))\", which is not known here",
                advice: "use prod, dev, or one of \(Source.allCases.map(\.rawValue).joined(separator: ", "))")
        }
    }

    private func find(_ challenge: AzureChallenge) async throws(SigstoreError) -> AzureToken {
        _ = try ownTenant()
        var missing: [String] = []
        for source in try sources() {
            let result: Found
            switch source {
            case .environment: result = try await fromVariables(challenge)
            case .workload: result = try await fromWorkload(challenge)
            case .managed: result = try await fromManagedIdentity(challenge)
            case .commandLine: result = try await fromCommandLine(challenge)
            }
            switch result {
            case .token(let token):
                let now = Instant(seconds: surroundings.now())
                guard let end = token.expiration, end <= now else { return token }
                throw SigstoreError(
                    .keyServiceSettings, "\(token.source): the token ended at \(end), and it is \(now)",
                    advice: "log in again where it comes from, or set this machine's clock")
            case .nothing(let why): missing.append(why)
            }
        }
        throw SigstoreError(
            .keyServiceSettings, "there are no credentials for Azure: \(missing.joined(separator: "; "))",
            advice:
                "log in with az login, or set AZURE_TENANT_ID, AZURE_CLIENT_ID and AZURE_CLIENT_SECRET (or AZURE_CLIENT_CERTIFICATE_PATH)"
        )
    }

    /// What a place has.
    private enum Found {
        case token(AzureToken)
        /// Nothing, and why.
        case nothing(String)
    }

    // MARK: - Settings

    /// Whether a text can be a tenant: an id, or a domain.
    static func isTenant(_ text: String) -> Bool {
        (1...128).contains(text.utf8.count)
            && text.utf8.allSatisfy {
                (0x30...0x39).contains($0) || (0x41...0x5a).contains($0) || (0x61...0x7a).contains($0) || $0 == 0x2d
                    || $0 == 0x2e
            } && text.utf8.first != 0x2e && text.utf8.first != 0x2d
    }

    /// Whether a text is an id: 36 characters with hyphens.
    private static func isID(_ text: String) -> Bool {
        text.utf8.count == 36
            && text.utf8.allSatisfy { $0 == 0x2d || (0x30...0x39).contains($0) || ($0 | 0x20).isHexadecimalLetter }
    }

    /// The tenant that is set.
    private func ownTenant() throws(SigstoreError) -> String? {
        guard let tenant = variable("AZURE_TENANT_ID") else { return nil }
        guard Self.isTenant(tenant) else {
            throw SigstoreError(
                .keyServiceSettings, "AZURE_TENANT_ID is neither the id of a tenant nor a domain",
                advice: "copy it again; az account show --query tenantId shows it")
        }
        return tenant
    }

    /// The tenant that is set, or that of the vault if both are allowed.
    private func tenant(_ challenge: AzureChallenge) throws(SigstoreError) -> String? {
        guard let tenant = try ownTenant() else { return nil }
        let allowed = (variable("AZURE_ADDITIONALLY_ALLOWED_TENANTS") ?? "").split { $0 == ";" || $0 == "," }
        // Of a domain nobody here knows which id it has.
        guard let theirs = challenge.tenant, Self.isID(theirs), Self.isID(tenant),
            !theirs.lowercased().utf8.elementsEqual(tenant.lowercased().utf8)
        else { return tenant }
        guard
            allowed.contains(where: {
                $0.utf8.elementsEqual("*".utf8) || $0.lowercased().utf8.elementsEqual(theirs.lowercased().utf8)
            })
        else {
            throw SigstoreError(
                .keyServiceSettings, "\(host) belongs to the tenant \(theirs), and AZURE_TENANT_ID is \(tenant)",
                advice: "correct AZURE_TENANT_ID, or list the vault's tenant in AZURE_ADDITIONALLY_ALLOWED_TENANTS")
        }
        return theirs
    }

    /// Where tokens are asked for: what a variable says, else what is known of the cloud that the vault is in. What the vault says
    /// does not count.
    private func tokenEndpoint(_ tenant: String) throws(SigstoreError) -> HTTPURL {
        var (name, text) = ("the authority of the vault's cloud", AzureCloud(of: host).authority)
        if let environment = variable("AZURE_ENVIRONMENT") {
            guard let cloud = AzureCloud(named: environment) else {
                throw SigstoreError(
                    .keyServiceSettings,
                    "AZURE_ENVIRONMENT is \"\(environment.prefix(64))\", which is no cloud that is known here",
                    advice: "use AZUREPUBLICCLOUD, AZUREUSGOVERNMENTCLOUD or AZURECHINACLOUD, or unset it")
            }
            (name, text) = ("AZURE_ENVIRONMENT", cloud.authority)
        } else if let authority = variable("AZURE_AUTHORITY_HOST") {
            // Azure's own tools take the host alone too.
            (name, text) = ("AZURE_AUTHORITY_HOST", authority.contains("://") ? authority : "https://\(authority)")
        }
        let url: HTTPURL
        do throws(SigstoreError) { url = try HTTPURL(parsing: text) } catch {
            throw SigstoreError(.keyServiceSettings, "\(name): \(error.message)", advice: error.advice, cause: error)
        }
        guard url.origin.scheme == .https else {
            throw SigstoreError(
                .keyServiceSettings,
                "\(name) is \(url.redacted): over plain HTTP credentials could be read on their way",
                advice: "give it with https://")
        }
        return try HTTPURL(url.origin, path: "/\(tenant)/oauth2/v2.0/token")
    }

    private func needed(_ name: String, for other: String) throws(SigstoreError) -> String {
        if let value = variable(name) { return value }
        throw Self.half(other, "\(name) is not", "set \(name), or unset \(other)")
    }

    /// The error for half of a setting.
    /// - Parameters:
    ///   - name: What is set.
    ///   - what: What is missing, or does not go with it.
    private static func half(_ name: String, _ what: String, _ advice: String) -> SigstoreError {
        SigstoreError(
            .keyServiceSettings,
            "\(name) is set, and \(what): another account than the one that was meant could be used",
            advice: .sentence(advice))
    }

    private func client(for other: String) throws(SigstoreError) -> String {
        let client = try needed("AZURE_CLIENT_ID", for: other)
        guard Self.isTenant(client) else {
            throw SigstoreError(
                .keyServiceSettings, "AZURE_CLIENT_ID is no id of an application", advice: "copy it again")
        }
        return client
    }

    // MARK: - An application: secret, certificate, workload identity

    private func fromVariables(_ challenge: AzureChallenge) async throws(SigstoreError) -> Found {
        let names = ["AZURE_CLIENT_SECRET", "AZURE_CLIENT_CERTIFICATE_PATH"]
        guard let name = names.first(where: { variable($0) != nil }), let value = variable(name) else {
            try expectNotEmpty(names)
            if variable(Self.certificatePassword) != nil { _ = try needed(names[1], for: Self.certificatePassword) }
            if variable("AZURE_USERNAME") != nil, variable("AZURE_PASSWORD") != nil {
                throw SigstoreError(
                    .keyServiceSettings,
                    "AZURE_USERNAME and AZURE_PASSWORD are set, and are not used: a person signs on with more than a password",
                    advice: "unset them, and log in with az login, or use an application with a secret or certificate")
            }
            return .nothing("neither \(names.joined(separator: " nor ")) is set")
        }
        _ = try needed("AZURE_TENANT_ID", for: name)
        let client = try client(for: name)
        let tenant = try tenant(challenge) ?? ""
        let endpoint = try tokenEndpoint(tenant)
        if name.utf8.elementsEqual(names[0].utf8), let secret = surroundings.secret(name) {
            return .token(
                try await ask(
                    endpoint, [("client_secret", .secret(secret))], client: client, challenge, tenant: tenant,
                    source: "the variable \(name)"))
        }
        let source = "the certificate \(value) (\(name))"
        let password = surroundings.secret(Self.certificatePassword)
        let credential = try await onBlockingThread { () throws(SigstoreError) in
            do throws(SigstoreError) {
                var bytes = try LocalFile.contents(value, limit: 1 << 20)
                defer { SecretBytes.cleanse(&bytes) }
                return try CertifiedPrivateKey(file: bytes, password: password)
            } catch {
                throw SigstoreError(
                    .keyServiceSettings, "\(source): \(error.message)", advice: error.advice, cause: error)
            }
        }
        guard case .rsa = credential.key.publicKey.kind else {
            throw SigstoreError(
                .keyServiceSettings,
                "\(source): its key is \(credential.key.publicKey.kind), and Entra ID takes RSA alone",
                advice: "make a certificate with an RSA key")
        }
        let sendsChain = ["1", "true"].contains((variable("AZURE_CLIENT_SEND_CERTIFICATE_CHAIN") ?? "").lowercased())
        let assertion = try AzureClientAssertion(
            credential, client: client, audience: endpoint, sendsChain: sendsChain, now: surroundings.now())
        return .token(
            try await ask(
                endpoint, assertion.form, client: client, challenge, tenant: tenant, source: source))
    }

    private static let certificatePassword = "AZURE_CLIENT_CERTIFICATE_PASSWORD"
    private static let tokenFile = "AZURE_FEDERATED_TOKEN_FILE"

    /// Refuses a variable that was meant to prove who an application is, and is empty, as in a job that has no such secret.
    /// - Parameter names: The variables, none of which holds anything.
    private func expectNotEmpty(_ names: [String]) throws(SigstoreError) {
        guard let empty = names.first(where: { surroundings.secretBytes($0)?.count == 0 }),
            let other = ["AZURE_CLIENT_ID", "AZURE_TENANT_ID"].first(where: { variable($0) != nil }),
            // The workload's own identity may stand beside it.
            variable(Self.tokenFile) == nil
        else { return }
        throw Self.half(other, "\(empty) is empty", "give \(empty) its value, or unset it")
    }

    private func fromWorkload(_ challenge: AzureChallenge) async throws(SigstoreError) -> Found {
        let name = Self.tokenFile
        guard let file = variable(name) else {
            try expectNotEmpty([name])
            return .nothing("\(name) is not set")
        }
        _ = try needed("AZURE_TENANT_ID", for: name)
        let client = try client(for: name)
        let tenant = try tenant(challenge) ?? ""
        let source = "the workload's identity token \(file) (\(name))"
        // It is read each time: it is renewed where it is.
        var token = try await onBlockingThread { () throws(SigstoreError) in
            do throws(SigstoreError) { return try LocalFile.contents(file, limit: 1 << 16) } catch {
                throw SigstoreError(
                    .keyServiceSettings, "\(source) cannot be read: \(error.message)",
                    advice: "check that the file with the token is mounted", cause: error)
            }
        }
        defer { SecretBytes.cleanse(&token) }
        let word = SecretBytes(token.lazy.filter { $0 > 0x20 })
        guard word.count > 0 else { throw SigstoreError(.keyServiceSettings, "\(source) is empty") }
        return .token(
            try await ask(
                try tokenEndpoint(tenant), AzureClientAssertion(word).form, client: client, challenge, tenant: tenant,
                source: source))
    }

    /// Asks Entra ID for a token of an application (Microsoft identity platform, "OAuth 2.0 client credentials flow").
    private func ask(
        _ endpoint: HTTPURL, _ proof: [(String, FormValue)], client: String, _ challenge: AzureChallenge,
        tenant: String,
        source: String
    ) async throws(SigstoreError) -> AzureToken {
        let form: [(String, FormValue)] = [
            ("client_id", .text(client)), ("grant_type", .text("client_credentials")),
            ("scope", .text("\(challenge.resource)/.default openid offline_access profile")),
        ]
        let request = HTTPRequest(form: form + proof, to: endpoint)
        var answer = try await http.askForCredentials(request, limit: 1 << 17, attempts: 3)
        defer { SecretBytes.cleanse(&answer.body) }
        guard answer.status == 200 else {
            throw Self.refusal(answer, source, client: client, tenant: tenant, now: surroundings.now())
        }
        return try read(answer, from: endpoint, source: source, tenant: tenant, client: client)
    }

    /// Reads a token as Entra ID and the metadata services give it.
    private func read(
        _ answer: HTTPResponse, from url: HTTPURL, source: String, tenant: String?, client: String?
    ) throws(SigstoreError) -> AzureToken {
        do throws(SigstoreError) {
            let json = JSONCursor(try JSONValue(parsing: answer.body, depth: 8, values: 1024))
            return try AzureToken(
                try json.member("access_token").string(), expiration: try expiration(json), source: source,
                tenant: tenant, client: client)
        } catch { throw url.strangeAnswer(error) }
    }

    /// When a token ends: seconds from now, or since 1970, as numbers or as text.
    private func expiration(_ json: JSONCursor) throws(SigstoreError) -> Instant? {
        func number(_ name: String) throws(SigstoreError) -> Int64? {
            guard let member = try json.optional(name) else { return nil }
            let value: Int64?
            if case .string(let text) = member.value { value = Int64(text) } else { value = try member.integer() }
            // Older services write a date as text, which is passed over: a token that is not accepted is had anew.
            guard let value, (0...1 << 40).contains(value) else { return nil }
            return value
        }
        if let seconds = try number("expires_in") { return Instant(seconds: surroundings.now() + seconds) }
        return try number("expires_on").map { Instant(seconds: $0) }
    }

    /// What a refusal of Entra ID means (Microsoft Entra authentication and authorization error codes).
    private static func refusal(
        _ answer: HTTPResponse, _ source: String, client: String, tenant: String, now: Int64
    ) -> SigstoreError {
        if answer.status == 429 || answer.status >= 500 {
            return SigstoreError(
                .keyServiceFailed, "\(source): \(answer.url.origin.authority) answers HTTP \(answer.status)",
                advice: "try again later")
        }
        let json = (try? JSONValue(parsing: answer.body, depth: 8, values: 1024)).map(JSONCursor.init)
        let words = ((try? json?.optional("error_description")?.string()) ?? nil) ?? ""
        guard words.utf8.starts(with: "AADSTS".utf8) else {
            var error = answer.failure("POST").concerning(source)
            if let code = (try? json?.optional("error")?.string()) ?? nil {
                error.message =
                    "\(source): Entra ID says \(SigstoreError.shortened(code)): \(SigstoreError.shortened(words))"
            }
            return error
        }
        // The line ends, or goes on with numbers for support.
        let line = words.prefix { !$0.isNewline }
        let end = line.firstRange(of: " Trace ID:")?.lowerBound ?? line.endIndex
        let said = "Entra ID says \(SigstoreError.shortened(String(line[..<end])))"
        let number = Int(String(words.dropFirst(6).prefix { $0.isASCII && $0.isNumber })) ?? 0
        let who = "the application \(client) in the tenant \(tenant)"
        func error(_ what: String, _ advice: String) -> SigstoreError {
            SigstoreError(
                .keyDenied, "\(source): \(what); \(said)", advice: .sentence(advice),
                cause: HTTPStatusError(
                    response: HTTPResponse(status: answer.status, headers: [], body: [], url: answer.url)))
        }
        switch number {
        case 7000215:
            return error(
                "the secret is not that of \(who)", "copy the secret's value again, not its id, or make another one")
        case 7000222:
            return error("the secret of \(who) has expired", "make another secret for the application")
        case 700016:
            return error("there is no \(who)", "check AZURE_CLIENT_ID and AZURE_TENANT_ID")
        case 90033, 50196:
            return SigstoreError(
                .keyServiceFailed, "\(source): Entra ID cannot answer now; \(said)", advice: "try again later")
        case 90002, 900023:
            return error("there is no tenant \(tenant)", "check AZURE_TENANT_ID, and the cloud (AZURE_AUTHORITY_HOST)")
        case 700024:
            return error(
                "Entra ID does not accept the time of what \(who) shows: here it is \(Instant(seconds: now)), there it is \(answer.header("date").map { SigstoreError.shortened($0) } ?? "an unknown time")",
                "set this machine's clock; a workload's identity token may have ended too")
        case 700027, 7000223, 700030:
            return error("the certificate is not one of \(who)", "add the certificate to the application")
        case 70021, 700211, 700212, 700213, 7002111, 7002112:
            return error(
                "the workload's identity is not known to \(who)",
                "add a federated credential with this token's issuer, subject and audience to the application")
        case 500011:
            return error("the tenant \(tenant) does not know the service that the vault names", "check AZURE_TENANT_ID")
        case 7000112:
            return error("\(who) is disabled", "have it enabled, or use another one")
        case 53003:
            return error(
                "a policy of the tenant \(tenant) (conditional access) does not let \(who) in",
                "have the policy changed, or run it in a place that it allows")
        default: return error("\(who) is given no token", "what Entra ID says names the cause")
        }
    }

    // MARK: - Managed identity

    private func fromManagedIdentity(_ challenge: AzureChallenge) async throws(SigstoreError) -> Found {
        let client = variable("AZURE_CLIENT_ID")
        let (place, header) = ("IDENTITY_ENDPOINT", "IDENTITY_HEADER")
        if let endpoint = variable(place) {
            guard variable("IDENTITY_SERVER_THUMBPRINT") == nil else {
                throw SigstoreError(
                    .keyServiceSettings,
                    "the managed identities of Service Fabric (\(place) with IDENTITY_SERVER_THUMBPRINT) are not used here",
                    advice: "use an application with a secret or certificate, or log in with az login")
            }
            guard let secret = surroundings.secret(header) else {
                guard variable("IMDS_ENDPOINT") != nil else {
                    throw Self.half(
                        place,
                        "neither \(header), as an App Service has it, nor IMDS_ENDPOINT, as Azure Arc has it, is",
                        "set \(header), or unset \(place)")
                }
                return try await fromArc(try near(endpoint, place), challenge, client)
            }
            let url = try near(endpoint, place).adding("api-version", "2019-08-01")
                .adding("resource", challenge.resource)
            var request = HTTPRequest("GET", client.map { url.adding("client_id", $0) } ?? url)
            request.secrets = [unsafe secret.withBytes { unsafe Authorization(field: "X-IDENTITY-HEADER", $0) }]
            return .token(try await askNear(request, "the managed identity of the App Service (\(place))", client))
        }
        if surroundings.secret(header) != nil { _ = try needed(place, for: header) }
        if let endpoint = variable("MSI_ENDPOINT") {
            let url = try near(endpoint, "MSI_ENDPOINT")
            if let secret = surroundings.secret("MSI_SECRET") {
                let asked = url.adding("api-version", "2017-09-01").adding("resource", challenge.resource)
                var request = HTTPRequest("GET", client.map { asked.adding("clientid", $0) } ?? asked)
                request.secrets = [unsafe secret.withBytes { unsafe Authorization(field: "secret", $0) }]
                return .token(try await askNear(request, "the managed identity of Azure ML (MSI_ENDPOINT)", client))
            }
            guard client == nil else {
                throw Self.half(
                    "AZURE_CLIENT_ID", "MSI_ENDPOINT, of a Cloud Shell, gives the identity of its person alone",
                    "unset AZURE_CLIENT_ID, or set what proves that application, such as AZURE_CLIENT_SECRET")
            }
            var request = HTTPRequest(form: [("resource", .text(challenge.resource))], to: url)
            request.headers.append((name: "Metadata", value: "true"))
            return .token(try await askNear(request, "the Cloud Shell (MSI_ENDPOINT)", nil))
        }
        if surroundings.secret("MSI_SECRET") != nil { _ = try needed("MSI_ENDPOINT", for: "MSI_SECRET") }
        return try await fromInstance(challenge, client)
    }

    /// The agent of Azure Arc, which names a file that only those may read who may have a token (Azure Arc-enabled servers,
    /// "Authenticate against Azure resources").
    private func fromArc(_ url: HTTPURL, _ challenge: AzureChallenge, _ client: String?) async throws(SigstoreError)
        -> Found
    {
        guard client == nil else {
            throw Self.half(
                "AZURE_CLIENT_ID", "Azure Arc (IDENTITY_ENDPOINT with IMDS_ENDPOINT) has one identity for the machine",
                "unset AZURE_CLIENT_ID, or set what proves that application, such as AZURE_CLIENT_SECRET")
        }
        let source = "the managed identity of Azure Arc (IDENTITY_ENDPOINT)"
        var request = HTTPRequest(
            "GET", url.adding("api-version", "2020-06-01").adding("resource", challenge.resource),
            headers: [(name: "Metadata", value: "true")])
        request.isDirect = true
        let first: HTTPResponse
        do throws(SigstoreError) {
            first = try await http.askForCredentials(request, timeout: .seconds(1), pause: surroundings.pause)
        } catch {
            guard [.unreachable, .timedOut].contains(error.code) else { throw error }
            return .nothing("\(source): its agent does not answer at \(url.origin.authority)")
        }
        let start = "basic realm="
        let named = first.header("www-authenticate").map { header in
            header.lowercased().utf8.starts(with: start.utf8)
                ? String(header.dropFirst(start.count)) : ""
        }
        let (folder, end) = ("\(arcFolder)/", ".key")
        // A file that another one could have written would be sent to who asks for it.
        guard first.status == 401, let path = named, path.utf8.starts(with: folder.utf8),
            path.utf8.reversed().starts(with: end.utf8.reversed()),
            !path.utf8.dropFirst(folder.utf8.count).contains(0x2f)
        else {
            throw SigstoreError(
                .keyServiceAnswer,
                "\(source): \(url.origin.authority) answered \(first.status), and names no file of \(arcFolder), but \"\(SigstoreError.shortened(named ?? ""))\"",
                advice: "check that this is the agent of Azure Arc (azcmagent show)")
        }
        var key: [UInt8]
        do throws(SigstoreError) {
            key = try await onBlockingThread { () throws(SigstoreError) in try LocalFile.contents(path, limit: 4096) }
        } catch {
            return .nothing("\(source): \(error.message); root and members of the group himds may read it")
        }
        defer { SecretBytes.cleanse(&key) }
        request.authorization = Authorization(scheme: "Basic", key)
        return .token(try await askNear(request, source, nil))
    }

    /// The metadata service of a virtual machine (Azure Instance Metadata Service, "Acquire an access token").
    private func fromInstance(_ challenge: AzureChallenge, _ client: String?) async throws(SigstoreError) -> Found {
        let name = "AZURE_POD_IDENTITY_AUTHORITY_HOST"
        let host = try near(variable(name) ?? "http://169.254.169.254", name)
        let place = try HTTPURL(host.origin, path: "/metadata/identity/oauth2/token")
        // It is on the link or not there: a machine without one is not kept waiting. Without the header it answers with an error.
        var probe = HTTPRequest(
            "GET", place, bodyLimit: 1 << 16, timeout: .seconds(1), handledStatuses: Set(300...599), isIdempotent: false
        )
        (probe.isDirect, probe.refusesRedirects, probe.latestStart) = (true, true, .now + .seconds(5))
        let isAzure: Bool
        do throws(SigstoreError) { isAzure = try await http.send(probe).status != 404 } catch {
            guard [.unreachable, .timedOut, .redirectRefused].contains(error.code) else { throw error }
            return .nothing("no metadata service of a virtual machine answers at \(host.origin.authority)")
        }
        var url = place.adding("api-version", "2018-02-01")
        if let client { url = url.adding("client_id", client) }
        url = url.adding("resource", challenge.resource)
        let request = HTTPRequest("GET", url, headers: [(name: "Metadata", value: "true")])
        let source = "the managed identity of the virtual machine"
        do throws(SigstoreError) {
            return .token(try await askNear(request, source, client, again: isAzure ? Self.whileChanging : nil))
        } catch {
            // A machine may have no identity, and something else may answer there. Who named one gets that one or none.
            guard client == nil, [400, 401, 403, 404, 410].contains(error.httpStatus) else { throw error }
            return .nothing(error.message)
        }
    }

    /// Asks the metadata service again while it changes or does not know the identity yet: for some seconds, and while it says that
    /// it is being changed, which takes 70 seconds at the most (Azure Instance Metadata Service, "Retry guidance").
    @Sendable private static func whileChanging(_ failure: CredentialFailure, _ attempt: Int) -> Duration? {
        switch failure {
        case .status(404): attempt <= 3 ? .seconds(1 << (attempt - 1)) : nil
        case .status(410): attempt <= 7 ? .seconds(10) : nil
        case .status, .unreachable, .late: CredentialFailure.soon(attempts: 3)(failure, attempt)
        }
    }

    /// A place within this machine or on its link.
    private func near(_ text: String, _ name: String) throws(SigstoreError) -> HTTPURL {
        let url: HTTPURL
        do throws(SigstoreError) { url = try HTTPURL(parsing: text) } catch {
            throw SigstoreError(.keyServiceSettings, "\(name): \(error.message)", advice: error.advice, cause: error)
        }
        // The App Service has its own address on the link.
        if IPAddress(url.origin.host)?.isIn(network: "169.254.0.0/16") == true { return url }
        try url.expectNear(name, also: ["169.254.169.254"])
        return url
    }

    private func askNear(
        _ request: HTTPRequest, _ source: String, _ client: String?,
        again: (@Sendable (CredentialFailure, Int) -> Duration?)? = nil
    ) async throws(SigstoreError) -> AzureToken {
        var request = request
        request.isDirect = true
        var answer = try await http.askForCredentials(request, attempts: 3, pause: surroundings.pause, again: again)
        defer { SecretBytes.cleanse(&answer.body) }
        guard answer.status == 200 else {
            let json = (try? JSONValue(parsing: answer.body, depth: 8, values: 1024)).map(JSONCursor.init)
            let words = ((try? json?.optional("error_description")?.string()) ?? nil) ?? ""
            var error = answer.failure(request.method)
            error.message =
                "\(source): \(request.url.origin.authority) answered \(answer.status)\(words.isEmpty ? "" : ": \(SigstoreError.shortened(words))")"
            error.advice = .sentence(
                client == nil
                    ? "assign an identity to this machine or app"
                    : "check AZURE_CLIENT_ID: it names the identity, which must be assigned to this machine or app")
            throw error
        }
        return try read(answer, from: request.url, source: source, tenant: nil, client: client)
    }

    // MARK: - Azure's CLI

    private func fromCommandLine(_ challenge: AzureChallenge) async throws(SigstoreError) -> Found {
        guard let path = ChildProcess.find("az", environment: variable("PATH").map { ["PATH": $0] } ?? ["PATH": ""])
        else {
            return .nothing("Azure's CLI (az) is not installed")
        }
        var command = [path, "account", "get-access-token", "--output", "json", "--resource", challenge.resource]
        // A tenant begins with no hyphen, so that it is no flag.
        if let tenant = try tenant(challenge) ?? challenge.tenant {
            command += ["--tenant", tenant]
        }
        let arguments = command
        @Sendable func failed(_ what: String) -> SigstoreError {
            SigstoreError(
                .keyServiceSettings, "Azure's CLI \(what)",
                advice: "log in with az login, or run it by hand: az \(arguments.dropFirst().joined(separator: " "))")
        }
        var output = try await onBlockingThread { () throws(SigstoreError) in
            let answer: ChildProcess.Answer
            do throws(ChildProcess.Failure) { answer = try ChildProcess.run(arguments, timeout: .seconds(60)) } catch {
                switch error {
                case .notStarted: throw failed("cannot be started")
                case .tookTooLong: throw failed("did not end within 60 s")
                case .saidTooMuch: throw failed("printed more than \(ChildProcess.outputLimit) bytes")
                }
            }
            return answer.status == 0 ? answer.output : []
        }
        defer { SecretBytes.cleanse(&output) }
        guard !output.isEmpty else {
            return .nothing("Azure's CLI (az) gives no token, and says above why; perhaps nobody has logged in")
        }
        do throws(SigstoreError) {
            let json = JSONCursor(try JSONValue(parsing: output, depth: 8, values: 1024))
            // Older versions write the time without its zone; their tokens hold for some minutes at the least.
            let end = try expiration(json) ?? Instant(seconds: surroundings.now() + 300)
            return .token(
                try AzureToken(
                    try json.member("accessToken").string(), expiration: end, source: "Azure's CLI (az login)",
                    tenant: (try? json.optional("tenant")?.string()) ?? nil, client: nil))
        } catch {
            throw failed("printed something else than a token: \(error.message)")
        }
    }
}

extension UInt8 {
    fileprivate var isHexadecimalLetter: Bool { (0x61...0x66).contains(self) }
}

/// What an application shows in place of a secret: a JSON Web Token, by itself or by an issuer that it trusts (RFC 7523, section 2.2).
struct AzureClientAssertion {
    private let token: SecretBytes

    /// The parameters that it is sent in.
    var form: [(String, FormValue)] {
        [
            ("client_assertion", .secret(token)),
            ("client_assertion_type", .text("urn:ietf:params:oauth:client-assertion-type:jwt-bearer")),
        ]
    }

    /// Takes the token of an issuer that the application trusts.
    init(_ token: SecretBytes) { self.token = token }

    /// Signs one with a certificate's key (Microsoft identity platform, "Application authentication certificate credentials").
    /// - Parameters:
    ///   - credential: The key and its certificate.
    ///   - client: The application.
    ///   - audience: Where it is sent.
    ///   - sendsChain: Whether the certificates are in it, so that one is believed by its authority and name.
    ///   - now: Unix seconds.
    init(
        _ credential: CertifiedPrivateKey, client: String, audience: HTTPURL, sendsChain: Bool, now: Int64
    ) throws(SigstoreError) {
        var header: JSONObject = [
            "alg": .string("PS256"), "typ": .string("JWT"),
            "x5t#S256": .string(Base64.encodeURLSafe(try Digest.sha256(credential.certificate).bytes)),
        ]
        if sendsChain {
            header["x5c"] = .array(([credential.certificate] + credential.others).map { .bytes($0) })
        }
        let id = Hexadecimal.encode((0..<16).map { _ in UInt8.random(in: .min ... .max) })
        let claims: JSONObject = [
            "aud": .string(audience.description), "exp": .integer(now + 600), "iat": .integer(now),
            "iss": .string(client), "jti": .string(id), "nbf": .integer(now), "sub": .string(client),
        ]
        var bytes = try SignedToken.make(header: header, claims: claims, key: credential.key, scheme: .rsaPSS(.sha256))
        defer { SecretBytes.cleanse(&bytes) }
        token = SecretBytes(bytes)
    }
}
