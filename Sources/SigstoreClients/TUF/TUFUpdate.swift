internal import SigstoreCrypto
public import StrictJSON

/// The client workflow of TUF (specification 1.0, section 5) as a machine that takes files in and lets no wrong one
/// pass. It reads no disk and no network: the caller brings the bytes, in the order of the specification:
/// roots, ``finishRoot()``, timestamp, snapshot, targets.
///
/// Every expiry is judged by one time, that of the beginning (section 5.1).
public struct TUFUpdate: Sendable {
    /// What happens to metadata that has expired.
    public enum Expiry: Sendable {
        /// It is refused.
        case enforced
        /// It is used, and named in ``TUFUpdate/expired``: for work without a network only.
        case noted
    }

    /// When the update began.
    public let time: Instant
    /// What happens to metadata that has expired.
    public let expiry: Expiry
    /// The newest root that is trusted.
    public private(set) var root: TUFMetadata<TUFRoot>
    /// The version of the newest root that took the right to sign timestamps or snapshots from a key; 0 for none.
    /// What such keys signed before is not used against newer files any more (section 5.3.11, "fast-forward attack").
    public private(set) var onlineKeysRevokedIn: Int64 = 0
    /// The timestamp, once there is one.
    public private(set) var timestamp: TUFMetadata<TUFTimestamp>?
    /// The snapshot, once there is one.
    public private(set) var snapshot: TUFMetadata<TUFSnapshot>?
    /// Roles whose metadata has expired and is used all the same.
    public private(set) var expired: [String] = []
    /// Targets roles by name, each with who delegated to it.
    private var targets: [[UInt8]: TUFMetadata<TUFTargets>] = [:]
    private var rootIsFinal = false

    /// Begins an update (section 5.2).
    /// - Parameters:
    ///   - root: The root file to trust from the start. It must be signed by itself; it may have expired.
    ///   - time: The time by which every expiry is judged.
    ///   - expiry: What happens to metadata that has expired.
    /// - Throws: `SigstoreError` with `tuf-malformed` or `tuf-threshold`.
    public init(trusting root: [UInt8], at time: Instant, expiry: Expiry = .enforced) throws(SigstoreError) {
        let root = try TUFMetadata<TUFRoot>(parsing: root)
        try root.content.root.verify(root, name: "root", keys: root.content.keys)
        self.root = root
        self.time = time
        self.expiry = expiry
    }

    /// Takes the next root (sections 5.3.3 to 5.3.8).
    /// - Parameter bytes: A root file whose version is the trusted one's successor, signed as both of them ask.
    /// - Throws: `SigstoreError` with `tuf-malformed`, `tuf-threshold` or `tuf-rollback`.
    public mutating func takeRoot(_ bytes: [UInt8]) throws(SigstoreError) {
        try expect(!rootIsFinal)
        let next = try TUFMetadata<TUFRoot>(parsing: bytes)
        try root.content.root.verify(next, name: "root", keys: root.content.keys)
        let (successor, overflow) = root.version.addingReportingOverflow(1)
        guard !overflow, next.version == successor else {
            throw SigstoreError(
                .tufRollback,
                "the root metadata has version \(next.version) where the successor of "
                    + "\(root.version) should be", advice: "the mirror is damaged or under attack; nothing was changed")
        }
        try next.content.root.verify(next, name: "root", keys: next.content.keys)
        if next.content.revokesOnlineKeys(of: root.content) { onlineKeysRevokedIn = next.version }
        root = next
    }

    /// No newer root is to be had: the trusted one must not have expired (section 5.3.10).
    /// - Throws: `SigstoreError` with `tuf-expired`.
    public mutating func finishRoot() throws(SigstoreError) {
        try expect(!rootIsFinal)
        try judge(root, name: "root")
        rootIsFinal = true
    }

    /// Takes a timestamp that was accepted in an earlier update, so that the repository cannot go back behind it.
    /// It may have expired.
    /// - Throws: `SigstoreError` if it cannot be read or this root's keys did not sign it.
    public mutating func takeStoredTimestamp(_ bytes: [UInt8]) throws(SigstoreError) {
        try expect(rootIsFinal && timestamp == nil)
        let stored = try TUFMetadata<TUFTimestamp>(parsing: bytes)
        try root.content.timestamp.verify(stored, name: "timestamp", keys: root.content.keys)
        timestamp = stored
    }

    /// Takes the timestamp that the repository has now (section 5.4).
    /// - Parameter bytes: The file.
    /// - Returns: Whether it is newer than the stored one and to be stored in its place. A file of the same version
    ///   is dropped, whatever else it says.
    /// - Throws: `SigstoreError` with `tuf-malformed`, `tuf-threshold`, `tuf-rollback` or `tuf-expired`.
    public mutating func takeTimestamp(_ bytes: [UInt8]) throws(SigstoreError) -> Bool {
        try expect(rootIsFinal && snapshot == nil)
        let new = try TUFMetadata<TUFTimestamp>(parsing: bytes)
        try root.content.timestamp.verify(new, name: "timestamp", keys: root.content.keys)
        if let old = timestamp {
            try Self.refuseRollback("timestamp", from: old.version, to: new.version)
            if new.version == old.version {
                try judge(old, name: "timestamp")
                return false
            }
            try Self.refuseRollback(
                "snapshot", from: old.content.snapshot.version, to: new.content.snapshot.version)
        }
        try judge(new, name: "timestamp")
        timestamp = new
        return true
    }

    /// Makes the stored timestamp the one that counts, if the repository is not asked.
    /// - Throws: `SigstoreError` with `tuf-expired`.
    public mutating func useStoredTimestamp() throws(SigstoreError) {
        guard let timestamp else { throw Self.missing("timestamp") }
        try judge(timestamp, name: "timestamp")
    }

    /// Takes a snapshot that was accepted in an earlier update. It may have expired, and it may be an older one than
    /// the timestamp names: then it is there to show what the repository may not go back behind.
    /// - Returns: Whether it is the very snapshot that the timestamp names and still counts.
    /// - Throws: `SigstoreError` if it cannot be read or this root's keys did not sign it.
    public mutating func takeStoredSnapshot(_ bytes: [UInt8]) throws(SigstoreError) -> Bool {
        try expect(snapshot == nil)
        let stored = try verifiedSnapshot(bytes)
        snapshot = stored
        do throws(SigstoreError) {
            try checkCurrent(stored)
            return true
        } catch {
            return false
        }
    }

    /// Takes the snapshot that the timestamp names (section 5.5).
    /// - Throws: `SigstoreError` with `tuf-malformed`, `tuf-threshold`, `tuf-mismatch`, `tuf-rollback` or
    ///   `tuf-expired`.
    public mutating func takeSnapshot(_ bytes: [UInt8]) throws(SigstoreError) {
        try expect(targets.isEmpty)
        guard let named = timestamp?.content.snapshot else { throw Self.missing("timestamp") }
        try named.info.check(bytes, name: "the snapshot metadata")
        let new = try verifiedSnapshot(bytes)
        for (name, file) in snapshot?.content.files ?? [:] {
            let shown = String(decoding: name, as: UTF8.self)
            guard let listed = new.content.files[name] else {
                throw SigstoreError(
                    .tufRollback, "version \(new.version) of the snapshot metadata does not list \(shown) any more",
                    advice: "the mirror is damaged or under attack; nothing was changed")
            }
            try Self.refuseRollback(shown, from: file.version, to: listed.version)
        }
        try checkCurrent(new)
        snapshot = new
    }

    private func verifiedSnapshot(_ bytes: [UInt8]) throws(SigstoreError) -> TUFMetadata<TUFSnapshot> {
        try expect(rootIsFinal && timestamp != nil)
        let snapshot = try TUFMetadata<TUFSnapshot>(parsing: bytes)
        try root.content.snapshot.verify(snapshot, name: "snapshot", keys: root.content.keys)
        return snapshot
    }

    /// Checks that a snapshot is the one that the timestamp names, and has not expired.
    private mutating func checkCurrent(_ snapshot: TUFMetadata<TUFSnapshot>) throws(SigstoreError) {
        guard let named = timestamp?.content.snapshot else { throw Self.missing("timestamp") }
        guard snapshot.version == named.version else {
            throw Self.mismatch("snapshot", found: snapshot.version, named: named.version, by: "timestamp")
        }
        try named.info.check(snapshot.bytes, name: "the snapshot metadata")
        try judge(snapshot, name: "snapshot")
    }

    /// What the snapshot says about a targets role's file.
    /// - Throws: `SigstoreError` with `tuf-mismatch` if it says nothing.
    public func file(ofRole role: String) throws(SigstoreError) -> TUFMetaFile {
        guard let file = snapshot?.content.file(ofRole: role) else {
            throw SigstoreError(.tufMismatch, "the snapshot metadata says nothing of the role \"\(role)\"")
        }
        return file
    }

    /// Takes the metadata of a targets role (sections 5.6 and 5.6.7).
    /// - Parameters:
    ///   - bytes: The file.
    ///   - role: The role's name: `targets`, or a delegated role.
    ///   - delegation: What trust the role has from its parent, with the parent's name; `nil` for `targets`, which
    ///     the root trusts.
    /// - Returns: The metadata.
    /// - Throws: `SigstoreError` with `tuf-malformed`, `tuf-threshold`, `tuf-mismatch` or `tuf-expired`.
    @discardableResult
    public mutating func takeTargets(
        _ bytes: [UInt8], role: String = TUFTargets.type, delegation: (parent: String, role: TUFRole)? = nil
    ) throws(SigstoreError) -> TUFMetadata<TUFTargets> {
        // A snapshot that was only loaded to compare with may be another one than the timestamp names.
        guard let snapshot else { throw Self.missing("snapshot") }
        try checkCurrent(snapshot)
        let file = try file(ofRole: role)
        try file.info.check(bytes, name: "the metadata of the role \"\(role)\"")
        let metadata = try TUFMetadata<TUFTargets>(parsing: bytes)
        if let delegation {
            guard let parent = targets[Array(delegation.parent.utf8)] else { throw Self.missing(delegation.parent) }
            try delegation.role.verify(metadata, name: role, keys: parent.content.keys)
        } else {
            try root.content.targets.verify(metadata, name: role, keys: root.content.keys)
        }
        guard metadata.version == file.version else {
            throw Self.mismatch(role, found: metadata.version, named: file.version, by: "snapshot")
        }
        try judge(metadata, name: role)
        targets[Array(role.utf8)] = metadata
        return metadata
    }

    /// The metadata of the top targets role, once there is some.
    public var topTargets: TUFMetadata<TUFTargets>? { targets[Array(TUFTargets.type.utf8)] }

    // MARK: - Checks

    private mutating func judge<Content>(_ metadata: TUFMetadata<Content>, name: String) throws(SigstoreError) {
        guard metadata.hasExpired(at: time) else { return }
        switch expiry {
        case .enforced:
            throw SigstoreError(
                .tufExpired,
                "version \(metadata.version) of the \(name) metadata expired at \(metadata.expires)",
                advice: "check this machine's clock; if it is right, the mirror is out of date or held back")
        case .noted:
            if !expired.contains(where: { $0.utf8.elementsEqual(name.utf8) }) { expired.append(name) }
        }
    }

    private static func refuseRollback(_ name: String, from old: Int64, to new: Int64) throws(SigstoreError) {
        guard new >= old else {
            throw SigstoreError(
                .tufRollback, "the mirror offers version \(new) of \(name) where version \(old) was seen before",
                advice: "the mirror is damaged or under attack; nothing was changed")
        }
    }

    private static func mismatch(_ name: String, found: Int64, named: Int64, by role: String) -> SigstoreError {
        SigstoreError(
            .tufMismatch, "the \(name) metadata has version \(found), and the \(role) metadata names \(named)")
    }

    private static func missing(_ name: String) -> SigstoreError {
        SigstoreError(.tufOrder, "there is no trusted \(name) metadata yet")
    }

    private func expect(_ holds: Bool) throws(SigstoreError) {
        guard holds else { throw SigstoreError(.tufOrder, "metadata was given in another order than the workflow's") }
    }
}

/// The search for a target through delegations, in order of trust: depth first, parents before children
/// (TUF specification 1.0, section 5.6.7).
///
/// The caller asks for the next role, brings its metadata, and so on until the target is found or no role is left.
public struct TUFTargetSearch: Sendable {
    /// A role to be looked into.
    public struct Step: Sendable {
        /// The role's name.
        public let role: String
        /// Who delegates to it, and on which terms; `nil` for the top role.
        public let delegation: (parent: String, role: TUFRole)?
    }

    /// The target's path name.
    public let target: String
    private let digest: Digest
    private let limit: Int
    private var waiting: [Step] = [Step(role: TUFTargets.type, delegation: nil)]
    private var visited: Set<[UInt8]> = []

    /// Begins a search.
    /// - Parameters:
    ///   - target: The target's path name.
    ///   - limit: How many delegated roles are looked into at most.
    public init(for target: String, limit: Int = TUFLimits().delegations) throws(SigstoreError) {
        self.target = target
        self.limit = limit
        digest = try Digest.sha256(target.utf8)
    }

    /// The role to look into next; `nil` if none is left.
    /// - Throws: `SigstoreError` with `tuf-delegations` if there are too many.
    public mutating func next() throws(SigstoreError) -> Step? {
        while let step = waiting.popLast() {
            // Each role is visited once, so delegations in a circle come to an end.
            guard visited.insert(Array(step.role.utf8)).inserted else { continue }
            guard visited.count <= limit + 1 else {
                throw SigstoreError(
                    .tufDelegations, "more than \(limit) delegated roles would have to be searched for \"\(target)\"")
            }
            return step
        }
        return nil
    }

    /// Looks into a role's metadata.
    /// - Parameters:
    ///   - metadata: What ``TUFUpdate`` accepted for the role.
    ///   - role: The role's name.
    /// - Returns: The target, if the role has it. Otherwise the roles that it delegates to are looked into next.
    public mutating func look(into metadata: TUFMetadata<TUFTargets>, role: String) -> TUFFileInfo? {
        if let found = metadata.content.targets[Array(target.utf8)] { return found }
        var children: [Step] = []
        for delegation in metadata.content.delegations {
            guard let name = delegation.roleName(for: target, digest: digest) else { continue }
            children.append(Step(role: name, delegation: (parent: role, role: delegation.role)))
            if delegation.isTerminating {
                waiting = []
                break
            }
        }
        waiting.append(contentsOf: children.reversed())
        return nil
    }
}

extension SigstoreError.Code {
    /// Metadata of a TUF repository that has expired.
    public static let tufExpired = Self("tuf-expired")
    /// A repository that goes back to something older than was seen before.
    public static let tufRollback = Self("tuf-rollback")
    /// Metadata that was given in another order than that of the workflow.
    public static let tufOrder = Self("tuf-order")
    /// Delegations without end.
    public static let tufDelegations = Self("tuf-delegations")
}
