public import HTTPTransport
internal import LocalSystem
public import StrictJSON

/// Where the process runs, as far as identity tokens go: what the environment, the file system and metadata servers
/// offer without a person. Tests put another place before it.
public struct AmbientIdentity: Sendable {
    /// The environment's variables.
    public var environment: [String: String]
    /// The file that a token may be kept in (cosign's `filesystem` provider).
    public var tokenFile = "/var/run/sigstore/cosign/oidc-token"
    /// The file that names the machine's maker, by which Google's machines are known.
    public var productNameFile = "/sys/class/dmi/id/product_name"
    /// The socket of SPIFFE's workload API, if `SPIFFE_ENDPOINT_SOCKET` names no other.
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
    /// - Parameter name: The kind's raw value, or cosign's name for it, to use that one and no other.
    /// - Returns: `nil` if none was named and none is there.
    /// - Throws: `SigstoreError` with `no-identity-token` if the named one is not there, or a CI system is there that
    ///   has not been allowed to give tokens; with `unknown-token-provider` if the name is not known; with
    ///   `malformed-token` if the variable holds something else than a token.
    public func provider(named name: String? = nil) throws(SigstoreError) -> (any IdentityTokenProvider)? {
        if let name {
            let kinds = try Self.kinds(named: name)
            if let kind = kinds.first(where: offers) { return try provider(kind) }
            throw SigstoreError(
                .noIdentityToken,
                "there is no identity token to be had from \(kinds.map(\.words).joined(separator: " or ")) here",
                advice: advice(for: kinds[0]))
        }
        if let kind = Kind.allCases.first(where: offers) { return try provider(kind) }
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

    private func provider(_ kind: Kind) throws(SigstoreError) -> any IdentityTokenProvider {
        guard kind == .environmentVariable else { return AmbientProvider(kind: kind, place: self, http: http) }
        // Read at once: who keeps the token does not keep the environment too, where it stands a second time.
        do throws(SigstoreError) { return GivenIdentityToken(try givenToken(), name: kind.words) } catch {
            throw error.concerning(kind.words)
        }
    }

    /// The token in the environment.
    func givenToken() throws(SigstoreError) -> IdentityToken {
        try IdentityToken(parsing: environment["SIGSTORE_ID_TOKEN"] ?? "")
    }

    /// The error for when there is no token, and no person who could sign in.
    public func noToken() -> SigstoreError {
        let isCI = environment["CI"] != nil
        return SigstoreError(
            .noIdentityToken,
            isCI
                ? "there is no identity token in this CI job, and nobody to sign in"
                : "there is no identity token, and no terminal to sign in at",
            advice: .remedy(.giveTokenOrKey))
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
        case .spiffe: has("SPIFFE_ENDPOINT_SOCKET") || LocalFile.exists(workloadSocket)
        case .file: LocalFile.exists(tokenFile)
        }
    }

    private var isGoogleMachine: Bool {
        guard let name = try? TokenFile.read(productNameFile, limit: 256) else { return false }
        return name.starts(with: "Google".utf8)
    }

    private func advice(for kind: Kind) -> SigstoreError.Advice {
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

extension IdentityToken {
    /// Reads a token, or the file that holds one.
    /// - Parameter reference: The token or path.
    /// - Throws: `SigstoreError` with `malformed-identity-token`, or that names the file.
    public init(tokenOrPath reference: String) throws(SigstoreError) {
        if LocalFile.exists(reference) {
            try self.init(file: reference)
        } else {
            try self.init(parsing: reference)
        }
    }

    /// Reads a file that holds a token and nothing else.
    init(file path: String) throws(SigstoreError) {
        let content = try TokenFile.read(path, limit: Self.sizeLimit + 16)
        do throws(SigstoreError) { try self.init(parsing: String(decoding: content, as: UTF8.self)) } catch {
            throw error.concerning(path)
        }
    }
}

/// A file that should hold a token.
enum TokenFile {
    static func read(_ path: String, limit: Int) throws(SigstoreError) -> [UInt8] {
        do throws(SigstoreError) { return try LocalFile.contents(path, limit: limit) } catch {
            throw SigstoreError(.unreadableTokenFile, error.message, advice: error.advice, cause: error)
        }
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

extension SigstoreError.Remedy {
    /// The place that this job has its identity tokens from gives none.
    public static let checkJobOrGiveToken = Self("check-how-this-job-gets-tokens-or-give-one")
    /// There is neither an identity token nor a person who could sign in.
    public static let giveTokenOrKey = Self("give-an-identity-token-or-sign-with-a-key")
}
