import ArgumentParser
import OCIRegistry
import StrictJSON
import SwSignCore

struct Triangulate: ParsableCommand {
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

    mutating func run() throws {
        try global.apply()
        let registries = try registry.registries(global)
        let (name, flags) = (image, registry)
        let found = try waiting { () throws(SigstoreError) in try await flags.image(name, registries) }
        let store = try options.signatures(of: found, registry)
        let kind: SignatureStore.Kind
        switch type {
        case .digest: return try Output.result("\(found.store.name)@\(found.digest)")
        case .signature: kind = .signature
        case .attestation: kind = .attestation
        case .sbom: kind = .sbom
        }
        try Output.result("\(found.signatureStore.name):\(store.tag(kind))")
    }
}
