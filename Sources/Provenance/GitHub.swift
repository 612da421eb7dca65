internal import InToto
public import SigstoreCrypto
public import SigstoreVerification
public import StrictJSON

/// What must hold of a file that a workflow of GitHub attested: what `gh attestation verify` demands, with patterns that are closed.
public struct GitHubPolicy: Sendable {
    /// Whose workflow must have signed.
    public enum Signer: Sendable {
        /// One of the owner or repository that must have been built.
        case source
        /// One of this repository, `owner/name`.
        case repository(String)
        /// This one: `[host/]owner/name/.github/workflows/file`, of any version unless `@` and one follow.
        case workflow(String)
        /// Whatever certificate shows this name.
        case identity(CertificateIdentity.Pattern)
    }

    /// The type that the predicate must have, unless another is demanded.
    public static let defaultPredicateType = "https://slsa.dev/provenance/v1"
    /// GitHub's public host.
    public static let publicHost = "github.com"

    /// The host that builds and signs.
    public let host: String
    /// The owner of the repository that must have been built.
    private let owner: String
    /// The repository, `owner/name`; `nil` if any of the owner's will do.
    private let repository: String?
    private let subject: CertificateIdentity.Pattern
    /// Whether the name in the certificate was demanded as such, and not by a workflow.
    private let isByName: Bool
    /// The issuer of the identity token.
    public var issuer: String
    /// The type that the predicate must have.
    public var predicateType = Self.defaultPredicateType
    /// The branch or tag that must have been built, such as `refs/heads/main`.
    public var sourceRef: String?
    /// The commit that must have been built.
    public var sourceDigest: String?
    /// The commit of the workflow that must have signed.
    public var signerDigest: String?
    /// Whether only GitHub's own machines may have built.
    public var deniesSelfHosted = false
    /// The algorithm by which the statement must name the file; `nil` if any will do.
    public var algorithm: HashAlgorithm?

    /// Makes a policy.
    /// - Parameters:
    ///   - owner: The owner; `nil` if the repository says it.
    ///   - repository: The repository, `owner/name`.
    ///   - signer: Whose workflow must have signed.
    ///   - host: `github.com`, or `NAME.ghe.com` of an enterprise that GitHub hosts apart.
    /// - Throws: `SigstoreError` with `wrong-source` if one of them is no name that GitHub gives, or none is given.
    public init(
        owner: String? = nil, repository: String? = nil, signer: Signer = .source, host: String = Self.publicHost
    ) throws(SigstoreError) {
        let isPublic = host.utf8.elementsEqual(Self.publicHost.utf8)
        guard isPublic || Self.isTenant(host) else {
            throw SigstoreError(
                .wrongSource, "\"\(host)\" is no host of GitHub's that attests what it builds",
                advice:
                    "write it as github.com, or NAME.ghe.com in small letters; a GitHub Enterprise Server attests nothing"
            )
        }
        self.host = host
        issuer = "https://token.actions.\(isPublic ? "githubusercontent.com" : host)"
        let name = repository ?? owner ?? ""
        self.owner = try Self.parts(name, expected: repository == nil ? 1 : 2, at: host).first ?? ""
        self.repository = repository
        isByName = if case .identity = signer { true } else { false }
        switch signer {
        case .source: subject = .matching(try IdentityPattern("^(?i:https://\(Self.quoted("\(host)/\(name)")))/"))
        case .repository(let signer):
            _ = try Self.parts(signer, expected: 2, at: host)
            subject = .matching(try IdentityPattern("^(?i:https://\(Self.quoted("\(host)/\(signer)")))/"))
        case .workflow(let workflow): subject = try Self.pattern(of: workflow, at: host)
        case .identity(let pattern): subject = pattern
        }
    }

    /// Whether it is the host of an enterprise that GitHub hosts apart.
    private static func isTenant(_ host: String) -> Bool {
        let parts = host.utf8.split(separator: 0x2e, maxSplits: 1, omittingEmptySubsequences: false)
        return parts.count == 2 && parts.last?.elementsEqual("ghe.com".utf8) == true && parts.first?.isEmpty == false
            && parts.first?.allSatisfy {
                (0x30...0x39).contains($0) || (0x61...0x7a).contains($0) || $0 == 0x2d
            } == true
    }

    /// The pattern of a workflow: whatever it is called, nothing may stand before or behind it but a version.
    private static func pattern(of workflow: String, at host: String) throws(SigstoreError)
        -> CertificateIdentity.Pattern
    {
        let named = workflow.utf8.split(separator: 0x40, maxSplits: 1, omittingEmptySubsequences: false)
            .map { String(decoding: $0, as: UTF8.self) }
        var path = named.first ?? ""
        if path.utf8.starts(with: "https://".utf8) { path = String(decoding: path.utf8.dropFirst(8), as: UTF8.self) }
        if path.utf8.starts(with: "\(host)/".utf8) {
            path = String(decoding: path.utf8.dropFirst(host.utf8.count + 1), as: UTF8.self)
        }
        let parts = path.utf8.split(separator: 0x2f, omittingEmptySubsequences: false).map {
            String(decoding: $0, as: UTF8.self)
        }
        guard parts.count >= 3, path.utf8.contains(0x2f), parts.allSatisfy({ !$0.isEmpty }),
            named.allSatisfy({ !$0.isEmpty && $0.utf8.allSatisfy { $0 > 0x20 && $0 < 0x7f } })
        else {
            throw SigstoreError(
                .wrongSource, "\"\(workflow)\" is no workflow at \(host)",
                advice: "write it as OWNER/NAME/.github/workflows/FILE")
        }
        let repository = "(?i:https://\(quoted("\(host)/\(parts.prefix(2).joined(separator: "/"))")))"
        let file = quoted(parts.dropFirst(2).joined(separator: "/"))
        let version = named.count > 1 ? "\(quoted(named[1]))$" : ""
        return .matching(try IdentityPattern("^\(repository)/\(file)@\(version)"))
    }

    private static func parts(_ name: String, expected: Int, at host: String) throws(SigstoreError) -> [String] {
        let parts = name.utf8.split(separator: 0x2f, omittingEmptySubsequences: false)
        let isName = parts.allSatisfy { part in
            !part.isEmpty && !part.elementsEqual(".".utf8) && !part.elementsEqual("..".utf8)
                && part.allSatisfy {
                    (0x30...0x39).contains($0) || (0x41...0x5a).contains($0) || (0x61...0x7a).contains($0)
                        || [0x2d, 0x2e, 0x5f].contains($0)
                }
        }
        guard parts.count == expected, isName else {
            throw SigstoreError(
                .wrongSource, "\"\(name)\" is no \(expected == 1 ? "owner" : "repository") at \(host)",
                advice: expected == 1 ? "write it as OWNER" : "write it as OWNER/NAME")
        }
        return parts.map { String(decoding: $0, as: UTF8.self) }
    }

    /// A text as a regular expression that matches it alone.
    private static func quoted(_ text: String) -> String {
        var quoted: [UInt8] = []
        for byte in text.utf8 {
            let isPlain =
                (0x30...0x39).contains(byte) || (0x41...0x5a).contains(byte) || (0x61...0x7a).contains(byte)
                || byte == 0x2f || byte == 0x5f
            quoted += isPlain ? [byte] : [0x5c, byte]
        }
        return String(decoding: quoted, as: UTF8.self)
    }

    /// Where GitHub's API lists the attestations about a digest, without the digest: the places to ask, one after the other until
    /// one has some. They begin without a slash and end with one.
    public var places: [String] {
        if let repository { return ["repos/\(repository)/attestations/"] }
        return ["orgs/\(owner)/attestations/", "users/\(owner)/attestations/"]
    }

    /// Verifies a file: those of its attestations that do not hold are passed over, and one must hold.
    /// - Parameters:
    ///   - file: The file.
    ///   - document: Its attestations.
    ///   - verifier: The verifier.
    ///   - workers: How attestations are verified.
    ///   - known: What is known of this document's attestations already, if several files are about it.
    /// - Returns: What is known, with every attestation that holds.
    /// - Throws: `SigstoreError` of the attestation that came furthest, with why each of the others does not hold.
    public func verify(
        _ file: any ArtifactSource, _ document: AttestationDocument, with verifier: Verifier,
        by workers: Workers = .one, knowing known: KnownAttestations? = nil
    ) throws(SigstoreError) -> VerifiedProvenance {
        let identity = try identity()
        let held = try document.held(
            about: file, namedBy: algorithm, as: PredicateType(uri: predicateType),
            VerificationPolicy(signedBy: .identities([identity])), with: verifier, by: workers,
            knowing: known, check)
        return VerifiedProvenance(.github, held, [])
    }

    /// The identity that must have signed; unless it was demanded by its name, ``check(_:)`` says which workflow.
    func identity() throws(SigstoreError) -> CertificateIdentity {
        CertificateIdentity(
            subject: isByName ? subject : .matching(try IdentityPattern("^https://")), issuer: .exactly(issuer))
    }

    /// What the certificate says of the build.
    func check(_ verified: VerifiedBundle) throws(SigstoreError) {
        guard case .certificate(let name, _) = verified.signer, let claims = verified.claims else {
            throw SigstoreError(.wrongIdentity, "a key signed, and workflows sign with a certificate")
        }
        func expect(
            _ code: SigstoreError.Code, _ what: String, _ expected: String, _ claim: CertificateClaims.Name,
            anyCase: Bool = false
        ) throws(SigstoreError) {
            let found = try claims.value(claim)
            let holds = found.map {
                anyCase ? Self.sameInAnyCase($0, expected) : $0.utf8.elementsEqual(expected.utf8)
            }
            guard holds == true else {
                throw SigstoreError(
                    code, "expected the \(what) \(expected), the certificate says \(found ?? "nothing")",
                    advice: "do not use the file, unless that is what should have built it")
            }
        }
        // GitHub does not tell names apart by upper and lower case.
        try expect(
            .wrongSource, "owner", "https://\(host)/\(owner)", .sourceRepositoryOwnerURI, anyCase: true)
        if let repository {
            try expect(
                .wrongSource, "repository", "https://\(host)/\(repository)", .sourceRepositoryURI, anyCase: true)
        }
        guard subject.holds(for: name) else {
            throw SigstoreError(
                .wrongWorkflow, "expected a signer of the form \(subject.description), the certificate says \(name)",
                advice: "if another repository's workflow is to sign, say which: by its repository, or by its path")
        }
        if let sourceRef {
            let isTag = sourceRef.utf8.starts(with: "refs/tags/".utf8)
            try expect(
                isTag ? .wrongTag : .wrongBranch, isTag ? "tag" : "branch", sourceRef, .sourceRepositoryRef)
        }
        if let sourceDigest { try expect(.wrongCommit, "commit", sourceDigest, .sourceRepositoryDigest) }
        if let signerDigest { try expect(.wrongCommit, "workflow's commit", signerDigest, .buildSignerDigest) }
        if deniesSelfHosted { try expect(.wrongRunner, "machine", "github-hosted", .runnerEnvironment) }
    }

    private static func sameInAnyCase(_ one: String, _ other: String) -> Bool {
        func lower(_ byte: UInt8) -> UInt8 { (0x41...0x5a).contains(byte) ? byte + 0x20 : byte }
        return one.utf8.map(lower) == other.utf8.map(lower)
    }
}

extension SigstoreError.Code {
    /// Another branch was built than was asked for.
    public static let wrongBranch = Self("wrong-branch")
    /// Another tag was built than was asked for.
    public static let wrongTag = Self("wrong-tag")
    /// Another commit was built, or signed, than was asked for.
    public static let wrongCommit = Self("wrong-commit")
    /// Another kind of machine built it than was asked for.
    public static let wrongRunner = Self("wrong-runner")
}
