import Foundation

/// One program is started at a time in a test process. Whoever starts one has pipes and sockets open that the next one
/// must not inherit: a program that lives long would keep them open, and whoever waits for their end would wait for it.
public enum Spawning {
    private static let lock = NSLock()

    /// Starts a program while nobody else does.
    public static func exclusively<Result>(_ start: () throws -> Result) rethrows -> Result {
        try lock.withLock(start)
    }

    /// Waits until something is so that a program or another thread brings about, however busy the machine is. The five
    /// minutes are for what never comes.
    /// - Returns: Whether it is so.
    public static func wait(until isSo: () async throws -> Bool) async rethrows -> Bool {
        let end = ContinuousClock.now + .seconds(300)
        while ContinuousClock.now < end, !Task.isCancelled {
            if try await isSo() { return true }
            try? await Task.sleep(for: .milliseconds(5))
        }
        return try await isSo()
    }

    /// Writes a script that can be run at once: while another program is started, it would have this file open, too, and a
    /// file that is open for writing is not run.
    public static func writeProgram(_ path: String, _ text: String) throws {
        try exclusively {
            try Data(text.utf8).write(to: URL(filePath: path))
            try FileManager.default.setAttributes([.posixPermissions: 0o755], ofItemAtPath: path)
        }
    }

    /// Writes a program that gives credentials for a cluster (client.authentication.k8s.io, `ExecCredential`).
    /// - Parameters:
    ///   - status: What it gives, as JSON in single quotes of the shell.
    ///   - before: What it does first, in the shell's language.
    public static func writeCredentialProgram(
        _ path: String, status: String = #"{"token":"exec-token"}"#, version: String = "v1", before: String = ""
    ) throws {
        let object = #"{"apiVersion":"client.authentication.k8s.io/\#(version)","kind":"ExecCredential","status":"#
        try writeProgram(path, "#!/bin/sh\n\(before)\necho '\(object)\(status)}'\n")
    }

    /// A program that could not be started. One that does not exist ends with status 127.
    public struct Failure: Error {
        /// The program.
        public let program: String
        /// The system's number for the reason.
        public let number: Int32
    }

    /// Runs a program to its end, with nothing on its standard input and nothing inherited that is open here. It is
    /// waited for on a thread of its own, because the services that it talks to need Swift's.
    /// - Parameters:
    ///   - program: Its path, or its name on `PATH`.
    ///   - output: The file that takes what it writes to standard output.
    ///   - errors: The file for standard error; it may be the same.
    /// - Returns: Its exit status; 128 and the signal where it was ended by one.
    public static func run(
        _ program: String, _ arguments: [String], in directory: String, environment: [String: String], output: String,
        errors: String
    ) async throws -> Int32 {
        try await withCheckedThrowingContinuation { done in
            Thread.detachNewThread {
                done.resume(
                    with: Result {
                        var actions = unsafe posix_spawn_file_actions_t()
                        unsafe posix_spawn_file_actions_init(&actions)
                        defer { unsafe posix_spawn_file_actions_destroy(&actions) }
                        unsafe posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0)
                        unsafe posix_spawn_file_actions_addopen(
                            &actions, 1, output, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND, 0o600)
                        unsafe posix_spawn_file_actions_addopen(
                            &actions, 2, errors, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND, 0o600)
                        guard let closeFrom = unsafe closeFrom, unsafe closeFrom(&actions, 3) == 0 else {
                            throw Failure(program: program, number: ENOSYS)
                        }
                        var child: pid_t = 0
                        let number = exclusively {
                            unsafe withCStrings(["env", "-C", directory, program] + arguments) { argv in
                                unsafe withCStrings(environment.map { "\($0)=\($1)" }) { envp in
                                    unsafe posix_spawnp(&child, "env", &actions, nil, argv, envp)
                                }
                            }
                        }
                        guard number == 0 else { throw Failure(program: program, number: number) }
                        var status: Int32 = 0
                        while unsafe waitpid(child, &status, 0) < 0, errno == EINTR {}
                        return status & 0x7f == 0 ? status >> 8 & 0xff : 128 + (status & 0x7f)
                    })
            }
        }
    }

    /// glibc's `posix_spawn_file_actions_addclosefrom_np`, which its header hides from Swift.
    private static let closeFrom: (@convention(c) (UnsafeMutablePointer<posix_spawn_file_actions_t>, Int32) -> Int32)? =
        {
            guard let symbol = unsafe dlsym(nil, "posix_spawn_file_actions_addclosefrom_np") else { return nil }
            return unsafe unsafeBitCast(
                symbol, to: (@convention(c) (UnsafeMutablePointer<posix_spawn_file_actions_t>, Int32) -> Int32).self)
        }()

    /// Gives strings to C as an array that ends with a null pointer.
    public static func withCStrings<R>(
        _ strings: [String], _ body: (UnsafePointer<UnsafeMutablePointer<CChar>?>) -> R
    ) -> R {
        var pointers = unsafe strings.map { unsafe strdup($0) }
        unsafe pointers.append(nil)
        defer { unsafe pointers.forEach { unsafe free($0) } }
        return unsafe body(pointers)
    }
}
