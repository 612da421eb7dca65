public import SigstoreCrypto

/// Who must have signed, and what must hold of the signature. One value serves for any number of bundles; what is claimed
/// of each is its ``BundleClaim``. The defaults demand the most; every option that weakens a check says so in its name.
public struct VerificationPolicy: Sendable {
    /// Who must have signed.
    public enum SignedBy: Sendable {
        /// The owner of this key.
        case key(PublicKey)
        /// Any one of these identities, by a certificate of an authority that the trusted root knows.
        case identities([CertificateIdentity])
    }

    /// What is demanded of transparency logs.
    public enum TransparencyLogRule: Sendable {
        /// Verified entries in that many different logs. Several entries in one log count once.
        case required(threshold: Int)
        /// Log entries are not looked at. A certificate then holds at a signed timestamp, or else now.
        case insecurelyIgnored
    }

    /// What is demanded of signed timestamps.
    public enum TimestampRule: Sendable {
        /// Timestamps that are there must hold, unless the trusted root does not know who made them: those are not
        /// counted, with a warning. None need be there.
        case whenPresent
        /// Verified timestamps of that many different authorities. Several by one authority count once.
        case required(threshold: Int)
    }

    /// What is demanded of the certificate's entry in a certificate transparency log.
    public enum CertificateTransparencyRule: Sendable {
        /// A signed certificate timestamp by a log that the trusted root knows.
        case required
        /// Signed certificate timestamps are not looked at.
        case insecurelyIgnored
    }

    /// Who must have signed.
    public var signedBy: SignedBy
    /// What is demanded of transparency logs.
    public var transparencyLog: TransparencyLogRule
    /// What is demanded of signed timestamps.
    public var signedTimestamps: TimestampRule
    /// What is demanded of certificate transparency.
    public var certificateTransparency: CertificateTransparencyRule
    /// Signed certificate timestamps that came beside the certificate, in addition to those within it. No form of a bundle
    /// has a place for them: they are given once, for every bundle of that certificate. One of another certificate never
    /// counts.
    public var detachedCertificateTimestamps: [SignedCertificateTimestamp] = []

    /// Makes a policy.
    /// - Parameters:
    ///   - signedBy: Who must have signed.
    ///   - transparencyLog: By default, an entry in one log is demanded, of keys too.
    ///   - signedTimestamps: By default, timestamps that are there must hold.
    ///   - certificateTransparency: By default, demanded of every certificate.
    public init(
        signedBy: SignedBy, transparencyLog: TransparencyLogRule = .required(threshold: 1),
        signedTimestamps: TimestampRule = .whenPresent,
        certificateTransparency: CertificateTransparencyRule = .required
    ) {
        self.signedBy = signedBy
        self.transparencyLog = transparencyLog
        self.signedTimestamps = signedTimestamps
        self.certificateTransparency = certificateTransparency
    }

    /// Makes the policy that one identity must have signed, with a certificate and a log entry that are public.
    /// - Parameters:
    ///   - identity: The certificate's subject alternative name: an email address, a URI or a user name, byte for byte.
    ///   - issuer: The issuer of the identity token, byte for byte.
    public init(identity: String, issuer: String) {
        self.init(
            signedBy: .identities([CertificateIdentity(subject: .exactly(identity), issuer: .exactly(issuer))]))
    }
}
