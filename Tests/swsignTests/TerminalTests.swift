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

    // MARK: Several images

    @Test("What came of several images is a table on a terminal; standard output is the same as ever")
    func table() async throws {
        let place = try await ImageFixture(.layout)
        let (one, two) = (try await place.push("one", tag: "one"), try await place.push("two", tag: "two"))
        _ = try await place.push("three", tag: "three")
        let names = ["one", "two", "three", "four"].map { "\(place.repository):\($0)" }
        /// A row of a table with these names.
        func row(_ names: [String], _ name: String, _ mark: String, _ rest: String) -> String {
            let width = names.map(\.count).max() ?? 0
            return name + String(repeating: " ", count: width - name.count + 2) + mark + rest
        }
        /// The lines from the table on.
        func table(_ arguments: [String]) async -> (lines: [String], outcome: Program.Outcome) {
            var program = Program(directory: place.directory.path)
            program.warnsOnTerminal = true
            let outcome = await program.run(arguments + ["--quiet"], terminal: [])
            let lines = outcome.screen.components(separatedBy: "\r\n")
            return (Array(lines.drop { !$0.hasPrefix("IMAGE ") }), outcome)
        }
        let sign = ["sign", "--key", "key.pem"] + ImageFixture.signing
        let some = [names[0], names[1], names[3]]
        let signed = await table(sign + some)
        #expect(
            signed.lines.prefix(4) == [
                row(some, "IMAGE", "", "RESULT"),
                row(some, names[0], Self.green("Signed"), " \(one.digest); the signature is in \(place.repository)"),
                row(some, names[1], Self.green("Signed"), " \(two.digest); the signature is in \(place.repository)"),
                row(some, names[3], Self.red("FAILED,"), " image-not-found"),
            ], "\(signed.outcome.screen)")
        #expect(signed.lines.contains("\(Self.red("2")) of 3 images signed"), "\(signed.outcome.screen)")
        await place.sign(one.name).expectSuccess()

        let three = Array(names.prefix(3))
        let verify = ["verify", "--key", "key.pub"] + ImageFixture.verifying + three
        let verified = await table(verify)
        let lines = verified.lines
        #expect(verified.outcome.ending == .exit(10), "\(verified.outcome.screen)")
        let key = try #require(lines.dropFirst().first?.components(separatedBy: "the key ").last)
        let words = " OK, signed with the key \(key)"
        #expect(
            lines.prefix(5) == [
                row(three, "IMAGE", "", "RESULT"), row(three, names[0], Self.green("Verified"), words),
                row(three, "", "", "signed with the key \(key)"), row(three, names[1], Self.green("Verified"), words),
                row(three, names[2], Self.red("FAILED,"), " no-signature"),
            ], "\(verified.outcome.screen)")
        #expect(lines.dropFirst(5).first?.hasPrefix("\(Self.red("Error:")) there is no signature of ") == true)
        #expect(lines.contains("\(Self.red("2")) of 3 images verified"))
        #expect(!verified.outcome.screen.contains("Verification for"))
        let piped = await place.swsign(verify)
        #expect(verified.outcome.stdout == piped.stdout && !piped.stdout.isEmpty)
        #expect(piped.messages.contains("\nVerification for \(names[0]) --\n") && !piped.messages.contains("IMAGE"))

        try place.directory.write("predicate.json", "{}")
        let type = ["--type", "slsaprovenance1"]
        let attested = await table(
            ["attest", "--key", "key.pem", "--predicate", "predicate.json"] + type + ImageFixture.signing
                + [names[0], names[1]])
        #expect(
            attested.lines.dropFirst().first
                == "\(names[0])  \(Self.green("Attested")) \(one.digest); the attestation is in \(place.repository)",
            "\(attested.outcome.screen)")
        #expect(attested.lines.contains("\(Self.green("2")) of 2 images attested"), "\(attested.outcome.screen)")
        let statements = await table(
            ["verify-attestation", "--key", "key.pub"] + type + ImageFixture.verifying + [names[0], names[1]])
        #expect(statements.outcome.succeeded && statements.lines.first?.hasPrefix("IMAGE ") == true)
        #expect(statements.lines.contains("\(Self.green("2")) of 2 images verified"), "\(statements.outcome.screen)")
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

    // MARK: Progress

    /// Runs a command on a terminal, with a registry that keeps it waiting until the progress bar shows something.
    private func shown(
        _ place: ImageFixture, _ arguments: [String], at path: String, method: String = "GET", until words: String
    ) async throws -> String {
        let registry = try place.registry
        try place.directory.write("seen", "")
        registry.faults.add(Fault(.delay(seconds: 250), method: method, path: path))
        let command = ([Program.path] + arguments).map { "'\($0)'" }.joined(separator: " ")
        var program = Program(executable: "script", directory: place.directory.path)
        program.takesTurns = false
        async let run = program.run(["-qefc", "stty columns 150; \(command) > result", "seen"])
        #expect(
            await Spawning.wait { (try? place.directory.text("seen"))?.contains(words) == true },
            "\((try? place.directory.text("seen")).debugDescription)")
        registry.faults.removeAll()
        let outcome = await run
        #expect(outcome.succeeded, "\(outcome.output)")
        return outcome.output
    }

    @Test("How many images are verified, and how much is copied, is shown while it takes long")
    func progress() async throws {
        let place = try await ImageFixture(takesTurns: false)
        let (index, images) = try await place.pushIndex(["amd64", "arm64"], tag: "index")
        let other = try await place.push("another", tag: "other")
        await place.sign(other.name, index.name, flags: ["--recursive"]).expectSuccess()
        let verify = ["verify", "--key", "key.pub"] + ImageFixture.verifying
        let several = try await shown(
            place, verify + [images[0].name, images[1].name, other.name], at: "/referrers/\(other.digest)",
            until: "66%, 2 of 3 images verified")
        #expect(
            several.contains(/\[=+ +\] 66%, 2 of 3 images verified, [0-9.]+ (B|KiB) pulled, [0-9]+ s/), "\(several)")
        let recursive = try await shown(
            place, verify + ["--recursive", index.name], at: "/referrers/\(images[1].digest)",
            until: "2 of 3 images verified")
        // It is gone at the end.
        #expect(
            recursive.contains("\r\u{1b}[K\r\n\(Self.green("Verification")) for \(index.name) --\r\n"),
            "\(recursive.debugDescription)")
        let layer = try #require(try await place.store.manifest(.digest(other.digest))?.image?.layers.first)
        let copied = try await shown(
            place, ["copy", other.name, "oci-layout:copy:one"], at: "/blobs/\(layer.digest)", until: " copied, ")
        #expect(copied.contains(/[0-9]+%, 2 B of 9 B copied, [0-9.]+ (B|KiB) pulled, [0-9]+ s/), "\(copied)")
    }

    @Test("With --quiet nothing is shown of that")
    func quiet() async throws {
        let place = try await ImageFixture(takesTurns: false)
        let (one, two) = (try await place.push("one"), try await place.push("two"))
        await place.sign(one.name, two.name).expectSuccess()
        try place.registry.faults.add(Fault(.delay(seconds: 1.6), method: "GET", path: "/referrers/\(two.digest)"))
        var program = Program(directory: place.directory.path)
        program.warnsOnTerminal = true
        let outcome = await program.run(
            ["verify", "--quiet", "--color=never", "--key", "key.pub"] + ImageFixture.verifying + [one.name, two.name],
            terminal: [])
        #expect(outcome.succeeded && !outcome.terminal.contains(0x1b), "\(outcome.screen.debugDescription)")
        #expect(outcome.screen.contains("2 of 2 images verified"))
    }
}
