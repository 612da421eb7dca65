internal import CCurl
import LocalSystem
public import StrictJSON
import Synchronization

/// How TLS connections are made.
public struct TLSOptions: Sendable {
    /// A PEM file with the only authorities to trust; `nil` for the system's, or those that `SSL_CERT_FILE` and
    /// `SSL_CERT_DIR` name.
    public var authorityFile: String?
    /// The only authorities to trust, in PEM and in memory, in place of a file.
    public var authority: TLSMaterial?
    /// Accept any certificate. An attacker on the line can then read and change everything.
    public var insecureSkipsVerification = false
    /// A PEM file with the client's certificate. It is shown to the origin of a request, not to where it redirects.
    public var clientCertificateFile: String?
    /// A PEM file with the key of that certificate.
    public var clientKeyFile: String?
    /// The client's certificate, with those above it, in PEM and in memory, in place of a file.
    public var clientCertificate: TLSMaterial?
    /// The key of that certificate, in PEM and in memory, in place of a file.
    public var clientKey: TLSMaterial?
    /// The name to ask for and to verify in place of the host's. It counts for the origin of a request, not for where
    /// it redirects.
    public var serverName: String?
    /// Whether libcurl gets certificates in memory as files that are in memory too, as one before 7.77 must.
    package var passesMemoryAsFiles = false

    /// The system's authorities, and verification.
    public init() {}
}

/// Certificates or a key as PEM blocks (RFC 7468).
public typealias TLSMaterial = OutgoingSecret

/// HTTP over libcurl: connections are shared and reused, requests run side by side, everything is bounded.
///
/// One client can serve all requests of a process. Its thread starts with the first request and ends when the client is
/// released.
public final class CurlClient: HTTPClient {
    /// How a client works.
    public struct Configuration: Sendable {
        /// How many requests run side by side.
        public var maxWorkers = 10
        /// When everything must be done; `nil` for no limit.
        public var deadline: ContinuousClock.Instant?
        /// Whether one attempt may take all the time until the deadline, also if its request's own limit is shorter.
        public var attemptsTakeAllTime = false
        /// When and how often requests are repeated.
        public var retryPolicy = RetryPolicy()
        /// How many redirects are followed for one request.
        public var maxRedirects = 10
        /// How TLS connections are made.
        public var tls = TLSOptions()
        /// The value of `User-Agent`.
        public var userAgent = "swsign"
        /// Takes one line for each answer: method, URL without what its query holds, status, time. Never a header.
        public var log: (@Sendable (String) -> Void)?
        /// Told of the bytes of bodies as they come and go, on the thread that carries all requests: it must not wait.
        public var transferred: (@Sendable (_ received: Int, _ sent: Int) -> Void)?

        /// Ten requests side by side, five attempts, ten redirects, no deadline, no log.
        public init() {}
    }

    /// How this client works.
    public let configuration: Configuration
    private let loop = Mutex<TransferLoop?>(nil)
    /// Until when servers have asked to be left alone (429 with `Retry-After`): that counts for all requests to them.
    private let quiet = Mutex<[HTTPURL.Origin: ContinuousClock.Instant]>([:])

    /// Begins to open libcurl on another thread, for programs that have something else to do before the first request, which
    /// would open it else: with its some thirty libraries that takes milliseconds. Such a program ends by `_exit`: `exit`
    /// would close libraries while others are being opened. What fails fails again with the first request.
    /// - Parameter first: What must be done before libcurl is opened, on that thread.
    public static func openAside(after first: @convention(c) () -> Void) { ccurl_open_aside(first) }

    /// The version of libcurl, and those of the libraries that it uses, as it tells them. It is opened for that.
    /// - Throws: `SigstoreError` with `http-unavailable` if there is no libcurl that can be used.
    public static func libraryVersion() throws(SigstoreError) -> String {
        try TransferLoop.openLibrary()
        return unsafe String(cString: ccurl_version())
    }

    /// Makes a client. libcurl is opened with the first request.
    /// - Parameter configuration: How it works.
    public init(_ configuration: Configuration = Configuration()) { self.configuration = configuration }

    deinit { loop.withLock { $0?.stop() } }

    private func openLoop() throws(SigstoreError) -> TransferLoop {
        try loop.withLock { loop throws(SigstoreError) in
            if let loop { return loop }
            let new = try TransferLoop(maxActive: configuration.maxWorkers)
            loop = new
            return new
        }
    }

    public func send(_ request: HTTPRequest, into sink: (any BodySink)?) async throws(SigstoreError) -> HTTPResponse {
        var plan = TransferPlan(
            method: request.method, url: request.url, headers: request.headers,
            secrets: request.secrets + (request.authorization.map { [$0] } ?? []),
            body: request.body, bodyLimit: request.bodyLimit, timeout: request.timeout,
            deadline: request.outlastsDeadline ? nil : configuration.deadline, latestStart: request.latestStart,
            goesFirst: request.goesFirst, isDirect: request.isDirect, proxy: request.proxy, tls: configuration.tls,
            transferred: configuration.transferred)
        if !plan.headers.contains(where: { $0.name.lowercased() == "user-agent" }) {
            plan.headers.append((name: "User-Agent", value: configuration.userAgent))
        }
        try Self.check(plan)
        if configuration.tls.serverName != nil { plan.headers.append((name: "Host", value: plan.url.origin.authority)) }
        for _ in 0...configuration.maxRedirects {
            let response = try await repeating(plan, isIdempotent: request.isIdempotent, into: sink)
            guard [301, 302, 303, 307, 308].contains(response.status), let location = response.header("location") else {
                guard (200...299).contains(response.status) || request.handledStatuses.contains(response.status) else {
                    throw response.failure(request.method)
                }
                return response
            }
            guard !request.refusesRedirects else {
                let place = try request.url.resolving(location).redacted
                throw SigstoreError(
                    .redirectRefused,
                    "\(request.url.origin.authority) redirects \(request.method) to \(place), and what proves who asks is sent nowhere else"
                )
            }
            try follow(location, after: response, &plan)
        }
        throw SigstoreError(
            .tooManyRedirects,
            "\(request.url.origin.authority) redirects \(request.method) \(request.url.redacted) more than "
                + "\(configuration.maxRedirects) times")
    }

    /// A header that could end early and begin another one is refused, wherever its value came from; and so is
    /// `Authorization` among the others, where no rule for secrets holds.
    private static func check(_ plan: TransferPlan) throws(SigstoreError) {
        let isToken = { (text: String) in
            !text.isEmpty && text.utf8.allSatisfy { (0x21...0x7e).contains($0) && $0 != 0x3a && $0 != 0x3b }
        }
        func malformed(_ name: String) -> SigstoreError {
            SigstoreError(
                .malformedRequest,
                "the header field \"\(name)\" cannot be sent: it is not visible ASCII on one line",
                advice: "look for line ends in the user name, password or token")
        }
        guard isToken(plan.method) else {
            throw SigstoreError(.malformedRequest, "the request's method is malformed")
        }
        for secret in plan.secrets where !secret.isWellFormed { throw malformed(secret.name) }
        for (name, value) in plan.headers {
            guard isToken(name), value.utf8.allSatisfy({ (0x20...0x7e).contains($0) || $0 == 0x09 }) else {
                throw malformed(name)
            }
            guard !name.lowercased().utf8.elementsEqual("authorization".utf8) else {
                throw SigstoreError(
                    .malformedRequest, "the header field \"\(name)\" cannot be sent among the others: it is a secret",
                    advice: "give it as the request's authorization")
            }
        }
    }

    /// Points a plan to where an answer redirects (RFC 9110, section 15.4), without what is meant for the first origin.
    private func follow(
        _ location: String, after response: HTTPResponse, _ plan: inout TransferPlan
    ) throws(SigstoreError) {
        let old = plan.url
        let new = try old.resolving(location)
        func refusal(_ why: String) -> SigstoreError {
            SigstoreError(
                .redirectRefused, "\(old.origin.authority) redirects \(plan.method) to \(new.redacted), \(why)")
        }
        guard old.origin.scheme == .http || new.origin.scheme == .https else {
            throw refusal("which would leave https")
        }
        let isRead = plan.method == "GET" || plan.method == "HEAD"
        guard isRead || response.status == 307 || response.status == 308 else {
            throw refusal("and says that something else should be sent there")
        }
        if new.origin != old.origin {
            guard isRead else { throw refusal("which is another origin") }
            plan.secrets = []
            plan.headers.removeAll { ["proxy-authorization", "cookie", "host"].contains($0.name.lowercased()) }
            plan.tls.clientCertificateFile = nil
            plan.tls.clientKeyFile = nil
            plan.tls.clientCertificate = nil
            plan.tls.clientKey = nil
            plan.tls.serverName = nil
        }
        plan.url = new
    }

    /// Sends to one place until it works, or will not.
    private func repeating(
        _ first: TransferPlan, isIdempotent: Bool, into sink: (any BodySink)?
    ) async throws(SigstoreError) -> HTTPResponse {
        let loop = try openLoop()
        let policy = configuration.retryPolicy
        var attempt = 1
        var wasSent = false
        // What one of several attempts has sent was sent.
        func ended(_ error: SigstoreError) -> SigstoreError {
            var error = error
            if wasSent, error.wasNotSent { error.cause = nil }
            if !wasSent { error.cause = error.cause ?? RequestNotSent() }
            return error
        }
        while true {
            var plan = first
            // What rests on what was read a moment ago goes now or never.
            if let pause = pause(before: first), plan.latestStart == nil {
                do { try await Task.sleep(for: pause) } catch {
                    throw ended(SigstoreError(.cancelled, "the request was cancelled"))
                }
            }
            let start = ContinuousClock.now
            if let deadline = first.deadline {
                guard start < deadline else { throw ended(.deadlineIsOver(plan.url)) }
                let left = deadline - start
                plan.timeout = configuration.attemptsTakeAllTime ? left : min(plan.timeout, left)
            }
            guard !Task.isCancelled else { throw ended(SigstoreError(.cancelled, "the request was cancelled")) }
            let outcome = await loop.run(plan, into: sink)
            log(plan, outcome, start.duration(to: .now), attempt)
            let isLast = attempt >= policy.maxAttempts || plan.latestStart != nil
            var delay = policy.delay(after: attempt)
            switch outcome {
            case .failure(let error, let isTransient):
                wasSent = wasSent || !error.wasNotSent
                guard isTransient, isIdempotent, !isLast, first.hasTime(for: delay) else { throw ended(error) }
            case .response(let response):
                wasSent = true
                // 429 says that nothing was done, so that what is not idempotent may be repeated, too.
                guard RetryPolicy.transientStatuses.contains(response.status),
                    isIdempotent || response.status == 429, !isLast
                else { return response }
                if let asked = response.header("retry-after").flatMap({
                    RetryPolicy.retryAfter($0, now: SystemClock.now())
                }) {
                    guard asked <= policy.maxRetryAfter else { return response }
                    delay = max(delay, asked)
                    if response.status == 429 {
                        quiet.withLock { $0[first.url.origin] = max($0[first.url.origin] ?? .now, .now + asked) }
                    }
                }
                guard first.hasTime(for: delay) else { return response }
            }
            do {
                try await Task.sleep(for: delay)
            } catch {
                throw ended(SigstoreError(.cancelled, "the request was cancelled"))
            }
            attempt += 1
        }
    }

    /// How long the server still wants to be left alone; `nil` if it does not, or there is no time for that.
    private func pause(before plan: TransferPlan) -> Duration? {
        let left = quiet.withLock { $0[plan.url.origin] }.map { ContinuousClock.now.duration(to: $0) }
        return left.flatMap { $0 > .zero && plan.hasTime(for: $0) ? $0 : nil }
    }

    private func log(_ plan: TransferPlan, _ outcome: TransferOutcome, _ time: Duration, _ attempt: Int) {
        guard let log = configuration.log else { return }
        let end =
            switch outcome {
            case .response(let response): "\(response.status)"
            case .failure(let error, _): error.code.rawValue
            }
        let which = attempt > 1 ? " (attempt \(attempt))" : ""
        log("\(plan.method) \(plan.url.redacted) \(end) in \(time.milliseconds) ms\(which)")
    }
}
