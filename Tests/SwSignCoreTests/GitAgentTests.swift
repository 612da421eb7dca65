import Foundation
import LocalSigstore
import LocalSystem
import Provenance
import SigstoreCrypto
import Spawning
import StrictJSON
import SwSignCore
import Synchronization
import TestServices
import Testing

/// An agent over its socket, which says of what it would sign no more than its first line.
private final class Agent: Sendable {
    let folder = Folder()
    let time = Mutex<Int64>(1_700_000_000)
    let asked = Mutex<[String]>([])
    let signed = Mutex<[String]>([])
    private let serving: Task<Int64, any Error>

    var path: String { folder["run/agent.sock"] }
    var place: GitAgentPlace { GitAgentPlace(path: path) }
    var client: GitAgentClient { GitAgentClient(at: place) }

    /// - Parameters:
    ///   - isConfirmed: What the person says, if one is asked.
    ///   - sign: Makes signatures.
    init(
        isConfirmed: Bool? = nil,
        sign: (@Sendable (GitObject) async throws(SigstoreError) -> [UInt8])? = nil
    ) throws {
        final class Own: Sendable { let agent = Mutex<Agent?>(nil) }
        let own = Own()
        let signer = GitAgentStatus(identity: "ann@example.org", issuer: "https://i", end: 1_700_000_600)
        let path = folder["run/agent.sock"]
        var confirm: (@Sendable (GitObject) async -> Bool)?
        if let isConfirmed {
            confirm = { object in
                own.agent.withLock { $0?.asked.withLock { $0.append(object.subject) } }
                try? await Task.sleep(for: .milliseconds(50))
                return isConfirmed
            }
        }
        let agent = try GitAgent(
            at: GitAgentPlace(path: path), signer: signer,
            clock: { own.agent.withLock { $0?.time.withLock { $0 } } ?? 0 }, confirm: confirm,
            sign: { object throws(SigstoreError) in
                own.agent.withLock { $0?.signed.withLock { $0.append(object.subject) } }
                if let sign { return try await sign(object) }
                return Array(object.subject.utf8)
            })
        serving = Task { try await agent.serve() }
        own.agent.withLock { $0 = self }
    }

    /// How many it has signed, when it has ended.
    func end() async throws -> Int64 { try await serving.value }

    /// Sends bytes, and gives the answer as JSON; `nil` if there is none.
    static func ask(_ path: String, raw bytes: [UInt8]) async throws -> JSONCursor? {
        let answer = try await onBlockingThread { () throws(SigstoreError) -> [UInt8]? in
            guard let stream = try? UnixStream(path: path), (try? stream.send(bytes)) != nil else { return nil }
            var answer: [UInt8] = []
            while let more = try? stream.receive(until: .now + .seconds(60)) { answer += more }
            return answer.count < 4 ? nil : Array(answer[4...])
        }
        return try answer.map { JSONCursor(try JSONValue(parsing: $0)) }
    }

    static func frame(_ json: String) -> [UInt8] {
        let count = json.utf8.count
        return [UInt8(count >> 24), UInt8(count >> 16 & 255), UInt8(count >> 8 & 255), UInt8(count & 255)]
            + Array(json.utf8)
    }

    static func question(_ object: [UInt8]) -> [UInt8] {
        frame(#"{"version":1,"question":"sign","object":"\#(Data(object).base64EncodedString())"}"#)
    }

    func ask(_ raw: [UInt8]) async throws -> JSONCursor? { try await Self.ask(path, raw: raw) }

    /// The code with which a question is refused.
    func refusal(_ raw: [UInt8]) async throws -> String? {
        try await ask(raw)?.optional("error")?.member("code").string()
    }
}

/// A folder that is gone with the test.
private final class Folder: Sendable {
    let path = FileManager.default.temporaryDirectory.appending(path: "agent-\(UUID().uuidString.prefix(8))").path
    init() { _ = unsafe mkdir(path, 0o700) }
    deinit { try? FileManager.default.removeItem(atPath: path) }
    subscript(_ name: String) -> String { "\(path)/\(name)" }
}

private func commit(_ message: String = "first", _ more: String = "") -> [UInt8] {
    let id = String(repeating: "1", count: 40)
    let person = "Ann <ann@example.org> 1700000000 +0000"
    return Array("tree \(id)\nauthor \(person)\ncommitter \(person)\n\(more)\n\(message)\n".utf8)
}

private func tag() -> [UInt8] {
    let id = String(repeating: "1", count: 40)
    return Array("object \(id)\ntype commit\ntag v1\ntagger Ann <ann@example.org> 1 +0000\n\none\n".utf8)
}

@Suite("The agent", .localSigstore)
struct GitAgentTests {
    private static let isRoot = geteuid() == 0

    @Test("It says for whom it signs, signs commits and tags, and ends when it is told to")
    func serves() async throws {
        let agent = try Agent()
        let first = try await agent.client.status()
        #expect(first.identity == "ann@example.org" && first.issuer == "https://i" && first.signatures == 0)
        #expect(try await agent.ask(Agent.question(commit()))?.member("signature").string() == "first")
        #expect(try await agent.ask(Agent.question(tag()))?.member("signature").string() == "one")
        #expect(try await agent.client.status().signatures == 2)
        let mode = try FileManager.default.attributesOfItem(atPath: agent.path)[.posixPermissions] as? Int
        #expect(mode == 0o600)
        try await agent.client.stop()
        #expect(try await agent.end() == 2)
        #expect(!FileManager.default.fileExists(atPath: agent.path))
        #expect(await failure { _ = try await agent.client.status() }?.code == .noAgent)
    }

    @Test("A real signature by the agent's certificate, and no other certificate once that has ended")
    func signs() async throws {
        let workshop = try Workshop()
        let time = Mutex(SystemClock.now())
        let session = try SigningSession(
            signatory: try workshop.signatory(.email("ann@example.org")), services: try workshop.clients(.v1),
            trustedRoot: workshop.trustedRoot, clock: { time.withLock { $0 } })
        let settled = try #require(try await session.settleCertificate())
        #expect(settled.end == settled.certificate.notAfter - 30)
        let signer = try GitSigner(session)
        let agent = try Agent { object throws(SigstoreError) in Array(try await signer.sign(object.payload).pem.utf8) }
        let names = (1...8).map { "commit \($0)" }
        let client = agent.client
        // Several at once.
        let made = try await withThrowingTaskGroup(of: [UInt8].self) { group in
            for name in names { group.addTask { try await client.sign(commit(name)).pem } }
            return try await group.reduce(into: []) { $0.append($1) }
        }
        #expect(Set(made).count == names.count)
        #expect(workshop.services.fulcio.requests.filter { $0.target.hasSuffix("signingCert") }.count == 1)
        #expect(Set(agent.signed.withLock { $0 }) == Set(names))
        time.withLock { $0 = settled.end }
        let late = await failure { _ = try await client.sign(commit("late")) }
        #expect(
            late?.code == .agentRefused && late?.message.contains("[certificate-expired]") == true, "\(late as Any)")
        #expect(workshop.services.fulcio.requests.filter { $0.target.hasSuffix("signingCert") }.count == 1)
        try await client.stop()
        #expect(try await agent.end() == 8)
    }

    @Test(
        "It signs no digest, nothing that is no commit or tag, and nothing that is signed already; and says what is wrong"
    )
    func refuses() async throws {
        let agent = try Agent()
        let signature = "gpgsig -----BEGIN SSH SIGNATURE-----\n AAAA\n -----END SSH SIGNATURE-----\n"
        for (object, code) in [
            (Array(repeating: 0xab, count: 32), "malformed-git-object"), ([], "malformed-git-object"),
            (Array("100644 file\0".utf8), "malformed-git-object"),
            (Array(#"{"_type":"https://in-toto.io/Statement/v1"}"#.utf8), "malformed-git-object"),
            (commit("a\0b"), "malformed-git-object"), (commit("first", signature), "several-git-signatures"),
            (commit("first", "author Eve <e@x> 1 +0000\n"), "malformed-git-object"),
        ] as [([UInt8], String)] {
            #expect(try await agent.refusal(Agent.question(object)) == code)
        }
        for (json, code) in [
            ("", "malformed-json"), ("nonsense", "malformed-json"), ("[]", "unexpected-json"),
            ("{}", "unexpected-json"),
            (#"{"version":2,"question":"status"}"#, "unexpected-json"),
            (#"{"version":1,"question":"key"}"#, "unexpected-json"),
            (#"{"version":1,"question":"status","more":1}"#, "unexpected-json"),
            (#"{"version":1,"question":"sign"}"#, "unexpected-json"),
            (#"{"version":1,"question":"sign","digest":"YWJj"}"#, "unexpected-json"),
            (#"{"version":1,"question":"sign","object":"*"}"#, "malformed-base64"),
            (#"{"version":1,"question":"stop","question":"status"}"#, "malformed-json"),
        ] {
            #expect(try await agent.refusal(Agent.frame(json)) == code, "\(json)")
        }
        // More than is read: said to be, and sent.
        #expect(try await agent.refusal([0xff, 0xff, 0xff, 0xff]) == "git-object-too-large")
        #expect(try await agent.refusal(Agent.frame(#"{"version":1}"#) + [0]) == "git-object-too-large")
        let large = await failure { _ = try await agent.client.sign(commit(String(repeating: "a", count: 5 << 20))) }
        #expect(large?.code == .gitObjectTooLarge)
        #expect(agent.signed.withLock { $0 }.isEmpty)
        let whole = commit(String(repeating: "a", count: 4_000_000))
        #expect(try await agent.ask(Agent.question(whole))?.optional("signature") != nil)
        try await agent.client.stop()
    }

    @Test("Clients that say nothing hold up nobody for long")
    func slow() async throws {
        let agent = try Agent()
        // More than are let in at a time.
        let idle = try (0..<40).map { _ in try UnixStream(path: agent.path) }
        for (index, stream) in idle.enumerated() where index % 2 == 0 { try stream.send([0, 0, 1]) }
        let start = ContinuousClock.now
        #expect(try await agent.ask(Agent.question(commit()))?.member("signature").string() == "first")
        #expect(ContinuousClock.now - start < .seconds(60))
        // The first ones were hung up on.
        let first = idle[0]
        let ended = try await onBlockingThread { () throws(SigstoreError) in
            do throws(UnixStream.Failure) {
                _ = try first.receive(until: .now + .seconds(60))
                return false
            } catch { return true }
        }
        #expect(ended)
        try await agent.client.stop()
    }

    @Test("A person is asked once for each, one at a time, and what is not agreed to is not signed")
    func confirmed() async throws {
        for isConfirmed in [true, false] {
            let agent = try Agent(isConfirmed: isConfirmed)
            async let first = agent.ask(Agent.question(commit("a")))
            async let second = agent.ask(Agent.question(commit("b")))
            for answer in [try await first, try await second] {
                let code = try answer?.optional("error")?.member("code").string()
                #expect(code == (isConfirmed ? nil : "not-confirmed"))
            }
            #expect(Set(agent.asked.withLock { $0 }) == ["a", "b"])
            #expect(agent.signed.withLock { $0 }.count == (isConfirmed ? 2 : 0))
            try await agent.client.stop()
        }
    }

    @Test("With the certificate it ends, and its socket with it")
    func expires() async throws {
        let agent = try Agent()
        #expect(try await agent.ask(Agent.question(commit()))?.optional("signature") != nil)
        agent.time.withLock { $0 = 1_700_000_600 }
        #expect(try await agent.end() == 1)
        #expect(!FileManager.default.fileExists(atPath: agent.path))
    }

    // MARK: - Its place

    private static func take(_ path: String) async -> SigstoreError? {
        await failure { try GitAgent.expectFree(GitAgentPlace(path: path)) }
    }

    @Test("A folder that is open to others, is another's, or is a link, is no place for a socket")
    func folders() async throws {
        let folder = Folder()
        func make(_ name: String, _ mode: mode_t) {
            unsafe mkdir(folder[name], 0o700); unsafe chmod(folder[name], mode)
        }
        for mode in [0o755, 0o710, 0o701, 0o770, 0o777, 0o1777] as [mode_t] {
            make("open-\(mode)", mode)
            #expect(await Self.take(folder["open-\(mode)/a.sock"])?.code == .folderNotPrivate, "\(mode)")
        }
        make("own", 0o700)
        unsafe symlink(folder["own"], folder["link"])
        #expect(await Self.take(folder["link/a.sock"])?.code == .folderNotPrivate)
        try Data().write(to: URL(filePath: folder["file"]))
        #expect(await Self.take(folder["file/a.sock"])?.code == .folderNotPrivate)
        // Below one into which every user could put another folder.
        make("shared", 0o777)
        make("shared/own", 0o700)
        #expect(await Self.take(folder["shared/own/a.sock"])?.code == .folderNotPrivate)
        #expect(await Self.take(folder["shared/new/a.sock"])?.code == .folderNotPrivate)
        unsafe chmod(folder["shared"], 0o1777)
        #expect(await Self.take(folder["shared/own/a.sock"]) == nil)
        #expect(await Self.take(folder["own/a.sock"]) == nil)
        #expect(await Self.take(folder["made/here/a.sock"]) == nil)
        #expect(await Self.take(folder[String(repeating: "a", count: 120) + "/a.sock"])?.code == .fileUnwritable)
        guard Self.isRoot else { return }
        make("other", 0o700)
        unsafe chown(folder["other"], 65534, 65534)
        #expect(await Self.take(folder["other/a.sock"])?.code == .folderNotPrivate)
        make("other/below", 0o700)
        #expect(await Self.take(folder["other/below/a.sock"])?.code == .folderNotPrivate)
    }

    @Test("A live agent and whatever is not ours is left as it is; a socket at which nobody listens is replaced")
    func standing() async throws {
        let agent = try Agent()
        #expect(await Self.take(agent.path)?.code == .agentThere)
        #expect(try await agent.client.status().signatures == 0)
        // A socket that a forwarding program listens at has no lock.
        let folder = Folder()
        let listener = try UnixListener(path: folder["a.sock"])
        #expect(await Self.take(folder["a.sock"])?.code == .agentThere)
        withExtendedLifetime(listener) {}
        try Data("mine".utf8).write(to: URL(filePath: folder["file"]))
        #expect(await Self.take(folder["file"])?.code == .fileExists)
        #expect(try String(contentsOfFile: folder["file"], encoding: .utf8) == "mine")
        unsafe symlink(folder["elsewhere"], folder["dangling"])
        #expect(await Self.take(folder["dangling"])?.code == .fileExists)
        // Left by one that was killed.
        do { _ = try UnixListener(path: folder["stale.sock"]) }
        #expect(FileManager.default.fileExists(atPath: folder["stale.sock"]))
        #expect(await Self.take(folder["stale.sock"]) == nil)
        try await agent.client.stop()
    }

    @Test(
        "Another user's program is told nothing, even if it gets at the socket; and a socket of another user is no agent",
        .enabled(if: geteuid() == 0, "left out: only root can be another user"))
    func otherUsers() async throws {
        let agent = try Agent()
        for path in [agent.folder.path, agent.folder["run"]] { unsafe chmod(path, 0o755) }
        unsafe chmod(agent.path, 0o666)
        let script = """
            import socket, sys
            s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1])
            try:
                s.sendall(b'\\0\\0\\0\\x21{"version":1,"question":"status"}'); print(len(s.recv(100)))
            except OSError: print(0)
            """
        for (user, answers) in [("65534", false), ("0", true)] {
            let (out, err) = (agent.folder["out"], agent.folder["err"])
            let status = try await Spawning.run(
                "setpriv", ["--reuid=\(user)", "--clear-groups", "python3", "-c", script, agent.path], in: "/",
                environment: ["PATH": "/usr/bin:/bin"], output: out, errors: err)
            let said = try String(contentsOfFile: out, encoding: .utf8)
            let complaint = try String(contentsOfFile: err, encoding: .utf8)
            #expect(status == 0, "\(complaint)")
            #expect((said != "0\n") == answers, "\(user): \(said)")
        }
        try await agent.client.stop()

        let folder = Folder()
        unsafe chmod(folder.path, 0o777)
        let listening = """
            import os
            os.setuid(65534)
            import socket
            s = socket.socket(socket.AF_UNIX); s.bind(os.environ["SOCKET"]); s.listen()
            open(os.environ["SOCKET"][:-6] + "listens", "w")
            import time
            time.sleep(60)
            """
        let server = Process()
        server.executableURL = URL(filePath: "/usr/bin/env")
        server.arguments = ["python3", "-c", listening]
        server.environment = ["SOCKET": folder["a.sock"], "PATH": "/usr/bin:/bin"]
        (server.standardOutput, server.standardError) = (FileHandle.nullDevice, FileHandle.nullDevice)
        try Spawning.exclusively { try server.run() }
        // Threads that wait for others hold SIGTERM back, and what they start does too.
        defer { kill(server.processIdentifier, SIGKILL) }
        #expect(await Spawning.wait { FileManager.default.fileExists(atPath: folder["listens"]) })
        let error = await failure { _ = try await GitAgentClient(at: GitAgentPlace(path: folder["a.sock"])).status() }
        #expect(error?.code == .notAgent && error?.message.contains("another user") == true, "\(error as Any)")
    }

    @Test("What answers in an agent's place, and is none, is not believed")
    func answers() async throws {
        let session = try SigningSession(signatory: .key(try PrivateKey.generate(.ecdsaP256), algorithm: nil))
        let byKey = try await GitSigner(session).sign(commit()).pem
        func answer(_ pem: String) -> [UInt8] {
            Agent.frame(String(decoding: JSONValue.object(["signature": .string(pem)]).serialized(), as: UTF8.self))
        }
        for (bytes, code) in [
            ([], "not-an-agent"), (Array("HTTP/1.1 400 Bad Request\r\n\r\n".utf8), "not-an-agent"),
            ([0xff, 0xff, 0xff, 0xff], "not-an-agent"), (Agent.frame("[]"), "not-an-agent"),
            (Agent.frame(#"{"signature":1}"#), "not-an-agent"), (answer("nothing"), "not-an-agent"),
            // It holds no certificate.
            (answer(byKey), "not-an-agent"),
            (Agent.frame(#"{"error":{"code":"x","message":"y"}}"#), "agent-refused"),
        ] as [([UInt8], String)] {
            let folder = Folder()
            let listener = try UnixListener(path: folder["a.sock"])
            async let error = failure {
                _ = try await GitAgentClient(at: GitAgentPlace(path: folder["a.sock"])).sign(commit())
            }
            try await onBlockingThread { () throws(SigstoreError) in
                guard let stream = listener.accept(within: 60_000) else { return }
                _ = try? stream.receive(until: .now + .seconds(60))
                try? stream.send(bytes)
            }
            #expect(await error?.code.rawValue == code, "\(String(decoding: bytes, as: UTF8.self))")
        }
    }
}
