#if canImport(Glibc)
    internal import Glibc
#elseif canImport(Musl)
    internal import Musl
#elseif canImport(Darwin)
    internal import Darwin
#endif

/// The clock of this machine.
public enum SystemClock {
    /// The time now, in seconds since 1970 in UTC; 0 if the system does not know it.
    public static func now() -> Int64 {
        var now = timespec()
        guard unsafe clock_gettime(CLOCK_REALTIME, &now) == 0 else { return 0 }
        return Int64(now.tv_sec)
    }

    /// The moment when the clocks of this place show a date, by the time zone of this process.
    /// - Parameter seconds: The date, in seconds since 1970 as if it were one in UTC.
    /// - Returns: Seconds since 1970 in UTC; `nil` if the system does not know it.
    public static func seconds(ofLocal seconds: Int64) -> Int64? {
        guard var time = time_t(exactly: seconds) else { return nil }
        var date = unsafe tm()
        guard unsafe gmtime_r(&time, &date) != nil else { return nil }
        unsafe date.tm_isdst = -1
        let moment = unsafe mktime(&date)
        // -1 is also the last second of 1969, which nobody means.
        return moment == -1 ? nil : Int64(moment)
    }
}
