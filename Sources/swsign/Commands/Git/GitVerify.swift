import ArgumentParser
import LocalSystem
import Provenance
import StrictJSON
import SwSignCore

struct GitVerify: SwSignCommand {
    static let configuration = CommandConfiguration(
        commandName: "verify", _superCommandName: "\(SwSign.name) git",
        abstract: "Verifies that commits and tags are signed by signers who may. Each that is not is named.")

    @Argument(
        help: "Commits and tags, each meaning that one, or ranges such as main..topic, meaning every commit in them.")
    var revisions: [String] = []
    @OptionGroup var range: GitRangeOptions
    @Option(
        name: [.customLong("directory"), .customShort("C")],
        help: "The repository; without it, the one of the working directory.")
    var directory: String?
    @OptionGroup var signers: GitSignerOptions
    @OptionGroup(title: "Verification") var verification: VerificationOptions
    @OptionGroup(title: "Identity") var identity: IdentityOptions
    @OptionGroup(title: "Trust") var trust: TrustOptions
    @Option(
        name: .shortAndLong, help: "How results are printed: text, or json on standard output, one object a commit.")
    var output: OutputFormat = .text
    @OptionGroup(title: "Global options") var global: GlobalOptions

    func run(_ context: Context) throws(SigstoreError) {
        try range.expectSound(revisions)
        let authority = try signers.authority(verification, identity, trust, context)
        let repository = GitRepository(folder: directory, environment: context.environment.all)
        let output = output
        let counts = try range.inspect(revisions, GitInspection(repository, authority), context) {
            row throws(SigstoreError) in
            if output == .json {
                try context.output.json(row.json)
            } else {
                try context.output.result(row.line)
            }
        }
        try counts.expectAllAccepted()
        context.output.note("Verified OK, \(counts.words)", .success)
    }
}

/// Which commits and tags are meant.
struct GitRangeOptions: ParsableArguments {
    @Flag(help: "Every commit that a branch, tag or other reference leads to.")
    var all = false
    @Option(
        name: .customLong("ref"),
        help: "The branch that the commits are for, such as refs/heads/main, if rules differ from branch to branch.")
    var reference: String?

    /// Refuses what means nothing.
    func expectSound(_ revisions: [String]) throws(SigstoreError) {
        guard all != !revisions.isEmpty else {
            throw SigstoreError(
                .usage, all ? "--all and revisions cannot be given together" : "no revision is named",
                advice: "name a commit, a tag or a range such as main..topic, or give --all")
        }
        guard reference?.utf8.starts(with: "refs/".utf8) ?? true else {
            throw SigstoreError(
                .usage, "--ref is no whole name of a branch or tag",
                advice: "write it with everything before it: refs/heads/main")
        }
    }

    /// Looks at what is meant, and hands out a row for each.
    func inspect(
        _ revisions: [String], _ inspection: GitInspection, _ context: Context,
        _ take: @escaping @Sendable (GitJudge.Row) throws(SigstoreError) -> Void
    ) throws(SigstoreError) -> GitInspection.Counts {
        let (all, reference) = (all, reference)
        let rules = inspection.authority.rules
        let counts = try waiting { () throws(SigstoreError) -> GitInspection.Counts in
            try await onBlockingThread { () throws(SigstoreError) -> GitInspection.Counts in
                for what in try inspection.repository.rewritings() {
                    context.output.note(
                        "The repository has \(what), which are not followed: what was signed is looked at.")
                }
                let selection = try inspection.repository.objects(revisions, all: all, since: rules?.since)
                if let since = rules?.since, selection.isWalk {
                    context.output.note("Commits up to \(since) are not judged: the rules begin after it.")
                }
                if let rules, rules.nameReferences, reference == nil, selection.isWalk || selection.hasCommits {
                    throw SigstoreError(
                        .usage, "the rules differ from branch to branch, and nothing says for which the commits are",
                        advice: "give --ref refs/heads/NAME")
                }
                var counts = GitInspection.Counts()
                try inspection.run(selection, for: reference ?? "", &counts, take)
                return counts
            }
        }
        guard counts.total > 0 else {
            throw SigstoreError(
                .noCommits, "there is no commit in \(all ? "the repository" : revisions.joined(separator: " "))",
                advice: "check the range: A..B is what B has and A has not")
        }
        return counts
    }
}
