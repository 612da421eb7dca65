internal import KeyProviders
internal import LocalSystem
internal import SigstoreCrypto
public import StrictJSON

/// What files and variables have in common: the key's bytes are at hand. Those that were bent on their way are read if it is
/// plain how they were.
protocol KeyContents: KeyPlace {
    /// What the place is called, such as "file".
    var name: String { get }
    func contents(_ reference: String) throws(SigstoreError) -> [UInt8]
}

extension KeyContents {
    func publicKey(_ reference: String) async throws(SigstoreError) -> PublicKey {
        try await publicKey(reference) { _ in }
    }

    func signer(_ reference: String, password: @escaping PasswordSource) async throws(SigstoreError) -> any Signer {
        try await signer(reference, password: password) { _ in }
    }

    /// - Parameter notice: Takes what had happened to a key that was read all the same, as a sentence.
    func publicKey(_ reference: String, _ notice: @escaping @Sendable (String) -> Void)
        async throws(SigstoreError) -> PublicKey
    {
        try await read(reference, notice) { bytes throws(SigstoreError) in try PublicKey(file: bytes) }
    }

    /// - Parameter notice: Takes what had happened to a key that was read all the same, as a sentence.
    func signer(
        _ reference: String, password: @escaping PasswordSource, _ notice: @escaping @Sendable (String) -> Void
    ) async throws(SigstoreError) -> any Signer {
        try await read(reference, notice) { bytes throws(SigstoreError) in
            try PrivateKey.read(file: bytes, password: password)
        }
    }

    /// What is to be said of a key that is at hand.
    func facts(_ reference: KeyReference, _ password: @escaping PasswordSource)
        async throws(SigstoreError) -> ([KeyFact], PublicKey)
    {
        var holds = "a public key"
        let key: PublicKey
        do throws(SigstoreError) { key = try await reference.publicKey() } catch {
            guard error.code == .malformedKey, !reference.takesStandardInput else { throw error }
            holds = "a private key"
            key = try await reference.publicKey(ofPair: password)
        }
        let facts = [
            KeyFact("service", name), KeyFact("key", reference.text), KeyFact("holds", holds),
            KeyFact("algorithm", "\(key.kind)"), KeyFact("signs as", "\(key.defaultScheme)"),
        ]
        return (facts, key)
    }

    private func read<Key: Sendable>(
        _ reference: String, _ notice: @escaping @Sendable (String) -> Void,
        _ parse: @escaping @Sendable ([UInt8]) throws(SigstoreError) -> Key
    ) async throws(SigstoreError) -> Key {
        try await onBlockingThread { () throws(SigstoreError) in
            var bytes = try self.contents(reference)
            defer { SecretBytes.cleanse(&bytes) }
            do throws(SigstoreError) { return try parse(bytes) } catch {
                guard error.code == .malformedPEM || error.code == .malformedKey, !takesStandardInput(reference),
                    var bent = BentKey(bytes)
                else { throw error.concerning(shown(reference)) }
                guard var text = bent.take() else {
                    throw SigstoreError(
                        error.code, "\(shown(reference)): the key cannot be read, and it seems that \(bent.words)",
                        advice: .remedy(.giveKeyAsWritten), cause: error)
                }
                defer { SecretBytes.cleanse(&text) }
                let key: Key
                do throws(SigstoreError) { key = try parse(text) } catch { throw error.concerning(shown(reference)) }
                notice("the key \(shown(reference)) was changed on its way, and was read as it had been: \(bent.words)")
                return key
            }
        }
    }
}

/// Key files, and standard input for `-`.
struct FileKeyPlace: KeyContents {
    var name: String { "file" }

    func knows(_ reference: String) -> Bool { !reference.unicodeScalars.contains("://".unicodeScalars) }

    /// A name may have any characters.
    func shown(_ reference: String) -> String { reference }

    func takesStandardInput(_ reference: String) -> Bool { InputFile(reference).isStandardInput }

    func contents(_ reference: String) throws(SigstoreError) -> [UInt8] {
        try InputFile(reference).contents(limit: 1 << 18)
    }
}

/// Variables of this process's environment: `env://NAME`.
struct VariableKeyPlace: KeyContents {
    var name: String { "environment variable" }

    private static let scheme = ReferenceScheme("env", form: "env://NAME")

    func knows(_ reference: String) -> Bool { Self.scheme.isMeant(by: reference) }

    func check(_ reference: String) throws(SigstoreError) { _ = try Self.scheme.rest(of: reference) }

    func contents(_ reference: String) throws(SigstoreError) -> [UInt8] {
        let name = try Self.scheme.rest(of: reference)
        guard let value = unsafe ProcessEnvironment.withBytes(name, { unsafe Array($0) }) else {
            let shown = (try? Self.scheme.rest(of: shown(reference))) ?? ""
            throw SigstoreError(.fileNotFound, "the environment variable \(shown) is not set")
        }
        return value
    }

    func forget(_ reference: String) {
        if let name = try? Self.scheme.rest(of: reference) { ProcessEnvironment.erase(name) }
    }
}

extension SigstoreError.Remedy {
    /// More happened to the key on its way than is undone.
    public static let giveKeyAsWritten = Self("give-the-key-as-it-was-written")
}
