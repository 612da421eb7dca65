import FaultServer
import Foundation
import LocalSigstore
import SigstoreCrypto
import StrictJSON
import Synchronization
import TestServices
import Testing

/// What is in the program's memory, and who may look, while it waits for a registry that does not answer.
struct MemoryTests {
    let directory = TemporaryDirectory()

    /// Looks at a process, whose request waits for an answer, until what is to be seen is seen: what was sent may still
    /// be in a buffer that is given back now.
    /// - Parameters:
    ///   - pidFile: The file that holds the process's number.
    ///   - look: Looks at the process with that number.
    /// - Returns: Whether it was looked at.
    private static func watch(
        _ pidFile: String, _ connection: FaultServer.Connection, _ look: (Int32) -> Bool
    ) -> Bool {
        let text = (try? String(contentsOfFile: pidFile, encoding: .utf8)) ?? ""
        guard let process = Int32(text.trimmingCharacters(in: .whitespacesAndNewlines)) else { return false }
        for _ in 0..<20 {
            if look(process) { break }
            connection.pause(milliseconds: 20)
        }
        return true
    }

    /// Runs a command whose registry wants a password, and looks at the process while its request with it is waiting for
    /// an answer.
    /// - Parameters:
    ///   - token: What the registry gives for the password, and then wants to see; `nil` if it wants the password itself.
    ///   - before: Shell commands that come first.
    ///   - look: Looks at the process with that number, until it has seen what it wants to see; while a token is awaited,
    ///     and while the registry is.
    private func run(
        key: String, registryPassword: String, token: String? = nil, environment: [String: String] = [:],
        input: Program.Input = .nothing, before: String = ":",
        _ look: @escaping @Sendable (_ process: Int32, _ isForToken: Bool) -> Bool
    ) async throws {
        let pidFile = directory["pid"]
        // Of several requests at once, the first is looked at; the others wait, or the process could be gone meanwhile.
        let looks = Mutex<[Bool: Bool]>([:])
        let hasLooked = Mutex(false)
        let server = FaultServer { request, connection in
            guard request.header("authorization") != nil else {
                let realm = #"realm="http://\#(request.header("host") ?? "")/token""#
                return connection.respond(401, ["WWW-Authenticate: \(token == nil ? "Basic" : "Bearer") \(realm)"])
            }
            let isForToken = request.path == "/token"
            let isRunning = looks.withLock { looks in
                let known = looks[isForToken] ?? Self.watch(pidFile, connection) { look($0, isForToken) }
                looks[isForToken] = known
                return known
            }
            guard isRunning else { return }
            if isForToken { return connection.respond(200, [], #"{"token":"\#(token ?? "")"}"#) }
            hasLooked.withLock { $0 = true }
            connection.respond(403)
        }
        defer { server.stop() }
        let auth = Base64.encode(Array("me:\(registryPassword)".utf8))
        try directory.makeDirectory(".docker")
        try directory.write(".docker/config.json", #"{"auths":{"\#(server.authority)":{"auth":"\#(auth)"}}}"#)
        var program = Program(directory: directory.path, environment: environment)
        program.limits = "echo $$ > pid; \(before)"
        let image = "\(server.authority)/team/app@sha256:\(String(repeating: "0", count: 64))"
        let outcome = await program.run(["sign", "--key", key, "--tlog-upload=false", image], input: input)
        #expect(outcome.ending == .exit(1), "\(outcome.messages)")
        #expect(hasLooked.withLock { $0 }, "the registry was not asked with credentials: \(outcome.messages)")
    }

    @Test("No core file is written, and no other process of the same user may read the memory")
    func notDumpable() async throws {
        try directory.makeKey()
        try FileManager.default.setAttributes([.posixPermissions: 0o644], ofItemAtPath: directory["key.pem"])
        let seen = Mutex<(owner: uid_t, user: String, limits: String)>((0, "", ""))
        // Root's own processes belong to root anyway.
        let asAnother = "exec setpriv --reuid 65534 --regid 65534 --clear-groups \"$0\" \"$@\""
        try await run(
            key: "key.pem", registryPassword: "a password for the registry",
            before: "ulimit -c unlimited 2>/dev/null; \(geteuid() == 0 ? asAnother : ":")"
        ) { process, _ in
            var status = stat()
            guard unsafe stat("/proc/\(process)/mem", &status) == 0 else { return true }
            let lines = { (name: String, prefix: String) in
                ((try? String(contentsOfFile: "/proc/\(process)/\(name)", encoding: .utf8)) ?? "")
                    .split(separator: "\n").first { $0.hasPrefix(prefix) }.map(String.init) ?? ""
            }
            seen.withLock { $0 = (status.st_uid, lines("status", "Uid:"), lines("limits", "Max core file size")) }
            return true
        }
        let (owner, user, limits) = seen.withLock { $0 }
        #expect(!user.isEmpty && !user.hasPrefix("Uid:\t0"), "\(user)")
        #expect(owner == 0, "the memory is \(owner)'s to read")
        #expect(limits.split(separator: " ").dropFirst(4).first == "0", "\(limits)")
    }

    /// Where a private key comes from.
    enum Source: String, CaseIterable {
        case encrypted, passwordFromStandardInput, pkcs8, encryptedPKCS8, environment
    }

    /// What has to be kept secret of a private key in PKCS#8.
    private static func secret(of der: [UInt8], _ algorithm: SigningAlgorithm) -> [UInt8] {
        switch algorithm {
        case .ed25519: return Array(der.suffix(32))
        case .rsa2048:
            // The modulus begins after 33 bytes, with a length of two bytes; the first prime comes three numbers later.
            var (place, length) = (33, 0)
            for _ in 0..<4 {
                place += length
                let head = der[place + 1] < 0x80 ? 2 : 2 + Int(der[place + 1] & 0x7f)
                length =
                    head == 2 ? Int(der[place + 1]) : der[(place + 2)..<(place + head)].reduce(0) { $0 << 8 | Int($1) }
                place += head
            }
            return Array(der[place..<(place + length)].suffix(128))
        default:
            let start = der.indices.first { der[$0...].starts(with: [2, 1, 1, 4, 0x20]) } ?? 0
            return Array(der[(start + 5)..<(start + 37)])
        }
    }

    /// How often each of the texts is in the memory that a process may write to.
    private static func count(_ texts: [[UInt8]], in process: Int32) -> [Int] {
        var counts = texts.map { _ in 0 }
        let memory = unsafe open("/proc/\(process)/mem", O_RDONLY | O_CLOEXEC)
        defer { close(memory) }
        // The system gives this list in pieces of a page; Foundation takes the first for the whole at times.
        var list: [UInt8] = []
        let maps = unsafe open("/proc/\(process)/maps", O_RDONLY | O_CLOEXEC)
        defer { close(maps) }
        var piece = [UInt8](repeating: 0, count: 4096)
        while case let count = unsafe read(maps, &piece, piece.count), count > 0 { list += piece.prefix(count) }
        for line in String(decoding: list, as: UTF8.self).split(separator: "\n") {
            let fields = line.split(separator: " ", maxSplits: 2)
            let ends = fields[0].split(separator: "-").compactMap { Int($0, radix: 16) }
            guard ends.count == 2, fields[1].hasPrefix("rw") else { continue }
            var bytes = [UInt8](repeating: 0, count: ends[1] - ends[0])
            // What the process gives back meanwhile is a hole, after which there may be more.
            var place = 0
            while place < bytes.count {
                let count = unsafe bytes.withUnsafeMutableBytes { buffer in
                    unsafe pread(
                        memory, buffer.baseAddress.map { unsafe $0 + place }, buffer.count - place, ends[0] + place)
                }
                place += max(count, 4096)
            }
            for (index, text) in texts.enumerated() {
                unsafe bytes.withUnsafeBytes { buffer in
                    guard let start = buffer.baseAddress, let first = text.first else { return }
                    var place = 0
                    while place + text.count <= bytes.count,
                        let found = unsafe memchr(start + place, Int32(first), bytes.count - place - text.count + 1)
                    {
                        if unsafe memcmp(found, text, text.count) == 0 { counts[index] += 1 }
                        place = unsafe UnsafeRawPointer(found) - start + 1
                    }
                }
            }
        }
        return counts
    }

    @Test(
        "While a registry is awaited, no private key is in memory, and nothing that it was read or opened from",
        .enabled(if: geteuid() == 0, "left out: only root may look into the memory of such a program"),
        arguments: Source.allCases.map { ($0, SigningAlgorithm.ecdsaP256) } + [
            (.encrypted, .ed25519), (.pkcs8, .ed25519), (.encrypted, .rsa2048), (.pkcs8, .rsa2048),
        ])
    func secrets(source: Source, algorithm: SigningAlgorithm) async throws {
        let (password, registryPassword) = (
            "correct horse battery", source == .pkcs8 ? "sh0rtPw!" : "long Registry Password"
        )
        let key = try directory.makeKey("key", algorithm)
        let der = unsafe try key.pkcs8().withBytes { unsafe Array($0) }
        let pem = PEM.encode(label: "PRIVATE KEY", der)
        var (reference, environment, input) = ("key.pem", ["COSIGN_PASSWORD": password], Program.Input.nothing)
        switch source {
        case .pkcs8: break
        case .encrypted, .passwordFromStandardInput:
            let sealed = try EncryptedKeyFile(encrypting: key, password: SecretBytes(password.utf8)).pem()
            reference = try directory.write("sealed.key", sealed)
            if source == .passwordFromStandardInput { (environment, input) = ([:], .text(password + "\n")) }
        case .encryptedPKCS8:
            try await directory.tool(
                "openssl", "pkcs8", "-topk8", "-in", "key.pem", "-passout", "pass:\(password)", "-out", "sealed.pem")
            reference = "sealed.pem"
        case .environment: (reference, environment) = ("env://SIGNING_KEY", ["SIGNING_KEY": pem])
        }
        let secret = Self.secret(of: der, algorithm)
        let line = pem.split(separator: "\n").dropLast().last.map { Array($0.utf8) } ?? []
        let auth = Base64.encode(Array("me:\(registryPassword)".utf8))
        // OpenSSL keeps large numbers with their lowest byte first.
        let texts: [(what: String, bytes: [UInt8], limit: Int)] = [
            ("the password", Array(password.utf8), source == .pkcs8 ? 1 : 0),
            ("the PEM text", line, 0),
            ("the key as files have it", secret, 0),
            ("the key", secret.reversed(), 0),
            ("the registry's password", Array(registryPassword.utf8), 0),
            ("the registry's password in base64", Array(auth.utf8), 1),
        ]
        let seen = Mutex<[Int]>([])
        try await run(
            key: reference, registryPassword: registryPassword, environment: environment, input: input
        ) { process, _ in
            let counts = Self.count(texts.map(\.bytes), in: process)
            seen.withLock { $0 = counts }
            return zip(counts, texts).allSatisfy { $0 <= $1.limit } && counts[5] == 1
        }
        let counts = seen.withLock { $0 }
        try #require(counts.count == texts.count)
        for (count, text) in zip(counts, texts) {
            #expect(count <= text.limit, "\(text.what) is in memory \(count) times")
        }
        // What is looked for can be found.
        #expect(counts[5] == 1)
    }

    @Test(
        "While a registry or its token server is awaited, a password and a token are in memory once, as they are shown",
        .enabled(if: geteuid() == 0, "left out: only root may look into the memory of such a program"))
    func credentials() async throws {
        try directory.makeKey()
        let (password, token) = ("long Registry Password", "a.token-of-the-registry.0123456789")
        let auth = Base64.encode(Array("me:\(password)".utf8))
        let texts = [password, auth, "Authorization: Basic \(auth)", token, "Authorization: Bearer \(token)"]
        let seen = Mutex<[Bool: [Int]]>([:])
        try await run(key: "key.pem", registryPassword: password, token: token) { process, isForToken in
            let counts = Self.count(texts.map { Array($0.utf8) }, in: process)
            seen.withLock { $0[isForToken] = counts }
            return counts == [0, 1, 1] + (isForToken ? [0, 0] : [1, 1])
        }
        // The password is kept for further tokens.
        #expect(seen.withLock { $0 } == [true: [0, 1, 1, 0, 0], false: [0, 1, 1, 1, 1]])
    }

    @Test(
        "While Fulcio is awaited, the identity token is in memory once", .localSigstore,
        .enabled(if: geteuid() == 0, "left out: only root may look into the memory of such a program"),
        arguments: [false, true])
    func identityToken(isInVariable: Bool) async throws {
        let place = try SigningFixture()
        let token = try place.services.issuer.token(for: SigningFixture.alice)
        let texts = ([token] + token.split(separator: ".").dropFirst().map(String.init)).map { Array($0.utf8) }
        let seen = Mutex<[Int]>([])
        let pidFile = place.directory["pid"]
        let fulcio = FaultServer { request, connection in
            _ = Self.watch(pidFile, connection) { process in
                let counts = Self.count(texts, in: process)
                seen.withLock { $0 = counts }
                return counts == [1, 1, 1]
            }
            connection.respond(403)
        }
        defer { fulcio.stop() }
        try place.directory.write("file", "to be signed")
        try place.directory.write("token", token)
        var program = Program(
            directory: place.directory.path, environment: isInVariable ? ["SIGSTORE_ID_TOKEN": token] : [:])
        program.limits = "echo $$ > pid"
        let outcome = await program.run(
            ["sign-blob", "--yes", "--fulcio-url", fulcio.url, "--rekor-url", place.services.rekorV1.url]
                + place.trust + (isInVariable ? [] : ["--identity-token", "token"])
                + ["--bundle", "bundle.json", "file"])
        #expect(outcome.code == "identity-token-refused", "\(outcome.messages)")
        #expect(seen.withLock { $0 } == [1, 1, 1])
    }
}
