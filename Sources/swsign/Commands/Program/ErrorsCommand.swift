import ArgumentParser
import StrictJSON
import SwSignCore

struct ErrorsCommand: SwSignCommand {
    static let configuration = CommandConfiguration(
        commandName: "errors",
        abstract: "Explains the error codes: the cause of each, and what to do.",
        discussion: "Every error ends with its code in brackets. Codes do not change; the sentences before them may.")

    @Argument(
        help: "An error code, such as no-log-entry; without one, all of them.",
        completion: .list(ErrorTable.entries.map(\.code)))
    var codes: [String] = []
    @OptionGroup(title: "Global options") var global: GlobalOptions

    func run(_ context: Context) throws(SigstoreError) {
        let entries = ErrorTable.entries
        // As it stands in a message: [no-log-entry].
        let wanted = codes.map { $0.hasPrefix("[") && $0.hasSuffix("]") ? String($0.dropFirst().dropLast()) : $0 }
        for code in wanted where !entries.contains(where: { $0.code == code }) {
            let near = NearNames(to: code, among: entries.map(\.code)).question()
            throw SigstoreError(
                .usage, "there is no error code \"\(code)\"",
                advice: "\(near ?? "\(SwSign.name) errors lists them all")")
        }
        for entry in entries where wanted.isEmpty || wanted.contains(entry.code) {
            try context.output.result(entry.code)
            try context.output.result("  Cause: \(entry.cause)")
            if !entry.cure.isEmpty { try context.output.result("  Cure: \(entry.cure)") }
        }
    }
}
