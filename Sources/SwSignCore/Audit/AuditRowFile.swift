internal import LocalSystem
internal import SigstoreCrypto
public import StrictJSON
internal import Synchronization

/// The rows that a run has made, in a file without a name, so that however many there are take no memory.
public final class AuditSpool: Sendable {
    private let file: TemporaryFile
    private let size = Mutex<Int64>(0)

    /// - Parameter folder: The folder on whose disk the rows are.
    /// - Throws: `SigstoreError` with `file-unwritable`.
    public init(in folder: String) throws(SigstoreError) { file = try TemporaryFile(in: folder) }

    /// Adds a row.
    /// - Throws: `SigstoreError` with `file-unwritable`.
    public func append(_ row: AuditRow) throws(SigstoreError) {
        try append(line: row.json().serialized() + [0x0a])
    }

    private func append(line: [UInt8]) throws(SigstoreError) {
        try size.withLock { (size) throws(SigstoreError) in
            try file.write(line)
            size += Int64(line.count)
        }
    }

    /// Adds all rows of another one.
    func append(_ other: AuditSpool) throws(SigstoreError) {
        try other.forEachLine { line throws(SigstoreError) in try append(line: line + [0x0a]) }
    }

    /// Hands out all rows, in the order in which they were added.
    public func forEach(_ body: (AuditRow) throws(SigstoreError) -> Void) throws(SigstoreError) {
        try forEachLine { line throws(SigstoreError) in try body(try AuditRow(line: line)) }
    }

    private func forEachLine(_ body: ([UInt8]) throws(SigstoreError) -> Void) throws(SigstoreError) {
        let end = size.withLock { $0 }
        _ = try file.reading.forEachLine(to: end) { line, _ throws(SigstoreError) in try body(line) }
    }
}

extension AuditRow {
    /// The most bytes that one row may take as JSON.
    static let byteLimit = 16 << 20

    /// Reads a row from its line.
    init(line: [UInt8]) throws(SigstoreError) {
        try self.init(JSONCursor(try JSONValue(parsing: line, depth: 16, values: 1 << 20)))
    }
}

extension OpenFile {
    /// Reads lines with bounded memory.
    /// - Parameters:
    ///   - end: Where reading ends.
    ///   - body: Takes a line without its end, and where in the file it begins.
    /// - Returns: Where the last line ends that is whole.
    /// - Throws: `SigstoreError` with `file-unreadable`, also for a line that is longer than any row.
    func forEachLine(
        to end: Int64, _ body: ([UInt8], Int64) throws(SigstoreError) -> Void
    ) throws(SigstoreError) -> Int64 {
        var line: [UInt8] = []
        var start: Int64 = 0
        unsafe try forEachPiece(from: 0, count: end) { piece throws(SigstoreError) in
            var rest = unsafe piece[...]
            while let newline = unsafe rest.firstIndex(of: 0x0a) {
                unsafe line.append(contentsOf: rest[..<newline])
                unsafe rest = unsafe rest[(newline + 1)...]
                try body(line, start)
                start += Int64(line.count) + 1
                line.removeAll(keepingCapacity: line.count < 1 << 16)
            }
            guard unsafe line.count + rest.count <= AuditRow.byteLimit else {
                throw SigstoreError(.fileUnreadable, "\(path) has a line that is longer than any row")
            }
            unsafe line.append(contentsOf: rest)
        }
        return start
    }
}

/// A file that keeps the rows of a run that may be stopped, so that the next one goes on where it was.
///
/// Its first line says to which question the rows are the answer; every other line is a row, and of two of one digest the last
/// counts. It is for going on with a run: who signs meanwhile is not seen in rows that are there already.
public final class AuditState: Sendable {
    private struct Key: Hashable {
        let place: UInt32
        let high, low: UInt64
    }
    private struct Rows {
        var places: [[UInt8]: UInt32] = [:]
        /// Where the row of a digest begins, and how long it is. Its first 16 bytes stand for the digest, which is compared whole
        /// when the row is read.
        var offsets: [Key: (start: Int64, count: Int)] = [:]
    }

    private let file: GrowingFile
    private let rows = Mutex(Rows())
    /// How many rows of earlier runs are there to go on with.
    public let count: Int
    /// Whether the last line was cut short, and dropped.
    public let wasCutShort: Bool

    /// Opens a file, and begins it if it is not there or empty.
    /// - Parameters:
    ///   - path: The file.
    ///   - question: What is asked: places, signers and all that rows depend on.
    /// - Throws: `SigstoreError` with `unusable-state` if it is no such file, is damaged, or answers another question.
    public init(_ path: String, question: [String]) throws(SigstoreError) {
        file = try GrowingFile(path, mode: 0o600)
        let header = JSONValue.object([
            "auditState": .integer(AuditHead.version), "question": .string(try Self.digest(question).description),
        ]).serialized()
        var found = Rows()
        var isFirst = true
        let end = try file.reading.forEachLine(to: file.reading.size) { line, start throws(SigstoreError) in
            if isFirst {
                isFirst = false
                return try Self.expect(line, header, path)
            }
            do throws(SigstoreError) {
                let row = try AuditRow(line: line)
                guard let digest = row.digest else { return }
                let key = Self.key(row.place, digest, &found)
                // What was left open is looked at again.
                found.offsets[key] = row.isWhole ? (start, line.count) : nil
            } catch {
                throw SigstoreError(
                    .unusableState, "\(path) is damaged: the line at byte \(start) is no row: \(error.message)",
                    cause: error)
            }
        }
        wasCutShort = end < file.reading.size
        if wasCutShort { try file.truncate(to: end) }
        if isFirst { try file.append(header + [0x0a]) }
        count = found.offsets.count
        let all = found
        rows.withLock { $0 = all }
    }

    private static func digest(_ question: [String]) throws(SigstoreError) -> Digest {
        try Digest.sha256(JSONValue.array(question.map { .string($0) }).serialized())
    }

    private static func expect(_ line: [UInt8], _ header: [UInt8], _ path: String) throws(SigstoreError) {
        guard line != header else { return }
        guard let json = try? JSONValue(parsing: line, depth: 4, values: 64),
            let version = try? JSONCursor(json).optional("auditState")?.integer()
        else { throw SigstoreError(.unusableState, "\(path) is no state of an audit") }
        guard version == AuditHead.version else {
            throw SigstoreError(
                .unusableState, "\(path) is of version \(version): expected \(AuditHead.version)",
                advice: "begin another one")
        }
        throw SigstoreError(
            .unusableState,
            "\(path) is of an audit that asked something else: other places, signers, trusted root or flags",
            advice: "begin another one, or ask the same")
    }

    private static func key(_ place: String, _ digest: Digest, _ rows: inout Rows) -> Key {
        let bytes = Array(place.utf8)
        let number = rows.places[bytes] ?? UInt32(truncatingIfNeeded: rows.places.count)
        rows.places[bytes] = number
        func half(_ bytes: ArraySlice<UInt8>) -> UInt64 { bytes.reduce(0) { $0 << 8 | UInt64($1) } }
        return Key(place: number, high: half(digest.bytes.prefix(8)), low: half(digest.bytes.dropFirst(8).prefix(8)))
    }

    /// The row of a digest, if an earlier run has ended with it.
    func row(_ place: String, _ digest: Digest) throws(SigstoreError) -> AuditRow? {
        let found = rows.withLock { rows in
            let key = Self.key(place, digest, &rows)
            return rows.offsets[key]
        }
        guard let found else { return nil }
        var line: [UInt8] = []
        unsafe try file.reading.forEachPiece(from: found.start, count: Int64(found.count)) {
            piece throws(SigstoreError) in
            unsafe line.append(contentsOf: piece)
        }
        let row = try AuditRow(line: line)
        return row.digest == digest && row.place.utf8.elementsEqual(place.utf8) ? row : nil
    }

    /// Keeps a row.
    func append(_ row: AuditRow) throws(SigstoreError) {
        let line = row.json().serialized()
        try rows.withLock { _ throws(SigstoreError) in try file.append(line + [0x0a]) }
    }
}
