public import SigstoreCrypto
public import StrictJSON

/// What one role signs: root, timestamp, snapshot or targets.
public protocol TUFContent: Sendable {
    /// The value of `_type` (TUF specification 1.0, section 4).
    static var type: String { get }
    /// Reads the members that only this role has.
    /// - Parameter signed: The object `signed`. Members that are not known are left alone, as the specification asks.
    /// - Throws: `SigstoreError` that names the member at fault.
    init(_ signed: JSONCursor) throws(SigstoreError)
}

/// One file of metadata: what is signed, and the signatures over it (TUF specification 1.0, section 4.2).
///
/// Reading it verifies nothing; ``TUFUpdate`` does.
public struct TUFMetadata<Content: TUFContent>: Sendable {
    /// The file, byte for byte.
    public let bytes: [UInt8]
    /// The number of this version, from 1.
    public let version: Int64
    /// From when on the metadata does not count any more.
    public let expires: Instant
    /// What only this role says.
    public let content: Content
    /// What the signatures are over: `signed` in canonical JSON.
    let message: [UInt8]
    /// The signatures; no key stands twice.
    let signatures: [(keyID: [UInt8], bytes: [UInt8])]

    /// Reads a file of metadata.
    /// - Parameter bytes: The whole file.
    /// - Throws: `SigstoreError` with `tuf-malformed`, its cause the member at fault.
    public init(parsing bytes: [UInt8]) throws(SigstoreError) {
        do throws(SigstoreError) {
            let file = JSONCursor(try JSONValue(parsing: bytes))
            let signed = try file.member("signed")
            message = try TUFCanonicalJSON.encode(signed.value)
            let type = try signed.member("_type")
            guard try type.string().utf8.elementsEqual(Content.type.utf8) else {
                throw type.fault("is not \"\(Content.type)\"")
            }
            let specification = try signed.member("spec_version")
            guard try specification.string().utf8.prefix(while: { $0 != 0x2e }).elementsEqual("1".utf8) else {
                throw specification.fault("is not a version 1 of the TUF specification")
            }
            version = try signed.member("version").count(from: 1)
            let expires = try signed.member("expires")
            guard let moment = Instant(rfc3339: try expires.string()) else { throw expires.fault("is not a time") }
            self.expires = moment
            content = try Content(signed)
            signatures = try Self.signatures(file.member("signatures"))
        } catch {
            throw SigstoreError(
                .malformedTUFMetadata, "not valid \(Content.type) metadata: \(error.message)", cause: error)
        }
        self.bytes = bytes
    }

    private static func signatures(_ list: JSONCursor) throws(SigstoreError) -> [(keyID: [UInt8], bytes: [UInt8])] {
        let entries = try list.elements()
        guard entries.count <= TUFLimits.signatures else {
            throw list.fault("has more than \(TUFLimits.signatures) elements")
        }
        var keyIDs: Set<[UInt8]> = []
        var signatures: [(keyID: [UInt8], bytes: [UInt8])] = []
        for entry in entries {
            let keyID = Array(try entry.member("keyid").string().utf8)
            guard keyIDs.insert(keyID).inserted else { throw entry.fault("is a second signature by the same key") }
            // A signature that cannot be read counts like one that does not hold: as none.
            signatures.append((keyID, Hexadecimal.decode(try entry.member("sig").string()) ?? []))
        }
        return signatures
    }

    /// Whether the metadata does not count any more (TUF specification 1.0, section 5, "freeze attack").
    func hasExpired(at time: Instant) -> Bool { expires <= time }
}

/// Bounds on what is read from a repository. Beyond them is an error, never a truncation.
public struct TUFLimits: Sendable {
    /// The most bytes of one root file.
    public var root = 512 << 10
    /// The most bytes of the timestamp file.
    public var timestamp = 16 << 10
    /// The most bytes of the snapshot file.
    public var snapshot = 2 << 20
    /// The most bytes of one targets file.
    public var targets = 5 << 20
    /// The most bytes of a target itself.
    public var target = 64 << 20
    /// How many new root files one update fetches.
    public var rootRotations = 256
    /// How many delegated roles one search visits.
    public var delegations = 32

    /// The bounds that python-tuf has, too.
    public init() {}

    /// How many signatures one file may have.
    static let signatures = 1024
}

// MARK: - Keys and roles

/// A public key as metadata writes it (TUF specification 1.0, section 4.2.3).
public struct TUFKey: Sendable {
    /// The key type, such as `ecdsa`, `ed25519` or `rsa`.
    public let type: String
    /// The signature scheme, such as `ecdsa-sha2-nistp256`.
    public let scheme: String
    /// The key itself: PEM, or hexadecimal for Ed25519.
    public let value: String

    init(_ json: JSONCursor) throws(SigstoreError) {
        type = try json.member("keytype").string()
        scheme = try json.member("scheme").string()
        // Kinds of keys that are not known here may have other members; such a key only verifies nothing.
        if case .string(let text) = try json.member("keyval").optional("public")?.value {
            value = text
        } else {
            value = ""
        }
    }

    /// What every DER SubjectPublicKeyInfo of Ed25519 begins with (RFC 8410, section 4).
    private static let ed25519Prefix: [UInt8] = [
        0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00,
    ]

    /// The key ready for use; `nil` if its type, scheme or value is not one that is supported here.
    func usable() -> (key: PublicKey, scheme: SignatureScheme)? {
        switch (type, scheme) {
        case ("ed25519", "ed25519"):
            guard let raw = Hexadecimal.decode(value), raw.count == 32,
                let key = try? PublicKey(der: Self.ed25519Prefix + raw)
            else { return nil }
            return (key, .ed25519)
        case ("ecdsa", "ecdsa-sha2-nistp256"), ("ecdsa-sha2-nistp256", "ecdsa-sha2-nistp256"):
            return curve(.ecP256, .ecdsa(.sha256))
        case ("ecdsa", "ecdsa-sha2-nistp384"), ("ecdsa-sha2-nistp384", "ecdsa-sha2-nistp384"):
            return curve(.ecP384, .ecdsa(.sha384))
        case ("rsa", "rsassa-pss-sha256"): return rsa(.rsaPSS(.sha256))
        case ("rsa", "rsa-pkcs1v15-sha256"): return rsa(.rsaPKCS1(.sha256))
        default: return nil
        }
    }

    private func curve(_ kind: PublicKey.Kind, _ scheme: SignatureScheme) -> (key: PublicKey, scheme: SignatureScheme)?
    {
        guard let key = try? PublicKey(file: Array(value.utf8)), key.kind == kind else { return nil }
        // The same point can be written in several ways. One is accepted, or one key could count as two.
        let coordinate = kind == .ecP256 ? 32 : 48
        let point = key.spki.suffix(2 * coordinate + 1)
        guard key.spki.count == (kind == .ecP256 ? 91 : 120), point.first == 4 else { return nil }
        return (key, scheme)
    }

    private func rsa(_ scheme: SignatureScheme) -> (key: PublicKey, scheme: SignatureScheme)? {
        guard let key = try? PublicKey(file: Array(value.utf8)), case .rsa = key.kind else { return nil }
        return (key, scheme)
    }
}

/// Who may sign for a role, and how many of them must (TUF specification 1.0, section 4.3).
public struct TUFRole: Sendable {
    /// The keys' identifiers; none stands twice.
    public let keyIDs: [[UInt8]]
    /// How many different keys must have signed, from 1.
    public let threshold: Int64

    init(_ json: JSONCursor) throws(SigstoreError) {
        threshold = try json.member("threshold").count(from: 1)
        let list = try json.member("keyids")
        var keyIDs: [[UInt8]] = []
        var seen: Set<[UInt8]> = []
        for entry in try list.elements() {
            let keyID = Array(try entry.string().utf8)
            guard seen.insert(keyID).inserted else { throw list.fault("names a key twice") }
            keyIDs.append(keyID)
        }
        self.keyIDs = keyIDs
    }

    /// Checks that enough keys signed the metadata. A key counts once, under however many identifiers it stands.
    /// - Parameters:
    ///   - metadata: The file.
    ///   - name: The role's name, for the error.
    ///   - keys: The keys of the role that delegates to this one.
    /// - Throws: `SigstoreError` with `tuf-threshold`.
    func verify<Content>(
        _ metadata: TUFMetadata<Content>, name: String, keys: [[UInt8]: TUFKey]
    ) throws(SigstoreError) {
        var signed: Set<[UInt8]> = []
        for signature in metadata.signatures where keyIDs.contains(signature.keyID) {
            guard let (key, scheme) = keys[signature.keyID]?.usable(), !signed.contains(key.spki) else { continue }
            if try key.verifies(signature.bytes, ofBytes: metadata.message, scheme: scheme) { signed.insert(key.spki) }
        }
        guard Int64(signed.count) >= threshold else {
            throw SigstoreError(
                .tufThreshold,
                "version \(metadata.version) of the \(name) metadata is signed by \(signed.count) of the keys that may "
                    + "sign it, and \(threshold) are needed",
                advice: "do not trust the mirror that sent this; tell the people who run it")
        }
    }

    /// The keys themselves, for comparing two versions of a role.
    func material(_ keys: [[UInt8]: TUFKey]) -> Set<[UInt8]> {
        Set(keyIDs.compactMap { keys[$0].map { Array("\($0.type) \($0.scheme) \($0.value)".utf8) } })
    }
}

extension JSONCursor {
    /// A whole number that is written as a number, not as a string.
    func count(from least: Int64) throws(SigstoreError) -> Int64 {
        guard case .number = value else { throw fault("is not a number") }
        let number = try integer()
        guard number >= least else { throw fault("is \(number), less than \(least)") }
        return number
    }

    /// The members of an object by name, compared as bytes.
    func membersByName() throws(SigstoreError) -> [[UInt8]: JSONCursor] {
        var members: [[UInt8]: JSONCursor] = [:]
        guard case .object(let object) = value else { throw fault("is not an object") }
        for member in object.members { members[Array(member.name.utf8)] = JSONCursor(member.value) }
        return members
    }

    /// Keys by their identifiers.
    func keys() throws(SigstoreError) -> [[UInt8]: TUFKey] {
        var keys: [[UInt8]: TUFKey] = [:]
        for (keyID, json) in try membersByName() { keys[keyID] = try TUFKey(json) }
        return keys
    }
}

// MARK: - The four roles

/// The root role: which keys sign for which role (TUF specification 1.0, section 4.3).
public struct TUFRoot: TUFContent {
    public static var type: String { "root" }

    /// Whether the repository keeps every version of its files under a name of its own.
    public let consistentSnapshot: Bool
    /// The keys by identifier.
    let keys: [[UInt8]: TUFKey]
    let root: TUFRole
    let timestamp: TUFRole
    let snapshot: TUFRole
    let targets: TUFRole

    public init(_ signed: JSONCursor) throws(SigstoreError) {
        consistentSnapshot = try signed.optional("consistent_snapshot")?.bool() ?? false
        keys = try signed.member("keys").keys()
        let roles = try signed.member("roles")
        root = try TUFRole(roles.member("root"))
        timestamp = try TUFRole(roles.member("timestamp"))
        snapshot = try TUFRole(roles.member("snapshot"))
        targets = try TUFRole(roles.member("targets"))
    }

    /// Whether a key that signed timestamps or snapshots under an older root may not do so under this one.
    func revokesOnlineKeys(of older: TUFRoot) -> Bool {
        !older.timestamp.material(older.keys).isSubset(of: timestamp.material(keys))
            || !older.snapshot.material(older.keys).isSubset(of: snapshot.material(keys))
    }
}

/// What is known beforehand about a file: its length and hashes (TUF specification 1.0, sections 4.4 to 4.6).
public struct TUFFileInfo: Sendable {
    /// The length in bytes.
    public let length: Int64?
    /// Digests by the hash functions that are known here.
    public let digests: [Digest]

    /// - Parameter json: The object with `length` and `hashes`.
    /// - Parameter required: Whether both must be there, as for a target.
    init(_ json: JSONCursor, required: Bool) throws(SigstoreError) {
        let length = required ? try json.member("length") : try json.optional("length")
        self.length = try length?.count(from: 0)
        let hashes = required ? try json.member("hashes") : try json.optional("hashes")
        var digests: [Digest] = []
        if let hashes {
            for name in try hashes.names() {
                guard let algorithm = HashAlgorithm(rawValue: name) else { continue }
                digests.append(try Digest(hex: hashes.member(name).string(), algorithm))
            }
            guard !digests.isEmpty else { throw hashes.fault("has no sha256, sha384 or sha512") }
        }
        self.digests = digests
    }

    /// Checks a file against its length and every one of its hashes.
    /// - Throws: `SigstoreError` with `tuf-mismatch`.
    func check(_ bytes: [UInt8], name: String) throws(SigstoreError) {
        if let length, length != Int64(bytes.count) {
            throw SigstoreError(.tufMismatch, "\(name) has \(bytes.count) bytes where \(length) are signed for")
        }
        for expected in digests {
            let found = try Digest.hash(bytes, expected.algorithm)
            guard found.bytes == expected.bytes else {
                throw SigstoreError(.tufMismatch, "\(name) has the digest \(found), and \(expected) is signed for")
            }
        }
    }

    /// How many bytes to accept of a file: its length if that is known.
    /// - Throws: `SigstoreError` with `tuf-mismatch` if it claims more than the limit.
    func limit(atMost most: Int, name: String) throws(SigstoreError) -> Int {
        guard let length else { return most }
        guard let limit = Int(exactly: length), limit <= most else {
            throw SigstoreError(
                .tufMismatch, "\(name) is said to have \(length) bytes, and at most \(most) are accepted")
        }
        return limit
    }
}

/// A file of metadata as the snapshot or the timestamp lists it.
public struct TUFMetaFile: Sendable {
    /// The version that the file must have.
    public let version: Int64
    /// Its length and hashes, if they are given.
    public let info: TUFFileInfo

    init(_ json: JSONCursor) throws(SigstoreError) {
        version = try json.member("version").count(from: 1)
        info = try TUFFileInfo(json, required: false)
    }
}

/// The timestamp role: which snapshot is the current one (TUF specification 1.0, section 4.6).
public struct TUFTimestamp: TUFContent {
    public static var type: String { "timestamp" }
    /// The current snapshot.
    public let snapshot: TUFMetaFile

    public init(_ signed: JSONCursor) throws(SigstoreError) {
        snapshot = try TUFMetaFile(signed.member("meta").member("snapshot.json"))
    }
}

/// The snapshot role: which versions of the targets metadata belong together (TUF specification 1.0, section 4.4).
public struct TUFSnapshot: TUFContent {
    public static var type: String { "snapshot" }
    /// Files by their names, such as `targets.json`.
    let files: [[UInt8]: TUFMetaFile]

    public init(_ signed: JSONCursor) throws(SigstoreError) {
        var files: [[UInt8]: TUFMetaFile] = [:]
        for (name, json) in try signed.member("meta").membersByName() { files[name] = try TUFMetaFile(json) }
        self.files = files
    }

    func file(ofRole role: String) -> TUFMetaFile? { files[Array("\(role).json".utf8)] }
}

/// The targets role, or a role it delegates to (TUF specification 1.0, section 4.5).
public struct TUFTargets: TUFContent {
    public static var type: String { "targets" }
    /// Targets by their path names.
    let targets: [[UInt8]: TUFFileInfo]
    /// The keys of the roles that this one delegates to.
    let keys: [[UInt8]: TUFKey]
    /// The roles that this one delegates to, in order of their priority.
    public let delegations: [TUFDelegation]

    public init(_ signed: JSONCursor) throws(SigstoreError) {
        var targets: [[UInt8]: TUFFileInfo] = [:]
        for (name, json) in try signed.member("targets").membersByName() {
            targets[name] = try TUFFileInfo(json, required: true)
        }
        self.targets = targets
        guard let json = try signed.optional("delegations") else {
            keys = [:]
            delegations = []
            return
        }
        keys = try json.member("keys").keys()
        if let succinct = try json.optional("succinct_roles") {
            guard try json.optional("roles") == nil else { throw json.fault("has both roles and succinct_roles") }
            delegations = [try TUFDelegation(succinct: succinct)]
        } else {
            var names: Set<[UInt8]> = []
            var delegations: [TUFDelegation] = []
            for entry in try json.member("roles").elements() {
                let delegation = try TUFDelegation(entry)
                guard names.insert(Array(delegation.name.utf8)).inserted else {
                    throw entry.fault("delegates to a role for the second time")
                }
                delegations.append(delegation)
            }
            self.delegations = delegations
        }
    }
}

/// Trust that one targets role gives to another, for some of the targets (TUF specification 1.0, section 4.5).
public struct TUFDelegation: Sendable {
    enum Scope: Sendable {
        case paths([String])
        case hashPrefixes([String])
        /// TAP 15: 2^bits roles, each for the targets whose hash begins with its number.
        case bins(bits: Int)
    }

    /// The role's name, or what the names of its bins begin with.
    public let name: String
    /// Whether roles after this one are not asked any more, for targets that it is trusted with.
    public let isTerminating: Bool
    let role: TUFRole
    let scope: Scope

    init(_ json: JSONCursor) throws(SigstoreError) {
        name = try json.member("name").string()
        try Self.check(name, json)
        role = try TUFRole(json)
        isTerminating = try json.optional("terminating")?.bool() ?? false
        switch (try json.optional("paths"), try json.optional("path_hash_prefixes")) {
        case (let paths?, nil): scope = .paths(try Self.strings(paths))
        case (nil, let prefixes?): scope = .hashPrefixes(try Self.strings(prefixes))
        default: throw json.fault("must have either paths or path_hash_prefixes")
        }
    }

    init(succinct json: JSONCursor) throws(SigstoreError) {
        name = try json.member("name_prefix").string()
        try Self.check(name, json)
        role = try TUFRole(json)
        isTerminating = false
        let bits = try json.member("bit_length")
        guard let number = Int(exactly: try bits.count(from: 1)), number <= 32 else {
            throw bits.fault("is not a number of bits from 1 to 32")
        }
        scope = .bins(bits: number)
    }

    private static func check(_ name: String, _ json: JSONCursor) throws(SigstoreError) {
        // A delegated role of such a name would be stored in place of the real one.
        let reserved = [TUFRoot.type, TUFTimestamp.type, TUFSnapshot.type, TUFTargets.type]
        guard !name.isEmpty, !reserved.contains(where: { $0.utf8.elementsEqual(name.utf8) }) else {
            throw json.fault("delegates to a role that may not be named \"\(name)\"")
        }
    }

    private static func strings(_ list: JSONCursor) throws(SigstoreError) -> [String] {
        var strings: [String] = []
        for element in try list.elements() { strings.append(try element.string()) }
        return strings
    }

    /// The name of the role that is trusted with a target.
    /// - Parameters:
    ///   - target: The target's path name.
    ///   - digest: Its SHA-256.
    /// - Returns: `nil` if this delegation is not about that target.
    func roleName(for target: String, digest: Digest) -> String? {
        switch scope {
        case .paths(let patterns): return patterns.contains { Self.matches(target, pattern: $0) } ? name : nil
        case .hashPrefixes(let prefixes):
            return prefixes.contains { digest.hex.utf8.starts(with: $0.utf8) } ? name : nil
        case .bins(let bits):
            let head = digest.bytes.prefix(4).reduce(UInt32(0)) { $0 << 8 | UInt32($1) }
            let number = String(head >> UInt32(32 - bits), radix: 16)
            return "\(name)-\(String(repeating: "0", count: max(0, (bits + 3) / 4 - number.count)))\(number)"
        }
    }

    /// Whether a path matches a pattern in which `*` stands for any characters and `?` for one, neither for a slash.
    static func matches(_ path: String, pattern: String) -> Bool {
        let path = Array(path.unicodeScalars)
        let pattern = Array(pattern.unicodeScalars)
        var (at, wanted) = (0, 0)
        // Where to go on when what follows the last star does not match: one character more for the star.
        var retry: (at: Int, wanted: Int)?
        while at < path.count {
            if wanted < pattern.count, pattern[wanted] == "*" {
                wanted += 1
                retry = (at, wanted)
            } else if wanted < pattern.count,
                pattern[wanted] == path[at] || (pattern[wanted] == "?" && path[at] != "/")
            {
                at += 1
                wanted += 1
            } else if let last = retry, path[last.at] != "/" {
                retry = (last.at + 1, last.wanted)
                (at, wanted) = (last.at + 1, last.wanted)
            } else {
                return false
            }
        }
        return pattern[wanted...].allSatisfy { $0 == "*" }
    }
}

extension SigstoreError.Code {
    /// Metadata of a TUF repository that cannot be read.
    public static let malformedTUFMetadata = Self("tuf-malformed")
    /// Metadata that too few of the right keys have signed.
    public static let tufThreshold = Self("tuf-threshold")
    /// A file whose length, hash or version is not the one that is signed for.
    public static let tufMismatch = Self("tuf-mismatch")
}
