import HTTPTransport
import LocalSystem
import StrictJSON
import Synchronization

/// A request to a key service that failed.
struct FailedRequest: Error {
    /// Whether asking again can help.
    enum Kind: Sendable, Equatable {
        /// It will fail again.
        case lasting
        /// It may pass by itself.
        case passing
        /// The service wants fewer requests; perhaps it says how long to wait.
        case throttled(after: Duration?)
    }

    let error: SigstoreError
    let kind: Kind

    init(_ error: SigstoreError, _ kind: Kind = .lasting) { (self.error, self.kind) = (error, kind) }
}

/// Asks a key service again if that can help. If the service wants fewer requests, all of them wait.
final class ServiceAttempts: Sendable {
    /// Until when no request is sent, because one was answered that there are too many.
    private let pausedUntil = Mutex<ContinuousClock.Instant?>(nil)
    private static let policy = RetryPolicy(baseDelay: .milliseconds(200), maxDelay: .seconds(20))

    /// Asks until there is an answer.
    /// - Parameters:
    ///   - passing: How often at most, if it fails in a way that may pass.
    ///   - throttled: How often at most, if there are too many requests.
    ///   - attempt: Asks once.
    /// - Throws: The error of the last attempt.
    func run<Answer: Sendable>(
        passing: Int, throttled: Int, _ attempt: @Sendable () async throws(FailedRequest) -> Answer
    ) async throws(SigstoreError) -> Answer {
        var (failures, refusals) = (1, 1)
        while true {
            while let end = pausedUntil.withLock({ $0 }), ContinuousClock.now < end {
                try await ServiceAttempts.pause(end - .now)
            }
            do throws(FailedRequest) { return try await attempt() } catch {
                switch error.kind {
                case .lasting: throw error.error
                case .passing:
                    guard failures < passing else { throw error.error }
                    try await ServiceAttempts.pause(Self.policy.delay(after: failures))
                    failures += 1
                case .throttled(let asked):
                    let delay = max(Self.policy.delay(after: refusals), asked ?? .zero)
                    guard refusals < throttled, delay <= Self.policy.maxRetryAfter else { throw error.error }
                    let end = ContinuousClock.now + delay
                    pausedUntil.withLock { $0 = max($0 ?? end, end) }
                    refusals += 1
                }
            }
        }
    }

    /// Lets time pass.
    static func pause(_ time: Duration) async throws(SigstoreError) {
        do { try await Task.sleep(for: time) } catch { throw SigstoreError(.cancelled, "the request was cancelled") }
    }
}

extension HTTPClient {
    /// Asks for a credential: within bounds, at this one place, and with no second attempt but those that are counted here.
    /// - Parameters:
    ///   - request: What to ask.
    ///   - limit: The most bytes that the answer may have.
    ///   - attempts: How often at most, if the service fails or cannot be reached.
    /// - Returns: The answer, also one that is an error.
    func askForCredentials(_ request: HTTPRequest, limit: Int64 = 1 << 16, attempts: Int = 1)
        async throws(SigstoreError)
        -> HTTPResponse
    {
        var request = request
        request.bodyLimit = limit
        request.timeout = .seconds(20)
        request.refusesRedirects = true
        request.handledStatuses = Set(400...599)
        // No second time by the transport: each attempt is counted here.
        request.isIdempotent = false
        var attempt = 1
        while true {
            do throws(SigstoreError) {
                request.latestStart = .now + .seconds(60)
                let answer = try await send(request)
                guard answer.status >= 500 || answer.status == 429, attempt < attempts else { return answer }
            } catch {
                guard error.code == .unreachable, attempt < attempts else { throw error }
            }
            try await ServiceAttempts.pause(RetryPolicy().delay(after: attempt))
            attempt += 1
        }
    }
}

extension HTTPURL {
    /// Refuses plain HTTP but at this machine, and at addresses that are on its link alone.
    /// - Parameters:
    ///   - name: What names the URL, for the message.
    ///   - hosts: The other hosts that may be asked, each written as in a URL.
    /// - Throws: `SigstoreError` with `key-service-settings`.
    func expectNear(_ name: String, also hosts: [String] = []) throws(SigstoreError) {
        guard origin.scheme == .http, !origin.isLoopback,
            !hosts.contains(where: { $0.utf8.elementsEqual(origin.host.utf8) })
        else { return }
        throw SigstoreError(
            .keyServiceSettings,
            "\(name) names \(redacted): credentials are not asked for over http at other hosts than \((["this one"] + hosts).joined(separator: ", "))",
            advice: .sentence("use https, or unset \(name)"))
    }

    /// The error for an answer that is not what it should be. What it holds is not shown: it may be a secret.
    func strangeAnswer(_ error: SigstoreError) -> SigstoreError {
        SigstoreError(
            .keyServiceAnswer, "what \(redacted) answers is not what it should be: \(error.message)",
            advice: "check that this is the service that is meant", cause: error)
    }
}

extension SigstoreError {
    /// A service's words as one line of at most 512 bytes.
    static func shortened(_ words: String) -> String {
        String(decoding: words.utf8.prefix(512).map { $0 < 0x20 ? 0x20 : $0 }, as: UTF8.self)
    }
}
