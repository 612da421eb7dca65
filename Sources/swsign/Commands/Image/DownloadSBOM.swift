import ArgumentParser
import StrictJSON
import SwSignCore

struct DownloadSBOM: AttachmentCommand {
    static let configuration = CommandConfiguration(
        commandName: "sbom", abstract: "Prints the SBOM that is attached to an image.")

    @Argument(help: "The image: a reference, or oci-layout:PATH[:TAG|@DIGEST].")
    var image: String
    @Option(help: "With an index, the image for this platform, such as linux/arm64.")
    var platform: String?
    @OptionGroup(title: "Attachments") var options: AttachmentOptions
    @OptionGroup(title: "Registry") var registry: RegistryFlags
    @OptionGroup(title: "Global options") var global: GlobalOptions

    func run(_ context: Context) throws(SigstoreError) {
        let store = try attachments(of: image, platform: platform, context)
        let (mediaType, content) = try waiting { () throws(SigstoreError) in try await store.downloadSBOM() }
        context.output.warn(
            "nothing shows that this SBOM is genuine; an attestation would: \(SwSign.name) download attestation")
        context.output.note("Found SBOM of media type: \(mediaType)")
        try context.output.bytes(content)
    }
}
