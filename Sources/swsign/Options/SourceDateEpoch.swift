import ArgumentParser
import InToto
import LocalSystem
import OCIRegistry
import SigstoreCrypto
import SigstoreVerification
import StrictJSON
import SwSignCore

/// The moment that signatures of this run carry where they carry one: now, or what `SOURCE_DATE_EPOCH` says; in seconds
/// since 1970.
enum SigningTime {
    static func now() throws(SigstoreError) -> Int64 {
        guard let text = ProcessEnvironment.value("SOURCE_DATE_EPOCH") else {
            return SystemClock.now()
        }
        guard let seconds = Int64(text), (0..<253_402_300_800).contains(seconds) else {
            throw SigstoreError(.usage, "SOURCE_DATE_EPOCH is \"\(text)\", which is not a number of seconds since 1970")
        }
        return seconds
    }
}
