internal import HTTPTransport
public import KeyProviders
public import SigstoreCrypto
public import StrictJSON

/// Where a key is, as a short text such as `cosign.key` or `env://NAME`.
///
/// A reference is read by the first `KeyPlace` that knows its form, so that key services, tokens and secrets in a
/// cluster are added without a change here.
public struct KeyReference: Sendable {
    /// The reference as the person wrote it.
    private let reference: String
    /// The reference as it may be shown: as the person wrote it, without a secret that stands in it.
    public let text: String
    private let place: any KeyPlace
    /// The place, if the key is read from a file or a variable.
    private let contents: (any KeyContents)?
    private let notice: @Sendable (String) -> Void

    /// All places that are built. A place keeps what it has learned, so these are made once a run, for all its references.
    /// - Parameter surroundings: What the places have of the world around them; by default this process's own.
    public static func places(_ surroundings: KeySurroundings = .process) -> [any KeyPlace] {
        places(surroundings, tokens: PKCS11Keys(surroundings))
    }

    /// - Parameter tokens: The place of tokens, which may be that of other lists too.
    static func places(_ surroundings: KeySurroundings, tokens: PKCS11Keys) -> [any KeyPlace] {
        [
            VariableKeyPlace(), AWSKeys(surroundings), GoogleKeys(surroundings), AzureKeys(surroundings),
            VaultKeys(surroundings),
            KubernetesKeys(surroundings), GitLabKeys(surroundings), GitHubKeys(surroundings), URLKeys(surroundings),
            tokens,
            PluginKeyPlace(surroundings), FileKeyPlace(),
        ]
    }

    /// Reads a reference. Nothing is opened or asked yet.
    /// - Parameters:
    ///   - text: The reference.
    ///   - places: Where keys may be, the first that knows the reference's form counts; by default ``places(_:)`` for this
    ///     reference alone.
    ///   - notice: Takes what had happened on its way to a key that was read all the same, as a sentence.
    /// - Throws: `SigstoreError` with `unknown-key-reference` for a scheme that no place knows, or a form that the scheme does not have.
    public init(
        _ text: String, in places: [any KeyPlace] = KeyReference.places(),
        notice: @escaping @Sendable (String) -> Void = { _ in }
    ) throws(SigstoreError) {
        self.notice = notice
        guard let place = places.first(where: { $0.knows(text) }) else {
            throw Self.unknown(HTTPURL.withoutUser(text))
        }
        self.place = place
        // By name: asking whether it is of a protocol has the run time look through all that the program knows of protocols.
        contents = (place as? FileKeyPlace) ?? (place as? VariableKeyPlace)
        reference = text
        self.text = place.shown(text)
        do throws(SigstoreError) { try place.check(text) } catch {
            // Whatever is wrong with it is said of what may be shown. A token's URI has PINs and no users.
            let shown = HTTPURL.withoutUser(text)
            guard !shown.utf8.elementsEqual(text.utf8), !(place is PKCS11Keys) else { throw error }
            try place.check(shown)
            throw SigstoreError(
                error.code, "\"\(shown)\" is no reference to a key: a user or password stands in it",
                advice: "leave out what stands before the @")
        }
    }

    /// Whether a reference can be nothing but a file's path: no scheme stands before it, and no service has such names.
    /// - Parameter text: The reference.
    public static func isPath(_ text: String) -> Bool {
        !text.utf8.contains(0x3a) && !text.utf8.starts(with: "projects/".utf8) && !text.utf8.starts(with: "//".utf8)
    }

    /// Reads the path of a file, as most references are: no other place is made for it.
    /// - Parameters:
    ///   - path: The path, or `-` for standard input.
    ///   - notice: Takes what had happened on its way to a key that was read all the same, as a sentence.
    public init(path: String, notice: @escaping @Sendable (String) -> Void = { _ in }) {
        let file = FileKeyPlace()
        (reference, text, place, contents) = (path, file.shown(path), file, file)
        self.notice = notice
    }

    static func unknown(_ text: String) -> SigstoreError {
        SigstoreError(
            .unknownKeyReference, "\"\(text)\" is not a kind of key reference that is known",
            advice: "use a path, env://NAME or -")
    }

    /// A name that two references to one key have in common, whatever version of it each names.
    public var owner: String { place.owner(of: reference) }

    /// The variables of the environment that are set and say where the key is.
    public var trustVariables: [String] { place.trustVariables(reference) }

    /// Whether reading the key takes standard input.
    public var takesStandardInput: Bool { place.takesStandardInput(reference) }

    /// The public key.
    /// - Throws: `SigstoreError` that names the reference.
    public func publicKey() async throws(SigstoreError) -> PublicKey {
        if let contents { return try await contents.publicKey(reference, notice) }
        return try await place.publicKey(reference)
    }

    /// The public keys that may verify what the key has signed: of a key that was rotated, those of all its versions, the one that
    /// signs now first.
    /// - Throws: `SigstoreError` that names the reference.
    public func publicKeys() async throws(SigstoreError) -> [PublicKey] {
        if contents != nil { return [try await publicKey()] }
        return try await place.publicKeys(reference)
    }

    /// What signs with the key.
    /// - Parameter password: Asked for only if the key is encrypted.
    /// - Throws: `SigstoreError` that names the reference.
    public func signer(password: @escaping PasswordSource) async throws(SigstoreError) -> any Signer {
        if let contents {
            return try await contents.signer(reference, password: password, notice)
        }
        return try await place.signer(reference, password: password)
    }

    /// The public key of the pair that signs: taken from the private key if that is in a file or a variable, and else as the
    /// place has it, which is then not asked for the private key.
    /// - Parameter password: Asked for only if a private key is read and encrypted.
    /// - Throws: `SigstoreError` that names the reference.
    public func publicKey(ofPair password: @escaping PasswordSource) async throws(SigstoreError) -> PublicKey {
        if contents != nil { return try await signer(password: password).publicKey }
        do throws(SigstoreError) { return try await place.publicKey(reference) } catch {
            // A pair that is kept somewhere may stand there without its public half.
            guard place is any KeyPairKeeper, error.code == .keyNotFound else { throw error }
            return try await signer(password: password).publicKey
        }
    }

    /// What a person wants to know of the key, never a secret; see `KeyPlace.facts`. What names the key in bundles, the
    /// base64 of the SHA-256 of its DER, comes last.
    /// - Parameter password: Asked for only if all there is of the key is a private one in a file or a variable, encrypted.
    /// - Throws: `SigstoreError` that names the reference.
    public func facts(password: @escaping PasswordSource) async throws(SigstoreError) -> [KeyFact] {
        var facts: [KeyFact]
        let key: PublicKey
        if let contents {
            (facts, key) = try await contents.facts(self, password)
        } else {
            facts = try await place.facts(reference)
            key = try await publicKey(ofPair: password)
        }
        facts.append(KeyFact("hint", try key.hint()))
        return facts
    }

    /// Refuses a reference to a key that does not leave its place. Nothing is asked.
    /// - Throws: `SigstoreError` with `unsupported-key`.
    public func expectMovable() throws(SigstoreError) {
        if place is any KeyMaker || place is PKCS11Keys { throw immovable }
    }

    private var immovable: SigstoreError {
        SigstoreError(
            .unsupportedKey, "\(text): the private key does not leave its place, so it cannot be kept elsewhere",
            advice: "sign with it where it is, by this reference")
    }

    /// The private key itself, to be kept elsewhere.
    /// - Parameter password: Asked for only if the key is encrypted.
    /// - Throws: `SigstoreError` that names the reference; with `unsupported-key` if the key does not leave its place. A key
    ///   service is not asked for that.
    public func privateKey(password: @escaping PasswordSource) async throws(SigstoreError) -> PrivateKey {
        // What a place makes itself never leaves it.
        try expectMovable()
        guard let key = try await signer(password: password) as? PrivateKey else { throw immovable }
        return key
    }

    /// Refuses a reference to a place that makes no keys itself. Nothing is asked.
    /// - Throws: `SigstoreError` with `usage`.
    public func expectMaker() throws(SigstoreError) { _ = try maker() }

    private func maker() throws(SigstoreError) -> any KeyMaker {
        guard let maker = place as? any KeyMaker else {
            throw SigstoreError(
                .usage, "\(text) is not in a key service that makes keys itself",
                advice: "name one, such as hashivault://KEY")
        }
        return maker
    }

    /// Has the place make a key, unless one is there already, which stays as it is.
    /// - Parameter algorithm: The kind of key; `nil` for the place's usual one.
    /// - Returns: The public key, and whether it was made now.
    /// - Throws: `SigstoreError` that names the reference; `usage` if the place makes no keys, or none of this kind.
    public func makeKey(_ algorithm: SigningAlgorithm?) async throws(SigstoreError) -> (
        publicKey: PublicKey, isNew: Bool
    ) {
        let made = try await maker().makeKey(reference, algorithm: algorithm)
        if let algorithm, !made.publicKey.kind.allows(algorithm) {
            throw SigstoreError(
                .keyUnusable, "the key \(text) is \(made.publicKey.kind), expected one for \(algorithm.rawValue)",
                advice: "leave the algorithm out to use the key that is there, or name another key")
        }
        return made
    }

    // MARK: - A pair that is made here

    /// Refuses a reference to a place that keeps no key pairs for others. Nothing is asked.
    /// - Throws: `SigstoreError` with `usage`.
    public func expectKeeper() throws(SigstoreError) { _ = try keeper() }

    private func keeper() throws(SigstoreError) -> any KeyPairKeeper {
        guard let keeper = place as? any KeyPairKeeper else {
            throw SigstoreError(
                .usage, "\(text) is no place that keeps key pairs which are made here",
                advice: place is any KeyMaker
                    ? .remedy(.haveKeyMadeInService)
                    : "name one, such as k8s://NAMESPACE/NAME, gitlab://GROUP/PROJECT or github://OWNER/REPOSITORY")
        }
        return keeper
    }

    /// What stands where a key pair would be kept, by names for people.
    /// - Throws: `SigstoreError` that names the reference; `usage` if the place keeps no pairs.
    public func existingPair() async throws(SigstoreError) -> [String] { try await keeper().existing(reference) }

    /// Keeps a key pair: all of it, or nothing.
    /// - Parameters:
    ///   - key: The key.
    ///   - password: Encrypts the private key, and is kept beside it; may be empty.
    ///   - replacing: Whether what is in the way may be replaced.
    /// - Returns: Where everything is now.
    /// - Throws: `SigstoreError` that names the reference; `key-exists` if something is in the way that may not be replaced.
    public func keep(_ key: PrivateKey, password: SecretBytes, replacing: Bool) async throws(SigstoreError)
        -> StoredKeyPair
    {
        let pair = try EncryptedKeyPair(key, password: password)
        let kept = try await keeper().keep(pair, reference, replacing: replacing)
        return StoredKeyPair(privateKey: kept.privateKey, publicKey: kept.publicKey, kept: [])
    }

    /// A certificate for the key that is kept with it, such as on a token; `nil` if there is none.
    /// - Throws: `SigstoreError` that names the reference.
    public func certificate() async throws(SigstoreError) -> Certificate? { try await place.certificate(reference) }

    /// Whether certificates that are kept with keys are left aside, whatever is asked for.
    public var ignoresCertificates: Bool { place.ignoresCertificates }

    /// Forgets the private key where it was read from, if that is this process's own memory.
    public func forget() { place.forget(reference) }
}

extension SigstoreError.Remedy {
    /// The place makes keys itself.
    public static let haveKeyMadeInService = Self("have-the-service-make-the-key")
}

extension SigstoreError.Code {
    /// Something that cosign can do and this version cannot yet.
    public static let notBuiltYet = Self("not-built-yet")
}
