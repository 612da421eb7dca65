import Glibc
import SigstoreClients
import SigstoreCrypto
import SigstoreVerification
import StrictJSON
import Synchronization

/// A TUF repository in memory, signed by keys made for it. Everything in it can be changed and signed again.
struct TUFTestRepository {
    static let start = Instant(rfc3339: "2030-01-01T00:00:00Z") ?? Instant(seconds: 0)
    static func day(_ number: Int64) -> Instant { Instant(milliseconds: start.milliseconds + number * 86_400_000) }

    /// A key and the name that metadata gives it.
    struct Key {
        let id: String
        let signer: PrivateKey
        let json: JSONValue

        static func make() throws -> Key {
            let signer = try PrivateKey.generate(.ed25519)
            let raw = Hexadecimal.encode(signer.publicKey.spki.suffix(32))
            let json: JSONValue = .object([
                "keytype": .string("ed25519"), "scheme": .string("ed25519"),
                "keyval": .object(["public": .string(raw)]),
            ])
            let id = try Digest.sha256(TUFCanonicalJSON.encode(json)).hex
            return Key(id: id, signer: signer, json: json)
        }

        func signature(over signed: JSONValue) throws -> JSONValue {
            let message = try HashedMessage.of(TUFCanonicalJSON.encode(signed), schemes: [.ed25519])
            let bytes = try signer.sign(message, scheme: .ed25519)
            return .object(["keyid": .string(id), "sig": .string(Hexadecimal.encode(bytes))])
        }
    }

    var keys: [String: [Key]] = [:]
    var thresholds: [String: Int] = [:]
    var versions = ["root": 1, "timestamp": 1, "snapshot": 1, "targets": 1]
    var expires = ["root": day(365), "timestamp": day(7), "snapshot": day(30), "targets": day(30)]
    var targets: [String: [UInt8]] = [:]
    /// What else the snapshot lists.
    var listed: [(name: String, version: Int)] = []
    /// The member `delegations` of the top targets role.
    var delegations: JSONValue?
    /// Files by their names on the mirror.
    var files: [String: [UInt8]] = [:]

    init(targets: [String: [UInt8]] = ["trusted_root.json": Array("{}".utf8)]) throws {
        for role in ["root", "timestamp", "snapshot", "targets"] {
            keys[role] = [try Key.make()]
            thresholds[role] = 1
        }
        self.targets = targets
        try publish("root")
        try publish("targets", "snapshot", "timestamp")
    }

    static func file(_ signed: JSONValue, by keys: [Key]) throws -> [UInt8] {
        JSONValue.object([
            "signatures": .array(try keys.map { try $0.signature(over: signed) }), "signed": signed,
        ]).serialized()
    }

    static func info(_ bytes: [UInt8]) throws -> JSONValue {
        .object([
            "length": .integer(bytes.count),
            "hashes": .object(["sha256": .string(try Digest.sha256(bytes).hex)]),
        ])
    }

    func header(_ role: String) -> [(name: String, value: JSONValue)] {
        [
            (name: "_type", value: .string(role)), (name: "spec_version", value: .string("1.0.31")),
            (name: "version", value: .integer(versions[role] ?? 1)),
            (name: "expires", value: .string((expires[role] ?? Self.start).description)),
        ]
    }

    func signed(_ role: String) throws -> JSONValue {
        var members = header(role)
        switch role {
        case "root":
            var all: [(name: String, value: JSONValue)] = []
            var roles: [(name: String, value: JSONValue)] = []
            for (name, keys) in keys.sorted(by: { $0.key < $1.key }) {
                for key in keys where !all.contains(where: { $0.name == key.id }) {
                    all.append((name: key.id, value: key.json))
                }
                roles.append(
                    (
                        name: name,
                        value: .object([
                            "keyids": .array(keys.map { .string($0.id) }), "threshold": .integer(thresholds[name] ?? 1),
                        ])
                    ))
            }
            members += [
                (name: "consistent_snapshot", value: .bool(true)), (name: "keys", value: .object(JSONObject(all))),
                (name: "roles", value: .object(JSONObject(roles))),
            ]
        case "timestamp":
            let snapshot: JSONValue = .object(["version": .integer(versions["snapshot"] ?? 1)])
            members.append((name: "meta", value: .object(["snapshot.json": snapshot])))
        case "snapshot":
            var meta: [(name: String, value: JSONValue)] = [
                (name: "targets.json", value: .object(["version": .integer(versions["targets"] ?? 1)]))
            ]
            meta += listed.map { (name: $0.name, value: .object(["version": .integer($0.version)])) }
            members.append((name: "meta", value: .object(JSONObject(meta))))
        default:
            let infos = try targets.sorted { $0.key < $1.key }.map { (name: $0.key, value: try Self.info($0.value)) }
            members.append((name: "targets", value: .object(JSONObject(infos))))
            if let delegations { members.append((name: "delegations", value: delegations)) }
        }
        return .object(JSONObject(members))
    }

    /// Signs the roles as they are now, and puts them on the mirror.
    mutating func publish(_ roles: String...) throws {
        for role in roles {
            let bytes = try Self.file(signed(role), by: keys[role] ?? [])
            let version = role == "timestamp" ? "" : "\(versions[role] ?? 1)."
            files["\(version)\(role).json"] = bytes
        }
        for (name, bytes) in targets { files["targets/\(try Digest.sha256(bytes).hex).\(name)"] = bytes }
    }

    /// Signs a new version of each role.
    mutating func renew(_ roles: String...) throws {
        for role in roles { versions[role, default: 0] += 1 }
        for role in roles { try publish(role) }
    }

    var root: [UInt8] { files["1.root.json"] ?? [] }

    func file(_ name: String) throws -> [UInt8] {
        guard let bytes = files[name] else { throw SigstoreError(.init("test"), "there is no \(name)") }
        return bytes
    }

    /// An update that has taken everything up to and without the given role.
    func update(upTo role: String, at time: Instant = TUFTestRepository.start) throws -> TUFUpdate {
        var update = try TUFUpdate(trusting: root, at: time)
        try update.finishRoot()
        if role == "timestamp" { return update }
        _ = try update.takeTimestamp(file("timestamp.json"))
        if role == "snapshot" { return update }
        try update.takeSnapshot(file("\(versions["snapshot"] ?? 1).snapshot.json"))
        return update
    }
}

/// A mirror that serves a repository, or not.
final class TUFTestMirror: TUFFetcher {
    private let state: Mutex<(files: [String: [UInt8]], requests: [String], failure: SigstoreError.Code?)>
    static let url = "https://mirror.test"

    init(_ repository: TUFTestRepository) { state = Mutex((repository.files, [], nil)) }

    func serve(_ repository: TUFTestRepository) { state.withLock { $0.files = repository.files } }
    func serve(_ name: String, _ bytes: [UInt8]?) { state.withLock { $0.files[name] = bytes } }
    /// How every request fails.
    var failure: SigstoreError.Code? {
        get { state.withLock { $0.failure } }
        set { state.withLock { $0.failure = newValue } }
    }
    var isDown: Bool {
        get { failure != nil }
        set { failure = newValue ? SigstoreError.Code("unreachable") : nil }
    }
    /// What was asked for since the last time.
    func takeRequests() -> [String] {
        state.withLock { state in
            defer { state.requests = [] }
            return state.requests
        }
    }

    func fetch(_ url: String, limit: Int) async throws(SigstoreError) -> [UInt8]? {
        let name = String(url.dropFirst(Self.url.count + 1))
        let (failure, bytes) = state.withLock { state in
            state.requests.append(name)
            return (state.failure, state.files[name])
        }
        if let failure { throw SigstoreError(failure, "the mirror is down") }
        guard (bytes?.count ?? 0) <= limit else { throw SigstoreError(.init("too-large"), "\(name) is too large") }
        return bytes
    }
}

/// A folder that goes with the test.
final class TemporaryFolder: Sendable {
    let path: String
    init() throws {
        var template = Array("/tmp/tuf-test-XXXXXX".utf8CString)
        guard let made = unsafe mkdtemp(&template) else { throw SigstoreError(.init("test"), "no temporary folder") }
        path = unsafe String(cString: made)
    }
    deinit { removeTree(path) }
}

private func removeTree(_ path: String) {
    if let directory = unsafe opendir(path) {
        while let entry = unsafe readdir(directory) {
            let name = unsafe withUnsafePointer(to: &entry.pointee.d_name) {
                unsafe $0.withMemoryRebound(to: CChar.self, capacity: 256) { unsafe String(cString: $0) }
            }
            if name != ".", name != ".." { removeTree("\(path)/\(name)") }
        }
        unsafe closedir(directory)
        unsafe rmdir(path)
    } else {
        unsafe unlink(path)
    }
}

/// Collects notices.
final class Notices: Sendable {
    private let list = Mutex<[SigstoreError]>([])
    func add(_ notice: SigstoreError) { list.withLock { $0.append(notice) } }
    var codes: [SigstoreError.Code] { list.withLock { $0.map(\.code) } }
    var messages: [String] { list.withLock { $0.map(\.message) } }
}
