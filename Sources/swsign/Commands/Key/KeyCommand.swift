import ArgumentParser

struct KeyCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "key", abstract: "Shows what a key is, and where it is kept.", subcommands: [KeyInfo.self])
}
