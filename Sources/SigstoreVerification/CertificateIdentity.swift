public import SigstoreCrypto
public import StrictJSON

/// An identity that a certificate must show. Each field that is given must hold by itself.
public struct CertificateIdentity: Sendable {
    /// How one field is compared.
    public enum Pattern: Sendable {
        /// Byte for byte, never by Unicode equivalence.
        case exactly(String)
        /// Matched anywhere in the field, as RE2 does it.
        case matching(IdentityPattern)
        /// Every one of these; none matches nothing.
        case all([Pattern])
        /// At least one of these; none matches nothing.
        case any([Pattern])

        /// Whether a text is as it should be.
        public func holds(for text: String) -> Bool {
            switch self {
            case .exactly(let expected): expected.utf8.elementsEqual(text.utf8)
            case .matching(let pattern): pattern.matches(text)
            case .all(let patterns): !patterns.isEmpty && patterns.allSatisfy { $0.holds(for: text) }
            case .any(let patterns): patterns.contains { $0.holds(for: text) }
            }
        }

        /// The pattern in words: the text itself, or the regular expression between slashes.
        public var description: String {
            switch self {
            case .exactly(let text): text
            case .matching(let pattern): "/\(pattern.source)/"
            case .all(let patterns): patterns.map(\.description).joined(separator: " and ")
            case .any(let patterns): patterns.map(\.description).joined(separator: " or ")
            }
        }
    }

    /// The certificate's subject alternative name.
    public var subject: Pattern
    /// The issuer of the identity token.
    public var issuer: Pattern
    /// What triggered the GitHub workflow (extension 1.3.6.1.4.1.57264.1.2): any of these; none is not compared.
    public var githubWorkflowTrigger: [String] = []
    /// The commit that the GitHub workflow ran for (extension 1.3.6.1.4.1.57264.1.3): any of these; none is not compared.
    public var githubWorkflowSHA: [String] = []
    /// The name of the GitHub workflow (extension 1.3.6.1.4.1.57264.1.4): any of these; none is not compared.
    public var githubWorkflowName: [String] = []
    /// The repository of the GitHub workflow (extension 1.3.6.1.4.1.57264.1.5): any of these; none is not compared.
    public var githubWorkflowRepository: [String] = []
    /// The ref that the GitHub workflow ran for (extension 1.3.6.1.4.1.57264.1.6): any of these; none is not compared.
    public var githubWorkflowRef: [String] = []
    /// What else the certificate must say, such as `.runnerEnvironment` with `.exactly("github-hosted")`. Each must hold,
    /// and a claim that the certificate does not make never does.
    public var claims: [(name: CertificateClaims.Name, pattern: Pattern)] = []

    /// Makes an identity; subject and issuer are both needed, since one without the other trusts a stranger.
    public init(subject: Pattern, issuer: Pattern) {
        self.subject = subject
        self.issuer = issuer
    }

    /// The subject and issuer by which a certificate shows this identity; `nil` if it shows another. Nothing is said of who
    /// issued the certificate.
    public func shown(by certificate: Certificate) throws(SigstoreError) -> (subject: String, issuer: String)? {
        let names = certificate.subjectAlternativeNames.compactMap(\.text)
        guard let name = names.first(where: { subject.holds(for: $0) }) else { return nil }
        let claims = CertificateClaims(certificate)
        guard let issuer = try claims.issuer(), self.issuer.holds(for: issuer) else { return nil }
        for (name, expected) in workflow + self.claims {
            guard let found = try claims.value(name), expected.holds(for: found) else { return nil }
        }
        return (name, issuer)
    }

    /// What is demanded of the GitHub workflow, as claims.
    var workflow: [(name: CertificateClaims.Name, pattern: Pattern)] {
        let fields: [(name: CertificateClaims.Name, values: [String])] = [
            (.githubWorkflowTrigger, githubWorkflowTrigger), (.githubWorkflowSHA, githubWorkflowSHA),
            (.githubWorkflowName, githubWorkflowName), (.githubWorkflowRepository, githubWorkflowRepository),
            (.githubWorkflowRef, githubWorkflowRef),
        ]
        return fields.filter { !$0.values.isEmpty }.map {
            (name: $0.name, pattern: .any($0.values.map { .exactly($0) }))
        }
    }
}
