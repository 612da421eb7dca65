#if canImport(Glibc)
    internal import Glibc
#elseif canImport(Musl)
    internal import Musl
#elseif canImport(Darwin)
    internal import Darwin
#endif
internal import CProcess

/// Another program, run for what it prints: a credential helper, a CI system's agent, a browser. It gets none of this
/// process's open files but the three standard ones, so that no connection or lock outlives us in it; and none of the
/// secrets in this process's environment.
package enum ChildProcess {
    // What no program gets of an environment: secrets that are for us alone.
    /// The beginnings of such names: registry credentials, and what a job of GitHub Actions gets identity tokens with.
    private static let secretPrefixes = ["COSIGN_REGISTRY_", "ACTIONS_ID_TOKEN_REQUEST_"]
    /// What stands in such names that begin with `COSIGN_`, whichever of cosign's variables it is.
    private static let secretWords = ["PASSWORD", "TOKEN", "PIN"]
    /// Other such names. `DOCKER_AUTH_CONFIG` holds the credentials of
    /// many registries, whose helpers need none of each other's.
    private static let secretNames = ["SIGSTORE_ID_TOKEN", "DOCKER_AUTH_CONFIG"]
    /// What only a program that gives credentials or keys itself may get, and a browser does not: it may live on them, as on other
    /// variables of providers (`AWS_*`, `GOOGLE_*`, `BUILDKITE_*`, a `GITHUB_TOKEN`), which are not ours to take.
    private static let providerNames = [
        "BUILDKITE_AGENT_ACCESS_TOKEN", "GOOGLE_OAUTH_ACCESS_TOKEN", "CLOUDSDK_AUTH_ACCESS_TOKEN", "VAULT_TOKEN",
        "BAO_TOKEN", "VAULT_HEADERS", "BAO_HEADERS", "GITLAB_TOKEN", "GITHUB_TOKEN", "GH_TOKEN",
        "AWS_SECRET_ACCESS_KEY", "AWS_SECRET_KEY", "AWS_SESSION_TOKEN", "AZURE_CLIENT_SECRET",
        "AZURE_CLIENT_CERTIFICATE_PASSWORD", "AZURE_PASSWORD", "IDENTITY_HEADER", "MSI_SECRET",
    ]

    /// Whether a variable is kept from a program.
    /// - Parameter isSource: Whether the program is asked for a credential.
    private static func isWithheld(
        _ name: some Collection<UInt8>, _ value: some Collection<UInt8>, isSource: Bool
    ) -> Bool {
        func isName(_ other: String) -> Bool { name.elementsEqual(other.utf8) }
        if secretPrefixes.contains(where: { name.starts(with: $0.utf8) }) || secretNames.contains(where: isName) {
            return true
        }
        if name.starts(with: "COSIGN_".utf8), secretWords.contains(where: { name.contains($0.utf8) }) { return true }
        if !isSource, providerNames.contains(where: isName) { return true }
        // A private key in PEM, under any name: a key may be taken from any variable.
        return value.split { $0 == 0x0a || $0 == 0x0d }.contains { line in
            let text = line.drop { $0 == 0x20 || $0 == 0x09 }
            return text.starts(with: "-----BEGIN ".utf8) && text.contains("PRIVATE KEY-----".utf8)
        }
    }

    /// What a program answered.
    package struct Answer: Sendable {
        /// The exit status, or 128 and the number of the signal that ended it.
        package let status: CInt
        /// Whether a signal ended it.
        package let wasKilled: Bool
        /// Its standard output.
        package let output: [UInt8]
    }

    /// The most bytes of standard output that are taken.
    package static let outputLimit = 1 << 16

    /// Why there is no answer.
    package enum Failure: Error {
        case notStarted, tookTooLong, saidTooMuch
    }

    /// Finds a program, by `PATH` or by its whole path.
    /// - Returns: `nil` if it is not installed.
    package static func find(_ name: String, environment: [String: String]) -> String? {
        if name.utf8.first == 0x2f { return unsafe access(name, X_OK) == 0 ? name : nil }
        for directory in (environment["PATH"] ?? "/usr/local/bin:/usr/bin:/bin").split(separator: ":") {
            let path = "\(directory)/\(name)"
            if directory.utf8.first == 0x2f, unsafe access(path, X_OK) == 0 { return path }
        }
        return nil
    }

    /// Runs a program to its end, one that is asked for a credential. To be called on a thread of its own, which may
    /// block, and on which SIGPIPE is blocked from then on if there is input: a program that ends before it has read everything
    /// must not end us. Its standard error is ours: it may say what is wrong, or what a person is to do.
    /// - Parameters:
    ///   - arguments: The program, which is looked for in `PATH` if it is named without a slash, and its arguments.
    ///   - environment: Its environment; `nil` is that of this process. It gets neither with our secrets in it.
    ///   - more: Variables that are set besides, or in place of those of that name.
    ///   - input: What it finds on its standard input.
    ///   - hasOurInput: Whether it gets this process's standard input in place of that, a terminal at which it may ask a person.
    ///     Control-C there ends it too, and of what it has started nothing else is killed with it.
    ///   - timeout: How long it may take; then it is killed, with everything that it has started.
    /// - Throws: ``Failure``.
    package static func run(
        _ arguments: [String], environment: [String: String]? = nil, more: [String: String] = [:], input: [UInt8] = [],
        hasOurInput: Bool = false, timeout: Duration
    ) throws(Failure) -> Answer {
        var output: [UInt8] = []
        let status = try run(
            arguments, environment: environment, more: more, input: input, hasOurInput: hasOurInput, timeout: timeout
        ) { piece in
            output += piece
            return output.count <= outputLimit
        }
        return Answer(status: status.value, wasKilled: status.wasKilled, output: output)
    }

    /// How a program ended: its exit status, or 128 and the number of the signal that ended it.
    package typealias Status = (value: CInt, wasKilled: Bool)

    /// The same for a program that may write much.
    /// - Parameters:
    ///   - isSilent: Whether what it writes to standard error is dropped.
    ///   - take: Is given its output piece by piece; `false` kills it, and is `saidTooMuch`.
    package static func run(
        _ arguments: [String], environment: [String: String]? = nil, more: [String: String] = [:], input: [UInt8] = [],
        hasOurInput: Bool = false, isSilent: Bool = false, timeout: Duration, _ take: (ArraySlice<UInt8>) -> Bool
    ) throws(Failure) -> Status {
        let end = ContinuousClock.now + timeout
        // What it reads from, what we write to; what we read from, what it writes to.
        var (toProgram, fromProgram): ([CInt], [CInt]) = ([-1, -1], [-1, -1])
        defer { for descriptor in toProgram + fromProgram where descriptor >= 0 { close(descriptor) } }
        guard unsafe cprocess_pipe(&toProgram) == 0, unsafe cprocess_pipe(&fromProgram) == 0,
            fcntl(toProgram[1], F_SETFL, O_NONBLOCK) == 0,
            let process = spawn(
                arguments, environment, more,
                [hasOurInput ? STDIN_FILENO : toProgram[0], fromProgram[1], isSilent ? nil : STDERR_FILENO],
                flag: hasOurInput ? .ours : .group)
        else { throw .notStarted }
        // A group other than that of the terminal may not read from it.
        let target = hasOurInput ? process : -process
        cprocess_began(target)
        defer { cprocess_ended(target) }
        for descriptor in [toProgram[0], fromProgram[1]] { close(descriptor) }
        (toProgram[0], fromProgram[1]) = (-1, -1)
        if !input.isEmpty {
            var signals = sigset_t()
            unsafe sigemptyset(&signals)
            unsafe sigaddset(&signals, SIGPIPE)
            unsafe pthread_sigmask(SIG_BLOCK, &signals, nil)
        }

        var status: CInt = 0
        var failure = exchange(input, take, &toProgram[1], fromProgram[0], until: end)
        if failure == nil {
            // It may have closed its output and go on; most end as soon as they are given the processor.
            var (turns, pause) = (0, useconds_t(25))
            while unsafe waitpid(process, &status, WNOHANG) == 0 {
                guard ContinuousClock.now < end else {
                    failure = .tookTooLong
                    break
                }
                turns += 1
                if turns < 8 {
                    sched_yield()
                } else {
                    usleep(pause)
                    pause = min(2 * pause, 500)
                }
            }
        }
        if let failure {
            // Also what it started itself, which could hold the pipe open.
            kill(target, SIGKILL)
            while unsafe waitpid(process, &status, 0) < 0 && errno == EINTR {}
            throw failure
        }
        let signal = status & 0x7f
        return (signal == 0 ? status >> 8 & 0xff : 128 + signal, signal != 0)
    }

    /// Kills the programs that ``run(_:environment:more:input:hasOurInput:timeout:)`` waits for. May be called by a signal
    /// handler.
    package static func killAll() { cprocess_kill_all() }

    /// Writes what the program is to read, closes that end, and reads what it writes until it closes its own.
    /// - Returns: Why it did not close its output in time and within the limit.
    private static func exchange(
        _ input: [UInt8], _ take: (ArraySlice<UInt8>) -> Bool, _ toProgram: inout CInt, _ fromProgram: CInt,
        until end: ContinuousClock.Instant
    ) -> Failure? {
        var rest = input[...]
        var chunk = [UInt8](repeating: 0, count: 1 << 14)
        while true {
            if toProgram >= 0, rest.isEmpty {
                close(toProgram)
                toProgram = -1
            }
            let left = ContinuousClock.now.duration(to: end)
            guard left > .zero else { return .tookTooLong }
            var polled = [
                pollfd(fd: fromProgram, events: Int16(POLLIN), revents: 0),
                pollfd(fd: toProgram, events: Int16(POLLOUT), revents: 0),
            ]
            let ready = unsafe poll(&polled, 2, CInt(clamping: left.components.seconds * 1000 + 1))
            if ready == 0 || ready < 0 && errno == EINTR { continue }
            guard ready > 0 else { return nil }
            if polled[1].revents != 0 {
                let count = unsafe rest.withUnsafeBytes { unsafe write(toProgram, $0.baseAddress, $0.count) }
                // What it does not want to read is not its fault.
                rest = count < 0 && errno != EAGAIN && errno != EINTR ? [] : rest.dropFirst(max(0, count))
            }
            guard polled[0].revents != 0 else { continue }
            let count = unsafe systemRead(fromProgram, &chunk, chunk.count)
            if count < 0 && errno == EINTR { continue }
            guard count > 0 else { return nil }
            guard take(chunk[..<count]) else { return .saidTooMuch }
        }
    }

    /// Starts a program that goes on by itself, such as a browser: Control-C on our terminal does not end it.
    /// - Parameter environment: Its environment, of which it gets no secret of ours and no provider's.
    /// - Returns: Whether it was started.
    package static func start(_ arguments: [String], environment: [String: String]) -> Bool {
        spawn(arguments, environment, [:], [nil, nil, nil], flag: .session) != nil
    }

    /// Whose signals a program gets.
    private enum Flag {
        /// Those of this process's group.
        case ours
        /// `POSIX_SPAWN_SETPGROUP`: those of a process group of its own.
        case group
        /// `POSIX_SPAWN_SETSID`, a macro that Swift does not import on Linux: those of no terminal.
        case session

        var rawValue: Int16 {
            switch self {
            case .ours: 0
            case .group: 0x02
            case .session:
                #if canImport(Darwin)
                    0x400
                #else
                    0x80
                #endif
            }
        }
    }

    /// - Parameter standard: What becomes its standard input, output and error; `nil` is nothing at all.
    private static func spawn(
        _ arguments: [String], _ environment: [String: String]?, _ more: [String: String], _ standard: [CInt?],
        flag: Flag
    ) -> pid_t? {
        guard let program = arguments.first else { return nil }
        #if canImport(Darwin)
            var (actions, attributes): (posix_spawn_file_actions_t?, posix_spawnattr_t?) = (nil, nil)
        #else
            var (actions, attributes) = unsafe (posix_spawn_file_actions_t(), posix_spawnattr_t())
        #endif
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
        // What we block and ignore is not the program's.
        var signals = sigset_t()
        unsafe sigemptyset(&signals)
        guard unsafe cprocess_close_from(&actions, 3) == 0,
            unsafe posix_spawnattr_setsigmask(&attributes, &signals) == 0
        else { return nil }
        unsafe sigaddset(&signals, SIGPIPE)
        unsafe sigaddset(&signals, SIGXFSZ)
        var flags = Int16(POSIX_SPAWN_SETSIGMASK) | Int16(POSIX_SPAWN_SETSIGDEF) | flag.rawValue
        #if canImport(Darwin)
            // What `cprocess_close_from` does elsewhere.
            flags |= Int16(POSIX_SPAWN_CLOEXEC_DEFAULT)
        #endif
        guard unsafe posix_spawnattr_setsigdefault(&attributes, &signals) == 0,
            unsafe posix_spawnattr_setflags(&attributes, flags) == 0
        else { return nil }
        // Freed below; posix_spawnp copies what it needs.
        var words: [UnsafeMutablePointer<CChar>?] = unsafe arguments.map { unsafe strdup($0) } + [nil]
        var variables: [UnsafeMutablePointer<CChar>?] =
            unsafe copies(of: environment, more, isSource: flag != .session) + [nil]
        defer {
            unsafe words.forEach { unsafe free($0) }
            unsafe variables.forEach { unsafe free($0) }
        }
        var process: pid_t = 0
        let started = unsafe variables.withUnsafeMutableBufferPointer { variables in
            unsafe posix_spawnp(&process, program, &actions, &attributes, &words, variables.baseAddress)
        }
        return started == 0 ? process : nil
    }

    /// What a program gets of an environment, as C has it and to be freed; `nil` is this process's, whose bytes are kept.
    private static func copies(
        of environment: [String: String]?, _ more: [String: String], isSource: Bool
    ) -> [UnsafeMutablePointer<CChar>?] {
        var copies: [UnsafeMutablePointer<CChar>?] = unsafe more.map { unsafe strdup("\($0)=\($1)") }
        func isReplaced(_ name: some Collection<UInt8>) -> Bool {
            more.keys.contains { $0.utf8.elementsEqual(name) }
        }
        if let environment {
            for (name, value) in environment
            where !isWithheld(name.utf8, value.utf8, isSource: isSource) && !isReplaced(name.utf8) {
                unsafe copies.append(strdup("\(name)=\(value)"))
            }
        } else {
            var next = unsafe cprocess_environment()
            while let variable = unsafe next?.pointee {
                let bytes = unsafe UnsafeRawBufferPointer(start: variable, count: strlen(variable))
                let name = unsafe bytes.prefix { $0 != 0x3d }
                if unsafe !isWithheld(name, bytes.dropFirst(name.count + 1), isSource: isSource),
                    unsafe !isReplaced(name)
                {
                    unsafe copies.append(strdup(variable))
                }
                unsafe next = unsafe next?.advanced(by: 1)
            }
        }
        return unsafe copies
    }
}
