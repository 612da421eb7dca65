import Foundation
import SigstoreCrypto
import StrictJSON
import Synchronization

/// A TUF repository (specification 1.0) with consistent snapshots: each role has one Ed25519 key and a threshold of 1.
///
/// It is kept in the folder `tuf` as clients see it, so that the folder itself is a mirror too (`file://`). Metadata
/// that is past half of its life is signed anew when something is asked for.
final class TUFRepository: Sendable {
    private enum Role: String, CaseIterable {
        // In the order in which they are published: each names the version of the one before it.
        case root, targets, snapshot, timestamp

        /// How long its metadata is valid, in seconds.
        var lifetime: Int64 {
            switch self {
            case .root: 365 * 86_400
            case .targets: 90 * 86_400
            case .snapshot: 30 * 86_400
            case .timestamp: 7 * 86_400
            }
        }
    }

    private struct Key {
        let id: String
        let json: JSONValue
        let signer: PrivateKey

        init(_ signer: PrivateKey) throws(SigstoreError) {
            self.signer = signer
            // An Ed25519 key stands in metadata as its 32 bytes, the last ones of its SubjectPublicKeyInfo.
            let raw = Hexadecimal.encode(signer.publicKey.spki.suffix(32))
            json = .object([
                "keytype": .string("ed25519"), "scheme": .string("ed25519"),
                "keyval": .object(["public": .string(raw)]),
            ])
            id = try Digest.sha256(json.canonicalized()).hex
        }
    }

    private struct Contents {
        var keys: [Role: Key] = [:]
        var versions: [Role: Int64] = [:]
        var expires: [Role: Int64] = [:]
        /// The description of each target in the metadata, by name.
        var targets = JSONObject()
    }

    /// Where it is kept, below the state folder.
    static let path = "tuf"
    private let folder: StateFolder
    private let now: @Sendable () -> Int64
    private let contents = Mutex(Contents())

    /// Opens the repository in a folder, or makes one whose only content is its root.
    /// - Parameter now: The time in seconds since 1970.
    init(
        folder: StateFolder, now: @escaping @Sendable () -> Int64 = { Int64(Date().timeIntervalSince1970) }
    ) throws(SigstoreError) {
        self.folder = folder
        self.now = now
        try folder.makeFolder("\(Self.path)/targets")
        try contents.withLock { (contents) throws(SigstoreError) in
            do {
                if try read(&contents) { return }
            } catch {
                throw SigstoreError(
                    .localServiceFailed, "the TUF repository in \(folder.path)/\(Self.path) is damaged",
                    advice: "remove that folder; clients have to be initialized again then", cause: error)
            }
            for role in Role.allCases { contents.keys[role] = try makeKey() }
            try publish(.root, &contents)
        }
    }

    /// The version of the root metadata.
    var rootVersion: Int64 { contents.withLock { $0.versions[.root] ?? 0 } }

    /// Publishes targets in place of those that there are.
    func publish(targets: [(name: String, content: [UInt8])]) throws(SigstoreError) {
        try contents.withLock { (contents) throws(SigstoreError) in
            var described = JSONObject()
            for (name, content) in targets {
                let digest = try Digest.sha256(content).hex
                try write(content, "targets/\(digest).\(name)")
                described[name] = .object([
                    "length": .integer(content.count), "hashes": .object(["sha256": .string(digest)]),
                ])
            }
            let changed =
                JSONValue.object(described).canonicalized() != JSONValue.object(contents.targets).canonicalized()
            contents.targets = described
            try renew(&contents, changed ? .targets : nil)
        }
    }

    /// Replaces every key by a new one: a root of the next version, signed by the old root key and the new one, and new
    /// metadata of the other roles. That is signed by the old keys too, for clients in the middle of an update.
    func rotate() throws(SigstoreError) {
        try contents.withLock { (contents) throws(SigstoreError) in
            let old = contents.keys
            for role in Role.allCases { contents.keys[role] = try makeKey() }
            for role in Role.allCases { try publish(role, &contents, alsoSignedBy: old[role]) }
        }
    }

    func answer(_ request: LoopbackRequest) throws -> LoopbackResponse {
        guard request.method == "GET" || request.method == "HEAD" else { return LoopbackResponse(405) }
        try contents.withLock { (contents) throws(SigstoreError) in try renew(&contents) }
        let parts = request.path.split(separator: "/", omittingEmptySubsequences: false).dropFirst()
        let isTarget = parts.count == 2 && parts.first == "targets"
        guard isTarget || parts.count == 1, let name = parts.last, !name.isEmpty, !name.hasPrefix("."),
            let content = folder.read("\(Self.path)/\(parts.joined(separator: "/"))")
        else { return .text(404, "404 page not found\n") }
        return LoopbackResponse(200, contentType: "application/json", body: content)
    }

    // MARK: - What is kept

    private func write(_ bytes: [UInt8], _ name: String) throws(SigstoreError) {
        try folder.write(bytes, to: "\(Self.path)/\(name)")
    }

    /// Makes a key and keeps it under its own name, so that metadata that names it finds it.
    private func makeKey() throws(SigstoreError) -> Key {
        let key = try Key(.generate(.ed25519))
        try folder.keep(key.signer, as: "tuf-\(key.id)")
        return key
    }

    /// Reads what the last run left.
    /// - Returns: `false` if there is nothing.
    private func read(_ contents: inout Contents) throws(SigstoreError) -> Bool {
        func file(_ name: String) throws(SigstoreError) -> JSONCursor {
            guard let bytes = folder.read("\(Self.path)/\(name)") else {
                throw SigstoreError(.localServiceFailed, "\(name) is missing")
            }
            return JSONCursor(try JSONValue(parsing: bytes))
        }
        guard folder.read("\(Self.path)/1.root.json") != nil else { return false }
        var version: Int64 = 1
        while folder.read("\(Self.path)/\(version + 1).root.json") != nil { version += 1 }
        let root = try file("\(version).root.json").member("signed")
        for role in Role.allCases {
            guard let id = try root.member("roles").member(role.rawValue).member("keyids").elements().first?.string(),
                let key = try folder.existingKey("tuf-\(id)")
            else { throw SigstoreError(.localServiceFailed, "the key of the role \(role.rawValue) is missing") }
            contents.keys[role] = try Key(key)
        }
        /// A role's metadata counts as expired if the role's key of today has not signed it: the rotation of the keys
        /// was stopped before that.
        func take(_ role: Role, _ file: JSONCursor) throws(SigstoreError) -> JSONCursor {
            let signed = try file.member("signed")
            contents.versions[role] = try signed.member("version").integer()
            let signers = try file.member("signatures").elements().map { (one) throws(SigstoreError) in
                try one.member("keyid").string()
            }
            let expires = (try? signed.member("expires").string()).flatMap { Instant(rfc3339: $0) }
            let isCurrent = contents.keys[role].map { signers.contains($0.id) } ?? false
            contents.expires[role] = isCurrent ? expires?.seconds ?? 0 : 0
            return signed
        }
        _ = try take(.root, file("\(version).root.json"))
        // A first run that was stopped before it had published anything has a root only.
        guard folder.read("\(Self.path)/timestamp.json") != nil else { return true }
        let timestamp = try take(.timestamp, file("timestamp.json"))
        let snapshotVersion = try timestamp.member("meta").member("snapshot.json").member("version").integer()
        let snapshot = try take(.snapshot, file("\(snapshotVersion).snapshot.json"))
        let targetsVersion = try snapshot.member("meta").member("targets.json").member("version").integer()
        let targets = try take(.targets, file("\(targetsVersion).targets.json"))
        if case .object(let described) = try targets.member("targets").value { contents.targets = described }
        return true
    }

    // MARK: - Signing

    /// Publishes what is due: the role that has changed, what is past half of its life, and what names a new version.
    private func renew(_ contents: inout Contents, _ changed: Role? = nil) throws(SigstoreError) {
        var named = false
        for role in Role.allCases {
            // What has never been published waits for the first targets.
            guard contents.versions[role] != nil || changed != nil else { return }
            let isOld = (contents.expires[role] ?? 0) - now() < role.lifetime / 2
            guard isOld || role == changed || named else { continue }
            try publish(role, &contents)
            // No role's metadata names the root's version.
            named = role != .root
        }
    }

    private func publish(_ role: Role, _ contents: inout Contents, alsoSignedBy old: Key? = nil) throws(SigstoreError) {
        guard let key = contents.keys[role] else {
            throw SigstoreError(.localServiceFailed, "the role \(role.rawValue) has no key")
        }
        let version = (contents.versions[role] ?? 0) + 1
        let expires = now() + role.lifetime
        var signed: JSONObject = [
            "_type": .string(role.rawValue), "spec_version": .string("1.0.31"), "version": .integer(version),
            "expires": .string(Instant(seconds: expires).description),
        ]
        switch role {
        case .root:
            var (keys, roles) = (JSONObject(), JSONObject())
            for role in Role.allCases {
                guard let key = contents.keys[role] else { continue }
                keys[key.id] = key.json
                roles[role.rawValue] = .object(["keyids": .array([.string(key.id)]), "threshold": .integer(1)])
            }
            signed["consistent_snapshot"] = .bool(true)
            signed["keys"] = .object(keys)
            signed["roles"] = .object(roles)
        case .targets: signed["targets"] = .object(contents.targets)
        case .snapshot: signed["meta"] = Self.meta("targets.json", contents.versions[.targets])
        case .timestamp: signed["meta"] = Self.meta("snapshot.json", contents.versions[.snapshot])
        }
        // TUF's canonical JSON and RFC 8785's are the same for names and texts of plain ASCII, which these are.
        let message = JSONValue.object(signed).canonicalized()
        let signatures = try ([key] + (old.map { [$0] } ?? [])).map { (key) throws(SigstoreError) in
            JSONValue.object([
                "keyid": .string(key.id),
                "sig": .string(Hexadecimal.encode(try key.signer.sign(message, scheme: .ed25519))),
            ])
        }
        let file = JSONValue.object(["signatures": .array(signatures), "signed": .object(signed)]).serialized()
        try write(file, role == .timestamp ? "timestamp.json" : "\(version).\(role.rawValue).json")
        if role == .root { try write(file, "root.json") }
        contents.versions[role] = version
        contents.expires[role] = expires
    }

    private static func meta(_ name: String, _ version: Int64?) -> JSONValue {
        .object([name: .object(["version": .integer(version ?? 1)])])
    }
}
