internal import COpenSSL
public import StrictJSON

/// The hash functions by which the files of a model are named (OpenSSF model signing, `hash_type`). Nothing is signed over
/// them, so they are more than those of ``HashAlgorithm``.
public enum ContentHash: String, Sendable, CaseIterable, Hashable {
    /// SHA-256 (FIPS 180-4).
    case sha256
    /// BLAKE2b with a digest of 512 bits and no key (RFC 7693).
    case blake2b

    /// The size of a digest in bytes.
    public var byteCount: Int {
        switch self {
        case .sha256: 32
        case .blake2b: 64
        }
    }

    /// OpenSSL's implementation, owned by the library.
    fileprivate var implementation: OpaquePointer? {
        switch self {
        case .sha256: unsafe EVP_sha256()
        case .blake2b: unsafe EVP_blake2b512()
        }
    }
}

/// Hashes content piece by piece, in constant memory.
@safe public struct ContentHasher: ~Copyable {
    private let algorithm: ContentHash
    private let context: OpaquePointer

    /// Starts.
    /// - Throws: `SigstoreError` with `cryptography-failed`, also if this OpenSSL leaves the function out.
    public init(_ algorithm: ContentHash) throws(SigstoreError) {
        try Libraries.ready()
        guard let context = unsafe EVP_MD_CTX_new() else { throw opensslFailure("hashing") }
        guard unsafe EVP_DigestInit_ex(context, algorithm.implementation, nil) == 1 else {
            unsafe EVP_MD_CTX_free(context)
            throw opensslFailure("hashing with \(algorithm.rawValue)")
        }
        self.algorithm = algorithm
        unsafe self.context = unsafe context
    }

    deinit { unsafe EVP_MD_CTX_free(context) }

    /// Adds the next bytes.
    public mutating func update(_ bytes: UnsafeRawBufferPointer) throws(SigstoreError) {
        guard unsafe EVP_DigestUpdate(context, bytes.baseAddress, bytes.count) == 1 else {
            throw opensslFailure("hashing")
        }
    }

    /// Ends.
    /// - Returns: The digest, as many bytes as the function gives.
    public consuming func finish() throws(SigstoreError) -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: algorithm.byteCount)
        guard unsafe EVP_DigestFinal_ex(context, &bytes, nil) == 1 else { throw opensslFailure("hashing") }
        return bytes
    }
}
