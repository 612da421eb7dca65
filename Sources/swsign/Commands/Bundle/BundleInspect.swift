import ArgumentParser
import StrictJSON
import SwSignCore

struct BundleInspect: SwSignCommand {
    static let configuration = CommandConfiguration(
        commandName: "inspect", abstract: "Shows what a bundle holds. Nothing is verified.")

    @Argument(help: "The bundle, or several, one a line; - is standard input.")
    var file: String
    @Option(name: .shortAndLong, help: "How it is printed: text or json.")
    var output: OutputFormat = .text
    @OptionGroup(title: "Global options") var global: GlobalOptions

    func run(_ context: Context) throws(SigstoreError) {
        let bundles = try SignatureFile.bundles(InputFile(file))
        var descriptions: [[BundleDescription.Row]] = []
        for bundle in bundles { descriptions.append(try BundleDescription(bundle).rows) }
        for (index, rows) in descriptions.enumerated() {
            if output == .json {
                let members = rows.map { (name: $0.name, value: $0.json) }
                try context.output.json(.object(JSONObject([(name: "version", value: .integer(1))] + members)))
            } else {
                if descriptions.count > 1 {
                    try context.output.result("Bundle \(index + 1) of \(descriptions.count)")
                }
                for row in rows { for line in row.lines { try context.output.result(line) } }
            }
        }
        if output == .text { context.output.note("Nothing of this was verified.") }
    }
}
