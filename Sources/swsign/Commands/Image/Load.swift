import ArgumentParser
import OCIRegistry
import StrictJSON
import SwSignCore

struct Load: AttachmentCommand {
    static let configuration = CommandConfiguration(
        commandName: "load",
        abstract: "Puts an image that was saved in a folder into a registry, with what is attached to it.")

    @Argument(help: "Where to: a reference, or oci-layout:PATH[:TAG].")
    var image: String
    @Option(help: "The folder that swsign save or cosign save wrote.")
    var dir: String
    @Flag(
        name: .customLong("concurrent-signers"),
        help: "Several jobs sign this image at once: announce each signature at a tag of its own until all are listed.")
    var concurrentSigners = false
    @OptionGroup(title: "Attachments") var options: AttachmentOptions
    @OptionGroup(title: "Registry") var registry: RegistryFlags
    @OptionGroup(title: "Global options") var global: GlobalOptions

    func run(_ context: Context) throws(SigstoreError) {
        let images = try images(context)
        try waiting { () throws(SigstoreError) in
            try await ImageCopy(try await images.image(dir, isFolder: true), count: context.progress.copy) {
                context.output.note($0)
            }.run(
                to: try images.destination(image), tagPrefixes: ("", images.tagPrefix), replacing: true)
        }
    }
}
