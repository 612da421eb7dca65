public import SigstoreCrypto
public import StrictJSON

/// What a Fulcio certificate says of its signer beside the name: who issued the identity token and, of a build, which
/// one it was (Fulcio's `oid-info.md`, 1.3.6.1.4.1.57264.1).
///
/// The values are text from outside, at most 64 KiB together. A value in another form than its number demands says
/// nothing: it is not listed, no pattern matches it, and ``value(_:)`` refuses it. It does no harm as long as nothing
/// asks for it.
public struct CertificateClaims: Sendable {
    private let certificate: Certificate

    /// Takes the claims of a certificate. They are worth as much as the certificate: see ``VerifiedBundle/claims`` for
    /// those that were verified.
    public init(_ certificate: Certificate) { self.certificate = certificate }

    /// The value of a claim; `nil` if the certificate does not make it, or not in the form that it must have.
    public subscript(name: Name) -> String? { try? value(name) }

    /// The value of a claim.
    /// - Returns: The text; `nil` if the certificate does not make the claim.
    /// - Throws: `SigstoreError` with `malformed-certificate` if the value is not in the form that
    ///   it must have: UTF-8 for the numbers 1 to 6, a DER UTF8String from 8 on.
    public func value(_ name: Name) throws(SigstoreError) -> String? {
        switch name.number {
        case 0: return nil
        case Name.userName.number: return userName
        default: return try certificate.fulcioExtension(name.number)
        }
    }

    /// The issuer of the identity token: ``Name/issuer``, or else ``Name/deprecatedIssuer``, which is older.
    /// - Throws: `SigstoreError` with `malformed-certificate`, as ``value(_:)`` does.
    public func issuer() throws(SigstoreError) -> String? {
        if let issuer = try value(.issuer) { return issuer }
        return try value(.deprecatedIssuer)
    }

    /// Every claim but the deprecated ones, in the order of their numbers; those without a name of their own too.
    public var values: [(name: Name, value: String)] {
        let user = userName.map { [(name: Name.userName, value: $0)] } ?? []
        return user + listed { $0 > Name.userName.number }
    }

    /// The deprecated claims, 1 to 6, in the order of their numbers.
    public var deprecatedValues: [(name: Name, value: String)] {
        listed { (1..<Name.userName.number).contains($0) }
    }

    private func listed(_ isListed: (UInt32) -> Bool) -> [(name: Name, value: String)] {
        certificate.fulcioExtensions.filter(isListed).compactMap { number in
            let name = Name(number: number)
            return self[name].map { (name: name, value: $0) }
        }
    }

    /// Number 7 is no extension: it is the kind of the certificate's subject alternative name.
    private var userName: String? {
        certificate.subjectAlternativeNames.lazy.compactMap { name -> String? in
            guard case .otherName(let kind, let text) = name,
                kind.utf8.elementsEqual(SubjectAlternativeName.fulcioUserName.utf8)
            else { return nil }
            return text
        }.first
    }
}

extension CertificateClaims {
    /// The name of a claim: the last number of its object identifier.
    public struct Name: Hashable, Sendable, CustomStringConvertible {
        /// N in 1.3.6.1.4.1.57264.1.N.
        public let number: UInt32

        /// Makes the name of a claim that may have no other yet.
        /// - Parameter number: N in 1.3.6.1.4.1.57264.1.N.
        public init(number: UInt32) { self.number = number }

        /// Reads a name.
        /// - Parameter text: As ``text`` writes it: `runnerEnvironment`, or the whole object identifier in dotted form.
        /// - Returns: `nil` for a name that is not known, and for the object identifier of something else.
        public init?(_ text: String) {
            if let known = Self.known.first(where: { $0.text.utf8.elementsEqual(text.utf8) }) {
                self = known.name
                return
            }
            let prefix = "\(Self.identifier)."
            guard text.utf8.starts(with: prefix.utf8), let number = UInt32(text.dropFirst(prefix.count)) else {
                return nil
            }
            self.init(number: number)
            // A number has one spelling.
            guard dotted.utf8.elementsEqual(text.utf8) else { return nil }
        }

        /// The identifier that all claims begin with.
        private static let identifier = "1.3.6.1.4.1.57264.1"
        private var dotted: String { "\(Self.identifier).\(number)" }

        /// The name for programs, such as `runnerEnvironment`; the object identifier in dotted form if there is no name.
        public var text: String { Self.known.first { $0.name == self }?.text ?? dotted }

        /// The name for people, such as `runner environment`; the object identifier if there is no name.
        public var description: String { Self.known.first { $0.name == self }?.words ?? dotted }

        /// The issuer of the identity token (`iss`), as certificates had it first: deprecated.
        public static let deprecatedIssuer = Name(number: 1)
        /// What triggered the GitHub workflow: deprecated.
        public static let githubWorkflowTrigger = Name(number: 2)
        /// The commit that the GitHub workflow ran for: deprecated.
        public static let githubWorkflowSHA = Name(number: 3)
        /// The name of the GitHub workflow: deprecated.
        public static let githubWorkflowName = Name(number: 4)
        /// The repository of the GitHub workflow, `owner/name`: deprecated.
        public static let githubWorkflowRepository = Name(number: 5)
        /// The ref that the GitHub workflow ran for: deprecated.
        public static let githubWorkflowRef = Name(number: 6)
        /// The name of a user without an email address: the certificate's subject alternative name itself.
        public static let userName = Name(number: 7)
        /// The issuer of the identity token (`iss`).
        public static let issuer = Name(number: 8)
        /// The build instructions that signed, such as a reusable workflow with its ref.
        public static let buildSignerURI = Name(number: 9)
        /// The version of the build instructions that signed, which cannot change.
        public static let buildSignerDigest = Name(number: 10)
        /// Whether the platform or its customer owns the machine that built: `github-hosted`, `self-hosted`.
        public static let runnerEnvironment = Name(number: 11)
        /// The repository that was built.
        public static let sourceRepositoryURI = Name(number: 12)
        /// The commit that was built.
        public static let sourceRepositoryDigest = Name(number: 13)
        /// The branch or tag that was built.
        public static let sourceRepositoryRef = Name(number: 14)
        /// The repository's identifier, which stays when it is renamed.
        public static let sourceRepositoryIdentifier = Name(number: 15)
        /// The owner of the repository.
        public static let sourceRepositoryOwnerURI = Name(number: 16)
        /// The owner's identifier, which stays when the owner is renamed.
        public static let sourceRepositoryOwnerIdentifier = Name(number: 17)
        /// The build instructions that the build began with.
        public static let buildConfigURI = Name(number: 18)
        /// The version of the build instructions that the build began with, which cannot change.
        public static let buildConfigDigest = Name(number: 19)
        /// What triggered the build.
        public static let buildTrigger = Name(number: 20)
        /// The run of the build.
        public static let runInvocationURI = Name(number: 21)
        /// Whether the repository was public or private when the certificate was issued.
        public static let sourceRepositoryVisibilityAtSigning = Name(number: 22)
        /// The environment that the build deploys to.
        public static let deploymentEnvironment = Name(number: 23)
        /// The subject of the identity token (`sub`).
        public static let tokenSubject = Name(number: 24)

        private static let known: [(name: Name, text: String, words: String)] = [
            (deprecatedIssuer, "deprecatedIssuer", "deprecated issuer"),
            (githubWorkflowTrigger, "githubWorkflowTrigger", "GitHub workflow trigger"),
            (githubWorkflowSHA, "githubWorkflowSHA", "GitHub workflow sha"),
            (githubWorkflowName, "githubWorkflowName", "GitHub workflow name"),
            (githubWorkflowRepository, "githubWorkflowRepository", "GitHub workflow repository"),
            (githubWorkflowRef, "githubWorkflowRef", "GitHub workflow ref"),
            (userName, "userName", "user name"),
            (issuer, "issuer", "issuer"),
            (buildSignerURI, "buildSignerURI", "build signer URI"),
            (buildSignerDigest, "buildSignerDigest", "build signer digest"),
            (runnerEnvironment, "runnerEnvironment", "runner environment"),
            (sourceRepositoryURI, "sourceRepositoryURI", "source repository URI"),
            (sourceRepositoryDigest, "sourceRepositoryDigest", "source repository digest"),
            (sourceRepositoryRef, "sourceRepositoryRef", "source repository ref"),
            (sourceRepositoryIdentifier, "sourceRepositoryIdentifier", "source repository identifier"),
            (sourceRepositoryOwnerURI, "sourceRepositoryOwnerURI", "source repository owner URI"),
            (sourceRepositoryOwnerIdentifier, "sourceRepositoryOwnerIdentifier", "source repository owner identifier"),
            (buildConfigURI, "buildConfigURI", "build config URI"),
            (buildConfigDigest, "buildConfigDigest", "build config digest"),
            (buildTrigger, "buildTrigger", "build trigger"),
            (runInvocationURI, "runInvocationURI", "run invocation URI"),
            (
                sourceRepositoryVisibilityAtSigning, "sourceRepositoryVisibilityAtSigning",
                "source repository visibility at signing"
            ),
            (deploymentEnvironment, "deploymentEnvironment", "deployment environment"),
            (tokenSubject, "tokenSubject", "token subject"),
        ]
    }
}
