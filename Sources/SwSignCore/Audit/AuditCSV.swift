internal import StrictJSON

/// Writes a line of comma-separated values for each digest (RFC 4180).
///
/// Every cell is quoted, and none begins a formula, whatever program opens the file.
struct AuditCSV {
    private static let columns = [
        "place", "names", "digest", "platform", "index", "media_type", "created", "source", "revision", "signed",
        "verdict",
        "signers", "oldest_signature", "newest_signature", "attestations", "builders", "slsa_level", "sboms",
        "policies",
        "failures",
    ]

    func write(_ rows: @escaping AuditRows, to write: ([UInt8]) throws(SigstoreError) -> Void) throws(SigstoreError) {
        try write(Self.line(Self.columns))
        try rows { row throws(SigstoreError) in try write(Self.line(Self.cells(row))) }
    }

    private static func cells(_ row: AuditRow) -> [String] {
        let holding = row.signatures.filter(\.verdict.holds)
        let times = holding.compactMap(\.oldest)
        let level = row.attestations.compactMap(\.slsaLevel).max()
        return [
            row.place, list(row.names), row.digest?.description ?? "", row.platform ?? "", row.index?.description ?? "",
            row.mediaType ?? "", row.created ?? "", row.source ?? "", row.revision ?? "", row.signed.rawValue,
            row.verdict.rawValue, list(row.signerNames), times.min()?.description ?? "", times.max()?.description ?? "",
            list(row.attestations.map { "\($0.predicateType ?? "unknown type") (\($0.verdict.rawValue))" }),
            list(row.attestations.compactMap(\.builder)), level.map { String($0) } ?? "", list(row.sboms),
            list(row.policies.map { "\($0.name): \($0.verdict)" }), list(row.reasons),
        ]
    }

    private static func list(_ values: [String]) -> String { values.joined(separator: "; ") }

    private static func line(_ cells: [String]) -> [UInt8] {
        Array((cells.map(cell).joined(separator: ",") + "\r\n").utf8)
    }

    /// What spreadsheets take for the beginning of a formula, in both widths.
    private static let formulaMarks: [Unicode.Scalar] = ["=", "+", "-", "@", "＝", "＋", "－", "＠"]

    static func cell(_ text: String) -> String {
        let text = text.visible()
        var out = "\""
        if let first = text.unicodeScalars.first(where: { !$0.properties.isWhitespace }), formulaMarks.contains(first) {
            out += "'"
        }
        for scalar in text.unicodeScalars {
            if scalar == "\"" { out += "\"" }
            out.unicodeScalars.append(scalar)
        }
        return out + "\""
    }
}
