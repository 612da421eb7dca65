import ArgumentParser

struct SigningConfigCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "signing-config", abstract: "Makes signing configs: files that say which services to sign with.",
        subcommands: [SigningConfigCreate.self])
}
