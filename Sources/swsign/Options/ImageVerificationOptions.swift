import ArgumentParser
import InToto
import OCIRegistry
import SigstoreCrypto
import SigstoreVerification
import StrictJSON
import SwSignCore

/// The flags that both commands verifying images have.
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

    func warn() {
        guard !checkClaims else { return }
        Output.warn(
            "what was signed is not compared with the image: it may be a signature for another one (--check-claims=false)"
        )
    }

    /// The images that a name stands for.
    func images(_ name: String, _ flags: RegistryFlags, _ registries: Registries) async throws(SigstoreError) -> [Image]
    {
        let image = try await flags.image(name, registries, isFolder: localImage)
        if let platform { return try await image.picking(platform) }
        return recursive ? try await image.withPlatforms().map(\.image) : [image]
    }
}
