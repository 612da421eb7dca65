internal import LocalSystem
internal import Provenance
public import StrictJSON

/// What a push would change, as git tells its hooks, and which commits and tags have to be looked at for it.
public struct GitPush: Sendable {
    /// One reference that a push changes.
    public struct Update: Sendable {
        /// The whole name of the reference in the repository that receives it.
        public let reference: String
        /// What it leads to now; `nil` if it is new.
        public let old: String?
        /// What it is to lead to; `nil` if it is deleted.
        public let new: String?
    }

    /// More than this many bytes of input are refused.
    public static let inputLimit = 16 << 20
    /// How many tags may stand one around the other.
    static let tagDepth = 8

    /// What is changed.
    public let updates: [Update]
    /// The references whose commits are at the receiver already: their folder here, and what they are called there.
    private let known: (prefix: String, there: String)?

    /// Reads what git writes to `pre-receive`, and gives as arguments to `update`: the old object, the new one, and the reference.
    /// - Parameter input: A line for each reference.
    /// - Throws: `SigstoreError` with `malformed-hook-input`.
    public init(received input: [UInt8]) throws(SigstoreError) {
        updates = try Self.lines(input, words: 3).map { words throws(SigstoreError) in
            try Self.update(old: words[0], new: words[1], words[2])
        }
        known = ("refs/", "refs/")
    }

    /// Reads what git writes to `pre-push`: the reference and the object here, the reference and the object there.
    /// - Parameters:
    ///   - input: A line for each reference.
    ///   - remote: The name of the repository that receives it; its address, if it has no name here.
    public init(sent input: [UInt8], to remote: String) throws(SigstoreError) {
        updates = try Self.lines(input, words: 4).map { words throws(SigstoreError) in
            try Self.update(old: words[3], new: words[1], words[2])
        }
        let isName = !remote.isEmpty && !remote.utf8.contains { [0x3a, 0x2f, 0x2a, 0x3f, 0x5b, 0x5c].contains($0) }
        known = isName ? ("refs/remotes/\(remote)/", "refs/heads/") : nil
    }

    private static func fault(_ what: String) -> SigstoreError {
        SigstoreError(
            .malformedHookInput, "what the hook was given is not what git gives it: \(what)",
            advice: "let git run the hook, and not a person")
    }

    private static func lines(_ input: [UInt8], words: Int) throws(SigstoreError) -> [[String]] {
        guard input.count <= inputLimit else { throw fault("more than \(inputLimit) bytes") }
        var lines: [[String]] = []
        for line in input.split(separator: 0x0a) {
            let parts = line.split(separator: 0x20, omittingEmptySubsequences: false)
            guard parts.count == words, !line.contains(0) else { throw fault("a line is not of \(words) words") }
            var texts: [String] = []
            for part in parts {
                guard let text = String(validating: part, as: UTF8.self) else { throw fault("a name is not UTF-8") }
                texts.append(text)
            }
            lines.append(texts)
        }
        return lines
    }

    private static func update(old: String, new: String, _ reference: String) throws(SigstoreError) -> Update {
        func object(_ text: String) throws(SigstoreError) -> String? {
            guard GitObject.isName(text.utf8) else { throw fault("an object's name is not of 40 or 64 digits") }
            return text.utf8.allSatisfy { $0 == 0x30 } ? nil : text
        }
        guard reference.utf8.starts(with: "refs/".utf8) else { throw fault("a reference does not begin with refs/") }
        return Update(reference: reference, old: try object(old), new: try object(new))
    }

    /// What is to be looked at for one reference.
    ///
    /// Commits that the reference had are not looked at again, nor are those that other references at the receiver have under the
    /// same rules; nor what came before the commit with which the rules begin. For a tag, it is the tag itself, or without one the
    /// commit, and commits that no branch has.
    /// - Parameters:
    ///   - update: The reference.
    ///   - inspection: The repository, and who may sign.
    /// - Returns: The tags and commits; `nil` if the reference is deleted.
    /// - Throws: `SigstoreError` with `git-failed`, `unknown-revision` or `unsigned-git-object` if it leads to something else.
    public func objects(
        for update: Update, _ inspection: GitInspection
    ) throws(SigstoreError) -> GitRepository.Selection? {
        guard let new = update.new else { return nil }
        let (repository, authority) = (inspection.repository, inspection.authority)
        var tags: [String] = []
        var target = new
        while true {
            guard let kind = try repository.kinds([target]).first, !kind.type.isEmpty else {
                throw SigstoreError(.noGitObject, "\(target) is not in this repository")
            }
            if kind.type.utf8.elementsEqual("commit".utf8) { break }
            guard kind.type.utf8.elementsEqual("tag".utf8), tags.count < Self.tagDepth else {
                throw SigstoreError(
                    .malformedGitObject,
                    "\(update.reference) leads to a \(kind.type), where a signed tag or a commit should be")
            }
            tags.append(target)
            var next: String?
            try repository.read([target]) { entries throws(SigstoreError) in
                guard let content = entries.first?.content else {
                    throw SigstoreError(.gitObjectTooLarge, "the tag \(target) is too large")
                }
                next = try GitObject(content, .tag).references.first
            }
            guard let next else { throw SigstoreError(.malformedGitObject, "the tag \(target) leads to nothing") }
            target = next
        }
        let isTag = update.reference.utf8.starts(with: "refs/tags/".utf8)
        var commits = try repository.commits(
            [target], without: try known(to: update, isTag: isTag, repository, authority))
        // Without a signed tag, it is the commit that says who made the release.
        if isTag, tags.isEmpty, !commits.contains(where: { $0.utf8.elementsEqual(target.utf8) }) {
            commits.insert(target, at: 0)
        }
        var selection = GitRepository.Selection(ids: tags + commits, isWalk: true)
        let folder = "refs/tags/".utf8
        if let first = tags.first, update.reference.utf8.starts(with: folder) {
            selection.tags[first] = [String(decoding: update.reference.utf8.dropFirst(folder.count), as: UTF8.self)]
        }
        return selection
    }

    /// The objects whose commits need not be looked at for a reference.
    private func known(
        to update: Update, isTag: Bool, _ repository: GitRepository, _ authority: GitAuthority
    ) throws(SigstoreError) -> [String] {
        var known: [String] = []
        if let old = update.old, try repository.has(old) { known.append(old) }
        if let since = authority.rules?.since { known.append(since) }
        let own = authority.rules(for: update.reference)
        func knows(_ reference: String) -> Bool {
            // A tag is about one commit; those before it are the branches' matter.
            isTag
                ? reference.utf8.starts(with: "refs/heads/".utf8) || reference.utf8.starts(with: "refs/tags/".utf8)
                : authority.rules(for: reference) == own
        }
        if let there = self.known {
            for reference in try repository.references(there.prefix) {
                let name = String(decoding: reference.name.utf8.dropFirst(there.prefix.utf8.count), as: UTF8.self)
                if knows(there.there + name) { known.append(reference.id) }
            }
        }
        // What comes to a branch with the same push is looked at for that branch.
        if isTag {
            known += updates.filter { $0.reference.utf8.starts(with: "refs/heads/".utf8) }.compactMap(\.new)
        }
        return known
    }
}

/// A hook of git's, written into a repository.
public struct GitHookFile: Sendable {
    /// What a hook of ours has as its second line.
    private static let mark = "# Judges what is pushed by who signed it."

    /// Where it stands.
    public let path: String
    private let workTree: String?

    /// - Parameters:
    ///   - repository: The repository.
    ///   - name: The hook, such as `pre-receive`.
    public init(_ repository: GitRepository, name: String) throws(SigstoreError) {
        path = "\(try repository.place("hooks", asConfigured: true))/\(name)"
        workTree = try repository.workTree()
    }

    /// Refuses a file in the repository's own files: what is pushed or checked out would say who may push.
    /// - Parameter file: A file that says who may sign.
    public func expectOutside(_ file: String) throws(SigstoreError) {
        guard let workTree, let place = LocalFile.realPath(file), let folder = LocalFile.realPath(workTree),
            place.utf8.starts(with: "\(folder)/".utf8), !place.utf8.starts(with: "\(folder)/.git/".utf8)
        else { return }
        throw SigstoreError(
            .ownGitRules, "\(file) is among the files of the repository, so that a commit can change who may sign",
            advice: "keep it elsewhere")
    }

    /// Writes it. A hook that another program or person wrote stays as it is.
    /// - Parameter words: The command that it runs, with its arguments.
    /// - Throws: `SigstoreError` with `file-exists` or `file-unwritable`.
    public func write(_ words: [String]) throws(SigstoreError) {
        if let content = try LocalFile.read(path, limit: 1 << 16),
            !content.starts(with: "#!/bin/sh\n\(Self.mark)\n".utf8)
        {
            throw SigstoreError(
                .fileExists, "\(path) is there already, and is another program's",
                advice: "have that hook run this command too: \(words.map(Self.quoted).joined(separator: " "))")
        }
        let command = words.map(Self.quoted).joined(separator: " ")
        try LocalFile.makeParent(of: path, mode: 0o755)
        let text = "#!/bin/sh\n\(Self.mark)\nexec \(command) \"$@\"\n"
        let file = try TemporaryFile(beside: path, mode: 0o755, exactly: true)
        try file.write(Array(text.utf8))
        try file.commit(as: path)
    }

    /// A word as a shell takes it for itself.
    private static func quoted(_ word: String) -> String {
        let isPlain =
            !word.isEmpty
            && word.utf8.allSatisfy {
                (0x61...0x7a).contains($0) || (0x41...0x5a).contains($0) || (0x30...0x39).contains($0)
                    || [0x2d, 0x2e, 0x2f, 0x3a, 0x3d, 0x40, 0x5f, 0x2c, 0x2b].contains($0)
            }
        guard !isPlain else { return word }
        let parts = word.utf8.split(separator: 0x27, omittingEmptySubsequences: false)
        return "'" + parts.map { String(decoding: $0, as: UTF8.self) }.joined(separator: "'\\''") + "'"
    }
}

extension SigstoreError.Code {
    /// What a hook was given is not what git gives it.
    public static let malformedHookInput = Self("malformed-hook-input")
    /// A file that says who may sign is among the files that they sign.
    public static let ownGitRules = Self("own-git-rules")
}
