internal import CPKCS11
internal import SigstoreCrypto
internal import StrictJSON
internal import Synchronization

/// A key on a token, as far as it can be seen without a login.
struct TokenKey: Sendable {
    let label: PKCS11Text
    let id: [UInt8]
    let publicKey: PublicKey
    /// How the token can sign with such a key, the best first.
    let schemes: [SignatureScheme]
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

    /// What an object is called.
    private struct Name: Hashable {
        let id: [UInt8]
        let label: PKCS11Text

        /// For people, with the kind of the key if it is known.
        func shown(_ kind: PublicKey.Kind? = nil) -> String {
            "\"\(label)\" (id \(hexadecimalID)\(kind.map { ", \($0)" } ?? ""))"
        }

        var hexadecimalID: String { id.map(PKCS11URI.hexadecimal).joined() }
    }

    /// One object that shows a public key.
    private struct Shown {
        let name: Name
        let publicKey: PublicKey
    }

    /// The objects of a class with an identifier and a label, if these are given.
    private func objects(_ kind: UInt, id: [UInt8]?, label: [UInt8]?) throws(PKCS11Failure) -> [(
        object: CK_OBJECT_HANDLE, name: Name
    )] {
        var found: [(object: CK_OBJECT_HANDLE, name: Name)] = []
        for object in try module.find(handle, CK_OBJECT_CLASS(kind), id: id, label: label) {
            let name = Name(
                id: try module.attribute(CKA_ID, of: object, handle) ?? [],
                label: PKCS11Text(bytes: try module.attribute(CKA_LABEL, of: object, handle) ?? []))
            // Whatever the module took the template for.
            if name.id == id ?? name.id, name.label.bytes == label ?? name.label.bytes { found.append((object, name)) }
        }
        return found
    }

    /// The objects of a class that a reference means.
    private func objects(_ kind: UInt, _ uri: PKCS11URI) throws(PKCS11Failure) -> [(
        object: CK_OBJECT_HANDLE, name: Name
    )] {
        guard let labels = uri.object?.readings else { return try objects(kind, id: uri.id, label: nil) }
        for label in labels {
            let found = try objects(kind, id: uri.id, label: label)
            if !found.isEmpty { return found }
        }
        return []
    }

    /// The key that a reference means; `nil` if none is seen, which may be for want of a login.
    /// - Throws: `SigstoreError` with `ambiguous-key` if several are meant, and `key-unusable` if what is meant shows no public key.
    func key(_ uri: PKCS11URI) throws(SigstoreError) -> TokenKey? {
        var found: [Shown] = []
        // What is meant, and shows no public key.
        var (unread, bare): ([Name], [Name]) = ([], [])
        var broken: [Name] = []
        func add(_ name: Name, _ key: PublicKey) {
            if !found.contains(where: { $0.publicKey.spki == key.spki && $0.name.id == name.id }) {
                found.append(Shown(name: name, publicKey: key))
            }
        }
        do throws(PKCS11Failure) {
            // A public key, a certificate's, or what belongs to the private key.
            for (object, name) in try objects(CKO_PUBLIC_KEY, uri) {
                if let key = try publicKey(object) { add(name, key) } else { unread.append(name) }
            }
            if found.isEmpty {
                for (object, name) in try objects(CKO_CERTIFICATE, uri) {
                    if let key = try certificate(object, name, &broken)?.publicKey { add(name, key) }
                }
            }
            if found.isEmpty {
                for (object, name) in try objects(CKO_PRIVATE_KEY, uri) {
                    let keys = try publicKeys(ofPrivate: object, name, &broken)
                    for key in keys { add(name, key) }
                    if keys.isEmpty { bare.append(name) }
                }
            }
        } catch {
            // Some tokens let nobody look who is not logged in.
            if error.code == CKR_USER_NOT_LOGGED_IN, !isLoggedIn { return nil }
            throw error.error(name)
        }
        if found.isEmpty, let name = unread.first {
            throw SigstoreError(
                .keyUnusable,
                "\(uri.shown): the public key \(name.shown()) on \(self.name) is of a kind that is not known here, or broken",
                advice: "use a key on P-256, P-384 or P-521, or one of RSA or Ed25519")
        }
        if found.isEmpty, let name = broken.first {
            throw brokenCertificate(uri.shown, name, ", and no public key is with it")
        }
        if found.isEmpty, bare.count == 1, let name = bare.first {
            let id = name.hexadecimalID
            throw SigstoreError(
                .keyUnusable,
                "\(uri.shown): the private key \(name.shown()) is on \(self.name), and its public key is not: the private key does not show it, and no public key and no certificate with its id is there",
                advice: .sentence(
                    "write the public key, or a certificate for it, to the token with \(id.isEmpty ? "the same label" : "the id \(id)"), with the program of the token's maker or OpenSC's pkcs11-tool"
                ))
        }
        if found.isEmpty, bare.isEmpty { return nil }
        guard found.count + bare.count == 1, let first = found.first else {
            throw ambiguous(
                uri, found.map { $0.name.shown($0.publicKey.kind) } + bare.map { $0.shown() })
        }
        do throws(PKCS11Failure) {
            return TokenKey(
                label: first.name.label, id: first.name.id, publicKey: first.publicKey,
                schemes: try schemes(first.publicKey),
                name:
                    "\(name), key \(first.name.label.bytes.isEmpty ? "" : "\"\(first.name.label)\" ")(id \(first.name.hexadecimalID))"
            )
        } catch { throw error.error(name) }
    }

    private func ambiguous(_ uri: PKCS11URI, _ names: [String]) -> SigstoreError {
        SigstoreError(
            .ambiguousKey,
            "\(uri.shown): \(names.count) keys on \(name) are meant: \(names.prefix(20).joined(separator: ", "))",
            advice: "name one, by object or id")
    }

    /// The public key of a private one: what that shows of it, or what is on the token with its identifier, whatever the label.
    private func publicKeys(ofPrivate object: CK_OBJECT_HANDLE, _ name: Name, _ broken: inout [Name])
        throws(PKCS11Failure) -> [PublicKey]
    {
        if let key = try publicKey(object) { return [key] }
        guard !name.id.isEmpty else { return [] }
        var found: [PublicKey] = []
        for kind in [CKO_PUBLIC_KEY, CKO_CERTIFICATE] where found.isEmpty {
            for (other, name) in try objects(kind, id: name.id, label: nil) {
                let key =
                    kind == CKO_CERTIFICATE
                    ? try certificate(other, name, &broken)?.publicKey : try publicKey(other)
                if let key, !found.contains(where: { $0.spki == key.spki }) { found.append(key) }
            }
        }
        return found
    }

    /// The names of the keys that can be seen.
    func publicKeyNames() throws(SigstoreError) -> [String] {
        do throws(PKCS11Failure) {
            var names: [String] = []
            for kind in [CKO_PUBLIC_KEY, CKO_CERTIFICATE] {
                for (_, name) in try objects(kind, id: nil, label: nil) where !names.contains(name.shown()) {
                    names.append(name.shown())
                }
            }
            return names
        } catch {
            if error.code == CKR_USER_NOT_LOGGED_IN, !isLoggedIn { return [] }
            throw error.error(name)
        }
    }

    /// All private keys that can be seen.
    func privateKeys() throws(SigstoreError) -> [TokenKeyDescription] {
        do throws(PKCS11Failure) {
            let names = try objects(CKO_PRIVATE_KEY, id: nil, label: nil).map(\.name)
            return names.map { name in
                // What is left out of a reference fits every key.
                let fitting = names.filter { other in
                    (name.id.isEmpty || other.id == name.id) && (name.label.bytes.isEmpty || other.label == name.label)
                }
                let isTwin = names.filter { $0 == name }.count > 1
                return TokenKeyDescription(
                    label: name.label.description, id: name.id,
                    reference: isTwin
                        ? nil
                        : PKCS11URI.reference(
                            token: token, id: name.id, label: name.label, namesEmpty: fitting.count > 1,
                            module: module.path))
            }
        } catch { throw error.error(name) }
    }

    /// The certificates for a key that can be seen, with the same identifier or, without one, the same label.
    /// - Throws: `SigstoreError` with `malformed-certificate` if there is none but one that cannot be read.
    func certificates(for key: TokenKey) throws(SigstoreError) -> [Certificate] {
        var (found, broken): ([Certificate], [Name]) = ([], [])
        do throws(PKCS11Failure) {
            let label = key.id.isEmpty ? key.label.bytes : nil
            for (object, name) in try objects(CKO_CERTIFICATE, id: key.id.isEmpty ? nil : key.id, label: label) {
                if let certificate = try certificate(object, name, &broken),
                    certificate.publicKey.spki == key.publicKey.spki
                {
                    found.append(certificate)
                }
            }
        } catch { throw error.error(name) }
        if found.isEmpty, let name = broken.first { throw brokenCertificate(key.name, name) }
        return found
    }

    /// The certificate that an object holds; `nil` if it holds none of X.509, or one that cannot be read: that is named.
    private func certificate(_ object: CK_OBJECT_HANDLE, _ name: Name, _ broken: inout [Name]) throws(PKCS11Failure)
        -> Certificate?
    {
        guard try module.number(CKA_CERTIFICATE_TYPE, of: object, handle) == CKC_X_509 else { return nil }
        guard let der = try module.attribute(CKA_VALUE, of: object, handle), !der.isEmpty else { return nil }
        do throws(SigstoreError) { return try Certificate(der: der) } catch {
            broken.append(name)
            return nil
        }
    }

    private func brokenCertificate(_ subject: String, _ name: Name, _ more: String = "") -> SigstoreError {
        SigstoreError(
            .malformedCertificate, "\(subject): the certificate \(name.shown()) on \(self.name) cannot be read\(more)",
            advice: "write it to the token again, with the program of the token's maker")
    }

    // MARK: - Public keys

    /// The public key that an object shows; `nil` if it shows none, or one of a kind that is not known here, or broken.
    private func publicKey(_ object: CK_OBJECT_HANDLE) throws(PKCS11Failure) -> PublicKey? {
        func value(_ type: UInt) throws(PKCS11Failure) -> [UInt8]? { try module.attribute(type, of: object, handle) }
        var key: PublicKey?
        switch try module.number(CKA_KEY_TYPE, of: object, handle) {
        case CKK_EC, CKK_EC_EDWARDS:
            if let curve = try value(CKA_EC_PARAMS), let point = try value(CKA_EC_POINT) {
                key = Self.publicKey(curve: curve, point: point)
            }
        case CKK_RSA:
            if let modulus = try value(CKA_MODULUS), let exponent = try value(CKA_PUBLIC_EXPONENT) {
                key = try? PublicKey(rsaModulus: modulus, exponent: exponent)
            }
        default: return nil
        }
        // A private key may show the whole public one (PKCS #11 2.40, section 4.9).
        if key == nil, let whole = try value(CKA_PUBLIC_KEY_INFO), !whole.isEmpty { key = try? PublicKey(der: whole) }
        return key
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
        // Whole, or compressed.
        let isBare = point.count == 2 * size + 1 || point.count == size + 1
        return try? PublicKey(point: isBare ? point : contents(ofOctetString: point) ?? [], on: kind)
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
    private func schemes(_ key: PublicKey) throws(PKCS11Failure) -> [SignatureScheme] {
        let best = key.defaultScheme
        let known = [best] + key.schemes.filter { $0 != best }
        var able: [CK_MECHANISM_TYPE] = []
        for mechanism in Set(known.compactMap(Self.mechanism)) {
            if try module.signs(by: mechanism, in: token.slot) { able.append(mechanism) }
        }
        let all = known.filter { scheme in Self.mechanism(scheme).map(able.contains) ?? false }
        // PSS comes last: what it signs, no log records.
        return all.filter { !$0.isPSS } + all.filter(\.isPSS)
    }

    /// The mechanism that a token signs by.
    private static func mechanism(_ scheme: SignatureScheme) -> CK_MECHANISM_TYPE? {
        switch scheme {
        case .ecdsa: CK_MECHANISM_TYPE(CKM_ECDSA)
        case .rsaPKCS1: CK_MECHANISM_TYPE(CKM_RSA_PKCS)
        case .rsaPSS: CK_MECHANISM_TYPE(CKM_RSA_PKCS_PSS)
        case .ed25519: CK_MECHANISM_TYPE(CKM_EDDSA)
        case .ed25519ph: nil
        }
    }

    /// Opens the private key that belongs to a key, as far as it is seen.
    /// - Returns: How it can sign, the best first; `nil` if it is not seen.
    /// - Throws: `SigstoreError` with `ambiguous-key` if the reference means several private keys, and `key-unusable` if the key may
    ///   not sign.
    func open(_ key: TokenKey, _ uri: PKCS11URI) throws(SigstoreError) -> (
        schemes: [SignatureScheme], demandsPIN: Bool
    )? {
        let meant: [Name]
        do throws(PKCS11Failure) { meant = try objects(CKO_PRIVATE_KEY, uri).map(\.name) } catch {
            if error.code == CKR_USER_NOT_LOGGED_IN, !isLoggedIn { return nil }
            throw error.error(name)
        }
        guard let (object, opened) = try privateKey(key) else { return nil }
        // Of some, the public halves may not be there to tell, or be called otherwise.
        let all = meant + (meant.isEmpty || meant.contains(opened) ? [] : [opened])
        guard all.count <= 1 else { throw ambiguous(uri, all.map { $0.shown() }) }
        do throws(PKCS11Failure) {
            guard try module.attribute(CKA_SIGN, of: object, handle) != [0] else {
                throw PKCS11Failure(call: "CKA_SIGN", code: CKR_KEY_FUNCTION_NOT_PERMITTED)
            }
            var schemes = key.schemes
            if let allowed = try module.numbers(CKA_ALLOWED_MECHANISMS, of: object, handle), !allowed.isEmpty {
                schemes = schemes.filter { scheme in Self.mechanism(scheme).map(allowed.contains) ?? false }
                guard !schemes.isEmpty else {
                    throw PKCS11Failure(call: "CKA_ALLOWED_MECHANISMS", code: CKR_MECHANISM_INVALID)
                }
            }
            return (schemes, try demandsPIN(object))
        } catch { throw error.error(key.name) }
    }

    /// Whether a key demands the PIN for each signature.
    private func demandsPIN(_ object: CK_OBJECT_HANDLE) throws(PKCS11Failure) -> Bool {
        let value = try module.attribute(CKA_ALWAYS_AUTHENTICATE, of: object, handle)
        return value.map { $0 != [0] && !$0.isEmpty } ?? false
    }

    /// The one private key that belongs to a key; `nil` if it is not seen.
    private func privateKey(_ key: TokenKey) throws(SigstoreError) -> (object: CK_OBJECT_HANDLE, name: Name)? {
        var found: [(object: CK_OBJECT_HANDLE, name: Name)]
        do throws(PKCS11Failure) {
            found = try objects(CKO_PRIVATE_KEY, id: key.id, label: key.id.isEmpty ? key.label.bytes : nil)
            if found.isEmpty, key.id.isEmpty, !key.label.bytes.isEmpty {
                found = try objects(CKO_PRIVATE_KEY, id: nil, label: key.label.bytes)
            }
        } catch {
            if error.code == CKR_USER_NOT_LOGGED_IN, !isLoggedIn { return nil }
            throw error.error(name)
        }
        guard found.count > 1 else { return found.first }
        // Of several with one identifier, the one of this name.
        let named = found.filter { $0.name.label == key.label }
        guard named.count == 1 else {
            throw SigstoreError(
                .ambiguousKey,
                "\(key.name): \(found.count) private keys have this id, and \(named.count) of them this label",
                advice: "give each key an id of its own, with the program of the token's maker")
        }
        return named.first
    }

    /// Signs in a session of its own, so that what failed half-way is over with it.
    func sign(_ message: HashedMessage, _ scheme: SignatureScheme, _ key: TokenKey) throws(SigstoreError) -> [UInt8] {
        if case .refused(let error) = login.withLock(\.self) { throw error }
        guard let object = try privateKey(key)?.object else {
            throw SigstoreError(
                .keyServiceFailed, "\(key.name): the private key is not on the token any more", advice: "try again")
        }
        let (mechanism, data, pss) = try Self.operation(message, scheme, key)
        do throws(PKCS11Failure) {
            let demandsPIN = try demandsPIN(object)
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
