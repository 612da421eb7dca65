import LocalSystem
import StrictJSON

/// The header field that proves to a server who asks: `Authorization` (RFC 9110, section 11.6.2), or a service's own.
///
/// It is a secret. There is one copy of it in memory: all requests share it, libcurl reads it in place, and it is
/// overwritten when nobody needs it any more. It can be shown to a server and compared, and is never printed.
@safe public final class Authorization: Equatable, @unchecked Sendable {
    /// The name, the value and a zero byte, as libcurl takes a header field. It does not change after `init`.
    private let line: UnsafeMutableRawBufferPointer
    /// Whether the value is visible ASCII on one line. Another one could end early and begin another header field.
    let isWellFormed: Bool
    /// The field's name.
    let name: String
    /// How many bytes stand before the value: the field's name, a colon and a space.
    private let nameCount: Int

    private init(
        _ scheme: String?, field: String = "Authorization", count: Int, fill: (UnsafeMutableRawBufferPointer) -> Void
    ) {
        let start = "\(field): \(scheme.map { "\($0) " } ?? "")".utf8
        name = field
        nameCount = field.utf8.count + 2
        let line = UnsafeMutableRawBufferPointer.allocate(byteCount: start.count + count + 1, alignment: 1)
        unsafe line.initializeMemory(as: UInt8.self, repeating: 0)
        unsafe line.copyBytes(from: start)
        unsafe fill(UnsafeMutableRawBufferPointer(rebasing: line[start.count..<(start.count + count)]))
        unsafe self.line = unsafe line
        isWellFormed = unsafe line.dropLast().allSatisfy { (0x20...0x7e).contains($0) || $0 == 0x09 }
    }

    /// Copies credentials in.
    /// - Parameters:
    ///   - scheme: How the server is to understand them, such as `Bearer` (RFC 6750, section 2.1).
    ///   - credentials: Visible ASCII; a request with anything else is refused. The caller's copy is the caller's to
    ///     cleanse.
    public convenience init(scheme: String, _ credentials: some Collection<UInt8>) {
        unsafe self.init(scheme, count: credentials.count) { unsafe $0.copyBytes(from: credentials) }
    }

    /// Copies a secret in that stands alone in a field of the service's own, such as `X-Vault-Token`.
    /// - Parameters:
    ///   - field: The field's name.
    ///   - secret: Visible ASCII; a request with anything else is refused. The caller's copy is the caller's to cleanse.
    public convenience init(field: String, _ secret: some Collection<UInt8>) {
        unsafe self.init(nil, field: field, count: secret.count) { unsafe $0.copyBytes(from: secret) }
    }

    /// Makes Basic credentials (RFC 7617, section 2).
    /// - Parameters:
    ///   - user: The user name, in UTF-8 and without a colon.
    ///   - password: The password, in UTF-8. The caller's copy is the caller's to cleanse.
    public convenience init(user: some Collection<UInt8>, password: some Collection<UInt8>) {
        let pair = UnsafeMutableRawBufferPointer.allocate(byteCount: user.count + 1 + password.count, alignment: 1)
        defer {
            unsafe pair.cleanse()
            unsafe pair.deallocate()
        }
        unsafe pair.copyBytes(from: user)
        unsafe pair[user.count] = 0x3a
        unsafe UnsafeMutableRawBufferPointer(rebasing: pair[(user.count + 1)...]).copyBytes(from: password)
        unsafe self.init("Basic", count: (pair.count + 2) / 3 * 4) { letters in
            var place = 0
            unsafe Base64.encode(pair) { letter in
                unsafe letters[place] = letter
                place += 1
            }
        }
    }

    deinit {
        unsafe line.cleanse()
        unsafe line.deallocate()
    }

    /// Lends the value, such as `Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==`, to who carries it to a server.
    /// - Parameter body: Is given the bytes, which are valid until it returns.
    public func withValue<Result, Failure>(
        _ body: (UnsafeRawBufferPointer) throws(Failure) -> Result
    ) throws(Failure) -> Result {
        try unsafe body(UnsafeRawBufferPointer(rebasing: line[nameCount..<(line.count - 1)]))
    }

    /// The header field as C has it. Valid as long as this object; nobody may write to it.
    var field: UnsafeMutablePointer<CChar>? { unsafe line.baseAddress?.assumingMemoryBound(to: CChar.self) }

    /// Whether both hold the same bytes, compared in constant time.
    public static func == (one: Authorization, other: Authorization) -> Bool {
        unsafe one.line.count == other.line.count && zip(one.line, other.line).reduce(0) { $0 | $1.0 ^ $1.1 } == 0
    }
}
