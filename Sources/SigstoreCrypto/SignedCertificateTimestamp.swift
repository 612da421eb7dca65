public import StrictJSON

extension SigstoreError.Code {
    /// Bytes that should be a signed certificate timestamp are not one.
    public static let malformedSCT = Self("malformed-sct")
    /// A signed certificate timestamp was made by another log's key.
    public static let sctLogMismatch = Self("sct-log-mismatch")
    /// The signature of a signed certificate timestamp does not hold for the certificate.
    public static let sctSignature = Self("sct-signature")
}

/// A certificate transparency log's promise to include a certificate (RFC 6962, section 3.2).
public struct SignedCertificateTimestamp: Sendable {
    /// What the log's signature is over.
    public enum EntryType: UInt16, Sendable {
        /// The certificate as it is: for a timestamp that came beside it.
        case certificate = 0
        /// The certificate without its list of timestamps: for one that is embedded in it.
        case precertificate = 1
    }

    /// The SHA-256 of the log's SubjectPublicKeyInfo.
    public let logID: [UInt8]
    /// When the log made the promise, in milliseconds since 1970 in UTC.
    public let timestamp: UInt64
    /// The log's extensions; part of what is signed.
    public let extensions: [UInt8]
    /// What the signature is over.
    public let entryType: EntryType
    /// The signature's hash and algorithm as TLS 1.2 numbers them (RFC 5246, section 7.4.1.4.1).
    let algorithm: [UInt8]
    /// The signature, in DER for ECDSA.
    public let signature: [UInt8]

    /// When the log made the promise, in seconds since 1970 in UTC, rounded down.
    public var time: Int64 { Int64(timestamp / 1000) }

    /// The extension that holds a certificate's timestamps (RFC 6962, section 3.3).
    static let listExtension = ObjectIdentifier(arcs: [43, 6, 1, 4, 1, 11129, 2, 4, 2])
    /// How many timestamps one certificate may have.
    static let limit = 32
    private static let subject = DERSubject(code: .malformedSCT, name: "the signed certificate timestamp")

    // MARK: - Reading

    /// The timestamps that are embedded in a certificate.
    /// - Parameter certificate: The certificate.
    /// - Returns: The timestamps in order; none if the certificate has no such extension.
    /// - Throws: `SigstoreError` with `malformed-sct`.
    public static func embedded(in certificate: Certificate) throws(SigstoreError) -> [SignedCertificateTimestamp] {
        guard let found = certificate.extensions.first(where: { $0.identifier == listExtension }) else { return [] }
        var reader = DERReader(found.value, of: subject)
        let list = try reader.octetString("the list of timestamps")
        try reader.end()
        return try self.list(list)
    }

    /// Reads a SignedCertificateTimestampList (RFC 6962, section 3.3).
    private static func list(_ bytes: ArraySlice<UInt8>) throws(SigstoreError) -> [SignedCertificateTimestamp] {
        var outer = TLSReader(bytes)
        guard var list = outer.vector(), outer.isAtEnd, !list.isAtEnd else {
            throw subject.fault("the list's length is wrong")
        }
        var timestamps: [SignedCertificateTimestamp] = []
        while !list.isAtEnd {
            guard timestamps.count < limit else { throw subject.fault("more than \(limit) timestamps") }
            guard let entry = list.vector() else { throw subject.fault("a timestamp is cut short") }
            timestamps.append(try SignedCertificateTimestamp(entry, .precertificate))
        }
        return timestamps
    }

    /// Reads one SignedCertificateTimestamp (RFC 6962, section 3.2).
    private init(_ reader: TLSReader, _ entryType: EntryType) throws(SigstoreError) {
        var reader = reader
        guard let version = reader.bytes(1)?.first else { throw Self.subject.fault("it is empty") }
        guard version == 0 else { throw Self.subject.fault("its version is \(Int(version) + 1), not 1") }
        guard let logID = reader.bytes(32), let timestamp = reader.bytes(8), let extensions = reader.vector(),
            let algorithm = reader.bytes(2), let signature = reader.vector(), reader.isAtEnd
        else { throw Self.subject.fault("its length is wrong") }
        self.logID = Array(logID)
        self.timestamp = timestamp.reduce(0) { $0 << 8 | UInt64($1) }
        self.extensions = Array(extensions.rest)
        self.algorithm = Array(algorithm)
        self.signature = Array(signature.rest)
        self.entryType = entryType
    }

    /// Reads a timestamp that came beside a certificate: the JSON that a log answers to `add-chain` with (RFC 6962,
    /// section 4.1), as Fulcio returns it and cosign keeps it in a file.
    /// - Parameter json: The whole JSON text.
    /// - Throws: `SigstoreError` with `malformed-sct`, or the codes of `JSONCursor`.
    public init(detached json: [UInt8]) throws(SigstoreError) {
        guard json.count <= 65_536 else { throw Self.subject.fault("it has more than 65536 bytes") }
        let answer = JSONCursor(try JSONValue(parsing: json))
        guard try answer.member("sct_version").integer() == 0 else { throw Self.subject.fault("its version is not 1") }
        let logID = try answer.member("id").bytes()
        guard logID.count == 32 else { throw Self.subject.fault("its log id does not have 32 bytes") }
        guard let timestamp = UInt64(exactly: try answer.member("timestamp").integer()) else {
            throw Self.subject.fault("its time is before 1970")
        }
        let extensions = try answer.optional("extensions")?.bytes() ?? []
        guard extensions.count <= Int(UInt16.max) else { throw Self.subject.fault("its extensions are too long") }
        var signed = TLSReader(try answer.member("signature").bytes()[...])
        guard let algorithm = signed.bytes(2), let signature = signed.vector(), signed.isAtEnd else {
            throw Self.subject.fault("its signature's length is wrong")
        }
        self.logID = logID
        self.timestamp = timestamp
        self.extensions = extensions
        self.algorithm = Array(algorithm)
        self.signature = Array(signature.rest)
        entryType = .certificate
    }

    // MARK: - Verifying

    /// Verifies the log's signature.
    ///
    /// Whether the log is trusted, and was at ``time``, is for the caller to decide.
    /// - Parameters:
    ///   - certificate: The certificate that the promise is about.
    ///   - issuer: The certificate that issued it: the next one of its validated path.
    ///   - logKey: The key of the log whose id is ``logID``.
    /// - Throws: `SigstoreError` with `sct-log-mismatch` if ``logID`` is not that key's id, or `sct-signature` if the
    ///   signature does not hold.
    public func verify(certificate: Certificate, issuer: Certificate, logKey: PublicKey) throws(SigstoreError) {
        // The signature is not over the id, so it is compared with the key itself.
        let keyID = try Digest.sha256(logKey.spki).bytes
        guard keyID == logID else {
            throw SigstoreError(
                .sctLogMismatch,
                "the certificate's timestamp names the log \(Hexadecimal.encode(logID)), and the key is that of "
                    + "\(Hexadecimal.encode(keyID))")
        }
        // 4 is SHA-256; 1 and 3 are RSA and ECDSA. RFC 6962 (section 2.1.4) knows no others.
        let scheme: SignatureScheme
        switch (algorithm, logKey.kind) {
        case ([4, 3], .ecP256), ([4, 3], .ecP384), ([4, 3], .ecP521): scheme = .ecdsa(.sha256)
        case ([4, 1], .rsa): scheme = .rsaPKCS1(.sha256)
        default:
            throw SigstoreError(
                .sctSignature,
                "the certificate's timestamp is signed with algorithm \(Hexadecimal.encode(algorithm)), which does not "
                    + "fit the log's \(logKey.kind) key")
        }
        let message = try signedData(certificate: certificate, issuer: issuer)
        guard try logKey.verifies(signature, ofBytes: message, scheme: scheme) else {
            throw SigstoreError(
                .sctSignature,
                "the transparency log's signature does not hold for the certificate of \(certificate.displayName)",
                advice: "check that the trusted root is the one that the signer used")
        }
    }

    /// The structure that is signed (RFC 6962, section 3.2).
    private func signedData(certificate: Certificate, issuer: Certificate) throws(SigstoreError) -> [UInt8] {
        var message: [UInt8] = [0, 0]  // version 1, certificate_timestamp
        message += Self.bigEndian(timestamp, 8)
        message += Self.bigEndian(UInt64(entryType.rawValue), 2)
        let entry: [UInt8]
        switch entryType {
        case .certificate: entry = certificate.der
        case .precertificate:
            message += try Digest.sha256(issuer.publicKey.spki).bytes
            entry = try Self.precertificate(of: certificate)
        }
        message += Self.bigEndian(UInt64(entry.count), 3)
        message += entry
        message += Self.bigEndian(UInt64(extensions.count), 2)
        return message + extensions
    }

    /// The part of a certificate that is signed, without the list of timestamps.
    private static func precertificate(of certificate: Certificate) throws(SigstoreError) -> [UInt8] {
        typealias Tag = DERReader.Tag
        var outer = DERReader(certificate.der[...], of: subject)
        var whole = try outer.enter(Tag.sequence, "a certificate")
        var tbs = try whole.enter(Tag.sequence, "the part that is signed")
        var content: [UInt8] = []
        while !tbs.isAtEnd {
            let field = try tbs.next()
            guard field.tag == Tag.constructed(3) else {
                content += field.encoded
                continue
            }
            let others = certificate.extensions.filter { $0.identifier != listExtension }
            if !others.isEmpty {
                content += DERWriter.element(
                    field.tag, DERWriter.element(Tag.sequence, others.flatMap { $0.encoded }))
            }
        }
        return DERWriter.element(Tag.sequence, content)
    }

    private static func bigEndian(_ value: UInt64, _ count: Int) -> [UInt8] {
        (0..<count).reversed().map { UInt8(truncatingIfNeeded: value >> UInt64($0 * 8)) }
    }
}

/// Reads the presentation language of TLS (RFC 5246, section 4): fields of fixed size, and vectors.
private struct TLSReader {
    private(set) var rest: ArraySlice<UInt8>

    init(_ bytes: ArraySlice<UInt8>) { rest = bytes }

    var isAtEnd: Bool { rest.isEmpty }

    /// The next `count` bytes, or `nil` if there are fewer.
    mutating func bytes(_ count: Int) -> ArraySlice<UInt8>? {
        guard count <= rest.count else { return nil }
        defer { rest = rest.dropFirst(count) }
        return rest.prefix(count)
    }

    /// What a vector with a length of two bytes holds, or `nil` if it is cut short.
    mutating func vector() -> TLSReader? {
        guard let length = bytes(2), let content = bytes(length.reduce(0) { $0 << 8 | Int($1) }) else { return nil }
        return TLSReader(content)
    }
}
