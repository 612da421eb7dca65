import Glibc
import SigstoreClients
import SigstoreCrypto
import SigstoreVerification
import StrictJSON
import Synchronization
import Testing

@Suite("The TUF client: when it asks the mirror, and what it keeps")
struct TUFClientTests {
    let folder: TemporaryFolder
    let notices = Notices()
    static let name = "trusted_root.json"

    init() throws { folder = try TemporaryFolder() }

    private func client(
        _ mirror: TUFTestMirror, _ root: [UInt8], _ freshness: TUFClient.Freshness = .daily, day: Int64 = 0,
        cache: String? = nil, embedded: [UInt8]? = nil, withoutNetwork: [String] = [Self.name],
        clock: (@Sendable () -> Instant)? = nil
    ) -> TUFClient {
        var configuration = TUFClient.Configuration(
            mirror: TUFTestMirror.url, root: root, cache: TUFCache(folder: cache ?? "\(folder.path)/cache"),
            freshness: freshness)
        configuration.clock = clock ?? { TUFTestRepository.day(day) }
        let notices = notices
        configuration.notice = { notices.add($0) }
        configuration.embeddedTarget = { $0 == Self.name ? embedded : nil }
        configuration.embeddedDate = TUFTestRepository.day(0)
        configuration.embeddedWithoutNetwork = withoutNetwork
        return TUFClient(configuration, fetcher: mirror)
    }

    private func code(_ work: () async throws -> Void) async -> SigstoreError.Code? {
        do {
            try await work()
            return nil
        } catch {
            return (error as? SigstoreError)?.code
        }
    }

    private func put(_ text: String, _ file: String) throws {
        try TUFCache(folder: "\(folder.path)/cache").write(Array(text.utf8), to: file)
    }

    // MARK: When

    @Test func theMirrorIsAskedOnceADay() async throws {
        let repository = try TUFTestRepository()
        let mirror = TUFTestMirror(repository)
        let content = try await client(mirror, repository.root).target(Self.name)
        #expect(content == Array("{}".utf8))
        #expect(mirror.takeRequests().count == 5)

        _ = try await client(mirror, repository.root).target(Self.name)
        #expect(mirror.takeRequests() == [])
        _ = try await client(mirror, repository.root, day: 1).target(Self.name)
        #expect(mirror.takeRequests() == ["2.root.json", "timestamp.json"])
        _ = try await client(mirror, repository.root, .now, day: 1).target(Self.name)
        #expect(mirror.takeRequests() == ["2.root.json", "timestamp.json"])
        #expect(notices.codes == [])
    }

    @Test func whatAnotherCheckedMeanwhileIsNotAskedAgain() async throws {
        let repository = try TUFTestRepository()
        let mirror = TUFTestMirror(repository)
        _ = try await client(mirror, repository.root, day: 5).target(Self.name)
        _ = mirror.takeRequests()
        // It began before the other one and had the lock after it.
        let calls = Mutex<Int64>(0)
        _ = try await client(mirror, repository.root) {
            calls.withLock { calls in
                calls += 1
                return TUFTestRepository.day(calls == 1 ? 4 : 5)
            }
        }.target(Self.name)
        #expect(mirror.takeRequests() == [])
    }

    @Test func aClockThatWentBackDoesNotKeepTheMirrorFromBeingAsked() async throws {
        let repository = try TUFTestRepository()
        let mirror = TUFTestMirror(repository)
        _ = try await client(mirror, repository.root, day: 5).target(Self.name)
        _ = mirror.takeRequests()
        _ = try await client(mirror, repository.root, day: 1).target(Self.name)
        #expect(mirror.takeRequests() == ["2.root.json", "timestamp.json"])
    }

    @Test func metadataThatExpiresWithinTheDayIsFetchedAgain() async throws {
        var repository = try TUFTestRepository()
        repository.expires["timestamp"] = Instant(milliseconds: TUFTestRepository.day(0).milliseconds + 1000)
        try repository.publish("timestamp")
        let mirror = TUFTestMirror(repository)
        _ = try await client(mirror, repository.root).target(Self.name)
        repository.expires["timestamp"] = TUFTestRepository.day(7)
        try repository.renew("timestamp")
        mirror.serve(repository)
        _ = mirror.takeRequests()
        var configuration = client(mirror, repository.root).configuration
        configuration.clock = { Instant(milliseconds: TUFTestRepository.day(0).milliseconds + 2000) }
        _ = try await TUFClient(configuration, fetcher: mirror).target(Self.name)
        #expect(mirror.takeRequests() == ["2.root.json", "timestamp.json"])
    }

    @Test func anotherTargetIsFetchedWithoutAnotherCheck() async throws {
        let repository = try TUFTestRepository(targets: [Self.name: [1], "other": [2, 3]])
        let mirror = TUFTestMirror(repository)
        _ = try await client(mirror, repository.root).target(Self.name)
        _ = mirror.takeRequests()
        #expect(try await client(mirror, repository.root).target("other") == [2, 3])
        #expect(mirror.takeRequests().map { $0.prefix(8) } == ["targets/"])
    }

    // MARK: Without the mirror

    @Test func aMirrorThatIsDownIsSaidSoWhileTheMetadataIsValid() async throws {
        let repository = try TUFTestRepository()
        let mirror = TUFTestMirror(repository)
        _ = try await client(mirror, repository.root).target(Self.name)
        mirror.isDown = true
        #expect(try await client(mirror, repository.root, day: 3).target(Self.name) == Array("{}".utf8))
        #expect(notices.codes == [.tufUnreachable])
        // Who asks for news is told that there are none.
        #expect(
            await code { _ = try await client(mirror, repository.root, .now, day: 3).target(Self.name) }
                == .tufUnreachable)
        #expect(await code { try await client(mirror, repository.root, day: 3).refresh() } == .tufUnreachable)
    }

    @Test func aMirrorThatIsDownIsAnErrorOnceTheMetadataHasExpired() async throws {
        let repository = try TUFTestRepository()
        let mirror = TUFTestMirror(repository)
        _ = try await client(mirror, repository.root).target(Self.name)
        mirror.isDown = true
        #expect(
            await code { _ = try await client(mirror, repository.root, day: 8).target(Self.name) } == .tufUnreachable)
        // Offline goes on, and says what has expired.
        #expect(try await client(mirror, repository.root, .offline, day: 8).target(Self.name) == Array("{}".utf8))
        #expect(notices.codes == [.tufExpired])
    }

    @Test func aMirrorThatIsWrongIsNeverPassedOver() async throws {
        var repository = try TUFTestRepository()
        let mirror = TUFTestMirror(repository)
        _ = try await client(mirror, repository.root).target(Self.name)
        mirror.serve("timestamp.json", Array("<html>log in to this network</html>".utf8))
        #expect(
            await code { _ = try await client(mirror, repository.root, day: 2).target(Self.name) }
                == .malformedTUFMetadata)
        repository.keys["timestamp"] = [try TUFTestRepository.Key.make()]
        try repository.renew("timestamp")
        mirror.serve("timestamp.json", try repository.file("timestamp.json"))
        #expect(await code { _ = try await client(mirror, repository.root, day: 2).target(Self.name) } == .tufThreshold)
        mirror.serve("timestamp.json", nil)
        #expect(await code { _ = try await client(mirror, repository.root, day: 2).target(Self.name) } == .tufMissing)
    }

    @Test func offlineNeverAsks() async throws {
        let repository = try TUFTestRepository()
        let mirror = TUFTestMirror(repository)
        #expect(await code { _ = try await client(mirror, repository.root, .offline).target(Self.name) } == .tufOffline)
        _ = try await client(mirror, repository.root).target(Self.name)
        _ = mirror.takeRequests()
        #expect(try await client(mirror, repository.root, .offline, day: 300).target(Self.name) == Array("{}".utf8))
        #expect(await code { _ = try await client(mirror, repository.root, .offline).target("other") } == .tufOffline)
        #expect(mirror.takeRequests() == [])
    }

    @Test func offlineTakesTheProgramsOwnOnlyWhereNothingWasEverSeen() async throws {
        let embedded = Array("embedded".utf8)
        var repository = try TUFTestRepository()
        let mirror = TUFTestMirror(repository)
        #expect(try await client(mirror, repository.root, .offline, embedded: embedded).target(Self.name) == embedded)
        #expect(notices.codes == [.tufOffline])

        // What was fetched is newer, and stays in use.
        repository.targets = [Self.name: Array("newer".utf8)]
        try repository.renew("targets", "snapshot", "timestamp")
        mirror.serve(repository)
        #expect(try await client(mirror, repository.root, embedded: embedded).target(Self.name) == Array("newer".utf8))
        #expect(
            try await client(mirror, repository.root, .offline, day: 99, embedded: embedded).target(Self.name)
                == Array("newer".utf8))

        // And where it is damaged, nothing older takes its place.
        for file in ["targets/\(Self.name)", "targets.json", "snapshot.json", "timestamp.json"] {
            try put("damaged", file)
            #expect(
                await code {
                    _ = try await client(mirror, repository.root, .offline, embedded: embedded).target(Self.name)
                } == .tufOffline, "\(file)")
        }
    }

    @Test func withoutANetworkTheProgramsOwnServesOnlyWhereNothingWasEverSeen() async throws {
        let embedded = Array("embedded".utf8)
        let repository = try TUFTestRepository()
        let mirror = TUFTestMirror(repository)
        // A mirror that answers with an error, or not as its name promises, is no missing network.
        for (failure, isServed) in [
            ("http-status", false), ("tls-failed", false), ("unreachable", true), ("timed-out", true),
        ] {
            mirror.failure = SigstoreError.Code(failure)
            let found = try? await client(mirror, repository.root, day: 2, embedded: embedded).target(Self.name)
            #expect(found == (isServed ? embedded : nil), "\(failure)")
        }
        #expect(notices.codes == [.tufUnreachable, .tufUnreachable])
        let age = "2 days old (as of \(TUFTestRepository.day(0).description.prefix(10)))"
        #expect(notices.messages.allSatisfy { $0.contains(age) }, "\(notices.messages)")
        // Neither if the mirror is asked in any case, nor for a target that does not serve in this way.
        #expect(
            await code { _ = try await client(mirror, repository.root, .now, embedded: embedded).target(Self.name) }
                == .tufUnreachable)
        #expect(
            await code {
                _ = try await client(mirror, repository.root, embedded: embedded, withoutNetwork: []).target(Self.name)
            } == .tufUnreachable)
        // What was fetched once is what counts, in time and after it.
        mirror.isDown = false
        _ = try await client(mirror, repository.root, embedded: embedded).target(Self.name)
        mirror.isDown = true
        #expect(
            try await client(mirror, repository.root, day: 2, embedded: embedded).target(Self.name) == Array("{}".utf8))
        #expect(
            await code { _ = try await client(mirror, repository.root, day: 99, embedded: embedded).target(Self.name) }
                == .tufUnreachable)
    }

    @Test func offlineIsNotStoppedByAnOlderRootThatAnotherToolKept() async throws {
        var repository = try TUFTestRepository()
        let older = repository.root
        try repository.renew("root")
        let (own, embedded) = (try repository.file("2.root.json"), Array("embedded".utf8))
        let mirror = TUFTestMirror(repository)
        for kept in [older, own] {
            try put(String(decoding: kept, as: UTF8.self), "root.json")
            #expect(try await client(mirror, own, .offline, embedded: embedded).target(Self.name) == embedded)
        }
        // One that is newer than the program's own was seen here, and nothing older takes its place.
        try put(String(decoding: own, as: UTF8.self), "root.json")
        #expect(
            await code { _ = try await client(mirror, older, .offline, embedded: embedded).target(Self.name) }
                == .tufOffline)
    }

    @Test func offlineDoesNotGoBackBehindARootThatWasSeen() async throws {
        var repository = try TUFTestRepository()
        let mirror = TUFTestMirror(repository)
        try repository.renew("root")
        mirror.serve(repository)
        _ = try await client(mirror, repository.root).target(Self.name)
        try put("damaged", "root_history/2.root.json")
        #expect(await code { _ = try await client(mirror, repository.root, .offline).target(Self.name) } == .tufOffline)
        // With the network, it is fetched anew.
        _ = try await client(mirror, repository.root, .now).target(Self.name)
        #expect(try await client(mirror, repository.root, .offline).target(Self.name) == Array("{}".utf8))
    }

    @Test func whatTheProgramHasIsNotDownloaded() async throws {
        let repository = try TUFTestRepository()
        let mirror = TUFTestMirror(repository)
        _ = try await client(mirror, repository.root, embedded: Array("{}".utf8)).target(Self.name)
        #expect(!mirror.takeRequests().contains { $0.hasPrefix("targets/") })
    }

    // MARK: The cache

    @Test("a cache that cannot be written to costs a download, not the result")
    func readOnlyCache() async throws {
        let repository = try TUFTestRepository()
        let mirror = TUFTestMirror(repository)
        // A folder below a file cannot be made, whoever asks.
        try TUFCache(folder: folder.path).write([], to: "file")
        for _ in 0..<2 {
            #expect(
                try await client(mirror, repository.root, cache: "\(folder.path)/file/cache").target(Self.name)
                    == Array("{}".utf8))
            #expect(mirror.takeRequests().count == 5)
        }
        #expect(notices.codes == [.tufCache, .tufCache])
    }

    @Test(
        "a damaged cache is a fresh start with a notice",
        arguments: [
            "root.json", "root_history/2.root.json", "timestamp.json", "snapshot.json", "targets.json", "last-check",
            "targets/trusted_root.json",
        ])
    func damagedCache(_ file: String) async throws {
        var repository = try TUFTestRepository()
        try repository.renew("root")
        let mirror = TUFTestMirror(repository)
        for damage in ["", "{", "{}", String(repeating: "x", count: 100_000)] {
            _ = try await client(mirror, repository.root, .now).target(Self.name)
            try put(damage, file)
            #expect(
                try await client(mirror, repository.root).target(Self.name) == Array("{}".utf8),
                "\(file) \(damage.prefix(9))")
        }
    }

    @Test func aDamagedRootDoesNotOpenTheWayBack() async throws {
        // The old keys were stolen, and the root that revoked them is damaged here.
        var repository = try TUFTestRepository()
        let old = repository
        let root = try #require(repository.keys["root"]?.first)
        repository.keys["timestamp"] = [try TUFTestRepository.Key.make()]
        repository.versions["root"] = 2
        repository.files["2.root.json"] = try TUFTestRepository.file(repository.signed("root"), by: [root])
        try repository.renew("timestamp")
        let mirror = TUFTestMirror(repository)
        _ = try await client(mirror, repository.root).target(Self.name)
        try put("damaged", "root_history/2.root.json")
        try put("damaged", "root.json")
        mirror.serve("timestamp.json", try old.file("timestamp.json"))
        #expect(await code { _ = try await client(mirror, repository.root, day: 2).target(Self.name) } == .tufThreshold)
    }

    @Test func aRootThatIsKeptButNotSignedDoesNotCount() async throws {
        let repository = try TUFTestRepository()
        var wicked = try TUFTestRepository(targets: [Self.name: Array("wicked".utf8)])
        wicked.versions["root"] = 2
        try wicked.publish("root")
        let mirror = TUFTestMirror(repository)
        try TUFCache(folder: "\(folder.path)/cache").write(wicked.file("2.root.json"), to: "root_history/2.root.json")
        for (file, name) in [
            ("2.root.json", "root.json"), ("timestamp.json", "timestamp.json"),
            ("1.snapshot.json", "snapshot.json"), ("1.targets.json", "targets.json"),
        ] {
            try TUFCache(folder: "\(folder.path)/cache").write(wicked.file(file), to: name)
        }
        try put("wicked", "targets/\(Self.name)")
        #expect(try await client(mirror, repository.root).target(Self.name) == Array("{}".utf8))
        #expect(await code { _ = try await client(mirror, repository.root, .offline).target("x") } == .tufOffline)
    }

    @Test(
        "sigstore CVE-2026-24137, go-tuf CVE-2026-24686: no name leaves the cache",
        arguments: [
            "../../x", "..", ".", "/etc/passwd", "a/../../x", "a//b", "", "a/", "..\\x", "a\u{0}b", "a\nb",
            String(repeating: "x", count: 300),
        ])
    func pathTraversal(_ name: String) async throws {
        let repository = try TUFTestRepository(targets: [name: Array("wicked".utf8)])
        let mirror = TUFTestMirror(repository)
        #expect(await code { _ = try await client(mirror, repository.root).target(name) } == .tufTargetName)
        #expect(mirror.takeRequests() == [])
    }

    @Test(
        "go-tuf CVE-2026-24686: a mirror's name does not lead out of the cache either",
        arguments: [
            ("https://tuf-repo-cdn.sigstore.dev", "tuf-repo-cdn.sigstore.dev"),
            ("https://Example.com/a/b/", "example.com-a-b"),
            ("http://localhost:8080", "localhost-8080"), ("https://..", "%2E."), ("https://../..", "%2E.-.."),
            ("file:///srv/tuf", "file----srv-tuf"), ("https://x/%2e%2e", "x-%252e%252e"),
        ])
    func mirrorFolders(_ url: String, _ folder: String) {
        #expect(TUFCache(mirror: url, in: "/cache").folder == "/cache/\(folder)")
    }

    @Test func manyAtOnceOnAnEmptyCache() async throws {
        let repository = try TUFTestRepository()
        let mirror = TUFTestMirror(repository)
        let root = repository.root
        try await withThrowingTaskGroup(of: [UInt8].self) { group in
            for _ in 0..<50 { group.addTask { try await client(mirror, root).target(Self.name) } }
            for try await content in group { #expect(content == Array("{}".utf8)) }
        }
        // One of them asked, the others waited for what it found.
        #expect(mirror.takeRequests().count == 5)
        #expect(notices.codes == [])
    }

    // MARK: initialize

    @Test func initializeIsRememberedWithItsRoot() async throws {
        let repository = try TUFTestRepository()
        let mirror = TUFTestMirror(repository)
        // Of the real time, since a mirror's client has no other.
        var current = repository
        let year = Instant(seconds: Int64(time(nil)) + 86_400 * 365)
        for role in ["root", "timestamp", "snapshot", "targets"] { current.expires[role] = year }
        try current.publish("root", "targets", "snapshot", "timestamp")
        mirror.serve(current)
        let environment = ["TUF_ROOT": folder.path]
        #expect(throws: SigstoreError.self) { try TUFMirror.resolve(url: TUFTestMirror.url, environment: environment) }
        let notices = notices
        let update = try await TUFMirror(url: TUFTestMirror.url, root: current.root).initialize(
            keepingRoot: true, environment: environment, fetcher: mirror, notice: { notices.add($0) })
        #expect(update.root.version == 1)
        // The repository has no signing config, which is said and is no failure.
        #expect(notices.codes == [.tufNoTarget])

        let remembered = try TUFMirror.resolve(environment: environment)
        #expect(remembered.url == TUFTestMirror.url)
        #expect(remembered.root == current.root)
        _ = mirror.takeRequests()
        let content = try await remembered.client(environment: environment, fetcher: mirror).target(Self.name)
        #expect(content == Array("{}".utf8))
        #expect(mirror.takeRequests() == [])

        // Another root for the same mirror: nothing of the former one stays.
        var other = try TUFTestRepository(targets: [Self.name: [7]])
        for role in ["root", "timestamp", "snapshot", "targets"] { other.expires[role] = year }
        try other.publish("root", "targets", "snapshot", "timestamp")
        mirror.serve(other)
        _ = try await TUFMirror(url: TUFTestMirror.url, root: other.root).initialize(
            keepingRoot: true, environment: environment, fetcher: mirror)
        let second = try TUFMirror.resolve(environment: environment)
        #expect(try await second.client(environment: environment, fetcher: mirror).target(Self.name) == [7])
    }

    @Test func initializeThatFailsIsNotRemembered() async throws {
        let repository = try TUFTestRepository()
        let mirror = TUFTestMirror(repository)
        mirror.isDown = true
        let environment = ["TUF_ROOT": folder.path]
        let wanted = TUFMirror(url: TUFTestMirror.url, root: repository.root)
        #expect(
            await code {
                _ = try await wanted.initialize(keepingRoot: true, environment: environment, fetcher: mirror)
            } == .tufUnreachable)
        #expect(try TUFMirror.resolve(environment: environment).url == TUFMirror.production.url)
    }

    @Test func whichMirror() throws {
        let environment = ["TUF_ROOT": folder.path]
        #expect(try TUFMirror.resolve(environment: environment).url == "https://tuf-repo-cdn.sigstore.dev")
        #expect(
            try TUFMirror.resolve(staging: true, environment: environment).url == "https://tuf-repo-cdn.sigstage.dev")
        try TUFCache(folder: folder.path).write([1, 2], to: "my-root.json")
        let own = [
            "TUF_ROOT": folder.path, "TUF_MIRROR": "https://own", "TUF_ROOT_JSON": "\(folder.path)/my-root.json",
        ]
        let mirror = try TUFMirror.resolve(environment: own)
        #expect(mirror.url == "https://own" && mirror.root == [1, 2])
        #expect(TUFMirror.cacheFolder(["HOME": "/home/me"]) == "/home/me/.sigstore/root")
        #expect(TUFMirror.cacheFolder([:]) == nil)
    }

    @Test func theRootThatInitializeIsGiven() async throws {
        let repository = try TUFTestRepository()
        let mirror = TUFTestMirror(repository)
        let digest = try Digest.sha256(repository.root).hex
        let url = "\(TUFTestMirror.url)/1.root.json"
        #expect(try await TUFMirror.readRoot(url, checksum: digest, fetcher: mirror) == repository.root)
        #expect(await code { _ = try await TUFMirror.readRoot(url, checksum: nil, fetcher: mirror) } == .tufNoRoot)
        let wrong = String(repeating: "0", count: 64)
        #expect(await code { _ = try await TUFMirror.readRoot(url, checksum: wrong, fetcher: mirror) } == .tufMismatch)
        try TUFCache(folder: folder.path).write(repository.root, to: "root")
        let sha512 = try Digest.hash(repository.root, .sha512).description
        #expect(
            try await TUFMirror.readRoot("\(folder.path)/root", checksum: sha512, fetcher: mirror) == repository.root)
    }
}
