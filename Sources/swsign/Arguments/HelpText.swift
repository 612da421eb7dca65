/// The help of a command as a person reads it: what it is for, examples, its own arguments and flags, and last what it
/// shares with others.
enum HelpText {
    /// - Parameters:
    ///   - text: The help as the argument parser writes it: sections with an empty line between them.
    ///   - words: The command's words.
    static func arranged(_ text: String, for words: some Collection<String>) -> String {
        var sections = text.split(separator: "\n\n").map(String.init)
        let examples = Examples.of(words.joined(separator: " "))
        guard sections.count > 1, !examples.isEmpty else { return text }
        sections.insert("EXAMPLES:\n" + examples.map { "  \($0)" }.joined(separator: "\n"), at: 1)
        func take(_ title: String) -> [String] {
            guard let index = sections.firstIndex(where: { $0.hasPrefix(title + ":\n") }) else { return [] }
            return [sections.remove(at: index)]
        }
        var (own, shared) = (take("OPTIONS"), take("REGISTRY") + take("GLOBAL OPTIONS"))
        // The request for help is no flag of the command's own.
        if own.first?.contains("\n  -h, --help") == true, own.first?.split(separator: "\n").count == 2 {
            (own, shared) = ([], shared + own)
        }
        // Behind how it is called, and its arguments.
        let usage = sections.firstIndex { $0.hasPrefix("USAGE: ") } ?? 1
        let hasArguments = sections.dropFirst(usage + 1).first?.hasPrefix("ARGUMENTS:\n") == true
        sections.insert(contentsOf: own, at: usage + (hasArguments ? 2 : 1))
        // What names the help of the commands below stands at the end of the last list of them.
        return (sections + shared).map { $0.hasSuffix("\n") ? String($0.dropLast()) : $0 }.joined(separator: "\n\n")
            + "\n"
    }
}
