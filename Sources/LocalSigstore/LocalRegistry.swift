import Foundation
import SigstoreCrypto
public import StrictJSON
import Synchronization

/// An OCI registry on loopback (OCI distribution specification 1.1), for demos and tests.
///
/// It has the referrers API, paginated lists and token authentication, each of which can be switched off, and
/// ``LoopbackServer/faults``. What is pushed is checked: digests, sizes, and that a manifest's blobs exist.
public final class LocalRegistry: Sendable {
    /// How clients prove who they are.
    public enum Authentication: Sendable, Equatable {
        /// Anyone may do anything.
        case none
        /// A user's name and password with each request.
        case basic(username: String, password: String)
        /// A token from the registry's own `/token`, got with a user's name and password.
        ///
        /// A request without one is answered 401 with `WWW-Authenticate: Bearer`; one with a token that has expired
        /// too. `lifetime` is in seconds. `realm` replaces the URL that the challenge names. If `anonymousPull` is set,
        /// a token to pull is handed out without a password.
        case token(
            username: String, password: String, lifetime: Double = 300, realm: String? = nil,
            anonymousPull: Bool = false)
    }

    /// How a registry behaves.
    public struct Configuration: Sendable {
        /// The port on 127.0.0.1, or 0 for one that is free.
        public var port: UInt16 = 0
        /// The folder that holds everything, so that it outlives the process; `nil` keeps all in memory.
        public var folder: String?
        /// How clients prove who they are.
        public var authentication = Authentication.none
        /// Whether `/v2/NAME/referrers/DIGEST` exists and `OCI-Subject` is answered.
        public var referrersAPI = true
        /// The most descriptors on one page of referrers.
        public var referrersPage = 1_000
        /// The most tags on one page.
        public var tagsPage = 1_000
        /// Whether manifests, tags and blobs can be deleted.
        public var deletion = true
        /// Whether deleting a tag deletes what it points at, with all its tags.
        public var deletesWithTag = false
        /// Makes the default configuration: in memory, open to all, with the referrers API.
        public init() {}
    }

    /// The HTTP server: its address, its faults, and what it was asked.
    public let server: LoopbackServer
    private let state: RegistryState

    /// The faults that are switched on.
    public var faults: Faults { server.faults }
    /// The host and port to name images by, such as `127.0.0.1:34567`.
    public var address: String { server.address }

    private init(server: LoopbackServer, state: RegistryState) {
        self.server = server
        self.state = state
    }

    /// Starts a registry on loopback.
    /// - Parameter configuration: How it behaves.
    /// - Returns: The registry, listening.
    /// - Throws: `local-service-failed` if the port or the folder cannot be had.
    public static func start(_ configuration: Configuration = Configuration()) async throws -> LocalRegistry {
        let state = RegistryState(configuration)
        try state.load()
        let server = try await LoopbackServer.start(port: configuration.port) { request in
            try RegistryExchange(state: state, request: request).response()
        }
        return LocalRegistry(server: server, state: state)
    }

    /// Stops the registry. What it held in memory is gone.
    public func stop() async { await server.stop() }

    // MARK: - Behind the API's back

    /// Puts a blob in without any check.
    /// - Parameters:
    ///   - bytes: What is served.
    ///   - digest: The digest that it is served under, by default its own; any other is a lie.
    ///   - repository: The repository's name.
    /// - Returns: The digest that it is served under.
    @discardableResult
    public func placeBlob(_ bytes: [UInt8], digest: String? = nil, in repository: String) throws(SigstoreError)
        -> String
    {
        let digest = try Self.digest(of: bytes, unless: digest)
        state.add(blob: bytes, digest: digest, to: repository)
        return digest
    }

    /// Puts a manifest in without any check, so that tests can serve what no registry would accept.
    /// - Parameters:
    ///   - bytes: What is served.
    ///   - mediaType: The `Content-Type` that it is served with.
    ///   - digest: The digest that it is served under, by default its own; any other is a lie.
    ///   - tag: A tag for it.
    ///   - repository: The repository's name.
    /// - Returns: The digest that it is served under.
    @discardableResult
    public func placeManifest(
        _ bytes: [UInt8], mediaType: String, digest: String? = nil, tag: String? = nil, in repository: String
    ) throws(SigstoreError) -> String {
        let digest = try Self.digest(of: bytes, unless: digest)
        state.add(
            manifest: RegistryManifest(bytes: bytes, mediaType: mediaType), digest: digest, tag: tag, to: repository)
        return digest
    }

    private static func digest(of bytes: [UInt8], unless given: String?) throws(SigstoreError) -> String {
        if let given { return given }
        return try Digest.sha256(bytes).description
    }

    /// A blob's bytes, or `nil` if the repository has no such blob.
    public func blob(_ digest: String, in repository: String) -> [UInt8]? { state.blob(digest, in: repository) }

    /// A manifest's bytes and media type by tag or digest, or `nil` if there is none.
    public func manifest(_ reference: String, in repository: String) -> (bytes: [UInt8], mediaType: String)? {
        state.manifest(reference, in: repository).map { ($0.manifest.bytes, $0.manifest.mediaType) }
    }

    /// The tags of a repository in order.
    public func tags(in repository: String) -> [String] { state.tags(in: repository) ?? [] }

    /// Removes a tag or, given a digest, a manifest.
    public func remove(_ reference: String, in repository: String) { _ = state.remove(reference, in: repository) }
}

// MARK: - What the registry holds

/// A manifest as it was pushed, and what the referrers API says of it.
struct RegistryManifest: Sendable {
    let bytes: [UInt8]
    let mediaType: String
    var subject: String?
    var artifactType: String?
    var annotations: JSONObject?

    /// Looks into the bytes; what is not JSON has no subject.
    init(bytes: [UInt8], mediaType: String) {
        self.bytes = bytes
        self.mediaType = mediaType
        guard let parsed = try? JSONValue(parsing: bytes), case .object(let object) = parsed else { return }
        if case .object(let subject)? = object["subject"], case .string(let digest)? = subject["digest"] {
            self.subject = digest
        }
        if case .string(let type)? = object["artifactType"], !type.isEmpty {
            artifactType = type
        } else if case .object(let config)? = object["config"], case .string(let type)? = config["mediaType"] {
            // An image manifest without artifactType counts as what its config is (distribution specification).
            artifactType = type
        }
        if case .object(let annotations)? = object["annotations"], !annotations.members.isEmpty {
            self.annotations = annotations
        }
    }
}

/// All repositories, in memory and, if a folder is named, in files as well.
final class RegistryState: Sendable {
    struct Repository: Sendable {
        var blobs: Set<String> = []
        var manifests: [String: RegistryManifest] = [:]
        var tags: [String: String] = [:]
    }
    struct Contents: Sendable {
        var repositories: [String: Repository] = [:]
        /// Blobs by digest, shared by all repositories; empty if they are in files.
        var blobs: [String: [UInt8]] = [:]
        var uploads: [String: [UInt8]] = [:]
        /// Tokens handed out: until when, and what for.
        var tokens: [String: (expires: Double, access: Set<String>)] = [:]
    }

    let configuration: LocalRegistry.Configuration
    private let contents = Mutex(Contents())

    init(_ configuration: LocalRegistry.Configuration) { self.configuration = configuration }

    /// Changes or reads everything at once.
    func access<Result>(_ body: (inout sending Contents) -> sending Result) -> sending Result {
        contents.withLock(body)
    }

    func add(blob bytes: [UInt8], digest: String, to repository: String) {
        write(bytes, to: ["blobs", digest])
        write([], to: ["repositories", Self.fileName(repository), "blobs", digest])
        let inMemory = configuration.folder == nil
        access {
            if inMemory { $0.blobs[digest] = bytes }
            $0.repositories[repository, default: Repository()].blobs.insert(digest)
        }
    }

    func mount(_ digest: String, from source: String, to repository: String) -> Bool {
        let found = access { contents in
            guard contents.repositories[source]?.blobs.contains(digest) == true else { return false }
            contents.repositories[repository, default: Repository()].blobs.insert(digest)
            return true
        }
        if found { write([], to: ["repositories", Self.fileName(repository), "blobs", digest]) }
        return found
    }

    func add(manifest: RegistryManifest, digest: String, tag: String?, to repository: String) {
        let name = Self.fileName(repository)
        write(manifest.bytes, to: ["repositories", name, "manifests", digest])
        write(Array(manifest.mediaType.utf8), to: ["repositories", name, "types", digest])
        if let tag { write(Array(digest.utf8), to: ["repositories", name, "tags", tag]) }
        access {
            $0.repositories[repository, default: Repository()].manifests[digest] = manifest
            if let tag { $0.repositories[repository, default: Repository()].tags[tag] = digest }
        }
    }

    func blob(_ digest: String, in repository: String) -> [UInt8]? {
        guard access({ $0.repositories[repository]?.blobs.contains(digest) == true }) else { return nil }
        if let folder = configuration.folder {
            return FileManager.default.contents(atPath: "\(folder)/blobs/\(Self.fileName(digest))").map { Array($0) }
        }
        return access { $0.blobs[digest] }
    }

    func hasBlob(_ digest: String, in repository: String) -> Bool {
        access { $0.repositories[repository]?.blobs.contains(digest) == true }
    }

    func manifest(_ reference: String, in repository: String) -> (digest: String, manifest: RegistryManifest)? {
        access { contents in
            guard let repository = contents.repositories[repository] else { return nil }
            let digest = reference.contains(":") ? reference : repository.tags[reference]
            guard let digest, let manifest = repository.manifests[digest] else { return nil }
            return (digest, manifest)
        }
    }

    func tags(in repository: String) -> [String]? {
        access { $0.repositories[repository].map { $0.tags.keys.sorted() } }
    }

    /// The manifests that name this digest as their subject, in the order of their digests.
    func referrers(of digest: String, in repository: String) -> [(digest: String, manifest: RegistryManifest)] {
        access { contents in
            (contents.repositories[repository]?.manifests ?? [:]).filter { $0.value.subject == digest }
                .map { (digest: $0.key, manifest: $0.value) }.sorted { $0.digest < $1.digest }
        }
    }

    func remove(_ reference: String, in repository: String) -> Bool {
        let name = Self.fileName(repository)
        guard reference.contains(":") else {
            erase(["repositories", name, "tags", reference])
            return access { $0.repositories[repository]?.tags.removeValue(forKey: reference) != nil }
        }
        erase(["repositories", name, "manifests", reference])
        erase(["repositories", name, "types", reference])
        let tags = access { contents in
            let tags = (contents.repositories[repository]?.tags ?? [:]).filter { $0.value == reference }.map(\.key)
            for tag in tags { contents.repositories[repository]?.tags[tag] = nil }
            return tags
        }
        for tag in tags { erase(["repositories", name, "tags", tag]) }
        return access { $0.repositories[repository]?.manifests.removeValue(forKey: reference) != nil }
    }

    func removeBlob(_ digest: String, in repository: String) -> Bool {
        erase(["repositories", Self.fileName(repository), "blobs", digest])
        return access { $0.repositories[repository]?.blobs.remove(digest) != nil }
    }

    // MARK: Files

    /// Names with slashes and digests with colons, as file names.
    private static func fileName(_ name: String) -> String {
        name.replacingOccurrences(of: "/", with: "%2F").replacingOccurrences(of: ":", with: "%3A")
    }
    private static func name(_ fileName: String) -> String {
        fileName.replacingOccurrences(of: "%2F", with: "/").replacingOccurrences(of: "%3A", with: ":")
    }

    private func write(_ bytes: [UInt8], to path: [String]) {
        guard let folder = configuration.folder else { return }
        let url = path.reduce(URL(fileURLWithPath: folder)) { $0.appendingPathComponent(Self.fileName($1)) }
        try? FileManager.default.createDirectory(at: url.deletingLastPathComponent(), withIntermediateDirectories: true)
        try? Data(bytes).write(to: url, options: .atomic)
    }

    private func erase(_ path: [String]) {
        guard let folder = configuration.folder else { return }
        let url = path.reduce(URL(fileURLWithPath: folder)) { $0.appendingPathComponent(Self.fileName($1)) }
        try? FileManager.default.removeItem(at: url)
    }

    /// Reads what an earlier process left in the folder.
    func load() throws {
        guard let folder = configuration.folder else { return }
        do {
            try FileManager.default.createDirectory(atPath: "\(folder)/repositories", withIntermediateDirectories: true)
            for repository in try FileManager.default.contentsOfDirectory(atPath: "\(folder)/repositories") {
                let base = "\(folder)/repositories/\(repository)"
                func files(_ kind: String) -> [String] {
                    (try? FileManager.default.contentsOfDirectory(atPath: "\(base)/\(kind)")) ?? []
                }
                func text(_ path: String) -> String {
                    String(decoding: FileManager.default.contents(atPath: path) ?? Data(), as: UTF8.self)
                }
                var loaded = Repository()
                loaded.blobs = Set(files("blobs").map(Self.name))
                for file in files("manifests") {
                    loaded.manifests[Self.name(file)] = RegistryManifest(
                        bytes: Array(FileManager.default.contents(atPath: "\(base)/manifests/\(file)") ?? Data()),
                        mediaType: text("\(base)/types/\(file)"))
                }
                for file in files("tags") { loaded.tags[file] = text("\(base)/tags/\(file)") }
                let complete = loaded
                access { $0.repositories[Self.name(repository)] = complete }
            }
        } catch {
            throw SigstoreError(
                .localServiceFailed, "the registry's folder \(folder) cannot be read",
                advice: "name a folder that can be written to", cause: error)
        }
    }
}

// MARK: - Requests

/// One request to the registry and the answer to it (OCI distribution specification 1.1, "Endpoints").
private struct RegistryExchange {
    let state: RegistryState
    let request: LoopbackRequest

    func response() throws -> LoopbackResponse {
        var response = try route()
        response.headers.append((name: "Docker-Distribution-Api-Version", value: "registry/2.0"))
        return response
    }

    func error(_ status: Int, _ code: String, _ message: String) -> LoopbackResponse {
        .json(
            status,
            .object(["errors": .array([.object(["code": .string(code), "message": .string(message)])])]))
    }

    private func route() throws -> LoopbackResponse {
        if request.path == "/token" { return token() }
        guard request.path == "/v2" || request.path.hasPrefix("/v2/") else {
            return .text(404, "404 page not found\n")
        }
        var parts = request.path.split(separator: "/").dropFirst().map(String.init)
        if parts.isEmpty {
            return authorize(repository: nil, actions: []) ?? .json(200, .object([:]))
        }
        if parts == ["_catalog"] {
            return authorize(repository: nil, actions: []) ?? catalog()
        }
        // The name may hold slashes, so the end of the path says what is asked for.
        if parts.count >= 3, parts.suffix(2) == ["tags", "list"] {
            parts.removeLast(2)
            return tags(parts.joined(separator: "/"))
        }
        if parts.count >= 3, parts[parts.count - 2] == "manifests" {
            let reference = parts[parts.count - 1]
            parts.removeLast(2)
            return try manifest(parts.joined(separator: "/"), reference)
        }
        if parts.count >= 3, parts[parts.count - 2] == "referrers" {
            let digest = parts[parts.count - 1]
            parts.removeLast(2)
            return referrers(parts.joined(separator: "/"), digest)
        }
        if parts.count >= 3, parts.suffix(2) == ["blobs", "uploads"] {
            parts.removeLast(2)
            return try startUpload(parts.joined(separator: "/"))
        }
        if parts.count >= 4, parts[parts.count - 3] == "blobs", parts[parts.count - 2] == "uploads" {
            let upload = parts[parts.count - 1]
            parts.removeLast(3)
            return try continueUpload(parts.joined(separator: "/"), upload)
        }
        if parts.count >= 3, parts[parts.count - 2] == "blobs" {
            let digest = parts[parts.count - 1]
            parts.removeLast(2)
            return blob(parts.joined(separator: "/"), digest)
        }
        return .text(404, "404 page not found\n")
    }

    /// Whether a repository's name is one (distribution specification, "Pulling manifests").
    private func isName(_ name: String) -> Bool {
        !name.isEmpty && name.utf8.count <= 255
            && name.split(separator: "/", omittingEmptySubsequences: false).allSatisfy { part in
                let letters = Array(part.utf8)
                func isPlain(_ byte: UInt8) -> Bool { (0x61...0x7a).contains(byte) || (0x30...0x39).contains(byte) }
                return letters.first.map(isPlain) == true && letters.last.map(isPlain) == true
                    && letters.allSatisfy { isPlain($0) || $0 == 0x2e || $0 == 0x5f || $0 == 0x2d }
            }
    }

    private func isTag(_ tag: String) -> Bool {
        let letters = Array(tag.utf8)
        func isWord(_ byte: UInt8) -> Bool {
            (0x61...0x7a).contains(byte) || (0x41...0x5a).contains(byte) || (0x30...0x39).contains(byte) || byte == 0x5f
        }
        return letters.count <= 128 && letters.first.map(isWord) == true
            && letters.allSatisfy { isWord($0) || $0 == 0x2e || $0 == 0x2d }
    }

    private func digest(_ text: String) -> Digest? { try? Digest(parsing: text) }

    // MARK: Who may do what

    /// Checks the request's credentials.
    /// - Returns: The answer that refuses it, or `nil` if it may go on.
    private func authorize(repository: String?, actions: [String]) -> LoopbackResponse? {
        let header = request.header("Authorization") ?? ""
        switch state.configuration.authentication {
        case .none: return nil
        case .basic(let username, let password):
            if isBasic(header, username, password) { return nil }
            var refused = error(401, "UNAUTHORIZED", "authentication required")
            refused.set("WWW-Authenticate", "Basic realm=\"local registry\"")
            return refused
        case .token(_, _, _, let realm, _):
            let needed = Set(actions.map { "\(repository ?? ""):\($0)" })
            let token = header.lowercased().hasPrefix("bearer ") ? String(header.dropFirst(7)) : nil
            let known = token.flatMap { token in state.access { $0.tokens[token] } }
            if let known, known.expires > Date().timeIntervalSince1970, needed.isSubset(of: known.access) { return nil }
            let own = "http://\(request.header("Host") ?? "127.0.0.1")/token"
            var challenge = "Bearer realm=\"\(realm ?? own)\",service=\"local-registry\""
            if let repository { challenge += ",scope=\"repository:\(repository):\(actions.joined(separator: ","))\"" }
            if let known {
                let expired = known.expires <= Date().timeIntervalSince1970
                challenge += ",error=\"\(expired ? "invalid_token" : "insufficient_scope")\""
            } else if token != nil {
                challenge += ",error=\"invalid_token\""
            }
            var refused = error(401, "UNAUTHORIZED", "authentication required")
            refused.set("WWW-Authenticate", challenge)
            return refused
        }
    }

    private func isBasic(_ header: String, _ username: String, _ password: String) -> Bool {
        guard header.lowercased().hasPrefix("basic "), let given = Base64.decode(String(header.dropFirst(6))) else {
            return false
        }
        return given == Array("\(username):\(password)".utf8)
    }

    /// The token service: `GET` with Basic credentials, or `POST` of a form (Docker's token specification).
    private func token() -> LoopbackResponse {
        guard
            case .token(let username, let password, let lifetime, _, let anonymousPull) =
                state.configuration.authentication
        else { return .text(404, "404 page not found\n") }
        let form = request.method == "POST" ? request.form : request.query
        func field(_ name: String) -> String? { form.first { $0.name == name }?.value }
        let header = request.header("Authorization") ?? ""
        let refreshed =
            field("grant_type") == "refresh_token" && field("refresh_token") == "refresh-\(username)-\(password)"
        let known =
            isBasic(header, username, password) || refreshed
            || (field("grant_type") == "password" && field("username") == username && field("password") == password)
        let anonymous = !known && header.isEmpty && field("username") == nil && field("refresh_token") == nil
        guard known || (anonymous && anonymousPull) else {
            return error(401, "UNAUTHORIZED", "incorrect username or password")
        }
        var access: Set<String> = []
        for scope in form where scope.name == "scope" {
            for one in scope.value.split(separator: " ") {
                let parts = one.split(separator: ":")
                guard parts.count >= 3, parts.first == "repository", let last = parts.last else { continue }
                let repository = parts.dropFirst().dropLast().joined(separator: ":")
                for action in last.split(separator: ",") where known || action == "pull" {
                    access.formUnion(
                        action == "*"
                            ? ["pull", "push", "delete"].map { "\(repository):\($0)" } : ["\(repository):\(action)"])
                }
            }
        }
        let stale = request.faults.contains(.staleToken)
        let now = Date().timeIntervalSince1970
        let token = UUID().uuidString
        let granted = (expires: stale ? now - 1 : now + lifetime, access: access)
        state.access { $0.tokens[token] = granted }
        var answer: JSONObject = [
            "token": .string(token), "access_token": .string(token), "expires_in": .integer(Int(lifetime)),
        ]
        if known, field("grant_type") != nil || field("offline_token") == "true" {
            answer["refresh_token"] = .string("refresh-\(username)-\(password)")
        }
        return .json(200, .object(answer))
    }

    // MARK: Lists

    private func catalog() -> LoopbackResponse {
        let names = state.access { $0.repositories.keys.sorted() }
        return .json(200, .object(["repositories": .array(names.map(JSONValue.string))]))
    }

    /// One page of a list, and the `Link` header if there is another.
    private func page<Element>(
        _ all: [Element], limit: Int, key: (Element) -> String, path: String, query: [String]
    ) -> (elements: [Element], link: [(name: String, value: String)]) {
        let asked = request.parameter("n").flatMap { Int($0) }.map { max(0, $0) }
        let size = min(asked ?? limit, limit)
        let rest = request.parameter("last").map { last in all.filter { key($0) > last } } ?? all
        let elements = Array(rest.prefix(size))
        let endless = request.faults.contains(.endlessPages)
        guard endless || rest.count > elements.count, let last = elements.last ?? all.last else {
            return (elements, [])
        }
        // An endless list shows its first page again and again, each time under another address.
        let from = endless ? "last=&turn=\(UUID().uuidString)" : "last=\(escaped(key(last)))"
        let parameters = (["n=\(size)", from] + query).joined(separator: "&")
        return (elements, [(name: "Link", value: "<\(path)?\(parameters)>; rel=\"next\"")])
    }

    private func escaped(_ text: String) -> String {
        text.addingPercentEncoding(withAllowedCharacters: .alphanumerics) ?? text
    }

    private func tags(_ name: String) -> LoopbackResponse {
        if let refused = authorize(repository: name, actions: ["pull"]) { return refused }
        guard request.method == "GET" else { return error(405, "UNSUPPORTED", "the operation is unsupported") }
        guard let all = state.tags(in: name) else {
            return error(404, "NAME_UNKNOWN", "repository name not known to registry")
        }
        let page = page(all, limit: state.configuration.tagsPage, key: { $0 }, path: "/v2/\(name)/tags/list", query: [])
        return .json(
            200, .object(["name": .string(name), "tags": .array(page.elements.map(JSONValue.string))]),
            headers: page.link)
    }

    private func referrers(_ name: String, _ digestText: String) -> LoopbackResponse {
        if let refused = authorize(repository: name, actions: ["pull"]) { return refused }
        guard state.configuration.referrersAPI, !request.faults.contains(.noReferrersAPI) else {
            return .text(404, "404 page not found\n")
        }
        guard request.method == "GET" else { return error(405, "UNSUPPORTED", "the operation is unsupported") }
        guard digest(digestText) != nil else { return error(400, "DIGEST_INVALID", "provided digest is invalid") }
        let type = request.parameter("artifactType").flatMap { $0.isEmpty ? nil : $0 }
        let all = state.referrers(of: digestText, in: name).filter { type == nil || $0.manifest.artifactType == type }
        var page = page(
            all, limit: state.configuration.referrersPage, key: { $0.digest },
            path: "/v2/\(name)/referrers/\(digestText)", query: type.map { ["artifactType=\(escaped($0))"] } ?? [])
        if type != nil { page.link.append((name: "OCI-Filters-Applied", value: "artifactType")) }
        let descriptors = page.elements.map { one -> JSONValue in
            var descriptor: JSONObject = [
                "mediaType": .string(one.manifest.mediaType), "digest": .string(one.digest),
                "size": .integer(one.manifest.bytes.count),
            ]
            descriptor["artifactType"] = one.manifest.artifactType.map { .string($0) }
            descriptor["annotations"] = one.manifest.annotations.map { .object($0) }
            return .object(descriptor)
        }
        let index: JSONValue = .object([
            "schemaVersion": .integer(2), "mediaType": .string("application/vnd.oci.image.index.v1+json"),
            "manifests": .array(descriptors),
        ])
        return LoopbackResponse(
            200, headers: page.link, contentType: "application/vnd.oci.image.index.v1+json", body: index.serialized())
    }

    // MARK: Manifests

    private func manifest(_ name: String, _ reference: String) throws -> LoopbackResponse {
        switch request.method {
        case "GET", "HEAD":
            if let refused = authorize(repository: name, actions: ["pull"]) { return refused }
            return getManifest(name, reference)
        case "PUT":
            if let refused = authorize(repository: name, actions: ["pull", "push"]) { return refused }
            return try putManifest(name, reference)
        case "DELETE":
            if let refused = authorize(repository: name, actions: ["delete"]) { return refused }
            guard state.configuration.deletion else { return error(405, "UNSUPPORTED", "the operation is unsupported") }
            let isTagOnly = !state.configuration.deletesWithTag
            let target = isTagOnly ? reference : state.manifest(reference, in: name)?.digest ?? reference
            return state.remove(target, in: name)
                ? LoopbackResponse(202) : error(404, "MANIFEST_UNKNOWN", "manifest unknown")
        default: return error(405, "UNSUPPORTED", "the operation is unsupported")
        }
    }

    private func getManifest(_ name: String, _ reference: String) -> LoopbackResponse {
        var asked = reference
        if request.faults.contains(.subjectAtFallbackTag), reference.hasPrefix("sha256-"), !reference.contains(".") {
            asked = "sha256:" + reference.dropFirst(7)
        }
        guard let found = state.manifest(asked, in: name) else {
            return error(404, "MANIFEST_UNKNOWN", "manifest unknown")
        }
        return LoopbackResponse(
            200,
            headers: [
                (name: "Docker-Content-Digest", value: found.digest), (name: "ETag", value: "\"\(found.digest)\""),
            ], contentType: found.manifest.mediaType, body: found.manifest.bytes)
    }

    private func putManifest(_ name: String, _ reference: String) throws -> LoopbackResponse {
        guard isName(name) else { return error(400, "NAME_INVALID", "invalid repository name") }
        guard request.body.count <= 4 << 20 else { return error(413, "SIZE_INVALID", "the manifest is too large") }
        var actual = try Digest.sha256(request.body).description
        if reference.contains(":") {
            guard let asked = digest(reference),
                let computed = try? Digest.hash(request.body, asked.algorithm),
                computed == asked
            else { return error(400, "DIGEST_INVALID", "provided digest did not match uploaded content") }
            actual = asked.description
        } else if !isTag(reference) {
            return error(400, "TAG_INVALID", "invalid tag")
        }
        guard let parsed = try? JSONValue(parsing: request.body), case .object(let object) = parsed else {
            return error(400, "MANIFEST_INVALID", "manifest invalid")
        }
        var mediaType = request.header("Content-Type") ?? ""
        if case .string(let own)? = object["mediaType"] {
            guard mediaType.isEmpty || own == mediaType else {
                return error(400, "MANIFEST_INVALID", "the manifest's media type is not the request's")
            }
            mediaType = own
        }
        guard !mediaType.isEmpty else { return error(400, "MANIFEST_INVALID", "the manifest has no media type") }
        if let missing = missingContent(of: object, in: name) {
            return error(400, "MANIFEST_BLOB_UNKNOWN", "\(missing) is unknown to registry")
        }
        let manifest = RegistryManifest(bytes: request.body, mediaType: mediaType)
        let before = state.manifest(reference, in: name)
        state.add(manifest: manifest, digest: actual, tag: reference.contains(":") ? nil : reference, to: name)
        if request.faults.contains(.overwritten), !reference.contains(":"), let before {
            state.add(manifest: before.manifest, digest: before.digest, tag: reference, to: name)
        }
        var created = LoopbackResponse(
            201,
            headers: [
                (name: "Location", value: "/v2/\(name)/manifests/\(actual)"),
                (name: "Docker-Content-Digest", value: actual),
            ])
        if let subject = manifest.subject, state.configuration.referrersAPI, !request.faults.contains(.noReferrersAPI) {
            created.set("OCI-Subject", subject)
        }
        return created
    }

    /// The first thing that a manifest needs and the repository lacks. A subject may be missing.
    private func missingContent(of manifest: JSONObject, in name: String) -> String? {
        func descriptors(_ member: String) -> [JSONObject] {
            guard case .array(let values)? = manifest[member] else { return [] }
            return values.compactMap { if case .object(let object) = $0 { object } else { nil } }
        }
        var blobs = descriptors("layers")
        if case .object(let config)? = manifest["config"] { blobs.append(config) }
        for blob in blobs where blob["urls"] == nil {
            guard case .string(let digest)? = blob["digest"], state.hasBlob(digest, in: name) else {
                return "a blob of the manifest"
            }
        }
        for child in descriptors("manifests") {
            guard case .string(let digest)? = child["digest"], state.manifest(digest, in: name) != nil else {
                return "a manifest of the index"
            }
        }
        return nil
    }

    // MARK: Blobs

    private func blob(_ name: String, _ digestText: String) -> LoopbackResponse {
        switch request.method {
        case "GET", "HEAD":
            if let refused = authorize(repository: name, actions: ["pull"]) { return refused }
            guard let bytes = state.blob(digestText, in: name) else {
                return error(404, "BLOB_UNKNOWN", "blob unknown to registry")
            }
            return LoopbackResponse(
                200, headers: [(name: "Docker-Content-Digest", value: digestText)],
                contentType: "application/octet-stream", body: bytes)
        case "DELETE":
            if let refused = authorize(repository: name, actions: ["delete"]) { return refused }
            guard state.configuration.deletion else { return error(405, "UNSUPPORTED", "the operation is unsupported") }
            return state.removeBlob(digestText, in: name)
                ? LoopbackResponse(202) : error(404, "BLOB_UNKNOWN", "blob unknown to registry")
        default: return error(405, "UNSUPPORTED", "the operation is unsupported")
        }
    }

    private func startUpload(_ name: String) throws -> LoopbackResponse {
        if let refused = authorize(repository: name, actions: ["pull", "push"]) { return refused }
        guard request.method == "POST" else { return error(405, "UNSUPPORTED", "the operation is unsupported") }
        guard isName(name) else { return error(400, "NAME_INVALID", "invalid repository name") }
        if let mount = request.parameter("mount"), let source = request.parameter("from"),
            state.mount(mount, from: source, to: name)
        {
            return stored(name, mount)
        }
        if let asked = request.parameter("digest") { return try store(request.body, as: asked, in: name) }
        let upload = UUID().uuidString.lowercased()
        state.access { $0.uploads[upload] = [] }
        return accepted(name, upload, size: 0)
    }

    private func continueUpload(_ name: String, _ upload: String) throws -> LoopbackResponse {
        if let refused = authorize(repository: name, actions: ["pull", "push"]) { return refused }
        guard let size = state.access({ $0.uploads[upload]?.count }) else {
            return error(404, "BLOB_UPLOAD_UNKNOWN", "blob upload unknown to registry")
        }
        switch request.method {
        case "GET":
            var status = accepted(name, upload, size: size)
            status.status = 204
            return status
        case "PATCH":
            if let range = request.header("Content-Range"), !range.hasPrefix("\(size)-") {
                var refused = accepted(name, upload, size: size)
                refused.status = 416
                return refused
            }
            let body = request.body
            let grown = state.access { contents in
                contents.uploads[upload, default: []].append(contentsOf: body)
                return contents.uploads[upload]?.count ?? 0
            }
            return accepted(name, upload, size: grown)
        case "PUT":
            guard let asked = request.parameter("digest") else {
                return error(400, "DIGEST_INVALID", "provided digest is invalid")
            }
            let earlier = state.access { $0.uploads.removeValue(forKey: upload) } ?? []
            return try store(earlier.isEmpty ? request.body : earlier + request.body, as: asked, in: name)
        case "DELETE":
            state.access { $0.uploads[upload] = nil }
            return LoopbackResponse(204)
        default: return error(405, "UNSUPPORTED", "the operation is unsupported")
        }
    }

    private func accepted(_ name: String, _ upload: String, size: Int) -> LoopbackResponse {
        LoopbackResponse(
            202,
            headers: [
                (name: "Location", value: "/v2/\(name)/blobs/uploads/\(upload)"),
                (name: "Docker-Upload-UUID", value: upload),
                (name: "Range", value: "0-\(max(0, size - 1))"),
            ])
    }

    private func store(_ bytes: [UInt8], as digestText: String, in name: String) throws -> LoopbackResponse {
        guard let asked = digest(digestText), let actual = try? Digest.hash(bytes, asked.algorithm), actual == asked
        else { return error(400, "DIGEST_INVALID", "provided digest did not match uploaded content") }
        state.add(blob: bytes, digest: asked.description, to: name)
        return stored(name, asked.description)
    }

    private func stored(_ name: String, _ digest: String) -> LoopbackResponse {
        LoopbackResponse(
            201,
            headers: [
                (name: "Location", value: "/v2/\(name)/blobs/\(digest)"),
                (name: "Docker-Content-Digest", value: digest),
            ])
    }
}
