internal import HTTPTransport
internal import LocalSystem
internal import SigstoreCrypto
public import StrictJSON

/// A TUF client (specification 1.0, section 5): gets targets from a mirror and keeps what it has verified.
public struct TUFClient: Sendable {
    /// When the mirror is asked.
    public enum Freshness: Sendable {
        /// Once a day. If the mirror cannot be reached, metadata that has not expired is used, with a notice; if none was ever
        /// verified on this machine, ``Configuration/embeddedWithoutNetwork``.
        case daily
        /// Every time. If the mirror cannot be reached, that is an error.
        case now
        /// Never. What was verified last is used even if it has expired, with a notice.
        case offline
    }

    /// How a client works.
    public struct Configuration: Sendable {
        /// The mirror's URL, under which the metadata lies.
        public var mirror: String
        /// The URL under which the targets lie; `targets` on the mirror if there is none.
        public var targetsURL: String?
        /// The root file that everything is verified from.
        public var root: [UInt8]
        /// Where verified files are kept; `nil` to keep nothing.
        public var cache: TUFCache?
        /// When the mirror is asked.
        public var freshness: Freshness
        /// Bounds on what is read.
        public var limits = TUFLimits()
        /// Targets that the caller brings along, by name. They serve in place of a download of the very same bytes, and
        /// offline if no metadata was ever verified on this machine.
        public var embeddedTarget: @Sendable (String) -> [UInt8]? = { _ in nil }
        /// When the targets that the caller brings along were the current ones, for the notice that they are used.
        public var embeddedDate: Instant?
        /// Those of them that serve in the same way if the mirror is to be asked and nothing answers.
        public var embeddedWithoutNetwork: [String] = []
        /// What time it is.
        public var clock: @Sendable () -> Instant = { Instant(seconds: SystemClock.now()) }
        /// Takes what the user should know though the work goes on.
        public var notice: @Sendable (SigstoreError) -> Void = { _ in }

        /// Makes a configuration.
        /// - Parameters:
        ///   - mirror: The mirror's URL: `https`, `http` or `file`.
        ///   - root: The root file that everything is verified from.
        ///   - cache: Where verified files are kept; `nil` to keep nothing.
        ///   - freshness: When the mirror is asked.
        public init(mirror: String, root: [UInt8], cache: TUFCache?, freshness: Freshness = .daily) {
            self.mirror = mirror
            self.root = root
            self.cache = cache
            self.freshness = freshness
        }
    }

    /// How this client works.
    public let configuration: Configuration
    let fetcher: any TUFFetcher

    /// Makes a client.
    /// - Parameters:
    ///   - configuration: How it works.
    ///   - fetcher: Who brings files from the mirror.
    public init(_ configuration: Configuration, fetcher: any TUFFetcher) {
        self.configuration = configuration
        self.fetcher = fetcher
    }

    /// Gets a target.
    /// - Parameter name: Its path name in the repository, such as `trusted_root.json`.
    /// - Returns: Bytes that the repository's keys have signed for.
    /// - Throws: `SigstoreError`: what ``TUFUpdate`` throws; `tuf-unreachable`, `tuf-missing` if the mirror lacks a
    ///   file, `tuf-no-target` if the metadata has no such target, `tuf-target-name`, `tuf-offline`.
    public func target(_ name: String) async throws(SigstoreError) -> [UInt8] {
        try Self.check(name)
        let now = configuration.clock()
        switch configuration.freshness {
        case .offline: return try await offlineTarget(name, now)
        case .now: break
        case .daily:
            // Reading is safe without the lock: whatever does not fit together is not accepted. What is wrong with it
            // is said once, below.
            var quiet = configuration
            quiet.notice = { _ in }
            if wasCheckedToday(now), let target = try? await TUFClient(quiet, fetcher: fetcher).storedTarget(name, now)
            {
                return target
            }
        }
        let lock = try await lock()
        defer { withExtendedLifetime(lock) {} }
        var update: TUFUpdate
        do throws(SigstoreError) {
            update = try await current(now, writing: lock != nil)
        } catch {
            guard configuration.freshness == .daily, error.code == .tufUnreachable,
                let cause = error.cause as? SigstoreError, Self.isWithoutNetwork(cause),
                configuration.embeddedWithoutNetwork.contains(name), !hasSeenMetadata(),
                let target = configuration.embeddedTarget(name)
            else { throw error }
            notice(
                .tufUnreachable,
                "\(embedded(name, now)), since the TUF mirror \(configuration.mirror) cannot be asked", cause)
            return target
        }
        return try await find(name, &update, fetching: true, writing: lock != nil)
    }

    /// Whether nothing answered. A mirror that answers, with an error or without the right certificate, is another matter.
    private static func isWithoutNetwork(_ error: SigstoreError) -> Bool {
        [.unreachable, .timedOut].contains(error.code)
    }

    /// What is said where a target that the caller brings along is used.
    private func embedded(_ name: String, _ now: Instant) -> String {
        let which = "\(name) is the one this program came with"
        guard let date = configuration.embeddedDate else { return which }
        let days = max(0, now.seconds - date.seconds) / 86_400
        return "\(which), \(days) days old (as of \(date.description.prefix(10)))"
    }

    /// Brings the metadata of the top roles up to date, whatever ``Configuration/freshness`` says.
    /// - Returns: The state that was reached.
    /// - Throws: `SigstoreError` as ``target(_:)`` does. What was verified before the failure is kept.
    @discardableResult
    public func refresh() async throws(SigstoreError) -> TUFUpdate {
        let lock = try await lock()
        defer { withExtendedLifetime(lock) {} }
        return try await renewed(configuration.clock(), writing: lock != nil)
    }

    /// What is kept of the mirror's metadata, verified from the root that is trusted from the start, whether it has expired
    /// or not. Nothing is asked for or written.
    /// - Returns: The state that the kept files make up; `nil` if nothing was ever kept.
    /// - Throws: `SigstoreError` as ``TUFUpdate`` does, or with `tuf-missing`, if they do not make up one.
    public func kept() throws(SigstoreError) -> TUFUpdate? {
        guard hasSeenMetadata() else { return nil }
        return try loaded(configuration.clock(), .noted)
    }

    /// When the mirror was last asked, as far as that was noted.
    public var lastChecked: Instant? {
        guard let bytes = try? configuration.cache?.read(Self.lastCheck, limit: 64) else { return nil }
        return Int64(String(decoding: bytes.prefix { $0 != 0x0a }, as: UTF8.self)).map { Instant(seconds: $0) }
    }

    /// Asks the mirror as ``refresh()`` does, and verifies what it has against what is kept; but keeps nothing of it.
    /// - Returns: The state that a refresh would reach.
    /// - Throws: `SigstoreError` as ``refresh()`` does.
    public func tried() async throws(SigstoreError) -> TUFUpdate {
        try await onBlockingExecutor { () throws(SigstoreError) in
            try await renewed(configuration.clock(), writing: false)
        }
    }

    // MARK: - What is kept

    /// The lock on the cache; `nil` if the cache cannot be written to, which costs a download each time.
    private func lock() async throws(SigstoreError) -> FileLock? {
        guard let cache = configuration.cache else { return nil }
        do throws(SigstoreError) {
            return try await cache.lock()
        } catch {
            if error.code == .cancelled { throw error }
            notice(.tufCache, "the TUF cache cannot be written to, so metadata is fetched each time", error)
            return nil
        }
    }

    private func wasCheckedToday(_ now: Instant) -> Bool {
        guard let last = lastChecked else { return false }
        let (age, overflow) = now.milliseconds.subtractingReportingOverflow(last.milliseconds)
        // A check that lies in the future was noted by a clock that was wrong, then or now.
        return !overflow && (0..<86_400_000).contains(age)
    }

    private static let lastCheck = "last-check"

    /// Reads a file of the cache; one that cannot be read is noticed and does not count.
    private func stored(_ path: String, limit: Int) -> [UInt8]? {
        do throws(SigstoreError) {
            return try configuration.cache?.read(path, limit: limit)
        } catch {
            damaged(path, error)
            return nil
        }
    }

    private func damaged(_ path: String, _ error: SigstoreError) {
        notice(.tufCache, "\(path) in the TUF cache is damaged and is not used", error)
    }

    private func store(_ bytes: [UInt8], as path: String, writing: Bool) {
        guard writing, let cache = configuration.cache else { return }
        do throws(SigstoreError) {
            try cache.write(bytes, to: path)
        } catch {
            notice(.tufCache, "the TUF cache cannot be written to", error)
        }
    }

    private func notice(_ code: SigstoreError.Code, _ message: String, _ cause: SigstoreError? = nil) {
        configuration.notice(SigstoreError(code, cause.map { "\(message): \($0.message)" } ?? message, cause: cause))
    }

    // MARK: - Without the network

    /// The newest root that the kept ones lead to from the one that is trusted from the start.
    private func begin(_ now: Instant, _ expiry: TUFUpdate.Expiry) throws(SigstoreError) -> TUFUpdate {
        var update = try TUFUpdate(trusting: configuration.root, at: now, expiry: expiry)
        while true {
            let (next, overflow) = update.root.version.addingReportingOverflow(1)
            let path = Self.historyPath(next)
            guard !overflow, let bytes = stored(path, limit: configuration.limits.root) else { return update }
            do throws(SigstoreError) {
                try update.takeRoot(bytes)
            } catch {
                damaged(path, error)
                return update
            }
        }
    }

    private static func historyPath(_ version: Int64) -> String { "root_history/\(version).root.json" }

    /// The state that the kept files make up by themselves.
    private func loaded(_ now: Instant, _ expiry: TUFUpdate.Expiry) throws(SigstoreError) -> TUFUpdate {
        var update = try begin(now, expiry)
        try update.finishRoot()
        guard let timestamp = stored("timestamp.json", limit: configuration.limits.timestamp),
            let snapshot = stored("snapshot.json", limit: configuration.limits.snapshot)
        else { throw SigstoreError(.tufMissing, "the TUF cache does not hold all metadata") }
        try update.takeStoredTimestamp(timestamp)
        try update.useStoredTimestamp()
        guard try update.takeStoredSnapshot(snapshot) else {
            throw SigstoreError(.tufMissing, "the TUF cache does not hold the snapshot that its timestamp names")
        }
        guard let targets = stored("targets.json", limit: configuration.limits.targets) else {
            throw SigstoreError(.tufMissing, "the TUF cache does not hold all metadata")
        }
        try update.takeTargets(targets)
        return update
    }

    private func storedTarget(_ name: String, _ now: Instant) async throws(SigstoreError) -> [UInt8] {
        var update = try loaded(now, .enforced)
        return try await find(name, &update, fetching: false, writing: false)
    }

    private func offlineTarget(_ name: String, _ now: Instant) async throws(SigstoreError) -> [UInt8] {
        if !hasSeenMetadata(), let target = configuration.embeddedTarget(name) {
            notice(.tufOffline, "offline, and nothing was ever fetched here: \(embedded(name, now))")
            return target
        }
        do throws(SigstoreError) {
            var update = try loaded(now, .noted)
            // A root of a later version was accepted here once. An older one does not do in its place.
            if let newest = newestRootSeen(), newest > update.root.version {
                throw SigstoreError(
                    .tufCache, "version \(newest) of the root metadata was seen here and cannot be verified any more")
            }
            let target = try await find(name, &update, fetching: false, writing: false)
            if !update.expired.isEmpty {
                notice(
                    .tufExpired,
                    "offline: \(name) is the newest that was verified here, but the metadata of "
                        + "\(update.expired.joined(separator: ", ")) has expired")
            }
            return target
        } catch {
            throw SigstoreError(
                .tufOffline, "offline, and no verified \(name) is at hand: \(error.message)",
                advice: "run once with a network", cause: error)
        }
    }

    /// Whether anything was ever kept here, readable or not, that may be newer than what the caller brings along.
    private func hasSeenMetadata() -> Bool {
        guard let cache = configuration.cache else { return false }
        let files = ["root.json", "timestamp.json", "snapshot.json", "targets.json", Self.lastCheck]
        return !cache.rootHistory().isEmpty
            || files.contains { path in
                do throws(SigstoreError) {
                    guard let kept = try cache.read(path, limit: configuration.limits.targets) else { return false }
                    // The root that everything begins with is kept before the mirror is asked, and says nothing new; nor
                    // does the older one that cosign, which shares this folder, came with.
                    guard path == "root.json" else { return true }
                    return try TUFMetadata<TUFRoot>(parsing: kept).version
                        > TUFMetadata<TUFRoot>(parsing: configuration.root).version
                } catch {
                    return true
                }
            }
    }

    private func newestRootSeen() -> Int64? {
        var versions = configuration.cache?.rootHistory() ?? []
        if let root = previousRoot() { versions.append(root.version) }
        return versions.max()
    }

    /// The root that the last update ended with, as it stands in `root.json`.
    private func previousRoot() -> TUFMetadata<TUFRoot>? {
        guard let bytes = try? configuration.cache?.read("root.json", limit: configuration.limits.root) else {
            return nil
        }
        return try? TUFMetadata<TUFRoot>(parsing: bytes)
    }

    // MARK: - With the network

    /// The state to look for a target in, fetched or not, as ``Configuration/freshness`` asks.
    private func current(_ now: Instant, writing: Bool) async throws(SigstoreError) -> TUFUpdate {
        guard configuration.freshness == .daily else { return try await renewed(now, writing: writing) }
        // Another process that held the lock before may have done the work, and noted a time after our beginning.
        if wasCheckedToday(configuration.clock()), let update = try? loaded(now, .enforced) { return update }
        do throws(SigstoreError) {
            return try await renewed(now, writing: writing)
        } catch {
            guard error.code == .tufUnreachable else { throw error }
            let failure = error
            do throws(SigstoreError) {
                let update = try loaded(now, .enforced)
                notice(.tufUnreachable, "verified metadata from before is used, since \(failure.message)", failure)
                return update
            } catch {
                var explained = failure
                explained.message += "; what is kept does not do either: \(error.message)"
                explained.advice = "try again later, with a network"
                throw explained
            }
        }
    }

    /// Fetches whatever is new (sections 5.3 to 5.6), keeping each file once it is verified.
    private func renewed(_ now: Instant, writing: Bool) async throws(SigstoreError) -> TUFUpdate {
        var update = try begin(now, .enforced)
        let previous = previousRoot()
        let before = previous?.version ?? update.root.version
        do throws(SigstoreError) {
            try await fetchRoots(&update, writing: writing)
        } catch {
            settleRoot(update, previous, before, writing: writing)
            throw error
        }
        let keepsOnline = settleRoot(update, previous, before, writing: writing)
        try update.finishRoot()

        if keepsOnline, let bytes = stored("timestamp.json", limit: configuration.limits.timestamp) {
            do throws(SigstoreError) {
                try update.takeStoredTimestamp(bytes)
            } catch {
                if error.code != .tufThreshold { damaged("timestamp.json", error) }
            }
        }
        let timestamp = try await fetched("timestamp.json", limit: configuration.limits.timestamp)
        if try update.takeTimestamp(timestamp) { store(timestamp, as: "timestamp.json", writing: writing) }

        var hasSnapshot = false
        if keepsOnline, let bytes = stored("snapshot.json", limit: configuration.limits.snapshot) {
            do throws(SigstoreError) {
                hasSnapshot = try update.takeStoredSnapshot(bytes)
            } catch {
                if error.code != .tufThreshold { damaged("snapshot.json", error) }
            }
        }
        if !hasSnapshot, let named = update.timestamp?.content.snapshot {
            let bytes = try await fetched(
                versioned("snapshot.json", named.version, update),
                limit: try named.info.limit(atMost: configuration.limits.snapshot, name: "the snapshot metadata"))
            try update.takeSnapshot(bytes)
            store(bytes, as: "snapshot.json", writing: writing)
        }
        _ = try await role(.init(role: TUFTargets.type, delegation: nil), &update, fetching: true, writing: writing)
        store(Array("\(now.milliseconds / 1000)\n".utf8), as: Self.lastCheck, writing: writing)
        return update
    }

    private func fetchRoots(_ update: inout TUFUpdate, writing: Bool) async throws(SigstoreError) {
        for _ in 0..<configuration.limits.rootRotations {
            let (next, overflow) = update.root.version.addingReportingOverflow(1)
            guard !overflow,
                let bytes = try await fetch(
                    "\(next).root.json", limit: configuration.limits.root, base: configuration.mirror)
            else { return }
            try update.takeRoot(bytes)
            store(bytes, as: Self.historyPath(next), writing: writing)
        }
    }

    /// Keeps the newest root, after what revoked keys have signed is gone (section 5.3.11).
    /// - Returns: Whether the kept timestamp and snapshot still count.
    @discardableResult
    private func settleRoot(
        _ update: TUFUpdate, _ previous: TUFMetadata<TUFRoot>?, _ before: Int64, writing: Bool
    ) -> Bool {
        var revoked = update.onlineKeysRevokedIn > before
        // The caller may bring a newer root along.
        if let previous, let first = try? TUFMetadata<TUFRoot>(parsing: configuration.root),
            first.version > previous.version, first.content.revokesOnlineKeys(of: previous.content)
        {
            revoked = true
        }
        if revoked, writing, let cache = configuration.cache {
            do throws(SigstoreError) {
                try cache.remove("timestamp.json")
                try cache.remove("snapshot.json")
            } catch {
                notice(.tufCache, "the TUF cache cannot be written to", error)
            }
        }
        if previous?.bytes != update.root.bytes { store(update.root.bytes, as: "root.json", writing: writing) }
        return !revoked
    }

    /// The metadata of a targets role: the kept file if it is the right one, else the mirror's.
    private func role(
        _ step: TUFTargetSearch.Step, _ update: inout TUFUpdate, fetching: Bool, writing: Bool
    ) async throws(SigstoreError) -> TUFMetadata<TUFTargets> {
        if step.delegation == nil, let top = update.topTargets { return top }
        let path = "\(TUFCache.fileName(step.role)).json"
        guard path.utf8.count <= 200 else {
            throw SigstoreError(.tufTargetName, "the name of the delegated role \"\(step.role)\" is too long")
        }
        let file = try update.file(ofRole: step.role)
        if let bytes = stored(path, limit: configuration.limits.targets) {
            do throws(SigstoreError) {
                return try update.takeTargets(bytes, role: step.role, delegation: step.delegation)
            } catch {
                // Most often it is only an older version. What is wrong otherwise, the mirror's file shows.
                guard fetching else { throw error }
            }
        }
        guard fetching else { throw SigstoreError(.tufMissing, "the TUF cache does not hold \(path)") }
        let bytes = try await fetched(
            versioned("\(TUFCache.percentEncoded(step.role)).json", file.version, update),
            limit: try file.info.limit(atMost: configuration.limits.targets, name: path))
        let metadata = try update.takeTargets(bytes, role: step.role, delegation: step.delegation)
        store(bytes, as: path, writing: writing)
        return metadata
    }

    private func versioned(_ name: String, _ version: Int64, _ update: TUFUpdate) -> String {
        update.root.content.consistentSnapshot ? "\(version).\(name)" : name
    }

    private func fetched(_ path: String, limit: Int) async throws(SigstoreError) -> [UInt8] {
        guard let bytes = try await fetch(path, limit: limit, base: configuration.mirror) else {
            throw SigstoreError(
                .tufMissing, "the TUF mirror \(configuration.mirror) has no \(path)",
                advice: "check the mirror's URL; otherwise its repository is incomplete")
        }
        return bytes
    }

    private func fetch(_ path: String, limit: Int, base: String) async throws(SigstoreError) -> [UInt8]? {
        let url = base.utf8.last == 0x2f ? "\(base)\(path)" : "\(base)/\(path)"
        let bytes: [UInt8]?
        do throws(SigstoreError) {
            bytes = try await fetcher.fetch(url, limit: limit)
        } catch {
            guard [.unreachable, .timedOut, .tlsFailed, .httpStatus, .tufCache].contains(error.code) else {
                throw error
            }
            throw SigstoreError(
                .tufUnreachable, "the TUF mirror \(base) cannot be asked: \(error.message)", advice: error.advice,
                cause: error)
        }
        guard (bytes?.count ?? 0) <= limit else {
            throw SigstoreError(.tooLarge, "\(url) has more than \(limit) bytes")
        }
        return bytes
    }

    // MARK: - Targets

    /// Refuses names that would mean another place than they seem to, on a disk or in a URL.
    private static func check(_ name: String) throws(SigstoreError) {
        let parts = name.utf8.split(separator: 0x2f, omittingEmptySubsequences: false)
        let isPlain = parts.allSatisfy { part in
            !part.isEmpty && !part.elementsEqual(".".utf8) && !part.elementsEqual("..".utf8)
        }
        guard isPlain, name.utf8.allSatisfy({ $0 >= 0x20 && $0 != 0x7f && $0 != 0x5c }),
            TUFCache.fileName(name).utf8.count <= 200
        else { throw SigstoreError(.tufTargetName, "\"\(name)\" is not a name that a target may have here") }
    }

    private func find(
        _ name: String, _ update: inout TUFUpdate, fetching: Bool, writing: Bool
    ) async throws(SigstoreError) -> [UInt8] {
        var search = try TUFTargetSearch(for: name, limit: configuration.limits.delegations)
        while let step = try search.next() {
            let metadata = try await role(step, &update, fetching: fetching, writing: writing)
            if let info = search.look(into: metadata, role: step.role) {
                return try await content(name, info, update, fetching: fetching, writing: writing)
            }
        }
        throw SigstoreError(.tufNoTarget, "the TUF repository has no target \"\(name)\"")
    }

    /// The bytes of a target: the kept ones, the caller's or the mirror's, whichever match first.
    private func content(
        _ name: String, _ info: TUFFileInfo, _ update: TUFUpdate, fetching: Bool, writing: Bool
    ) async throws(SigstoreError) -> [UInt8] {
        let limit = try info.limit(atMost: configuration.limits.target, name: name)
        let path = configuration.cache.map { "\($0.targetsFolder)/\(TUFCache.fileName(name))" }
        if let path, let bytes = try? TUFCache.read(file: path, limit: limit),
            (try? info.check(bytes, name: name)) != nil
        {
            return bytes
        }
        if let bytes = configuration.embeddedTarget(name), (try? info.check(bytes, name: name)) != nil { return bytes }
        guard fetching else { throw SigstoreError(.tufMissing, "the TUF cache does not hold \(name)") }
        let base =
            configuration.targetsURL
            ?? (configuration.mirror.utf8.last == 0x2f
                ? "\(configuration.mirror)targets" : "\(configuration.mirror)/targets")
        let place = Self.place(of: name, info, update)
        guard let bytes = try await fetch(place, limit: limit, base: base) else {
            throw SigstoreError(.tufMissing, "the TUF mirror \(base) has no \(place)")
        }
        try info.check(bytes, name: name)
        if writing, let path {
            do throws(SigstoreError) {
                try TUFCache.write(bytes, file: path)
            } catch {
                notice(.tufCache, "the TUF cache cannot be written to", error)
            }
        }
        return bytes
    }

    /// Where a target lies below the targets' URL: with consistent snapshots, its hash stands before its name.
    private static func place(of name: String, _ info: TUFFileInfo, _ update: TUFUpdate) -> String {
        var parts = name.utf8.split(separator: 0x2f).map {
            TUFCache.percentEncoded(String(decoding: $0, as: UTF8.self))
        }
        if update.root.content.consistentSnapshot, let last = parts.popLast(),
            let digest = info.digests.first(where: { $0.algorithm == .sha256 }) ?? info.digests.first
        {
            parts.append("\(digest.hex).\(last)")
        }
        return parts.joined(separator: "/")
    }
}

extension SigstoreError.Code {
    /// A TUF mirror could not be asked.
    public static let tufUnreachable = Self("tuf-unreachable")
    /// A TUF mirror, or the cache, lacks a file that it should have.
    public static let tufMissing = Self("tuf-missing")
    /// A TUF repository has no target of that name.
    public static let tufNoTarget = Self("tuf-no-target")
    /// A name that no target or delegated role may have here.
    public static let tufTargetName = Self("tuf-target-name")
    /// Offline, and nothing that was verified before is at hand; as a notice, that something old is used.
    public static let tufOffline = Self("tuf-offline")
}
