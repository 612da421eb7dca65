import Dispatch
internal import LocalSystem
public import StrictJSON
internal import Synchronization

/// What a browser is shown when it lands on this machine.
struct LandingPage: Sendable {
    var status = 200
    var title: String
    /// Who signed in, which stands out.
    var identity: String?
    /// Why not, if it is not as it should be.
    var reason: String?
    var text: String

    /// The page as an HTTP answer. Whatever comes from outside is escaped, and nothing in it can load anything.
    /// - Parameter program: The name that stands in the title, if there is one.
    func response(of program: String?) -> [UInt8] {
        let body = """
            <!DOCTYPE html>
            <html lang="en">
            <head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
            <title>\(Self.escaped(([title] + [program].compactMap { $0 }).joined(separator: " · ")))</title>
            <style>
            :root{color-scheme:light dark}
            body{font:1.1rem/1.5 system-ui,sans-serif;color:#1c1c1c;background:#f2f4f3;margin:0;padding:12vh 1rem}
            main{max-width:30rem;margin:auto;padding:2rem 2.5rem;background:#fff;border-radius:.75rem;\
            border-top:.4rem solid \(status == 200 ? "#1a7f4b" : "#b3261e");box-shadow:0 .1rem .8rem #0002}
            h1{margin:0 0 1rem;font-size:1.7rem}
            p{margin:.75rem 0 0;overflow-wrap:anywhere}
            @media(prefers-color-scheme:dark){body{color:#eee;background:#141615}main{background:#212423}}
            </style>
            </head>
            <body><main>
            <h1><span aria-hidden="true">\(status == 200 ? "✓" : "✕")</span> \(Self.escaped(title))</h1>
            \(identity.map { "<p>You are <strong>\(Self.escaped($0))</strong></p>" } ?? "")
            \(reason.map { "<p>Why: \(Self.escaped($0))</p>" } ?? "")
            <p>\(Self.escaped(text))</p>
            </main></body>
            </html>

            """
        let head = [
            "HTTP/1.1 \(status) \(status == 200 ? "OK" : "Refused")", "Content-Type: text/html; charset=utf-8",
            "Content-Length: \(body.utf8.count)", "Connection: close", "Cache-Control: no-store",
            "Referrer-Policy: no-referrer", "X-Content-Type-Options: nosniff",
            "Content-Security-Policy: default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
        ]
        return Array((head.joined(separator: "\r\n") + "\r\n\r\n" + body).utf8)
    }

    private static func escaped(_ text: String) -> String { text.withoutControls.escapedForHTML }
}

/// A bounded HTTP responder with one route on loopback, which takes the one redirect of a sign-in (RFC 8252,
/// section 7.3). Not a web server: one path, one method, a few connections, small heads, no bodies.
final class LoopbackResponder: Sendable {
    /// How many connections are open at a time, how long a head may be, and how long one may take to arrive.
    private static let connectionLimit = 8
    private static let headLimit = 16_384
    private static let headTime = Duration.seconds(5)

    /// Where a redirect is taken.
    struct Address: Sendable {
        /// The host as the redirect URL names it: `localhost`, 127.0.0.0/8 or `[::1]`.
        var host: String
        /// 0 for any free port.
        var port: UInt16
        var path: String

        /// Reads a redirect URL.
        /// - Throws: `SigstoreError` with `unusable-redirect-url` if it is not on this machine.
        init(parsing text: String) throws(SigstoreError) {
            func fault() -> SigstoreError {
                SigstoreError(
                    .unusableRedirect,
                    "the redirect URL \"\(text.prefix(256))\" does not lead to this machine over http",
                    advice: "give one such as http://localhost:0/auth/callback, where 0 is any free port")
            }
            let prefix = "http://"
            guard text.utf8.starts(with: prefix.utf8) else { throw fault() }
            let rest = text.utf8.dropFirst(prefix.utf8.count)
            let authority = rest.prefix { $0 != 0x2f }
            path = String(decoding: rest.dropFirst(authority.count), as: UTF8.self)
            if path.isEmpty { path = "/" }
            guard path.utf8.allSatisfy({ (0x21...0x7e).contains($0) && $0 != 0x3f && $0 != 0x23 }) else {
                throw fault()
            }
            let isBracketed = authority.first == 0x5b
            let colon = authority.lastIndex(of: 0x3a).flatMap { at in
                isBracketed && authority[at...].contains(0x5d) ? nil : at
            }
            host = String(decoding: authority[..<(colon ?? authority.endIndex)], as: UTF8.self)
            if let colon {
                guard let number = UInt16(String(decoding: authority[colon...].dropFirst(), as: UTF8.self)) else {
                    throw fault()
                }
                port = number
            } else {
                port = 80
            }
            guard host.utf8.elementsEqual("localhost".utf8) || host.utf8.elementsEqual("[::1]".utf8) || isIPv4Loopback
            else { throw fault() }
        }

        private var isIPv4Loopback: Bool {
            let parts = host.utf8.split(separator: 0x2e, omittingEmptySubsequences: false)
            return parts.count == 4 && parts[0].elementsEqual("127".utf8)
                && parts.allSatisfy { (1...3).contains($0.count) && UInt8(String(decoding: $0, as: UTF8.self)) != nil }
        }
    }

    /// A redirect that arrived, whose connection waits for its page.
    struct Callback: Sendable {
        let parameters: [(name: String, value: String)]
        fileprivate let socket: LoopbackSocket

        /// The value of a parameter that stands exactly once.
        func value(_ name: String) -> String? {
            let found = parameters.filter { $0.name.utf8.elementsEqual(name.utf8) }
            return found.count == 1 ? found.first?.value : nil
        }
    }

    private struct State {
        var waiting: CheckedContinuation<Callback?, Never>?
        var delivered = false
        var stopped = false
    }

    private let listeners: [LoopbackSocket]
    private let address: Address
    private let program: String?
    private let state = Mutex(State())
    /// The redirect URL, with the port that was taken.
    let redirectURL: String

    /// How many ports are tried if any will do.
    private static let attempts = 16

    /// Listens. Nothing is answered before ``callback(within:)``. For `localhost`, which a browser may take for either, on
    /// 127.0.0.1 and on ::1: the code would go to another program that listened on one of the two.
    /// - Throws: `SigstoreError` with `unusable-redirect-url` if the port cannot be had.
    init(_ address: Address, program: String? = nil) throws(SigstoreError) {
        self.address = address
        self.program = program
        let hosts = address.host.utf8.elementsEqual("localhost".utf8) ? ["127.0.0.1", "[::1]"] : [address.host]
        var failure: LoopbackSocket.ListenFailure?
        for _ in 0..<(address.port == 0 ? Self.attempts : 1) {
            do throws(LoopbackSocket.ListenFailure) {
                let (listeners, port) = try Self.listen(hosts, address.port)
                self.listeners = listeners
                redirectURL = "http://\(address.host):\(port)\(address.path)"
                return
            } catch {
                failure = error
                guard error.isTaken else { break }
            }
        }
        let host = failure?.host ?? address.host
        let port = (failure?.port ?? address.port) == 0 ? "a port" : "port \(failure?.port ?? address.port)"
        throw SigstoreError(
            .unusableRedirect,
            failure?.isTaken == true
                ? "\(port) of \(host) belongs to another program, which could take the answer to the sign-in"
                : "\(port) of \(host) cannot be listened on for the sign-in: \(SigstoreError.reason(failure?.number ?? 0))",
            advice: .remedy(.listenElsewhere))
    }

    /// Listens on all of these hosts that this machine has, at one port.
    private static func listen(_ hosts: [String], _ port: UInt16) throws(LoopbackSocket.ListenFailure)
        -> (listeners: [LoopbackSocket], port: UInt16)
    {
        var (listeners, port): ([LoopbackSocket], UInt16) = ([], port)
        for host in hosts {
            do throws(LoopbackSocket.ListenFailure) {
                let made = try LoopbackSocket.listen(host, port)
                listeners.append(made.0)
                port = made.port
            } catch {
                guard error.isAbsent, hosts.count > 1, !listeners.isEmpty || host != hosts.last else { throw error }
            }
        }
        return (listeners, port)
    }

    // MARK: - For the flow

    /// Waits for the redirect. Every later one is refused until ``finish(_:_:)``.
    /// - Parameter limit: How long.
    /// - Returns: `nil` if the time is over, or the task was cancelled.
    func callback(within limit: Duration) async -> Callback? {
        let end = ContinuousClock.now + limit
        return await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                state.withLock { $0.waiting = continuation }
                DispatchQueue(label: "sign-in").async { self.serve(until: end) }
            }
        } onCancel: {
            stop()
        }
    }

    /// Shows a page in the browser that was redirected, and ends.
    func finish(_ callback: Callback?, _ page: LandingPage) {
        stop()
        if let callback { callback.socket.end(with: page.response(of: program)) }
    }

    private func stop() { state.withLock { $0.stopped = true } }

    // MARK: - The thread

    private struct Connection {
        let socket: LoopbackSocket
        let end: ContinuousClock.Instant
        var head: [UInt8] = []
    }

    /// Serves until the time is over or ``finish(_:_:)``. After the time is over, no connection is left waiting.
    private func serve(until end: ContinuousClock.Instant) {
        var connections: [Connection] = []
        defer {
            let waiting = state.withLock { state in
                defer { state.waiting = nil }
                return state.waiting
            }
            waiting?.resume(returning: nil)
        }
        while true {
            let (stopped, delivered) = state.withLock { ($0.stopped, $0.delivered) }
            let now = ContinuousClock.now
            // Once the redirect is there, the flow decides when to end.
            guard !stopped, delivered || now < end else { return }
            connections.removeAll { $0.end <= now }
            let open = connections.count >= Self.connectionLimit ? [] : listeners
            guard let ready = LoopbackSocket.ready(open + connections.map(\.socket), within: 50) else { return }
            var kept: [Connection] = []
            for (connection, isReady) in zip(connections, ready.dropFirst(open.count)) {
                if let open = isReady ? read(connection) : connection { kept.append(open) }
            }
            connections = kept
            for (listener, isReady) in zip(open, ready) where isReady && connections.count < Self.connectionLimit {
                if let accepted = listener.accept() {
                    connections.append(Connection(socket: accepted, end: now + Self.headTime))
                }
            }
        }
    }

    /// Reads what has arrived.
    /// - Returns: The connection, or `nil` if it was answered, given to the flow, or has ended.
    private func read(_ connection: Connection) -> Connection? {
        var connection = connection
        guard let arrived = connection.socket.receive() else { return nil }
        connection.head += arrived
        guard connection.head.count <= Self.headLimit else {
            connection.socket.end(
                with: LandingPage(status: 431, title: "Refused", text: "The request is too long.").response(
                    of: program))
            return nil
        }
        guard Self.endsHead(connection.head) else { return connection }
        if let page = handle(connection) { connection.socket.end(with: page.response(of: program)) }
        return nil
    }

    private static func endsHead(_ head: [UInt8]) -> Bool {
        guard head.count >= 4 else { return false }
        return (0...head.count - 4).contains { head[$0..<$0 + 4].elementsEqual([13, 10, 13, 10]) }
    }

    /// - Returns: The page to answer with, or `nil` if the flow will answer.
    private func handle(_ connection: Connection) -> LandingPage? {
        let line = connection.head.prefix { $0 != 13 && $0 != 10 }
        let parts = line.split(separator: 0x20, omittingEmptySubsequences: false)
        guard parts.count == 3, parts[2].starts(with: "HTTP/1.".utf8) else {
            return LandingPage(status: 400, title: "Refused", text: "This is not an HTTP request.")
        }
        let target = parts[1]
        let path = target.prefix { $0 != 0x3f }
        guard path.elementsEqual(address.path.utf8) else {
            return LandingPage(status: 404, title: "Not here", text: "There is nothing at this address.")
        }
        guard parts[0].elementsEqual("GET".utf8) else {
            return LandingPage(status: 405, title: "Refused", text: "Only GET is answered here.")
        }
        guard let parameters = Self.parameters(target.dropFirst(path.count + 1)) else {
            return LandingPage(status: 400, title: "Refused", text: "The address is malformed.")
        }
        let waiting = state.withLock { state -> CheckedContinuation<Callback?, Never>? in
            guard !state.delivered else { return nil }
            state.delivered = true
            defer { state.waiting = nil }
            return state.waiting
        }
        guard let waiting else {
            return LandingPage(
                status: 409, title: "Refused",
                text: "This sign-in was answered already. A second answer is not accepted.")
        }
        waiting.resume(returning: Callback(parameters: parameters, socket: connection.socket))
        return nil
    }

    /// The parameters of a query (`application/x-www-form-urlencoded`), at most 32.
    static func parameters(_ query: ArraySlice<UInt8>) -> [(name: String, value: String)]? {
        var parameters: [(name: String, value: String)] = []
        for part in query.split(separator: 0x26) {
            guard parameters.count < 32 else { return nil }
            let name = part.prefix { $0 != 0x3d }
            guard let name = decoded(name),
                let value = decoded(part.dropFirst(name.count == part.count ? part.count : name.count + 1))
            else { return nil }
            parameters.append((name: name, value: value))
        }
        return parameters
    }

    private static func decoded(_ text: ArraySlice<UInt8>) -> String? {
        var out: [UInt8] = []
        var rest = text
        while let byte = rest.popFirst() {
            switch byte {
            case 0x2b: out.append(0x20)
            case 0x25:
                guard let high = rest.popFirst().flatMap(digit), let low = rest.popFirst().flatMap(digit) else {
                    return nil
                }
                out.append(high << 4 | low)
            default: out.append(byte)
            }
        }
        return String(validating: out, as: UTF8.self)
    }

    private static func digit(_ letter: UInt8) -> UInt8? {
        switch letter {
        case 0x30...0x39: letter - 0x30
        case 0x41...0x46: letter - 0x41 + 10
        case 0x61...0x66: letter - 0x61 + 10
        default: nil
        }
    }
}

extension SigstoreError.Code {
    /// A redirect URL that does not lead to this machine, or whose port cannot be listened on.
    public static let unusableRedirect = Self("unusable-redirect-url")
}
