import Foundation
import LocalSigstore
import OCIRegistry
import Spawning
import StrictJSON
import TestServices
import Testing

/// What a person sees on a terminal, and what a file or a pipe gets in its place.
struct TerminalTests {
    private static func red(_ word: String) -> String { "\u{1b}[31m\(word)\u{1b}[0m" }
    private static func green(_ word: String) -> String { "\u{1b}[32m\(word)\u{1b}[0m" }
    private static func yellow(_ word: String) -> String { "\u{1b}[33m\(word)\u{1b}[0m" }

    // MARK: Colours

    /// Where standard error leads.
    enum Place: String { case terminal, pipe, file }

    @Test(
        "Words of success, warning and failure have colours on a terminal, unless the environment or a flag says otherwise",
        arguments: [
            (Place.terminal, [], [:], true), (.terminal, [], ["TERM": "xterm", "NO_COLOR": ""], true),
            (.terminal, [], ["NO_COLOR": "1"], false), (.terminal, [], ["NO_COLOR": "0"], false),
            (.terminal, [], ["TERM": "dumb"], false), (.terminal, ["--color=never"], [:], false),
            (.terminal, ["--color", "auto"], ["NO_COLOR": "1"], false),
            (.terminal, [], ["COSIGN_COLOR": "never"], false),
            (.terminal, ["--color=always"], ["NO_COLOR": "1", "TERM": "dumb", "COSIGN_COLOR": "never"], true),
            (.pipe, [], [:], false), (.pipe, ["--color=always"], [:], true),
            (.pipe, [], ["COSIGN_COLOR": "always"], true),
            (.file, [], [:], false), (.file, ["--color=always"], [:], false),
        ] as [(Place, [String], [String: String], Bool)])
    func colors(place: Place, flags: [String], environment: [String: String], isColored: Bool) async throws {
        let directory = TemporaryDirectory()
        try directory.makeKey()
        try directory.write("file", "content")
        var program = Program(directory: directory.path, environment: environment)
        program.warnsOnTerminal = place == .terminal
        if place == .file { program.limits = "exec 2>messages" }
        func messages(_ arguments: [String]) async throws -> String {
            let outcome = await program.run(arguments + flags + ["--quiet"], terminal: place == .terminal ? [] : nil)
            let text =
                switch place {
                case .terminal: outcome.screen.replacingOccurrences(of: "\r\n", with: "\n")
                case .pipe: outcome.messages
                case .file: try directory.text("messages")
                }
            #expect(text.contains("\u{1b}") == isColored, "\(text.debugDescription)")
            return text
        }
        let signed = try await messages([
            "sign-blob", "--key", "key.pem", "--tlog-upload=false", "--output-certificate", "c", "--bundle", "b.json",
            "file",
        ])
        let refused = try await messages(["version", "--nope"])
        let (wrote, warning) = ("bundle to file b.json\n", "a key signs")
        if isColored {
            #expect(signed.contains("\(Self.yellow("WARNING:")) \(warning)"), "\(signed.debugDescription)")
            #expect(signed.hasSuffix("\(Self.green("Wrote")) \(wrote)"), "\(signed.debugDescription)")
            #expect(refused.hasPrefix("\(Self.red("Error:")) unknown flag --nope [usage]\n"), "\(refused)")
        } else {
            #expect(signed.contains("WARNING: \(warning)") && signed.hasSuffix("Wrote \(wrote)"), "\(signed)")
            #expect(refused.hasPrefix("Error: unknown flag --nope [usage]\n"), "\(refused)")
        }
    }

    @Test("No result, no JSON and nothing from outside has a colour, and escapes in a name stay harmless")
    func nothingElse() async throws {
        let directory = TemporaryDirectory()
        try directory.makeKey()
        let name = "\u{1b}[32mVerified\u{1b}[0m"
        try directory.write(name, "content")
        var program = Program(directory: directory.path)
        program.warnsOnTerminal = true
        let signed = await program.run(
            ["sign-blob", "--key", "key.pem", "--tlog-upload=false", "--bundle", "b.json", name], terminal: [])
        #expect(signed.succeeded, "\(signed.screen)")
        for (arguments, mark) in [
            (["b.json", name], Self.green("Verified")), (["b.json", "--output", "json", name], Self.green("Verified")),
            (["\(name).json", name], Self.red("Error:")),
        ] {
            let outcome = await program.run(
                ["verify-blob", "--key", "key.pub", "--insecure-ignore-tlog", "--quiet", "--color=always", "--bundle"]
                    + arguments,
                terminal: [])
            #expect(outcome.succeeded == (arguments[0] == "b.json"), "\(outcome.screen)")
            #expect(outcome.screen.contains(mark), "\(outcome.screen.debugDescription)")
            let rest = outcome.screen.replacingOccurrences(of: mark, with: "").replacingOccurrences(
                of: Self.yellow("WARNING:"), with: "")
            #expect(!rest.contains("\u{1b}"), "\(outcome.screen.debugDescription)")
            #expect(!outcome.stdout.contains(0x1b), "\(outcome.output.debugDescription)")
        }
        let refused = await program.run(["version", "--nope", "--errors", "json", "--color", "always"], terminal: [])
        #expect(!refused.terminal.contains(0x1b) && refused.screen.contains("\"usage\""), "\(refused.screen)")
        // Each stream for itself: standard output alone on a terminal gives standard error no colours.
        program.warnsOnTerminal = false
        program.printsOnTerminal = true
        let piped = await program.run(["version", "--nope"], terminal: [])
        #expect(piped.messages.hasPrefix("Error: "), "\(piped.messages.debugDescription)")
    }

    @Test("Each of many signatures has a line, those that hold and those that do not, for people and for programs")
    func manySignatures() async throws {
        let place = try await ImageFixture(.layout)
        let image = try await place.push()
        for key in ["key", "other", "key", "other", "key"] { await place.sign(image.name, key: key).expectSuccess() }
        let verified = await place.verify(image.name, flags: ["--key", "other.pub"])
        verified.expectSuccess()
        let held = verified.messages.split(separator: "\n").filter { $0.hasPrefix("referrer sha256:") }
        #expect(held.count == 5 && held.allSatisfy { $0.contains(": signed with the key ") }, "\(verified.messages)")

        try place.directory.makeKey("third")
        let refused = await place.verify(image.name, key: "third")
        refused.expectRefusal(12, "no-matching-signature")
        let lines = refused.messages.components(separatedBy: "\n")
        let first = try #require(lines.firstIndex { $0.hasPrefix("Error: ") })
        #expect(lines[first] == "Error: no signature of \(image.name) (\(image.digest)) holds [no-matching-signature]")
        let reasons = lines[(first + 1)...].prefix { $0.hasPrefix("       referrer sha256:") }
        #expect(reasons.count == 5 && Set(reasons).count == 5, "\(refused.messages)")
        #expect(reasons.allSatisfy { $0.contains(": step 1 of 8, form: another key signed this: ") })
        let error = try await place.verify(image.name, key: "third", flags: ["--errors", "json"]).jsonError()
        #expect(
            try error.member("details").elements().map { try "       " + $0.string() } == Array(reasons))
        #expect(try error.member("message").string().hasSuffix(" holds"))

        let few = await place.verify(image.name, key: "third", flags: ["--key", "key.pub", "--threshold", "2"])
        few.expectRefusal(1, "too-few-signers", "found 1; these signatures do not count [")
        #expect(few.messages.split(separator: "\n").filter { $0.hasPrefix("       referrer sha256:") }.count == 2)
    }
}
