import ArgumentParser
import InToto
import Provenance
import SigstoreCrypto
import SigstoreVerification
import StrictJSON
import SwSignCore

/// A flag that is given and demands something of the provenance.
struct DemandFlag: Sendable {
    /// The flag's name, without its dashes.
    let name: String
    private let sources: [ProvenanceSource]

    /// Describes a flag.
    /// - Returns: `nil` if it is not given.
    init?(_ name: String, _ value: String?, _ sources: ProvenanceSource...) {
        guard value != nil else { return nil }
        (self.name, self.sources) = (name, sources)
    }

    /// Expects that an ecosystem's rules know every flag that is given: what is demanded is never passed over.
    static func expect(_ flags: [DemandFlag], by source: ProvenanceSource, isNamed: Bool) throws(SigstoreError) {
        guard let unknown = flags.first(where: { !$0.sources.contains(source) }) else { return }
        throw SigstoreError(
            .usage, "--\(unknown.name) was given, and the rules of \(source.rawValue) do not know it",
            advice: isNamed
                ? "leave it out, or name another ecosystem with --from" : "say with --from which rules are meant")
    }
}

/// The flags that say who must have built or published.
struct PublisherOptions: ParsableArguments {
    @Option(
        name: [.customLong("repo"), .customShort("R")],
        help: "github, conda: the repository that must have been built, OWNER/NAME.")
    var repo: String?
    @Option(name: [.long, .customShort("o")], help: "github: the owner of that repository, if any of theirs will do.")
    var owner: String?
    @Option(help: "github: the host that builds, github.com if none is given, or NAME.ghe.com with its --trusted-root.")
    var hostname: String?
    @Option(
        name: .customLong("signer-repo"),
        help: "github: the repository whose workflow must have signed, if it is another one.")
    var signerRepo: String?
    @Option(
        name: .customLong("signer-workflow"),
        help:
            "github: the workflow that must have signed, OWNER/NAME/.github/workflows/FILE, of any version, or with @REF."
    )
    var signerWorkflow: String?
    @Option(name: .customLong("signer-digest"), help: "github: the commit of the workflow that must have signed.")
    var signerDigest: String?
    @Option(
        name: .customLong("source-ref"),
        help: "github: the branch or tag that must have been built, such as refs/heads/main.")
    var sourceRef: String?
    @Option(name: .customLong("source-digest"), help: "github: the commit that must have been built.")
    var sourceDigest: String?
    @Flag(name: .customLong("deny-self-hosted-runners"), help: "github: accept only what GitHub's own machines built.")
    var denySelfHostedRunners = false
    @Option(
        name: .customLong("predicate-type"),
        help: "github: the type that the predicate must have; without it, https://slsa.dev/provenance/v1.",
        completion: .predicateTypes)
    var predicateType: String?
    @Option(
        name: .customLong("digest-alg"),
        help:
            "github: the algorithm by which the attestation must name the file, sha256 or sha512; without it, any of both.",
        completion: .list(["sha256", "sha512"]))
    var digestAlgorithm: String?
    @Option(help: "npm: the package's name with its scope, such as @sigstore/bundle.")
    var package: String?
    @Option(name: .customLong("package-version"), help: "npm: the package's version.")
    var packageVersion: String?
    @Option(
        name: .customLong("npm-keys"),
        help: "npm: the registry's keys, as it or Sigstore's TUF repository hands them out, or one of them in PEM.",
        completion: .file())
    var npmKeys: String?
    @Option(
        name: .customLong("source-uri"),
        help: "npm, slsa: the repository that must have been built, such as github.com/OWNER/NAME.")
    var sourceURI: String?
    @Option(
        name: .customLong("builder-id"),
        help:
            "npm, slsa: the workflow that must have built it, https://github.com/OWNER/NAME/PATH, with @v1.2.3 if it must be that version (slsa: without it, any of the trusted ones of slsa-framework/slsa-github-generator); npm: or the machine, such as https://github.com/actions/runner/github-hosted."
    )
    var builderID: String?
    @Option(help: "pypi: the repository that must have published, such as https://github.com/OWNER/NAME.")
    var repository: String?
    @Option(
        help:
            "conda: the channel that the package must have been published for, such as https://prefix.dev/conda-forge.")
    var channel: String?
    @Option(
        name: .customLong("certificate-identity"),
        help: "The identity that the certificate must show, byte for byte; needs --certificate-oidc-issuer.")
    var identity: String?
    @Option(
        name: .customLong("certificate-identity-regexp"),
        help: "A regular expression (RE2, unanchored) that the identity must match; needs --certificate-oidc-issuer.")
    var identityPattern: String?
    @Option(name: .customLong("certificate-oidc-issuer"), help: "The issuer of the identity token, byte for byte.")
    var issuer: String?

    /// The flags that are given, each with the ecosystems whose rules know it.
    var given: [DemandFlag] {
        [
            DemandFlag("repo", repo, .github, .conda), DemandFlag("owner", owner, .github, .conda),
            DemandFlag("hostname", hostname, .github), DemandFlag("signer-repo", signerRepo, .github, .conda),
            DemandFlag("signer-workflow", signerWorkflow, .github, .conda),
            DemandFlag("signer-digest", signerDigest, .github, .conda),
            DemandFlag("source-ref", sourceRef, .github, .conda),
            DemandFlag("source-digest", sourceDigest, .github, .conda),
            DemandFlag("deny-self-hosted-runners", denySelfHostedRunners ? "" : nil, .github, .conda),
            DemandFlag("predicate-type", predicateType, .github), DemandFlag("digest-alg", digestAlgorithm, .github),
            DemandFlag("package", package, .npm), DemandFlag("package-version", packageVersion, .npm),
            DemandFlag("npm-keys", npmKeys, .npm), DemandFlag("source-uri", sourceURI, .npm, .slsa),
            DemandFlag("builder-id", builderID, .npm, .slsa), DemandFlag("repository", repository, .pypi),
            DemandFlag("channel", channel, .conda),
            DemandFlag("certificate-identity", identity, .github, .npm, .pypi, .model, .conda),
            DemandFlag("certificate-identity-regexp", identityPattern, .github, .npm, .pypi, .model, .conda),
            DemandFlag("certificate-oidc-issuer", issuer, .github, .npm, .pypi, .model, .conda),
        ].compactMap { $0 }
    }

    /// What is demanded of what workflows of GitHub attested; `nil` if no owner or repository is named.
    func github() throws(SigstoreError) -> GitHubPolicy? {
        guard repo != nil || owner != nil else {
            for (isGiven, flag) in [
                (hostname != nil, "hostname"), (signerRepo != nil, "signer-repo"),
                (signerWorkflow != nil, "signer-workflow"),
                (signerDigest != nil, "signer-digest"), (sourceRef != nil, "source-ref"),
                (sourceDigest != nil, "source-digest"), (denySelfHostedRunners, "deny-self-hosted-runners"),
                (predicateType != nil, "predicate-type"), (digestAlgorithm != nil, "digest-alg"),
            ] where isGiven {
                throw SigstoreError(.usage, "--\(flag) needs --repo or --owner", advice: "say whose it must be")
            }
            return nil
        }
        guard repo == nil || owner == nil else {
            throw SigstoreError(
                .usage, "--repo and --owner cannot be given together", advice: "the repository names its owner")
        }
        let given = [signerRepo, signerWorkflow, identity, identityPattern].filter { $0 != nil }
        guard given.count <= 1 else {
            throw SigstoreError(
                .usage,
                "only one of --signer-repo, --signer-workflow, --certificate-identity and --certificate-identity-regexp can "
                    + "be given")
        }
        var signer = GitHubPolicy.Signer.source
        if let signerRepo { signer = .repository(signerRepo) }
        if let signerWorkflow { signer = .workflow(signerWorkflow) }
        if let pattern = try subject() { signer = .identity(pattern) }
        var policy = try GitHubPolicy(
            owner: owner, repository: repo, signer: signer, host: hostname ?? GitHubPolicy.publicHost)
        if let issuer { policy.issuer = issuer }
        if let predicateType { policy.predicateType = try PredicateType(named: predicateType).uri }
        (policy.sourceRef, policy.sourceDigest, policy.signerDigest) = (sourceRef, sourceDigest, signerDigest)
        policy.deniesSelfHosted = denySelfHostedRunners
        if let digestAlgorithm {
            guard let algorithm = HashAlgorithm(rawValue: digestAlgorithm), [.sha256, .sha512].contains(algorithm)
            else {
                throw SigstoreError(
                    .unknownAlgorithm, "the digest algorithm \"\(digestAlgorithm)\" is not known",
                    advice: "use sha256 or sha512")
            }
            policy.algorithm = algorithm
        }
        return policy
    }

    /// The identity that is demanded; `nil` if none is.
    func demandedIdentity() throws(SigstoreError) -> CertificateIdentity? {
        // Beside a repository of GitHub, the issuer has a default.
        guard repo == nil, owner == nil, identity != nil || identityPattern != nil || issuer != nil else { return nil }
        guard identity == nil || identityPattern == nil else {
            throw SigstoreError(
                .usage, "--certificate-identity and --certificate-identity-regexp cannot be given together")
        }
        guard let issuer, !issuer.isEmpty, let subject = try subject() else {
            throw SigstoreError(
                .usage, "an identity needs both a name and an issuer, since one without the other trusts a stranger",
                advice: "give --certificate-identity and --certificate-oidc-issuer")
        }
        return CertificateIdentity(subject: subject, issuer: .exactly(issuer))
    }

    private func subject() throws(SigstoreError) -> CertificateIdentity.Pattern? {
        if let identityPattern { return .matching(try IdentityPattern(identityPattern)) }
        return identity.flatMap { $0.isEmpty ? nil : .exactly($0) }
    }

    /// What is demanded of a package of npm; `nil` if none is named.
    /// - Parameters:
    ///   - files: How many files are verified.
    ///   - sources: Where the registry's keys are, if no file of them is named.
    ///   - offline: Whether the network may not be used for the keys.
    func npm(files: Int, _ sources: TrustSources, offline: Bool) throws(SigstoreError) -> NPMPolicy? {
        guard isAboutNPM else { return nil }
        guard let package, let packageVersion else {
            throw SigstoreError(
                .usage, "a package of npm needs both a name and a version",
                advice: "give --package and --package-version: the name of a file does not say plainly what it is")
        }
        guard files == 1 else {
            throw SigstoreError(.usage, "\(files) files are to be verified, and --package names one")
        }
        guard let build = try build() else {
            throw SigstoreError(
                .usage, "nothing says who must have built the package",
                advice: "give --source-uri, or --certificate-identity and --certificate-oidc-issuer")
        }
        return try NPMPolicy(
            package: package, version: packageVersion, keys: try keys(sources, offline: offline), build: build)
    }

    /// Whether a package of npm is named.
    var namesPackage: Bool { package != nil || packageVersion != nil }

    /// Whether a flag is given that only packages of npm have.
    var isAboutNPM: Bool { namesPackage || npmKeys != nil }

    /// Who must have built a package of npm; `nil` if nothing says it.
    func build() throws(SigstoreError) -> BuildDemand? {
        let identity = try demandedIdentity()
        guard sourceURI != nil || identity != nil else { return nil }
        return try BuildDemand(source: sourceURI, identity: identity, builderID: builderID)
    }

    /// The registry's keys: of the file that was named, or of Sigstore's TUF repository; never the registry's own word for them.
    /// - Parameter offline: Whether the TUF repository counts as it was fetched last.
    func keys(_ sources: TrustSources, offline: Bool) throws(SigstoreError) -> [NPMKey] {
        let content: [UInt8]
        if let npmKeys {
            content = try InputFile(npmKeys).contents(limit: 1 << 20)
        } else {
            let instance = try sources.instance()
            do throws(SigstoreError) {
                content = try waiting { () throws(SigstoreError) in
                    try await instance.target(NPMKey.target, offline: offline)
                }
            } catch {
                throw SigstoreError(
                    error.code, "npm's keys are not at hand: \(error.message)",
                    advice:
                        "give them with --npm-keys FILE, such as what https://registry.npmjs.org/-/npm/v1/keys answers",
                    cause: error)
            }
        }
        do throws(SigstoreError) { return try NPMKey.keys(file: content) } catch {
            throw error.concerning(npmKeys ?? NPMKey.target)
        }
    }

    /// What is demanded of packages of conda; `nil` if nothing says who must have published them.
    func conda() throws(SigstoreError) -> CondaPolicy? {
        if let workflow = try github() { return try CondaPolicy(.workflow(workflow), channel: channel) }
        guard let identity = try demandedIdentity() else { return nil }
        return try CondaPolicy(.identity(identity), channel: channel)
    }

    /// What is demanded of files of PyPI; `nil` if nothing is.
    func pypi() throws(SigstoreError) -> PyPIPolicy? {
        let identity = try demandedIdentity()
        switch (repository, identity) {
        case (nil, nil): return nil
        case (let repository?, nil): return try PyPIPolicy(.repository(repository))
        case (nil, let identity?): return try PyPIPolicy(.identity(identity))
        case (_?, _?):
            throw SigstoreError(.usage, "--repository and --certificate-identity cannot be given together")
        }
    }
}
