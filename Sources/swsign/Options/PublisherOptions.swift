import ArgumentParser
import InToto
import Provenance
import SigstoreCrypto
import SigstoreVerification
import StrictJSON
import SwSignCore

/// The flags that say who must have built or published.
struct PublisherOptions: ParsableArguments {
    @Option(
        name: [.customLong("repo"), .customShort("R")],
        help: "github: the repository that must have been built, OWNER/NAME.")
    var repo: String?
    @Option(name: [.long, .customShort("o")], help: "github: the owner of that repository, if any of theirs will do.")
    var owner: String?
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
        help: "npm: the repository that must have been built, such as github.com/OWNER/NAME.")
    var sourceURI: String?
    @Option(name: .customLong("builder-id"), help: "npm: the builder that the provenance must name.")
    var builderID: String?
    @Option(help: "pypi: the repository that must have published, such as https://github.com/OWNER/NAME.")
    var repository: String?
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

    /// The flags that are given and are not about every ecosystem.
    var given: [PublisherFlag] {
        let flags: [(isGiven: Bool, name: String, about: [ProvenanceSource])] = [
            (repo != nil, "repo", [.github]), (owner != nil, "owner", [.github]),
            (signerRepo != nil, "signer-repo", [.github]), (signerWorkflow != nil, "signer-workflow", [.github]),
            (signerDigest != nil, "signer-digest", [.github]), (sourceRef != nil, "source-ref", [.github]),
            (sourceDigest != nil, "source-digest", [.github]),
            (denySelfHostedRunners, "deny-self-hosted-runners", [.github]),
            (predicateType != nil, "predicate-type", [.github]), (digestAlgorithm != nil, "digest-alg", [.github]),
            (package != nil, "package", [.npm]), (packageVersion != nil, "package-version", [.npm]),
            (npmKeys != nil, "npm-keys", [.npm]), (sourceURI != nil, "source-uri", [.npm]),
            (builderID != nil, "builder-id", [.npm]), (repository != nil, "repository", [.pypi]),
        ]
        return flags.filter(\.isGiven).map { PublisherFlag(name: $0.name, about: $0.about) }
    }

    /// What is demanded of what workflows of GitHub attested; `nil` if no owner or repository is named.
    func github() throws(SigstoreError) -> GitHubPolicy? {
        guard repo != nil || owner != nil else {
            for (isGiven, flag) in [
                (signerRepo != nil, "signer-repo"), (signerWorkflow != nil, "signer-workflow"),
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
        var policy = try GitHubPolicy(owner: owner, repository: repo, signer: signer)
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
    func npm(files: Int, _ sources: TrustSources) throws(SigstoreError) -> NPMPolicy? {
        guard namesPackage || npmKeys != nil || sourceURI != nil || builderID != nil else { return nil }
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
        return try NPMPolicy(package: package, version: packageVersion, keys: try keys(sources), build: build)
    }

    /// Whether a package of npm is named.
    var namesPackage: Bool { package != nil || packageVersion != nil }

    /// Who must have built a package of npm; `nil` if nothing says it.
    func build() throws(SigstoreError) -> BuildDemand? {
        let identity = try demandedIdentity()
        guard sourceURI != nil || identity != nil else { return nil }
        return try BuildDemand(source: sourceURI, identity: identity, builderID: builderID)
    }

    /// The registry's keys: of the file that was named, or of the TUF repository as it was fetched last.
    func keys(_ sources: TrustSources) throws(SigstoreError) -> [NPMKey] {
        let content: [UInt8]
        if let npmKeys {
            content = try InputFile(npmKeys).contents(limit: 1 << 20)
        } else {
            let instance = try sources.instance()
            do throws(SigstoreError) {
                content = try waiting { () throws(SigstoreError) in
                    try await instance.target(NPMKey.target, offline: true)
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

/// A flag that is given, and the ecosystems that it is about.
struct PublisherFlag: Sendable {
    let name: String
    let about: [ProvenanceSource]
}

extension [PublisherFlag] {
    /// Refuses a flag that says nothing of an ecosystem: what is demanded has to be compared with something.
    func expectAbout(_ source: ProvenanceSource) throws(SigstoreError) {
        for flag in self where !flag.about.contains(source) {
            throw SigstoreError(
                .usage,
                "--\(flag.name) is about \(flag.about.map(\.rawValue).joined(separator: " and ")), and what is verified is of "
                    + source.rawValue,
                advice: source == .model
                    ? "give --key, --certificate-chain, or --certificate-identity and --certificate-oidc-issuer"
                    : "leave the flag out, or say with --from where it is from")
        }
    }
}
