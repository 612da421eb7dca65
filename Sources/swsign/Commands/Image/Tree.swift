import ArgumentParser
import OCIRegistry
import StrictJSON
import SwSignCore

struct Tree: AttachmentCommand {
    static let configuration = CommandConfiguration(
        commandName: "tree", abstract: "Shows what is attached to an image: signatures, attestations, SBOMs.")

    @Argument(help: "The image: a reference, or oci-layout:PATH[:TAG|@DIGEST].")
    var image: String
    @OptionGroup(title: "Attachments") var options: AttachmentOptions
    @OptionGroup(title: "Registry") var registry: RegistryFlags
    @OptionGroup(title: "Global options") var global: GlobalOptions

    func run(_ context: Context) throws(SigstoreError) {
        let found = try attachments(of: image, context)
        let (store, attached) = (
            found.image.signatureStore.name, try waiting { () throws(SigstoreError) in try await found.attachments() }
        )
        try context.output.result("📦 Supply Chain Security Related artifacts for an image: \(image)")
        // What cannot be read may be all that there is.
        if attached.isEmpty { _ = try attached.whole() }
        guard !attached.isEmpty else {
            return try context.output.result("No Supply Chain Security Related Artifacts found for image \(image)")
        }
        for tagged in attached.tagged {
            let title =
                switch tagged.kind {
                case .signature: "🔐 Signatures"
                case .attestation: "💾 Attestations"
                case .sbom: "📦 SBOMs"
                }
            try context.output.result("└── \(title) for an image tag: \(store):\(tagged.tag)")
            try layers(tagged.manifest, context)
        }
        for referrer in attached.referrers {
            try context.output.result(
                "└── 🔗 \(referrer.typeName) artifacts via OCI referrer: \(store)@\(referrer.manifest.digest)")
            try layers(referrer.manifest, context)
        }
        for error in attached.unreadable { context.output.warn("not shown: \(error.message)") }
        for digest in attached.missing {
            context.output.warn("listed as a referrer, and not there: \(store)@\(digest)")
        }
    }

    private func layers(_ manifest: Manifest, _ context: Context) throws(SigstoreError) {
        let layers = manifest.image?.layers ?? []
        for (index, layer) in layers.enumerated() {
            try context.output.result("   \(index == layers.count - 1 ? "└──" : "├──") 🍒 \(layer.digest)")
        }
    }
}
