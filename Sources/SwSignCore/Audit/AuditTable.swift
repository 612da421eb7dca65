internal import SigstoreCrypto
internal import StrictJSON

/// Writes a report as lines for a terminal: for each place its digests, and then what they come to.
struct AuditTable {
    private let summary: AuditSummary
    private let columns: Int?

    init(_ head: AuditHead, _ sums: AuditSums, columns: Int?) {
        summary = AuditSummary(head: head, sums: sums)
        self.columns = columns
    }

    /// How wide names may be before they are cut.
    private static let nameLimit = 40
    private static let digestWidth = "sha256:".count + 12

    func write(_ rows: @escaping AuditRows, to write: ([UInt8]) throws(SigstoreError) -> Void) throws(SigstoreError) {
        func line(_ text: String) throws(SigstoreError) {
            var text = text
            while text.utf8.last == 0x20 { text.removeLast() }
            try write(Array((columns.map { AuditText.cut(text, $0) } ?? text).utf8) + [0x0a])
        }
        // Rows come in the order in which they were found: those of one place are most often together.
        var (isGrouped, places, last): (Bool, Set<[UInt8]>, [UInt8]?) = (true, [], nil)
        var (nameWidth, fullWidth) = (0, 0)
        try rows { row throws(SigstoreError) in
            let place = Array(row.place.utf8)
            if place != last { isGrouped = places.insert(place).inserted && isGrouped }
            last = place
            nameWidth = max(nameWidth, Self.name(row, hasPlace: false).unicodeScalars.count)
            fullWidth = max(fullWidth, Self.name(row, hasPlace: true).unicodeScalars.count)
        }
        let width = isGrouped ? nameWidth : fullWidth
        let verdictWidth = summary.verdicts.map { $0.verdict.rawValue.utf8.count }.max() ?? 0
        last = nil
        try rows { row throws(SigstoreError) in
            let place = Array(row.place.utf8)
            if isGrouped, place != last { try line(row.place.visible()) }
            last = place
            let name = Self.name(row, hasPlace: !isGrouped)
            let cells = [
                AuditText.padded(row.verdict.rawValue, verdictWidth), AuditText.padded(name, width),
                AuditText.padded(
                    row.digest.map { AuditText.cut($0.description, Self.digestWidth) } ?? "", Self.digestWidth),
                Self.remark(row).visible(),
            ]
            try line("  " + cells.joined(separator: "  "))
        }
        if summary.sums.rows > 0 { try line("") }
        for fact in summary.facts {
            // Without their labels alone, which no one reads at a terminal.
            for (index, value) in fact.values.enumerated() {
                try line(AuditText.padded(index == 0 ? "\(fact.name):" : "", 29) + value.visible())
            }
        }
        if !summary.sums.signers.isEmpty { try line("Who signed:") }
        for signer in summary.sums.signers {
            let span = summary.span(signer)
            try line("  \(signer.signer.visible())")
            let count = AuditText.count(signer.signatures, "signature", "signatures")
            try line("    \(signer.verdict.rawValue), \(count); oldest \(span.oldest); newest \(span.newest)")
        }
        try line("Verdicts:")
        let digitCount = summary.verdicts.map { String($0.count).utf8.count }.max() ?? 0
        for (verdict, count) in summary.verdicts {
            let digits = String(count)
            try line("  \(String(repeating: " ", count: digitCount - digits.utf8.count))\(digits) \(verdict.rawValue)")
        }
        for sentence in summary.sentences { try line(sentence) }
    }

    private static func name(_ row: AuditRow, hasPlace: Bool) -> String {
        let name = hasPlace ? row.place + row.names.prefix(1).map { ":" + $0 }.joined() : row.names.first ?? ""
        let more = (row.names.count > 1 ? " +\(row.names.count - 1)" : "") + (row.platform.map { " \($0)" } ?? "")
        let limit = hasPlace ? 2 * nameLimit : nameLimit
        return AuditText.cut(name.visible(), limit) + AuditText.cut(more.visible(), nameLimit)
    }

    /// What is said beside a row: who signed, or why not.
    private static func remark(_ row: AuditRow) -> String {
        switch row.verdict {
        case .accepted, .formerSigner, .otherSigner, .notJudged: row.signerNames.joined(separator: "; ")
        case .couldNotLook, .invalid: row.reasons.first ?? ""
        case .unsigned: ""
        }
    }
}
