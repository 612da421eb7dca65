import ArgumentParser
import InToto
import SigstoreCrypto
import SwSignCore

struct GenerateKeyPair: ParsableCommand {
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

    mutating func run() throws {
        try global.apply()
        let algorithm = try SigningAlgorithm(named: signingAlgorithm)
        try KeyPairOutput(prefix: outputKeyPrefix).write { () throws(SigstoreError) in
            (try PrivateKey.generate(algorithm), try Terminal.password(new: true))
        }
    }
}

struct ImportKeyPair: ParsableCommand {
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

    mutating func run() throws {
        try global.apply()
        let reference = try KeyReference(key)
        try KeyPairOutput(prefix: outputKeyPrefix).write { () throws(SigstoreError) in
            let (key, opening) = try reference.openPrivateKey()
            do throws(SigstoreError) { try key.expectPrimes() } catch { throw error.concerning(reference.text) }
            // One password opens an encrypted key and closes the new one, as with cosign.
            if let opening { return (key, opening) }
            return (key, try Terminal.password(new: true, standardInputIsTaken: reference.takesStandardInput))
        }
    }
}

/// Writes the two files of a key pair; existing ones are replaced only by an answer typed on a terminal, and kept.
private struct KeyPairOutput {
    let prefix: String

    func write(_ make: () throws(SigstoreError) -> (PrivateKey, SecretBytes)) throws(SigstoreError) {
        let files = KeyPairFiles(prefix: prefix)
        let existing = files.existing
        if !existing.isEmpty {
            let names = existing.joined(separator: " and ")
            guard
                try Terminal.confirms(
                    "\(names) exist\(existing.count == 1 ? "s" : "") already. Put new keys in place (the old ones are kept under another name)?"
                )
            else {
                throw SigstoreError(
                    .fileExists, "\(names) exist\(existing.count == 1 ? "s" : "") already; nothing was written",
                    advice: "choose another --output-key-prefix, or answer yes on a terminal")
            }
        }
        let (key, password) = try make()
        for kept in try files.write(key, password: password, keepingExisting: !existing.isEmpty) {
            Output.note("The old key was kept as \(kept)")
        }
        Output.note("Private key written to \(files.privateKey.path)")
        Output.note("Public key written to \(files.publicKey.path)")
    }
}

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
