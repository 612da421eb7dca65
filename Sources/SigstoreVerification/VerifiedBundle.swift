public import InToto
public import SigstoreCrypto
public import StrictJSON

/// A step of verification, in the order in which the steps are made (client specification, section 4).
public enum VerificationStep: String, Sendable, CaseIterable {
    /// 1. Limits, the version's demands, and that content and key material are of the kind that was asked for.
    case form
    /// 2. Signed timestamps, and the time that a log promised (section 4.2).
    case time
    /// 3. The certificate's path, its one name, and its signed certificate timestamp (section 4.3).
    case certificate
    /// 4. The artifact is read once, and has the digest that the bundle names.
    case artifact
    /// 5. The log entry's inclusion, and that it is about this signature (section 4.4).
    case transparencyLog = "transparency-log"
    /// 6. Who signed (section 4.3, the verification policy).
    case identity
    /// 7. The signature itself (section 4.5).
    case signature
    /// 8. What an attestation is about, and the type of its predicate.
    case statement

    /// The step's number, as in the specification of the steps above.
    var number: Int { (Self.allCases.firstIndex(of: self) ?? 0) + 1 }

    /// What to do if the step fails and there is nothing more exact to say.
    var advice: SigstoreError.Advice {
        switch self {
        case .form: "get the bundle again from whoever signed"
        case .time: "get the bundle again, and check that the trusted root is the one that the signer used"
        case .certificate:
            "check that the trusted root is the one that the signer used; if it is, do not trust this signature"
        case .artifact: "give the file that was signed"
        case .transparencyLog:
            "get the bundle again from whoever signed: its log entry was changed, or belongs to another one"
        case .identity: "do not trust this signature unless you know why somebody else made it"
        case .signature: "what was signed or the signature was changed: get both again from whoever signed"
        case .statement: "get the attestation that belongs to the artifact"
        }
    }
}

/// A check that was made and held.
public struct VerificationCheck: Sendable {
    /// The step that it belongs to.
    public let step: VerificationStep
    /// A stable name for programs, in lower case with hyphens.
    public let name: String
    /// One line for people. It may hold text from outside.
    public let detail: String
}

/// A time at which the signature existed, and who vouches for it.
public struct VerifiedTime: Sendable {
    /// Who vouches for a time.
    public enum Source: Sendable {
        /// A timestamp authority, by its URL or name in the trusted root.
        case timestampAuthority(String)
        /// A transparency log, by its URL in the trusted root.
        case transparencyLog(String)
        /// No authority: the verifier's own clock.
        case currentTime
    }

    /// Who vouches for it.
    public let source: Source
    /// Seconds since 1970.
    public let seconds: Int64
}

/// Who signed, as the verifier found it.
public enum VerifiedSigner: Sendable, CustomStringConvertible {
    /// The owner of a key, named by base64 of the SHA-256 of its SubjectPublicKeyInfo.
    case key(fingerprint: String)
    /// The owner of an identity, as the certificate shows it.
    case certificate(identity: String, issuer: String)

    /// The signer in words. An identity may hold any character, unless it was demanded byte for byte.
    public var description: String {
        switch self {
        case .key(let fingerprint): "the key \(fingerprint)"
        case .certificate(let identity, let issuer): "\(identity) (issuer \(issuer))"
        }
    }

    /// Bytes that are the same for the same signer only: the key, or identity and issuer, byte for byte.
    var identifier: [UInt8] {
        switch self {
        case .key(let fingerprint): Array("key \(fingerprint)".utf8)
        // An identity may hold any character, so its length says where it ends.
        case .certificate(let identity, let issuer):
            Array("identity \(identity.utf8.count) \(identity) \(issuer)".utf8)
        }
    }
}

/// A bundle for which the policy held. Only ``Verifier`` can make one.
public struct VerifiedBundle: Sendable {
    /// The bundle.
    public let bundle: SigstoreBundle
    /// What was attested, if the bundle is an attestation.
    public let statement: Statement?
    /// Who signed.
    public let signer: VerifiedSigner
    /// What the certificate says of the signer; `nil` if a key signed.
    public let claims: CertificateClaims?
    /// How the signature was made.
    public let scheme: SignatureScheme
    /// The times at which the signature existed; empty if nothing says so and nothing depends on it.
    public internal(set) var times: [VerifiedTime]
    /// Every check that was made, in order; nothing that was skipped.
    public internal(set) var checks: [VerificationCheck]
    /// What a person should know though the policy holds, such as a timestamp that is not counted. It may hold text from
    /// outside.
    public internal(set) var warnings: [SigstoreError]
    /// What was demanded and cannot be proven, since the Sigstore instance has no logs at all; empty for every other.
    public internal(set) var unproven: [Unproven]

    /// What logs prove.
    public enum Unproven: String, Sendable, CaseIterable {
        /// That the signature is in a transparency log.
        case logEntry = "log-entry"
        /// That the certificate is in a certificate transparency log.
        case certificateTimestamp = "certificate-timestamp"
    }

    init(
        bundle: SigstoreBundle, statement: Statement?, signer: VerifiedSigner, claims: CertificateClaims?,
        scheme: SignatureScheme, times: [VerifiedTime], checks: [VerificationCheck], warnings: [SigstoreError],
        unproven: [Unproven]
    ) {
        self.bundle = bundle
        self.statement = statement
        self.signer = signer
        self.claims = claims
        self.scheme = scheme
        self.times = times
        self.checks = checks
        self.warnings = warnings
        self.unproven = unproven
    }
}

extension VerifiedBundle {
    /// The same attestation, held to another claim. Only what it is about and the type of its predicate depend on the claim, so that
    /// only step 8 is made again.
    /// - Throws: ``RejectedBundle`` if the claim does not hold, or is not about an attestation.
    public func attesting(_ claim: BundleClaim) throws(RejectedBundle) -> VerifiedBundle {
        // Who signed and whom to believe is decided, and not asked in this step.
        var verification = Verification(
            bundle: bundle, claim: claim, policy: VerificationPolicy(signedBy: .identities([])), trustedRoot: nil,
            currentTime: 0, report: nil)
        verification.step = .statement
        verification.checks = checks.filter { $0.step != .statement }
        do throws(SigstoreError) {
            guard try verification.verifyStatement() != nil else {
                throw SigstoreError(.signatureNotAttestation, "the bundle does not hold an attestation")
            }
        } catch {
            var error = error
            error.advice = error.advice ?? verification.step.advice
            throw RejectedBundle(error: error, step: .statement, checks: verification.checks, warnings: warnings)
        }
        var other = self
        other.checks = verification.checks
        return other
    }
}

extension VerifiedBundle {
    /// How far another clock may be ahead of this machine's, in seconds.
    private static let clockDifference: Int64 = 600

    /// Whether a time is still to come, by more than clocks differ.
    /// - Parameters:
    ///   - seconds: Seconds since 1970 in UTC.
    ///   - now: This machine's time, in the same unit.
    public static func isToCome(_ seconds: Int64, now: Int64) -> Bool {
        let (limit, overflows) = now.addingReportingOverflow(clockDifference)
        return !overflows && seconds > limit
    }

    /// Refuses a signature that is dated ahead: a time that is still to come is no proof that it existed then.
    /// - Parameter now: Seconds since 1970 in UTC.
    /// - Throws: `SigstoreError` with `time-to-come`.
    public func expectPast(_ now: Int64) throws(SigstoreError) {
        for time in times where Self.isToCome(time.seconds, now: now) {
            throw SigstoreError(
                .timeToCome,
                "the signature is dated \(Instant(seconds: time.seconds)), which is still to come: this machine's clock says "
                    + "\(Instant(seconds: now))",
                advice: "if the clock of this machine is right, do not trust who gave the signature its time")
        }
    }
}

extension SigstoreError.Code {
    /// The time of a signature is still to come.
    public static let timeToCome = Self("time-to-come")
}

/// A bundle for which the policy did not hold, with the first step that failed.
public struct RejectedBundle: Error, Sendable, CustomStringConvertible, CustomDebugStringConvertible {
    /// What failed: code, message, advice.
    public let error: SigstoreError
    /// The step that failed.
    public let step: VerificationStep
    /// The checks that were made before and held.
    public let checks: [VerificationCheck]
    /// What a person should know besides, such as a timestamp that is not counted.
    public let warnings: [SigstoreError]

    /// What failed, in one sentence that names the step first.
    public var explained: SigstoreError {
        var explained = error
        explained.message =
            "step \(step.number) of \(VerificationStep.allCases.count), \(step.rawValue): \(error.message)"
        return explained
    }

    public var description: String { explained.description }
    /// The same sentence, for an error that no code catches.
    public var debugDescription: String { explained.debugDescription }

    init(
        error: SigstoreError, step: VerificationStep, checks: [VerificationCheck], warnings: [SigstoreError] = []
    ) {
        self.error = error
        self.step = step
        self.checks = checks
        self.warnings = warnings
    }
}
