import ArgumentParser
import StrictJSON
import SwSignCore

struct Download: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "download", abstract: "Prints what is attached to an image. Nothing is verified.",
        subcommands: [DownloadSignature.self, DownloadAttestation.self, DownloadSBOM.self])

    /// Prints what was found, and says what could not be read.
    static func print(_ found: DownloadedAttachments, _ output: Output) throws(SigstoreError) {
        for value in found.values { try output.json(value) }
        for error in found.unreadable { output.warn("passed over: \(error.message)") }
        if found.values.isEmpty, let first = found.unreadable.first { throw first }
    }
}
