import ArgumentParser

struct PKCS11Tool: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "pkcs11-tool", abstract: "Lists tokens, and the keys on a token, with the references to use.",
        subcommands: [ListTokens.self, ListKeysURIs.self])
}
