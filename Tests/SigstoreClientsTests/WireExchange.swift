import Foundation
import HTTPTransport
import StrictJSON
import Synchronization
import Testing

/// A recorded exchange with a real service, from `../shared/wire`.
struct WireExchange {
    let request: (line: String, headers: [(name: String, value: String)], body: [UInt8])
    let response: HTTPResponse

    init(_ name: String) throws {
        let parts = #filePath.split(separator: "/").dropLast(4).map(String.init) + ["shared", "wire", "\(name).txt"]
        let bytes = [UInt8](try Data(contentsOf: URL(filePath: "/" + parts.joined(separator: "/"))))
        let mark = Array("\n\n# ---- response ----\n".utf8)
        let cut = try #require(bytes.indices.first { bytes[$0...].starts(with: mark) }, "\(name) holds no response")
        // The request begins after the comment.
        let asked = bytes[..<cut]
        let begin = try #require(asked.indices.first { asked[$0...].starts(with: "\n\n".utf8) })
        let (line, requestHeaders, requestBody) = try Self.message(Array(asked[(begin + 2)...]))
        request = (line, requestHeaders, requestBody)
        let (status, headers, body) = try Self.message(Array(bytes[(cut + mark.count)...]))
        response = HTTPResponse(
            status: try #require(status.split(separator: " ").dropFirst().first.flatMap { Int($0) }), headers: headers,
            body: body, url: try HTTPURL(parsing: "http://127.0.0.1/"))
    }

    private static func message(_ bytes: [UInt8]) throws -> (String, [(name: String, value: String)], [UInt8]) {
        let text = String(decoding: bytes, as: UTF8.self)
        let head = text.components(separatedBy: "\n\n")[0]
        var body = Array(bytes.dropFirst(head.utf8.count + 2))
        while body.last == 0x0a { body.removeLast() }
        // Binary bodies are written as base64 behind a line that says so.
        if body.starts(with: "<".utf8), let line = body.firstIndex(of: 0x0a) {
            body = try #require(Base64.decode(Array(body[(line + 1)...].filter { $0 != 0x0a })))
        }
        let lines = head.split(separator: "\n").map(String.init)
        let headers = lines.dropFirst().map { line in
            let name = line.prefix { $0 != ":" }
            return (name: name.lowercased(), value: line.dropFirst(name.count + 1).trimmingCharacters(in: .whitespaces))
        }
        return (lines.first ?? "", headers, body)
    }
}

/// Answers requests as a test says, and keeps them.
final class ScriptedClient: HTTPClient {
    private let answer: @Sendable (HTTPRequest) throws(SigstoreError) -> HTTPResponse
    private let seen = Mutex<[HTTPRequest]>([])

    init(_ answer: @escaping @Sendable (HTTPRequest) throws(SigstoreError) -> HTTPResponse) { self.answer = answer }

    /// Answers everything with what was recorded.
    convenience init(_ exchange: WireExchange) {
        let response = exchange.response
        self.init { _ in response }
    }

    var requests: [HTTPRequest] { seen.withLock { $0 } }

    func send(_ request: HTTPRequest, into sink: (any BodySink)?) async throws(SigstoreError) -> HTTPResponse {
        seen.withLock { $0.append(request) }
        let response = try answer(request)
        // As the transport does it: other statuses than those that the caller looks at are its errors.
        guard (200...299).contains(response.status) || request.handledStatuses.contains(response.status) else {
            throw response.failure(request.method)
        }
        guard Int64(response.body.count) <= request.bodyLimit else { throw SigstoreError(.tooLarge, "too large") }
        return response
    }
}

extension HTTPRequest {
    var bytes: [UInt8] {
        if case .bytes(let bytes) = body { return bytes }
        return []
    }
}

/// The error that something throws.
func failure(_ body: () async throws -> Void) async -> SigstoreError? {
    do {
        try await body()
        return nil
    } catch { return error as? SigstoreError }
}
