import ArgumentParser
import InToto
import LocalSystem
import SigstoreCrypto
import StrictJSON
import SwSignCore

struct Completion: SwSignCommand {
    static let configuration = CommandConfiguration(
        commandName: "completion", abstract: "Prints a completion script for bash, zsh or fish.")

    @Argument(help: "bash, zsh or fish.", completion: .list(["bash", "zsh", "fish"]))
    var shell: String
    @OptionGroup(title: "Global options") var global: GlobalOptions

    func run(_ context: Context) throws(SigstoreError) {
        let shells: [String: CompletionShell] = ["bash": .bash, "zsh": .zsh, "fish": .fish]
        guard let known = shells[shell] else {
            throw SigstoreError(.usage, "there is no completion for \"\(shell)\"", advice: "use bash, zsh or fish")
        }
        try context.output.text(Self.script(SwSign.completionScript(for: known), known) + "\n")
    }

    /// The parser's script, which then offers files where it knows nothing better, and serves a link of the name `cosign`.
    private static func script(_ script: String, _ shell: CompletionShell) -> String {
        let isLink = SwSign.name == "swsign"
        switch shell {
        case .bash:
            let register = "complete -o filenames -o default -F _\(SwSign.name)"
            let script = script.replacing("complete -o filenames -F _\(SwSign.name)", with: register)
            guard isLink else { return script }
            // Tests of the shell's own see through links.
            return script + """

                if [[ "$(type -P cosign)" -ef "$(type -P swsign)" ]]; then
                    \(register) cosign
                fi
                """
        case .zsh:
            var lines = script.split(separator: "\n", omittingEmptySubsequences: false).map(String.init)
            for (index, line) in lines.enumerated() where line.hasSuffix(":'") && !line.hasSuffix(":subcommands:'") {
                lines[index] = line.dropLast() + "_files'"
            }
            let script = lines.joined(separator: "\n")
            guard isLink else { return script }
            return
                script
                // Another cosign has a completion of its own.
                .replacing("#compdef swsign\n", with: "#compdef swsign cosign\n")
                .replacing(
                    "\n_swsign() {\n",
                    with: "\n_swsign() {\n"
                        + "    if [[ \"${words[1]:t}\" = cosign && ! \"${commands[cosign]}\" -ef \"${commands[swsign]}\" ]]; then\n"
                        + "        _default\n        return\n    fi\n"
                )
                .replacing("    compdef _swsign swsign\n", with: "    compdef _swsign swsign cosign\n")
        default:
            // Files are left out for the whole program, and then wherever there are other words to offer.
            let script = script.replacing("-rfka ''", with: "-rF")
                .replacing("complete -c '\(SwSign.name)' -f\n", with: "")
            guard isLink else { return script }
            let tokens = "set -l unparsed_tokens (__swsign_tokens -pc)\n"
            return script.replacing(tokens, with: tokens + "    set unparsed_tokens[1] swsign\n") + """

                if command -sq cosign; and command -sq swsign; and test (realpath (command -s cosign)) = (realpath (command -s swsign))
                    complete -c cosign -w swsign
                end
                """
        }
    }
}

extension CompletionKind {
    /// The names of predicate types.
    static var predicateTypes: CompletionKind { .list(PredicateType.shortNames.map(\.name)) }
    /// The names of algorithms.
    static var signingAlgorithms: CompletionKind { .list(SigningAlgorithm.allCases.map(\.rawValue)) }
}
