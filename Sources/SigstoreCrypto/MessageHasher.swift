internal import COpenSSL
internal import CSodium
public import StrictJSON

/// Streams a message once into every form that signatures over it need, in constant memory.
///
/// Pure Ed25519 is the exception: it signs the message itself, which is therefore kept, up to ``wholeMessageLimit``. So
/// is a message for a signer that takes no digests.
@safe public struct MessageHasher: ~Copyable {
    /// The largest message that is kept whole: 128 MiB.
    public static let wholeMessageLimit = 128 << 20

    private var contexts: [(algorithm: HashAlgorithm, pointer: OpaquePointer)] = unsafe []
    private var prehash: crypto_sign_ed25519ph_state?
    private var message: [UInt8]?

    /// Starts a message.
    /// - Parameters:
    ///   - digests: Digests wanted for their own sake.
    ///   - schemes: Signature schemes that the message will be signed or verified with.
    ///   - keepingBytes: Whether the message itself is kept, whatever the schemes need.
    public init(digests: Set<HashAlgorithm>, schemes: Set<SignatureScheme> = [], keepingBytes: Bool = false)
        throws(SigstoreError)
    {
        try Libraries.ready()
        for algorithm in digests.union(schemes.compactMap(\.hash)) {
            guard let context = unsafe EVP_MD_CTX_new() else { throw opensslFailure("hashing") }
            unsafe contexts.append((algorithm: algorithm, pointer: context))
            guard unsafe EVP_DigestInit_ex(context, algorithm.implementation, nil) == 1 else {
                throw opensslFailure("hashing")
            }
        }
        if schemes.contains(.ed25519ph) {
            var state = crypto_sign_ed25519ph_state()
            guard unsafe crypto_sign_ed25519ph_init(&state) == 0 else { throw opensslFailure("hashing") }
            prehash = state
        }
        if keepingBytes || schemes.contains(.ed25519) { message = [] }
    }

    deinit { unsafe contexts.forEach { unsafe EVP_MD_CTX_free($0.pointer) } }

    /// Adds the next bytes of the message.
    /// - Throws: `SigstoreError` with `message-too-large` if more than ``wholeMessageLimit`` would have to be kept.
    public mutating func update(_ bytes: UnsafeRawBufferPointer) throws(SigstoreError) {
        for index in unsafe contexts.indices {
            let context = unsafe contexts[index]
            guard unsafe EVP_DigestUpdate(context.pointer, bytes.baseAddress, bytes.count) == 1 else {
                throw opensslFailure("hashing")
            }
        }
        if var state = prehash, let start = unsafe bytes.baseAddress?.assumingMemoryBound(to: UInt8.self) {
            guard unsafe crypto_sign_ed25519ph_update(&state, start, UInt64(bytes.count)) == 0 else {
                throw opensslFailure("hashing")
            }
            prehash = state
        }
        if message != nil {
            guard (message?.count ?? 0) + bytes.count <= Self.wholeMessageLimit else {
                throw SigstoreError(
                    .messageTooLarge,
                    "pure Ed25519 needs the whole message in memory, and this one is larger than 128 MiB",
                    advice: .remedy(.useEd25519ph))
            }
            unsafe message?.append(contentsOf: bytes)
        }
    }

    /// Adds the next bytes of the message.
    public mutating func update(_ bytes: [UInt8]) throws(SigstoreError) {
        var failure: SigstoreError?
        unsafe bytes.withUnsafeBytes { buffer in
            do throws(SigstoreError) { try unsafe update(buffer) } catch { failure = error }
        }
        if let failure { throw failure }
    }

    /// Ends the message.
    public consuming func finish() throws(SigstoreError) -> HashedMessage {
        var digests: [Digest] = []
        for index in unsafe contexts.indices {
            let context = unsafe contexts[index]
            var bytes = [UInt8](repeating: 0, count: unsafe context.algorithm.byteCount)
            guard unsafe EVP_DigestFinal_ex(context.pointer, &bytes, nil) == 1 else { throw opensslFailure("hashing") }
            digests.append(try Digest(unsafe context.algorithm, bytes: bytes))
        }
        return HashedMessage(digests: digests, prehash: prehash, message: message)
    }
}

/// A message that was read once: its digests, and what Ed25519 needs of it.
public struct HashedMessage: Sendable {
    private let digests: [Digest]
    let prehash: Prehash?
    let message: [UInt8]?

    /// libsodium's state of an Ed25519ph message; a plain value without pointers.
    struct Prehash: @unchecked Sendable { var state: crypto_sign_ed25519ph_state }

    init(digests: [Digest], prehash: crypto_sign_ed25519ph_state?, message: [UInt8]?) {
        self.digests = digests
        self.prehash = prehash.map(Prehash.init)
        self.message = message
    }

    /// A message of which only one digest is known.
    public init(digest: Digest) { self.init(digests: [digest], prehash: nil, message: nil) }

    /// Reads a message that is in memory.
    /// - Parameters:
    ///   - bytes: The whole message.
    ///   - digests: Digests to make besides those that the schemes need.
    ///   - schemes: The schemes that it will be signed or verified with.
    ///   - keepingBytes: Whether the message itself is kept, whatever the schemes need.
    public static func of(
        _ bytes: [UInt8], digests: Set<HashAlgorithm> = [], schemes: Set<SignatureScheme>, keepingBytes: Bool = false
    ) throws(SigstoreError) -> HashedMessage {
        var hasher = try MessageHasher(digests: digests, schemes: schemes, keepingBytes: keepingBytes)
        try hasher.update(bytes)
        return try hasher.finish()
    }

    /// The message itself, if pure Ed25519 or a signer that takes no digests needs it.
    public var bytes: [UInt8]? { message }

    /// The digest by that function, if it was asked for.
    public func digest(_ algorithm: HashAlgorithm) -> Digest? { digests.first { $0.algorithm == algorithm } }
}

extension SigstoreError.Code {
    /// Pure Ed25519 over a message that is too large to be kept in memory.
    public static let messageTooLarge = Self("message-too-large")
}

extension SigstoreError.Remedy {
    /// Ed25519ph and ECDSA sign a digest, so that the message need not fit into memory.
    public static let useEd25519ph = Self("use-ed25519ph-or-an-ecdsa-key")
}
