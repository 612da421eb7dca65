import HTTPTransport
import LocalSystem
import SigstoreCrypto
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

/// What shows who asks, until it ends.
protocol Expiring: Sendable {
    /// When it ends; `nil` if nobody knows.
    var expiration: Instant? { get }
}

extension Expiring {
    /// Whether it ends within the next minute.
    /// - Parameter now: Unix seconds.
    func isEnding(at now: Int64) -> Bool {
        expiration.map { $0.seconds <= now.addingReportingOverflow(60).partialValue } ?? false
    }
}

/// How a request for a credential went that did not succeed.
enum CredentialFailure: Sendable, Equatable {
    /// The service answered with this status.
    case status(Int)
    /// There was no connection, or it broke off.
    case unreachable
    /// There was no answer in time.
    case late

    /// Asks again soon after failures of the service and of the network.
    /// - Parameter attempts: How often at most.
    static func soon(attempts: Int) -> @Sendable (CredentialFailure, Int) -> Duration? {
        { failure, attempt in
            guard attempt < attempts else { return nil }
            switch failure {
            case .status(let status): return status >= 500 || status == 429 ? RetryPolicy().delay(after: attempt) : nil
            case .unreachable: return RetryPolicy().delay(after: attempt)
            case .late: return nil
            }
        }
    }
}

extension HTTPClient {
    /// Asks for a credential: within bounds, at this one place, and with no second attempt but those that are counted here.
    /// - Parameters:
    ///   - request: What to ask.
    ///   - limit: The most bytes that the answer may have.
    ///   - timeout: How long one attempt may take.
    ///   - attempts: How often at most, if the service fails or cannot be reached.
    ///   - pause: Lets time pass between two attempts.
    ///   - again: In place of `attempts`: the pause after a failure and that many attempts; `nil` to ask no more.
    /// - Returns: The answer, also one that is an error.
    func askForCredentials(
        _ request: HTTPRequest, limit: Int64 = 1 << 16, timeout: Duration = .seconds(20), attempts: Int = 1,
        pause: @Sendable (Duration) async throws(SigstoreError) -> Void = ServiceAttempts.pause,
        again: (@Sendable (CredentialFailure, Int) -> Duration?)? = nil
    ) async throws(SigstoreError) -> HTTPResponse {
        let again = again ?? CredentialFailure.soon(attempts: attempts)
        var request = request
        request.bodyLimit = limit
        request.timeout = timeout
        request.refusesRedirects = true
        request.handledStatuses = Set(400...599)
        // No second time by the transport: each attempt is counted here.
        request.isIdempotent = false
        var attempt = 1
        while true {
            let time: Duration
            do throws(SigstoreError) {
                request.latestStart = .now + timeout * 5
                let answer = try await send(request)
                guard answer.status != 200, let next = again(.status(answer.status), attempt) else { return answer }
                time = next
            } catch {
                guard error.code == .unreachable || error.code == .timedOut,
                    let next = again(error.code == .timedOut ? .late : .unreachable, attempt)
                else { throw error }
                time = next
            }
            try await pause(time)
            attempt += 1
        }
    }
}

extension HTTPRequest.Body {
    /// JSON that holds a key or a password, kept as a secret.
    static func json(secret value: JSONValue) -> Self {
        var bytes = value.serialized()
        defer { SecretBytes.cleanse(&bytes) }
        return .secret(OutgoingSecret(bytes))
    }
}

/// A value in a form.
enum FormValue: Sendable {
    case text(String)
    case secret(SecretBytes)
}

extension HTTPRequest {
    /// A request that sends a form (`application/x-www-form-urlencoded`), and keeps it as a secret.
    /// - Parameters:
    ///   - url: Where to.
    ///   - fields: Names and values, as they are.
    init(form fields: [(name: String, value: FormValue)], to url: HTTPURL) {
        self.init("POST", url, headers: [(name: "Content-Type", value: "application/x-www-form-urlencoded")])
        var bytes: [UInt8] = []
        defer { SecretBytes.cleanse(&bytes) }
        // A byte becomes three at the most. The array does not move then.
        let sizes = fields.map { name, value in
            switch value {
            case .text(let text): name.utf8.count + text.utf8.count
            case .secret(let secret): name.utf8.count + secret.count
            }
        }
        bytes.reserveCapacity(3 * sizes.reduce(0, +) + 2 * fields.count)
        for (name, value) in fields {
            if !bytes.isEmpty { bytes.append(0x26) }
            Self.append(name.utf8, to: &bytes)
            bytes.append(0x3d)
            switch value {
            case .text(let text): Self.append(text.utf8, to: &bytes)
            case .secret(let secret): unsafe secret.withBytes { unsafe Self.append($0, to: &bytes) }
            }
        }
        body = .secret(OutgoingSecret(bytes))
    }

    /// Appends bytes as a form has them: a space is a plus sign.
    private static func append(_ text: some Sequence<UInt8>, to bytes: inout [UInt8]) {
        for byte in text {
            switch byte {
            case 0x30...0x39, 0x41...0x5a, 0x61...0x7a, 0x2d, 0x2e, 0x5f, 0x7e: bytes.append(byte)
            case 0x20: bytes.append(0x2b)
            default:
                bytes.append(0x25)
                for digit in [byte >> 4, byte & 15] { bytes.append(digit < 10 ? 0x30 + digit : 0x37 + digit) }
            }
        }
    }
}

/// How many requests at once look up things of one kind, such as the versions of a key.
private let lookUpLimit = 5

/// Looks things up at the same time, but not too many at once.
/// - Returns: What was found, in the order of the inputs.
func sideBySide<Input: Sendable, Output: Sendable>(
    _ inputs: some Collection<Input>, _ look: @escaping @Sendable (Input) async -> Output
) async -> [Output] {
    await withTaskGroup(of: (Int, Output).self) { group in
        var waiting = inputs.enumerated().makeIterator()
        func next() {
            guard let (index, input) = waiting.next() else { return }
            group.addTask { (index, await look(input)) }
        }
        for _ in 0..<lookUpLimit { next() }
        var found: [(Int, Output)] = []
        while let one = await group.next() {
            found.append(one)
            next()
        }
        return found.sorted { $0.0 < $1.0 }.map(\.1)
    }
}

extension HTTPResponse {
    /// For how long the service wants no requests, if it says so.
    /// - Parameter now: Unix seconds.
    func retryAfter(now: Int64) -> Duration? { header("retry-after").flatMap { RetryPolicy.retryAfter($0, now: now) } }
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
    /// The error for an answer that cannot be.
    /// - Parameters:
    ///   - reference: The key that it is about, as the person wrote it.
    ///   - what: What is wrong with it.
    ///   - check: What a person should look at, as in "the name of the vault".
    ///   - cause: The error that says more.
    static func strangeAnswer(_ reference: String, _ what: String, check: String, _ cause: SigstoreError?)
        -> SigstoreError
    {
        SigstoreError(
            .keyServiceAnswer, "\(reference): \(what)",
            advice: .sentence("check \(check), and that nothing stands between that changes its answers"), cause: cause)
    }

    /// A service's words as one line of at most 512 bytes.
    static func shortened(_ words: String) -> String {
        String(decoding: words.utf8.prefix(512).map { $0 < 0x20 ? 0x20 : $0 }, as: UTF8.self)
    }
}
