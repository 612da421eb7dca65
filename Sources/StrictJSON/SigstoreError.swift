/// What went wrong, as a value: a code for programs, a sentence for people, and what to do next.
///
/// Every module of this package throws this one type. A module adds its own codes in an extension of ``Code``,
/// beside the calls that throw them. Programs compare ``code``; the wording of ``message`` may change.
///
/// No library knows a command line. If what helps is done differently in each program (with a flag, a variable, a
/// command), ``advice`` holds a ``Remedy``, which the program puts into its own words.
///
/// `message`, `details` and `advice` may hold bytes from outside (file names, identities, a server's words), so a program escapes
/// control characters before it prints them.
public struct SigstoreError: Error, Sendable, CustomStringConvertible, CustomDebugStringConvertible {
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

    /// Something that helps, by a stable name that says it in a few words, such as `give-a-trusted-root`. A module adds
    /// its own in an extension, beside the calls that throw them.
    public struct Remedy: RawRepresentable, Hashable, Sendable, CustomStringConvertible {
        /// The stable name, in lower case with hyphens.
        public let rawValue: String
        /// Makes a remedy from its stable name.
        public init(rawValue: String) { self.rawValue = rawValue }
        /// Makes a remedy from its stable name.
        public init(_ name: String) { self.rawValue = name }
        /// The name with spaces: a sentence that is true in any program.
        public var description: String {
            String(decoding: rawValue.utf8.map { $0 == 0x2d ? 0x20 : $0 }, as: UTF8.self)
        }
    }

    /// What to do about a failure.
    public enum Advice: Hashable, Sendable, ExpressibleByStringInterpolation, CustomStringConvertible {
        /// A sentence that is true in any program.
        case sentence(String)
        /// What helps, for the program's own words, and what it is about, such as the name of the registry to log in to;
        /// empty if there is nothing to name.
        case remedy(Remedy, of: String = "")
        /// One thing, and then another.
        indirect case both(Advice, Advice)

        /// Makes a sentence.
        public init(stringLiteral value: String) { self = .sentence(value) }

        /// The advice in words that are true in any program. It may hold bytes from outside.
        public var description: String {
            words { remedy, subject in subject.isEmpty ? remedy.description : "\(remedy): \(subject)" }
        }

        /// The advice in a program's own words.
        /// - Parameter words: Says a remedy, and what it is about, in a sentence.
        public func words(_ words: (Remedy, String) -> String) -> String {
            switch self {
            case .sentence(let sentence): sentence
            case .remedy(let remedy, let subject): words(remedy, subject)
            case .both(let first, let second): "\(first.words(words)); \(second.words(words))"
            }
        }

        /// This advice after another one, if there is another one.
        public func after(_ first: Advice?) -> Advice { first.map { .both($0, self) } ?? self }
    }

    /// The kind of failure.
    public var code: Code
    /// One sentence: what happened, to what, what was expected and what was found.
    public var message: String
    /// What is said one by one, such as why each of several signatures does not hold: one sentence each, often none.
    public var details: [String]
    /// What the person can do about it.
    public var advice: Advice?
    /// The failure beneath this one.
    public var cause: (any Error)?

    /// Makes an error.
    /// - Parameters:
    ///   - code: The kind of failure.
    ///   - message: What happened, to what, expected and found.
    ///   - details: What is said one by one: one sentence each.
    ///   - advice: What to do next.
    ///   - cause: The failure beneath this one.
    public init(
        _ code: Code, _ message: String, details: [String] = [], advice: Advice? = nil, cause: (any Error)? = nil
    ) {
        self.code = code
        self.message = message
        self.details = details
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

    /// Sentences for ``details``: all of them, or the first ones and how many more there are.
    public static func listed(_ sentences: [String], limit: Int = 10) -> [String] {
        sentences.count > limit ? sentences.prefix(limit) + ["and \(sentences.count - limit) more"] : sentences
    }

    public var description: String {
        let sentence = details.isEmpty ? message : "\(message): \(details.joined(separator: "; "))"
        return advice.map { "\(sentence) (\($0))" } ?? sentence
    }

    /// The same sentence: it is what Swift prints of an error that no code catches. Control characters are taken out, since
    /// it goes to a terminal or a log as it is.
    public var debugDescription: String { description.withoutControls }
}

extension SigstoreError.Code {
    /// Bytes that should be JSON are not, or break a rule of the strict reader (duplicates, depth, trailing bytes).
    public static let malformedJSON = Self("malformed-json")
    /// JSON is well formed, but a member is missing, unknown, or of the wrong type or range.
    public static let unexpectedJSON = Self("unexpected-json")
    /// A string that should be base64 is not.
    public static let malformedBase64 = Self("malformed-base64")
}
