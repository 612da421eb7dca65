public import HTTPTransport
internal import LocalSystem
public import StrictJSON

/// Brings files from a mirror.
public protocol TUFFetcher: Sendable {
    /// Fetches one file.
    /// - Parameters:
    ///   - url: The file's URL.
    ///   - limit: The most bytes to accept.
    /// - Returns: The file, or `nil` if the mirror says that there is none (404, or 403, as storage services answer).
    /// - Throws: `SigstoreError` if it could not be found out whether there is one, or if it is too large.
    func fetch(_ url: String, limit: Int) async throws(SigstoreError) -> [UInt8]?
}

/// Fetches over `https`, `http` and, for networks without a way out, `file`. What is fetched is verified by its
/// signatures and hashes, not by where it came from.
public struct TUFMirrorFetcher: TUFFetcher {
    private let client: any HTTPClient
    private let timeout: Duration

    /// Makes a fetcher.
    /// - Parameters:
    ///   - client: Who carries the requests.
    ///   - timeout: How long one attempt to fetch a file may take.
    public init(_ client: any HTTPClient, timeout: Duration = .seconds(30)) {
        self.client = client
        self.timeout = timeout
    }

    public func fetch(_ url: String, limit: Int) async throws(SigstoreError) -> [UInt8]? {
        if url.utf8.starts(with: "file://".utf8) {
            let path = String(decoding: url.utf8.dropFirst(7), as: UTF8.self)
            guard let decoded = Self.percentDecoded(path), decoded.utf8.first == 0x2f else {
                throw SigstoreError(.malformedURL, "\(url) does not name a file", advice: "write file:///absolute/path")
            }
            return try TUFCache.read(file: decoded, limit: limit)
        }
        let response = try await client.send(
            HTTPRequest(
                "GET", try HTTPURL(parsing: url), bodyLimit: Int64(limit), timeout: timeout,
                handledStatuses: [403, 404]))
        return response.status == 403 || response.status == 404 ? nil : response.body
    }

    private static func percentDecoded(_ text: String) -> String? {
        var out: [UInt8] = []
        var rest = text.utf8[...]
        while let byte = rest.popFirst() {
            guard byte == 0x25 else {
                out.append(byte)
                continue
            }
            guard let value = UInt8(String(decoding: rest.prefix(2), as: UTF8.self), radix: 16), rest.count >= 2 else {
                return nil
            }
            rest = rest.dropFirst(2)
            out.append(value)
        }
        return String(validating: out, as: UTF8.self)
    }
}
