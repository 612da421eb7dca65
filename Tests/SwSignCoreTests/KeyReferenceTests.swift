import HTTPTransport
import KeyProviders
import SigstoreCrypto
import StrictJSON
import SwSignCore
import Synchronization
import Testing

/// The front door to keys, before a place that counts what it is asked.
struct KeyReferenceTests {
    /// A key service with one key.
    private final class Service: KeyMaker {
        private static let scheme = ReferenceScheme("service", form: "service://NAME")
        private let key: PrivateKey
        private let asked = Mutex<[String]>([])
        var calls: [String] { asked.withLock { $0 } }

        init() throws { key = try PrivateKey.generate(.ecdsaP256) }

        private func note(_ call: String) { asked.withLock { $0.append(call) } }

        func knows(_ reference: String) -> Bool { Self.scheme.isMeant(by: reference) }
        func check(_ reference: String) throws(SigstoreError) { _ = try Self.scheme.rest(of: reference) }
        func publicKey(_ reference: String) -> PublicKey {
            note("publicKey")
            return key.publicKey
        }
        func signer(_ reference: String, password: @escaping PasswordSource) -> any Signer {
            note("signer")
            return key
        }
        func makeKey(_ reference: String, algorithm: SigningAlgorithm?) -> (publicKey: PublicKey, isNew: Bool) {
            note("makeKey \(algorithm?.rawValue ?? "usual")")
            return (key.publicKey, true)
        }
    }

    private func noPassword() throws(SigstoreError) -> SecretBytes { throw SigstoreError(.wrongPassword, "not asked") }

    @Test("A service gives its public key without its private one, and makes keys")
    func service() async throws {
        let service = try Service()
        let reference = try KeyReference("service://a", in: [service])
        #expect(service.calls.isEmpty, "a reference was read, and nothing more")
        _ = try await reference.publicKey(ofPair: noPassword)
        #expect(service.calls == ["publicKey"])
        let made = try await reference.makeKey(nil)
        #expect(made.isNew && service.calls == ["publicKey", "makeKey usual"])
        // A key of another kind than was asked for is not taken.
        #expect(await failure { _ = try await reference.makeKey(.ecdsaP384) }?.code == .keyUnusable)
        #expect(service.calls.last == "makeKey ecdsa-sha2-384-nistp384")
    }

    @Test("The key of a service is not asked for to be imported")
    func importing() async throws {
        let service = try Service()
        let reference = try KeyReference("service://a", in: [service])
        let error = await failure { _ = try await reference.privateKey(password: self.noPassword) }
        #expect(error?.code == .unsupportedKey && error?.message.contains("service://a") == true)
        #expect(service.calls.isEmpty)
    }

    @Test("A reference that is meant for a service is no file", arguments: ["SERVICE://a", "service:a", "Service:/a"])
    func meant(text: String) throws {
        let service = try Service()
        let error = #expect(throws: SigstoreError.self) { try KeyReference(text, in: [service]) }
        #expect(error?.code == .unknownKeyReference && error?.advice?.description.contains("service://NAME") == true)
    }

    @Test("What is taken for a path at once is what no other place knows")
    func paths() {
        let places = KeyReference.places()
        let texts = [
            "cosign.pub", "-", "./a/b.key", "/a", "keyRings", "my-vault.vault.azure.net/key", "a@b/c",
            "projects/p/locations/l/keyRings/r/cryptoKeys/k", "//cloudkms.googleapis.com/projects/p/keyRings/r",
            "projects/x.pub",
            "arn:aws:kms:r:1:key/k", "AWSKMS:x", "awskms://alias/x", "env://A", "env:A", "pkcs11:a", "k8s:a/b", "a:b",
            "other://x",
            "https://h/k", "http:h", "GITLAB:1", "github:o", "hashivault:k", "openbao:k", "azurekms:v/k", "gcpkms:p",
        ]
        for text in texts where KeyReference.isPath(text) {
            #expect(places.firstIndex { $0.knows(text) } == places.count - 1, "\(text)")
        }
        // Of these, the first seven.
        #expect(texts.prefix { KeyReference.isPath($0) }.count == 7 && texts.count(where: KeyReference.isPath) == 7)
    }

    @Test("A second call with other settings is answered by those, and what one looked up is no other's")
    func keyRing() async throws {
        let (ring, key) = (KeyRing(), try PrivateKey.generate(.ecdsaP256).publicKey)
        let client = Counting(key.pem)
        func surroundings(_ access: KeyRing.Access) -> KeySurroundings {
            var surroundings = KeySurroundings(
                variable: { _ in nil }, now: { 0 },
                client: { _ throws(SigstoreError) in
                    guard !access.isOffline else { throw SigstoreError(.usage, "offline") }
                    return client
                })
            surroundings.allowsHTTPKeys = access.allowsHTTPKeys
            return surroundings
        }
        func look(_ text: String, _ access: KeyRing.Access) async throws(SigstoreError) {
            let reference = try KeyReference(text, in: ring.places(access, surroundings(access)))
            _ = try await reference.publicKey()
        }
        let (usual, offline) = (KeyRing.Access(), KeyRing.Access(isOffline: true))
        let plain = KeyRing.Access(allowsHTTPKeys: true)
        try await look("https://keys.example/a.pub", usual)
        try await look("https://keys.example/a.pub", usual)
        #expect(client.count == 1)
        // Not even what is known already.
        #expect(
            await failure { () async throws(SigstoreError) in
                try await look("https://keys.example/a.pub", offline)
            }?.message == "offline")
        try await look("http://keys.example/b.pub", plain)
        for access in [usual, offline] {
            #expect(
                await failure { () async throws(SigstoreError) in
                    try await look("http://keys.example/b.pub", access)
                }?.code == .keyServiceSettings)
        }
        #expect(client.count == 2)
        // A module is opened once, so tokens have one place.
        func tokens(_ access: KeyRing.Access) -> PKCS11Keys? {
            ring.places(access, surroundings(access)).lazy.compactMap { $0 as? PKCS11Keys }.first
        }
        #expect(tokens(usual) != nil && tokens(usual) === tokens(offline) && tokens(usual) === tokens(plain))
    }

    /// A client without a network that counts its requests.
    private final class Counting: HTTPClient {
        private let answer: [UInt8]
        private let asked = Mutex(0)
        var count: Int { asked.withLock { $0 } }

        init(_ answer: String) { self.answer = Array(answer.utf8) }

        func send(_ request: HTTPRequest, into sink: (any BodySink)?) async throws(SigstoreError) -> HTTPResponse {
            asked.withLock { $0 += 1 }
            return HTTPResponse(status: 200, headers: [], body: answer, url: request.url)
        }
    }

    @Test("What makes no keys is refused before anything is asked")
    func noMaker() async throws {
        let reference = try KeyReference("cosign.key")
        #expect(await failure { _ = try await reference.makeKey(nil) }?.code == .usage)
    }
}
