import Dispatch
import LocalSystem
import SwSignCore
import Synchronization

/// How far a command is that takes longer than a second: the last line of a terminal, gone when the command ends. If
/// standard error is no terminal, and with `--quiet`, there is none.
final class ProgressBar: Sendable {
    /// What is counted.
    enum Unit { case bytes, images }

    private struct State {
        /// Since when the command has been working, without the time that a person took to answer.
        var start = ContinuousClock.now
        var (done, expected, unit): (Int64, Int64, Unit) = (0, 0, .bytes)
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

    /// Counts on.
    func advance(_ count: Int) { state.withLock { ($0.done, $0.note) = ($0.done + Int64(count), nil) } }

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
            let line = Self.line(state, seconds)
            output.status(state.note.map { "\(line), \($0)" } ?? line)
        }
    }

    private static func line(_ state: State, _ seconds: Int64) -> String {
        guard state.expected > 0 else {
            return state.done > 0 ? "\(amount(state.done)) read, \(seconds) s" : "working, \(seconds) s"
        }
        let done = min(state.done, state.expected)
        let percent = Int(Double(done) / Double(state.expected) * 100)
        let counted =
            switch state.unit {
            case .bytes: "\(amount(done)) of \(amount(state.expected))"
            case .images: "\(done) of \(state.expected) images"
            }
        let width = max(0, min(30, columns - counted.utf8.count - 24))
        let filled = width * percent / 100
        let bar = "[" + String(repeating: "=", count: filled) + String(repeating: " ", count: width - filled) + "]"
        return "\(width > 4 ? bar + " " : "")\(percent)%, \(counted), \(seconds) s"
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
