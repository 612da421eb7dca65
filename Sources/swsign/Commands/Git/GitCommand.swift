import ArgumentParser

struct GitCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "git", abstract: "Says who signed commits and tags of git.",
        subcommands: [GitVerify.self, GitHook.self])
}
