/// A moment, in milliseconds since 1970 in UTC, and the one civil calendar: dates of the Gregorian calendar in UTC, without
/// leap seconds. JSON, X.509, timestamps and HTTP write moments as dates, each in a form of its own.
public struct Instant: Sendable, Hashable, Comparable, CustomStringConvertible {
    /// Milliseconds since 1970 in UTC.
    public let milliseconds: Int64

    /// Makes a moment from milliseconds since 1970 in UTC.
    public init(milliseconds: Int64) { self.milliseconds = milliseconds }

    /// Makes a moment from seconds since 1970 in UTC.
    public init(seconds: Int64) {
        let (product, overflow) = seconds.multipliedReportingOverflow(by: 1000)
        milliseconds = overflow ? (seconds < 0 ? .min : .max) : product
    }

    /// Makes a moment from a date in UTC.
    /// - Returns: `nil` if there is no such date in the years 1 to 9999, or no such time of day.
    public init?(year: Int64, month: Int64, day: Int64, hour: Int64, minute: Int64, second: Int64) {
        guard (1...9999).contains(year), (1...12).contains(month), (1...31).contains(day), (0..<24).contains(hour),
            (0..<60).contains(minute), (0..<60).contains(second)
        else { return nil }
        let days = Self.days(year, month, day)
        // A day that its month does not have would come back as another date.
        guard Self.date(days) == (year, month, day) else { return nil }
        self.init(seconds: days * 86_400 + hour * 3600 + minute * 60 + second)
    }

    /// Whole seconds since 1970 in UTC; milliseconds are cut off towards the past.
    public var seconds: Int64 {
        let (whole, rest) = milliseconds.quotientAndRemainder(dividingBy: 1000)
        return rest < 0 ? whole - 1 : whole
    }

    /// Whether one moment lies before another.
    public static func < (left: Instant, right: Instant) -> Bool { left.milliseconds < right.milliseconds }

    /// Reads a time as protobuf's JSON writes it (RFC 3339): `2022-12-31T23:59:59.999Z`, or with an offset.
    /// - Parameter text: The time; anything finer than a millisecond is cut off.
    /// - Returns: `nil` if the text is not such a time.
    public init?(rfc3339 text: String) {
        let bytes = Array(text.utf8)
        func number(_ from: Int, _ count: Int) -> Int64? {
            guard from + count <= bytes.count else { return nil }
            var value: Int64 = 0
            for byte in bytes[from..<from + count] {
                guard (0x30...0x39).contains(byte) else { return nil }
                value = value * 10 + Int64(byte - 0x30)
            }
            return value
        }
        func stands(_ letter: Character, _ at: Int) -> Bool { at < bytes.count && bytes[at] == letter.asciiValue }
        guard bytes.count <= 40, let year = number(0, 4), stands("-", 4), let month = number(5, 2), stands("-", 7),
            let day = number(8, 2), stands("T", 10) || stands("t", 10), let hour = number(11, 2), stands(":", 13),
            let minute = number(14, 2), stands(":", 16), let second = number(17, 2),
            let whole = Instant(year: year, month: month, day: day, hour: hour, minute: minute, second: second)
        else { return nil }
        var at = 19
        var fraction: Int64 = 0
        if stands(".", at) {
            at += 1
            var scale: Int64 = 100
            let start = at
            while let digit = number(at, 1) {
                fraction += digit * scale
                scale /= 10
                at += 1
            }
            guard at > start else { return nil }
        }
        var offset: Int64 = 0
        if stands("Z", at) || stands("z", at) {
            at += 1
        } else {
            guard stands("+", at) || stands("-", at), let hours = number(at + 1, 2), stands(":", at + 3),
                let minutes = number(at + 4, 2), hours < 24, minutes < 60
            else { return nil }
            offset = (hours * 60 + minutes) * (stands("-", at) ? -60 : 60)
            at += 6
        }
        guard at == bytes.count else { return nil }
        milliseconds = whole.milliseconds - offset * 1000 + fraction
    }

    /// The time as `2026-01-31T12:00:00Z` (ISO 8601, UTC), with milliseconds if there are any; outside the years 1 to 9999
    /// the bare number of seconds or milliseconds.
    public var description: String {
        guard (-62_135_596_800_000...253_402_300_799_999).contains(milliseconds) else {
            return milliseconds % 1000 == 0 ? "\(seconds) seconds after 1970" : "\(milliseconds) ms after 1970"
        }
        let inSecond = (milliseconds % 1000 + 1000) % 1000
        let inDay = (seconds % 86_400 + 86_400) % 86_400
        let (year, month, day) = Self.date((seconds - inDay) / 86_400)
        func padded(_ number: Int64, _ width: Int) -> String {
            let digits = String(number)
            return String(repeating: "0", count: max(0, width - digits.count)) + digits
        }
        return "\(padded(year, 4))-\(padded(month, 2))-\(padded(day, 2))T"
            + "\(padded(inDay / 3600, 2)):\(padded(inDay / 60 % 60, 2)):\(padded(inDay % 60, 2))"
            + (inSecond == 0 ? "Z" : ".\(padded(inSecond, 3))Z")
    }

    /// Days from 1970-01-01. Years begin in March here, so that the leap day is a year's last.
    private static func days(_ year: Int64, _ month: Int64, _ day: Int64) -> Int64 {
        let year = month > 2 ? year : year - 1
        let dayOfYear = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1
        return year * 365 + year / 4 - year / 100 + year / 400 + dayOfYear - 719_468
    }

    /// The date of a day after 1970-01-01, for years 1 to 9999.
    private static func date(_ days: Int64) -> (Int64, Int64, Int64) {
        let day = days + 719_468
        let era = day / 146_097
        let inEra = day % 146_097
        let yearInEra = (inEra - inEra / 1_460 + inEra / 36_524 - inEra / 146_096) / 365
        let dayOfYear = inEra - (365 * yearInEra + yearInEra / 4 - yearInEra / 100)
        let march = (5 * dayOfYear + 2) / 153
        let month = march < 10 ? march + 3 : march - 9
        return (era * 400 + yearInEra + (month <= 2 ? 1 : 0), month, dayOfYear - (153 * march + 2) / 5 + 1)
    }
}
