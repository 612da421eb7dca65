import Foundation
import SigstoreClients
import SigstoreCrypto
import SigstoreVerification
import StrictJSON
import Synchronization
import Testing

@testable import LocalSigstore

@Suite("The TUF repository of the local services")
final class TUFRepositoryTests: TUFFetcher {
    private static let mirror = "https://mirror.test"
    private let path = FileManager.default.temporaryDirectory.appendingPathComponent("tuf-\(UUID().uuidString)").path
    private let clock = Mutex(Int64(1_900_000_000))
    private let served = Mutex<TUFRepository?>(nil)

    deinit { try? FileManager.default.removeItem(atPath: path) }

    /// Opens the repository as a start of the services does.
    @discardableResult
    private func open(_ targets: [(name: String, content: [UInt8])] = [("a", [1]), ("b", [2, 3])]) throws
        -> TUFRepository
    {
        let repository = try TUFRepository(folder: StateFolder(path: path)) { self.clock.withLock { $0 } }
        try repository.publish(targets: targets)
        served.withLock { $0 = repository }
        return repository
    }

    func fetch(_ url: String, limit: Int) async throws(SigstoreError) -> [UInt8]? {
        do {
            let answer = try ask(String(url.dropFirst(Self.mirror.count)))
            return answer.status == 200 ? answer.body : nil
        } catch { throw error as? SigstoreError ?? SigstoreError(.tufUnreachable, "\(error)") }
    }

    private func ask(_ path: String, method: String = "GET") throws -> LoopbackResponse {
        let request = LoopbackRequest(method: method, path: path, query: [], body: [], faults: [], headers: [:])
        return try #require(served.withLock { $0 }).answer(request)
    }

    private func file(_ name: String) throws -> [UInt8] {
        [UInt8](try Data(contentsOf: URL(filePath: "\(path)/tuf/\(name)")))
    }

    /// A client of the project's own, with or without a memory.
    private func client(cache: String? = nil) throws -> TUFClient {
        var configuration = TUFClient.Configuration(
            mirror: Self.mirror, root: try file("1.root.json"),
            cache: cache.map { TUFCache(folder: "\(path)/\($0)") }, freshness: .now)
        configuration.clock = { Instant(seconds: self.clock.withLock { $0 }) }
        configuration.notice = { Issue.record("\($0)") }
        return TUFClient(configuration, fetcher: self)
    }

    private func versions(of client: TUFClient) async throws -> [Int64?] {
        let state = try await client.refresh()
        return [state.root.version, state.timestamp?.version, state.snapshot?.version]
    }

    @Test func itsTargetsAreVerified() async throws {
        try open()
        #expect(try await client().target("a") == [1])
        #expect(try await client().target("b") == [2, 3])
        #expect(try ask("/root.json").body == file("1.root.json"))
        #expect(try ask("/timestamp.json", method: "POST").status == 405)
        for path in [
            "/keys/issuer.pem", "/../keys/x.pem", "/targets/../1.root.json", "/targets", "/", "", "/.", "/targets/..",
            "/2.root.json",
        ] {
            #expect(try ask(path).status == 404, "\(path)")
        }
    }

    @Test func newTargetsMakeNewVersionsAndTheSameOnesDoNot() async throws {
        try open()
        #expect(try await versions(of: client()) == [1, 1, 1])
        try open()
        #expect(try await versions(of: client()) == [1, 1, 1])
        try open([("a", [4])])
        #expect(try await versions(of: client()) == [1, 2, 2])
        #expect(try await client().target("a") == [4])
        await #expect(throws: SigstoreError.self) { try await self.client().target("b") }
    }

    @Test func keysAreRotatedTenTimes() async throws {
        let repository = try open()
        let remembering = try client(cache: "cache")
        for rotation in 1...10 {
            // A client that comes each time, and one that comes for the first time since the first root.
            try repository.rotate()
            #expect(try await remembering.target("a") == [1])
            #expect(repository.rootVersion == Int64(rotation) + 1)
        }
        #expect(try await versions(of: client()) == [11, 11, 11])
        #expect(try await client().target("b") == [2, 3])
        // No key of the first root signs anything any more.
        let first = try Set(keyIDs(file("1.root.json"), "keys"))
        for name in ["11.root.json", "11.snapshot.json", "11.targets.json", "timestamp.json"] {
            #expect(try first.isDisjoint(with: keyIDs(file(name), "signatures")), "\(name)")
        }
        #expect(try first.isDisjoint(with: keyIDs(file("11.root.json"), "keys")))
    }

    /// The identifiers of a file's signatures, or of the keys in a root.
    private func keyIDs(_ file: [UInt8], _ what: String) throws -> [String] {
        let file = JSONCursor(try JSONValue(parsing: file))
        if what == "keys" { return try file.member("signed").member("keys").names() }
        return try file.member("signatures").elements().map { try $0.member("keyid").string() }
    }

    @Test func whoIsInTheMiddleOfAnUpdateGoesThrough() async throws {
        let repository = try open()
        let old = try file("1.root.json")
        try repository.rotate()
        // This client does not see the second root, and verifies all else with the first one's keys.
        var update = try TUFUpdate(trusting: old, at: Instant(seconds: clock.withLock { $0 }))
        try update.finishRoot()
        #expect(try update.takeTimestamp(file("timestamp.json")))
        try update.takeSnapshot(file("2.snapshot.json"))
        try update.takeTargets(file("2.targets.json"))
    }

    @Test func whatNearsItsExpiryIsSignedAnew() async throws {
        try open()
        let client = try client(cache: "cache")
        var days: Int64 = 0
        for (later, expected) in [
            (3, [1, 1, 1]), (4, [1, 2, 1]), (16, [1, 3, 2]), (50, [1, 4, 3]), (190, [2, 5, 4]),
        ]
            as [(Int64, [Int64])]
        {
            clock.withLock { $0 += (later - days) * 86_400 }
            days = later
            #expect(try await versions(of: client) == expected, "day \(later)")
            #expect(try await client.target("a") == [1])
        }
        // Nobody asked for two years.
        clock.withLock { $0 += 730 * 86_400 }
        #expect(try await client.target("a") == [1])
    }

    @Test func aRotationThatWasInterruptedIsFinished() async throws {
        let repository = try open()
        let before = try file("timestamp.json")
        try repository.rotate()
        // The new root was written, and nothing after it.
        try Data(before).write(to: URL(filePath: "\(path)/tuf/timestamp.json"))
        try open()
        #expect(try await client().target("a") == [1])
        #expect(try await versions(of: client()) == [2, 2, 2])
        try FileManager.default.removeItem(atPath: "\(path)/tuf/timestamp.json")
        try open()
        #expect(try await client().target("a") == [1])
    }

    @Test(arguments: ["2.root.json", "timestamp.json", "1.snapshot.json", "1.targets.json"])
    func aDamagedRepositoryIsSaidSo(_ name: String) throws {
        try open()
        try Data("damaged".utf8).write(to: URL(filePath: "\(path)/tuf/\(name)"))
        let error = #expect(throws: SigstoreError.self) { try self.open() }
        #expect(error?.code == .localServiceFailed)
        #expect(error?.advice?.description.contains("remove that folder") == true)
    }
}
