import ArgumentParser
import LocalSystem
import OCIRegistry
import StrictJSON
import SwSignCore

struct Copy: AttachmentCommand {
    static let configuration = CommandConfiguration(
        commandName: "copy", abstract: "Copies an image with what is attached to it.")

    @Argument(help: "The image: a reference, or oci-layout:PATH[:TAG|@DIGEST].")
    var source: String
    @Argument(help: "Where to: a reference, or oci-layout:PATH[:TAG]; a layout is made where there is none.")
    var destination: String
    @Flag(name: .shortAndLong, help: "Let the destination's tag point at this image, whatever it points at now.")
    var force = false
    @Option(help: "What is copied beside the image: sig, att, sbom. May be repeated; everything unless given.")
    var only: [Part] = []
    @Flag(name: .customLong("sig-only"), help: "Copy the signatures and not the image.")
    var sigOnly = false
    @Option(help: "Of an index, copy only the image for this platform, such as linux/arm64.")
    var platform: String?
    @Flag(
        name: .customLong("concurrent-signers"),
        help: "Several jobs sign this image at once: announce each signature at a tag of its own until all are listed.")
    var concurrentSigners = false
    @OptionGroup(title: "Attachments") var options: AttachmentOptions
    @OptionGroup(title: "Registry") var registry: RegistryFlags
    @OptionGroup(title: "Global options") var global: GlobalOptions

    enum Part: String, ExpressibleByArgument, CaseIterable { case sig, att, sbom }

    func run(_ context: Context) throws(SigstoreError) {
        guard !sigOnly || only.isEmpty else { throw SigstoreError(.usage, "--sig-only and --only exclude each other") }
        var selection = ImageCopy.Selection()
        if sigOnly { (selection.image, selection.kinds, selection.otherReferrers) = (false, [.signature], false) }
        if !only.isEmpty {
            selection.kinds = Set(only.compactMap { SignatureStore.Kind(rawValue: $0.rawValue) })
            selection.otherReferrers = false
        }
        let images = try images(context)
        try waiting { [selection] () throws(SigstoreError) in
            let image = try await images.image(source, platform: platform)
            try await ImageCopy(image, selection, count: context.progress.copy) { context.output.note($0) }.run(
                to: try images.destination(destination), tagPrefixes: (images.tagPrefix, images.tagPrefix),
                replacing: force)
        }
    }
}
