public import InToto
public import SigstoreCrypto
internal import StrictJSON

/// What must hold before a bundle counts as verified. The defaults demand the most; every option that weakens a check
/// says so in its name.
public struct VerificationPolicy: Sendable {
    /// Who must have signed.
    public enum SignedBy: Sendable {
        /// The owner of this key.
        case key(PublicKey)
        /// Any one of these identities, by a certificate of an authority that the trusted root knows.
        case identities([CertificateIdentity])
    }

    /// What must have been signed.
    public enum Claim: Sendable {
        /// This file: the bundle holds a signature over it.
        case message(any ArtifactSource)
        /// An in-toto attestation.
        /// - Parameters:
        ///   - subject: What it must be about; `nil` accepts any subject.
        ///   - predicateType: The type that its predicate must have, byte for byte; `nil` accepts any.
        case attestation(subject: Subject?, predicateType: PredicateType?)
    }

    /// What an attestation must be about.
    public enum Subject: Sendable {
        /// This file; it is read for the digests that the statement names.
        case artifact(any ArtifactSource)
        /// Something with this digest.
        case digest(Digest)
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
        /// Timestamps that are there must hold; none need be there.
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
    /// What must have been signed.
    public var claim: Claim
    /// What is demanded of transparency logs.
    public var transparencyLog: TransparencyLogRule
    /// What is demanded of signed timestamps.
    public var signedTimestamps: TimestampRule
    /// What is demanded of certificate transparency.
    public var certificateTransparency: CertificateTransparencyRule
    /// Signed certificate timestamps that came beside the certificate (`--sct`), in addition to those within it.
    public var detachedCertificateTimestamps: [SignedCertificateTimestamp] = []
    /// The verifier's clock in seconds since 1970. Only used where nothing signed gives a time and none is demanded.
    public var currentTime: Int64

    /// Makes a policy.
    /// - Parameters:
    ///   - signedBy: Who must have signed.
    ///   - claim: What must have been signed.
    ///   - transparencyLog: By default, an entry in one log is demanded, of keys too.
    ///   - signedTimestamps: By default, timestamps that are there must hold.
    ///   - certificateTransparency: By default, demanded of every certificate.
    ///   - currentTime: The verifier's clock in seconds since 1970.
    public init(
        signedBy: SignedBy, claim: Claim, transparencyLog: TransparencyLogRule = .required(threshold: 1),
        signedTimestamps: TimestampRule = .whenPresent,
        certificateTransparency: CertificateTransparencyRule = .required,
        currentTime: Int64
    ) {
        self.signedBy = signedBy
        self.claim = claim
        self.transparencyLog = transparencyLog
        self.signedTimestamps = signedTimestamps
        self.certificateTransparency = certificateTransparency
        self.currentTime = currentTime
    }
}
