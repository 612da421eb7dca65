import ArgumentParser
import OCIRegistry
import StrictJSON
import SwSignCore

struct AttachSBOM: AttachmentCommand {
    static let configuration = CommandConfiguration(
        commandName: "sbom", abstract: "Attaches an SBOM, which is not signed by that.")

    @Argument(help: "The image: a reference, or oci-layout:PATH[:TAG|@DIGEST].")
    var image: String
    @Option(help: "The SBOM; - is standard input.")
    var sbom: String
    @Option(help: "What it is: spdx, cyclonedx or syft.", completion: .list(["spdx", "cyclonedx", "syft"]))
    var type = "spdx"
    @Option(
        name: .customLong("input-format"), help: "How it is written: json, xml or text; by its content unless told."
    )
    var inputFormat: Format?
    @OptionGroup(title: "Attachments") var options: AttachmentOptions
    @OptionGroup(title: "Registry") var registry: RegistryFlags
    @OptionGroup(title: "Global options") var global: GlobalOptions

    enum Format: String, ExpressibleByArgument, CaseIterable { case json, xml, text }

    func run(_ context: Context) throws(SigstoreError) {
        let content = try InputFile(sbom).contents(limit: Attach.limit)
        let mediaType = try SignatureStore.sbomMediaType(type, format: inputFormat?.rawValue, content: content)
        context.output.warn(
            "this does not sign the SBOM; \(SwSign.name) attest --type \(type == "spdx" ? "spdxjson" : type) --predicate does"
        )
        let store = try attachments(of: image, context)
        let tag = try waiting { () throws(SigstoreError) in
            try await store.attach(sbom: content, mediaType: mediaType)
        }
        context.output.note(
            "Uploading SBOM file for [\(image)] to [\(store.image.signatureStore.name):\(tag)] with mediaType [\(mediaType)]."
        )
    }
}
