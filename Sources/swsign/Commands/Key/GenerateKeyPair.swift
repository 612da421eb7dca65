import ArgumentParser
import SigstoreCrypto
import StrictJSON
import SwSignCore

struct GenerateKeyPair: SwSignCommand {
    static let configuration = CommandConfiguration(
        commandName: "generate-key-pair",
        abstract: "Makes a key pair for signing: a .key file, encrypted, and a .pub file.")

    @Option(
        name: .customLong("signing-algorithm"), help: "The kind of key, such as ecdsa-sha2-256-nistp256 or ed25519.")
    var signingAlgorithm = SigningAlgorithm.ecdsaP256.rawValue
    @Option(name: .customLong("output-key-prefix"), help: "What the names of the two files begin with.")
    var outputKeyPrefix = "cosign"
    @Flag(name: .shortAndLong, help: "Accepted as in cosign; an existing key is never replaced because of it.")
    var yes = false
    @OptionGroup(title: "Global options") var global: GlobalOptions

    func run(_ context: Context) throws(SigstoreError) {
        let algorithm = try SigningAlgorithm(named: signingAlgorithm)
        try KeyPairOutput(prefix: outputKeyPrefix, context: context).write { () throws(SigstoreError) in
            (try PrivateKey.generate(algorithm), try context.terminal.password(new: true))
        }
    }
}
