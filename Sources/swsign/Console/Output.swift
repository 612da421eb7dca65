import LocalSystem
import StrictJSON
import SwSignCore
import Synchronization

/// The one place that prints. Whatever reaches a terminal or a CI log goes through here, and every character that could
/// do anything but show a glyph (carriage returns, escape sequences, bidirectional marks, line breaks inside a name) is
/// written as an escape; so text from outside can neither hide nor forge a line.
enum Output {
    private static let settings = Mutex((verbose: false, jsonErrors: false))
    /// What `--output-file` keeps until the command has ended, so that the file is written whole or not at all.
    private static let kept = Mutex<(file: OutputFile, bytes: [UInt8])?>(nil)

    /// Sets what `--verbose`, `--output-file` and `--errors json` ask for.
    static func configure(verbose: Bool, file: String?, jsonErrors: Bool) throws(SigstoreError) {
        settings.withLock { $0 = (verbose, jsonErrors) }
        guard let file, !file.isEmpty else { return }
        let place = OutputFile(file, mode: 0o644)
        try place.expectWritable()
        place.reserve()
        kept.withLock { $0 = (file: place, bytes: []) }
    }

    /// Writes the file of `--output-file`. A command that failed and had no result leaves what stands there.
    static func finish(succeeded: Bool) throws(SigstoreError) {
        guard let (file, bytes) = kept.withLock({ $0 }), succeeded || !bytes.isEmpty else { return }
        try file.expectNotRead()
        try file.write(bytes)
    }

    /// One line of result on standard output.
    static func result(_ line: String) throws(SigstoreError) { try text(escaped(line) + "\n") }

    /// Text of our own making that may have several lines: help, PEM, base64, completion scripts.
    static func text(_ text: String) throws(SigstoreError) { try deliver(Array(text.utf8)) { $0 } }

    /// One JSON value on a line of standard output.
    static func json(_ value: JSONValue) throws(SigstoreError) { try json(value.serialized()) }

    /// JSON on a line of standard output, as ``JSONValue/serialized()`` writes it.
    static func json(_ bytes: [UInt8]) throws(SigstoreError) { try deliver(bytes + [0x0a], shown: withoutCommands) }

    /// Bytes from outside as they are, for a file or pipe that standard output leads to. A terminal shows them as text, in
    /// which whatever could do anything but show a glyph stands as an escape.
    static func bytes(_ bytes: [UInt8]) throws(SigstoreError) { try deliver(bytes, shown: onTerminal) }

    /// Hands bytes to the file of `--output-file`, or to standard output as they may be shown there.
    private static func deliver(_ bytes: [UInt8], shown: ([UInt8]) -> [UInt8]) throws(SigstoreError) {
        let isKept = kept.withLock { kept in
            kept?.bytes.append(contentsOf: bytes)
            return kept != nil
        }
        if !isKept { try write(shown(bytes), to: .output) }
    }

    /// A line for the person, on standard error.
    static func note(_ line: String) { try? write(Array((escaped(line) + "\n").utf8), to: .errors) }

    /// The line at the end of a terminal that is replaced by the next one; `nil` takes it away.
    static func status(_ line: String?) {
        statusIsShown.withLock { isShown in
            guard isShown || line != nil else { return }
            try? writeAll(Array((eraseLine + (line.map(escaped) ?? "")).utf8), to: .errors)
            isShown = line != nil
        }
    }

    /// A line about something that makes the result weaker than usual, on standard error.
    static func warn(_ line: String) { note("WARNING: \(line)") }

    /// A line on standard error that is shown with `--verbose` only.
    static func detail(_ line: String) { if settings.withLock({ $0.verbose }) { note(line) } }

    /// What went wrong, on standard error: what happened, its code, and what to do next.
    static func error(_ error: SigstoreError) {
        if settings.withLock({ $0.jsonErrors }) {
            try? write(withoutCommands(report(error).serialized()) + [0x0a], to: .errors)
        } else {
            note("Error: \(bounded(error.message)) [\(error.code)]")
            if let advice = error.advice { note("       \(advice)") }
        }
    }

    /// An error for programs.
    static func report(_ error: SigstoreError) -> JSONValue {
        var members: JSONObject = ["code": .string(error.code.rawValue), "message": .string(bounded(error.message))]
        if let advice = error.advice { members["advice"] = .string(advice.description) }
        return .object(["error": .object(members)])
    }

    /// The text with every character written as an escape that could do anything but show a glyph; and so is the first
    /// character of what CI systems take for a command: `::` at the beginning of a line, `##[` and `##vso[` anywhere.
    static func escaped(_ text: String) -> String {
        let begin = text.unicodeScalars.drop { $0.properties.isWhitespace }
        let isCommand = begin.starts(with: "::".unicodeScalars)
        if !isCommand, text.utf8.allSatisfy({ $0 >= 0x20 && $0 < 0x7f && $0 != 0x23 }) { return text }
        var out = ""
        for index in text.unicodeScalars.indices {
            let scalar = text.unicodeScalars[index]
            let rest = text.unicodeScalars[index...]
            if scalar.changesDisplay || isCommand && index == begin.startIndex
                || scalar == "#" && ["##[", "##vso["].contains(where: { rest.starts(with: $0.unicodeScalars) })
            {
                out += "\\u{\(String(scalar.value, radix: 16))}"
            } else {
                out.unicodeScalars.append(scalar)
            }
        }
        return out
    }

    /// The bytes as a terminal may show them; elsewhere as they are. Tabs and line breaks harm nobody.
    private static func onTerminal(_ bytes: [UInt8]) -> [UInt8] {
        guard StandardStream.output.isTerminal else { return bytes }
        let lines = bytes.split(separator: 0x0a, omittingEmptySubsequences: false).map { line in
            line.last == 0x0d ? line.dropLast() : line
        }
        let shown = lines.map { line -> String in
            let parts = line.split(separator: 0x09, omittingEmptySubsequences: false)
            return parts.map { escaped(String(decoding: $0, as: UTF8.self)) }.joined(separator: "\t")
        }
        if zip(lines, shown).contains(where: { !$0.elementsEqual($1.utf8) }) {
            warn("control characters are shown as escapes; redirect the output into a file to have it as it is")
        }
        return Array(shown.joined(separator: "\n").utf8)
    }

    /// The JSON with what CI systems take for a command broken by escapes: in `##[` and `##vso[` the first `#`, and each `:`
    /// before another one. In JSON these stand in strings only, so that programs read the same value.
    private static func withoutCommands(_ json: [UInt8]) -> [UInt8] {
        let commands = ["::", "##[", "##vso["].map { Array($0.utf8) }
        var out: [UInt8] = []
        out.reserveCapacity(json.count)
        for (index, byte) in json.enumerated() {
            if byte == 0x3a || byte == 0x23, commands.contains(where: { json[index...].starts(with: $0) }) {
                out += Array("\\u00\(String(byte, radix: 16))".utf8)
            } else {
                out.append(byte)
            }
        }
        return out
    }

    /// What is said of an error: a text from outside may be as long as its file.
    private static func bounded(_ text: String) -> String {
        let limit = 8192
        guard text.utf8.count > limit else { return text }
        return String(decoding: text.utf8.prefix(limit), as: UTF8.self) + "… (\(text.utf8.count - limit) bytes more)"
    }

    /// Back to the beginning of the line, and erase it (ECMA-48, EL).
    private static let eraseLine = "\r\u{1b}[K"
    /// Whoever writes holds this.
    private static let statusIsShown = Mutex(false)

    /// Writes the bytes in one piece: several files may be worked on at the same time.
    private static func write(_ bytes: [UInt8], to stream: StandardStream) throws(SigstoreError) {
        try statusIsShown.withLock { isShown throws(SigstoreError) in
            if isShown { try? writeAll(Array(eraseLine.utf8), to: .errors) }
            isShown = false
            try writeAll(bytes, to: stream)
        }
    }

    private static func writeAll(_ bytes: [UInt8], to stream: StandardStream) throws(SigstoreError) {
        do throws(SigstoreError) { try stream.write(bytes) } catch {
            throw SigstoreError(
                .outputFailed, "the result cannot be written to standard output: \(error.message)",
                advice: "the disk may be full, or the program that reads it has ended")
        }
    }
}

extension SigstoreError.Code {
    /// Standard output cannot be written to.
    static let outputFailed = Self("output-failed")
}
