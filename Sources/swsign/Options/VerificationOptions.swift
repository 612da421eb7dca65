import ArgumentParser
import SigstoreClients
import SigstoreCrypto
import SigstoreVerification
import StrictJSON
import SwSignCore

/// The flags that all verifying commands have, for files and for images.
struct VerificationOptions: ParsableArguments {
    @Option(
        name: .customLong("key"),
        help:
            "The public key: a file, env://NAME, - for standard input, or a key service's reference. May be repeated: any of these."
    )
    var keys: [String] = []
    @OptionGroup var securityKey: SecurityKeyOptions
    @Option(
        help:
            "How many of the keys and signers that are given must have signed: each counts once, whatever the number of signatures."
    )
    var threshold: Int?
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
        help:
            "The log in which the entry of a signature that comes without one is looked up, in place of those of the trusted root."
    )
    var rekorURL: String?
    @Flag(
        name: .customLong("allow-http-key"),
        help: "Let a public key come over plain HTTP from another machine, where it can be replaced on its way.")
    var allowHTTPKey = false
    @Flag(
        name: .customLong("new-bundle-format"), inversion: .prefixedNo,
        help: "Accepted as in cosign; signatures are read in both forms.")
    var newBundleFormat = true
    @Flag(name: .customLong("experimental-oci11"), help: "Accepted as in cosign; referrers are always read.")
    var experimentalOCI11 = false

    /// The keys that are named, by `--key` or by `--sk`.
    private func keys(_ context: Context) throws(SigstoreError) -> [String] {
        guard securityKey.isUsed || keys.isEmpty else {
            _ = try securityKey.key(or: nil, context)
            return keys
        }
        return try securityKey.key(or: keys.first, context).map { [$0] } ?? []
    }

    /// What must hold, warning of each check that is weaker than usual.
    /// - Parameters:
    ///   - identity: Who must have signed, if it was not the owner of a key.
    ///   - standardInputIsTaken: Whether something else is read from standard input.
    ///   - keysAreLogged: Whether signatures by keys have log entries, if nobody says otherwise.
    /// - Returns: Who must have signed, for the whole run.
    func signers(
        _ identity: IdentityOptions, standardInputIsTaken: Bool, keysAreLogged: Bool = true, _ context: Context
    ) throws(SigstoreError) -> DemandedSigners {
        let signedBy = try signedBy(identity, standardInputIsTaken: standardInputIsTaken, context)
        let rules = try rules(context)
        func policy(_ signedBy: VerificationPolicy.SignedBy) -> CombinedPolicy {
            var policy = rules
            policy.signedBy = signedBy
            if case .key = signedBy, !keysAreLogged { policy.transparencyLog = .insecurelyIgnored }
            return .policy(policy)
        }
        let policies = signedBy.map { $0.count == 1 ? policy($0[0]) : .anyOf($0.map(policy)) }
        return try DemandedSigners(policies, threshold: threshold)
    }

    /// Whether any flag says who must have signed.
    func namesSigners(_ identity: IdentityOptions) -> Bool {
        !keys.isEmpty || securityKey.isUsed || identity.isStated || identity.namesSigners
    }

    /// What must hold of every signature, whichever signer made it.
    /// - Parameter context: Where it is warned of each check that is weaker than usual; `nil` if that was done.
    /// - Returns: A policy that nobody meets yet.
    func rules(_ context: Context?) throws(SigstoreError) -> VerificationPolicy {
        var logs = VerificationPolicy.TransparencyLogRule.required(threshold: 1)
        if insecureIgnoreTlog || privateInfrastructure {
            let flag = insecureIgnoreTlog ? "--insecure-ignore-tlog" : "--private-infrastructure"
            context?.output.warn(
                "log entries are not demanded: nothing shows that the signature was made in public (\(flag))")
            logs = .insecurelyIgnored
        }
        if insecureIgnoreSCT {
            context?.output.warn("nothing shows that the certificate was issued in public (--insecure-ignore-sct)")
        }
        var detached: [SignedCertificateTimestamp] = []
        if let sct {
            let content = try InputFile(sct).contents(limit: 1 << 16)
            do throws(SigstoreError) { detached = [try SignedCertificateTimestamp(detached: content)] } catch {
                throw error.concerning(sct)
            }
        }
        var policy = VerificationPolicy(
            signedBy: .identities([]), transparencyLog: logs,
            signedTimestamps: useSignedTimestamps ? .required(threshold: 1) : .whenPresent,
            certificateTransparency: insecureIgnoreSCT ? .insecurelyIgnored : .required)
        policy.detachedCertificateTimestamps = detached
        return policy
    }

    /// The keys and identities that are given, each once. If any of them will do, all identities are one. A key that was rotated
    /// is one signer, whichever of its versions signed.
    private func signedBy(_ identity: IdentityOptions, standardInputIsTaken: Bool, _ context: Context)
        throws(SigstoreError)
        -> [[VerificationPolicy.SignedBy]]
    {
        let keys = try keys(context)
        if identity.signerFiles.isEmpty { try expectThreshold(of: keys.count + identity.count) }
        guard keys.isEmpty || !identity.isStated else {
            throw SigstoreError(
                .usage, "a key and a certificate's identity cannot both be demanded",
                advice:
                    "give --key, or --certificate-identity with --certificate-oidc-issuer; --signer may be given with --key"
            )
        }
        var references: [KeyReference] = []
        for key in keys { references.append(try context.key(key, offline: offline, allowsHTTP: allowHTTPKey)) }
        let onStandardInput = references.filter(\.takesStandardInput).count + identity.signerFiles.count { $0 == "-" }
        if onStandardInput > (standardInputIsTaken ? 0 : 1) {
            throw SigstoreError(.usage, "standard input (-) is named twice", advice: "name a file for one of the two")
        }
        let signers = keys.isEmpty || identity.namesSigners ? try identity.signers() : []
        let found = try keySigners(references)
        try expectThreshold(of: found.count + signers.count)
        let identities = signers.isEmpty || threshold != nil ? signers : [signers.flatMap(\.self)]
        return found.map { versions in versions.map { .key($0) } } + identities.map { [.identities($0)] }
    }

    /// The public keys, those of one signer together: the versions of one key, and keys that two references have in common, such
    /// as a key service's and the file that it was exported to.
    private func keySigners(_ references: [KeyReference]) throws(SigstoreError) -> [[PublicKey]] {
        var found: [(owners: Set<[UInt8]>, keys: [PublicKey])] = []
        for reference in references {
            var one = (owners: Set([Array(reference.owner.utf8)]), keys: try reference.readPublicKeys())
            for other in found where !other.owners.isDisjoint(with: one.owners) || Self.overlap(other.keys, one.keys) {
                one.owners.formUnion(other.owners)
                one.keys = other.keys + one.keys
            }
            found.removeAll { !$0.owners.isDisjoint(with: one.owners) || Self.overlap($0.keys, one.keys) }
            var keys: [PublicKey] = []
            for key in one.keys where !Self.overlap(keys, [key]) { keys.append(key) }
            found.append((one.owners, keys))
        }
        return found.map(\.keys)
    }

    private static func overlap(_ some: [PublicKey], _ others: [PublicKey]) -> Bool {
        some.contains { key in others.contains { $0.spki == key.spki } }
    }

    /// Refuses a threshold that nothing can meet, or that asks for nothing.
    private func expectThreshold(of count: Int) throws(SigstoreError) {
        guard count <= Self.signerLimit else {
            throw SigstoreError(
                .usage, "\(count) keys and signers are given, more than the \(Self.signerLimit) that are looked for")
        }
        guard let threshold else { return }
        guard threshold >= 1 else {
            throw SigstoreError(.usage, "--threshold is \(threshold), expected at least 1")
        }
        guard count == 0 || threshold <= count else {
            throw SigstoreError(
                .usage,
                "--threshold demands \(threshold) signers, and \(count) different "
                    + "\(count == 1 ? "key or signer is" : "keys and signers are") given",
                advice: "give every key with --key and every other signer with --signer, or demand fewer")
        }
    }

    /// How many keys and signers may be given.
    private static let signerLimit = 100

    /// A key without a log needs no authority, unless the person named one.
    func needsNoRoot(
        _ identity: IdentityOptions, _ trust: TrustOptions, keysAreLogged: Bool = true, _ context: Context
    ) -> Bool {
        isByKeys(identity) && (insecureIgnoreTlog || privateInfrastructure || !keysAreLogged) && !useSignedTimestamps
            && !trust.isStated(context)
    }

    /// Whether only owners of keys may have signed.
    private func isByKeys(_ identity: IdentityOptions) -> Bool {
        (!keys.isEmpty || securityKey.isUsed) && !identity.namesSigners
    }

    /// The variables of the environment that say whom to believe.
    @discardableResult
    func trustVariables(
        _ identity: IdentityOptions, _ trust: TrustOptions, keysAreLogged: Bool = true, _ context: Context
    ) -> [String] {
        let ofKeys = ((try? keys(context)) ?? []).flatMap {
            (try? context.key($0, offline: offline, allowsHTTP: allowHTTPKey).trustVariables) ?? []
        }
        let ofRoot =
            needsNoRoot(identity, trust, keysAreLogged: keysAreLogged, context) ? [] : trust.sources(context).variables
        var names = ofRoot
        for name in ofKeys where !names.contains(name) { names.append(name) }
        return context.trustVariables.named(names)
    }

    /// What looks up the log entries of signatures that come without one; `nil` if none may or need be.
    func lookup(_ verifier: Verifier, _ signers: DemandedSigners, _ context: Context) -> LogLookup? {
        guard !offline, !insecureIgnoreTlog, !privateInfrastructure else { return nil }
        return LogLookup(verifier: verifier, signers: signers, url: rekorURL) { () throws(SigstoreError) in
            try context.http()
        } announce: { host, learnsWhole in
            let what = learnsWhole ? "the whole attestation" : "the digest of what was signed"
            context.output.note("Looking up a log entry: \(host) learns \(what), the signature and who made it.")
        }
    }

    /// The verifier to use. It is said which variables of the environment have a part in whom it believes.
    /// - Parameter keysAreLogged: Whether signatures by keys have log entries, if nobody says otherwise.
    func verifier(
        _ identity: IdentityOptions, _ trust: TrustOptions, keysAreLogged: Bool = true, _ context: Context
    ) throws(SigstoreError) -> Verifier {
        trustVariables(identity, trust, keysAreLogged: keysAreLogged, context)
        if needsNoRoot(identity, trust, keysAreLogged: keysAreLogged, context) {
            return Verifier(trustedRoot: nil, now: context.now)
        }
        let root = try TUFAccess.advising("try again later, or go on with what was verified before by --offline") {
            () throws(SigstoreError) in try trust.trust(offline: offline, context)
        }
        return Verifier(trustedRoot: root, now: context.now)
    }
}

/// How results are printed.
enum OutputFormat: String, ExpressibleByArgument, CaseIterable { case text, json }

extension VerificationOptions: FlagReader {
    mutating func take(_ given: inout GivenFlags) {
        keys = given.values("key")
        securityKey = SecurityKeyOptions(&given)
        threshold = given.value("threshold")
        insecureIgnoreTlog = given.isOn("insecure-ignore-tlog")
        privateInfrastructure = given.isOn("private-infrastructure")
        insecureIgnoreSCT = given.isOn("insecure-ignore-sct")
        useSignedTimestamps = given.isOn("use-signed-timestamps")
        sct = given.value("sct")
        offline = given.isOn("offline")
        rekorURL = given.value("rekor-url")
        allowHTTPKey = given.isOn("allow-http-key")
        newBundleFormat = !given.isOn("no-new-bundle-format")
        experimentalOCI11 = given.isOn("experimental-oci11")
    }
}
