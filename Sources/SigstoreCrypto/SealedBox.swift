internal import CSodium
public import StrictJSON

/// libsodium's sealed boxes, which only the owner of a key can open: X25519 with a key that is made for each, and
/// XSalsa20-Poly1305. GitHub takes secrets in them.
public enum SealedBox {
    /// Closes a secret in a box.
    /// - Parameters:
    ///   - secret: The secret.
    ///   - publicKey: The 32 bytes of the X25519 key that opens it.
    /// - Returns: The box: 48 bytes more than the secret has.
    /// - Throws: `SigstoreError` with `malformed-key` if that is no such key.
    public static func seal(_ secret: SecretBytes, for publicKey: [UInt8]) throws(SigstoreError) -> [UInt8] {
        try Libraries.ready()
        guard publicKey.count == Int(crypto_box_publickeybytes()) else {
            throw SigstoreError(
                .malformedKey, "a key for sealed boxes has 32 bytes, and this one has \(publicKey.count)")
        }
        var box = [UInt8](repeating: 0, count: secret.count + Int(crypto_box_sealbytes()))
        let result = try unsafe secret.withPointer { (bytes) throws(SigstoreError) in
            unsafe crypto_box_seal(&box, bytes, UInt64(secret.count), publicKey)
        }
        guard result == 0 else { throw SigstoreError(.malformedKey, "nothing can be sealed with this key") }
        return box
    }
}
