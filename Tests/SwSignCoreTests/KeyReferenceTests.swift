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

    @Test("What makes no keys is refused before anything is asked")
    func noMaker() async throws {
        let reference = try KeyReference("cosign.key")
        #expect(await failure { _ = try await reference.makeKey(nil) }?.code == .usage)
    }
}
