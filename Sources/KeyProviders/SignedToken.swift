import SigstoreCrypto
import StrictJSON

/// A JSON Web Token that a program signs to show who it is (RFC 7519, RFC 7523).
enum SignedToken {
    /// Makes a token that is signed as RS256 or PS256 (RFC 7515; RFC 7518, sections 3.3 and 3.5).
    /// - Parameters:
    ///   - header: The header, with `alg`.
    ///   - claims: The claims.
    ///   - key: An RSA key.
    ///   - scheme: How it signs, as `alg` says.
    /// - Returns: The compact form, which is a secret and the caller's to cleanse.
    /// - Throws: `SigstoreError` with `unsupported-key` if the key is not RSA.
    static func make(
        header: JSONObject, claims: JSONObject, key: PrivateKey, scheme: SignatureScheme = .rsaPKCS1(.sha256)
    ) throws(SigstoreError) -> [UInt8] {
        let (header, claims) = (JSONValue.object(header).serialized(), JSONValue.object(claims).serialized())
        var token: [UInt8] = []
        // An RSA signature has 2 KiB at the most, and all of it becomes a third longer. The array does not move then.
        token.reserveCapacity((header.count + claims.count + 2048) * 4 / 3 + 16)
        append(header, to: &token)
        token.append(0x2e)
        append(claims, to: &token)
        let signature = try key.sign(token, scheme: scheme)
        token.append(0x2e)
        append(signature, to: &token)
        return token
    }

    /// Appends bytes in base64url without padding (RFC 4648, section 5).
    private static func append(_ bytes: [UInt8], to token: inout [UInt8]) {
        Base64.encode(bytes) { letter in
            switch letter {
            case 0x2b: token.append(0x2d)
            case 0x2f: token.append(0x5f)
            case 0x3d: break
            default: token.append(letter)
            }
        }
    }
}
