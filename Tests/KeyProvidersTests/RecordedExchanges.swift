import Foundation
import HTTPTransport
import StrictJSON

/// Exchanges with a service that were recorded, as a client: it answers a request as it was answered then, and keeps what it was
/// asked.
final class RecordedExchanges: HTTPClient, @unchecked Sendable {
    /// One exchange, as it was recorded.
    struct Exchange {
        let method: String
        let path: String
        let headers: [String: String]
        let body: String
        let status: Int
        let answerHeaders: [(name: String, value: String)]
        let answer: String

        /// Reads a recording: a request and an answer, each after a line that says so.
        init?(_ text: String) {
            let parts = text.components(separatedBy: "\n# answer\n")
            guard parts.count == 2 else { return nil }
            // The line says whether it was TLS.
            let request = parts[0].hasPrefix("# request") ? String(parts[0].drop { $0 != "\n" }.dropFirst()) : parts[0]
            guard let (first, headers, body) = Self.message(request),
                let (line, fields, answer) = Self.message(parts[1])
            else { return nil }
            let words = first.split(separator: " ")
            guard words.count == 3, let code = line.split(separator: " ").dropFirst().first.flatMap({ Int($0) }) else {
                return nil
            }
            (method, path) = (String(words[0]), String(words[1]))
            self.headers = Dictionary(
                headers.map { ($0.name.lowercased(), $0.value) }, uniquingKeysWith: { first, _ in first })
            (self.body, status, answerHeaders, self.answer) = (body, code, fields, answer)
        }

        private static func message(_ text: String) -> (String, [(name: String, value: String)], String)? {
            guard let end = text.range(of: "\n\n") else { return nil }
            let lines = text[..<end.lowerBound].split(separator: "\n").map(String.init)
            guard let first = lines.first else { return nil }
            let headers = lines.dropFirst().compactMap { line -> (name: String, value: String)? in
                guard let colon = line.range(of: ": ") else { return nil }
                return (String(line[..<colon.lowerBound]), String(line[colon.upperBound...]))
            }
            return (first, headers, text[end.upperBound...].trimmingCharacters(in: .whitespacesAndNewlines))
        }
    }

    /// Where recordings are; `nil` if they are not beside this checkout.
    static let folder: URL? = {
        let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
            .deletingLastPathComponent()
        let folder = root.deletingLastPathComponent().appendingPathComponent("shared/keys/wire")
        return FileManager.default.fileExists(atPath: folder.path) ? folder : nil
    }()

    /// What was recorded, without what Google's own client adds to each question.
    /// - Parameter name: What the file's name begins with, such as `vault-04`.
    static func exchange(_ name: String) throws -> Exchange {
        guard let folder = Self.folder,
            let file = try FileManager.default.contentsOfDirectory(atPath: folder.path).first(where: {
                $0.hasPrefix(name + "-")
            })
        else { throw CocoaError(.fileNoSuchFile) }
        let text = try String(contentsOf: folder.appendingPathComponent(file), encoding: .utf8)
        let optional = "%24alt=json%3Benum-encoding%3Dint"
        let exchange = Exchange(
            text.replacing("GAPIS-HOST", with: "googleapis.com").replacing("?\(optional)&", with: "?")
                .replacing("?\(optional) ", with: " "))
        guard let exchange else { throw CocoaError(.fileReadCorruptFile) }
        return exchange
    }

    private let exchanges: [Exchange]
    private let lock = NSLock()
    private var asked: [(request: HTTPRequest, recorded: Exchange)] = []

    /// The hosts that stand for others in the recordings.
    private static let hosts = ["VAULT-SUFFIX": "vault.azure.net", "ENTRA-HOST": "login.microsoftonline.com"]

    /// - Parameter names: What the files' names begin with, such as `vault-04`.
    init(_ names: String...) throws {
        guard let folder = Self.folder else { throw CocoaError(.fileNoSuchFile) }
        exchanges = try FileManager.default.contentsOfDirectory(atPath: folder.path).sorted()
            .filter { file in names.contains { file.hasPrefix($0 + "-") } }
            .compactMap { file in
                let text = try String(contentsOf: folder.appendingPathComponent(file), encoding: .utf8)
                return Exchange(Self.hosts.reduce(text) { $0.replacingOccurrences(of: $1.key, with: $1.value) })
            }
        guard exchanges.count == names.count else { throw CocoaError(.fileReadCorruptFile) }
    }

    /// What was asked, beside what was recorded.
    var requests: [(request: HTTPRequest, recorded: Exchange)] { lock.withLock { asked } }

    func send(_ request: HTTPRequest, into sink: (any BodySink)?) async throws(SigstoreError) -> HTTPResponse {
        let path = request.url.path + (request.url.query.map { "?\($0)" } ?? "")
        // AWS says in a field what is asked. What was recorded several times is answered in its order, and the last one goes on.
        let operation = request.header("X-Amz-Target")
        let recorded: Exchange? = lock.withLock {
            let fitting = exchanges.filter {
                $0.method == request.method && $0.path == path && $0.headers["x-amz-target"] == operation
            }
            let before = asked.count { $0.request.url == request.url && $0.request.header("X-Amz-Target") == operation }
            let recorded = fitting.dropFirst(before).first ?? fitting.last
            if let recorded { asked.append((request, recorded)) }
            return recorded
        }
        guard let recorded else {
            throw SigstoreError(.unreachable, "nothing was recorded for \(request.method) \(path)")
        }
        let response = HTTPResponse(
            status: recorded.status, headers: recorded.answerHeaders.map { ($0.name.lowercased(), $0.value) },
            body: Array(recorded.answer.utf8), url: request.url)
        guard (200...299).contains(recorded.status) || request.handledStatuses.contains(recorded.status) else {
            throw response.failure(request.method)
        }
        return response
    }
}

/// A client that answers as a test says; `nil` is no answer.
final class Answers: HTTPClient, @unchecked Sendable {
    private let lock = NSLock()
    private let answer: @Sendable (HTTPRequest) -> (Int, String)?
    private var asked: [HTTPRequest] = []
    var requests: [HTTPRequest] { lock.withLock { asked } }

    init(_ answer: @escaping @Sendable (HTTPRequest) -> (Int, String)?) { self.answer = answer }

    func send(_ request: HTTPRequest, into sink: (any BodySink)?) async throws(SigstoreError) -> HTTPResponse {
        lock.withLock { asked.append(request) }
        guard let (status, body) = answer(request) else {
            throw SigstoreError(.unreachable, "the connection broke off")
        }
        let response = HTTPResponse(status: status, headers: [], body: Array(body.utf8), url: request.url)
        guard (200...299).contains(status) || request.handledStatuses.contains(status) else {
            throw response.failure(request.method)
        }
        return response
    }
}

extension HTTPRequest {
    /// The body, if it is in memory.
    var text: String {
        switch body {
        case .bytes(let bytes): return String(decoding: bytes, as: UTF8.self)
        case .secret(let secret): return unsafe secret.withBytes { unsafe String(decoding: $0, as: UTF8.self) }
        case .none, .file: return ""
        }
    }

    /// The value of a header field.
    func header(_ name: String) -> String? {
        headers.first { $0.name.lowercased() == name.lowercased() }?.value
    }
}
