import Glibc
import Synchronization

/// An HTTP/1.1 server on loopback that does exactly what a test says, byte for byte, also what no server should do.
@safe
public final class FaultServer: Sendable {
    /// A request as it came.
    public struct Request: Sendable {
        public var method: String
        /// Path and query.
        public var target: String
        /// Names in lower case.
        public var headers: [(name: String, value: String)]
        public var body: [UInt8]
        /// How many requests this server had before this one.
        public var number: Int

        public var path: String { String(target.prefix { $0 != "?" }) }
        public func header(_ name: String) -> String? { headers.first { $0.name == name }?.value }
    }

    /// The connection that a request came over.
    public struct Connection: Sendable {
        fileprivate let socket: CInt

        /// Sends bytes as they are. False where the client has gone.
        @discardableResult
        public func send(_ bytes: [UInt8]) -> Bool {
            var sent = 0
            while sent < bytes.count {
                let part = Array(bytes[sent...])
                let count = unsafe Glibc.send(socket, part, part.count, CInt(MSG_NOSIGNAL))
                guard count > 0 else { return false }
                sent += count
            }
            return true
        }

        /// Sends text as it is.
        @discardableResult
        public func send(_ text: String) -> Bool { send(Array(text.utf8)) }

        /// Sends a well-formed answer with its length.
        public func respond(_ status: Int, _ headers: [String] = [], _ body: [UInt8] = []) {
            let lines = (["HTTP/1.1 \(status) X", "Content-Length: \(body.count)"] + headers).joined(separator: "\r\n")
            send(Array("\(lines)\r\n\r\n".utf8) + body)
        }

        /// Sends a well-formed answer with its length.
        public func respond(_ status: Int, _ headers: [String] = [], _ body: String) {
            respond(status, headers, Array(body.utf8))
        }

        /// Answers HEAD: the headers of an answer without its body.
        public func respondHead(_ status: Int, _ headers: [String]) {
            send((["HTTP/1.1 \(status) X"] + headers).joined(separator: "\r\n") + "\r\n\r\n")
        }

        /// Breaks the connection off with a reset.
        public func reset() {
            var option = linger(l_onoff: 1, l_linger: 0)
            unsafe setsockopt(socket, SOL_SOCKET, SO_LINGER, &option, socklen_t(MemoryLayout<linger>.size))
            close()
        }

        /// Ends the connection.
        public func close() { shutdown(socket, CInt(SHUT_RDWR)) }

        /// Waits until the client has gone.
        public func waitForEnd() {
            var byte: UInt8 = 0
            while unsafe recv(socket, &byte, 1, 0) > 0 {}
        }

        /// Lets time pass.
        public func pause(milliseconds: UInt32) { usleep(milliseconds * 1000) }
    }

    public typealias Handler = @Sendable (Request, Connection) -> Void

    /// The port on 127.0.0.1.
    public let port: UInt16
    /// `127.0.0.1:port`.
    public var authority: String { "127.0.0.1:\(port)" }
    /// `http://127.0.0.1:port`.
    public var url: String { "http://\(authority)" }
    /// All requests that came.
    public var requests: [Request] { log.withLock { $0 } }
    /// How many connections came.
    public var connectionCount: Int { connections.withLock { $0 } }

    private let listener: Listener
    private let handler: Handler
    private let log = Mutex<[Request]>([])
    private let connections = Mutex(0)

    /// Starts a server.
    /// - Parameter handler: Answers one request; called on a thread of the connection's own.
    public init(_ handler: @escaping Handler) {
        self.handler = handler
        let socket = Glibc.socket(AF_INET, CInt(SOCK_STREAM.rawValue), 0)
        listener = Listener(socket)
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
        var size = socklen_t(MemoryLayout<sockaddr_in>.size)
        let bound = unsafe withUnsafeMutablePointer(to: &address) { pointer in
            unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { pointer in
                unsafe bind(socket, pointer, size) == 0 && listen(socket, 64) == 0
                    && getsockname(socket, pointer, &size) == 0
            }
        }
        precondition(bound, "no port on loopback")
        port = UInt16(bigEndian: address.sin_port)
        Self.thread { [self] in
            while let socket = listener.accept() {
                connections.withLock { $0 += 1 }
                Self.thread { [self] in serve(socket) }
            }
        }
    }

    /// Ends the server; connections under way go on to their end.
    public func stop() { listener.stop() }

    private func serve(_ socket: CInt) {
        let connection = Connection(socket: socket)
        var buffer: [UInt8] = []
        func fill() -> Bool {
            var chunk = [UInt8](repeating: 0, count: 65536)
            let count = unsafe recv(socket, &chunk, chunk.count, 0)
            guard count > 0 else { return false }
            buffer += chunk[..<count]
            return true
        }
        defer { Glibc.close(socket) }
        while true {
            var end: Int?
            while end == nil {
                end = buffer.indices.first { buffer[$0...].starts(with: "\r\n\r\n".utf8) }
                if end == nil && !fill() { return }
            }
            guard let end else { return }
            let lines = String(decoding: buffer[..<end], as: UTF8.self).split(separator: "\r\n").map(String.init)
            let start = (lines.first ?? "").split(separator: " ").map(String.init)
            guard start.count == 3 else { return }
            let headers = lines.dropFirst().map { line in
                let name = line.prefix { $0 != ":" }
                return (
                    name: name.lowercased(),
                    value: String(line.dropFirst(name.count + 1).drop { $0 == " " })
                )
            }
            let length = headers.first { $0.name == "content-length" }.flatMap { Int($0.value) } ?? 0
            while buffer.count < end + 4 + length { if !fill() { return } }
            let body = Array(buffer[(end + 4)..<(end + 4 + length)])
            buffer.removeFirst(end + 4 + length)
            let request = log.withLock { log in
                let request = Request(
                    method: start[0], target: start[1], headers: headers, body: body, number: log.count)
                log.append(request)
                return request
            }
            handler(request, connection)
        }
    }

    static func thread(_ work: @escaping @Sendable () -> Void) {
        final class Box: Sendable {
            let work: @Sendable () -> Void
            init(_ work: @escaping @Sendable () -> Void) { self.work = work }
        }
        var thread = pthread_t()
        unsafe pthread_create(
            &thread, nil,
            { pointer in
                if let pointer = unsafe pointer {
                    unsafe Unmanaged<Box>.fromOpaque(pointer).takeRetainedValue().work()
                }
                return nil
            }, Unmanaged.passRetained(Box(work)).toOpaque())
        pthread_detach(thread)
    }
}

/// A listening socket. The thread that accepts closes it and nothing else does: the system gives its number to the next
/// socket, which belongs to another test.
final class Listener: Sendable {
    private let socket: CInt
    private let isOpen = Mutex(true)

    init(_ socket: CInt) { self.socket = socket }

    /// The next connection; `nil` at the end, after which this must not be called again.
    func accept() -> CInt? {
        let connection = Glibc.accept(socket, nil, nil)
        if connection >= 0 { return connection }
        isOpen.withLock { isOpen in
            isOpen = false
            _ = close(socket)
        }
        return nil
    }

    /// Has the thread that accepts end.
    func stop() { isOpen.withLock { if $0 { _ = shutdown(socket, CInt(SHUT_RDWR)) } } }
}
