public import SigstoreCrypto
public import StrictJSON

/// What an audit found of one digest: an image, an index, one of its platforms, or a file.
public struct AuditRow: Sendable {
    /// What is said of a digest, of the worst first.
    public enum Verdict: String, Sendable, CaseIterable {
        /// Something of it could not be looked at, and nothing that was holds. It may be signed.
        case couldNotLook = "could-not-look"
        /// Signatures are there, and none of them holds.
        case invalid
        /// It has no signature.
        case unsigned
        /// What holds is by other signers than those who are accepted.
        case otherSigner = "other-signer"
        /// What holds is by a key or an identity that was accepted before, and is no longer.
        case formerSigner = "former-signer"
        /// It is signed, and nobody was named who may.
        case notJudged = "not-judged"
        /// Accepted signers signed it, as many as are demanded.
        case accepted
    }

    /// Whether a signature is there, by any signer.
    public enum Signed: String, Sendable, CaseIterable {
        /// At least one was read.
        case yes
        /// There is none: everything was looked at.
        case no
        /// None was read, and not everything could be looked at.
        case couldNotLook = "could-not-look"
    }

    /// The repository, the image layout or the folder.
    public var place: String
    /// The tags that name it, or the names of the file; empty if only its digest is known.
    public var names: [String]
    /// Its digest; `nil` if it could not even be asked for.
    public var digest: Digest?
    /// The platform, as `os/architecture[/variant]`, if it is one of an index.
    public var platform: String?
    /// The index that lists it as a platform.
    public var index: Digest?
    /// The media type of its manifest.
    public var mediaType: String?
    /// When it was built, where its source is and of which revision, as its own configuration says: nothing proves it.
    public var created, source, revision: String?
    /// Whether it is signed.
    public var signed: Signed
    /// What is said of it.
    public var verdict: Verdict
    /// Its signatures.
    public var signatures: [AuditSignature] = []
    /// Its attestations.
    public var attestations: [AuditSignature] = []
    /// The media or predicate types of its software bills of materials, attached or attested.
    public var sboms: [String] = []
    /// What policies say of it.
    public var policies: [(name: String, verdict: String)] = []
    /// What went wrong: why something could not be looked at, or why what was demanded does not hold.
    public var failures: [AuditFailure] = []
    /// Whether something beside its signatures could not be looked at, such as its configuration, or the platforms of an index.
    public var isPartlyUnread = false

    /// Whether everything about it could be looked at.
    public var isWhole: Bool {
        verdict != .couldNotLook && signed != .couldNotLook && !isPartlyUnread
            && !(signatures + attestations).contains { $0.verdict == .couldNotLook }
    }

    /// - Parameters:
    ///   - place: The repository, the image layout or the folder.
    ///   - names: The tags that name it, or the names of the file.
    ///   - digest: Its digest; `nil` if it could not even be asked for.
    ///   - signed: Whether it is signed.
    ///   - verdict: What is said of it.
    public init(place: String, names: [String], digest: Digest?, signed: Signed, verdict: Verdict) {
        (self.place, self.names, self.digest) = (place, names, digest)
        (self.signed, self.verdict) = (signed, verdict)
    }
}

/// A signature or an attestation in a report.
public struct AuditSignature: Sendable {
    /// What is said of one signature, of the best first.
    public enum Verdict: String, Sendable, CaseIterable {
        /// It holds, and an accepted signer made it.
        case accepted
        /// It holds, and its signer was accepted before.
        case formerSigner = "former-signer"
        /// It holds, and its signer is not among those who are accepted. Of a certificate only: a key that is not known cannot be
        /// tried.
        case otherSigner = "other-signer"
        /// It does not hold, or not for anyone whose key is known.
        case invalid
        /// It could not be read.
        case couldNotLook = "could-not-look"
    }

    /// A proven time.
    public struct Time: Sendable {
        /// The time.
        public var time: Instant
        /// Who vouches for it: `timestamp-authority`, `transparency-log` or `clock`.
        public var source: String
        /// The name or URL of who vouches for it; empty for the clock.
        public var name: String

        public init(_ time: Instant, source: String, name: String) {
            (self.time, self.source, self.name) = (time, source, name)
        }
    }

    /// An entry of a transparency log.
    public struct LogEntry: Sendable {
        /// The log: its URL in the trusted root, or its key's identifier in base64.
        public var log: String
        /// The index of the entry in the log.
        public var index: Int64

        public init(log: String, index: Int64) { (self.log, self.index) = (log, index) }
    }

    /// Where it is kept: `bundle` (a referrer), `tag` (the older scheme) or `file`.
    public var scheme: String
    /// What is said of it.
    public var verdict: Verdict
    /// The key that signed, as base64 of the SHA-256 of its SubjectPublicKeyInfo, or its hint if it is not known.
    public var key: String?
    /// The identity and the issuer of the certificate. Of a signature that does not hold they are what it claims.
    public var identity, issuer: String?
    /// What the certificate says of the signer, by the names of `CertificateClaims`.
    public var claims: [(name: String, value: String)] = []
    /// When it was made, and who vouches for that.
    public var times: [Time] = []
    /// Its entries in logs.
    public var logEntries: [LogEntry] = []
    /// The type of the predicate, of an attestation.
    public var predicateType: String?
    /// The builder and the source that an attestation names.
    public var builder, source: String?
    /// The SLSA level that verified provenance shows.
    public var slsaLevel: Int64?
    /// The checks that held, by name, in order.
    public var checks: [String] = []
    /// Why it does not hold.
    public var failure: AuditFailure?

    /// - Parameters:
    ///   - scheme: Where it is kept: `bundle`, `tag` or `file`.
    ///   - verdict: What is said of it.
    public init(scheme: String, verdict: Verdict) { (self.scheme, self.verdict) = (scheme, verdict) }
}

/// Why something does not hold or could not be looked at.
public struct AuditFailure: Sendable {
    /// The code of the error.
    public var code: String
    /// What happened, for people. It may hold text from outside.
    public var message: String

    public init(code: String, message: String) { (self.code, self.message) = (code, message) }

    /// - Parameter error: What went wrong.
    public init(_ error: SigstoreError) { self.init(code: error.code.rawValue, message: error.message) }
}
