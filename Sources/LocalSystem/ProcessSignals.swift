#if canImport(Glibc)
    internal import Glibc
#elseif canImport(Musl)
    internal import Musl
#elseif canImport(Darwin)
    internal import Darwin
#endif

/// Signals to this process. A handler may take neither memory nor a lock: what was interrupted may hold either.
package enum ProcessSignals {
    /// Makes errors of what would be signals: a reader that ends early, and a file that may not grow.
    package static func ignoreFailedWrites() {
        signal(SIGPIPE, SIG_IGN)
        signal(SIGXFSZ, SIG_IGN)
    }

    /// Calls the handler when a person or a job's end stops the process, once. A signal that is ignored, as by `nohup`,
    /// stays so.
    package static func onInterruption(_ handler: @escaping @convention(c) (CInt) -> Void) {
        for number in [SIGINT, SIGTERM, SIGHUP] {
            var before = sigaction()
            unsafe sigaction(number, nil, &before)
            guard before.handler == nil else { continue }
            var action = sigaction()
            action.handler = handler
            action.sa_flags = CInt(truncatingIfNeeded: SA_RESETHAND)
            unsafe sigaction(number, &action, nil)
        }
    }

    /// Does something that nothing may stop halfway. What would stop the process meanwhile is given to the handler, each time, and
    /// an alarm is ignored; a signal that is ignored, as by `nohup`, stays so.
    package static func withoutInterruption<Value, Failure: Error>(
        _ handler: @escaping @convention(c) (CInt) -> Void, _ body: () throws(Failure) -> Value
    ) throws(Failure) -> Value {
        let numbers = [SIGINT, SIGTERM, SIGHUP, SIGALRM]
        let before = numbers.map { number in
            var (old, new) = (sigaction(), sigaction())
            unsafe sigaction(number, nil, &old)
            if number == SIGALRM || old.isIgnored {
                new.handler = SIG_IGN
            } else {
                new.handler = handler
                new.sa_flags = CInt(truncatingIfNeeded: SA_RESTART)
                // One at a time, whichever it is.
                for other in numbers { unsafe sigaddset(&new.sa_mask, other) }
            }
            unsafe sigaction(number, &new, nil)
            return old
        }
        defer {
            for (number, old) in zip(numbers, before) {
                var old = old
                unsafe sigaction(number, &old, nil)
            }
        }
        return try body()
    }

    /// Calls the handler after some time.
    /// - Returns: Whether the clock was set.
    package static func onAlarm(after seconds: Double, _ handler: @escaping @convention(c) (CInt) -> Void) -> Bool {
        signal(SIGALRM, handler)
        var limit = itimerval()
        limit.it_value.tv_sec = .init(seconds)
        limit.it_value.tv_usec = .init(seconds.truncatingRemainder(dividingBy: 1) * 1e6)
        #if canImport(Glibc)
            return unsafe setitimer(__itimer_which_t(ITIMER_REAL.rawValue), &limit, nil) == 0
        #else
            return unsafe setitimer(ITIMER_REAL, &limit, nil) == 0
        #endif
    }

    /// Ends this process by a signal, as what waits for it expects. May be called by a signal handler.
    package static func end(by number: CInt) {
        signal(number, SIG_DFL)
        raise(number)
    }

    /// Ends this process as a write to a pipe ends it that nothing reads any more.
    package static func endAsReaderEnded() -> Never {
        signal(SIGPIPE, SIG_DFL)
        raise(SIGPIPE)
        // The signal is held back.
        _exit(128 + SIGPIPE)
    }

    /// Ends this process at once, without what else is done at its end. May be called by a signal handler.
    package static func end(status: CInt) -> Never { _exit(status) }

    /// Writes to standard error. May be called by a signal handler.
    package static func say(_ text: StaticString) {
        _ = unsafe write(STDERR_FILENO, text.utf8Start, text.utf8CodeUnitCount)
    }

    /// Writes a number that is not negative to standard error. May be called by a signal handler.
    package static func say(_ number: Int) {
        if number >= 10 { say(number / 10) }
        var digit = UInt8(truncatingIfNeeded: 0x30 + max(0, number) % 10)
        _ = unsafe write(STDERR_FILENO, &digit, 1)
    }
}

extension sigaction {
    fileprivate var isIgnored: Bool {
        unsafe unsafeBitCast(handler, to: Int.self) == unsafeBitCast(SIG_IGN, to: Int.self)
    }

    /// The handler: each C library has it under another name.
    fileprivate var handler: (@convention(c) (CInt) -> Void)? {
        get {
            #if canImport(Glibc)
                return unsafe __sigaction_handler.sa_handler
            #elseif canImport(Musl)
                return unsafe __sa_handler.sa_handler
            #else
                return unsafe __sigaction_u.__sa_handler
            #endif
        }
        set {
            #if canImport(Glibc)
                unsafe __sigaction_handler.sa_handler = newValue
            #elseif canImport(Musl)
                unsafe __sa_handler.sa_handler = newValue
            #else
                unsafe __sigaction_u.__sa_handler = newValue
            #endif
        }
    }
}
