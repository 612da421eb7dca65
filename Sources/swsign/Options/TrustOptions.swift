import ArgumentParser
import LocalSystem
import SigstoreClients
import SigstoreCrypto
import SigstoreVerification
import StrictJSON
import SwSignCore
import Synchronization

/// The flags and variables that say which authorities and logs are believed.
struct TrustOptions: ParsableArguments {
    @Option(
        name: .customLong("trusted-root"),
        help:
            "A trusted root file, or several roots, one a line, of which the one counts that the certificate leads to; without it, the public Sigstore instance's."
    )
    var trustedRoot: String?
    @Flag(help: "Believe the public instance's staging, which is for rehearsals only.")
    var staging = false
    @Option(name: .customLong("ca-roots"), help: "Root certificates that signing certificates must lead to, in PEM.")
    var caRoots: String?
    @Option(name: .customLong("ca-intermediates"), help: "Intermediate certificates for --ca-roots, in PEM.")
    var caIntermediates: String?
    @Option(
        name: .customLong("certificate-chain"), help: "The chain of the signing certificate, its root last, in PEM.")
    var certificateChain: String?
    @Option(
        name: .customLong("timestamp-certificate-chain"),
        help: "The timestamp authority's certificates with its root, in PEM.")
    var timestampCertificateChain: String?

    /// Whether the person said anything about whom to believe.
    func isStated(_ context: Context) -> Bool { sources(context).isStated }

    /// Puts together what is believed.
    /// - Parameter offline: Whether the network may not be used.
    func trust(offline: Bool, _ context: Context) throws(SigstoreError) -> TrustedRoot {
        try sources(context).trustedRoot(offline: offline)
    }

    /// When the trusted root was last brought up to date, as far as that is known.
    func time(_ context: Context) -> Instant? { try? sources(context).instance().trustedRootTime() }

    func sources(_ context: Context) -> TrustSources {
        TrustSources(
            trustedRoot: trustedRoot, staging: staging, caRoots: caRoots, caIntermediates: caIntermediates,
            certificateChain: certificateChain, timestampCertificateChain: timestampCertificateChain,
            context: context)
    }
}

/// Where what is believed comes from: flags, variables, and else the trusted root of a Sigstore instance, kept current
/// over TUF.
struct TrustSources {
    var trustedRoot: String?
    var staging = false
    var caRoots: String?
    var caIntermediates: String?
    var certificateChain: String?
    var timestampCertificateChain: String?
    let context: Context

    private static let limit = 1 << 24

    /// Whether the person said anything about whom to believe.
    var isStated: Bool {
        trustedRoot != nil || staging || caRoots != nil || certificateChain != nil || timestampCertificateChain != nil
            || Self.variables.contains { variable($0) != nil }
    }

    /// Whether authorities and logs were all given one by one, so that no other root is needed.
    var isComplete: Bool {
        (caRoots ?? certificateChain ?? variable("SIGSTORE_ROOT_FILE")) != nil
            && variable("SIGSTORE_REKOR_PUBLIC_KEY") != nil && variable("SIGSTORE_CT_LOG_PUBLIC_KEY_FILE") != nil
    }

    private static let variables = [
        "SIGSTORE_ROOT_FILE", "SIGSTORE_CT_LOG_PUBLIC_KEY_FILE", "SIGSTORE_REKOR_PUBLIC_KEY",
        "SIGSTORE_TSA_CERTIFICATE_FILE",
    ]

    /// The instance that is believed: its trusted root, in which each part that was given by itself replaces its own.
    /// The variables are not looked at beside `--trusted-root`, as in cosign.
    func instance() throws(SigstoreError) -> SigstoreInstance {
        guard caRoots == nil || certificateChain == nil else {
            throw SigstoreError(.usage, "--ca-roots and --certificate-chain cannot be given together")
        }
        guard caIntermediates == nil || caRoots != nil else {
            throw SigstoreError(.usage, "--ca-intermediates needs --ca-roots")
        }
        var instance = try TUFAccess(staging: staging, context).instance()
        if let trustedRoot { instance.trustedRootSource = .file(trustedRoot) }
        if let certificateChain {
            instance.trust.certificateAuthorities = [try Self.authority(certificateChain, .last)]
        } else if let caRoots {
            var authority = try Self.authority(caRoots, .all)
            if let caIntermediates {
                authority.intermediates += try Self.read(caIntermediates) { content throws(SigstoreError) in
                    try Certificate.chain(pem: content)
                }
            }
            instance.trust.certificateAuthorities = [authority]
        } else if let file = variable("SIGSTORE_ROOT_FILE") {
            instance.trust.certificateAuthorities = [try Self.authority(file)]
        }
        if let file = timestampCertificateChain ?? variable("SIGSTORE_TSA_CERTIFICATE_FILE") {
            instance.trust.timestampAuthorities = [try Self.authority(file)]
        }
        if let file = variable("SIGSTORE_CT_LOG_PUBLIC_KEY_FILE") {
            instance.trust.certificateTransparencyLogs = [try Self.log(file)]
        }
        if let file = variable("SIGSTORE_REKOR_PUBLIC_KEY") {
            instance.trust.transparencyLogs = [try Self.log(file)]
        }
        return instance
    }

    /// Puts together what is believed.
    /// - Parameter offline: Whether the network may not be used.
    func trustedRoot(offline: Bool) throws(SigstoreError) -> TrustedRoot {
        let instance = try instance()
        return try waiting { () throws(SigstoreError) in try await instance.trustedRoot(offline: offline) }
    }

    /// What is believed of what GitHub attests: also the instance that it has for private repositories, if this machine was set up
    /// for it and nothing else is named. Which of the two counts, a certificate's issuer says.
    /// - Parameter offline: Whether the network may not be used.
    func gitHubTrustedRoot(offline: Bool) throws(SigstoreError) -> TrustedRoot {
        let root = try trustedRoot(offline: offline)
        let environment = context.environment.all
        guard !isStated,
            try TUFMirror.resolve(environment: environment).url.utf8.elementsEqual(TUFMirror.production.url.utf8)
        else { return root }
        var instance = try TUFAccess(staging: false, context).instance()
        do throws(SigstoreError) {
            instance.repository = .mirror(try TUFMirror.resolve(url: Self.gitHubMirror, environment: environment))
        } catch {
            guard error.code == .tufNoRoot else { throw error }
            return root
        }
        do throws(SigstoreError) {
            let own = try waiting { [instance] () throws(SigstoreError) in
                try await instance.trustedRoot(offline: offline)
            }
            return TrustedRoot(joining: [root, own])
        } catch {
            // What the public instance vouches for holds without it; what its own does is refused for want of a root.
            context.output.warn("without the trusted root of GitHub's own instance: \(error.message)")
            return root
        }
    }

    private static let gitHubMirror = "https://tuf-repo.github.com"

    /// The variables that had a part in that, besides those that gave a flag.
    var variables: [String] {
        guard trustedRoot == nil else { return [] }
        var names = Self.variables.filter { variable($0) != nil }
        if caRoots != nil || certificateChain != nil { names.removeAll { $0 == "SIGSTORE_ROOT_FILE" } }
        if timestampCertificateChain != nil { names.removeAll { $0 == "SIGSTORE_TSA_CERTIFICATE_FILE" } }
        return isComplete ? names : names + TUFAccess(staging: staging, context).variables
    }

    private func variable(_ name: String) -> String? {
        trustedRoot == nil ? context.environment.value(name) : nil
    }

    private static func authority(_ path: String, _ anchoring: TrustedRoot.Authority.Anchoring = .selfIssued)
        throws(SigstoreError) -> TrustedRoot.Authority
    {
        try read(path) { content throws(SigstoreError) in
            try TrustedRoot.Authority(certificates: try Certificate.chain(pem: content), anchoring: anchoring)
        }
    }

    private static func log(_ path: String) throws(SigstoreError) -> TrustedRoot.Log {
        try read(path) { content throws(SigstoreError) in try TrustedRoot.Log(publicKey: try PublicKey(file: content)) }
    }

    private static func read<T>(_ path: String, _ parse: ([UInt8]) throws(SigstoreError) -> T) throws(SigstoreError)
        -> T
    {
        let file = InputFile(path)
        let content = try file.contents(limit: limit)
        do throws(SigstoreError) { return try parse(content) } catch { throw error.concerning(file.name) }
    }
}

/// The variables of the environment that say whom to believe in this run. Nobody sees them on the command line, so every
/// command that verifies names them, and so does one that decides who is believed later.
final class TrustVariables: Sendable {
    /// The flags that say who is believed to vouch for signers, and who must have signed. Those that weaken a check are not
    /// among them: each warns by itself.
    private static let flags = [
        "trusted-root", "staging", "ca-roots", "ca-intermediates", "certificate-chain", "timestamp-certificate-chain",
        "key", "sk", "slot", "certificate-identity", "certificate-identity-regexp", "certificate-oidc-issuer",
        "certificate-oidc-issuer-regexp", "certificate-github-workflow-name", "certificate-github-workflow-ref",
        "certificate-github-workflow-repository", "certificate-github-workflow-sha",
        "certificate-github-workflow-trigger", "certificate-claim", "signer", "signers", "threshold",
        "former-key", "former-signer",
        // Those of `verify-provenance`.
        "repo", "owner", "hostname", "signer-repo", "signer-workflow", "signer-digest", "source-ref", "source-digest",
        "repository", "package", "package-version", "npm-keys", "source-uri", "builder-id", "source-branch",
        "source-tag",
        "source-versioned-tag", "build-workflow-input", "verifier-id", "resource-uri", "verified-level", "channel",
        // Those of `git verify`.
        "allowed-signers", "gpg-key", "rules",
        // Those of `initialize` and `trusted-root create`.
        "mirror", "root", "fulcio", "ctfe", "rekor", "tsa", "ctfe-key", "rekor-key",
    ]
    private let given: [String]
    private let output: Output
    private let isSaid = Mutex(false)

    /// - Parameter given: The flags that the environment gave.
    init(_ given: [(flag: String, variable: String)], _ output: Output) {
        self.given = given.filter { Self.flags.contains($0.flag) }.map(\.variable)
        self.output = output
    }

    /// The variables that count, and says on standard error, once, which they are.
    /// - Parameter others: Those that count besides the ones that gave a flag.
    @discardableResult
    func named(_ others: [String]) -> [String] {
        let names = given + others
        let isFirst = isSaid.withLock { isSaid in
            defer { isSaid = true }
            return !isSaid
        }
        if !names.isEmpty, isFirst {
            output.note("The environment says whom to believe: \(names.joined(separator: ", "))")
        }
        return names
    }

    /// The member of JSON output that lists them.
    static func member(_ names: [String]) -> (name: String, value: JSONValue) {
        ("trustVariables", .array(names.map { .string($0) }))
    }
}

extension TrustOptions: FlagReader {
    mutating func take(_ given: inout GivenFlags) {
        trustedRoot = given.value("trusted-root")
        staging = given.isOn("staging")
        caRoots = given.value("ca-roots")
        caIntermediates = given.value("ca-intermediates")
        certificateChain = given.value("certificate-chain")
        timestampCertificateChain = given.value("timestamp-certificate-chain")
    }
}
