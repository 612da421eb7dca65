import ArgumentParser
import OCIRegistry
import SigstoreCrypto
import StrictJSON
import SwSignCore

struct Clean: AttachmentCommand {
    static let configuration = CommandConfiguration(
        commandName: "clean", abstract: "Removes what is attached to an image.")

    @Argument(help: "The image: a reference, or oci-layout:PATH[:TAG|@DIGEST].")
    var image: String
    @Option(
        help:
            "What is removed: signature, attestation, sbom, all of these, or referrer: everything that refers to the image."
    )
    var type: Removal = .all
    @Flag(name: .shortAndLong, help: "Do not ask, and remove what has other tags as well.")
    var force = false
    @Flag(name: .shortAndLong, help: "Do not ask.")
    var yes = false
    @OptionGroup(title: "Attachments") var options: AttachmentOptions
    @OptionGroup(title: "Registry") var registry: RegistryFlags
    @OptionGroup(title: "Global options") var global: GlobalOptions

    enum Removal: String, ExpressibleByArgument, CaseIterable { case signature, attestation, sbom, referrer, all }

    func run(_ context: Context) throws(SigstoreError) {
        let (what, removal): (String, SignatureStore.Removal) =
            switch type {
            case .signature: ("all signatures", .signature)
            case .attestation: ("all attestations", .attestation)
            case .sbom: ("the SBOM", .sbom)
            case .referrer: ("everything that refers to the image", .referrer)
            case .all: ("all signatures, SBOMs and attestations", .all)
            }
        let store = try attachments(of: image, context)
        if !force && !yes {
            context.output.warn(
                "this will remove \(what) of \(image) (\(store.image.digest)) from \(store.image.signatureStore.name)")
            guard try context.terminal.confirms("Are you sure you would like to continue?") else {
                throw SigstoreError(
                    .declined, "nobody agreed, and nothing was removed",
                    advice: context.terminal.isInteractive ? nil : "without a terminal, give --yes")
            }
        }
        let removed = try waiting { () throws(SigstoreError) in
            try await store.remove(removal, takingTags: force)
        }
        for reference in removed.references { context.output.note("Removed \(reference) from \(image)") }
        if let first = removed.left.first {
            for error in removed.left.dropFirst() { context.output.warn(error.message) }
            throw first
        }
        if removed.references.isEmpty { context.output.note("\(image) has none of these; nothing was removed") }
    }
}

extension SigstoreError.Code {
    /// A person was asked and did not agree, or there was no person to ask.
    static let declined = Self("declined")
}
