internal import COpenSSL
internal import CSodium
public import StrictJSON

/// A public key: ECDSA on a NIST curve, RSA, or Ed25519.
@safe public final class PublicKey: @unchecked Sendable {
    /// What kind of key it is.
    public enum Kind: Hashable, Sendable, CustomStringConvertible {
        case ecP256, ecP384, ecP521
        /// RSA with a modulus of that many bits.
        case rsa(bits: Int)
        case ed25519

        public var description: String {
            switch self {
            case .ecP256: "ECDSA P-256"
            case .ecP384: "ECDSA P-384"
            case .ecP521: "ECDSA P-521"
            case .rsa(let bits): "RSA \(bits)"
            case .ed25519: "Ed25519"
            }
        }
    }

    /// The key as DER SubjectPublicKeyInfo (RFC 5280, section 4.1.2.7), byte for byte as it was read.
    public let spki: [UInt8]
    /// What kind of key it is.
    public let kind: Kind
    /// Whether a signature by RSASSA-PSS counts only if its salt is as long as the digest; else a salt of any length does.
    public let demandsDigestSalt: Bool
    /// OpenSSL's `EVP_PKEY`, owned by this object and never changed.
    let pointer: OpaquePointer

    /// Takes an `EVP_PKEY` over, to be freed with this object (or at once, if this throws).
    /// - Parameters:
    ///   - pointer: The key; only its public part is used.
    ///   - spki: Its encoding, if that is known already.
    init(takingOwnershipOf pointer: OpaquePointer, spki: [UInt8]? = nil) throws(SigstoreError) {
        let kind: Kind
        let encoded: [UInt8]
        do throws(SigstoreError) {
            kind = try unsafe Self.kind(of: pointer)
            if let spki { encoded = spki } else { encoded = try unsafe Self.encode(pointer, kind) }
            try unsafe Self.expectSound(pointer, kind, encoded)
        } catch {
            unsafe EVP_PKEY_free(pointer)
            throw error
        }
        unsafe self.pointer = unsafe pointer
        self.kind = kind
        self.spki = encoded
        demandsDigestSalt = false
    }

    private init(demandingDigestSaltOf key: PublicKey) {
        unsafe EVP_PKEY_up_ref(key.pointer)
        unsafe pointer = unsafe key.pointer
        (kind, spki, demandsDigestSalt) = (key.kind, key.spki, true)
    }

    deinit { unsafe EVP_PKEY_free(pointer) }

    /// The same key, of which it is known that what signs with it by RSASSA-PSS always takes a salt as long as the digest: a
    /// signature with another salt does not count (RFC 8017, section 9.1.2, takes the length for known).
    public func demandingDigestSalt() -> PublicKey { PublicKey(demandingDigestSaltOf: self) }

    /// Reads a DER SubjectPublicKeyInfo, or a PKCS#1 RSAPublicKey, as some trusted roots have it.
    /// - Parameter der: The key, with nothing after it.
    /// - Throws: `SigstoreError` with `malformed-key` if it is neither, or if signatures for it can be made without a
    ///   private key; `unsupported-key` if its kind, curve or size is not one of ``Kind``.
    public convenience init(der: [UInt8]) throws(SigstoreError) {
        try Libraries.ready()
        guard der.count <= 16384 else { throw SigstoreError(.malformedKey, "the public key is larger than 16 KiB") }
        if let key = unsafe Self.decodePoint(der) {
            try unsafe self.init(takingOwnershipOf: unsafe key, spki: der)
        } else if let key = unsafe decode(der, { unsafe d2i_PUBKEY(nil, $0, $1) }, EVP_PKEY_free) {
            try unsafe self.init(takingOwnershipOf: unsafe key, spki: der)
        } else if let key = unsafe decode(der, { unsafe d2i_PublicKey(EVP_PKEY_RSA, nil, $0, $1) }, EVP_PKEY_free) {
            try unsafe self.init(takingOwnershipOf: unsafe key)
        } else {
            ERR_clear_error()
            throw SigstoreError(.malformedKey, "not a public key: neither SubjectPublicKeyInfo nor PKCS#1 in DER")
        }
    }

    /// Reads a public key as people keep it in files: PEM (`PUBLIC KEY` or `RSA PUBLIC KEY`) or DER.
    /// - Parameter file: The content of the file.
    /// - Throws: `SigstoreError` with `malformed-key` or `unsupported-key`; a private key or a certificate is named as
    ///   what it is.
    public convenience init(file: [UInt8]) throws(SigstoreError) {
        let blocks = try PEM.blocks(in: file)
        if let block = blocks.first(where: { $0.label == "PUBLIC KEY" || $0.label == "RSA PUBLIC KEY" }) {
            guard blocks.count == 1 else {
                throw SigstoreError(
                    .malformedKey, "the file holds \(blocks.count) PEM blocks where one public key should be")
            }
            try self.init(der: block.bytes)
        } else if let block = blocks.first {
            if block.label.hasSuffix("PRIVATE KEY") {
                throw SigstoreError(
                    .malformedKey, "this is a private key (\(block.label)) where a public key is needed",
                    advice: .remedy(.derivePublicKey))
            }
            throw SigstoreError(.malformedKey, "this is a \(block.label) where a public key is needed")
        } else if file.first == 0x30 {
            try self.init(der: file)
        } else {
            throw SigstoreError(
                .malformedKey, file.isEmpty ? "the public key is empty" : "not a public key in PEM or DER")
        }
    }

    static func encode(_ key: OpaquePointer, _ kind: Kind) throws(SigstoreError) -> [UInt8] {
        if let spki = unsafe encodePoint(of: key, kind) { return spki }
        // OpenSSL cannot encode what has to be refused.
        if pointForms.contains(where: { $0.kind == kind }) { try unsafe expectPoint(key) }
        var out: UnsafeMutablePointer<UInt8>?
        let count = unsafe i2d_PUBKEY(key, &out)
        guard count > 0, let start = unsafe out else { throw opensslFailure("encoding a public key") }
        defer { unsafe CRYPTO_free(start, #file, #line) }
        return unsafe Array(UnsafeBufferPointer(start: start, count: Int(count)))
    }

    /// The SubjectPublicKeyInfo of keys on the curves (RFC 5480): what stands before an uncompressed point is the same for
    /// all keys on one. OpenSSL takes longer to find its own encoder, or decoder, than to make a signature.
    private struct PointForm {
        let kind: Kind
        let group: String
        let head: [UInt8]
        /// The point's bytes.
        let size: Int

        /// - Parameters:
        ///   - lengths: The two outer SEQUENCEs, up to the second one's length.
        ///   - rest: The curve's identifier, and the BIT STRING up to the point.
        init(_ kind: Kind, _ group: String, _ lengths: [UInt8], _ rest: [UInt8], size: Int) {
            // id-ecPublicKey.
            let algorithm: [UInt8] = [0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01]
            (self.kind, self.group, self.size) = (kind, group, size)
            head = lengths + algorithm + rest
        }
    }
    private static let pointForms = [
        PointForm(
            .ecP256, "P-256", [0x30, 0x59, 0x30, 0x13],
            [0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00], size: 65),
        PointForm(
            .ecP384, "P-384", [0x30, 0x76, 0x30, 0x10],
            [0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x22, 0x03, 0x62, 0x00], size: 97),
        PointForm(
            .ecP521, "P-521", [0x30, 0x81, 0x9b, 0x30, 0x10],
            [0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x23, 0x03, 0x81, 0x86, 0x00], size: 133),
    ]

    private static func encodePoint(of key: OpaquePointer, _ kind: Kind) -> [UInt8]? {
        guard let form = pointForms.first(where: { $0.kind == kind }), let point = unsafe point(of: key, form) else {
            return nil
        }
        return form.head + point
    }

    /// A compressed point with both coordinates; `nil` if it is not on its curve.
    static func uncompressed(_ point: [UInt8], on kind: Kind) -> [UInt8]? {
        defer { ERR_clear_error() }
        guard let form = pointForms.first(where: { $0.kind == kind }),
            let key = unsafe copenssl_public_point(form.group, point, point.count)
        else { return nil }
        defer { unsafe EVP_PKEY_free(key) }
        return unsafe Self.point(of: key, form)
    }

    /// The point of a key, if OpenSSL has it uncompressed.
    private static func point(of key: OpaquePointer, _ form: PointForm) -> [UInt8]? {
        var point = [UInt8](repeating: 0, count: form.size + 1)
        var length = 0
        let read = unsafe point.withUnsafeMutableBytes {
            unsafe EVP_PKEY_get_octet_string_param(
                key, OSSL_PKEY_PARAM_PUB_KEY, $0.baseAddress?.assumingMemoryBound(to: UInt8.self), $0.count, &length)
        }
        // Only the uncompressed form is ours to write.
        guard read == 1, length == form.size, point[0] == 4 else {
            ERR_clear_error()
            return nil
        }
        return Array(point.prefix(form.size))
    }

    /// A key on one of the curves, its point uncompressed; `nil` for any other encoding, and for a point that is not on
    /// its curve, which OpenSSL finds here as it does when it decodes.
    static func decodePoint(_ der: [UInt8]) -> OpaquePointer? {
        guard let form = pointForm(of: der) else { return nil }
        let point = Array(der[form.head.count...])
        defer { ERR_clear_error() }
        return unsafe copenssl_public_point(form.group, point, point.count)
    }

    /// The SubjectPublicKeyInfo of an uncompressed point; `nil` if its length is not that of the curve, or `kind` is none.
    static func encoding(ofPoint point: [UInt8], on kind: Kind) -> [UInt8]? {
        guard let form = pointForms.first(where: { $0.kind == kind }), point.count == form.size else { return nil }
        return form.head + point
    }

    /// OpenSSL's name of the curve, and the point, of a key on one of the curves whose point is uncompressed.
    var uncompressedPoint: (group: String, point: [UInt8])? {
        Self.pointForm(of: spki).map { ($0.group, Array(spki[$0.head.count...])) }
    }

    /// The form that a key has if it is on one of the curves and its point uncompressed.
    private static func pointForm(of der: [UInt8]) -> PointForm? {
        pointForms.first {
            der.count == $0.head.count + $0.size && der.starts(with: $0.head) && der[$0.head.count] == 4
        }
    }

    static func kind(of key: OpaquePointer) throws(SigstoreError) -> Kind {
        switch unsafe EVP_PKEY_get_base_id(key) {
        case EVP_PKEY_ED25519: return .ed25519
        case EVP_PKEY_RSA:
            let bits = Int(unsafe EVP_PKEY_get_bits(key))
            guard (2048...4096).contains(bits) else {
                throw SigstoreError(.unsupportedKey, "an RSA key of \(bits) bits is not supported, only 2048 to 4096")
            }
            return .rsa(bits: bits)
        case EVP_PKEY_EC:
            var explicit: Int32 = 0
            let asked = unsafe EVP_PKEY_get_int_param(key, OSSL_PKEY_PARAM_EC_DECODED_FROM_EXPLICIT_PARAMS, &explicit)
            guard asked == 1, explicit == 0 else {
                ERR_clear_error()
                throw SigstoreError(.unsupportedKey, "an EC key with explicit curve parameters is not supported")
            }
            var name = [UInt8](repeating: 0, count: 64)
            var length = 0
            guard
                unsafe name.withUnsafeMutableBytes({
                    unsafe EVP_PKEY_get_group_name(
                        key, $0.baseAddress?.assumingMemoryBound(to: CChar.self), $0.count, &length)
                }) == 1
            else { throw opensslFailure("reading an EC key's curve") }
            switch String(decoding: name.prefix(length), as: UTF8.self) {
            case "prime256v1", "P-256": return .ecP256
            case "secp384r1", "P-384": return .ecP384
            case "secp521r1", "P-521": return .ecP521
            case let other:
                throw SigstoreError(
                    .unsupportedKey, "the elliptic curve \(other) is not supported, only P-256, P-384 and P-521")
            }
        default:
            throw SigstoreError(
                .unsupportedKey, "this kind of key is not supported, only ECDSA, RSA and Ed25519")
        }
    }

    // MARK: - Soundness

    /// The keys that were found sound lately: one run reads the same key many times.
    private static let sound = BoundedCache<Bool>(limit: 64)

    /// Refuses a key for which signatures can be made without a private key, and one that has a second encoding.
    /// - Parameters:
    ///   - key: The key, as OpenSSL has decoded it.
    ///   - spki: Its encoding.
    private static func expectSound(_ key: OpaquePointer, _ kind: Kind, _ spki: [UInt8]) throws(SigstoreError) {
        switch kind {
        case .ecP256, .ecP384, .ecP521:
            // OpenSSL decodes no point that is not on its curve, and the curves have no points of small order. What is
            // left is the point at infinity, a single zero byte, and hybrid points (SEC 1, section 2.3.3).
            if pointForm(of: spki) == nil { try unsafe expectPoint(key) }
        case .rsa, .ed25519:
            _ = try sound.answer(for: Digest.sha256(spki)) { () throws(SigstoreError) in
                if kind == .ed25519 { try unsafe expectPrimeOrder(key) } else { try unsafe expectModulus(key) }
                return true
            }
        }
    }

    private static func expectPoint(_ key: OpaquePointer) throws(SigstoreError) {
        var point = [UInt8](repeating: 0, count: 256)
        var length = 0
        guard
            unsafe EVP_PKEY_get_octet_string_param(key, OSSL_PKEY_PARAM_PUB_KEY, &point, point.count, &length) == 1,
            length > 1
        else {
            ERR_clear_error()
            throw weak("its point is the point at infinity")
        }
        guard point[0] == 2 || point[0] == 3 || point[0] == 4 else {
            throw SigstoreError(
                .malformedKey,
                "the public key's point is in the hybrid form, expected the uncompressed or compressed one",
                advice: "convert it with: openssl ec -pubin -conv_form uncompressed -in OLD.pub -out NEW.pub")
        }
    }

    /// An Ed25519 key is a multiple of the base point (RFC 8032, section 5.1.5), so it is in the group of prime order and
    /// encoded in its one way. With a key of small order one signature fits every message; with one of mixed order
    /// verifiers disagree about what a signature is.
    private static func expectPrimeOrder(_ key: OpaquePointer) throws(SigstoreError) {
        var raw = [UInt8](repeating: 0, count: 32)
        var length = raw.count
        guard unsafe EVP_PKEY_get_raw_public_key(key, &raw, &length) == 1, length == 32 else {
            throw opensslFailure("reading an Ed25519 key")
        }
        guard unsafe crypto_core_ed25519_is_valid_point(raw) == 1 else {
            throw weak("its point is not in Ed25519's group of prime order, or not in its one encoding")
        }
    }

    /// What can be seen of an RSA key at little cost (NIST SP 800-89, section 5.3.3). Exponents above 64 bits, which OpenSSL
    /// refuses for large moduli, would make verifying slow.
    private static func expectModulus(_ key: OpaquePointer) throws(SigstoreError) {
        guard let modulus = unsafe BigNumber(OSSL_PKEY_PARAM_RSA_N, of: key),
            let exponent = unsafe BigNumber(OSSL_PKEY_PARAM_RSA_E, of: key)
        else { throw opensslFailure("reading an RSA key") }
        guard exponent.bits <= 64 else {
            throw SigstoreError(
                .unsupportedKey, "an RSA key with an exponent of \(exponent.bits) bits is not supported, only up to 64")
        }
        guard exponent.isOdd, exponent.bits > 1 else {
            throw weak("its exponent is \(exponent.word), expected an odd number from 3")
        }
        guard modulus.isOdd else { throw weak("its modulus is even") }
        for product in smallPrimes {
            var (factor, rest) = (product, modulus.remainder(by: product))
            while rest != 0 { (factor, rest) = (rest, factor % rest) }
            guard factor == 1 else { throw weak("its modulus has a prime factor below 752") }
        }
    }

    /// The odd primes up to 751, as many multiplied together as fit into a word.
    private static let smallPrimes: [UInt64] = {
        var (products, product): ([UInt64], UInt64) = ([], 1)
        for number in stride(from: 3 as UInt64, through: 751, by: 2)
        where !stride(from: 3, to: number, by: 2).contains(where: { number.isMultiple(of: $0) }) {
            let (next, overflow) = product.multipliedReportingOverflow(by: number)
            if overflow { products.append(product) }
            product = overflow ? number : next
        }
        return products + [product]
    }()

    private static func weak(_ why: String) -> SigstoreError {
        SigstoreError(
            .malformedKey, "this public key proves nothing, since others than its owner could sign for it: \(why)",
            advice: "have its owner make another key pair, and get the new public key from them")
    }

    /// The key as a PEM block `PUBLIC KEY`.
    public var pem: String { PEM.encode(label: "PUBLIC KEY", spki) }

    /// What names the key in a bundle: base64 of the SHA-256 of ``spki``.
    public func hint() throws(SigstoreError) -> String { Base64.encode(try Digest.sha256(spki).bytes) }

    /// Whether both are the same key, byte for byte.
    public func isSame(as other: PublicKey) -> Bool { spki == other.spki }

    /// The scheme that bundles by this key use: each curve's own hash, RSA PKCS#1 with SHA-256, pure Ed25519.
    public var defaultScheme: SignatureScheme {
        switch kind {
        case .ecP256: .ecdsa(.sha256)
        case .ecP384: .ecdsa(.sha384)
        case .ecP521: .ecdsa(.sha512)
        case .rsa: .rsaPKCS1(.sha256)
        case .ed25519: .ed25519
        }
    }

    /// Every scheme that a signature by this key is accepted in, the usual one first. ECDSA over SHA-256 is accepted
    /// on every curve, since cosign 2 signs so.
    public var schemes: [SignatureScheme] {
        switch kind {
        case .ecP256: [.ecdsa(.sha256)]
        case .ecP384: [.ecdsa(.sha384), .ecdsa(.sha256)]
        case .ecP521: [.ecdsa(.sha512), .ecdsa(.sha256)]
        case .rsa: HashAlgorithm.allCases.flatMap { [.rsaPKCS1($0), .rsaPSS($0)] }
        case .ed25519: [.ed25519, .ed25519ph]
        }
    }

    /// Whether a signature by this key over a message holds.
    /// - Parameters:
    ///   - signature: DER for ECDSA, the bare bytes otherwise.
    ///   - message: The message, read for this scheme.
    ///   - scheme: One of ``schemes``; any other is never accepted.
    /// - Returns: `false` if the signature does not hold, for whatever reason.
    /// - Throws: `SigstoreError` with `message-not-read` if the message was not read in the form that the scheme needs
    ///   (only its digest is known).
    public func verifies(_ signature: [UInt8], of message: HashedMessage, scheme: SignatureScheme)
        throws(SigstoreError) -> Bool
    {
        guard schemes.contains(scheme) else { return false }
        switch scheme {
        case .ed25519:
            guard let whole = message.message else { throw Self.notRead(scheme) }
            guard let context = unsafe EVP_MD_CTX_new() else { throw opensslFailure("verifying a signature") }
            defer { unsafe EVP_MD_CTX_free(context) }
            guard unsafe EVP_DigestVerifyInit(context, nil, nil, nil, pointer) == 1 else {
                throw opensslFailure("verifying a signature")
            }
            let result = unsafe EVP_DigestVerify(context, signature, signature.count, whole, whole.count)
            ERR_clear_error()
            return result == 1
        case .ed25519ph:
            guard signature.count == Int(crypto_sign_ed25519_bytes()) else { return false }
            var raw = [UInt8](repeating: 0, count: 32)
            var length = raw.count
            guard unsafe EVP_PKEY_get_raw_public_key(pointer, &raw, &length) == 1, length == 32 else {
                throw opensslFailure("reading an Ed25519 key")
            }
            if var state = message.prehash?.state {
                return unsafe crypto_sign_ed25519ph_final_verify(&state, signature, raw) == 0
            }
            guard let digest = message.digest(.sha512) else { throw Self.notRead(scheme) }
            return Self.verifiesEd25519ph(signature, of: digest, publicKey: raw)
        case .ecdsa(let hash), .rsaPKCS1(let hash), .rsaPSS(let hash):
            guard let digest = message.digest(hash) else { throw Self.notRead(scheme) }
            let context = try unsafe DigestSignatureContext(
                pointer, scheme, hash, signing: false, anySalt: !demandsDigestSalt)
            let result = unsafe EVP_PKEY_verify(
                context.pointer, signature, signature.count, digest.bytes, digest.bytes.count)
            ERR_clear_error()
            return result == 1
        }
    }

    /// Whether a signature by this key over a message in memory holds.
    public func verifies(_ signature: [UInt8], ofBytes message: [UInt8], scheme: SignatureScheme)
        throws(SigstoreError) -> Bool
    {
        try verifies(signature, of: HashedMessage.of(message, schemes: [scheme]), scheme: scheme)
    }

    /// Verifies Ed25519ph over a message of which only the SHA-512 is known: libsodium's own function takes the message
    /// alone. RFC 8032 (sections 5.1.7 and 5.2), without cofactor: the encoding of sB - kA must be R.
    /// - Parameters:
    ///   - signature: 64 bytes, R and s.
    ///   - publicKey: 32 bytes, A.
    private static func verifiesEd25519ph(_ signature: [UInt8], of digest: Digest, publicKey: [UInt8]) -> Bool {
        let (commitment, scalar) = (Array(signature.prefix(32)), Array(signature.suffix(32)))
        // An s that is not below the group's order would be a second signature for the same message.
        var reduced = [UInt8](repeating: 0, count: 32)
        unsafe crypto_core_ed25519_scalar_reduce(&reduced, scalar + [UInt8](repeating: 0, count: 32))
        guard reduced == scalar, unsafe crypto_core_ed25519_is_valid_point(publicKey) == 1,
            unsafe crypto_core_ed25519_is_valid_point(commitment) == 1
        else { return false }
        // dom2(1, ""): the words that keep Ed25519ph apart from Ed25519.
        let input = Array("SigEd25519 no Ed25519 collisions".utf8) + [1, 0] + commitment + publicKey + digest.bytes
        var wide = [UInt8](repeating: 0, count: 64)
        var challenge = [UInt8](repeating: 0, count: 32)
        var (first, second, point) = (challenge, challenge, challenge)
        guard unsafe crypto_hash_sha512(&wide, input, UInt64(input.count)) == 0 else { return false }
        unsafe crypto_core_ed25519_scalar_reduce(&challenge, wide)
        guard unsafe crypto_scalarmult_ed25519_base_noclamp(&first, scalar) == 0,
            unsafe crypto_scalarmult_ed25519_noclamp(&second, challenge, publicKey) == 0,
            unsafe crypto_core_ed25519_sub(&point, first, second) == 0
        else { return false }
        return point == commitment
    }

    static func notRead(_ scheme: SignatureScheme) -> SigstoreError {
        SigstoreError(
            .messageNotRead, "\(scheme) needs the artifact itself, and only a digest of it is known",
            advice: "give the file instead of its digest")
    }
}

/// An `EVP_PKEY_CTX` ready to sign or verify a digest.
@safe final class DigestSignatureContext {
    let pointer: OpaquePointer

    init(
        _ key: OpaquePointer, _ scheme: SignatureScheme, _ hash: HashAlgorithm, signing: Bool, anySalt: Bool = false
    ) throws(SigstoreError) {
        guard let context = unsafe EVP_PKEY_CTX_new_from_pkey(nil, key, nil) else {
            throw opensslFailure("preparing a signature")
        }
        unsafe pointer = unsafe context
        let begun = signing ? unsafe EVP_PKEY_sign_init(context) : unsafe EVP_PKEY_verify_init(context)
        guard begun == 1 else { throw opensslFailure("preparing a signature") }
        switch scheme {
        case .rsaPKCS1:
            guard unsafe EVP_PKEY_CTX_set_rsa_padding(context, RSA_PKCS1_PADDING) == 1 else {
                throw opensslFailure("preparing a signature")
            }
        case .rsaPSS:
            guard unsafe EVP_PKEY_CTX_set_rsa_padding(context, RSA_PKCS1_PSS_PADDING) == 1,
                unsafe EVP_PKEY_CTX_set_rsa_pss_saltlen(
                    context, anySalt ? RSA_PSS_SALTLEN_AUTO : RSA_PSS_SALTLEN_DIGEST)
                    == 1
            else { throw opensslFailure("preparing a signature") }
        case .ecdsa, .ed25519, .ed25519ph: break
        }
        guard unsafe EVP_PKEY_CTX_set_signature_md(context, hash.implementation) == 1 else {
            throw opensslFailure("preparing a signature")
        }
    }

    deinit { unsafe EVP_PKEY_CTX_free(pointer) }
}

extension SigstoreError.Code {
    /// Bytes that should be a key are not one, or hold another kind of thing; or a key that others than its owner can sign
    /// for, or whose halves do not belong together.
    public static let malformedKey = Self("malformed-key")
    /// A key of a kind, curve or size that is not used here.
    public static let unsupportedKey = Self("unsupported-key")
    /// A signature scheme needs more of the message than was read.
    public static let messageNotRead = Self("message-not-read")
}

extension SigstoreError.Remedy {
    /// A private key was given: the public key that belongs to it is needed.
    public static let derivePublicKey = Self("get-its-public-key")
}
