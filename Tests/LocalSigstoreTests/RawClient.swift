import Foundation
import Glibc
import StrictJSON

/// How a connection ended.
enum ConnectionEnd: Equatable {
    case closed, reset, timedOut, enough
}

/// What came back, byte for byte: the services' faults are about what a real client's HTTP library would hide.
struct RawAnswer {
    var status = 0
    var headers: [String: String] = [:]
    var body: [UInt8] = []
    var end = ConnectionEnd.closed

    var text: String { String(decoding: body, as: UTF8.self) }
    func json() throws -> JSONCursor { JSONCursor(try JSONValue(parsing: body)) }
}

/// One request over a connection of its own.
struct RawClient {
    let port: UInt16

    /// Sends a request and reads until the server closes, or until `limit` bytes or `seconds` have gone by.
    func send(
        _ method: String, _ target: String, headers: [String: String] = [:], body: [UInt8] = [], seconds: Double = 120,
        limit: Int = 8 << 20
    ) async throws -> RawAnswer {
        var text = "\(method) \(target) HTTP/1.1\r\nHost: 127.0.0.1:\(port)\r\nConnection: close\r\n"
        for header in headers { text += "\(header.key): \(header.value)\r\n" }
        if !body.isEmpty || method != "GET" { text += "Content-Length: \(body.count)\r\n" }
        let bytes = Array((text + "\r\n").utf8) + body
        let port = port
        return try await withCheckedThrowingContinuation { continuation in
            Thread.detachNewThread {
                continuation.resume(
                    with: Result { try Self.exchange(bytes, port: port, seconds: seconds, limit: limit) })
            }
        }
    }

    func get(_ target: String, headers: [String: String] = [:], seconds: Double = 120, limit: Int = 8 << 20)
        async throws
        -> RawAnswer
    { try await send("GET", target, headers: headers, seconds: seconds, limit: limit) }

    func post(_ target: String, json: JSONValue, headers: [String: String] = [:]) async throws -> RawAnswer {
        try await send(
            "POST", target, headers: headers.merging(["Content-Type": "application/json"]) { own, _ in own },
            body: json.serialized())
    }

    private static func exchange(_ request: [UInt8], port: UInt16, seconds: Double, limit: Int) throws -> RawAnswer {
        let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        guard descriptor >= 0 else { throw POSIXError(.EIO) }
        defer { close(descriptor) }
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = port.bigEndian
        address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
        let connected = unsafe withUnsafePointer(to: &address) {
            unsafe $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                unsafe connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
            }
        }
        guard connected == 0 else { throw POSIXError(.ECONNREFUSED) }
        var timeout = timeval(tv_sec: Int(seconds), tv_usec: Int((seconds - seconds.rounded(.down)) * 1e6))
        unsafe setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &timeout, socklen_t(MemoryLayout<timeval>.size))
        var sent = 0
        while sent < request.count {
            let rest = Array(request[sent...])
            let count = unsafe Glibc.send(descriptor, rest, rest.count, Int32(MSG_NOSIGNAL))
            guard count > 0 else { break }
            sent += count
        }
        var answer = RawAnswer()
        var all: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 65_536)
        reading: while true {
            let count = unsafe recv(descriptor, &buffer, buffer.count, 0)
            switch count {
            case 0: break reading
            case 1...:
                all += buffer[..<count]
                if all.count >= limit {
                    answer.end = .enough
                    break reading
                }
            default:
                answer.end = errno == ECONNRESET ? .reset : .timedOut
                break reading
            }
        }
        guard let split = all.firstRange(of: Array("\r\n\r\n".utf8)) else { return answer }
        let lines = String(decoding: all[..<split.lowerBound], as: UTF8.self).components(separatedBy: "\r\n")
        answer.status = lines.first?.split(separator: " ").dropFirst().first.flatMap { Int($0) } ?? 0
        for line in lines.dropFirst() {
            let sides = line.split(separator: ":", maxSplits: 1)
            guard sides.count == 2 else { continue }
            answer.headers[sides[0].lowercased()] = sides[1].trimmingCharacters(in: .whitespaces)
        }
        answer.body = Array(all[split.upperBound...])
        return answer
    }
}
