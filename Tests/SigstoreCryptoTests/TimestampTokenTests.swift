import StrictJSON
import Testing

@testable import SigstoreCrypto

@Suite struct TimestampTokenTests {
    /// A timestamp authority of our own, whose tokens can be made wrong in every part.
    struct Authority {
        let root: IssuedCertificate
        let signer: IssuedCertificate

        init(_ name: String = "tsa") throws {
            root = try IssuedCertificate.root("\(name) root")
            signer = try Self.signer(name, by: root)
        }

        static func signer(_ name: String, by root: IssuedCertificate, to: Int64 = IssuedCertificate.start + 3600)
            throws
            -> IssuedCertificate
        {
            try IssuedCertificate(
                IssuedCertificate.name(name), by: root, serialNumber: [5], to: to,
                [.keyUsage(0x80), .extendedKeyUsage(IssuedCertificate.timestamping, critical: true)])
        }

        var certificates: [Certificate] { [signer.certificate, root.certificate] }
    }

    static func oid(_ dotted: String) -> [UInt8] {
        DERWriter.element(0x06, ObjectIdentifier(dotted: dotted)?.content ?? [])
    }
    static func sequence(_ parts: [UInt8]...) -> [UInt8] { DERWriter.element(0x30, parts.flatMap { $0 }) }

    /// The parts of a token, to be changed one by one.
    struct Parts {
        var status: [UInt8]? = sequence([2, 1, 0])
        var signed = Array("a signature".utf8)
        var imprintHash = "2.16.840.1.101.3.4.2.1"
        var imprint: [UInt8]?
        var version: UInt8 = 1
        var policy = oid("1.3.6.1.4.1.57264.2")
        var time = Array("20260101001000Z".utf8)
        var rest: [UInt8] = [2, 1, 42]
        var contentType = "1.2.840.113549.1.9.16.1.4"
        var signedContentType = "1.2.840.113549.1.9.16.1.4"
        var contentDigest: [UInt8]?
        var hash = "2.16.840.1.101.3.4.2.1"
        var algorithm = "1.2.840.10045.4.3.2"
        /// What the signed attributes name as the signer's certificate.
        var certificateIDs: [[UInt8]]?
        var extraAttributes: [[UInt8]] = []
        /// Which of the first two attributes are not there: 0 is the content's type, 1 its digest.
        var leftOut: Set<Int> = []
        var embedded: [Certificate] = []
        var signerCount = 1
        /// What the signer's name is taken from.
        var named: Certificate?

        func token(_ signer: IssuedCertificate) throws -> [UInt8] {
            let hashed = try imprint ?? Digest.sha256(signed).bytes
            let info = sequence(
                [2, 1, version], policy, sequence(sequence(oid(imprintHash), [5, 0]), DERWriter.element(0x04, hashed)),
                [2, 1, 7], DERWriter.element(0x18, time), rest)
            let identifiers = try certificateIDs ?? [Self.certificateID(signer.certificate)]
            let stated = [
                sequence(oid("1.2.840.113549.1.9.3"), DERWriter.element(0x31, oid(signedContentType))),
                sequence(
                    oid("1.2.840.113549.1.9.4"),
                    DERWriter.element(
                        0x31, DERWriter.element(0x04, try contentDigest ?? Digest.sha256(info).bytes))),
            ]
            let attributes =
                stated.indices.filter { !leftOut.contains($0) }.map { stated[$0] } + identifiers + extraAttributes
            let signature = try signer.key.sign(
                DERWriter.element(0x31, attributes.flatMap { $0 }), scheme: .ecdsa(.sha256))
            let named = named ?? signer.certificate
            let signerInfo = sequence(
                [2, 1, 1], sequence(named.issuer, DERWriter.element(0x02, named.serialNumber)),
                sequence(oid(hash)), DERWriter.element(0xa0, attributes.flatMap { $0 }), sequence(oid(algorithm)),
                DERWriter.element(0x04, signature))
            let signedData = sequence(
                [2, 1, 3], DERWriter.element(0x31, sequence(oid("2.16.840.1.101.3.4.2.1"))),
                sequence(oid(contentType), DERWriter.element(0xa0, DERWriter.element(0x04, info))),
                embedded.isEmpty ? [] : DERWriter.element(0xa0, embedded.flatMap { $0.der }),
                DERWriter.element(0x31, [[UInt8]](repeating: signerInfo, count: signerCount).flatMap { $0 }))
            let contentInfo = sequence(oid("1.2.840.113549.1.7.2"), DERWriter.element(0xa0, signedData))
            return status.map { sequence($0, contentInfo) } ?? contentInfo
        }

        /// signingCertificateV2
        static func certificateID(_ certificate: Certificate, issuerAndSerial: [UInt8] = []) throws -> [UInt8] {
            sequence(
                oid("1.2.840.113549.1.9.16.2.47"),
                DERWriter.element(
                    0x31,
                    sequence(
                        sequence(
                            sequence(
                                DERWriter.element(0x04, try Digest.sha256(certificate.der).bytes), issuerAndSerial)))))
        }
    }

    let authority: Authority

    init() throws { authority = try Authority() }

    func verify(_ parts: Parts, _ certificates: [Certificate]? = nil) throws {
        let token = try TimestampToken(response: parts.token(authority.signer))
        try token.verify(over: Array("a signature".utf8), authority: certificates ?? authority.certificates)
    }

    func refuses(
        _ code: SigstoreError.Code, _ certificates: [Certificate]? = nil,
        sourceLocation: SourceLocation = #_sourceLocation, _ change: (inout Parts) throws -> Void
    ) throws {
        var parts = Parts()
        try change(&parts)
        let error = #expect(throws: SigstoreError.self, sourceLocation: sourceLocation) {
            try verify(parts, certificates)
        }
        #expect(error?.code == code, "\(error?.message ?? "")", sourceLocation: sourceLocation)
    }

    @Test func aGoodTimestamp() throws {
        let token = try TimestampToken(response: Parts().token(authority.signer))
        #expect(token.time == IssuedCertificate.start + 600)
        #expect(token.policy == "1.3.6.1.4.1.57264.2")
        #expect(token.nonce == [42])
        #expect(token.serialNumber == [7])
        #expect(token.certificates.isEmpty)
        let path = try token.verify(over: Array("a signature".utf8), authority: authority.certificates)
        #expect(path.map(\.der) == authority.certificates.map(\.der))
    }

    @Test func aBareTokenAndAnEmbeddedCertificate() throws {
        var parts = Parts()
        parts.status = nil
        parts.embedded = authority.certificates
        try verify(parts)
        try verify(parts, [authority.root.certificate])
        parts.rest = Self.sequence([2, 1, 1]) + [1, 1, 0] + DERWriter.element(0xa0, [])
        parts.time = Array("20260101001000.999Z".utf8)
        parts.status = Self.sequence([2, 1, 1], Self.sequence(DERWriter.element(0x0c, [0x78])))
        try verify(parts)
    }

    @Test func bothVersionsOfTheCertificatesDigest() throws {
        // RFC 2634's form over SHA-1, as older authorities write it.
        let sha1 = try Digest.sha1(authority.signer.certificate.der)
        let old = Self.sequence(
            Self.oid("1.2.840.113549.1.9.16.2.12"),
            DERWriter.element(
                0x31, Self.sequence(Self.sequence(Self.sequence(DERWriter.element(0x04, sha1))))))
        var parts = Parts()
        parts.certificateIDs = [old]
        try verify(parts)
        parts.certificateIDs = [old, try Parts.certificateID(authority.signer.certificate)]
        try verify(parts)
        // Where both stand, both must fit.
        try refuses(.timestampAuthority) {
            $0.certificateIDs = [old, try Parts.certificateID(authority.root.certificate)]
        }
    }

    @Test func anotherSignatureIsRefused() throws {
        try refuses(.timestampMismatch) { $0.signed = Array("another signature".utf8) }
    }

    @Test func anotherAuthorityIsRefused() throws {
        let other = try Authority("other")
        try refuses(.timestampAuthority, other.certificates) { _ in }
        try refuses(.timestampAuthority, other.certificates) { $0.embedded = authority.certificates }
        try refuses(.certificatePath, [other.root.certificate]) { $0.embedded = authority.certificates }
        try refuses(.timestampAuthority, [authority.root.certificate]) { _ in }
        try refuses(.timestampAuthority, []) { _ in }
        try refuses(.timestampAuthority, authority.certificates + other.certificates) { _ in }
        // The same names and serial number, other keys.
        let impostor = try Authority()
        try refuses(.timestampAuthority, impostor.certificates) { _ in }
        try refuses(.certificateSignature, [impostor.root.certificate]) { $0.embedded = authority.certificates }
    }

    @Test("A token's own intermediate counts only if the authority lists none")
    func anIntermediateInTheToken() throws {
        let root = authority.root
        func intermediate(_ name: String) throws -> IssuedCertificate {
            try IssuedCertificate.intermediate(by: root, name, usage: IssuedCertificate.timestamping)
        }
        let (old, new) = (try intermediate("old"), try intermediate("new"))
        let signer = try Authority.signer("below old", by: old)
        var parts = Parts()
        parts.embedded = [signer.certificate, old.certificate]
        let token = try TimestampToken(response: parts.token(signer))
        let bytes = Array("a signature".utf8)
        #expect(try token.verify(over: bytes, authority: [root.certificate]).count == 3)
        #expect(try token.verify(over: bytes, authority: [old.certificate, root.certificate]).count == 3)
        for (listed, others) in [([new], nil), ([new], []), ([], [])] as [([IssuedCertificate], [Certificate]?)] {
            let error = #expect(throws: SigstoreError.self) {
                try token.verify(
                    over: bytes, authority: (listed + [root]).map(\.certificate), intermediates: others)
            }
            #expect(error?.code == .certificatePath)
        }
    }

    @Test func anotherCertificateOfTheSameAuthorityIsRefused() throws {
        let renewed = try Authority.signer("tsa", by: authority.root)
        try refuses(.timestampAuthority, [renewed.certificate, authority.root.certificate]) {
            $0.embedded = authority.certificates
        }
    }

    @Test(
        "timestamp-authority CVE-2026-39984: the certificate that is checked is the signer's, whatever else comes along"
    )
    func anExtraLeafInTheTokenIsNotTheSigner() throws {
        let attacker = try Authority("attacker")
        let trusted = authority.signer.certificate
        let forged = { (change: (inout Parts) throws -> Void) throws in
            var parts = Parts()
            try change(&parts)
            return try TimestampToken(response: parts.token(attacker.signer))
        }
        for order in [[trusted, attacker.signer.certificate], [attacker.signer.certificate, trusted]] {
            for roots in [authority.certificates, [authority.root.certificate]] {
                for token in [
                    try forged { $0.embedded = order },
                    try forged {
                        $0.embedded = order
                        $0.named = trusted
                    },
                    try forged {
                        $0.embedded = order
                        $0.certificateIDs = [try Parts.certificateID(trusted)]
                    },
                    try forged {
                        $0.embedded = order
                        $0.named = trusted
                        $0.certificateIDs = [try Parts.certificateID(trusted)]
                    },
                ] {
                    #expect(throws: SigstoreError.self) {
                        try token.verify(over: Array("a signature".utf8), authority: roots)
                    }
                }
            }
        }
        // And an extra leaf does no harm.
        var parts = Parts()
        parts.embedded = [attacker.signer.certificate, trusted]
        try verify(parts, [authority.root.certificate])
    }

    @Test func theCertificateMustHaveBeenValid() throws {
        try refuses(.certificateExpired) { $0.time = Array("20260101010001Z".utf8) }
        try refuses(.certificateNotYetValid) { $0.time = Array("20251231235959Z".utf8) }
        var parts = Parts()
        parts.time = Array("20260101010000Z".utf8)
        try verify(parts)
    }

    @Test func aCertificateForCodeSigningIsRefused() throws {
        let leaf = try IssuedCertificate.leaf(by: authority.root, to: IssuedCertificate.start + 3600)
        let token = try TimestampToken(response: Parts().token(leaf))
        #expect(
            CertificateTests.code {
                try token.verify(
                    over: Array("a signature".utf8), authority: [leaf.certificate, authority.root.certificate])
            } == .certificateKeyUsage)
    }

    @Test func whatIsSignedIsBound() throws {
        try refuses(.timestampSignature) { $0.contentDigest = [UInt8](repeating: 0, count: 32) }
        try refuses(.malformedTimestamp) { $0.contentDigest = [] }
        try refuses(.malformedTimestamp) { $0.contentType = "1.2.840.113549.1.7.1" }
        try refuses(.malformedTimestamp) { $0.signedContentType = "1.2.840.113549.1.7.1" }
        try refuses(.malformedTimestamp) { $0.certificateIDs = [] }
        try refuses(.malformedTimestamp) { $0.signerCount = 0 }
        try refuses(.malformedTimestamp) { $0.signerCount = 2 }
        try refuses(.malformedTimestamp) {
            $0.extraAttributes = [try Parts.certificateID(authority.signer.certificate)]
        }
        try refuses(.timestampAuthority) { $0.certificateIDs = [try Parts.certificateID(authority.root.certificate)] }
        try refuses(.timestampAuthority) { $0.named = authority.root.certificate }
        // The digest may also repeat issuer and serial number, which must then be the signer's.
        func identifier(_ serialNumber: UInt8) throws -> [UInt8] {
            try Parts.certificateID(
                authority.signer.certificate,
                issuerAndSerial: Self.sequence(
                    Self.sequence(DERWriter.element(0xa4, IssuedCertificate.name("tsa root"))), [2, 1, serialNumber]))
        }
        var parts = Parts()
        parts.certificateIDs = [try identifier(5)]
        try verify(parts)
        try refuses(.timestampAuthority) { $0.certificateIDs = [try identifier(6)] }
    }

    @Test func rulesOfTheContent() throws {
        try refuses(.malformedTimestamp) { $0.version = 2 }
        try refuses(.malformedTimestamp) { $0.time = Array("20260101001000".utf8) }
        try refuses(.malformedTimestamp) { $0.time = Array("20260101001000.0Z".utf8) }
        try refuses(.malformedTimestamp) { $0.time = Array("20260101001000.Z".utf8) }
        // SHA-1 and a digest of the wrong length
        try refuses(.malformedTimestamp) {
            $0.imprintHash = "1.3.14.3.2.26"
            $0.imprint = [UInt8](repeating: 0, count: 20)
        }
        try refuses(.malformedTimestamp) { $0.imprint = [UInt8](repeating: 0, count: 31) }
        try refuses(.malformedTimestamp) { $0.hash = "1.3.14.3.2.26" }
        try refuses(.malformedTimestamp) { $0.algorithm = "1.2.840.10045.4.3.3" }
        try refuses(.malformedTimestamp) { $0.algorithm = "1.2.840.113549.1.1.5" }
        try refuses(.malformedTimestamp) {
            $0.rest = DERWriter.element(
                0xa1, Self.sequence(Self.oid("1.2.3"), [1, 1, 0xff], DERWriter.element(0x04, [])))
        }
        try refuses(.malformedTimestamp) { $0.rest = [2, 1, 42, 5, 0] }
        try refuses(.malformedTimestamp) {
            $0.embedded = [Certificate](repeating: authority.signer.certificate, count: 17)
        }
    }

    @Test func anAnswerWithoutATimestamp() throws {
        for status in [2, 3, 4, 5] as [UInt8] {
            try refuses(.timestampRefused) { $0.status = Self.sequence([2, 1, status]) }
            let bare = Self.sequence(Self.sequence([2, 1, status], [3, 2, 5, 0x20]))
            #expect(CertificateTests.code { _ = try TimestampToken(response: bare) } == .timestampRefused)
        }
        let granted = Self.sequence(Self.sequence([2, 1, 0]))
        #expect(CertificateTests.code { _ = try TimestampToken(response: granted) } == .malformedTimestamp)
    }

    @Test("timestamp-authority CVE-2025-66564: a huge object identifier takes no memory")
    func aHugeObjectIdentifier() throws {
        try refuses(.malformedTimestamp) {
            $0.policy = DERWriter.element(0x06, [UInt8](repeating: 0xff, count: 60_000) + [1])
        }
        try refuses(.malformedTimestamp) {
            $0.policy = DERWriter.element(0x06, [UInt8](repeating: 1, count: 100_000))
        }
    }

    @Test func everyByteOfTheTokenCounts() throws {
        var parts = Parts()
        parts.embedded = [authority.signer.certificate]
        let good = try parts.token(authority.signer)
        let signed = Array("a signature".utf8)
        try TimestampToken(response: good).verify(over: signed, authority: authority.certificates)
        for index in good.indices {
            for flip in [1, 0x80] as [UInt8] {
                var changed = good
                changed[index] ^= flip
                guard let token = try? TimestampToken(response: changed) else { continue }
                if (try? token.verify(over: signed, authority: authority.certificates)) != nil {
                    // What is not signed may change without changing what is stated: the status, the list of digest
                    // algorithms, and the embedded copy of a certificate that is trusted anyway.
                    #expect(token.time == IssuedCertificate.start + 600 && token.nonce == [42], "byte \(index)")
                }
            }
        }
        for length in good.indices {
            #expect(throws: SigstoreError.self) { try TimestampToken(response: Array(good[..<length])) }
        }
        #expect(throws: SigstoreError.self) { try TimestampToken(response: good + [0]) }
        #expect(throws: SigstoreError.self) { try TimestampToken(response: [UInt8](repeating: 0x30, count: 70_000)) }
    }
}
