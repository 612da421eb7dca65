import ArgumentParser
import InToto
import OCIRegistry
import SwSignCore

struct Tree: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "tree", abstract: "Shows what is attached to an image: signatures, attestations, SBOMs.")

    @Argument(help: "The image: a reference, or oci-layout:PATH[:TAG|@DIGEST].")
    var image: String
    @OptionGroup(title: "Attachments") var options: AttachmentOptions
    @OptionGroup(title: "Registry") var registry: RegistryFlags
    @OptionGroup(title: "Global options") var global: GlobalOptions

    mutating func run() throws {
        try global.apply()
        let registries = try registry.registries(global)
        let (name, flags, options) = (image, registry, options)
        let (store, attached) = try waiting { () throws(SigstoreError) in
            let found = try await flags.image(name, registries)
            return (found.signatureStore.name, try await options.signatures(of: found, flags).attachments())
        }
        try Output.result("📦 Supply Chain Security Related artifacts for an image: \(name)")
        // What cannot be read may be all that there is.
        if attached.isEmpty { _ = try attached.whole() }
        guard !attached.isEmpty else {
            return try Output.result("No Supply Chain Security Related Artifacts found for image \(name)")
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

/// The flags of the commands that deal with what is attached to images.
struct AttachmentOptions: ParsableArguments {
    @Option(name: .customLong("attachment-tag-prefix"), help: "What stands before the tags of the older scheme.")
    var tagPrefix = ""
    @Flag(name: .customLong("experimental-oci11"), help: "Accepted as in cosign; referrers are always read.")
    var experimentalOCI11 = false

    func signatures(of image: Image, _ flags: RegistryFlags) throws(SigstoreError) -> SignatureStore {
        try flags.signatures(of: image, tagPrefix: tagPrefix)
    }
}
