import ArgumentParser

struct GitCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "git", abstract: "Signs commits and tags of git, and says who signed them.",
        subcommands: [GitSetup.self, GitVerify.self, GitHook.self, GitAttest.self, GitShow.self])
}
