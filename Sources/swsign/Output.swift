import Glibc
import InToto
import SwSignCore
import Synchronization

/// The one place that prints. Whatever reaches a terminal or a CI log goes through here, and every character that could
/// do anything but show a glyph (carriage returns, escape sequences, bidirectional marks, line breaks inside a name) is
/// written as an escape; so text from outside can neither hide nor forge a line.
enum Output {
    private static let settings = Mutex((verbose: false, file: STDOUT_FILENO, jsonErrors: false))

    /// Sets what `--verbose`, `--output-file` and `--errors json` ask for.
    static func configure(verbose: Bool, file: String?, jsonErrors: Bool) throws(SigstoreError) {
        var descriptor = STDOUT_FILENO
        if let file {
            descriptor = unsafe open(file, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o644)
            guard descriptor >= 0 else { throw SigstoreError(.usage, "the output file \(file) cannot be opened") }
        }
        settings.withLock { $0 = (verbose, descriptor, jsonErrors) }
    }

    /// One line of result on standard output.
    static func result(_ line: String) throws(SigstoreError) {
        try put(escaped(line) + "\n", to: settings.withLock { $0.file })
    }

    /// Text of our own making that may have several lines: help, PEM, base64, JSON, completion scripts.
    static func text(_ text: String) throws(SigstoreError) { try put(text, to: settings.withLock { $0.file }) }

    /// One JSON value on a line of standard output.
    static func json(_ value: JSONValue) throws(SigstoreError) {
        try text(String(decoding: value.serialized(), as: UTF8.self) + "\n")
    }

    /// Bytes as they are, for files redirected from standard output.
    static func bytes(_ bytes: [UInt8]) throws(SigstoreError) { try write(bytes, to: settings.withLock { $0.file }) }

    /// A line for the person, on standard error.
    static func note(_ line: String) { try? put(escaped(line) + "\n", to: STDERR_FILENO) }

    /// A line about something that makes the result weaker than usual, on standard error.
    static func warn(_ line: String) { note("WARNING: \(line)") }

    /// A line on standard error that is shown with `--verbose` only.
    static func detail(_ line: String) { if settings.withLock({ $0.verbose }) { note(line) } }

    /// What went wrong, on standard error: what happened, its code, and what to do next.
    static func error(_ error: SigstoreError) {
        if settings.withLock({ $0.jsonErrors }) {
            try? put(String(decoding: report(error).serialized(), as: UTF8.self) + "\n", to: STDERR_FILENO)
        } else {
            note("Error: \(error.message) [\(error.code)]")
            if let advice = error.advice { note("       \(advice)") }
        }
    }

    /// An error for programs.
    static func report(_ error: SigstoreError) -> JSONValue {
        var members: JSONObject = ["code": .string(error.code.rawValue), "message": .string(error.message)]
        if let advice = error.advice { members["advice"] = .string(advice) }
        return .object(["error": .object(members)])
    }

    /// The text with every character written as an escape that could do anything but show a glyph; so is the colon of a
    /// `::` that a line begins with, which CI systems take for a command.
    static func escaped(_ text: String) -> String {
        let indent = text.utf8.prefix { $0 == 0x20 }.count
        if text.utf8.dropFirst(indent).starts(with: "::".utf8) {
            let rest = String(decoding: text.utf8.dropFirst(indent + 1), as: UTF8.self)
            return String(repeating: " ", count: indent) + "\\u{3a}" + escaped(rest)
        }
        if text.utf8.allSatisfy({ $0 >= 0x20 && $0 < 0x7f }) { return text }
        var out = ""
        for scalar in text.unicodeScalars {
            if scalar.changesDisplay {
                out += "\\u{\(String(scalar.value, radix: 16))}"
            } else {
                out.unicodeScalars.append(scalar)
            }
        }
        return out
    }

    private static func put(_ text: String, to descriptor: Int32) throws(SigstoreError) {
        try write(Array(text.utf8), to: descriptor)
    }

    private static let writing = Mutex(())

    /// Writes the bytes in one piece: several files may be worked on at the same time.
    private static func write(_ bytes: [UInt8], to descriptor: Int32) throws(SigstoreError) {
        try writing.withLock { _ throws(SigstoreError) in try writeAll(bytes, to: descriptor) }
    }

    private static func writeAll(_ bytes: [UInt8], to descriptor: Int32) throws(SigstoreError) {
        var rest = bytes[...]
        while !rest.isEmpty {
            let count = unsafe rest.withUnsafeBytes { unsafe Glibc.write(descriptor, $0.baseAddress, $0.count) }
            if count < 0 {
                if errno == EINTR { continue }
                throw SigstoreError(
                    .outputFailed, "the result cannot be written to standard output (error \(errno))",
                    advice: "the disk may be full, or the program that reads it has ended")
            }
            rest = rest.dropFirst(count)
        }
    }
}

extension SigstoreError.Code {
    /// Standard output cannot be written to.
    static let outputFailed = Self("output-failed")
}
