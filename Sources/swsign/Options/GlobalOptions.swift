import ArgumentParser
import LocalSystem
import StrictJSON
import SwSignCore

/// The flags that every command has.
struct GlobalOptions: ParsableArguments {
    @Option(name: .customLong("output-file"), help: "Write what would go to standard output to this file.")
    var outputFile: String?
    @Option(name: .shortAndLong, help: "How long the command may take, such as 90s or 3m0s.")
    var timeout: Duration?
    @Flag(name: [.long, .customShort("d")], help: "Show what is being done.")
    var verbose = false
    @Flag(help: "Show no progress bar.")
    var quiet = false
    @Option(
        help:
            "Whether words on standard error have colours: auto (on a terminal), always (in a pipe too) or never. A file has none."
    )
    var color: Color = .auto
    @Option(help: "How errors are printed on standard error: text or json.")
    var errors: ErrorFormat = .text

    enum ErrorFormat: String, ExpressibleByArgument, CaseIterable { case text, json }
    enum Color: String, ExpressibleByArgument, CaseIterable { case auto, always, never }

    /// A span of time as Go writes it: `3m0s`, `1.5h`, `500ms`.
    struct Duration: ExpressibleByArgument {
        let seconds: Double

        init?(argument: String) {
            let units: [(String, Double)] = [
                ("ms", 0.001), ("us", 1e-6), ("ns", 1e-9), ("h", 3600), ("m", 60), ("s", 1),
            ]
            // Go reads a bare 0 as well.
            var (rest, total) = (Substring(argument == "0" ? "0s" : argument), 0.0)
            while !rest.isEmpty {
                let digits = rest.prefix { $0.isASCII && ($0.isNumber || $0 == ".") }
                rest = rest.dropFirst(digits.count)
                guard let number = Double(digits), let unit = units.first(where: { rest.hasPrefix($0.0) }) else {
                    return nil
                }
                total += number * unit.1
                rest = rest.dropFirst(unit.0.count)
            }
            guard argument != "", total >= 0, total < 1e9 else { return nil }
            seconds = total
        }
    }

    /// How long after the deadline of its requests the command is stopped, whatever it does, in seconds.
    private static let grace = 1.0

    /// Puts the flags into effect, before the command runs.
    func apply(to context: inout Context) throws(SigstoreError) {
        try context.output.configure(verbose: verbose, file: outputFile, jsonErrors: errors == .json, color: color)
        unsafe Interruption.isColored = context.output.isColored(.errors)
        context.progress.enable(quiet: quiet)
        guard let timeout, timeout.seconds > 0 else { return }
        // Requests end in time by themselves, so that what a log may have recorded is kept. What waits for something
        // else is stopped a little later.
        context.deadline = .now.advanced(by: .seconds(timeout.seconds))
        let last = timeout.seconds + Self.grace
        guard ProcessSignals.onAlarm(after: last, Interruption.timedOut) else {
            throw SigstoreError(.usage, "the time limit cannot be set")
        }
    }
}

extension GlobalOptions: FlagReader {
    mutating func take(_ given: inout GivenFlags) {
        outputFile = given.value("output-file")
        timeout = given.value("timeout")
        verbose = given.isOn("verbose")
        quiet = given.isOn("quiet")
        color = given.value("color") ?? .auto
        errors = given.value("errors") ?? .text
    }
}
