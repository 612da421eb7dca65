import StrictJSON

@testable import SigstoreCrypto

/// A certificate made for a test, together with its private key. Everything about it can be made wrong.
struct IssuedCertificate {
    let certificate: Certificate
    let key: PrivateKey

    /// 2026-01-01T00:00:00Z.
    static let start: Int64 = 1_767_225_600

    /// An extension in DER.
    struct Extension {
        var encoded: [UInt8]

        init(_ oid: String, critical: Bool = false, _ value: [UInt8]) {
            let identifier = ObjectIdentifier(dotted: oid)?.content ?? []
            encoded = DERWriter.element(
                0x30,
                DERWriter.element(0x06, identifier) + (critical ? [1, 1, 0xff] : [])
                    + DERWriter.element(0x04, value))
        }

        static func authority(pathLength: UInt8? = nil) -> Extension {
            Extension(
                "2.5.29.19", critical: true,
                DERWriter.element(0x30, [1, 1, 0xff] + (pathLength.map { [2, 1, $0] } ?? [])))
        }
        /// 0x80 is digitalSignature, 0x04 keyCertSign.
        static func keyUsage(_ bits: UInt8) -> Extension {
            Extension("2.5.29.15", critical: true, [3, 2, UInt8(bits.trailingZeroBitCount), bits])
        }
        static func extendedKeyUsage(_ oids: String..., critical: Bool = false) -> Extension {
            Extension(
                "2.5.29.37", critical: critical,
                DERWriter.element(
                    0x30, oids.flatMap { DERWriter.element(0x06, ObjectIdentifier(dotted: $0)?.content ?? []) }))
        }
        static func names(_ names: [[UInt8]]) -> Extension {
            Extension("2.5.29.17", critical: true, DERWriter.element(0x30, names.flatMap { $0 }))
        }
    }

    static let codeSigning = "1.3.6.1.5.5.7.3.3"
    static let timestamping = "1.3.6.1.5.5.7.3.8"

    static func email(_ text: String) -> [UInt8] { DERWriter.element(0x81, Array(text.utf8)) }

    /// A distinguished name with one common name.
    static func name(_ commonName: String) -> [UInt8] {
        DERWriter.element(
            0x30,
            DERWriter.element(
                0x31,
                DERWriter.element(
                    0x30, DERWriter.element(0x06, [85, 4, 3]) + DERWriter.element(0x0c, Array(commonName.utf8)))))
    }

    static func time(_ seconds: Int64) -> [UInt8] {
        let text = Instant(seconds: seconds).description.utf8.filter { (0x30...0x39).contains($0) || $0 == 0x5a }
        return DERWriter.element(0x18, text)
    }

    static func signed(_ tbs: [UInt8], by key: PrivateKey) throws -> [UInt8] {
        // ecdsa-with-SHA256
        let algorithm = DERWriter.element(0x30, [6, 8, 42, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2])
        let signature = try key.sign(tbs, scheme: .ecdsa(.sha256))
        return DERWriter.element(0x30, tbs + algorithm + DERWriter.element(0x03, [0] + signature))
    }

    /// The DER of a certificate.
    static func der(
        _ subject: [UInt8], spki: [UInt8], issuer: [UInt8], issuerKey: PrivateKey, serialNumber: [UInt8],
        from: Int64, to: Int64, extensions: [Extension]
    ) throws -> [UInt8] {
        let algorithm = DERWriter.element(0x30, [6, 8, 42, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2])
        let list = extensions.flatMap { $0.encoded }
        let tbs = DERWriter.element(
            0x30,
            [0xa0, 3, 2, 1, 2] + DERWriter.element(0x02, serialNumber) + algorithm + issuer
                + DERWriter.element(0x30, time(from) + time(to)) + subject + spki
                + (list.isEmpty ? [] : DERWriter.element(0xa3, DERWriter.element(0x30, list))))
        return try signed(tbs, by: issuerKey)
    }

    init(certificate: Certificate, key: PrivateKey) {
        self.certificate = certificate
        self.key = key
    }

    /// Issues a certificate; without an issuer, one that is self-signed.
    init(
        _ subject: [UInt8], by issuer: IssuedCertificate? = nil, serialNumber: [UInt8] = [1], key: PrivateKey? = nil,
        from: Int64 = start, to: Int64 = start + 86_400, _ extensions: [Extension]
    ) throws {
        let own = try key ?? PrivateKey.generate(.ecdsaP256)
        let der = try Self.der(
            subject, spki: own.publicKey.spki, issuer: issuer?.certificate.subject ?? subject,
            issuerKey: issuer?.key ?? own,
            serialNumber: serialNumber, from: from, to: to, extensions: extensions)
        self.init(certificate: try Certificate(der: der), key: own)
    }

    static func root(_ commonName: String = "root", from: Int64 = start, to: Int64 = start + 86_400) throws
        -> IssuedCertificate
    {
        try IssuedCertificate(name(commonName), from: from, to: to, [.authority(), .keyUsage(0x04)])
    }

    static func intermediate(
        by root: IssuedCertificate, _ commonName: String = "intermediate", from: Int64 = start,
        to: Int64 = start + 86_400, pathLength: UInt8? = 0, usage: String = codeSigning
    ) throws -> IssuedCertificate {
        try IssuedCertificate(
            name(commonName), by: root, from: from, to: to,
            [.authority(pathLength: pathLength), .keyUsage(0x04), .extendedKeyUsage(usage)])
    }

    static func leaf(by issuer: IssuedCertificate, from: Int64 = start, to: Int64 = start + 600) throws
        -> IssuedCertificate
    {
        try IssuedCertificate(
            [0x30, 0], by: issuer, from: from, to: to,
            [.keyUsage(0x80), .extendedKeyUsage(codeSigning), .names([email("someone@example.com")])])
    }
}
