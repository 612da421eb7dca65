public import Provenance
internal import SigstoreCrypto
public import SigstoreVerification
public import StrictJSON
internal import Synchronization

/// Who may sign what in a repository: the same signers everything, or signers by rules.
public final class GitAuthority: Sendable {
    private enum Kind: Sendable {
        case everything(GitJudge)
        case rules(GitRules, @Sendable ([GitRules.Signer]) throws(SigstoreError) -> GitJudge)
    }

    private let kind: Kind
    /// What verifies signatures of certificates and keys, and all who may make them.
    public let sigstore: (verifier: Verifier, signers: DemandedSigners)?
    /// The judges that were made, by the numbers of the signers.
    private let judges = Mutex<[Set<Int>: GitJudge]>([:])

    /// The rules; `nil` if the same signers may sign everything.
    public var rules: GitRules? {
        if case .rules(let rules, _) = kind { rules } else { nil }
    }

    /// One judge of everything.
    public init(_ judge: GitJudge) { (kind, sigstore) = (.everything(judge), judge.sigstore) }

    /// Signers by rules.
    /// - Parameters:
    ///   - rules: The rules.
    ///   - verifier: Verifies signatures of certificates and keys.
    ///   - policy: What must hold of each of them, no matter who signed.
    ///   - gpg: What checks GPG's signatures.
    ///   - offline: Whether no service is to be asked.
    ///   - lookup: Asks logs for what gitsign's online mode keeps there alone.
    ///   - now: Seconds since 1970 in UTC: no signature is from later.
    /// - Throws: `SigstoreError` with `invalid-policy` if there are too many signers.
    public init(
        _ rules: GitRules, verifier: Verifier?, policy: VerificationPolicy, gpg: GPGProgram, offline: Bool,
        lookup: LogLookup?, now: Int64
    ) throws(SigstoreError) {
        if let verifier, let demanded = try Self.demanded(rules.signers, policy) {
            sigstore = (verifier, demanded)
        } else {
            sigstore = nil
        }
        kind = .rules(rules) { signers throws(SigstoreError) in
            let demanded = try Self.demanded(signers, policy)
            var sigstore: (verifier: Verifier, signers: DemandedSigners)?
            if let verifier, let demanded { sigstore = (verifier, demanded) }
            return GitJudge(
                sigstore: sigstore, allowedSigners: try GitRules.allowedSigners(of: signers),
                gpg: (gpg, signers.flatMap(\.gpgKeys)), offline: offline, lookup: lookup, named: signers,
                now: now)
        }
    }

    /// What must hold of a signature by a certificate or a key: any of the signers has made it.
    /// - Parameters:
    ///   - signers: The signers.
    ///   - policy: What must hold besides.
    /// - Returns: `nil` if none of them has identities or keys.
    public static func demanded(_ signers: [GitRules.Signer], _ policy: VerificationPolicy) throws(SigstoreError)
        -> DemandedSigners?
    {
        func signed(by who: VerificationPolicy.SignedBy) -> CombinedPolicy {
            var policy = policy
            policy.signedBy = who
            return .policy(policy)
        }
        let identities = signers.flatMap(\.identities)
        let policies =
            (identities.isEmpty ? [] : [signed(by: .identities(identities))])
            + signers.flatMap(\.keys).map { signed(by: .key($0)) }
        return policies.isEmpty ? nil : try DemandedSigners(policies)
    }

    /// Which rules may count for a reference; all are the same if there are none.
    func rules(for reference: String) -> [Int] { rules?.rules(for: GitRules.Reference(reference)) ?? [] }

    /// Who may sign something by rules.
    /// - Parameters:
    ///   - numbers: The rules that may count for its reference.
    ///   - path: The path that is changed; `nil` if none is.
    func signers(among numbers: [Int], path: [UInt8]?) -> Set<Int>? { rules?.signers(among: numbers, path: path) }

    /// The judge of what some signers may sign.
    /// - Parameter signers: Their numbers; `nil` if no rule fits.
    func judge(for signers: Set<Int>?) throws(SigstoreError) -> GitJudge {
        guard case .rules(let rules, let make) = kind else {
            if case .everything(let judge) = kind { return judge }
            throw Self.noRule
        }
        guard let signers else { return GitJudge(refusing: Self.noRule) }
        if let known = judges.withLock({ $0[signers] }) { return known }
        let judge = try make(signers.sorted().map { rules.signers[$0] })
        judges.withLock { $0[signers] = judge }
        return judge
    }

    private static let noRule = SigstoreError(.noGitRule, "no rule says who may sign it")
}

/// Looks at commits and tags of a repository, and says of each whether it is by a signer who may.
public struct GitInspection: Sendable {
    /// The repository.
    public let repository: GitRepository
    /// Who may sign what.
    public let authority: GitAuthority
    private let workers: Workers
    private let wait: @Sendable (@escaping @Sendable () async -> [GitJudge.Row]) -> [GitJudge.Row]

    /// - Parameters:
    ///   - repository: The repository.
    ///   - authority: Who may sign what.
    ///   - workers: Does pieces of work side by side.
    ///   - wait: Waits for work that asks services.
    public init(
        _ repository: GitRepository, _ authority: GitAuthority, workers: Workers,
        wait: @escaping @Sendable (@escaping @Sendable () async -> [GitJudge.Row]) -> [GitJudge.Row]
    ) {
        (self.repository, self.authority, self.workers, self.wait) = (repository, authority, workers, wait)
    }

    /// What was looked at.
    public struct Counts: Sendable {
        /// How many commits and tags.
        public var total = 0
        /// How many are by signers who may.
        public var accepted = 0
        /// How many could not be looked at.
        public var unseen = 0
        /// How many are merges.
        public var merges = 0
        /// At how many a walk ended since the repository was cloned without what came before.
        public var cut = 0

        public init() {}
    }

    /// How many entries of logs are looked up side by side.
    private static let lookupWidth = 8

    /// Looks at objects. To be called on a thread that may block.
    /// - Parameters:
    ///   - selection: The objects.
    ///   - reference: The whole name of the branch or tag that commits are for, by which rules are chosen.
    ///   - counts: Is added to.
    ///   - take: Is given each row, in order.
    /// - Throws: `SigstoreError` with `git-failed`; and what `take` throws.
    public func run(
        _ selection: GitRepository.Selection, for reference: String, _ counts: inout Counts,
        _ take: (GitJudge.Row) throws(SigstoreError) -> Void
    ) throws(SigstoreError) {
        let cut = selection.isWalk ? try repository.shallowCommits() : []
        let judges = try judges(selection, reference)
        var sums = counts
        try repository.read(selection.ids) { entries throws(SigstoreError) in
            let outcomes = workers.outcomes(entries) { entry throws(SigstoreError) -> GitJudge.Row in
                let tags = selection.tags[entry.id] ?? []
                return try judges(entry, tags).judge(entry, namedBy: tags)
            }
            var rows: [GitJudge.Row] = []
            for outcome in outcomes { rows.append(try outcome.get()) }
            if rows.contains(where: GitJudge.isPending) {
                var pending: [(row: GitJudge.Row, judge: GitJudge)] = []
                for (row, entry) in zip(rows, entries) {
                    pending.append((row, try judges(entry, selection.tags[entry.id] ?? [])))
                }
                rows = lookUp(pending)
            }
            for row in rows {
                sums.total += 1
                if row.verdict == .accepted { sums.accepted += 1 }
                if row.verdict == .couldNotLook { sums.unseen += 1 }
                if let object = row.object, object.kind == .commit, object.references.count > 1 { sums.merges += 1 }
                if cut.contains(row.id) { sums.cut += 1 }
                try take(row)
            }
        }
        counts = sums
    }

    private func lookUp(_ rows: [(row: GitJudge.Row, judge: GitJudge)]) -> [GitJudge.Row] {
        var done: [GitJudge.Row] = []
        var rest = rows[...]
        while !rest.isEmpty {
            let part = Array(rest.prefix(Self.lookupWidth))
            rest = rest.dropFirst(part.count)
            let looked = wait {
                let rows = try? await concurrently(part) { item throws(SigstoreError) -> GitJudge.Row in
                    await item.judge.lookUp(item.row)
                }
                return rows ?? []
            }
            // What was not looked up stays what it is: not looked at.
            done += looked.count == part.count ? looked : part.map(\.row)
        }
        return done
    }

    /// The judge of each object.
    private func judges(_ selection: GitRepository.Selection, _ reference: String) throws(SigstoreError)
        -> @Sendable (GitRepository.Entry, [String]) throws(SigstoreError) -> GitJudge
    {
        let authority = authority
        guard let rules = authority.rules else {
            return { (_, _) throws(SigstoreError) in try authority.judge(for: nil) }
        }
        let numbers = authority.rules(for: reference)
        // Few rules make few groups of signers, whatever the number of commits.
        var groups: [Set<Int>?] = []
        var group: [String: Int] = [:]
        if rules.namePaths {
            let commits = try repository.kinds(selection.ids).filter { $0.type.utf8.elementsEqual("commit".utf8) }
            var allowed: (id: String, signers: Set<Int>?, hasPath: Bool) = ("", nil, false)
            func finish() {
                guard !allowed.id.isEmpty else { return }
                if !allowed.hasPath { allowed.signers = rules.signers(among: numbers, path: nil) }
                let signers = allowed.signers
                if let index = groups.firstIndex(of: signers) {
                    group[allowed.id] = index
                } else {
                    group[allowed.id] = groups.count
                    groups.append(signers)
                }
            }
            try repository.changes(commits.map(\.id)) { id, path throws(SigstoreError) in
                guard let path else {
                    finish()
                    allowed = (id, nil, false)
                    return
                }
                let signers = rules.signers(among: numbers, path: path)
                // Once no rule fits a path, nobody may sign.
                allowed.signers =
                    allowed.hasPath ? allowed.signers.flatMap { had in signers.map { had.intersection($0) } } : signers
                allowed.hasPath = true
            }
            finish()
        }
        let plain = rules.signers(among: numbers, path: nil)
        let (known, byCommit) = (groups, group)
        return { (entry, tags) throws(SigstoreError) in
            if entry.type.utf8.elementsEqual("tag".utf8) {
                // A tag is under the rules for its name, that by which it was named or that which it gives itself.
                let own = entry.content.flatMap { try? GitObject($0, .tag) }?.tagName
                let named = tags.first ?? own
                let numbers = authority.rules(for: named.map { "refs/tags/" + $0 } ?? "")
                return try authority.judge(for: authority.signers(among: numbers, path: nil))
            }
            if let index = byCommit[entry.id] { return try authority.judge(for: known[index]) }
            return try authority.judge(for: rules.namePaths ? nil : plain)
        }
    }
}

extension SigstoreError.Code {
    /// No rule says who may sign a commit or tag.
    public static let noGitRule = Self("no-git-rule")
}
