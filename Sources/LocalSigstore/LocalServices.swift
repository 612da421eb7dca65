import Foundation
import SigstoreCrypto
public import StrictJSON
import Synchronization

/// A whole Sigstore on loopback: issuer, Fulcio, certificate log, Rekor v1 and v2, timestamp authority, OCI registry, and
/// a TUF repository that tells clients of them.
///
/// Each service has a port of 127.0.0.1 and ``Faults`` of its own. Keys and logs are kept in one folder, in which the
/// files stand that a client needs; see ``LocalServices/Files``.
public struct LocalServices: Sendable {
    /// Where and how the services run.
    public struct Configuration: Sendable {
        /// The folder for keys, logs and the clients' files; made if there is none.
        public var folder: String
        /// The first of eight ports in a row, or 0 for ports that are free (those of the last time if they are).
        public var firstPort: UInt16 = 0
        /// How the registry behaves. Its port is set by `firstPort`; by default it keeps what it holds in memory.
        public var registry = LocalRegistry.Configuration()
        /// Describes services whose keys, logs and files stand in a folder.
        public init(folder: String) { self.folder = folder }
    }

    /// The files in the folder that clients use.
    public struct Files: Sendable {
        /// The folder.
        public let folder: String
        /// The trusted root: `trusted_root.json`.
        public var trustedRoot: String { "\(folder)/trusted_root.json" }
        /// A signing config by the services that it names.
        public func signingConfig(_ kind: SigningConfigKind) -> String {
            "\(folder)/signing_config.\(kind.rawValue).json"
        }
        /// A client trust config (trusted root and signing config in one), as sigstore-python takes.
        public func trustConfig(_ kind: SigningConfigKind) -> String { "\(folder)/trust_config.\(kind.rawValue).json" }
        /// The TUF repository as its mirror serves it.
        public var tufRepository: String { "\(folder)/\(TUFRepository.path)" }
        /// The first root of the TUF repository, from which clients verify the rest.
        public var tufRoot: String { "\(tufRepository)/1.root.json" }
        /// Shell variables with all of it, to be sourced.
        public var environment: String { "\(folder)/env.sh" }
        /// Shell variables for cosign 2, beside those.
        public var cosign2Environment: String { "\(folder)/cosign2-env.sh" }
        /// Shell variables that make a job of GitHub Actions of the shell that sources it.
        public var gitHubEnvironment: String { "\(folder)/github-env.sh" }
    }

    /// Which services a signing config names.
    public enum SigningConfigKind: String, Sendable, CaseIterable {
        /// Fulcio, timestamps, Rekor v1.
        case v1
        /// Fulcio, timestamps, Rekor v2.
        case v2
        /// Fulcio, timestamps, both logs.
        case both
        /// Fulcio and timestamps, no log.
        case timestamp
        /// No service at all, for signing with a key.
        case none
    }

    /// The issuer of identity tokens.
    public let issuer: IdentityIssuer
    /// The issuer's server.
    public let issuerServer: LoopbackServer
    /// Fulcio.
    public let fulcio: LoopbackServer
    /// The certificate transparency log, under `/sigstore/ct/v1/`.
    public let certificateLog: LoopbackServer
    /// Rekor with API v1.
    public let rekorV1: LoopbackServer
    /// Rekor with API v2.
    public let rekorV2: LoopbackServer
    /// The timestamp authority; its URL for clients is ``timestampURL``.
    public let timestampAuthority: LoopbackServer
    /// The OCI registry.
    public let registry: LocalRegistry
    /// The mirror of the TUF repository. A `POST` to `/_rotate` of an array of ``Rotation`` names rotates these.
    public let tufMirror: LoopbackServer
    /// The files that clients use.
    public let files: Files
    /// What GitHub's endpoint asks of a job (`ACTIONS_ID_TOKEN_REQUEST_TOKEN`).
    public let requestToken: String
    private let flows: IdentityIssuerService
    private let trust: LocalTrust

    /// The codes that devices show and nobody has confirmed yet, so that a test can confirm them: a `POST` of
    /// `user_code` and `email` to the issuer's `/auth/device`.
    public var pendingUserCodes: [String] { flows.pendingUserCodes }

    /// Where timestamps are asked for.
    public var timestampURL: String { "\(timestampAuthority.url)/api/v1/timestamp" }
    /// GitHub's endpoint for a job's token (`ACTIONS_ID_TOKEN_REQUEST_URL`).
    public var gitHubTokenURL: String { "\(issuer.url)/github/token?api-version=2.0" }

    /// Starts all services and writes the clients' files.
    /// - Parameter configuration: Where and how they run.
    /// - Throws: `local-service-failed` if a port or the folder cannot be had.
    public static func start(_ configuration: Configuration) async throws -> LocalServices {
        let folder = try StateFolder(path: configuration.folder)
        let earlier = Endpoints(reading: folder)
        let started =
            try folder.read("started").flatMap { Int64(String(decoding: $0, as: UTF8.self)) }
            ?? rememberStart(in: folder)

        var servers: [LoopbackServer] = []
        func serve(
            _ name: String, _ answer: @escaping @Sendable (LoopbackRequest) async throws -> LoopbackResponse
        ) async throws -> LoopbackServer {
            let server: LoopbackServer
            if configuration.firstPort != 0 {
                server = try await LoopbackServer.start(
                    port: configuration.firstPort + UInt16(servers.count), answer: answer)
            } else {
                server = try await startAgain(at: earlier.ports[name] ?? 0) {
                    try await LoopbackServer.start(port: $0, answer: answer)
                }
            }
            servers.append(server)
            return server
        }
        do {
            // The issuer's own URL stands in its tokens, so it learns its port before it can answer.
            let requestToken = UUID().uuidString.lowercased()
            let issuerKey = try folder.key("issuer", .rsa2048)
            let issuerSlot = ServiceSlot()
            let issuerServer = try await serve("issuer", issuerSlot.answer)
            let issuer = try IdentityIssuer(key: issuerKey, url: issuerServer.url)
            let issuerService = IdentityIssuerService(issuer: issuer, requestToken: requestToken)
            issuerSlot.fill { try issuerService.answer($0) }

            let trust = try LocalTrust(folder: folder, issuer: issuer, start: started)
            let fulcioServer = try await serve("fulcio") { try trust.current.fulcio.answer($0) }
            let logServer = try await serve("ct-log") { try trust.current.log.answer($0) }
            let rekorV1Server = try await serve("rekor-v1") { try trust.answerRekorV1($0) }
            let rekorV2Server = try await serve("rekor-v2") { try trust.current.rekorV2.answer($0) }
            let timestampServer = try await serve("timestamp") { try trust.current.timestamps.answer($0) }
            var registry = configuration.registry
            if configuration.firstPort != 0 {
                registry.port = configuration.firstPort + UInt16(servers.count)
            } else if registry.port == 0 {
                registry.port = earlier.ports["registry"] ?? 0
            }
            let settings = registry
            let localRegistry = try await startAgain(at: registry.port) { port in
                var settings = settings
                settings.port = port
                return try await LocalRegistry.start(settings)
            }
            servers.append(localRegistry.server)

            let tufServer = try await serve("tuf") { try trust.answer($0) }

            let services = LocalServices(
                issuer: issuer, issuerServer: issuerServer, fulcio: fulcioServer, certificateLog: logServer,
                rekorV1: rekorV1Server, rekorV2: rekorV2Server, timestampAuthority: timestampServer,
                registry: localRegistry, tufMirror: tufServer, files: Files(folder: configuration.folder),
                requestToken: requestToken, flows: issuerService, trust: trust)
            try trust.publish(
                LocalTrust.Addresses(
                    issuer: issuer.url, fulcio: fulcioServer.url, certificateLog: logServer.url,
                    rekorV1: rekorV1Server.url, rekorV2: rekorV2Server.url, timestamps: services.timestampURL))
            try services.writeFiles(to: folder)
            return services
        } catch {
            for server in servers { await server.stop() }
            throw error
        }
    }

    /// Stops all services. Keys, logs and files stay.
    public func stop() async {
        await withDiscardingTaskGroup { group in
            for (_, server) in servers { group.addTask { await server.stop() } }
        }
    }

    /// All servers with faults to switch, by name.
    public var servers: [(name: String, server: LoopbackServer)] {
        [
            ("issuer", issuerServer), ("fulcio", fulcio), ("ct-log", certificateLog), ("rekor-v1", rekorV1),
            ("rekor-v2", rekorV2), ("timestamp", timestampAuthority), ("registry", registry.server),
            ("tuf", tufMirror),
        ]
    }

    /// Makes a token with the key in a folder, without the services running.
    /// - Parameters:
    ///   - identity: Who its holder is.
    ///   - options: What else it holds.
    ///   - folder: The folder of services that were started at least once.
    /// - Throws: `local-service-failed` if no services were started in that folder.
    public static func token(
        for identity: LocalIdentity, options: TokenOptions = TokenOptions(), folder: String
    ) throws(SigstoreError) -> String {
        let url = try url(of: "issuer", folder: folder)
        return try IdentityIssuer(key: StateFolder(path: folder).key("issuer", .rsa2048), url: url)
            .token(for: identity, options: options)
    }

    /// Where a service was when the services were last started.
    /// - Parameters:
    ///   - service: Its name, as in ``servers``.
    ///   - folder: The services' folder.
    /// - Throws: `local-service-failed` if no services were started in that folder.
    public static func url(of service: String, folder: String) throws(SigstoreError) -> String {
        guard FileManager.default.fileExists(atPath: "\(folder)/endpoints.json") else {
            throw SigstoreError(
                .localServiceFailed, "no local services were started in \(folder)",
                advice: "start them with: local-sigstore --folder \(folder)")
        }
        guard let port = Endpoints(reading: try StateFolder(path: folder)).ports[service] else {
            throw SigstoreError(.localServiceFailed, "\(folder)/endpoints.json does not say where \(service) is")
        }
        return "http://127.0.0.1:\(port)"
    }

    /// What can be replaced while the services run.
    public enum Rotation: String, Sendable, CaseIterable {
        /// The keys of the TUF repository: its root's, and those of its other roles.
        case root
        /// The keys of Fulcio, the certificate log, both Rekors and the timestamp authority.
        case keys
    }

    /// Replaces keys while the services run, and publishes that.
    /// - Throws: `local-service-failed` if the folder cannot be written to.
    public func rotate(_ what: Rotation) throws(SigstoreError) { try trust.rotate(what) }

    /// Starts at a port if that is free, otherwise at any that is.
    private static func startAgain<Service>(at port: UInt16, _ start: (UInt16) async throws -> Service) async throws
        -> Service
    {
        guard port != 0 else { return try await start(0) }
        do { return try await start(port) } catch { return try await start(0) }
    }

    /// Certificates and logs are good from an hour before the first start, so that clocks may differ a little.
    private static func rememberStart(in folder: StateFolder) throws(SigstoreError) -> Int64 {
        let started = Int64(Date().timeIntervalSince1970) - 3_600
        try folder.write(String(started), to: "started")
        return started
    }
}

/// What answers for a server that had to be started before its service could be made.
private final class ServiceSlot: Sendable {
    private let service = Mutex<(@Sendable (LoopbackRequest) throws -> LoopbackResponse)?>(nil)

    func fill(_ answer: @escaping @Sendable (LoopbackRequest) throws -> LoopbackResponse) {
        service.withLock { $0 = answer }
    }

    @Sendable func answer(_ request: LoopbackRequest) async throws -> LoopbackResponse {
        guard let answer = service.withLock({ $0 }) else { return LoopbackResponse(503) }
        return try answer(request)
    }
}

/// The ports that the services had the last time.
private struct Endpoints {
    var ports: [String: UInt16] = [:]

    init(reading folder: StateFolder) {
        guard let text = folder.read("endpoints.json"), case .object(let object)? = try? JSONValue(parsing: text) else {
            return
        }
        for member in object.members {
            guard case .string(let url) = member.value,
                let digits = url.split(separator: ":").last?.prefix(while: \.isNumber)
            else { continue }
            ports[member.name] = UInt16(digits)
        }
    }
}

// MARK: - Files for clients

extension LocalServices {
    private func writeFiles(to folder: StateFolder) throws(SigstoreError) {
        var endpoints = JSONObject()
        for (name, server) in servers { endpoints[name] = .string(server.url) }
        endpoints["timestamp"] = .string(timestampURL)
        try folder.write(JSONValue.object(endpoints).serialized(), to: "endpoints.json")
        for (variables, file) in [(cosign2Environment, "cosign2-env.sh"), (environment, "env.sh")] {
            try folder.write(variables.map { "export \($0.name)=\(Self.quoted($0.value))\n" }.joined(), to: file)
        }
        try folder.write(
            "export ACTIONS_ID_TOKEN_REQUEST_URL=\(Self.quoted(gitHubTokenURL))\n"
                + "export ACTIONS_ID_TOKEN_REQUEST_TOKEN=\(Self.quoted(requestToken))\nexport GITHUB_ACTIONS=true\n",
            to: "github-env.sh")
    }

    /// The variables of `env.sh`: where the services are, and what clients read by themselves.
    public var environment: [(name: String, value: String)] {
        let folder = URL(fileURLWithPath: files.folder).path
        return [
            ("LOCAL_SIGSTORE_FOLDER", folder), ("LOCAL_SIGSTORE_ISSUER", issuer.url),
            ("LOCAL_SIGSTORE_FULCIO", fulcio.url), ("LOCAL_SIGSTORE_REKOR_V1", rekorV1.url),
            ("LOCAL_SIGSTORE_REKOR_V2", rekorV2.url), ("LOCAL_SIGSTORE_TIMESTAMP", timestampURL),
            ("LOCAL_SIGSTORE_REGISTRY", registry.address),
            ("LOCAL_SIGSTORE_TRUSTED_ROOT", "\(folder)/trusted_root.json"),
            ("LOCAL_SIGSTORE_SIGNING_CONFIG", "\(folder)/signing_config.both.json"),
            // What cosign 3 and swsign get the trusted root and the signing config from, apart from the person's own.
            ("TUF_MIRROR", tufMirror.url), ("TUF_ROOT_JSON", "\(folder)/\(TUFRepository.path)/1.root.json"),
            ("TUF_ROOT", "\(folder)/tuf-cache"),
        ]
    }

    /// The variables of `cosign2-env.sh`: what cosign 2 reads if no trusted root is named. They name one log, that of
    /// Rekor v1, and swsign and cosign 3 would believe that one alone.
    public var cosign2Environment: [(name: String, value: String)] {
        let folder = URL(fileURLWithPath: files.folder).path
        return [
            ("SIGSTORE_ROOT_FILE", "\(folder)/fulcio_root.pem"),
            ("SIGSTORE_CT_LOG_PUBLIC_KEY_FILE", "\(folder)/ct_log.pub"),
            ("SIGSTORE_REKOR_PUBLIC_KEY", "\(folder)/rekor.pub"),
            ("SIGSTORE_TSA_CERTIFICATE_FILE", "\(folder)/tsa_chain.pem"),
        ]
    }

    /// A word for a POSIX shell.
    private static func quoted(_ text: String) -> String {
        "'" + text.replacingOccurrences(of: "'", with: "'\\''") + "'"
    }
}
