import Glibc

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

    /// Nothing here takes memory or a lock: what was interrupted may hold either.
    private static let interrupted: @convention(c) (CInt) -> Void = { number in
        if unsafe isTerminal { say("\r\u{1b}[K") }
        if unsafe isJSON {
            say(
                #"{"error":{"code":"interrupted","message":"interrupted; no file was left half written","advice":"run the command again: what a log has recorded already is not recorded twice"}}"#
            )
            say("\n")
        } else {
            say("Error: interrupted; no file was left half written [interrupted]\n")
            say("       run the command again: what a log has recorded already is not recorded twice\n")
        }
        raise(number)
    }

    private static func say(_ text: StaticString) {
        _ = unsafe write(STDERR_FILENO, text.utf8Start, text.utf8CodeUnitCount)
    }
}
