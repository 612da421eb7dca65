import ArgumentParser
import LocalSystem
import Provenance
import SigstoreVerification
import StrictJSON
import SwSignCore

struct GitVerify: SwSignCommand {
    static let configuration = CommandConfiguration(
        commandName: "verify", _superCommandName: "\(SwSign.name) git",
        abstract: "Verifies that commits and tags are signed by signers who may. Each that is not is named.")

    @Argument(
        help: "Commits and tags, each meaning that one, or ranges such as main..topic, meaning every commit in them.")
    var revisions: [String] = []
    @Flag(help: "Every commit that a branch, tag or other reference leads to.")
    var all = false
    @Option(
        name: [.customLong("directory"), .customShort("C")],
        help: "The repository; without it, the one of the working directory.")
    var directory: String?
    @Option(
        name: .customLong("allowed-signers"),
        help:
            "A file that says which SSH keys may sign, in the form of ssh-keygen. It must not come from the repository."
    )
    var allowedSigners: String?
    @OptionGroup(title: "Verification") var verification: VerificationOptions
    @OptionGroup(title: "Identity") var identity: IdentityOptions
    @OptionGroup(title: "Trust") var trust: TrustOptions
    @Option(
        name: .shortAndLong, help: "How results are printed: text, or json on standard output, one object a commit.")
    var output: OutputFormat = .text
    @OptionGroup(title: "Global options") var global: GlobalOptions

    func run(_ context: Context) throws(SigstoreError) {
        guard all != !revisions.isEmpty else {
            throw SigstoreError(
                .usage, all ? "--all and revisions cannot be given together" : "no revision is named",
                advice: "name a commit, a tag or a range such as main..topic, or give --all")
        }
        let judge = try judge(context)
        let repository = GitRepository(folder: directory, environment: context.environment.all)
        let (revisions, all, output) = (revisions, all, output)
        typealias Counts = (total: Int, accepted: Int, cut: Int)
        let counts = try waiting { () throws(SigstoreError) -> Counts in
            try await onBlockingThread { () throws(SigstoreError) -> Counts in
                let selection = try repository.objects(revisions, all: all)
                let cut = try repository.shallowCommits()
                var counts: Counts = (0, 0, 0)
                try repository.read(selection.ids) { entries throws(SigstoreError) in
                    for outcome in BlobBatch.threads.outcomes(
                        entries, { judge.judge($0, namedBy: selection.tags[$0.id] ?? []) })
                    {
                        let row = try outcome.get()
                        counts.total += 1
                        if row.verdict == .accepted { counts.accepted += 1 }
                        if selection.isWalk, cut.contains(row.id) { counts.cut += 1 }
                        if output == .json {
                            try context.output.json(row.json)
                        } else {
                            try context.output.result(row.line)
                        }
                    }
                }
                return counts
            }
        }
        guard counts.total > 0 else {
            throw SigstoreError(
                .noCommits, "there is no commit in \(all ? "the repository" : revisions.joined(separator: " "))",
                advice: "check the range: A..B is what B has and A has not")
        }
        let words = "\(counts.accepted) of \(counts.total) commits and tags are signed by an accepted signer"
        guard counts.cut == 0 else {
            throw SigstoreError(
                .shallowHistory,
                "\(words); the history is cut off at \(counts.cut) of them, and what came before was not looked at",
                advice: "fetch the whole history with git fetch --unshallow")
        }
        guard counts.accepted == counts.total else {
            throw SigstoreError(.unacceptedCommits, words)
        }
        context.output.note("Verified OK, \(words)", .success)
    }

    /// Who may have signed.
    private func judge(_ context: Context) throws(SigstoreError) -> GitJudge {
        var allowed: AllowedSigners?
        if let allowedSigners {
            let file = InputFile(allowedSigners)
            let content = try file.contents(limit: AllowedSigners.sizeLimit)
            do throws(SigstoreError) {
                allowed = try AllowedSigners(parsing: content, localTime: SystemClock.seconds(ofLocal:))
            } catch { throw error.concerning(file.name) }
        }
        let names =
            identity.isStated || identity.namesSigners || !verification.keys.isEmpty || verification.securityKey.isUsed
        // Without anything, this says what is missing.
        guard names || allowed == nil else {
            context.trustVariables.named([])
            return GitJudge(sigstore: nil, allowedSigners: allowed, offline: verification.offline)
        }
        let signers = try verification.signers(
            identity, standardInputIsTaken: allowedSigners == "-", context)
        let verifier = try verification.verifier(identity, trust, context)
        return GitJudge(sigstore: (verifier, signers), allowedSigners: allowed, offline: verification.offline)
    }
}

extension GitJudge.Row {
    private static func padded(_ text: String, _ width: Int) -> String {
        text + String(repeating: " ", count: max(0, width - text.unicodeScalars.count))
    }

    /// The row as a line: our words first, so that what comes from outside stands behind them.
    fileprivate var line: String {
        let name = String(decoding: id.utf8.prefix(12), as: UTF8.self)
        var line = "\(name)  \(Self.padded(verdict.rawValue, 14))  \(Self.padded(kind.rawValue, 11))"
        line += "  \(Self.padded(signer ?? "-", 24))  \(object.flatMap(Self.person) ?? "-")"
        if let failure { line += "  \(failure.message) [\(failure.code)]" }
        return line
    }

    private static func person(_ object: GitObject) -> String? {
        (object.author ?? object.maker).map { "\($0.name) <\($0.email)>" }
    }

    /// The row for programs.
    fileprivate var json: JSONValue {
        func person(_ person: GitObject.Person) -> JSONValue {
            var members: JSONObject = ["name": .string(person.name), "email": .string(person.email)]
            if let seconds = person.seconds { members["time"] = .string(Instant(seconds: seconds).description) }
            return .object(members)
        }
        var members: JSONObject = [
            "id": .string(id), "kind": .string(kind.rawValue), "verdict": .string(verdict.rawValue),
        ]
        if let object {
            members["type"] = .string(object.kind.rawValue)
            if let author = object.author { members["author"] = person(author) }
            if let maker = object.maker { members[object.kind == .tag ? "tagger" : "committer"] = person(maker) }
        }
        if let signer { members["signer"] = .string(signer) }
        if let issuer { members["issuer"] = .string(issuer) }
        if let failure, case .object(let report) = Output.report(failure), let error = report["error"] {
            members["error"] = error
        }
        return .object(members)
    }
}

extension SigstoreError.Code {
    /// A range has no commit in it.
    static let noCommits = Self("no-commits")
    /// The history of a range is not whole in this repository.
    static let shallowHistory = Self("shallow-history")
    /// Commits or tags are not signed by a signer who may.
    static let unacceptedCommits = Self("unaccepted-commits")
}
