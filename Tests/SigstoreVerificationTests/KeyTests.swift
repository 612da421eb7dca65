import SigstoreCrypto
import SigstoreVerification
import StrictJSON
import Testing

/// Signatures by keys, without logs.
struct KeyTests {
    static func unlogged(_ key: PublicKey, _ claim: BundleClaim) -> Demand {
        Demand(signedBy: .key(key), claim: claim, transparencyLog: .insecurelyIgnored)
    }

    static func bundle(_ signer: PrivateKey, over file: [UInt8], scheme: SignatureScheme) throws -> SigstoreBundle {
        let message = try HashedMessage.of(file, schemes: [scheme])
        return SigstoreBundle(
            keyMaterial: .publicKey(hint: try signer.publicKey.hint()),
            content: .messageSignature(
                .init(
                    digest: try scheme.hash.map { hash throws(SigstoreError) in try Digest.hash(file, hash) },
                    signature: try signer.sign(message, scheme: scheme))))
    }

    @Test(
        "Every kind of key signs, and its bundle verifies after a round trip through JSON",
        arguments: SigningAlgorithm.allCases)
    func everyKey(_ algorithm: SigningAlgorithm) throws {
        let signer = try PrivateKey.generate(algorithm)
        let file = Array("a file".utf8)
        let bundle = try Self.bundle(signer, over: file, scheme: algorithm.scheme)
        let read = try SigstoreBundle(parsing: bundle.serialized())
        let verified = try Self.unlogged(signer.publicKey, .message(ArtifactBytes(file))).verify(read, nil)
        #expect(verified.scheme == algorithm.scheme)
        #expect(verified.times.isEmpty)
        #expect(throws: RejectedBundle.self) {
            try Self.unlogged(signer.publicKey, .message(ArtifactBytes(file + [0]))).verify(read, nil)
        }
    }

    @Test("Without an entry in a log, a signature by a key is refused unless that is asked for by name")
    func logIsRequired() throws {
        let signer = try PrivateKey.generate(.ecdsaP256)
        let bundle = try Self.bundle(signer, over: [1], scheme: .ecdsa(.sha256))
        let error = #expect(throws: RejectedBundle.self) {
            try Demand(signedBy: .key(signer.publicKey), claim: .message(ArtifactBytes([1]))).verify(bundle, nil)
        }
        #expect(error?.error.code == .noLogEntry)
        #expect(error?.step == .transparencyLog)
    }
}
