import FaultServer
import Foundation
import HTTPTransport
import OCIRegistry
import SigstoreCrypto
import StrictJSON
import Synchronization
import TestServices
import Testing

/// Two writers at one list, of which the network holds one. What is lost, who notices it, and what is said: the table at
/// ``TagMerge``.
@Suite(.timeLimit(.minutes(10))) struct TagMergeTests {
    /// What happens to the first list that X writes.
    enum Mishap: String, CaseIterable, CustomTestStringConvertible {
        case reachesIt, isAnswered, isRepeated, isLost, isLostAfterwards, reachesItAndIsLost, reachesItAndFails
        var testDescription: String { rawValue }
    }

    /// What A wrote from a look before X's list was there is noticed by X, though X was not told that it had written.
    @Test("A write whose answer is lost is looked after like any other")
    func lostAnswer() async throws {
        let registry = try await ListRegistry()
        let x = try Writer("X", registry, announces: false, longestWrite: .seconds(3))
        let a = try registry.referrer("A")
        let puts = Mutex(0)
        registry.onPut.withLock {
            $0 = { put in
                put.store()
                let isFirst = puts.withLock { puts in
                    puts += 1
                    return puts == 1
                }
                if isFirst { put.connection.reset() } else { put.answer() }
            }
        }
        let looks = Mutex(0)
        registry.onGet.withLock {
            $0 = {
                // After X has read its own entry there, A's list replaces it.
                guard (try? registry.listed()) == ["X"] else { return }
                let isSecond = looks.withLock { looks in
                    looks += 1
                    return looks == 2
                }
                if isSecond, let list = try? ImageIndex(manifests: [a.referrerDescriptor]).encoded() {
                    registry.store(list, registry.list)
                }
            }
        }
        try await x.write()
        #expect(try registry.listed() == ["A", "X"])
    }

    @Test("Two writers of one statement by one signer, and a third, lose nothing", arguments: Limits.all)
    func twins(limits: Limits) async throws {
        let registry = try await ListRegistry(limits)
        let name = String(repeating: "a", count: 32)
        try await withThrowingTaskGroup(of: Void.self) { group in
            for number in 1...6 {
                let writer = try Writer("\(number)", registry, announces: true, longestWrite: .milliseconds(500))
                let announced = number < 4 ? name : String(repeating: "\(number)", count: 32)
                group.addTask { try await writer.client.putReferrer(writer.own, announcedAs: announced) }
            }
            try await group.waitForAll()
        }
        #expect(try registry.listed() == ["1", "2", "3", "4", "5", "6"])
        #expect(registry.announcements.count <= 6)
    }

    @Test("An announcement that another writer has put over is left alone")
    func foreignAnnouncement() async throws {
        let registry = try await ListRegistry()
        let (writer, other) = (
            try Writer("ours", registry, announces: true, longestWrite: .milliseconds(250)),
            try registry.referrer("other")
        )
        let name = String(repeating: "b", count: 32)
        let announcement = "\(registry.list).\(name)"
        registry.onPut.withLock {
            $0 = { put in
                put.store()
                put.answer()
                registry.store(other, announcement)
            }
        }
        try await writer.client.putReferrer(writer.own, announcedAs: name)
        #expect(registry.stored(announcement)?.digest == other.digest)
        #expect(try registry.listed() == ["other", "ours"])
    }

    /// What the registry's clients may not do.
    struct Limits: CustomTestStringConvertible {
        var listsTags = true
        var deletes = true
        static let all = [
            Limits(), Limits(deletes: false), Limits(listsTags: false), Limits(listsTags: false, deletes: false),
        ]
        var testDescription: String {
            "\(listsTags ? "lists" : "does not list") tags, \(deletes ? "deletes" : "keeps")"
        }
    }

    /// A writer, and what it was told.
    private final class Writer: Sendable {
        let client: RegistryClient
        let own: Manifest
        private let told: Notices

        init(_ name: String, _ registry: ListRegistry, announces: Bool, longestWrite: Duration) throws {
            let notices = Notices()
            client = try Sample.client(registry.server.authority, workers: 4) {
                $0.announcesWriters = announces
                $0.longestWrite = longestWrite
                $0.mergeTimeout = .seconds(500)
                $0.report = { notices.add($0) }
            }
            own = try registry.referrer(name)
            told = notices
        }

        func write() async throws { try await client.putReferrer(own) }
        var saysItWasSlow: Bool {
            told.all.contains { if case .slow = $0 { true } else { false } }
        }
    }

    private final class Notices: Sendable {
        private let list = Mutex<[TagMerge.Notice]>([])
        func add(_ notice: TagMerge.Notice) { list.withLock { $0.append(notice) } }
        var all: [TagMerge.Notice] { list.withLock { $0 } }
    }

    /// Both writers write; A begins when X's first list is on its way.
    /// - Parameter longestWrite: What the writers take for the longest time of a write.
    private func compete(
        _ mishap: Mishap, _ registry: ListRegistry, announces: Bool, tillAIsDone: Bool, longestWrite: Duration
    ) async throws -> (x: Writer, a: Writer) {
        let x = try Writer("X", registry, announces: announces, longestWrite: longestWrite)
        let a = try Writer("A", registry, announces: announces, longestWrite: longestWrite)
        let (isUnderWay, mayGoOn) = (Signal(), Signal())
        let puts = Mutex(0)
        registry.onPut.withLock {
            $0 = { put in
                let number = puts.withLock { puts in
                    puts += 1
                    return puts
                }
                // The second list is A's first.
                if number == 2, !tillAIsDone {
                    put.store()
                    put.answer()
                    return mayGoOn.send()
                }
                guard number == 1 else {
                    put.store()
                    return put.answer()
                }
                switch mishap {
                case .reachesIt:
                    isUnderWay.send()
                    mayGoOn.wait()
                    put.store()
                    put.answer()
                case .isAnswered:
                    put.store()
                    isUnderWay.send()
                    mayGoOn.wait()
                    put.answer()
                case .isRepeated:
                    put.store()
                    isUnderWay.send()
                    mayGoOn.wait()
                    put.store()
                    put.answer()
                case .isLost:
                    isUnderWay.send()
                    mayGoOn.wait()
                    put.connection.reset()
                case .reachesItAndIsLost, .reachesItAndFails:
                    isUnderWay.send()
                    mayGoOn.wait()
                    put.store()
                    if mishap == .reachesItAndFails { put.connection.respond(504) } else { put.connection.reset() }
                case .isLostAfterwards:
                    put.store()
                    isUnderWay.send()
                    mayGoOn.wait()
                    put.connection.reset()
                }
            }
        }
        async let first: Void = x.write()
        await isUnderWay.arrival()
        try await a.write()
        mayGoOn.send()
        try await first
        return (x, a)
    }

    @Test("Within the time that a write may take, nothing is lost", arguments: Mishap.allCases, [false, true])
    func within(_ mishap: Mishap, announces: Bool) async throws {
        let registry = try await ListRegistry()
        _ = try await compete(mishap, registry, announces: announces, tillAIsDone: false, longestWrite: .seconds(3))
        #expect(try registry.listed() == ["A", "X"])
    }

    @Test("After that time, what is lost is said", arguments: Mishap.allCases)
    func after(_ mishap: Mishap) async throws {
        let registry = try await ListRegistry()
        let (x, _) = try await compete(
            mishap, registry, announces: false, tillAIsDone: true, longestWrite: .milliseconds(250))
        let isLost = [.reachesIt, .isRepeated, .reachesItAndIsLost, .reachesItAndFails].contains(mishap)
        #expect(try registry.listed() == (isLost ? ["X"] : ["A", "X"]))
        #expect(x.saysItWasSlow)
    }

    @Test("With announcements nothing is lost after that time either", arguments: Mishap.allCases, Limits.all)
    func announced(_ mishap: Mishap, limits: Limits) async throws {
        let registry = try await ListRegistry(limits)
        _ = try await compete(
            mishap, registry, announces: true, tillAIsDone: true, longestWrite: .milliseconds(250))
        #expect(try registry.listed() == ["A", "X"])
        // What is left of the announcements names nothing but the list, or lists that stood there before.
        for (tag, manifest) in registry.announcements { #expect(manifest.index != nil, "\(tag)") }
        #expect(registry.announcements.count <= 2)
    }

    @Test(
        "Held for a little less, a little more and three times as long as a write may take",
        arguments: [0.8, 1.2, 3], [Mishap.reachesIt, .isAnswered])
    func held(seconds: Double, _ mishap: Mishap) async throws {
        for announces in [false, true] {
            let registry = try await ListRegistry()
            let x = try Writer("X", registry, announces: announces, longestWrite: .seconds(1))
            let a = try Writer("A", registry, announces: announces, longestWrite: .seconds(1))
            let isUnderWay = Signal()
            let puts = Mutex(0)
            registry.onPut.withLock {
                $0 = { put in
                    let isFirst = puts.withLock { puts in
                        puts += 1
                        return puts == 1
                    }
                    if isFirst, mishap == .isAnswered { put.store() }
                    if isFirst {
                        isUnderWay.send()
                        Thread.sleep(forTimeInterval: seconds)
                    }
                    if !isFirst || mishap == .reachesIt { put.store() }
                    put.answer()
                }
            }
            async let first: Void = x.write()
            await isUnderWay.arrival()
            try await a.write()
            try await first
            let listed = try registry.listed()
            #expect(listed.contains("X"))
            // What is lost is said; and nothing is, within the time or if it is announced.
            #expect(listed == ["A", "X"] || x.saysItWasSlow && mishap == .reachesIt && !announces)
            if seconds > 1 { #expect(x.saysItWasSlow) }
        }
    }

    @Test("A signature alone asks for no list of tags and deletes nothing")
    func alone() async throws {
        let registry = try await ListRegistry()
        var wasSlow = false
        for name in ["one", "two"] {
            let writer = try Writer(name, registry, announces: false, longestWrite: .seconds(3))
            try await writer.write()
            wasSlow = wasSlow || writer.saysItWasSlow
        }
        #expect(try registry.listed() == ["one", "two"])
        #expect(registry.announcements.isEmpty)
        let requests = registry.server.requests
        #expect(!requests.contains { $0.method == "DELETE" })
        // Only a writer that took too long looks whether there are others.
        #expect(wasSlow || !requests.contains { $0.path.hasSuffix("/tags/list") })
        let atTag = requests.filter { $0.path == registry.list }.map(\.method)
        // On a busy machine a look may be too old to write on; after the write there are two: at once, and after a pause.
        #expect(atTag.filter { $0 == "PUT" }.count == 2)
        #expect(atTag.suffix(3) == ["PUT", "GET", "GET"])
    }

    @Test("Several referrers change their list once")
    func several() async throws {
        let registry = try await ListRegistry()
        let writer = try Writer("one", registry, announces: false, longestWrite: .seconds(3))
        try await writer.client.putReferrers([writer.own, try registry.referrer("two"), try registry.referrer("three")])
        #expect(try registry.listed() == ["one", "three", "two"])
        #expect(registry.server.requests.filter { $0.method == "PUT" && $0.path == registry.list }.count == 1)
    }

    @Test("With announcements, one writer alone leaves none where tags can be removed", arguments: Limits.all)
    func aloneAnnounced(limits: Limits) async throws {
        let registry = try await ListRegistry(limits)
        for _ in 1...2 {
            let writer = try Writer("one", registry, announces: true, longestWrite: .milliseconds(250))
            try await writer.write()
        }
        #expect(try registry.listed() == ["one"])
        #expect(registry.announcements.count == (limits.deletes ? 0 : 1))
        let list = registry.stored(registry.list)?.digest
        #expect(registry.announcements.allSatisfy { $0.manifest.digest == list })
    }

    @Test("What another tool writes over the list between the two looks is put back")
    func overwrittenLater() async throws {
        let registry = try await ListRegistry()
        let theirs = try registry.referrer("theirs")
        let looks = Mutex(0)
        registry.onGet.withLock {
            $0 = {
                // The look at once is the first after the write.
                guard (try? registry.listed()) == ["ours"] else { return }
                let isSecondLook = looks.withLock { looks in
                    looks += 1
                    return looks == 2
                }
                guard isSecondLook, let list = try? ImageIndex(manifests: [theirs.referrerDescriptor]).encoded() else {
                    return
                }
                registry.store(list, registry.list)
            }
        }
        let writer = try Writer("ours", registry, announces: false, longestWrite: .seconds(2))
        try await writer.write()
        #expect(try registry.listed() == ["ours", "theirs"])
    }

    @Test("An entry that is there after all is not called failed")
    func thereAfterAll() async throws {
        let registry = try await ListRegistry()
        let writes = Mutex(0)
        // Each write is done, and answered with a failure that will not pass.
        registry.onPut.withLock {
            $0 = { put in
                writes.withLock { $0 += 1 }
                put.store()
                put.connection.respond(501)
            }
        }
        let writer = try Writer("ours", registry, announces: false, longestWrite: .milliseconds(250))
        try await writer.write()
        #expect(try registry.listed() == ["ours"])
        #expect(writes.withLock { $0 } == 1)
    }

    @Test("A failure leaves no tag", arguments: [false, true])
    func failure(announces: Bool) async throws {
        let registry = try await ListRegistry()
        registry.onPut.withLock { $0 = { put in put.connection.respond(403) } }
        let writer = try Writer("ours", registry, announces: announces, longestWrite: .milliseconds(250))
        let error = await Sample.failure { try await writer.write() }
        #expect(error?.code == .denied)
        #expect(registry.stored(registry.list) == nil)
        #expect(registry.announcements.isEmpty)
    }

    @Test("A list that rests on an old look is never sent, and never sent twice")
    func neverTwice() async throws {
        let registry = try await ListRegistry()
        let looks = Mutex(0)
        let failures = Mutex(0)
        registry.onGet.withLock { $0 = { looks.withLock { $0 += 1 } } }
        registry.onPut.withLock {
            $0 = { put in
                let number = failures.withLock { failures in
                    failures += 1
                    return failures
                }
                guard number < 4 else {
                    put.store()
                    return put.answer()
                }
                // Before each further attempt the list is read again.
                #expect(looks.withLock { $0 } >= number)
                switch number {
                case 1: put.connection.respond(503, ["Retry-After: 0"])
                case 2: put.connection.respond(429, ["Retry-After: 0"])
                default: put.connection.reset()
                }
            }
        }
        let writer = try Writer("ours", registry, announces: false, longestWrite: .milliseconds(500))
        try await writer.write()
        #expect(try registry.listed() == ["ours"])
        var looked = true
        for request in registry.server.requests where request.path == registry.list {
            if request.method == "PUT" {
                #expect(looked)
                looked = false
            } else {
                looked = true
            }
        }
    }
}

/// A registry without the referrers API that keeps manifests in memory, and says of each blob that it has it.
private final class ListRegistry: Sendable {
    /// A list that is being written.
    struct Put: Sendable {
        let connection: FaultServer.Connection
        let store: @Sendable () -> Void
        func answer() { connection.respond(201) }
    }

    let image: Manifest
    /// The path of the shared list.
    let list: String
    let onPut = Mutex<@Sendable (Put) -> Void> { put in
        put.store()
        put.answer()
    }
    /// Called before the shared list is read.
    let onGet = Mutex<@Sendable () -> Void> {}
    private let manifests = Mutex<[String: Manifest]>([:])
    let server: FaultServer

    init(_ limits: TagMergeTests.Limits = .init()) async throws {
        await Turns.scripts.take()
        image = try ImageManifest(config: try Sample.emptyConfig, layers: []).encoded()
        list = "/v2/team/app/manifests/sha256-\(image.digest.hex)"
        let this = WeakRegistry()
        server = FaultServer { request, connection in
            guard let registry = this.value.withLock({ $0.registry }) else { return connection.respond(500) }
            registry.serve(request, connection, limits)
        }
        this.value.withLock { $0.registry = self }
    }

    deinit {
        server.stop()
        Turns.scripts.giveBack()
    }

    func referrer(_ name: String) throws -> Manifest {
        try ImageManifest(
            config: try Sample.emptyConfig, layers: [], subject: image.descriptor, annotations: ["name": name]
        ).encoded()
    }

    func stored(_ path: String) -> Manifest? { manifests.withLock { $0[path] } }
    func store(_ manifest: Manifest, _ path: String) { manifests.withLock { $0[path] = manifest } }

    /// The names of the entries in the shared list.
    func listed() throws -> [String] {
        (stored(list)?.index?.manifests ?? []).compactMap { $0.annotations["name"] }.sorted()
    }

    /// What stands at tags beside the shared list.
    var announcements: [(tag: String, manifest: Manifest)] {
        manifests.withLock { $0.filter { $0.key.hasPrefix(list + ".") }.map { (tag: $0.key, manifest: $0.value) } }
    }

    private func serve(
        _ request: FaultServer.Request, _ connection: FaultServer.Connection, _ limits: TagMergeTests.Limits
    ) {
        switch request.method {
        case _ where request.target == "/v2/": connection.respond(200)
        case "HEAD" where request.path.contains("/blobs/"): connection.respondHead(200, ["Content-Length: 2"])
        case "PUT":
            guard let manifest = try? Manifest(request.body) else { return connection.respond(400) }
            let put = Put(connection: connection) { self.store(manifest, request.path) }
            let digest = request.path.split(separator: "/").dropLast().joined(separator: "/")
            store(manifest, "/\(digest)/\(manifest.digest)")
            guard request.path == list else {
                put.store()
                return put.answer()
            }
            onPut.withLock { $0 }(put)
        case "DELETE":
            guard limits.deletes else { return connection.respond(405) }
            connection.respond(manifests.withLock { $0.removeValue(forKey: request.path) } == nil ? 404 : 202)
        case _ where request.path.hasSuffix("/tags/list"):
            guard limits.listsTags else { return connection.respond(403) }
            let tags = manifests.withLock { $0.keys }.compactMap { $0.split(separator: "/").last }
                .filter { !$0.contains(":") }.map { "\"\($0)\"" }
            connection.respond(
                200, ["Content-Type: application/json"], #"{"tags":[\#(tags.joined(separator: ","))]}"#)
        default:
            if request.path == list { onGet.withLock { $0 }() }
            guard let manifest = stored(request.path) else { return connection.respond(404) }
            let headers = ["Content-Type: \(manifest.mediaType)"]
            if request.method == "HEAD" {
                connection.respondHead(200, headers + ["Content-Length: \(manifest.bytes.count)"])
            } else {
                connection.respond(200, headers, manifest.bytes)
            }
        }
    }
}

/// A registry that its server knows and does not keep.
private final class WeakRegistry: Sendable {
    struct Reference { weak var registry: ListRegistry? }
    let value = Mutex(Reference())
}

/// Something that happens once, and that threads and tasks wait for.
private final class Signal: Sendable {
    private let semaphore = DispatchSemaphore(value: 0)
    func send() { semaphore.signal() }
    func wait() {
        semaphore.wait()
        semaphore.signal()
    }
    func arrival() async {
        await withCheckedContinuation { continuation in
            Thread.detachNewThread {
                self.wait()
                continuation.resume()
            }
        }
    }
}
