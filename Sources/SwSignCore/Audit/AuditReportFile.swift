internal import LocalSystem
public import StrictJSON

/// A report in a file, as ``AuditFormat/json`` or ``AuditFormat/jsonl``. It is read row by row: memory is needed for one row
/// and for the sums, whatever the file's size.
///
/// A report that was cut short, has members that are not known, or whose rows do not come to its sums is refused.
public final class AuditReportFile: Sendable {
    /// Where the file is.
    public let path: String
    /// What the report says before its rows.
    public let head: AuditHead
    private let file: OpenFile

    /// How long a row, the head or the sums may be.
    static let valueLimit = 16 << 20

    /// Opens a report and reads its head. The file stays open, so that it is the same one each time that its rows
    /// are asked for.
    /// - Throws: `SigstoreError` with `file-not-found`, `file-unreadable`, `malformed-report` or `other-report-version`.
    public init(_ path: String) throws(SigstoreError) {
        guard let file = try OpenFile(reading: path) else {
            throw SigstoreError(.fileNotFound, "\(path): there is no such file")
        }
        file.noteReading()
        var reader = AuditReportReader(file)
        head = try Self.naming(path) { () throws(SigstoreError) in try reader.head().head }
        (self.path, self.file) = (path, file)
    }

    /// Reads the whole report.
    /// - Parameter each: Is given each row, in order. What it throws ends the reading.
    /// - Returns: What the rows come to.
    /// - Throws: `SigstoreError` with `malformed-report` if the report is not whole, not one, or its sums are not those of its
    ///   rows; and what `each` throws.
    @discardableResult
    public func read(_ each: (AuditRow) throws(SigstoreError) -> Void) throws(SigstoreError) -> AuditSums {
        var reader = AuditReportReader(file)
        var sums = AuditSums()
        var given: JSONValue?
        let (_, hasLines) = try Self.naming(path) { () throws(SigstoreError) in try reader.head() }
        if !hasLines { given = try Self.naming(path) { () throws(SigstoreError) in try reader.sums() } }
        var number = 0
        while true {
            number += 1
            let next = try Self.naming(path, row: number) { () throws(SigstoreError) -> AuditReportReader.Part in
                hasLines ? try reader.line() : try reader.row(isFirst: number == 1)
            }
            switch next {
            case .row(let row):
                sums.add(row)
                try each(row)
                continue
            case .sums(let value): given = value
            case .end: break
            }
            break
        }
        try Self.naming(path) { () throws(SigstoreError) in try reader.expectEnd() }
        guard let given, given.canonicalized() == sums.json().canonicalized() else {
            throw SigstoreError(
                .malformedReport, "\(path): the sums of the report are not those of its \(sums.rows) rows",
                advice: "the file was changed or damaged: get it again")
        }
        return sums
    }

    private static func naming<Value>(
        _ path: String, row: Int? = nil, _ body: () throws(SigstoreError) -> Value
    ) throws(SigstoreError) -> Value {
        do throws(SigstoreError) { return try body() } catch {
            let place = row.map { "\(path), row \($0)" } ?? path
            switch error.code {
            case .malformedJSON, .unexpectedJSON, .malformedDigest:
                throw SigstoreError(
                    .malformedReport, "\(place): not a report of an audit: \(error.message)",
                    advice: "give a whole report in the form json or jsonl", cause: error)
            default: throw error.concerning(place)
            }
        }
    }
}

/// Reads the parts of a report one after the other. What stands between them is read here; each part by the strict reader.
private struct AuditReportReader {
    enum Part { case row(AuditRow), sums(JSONValue), end }

    private let file: OpenFile
    private var buffer: [UInt8] = []
    private var position = 0
    private var offset: Int64 = 0
    private static let pieceSize = 1 << 16
    /// How deep a part may be nested, and of how many values it may be.
    private static let (depth, values) = (16, 1 << 20)

    init(_ file: OpenFile) { self.file = file }

    /// The head, and whether rows and sums follow in lines of their own.
    mutating func head() throws(SigstoreError) -> (head: AuditHead, hasLines: Bool) {
        try expect(0x7b)
        try expectName("version")
        let version = try value()
        guard case .number(let text) = version, text.utf8.elementsEqual(String(AuditHead.version).utf8) else {
            throw SigstoreError(
                .otherReportVersion, "the report is of another version than \(AuditHead.version), the only one known",
                advice: "use the version of the program that made it")
        }
        try expect(0x2c)
        try expectName("head")
        let head = try AuditHead(JSONCursor(try value()))
        switch try nextVisible() {
        case 0x7d: return (head, true)
        case 0x2c: return (head, false)
        default: throw Self.fault("something else follows the head")
        }
    }

    /// The sums, of a report that is one value.
    mutating func sums() throws(SigstoreError) -> JSONValue {
        try expectName("sums")
        let sums = try value()
        try expect(0x2c)
        try expectName("rows")
        try expect(0x5b)
        return sums
    }

    /// The next row, of a report that is one value.
    mutating func row(isFirst: Bool) throws(SigstoreError) -> Part {
        let next = try nextVisible()
        if next == 0x5d {
            try expect(0x7d)
            return .end
        }
        if isFirst { position -= 1 } else if next != 0x2c { throw Self.fault("rows go on without a comma") }
        return .row(try AuditRow(JSONCursor(try value())))
    }

    /// The next line.
    mutating func line() throws(SigstoreError) -> Part {
        let cursor = JSONCursor(try value())
        try cursor.expectOnly(["row", "sums"])
        let (row, sums) = (try cursor.optional("row"), try cursor.optional("sums"))
        switch (row, sums) {
        case (let row?, nil): return .row(try AuditRow(row))
        case (nil, let sums?): return .sums(sums.value)
        default: throw cursor.fault("is neither a row nor the sums")
        }
    }

    mutating func expectEnd() throws(SigstoreError) {
        while let byte = try next() {
            guard Self.isBlank(byte) else { throw Self.fault("something follows the report") }
        }
    }

    // MARK: -

    private static func fault(_ what: String) -> SigstoreError { SigstoreError(.malformedJSON, what) }
    private static func isBlank(_ byte: UInt8) -> Bool { byte == 0x20 || byte == 0x0a || byte == 0x0d || byte == 0x09 }

    private mutating func next() throws(SigstoreError) -> UInt8? {
        if position >= buffer.count {
            var piece = [UInt8](repeating: 0, count: Self.pieceSize)
            let (file, offset) = (self.file, self.offset)
            var span = piece.mutableSpan
            var bytes = unsafe span.mutableBytes
            let count = unsafe try bytes.withUnsafeMutableBytes { (space) throws(SigstoreError) in
                unsafe try file.read(into: space, at: offset)
            }
            guard count > 0 else { return nil }
            piece.removeLast(piece.count - count)
            (buffer, position) = (piece, 0)
            self.offset += Int64(count)
        }
        defer { position += 1 }
        return buffer[position]
    }

    private mutating func nextVisible() throws(SigstoreError) -> UInt8 {
        while let byte = try next() { if !Self.isBlank(byte) { return byte } }
        throw Self.fault("it is cut short")
    }

    private mutating func expect(_ byte: UInt8) throws(SigstoreError) {
        guard try nextVisible() == byte else {
            throw Self.fault("it does not begin with version, head, sums and rows, in this order")
        }
    }

    private mutating func expectName(_ name: String) throws(SigstoreError) {
        guard case .string(let text) = try value(), text.utf8.elementsEqual(name.utf8) else {
            throw Self.fault("\(name) does not stand in its place")
        }
        try expect(0x3a)
    }

    /// The next JSON value. Where it ends is found by its brackets and quotes; what it is, by the strict reader.
    private mutating func value() throws(SigstoreError) -> JSONValue {
        var text = [try nextVisible()]
        var depth = 0
        var isInString = false
        var byte = text[0]
        func takes(_ byte: UInt8) throws(SigstoreError) {
            guard text.count < AuditReportFile.valueLimit else { throw Self.fault("a part of it is too long") }
            text.append(byte)
        }
        while true {
            if isInString {
                if byte == 0x22 { isInString = false }
                if byte == 0x5c {
                    guard let escaped = try next() else { throw Self.fault("it is cut short") }
                    try takes(escaped)
                }
            } else {
                switch byte {
                case 0x22: isInString = true
                case 0x7b, 0x5b: depth += 1
                case 0x7d, 0x5d: depth -= 1
                default: break
                }
            }
            guard depth <= Self.depth else { throw Self.fault("it is nested too deeply") }
            guard depth >= 0 else { throw Self.fault("a bracket is closed that was not opened") }
            if depth == 0, !isInString, [0x22, 0x7d, 0x5d].contains(byte) { break }
            guard let following = try next() else { throw Self.fault("it is cut short") }
            // A number or a word ends before what follows it.
            if depth == 0, !isInString, Self.isBlank(following) || [0x2c, 0x7d, 0x5d, 0x3a].contains(following) {
                position -= 1
                break
            }
            try takes(following)
            byte = following
        }
        return try JSONValue(parsing: text, depth: Self.depth, values: Self.values)
    }
}

extension SigstoreError.Code {
    /// A file is not a whole report of an audit.
    public static let malformedReport = Self("malformed-report")
    /// A report is of another version.
    public static let otherReportVersion = Self("other-report-version")
    /// Reports answer different questions, or the same one for the same digests.
    public static let reportsDisagree = Self("reports-disagree")
}
