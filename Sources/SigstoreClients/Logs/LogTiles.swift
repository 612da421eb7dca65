internal import HTTPTransport
internal import SigstoreCrypto
internal import SigstoreVerification
internal import StrictJSON

/// Reads a log from its tiles (C2SP tlog-tiles), as Rekor v2 serves them.
struct LogTiles {
    /// How many hashes or entries a whole tile has.
    private static let width: Int64 = 256

    let url: HTTPURL
    let http: any HTTPClient
    let timeout: Duration

    /// The entry at an index, with a proof that leads to a checkpoint which a trusted log signed.
    /// - Throws: `SigstoreError` with `no-such-log-entry` if the log is not that long, or if no trusted log signed the
    ///   checkpoint, or tiles are missing or do not fit.
    func entry(at index: Int64, kind: String, kindVersion: String, trusted: [TrustedRoot.Log])
        async throws(SigstoreError) -> TransparencyLogEntry
    {
        let note = String(decoding: try await fetch("/api/v2/checkpoint", limit: 1 << 20), as: UTF8.self)
        let checkpoint = try Checkpoint(note)
        let log = try Self.signer(of: checkpoint, trusted)
        guard index < checkpoint.treeSize else {
            throw SigstoreError(
                .noSuchLogEntry,
                "there is no entry \(index) in this log, which has \(checkpoint.treeSize) by its checkpoint",
                advice: "check the number and the URL of the log; an entry that was just made is there in a minute")
        }
        let body = try await self.body(at: index, checkpoint.treeSize)
        var tiles: [String: [UInt8]] = [:]
        var path: [[UInt8]] = []
        for (level, place) in Self.path(index, checkpoint.treeSize) {
            path.append(try await hash(level, place, checkpoint.treeSize, &tiles))
        }
        let root = try MerkleTree.root(
            leafHash: try MerkleTree.leafHash(body), index: index, size: checkpoint.treeSize, path: path)
        guard root == checkpoint.rootHash else {
            throw SigstoreError(.invalidInclusionProof, "the log's tiles do not lead to the root that it signed")
        }
        return TransparencyLogEntry(
            logIndex: index, logID: log.logID, kind: kind, kindVersion: kindVersion,
            proof: TransparencyLogEntry.InclusionProof(
                logIndex: index, rootHash: root, treeSize: checkpoint.treeSize, hashes: path, checkpoint: note),
            body: body)
    }

    /// The bodies of entries from a place on, as many as one tile has of them, each compared with its hash in a tile that leads
    /// to the root of the checkpoint.
    func bodies(from index: Int64, limit: Int64, _ checkpoint: Checkpoint) async throws(SigstoreError) -> [[UInt8]] {
        let size = checkpoint.treeSize
        guard index >= 0, index < size, limit > 0 else { return [] }
        let first = index - index % Self.width
        let end = min(first + Self.width, size, index + min(limit, Self.width))
        let content = try await fetch(
            "/api/v2/tile/entries/\(Self.name(index / Self.width, size))", limit: Self.width * 65_537)
        let bodies = try Self.split(content, Int(end - first)).dropFirst(Int(index - first))
        // The way from one leaf to the root goes by every other leaf of its tile.
        var tiles: [String: [UInt8]] = [:]
        var path: [[UInt8]] = []
        for (level, place) in Self.path(index, size) { path.append(try await hash(level, place, size, &tiles)) }
        var hashes: [[UInt8]] = []
        for place in index..<end { hashes.append(try await hash(0, place, size, &tiles)) }
        guard let leaf = hashes.first,
            try MerkleTree.root(leafHash: leaf, index: index, size: size, path: path) == checkpoint.rootHash
        else {
            throw SigstoreError(.invalidInclusionProof, "the log's tiles do not lead to the root that it signed")
        }
        for (place, (body, hash)) in zip(bodies, hashes).enumerated() where try MerkleTree.leafHash(body) != hash {
            throw SigstoreError(
                .invalidInclusionProof,
                "the log gave out another entry \(index + Int64(place)) than the one whose hash is in its tree",
                advice: "do not trust this log")
        }
        return Array(bodies)
    }

    /// The hashes that show that the tree of so many entries begins with a smaller one (RFC 6962, section 2.1.2).
    func consistency(from first: Int64, to second: Int64, _ size: Int64) async throws(SigstoreError) -> [[UInt8]] {
        // Each stretch of leaves, the nearest to the leaves first.
        var stretches: [(start: Int64, end: Int64)] = []
        var (start, end, old, isWhole) = (Int64(0), second, first, true)
        while old != end - start {
            let half = Int64(1) << Int64(Int64.bitWidth - 1 - (end - start - 1).leadingZeroBitCount)
            if old <= half {
                stretches.append((start + half, end))
                end = start + half
            } else {
                stretches.append((start, start + half))
                (start, old, isWhole) = (start + half, old - half, false)
            }
        }
        if !isWhole { stretches.append((start, end)) }
        var tiles: [String: [UInt8]] = [:]
        var hashes: [[UInt8]] = []
        for (start, end) in stretches.reversed() {
            let level = Int64(Int64.bitWidth - (end - start - 1).leadingZeroBitCount)
            hashes.append(try await hash(level, start >> level, size, &tiles))
        }
        return hashes
    }

    private static func signer(of checkpoint: Checkpoint, _ trusted: [TrustedRoot.Log]) throws(SigstoreError)
        -> TrustedRoot.Log
    {
        for log in trusted {
            do throws(SigstoreError) {
                try checkpoint.verify(log, rekorV2: true)
                return log
            } catch { continue }
        }
        throw SigstoreError(
            .invalidCheckpoint, "no log that the trusted root knows has signed the checkpoint of \(checkpoint.origin)")
    }

    private func fetch(_ path: String, limit: Int64) async throws(SigstoreError) -> [UInt8] {
        try await http.send(HTTPRequest("GET", try url.appending(path), bodyLimit: limit, timeout: timeout)).body
    }

    /// One entry of a tile of entries: each stands behind its length in two bytes, the higher one first.
    private func body(at index: Int64, _ size: Int64) async throws(SigstoreError) -> [UInt8] {
        let tile = index / Self.width
        let bytes = try await fetch("/api/v2/tile/entries/\(Self.name(tile, size))", limit: 256 * 65_537)
        guard let body = try Self.split(bytes, Int(index % Self.width) + 1).last else { throw Self.shortTile }
        return body
    }

    /// The first entries of a tile.
    private static func split(_ tile: [UInt8], _ count: Int) throws(SigstoreError) -> [[UInt8]] {
        var bodies: [[UInt8]] = []
        var rest = tile[...]
        while bodies.count < count {
            guard rest.count >= 2 else { throw shortTile }
            let length = Int(rest[rest.startIndex]) << 8 | Int(rest[rest.startIndex + 1])
            rest = rest.dropFirst(2)
            guard rest.count >= length else { throw shortTile }
            bodies.append(Array(rest.prefix(length)))
            rest = rest.dropFirst(length)
        }
        return bodies
    }

    /// Where the hashes of an inclusion proof stand, from the leaf upward (RFC 6962, section 2.1.1): each is the root
    /// of all leaves from `place << level` on, `1 << level` of them or as many as there are.
    private static func path(_ index: Int64, _ size: Int64) -> [(level: Int64, place: Int64)] {
        var path: [(level: Int64, place: Int64)] = []
        var place = index
        var last = size - 1
        var level: Int64 = 0
        while last > 0 {
            let sibling = place ^ 1
            if sibling <= last { path.append((level: level, place: sibling)) }
            place >>= 1
            last >>= 1
            level += 1
        }
        return path
    }

    /// The root of a part of the tree. A whole part's hash is taken from the tile that holds its level, or is computed
    /// from the level below that tiles hold; a part that the end of the log cuts off is put together.
    private func hash(_ level: Int64, _ place: Int64, _ size: Int64, _ tiles: inout [String: [UInt8]])
        async throws(SigstoreError) -> [UInt8]
    {
        // The leaves of the part, as stretches of whole nodes: one for each bit of their number.
        let start = place << level
        let count = min(size - start, 1 << level)
        guard count > 0 else { throw Self.shortTile }
        var nodes: [(level: Int64, place: Int64)] = []
        var at = start
        for bit in (0...level).reversed() where count >> bit & 1 == 1 {
            nodes.append((level: bit, place: at >> bit))
            at += 1 << bit
        }
        var hashes: [[UInt8]] = []
        for node in nodes { hashes.append(try await whole(node.level, node.place, size, &tiles)) }
        guard var root = hashes.popLast() else { throw Self.shortTile }
        while let left = hashes.popLast() { root = try MerkleTree.nodeHash(left, root) }
        return root
    }

    /// The hash of a node all of whose leaves are there, from the tile that holds its level or the nearest below.
    private func whole(_ level: Int64, _ place: Int64, _ size: Int64, _ tiles: inout [String: [UInt8]])
        async throws(SigstoreError) -> [UInt8]
    {
        let tileLevel = level / 8
        let depth = level % 8
        // The first of the hashes in the tile that stand under the node, and how many they are.
        let first = place << depth
        let name = "/api/v2/tile/\(tileLevel)/\(Self.name(first / Self.width, size >> (8 * tileLevel)))"
        if tiles[name] == nil { tiles[name] = try await fetch(name, limit: Self.width * 32) }
        guard let tile = tiles[name], tile.count % 32 == 0 else { throw Self.shortTile }
        let offset = Int(first % Self.width) * 32
        let length = 32 << Int(depth)
        guard offset + length <= tile.count else { throw Self.shortTile }
        var row = stride(from: offset, to: offset + length, by: 32).map { Array(tile[$0..<$0 + 32]) }
        while row.count > 1 {
            var above: [[UInt8]] = []
            for left in stride(from: 0, to: row.count, by: 2) {
                above.append(try MerkleTree.nodeHash(row[left], row[left + 1]))
            }
            row = above
        }
        guard let hash = row.first else { throw Self.shortTile }
        return hash
    }

    /// The name of a tile: its number in groups of three digits, and how many it holds if it is not full.
    private static func name(_ tile: Int64, _ size: Int64) -> String {
        var groups: [String] = []
        var rest = tile
        repeat {
            let digits = String(rest % 1000)
            groups.insert(String(repeating: "0", count: 3 - digits.utf8.count) + digits, at: 0)
            rest /= 1000
        } while rest > 0
        let name = groups.enumerated().map { $0 < groups.count - 1 ? "x\($1)" : $1 }.joined(separator: "/")
        let held = size - tile * width
        return held < width ? "\(name).p/\(held)" : name
    }

    private static var shortTile: SigstoreError {
        SigstoreError(.unexpectedAnswer, "a tile of the log holds less than it should")
    }
}
