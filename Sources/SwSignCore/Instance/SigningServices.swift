public import HTTPTransport
internal import LocalSystem
public import SigstoreClients
public import SigstoreCrypto
internal import SigstoreVerification
public import StrictJSON

/// Services that were named one by one, in place of those of a signing config.
public struct NamedServices: Sendable {
    /// The certificate authority (Fulcio).
    public var certificateAuthority: HTTPURL?
    /// Who issues identity tokens, by its URL.
    public var issuer: String?
    /// The log to record in, of Rekor v1.
    public var transparencyLog: HTTPURL?
    /// The timestamp authority, with whatever its connection needs.
    public var timestampAuthority: TimestampClient?

    /// Names none.
    public init() {}
}

// MARK: - Signing

extension SigstoreInstance {
    /// A session that signs with an identity.
    /// - Parameters:
    ///   - provider: Gets the identity token. By default one is looked for where CI services keep theirs.
    ///   - audience: Whom the token is meant for.
    ///   - unfinished: Where signatures that did not reach their place are kept; `nil` keeps none.
    /// - Throws: `SigstoreError` if there is no token to be had, a part of the instance cannot be had, or a service
    ///   cannot be used.
    public func session(
        identity provider: (any IdentityTokenProvider)? = nil, audience: String = "sigstore",
        unfinished: UnfinishedSignatures? = nil
    ) async throws(SigstoreError) -> SigningSession {
        let config = try await signingConfig()
        let signer = if let provider { provider } else { try ambientIdentity() }
        return try await session(
            .identity(try certificateAuthority(in: config), signer, audience: audience),
            try signingServices(in: config), unfinished: unfinished)
    }

    /// A session that signs with a key, and has the instance's services timestamp and record what is signed.
    /// - Parameters:
    ///   - signer: The key.
    ///   - algorithm: The algorithm, if the key allows more than one.
    ///   - unfinished: Where signatures that did not reach their place are kept; `nil` keeps none.
    /// - Throws: `SigstoreError` if a part of the instance cannot be had, or a service cannot be used.
    public func session(
        signer: any Signer, algorithm: SigningAlgorithm? = nil, unfinished: UnfinishedSignatures? = nil
    ) async throws(SigstoreError) -> SigningSession {
        try await session(
            .key(signer, algorithm: algorithm), try signingServices(in: try await signingConfig()),
            unfinished: unfinished)
    }

    /// A session of parts that were chosen before. The trusted root is got only if something must be verified against it.
    /// - Parameters:
    ///   - signatory: Who signs.
    ///   - services: Who is told of signatures.
    ///   - unfinished: Where signatures that did not reach their place are kept; `nil` keeps none.
    ///   - certificates: A certificate for the key that signs, and those above it up to the root.
    public func session(
        _ signatory: SigningSession.Signatory, _ services: SigningSession.Services,
        unfinished: UnfinishedSignatures? = nil, certificates: [Certificate] = []
    ) async throws(SigstoreError) -> SigningSession {
        var needsTrust = !services.transparencyLogs.isEmpty || !services.timestampAuthorities.isEmpty
        if case .identity = signatory { needsTrust = true }
        return try SigningSession(
            signatory: signatory, services: services, trustedRoot: needsTrust ? try await trustedRoot() : nil,
            unfinished: unfinished, certificates: certificates, clock: clock)
    }

    /// The identity of the CI job or workload that this runs in.
    /// - Throws: `SigstoreError` with `no-identity-token` if there is none.
    public func ambientIdentity() throws(SigstoreError) -> any IdentityTokenProvider {
        let ambient = AmbientIdentity(environment: environment, http: http)
        guard let found = try ambient.provider(named: nil) else { throw ambient.noToken() }
        return found
    }

    // MARK: - Choosing services

    /// Who timestamps and records signatures: the services that were named, else those of a signing config.
    /// - Parameters:
    ///   - config: The instance's signing config.
    ///   - recording: Whether signatures are recorded in transparency logs.
    ///   - versions: The versions of Rekor that will do, the best first.
    /// - Throws: `SigstoreError` with `no-usable-service` or `malformed-url`.
    public func signingServices(
        in config: SigningConfig, recording: Bool = true, versions: [RekorClient.Version] = [.v2, .v1]
    ) throws(SigstoreError) -> SigningSession.Services {
        var chosen = SigningSession.Services()
        if let named = services.timestampAuthority {
            chosen.timestampAuthorities = [named]
        } else {
            for service in try config.timestampAuthorities(at: now) {
                chosen.timestampAuthorities.append(TimestampClient(url: try HTTPURL(parsing: service.url), http: http))
            }
        }
        guard recording else { return chosen }
        if let named = services.transparencyLog {
            chosen.transparencyLogs = [RekorClient(url: named, version: .v1, http: http)]
        } else {
            for service in try config.transparencyLogs(at: now, versions: versions.map(\.rawValue)) {
                if let log = try log(service) { chosen.transparencyLogs.append(log) }
            }
        }
        return chosen
    }

    /// Who certifies identities: the Fulcio that was named, else that of a signing config.
    /// - Throws: `SigstoreError` with `no-usable-service` or `malformed-url`.
    public func certificateAuthority(in config: SigningConfig) throws(SigstoreError) -> FulcioClient {
        if let named = services.certificateAuthority { return FulcioClient(url: named, http: http) }
        return FulcioClient(url: try HTTPURL(parsing: try config.certificateAuthority(at: now).url), http: http)
    }

    /// Where a person signs in: the issuer that was named, that of a signing config, or Sigstore's public one.
    /// - Returns: Its URL.
    /// - Throws: `SigstoreError` with `no-usable-service`.
    public func issuer(in config: SigningConfig) throws(SigstoreError) -> String {
        if let named = services.issuer { return named }
        return try (config.issuers.isEmpty ? SigningConfig.rekorV1Public : config).issuer(at: now).url
    }

    /// A log to read: the one that was named, else the one that signing would use.
    /// - Parameter version: The version of Rekor that it must be; `nil` if any will do.
    /// - Returns: `nil` if the config names none.
    /// - Throws: `SigstoreError` with `malformed-url`, and as ``signingConfig()`` does.
    public func readableLog(version: RekorClient.Version? = nil) async throws(SigstoreError) -> RekorClient? {
        let named = services.transparencyLog
        if let named, let version { return RekorClient(url: named, version: version, http: http) }
        // A log that was named by itself is of Rekor v1, unless a config at hand says otherwise.
        if let named, case .repository = signingConfigSource {
            return RekorClient(url: named, version: .v1, http: http)
        }
        let config = try await signingConfig()
        // What signing would use comes first; an older entry may be in a log that is not written to any more.
        for service in try config.transparencyLogs(at: now) + config.transparencyLogs {
            guard let log = try log(service), version.map({ $0 == log.version }) ?? true,
                named.map({ $0.description.utf8.elementsEqual(log.url.description.utf8) }) ?? true
            else { continue }
            return log
        }
        return named.map { RekorClient(url: $0, version: .v1, http: http) }
    }

    /// A log of a trusted root to read, at the address that stands there. Nobody is asked for it.
    /// - Parameters:
    ///   - root: The trusted root.
    ///   - logID: The id of the log, such as an entry names it; `nil` for the one that signing would use: one that counts now
    ///     before others, and then one of Rekor v2 before one of v1.
    ///   - version: The version of Rekor that it must be; `nil` if any will do.
    /// - Returns: `nil` if the root has no such log, or not its address.
    /// - Throws: `SigstoreError` with `malformed-url`.
    public func readableLog(of root: TrustedRoot, logID: [UInt8]? = nil, version: RekorClient.Version? = nil)
        throws(SigstoreError) -> RekorClient?
    {
        let logs = root.transparencyLogs.filter { log in !log.baseURL.isEmpty && logID.map { $0 == log.logID } ?? true }
        for some in [logs.filter { $0.validFor.contains(now) }, logs] {
            for wanted in version.map({ [$0] }) ?? [.v2, .v1] {
                for log in some {
                    // An ECDSA key may be a log's of either version; no public log of Rekor v2 has one.
                    let isWanted =
                        version == nil
                        ? try log.mayBe(rekorV2: false) == (wanted == .v1) : try log.mayBe(rekorV2: wanted == .v2)
                    guard isWanted else { continue }
                    return RekorClient(url: try HTTPURL(parsing: log.baseURL), version: wanted, http: http)
                }
            }
        }
        return nil
    }

    private var now: Instant { Instant(seconds: clock()) }

    private func log(_ service: SigningConfig.Service) throws(SigstoreError) -> RekorClient? {
        guard let version = RekorClient.Version(rawValue: service.majorAPIVersion) else { return nil }
        return RekorClient(url: try HTTPURL(parsing: service.url), version: version, http: http)
    }
}

extension SigningConfig {
    /// The services of Sigstore's public instance that cosign 2 used, which knew no signing config: no timestamp
    /// authority, and the log of Rekor v1.
    public static let rekorV1Public = SigningConfig(
        certificateAuthorities: [.always("https://fulcio.sigstore.dev")],
        issuers: [.always("https://oauth2.sigstore.dev/auth")],
        transparencyLogs: [.always("https://rekor.sigstore.dev")])
}

extension SigningConfig.Service {
    fileprivate static func always(_ url: String) -> Self {
        Self(url: url, majorAPIVersion: 1, validFor: .always, operatorName: "sigstore.dev")
    }
}
