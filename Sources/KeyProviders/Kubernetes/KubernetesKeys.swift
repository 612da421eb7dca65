internal import HTTPTransport
internal import LocalSystem
public import SigstoreCrypto
public import StrictJSON

/// Key pairs in the secrets of a Kubernetes cluster: `k8s://NAMESPACE/NAME`, with the entries `cosign.key`, `cosign.password` and
/// `cosign.pub`.
///
/// What may read the secret has the private key: signing is done here. Verifying uses `cosign.pub` alone.
public final class KubernetesKeys: KeyPairKeeper {
    /// What a secret holds for us.
    private struct Secret: Sendable {
        var key: SecretBytes?
        var password: SecretBytes?
        var publicKey: [UInt8]?
        let version: String?
    }

    private let around: KeySurroundings
    private let serviceAccount: String
    private let servers = Once<Int, KubernetesServer>()
    private let secrets = Once<KubernetesReference, Secret>()
    private let keys = Once<KubernetesReference, PrivateKey>()

    /// Nothing is read or asked yet.
    public convenience init(_ around: KeySurroundings) {
        self.init(around, serviceAccount: "/var/run/secrets/kubernetes.io/serviceaccount")
    }

    /// - Parameter serviceAccount: Where a pod finds `token` and `ca.crt`.
    package init(_ around: KeySurroundings, serviceAccount: String) {
        (self.around, self.serviceAccount) = (around, serviceAccount)
    }

    public func knows(_ reference: String) -> Bool { KubernetesReference.scheme.isMeant(by: reference) }

    public func check(_ reference: String) throws(SigstoreError) { _ = try KubernetesReference(reference) }

    public func trustVariables(_ reference: String) -> [String] {
        KubernetesServer.trustVariables.filter { around.variable($0) != nil }
    }

    public func publicKey(_ reference: String) async throws(SigstoreError) -> PublicKey {
        let parsed = try KubernetesReference(reference)
        let secret = try await secret(parsed)
        let place = try await place(parsed)
        guard let bytes = secret.publicKey else {
            throw SigstoreError(
                .keyNotFound, "\(place) has no entry cosign.pub",
                advice:
                    "use the public key itself: public-key with this reference prints it if the private key may be read"
            )
        }
        do throws(SigstoreError) { return try PublicKey(file: bytes) } catch {
            throw error.concerning("\(place), cosign.pub")
        }
    }

    public func signer(_ reference: String, password: @escaping PasswordSource) async throws(SigstoreError)
        -> any Signer
    {
        let parsed = try KubernetesReference(reference)
        return try await keys.value(parsed) { () async throws(SigstoreError) in
            let secret = try await self.secret(parsed)
            let place = try await self.place(parsed)
            guard let key = secret.key else {
                throw SigstoreError(
                    .keyNotFound, "\(place) has no entry cosign.key",
                    advice: "name a secret that generate-key-pair made, or add the entry")
            }
            return try await KeptKey(privateKey: key, password: secret.password, publicKey: secret.publicKey).open(
                place, asking: password)
        }
    }

    public func facts(_ reference: String) async throws(SigstoreError) -> [KeyFact] {
        let parsed = try KubernetesReference(reference)
        let (server, secret) = (try await server(), try await secret(parsed))
        var facts = [
            KeyFact("service", "Kubernetes, \(server.url.origin)"), KeyFact("setting", server.setting),
            KeyFact("key", "secret \(parsed.name) in the namespace \(parsed.namespace)"),
        ]
        if let version = secret.version { facts.append(KeyFact("version", version)) }
        let holds = [
            (secret.key != nil, "cosign.key"), (secret.password != nil, "cosign.password"),
            (secret.publicKey != nil, "cosign.pub"),
        ]
        facts.append(KeyFact("holds", holds.filter(\.0).map(\.1).joined(separator: ", ")))
        if secret.publicKey != nil {
            let key = try await publicKey(reference)
            facts += [KeyFact("algorithm", "\(key.kind)"), KeyFact("signs as", "\(key.defaultScheme)")]
        }
        let credentials = try await server.credentials
        facts.append(KeyFact("credentials", credentials.source))
        for field in server.impersonation { facts.append(KeyFact("acts for", "\(field.name): \(field.value)")) }
        if let end = credentials.expiration { facts.append(KeyFact("credentials end", "\(end)")) }
        return facts
    }

    // MARK: - Keeping a pair

    private static let names = ["cosign.key", "cosign.password", "cosign.pub"]

    public func existing(_ reference: String) async throws(SigstoreError) -> [String] {
        let parsed = try KubernetesReference(reference)
        guard let object = try await server().secret(parsed) else { return [] }
        return try await taken(object, parsed)
    }

    /// Our entries in a secret.
    /// - Throws: `SigstoreError` with `key-unusable` if nothing in the secret can be changed.
    private func taken(_ object: JSONCursor, _ reference: KubernetesReference) async throws(SigstoreError) -> [String] {
        let place = try await place(reference)
        do throws(SigstoreError) {
            guard try object.optional("immutable")?.bool() != true else {
                throw SigstoreError(
                    .keyUnusable, "it is immutable, so nothing in it can be replaced, and nothing was changed",
                    advice: .sentence(
                        "name another secret, or delete it first if its key is needed no more: kubectl delete secret \(reference.name) -n \(reference.namespace)"
                    ))
            }
            let names = try object.optional("data")?.names() ?? []
            return Self.names.filter { name in names.contains { $0.utf8.elementsEqual(name.utf8) } }
                .map { "\($0) in the secret \(reference.description)" }
        } catch { throw error.concerning(place) }
    }

    public func keep(_ pair: EncryptedKeyPair, _ reference: String, replacing: Bool) async throws(SigstoreError) -> (
        privateKey: String, publicKey: String
    ) {
        let parsed = try KubernetesReference(reference)
        let (server, place) = (try await server(), try await place(parsed))
        let found = try await server.secret(parsed)
        var object: JSONObject = [
            "apiVersion": .string("v1"), "kind": .string("Secret"),
            "metadata": .object(["name": .string(parsed.name), "namespace": .string(parsed.namespace)]),
            "data": .object([:]), "immutable": .bool(true), "type": .string("Opaque"),
        ]
        if let found {
            // All else in it stays, and what others change meanwhile is seen by its version.
            let isTaken = try await !taken(found, parsed).isEmpty
            guard replacing || !isTaken else {
                throw SigstoreError(
                    .keyExists, "\(place): a key pair is there already, and nothing was changed",
                    advice: "name another secret")
            }
            if case .object(let there) = found.value { object = there }
            object["apiVersion"] = .string("v1")
            object["kind"] = .string("Secret")
        }
        var data = JSONObject()
        if case .object(let there)? = object["data"] { data = there }
        data["cosign.key"] = .bytes(Array(pair.privateKey.utf8))
        data["cosign.password"] = .string(unsafe pair.password.withBytes { unsafe Base64.encode(Array($0)) })
        data["cosign.pub"] = .bytes(Array(pair.publicKey.utf8))
        object["data"] = .object(data)
        let written: JSONCursor
        do throws(SigstoreError) {
            written = try await server.write(.object(object), parsed, isNew: found == nil)
        } catch {
            guard !error.wroteNothing else { throw error }
            // The answer was lost, or the cluster had no time for one: whether it was written is there to be seen.
            guard let there = try? await server.secret(parsed), Self.holds(there, data) else {
                var error = error
                error.message += "; whether the secret \(parsed.description) was written is not known"
                error.advice = .sentence("look at it: kubectl get secret \(parsed.name) -n \(parsed.namespace)")
                throw error
            }
            written = there
        }
        guard Self.holds(written, data) else {
            throw SigstoreError(
                .keyServiceAnswer, "\(place): what the cluster keeps now is not what was sent to it",
                advice: .sentence("look at it: kubectl get secret \(parsed.name) -n \(parsed.namespace) -o yaml"))
        }
        return (
            "the secret \(parsed.description) (cosign.key, cosign.password)",
            "the secret \(parsed.description) (cosign.pub)"
        )
    }

    private static func holds(_ object: JSONCursor, _ data: JSONObject) -> Bool {
        names.allSatisfy { name in
            guard case .string(let sent)? = data[name], let there = try? object.member("data").member(name).string()
            else { return false }
            return sent.utf8.elementsEqual(there.utf8)
        }
    }

    // MARK: - Asked once a run

    private func server() async throws(SigstoreError) -> KubernetesServer {
        let (around, serviceAccount) = (around, serviceAccount)
        return try await servers.value(0) { () async throws(SigstoreError) in
            try await KubernetesServer.find(around, serviceAccount: serviceAccount)
        }
    }

    /// What messages call a secret.
    private func place(_ reference: KubernetesReference) async throws(SigstoreError) -> String {
        "\(try await server().url.origin.authority), secret \(reference.description)"
    }

    private func secret(_ reference: KubernetesReference) async throws(SigstoreError) -> Secret {
        let (server, place) = (try await server(), try await place(reference))
        return try await secrets.value(reference) { () async throws(SigstoreError) in
            guard let object = try await server.secret(reference) else {
                throw SigstoreError(
                    .keyNotFound, "\(place): there is none",
                    advice: .sentence(
                        "check namespace and name; kubectl get secrets -n \(reference.namespace) shows them"))
            }
            do throws(SigstoreError) {
                let data = try object.optional("data")
                var secret = Secret(
                    version: try object.member("metadata").optional("resourceVersion")?.string())
                secret.key = try Self.entry(data, "cosign.key")
                secret.password = try Self.entry(data, "cosign.password")
                secret.publicKey = try data?.optional("cosign.pub")?.bytes()
                return secret
            } catch {
                throw SigstoreError(.keyServiceAnswer, "\(place): \(error.message)", cause: error)
            }
        }
    }

    private static func entry(_ data: JSONCursor?, _ name: String) throws(SigstoreError) -> SecretBytes? {
        guard var bytes = try data?.optional(name)?.bytes() else { return nil }
        defer { SecretBytes.cleanse(&bytes) }
        return SecretBytes(bytes)
    }
}
