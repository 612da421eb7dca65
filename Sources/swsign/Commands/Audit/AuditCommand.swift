import ArgumentParser
import LocalSystem
import OCIRegistry
import SigstoreCrypto
import SigstoreVerification
import StrictJSON
import SwSignCore

/// The audit itself. A command below it joins its reports.
struct AuditCommand: SwSignCommand {
    static let configuration = CommandConfiguration(
        commandName: "audit", abstract: "Finds out who signed what is in registries, and reports it.",
        usage: "\(SwSign.name) audit [<options>] [<places> ...]",
        discussion: """
            Each digest of each place is looked at once, with all of its signatures and attestations. The exit code is 0 if \
            accepted signers signed everything, 12 if something else was found, and 1 if something could not be looked at.
            """,
        subcommands: [AuditMerge.self])

    @Argument(
        help:
            "The places: repositories, oci-layout:PATH, or folders of files with their signatures; with --git, commits, tags and ranges."
    )
    var places: [String] = []
    @Option(help: "A file with more places, one a line; - for standard input. May be repeated.", completion: .file())
    var repositories: [String] = []
    @Option(help: "A registry whose repositories are all audited, if it lists them. May be repeated.")
    var catalog: [String] = []
    @Flag(help: "Look at each platform of an index as well.")
    var platforms = false
    @Option(
        help: "A repository of git's, whose commits and tags are audited in place of images.", completion: .directory)
    var git: String?
    @OptionGroup(title: "Git") var range: GitRangeOptions
    @OptionGroup(title: "Git") var signers: GitSignerOptions
    @OptionGroup(title: "Former signers") var formerSigners: FormerSigners
    @Option(
        help: "A file that keeps what was found, so that a run that was stopped goes on where it was.",
        completion: .file())
    var state: String?
    @Option(help: "Look at one part of the digests only, such as 3/16: other machines look at the others.")
    var shard: String?
    @Option(
        name: .customLong("attachment-tag-prefix"),
        help: "What stands before the tags of signatures of the older scheme.")
    var tagPrefix = ""
    @OptionGroup(title: "Report") var report: AuditReportOptions
    @OptionGroup(title: "Verification") var verification: VerificationOptions
    @OptionGroup(title: "Identity") var identity: IdentityOptions
    @OptionGroup(title: "Trust") var trust: TrustOptions
    @OptionGroup(title: "Registry") var registry: RegistryFlags
    @OptionGroup(title: "Global options") var global: GlobalOptions

    func run(_ context: Context) throws(SigstoreError) {
        let started = Instant(seconds: context.now())
        if let git { return try auditHistory(of: git, since: started, context) }
        guard !range.all, range.reference == nil, signers.isEmpty else {
            throw SigstoreError(
                .usage, "--all, --ref, --rules, --allowed-signers and --gpg-key are about commits and tags",
                advice: "give --git and the repository's folder, or leave them out")
        }
        let asked = try askedPlaces()
        let writer = try report.begin(global, trustedRoot: trust.trustedRoot, staging: trust.staging, context)
        let judge = try judge(context)
        let words = AuditWords(judge)
        let access = try registry.images(context, tagPrefix: tagPrefix, isLong: true)
        var options = Audit.Options()
        options.includesPlatforms = platforms
        options.shard = try shard.map { text throws(SigstoreError) in try AuditShard(parsing: text) }
        options.width = registry.connection.maxWorkers * 2
        options.temporaryFolder = context.environment.value("TMPDIR") ?? "/tmp"
        var head = AuditHead(
            started: started, finished: started, tool: "swsign \(Version.number)",
            ranBy: Self.person(context.environment),
            places: asked.names, signers: words.accepted, formerSigners: words.former,
            threshold: verification.threshold, shard: options.shard?.description)
        if let root = judge.verifier.trustedRoot {
            head.trustedRoot = try Digest.sha256(root.serialized())
            head.trustedRootTime = trust.time(context)
        }
        let kept = try state.map { path throws(SigstoreError) in try openState(path, head, context) }
        let spool = try AuditSpool(in: options.temporaryFolder)
        var audit = Audit(judge, access.registries, options, state: kept)
        audit.signatureRepository = context.environment.value("COSIGN_REPOSITORY")
        context.progress.begin(0, of: .images("looked at"))
        audit.progress = { [progress = context.progress] more, done in
            if more > 0 { progress.expect(more) }
            if done > 0 { progress.advance(done) }
        }
        let (sums, tally) = try waiting { [audit] () throws(SigstoreError) in
            var sums = AuditSums()
            var places = asked.places
            for registry in asked.catalogs {
                let (found, unread) = await Audit.places(of: registry, access.registries)
                places += found
                guard let unread else { continue }
                sums.add(unread)
                try spool.append(unread)
            }
            let tally = try await audit.run(places) { row throws(SigstoreError) in
                sums.add(row)
                try spool.append(row)
            }
            return (sums, tally)
        }
        head.finished = Instant(seconds: context.now())
        if tally.carriers > 0 {
            context.output.note(
                "\(tally.carriers) tags and manifests hold signatures, attestations or SBOMs: they are no rows")
        }
        try writer.write(head, sums, spool.forEach)
        try sums.expectNothingFound(isPart: shard != nil)
    }

    // MARK: - What is asked

    private struct Asked: Sendable {
        var places: [AuditPlace] = []
        var catalogs: [Registry] = []
        /// The places as the head of a report names them.
        var names: [String] = []
    }

    /// The most bytes of a file of places.
    private static let placesLimit = 16 << 20

    private func askedPlaces() throws(SigstoreError) -> Asked {
        try BlobBatch.expectOneStandardInput(repositories)
        var texts = places
        for path in repositories {
            let file = InputFile(path)
            let content = try file.contents(limit: Self.placesLimit)
            guard let text = String(validating: content, as: UTF8.self) else {
                throw SigstoreError.notUTF8("the file of places \(file.name)")
            }
            for line in text.utf8.split(separator: 0x0a) {
                let trimmed = line.filter { $0 != 0x0d && $0 != 0x09 && $0 != 0x20 }
                if let first = trimmed.first, first != 0x23 { texts.append(String(decoding: trimmed, as: UTF8.self)) }
            }
        }
        guard !texts.isEmpty || !catalog.isEmpty else {
            throw SigstoreError(
                .usage, "nothing says what is to be audited",
                advice: "name repositories, image layouts or folders, or a registry with --catalog")
        }
        var asked = Asked()
        for text in texts { asked.places.append(try AuditPlace(parsing: text)) }
        for name in catalog { asked.catalogs.append(try Registry(parsing: name)) }
        asked.names = asked.catalogs.map { "every repository of \($0)" } + asked.places.map(\.name)
        return asked
    }

    /// What judges signatures: who is accepted, who was, and what must hold of all others.
    private func judge(_ context: Context) throws(SigstoreError) -> AuditJudge {
        let isNamed = verification.namesSigners(identity)
        guard isNamed || verification.threshold == nil else {
            throw SigstoreError(
                .usage, "--threshold counts signers, and nobody is named who may sign",
                advice: "give --key or --signer, or leave --threshold out")
        }
        let accepted =
            isNamed
            ? try verification.signers(identity, standardInputIsTaken: repositories.contains("-"), context) : nil
        let rules = try verification.rules(isNamed ? nil : context)
        if !isNamed { context.output.note("Nobody is named who may sign: what is signed is not judged.") }
        var former: [VerificationPolicy.SignedBy] = []
        for name in formerSigners.keys {
            let key = try context.key(name, offline: verification.offline, allowsHTTP: verification.allowHTTPKey)
            former += try key.readPublicKeys().map { .key($0) }
        }
        former += try formerSigners.identities().map { .identities([$0]) }
        let policies = former.map { signedBy in
            var policy = rules
            policy.signedBy = signedBy
            return CombinedPolicy.policy(policy)
        }
        var judge = try AuditJudge(
            verifier: try verifier(context), accepted: accepted, former: policies.isEmpty ? nil : .anyOf(policies),
            rules: rules)
        judge.tagPrefix = tagPrefix
        judge.signatureLookup = verification.lookup(judge.verifier, judge.everyone, context)
        judge.attestationLookup = judge.named.flatMap { verification.lookup(judge.verifier, $0, context) }
        return judge
    }

    /// The verifier. If keys alone are accepted, and no log or authority, the trusted root that is at hand will do for the
    /// certificates of others.
    private func verifier(_ context: Context) throws(SigstoreError) -> Verifier {
        guard verification.needsNoRoot(identity, trust, context) else {
            return try verification.verifier(identity, trust, context)
        }
        return Verifier(trustedRoot: try? trust.trust(offline: true, context), now: context.now)
    }

    private func openState(_ path: String, _ head: AuditHead, _ context: Context) throws(SigstoreError) -> AuditState {
        let flags = [
            "platforms \(platforms)", "prefix \(tagPrefix)",
            "signatures \(context.environment.value("COSIGN_REPOSITORY") ?? "")",
            "logs \(verification.insecureIgnoreTlog || verification.privateInfrastructure)",
            "certificates \(verification.insecureIgnoreSCT)", "timestamps \(verification.useSignedTimestamps)",
            "sct \(verification.sct ?? "")", "rekor \(verification.rekorURL ?? "")", "offline \(verification.offline)",
        ]
        let question =
            head.places + ["accepted"] + head.signers + ["former"] + head.formerSigners
            + [
                head.threshold.map { "\($0)" } ?? "any", head.shard ?? "all",
                head.trustedRoot?.description ?? "no root",
            ] + flags
        let state = try AuditState(path, question: question)
        if state.wasCutShort {
            context.output.warn("the last line of \(path) was cut short: what it was about is looked at again")
        }
        if state.count > 0 {
            context.output.note(
                "\(state.count) rows of an earlier run are in \(path): who signed since is not seen in these")
        }
        return state
    }

    /// Who runs the audit: a CI job by its address, or a user on a machine.
    static func person(_ environment: Environment) -> String {
        func value(_ name: String) -> String? { environment.value(name).flatMap { $0.isEmpty ? nil : $0 } }
        if let server = value("GITHUB_SERVER_URL"), let repository = value("GITHUB_REPOSITORY"),
            let run = value("GITHUB_RUN_ID")
        {
            return "\(server)/\(repository)/actions/runs/\(run)"
        }
        if let job = value("CI_JOB_URL") ?? value("BUILD_URL") { return job }
        return "\(value("USER") ?? value("LOGNAME") ?? "unknown")@\(SystemDescription.hostName ?? "unknown")"
    }
}

/// Signers in words, for the head of a report.
struct AuditWords {
    private(set) var accepted: [String] = []
    private(set) var former: [String] = []

    init(_ judge: AuditJudge) {
        accepted = judge.accepted?.policies.flatMap(Self.words) ?? []
        former = judge.former.map(Self.words) ?? []
    }

    static func words(_ policy: CombinedPolicy) -> [String] {
        switch policy {
        case .policy(let policy):
            switch policy.signedBy {
            case .key(let key): ["the key \((try? key.hint()) ?? "")"]
            case .identities(let identities): identities.map(words)
            }
        case .allOf(let parts), .anyOf(let parts): parts.flatMap(words)
        }
    }

    private static func words(_ identity: CertificateIdentity) -> String {
        var text = "\(identity.subject.description) (issuer \(identity.issuer.description))"
        let workflow: [(name: String, values: [String])] = [
            ("workflow trigger", identity.githubWorkflowTrigger), ("workflow sha", identity.githubWorkflowSHA),
            ("workflow name", identity.githubWorkflowName), ("workflow repository", identity.githubWorkflowRepository),
            ("workflow ref", identity.githubWorkflowRef),
        ]
        for (name, values) in workflow where !values.isEmpty {
            text += ", \(name) \(values.joined(separator: " or "))"
        }
        for claim in identity.claims { text += ", \(claim.name) \(claim.pattern.description)" }
        return text
    }
}
