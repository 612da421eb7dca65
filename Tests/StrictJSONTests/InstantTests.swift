import StrictJSON
import Testing

@Suite struct InstantTests {
    @Test(
        "A date and its second are one moment, both ways",
        arguments: [
            (1970, 1, 1, 0), (2000, 2, 29, 951_782_400), (2100, 2, 28, 4_107_456_000), (2100, 3, 1, 4_107_542_400),
            (1, 1, 1, -62_135_596_800), (9999, 12, 31, 253_402_214_400), (1900, 3, 1, -2_203_891_200),
        ] as [(Int64, Int64, Int64, Int64)])
    func dates(year: Int64, month: Int64, day: Int64, seconds: Int64) {
        let instant = Instant(year: year, month: month, day: day, hour: 0, minute: 0, second: 0)
        #expect(instant?.seconds == seconds)
        #expect(instant == Instant(seconds: seconds))
        #expect(instant.flatMap { Instant(rfc3339: $0.description) } == instant)
    }

    @Test(
        "There is no such date or time of day",
        arguments: [
            [0, 1, 1, 0, 0, 0], [10_000, 1, 1, 0, 0, 0], [2023, 2, 29, 0, 0, 0], [2100, 2, 29, 0, 0, 0],
            [2024, 4, 31, 0, 0, 0], [2024, 0, 1, 0, 0, 0], [2024, 13, 1, 0, 0, 0], [2024, 1, 0, 0, 0, 0],
            [2024, 1, 1, 24, 0, 0], [2024, 1, 1, 0, 60, 0], [2024, 1, 1, 0, 0, 60], [2024, 1, 1, -1, 0, 0],
            [.max, .max, .max, .max, .max, .max], [.min, .min, .min, .min, .min, .min],
        ] as [[Int64]])
    func refused(fields: [Int64]) {
        #expect(
            Instant(
                year: fields[0], month: fields[1], day: fields[2], hour: fields[3], minute: fields[4],
                second: fields[5]) == nil)
    }

    @Test("Every day from 1999 to 2105 follows the one before it")
    func everyDay() {
        var (year, month, day): (Int64, Int64, Int64) = (1999, 1, 1)
        var expected = Instant(year: 1999, month: 1, day: 1, hour: 23, minute: 59, second: 58)?.seconds ?? 0
        while year < 2105 {
            let instant = Instant(year: year, month: month, day: day, hour: 23, minute: 59, second: 58)
            guard instant?.seconds == expected else {
                Issue.record("\(year)-\(month)-\(day)")
                return
            }
            expected += 86_400
            let isLeap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
            let lengths: [Int64] = [31, isLeap ? 29 : 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]
            day += 1
            if day > lengths[Int(month) - 1] { (month, day) = (month + 1, 1) }
            if month > 12 { (year, month) = (year + 1, 1) }
        }
    }

    @Test("Moments that are no date are numbers, and none traps")
    func extremes() {
        #expect(Instant(seconds: 253_402_300_800).description == "253402300800 seconds after 1970")
        #expect(Instant(milliseconds: 253_402_300_800_001).description == "253402300800001 ms after 1970")
        #expect(Instant(milliseconds: -1).seconds == -1 && Instant(milliseconds: -1000).seconds == -1)
        #expect(Instant(milliseconds: -1).description == "1969-12-31T23:59:59.999Z")
        for milliseconds in [Int64.min, .max, .min + 1] {
            let instant = Instant(milliseconds: milliseconds)
            #expect(instant.description.hasSuffix("after 1970"))
            #expect(instant.seconds == (milliseconds > 0 ? .max / 1000 : .min / 1000 - 1))
        }
        #expect(Instant(seconds: .max).milliseconds == .max && Instant(seconds: .min).milliseconds == .min)
    }
}
