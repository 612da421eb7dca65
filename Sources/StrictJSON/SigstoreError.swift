/// What went wrong, as a value: a code for programs, a sentence for people, and what to do next.
///
/// Every module of this package throws this one type. A module adds its own codes in an extension of ``Code``,
/// beside the calls that throw them. Programs compare ``code``; the wording of ``message`` may change.
///
/// `message` and `advice` may hold bytes from outside (file names, identities, a server's words), so whoever
/// prints them escapes control characters first.
public struct SigstoreError: Error, Sendable, CustomStringConvertible {
    /// A stable name for one kind of failure, in lower case with hyphens, such as `wrong-password`.
    public struct Code: RawRepresentable, Hashable, Sendable, CustomStringConvertible {
        /// The stable name.
        public let rawValue: String
        /// Makes a code from its stable name.
        public init(rawValue: String) { self.rawValue = rawValue }
        /// Makes a code from its stable name.
        public init(_ name: String) { self.rawValue = name }
        public var description: String { rawValue }
    }

    /// The kind of failure.
    public var code: Code
    /// One sentence: what happened, to what, what was expected and what was found.
    public var message: String
    /// What the person can do about it, as one sentence.
    public var advice: String?
    /// The failure beneath this one.
    public var cause: (any Error)?

    /// Makes an error.
    /// - Parameters:
    ///   - code: The kind of failure.
    ///   - message: What happened, to what, expected and found.
    ///   - advice: What to do next.
    ///   - cause: The failure beneath this one.
    public init(_ code: Code, _ message: String, advice: String? = nil, cause: (any Error)? = nil) {
        self.code = code
        self.message = message
        self.advice = advice
        self.cause = cause
    }

    /// The same error, with the file, image or service that it is about named first.
    /// - Parameter subject: A path, an image reference or a URL.
    public func concerning(_ subject: String) -> SigstoreError {
        var error = self
        error.message = "\(subject): \(message)"
        return error
    }

    public var description: String { advice.map { "\(message) (\($0))" } ?? message }
}

extension SigstoreError.Code {
    /// Bytes that should be JSON are not, or break a rule of the strict reader (duplicates, depth, trailing bytes).
    public static let malformedJSON = Self("malformed-json")
    /// JSON is well formed, but a member is missing, unknown, or of the wrong type or range.
    public static let unexpectedJSON = Self("unexpected-json")
    /// A string that should be base64 is not.
    public static let malformedBase64 = Self("malformed-base64")
}
