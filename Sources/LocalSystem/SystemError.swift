#if canImport(Glibc)
    internal import Glibc
#elseif canImport(Musl)
    internal import Musl
#elseif canImport(Darwin)
    internal import Darwin
#endif
public import StrictJSON

/// What the system says of a call that failed, as an error: one factory for each kind of call.
extension SigstoreError {
    /// The system's words for an error number.
    public static func reason(_ number: Int32) -> String {
        var text = [CChar](repeating: 0, count: 256)
        guard unsafe strerror_r(number, &text, text.count) == 0 else { return "error \(number)" }
        return String(decoding: text.prefix { $0 != 0 }.map { UInt8(truncatingIfNeeded: $0) }, as: UTF8.self)
    }

    /// A file cannot be opened for reading.
    package static func opening(_ path: String, _ number: Int32) -> SigstoreError {
        switch number {
        case ENOENT: SigstoreError(.fileNotFound, "there is no file \(path)", advice: "check the path")
        case ENOTDIR: SigstoreError(.fileNotFound, "\(path) leads through something that is not a directory")
        default: SigstoreError(.fileUnreadable, "\(path) cannot be opened: \(reason(number))")
        }
    }

    /// A file cannot be read.
    package static func reading(_ name: String, _ number: Int32) -> SigstoreError {
        number == EISDIR
            ? SigstoreError(.isDirectory, "\(name) is a directory where a file is needed")
            : SigstoreError(.fileUnreadable, "\(name) cannot be read: \(reason(number))")
    }

    /// A file cannot be written.
    package static func writing(_ path: String, _ number: Int32) -> SigstoreError {
        switch number {
        case ENOENT: SigstoreError(.fileUnwritable, "\(path) cannot be written: its directory does not exist")
        case ENOSPC, EDQUOT:
            SigstoreError(
                .fileUnwritable, "\(path) cannot be written: the disk is full",
                advice: "free some space; nothing of this file was kept"
            )
        default: SigstoreError(.fileUnwritable, "\(path) cannot be written: \(reason(number))")
        }
    }

    /// Something stands where a file would be written.
    public static func exists(_ path: String) -> SigstoreError {
        SigstoreError(.fileExists, "\(path) exists already and was left as it is")
    }

    /// Text that would have to be changed to be shown or passed on, and is refused instead.
    /// - Parameter what: What is not UTF-8, as the beginning of a sentence.
    public static func notUTF8(_ what: String) -> SigstoreError {
        SigstoreError(.notUTF8, "\(what) is not UTF-8", advice: "rename the file, or give it another name by a link")
    }
}

extension SigstoreError.Code {
    /// A file that was named does not exist.
    public static let fileNotFound = Self("file-not-found")
    /// A file exists and cannot be read.
    public static let fileUnreadable = Self("file-unreadable")
    /// Nothing reads the pipe any more that standard output is: no error to a person, and no success either.
    public static let readerEnded = Self("reader-ended")
    /// A file cannot be written.
    public static let fileUnwritable = Self("file-unwritable")
    /// A file that must not be replaced stands where one would be written.
    public static let fileExists = Self("file-exists")
    /// A directory stands where a file is needed.
    public static let isDirectory = Self("is-directory")
    /// The task was cancelled while it waited.
    public static let cancelled = Self("cancelled")
    /// A name or a value is not text in UTF-8.
    public static let notUTF8 = Self("not-utf8")
    /// A file is larger than what it is read for allows.
    public static let fileTooLarge = Self("file-too-large")
}
