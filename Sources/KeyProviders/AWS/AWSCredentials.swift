import HTTPTransport
import LocalSystem
import SigstoreCrypto
import StrictJSON

/// What proves to AWS who asks.
struct AWSCredentials: Expiring {
    /// The public half.
    let accessKeyID: String
    /// The secret half.
    let secret: SecretBytes
    /// What goes with credentials that end.
    let sessionToken: SecretBytes?
    /// When they end; `nil` if never, or nobody knows.
    let expiration: Instant?
    /// Where they come from, for a person.
    let source: String
    /// Who they are for, if the source says so: an ARN.
    var identity: String?

    /// Takes credentials over.
    /// - Throws: `SigstoreError` with `key-service-settings` if the public half is not a word of ASCII, or the rest cannot be sent.
    init(
        _ accessKeyID: String, secret: SecretBytes, sessionToken: SecretBytes?, expiration: Instant? = nil,
        source: String
    ) throws(SigstoreError) {
        let isWord = (1...128).contains(accessKeyID.utf8.count) && accessKeyID.utf8.allSatisfy(Self.isWordByte)
        let isToken = unsafe sessionToken?.withBytes { unsafe $0.allSatisfy { (0x21...0x7e).contains($0) } } ?? true
        guard isWord, secret.count > 0, secret.count <= 512, isToken, (sessionToken?.count ?? 1) <= 1 << 16 else {
            throw SigstoreError(
                .keyServiceSettings,
                "\(source): the \(isWord ? isToken ? "secret access key" : "session token" : "access key id") is empty, too long, or has spaces or line ends in it",
                advice: "copy it again, without what stands around it")
        }
        self.accessKeyID = accessKeyID
        self.secret = secret
        self.sessionToken = sessionToken
        self.expiration = expiration
        self.source = source
    }

    private static func isWordByte(_ byte: UInt8) -> Bool {
        (0x30...0x39).contains(byte) || (0x41...0x5a).contains(byte) || (0x61...0x7a).contains(byte) || byte == 0x5f
            || byte == 0x2d
    }

    /// A request with the signature of these credentials.
    func signing(_ request: HTTPRequest, region: String, service: String, at now: Int64) throws(SigstoreError)
        -> HTTPRequest
    {
        var body: [UInt8] = []
        defer { SecretBytes.cleanse(&body) }
        switch request.body {
        case .bytes(let bytes): body = bytes
        case .secret(let secret): body = unsafe secret.withBytes { unsafe Array($0) }
        case .none, .file: break
        }
        let date = RequestSignature.date(now)
        var request = request
        request.headers.append((name: "X-Amz-Date", value: date))
        var signed = request.headers
        if let sessionToken {
            // It is signed as it is; the text lives as long as this call.
            signed.append(
                (
                    name: "x-amz-security-token",
                    value: unsafe sessionToken.withBytes { unsafe String(decoding: $0, as: UTF8.self) }
                ))
            request.secrets.append(
                unsafe sessionToken.withBytes { unsafe Authorization(field: "X-Amz-Security-Token", $0) })
        }
        let signature = try RequestSignature(
            method: request.method, url: request.url, headers: signed, body: body, accessKeyID: accessKeyID,
            secret: secret, region: region, service: service, date: date)
        request.authorization = Authorization(scheme: RequestSignature.algorithm, signature.credentials.utf8)
        return request
    }
}

/// The credentials of a run, looked for once in the places that AWS's own programs look in, in their order, and had anew
/// before they end (AWS SDKs and Tools Reference Guide, "Standardized credential providers").
struct AWSCredentialChain: Sendable {
    let surroundings: KeySurroundings
    let profiles: AWSProfiles
    let http: any HTTPClient
    /// Where the security token service is asked, unless an endpoint is configured.
    let region: String?
    private let once = Once<Int, AWSCredentials>()

    init(_ surroundings: KeySurroundings, _ profiles: AWSProfiles, _ http: any HTTPClient, region: String?) {
        (self.surroundings, self.profiles, self.http, self.region) = (surroundings, profiles, http, region)
    }

    /// Credentials that hold for a minute at least.
    /// - Throws: `SigstoreError` with `key-service-settings` that says which places were looked in.
    func credentials() async throws(SigstoreError) -> AWSCredentials {
        try await once.value(0, while: { !$0.isEnding(at: surroundings.now()) }) { () async throws(SigstoreError) in
            try await find()
        }
    }

    /// Whose the credentials are, as an ARN (AWS STS API Reference, GetCallerIdentity, which needs no permission); the reason if
    /// that cannot be learned.
    func identity() async throws(SigstoreError) -> String {
        let credentials = try await credentials()
        if let identity = credentials.identity { return identity }
        do throws(SigstoreError) {
            let (document, endpoint) = try await stsAnswer(
                "GetCallerIdentity", [], signedBy: credentials, region: nil, source: credentials.source)
            guard let arn = document.text(["GetCallerIdentityResponse", "GetCallerIdentityResult", "Arn"]), !arn.isEmpty
            else { throw endpoint.strangeAnswer(SigstoreError(.unexpectedJSON, "it has no Arn")) }
            return arn
        } catch { return "not known: \(error.message)" }
    }

    private func variable(_ name: String) -> String? { surroundings.variable(name) }

    private func find() async throws(SigstoreError) -> AWSCredentials {
        let found = try await look()
        let now = Instant(seconds: surroundings.now())
        guard let end = found.expiration, end <= now else { return found }
        throw SigstoreError(
            .keyServiceSettings, "\(found.source): the credentials ended at \(end), and it is \(now)",
            advice: "renew them where they come from, or set this machine's clock")
    }

    private func look() async throws(SigstoreError) -> AWSCredentials {
        if let found = try fromVariables() { return found }
        if let file = variable("AWS_WEB_IDENTITY_TOKEN_FILE") {
            guard let role = variable("AWS_ROLE_ARN") else {
                throw SigstoreError(
                    .keyServiceSettings, "AWS_WEB_IDENTITY_TOKEN_FILE is set, and AWS_ROLE_ARN is not",
                    advice: "set AWS_ROLE_ARN to the role that the token is for")
            }
            return try await withWebIdentity(
                file, role: role, session: variable("AWS_ROLE_SESSION_NAME"),
                source: "AWS_WEB_IDENTITY_TOKEN_FILE and AWS_ROLE_ARN")
        }
        return try await fromProfile(profiles.name, [])
    }

    // MARK: - Variables

    private func fromVariables() throws(SigstoreError) -> AWSCredentials? {
        func first(_ names: [String]) -> (name: String, value: SecretBytes)? {
            for name in names { if let value = surroundings.secret(name) { return (name, value) } }
            return nil
        }
        let id = first(["AWS_ACCESS_KEY_ID", "AWS_ACCESS_KEY"])
        let secret = first(["AWS_SECRET_ACCESS_KEY", "AWS_SECRET_KEY"])
        guard let id, let secret else {
            guard id == nil, secret == nil else {
                let (there, missing) =
                    id.map { ($0.name, "AWS_SECRET_ACCESS_KEY") } ?? (secret?.name ?? "", "AWS_ACCESS_KEY_ID")
                throw SigstoreError(
                    .keyServiceSettings,
                    "\(there) is set, and \(missing) is not: other credentials than those that were meant could be used",
                    advice: .sentence("set both, or unset \(there)"))
            }
            return nil
        }
        return try AWSCredentials(
            variable(id.name) ?? "", secret: secret.value, sessionToken: surroundings.secret("AWS_SESSION_TOKEN"),
            source: "the variables \(id.name) and \(secret.name)")
    }

    // MARK: - Profiles

    /// The credentials of a profile.
    /// - Parameter above: The profiles that lead to this one.
    private func fromProfile(_ name: String, _ above: [String]) async throws(SigstoreError) -> AWSCredentials {
        let profile = profiles.profile(name)
        let place = profiles.place(of: name)
        func setting(_ key: String) -> String? { profiles.setting(key, of: name) }
        func malformed(_ what: String, _ advice: String) -> SigstoreError {
            SigstoreError(.keyServiceSettings, "\(place): \(what)", advice: .sentence(advice))
        }
        guard !above.isEmpty || profile != nil || name.utf8.elementsEqual("default".utf8), above.count < 8 else {
            throw malformed(above.count < 8 ? "there is none" : "its source_profile leads on and on", "correct it")
        }
        if !above.isEmpty, profile == nil {
            throw malformed(
                "there is none, and source_profile of \"\(above.last ?? "")\" names it", "correct source_profile")
        }
        let role = setting("role_arn")
        var base: AWSCredentials
        // Its own keys are meant also if it names itself.
        let source = setting("source_profile").flatMap { $0.utf8.elementsEqual(name.utf8) ? nil : $0 }
        if let source, role != nil {
            guard !above.contains(where: { $0.utf8.elementsEqual(source.utf8) }) else {
                throw malformed(
                    "its source_profile leads back to \"\(source)\"", "let source_profile end with credentials")
            }
            base = try await fromProfile(source, above + [name])
        } else if let keys = try staticKeys(profile, place) {
            base = keys
        } else if let kind = setting("credential_source"), role != nil {
            switch kind {
            case "Environment":
                guard let keys = try fromVariables() else {
                    throw malformed(
                        "credential_source is Environment, and AWS_ACCESS_KEY_ID is not set",
                        "set it, with AWS_SECRET_ACCESS_KEY")
                }
                base = keys
            case "EcsContainer":
                guard let keys = try await fromContainer() else {
                    throw malformed(
                        "credential_source is EcsContainer, and neither AWS_CONTAINER_CREDENTIALS_RELATIVE_URI nor AWS_CONTAINER_CREDENTIALS_FULL_URI is set",
                        "run it in a container of ECS or EKS")
                }
                base = keys
            case "Ec2InstanceMetadata": base = try await fromInstance([])
            default:
                throw malformed(
                    "credential_source is \"\(kind)\"", "use Environment, Ec2InstanceMetadata or EcsContainer")
            }
        } else if let file = setting("web_identity_token_file") {
            guard let role else {
                throw malformed("web_identity_token_file is set, and role_arn is not", "set role_arn")
            }
            return try await withWebIdentity(
                AWSProfiles.expanded(file, variable), role: role, session: setting("role_session_name"), source: place)
        } else if setting("sso_session") != nil || setting("sso_start_url") != nil {
            base = try await fromSignOn(name, place)
        } else if let command = setting("credential_process") {
            base = try await fromProcess(command, place)
        } else if role == nil, above.isEmpty {
            if let keys = try await fromContainer() { return keys }
            return try await fromInstance([
                "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY are not set", "AWS_WEB_IDENTITY_TOKEN_FILE is not set",
                profile == nil
                    ? "\(profiles.files.isEmpty ? "HOME is not set, so there are no configuration files" : "no profile \"\(name)\" is in \(profiles.files)")"
                    : "\(place) has no credentials",
                "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI and AWS_CONTAINER_CREDENTIALS_FULL_URI are not set",
            ])
        } else {
            throw malformed(
                role == nil
                    ? "it has no credentials"
                    : "it has role_arn, and says not with which credentials to take that role",
                "give it source_profile or credential_source, or credentials of its own")
        }
        guard let role else { return base }
        guard setting("mfa_serial") == nil else {
            throw malformed(
                "the role \(role) needs a code of a device (mfa_serial), which is not asked for here",
                "take the role first (aws sts assume-role), and give its credentials as AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN"
            )
        }
        var fields: [(String, FormValue)] = [
            ("DurationSeconds", .text(setting("duration_seconds") ?? "900")), ("RoleArn", .text(role)),
            ("RoleSessionName", .text(setting("role_session_name") ?? sessionName)),
        ]
        if let external = setting("external_id") { fields.append(("ExternalId", .text(external))) }
        return try await askSTS(
            "AssumeRole", fields, signedBy: base, region: setting("region"),
            source: "the role \(role), taken with \(base.source), by \(place)")
    }

    private func staticKeys(_ profile: AWSConfigurationFile.Section?, _ place: String) throws(SigstoreError)
        -> AWSCredentials?
    {
        guard let profile else { return nil }
        let id = profile.settings["aws_access_key_id"] ?? ""
        let secret = profile.secrets["aws_secret_access_key"].flatMap { $0.count == 0 ? nil : $0 }
        guard !id.isEmpty, let secret else {
            guard id.isEmpty, secret == nil else {
                throw SigstoreError(
                    .keyServiceSettings,
                    "\(place) has \(id.isEmpty ? "aws_secret_access_key" : "aws_access_key_id") and not \(id.isEmpty ? "aws_access_key_id" : "aws_secret_access_key")",
                    advice: "give both, or neither")
            }
            return nil
        }
        let token = profile.secrets["aws_session_token"].flatMap { $0.count == 0 ? nil : $0 }
        return try AWSCredentials(id, secret: secret, sessionToken: token, source: place)
    }

    // MARK: - Another program

    private func fromProcess(_ command: String, _ place: String) async throws(SigstoreError) -> AWSCredentials {
        let source = "credential_process of \(place)"
        @Sendable func failed(_ what: String) -> SigstoreError {
            SigstoreError(.keyServiceSettings, "\(source) \(what)", advice: "run that command by hand")
        }
        var output = try await onBlockingThread { () throws(SigstoreError) in
            let answer: ChildProcess.Answer
            do throws(ChildProcess.Failure) {
                answer = try ChildProcess.run(["sh", "-c", command], timeout: .seconds(60))
            } catch {
                switch error {
                case .notStarted: throw failed("cannot be started")
                case .tookTooLong: throw failed("did not end within 60 s")
                case .saidTooMuch: throw failed("printed more than \(ChildProcess.outputLimit) bytes")
                }
            }
            guard answer.status == 0 else { throw failed("failed with status \(answer.status)") }
            return answer.output
        }
        defer { SecretBytes.cleanse(&output) }
        do throws(SigstoreError) {
            let json = JSONCursor(try JSONValue(parsing: output, depth: 8, values: 1024))
            let version = try json.member("Version").integer()
            guard version == 1 else { throw try json.member("Version").fault("is \(version), expected 1") }
            return try Self.read(json, token: "SessionToken", needsAll: false, source: source)
        } catch {
            throw failed("printed something else than credentials: \(error.message)")
        }
    }

    /// Reads credentials as processes, containers and instances give them.
    /// - Parameters:
    ///   - token: The name of the session token.
    ///   - needsAll: Whether token and end must be there.
    private static func read(_ json: JSONCursor, token: String, needsAll: Bool, source: String) throws(SigstoreError)
        -> AWSCredentials
    {
        let sessionToken = needsAll ? try json.member(token) : try json.optional(token)
        let end = needsAll ? try json.member("Expiration") : try json.optional("Expiration")
        var expiration: Instant?
        if let end {
            guard let time = Instant(rfc3339: try end.string()) else { throw end.fault("is not a time (RFC 3339)") }
            expiration = time
        }
        let text = try sessionToken?.string() ?? ""
        return try AWSCredentials(
            try json.member("AccessKeyId").string(),
            secret: SecretBytes(try json.member("SecretAccessKey").string().utf8),
            sessionToken: text.isEmpty ? nil : SecretBytes(text.utf8), expiration: expiration, source: source)
    }

    // MARK: - Single sign-on

    /// Exchanges the token that `aws sso login` has left (AWS IAM Identity Center, GetRoleCredentials).
    private func fromSignOn(_ name: String, _ place: String) async throws(SigstoreError) -> AWSCredentials {
        let session = profiles.setting("sso_session", of: name)
        var settings = profiles.profile(name)?.settings ?? [:]
        if let session {
            guard let more = profiles.session(session) else {
                throw SigstoreError(
                    .keyServiceSettings,
                    "\(place) names the sso_session \"\(session)\", and there is no [sso-session \(session)]",
                    advice: .sentence("run aws configure sso --profile \(name)"))
            }
            settings.merge(more) { $1 }
        }
        func needed(_ key: String) throws(SigstoreError) -> String {
            guard let value = settings[key], !value.isEmpty else {
                throw SigstoreError(
                    .keyServiceSettings, "\(place) signs on (sso_…), and has no \(key)",
                    advice: .sentence("run aws configure sso --profile \(name)"))
            }
            return value
        }
        let start = try needed("sso_start_url")
        let (region, account, role) = (
            try needed("sso_region"), try needed("sso_account_id"), try needed("sso_role_name")
        )
        guard let home = variable("HOME") else {
            throw SigstoreError(.keyServiceSettings, "HOME is not set, so the token of aws sso login cannot be found")
        }
        let path = "\(home)/.aws/sso/cache/\(Hexadecimal.encode(try Digest.sha1(Array((session ?? start).utf8)))).json"
        func login(_ what: String) -> SigstoreError {
            SigstoreError(
                .keyServiceSettings, "\(place): \(what)", advice: .sentence("run aws sso login --profile \(name)"))
        }
        var bytes = try await onBlockingThread { () throws(SigstoreError) in
            try LocalFile.read(path, limit: 1 << 18) ?? []
        }
        defer { SecretBytes.cleanse(&bytes) }
        guard !bytes.isEmpty else { throw login("nobody has signed on: there is no \(path)") }
        let (token, end): (SecretBytes, Instant)
        do throws(SigstoreError) {
            let json = JSONCursor(try JSONValue(parsing: bytes, depth: 8, values: 1024))
            let time = try json.member("expiresAt")
            // Older versions of the AWS CLI wrote `UTC` in place of `Z`.
            let text = try time.string().replacing("UTC", with: "Z")
            guard let instant = Instant(rfc3339: text) else { throw time.fault("is not a time (RFC 3339)") }
            (token, end) = (SecretBytes(try json.member("accessToken").string().utf8), instant)
        } catch {
            throw login("\(path) holds no token: \(error.message)")
        }
        let now = Instant(seconds: surroundings.now())
        guard now < end else { throw login("the token in \(path) ended at \(end), and it is \(now)") }
        var endpoint = try profiles.endpoint("sso")?.url
        if endpoint == nil { endpoint = try profiles.standardEndpoint("portal.sso", region: region) }
        guard let endpoint, let url = try? HTTPURL(endpoint.origin, path: "/federation/credentials") else {
            throw login("there is no endpoint for \(region)")
        }
        try Self.expectTLS(url, "single sign-on")
        var request = HTTPRequest("GET", url.adding("role_name", role).adding("account_id", account))
        request.secrets = [unsafe token.withBytes { unsafe Authorization(field: "X-Amz-Sso_bearer_token", $0) }]
        var answer = try await http.askForCredentials(request, attempts: 3)
        defer { SecretBytes.cleanse(&answer.body) }
        guard answer.status == 200 else {
            if answer.status == 401 { throw login("AWS does not accept the token in \(path) any more") }
            if answer.status == 403 || answer.status == 404 {
                throw SigstoreError(
                    .keyServiceSettings,
                    "\(place): the account \(account) has no role \(role) for the person who signed on: \(answer.words)",
                    advice: "correct sso_account_id and sso_role_name, or have the role assigned")
            }
            throw answer.failure("GET")
        }
        do throws(SigstoreError) {
            let json = try JSONCursor(try JSONValue(parsing: answer.body, depth: 8, values: 1024)).member(
                "roleCredentials")
            return try AWSCredentials(
                try json.member("accessKeyId").string(),
                secret: SecretBytes(try json.member("secretAccessKey").string().utf8),
                sessionToken: SecretBytes(try json.member("sessionToken").string().utf8),
                expiration: Instant(milliseconds: try json.member("expiration").integer()),
                source: "single sign-on as \(role) of the account \(account), by \(place)")
        } catch { throw url.strangeAnswer(error) }
    }

    // MARK: - The security token service

    /// The name of a session, if none is given. It stands in AWS's logs.
    private var sessionName: String { "swsign-\(surroundings.now())" }

    private func withWebIdentity(_ file: String, role: String, session: String?, source: String)
        async throws(SigstoreError) -> AWSCredentials
    {
        var token = try await onBlockingThread { () throws(SigstoreError) in
            do throws(SigstoreError) { return try LocalFile.contents(file, limit: 1 << 16) } catch {
                throw SigstoreError(
                    .keyServiceSettings, "\(source): the identity token cannot be read: \(error.message)",
                    advice: "check that the file with the token is mounted", cause: error)
            }
        }
        defer { SecretBytes.cleanse(&token) }
        let word = SecretBytes(token.lazy.filter { $0 > 0x20 })
        guard word.count > 0 else {
            throw SigstoreError(.keyServiceSettings, "\(source): the identity token in \(file) is empty")
        }
        return try await askSTS(
            "AssumeRoleWithWebIdentity",
            [
                ("RoleArn", .text(role)), ("RoleSessionName", .text(session ?? sessionName)),
                ("WebIdentityToken", .secret(word)),
            ], signedBy: nil, region: nil,
            source: "the role \(role), taken with the identity token \(file), by \(source)")
    }

    /// Asks the security token service for credentials of a role (AWS STS API Reference, AssumeRole and
    /// AssumeRoleWithWebIdentity).
    private func askSTS(
        _ action: String, _ fields: [(String, FormValue)], signedBy base: AWSCredentials?, region ownRegion: String?,
        source: String
    ) async throws(SigstoreError) -> AWSCredentials {
        let (document, endpoint) = try await stsAnswer(
            action, fields, signedBy: base, region: ownRegion, source: source)
        func value(_ name: String) throws(SigstoreError) -> String {
            guard let text = document.text(["\(action)Response", "\(action)Result", "Credentials", name]), !text.isEmpty
            else { throw endpoint.strangeAnswer(SigstoreError(.unexpectedJSON, "it has no Credentials/\(name)")) }
            return text
        }
        let end = try value("Expiration")
        guard let expiration = Instant(rfc3339: end) else {
            throw endpoint.strangeAnswer(SigstoreError(.unexpectedJSON, "Expiration is not a time"))
        }
        var credentials = try AWSCredentials(
            try value("AccessKeyId"), secret: SecretBytes(try value("SecretAccessKey").utf8),
            sessionToken: SecretBytes(try value("SessionToken").utf8), expiration: expiration, source: source)
        credentials.identity = document.text(["\(action)Response", "\(action)Result", "AssumedRoleUser", "Arn"])
        return credentials
    }

    /// Refuses to send a secret, or to be sent one, over plain HTTP to another machine.
    private static func expectTLS(_ url: HTTPURL, _ service: String) throws(SigstoreError) {
        guard url.origin.scheme == .http, !url.origin.isLoopback else { return }
        throw SigstoreError(
            .keyServiceSettings,
            "\(url.origin), the endpoint that is configured for \(service), is plain HTTP, and credentials would go over it",
            advice:
                "give an endpoint with https, or give the credentials as AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")
    }

    /// Asks the security token service.
    /// - Returns: Its answer, and where it was asked.
    private func stsAnswer(
        _ action: String, _ fields: [(String, FormValue)], signedBy base: AWSCredentials?, region ownRegion: String?,
        source: String
    ) async throws(SigstoreError) -> (ShortXML, HTTPURL) {
        let region = profiles.region ?? ownRegion ?? self.region ?? "us-east-1"
        var endpoint = try profiles.endpoint("sts")?.url
        if endpoint == nil { endpoint = try profiles.standardEndpoint("sts", region: region) }
        guard let endpoint else { throw SigstoreError(.keyServiceSettings, "\(source): there is no endpoint to ask") }
        try Self.expectTLS(endpoint, "STS")
        let form = [("Action", FormValue.text(action)), ("Version", .text("2011-06-15"))] + fields
        var request = HTTPRequest(form: form.sorted { $0.0 < $1.0 }, to: endpoint)
        let now = surroundings.now()
        if let base { request = try base.signing(request, region: region, service: "sts", at: now) }
        var answer = try await http.askForCredentials(request, limit: 1 << 17, attempts: 3)
        defer { SecretBytes.cleanse(&answer.body) }
        let document: ShortXML
        do throws(SigstoreError) { document = try ShortXML(parsing: answer.body) } catch {
            guard answer.status == 200 else { throw answer.failure("POST").concerning(source) }
            throw endpoint.strangeAnswer(error)
        }
        guard answer.status == 200 else {
            throw Self.refusal(
                document.text(["ErrorResponse", "Error", "Code"]) ?? "",
                document.text(["ErrorResponse", "Error", "Message"]) ?? "", answer, source, base, now)
        }
        return (document, endpoint)
    }

    /// What a refusal of the security token service means.
    private static func refusal(
        _ code: String, _ words: String, _ answer: HTTPResponse, _ source: String, _ base: AWSCredentials?, _ now: Int64
    ) -> SigstoreError {
        let said = "AWS says \(code)\(words.isEmpty ? "" : ": \(SigstoreError.shortened(words))")"
        if let error = AWSKeyService.clockError(code, words, answer, now) { return error.concerning(source) }
        switch code {
        case "InvalidIdentityToken", "IDPRejectedClaim", "IDPCommunicationError":
            return SigstoreError(
                .keyDenied, "\(source): the identity token is not accepted: \(said)",
                advice:
                    "check that the account knows the token's issuer as an identity provider, and the audience of the token"
            )
        case "ExpiredTokenException", "ExpiredToken":
            return SigstoreError(
                .keyDenied,
                "\(source): the \(base == nil ? "identity token has" : "credentials have") expired: \(said)",
                advice: base == nil ? "renew the token" : "renew the credentials, or log in again")
        case "AccessDenied", "AccessDeniedException":
            let action = base == nil ? "sts:AssumeRoleWithWebIdentity" : "sts:AssumeRole"
            return SigstoreError(
                .keyDenied, "\(source): the permission \(action) is missing: \(said)",
                advice:
                    "let the role's trust policy name who takes it\(base == nil ? ", with the token's issuer, subject and audience" : "")"
            )
        case "InvalidClientTokenId", "UnrecognizedClientException", "SignatureDoesNotMatch":
            return SigstoreError(
                .keyDenied, "\(source): the credentials are not known, or the secret is not theirs: \(said)",
                advice: "check the access key id and its secret")
        default:
            var error = answer.failure("POST").concerning(source)
            if !code.isEmpty { error.message = "\(source): \(said)" }
            return error
        }
    }

    // MARK: - Containers and instances

    private func fromContainer() async throws(SigstoreError) -> AWSCredentials? {
        let relative = variable("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI")
        guard let text = relative.map({ "http://169.254.170.2\($0)" }) ?? variable("AWS_CONTAINER_CREDENTIALS_FULL_URI")
        else { return nil }
        let name = relative == nil ? "AWS_CONTAINER_CREDENTIALS_FULL_URI" : "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"
        let url: HTTPURL
        do throws(SigstoreError) {
            guard relative.map({ $0.utf8.first == 0x2f }) ?? true else {
                throw SigstoreError(.malformedURL, "it does not begin with /")
            }
            url = try HTTPURL(parsing: text)
        } catch {
            throw SigstoreError(.keyServiceSettings, "\(name): \(error.message)", advice: error.advice, cause: error)
        }
        try url.expectNear(name, also: ["169.254.170.2", "169.254.170.23", "[fd00:ec2::23]"])
        var request = HTTPRequest("GET", url, headers: [(name: "Accept", value: "application/json")])
        request.isDirect = true
        var token: [UInt8]?
        if let file = variable("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE") {
            token = try await onBlockingThread { () throws(SigstoreError) in
                do throws(SigstoreError) { return try LocalFile.contents(file, limit: 1 << 16) } catch {
                    throw SigstoreError(
                        .keyServiceSettings, "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE: \(error.message)", cause: error)
                }
            }
        } else if let secret = surroundings.secret("AWS_CONTAINER_AUTHORIZATION_TOKEN") {
            token = unsafe secret.withBytes { unsafe Array($0) }
        }
        if var token {
            defer { SecretBytes.cleanse(&token) }
            guard !token.contains(where: { $0 == 0x0a || $0 == 0x0d }) else {
                throw SigstoreError(
                    .keyServiceSettings, "the token for \(name) has a line end in it", advice: "write it without one")
            }
            request.authorization = Authorization(field: "Authorization", token)
        }
        let source = "the container's credentials (\(name))"
        var answer = try await http.askForCredentials(request, attempts: 3)
        defer { SecretBytes.cleanse(&answer.body) }
        guard answer.status == 200 else { throw answer.failure("GET").concerning(source) }
        do throws(SigstoreError) {
            let json = JSONCursor(try JSONValue(parsing: answer.body, depth: 8, values: 1024))
            var credentials = try Self.read(json, token: "Token", needsAll: true, source: source)
            credentials.identity = (try? json.optional("RoleArn")?.string()) ?? nil
            return credentials
        } catch { throw url.strangeAnswer(error) }
    }

    /// Credentials of the role that an instance has (Amazon EC2 User Guide, "Retrieve security credentials from instance
    /// metadata"; version 2 of the service alone).
    /// - Parameter tried: Why the other places have none.
    private func fromInstance(_ tried: [String]) async throws(SigstoreError) -> AWSCredentials {
        func nothing(_ why: String, _ cause: SigstoreError? = nil) -> SigstoreError {
            let all = (tried + [why]).joined(separator: "; ")
            return SigstoreError(
                .keyServiceSettings, "there are no credentials for AWS: \(all)",
                advice: "set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or log in with aws sso login",
                cause: cause)
        }
        let metadata: AWSInstanceMetadata
        do throws(SigstoreError) { metadata = try await AWSInstanceMetadata(surroundings, http) } catch {
            guard [.unreachable, .timedOut, .keyServiceSettings].contains(error.code) else { throw error }
            throw nothing(error.message, error)
        }
        let path = "/latest/meta-data/iam/security-credentials/"
        let list = try await metadata.get(path)
        let role = list.map { String(decoding: $0.prefix { $0 != 0x0a && $0 != 0x0d }, as: UTF8.self) } ?? ""
        guard !role.isEmpty else { throw nothing("the instance has no role") }
        guard var body = try await metadata.get(path + HTTPURL.percentEncoded(role)) else {
            throw nothing("the instance has no credentials for its role \(role)")
        }
        defer { SecretBytes.cleanse(&body) }
        do throws(SigstoreError) {
            let json = JSONCursor(try JSONValue(parsing: body, depth: 8, values: 1024))
            let code = try json.member("Code").string()
            guard code.utf8.elementsEqual("Success".utf8) else {
                throw try json.member("Code").fault("is \"\(code.prefix(64))\", expected \"Success\"")
            }
            return try Self.read(
                json, token: "Token", needsAll: true, source: "the instance's role \(role) (EC2 metadata)")
        } catch { throw metadata.url.strangeAnswer(error) }
    }
}

/// The metadata service of an instance, version 2, which wants a token for each question.
struct AWSInstanceMetadata: Sendable {
    /// Where it is.
    let url: HTTPURL
    private let http: any HTTPClient
    private let token: SecretBytes

    /// Asks for the token.
    /// - Throws: `SigstoreError` with `key-service-settings` if the service is switched off or has no token, `unreachable` or
    ///   `timed-out` if there is none.
    init(_ surroundings: KeySurroundings, _ http: any HTTPClient) async throws(SigstoreError) {
        self.http = http
        guard surroundings.variable("AWS_EC2_METADATA_DISABLED")?.lowercased() != "true" else {
            throw SigstoreError(.keyServiceSettings, "AWS_EC2_METADATA_DISABLED is true")
        }
        let isIPv6 = surroundings.variable("AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE")?.lowercased() == "ipv6"
        let name = "AWS_EC2_METADATA_SERVICE_ENDPOINT"
        let text = surroundings.variable(name) ?? (isIPv6 ? "http://[fd00:ec2::254]" : "http://169.254.169.254")
        do throws(SigstoreError) { url = try HTTPURL(parsing: text) } catch { throw error.concerning(name) }
        try url.expectNear(name, also: ["169.254.169.254", "[fd00:ec2::254]"])
        let request = HTTPRequest(
            "PUT", try HTTPURL(url.origin, path: "/latest/api/token"),
            headers: [(name: "X-Aws-Ec2-Metadata-Token-Ttl-Seconds", value: "300")])
        var answer = try await Self.ask(request, http) { failure, attempt in
            // It is on the link or not there: a machine without one is not kept waiting.
            guard case .status = failure else { return nil }
            return CredentialFailure.soon(attempts: 3)(failure, attempt)
        }
        defer { SecretBytes.cleanse(&answer.body) }
        guard answer.status == 200, !answer.body.isEmpty, answer.body.allSatisfy({ (0x21...0x7e).contains($0) }) else {
            throw SigstoreError(
                .keyServiceSettings,
                "\(url.origin.authority) gives no token for the metadata of an instance (HTTP \(answer.status))")
        }
        token = SecretBytes(answer.body)
    }

    /// What stands at a path; `nil` if there is nothing. It may be a secret, and the caller's to cleanse.
    func get(_ path: String) async throws(SigstoreError) -> [UInt8]? {
        var request = HTTPRequest("GET", try HTTPURL(url.origin, path: path))
        request.secrets = [unsafe token.withBytes { unsafe Authorization(field: "X-Aws-Ec2-Metadata-Token", $0) }]
        let answer = try await Self.ask(request, http, again: CredentialFailure.soon(attempts: 3))
        if answer.status == 404 { return nil }
        guard answer.status == 200 else { throw answer.failure("GET") }
        return answer.body
    }

    private static func ask(
        _ request: HTTPRequest, _ http: any HTTPClient, again: @escaping @Sendable (CredentialFailure, Int) -> Duration?
    ) async throws(SigstoreError) -> HTTPResponse {
        var request = request
        request.isDirect = true
        return try await http.askForCredentials(request, timeout: .seconds(1), again: again)
    }
}
