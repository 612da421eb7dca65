import ArgumentParser
import LocalSystem
import SigstoreCrypto
import StrictJSON
import SwSignCore

struct PublicKeyCommand: SwSignCommand {
    static let configuration = CommandConfiguration(
        commandName: "public-key", abstract: "Prints the public key of a key pair, in PEM.")

    @Option(help: "The key: a private key in a file, env://NAME, - for standard input, or a key service's reference.")
    var key: String?
    @OptionGroup var securityKey: SecurityKeyOptions
    @Option(help: "Write the public key to this file.")
    var outfile: String?
    @OptionGroup(title: "Global options") var global: GlobalOptions

    func run(_ context: Context) throws(SigstoreError) {
        guard let key = try securityKey.key(or: key, context) else {
            throw SigstoreError(.usage, "no key is named", advice: "give --key, or --sk for a YubiKey")
        }
        let reference = try context.key(key)
        let file = outfile.flatMap { $0 == "-" ? nil : OutputFile($0, mode: 0o644) }
        if let file { context.output.places.reserve(file) }
        let publicKey = try reference.readPublicKeyOfPair(context.terminal)
        guard let file else { return try context.output.text(publicKey.pem) }
        try context.output.places.expectNotRead(file)
        try file.write(Array(publicKey.pem.utf8))
        context.output.note("Public key written to \(file.path)")
    }
}
