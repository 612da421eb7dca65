import ArgumentParser
import OCIRegistry
import StrictJSON
import SwSignCore

struct Tree: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "tree", abstract: "Shows what is attached to an image: signatures, attestations, SBOMs.")

    @Argument(help: "The image: a reference, or oci-layout:PATH[:TAG|@DIGEST].")
    var image: String
    @OptionGroup var options: AttachmentOptions
    @OptionGroup(title: "Global options") var global: GlobalOptions

    mutating func run() throws {
        try global.apply()
        let found = try options.attachments(of: image, global)
        let (store, attached) = (
            found.image.signatureStore.name, try waiting { () throws(SigstoreError) in try await found.attachments() }
        )
        try Output.result("📦 Supply Chain Security Related artifacts for an image: \(image)")
        // What cannot be read may be all that there is.
        if attached.isEmpty { _ = try attached.whole() }
        guard !attached.isEmpty else {
            return try Output.result("No Supply Chain Security Related Artifacts found for image \(image)")
        }
        for tagged in attached.tagged {
            let title =
                switch tagged.kind {
                case .signature: "🔐 Signatures"
                case .attestation: "💾 Attestations"
                case .sbom: "📦 SBOMs"
                }
            try Output.result("└── \(title) for an image tag: \(store):\(tagged.tag)")
            try layers(tagged.manifest)
        }
        for referrer in attached.referrers {
            try Output.result(
                "└── 🔗 \(referrer.typeName) artifacts via OCI referrer: \(store)@\(referrer.manifest.digest)")
            try layers(referrer.manifest)
        }
        for error in attached.unreadable { Output.warn("not shown: \(error.message)") }
        for digest in attached.missing { Output.warn("listed as a referrer, and not there: \(store)@\(digest)") }
    }

    private func layers(_ manifest: Manifest) throws(SigstoreError) {
        for layer in manifest.image?.layers ?? [] { try Output.result("   └── 🍒 \(layer.digest)") }
    }
}
