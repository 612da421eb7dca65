import SigstoreCrypto
import StrictJSON
import Testing

struct DigestTests {
    @Test(
        "The digests of \"abc\" are those of FIPS 180-4's examples",
        arguments: [
            (HashAlgorithm.sha256, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
            (
                .sha384,
                "cb00753f45a35e8bb5a03d699ac65007272c32ab0eded1631a8b605a43ff5bed8086072ba1e7cc2358baeca134c825a7"
            ),
            (
                .sha512,
                "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f"
            ),
        ])
    func vectors(algorithm: HashAlgorithm, hex: String) throws {
        let digest = try Digest.hash(Array("abc".utf8), algorithm)
        #expect(digest.hex == hex)
        #expect(digest.description == "\(algorithm.rawValue):\(hex)")
        #expect(try Digest(parsing: digest.description) == digest)
        #expect(try Digest(hex: hex.uppercased(), algorithm) == digest)
        #expect(try Digest(algorithm, bytes: digest.bytes) == digest)
        #expect(digest.bytes.count == algorithm.byteCount)
    }

    @Test("A message gives the same digests however it is cut, all in one pass")
    func streaming() throws {
        let bytes = (0..<10_000).map { UInt8(truncatingIfNeeded: $0 &* 7) }
        var hasher = try MessageHasher(digests: Set(HashAlgorithm.allCases), schemes: [.ed25519ph])
        for start in stride(from: 0, to: bytes.count, by: 333) { try hasher.update(Array(bytes[start...].prefix(333))) }
        try hasher.update([])
        let message = try hasher.finish()
        for algorithm in HashAlgorithm.allCases {
            #expect(try message.digest(algorithm) == Digest.hash(bytes, algorithm))
        }
    }

    @Test("Only what was asked for is known of a message")
    func onlyAsked() throws {
        let message = try HashedMessage.of([1], digests: [.sha256], schemes: [.ecdsa(.sha384)])
        #expect(message.digest(.sha256) != nil)
        #expect(message.digest(.sha384) != nil)
        #expect(message.digest(.sha512) == nil)
    }

    @Test("Pure Ed25519 keeps a message up to 128 MiB, not a byte more")
    func wholeMessageLimit() throws {
        var hasher = try MessageHasher(digests: [], schemes: [.ed25519])
        let block = [UInt8](repeating: 0, count: 1 << 24)
        for _ in 0..<8 { try hasher.update(block) }
        let error = #expect(throws: SigstoreError.self) { try hasher.update([0]) }
        #expect(error?.code == .messageTooLarge)
        #expect(error?.advice == .remedy(.useEd25519ph))
    }

    @Test(
        "Text that is no digest is refused",
        arguments: [
            "", "sha256", "sha256:", ":ab", "sha256:abc", "md5:d41d8cd98f00b204e9800998ecf8427e",
            "SHA256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
            "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015a",
            "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015adad",
            "sha512:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
            "sha256:ga7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
            "sha256: a7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
            "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015a\u{ff11}",
        ])
    func malformed(text: String) {
        let error = #expect(throws: SigstoreError.self) { try Digest(parsing: text) }
        #expect(error?.code == .malformedDigest)
    }

    @Test("A digest of the wrong length is refused")
    func wrongLength() {
        for count in [0, 31, 33, 64] {
            #expect(throws: SigstoreError.self) { try Digest(.sha256, bytes: [UInt8](repeating: 0, count: count)) }
        }
    }

    @Test("Hexadecimal is read in either case and written in lower case")
    func hexadecimal() {
        #expect(Hexadecimal.decode("00fFAb") == [0, 0xff, 0xab])
        #expect(Hexadecimal.encode([0, 0xff, 0xab] as [UInt8]) == "00ffab")
        for text in ["0", "0g", "0x00", " 00", "٠٠"] { #expect(Hexadecimal.decode(text) == nil, "\(text)") }
    }
}
