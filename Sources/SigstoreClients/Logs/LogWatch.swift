public import SigstoreCrypto
public import SigstoreVerification
public import StrictJSON

/// Finds the entries of a log that are by certain keys or identities.
public struct LogWatch: Sendable {
    /// Who an entry is by.
    public enum Match: Sendable {
        /// The owner of one of the keys.
        case key(fingerprint: String)
        /// One of the identities, by a certificate of an authority that the trusted root knows.
        case identity(String, issuer: String)
        /// A certificate that says one of the identities, and that no trusted authority issued: anyone can make it.
        case unfounded(String)
    }

    private let keys: [PublicKey]
    private let identities: [CertificateIdentity]
    private let root: TrustedRoot

    /// - Parameters:
    ///   - keys: The keys.
    ///   - identities: The identities.
    ///   - root: Whose authorities are believed.
    public init(keys: [PublicKey], identities: [CertificateIdentity], root: TrustedRoot) {
        (self.keys, self.identities, self.root) = (keys, identities, root)
    }

    /// Who of those an entry is by.
    /// - Parameters:
    ///   - body: What the entry says.
    ///   - time: When the log took it, if it proved that.
    /// - Throws: `SigstoreError` if a key or certificate in it cannot be read.
    public func match(_ body: LogEntryBody, at time: Int64?) throws(SigstoreError) -> Match? {
        var unfounded: Match?
        for signature in body.signatures {
            switch signature.verifier {
            case .publicKey(let spki):
                if let key = keys.first(where: { $0.spki == spki }) { return .key(fingerprint: try key.hint()) }
            case .certificate(let der):
                guard !keys.isEmpty || !identities.isEmpty else { continue }
                let certificate = try Certificate(der: der)
                if let key = keys.first(where: { $0.isSame(as: certificate.publicKey) }) {
                    return .key(fingerprint: try key.hint())
                }
                for identity in identities {
                    guard let shown = try identity.shown(by: certificate) else { continue }
                    guard isIssued(certificate, at: time ?? certificate.notBefore) else {
                        unfounded = .unfounded(shown.subject)
                        continue
                    }
                    return .identity(shown.subject, issuer: shown.issuer)
                }
            }
        }
        return unfounded
    }

    private func isIssued(_ certificate: Certificate, at time: Int64) -> Bool {
        for authority in root.certificateAuthorities where authority.validFor.contains(Instant(seconds: time)) {
            let path = try? CertificatePath.build(
                leaf: certificate, intermediates: authority.intermediates, anchors: authority.anchors, at: time,
                purpose: .codeSigning)
            if path != nil { return true }
        }
        return false
    }
}
