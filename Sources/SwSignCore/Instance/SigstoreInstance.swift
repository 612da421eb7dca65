public import HTTPTransport
internal import LocalSystem
public import SigstoreClients
internal import SigstoreCrypto
public import SigstoreVerification
public import StrictJSON

/// A Sigstore instance: whom to believe, and which services to sign with.
///
/// Each part can be replaced: where the trusted root and the signing config come from, single authorities and logs of the
/// root, and single services of the config. What is not replaced comes from the instance's TUF repository, or from its cache
/// if the network may not be used.
public struct SigstoreInstance: Sendable {
    /// Whose TUF repository it is.
    public enum Repository: Sendable {
        /// The one that this machine was set up for: `TUF_MIRROR` and `TUF_ROOT_JSON`, else what was chosen by
        /// `TUFMirror.initialize(keepingRoot:environment:fetcher:notice:)`, else Sigstore's public instance.
        case configured
        /// The staging of Sigstore's public instance, which is for rehearsals only.
        case staging
        /// This one.
        case mirror(TUFMirror)
    }

    /// Where a part comes from.
    public enum Source<Part: Sendable>: Sendable {
        /// A target of the instance's TUF repository.
        case repository
        /// A file.
        case file(String)
        /// It is at hand.
        case value(Part)
    }

    /// Authorities and logs that are believed in place of the trusted root's.
    public struct Trust: Sendable {
        /// Who issues signing certificates.
        public var certificateAuthorities: [TrustedRoot.Authority]?
        /// Who timestamps signatures.
        public var timestampAuthorities: [TrustedRoot.Authority]?
        /// Who records signatures.
        public var transparencyLogs: [TrustedRoot.Log]?
        /// Who records signing certificates.
        public var certificateTransparencyLogs: [TrustedRoot.Log]?

        /// Replaces nothing.
        public init() {}

        /// Whether no other root is needed. Its timestamp authorities are then those that were built in.
        var isComplete: Bool {
            certificateAuthorities != nil && transparencyLogs != nil && certificateTransparencyLogs != nil
        }
    }

    /// Whose TUF repository it is.
    public var repository: Repository
    /// Where the trusted root comes from.
    public var trustedRootSource: Source<TrustedRoot>
    /// Where the signing config comes from.
    public var signingConfigSource: Source<SigningConfig>
    /// What replaces parts of the trusted root.
    public var trust = Trust()
    /// What replaces services of the signing config.
    public var services = NamedServices()
    /// Carries requests to the services.
    public var http: any HTTPClient
    /// Carries requests to the TUF repository.
    public var repositoryHTTP: any HTTPClient
    /// The variables that say which repository is used (`TUF_MIRROR`, `TUF_ROOT_JSON`), and where its cache is (`TUF_ROOT`,
    /// `HOME`).
    public var environment: [String: String]
    /// The time now, in seconds since 1970.
    public var clock: @Sendable () -> Int64
    /// Takes what the caller should know though the work goes on.
    public var notice: @Sendable (SigstoreError) -> Void = { _ in }

    /// Makes an instance.
    /// - Parameters:
    ///   - repository: Whose TUF repository it is. By default the one that this machine was set up for, which is the public
    ///     instance's if nothing else was said.
    ///   - trustedRoot: Where the trusted root comes from.
    ///   - signingConfig: Where the signing config comes from.
    ///   - http: Carries requests. By default, a client with its usual bounds.
    ///   - environment: The variables that count; by default this process's.
    ///   - clock: The time now, in seconds since 1970; by default this machine's.
    public init(
        _ repository: Repository = .configured, trustedRoot: Source<TrustedRoot> = .repository,
        signingConfig: Source<SigningConfig> = .repository, http: (any HTTPClient)? = nil,
        environment: [String: String]? = nil, clock: (@Sendable () -> Int64)? = nil
    ) {
        let http = http ?? CurlClient()
        (self.repository, trustedRootSource, signingConfigSource) = (repository, trustedRoot, signingConfig)
        (self.http, repositoryHTTP) = (http, http)
        self.environment = environment ?? ProcessEnvironment.all()
        self.clock = clock ?? { SystemClock.now() }
    }

    /// Sigstore's public instance, whatever this machine was set up for.
    public static var publicGood: SigstoreInstance { SigstoreInstance(.mirror(.production)) }
    /// The staging of Sigstore's public instance, which is for rehearsals only.
    public static var staging: SigstoreInstance { SigstoreInstance(.staging) }

    /// An instance whose files are at hand. No TUF repository is asked.
    /// - Parameters:
    ///   - trustedRoot: The path of the trusted root.
    ///   - signingConfig: The path of the signing config; needed for signing only.
    public static func files(trustedRoot: String, signingConfig: String? = nil) -> SigstoreInstance {
        SigstoreInstance(
            trustedRoot: .file(trustedRoot), signingConfig: signingConfig.map { .file($0) } ?? .repository)
    }

    // MARK: - What it gives

    /// Whom to believe.
    /// - Parameter offline: Whether the network may not be used: then the cache, or what was built in, must do.
    /// - Throws: `SigstoreError` that names the file or the repository. A trusted root that cannot be had is never an
    ///   empty one.
    public func trustedRoot(offline: Bool = false) async throws(SigstoreError) -> TrustedRoot {
        var root: TrustedRoot
        switch trustedRootSource {
        case .value(let given): root = given
        case .file(let path):
            root = try await read(path, limit: 1 << 24) { content throws(SigstoreError) in
                try TrustedRoot(file: content)
            }
        case .repository where trust.isComplete: root = try TrustedRoot.embedded(isStaging ? .staging : .production)
        case .repository:
            root = try TrustedRoot(parsing: try await target(TUFMirror.trustedRootTarget, offline: offline))
        }
        if let given = trust.certificateAuthorities { root.certificateAuthorities = given }
        if let given = trust.timestampAuthorities { root.timestampAuthorities = given }
        if let given = trust.transparencyLogs { root.transparencyLogs = given }
        if let given = trust.certificateTransparencyLogs { root.certificateTransparencyLogs = given }
        return root
    }

    /// When the trusted root was last brought up to date: when the TUF repository was last asked, or the root was built in; of
    /// one in a file, when that was written.
    /// - Returns: `nil` if that is not known.
    public func trustedRootTime() -> Instant? {
        switch trustedRootSource {
        case .value: return nil
        case .file(let path): return FileStatus(path)?.modified
        case .repository:
            guard let client = try? repositoryClient(.offline) else { return nil }
            let builtIn = client.configuration.embeddedDate
            return trust.isComplete ? builtIn : client.lastChecked ?? builtIn
        }
    }

    /// What verifies bundles against this instance.
    /// - Parameter offline: Whether the network may not be used to bring the trusted root up to date.
    /// - Throws: As ``trustedRoot(offline:)`` does.
    public func verifier(offline: Bool = false) async throws(SigstoreError) -> Verifier {
        Verifier(trustedRoot: try await trustedRoot(offline: offline), now: clock)
    }

    /// Which services to sign with, as the instance says.
    /// - Throws: `SigstoreError` that names the file or the repository.
    public func signingConfig() async throws(SigstoreError) -> SigningConfig {
        switch signingConfigSource {
        case .value(let given): return given
        case .file(let path):
            return try await read(path, limit: 1 << 20) { content throws(SigstoreError) in
                try SigningConfig(parsing: content)
            }
        case .repository:
            return try SigningConfig(parsing: try await target(TUFMirror.signingConfigTarget, offline: false))
        }
    }

    /// A target of the instance's TUF repository, verified.
    /// - Parameters:
    ///   - name: The target's name, such as `TUFMirror.trustedRootTarget`.
    ///   - offline: Whether the network may not be used.
    /// - Throws: `SigstoreError` that says why it cannot be brought up to date.
    public func target(_ name: String, offline: Bool) async throws(SigstoreError) -> [UInt8] {
        try Cryptography.prepare()
        // Its cache is read and written all along.
        return try await onBlockingExecutor { () throws(SigstoreError) in
            let client = try repositoryClient(offline ? .offline : .daily)
            do throws(SigstoreError) { return try await client.target(name) } catch {
                throw SigstoreError(
                    error.code, "Sigstore's trust root cannot be brought up to date: \(error.message)",
                    advice: error.advice ?? "try again later, with a network",
                    cause: error)
            }
        }
    }

    /// A client for the instance's TUF repository.
    /// - Parameter freshness: When the repository is asked.
    /// - Throws: `SigstoreError` with `tuf-no-root` if no root is known for it, or `tuf-cache` if a file that names it or its
    ///   root cannot be read.
    public func repositoryClient(_ freshness: TUFClient.Freshness) throws(SigstoreError) -> TUFClient {
        try mirror().client(
            environment: environment, freshness: freshness, fetcher: TUFMirrorFetcher(repositoryHTTP), notice: notice)
    }

    private func mirror() throws(SigstoreError) -> TUFMirror {
        switch repository {
        case .configured: try TUFMirror.resolve(environment: environment)
        case .staging: try TUFMirror.resolve(staging: true, environment: environment)
        case .mirror(let given): given
        }
    }

    private var isStaging: Bool { if case .staging = repository { true } else { false } }

    /// Reads a file, and names it if it is no good.
    private func read<Part: Sendable>(
        _ path: String, limit: Int, _ parse: @escaping @Sendable ([UInt8]) throws(SigstoreError) -> Part
    ) async throws(SigstoreError) -> Part {
        try await onBlockingThread { () throws(SigstoreError) in
            let file = InputFile(path)
            let content = try file.contents(limit: limit)
            do throws(SigstoreError) { return try parse(content) } catch { throw error.concerning(file.name) }
        }
    }
}
