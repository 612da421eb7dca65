internal import CCurl
import LocalSystem
import Synchronization

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
        if let file = file.withLock({ $0 }) { ccurl_close_file(file) }
    }

    /// Lends the bytes for the time of the call.
    public func withBytes<Result, Failure>(
        _ body: (UnsafeRawBufferPointer) throws(Failure) -> Result
    ) throws(Failure) -> Result {
        try unsafe body(bytes)
    }

    /// The bytes, valid as long as this object.
    var bytes: UnsafeRawBufferPointer { unsafe UnsafeRawBufferPointer(memory) }

    /// A file with the bytes, made when it is first asked for: it is in memory, no other user can open it, and it is gone with
    /// this object, however the process ends.
    private let file = Mutex<CInt?>(nil)

    /// The name of a file with the bytes, valid as long as this object; `nil` if the system makes none.
    func path() -> String? {
        file.withLock { file in
            if file == nil {
                let made = unsafe ccurl_file_in_memory(memory.baseAddress, memory.count)
                file = made < 0 ? nil : made
            }
            return file.map { "/proc/self/fd/\($0)" }
        }
    }
}
