internal import COpenSSL
internal import CSodium
public import StrictJSON

extension SigstoreError.Code {
    /// A call into the cryptographic library failed although its input was sound.
    public static let cryptographyFailed = Self("cryptography-failed")
}

/// Sets OpenSSL and libsodium up, once, before their first use: `OPENSSL_CONF` and the system's configuration file
/// are not read, so no environment decides what a valid signature is.
enum Libraries {
    /// OpenSSL does not clean up when the process ends, which takes time and serves nothing: keys are cleansed one by one.
    private static let areReady: Bool = {
        let options = OPENSSL_INIT_NO_LOAD_CONFIG | OPENSSL_INIT_NO_ATEXIT
        guard OPENSSL_init_crypto(UInt64(options), nil) == 1, sodium_init() >= 0 else { return false }
        // Hash_DRBG with SHA-256 (NIST SP 800-90A, section 10.1.1) is as strong as OpenSSL's usual CTR_DRBG and seeded
        // by the system in the same way, and is ready in a tenth of the time, since it needs no cipher. If the process
        // has drawn random numbers already, it stays with what it has.
        if unsafe RAND_set_DRBG_type(nil, "HASH-DRBG", nil, nil, "SHA2-256") != 1 { ERR_clear_error() }
        return true
    }()

    /// - Throws: `SigstoreError` if a library could not be set up.
    static func ready() throws(SigstoreError) {
        guard areReady else {
            throw SigstoreError(.cryptographyFailed, "OpenSSL or libsodium could not be initialised")
        }
    }
}

/// The cryptographic libraries as a whole.
public enum Cryptography {
    /// Sets OpenSSL and libsodium up without any configuration file, which their first use here would do else. A program
    /// in which something else uses OpenSSL too (libcurl, say) calls this first: OpenSSL is configured once.
    /// - Throws: `SigstoreError` with `cryptography-failed` if a library could not be set up.
    public static func prepare() throws(SigstoreError) { try Libraries.ready() }

    /// The version of OpenSSL that was loaded, as it tells it itself, such as `OpenSSL 3.5.4 30 Sep 2025`.
    public static var openSSLVersion: String { unsafe String(cString: OpenSSL_version(OPENSSL_VERSION)) }

    /// The version of libsodium, such as `1.0.18`.
    public static var sodiumVersion: String { unsafe String(cString: sodium_version_string()) }
}

/// An error for a failed call of OpenSSL, with the library's own reason; empties this thread's error queue.
/// - Parameter what: What was being done, as the beginning of a sentence.
func opensslFailure(_ what: String) -> SigstoreError {
    let code = ERR_peek_last_error()
    ERR_clear_error()
    guard code != 0, let reason = unsafe ERR_reason_error_string(code) else {
        return SigstoreError(.cryptographyFailed, "\(what) failed")
    }
    return SigstoreError(.cryptographyFailed, "\(what) failed: \(unsafe String(cString: reason))")
}

/// Has one of OpenSSL's `d2i` functions read all of the bytes.
/// - Parameters:
///   - der: What is to be read.
///   - read: The function, which moves the position on and says how many bytes there are.
///   - free: Frees what was read, if something stands behind it.
/// - Returns: What was read, which is the caller's to free, or `nil`.
func decode(
    _ der: [UInt8], _ read: (UnsafeMutablePointer<UnsafePointer<UInt8>?>, Int) -> OpaquePointer?,
    _ free: (OpaquePointer?) -> Void
) -> OpaquePointer? {
    unsafe der.withUnsafeBufferPointer { (buffer) -> OpaquePointer? in
        var position = buffer.baseAddress
        guard let value = unsafe read(&position, buffer.count) else { return nil }
        guard let start = buffer.baseAddress, unsafe position == start + buffer.count else {
            unsafe free(value)
            return nil
        }
        return unsafe value
    }
}

/// One of OpenSSL's big numbers, cleansed when this object goes.
@safe final class BigNumber {
    let pointer: OpaquePointer

    /// Reads one of a key's numbers.
    /// - Parameters:
    ///   - name: OpenSSL's name of the parameter.
    ///   - key: An `EVP_PKEY`.
    init?(_ name: String, of key: OpaquePointer) {
        var number: OpaquePointer?
        guard unsafe EVP_PKEY_get_bn_param(key, name, &number) == 1, let number = unsafe number else {
            ERR_clear_error()
            return nil
        }
        unsafe pointer = unsafe number
    }

    /// Computes a number.
    /// - Parameter compute: Writes the result to the first, with the second for what is needed on the way; returns 1.
    init(_ compute: (OpaquePointer, OpaquePointer) -> Int32) throws(SigstoreError) {
        guard let number = unsafe BN_new() else { throw opensslFailure("computing with a key") }
        unsafe pointer = unsafe number
        guard let context = unsafe BN_CTX_new() else { throw opensslFailure("computing with a key") }
        defer { unsafe BN_CTX_free(context) }
        guard unsafe compute(number, context) == 1 else { throw opensslFailure("computing with a key") }
    }

    deinit { unsafe BN_clear_free(pointer) }

    var bits: Int { Int(unsafe BN_num_bits(pointer)) }
    var isOdd: Bool { unsafe BN_is_odd(pointer) == 1 }
    var isOne: Bool { unsafe BN_is_one(pointer) == 1 }
    /// The number, if it has at most 64 bits.
    var word: UInt64 { UInt64(unsafe BN_get_word(pointer)) }
    func remainder(by word: UInt64) -> UInt64 { UInt64(unsafe BN_mod_word(pointer, UInt(word))) }
    func equals(_ other: BigNumber) -> Bool { unsafe BN_cmp(pointer, other.pointer) == 0 }
    func isBelow(_ other: BigNumber) -> Bool { unsafe BN_cmp(pointer, other.pointer) < 0 }

    func times(_ other: BigNumber) throws(SigstoreError) -> BigNumber {
        try unsafe BigNumber { unsafe BN_mul($0, pointer, other.pointer, $1) }
    }

    func times(_ other: BigNumber, modulo modulus: BigNumber) throws(SigstoreError) -> BigNumber {
        try unsafe BigNumber { unsafe BN_mod_mul($0, pointer, other.pointer, modulus.pointer, $1) }
    }

    func remainder(by divisor: BigNumber) throws(SigstoreError) -> BigNumber {
        try unsafe BigNumber { unsafe BN_div(nil, $0, pointer, divisor.pointer, $1) }
    }

    /// The number less one.
    func predecessor() throws(SigstoreError) -> BigNumber {
        try unsafe BigNumber { result, _ in unsafe BN_sub(result, pointer, BN_value_one()) }
    }

    /// Whether this is a prime, by OpenSSL's Miller-Rabin test.
    func isPrime() throws(SigstoreError) -> Bool {
        guard let context = unsafe BN_CTX_new() else { throw opensslFailure("computing with a key") }
        defer { unsafe BN_CTX_free(context) }
        let answer = unsafe BN_check_prime(pointer, context, nil)
        guard answer >= 0 else { throw opensslFailure("computing with a key") }
        return answer == 1
    }
}

/// Bytes that are cleansed when they are needed no longer: passwords, derived keys, private keys in transit.
@safe public final class SecretBytes: Equatable, @unchecked Sendable {
    private let memory: UnsafeMutableRawBufferPointer

    /// Takes memory for a secret.
    /// - Parameters:
    ///   - count: The size in bytes.
    ///   - fill: Writes the secret.
    init(count: Int, fill: (UnsafeMutableRawBufferPointer) throws(SigstoreError) -> Void) throws(SigstoreError) {
        unsafe memory = UnsafeMutableRawBufferPointer.allocate(byteCount: max(count, 1), alignment: 16)
        unsafe memory.initializeMemory(as: UInt8.self, repeating: 0)
        self.count = count
        do throws(SigstoreError) { try unsafe fill(UnsafeMutableRawBufferPointer(rebasing: memory[..<count])) } catch {
            unsafe OPENSSL_cleanse(memory.baseAddress, memory.count)
            throw error
        }
    }

    /// Copies a secret in. The caller's copy is the caller's to cleanse.
    public init(_ bytes: some Collection<UInt8>) {
        count = bytes.count
        unsafe memory = UnsafeMutableRawBufferPointer.allocate(byteCount: max(bytes.count, 1), alignment: 16)
        unsafe memory.copyBytes(from: bytes)
    }

    deinit {
        unsafe OPENSSL_cleanse(memory.baseAddress, memory.count)
        unsafe memory.deallocate()
    }

    /// The size in bytes.
    public let count: Int

    /// Lends the bytes for the time of the call.
    public func withBytes<R, E>(_ body: (UnsafeRawBufferPointer) throws(E) -> R) throws(E) -> R {
        try unsafe body(UnsafeRawBufferPointer(rebasing: memory[..<count]))
    }

    /// Lends the bytes to C.
    func withPointer<R>(_ body: (UnsafePointer<UInt8>) throws(SigstoreError) -> R) throws(SigstoreError) -> R {
        guard let start = unsafe memory.baseAddress else {
            throw SigstoreError(.cryptographyFailed, "there is no memory for a secret")
        }
        return unsafe try body(UnsafePointer(start.assumingMemoryBound(to: UInt8.self)))
    }

    /// Takes memory for a secret that C writes.
    /// - Parameters:
    ///   - count: The size in bytes.
    ///   - fill: Writes the secret, all of it.
    convenience init(count: Int, writing fill: (UnsafeMutablePointer<UInt8>) throws(SigstoreError) -> Void)
        throws(SigstoreError)
    {
        try unsafe self.init(count: count) { (buffer) throws(SigstoreError) in
            guard let start = buffer.baseAddress else {
                throw SigstoreError(.cryptographyFailed, "there is no memory for a secret")
            }
            unsafe try fill(start.assumingMemoryBound(to: UInt8.self))
        }
    }

    /// Whether both hold the same bytes, compared in constant time.
    public func equals(_ other: SecretBytes) -> Bool {
        count == other.count
            && (unsafe CRYPTO_memcmp(memory.baseAddress, other.memory.baseAddress, count)) == 0
    }

    public static func == (one: SecretBytes, other: SecretBytes) -> Bool { one.equals(other) }

    /// Overwrites bytes that were a secret. Those that an array had to move away from are not reached: an array that takes
    /// a secret has room for all of it from the beginning.
    public static func cleanse(_ bytes: inout [UInt8]) {
        unsafe bytes.withUnsafeMutableBytes { unsafe OPENSSL_cleanse($0.baseAddress, $0.count) }
    }
}

/// Bytes that the system's generator made.
/// - Parameter count: How many.
func randomBytes(_ count: Int) throws(SigstoreError) -> [UInt8] {
    try Libraries.ready()
    var bytes = [UInt8](repeating: 0, count: count)
    unsafe bytes.withUnsafeMutableBytes { buffer in
        if let start = buffer.baseAddress { unsafe randombytes_buf(start, buffer.count) }
    }
    return bytes
}
