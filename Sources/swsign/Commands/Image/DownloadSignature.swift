import ArgumentParser
import StrictJSON
import SwSignCore

struct DownloadSignature: AttachmentCommand {
    static let configuration = CommandConfiguration(
        commandName: "signature", abstract: "Prints the signatures of an image, one JSON object a line.")

    @Argument(help: "The image: a reference, or oci-layout:PATH[:TAG|@DIGEST].")
    var image: String
    @OptionGroup(title: "Attachments") var options: AttachmentOptions
    @OptionGroup(title: "Registry") var registry: RegistryFlags
    @OptionGroup(title: "Global options") var global: GlobalOptions

    func run(_ context: Context) throws(SigstoreError) {
        let store = try attachments(of: image, context)
        try Download.print(
            try waiting { () throws(SigstoreError) in try await store.downloadSignatures() }, context.output)
    }
}
