import ArgumentParser
import OCIRegistry
import StrictJSON
import SwSignCore

/// The flags of the commands that deal with what is attached to images.
struct AttachmentOptions: ParsableArguments {
    @Option(name: .customLong("attachment-tag-prefix"), help: "What stands before the tags of the older scheme.")
    var tagPrefix = ""
    @Flag(name: .customLong("experimental-oci11"), help: "Accepted as in cosign; referrers are always read.")
    var experimentalOCI11 = false

    func signatures(of image: Image, _ flags: RegistryFlags) throws(SigstoreError) -> SignatureStore {
        try flags.signatures(of: image, tagPrefix: tagPrefix)
    }
}
