public import HTTPTransport
public import InToto
internal import Glibc

/// Where this program runs, as far as identity tokens go: what the environment, the file system and metadata servers
/// offer without a person. Tests put another place before it.
public struct AmbientIdentity: Sendable {
    /// The environment's variables.
    public var environment: [String: String]
    /// The file that a token may be kept in (cosign's `filesystem` provider).
    public var tokenFile = "/var/run/sigstore/cosign/oidc-token"
    /// The file that names the machine's maker, by which Google's machines are known.
    public var productNameFile = "/sys/class/dmi/id/product_name"
    /// The socket of SPIFFE's workload API, where `SPIFFE_ENDPOINT_SOCKET` names no other.
    public var workloadSocket = "/tmp/spire-agent/public/api.sock"
    /// Google's API for tokens of other accounts.
    public var impersonationURL = "https://iamcredentials.googleapis.com"
    private let http: any HTTPClient

    /// Looks around.
    /// - Parameters:
    ///   - environment: The environment's variables.
    ///   - http: Who carries requests to metadata and token servers.
    public init(environment: [String: String], http: any HTTPClient) {
        self.environment = environment
        self.http = http
    }

    /// One place that tokens come from.
    public enum Kind: String, Sendable, CaseIterable {
        case environmentVariable = "envvar"
        case github = "github-actions"
        case googleImpersonation = "google-impersonate"
        case google = "google-workload-identity"
        case buildkite = "buildkite-agent"
        case spiffe = "spiffe"
        case file = "filesystem"

        var words: String {
            switch self {
            case .environmentVariable: "SIGSTORE_ID_TOKEN"
            case .github: "GitHub Actions"
            case .googleImpersonation: "Google's service account impersonation"
            case .google: "Google's metadata server"
            case .buildkite: "the Buildkite agent"
            case .spiffe: "SPIFFE's workload API"
            case .file: "the token file"
            }
        }
    }

    /// The provider that this place offers.
    /// - Parameter name: What stands after `--oidc-provider`, to use that one and no other.
    /// - Returns: `nil` where none was named and none is there.
    /// - Throws: ``SigstoreError`` with ``SigstoreError/Code/noIdentityToken`` where the named one is not there, or a
    ///   CI system is there that has not been allowed to give tokens; with
    ///   ``SigstoreError/Code/unknownTokenProvider`` where the name is not known.
    public func provider(named name: String? = nil) throws(SigstoreError) -> (any IdentityTokenProvider)? {
        if let name {
            let kinds = try Self.kinds(named: name)
            if let kind = kinds.first(where: offers) { return AmbientProvider(kind: kind, place: self, http: http) }
            throw SigstoreError(
                .noIdentityToken,
                "there is no identity token to be had from \(kinds.map(\.words).joined(separator: " or ")) here",
                advice: advice(for: kinds[0]))
        }
        if let kind = Kind.allCases.first(where: offers) { return AmbientProvider(kind: kind, place: self, http: http) }
        if environment["GITHUB_ACTIONS"] == "true" {
            throw SigstoreError(
                .noIdentityToken, "this GitHub Actions job may not request an identity token",
                advice: advice(for: .github))
        }
        if environment["GITLAB_CI"] == "true" {
            throw SigstoreError(
                .noIdentityToken, "this GitLab CI job has no identity token",
                advice: "add to the job: id_tokens: { SIGSTORE_ID_TOKEN: { aud: sigstore } }")
        }
        return nil
    }

    /// The error for when there is neither a token nor anybody who could sign in.
    public func noToken() -> SigstoreError {
        let isCI = environment["CI"] != nil
        return SigstoreError(
            .noIdentityToken,
            isCI
                ? "there is no identity token in this CI job, and nobody to sign in"
                : "there is no identity token, and no terminal to sign in at",
            advice: "set SIGSTORE_ID_TOKEN, give one with --identity-token, or sign with --key")
    }

    private static func kinds(named name: String) throws(SigstoreError) -> [Kind] {
        if let kind = Kind(rawValue: name) { return [kind] }
        switch name {
        case "github": return [.github]
        case "google": return [.googleImpersonation, .google]
        case "buildkite": return [.buildkite]
        default:
            throw SigstoreError(
                .unknownTokenProvider, "the identity token provider \"\(name)\" is not known",
                advice: "use one of \(Kind.allCases.map(\.rawValue).joined(separator: ", "))")
        }
    }

    private func has(_ variable: String) -> Bool { environment[variable].map { !$0.isEmpty } ?? false }

    private func offers(_ kind: Kind) -> Bool {
        switch kind {
        case .environmentVariable: has("SIGSTORE_ID_TOKEN")
        case .github: has("ACTIONS_ID_TOKEN_REQUEST_URL") && has("ACTIONS_ID_TOKEN_REQUEST_TOKEN")
        case .googleImpersonation: has("GOOGLE_SERVICE_ACCOUNT_NAME")
        case .google: has("GCE_METADATA_HOST") || isGoogleMachine
        case .buildkite: has("BUILDKITE_AGENT_ACCESS_TOKEN")
        case .spiffe: has("SPIFFE_ENDPOINT_SOCKET") || (unsafe access(workloadSocket, F_OK)) == 0
        case .file: (unsafe access(tokenFile, F_OK)) == 0
        }
    }

    private var isGoogleMachine: Bool {
        guard let name = try? BoundedFile.read(productNameFile, limit: 256) else { return false }
        return name.starts(with: "Google".utf8)
    }

    private func advice(for kind: Kind) -> String {
        switch kind {
        case .environmentVariable: "set SIGSTORE_ID_TOKEN to a token"
        case .github: "give the job the permission id-token: write (permissions: { id-token: write, contents: read })"
        case .googleImpersonation: "set GOOGLE_SERVICE_ACCOUNT_NAME to the account's address"
        case .google: "run on a Google Cloud machine, or set GCE_METADATA_HOST"
        case .buildkite: "run in a Buildkite job, whose agent sets BUILDKITE_AGENT_ACCESS_TOKEN"
        case .spiffe: "start the SPIFFE agent, or name its socket in SPIFFE_ENDPOINT_SOCKET"
        case .file: "put a token into \(tokenFile)"
        }
    }
}

/// A provider that was found.
struct AmbientProvider: IdentityTokenProvider {
    let kind: AmbientIdentity.Kind
    let place: AmbientIdentity
    let http: any HTTPClient

    var name: String { kind.words }

    func token(audience: String) async throws(SigstoreError) -> IdentityToken {
        do throws(SigstoreError) {
            switch kind {
            case .environmentVariable: return try IdentityToken(parsing: place.environment["SIGSTORE_ID_TOKEN"] ?? "")
            case .github: return try await github(audience)
            case .google: return try await google(audience)
            case .googleImpersonation: return try await impersonated(audience)
            case .buildkite: return try await buildkite(audience)
            case .spiffe: return try await spiffe(audience)
            case .file: return try IdentityToken(file: place.tokenFile)
            }
        } catch {
            throw error.concerning(
                name,
                otherwise:
                    "nothing was signed; check how this job gets identity tokens, or give one with --identity-token")
        }
    }

    private func get(_ url: HTTPURL, _ headers: [(name: String, value: String)]) async throws(SigstoreError) -> [UInt8]
    {
        try await http.send(
            HTTPRequest("GET", url, headers: headers, bodyLimit: 1 << 16, timeout: .seconds(20))
        ).body
    }

    /// GitHub's "About security hardening with OpenID Connect".
    private func github(_ audience: String) async throws(SigstoreError) -> IdentityToken {
        let url = try HTTPURL(parsing: place.environment["ACTIONS_ID_TOKEN_REQUEST_URL"] ?? "")
        let secret = place.environment["ACTIONS_ID_TOKEN_REQUEST_TOKEN"] ?? ""
        let body = try await get(
            url.adding("audience", audience),
            [(name: "Authorization", value: "bearer \(secret)"), (name: "Accept", value: "application/json")])
        let json = JSONCursor(try JSONValue(parsing: body, depth: 16))
        return try IdentityToken(parsing: try json.member("value").string())
    }

    /// Google's "Verify the identity of instances".
    private func metadata(_ path: String, _ parameters: [(String, String)] = []) async throws(SigstoreError) -> [UInt8]
    {
        let host = place.environment["GCE_METADATA_HOST"] ?? "metadata.google.internal"
        var url = try HTTPURL(parsing: "http://\(host)/computeMetadata/v1/instance/service-accounts/default/\(path)")
        for (name, value) in parameters { url = url.adding(name, value) }
        return try await get(url, [(name: "Metadata-Flavor", value: "Google")])
    }

    private func google(_ audience: String) async throws(SigstoreError) -> IdentityToken {
        let body = try await metadata("identity", [("audience", audience), ("format", "full")])
        return try IdentityToken(parsing: String(decoding: body, as: UTF8.self))
    }

    /// Google's IAM Service Account Credentials API, `generateIdToken`, with an access token from the environment or
    /// the metadata server.
    private func impersonated(_ audience: String) async throws(SigstoreError) -> IdentityToken {
        let access: String
        if let given = place.environment["GOOGLE_OAUTH_ACCESS_TOKEN"], !given.isEmpty {
            access = given
        } else {
            access = try JSONCursor(try JSONValue(parsing: try await metadata("token"), depth: 8))
                .member("access_token").string()
        }
        let account = HTTPURL.percentEncoded(place.environment["GOOGLE_SERVICE_ACCOUNT_NAME"] ?? "")
        let url = try HTTPURL(
            parsing: "\(place.impersonationURL)/v1/projects/-/serviceAccounts/\(account):generateIdToken")
        let body = JSONValue.object(["audience": .string(audience), "includeEmail": .bool(true)]).serialized()
        let answer = try await http.send(
            HTTPRequest(
                "POST", url,
                headers: [
                    (name: "Authorization", value: "Bearer \(access)"),
                    (name: "Content-Type", value: "application/json"),
                ], body: .bytes(body), bodyLimit: 1 << 16, timeout: .seconds(20), isIdempotent: true))
        return try IdentityToken(
            parsing: try JSONCursor(try JSONValue(parsing: answer.body, depth: 8)).member("token").string())
    }

    /// Buildkite's "OIDC in Buildkite": the agent asks with the job's own access.
    private func buildkite(_ audience: String) async throws(SigstoreError) -> IdentityToken {
        let environment = place.environment
        guard let agent = ChildProcess.find("buildkite-agent", environment: environment) else {
            throw SigstoreError(
                .noIdentityToken, "the program buildkite-agent is not on the PATH",
                advice: "mount the agent's program into the job's container, or set SIGSTORE_ID_TOKEN")
        }
        let printed = try await onOwnThread { () throws(SigstoreError) in
            try Self.output(of: [agent, "oidc", "request-token", "--audience", audience], environment)
        }
        return try IdentityToken(parsing: String(decoding: printed, as: UTF8.self))
    }

    /// What a program prints, which must end well.
    /// - Throws: ``SigstoreError`` with ``SigstoreError/Code/programFailed``.
    static func output(
        of arguments: [String], _ environment: [String: String], timeout: Duration = .seconds(30)
    ) throws(SigstoreError) -> [UInt8] {
        let what: String
        do throws(ChildProcess.Failure) {
            let answer = try ChildProcess.run(arguments, environment: environment, showsErrors: true, timeout: timeout)
            if answer.status == 0 { return answer.output }
            what = "failed with status \(answer.status)"
        } catch {
            what =
                switch error {
                case .notStarted: "cannot be started"
                case .tookTooLong: "did not end within \(timeout.components.seconds) s"
                case .saidTooMuch: "printed more than \(ChildProcess.outputLimit) bytes"
                }
        }
        throw SigstoreError(.programFailed, "\(arguments[0]) \(what)")
    }

    private func spiffe(_ audience: String) async throws(SigstoreError) -> IdentityToken {
        let socket = place.environment["SPIFFE_ENDPOINT_SOCKET"] ?? place.workloadSocket
        let text = try await onOwnThread { () throws(SigstoreError) in
            try WorkloadAPI(socket: socket).token(audience: audience)
        }
        return try IdentityToken(parsing: text)
    }
}

extension IdentityToken {
    /// Reads what stands after `--identity-token`: a token, or the path of a file that holds one.
    /// - Parameter reference: The token or path.
    /// - Throws: ``SigstoreError`` with ``SigstoreError/Code/malformedToken``, or that names the file.
    public init(tokenOrPath reference: String) throws(SigstoreError) {
        if unsafe access(reference, F_OK) == 0 {
            try self.init(file: reference)
        } else {
            try self.init(parsing: reference)
        }
    }

    /// Reads a file that holds a token and nothing else.
    init(file path: String) throws(SigstoreError) {
        let content = try BoundedFile.read(path, limit: Self.sizeLimit + 16)
        do throws(SigstoreError) { try self.init(parsing: String(decoding: content, as: UTF8.self)) } catch {
            throw error.concerning(path)
        }
    }
}

/// A small file that is read whole.
enum BoundedFile {
    static func read(_ path: String, limit: Int) throws(SigstoreError) -> [UInt8] {
        func failure(_ what: String) -> SigstoreError { SigstoreError(.unreadableTokenFile, "\(path) \(what)") }
        let file = unsafe open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY)
        guard file >= 0 else { throw failure("cannot be opened: error \(errno)") }
        defer { close(file) }
        var content: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 4096)
        while true {
            let count = unsafe Glibc.read(file, &buffer, buffer.count)
            if count == 0 { return content }
            if count < 0 {
                if errno == EINTR { continue }
                throw failure("cannot be read: error \(errno)")
            }
            content += buffer.prefix(count)
            guard content.count <= limit else { throw failure("is larger than \(limit) bytes") }
        }
    }
}

/// Opens a URL in the person's browser.
public enum Browser {
    /// Opens a URL with the first program of `BROWSER` that is installed, else with `xdg-open` where there is a
    /// graphical session. No shell is involved: the URL is an argument of its own.
    /// - Parameters:
    ///   - url: The URL.
    ///   - environment: The environment's variables.
    /// - Returns: Whether a browser was started; where not, the person opens the URL themselves.
    public static func open(_ url: String, environment: [String: String]) -> Bool {
        guard let command = command(for: url, environment: environment) else { return false }
        return ChildProcess.start(command, environment: environment)
    }

    /// `BROWSER` is a list of commands with colons between them, in which `%s` stands for the URL; without it the URL
    /// comes last.
    private static func command(for url: String, environment: [String: String]) -> [String]? {
        if let browsers = environment["BROWSER"], !browsers.isEmpty {
            for browser in browsers.split(separator: ":") {
                let words = browser.split(separator: " ").map(String.init)
                guard let name = words.first, let program = ChildProcess.find(name, environment: environment) else {
                    continue
                }
                let rest = words.dropFirst()
                return [program] + rest.map { $0 == "%s" ? url : $0 } + (rest.contains("%s") ? [] : [url])
            }
            return nil
        }
        guard environment["DISPLAY"] != nil || environment["WAYLAND_DISPLAY"] != nil else { return nil }
        return ChildProcess.find("xdg-open", environment: environment).map { [$0, url] }
    }
}

extension SigstoreError.Code {
    /// Another program that was asked for something failed.
    public static let programFailed = Self("program-failed")
    /// The name of an identity token provider that is not known.
    public static let unknownTokenProvider = Self("unknown-token-provider")
    /// A file that should hold a token cannot be read.
    public static let unreadableTokenFile = Self("unreadable-token-file")
}
