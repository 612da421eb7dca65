import ArgumentParser
import OCIRegistry
import StrictJSON
import SwSignCore

struct Save: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "save", abstract: "Saves an image with what is attached to it in a folder.")

    @Argument(help: "The image: a reference, or oci-layout:PATH[:TAG|@DIGEST].")
    var image: String
    @Option(help: "The folder; it is made where there is none.")
    var dir: String
    @OptionGroup(title: "Attachments") var options: AttachmentOptions
    @OptionGroup(title: "Registry") var registry: RegistryFlags
    @OptionGroup(title: "Global options") var global: GlobalOptions

    mutating func run() throws {
        try global.apply()
        let registries = try registry.registries(global)
        let (name, folder, flags, prefix) = (image, dir, registry, options.tagPrefix)
        try waiting { () throws(SigstoreError) in
            try await ImageCopy(try await flags.image(name, registries)) { Output.note($0) }.save(
                to: folder, tagPrefix: prefix)
        }
    }
}
