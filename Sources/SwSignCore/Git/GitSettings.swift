public import StrictJSON

/// A setting of git's configuration.
public struct GitSetting: Sendable {
    /// Its name as git writes it: section and variable in small letters, such as `gpg.format`.
    public let name: String
    /// Its value; a variable without one is `true`.
    public let value: String
    /// Whether it stands in a file of the repository, and not in one of the user or the system, or in what git was called with.
    public let isOfRepository: Bool
}

/// Whose configuration of git is changed.
public enum GitSettingScope: String, Sendable {
    /// The user's.
    case global
    /// The repository's.
    case local
}

extension GitRepository {
    /// The settings of some sections, those that count last behind the others.
    /// - Parameter sections: The sections' names, in small letters.
    /// - Throws: `SigstoreError` with `git-failed` if git cannot read its configuration.
    public func settings(of sections: [String]) throws(SigstoreError) -> [GitSetting] {
        let pattern = "^(\(sections.joined(separator: "|")))\\."
        var output: [UInt8] = []
        let status = try run(["config", "--null", "--show-scope", "--get-regexp", pattern], input: []) { piece in
            output += piece
            return output.count <= 1 << 20
        }
        // Git ends so if there is no such setting.
        if status == 1, output.isEmpty { return [] }
        guard status == 0 else { throw Self.unreadableSettings }
        var settings: [GitSetting] = []
        var parts = output.split(separator: 0, omittingEmptySubsequences: false)[...]
        while parts.count >= 2, let scope = parts.popFirst(), let entry = parts.popFirst() {
            let name = entry.prefix { $0 != 0x0a }
            let value = entry.dropFirst(name.count)
            guard let key = String(validating: name, as: UTF8.self),
                let text = String(
                    validating: value.isEmpty ? Array("true".utf8)[...] : value.dropFirst(), as: UTF8.self)
            else { throw Self.unreadableSettings }
            let isOurs = ["system", "global", "command"].contains { scope.elementsEqual($0.utf8) }
            settings.append(GitSetting(name: key, value: text, isOfRepository: !isOurs))
        }
        guard parts.count == 1, parts.first?.isEmpty == true else { throw Self.unreadableSettings }
        return settings
    }

    private static let unreadableSettings = SigstoreError(
        .gitFailed, "git's configuration cannot be read", advice: "look at it with git config by hand")

    /// The value of one setting in one place.
    /// - Returns: `nil` if it is not set there.
    /// - Throws: `SigstoreError` with `git-failed`.
    public func setting(_ name: String, in scope: GitSettingScope) throws(SigstoreError) -> String? {
        var output: [UInt8] = []
        if scope == .local, try text(["rev-parse", "--git-dir"]) == nil { throw Self.noRepository }
        let status = try run(["config", "--\(scope.rawValue)", "--null", "--get", name], input: []) { piece in
            output += piece
            return output.count <= 1 << 16
        }
        if status == 1 { return nil }
        guard status == 0, output.popLast() == 0, let text = String(validating: output, as: UTF8.self) else {
            throw Self.unreadableSettings
        }
        return text
    }

    /// Sets or unsets a setting.
    /// - Parameters:
    ///   - name: The setting's name, with its section.
    ///   - value: The value; `nil` takes it away.
    ///   - scope: In whose configuration.
    /// - Throws: `SigstoreError` with `git-failed`.
    public func set(_ name: String, to value: String?, in scope: GitSettingScope) throws(SigstoreError) {
        let words = value.map { ["--replace-all", name, $0] } ?? ["--unset-all", name]
        let status = try run(["config", "--\(scope.rawValue)"] + words, input: []) { _ in true }
        // Git ends with 5 if there is nothing to take away.
        guard status == 0 || value == nil && status == 5 else {
            throw SigstoreError(
                .gitFailed, "git does not write \(name) into its \(scope.rawValue) configuration",
                advice: "check that the file can be written to, and for a repository's that this is one")
        }
    }
}
