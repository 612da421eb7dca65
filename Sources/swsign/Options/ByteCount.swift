import ArgumentParser
import Dispatch
import HTTPTransport
import OCIRegistry
import SigstoreCrypto
import StrictJSON
import SwSignCore
import Synchronization

/// A size as people write it: `134217728`, `128MiB`, `128MB`.
struct ByteCount {
    let bytes: Int64

    init?(_ text: String) {
        let units: [(String, Int64)] = [
            ("kib", 1 << 10), ("mib", 1 << 20), ("gib", 1 << 30), ("kb", 1_000), ("mb", 1_000_000),
            ("gb", 1_000_000_000),
            ("b", 1), ("", 1),
        ]
        let lower = text.lowercased().filter { $0 != " " }
        guard let unit = units.first(where: { lower.hasSuffix($0.0) }),
            let number = Int64(lower.dropLast(unit.0.count)), number >= 0
        else { return nil }
        let (product, overflow) = number.multipliedReportingOverflow(by: unit.1)
        if overflow { return nil }
        bytes = product
    }
}
