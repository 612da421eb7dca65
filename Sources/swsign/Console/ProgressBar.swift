import Dispatch
import LocalSystem
import SwSignCore
import Synchronization

/// How far a command is that takes longer than a second: the last line of a terminal, gone when the command ends. If
/// standard error is no terminal, and with `--quiet`, there is none.
final class ProgressBar: Sendable {
    /// What is counted.
    enum Unit {
        case bytes
        /// Bytes of images, which are copied.
        case copied
        /// Images, with what is done to them, such as "verified".
        case images(String)
    }

    private struct State {
        /// Since when the command has been working, without the time that a person took to answer.
        var start = ContinuousClock.now
        var (done, expected, unit): (Int64, Int64, Unit) = (0, 0, .bytes)
        /// Bytes that came from servers, and that went to them.
        var (pulled, pushed): (Int64, Int64) = (0, 0)
        var (isEnabled, isPaused) = (false, false)
        /// What is going on, if that can take a while.
        var note: String?
    }

    private let output: Output
    private let state = Mutex(State())
    private let timer = Mutex<(any DispatchSourceTimer)?>(nil)

    init(_ output: Output) { self.output = output }

    /// Starts to look at the clock, unless the bar would not be seen.
    func enable(quiet: Bool) {
        guard !quiet, output.streams.isTerminal(.errors) else { return }
        state.withLock {
            $0.start = .now
            $0.isEnabled = true
        }
        timer.withLock { timer in
            let source = DispatchSource.makeTimerSource(queue: DispatchQueue(label: "progress"))
            source.schedule(deadline: .now() + 1, repeating: .milliseconds(200))
            source.setEventHandler { [weak self] in self?.draw() }
            source.resume()
            timer = source
        }
    }

    /// Begins to count.
    /// - Parameters:
    ///   - total: Where it will end; 0 if that is not known.
    ///   - unit: What is counted.
    func begin(_ total: Int64, of unit: Unit) {
        state.withLock { ($0.done, $0.expected, $0.unit, $0.note) = (0, total, unit, nil) }
    }

    /// Expects more than was known when counting began.
    func expect(_ more: Int) { state.withLock { $0.expected += Int64(more) } }

    /// Counts on.
    func advance(_ count: Int) { state.withLock { ($0.done, $0.note) = ($0.done + Int64(count), nil) } }

    /// Counts bytes of images on that are copied.
    /// - Parameters:
    ///   - more: How many more there are to copy.
    ///   - count: How many more are copied.
    func copy(more: Int64, _ count: Int64) {
        state.withLock {
            $0.unit = .copied
            $0.expected = $0.expected.addingReportingOverflow(more).partialValue
            $0.done = $0.done.addingReportingOverflow(count).partialValue
        }
    }

    /// Counts bytes on that came from a server or went to one.
    func transfer(pulled: Int, pushed: Int) {
        state.withLock { ($0.pulled, $0.pushed) = ($0.pulled + Int64(pulled), $0.pushed + Int64(pushed)) }
    }

    /// Says what is going on from now on.
    func say(_ words: String) { state.withLock { $0.note = words } }

    /// Takes the bar away while a person is asked.
    func pause() {
        state.withLock { $0.isPaused = true }
        output.status(nil)
    }

    /// Shows the bar again, a second later.
    func resume() {
        state.withLock {
            $0.isPaused = false
            $0.start = .now
        }
    }

    /// Takes the bar away for good.
    func finish() {
        state.withLock { $0.isEnabled = false }
        output.status(nil)
    }

    private func draw() {
        // Under the lock, so that nothing is drawn behind the back of who takes the bar away.
        state.withLock { state in
            let seconds = (ContinuousClock.now - state.start).components.seconds
            guard state.isEnabled, !state.isPaused, seconds >= 1 else { return }
            output.status(Self.line(state, seconds))
        }
    }

    private static func line(_ state: State, _ seconds: Int64) -> String {
        var parts: [String] = []
        let done = max(0, min(state.done, state.expected))
        let percent = state.expected > 0 ? Int(Double(done) / Double(state.expected) * 100) : nil
        if let percent {
            switch state.unit {
            case .bytes: parts = ["\(percent)%", "\(amount(done)) of \(amount(state.expected))"]
            case .copied: parts = ["\(percent)%", "\(amount(done)) of \(amount(state.expected)) copied"]
            case .images(let verb): parts = ["\(percent)%", "\(done) of \(state.expected) images \(verb)"]
            }
        } else {
            parts = [state.done > 0 ? "\(amount(state.done)) read" : "working"]
        }
        if state.pulled > 0 { parts.append("\(amount(state.pulled)) pulled") }
        if state.pushed > 0 { parts.append("\(amount(state.pushed)) pushed") }
        parts.append("\(seconds) s")
        if let note = state.note { parts.append(note) }
        let columns = columns
        // A line that went on in the next one could not be taken away.
        let text = String(parts.joined(separator: ", ").prefix(max(0, columns - 1)))
        guard let percent else { return text }
        let width = min(30, columns - text.count - 4)
        guard width > 4 else { return text }
        let filled = width * percent / 100
        return "[" + String(repeating: "=", count: filled) + String(repeating: " ", count: width - filled) + "] " + text
    }

    private static func amount(_ bytes: Int64) -> String {
        for (unit, shift) in [("GiB", 30), ("MiB", 20), ("KiB", 10)] where bytes >> Int64(shift) > 0 {
            let tenths = (bytes >> Int64(shift - 10)) * 10 / 1024
            return "\(tenths / 10).\(tenths % 10) \(unit)"
        }
        return "\(bytes) B"
    }

    private static var columns: Int { StandardStream.errors.columns ?? 80 }
}
