import ArgumentParser
import InToto
import OCIRegistry
import SigstoreCrypto
import SigstoreVerification
import StrictJSON
import SwSignCore

struct VerifyAttestation: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "verify-attestation", _superCommandName: "swsign",
        abstract: "Verifies attestations about container images.")

    @Argument(help: "The images: references, or oci-layout:PATH[:TAG|@DIGEST].")
    var images: [String]
    @Option(help: "The type that the predicate must have: \(PredicateType.nameList), or a URI.")
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

    mutating func run() throws {
        try global.apply()
        let type = try PredicateType(named: type)
        let policy = try verification.policy(identity, standardInputIsTaken: false)
        options.warn()
        let verifier = ImageVerifier(
            verifier: try verification.verifier(trust), policy: policy, checksClaims: options.checkClaims,
            report: VerificationHeader.report)
        let registries = try registry.registries(global)
        let (options, flags) = (options, registry)
        try ImageBatch(verb: "verified").forEach(images) { name throws(SigstoreError) in
            var verified = VerifiedImages()
            for image in try await options.images(name, flags, registries) {
                let found = try await flags.signatures(of: image, tagPrefix: options.tagPrefix).find(.attestation)
                verified.add(image, try verifier.verify(image, found, .attestation(type)), found)
            }
            return verified
        } print: { name, verified throws(SigstoreError) in
            verified.warn()
            let held = verified.images.flatMap(\.signatures)
            VerificationHeader.print(name, held, checksClaims: options.checkClaims)
            for signature in held {
                guard case .dsse(let envelope) = signature.signature.bundle.content else { continue }
                if output == .json {
                    try Output.json(envelope.json())
                } else {
                    try Output.result("\(type.uri) \(VerifiedDescription(signature.verified).signer)")
                }
            }
        }
    }
}
