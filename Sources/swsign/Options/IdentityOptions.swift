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

    var isStated: Bool {
        !identities.isEmpty || !identityPatterns.isEmpty || !issuers.isEmpty || !issuerPatterns.isEmpty
            || [workflowTrigger, workflowSHA, workflowName, workflowRepository, workflowRef].contains { !$0.isEmpty }
    }

    /// The identities of which any may have signed.
    func certificateIdentities() throws(SigstoreError) -> [CertificateIdentity] {
        let subjects = try Self.patterns(identities, identityPatterns)
        let issuers = try Self.patterns(issuers, issuerPatterns)
        guard !subjects.isEmpty, !issuers.isEmpty else {
            let missing = subjects.isEmpty ? "--certificate-identity" : "--certificate-oidc-issuer"
            throw SigstoreError(
                .usage, "nothing says who must have signed: \(missing) (or \(missing)-regexp) is missing",
                advice: "give --certificate-identity and --certificate-oidc-issuer, or a public key with --key")
        }
        var all: [CertificateIdentity] = []
        for subject in subjects {
            for issuer in issuers {
                var identity = CertificateIdentity(subject: subject, issuer: issuer)
                identity.githubWorkflowTrigger = workflowTrigger
                identity.githubWorkflowSHA = workflowSHA
                identity.githubWorkflowName = workflowName
                identity.githubWorkflowRepository = workflowRepository
                identity.githubWorkflowRef = workflowRef
                all.append(identity)
            }
        }
        return all
    }

    /// Any of the texts; any of the expressions; if both are given, one of each must hold.
    private static func patterns(_ texts: [String], _ expressions: [String]) throws(SigstoreError)
        -> [CertificateIdentity.Pattern]
    {
        guard texts.allSatisfy({ !$0.isEmpty }) else {
            throw SigstoreError(.usage, "an identity or issuer that must have signed is empty")
        }
        let exact = texts.map { CertificateIdentity.Pattern.exactly($0) }
        var matching: [CertificateIdentity.Pattern] = []
        for expression in expressions { matching.append(.matching(try IdentityPattern(expression))) }
        if exact.isEmpty { return matching }
        if matching.isEmpty { return exact }
        return exact.flatMap { text in matching.map { .all([text, $0]) } }
    }
}
