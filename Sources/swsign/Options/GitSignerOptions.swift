import ArgumentParser
import LocalSystem
import Provenance
import SigstoreVerification
import StrictJSON
import SwSignCore

/// The flags that say who may sign commits and tags, beside those for identities and keys.
struct GitSignerOptions: ParsableArguments {
    @Option(
        name: .customLong("allowed-signers"),
        help:
            "A file that says which SSH keys may sign, in the form of ssh-keygen. It must not come from the repository."
    )
    var allowedSigners: String?
    @Option(
        name: .customLong("gpg-key"),
        help: "The whole fingerprint of a GPG key that may sign; gpg must have the key. May be repeated: any of these.")
    var gpgKeys: [String] = []
    @Option(
        help:
            "A JSON file that says who may sign which branches, tags and paths. It must not come from the repository.",
        completion: .file())
    var rules: String?

    /// Whether nobody is named.
    var isEmpty: Bool { allowedSigners == nil && rules == nil && gpgKeys.isEmpty }
    /// Whether standard input is one of the files.
    var takesStandardInput: Bool { allowedSigners == "-" || rules == "-" }

    /// Who may have signed what.
    func authority(
        _ verification: VerificationOptions, _ identity: IdentityOptions, _ trust: TrustOptions, _ context: Context
    ) throws(SigstoreError) -> GitAuthority {
        let gpg = GPGProgram(environment: context.environment.all)
        if let rules {
            return try authority(by: rules, gpg, verification, identity, trust, context)
        }
        var allowed: AllowedSigners?
        if let allowedSigners {
            let file = InputFile(allowedSigners)
            let content = try file.contents(limit: AllowedSigners.sizeLimit)
            do throws(SigstoreError) {
                allowed = try AllowedSigners(parsing: content, localTime: SystemClock.seconds(ofLocal:))
            } catch { throw error.concerning(file.name) }
        }
        var fingerprints: [String] = []
        for key in gpgKeys {
            guard let fingerprint = GPGStatus.fingerprint(key) else {
                throw SigstoreError(
                    .usage, "--gpg-key \"\(key)\" is no whole fingerprint of 40 or 64 hexadecimal digits",
                    advice: "gpg --fingerprint shows it; the short name of a key can be another's too")
            }
            fingerprints.append(fingerprint)
        }
        guard verification.namesSigners(identity) else {
            guard allowed != nil || !fingerprints.isEmpty else {
                throw SigstoreError(
                    .usage, "nothing says who may sign",
                    advice:
                        "give --rules FILE, or flags such as --signers, --allowed-signers, --gpg-key, --key or --certificate-identity"
                )
            }
            context.trustVariables.named([])
            return GitAuthority(
                GitJudge(
                    sigstore: nil, allowedSigners: allowed, gpg: (gpg, fingerprints), offline: verification.offline,
                    now: context.now()))
        }
        let signers = try verification.signers(identity, standardInputIsTaken: takesStandardInput, context)
        let verifier = try verification.verifier(identity, trust, context)
        return GitAuthority(
            GitJudge(
                sigstore: (verifier, signers), allowedSigners: allowed, gpg: (gpg, fingerprints),
                offline: verification.offline, lookup: verification.lookup(verifier, signers, context),
                now: context.now()))
    }

    private func authority(
        by path: String, _ gpg: GPGProgram, _ verification: VerificationOptions, _ identity: IdentityOptions,
        _ trust: TrustOptions, _ context: Context
    ) throws(SigstoreError) -> GitAuthority {
        guard !verification.namesSigners(identity), allowedSigners == nil, gpgKeys.isEmpty,
            verification.threshold == nil
        else {
            throw SigstoreError(
                .usage, "--rules names all who may sign, and cannot be given with other flags that do",
                advice: "name every signer in the file of rules")
        }
        let file = InputFile(path)
        let content = try file.contents(limit: GitRules.sizeLimit)
        let rules: GitRules
        do throws(SigstoreError) { rules = try GitRules(parsing: content) } catch {
            throw error.concerning(file.name)
        }
        let policy = try verification.rules(context)
        var verifier: Verifier?
        var lookup: LogLookup?
        if let demanded = try GitAuthority.demanded(rules.signers, policy) {
            let found = try verification.verifier(identity, trust, context)
            (verifier, lookup) = (found, verification.lookup(found, demanded, context))
        } else {
            context.trustVariables.named([])
        }
        return try GitAuthority(
            rules, verifier: verifier, policy: policy, gpg: gpg, offline: verification.offline, lookup: lookup,
            now: context.now())
    }
}

extension GitInspection {
    /// Looks at a repository with all processors.
    init(_ repository: GitRepository, _ authority: GitAuthority) {
        self.init(repository, authority, workers: BlobBatch.threads) { work in
            let rows = try? waiting { () throws(SigstoreError) in await work() }
            return rows ?? []
        }
    }
}

extension GitInspection.Counts {
    /// What was found, in a few words.
    var words: String {
        var words = "\(accepted) of \(total) commits and tags are signed by an accepted signer"
        if unseen > 0 { words += ", \(unseen) could not be looked at" }
        if merges > 0 { words += merges == 1 ? "; one of all is a merge" : "; \(merges) of all are merges" }
        return words
    }

    /// Refuses a history that is cut off, and anything that is not by a signer who may.
    func expectAllAccepted() throws(SigstoreError) {
        guard cut == 0 else {
            throw SigstoreError(
                .shallowHistory,
                "\(words); the history is cut off at \(cut) of them, and what came before was not looked at",
                advice: "fetch the whole history with git fetch --unshallow")
        }
        guard accepted == total else { throw SigstoreError(.unacceptedCommits, words) }
    }
}

extension GitJudge.Row {
    private static func padded(_ text: String, _ width: Int) -> String {
        text + String(repeating: " ", count: max(0, width - text.unicodeScalars.count))
    }

    /// The row as a line: our words first, so that what comes from outside stands behind them.
    var line: String {
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
    var json: JSONValue {
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
            if object.kind == .commit { members["parents"] = .integer(object.references.count) }
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
