import LocalSystem
import StrictJSON
import SwSignCore
import Synchronization

/// The streams of a process. A test may listen in their place.
struct Streams: Sendable {
    /// Writes all bytes to standard output or standard error.
    var write: @Sendable ([UInt8], StandardStream) throws(SigstoreError) -> Void = {
        (bytes, stream) throws(SigstoreError) in try stream.write(bytes)
    }
    var isTerminal: @Sendable (StandardStream) -> Bool = { $0.isTerminal }
    var isFile: @Sendable (StandardStream) -> Bool = { $0.isFile }
}

/// The one place that prints. Whatever reaches a terminal or a CI log goes through here, and every character that could
/// do anything but show a glyph (carriage returns, escape sequences, bidirectional marks, line breaks inside a name) is
/// written as an escape; so text from outside can neither hide nor forge a line.
final class Output: Sendable {
    /// Where all of it goes.
    let streams: Streams
    private let settings = Mutex((verbose: false, jsonErrors: false, color: GlobalOptions.Color.auto))
    /// Whether the environment asks for no colours, or the terminal has none.
    private let isPlain: Bool
    /// The files that results will replace, which this run may not read.
    let places = OutputPlaces()
    /// What `--output-file` keeps until the command has ended, so that the file is written whole or not at all.
    private let kept = Mutex<Kept?>(nil)

    /// The content of the file of `--output-file`: the end of it, and what was too large for memory.
    private struct Kept {
        let file: OutputFile
        var bytes: [UInt8] = []
        var spool: TemporaryFile?
        /// How much is kept in memory.
        static let limit = 1 << 20

        mutating func append(_ more: [UInt8]) throws(SigstoreError) {
            bytes.append(contentsOf: more)
            guard bytes.count > Self.limit, !file.isWrittenInPlace else { return }
            let spool = if let spool { spool } else { try file.begin() }
            try spool.write(bytes)
            (self.spool, bytes) = (spool, [])
        }

        func write() throws(SigstoreError) {
            guard let spool else { return try file.write(bytes) }
            try spool.write(bytes)
            try file.finish(spool)
        }
    }

    init(_ streams: Streams, _ environment: Environment) {
        self.streams = streams
        isPlain = environment.value("NO_COLOR") != nil || environment.value("TERM") == "dumb"
    }

    /// Sets what `--verbose`, `--output-file`, `--errors json` and `--color` ask for.
    func configure(verbose: Bool, file: String?, jsonErrors: Bool, color: GlobalOptions.Color) throws(SigstoreError) {
        settings.withLock { $0 = (verbose, jsonErrors, color) }
        guard let file, !file.isEmpty, file != "-" else { return }
        let place = OutputFile(file, mode: 0o644)
        try place.expectWritable()
        places.reserve(place)
        kept.withLock { $0 = Kept(file: place) }
    }

    /// Writes the file of `--output-file`. A command that failed and had no result leaves what stands there.
    func finish(succeeded: Bool) throws(SigstoreError) {
        guard let kept = kept.withLock({ $0.take() }), succeeded || !kept.bytes.isEmpty || kept.spool != nil else {
            return
        }
        try places.expectNotRead(kept.file)
        try kept.write()
    }

    /// One line of result on standard output.
    func result(_ line: String) throws(SigstoreError) { try text(Self.escaped(line) + "\n") }

    /// Text of our own making that may have several lines: help, PEM, base64, completion scripts.
    func text(_ text: String) throws(SigstoreError) { try deliver(Array(text.utf8)) { $0 } }

    /// One JSON value on a line of standard output.
    func json(_ value: JSONValue) throws(SigstoreError) { try json(value.serialized()) }

    /// JSON on a line of standard output, as `JSONValue.serialized()` writes it.
    func json(_ bytes: [UInt8]) throws(SigstoreError) { try deliver(bytes + [0x0a], shown: Self.withoutCommands) }

    /// Bytes from outside as they are, for a file or pipe that standard output leads to. A terminal shows them as text, in
    /// which whatever could do anything but show a glyph stands as an escape.
    func bytes(_ bytes: [UInt8]) throws(SigstoreError) {
        let isTerminal = kept.withLock { $0?.file }?.isTerminal ?? streams.isTerminal(.output)
        try deliver(bytes) { isTerminal ? onTerminal($0) : $0 }
    }

    /// Hands bytes to the file of `--output-file`, or to standard output as they may be shown there, which such a "file"
    /// may be too.
    private func deliver(_ bytes: [UInt8], shown: ([UInt8]) -> [UInt8]) throws(SigstoreError) {
        guard let file = kept.withLock({ $0?.file }) else { return try write(shown(bytes), to: .output) }
        let added = file.isWrittenInPlace ? shown(bytes) : bytes
        try kept.withLock { kept throws(SigstoreError) in try kept?.append(added) }
    }

    /// Whether results are shown on a terminal.
    var isOnTerminal: Bool { kept.withLock { $0 == nil } && streams.isTerminal(.output) }

    /// A piece of a report, in which everything from outside is escaped already.
    /// - Parameter isJSON: Whether it is JSON, of which no piece ends within a string.
    func report(_ bytes: [UInt8], isJSON: Bool) throws(SigstoreError) {
        try deliver(bytes) { isJSON ? Self.withoutCommands($0) : $0 }
    }

    /// What a flag has written to a place.
    enum Written { case json, line, bytes }

    /// Writes what a flag names a place for: a file, which is then said, or standard output for `-`.
    /// - Parameters:
    ///   - content: The whole content.
    ///   - kind: What it is, as standard output is to show it.
    ///   - path: The place.
    ///   - name: What it is called, such as "bundle".
    func write(_ content: [UInt8], _ kind: Written, to path: String, _ name: String) throws(SigstoreError) {
        guard path == "-" else {
            try OutputFile(path).write(content)
            return note("Wrote \(name) to file \(path)", .success)
        }
        switch kind {
        case .json: try json(content)
        case .line: try result(String(decoding: content, as: UTF8.self))
        case .bytes: try bytes(content)
        }
    }

    /// What a word tells, and so its colour.
    enum Mark {
        case success, warning, failure
        /// What a person is to do.
        case request

        /// The parameter of SGR (ECMA-48) for it: green, yellow, red or cyan.
        fileprivate var parameter: Int {
            switch self {
            case .success: 32
            case .warning: 33
            case .failure: 31
            case .request: 36
            }
        }
    }

    /// A line for the person, on standard error.
    /// - Parameters:
    ///   - mark: What the first word of the line tells. That word must be ours: nothing from outside has a colour.
    ///   - lead: What stands before that word, as the first cell of a table does.
    func note(_ line: String, _ mark: Mark? = nil, after lead: String = "") {
        var text = Self.escaped(line)
        if let mark, isColored(.errors) {
            let word = text.utf8.prefix { $0 != 0x20 }
            let rest = text.utf8.dropFirst(word.count)
            text = "\u{1b}[\(mark.parameter)m\(Substring(word))\u{1b}[0m\(Substring(rest))"
        }
        try? write(Array((Self.escaped(lead) + text + "\n").utf8), to: .errors)
    }

    /// Whether words have colours there. A file never has any.
    func isColored(_ stream: StandardStream) -> Bool {
        switch settings.withLock({ $0.color }) {
        case .never: false
        case .always: !streams.isFile(stream)
        case .auto: !isPlain && streams.isTerminal(stream)
        }
    }

    /// The line at the end of a terminal that is replaced by the next one; `nil` takes it away.
    func status(_ line: String?) {
        statusIsShown.withLock { isShown in
            guard isShown || line != nil else { return }
            try? writeAll(Array((Self.eraseLine + (line.map(Self.escaped) ?? "")).utf8), to: .errors)
            isShown = line != nil
        }
    }

    /// A line about something that makes the result weaker than usual, on standard error.
    func warn(_ line: String) { note("WARNING: \(line)", .warning) }

    /// A line on standard error that is shown with `--verbose` only.
    func detail(_ line: String) { if settings.withLock({ $0.verbose }) { note(line) } }

    /// What went wrong, on standard error: what happened, its code, and what to do next.
    func error(_ error: SigstoreError) {
        if settings.withLock({ $0.jsonErrors }) {
            try? write(Self.withoutCommands(Self.report(error).serialized()) + [0x0a], to: .errors)
        } else {
            note("Error: \(Self.bounded(error.message)) [\(error.code)]", .failure)
            for detail in error.details { note("       \(Self.bounded(detail))") }
            if let advice = error.advice { note("       \(advice)") }
        }
    }

    /// An error for programs.
    static func report(_ error: SigstoreError) -> JSONValue {
        var members: JSONObject = ["code": .string(error.code.rawValue), "message": .string(bounded(error.message))]
        if !error.details.isEmpty {
            members["details"] = .array(error.details.map { .string(bounded($0)) })
        }
        if let advice = error.advice { members["advice"] = .string(advice.description) }
        return .object(["error": .object(members)])
    }

    /// The text as a terminal or the log of a CI job may show it.
    static func escaped(_ text: String) -> String { text.visible() }

    /// The bytes as a terminal may show them. Tabs and line breaks do no harm.
    private func onTerminal(_ bytes: [UInt8]) -> [UInt8] {
        let lines = bytes.split(separator: 0x0a, omittingEmptySubsequences: false).map { line in
            line.last == 0x0d ? line.dropLast() : line
        }
        let shown = lines.map { line -> String in
            let parts = line.split(separator: 0x09, omittingEmptySubsequences: false)
            return parts.map { Self.escaped(String(decoding: $0, as: UTF8.self)) }.joined(separator: "\t")
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
    /// The thread that writes holds this.
    private let statusIsShown = Mutex(false)

    /// Writes the bytes in one piece: several files may be worked on at the same time.
    private func write(_ bytes: [UInt8], to stream: StandardStream) throws(SigstoreError) {
        try statusIsShown.withLock { isShown throws(SigstoreError) in
            if isShown { try? writeAll(Array(Self.eraseLine.utf8), to: .errors) }
            isShown = false
            try writeAll(bytes, to: stream)
        }
    }

    private func writeAll(_ bytes: [UInt8], to stream: StandardStream) throws(SigstoreError) {
        do throws(SigstoreError) { try streams.write(bytes, stream) } catch {
            // `| head` has read what it wanted: no error, and nothing to say.
            if error.code == .readerEnded { throw error }
            throw SigstoreError(
                .outputFailed, "the result cannot be written to standard output: \(error.message)",
                advice: "the disk may be full, or standard output closed")
        }
    }
}

extension SigstoreError.Code {
    /// Standard output cannot be written to.
    static let outputFailed = Self("output-failed")
}
