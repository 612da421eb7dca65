import ArgumentParser
import StrictJSON
import SwSignCore

/// The flags about what is attached to images.
struct AttachmentOptions: ParsableArguments {
    @Option(name: .customLong("attachment-tag-prefix"), help: "What stands before the tags of the older scheme.")
    var tagPrefix = ""
    @Flag(name: .customLong("experimental-oci11"), help: "Accepted as in cosign; referrers are always read.")
    var experimentalOCI11 = false
}

/// A command that deals with what is attached to one image.
///
/// The commands have the groups of flags themselves: in debug builds, the parser checks a group inside a group over and over.
protocol AttachmentCommand: SwSignCommand {
    var options: AttachmentOptions { get }
    var registry: RegistryFlags { get }
    /// Whether other jobs write to the same image at once.
    var concurrentSigners: Bool { get }
}

extension AttachmentCommand {
    var concurrentSigners: Bool { false }

    /// The images, reached as the flags say.
    func images(_ context: Context) throws(SigstoreError) -> ImageAccess {
        try registry.images(context, tagPrefix: options.tagPrefix, concurrentSigners: concurrentSigners)
    }

    /// What is attached to the image of that name.
    /// - Parameter platform: If the name is an index's, the image for this platform is meant.
    func attachments(of name: String, platform: String? = nil, _ context: Context) throws(SigstoreError)
        -> SignatureStore
    {
        let images = try images(context)
        return try waiting { () throws(SigstoreError) in
            try images.attachments(of: try await images.image(name, platform: platform))
        }
    }
}
