internal import InToto
internal import SigstoreCrypto
public import SigstoreVerification
public import StrictJSON

/// Who published, as a provenance object of PyPI states it (PEP 740, "Provenance objects"). Nothing proves it but a certificate
/// that says the same.
public struct PyPIPublisher: Sendable {
    /// The service, such as `GitHub`.
    public let kind: String
    /// The repository or project, without the service's address; `nil` if the publisher has none.
    public let repository: String?
    /// The workflow: of GitHub the name of a file, of GitLab its path.
    let workflow: String?
    /// The email address of a publisher of Google Cloud.
    let email: String?

    /// Reads a publisher. Members that its kind does not need are passed over, since every kind has its own.
    init(_ json: JSONCursor) throws(SigstoreError) {
        kind = try json.member("kind").string()
        func text(_ name: String) throws(SigstoreError) -> String? { try json.optional(name)?.string() }
        switch kind {
        case "GitHub":
            repository = try json.member("repository").string()
            workflow = try json.member("workflow").string()
            email = nil
        case "GitLab":
            repository = try json.member("repository").string()
            workflow = try json.member("workflow_filepath").string()
            email = nil
        case "Google":
            (repository, workflow) = (nil, nil)
            email = try json.member("email").string()
        default: (repository, workflow, email) = (nil, nil, nil)
        }
    }

    /// The publisher in words.
    public var description: String { "\(kind) \(repository ?? email ?? "")" }

    /// Whether the kind is known, so that the certificate is held to what the publisher says.
    fileprivate var isCompared: Bool { email != nil || service != nil }

    fileprivate var service: Service? { Service.all.first { $0.kind.utf8.elementsEqual(kind.utf8) } }

    /// A service that builds, and says so in certificates.
    fileprivate struct Service: Sendable {
        let kind: String
        /// The issuer of its identity tokens.
        let issuer: String
        /// What stands before a repository's name, and between it and a workflow.
        let (address, separator): (String, String)

        static let all = [
            Service(
                kind: "GitHub", issuer: "https://token.actions.githubusercontent.com",
                address: "https://github.com/", separator: "/.github/workflows/"),
            Service(kind: "GitLab", issuer: "https://gitlab.com", address: "https://gitlab.com/", separator: "//"),
        ]
    }
}

/// What must hold of a file from PyPI: file name, digest, one subject, predicate and publisher.
public struct PyPIPolicy: Sendable {
    /// Who must have published.
    public enum Publisher: Sendable {
        /// A workflow of this repository, by its address, such as `https://github.com/owner/name`.
        case repository(String)
        /// This identity, by this issuer, whatever kind of publisher it is.
        case identity(CertificateIdentity)
    }

    static let publishType = PredicateType(uri: "https://docs.pypi.org/attestations/publish/v1")
    private static let types = [publishType, PredicateType(uri: "https://slsa.dev/provenance/v1")]

    private let publisher: Publisher
    /// The service of the repository, and the repository's name there.
    private let expected: (service: PyPIPublisher.Service, name: String)?

    /// Makes a policy.
    /// - Throws: `SigstoreError` with `wrong-source` if a repository is given that is at no service that PyPI knows.
    public init(_ publisher: Publisher) throws(SigstoreError) {
        self.publisher = publisher
        guard case .repository(let address) = publisher else {
            expected = nil
            return
        }
        let service = PyPIPublisher.Service.all.first { address.utf8.starts(with: $0.address.utf8) }
        let name = service.map { String(decoding: address.utf8.dropFirst($0.address.utf8.count), as: UTF8.self) } ?? ""
        guard let service, name.utf8.contains(0x2f), !name.utf8.starts(with: "/".utf8), name.utf8.last != 0x2f else {
            throw SigstoreError(
                .wrongSource, "\"\(address)\" is no repository at GitHub or GitLab",
                advice: "write it as https://github.com/OWNER/NAME or https://gitlab.com/GROUP/NAME")
        }
        expected = (service, name)
    }

    /// The project and the version that a file of PyPI has in its name; the project as names are compared (PEP 503).
    /// - Parameter name: The file's name, without its folder.
    /// - Throws: `SigstoreError` with `wrong-package` if it is neither a wheel's nor a source distribution's.
    public static func release(of name: String) throws(SigstoreError) -> (project: String, version: String) {
        let name = try DistributionName(name)
        return (name.normalizedProject, name.version)
    }

    /// Verifies a file. Every attestation must hold.
    /// - Parameters:
    ///   - file: The file.
    ///   - name: The file's name, without its folder.
    ///   - document: Its attestations.
    ///   - verifier: The verifier.
    ///   - workers: How attestations are verified.
    /// - Throws: `SigstoreError` that says which attestation does not hold, and why.
    public func verify(
        _ file: any ArtifactSource, name: String, _ document: AttestationDocument, with verifier: Verifier,
        by workers: Workers = .one
    ) throws(SigstoreError) -> VerifiedProvenance {
        let expectedName = try DistributionName(name)
        let claim = BundleClaim.attestation(subject: .artifact(file, namedBy: .sha256), predicateType: nil).readOnce()
        let outcomes = workers.outcomes(document.attestations) { attestation throws(SigstoreError) in
            do throws(SigstoreError) { return try verify(claim, expectedName, attestation, with: verifier) } catch {
                throw attestation.bundle.place.map { error.concerning($0) } ?? error
            }
        }
        var held: [VerifiedBundle] = []
        for outcome in outcomes { held.append(try outcome.get()) }
        guard !held.isEmpty else {
            throw SigstoreError(
                .noBundle, "there is no attestation", advice: "get them from where the file was published")
        }
        // A publisher of a kind that is not known was compared with nothing, and is not repeated.
        let publisher = document.attestations.lazy.compactMap(\.publisher).first { $0.isCompared }
        return VerifiedProvenance(
            .pypi, held,
            [
                (.package, expectedName.project), (.version, expectedName.version),
                (.publisher, publisher?.description),
            ])
    }

    private func verify(
        _ claim: BundleClaim, _ name: DistributionName, _ attestation: PublishedAttestation, with verifier: Verifier
    ) throws(SigstoreError) -> VerifiedBundle {
        try checkStated(attestation.publisher)
        let identity: CertificateIdentity
        switch (publisher, expected) {
        case (.identity(let given), _): identity = given
        case (.repository, let expected?):
            // Which workflow it was, the publisher and the claims say below.
            identity = CertificateIdentity(
                subject: .matching(try IdentityPattern("^https://")), issuer: .exactly(expected.service.issuer))
        case (.repository, nil): throw SigstoreError(.wrongSource, "no repository was given")
        }
        let verified: VerifiedBundle
        do throws(RejectedBundle) {
            verified = try verifier.verify(
                attestation.bundle, claim, VerificationPolicy(signedBy: .identities([identity])))
        } catch { throw expected.flatMap { person(in: attestation.bundle, error, $0) } ?? error.explained }
        try checkStatement(verified.statement, name)
        guard case .certificate(let signer, let issuer) = verified.signer, let claims = verified.claims else {
            throw SigstoreError(.wrongPublisher, "a key signed, and publishers of PyPI sign with a certificate")
        }
        try checkSigner(signer, issuer: issuer, claims, attestation.publisher)
        return verified
    }

    /// If a workflow was expected, and the genuine certificate is a person's: the error that says so.
    private func person(
        in bundle: SigstoreBundle, _ rejected: RejectedBundle,
        _ expected: (service: PyPIPublisher.Service, name: String)
    ) -> SigstoreError? {
        guard rejected.step == .identity, case .certificates(let chain) = bundle.keyMaterial, let first = chain.first,
            let leaf = try? Certificate(der: first), case .email(let email)? = leaf.subjectAlternativeNames.first
        else { return nil }
        let issuer = (try? CertificateClaims(leaf).issuer()) ?? "unknown"
        return SigstoreError(
            .wrongPublisher,
            "expected a workflow of \(expected.service.kind) \(expected.name), a person has published: \(email) (issuer \(issuer))",
            advice:
                "do not use the file, unless that person may publish it: demand that identity then, and no repository",
            cause: rejected.error)
    }

    /// What the provenance states must be what was asked for. It is compared before anything is verified, and is no proof.
    private func checkStated(_ stated: PyPIPublisher?) throws(SigstoreError) {
        guard let stated, let expected else { return }
        guard stated.kind.utf8.elementsEqual(expected.service.kind.utf8),
            stated.repository?.utf8.elementsEqual(expected.name.utf8) == true
        else {
            throw SigstoreError(
                .wrongPublisher,
                "expected the publisher \(expected.service.kind) \(expected.name), the provenance states \(stated.description)",
                advice: "do not use the file, unless its project is at another place than you think")
        }
    }

    /// The certificate is by the service of the publisher, for its repository and workflow.
    func checkSigner(
        _ identity: String, issuer: String, _ claims: CertificateClaims, _ stated: PyPIPublisher?
    ) throws(SigstoreError) {
        func expect(_ found: String?, _ name: String, _ expected: [String]) throws(SigstoreError) {
            guard let found, expected.contains(where: { $0.utf8.elementsEqual(found.utf8) }) else {
                throw SigstoreError(
                    .wrongPublisher,
                    "expected \(name) \(expected.joined(separator: " or ")), the certificate says \(found ?? "nothing")",
                    advice: "do not use the file: another publisher signed it")
            }
        }
        if let email = stated?.email {
            try expect(issuer, "issuer", ["https://accounts.google.com"])
            return try expect(identity, "publisher", [email])
        }
        guard let service = expected?.service ?? stated?.service, let repository = expected?.name ?? stated?.repository
        else { return }
        let source = service.address + repository
        try expect(issuer, "issuer", [service.issuer])
        try expect(try claims.value(.sourceRepositoryURI), "source repository", [source])
        guard let workflow = stated?.workflow else { return }
        // A publisher knows neither commit nor branch, and the certificate names the workflow with one of both.
        var versions: [String] = []
        for name in [CertificateClaims.Name.sourceRepositoryDigest, .sourceRepositoryRef] {
            if let version = try claims.value(name) { versions.append(version) }
        }
        guard !versions.isEmpty else {
            throw SigstoreError(.wrongPublisher, "the certificate names neither a commit nor a branch or tag")
        }
        try expect(
            try claims.value(.buildConfigURI), "workflow",
            versions.map { "\(source)\(service.separator)\(workflow)@\($0)" })
    }

    /// The statement is about this one file, and says what PyPI knows.
    private func checkStatement(_ statement: Statement?, _ name: DistributionName) throws(SigstoreError) {
        guard let statement, statement.subjects.count == 1, let subject = statement.subjects.first?.name else {
            throw SigstoreError(
                .malformedProvenance,
                "the attestation is about \(statement?.subjects.count ?? 0) files, expected one, with a name")
        }
        let found: DistributionName
        do throws(SigstoreError) { found = try DistributionName(subject) } catch {
            throw SigstoreError(
                .wrongPackage, "the attestation is about \"\(subject)\": \(error.message)", cause: error)
        }
        try name.expectSame(as: found)
        guard let type = Self.types.first(where: { $0.matches(statement.predicateType) }) else {
            throw SigstoreError(
                .wrongPredicateType,
                "the attestation is of the type \(statement.predicateType.uri), expected "
                    + Self.types.map(\.uri).joined(separator: " or "))
        }
        guard type.matches(Self.publishType) else { return }
        switch statement.predicate {
        case .null: break
        case .object(let object) where object.members.isEmpty: break
        default:
            throw SigstoreError(
                .malformedProvenance, "an attestation of the type \(type.uri) says nothing more, and this one does")
        }
    }
}

/// The name of a file of PyPI: of a wheel (binary distribution format, "File name convention") or of a source distribution.
struct DistributionName: Sendable {
    /// The project's name as it is written, and as names are compared (PEP 503).
    let project, normalizedProject: String
    /// The version.
    let version: String
    /// What stands behind the version: the tags of a wheel, each set of them sorted, or the kind of archive.
    private let rest: [String]

    /// Reads a file's name.
    /// - Throws: `SigstoreError` with `wrong-package` if it is neither a wheel's nor a source distribution's.
    init(_ name: String) throws(SigstoreError) {
        func fault(_ what: String) -> SigstoreError {
            SigstoreError(
                .wrongPackage, "\"\(name)\" is no name of a wheel or source distribution: \(what)",
                advice: "give the file by the name that it has on PyPI")
        }
        let bytes = Array(name.utf8)
        guard bytes.count <= 1024, bytes.allSatisfy({ $0 > 0x20 && $0 < 0x7f && $0 != 0x2f && $0 != 0x5c }) else {
            throw fault("it is too long, or has other letters than such names")
        }
        func text(_ bytes: ArraySlice<UInt8>) -> String { String(decoding: bytes, as: UTF8.self) }
        let (project, version): (ArraySlice<UInt8>, ArraySlice<UInt8>)
        if name.hasSuffix(".whl") {
            let parts = bytes.dropLast(4).split(separator: 0x2d, omittingEmptySubsequences: false)
            guard parts.count == 5 || parts.count == 6, parts.allSatisfy({ !$0.isEmpty }) else {
                throw fault("it has \(parts.count) parts, expected 5 or 6")
            }
            (project, version) = (parts[0], parts[1])
            let build = parts.count == 6 ? [text(parts[2])] : []
            guard build.allSatisfy({ $0.utf8.first.map { (0x30...0x39).contains($0) } == true }) else {
                throw fault("its build number does not begin with a digit")
            }
            rest =
                build
                + parts.suffix(3).map { tags in tags.split(separator: 0x2e).map(text).sorted().joined(separator: ".") }
        } else {
            guard let ending = [".tar.gz", ".zip"].first(where: name.hasSuffix) else {
                throw fault("it ends with neither .whl nor .tar.gz nor .zip")
            }
            let stem = bytes.dropLast(ending.utf8.count)
            guard let dash = stem.lastIndex(of: 0x2d) else { throw fault("there is no version") }
            (project, version) = (stem[..<dash], stem[(dash + 1)...])
            rest = [ending]
        }
        guard !project.isEmpty, !version.isEmpty else { throw fault("name or version is empty") }
        (self.project, self.version) = (text(project), text(version))
        var normalized: [UInt8] = []
        for byte in text(project).lowercased().utf8 {
            let isSeparator = byte == 0x2d || byte == 0x5f || byte == 0x2e
            if !isSeparator { normalized.append(byte) } else if normalized.last != 0x2d { normalized.append(0x2d) }
        }
        normalizedProject = String(decoding: normalized, as: UTF8.self)
    }

    /// Compares the name of a file with that of an attestation's subject. Versions are compared as they are written.
    func expectSame(as found: DistributionName) throws(SigstoreError) {
        guard normalizedProject.utf8.elementsEqual(found.normalizedProject.utf8) else {
            throw SigstoreError(
                .wrongPackage, "the attestation is about another package: expected \(project), found \(found.project)",
                advice: "get the attestation that belongs to the file")
        }
        guard version.utf8.elementsEqual(found.version.utf8) else {
            throw SigstoreError(
                .wrongVersion,
                "the attestation is about another version of \(project): expected \(version), found \(found.version)",
                advice: "get the attestation that belongs to the file")
        }
        guard rest.elementsEqual(found.rest, by: { $0.utf8.elementsEqual($1.utf8) }) else {
            throw SigstoreError(
                .wrongPackage,
                "the attestation is about another file of \(project) \(version): expected "
                    + "\(rest.joined(separator: "-")), found \(found.rest.joined(separator: "-"))",
                advice: "get the attestation that belongs to the file")
        }
    }
}
