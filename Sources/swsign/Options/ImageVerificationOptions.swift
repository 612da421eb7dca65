import ArgumentParser
import SigstoreVerification
import StrictJSON
import SwSignCore

/// The flags that say which images are verified.
struct ImageVerificationOptions: ParsableArguments {
    @Flag(
        name: .customLong("check-claims"), inversion: .prefixedNo,
        help: "Check that what was signed names this image's digest.")
    var checkClaims = true
    @Flag(name: .customLong("local-image"), help: "The names are folders that swsign save or cosign save wrote.")
    var localImage = false
    @Flag(name: .shortAndLong, help: "Verify every image of an index as well.")
    var recursive = false
    @Option(help: "With an index, verify the image for this platform, such as linux/arm64, in place of the index.")
    var platform: String?
    @Option(
        name: .customLong("attachment-tag-prefix"),
        help: "What stands before the tags of signatures of the older scheme.")
    var tagPrefix = ""
    @Flag(
        name: .customLong("all-signatures"),
        help: "Read and print everything that holds, in both schemes; otherwise the older one only if no bundle holds.")
    var allSignatures = false

    /// The images that a name stands for.
    func images(_ name: String, _ access: ImageAccess) async throws(SigstoreError) -> [Image] {
        let image = try await access.image(name, isFolder: localImage, isAskedFor: false)
        if let platform { return try await image.picking(platform) }
        return recursive ? try await image.withPlatforms().map(\.image) : [image]
    }
}

/// A command that verifies images.
protocol ImageVerificationCommand: SwSignCommand {
    var options: ImageVerificationOptions { get }
    var verification: VerificationOptions { get }
    var identity: IdentityOptions { get }
    var trust: TrustOptions { get }
    var registry: RegistryFlags { get }
}

extension ImageVerificationCommand {
    /// What verifies each image, warning of each check that is weaker than usual.
    /// - Parameters:
    ///   - annotations: What the signer must have said.
    ///   - standardInputIsTaken: Whether something else is read from standard input.
    /// - Returns: The verifier, and what looks up log entries that did not come with a signature.
    func verifier(
        annotations: [(name: String, value: String)] = [], standardInputIsTaken: Bool = false, _ context: Context
    ) throws(SigstoreError) -> (verifier: ImageVerifier, lookup: LogLookup?) {
        let signers = try verification.signers(identity, standardInputIsTaken: standardInputIsTaken, context)
        if !options.checkClaims {
            context.output.warn(
                "what was signed is not compared with the image: it may be a signature for another one (--check-claims=false)"
            )
        }
        let verifier = try verification.verifier(identity, trust, context)
        return (
            ImageVerifier(
                verifier: verifier, signers: signers, annotations: annotations, checksClaims: options.checkClaims,
                report: VerificationHeader(context.output).report),
            verification.lookup(verifier, signers, context)
        )
    }

    /// The images, reached as the flags say.
    func access(_ context: Context) throws(SigstoreError) -> ImageAccess {
        try registry.images(context, tagPrefix: options.tagPrefix)
    }
}
