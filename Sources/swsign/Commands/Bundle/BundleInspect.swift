import ArgumentParser
import StrictJSON
import SwSignCore

struct BundleInspect: SwSignCommand {
    static let configuration = CommandConfiguration(
        commandName: "inspect", abstract: "Shows what a bundle holds. Nothing is verified.")

    @Argument(help: "The bundle; - is standard input.")
    var file: String
    @Option(name: .shortAndLong, help: "How it is printed: text or json.")
    var output: OutputFormat = .text
    @OptionGroup(title: "Global options") var global: GlobalOptions

    func run(_ context: Context) throws(SigstoreError) {
        let rows = try BundleDescription(try SignatureFile.bundle(InputFile(file))).rows
        if output == .json {
            let members = rows.map { (name: $0.name, value: $0.json) }
            try context.output.json(.object(JSONObject([(name: "version", value: .integer(1))] + members)))
        } else {
            for row in rows { for line in row.lines { try context.output.result(line) } }
            context.output.note("Nothing of this was verified.")
        }
    }
}
