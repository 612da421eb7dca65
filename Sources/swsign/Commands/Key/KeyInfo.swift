import ArgumentParser
import KeyProviders
import StrictJSON
import SwSignCore

struct KeyInfo: SwSignCommand {
    static let configuration = CommandConfiguration(
        commandName: "info",
        abstract:
            "Shows what a key's reference is: service, key, version, algorithm, hash, and whose credentials are used.",
        discussion: "No secret is shown. A service is asked for the public key, and signs nothing.")

    @Argument(help: "The key: a file, env://NAME, - for standard input, or a key service's reference.")
    var key: String
    @Option(name: .shortAndLong, help: "How it is printed: text or json.")
    var output: OutputFormat = .text
    @OptionGroup(title: "Global options") var global: GlobalOptions

    func run(_ context: Context) throws(SigstoreError) {
        let facts = try context.key(key).readFacts(context.terminal)
        guard output == .json else {
            for fact in facts { try context.output.result("\(fact.name): \(fact.value)") }
            return
        }
        try context.output.json(
            .object([
                "version": .integer(1),
                "facts": .array(facts.map { .object(["name": .string($0.name), "value": .string($0.value)]) }),
            ]))
    }
}
