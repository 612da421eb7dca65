import ArgumentParser

struct TrustedRootCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "trusted-root",
        abstract: "Makes trusted roots: files that say which authorities and logs are believed.",
        subcommands: [TrustedRootCreate.self])
}
