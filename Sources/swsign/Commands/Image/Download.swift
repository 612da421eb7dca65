import ArgumentParser
import InToto
import OCIRegistry
import StrictJSON
import SwSignCore

struct Download: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "download", abstract: "Prints what is attached to an image. Nothing is verified.",
        subcommands: [Signature.self, Attestation.self, SBOM.self])

    struct Signature: ParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "signature", abstract: "Prints the signatures of an image, one JSON object a line.")

        @Argument(help: "The image: a reference, or oci-layout:PATH[:TAG|@DIGEST].")
        var image: String
        @OptionGroup(title: "Attachments") var options: AttachmentOptions
        @OptionGroup(title: "Registry") var registry: RegistryFlags
        @OptionGroup(title: "Global options") var global: GlobalOptions

        mutating func run() throws {
            try global.apply()
            let registries = try registry.registries(global)
            let (name, flags, options) = (image, registry, options)
            try Download.print(
                try waiting { () throws(SigstoreError) in
                    try await options.signatures(of: try await flags.image(name, registries), flags)
                        .downloadSignatures()
                })
        }
    }

    struct Attestation: ParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "attestation", abstract: "Prints the attestations of an image, one JSON object a line.")

        @Argument(help: "The image: a reference, or oci-layout:PATH[:TAG|@DIGEST].")
        var image: String
        @Option(
            name: .customLong("predicate-type"),
            help: "The type that the predicate must have: \(PredicateType.nameList), or a URI.")
        var predicateType: String?
        @Option(help: "With an index, the image for this platform, such as linux/arm64.")
        var platform: String?
        @OptionGroup(title: "Attachments") var options: AttachmentOptions
        @OptionGroup(title: "Registry") var registry: RegistryFlags
        @OptionGroup(title: "Global options") var global: GlobalOptions

        mutating func run() throws {
            try global.apply()
            let type = try predicateType.map { (name) throws(SigstoreError) in try PredicateType(named: name) }
            let registries = try registry.registries(global)
            let (name, flags, options, platform) = (image, registry, options, platform)
            try Download.print(
                try waiting { () throws(SigstoreError) in
                    let image = try await flags.image(name, registries, platform: platform)
                    return try await options.signatures(of: image, flags).downloadAttestations(type)
                })
        }
    }

    struct SBOM: ParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "sbom", abstract: "Prints the SBOM that is attached to an image.")

        @Argument(help: "The image: a reference, or oci-layout:PATH[:TAG|@DIGEST].")
        var image: String
        @Option(help: "With an index, the image for this platform, such as linux/arm64.")
        var platform: String?
        @OptionGroup(title: "Attachments") var options: AttachmentOptions
        @OptionGroup(title: "Registry") var registry: RegistryFlags
        @OptionGroup(title: "Global options") var global: GlobalOptions

        mutating func run() throws {
            try global.apply()
            let registries = try registry.registries(global)
            let (name, flags, options, platform) = (image, registry, options, platform)
            let (mediaType, content) = try waiting { () throws(SigstoreError) in
                let image = try await flags.image(name, registries, platform: platform)
                return try await options.signatures(of: image, flags).downloadSBOM()
            }
            Output.warn("nothing shows that this SBOM is genuine; an attestation would: swsign download attestation")
            Output.note("Found SBOM of media type: \(mediaType)")
            try Output.bytes(content)
        }
    }

    private static func print(_ found: DownloadedAttachments) throws(SigstoreError) {
        for value in found.values { try Output.json(value) }
        for error in found.unreadable { Output.warn("passed over: \(error.message)") }
        if found.values.isEmpty, let first = found.unreadable.first { throw first }
    }
}

extension RegistryFlags {
    /// The image of that name, or of an index the image for a platform.
    func image(_ name: String, _ registries: Registries, platform: String?) async throws(SigstoreError) -> Image {
        let image = try await image(name, registries)
        guard let platform else { return image }
        let picked = try await image.picking(platform)
        guard let only = picked.first, picked.count == 1 else {
            throw SigstoreError(
                .usage, "\(name) has \(picked.count) images for the platform \(platform)",
                advice: "name one by its digest")
        }
        return only
    }
}
