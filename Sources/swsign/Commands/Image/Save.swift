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
    @OptionGroup var options: AttachmentOptions
    @OptionGroup(title: "Global options") var global: GlobalOptions

    mutating func run() throws {
        try global.apply()
        let images = try options.images(global)
        let (name, folder) = (image, dir)
        try waiting { () throws(SigstoreError) in
            try await ImageCopy(try await images.image(name)) { Output.note($0) }.save(
                to: folder, tagPrefix: images.tagPrefix)
        }
    }
}
