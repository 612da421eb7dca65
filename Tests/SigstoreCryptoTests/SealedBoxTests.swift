import SigstoreCrypto
import StrictJSON
import Testing

/// Boxes that only the owner of a key can open. That they can be opened is tested with GitHub's secrets, by libsodium itself.
struct SealedBoxTests {
    @Test("A box is 48 bytes longer than its secret, and no two are the same", arguments: [0, 1, 1000])
    func size(_ count: Int) throws {
        let secret = SecretBytes([UInt8](repeating: 7, count: count))
        // The base point of Curve25519 is a public key.
        let key = [9] + [UInt8](repeating: 0, count: 31)
        let (one, other) = (try SealedBox.seal(secret, for: key), try SealedBox.seal(secret, for: key))
        #expect(one.count == count + 48 && other.count == one.count && one != other)
    }

    @Test("What is no key is refused", arguments: [0, 31, 33])
    func wrongKeys(_ count: Int) {
        let error = #expect(throws: SigstoreError.self) {
            try SealedBox.seal(SecretBytes([1]), for: [UInt8](repeating: 1, count: count))
        }
        #expect(error?.code == .malformedKey)
        // A point of small order, with which everybody has the same secret.
        let small = #expect(throws: SigstoreError.self) {
            try SealedBox.seal(SecretBytes([1]), for: [UInt8](repeating: 0, count: 32))
        }
        #expect(small?.code == .malformedKey)
    }
}
