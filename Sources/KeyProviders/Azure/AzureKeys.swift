internal import HTTPTransport
public import SigstoreCrypto
public import StrictJSON

/// Keys in Azure Key Vault and in Managed HSMs: `azurekms://HOST/KEY`.
///
/// To sign takes two permissions, `get` and `sign` on keys; to verify the first one. A key's public half is asked for once a
/// run, the version that it names signs, and verifying is done here. No variable says where a key is: the reference does.
public final class AzureKeys: KeyMaker {
    private let surroundings: KeySurroundings
    private let clients = Once<Int, any HTTPClient>()
    private let vaults = Once<HTTPURL.Origin, AzureVault>()
    private let keys = Once<String, AzureKey>()

    /// Makes the place. Nothing is read or asked yet.
    /// - Parameter surroundings: The variables, the clock and the network.
    public init(_ surroundings: KeySurroundings) { self.surroundings = surroundings }

    public func knows(_ reference: String) -> Bool { AzureKeyReference.scheme.isMeant(by: reference) }

    public func check(_ reference: String) throws(SigstoreError) { _ = try AzureKeyReference(reference) }

    public func owner(of reference: String) -> String {
        (try? AzureKeyReference(reference)).map { "azure:\($0.origin.authority)/\($0.key.lowercased())" } ?? reference
    }

    public func publicKey(_ reference: String) async throws(SigstoreError) -> PublicKey {
        let key = try await key(AzureKeyReference(reference))
        if !key.isEnabled {
            surroundings.warning(
                "the key \(reference), version \(key.version), is disabled: it was taken out of use"
            )
        }
        return key.publicKey
    }

    public func signer(_ reference: String, password: @escaping PasswordSource) async throws(SigstoreError)
        -> any Signer
    {
        let place = try AzureKeyReference(reference)
        let key = try await key(place)
        try key.expectSigns(place, now: surroundings.now())
        return AzureSigner(key: key, place: place, vault: try await vault(place))
    }

    public func facts(_ reference: String) async throws(SigstoreError) -> [KeyFact] {
        let place = try AzureKeyReference(reference)
        let key = try await key(place)
        let token = try await vault(place).token(place)
        var facts = [
            KeyFact("service", "\(place.serviceName), \(place.origin.authority)"), KeyFact("key", key.name),
            KeyFact("version", key.version), KeyFact("algorithm", "\(key.publicKey.kind)"),
            KeyFact("kept in", key.type.hasSuffix("-HSM") ? "hardware (\(key.type))" : "software (\(key.type))"),
            KeyFact("signs as", key.algorithms.map { "\($0.scheme) (\($0.name))" }.joined(separator: ", ")),
            KeyFact("credentials", token.source),
        ]
        if !key.isEnabled { facts.append(KeyFact("state", "disabled")) }
        if let end = key.expires { facts.append(KeyFact("key ends", "\(Instant(seconds: end))")) }
        if let tenant = token.tenant { facts.append(KeyFact("tenant", tenant)) }
        if let identity = token.identity { facts.append(KeyFact("identity", identity)) }
        if let end = token.expiration { facts.append(KeyFact("credentials end", "\(end)")) }
        return facts
    }

    // MARK: - Making keys

    /// What a vault is asked for to make a kind of key (Key Vault REST API, Create Key).
    private static func specification(_ algorithm: SigningAlgorithm) -> (kind: PublicKey.Kind, members: JSONObject)? {
        switch algorithm {
        case .ecdsaP256: (.ecP256, ["crv": .string("P-256")])
        case .ecdsaP384: (.ecP384, ["crv": .string("P-384")])
        case .ecdsaP521: (.ecP521, ["crv": .string("P-521")])
        case .rsa2048: (.rsa(bits: 2048), ["key_size": .integer(2048)])
        case .rsa3072: (.rsa(bits: 3072), ["key_size": .integer(3072)])
        case .rsa4096: (.rsa(bits: 4096), ["key_size": .integer(4096)])
        case .ed25519, .ed25519ph: nil
        }
    }

    public func makeKey(_ reference: String, algorithm: SigningAlgorithm?) async throws(SigstoreError) -> (
        publicKey: PublicKey, isNew: Bool
    ) {
        let place = try AzureKeyReference(reference)
        let wanted = algorithm ?? .ecdsaP256
        let specification = try name(of: wanted, reference, "Azure", Self.specification)
        guard place.version == nil else {
            throw SigstoreError(
                .unknownKeyReference, "\(reference): a key is made without a version, which the vault chooses",
                advice: .sentence(
                    "write it as \(AzureKeyReference.scheme.name)://\(place.origin.authority)/\(place.key)"))
        }
        let there = try await keyThere(reference) { () async throws(SigstoreError) in
            try await key(place)
        } difference: { there in
            algorithm == nil || there.publicKey.kind == specification.kind
                ? nil : "is \(there.publicKey.kind), not one for \(wanted.rawValue)"
        }
        if let there {
            do throws(SigstoreError) { try there.expectSigns(place, now: surroundings.now()) } catch {
                surroundings.warning("\(error.message): it is there already, and cannot sign")
            }
            return (there.publicKey, false)
        }
        var members: JSONObject = [
            "attributes": .object(["enabled": .bool(true)]), "key_ops": .array([.string("sign"), .string("verify")]),
            "kty": .string(
                (specification.kind.coordinateSize == nil ? "RSA" : "EC") + (place.isManagedHSM ? "-HSM" : "")),
            "tags": .object(["use": .string("sigstore")]),
        ]
        for (name, value) in specification.members.members { members[name] = value }
        let answer = try await vault(place).ask(.create, place, members)
        let made: AzureKey
        do throws(SigstoreError) { made = try AzureKey(answer, place) } catch {
            throw AzureVault.mayHaveMade(place, error)
        }
        guard made.publicKey.kind == specification.kind else {
            throw AzureVault.fault(
                place, "a key for \(wanted.rawValue) was asked for, and one that is \(made.publicKey.kind) was made")
        }
        return (made.publicKey, true)
    }

    // MARK: - Asked once a run

    private func vault(_ place: AzureKeyReference) async throws(SigstoreError) -> AzureVault {
        let surroundings = surroundings
        let http = try await clients.value(0) { () async throws(SigstoreError) in try surroundings.client(TLSOptions())
        }
        return try await vaults.value(place.origin) { () async throws(SigstoreError) in
            AzureVault(
                place.origin, http: http,
                chain: AzureCredentialChain(surroundings, http, host: place.origin.host), surroundings: surroundings)
        }
    }

    private func key(_ place: AzureKeyReference) async throws(SigstoreError) -> AzureKey {
        let vault = try await vault(place)
        return try await keys.value("\(place.origin.authority)/\(place.key)/\(place.version ?? "")") {
            () async throws(SigstoreError) in
            try AzureKey(try await vault.ask(.get, place, version: place.version), place)
        }
    }
}

/// What a vault tells of one version of a key.
private struct AzureKey: Sendable {
    /// The name as the vault has it.
    let name: String
    let version: String
    let publicKey: PublicKey
    /// The vault's word for the kind of key.
    let type: String
    let isEnabled: Bool
    /// When it may be used from, and until when, in Unix seconds.
    let begins: Int64?
    let expires: Int64?
    private let operations: [String]?
    /// The algorithms that it signs with, the best first, by their schemes.
    let algorithms: [(scheme: SignatureScheme, name: String)]

    /// The signing algorithms of Azure that are known here, the best first (Key Vault REST API, Sign; RFC 7518, section 3.1).
    private static let all: [(scheme: SignatureScheme, name: String)] = [
        (.ecdsa(.sha256), "ES256"), (.ecdsa(.sha384), "ES384"), (.ecdsa(.sha512), "ES512"),
        (.rsaPKCS1(.sha256), "RS256"), (.rsaPKCS1(.sha384), "RS384"), (.rsaPKCS1(.sha512), "RS512"),
        (.rsaPSS(.sha256), "PS256"), (.rsaPSS(.sha384), "PS384"), (.rsaPSS(.sha512), "PS512"),
    ]

    init(_ answer: JSONCursor, _ place: AzureKeyReference) throws(SigstoreError) {
        do throws(SigstoreError) {
            let json = try answer.member("key")
            let identifier = try json.member("kid")
            let text = try identifier.string()
            guard let version = place.version(in: text),
                place.version == nil || version.utf8.elementsEqual((place.version ?? "").utf8)
            else {
                throw identifier.fault(
                    "is \"\(SigstoreError.shortened(text))\", which is another key or version than was asked for")
            }
            self.version = version
            name = place.key
            let key = try JSONWebKey(json)
            // What a vault signs by RSASSA-PSS has a salt as long as the digest (RFC 7518, section 3.5).
            (publicKey, type) = (key.publicKey.demandingDigestSalt(), key.type)
            var operations: [String]?
            if let list = try json.optional("key_ops")?.elements() {
                var names: [String] = []
                for element in list { names.append(try element.string()) }
                operations = names
            }
            self.operations = operations
            let attributes = try answer.optional("attributes")
            isEnabled = try attributes?.optional("enabled")?.bool() ?? true
            begins = try attributes?.optional("nbf")?.integer()
            expires = try attributes?.optional("exp")?.integer()
        } catch {
            if error.code == .unsupportedKey {
                throw SigstoreError(
                    .keyUnusable, "\(place.text): \(error.message)", advice: error.advice ?? "use another key",
                    cause: error)
            }
            throw AzureVault.fault(
                place, "what \(place.serviceName) answers about the key is not as it should be: \(error.message)", error
            )
        }
        // A curve's key signs over the curve's own hash alone.
        let best = publicKey.defaultScheme
        algorithms = Self.all.filter { [publicKey] known in
            publicKey.kind.coordinateSize == nil ? publicKey.schemes.contains(known.scheme) : known.scheme == best
        }
    }

    /// Refuses a key that cannot sign now, before anything is public.
    func expectSigns(_ place: AzureKeyReference, now: Int64) throws(SigstoreError) {
        func unusable(_ what: String, _ advice: String) -> SigstoreError {
            SigstoreError(
                .keyUnusable, "\(place.text): the key \(name), version \(version), \(what)", advice: .sentence(advice))
        }
        guard isEnabled else {
            throw unusable(
                "is disabled", "enable it with az keyvault key set-attributes --enabled true, or use another key")
        }
        if let expires, expires <= now {
            throw unusable("has expired, at \(Instant(seconds: expires))", "use a newer version, or another key")
        }
        if let begins, begins > now {
            throw unusable(
                "may not be used before \(Instant(seconds: begins))",
                "use another key until then, or set this machine's clock")
        }
        if let operations, !operations.contains(where: { $0.utf8.elementsEqual("sign".utf8) }) {
            throw unusable(
                "is not for signing, but for \(SigstoreError.shortened(operations.joined(separator: ", ")))",
                "use a key that has sign among its operations (key_ops)")
        }
    }
}

/// Signs with one version of a key of a vault.
private struct AzureSigner: Signer {
    let key: AzureKey
    let place: AzureKeyReference
    let vault: AzureVault

    var publicKey: PublicKey { key.publicKey }
    var schemes: [SignatureScheme] { key.algorithms.map(\.scheme) }
    var displayName: String { "\(place.serviceName)'s key \(key.name), version \(key.version) (\(place.text))" }

    func sign(_ message: HashedMessage, scheme: SignatureScheme) async throws(SigstoreError) -> [UInt8] {
        guard let algorithm = key.algorithms.first(where: { $0.scheme == scheme })?.name, let hash = scheme.hash else {
            throw SigstoreError(
                .unsupportedKey,
                "\(place.text): the key \(key.name) cannot sign with \(scheme), but with \(key.algorithms.map(\.name).joined(separator: ", "))",
                advice: "leave the algorithm out, or use another key")
        }
        guard let digest = message.digest(hash) else {
            throw SigstoreError(.messageNotRead, "the message was not read for \(scheme)")
        }
        // The version whose public key is known here is the one that signs, also if another one becomes the newest meanwhile.
        let answer = try await vault.ask(
            .sign, place, version: key.version,
            ["alg": .string(algorithm), "value": .string(Base64.encodeURLSafe(digest.bytes))])
        let signature: [UInt8]
        do throws(SigstoreError) {
            let value = try answer.member("value")
            let text = try value.string()
            guard text.utf8.count <= 2048, let bytes = Base64.decodeURLSafe(text) else {
                throw value.fault("is not base64url of at most 1.5 KiB")
            }
            signature =
                publicKey.kind.coordinateSize == nil ? bytes : try publicKey.kind.signature(fromFixedWidth: bytes)
            let identifier = try answer.member("kid")
            let by = try identifier.string()
            guard place.version(in: by)?.utf8.elementsEqual(key.version.utf8) == true else {
                throw SigstoreError(
                    .keyMismatch,
                    "\(place.text): version \(key.version) was asked to sign with \(algorithm) over the \(hash.rawValue) digest, and \(SigstoreError.shortened(by)) did",
                    advice: "try again; if it stays so, what stands before the vault changes its answers")
            }
        } catch {
            if error.code == .keyMismatch { throw error }
            throw AzureVault.fault(
                place, "what \(place.serviceName) answers to sign is not as it should be: \(error.message)", error)
        }
        return signature
    }
}
