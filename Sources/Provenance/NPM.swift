internal import InToto
internal import SigstoreCrypto
public import SigstoreVerification
public import StrictJSON

/// A key with which npm's registry signs, and when it counts.
public struct NPMKey: Sendable {
    /// The key's name, such as `SHA256:jl3bwswu80PjjokCgh0o2w5c2U4LhQAE57gj9cz1kzA`; `nil` if its file does not say it.
    let id: String?
    let key: PublicKey
    let validFor: ValidityWindow

    /// Where Sigstore's TUF repository has them.
    public static let target = "registry.npmjs.org/keys.json"

    /// Reads a file of keys: Sigstore's TUF target, the registry's answer (`GET /-/npm/v1/keys`), or one key in PEM.
    /// - Parameter content: The whole file.
    /// - Returns: The keys, at least one, at most 100. Keys that are not for attestations are left out.
    /// - Throws: `SigstoreError` naming the member that is wrong.
    public static func keys(file content: [UInt8]) throws(SigstoreError) -> [NPMKey] {
        guard content.first(where: { $0 > 0x20 }) == 0x7b else {
            return [NPMKey(id: nil, key: try PublicKey(file: content), validFor: .always)]
        }
        let list = try JSONCursor(try JSONValue(parsing: content, values: 1 << 14)).member("keys")
        let entries = try list.elements()
        guard (1...100).contains(entries.count) else {
            throw list.fault("holds \(entries.count) keys, expected 1 to 100")
        }
        var keys: [NPMKey] = []
        for entry in entries {
            if let usage = try entry.optional("keyUsage")?.string(), usage != "npm:attestations" { continue }
            if let id = try entry.optional("keyId")?.string() {
                let key = try entry.member("publicKey")
                let window = try key.member("validFor")
                keys.append(
                    NPMKey(
                        id: id, key: try PublicKey(der: try key.member("rawBytes").bytes()),
                        validFor: ValidityWindow(
                            start: try moment(try window.member("start")),
                            end: try window.optional("end").map { end throws(SigstoreError) in try moment(end) })))
            } else {
                let end = try entry.optional("expires").map { end throws(SigstoreError) in try moment(end) }
                keys.append(
                    NPMKey(
                        id: try entry.member("keyid").string(),
                        key: try PublicKey(der: try entry.member("key").bytes()),
                        validFor: ValidityWindow(start: ValidityWindow.always.start, end: end)))
            }
        }
        guard !keys.isEmpty else { throw list.fault("holds no key for attestations") }
        return keys
    }

    private static func moment(_ json: JSONCursor) throws(SigstoreError) -> Instant {
        guard let moment = Instant(rfc3339: try json.string()) else { throw json.fault("is not a time of RFC 3339") }
        return moment
    }
}

/// What must hold of a package of npm: purl, version and SHA-512, that the registry published it, and who built it.
public struct NPMPolicy: Sendable {
    static let publishType = PredicateType(uri: "https://github.com/npm/attestation/tree/main/specs/publish/v0.1")
    private static let registry = "https://registry.npmjs.org"

    /// The package's name with its scope.
    public let package: String
    /// The package's version.
    public let version: String
    private let keys: [NPMKey]
    private let build: BuildDemand

    /// Makes a policy.
    /// - Parameters:
    ///   - package: The package's name with its scope, such as `@sigstore/bundle`.
    ///   - version: The package's version, as it is written.
    ///   - keys: The registry's keys.
    ///   - build: Who must have built it.
    /// - Throws: `SigstoreError` with `wrong-package` if that is no name or version of a package.
    public init(package: String, version: String, keys: [NPMKey], build: BuildDemand) throws(SigstoreError) {
        for (text, what) in [(package, "name"), (version, "version")] {
            guard (1...512).contains(text.utf8.count), text.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7f && $0 != 0x25 })
            else {
                throw SigstoreError(
                    .wrongPackage, "\"\(text)\" is no \(what) of a package of npm",
                    advice: "write the name as NAME or @SCOPE/NAME, and the version as package.json has it")
            }
        }
        (self.package, self.version, self.keys, self.build) = (package, version, keys, build)
    }

    /// Verifies a package: every attestation must hold, and there must be one of the registry and one of the build.
    /// - Parameters:
    ///   - file: The package's archive.
    ///   - document: Its attestations, such as the registry's answer.
    ///   - verifier: The verifier.
    /// - Throws: `SigstoreError` that says which attestation does not hold, and why.
    public func verify(_ file: any ArtifactSource, _ document: AttestationDocument, with verifier: Verifier)
        throws(SigstoreError) -> VerifiedProvenance
    {
        guard let digest = try file.read(digests: [.sha512], schemes: []).digest(.sha512) else {
            throw SigstoreError(
                .wrongSubject, "what is attested of a package of npm is its SHA-512, and that is not at hand",
                advice: "give the package's archive, or its digest as sha512:<hex>")
        }
        var (published, built): ([VerifiedBundle], [VerifiedBundle]) = ([], [])
        for attestation in document.attestations {
            do throws(SigstoreError) {
                let statement = try expectAbout(digest, attestation)
                if statement.predicateType.matches(Self.publishType) {
                    published.append(try verifyPublished(attestation.bundle, statement, digest, verifier))
                } else {
                    built.append(try build.verify(attestation.bundle, subject: .digest(digest), with: verifier))
                }
            } catch { throw attestation.bundle.place.map { error.concerning($0) } ?? error }
        }
        for (found, what) in [
            (published, "of the registry, that it published the package"), (built, "of who built it"),
        ] {
            guard !found.isEmpty else {
                throw SigstoreError(
                    .noProvenance, "there is no attestation \(what)",
                    advice: "get npm's whole answer for this version of the package")
            }
        }
        return VerifiedProvenance(
            .npm, built + published,
            [
                (.package, package), (.version, version), (.digest, digest.description),
                (.publisher, Self.registry),
                (.builder, built.lazy.compactMap { BuildDemand.builder(of: $0.statement) }.first),
            ])
    }

    /// What the attestation says it is about. It is compared before anything is verified, and proves nothing by itself.
    private func expectAbout(_ digest: Digest, _ attestation: PublishedAttestation) throws(SigstoreError) -> Statement {
        guard let statement = try attestation.bundle.statement() else {
            throw SigstoreError(
                .signatureNotAttestation, "it is a signature over a file, and npm publishes attestations")
        }
        if let stated = attestation.statedPredicateType,
            !stated.utf8.elementsEqual(statement.predicateType.uri.utf8)
        {
            throw SigstoreError(
                .attestationsDisagree,
                "npm's answer names the type \(stated), the attestation says \(statement.predicateType.uri)",
                advice: "get the attestations again from the registry")
        }
        guard statement.subjects.count == 1, let subject = statement.subjects.first, let name = subject.name else {
            throw SigstoreError(
                .malformedProvenance, "it is about \(statement.subjects.count) packages, expected one, with a name")
        }
        let prefix = "pkg:npm/"
        let rest = Array(name.utf8.dropFirst(prefix.utf8.count))
        guard name.utf8.starts(with: prefix.utf8), let at = rest.lastIndex(of: 0x40), at > 0 else {
            throw SigstoreError(
                .wrongPackage, "it is about \"\(name)\", expected \(prefix)\(package)@\(version)",
                advice: "get the attestations that belong to the package")
        }
        var found = String(decoding: rest[..<at], as: UTF8.self)
        if found.utf8.starts(with: "%40".utf8) { found = "@" + String(decoding: rest[3..<at], as: UTF8.self) }
        let foundVersion = String(decoding: rest[(at + 1)...], as: UTF8.self)
        guard found.utf8.elementsEqual(package.utf8) else {
            throw SigstoreError(
                .wrongPackage, "it is about another package: expected \(package), found \(found)",
                advice: "get the attestations that belong to the package")
        }
        guard foundVersion.utf8.elementsEqual(version.utf8) else {
            throw SigstoreError(
                .wrongVersion, "it is about another version of \(package): expected \(version), found \(foundVersion)",
                advice: "get the attestations that belong to this version")
        }
        let named = subject.digests.first { $0.algorithm.utf8.elementsEqual("sha512".utf8) }?.hex
        guard let named, named.utf8.elementsEqual(digest.hex.utf8) else {
            throw SigstoreError(
                .wrongSubject,
                "it is about another archive of \(package) \(version): expected \(digest), found "
                    + (named.map { "sha512:\($0)" } ?? "no digest of sha512"),
                advice: "give the archive that was published, unchanged")
        }
        return statement
    }

    /// The registry's own attestation: by a key of npm's that counted when it signed.
    private func verifyPublished(
        _ bundle: SigstoreBundle, _ statement: Statement, _ digest: Digest, _ verifier: Verifier
    ) throws(SigstoreError) -> VerifiedBundle {
        guard case .publicKey(let hint) = bundle.keyMaterial, case .dsse(let envelope) = bundle.content,
            let named = envelope.signatures.first?.keyID
        else {
            throw SigstoreError(
                .unknownRegistryKey,
                "the registry's attestation was made with a certificate, expected one of npm's keys")
        }
        guard !named.isEmpty, named.utf8.elementsEqual(hint.utf8) else {
            throw SigstoreError(
                .unknownRegistryKey,
                "the registry's attestation names \(named.isEmpty ? "no key" : "the key \(named)") in its envelope, and "
                    + "\(hint.isEmpty ? "none" : hint) beside it: expected the same key twice",
                advice: "get the attestations again from the registry")
        }
        // A key in PEM has no name: it is the one that the person gave.
        let candidates = keys.filter { $0.id.map { $0.utf8.elementsEqual(named.utf8) } ?? true }
        guard let key = candidates.first else {
            throw SigstoreError(
                .unknownRegistryKey,
                "the registry's attestation is by the key \(named), expected one of "
                    + keys.compactMap(\.id).joined(separator: ", "),
                advice: "get npm's keys again; if they are current, do not use the package")
        }
        let verified: VerifiedBundle
        do throws(RejectedBundle) {
            verified = try verifier.verify(
                bundle, .attestation(subject: .digest(digest), predicateType: Self.publishType),
                VerificationPolicy(signedBy: .key(key.key)))
        } catch { throw error.explained }
        guard !verified.times.isEmpty,
            verified.times.allSatisfy({ key.validFor.contains(Instant(seconds: $0.seconds)) })
        else {
            let times = verified.times.map { Instant(seconds: $0.seconds).description }
            throw SigstoreError(
                .registryKeyExpired,
                "npm's key \(named) counts from \(key.validFor.description), and signed at "
                    + (times.isEmpty ? "an unknown time" : times.joined(separator: ", ")),
                advice: "get npm's keys again; if they are current, do not use the package")
        }
        let predicate = JSONCursor(statement.predicate)
        for (member, expected) in [("name", package), ("version", version), ("registry", Self.registry)] {
            let found = try predicate.member(member).string()
            guard found.utf8.elementsEqual(expected.utf8) else {
                throw SigstoreError(
                    .attestationsDisagree,
                    "the registry's attestation says the \(member) \(found), expected \(expected)",
                    advice: "do not use the package")
            }
        }
        return verified
    }
}

/// Who must have built something, by SLSA's provenance and the certificate that signed it.
public struct BuildDemand: Sendable {
    /// The predicate types of provenance (SLSA 0.2 and 1.0).
    static let types = [
        PredicateType(uri: "https://slsa.dev/provenance/v0.2"), PredicateType(uri: "https://slsa.dev/provenance/v1"),
    ]

    private let identities: [CertificateIdentity]
    /// Whether any repository may have built, as long as certificate and provenance name the same.
    private let isAnyRepository: Bool
    /// The repository's address, such as `https://github.com/owner/name`; `nil` if the identity alone decides.
    private let repository: String?
    private let builderID: String?
    /// The builder, if it is a workflow of GitHub: it has to have signed.
    private let workflow: String?

    /// Makes a demand.
    /// - Parameters:
    ///   - source: The repository: `github.com/owner/name`, with or without `https://` or `git+https://`.
    ///   - identity: The identity of the certificate. Without one, any workflow of the repository may have built.
    ///   - builderID: The builder: a machine that the provenance names, `https://github.com/actions/runner/github-hosted`, or a workflow
    ///     that must have signed it or had it signed by a delegator of SLSA's, with `@v1.2.3` if it must be that version.
    /// - Throws: `SigstoreError` with `wrong-source` if that is no repository, or neither it nor an identity is given; with
    ///   `wrong-builder` if a workflow is to have built it, and the repository is not at GitHub.
    public init(source: String?, identity: CertificateIdentity?, builderID: String?) throws(SigstoreError) {
        var address = source
        for prefix in ["git+https://", "https://"] {
            if let text = address, text.utf8.starts(with: prefix.utf8) {
                address = String(decoding: text.utf8.dropFirst(prefix.utf8.count), as: UTF8.self)
            }
        }
        var issuer: String?
        if let address {
            let parts = address.utf8.split(separator: 0x2f, omittingEmptySubsequences: false)
            issuer =
                switch parts.first.map({ String(decoding: $0, as: UTF8.self) }) {
                case "github.com" where parts.count == 3: "https://token.actions.githubusercontent.com"
                case "gitlab.com" where parts.count >= 3: "https://gitlab.com"
                default: nil
                }
            guard issuer != nil, parts.allSatisfy({ !$0.isEmpty }) else {
                throw SigstoreError(
                    .wrongSource, "\"\(address)\" is no repository at GitHub or GitLab",
                    advice: "write it as github.com/OWNER/NAME or gitlab.com/GROUP/NAME")
            }
        }
        repository = address.map { "https://\($0)" }
        if let identity {
            identities = [identity]
        } else if let issuer {
            identities = [
                CertificateIdentity(subject: .matching(try IdentityPattern("^https://")), issuer: .exactly(issuer))
            ]
        } else {
            throw SigstoreError(.wrongSource, "neither a repository nor an identity says who must have built it")
        }
        (self.builderID, isAnyRepository) = (builderID, false)
        workflow = builderID.flatMap { Self.isWorkflow($0) ? $0 : nil }
        guard workflow == nil || address.map({ $0.utf8.starts(with: "github.com/".utf8) }) == true else {
            throw SigstoreError(
                .wrongBuilder,
                "the builder is a workflow of GitHub, and no repository at GitHub is named that it built",
                advice: "name the repository that must have been built")
        }
    }

    /// Makes the demand that a workflow of GitHub or GitLab has built it, of whatever repository: certificate and provenance have to
    /// name the same.
    /// - Parameter builderID: The builder that the provenance names; `nil` if any will do.
    public init(builderID: String? = nil) throws(SigstoreError) {
        let anyName = CertificateIdentity.Pattern.matching(try IdentityPattern("^https://"))
        identities = ["https://token.actions.githubusercontent.com", "https://gitlab.com"].map {
            CertificateIdentity(subject: anyName, issuer: .exactly($0))
        }
        (repository, self.builderID, isAnyRepository) = (nil, builderID, true)
        workflow = builderID.flatMap { Self.isWorkflow($0) ? $0 : nil }
    }

    private static func isWorkflow(_ builder: String) -> Bool {
        builder.utf8.starts(with: "https://github.com/".utf8) && builder.contains("/.github/workflows/")
    }

    /// The builder that a provenance names.
    static func builder(of statement: Statement?) -> String? {
        guard let statement else { return nil }
        let predicate = JSONCursor(statement.predicate)
        let builder =
            statement.predicateType.matches(types[1])
            ? try? predicate.optional("runDetails")?.optional("builder") : try? predicate.optional("builder")
        return try? builder?.optional("id")?.string()
    }

    /// The repository that a provenance names, without a branch or tag; `nil` if it names none.
    private static func source(of statement: Statement) -> String? {
        let predicate = JSONCursor(statement.predicate)
        if statement.predicateType.matches(types[1]) {
            let workflow = try? predicate.optional("buildDefinition")?.optional("externalParameters")?.optional(
                "workflow")
            return try? workflow?.optional("repository")?.string()
        }
        let uri = try? predicate.optional("invocation")?.optional("configSource")?.optional("uri")?.string()
        guard let uri, uri.utf8.starts(with: "git+".utf8) else { return uri }
        let rest = uri.utf8.dropFirst(4)
        return String(decoding: rest.prefix(upTo: rest.lastIndex(of: 0x40) ?? rest.endIndex), as: UTF8.self)
    }

    /// Verifies one provenance.
    func verify(_ bundle: SigstoreBundle, subject: BundleClaim.Subject, with verifier: Verifier) throws(SigstoreError)
        -> VerifiedBundle
    {
        if case .dsse(let envelope) = bundle.content, let named = envelope.signatures.first?.keyID, !named.isEmpty {
            throw SigstoreError(
                .unknownRegistryKey,
                "the provenance is signed with a certificate, and names the key \(named) all the same",
                advice: "get the attestations again from where they were published")
        }
        let verified: VerifiedBundle
        do throws(RejectedBundle) {
            verified = try verifier.verify(
                bundle, .attestation(subject: subject, predicateType: nil),
                VerificationPolicy(signedBy: .identities(identities)))
        } catch { throw error.explained }
        guard let statement = verified.statement, let claims = verified.claims else {
            throw SigstoreError(.malformedProvenance, "it is no attestation with a certificate")
        }
        guard Self.types.contains(where: { $0.matches(statement.predicateType) }) else {
            throw SigstoreError(
                .wrongPredicateType,
                "the attestation is of the type \(statement.predicateType.uri), expected "
                    + Self.types.map(\.uri).joined(separator: " or "))
        }
        // Fulcio's older certificates have the deprecated claim alone, which is of GitHub's.
        var claimed = try claims.value(.sourceRepositoryURI)
        if claimed == nil, let name = try claims.value(.githubWorkflowRepository) {
            claimed = "https://github.com/\(name)"
        }
        let stated = Self.source(of: statement)
        if let repository {
            func expect(_ found: String?, _ who: String) throws(SigstoreError) {
                guard let found, found.utf8.elementsEqual(repository.utf8) else {
                    throw SigstoreError(
                        .wrongSource, "expected the source \(repository), the \(who) says \(found ?? "nothing")",
                        advice: "do not use it, unless it is built at another place than you think")
                }
            }
            try expect(claimed, "certificate")
            try expect(stated, "provenance")
        } else if isAnyRepository || claimed != nil && stated != nil {
            guard let claimed, let stated, claimed.utf8.elementsEqual(stated.utf8) else {
                throw SigstoreError(
                    .attestationsDisagree,
                    "the certificate says the source \(claimed ?? "nothing"), the provenance \(stated ?? "nothing")",
                    advice: "do not use it")
            }
        }
        let isAtGitHub = claimed.map { $0.utf8.starts(with: "https://github.com/".utf8) } == true
        if isAtGitHub, repository != nil, let claimed {
            try SLSAPolicy(source: claimed).checkSource(try SLSAProvenance(statement), claims)
        }
        // A workflow that is named as the builder has signed, or a delegator of SLSA's for it.
        let builder = Self.builder(of: statement)
        if workflow != nil || builder.map(Self.isWorkflow) == true && !isSigner(builder, verified.signer) {
            guard isAtGitHub, let claimed else {
                throw SigstoreError(
                    .wrongBuilder,
                    "expected the builder \(workflow ?? builder ?? "of GitHub"), and the source is \(claimed ?? "not named")",
                    advice: "do not use it")
            }
            _ = try SLSAPolicy(source: claimed, builder: workflow).check(verified)
            if workflow != nil { return verified }
        }
        try expectBuilder(builder, claims)
        return verified
    }

    /// Whether the certificate is of the workflow that is named as the builder, at some version if it names none.
    private func isSigner(_ builder: String?, _ signer: VerifiedSigner) -> Bool {
        guard let builder, case .certificate(let name, _) = signer else { return false }
        return name.utf8.elementsEqual(builder.utf8) || name.utf8.starts(with: "\(builder)@".utf8)
    }

    private func expectBuilder(_ stated: String?, _ claims: CertificateClaims) throws(SigstoreError) {
        let runner = "https://github.com/actions/runner"
        // npm's first provenance does not say whose machine it was, and there were none but GitHub's.
        func named(_ builder: String) -> String {
            builder.utf8.elementsEqual(runner.utf8) ? "\(runner)/github-hosted" : builder
        }
        if let builderID {
            guard let stated, named(stated).utf8.elementsEqual(named(builderID).utf8) else {
                throw SigstoreError(
                    .wrongBuilder, "expected the builder \(builderID), the provenance says \(stated ?? "nothing")",
                    advice: "do not use it, unless it is built in another way than you think")
            }
        }
        // What the provenance says of the machine, the certificate has to say too; the first ones say nothing.
        guard let stated, named(stated).utf8.starts(with: "\(runner)/".utf8) else { return }
        let claimed = try claims.value(.runnerEnvironment)
        if claimed == nil, stated.utf8.elementsEqual(runner.utf8) { return }
        guard let claimed, named(stated).utf8.elementsEqual("\(runner)/\(claimed)".utf8) else {
            throw SigstoreError(
                .wrongBuilder,
                "the provenance says the builder \(stated), the certificate a machine that is \(claimed ?? "not named")",
                advice: "do not use it")
        }
    }
}

extension SigstoreError.Code {
    /// An attestation that the ecosystem's rules demand is not there.
    public static let noProvenance = Self("no-provenance")
    /// The attestation of a registry is by a key that is not known, or names none.
    public static let unknownRegistryKey = Self("unknown-registry-key")
    /// The registry's key did not count when it signed.
    public static let registryKeyExpired = Self("registry-key-expired")
    /// Attestations about one thing contradict each other, or themselves.
    public static let attestationsDisagree = Self("attestations-disagree")
    /// Another builder made it than was asked for or is trusted, or than the provenance names.
    public static let wrongBuilder = Self("wrong-builder")
}
