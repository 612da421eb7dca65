import ArgumentParser
import OCIRegistry
import StrictJSON
import SwSignCore

struct Load: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "load",
        abstract: "Puts an image that was saved in a folder into a registry, with what is attached to it.")

    @Argument(help: "Where to: a reference, or oci-layout:PATH[:TAG].")
    var image: String
    @Option(help: "The folder that swsign save or cosign save wrote.")
    var dir: String
    @OptionGroup var options: AttachmentOptions
    @OptionGroup(title: "Global options") var global: GlobalOptions

    mutating func run() throws {
        try global.apply()
        let images = try options.images(global)
        let (name, folder) = (image, dir)
        try waiting { () throws(SigstoreError) in
            try await ImageCopy(try await images.image(folder, isFolder: true)) { Output.note($0) }.run(
                to: try images.destination(name), tagPrefixes: ("", images.tagPrefix), replacing: true)
        }
    }
}
