internal import SigstoreCrypto
public import StrictJSON

/// What changed from one report to the next: digests that are new or gone, verdicts and signers that are others, tags that name
/// another digest.
///
/// Memory is needed for a few dozen bytes for each digest and each tag of the older report, not for what is said of them.
public struct AuditComparison: Sendable {
    /// One change.
    public enum Change: Sendable {
        /// A digest that the older report does not have.
        case added(AuditRow)
        /// A digest that the newer report does not have.
        case gone(AuditRow)
        /// A digest with another verdict, and the one it had.
        case verdict(AuditRow, was: AuditRow.Verdict)
        /// A digest whose signatures hold for others than before.
        case signers(AuditRow, were: String)
        /// A tag that named another digest.
        case moved(AuditRow, name: String, was: Digest)
    }

    private let old: AuditReportFile
    private let head: AuditHead

    /// - Parameters:
    ///   - head: The head of the newer report.
    ///   - old: The older report.
    public init(_ head: AuditHead, since old: AuditReportFile) { (self.head, self.old) = (head, old) }

    private struct Known {
        let verdict: AuditRow.Verdict
        let signers: Int
        var isThere = false
    }

    /// How many different lists of signers are remembered in words.
    private static let signersLimit = 100_000

    /// Finds the changes.
    /// - Parameters:
    ///   - rows: The rows of the newer report.
    ///   - each: Is given each change: those of the newer report's rows in their order, then what is gone.
    /// - Throws: What reading the reports and `each` throw.
    public func forEach(_ rows: @escaping AuditRows, _ each: (Change) throws(SigstoreError) -> Void)
        throws(SigstoreError)
    {
        var known: [AuditRowKey: Known] = [:]
        var tags: [AuditRowKey: [UInt8]] = [:]
        var signers: [String] = [""]
        var positions: [[UInt8]: Int] = [[]: 0]
        try old.read { row throws(SigstoreError) in
            let names = Self.signers(row)
            let bytes = Array(names.utf8)
            var position = positions[bytes] ?? -1
            if position < 0, signers.count < Self.signersLimit {
                position = signers.count
                positions[bytes] = position
                signers.append(names)
            }
            known[try AuditRowKey(row)] = Known(verdict: row.verdict, signers: position)
            guard let digest = row.digest, digest.algorithm == .sha256, row.index == nil else { return }
            for name in row.names { tags[try AuditRowKey([row.place, name])] = digest.bytes }
        }
        try rows { row throws(SigstoreError) in
            let key = try AuditRowKey(row)
            if let was = known[key] {
                known[key]?.isThere = true
                if was.verdict != row.verdict { try each(.verdict(row, was: was.verdict)) }
                let names = Self.signers(row)
                if was.signers < 0 || !signers[was.signers].utf8.elementsEqual(names.utf8) {
                    try each(.signers(row, were: was.signers < 0 ? "not remembered" : signers[was.signers]))
                }
            } else {
                try each(.added(row))
            }
            guard let digest = row.digest, row.index == nil else { return }
            for name in row.names {
                guard let was = tags[try AuditRowKey([row.place, name])], was != digest.bytes else { continue }
                try each(.moved(row, name: name, was: try Digest(.sha256, bytes: was)))
            }
        }
        try old.read { row throws(SigstoreError) in
            guard known[try AuditRowKey(row)]?.isThere == false else { return }
            try each(.gone(row))
        }
    }

    /// Those who signed, in an order that does not depend on the registry's.
    private static func signers(_ row: AuditRow) -> String { row.signerNames.sorted().joined(separator: "; ") }

    // MARK: - Writing

    /// Writes what changed.
    /// - Parameters:
    ///   - format: `table`, `markdown`, `json` or `jsonl`.
    ///   - rows: The rows of the newer report.
    ///   - write: Takes the text piece by piece.
    ///   - columns: How wide a line of a table may be; `nil` for any width.
    /// - Throws: `SigstoreError` with `usage` if the form cannot show changes; what reading and `write` throw.
    public func write(
        _ format: AuditFormat, rows: @escaping AuditRows, columns: Int? = nil,
        to write: ([UInt8]) throws(SigstoreError) -> Void
    ) throws(SigstoreError) {
        var count = 0
        func line(_ text: String) throws(SigstoreError) {
            try write(Array((columns.map { AuditText.cut(text, $0) } ?? text).utf8) + [0x0a])
        }
        switch format {
        case .table:
            try line("Changes from \(old.head.finished) to \(head.finished)")
            try forEach(rows) { change throws(SigstoreError) in
                count += 1
                let parts = change.parts
                let text = ["\(AuditText.padded(parts.kind, 8))", change.name, parts.what].filter { !$0.isEmpty }
                try line("  " + text.map { $0.visible() }.joined(separator: "  "))
            }
            try line(count == 0 ? "Nothing changed." : AuditText.count(count, "change.", "changes."))
        case .markdown:
            try line("# Changes of signatures\n\nFrom \(old.head.finished) to \(head.finished).\n")
            try line(AuditMarkdown.heading(["Change", "Digest", "What"]).joined(separator: "\n"))
            try forEach(rows) { change throws(SigstoreError) in
                let parts = change.parts
                try line(
                    AuditMarkdown.line([parts.kind, AuditMarkdown.code(change.name), AuditMarkdown.code(parts.what)]))
            }
        case .json:
            let beginning: JSONObject = [
                "from": .string(old.head.finished.description), "to": .string(head.finished.description),
            ]
            try write(
                Array("{\"version\":\(AuditHead.version),\"compared\":".utf8) + JSONValue.object(beginning).serialized()
            )
            var lead = ",\"changes\":[\n"
            try forEach(rows) { change throws(SigstoreError) in
                try write(Array(lead.utf8) + change.json().serialized())
                lead = ",\n"
            }
            try write(Array((lead == ",\n" ? "\n]}\n" : lead + "]}\n").utf8))
        case .jsonl:
            try forEach(rows) { change throws(SigstoreError) in try write(change.json().serialized() + [0x0a]) }
        case .csv, .html:
            throw SigstoreError(
                .usage, "changes cannot be written as \(format.rawValue)", advice: "use table, markdown, json or jsonl")
        }
    }
}

extension AuditComparison.Change {
    /// The digest's names.
    fileprivate var row: AuditRow {
        switch self {
        case .added(let row), .gone(let row), .verdict(let row, _), .signers(let row, _), .moved(let row, _, _): row
        }
    }

    fileprivate var name: String {
        let row = self.row
        if case .moved(_, let name, _) = self { return "\(row.place):\(name)" }
        let digest = row.digest.map { "@\($0)" } ?? ""
        let platform = row.platform.map { " (\($0))" } ?? ""
        return row.place + (row.names.isEmpty ? "" : ":" + row.names.joined(separator: ",")) + digest + platform
    }

    fileprivate var parts: (kind: String, what: String) {
        func signers(_ names: String) -> String { names.isEmpty ? "nobody" : names }
        switch self {
        case .added(let row): return ("new", row.verdict.rawValue)
        case .gone(let row): return ("gone", "was \(row.verdict.rawValue)")
        case .verdict(let row, let was): return ("verdict", "\(row.verdict.rawValue), was \(was.rawValue)")
        case .signers(let row, let were):
            return ("signers", "\(signers(row.signerNames.sorted().joined(separator: "; "))), was \(signers(were))")
        case .moved(let row, _, let was): return ("moved", "\(row.digest?.description ?? ""), was \(was)")
        }
    }

    fileprivate func json() -> JSONValue {
        let row = self.row
        var object: JSONObject = ["change": .string(parts.kind), "place": .string(row.place)]
        if case .moved(_, let name, let was) = self {
            object["name"] = .string(name)
            object.set("digest", row.digest?.description)
            object["was"] = .string(was.description)
            return .object(object)
        }
        object.set("names", row.names) { .string($0) }
        object.set("digest", row.digest?.description)
        object.set("index", row.index?.description)
        object.set("platform", row.platform)
        switch self {
        case .verdict(_, let was):
            object["verdict"] = .string(row.verdict.rawValue)
            object["was"] = .string(was.rawValue)
        case .signers(_, let were):
            object["signers"] = .string(row.signerNames.sorted().joined(separator: "; "))
            object["were"] = .string(were)
        default: object["verdict"] = .string(row.verdict.rawValue)
        }
        return .object(object)
    }
}
