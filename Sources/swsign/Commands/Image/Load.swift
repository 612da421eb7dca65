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
    @OptionGroup(title: "Attachments") var options: AttachmentOptions
    @OptionGroup(title: "Registry") var registry: RegistryFlags
    @OptionGroup(title: "Global options") var global: GlobalOptions

    mutating func run() throws {
        try global.apply()
        let registries = try registry.registries(global)
        let (name, folder, flags, prefix) = (image, dir, registry, options.tagPrefix)
        try waiting { () throws(SigstoreError) in
            let saved = try await Image(finding: folder, registries, isFolder: true)
            try await ImageCopy(saved) { Output.note($0) }.run(
                to: try flags.destination(name, registries), tagPrefixes: ("", prefix), replacing: true)
        }
    }
}
