public import StrictJSON

extension PublicKey {
    /// Builds a key on one of the curves from its point, as tokens and JSON Web Keys have it.
    /// - Parameters:
    ///   - point: The point: `04 ‖ X ‖ Y`, each coordinate as long as the curve, or compressed, `02 ‖ X` or `03 ‖ X` (SEC 1,
    ///     section 2.3.3). The key is the same, and is written uncompressed.
    ///   - kind: Which curve.
    /// - Throws: `SigstoreError` with `malformed-key` if the point has another form or is not on the curve, and
    ///   `unsupported-key` if `kind` is no curve.
    public convenience init(point: [UInt8], on kind: Kind) throws(SigstoreError) {
        guard let size = kind.coordinateSize else {
            throw SigstoreError(.unsupportedKey, "\(kind) is no curve that a point could be on")
        }
        let isCompressed = point.count == size + 1 && (point[0] == 2 || point[0] == 3)
        let whole = isCompressed ? Self.uncompressed(point, on: kind) : point
        guard let whole, whole.first == 4, let der = Self.encoding(ofPoint: whole, on: kind) else {
            let form = point.first.map { "begins with \($0 < 16 ? "0" : "")\(String($0, radix: 16))" } ?? "is empty"
            throw SigstoreError(
                .malformedKey,
                isCompressed
                    ? "there is no such point on \(kind)"
                    : "a point on \(kind) of \(point.count) bytes \(form), expected 04 and two coordinates of \(size) bytes"
            )
        }
        try self.init(der: der)
    }

    /// Builds an RSA key from its two numbers, as tokens and JSON Web Keys have them.
    /// - Parameters:
    ///   - modulus: The modulus, most significant byte first.
    ///   - exponent: The public exponent, in the same way.
    /// - Throws: `SigstoreError` with `malformed-key` or `unsupported-key`, as for a key that is read from DER.
    public convenience init(rsaModulus modulus: [UInt8], exponent: [UInt8]) throws(SigstoreError) {
        guard modulus.count <= 8192, exponent.count <= 8192 else {
            throw SigstoreError(.malformedKey, "an RSA key's numbers are larger than 8 KiB")
        }
        // RSAPublicKey (RFC 8017, appendix A.1.1).
        try self.init(
            der: DERWriter.element(0x30, DERWriter.unsigned(modulus[...]) + DERWriter.unsigned(exponent[...])))
    }

    /// Builds an Ed25519 key from its 32 bytes (RFC 8032, section 5.1.5).
    /// - Parameter bytes: The encoded point.
    /// - Throws: `SigstoreError` with `malformed-key`.
    public convenience init(ed25519 bytes: [UInt8]) throws(SigstoreError) {
        guard bytes.count == 32 else {
            throw SigstoreError(.malformedKey, "an Ed25519 key is \(bytes.count) bytes, expected 32")
        }
        // The fixed beginning of such a SubjectPublicKeyInfo (RFC 8410, section 4).
        try self.init(der: [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00] + bytes)
    }
}

extension PublicKey.Kind {
    /// The bytes of one coordinate of a point, and of one half of a signature; `nil` if this is no curve.
    public var coordinateSize: Int? {
        switch self {
        case .ecP256: 32
        case .ecP384: 48
        case .ecP521: 66
        case .rsa, .ed25519: nil
        }
    }

    /// An ECDSA signature in the form that bundles have, from that of tokens and of JSON Web Signatures.
    /// - Parameter signature: `r ‖ s`, each as long as the curve (IEEE P1363; RFC 7518, section 3.4).
    /// - Returns: The ASN.1 DER of both (RFC 3279, section 2.2.3).
    /// - Throws: `SigstoreError` with `malformed-signature` if the length is not that of the curve.
    public func signature(fromFixedWidth signature: [UInt8]) throws(SigstoreError) -> [UInt8] {
        guard let size = coordinateSize, signature.count == 2 * size else {
            throw SigstoreError(
                .malformedSignature,
                "a signature by a key of \(self) is \(signature.count) bytes, expected \(2 * (coordinateSize ?? 0))",
                advice: "report it: the place of the key answers in another form than its interface says")
        }
        return DERWriter.element(
            0x30, DERWriter.unsigned(signature[..<size]) + DERWriter.unsigned(signature[size...]))
    }
}

extension DERWriter {
    /// An INTEGER that is not negative, from its bytes, the most significant first; leading zeros are left out.
    static func unsigned(_ bytes: ArraySlice<UInt8>) -> [UInt8] {
        let digits = bytes.drop { $0 == 0 }
        return element(0x02, (digits.first ?? 0x80) & 0x80 != 0 ? [0] + digits : Array(digits))
    }
}

extension SigstoreError.Code {
    /// Bytes that should be a signature are not one.
    public static let malformedSignature = Self("malformed-signature")
}
