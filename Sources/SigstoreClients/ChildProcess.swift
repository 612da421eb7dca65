internal import Glibc
public import InToto

/// Another program, run for what it prints.
enum ChildProcess {
    /// Where a program is, by `PATH` or by its whole path.
    /// - Returns: `nil` where it is not installed.
    static func find(_ name: String, environment: [String: String]) -> String? {
        if name.utf8.first == 0x2f { return unsafe access(name, X_OK) == 0 ? name : nil }
        for directory in (environment["PATH"] ?? "/usr/local/bin:/usr/bin:/bin").split(separator: ":") {
            let path = "\(directory)/\(name)"
            if directory.utf8.first == 0x2f, unsafe access(path, X_OK) == 0 { return path }
        }
        return nil
    }

    /// Runs a program with nothing on its standard input.
    /// - Parameters:
    ///   - arguments: The program's path, and its arguments.
    ///   - environment: Its environment.
    ///   - limit: The most bytes that it may print.
    ///   - timeout: How long it may take; then it is killed.
    /// - Returns: What it printed on its standard output.
    /// - Throws: ``SigstoreError`` with ``SigstoreError/Code/programFailed``.
    static func output(
        of arguments: [String], environment: [String: String], limit: Int = 1 << 16, timeout: Duration = .seconds(30)
    ) throws(SigstoreError) -> [UInt8] {
        let name = arguments.first ?? ""
        func failure(_ what: String) -> SigstoreError { SigstoreError(.programFailed, "\(name) \(what)") }
        var ends: [CInt] = [-1, -1]
        guard unsafe pipe(&ends) == 0 else { throw failure("cannot be started: there is no pipe for it") }
        defer { close(ends[0]) }
        guard fcntl(ends[0], F_SETFD, FD_CLOEXEC) == 0, fcntl(ends[1], F_SETFD, FD_CLOEXEC) == 0,
            fcntl(ends[0], F_SETFL, O_NONBLOCK) == 0,
            let process = spawn(arguments, environment, standardOutput: ends[1])
        else {
            close(ends[1])
            throw failure("cannot be started")
        }
        close(ends[1])
        var printed: [UInt8] = []
        let finished = read(from: ends[0], into: &printed, limit: limit, until: .now + timeout)
        if !finished { kill(process, SIGKILL) }
        var status: CInt = 0
        while unsafe waitpid(process, &status, 0) < 0 { guard errno == EINTR else { throw failure("was lost") } }
        guard finished else {
            throw failure(
                printed.count > limit
                    ? "printed more than \(limit) bytes" : "did not end within \(timeout.components.seconds) s")
        }
        guard status == 0 else { throw failure("failed with status \(status >> 8 & 0xff)") }
        return printed
    }

    /// - Returns: Whether the program closed its output in time and within the limit.
    private static func read(
        from pipe: CInt, into printed: inout [UInt8], limit: Int, until end: ContinuousClock.Instant
    )
        -> Bool
    {
        var buffer = [UInt8](repeating: 0, count: 4096)
        while ContinuousClock.now < end, printed.count <= limit {
            var polled = pollfd(fd: pipe, events: Int16(POLLIN), revents: 0)
            guard unsafe poll(&polled, 1, 200) >= 0 || errno == EINTR else { return false }
            let count = unsafe Glibc.read(pipe, &buffer, buffer.count)
            if count == 0 { return true }
            if count > 0 {
                printed += buffer.prefix(count)
            } else if errno != EAGAIN && errno != EINTR {
                return false
            }
        }
        return false
    }

    /// Starts a program that goes on by itself, such as a browser: Control-C on our terminal does not end it.
    /// - Returns: Whether it was started.
    static func start(_ arguments: [String], environment: [String: String]) -> Bool {
        let null = unsafe open("/dev/null", O_WRONLY | O_CLOEXEC)
        guard null >= 0 else { return false }
        defer { close(null) }
        return spawn(arguments, environment, standardOutput: null, standardError: null, inOwnSession: true) != nil
    }

    private static func spawn(
        _ arguments: [String], _ environment: [String: String], standardOutput: CInt, standardError: CInt? = nil,
        inOwnSession: Bool = false
    ) -> pid_t? {
        guard let program = arguments.first else { return nil }
        var actions = unsafe posix_spawn_file_actions_t()
        guard unsafe posix_spawn_file_actions_init(&actions) == 0 else { return nil }
        defer { unsafe posix_spawn_file_actions_destroy(&actions) }
        guard unsafe posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0) == 0,
            unsafe posix_spawn_file_actions_adddup2(&actions, standardOutput, STDOUT_FILENO) == 0
        else { return nil }
        if let standardError {
            guard unsafe posix_spawn_file_actions_adddup2(&actions, standardError, STDERR_FILENO) == 0 else {
                return nil
            }
        }
        var attributes = posix_spawnattr_t()
        guard unsafe posix_spawnattr_init(&attributes) == 0 else { return nil }
        defer { unsafe posix_spawnattr_destroy(&attributes) }
        // Linux's POSIX_SPAWN_SETSID, a macro that Swift does not import.
        if inOwnSession, unsafe posix_spawnattr_setflags(&attributes, 0x80) != 0 { return nil }
        // Freed below; posix_spawn copies what it needs.
        var words: [UnsafeMutablePointer<CChar>?] = unsafe arguments.map { unsafe strdup($0) } + [nil]
        var variables: [UnsafeMutablePointer<CChar>?] = unsafe environment.map { unsafe strdup("\($0)=\($1)") } + [nil]
        defer {
            unsafe words.forEach { unsafe free($0) }
            unsafe variables.forEach { unsafe free($0) }
        }
        var process: pid_t = 0
        guard unsafe posix_spawn(&process, program, &actions, &attributes, &words, &variables) == 0 else { return nil }
        return process
    }
}

extension SigstoreError.Code {
    /// Another program that was asked for something failed.
    public static let programFailed = Self("program-failed")
}
