import ArgumentParser
import OCIRegistry
import StrictJSON
import SwSignCore

struct Save: AttachmentCommand {
    static let configuration = CommandConfiguration(
        commandName: "save", abstract: "Saves an image with what is attached to it in a folder.")

    @Argument(help: "The image: a reference, or oci-layout:PATH[:TAG|@DIGEST].")
    var image: String
    @Option(help: "The folder; it is made where there is none.")
    var dir: String
    @OptionGroup(title: "Attachments") var options: AttachmentOptions
    @OptionGroup(title: "Registry") var registry: RegistryFlags
    @OptionGroup(title: "Global options") var global: GlobalOptions

    func run(_ context: Context) throws(SigstoreError) {
        let images = try images(context)
        try waiting { () throws(SigstoreError) in
            try await ImageCopy(try await images.image(image), count: context.progress.copy) { context.output.note($0) }
                .save(to: dir, tagPrefix: images.tagPrefix)
        }
    }
}
