internal import CRE2
public import StrictJSON

/// A regular expression over identities, with RE2's syntax and meaning, as cosign's. It matches anywhere in the text
/// unless it is anchored, and takes time in proportion to the text, whatever the expression.
@safe public final class IdentityPattern: @unchecked Sendable {
    /// The expression as it was given.
    public let source: String
    /// RE2's compiled form: owned by this object, never changed, and safe to use from several threads.
    private let pointer: OpaquePointer

    /// Compiles an expression.
    /// - Parameter source: RE2 syntax, at most 4,096 bytes of UTF-8.
    /// - Throws: `SigstoreError` with `malformed-pattern` and RE2's reason.
    public init(_ source: String) throws(SigstoreError) {
        // A C char is signed on some processors and not on others.
        let text = source.utf8.map { CChar(truncatingIfNeeded: $0) }
        guard (1...4096).contains(text.count) else {
            throw SigstoreError(
                .malformedPattern,
                text.isEmpty
                    ? "the regular expression is empty, which everybody matches"
                    : "the regular expression is longer than 4096 bytes")
        }
        var reason = [CChar](repeating: 0, count: 256)
        guard let compiled = unsafe swsign_re2_compile(text, text.count, &reason, reason.count) else {
            let why = String(decoding: reason.prefix { $0 != 0 }.map { UInt8(truncatingIfNeeded: $0) }, as: UTF8.self)
            throw SigstoreError(
                .malformedPattern, "\"\(source)\" is not a regular expression: \(why)",
                advice: "RE2's syntax is at https://github.com/google/re2/wiki/Syntax")
        }
        self.source = source
        unsafe pointer = unsafe compiled
    }

    deinit { unsafe swsign_re2_free(pointer) }

    /// Whether the expression matches anywhere in the text.
    public func matches(_ text: String) -> Bool {
        let text = text.utf8.map { CChar(truncatingIfNeeded: $0) }
        return unsafe swsign_re2_search(pointer, text, text.count) == 1
    }
}

extension SigstoreError.Code {
    /// A regular expression that RE2 does not accept.
    public static let malformedPattern = Self("malformed-pattern")
}
