import Foundation
public import InToto
import SigstoreCrypto
import Synchronization

/// A whole Sigstore on loopback: issuer, Fulcio, certificate log, Rekor v1 and v2, timestamp authority, OCI registry.
///
/// Each service has a port of 127.0.0.1 and ``Faults`` of its own. Keys and logs are kept in one folder, in which the
/// files stand that a client needs; see ``LocalServices/Files``.
public struct LocalServices: Sendable {
    /// Where and how the services run.
    public struct Configuration: Sendable {
        /// The folder for keys, logs and the clients' files; made where there is none.
        public var folder: String
        /// The first of seven ports in a row, or 0 for ports that are free (those of the last time where they are).
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
        /// Shell variables with all of it, to be sourced.
        public var environment: String { "\(folder)/env.sh" }
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
    /// The files that clients use.
    public let files: Files
    /// What GitHub's endpoint asks of a job (`ACTIONS_ID_TOKEN_REQUEST_TOKEN`).
    public let requestToken: String
    private let flows: IdentityIssuerService

    /// The codes that devices show and nobody has confirmed yet, so that a test can confirm them: a `POST` of
    /// `user_code` and `email` to the issuer's `/auth/device`.
    public var pendingUserCodes: [String] { flows.pendingUserCodes }

    /// Where timestamps are asked for.
    public var timestampURL: String { "\(timestampAuthority.url)/api/v1/timestamp" }
    /// GitHub's endpoint for a job's token (`ACTIONS_ID_TOKEN_REQUEST_URL`).
    public var gitHubTokenURL: String { "\(issuer.url)/github/token?api-version=2.0" }

    /// Starts all services and writes the clients' files.
    /// - Parameter configuration: Where and how they run.
    /// - Throws: ``SigstoreError/Code/localServiceFailed`` where a port or the folder cannot be had.
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

            let authority = try certificateAuthority(folder, notBefore: started)
            let log = try CertificateLog(
                key: folder.key("ct-log", .ecdsaP256), roots: [authority.root], folder: folder)
            let fulcio = Fulcio(issuer: issuer, intermediate: authority.intermediate, root: authority.root, log: log)
            let fulcioServer = try await serve("fulcio") { try fulcio.answer($0) }
            let logServer = try await serve("ct-log") { try log.answer($0) }
            let rekorV1 = try RekorV1(key: folder.key("rekor-v1", .ecdsaP256), folder: folder)
            let rekorV1Server = try await serve("rekor-v1") { try rekorV1.answer($0) }
            let rekorV2 = try RekorV2(key: folder.key("rekor-v2", .ed25519), origin: "127.0.0.1", folder: folder)
            let rekorV2Server = try await serve("rekor-v2") { try rekorV2.answer($0) }
            let timestamps = try TimestampAuthority.make(
                rootKey: folder.key("tsa-root", .ecdsaP384),
                intermediateKey: folder.key("tsa-intermediate", .ecdsaP384),
                key: folder.key("tsa", .ecdsaP256), notBefore: started,
                keep: { (name, make) throws(SigstoreError) in try folder.certificate(name, make: make) })
            let timestampServer = try await serve("timestamp") { try timestamps.answer($0) }
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

            let services = LocalServices(
                issuer: issuer, issuerServer: issuerServer, fulcio: fulcioServer, certificateLog: logServer,
                rekorV1: rekorV1Server, rekorV2: rekorV2Server, timestampAuthority: timestampServer,
                registry: localRegistry, files: Files(folder: configuration.folder), requestToken: requestToken,
                flows: issuerService)
            try services.writeFiles(
                to: folder, since: started, authority: authority, log: log, rekorV1: rekorV1, rekorV2: rekorV2,
                timestamps: timestamps)
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
        ]
    }

    /// Makes a token with the key in a folder, without the services running.
    /// - Parameters:
    ///   - identity: Who its holder is.
    ///   - options: What else it holds.
    ///   - folder: The folder of services that were started at least once.
    /// - Throws: ``SigstoreError/Code/localServiceFailed`` where no services were started in that folder.
    public static func token(
        for identity: LocalIdentity, options: TokenOptions = TokenOptions(), folder: String
    ) throws(SigstoreError) -> String {
        guard FileManager.default.fileExists(atPath: "\(folder)/endpoints.json") else {
            throw SigstoreError(
                .localServiceFailed, "no local services were started in \(folder)",
                advice: "start them with: local-sigstore --folder \(folder)")
        }
        let state = try StateFolder(path: folder)
        guard let port = Endpoints(reading: state).ports["issuer"] else {
            throw SigstoreError(.localServiceFailed, "\(folder)/endpoints.json does not say where the issuer is")
        }
        return try IdentityIssuer(key: state.key("issuer", .rsa2048), url: "http://127.0.0.1:\(port)")
            .token(for: identity, options: options)
    }

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

    private static func certificateAuthority(_ folder: StateFolder, notBefore: Int64) throws(SigstoreError)
        -> (root: X509, intermediate: CertificateIssuer)
    {
        let years: Int64 = 10 * 365 * 86_400
        let rootKey = try folder.key("fulcio-root", .ecdsaP384)
        let intermediateKey = try folder.key("fulcio-intermediate", .ecdsaP256)
        func name(_ what: String) -> DistinguishedName {
            DistinguishedName(organization: "local-sigstore", commonName: "local fulcio \(what)")
        }
        let root = try folder.certificate("fulcio-root") { () throws(SigstoreError) in
            try CertificateIssuer.root(name("root"), key: rootKey, notBefore: notBefore, notAfter: notBefore + years)
                .certificate
        }
        let intermediate = try folder.certificate("fulcio-intermediate") { () throws(SigstoreError) in
            try CertificateIssuer(key: rootKey, certificate: root).intermediate(
                name("intermediate"), key: intermediateKey, purpose: CertificateExtension.codeSigning,
                notBefore: notBefore, notAfter: notBefore + years - 1
            ).certificate
        }
        return (root, CertificateIssuer(key: intermediateKey, certificate: intermediate))
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
    private func writeFiles(
        to folder: StateFolder, since: Int64, authority: (root: X509, intermediate: CertificateIssuer),
        log: CertificateLog, rekorV1: RekorV1, rekorV2: RekorV2, timestamps: TimestampAuthority
    ) throws(SigstoreError) {
        let start = JSONValue.string(Date(timeIntervalSince1970: Double(since)).formatted(.iso8601))
        let validity: JSONValue = .object(["start": start])
        func instance(_ url: String, _ key: PublicKey, _ details: String, id: [UInt8]) -> JSONValue {
            .object([
                "baseUrl": .string(url), "hashAlgorithm": .string("SHA2_256"),
                "publicKey": .object([
                    "rawBytes": .bytes(key.spki), "keyDetails": .string(details), "validFor": validity,
                ]),
                "logId": .object(["keyId": .bytes(id)]),
            ])
        }
        func chain(_ url: String, _ name: String, _ certificates: [X509]) -> JSONValue {
            .object([
                "subject": .object(["organization": .string("local-sigstore"), "commonName": .string(name)]),
                "uri": .string(url),
                "certChain": .object([
                    "certificates": .array(certificates.map { .object(["rawBytes": .bytes($0.der)]) })
                ]), "validFor": validity,
            ])
        }
        let ecdsa = "PKIX_ECDSA_P256_SHA_256"
        let trustedRoot: JSONValue = .object([
            "mediaType": .string("application/vnd.dev.sigstore.trustedroot+json;version=0.1"),
            "tlogs": .array([
                instance(self.rekorV1.url, rekorV1.log.signer.key.publicKey, ecdsa, id: rekorV1.logID),
                instance(
                    self.rekorV2.url, rekorV2.log.signer.key.publicKey, "PKIX_ED25519", id: rekorV2.log.signer.keyID),
            ]),
            "certificateAuthorities": .array([
                chain(fulcio.url, "local fulcio", [authority.intermediate.certificate, authority.root])
            ]),
            "ctlogs": .array([instance("\(certificateLog.url)/sigstore", log.key.publicKey, ecdsa, id: log.id)]),
            "timestampAuthorities": .array([
                chain(timestampURL, "local timestamp authority", [timestamps.certificate] + timestamps.issuers)
            ]),
        ])
        try folder.write(trustedRoot.serialized(), to: "trusted_root.json")

        for kind in SigningConfigKind.allCases {
            let config = signingConfig(kind, validity)
            try folder.write(config.serialized(), to: "signing_config.\(kind.rawValue).json")
            let both: JSONValue = .object([
                "mediaType": .string("application/vnd.dev.sigstore.clienttrustconfig.v0.1+json"),
                "trustedRoot": trustedRoot, "signingConfig": config,
            ])
            try folder.write(both.serialized(), to: "trust_config.\(kind.rawValue).json")
        }
        // The same as separate files, as older clients take it.
        try folder.write(authority.root.pem + authority.intermediate.certificate.pem, to: "fulcio_root.pem")
        try folder.write(log.key.publicKey.pem, to: "ct_log.pub")
        try folder.write(rekorV1.log.signer.key.publicKey.pem, to: "rekor.pub")
        try folder.write(([timestamps.certificate] + timestamps.issuers).map(\.pem).joined(), to: "tsa_chain.pem")

        var endpoints = JSONObject()
        for (name, server) in servers { endpoints[name] = .string(server.url) }
        endpoints["timestamp"] = .string(timestampURL)
        try folder.write(JSONValue.object(endpoints).serialized(), to: "endpoints.json")
        try folder.write(environment.map { "export \($0.name)=\(Self.quoted($0.value))\n" }.joined(), to: "env.sh")
        try folder.write(
            "export ACTIONS_ID_TOKEN_REQUEST_URL=\(Self.quoted(gitHubTokenURL))\n"
                + "export ACTIONS_ID_TOKEN_REQUEST_TOKEN=\(Self.quoted(requestToken))\nexport GITHUB_ACTIONS=true\n",
            to: "github-env.sh")
    }

    private func signingConfig(_ kind: SigningConfigKind, _ validity: JSONValue) -> JSONValue {
        func service(_ url: String, version: Int = 1) -> JSONValue {
            .object([
                "url": .string(url), "majorApiVersion": .integer(version), "validFor": validity,
                "operator": .string("local-sigstore"),
            ])
        }
        var config: JSONObject = [
            "mediaType": .string("application/vnd.dev.sigstore.signingconfig.v0.2+json")
        ]
        let any: JSONValue = .object(["selector": .string("ANY")])
        if kind != .none {
            config["caUrls"] = .array([service(fulcio.url)])
            config["oidcUrls"] = .array([service(issuer.url)])
            var logs: [JSONValue] = []
            if kind == .v2 || kind == .both { logs.append(service(rekorV2.url, version: 2)) }
            if kind == .v1 || kind == .both { logs.append(service(rekorV1.url)) }
            if !logs.isEmpty { config["rekorTlogUrls"] = .array(logs) }
            config["tsaUrls"] = .array([service(timestampURL)])
        }
        config["rekorTlogConfig"] = any
        config["tsaConfig"] = any
        return .object(config)
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
            // What cosign 2 and 3 and swsign read where no trusted root is named.
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
