import LocalSystem
import Provenance
import SigstoreCrypto
import SigstoreVerification
import StrictJSON
import SwSignCore

extension VerifyProvenance {
    /// Verifies a verification summary of SLSA's (VSA) by a key. No log entry is demanded: those who make summaries write none.
    func verifySummary(_ given: [DemandFlag], _ context: Context) throws(SigstoreError) {
        guard from == nil || from?.source == .slsa, given.isEmpty else {
            throw SigstoreError(
                .usage,
                "--verifier-id, --resource-uri, --verified-level and --subject-digest demand a verification summary (VSA), and "
                    + (given.first.map { "--\($0.name)" } ?? "--from") + " something else",
                advice: "leave one of them out")
        }
        try fetching.expectUnused()
        guard let verifier = summary.verifier, let resource = summary.resource, !model.keys.isEmpty, let attestations
        else {
            throw SigstoreError(
                .usage, "a verification summary needs a verifier, a resource, a key and a file",
                advice: "give --verifier-id, --resource-uri, --key and --attestations")
        }
        guard model.certificateChain == nil, model.contents.ignorePaths.isEmpty, model.contents.ignoreGitPaths else {
            throw SigstoreError(.usage, "--certificate-chain, --ignore-paths and --ignore-git-paths are about models")
        }
        guard !fetching.fetch, !fetching.bundleFromOCI else {
            throw SigstoreError(
                .usage, "nobody is asked for a verification summary", advice: "leave --fetch and --bundle-from-oci out")
        }
        guard files.count + summary.subjects.count > 0, files.count <= 1 else {
            throw SigstoreError(
                .usage, "\(files.count) files are named, and a summary is about one thing",
                advice: "name one file, or its digest with --subject-digest")
        }
        let policy = try SummaryPolicy(
            subjects: summary.subjects, verifier: verifier, resource: resource, levels: summary.levels)
        var none = GivenFlags([])
        let identity = IdentityOptions(&none)
        var (verification, trust) = (VerificationOptions(&none), TrustOptions(&none))
        (trust.trustedRoot, trust.staging) = (trustedRoot, staging)
        (verification.keys, verification.offline) = (model.keys, true)
        let name = files.first ?? summary.subjects.first ?? attestations
        let outcome = Result<VerifiedProvenance, SigstoreError> { () throws(SigstoreError) in
            let signers = try verification.signers(
                identity, standardInputIsTaken: (files + [attestations]).contains("-"), keysAreLogged: false, context)
            let place = InputFile(attestations)
            let bundles: [SigstoreBundle]
            let content = try place.contents(limit: SigstoreBundle.sizeLimit)
            do throws(SigstoreError) { bundles = try SummaryPolicy.bundles(in: content, keys: signers.keys) } catch {
                throw error.concerning(place.name)
            }
            return try policy.verify(
                try files.first.map { file throws(SigstoreError) in try InputFile(file).artifact() }, bundles,
                by: signers,
                with: try verification.verifier(identity, trust, keysAreLogged: false, context))
        }
        _ = try report(InputFile(name), outcome, isOneOfMany: false, context)
    }
}
