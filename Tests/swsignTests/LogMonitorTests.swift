import FaultServer
import Foundation
import HTTPTransport
import LocalSigstore
import SigstoreCrypto
import SigstoreVerification
import StrictJSON
import Synchronization
import TestServices
import Testing

/// tlog monitor: a log from one run to the next.
@Suite("Watching logs", .localSigstore(.own))
struct LogMonitorTests {
    private let place: SigningFixture

    init() throws {
        place = try SigningFixture()
        for key in ["mine", "other"] { try place.directory.makeKey(key) }
    }

    /// A version of Rekor.
    enum Version: String, CaseIterable, Sendable {
        case v1, v2
        var config: LocalServices.SigningConfigKind { self == .v1 ? .v1 : .v2 }
        /// The name of the log's file.
        var file: String { self == .v1 ? "rekor-v1" : "rekor-v2" }
    }

    private func log(_ version: Version, _ services: LocalServices) -> LoopbackServer {
        version == .v1 ? services.rekorV1 : services.rekorV2
    }

    private func monitor(
        _ version: Version, _ flags: [String] = ["--key", "mine.pub"], of services: LocalServices? = nil
    ) async -> Program.Outcome {
        let services = services ?? place.services
        return await place.run(
            [
                "tlog", "monitor", "--state", "state.json", "--trusted-root", services.files.trustedRoot, "--rekor-url",
                log(version, services).url, "--rekor-version", version == .v1 ? "1" : "2", "-o", "json",
            ] + flags)
    }

    /// Signs files in one run.
    private func sign(_ names: [String], by key: String = "mine", _ version: Version) async throws {
        for name in names { try place.directory.write(name, "the content of \(name)") }
        let outcome = await place.run(
            ["sign-blob", "--yes", "--key", "\(key).pem"] + (names.count == 1 ? ["--bundle", "bundle.json"] : [])
                + place.services(version.config) + names)
        try #require(outcome.succeeded, "\(outcome.messages)")
    }

    private func digest(_ name: String) throws -> String {
        try Digest.sha256(Array("the content of \(name)".utf8)).description
    }

    /// The digests of the entries that were shown.
    private func shown(_ outcome: Program.Outcome) throws -> [String] {
        try outcome.objects().filter { try $0.member("event").string() == "entry" }.map {
            try $0.member("digest").string()
        }
    }

    private func summary(_ outcome: Program.Outcome, _ name: String) throws -> Int64 {
        let last = try #require(try outcome.objects().last { try $0.member("event").string() == "log" })
        return try last.member(name).integer()
    }

    @Test("My entries are shown once, and others are not", arguments: Version.allCases)
    func mine(version: Version) async throws {
        try await sign(["before"], version)
        let first = await monitor(version)
        first.expectSuccess()
        #expect(try shown(first).isEmpty && first.messages.contains("watched from now on"), "\(first.messages)")
        try await sign(["one"], version)
        try await sign(["foreign"], by: "other", version)
        try await sign(["two"], version)
        let second = await monitor(version)
        second.expectSuccess()
        #expect(try shown(second) == [digest("one"), digest("two")], "\(second.output)")
        #expect(try summary(second, "read") == 3 && summary(second, "behind") == 0)
        let third = await monitor(version)
        third.expectSuccess()
        #expect(try shown(third).isEmpty && summary(third, "read") == 0)
        // By the key of others, nothing was kept back.
        try await sign(["three"], by: "other", version)
        #expect(try shown(await monitor(version, ["--key", "other.pub"])) == [digest("three")])
    }

    @Test("Entries by an identity, and not those of a certificate that anyone could make", arguments: Version.allCases)
    func identity(version: Version) async throws {
        let flags = place.expecting(SigningFixture.alice)
        await monitor(version, flags).expectSuccess()
        for (file, identity) in [("alices", SigningFixture.alice), ("bobs", .email("bob@local.test"))] {
            try place.directory.write(file, "the content of \(file)")
            let outcome = await place.run(
                ["sign-blob", "--yes", "--bundle", "\(file).json"] + place.services(version.config)
                    + (try place.token(identity)) + [file])
            try #require(outcome.succeeded, "\(outcome.messages)")
        }
        let outcome = await monitor(version, flags)
        outcome.expectSuccess()
        #expect(try shown(outcome) == [digest("alices")], "\(outcome.output)")
        let entry = try #require(try outcome.objects().first)
        #expect(try entry.member("identity").string() == place.services.issuer.subject(of: SigningFixture.alice))
        // With a root whose authorities are others, the same certificate is anyone's.
        try await sign(["later"], version)
        try place.directory.write("alices", "the content of more")
        let again = await place.run(
            ["sign-blob", "--yes", "--bundle", "more.json"] + place.services(version.config) + (try place.token())
                + ["alices"])
        try #require(again.succeeded, "\(again.messages)")
        var root = try TrustedRoot(
            parsing: Array(try Data(contentsOf: URL(fileURLWithPath: place.services.files.trustedRoot))))
        root.certificateAuthorities = try TrustedRoot.embedded(.production).certificateAuthorities
        try place.directory.write("root.json", root.serialized())
        let unfounded = await monitor(version, flags + ["--trusted-root", "root.json"])
        unfounded.expectSuccess()
        #expect(try shown(unfounded).isEmpty && summary(unfounded, "unfounded") == 1, "\(unfounded.output)")
    }

    @Test("All logs of the trusted root are watched if none is named")
    func allLogs() async throws {
        let arguments = ["tlog", "monitor", "--state", "state.json", "--key", "mine.pub"] + place.trust
        let first = await place.run(arguments)
        first.expectSuccess()
        #expect(first.messages.split(separator: "watched from now on").count == 3, "\(first.messages)")
        for version in Version.allCases { try await sign(["\(version)"], version) }
        let second = await place.run(arguments)
        second.expectSuccess()
        for version in Version.allCases {
            #expect(try second.output.contains(digest("\(version)")), "\(second.output)")
        }
        #expect(await place.run(arguments).output.isEmpty)
        // One that does not answer keeps nobody from the other.
        try await sign(["late"], .v2)
        place.services.rekorV1.faults.add(Fault(.status(403, retryAfter: nil)))
        let broken = await place.run(arguments)
        #expect(try broken.ending == .exit(1) && broken.output.contains(digest("late")), "\(broken.messages)")
    }

    @Test("At most --max-entries are read, and the next run goes on there", arguments: Version.allCases)
    func limited(version: Version) async throws {
        await monitor(version).expectSuccess()
        let names = (1...5).map { "file\($0)" }
        try await sign(names, version)
        var all: [String] = []
        for (count, behind) in [(2, 3), (2, 1), (1, 0), (0, 0)] as [(Int, Int64)] {
            let outcome = await monitor(version, ["--key", "mine.pub", "--max-entries", "2"])
            outcome.expectSuccess()
            #expect(try shown(outcome).count == count && summary(outcome, "behind") == behind, "\(outcome.output)")
            if behind > 0 { #expect(outcome.messages.contains("\(behind) entries are left")) }
            all += try shown(outcome)
        }
        #expect(try Set(all) == Set(names.map { try digest($0) }) && all.count == 5)
    }

    @Test("Across the tiles of a log", arguments: [1, 700] as [Int64])
    func tiles(limit: Int64) async throws {
        await monitor(.v2).expectSuccess()
        let names = (1...270).map { "file\($0)" }
        try await sign(names, .v2)
        let outcome = await monitor(.v2, ["--key", "mine.pub", "--max-entries", "\(limit)"])
        outcome.expectSuccess()
        #expect(try shown(outcome).count == min(270, Int(limit)))
        try await sign(["last"], .v2)
        let rest = await monitor(.v2)
        rest.expectSuccess()
        #expect(try shown(rest).count == 271 - min(270, Int(limit)))
    }

    @Test("An entry that was not expected is a finding", arguments: Version.allCases)
    func expected(version: Version) async throws {
        await monitor(version).expectSuccess()
        try await sign(["known"], version)
        try await sign(["strange"], version)
        let state = try place.directory.text("state.json")
        try place.directory.write("expected", "# releases\n\n\(try digest("known"))  # 1.0\n")
        let flags = ["--key", "mine.pub", "--expect", "expected"]
        let outcome = await monitor(version, flags)
        #expect(outcome.ending == .exit(12) && outcome.code == "unexpected-log-entry", "\(outcome.messages)")
        let entries = try outcome.objects().filter { try $0.member("event").string() == "entry" }
        #expect(try entries.map { try $0.member("expected").bool() } == [true, false])
        // It is told once, as everything is.
        await monitor(version, flags).expectSuccess()
        // By leaf hash, and by index.
        for name in ["leafHash", "logIndex"] {
            let word = String(decoding: try entries[1].member(name).value.serialized(), as: UTF8.self).replacing(
                "\"", with: "")
            try place.directory.write("state.json", state)
            try place.directory.write("expected", "\(try digest("known"))\r\n\(word)\n")
            await monitor(version, flags).expectSuccess(name)
        }
        try place.directory.write("state.json", state)
        try place.directory.write("expected", "")
        #expect(await monitor(version, flags).ending == .exit(12))
        for bad in ["sha256:12", "x", "-1", "1 2"] {
            try place.directory.write("expected", bad)
            #expect(await monitor(version, flags).ending == .exit(1), "\(bad)")
        }
    }

    @Test("An entry that is not proven to be in the log stops the run, and is read again", arguments: Version.allCases)
    func inclusion(version: Version) async throws {
        await monitor(version).expectSuccess()
        try await sign(["one"], version)
        let server = log(version, place.services)
        let faults: [Fault] =
            version == .v1
            ? [
                Fault(.wrongProof, path: "/retrieve"), Fault(.wrongCheckpoint, path: "/retrieve"),
                Fault(.wrongEntry, path: "/retrieve"),
            ]
            : [Fault(.corruptBody, path: "/tile/entries/"), Fault(.corruptBody, path: "/tile/0/")]
        let state = try place.directory.text("state.json")
        for fault in faults {
            server.faults.add(fault)
            let outcome = await monitor(version)
            #expect(try outcome.ending == .exit(1) && shown(outcome).isEmpty, "\(fault): \(outcome.messages)")
            #expect(
                ["invalid-inclusion-proof", "invalid-checkpoint", "inconsistent-log", "unexpected-answer"].contains(
                    outcome.code),
                "\(fault): \(outcome.messages)")
            server.faults.removeAll()
            try place.directory.write("state.json", state)
        }
        #expect(try shown(await monitor(version)) == [digest("one")])
        // The checkpoint itself.
        server.faults.add(Fault(.wrongCheckpoint))
        #expect(await monitor(version).code == "invalid-checkpoint")
    }

    /// Services with the same keys and another history.
    private func services(_ name: String, _ change: (String) throws -> Void) async throws -> LocalServices {
        let (from, to) = (place.services.files.folder, place.directory[name])
        let files = FileManager.default
        try files.createDirectory(atPath: to, withIntermediateDirectories: true)
        for part in ["keys", "logs", "started"] where files.fileExists(atPath: "\(from)/\(part)") {
            try files.copyItem(atPath: "\(from)/\(part)", toPath: "\(to)/\(part)")
        }
        try change(to)
        return try await LocalServices.start(LocalServices.Configuration(folder: to))
    }

    @Test("Two histories, and one that got shorter, are breaks; the state stays as it is", arguments: Version.allCases)
    func breaks(version: Version) async throws {
        let path = "logs/\(version.file).jsonl"
        func lines(_ folder: String, _ change: (inout [Substring]) -> Void) throws {
            var lines = String(decoding: try Data(contentsOf: URL(fileURLWithPath: "\(folder)/\(path)")), as: UTF8.self)
                .split(separator: "\n")
            change(&lines)
            try (lines.joined(separator: "\n") + "\n").write(
                toFile: "\(folder)/\(path)", atomically: true, encoding: .utf8)
        }
        try await sign(["one"], version)
        try await sign(["two"], version)
        await monitor(version).expectSuccess()
        let same = try await services("same") { _ in }
        await monitor(version, of: same).expectSuccess()
        await same.stop()
        let state = try place.directory.text("state.json")
        for (name, change) in [
            ("shorter", { $0.removeLast() }), ("changed", { $0.swapAt(1, 2) }),
            ("forked", { $0 = [$0[0], $0[2], $0[1], $0[0].replacing("0", with: "0")[...]] }),
        ] as [(String, (inout [Substring]) -> Void)] {
            let other = try await services(name) { try lines($0, change) }
            if name == "forked" {
                // Longer than what was known, so that the proof decides.
                for index in 1...4 {
                    try place.directory.write("more", "more \(index)")
                    let signed = await place.run(
                        [
                            "sign-blob", "--yes", "--key", "other.pem", "--bundle", "more.json", "--trusted-root",
                            other.files.trustedRoot,
                        ]
                            + ["--signing-config", other.files.signingConfig(version.config), "more"])
                    try #require(signed.succeeded, "\(signed.messages)")
                }
            }
            let outcome = await monitor(version, of: other)
            #expect(outcome.ending == .exit(1) && outcome.code == "inconsistent-log", "\(name): \(outcome.messages)")
            #expect(outcome.messages.contains("Expected a tree that begins with the 3 entries"), "\(outcome.messages)")
            #expect(try place.directory.text("state.json") == state, "\(name)")
            await other.stop()
        }
        await monitor(version).expectSuccess()
    }

    @Test("The shards of a log are one log: a new one is read from its beginning, and an old one must stay")
    func shards() async throws {
        let second = try await LocalServices.start(LocalServices.Configuration(folder: place.directory["second"]))
        let log = ShardedLog(place.services.rekorV1.url, second.rekorV1.url)
        defer { log.server.stop() }
        var root = try TrustedRoot(
            file: Array(try Data(contentsOf: URL(fileURLWithPath: place.services.files.trustedRoot))))
        root.transparencyLogs += try TrustedRoot(
            file: Array(try Data(contentsOf: URL(fileURLWithPath: second.files.trustedRoot)))
        ).transparencyLogs
        try place.directory.write("root.json", root.serialized())
        func monitor() async -> Program.Outcome {
            await place.run([
                "tlog", "monitor", "--state", "state.json", "--trusted-root", "root.json", "--rekor-url",
                "http://\(log.server.authority)", "--rekor-version", "1", "-o", "json", "--key", "mine.pub",
            ])
        }
        func signInSecond(_ name: String) async throws {
            try place.directory.write(name, "the content of \(name)")
            await place.run(
                ["sign-blob", "--yes", "--key", "mine.pem", "--bundle", "bundle.json", "--trusted-root"]
                    + [second.files.trustedRoot, "--signing-config", second.files.signingConfig(.v1), name]
            ).expectSuccess()
        }
        try await sign(["before"], .v1)
        await monitor().expectSuccess()
        // Written before the shard was closed, and after it into the next one.
        try await sign(["late"], .v1)
        log.show(.both)
        try await signInSecond("one")
        let first = await monitor()
        first.expectSuccess()
        #expect(try shown(first) == [digest("late"), digest("one")], "\(first.output)")
        // Its place counts over all shards.
        let places = try first.objects().filter { try $0.member("event").string() == "entry" }.map {
            try $0.member("logIndex").integer()
        }
        #expect(places == [2, 4], "\(places)")
        try await signInSecond("two")
        #expect(try shown(await monitor()) == [digest("two")])
        #expect(try shown(await monitor()).isEmpty)
        let state = try place.directory.text("state.json")
        log.show(.second)
        let lost = await monitor()
        #expect(lost.ending == .exit(1) && lost.code == "inconsistent-log", "\(lost.messages)")
        #expect(lost.messages.contains("does not have the tree") && lost.messages.contains("any more"))
        #expect(try place.directory.text("state.json") == state)
        await second.stop()
    }

    @Test("Entries that cannot be read are counted and said, never passed over in silence", arguments: Version.allCases)
    func hostile(version: Version) async throws {
        await monitor(version).expectSuccess()
        let bodies =
            [
                #"{"apiVersion":"0.0.1","kind":"rpm","spec":{}}"#, #"{"apiVersion":"9","kind":"\u001b[2J","spec":{}}"#,
            ] + (version == .v2 ? ["", "not json", String(repeating: "[", count: 60_000)] : [])
        let other = try await services("hostile") { folder in
            let handle = try #require(FileHandle(forWritingAtPath: "\(folder)/logs/\(version.file).jsonl"))
            try handle.seekToEnd()
            for body in bodies {
                let line = JSONValue.object(["body": .bytes(Array(body.utf8)), "time": .integer(1_790_000_000)])
                try handle.write(contentsOf: Data(line.serialized() + [0x0a]))
            }
            try handle.close()
        }
        let outcome = await monitor(version, of: other)
        outcome.expectSuccess()
        #expect(try summary(outcome, "unreadable") == Int64(bodies.count), "\(outcome.output)")
        #expect(outcome.messages.contains("cannot be read here"))
        await other.stop()
    }

    @Test("A state file that was cut short or is of another version is refused and kept")
    func badState() async throws {
        await monitor(.v1).expectSuccess()
        let state = try place.directory.text("state.json")
        let bad = [
            "", String(state.dropLast(5)), state.replacing(#""version":1"#, with: #""version":2"#),
            state.replacing(#""next":"#, with: #""next":9"#), state.replacing(#""next":"#, with: #""next":-"#),
        ]
        for text in bad {
            try place.directory.write("state.json", text)
            let outcome = await monitor(.v1)
            #expect(
                outcome.ending == .exit(1) && outcome.messages.contains("state.json"), "\(text): \(outcome.messages)")
            #expect(try place.directory.text("state.json") == text)
        }
        #expect(await place.run(["tlog", "monitor"] + place.trust).code == "usage")
        #expect(await monitor(.v1, ["--max-entries", "0"]).code == "usage")
    }
}

/// Two logs of Rekor v1 as one: the first is a shard that is closed, the second the one that is written to.
private final class ShardedLog: Sendable {
    enum Shown { case first, both, second }
    private final class State: Sendable { let shown = Mutex(Shown.first) }

    private let state = State()
    let server: FaultServer

    init(_ first: String, _ second: String) {
        let (client, state) = (CurlClient(), state)
        /// The answer of one of the two.
        @Sendable func ask(_ url: String, _ method: String = "GET", _ body: Data = Data()) -> Data {
            let done = DispatchSemaphore(value: 0)
            let answer = Mutex(Data())
            Task {
                let request = HTTPRequest(
                    method, try HTTPURL(parsing: url), headers: [(name: "Content-Type", value: "application/json")],
                    body: .bytes(Array(body)))
                let response = try? await client.send(request)
                answer.withLock { $0 = Data(response?.body ?? []) }
                done.signal()
            }
            done.wait()
            return answer.withLock { $0 }
        }
        @Sendable func head(_ log: String) -> [String: Any] { object(ask("\(log)/api/v1/log")) }
        @Sendable func object(_ data: Data) -> [String: Any] {
            (try? JSONSerialization.jsonObject(with: data)) as? [String: Any] ?? [:]
        }
        server = FaultServer { request, connection in
            let shown = state.shown.withLock { $0 }
            let (one, two) = (head(first), head(second))
            let size = shown == .second ? 0 : one["treeSize"] as? Int ?? 0
            var answer = Data()
            switch request.path {
            case "/api/v1/log":
                var merged = shown == .first ? one : two
                if shown == .both { merged["inactiveShards"] = [one.filter { $0.key != "inactiveShards" }] }
                answer = (try? JSONSerialization.data(withJSONObject: merged)) ?? Data()
            case "/api/v1/log/proof":
                let isFirst = request.target.contains("treeID=\(one["treeID"] ?? "")")
                answer = ask((isFirst ? first : second) + request.target)
            default:
                // Places count over all shards; what a log promises of its own place is left out.
                let asked = object(Data(request.body))["logIndexes"] as? [Int] ?? []
                let (offset, log) = (asked.first ?? 0) < size || shown == .first ? (0, first) : (size, second)
                let own = try? JSONSerialization.data(withJSONObject: ["logIndexes": asked.map { $0 - offset }])
                let found = ask(log + request.target, "POST", own ?? Data())
                var entries = (try? JSONSerialization.jsonObject(with: found)) as? [[String: [String: Any]]] ?? []
                for (place, entry) in entries.enumerated() {
                    for (id, value) in entry {
                        var value = value
                        value["logIndex"] = (value["logIndex"] as? Int ?? 0) + offset
                        var proof = value["verification"] as? [String: Any] ?? [:]
                        proof["signedEntryTimestamp"] = nil
                        value["verification"] = proof
                        entries[place][id] = value
                    }
                }
                answer = (try? JSONSerialization.data(withJSONObject: entries)) ?? Data()
            }
            connection.respond(200, ["Content-Type: application/json"], Array(answer))
        }
    }

    func show(_ shown: Shown) { state.shown.withLock { $0 = shown } }
}
