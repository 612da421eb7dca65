public import InToto
internal import SigstoreCrypto

/// The one verifier: it brings a bundle, a policy and a trusted root together, and never touches the network.
public struct Verifier: Sendable {
    private let trustedRoot: TrustedRoot?
    private let report: (@Sendable (VerificationCheck) -> Void)?

    /// Makes a verifier.
    /// - Parameters:
    ///   - trustedRoot: The authorities and logs that are believed; `nil` believes none, which is enough for a key
    ///     without a log.
    ///   - report: Called for each check as it is made.
    public init(trustedRoot: TrustedRoot?, report: (@Sendable (VerificationCheck) -> Void)? = nil) {
        self.trustedRoot = trustedRoot
        self.report = report
    }

    /// Verifies a bundle.
    /// - Parameters:
    ///   - bundle: What somebody claims.
    ///   - policy: What must hold.
    /// - Returns: The bundle with what is now known about it.
    /// - Throws: ``RejectedBundle`` with the first step that failed and the checks that held before it.
    public func verify(_ bundle: SigstoreBundle, _ policy: VerificationPolicy) throws(RejectedBundle) -> VerifiedBundle {
        var verification = Verification(bundle: bundle, policy: policy, trustedRoot: trustedRoot, report: report)
        do throws(SigstoreError) {
            return try verification.run()
        } catch {
            throw RejectedBundle(error: error, step: verification.step, checks: verification.checks)
        }
    }
}

/// One verification as it goes along. Each step is a function, made in the order of ``VerificationStep``; whatever a
/// later step uses, an earlier one has verified.
struct Verification {
    let bundle: SigstoreBundle
    let policy: VerificationPolicy
    let trustedRoot: TrustedRoot?
    let report: (@Sendable (VerificationCheck) -> Void)?

    var step = VerificationStep.form
    var checks: [VerificationCheck] = []
    /// The bytes of the one signature; set by step 1.
    var signature: [UInt8] = []

    init(
        bundle: SigstoreBundle, policy: VerificationPolicy, trustedRoot: TrustedRoot?,
        report: (@Sendable (VerificationCheck) -> Void)?
    ) {
        self.bundle = bundle
        self.policy = policy
        self.trustedRoot = trustedRoot
        self.report = report
    }

    mutating func run() throws(SigstoreError) -> VerifiedBundle {
        // 1. The bundle is of the form, and of the kind, that was asked for.
        step = .form
        signature = try checkForm()

        guard case .key(let key) = policy.signedBy else {
            throw SigstoreError(.noTrustedRoot, "there is no trusted root to verify a certificate with")
        }
        if case .required = policy.transparencyLog {
            step = .transparencyLog
            throw SigstoreError(
                .noLogEntry, "the signature has no verified entry in a transparency log",
                advice: "if it was meant to be made without a log, verify it with --insecure-ignore-tlog")
        }

        // 4. The artifact is read once.
        step = .artifact
        let schemes = try signatureSchemes(of: key)
        let message = try readMessage(schemes)

        // 7. The signature itself (client specification, section 4.5).
        step = .signature
        let scheme = try verifySignature(key, schemes, message)

        // 8. What an attestation says.
        step = .statement
        let statement = try verifyStatement()

        return VerifiedBundle(
            bundle: bundle, statement: statement, signer: .key(fingerprint: try key.hint()), scheme: scheme, times: [],
            checks: checks)
    }

    /// Records a check that was made and held.
    mutating func held(_ name: String, _ detail: String) {
        let check = VerificationCheck(step: step, name: name, detail: detail)
        checks.append(check)
        report?(check)
    }
}

extension SigstoreError.Code {
    /// Something must be verified against a trusted root, and none was given.
    public static let noTrustedRoot = Self("no-trusted-root")
    /// A log entry is demanded, and the bundle has none that counts.
    public static let noLogEntry = Self("no-log-entry")
}
