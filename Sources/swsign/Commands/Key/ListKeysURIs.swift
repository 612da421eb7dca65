import ArgumentParser
import KeyProviders
import SigstoreCrypto
import StrictJSON
import SwSignCore

struct ListKeysURIs: SwSignCommand {
    static let configuration = CommandConfiguration(
        commandName: "list-keys-uris",
        abstract: "Lists the private keys on a token, each with the reference to sign with. No PIN is shown.")

    @Option(name: .customLong("module-path"), help: "The PKCS#11 module of the token's maker, by its absolute path.")
    var modulePath: String?
    @Option(name: .customLong("slot-id"), help: "The slot that the token is in; not needed if there is one token.")
    var slotID: UInt?
    @Option(
        help: "The PIN, which others on this machine can see here; better COSIGN_PKCS11_PIN, or typed when asked for.")
    var pin: String?
    @OptionGroup(title: "Global options") var global: GlobalOptions

    func run(_ context: Context) throws(SigstoreError) {
        let (path, slot, secret) = (modulePath, slotID, pin.map { SecretBytes($0.utf8) })
        let found = try waiting { () throws(SigstoreError) in
            try await context.tokens().keys(of: path, slot: slot, pin: secret)
        }
        try context.output.result("")
        try context.output.result("Listing URIs of keys in slot '\(found.slot)' of PKCS11 module '\(found.module)'")
        for (index, key) in found.keys.enumerated() {
            try context.output.result("Object \(index)")
            func line(_ name: String, _ value: String) throws(SigstoreError) {
                if !value.isEmpty { try context.output.text("\t\(Output.escaped("\(name): \(value)"))\n") }
            }
            try line("Label", key.label)
            try line("ID", key.id.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined())
            try line("URI", key.reference ?? "")
            if key.reference == nil {
                context.output.warn(
                    "no reference means the key of object \(index) alone: give it a label and an id of its own, with the program of the token's maker"
                )
            }
        }
    }
}
