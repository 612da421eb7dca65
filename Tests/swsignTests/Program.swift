import Foundation
import SigstoreCrypto
import Spawning
import StrictJSON
import Testing

/// Runs the real program, or another, the way a person or a CI job does, and keeps all that comes of it.
struct Program: Sendable {
    /// The program under test: the one beside this test bundle, or the one that `SWSIGN` names.
    static let path: String =
        ProcessInfo.processInfo.environment["SWSIGN"]
        ?? URL(fileURLWithPath: "/proc/self/exe").resolvingSymlinksInPath().deletingLastPathComponent()
        .appendingPathComponent("swsign").path

    /// What the program reads from standard input.
    enum Input: Sendable {
        /// `/dev/null`.
        case nothing
        /// A pipe with these bytes.
        case bytes([UInt8])
        /// A pipe with these bytes that stays open; once they are read, the program gets the signal.
        case interrupted(after: [UInt8], signal: Int32)
        /// `/dev/null`; once that is so, the program gets the signal.
        case stopped(by: Int32, when: @Sendable () -> Bool)
        /// `/dev/null`; the program gets each of these signals once its time has come.
        case signalled([(by: Int32, when: @Sendable () -> Bool)])
        /// The terminal of the conversation.
        case terminal

        static func text(_ text: String) -> Input { .bytes(Array(text.utf8)) }
    }

    /// A question that the program asks on its terminal, and what is typed then.
    struct Turn: Sendable {
        let prompt: String
        let answer: String
        init(_ prompt: String, _ answer: String) {
            self.prompt = prompt
            self.answer = answer
        }
    }

    enum Ending: Equatable { case exit(Int32), signal(Int32), timeOut }

    /// What came of one run.
    struct Outcome: Sendable {
        var ending = Ending.timeOut
        var stdout: [UInt8] = []
        var stderr: [UInt8] = []
        /// What the program showed on its terminal.
        var terminal: [UInt8] = []
        /// The most memory that was in use, in KiB; only measured on demand. It is 10 MiB at the least.
        var peakMemory = 0
        /// From its start to its end.
        var seconds = 0.0

        var output: String { String(decoding: stdout, as: UTF8.self) }
        var messages: String { String(decoding: stderr, as: UTF8.self) }
        var screen: String { String(decoding: terminal, as: UTF8.self) }
        var succeeded: Bool { ending == .exit(0) }
        /// Standard output without the line break at its end.
        var line: String { output.hasSuffix("\n") ? String(output.dropLast()) : output }
        /// The reason code in brackets of the (last) error.
        var code: String? {
            guard
                let line = messages.split(separator: "\n").last(where: { $0.hasPrefix("Error: ") && $0.hasSuffix("]") }
                ),
                let bracket = line.lastIndex(of: "[")
            else { return nil }
            return String(line[line.index(after: bracket)...].dropLast())
        }
        /// The JSON objects on standard output, one a line.
        func objects() throws -> [JSONCursor] {
            try stdout.split(separator: 0x0a).map { JSONCursor(try JSONValue(parsing: Array($0))) }
        }
        /// The error that `--errors json` prints.
        func jsonError() throws -> JSONCursor {
            let line = try #require(stderr.split(separator: 0x0a).last { $0.first == 0x7b }, "no JSON in \(messages)")
            return try JSONCursor(try JSONValue(parsing: Array(line))).member("error")
        }
    }

    var executable = Program.path
    var directory: String
    var environment: [String: String] = [:]
    /// Shell commands that come first, such as `ulimit -v 400000`.
    var limits: String?
    /// In seconds. It is for what hangs, and no program is so slow on the busiest machine.
    var timeLimit = 300.0
    var measuresMemory = false
    /// Whether its standard output is the terminal of the conversation too.
    var printsOnTerminal = false
    /// Whether its standard error is the terminal of the conversation too.
    var warnsOnTerminal = false
    /// Whether it waits for its turn; not if one program is to do something while another one runs, or if it mostly waits
    /// for a service that fails.
    var takesTurns = true

    /// Programs are waited for outside Swift's own threads, and not more of them at a time than keep the processors busy: half
    /// of the time they wait for a service, or look again whether a list has kept their signature.
    private static let queue: OperationQueue = {
        // A program that ends before it has read all its input is no reason for the tests to end.
        signal(SIGPIPE, SIG_IGN)
        let queue = OperationQueue()
        queue.maxConcurrentOperationCount = max(4, 2 * ProcessInfo.processInfo.activeProcessorCount)
        return queue
    }()

    func run(_ arguments: [String], input: Input = .nothing, terminal: [Turn]? = nil) async -> Outcome {
        await withCheckedContinuation { continuation in
            let body: @Sendable () -> Void = {
                continuation.resume(returning: Running(self, arguments, input, terminal).outcome)
            }
            if takesTurns { Self.queue.addOperation(body) } else { Thread.detachNewThread(body) }
        }
    }
}

/// One run, from the first byte to the last.
private struct Running {
    private(set) var outcome = Program.Outcome()
    // Not the wall clock, which may be set meanwhile.
    private let deadline: ContinuousClock.Instant

    /// Linux's `TIOCSPTLCK` and `TIOCGPTN`, whose macros Swift does not import: unlock a pseudo-terminal, and get its number.
    private static let (setLock, getNumber): (UInt, UInt) = (0x4004_5431, 0x8004_5430)

    init(_ program: Program, _ arguments: [String], _ input: Program.Input, _ terminal: [Program.Turn]?) {
        deadline = .now + .seconds(program.timeLimit)
        let (output, errors, typed) = (Pipe(), Pipe(), Pipe())
        defer {
            output.closeBoth()
            errors.closeBoth()
            typed.closeBoth()
        }
        var master: Int32 = -1
        var slave: String?
        if terminal != nil {
            master = unsafe open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC)
            var (locked, number): (Int32, Int32) = (0, -1)
            guard master >= 0, unsafe ioctl(master, Self.setLock, &locked) == 0,
                unsafe ioctl(master, Self.getNumber, &number) == 0
            else {
                Issue.record("no pseudo-terminal can be had")
                return
            }
            slave = "/dev/pts/\(number)"
        }
        defer { if master >= 0 { close(master) } }

        var actions = unsafe posix_spawn_file_actions_t()
        unsafe posix_spawn_file_actions_init(&actions)
        defer { unsafe posix_spawn_file_actions_destroy(&actions) }
        // The first terminal that the leader of a session opens becomes the session's own.
        if let slave { unsafe posix_spawn_file_actions_addopen(&actions, 0, slave, O_RDWR, 0) }
        switch input {
        case .terminal: break
        case .nothing, .stopped, .signalled:
            unsafe posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0)
        case .bytes, .interrupted: unsafe posix_spawn_file_actions_adddup2(&actions, typed.reading, 0)
        }
        if let slave, program.printsOnTerminal {
            unsafe posix_spawn_file_actions_addopen(&actions, 1, slave, O_RDWR, 0)
        } else {
            unsafe posix_spawn_file_actions_adddup2(&actions, output.writing, 1)
        }
        if let slave, program.warnsOnTerminal {
            unsafe posix_spawn_file_actions_addopen(&actions, 2, slave, O_RDWR, 0)
        } else {
            unsafe posix_spawn_file_actions_adddup2(&actions, errors.writing, 2)
        }
        var attributes = posix_spawnattr_t()
        unsafe posix_spawnattr_init(&attributes)
        defer { unsafe posix_spawnattr_destroy(&attributes) }
        // A session of its own: the terminal of whoever runs the tests is out of reach. Signals are as a shell has them.
        var defaults = sigset_t()
        unsafe sigfillset(&defaults)
        var none = sigset_t()
        unsafe sigemptyset(&none)
        unsafe posix_spawnattr_setsigdefault(&attributes, &defaults)
        unsafe posix_spawnattr_setsigmask(&attributes, &none)
        unsafe posix_spawnattr_setflags(&attributes, Int16(0x80 | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK))

        var words = [program.executable] + arguments
        if let limits = program.limits { words = ["/bin/sh", "-c", "\(limits); exec \"$0\" \"$@\""] + words }
        let memory = program.measuresMemory ? TemporaryDirectory() : nil
        if let memory { words = ["python3", "-c", Self.measuring, memory["peak"]] + words }
        words = ["env", "-C", program.directory] + words
        // Nothing beyond this machine can be reached: the proxy of everything else does not exist.
        var variables = [
            "PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": program.directory, "LC_ALL": "C.UTF-8",
            "http_proxy": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9",
            "no_proxy": "127.0.0.1,localhost,::1",
        ]
        variables.merge(program.environment) { $1 }
        var child: pid_t = 0
        // Before the program runs: this thread may wait for its turn after that.
        var start = ContinuousClock.now
        let result = Spawning.exclusively {
            unsafe Spawning.withCStrings(words) { argv in
                unsafe Spawning.withCStrings(variables.map { "\($0)=\($1)" }) { envp in
                    start = .now
                    return unsafe posix_spawnp(&child, words[0], &actions, &attributes, argv, envp)
                }
            }
        }
        guard result == 0 else {
            Issue.record("\(words[0]) cannot be run: error \(result)")
            return
        }
        output.closeWriting()
        errors.closeWriting()
        typed.closeReading()
        converse(child, input, terminal ?? [], output, errors, typed, master, program.warnsOnTerminal)
        wait(for: child)
        // What it showed last; then nobody has the terminal open any more.
        while program.printsOnTerminal || program.warnsOnTerminal, Pipe.read(master, into: &outcome.terminal) {}
        outcome.seconds = (ContinuousClock.now - start) / .seconds(1)
        if let memory { outcome.peakMemory = (try? memory.text("peak")).flatMap { Int($0) } ?? 0 }
    }

    /// Runs a program and writes the most memory that it took to a file. The kernel counts it; looking again and again would
    /// miss it on a busy machine. A program that is started from this process directly would be taken for as large as this.
    private static let measuring = """
        import os, signal, sys
        child = os.fork()
        if child == 0:
            for number in signal.SIGPIPE, signal.SIGXFSZ: signal.signal(number, signal.SIG_DFL)
            os.execvp(sys.argv[2], sys.argv[2:])
        _, status, usage = os.wait4(child, 0)
        with open(sys.argv[1], "w") as file: file.write(str(usage.ru_maxrss))
        sys.exit(os.waitstatus_to_exitcode(status) % 256)
        """

    /// Reads all that the program writes and gives it what it reads, until it has closed both of its outputs.
    private mutating func converse(
        _ child: pid_t, _ input: Program.Input, _ turns: [Program.Turn], _ output: Pipe, _ errors: Pipe, _ typed: Pipe,
        _ master: Int32, _ watchesTerminal: Bool
    ) {
        var turns = turns[...]
        var seen = 0
        var rest: ArraySlice<UInt8> = []
        var signalToSend: Int32?
        var isTime: (@Sendable () -> Bool)?
        var later: ArraySlice<(by: Int32, when: @Sendable () -> Bool)> = []
        switch input {
        case .bytes(let bytes): rest = bytes[...]
        case .interrupted(let bytes, let number): (rest, signalToSend) = (bytes[...], number)
        case .stopped(let number, let when):
            (signalToSend, isTime) = (number, when)
            typed.closeWriting()
        case .signalled(let signals):
            later = signals.dropFirst()
            (signalToSend, isTime) = (signals.first?.by, signals.first?.when)
            typed.closeWriting()
        case .nothing, .terminal: typed.closeWriting()
        }
        if typed.writing >= 0 { _ = fcntl(typed.writing, F_SETFL, O_NONBLOCK) }
        // What is shown on the terminal only is waited for too, until nobody has it open any more.
        var isShown = watchesTerminal
        while output.reading >= 0 || errors.reading >= 0 || isShown {
            if ContinuousClock.now > deadline {
                kill(child, SIGKILL)
                return
            }
            var polled = [
                pollfd(fd: output.reading, events: Int16(POLLIN), revents: 0),
                pollfd(fd: errors.reading, events: Int16(POLLIN), revents: 0),
                pollfd(fd: master, events: Int16(POLLIN), revents: 0),
                pollfd(fd: rest.isEmpty ? -1 : typed.writing, events: Int16(POLLOUT), revents: 0),
            ]
            unsafe poll(&polled, nfds_t(polled.count), signalToSend != nil ? 3 : 100)
            if let number = signalToSend, isTime?() == true {
                kill(child, number)
                let next = later.popFirst()
                (signalToSend, isTime) = (next?.by, next?.when)
            }
            if polled[0].revents != 0, !output.read(into: &outcome.stdout) { output.closeReading() }
            if polled[1].revents != 0, !errors.read(into: &outcome.stderr) { errors.closeReading() }
            if polled[2].revents & Int16(POLLIN) != 0 {
                _ = Pipe.read(master, into: &outcome.terminal)
            } else if polled[2].revents & Int16(POLLHUP) != 0 {
                isShown = false
            }
            if let turn = turns.first, outcome.terminal.dropFirst(seen).containsBytes(Array(turn.prompt.utf8)) {
                seen = outcome.terminal.count
                turns.removeFirst()
                _ = unsafe Array(turn.answer.utf8).withUnsafeBytes { unsafe write(master, $0.baseAddress, $0.count) }
            }
            if polled[3].revents != 0 {
                let count = unsafe rest.withUnsafeBytes { unsafe write(typed.writing, $0.baseAddress, $0.count) }
                rest = count > 0 ? rest.dropFirst(count) : []
            }
            if rest.isEmpty, typed.writing >= 0 {
                if let number = signalToSend {
                    var waiting: Int32 = 1
                    if unsafe ioctl(typed.writing, UInt(FIONREAD), &waiting) == 0, waiting == 0 {
                        kill(child, number)
                        signalToSend = nil
                    }
                } else if case .bytes = input {
                    typed.closeWriting()
                }
            }
        }
    }

    private mutating func wait(for child: pid_t) {
        var status: Int32 = 0
        let timedOut = ContinuousClock.now > deadline
        while unsafe waitpid(child, &status, 0) < 0, errno == EINTR {}
        if timedOut {
            outcome.ending = .timeOut
        } else if status & 0x7f == 0 {
            outcome.ending = .exit(status >> 8 & 0xff)
        } else {
            outcome.ending = .signal(status & 0x7f)
        }
    }
}

/// A pipe whose ends are not handed on to other programs.
private final class Pipe {
    private(set) var reading: Int32 = -1
    private(set) var writing: Int32 = -1

    init() {
        var ends: [Int32] = [-1, -1]
        let made = Spawning.exclusively {
            guard unsafe pipe(&ends) == 0 else { return false }
            for end in ends { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
            return true
        }
        guard made else { return }
        (reading, writing) = (ends[0], ends[1])
    }

    func closeReading() {
        if reading >= 0 { close(reading) }
        reading = -1
    }

    func closeWriting() {
        if writing >= 0 { close(writing) }
        writing = -1
    }

    func closeBoth() {
        closeReading()
        closeWriting()
    }

    /// - Returns: `false` at the end.
    func read(into bytes: inout [UInt8]) -> Bool { Self.read(reading, into: &bytes) }

    static func read(_ descriptor: Int32, into bytes: inout [UInt8]) -> Bool {
        var buffer = [UInt8](repeating: 0, count: 1 << 16)
        let count = unsafe Glibc.read(descriptor, &buffer, buffer.count)
        guard count > 0 else { return false }
        bytes += buffer.prefix(count)
        return true
    }
}

/// A directory of its own for each test, gone when the test is.
final class TemporaryDirectory: Sendable {
    let path: String

    init() {
        path = "\(NSTemporaryDirectory())swsign-\(UUID().uuidString)".replacingOccurrences(of: "//", with: "/")
        do {
            try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
        } catch { Issue.record("no temporary directory: \(error)") }
    }

    deinit { try? FileManager.default.removeItem(atPath: path) }

    /// The full path of a file in here.
    subscript(_ name: String) -> String { "\(path)/\(name)" }

    /// The names of all that is in here, hidden files too.
    var names: [String] { ((try? FileManager.default.contentsOfDirectory(atPath: path)) ?? []).sorted() }

    func exists(_ name: String) -> Bool { FileManager.default.fileExists(atPath: self[name]) }

    @discardableResult
    func write(_ name: String, _ bytes: [UInt8], mode: Int = 0o644) throws -> String {
        // A script is to be run at once: see `Spawning.writeProgram`.
        if mode & 0o100 != 0 {
            try Spawning.writeProgram(self[name], String(decoding: bytes, as: UTF8.self))
        } else {
            try Data(bytes).write(to: URL(fileURLWithPath: self[name]))
        }
        try FileManager.default.setAttributes([.posixPermissions: mode], ofItemAtPath: self[name])
        return name
    }

    @discardableResult
    func write(_ name: String, _ text: String, mode: Int = 0o644) throws -> String {
        try write(name, Array(text.utf8), mode: mode)
    }

    func makeDirectory(_ name: String) throws {
        try FileManager.default.createDirectory(atPath: self[name], withIntermediateDirectories: true)
    }

    /// A file of that size that takes no room.
    func writeSparse(_ name: String, size: Int) throws {
        try write(name, [])
        try #require(unsafe truncate(self[name], size) == 0)
    }

    func data(_ name: String) throws -> Data { try Data(contentsOf: URL(fileURLWithPath: self[name])) }
    func read(_ name: String) throws -> [UInt8] {
        let data = try data(name)
        // At once: not optimized, `Array(data)` takes byte by byte.
        return unsafe [UInt8](unsafeUninitializedCapacity: data.count) { buffer, count in
            count = unsafe data.copyBytes(to: buffer)
        }
    }
    func text(_ name: String) throws -> String { String(decoding: try read(name), as: UTF8.self) }
    func mode(_ name: String) throws -> Int {
        let attributes = try FileManager.default.attributesOfItem(atPath: self[name])
        return try #require(attributes[.posixPermissions] as? Int)
    }

    /// Every file with its content, to see that nothing was changed; without the cache of trust roots.
    func snapshot() throws -> [String: Data] {
        var files: [String: Data] = [:]
        for name in try FileManager.default.subpathsOfDirectory(atPath: path) where !name.hasPrefix(".sigstore") {
            var isDirectory: ObjCBool = false
            _ = unsafe FileManager.default.fileExists(atPath: self[name], isDirectory: &isDirectory)
            files[name] = isDirectory.boolValue ? Data() : try data(name)
        }
        return files
    }

    /// Runs the program in here.
    @discardableResult
    func swsign(
        _ arguments: String..., environment: [String: String] = [:], input: Program.Input = .nothing,
        terminal: [Program.Turn]? = nil
    ) async -> Program.Outcome {
        await Program(directory: path, environment: environment).run(arguments, input: input, terminal: terminal)
    }

    /// Runs another program in here, and expects it to succeed.
    @discardableResult
    func tool(
        _ executable: String, _ arguments: String..., input: Program.Input = .nothing,
        sourceLocation: SourceLocation = #_sourceLocation
    ) async throws -> Program.Outcome {
        let outcome = await Program(executable: executable, directory: path).run(arguments, input: input)
        try #require(
            outcome.succeeded, "\(executable) \(arguments): \(outcome.messages)", sourceLocation: sourceLocation)
        return outcome
    }

    /// Makes a key: `NAME.pem`, not encrypted, and `NAME.pub`.
    @discardableResult
    func makeKey(_ name: String = "key", _ algorithm: SigningAlgorithm = .ecdsaP256) throws -> PrivateKey {
        let key = try PrivateKey.generate(algorithm)
        let pkcs8 = unsafe try key.pkcs8().withBytes { unsafe Array($0) }
        try write("\(name).pem", Array(PEM.encode(label: "PRIVATE KEY", pkcs8).utf8), mode: 0o600)
        try write("\(name).pub", key.publicKey.pem)
        return key
    }

    /// Expects what every refusal looks like: exit code 1, one `Error: … [code]` with these words, nothing on standard
    /// output, no file new or changed; and the same code where errors are asked for as JSON.
    func expectRefusal(
        _ code: String, _ words: String..., of arguments: [String], environment: [String: String] = [:],
        input: Program.Input = .nothing, sourceLocation: SourceLocation = #_sourceLocation
    ) async throws {
        let before = try snapshot()
        let program = Program(directory: path, environment: environment)
        let outcome = await program.run(arguments, input: input)
        let shown = "\(arguments): \(outcome.messages)"
        #expect(outcome.ending == .exit(1), "\(shown)", sourceLocation: sourceLocation)
        #expect(outcome.code == code, "\(shown)", sourceLocation: sourceLocation)
        #expect(outcome.stdout.isEmpty, "\(shown)", sourceLocation: sourceLocation)
        for word in words {
            #expect(
                outcome.messages.contains(word), "\"\(word)\" is not said: \(shown)", sourceLocation: sourceLocation)
        }
        let asJSON = await program.run(["--errors", "json"] + arguments, input: input)
        #expect(asJSON.ending == .exit(1), sourceLocation: sourceLocation)
        #expect(try asJSON.jsonError().member("code").string() == code, sourceLocation: sourceLocation)
        #expect(try !asJSON.jsonError().member("message").string().isEmpty, sourceLocation: sourceLocation)
        #expect(try snapshot() == before, "files were changed", sourceLocation: sourceLocation)
    }
}

extension Collection<UInt8> {
    /// Whether these bytes stand somewhere in the collection.
    func containsBytes(_ bytes: [UInt8]) -> Bool {
        guard !bytes.isEmpty else { return true }
        return indices.contains { self[$0...].starts(with: bytes) }
    }
}

extension Trait where Self == ConditionTrait {
    /// For tests with the material in `shared`, the directory beside this package; left out, and said so, without it.
    static var needsShared: Self {
        .enabled(
            if: FileManager.default.fileExists(atPath: sharedDirectory + "/samples"), "left out: ../shared is not there"
        )
    }
}

/// The directory `shared` beside this package.
let sharedDirectory = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
    .deletingLastPathComponent().deletingLastPathComponent().appendingPathComponent("shared").path
