import ArgumentParser
import StrictJSON

struct TlogGet: SwSignCommand {
    static let configuration = CommandConfiguration(commandName: "get", abstract: "Shows an entry of a log.")

    @OptionGroup(title: "Entry") var place: LogEntryOptions
    @OptionGroup(title: "Log") var log: LogOptions
    @OptionGroup(title: "Global options") var global: GlobalOptions

    func run(_ context: Context) throws(SigstoreError) {
        try place.expectOne()
        let reader = try log.reader(context)
        try log.show(try place.entry(reader, context), reader, context.output)
    }
}
