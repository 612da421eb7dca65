import ArgumentParser
import InToto
import OCIRegistry
import SigstoreCrypto
import SigstoreVerification
import StrictJSON
import SwSignCore

struct AttachAttestation: AttachmentCommand {
    static let configuration = CommandConfiguration(
        commandName: "attestation", abstract: "Attaches attestations that were made elsewhere.")

    @Argument(help: "The image: a reference, or oci-layout:PATH[:TAG|@DIGEST].")
    var image: String
    @Option(
        help: "A file with an envelope, envelopes one a line, or a bundle; - is standard input. May be repeated.")
    var attestation: [String] = []
    @Flag(
        name: .customLong("concurrent-signers"),
        help: "Several jobs sign this image at once: announce each signature at a tag of its own until all are listed.")
    var concurrentSigners = false
    @OptionGroup(title: "Attachments") var options: AttachmentOptions
    @OptionGroup(title: "Registry") var registry: RegistryFlags
    @OptionGroup(title: "Global options") var global: GlobalOptions

    func run(_ context: Context) throws(SigstoreError) {
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
        let created = Instant(seconds: try context.signingTime()).description
        let store = try attachments(of: image, context)
        try waiting { [attestations] () throws(SigstoreError) in
            for attestation in attestations { try await store.attach(attestation, created: created) }
        }
        for attestation in attestations {
            let type = attestation.statement?.predicateType.uri ?? ""
            let isAbout =
                attestation.statement?.hasSubject(
                    algorithm: store.image.digest.algorithm.rawValue, hex: store.image.digest.hex) ?? false
            if !isAbout {
                context.output.warn("the attestation of type \(type) is not about this image: it will not verify")
            }
            context.output.note(
                "Attached an attestation of type \(type) to \(image) (\(store.image.digest)) in \(store.image.signatureStore.name)"
            )
        }
    }
}
