internal import SigstoreCrypto
public import StrictJSON

/// The one verifier: it brings a bundle, what is claimed of it, a policy and a trusted root together, and never touches
/// the network.
public struct Verifier: Sendable {
    /// The authorities and logs that are believed; `nil` believes none.
    public let trustedRoot: TrustedRoot?
    private let now: @Sendable () -> Int64

    /// Makes a verifier.
    /// - Parameters:
    ///   - trustedRoot: The authorities and logs that are believed; `nil` believes none, which is enough for a key
    ///     without a log.
    ///   - now: The clock: seconds since 1970 in UTC. It counts only if nothing signed gives a time, and is read for each
    ///     bundle anew.
    public init(trustedRoot: TrustedRoot?, now: @escaping @Sendable () -> Int64) {
        self.trustedRoot = trustedRoot
        self.now = now
    }

    /// Verifies a bundle.
    /// - Parameters:
    ///   - bundle: The bundle, of which nothing is believed yet.
    ///   - claim: What is claimed of it: the file that was signed, or what is attested.
    ///   - policy: Who must have signed, and what must hold.
    ///   - report: Called for each check as soon as it has held.
    /// - Returns: The bundle with what is now known about it.
    /// - Throws: ``RejectedBundle`` with the first step that failed and the checks that held before it.
    public func verify(
        _ bundle: SigstoreBundle, _ claim: BundleClaim, _ policy: VerificationPolicy,
        report: ((VerificationCheck) -> Void)? = nil
    ) throws(RejectedBundle) -> VerifiedBundle {
        var verification = Verification(
            bundle: bundle, claim: claim, policy: policy, trustedRoot: trustedRoot, currentTime: now(), report: report)
        do throws(SigstoreError) {
            return try verification.run()
        } catch {
            var error = error
            error.advice = error.advice ?? verification.step.advice
            throw RejectedBundle(
                error: error, step: verification.step, checks: verification.checks, warnings: verification.warnings)
        }
    }

    /// Looks for the path from a signer's certificate to a trusted authority, which is kept for when the bundle is verified. It
    /// decides nothing, and if there is none, it is the verification that says so. To be called on another thread meanwhile.
    /// - Parameter bundle: The bundle, of which nothing is believed yet.
    public func lookAhead(_ bundle: SigstoreBundle) {
        guard case .certificates(let chain) = bundle.keyMaterial, chain.count == 1, let der = chain.first,
            let leaf = try? Certificate(der: der)
        else { return }
        for authority in trustedRoot?.certificateAuthorities ?? []
        where authority.validFor.contains(Instant(seconds: leaf.notBefore)) {
            let path = try? CertificatePath.build(
                leaf: leaf, intermediates: authority.intermediates, anchors: authority.anchors, at: leaf.notBefore,
                purpose: .codeSigning)
            if path != nil { return }
        }
    }

    /// Verifies several bundles of the same artifact, of which one must hold.
    /// - Parameters:
    ///   - bundles: The bundles, of which nothing is believed yet.
    ///   - claim: What is claimed of each.
    ///   - policy: Who must have signed, and what must hold.
    ///   - report: Called for each check as soon as it has held, of each bundle that is tried.
    /// - Returns: The first bundle that holds, with what is now known about it.
    /// - Throws: ``RejectedBundle`` of the bundle that came furthest; with `no-bundle` if there are none.
    public func verify(
        oneOf bundles: [SigstoreBundle], _ claim: BundleClaim, _ policy: VerificationPolicy,
        report: ((VerificationCheck) -> Void)? = nil
    ) throws(RejectedBundle) -> VerifiedBundle {
        try firstHeld(ofBundles: bundles) { bundle throws(RejectedBundle) in
            try verify(bundle, claim, policy, report: report)
        }
    }

    /// Tries one bundle after the other until one holds. If none does, and they are from a file of several, it is said of each
    /// where it stood and why it does not hold.
    func firstHeld(
        ofBundles bundles: [SigstoreBundle], _ verify: (SigstoreBundle) throws(RejectedBundle) -> VerifiedBundle
    ) throws(RejectedBundle) -> VerifiedBundle {
        var details: [String] = []
        do throws(RejectedBundle) {
            return try firstHeld(of: bundles) { bundle throws(RejectedBundle) in
                do throws(RejectedBundle) { return try verify(bundle) } catch {
                    guard let place = bundle.place else { throw error }
                    let reason = error.explained
                    details.append("\(place): \(reason.message) [\(reason.code)]")
                    throw error
                }
            }
        } catch {
            guard bundles.count > 1, details.count == bundles.count else { throw error }
            var none = error.error
            none.details = SigstoreError.listed(details)
            throw RejectedBundle(error: none, step: error.step, checks: error.checks, warnings: error.warnings)
        }
    }

    /// Tries one after the other until one holds.
    /// - Throws: ``RejectedBundle`` of the first that came furthest; with `no-bundle` if there are none.
    func firstHeld<Candidate>(
        of candidates: [Candidate], _ verify: (Candidate) throws(RejectedBundle) -> VerifiedBundle
    ) throws(RejectedBundle) -> VerifiedBundle {
        var nearest: RejectedBundle?
        for candidate in candidates {
            do throws(RejectedBundle) { return try verify(candidate) } catch {
                if nearest.map({ $0.checks.count < error.checks.count }) ?? true { nearest = error }
            }
        }
        throw nearest
            ?? RejectedBundle(error: SigstoreError(.noBundle, "there is no bundle to verify"), step: .form, checks: [])
    }
}

/// One verification as it goes along. Each step is a function, made in the order of ``VerificationStep``; whatever a
/// later step uses, an earlier one has verified.
struct Verification {
    let bundle: SigstoreBundle
    let claim: BundleClaim
    let policy: VerificationPolicy
    /// Of several roots in one file, step 2 leaves the one that the certificate leads to.
    var trustedRoot: TrustedRoot?
    /// Whether what logs would prove is not demanded, since the instance has none; set by step 2.
    var isPrivateInstance = false
    /// What was demanded and is not proven; set by steps 3 and 5.
    var unproven: [VerifiedBundle.Unproven] = []
    /// The verifier's clock in seconds since 1970.
    let currentTime: Int64
    let report: ((VerificationCheck) -> Void)?

    var step = VerificationStep.form
    var checks: [VerificationCheck] = []
    /// What a person should know whatever comes of it.
    var warnings: [SigstoreError] = []
    /// The bytes of the one signature; set by step 1.
    var signature: [UInt8] = []
    /// The times at which the signature existed; set by step 2.
    var times: [VerifiedTime] = []
    /// Why a timestamp that is genuine, or cannot be judged, gave no time; set by step 2.
    var uncountedTimestamp: SigstoreError?
    /// The signer's certificate, and the one name in it; set by step 3, never if a key was given.
    var certificate: Certificate?
    var signerName = ""
    /// The certificate that the bundle holds, also if a key was demanded: then it is for that key, and of what it says
    /// nothing is believed. Set by step 1.
    var statedCertificate: Certificate?

    init(
        bundle: SigstoreBundle, claim: BundleClaim, policy: VerificationPolicy, trustedRoot: TrustedRoot?,
        currentTime: Int64, report: ((VerificationCheck) -> Void)?
    ) {
        self.bundle = bundle
        self.claim = claim
        self.policy = policy
        self.trustedRoot = trustedRoot
        self.currentTime = currentTime
        self.report = report
    }

    mutating func run() throws(SigstoreError) -> VerifiedBundle {
        // 1. The bundle is of the form, and of the kind, that was asked for.
        step = .form
        signature = try checkForm()
        var chain: [Certificate] = []
        if case .certificates(let encoded) = bundle.keyMaterial {
            for der in encoded { chain.append(try Certificate(der: der)) }
            // Older bundles end with the root of their authority. It is never looked at: a root is the verifier's to know.
            if bundle.version != .v03, chain.count > 1, chain.last?.isSelfIssued == true { chain.removeLast() }
        }
        statedCertificate = chain.first
        if case .identities = policy.signedBy, let leaf = chain.first {
            step = .certificate
            trustedRoot = try trustedRoot?.root(for: leaf, Array(chain.dropFirst()))
            isPrivateInstance = isOfPrivateInstance(leaf)
        }

        // 2. The times at which the signature existed (client specification, section 4.2).
        step = .time
        try establishTimes()

        // 3. The certificate, at each of those times (section 4.3); or the key that was given.
        step = .certificate
        let key: PublicKey
        switch policy.signedBy {
        case .key(let given): key = given
        case .identities:
            let leaf = try verifyCertificate(chain)
            certificate = leaf
            key = leaf.publicKey
        }

        // 4. The artifact is read, once.
        step = .artifact
        let schemes = try signatureSchemes(of: key)
        let message = try readMessage(schemes)

        // 5. The log entries (section 4.4).
        step = .transparencyLog
        try verifyLogEntries(key, message)

        // 6. Who signed (section 4.3, the verification policy).
        step = .identity
        let signer: VerifiedSigner
        let claims = certificate.map { CertificateClaims($0) }
        switch (policy.signedBy, claims) {
        case (.identities(let identities), let claims?):
            signer = .certificate(identity: signerName, issuer: try checkIdentity(claims, identities))
        case (.key, _): signer = .key(fingerprint: try key.hint())
        case (.identities, nil): throw SigstoreError(.keyNotCertificate, "there is no certificate to show an identity")
        }

        // 7. The signature itself (section 4.5).
        step = .signature
        let scheme = try verifySignature(key, schemes, message)

        // 8. What an attestation says.
        step = .statement
        let statement = try verifyStatement()

        return VerifiedBundle(
            bundle: bundle, statement: statement, signer: signer, claims: claims, scheme: scheme, times: times,
            checks: checks, warnings: warnings,
            unproven: VerifiedBundle.Unproven.allCases.filter(unproven.contains))
    }

    /// Whether a signature is of an instance that publishes nothing, such as GitHub's for private repositories. All of this holds
    /// then: the trusted root has authorities for certificates and timestamps and no log of either kind, the signature has neither
    /// a log entry nor a signed certificate timestamp, and has a timestamp, which must then hold. An entry or a certificate
    /// timestamp that such a root does not know stays refused.
    private func isOfPrivateInstance(_ leaf: Certificate) -> Bool {
        guard trustedRoot?.isWithoutLogs == true, bundle.logEntries.isEmpty, !bundle.timestamps.isEmpty,
            policy.detachedCertificateTimestamps.isEmpty,
            let embedded = try? SignedCertificateTimestamp.embedded(in: leaf), embedded.isEmpty
        else { return false }
        if case .required(let threshold) = policy.transparencyLog, threshold > 1 { return false }
        return true
    }

    /// Records a check that was made and held.
    mutating func held(_ name: String, _ detail: String) {
        let check = VerificationCheck(step: step, name: name, detail: detail)
        checks.append(check)
        report?(check)
    }
}

extension SigstoreError.Code {
    /// One of several bundles must hold, and there are none.
    public static let noBundle = Self("no-bundle")
    /// Something must be verified against a trusted root, and none was given.
    public static let noTrustedRoot = Self("no-trusted-root")
    /// A log entry is demanded, and the bundle has none that counts.
    public static let noLogEntry = Self("no-log-entry")
}
