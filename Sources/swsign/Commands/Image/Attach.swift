import ArgumentParser

struct Attach: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "attach", abstract: "Attaches to an image what was made elsewhere.",
        subcommands: [AttachSignature.self, AttachAttestation.self, AttachSBOM.self])

    /// The largest file that is attached: cosign's limit.
    static let limit = 128 << 20
}
