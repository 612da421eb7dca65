internal import COpenSSL
internal import CSodium
public import StrictJSON

/// What can sign: a key file, a key in a key service or token, or an ephemeral key.
public protocol Signer: Sendable {
    /// The key that verifies what this signs.
    var publicKey: PublicKey { get }
    /// How it can sign, the best first. By default, every way that its public key allows; a key service often has one only.
    var schemes: [SignatureScheme] { get }
    /// Whether it takes messages only whole, and hashes them itself. By default it takes what the scheme needs: a digest,
    /// and for pure Ed25519 the message.
    var takesWholeMessages: Bool { get }
    /// What an error calls it: of a key service, the service, the key and its version. By default "the key".
    var displayName: String { get }
    /// Signs a message. A key service is far away, so this may take its time.
    /// - Parameters:
    ///   - message: The message, read for this scheme; with its bytes (``HashedMessage/bytes``) if
    ///     ``Signer/takesWholeMessages``.
    ///   - scheme: One of ``Signer/schemes``.
    /// - Returns: DER for ECDSA, the bare bytes otherwise.
    /// - Throws: `SigstoreError` that says which key did not sign, and why.
    func sign(_ message: HashedMessage, scheme: SignatureScheme) async throws(SigstoreError) -> [UInt8]
}

extension Signer {
    public var schemes: [SignatureScheme] {
        let best = publicKey.defaultScheme
        return [best] + publicKey.schemes.filter { $0 != best }
    }

    public var takesWholeMessages: Bool { false }

    public var displayName: String { "the key" }
}

/// A private key in memory: sealed while it waits, and open only while it is used.
public final class PrivateKey: Signer, Sendable {
    public let publicKey: PublicKey
    private let sealed: SealedPrivateKey

    /// Takes an `EVP_PKEY` over, and cleanses it.
    /// - Parameters:
    ///   - pointer: The key, with its private half.
    ///   - isNew: Whether it was just made here. Otherwise its halves are checked.
    init(takingOwnershipOf pointer: OpaquePointer, isNew: Bool = false) throws(SigstoreError) {
        defer { unsafe EVP_PKEY_free(pointer) }
        let kind = try unsafe PublicKey.kind(of: pointer)
        publicKey = try PublicKey(der: unsafe PublicKey.encode(pointer, kind))
        if !isNew { try unsafe Self.expectPair(pointer, kind) }
        sealed = try unsafe SealedPrivateKey(pointer, publicKey)
    }

    /// Makes a new key.
    public static func generate(_ algorithm: SigningAlgorithm) throws(SigstoreError) -> PrivateKey {
        try Libraries.ready()
        let type =
            switch algorithm {
            case .ecdsaP256, .ecdsaP384, .ecdsaP521: EVP_PKEY_EC
            case .ed25519, .ed25519ph: EVP_PKEY_ED25519
            case .rsa2048, .rsa3072, .rsa4096: EVP_PKEY_RSA
            }
        guard let context = unsafe EVP_PKEY_CTX_new_id(type, nil) else { throw opensslFailure("making a key") }
        defer { unsafe EVP_PKEY_CTX_free(context) }
        guard unsafe EVP_PKEY_keygen_init(context) == 1 else { throw opensslFailure("making a key") }
        let chosen: Int32 =
            switch algorithm {
            case .ecdsaP256: unsafe EVP_PKEY_CTX_set_ec_paramgen_curve_nid(context, NID_X9_62_prime256v1)
            case .ecdsaP384: unsafe EVP_PKEY_CTX_set_ec_paramgen_curve_nid(context, NID_secp384r1)
            case .ecdsaP521: unsafe EVP_PKEY_CTX_set_ec_paramgen_curve_nid(context, NID_secp521r1)
            case .rsa2048: unsafe EVP_PKEY_CTX_set_rsa_keygen_bits(context, 2048)
            case .rsa3072: unsafe EVP_PKEY_CTX_set_rsa_keygen_bits(context, 3072)
            case .rsa4096: unsafe EVP_PKEY_CTX_set_rsa_keygen_bits(context, 4096)
            case .ed25519, .ed25519ph: 1
            }
        guard chosen == 1 else { throw opensslFailure("making a key") }
        var key: OpaquePointer?
        guard unsafe EVP_PKEY_keygen(context, &key) == 1, let made = unsafe key else {
            throw opensslFailure("making a key")
        }
        return try unsafe PrivateKey(takingOwnershipOf: unsafe made, isNew: true)
    }

    /// Reads a private key as people keep it in files: cosign's encrypted key, PKCS#8, encrypted PKCS#8, SEC1, PKCS#1.
    /// - Parameters:
    ///   - file: The content of the file, PEM.
    ///   - password: Asked for only if the key is encrypted.
    /// - Throws: `SigstoreError` with `wrong-password`, `malformed-key` (also if the private and the public half do not
    ///   belong together), `unsupported-key` or `refused-key-parameters`.
    public static func read(file: [UInt8], password: () throws(SigstoreError) -> SecretBytes)
        throws(SigstoreError) -> PrivateKey
    {
        guard !file.isEmpty else { throw SigstoreError(.malformedKey, "the private key is empty") }
        // `openssl ecparam -genkey` and `dsaparam -genkey` write the parameters as a block of their own before the key.
        var blocks = try PEM.blocks(in: file).filter {
            !$0.label.utf8.elementsEqual("EC PARAMETERS".utf8) && !$0.label.utf8.elementsEqual("DSA PARAMETERS".utf8)
        }
        defer { for index in blocks.indices { SecretBytes.cleanse(&blocks[index].bytes) } }
        guard !blocks.isEmpty else {
            throw SigstoreError(.malformedKey, "not a private key in PEM", advice: "the file may be cut short")
        }
        guard blocks.count == 1 else {
            throw SigstoreError(
                .malformedKey, "the file holds \(blocks.count) PEM blocks where one private key should be")
        }
        return try read(blocks[0], password: password)
    }

    /// Reads the PEM block of a private key. The caller's copy is the caller's to cleanse.
    static func read(_ block: PEM.Block, password: () throws(SigstoreError) -> SecretBytes)
        throws(SigstoreError) -> PrivateKey
    {
        switch block.label {
        case EncryptedKeyFile.label, EncryptedKeyFile.olderLabel:
            let pkcs8 = try EncryptedKeyFile(parsing: block.bytes).decrypt(password: try password())
            return try unsafe pkcs8.withBytes { (bytes) throws(SigstoreError) in try unsafe PrivateKey(pkcs8: bytes) }
        case "PRIVATE KEY":
            return try unsafe SecretBytes(block.bytes).withBytes { (bytes) throws(SigstoreError) in
                try unsafe PrivateKey(pkcs8: bytes)
            }
        case "ENCRYPTED PRIVATE KEY":
            try Self.expectBoundedDerivation(block.bytes)
            return try PrivateKey(encryptedPKCS8: block.bytes, password: try password())
        case "EC PRIVATE KEY": return try PrivateKey(traditional: block.bytes, type: EVP_PKEY_EC)
        case "RSA PRIVATE KEY": return try PrivateKey(traditional: block.bytes, type: EVP_PKEY_RSA)
        case "PUBLIC KEY", "RSA PUBLIC KEY":
            throw SigstoreError(
                .malformedKey, "this is a public key where a private key is needed",
                advice: .remedy(.givePrivateKey))
        case let other where other.utf8.reversed().starts(with: " PRIVATE KEY".utf8.reversed()):
            throw SigstoreError(
                .unsupportedKey, "a private key in the form \(other) is not supported",
                advice: "give PKCS#8, SEC1 or PKCS#1; ssh-keygen -p -m PKCS8 -f FILE converts an OpenSSH key in place")
        default:
            throw SigstoreError(.malformedKey, "this is a \(block.label) where a private key is needed")
        }
    }

    /// Refuses a private key that is not in its range, and one whose public half belongs to another.
    private static func expectPair(_ pointer: OpaquePointer, _ kind: PublicKey.Kind) throws(SigstoreError) {
        switch kind {
        case .ecP256, .ecP384, .ecP521:
            guard let context = unsafe EVP_PKEY_CTX_new_from_pkey(nil, pointer, nil) else {
                throw opensslFailure("checking a private key")
            }
            defer {
                unsafe EVP_PKEY_CTX_free(context)
                ERR_clear_error()
            }
            guard unsafe EVP_PKEY_private_check(context) == 1 else {
                throw inconsistent("its number is not between 1 and the order of its curve")
            }
            guard unsafe EVP_PKEY_pairwise_check(context) == 1 else {
                throw inconsistent("its public half belongs to another private key")
            }
        // OpenSSL computes the public half from the private one.
        case .ed25519: break
        case .rsa: try unsafe expectNumbers(pointer)
        }
    }

    /// OpenSSL's names of what an RSA key keeps for the Chinese remainder theorem. Its own macros put strings together,
    /// which Swift cannot import.
    private static let (primes, exponents, coefficient) =
        (["rsa-factor1", "rsa-factor2"], ["rsa-exponent1", "rsa-exponent2"], "rsa-coefficient1")

    /// What the numbers of an RSA key are to each other (RFC 8017, section 3.2). A key with a wrong number signs, slowly
    /// or not at all, and may give its primes away.
    private static func expectNumbers(_ pointer: OpaquePointer) throws(SigstoreError) {
        func number(_ name: String) throws(SigstoreError) -> BigNumber {
            guard let number = unsafe BigNumber(name, of: pointer) else {
                throw inconsistent("it lacks one of its numbers (\(name))")
            }
            return number
        }
        let (n, e) = (try number(OSSL_PKEY_PARAM_RSA_N), try number(OSSL_PKEY_PARAM_RSA_E))
        let (d, inverse) = (try number(OSSL_PKEY_PARAM_RSA_D), try number(coefficient))
        let (p, q) = (try number(primes[0]), try number(primes[1]))
        guard p.bits > 1, q.bits > 1, p.isOdd, q.isOdd, !p.equals(q), try p.times(q).equals(n) else {
            throw inconsistent("its modulus is not the product of its two primes")
        }
        guard d.isBelow(n) else { throw inconsistent("its private exponent is not below its modulus") }
        for (prime, name) in [(p, exponents[0]), (q, exponents[1])] {
            let order = try prime.predecessor()
            guard try d.times(e, modulo: order).isOne else {
                throw inconsistent("its public half belongs to another private key")
            }
            guard try number(name).equals(try d.remainder(by: order)) else {
                throw inconsistent("one of its exponents for the Chinese remainder theorem is wrong")
            }
        }
        guard inverse.isBelow(p), try inverse.times(q, modulo: p).isOne else {
            throw inconsistent("its coefficient for the Chinese remainder theorem is wrong")
        }
    }

    /// Refuses an RSA key whose primes are none, which takes longer than signing does and is asked once, before a key that
    /// others made is kept.
    /// - Throws: `SigstoreError` with `malformed-key`.
    public func expectPrimes() throws(SigstoreError) {
        guard case .rsa = publicKey.kind else { return }
        unsafe try sealed.withKey { (pointer) throws(SigstoreError) in
            for name in Self.primes {
                guard let prime = unsafe BigNumber(name, of: pointer), try prime.isPrime() else {
                    throw Self.inconsistent("one of its primes is not a prime")
                }
            }
        }
    }

    private static func inconsistent(_ why: String) -> SigstoreError {
        SigstoreError(
            .malformedKey, "the private key cannot be used: \(why)",
            advice: "the file is damaged or was tampered with: get the key from where it was made, or make another one")
    }

    /// Reads PKCS#8 (RFC 5958) in DER, with nothing after it.
    private convenience init(pkcs8: UnsafeRawBufferPointer) throws(SigstoreError) {
        try Libraries.ready()
        try unsafe self.init(takingOwnershipOf: unsafe Self.decode(pkcs8: pkcs8))
    }

    /// Reads PKCS#8 (RFC 5958) in DER, with nothing after it.
    /// - Returns: An `EVP_PKEY`, which is the caller's to free.
    static func decode(pkcs8: UnsafeRawBufferPointer) throws(SigstoreError) -> OpaquePointer {
        var position = unsafe pkcs8.baseAddress?.assumingMemoryBound(to: UInt8.self)
        guard let start = unsafe position,
            let info = unsafe d2i_PKCS8_PRIV_KEY_INFO(nil, &position, pkcs8.count)
        else {
            ERR_clear_error()
            throw SigstoreError(.malformedKey, "not a PKCS#8 private key")
        }
        defer { unsafe PKCS8_PRIV_KEY_INFO_free(info) }
        guard unsafe position == start + pkcs8.count, let key = unsafe EVP_PKCS82PKEY(info) else {
            ERR_clear_error()
            throw SigstoreError(.malformedKey, "not a PKCS#8 private key of a known kind")
        }
        return unsafe key
    }

    /// The most rounds of PBKDF2, or of the older derivations, that an encrypted PKCS#8 key may ask for: seconds of work.
    static let iterationLimit = 10_000_000
    /// The most that its scrypt may ask for, as N times r times p; cosign's own parameters take 524,288.
    static let scryptLimit = 8 << 20

    /// Refuses an encrypted PKCS#8 key (RFC 8018) whose key derivation would take minutes, or gigabytes, before the
    /// password is asked for.
    private static func expectBoundedDerivation(_ der: [UInt8]) throws(SigstoreError) {
        var file = DERReader(der[...], of: DERSubject(code: .malformedKey, name: "the encrypted PKCS#8 private key"))
        var info = try file.enter(DERReader.Tag.sequence, "the key")
        var algorithm = try info.enter(DERReader.Tag.sequence, "the encryption algorithm")
        var parameters: DERReader
        switch try algorithm.objectIdentifier("the encryption algorithm").description {
        case "1.2.840.113549.1.5.13":
            var scheme = try algorithm.enter(DERReader.Tag.sequence, "the parameters of PBES2")
            var derivation = try scheme.enter(DERReader.Tag.sequence, "the key derivation")
            let function = try derivation.objectIdentifier("the key derivation").description
            parameters = try derivation.enter(DERReader.Tag.sequence, "the parameters of the key derivation")
            if function == "1.3.6.1.4.1.11591.4.11" {
                _ = try parameters.octetString("the salt")
                var product = 1
                for name in ["N", "r", "p"] {
                    let (value, overflow) = product.multipliedReportingOverflow(by: try count(&parameters, name))
                    product = overflow ? Int.max : value
                }
                guard product <= scryptLimit else {
                    throw SigstoreError(
                        .refusedKeyParameters,
                        "the key is encrypted with scrypt at N·r·p = \(product), expected at most \(scryptLimit)")
                }
                return
            }
        default:
            // PBES1 and PKCS#12's, whose parameters are a salt and a number of rounds, as PBKDF2's are.
            parameters = try algorithm.enter(DERReader.Tag.sequence, "the parameters of the encryption")
        }
        _ = try parameters.octetString("the salt")
        let rounds = try count(&parameters, "the number of rounds")
        guard rounds <= iterationLimit else {
            throw SigstoreError(
                .refusedKeyParameters,
                "the key is encrypted with \(rounds) rounds of key derivation, expected at most \(iterationLimit)")
        }
    }

    /// A number that the file states; what is negative or above 63 bits counts as the largest there is.
    private static func count(_ reader: inout DERReader, _ what: String) throws(SigstoreError) -> Int {
        let digits = try reader.integer(what)
        guard digits.count <= 8, let first = digits.first, first < 0x80 else { return .max }
        return digits.reduce(0) { $0 << 8 | Int($1) }
    }

    private convenience init(encryptedPKCS8 der: [UInt8], password: SecretBytes) throws(SigstoreError) {
        try Libraries.ready()
        let sealed: OpaquePointer? = unsafe der.withUnsafeBufferPointer {
            var position = $0.baseAddress
            return unsafe d2i_X509_SIG(nil, &position, $0.count)
        }
        guard let sealed = unsafe sealed else {
            ERR_clear_error()
            throw SigstoreError(.malformedKey, "not an encrypted PKCS#8 private key")
        }
        defer { unsafe X509_SIG_free(sealed) }
        let info = unsafe password.withBytes {
            unsafe PKCS8_decrypt(sealed, $0.baseAddress?.assumingMemoryBound(to: CChar.self), Int32(clamping: $0.count))
        }
        guard let info = unsafe info else {
            ERR_clear_error()
            throw SigstoreError.wrongPassword
        }
        defer { unsafe PKCS8_PRIV_KEY_INFO_free(info) }
        guard let key = unsafe EVP_PKCS82PKEY(info) else {
            ERR_clear_error()
            throw SigstoreError(.malformedKey, "the encrypted PKCS#8 file does not hold a key of a known kind")
        }
        try unsafe self.init(takingOwnershipOf: unsafe key)
    }

    /// Reads SEC1 (RFC 5915) or PKCS#1 (RFC 8017) in DER.
    private convenience init(traditional der: [UInt8], type: Int32) throws(SigstoreError) {
        try Libraries.ready()
        guard let key = unsafe SigstoreCrypto.decode(der, { unsafe d2i_PrivateKey(type, nil, $0, $1) }, EVP_PKEY_free)
        else {
            ERR_clear_error()
            throw SigstoreError(.malformedKey, "not a \(type == EVP_PKEY_EC ? "SEC1 EC" : "PKCS#1 RSA") private key")
        }
        try unsafe self.init(takingOwnershipOf: unsafe key)
    }

    /// The key as unencrypted PKCS#8 in DER, in memory that is cleansed.
    public func pkcs8() throws(SigstoreError) -> SecretBytes {
        unsafe try sealed.withKey { (pointer) throws(SigstoreError) in unsafe try Self.pkcs8(of: pointer) }
    }

    /// A key as unencrypted PKCS#8 in DER, in memory that is cleansed.
    static func pkcs8(of pointer: OpaquePointer) throws(SigstoreError) -> SecretBytes {
        guard let info = unsafe EVP_PKEY2PKCS8(pointer) else { throw opensslFailure("encoding a private key") }
        defer { unsafe PKCS8_PRIV_KEY_INFO_free(info) }
        let count = Int(unsafe i2d_PKCS8_PRIV_KEY_INFO(info, nil))
        guard count > 0 else { throw opensslFailure("encoding a private key") }
        return try unsafe SecretBytes(count: count) { (buffer) throws(SigstoreError) in
            var position = unsafe buffer.baseAddress?.assumingMemoryBound(to: UInt8.self)
            guard Int(unsafe i2d_PKCS8_PRIV_KEY_INFO(info, &position)) == count else {
                throw opensslFailure("encoding a private key")
            }
        }
    }

    public func sign(_ message: HashedMessage, scheme: SignatureScheme) throws(SigstoreError) -> [UInt8] {
        guard publicKey.schemes.contains(scheme) else {
            throw SigstoreError(.unsupportedKey, "a key of kind \(publicKey.kind) cannot sign with \(scheme)")
        }
        return unsafe try sealed.withKey { (pointer) throws(SigstoreError) in
            unsafe try Self.sign(message, scheme: scheme, with: pointer)
        }
    }

    private static func sign(_ message: HashedMessage, scheme: SignatureScheme, with pointer: OpaquePointer)
        throws(SigstoreError) -> [UInt8]
    {
        switch scheme {
        case .ed25519:
            guard let whole = message.message else { throw PublicKey.notRead(scheme) }
            guard let context = unsafe EVP_MD_CTX_new() else { throw opensslFailure("signing") }
            defer { unsafe EVP_MD_CTX_free(context) }
            var signature = [UInt8](repeating: 0, count: 64)
            var length = signature.count
            guard unsafe EVP_DigestSignInit(context, nil, nil, nil, pointer) == 1,
                unsafe EVP_DigestSign(context, &signature, &length, whole, whole.count) == 1, length == 64
            else { throw opensslFailure("signing") }
            return signature
        case .ed25519ph:
            guard var state = message.prehash?.state else { throw PublicKey.notRead(scheme) }
            let seed = try unsafe SecretBytes(count: 32) { (buffer) throws(SigstoreError) in
                var length = 32
                guard
                    unsafe EVP_PKEY_get_raw_private_key(
                        pointer, buffer.baseAddress?.assumingMemoryBound(to: UInt8.self), &length) == 1, length == 32
                else { throw opensslFailure("reading an Ed25519 key") }
            }
            var unused = [UInt8](repeating: 0, count: 32)
            let secret = try unsafe SecretBytes(count: 64) { (buffer) throws(SigstoreError) in
                let made = unsafe seed.withBytes { seedBytes -> Int32 in
                    guard let into = unsafe buffer.baseAddress?.assumingMemoryBound(to: UInt8.self),
                        let from = unsafe seedBytes.baseAddress?.assumingMemoryBound(to: UInt8.self)
                    else { return -1 }
                    return unsafe crypto_sign_ed25519_seed_keypair(&unused, into, from)
                }
                guard made == 0 else { throw opensslFailure("signing") }
            }
            var signature = [UInt8](repeating: 0, count: 64)
            let signed = unsafe secret.withBytes { bytes -> Int32 in
                guard let from = unsafe bytes.baseAddress?.assumingMemoryBound(to: UInt8.self) else { return -1 }
                return unsafe crypto_sign_ed25519ph_final_create(&state, &signature, nil, from)
            }
            guard signed == 0 else { throw opensslFailure("signing") }
            return signature
        case .ecdsa(let hash), .rsaPKCS1(let hash), .rsaPSS(let hash):
            guard let digest = message.digest(hash) else { throw PublicKey.notRead(scheme) }
            let context = try unsafe DigestSignatureContext(unsafe pointer, scheme, hash, signing: true)
            var length = 0
            guard
                unsafe EVP_PKEY_sign(context.pointer, nil, &length, digest.bytes, digest.bytes.count) == 1, length > 0
            else { throw opensslFailure("signing") }
            var signature = [UInt8](repeating: 0, count: length)
            guard
                unsafe EVP_PKEY_sign(context.pointer, &signature, &length, digest.bytes, digest.bytes.count) == 1,
                length <= signature.count
            else { throw opensslFailure("signing") }
            return Array(signature.prefix(length))
        }
    }

    /// Signs a message that is in memory.
    public func sign(_ message: [UInt8], scheme: SignatureScheme) throws(SigstoreError) -> [UInt8] {
        try sign(HashedMessage.of(message, schemes: [scheme]), scheme: scheme)
    }
}

extension SigstoreError {
    /// The password does not open the key.
    static var wrongPassword: SigstoreError {
        SigstoreError(
            .wrongPassword, "the password does not open the private key, or the key file was altered")
    }
}

extension SigstoreError.Code {
    /// The password does not open an encrypted private key.
    public static let wrongPassword = Self("wrong-password")
}

extension SigstoreError.Remedy {
    /// A public key was given: the private key that belongs to it is needed.
    public static let givePrivateKey = Self("give-the-private-key")
}
