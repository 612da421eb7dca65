import ArgumentParser
import LocalSystem
import StrictJSON
import SwSignCore

/// How the report of an audit is written.
struct AuditReportOptions: ParsableArguments {
    @Option(name: .shortAndLong, help: "The form of the report: table, json, jsonl, csv, markdown or html.")
    var output: Form = .table

    /// The names of ``AuditFormat``.
    enum Form: String, ExpressibleByArgument, CaseIterable { case table, json, jsonl, csv, markdown, html }

    /// Writes the report to standard output, or to the file of `--output-file`.
    func write(_ head: AuditHead, _ sums: AuditSums, _ rows: @escaping AuditRows, _ context: Context)
        throws(SigstoreError)
    {
        let isJSON = output == .json || output == .jsonl
        let columns = context.output.isOnTerminal ? StandardStream.output.columns : nil
        let format = AuditFormat(rawValue: output.rawValue) ?? .table
        try format.write(head, sums, rows: rows, columns: columns) { piece throws(SigstoreError) in
            try context.output.report(piece, isJSON: isJSON)
        }
    }
}
