import ArgumentParser

struct AuditCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "audit", abstract: "Finds out who signed what is in registries, and reports it.",
        subcommands: [AuditMerge.self])
}
