internal import COpenSSL
internal import CSodium
internal import StrictJSON

/// A private key that waits: encrypted, under a key that is made of 16 KiB of random bytes each time it is opened. Who gets at
/// parts of this memory, or at some of its bits wrongly, has nothing; while a registry or a log is awaited, no copy of the key
/// stands in memory.
///
/// OpenSSH keeps its agent's keys in this way.
final class SealedPrivateKey: Sendable {
    private let publicKey: PublicKey
    /// What the encryption's key is made of.
    private let random: SecretBytes
    /// The private half, encrypted: on a curve its number, for Ed25519 its seed, for RSA the key as PKCS#8.
    private let box: [UInt8]

    /// - Parameters:
    ///   - key: The `EVP_PKEY`, which stays the caller's.
    ///   - publicKey: Its public half.
    init(_ key: OpaquePointer, _ publicKey: PublicKey) throws(SigstoreError) {
        self.publicKey = publicKey
        random = try unsafe SecretBytes(
            count: Self.randomSize, writing: { unsafe randombytes_buf($0, Self.randomSize) })
        let half = unsafe try Self.privateHalf(of: key, publicKey)
        var box = [UInt8](repeating: 0, count: half.count + Int(crypto_secretbox_macbytes()))
        let sealed = try unsafe Self.encryptionKey(random).withPointer { (key) throws(SigstoreError) in
            unsafe try half.withPointer { (bytes) throws(SigstoreError) in
                // Each key encrypts once, so that the nonce need not differ.
                unsafe crypto_secretbox_easy(&box, bytes, UInt64(half.count), Self.nonce, key)
            }
        }
        guard sealed == 0 else { throw SigstoreError(.cryptographyFailed, "a private key cannot be sealed") }
        self.box = box
    }

    private static let randomSize = 16 << 10
    private static let nonce = [UInt8](repeating: 0, count: 24)

    private static func encryptionKey(_ random: SecretBytes) throws(SigstoreError) -> SecretBytes {
        try unsafe SecretBytes(
            count: 32,
            writing: { (into) throws(SigstoreError) in
                let made = unsafe try random.withPointer { (bytes) throws(SigstoreError) in
                    unsafe crypto_generichash(into, 32, bytes, UInt64(random.count), nil, 0)
                }
                guard made == 0 else { throw SigstoreError(.cryptographyFailed, "a private key cannot be sealed") }
            })
    }

    /// Opens the key for the time of the call.
    /// - Parameter body: Is given an `EVP_PKEY`, which is cleansed when it returns.
    func withKey<Result>(_ body: (OpaquePointer) throws(SigstoreError) -> Result) throws(SigstoreError) -> Result {
        let key = unsafe try open()
        defer { unsafe EVP_PKEY_free(key) }
        return unsafe try body(key)
    }

    private func open() throws(SigstoreError) -> OpaquePointer {
        let half = try unsafe SecretBytes(
            count: box.count - Int(crypto_secretbox_macbytes()),
            writing: { (into) throws(SigstoreError) in
                let opened = unsafe try Self.encryptionKey(random).withPointer { (key) throws(SigstoreError) in
                    unsafe crypto_secretbox_open_easy(into, box, UInt64(box.count), Self.nonce, key)
                }
                guard opened == 0 else {
                    throw SigstoreError(
                        .cryptographyFailed, "a private key was altered in memory",
                        advice: "the machine may be faulty: try again, and do not trust it if this happens twice")
                }
            })
        let key: OpaquePointer?
        switch publicKey.kind {
        case .ed25519:
            unsafe key = try half.withPointer { (seed) throws(SigstoreError) in
                unsafe EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, nil, seed, half.count)
            }
        case .ecP256, .ecP384, .ecP521, .rsa:
            guard let (group, point) = publicKey.uncompressedPoint else {
                return unsafe try half.withBytes { (bytes) throws(SigstoreError) in
                    unsafe try PrivateKey.decode(pkcs8: bytes)
                }
            }
            unsafe key = try half.withPointer { (number) throws(SigstoreError) in
                unsafe copenssl_private_number(group, point, point.count, number, half.count)
            }
        }
        guard let key = unsafe key else { throw opensslFailure("opening a private key") }
        return unsafe key
    }

    /// What has to be kept of a key beside its public half. OpenSSL takes longer to find its own encoder, or decoder, than to
    /// make a signature on a curve.
    private static func privateHalf(of key: OpaquePointer, _ publicKey: PublicKey) throws(SigstoreError) -> SecretBytes
    {
        switch publicKey.kind {
        case .ed25519:
            return try unsafe SecretBytes(
                count: 32,
                writing: { (into) throws(SigstoreError) in
                    var length = 32
                    guard unsafe EVP_PKEY_get_raw_private_key(key, into, &length) == 1, length == 32 else {
                        throw opensslFailure("reading an Ed25519 key")
                    }
                })
        case .ecP256, .ecP384, .ecP521, .rsa:
            guard publicKey.uncompressedPoint != nil else { return unsafe try PrivateKey.pkcs8(of: key) }
            guard let number = unsafe BigNumber(OSSL_PKEY_PARAM_PRIV_KEY, of: key) else {
                throw opensslFailure("reading a private key")
            }
            // In the machine's order of bytes, as OpenSSL takes it back; 66 of them hold the number on every curve.
            return try unsafe SecretBytes(
                count: 66,
                writing: { (into) throws(SigstoreError) in
                    guard unsafe BN_bn2nativepad(number.pointer, into, 66) == 66 else {
                        throw opensslFailure("reading a private key")
                    }
                })
        }
    }
}
