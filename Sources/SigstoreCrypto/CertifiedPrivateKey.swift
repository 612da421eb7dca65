internal import COpenSSL
public import StrictJSON

/// A private key with the certificate that others know it by, as programs keep both in one file.
public struct CertifiedPrivateKey: Sendable {
    /// The key.
    public let key: PrivateKey
    /// Its certificate in DER.
    public let certificate: [UInt8]
    /// Further certificates in DER, such as those of its authorities.
    public let others: [[UInt8]]

    /// Reads a file.
    /// - Parameters:
    ///   - file: PEM with one private key and its certificate, or PKCS#12 (RFC 7292).
    ///   - password: The password of the key or of the PKCS#12 file; `nil` if there is none.
    /// - Throws: `SigstoreError` with `wrong-password`, `malformed-key` (also if no certificate is for the key),
    ///   `malformed-pem`, `malformed-certificate`, `unsupported-key` or `refused-key-parameters`.
    public init(file: [UInt8], password: SecretBytes?) throws(SigstoreError) {
        try Libraries.ready()
        let (key, certificates) =
            file.first == 0x30 ? try Self.pkcs12(file, password) : try Self.pem(file, password)
        var place: Int?
        for (index, der) in certificates.enumerated() where place == nil {
            // An authority's key may be of a kind that is not used here.
            do throws(SigstoreError) {
                if try Certificate(der: der).publicKey.isSame(as: key.publicKey) { place = index }
            } catch { if error.code != .unsupportedKey { throw error } }
        }
        guard let place else {
            throw SigstoreError(
                .malformedKey,
                certificates.isEmpty
                    ? "the file holds a private key and no certificate"
                    : "no certificate in the file is for its private key",
                advice: "put the key and its certificate into one file")
        }
        (self.key, certificate) = (key, certificates[place])
        others = certificates.enumerated().filter { $0.offset != place }.map(\.element)
    }

    private static func pem(_ file: [UInt8], _ password: SecretBytes?) throws(SigstoreError)
        -> (PrivateKey, [[UInt8]])
    {
        var blocks = try PEM.blocks(in: file)
        defer { for index in blocks.indices { SecretBytes.cleanse(&blocks[index].bytes) } }
        let certificates = blocks.filter { $0.label.utf8.elementsEqual("CERTIFICATE".utf8) }.map(\.bytes)
        let keys = blocks.indices.filter {
            blocks[$0].label.utf8.reversed().starts(with: "PRIVATE KEY".utf8.reversed())
        }
        guard keys.count == 1 else {
            throw SigstoreError(
                .malformedKey, "the file holds \(keys.count) private keys, expected one in PEM, or PKCS#12",
                advice: "put the key and its certificate into one file")
        }
        let key = try PrivateKey.read(blocks[keys[0]]) { () throws(SigstoreError) in
            guard let password else { throw locked }
            return password
        }
        return (key, certificates)
    }

    /// The error that a password is missing.
    private static var locked: SigstoreError {
        SigstoreError(.wrongPassword, "the private key is encrypted, and no password is given")
    }

    private static func pkcs12(_ file: [UInt8], _ password: SecretBytes?) throws(SigstoreError)
        -> (PrivateKey, [[UInt8]])
    {
        guard let container = unsafe decode(file, { unsafe d2i_PKCS12(nil, $0, $1) }, PKCS12_free) else {
            ERR_clear_error()
            throw SigstoreError(.malformedKey, "the file is neither PEM nor PKCS#12")
        }
        defer {
            unsafe PKCS12_free(container)
            ERR_clear_error()
        }
        // The integrity is checked with the password before anything is decrypted: what it takes is bounded, and nobody without the
        // password can ask for more behind it.
        var rounds: UnsafePointer<ASN1_INTEGER>?
        unsafe PKCS12_get0_mac(nil, nil, nil, &rounds, container)
        var count: Int64 = 1
        guard unsafe PKCS12_mac_present(container) == 1,
            unsafe rounds == nil || ASN1_INTEGER_get_int64(&count, rounds) == 1
        else { throw SigstoreError(.malformedKey, "the PKCS#12 file has no check of its integrity") }
        guard (1...Int64(PrivateKey.iterationLimit)).contains(count) else {
            throw SigstoreError(
                .refusedKeyParameters,
                "the PKCS#12 file asks for \(count) rounds of key derivation, expected at most \(PrivateKey.iterationLimit)"
            )
        }
        // C takes the password with a zero byte at its end.
        let text = unsafe (password ?? SecretBytes([])).withBytes { unsafe SecretBytes(Array($0) + [0]) }
        var (key, certificate, others): (OpaquePointer?, OpaquePointer?, OpaquePointer?) = (nil, nil, nil)
        let parsed = unsafe text.withBytes { bytes -> Int32 in
            let words = unsafe bytes.baseAddress?.assumingMemoryBound(to: CChar.self)
            guard unsafe PKCS12_verify_mac(container, words, Int32(clamping: bytes.count - 1)) == 1 else { return -1 }
            return unsafe PKCS12_parse(container, words, &key, &certificate, &others)
        }
        defer {
            unsafe EVP_PKEY_free(key)
            unsafe X509_free(certificate)
            while let one = unsafe OPENSSL_sk_pop(others) { unsafe X509_free(OpaquePointer(one)) }
            unsafe OPENSSL_sk_free(others)
        }
        guard parsed >= 0 else {
            if password == nil { throw locked }
            throw SigstoreError(.wrongPassword, "the password does not open the PKCS#12 file, or it was altered")
        }
        guard parsed == 1, let made = unsafe key else {
            throw SigstoreError(
                .malformedKey,
                "the PKCS#12 file holds no private key that can be read; it may be encrypted in an older way",
                advice: "convert it to PEM with: openssl pkcs12 -legacy -in OLD.p12 -nodes -out NEW.pem")
        }
        var certificates: [[UInt8]] = []
        if let certificate = unsafe certificate { certificates.append(try unsafe der(certificate)) }
        for index in 0..<max(0, min(unsafe OPENSSL_sk_num(others), 64)) {
            if let one = unsafe OPENSSL_sk_value(others, index) {
                certificates.append(try unsafe der(OpaquePointer(one)))
            }
        }
        unsafe EVP_PKEY_up_ref(made)
        return (try unsafe PrivateKey(takingOwnershipOf: made), certificates)
    }

    private static func der(_ certificate: OpaquePointer) throws(SigstoreError) -> [UInt8] {
        var out: UnsafeMutablePointer<UInt8>?
        let count = unsafe i2d_X509(certificate, &out)
        guard count > 0, let start = unsafe out else { throw opensslFailure("encoding a certificate") }
        defer { unsafe CRYPTO_free(start, #file, #line) }
        return unsafe Array(UnsafeBufferPointer(start: start, count: Int(count)))
    }
}
