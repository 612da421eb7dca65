import Foundation
import StrictJSON
import Testing

@testable import SigstoreCrypto

/// Keys that others than their owner can sign for, and private keys whose halves do not belong together.
struct KeySoundnessTests {
    /// Bytes written in hexadecimal.
    static func bytes(_ hexadecimal: String) -> [UInt8] { Hexadecimal.decode(hexadecimal) ?? [] }

    static func integer(_ magnitude: [UInt8]) -> [UInt8] {
        let bytes = Array(magnitude.drop { $0 == 0 })
        return DERWriter.element(0x02, bytes.first.map { $0 < 0x80 } ?? false ? bytes : [0] + bytes)
    }

    // MARK: - Public keys

    /// What stands before an Ed25519 key in a SubjectPublicKeyInfo (RFC 8410, section 4).
    static let ed25519Head = bytes("302a300506032b6570032100")

    static func curve(_ algorithm: SigningAlgorithm) -> [UInt8] {
        switch algorithm {
        case .ecdsaP384: bytes("06052b81040022")
        case .ecdsaP521: bytes("06052b81040023")
        default: bytes("06082a8648ce3d030107")
        }
    }

    static func ec(_ algorithm: SigningAlgorithm, point: [UInt8]) -> [UInt8] {
        DERWriter.element(
            0x30,
            DERWriter.element(0x30, bytes("06072a8648ce3d0201") + curve(algorithm))
                + DERWriter.element(0x03, [0] + point))
    }

    static func rsa(modulus: [UInt8], exponent: [UInt8]) -> [UInt8] {
        DERWriter.element(
            0x30,
            bytes("300d06092a864886f70d0101010500")
                + DERWriter.element(
                    0x03, [0] + DERWriter.element(0x30, integer(modulus) + integer(exponent))))
    }

    /// The coordinates of an honest key's point.
    static func coordinates(_ algorithm: SigningAlgorithm) throws -> (x: [UInt8], y: [UInt8]) {
        let size = [.ecdsaP384: 48, .ecdsaP521: 66][algorithm] ?? 32
        let point = try PrivateKey.generate(algorithm).publicKey.spki.suffix(2 * size)
        return (Array(point.prefix(size)), Array(point.suffix(size)))
    }

    static func expectWeak(_ der: [UInt8], _ words: String, sourceLocation: SourceLocation = #_sourceLocation) {
        // Twice: what is remembered of a key is that it is sound.
        for _ in 0..<2 {
            let error = #expect(throws: SigstoreError.self, sourceLocation: sourceLocation) {
                try PublicKey(der: der)
            }
            #expect(error?.code == .malformedKey, sourceLocation: sourceLocation)
            #expect(error?.message.contains(words) == true, "\(error as Any)", sourceLocation: sourceLocation)
        }
        // The same key in a certificate.
        let error = #expect(throws: SigstoreError.self, sourceLocation: sourceLocation) {
            let root = try IssuedCertificate.root()
            let der = try IssuedCertificate.der(
                IssuedCertificate.name("weak"), spki: der, issuer: root.certificate.subject, issuerKey: root.key,
                serialNumber: [2], from: IssuedCertificate.start, to: IssuedCertificate.start + 600, extensions: [])
            _ = try Certificate(der: der)
        }
        #expect(
            error.map { [.malformedCertificate, .unsupportedKey].contains($0.code) } == true, "\(error as Any)",
            sourceLocation: sourceLocation)
    }

    @Test(
        "A point at infinity, off its curve or in the hybrid form is no key; a compressed one is",
        arguments: [SigningAlgorithm.ecdsaP256, .ecdsaP384, .ecdsaP521])
    func points(algorithm: SigningAlgorithm) throws {
        let (x, y) = try Self.coordinates(algorithm)
        let isOdd = y[y.count - 1] & 1
        #expect(throws: Never.self) { try PublicKey(der: Self.ec(algorithm, point: [4] + x + y)) }
        #expect(throws: Never.self) { try PublicKey(der: Self.ec(algorithm, point: [2 + isOdd] + x)) }
        Self.expectWeak(Self.ec(algorithm, point: [0]), "infinity")
        Self.expectWeak(Self.ec(algorithm, point: [6 + isOdd] + x + y), "hybrid")
        var other = y
        other[other.count - 1] ^= 1
        Self.expectWeak(Self.ec(algorithm, point: [4] + x + other), "not a public key")
        Self.expectWeak(Self.ec(algorithm, point: [6 + (isOdd ^ 1)] + x + other), "not a public key")
        // A coordinate that is not below the prime, and no points at all.
        Self.expectWeak(
            Self.ec(algorithm, point: [4] + [UInt8](repeating: 0xff, count: x.count) + y), "not a public key")
        Self.expectWeak(Self.ec(algorithm, point: []), "not a public key")
        Self.expectWeak(
            Self.ec(algorithm, point: [4] + [UInt8](repeating: 0, count: 2 * x.count)), "not a public key")
    }

    @Test("An RSA key is refused if its exponent or its modulus lets others sign; an exponent of 3 is none of these")
    func rsaNumbers() throws {
        let modulus = Array(try PrivateKey.generate(.rsa2048).publicKey.spki.dropLast(5).suffix(256))
        for good in [[3], [1, 0, 1], [1, 0, 0, 0, 1], [UInt8](repeating: 0xff, count: 8)] as [[UInt8]] {
            #expect(throws: Never.self) { try PublicKey(der: Self.rsa(modulus: modulus, exponent: good)) }
        }
        for bad in [[], [1], [2], [1, 0, 0]] as [[UInt8]] {
            Self.expectWeak(Self.rsa(modulus: modulus, exponent: bad), "exponent")
        }
        let error = #expect(throws: SigstoreError.self) {
            try PublicKey(der: Self.rsa(modulus: modulus, exponent: [1] + [UInt8](repeating: 1, count: 8)))
        }
        #expect(error?.code == .unsupportedKey && error?.message.contains("65 bits") == true)
        var even = modulus
        even[255] ^= 1
        Self.expectWeak(Self.rsa(modulus: even, exponent: [1, 0, 1]), "even")
        // The next odd numbers; one in three of them is divisible by 3, one in five by 5.
        let factors = Set([3, 5, 7, 11, 13, 751])
        var found = 0
        var number = modulus
        for _ in 0..<16 {
            number[255] &+= 2
            let divisor = factors.first { factor in number.reduce(0) { ($0 << 8 | Int($1)) % factor } == 0 }
            guard divisor != nil else { continue }
            found += 1
            Self.expectWeak(Self.rsa(modulus: number, exponent: [1, 0, 1]), "below 752")
        }
        #expect(found > 4)
    }

    @Test("The largest prime that a modulus is tried with is 751")
    func rsaLargestFactor() throws {
        // 751 times a number of 2,039 bits without small factors: a power of 1,009.
        func product(_ factors: [Int]) -> [UInt8] {
            var digits: [UInt8] = [1]
            for factor in factors {
                var carry = 0
                for index in digits.indices {
                    carry += Int(digits[index]) * factor
                    digits[index] = UInt8(carry & 0xff)
                    carry >>= 8
                }
                while carry > 0 {
                    digits.append(UInt8(carry & 0xff))
                    carry >>= 8
                }
            }
            return digits.reversed()
        }
        let plain = product(Array(repeating: 1009, count: 206))
        try #require(plain.count >= 256 && plain.count <= 512)
        #expect(throws: Never.self) { try PublicKey(der: Self.rsa(modulus: plain, exponent: [3])) }
        for prime in [3, 53, 541, 743, 751] {
            Self.expectWeak(
                Self.rsa(modulus: product([prime] + Array(repeating: 1009, count: 206)), exponent: [3]), "below 752")
        }
    }

    @Test("An Ed25519 key of small or mixed order, or not in its one encoding, is no key")
    func ed25519Points() throws {
        let last = [UInt8](repeating: 0xff, count: 30) + [0x7f]
        let small: [[UInt8]] = [
            [1] + [UInt8](repeating: 0, count: 31), [0xec] + last, [UInt8](repeating: 0, count: 32),
            [UInt8](repeating: 0, count: 31) + [0x80],
            Self.bytes("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"),
            Self.bytes("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85"),
            Self.bytes("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a"),
            Self.bytes("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa"),
            // The same points with the prime added to y, and with a sign that x = 0 does not have.
            [0xed] + last, [0xee] + last, [0xee] + last.dropLast() + [0xff], [0xed] + last.dropLast() + [0xff],
            [1] + [UInt8](repeating: 0, count: 30) + [0x80], [0xec] + last.dropLast() + [0xff],
        ]
        for point in small { Self.expectWeak(Self.ed25519Head + point, "prime order") }
        // y = 2 is on no point, and an honest point plus the one of order 2 is (-x, -y).
        Self.expectWeak(Self.ed25519Head + [2] + [UInt8](repeating: 0, count: 31), "prime order")
        for _ in 0..<4 {
            let honest = Array(try PrivateKey.generate(.ed25519).publicKey.spki.suffix(32))
            var (mixed, borrow) = (honest, 0)
            for index in mixed.indices {
                let own = index == 31 ? honest[index] & 0x7f : honest[index]
                let digit = (index == 0 ? 0xed : index == 31 ? 0x7f : 0xff) - Int(own) - borrow
                mixed[index] = UInt8(digit & 0xff)
                borrow = digit < 0 ? 1 : 0
            }
            mixed[31] |= (honest[31] ^ 0x80) & 0x80
            Self.expectWeak(Self.ed25519Head + mixed, "prime order")
        }
    }

    @Test("A PSS signature holds with a salt of any length, unless that of the digest is demanded; ours has it")
    func saltLengths() throws {
        let key = try PrivateKey.generate(.rsa2048)
        let folder = try OpenSSLCommandTests.Folder()
        try folder.write("key.pem", try KeyTests.pem(key))
        try folder.write("key.pub", key.publicKey.pem)
        try folder.write("message", "message")
        let message = Array("message".utf8)
        let strict = key.publicKey.demandingDigestSalt()
        #expect(strict.isSame(as: key.publicKey) && strict.kind == key.publicKey.kind)
        let pss = ["dgst", "-sha256", "-sigopt", "rsa_padding_mode:pss", "-sigopt"]
        for length in ["0", "1", "20", "32", "48", "max"] {
            try folder.openssl(pss + ["rsa_pss_saltlen:\(length)", "-sign", "key.pem", "-out", "sig", "message"])
            let made = try folder.read("sig")
            #expect(try key.publicKey.verifies(made, ofBytes: message, scheme: .rsaPSS(.sha256)), "\(length)")
            let isDigests = try strict.verifies(made, ofBytes: message, scheme: .rsaPSS(.sha256))
            #expect(isDigests == (length == "32"), "\(length)")
            #expect(try !key.publicKey.verifies(made, ofBytes: message + [0], scheme: .rsaPSS(.sha256)), "\(length)")
        }
        try folder.openssl(pss + ["rsa_mgf1_md:sha1", "-sign", "key.pem", "-out", "sig", "message"])
        #expect(try !key.publicKey.verifies(folder.read("sig"), ofBytes: message, scheme: .rsaPSS(.sha256)))
        let own = try key.sign(message, scheme: .rsaPSS(.sha256))
        #expect(try strict.verifies(own, ofBytes: message, scheme: .rsaPSS(.sha256)))
        #expect(
            try strict.verifies(
                key.sign(message, scheme: .rsaPKCS1(.sha256)), ofBytes: message, scheme: .rsaPKCS1(.sha256)))
        try Data(own).write(to: folder.url.appendingPathComponent("sig"))
        // The command succeeds only if the salt has this length.
        try folder.openssl(pss + ["rsa_pss_saltlen:32", "-verify", "key.pub", "-signature", "sig", "message"])
    }

    // MARK: - Private keys

    static func refusal(_ label: String, _ der: [UInt8], sourceLocation: SourceLocation = #_sourceLocation)
        -> SigstoreError?
    {
        #expect(throws: SigstoreError.self, sourceLocation: sourceLocation) {
            try PrivateKey.read(file: Array(PEM.encode(label: label, der).utf8), password: KeyTests.noPassword)
        }
    }

    /// A private key on P-256 as SEC 1 has it (RFC 5915), and the same in PKCS#8.
    static func forms(scalar: [UInt8], point: [UInt8]?) -> [(label: String, der: [UInt8])] {
        let publicHalf = point.map { DERWriter.element(0xa1, DERWriter.element(0x03, [0] + $0)) } ?? []
        let parameters = DERWriter.element(0xa0, curve(.ecdsaP256))
        func sec1(_ parameters: [UInt8]) -> [UInt8] {
            DERWriter.element(0x30, [2, 1, 1] + DERWriter.element(0x04, scalar) + parameters + publicHalf)
        }
        let algorithm = DERWriter.element(0x30, bytes("06072a8648ce3d0201") + curve(.ecdsaP256))
        return [
            ("EC PRIVATE KEY", sec1(parameters)),
            (
                "PRIVATE KEY",
                DERWriter.element(0x30, [2, 1, 0] + algorithm + DERWriter.element(0x04, sec1([])))
            ),
        ]
    }

    @Test("A private number on a curve must be its order's at most, and the public half its own")
    func scalars() throws {
        let order = Self.bytes("ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551")
        let five = [UInt8](repeating: 0, count: 31) + [5]
        // The public keys to 5 and to 1, and another one.
        let points = try [five, [UInt8](repeating: 0, count: 31) + [1], order.dropLast() + [0x50]].map { scalar in
            let form = Self.forms(scalar: scalar, point: nil)[0]
            return Array(
                try PrivateKey.read(
                    file: Array(PEM.encode(label: form.label, form.der).utf8), password: KeyTests.noPassword
                ).publicKey.spki.suffix(65))
        }
        for form in Self.forms(scalar: five, point: points[0]) {
            #expect(throws: Never.self) {
                try PrivateKey.read(
                    file: Array(PEM.encode(label: form.label, form.der).utf8), password: KeyTests.noPassword)
            }
        }
        for scalar in [
            [UInt8](repeating: 0, count: 32), order, order.dropLast() + [0x52], order.dropLast() + [0x56],
            [UInt8](repeating: 0xff, count: 32), [],
        ] {
            for point in [nil, points[0], points[1]] {
                for form in Self.forms(scalar: scalar, point: point) {
                    #expect(Self.refusal(form.label, form.der)?.code == .malformedKey)
                }
            }
        }
        for (scalar, point) in [(five, points[1]), (five, points[2]), (five, [0])] {
            for form in Self.forms(scalar: scalar, point: point) {
                #expect(Self.refusal(form.label, form.der)?.code == .malformedKey)
            }
        }
        let error = Self.refusal("PRIVATE KEY", Self.forms(scalar: five, point: points[1])[1].der)
        #expect(error?.message.contains("public half") == true)
    }

    @Test("Each number of an RSA key that does not fit the others is found")
    func rsaPrivateNumbers() throws {
        let der = unsafe try PrivateKey.generate(.rsa2048).pkcs8().withBytes { unsafe Array($0) }
        let subject = DERSubject(code: .malformedKey, name: "the key")
        var outer = DERReader(der[...], of: subject)
        var info = try outer.enter(DERReader.Tag.sequence, "the key")
        _ = try info.integer("the version")
        _ = try info.enter(DERReader.Tag.sequence, "the algorithm")
        var key = DERReader(try info.octetString("the key"), of: subject)
        var list = try key.enter(DERReader.Tag.sequence, "the key")
        var numbers: [[UInt8]] = []
        while !list.isAtEnd { numbers.append(Array(try list.integer("a number"))) }
        try #require(numbers.count == 9)
        func form(_ change: (inout [[UInt8]]) -> Void) -> [UInt8] {
            var changed = numbers
            change(&changed)
            return DERWriter.element(0x30, changed.flatMap(Self.integer))
        }
        #expect(throws: Never.self) {
            let good = try PrivateKey.read(
                file: Array(PEM.encode(label: "RSA PRIVATE KEY", form { _ in }).utf8), password: KeyTests.noPassword)
            try good.expectPrimes()
        }
        for (index, words) in [
            (1, "modulus"), (3, "public half"), (4, "modulus"), (5, "modulus"), (6, "Chinese"), (7, "Chinese"),
            (8, "Chinese"),
        ] {
            // 2 more or less, so that odd numbers stay odd.
            let error = Self.refusal("RSA PRIVATE KEY", form { $0[index][$0[index].count - 1] ^= 2 })
            #expect(error?.code == .malformedKey, "\(index)")
            #expect(error?.message.contains(words) == true, "\(index): \(error as Any)")
        }
        // Another exponent, a private exponent that is too large, the primes the wrong way round, none, and one of them 1.
        for change in [
            { $0[2] = [3] }, { $0[3] = $0[1] }, { $0.swapAt(4, 5) }, { $0.replaceSubrange(4...5, with: [[0], [0]]) },
            { $0.replaceSubrange(4...5, with: [$0[1], [1]]) },
        ] as [(inout [[UInt8]]) -> Void] {
            #expect(Self.refusal("RSA PRIVATE KEY", form(change))?.code == .malformedKey)
        }
    }
}
