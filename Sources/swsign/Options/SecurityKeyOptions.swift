import ArgumentParser
import KeyProviders
import LocalSystem
import StrictJSON
import SwSignCore

/// The flags that name a key on a YubiKey, in place of `--key`.
struct SecurityKeyOptions: ParsableArguments {
    @Flag(name: .customLong("sk"), help: "Use the key on a YubiKey, in place of --key.")
    var isUsed = false
    @Option(
        help:
            "The YubiKey's slot for --sk: signature (as without this flag), authentication, card-authentication or key-management."
    )
    var slot: String?

    /// The slots by cosign's names, with the identifiers that keys in them have over PKCS#11 (PIV 9c, 9a, 9e and 9d).
    private static let slots = [
        ("signature", 2), ("authentication", 1), ("card-authentication", 4), ("key-management", 3),
    ]

    /// The key that is named, by `--key` or by these flags.
    /// - Parameter key: What `--key` names.
    /// - Returns: `nil` if none is named.
    /// - Throws: `SigstoreError` with `usage`.
    func key(or key: String?, _ context: Context) throws(SigstoreError) -> String? {
        guard isUsed else {
            guard slot == nil else {
                throw SigstoreError(
                    .usage, "--slot names a slot of a YubiKey, and --sk is not given", advice: "give --sk too")
            }
            return key
        }
        guard key == nil else {
            throw SigstoreError(.usage, "--key and --sk cannot be given together", advice: "leave one of them out")
        }
        guard let (_, id) = Self.slots.first(where: { $0.0 == slot ?? "signature" }) else {
            throw SigstoreError(
                .usage, "there is no slot \"\(slot ?? "")\"",
                advice: .sentence("the slots are \(Self.slots.map(\.0).joined(separator: ", "))"))
        }
        // Another module may serve the YubiKey too; by its name, Yubico's own is found.
        let path = context.environment.value("COSIGN_PKCS11_MODULE_PATH")
        let isFile = path.map { FileStatus($0)?.kind != .folder } ?? false
        let module = isFile ? "" : "?module-name=ykcs11"
        return "pkcs11:id=%0\(id)\(module)"
    }
}

extension SecurityKeyOptions: FlagReader {
    mutating func take(_ given: inout GivenFlags) {
        isUsed = given.isOn("sk")
        slot = given.value("slot")
    }
}
