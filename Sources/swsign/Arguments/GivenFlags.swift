import ArgumentParser

/// The flags and names of one command line in its one form, from which the commands that run most often read themselves.
///
/// The argument parser finds out by reflection in each run what a command declares, which takes longer than verifying a small
/// file. These commands take their flags by name instead. What they do not take or cannot read is the parser's to judge, so
/// that every error is told by it; and a test has both read every flag, with the same result.
struct GivenFlags {
    private var flags: [(name: String, value: String?)] = []
    private var names: [String] = []
    private var isUnreadable = false

    /// - Parameter words: What follows the command's words in ``NormalizedArguments/arguments``.
    init(_ words: ArraySlice<String>) {
        var rest = words
        while let word = rest.popFirst() {
            if word == "--" {
                names = Array(rest)
                return
            }
            guard word.utf8.starts(with: "--".utf8) else {
                isUnreadable = true
                return
            }
            let text = word.utf8.dropFirst(2)
            if let equals = text.firstIndex(of: 0x3d) {
                let value = text[text.index(after: equals)...]
                // The parser takes none that is empty.
                if value.isEmpty { isUnreadable = true }
                flags.append((name: String(Substring(text[..<equals])), value: String(Substring(value))))
            } else {
                flags.append((name: String(Substring(text)), value: nil))
            }
        }
    }

    /// Whether everything that was given has been taken, and could be read.
    var areTaken: Bool { !isUnreadable && flags.isEmpty && names.isEmpty }

    /// Whether everything that was taken could be read.
    var isReadable: Bool { !isUnreadable }

    /// Takes a switch.
    mutating func isOn(_ name: String) -> Bool {
        take(name) { value in value == nil ? true : nil }.last ?? false
    }

    /// Takes the values of a flag.
    mutating func values(_ name: String) -> [String] { take(name) { $0 } }

    /// Takes the value of a flag; `nil` if it is not given.
    mutating func value<Value: ExpressibleByArgument>(_ name: String) -> Value? {
        take(name) { value in value.flatMap { Value(argument: $0) } }.last
    }

    /// Takes what is no flag: the names of files or images.
    /// - Parameter least: How many must be given.
    mutating func names(atLeast least: Int) -> [String] {
        if names.count < least { isUnreadable = true }
        defer { names = [] }
        return names
    }

    /// Takes the one name that may be given.
    mutating func name() -> String? { names.isEmpty ? nil : names.removeFirst() }

    private mutating func take<Value>(_ name: String, _ read: (String?) -> Value?) -> [Value] {
        var values: [Value] = []
        guard flags.contains(where: { $0.name == name }) else { return values }
        for flag in flags where flag.name == name {
            if let value = read(flag.value) { values.append(value) } else { isUnreadable = true }
        }
        flags.removeAll { $0.name == name }
        return values
    }
}

/// Options, or a command, that read their flags themselves.
protocol FlagReader: ParsableArguments {
    /// Sets every property. (An initializer could not: there, what is assigned becomes the default that the parser is told.)
    mutating func take(_ given: inout GivenFlags)
}

extension FlagReader {
    init(_ given: inout GivenFlags) {
        self.init()
        take(&given)
    }
}
