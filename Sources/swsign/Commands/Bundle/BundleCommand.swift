import ArgumentParser

struct BundleCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "bundle", abstract: "Shows what a bundle holds, or makes one of older parts.",
        subcommands: [BundleInspect.self, BundleCreate.self])
}
