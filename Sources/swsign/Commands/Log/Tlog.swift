import ArgumentParser

struct Tlog: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "tlog", abstract: "Looks into a transparency log. What it answers is verified before it is shown.",
        subcommands: [TlogGet.self, TlogSearch.self, TlogVerify.self, TlogInfo.self, TlogMonitor.self])
}
