import ArgumentParser
import InToto
import StrictJSON
import SwSignCore

struct DownloadAttestation: AttachmentCommand {
    static let configuration = CommandConfiguration(
        commandName: "attestation", abstract: "Prints the attestations of an image, one JSON object a line.")

    @Argument(help: "The image: a reference, or oci-layout:PATH[:TAG|@DIGEST].")
    var image: String
    @Option(
        name: .customLong("predicate-type"),
        help: "The type that the predicate must have: \(PredicateType.nameList), or a URI.",
        completion: .predicateTypes)
    var predicateType: String?
    @Option(help: "With an index, the image for this platform, such as linux/arm64.")
    var platform: String?
    @OptionGroup(title: "Attachments") var options: AttachmentOptions
    @OptionGroup(title: "Registry") var registry: RegistryFlags
    @OptionGroup(title: "Global options") var global: GlobalOptions

    func run(_ context: Context) throws(SigstoreError) {
        let type = try predicateType.map { (name) throws(SigstoreError) in try PredicateType(named: name) }
        let store = try attachments(of: image, platform: platform, context)
        try Download.print(
            try waiting { () throws(SigstoreError) in try await store.downloadAttestations(type) }, context.output)
    }
}
