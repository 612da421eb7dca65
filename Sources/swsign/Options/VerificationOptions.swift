import ArgumentParser
import SigstoreClients
import SigstoreCrypto
import SigstoreVerification
import StrictJSON
import SwSignCore

/// The flags that all verifying commands have, for files and for images.
struct VerificationOptions: ParsableArguments {
    @Option(help: "The public key: a file, env://NAME, or - for standard input.")
    var key: String?
    @Flag(
        name: .customLong("insecure-ignore-tlog"),
        help: "Do not demand an entry in a transparency log. Weakens the check.")
    var insecureIgnoreTlog = false
    @Flag(
        name: .customLong("private-infrastructure"),
        help: "The same, for signatures that were meant to be made without a log.")
    var privateInfrastructure = false
    @Flag(
        name: .customLong("insecure-ignore-sct"),
        help: "Do not demand that the certificate was recorded in a certificate transparency log. Weakens the check.")
    var insecureIgnoreSCT = false
    @Flag(name: .customLong("use-signed-timestamps"), help: "Demand a timestamp by a timestamp authority.")
    var useSignedTimestamps = false
    @Option(help: "A signed certificate timestamp that came beside the certificate, as JSON.")
    var sct: String?
    @Flag(help: "Use no network, but for an image that is in a registry: that one is asked, and nobody else.")
    var offline = false
    @Option(
        name: .customLong("rekor-url"),
        help: "Accepted as in cosign. A signature must bring its log entry with it; none is looked up.")
    var rekorURL: String?
    @Flag(
        name: .customLong("new-bundle-format"), inversion: .prefixedNo,
        help: "Accepted as in cosign; both forms of signatures are always read.")
    var newBundleFormat = true
    @Flag(name: .customLong("experimental-oci11"), help: "Accepted as in cosign; referrers are always read.")
    var experimentalOCI11 = false

    /// What must hold, warning of each check that is weaker than usual.
    /// - Parameters:
    ///   - identity: Who must have signed, if it was not the owner of a key.
    ///   - standardInputIsTaken: Whether something else is read from standard input.
    /// - Returns: The policy of the whole run.
    func policy(_ identity: IdentityOptions, standardInputIsTaken: Bool, _ context: Context) throws(SigstoreError)
        -> VerificationPolicy
    {
        let signedBy = try signedBy(identity, standardInputIsTaken: standardInputIsTaken)
        var logs = VerificationPolicy.TransparencyLogRule.required(threshold: 1)
        if insecureIgnoreTlog || privateInfrastructure {
            let flag = insecureIgnoreTlog ? "--insecure-ignore-tlog" : "--private-infrastructure"
            context.output.warn(
                "log entries are not demanded: nothing shows that the signature was made in public (\(flag))")
            logs = .insecurelyIgnored
        }
        if insecureIgnoreSCT {
            context.output.warn("nothing shows that the certificate was issued in public (--insecure-ignore-sct)")
        }
        var policy = VerificationPolicy(
            signedBy: signedBy, transparencyLog: logs,
            signedTimestamps: useSignedTimestamps ? .required(threshold: 1) : .whenPresent,
            certificateTransparency: insecureIgnoreSCT ? .insecurelyIgnored : .required)
        if let sct {
            let content = try InputFile(sct).contents(limit: 1 << 16)
            do throws(SigstoreError) {
                policy.detachedCertificateTimestamps = [try SignedCertificateTimestamp(detached: content)]
            } catch { throw error.concerning(sct) }
        }
        return policy
    }

    private func signedBy(_ identity: IdentityOptions, standardInputIsTaken: Bool) throws(SigstoreError)
        -> VerificationPolicy.SignedBy
    {
        guard let key else { return .identities(try identity.certificateIdentities()) }
        guard !identity.isStated else {
            throw SigstoreError(
                .usage, "a key and a certificate's identity cannot both be demanded",
                advice: "give --key, or --certificate-identity with --certificate-oidc-issuer")
        }
        let reference = try KeyReference(key)
        if reference.takesStandardInput && standardInputIsTaken {
            throw SigstoreError(.usage, "standard input (-) is named twice", advice: "name a file for one of the two")
        }
        return .key(try reference.readPublicKey())
    }

    /// A key without a log needs no authority, unless the person named one.
    private func needsNoRoot(_ trust: TrustOptions, _ context: Context) -> Bool {
        key != nil && (insecureIgnoreTlog || privateInfrastructure) && !useSignedTimestamps
            && !trust.isStated(context)
    }

    /// The variables of the environment that say whom to believe.
    @discardableResult
    func trustVariables(_ trust: TrustOptions, _ context: Context) -> [String] {
        context.trustVariables.named(needsNoRoot(trust, context) ? [] : trust.sources(context).variables)
    }

    /// The verifier to use. It is said which variables of the environment have a part in whom it believes.
    func verifier(_ trust: TrustOptions, _ context: Context) throws(SigstoreError) -> Verifier {
        trustVariables(trust, context)
        if needsNoRoot(trust, context) { return Verifier(trustedRoot: nil, now: context.now) }
        let root = try TUFAccess.advising("try again later, or go on with what was verified before by --offline") {
            () throws(SigstoreError) in try trust.trust(offline: offline, context)
        }
        return Verifier(trustedRoot: root, now: context.now)
    }
}

/// How results are printed.
enum OutputFormat: String, ExpressibleByArgument, CaseIterable { case text, json }
