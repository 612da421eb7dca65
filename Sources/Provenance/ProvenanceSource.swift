internal import InToto
public import SigstoreVerification
public import StrictJSON

/// The ecosystem that provenance is from, which decides what must hold of it beside the signature.
public enum ProvenanceSource: String, Sendable, CaseIterable {
    /// Packages of PyPI (PEP 740).
    case pypi
    /// Packages of npm.
    case npm
    /// Anything that a workflow of GitHub attested.
    case github
    /// Folders of models, signed as `model_signing` does.
    case model
    /// What builders on GitHub made, by SLSA's provenance.
    case slsa
    /// Packages of conda (CEP 27).
    case conda
}

extension AttestationDocument {
    /// The ecosystem that the document is plainly from, by its form or by what it attests; `nil` if that is not plain. It decides
    /// which rules are held to, and proves nothing.
    public var source: ProvenanceSource? {
        if forms.isSubset(of: [.pypiAttestation, .pypiProvenance]) { return .pypi }
        if forms == [.npmAnswer] { return .npm }
        if forms == [.gitHubAnswer] { return .github }
        let types = attestations.compactMap { (try? $0.bundle.statement())??.predicateType }
        guard types.count == attestations.count else { return nil }
        if types.allSatisfy({ $0.matches(PyPIPolicy.publishType) }) { return .pypi }
        if types.allSatisfy({ $0.matches(CondaPolicy.publishType) }) { return .conda }
        if isByGenerator { return .slsa }
        return attestations.allSatisfy { Self.isOfGitHub($0.bundle) } ? .github : nil
    }
}

extension AttestationDocument {
    /// Whether a statement says that it is about a run of a workflow of GitHub.
    private static func isOfGitHub(_ bundle: SigstoreBundle) -> Bool {
        guard let statement = try? bundle.statement(),
            let type = try? JSONCursor(statement.predicate).optional("buildDefinition")?.optional("buildType")?.string()
        else { return false }
        return [
            "https://actions.github.io/buildtypes/workflow/v1",
            "https://slsa-framework.github.io/github-actions-buildtypes/workflow/v1",
        ].contains { $0.utf8.elementsEqual(type.utf8) }
    }
}

/// What provenance says of a file once all of it holds.
public struct VerifiedProvenance: Sendable {
    /// A fact, by a stable name for programs; what it is called for people is its ``words``.
    public enum Fact: String, Sendable, CaseIterable {
        /// The name of the package.
        case package
        /// The version of the package.
        case version
        /// The digest of the file.
        case digest
        /// The channel that it was published for.
        case channel
        /// Who published: a service with its project.
        case publisher
        /// The repository that was built.
        case sourceRepository
        /// The commit that was built.
        case sourceCommit
        /// The branch or tag that was built.
        case sourceRef
        /// What built it.
        case builder
        /// The workflow that the build began with.
        case workflow
        /// What triggered the build.
        case trigger
        /// Whose machine built it: `github-hosted`, `self-hosted`.
        case runner
        /// The run of the build.
        case run
        /// What a verifier has verified.
        case resource
        /// Who has verified it.
        case verifier
        /// The levels that the verifier has found.
        case levels
        /// When the verifier says that it was.
        case verifiedAt

        /// What people call it.
        public var words: String {
            switch self {
            case .package, .version, .digest, .channel, .publisher, .builder, .workflow, .trigger, .runner, .run,
                .resource,
                .verifier,
                .levels:
                rawValue
            case .verifiedAt: "verified at"
            case .sourceRepository: "source"
            case .sourceCommit: "commit"
            case .sourceRef: "branch or tag"
            }
        }
    }

    /// The ecosystem.
    public let source: ProvenanceSource
    /// The facts, in the order in which a person wants them. They may hold text from outside.
    public private(set) var facts: [(fact: Fact, value: String)] = []
    /// The attestations that hold, at least one.
    public let attestations: [VerifiedBundle]

    init(_ source: ProvenanceSource, _ attestations: [VerifiedBundle], _ facts: [(fact: Fact, value: String?)]) {
        (self.source, self.attestations) = (source, attestations)
        for (fact, value) in facts { if let value, !value.isEmpty { self.facts.append((fact, value)) } }
        let known = attestations.lazy.compactMap(\.claims).map(Self.facts).first { !$0.isEmpty } ?? []
        for (fact, value) in known where !self.facts.contains(where: { $0.fact == fact }) {
            self.facts.append((fact, value))
        }
    }

    /// The first bundle that holds.
    /// - Throws: `SigstoreError` of the first bundle; if there are several, it says of each where it stood and why it does not hold.
    static func first(
        of bundles: [SigstoreBundle], _ verify: (SigstoreBundle) throws(SigstoreError) -> VerifiedProvenance
    ) throws(SigstoreError) -> VerifiedProvenance {
        var failures: [SigstoreError] = []
        for bundle in bundles {
            do throws(SigstoreError) { return try verify(bundle) } catch {
                failures.append(bundle.place.map { error.concerning($0) } ?? error)
            }
        }
        guard var first = failures.first else {
            throw SigstoreError(.noBundle, "there is no attestation", advice: "get the provenance from the publisher")
        }
        if failures.count > 1 { first.details = SigstoreError.listed(failures.map { "\($0.message) [\($0.code)]" }) }
        throw first
    }

    /// What a certificate says of the build. Fulcio's older certificates have the deprecated claims alone.
    private static func facts(_ claims: CertificateClaims) -> [(fact: Fact, value: String)] {
        let repository =
            claims[.sourceRepositoryURI] ?? claims[.githubWorkflowRepository].map { "https://github.com/\($0)" }
        let facts: [(fact: Fact, value: String?)] = [
            (.sourceRepository, repository),
            (.sourceCommit, claims[.sourceRepositoryDigest] ?? claims[.githubWorkflowSHA]),
            (.sourceRef, claims[.sourceRepositoryRef] ?? claims[.githubWorkflowRef]),
            (.builder, claims[.buildSignerURI]), (.workflow, claims[.buildConfigURI]),
            (.trigger, claims[.buildTrigger] ?? claims[.githubWorkflowTrigger]), (.runner, claims[.runnerEnvironment]),
            (.run, claims[.runInvocationURI]),
        ]
        return facts.compactMap { fact, value in value.map { (fact, $0) } }
    }
}

extension SigstoreError.Code {
    /// It is not plain which ecosystem an attestation is from, or it is from another one than was asked for.
    public static let unclearProvenance = Self("unclear-provenance")
    /// An attestation holds, and says what its ecosystem does not allow.
    public static let malformedProvenance = Self("malformed-provenance")
    /// The attestation is about a package of another name.
    public static let wrongPackage = Self("wrong-package")
    /// The attestation is about another version of the package.
    public static let wrongVersion = Self("wrong-version")
    /// Another publisher signed than was asked for, or than the provenance states.
    public static let wrongPublisher = Self("wrong-publisher")
    /// Another repository was built than was asked for.
    public static let wrongSource = Self("wrong-source")
}
