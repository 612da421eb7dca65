import Foundation
import SigstoreCrypto
import StrictJSON
import Testing

/// Keys that anyone can sign for: a forged signature comes with each, and no command believes it.
struct WeakKeyTests {
    let directory = TemporaryDirectory()
    static let content = Array("content of the file\n".utf8)

    init() throws { try directory.write("file", Self.content) }

    enum Kind: String, CaseIterable { case infinity, exponentOfOne, smallOrder }

    static func der(_ tag: UInt8, _ content: [UInt8]) -> [UInt8] {
        switch content.count {
        case ..<128: [tag, UInt8(content.count)] + content
        case ..<256: [tag, 0x81, UInt8(content.count)] + content
        default: [tag, 0x82, UInt8(content.count >> 8), UInt8(content.count & 0xff)] + content
        }
    }

    static func bytes(_ hexadecimal: String) -> [UInt8] { Hexadecimal.decode(hexadecimal) ?? [] }

    static func number(_ magnitude: [UInt8]) -> [UInt8] {
        let shortest = Array(magnitude.drop { $0 == 0 })
        return der(0x02, (shortest.first.map { $0 >= 0x80 } ?? true ? [0] : []) + shortest)
    }

    /// The order of the group of P-256.
    static let order = bytes("ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551")

    /// A key in DER, and a signature over the content that was made without a private key.
    static func forgery(_ kind: Kind) throws -> (key: [UInt8], signature: [UInt8]) {
        let digest = try Digest.sha256(content).bytes
        switch kind {
        case .infinity:
            // With r the base point's x, and s the digest, what is computed is the base point, whatever the message.
            let x = bytes("6b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296")
            return (
                bytes("3019301306072a8648ce3d020106082a8648ce3d03010703020000"),
                der(0x30, number(x) + number(digest))
            )
        case .exponentOfOne:
            let modulus = [0xff] + [UInt8](repeating: 0x55, count: 255)
            let key = der(
                0x30,
                bytes("300d06092a864886f70d0101010500")
                    + der(0x03, [0] + der(0x30, number(modulus) + number([1]))))
            let digestInfo = bytes("3031300d060960864801650304020105000420") + digest
            return (key, [0, 1] + [UInt8](repeating: 0xff, count: 253 - digestInfo.count) + [0] + digestInfo)
        case .smallOrder:
            let identity = [1] + [UInt8](repeating: 0, count: 31)
            return (bytes("302a300506032b6570032100") + identity, identity + [UInt8](repeating: 0, count: 32))
        }
    }

    @Test("A forged signature by such a key is refused", arguments: Kind.allCases)
    func key(kind: Kind) async throws {
        let (key, signature) = try Self.forgery(kind)
        try directory.write("weak.pub", PEM.encode(label: "PUBLIC KEY", key))
        try directory.write("weak.der", key)
        try directory.write("file.sig", Base64.encode(signature))
        for name in ["weak.pub", "weak.der"] {
            try await directory.expectRefusal(
                "malformed-key", name, "others than its owner could sign", "get the new public key",
                of: ["verify-blob", "--key", name, "--signature", "file.sig", "--insecure-ignore-tlog", "file"])
        }
    }

    @Test("A certificate for such a key is refused", arguments: Kind.allCases)
    func certificate(kind: Kind) async throws {
        let (key, signature) = try Self.forgery(kind)
        let authority = try PrivateKey.generate(.ecdsaP256)
        func name(_ text: String) -> [UInt8] {
            Self.der(
                0x30, Self.der(0x31, Self.der(0x30, [6, 3, 0x55, 4, 3] + Self.der(0x0c, Array(text.utf8)))))
        }
        let algorithm = Self.bytes("300a06082a8648ce3d040302")
        let validity = Self.der(
            0x30, Self.der(0x18, Array("20200101000000Z".utf8)) + Self.der(0x18, Array("20990101000000Z".utf8)))
        func certificate(_ subject: String, _ spki: [UInt8], _ extensions: [UInt8]) throws -> [UInt8] {
            let tbs = Self.der(
                0x30,
                Self.bytes("a003020102020101") + algorithm + name("root") + validity + name(subject) + spki
                    + Self.der(0xa3, Self.der(0x30, extensions)))
            let signature = try authority.sign(tbs, scheme: .ecdsa(.sha256))
            return Self.der(0x30, tbs + algorithm + Self.der(0x03, [0] + signature))
        }
        // basicConstraints and keyCertSign; digitalSignature, codeSigning and a name.
        let issuing = Self.bytes("300f0603551d130101ff040530030101ff300e0603551d0f0101ff040403020204")
        let names = Self.der(0x30, Self.der(0x81, Array("a@example.com".utf8)))
        let signing =
            Self.bytes("300e0603551d0f0101ff04040302078030130603551d25040c300a06082b06010505070303")
            + Self.der(0x30, Self.bytes("0603551d11") + Self.der(0x04, names))
        func verify(root: [UInt8], leaf: [UInt8]) async throws -> Program.Outcome {
            try directory.write(
                "root.json",
                #"{"mediaType":"application/vnd.dev.sigstore.trustedroot+json;version=0.1","certificateAuthorities":"#
                    + #"[{"certChain":{"certificates":[{"rawBytes":"\#(Base64.encode(root))"}]},"#
                    + #""validFor":{"start":"2020-01-01T00:00:00Z"}}]}"#)
            try directory.write("leaf.crt", PEM.encode(label: "CERTIFICATE", leaf))
            return await directory.swsign(
                "verify-blob", "--certificate", "leaf.crt", "--trusted-root", "root.json", "--certificate-identity",
                "a@example.com", "--certificate-oidc-issuer-regexp", ".*", "--insecure-ignore-sct",
                "--insecure-ignore-tlog", "--signature", "file.sig", "file")
        }
        try directory.write("file.sig", Base64.encode(signature))
        let other = try PrivateKey.generate(.ecdsaP256).publicKey.spki
        let root = try certificate("root", authority.publicKey.spki, issuing)
        let (good, weak) = (try certificate("leaf", other, signing), try certificate("leaf", key, signing))
        let refused = try await verify(root: root, leaf: weak)
        #expect(refused.ending == .exit(1) && refused.stdout.isEmpty, "\(refused.messages)")
        #expect(["malformed-certificate", "unsupported-key"].contains(refused.code), "\(refused.messages)")
        // The same certificate for an honest key is read, and then found not to be this signature's.
        let honest = try await verify(root: root, leaf: good)
        #expect(honest.ending == .exit(1) && honest.stdout.isEmpty, "\(honest.messages)")
        #expect(!["malformed-certificate", "unsupported-key", "malformed-trusted-root"].contains(honest.code))
        // An authority with such a key is none.
        let authorities = try await verify(root: try certificate("root", key, issuing), leaf: good)
        #expect(authorities.ending == .exit(1) && authorities.stdout.isEmpty, "\(authorities.messages)")
        #expect(authorities.code == "malformed-trusted-root", "\(authorities.messages)")
    }

    @Test(
        "A trusted root with such a key of a log is refused, and so is the log's key in a file",
        arguments: Kind.allCases)
    func trustedRoot(kind: Kind) async throws {
        let (key, _) = try Self.forgery(kind)
        try directory.makeKey()
        let signed = await directory.swsign(
            "sign-blob", "--key", "key.pem", "--tlog-upload=false", "--bundle", "b.json", "file")
        try #require(signed.succeeded, "\(signed.messages)")
        for member in ["tlogs", "ctlogs"] {
            let log = #"{"baseUrl":"https://log.example","hashAlgorithm":"SHA2_256","logId":{"keyId":"AAAA"},"#
            try directory.write(
                "root.json",
                #"{"mediaType":"application/vnd.dev.sigstore.trustedroot+json;version=0.1","\#(member)":["# + log
                    + #""publicKey":{"rawBytes":"\#(Base64.encode(key))","validFor":{"start":"2020-01-01T00:00:00Z"}}}]}"#
            )
            try await directory.expectRefusal(
                "malformed-trusted-root", "others than its owner could sign",
                of: ["verify-blob", "--key", "key.pub", "--trusted-root", "root.json", "--bundle", "b.json", "file"])
        }
        try directory.write("log.pub", PEM.encode(label: "PUBLIC KEY", key))
        try await directory.expectRefusal(
            "malformed-key", "log.pub", "others than its owner could sign",
            of: ["verify-blob", "--key", "key.pub", "--bundle", "b.json", "file"],
            environment: ["SIGSTORE_REKOR_PUBLIC_KEY": "log.pub"])
        try await directory.expectRefusal(
            "malformed-key", "log.pub", "others than its owner could sign",
            of: [
                "trusted-root", "create", "--rekor",
                "url=https://log.example,public-key=log.pub,start-time=2020-01-01T00:00:00Z",
            ])
    }

    // MARK: - Private keys

    /// A private key on P-256 in SEC 1's form (RFC 5915).
    static func sec1(_ scalar: [UInt8], _ point: [UInt8]?) -> [UInt8] {
        der(
            0x30,
            [2, 1, 1] + der(0x04, scalar) + bytes("a00a06082a8648ce3d030107")
                + (point.map { der(0xa1, der(0x03, [0] + $0)) } ?? []))
    }

    @Test("A private key that is out of range, or whose halves do not belong together, is neither imported nor used")
    func privateKeys() async throws {
        let point = Array(try PrivateKey.generate(.ecdsaP256).publicKey.spki.suffix(65))
        let rsa = unsafe try PrivateKey.generate(.rsa2048).pkcs8().withBytes { unsafe Array($0) }
        var (product, coefficient) = (rsa, rsa)
        // Another key's modulus, which begins after 38 bytes, and the last byte of all.
        product.replaceSubrange(
            38..<294, with: try PrivateKey.generate(.rsa2048).publicKey.spki.dropLast(5).suffix(256))
        coefficient[coefficient.count - 1] ^= 2
        let own = unsafe try PrivateKey.generate(.ecdsaP256).pkcs8().withBytes { unsafe Array($0) }
        let zero = [UInt8](repeating: 0, count: 32)
        for (label, der, words) in [
            ("EC PRIVATE KEY", Self.sec1(zero, nil), "the point at infinity"),
            ("EC PRIVATE KEY", Self.sec1(zero, point), "order of its curve"),
            ("EC PRIVATE KEY", Self.sec1(Self.order, point), "order of its curve"),
            ("EC PRIVATE KEY", Self.sec1(Self.order.dropLast() + [0x56], nil), "order of its curve"),
            ("EC PRIVATE KEY", Self.sec1(zero.dropLast() + [5], point), "public half belongs to another"),
            ("PRIVATE KEY", own.dropLast(65) + point, "public half belongs to another"),
            ("PRIVATE KEY", product, "not the product of its two primes"),
            ("PRIVATE KEY", coefficient, "Chinese remainder theorem"),
        ] {
            try directory.write("in.pem", PEM.encode(label: label, der))
            try await directory.expectRefusal(
                "malformed-key", "in.pem", words, of: ["import-key-pair", "--key", "in.pem"],
                environment: ["COSIGN_PASSWORD": ""])
        }
        // What is not kept is not used either.
        try await directory.expectRefusal(
            "malformed-key", "in.pem", "Chinese remainder theorem",
            of: ["sign-blob", "--key", "in.pem", "--tlog-upload=false", "--bundle", "b.json", "file"])
    }

    /// An RSA key all of whose numbers fit each other, and whose first prime is the product of two.
    static let compositeKey = """
        -----BEGIN RSA PRIVATE KEY-----
        MIIEpAIBAAKCAQEAv6kPh2j9MRhIVD4SsKyMKxwodzuqTd3vc9BPZaAo567os5bb
        UIx3jy8vqlfqb8Ms4jq5pM/KddHhkLoiEM+UH8/tIva556kXuijKzFuX8hrAHj0N
        JtwViKFhcgwZJc9PAYeYR16g8efTJvLqUphRdTEaw29u/zWsS5XZBFpnLcJkO1oi
        YM/TCbw38u/PZhOuqvVyMfHvstr4+nUW5QIy0o3NJRIKPjsWKbgYvFpQ3Y+yVD6m
        hjtUQKHPjRSWONBiAsETg8K2qxOKTN4fcaxK4Qy+FP2qx2sEkJn3VeBUA3o5Ezls
        l204LuMTaEa+k5Zy9j292jBo2EAphNucSw73QwIDAQABAoIBAQC2NuHnqB5HZcGm
        LdmRFIqylbO3IAeavixgXCSQBsO8+OKNkxfxLYqhm4fimHDvTozGjHRgx5jBiQe9
        k+i9OMynrgPS4OT/5RgEybF8tnvwFhSe6wYs8sKaQmulhPEHrF99oc9Z0xKKyg9K
        kVnLqrqPA19hfPj3M60Zs14+sEA2FFkPN3g5D14PinQ1RBa+bL2IRKh+eEiWnA37
        cmp17ylLV0hoZjDkYLOb80e3DfYjcwjy1T5hpQbsTwDh3afjtfP7Br7BOtWioDUD
        hxW/9vY5CO0HO52EEFYkRuy125UhIYmElxEFOhpb2GMDvcW2gcJb62mz8b/sNq/s
        CFkuWKnxAoGBAMSgtibM6vQSq9SCqCGqZnQOhKCAhpOs4IDzHvEEyfTLnisJU8Vn
        GdtpXSTJyQJ77EmtxpsNniS3IqDOsMbRujge9iJEE5bxsLQ9S4/MAVBtG81avGfh
        fquiIp7mveQgE6j/J/FtJZFz8d8todZ3a+QIY+lHW/y74O/frPnuLUDrAoGBAPmI
        XwQ/vMpLbw26eTRo4FybOUdiyLu3EpBaqLh7CV6UAnTHTZp3mKT6lHe7eK+mFp1g
        qmdz6oVseSzGtCLR4mQuCr4z2UA3xzaAQ+MHVSOMSeSmxvBB30XPrwKPMHXG9z1G
        hlE+Net+UtwhTG2nTyJoXE6x0drcU81uiRcYk00JAoGBALlHHpytFu/p8BQNEdS3
        NldBnuOGeEkK63lWnd9KPer3OxEedttZ7Vl8jRIvOcOndd1va+eLC2tZTb3tRVHz
        Kd/b/N4I+9SN5Y3Q/DSBbPOV/E6io0nXh36/BpRopKIjP6NM2xx5Vp8ae91qqEbo
        vLdg2JRmc11QxAID6ICRV/8FAoGAEaypHkHte16wdQZ6Q04SZjzQZ9AFa9ZhyDvD
        q517YmmVavQa+Q/zjev5zClJORfIjkkkiMNbHyw5wQQqCjVXlcT1GdfOUZAh2ihn
        ppMEYsozCbEOckIYMHeva7z8r7ryFDMEnIiNhSqjb9gj87hgEI3Xy/MobBojDXAA
        4dPpyxECgYAnbG4FsLFQ68IyHatnLOIId1XlX1IiuNhyMvn6QSXZIes1oKv78H90
        aD6cZN9asaX0QhzfDC6oT3lNrLXoB2ebHxBrd04ier/yqTK9X9j8FnDXZmOcmJXi
        dEs/XtbVK8mpI2sixQmiS8J0NNWgsQJF5Gmf8TKi9JU7w30chc4vdg==
        -----END RSA PRIVATE KEY-----

        """

    @Test("An RSA key whose primes are none is not imported")
    func composite() async throws {
        try directory.write("in.pem", Self.compositeKey)
        try await directory.expectRefusal(
            "malformed-key", "in.pem", "one of its primes is not a prime", of: ["import-key-pair", "--key", "in.pem"],
            environment: ["COSIGN_PASSWORD": ""])
    }
}
