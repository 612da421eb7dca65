internal import HTTPTransport
internal import SigstoreCrypto
public import SigstoreVerification
public import StrictJSON

/// Follows a log from one run to the next: that it only grows, and what new entries it has.
///
/// Everything that a log says is compared with the checkpoint that the run before has kept: the new tree must begin with the
/// old one, and every new entry must be in a tree that the log signed and that fits to it. So the entries that are read here are
/// those that others see, or the log has signed two histories.
public struct LogMonitor: Sendable {
    /// How far one tree of a log was followed. A log of Rekor v1 has one for each of its shards.
    public struct Position: Sendable {
        /// The tree's name in checkpoints.
        public let origin: String
        /// The log's id.
        public let logID: [UInt8]
        /// Where the log was read. Shards may have keys of their own, and so ids; what makes them one log is where they are.
        public let url: String
        /// The signed checkpoint that was seen last.
        public let note: String
        /// How many entries that tree has.
        public let size: Int64
        /// Its root.
        public let rootHash: [UInt8]
        /// The first entry that was not read yet.
        public internal(set) var next: Int64

        init(_ tree: Tree, of client: RekorClient, next: Int64) {
            (origin, logID, note) = (tree.checkpoint.origin, tree.log.logID, tree.note)
            url = client.url.description
            (size, rootHash, self.next) = (tree.checkpoint.treeSize, tree.checkpoint.rootHash, next)
        }

        init(_ json: JSONCursor) throws(SigstoreError) {
            try json.expectOnly(["url", "logID", "checkpoint", "next"])
            url = try json.member("url").string()
            let id = try json.member("logID")
            guard let logID = Hexadecimal.decode(try id.string()) else { throw id.fault("is not hexadecimal") }
            note = try json.member("checkpoint").string()
            let checkpoint = try Checkpoint(note)
            (origin, self.logID) = (checkpoint.origin, logID)
            (size, rootHash) = (checkpoint.treeSize, checkpoint.rootHash)
            let next = try json.member("next")
            self.next = try next.integer()
            guard (0...size).contains(self.next) else { throw next.fault("is not within the tree of \(size) entries") }
        }

        var json: JSONValue {
            .object([
                "url": .string(url), "logID": .string(Hexadecimal.encode(logID)), "checkpoint": .string(note),
                "next": .integer(next),
            ])
        }

        func isSame(as other: Position) -> Bool {
            logID == other.logID && origin.utf8.elementsEqual(other.origin.utf8)
        }
    }

    /// A new entry, which is in the log.
    public struct Entry: Sendable {
        /// The entry as the log gave it.
        public let entry: TransparencyLogEntry
        /// What it says; `nil` if that cannot be read here.
        public let body: LogEntryBody?
        /// SHA-256 of the entry as a leaf of the tree.
        public let leafHash: [UInt8]
    }

    /// What came of one run.
    public struct Outcome: Sendable {
        /// How far the log was followed now: what is to be kept for the next run.
        public internal(set) var positions: [Position]
        /// Whether the log was not known before, so that entries count from now on.
        public internal(set) var isFirst = false
        /// How many entries were read, and how many of them are of a kind that cannot be read here, or malformed.
        public internal(set) var read: Int64 = 0
        public internal(set) var unreadable: Int64 = 0
        /// How many are left for the next run.
        public internal(set) var behind: Int64 = 0
        /// What could not be looked at, or does not fit together; `nil` if nothing went wrong.
        public internal(set) var failure: SigstoreError?
    }

    /// A tree as the log has signed it.
    struct Tree: Sendable {
        let note: String
        let checkpoint: Checkpoint
        let log: TrustedRoot.Log
        /// The number by which Rekor v1's API knows it.
        var id: String?
        /// How many entries the shards before it have.
        var offset: Int64 = 0
    }

    /// The log.
    public let client: RekorClient
    private let root: TrustedRoot
    private let now: Int64
    /// The largest answer with entries: ten of Rekor v1's are asked for at once.
    private static let answerLimit: Int64 = 64 << 20

    /// - Parameters:
    ///   - client: The log.
    ///   - root: Whose logs are believed.
    ///   - now: In seconds since 1970.
    public init(_ client: RekorClient, root: TrustedRoot, now: Int64) {
        (self.client, self.root, self.now) = (client, root, now)
    }

    /// Follows the log.
    /// - Parameters:
    ///   - known: How far the run before came, with all logs.
    ///   - limit: How many entries are read at most.
    ///   - take: Takes each new entry, once.
    /// - Returns: How far it came. If something went wrong on the way, positions are those up to which all was well; if the log
    ///   contradicts what was known, they are the old ones.
    public func follow(
        from known: [Position], limit: Int64, _ take: (Entry) async throws(SigstoreError) -> Void
    ) async -> Outcome {
        var outcome = Outcome(positions: [])
        do throws(SigstoreError) {
            try await client.naming { () throws(SigstoreError) in
                try await follow(known, limit, &outcome, take)
            }
        } catch { outcome.failure = error }
        return outcome
    }

    private func follow(
        _ known: [Position], _ limit: Int64, _ outcome: inout Outcome,
        _ take: (Entry) async throws(SigstoreError) -> Void
    ) async throws(SigstoreError) {
        let trees = try await trees()
        let url = client.url.description
        let own = known.filter { position in
            position.url.utf8.elementsEqual(url.utf8) || trees.contains { $0.log.logID == position.logID }
        }
        outcome.positions = own
        guard !own.isEmpty else {
            outcome.positions = trees.map { Position($0, of: client, next: $0.checkpoint.treeSize) }
            outcome.isFirst = true
            return
        }
        // First all that was known, before anything of it is replaced.
        var positions: [Position] = []
        for tree in trees {
            let fresh = Position(tree, of: client, next: 0)
            guard let old = own.first(where: { $0.isSame(as: fresh) }) else {
                positions.append(fresh)
                continue
            }
            try await expect(old, beginning: tree)
            positions.append(Position(tree, of: client, next: old.next))
        }
        if let lost = own.first(where: { old in !positions.contains { $0.isSame(as: old) } }) {
            throw SigstoreError(
                .inconsistentLog,
                "the log does not have the tree \(lost.origin) any more, which had \(lost.size) entries, the root "
                    + Hexadecimal.encode(lost.rootHash),
                advice: Self.alarm)
        }
        outcome.positions = positions
        var left = limit
        for (place, tree) in trees.enumerated() {
            var proven: [Int64: [UInt8]] = [tree.checkpoint.treeSize: tree.checkpoint.rootHash]
            while outcome.positions[place].next < tree.checkpoint.treeSize, left > 0 {
                let next = outcome.positions[place].next
                let entries =
                    switch client.version {
                    case .v1: try await entriesV1(tree, from: next, limit: left, &proven)
                    case .v2: try await entriesV2(tree, from: next, limit: left)
                    }
                guard !entries.isEmpty else { throw Self.missing(next) }
                for entry in entries {
                    try await take(entry)
                    outcome.read += 1
                    if entry.body == nil { outcome.unreadable += 1 }
                    outcome.positions[place].next += 1
                    left -= 1
                }
            }
            outcome.behind += tree.checkpoint.treeSize - outcome.positions[place].next
        }
    }

    private static let alarm: SigstoreError.Advice =
        "keep the state file as it is, and tell those who run the log and those who use it: it has shown two histories, or lost one"

    private static func missing(_ index: Int64) -> SigstoreError {
        SigstoreError(.unexpectedAnswer, "the log did not give out its entry \(index)")
    }

    // MARK: - Trees

    /// The trees of the log, the oldest first, each as a log of the trusted root has signed it.
    private func trees() async throws(SigstoreError) -> [Tree] {
        guard client.version == .v1 else {
            let found = try await client.checkpoint(root: root, now: now)
            return [Tree(note: found.note, checkpoint: found.checkpoint, log: found.log)]
        }
        let body = try await client.read("/api/v1/log", [:], missing: "API of Rekor v1")
        let notes = try RekorClient.answer("about a log") { () throws(SigstoreError) in
            let active = JSONCursor(try JSONValue(parsing: body, depth: 16))
            var notes: [(note: String, id: String)] = []
            for shard in try active.optional("inactiveShards")?.elements() ?? [] {
                notes.append((try shard.member("signedTreeHead").string(), try shard.member("treeID").string()))
            }
            guard notes.count <= 64 else { throw active.fault("has \(notes.count) shards, more than 64") }
            notes.append((try active.member("signedTreeHead").string(), try active.member("treeID").string()))
            return notes
        }
        var trees: [Tree] = []
        var offset: Int64 = 0
        for (place, (note, id)) in notes.enumerated() {
            let checkpoint = try Checkpoint(note)
            // A shard that is not written to any more may be signed by a key that does not count any more.
            let log = try signer(of: checkpoint, isActive: place == notes.count - 1)
            var tree = Tree(note: note, checkpoint: checkpoint, log: log)
            (tree.id, tree.offset) = (id, offset)
            trees.append(tree)
            let (sum, overflows) = offset.addingReportingOverflow(checkpoint.treeSize)
            guard !overflows else { throw SigstoreError(.unexpectedAnswer, "the log states sizes that are no sizes") }
            offset = sum
        }
        return trees
    }

    private func signer(of checkpoint: Checkpoint, isActive: Bool) throws(SigstoreError) -> TrustedRoot.Log {
        for log in root.transparencyLogs where !isActive || log.validFor.contains(Instant(seconds: now)) {
            do throws(SigstoreError) { try checkpoint.verify(log, rekorV2: client.version == .v2) } catch { continue }
            return log
        }
        throw SigstoreError(
            .invalidCheckpoint,
            "no log that the trusted root knows has signed the checkpoint of \(checkpoint.origin)",
            advice: "check that the trusted root is that of this log")
    }

    /// The tree that was known must be the beginning of the one that is there now.
    private func expect(_ old: Position, beginning tree: Tree) async throws(SigstoreError) {
        let (size, root) = (tree.checkpoint.treeSize, tree.checkpoint.rootHash)
        func contradiction(_ what: String) -> SigstoreError {
            SigstoreError(
                .inconsistentLog,
                "the log contradicts itself: \(what). Expected a tree that begins with the \(old.size) entries of "
                    + "\(old.origin) with the root \(Hexadecimal.encode(old.rootHash)), found one of \(size) with the root "
                    + Hexadecimal.encode(root),
                advice: Self.alarm)
        }
        guard size >= old.size else { throw contradiction("it has fewer entries than before") }
        guard size > old.size else {
            guard root == old.rootHash else { throw contradiction("its root has changed, and its size has not") }
            return
        }
        let proof = try await consistency(tree, from: old.size, to: size)
        do throws(SigstoreError) {
            try MerkleTree.verifyConsistency(
                of: (size: old.size, root: old.rootHash), with: (size: size, root: root), proof: proof)
        } catch {
            guard error.code == .inconsistentLog else { throw error }
            throw contradiction("its proof of consistency does not hold")
        }
    }

    private func consistency(_ tree: Tree, from first: Int64, to second: Int64) async throws(SigstoreError) -> [[UInt8]]
    {
        guard first > 0, first < second else { return [] }
        guard client.version == .v1 else {
            return try await LogTiles(url: client.url, http: client.http, timeout: client.timeout).consistency(
                from: first, to: second, tree.checkpoint.treeSize)
        }
        var query = ["firstSize": String(first), "lastSize": String(second)]
        if let id = tree.id { query["treeID"] = id }
        let body = try await client.read("/api/v1/log/proof", query, missing: "proof of consistency")
        return try RekorClient.answer("a proof of consistency") { () throws(SigstoreError) in
            let list = try JSONCursor(try JSONValue(parsing: body, depth: 16)).member("hashes")
            let elements = try list.elements()
            guard elements.count <= 128 else { throw list.fault("holds more hashes than any proof needs") }
            var hashes: [[UInt8]] = []
            for element in elements {
                guard let hash = Hexadecimal.decode(try element.string()) else {
                    throw element.fault("is not hexadecimal")
                }
                hashes.append(hash)
            }
            return hashes
        }
    }

    // MARK: - Entries

    private static func entry(_ entry: TransparencyLogEntry) throws(SigstoreError) -> Entry {
        var entry = entry
        let body = try? LogEntryBody(parsing: entry.body)
        if let body { (entry.kind, entry.kindVersion) = (body.kind, body.kindVersion) }
        return Entry(entry: entry, body: body, leafHash: try MerkleTree.leafHash(entry.body))
    }

    /// Some entries from a place on, each by a proof that leads to a tree which fits to the checkpoint.
    private func entriesV1(_ tree: Tree, from next: Int64, limit: Int64, _ proven: inout [Int64: [UInt8]])
        async throws(SigstoreError) -> [Entry]
    {
        let places = next..<min(tree.checkpoint.treeSize, next + min(limit, 10))
        let response = try await client.http.send(
            HTTPRequest(
                "POST", try client.url.appending("/api/v1/log/entries/retrieve"),
                headers: [
                    (name: "Content-Type", value: "application/json"), (name: "Accept", value: "application/json"),
                ],
                body: .bytes(
                    JSONValue.object(["logIndexes": .array(places.map { .integer($0 + tree.offset) })]).serialized()),
                bodyLimit: Self.answerLimit, timeout: client.timeout, isIdempotent: true))
        var found: [Int64: TransparencyLogEntry] = [:]
        let answers = try RekorClient.answer("a list of entries") { () throws(SigstoreError) in
            try JSONCursor(try JSONValue(parsing: response.body, depth: 16)).elements()
        }
        for answer in answers.prefix(places.count) {
            let entry = try RekorClient.entryV1(answer, readsBody: false)
            found[entry.logIndex] = entry
        }
        var entries: [Entry] = []
        for place in places {
            guard let entry = found[place + tree.offset] else { throw Self.missing(place + tree.offset) }
            try await verify(entry, at: place, in: tree, &proven)
            entries.append(try Self.entry(entry))
        }
        return entries
    }

    private func verify(
        _ entry: TransparencyLogEntry, at place: Int64, in tree: Tree, _ proven: inout [Int64: [UInt8]]
    ) async throws(SigstoreError) {
        guard let proof = entry.proof, let note = proof.checkpoint, proof.logIndex == place else {
            throw SigstoreError(
                .invalidInclusionProof,
                "the log did not prove that entry \(entry.logIndex) has the place \(place) in its tree",
                advice: "do not trust this log")
        }
        let root = try MerkleTree.root(
            leafHash: try MerkleTree.leafHash(entry.body), index: place, size: proof.treeSize, path: proof.hashes)
        guard root == proof.rootHash else {
            throw SigstoreError(
                .invalidInclusionProof,
                "the inclusion proof of log entry \(entry.logIndex) does not lead to its root: expected "
                    + "\(Hexadecimal.encode(proof.rootHash)), found \(Hexadecimal.encode(root))",
                advice: "do not trust this log")
        }
        if let known = proven[proof.treeSize] {
            guard known == root else { throw Self.fork(entry, tree) }
            return
        }
        let checkpoint = try Checkpoint(note)
        guard checkpoint.treeSize == proof.treeSize, checkpoint.rootHash == root,
            checkpoint.origin.utf8.elementsEqual(tree.checkpoint.origin.utf8)
        else {
            throw SigstoreError(
                .invalidCheckpoint, "the checkpoint of log entry \(entry.logIndex) is of another tree than its proof",
                advice: "do not trust this log")
        }
        try checkpoint.verify(tree.log, rekorV2: false)
        let here = (size: checkpoint.treeSize, root: checkpoint.rootHash)
        let there = (size: tree.checkpoint.treeSize, root: tree.checkpoint.rootHash)
        let (first, second) = here.size < there.size ? (here, there) : (there, here)
        let path = try await consistency(tree, from: first.size, to: second.size)
        do throws(SigstoreError) { try MerkleTree.verifyConsistency(of: first, with: second, proof: path) } catch {
            guard error.code == .inconsistentLog else { throw error }
            throw Self.fork(entry, tree)
        }
        proven[checkpoint.treeSize] = root
    }

    private static func fork(_ entry: TransparencyLogEntry, _ tree: Tree) -> SigstoreError {
        SigstoreError(
            .inconsistentLog,
            "the log proves that entry \(entry.logIndex) is in a tree that contradicts its checkpoint of "
                + "\(tree.checkpoint.treeSize) entries with the root \(Hexadecimal.encode(tree.checkpoint.rootHash))",
            advice: alarm)
    }

    private func entriesV2(_ tree: Tree, from next: Int64, limit: Int64) async throws(SigstoreError) -> [Entry] {
        let bodies = try await LogTiles(url: client.url, http: client.http, timeout: client.timeout).bodies(
            from: next, limit: limit, tree.checkpoint)
        var entries: [Entry] = []
        for (place, body) in bodies.enumerated() {
            entries.append(
                try Self.entry(
                    TransparencyLogEntry(
                        logIndex: next + Int64(place), logID: tree.log.logID, kind: "", kindVersion: "", body: body)))
        }
        return entries
    }
}

/// What a run of ``LogMonitor`` keeps for the next one, of all logs.
public struct LogMonitorState: Sendable {
    /// The layout of the JSON.
    public static let version: Int64 = 1
    /// The largest file that is read.
    public static let byteLimit = 1 << 24

    /// How far each tree was followed.
    public private(set) var positions: [LogMonitor.Position]

    public init() { positions = [] }

    /// Reads what ``json()`` wrote.
    /// - Throws: `SigstoreError` if it is of another version, cut short, or malformed.
    public init(parsing json: [UInt8]) throws(SigstoreError) {
        let top = JSONCursor(try JSONValue(parsing: json, depth: 16))
        let version = try top.member("version")
        guard try version.integer() == Self.version else {
            throw version.fault("is \(try version.integer()), and \(Self.version) is what is read here")
        }
        try top.expectOnly(["version", "logs"])
        positions = []
        for log in try top.member("logs").elements() {
            let position = try LogMonitor.Position(log)
            guard !positions.contains(where: { $0.isSame(as: position) }) else { throw log.fault("is there twice") }
            positions.append(position)
        }
    }

    /// Takes over how far a run came.
    public mutating func update(_ outcome: LogMonitor.Outcome) {
        for position in outcome.positions {
            if let place = positions.firstIndex(where: { $0.isSame(as: position) }) {
                positions[place] = position
            } else {
                positions.append(position)
            }
        }
    }

    /// The state as JSON.
    public func json() -> JSONValue {
        .object(["version": .integer(Self.version), "logs": .array(positions.map(\.json))])
    }
}
