import ArgumentParser
import StrictJSON
import SwSignCore

struct DownloadSBOM: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "sbom", abstract: "Prints the SBOM that is attached to an image.")

    @Argument(help: "The image: a reference, or oci-layout:PATH[:TAG|@DIGEST].")
    var image: String
    @Option(help: "With an index, the image for this platform, such as linux/arm64.")
    var platform: String?
    @OptionGroup var options: AttachmentOptions
    @OptionGroup(title: "Global options") var global: GlobalOptions

    mutating func run() throws {
        try global.apply()
        let store = try options.attachments(of: image, platform: platform, global)
        let (mediaType, content) = try waiting { () throws(SigstoreError) in try await store.downloadSBOM() }
        Output.warn("nothing shows that this SBOM is genuine; an attestation would: swsign download attestation")
        Output.note("Found SBOM of media type: \(mediaType)")
        try Output.bytes(content)
    }
}
