internal import HTTPTransport
internal import LocalSystem
public import SigstoreCrypto
public import StrictJSON

/// A place that keeps key pairs which are made here, such as the secrets of a cluster.
public protocol KeyPairKeeper: KeyPlace {
    /// What stands where a new key pair would be kept, by names for people; empty if nothing is in the way.
    /// - Throws: `SigstoreError` that names the reference; `key-unusable` if what is there can never be replaced.
    func existing(_ reference: String) async throws(SigstoreError) -> [String]
    /// Keeps a key pair: all of it, or nothing.
    /// - Parameters:
    ///   - pair: The pair.
    ///   - reference: Where.
    ///   - replacing: Whether what is in the way may be replaced.
    /// - Returns: Where the private and the public key are now, in words.
    /// - Throws: `SigstoreError` that names the reference; `key-exists` if something is in the way that may not be replaced.
    func keep(_ pair: EncryptedKeyPair, _ reference: String, replacing: Bool) async throws(SigstoreError) -> (
        privateKey: String, publicKey: String
    )
}

/// A key pair as a place keeps it: cosign's encrypted private key, its password, and the public key.
public struct EncryptedKeyPair: Sendable {
    /// The private key, encrypted, in PEM.
    public let privateKey: String
    /// The password that opens it.
    public let password: SecretBytes
    /// The public key in PEM.
    public let publicKey: String

    /// Encrypts a key, and opens it once to see that it can be opened.
    /// - Parameters:
    ///   - key: The key.
    ///   - password: May be empty.
    /// - Throws: `SigstoreError` with `cryptography-failed`.
    public init(_ key: PrivateKey, password: SecretBytes) throws(SigstoreError) {
        privateKey = try EncryptedKeyFile(encrypting: key, password: password).pem()
        _ = try PrivateKey.read(file: Array(privateKey.utf8)) { password }
        (self.password, publicKey) = (password, key.publicKey.pem)
    }
}

extension SigstoreError {
    /// Whether a write that failed cannot have been done: it was refused, or not sent. After anything else it may have been.
    var wroteNothing: Bool {
        guard let status = httpStatus else { return wasNotSent }
        return (400..<500).contains(status) && status != 408
    }
}

extension SigstoreError.Code {
    /// A key pair is there already, and may not be replaced.
    public static let keyExists = Self("key-exists")
}

/// A private key that a place has given, and what opens it.
struct KeptKey: Sendable {
    /// The key in PEM.
    let privateKey: SecretBytes
    /// The password, if the place has it.
    let password: SecretBytes?
    /// The public key in PEM that stands beside it, if the place has given it too.
    var publicKey: [UInt8]?

    /// Opens the key.
    /// - Parameters:
    ///   - place: What messages call it.
    ///   - asked: Asked for a password if the place has none.
    /// - Throws: `SigstoreError` with `key-mismatch` if the public key beside it is another one's.
    func open(_ place: String, asking asked: @escaping PasswordSource) async throws(SigstoreError) -> PrivateKey {
        let password = password
        let (privateKey, publicKey) = (privateKey, publicKey)
        return try await onBlockingThread { () throws(SigstoreError) in
            do throws(SigstoreError) {
                var bytes = unsafe privateKey.withBytes { unsafe Array($0) }
                defer { SecretBytes.cleanse(&bytes) }
                let key = try PrivateKey.read(file: bytes) { () throws(SigstoreError) in
                    if let password { return password }
                    return try asked()
                }
                if let publicKey, try !PublicKey(file: publicKey).isSame(as: key.publicKey) {
                    throw SigstoreError(
                        .keyMismatch, "its public key is not that of its private key",
                        advice: "find out which of the two is right: what is signed now could not be verified")
                }
                return key
            } catch { throw error.concerning(place) }
        }
    }
}

extension KeySurroundings {
    /// The address of a service that a variable names, also without `https://`.
    /// - Parameters:
    ///   - name: The variable.
    ///   - standard: The address if it is not set.
    /// - Throws: `SigstoreError` with `key-service-settings`; also if the token would go over plain HTTP to another machine.
    func address(_ name: String, else standard: String) throws(SigstoreError) -> HTTPURL {
        let text = variable(name) ?? standard
        let url: HTTPURL
        do throws(SigstoreError) {
            url = try HTTPURL(parsing: text.contains("://") ? text : "https://\(text)")
        } catch {
            throw SigstoreError(
                .keyServiceSettings, "\(name): \(error.message)",
                advice: .sentence("set it to the address of the server, such as \(standard)"), cause: error)
        }
        guard url.origin.scheme == .https || url.origin.isLoopback else {
            throw SigstoreError(
                .keyServiceSettings,
                "\(name) is \(url.redacted): over plain HTTP the token and the key could be read on their way",
                advice: "give the server's address with https://")
        }
        return url
    }

    /// The token that a variable holds, as a header field.
    /// - Parameters:
    ///   - name: The variable.
    ///   - field: The header field.
    ///   - scheme: What stands before it, if the field is `Authorization`.
    ///   - advice: Where to get one.
    func token(_ name: String, field: String, scheme: String? = nil, _ advice: String) throws(SigstoreError)
        -> Authorization
    {
        guard let secret = secret(name) else {
            throw SigstoreError(.keyServiceSettings, "\(name) is not set", advice: .sentence(advice))
        }
        var bytes = unsafe secret.withBytes { unsafe Array($0) }
        defer { SecretBytes.cleanse(&bytes) }
        guard bytes.allSatisfy({ (0x21...0x7e).contains($0) }) else {
            throw SigstoreError(
                .keyServiceSettings, "\(name) is not one word of visible ASCII", advice: .sentence(advice))
        }
        return scheme.map { Authorization(scheme: $0, bytes) } ?? Authorization(field: field, bytes)
    }
}
