import ArgumentParser
import InToto
import OCIRegistry
import SigstoreCrypto
import SigstoreVerification
import StrictJSON
import SwSignCore

struct Verify: ImageVerificationCommand {
    static let configuration = CommandConfiguration(
        commandName: "verify", _superCommandName: SwSign.name, abstract: "Verifies the signatures of container images.")

    @Argument(help: "The images: references, or oci-layout:PATH[:TAG|@DIGEST].")
    var images: [String]
    @Option(
        name: [.customLong("annotations"), .customShort("a")],
        help: "An annotation that the signer must have made, as key=value.")
    var annotations: [String] = []
    @Option(help: "Verify what is attached to the image, such as sbom, in place of the image.")
    var attachment: String?
    @Option(
        help:
            "A file with the payload that was signed, for --signature; without it, the one that cosign makes for the image."
    )
    var payload: String?
    @Option(help: "The signature: a file (a bundle too), or the base64 itself.")
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
        guard payload == nil || signature != nil else {
            throw SigstoreError(.usage, "--payload belongs to --signature", advice: "give both")
        }
        try BlobBatch.expectOneStandardInput([payload, signature].compactMap { $0 })
        let given = try givenSignatures()
        let (verifier, lookup) = try verifier(
            annotations: try AnnotationFlag.pairs(annotations),
            standardInputIsTaken: [payload, signature].contains("-"), context)
        let (access, flags) = (try access(context), options)
        let batch = ImageBatch(verb: "verified", context: context)
        try batch.forEach(images) { name throws(SigstoreError) in
            var verified = VerifiedImages()
            let found = try await flags.images(name, access)
            let count = batch.counting(found.count, within: images)
            for var image in found {
                if attachment != nil { image = try await image.attachment(.sbom, tagPrefix: access.tagPrefix) }
                let store = try access.attachments(of: image)
                do throws(SigstoreError) {
                    if let given {
                        let found = StoredSignatures(given.map { $0.stored(for: image) })
                        verified.add(image, try await verifier.verify(image, found, .signature, lookup), found)
                    } else {
                        let (held, found) = try await verifier.verify(
                            store, .signature, all: flags.allSignatures, lookup)
                        verified.add(image, held, found)
                    }
                } catch {
                    guard let given else { throw await access.pointingWithin(image, .signature, error) }
                    throw given.contains { $0.payload == nil } ? Self.withoutPayload(error) : error
                }
                count()
            }
            return verified
        } print: { name, verified, isTabled throws(SigstoreError) in
            verified.warn(context.output)
            let held = verified.images.flatMap(\.signatures)
            let header = VerificationHeader(context.output)
            if isTabled {
                header.warn(held)
            } else {
                header.print(
                    name, held, checksClaims: flags.checkClaims, comparesAnnotations: !annotations.isEmpty)
            }
            if output == .json {
                let isCounted = verification.threshold != nil
                try context.output.json(
                    .array(
                        held.map {
                            let payload = $0.payload.namingCertificate($0.verified)
                            return isCounted ? payload.naming($0.verified) : payload
                        }))
            } else {
                for (image, signatures) in verified.images {
                    for signature in signatures {
                        try context.output.result("\(image.digest) \(VerifiedDescription(signature.verified).signer)")
                    }
                }
            }
            return verified.lines
        }
    }

    /// Why a signature alone may not hold though it is the image's.
    private static func withoutPayload(_ error: SigstoreError) -> SigstoreError {
        guard (error.cause as? SigstoreError)?.code == .invalidSignature else { return error }
        var error = error
        error.advice = .sentence(
            "if the signature has annotations or names another repository, give what was signed with --payload")
        return error
    }

    /// The signatures that `--signature` gives, of which one must hold.
    private func givenSignatures() throws(SigstoreError) -> [GivenSignature]? {
        guard let signature else { return nil }
        let bundles = try SignatureFile.Parts(
            signature: signature, bundle: nil, certificate: nil, timestamp: nil, names: .flags
        ).signatures(attestation: false)
        let payload = try payload.map { path throws(SigstoreError) in try InputFile(path).contents(limit: 1 << 20) }
        return bundles.map { GivenSignature(bundle: $0, payload: payload) }
    }
}

/// A signature that came in a file.
private struct GivenSignature {
    let bundle: SigstoreBundle
    /// What it is over, if that came in a file too.
    let payload: [UInt8]?

    /// The signature as one of an image's. Without a payload it is over the one that cosign makes for the image.
    func stored(for image: Image) -> StoredSignature {
        if case .dsse = bundle.content, payload == nil { return StoredSignature(bundle: bundle) }
        let made = SimpleSigningPayload(dockerReference: image.repositoryName, digest: image.digest)
        return StoredSignature(bundle: bundle, payload: payload ?? made.json().serialized())
    }
}
