import ArgumentParser
import LocalSystem
import StrictJSON
import SwSignCore

struct Completion: SwSignCommand {
    static let configuration = CommandConfiguration(
        commandName: "completion", abstract: "Prints a completion script for bash, zsh or fish.")

    @Argument(help: "bash, zsh or fish.")
    var shell: String
    @OptionGroup(title: "Global options") var global: GlobalOptions

    func run(_ context: Context) throws(SigstoreError) {
        let shells: [String: CompletionShell] = ["bash": .bash, "zsh": .zsh, "fish": .fish]
        guard let known = shells[shell] else {
            throw SigstoreError(.usage, "there is no completion for \"\(shell)\"", advice: "use bash, zsh or fish")
        }
        try context.output.text(SwSign.completionScript(for: known) + "\n")
    }
}
