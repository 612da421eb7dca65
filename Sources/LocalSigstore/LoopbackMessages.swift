import Foundation
import StrictJSON

/// A request as a local service sees it.
struct LoopbackRequest: Sendable {
    /// The method in capital letters.
    let method: String
    /// The path with percent escapes removed.
    let path: String
    /// The query's parameters in order, decoded.
    let query: [(name: String, value: String)]
    /// The whole body.
    let body: [UInt8]
    /// What this request is to suffer; the server itself sees to those that any service can do.
    let faults: [Fault.Action]
    /// The headers, by name in lower case.
    let headers: [String: String]

    /// A header's value, by its name in any case.
    func header(_ name: String) -> String? { headers[name.lowercased()] }
    /// The first parameter of that name.
    func parameter(_ name: String) -> String? { query.first { $0.name == name }?.value }
    /// The media type of the body, without parameters, in lower case.
    var contentType: String? {
        header("Content-Type").map { String($0.prefix { $0 != ";" }).trimmingCharacters(in: .whitespaces).lowercased() }
    }
    /// The parameters of a form (`application/x-www-form-urlencoded`) in the body.
    var form: [(name: String, value: String)] { Self.parameters(of: String(decoding: body, as: UTF8.self)) }

    /// Reads `a=b&c=d`, with `+` as a space.
    static func parameters(of text: String) -> [(name: String, value: String)] {
        text.split(separator: "&").map { part in
            let sides = part.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false).map {
                let spaced = $0.replacingOccurrences(of: "+", with: " ")
                return spaced.removingPercentEncoding ?? spaced
            }
            return (name: sides[0], value: sides.count > 1 ? sides[1] : "")
        }
    }
}

/// What a local service answers.
struct LoopbackResponse: Sendable {
    var status: Int
    var headers: [(name: String, value: String)] = []
    var body: [UInt8] = []

    init(_ status: Int, headers: [(name: String, value: String)] = [], contentType: String? = nil, body: [UInt8] = []) {
        self.status = status
        self.headers = headers
        self.body = body
        if let contentType { self.headers.insert((name: "Content-Type", value: contentType), at: 0) }
    }

    /// JSON as an answer.
    static func json(_ status: Int, _ value: JSONValue, headers: [(name: String, value: String)] = []) -> Self {
        Self(status, headers: headers, contentType: "application/json", body: value.serialized())
    }

    /// Text as an answer.
    static func text(_ status: Int, _ text: String, contentType: String = "text/plain; charset=utf-8") -> Self {
        Self(status, contentType: contentType, body: Array(text.utf8))
    }

    /// Sets a header in place of one of the same name.
    mutating func set(_ name: String, _ value: String) {
        headers.removeAll { $0.name.lowercased() == name.lowercased() }
        headers.append((name: name, value: value))
    }
}
