internal import Glibc

/// Signals to this process. A handler may take neither memory nor a lock: what was interrupted may hold either.
package enum ProcessSignals {
    /// Makes errors of what would be signals: a reader that ends early, and a file that may not grow.
    package static func ignoreFailedWrites() {
        signal(SIGPIPE, SIG_IGN)
        signal(SIGXFSZ, SIG_IGN)
    }

    /// Calls the handler when a person or a job's end stops the program, once. A signal that is ignored, as by `nohup`,
    /// stays so.
    package static func onInterruption(_ handler: @escaping @convention(c) (CInt) -> Void) {
        for number in [SIGINT, SIGTERM, SIGHUP] {
            var before = sigaction()
            unsafe sigaction(number, nil, &before)
            guard unsafe before.__sigaction_handler.sa_handler == nil else { continue }
            var action = sigaction()
            unsafe action.__sigaction_handler.sa_handler = handler
            action.sa_flags = CInt(bitPattern: UInt32(SA_RESETHAND))
            unsafe sigaction(number, &action, nil)
        }
    }

    /// Calls the handler after some time.
    /// - Returns: Whether the clock was set.
    package static func onAlarm(after seconds: Double, _ handler: @escaping @convention(c) (CInt) -> Void) -> Bool {
        signal(SIGALRM, handler)
        var limit = itimerval()
        limit.it_value.tv_sec = Int(seconds)
        limit.it_value.tv_usec = Int(seconds.truncatingRemainder(dividingBy: 1) * 1e6)
        return unsafe setitimer(__itimer_which_t(ITIMER_REAL.rawValue), &limit, nil) == 0
    }

    /// Ends this process by a signal, as what waits for it expects. May be called by a signal handler.
    package static func end(by number: CInt) { raise(number) }

    /// Ends this process at once, without what else is done at its end. May be called by a signal handler.
    package static func end(status: CInt) -> Never { _exit(status) }

    /// Writes to standard error. May be called by a signal handler.
    package static func say(_ text: StaticString) {
        _ = unsafe write(STDERR_FILENO, text.utf8Start, text.utf8CodeUnitCount)
    }
}
