import StrictJSON
import Testing

@testable import SigstoreCrypto

@Suite struct SignedCertificateTimestampTests {
    /// A log of our own, which signs like a real one, from its own idea of what is signed.
    struct Log {
        let key: PrivateKey
        let scheme: SignatureScheme

        /// The parts of a timestamp, to be changed one by one.
        struct Parts {
            var version: UInt8 = 0
            var logID: [UInt8] = []
            var timestamp: [UInt8] = [0, 0, 1, 0x9b, 0x75, 0, 0, 0]
            var extensions: [UInt8] = []
            var algorithm: [UInt8] = [4, 3]
            var signature: [UInt8] = []

            static func vector(_ bytes: [UInt8]) -> [UInt8] {
                [UInt8(bytes.count >> 8), UInt8(bytes.count & 0xff)] + bytes
            }
            var encoded: [UInt8] {
                [version] + logID + timestamp + Self.vector(extensions) + algorithm + Self.vector(signature)
            }
        }

        func parts(entry: [UInt8], extensions: [UInt8] = []) throws -> Parts {
            var parts = Parts()
            parts.logID = try Digest.sha256(key.publicKey.spki).bytes
            parts.extensions = extensions
            if case .rsaPKCS1 = scheme { parts.algorithm = [4, 1] }
            parts.signature = try key.sign(
                [0, 0] + parts.timestamp + entry + Parts.vector(extensions), scheme: scheme)
            return parts
        }
    }

    static let list = "1.3.6.1.4.1.11129.2.4.2"
    let root: IssuedCertificate
    let key: PrivateKey
    let log: Log

    init() throws {
        root = try IssuedCertificate.root()
        key = try PrivateKey.generate(.ecdsaP256)
        log = Log(key: try PrivateKey.generate(.ecdsaP256), scheme: .ecdsa(.sha256))
    }

    static func length3(_ bytes: [UInt8]) -> [UInt8] {
        [UInt8(bytes.count >> 16), UInt8(bytes.count >> 8 & 0xff), UInt8(bytes.count & 0xff)] + bytes
    }

    /// A certificate with these timestamps; none makes the certificate that the log sees.
    func certificate(_ timestamps: [[UInt8]], other: [IssuedCertificate.Extension] = []) throws -> Certificate {
        let value = DERWriter.element(
            0x04, Log.Parts.vector(timestamps.flatMap { Log.Parts.vector($0) }))
        let extensions: [IssuedCertificate.Extension] =
            [.keyUsage(0x80)] + (timestamps.isEmpty ? [] : [.init(Self.list, value)])
            + [.extendedKeyUsage(IssuedCertificate.codeSigning)] + other
        return try IssuedCertificate([0x30, 0], by: root, key: key, extensions).certificate
    }

    /// precert_entry over the certificate as it is without the list.
    func precertificateEntry() throws -> [UInt8] {
        let whole = try certificate([])
        var outer = DERReader(whole.der[...], of: DERSubject(code: .malformedCertificate, name: ""))
        var inner = try outer.enter(0x30, "")
        let tbs = Array(try inner.next().encoded)
        return [0, 1] + (try Digest.sha256(root.certificate.publicKey.spki).bytes) + Self.length3(tbs)
    }

    func verify(_ certificate: Certificate, issuer: Certificate? = nil, key: PublicKey? = nil) throws {
        let timestamps = try SignedCertificateTimestamp.embedded(in: certificate)
        try #require(!timestamps.isEmpty)
        for timestamp in timestamps {
            try timestamp.verify(
                certificate: certificate, issuer: issuer ?? root.certificate, logKey: key ?? log.key.publicKey)
        }
    }

    @Test func embedded() throws {
        let certificate = try certificate([log.parts(entry: try precertificateEntry()).encoded])
        try verify(certificate)
        let timestamp = try SignedCertificateTimestamp.embedded(in: certificate)[0]
        #expect(timestamp.timestamp == 0x019b_7500_0000)
        #expect(timestamp.time == 0x019b_7500_0000 / 1000)
        #expect(try timestamp.logID == Digest.sha256(log.key.publicKey.spki).bytes)
        #expect(timestamp.entryType == .precertificate)
        #expect(try SignedCertificateTimestamp.embedded(in: try self.certificate([])).isEmpty)
    }

    @Test func logsWithOtherKeys() throws {
        for (algorithm, scheme) in [
            (.ecdsaP384, .ecdsa(.sha256)), (.rsa2048, .rsaPKCS1(.sha256)),
        ] as [(SigningAlgorithm, SignatureScheme)] {
            let log = Log(key: try PrivateKey.generate(algorithm), scheme: scheme)
            let certificate = try certificate([log.parts(entry: try precertificateEntry()).encoded])
            try verify(certificate, key: log.key.publicKey)
        }
    }

    @Test func extensionsAreSigned() throws {
        let entry = try precertificateEntry()
        try verify(try certificate([log.parts(entry: entry, extensions: [0, 0, 5, 1, 2, 3, 4, 5]).encoded]))
        var parts = try log.parts(entry: entry)
        parts.extensions = [0, 0, 5, 1, 2, 3, 4, 5]
        let added = try certificate([parts.encoded])
        #expect(CertificateTests.code { try verify(added) } == .sctSignature)
    }

    @Test func everyBitCounts() throws {
        let good = try log.parts(entry: try precertificateEntry(), extensions: [9]).encoded
        try verify(try certificate([good]))
        for index in good.indices {
            for bit in 0..<8 {
                var changed = good
                changed[index] ^= 1 << UInt8(bit)
                let certificate = try certificate([changed])
                #expect(throws: SigstoreError.self, "byte \(index), bit \(bit)") { try verify(certificate) }
            }
        }
    }

    @Test func whatWasPromisedForAnotherCertificateIsRefused() throws {
        let timestamp = try log.parts(entry: try precertificateEntry()).encoded
        let other = try certificate([timestamp], other: [.init("1.2.3", [])])
        #expect(CertificateTests.code { try verify(other) } == .sctSignature)
        // Issued by another key of the same name.
        let same = try certificate([timestamp])
        let impostor = try IssuedCertificate.root().certificate
        #expect(CertificateTests.code { try verify(same, issuer: impostor) } == .sctSignature)
    }

    @Test func anotherLogIsRefused() throws {
        let certificate = try certificate([log.parts(entry: try precertificateEntry()).encoded])
        let other = try PrivateKey.generate(.ecdsaP256).publicKey
        #expect(CertificateTests.code { try verify(certificate, key: other) } == .sctLogMismatch)
        // The right key under another log's name, and the reverse.
        var parts = try log.parts(entry: try precertificateEntry())
        parts.logID = try Digest.sha256(other.spki).bytes
        let renamed = try self.certificate([parts.encoded])
        #expect(CertificateTests.code { try verify(renamed) } == .sctLogMismatch)
        #expect(CertificateTests.code { try verify(renamed, key: other) } == .sctSignature)
    }

    @Test func malformedLists() throws {
        let good = try log.parts(entry: try precertificateEntry()).encoded
        var second = good
        second[0] = 1
        let list = Log.Parts.vector(Log.Parts.vector(good))
        for timestamps in [
            [second], [good + [0]], [Array(good.dropLast())], [[]], [[0]], Array(repeating: good, count: 33),
        ] {
            let certificate = try certificate(timestamps)
            #expect(
                CertificateTests.code { _ = try SignedCertificateTimestamp.embedded(in: certificate) } == .malformedSCT)
        }
        for value in [
            [], [0, 0], DERWriter.element(0x04, [0, 0]), DERWriter.element(0x04, [0, 1]),
            DERWriter.element(0x04, [0, 2, 0, 1]), DERWriter.element(0x04, list + [0]),
            DERWriter.element(0x04, list) + [0],
        ] as [[UInt8]] {
            let certificate = try IssuedCertificate([0x30, 0], by: root, key: key, [.init(Self.list, value)])
                .certificate
            #expect(
                CertificateTests.code { _ = try SignedCertificateTimestamp.embedded(in: certificate) } == .malformedSCT)
        }
    }

    /// An answer to `add-chain`.
    func answer(_ parts: Log.Parts, version: Int = 0, signature: [UInt8]? = nil) -> [UInt8] {
        let timestamp = parts.timestamp.reduce(UInt64(0)) { $0 << 8 | UInt64($1) }
        let signed = signature ?? parts.algorithm + Log.Parts.vector(parts.signature)
        return Array(
            """
            {"sct_version":\(version),"id":"\(Base64.encode(parts.logID))","timestamp":\(timestamp),\
            "extensions":"\(Base64.encode(parts.extensions))","signature":"\(Base64.encode(signed))"}
            """.utf8)
    }

    @Test func detached() throws {
        let certificate = try certificate([])
        let parts = try log.parts(entry: [0, 0] + Self.length3(certificate.der), extensions: [7])
        func verify(_ parts: Log.Parts, _ certificate: Certificate) throws {
            try SignedCertificateTimestamp(detached: answer(parts)).verify(
                certificate: certificate, issuer: root.certificate, logKey: log.key.publicKey)
        }
        try verify(parts, certificate)
        #expect(try SignedCertificateTimestamp(detached: answer(parts)).entryType == .certificate)
        let changes: [(inout Log.Parts) -> Void] = [
            { $0.logID[0] ^= 1 }, { $0.timestamp[7] ^= 1 }, { $0.extensions = [] }, { $0.algorithm[0] = 2 },
            { $0.algorithm[1] = 1 }, { $0.signature[9] ^= 1 }, { $0.signature = [] }, { $0.timestamp[0] = 0x80 },
        ]
        for (number, change) in changes.enumerated() {
            var changed = parts
            change(&changed)
            #expect(throws: SigstoreError.self, "change \(number)") { try verify(changed, certificate) }
        }
        let other = try IssuedCertificate.leaf(by: root).certificate
        #expect(CertificateTests.code { try verify(parts, other) } == .sctSignature)
        // A promise for the precertificate does not stand for the certificate.
        let embedded = try log.parts(entry: try precertificateEntry())
        #expect(CertificateTests.code { try verify(embedded, certificate) } == .sctSignature)
    }

    @Test func malformedAnswers() throws {
        let parts = try log.parts(entry: [])
        for signature in [[], [4], [4, 3], [4, 3, 0, 2, 1], [4, 3, 0, 1, 1, 1]] as [[UInt8]] {
            let text = answer(parts, signature: signature)
            #expect(CertificateTests.code { _ = try SignedCertificateTimestamp(detached: text) } == .malformedSCT)
        }
        let second = answer(parts, version: 1)
        #expect(CertificateTests.code { _ = try SignedCertificateTimestamp(detached: second) } == .malformedSCT)
        for text in ["", "[]", "{}", #"{"sct_version":0,"id":"AAAA","timestamp":1,"signature":"BAMAAA=="}"#] {
            #expect(throws: SigstoreError.self) { try SignedCertificateTimestamp(detached: Array(text.utf8)) }
        }
    }
}
