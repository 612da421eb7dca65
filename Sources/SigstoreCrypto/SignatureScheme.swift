public import StrictJSON

/// How a signature is made over a message.
public enum SignatureScheme: Hashable, Sendable, CustomStringConvertible {
    /// ECDSA over a digest, the signature in ASN.1 DER (FIPS 186-4, RFC 3279).
    case ecdsa(HashAlgorithm)
    /// RSASSA-PKCS1-v1_5 over a digest (RFC 8017).
    case rsaPKCS1(HashAlgorithm)
    /// RSASSA-PSS over a digest, MGF1 with the same function (RFC 8017).
    case rsaPSS(HashAlgorithm)
    /// Ed25519 over the whole message (RFC 8032, "PureEdDSA").
    case ed25519
    /// Ed25519ph: Ed25519 over the message's SHA-512 (RFC 8032, "HashEdDSA").
    case ed25519ph

    /// The hash function that the message goes through; none for pure Ed25519.
    public var hash: HashAlgorithm? {
        switch self {
        case .ecdsa(let hash), .rsaPKCS1(let hash), .rsaPSS(let hash): hash
        case .ed25519: nil
        case .ed25519ph: .sha512
        }
    }

    public var description: String {
        switch self {
        case .ecdsa(let hash): "ECDSA with \(hash.rawValue)"
        case .rsaPKCS1(let hash): "RSA PKCS#1 v1.5 with \(hash.rawValue)"
        case .rsaPSS(let hash): "RSA-PSS with \(hash.rawValue)"
        case .ed25519: "Ed25519"
        case .ed25519ph: "Ed25519ph"
        }
    }
}

/// The algorithms to sign with, by cosign's names.
public enum SigningAlgorithm: String, CaseIterable, Sendable {
    case ecdsaP256 = "ecdsa-sha2-256-nistp256"
    case ecdsaP384 = "ecdsa-sha2-384-nistp384"
    case ecdsaP521 = "ecdsa-sha2-512-nistp521"
    case ed25519 = "ed25519"
    case ed25519ph = "ed25519-ph"
    case rsa2048 = "rsa-sign-pkcs1-2048-sha256"
    case rsa3072 = "rsa-sign-pkcs1-3072-sha256"
    case rsa4096 = "rsa-sign-pkcs1-4096-sha256"

    /// Reads the name.
    /// - Throws: `SigstoreError` with `unknown-algorithm`, which lists the names there are.
    public init(named name: String) throws(SigstoreError) {
        guard let algorithm = Self(rawValue: name) else {
            throw SigstoreError(
                .unknownAlgorithm, "the signing algorithm \"\(name)\" is not known",
                advice: "use one of \(Self.allCases.map(\.rawValue).joined(separator: ", "))")
        }
        self = algorithm
    }

    /// The scheme that a key of this kind signs with.
    public var scheme: SignatureScheme {
        switch self {
        case .ecdsaP256: .ecdsa(.sha256)
        case .ecdsaP384: .ecdsa(.sha384)
        case .ecdsaP521: .ecdsa(.sha512)
        case .ed25519: .ed25519
        case .ed25519ph: .ed25519ph
        case .rsa2048, .rsa3072, .rsa4096: .rsaPKCS1(.sha256)
        }
    }
}

extension SigstoreError.Code {
    /// A signing algorithm whose name is not known.
    public static let unknownAlgorithm = Self("unknown-algorithm")
}
