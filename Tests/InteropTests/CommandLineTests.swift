import Foundation
import Testing

/// cosign's command lines, as its own help lists them: everything there is either built here or refused by its name.
@Suite(.needsPeers, .serialized)
struct CommandLineTests {
    /// The commands below these words: those that have none of their own.
    private static func commands(_ program: String, _ words: [String], _ place: Workplace) async throws -> [(
        words: [String], help: String
    )] {
        let help = String(decoding: try await place.must(program, words + ["--help"]).output, as: UTF8.self)
        let listed =
            help.components(separatedBy: "Available Commands:\n").dropFirst().first?
            .components(separatedBy: "\n\n").first ?? ""
        let names = listed.split(separator: "\n").compactMap { $0.split(separator: " ").first.map(String.init) }
        if names.isEmpty { return [(words, help)] }
        var found: [(words: [String], help: String)] = []
        for name in names where name != "help" { found += try await commands(program, words + [name], place) }
        return found
    }

    @Test(
        "Every command and flag in cosign's help is known here, or refused as not built yet",
        arguments: [Tool.cosign2, .cosign3])
    func everyFlagIsKnown(tool: Tool) async throws {
        let place = try Workplace()
        let commands = try await Self.commands(tool.program, [], place)
        #expect(commands.count > 25, "cosign's help was not understood: \(commands.map(\.words))")
        for (words, help) in commands {
            var flags: Set<String> = []
            for match in help.matches(of: /(?m)^ +(?:-([A-Za-z]), )?--([A-Za-z0-9-]+)/) {
                flags.insert("--\(match.2)=true")
                if let short = match.1 { flags.insert("-\(short)=true") }
            }
            flags.subtract(["--help=true", "-h=true"])
            #expect(flags.count >= 5, "no flags were found for \(words)")
            // The help is only shown where every flag before it is known.
            let outcome = try await place.run(Tool.swsign.program, words + flags.sorted() + ["--help"])
            if outcome.status != 0 {
                #expect(outcome.messages.contains("[not-built-yet]"), "\(words): \(outcome.messages)")
            }
        }
    }
}
