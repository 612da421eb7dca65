import ArgumentParser
import SigstoreCrypto
import StrictJSON
import SwSignCore

struct GenerateKeyPair: SwSignCommand {
    static let configuration = CommandConfiguration(
        commandName: "generate-key-pair",
        abstract: "Makes a key pair for signing: a .key file, encrypted, and a .pub file; or a key in a key service.",
        discussion:
            "k8s://NAMESPACE/NAME, gitlab://GROUP/PROJECT or github://OWNER/REPOSITORY keeps the pair there, with its password, in place of the .key file."
    )

    @Argument(
        help:
            "Where to keep the pair in place of the .key file, such as k8s://NAMESPACE/NAME; its public key is written to a .pub file too."
    )
    var place: String?
    @Option(
        name: .customLong("signing-algorithm"),
        help: "The kind of key, such as ecdsa-sha2-256-nistp256 (what is made without this) or ed25519.",
        completion: .signingAlgorithms)
    var signingAlgorithm: String?
    @Option(
        help: "Make the key in a key service, by its reference; only its public key is written, to a .pub file.")
    var kms: String?
    @Option(name: .customLong("output-key-prefix"), help: "What the names of the two files begin with.")
    var outputKeyPrefix = "cosign"
    @Flag(name: .shortAndLong, help: "Accepted as in cosign; an existing key is never replaced because of it.")
    var yes = false
    @OptionGroup(title: "Global options") var global: GlobalOptions

    func run(_ context: Context) throws(SigstoreError) {
        let algorithm = try signingAlgorithm.map { name throws(SigstoreError) in try SigningAlgorithm(named: name) }
        let output = KeyPairOutput(prefix: outputKeyPrefix, context: context)
        if let place {
            guard kms == nil else {
                throw SigstoreError(
                    .usage,
                    "--kms has a key made in a service, and \(try context.key(place).text) keeps one that is made here: both cannot be",
                    advice: "give one of them")
            }
            return try output.keep(in: try context.key(place), algorithm ?? .ecdsaP256)
        }
        if let kms { return try output.writePublicKey(madeIn: try context.key(kms), algorithm) }
        try output.write { () throws(SigstoreError) in
            (try PrivateKey.generate(algorithm ?? .ecdsaP256), try context.terminal.password(new: true))
        }
    }
}
