internal import HTTPTransport
public import SigstoreCrypto
public import StrictJSON

/// Keys in the transit engine of HashiCorp Vault or OpenBao: `hashivault://KEY` and `openbao://KEY`.
///
/// What the token needs: `read` on `transit/keys/KEY`, and to sign `update` on `transit/sign/KEY/HASH` (for Ed25519,
/// `transit/sign/KEY`). Verifying happens here, with the public keys of all versions that the engine still has.
public final class VaultKeys: KeyMaker {
    private let around: KeySurroundings
    private let servers = Once<Int, VaultServer>()
    private let keys = Once<VaultReference, VaultKey>()

    /// Nothing is opened or asked yet.
    public init(_ around: KeySurroundings) { self.around = around }

    public func knows(_ reference: String) -> Bool {
        VaultReference.schemes.contains { $0.isMeant(by: reference) }
    }

    public func owner(of reference: String) -> String {
        (try? VaultReference(reference)).map { "vault:\($0.key)" } ?? reference
    }

    public func trustVariables(_ reference: String) -> [String] {
        VaultServer.trustVariables.filter { around.variable($0) != nil }
    }

    public func check(_ reference: String) throws(SigstoreError) { _ = try VaultReference(reference) }

    public func publicKey(_ reference: String) async throws(SigstoreError) -> PublicKey {
        try await key(reference).newest.publicKey
    }

    public func publicKeys(_ reference: String) async throws(SigstoreError) -> [PublicKey] {
        try await key(reference).versions.map(\.publicKey)
    }

    public func signer(_ reference: String, password: @escaping PasswordSource) async throws(SigstoreError)
        -> any Signer
    {
        VaultSigner(
            server: try await server(), name: try VaultReference(reference).key,
            version: try await key(reference).newest)
    }

    public func facts(_ reference: String) async throws(SigstoreError) -> [KeyFact] {
        let (server, key) = (try await server(), try await key(reference))
        return [
            KeyFact("service", "Vault or OpenBao at \(server.address.origin), engine \(server.mount)"),
            KeyFact("key", key.name), KeyFact("version", "\(key.newest.number)"),
            KeyFact("other versions", key.versions.dropFirst().map { "\($0.number)" }.joined(separator: ", ")),
            KeyFact("algorithm", "\(key.newest.publicKey.kind)"),
            KeyFact("signs as", key.newest.schemes.map(\.description).joined(separator: ", ")),
            KeyFact("credentials", "the token of \(server.tokenSource)"),
        ].filter { !$0.value.isEmpty }
    }

    public func makeKey(_ reference: String, algorithm: SigningAlgorithm?) async throws(SigstoreError) -> (
        publicKey: PublicKey, isNew: Bool
    ) {
        let (server, name) = (try await server(), try VaultReference(reference).key)
        let wanted = algorithm ?? .ecdsaP256
        let type = try self.name(of: wanted, reference, "Vault", VaultKey.type)
        // The server keeps a key that is there, whatever kind is asked for, and does not say so.
        let there = try await keyThere(reference) { () async throws(SigstoreError) in
            try await VaultKey(server, VaultReference(reference))
        } difference: { there in
            algorithm == nil || there.type.utf8.elementsEqual(type.utf8)
                ? nil : "is of the type \(there.type), not \(type)"
        }
        if let there { return (there.newest.publicKey, false) }
        _ = try await server.call("PUT", "keys/\(name)", .object(["type": .string(type)]), key: name)
        let made = try await VaultKey(server, VaultReference(reference))
        guard made.type == type else {
            throw SigstoreError(
                .keyServiceAnswer, "\(reference): a key of the type \(type) was asked for, and \(made.type) was made")
        }
        return (made.newest.publicKey, true)
    }

    // MARK: Asked once a run

    private func server() async throws(SigstoreError) -> VaultServer {
        let around = around
        return try await servers.value(0) { () async throws(SigstoreError) in try await VaultServer(around) }
    }

    private func key(_ reference: String) async throws(SigstoreError) -> VaultKey {
        let (server, parsed) = (try await server(), try VaultReference(reference))
        return try await keys.value(parsed) { () async throws(SigstoreError) in try await VaultKey(server, parsed) }
    }
}

/// A key of a transit engine with its versions.
struct VaultKey: Sendable {
    /// One version of a key.
    struct Version: Sendable {
        let number: Int
        let publicKey: PublicKey

        /// How the engine signs with it: ECDSA and RSA (PKCS#1 v1.5) over a digest, Ed25519 over the message itself.
        var schemes: [SignatureScheme] {
            let best = publicKey.defaultScheme
            return ([best] + publicKey.schemes.filter { $0 != best }).filter { scheme in
                switch scheme {
                case .ecdsa, .rsaPKCS1, .ed25519: true
                case .rsaPSS, .ed25519ph: false
                }
            }
        }
    }

    let name: String
    /// The engine's word for the kind of key, such as `ecdsa-p256`.
    let type: String
    /// The versions that may verify, the one that signs first.
    let versions: [Version]
    let newest: Version

    /// Asks for a key.
    init(_ server: VaultServer, _ reference: VaultReference) async throws(SigstoreError) {
        name = reference.key
        let place = "\(server.address.origin.authority), \(server.mount)"
        guard let data = try await server.call("GET", "keys/\(reference.key)", key: reference.key) else {
            throw SigstoreError(.keyServiceAnswer, "\(place): the answer about the key \(reference.key) is empty")
        }
        do throws(SigstoreError) {
            type = try data.member("type").string()
            guard try data.optional("supports_signing")?.bool() ?? true else {
                throw SigstoreError(
                    .keyUnusable, "the key \(reference.key) is of the type \(type), which does not sign",
                    advice: "name a key of a type that signs, such as ecdsa-p256")
            }
            let oldest = try data.optional("min_decryption_version")?.integer() ?? 1
            let keys = try data.member("keys")
            let names = try keys.names()
            guard names.count <= 4096 else { throw keys.fault("has more than 4096 versions") }
            var found: [Version] = []
            for name in names {
                guard let number = Int(name), number > 0, String(number) == name else {
                    throw keys.fault("has a version \"\(name)\"")
                }
                guard number >= oldest, number == reference.version ?? number else { continue }
                let entry = try keys.member(name)
                found.append(
                    Version(number: number, publicKey: try Self.publicKey(entry.member("public_key").string(), type)))
            }
            found.sort { $0.number > $1.number }
            guard let first = found.first, reference.version == nil || first.number == reference.version else {
                throw SigstoreError(
                    .keyNotFound,
                    "the key \(reference.key) has no version \(reference.version.map(String.init) ?? "that may be used")",
                    advice: "its versions are \(names.joined(separator: ", ").prefix(200))")
            }
            newest = first
            versions = found
        } catch { throw error.concerning(place) }
    }

    /// The public key: PEM, or for Ed25519 its 32 bytes in base64.
    private static func publicKey(_ text: String, _ type: String) throws(SigstoreError) -> PublicKey {
        guard type == "ed25519" else { return try PublicKey(file: Array(text.utf8)) }
        guard let bytes = Base64.decode(text) else {
            throw SigstoreError(.malformedKey, "an Ed25519 key is not in base64")
        }
        return try PublicKey(ed25519: bytes)
    }

    /// The engine's word for a kind of key.
    static func type(of algorithm: SigningAlgorithm) -> String? {
        switch algorithm {
        case .ecdsaP256: "ecdsa-p256"
        case .ecdsaP384: "ecdsa-p384"
        case .ecdsaP521: "ecdsa-p521"
        case .ed25519: "ed25519"
        case .rsa2048: "rsa-2048"
        case .rsa3072: "rsa-3072"
        case .rsa4096: "rsa-4096"
        case .ed25519ph: nil
        }
    }
}

/// Signs with one version of a key of a transit engine.
struct VaultSigner: Signer {
    let server: VaultServer
    let name: String
    let version: VaultKey.Version

    var publicKey: PublicKey { version.publicKey }
    var schemes: [SignatureScheme] { version.schemes }
    var displayName: String {
        "\(server.address.origin.authority), \(server.mount), key \(name), version \(version.number)"
    }

    func sign(_ message: HashedMessage, scheme: SignatureScheme) async throws(SigstoreError) -> [UInt8] {
        var body: JSONObject = ["key_version": .string(String(version.number))]
        var path = "sign/\(name)"
        if let hash = scheme.hash {
            guard let digest = message.digest(hash) else {
                throw SigstoreError(.messageNotRead, "the key \(name) signs \(scheme), and this digest was not made")
            }
            path += "/sha2-\(digest.bytes.count * 8)"
            body["input"] = .bytes(digest.bytes)
            body["prehashed"] = .bool(true)
            switch scheme {
            case .rsaPKCS1: body["signature_algorithm"] = .string("pkcs1v15")
            case .ecdsa: body["marshaling_algorithm"] = .string("asn1")
            default: break
            }
        } else {
            guard let bytes = message.bytes else {
                throw SigstoreError(.messageNotRead, "the key \(name) signs whole messages, and this one was not kept")
            }
            body["input"] = .bytes(bytes)
        }
        let place = displayName
        guard let data = try await server.call("PUT", path, .object(body), key: name) else {
            throw SigstoreError(.keyServiceAnswer, "\(place): the answer holds no signature")
        }
        do throws(SigstoreError) {
            let text = try data.member("signature").string()
            let parts = text.split(separator: ":", omittingEmptySubsequences: false)
            guard parts.count == 3, ["vault", "bao"].contains(parts[0]) else {
                throw SigstoreError(.keyServiceAnswer, "the signature is not written as vault:vN:BASE64")
            }
            guard parts[1].utf8.elementsEqual("v\(version.number)".utf8) else {
                throw SigstoreError(.keyMismatch, "version \(version.number) was asked to sign, and \(parts[1]) did")
            }
            guard let signature = Base64.decode(String(parts[2])), signature.count <= 4096 else {
                throw SigstoreError(.malformedBase64, "the signature is not base64")
            }
            return signature
        } catch { throw error.concerning(place) }
    }
}
