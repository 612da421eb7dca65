import ArgumentParser
import StrictJSON
import SwSignCore

struct DownloadSignature: ParsableCommand {
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
