import ArgumentParser
import KeyProviders
import StrictJSON
import SwSignCore

struct ListTokens: SwSignCommand {
    static let configuration = CommandConfiguration(
        commandName: "list-tokens", abstract: "Lists the tokens that a PKCS#11 module has. No PIN is needed.")

    @Option(name: .customLong("module-path"), help: "The PKCS#11 module of the token's maker, by its absolute path.")
    var modulePath: String?
    @OptionGroup(title: "Global options") var global: GlobalOptions

    func run(_ context: Context) throws(SigstoreError) {
        let path = modulePath
        let (module, tokens) = try waiting { () throws(SigstoreError) in
            try await context.tokens().tokens(of: path)
        }
        try context.output.result("")
        try context.output.result("Listing tokens of PKCS11 module '\(module)'")
        for token in tokens {
            try context.output.result("Token in slot \(token.slot)")
            for (name, value) in [
                ("Label", token.label), ("Manufacturer", token.manufacturer), ("Model", token.model),
                ("S/N", token.serial),
            ] { try context.output.text("\t\(Output.escaped("\(name): \(value)"))\n") }
            try context.output.result("")
        }
    }
}
