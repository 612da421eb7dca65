import LocalSystem

/// What a client shows or sends and is secret, such as a key, or a form with a password: one copy in memory, which all requests
/// share, and which is overwritten when nobody needs it any more.
@safe public final class OutgoingSecret: @unchecked Sendable {
    /// It does not change after `init`.
    private let memory: UnsafeMutableRawBufferPointer

    /// Copies a secret in.
    /// - Parameter secret: The bytes. The caller's copy is the caller's to cleanse.
    public init(_ secret: some Collection<UInt8>) {
        unsafe memory = .allocate(byteCount: secret.count, alignment: 1)
        unsafe memory.copyBytes(from: secret)
    }

    deinit {
        unsafe memory.cleanse()
        unsafe memory.deallocate()
    }

    /// Lends the bytes for the time of the call.
    public func withBytes<Result, Failure>(
        _ body: (UnsafeRawBufferPointer) throws(Failure) -> Result
    ) throws(Failure) -> Result {
        try unsafe body(bytes)
    }

    /// The bytes, valid as long as this object.
    var bytes: UnsafeRawBufferPointer { unsafe UnsafeRawBufferPointer(memory) }
}
