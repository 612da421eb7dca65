import ArgumentParser
import OCIRegistry
import SigstoreCrypto
import SigstoreVerification
import StrictJSON
import SwSignCore

struct AttachSignature: AttachmentCommand {
    static let configuration = CommandConfiguration(
        commandName: "signature", abstract: "Attaches a signature that was made elsewhere.")

    @Argument(help: "The image: a reference, or oci-layout:PATH[:TAG|@DIGEST].")
    var image: String
    @Option(help: "The signature: a file, the base64 itself, or - for standard input.")
    var signature: String?
    @Option(help: "The file that was signed.")
    var payload: String?
    @Option(help: "The signer's certificate, in PEM.")
    var certificate: String?
    @Option(name: .customLong("certificate-chain"), help: "The certificates above the signer's, in PEM.")
    var chain: String?
    @Option(
        name: .customLong("rekor-response"), help: "The entry in the log: Rekor's answer, or cosign 2's bundle.")
    var rekorResponse: String?
    @Option(help: "A timestamp over the signature: an RFC 3161 response, or cosign's JSON of one.")
    var tsr: String?
    @Option(help: "A bundle with the signature and all that belongs to it; then nothing else.")
    var bundle: String?
    @Flag(
        name: .customLong("concurrent-signers"),
        help: "Several jobs sign this image at once: announce each signature at a tag of its own until all are listed.")
    var concurrentSigners = false
    @OptionGroup(title: "Attachments") var options: AttachmentOptions
    @OptionGroup(title: "Registry") var registry: RegistryFlags
    @OptionGroup(title: "Global options") var global: GlobalOptions

    func run(_ context: Context) throws(SigstoreError) {
        if let bundle { return try attach(InputFile(bundle), context) }
        guard let signature else {
            throw SigstoreError(
                .usage, "no signature was given", advice: "give --signature with --payload, or --bundle")
        }
        var foreign = ForeignSignature(
            signature: try SignatureFile.Parts(
                signature: signature, bundle: nil, certificate: nil, timestamp: nil, names: .flags
            ).joined(attestation: false).signature())
        foreign.payload = try content(payload)
        foreign.certificate = try content(certificate)
        foreign.chain = try content(chain)
        foreign.logEntry = try content(rekorResponse)
        foreign.timestamp = try content(tsr)
        if payload == nil {
            context.output.warn(
                "no --payload was given: the signature must be over the payload that cosign signs for this image")
        }
        let store = try attachments(of: image, context)
        let named = try waiting { [foreign] () throws(SigstoreError) in try await store.attach(foreign) }
        if named != store.image.digest {
            context.output.warn(
                "the payload names \(named.map { "\($0)" } ?? "no image"), and this image is \(store.image.digest): it will not verify"
            )
        }
        context.output.note(
            "Attached a signature to \(image) (\(store.image.digest)) as \(store.image.signatureStore.name):\(store.tag(.signature))"
        )
    }

    private func attach(_ file: InputFile, _ context: Context) throws(SigstoreError) {
        guard [signature, payload, certificate, chain, rekorResponse, tsr].allSatisfy({ $0 == nil }) else {
            throw SigstoreError(.usage, "a bundle holds everything: --bundle stands alone")
        }
        let parsed = try SignatureFile.bundle(file)
        let created = Instant(seconds: try context.signingTime()).description
        let store = try attachments(of: image, context)
        _ = try waiting { () throws(SigstoreError) in try await store.add(parsed, created: created) }
        context.output.note(
            "Attached a bundle to \(image) (\(store.image.digest)) in \(store.image.signatureStore.name)")
    }

    private func content(_ path: String?) throws(SigstoreError) -> [UInt8]? {
        guard let path else { return nil }
        return try InputFile(path).contents(limit: Attach.limit)
    }
}
