import LocalSystem
import Provenance
import SigstoreCrypto
import SigstoreVerification
import StrictJSON
import SwSignCore
import Synchronization

extension AuditCommand {
    /// Reports on commits and tags of a repository of git's.
    /// - Parameters:
    ///   - folder: The repository.
    ///   - started: When the run began.
    func auditHistory(of folder: String, since started: Instant, _ context: Context) throws(SigstoreError) {
        guard repositories.isEmpty, catalog.isEmpty, state == nil, shard == nil, !platforms, formerSigners.keys.isEmpty
        else {
            throw SigstoreError(
                .usage, "--git is about commits and tags, and cannot be given with flags that are about images",
                advice: "audit images in a run of their own")
        }
        try range.expectSound(places)
        let writer = try report.begin(global, trustedRoot: trust.trustedRoot, staging: trust.staging, context)
        let authority = try signers.authority(verification, identity, trust, context)
        let place = "git:\(folder)"
        var head = AuditHead(
            started: started, finished: started, tool: "swsign \(Version.number)",
            ranBy: Self.person(context.environment),
            places: [([place] + (range.all ? ["--all"] : places)).joined(separator: " ")],
            signers: signerWords(authority), threshold: verification.threshold)
        if let root = authority.sigstore?.verifier.trustedRoot {
            head.trustedRoot = try Digest.sha256(root.serialized())
        }
        let spool = try AuditSpool(in: context.environment.value("TMPDIR") ?? "/tmp")
        let sums = Sums()
        let inspection = GitInspection(
            GitRepository(folder: folder, environment: context.environment.all), authority)
        let counts = try range.inspect(places, inspection, context) { row throws(SigstoreError) in
            try sums.add(AuditRow(row, place: place), spool)
        }
        if counts.cut > 0 {
            var unread = AuditRow(place: place, names: [], digest: nil, signed: .couldNotLook, verdict: .couldNotLook)
            unread.failures = [
                AuditFailure(
                    SigstoreError(
                        .shallowHistory,
                        "the history is cut off at \(counts.cut) commits, and what came before was not looked at"
                    ))
            ]
            try sums.add(unread, spool)
        }
        head.finished = Instant(seconds: context.now())
        let all = sums.all
        try writer.write(head, all, spool.forEach)
        try all.expectNothingFound()
    }

    /// Who may sign, in words.
    private func signerWords(_ authority: GitAuthority) -> [String] {
        var words: [String] = []
        if let rules = signers.rules { words.append("those whom the rules \(rules) name") }
        if let allowed = signers.allowedSigners { words.append("the SSH keys of \(allowed)") }
        words += signers.gpgKeys.map { "the GPG key \($0)" }
        return words + (authority.sigstore?.signers.policies.flatMap(AuditWords.words) ?? [])
    }

    /// What the rows come to, as they come.
    private final class Sums: Sendable {
        private let sums = Mutex(AuditSums())
        var all: AuditSums { sums.withLock { $0 } }

        func add(_ row: AuditRow, _ spool: AuditSpool) throws(SigstoreError) {
            sums.withLock { $0.add(row) }
            try spool.append(row)
        }
    }
}
