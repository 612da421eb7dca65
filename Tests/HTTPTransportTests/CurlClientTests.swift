import FaultServer
import Glibc
import Foundation
import HTTPTransport
import LocalSystem
import Spawning
import StrictJSON
import Synchronization
import Testing

private let sentinel = Authorization(scheme: "Bearer", "sentinel".utf8)

/// Keeps what it is given.
private final class Collector: BodySink {
    let state = Mutex<(begun: Int, bytes: [UInt8])>((0, []))
    let limit: Int
    init(limit: Int = .max) { self.limit = limit }
    func begin() throws(SigstoreError) { state.withLock { $0 = ($0.begun + 1, []) } }
    func receive(_ bytes: UnsafeRawBufferPointer) throws(SigstoreError) {
        let count = state.withLock { state in
            unsafe state.bytes.append(contentsOf: bytes)
            return state.bytes.count
        }
        if count > limit { throw SigstoreError(.init("enough"), "enough") }
    }
}

@Suite(.timeLimit(.minutes(10))) struct CurlClientTests {
    func client(_ change: (inout CurlClient.Configuration) -> Void = { _ in }) -> CurlClient {
        var configuration = CurlClient.Configuration()
        configuration.retryPolicy.baseDelay = .milliseconds(5)
        change(&configuration)
        return CurlClient(configuration)
    }

    func failure(_ work: () async throws(SigstoreError) -> Void) async -> SigstoreError? {
        do throws(SigstoreError) {
            try await work()
            return nil
        } catch {
            return error
        }
    }

    @Test func sendsAndReceives() async throws {
        let server = FaultServer { request, connection in
            let seen = request.header("x-sent") ?? ""
            connection.respond(200, ["X-Seen: \(seen)", "Content-Type: Text/Plain; a=b"], "hello")
        }
        let response = try await client().send(
            HTTPRequest("GET", try HTTPURL(parsing: "\(server.url)/a?b=c"), headers: [("X-Sent", "v 1")]))
        #expect(response.status == 200)
        #expect(response.header("x-seen") == "v 1")
        #expect(response.mediaType == "text/plain")
        #expect(response.body == Array("hello".utf8))
        #expect(server.requests.first?.target == "/a?b=c")
        #expect(server.requests.first?.header("user-agent") == "swsign")
    }

    @Test func sendsBodiesFromMemoryAndFromAFile() async throws {
        let server = FaultServer { request, connection in connection.respond(201, [], request.body) }
        let url = try HTTPURL(parsing: "\(server.url)/")
        let bytes = (0..<3_000_000).map { UInt8(truncatingIfNeeded: $0 &* 7) }
        let posted = try await client().send(HTTPRequest("POST", url, body: .bytes(bytes)))
        #expect(posted.body == bytes)
        let path = FileManager.default.temporaryDirectory.appending(path: UUID().uuidString).path
        try Data(bytes).write(to: URL(filePath: path))
        let file = try #require(try OpenFile(reading: path))
        try FileManager.default.removeItem(atPath: path)
        let put = try await client().send(
            HTTPRequest("PUT", url, body: .file(file, offset: 7, count: 1_000_000)))
        #expect(put.body == Array(bytes[7..<1_000_007]))
        let empty = try await client().send(HTTPRequest("POST", url))
        #expect(empty.body.isEmpty)
        #expect(server.requests.last?.header("content-length") == "0")
        #expect(server.requests.allSatisfy { $0.header("expect") == nil })
    }

    @Test func reusesConnectionsAndKeepsToTheNumberOfWorkers() async throws {
        let active = Mutex((now: 0, most: 0))
        let server = FaultServer { _, connection in
            active.withLock { $0 = ($0.now + 1, max($0.most, $0.now + 1)) }
            // Until there are as many as there may be; and then for a moment, in which one too many would come.
            for _ in 0..<60_000 where active.withLock({ $0.most }) < 4 { connection.pause(milliseconds: 1) }
            connection.pause(milliseconds: 20)
            active.withLock { $0.now -= 1 }
            connection.respond(200, [], "x")
        }
        let client = client { $0.maxWorkers = 4 }
        let url = try HTTPURL(parsing: "\(server.url)/")
        try await withThrowingTaskGroup(of: Void.self) { group in
            for _ in 0..<40 { group.addTask { _ = try await client.send(HTTPRequest("GET", url)) } }
            try await group.waitForAll()
        }
        #expect(server.requests.count == 40)
        #expect(active.withLock { $0.most } == 4)
        #expect(server.connectionCount <= 8)
    }

    @Test(arguments: [408, 429, 500, 502, 503, 504])
    func triesAgain(_ status: Int) async throws {
        let server = FaultServer { request, connection in
            request.number < 3 ? connection.respond(status, [], "later") : connection.respond(200, [], "well")
        }
        let response = try await client().send(HTTPRequest("GET", try HTTPURL(parsing: "\(server.url)/")))
        #expect(response.body == Array("well".utf8))
        #expect(server.requests.count == 4)
    }

    @Test(arguments: [400, 401, 403, 404, 409, 501])
    func doesNotTryAgain(_ status: Int) async throws {
        let server = FaultServer { _, connection in connection.respond(status, [], "the \u{1b}server's\nwords") }
        let url = try HTTPURL(parsing: "\(server.url)/p?secret")
        let error = await failure { () throws(SigstoreError) in _ = try await client().send(HTTPRequest("GET", url)) }
        #expect(error?.code == .httpStatus)
        #expect(error?.httpStatus == status)
        #expect(error?.message.contains("server's words") == true)
        #expect(error?.message.contains("secret") == false)
        #expect(server.requests.count == 1)
        let handled = try await client().send(HTTPRequest("GET", url, handledStatuses: [status]))
        #expect(handled.status == status)
    }

    @Test func postsOnceUnlessToldOtherwise() async throws {
        let server = FaultServer { _, connection in connection.respond(503) }
        let url = try HTTPURL(parsing: "\(server.url)/")
        let error = await failure { () throws(SigstoreError) in _ = try await client().send(HTTPRequest("POST", url)) }
        #expect(error?.httpStatus == 503)
        #expect(server.requests.count == 1)
        _ = await failure { () throws(SigstoreError) in
            _ = try await client { $0.retryPolicy.maxAttempts = 3 }.send(HTTPRequest("POST", url, isIdempotent: true))
        }
        #expect(server.requests.count == 4)
    }

    /// libcurl itself sends a request again if a connection that it kept is closed before an answer.
    @Test(arguments: [false, true])
    func sendsOnceWhatRestsOnALook(isLate: Bool) async throws {
        let server = FaultServer { request, connection in
            request.method == "GET" ? connection.respond(200) : connection.close()
        }
        let url = try HTTPURL(parsing: "\(server.url)/")
        let client = client()
        func puts() -> Int { server.requests.filter { $0.method == "PUT" }.count }
        _ = try await client.send(HTTPRequest("GET", url))
        var request = HTTPRequest("PUT", url, body: .bytes(Array("list".utf8)))
        request.latestStart = .now + .seconds(isLate ? -1 : 100)
        let sent = request
        let error = await failure { () throws(SigstoreError) in _ = try await client.send(sent) }
        #expect(error?.code == (isLate ? .outOfDate : .unreachable))
        #expect(error?.wasNotSent == isLate)
        #expect(puts() == (isLate ? 0 : 1))
        // Without it, the same request is sent again and again.
        request.latestStart = nil
        let again = request
        _ = await failure { () throws(SigstoreError) in _ = try await client.send(again) }
        #expect(puts() > 2)
    }

    @Test func obeysRetryAfterWithinItsBounds() async throws {
        let server = FaultServer { request, connection in
            request.number == 0 ? connection.respond(429, ["Retry-After: 1"]) : connection.respond(200)
        }
        let url = try HTTPURL(parsing: "\(server.url)/")
        let time = try await ContinuousClock().measure { _ = try await client().send(HTTPRequest("GET", url)) }
        #expect(time >= .seconds(1))
        let patient = FaultServer { _, connection in connection.respond(429, ["Retry-After: 3600"]) }
        let error = await failure { () throws(SigstoreError) in
            _ = try await client().send(HTTPRequest("GET", try HTTPURL(parsing: "\(patient.url)/")))
        }
        #expect(error?.httpStatus == 429)
        #expect(patient.requests.count == 1)
    }

    @Test func repeatsWhatBrokeOff() async throws {
        let sink = Collector()
        let server = FaultServer { request, connection in
            if request.number == 0 {
                connection.send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf of it")
                for _ in 0..<60_000 where sink.state.withLock({ $0.bytes.isEmpty }) {
                    connection.pause(milliseconds: 1)
                }
                connection.reset()
            } else {
                connection.respond(200, [], "whole")
            }
        }
        _ = try await client().send(HTTPRequest("GET", try HTTPURL(parsing: "\(server.url)/")), into: sink)
        #expect(sink.state.withLock { $0.bytes } == Array("whole".utf8))
        #expect(sink.state.withLock { $0.begun } == 2)
    }

    @Test func saysWhenNobodyIsThere() async throws {
        let server = FaultServer { _, _ in }
        server.stop()
        let error = await failure { () throws(SigstoreError) in
            _ = try await client { $0.retryPolicy.maxAttempts = 2 }
                .send(HTTPRequest("GET", try HTTPURL(parsing: "http://127.0.0.1:1/")))
        }
        #expect(error?.code == .unreachable)
        #expect(error?.message.contains("127.0.0.1:1") == true)
    }

    @Test func knowsWhetherAnythingWasSent() async throws {
        let refusing = try HTTPURL(parsing: "http://127.0.0.1:1/")
        let server = FaultServer { _, connection in connection.reset() }
        func failing(_ url: HTTPURL, _ change: (inout CurlClient.Configuration) -> Void = { _ in }) async -> Bool? {
            await failure { () throws(SigstoreError) in
                _ = try await client(change).send(HTTPRequest("POST", url, body: .bytes([1]), isIdempotent: true))
            }?.wasNotSent
        }
        #expect(await failing(refusing) { $0.retryPolicy.maxAttempts = 2 } == true)
        #expect(await failing(refusing) { $0.deadline = .now } == true)
        #expect(await failing(try HTTPURL(parsing: "\(server.url)/")) { $0.retryPolicy.maxAttempts = 2 } == false)
    }

    @Test func anAttemptMayTakeAllTime() async throws {
        let server = FaultServer { _, connection in
            connection.pause(milliseconds: 300)
            connection.respond(200, [], "late")
        }
        let request = HTTPRequest("GET", try HTTPURL(parsing: "\(server.url)/"), timeout: .milliseconds(100))
        let early = await failure { () throws(SigstoreError) in
            _ = try await client { $0.deadline = .now + .seconds(300) }.send(request)
        }
        #expect(early?.code == .timedOut)
        let response = try await client {
            $0.deadline = .now + .seconds(300)
            $0.attemptsTakeAllTime = true
        }.send(request)
        #expect(response.body == Array("late".utf8))
    }

    @Test func endsABodyWithoutEnd() async throws {
        let server = FaultServer { _, connection in
            connection.send("HTTP/1.1 200 OK\r\n\r\n")
            while connection.send([UInt8](repeating: 0x61, count: 65536)) {}
        }
        let url = try HTTPURL(parsing: "\(server.url)/")
        let error = await failure { () throws(SigstoreError) in
            _ = try await client().send(HTTPRequest("GET", url, bodyLimit: 1_000_000))
        }
        #expect(error?.code == .tooLarge)
        #expect(server.requests.count == 1)
        let sink = Collector(limit: 100_000)
        let refused = await failure { () throws(SigstoreError) in
            _ = try await client().send(HTTPRequest("GET", url, bodyLimit: .max), into: sink)
        }
        #expect(refused?.code.rawValue == "enough")
    }

    @Test("rekor CVE-2026-48702: nothing is unpacked, so an answer cannot grow")
    func unpacksNothing() async throws {
        // The beginning of 10 MB of zeros, as gzip packs them.
        let packed: [UInt8] = [
            0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 2, 3, 0xec, 0xc1, 0x01, 0x0d, 0, 0, 0, 0xc2, 0xa0, 0xf7, 0x4f,
        ]
        let server = FaultServer { _, connection in connection.respond(200, ["Content-Encoding: gzip"], packed) }
        let response = try await client().send(
            HTTPRequest("GET", try HTTPURL(parsing: "\(server.url)/"), bodyLimit: 1000))
        #expect(response.body == packed)
        #expect(server.requests.first?.header("accept-encoding") == nil)
    }

    @Test func refusesAnAnnouncedSizeBeforeItComes() async throws {
        let server = FaultServer { _, connection in
            connection.send("HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\nx")
        }
        let url = try HTTPURL(parsing: "\(server.url)/")
        let error = await failure { () throws(SigstoreError) in _ = try await client().send(HTTPRequest("GET", url)) }
        #expect(error?.code == .tooLarge)
        // A HEAD request has no body, so its length is only news.
        let response = try await client().send(HTTPRequest("HEAD", url))
        #expect(response.header("content-length") == "99999999999")
    }

    @Test func acceptsABodyOfExactlyTheLimit() async throws {
        let server = FaultServer { _, connection in connection.respond(200, [], [UInt8](repeating: 1, count: 1000)) }
        let url = try HTTPURL(parsing: "\(server.url)/")
        #expect(try await client().send(HTTPRequest("GET", url, bodyLimit: 1000)).body.count == 1000)
        let error = await failure { () throws(SigstoreError) in
            _ = try await client().send(HTTPRequest("GET", url, bodyLimit: 999))
        }
        #expect(error?.code == .tooLarge)
    }

    @Test func cutsOffAnEndlessErrorAnswer() async throws {
        let server = FaultServer { _, connection in
            connection.send("HTTP/1.1 404 Not Found\r\n\r\n")
            while connection.send([UInt8](repeating: 0x61, count: 65536)) {}
        }
        let error = await failure { () throws(SigstoreError) in
            _ = try await client().send(HTTPRequest("GET", try HTTPURL(parsing: "\(server.url)/")))
        }
        #expect(error?.httpStatus == 404)
        #expect((error?.message.utf8.count ?? 0) < 500)
    }

    @Test func boundsHeaders() async throws {
        let server = FaultServer { _, connection in
            connection.send("HTTP/1.1 200 OK\r\n")
            while connection.send("X-A: \(String(repeating: "a", count: 1000))\r\n") {}
        }
        let error = await failure { () throws(SigstoreError) in
            _ = try await client().send(HTTPRequest("GET", try HTTPURL(parsing: "\(server.url)/")))
        }
        #expect(error?.code == .tooLarge)
    }

    @Test func endsASlowDrip() async throws {
        let server = FaultServer { _, connection in
            connection.send("HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
            while connection.send("a") { connection.pause(milliseconds: 20) }
        }
        let url = try HTTPURL(parsing: "\(server.url)/")
        // On a busy machine the request may not even be there when a short time is over.
        for timeout in [Duration.milliseconds(300), .seconds(3), .seconds(30)] where server.requests.isEmpty {
            let error = await failure { () throws(SigstoreError) in
                _ = try await client().send(HTTPRequest("GET", url, timeout: timeout))
            }
            #expect(error?.code == .timedOut)
        }
        #expect(server.requests.count == 1)
        let deadline = ContinuousClock.now + .milliseconds(300)
        let late = await failure { () throws(SigstoreError) in
            _ = try await client { $0.deadline = deadline }.send(HTTPRequest("GET", url, timeout: .seconds(300)))
        }
        #expect(late?.code == .timedOut)
        #expect(ContinuousClock.now - deadline < .seconds(60))
    }

    @Test func doesNotBeginAfterTheDeadline() async throws {
        let server = FaultServer { _, connection in connection.waitForEnd() }
        let url = try HTTPURL(parsing: "\(server.url)/")
        let deadline = ContinuousClock.now + .milliseconds(400)
        let client = client {
            $0.deadline = deadline
            $0.maxWorkers = 1
        }
        async let first = failure { () throws(SigstoreError) in _ = try await client.send(HTTPRequest("GET", url)) }
        async let second = failure { () throws(SigstoreError) in _ = try await client.send(HTTPRequest("GET", url)) }
        #expect(await first?.code == .timedOut)
        #expect(await second?.code == .timedOut)
        try await Task.sleep(until: deadline, clock: .continuous)
        let late = try HTTPURL(parsing: "\(server.url)/late")
        let third = await failure { () throws(SigstoreError) in _ = try await client.send(HTTPRequest("GET", late)) }
        #expect(third?.code == .timedOut)
        #expect(!server.requests.contains { $0.path == "/late" })
    }

    @Test func endsWhenTheTaskIsCancelled() async throws {
        let server = FaultServer { _, connection in connection.waitForEnd() }
        let client = client()
        let url = try HTTPURL(parsing: "\(server.url)/")
        let task = Task {
            await failure { () throws(SigstoreError) in
                _ = try await client.send(HTTPRequest("GET", url, timeout: .seconds(300)))
            }
        }
        #expect(await Spawning.wait { !server.requests.isEmpty })
        let time = await ContinuousClock().measure {
            task.cancel()
            _ = await task.value
        }
        #expect(await task.value?.code == .cancelled)
        #expect(time < .seconds(60))
    }

    @Test func followsRedirectsWithoutCarryingSecretsAway() async throws {
        let other = FaultServer { _, connection in connection.respond(200, [], "there") }
        let server = FaultServer { request, connection in
            switch request.path {
            case "/a": connection.respond(307, ["Location: /b"])
            default: connection.respond(302, ["Location: \(other.url)/c"])
            }
        }
        let url = try HTTPURL(parsing: "\(server.url)/a")
        let response = try await client().send(
            HTTPRequest("GET", url, headers: [("Accept", "x/y")], authorization: sentinel))
        #expect(response.body == Array("there".utf8))
        #expect(response.url.description == "\(other.url)/c")
        #expect(server.requests.map { $0.header("authorization") } == ["Bearer sentinel", "Bearer sentinel"])
        #expect(other.requests.count == 1)
        #expect(other.requests.first?.header("authorization") == nil)
        #expect(other.requests.first?.header("accept") == "x/y")
    }

    @Test func doesNotGiveTheSecretBackAfterADetour() async throws {
        let home = Mutex("")
        let other = FaultServer { _, connection in
            connection.respond(302, ["Location: \(home.withLock { $0 })/back"])
        }
        let server = FaultServer { request, connection in
            request.path == "/back" ? connection.respond(200) : connection.respond(302, ["Location: \(other.url)/"])
        }
        home.withLock { $0 = server.url }
        _ = try await client().send(
            HTTPRequest("GET", try HTTPURL(parsing: "\(server.url)/"), authorization: sentinel))
        #expect(server.requests.map { $0.header("authorization") } == ["Bearer sentinel", nil])
        #expect(other.requests.map { $0.header("authorization") } == [nil])
    }

    @Test func endsARedirectLoop() async throws {
        let server = FaultServer { request, connection in connection.respond(302, ["Location: \(request.target)x"]) }
        let error = await failure { () throws(SigstoreError) in
            _ = try await client { $0.maxRedirects = 3 }
                .send(HTTPRequest("GET", try HTTPURL(parsing: "\(server.url)/")))
        }
        #expect(error?.code == .tooManyRedirects)
        #expect(server.requests.count == 4)
    }

    @Test(arguments: ["file:///etc/passwd", "ftp://127.0.0.1/", "http://user:pw@127.0.0.1/", "gopher://127.0.0.1:70/"])
    func refusesARedirectElsewhere(_ location: String) async throws {
        let server = FaultServer { _, connection in connection.respond(302, ["Location: \(location)"]) }
        let error = await failure { () throws(SigstoreError) in
            _ = try await client().send(HTTPRequest("GET", try HTTPURL(parsing: "\(server.url)/")))
        }
        #expect(error?.code == .malformedURL)
    }

    @Test func doesNotTakeABodyToAnotherOrigin() async throws {
        let other = FaultServer { _, connection in connection.respond(200) }
        let server = FaultServer { _, connection in connection.respond(307, ["Location: \(other.url)/"]) }
        let error = await failure { () throws(SigstoreError) in
            _ = try await client().send(
                HTTPRequest("POST", try HTTPURL(parsing: "\(server.url)/"), body: .bytes(Array("sentinel".utf8))))
        }
        #expect(error?.code == .redirectRefused)
        #expect(other.requests.isEmpty)
    }

    @Test(arguments: ["a\r\nX-Injected: 1", "a\nb", "a\0b", "é"])
    func refusesAHeaderThatIsTwo(_ value: String) async throws {
        let server = FaultServer { _, connection in connection.respond(200) }
        let error = await failure { () throws(SigstoreError) in
            _ = try await client().send(
                HTTPRequest("GET", try HTTPURL(parsing: "\(server.url)/"), headers: [("X-A", value)]))
        }
        #expect(error?.code == .malformedRequest)
        let token = await failure { () throws(SigstoreError) in
            let authorization = Authorization(scheme: "Bearer", value.utf8)
            _ = try await client().send(
                HTTPRequest("GET", try HTTPURL(parsing: "\(server.url)/"), authorization: authorization))
        }
        #expect(token?.code == .malformedRequest)
        #expect(token?.description.contains("Bearer") == false)
        #expect(server.requests.isEmpty)
    }

    @Test(arguments: ["Authorization", "authorization", "AUTHORIZATION"])
    func takesNoAuthorizationAmongTheHeaders(_ name: String) async throws {
        let server = FaultServer { _, connection in connection.respond(200) }
        let error = await failure { () throws(SigstoreError) in
            _ = try await client().send(
                HTTPRequest("GET", try HTTPURL(parsing: "\(server.url)/"), headers: [(name, "Bearer sentinel")]))
        }
        #expect(error?.code == .malformedRequest)
        #expect(error?.description.contains("sentinel") == false)
        #expect(server.requests.isEmpty)
    }

    @Test func sharesAnAuthorizationAmongRequests() async throws {
        let server = FaultServer { _, connection in connection.respond(200) }
        let url = try HTTPURL(parsing: "\(server.url)/")
        let client = client()
        // It stands beside the other headers, also if one of them has no value.
        try await withThrowingTaskGroup(of: Void.self) { group in
            for number in 0..<20 {
                group.addTask {
                    _ = try await client.send(
                        HTTPRequest("GET", url, headers: [("X-A", "\(number)"), ("X-B", "")], authorization: sentinel))
                }
            }
            try await group.waitForAll()
        }
        #expect(server.requests.map { $0.header("authorization") } == Array(repeating: "Bearer sentinel", count: 20))
        #expect(Set(server.requests.map { $0.header("x-a") }).count == 20)
        #expect(server.requests.allSatisfy { $0.header("x-b") == "" })
    }

    /// The first is RFC 7617's own, in section 2.
    @Test(arguments: [
        ("Aladdin", "open sesame", "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="), ("me", "sentinel", "Basic bWU6c2VudGluZWw="),
        ("me", "sentinels", "Basic bWU6c2VudGluZWxz"), ("", "", "Basic Og=="), ("\u{fc}", "a:b", "Basic w7w6YTpi"),
    ])
    func writesBasicCredentials(_ user: String, _ password: String, _ expected: String) {
        let authorization = Authorization(user: user.utf8, password: password.utf8)
        #expect(unsafe authorization.withValue { unsafe String(decoding: $0, as: UTF8.self) } == expected)
        #expect(authorization == Authorization(user: Array(user.utf8), password: Array(password.utf8)))
        #expect(authorization == Authorization(scheme: "Basic", expected.dropFirst(6).utf8))
        #expect(authorization != Authorization(user: user.utf8, password: "\(password)x".utf8))
        #expect(authorization != Authorization(scheme: "Bearer", expected.dropFirst(6).utf8))
    }

    @Test func logsNothingSecret() async throws {
        let lines = Mutex<[String]>([])
        let server = FaultServer { _, connection in connection.respond(200, ["Set-Cookie: sentinel"], "sentinel") }
        _ = try await client { $0.log = { line in lines.withLock { $0.append(line) } } }.send(
            HTTPRequest(
                "POST", try HTTPURL(parsing: "\(server.url)/path?code=sentinel"),
                authorization: sentinel, body: .bytes(Array("sentinel".utf8))))
        let logged = lines.withLock { $0 }
        #expect(logged.count == 1)
        #expect(logged.first?.hasPrefix("POST \(server.url)/path?… 200 in ") == true)
        #expect(!logged.joined().contains("sentinel"))
    }

    @Test func stopsItsThreadWithTheClient() async throws {
        let server = FaultServer { _, connection in connection.respond(200) }
        for _ in 0..<50 {
            _ = try await client().send(HTTPRequest("GET", try HTTPURL(parsing: "\(server.url)/")))
        }
        // Each client's connections end with it, so that the server sees 50 of them, and no thread stays.
        #expect(server.connectionCount == 50)
    }
}
