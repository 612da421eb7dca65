public import LocalSystem
public import StrictJSON

/// The proxy that a request goes through. It is chosen from the environment as Go's programs choose it
/// (golang.org/x/net/http/httpproxy); curl's `ALL_PROXY` counts besides.
public struct Proxy: Sendable, Equatable {
    /// The variable that names it, or another place.
    public let variable: String
    /// Its host and port. What else stands in the variable, such as a password, is not shown.
    public let authority: String
    /// The whole of it, for libcurl.
    let url: String

    /// What a message calls it.
    var name: String { "the proxy \(authority) (\(variable))" }
    /// What to do if it fails.
    private(set) var advice: String

    /// The proxy for a host.
    /// - Parameters:
    ///   - origin: Where the connection goes to.
    ///   - environment: The value of a variable; `nil` if it is not set or empty.
    /// - Returns: `nil` if there is none: nothing on this machine, and nothing that `NO_PROXY` lists, is asked for through
    ///   a proxy.
    /// - Throws: `SigstoreError` with `malformed-url` if a variable names no proxy.
    public static func of(
        _ origin: HTTPURL.Origin, environment: (String) -> String? = ProcessEnvironment.value
    ) throws(SigstoreError) -> Proxy? {
        let name = origin.scheme == .https ? "HTTPS_PROXY" : "HTTP_PROXY"
        var names = [name, name.lowercased(), "ALL_PROXY", "all_proxy"]
        // In a CGI this is a header field that the caller sets.
        if environment("REQUEST_METHOD") != nil { names.removeAll { $0 == "HTTP_PROXY" } }
        guard !origin.isLoopback, let variable = names.first(where: { environment($0) != nil }),
            let value = environment(variable)?.trimmed, !value.isEmpty
        else { return nil }
        if let list = environment("NO_PROXY") ?? environment("no_proxy"), isListed(origin, list) { return nil }
        var proxy = try Proxy(value, variable)
        proxy.advice += "; NO_PROXY lists the hosts that are reached without a proxy"
        return proxy
    }

    /// Reads what names a proxy.
    /// - Parameters:
    ///   - value: Such as `http://HOST:PORT`, also with `https` or `socks5`, and with a user name and a password before the host.
    ///   - variable: What it stands in, for messages.
    /// - Throws: `SigstoreError` with `malformed-url`. What stands in it is not shown: it may hold a password.
    public init(_ value: String, _ variable: String) throws(SigstoreError) {
        let malformed = SigstoreError(
            .malformedURL, "\(variable) names no proxy that can be used: expected http://HOST:PORT, or https or socks5",
            advice: "correct \(variable), or unset it")
        let ports = ["http": 80, "https": 443, "socks4": 1080, "socks4a": 1080, "socks5": 1080, "socks5h": 1080]
        let parts = value.utf8.split(separator: 0x2f, maxSplits: 3, omittingEmptySubsequences: false)
        let isURL = parts.count >= 3 && parts[0].last == 0x3a && parts[1].isEmpty
        var scheme = isURL ? String(decoding: parts[0].dropLast(), as: UTF8.self).lowercased() : "http"
        guard let port = ports[scheme], isURL || parts.count == 1 || parts.count == 2 && parts[1].isEmpty,
            value.utf8.allSatisfy({ (0x21...0x7e).contains($0) })
        else { throw malformed }
        // As Go does, the proxy is asked for the name.
        if scheme == "socks5" { scheme = "socks5h" }
        let authority = Array(isURL ? parts[2] : parts[0])
        let at = authority.lastIndex(of: 0x40)
        let user = at.map { authority[...$0] } ?? []
        let host = authority[(at.map { $0 + 1 } ?? 0)...]
        let hasPort = host.lastIndex(of: 0x3a).map { $0 > host.lastIndex(of: 0x5d) ?? -1 } ?? false
        let named = String(decoding: host, as: UTF8.self) + (hasPort ? "" : ":\(port)")
        guard let origin = try? HTTPURL.origin(named, .http) else { throw malformed }
        self.variable = variable
        advice = "check \(variable)"
        self.authority = "\(origin.host):\(origin.port)"
        url = "\(scheme)://\(String(decoding: user, as: UTF8.self))\(self.authority)"
    }

    /// Whether a list of hosts has this one: names with what is below them, `.name` and `*.name` for what is below them
    /// alone, addresses and networks, each but the last with a port if only that is meant; `*` is every host.
    private static func isListed(_ origin: HTTPURL.Origin, _ list: String) -> Bool {
        let host = origin.host.utf8.first == 0x5b ? String(origin.host.dropFirst().dropLast()) : origin.host
        let address = IPAddress(host)
        for entry in list.split(separator: ",") {
            let entry = String(entry).trimmed.lowercased()
            if entry == "*" { return true }
            if let address, let isInside = address.isIn(network: entry) {
                if isInside { return true }
                continue
            }
            var name = Array(entry.utf8)
            // More than one colon is an address, unless it stands in brackets.
            if let colon = name.lastIndex(of: 0x3a), name.firstIndex(of: 0x3a) == colon || name[..<colon].last == 0x5d {
                let port = String(decoding: name[(colon + 1)...], as: UTF8.self)
                guard port.isEmpty || port.utf8.elementsEqual("\(origin.port)".utf8) else { continue }
                name.removeSubrange(colon...)
            }
            if name.first == 0x5b, name.last == 0x5d { name = Array(name.dropFirst().dropLast()) }
            if let listed = IPAddress(String(decoding: name, as: UTF8.self)) {
                if listed == address { return true }
                continue
            }
            // An address is below no name.
            guard address == nil, !name.isEmpty else { continue }
            if name.starts(with: "*.".utf8) { name.removeFirst() }
            if name.first != 0x2e {
                if host.utf8.elementsEqual(name) { return true }
                name.insert(0x2e, at: 0)
            }
            if name.count > 1, host.utf8.count > name.count, host.utf8.suffix(name.count).elementsEqual(name) {
                return true
            }
        }
        return false
    }
}

extension String {
    fileprivate var trimmed: String {
        let isSpace = { (byte: UInt8) in byte == 0x20 || (0x09...0x0d).contains(byte) }
        let text = utf8.drop(while: isSpace)
        return String(decoding: text.prefix(text.count - text.reversed().prefix(while: isSpace).count), as: UTF8.self)
    }
}
