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
    @OptionGroup var options: ImageVerificationOptions
    @OptionGroup(title: "Global options") var global: GlobalOptions

    mutating func run() throws {
        try global.apply()
        let type = try PredicateType(named: type)
        let verifier = try options.verifier()
        let (access, flags) = (try options.access(global), options.images)
        try ImageBatch(verb: "verified").forEach(images) { name throws(SigstoreError) in
            var verified = VerifiedImages()
            for image in try await flags.images(name, access) {
                let found = try await access.attachments(of: image).find(.attestation)
                verified.add(image, try verifier.verify(image, found, .attestation(type)), found)
            }
            return verified
        } print: { name, verified throws(SigstoreError) in
            verified.warn()
            let held = verified.images.flatMap(\.signatures)
            VerificationHeader.print(name, held, checksClaims: flags.checkClaims)
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
