import ArgumentParser
import LocalSystem
import Provenance
import StrictJSON
import SwSignCore

struct GitHook: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "hook", _superCommandName: "\(SwSign.name) git",
        abstract: "Refuses pushes of commits and tags that are not signed by signers who may.",
        subcommands: [GitHookPreReceive.self, GitHookUpdate.self, GitHookPrePush.self, GitHookInstall.self])
}

/// What the hooks have in common: git calls them, and those who may sign are named on their command line.
struct GitHookOptions: ParsableArguments {
    @OptionGroup var signers: GitSignerOptions
    @OptionGroup(title: "Verification") var verification: VerificationOptions
    @OptionGroup(title: "Identity") var identity: IdentityOptions
    @OptionGroup(title: "Trust") var trust: TrustOptions

    /// Who may sign what.
    func authority(_ context: Context) throws(SigstoreError) -> GitAuthority {
        guard !signers.takesStandardInput, !verification.keys.contains("-"), !identity.signerFiles.contains("-") else {
            throw SigstoreError(
                .usage, "a hook's standard input is git's, and cannot say who may sign", advice: "name a file")
        }
        return try signers.authority(verification, identity, trust, context)
    }

    /// Judges all that a push changes, and says what is refused.
    func judge(_ push: GitPush, _ context: Context) throws(SigstoreError) {
        let authority = try authority(context)
        let inspection = GitInspection(
            GitRepository(folder: nil, environment: context.environment.all), authority)
        let counts = try waiting { () throws(SigstoreError) -> GitInspection.Counts in
            try await onBlockingThread { () throws(SigstoreError) -> GitInspection.Counts in
                var counts = GitInspection.Counts()
                for update in push.updates {
                    guard let selection = try push.objects(for: update, inspection) else { continue }
                    var isSaid = false
                    try inspection.run(selection, for: update.reference, &counts) { row throws(SigstoreError) in
                        guard row.verdict != .accepted else { return }
                        if !isSaid { context.output.note("\(update.reference):") }
                        isSaid = true
                        context.output.note(row.line)
                    }
                }
                return counts
            }
        }
        try counts.expectAllAccepted()
        if counts.total > 0 { context.output.note("Verified OK, \(counts.words)", .success) }
    }

    /// Reads what git writes to a hook.
    static func input() throws(SigstoreError) -> [UInt8] {
        try InputFile("-").contents(limit: GitPush.inputLimit)
    }
}

struct GitHookPreReceive: SwSignCommand {
    static let configuration = CommandConfiguration(
        commandName: "pre-receive", _superCommandName: "\(SwSign.name) git hook",
        abstract: "Judges what was pushed, before any branch or tag changes. git calls it where a push is received.")

    @OptionGroup var options: GitHookOptions
    @OptionGroup(title: "Global options") var global: GlobalOptions

    func run(_ context: Context) throws(SigstoreError) {
        try options.judge(try GitPush(received: try GitHookOptions.input()), context)
    }
}

struct GitHookUpdate: SwSignCommand {
    static let configuration = CommandConfiguration(
        commandName: "update", _superCommandName: "\(SwSign.name) git hook",
        abstract: "Judges one branch or tag of a push. git calls it where a push is received, for each of them.")

    @Argument(help: "The branch or tag, what it leads to, and what it is to lead to, as git gives them.")
    var words: [String] = []
    @OptionGroup var options: GitHookOptions
    @OptionGroup(title: "Global options") var global: GlobalOptions

    func run(_ context: Context) throws(SigstoreError) {
        guard words.count == 3 else {
            throw SigstoreError(.usage, "git gives this hook three words: a reference, the old object and the new one")
        }
        try options.judge(try GitPush(received: Array("\(words[1]) \(words[2]) \(words[0])\n".utf8)), context)
    }
}

struct GitHookPrePush: SwSignCommand {
    static let configuration = CommandConfiguration(
        commandName: "pre-push", _superCommandName: "\(SwSign.name) git hook",
        abstract: "Judges what is about to be pushed. git calls it where a push begins.")

    @Argument(help: "The name of the remote repository and its address, as git gives them.")
    var words: [String] = []
    @OptionGroup var options: GitHookOptions
    @OptionGroup(title: "Global options") var global: GlobalOptions

    func run(_ context: Context) throws(SigstoreError) {
        guard words.count == 2 else {
            throw SigstoreError(.usage, "git gives this hook two words: a remote repository and its address")
        }
        try options.judge(try GitPush(sent: try GitHookOptions.input(), to: words[0]), context)
    }
}

struct GitHookInstall: SwSignCommand {
    static let configuration = CommandConfiguration(
        commandName: "install", _superCommandName: "\(SwSign.name) git hook",
        abstract: "Writes a hook into a repository that judges by these signers what is pushed.")

    @Argument(help: "The hook: pre-receive, update or pre-push.")
    var hook: Hook = .preReceive
    @Option(
        name: [.customLong("directory"), .customShort("C")],
        help: "The repository; without it, the one of the working directory.")
    var directory: String?
    @Option(help: "The JSON file that says who may sign what.", completion: .file())
    var rules: String?
    @Option(
        name: .customLong("allowed-signers"),
        help: "In place of it, a file that says which SSH keys may sign, in the form of ssh-keygen.")
    var allowedSigners: String?
    @Option(name: .customLong("trusted-root"), help: "The trusted root that the hook uses.", completion: .file())
    var trustedRoot: String?
    @Flag(help: "The hook uses no network.")
    var offline = false
    @OptionGroup(title: "Global options") var global: GlobalOptions

    enum Hook: String, ExpressibleByArgument, CaseIterable {
        case preReceive = "pre-receive"
        case update
        case prePush = "pre-push"
    }

    func run(_ context: Context) throws(SigstoreError) {
        guard (rules == nil) != (allowedSigners == nil) else {
            throw SigstoreError(
                .usage, "nothing says who may sign", advice: "give either --rules FILE or --allowed-signers FILE")
        }
        let file = try GitHookFile(
            GitRepository(folder: directory, environment: context.environment.all), name: hook.rawValue)
        guard let program = LocalFile.realPath("/proc/self/exe") else {
            throw SigstoreError(.fileNotFound, "where this program is, is not known", advice: "write the hook by hand")
        }
        var words = [program, "git", "hook", hook.rawValue]
        // What the hook could not read is said now.
        if let rules { _ = try GitRules(parsing: try InputFile(rules).contents(limit: GitRules.sizeLimit)) }
        if let allowedSigners {
            _ = try AllowedSigners(
                parsing: try InputFile(allowedSigners).contents(limit: AllowedSigners.sizeLimit),
                localTime: SystemClock.seconds(ofLocal:))
        }
        for (flag, path) in [
            ("--rules", rules), ("--allowed-signers", allowedSigners), ("--trusted-root", trustedRoot),
        ] {
            guard let path else { continue }
            guard let place = LocalFile.realPath(path) else {
                throw SigstoreError(.fileNotFound, "there is no file \(path)")
            }
            try file.expectOutside(place)
            words += [flag, place]
        }
        if offline { words.append("--offline") }
        try file.write(words)
        context.output.note("The hook \(file.path) judges what is pushed.", .success)
    }
}
