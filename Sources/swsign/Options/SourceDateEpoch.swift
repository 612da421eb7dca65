import StrictJSON
import SwSignCore

extension Context {
    /// The moment that signatures of this run carry if they carry one: now, or what `SOURCE_DATE_EPOCH` says; in seconds
    /// since 1970.
    func signingTime() throws(SigstoreError) -> Int64 {
        guard let text = environment.value("SOURCE_DATE_EPOCH") else { return now() }
        guard let seconds = Int64(text), (0..<253_402_300_800).contains(seconds) else {
            throw SigstoreError(.usage, "SOURCE_DATE_EPOCH is \"\(text)\", which is not a number of seconds since 1970")
        }
        return seconds
    }
}
