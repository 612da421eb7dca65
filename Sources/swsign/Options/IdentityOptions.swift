import ArgumentParser
import SigstoreVerification
import StrictJSON
import SwSignCore

/// The flags that say who must have signed, if it was not the owner of a key.
struct IdentityOptions: ParsableArguments {
    @Option(
        name: .customLong("certificate-identity"),
        help: "The identity in the certificate. May be repeated: any of these.")
    var identities: [String] = []
    @Option(
        name: .customLong("certificate-identity-regexp"),
        help: "A regular expression (RE2, unanchored) that the identity must match. May be repeated: any of these.")
    var identityPatterns: [String] = []
    @Option(
        name: .customLong("certificate-oidc-issuer"),
        help: "The issuer of the identity token. May be repeated: any of these.")
    var issuers: [String] = []
    @Option(
        name: .customLong("certificate-oidc-issuer-regexp"),
        help: "A regular expression (RE2, unanchored) that the issuer must match. May be repeated: any of these.")
    var issuerPatterns: [String] = []
    @Option(
        name: .customLong("certificate-github-workflow-trigger"),
        help: "What triggered the GitHub workflow. Like those below, it may be repeated: any of these.")
    var workflowTrigger: [String] = []
    @Option(name: .customLong("certificate-github-workflow-sha"), help: "The commit that the GitHub workflow ran for.")
    var workflowSHA: [String] = []
    @Option(name: .customLong("certificate-github-workflow-name"), help: "The name of the GitHub workflow.")
    var workflowName: [String] = []
    @Option(name: .customLong("certificate-github-workflow-repository"), help: "The repository of the GitHub workflow.")
    var workflowRepository: [String] = []
    @Option(name: .customLong("certificate-github-workflow-ref"), help: "The ref that the GitHub workflow ran for.")
    var workflowRef: [String] = []
    @Option(
        name: .customLong("certificate-claim"),
        help:
            "What else the certificate must say, as NAME=VALUE, such as runnerEnvironment=github-hosted. May be repeated: all of these, and of one name any of its values."
    )
    var claims: [String] = []
    @Option(
        name: .customLong("signer"),
        help:
            "A signer, as identity=…,issuer=…[,NAME=VALUE…]; also identity-regexp and issuer-regexp. May be repeated: any of these."
    )
    var signerTexts: [String] = []
    @Option(name: .customLong("signers"), help: "A file of signers, one a line as in --signer; # begins a comment.")
    var signerFiles: [String] = []

    /// Whether a flag says of all certificates together what they must show.
    var isStated: Bool {
        !identities.isEmpty || !identityPatterns.isEmpty || !issuers.isEmpty || !issuerPatterns.isEmpty
            || [workflowTrigger, workflowSHA, workflowName, workflowRepository, workflowRef, claims].contains {
                !$0.isEmpty
            }
    }

    /// Whether signers are named one by one.
    var namesSigners: Bool { !signerTexts.isEmpty || !signerFiles.isEmpty }

    /// How many signers these flags name, but for those in files.
    var count: Int {
        guard isStated else { return signerTexts.count }
        return identities.isEmpty ? identityPatterns.count : identities.count
    }

    /// The signers, each with the identities that are theirs: of a signer with several issuers, one for each.
    func signers() throws(SigstoreError) -> [[CertificateIdentity]] {
        guard namesSigners else { return try certificateIdentities() }
        guard !isStated else {
            throw SigstoreError(
                .usage, "--signer and flags that begin with --certificate cannot be given together",
                advice: "name each signer with --signer identity=…,issuer=…[,NAME=VALUE…]")
        }
        var named: [SignerFlag] = []
        for text in signerTexts {
            do throws(SigstoreError) { named.append(try SignerFlag(text)) } catch {
                throw error.concerning("--signer \(text)")
            }
        }
        for file in signerFiles { named += try SignerFlag.file(InputFile(file)) }
        var different: [SignerFlag] = []
        for signer in named where !different.contains(where: { $0.isSame(as: signer) }) { different.append(signer) }
        return different.map { [$0.identity] }
    }

    /// The signers by the flags that say of all certificates together what they must show.
    private func certificateIdentities() throws(SigstoreError) -> [[CertificateIdentity]] {
        let subjects = try Self.patterns(identities, identityPatterns)
        let issuers = try Self.patterns(issuers, issuerPatterns)
        guard !subjects.isEmpty, !issuers.isEmpty else {
            let missing = subjects.isEmpty ? "--certificate-identity" : "--certificate-oidc-issuer"
            throw SigstoreError(
                .usage, "nothing says who must have signed: \(missing) (or \(missing)-regexp) is missing",
                advice: "give --certificate-identity and --certificate-oidc-issuer, or a public key with --key")
        }
        guard subjects.count == 1 || issuers.count == 1 else {
            throw SigstoreError(
                .usage,
                "\(subjects.count) identities and \(issuers.count) issuers are given, and every identity would be accepted "
                    + "with every issuer",
                advice: "name each identity with its own issuer: --signer identity=…,issuer=… for each")
        }
        var demanded: [ClaimFlag] = []
        for claim in claims { demanded.append(try ClaimFlag(claim)) }
        let claims = try ClaimFlag.demanded(demanded, anyOf: true)
        return subjects.map { subject in
            issuers.map { issuer in
                var identity = CertificateIdentity(subject: subject, issuer: issuer)
                identity.githubWorkflowTrigger = workflowTrigger
                identity.githubWorkflowSHA = workflowSHA
                identity.githubWorkflowName = workflowName
                identity.githubWorkflowRepository = workflowRepository
                identity.githubWorkflowRef = workflowRef
                identity.claims = claims
                return identity
            }
        }
    }

    /// Any of the texts; any of the expressions; if both are given, one of each must hold.
    private static func patterns(_ texts: [String], _ expressions: [String]) throws(SigstoreError)
        -> [CertificateIdentity.Pattern]
    {
        guard texts.allSatisfy({ !$0.isEmpty }) else {
            throw SigstoreError(.usage, "an identity or issuer that must have signed is empty")
        }
        let exact = different(texts).map { CertificateIdentity.Pattern.exactly($0) }
        var matching: [CertificateIdentity.Pattern] = []
        for expression in different(expressions) { matching.append(.matching(try IdentityPattern(expression))) }
        if exact.isEmpty { return matching }
        if matching.isEmpty { return exact }
        return exact.map { .all([$0, matching.count == 1 ? matching[0] : .any(matching)]) }
    }

    /// Each text once, compared as bytes.
    private static func different(_ texts: [String]) -> [String] {
        var found: [String] = []
        for text in texts where !found.contains(where: { $0.utf8.elementsEqual(text.utf8) }) { found.append(text) }
        return found
    }
}

extension IdentityOptions: FlagReader {
    mutating func take(_ given: inout GivenFlags) {
        identities = given.values("certificate-identity")
        identityPatterns = given.values("certificate-identity-regexp")
        issuers = given.values("certificate-oidc-issuer")
        issuerPatterns = given.values("certificate-oidc-issuer-regexp")
        workflowTrigger = given.values("certificate-github-workflow-trigger")
        workflowSHA = given.values("certificate-github-workflow-sha")
        workflowName = given.values("certificate-github-workflow-name")
        workflowRepository = given.values("certificate-github-workflow-repository")
        workflowRef = given.values("certificate-github-workflow-ref")
        claims = given.values("certificate-claim")
        signerTexts = given.values("signer")
        signerFiles = given.values("signers")
    }
}
