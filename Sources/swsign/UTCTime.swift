import FoundationEssentials

/// Moments as people read them.
enum UTCTime {
    /// ISO 8601 in UTC, such as `2026-11-21T12:00:00Z`.
    /// - Parameter seconds: Since 1970.
    static func text(_ seconds: Int64) -> String {
        Date(timeIntervalSince1970: Double(seconds)).formatted(.iso8601)
    }
}
