public import KeyProviders
public import SigstoreCrypto
public import StrictJSON

/// Where a key is, as a short text such as `cosign.key` or `env://NAME`.
///
/// A reference is read by the first of its ``KeyPlace``s that knows its form, so that key services, tokens and secrets in a
/// cluster are added without a change here.
public struct KeyReference: Sendable {
    /// The reference as the person wrote it.
    public let text: String
    private let place: any KeyPlace
    private let notice: @Sendable (String) -> Void

    /// The places that are known without further modules: files, standard input, and variables of the environment.
    public static let places: [any KeyPlace] = [VariableKeyPlace(), UnsupportedKeyPlace(), FileKeyPlace()]

    /// Reads a reference. Nothing is opened or asked yet.
    /// - Parameters:
    ///   - text: The reference.
    ///   - places: Where keys may be, the first that knows the reference's form counts.
    ///   - notice: Takes what had happened on its way to a key that was read all the same, as a sentence.
    /// - Throws: `SigstoreError` with `not-built-yet` for key services, tokens and URLs that no place is there for,
    ///   each by its name, and `unknown-key-reference` for any other scheme.
    public init(
        _ text: String, in places: [any KeyPlace] = KeyReference.places,
        notice: @escaping @Sendable (String) -> Void = { _ in }
    ) throws(SigstoreError) {
        self.text = text
        self.notice = notice
        guard let place = places.first(where: { $0.knows(text) }) else { throw Self.unknown(text) }
        self.place = place
        try place.check(text)
    }

    static func unknown(_ text: String) -> SigstoreError {
        SigstoreError(
            .unknownKeyReference, "\"\(text)\" is not a kind of key reference that is known",
            advice: "use a path, env://NAME or -")
    }

    /// Whether reading the key takes standard input.
    public var takesStandardInput: Bool { place.takesStandardInput(text) }

    /// The public key.
    /// - Throws: `SigstoreError` that names the reference.
    public func publicKey() async throws(SigstoreError) -> PublicKey {
        if let contents = place as? any KeyContents { return try await contents.publicKey(text, notice) }
        return try await place.publicKey(text)
    }

    /// What signs with the key.
    /// - Parameter password: Asked for only if the key is encrypted.
    /// - Throws: `SigstoreError` that names the reference.
    public func signer(password: @escaping PasswordSource) async throws(SigstoreError) -> any Signer {
        if let contents = place as? any KeyContents {
            return try await contents.signer(text, password: password, notice)
        }
        return try await place.signer(text, password: password)
    }

    /// The private key itself, to be kept elsewhere.
    /// - Parameter password: Asked for only if the key is encrypted.
    /// - Throws: `SigstoreError` that names the reference; with `unsupported-key` if the key does not leave its place.
    public func privateKey(password: @escaping PasswordSource) async throws(SigstoreError) -> PrivateKey {
        guard let key = try await signer(password: password) as? PrivateKey else {
            throw SigstoreError(.unsupportedKey, "\(text): the private key does not leave its place")
        }
        return key
    }

    /// Forgets the private key where it was read from, if that is this process's own memory.
    public func forget() { place.forget(text) }
}

extension SigstoreError.Code {
    /// Something that cosign can do and this version cannot yet.
    public static let notBuiltYet = Self("not-built-yet")
    /// A key reference of no known kind.
    public static let unknownKeyReference = Self("unknown-key-reference")
}
