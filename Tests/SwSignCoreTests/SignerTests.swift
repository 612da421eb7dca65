import Foundation
import HTTPTransport
import InToto
import KeyProviders
import LocalSystem
import OCIRegistry
import SigstoreClients
import SigstoreCrypto
import SigstoreVerification
import StrictJSON
import SwSignCore
import Synchronization
import TestServices
import Testing

/// A key that is elsewhere, as in a key service or a token.
private struct RemoteKey: Signer {
    /// What it does with a message, beside signing it.
    typealias Manner = @Sendable (PrivateKey, HashedMessage, SignatureScheme) async throws(SigstoreError) -> [UInt8]

    let key: PrivateKey
    var takesWholeMessages = false
    let manner: Manner

    init(_ algorithm: SigningAlgorithm = .ecdsaP256, takesWholeMessages: Bool = false, _ manner: @escaping Manner)
        throws
    {
        key = try PrivateKey.generate(algorithm)
        self.takesWholeMessages = takesWholeMessages
        self.manner = manner
    }

    var publicKey: PublicKey { key.publicKey }
    var displayName: String { "RemoteKey 3" }

    func sign(_ message: HashedMessage, scheme: SignatureScheme) async throws(SigstoreError) -> [UInt8] {
        try await manner(key, message, scheme)
    }
}

/// Holds those who come until a number of them are here.
private final class Barrier: Sendable {
    private let state: Mutex<(missing: Int, waiting: [CheckedContinuation<Void, Never>])>

    init(_ count: Int) { state = Mutex((missing: count, waiting: [])) }

    func arrive() async {
        await withCheckedContinuation { continuation in
            let free = state.withLock { state in
                state.missing -= 1
                state.waiting.append(continuation)
                guard state.missing <= 0 else { return [] as [CheckedContinuation<Void, Never>] }
                defer { state.waiting = [] }
                return state.waiting
            }
            for one in free { one.resume() }
        }
    }
}

@Suite("Keys that are elsewhere", .localSigstore, .timeLimit(.minutes(10)))
final class SignerTests: Sendable {
    /// What is signed.
    enum Thing: String, CaseIterable, Sendable {
        case file, attestation, image, olderImage, imageAttestation, olderImageAttestation

        fileprivate var kind: SignatureStore.Kind? {
            switch self {
            case .file, .attestation: nil
            case .image, .olderImage: .signature
            case .imageAttestation, .olderImageAttestation: .attestation
            }
        }
    }

    private let shop: Workshop
    private let folder = FileManager.default.temporaryDirectory.appending(path: "signer-\(UUID().uuidString)").path
    private let image: Image

    init() async throws {
        shop = try Workshop()
        let layout = try ImageLayout(creating: folder)
        let empty = try Blob(Array("{}".utf8))
        try await layout.putBlob(empty)
        let config = Descriptor(mediaType: MediaType.empty, digest: empty.digest, size: empty.size)
        try await layout.putManifest(try ImageManifest(config: config, layers: []).encoded(), tag: "v1")
        var options = RegistryOptions()
        options.credentials = CredentialStore(environment: { _ in nil })
        image = try await Image(finding: "oci-layout:\(folder):v1", Registries(CurlClient(), options))
    }

    deinit { try? FileManager.default.removeItem(atPath: folder) }

    private static let predicateType = "https://example.com/p"

    /// Signs a thing with a log, stores it if it belongs to an image, and verifies it as a stranger does.
    private func sign(_ thing: Thing, with key: some Signer) async throws {
        let session = try SigningSession(
            signatory: .key(key, algorithm: nil),
            services: SigningSession.Services(transparencyLogs: [try shop.rekor(.v1)]), trustedRoot: shop.trustedRoot)
        let signer = BlobSigner(session)
        let verifier = Verifier(trustedRoot: shop.trustedRoot, now: SystemClock.now)
        let policy = VerificationPolicy(signedBy: .key(key.publicKey))
        let store = SignatureStore(image)
        let isOlder = [.olderImage, .olderImageAttestation].contains(thing)
        let images = ImageSigner(signer: signer, scheme: isOlder ? .layer : .bundle)
        switch thing {
        case .file:
            let content = Array("a file".utf8)
            let signed = try await signer.sign(ArtifactBytes(content), forms: [.bundle, .detached])
            _ = try verifier.verify(signed.bundle, .message(ArtifactBytes(content)), policy)
            let message = try HashedMessage.of(content, schemes: [.ecdsa(.sha256)])
            let detached = try #require(signed.detached)
            #expect(try key.publicKey.verifies(detached, of: message, scheme: .ecdsa(.sha256)))
        case .attestation:
            let bundle = try await signer.attest(statement())
            _ = try verifier.verify(bundle, .attestation(subject: nil, predicateType: nil), policy)
        case .image, .olderImage:
            try await images.store(try await images.sign(image, annotations: [:]), in: store)
            let found = try await store.find(.signature)
            _ = try ImageVerifier(verifier: verifier, policy: policy).verify(image, found, .signature)
        case .imageAttestation, .olderImageAttestation:
            let subject = ResourceDescriptor(
                name: nil, digests: [(algorithm: image.digest.algorithm.rawValue, hex: image.digest.hex)])
            let statement = try Attester.statement(
                about: subject, type: Self.predicateType, predicate: Array("{}".utf8))
            _ = try await images.attest(statement, in: store, upload: true, replacing: false)
            let found = try await store.find(.attestation)
            _ = try ImageVerifier(verifier: verifier, policy: policy).verify(
                image, found, .attestation(PredicateType(uri: Self.predicateType)))
        }
    }

    /// How many signatures or attestations the image has.
    private func stored(_ thing: Thing) async throws -> Int {
        guard let kind = thing.kind else { return 0 }
        return try await SignatureStore(image).find(kind).readable.count
    }

    @Test("One that takes digests only", arguments: Thing.allCases)
    func digestsOnly(_ thing: Thing) async throws {
        // Signatures of the older scheme are over SHA-256, which Rekor v1 takes of P-256 keys only.
        let key = try RemoteKey(thing == .olderImage ? .ecdsaP256 : .ecdsaP384) {
            key, message, scheme throws(SigstoreError) in
            guard message.bytes == nil, let digest = scheme.hash.flatMap({ message.digest($0) }) else {
                throw SigstoreError(.messageNotRead, "the key service takes a digest and nothing else")
            }
            return try key.sign(HashedMessage(digest: digest), scheme: scheme)
        }
        try await sign(thing, with: key)
    }

    @Test("One that takes whole messages only", arguments: Thing.allCases)
    func wholeMessagesOnly(_ thing: Thing) async throws {
        let key = try RemoteKey(takesWholeMessages: true) { key, message, scheme throws(SigstoreError) in
            guard let bytes = message.bytes else {
                throw SigstoreError(.messageNotRead, "the key service takes a whole message and nothing else")
            }
            return try key.sign(bytes, scheme: scheme)
        }
        try await sign(thing, with: key)
    }

    @Test("A slow one holds no thread: more are asked than there are threads, before the first has answered")
    func slow() async throws {
        let count = ProcessInfo.processInfo.activeProcessorCount + 1
        for thing in Thing.allCases {
            let barrier = Barrier(count)
            let key = try RemoteKey { key, message, scheme throws(SigstoreError) in
                await barrier.arrive()
                return try key.sign(message, scheme: scheme)
            }
            try await withThrowingTaskGroup(of: Void.self) { group in
                for _ in 0..<count { group.addTask { try await self.sign(thing, with: key) } }
                try await group.waitForAll()
            }
        }
    }

    @Test(
        "One that fails in the middle of a run leaves nothing behind, and signs the next time",
        arguments: Thing.allCases)
    func failing(_ thing: Thing) async throws {
        let calls = Mutex(0)
        let key = try RemoteKey { key, message, scheme throws(SigstoreError) in
            await Task.yield()
            guard
                calls.withLock({
                    $0 += 1
                    return $0 != 2
                })
            else { throw SigstoreError(.unreachable, "the key service went away") }
            return try key.sign(message, scheme: scheme)
        }
        try await sign(thing, with: key)
        let (recordings, signatures) = (shop.recordings, try await stored(thing))
        let error = await failure { try await self.sign(thing, with: key) }
        #expect(error?.code == .unreachable && error?.message.contains("the key service went away") == true)
        #expect(shop.recordings == recordings)
        #expect(try await stored(thing) == signatures)
        try await sign(thing, with: key)
        #expect(shop.recordings == recordings + 1)
        #expect(try await stored(thing) == (thing.kind == nil ? 0 : signatures + 1))
    }

    @Test("If the second of two signatures of one file fails, the first is not recorded")
    func secondSignature() async throws {
        let key = try RemoteKey(.ecdsaP384) { key, message, scheme throws(SigstoreError) in
            // A bundle's is over SHA-384, the one that stands by itself over SHA-256.
            guard scheme == .ecdsa(.sha384) else { throw SigstoreError(.unreachable, "the key service went away") }
            return try key.sign(message, scheme: scheme)
        }
        #expect(await failure { try await self.sign(.file, with: key) }?.code == .unreachable)
        #expect(shop.recordings == 0)
    }

    @Test("What one answers that is no signature of its key goes nowhere", arguments: Thing.allCases)
    func nonsense(_ thing: Thing) async throws {
        let other = try PrivateKey.generate(.ecdsaP256)
        let key = try RemoteKey { _, message, scheme throws(SigstoreError) in try other.sign(message, scheme: scheme) }
        let error = await failure { try await self.sign(thing, with: key) }
        // What it is called, what kind of key it has, and how it was asked to sign.
        #expect(error?.code == .keyMismatch, "\(String(describing: error))")
        for words in ["RemoteKey 3", "ECDSA with sha256", "ECDSA P-256", "nothing was published"] {
            #expect(error?.message.contains(words) == true, "\(String(describing: error))")
        }
        #expect(shop.recordings == 0)
        #expect(try await stored(thing) == 0)
    }

    @Test("One is asked for no more than ten signatures at once")
    func bounded() async throws {
        let count = Mutex((now: 0, most: 0, all: 0))
        let key = try RemoteKey { key, message, scheme throws(SigstoreError) in
            count.withLock { $0 = ($0.now + 1, max($0.most, $0.now + 1), $0.all + 1) }
            // Long enough for others to come.
            for _ in 0..<50 { await Task.yield() }
            count.withLock { $0.now -= 1 }
            return try key.sign(message, scheme: scheme)
        }
        let signer = try BlobSigner(signer: key)
        try await withThrowingTaskGroup(of: Void.self) { group in
            for number in 0..<100 {
                group.addTask { _ = try await signer.sign(ArtifactBytes([UInt8(number)]), forms: [.bundle]) }
            }
            try await group.waitForAll()
        }
        #expect(count.withLock { $0.all == 100 && $0.most <= 10 && $0.most > 1 })
    }
}
