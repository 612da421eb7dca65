import Foundation
import Glibc
import Spawning
import StrictJSON
import Synchronization
import Testing

@testable import LocalSystem

@Suite(.serialized) struct ChildProcessTests {
    @Test("A program has none of our open files")
    func openFiles() throws {
        // Unlike what we open ourselves, this would be handed on.
        let file = unsafe open("/dev/null", O_RDONLY)
        defer { close(file) }
        // Under a number that the shell does not take for what it opens itself.
        let handedOn = fcntl(file, F_DUPFD, 200)
        defer { close(handedOn) }
        #expect(handedOn >= 200 && fcntl(handedOn, F_GETFD) == 0)
        let script = "for file in /proc/$$/fd/*; do echo ${file##*/}; done"
        let answer = try ChildProcess.run(["sh", "-c", script], timeout: .seconds(300))
        let numbers = String(decoding: answer.output, as: UTF8.self).split(separator: "\n")
        #expect(answer.status == 0 && numbers.starts(with: ["0", "1", "2"]))
        #expect(!numbers.contains("\(handedOn)"))
    }

    @Test("A program has none of our secrets, whether its environment is ours or was given")
    func environment() throws {
        let key = "-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----\nAQID\n-----END ENCRYPTED SIGSTORE PRIVATE KEY-----\n"
        let secrets = [
            "COSIGN_PASSWORD": "", "COSIGN_REGISTRY_USERNAME": "ann", "COSIGN_REGISTRY_PASSWORD": "x",
            "COSIGN_REGISTRY_TOKEN": "x", "COSIGN_IDENTITY_TOKEN": "x", "COSIGN_PKCS11_PIN": "x",
            "COSIGN_NEW_PASSWORD_OF_KEY": "x", "SIGSTORE_ID_TOKEN": "x", "ACTIONS_ID_TOKEN_REQUEST_URL": "x",
            "ACTIONS_ID_TOKEN_REQUEST_TOKEN": "x", "DOCKER_AUTH_CONFIG": "{}", "SIGNING_KEY": key,
            "OTHER_KEY": "Key Attributes: <No Attributes>\r\n -----BEGIN PRIVATE KEY-----\r\n",
        ]
        // What helpers and agents themselves need, and what is no secret.
        let others = [
            "BUILDKITE_AGENT_ACCESS_TOKEN": "x", "GOOGLE_OAUTH_ACCESS_TOKEN": "x", "AWS_SESSION_TOKEN": "x",
            "COSIGN_TRUSTED_ROOT": "x", "SIGSTORE_ID_TOKENS": "x", "MY_COSIGN_PASSWORD": "x",
            "GOOGLE_CREDENTIALS": #"{"private_key":"-----BEGIN PRIVATE KEY-----\nAQID"}"#,
            "PUBLIC_KEY": "-----BEGIN PUBLIC KEY-----\nPRIVATE KEY-----\n", "EMPTY": "",
        ]
        func names(_ environment: [String: String]?) throws -> Set<String> {
            let script = "tr '\\n\\0' ' \\n' < /proc/$$/environ | sed 's/=.*//'"
            let answer = try ChildProcess.run(
                ["/bin/sh", "-c", script], environment: environment, timeout: .seconds(20))
            return Set(String(decoding: answer.output, as: UTF8.self).split(separator: "\n").map(String.init))
        }
        let path = ["PATH": "/usr/bin:/bin"]
        let given = try names(secrets.merging(others) { $1 }.merging(path) { $1 })
        #expect(given == Set(others.keys).union(path.keys), "\(given)")

        for (name, value) in secrets.merging(others, uniquingKeysWith: { $1 }) { unsafe setenv(name, value, 1) }
        // Bytes that are no text go on as they are.
        unsafe setenv("NOT_TEXT", [CChar(bitPattern: 0xff), 0], 1)
        defer { for name in Array(secrets.keys) + others.keys + ["NOT_TEXT"] { unsafe unsetenv(name) } }
        let inherited = try names(nil)
        #expect(inherited.isDisjoint(with: secrets.keys), "\(inherited.intersection(secrets.keys))")
        #expect(inherited.isSuperset(of: others.keys) && inherited.contains("PATH"), "\(inherited)")
        let bytes = try ChildProcess.run(
            ["sh", "-c", "printf %s \"$NOT_TEXT\""], timeout: .seconds(20))
        #expect(bytes.output == [0xff])
        // What is set besides counts in place of a variable of that name, and what begins alike stays.
        let more = try ChildProcess.run(
            ["sh", "-c", "echo \"$EMPTY/$AWS_SESSION_TOKEN/$MORE\"; env | grep -c ^EMPTY="],
            more: ["EMPTY": "set", "MORE": "a b"], timeout: .seconds(20))
        #expect(String(decoding: more.output, as: UTF8.self) == "set/x/a b\n1\n")
    }

    @Test("A program that goes on by itself has no provider's token either")
    func startedEnvironment() async throws {
        let file = FileManager.default.temporaryDirectory.appending(path: "environment-\(UUID().uuidString)").path
        defer { try? FileManager.default.removeItem(atPath: file) }
        #expect(
            ChildProcess.start(
                ["/bin/sh", "-c", "env > \"$FILE.part\" && mv \"$FILE.part\" \"$FILE\""],
                environment: [
                    "FILE": file, "PATH": "/usr/bin:/bin", "DISPLAY": ":0", "COSIGN_PASSWORD": "s3cret",
                    "BUILDKITE_AGENT_ACCESS_TOKEN": "s3cret", "GOOGLE_OAUTH_ACCESS_TOKEN": "s3cret",
                    "SIGSTORE_ID_TOKEN": "s3cret",
                ]))
        for _ in 0..<1000 where !FileManager.default.fileExists(atPath: file) {
            try await Task.sleep(for: .milliseconds(20))
        }
        let text = try String(contentsOfFile: file, encoding: .utf8)
        #expect(text.contains("DISPLAY=:0") && !text.contains("s3cret"), "\(text)")
    }

    @Test("Bytes in, bytes out, and how it ended")
    func answers() throws {
        let echoed = try ChildProcess.run(
            ["cat"], input: Array("words".utf8), timeout: .seconds(300))
        #expect(echoed.status == 0 && echoed.output == Array("words".utf8))
        for (script, status) in [("exit 3", 3), ("kill -9 $$", 137)] as [(String, CInt)] {
            // It ends before it has read what it is given.
            let answer = try ChildProcess.run(
                ["/bin/sh", "-c", script], environment: [:], input: [UInt8](repeating: 1, count: 1 << 16),
                timeout: .seconds(300))
            #expect(answer.status == status)
        }
        #expect(throws: ChildProcess.Failure.notStarted) {
            try ChildProcess.run(["no-such-program"], timeout: .seconds(300))
        }
        #expect(throws: ChildProcess.Failure.saidTooMuch) {
            try ChildProcess.run(["yes"], timeout: .seconds(300))
        }
    }

    @Test("More than a pipe holds goes in, while an answer comes out")
    func largeInput() throws {
        let input = [UInt8](repeating: 0x61, count: 60_000)
        let echoed = try ChildProcess.run(["cat"], input: input, timeout: .seconds(300))
        #expect(echoed.output == input)
        #expect(throws: ChildProcess.Failure.tookTooLong) {
            let input = [UInt8](repeating: 1, count: 1 << 20)
            _ = try ChildProcess.run(["sleep", "600"], input: input, timeout: .milliseconds(300))
        }
    }

    @Test("Closing its output does not save a program from the time limit, and signals are as by default")
    func closedOutput() throws {
        let begin = ContinuousClock.now
        #expect(throws: ChildProcess.Failure.tookTooLong) {
            try ChildProcess.run(
                ["sh", "-c", "exec >&-; sleep 600"], timeout: .milliseconds(300))
        }
        #expect(ContinuousClock.now - begin < .seconds(100))
        let before = signal(SIGPIPE, SIG_IGN)
        defer { signal(SIGPIPE, before) }
        let answer = try ChildProcess.run(
            ["sh", "-c", "sed -n 's/^SigIgn:\t//p' /proc/$$/status"], timeout: .seconds(300))
        let ignored = UInt64(String(decoding: answer.output.dropLast(), as: UTF8.self), radix: 16)
        #expect(ignored.map { $0 >> UInt64(SIGPIPE - 1) & 1 } == 0)
    }

    @Test("Those that run can be killed at once, as a signal handler does")
    func killAll() async throws {
        let begin = ContinuousClock.now
        // Until there is an answer: nothing says when the program has begun.
        let isOver = Mutex(false)
        let killer = Task {
            await Spawning.wait {
                ChildProcess.killAll()
                return isOver.withLock { $0 }
            }
        }
        let answer = try await onBlockingThread { () throws(SigstoreError) in
            try? ChildProcess.run(["sh", "-c", "sleep 600"], timeout: .seconds(500))
        }
        isOver.withLock { $0 = true }
        #expect(await killer.value)
        #expect(answer?.status == 137)
        #expect(ContinuousClock.now - begin < .seconds(100))
    }

    @Test("SIGPIPE is held back on a thread that gives a program something to read", arguments: [[], [1]])
    func brokenPipe(input: [UInt8]) throws {
        let isHeldBack = try WorkAside { () throws(SigstoreError) in
            var signals = sigset_t()
            unsafe sigemptyset(&signals)
            unsafe sigaddset(&signals, SIGPIPE)
            unsafe pthread_sigmask(SIG_UNBLOCK, &signals, nil)
            _ = try? ChildProcess.run(["cat"], input: input, timeout: .seconds(500))
            unsafe pthread_sigmask(SIG_BLOCK, nil, &signals)
            return unsafe sigismember(&signals, SIGPIPE) == 1
        }.value()
        // Else a command whose reader ends early would not end by that signal, as other programs do.
        #expect(isHeldBack == !input.isEmpty)
    }

    @Test("What takes too long is killed, with what it has started")
    func timeLimit() async throws {
        let file = FileManager.default.temporaryDirectory.appending(path: "process-\(UUID().uuidString)").path
        defer { try? FileManager.default.removeItem(atPath: file) }
        var started = ""
        // On a busy machine a short time may be over before the program has started another one.
        for timeout in [Duration.milliseconds(300), .seconds(3), .seconds(30)] where started.isEmpty {
            let begin = ContinuousClock.now
            #expect(throws: ChildProcess.Failure.tookTooLong) {
                try ChildProcess.run(
                    ["sh", "-c", "sleep 600 & echo $! > '\(file)'; wait"],
                    timeout: timeout)
            }
            #expect(ContinuousClock.now - begin < .seconds(100))
            started = (try? String(contentsOfFile: file, encoding: .utf8)) ?? ""
        }
        started = started.trimmingCharacters(in: .whitespacesAndNewlines)
        try #require(!started.isEmpty)
        // It is gone, or waits to be buried by whoever has inherited it.
        func isAlive() -> Bool {
            let state = (try? String(contentsOfFile: "/proc/\(started)/stat", encoding: .utf8))?.split(separator: " ")
            return state.map { $0.count > 2 && $0[2] != "Z" } ?? false
        }
        #expect(await Spawning.wait { !isAlive() })
    }
}
