import ArgumentParser
import StrictJSON
import SwSignCore

struct DownloadSignature: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "signature", abstract: "Prints the signatures of an image, one JSON object a line.")

    @Argument(help: "The image: a reference, or oci-layout:PATH[:TAG|@DIGEST].")
    var image: String
    @OptionGroup var options: AttachmentOptions
    @OptionGroup(title: "Global options") var global: GlobalOptions

    mutating func run() throws {
        try global.apply()
        let store = try options.attachments(of: image, global)
        try Download.print(try waiting { () throws(SigstoreError) in try await store.downloadSignatures() })
    }
}
