internal import Provenance
internal import SigstoreCrypto
internal import StrictJSON

extension AuditRow {
    /// A commit or tag as a row of a report. Its digest is its name by SHA-256, whichever its repository has; its own name stands
    /// beside it.
    /// - Parameters:
    ///   - row: What came of it.
    ///   - place: The repository.
    public init(_ row: GitJudge.Row, place: String) {
        let digest = row.object.flatMap { try? Digest(parsing: "sha256:\($0.sha256)") }
        let signed: Signed =
            switch row.kind {
            case .unsigned: .no
            case .unknown: .couldNotLook
            case .certificate, .key, .ssh, .gpg: .yes
            }
        let isOther = row.failure.map { Self.otherSigner.contains($0.code) } ?? false
        let verdict: Verdict
        let signature: AuditSignature.Verdict
        switch row.verdict {
        case .accepted: (verdict, signature) = (.accepted, .accepted)
        case .unsigned: (verdict, signature) = (.unsigned, .invalid)
        case .couldNotLook: (verdict, signature) = (.couldNotLook, .couldNotLook)
        case .refused: (verdict, signature) = isOther ? (.otherSigner, .otherSigner) : (.invalid, .invalid)
        }
        self.init(place: place, names: [row.id], digest: digest, signed: signed, verdict: verdict)
        if let object = row.object {
            created = object.maker?.seconds.map { Instant(seconds: $0).description }
            source = (object.author ?? object.maker).map { "\($0.name) <\($0.email)>" }
        }
        if let failure = row.failure { failures = [AuditFailure(failure)] }
        guard signed == .yes else { return }
        var made = AuditSignature(scheme: row.kind.rawValue, verdict: signature)
        // An SSH key that is known has the name that the file of those who may sign gives it.
        if row.kind == .certificate || row.kind == .ssh && row.verdict == .accepted {
            (made.identity, made.issuer) = (row.signer, row.issuer)
        } else {
            made.key = row.signer
        }
        made.failure = failures.first
        signatures = [made]
    }

    /// What is wrong with a signature that holds, and is by another signer than those who may.
    private static let otherSigner: [SigstoreError.Code] = [
        .wrongIdentity, .wrongIssuer, .wrongClaim, .wrongWorkflow, .unknownSSHSigner, .unknownGPGSigner,
    ]
}
