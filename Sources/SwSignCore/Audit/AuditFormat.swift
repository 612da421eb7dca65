public import StrictJSON

/// Calls back for each row of a report, in order. It may be asked to more than once.
public typealias AuditRows = (_ each: (AuditRow) throws(SigstoreError) -> Void) throws(SigstoreError) -> Void

/// How a report is written.
public enum AuditFormat: String, Sendable, CaseIterable {
    /// Lines for a terminal.
    case table
    /// One JSON value, which ``AuditReportFile`` reads.
    case json
    /// JSON Lines: the head, the rows, the sums. ``AuditReportFile`` reads these too.
    case jsonl
    /// A line of comma-separated values for each digest, without the head.
    case csv
    /// A table of GitHub's Markdown.
    case markdown
    /// One page that needs nothing but itself.
    case html

    /// Writes a report, row by row.
    ///
    /// Text from outside stands in it so that it can do nothing: it neither ends a cell nor begins a formula, a tag, a command
    /// of a CI system or an escape sequence.
    /// - Parameters:
    ///   - head: What the report says before its rows.
    ///   - sums: What the rows come to.
    ///   - rows: Gives the rows, as often as they are needed.
    ///   - columns: How wide the lines of a table may be; as wide as they are if it is `nil`.
    ///   - write: Takes the report piece by piece.
    /// - Throws: What `rows` and `write` throw.
    public func write(
        _ head: AuditHead, _ sums: AuditSums, rows: @escaping AuditRows, columns: Int? = nil,
        to write: ([UInt8]) throws(SigstoreError) -> Void
    ) throws(SigstoreError) {
        switch self {
        case .table: try AuditTable(head, sums, columns: columns).write(rows, to: write)
        case .json: try AuditJSONReport(head, sums).write(rows, to: write)
        case .jsonl: try AuditJSONReport(head, sums).writeLines(rows, to: write)
        case .csv: try AuditCSV().write(rows, to: write)
        case .markdown: try AuditMarkdown(head, sums).write(rows, to: write)
        case .html: try AuditHTML(head, sums).write(rows, to: write)
        }
    }
}

/// Text from outside, as it may stand in a report.
enum AuditText {
    /// The first characters, and a mark if there are more.
    static func cut(_ text: String, _ width: Int) -> String {
        let scalars = text.unicodeScalars
        guard scalars.count > width else { return text }
        return String(scalars.prefix(max(0, width - 1))) + "…"
    }

    /// The text with spaces after it.
    static func padded(_ text: String, _ width: Int) -> String {
        text + String(repeating: " ", count: max(0, width - text.unicodeScalars.count))
    }

    /// How long ago something was, in days.
    static func age(_ time: Instant, at now: Instant) -> String {
        let (span, overflow) = now.seconds.subtractingReportingOverflow(time.seconds)
        guard !overflow else { return "" }
        let days = span / 86_400
        return days < 0 ? "in \(-days) days" : days == 1 ? "1 day ago" : "\(days) days ago"
    }

    /// The date of a moment.
    static func day(_ time: Instant) -> String { String(time.description.prefix(10)) }

    static func count(_ number: Int, _ one: String, _ more: String) -> String {
        "\(number) \(number == 1 ? one : more)"
    }
}

/// What a report for people says of itself, the same in each format.
struct AuditSummary {
    let head: AuditHead
    let sums: AuditSums

    /// The controls that guides name beside signatures and changes.
    static let controls = ["SOC 2 CC8.1", "ISO/IEC 27001 A.8.32", "FedRAMP SI-7", "FedRAMP CM-5"]
    /// What those labels are worth.
    static let disclaimer =
        "This report states facts. The labels say where such facts are often asked for, not that a rule is complied with."

    /// What was found, in one sentence for each kind.
    var sentences: [String] {
        let digests = AuditText.count(sums.rows, "digest", "digests")
        var out = ["\(sums.count(.accepted)) of \(digests) \(sums.count(.accepted) == 1 ? "is" : "are") accepted."]
        if sums.findings > 0 {
            out.append("\(sums.findings) should be looked at by a person.")
        } else {
            out.append("Nothing else was found.")
        }
        if sums.incomplete > 0 {
            out.append("\(sums.incomplete) could not be looked at whole: they may be signed or not.")
        } else {
            out.append("Everything could be looked at.")
        }
        return out
    }

    /// What was asked, by whom, with what.
    var facts: [(name: String, values: [String])] {
        var out: [(String, [String])] = [
            ("Period", ["\(head.started) to \(head.finished)"]), ("Made with", [head.tool]), ("Run by", [head.ranBy]),
        ]
        if let root = head.trustedRoot {
            out.append(("Trusted root", [root.description + (head.trustedRootTime.map { " of \($0)" } ?? "")]))
        } else {
            out.append(("Trusted root", ["none: keys alone were given"]))
        }
        out.append(("Looked at", head.places))
        if let shard = head.shard { out.append(("Part of the digests", [shard])) }
        out.append(("Accepted signers", head.signers.isEmpty ? ["nobody was named"] : head.signers))
        if let threshold = head.threshold { out.append(("Of these must sign", ["\(threshold)"])) }
        if !head.formerSigners.isEmpty { out.append(("Accepted before", head.formerSigners)) }
        let levels = sums.slsaLevels.sorted { $0.key < $1.key }
        let shown = levels.map { "level \($0.key): \(AuditText.count($0.value, "digest", "digests"))" }
        out.append(("SLSA by verified provenance", shown.isEmpty ? ["shown by none"] : shown))
        out.append(("Controls, as labels", Self.controls))
        return out
    }

    /// How many digests have each verdict that occurs, the worst first.
    var verdicts: [(verdict: AuditRow.Verdict, count: Int)] {
        AuditRow.Verdict.allCases.map { ($0, sums.count($0)) }.filter { $0.1 > 0 }
    }

    /// When a signer's signatures were made.
    func span(_ signer: AuditSums.Signer) -> (oldest: String, newest: String) {
        func text(_ time: Instant?) -> String {
            time.map { "\(AuditText.day($0)), \(AuditText.age($0, at: head.finished))" } ?? "no time is proven"
        }
        return (text(signer.oldest), text(signer.newest))
    }
}

extension AuditSums {
    /// How many rows have a verdict.
    public func count(_ verdict: AuditRow.Verdict) -> Int { verdicts[verdict] ?? 0 }

    /// How many rows a person should see: what is neither accepted nor left unseen.
    public var findings: Int { rows - count(.accepted) - count(.couldNotLook) }
}

extension AuditRow {
    /// Those whose signatures hold, each once, in words.
    var signerNames: [String] {
        var names: [String] = []
        for signature in signatures where signature.verdict.holds {
            let name = signature.signer
            if !names.contains(where: { $0.utf8.elementsEqual(name.utf8) }) { names.append(name) }
        }
        return names
    }

    /// Why it has its verdict, in a few words from what went wrong.
    var reasons: [String] {
        failures.map(\.text) + signatures.compactMap { $0.failure?.text }
    }
}

extension AuditSignature.Verdict {
    /// Whether a signature of this verdict holds.
    var holds: Bool { self == .accepted || self == .formerSigner || self == .otherSigner }
}

extension AuditFailure {
    var text: String { "\(message) [\(code)]" }
}
