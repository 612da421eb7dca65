import ArgumentParser
import InToto
import OCIRegistry
import SigstoreCrypto
import SigstoreVerification
import StrictJSON
import SwSignCore

struct AttachAttestation: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "attestation", abstract: "Attaches attestations that were made elsewhere.")

    @Argument(help: "The image: a reference, or oci-layout:PATH[:TAG|@DIGEST].")
    var image: String
    @Option(
        help: "A file with an envelope, envelopes one a line, or a bundle; - is standard input. May be repeated.")
    var attestation: [String] = []
    @OptionGroup var options: AttachmentOptions
    @OptionGroup(title: "Global options") var global: GlobalOptions

    mutating func run() throws {
        try global.apply()
        guard !attestation.isEmpty else {
            throw SigstoreError(.usage, "no attestation was given", advice: "give --attestation FILE")
        }
        var attestations: [SignatureStore.ForeignAttestation] = []
        for path in attestation {
            let file = InputFile(path)
            do throws(SigstoreError) {
                attestations += try SignatureStore.ForeignAttestation.read(try file.contents(limit: Attach.limit))
            } catch { throw error.message.contains(file.name) ? error : error.concerning(file.name) }
        }
        let created = CalendarTime.iso8601(try SigningTime.now())
        let store = try options.attachments(of: image, global)
        try waiting { [attestations] () throws(SigstoreError) in
            for attestation in attestations { try await store.attach(attestation, created: created) }
        }
        for attestation in attestations {
            let type = attestation.statement?.predicateType.uri ?? ""
            let isAbout =
                attestation.statement?.hasSubject(
                    algorithm: store.image.digest.algorithm.rawValue, hex: store.image.digest.hex) ?? false
            if !isAbout {
                Output.warn("the attestation of type \(type) is not about this image: it will not verify")
            }
            Output.note(
                "Attached an attestation of type \(type) to \(image) (\(store.image.digest)) in \(store.image.signatureStore.name)"
            )
        }
    }
}
