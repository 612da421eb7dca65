import ArgumentParser
import LocalSystem
import SigstoreCrypto
import StrictJSON
import SwSignCore

struct PublicKeyCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "public-key", abstract: "Prints the public key of a key pair, in PEM.")

    @Option(help: "The private key: a file, env://NAME, or - for standard input.")
    var key: String
    @Option(help: "Write the public key to this file.")
    var outfile: String?
    @OptionGroup(title: "Global options") var global: GlobalOptions

    mutating func run() throws {
        try global.apply()
        let reference = try KeyReference(key)
        let file = outfile.map { OutputFile($0, mode: 0o644) }
        file?.reserve()
        let publicKey = try reference.openPrivateKey().key.publicKey
        guard let file else { return try Output.text(publicKey.pem) }
        try file.expectNotRead()
        try file.write(Array(publicKey.pem.utf8))
        Output.note("Public key written to \(file.path)")
    }
}
