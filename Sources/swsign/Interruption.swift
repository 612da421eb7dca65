import Glibc
import HTTPTransport

/// What is said where a person, or a CI system that cancels a job, stops the program. It ends by the signal all the same,
/// as shells and CI systems expect.
enum Interruption {
    /// Whether errors are printed as JSON.
    nonisolated(unsafe) static var isJSON = false
    /// Whether the last line of the terminal may be a progress bar.
    nonisolated(unsafe) private static var isTerminal = false

    /// Begins to listen. A signal that is ignored, as by `nohup`, stays so.
    static func prepare() {
        unsafe isTerminal = isatty(STDERR_FILENO) == 1
        for number in [SIGINT, SIGTERM, SIGHUP] {
            var before = sigaction()
            unsafe sigaction(number, nil, &before)
            guard unsafe before.__sigaction_handler.sa_handler == nil else { continue }
            var action = sigaction()
            unsafe action.__sigaction_handler.sa_handler = Self.interrupted
            action.sa_flags = CInt(bitPattern: UInt32(SA_RESETHAND))
            unsafe sigaction(number, &action, nil)
        }
    }

    /// The terminal while a person is asked something, else -1, and how it was before.
    nonisolated(unsafe) private static var asked: CInt = -1
    nonisolated(unsafe) private static var before = termios()

    /// Makes known that a terminal was changed, to be put back whatever ends the program; -1 where none is any more.
    static func isAsking(_ descriptor: CInt, before state: termios) {
        unsafe asked = -1
        unsafe before = state
        unsafe asked = descriptor
    }

    // Nothing from here on takes memory or a lock: what was interrupted may hold either.

    private static let interrupted: @convention(c) (CInt) -> Void = { number in
        clean()
        if unsafe isJSON {
            say(
                #"{"error":{"code":"interrupted","message":"interrupted before it was done","advice":"run the command again: what a log has recorded already is not recorded twice"}}"#
            )
            say("\n")
        } else {
            say("Error: interrupted before it was done [interrupted]\n")
            say("       run the command again: what a log has recorded already is not recorded twice\n")
        }
        raise(number)
    }

    /// What is done where `--timeout` is over.
    static let timedOut: @convention(c) (CInt) -> Void = { _ in
        clean()
        if unsafe isJSON {
            say(
                #"{"error":{"code":"timed-out","message":"the command took longer than --timeout allows and was stopped","advice":"run it again, or give it more time"}}"#
            )
            say("\n")
        } else {
            say("Error: the command took longer than --timeout allows and was stopped [timed-out]\n")
            say("       run it again, or give it more time\n")
        }
        _exit(1)
    }

    /// Ends the programs that were asked something, puts the terminal back, and takes the progress bar away.
    private static func clean() {
        ChildProcess.killAll()
        if unsafe asked >= 0 {
            var state = unsafe before
            unsafe tcsetattr(asked, TCSANOW, &state)
            say("\n")
        }
        if unsafe isTerminal { say("\r\u{1b}[K") }
    }

    private static func say(_ text: StaticString) {
        _ = unsafe write(STDERR_FILENO, text.utf8Start, text.utf8CodeUnitCount)
    }
}
