internal import SigstoreCrypto
internal import StrictJSON

/// Writes a report as GitHub's Markdown. Text from outside stands in spans of code, in which nothing has a meaning.
struct AuditMarkdown {
    private let summary: AuditSummary

    init(_ head: AuditHead, _ sums: AuditSums) { summary = AuditSummary(head: head, sums: sums) }

    func write(_ rows: @escaping AuditRows, to write: ([UInt8]) throws(SigstoreError) -> Void) throws(SigstoreError) {
        var lines = ["# Audit of signatures", "", summary.sentences.joined(separator: " "), ""]
        lines += Self.table(["Verdict", "Digests"], summary.verdicts.map { [$0.verdict.rawValue, String($0.count)] })
        lines += Self.table(
            ["What", "Value"],
            summary.facts.map { [$0.name, $0.values.map(Self.code).joined(separator: "<br>")] })
        lines += [AuditSummary.disclaimer, ""]
        if !summary.sums.signers.isEmpty {
            lines += ["## Who signed", ""]
            lines += Self.table(
                ["Signer", "Verdict", "Signatures", "Oldest", "Newest"],
                summary.sums.signers.map { signer in
                    let span = summary.span(signer)
                    return [
                        Self.code(signer.signer), signer.verdict.rawValue, String(signer.signatures), span.oldest,
                        span.newest,
                    ]
                })
        }
        lines += ["## Digests", ""]
        lines += Self.heading(["Verdict", "Place", "Names", "Digest", "Signers", "Attestations", "Why"])
        try write(Array((lines.joined(separator: "\n") + "\n").utf8))
        try rows { row throws(SigstoreError) in
            let cells = [
                row.verdict.rawValue, Self.code(row.place), Self.codes(row.names),
                Self.code(row.digest?.description ?? ""),
                Self.codes(row.signerNames), Self.codes(row.attestations.compactMap(\.predicateType)),
                Self.codes(row.reasons),
            ]
            try write(Array((Self.line(cells) + "\n").utf8))
        }
    }

    static func table(_ columns: [String], _ rows: [[String]]) -> [String] {
        heading(columns) + rows.map(line) + [""]
    }

    static func heading(_ columns: [String]) -> [String] { [line(columns), line(columns.map { _ in "---" })] }
    static func line(_ cells: [String]) -> String { "| \(cells.joined(separator: " | ")) |" }
    private static func codes(_ texts: [String]) -> String { texts.map(code).joined(separator: "<br>") }

    /// The text in a span of code that nothing in it can end, nor the table's cell.
    static func code(_ text: String) -> String {
        let text = text.visible(without: "`|<")
        // A span of blanks alone is none.
        guard text.unicodeScalars.contains(where: { $0 != " " }) else { return "" }
        return "`\(text)`"
    }
}
