internal import InToto
internal import LocalSystem
internal import Provenance
public import SigstoreVerification
public import StrictJSON

/// Attestations about commits and trees that are kept in the repository itself, where gitsign keeps them: a branch of their own
/// with a folder for each object.
public struct GitAttestation: Sendable {
    /// What an attestation is about.
    public enum Subject: String, Sendable, CaseIterable {
        case commit, tree

        /// The reference that the attestations about such objects are kept under.
        public var reference: String { self == .commit ? "refs/attestations/commits" : "refs/attestations/trees" }
        fileprivate var digestName: String { self == .commit ? "gitCommit" : "gitTree" }
    }

    /// What it is about.
    public let subject: Subject
    /// The object's name.
    public let id: String
    /// The name of the predicate's file.
    public let name: String
    /// The predicate as it was given.
    public let predicate: [UInt8]
    /// The statement to be signed.
    public let statement: [UInt8]

    /// Makes the statement.
    /// - Parameters:
    ///   - subject: What it is about.
    ///   - id: The object's name, as ``GitRepository/attested(_:_:)`` gives it.
    ///   - name: The name of the predicate's file, without a folder.
    ///   - predicate: JSON in UTF-8.
    ///   - type: The predicate's type: one of cosign's short names or a URI.
    /// - Throws: `SigstoreError` with `malformed-predicate` or `unknown-predicate-type`, and with `usage` if nothing in a
    ///   repository can have the name.
    public init(_ subject: Subject, _ id: String, name: String, predicate: [UInt8], type: String) throws(SigstoreError)
    {
        let isPlain = !name.isEmpty && !name.utf8.contains { $0 == 0x2f || $0 == 0 || $0 == 0x0a }
        guard isPlain, ![".", ".."].contains(name), name.lowercased() != ".git" else {
            throw SigstoreError(.usage, "a file in a repository cannot be called \"\(name)\"")
        }
        let value: JSONValue
        do throws(SigstoreError) { value = try JSONValue(parsing: predicate, depth: 256) } catch {
            throw SigstoreError(.malformedPredicate, "the predicate is \(error.message)", cause: error)
        }
        guard case .object = value else {
            throw SigstoreError(.malformedPredicate, "the predicate is not a JSON object")
        }
        (self.subject, self.id, self.name, self.predicate) = (subject, id, name, predicate)
        let descriptor = ResourceDescriptor(name: nil, digests: [(algorithm: subject.digestName, hex: id)])
        statement = Statement(
            layout: .v1, subjects: [descriptor], predicateType: try PredicateType(named: type), predicate: value
        ).json().serialized()
    }

    /// The files that are kept: the predicate, the envelope as gitsign has it, and the bundle, which holds all that verifying
    /// needs.
    fileprivate func files(_ bundle: SigstoreBundle) throws(SigstoreError) -> [(name: String, content: [UInt8])] {
        guard case .dsse(let envelope) = bundle.content else {
            throw SigstoreError(.cryptographyFailed, "no envelope was made")
        }
        return [
            (name, predicate), (name + ".sig", envelope.json(includingEmptyKeyID: true).serialized()),
            (name + ".sigstore.json", bundle.serialized()),
        ]
    }
}

extension GitRepository {
    /// How large a list of a folder may be that is read.
    private static let listLimit = 1 << 26

    /// The name of what a revision means, as an attestation names it.
    /// - Throws: `SigstoreError` with `unknown-revision` or `git-failed`.
    public func attested(_ revision: String, _ subject: GitAttestation.Subject) throws(SigstoreError) -> String {
        guard try text(["rev-parse", "--git-dir"]) != nil else { throw Self.noRepository }
        let found = try lines([
            "rev-parse", "--verify", "--quiet", "--end-of-options", "\(revision)^{\(subject.rawValue)}",
        ])
        guard let found, found.count == 1, let id = found.first, GitObject.isName(id.utf8) else {
            throw SigstoreError(.unknownRevision, "git knows no \(subject.rawValue) by the name \(revision)")
        }
        return id
    }

    /// The address of a remote repository, without the credentials that may stand in it; `nil` if none is set.
    public func address(ofRemote name: String) throws(SigstoreError) -> String? {
        guard let address = try text(["config", "--get-all", "remote.\(name).url"]) else { return nil }
        let bytes = Array(address.utf8)
        let separator = Array("://".utf8)
        guard let start = bytes.indices.first(where: { bytes[$0...].starts(with: separator) }) else { return address }
        let rest = bytes[(start + separator.count)...]
        let authority = rest.prefix { $0 != 0x2f }
        guard let at = authority.lastIndex(of: 0x40), authority[..<at].contains(0x3a) else { return address }
        return String(decoding: bytes[..<rest.startIndex] + bytes[(at + 1)...], as: UTF8.self)
    }

    /// Keeps an attestation in the repository: a commit more on the branch of attestations. What is there stays; files of
    /// the same name for the same object are replaced.
    /// - Parameters:
    ///   - attestation: What was attested.
    ///   - bundle: Its signature.
    /// - Returns: The name of the commit.
    /// - Throws: `SigstoreError` with `git-failed`; then the branch is as it was.
    public func keep(_ attestation: GitAttestation, _ bundle: SigstoreBundle) throws(SigstoreError) -> String {
        let reference = attestation.subject.reference
        let before = try text(["rev-parse", "--verify", "--quiet", "--end-of-options", "\(reference)^{commit}"])
        var folder = try before.map { before throws(SigstoreError) in try list("\(before)^{tree}") } ?? []
        var own: [Item] = []
        if let there = folder.first(where: { $0.name == Array(attestation.id.utf8) }) {
            guard there.type == "tree" else {
                throw SigstoreError(.gitFailed, "in \(reference), \(attestation.id) is no folder")
            }
            own = try list(there.id)
        }
        for file in try attestation.files(bundle) {
            let id = try write(["hash-object", "-w", "--stdin"], file.content)
            own.put(Item(mode: "100644", type: "blob", id: id, name: Array(file.name.utf8)))
        }
        let tree = try makeTree(own)
        folder.put(Item(mode: "040000", type: "tree", id: tree, name: Array(attestation.id.utf8)))
        let message = "Attest \(attestation.name)\n"
        let parent = before.map { ["-p", $0] } ?? []
        let commit = try write(
            ["commit-tree", "--no-gpg-sign", try makeTree(folder)] + parent, Array(message.utf8),
            advice: "set user.name and user.email for git, and see that the repository may be written to")
        // Only if nobody has added to it meanwhile.
        guard try lines(["update-ref", "-m", "attest", reference, commit, before ?? ""]) != nil else {
            throw SigstoreError(
                .gitFailed, "\(reference) was changed meanwhile, or may not be written", advice: "try again")
        }
        return commit
    }

    /// One line of a folder.
    fileprivate struct Item {
        let mode: String
        let type: String
        let id: String
        let name: [UInt8]
    }

    private func list(_ tree: String) throws(SigstoreError) -> [Item] {
        var listed: [UInt8] = []
        let status = try run(["ls-tree", "-z", "--full-tree", tree], input: []) { chunk in
            listed += chunk
            return listed.count <= Self.listLimit
        }
        let unreadable = SigstoreError(
            .gitFailed, "the folder \(tree) of attestations cannot be listed",
            advice: "check the repository with git fsck")
        guard status == 0, listed.count <= Self.listLimit else { throw unreadable }
        var items: [Item] = []
        for line in listed.split(separator: 0) {
            let words = line.prefix { $0 != 0x09 }.split(separator: 0x20).map { String(decoding: $0, as: UTF8.self) }
            guard words.count == 3, GitObject.isName(words[2].utf8) else { throw unreadable }
            items.append(
                Item(mode: words[0], type: words[1], id: words[2], name: Array(line.drop { $0 != 0x09 }.dropFirst())))
        }
        return items
    }

    private func makeTree(_ items: [Item]) throws(SigstoreError) -> String {
        var lines: [UInt8] = []
        for item in items { lines += Array("\(item.mode) \(item.type) \(item.id)\t".utf8) + item.name + [0] }
        return try write(["mktree", "-z"], lines)
    }

    /// Runs what writes an object, and gives its name.
    private func write(
        _ arguments: [String], _ input: [UInt8],
        advice: SigstoreError.Advice = "see that the repository may be written to, and that the disk is not full"
    ) throws(SigstoreError) -> String {
        var answer: [UInt8] = []
        let status = try run(arguments, input: input) { chunk in
            answer += chunk
            return answer.count <= 256
        }
        let id = String(decoding: answer.prefix { $0 != 0x0a }, as: UTF8.self)
        guard status == 0, GitObject.isName(id.utf8) else {
            throw SigstoreError(.gitFailed, "git \(arguments[0]) did not write its object", advice: advice)
        }
        return id
    }
}

extension [GitRepository.Item] {
    /// Puts one in place of that with the same name.
    fileprivate mutating func put(_ item: GitRepository.Item) {
        removeAll { $0.name == item.name }
        append(item)
    }
}
