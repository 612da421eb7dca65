import ArgumentParser
import Foundation
import StrictJSON
import SwSignCore
import Testing

@testable import swsign

/// The command line: every flag of every command, given in every way.
struct FlagTests {
    /// One flag of one command.
    struct Case: Sendable, CustomTestStringConvertible {
        let command: String
        let flag: CommandFlag
        var testDescription: String { "\(command) --\(flag.name)" }
        var words: [String] { command.split(separator: " ").map(String.init) }
        /// A value that the command accepts.
        var value: String {
            switch flag.name {
            case "max-workers", "rekor-version", "log-index", "threshold", "slot-id", "limit", "max-entries": "2"
            case "timeout": "3m0s"
            default: "v=1,w"
            }
        }
    }

    static let cases = FlagTable.commands.sorted().flatMap { command in
        ((FlagTable.flags(of: command) ?? []) + FlagTable.global).map { Case(command: command, flag: $0) }
    }.filter { $0.flag.name != "help" }
    static let awaiting = cases.filter { $0.flag.awaits != nil }
    static let built = cases.filter { $0.flag.awaits == nil }

    static func normalized(_ arguments: [String], _ environment: [String: String] = [:]) throws(SigstoreError)
        -> [String]
    {
        try NormalizedArguments(arguments) { environment[$0] }.arguments
    }

    static func refusal(
        _ arguments: [String], _ environment: [String: String] = [:], sourceLocation: SourceLocation = #_sourceLocation
    )
        -> SigstoreError?
    {
        #expect(throws: SigstoreError.self, sourceLocation: sourceLocation) { try normalized(arguments, environment) }
    }

    // MARK: - Every flag

    @Test(
        "Bare, with =true, with =false and from the environment, each flag has the one form that it should have",
        arguments: built)
    func everyFlag(each: Case) throws {
        let (words, flag) = (each.words, each.flag)
        let spellings = [flag.name] + flag.aliases
        switch flag.kind {
        case .off, .on:
            let on = flag.kind == .off ? words + ["--\(flag.name)"] : words
            let off = flag.kind == .off ? words : words + ["--no-\(flag.name)"]
            for name in spellings {
                #expect(try Self.normalized(words + ["--\(name)"]) == on)
                for yes in ["true", "TRUE", "True", "t", "T", "1"] {
                    #expect(try Self.normalized(words + ["--\(name)=\(yes)"]) == on)
                }
                for no in ["false", "FALSE", "False", "f", "F", "0"] {
                    #expect(try Self.normalized(words + ["--\(name)=\(no)"]) == off)
                }
                for other in ["", "yes", "no", "on", "2", "tRUE", " true"] {
                    #expect(Self.refusal(words + ["--\(name)=\(other)"])?.code == .usage)
                }
            }
            if flag.kind == .on { #expect(try Self.normalized(words + ["--no-\(flag.name)"]) == off) }
            // The last one counts, and the command line counts before the environment.
            #expect(try Self.normalized(words + ["--\(flag.name)", "--\(flag.name)=false"]) == off)
            #expect(try Self.normalized(words + ["--\(flag.name)=false", "--\(flag.name)"]) == on)
            #expect(try Self.normalized(words, [flag.variable: "true"]) == on)
            #expect(try Self.normalized(words, [flag.variable: "false"]) == off)
            #expect(try Self.normalized(words, [flag.variable: ""]) == words)
            #expect(try Self.normalized(words + ["--\(flag.name)=false"], [flag.variable: "true"]) == off)
            #expect(try Self.normalized(words + ["--\(flag.name)"], [flag.variable: "false"]) == on)
            #expect(Self.refusal(words, [flag.variable: "maybe"])?.message.contains(flag.variable) == true)
            // A switch does not take the next argument.
            #expect(try Self.normalized(words + ["--\(flag.name)", "file"]) == on + ["--", "file"])
            for word in ["true", "false", "False", "TRUE"] {
                let refusal = Self.refusal(words + ["--\(flag.name)", word])
                #expect(refusal?.code == .usage && refusal?.advice == "write --\(flag.name)=\(word)")
                #expect(try Self.normalized(words + ["--\(flag.name)", "--", word]) == on + ["--", word])
            }
            if let short = flag.short {
                #expect(try Self.normalized(words + ["-\(short)"]) == on)
                #expect(try Self.normalized(words + ["-\(short)=false"]) == off)
                #expect(try Self.normalized(words + ["-\(short)", "FILE"]) == on + ["--", "FILE"])
            }
        case .value, .each:
            for name in spellings {
                for value in [each.value, "true", "false", "", "-", "--yes", "a=b", "\u{301}x"] {
                    #expect(try Self.normalized(words + ["--\(name)=\(value)"]) == words + ["--\(flag.name)=\(value)"])
                    #expect(try Self.normalized(words + ["--\(name)", value]) == words + ["--\(flag.name)=\(value)"])
                }
                let bare = Self.refusal(words + ["--\(name)"])
                #expect(bare?.code == .usage && bare?.message.contains("--\(name) needs a value") == true)
            }
            let twice = try Self.normalized(words + ["--\(flag.name)=a,b", "--\(flag.name)", "c"])
            #expect(
                twice == words
                    + (flag.kind == .value ? ["--\(flag.name)=c"] : ["--\(flag.name)=a,b", "--\(flag.name)=c"]))
            // Two flags of one command may share a variable.
            let sharing = ((FlagTable.flags(of: each.command) ?? []) + FlagTable.global).filter {
                $0.variable == flag.variable
            }
            for value in ["e", "true", "false"] {
                #expect(
                    try Self.normalized(words, [flag.variable: value]) == words
                        + sharing.map { "--\($0.name)=\(value)" })
            }
            #expect(try Self.normalized(words, [flag.variable: ""]) == words)
            #expect(
                try Self.normalized(words + ["--\(flag.name)=a"], [flag.variable: "e"])
                    == words + sharing.map { "--\($0.name)=\($0.name == flag.name ? "a" : "e")" })
            if let short = flag.short {
                for form in [["-\(short)", "v"], ["-\(short)v"], ["-\(short)=v"]] {
                    #expect(try Self.normalized(words + form) == words + ["--\(flag.name)=v"])
                }
                #expect(Self.refusal(words + ["-\(short)"])?.message.contains("needs a value") == true)
            }
        case .list:
            for name in spellings {
                #expect(
                    try Self.normalized(words + ["--\(name)=a=1,b=2", "--\(name)", "c=3"])
                        == words + ["--\(flag.name)=a=1", "--\(flag.name)=b=2", "--\(flag.name)=c=3"])
                #expect(Self.refusal(words + ["--\(name)"])?.code == .usage)
            }
            #expect(
                try Self.normalized(words, [flag.variable: "a=1,b=2"]) == words + [
                    "--\(flag.name)=a=1", "--\(flag.name)=b=2",
                ])
            if let short = flag.short {
                #expect(
                    try Self.normalized(words + ["-\(short)", "a=1,b=2"]) == words + [
                        "--\(flag.name)=a=1", "--\(flag.name)=b=2",
                    ])
            }
        }
    }

    @Test(
        "A flag whose time is still to come stops the command, unless it only says what is so anyway",
        arguments: awaiting)
    func everyAwaitedFlag(each: Case) throws {
        let (words, flag) = (each.words, each.flag)
        let needed: [String]
        switch flag.kind {
        case .off:
            #expect(try Self.normalized(words + ["--\(flag.name)=false"]) == words)
            #expect(try Self.normalized(words, [flag.variable: "false"]) == words)
            needed = ["--\(flag.name)"]
        case .on:
            #expect(try Self.normalized(words + ["--\(flag.name)"]) == words)
            needed = ["--\(flag.name)=false"]
        case .value, .list, .each: needed = ["--\(flag.name)=v"]
        }
        for spelling in [flag.name] + flag.aliases {
            let given = needed.map { $0.replacingOccurrences(of: "--\(flag.name)", with: "--\(spelling)") }
            let error = Self.refusal(words + given)
            #expect(error?.code == .notBuiltYet)
            #expect(error?.message.contains("--\(flag.name) cannot be used yet") == true)
            #expect(error?.message.contains("(still to come: \(flag.awaits ?? "")); nothing was done") == true)
        }
        let variable = flag.kind == .on ? "false" : "true"
        #expect(Self.refusal(words, [flag.variable: variable])?.code == .notBuiltYet)
    }

    @Test("An awaited flag fails before anything is signed or made")
    func awaitedFlagsDoNothing() async throws {
        let directory = TemporaryDirectory()
        try directory.makeKey()
        try directory.write("file", "content")
        try directory.write("predicate", "{}")
        let complete = [
            "sign-blob": ["--key", "key.pem", "--tlog-upload=false", "--bundle", "b.json", "file"],
            "attest-blob": [
                "--key", "key.pem", "--tlog-upload=false", "--predicate", "predicate", "--bundle", "b.json", "file",
            ],
            "verify-blob": ["--key", "key.pub", "--insecure-ignore-tlog", "--bundle", "b.json", "file"],
            "verify-blob-attestation": ["--key", "key.pub", "--insecure-ignore-tlog", "--bundle", "b.json", "file"],
            "generate-key-pair": [], "public-key": ["--key", "key.pem", "--outfile", "out.pub"],
        ]
        #expect(!Self.awaiting.isEmpty)
        // Every flag is tried in the test above; here, every fourth with the whole program.
        for each in Self.awaiting.enumerated().filter({ $0.offset % 4 == 0 }).map(\.element) {
            let rest = complete[each.command] ?? ["image"]
            let given =
                each.flag.kind == .value ? "--\(each.flag.name)=v" : "--\(each.flag.name)=\(each.flag.kind == .off)"
            let before = directory.names
            let outcome = await Program(directory: directory.path, environment: ["COSIGN_PASSWORD": ""])
                .run(each.words + rest + [given])
            #expect(outcome.ending == .exit(1))
            #expect(outcome.code == "not-built-yet", "\(each.testDescription): \(outcome.messages)")
            #expect(directory.names == before, "\(each.testDescription)")
        }
    }

    // MARK: - The parser knows the same flags

    /// What ArgumentParser says of a command's arguments.
    private static func arguments(_ command: String) throws -> [JSONCursor] {
        var cursor = try #require(help)
        for word in command.split(separator: " ") {
            cursor = try #require(
                try cursor.member("subcommands").elements().first { try $0.member("commandName").string() == word })
        }
        return try cursor.optional("arguments")?.elements() ?? []
    }
    private static let help = try? JSONCursor(try JSONValue(parsing: Array(SwSign._dumpHelp().utf8))).member("command")

    /// The long and the short names of a command's flags.
    private static func declared(_ command: String) throws -> (long: Set<String>, short: Set<String>) {
        var (long, short): (Set<String>, Set<String>) = ([], [])
        for argument in try arguments(command) {
            for name in try argument.optional("names")?.elements() ?? [] {
                let text = try name.member("name").string()
                if try name.member("kind").string() == "short" { short.insert(text) } else { long.insert(text) }
            }
        }
        return (long, short)
    }

    @Test("The table and the commands know the same flags", arguments: FlagTable.commands.sorted())
    func tableMatchesCommands(command: String) throws {
        let declared = try Self.declared(command)
        let flags = ((FlagTable.flags(of: command) ?? []) + FlagTable.global).filter { $0.awaits == nil }
        let long = flags.flatMap { flag -> [String] in
            switch flag.kind {
            case .on: [flag.name, "no-\(flag.name)"]
            case .off, .value, .list, .each: [flag.name]
            }
        }
        #expect(Set(long).subtracting(declared.long).isEmpty, "in the table, not in the command")
        #expect(declared.long.subtracting(long).isEmpty, "in the command, not in the table")
        #expect(declared.short == Set(flags.compactMap(\.short).map(String.init)))
    }

    @Test("Every command is in the table, and none of the table is missing")
    func tableHasEveryCommand() throws {
        func words(_ cursor: JSONCursor, _ before: String) throws -> [String] {
            let inside =
                try cursor.optional("subcommands")?.elements().filter {
                    try $0.member("commandName").string() != "help"
                } ?? []
            if inside.isEmpty { return before.isEmpty ? [] : [before] }
            // A command that takes names may have others below it.
            let takesNames = try cursor.optional("arguments")?.elements().contains {
                try $0.member("kind").string() == "positional"
            }
            return try (takesNames == true ? [before] : [])
                + inside.flatMap {
                    try words(
                        $0,
                        before.isEmpty
                            ? $0.member("commandName").string() : "\(before) \($0.member("commandName").string())")
                }
        }
        let all = try words(try #require(Self.help), "")
        #expect(Set(all) == Set(FlagTable.commands))
    }

    @Test(
        "Each command's parser accepts all of its flags in the form that they get",
        arguments: FlagTable.commands.sorted())
    func parserAccepts(command: String) throws {
        let declared = try Self.arguments(command)
        var given: [String] = []
        for each in Self.built where each.command == command {
            let argument = try declared.first { argument in
                try argument.optional("names")?.elements().contains { try $0.member("name").string() == each.flag.name }
                    ?? false
            }
            switch each.flag.kind {
            case .off: given.append("--\(each.flag.name)")
            case .on: given.append("--\(each.flag.name)=false")
            case .value, .list, .each:
                given += [
                    "--\(each.flag.name)",
                    try argument?.optional("allValues")?.elements().first?.string() ?? each.value,
                ]
            }
        }
        let positional = try declared.filter {
            try $0.member("kind").string() == "positional" && !$0.member("isOptional").bool()
        }
        let words = command.split(separator: " ").map(String.init)
        _ = try SwSign.parsed(try Self.normalized(words + given + positional.map { _ in "FILE" }))
        // And none of them is needed but those that the parser says are.
        let needed = try declared.filter {
            try $0.member("kind").string() == "option" && !$0.member("isOptional").bool()
        }.map { try "--" + #require($0.member("names").elements().first).member("name").string() + "=k" }
        _ = try SwSign.parsed(try Self.normalized(words + needed + positional.map { _ in "FILE" }))
    }

    /// The commands that read their flags themselves.
    static let reading = ["version", "sign-blob", "verify-blob", "attest-blob", "verify-blob-attestation"]

    @Test(
        "A command that reads its flags itself reads what the parser reads, and leaves to it what is wrong",
        arguments: reading)
    func readsAsTheParser(command: String) throws {
        // Every property with its value; one that has none says "definition".
        func content(_ command: (any ParsableCommand)?) -> String {
            command.map { String(describing: $0) } ?? "refused"
        }
        var (lines, all, several): ([[String]], [String], [String]) = ([], [], [])
        for flag in Self.built.filter({ $0.command == command }).map(\.flag) {
            switch flag.kind {
            case .off, .on:
                all.append("--\(flag.name)=\(flag.kind == .off)")
                lines.append([all.last ?? "", "NAME"])
            case .value, .list, .each:
                lines.append(["--\(flag.name)=json", "NAME"])
                if flag.kind != .value { several += ["--\(flag.name)=1", "--\(flag.name)=2=3"] }
                let value = [
                    "timeout": "3m0s", "output": "json", "errors": "json", "color": "never",
                    "fulcio-auth-flow": "token",
                ][
                    flag.name]
                all.append("--\(flag.name)=\(value ?? "2")")
            }
        }
        lines += [[], ["NAME"], ["A", "B"], ["--", "--key"], ["--output-file=", "NAME"], all, all + ["NAME"]]
        lines.append(several + ["NAME"])
        var count = 0
        for line in lines {
            let words = try Self.normalized([command] + line)
            let (read, parsed) = (SwSign.read(words), try? SwSign.parsed(words))
            #expect(content(read) == content(parsed), "\(words)")
            if read != nil { count += 1 }
        }
        #expect(count > 0)
        let whole = SwSign.read(try Self.normalized([command] + all + (command == "version" ? [] : ["NAME"])))
        #expect(whole != nil && !content(whole).contains("definition"))
        for word in ["--nope", "--nope=1", "nope"] { #expect(SwSign.read([command, word, "--", "NAME"]) == nil) }
    }

    @Test("A command has no flag twice, by no name", arguments: FlagTable.commands.sorted())
    func noFlagTwice(command: String) {
        let flags = (FlagTable.flags(of: command) ?? []) + FlagTable.global
        let names = flags.flatMap { [$0.name] + $0.aliases }
        #expect(names.count == Set(names).count, "\(names.sorted())")
        let letters = flags.compactMap(\.short)
        #expect(letters.count == Set(letters).count)
    }

    @Test("The environment's names are cosign's")
    func variables() {
        #expect(CommandFlag("tlog-upload").variable == "COSIGN_TLOG_UPLOAD")
        #expect(CommandFlag("b64").variable == "COSIGN_B64")
        #expect(CommandFlag("digestAlg").variable == "COSIGN_DIGESTALG")
    }

    // MARK: - pflag's rules

    @Test(
        "Flags stand where pflag lets them stand",
        arguments: [
            ("sign-blob -y FILE", "sign-blob --yes -- FILE"), ("sign-blob FILE -y", "sign-blob --yes -- FILE"),
            ("sign-blob -dy FILE", "sign-blob --yes --verbose -- FILE"),
            ("sign-blob -yd FILE", "sign-blob --yes --verbose -- FILE"),
            ("sign-blob -t 3m FILE", "sign-blob --timeout=3m -- FILE"),
            ("sign-blob -t3m FILE", "sign-blob --timeout=3m -- FILE"),
            ("sign-blob -t=3m FILE", "sign-blob --timeout=3m -- FILE"),
            ("sign-blob -ydt 3m FILE", "sign-blob --yes --timeout=3m --verbose -- FILE"),
            ("sign-blob -y=false FILE", "sign-blob -- FILE"), ("sign-blob --key k A B", "sign-blob --key=k -- A B"),
            ("sign-blob A --key k B", "sign-blob --key=k -- A B"),
            ("sign-blob A --key=k -- -y --key", "sign-blob --key=k -- A -y --key"),
            ("sign-blob --key - -", "sign-blob --key=- -- -"),
            ("sign-blob --key -y FILE", "sign-blob --key=-y -- FILE"),
            ("sign-blob -- -- x", "sign-blob -- -- x"), ("sign-blob --", "sign-blob"),
            ("-d sign-blob FILE", "sign-blob --verbose -- FILE"),
            ("--timeout 3m sign-blob FILE", "sign-blob --timeout=3m -- FILE"),
            ("-t 3m sign-blob FILE", "sign-blob --timeout=3m -- FILE"),
            ("--timeout=3m -d version", "version --timeout=3m --verbose"),
            ("--errors json bundle inspect b", "bundle inspect --errors=json -- b"),
            ("bundle inspect -o json b", "bundle inspect --output=json -- b"),
            ("bundle --output json inspect b", "bundle --output json inspect b"),
            ("sign-blob sign-blob", "sign-blob -- sign-blob"),
            ("sign-blob --help", "sign-blob --help"), ("sign-blob -h FILE", "sign-blob --help"), ("--help", "--help"),
            ("-h", "--help"),
            ("help", "--help"), ("help help", "--help"), ("help sign-blob", "sign-blob --help"),
            ("help bundle", "bundle --help"), ("bundle help inspect", "bundle inspect --help"),
            ("-d help sign-blob", "sign-blob --help"), ("sign-blob help", "sign-blob -- help"),
            ("--help sign-blob", "sign-blob --help"), ("sign-blob --help=false FILE", "sign-blob -- FILE"), ("", ""),
        ])
    func pflagsRules(given: String, expected: String) throws {
        func words(_ text: String) -> [String] { text.split(separator: " ").map(String.init) }
        if given.hasPrefix("bundle --output") {
            // A command's flags follow the command.
            #expect(Self.refusal(words(given))?.code == .usage)
        } else {
            #expect(try Self.normalized(words(given)) == words(expected))
        }
    }

    @Test(
        "A flag that does not exist is refused by its name, and the help is pointed to",
        arguments: [
            (["sign-blob", "--nope", "FILE"], "--nope"), (["sign-blob", "--nope=1", "FILE"], "--nope"),
            (["sign-blob", "--Key", "k"], "did you mean --key? see swsign sign-blob --help"),
            (["sign-blob", "--no-yes", "FILE"], "--no-yes"),
            (["sign-blob", "--no-tlog-upload=true"], "--no-tlog-upload"), (["sign-blob", "--yes=true=false"], "--yes"),
            (["sign-blob", "-x", "FILE"], "-x"), (["sign-blob", "-yx", "FILE"], "-x"),
            (["sign-blob", "---key", "k"], "---key"),
            (["sign-blob", "--=x"], "--"), (["sign-blob", "--insecure-ignore-tlog"], "--insecure-ignore-tlog"),
            (["version", "--key", "k"], "--key"), (["--nope", "sign-blob"], "--nope"), (["-x"], "-x"),
            (["sign-blob", "--ye"], "--ye"),
        ])
    func unknownFlags(arguments: [String], words: String) async throws {
        let directory = TemporaryDirectory()
        try await directory.expectRefusal("usage", words, of: arguments)
    }

    @Test(
        "A name that is near to one that there is gets a question, and no other",
        arguments: [
            ("sing", "sign"), ("verfy --key k", "verify"), ("verify-attest", "verify-attestation"),
            ("bundle inspct b", "bundle inspect"), ("inspect b", "bundle inspect"),
            ("trusted-rot create", "trusted-root"),
            ("help sgin", "sign"), ("download signatures", "download signature"), ("versoin", "version"),
            ("verify --certificat-identity a", "--certificate-identity"),
            ("verify --cert-identty=a", "--cert-identity"),
            ("verify --certificate_identity a", "--certificate-identity"),
            ("verify --certificate-github-workflow-reposit a", "--certificate-github-workflow-repository"),
            ("sign --kye k", "--key"), ("sign --ye", "--yes"), ("sign --recursiv", "--recursive"),
            ("sign ---key k", "--key"), ("sign --outptu-signature f", "--output-signature"),
            ("--timeuot=3m version", "--timeout"),
            // Nothing is near, or too much.
            ("publish", ""), ("q", ""), ("verify --zz", ""), ("verify --x=certificate-identity", ""),
            ("create", "bundle create or trusted-root create or signing-config create"),
        ])
    func nearNames(given: String, meant: String) throws {
        let error = Self.refusal(given.split(separator: " ").map(String.init))
        #expect(error?.code == .usage)
        let advice = error?.advice.map { "\($0)" } ?? ""
        if meant.isEmpty {
            #expect(advice.hasPrefix("see swsign "), "\(advice)")
        } else {
            #expect(advice.hasPrefix("did you mean \(meant)? see swsign "), "\(advice)")
        }
    }

    @Test(
        "A flag in front of the command is judged before the word behind it is taken for a command",
        arguments: [
            ("--timeuot 3m version", "unknown flag --timeuot", "did you mean --timeout? see swsign version --help"),
            ("--timeuot 3m", "unknown flag --timeuot", "did you mean --timeout? see swsign --help"),
            ("-d --outptu-file f -t 3m version", "unknown flag --outptu-file", "did you mean --output-file?"),
            ("-dt 3m --timeuot 3m version", "unknown flag --timeuot", "did you mean --timeout?"),
            ("--kye k verify i", "unknown flag --kye", "did you mean --key? see swsign verify --help"),
            ("--nope x version", "unknown flag --nope", "see swsign version --help"),
            ("-x 3m version", "unknown flag -x", "see swsign version --help"),
            ("--key k verify i", "--key stands in front of the command", "swsign verify --key …"),
            ("-a k=v sign i", "-a stands in front of the command", "swsign sign -a …"),
            ("--cert c verify-blob f", "--cert stands in front of", "swsign verify-blob --cert …"),
            ("--out o bundle create", "--out stands in front of", "swsign bundle create --out …"),
            ("bundle --out o create", "--out stands in front of", "swsign bundle create --out …"),
            ("bundle --outptu json inspect b", "unknown flag --outptu", "did you mean --output?"),
            ("--timeout 3m verfiy i", "there is no command \"verfiy\"", "did you mean verify?"),
            ("--color always verfiy i", "there is no command \"verfiy\"", "did you mean verify?"),
        ])
    func flagsInFront(given: String, message: String, advice: String) {
        let error = Self.refusal(given.split(separator: " ").map(String.init))
        #expect(error?.code == .usage && error?.message.contains(message) == true, "\(error?.message ?? "")")
        #expect(error?.advice.map { "\($0)" }?.contains(advice) == true, "\(error?.advice.map { "\($0)" } ?? "")")
    }

    @Test("A mistyped name of any length and of any bytes is looked at in a bounded time, and printed escaped")
    func longAndHostileNames() async throws {
        let long = String(repeating: "certificate-identity", count: 20_000)
        for arguments in [[long], ["verify", "--" + long], ["verify", "--certificate-identit" + long]] {
            #expect(Self.refusal(arguments)?.advice.map { "\($0)" }?.hasPrefix("see swsign ") == true)
        }
        let directory = TemporaryDirectory()
        try await directory.expectRefusal(
            "usage", "there is no command \"sig\\u{1b}[31mn\"", of: ["sig\u{1b}[31mn"])
        let flag = await directory.swsign("verify", "--ke\u{7}y", "k")
        #expect(
            flag.messages.contains("unknown flag --ke\\u{7}y [usage]\n       did you mean --key?"), "\(flag.messages)")
    }

    @Test(
        "A long name behind one dash, and a letter behind two, are taken for what they are, with a warning",
        arguments: [
            ("sign-blob -key k FILE", "sign-blob --key=k -- FILE", "-key is taken as --key: write it so"),
            ("sign-blob -key=-yes FILE", "sign-blob --key=-yes -- FILE", "-key is taken as --key: write it so"),
            ("sign-blob -yes FILE", "sign-blob --yes -- FILE", "-yes is taken as --yes: write it so"),
            (
                "verify -cert-identity a I", "verify --certificate-identity=a -- I",
                "-cert-identity is taken as --cert-identity: write it so"
            ),
            ("import-key-pair -key k", "import-key-pair --key=k", "-key is taken as --key: write it so"),
            ("verify --o text I", "verify --output=text -- I", "--o is taken as -o: write it so"),
            ("verify --a=x=y I", "verify --annotations=x=y -- I", "--a is taken as -a: write it so"),
            ("-timeout 3m version", "version --timeout=3m", "-timeout is taken as --timeout: write it so"),
            ("-version", "version", "-version is taken as the command version"),
            // What is right as it is, and what only looks like it.
            ("--version", "version", ""), ("-d --version --json", "version --json --verbose", ""),
            ("sign-blob -yd FILE", "sign-blob --yes --verbose -- FILE", ""),
            ("sign-blob --key -key FILE", "sign-blob --key=-key -- FILE", ""),
            ("sign-blob -- -key", "sign-blob -- -key", ""), ("sign-blob -t3m F", "sign-blob --timeout=3m -- F", ""),
        ])
    func dashes(given: String, expected: String, warning: String) throws {
        let read = try NormalizedArguments(given.split(separator: " ").map(String.init)) { _ in nil }
        #expect(read.arguments == expected.split(separator: " ").map(String.init))
        #expect(read.warnings == (warning.isEmpty ? [] : [warning]))
    }

    @Test("The program warns of one dash and signs all the same; --version is a command; a command has none")
    func dashesInTheProgram() async throws {
        let directory = TemporaryDirectory()
        try directory.makeKey()
        try directory.write("file", "content")
        let signed = await directory.swsign(
            "sign-blob", "-key", "key.pem", "--tlog-upload=false", "--bundle", "b", "file")
        #expect(signed.succeeded && signed.messages.hasPrefix("WARNING: -key is taken as --key: write it so\n"))
        let (version, command) = (await directory.swsign("--version"), await directory.swsign("version"))
        #expect(version.succeeded && version.stderr.isEmpty && version.output == command.output)
        try await directory.expectRefusal("usage", "unknown flag --version", of: ["sign", "--version"])
        let refused = await directory.swsign("-errors", "json", "sign", "--nope")
        #expect(try refused.jsonError().member("message").string() == "unknown flag --nope")
    }

    @Test("A number of workers, a format, a shell or a time that is none is refused")
    func badValues() async throws {
        let directory = TemporaryDirectory()
        for arguments in [
            ["verify-blob", "--max-workers", "many", "FILE"], ["verify-blob", "--output", "xml", "FILE"],
            ["completion", "tcsh"], ["version", "--timeout", "soon"], ["version", "-t", "3"], ["version", "-t", "-3s"],
            ["version", "-t", ""], ["sign-blob"], ["nope"], ["bundle", "nope"], ["version", "more"],
        ] { try await directory.expectRefusal("usage", of: arguments) }
        let outcome = await directory.swsign("version", "--errors", "xml")
        #expect(outcome.code == "usage" && outcome.messages.contains("xml"))
        #expect(outcome.messages.contains("see swsign version --help"))
        let before = await directory.swsign("-d", "--timeout", "3m", "version", "--output", "x")
        #expect(before.messages.contains("see swsign version --help"), "\(before.messages)")
        // Many values are listed in one line.
        let many = await directory.swsign("verify-provenance", "--from", "nope", "FILE")
        #expect(many.messages.contains("following: pypi, npm, "), "\(many.messages)")
    }

    @Test("Times are read as Go writes them", arguments: ["3m0s", "90s", "1.5h", "500ms", "1h2m3s", "0", "0s"])
    func timeouts(text: String) async throws {
        let outcome = await TemporaryDirectory().swsign("version", "--timeout", text)
        #expect(outcome.succeeded, "\(outcome.messages)")
    }

    @Test("A command that takes longer than --timeout is stopped, and nothing is left")
    func timeoutStops() async throws {
        let directory = TemporaryDirectory()
        try directory.makeKey()
        let before = try directory.snapshot()
        let outcome = await directory.swsign(
            "sign-blob", "--key", "key.pem", "--tlog-upload=false", "--bundle", "b.json", "-t", "300ms", "-",
            input: .interrupted(after: Array("half".utf8), signal: 0))
        #expect(outcome.ending == .exit(1))
        #expect(outcome.code == "timed-out", "\(outcome.messages)")
        #expect(try directory.snapshot() == before)
    }

    @Test("A flag from the environment has its effect, and the command line counts before it")
    func environmentHasEffect() async throws {
        let directory = TemporaryDirectory()
        try directory.makeKey()
        try directory.write("file", "content")
        let environment = ["COSIGN_KEY": "key.pem", "COSIGN_TLOG_UPLOAD": "false", "COSIGN_BUNDLE": "b.json"]
        let signed = await directory.swsign("sign-blob", "file", environment: environment)
        #expect(signed.succeeded, "\(signed.messages)")
        #expect(directory.exists("b.json"))
        let other = await directory.swsign("sign-blob", "--bundle", "c.json", "file", environment: environment)
        #expect(other.succeeded && directory.exists("c.json"))
        let verified = await directory.swsign(
            "verify-blob", "--key", "key.pub", "file",
            environment: ["COSIGN_BUNDLE": "b.json", "COSIGN_INSECURE_IGNORE_TLOG": "true", "COSIGN_KEY": "none"])
        #expect(verified.succeeded, "\(verified.messages)")
        #expect(verified.messages.contains("WARNING"))
        try await directory.expectRefusal(
            "usage", "COSIGN_TLOG_UPLOAD", of: ["sign-blob", "--key", "key.pem", "file"],
            environment: ["COSIGN_TLOG_UPLOAD": "perhaps"])
        try await directory.expectRefusal(
            "usage", "COSIGN_YES", of: ["generate-key-pair"], environment: ["COSIGN_YES": "y"])
    }

    @Test("cosign's commands that are still to come say so", arguments: FlagTable.laterCommands)
    func laterCommands(name: String) {
        let words = name.split(separator: " ").map(String.init)
        for arguments in [words + ["--key", "k", "image"], ["-d"] + words + ["image"], ["--timeout", "3m"] + words] {
            let error = Self.refusal(arguments)
            #expect(error?.code == .notBuiltYet)
            #expect(error?.message.contains(name) == true)
        }
    }

    @Test("Errors are JSON where that is asked for, even those about the command line itself")
    func jsonErrors() async throws {
        let directory = TemporaryDirectory()
        for (arguments, environment) in [
            (["sign-blob", "--nope", "--errors", "json"], [:]), (["--errors=json", "sign-blob", "--nope"], [:]),
            (["sign-blob", "--nope"], ["COSIGN_ERRORS": "json"]), (["--errors", "json", "nope"], [:]),
            (["sign", "--errors", "json"], [:]),
        ] as [([String], [String: String])] {
            let outcome = await Program(directory: directory.path, environment: environment).run(arguments)
            #expect(outcome.ending == .exit(1))
            #expect(outcome.stderr.split(separator: 0x0a).count == 1, "\(outcome.messages)")
            #expect(try ["usage", "not-built-yet"].contains(outcome.jsonError().member("code").string()))
        }
        let plain = await directory.swsign("sign-blob", "--nope", "--", "--errors", "json")
        #expect(plain.code == "usage", "behind -- it is no flag: \(plain.messages)")
    }
}
