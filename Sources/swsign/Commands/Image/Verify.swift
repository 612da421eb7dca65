import ArgumentParser
import InToto
import OCIRegistry
import SigstoreCrypto
import SigstoreVerification
import StrictJSON
import SwSignCore

struct Verify: ImageVerificationCommand {
    static let configuration = CommandConfiguration(
        commandName: "verify", _superCommandName: "swsign", abstract: "Verifies the signatures of container images.")

    @Argument(help: "The images: references, or oci-layout:PATH[:TAG|@DIGEST].")
    var images: [String]
    @Option(
        name: [.customLong("annotations"), .customShort("a")],
        help: "An annotation that the signer must have made, as key=value.")
    var annotations: [String] = []
    @Option(help: "Verify what is attached to the image, such as sbom, in place of the image.")
    var attachment: String?
    @Option(help: "A file with the payload that was signed, for --signature.")
    var payload: String?
    @Option(help: "The signature: a file, or the base64 itself; with --payload.")
    var signature: String?
    @Option(
        name: .customLong("signature-digest-algorithm"),
        help: "Accepted as in cosign; the algorithm follows from the key.")
    var signatureDigestAlgorithm: String?
    @Option(name: .shortAndLong, help: "How results are printed on standard output: json or text.")
    var output: OutputFormat = .json
    @OptionGroup(title: "Images") var options: ImageVerificationOptions
    @OptionGroup(title: "Verification") var verification: VerificationOptions
    @OptionGroup(title: "Identity") var identity: IdentityOptions
    @OptionGroup(title: "Trust") var trust: TrustOptions
    @OptionGroup(title: "Registry") var registry: RegistryFlags
    @OptionGroup(title: "Global options") var global: GlobalOptions

    func run(_ context: Context) throws(SigstoreError) {
        guard attachment == nil || attachment == "sbom" else {
            throw SigstoreError(.usage, "--attachment knows sbom, not \(attachment ?? "")")
        }
        guard (payload == nil) == (signature == nil) else {
            throw SigstoreError(.usage, "--payload and --signature belong together")
        }
        let given = try givenSignature()
        let verifier = try verifier(
            annotations: try AnnotationFlag.pairs(annotations),
            standardInputIsTaken: [payload, signature].contains("-"), context)
        let (access, flags) = (try access(context), options)
        try ImageBatch(verb: "verified", context: context).forEach(images) { name throws(SigstoreError) in
            var verified = VerifiedImages()
            for var image in try await flags.images(name, access) {
                if attachment != nil { image = try await image.attachment(.sbom, tagPrefix: access.tagPrefix) }
                let found =
                    if let given { StoredSignatures([given]) } else {
                        try await access.attachments(of: image).find(.signature)
                    }
                do throws(SigstoreError) {
                    verified.add(image, try verifier.verify(image, found, .signature), found)
                } catch { throw await access.pointingWithin(image, .signature, error) }
            }
            return verified
        } print: { name, verified throws(SigstoreError) in
            verified.warn(context.output)
            let held = verified.images.flatMap(\.signatures)
            VerificationHeader(context.output).print(
                name, held, checksClaims: flags.checkClaims, comparesAnnotations: !annotations.isEmpty)
            if output == .json {
                try context.output.json(.array(held.map(\.payload)))
            } else {
                for (image, signatures) in verified.images {
                    for signature in signatures {
                        try context.output.result("\(image.digest) \(VerifiedDescription(signature.verified).signer)")
                    }
                }
            }
        }
    }

    private func givenSignature() throws(SigstoreError) -> StoredSignature? {
        guard let payload, let signature else { return nil }
        return StoredSignature(
            bundle: try SignatureFile.Parts(
                signature: signature, bundle: nil, certificate: nil, timestamp: nil, names: .flags
            ).joined(attestation: false), payload: try InputFile(payload).contents(limit: 1 << 20))
    }
}
