import ArgumentParser
import StrictJSON
import SwSignCore

struct AuditMerge: SwSignCommand {
    static let configuration = CommandConfiguration(
        commandName: "merge", _superCommandName: "\(SwSign.name) audit",
        abstract: "Joins the reports of an audit's parts; writes a report in another form, signs it, or compares it.",
        discussion: """
            The parts must be whole, and answer the same question: the same version, places, signers and trusted root. What \
            they come to is counted anew. A part that is missing is said, and the exit code is 1 then.
            """)

    @Argument(help: "The reports, as written with --output json or jsonl.", completion: .file())
    var parts: [String]
    @OptionGroup(title: "Report") var report: AuditReportOptions
    @Option(
        name: .customLong("trusted-root"),
        help: "For --attest: a trusted root file, to verify what the services answer.",
        completion: .file())
    var trustedRoot: String?
    @Flag(help: "For --attest: use the public instance's staging services, which are for rehearsals only.")
    var staging = false
    @OptionGroup(title: "Global options") var global: GlobalOptions

    func run(_ context: Context) throws(SigstoreError) {
        var files: [AuditReportFile] = []
        for part in parts { files.append(try AuditReportFile(part)) }
        let joined = try AuditParts(files)
        if !joined.missing.isEmpty {
            let names = joined.missing.prefix(20).map { String($0) }.joined(separator: ", ")
            let more = joined.missing.count > 20 ? " and \(joined.missing.count - 20) more" : ""
            context.output.warn("parts of the audit are missing: \(names)\(more)")
        }
        let writer = try report.begin(global, trustedRoot: trustedRoot, staging: staging, context)
        try writer.write(joined.head, joined.sums, joined.rows)
        try joined.sums.expectNothingFound(missingParts: joined.missing.count)
    }
}
