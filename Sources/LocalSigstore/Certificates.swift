import Foundation
import SigstoreCrypto
import StrictJSON

/// A certificate's name: an organization and a common name, or nothing.
struct DistinguishedName: Sendable {
    var organization: String
    var commonName: String

    var der: [UInt8] {
        func attribute(_ oid: String, _ value: String) -> [UInt8] {
            DER.set([DER.sequence([DER.oid(oid), DER.utf8String(value)])])
        }
        return DER.sequence([attribute("2.5.4.10", organization), attribute("2.5.4.3", commonName)])
    }
    static let empty = DER.sequence([])
}

/// One extension of a certificate (RFC 5280, section 4.1).
struct CertificateExtension: Sendable {
    let oid: String
    var critical = false
    /// What stands inside `extnValue`.
    let value: [UInt8]

    var der: [UInt8] {
        DER.sequence([DER.oid(oid)] + (critical ? [DER.boolean(true)] : []) + [DER.octetString(value)])
    }

    static func keyUsage(digitalSignature: Bool) -> Self {
        // digitalSignature is bit 0; keyCertSign and cRLSign are bits 5 and 6.
        Self(oid: "2.5.29.15", critical: true, value: DER.element(0x03, digitalSignature ? [7, 0x80] : [1, 0x06]))
    }
    static func extendedKeyUsage(_ purpose: String, critical: Bool = false) -> Self {
        Self(oid: "2.5.29.37", critical: critical, value: DER.sequence([DER.oid(purpose)]))
    }
    static func subjectKeyIdentifier(_ identifier: [UInt8]) -> Self {
        Self(oid: "2.5.29.14", value: DER.octetString(identifier))
    }
    static func authorityKeyIdentifier(_ identifier: [UInt8]) -> Self {
        Self(oid: "2.5.29.35", value: DER.sequence([DER.implicit(0, identifier)]))
    }
    static func authority(pathLength: UInt8) -> Self {
        Self(oid: "2.5.29.19", critical: true, value: DER.sequence([DER.boolean(true), DER.integer(pathLength)]))
    }
    /// The names that a certificate is for: rfc822Name is number 1, uniformResourceIdentifier number 6.
    static func subjectAlternativeName(_ number: UInt8, _ name: String) -> Self {
        Self(oid: "2.5.29.17", critical: true, value: DER.sequence([DER.implicit(number, Array(name.utf8))]))
    }
    /// Marks a precertificate (RFC 6962, section 3.1).
    static let poison = Self(oid: "1.3.6.1.4.1.11129.2.4.3", critical: true, value: [0x05, 0])
    /// The list of signed certificate timestamps (RFC 6962, section 3.3).
    static func timestamps(_ timestamps: [[UInt8]]) -> Self {
        let list = timestamps.flatMap { TLS.vector16($0) }
        return Self(oid: "1.3.6.1.4.1.11129.2.4.2", value: DER.octetString(TLS.vector16(list)))
    }

    static let codeSigning = "1.3.6.1.5.5.7.3.3"
    static let timeStamping = "1.3.6.1.5.5.7.3.8"
}

/// The parts of TLS's presentation language that certificate transparency uses (RFC 6962).
enum TLS {
    static func integer(_ value: UInt64, bytes: Int) -> [UInt8] {
        (0..<bytes).reversed().map { UInt8(truncatingIfNeeded: value >> (8 * UInt64($0))) }
    }
    static func vector16(_ bytes: [UInt8]) -> [UInt8] { integer(UInt64(bytes.count), bytes: 2) + bytes }
    static func vector24(_ bytes: [UInt8]) -> [UInt8] { integer(UInt64(bytes.count), bytes: 3) + bytes }
}

/// A certificate that a local service made or was sent: as much of it as the services look at.
struct X509: Sendable {
    let der: [UInt8]
    /// The signed part.
    let toBeSigned: [UInt8]
    /// The serial number's bytes, highest first.
    let serial: [UInt8]
    let issuer: [UInt8]
    let subject: [UInt8]
    /// The key as SubjectPublicKeyInfo.
    let spki: [UInt8]
    private let fields: [DERElement]
    private let extensions: [DERElement]

    /// Reads a certificate (RFC 5280, section 4.1).
    init(der: [UInt8]) throws(SigstoreError) {
        self.der = der
        let parts = try DERElement(parsing: der).children()
        let signed = try parts.at(0, 0x30)
        toBeSigned = signed.whole
        fields = try signed.children()
        serial = try fields.at(1, 0x02).content
        issuer = try fields.at(3, 0x30).whole
        subject = try fields.at(5, 0x30).whole
        spki = try fields.at(6, 0x30).whole
        if let last = fields.last, last.tag == 0xa3, let list = try last.children().first {
            extensions = try list.children()
        } else {
            extensions = []
        }
    }

    /// What stands inside an extension's `extnValue`.
    func value(of oid: String) throws(SigstoreError) -> [UInt8]? {
        let wanted = DER.oid(oid)
        for one in extensions {
            let parts = try one.children()
            if parts.first?.whole == wanted, let value = parts.last, value.tag == 0x04 { return value.content }
        }
        return nil
    }

    /// The email addresses among the subject's alternative names.
    func emails() throws(SigstoreError) -> [String] {
        guard let names = try value(of: "2.5.29.17") else { return [] }
        return try DERElement(parsing: names).children().filter { $0.tag == 0x81 }
            .map { String(decoding: $0.content, as: UTF8.self) }
    }

    /// The signed part without one of its extensions: what a log's timestamp is over (RFC 6962, section 3.2).
    func toBeSigned(without oid: String) throws(SigstoreError) -> [UInt8] {
        let unwanted = DER.oid(oid)
        var kept: [[UInt8]] = []
        for one in extensions where try one.children().first?.whole != unwanted { kept.append(one.whole) }
        return DER.sequence(fields.dropLast().map(\.whole) + [DER.explicit(3, DER.sequence(kept))])
    }

    var pem: String { PEM.encode(label: "CERTIFICATE", der) }
    /// Names the key in certificates: SHA-256 of its bits, cut to 160 bits (RFC 7093, method 1).
    static func keyIdentifier(_ key: PublicKey) throws(SigstoreError) -> [UInt8] {
        let bits = try DERElement(parsing: key.spki).children().at(1, 0x03).bits
        return Array(try Digest.sha256(bits).bytes.prefix(20))
    }
}

/// A key and the certificate that lets it issue others.
struct CertificateIssuer: Sendable {
    let key: PrivateKey
    let certificate: X509

    /// What a certificate says, and for how long.
    struct Request {
        var subject: [UInt8]
        var publicKey: PublicKey
        var notBefore: Int64
        var notAfter: Int64
        var extensions: [CertificateExtension]
        var serial: [UInt8] = CertificateIssuer.newSerial()
    }

    /// 20 bytes that make a positive number that is never used twice (RFC 5280, section 4.1.2.2).
    static func newSerial() -> [UInt8] {
        var generator = SystemRandomNumberGenerator()
        return [UInt8.random(in: 1...0x7f, using: &generator)]
            + (0..<19).map { _ in UInt8.random(in: 0...255, using: &generator) }
    }

    private static func algorithm(of key: PrivateKey) -> [UInt8] {
        DER.sequence([DER.oid(key.publicKey.kind == .ecP384 ? "1.2.840.10045.4.3.3" : "1.2.840.10045.4.3.2")])
    }

    private static func sign(
        _ request: Request, issuer: [UInt8], with key: PrivateKey
    ) throws(SigstoreError) -> X509 {
        let algorithm = algorithm(of: key)
        let signed = DER.sequence([
            DER.explicit(0, DER.integer(2)), DER.integer(request.serial), algorithm, issuer,
            DER.sequence([DER.time(request.notBefore), DER.time(request.notAfter)]), request.subject,
            request.publicKey.spki, DER.explicit(3, DER.sequence(request.extensions.map(\.der))),
        ])
        let signature = try key.sign(signed, scheme: key.publicKey.defaultScheme)
        return try X509(der: DER.sequence([signed, algorithm, DER.bitString(signature)]))
    }

    /// Signs a certificate as this authority.
    func issue(_ request: Request) throws(SigstoreError) -> X509 {
        try Self.sign(request, issuer: certificate.subject, with: key)
    }

    /// A root: an authority that signed its own certificate.
    static func root(_ name: DistinguishedName, key: PrivateKey, notBefore: Int64, notAfter: Int64)
        throws(SigstoreError) -> CertificateIssuer
    {
        let identifier = try X509.keyIdentifier(key.publicKey)
        let request = Request(
            subject: name.der, publicKey: key.publicKey, notBefore: notBefore, notAfter: notAfter,
            extensions: [
                .subjectKeyIdentifier(identifier), .authorityKeyIdentifier(identifier), .authority(pathLength: 1),
                .keyUsage(digitalSignature: false),
            ])
        return CertificateIssuer(key: key, certificate: try sign(request, issuer: name.der, with: key))
    }

    /// An authority under this one, for one purpose.
    func intermediate(_ name: DistinguishedName, key: PrivateKey, purpose: String, notBefore: Int64, notAfter: Int64)
        throws(SigstoreError) -> CertificateIssuer
    {
        let request = Request(
            subject: name.der, publicKey: key.publicKey, notBefore: notBefore, notAfter: notAfter,
            extensions: [
                .authority(pathLength: 0), .keyUsage(digitalSignature: false), .extendedKeyUsage(purpose),
                .subjectKeyIdentifier(try X509.keyIdentifier(key.publicKey)),
                .authorityKeyIdentifier(try X509.keyIdentifier(self.key.publicKey)),
            ])
        return CertificateIssuer(key: key, certificate: try issue(request))
    }
}
