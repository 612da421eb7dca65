import ArgumentParser

struct TlogGet: ParsableCommand {
    static let configuration = CommandConfiguration(commandName: "get", abstract: "Shows an entry of a log.")

    @OptionGroup(title: "Entry") var place: LogEntryOptions
    @OptionGroup(title: "Log") var log: LogOptions
    @OptionGroup(title: "Global options") var global: GlobalOptions

    mutating func run() throws {
        try global.apply()
        try place.expectOne()
        let reader = try log.reader()
        try log.show(try place.entry(reader), reader)
    }
}
