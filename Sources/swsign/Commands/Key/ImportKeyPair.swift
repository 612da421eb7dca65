import ArgumentParser
import SigstoreCrypto
import StrictJSON
import SwSignCore

struct ImportKeyPair: SwSignCommand {
    static let configuration = CommandConfiguration(
        commandName: "import-key-pair",
        abstract: "Imports a private key (PKCS#8, encrypted PKCS#8, SEC1 or PKCS#1, in PEM) and encrypts it.")

    @Option(name: .shortAndLong, help: "The private key to import: a file, env://NAME, or - for standard input.")
    var key: String
    @Option(
        name: [.customLong("output-key-prefix"), .customShort("o")], help: "What the names of the two files begin with."
    )
    var outputKeyPrefix = "import-cosign"
    @Flag(name: .shortAndLong, help: "Accepted as in cosign; an existing key is never replaced because of it.")
    var yes = false
    @OptionGroup(title: "Global options") var global: GlobalOptions

    func run(_ context: Context) throws(SigstoreError) {
        let reference = try context.key(key)
        try reference.expectMovable()
        try KeyPairOutput(prefix: outputKeyPrefix, context: context).write { () throws(SigstoreError) in
            let (key, opening) = try reference.openPrivateKey(context.terminal)
            do throws(SigstoreError) { try key.expectPrimes() } catch { throw error.concerning(reference.text) }
            // One password opens an encrypted key and closes the new one, as with cosign.
            if let opening { return (key, opening) }
            return (key, try context.terminal.password(new: true, standardInputIsTaken: reference.takesStandardInput))
        }
    }
}
