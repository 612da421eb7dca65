internal import CPKCS11
internal import SigstoreCrypto
internal import StrictJSON
internal import Synchronization

/// A key on a token, as far as it can be seen without a login.
struct TokenKey: Sendable {
    let label: String
    let id: [UInt8]
    let publicKey: PublicKey
    /// How the token can sign with it, the best first.
    let schemes: [SignatureScheme]
    /// The certificates for it that are on the token too.
    let certificates: [Certificate]
    /// The token and the key, for messages.
    let name: String
}

/// A session with one token, which can only read. It is open until the module is finalised, and with it the login holds.
///
/// The caller sees to it that one thread at a time uses it.
final class TokenSession: Sendable {
    let module: PKCS11Module
    /// What the token said of itself when it was looked for.
    let token: PKCS11Token
    /// The token, for messages.
    let name: String
    private let handle: CK_SESSION_HANDLE
    private let login = Mutex<Login>(.none)

    private enum Login: Sendable {
        case none
        /// With the PIN, since some keys demand it for each signature.
        case done(SecretBytes?)
        case refused(SigstoreError)
    }

    init(_ module: PKCS11Module, _ token: PKCS11Token) throws(SigstoreError) {
        (self.module, self.token) = (module, token)
        name = "the token \"\(token.label)\" in slot \(token.slot)"
        do throws(PKCS11Failure) { handle = try module.openSession(in: token.slot) } catch { throw error.error(name) }
    }

    // MARK: - Login

    var isLoggedIn: Bool { login.withLock { if case .done = $0 { true } else { false } } }

    /// Logs in; once, and never again after a refusal.
    /// - Parameter pin: The PIN; `nil` if it is typed on the token's own reader.
    func logIn(_ pin: SecretBytes?) throws(SigstoreError) {
        if case .refused(let error) = login.withLock(\.self) { throw error }
        do throws(PKCS11Failure) { try module.login(handle, again: false, pin) } catch {
            let refusal = refusal(error)
            login.withLock { $0 = .refused(refusal) }
            throw refusal
        }
        login.withLock { $0 = .done(pin) }
    }

    /// What a refused login means, and how many tries are left as far as the token tells.
    private func refusal(_ failure: PKCS11Failure) -> SigstoreError {
        let now = (try? module.token(in: token.slot)) ?? token
        let isFinal = failure.code == CKR_PIN_LOCKED || now.isLocked
        let tries =
            now.hasOneTry
            ? "one try is left, and another wrong PIN locks it"
            : now.hadWrongPIN
                ? "a few tries are left; the token does not say how many"
                : "the token does not say how many tries are left"
        switch failure.code {
        case CKR_PIN_INCORRECT where !isFinal, CKR_PIN_INVALID where !isFinal, CKR_PIN_LEN_RANGE where !isFinal:
            return SigstoreError(
                .pinRefused, "\(name): the PIN is wrong (\(failure.name)); it was tried once, and \(tries)",
                advice: "check the PIN before the next try: too many wrong ones lock the token")
        case CKR_PIN_INCORRECT, CKR_PIN_INVALID, CKR_PIN_LEN_RANGE, CKR_PIN_LOCKED:
            return SigstoreError(
                .pinRefused, "\(name): the PIN is locked now, after too many wrong ones (\(failure.name))",
                advice: "unlock it with the program of the token's maker and its PUK or the security officer's PIN")
        case CKR_PIN_EXPIRED:
            return SigstoreError(
                .pinRefused, "\(name): the PIN has ended and must be changed (\(failure.name))",
                advice: "set a new one with the program of the token's maker")
        case CKR_USER_PIN_NOT_INITIALIZED:
            return SigstoreError(
                .pinRefused, "\(name): no PIN was ever set for its user (\(failure.name))",
                advice: "set one with the program of the token's maker")
        default: return failure.error(name)
        }
    }

    // MARK: - Objects

    /// One object that shows a public key.
    private struct Shown {
        let id: [UInt8]
        let label: String
        let publicKey: PublicKey
    }

    /// The key that a reference means; `nil` if none is seen, which may be for want of a login.
    func key(_ uri: PKCS11URI) throws(SigstoreError) -> TokenKey? {
        var found: [Shown] = []
        let labels: [[UInt8]?] = uri.object.map { $0.readings } ?? [nil]
        do throws(PKCS11Failure) {
            // A public key, a certificate's, or what the private key shows of it.
            for kind in [CKO_PUBLIC_KEY, CKO_CERTIFICATE, CKO_PRIVATE_KEY] where found.isEmpty {
                for label in labels where found.isEmpty {
                    for object in try module.find(handle, CK_OBJECT_CLASS(kind), id: uri.id, label: label) {
                        let key =
                            kind == CKO_CERTIFICATE ? certificate(object)?.publicKey : publicKey(object)
                        guard let key else { continue }
                        let shown = Shown(
                            id: module.attribute(CKA_ID, of: object, handle) ?? [],
                            label: text(CKA_LABEL, of: object), publicKey: key)
                        if !found.contains(where: { $0.publicKey.spki == key.spki && $0.id == shown.id }) {
                            found.append(shown)
                        }
                    }
                }
            }
        } catch { throw error.error(name) }
        guard let first = found.first else { return nil }
        guard found.count == 1 else {
            let names = found.prefix(20).map { shown in
                "\"\(shown.label)\" (id \(shown.id.map(PKCS11URI.hexadecimal).joined()), \(shown.publicKey.kind))"
            }
            throw SigstoreError(
                .ambiguousKey,
                "\(uri.shown): \(found.count) keys on \(name) are meant: \(names.joined(separator: ", "))",
                advice: "name one, by object or id")
        }
        return TokenKey(
            label: first.label, id: first.id, publicKey: first.publicKey, schemes: schemes(first.publicKey),
            certificates: try certificates(for: first),
            name:
                "\(name), key \(first.label.isEmpty ? "" : "\"\(first.label)\" ")(id \(first.id.map(PKCS11URI.hexadecimal).joined()))"
        )
    }

    /// The names of the keys that can be seen.
    func publicKeyNames() throws(SigstoreError) -> [String] {
        do throws(PKCS11Failure) {
            var names: [String] = []
            for kind in [CKO_PUBLIC_KEY, CKO_CERTIFICATE] {
                for object in try module.find(handle, CK_OBJECT_CLASS(kind), id: nil, label: nil) {
                    let id = (module.attribute(CKA_ID, of: object, handle) ?? []).map(PKCS11URI.hexadecimal).joined()
                    let name = "\"\(text(CKA_LABEL, of: object))\" (id \(id))"
                    if !names.contains(name) { names.append(name) }
                }
            }
            return names
        } catch { throw error.error(name) }
    }

    /// All private keys that can be seen.
    func privateKeys() throws(SigstoreError) -> [TokenKeyDescription] {
        do throws(PKCS11Failure) {
            var keys: [TokenKeyDescription] = []
            for object in try module.find(handle, CK_OBJECT_CLASS(CKO_PRIVATE_KEY), id: nil, label: nil) {
                let (id, label) = (module.attribute(CKA_ID, of: object, handle) ?? [], text(CKA_LABEL, of: object))
                // By nothing could it be named.
                guard !id.isEmpty || !label.isEmpty else { continue }
                keys.append(
                    TokenKeyDescription(
                        label: label, id: id,
                        reference: PKCS11URI.reference(
                            token: token.label, slot: token.slot, id: id, label: label, module: module.path)))
            }
            return keys
        } catch { throw error.error(name) }
    }

    private func text(_ type: UInt, of object: CK_OBJECT_HANDLE) -> String {
        String(decoding: module.attribute(type, of: object, handle) ?? [], as: UTF8.self)
    }

    /// The certificates for a key, with the same identifier or label.
    private func certificates(for key: Shown) throws(SigstoreError) -> [Certificate] {
        var found: [Certificate] = []
        do throws(PKCS11Failure) {
            let (id, label) = (key.id.isEmpty ? nil : key.id, key.id.isEmpty ? Array(key.label.utf8) : nil)
            for object in try module.find(handle, CK_OBJECT_CLASS(CKO_CERTIFICATE), id: id, label: label) {
                if let certificate = certificate(object), certificate.publicKey.spki == key.publicKey.spki {
                    found.append(certificate)
                }
            }
            return found
        } catch { throw error.error(name) }
    }

    private func certificate(_ object: CK_OBJECT_HANDLE) -> Certificate? {
        guard module.number(CKA_CERTIFICATE_TYPE, of: object, handle) == CKC_X_509 else { return nil }
        return module.attribute(CKA_VALUE, of: object, handle).flatMap { try? Certificate(der: $0) }
    }

    // MARK: - Public keys

    /// The public key that an object shows; `nil` if it is of a kind that is not known here, or broken.
    private func publicKey(_ object: CK_OBJECT_HANDLE) -> PublicKey? {
        func value(_ type: UInt) -> [UInt8]? { module.attribute(type, of: object, handle) }
        let parts: PublicKey?
        switch module.number(CKA_KEY_TYPE, of: object, handle) {
        case CKK_EC, CKK_EC_EDWARDS:
            parts = value(CKA_EC_PARAMS).flatMap { curve in
                value(CKA_EC_POINT).flatMap { Self.publicKey(curve: curve, point: $0) }
            }
        case CKK_RSA:
            parts = value(CKA_MODULUS).flatMap { modulus in
                value(CKA_PUBLIC_EXPONENT).flatMap { try? PublicKey(rsaModulus: modulus, exponent: $0) }
            }
        default: return nil
        }
        // A private key may show the whole public one (PKCS #11 2.40, section 4.9).
        return parts ?? value(CKA_PUBLIC_KEY_INFO).flatMap { $0.isEmpty ? nil : try? PublicKey(der: $0) }
    }

    /// A key from the curve's name and the point, which modules give as the octet string that the standard has, or bare.
    /// - Parameters:
    ///   - curve: The parameters in DER: an object identifier, or for Edwards curves the name.
    ///   - point: The point.
    static func publicKey(curve: [UInt8], point: [UInt8]) -> PublicKey? {
        switch curve {
        // prime256v1, secp384r1, secp521r1 (RFC 5480, section 2.1.1.1).
        case [0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07]: return key(point, on: .ecP256)
        case [0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x22]: return key(point, on: .ecP384)
        case [0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x23]: return key(point, on: .ecP521)
        // id-Ed25519 (RFC 8410), or its name (PKCS #11 3.0, section 2.3.10).
        case [0x06, 0x03, 0x2b, 0x65, 0x70], [0x13, 0x0c] + Array("edwards25519".utf8):
            return try? PublicKey(ed25519: point.count == 32 ? point : contents(ofOctetString: point) ?? [])
        default: return nil
        }
    }

    private static func key(_ point: [UInt8], on kind: PublicKey.Kind) -> PublicKey? {
        guard let size = kind.coordinateSize else { return nil }
        return try? PublicKey(
            point: point.count == 2 * size + 1 ? point : contents(ofOctetString: point) ?? [], on: kind)
    }

    /// What an OCTET STRING in DER holds, of up to 255 bytes.
    private static func contents(ofOctetString bytes: [UInt8]) -> [UInt8]? {
        guard bytes.count >= 2, bytes[0] == 0x04 else { return nil }
        if bytes[1] < 0x80 { return Int(bytes[1]) == bytes.count - 2 ? Array(bytes.dropFirst(2)) : nil }
        guard bytes.count >= 3, bytes[1] == 0x81, bytes[2] >= 0x80, Int(bytes[2]) == bytes.count - 3 else { return nil }
        return Array(bytes.dropFirst(3))
    }

    // MARK: - Signing

    /// How the token signs with such a key.
    private func schemes(_ key: PublicKey) -> [SignatureScheme] {
        func has(_ mechanism: UInt) -> Bool { module.signs(by: CK_MECHANISM_TYPE(mechanism), in: token.slot) }
        let (hasPKCS1, hasPSS, hasECDSA, hasEdDSA) = (
            has(CKM_RSA_PKCS), has(CKM_RSA_PKCS_PSS), has(CKM_ECDSA), has(CKM_EDDSA)
        )
        let best = key.defaultScheme
        let all = ([best] + key.schemes.filter { $0 != best }).filter { scheme in
            switch scheme {
            case .ecdsa: hasECDSA
            case .rsaPKCS1: hasPKCS1
            case .rsaPSS: hasPSS
            case .ed25519: hasEdDSA
            case .ed25519ph: false
            }
        }
        // PSS comes last: what it signs, no log records.
        return all.filter { !$0.isPSS } + all.filter(\.isPSS)
    }

    /// The one private key that belongs to a key; `nil` if it is not seen.
    func privateKey(_ key: TokenKey) throws(SigstoreError) -> CK_OBJECT_HANDLE? {
        var found: [CK_OBJECT_HANDLE]
        do throws(PKCS11Failure) {
            found = try module.find(
                handle, CK_OBJECT_CLASS(CKO_PRIVATE_KEY), id: key.id.isEmpty ? nil : key.id,
                label: key.id.isEmpty ? Array(key.label.utf8) : nil)
        } catch { throw error.error(name) }
        // Of several with one identifier, the one of this name.
        if found.count > 1 { found = found.filter { text(CKA_LABEL, of: $0).utf8.elementsEqual(key.label.utf8) } }
        guard found.count <= 1 else {
            throw SigstoreError(
                .ambiguousKey, "\(key.name): \(found.count) private keys have this label and id",
                advice: "give each key an id of its own, with the program of the token's maker")
        }
        return found.first
    }

    /// Signs in a session of its own, so that what failed half-way is over with it.
    func sign(_ message: HashedMessage, _ scheme: SignatureScheme, _ key: TokenKey) throws(SigstoreError) -> [UInt8] {
        if case .refused(let error) = login.withLock(\.self) { throw error }
        guard let object = try privateKey(key) else {
            throw SigstoreError(
                .keyServiceFailed, "\(key.name): the private key is not on the token any more", advice: "try again")
        }
        let (mechanism, data, pss) = try Self.operation(message, scheme, key)
        do throws(PKCS11Failure) {
            let demandsPIN = module.attribute(CKA_ALWAYS_AUTHENTICATE, of: object, handle) == [1]
            let session = try module.openSession(in: token.slot)
            defer { module.closeSession(session) }
            let signature = try module.sign(data, with: object, by: mechanism, pss, session) {
                () throws(PKCS11Failure) in
                guard demandsPIN, case .done(let pin) = login.withLock(\.self) else { return }
                try module.login(session, again: true, pin)
            }
            guard case .ecdsa = scheme else { return signature }
            do throws(SigstoreError) { return try key.publicKey.kind.signature(fromFixedWidth: signature) } catch {
                throw PKCS11Failure(call: "C_Sign", code: CKR_DATA_LEN_RANGE)
            }
        } catch {
            guard error.call == "C_Login" else { throw error.error(key.name) }
            // A PIN that was refused for one signature is not tried for the next.
            let refusal = refusal(error)
            login.withLock { $0 = .refused(refusal) }
            throw refusal
        }
    }

    /// What a token is asked for.
    private static func operation(_ message: HashedMessage, _ scheme: SignatureScheme, _ key: TokenKey)
        throws(SigstoreError) -> (CK_MECHANISM_TYPE, [UInt8], CK_RSA_PKCS_PSS_PARAMS?)
    {
        guard let hash = scheme.hash else {
            guard let bytes = message.bytes else {
                throw SigstoreError(
                    .messageNotRead, "\(key.name) signs whole messages, and this one was not kept",
                    advice: "give the file in place of its digest")
            }
            return (CK_MECHANISM_TYPE(CKM_EDDSA), bytes, nil)
        }
        guard let digest = message.digest(hash)?.bytes else {
            throw SigstoreError(.messageNotRead, "\(key.name) signs \(scheme), and this digest was not made")
        }
        switch scheme {
        case .rsaPKCS1: return (CK_MECHANISM_TYPE(CKM_RSA_PKCS), digestInfo(hash) + digest, nil)
        case .rsaPSS:
            let (function, mask) =
                switch hash {
                case .sha256: (CKM_SHA256, CKG_MGF1_SHA256)
                case .sha384: (CKM_SHA384, CKG_MGF1_SHA384)
                case .sha512: (CKM_SHA512, CKG_MGF1_SHA512)
                }
            var parameters = CK_RSA_PKCS_PSS_PARAMS()
            parameters.hashAlg = CK_MECHANISM_TYPE(function)
            parameters.mgf = CK_ULONG(mask)
            parameters.sLen = CK_ULONG(digest.count)
            return (CK_MECHANISM_TYPE(CKM_RSA_PKCS_PSS), digest, parameters)
        default: return (CK_MECHANISM_TYPE(CKM_ECDSA), digest, nil)
        }
    }

    /// What stands before a digest in a DigestInfo (RFC 8017, section 9.2, note 1).
    private static func digestInfo(_ hash: HashAlgorithm) -> [UInt8] {
        let (last, size) =
            switch hash {
            case .sha256: (UInt8(1), UInt8(32))
            case .sha384: (UInt8(2), UInt8(48))
            case .sha512: (UInt8(3), UInt8(64))
            }
        return [
            0x30, 17 + size, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, last, 0x05, 0x00,
            0x04, size,
        ]
    }
}

extension SignatureScheme {
    fileprivate var isPSS: Bool { if case .rsaPSS = self { true } else { false } }
}
