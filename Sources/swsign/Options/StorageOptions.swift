import ArgumentParser
import StrictJSON

/// How what is signed is put beside an image.
struct StorageOptions: ParsableArguments {
    @Option(name: .customLong("attachment-tag-prefix"), help: "What stands before tags of the older scheme.")
    var tagPrefix = ""
    @Flag(
        name: .customLong("record-creation-timestamp"),
        help: "Say in the older scheme's manifest when it was made. The newer scheme always says it.")
    var recordCreationTimestamp = false
    @Flag(
        name: .customLong("concurrent-signers"),
        help: "Several jobs sign this image at once: announce each signature at a tag of its own until all are listed.")
    var concurrentSigners = false

    /// The time that the older scheme's manifest states, if it states any.
    func creationTime(_ seconds: Int64) -> String? {
        recordCreationTimestamp ? Instant(seconds: seconds).description : nil
    }

    /// The images, reached as these flags and those of the registry say.
    /// - Parameter isLong: Whether the command may take as long as it needs, if its time was not limited.
    func images(_ registry: RegistryFlags, isLong: Bool = false, _ context: Context) throws(SigstoreError)
        -> ImageAccess
    {
        try registry.images(context, tagPrefix: tagPrefix, concurrentSigners: concurrentSigners, isLong: isLong)
    }
}
