import DebianRegistry
import FaultServer
import Foundation
import HTTPTransport
import LocalSystem
import OCIRegistry
import SigstoreCrypto
import StrictJSON
import Synchronization
import Testing

/// A digest that nothing has.
private let zero: Digest = {
    guard let digest = try? Digest(.sha256, bytes: [UInt8](repeating: 0, count: 32)) else { preconditionFailure() }
    return digest
}()

@Suite(.dockerRegistry, .timeLimit(.minutes(10))) struct DockerRegistryTests {
    /// A client with connections and knowledge of its own.
    private func client(_ path: String) throws -> RegistryClient {
        let registries = Sample.registries { $0.mergeTimeout = .seconds(500) }
        return registries.client(for: try #require(DockerRegistry.current).repository(path))
    }

    @Test func storesAndFetches() async throws {
        let client = try client("test/stores")
        // It does not know the repository yet.
        #expect(try await client.tags() == nil)
        #expect(try await client.resolve(.tag("v1")) == nil)
        #expect(try await client.manifest(.tag("v1")) == nil)
        #expect(try await client.manifest(.digest(zero)) == nil)
        let image = try await Sample.putImage("hello", in: client, tag: "v1")
        #expect(try await client.resolve(.tag("v1"))?.digest == image.digest)
        #expect(try await client.resolve(.digest(image.digest))?.size == Int64(image.bytes.count))
        let fetched = try #require(try await client.manifest(.tag("v1")))
        #expect(fetched.bytes == image.bytes)
        let layer = try #require(fetched.image?.layers.first)
        #expect(try await client.blob(layer, limit: 5) == Array("hello".utf8))
        #expect(try await client.tags() == ["v1"])
        let error = await Sample.failure { _ = try await client.blob(layer, limit: 4) }
        #expect(error?.code == .tooLarge)
        let missing = Descriptor(mediaType: "", digest: zero, size: 1)
        let gone = await Sample.failure { _ = try await client.blob(missing, limit: 5) }
        #expect(gone?.code == .notFound)
        #expect(try await client.delete(.digest(image.digest)))
        #expect(try await client.manifest(.digest(image.digest)) == nil)
        #expect(try await !client.delete(.digest(image.digest)))
    }

    @Test func mountsFromAnotherRepository() async throws {
        let from = try client("team/from")
        let to = try client("team/to")
        var blob = try Blob([UInt8](repeating: 7, count: 100_000))
        try await from.putBlob(blob)
        blob.source = from.repository
        try await to.putBlob(blob)
        let descriptor = Descriptor(mediaType: "", digest: blob.digest, size: blob.size)
        #expect(try await to.blob(descriptor, limit: 1 << 20).count == 100_000)
    }

    @Test func refusesABlobThatIsNotWhatItSays() async throws {
        let client = try client("test/refuses")
        let path = FileManager.default.temporaryDirectory.appending(path: UUID().uuidString).path
        try Data("other".utf8).write(to: URL(filePath: path))
        let file = try #require(try OpenFile(reading: path))
        defer { try? FileManager.default.removeItem(atPath: path) }
        let error = await Sample.failure {
            try await client.putBlob(Blob(file: file, digest: zero, size: 5))
        }
        #expect(error?.httpStatus == 400)
        #expect(error?.message.contains("DIGEST_INVALID") == true)
        let digest = try Digest.sha256(Array("other".utf8))
        try await client.putBlob(Blob(file: file, digest: digest, size: 5))
        #expect(
            try await client.blob(Descriptor(mediaType: "", digest: digest, size: 5), limit: 5) == Array("other".utf8))
    }

    @Test func keepsReferrersAtTheFallbackTag() async throws {
        let client = try client("test/fallback")
        let image = try await Sample.putImage("hello", in: client, tag: "v1")
        #expect(try await client.referrers(of: image.digest, artifactType: nil).source == .nothing)
        let first = try await Sample.referrer("one", of: image, in: client)
        try await client.putReferrer(first)
        let second = try await Sample.referrer("two", of: image, in: client)
        try await client.putReferrer(second)
        try await client.putReferrer(second)
        let found = try await client.referrers(of: image.digest, artifactType: "application/x-test")
        #expect(found.source == .fallbackTag)
        #expect(found.descriptors.map(\.digest) == [first.digest, second.digest])
        #expect(found.descriptors.map { $0.annotations["org.example.text"] } == ["one", "two"])
        #expect(found.descriptors.map(\.artifactType) == ["application/x-test", "application/x-test"])
        #expect(try await client.referrers(of: image.digest, artifactType: "other/type").descriptors.isEmpty)
    }

    /// cosign lists its bundles under the type of their empty config, with members that nobody else knows.
    @Test func keepsWhatAnotherToolListed() async throws {
        let client = try client("test/others")
        let image = try await Sample.putImage("hello", in: client, tag: "v1")
        let theirs = try await Sample.referrer("theirs", of: image, in: client)
        try await client.putManifest(theirs, tag: nil)
        let tag = "sha256-\(image.digest.hex)"
        let index = try Manifest(
            Array(
                #"""
                {"schemaVersion":2,"mediaType":"\#(MediaType.imageIndex)","x":1,"manifests":[{"mediaType":
                "\#(theirs.mediaType)","size":\#(theirs.bytes.count),"digest":"\#(theirs.digest)","y":[2],
                "artifactType":"\#(MediaType.empty)"}]}
                """#.utf8))
        try await client.putManifest(index, tag: tag)
        let ours = try await Sample.referrer("ours", of: image, in: client)
        try await client.putReferrer(ours)
        let found = try await client.referrers(of: image.digest, artifactType: "application/x-test")
        #expect(found.descriptors.map(\.digest) == [theirs.digest, ours.digest])
        let written = try #require(try await client.manifest(.tag(tag)))
        let text = String(decoding: written.bytes, as: UTF8.self)
        #expect(text.contains(#""x":1"#) && text.contains(#""y":[2]"#))
    }

    @Test func losesNothingWhenManyWriteAtOnce() async throws {
        let image = try await Sample.putImage("hello", in: try client("test/many"), tag: "v1")
        let digests = try await withThrowingTaskGroup(of: Digest.self) { group in
            for number in 0..<32 {
                // As if each ran on another machine.
                let client = try client("test/many")
                group.addTask {
                    let referrer = try await Sample.referrer("number \(number)", of: image, in: client)
                    try await client.putReferrer(referrer)
                    return referrer.digest
                }
            }
            return try await group.reduce(into: Set<Digest>()) { $0.insert($1) }
        }
        #expect(digests.count == 32)
        let found = try await client("test/many").referrers(of: image.digest, artifactType: nil)
            .descriptors.map(\.digest)
        #expect(found.count == 32)
        #expect(Set(found) == digests)
    }
}

@Suite(.timeLimit(.minutes(10))) struct RegistryFaultTests {
    private static let index = Array(#"{"schemaVersion":2,"mediaType":"\#(MediaType.imageIndex)","manifests":[]}"#.utf8)
    private static let json = "Content-Type: application/json"
    private static let indexType = "Content-Type: \(MediaType.imageIndex)"

    /// A server that answers the probe, and everything else as told.
    private func server(_ handler: @escaping FaultServer.Handler) -> FaultServer {
        FaultServer { request, connection in
            request.target == "/v2/" ? connection.respond(200) : handler(request, connection)
        }
    }

    /// What docker-registry answers while another writer stores a blob that the manifest names.
    @Test(arguments: [2, 100])
    func putsAManifestAgainIfABlobIsJustBeingStored(failures: Int) async throws {
        let count = Mutex(0)
        let server = server { _, connection in
            let isRefused = count.withLock { count in
                count += 1
                return count <= failures
            }
            guard isRefused else { return connection.respond(201) }
            connection.respond(
                400, [], #"{"errors":[{"code":"DIGEST_INVALID","message":"provided digest did not match"}]}"#)
        }
        let manifest = try ImageManifest(config: try Sample.emptyConfig, layers: []).encoded()
        let client = try Sample.client(server.authority)
        let error = await Sample.failure { try await client.putManifest(manifest, tag: "a") }
        #expect(error?.httpStatus == (failures == 2 ? nil : 400))
        #expect(count.withLock { $0 } == (failures == 2 ? 3 : 5))
    }

    @Test(arguments: [401, 403, 429, 500, 503])
    func neverTakesAFailureForAbsence(_ status: Int) async throws {
        let server = server { _, connection in connection.respond(status, [], "{}") }
        let client = try Sample.client(server.authority)
        #expect(await Sample.failure { _ = try await client.resolve(.tag("a")) } != nil)
        #expect(await Sample.failure { _ = try await client.manifest(.tag("a")) } != nil)
        #expect(await Sample.failure { _ = try await client.tags() } != nil)
        #expect(await Sample.failure { _ = try await client.delete(.tag("a")) } != nil)
        #expect(await Sample.failure { _ = try await client.referrers(of: zero, artifactType: nil) } != nil)
        let descriptor = Descriptor(mediaType: "", digest: zero, size: 1)
        #expect(await Sample.failure { _ = try await client.blob(descriptor, limit: 1) } != nil)
    }

    /// The list is not there, and then the fallback tag cannot be read.
    @Test(arguments: [403, 500])
    func neverTakesAFailingFallbackForAbsence(_ status: Int) async throws {
        let server = server { request, connection in
            connection.respond(request.path.contains("/referrers/") ? 404 : status)
        }
        let client = try Sample.client(server.authority)
        #expect(await Sample.failure { _ = try await client.referrers(of: zero, artifactType: nil) } != nil)
    }

    @Test func refusesASubstitutedManifest() async throws {
        let server = server { request, connection in
            connection.respond(
                200, [Self.indexType, "Docker-Content-Digest: \(zero)"], request.method == "HEAD" ? [] : Self.index)
        }
        let client = try Sample.client(server.authority)
        let asked = try Digest.sha256(Array("something else".utf8))
        for selector in [ManifestSelector.digest(asked), .digest(zero), .tag("a")] {
            let error = await Sample.failure { _ = try await client.manifest(selector) }
            #expect(error?.code == .digestMismatch, "\(selector)")
        }
        let error = await Sample.failure { _ = try await client.resolve(.digest(asked)) }
        #expect(error?.code == .digestMismatch)
    }

    @Test func refusesAManifestOfMoreThanFourMebibytes() async throws {
        let padding = [UInt8](repeating: 0x20, count: Manifest.byteLimit + 1 - Self.index.count)
        let server = server { _, connection in connection.respond(200, [Self.indexType], padding + Self.index) }
        let client = try Sample.client(server.authority)
        let error = await Sample.failure { _ = try await client.manifest(.tag("a")) }
        #expect(error?.code == .tooLarge)
        let exact = self.server { _, connection in
            connection.respond(200, [Self.indexType], Array(padding.dropFirst()) + Self.index)
        }
        #expect(try await Sample.client(exact.authority).manifest(.tag("a"))?.index != nil)
    }

    @Test func refusesABlobThatIsNotWhatItSays() async throws {
        let content = Array("content".utf8)
        let server = server { request, connection in
            switch request.path {
            case _ where request.path.hasSuffix(zero.hex): connection.respond(200, [], content)
            default:
                connection.send("HTTP/1.1 200 OK\r\n\r\n")
                while connection.send([UInt8](repeating: 0x61, count: 65536)) {}
            }
        }
        let client = try Sample.client(server.authority)
        func code(_ digest: Digest, _ size: Int64) async -> SigstoreError.Code? {
            let descriptor = Descriptor(mediaType: "", digest: digest, size: size)
            return await Sample.failure { _ = try await client.blob(descriptor, limit: 1000) }?.code
        }
        #expect(await code(zero, 7) == .digestMismatch)
        #expect(await code(zero, 8) == .digestMismatch)
        #expect(await code(zero, 6) == .digestMismatch)
        // A body without end.
        #expect(await code(try Digest.sha256(content), 7) == .digestMismatch)
        let count = server.requests.count
        #expect(await code(zero, 1001) == .tooLarge)
        #expect(server.requests.count == count)
    }

    @Test func fetchesABlobAgainThatBrokeOff() async throws {
        let content = [UInt8](repeating: 9, count: 100_000)
        let server = server { request, connection in
            guard request.number < 3 else { return connection.respond(200, [], content) }
            connection.send(Array("HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n".utf8) + content[..<50_000])
            connection.pause(milliseconds: 30)
            connection.reset()
        }
        let descriptor = Descriptor(mediaType: "", digest: try Digest.sha256(content), size: 100_000)
        #expect(try await Sample.client(server.authority).blob(descriptor, limit: 200_000) == content)
    }

    @Test func doesNotTakeCredentialsToTheStorage() async throws {
        let content = Array("content".utf8)
        let storage = FaultServer { _, connection in connection.respond(200, [], content) }
        let server = FaultServer { request, connection in
            guard request.header("authorization") != nil else {
                return connection.respond(401, [#"WWW-Authenticate: Basic realm="x""#])
            }
            connection.respond(307, ["Location: \(storage.url)/blob?signed"])
        }
        let client = try Sample.client(server.authority) {
            $0.credential = .password(user: "me", password: SecretBytes("sentinel".utf8))
        }
        let descriptor = Descriptor(mediaType: "", digest: try Digest.sha256(content), size: 7)
        #expect(try await client.blob(descriptor, limit: 7) == content)
        #expect(storage.requests.count == 1)
        #expect(storage.requests.allSatisfy { $0.header("authorization") == nil })
        // A storage that wants credentials is an error, and gets none.
        let greedy = FaultServer { _, connection in
            connection.respond(401, [#"WWW-Authenticate: Basic realm="x""#])
        }
        let other = FaultServer { request, connection in
            guard request.header("authorization") != nil else {
                return connection.respond(401, [#"WWW-Authenticate: Basic realm="x""#])
            }
            connection.respond(307, ["Location: \(greedy.url)/blob"])
        }
        let second = try Sample.client(other.authority) {
            $0.credential = .password(user: "me", password: SecretBytes("sentinel".utf8))
        }
        #expect(await Sample.failure { _ = try await second.blob(descriptor, limit: 7) }?.code == .unauthorized)
        #expect(greedy.requests.allSatisfy { $0.header("authorization") == nil })
    }

    @Test func doesNotTakeCredentialsToWhereAnUploadGoes() async throws {
        let storage = FaultServer { _, connection in connection.respond(201) }
        let server = FaultServer { request, connection in
            guard request.header("authorization") != nil else {
                return connection.respond(401, [#"WWW-Authenticate: Basic realm="x""#])
            }
            switch request.method {
            case "HEAD": connection.respond(404)
            default: connection.respond(202, ["Location: \(storage.url)/up?id=1"])
            }
        }
        let client = try Sample.client(server.authority) {
            $0.credential = .password(user: "me", password: SecretBytes("sentinel".utf8))
        }
        let blob = try Blob(Array("content".utf8))
        try await client.putBlob(blob)
        #expect(storage.requests.map(\.body) == [Array("content".utf8)])
        #expect(storage.requests.first?.target == "/up?id=1&digest=sha256%3A\(blob.digest.hex)")
        #expect(storage.requests.first?.header("authorization") == nil)
    }

    @Test func beginsABrokenUploadAnew() async throws {
        let stored = Mutex<[UInt8]?>(nil)
        let server = server { request, connection in
            switch request.method {
            case "HEAD": connection.respond(stored.withLock { $0 } == nil ? 404 : 200)
            case "POST": connection.respond(202, ["Location: /v2/team/app/blobs/uploads/\(request.number)"])
            default:
                if request.number < 7 { return connection.reset() }
                stored.withLock { $0 = request.body }
                connection.respond(201)
            }
        }
        try await Sample.client(server.authority).putBlob(try Blob(Array("content".utf8)))
        #expect(stored.withLock { $0 } == Array("content".utf8))
        #expect(Set(server.requests.filter { $0.method == "PUT" }.map(\.path)).count > 1)
    }

    @Test func endsAnEndlessList() async throws {
        let server = server { request, connection in
            let tag = "Link: <\(request.path)?last=\(request.number)>; rel=\"next\""
            request.path.contains("referrers")
                ? connection.respond(200, [Self.indexType, tag], Self.index)
                : connection.respond(200, [Self.json, tag], #"{"name":"team/app","tags":["a"]}"#)
        }
        let client = try Sample.client(server.authority) { $0.maxPages = 7 }
        #expect(await Sample.failure { _ = try await client.tags() }?.code == .tooLarge)
        let count = server.requests.count
        #expect(count <= 8)
        #expect(
            await Sample.failure { _ = try await client.referrers(of: zero, artifactType: nil) }?.code == .tooLarge)
        #expect(server.requests.count <= count + 7)
    }

    @Test func endsAListOfTooManyReferrers() async throws {
        let entry = #"{"mediaType":"a/b","digest":"\#(zero)","size":1}"#
        let page =
            #"{"schemaVersion":2,"mediaType":"\#(MediaType.imageIndex)","manifests":["#
            + Array(repeating: entry, count: 1000).joined(separator: ",") + "]}"
        let server = server { request, connection in
            // The list of one image ends, that of another goes on.
            let next = request.path.contains("\(zero)") ? ["Link: <\(request.path)?n=\(request.number)>; rel=next"] : []
            connection.respond(200, [Self.indexType] + next, page)
        }
        let client = try Sample.client(server.authority)
        let other = try Digest.sha256([])
        #expect(try await client.referrers(of: other, artifactType: nil).descriptors.count == 1000)
        let error = await Sample.failure { _ = try await client.referrers(of: zero, artifactType: nil) }
        #expect(error?.code == .tooLarge && error?.message.contains("10000") == true, "\(String(describing: error))")
        #expect(server.requests.count < 20)
    }

    @Test func endsAListThatGoesInACircle() async throws {
        let server = server { request, connection in
            connection.respond(200, [Self.json, "Link: <\(request.target)>; rel=\"next\""], #"{"tags":["a"]}"#)
        }
        let client = try Sample.client(server.authority)
        #expect(await Sample.failure { _ = try await client.tags() }?.code == .tooLarge)
        #expect(server.requests.count < 4)
    }

    @Test func readsAllPages() async throws {
        let server = server { request, connection in
            let last = request.target.hasSuffix("p2")
            connection.respond(
                200, [Self.json] + (last ? [] : ["Link: </v2/team/app/tags/list?p2>; rel=next"]),
                last ? #"{"tags":["b"]}"# : #"{"tags":["a"]}"#)
        }
        #expect(try await Sample.client(server.authority).tags() == ["a", "b"])
    }

    @Test func doesNotTakeAMissingPageForTheEnd() async throws {
        let server = server { request, connection in
            let last = request.target.hasSuffix("p2")
            connection.respond(
                last ? 404 : 200, [Self.json] + (last ? [] : ["Link: </v2/team/app/tags/list?p2>; rel=next"]),
                last ? "{}" : #"{"tags":["a"]}"#)
        }
        #expect(await Sample.failure { _ = try await Sample.client(server.authority).tags() } != nil)
    }

    @Test func doesNotFollowAListElsewhere() async throws {
        let other = FaultServer { _, connection in connection.respond(200, [Self.json], #"{"tags":["b"]}"#) }
        let server = server { _, connection in
            connection.respond(200, [Self.json, "Link: <\(other.url)/x>; rel=\"next\""], #"{"tags":["a"]}"#)
        }
        let client = try Sample.client(server.authority)
        #expect(await Sample.failure { _ = try await client.tags() }?.code == .redirectRefused)
        #expect(other.requests.isEmpty)
    }

    @Test(arguments: [(404, json), (400, json), (406, json), (200, json), (200, "Content-Type: text/html")])
    func looksAtTheFallbackTag(_ status: Int, _ type: String) async throws {
        let referrer = Descriptor(mediaType: MediaType.imageManifest, digest: zero, size: 3, artifactType: "a/b")
        let index = try ImageIndex(manifests: [referrer]).encoded()
        let server = server { request, connection in
            if request.path.contains("/referrers/") { return connection.respond(status, [type], Self.index) }
            request.path.hasSuffix("/manifests/sha256-\(zero.hex)")
                ? connection.respond(200, [Self.indexType], index.bytes) : connection.respond(404)
        }
        let found = try await Sample.client(server.authority).referrers(of: zero, artifactType: nil)
        #expect(found.source == .fallbackTag)
        #expect(found.descriptors.map(\.digest) == [zero])
    }

    @Test("That a repository has no list of referrers is remembered; anything else than such an answer is not")
    func remembersWhatALackingListIs() async throws {
        let one = try Digest.sha256(Array("one".utf8))
        let list = Mutex((status: 403, type: Self.json))
        let server = server { request, connection in
            guard request.path.contains("/referrers/") else { return connection.respond(404) }
            let (status, type) = list.withLock { $0 }
            connection.respond(status, [type], Self.index)
        }
        let client = try Sample.client(server.authority)
        var asked = 0
        func likely(_ status: Int, _ type: String, _ digest: Digest) async -> (found: Referrers, isAsked: Bool) {
            list.withLock { $0 = (status, type) }
            let found = await client.likelyReferrers(of: digest)
            let before = asked
            asked = server.requests.filter { $0.path.contains("/referrers/") }.count
            return (found, asked == before + 1)
        }
        // What is refused, or answered with a page, may be there the next time.
        for (status, type) in [(403, Self.json), (501, Self.json), (200, "Content-Type: text/html")] {
            let (found, isAsked) = await likely(status, type, zero)
            #expect(isAsked && !found.leavesOutList, "\(status)")
            #expect(
                found.source == (status == 200 ? .notAnIndex : .nothing)
                    && found.unread.count == (status == 200 ? 0 : 1))
        }
        for status in [404, 400, 405, 406] {
            let client = try Sample.client(server.authority)
            list.withLock { $0 = (status, Self.json) }
            #expect(await !client.likelyReferrers(of: zero).leavesOutList)
            #expect(await client.likelyReferrers(of: one).leavesOutList, "\(status)")
        }
        asked = server.requests.filter { $0.path.contains("/referrers/") }.count
        #expect(await likely(404, Self.json, zero).isAsked)
        let (left, isAsked) = await likely(404, Self.json, one)
        #expect(!isAsked && left.leavesOutList && left.source == .nothing && left.unread.isEmpty)
        // Those who need all are told all, and a list that comes after all is remembered for good.
        list.withLock { $0 = (403, Self.json) }
        #expect(await client.listedReferrers(of: one).unread.count == 1)
        #expect(await client.readableReferrers(of: one).unread.count == 1)
        list.withLock { $0 = (200, "Content-Type: text/html") }
        #expect(await client.listedReferrers(of: one).source == .notAnIndex)
        list.withLock { $0 = (200, Self.indexType) }
        #expect(await client.listedReferrers(of: one).source == .list)
        asked = server.requests.filter { $0.path.contains("/referrers/") }.count
        for _ in 0..<2 { #expect(await likely(404, Self.json, zero).isAsked) }
        #expect(await likely(200, Self.indexType, zero).found.source == .list)
    }

    @Test("Repositories are remembered each by itself, and those who ask at once wait for one answer")
    func remembersEachRepository() async throws {
        let server = server { request, connection in
            // The one who is answered is not the first to be done.
            if request.path.contains("/referrers/") { connection.pause(milliseconds: 50) }
            connection.respond(404)
        }
        let registries = Sample.registries()
        for path in ["team/app", "team/other"] {
            let client = registries.client(for: try Repository(parsing: "\(server.authority)/\(path)"))
            await withTaskGroup(of: Void.self) { group in
                for number in 0..<20 {
                    group.addTask {
                        guard let digest = try? Digest.sha256(Array("\(number)".utf8)) else { return }
                        _ = await client.likelyReferrers(of: digest)
                    }
                }
            }
            let requests = server.requests.filter { $0.path.hasPrefix("/v2/\(path)/") }
            #expect(requests.filter { $0.path.contains("/referrers/") }.count == 1, "\(path)")
            #expect(requests.count == 21, "\(path)")
        }
    }

    @Test(arguments: [401, 403, 501])
    func readsTheFallbackTagIfTheListIsRefused(_ status: Int) async throws {
        let good = #"{"mediaType":"\#(MediaType.imageManifest)","digest":"\#(zero)","size":3}"#
        let bad = #"{"mediaType":"\#(MediaType.imageManifest)","digest":"blake3:00","size":3}"#
        let index = #"{"schemaVersion":2,"mediaType":"\#(MediaType.imageIndex)","manifests":[\#(bad),\#(good)]}"#
        let server = server { request, connection in
            request.path.contains("/referrers/")
                ? connection.respond(status) : connection.respond(200, [Self.indexType], index)
        }
        let client = try Sample.client(server.authority)
        let found = await client.readableReferrers(of: zero)
        #expect(found.descriptors.map(\.digest) == [zero])
        #expect(found.unread.count == 2 && found.unread.last?.code == .malformedManifest, "\(found.unread)")
        #expect(await Sample.failure { _ = try await client.referrers(of: zero, artifactType: nil) } != nil)
    }

    @Test func readsTheEntriesOfAListEachByItself() async throws {
        let good = #"{"mediaType":"a/b","digest":"\#(zero)","size":3}"#
        let entries = [good, #"{"mediaType":"a/b","digest":"\#(zero)","size":-3}"#, "1"]
        let list = Mutex(entries.joined(separator: ","))
        let server = server { _, connection in
            let manifests = list.withLock { $0 }
            connection.respond(
                200, [Self.indexType],
                #"{"schemaVersion":2,"mediaType":"\#(MediaType.imageIndex)","manifests":[\#(manifests)]}"#)
        }
        let client = try Sample.client(server.authority)
        let found = await client.readableReferrers(of: zero)
        #expect(found.source == .list && found.descriptors.count == 1 && found.unread.count == 2, "\(found)")
        let error = await Sample.failure { _ = try await client.referrers(of: zero, artifactType: nil) }
        #expect(error?.code == .malformedManifest)
        list.withLock { $0 = good }
        #expect(try await client.referrers(of: zero, artifactType: nil).descriptors.count == 1)
    }

    @Test func takesNothingFromAFallbackTagThatIsTheSubjectItself() async throws {
        let subject = try ImageManifest(config: try Sample.emptyConfig, layers: []).encoded()
        let server = server { request, connection in
            request.path.contains("/referrers/")
                ? connection.respond(404)
                : connection.respond(200, ["Content-Type: \(subject.mediaType)"], subject.bytes)
        }
        let found = try await Sample.client(server.authority).referrers(of: subject.digest, artifactType: nil)
        #expect(found.source == .notAnIndex)
        #expect(found.descriptors.isEmpty)
    }

    @Test func honoursTheSubjectHeader() async throws {
        let image = try ImageManifest(config: try Sample.emptyConfig, layers: []).encoded()
        let referrer = try ImageManifest(
            config: try Sample.emptyConfig, layers: [], subject: image.descriptor
        ).encoded()
        let server = server { request, connection in
            request.method == "PUT"
                ? connection.respond(201, ["OCI-Subject: \(image.digest)"]) : connection.respond(500)
        }
        try await Sample.client(server.authority).putReferrer(referrer)
        #expect(server.requests.filter { $0.method == "PUT" }.count == 1)
        #expect(server.requests.last?.path == "/v2/team/app/manifests/\(referrer.digest)")
    }

    /// A registry that has the list, but neither says so nor puts the new manifest into it.
    @Test func failsWhereItCannotBeSure() async throws {
        let image = try ImageManifest(config: try Sample.emptyConfig, layers: []).encoded()
        let referrer = try ImageManifest(
            config: try Sample.emptyConfig, layers: [], subject: image.descriptor
        ).encoded()
        let server = server { request, connection in
            request.method == "PUT" ? connection.respond(201) : connection.respond(200, [Self.indexType], Self.index)
        }
        let client = try Sample.client(server.authority)
        #expect(await Sample.failure { try await client.putReferrer(referrer) }?.code == .contended)
    }

    @Test func repeatsTheServersWordsWithinBounds() async throws {
        let words = String(repeating: "x", count: 5000)
        let server = server { _, connection in
            connection.respond(403, [Self.json], #"{"errors":[{"code":"DENIED","message":"\#(words)"}]}"#)
        }
        let client = try Sample.client(server.authority)
        let error = try #require(await Sample.failure { _ = try await client.manifest(.tag("a")) })
        #expect(error.code == .denied)
        #expect(error.httpStatus == 403)
        #expect(error.message.contains("DENIED: xxx"))
        #expect(error.message.utf8.count < 500)
    }

    /// Another tool, which does not announce itself, overwrites our entry right after we wrote it.
    @Test(arguments: [(1, nil), (Int.max, SigstoreError.Code.contended)])
    func putsBackWhatAnotherToolOverwrote(_ times: Int, _ expected: SigstoreError.Code?) async throws {
        let image = try ImageManifest(config: try Sample.emptyConfig, layers: []).encoded()
        func referrer(_ name: String) throws -> Manifest {
            try ImageManifest(
                config: try Sample.emptyConfig, layers: [], subject: image.descriptor, annotations: ["name": name]
            ).encoded()
        }
        let ours = try referrer("ours")
        let first = try ImageIndex(manifests: [try referrer("first").referrerDescriptor]).encoded()
        let theirs = try ImageIndex(manifests: [try referrer("theirs").referrerDescriptor]).encoded()
        let shared = "/v2/team/app/manifests/sha256-\(image.digest.hex)"
        let stored = Mutex<[String: Manifest]>([shared: first])
        let writes = Mutex(0)
        let server = server { request, connection in
            switch request.method {
            case "PUT":
                let isTheirTurn =
                    request.path == shared
                    && writes.withLock { writes in
                        writes += 1
                        return writes <= times
                    }
                let written = try? Manifest(request.body)
                stored.withLock { $0[request.path] = isTheirTurn ? theirs : written }
                connection.respond(201)
            case "DELETE":
                connection.respond(stored.withLock { $0.removeValue(forKey: request.path) } == nil ? 404 : 202)
            case _ where request.path.hasSuffix("/tags/list"):
                let tags = stored.withLock { $0.keys }.map { $0.split(separator: "/").last.map { "\"\($0)\"" } ?? "" }
                    .filter { !$0.contains(":") }
                connection.respond(200, [Self.json], #"{"tags":[\#(tags.joined(separator: ","))]}"#)
            case "HEAD" where request.path.contains("/blobs/"): connection.respond(200)
            default:
                guard let manifest = stored.withLock({ $0[request.path] }) else { return connection.respond(404) }
                connection.respond(
                    200, ["Content-Type: \(manifest.mediaType)"], request.method == "HEAD" ? [] : manifest.bytes)
            }
        }
        // Nobody gives up while there is hope; without hope the limit does not matter.
        let client = try Sample.client(server.authority) { $0.mergeTimeout = .seconds(expected == nil ? 500 : 1) }
        #expect(await Sample.failure { try await client.putReferrer(ours) }?.code == expected)
        guard expected == nil else { return }
        let found = try await client.referrers(of: image.digest, artifactType: nil).descriptors
        #expect(Set(found.compactMap { $0.annotations["name"] }) == ["first", "theirs", "ours"])
        // Nobody else was writing, so the announcement is gone again.
        #expect(!stored.withLock { $0.keys.contains { $0.hasPrefix("\(shared).") } })
    }
}
