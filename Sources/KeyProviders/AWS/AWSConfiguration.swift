import SigstoreCrypto
public import StrictJSON

/// A configuration file of AWS, `config` or `credentials` (AWS SDKs and Tools Reference Guide, "Shared config and credentials
/// files"): sections of settings, one a line.
public struct AWSConfigurationFile: Sendable {
    /// The settings of one section.
    struct Section: Sendable {
        /// The settings by their names in lower case, but for secrets.
        var settings: [String: String] = [:]
        /// The settings that stand indented below one without a value, such as `kms` in a section of services.
        var nested: [String: [String: String]] = [:]
        /// The settings that are secrets.
        var secrets: [String: SecretBytes] = [:]

        /// These settings, and over them those of another section.
        func overlaid(with other: Section) -> Section {
            Section(
                settings: settings.merging(other.settings) { $1 }, nested: nested.merging(other.nested) { $1 },
                secrets: secrets.merging(other.secrets) { $1 })
        }
    }

    /// What a section is for.
    enum Kind: Sendable, Hashable { case profile, session, services }

    /// A section's name, compared by its bytes.
    struct Name: Sendable, Hashable {
        let kind: Kind
        let bytes: [UInt8]

        init(_ kind: Kind, _ name: some Collection<UInt8>) { (self.kind, bytes) = (kind, Array(name)) }
    }

    /// The sections by name. Those of kinds that are not known are left out.
    var sections: [Name: Section] = [:]

    /// The most bytes that such a file may have.
    static let limit = 1 << 20
    private static let secretNames = ["aws_secret_access_key", "aws_session_token"]

    /// A file without any section.
    init() {}

    /// Reads a file.
    /// - Parameters:
    ///   - bytes: The file, in UTF-8. The caller's copy is the caller's to cleanse.
    ///   - path: Where it is, for messages.
    ///   - isConfig: Whether it is the `config` file, whose sections begin with their kind; in `credentials` each is the name
    ///     of a profile.
    /// - Throws: `SigstoreError` with `key-service-settings` that names the file and the line, and nothing of what stands there.
    public init(parsing bytes: [UInt8], path: String, isConfig: Bool) throws(SigstoreError) {
        guard bytes.count <= Self.limit else {
            throw SigstoreError(.keyServiceSettings, "\(path) has more than the \(Self.limit) bytes that are accepted")
        }
        var name: Name?
        // Whether the section is of a kind that is known: the settings of others are not looked at.
        var counts = false
        // The setting that a line which is indented further goes on, and how far it is indented itself.
        var parent: (key: String, indent: Int)?
        // `[default]` counts only if there is no `[profile default]`.
        var hasNamedDefault = false
        for (index, whole) in bytes.split(separator: 0x0a, omittingEmptySubsequences: false).enumerated() {
            func malformed(_ what: String) -> SigstoreError {
                SigstoreError(
                    .keyServiceSettings, "\(path), line \(index + 1): \(what)",
                    advice: "correct that line; it should be [SECTION] or NAME = VALUE")
            }
            var line = whole[...]
            if index == 0, line.starts(with: [0xef, 0xbb, 0xbf]) { line = line.dropFirst(3) }
            let text = Self.trimmed(line)
            guard let first = text.first, first != 0x23, first != 0x3b else { continue }
            guard text.count <= 1 << 16 else { throw malformed("it is longer than 64 KiB") }
            let indent = line.prefix(while: Self.isSpace).count
            if let parent, indent > parent.indent, let current = name {
                guard counts else { continue }
                try Self.read(text, below: parent.key, into: &sections[current, default: Section()], malformed)
                continue
            }
            if first == 0x5b {
                guard let end = text.firstIndex(of: 0x5d) else {
                    throw malformed("a section's name does not end with ]")
                }
                let rest = Self.trimmed(text[text.index(after: end)...])
                guard rest.isEmpty || rest.first == 0x23 || rest.first == 0x3b else {
                    throw malformed("something stands behind a section's name")
                }
                parent = nil
                name = Self.name(Self.trimmed(text[text.index(after: text.startIndex)..<end]), isConfig: isConfig)
                counts = name != nil
                guard let new = name else { continue }
                let isDefault = new.kind == .profile && new.bytes.elementsEqual("default".utf8)
                let isPlain = !text.dropFirst().drop(while: Self.isSpace).starts(with: "profile".utf8)
                if isConfig, isDefault {
                    if isPlain, hasNamedDefault { counts = false }
                    if !isPlain, !hasNamedDefault {
                        hasNamedDefault = true
                        sections[new] = nil
                    }
                }
                if counts, sections[new] == nil {
                    guard sections.count < 4096 else { throw malformed("there are more than 4096 sections") }
                    sections[new] = Section()
                }
                continue
            }
            guard counts, let current = name else { continue }
            guard let equals = text.firstIndex(of: 0x3d) else { throw malformed("there is no = in it") }
            let key = try Self.key(text[..<equals], malformed)
            parent = (key, indent)
            var value = Self.withoutComment(text[text.index(after: equals)...])
            defer { SecretBytes.cleanse(&value) }
            guard let string = String(validating: value, as: UTF8.self) else {
                throw malformed("its value is not UTF-8")
            }
            var section = sections[current] ?? Section()
            guard section.settings.count < 1024 else { throw malformed("the section has more than 1024 settings") }
            if Self.secretNames.contains(key) {
                section.secrets[key] = SecretBytes(value)
            } else {
                section.settings[key] = string
            }
            sections[current] = section
        }
    }

    /// Reads a line that is indented further than the setting before it: a setting below one that has no value. More of a value,
    /// which it would be else, no setting that counts here has.
    private static func read(
        _ text: ArraySlice<UInt8>, below parent: String, into section: inout Section,
        _ malformed: (String) -> SigstoreError
    ) throws(SigstoreError) {
        guard section.settings[parent]?.isEmpty == true else {
            throw malformed("it is indented further than \(parent) above it, which has a value")
        }
        guard let equals = text.firstIndex(of: 0x3d) else { throw malformed("there is no = in it") }
        let key = try key(text[..<equals], malformed)
        guard let value = String(validating: withoutComment(text[text.index(after: equals)...]), as: UTF8.self) else {
            throw malformed("its value is not UTF-8")
        }
        guard section.nested[parent, default: [:]].count < 1024, section.nested.count < 1024 else {
            throw malformed("there are more than 1024 settings below one")
        }
        section.nested[parent, default: [:]][key] = value
    }

    /// The name and kind of a section.
    /// - Returns: `nil` for a kind that is not known.
    private static func name(_ text: ArraySlice<UInt8>, isConfig: Bool) -> Name? {
        guard isConfig else { return Name(.profile, unquoted(text)) }
        if text.elementsEqual("default".utf8) { return Name(.profile, text) }
        for (word, kind) in [("profile", Kind.profile), ("sso-session", .session), ("services", .services)] {
            guard text.starts(with: word.utf8), let next = text.dropFirst(word.utf8.count).first, isSpace(next) else {
                continue
            }
            return Name(kind, unquoted(trimmed(text.dropFirst(word.utf8.count))))
        }
        return nil
    }

    private static func unquoted(_ text: ArraySlice<UInt8>) -> ArraySlice<UInt8> {
        guard text.count >= 2, let quote = text.first, quote == 0x22 || quote == 0x27, text.last == quote else {
            return text
        }
        return text.dropFirst().dropLast()
    }

    /// The name of a setting, in lower case.
    private static func key(_ text: ArraySlice<UInt8>, _ malformed: (String) -> SigstoreError) throws(SigstoreError)
        -> String
    {
        let name = trimmed(text).map { (0x41...0x5a).contains($0) ? $0 + 32 : $0 }
        guard (1...128).contains(name.count), name.allSatisfy({ (0x21...0x7e).contains($0) }) else {
            throw malformed("the name before the = is empty, or not one word in ASCII")
        }
        return String(decoding: name, as: UTF8.self)
    }

    /// A value without the spaces around it and the comment behind it, which begins with a space and `#` or `;`.
    private static func withoutComment(_ text: ArraySlice<UInt8>) -> [UInt8] {
        var end = text.endIndex
        for place in text.indices where text[place] == 0x23 || text[place] == 0x3b {
            if place == text.startIndex || isSpace(text[place - 1]) {
                end = place
                break
            }
        }
        return Array(trimmed(text[..<end]))
    }

    private static func isSpace(_ byte: UInt8) -> Bool { byte == 0x20 || byte == 0x09 || byte == 0x0d }

    private static func trimmed(_ text: ArraySlice<UInt8>) -> ArraySlice<UInt8> {
        var text = text.drop(while: isSpace)
        while let last = text.last, isSpace(last) { text.removeLast() }
        return text
    }
}
