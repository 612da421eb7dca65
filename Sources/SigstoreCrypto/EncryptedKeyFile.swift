internal import CSodium
public import StrictJSON

/// cosign's encrypted private key: a PKCS#8 key under XSalsa20-Poly1305, its key derived by scrypt from a password.
///
/// The file is a PEM block around JSON; both cosigns read and write the same form.
public struct EncryptedKeyFile: Sendable {
    /// The label of the PEM block that is written.
    public static let label = "ENCRYPTED SIGSTORE PRIVATE KEY"
    /// The label that older cosigns wrote, still read.
    public static let olderLabel = "ENCRYPTED COSIGN PRIVATE KEY"

    /// scrypt's cost factors that are accepted; each takes 1 KiB of memory a unit.
    static let acceptedCosts: [Int64] = [32768, 65536, 131072]

    private let cost: Int64
    private let salt: [UInt8]
    private let nonce: [UInt8]
    private let ciphertext: [UInt8]

    /// Reads the JSON inside the PEM block.
    /// - Throws: `SigstoreError` with `malformed-key`, or with `refused-key-parameters` if the derivation's parameters
    ///   are not cosign's, before any memory is taken for it.
    public init(parsing json: [UInt8]) throws(SigstoreError) {
        do throws(SigstoreError) {
            let file = JSONCursor(try JSONValue(parsing: json, depth: 4))
            try file.expectOnly(["kdf", "cipher", "ciphertext"])
            let kdf = try file.member("kdf")
            try kdf.expectOnly(["name", "params", "salt"])
            let parameters = try kdf.member("params")
            try parameters.expectOnly(["N", "r", "p"])
            let cipher = try file.member("cipher")
            try cipher.expectOnly(["name", "nonce"])
            let (name, algorithm) = (try kdf.member("name").string(), try cipher.member("name").string())
            cost = try parameters.member("N").integer()
            let (blockSize, lanes) = (try parameters.member("r").integer(), try parameters.member("p").integer())
            guard name == "scrypt", algorithm == "nacl/secretbox", Self.acceptedCosts.contains(cost), blockSize == 8,
                lanes == 1
            else {
                throw SigstoreError(
                    .refusedKeyParameters,
                    "the key is encrypted with \(name) (N=\(cost), r=\(blockSize), p=\(lanes)) and \(algorithm); "
                        + "only scrypt with N=32768, 65536 or 131072, r=8, p=1 and nacl/secretbox are accepted")
            }
            salt = try kdf.member("salt").bytes()
            nonce = try cipher.member("nonce").bytes()
            ciphertext = try file.member("ciphertext").bytes()
        } catch  where error.code != .refusedKeyParameters {
            throw SigstoreError(.malformedKey, "the encrypted private key is damaged: \(error.message)", cause: error)
        }
        guard (8...256).contains(salt.count), nonce.count == Int(crypto_secretbox_noncebytes()),
            ciphertext.count > Int(crypto_secretbox_macbytes())
        else {
            throw SigstoreError(
                .malformedKey, "the encrypted private key is damaged: its salt, nonce or ciphertext is cut short")
        }
    }

    /// Encrypts a private key as cosign does, with N=65536.
    /// - Parameters:
    ///   - key: The key to keep.
    ///   - password: May be empty.
    public init(encrypting key: PrivateKey, password: SecretBytes) throws(SigstoreError) {
        try Libraries.ready()
        cost = 65536
        salt = try randomBytes(32)
        let nonce = try randomBytes(Int(crypto_secretbox_noncebytes()))
        self.nonce = nonce
        let secret = try Self.derive(password: password, salt: salt, cost: cost)
        let plain = try key.pkcs8()
        var sealed = [UInt8](repeating: 0, count: plain.count + Int(crypto_secretbox_macbytes()))
        let result = unsafe plain.withBytes { plainBytes in
            unsafe secret.withBytes { keyBytes -> Int32 in
                guard let from = unsafe plainBytes.baseAddress?.assumingMemoryBound(to: UInt8.self),
                    let with = unsafe keyBytes.baseAddress?.assumingMemoryBound(to: UInt8.self)
                else { return -1 }
                return unsafe crypto_secretbox_easy(&sealed, from, UInt64(plainBytes.count), nonce, with)
            }
        }
        guard result == 0 else { throw SigstoreError(.cryptographyFailed, "encrypting the private key failed") }
        ciphertext = sealed
    }

    /// Opens the key.
    /// - Returns: PKCS#8 in DER.
    /// - Throws: `SigstoreError` with `wrong-password`.
    public func decrypt(password: SecretBytes) throws(SigstoreError) -> SecretBytes {
        try Libraries.ready()
        let secret = try Self.derive(password: password, salt: salt, cost: cost)
        return try unsafe SecretBytes(count: ciphertext.count - Int(crypto_secretbox_macbytes())) {
            (plain) throws(SigstoreError) in
            let result = unsafe secret.withBytes { keyBytes -> Int32 in
                guard let into = unsafe plain.baseAddress?.assumingMemoryBound(to: UInt8.self),
                    let with = unsafe keyBytes.baseAddress?.assumingMemoryBound(to: UInt8.self)
                else { return -1 }
                return unsafe crypto_secretbox_open_easy(into, ciphertext, UInt64(ciphertext.count), nonce, with)
            }
            guard result == 0 else { throw SigstoreError.wrongPassword }
        }
    }

    private static func derive(password: SecretBytes, salt: [UInt8], cost: Int64) throws(SigstoreError) -> SecretBytes {
        try unsafe SecretBytes(count: Int(crypto_secretbox_keybytes())) { (key) throws(SigstoreError) in
            let result = unsafe password.withBytes { bytes -> Int32 in
                guard let from = unsafe bytes.baseAddress?.assumingMemoryBound(to: UInt8.self),
                    let into = unsafe key.baseAddress?.assumingMemoryBound(to: UInt8.self)
                else { return -1 }
                return unsafe crypto_pwhash_scryptsalsa208sha256_ll(
                    from, bytes.count, salt, salt.count, UInt64(cost), 8, 1, into, key.count)
            }
            guard result == 0 else {
                throw SigstoreError(
                    .cryptographyFailed, "there is not enough memory to derive the key from the password (\(cost) KiB)")
            }
        }
    }

    /// The file's content: the PEM block.
    public func pem() -> String {
        let json = JSONValue.object([
            "kdf": .object([
                "name": .string("scrypt"),
                "params": .object(["N": .integer(cost), "r": .integer(8), "p": .integer(1)]),
                "salt": .bytes(salt),
            ]),
            "cipher": .object(["name": .string("nacl/secretbox"), "nonce": .bytes(nonce)]),
            "ciphertext": .bytes(ciphertext),
        ])
        return PEM.encode(label: Self.label, json.serialized())
    }
}

extension SigstoreError.Code {
    /// An encrypted key file asks for a key derivation that is not cosign's.
    public static let refusedKeyParameters = Self("refused-key-parameters")
}
