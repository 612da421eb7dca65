public import SigstoreCrypto
public import StrictJSON

/// A public key as a JSON Web Key (RFC 7517), as Azure has it: on a curve or RSA, in software or in hardware (`-HSM`).
public struct JSONWebKey: Sendable {
    /// The key.
    public let publicKey: PublicKey
    /// The word for its kind (`kty`), such as `EC` or `RSA-HSM`.
    public let type: String

    /// Reads a key.
    /// - Parameter json: The object, of which members that are not needed are passed over.
    /// - Throws: `SigstoreError` with `unsupported-key` for another kind or curve, `malformed-key` if the numbers make no sound
    ///   key, or an error of the JSON.
    public init(_ json: JSONCursor) throws(SigstoreError) {
        type = try json.member("kty").string()
        func bytes(_ name: String) throws(SigstoreError) -> [UInt8] {
            let member = try json.member(name)
            let text = try member.string()
            guard text.utf8.count <= 2048, let bytes = Base64.decodeURLSafe(text) else {
                throw member.fault("is not base64url of at most 1.5 KiB")
            }
            return bytes
        }
        switch type {
        case "EC", "EC-HSM":
            let name = try json.member("crv").string()
            guard let kind = Self.curves.first(where: { $0.name.utf8.elementsEqual(name.utf8) })?.kind,
                let size = kind.coordinateSize
            else {
                throw SigstoreError(
                    .unsupportedKey,
                    "the elliptic curve \"\(SigstoreError.shortened(name))\" is not supported, only P-256, P-384 and P-521"
                )
            }
            var point: [UInt8] = [4]
            for member in ["x", "y"] {
                // A coordinate has the curve's size (RFC 7518, section 6.2.1.2); zeros that are left out are put back.
                let digits = try bytes(member).drop { $0 == 0 }
                guard digits.count <= size else {
                    throw try json.member(member).fault("is larger than a coordinate of \(name)")
                }
                point += [UInt8](repeating: 0, count: size - digits.count) + digits
            }
            publicKey = try PublicKey(point: point, on: kind)
        case "RSA", "RSA-HSM":
            publicKey = try PublicKey(rsaModulus: bytes("n"), exponent: bytes("e"))
        default:
            throw SigstoreError(
                .unsupportedKey,
                "a key of the kind \"\(SigstoreError.shortened(type))\" does not sign in a way that is known here",
                advice: "use a key of the kind EC on P-256, P-384 or P-521, or RSA")
        }
    }

    private static let curves: [(name: String, kind: PublicKey.Kind)] = [
        ("P-256", .ecP256), ("P-384", .ecP384), ("P-521", .ecP521),
    ]
}
