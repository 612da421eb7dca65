import ArgumentParser
import Provenance
import StrictJSON
import SwSignCore

/// The flags that demand a verification summary of SLSA's (VSA) in place of provenance.
struct SummaryOptions: ParsableArguments {
    @Option(
        name: .customLong("subject-digest"),
        help:
            "A digest that the summary must be about, ALGORITHM:VALUE, besides or without a file. May be repeated: all of these."
    )
    var subjects: [String] = []
    @Option(name: .customLong("verifier-id"), help: "The verifier that must have made the summary; needs --key.")
    var verifier: String?
    @Option(name: .customLong("resource-uri"), help: "What must have been verified.")
    var resource: String?
    @Option(
        name: .customLong("verified-level"),
        help:
            "A level that must have been found, such as SLSA_BUILD_LEVEL_2, or a higher one. May be repeated, or a list with commas: all of these."
    )
    var levels: [String] = []

    /// Whether a summary is demanded.
    var isDemanded: Bool { verifier != nil || resource != nil || !subjects.isEmpty || !levels.isEmpty }
}
