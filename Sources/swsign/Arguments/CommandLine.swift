import StrictJSON
import SwSignCore

/// Arguments and environment, brought into one form.
///
/// pflag, which cosign uses, reads `--yes`, `--yes=true`, `-y FILE`, `-dy`, `-a k=v,k2=v2` and `--key K` as well as
/// `--key=K`, wherever they stand among the other arguments; and each flag can be given as `COSIGN_<FLAG>`, which
/// counts only if the flag is not given. Afterwards every flag has the form `--flag` or `--flag=value`, switches that
/// are off by default stand there only if they are on, switches that are on by default only as `--no-flag`, and the
/// other arguments come last, behind `--`.
struct NormalizedArguments: Sendable {
    /// The arguments to parse: command, flags, `--`, the rest.
    private(set) var arguments: [String] = []
    /// The flags that the environment gave, and that change something, with the variable of each.
    private(set) var fromEnvironment: [(flag: String, variable: String)] = []
    /// What a person should know of how the arguments were read.
    private(set) var warnings: [String] = []

    /// Brings arguments and environment into one form.
    /// - Parameters:
    ///   - arguments: What follows the program's name.
    ///   - environment: The value of a variable, `nil` if it is not set.
    /// - Throws: `SigstoreError` for a flag that is unknown, lacks its value or has a wrong one, or needs something
    ///   that is not built yet.
    init(_ arguments: [String], environment: (String) throws(SigstoreError) -> String?) throws(SigstoreError) {
        var rest = arguments[...]
        let command = try Self.takeCommand(&rest, &warnings)
        self.arguments = command.words
        // Behind a whole command, help is a name like any other.
        if !FlagTable.commands.contains(command.name), rest.first == "help" {
            var named = (command.words + rest.drop { $0 == "help" })[...]
            let asked = try Self.takeCommand(&named, &warnings)
            try Self.expectCommand(asked, before: named)
            self.arguments = asked.words + ["--help"]
            return
        }
        try Self.expectCommand(command, before: rest)
        var given = Given()
        var positional: [String] = []
        while let typed = rest.popFirst() {
            if typed == "--" {
                positional += rest
                break
            }
            let word = Self.mended(typed, command.flags, &warnings)
            if word.utf8.starts(with: "--".utf8) {
                try Self.takeLong(word, &rest, command, &given)
            } else if word.utf8.first == 0x2d, word.utf8.count > 1 {
                try Self.takeShort(word, &rest, command, &given)
            } else {
                positional.append(word)
            }
        }
        if given["help"] == ["true"] {
            self.arguments.append("--help")
            return
        }
        for flag in command.flags {
            var values = given[flag.name]
            if values.isEmpty, flag.name != "help", let value = try environment(flag.variable), !value.isEmpty {
                values = [try Self.checked(value, flag, "the environment variable \(flag.variable)")]
                if !Self.isDefault(flag, values) { fromEnvironment.append((flag.name, flag.variable)) }
            }
            try append(flag, values)
        }
        if !positional.isEmpty { self.arguments += ["--"] + positional }
    }

    /// The value of a flag of every command, asked before anything else, so that it holds for errors about the command line
    /// too.
    /// - Parameter flag: The flag's name, which takes a value.
    /// - Returns: An empty text if nothing gives it.
    static func early(
        _ flag: String, in arguments: [String], environment: (String) throws(SigstoreError) -> String?
    ) -> String {
        var value = (try? environment(CommandFlag(flag).variable)) ?? ""
        let words = Array(arguments.prefix { $0 != "--" })
        for (index, word) in words.enumerated() {
            if word == "--\(flag)" || word == "-\(flag)" { value = index + 1 < words.count ? words[index + 1] : "" }
            for name in ["--\(flag)=", "-\(flag)="] where word.utf8.starts(with: name.utf8) {
                value = String(Substring(word.utf8.dropFirst(name.utf8.count)))
            }
        }
        return value
    }

    /// The values of each flag that was given: a few, which are looked through faster than they are hashed.
    private struct Given {
        private var flags: [(name: String, values: [String])] = []
        subscript(name: String) -> [String] {
            get { flags.first { $0.name == name }?.values ?? [] }
            set {
                if let index = flags.firstIndex(where: { $0.name == name }) {
                    flags[index].values = newValue
                } else {
                    flags.append((name: name, values: newValue))
                }
            }
        }
    }

    private struct Command {
        let words: [String]
        /// The words, with spaces between them.
        let name: String
        let flags: [CommandFlag]
        func flag(_ name: String) -> CommandFlag? { flags.first { $0.name == name || $0.aliases.contains(name) } }
        func flag(short: Character) -> CommandFlag? { flags.first { $0.short == short } }
    }

    /// Takes the command's words from the front; global flags may stand before them.
    private static func takeCommand(_ rest: inout ArraySlice<String>, _ warnings: inout [String])
        throws(SigstoreError) -> Command
    {
        var words: [String] = []
        var name = ""
        var flags: [String] = []
        // The first flag in front that is not one of all commands: where its value ends, only its command knows.
        var foreign: String?
        while var word = rest.first {
            if words.isEmpty, word == "--version" || word == "-version" {
                // cosign warns of the one and does not know the other.
                if word == "-version" { warnings.append("-version is taken as the command version") }
                rest[rest.startIndex] = "version"
                continue
            }
            if word.utf8.first == 0x2d, words.isEmpty, word != "--" {
                word = mended(word, FlagTable.global, &warnings)
                flags.append(word)
                rest.removeFirst()
                let flag = globalFlag(word)
                if flag == nil { foreign = foreign ?? word }
                if flag?.takesNext == true, let value = rest.popFirst() { flags.append(value) }
                continue
            }
            let longer = name.isEmpty ? word : name + " " + word
            guard FlagTable.commands.contains(where: { $0 == longer || $0.hasPrefix(longer + " ") }) else { break }
            name = longer
            words.append(word)
            rest.removeFirst()
        }
        if let next = rest.first, case let longer = name.isEmpty ? next : name + " " + next,
            FlagTable.laterCommands.contains(longer)
        {
            throw SigstoreError(
                .notBuiltYet, "the command \(longer) cannot be used yet; nothing was done",
                advice: "use Sigstore's cosign for this, or a newer swsign")
        }
        // The word behind such a flag may have been meant as its value, not as a command.
        if name.isEmpty, let foreign, let next = rest.first, next != "help" { throw refusal(foreign, [], before: rest) }
        let own = FlagTable.flags(of: name)
        // Without a command, what comes next should have been one: it stays in front.
        rest = own == nil ? rest + flags : flags + rest
        return Command(words: words, name: name, flags: (own ?? []) + FlagTable.global)
    }

    /// The flag of every command that a word in front of the command gives, and whether its value is the next word; `nil` if it
    /// gives another one.
    private static func globalFlag(_ word: String) -> (flag: CommandFlag, takesNext: Bool)? {
        let text = word.utf8.drop { $0 == 0x2d }
        if word.utf8.starts(with: "--".utf8) {
            let name = String(Substring(text.prefix { $0 != 0x3d }))
            guard let flag = FlagTable.global.first(where: { $0.name == name }) else { return nil }
            return (flag, flag.takesValue && name.utf8.count == text.count)
        }
        var letters = word.unicodeScalars.dropFirst()
        while let scalar = letters.popFirst() {
            guard let flag = FlagTable.global.first(where: { $0.short == Character(scalar) }) else { return nil }
            if flag.takesValue || letters.first == "=" || letters.isEmpty {
                return (flag, flag.takesValue && letters.isEmpty)
            }
        }
        return nil
    }

    /// Why a flag in front of what should be the command is refused.
    /// - Parameters:
    ///   - words: What is known of the command.
    ///   - rest: What follows the flag. The first command in there is the one that it may have been meant for.
    private static func refusal(_ word: String, _ words: [String], before rest: ArraySlice<String>) -> SigstoreError {
        let begin = words
        var words = words
        for next in rest {
            let longer = (words + [next]).joined(separator: " ")
            if FlagTable.commands.contains(where: { $0 == longer || $0.hasPrefix(longer + " ") }) {
                words.append(next)
            } else if words.count > begin.count {
                break
            }
        }
        let name = words.joined(separator: " ")
        let command = Command(words: words, name: name, flags: (FlagTable.flags(of: name) ?? []) + FlagTable.global)
        let flag = word.utf8.starts(with: "--".utf8) ? String(Substring(word.utf8.prefix { $0 != 0x3d })) : word
        let isKnown =
            flag.utf8.starts(with: "--".utf8)
            ? command.flag(String(flag.dropFirst(2))) != nil
            : flag.unicodeScalars.dropFirst().allSatisfy { command.flag(short: Character($0)) != nil }
        if isKnown {
            return SigstoreError(
                .usage, "the flag \(flag) stands in front of the command, where only flags of all commands may",
                advice: .sentence("write it behind the command: \(SwSign.name) \(name) \(flag) …"))
        }
        return flag.utf8.starts(with: "--".utf8)
            ? unknown(String(flag.dropFirst(2)), command)
            : SigstoreError(.usage, "unknown flag \(flag)", advice: advice(nil, command))
    }

    /// Refuses a word that should be the name of a command, or the rest of one, and is not.
    private static func expectCommand(_ command: Command, before rest: ArraySlice<String>) throws(SigstoreError) {
        guard !FlagTable.commands.contains(command.name), let word = rest.first else { return }
        guard word.utf8.first != 0x2d else {
            // A flag of a command further on, as of "inspect" in "bundle --output json inspect".
            guard !command.words.isEmpty, word.utf8.count > 1, word != "--", globalFlag(word) == nil else { return }
            throw refusal(word, command.words, before: rest.dropFirst())
        }
        let name = (command.words + [word]).joined(separator: " ")
        // The next word of each command that begins like this one; and if none is near, the last word of any.
        var (next, last): ([(word: String, command: String)], [(word: String, command: String)]) = ([], [])
        for each in FlagTable.commands {
            let words = each.split(separator: " ").map(String.init)
            guard words.starts(with: command.words), words.count > command.words.count else { continue }
            next.append((words[command.words.count], words[...command.words.count].joined(separator: " ")))
            if command.words.isEmpty, let word = words.last { last.append((word, each)) }
        }
        var meant = NearNames(names: [])
        for candidates in [next, last] where meant.names.isEmpty {
            let near = NearNames(to: word, among: candidates.map(\.word)).names
            meant = NearNames(names: near.flatMap { word in candidates.filter { $0.word == word }.map(\.command) })
        }
        throw SigstoreError(
            .usage, "there is no command \"\(name)\"", advice: advice(meant.question(), command))
    }

    /// What to do about an argument that is wrong.
    /// - Parameter question: What may have been meant.
    private static func advice(_ question: String?, _ command: Command)
        -> SigstoreError.Advice
    {
        let help = SwSign.helpAdvice(command.words)
        return .sentence(question.map { "\($0) \(help)" } ?? help)
    }

    /// The word as it should be written, if it is a flag's long name behind one dash, or its letter behind two: cosign
    /// reads both, and warns.
    private static func mended(_ word: String, _ flags: [CommandFlag], _ warnings: inout [String]) -> String {
        guard word.utf8.first == 0x2d else { return word }
        let text = word.utf8.drop { $0 == 0x2d }
        let name = String(Substring(text.prefix { $0 != 0x3d }))
        let isLong = flags.contains { $0.name == name || $0.aliases.contains(name) }
        let dashes = word.utf8.count - text.count
        let (written, right): (String, String)
        if dashes == 1, name.utf8.count > 1, isLong {
            (written, right) = ("-\(name)", "--\(name)")
        } else if dashes == 2, !isLong, let letter = name.first, name.utf8.count == 1,
            flags.contains(where: { $0.short == letter })
        {
            (written, right) = ("--\(name)", "-\(name)")
        } else {
            return word
        }
        warnings.append("\(written) is taken as \(right): write it so")
        return right + String(Substring(word.utf8.dropFirst(written.utf8.count)))
    }

    private static func takeLong(
        _ word: String, _ rest: inout ArraySlice<String>, _ command: Command, _ given: inout Given
    ) throws(SigstoreError) {
        // By bytes: an accent behind the = would be one character with it.
        let parts = word.utf8.dropFirst(2).split(separator: 0x3d, maxSplits: 1, omittingEmptySubsequences: false)
            .map { String(Substring($0)) }
        let name = parts[0]
        // The help shows a switch that is on as --flag/--no-flag.
        if command.flag(name) == nil, parts.count == 1, name.utf8.starts(with: "no-".utf8),
            let flag = command.flag(String(name.dropFirst(3))),
            case .on = flag.kind
        {
            return try take(flag, "--\(name)", "false", &rest, &given)
        }
        guard let flag = command.flag(name) else { throw unknown(name, command) }
        try take(flag, "--\(name)", parts.count > 1 ? parts[1] : nil, &rest, &given)
    }

    /// That there is no flag of that name.
    private static func unknown(_ name: String, _ command: Command) -> SigstoreError {
        let others = command.name.isEmpty ? [] : FlagTable.commands(with: name)
        return SigstoreError(
            .usage, "unknown flag --\(name)",
            advice: (1...6).contains(others.count)
                ? "it is a flag of \(others.joined(separator: ", "))"
                : advice(nearFlags(name, command).question("--"), command))
    }

    /// The command's flags whose names are near to this one. Of one that can be spelled in two ways, the nearer counts.
    private static func nearFlags(_ name: String, _ command: Command) -> NearNames {
        let known = command.flags.filter { $0.awaits == nil }
        return NearNames(to: name, among: known.flatMap { [$0.name] + $0.aliases })
    }

    private static func takeShort(
        _ word: String, _ rest: inout ArraySlice<String>, _ command: Command, _ given: inout Given
    ) throws(SigstoreError) {
        var letters = word.unicodeScalars.dropFirst()
        while let scalar = letters.popFirst() {
            let letter = Character(scalar)
            guard let flag = command.flag(short: letter) else {
                throw SigstoreError(
                    .usage, "unknown flag -\(letter) in \(word)",
                    advice: advice(nil, command))
            }
            if letters.first == "=" {
                return try take(flag, "-\(letter)", String(Substring(letters.dropFirst())), &rest, &given)
            }
            switch flag.kind {
            case .off, .on: try take(flag, "-\(letter)", nil, &rest, &given)
            case .value, .list, .each:
                return try take(flag, "-\(letter)", letters.isEmpty ? nil : String(Substring(letters)), &rest, &given)
            }
        }
    }

    private static func take(
        _ flag: CommandFlag, _ spelling: String, _ value: String?, _ rest: inout ArraySlice<String>,
        _ given: inout Given
    ) throws(SigstoreError) {
        switch flag.kind {
        case .off, .on:
            if value == nil, let next = rest.first,
                ["true", "TRUE", "True", "false", "FALSE", "False"].contains(next)
            {
                throw SigstoreError(
                    .usage, "\(spelling) takes no value behind a space, and \"\(next)\" would be a name",
                    advice: "write \(spelling)=\(next)")
            }
            given[flag.name] = [try checked(value ?? "true", flag, spelling)]
        case .value, .list, .each:
            guard let value = value ?? rest.popFirst() else {
                throw SigstoreError(.usage, "the flag \(spelling) needs a value")
            }
            if case .value = flag.kind {
                given[flag.name] = [value]
            } else {
                given[flag.name].append(value)
            }
        }
    }

    /// A switch's value as `true` or `false`, by the words that pflag knows; any other flag's value as it is.
    private static func checked(_ value: String, _ flag: CommandFlag, _ place: String) throws(SigstoreError) -> String {
        switch flag.kind {
        case .value, .list, .each: return value
        case .off, .on:
            switch value {
            case "1", "t", "T", "true", "TRUE", "True": return "true"
            case "0", "f", "F", "false", "FALSE", "False": return "false"
            default: throw SigstoreError(.usage, "\(place) is \"\(value)\", which is neither true nor false")
            }
        }
    }

    /// Whether these values say what holds without them.
    private static func isDefault(_ flag: CommandFlag, _ values: [String]) -> Bool {
        switch flag.kind {
        case .off: values.last == "false"
        case .on: values.last == "true"
        case .value, .list, .each: values.isEmpty
        }
    }

    private mutating func append(_ flag: CommandFlag, _ values: [String]) throws(SigstoreError) {
        guard let last = values.last, !Self.isDefault(flag, values) else { return }
        if let what = flag.awaits {
            throw SigstoreError(
                .notBuiltYet, "--\(flag.name) cannot be used yet (still to come: \(what)); nothing was done",
                advice: "leave the flag out, or use Sigstore's cosign for this")
        }
        switch flag.kind {
        case .off: arguments.append("--\(flag.name)")
        case .on: arguments.append("--no-\(flag.name)")
        case .value: arguments.append("--\(flag.name)=\(last)")
        case .each: arguments += values.map { "--\(flag.name)=\($0)" }
        case .list:
            for value in values {
                arguments += value.split(separator: ",").map { "--\(flag.name)=\($0)" }
            }
        }
    }
}
