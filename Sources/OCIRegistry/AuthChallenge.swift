import StrictJSON

/// How a registry wants to be asked (RFC 7235; distribution's token specification).
enum AuthChallenge: Sendable, Equatable {
    case basic
    /// Where to get a token, for whom, and for what.
    case bearer(realm: String, service: String?, scopes: [String])

    /// The challenge to answer among the values of `WWW-Authenticate`: Bearer before Basic.
    /// - Returns: `nil` if there is none of the two.
    static func choose(_ headers: [String]) -> AuthChallenge? {
        var isBasic = false
        for header in headers.prefix(16) where header.utf8.count <= 8192 {
            for (scheme, parameters) in parse(header) {
                func parameter(_ name: String) -> String? { parameters.first { $0.name == name }?.value }
                if scheme == "bearer", let realm = parameter("realm") {
                    let scopes = (parameter("scope") ?? "").split(separator: " ").map(String.init)
                    return .bearer(realm: realm, service: parameter("service"), scopes: scopes)
                }
                if scheme == "basic" { isBasic = true }
            }
        }
        return isBasic ? .basic : nil
    }

    private typealias Parsed = (scheme: String, parameters: [(name: String, value: String)])

    /// RFC 7235, section 4.1: challenges and their parameters are both parted by commas. What comes after something
    /// malformed is dropped.
    private static func parse(_ header: String) -> [Parsed] {
        let bytes = Array(header.utf8)
        var at = 0
        var challenges: [Parsed] = []
        func skip(_ separators: [UInt8]) { while at < bytes.count, separators.contains(bytes[at]) { at += 1 } }
        func token() -> String {
            let start = at
            while at < bytes.count, (0x21...0x7e).contains(bytes[at]), !",=\"".utf8.contains(bytes[at]) { at += 1 }
            return String(decoding: bytes[start..<at], as: UTF8.self)
        }
        while true {
            skip([0x20, 0x09, 0x2c])
            let name = token()
            guard !name.isEmpty else { return challenges }
            skip([0x20, 0x09])
            guard at < bytes.count, bytes[at] == 0x3d else {
                challenges.append((name.lowercased(), []))
                continue
            }
            at += 1
            skip([0x20, 0x09])
            var value: [UInt8] = []
            if at < bytes.count, bytes[at] == 0x22 {
                at += 1
                while at < bytes.count, bytes[at] != 0x22 {
                    if bytes[at] == 0x5c, at + 1 < bytes.count { at += 1 }
                    value.append(bytes[at])
                    at += 1
                }
                guard at < bytes.count else { return challenges }
                at += 1
            } else {
                value = Array(token().utf8)
            }
            guard let last = challenges.indices.last, challenges[last].parameters.count < 32 else { return challenges }
            challenges[last].parameters.append((name.lowercased(), String(decoding: value, as: UTF8.self)))
        }
    }
}
