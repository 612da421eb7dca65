import StrictJSON
import Testing

@testable import SigstoreCrypto

@Suite struct CertificateTests {
    typealias Extension = IssuedCertificate.Extension

    static func certificate(_ extensions: [Extension]) throws -> Certificate {
        try IssuedCertificate(IssuedCertificate.name("test"), extensions).certificate
    }

    static func code(_ body: () throws -> Void) -> SigstoreError.Code? {
        do { try body() } catch let error as SigstoreError { return error.code } catch { return nil }
        return nil
    }

    @Test func fields() throws {
        let root = try IssuedCertificate.root()
        let leaf = try IssuedCertificate.leaf(by: root)
        let read = leaf.certificate
        #expect(read.notBefore == IssuedCertificate.start)
        #expect(read.notAfter == IssuedCertificate.start + 600)
        #expect(read.subject == [0x30, 0])
        #expect(read.issuer == IssuedCertificate.name("root"))
        #expect(read.serialNumberHex == "01")
        #expect(read.publicKey.spki == leaf.key.publicKey.spki)
        #expect(read.keyUsage == .digitalSignature)
        #expect(read.extendedKeyUsage == ["1.3.6.1.5.5.7.3.3"])
        #expect(!read.isCA && !read.isSelfIssued)
        #expect(root.certificate.isCA && root.certificate.isSelfIssued)
        #expect(root.certificate.keyUsage == .certificateSigning)
        #expect(read.displayName == "someone@example.com")
        #expect(root.certificate.displayName == "CN=root")
        #expect(read.extensionValue(oid: "2.5.29.15") == [3, 2, 7, 0x80])
        #expect(read.extensionValue(oid: "2.5.29.19") == nil)
        #expect(read.extensionValue(oid: "not an identifier") == nil)
        let chain = try Certificate.chain(pem: Array((read.pem + root.certificate.pem).utf8))
        #expect(chain.map(\.der) == [read.der, root.certificate.der])
    }

    @Test func nameKinds() throws {
        let read = try Self.certificate([
            .names([
                IssuedCertificate.email("a@b.c"), DERWriter.element(0x86, Array("https://x.example/y".utf8)),
                DERWriter.element(0x82, Array("host.example".utf8)), DERWriter.element(0x87, [127, 0, 0, 1]),
                DERWriter.element(
                    0xa0,
                    DERWriter.element(
                        0x06, ObjectIdentifier(dotted: SubjectAlternativeName.fulcioUserName)!.content)
                        + DERWriter.element(0xa0, DERWriter.element(0x0c, Array("jürgen!x".utf8)))),
            ])
        ]).subjectAlternativeNames
        try #require(read.count == 5)
        guard case .email("a@b.c") = read[0], case .uri("https://x.example/y") = read[1],
            case .dns("host.example") = read[2], case .other = read[3],
            case .otherName(oid: "1.3.6.1.4.1.57264.1.7", value: "jürgen!x") = read[4]
        else {
            Issue.record("read as \(read)")
            return
        }
    }

    @Test func aNULInsideANameDoesNotEndIt() throws {
        let name = "good@example.com\0.evil.example"
        let read = try Self.certificate([.names([IssuedCertificate.email(name)])])
        #expect(Array(read.subjectAlternativeNames[0].text!.utf8) == Array(name.utf8))
    }

    @Test func namesThatAreRefused() throws {
        let wrongUserName = DERWriter.element(
            0xa0,
            DERWriter.element(0x06, ObjectIdentifier(dotted: SubjectAlternativeName.fulcioUserName)!.content)
                + DERWriter.element(0xa0, DERWriter.element(0x13, Array("user".utf8))))
        for names in [
            [], [DERWriter.element(0x81, [0xff])], [wrongUserName], [[0x81, 5, 0x41]],
            Array(repeating: IssuedCertificate.email("a@b.c"), count: 65),
        ] {
            #expect(Self.code { _ = try Self.certificate([.names(names)]) } == .malformedCertificate)
        }
    }

    @Test func fulcioExtensions() throws {
        let read = try Self.certificate([
            Extension("1.3.6.1.4.1.57264.1.1", Array("https://issuer.example".utf8)),
            Extension("1.3.6.1.4.1.57264.1.8", DERWriter.element(0x0c, Array("https://issuer.example".utf8))),
            Extension("1.3.6.1.4.1.57264.1.9", Array("raw where DER should be".utf8)),
            Extension("1.3.6.1.4.1.57264.1.2", [0xff]),
            Extension("1.3.6.1.4.1.57264.1.21", DERWriter.element(0x0c, []) + [0]),
        ])
        #expect(try read.fulcioExtension(1) == "https://issuer.example")
        #expect(try read.fulcioExtension(8) == "https://issuer.example")
        #expect(try read.fulcioExtension(10) == nil)
        for arc in [2, 9, 21] as [UInt32] {
            #expect(Self.code { _ = try read.fulcioExtension(arc) } == .malformedCertificate)
        }
    }

    @Test func anExtensionMayNotStandTwice() throws {
        #expect(Self.code { _ = try Self.certificate([.keyUsage(0x80), .keyUsage(0x80)]) } == .malformedCertificate)
        let many = (0..<65).map { Extension("1.2.3.\($0)", []) }
        #expect(Self.code { _ = try Self.certificate(many) } == .malformedCertificate)
    }

    @Test func aHugeObjectIdentifierIsRefused() throws {
        let value = DERWriter.element(
            0x30, DERWriter.element(0x06, [UInt8](repeating: 0xff, count: 30_000) + [1]))
        #expect(Self.code { _ = try Self.certificate([Extension("2.5.29.37", value)]) } == .malformedCertificate)
    }

    @Test func onlyWholeDERIsRead() throws {
        let der = try IssuedCertificate.root().certificate.der
        for bytes in [
            der + [0], Array(der.dropLast()), [], [0x30], Array(der[..<1] + [0x80] + der[4...] + [0, 0]),
            [UInt8](repeating: 0x30, count: 70_000),
        ] {
            #expect(Self.code { _ = try Certificate(der: bytes) } == .malformedCertificate)
        }
        // Every shorter beginning, and every single changed byte, is refused or read, never a trap.
        for length in 0..<der.count {
            #expect(throws: SigstoreError.self) { try Certificate(der: Array(der[..<length])) }
        }
        for index in der.indices {
            for flip in [1, 0x80, 0xff] as [UInt8] {
                var changed = der
                changed[index] ^= flip
                if let read = try? Certificate(der: changed) { #expect(read.der == changed) }
            }
        }
    }

    @Test func pemThatIsNotACertificateIsRefused() throws {
        let key = try PrivateKey.generate(.ecdsaP256).publicKey.pem
        #expect(Self.code { _ = try Certificate.chain(pem: Array(key.utf8)) } == .malformedCertificate)
        #expect(Self.code { _ = try Certificate.chain(pem: []) } == .malformedCertificate)
    }

    @Test func onlyOneEncodingIsAccepted() throws {
        let subject = DERSubject(code: .malformedCertificate, name: "the test")
        func reader(_ bytes: [UInt8]) -> DERReader { DERReader(bytes[...], of: subject) }
        for length in [0, 1, 127, 128, 255, 256, 65_535, 65_536] {
            let content = [UInt8](repeating: 7, count: length)
            var good = reader(DERWriter.element(0x04, content) + [5, 0])
            #expect(try good.octetString("it").elementsEqual(content))
            #expect(CertificateTests.code { try good.end() } == .malformedCertificate)
            _ = try good.next()
            try good.end()
        }
        for bad in [
            [], [4], [4, 1], [4, 0x80, 0, 0], [4, 0x81, 1, 7], [4, 0x82, 0, 1, 7], [4, 0x83, 0, 0, 1, 7],
            [4, 0x84, 0, 0, 0, 1, 7], [4, 0x88, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], [4, 0xff],
            [4, 0x82, 1],
            [0x1f, 1, 0], [0x3f, 0x81, 1, 0], [4, 0x82, 0, 0x80] + [UInt8](repeating: 7, count: 128),
        ] as [[UInt8]] {
            var bytes = reader(bad)
            #expect(CertificateTests.code { _ = try bytes.next() } == .malformedCertificate, "\(bad)")
        }
        for bad in [[], [0, 0], [0, 0x7f], [0xff, 0x80]] as [[UInt8]] {
            var bytes = reader(DERWriter.element(0x02, bad))
            #expect(CertificateTests.code { _ = try bytes.integer("it") } == .malformedCertificate, "\(bad)")
        }
        for bad in [[], [1], [0xfe], [0xff, 0xff]] as [[UInt8]] {
            var bytes = reader(DERWriter.element(0x01, bad))
            #expect(CertificateTests.code { _ = try bytes.boolean("it") } == .malformedCertificate, "\(bad)")
        }
        for bad in [[0x80], [0, 0x80]] as [[UInt8]] {
            var bytes = reader(DERWriter.element(0x02, bad))
            #expect(CertificateTests.code { _ = try bytes.smallInteger("it") } == .malformedCertificate, "\(bad)")
        }
    }

    @Test func objectIdentifiers() {
        let encoded = ObjectIdentifier(dotted: "1.2.840.113549.1.9.16.1.4")?.content
        #expect(encoded == [42, 134, 72, 134, 247, 13, 1, 9, 16, 1, 4])
        for text in ["2.999.3", "0.39", "1.3.6.1.4.1.57264.1.8", "2.5.29.17", "1.2.4294967295"] {
            #expect(ObjectIdentifier(dotted: text)?.description == text)
        }
        for text in ["", "1", "1.", ".1.2", "3.1", "1.40", "1.2.4294967296", "1.2.-3", "1.2.x"] {
            #expect(ObjectIdentifier(dotted: text) == nil)
        }
        #expect(ObjectIdentifier(content: [0x80, 1]) == nil)
        #expect(ObjectIdentifier(content: [42, 0x81]) == nil)
        #expect(ObjectIdentifier(content: []) == nil)
        let long = ObjectIdentifier(content: [42] + [UInt8](repeating: 0xff, count: 20) + [1])
        #expect(long?.description == "1.2.?")
    }

    @Test(
        arguments: [
            ("19700101000000Z", 0), ("20000229235959Z", 951_868_799), ("99991231235959Z", 253_402_300_799),
            ("20380119031408Z", 2_147_483_648), ("19000301000000Z", -2_203_891_200),
            ("00010101000000Z", -62_135_596_800),
        ] as [(String, Int64)])
    func calendar(text: String, seconds: Int64) {
        let element = DERElement(tag: 0x18, content: Array(text.utf8)[...], encoded: [])
        #expect(element.seconds(allowingFraction: false) == seconds)
        #expect(Instant(seconds: seconds).description.filter(\.isNumber) == text.dropLast())
    }

    @Test func datesThatAreRefused() {
        for (tag, text) in [
            (0x17, "700101000000"), (0x17, "7001010000Z"), (0x17, "19700101000000Z"), (0x17, "700101000000+0000"),
            (0x18, "19010229000000Z"), (0x18, "20260001000000Z"), (0x18, "20261301000000Z"), (0x18, "20260132000000Z"),
            (0x18, "20260101240000Z"), (0x18, "20260101000060Z"), (0x18, "20260101000000.5Z"), (0x18, ""),
            (0x18, "-0260101000000Z"), (0x04, "20260101000000Z"), (0x18, "00000101000000Z"),
        ] as [(UInt8, String)] {
            let element = DERElement(tag: tag, content: Array(text.utf8)[...], encoded: [])
            #expect(element.seconds(allowingFraction: false) == nil, "\(text)")
        }
        let fraction = DERElement(tag: 0x18, content: Array("19700101000001.25Z".utf8)[...], encoded: [])
        #expect(fraction.seconds(allowingFraction: true) == 1)
        let year = DERElement(tag: 0x17, content: Array("491231235959Z".utf8)[...], encoded: [])
        #expect(year.seconds(allowingFraction: false) == 2_524_607_999)
    }
}
