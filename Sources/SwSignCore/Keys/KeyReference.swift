internal import LocalSystem
public import SigstoreCrypto
public import StrictJSON

/// Where a key is: what stands after `--key`.
public struct KeyReference: Sendable {
    /// The forms that are supported.
    public enum Place: Sendable {
        /// A file, or standard input for `-`.
        case file(InputFile)
        /// The content of an environment variable (`env://NAME`).
        case environment(String)
    }

    /// The reference as the person wrote it.
    public let text: String
    /// Where the key is.
    public let place: Place

    /// What cannot be used yet, by the beginning of the reference.
    private static let later: [(prefix: String, what: String)] = [
        ("awskms://", "AWS KMS"), ("gcpkms://", "Google Cloud KMS"), ("azurekms://", "Azure Key Vault"),
        ("hashivault://", "HashiCorp Vault"), ("pkcs11:", "PKCS#11 tokens"), ("k8s://", "Kubernetes secrets"),
        ("gitlab://", "GitLab variables"), ("github://", "GitHub secrets"), ("https://", "keys at a URL"),
        ("http://", "keys at a URL"),
    ]

    /// Reads a reference.
    /// - Throws: ``SigstoreError`` with ``SigstoreError/Code/notBuiltYet`` for key services, tokens and URLs, each by
    ///   its name, and ``SigstoreError/Code/unknownKeyReference`` for any other scheme.
    public init(_ text: String) throws(SigstoreError) {
        self.text = text
        if let found = Self.later.first(where: { text.utf8.starts(with: $0.prefix.utf8) }) {
            throw SigstoreError(
                .notBuiltYet, "\(found.what) (\(found.prefix)…) cannot be used for keys yet",
                advice: "use a key file, or env://NAME with the key in an environment variable")
        }
        if text.utf8.starts(with: "env://".utf8) {
            place = .environment(String(Substring(text.utf8.dropFirst(6))))
        } else if text.unicodeScalars.contains("://".unicodeScalars) {
            throw SigstoreError(
                .unknownKeyReference, "\"\(text)\" is not a kind of key reference that is known",
                advice: "use a path, env://NAME or -")
        } else {
            place = .file(InputFile(text))
        }
    }

    /// Whether reading the key takes standard input.
    public var takesStandardInput: Bool {
        if case .file(let file) = place { return file.isStandardInput }
        return false
    }

    private func contents() throws(SigstoreError) -> [UInt8] {
        switch place {
        case .file(let file): return try file.contents(limit: 1 << 18)
        case .environment(let name):
            guard let value = unsafe ProcessEnvironment.withBytes(name, { unsafe Array($0) }) else {
                throw SigstoreError(.fileNotFound, "the environment variable \(name) is not set")
            }
            return value
        }
    }

    /// Reads the public key: PEM or DER.
    /// - Throws: ``SigstoreError`` that names the reference.
    public func publicKey() throws(SigstoreError) -> PublicKey {
        let bytes = try contents()
        do throws(SigstoreError) { return try PublicKey(file: bytes) } catch { throw error.concerning(text) }
    }

    /// Reads the private key.
    /// - Parameter password: Asked for only where the key is encrypted.
    /// - Throws: ``SigstoreError`` that names the reference.
    public func privateKey(password: () throws(SigstoreError) -> SecretBytes) throws(SigstoreError) -> PrivateKey {
        var bytes = try contents()
        defer { SecretBytes.cleanse(&bytes) }
        do throws(SigstoreError) { return try PrivateKey.read(file: bytes, password: password) } catch {
            throw error.concerning(text)
        }
    }
}

extension SigstoreError.Code {
    /// Something that cosign can do and this version cannot yet.
    public static let notBuiltYet = Self("not-built-yet")
    /// A key reference of no known kind.
    public static let unknownKeyReference = Self("unknown-key-reference")
}
