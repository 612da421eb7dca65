import ArgumentParser
import InToto
import OCIRegistry
import SigstoreCrypto
import SigstoreVerification
import StrictJSON
import SwSignCore

struct VerifyAttestation: ImageVerificationCommand {
    static let configuration = CommandConfiguration(
        commandName: "verify-attestation", _superCommandName: SwSign.name,
        abstract: "Verifies attestations about container images.")

    @Argument(help: "The images: references, or oci-layout:PATH[:TAG|@DIGEST].")
    var images: [String]
    @Option(
        help: "The type that the predicate must have: \(PredicateType.nameList), or a URI.",
        completion: .predicateTypes)
    var type = "custom"
    @Option(
        name: .shortAndLong, help: "How results are printed on standard output: json (one envelope a line) or text.")
    var output: OutputFormat = .json
    @OptionGroup(title: "Images") var options: ImageVerificationOptions
    @OptionGroup(title: "Verification") var verification: VerificationOptions
    @OptionGroup(title: "Identity") var identity: IdentityOptions
    @OptionGroup(title: "Trust") var trust: TrustOptions
    @OptionGroup(title: "Registry") var registry: RegistryFlags
    @OptionGroup(title: "Global options") var global: GlobalOptions

    func run(_ context: Context) throws(SigstoreError) {
        let type = try PredicateType(named: type)
        let (verifier, lookup) = try verifier(context)
        let (access, flags) = (try access(context), options)
        let batch = ImageBatch(verb: "verified", context: context)
        try batch.forEach(images) { name throws(SigstoreError) in
            var verified = VerifiedImages()
            let found = try await flags.images(name, access)
            let count = batch.counting(found.count, within: images)
            for image in found {
                let store = try access.attachments(of: image)
                do throws(SigstoreError) {
                    let (held, found) = try await verifier.verify(
                        store, .attestation(type), all: flags.allSignatures, lookup)
                    verified.add(image, held, found)
                } catch { throw await access.pointingWithin(image, .attestation, error) }
                count()
            }
            return verified
        } print: { name, verified, isTabled throws(SigstoreError) in
            verified.warn(context.output)
            let held = verified.images.flatMap(\.signatures)
            let header = VerificationHeader(context.output)
            if isTabled { header.warn(held) } else { header.print(name, held, checksClaims: flags.checkClaims) }
            for signature in held {
                guard case .dsse(let envelope) = signature.signature.bundle.content else { continue }
                if output == .json {
                    let json = envelope.json()
                    try context.output.json(verification.threshold == nil ? json : json.naming(signature.verified))
                } else {
                    try context.output.result("\(type.uri) \(VerifiedDescription(signature.verified).signer)")
                }
            }
            return verified.lines
        }
    }
}
