import ArgumentParser
import StrictJSON
import SwSignCore

/// The flags of the commands that deal with what is attached to one image.
struct AttachmentOptions: ParsableArguments {
    @OptionGroup(title: "Attachments") var attachments: AttachmentFlags
    @OptionGroup(title: "Registry") var registry: RegistryFlags

    /// The images, reached as these flags say.
    func images(_ global: GlobalOptions) throws(SigstoreError) -> ImageAccess {
        try registry.images(global, tagPrefix: attachments.tagPrefix)
    }

    /// What is attached to the image of that name.
    /// - Parameter platform: If the name is an index's, the image for this platform is meant.
    func attachments(of name: String, platform: String? = nil, _ global: GlobalOptions) throws(SigstoreError)
        -> SignatureStore
    {
        let images = try images(global)
        return try waiting { () throws(SigstoreError) in
            try images.attachments(of: try await images.image(name, platform: platform))
        }
    }
}

/// The flags about attachments alone.
struct AttachmentFlags: ParsableArguments {
    @Option(name: .customLong("attachment-tag-prefix"), help: "What stands before the tags of the older scheme.")
    var tagPrefix = ""
    @Flag(name: .customLong("experimental-oci11"), help: "Accepted as in cosign; referrers are always read.")
    var experimentalOCI11 = false
}
