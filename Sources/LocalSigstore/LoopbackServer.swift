import FlyingFox
import FlyingSocks
import Foundation
import StrictJSON
import Synchronization

/// One request that a local service received, for tests to look at.
public struct ReceivedRequest: Sendable {
    /// The method in capital letters.
    public let method: String
    /// The path and query as the client wrote them.
    public let target: String
    /// The headers, by name in lower case.
    public let headers: [String: String]
    /// The body, up to its first 16 KiB.
    public let body: [UInt8]
    /// The status code of the answer, or `nil` if there was none.
    public let status: Int?
}

/// A service on a port of 127.0.0.1: an HTTP server with faults that can be switched on, and a memory of what came.
///
/// Every service answers on `/_faults` as well: `GET` says what is switched on, `POST` switches the fault in the body
/// on, `DELETE` switches all off.
public final class LoopbackServer: Sendable {
    /// The port that the service listens on.
    public let port: UInt16
    /// The faults that are switched on here.
    public let faults: Faults
    /// The service's URL, without a slash at the end.
    public var url: String { "http://127.0.0.1:\(port)" }
    /// The service's host and port.
    public var address: String { "127.0.0.1:\(port)" }
    private let server: HTTPServer
    private let running: Task<Void, any Error>
    private let memory: ServerMemory

    private init(port: UInt16, faults: Faults, server: HTTPServer, running: Task<Void, any Error>, memory: ServerMemory)
    {
        self.port = port
        self.faults = faults
        self.server = server
        self.running = running
        self.memory = memory
    }

    /// The requests that came since the last ``forgetRequests()``, oldest first, those to `/_faults` left out.
    /// At most the last 10,000 are kept.
    public var requests: [ReceivedRequest] { memory.entries.withLock { $0 } }

    /// Forgets the requests that came.
    public func forgetRequests() { memory.entries.withLock { $0.removeAll() } }

    /// Stops listening and closes every connection.
    public func stop() async {
        await server.stop(timeout: 0)
        running.cancel()
    }

    /// Starts a service.
    /// - Parameters:
    ///   - port: The port, or 0 for one that is free.
    ///   - answer: Makes the answer to a request; what it throws becomes a 500.
    /// - Throws: `local-service-failed` if the port cannot be had.
    static func start(
        port: UInt16, answer: @escaping @Sendable (LoopbackRequest) async throws -> LoopbackResponse
    ) async throws -> LoopbackServer {
        let faults = Faults()
        let memory = ServerMemory()
        // FlyingFox gives a handler a time limit of its own; a hanging service must outlast any client.
        let configuration = HTTPServer.Configuration(
            address: try sockaddr_in.inet(ip4: "127.0.0.1", port: port), timeout: 86_400,
            sharedRequestBufferSize: 65_536, logger: .disabled)
        let server = HTTPServer(
            config: configuration,
            handler: ClosureHTTPHandler { request in
                try await respond(to: request, faults: faults, memory: memory, answer: answer)
            })
        let running = Task { try await server.run() }
        do {
            try await waitUntilListening(server, running)
        } catch {
            running.cancel()
            throw SigstoreError(
                .localServiceFailed, "no service could be started on port \(port) of 127.0.0.1",
                advice: "choose another port, or 0 for one that is free", cause: error)
        }
        guard case .ip4(_, let actual) = await server.listeningAddress else {
            running.cancel()
            throw SigstoreError(.localServiceFailed, "the service on port \(port) does not say where it listens")
        }
        memory.port.withLock { $0 = actual }
        SocketOptions.sendAtOnce(listeningOn: actual)
        return LoopbackServer(port: actual, faults: faults, server: server, running: running, memory: memory)
    }

    /// Waits until the server listens, or has failed: if its port is taken it ends at once, and would never listen.
    private static func waitUntilListening(_ server: HTTPServer, _ running: Task<Void, any Error>) async throws {
        let (events, continuation) = AsyncStream.makeStream(of: Result<Void, any Error>.self)
        Task {
            do {
                try await server.waitUntilListening(timeout: 60)
                continuation.yield(.success(()))
            } catch {
                continuation.yield(.failure(error))
            }
        }
        Task { continuation.yield(await running.result) }
        for await event in events {
            try event.get()
            return
        }
    }

    // MARK: - Answering

    @concurrent
    private static func respond(
        to request: HTTPRequest, faults: Faults, memory: ServerMemory,
        answer: @Sendable (LoopbackRequest) async throws -> LoopbackResponse
    ) async throws -> HTTPResponse {
        let body = Array(try await request.bodyData)
        let rawPath = request.target.path()
        let path = rawPath.removingPercentEncoding ?? rawPath
        let method = request.method.rawValue
        if path == "/_faults" { return plain(administer(faults, method: method, body: body), method: method) }

        var headers: [String: String] = [:]
        for header in request.headers { headers[header.key.rawValue.lowercased()] = header.value }
        let (actions, round) = faults.actions(method: method, path: path)
        let seen = LoopbackRequest(
            method: method, path: path, query: LoopbackRequest.parameters(of: request.target.query()), body: body,
            faults: actions, headers: headers)
        var status: Int?
        defer { memory.add(seen, target: request.target.rawValue, status: status) }

        for case .delay(let seconds) in actions { try await faults.delay(seconds, round: round) }
        if actions.contains(.hang) { try await Task.sleep(for: .seconds(86_400)) }
        if actions.contains(.reset) {
            Connection(request, memory)?.reset()
            throw ConnectionFault()
        }
        var response = try await response(to: seen, answer: answer)
        for action in actions { apply(action, to: &response) }
        status = response.status
        return broken(response, actions, Connection(request, memory)) ?? plain(response, method: method)
    }

    private static func response(
        to request: LoopbackRequest, answer: @Sendable (LoopbackRequest) async throws -> LoopbackResponse
    ) async throws -> LoopbackResponse {
        for action in request.faults {
            switch action {
            case .status(let status, let retryAfter):
                let wait = retryAfter.map { [(name: "Retry-After", value: String($0))] } ?? []
                return .json(
                    status,
                    .object(["errors": .array([.object(["code": .string("FAULT"), "message": .string("on purpose")])])]
                    ),
                    headers: wait)
            case .answer(let status, let contentType, let body):
                return LoopbackResponse(status, contentType: contentType, body: body)
            case .redirect(let location):
                return LoopbackResponse(307, headers: [(name: "Location", value: location)])
            default: continue
            }
        }
        do {
            return try await answer(request)
        } catch let error as SigstoreError {
            return .json(500, .object(["code": .integer(500), "message": .string(error.description)]))
        }
    }

    private static func apply(_ action: Fault.Action, to response: inout LoopbackResponse) {
        switch action {
        case .contentType(let type): response.set("Content-Type", type)
        case .header(let name, let value): response.set(name, value)
        case .wrongDigestHeader:
            response.set("Docker-Content-Digest", "sha256:" + String(repeating: "0", count: 64))
        case .corruptBody:
            if let index = response.body.indices.dropFirst(response.body.count / 2).first { response.body[index] ^= 1 }
        default: break
        }
    }

    /// The answer with a body that breaks on its way, if a fault asks for that.
    private static func broken(
        _ response: LoopbackResponse, _ actions: [Fault.Action], _ connection: Connection?
    ) -> HTTPResponse? {
        let body: HTTPBodySequence
        let bytes = response.body
        let half = Array(bytes.prefix(bytes.count / 2))
        if actions.contains(.resetMidBody) {
            body = HTTPBodySequence(
                from: ScriptedBody(.cut(half, resetting: connection)), count: bytes.count)
        } else if actions.contains(.truncate) {
            body = HTTPBodySequence(from: ScriptedBody(.cut(half, resetting: nil)), count: bytes.count)
        } else if actions.contains(.endlessBody) {
            body = HTTPBodySequence(from: ScriptedBody(.endless(bytes)), suggestedBufferSize: 65_536)
        } else if let seconds = actions.lazy.compactMap({ if case .drip(let seconds) = $0 { seconds } else { nil } })
            .first
        {
            body = HTTPBodySequence(from: ScriptedBody(.drip(bytes, seconds: seconds)), count: bytes.count)
        } else {
            return nil
        }
        return HTTPResponse(statusCode: code(response.status), headers: headers(response), body: body)
    }

    private static func plain(_ response: LoopbackResponse, method: String) -> HTTPResponse {
        var headers = headers(response)
        if method == "HEAD" {
            if headers[.contentLength] == nil { headers[.contentLength] = String(response.body.count) }
            return HTTPResponse(statusCode: code(response.status), headers: headers)
        }
        return HTTPResponse(
            statusCode: code(response.status), headers: headers,
            body: HTTPBodySequence(data: Data(response.body), suggestedBufferSize: 262_144))
    }

    private static func headers(_ response: LoopbackResponse) -> HTTPHeaders {
        var headers = HTTPHeaders()
        for header in response.headers { headers.addValue(header.value, for: HTTPHeader(header.name)) }
        return headers
    }

    private static let phrases = [
        200: "OK", 201: "Created", 202: "Accepted", 204: "No Content", 302: "Found", 303: "See Other",
        307: "Temporary Redirect", 400: "Bad Request", 401: "Unauthorized", 403: "Forbidden", 404: "Not Found",
        405: "Method Not Allowed", 409: "Conflict", 413: "Payload Too Large", 415: "Unsupported Media Type",
        416: "Range Not Satisfiable", 422: "Unprocessable Entity", 429: "Too Many Requests",
        500: "Internal Server Error", 501: "Not Implemented", 502: "Bad Gateway", 503: "Service Unavailable",
        504: "Gateway Timeout",
    ]

    private static func code(_ status: Int) -> HTTPStatusCode {
        HTTPStatusCode(status, phrase: phrases[status] ?? "Status \(status)")
    }

    private static func administer(_ faults: Faults, method: String, body: [UInt8]) -> LoopbackResponse {
        switch method {
        case "GET":
            return .json(200, .array(faults.all.map { .string(String(describing: $0)) }))
        case "DELETE":
            faults.removeAll()
            return LoopbackResponse(204)
        case "POST":
            do {
                faults.add(try Fault(json: StrictJSON.JSONValue(parsing: body)))
                return LoopbackResponse(204)
            } catch {
                return .json(400, .object(["message": .string(error.description)]))
            }
        default: return LoopbackResponse(405)
        }
    }
}

/// Ends a connection without an answer.
private struct ConnectionFault: Error {}

private final class ServerMemory: Sendable {
    let entries = Mutex<[ReceivedRequest]>([])
    /// The port, once it is known.
    let port = Mutex<UInt16>(0)

    func add(_ request: LoopbackRequest, target: String, status: Int?) {
        let entry = ReceivedRequest(
            method: request.method, target: target, headers: request.headers, body: Array(request.body.prefix(16_384)),
            status: status)
        entries.withLock {
            if $0.count >= 10_000 { $0.removeFirst(5_000) }
            $0.append(entry)
        }
    }
}

/// A body that does not simply come: it drips, never ends, or is cut off.
private struct ScriptedBody: AsyncBufferedSequence {
    typealias Element = UInt8
    enum Script: Sendable {
        case drip([UInt8], seconds: Double)
        case endless([UInt8])
        case cut([UInt8], resetting: Connection?)
    }
    private let script: Script

    init(_ script: Script) { self.script = script }

    func makeAsyncIterator() -> Iterator { Iterator(script: script) }

    struct Iterator: AsyncBufferedIteratorProtocol {
        let script: Script
        var sent = 0

        mutating func next() async throws -> UInt8? { try await nextBuffer(suggested: 1)?.first }

        mutating func nextBuffer(suggested count: Int) async throws -> [UInt8]? {
            switch script {
            case .drip(let bytes, let seconds):
                guard sent < bytes.count else { return nil }
                if sent > 0 { try await Task.sleep(for: .seconds(seconds)) }
                sent += 1
                return [bytes[sent - 1]]
            case .endless(let bytes):
                // The right bytes first, so that only the length gives it away.
                defer { sent += 1 }
                return sent == 0 && !bytes.isEmpty ? bytes : [UInt8](repeating: 0x20, count: Swift.max(count, 1))
            case .cut(let bytes, let connection):
                if sent < bytes.count {
                    sent = bytes.count
                    return bytes
                }
                // What was sent should arrive before the connection dies.
                try await Task.sleep(for: .milliseconds(20))
                connection?.reset()
                throw ConnectionFault()
            }
        }
    }
}

/// The connection that a request came over.
private struct Connection: Sendable {
    let own: UInt16
    let peer: UInt16

    init?(_ request: HTTPRequest, _ memory: ServerMemory) {
        guard case .ip4(_, let port) = request.remoteAddress else { return nil }
        own = memory.port.withLock { $0 }
        peer = port
    }

    func reset() { SocketOptions.reset(own: own, peer: peer) }
}

/// Options of sockets that FlyingFox owns and does not offer: they are found among this process's descriptors.
private enum SocketOptions {
    /// Resets the connection between two ports of this machine at once: on Linux, connecting a TCP socket to no address
    /// aborts what it had. The descriptor stays FlyingFox's; its next write fails and it closes.
    static func reset(own: UInt16, peer: UInt16) {
        var nowhere = sockaddr()
        nowhere.sa_family = sa_family_t(AF_UNSPEC)
        for descriptor in descriptors()
        where port(of: descriptor, peer: true) == peer && port(of: descriptor, peer: false) == own {
            _ = unsafe connect(descriptor, &nowhere, socklen_t(MemoryLayout<sockaddr>.size))
        }
    }

    /// Connections accepted on this port send what is written at once (TCP_NODELAY is inherited): FlyingFox writes an
    /// answer's header and body apart, and the second would wait for the client's acknowledgement of the first.
    static func sendAtOnce(listeningOn port: UInt16) {
        var yes: Int32 = 1
        for descriptor in descriptors() where self.port(of: descriptor, peer: false) == port {
            _ = unsafe setsockopt(
                descriptor, Int32(IPPROTO_TCP), TCP_NODELAY, &yes, socklen_t(MemoryLayout<Int32>.size))
        }
    }

    private static func descriptors() -> [Int32] {
        ((try? FileManager.default.contentsOfDirectory(atPath: "/proc/self/fd")) ?? []).compactMap(Int32.init)
    }

    private static func port(of descriptor: Int32, peer: Bool) -> UInt16? {
        var address = sockaddr_in()
        var length = socklen_t(MemoryLayout<sockaddr_in>.size)
        let result = unsafe withUnsafeMutablePointer(to: &address) { pointer in
            unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                unsafe peer ? getpeername(descriptor, $0, &length) : getsockname(descriptor, $0, &length)
            }
        }
        guard result == 0, address.sin_family == sa_family_t(AF_INET) else { return nil }
        return UInt16(bigEndian: address.sin_port)
    }
}
