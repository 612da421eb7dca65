import ArgumentParser
import LocalSystem
import SigstoreCrypto
import StrictJSON
import SwSignCore

/// Writes the two files of a key pair; existing ones are replaced only by an answer typed on a terminal, and kept.
struct KeyPairOutput {
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
