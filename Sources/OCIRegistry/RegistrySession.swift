public import HTTPTransport
import LocalSystem
import SigstoreCrypto
public import StrictJSON

/// How registries are spoken to.
public struct RegistryOptions: Sendable {
    /// A credential for every registry; `nil` to look for one in ``credentials``.
    public var credential: Credential?
    /// Where credentials are looked for.
    public var credentials = CredentialStore()
    /// Speak plain HTTP also to registries that are not on this machine, if they do not speak HTTPS.
    public var allowsHTTP = false
    /// Hosts (with a port if it is not 443) that a registry may name for its tokens, and that are then given the
    /// credential for that registry. Without being listed here, a host gets it only if it is the registry itself,
    /// a domain that the registry's is part of, or Docker Hub's own `auth.docker.io`.
    public var authRealms: Set<String> = []
    /// How many pages of a list are read.
    public var maxPages = 500
    /// How long a writer keeps trying to see its entry at a tag that others write to as well.
    public var mergeTimeout = Duration.seconds(60)
    /// Whether a writer to such a tag announces itself from the start (see ``TagMerge``), and not only once it sees
    /// another one.
    public var announcesWriters = false
    /// The longest time that a writer may take from reading such a tag to the answer that it is written. Writers look
    /// again after a little more than that.
    public var longestWrite = Duration.seconds(1)
    /// The longest time between reading such a tag and sending what is written there.
    var longestLookAge: Duration { longestWrite / 5 }
    /// The time after a write after which all who had read before it have written.
    var pauseAfterWrite: Duration { longestWrite * 1.25 }
    /// Is told what a person may want to know of writing to such a tag.
    public var report: @Sendable (TagMerge.Notice) -> Void = { _ in }

    /// Credentials as Docker and Podman keep them, HTTPS except on this machine.
    public init() {}
}

/// The registries that are used together: they share connections, credentials and tokens.
public final class Registries: Sendable {
    private let sessions: Sessions
    let http: any HTTPClient
    let options: RegistryOptions

    /// - Parameters:
    ///   - http: Carries the requests.
    ///   - options: How registries are spoken to.
    public init(_ http: any HTTPClient, _ options: RegistryOptions = RegistryOptions()) {
        self.http = http
        self.options = options
        sessions = Sessions(http, options)
    }

    /// A client for one repository.
    public func client(for repository: Repository) -> RegistryClient {
        RegistryClient(repository: repository, sessions: sessions, options: options)
    }

    /// What is known of a registry.
    func session(for registry: Registry) async -> RegistrySession { await sessions.session(registry) }

    /// The store that holds an image.
    /// - Parameter location: Where the image is. A layout is opened as it is, not made.
    public func store(for location: ImageLocation) throws(SigstoreError) -> any ImageStore {
        switch location {
        case .registry(let reference): client(for: reference.repository)
        case .layout(let path, _): try ImageLayout(opening: path)
        }
    }

    /// Asks a registry whether it accepts a credential, as `login` does before it keeps one.
    /// - Throws: `SigstoreError` with `unauthorized` if it does not.
    public func check(_ credential: Credential, for registry: Registry) async throws(SigstoreError) {
        var options = options
        options.credential = credential
        try await RegistrySession(registry, http, options).check()
    }
}

/// One session for each registry.
actor Sessions {
    private let http: any HTTPClient
    private let options: RegistryOptions
    private var sessions: [Registry: RegistrySession] = [:]

    init(_ http: any HTTPClient, _ options: RegistryOptions) {
        self.http = http
        self.options = options
    }

    func session(_ registry: Registry) -> RegistrySession {
        if let session = sessions[registry] { return session }
        let session = RegistrySession(registry, http, options)
        sessions[registry] = session
        return session
    }
}

/// What is known of one registry: whether it speaks TLS, how it wants to be asked, and the tokens it gave.
actor RegistrySession {
    /// What a request does to a repository. A token for more serves for less.
    enum Access: Int, Sendable {
        case pull, push, delete

        func scope(_ repository: Repository) -> String {
            let actions = ["pull", "pull,push", "delete,pull,push"][rawValue]
            return "repository:\(repository.path):\(actions)"
        }
    }

    /// Every status that a caller here wants to see itself.
    static let failures = Set(400...599)

    private struct Token {
        var authorization: Authorization
        let issued = ContinuousClock.now
        var expiry: ContinuousClock.Instant
    }
    private struct TokenKey: Hashable {
        var repository: Repository?
        var access: Access
        var extra: [String]
    }

    private let registry: Registry
    private let http: any HTTPClient
    private let options: RegistryOptions
    private var challenge: AuthChallenge?
    private var originTask: Task<HTTPURL.Origin, any Error>?
    private var credentialTasks: [Repository?: Task<Credential, any Error>] = [:]
    /// The credentials that were found, each once, for however many repositories.
    private var credentials: [Credential] = []
    private var tokens: [TokenKey: Token] = [:]
    private var tokenTasks: [TokenKey: Task<Token, any Error>] = [:]
    private var stored: [Repository: Set<Digest>] = [:]
    private var referrerLists: [Repository: ReferrerLists] = [:]
    private var opening = Opening.notAsked

    init(_ registry: Registry, _ http: any HTTPClient, _ options: RegistryOptions) {
        self.registry = registry
        self.http = http
        self.options = options
    }

    private static func value<Value>(_ task: Task<Value, any Error>) async throws(SigstoreError) -> Value {
        do {
            return try await task.value
        } catch {
            throw error as? SigstoreError ?? SigstoreError(.cancelled, "the request was cancelled", cause: error)
        }
    }

    // MARK: What was stored

    /// More blobs are not kept in mind.
    private static let storedLimit = 10_000

    /// Whether this run has stored a blob, or seen that it is there.
    func hasStored(_ digest: Digest, in repository: Repository) -> Bool {
        stored[repository]?.contains(digest) ?? false
    }

    /// Keeps in mind that a blob is there.
    func noteStored(_ digest: Digest, in repository: Repository) {
        if stored[repository]?.count ?? 0 < Self.storedLimit { stored[repository, default: []].insert(digest) }
    }

    // MARK: Lists of referrers

    /// What this run knows of a repository's own lists of referrers.
    enum ReferrerLists: Sendable {
        /// The first question for one is on its way.
        case asked(Task<Void, Never>)
        /// The repository has given one: if it has none for some manifest, that says nothing of the next.
        case kept
        /// The repository has answered that it has none, and has given none before.
        case lacking
    }

    /// Whether a repository is known to have no such lists.
    func lacksReferrerLists(of repository: Repository) -> Bool {
        if case .lacking? = referrerLists[repository] { true } else { false }
    }

    /// Whether it is known, or just being asked, if a repository has such lists.
    func knowsReferrerLists(of repository: Repository) -> Bool { referrerLists[repository] != nil }

    /// Keeps in mind what a repository has answered.
    func note(referrerLists lists: ReferrerLists, of repository: Repository) {
        if case .kept? = referrerLists[repository] { return }
        referrerLists[repository] = lists
    }

    /// Asks a repository for its own list of referrers, unless it is known to have none.
    ///
    /// Those who come while the first question is on its way wait for its answer. If there is none, each asks.
    /// - Parameter ask: Asks, and notes the answer.
    /// - Returns: `nil` if the repository was not asked.
    func listing(
        of repository: Repository,
        _ ask: @escaping @Sendable () async -> Result<RegistryClient.Listing, SigstoreError>
    ) async -> Result<RegistryClient.Listing, SigstoreError>? {
        switch referrerLists[repository] {
        case .lacking: return nil
        case .kept: return await ask()
        case .asked(let first):
            await first.value
            if case .lacking? = referrerLists[repository] { return nil }
            return await ask()
        case nil:
            let question = Task { await ask() }
            referrerLists[repository] = .asked(Task { _ = await question.value })
            return await question.value
        }
    }

    // MARK: Where the registry is

    /// Scheme, host and port. Only a registry on this machine, or if plain HTTP was allowed, is asked which scheme it
    /// speaks, before anything secret is sent.
    func origin() async throws(SigstoreError) -> HTTPURL.Origin {
        let secure = try HTTPURL.origin(registry.authority, .https)
        guard secure.isLoopback || options.allowsHTTP else { return secure }
        if originTask == nil { originTask = Task { try await self.probe(secure) } }
        guard let originTask else { return secure }
        do throws(SigstoreError) {
            return try await Self.value(originTask)
        } catch {
            // Another try is another question.
            self.originTask = nil
            throw error
        }
    }

    private func probe(_ secure: HTTPURL.Origin) async throws(SigstoreError) -> HTTPURL.Origin {
        // Elsewhere TLS comes first; on this machine it is the exception.
        let plain = try HTTPURL.origin(registry.authority, .http)
        let order = secure.isLoopback ? [plain, secure] : [secure, plain]
        var failures: [SigstoreError] = []
        var isGo = false
        for (index, origin) in order.enumerated() {
            let url = try HTTPURL(origin, path: "/v2/")
            // What may well fail is not tried again and again before the other scheme is.
            let request = HTTPRequest(
                "GET", url, handledStatuses: Set(300...599), isIdempotent: index > 0 || secure.isLoopback)
            do throws(SigstoreError) {
                let response = try await http.send(request)
                // Go's servers say so with 400 when they are spoken to without TLS.
                if origin == plain, index == 0, response.status == 400 {
                    isGo = true
                    continue
                }
                note(response)
                return origin
            } catch {
                failures.append(error)
            }
        }
        if isGo, failures.first?.code != .tlsFailed { return plain }
        throw failures.first { $0.code == .tlsFailed } ?? failures.first
            ?? SigstoreError(.unreachable, "\(registry) cannot be reached")
    }

    private func note(_ response: HTTPResponse) {
        if response.status == 401 {
            challenge = AuthChallenge.choose(response.allHeaders("www-authenticate")) ?? challenge
        }
        open()
    }

    // MARK: The first answer

    /// Whether the registry has answered yet. Until then nothing is known of what it wants to see, and whatever is sent may
    /// have to be sent again.
    private enum Opening {
        case notAsked
        case asked([CheckedContinuation<Void, Never>])
        case done
    }

    /// Lets one request go first; those that come while it is on its way wait until it is answered or has failed.
    private func waitForFirstAnswer() async {
        switch opening {
        case .notAsked: opening = .asked([])
        case .asked(let others): await withCheckedContinuation { opening = .asked(others + [$0]) }
        case .done: break
        }
    }

    private func open() {
        if case .asked(let waiting) = opening { for one in waiting { one.resume() } }
        opening = .done
    }

    // MARK: Asking

    /// Sends a request with what the registry wants to see.
    /// - Parameters:
    ///   - request: A request to this registry's origin, without an authorization. All 4xx and 5xx come back.
    ///   - repository: What it is about.
    ///   - access: What it does.
    ///   - extraScopes: Further scopes, for a mount from elsewhere.
    func send(
        _ request: HTTPRequest, _ repository: Repository?, _ access: Access, extraScopes: [String] = [],
        into sink: (any BodySink)? = nil
    ) async throws(SigstoreError) -> HTTPResponse {
        let origin = try await origin()
        guard request.url.origin == origin else {
            throw SigstoreError(.redirectRefused, "\(request.url.redacted) is not at the registry \(registry)")
        }
        var request = request
        // A set is not made anew for each request.
        request.handledStatuses =
            request.handledStatuses.isEmpty ? Self.failures : request.handledStatuses.union(Self.failures)
        var wanted = extraScopes
        var rejected: Authorization?
        var isFirst = true
        await waitForFirstAnswer()
        // Also if this one fails, those that wait for it go on.
        defer { open() }
        while true {
            request.authorization = try await authorization(repository, access, wanted, rejected)
            let sent = ContinuousClock.now
            let response = try await http.send(request, into: sink)
            // A storage server that we were redirected to is not who decides about our credentials.
            guard response.status == 401, response.url.origin == origin else { return response }
            note(response)
            if case .bearer(_, _, let scopes)? = challenge {
                let own = repository.map { access.scope($0) }
                for scope in scopes.prefix(8) where scope != own && !wanted.contains(scope) { wanted.append(scope) }
            }
            guard isFirst, challenge != nil else { throw try await unauthorized(repository, Self.words(response)) }
            // A password is not tried twice.
            if case .basic? = challenge, case .basic(let own) = try await credential(repository),
                own === request.authorization
            {
                throw try await unauthorized(repository, Self.words(response))
            }
            rejected = request.authorization
            isFirst = false
            // A registry that forgot one token may have forgotten them all.
            tokens = tokens.filter { $0.key.repository != repository || $0.value.issued > sent }
            // What is never sent twice is the caller's to ask for again.
            if request.latestStart != nil { return response }
        }
    }

    /// Sends a request to another origin than the registry's, with nothing that tells who we are.
    func sendElsewhere(_ request: HTTPRequest) async throws(SigstoreError) -> HTTPResponse {
        try await http.send(request)
    }

    /// What the registry answers to who asks without a credential, and how it wants to be asked then; `nil` if it does not
    /// say, or wants nothing.
    func greeting() async throws(SigstoreError) -> (response: HTTPResponse, challenge: AuthChallenge?) {
        let response = try await http.send(
            HTTPRequest("GET", try HTTPURL(try await origin(), path: "/v2/"), handledStatuses: Self.failures))
        note(response)
        return (response, response.status == 401 ? challenge : nil)
    }

    /// Whether the registry accepts the credential.
    func check() async throws(SigstoreError) {
        let response = try await send(
            HTTPRequest("GET", try HTTPURL(try await origin(), path: "/v2/")), nil, .pull)
        guard response.status == 200 else { throw RegistryClient.failure(response, "GET") }
    }

    private static func words(_ response: HTTPResponse) -> String { RegistryClient.words(response) }

    private func unauthorized(_ repository: Repository?, _ words: String) async throws(SigstoreError) -> SigstoreError {
        let credential = try await credential(repository)
        let said = words.isEmpty ? "" : ": \(words)"
        if credential == .anonymous {
            return SigstoreError(
                .unauthorized, "\(registry) wants credentials, and none were found\(said)",
                advice: .remedy(.logIn, of: registry.description))
        }
        if case .bearer(let realm, _, _)? = challenge, let url = try? HTTPURL(parsing: realm),
            try await !mayReceive(url)
        {
            return Self.withheld(registry, url)
        }
        return SigstoreError(
            .unauthorized, "\(registry) does not accept the credentials\(said)",
            advice: "check the user name, and log in again with a fresh password or token")
    }

    private static func withheld(_ registry: Registry, _ realm: HTTPURL) -> SigstoreError {
        SigstoreError(
            .unauthorized,
            "\(registry) sends for a token to \(realm.origin), another host, which was not given the credentials",
            advice: .remedy(.allowTokenServer, of: realm.origin.authority))
    }

    private func credential(_ repository: Repository?) async throws(SigstoreError) -> Credential {
        if let credential = options.credential { return credential }
        // What is for the registry itself is found as for any repository that has no entry of its own.
        let repository = if let repository { repository } else { try Repository(parsing: "\(registry)/v2") }
        if credentialTasks[repository] == nil {
            let store = options.credentials
            credentialTasks[repository] = Task { self.shared(try await store.credential(for: repository)) }
        }
        guard let task = credentialTasks[repository] else { return .anonymous }
        return try await Self.value(task)
    }

    /// The copy that is kept of a credential.
    private func shared(_ credential: Credential) -> Credential {
        if let kept = credentials.first(where: { $0 == credential }) { return kept }
        credentials.append(credential)
        return credential
    }

    /// What to show; `nil` to ask without.
    private func authorization(
        _ repository: Repository?, _ access: Access, _ extra: [String], _ rejected: Authorization?
    ) async throws(SigstoreError) -> Authorization? {
        // Before the registry has asked for it, nothing is shown.
        guard let challenge else { return nil }
        let credential = try await credential(repository)
        if case .bearer(let authorization) = credential { return authorization }
        switch challenge {
        case .basic:
            guard case .basic(let authorization) = credential else { return nil }
            return authorization
        case .bearer:
            return try await token(repository, access, extra, rejected, credential)
        }
    }

    // MARK: Tokens

    private func token(
        _ repository: Repository?, _ access: Access, _ extra: [String], _ rejected: Authorization?,
        _ credential: Credential
    ) async throws(SigstoreError) -> Authorization {
        let now = ContinuousClock.now
        for candidate in [Access.pull, .push, .delete] where candidate.rawValue >= access.rawValue {
            let key = TokenKey(repository: repository, access: candidate, extra: extra)
            guard let token = tokens[key] else { continue }
            // The registry may forget a token before its time: that one is not tried twice.
            guard token.expiry <= now || token.authorization == rejected else { return token.authorization }
            tokens[key] = nil
        }
        let key = TokenKey(repository: repository, access: access, extra: extra)
        // Requests that need the same token at the same time wait for the same answer.
        let task = tokenTasks[key] ?? Task { try await self.renewToken(key, credential) }
        tokenTasks[key] = task
        return try await Self.value(task).authorization
    }

    private func renewToken(_ key: TokenKey, _ credential: Credential) async throws(SigstoreError) -> Token {
        defer { tokenTasks[key] = nil }
        let token = try await fetchToken(key, credential)
        tokens[key] = token
        return token
    }

    /// Whether a realm may see the credential for this registry. Who asks for it is the registry, in an answer that
    /// others may have a hand in; so it goes to the registry itself, to a domain that the registry's own is part of
    /// (`gitlab.com` for `registry.gitlab.com`: the owner of that one is the owner of this one), to Docker Hub's own
    /// service, and to hosts that the user names. A credential that the user has *for the realm's host* is not used:
    /// the token that it gives would then be shown to this registry, which may be an attacker's.
    private func mayReceive(_ realm: HTTPURL) async throws(SigstoreError) -> Bool {
        let origin = try await origin()
        if realm.origin == origin { return true }
        if realm.origin.scheme == .http {
            guard origin.scheme == .http, realm.origin.isLoopback || options.allowsHTTP else { return false }
        }
        if options.authRealms.contains(where: { $0.utf8.elementsEqual(realm.origin.authority.utf8) }) { return true }
        guard realm.origin.scheme == .https, realm.origin.port == 443, origin.scheme == .https else { return false }
        if registry == .dockerHub { return realm.origin.host.utf8.elementsEqual("auth.docker.io".utf8) }
        let isName =
            realm.origin.host.utf8.contains(0x2e)
            && !realm.origin.host.utf8.allSatisfy { (0x30...0x39).contains($0) || $0 == 0x2e }
        return isName && origin.host.utf8.reversed().starts(with: ".\(realm.origin.host)".utf8.reversed())
    }

    private func fetchToken(_ key: TokenKey, _ credential: Credential) async throws(SigstoreError) -> Token {
        guard case .bearer(let realm, let service, _)? = challenge else {
            throw SigstoreError(.unauthorized, "\(registry) does not say where to get a token")
        }
        let origin = try await origin()
        let url = try HTTPURL(parsing: realm)
        guard origin.scheme == .http || url.origin.scheme == .https else {
            throw SigstoreError(
                .redirectRefused, "\(registry) sends for a token to \(url.redacted), which would leave https")
        }
        let own = key.repository.map { key.access.scope($0) }
        let scopes = (own.map { [$0] } ?? []) + key.extra
        let isAllowed = try await mayReceive(url)
        let response: HTTPResponse
        if isAllowed, case .identityToken(let token) = credential {
            response = try await http.send(
                HTTPRequest(
                    "POST", url, headers: [("Content-Type", "application/x-www-form-urlencoded")],
                    body: .bytes(Self.form(token, service, scopes)), bodyLimit: 1 << 20,
                    handledStatuses: Self.failures, isIdempotent: true))
        } else {
            var asked = url
            if let service { asked = asked.adding("service", service) }
            for scope in scopes { asked = asked.adding("scope", scope) }
            var request = HTTPRequest("GET", asked, bodyLimit: 1 << 20, handledStatuses: Self.failures)
            if isAllowed, case .basic(let authorization) = credential { request.authorization = authorization }
            response = try await http.send(request)
        }
        guard response.status == 200 else {
            if !isAllowed, credential != .anonymous { throw Self.withheld(registry, url) }
            guard response.status == 401 || response.status == 403 else {
                throw RegistryClient.failure(response, "the request for a token")
            }
            let words = RegistryClient.words(response)
            throw SigstoreError(
                .unauthorized, "\(url.origin.authority) gives no token for \(registry): \(response.status) \(words)",
                advice: credential == .anonymous
                    ? .remedy(.logIn, of: registry.description)
                    : "check the user name, and log in again with a fresh password or token",
                cause: HTTPStatusError(response: response))
        }
        do throws(SigstoreError) {
            let json = JSONCursor(try JSONValue(parsing: response.body))
            let first = try json.optional("token")?.string() ?? ""
            let value = try first.isEmpty ? json.member("access_token").string() : first
            guard !value.isEmpty, value.utf8.allSatisfy({ (0x21...0x7e).contains($0) }) else {
                throw json.fault("has a token with characters that no token has")
            }
            // The specification's default is 60 seconds, and it forbids less.
            let seconds = try json.optional("expires_in")?.integer() ?? 60
            let life = Duration.seconds(min(max(seconds, 60), 86_400) - 10)
            return Token(authorization: Authorization(scheme: "Bearer", value.utf8), expiry: .now + life)
        } catch {
            throw SigstoreError(
                .unexpectedJSON, "\(url.origin.authority) answers a request for a token with something else: \(error)")
        }
    }

    /// The form that asks for an access token with a refresh token.
    private static func form(_ token: String, _ service: String?, _ scopes: [String]) -> [UInt8] {
        var fields = [("grant_type", "refresh_token"), ("client_id", "swsign"), ("refresh_token", token)]
        if let service { fields.append(("service", service)) }
        if !scopes.isEmpty { fields.append(("scope", scopes.joined(separator: " "))) }
        return Array(fields.map { "\($0.0)=\(HTTPURL.percentEncoded($0.1))" }.joined(separator: "&").utf8)
    }
}

extension SigstoreError.Code {
    /// A registry wants credentials, or does not accept those it was shown.
    public static let unauthorized = Self("unauthorized")
    /// A registry says that this must not be done with these credentials.
    public static let denied = Self("denied")
}

extension SigstoreError.Remedy {
    /// The registry, which is named, wants credentials.
    public static let logIn = Self("log-in-or-give-credentials")
    /// The host that gives tokens, which is named, is another one than the registry.
    public static let allowTokenServer = Self("allow-the-host-to-have-the-credentials")
}
