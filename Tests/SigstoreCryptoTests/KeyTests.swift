import StrictJSON
import Testing

@testable import SigstoreCrypto

/// Keys, and signatures by them.
struct KeyTests {
    static let noPassword: @Sendable () throws(SigstoreError) -> SecretBytes = { () throws(SigstoreError) in
        throw SigstoreError(.cryptographyFailed, "a password was asked for")
    }

    static func pem(_ key: PrivateKey) throws -> String {
        unsafe PEM.encode(label: "PRIVATE KEY", try key.pkcs8().withBytes { unsafe Array($0) })
    }

    @Test(
        "A key on a curve is made from its point; a point that is not on the curve makes none",
        arguments: [SigningAlgorithm.ecdsaP256, .ecdsaP384, .ecdsaP521])
    func decodesPoints(algorithm: SigningAlgorithm) throws {
        let spki = try PrivateKey.generate(algorithm).publicKey.spki
        // The keys are not freed: this asks which way they were made.
        #expect(unsafe PublicKey.decodePoint(spki) != nil)
        var other = spki
        other[other.count - 1] ^= 1
        #expect(unsafe PublicKey.decodePoint(other) == nil)
        #expect(throws: SigstoreError.self) { try PublicKey(der: other) }
    }

    @Test(
        "A key is the same from its parts, and from no others",
        arguments: [SigningAlgorithm.ecdsaP256, .ecdsaP384, .ecdsaP521])
    func points(algorithm: SigningAlgorithm) throws {
        let key = try PrivateKey.generate(algorithm).publicKey
        let point = try #require(key.uncompressedPoint?.point)
        #expect(try PublicKey(point: point, on: key.kind).spki == key.spki)
        var other = point
        other[point.count - 1] ^= 1
        for wrong in [
            other, Array(point.dropLast()), point + [0], [2] + point.dropFirst(), [], Array(point.dropFirst()),
        ] {
            #expect(throws: SigstoreError.self) { try PublicKey(point: wrong, on: key.kind) }
        }
        #expect(throws: SigstoreError.self) { try PublicKey(point: point, on: key.kind == .ecP256 ? .ecP384 : .ecP256) }
    }

    @Test("An RSA key is the same from its two numbers, and an Ed25519 key from its bytes")
    func numbers() throws {
        let ed25519 = try PrivateKey.generate(.ed25519).publicKey
        #expect(try PublicKey(ed25519: Array(ed25519.spki.suffix(32))).spki == ed25519.spki)
        #expect(throws: SigstoreError.self) { try PublicKey(ed25519: Array(ed25519.spki.suffix(31))) }
        // The modulus stands before the exponent 65537, which takes five bytes with its tag and length.
        let rsa = try PrivateKey.generate(.rsa2048).publicKey
        let modulus = Array(rsa.spki.dropLast(5).suffix(256))
        #expect(try PublicKey(rsaModulus: modulus, exponent: [1, 0, 1]).spki == rsa.spki)
        #expect(try PublicKey(rsaModulus: [0, 0] + modulus, exponent: [0, 1, 0, 1]).spki == rsa.spki)
        let wrong: [(modulus: [UInt8], exponent: [UInt8])] = [
            ([], [3]), (modulus, []), (modulus, [1]), (Array(modulus.dropLast(200)), [1, 0, 1]),
        ]
        for (modulus, exponent) in wrong {
            #expect(throws: SigstoreError.self) { try PublicKey(rsaModulus: modulus, exponent: exponent) }
        }
    }

    @Test(
        "The fixed width of a signature becomes DER that verifies, with and without leading zeros",
        arguments: [SigningAlgorithm.ecdsaP256, .ecdsaP384, .ecdsaP521])
    func fixedWidth(algorithm: SigningAlgorithm) throws {
        let key = try PrivateKey.generate(algorithm)
        let kind = key.publicKey.kind
        let size = try #require(kind.coordinateSize)
        // Some of these have halves that begin with a zero byte, or with a high bit.
        for number in 0..<300 {
            let signature = try key.sign([UInt8(number & 0xff)], scheme: algorithm.scheme)
            var reader = DERReader(signature[...], of: DERSubject(code: .malformedSignature, name: "the signature"))
            var halves = try reader.enter(DERReader.Tag.sequence, "signature")
            var fixed: [UInt8] = []
            for name in ["r", "s"] {
                let digits = try halves.integer(name).drop { $0 == 0 }
                fixed += [UInt8](repeating: 0, count: size - digits.count) + digits
            }
            #expect(try kind.signature(fromFixedWidth: fixed) == signature)
        }
        for length in [0, 2 * size - 1, 2 * size + 1] {
            #expect(throws: SigstoreError.self) {
                try kind.signature(fromFixedWidth: [UInt8](repeating: 1, count: length))
            }
        }
    }

    @Test(
        "A key of each kind signs in all of its schemes, and only its own key and message verify",
        arguments: SigningAlgorithm.allCases)
    func everyScheme(algorithm: SigningAlgorithm) throws {
        let key = try PrivateKey.generate(algorithm)
        let other = try PrivateKey.generate(algorithm == .rsa4096 || algorithm == .rsa3072 ? .rsa2048 : algorithm)
        let message = Array("message".utf8)
        #expect(key.publicKey.schemes.contains(algorithm.scheme))
        for scheme in key.publicKey.schemes {
            let signature = try key.sign(message, scheme: scheme)
            #expect(try key.publicKey.verifies(signature, ofBytes: message, scheme: scheme), "\(scheme)")
            #expect(try !key.publicKey.verifies(signature, ofBytes: message + [0], scheme: scheme), "\(scheme)")
            #expect(try !other.publicKey.verifies(signature, ofBytes: message, scheme: scheme), "\(scheme)")
            #expect(try !key.publicKey.verifies([], ofBytes: message, scheme: scheme), "\(scheme)")
            #expect(try !key.publicKey.verifies(signature + [0], ofBytes: message, scheme: scheme), "\(scheme)")
            #expect(try !key.publicKey.verifies(signature.dropLast(), ofBytes: message, scheme: scheme), "\(scheme)")
            var altered = signature
            altered[signature.count / 2] ^= 1
            #expect(try !key.publicKey.verifies(altered, ofBytes: message, scheme: scheme), "\(scheme)")
            for another in key.publicKey.schemes where another != scheme {
                #expect(
                    try !key.publicKey.verifies(signature, ofBytes: message, scheme: another), "\(scheme) as \(another)"
                )
            }
        }
    }

    @Test("A scheme of another kind of key is never signed with nor accepted")
    func foreignScheme() throws {
        let key = try PrivateKey.generate(.ecdsaP256)
        for scheme in [SignatureScheme.ecdsa(.sha512), .rsaPKCS1(.sha256), .ed25519] {
            #expect(throws: SigstoreError.self) { try key.sign([1], scheme: scheme) }
            #expect(try !key.publicKey.verifies([1], ofBytes: [1], scheme: scheme))
        }
    }

    @Test(
        "A message of which only a digest is known is enough for ECDSA and RSA, and said to be too little for Ed25519")
    func digestOnly() throws {
        let message = Array("message".utf8)
        let known = HashedMessage(digest: try Digest.sha256(message))
        for algorithm in [SigningAlgorithm.ecdsaP256, .rsa2048] {
            let key = try PrivateKey.generate(algorithm)
            let signature = try key.sign(known, scheme: algorithm.scheme)
            #expect(try key.publicKey.verifies(signature, ofBytes: message, scheme: algorithm.scheme))
        }
        let key = try PrivateKey.generate(.ed25519)
        for scheme in key.publicKey.schemes {
            let signature = try key.sign(message, scheme: scheme)
            let error = #expect(throws: SigstoreError.self) {
                try key.publicKey.verifies(signature, of: known, scheme: scheme)
            }
            #expect(error?.code == .messageNotRead)
            #expect(throws: SigstoreError.self) { try key.sign(known, scheme: scheme) }
        }
    }

    @Test("Ed25519ph is verified by the SHA-512 of the message alone as it is by the message")
    func ed25519phByDigest() throws {
        for round in 0..<32 {
            let key = try PrivateKey.generate(.ed25519)
            let message = Array("message \(round)".utf8)
            let known = HashedMessage(digest: try Digest.hash(message, .sha512))
            let signature = try key.sign(message, scheme: .ed25519ph)
            #expect(try key.publicKey.verifies(signature, of: known, scheme: .ed25519ph))
            let other = HashedMessage(digest: try Digest.hash(message + [0], .sha512))
            #expect(try !key.publicKey.verifies(signature, of: other, scheme: .ed25519ph))
            #expect(try !PrivateKey.generate(.ed25519).publicKey.verifies(signature, of: known, scheme: .ed25519ph))
            // Pure Ed25519 over the digest is another signature.
            let pure = try key.sign(Digest.hash(message, .sha512).bytes, scheme: .ed25519)
            #expect(try !key.publicKey.verifies(pure, of: known, scheme: .ed25519ph))
            for index in signature.indices {
                var altered = signature
                altered[index] ^= 1 << UInt8(round % 8)
                #expect(try !key.publicKey.verifies(altered, of: known, scheme: .ed25519ph))
            }
            // The same s with the group's order added: the classic second signature.
            let order: [UInt8] =
                [
                    0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14,
                ] + [UInt8](repeating: 0, count: 15) + [0x10]
            var (second, carry) = (signature, 0)
            for index in 0..<32 {
                carry += Int(signature[32 + index]) + Int(order[index])
                second[32 + index] = UInt8(carry & 0xff)
                carry >>= 8
            }
            #expect(try !key.publicKey.verifies(second, of: known, scheme: .ed25519ph))
        }
    }

    /// RFC 8032, sections 7.1 (test 2) and 7.3: the same message under both of Ed25519's forms.
    @Test("Ed25519 and Ed25519ph give the signatures of RFC 8032")
    func ed25519Vectors() throws {
        func key(_ seed: String) throws -> PrivateKey {
            let der =
                [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20]
                + (Hexadecimal.decode(seed) ?? [])
            return try PrivateKey.read(
                file: Array(PEM.encode(label: "PRIVATE KEY", der).utf8), password: Self.noPassword)
        }
        let pure = try key("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb")
        #expect(
            Hexadecimal.encode(try pure.sign([0x72], scheme: .ed25519))
                == "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
        )
        let prehashed = try key("833fe62409237b9d62ec77587520911e9a759cec1d19755b7da901b96dca3d42")
        #expect(
            Hexadecimal.encode(try prehashed.sign(Array("abc".utf8), scheme: .ed25519ph))
                == "98a70222f0b8121aa9d30f813d683f809e462b469c7ff87639499bb94e6dae4131f85042463c2a355a2003d062adf5aaa10b8c61e636062aaad11c2a26083406"
        )
    }

    @Test(
        "A public key comes back from PEM and DER",
        arguments: [SigningAlgorithm.ecdsaP256, .ecdsaP384, .ecdsaP521, .rsa2048, .ed25519])
    func publicKeyForms(algorithm: SigningAlgorithm) throws {
        let key = try PrivateKey.generate(algorithm).publicKey
        #expect(try PublicKey(file: Array(key.pem.utf8)).isSame(as: key))
        #expect(try PublicKey(file: key.spki).isSame(as: key))
        #expect(try PublicKey(der: key.spki).kind == key.kind)
        #expect(try key.hint() == Base64.encode(try Digest.sha256(key.spki).bytes))
        for damaged in [key.spki + [0], Array(key.spki.dropLast()), Array(key.spki.dropFirst())] {
            let error = #expect(throws: SigstoreError.self) { try PublicKey(der: damaged) }
            #expect(error?.code == .malformedKey)
        }
    }

    @Test(
        "A point that is not on the curve is no key", arguments: [SigningAlgorithm.ecdsaP256, .ecdsaP384, .ecdsaP521])
    func pointNotOnCurve(algorithm: SigningAlgorithm) throws {
        let spki = try PrivateKey.generate(algorithm).publicKey.spki
        // The last byte of y, one of x, and the whole point.
        let size = [.ecdsaP256: 32, .ecdsaP384: 48, .ecdsaP521: 66][algorithm] ?? 0
        let point = spki.count - 2 * size - 1
        try #require(spki[point] == 4)
        for place in [spki.count - 1, point + 2] {
            var changed = spki
            changed[place] ^= 1
            #expect(throws: SigstoreError.self) { try PublicKey(der: changed) }
        }
        #expect(throws: SigstoreError.self) {
            try PublicKey(der: spki[...point] + [UInt8](repeating: 0, count: spki.count - point - 1))
        }
    }

    @Test("Other things than a public key are named as what they are")
    func notAPublicKey() throws {
        let key = try PrivateKey.generate(.ecdsaP256)
        func refusal(_ text: String) -> SigstoreError? {
            #expect(throws: SigstoreError.self) { try PublicKey(file: Array(text.utf8)) }
        }
        #expect(refusal("")?.message.contains("empty") == true)
        #expect(refusal("hello")?.message.contains("PEM or DER") == true)
        let secret = refusal(try Self.pem(key))
        #expect(secret?.message.contains("private key") == true)
        #expect(secret?.advice == .remedy(.derivePublicKey))
        #expect(refusal(PEM.encode(label: "CERTIFICATE", [1]))?.message.contains("CERTIFICATE") == true)
        #expect(refusal(key.publicKey.pem + key.publicKey.pem)?.message.contains("2 PEM blocks") == true)
        for error in [refusal(""), refusal("hello"), secret] { #expect(error?.code == .malformedKey) }
    }

    @Test("Other things than a private key are named as what they are")
    func notAPrivateKey() throws {
        let key = try PrivateKey.generate(.ecdsaP256)
        func refusal(_ text: String) -> SigstoreError? {
            #expect(throws: SigstoreError.self) {
                try PrivateKey.read(file: Array(text.utf8), password: Self.noPassword)
            }
        }
        #expect(refusal("")?.message.contains("empty") == true)
        #expect(refusal("hello")?.message.contains("PEM") == true)
        #expect(refusal(key.publicKey.pem)?.message.contains("public key where a private key") == true)
        #expect(refusal(PEM.encode(label: "CERTIFICATE", [1]))?.message.contains("CERTIFICATE") == true)
        #expect(refusal(try Self.pem(key) + Self.pem(key))?.message.contains("2 PEM blocks") == true)
        for label in ["PRIVATE KEY", "EC PRIVATE KEY", "RSA PRIVATE KEY"] {
            #expect(refusal(PEM.encode(label: label, [0x30, 0]))?.code == .malformedKey)
        }
        for label in ["DSA PRIVATE KEY", "OPENSSH PRIVATE KEY"] {
            let error = refusal(PEM.encode(label: label, [0x30, 0]))
            #expect(error?.code == .unsupportedKey)
            #expect(error?.message.contains(label) == true)
        }
        // PKCS#8 with something behind it.
        let der = unsafe try key.pkcs8().withBytes { unsafe Array($0) }
        #expect(refusal(PEM.encode(label: "PRIVATE KEY", der + [0]))?.code == .malformedKey)
        // One curve's key under the other label.
        #expect(refusal(PEM.encode(label: "RSA PRIVATE KEY", der))?.code == .malformedKey)
    }

    @Test("Secrets are compared as bytes")
    func secretBytes() {
        let secret = SecretBytes(Array("pass".utf8))
        #expect(secret.count == 4)
        #expect(secret.equals(SecretBytes(Array("pass".utf8))))
        #expect(!secret.equals(SecretBytes(Array("pasz".utf8))))
        #expect(!secret.equals(SecretBytes(Array("pas".utf8))))
        #expect(SecretBytes([]).equals(SecretBytes([])))
    }

    @Test(
        "A signing algorithm that is not known is refused with those that are",
        arguments: ["", "rsa", "ED25519", "ecdsa-sha2-256-nistp256 "])
    func unknownAlgorithm(name: String) {
        let error = #expect(throws: SigstoreError.self) { try SigningAlgorithm(named: name) }
        #expect(error?.code == .unknownAlgorithm)
        for known in SigningAlgorithm.allCases { #expect(error?.advice?.description.contains(known.rawValue) == true) }
    }
}
