public import HTTPTransport
public import LocalSystem
public import SigstoreCrypto
public import StrictJSON

/// What a registry is shown to prove who asks.
public enum Credential: Sendable, Equatable {
    case anonymous
    /// A user name and a password, or a token used as one, in the form in which they are shown.
    case basic(Authorization)
    /// A refresh token, exchanged for an access token (Docker's `identitytoken`).
    case identityToken(String)
    /// An access token, in the form in which it is shown.
    case bearer(Authorization)

    /// A user name and a password, or a token used as one.
    public static func password(user: String, password: SecretBytes) -> Credential {
        unsafe password.withBytes { .basic(unsafe Authorization(user: user.utf8, password: $0)) }
    }

    /// An access token, sent as it is.
    public static func registryToken(_ token: String) -> Credential {
        .bearer(Authorization(scheme: "Bearer", token.utf8))
    }
}

/// Finds and keeps credentials where Docker and Podman do.
///
/// They are looked for in `$DOCKER_AUTH_CONFIG`, which holds what a file would, then in `$DOCKER_CONFIG/config.json` or
/// `~/.docker/config.json`, then in `$REGISTRY_AUTH_FILE`, then in `$XDG_RUNTIME_DIR/containers/auth.json`; in each first by
/// the programs it names (`credHelpers`, `credsStore`), then in what it holds itself (`auths`).
public struct CredentialStore: Sendable {
    private let environment: @Sendable (String) -> String?
    private let helperTimeout: Duration

    /// Looks where the environment says.
    /// - Parameters:
    ///   - environment: The value of a variable; the process's own unless told.
    ///   - helperTimeout: How long a credential helper may take; 30 seconds unless told.
    public init(
        environment: @escaping @Sendable (String) -> String? = ProcessEnvironment.value,
        helperTimeout: Duration = .seconds(30)
    ) {
        self.environment = environment
        self.helperTimeout = helperTimeout
    }

    /// The variable whose value is a configuration.
    private static let configurationVariable = "DOCKER_AUTH_CONFIG"

    /// Docker's configuration, which holds the credentials that are kept.
    private func dockerFile() throws(SigstoreError) -> String? {
        guard let folder = environment("DOCKER_CONFIG") else {
            return environment("HOME").map { "\($0)/.docker/config.json" }
        }
        if let there = FileStatus(folder), there.kind != .folder {
            throw SigstoreError(
                .credentialsUnreadable,
                "DOCKER_CONFIG names \(folder), which is a file: expected the folder that holds config.json",
                advice: "put that file into a folder under the name config.json, and set DOCKER_CONFIG to the folder")
        }
        return "\(folder)/config.json"
    }

    /// Whether the environment holds credentials, which count before those that are kept.
    public var isInEnvironment: Bool { environment(Self.configurationVariable) != nil }

    /// The name that Docker's configuration and helpers know a registry by.
    private static func key(_ registry: Registry) -> String {
        registry == .dockerHub ? "https://index.docker.io/v1/" : registry.name
    }

    // MARK: Finding

    /// The credential for a repository.
    /// - Parameter repository: Podman's files may hold credentials for a part of a registry; the longest match counts.
    /// - Returns: ``Credential/anonymous`` if there is none.
    /// - Throws: `SigstoreError` with `credentials-unreadable` if a file is malformed or a helper fails: not to know a
    ///   credential is something else than to have none.
    public func credential(for repository: Repository) async throws(SigstoreError) -> Credential {
        try await located(for: repository)?.credential ?? .anonymous
    }

    /// The credential for a repository, as ``credential(for:)`` finds it, and where it is: the variable, the path of the
    /// file, or the helper and what names it.
    /// - Returns: `nil` if there is none.
    /// - Throws: As ``credential(for:)`` does.
    public func located(
        for repository: Repository
    ) async throws(SigstoreError) -> (credential: Credential, place: String)? {
        if let text = environment(Self.configurationVariable),
            let config = try Self.parse(Array(text.utf8), Self.configurationVariable),
            let found = try await find(repository, config, Self.configurationVariable)
        {
            return found
        }
        for file in [try dockerFile()] + podmanFiles {
            guard let file, let config = try Self.read(file) else { continue }
            if let found = try await find(repository, config, file) { return found }
        }
        return nil
    }

    private var podmanFiles: [String?] {
        [environment("REGISTRY_AUTH_FILE"), environment("XDG_RUNTIME_DIR").map { "\($0)/containers/auth.json" }]
    }

    /// A place that may hold credentials, and for which registries. It holds no secret itself.
    public struct Place: Sendable {
        /// The variable, or the path of the file.
        public let name: String
        /// The names under which it holds credentials, as they are written there.
        public internal(set) var names: [String] = []
        /// The programs that are asked, each with the registry that it is asked for; `nil` for those that have none of
        /// their own.
        public internal(set) var helpers: [(registry: String?, program: String)] = []
        /// Why it cannot be read, if it cannot.
        public internal(set) var fault: SigstoreError?
    }

    /// The places in which credentials are looked for, as far as something is there, in their order. No helper is run.
    public func places() -> [Place] {
        var places: [Place] = []
        func add(_ name: String, _ read: () throws(SigstoreError) -> JSONObject?) {
            var place = Place(name: name)
            do throws(SigstoreError) {
                guard let config = try read() else { return }
                try Self.list(JSONCursor(.object(config)), &place)
            } catch {
                let isContent = error.code == .unexpectedJSON || error.code == .malformedBase64
                place.fault = isContent ? Self.unreadable(name, error.message) : error
            }
            places.append(place)
        }
        if let text = environment(Self.configurationVariable) {
            add(Self.configurationVariable) { () throws(SigstoreError) in
                try Self.parse(Array(text.utf8), Self.configurationVariable)
            }
        }
        do throws(SigstoreError) {
            if let file = try dockerFile() { add(file) { () throws(SigstoreError) in try Self.read(file) } }
        } catch {
            places.append(Place(name: "DOCKER_CONFIG", fault: error))
        }
        for case let file? in podmanFiles { add(file) { () throws(SigstoreError) in try Self.read(file) } }
        return places
    }

    private static func list(_ config: JSONCursor, _ place: inout Place) throws(SigstoreError) {
        if let auths = try config.optional("auths") {
            for name in try auths.names() {
                // Docker leaves an empty entry if a helper has the credential.
                if let entry = try auths.optional(name), try credential(entry) != nil { place.names.append(name) }
            }
        }
        if let helpers = try config.optional("credHelpers") {
            for name in try helpers.names() {
                guard let program = try helpers.optional(name)?.string(), !program.isEmpty else { continue }
                place.helpers.append((registry: name, program: "docker-credential-\(program)"))
            }
        }
        if let program = try config.optional("credsStore")?.string(), !program.isEmpty {
            place.helpers.append((registry: nil, program: "docker-credential-\(program)"))
        }
    }

    private static func read(_ path: String) throws(SigstoreError) -> JSONObject? {
        guard let bytes = try LocalFile.read(path, limit: 4 << 20) else { return nil }
        return try parse(bytes, path)
    }

    private static func parse(_ bytes: [UInt8], _ path: String) throws(SigstoreError) -> JSONObject? {
        // An empty file is what some tools leave behind; it says nothing.
        if bytes.allSatisfy({ $0 == 0x20 || $0 == 0x0a || $0 == 0x0d || $0 == 0x09 }) { return nil }
        let value: JSONValue
        do throws(SigstoreError) { value = try JSONValue(parsing: bytes) } catch {
            throw unreadable(path, "it is \(error.message)")
        }
        guard case .object(let object) = value else { throw unreadable(path, "it is not a JSON object") }
        return object
    }

    private static func unreadable(_ path: String, _ why: String) -> SigstoreError {
        SigstoreError(
            .credentialsUnreadable, "the credentials in \(path) cannot be read: \(why)",
            advice: .remedy(.repairCredentials))
    }

    private func find(
        _ repository: Repository, _ config: JSONObject, _ path: String
    ) async throws(SigstoreError) -> (credential: Credential, place: String)? {
        let json = JSONCursor(.object(config))
        let key = Self.key(repository.registry)
        do throws(SigstoreError) {
            if let helper = try Self.helper(for: repository.registry, json),
                let found = try await ask(helper, key)
            {
                return (found, "\(helper), which \(path) names")
            }
            guard let auths = try json.optional("auths") else { return nil }
            for candidate in Self.candidates(repository) {
                for name in try auths.names() where Self.matches(name, candidate) {
                    if let entry = try auths.optional(name), let found = try Self.credential(entry) {
                        return (found, path)
                    }
                }
            }
            return nil
        } catch {
            guard error.code == .unexpectedJSON || error.code == .malformedBase64 else { throw error }
            throw Self.unreadable(path, error.message)
        }
    }

    /// The names under which `auths` may hold something for a repository, the most particular first.
    private static func candidates(_ repository: Repository) -> [String] {
        var names: [String] = []
        var parts = repository.path.split(separator: "/")
        while !parts.isEmpty {
            names.append("\(repository.registry.name)/\(parts.joined(separator: "/"))")
            parts.removeLast()
        }
        names.append(repository.registry.name)
        if repository.registry == .dockerHub {
            names += names.map { "docker.io\($0.dropFirst(Registry.dockerHub.name.count))" }
        }
        return names
    }

    /// Docker also writes `https://HOST/v1/` and the like if only the host counts.
    private static func matches(_ written: String, _ candidate: String) -> Bool {
        if written.utf8.elementsEqual(candidate.utf8) { return true }
        var name = written.utf8[...]
        for scheme in ["https://", "http://"] where name.starts(with: scheme.utf8) {
            name = name.dropFirst(scheme.utf8.count)
            return ["", "/", "/v1", "/v1/", "/v2", "/v2/"].contains { name.elementsEqual((candidate + $0).utf8) }
        }
        return false
    }

    private static func credential(_ entry: JSONCursor) throws(SigstoreError) -> Credential? {
        if let token = try entry.optional("registrytoken")?.string(), !token.isEmpty { return .registryToken(token) }
        if let token = try entry.optional("identitytoken")?.string(), !token.isEmpty { return .identityToken(token) }
        if let auth = try entry.optional("auth"), try !auth.string().isEmpty {
            // Templates break it into lines, and Docker reads that.
            let text = try auth.string().utf8.filter { $0 != 0x0a && $0 != 0x0d }
            guard var pair = Base64.decode(text) else { throw auth.fault("is not base64") }
            defer { SecretBytes.cleanse(&pair) }
            guard let colon = pair.firstIndex(of: 0x3a) else { throw auth.fault("has no colon in it") }
            // Docker ends old entries with zero bytes.
            let end = pair[colon...].lastIndex { $0 != 0 } ?? colon
            return .basic(Authorization(user: pair[..<colon], password: pair[(colon + 1)..<(end + 1)]))
        }
        if let user = try entry.optional("username")?.string(), !user.isEmpty {
            let password = try entry.optional("password")?.string() ?? ""
            return .basic(Authorization(user: user.utf8, password: password.utf8))
        }
        return nil
    }

    // MARK: Helpers

    /// The helper that a configuration names for a registry.
    private static func helper(for registry: Registry, _ config: JSONCursor) throws(SigstoreError) -> String? {
        var name: String?
        if let helpers = try config.optional("credHelpers") {
            for candidate in try helpers.names()
            where matches(candidate, registry.name) || candidate.utf8.elementsEqual(key(registry).utf8)
                || registry == .dockerHub && candidate.utf8.elementsEqual("docker.io".utf8)
            {
                name = try helpers.optional(candidate)?.string()
            }
        }
        if name == nil { name = try config.optional("credsStore")?.string() }
        guard let chosen = name, !chosen.isEmpty else { return nil }
        guard chosen.utf8.allSatisfy({ isNameByte($0) }) else {
            throw config.fault("names \"\(chosen.prefix(64))\", which cannot be a credential helper")
        }
        return "docker-credential-\(chosen)"
    }

    private static func isNameByte(_ byte: UInt8) -> Bool {
        (0x30...0x39).contains(byte) || (0x41...0x5a).contains(byte) || (0x61...0x7a).contains(byte) || byte == 0x5f
            || byte == 0x2e || byte == 0x2d
    }

    /// Asks a helper (docker-credential-helpers' protocol).
    private func ask(_ helper: String, _ key: String) async throws(SigstoreError) -> Credential? {
        let answer = try await run(helper, "get", Array(key.utf8))
        guard answer.status == 0 else {
            let words = answer.words
            if words.contains("credentials not found") || words.contains("not found in native keychain") { return nil }
            throw failed(helper, "it says \"\(words)\"")
        }
        do throws(SigstoreError) {
            let json = JSONCursor(try JSONValue(parsing: answer.output))
            let user = try json.optional("Username")?.string() ?? ""
            let secret = try json.optional("Secret")?.string() ?? ""
            if secret.isEmpty { return nil }
            return user == "<token>"
                ? .identityToken(secret) : .basic(Authorization(user: user.utf8, password: secret.utf8))
        } catch {
            throw failed(helper, "what it answers is \(error.message)")
        }
    }

    private func run(
        _ helper: String, _ action: String, _ input: [UInt8]
    ) async throws(SigstoreError) -> ChildProcess.Answer {
        let timeout = helperTimeout
        return try await onBlockingThread { () throws(SigstoreError) in
            do throws(ChildProcess.Failure) {
                return try ChildProcess.run([helper, action], input: input, timeout: timeout)
            } catch {
                let what =
                    switch error {
                    case .notStarted: "cannot be run: it is not in PATH, or the system gives no process"
                    case .tookTooLong: "did not answer within \(timeout.components.seconds) s"
                    case .saidTooMuch: "said more than \(ChildProcess.outputLimit) bytes"
                    }
                throw SigstoreError(
                    .credentialsUnreadable, "the credential helper \(helper) \(what)",
                    advice: "install or repair it, or take it out of Docker's config.json")
            }
        }
    }

    private func failed(_ helper: String, _ why: String) -> SigstoreError {
        SigstoreError(
            .credentialsUnreadable, "the credential helper \(helper) failed: \(why)",
            advice: .remedy(.tryCredentialHelper))
    }

    // MARK: Keeping

    /// Keeps a credential: with the helper that Docker's configuration names, or else in that configuration.
    /// - Returns: Where it is kept now, for people to read.
    /// - Throws: `SigstoreError` with `credentials-unreadable` or `file-unwritable`.
    @discardableResult
    public func save(user: String, password: SecretBytes, for registry: Registry) async throws(SigstoreError) -> String
    {
        let (path, config) = try writable()
        let json = JSONCursor(.object(config))
        let key = Self.key(registry)
        if let helper = try Self.helper(for: registry, json) {
            let secret = unsafe password.withBytes { unsafe String(decoding: $0, as: UTF8.self) }
            let input: JSONObject = ["ServerURL": .string(key), "Username": .string(user), "Secret": .string(secret)]
            let answer = try await run(helper, "store", JSONValue.object(input).serialized())
            guard answer.status == 0 else { throw failed(helper, "it says \"\(answer.words)\"") }
            // Docker lists the registry with an empty entry, so that people see where they are logged in.
            try await Self.write(path, key, .object([:]))
            return helper
        }
        // Docker keeps what stands after the scheme.
        let basic = unsafe password.withBytes { unsafe Authorization(user: user.utf8, password: $0) }
        let auth = unsafe basic.withValue { unsafe String(decoding: $0.dropFirst("Basic ".utf8.count), as: UTF8.self) }
        try await Self.write(path, key, .object(["auth": .string(auth)]))
        return path
    }

    /// Forgets the credential of a registry.
    /// - Returns: False if there was none.
    public func remove(for registry: Registry) async throws(SigstoreError) -> Bool {
        let (path, config) = try writable()
        let json = JSONCursor(.object(config))
        var found = false
        if let helper = try Self.helper(for: registry, json) {
            let answer = try await run(helper, "erase", Array(Self.key(registry).utf8))
            found = answer.status == 0
            guard found || answer.words.contains("not found") else {
                throw failed(helper, "it says \"\(answer.words)\"")
            }
        }
        guard let auths = try json.optional("auths") else { return found }
        for name in try auths.names() where Self.matches(name, registry.name) || name == Self.key(registry) {
            try await Self.write(path, name, nil)
            found = true
        }
        return found
    }

    private func writable() throws(SigstoreError) -> (path: String, config: JSONObject) {
        guard let path = try dockerFile() else {
            throw SigstoreError(
                .credentialsUnreadable, "there is no place to keep credentials: neither HOME nor DOCKER_CONFIG is set")
        }
        return (path, try Self.read(path) ?? [:])
    }

    /// Changes one entry. Who changes another one at the same time waits, so that neither is lost.
    private static func write(_ path: String, _ key: String, _ entry: JSONValue?) async throws(SigstoreError) {
        try LocalFile.makeParent(of: path, mode: 0o700)
        let parent = path.utf8.lastIndex(of: 0x2f).map { String(path[..<$0]) } ?? "."
        // A folder that cannot be locked is written to all the same.
        let lock = try? FileLock(on: parent)
        if let lock {
            let isTaken: Bool
            do throws(SigstoreError) { isTaken = try await lock.take(within: .seconds(20)) } catch {
                guard error.code != .cancelled else { throw error }
                isTaken = true
            }
            guard isTaken else {
                throw SigstoreError(
                    .contended, "\(path) cannot be changed: another program has held its folder locked for 20 s",
                    advice: "end that program, or try again")
            }
        }
        defer { withExtendedLifetime(lock) {} }
        var config = try read(path) ?? [:]
        var auths: JSONObject = [:]
        if case .object(let object)? = config["auths"] { auths = object }
        auths[key] = entry
        config["auths"] = .object(auths)
        var text: [UInt8] = []
        indent(.object(config), 0, &text)
        text.append(0x0a)
        try LocalFile.replace(path, with: text, mode: 0o600)
    }

    /// People edit this file, so it is written as Docker writes it, with tabs. What was read has bounded depth.
    private static func indent(_ value: JSONValue, _ depth: Int, _ out: inout [UInt8]) {
        guard case .object(let object) = value, !object.members.isEmpty else {
            out += value.serialized()
            return
        }
        out.append(0x7b)
        for (index, member) in object.members.enumerated() {
            if index > 0 { out.append(0x2c) }
            out.append(0x0a)
            out += [UInt8](repeating: 0x09, count: depth + 1)
            out += JSONValue.string(member.name).serialized()
            out += Array(": ".utf8)
            indent(member.value, depth + 1, &out)
        }
        out.append(0x0a)
        out += [UInt8](repeating: 0x09, count: depth)
        out.append(0x7d)
    }
}

extension ChildProcess.Answer {
    /// What a credential helper said, as one line of at most 256 bytes.
    fileprivate var words: String {
        let line = output.prefix(256).map { $0 == 0x0a || $0 == 0x0d ? 0x20 : $0 }
        return String(decoding: line, as: UTF8.self)
    }
}

extension SigstoreError.Code {
    /// A file with credentials is malformed, or a credential helper failed.
    public static let credentialsUnreadable = Self("credentials-unreadable")
}

extension SigstoreError.Remedy {
    /// The file of credentials cannot be read.
    public static let repairCredentials = Self("repair-the-file-or-give-credentials")
    /// The credential helper fails.
    public static let tryCredentialHelper = Self("run-the-helper-by-hand-or-give-credentials")
}
