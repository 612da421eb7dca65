import ArgumentParser
import KeyProviders
import LocalSystem
import SigstoreCrypto
import StrictJSON
import SwSignCore

/// Writes the two files of a key pair; existing ones are replaced only by an answer typed on a terminal, and kept.
struct KeyPairOutput {
    let prefix: String
    let context: Context

    /// Puts a new key pair there.
    /// - Parameter make: Makes the key and its password, once it is sure that they can be kept.
    func write(_ make: () throws(SigstoreError) -> (PrivateKey, SecretBytes)) throws(SigstoreError) {
        let store: any KeyPairStore = KeyPairFiles(prefix: prefix)
        let existing = try waiting { () throws(SigstoreError) in try await store.existing() }
        if !existing.isEmpty {
            let names = existing.joined(separator: " and ")
            guard
                try context.terminal.confirms(
                    "\(names) exist\(existing.count == 1 ? "s" : "") already. Put new keys in place (the old ones are kept under another name)?"
                )
            else {
                throw SigstoreError(
                    .fileExists, "\(names) exist\(existing.count == 1 ? "s" : "") already; nothing was written",
                    advice: "choose another --output-key-prefix, or answer yes on a terminal")
            }
        }
        let (key, password) = try make()
        let stored = try waiting { () throws(SigstoreError) in
            try await store.store(key, password: password, keepingExisting: !existing.isEmpty)
        }
        for kept in stored.kept { context.output.note("The old key was kept as \(kept)") }
        context.output.note("Private key written to \(stored.privateKey)")
        context.output.note("Public key written to \(stored.publicKey)")
    }

    /// Makes a key pair, has a place keep it with its password, and writes its public key to a file.
    /// - Parameters:
    ///   - reference: Where. What is there already is replaced only by an answer typed on a terminal.
    ///   - algorithm: The kind of key.
    func keep(in reference: KeyReference, _ algorithm: SigningAlgorithm) throws(SigstoreError) {
        try reference.expectKeeper()
        let (file, isThere) = try publicKeyFile(of: reference)
        let existing = try waiting { () throws(SigstoreError) in try await reference.existingPair() }
        if !existing.isEmpty {
            let names = existing.joined(separator: " and ")
            guard
                try context.terminal.confirms(
                    "There \(existing.count == 1 ? "is" : "are") already \(names). Replace the key pair? The old private key cannot be got back"
                )
            else {
                throw SigstoreError(
                    .keyExists, "\(names) exist\(existing.count == 1 ? "s" : "") already; nothing was changed",
                    advice: "name another place, or answer yes on a terminal")
            }
        }
        let (key, password) = (try PrivateKey.generate(algorithm), try context.terminal.password(new: true))
        // A half of a pair would be worse than none.
        let stored = try Interruption.finishing { () throws(SigstoreError) in
            try waiting { () throws(SigstoreError) in
                try await reference.keep(key, password: password, replacing: !existing.isEmpty)
            }
        }
        context.output.note("Private key written to \(stored.privateKey)")
        context.output.note("Public key written to \(stored.publicKey)")
        try file.write(Array(key.publicKey.pem.utf8), replacing: isThere)
        context.output.note("Public key also written to \(file.path)")
        Interruption.endIfHeldBack()
    }

    /// The file for a public key whose private half is elsewhere.
    /// - Returns: The file, and whether it is there and may be replaced.
    private func publicKeyFile(of reference: KeyReference) throws(SigstoreError) -> (OutputFile, isThere: Bool) {
        let file = OutputFile("\(prefix).pub", mode: 0o644)
        try file.expectWritable()
        guard file.exists else { return (file, false) }
        guard
            try context.terminal.confirms(
                "\(file.path) exists already. Replace it by the public key of \(reference.text)?")
        else {
            throw SigstoreError(
                .fileExists, "\(file.path) exists already; no key was made, and nothing was written",
                advice: "choose another --output-key-prefix, or answer yes on a terminal")
        }
        return (file, true)
    }

    /// Has a key service make a key, and writes its public key; nothing else leaves the service.
    /// - Parameters:
    ///   - reference: Which key. One that is there already stays as it is.
    ///   - algorithm: The kind of key; `nil` for the service's usual one.
    func writePublicKey(madeIn reference: KeyReference, _ algorithm: SigningAlgorithm?) throws(SigstoreError) {
        try reference.expectMaker()
        let (file, isThere) = try publicKeyFile(of: reference)
        let (key, isNew) = try waiting { () throws(SigstoreError) in try await reference.makeKey(algorithm) }
        context.output.note(
            isNew
                ? "Made the key \(reference.text) (\(key.kind))"
                : "The key \(reference.text) (\(key.kind)) is there already, and stays as it is")
        try file.write(Array(key.pem.utf8), replacing: isThere)
        context.output.note("Public key written to \(file.path)")
    }
}
