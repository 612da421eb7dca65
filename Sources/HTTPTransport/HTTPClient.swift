public import LocalSystem
public import StrictJSON

/// Carries a request to a server and brings back what it answered.
public protocol HTTPClient: Sendable {
    /// Sends a request, follows redirects, and repeats what may be repeated.
    /// - Parameters:
    ///   - request: What to send, to whom, and within which bounds.
    ///   - sink: Where the body of a 2xx answer goes, piece by piece; `nil` to have it in ``HTTPResponse/body``.
    /// - Returns: The final answer, whose status is 2xx or one of ``HTTPRequest/handledStatuses``.
    /// - Throws: `SigstoreError`: `unreachable`, `timed-out`, `tls-failed`, `too-large`, `http-status`,
    ///   `too-many-redirects`, `redirect-refused`, `cancelled`, `malformed-url`, `malformed-request`,
    ///   `http-unavailable`, or what the sink threw. Any other status than those is an error: nothing is "not found"
    ///   because a server was busy.
    func send(_ request: HTTPRequest, into sink: (any BodySink)?) async throws(SigstoreError) -> HTTPResponse
}

extension HTTPClient {
    /// Sends a request and keeps the body of the answer in memory; see ``send(_:into:)``.
    public func send(_ request: HTTPRequest) async throws(SigstoreError) -> HTTPResponse {
        try await send(request, into: nil)
    }
}

/// Takes the body of an answer as it arrives. The transfer waits while a call is under way, so a slow sink slows the
/// sender and memory stays bounded. It is called by one thread at a time, never by Swift's cooperative pool.
public protocol BodySink: AnyObject, Sendable {
    /// A body begins. After a transfer broke off and is repeated, it begins again: what came before is to be forgotten.
    /// - Throws: To refuse the body.
    func begin() throws(SigstoreError)
    /// The next bytes, at most a few hundred kilobytes.
    /// - Parameter bytes: Valid during the call only.
    /// - Throws: To end the transfer; `send` throws the same error.
    func receive(_ bytes: UnsafeRawBufferPointer) throws(SigstoreError)
}

/// A request and the bounds within which it is to be answered.
public struct HTTPRequest: Sendable {
    /// A request's body. It can be sent again, for a redirect or a retry.
    public enum Body: Sendable {
        case none
        case bytes([UInt8])
        case secret(OutgoingSecret)
        /// `count` bytes of an open file from `offset` on.
        case file(OpenFile, offset: Int64, count: Int64)
    }

    /// The method, in upper case (RFC 9110, section 9).
    public var method: String
    /// Where to.
    public var url: HTTPURL
    /// Header fields in order. A value may hold any visible ASCII, spaces and tabs. ``authorization`` is not among them.
    public var headers: [(name: String, value: String)]
    /// What proves who asks, for the URL's origin alone: no redirect carries it to another one.
    public var authorization: Authorization?
    /// Further header fields that are secrets, for the URL's origin alone as well.
    public var secrets: [Authorization] = []
    /// The body.
    public var body: Body
    /// The most bytes that the body of the answer may have; more is the error `too-large`.
    public var bodyLimit: Int64
    /// How long one attempt may take from the first byte sent to the last one received.
    public var timeout: Duration
    /// Statuses other than 2xx that the caller looks at itself.
    public var handledStatuses: Set<Int>
    /// Whether sending it twice does no harm. GET, HEAD, PUT and DELETE are so by definition (RFC 9110, section 9.2.2).
    public var isIdempotent: Bool
    /// Until when it makes sense to send it: later it is not begun any more, and it is never sent a second time. For
    /// requests that rest on what was read a moment ago.
    public var latestStart: ContinuousClock.Instant?
    /// Whether it goes before others that wait for their turn.
    public var goesFirst = false
    /// Whether it is sent also after the client's deadline: it takes back what was done before, of which no half may be left.
    public var outlastsDeadline = false
    /// Whether a redirect is an error: a request that is signed, or whose answer is a secret, is for one place alone.
    public var refusesRedirects = false
    /// Whether no proxy is asked: for services of this machine or of the network that it is in.
    public var isDirect = false
    /// The proxy that it goes through, in place of the one that the environment names.
    public var proxy: Proxy?

    /// Makes a request.
    /// - Parameters:
    ///   - method: The method, in upper case.
    ///   - url: Where to.
    ///   - headers: Header fields in order.
    ///   - authorization: What proves who asks.
    ///   - body: The body.
    ///   - bodyLimit: The most bytes that the body of the answer may have; 4 MiB unless told.
    ///   - timeout: How long one attempt may take; 60 seconds unless told.
    ///   - handledStatuses: Statuses other than 2xx that the caller looks at itself.
    ///   - isIdempotent: Whether it may be repeated; by its method unless told.
    public init(
        _ method: String, _ url: HTTPURL, headers: [(name: String, value: String)] = [],
        authorization: Authorization? = nil, body: Body = .none, bodyLimit: Int64 = 4 << 20,
        timeout: Duration = .seconds(60), handledStatuses: Set<Int> = [], isIdempotent: Bool? = nil
    ) {
        self.method = method
        self.url = url
        self.headers = headers
        self.authorization = authorization
        self.body = body
        self.bodyLimit = bodyLimit
        self.timeout = timeout
        self.handledStatuses = handledStatuses
        self.isIdempotent = isIdempotent ?? ["GET", "HEAD", "PUT", "DELETE", "OPTIONS"].contains(method)
    }
}

/// What a server answered.
public struct HTTPResponse: Sendable {
    /// The status, 200 to 599 (RFC 9110, section 15).
    public var status: Int
    /// The header fields in order, their names in lower case.
    public var headers: [(name: String, value: String)]
    /// The body; empty if a sink took it. The body of an answer other than 2xx is cut off after 64 KiB.
    public var body: [UInt8]
    /// Where the answer came from, after redirects.
    public var url: HTTPURL

    /// Makes a response.
    public init(status: Int, headers: [(name: String, value: String)], body: [UInt8], url: HTTPURL) {
        self.status = status
        self.headers = headers
        self.body = body
        self.url = url
    }

    /// The value of the first header field of that name.
    /// - Parameter name: The name in lower case.
    public func header(_ name: String) -> String? {
        headers.first { $0.name.utf8.elementsEqual(name.utf8) }?.value
    }

    /// The values of all header fields of that name, in order.
    /// - Parameter name: The name in lower case.
    public func allHeaders(_ name: String) -> [String] {
        headers.filter { $0.name.utf8.elementsEqual(name.utf8) }.map(\.value)
    }

    /// When the server answered by its own clock, in whole seconds (RFC 9110, section 6.6.1). If the answer comes out of a
    /// cache on the way, the time that it lay there is added (RFC 9111, section 5.1).
    /// - Returns: `nil` if the server does not say it, or says no date.
    public var date: Instant? {
        guard let date = header("date").flatMap({ Instant(httpDate: $0) }) else { return nil }
        // An age of more than a year is none.
        guard let age = header("age").flatMap({ Int64($0) }), (1...31_536_000).contains(age) else { return date }
        return Instant(seconds: date.seconds + age)
    }

    /// The media type of the body in lower case, without its parameters; empty if none is given.
    public var mediaType: String {
        let value = (header("content-type") ?? "").prefix { $0 != ";" }
        return String(value.filter { $0 != " " && $0 != "\t" }).lowercased()
    }

    /// The server's own words about a failure, as one line of at most 256 bytes.
    public var words: String {
        String(decoding: body.prefix(256).map { $0 == 0x0a || $0 == 0x0d || $0 == 0x09 ? 0x20 : $0 }, as: UTF8.self)
    }

    /// The error that this answer is to a caller that did not expect it.
    /// - Parameter method: The method of the request.
    public func failure(_ method: String) -> SigstoreError {
        let said = words.isEmpty ? "" : ": \(words)"
        let advice: SigstoreError.Advice? =
            switch status {
            case 401: "log in, or give credentials for \(url.origin.authority)"
            case 403: "these credentials may not do this at \(url.origin.authority)"
            case 429: "\(url.origin.authority) asks for fewer requests; try again later"
            case 500...599: "the fault is on the side of \(url.origin.authority); try again later"
            default: nil
            }
        return SigstoreError(
            .httpStatus, "\(url.origin.authority) answered \(status) to \(method) \(url.redacted)\(said)",
            advice: advice, cause: HTTPStatusError(response: self))
    }
}

/// The cause beneath an error with the code `http-status`: the answer itself.
public struct HTTPStatusError: Error, Sendable {
    /// What the server answered.
    public let response: HTTPResponse
    /// Makes the cause of an error.
    public init(response: HTTPResponse) { self.response = response }
}

/// The cause beneath an error if no byte of the request's body reached the server, such as when there was no connection.
public struct RequestNotSent: Error, Sendable {}

extension SigstoreError {
    /// The status that a server answered with, if that is what went wrong.
    public var httpStatus: Int? { (cause as? HTTPStatusError)?.response.status }
    /// Whether nothing of a request's body was sent, so that the server cannot have done what was asked.
    public var wasNotSent: Bool { cause is RequestNotSent }
}

extension SigstoreError.Code {
    /// No connection to the server, or it broke off.
    public static let unreachable = Self("unreachable")
    /// The server, or all that was asked for together, took longer than allowed.
    public static let timedOut = Self("timed-out")
    /// A request was not sent any more, because what it rests on was read too long ago.
    public static let outOfDate = Self("out-of-date")
    /// No trustworthy TLS connection to the server.
    public static let tlsFailed = Self("tls-failed")
    /// What came is larger than what is accepted.
    public static let tooLarge = Self("too-large")
    /// A server answered with a status that is an error; `SigstoreError.httpStatus` has it.
    public static let httpStatus = Self("http-status")
    /// A server sends us from one place to the next without end.
    public static let tooManyRedirects = Self("too-many-redirects")
    /// A redirect to where we do not go: from https to http, or to another origin with a body.
    public static let redirectRefused = Self("redirect-refused")
    /// A method or a header field cannot be sent as it is.
    public static let malformedRequest = Self("malformed-request")
    /// libcurl is missing, or refuses what it is told.
    public static let httpUnavailable = Self("http-unavailable")
}

extension SigstoreError.Remedy {
    /// The time that was allowed is over.
    public static let allowMoreTime = Self("try-again-or-allow-more-time")
}
