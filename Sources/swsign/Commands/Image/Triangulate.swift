import ArgumentParser
import OCIRegistry
import StrictJSON
import SwSignCore

struct Triangulate: AttachmentCommand {
    static let configuration = CommandConfiguration(
        commandName: "triangulate", abstract: "Prints where the older scheme keeps what is attached to an image.")

    @Argument(help: "The image: a reference, or oci-layout:PATH[:TAG|@DIGEST].")
    var image: String
    @Option(help: "What is looked for: signature, attestation, sbom, or digest for the image itself.")
    var type: Sought = .signature
    @OptionGroup(title: "Attachments") var options: AttachmentOptions
    @OptionGroup(title: "Registry") var registry: RegistryFlags
    @OptionGroup(title: "Global options") var global: GlobalOptions

    enum Sought: String, ExpressibleByArgument, CaseIterable { case signature, attestation, sbom, digest }

    func run(_ context: Context) throws(SigstoreError) {
        let store = try attachments(of: image, context)
        let kind: SignatureStore.Kind
        switch type {
        case .digest: return try context.output.result("\(store.image.store.name)@\(store.image.digest)")
        case .signature: kind = .signature
        case .attestation: kind = .attestation
        case .sbom: kind = .sbom
        }
        try context.output.result("\(store.image.signatureStore.name):\(store.tag(kind))")
    }
}
