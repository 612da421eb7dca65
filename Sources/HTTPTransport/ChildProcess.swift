internal import Glibc
internal import Synchronization

/// Another program, run for what it prints: a credential helper, a CI system's agent, a browser. It gets none of this
/// process's open files but the three standard ones, so that no connection or lock outlives us in it.
package enum ChildProcess {
    /// What a program answered.
    package struct Answer: Sendable {
        /// The exit status; 128 and more where a signal ended it.
        package let status: CInt
        /// Its standard output.
        package let output: [UInt8]
    }

    /// Why there is no answer.
    package enum Failure: Error {
        case notStarted, tookTooLong, saidTooMuch
    }

    /// Where a program is, by `PATH` or by its whole path.
    /// - Returns: `nil` where it is not installed.
    package static func find(_ name: String, environment: [String: String]) -> String? {
        if name.utf8.first == 0x2f { return unsafe access(name, X_OK) == 0 ? name : nil }
        for directory in (environment["PATH"] ?? "/usr/local/bin:/usr/bin:/bin").split(separator: ":") {
            let path = "\(directory)/\(name)"
            if directory.utf8.first == 0x2f, unsafe access(path, X_OK) == 0 { return path }
        }
        return nil
    }

    /// Runs a program to its end. To be called on a thread of its own, which may block, and on which SIGPIPE is blocked
    /// from then on: a program that ends before it has read everything must not end us.
    /// - Parameters:
    ///   - arguments: The program, which is looked for in `PATH` where it is named without a slash, and its arguments.
    ///   - environment: Its environment; `nil` is that of this process.
    ///   - input: What it finds on its standard input, at most 64 KiB, the least that a pipe's buffer holds.
    ///   - showsErrors: Whether its standard error is ours.
    ///   - limit: The most bytes that it may print.
    ///   - timeout: How long it may take; then it is killed, with everything that it has started.
    /// - Throws: ``Failure``.
    package static func run(
        _ arguments: [String], environment: [String: String]? = nil, input: [UInt8] = [], showsErrors: Bool,
        limit: Int = 1 << 16, timeout: Duration
    ) throws(Failure) -> Answer {
        let deadline = ContinuousClock.now + timeout
        guard input.count <= 1 << 16 else { throw .notStarted }
        let (process, toProgram, fromProgram) = try spawning.withLock { (_) throws(Failure) in
            // What it reads from, what we write to; what we read from, what it writes to.
            var (toProgram, fromProgram): ([CInt], [CInt]) = ([-1, -1], [-1, -1])
            guard unsafe pipe(&toProgram) == 0 else { throw .notStarted }
            defer { close(toProgram[0]) }
            guard unsafe pipe(&fromProgram) == 0,
                let process = spawn(
                    arguments, environment, [toProgram[0], fromProgram[1], showsErrors ? STDERR_FILENO : nil],
                    flag: .group)
            else {
                for descriptor in [toProgram[1]] + fromProgram where descriptor >= 0 { close(descriptor) }
                throw .notStarted
            }
            close(fromProgram[1])
            return (process, toProgram[1], fromProgram[0])
        }
        defer { close(fromProgram) }
        var signals = sigset_t()
        unsafe sigemptyset(&signals)
        unsafe sigaddset(&signals, SIGPIPE)
        unsafe pthread_sigmask(SIG_BLOCK, &signals, nil)
        _ = unsafe write(toProgram, input, input.count)
        close(toProgram)

        var output: [UInt8] = []
        let failure = read(from: fromProgram, into: &output, limit: limit, until: deadline)
        // Also what it started itself, which could hold the pipe open.
        if failure != nil { kill(-process, SIGKILL) }
        var status: CInt = 0
        while unsafe waitpid(process, &status, 0) < 0 && errno == EINTR {}
        if let failure { throw failure }
        let signal = status & 0x7f
        return Answer(status: signal == 0 ? status >> 8 & 0xff : 128 + signal, output: output)
    }

    /// - Returns: Why the program did not close its output in time and within the limit.
    private static func read(
        from pipe: CInt, into output: inout [UInt8], limit: Int, until end: ContinuousClock.Instant
    ) -> Failure? {
        var chunk = [UInt8](repeating: 0, count: 4096)
        while true {
            let left = ContinuousClock.now.duration(to: end)
            guard left > .zero else { return .tookTooLong }
            var poller = pollfd(fd: pipe, events: Int16(POLLIN), revents: 0)
            let ready = unsafe poll(&poller, 1, CInt(clamping: left.components.seconds * 1000 + 1))
            if ready == 0 || ready < 0 && errno == EINTR { continue }
            let count = ready < 0 ? -1 : unsafe Glibc.read(pipe, &chunk, chunk.count)
            if count < 0 && errno == EINTR { continue }
            guard count > 0 else { return nil }
            output += chunk[..<count]
            guard output.count <= limit else { return .saidTooMuch }
        }
    }

    /// Starts a program that goes on by itself, such as a browser: Control-C on our terminal does not end it.
    /// - Returns: Whether it was started.
    package static func start(_ arguments: [String], environment: [String: String]) -> Bool {
        spawning.withLock { _ in spawn(arguments, environment, [nil, nil, nil], flag: .session) != nil }
    }

    /// One at a time: a program started between another's `pipe` and `spawn` would keep that pipe open.
    private static let spawning = Mutex(())

    /// Whose signals a program gets.
    private enum Flag: Int16 {
        /// `POSIX_SPAWN_SETPGROUP`: those of a process group of its own.
        case group = 0x02
        /// Linux's `POSIX_SPAWN_SETSID`, a macro that Swift does not import: those of no terminal.
        case session = 0x80
    }

    /// - Parameter standard: What becomes its standard input, output and error; `nil` is nothing at all.
    private static func spawn(
        _ arguments: [String], _ environment: [String: String]?, _ standard: [CInt?], flag: Flag
    ) -> pid_t? {
        guard let program = arguments.first else { return nil }
        var actions = unsafe posix_spawn_file_actions_t()
        var attributes = posix_spawnattr_t()
        guard unsafe posix_spawn_file_actions_init(&actions) == 0 else { return nil }
        defer { unsafe posix_spawn_file_actions_destroy(&actions) }
        guard unsafe posix_spawnattr_init(&attributes) == 0 else { return nil }
        defer { unsafe posix_spawnattr_destroy(&attributes) }
        for (number, descriptor) in zip(CInt(0)..., standard) {
            let added =
                if let descriptor {
                    unsafe posix_spawn_file_actions_adddup2(&actions, descriptor, number)
                } else {
                    unsafe posix_spawn_file_actions_addopen(&actions, number, "/dev/null", O_RDWR, 0)
                }
            guard added == 0 else { return nil }
        }
        var signals = sigset_t()
        unsafe sigemptyset(&signals)
        for descriptor in openFiles() where descriptor > STDERR_FILENO {
            guard unsafe posix_spawn_file_actions_addclose(&actions, descriptor) == 0 else { return nil }
        }
        guard unsafe posix_spawnattr_setsigmask(&attributes, &signals) == 0,
            unsafe posix_spawnattr_setflags(&attributes, Int16(POSIX_SPAWN_SETSIGMASK) | flag.rawValue) == 0
        else { return nil }
        // Freed below; posix_spawnp copies what it needs.
        var words: [UnsafeMutablePointer<CChar>?] = unsafe arguments.map { unsafe strdup($0) } + [nil]
        var variables: [UnsafeMutablePointer<CChar>?] =
            unsafe environment.map { unsafe $0.map { unsafe strdup("\($0)=\($1)") } + [nil] } ?? []
        defer {
            unsafe words.forEach { unsafe free($0) }
            unsafe variables.forEach { unsafe free($0) }
        }
        var process: pid_t = 0
        let started = unsafe variables.withUnsafeMutableBufferPointer { variables in
            unsafe posix_spawnp(
                &process, program, &actions, &attributes, &words,
                environment == nil ? environ : variables.baseAddress)
        }
        return started == 0 ? process : nil
    }

    /// The numbers of this process's open files.
    private static func openFiles() -> [CInt] {
        guard let directory = unsafe opendir("/proc/self/fd") else { return [] }
        defer { unsafe closedir(directory) }
        var numbers: [CInt] = []
        while let entry = unsafe readdir(directory) {
            let name = unsafe withUnsafeBytes(of: entry.pointee.d_name) {
                unsafe String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self)
            }
            if let number = CInt(name) { numbers.append(number) }
        }
        return numbers
    }
}
