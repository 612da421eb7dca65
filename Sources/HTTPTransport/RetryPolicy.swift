internal import StrictJSON

/// When, how often and after how long a request is sent again.
public struct RetryPolicy: Sendable {
    /// How often a request is sent at most, the first time included.
    public var maxAttempts: Int
    /// The longest pause before the second attempt; it doubles with each further one. A pause is drawn at random
    /// between half and all of it, so that many clients do not come back at once.
    public var baseDelay: Duration
    /// The longest pause there is.
    public var maxDelay: Duration
    /// The longest that a server's `Retry-After` is obeyed; if it asks for more, the answer is an error at once.
    public var maxRetryAfter: Duration

    /// Makes a policy.
    /// - Parameters:
    ///   - maxAttempts: How often a request is sent at most, the first time included.
    ///   - baseDelay: The longest pause before the second attempt.
    ///   - maxDelay: The longest pause there is.
    ///   - maxRetryAfter: The longest that `Retry-After` is obeyed.
    public init(
        maxAttempts: Int = 5, baseDelay: Duration = .milliseconds(200), maxDelay: Duration = .seconds(5),
        maxRetryAfter: Duration = .seconds(60)
    ) {
        self.maxAttempts = maxAttempts
        self.baseDelay = baseDelay
        self.maxDelay = maxDelay
        self.maxRetryAfter = maxRetryAfter
    }

    /// The statuses that may pass by themselves (RFC 9110, section 15; RFC 6585).
    public static let transientStatuses: Set<Int> = [408, 429, 500, 502, 503, 504]

    /// The pause after an attempt.
    /// - Parameter attempt: The number of the attempt that failed, from 1.
    public func delay(after attempt: Int) -> Duration {
        var delay = baseDelay
        for _ in 1..<max(attempt, 1) where delay < maxDelay { delay = delay * 2 }
        return min(delay, maxDelay) * Double.random(in: 0.5...1)
    }

    /// The pause that a server asks for (RFC 9110, section 10.2.3).
    /// - Parameters:
    ///   - header: The value of `Retry-After`: seconds, or a date as in `Sun, 06 Nov 1994 08:49:37 GMT`.
    ///   - now: Unix seconds.
    /// - Returns: `nil` if the value is neither.
    package static func retryAfter(_ header: String, now: Int64) -> Duration? {
        let text = Array(header.utf8)
        if !text.isEmpty, text.count <= 9, text.allSatisfy({ (0x30...0x39).contains($0) }) {
            return Int64(header).map { .seconds($0) }
        }
        return Instant(httpDate: header).map { .seconds(max(0, $0.seconds - now)) }
    }
}

extension Instant {
    /// Reads a date as HTTP writes it (RFC 9110, section 5.6.7), as in `Sun, 06 Nov 1994 08:49:37 GMT`.
    /// - Returns: `nil` if the text is no such date, or one before 1970.
    init?(httpDate text: String) {
        let fields = text.utf8.split(separator: 0x20).map { String(decoding: $0, as: UTF8.self) }
        let months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
        guard fields.count == 6, fields[5] == "GMT", let day = Int64(fields[1]),
            let month = months.firstIndex(of: fields[2]), let year = Int64(fields[3]), (1970...9999).contains(year)
        else { return nil }
        let clock = fields[4].utf8.split(separator: 0x3a).compactMap { Int64(String(decoding: $0, as: UTF8.self)) }
        guard clock.count == 3, (0...60).contains(clock[2]) else { return nil }
        // A leap second is taken for the one before it.
        self.init(
            year: year, month: Int64(month) + 1, day: day, hour: clock[0], minute: clock[1], second: min(clock[2], 59))
    }
}
