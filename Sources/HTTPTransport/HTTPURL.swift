public import StrictJSON

/// An absolute `http` or `https` URL, taken apart once and strictly (RFC 3986).
///
/// No other scheme, no user information, no fragment, and nothing but visible ASCII can stand in one, so that no part
/// of it can be read differently by the client that sends the request.
public struct HTTPURL: Sendable, Hashable, CustomStringConvertible {
    /// The two schemes there are.
    public enum Scheme: String, Sendable, Hashable {
        case http, https
        /// The port that is meant if none is given.
        public var defaultPort: UInt16 { self == .http ? 80 : 443 }
    }

    /// Who is spoken to: credentials for one origin are never sent to another (RFC 6454).
    public struct Origin: Sendable, Hashable, CustomStringConvertible {
        /// The scheme.
        public var scheme: Scheme
        /// A name in lower case, an IPv4 address, or an IPv6 address in brackets.
        public var host: String
        /// The port.
        public var port: UInt16

        /// Makes an origin from parts that were checked before.
        fileprivate init(scheme: Scheme, host: String, port: UInt16) {
            self.scheme = scheme
            self.host = host
            self.port = port
        }

        /// The host, with its port if that is not the scheme's own.
        public var authority: String { port == scheme.defaultPort ? host : "\(host):\(port)" }
        public var description: String { "\(scheme.rawValue)://\(authority)" }

        /// The same host and port under the other scheme; a default port becomes the other default.
        public func with(scheme other: Scheme) -> Origin {
            Origin(scheme: other, host: host, port: port == scheme.defaultPort ? other.defaultPort : port)
        }

        /// Whether the host is this machine: `localhost`, 127.0.0.0/8 or ::1.
        public var isLoopback: Bool {
            if host.utf8.elementsEqual("localhost".utf8) || host.utf8.elementsEqual("[::1]".utf8) { return true }
            let parts = host.utf8.split(separator: 0x2e, omittingEmptySubsequences: false)
            return parts.count == 4 && parts[0].elementsEqual("127".utf8)
                && parts.allSatisfy { UInt8(String(decoding: $0, as: UTF8.self)) != nil }
        }
    }

    /// Scheme, host and port.
    public let origin: Origin
    /// The path, which begins with `/`, as it is sent.
    public let path: String
    /// What follows the `?`, as it is sent; `nil` if there is none.
    public let query: String?

    /// The whole URL. It may hold a secret in its query: logs and messages use ``redacted``.
    public var description: String { "\(origin)\(path)\(query.map { "?\($0)" } ?? "")" }
    /// The URL without what its query holds.
    public var redacted: String { "\(origin)\(path)\(query == nil ? "" : "?…")" }

    private init(origin: Origin, path: String, query: String?) {
        self.origin = origin
        self.path = path
        self.query = query
    }

    /// Makes a URL from an origin, a path and a query.
    /// - Parameters:
    ///   - origin: Scheme, host and port.
    ///   - path: Begins with `/` and is percent-encoded already.
    ///   - query: Percent-encoded already, without `?`.
    /// - Throws: `SigstoreError` with `malformed-url`.
    public init(_ origin: Origin, path: String, query: String? = nil) throws(SigstoreError) {
        guard path.utf8.first == 0x2f, Self.isVisible(path), !path.utf8.contains(where: { $0 == 0x3f || $0 == 0x23 }),
            query.map({ Self.isVisible($0) && !$0.utf8.contains(0x23) }) ?? true
        else { throw Self.malformed("\(origin)\(path)", "its path or query is malformed") }
        self.init(origin: origin, path: path, query: query)
    }

    /// Reads an absolute URL.
    /// - Parameter text: A URL with the scheme `http` or `https`. A fragment is dropped.
    /// - Throws: `SigstoreError` with `malformed-url`, also for another scheme and if a user or password stands before
    ///   the host.
    public init(parsing text: String) throws(SigstoreError) {
        guard text.utf8.count <= 16384 else { throw Self.malformed(String(text.prefix(64)), "it is too long") }
        guard let colon = text.utf8.firstIndex(of: 0x3a),
            let scheme = Scheme(rawValue: text[..<colon].lowercased()),
            text.utf8[colon...].starts(with: "://".utf8)
        else { throw Self.malformed(Self.withoutUser(text), "it does not begin with https:// or http://") }
        let rest = text.utf8[colon...].dropFirst(3)
        let end = rest.firstIndex { $0 == 0x2f || $0 == 0x3f || $0 == 0x23 } ?? rest.endIndex
        let origin = try Self.origin(String(decoding: rest[..<end], as: UTF8.self), scheme)
        let parts = Self.parts(Array(rest[end...]))
        try self.init(origin, path: parts.path.isEmpty ? "/" : parts.path, query: parts.query)
    }

    /// Reads what stands between `//` and the path.
    /// - Parameters:
    ///   - authority: A host, perhaps with `:` and a port.
    ///   - scheme: The scheme, which also says which port is meant if there is none.
    /// - Throws: `SigstoreError` with `malformed-url`.
    public static func origin(_ authority: String, _ scheme: Scheme) throws(SigstoreError) -> Origin {
        let bytes = Array(authority.utf8)
        guard !bytes.contains(0x40) else {
            throw malformed("\(scheme.rawValue)://…@…", "a user or password stands in it")
        }
        var host = bytes[...]
        var port = scheme.defaultPort
        let bracket = bytes.lastIndex(of: 0x5d)
        if let colon = bytes.lastIndex(of: 0x3a), colon > (bracket ?? -1) {
            let digits = bytes[(colon + 1)...]
            guard !digits.isEmpty, digits.count <= 5, digits.allSatisfy({ (0x30...0x39).contains($0) }),
                let number = UInt16(String(decoding: digits, as: UTF8.self)), number > 0
            else {
                // What stands there may be a password that lost its @.
                let shown =
                    digits.contains { !(0x30...0x39).contains($0) } ? "…" : String(decoding: digits, as: UTF8.self)
                throw malformed(
                    "\(String(decoding: bytes[..<colon], as: UTF8.self)):\(shown)",
                    "its port is not a number from 1 to 65535")
            }
            port = number
            host = bytes[..<colon]
        }
        let name = host.map { (0x41...0x5a).contains($0) ? $0 + 32 : $0 }
        let valid: Bool
        if name.first == 0x5b {
            valid =
                name.last == 0x5d && (4...47).contains(name.count)
                && name.dropFirst().dropLast().allSatisfy {
                    (0x30...0x39).contains($0) || (0x61...0x66).contains($0) || $0 == 0x3a || $0 == 0x2e
                }
        } else {
            valid =
                (1...253).contains(name.count) && name.first != 0x2d && name.first != 0x2e
                && name.allSatisfy {
                    (0x30...0x39).contains($0) || (0x61...0x7a).contains($0) || $0 == 0x2d || $0 == 0x2e || $0 == 0x5f
                }
        }
        guard valid else { throw malformed(authority, "its host is not a name or an address") }
        return Origin(scheme: scheme, host: String(decoding: name, as: UTF8.self), port: port)
    }

    /// What is meant as a URL or something like it, as it may be shown: without the user and password that stand before the
    /// host, also if it is malformed.
    /// - Parameter text: Any text. Without an `@` behind the first colon it stays as it is.
    public static func withoutUser(_ text: String) -> String {
        let bytes = Array(text.utf8)
        func isSlash(_ byte: UInt8) -> Bool { byte == 0x2f || byte == 0x5c }
        guard let colon = bytes.firstIndex(of: 0x3a),
            let start = bytes[(colon + 1)...].firstIndex(where: { !isSlash($0) })
        else { return text }
        let rest = bytes[start...]
        let authority = rest.prefix { !isSlash($0) && $0 != 0x3f && $0 != 0x23 }
        var (secret, end) = (start, authority.lastIndex(of: 0x40))
        // A password with a slash in it. Digits behind the colon may be a port too, and then what stands before it is the host.
        if end == nil, let inner = authority.firstIndex(of: 0x3a), authority.first != 0x5b {
            end = rest.lastIndex(of: 0x40)
            if authority[(inner + 1)...].allSatisfy({ (0x30...0x39).contains($0) }) { secret = inner + 1 }
        }
        guard let end else { return text }
        return String(decoding: bytes[..<secret] + "***".utf8 + bytes[end...], as: UTF8.self)
    }

    /// The URL that a reference means when it stands in an answer to this one (RFC 3986, section 5.2).
    /// - Parameter reference: An absolute URL or a relative reference, from `Location` or `Link`.
    /// - Throws: `SigstoreError` with `malformed-url`.
    public func resolving(_ reference: String) throws(SigstoreError) -> HTTPURL {
        let bytes = Array(reference.utf8)
        if bytes.starts(with: "//".utf8) { return try HTTPURL(parsing: "\(origin.scheme.rawValue):\(reference)") }
        // A scheme is a letter and then letters, digits, +, - and . up to the first colon.
        if let first = bytes.first, (0x41...0x5a).contains(first) || (0x61...0x7a).contains(first),
            let end = bytes.firstIndex(where: { $0 == 0x3a || $0 == 0x2f || $0 == 0x3f || $0 == 0x23 }),
            bytes[end] == 0x3a
        {
            return try HTTPURL(parsing: reference)
        }
        let parts = Self.parts(bytes)
        if parts.path.isEmpty { return try HTTPURL(origin, path: path, query: parts.query ?? query) }
        let merged =
            parts.path.utf8.first == 0x2f
            ? parts.path : String(path[...(path.utf8.lastIndex(of: 0x2f) ?? path.startIndex)]) + parts.path
        return try HTTPURL(origin, path: Self.removingDots(merged), query: parts.query)
    }

    /// The same URL with one more parameter in its query.
    /// - Parameters:
    ///   - name: The parameter's name.
    ///   - value: Its value; both are percent-encoded here.
    public func adding(_ name: String, _ value: String) -> HTTPURL {
        let parameter = "\(Self.percentEncoded(name))=\(Self.percentEncoded(value))"
        return HTTPURL(
            origin: origin, path: path,
            query: query.map { $0.isEmpty ? parameter : "\($0)&\(parameter)" } ?? parameter)
    }

    /// Encodes all bytes but RFC 3986's unreserved characters as `%XX`, for a path segment, a query or a form.
    /// - Parameter text: Any text, which is encoded as UTF-8.
    public static func percentEncoded(_ text: String) -> String {
        let digits = Array("0123456789ABCDEF".utf8)
        var out: [UInt8] = []
        for byte in text.utf8 {
            switch byte {
            case 0x30...0x39, 0x41...0x5a, 0x61...0x7a, 0x2d, 0x2e, 0x5f, 0x7e: out.append(byte)
            default: out += [0x25, digits[Int(byte >> 4)], digits[Int(byte & 15)]]
            }
        }
        return String(decoding: out, as: UTF8.self)
    }

    /// Path and query of the part behind the authority; a fragment is dropped.
    private static func parts(_ bytes: [UInt8]) -> (path: String, query: String?) {
        let whole = bytes.prefix { $0 != 0x23 }
        guard let mark = whole.firstIndex(of: 0x3f) else { return (String(decoding: whole, as: UTF8.self), nil) }
        return (
            String(decoding: whole[..<mark], as: UTF8.self), String(decoding: whole[(mark + 1)...], as: UTF8.self)
        )
    }

    /// RFC 3986, section 5.2.4.
    private static func removingDots(_ path: String) -> String {
        var kept: [Substring.UTF8View] = []
        let segments = path.utf8.split(separator: 0x2f, omittingEmptySubsequences: false).map { $0 }
        for (index, segment) in segments.dropFirst().enumerated() {
            let isLast = index == segments.count - 2
            if segment.elementsEqual("..".utf8) {
                _ = kept.popLast()
                if isLast { kept.append(""[...].utf8) }
            } else if segment.elementsEqual(".".utf8) {
                if isLast { kept.append(""[...].utf8) }
            } else {
                kept.append(segment)
            }
        }
        return "/" + kept.map { String(Substring($0)) }.joined(separator: "/")
    }

    private static func isVisible(_ text: String) -> Bool { text.utf8.allSatisfy { (0x21...0x7e).contains($0) } }

    private static func malformed(_ text: String, _ what: String) -> SigstoreError {
        // Whatever stands behind a ? may be a secret, and the text may be as long as a server likes.
        let shown = String(decoding: text.utf8.prefix { $0 != 0x3f }.prefix(256), as: UTF8.self)
        return SigstoreError(.malformedURL, "\"\(shown)\" is not a URL to be used here: \(what)")
    }
}

extension SigstoreError.Code {
    /// A URL is malformed, has another scheme than http and https, or holds a user name.
    public static let malformedURL = Self("malformed-url")
}
