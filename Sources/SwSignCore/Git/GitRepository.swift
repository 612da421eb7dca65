internal import LocalSystem
internal import Provenance
public import StrictJSON

/// A repository of git, read by git itself: without hooks, without other programs, without the network, and without
/// replacements and grafts, which would show other history than the one that was signed.
public struct GitRepository: Sendable {
    private let folder: String?
    private let environment: [String: String]

    /// How many commits are looked at in one run.
    public static let commitLimit = 1_000_000
    /// How long git may take for one answer.
    private static let timeout = Duration.seconds(3600)

    /// - Parameters:
    ///   - folder: Where the repository is; `nil` is the working directory.
    ///   - environment: The variables of the environment, by which git is found.
    public init(folder: String?, environment: [String: String]) {
        (self.folder, self.environment) = (folder, environment)
    }

    /// What stands in a repository under a name.
    public struct Entry: Sendable {
        /// The object's name.
        public let id: String
        /// What it is, as git says: `commit`, `tag`, `tree`, `blob`; empty if it is not there.
        public let type: String
        /// How many bytes it has.
        public let size: Int
        /// The whole object; `nil` if it is not there, or larger than what is read.
        public let content: [UInt8]?
    }

    /// What revisions mean.
    public struct Selection: Sendable {
        /// The objects' names.
        public let ids: [String]
        /// Whether history was walked.
        public let isWalk: Bool
        /// The names of the references below `refs/tags` that were named, by the object that each leads to.
        public internal(set) var tags: [String: [String]] = [:]

        /// Whether anything else than tags was named.
        public internal(set) var hasCommits = true

        init(ids: [String], isWalk: Bool) { (self.ids, self.isWalk) = (ids, isWalk) }
    }

    // MARK: - Which objects

    /// The objects that revisions mean.
    /// - Parameters:
    ///   - revisions: Names of commits and tags, each meaning that one; or ranges such as `A..B`, meaning every commit in them.
    ///   - all: Every commit that a reference leads to, in place of that.
    ///   - since: The whole name of a commit that ends a walk: it and what it leads to are left out.
    /// - Throws: `SigstoreError` with `git-failed` or `unknown-revision`.
    public func objects(_ revisions: [String], all: Bool, since: String? = nil) throws(SigstoreError) -> Selection {
        for revision in revisions where revision.isEmpty || revision.utf8.first == 0x2d || revision.utf8.contains(0) {
            throw SigstoreError(.unknownRevision, "\"\(revision)\" is no revision")
        }
        let isWalk = all || revisions.contains { $0.contains("..") || $0.utf8.first == 0x5e }
        guard !isWalk else {
            let words =
                (all ? ["--all", "--end-of-options"] : ["--end-of-options"] + revisions)
                + (since.map { ["^" + $0] } ?? [])
            guard let ids = try lines(["rev-list", "--topo-order"] + words + ["--"]) else {
                throw SigstoreError(
                    .unknownRevision,
                    "git does not know the revisions \((revisions + (since.map { [$0] } ?? [])).joined(separator: " "))"
                )
            }
            return Selection(ids: ids, isWalk: true)
        }
        var ids: [String] = []
        var tags: [String: [String]] = [:]
        for revision in revisions {
            let found = try lines(["rev-parse", "--verify", "--quiet", "--end-of-options", revision])
            guard let found, let id = found.first, found.count == 1 else {
                throw SigstoreError(.unknownRevision, "git does not know the revision \(revision)")
            }
            ids.append(id)
            let whole = try text([
                "rev-parse", "--verify", "--quiet", "--symbolic-full-name", "--end-of-options", revision,
            ])
            let folder = "refs/tags/".utf8
            if let whole, whole.utf8.starts(with: folder) {
                tags[id, default: []].append(String(decoding: whole.utf8.dropFirst(folder.count), as: UTF8.self))
            }
        }
        var selection = Selection(ids: ids, isWalk: false)
        selection.tags = tags
        selection.hasCommits = try kinds(ids).contains { !$0.type.utf8.elementsEqual("tag".utf8) }
        return selection
    }

    /// The commits whose parents are not in this repository, since it was cloned without them.
    public func shallowCommits() throws(SigstoreError) -> Set<String> {
        guard let answer = try text(["rev-parse", "--is-shallow-repository"]) else { throw Self.noRepository }
        guard answer.utf8.elementsEqual("true".utf8) else { return [] }
        // While a push is received, git keeps what would become of the file in another one.
        let given = environment["GIT_SHALLOW_FILE"].flatMap { $0.isEmpty ? nil : $0 }
        let path = if let given { given } else { try place("shallow") }
        guard let content = try LocalFile.read(path, limit: 1 << 26) else { throw Self.noRepository }
        return Set(content.split(separator: 0x0a).map { String(decoding: $0, as: UTF8.self) })
    }

    /// Where git keeps something of this repository, such as its `hooks`.
    /// - Parameter asConfigured: Whether this is where git would look for it, and not where we let it look.
    func place(_ name: String, asConfigured: Bool = false) throws(SigstoreError) -> String {
        let words = ["rev-parse", "--path-format=absolute", "--git-path", name]
        guard let path = try lines(words, asConfigured: asConfigured)?.first else { throw Self.noRepository }
        return path
    }

    /// What of this repository shows other history than what is in it: `grafts`, `replacements`. None is followed.
    public func rewritings() throws(SigstoreError) -> [String] {
        var found: [String] = []
        guard let folder = try text(["rev-parse", "--path-format=absolute", "--git-common-dir"]) else {
            throw Self.noRepository
        }
        if LocalFile.exists("\(folder)/info/grafts") { found.append("grafts") }
        if try text(["for-each-ref", "--count=1", "--format=%(refname)", "refs/replace/"]) != nil {
            found.append("replacements")
        }
        return found
    }

    /// The references below a name, each with the object that it leads to.
    /// - Parameter prefix: Such as `refs/`.
    func references(_ prefix: String) throws(SigstoreError) -> [(name: String, id: String)] {
        guard let found = try lines(["for-each-ref", "--format=%(objectname) %(refname)", prefix]) else {
            throw Self.noRepository
        }
        var references: [(name: String, id: String)] = []
        for line in found {
            let id = line.utf8.prefix { $0 != 0x20 }
            references.append(
                (
                    String(decoding: line.utf8.dropFirst(id.count + 1), as: UTF8.self),
                    String(decoding: id, as: UTF8.self)
                ))
        }
        return references
    }

    /// The commits that objects lead to, without those that others lead to.
    /// - Parameters:
    ///   - new: The names of objects, which must be there.
    ///   - known: The names of the others. One that is not there is refused.
    func commits(_ new: [String], without known: [String]) throws(SigstoreError) -> [String] {
        let input = new.map { "\($0)\n" }.joined() + known.map { "^\($0)\n" }.joined()
        guard let ids = try lines(["rev-list", "--topo-order", "--stdin"], input: Array(input.utf8)) else {
            throw SigstoreError(.unknownRevision, "git does not have the commits, or what they lead to")
        }
        return ids
    }

    /// What objects are, by git's own word, without reading them.
    /// - Returns: Each with its type; it is empty for one that is not there.
    func kinds(_ ids: [String]) throws(SigstoreError) -> [(id: String, type: String)] {
        let input = ids.reduce(into: [UInt8]()) { $0 += Array($1.utf8) + [0x0a] }
        guard let found = try lines(["cat-file", "--batch-check=%(objectname) %(objecttype)"], input: input),
            found.count == ids.count
        else { throw Self.confused }
        var kinds: [(id: String, type: String)] = []
        for (id, line) in zip(ids, found) {
            guard line.utf8.starts(with: "\(id) ".utf8) else { throw Self.confused }
            let type = String(decoding: line.utf8.dropFirst(id.utf8.count + 1), as: UTF8.self)
            kinds.append((id, type.utf8.elementsEqual("missing".utf8) ? "" : type))
        }
        return kinds
    }

    /// The folder with the files of a commit that is checked out; `nil` if the repository has none.
    func workTree() throws(SigstoreError) -> String? { try text(["rev-parse", "--show-toplevel"]) }

    /// Whether an object is in the repository.
    func has(_ id: String) throws(SigstoreError) -> Bool {
        try text(["rev-parse", "--verify", "--quiet", "--end-of-options", id + "^{object}"]) != nil
    }

    /// The paths that commits change. Of a merge, those count that differ from every parent: what it brings in from one is that
    /// one's.
    /// - Parameters:
    ///   - ids: The names of the commits.
    ///   - take: Is given a commit with a path, again for each path; and each commit once without one.
    func changes(
        _ ids: [String], _ take: (_ id: String, _ path: [UInt8]?) throws(SigstoreError) -> Void
    ) throws(SigstoreError) {
        var open: [UInt8] = []
        var commit: String?
        var isPath = false
        var failure: SigstoreError?
        var count = 0
        let input = ids.reduce(into: [UInt8]()) { $0 += Array($1.utf8) + [0x0a] }
        let status = try run(
            [
                "diff-tree", "--stdin", "--root", "-c", "-r", "-z", "--raw", "--no-renames", "--no-ext-diff",
                "--no-textconv", "--ignore-submodules=none", "--always",
            ], input: input
        ) { chunk in
            do throws(SigstoreError) {
                var rest = chunk
                while let end = rest.firstIndex(of: 0) {
                    open += rest[..<end]
                    rest = rest[(end + 1)...]
                    if isPath {
                        guard let commit else { throw Self.confused }
                        try take(commit, open)
                        isPath = false
                    } else if open.first == 0x3a {
                        isPath = true
                    } else {
                        guard count < ids.count, open.elementsEqual(ids[count].utf8) else { throw Self.confused }
                        commit = ids[count]
                        count += 1
                        try take(ids[count - 1], nil)
                    }
                    open = []
                }
                open += rest
                guard open.count <= 1 << 16 else { throw Self.confused }
                return true
            } catch {
                failure = error
                return false
            }
        }
        if let failure { throw failure }
        guard status == 0, open.isEmpty, !isPath, count == ids.count else { throw Self.confused }
    }

    static let noRepository = SigstoreError(
        .gitFailed, "git finds no repository here, or may not read it",
        advice: "run git status there by hand to see why")

    // MARK: - Reading

    /// Reads objects through one run of git.
    /// - Parameters:
    ///   - ids: The names of the objects, as ``objects(_:all:since:)`` gives them.
    ///   - count: How many are handed over at a time.
    ///   - take: Is given the next ones, in their order.
    /// - Throws: `SigstoreError` with `git-failed`, also if git does not answer for each; and what `take` throws.
    public func read(
        _ ids: [String], atOnce count: Int = 512, _ take: ([Entry]) throws(SigstoreError) -> Void
    ) throws(SigstoreError) {
        var parser = Parser()
        var next = 0
        var failure: SigstoreError?
        func handOver(_ least: Int) throws(SigstoreError) {
            guard parser.entries.count >= least, !parser.entries.isEmpty else { return }
            for entry in parser.entries {
                guard next < ids.count, entry.id.utf8.elementsEqual(ids[next].utf8) else { throw Self.confused }
                next += 1
            }
            try take(parser.entries)
            parser.entries = []
        }
        let input = ids.reduce(into: [UInt8]()) { $0 += Array($1.utf8) + [0x0a] }
        let status = try run(["cat-file", "--batch"], input: input) { chunk in
            do throws(SigstoreError) {
                try parser.take(chunk)
                try handOver(count)
                return true
            } catch {
                failure = error
                return false
            }
        }
        if let failure { throw failure }
        guard status == 0, parser.isDone else { throw Self.confused }
        try handOver(0)
        guard next == ids.count else { throw Self.confused }
    }

    private static let confused = SigstoreError(
        .gitFailed, "git did not give the objects that it was asked for",
        advice: "check the repository with git fsck")

    /// Reads what `git cat-file --batch` writes.
    private struct Parser {
        var entries: [Entry] = []
        private var header: [UInt8] = []
        /// The object that is being read, and how many bytes of it are still to come; the last is a line break.
        private var open: (id: String, type: String, size: Int, left: Int)?
        private var content: [UInt8] = []

        var isDone: Bool { header.isEmpty && open == nil }

        mutating func take(_ chunk: ArraySlice<UInt8>) throws(SigstoreError) {
            var rest = chunk
            while !rest.isEmpty {
                if let (id, type, size, left) = open {
                    let part = rest.prefix(left)
                    if size <= GitObject.sizeLimit { content += part }
                    rest = rest.dropFirst(part.count)
                    open = (id, type, size, left - part.count)
                    guard left == part.count else { continue }
                    guard part.last == 0x0a else { throw GitRepository.confused }
                    if size <= GitObject.sizeLimit { content.removeLast() }
                    entries.append(
                        Entry(id: id, type: type, size: size, content: size <= GitObject.sizeLimit ? content : nil))
                    open = nil
                    content = []
                    continue
                }
                guard let end = rest.firstIndex(of: 0x0a) else {
                    header += rest
                    guard header.count <= 256 else { throw GitRepository.confused }
                    return
                }
                header += rest[..<end]
                rest = rest[(end + 1)...]
                try begin()
            }
        }

        private mutating func begin() throws(SigstoreError) {
            let words = header.split(separator: 0x20).map { String(decoding: $0, as: UTF8.self) }
            header = []
            if words.count == 2, words[1].utf8.elementsEqual("missing".utf8) {
                entries.append(Entry(id: words[0], type: "", size: 0, content: nil))
                return
            }
            guard words.count == 3, let size = Int(words[2]), size >= 0, size < 1 << 40 else {
                throw GitRepository.confused
            }
            open = (words[0], words[1], size, size + 1)
            if size <= GitObject.sizeLimit { content.reserveCapacity(size + 1) }
        }
    }

    // MARK: - Running git

    /// What git answers, a line each; `nil` if it refuses.
    func lines(
        _ arguments: [String], input: [UInt8] = [], asConfigured: Bool = false
    ) throws(SigstoreError) -> [String]? {
        var lines: [String] = []
        var open: [UInt8] = []
        let status = try run(arguments, input: input, asConfigured: asConfigured) { chunk in
            open += chunk
            let parts = open.split(separator: 0x0a, omittingEmptySubsequences: false)
            lines += parts.dropLast().map { String(decoding: $0, as: UTF8.self) }
            open = parts.last.map { Array($0) } ?? []
            return lines.count <= Self.commitLimit && open.count <= 1 << 16
        }
        guard lines.count <= Self.commitLimit, open.isEmpty else {
            throw SigstoreError(
                .gitFailed, "git names more than \(Self.commitLimit) commits", advice: "name a smaller range")
        }
        return status == 0 ? lines : nil
    }

    func text(_ arguments: [String]) throws(SigstoreError) -> String? { try lines(arguments)?.first }

    /// Runs git.
    /// - Parameters:
    ///   - asConfigured: Whether it runs with its own settings, for what runs no other program anyway.
    ///   - take: Is given what it writes, piece by piece; `false` ends it.
    /// - Returns: Its exit status.
    func run(
        _ arguments: [String], input: [UInt8], asConfigured: Bool = false, _ take: (ArraySlice<UInt8>) -> Bool
    ) throws(SigstoreError) -> CInt {
        guard ChildProcess.find("git", environment: environment) != nil else {
            throw SigstoreError(.gitFailed, "git is not installed", advice: "install git")
        }
        let folder = folder.map { ["-C", $0] } ?? []
        let settings =
            asConfigured
            ? [] : ["core.fsmonitor=false", "core.hooksPath=/dev/null", "core.commitGraph=false", "gc.auto=0"]
        do throws(ChildProcess.Failure) {
            let status = try ChildProcess.run(
                ["git", "--no-pager", "--no-replace-objects"] + folder + settings.flatMap { ["-c", $0] } + arguments,
                more: [
                    "GIT_NO_REPLACE_OBJECTS": "1", "GIT_GRAFT_FILE": "/dev/null", "GIT_OPTIONAL_LOCKS": "0",
                    "GIT_ALLOW_PROTOCOL": "none", "GIT_TERMINAL_PROMPT": "0", "GIT_NO_LAZY_FETCH": "1",
                    "GIT_PAGER": "cat", "LC_ALL": "C",
                ], input: input, isSilent: true, timeout: Self.timeout, take)
            return status.value
        } catch {
            switch error {
            case .saidTooMuch: return -1
            case .notStarted: throw SigstoreError(.gitFailed, "git cannot be started")
            case .tookTooLong: throw SigstoreError(.gitFailed, "git took longer than an hour")
            }
        }
    }
}

extension SigstoreError.Code {
    /// git is not there, or does not do what it is asked for.
    public static let gitFailed = Self("git-failed")
    /// A repository has no revision of that name.
    public static let unknownRevision = Self("unknown-revision")
}
