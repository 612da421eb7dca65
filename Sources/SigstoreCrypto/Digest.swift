internal import COpenSSL
public import StrictJSON

/// The hash functions that signatures and digests are made with here (FIPS 180-4).
public enum HashAlgorithm: String, Sendable, CaseIterable, Hashable {
    case sha256, sha384, sha512

    /// The size of a digest in bytes.
    public var byteCount: Int {
        switch self {
        case .sha256: 32
        case .sha384: 48
        case .sha512: 64
        }
    }

    /// OpenSSL's implementation, owned by the library.
    var implementation: OpaquePointer? {
        switch self {
        case .sha256: unsafe EVP_sha256()
        case .sha384: unsafe EVP_sha384()
        case .sha512: unsafe EVP_sha512()
        }
    }
}

/// The digest of some bytes, together with the function that made it.
public struct Digest: Sendable, Hashable, CustomStringConvertible {
    /// The hash function.
    public let algorithm: HashAlgorithm
    /// The digest's bytes, as many as the function gives.
    public let bytes: [UInt8]

    /// Makes a digest from its bytes.
    /// - Throws: `SigstoreError` with `malformed-digest` if the length is not the function's.
    public init(_ algorithm: HashAlgorithm, bytes: [UInt8]) throws(SigstoreError) {
        guard bytes.count == algorithm.byteCount else {
            throw SigstoreError(
                .malformedDigest,
                "a \(algorithm.rawValue) digest has \(algorithm.byteCount) bytes, this one has \(bytes.count)")
        }
        self.algorithm = algorithm
        self.bytes = bytes
    }

    /// Makes a digest from hexadecimal, in either case.
    /// - Throws: `SigstoreError` with `malformed-digest`.
    public init(hex: String, _ algorithm: HashAlgorithm) throws(SigstoreError) {
        guard let bytes = Hexadecimal.decode(hex), bytes.count == algorithm.byteCount else {
            throw SigstoreError(
                .malformedDigest,
                "\"\(hex)\" is not a \(algorithm.rawValue) digest of \(algorithm.byteCount * 2) hexadecimal digits")
        }
        self.algorithm = algorithm
        self.bytes = bytes
    }

    /// Reads `sha256:<hex>`, the way registries write digests (OCI image specification, "Digests").
    /// - Throws: `SigstoreError` with `malformed-digest`.
    public init(parsing text: String) throws(SigstoreError) {
        let parts = text.utf8.split(separator: 0x3a, maxSplits: 1, omittingEmptySubsequences: false)
        guard parts.count == 2, let algorithm = HashAlgorithm(rawValue: String(decoding: parts[0], as: UTF8.self))
        else {
            throw SigstoreError(
                .malformedDigest, "\"\(text)\" is not a digest", advice: "write it as sha256:<64 hexadecimal digits>")
        }
        try self.init(hex: String(decoding: parts[1], as: UTF8.self), algorithm)
    }

    /// The digest in lower case hexadecimal.
    public var hex: String { Hexadecimal.encode(bytes) }
    /// `sha256:<hex>`.
    public var description: String { "\(algorithm.rawValue):\(hex)" }

    /// Hashes bytes in memory.
    public static func hash(_ bytes: some Collection<UInt8>, _ algorithm: HashAlgorithm) throws(SigstoreError) -> Digest
    {
        try Libraries.ready()
        let input = Array(bytes)
        var digest = [UInt8](repeating: 0, count: algorithm.byteCount)
        guard unsafe EVP_Digest(input, input.count, &digest, nil, algorithm.implementation, nil) == 1 else {
            throw opensslFailure("hashing")
        }
        return try Digest(algorithm, bytes: digest)
    }

    /// The SHA-256 of bytes in memory.
    public static func sha256(_ bytes: some Collection<UInt8>) throws(SigstoreError) -> Digest {
        try hash(bytes, .sha256)
    }
}

/// Keyed digests, which prove that who made them has the key.
public enum MessageAuthentication {
    /// HMAC with SHA-256 (RFC 2104, FIPS 198-1).
    /// - Parameters:
    ///   - key: The key, of any length.
    ///   - message: What is proved.
    /// - Returns: 32 bytes, which may be the next key.
    /// - Throws: `SigstoreError` with `cryptography-failed`.
    public static func hmacSHA256(key: SecretBytes, _ message: some Collection<UInt8>) throws(SigstoreError)
        -> SecretBytes
    {
        try Libraries.ready()
        let message = Array(message)
        return try unsafe SecretBytes(count: HashAlgorithm.sha256.byteCount) { (out) throws(SigstoreError) in
            var length: UInt32 = 0
            try unsafe key.withPointer { (start) throws(SigstoreError) in
                guard
                    unsafe HMAC(EVP_sha256(), start, CInt(clamping: key.count), message, message.count, out, &length)
                        != nil, length == 32
                else { throw opensslFailure("making a keyed digest") }
            }
        }
    }
}

extension Digest {
    /// SHA-1, for names alone and for what is trusted for other reasons: it keeps nobody from making two inputs that fit.
    /// - Returns: 20 bytes.
    package static func sha1(_ bytes: [UInt8]) throws(SigstoreError) -> [UInt8] {
        try Libraries.ready()
        var digest = [UInt8](repeating: 0, count: 20)
        var length: UInt32 = 0
        guard unsafe EVP_Digest(bytes, bytes.count, &digest, &length, EVP_sha1(), nil) == 1, length == 20 else {
            throw opensslFailure("hashing")
        }
        return digest
    }
}

/// Hexadecimal digits.
public enum Hexadecimal {
    private static let digits = Array("0123456789abcdef".utf8)

    /// Lower case digits, two a byte.
    public static func encode(_ bytes: some Collection<UInt8>) -> String {
        var out: [UInt8] = []
        out.reserveCapacity(bytes.count * 2)
        for byte in bytes {
            out.append(digits[Int(byte >> 4)])
            out.append(digits[Int(byte & 15)])
        }
        return String(decoding: out, as: UTF8.self)
    }

    /// The bytes, or `nil` if `text` is not an even number of hexadecimal digits.
    public static func decode(_ text: String) -> [UInt8]? {
        var out: [UInt8] = []
        var high: UInt8?
        for letter in text.utf8 {
            let value: UInt8
            switch letter {
            case 0x30...0x39: value = letter - 0x30
            case 0x41...0x46: value = letter - 0x41 + 10
            case 0x61...0x66: value = letter - 0x61 + 10
            default: return nil
            }
            if let first = high {
                out.append(first << 4 | value)
                high = nil
            } else {
                high = value
            }
        }
        return high == nil ? out : nil
    }
}

extension SigstoreError.Code {
    /// A digest of the wrong length, in the wrong alphabet, or of an unknown algorithm.
    public static let malformedDigest = Self("malformed-digest")
}
