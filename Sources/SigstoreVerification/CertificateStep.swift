internal import SigstoreCrypto
public import StrictJSON

extension Verification {
    /// 3. The certificate: its path at every time, its one name, its entry in a certificate transparency log (client
    /// specification, section 4.3).
    /// - Returns: The signer's certificate.
    mutating func verifyCertificate(_ chain: [Certificate]) throws(SigstoreError) -> Certificate {
        guard let leaf = chain.first else {
            throw SigstoreError(.malformedBundle, "the bundle holds no certificate")
        }
        try refuseRoots(chain)
        let path = try validatePath(leaf, Array(chain.dropFirst()))
        signerName = try onlyName(of: leaf)
        try verifyCertificateTimestamps(leaf, path)
        return leaf
    }

    /// 3.1 A root is the verifier's to know, never the bundle's to bring.
    private func refuseRoots(_ chain: [Certificate]) throws(SigstoreError) {
        let anchors = trustedRoot?.certificateAuthorities.flatMap(\.anchors) ?? []
        for certificate in chain.dropFirst()
        where certificate.isSelfIssued || anchors.contains(where: { $0.equals(certificate) }) {
            throw SigstoreError(
                .rootInBundle, "the bundle brings the root certificate \(certificate.displayName)",
                advice: "have the bundle made without it")
        }
    }

    /// 3.2 A path to a trusted authority at every time, all of its certificates valid then (RFC 5280, section 6).
    /// - Returns: The path at the first time; the others differ at most in renewed certificates.
    private mutating func validatePath(_ leaf: Certificate, _ intermediates: [Certificate]) throws(SigstoreError)
        -> [Certificate]
    {
        guard let trustedRoot, !trustedRoot.certificateAuthorities.isEmpty else {
            throw SigstoreError(
                .noTrustedRoot, "there is no trusted certificate authority to verify the certificate with",
                advice: .remedy(.giveTrustedRoot))
        }
        var first: (path: [Certificate], authority: TrustedRoot.Authority)?
        for time in times {
            // A path that was validated holds at another time too if all of it is valid then.
            let holdsStill = first.map { found in
                found.authority.validFor.contains(Instant(seconds: time.seconds))
                    && found.path.allSatisfy { $0.isValid(at: time.seconds) }
            }
            if holdsStill != true {
                let found = try path(of: leaf, intermediates, trustedRoot.certificateAuthorities, at: time.seconds)
                first = first ?? found
            }
            held("certificate-path", "the certificate holds at \(Instant(seconds: time.seconds))")
        }
        guard let first = first?.path else {
            throw SigstoreError(.noTime, "there is no time at which the certificate could hold")
        }
        return first
    }

    /// The path at one time. Below an anchor for which the trusted root lists an intermediate, only listed ones count, of
    /// authorities that count then; what the bundle brings is used below other anchors only.
    private func path(
        of leaf: Certificate, _ brought: [Certificate], _ authorities: [TrustedRoot.Authority], at time: Int64
    ) throws(SigstoreError) -> (path: [Certificate], authority: TrustedRoot.Authority) {
        let unlisted = authorities.unlisted(brought)
        var failure: SigstoreError?
        for authority in authorities {
            guard authority.validFor.contains(Instant(seconds: time)) else {
                failure = failure ?? notValid(authority, at: time)
                continue
            }
            var (closed, open): ([Certificate], [Certificate]) = ([], [])
            for anchor in authority.anchors {
                if unlisted.isEmpty || authorities.listIntermediate(below: anchor) {
                    closed.append(anchor)
                } else {
                    open.append(anchor)
                }
            }
            for (anchors, intermediates) in [(closed, []), (open, unlisted)] where !anchors.isEmpty {
                do throws(SigstoreError) {
                    let path = try CertificatePath.build(
                        leaf: leaf, intermediates: authority.intermediates + intermediates, anchors: anchors,
                        at: time, purpose: .codeSigning)
                    return (path, authority)
                } catch {
                    // Of several failures, the one that got further than "not of this authority" says most.
                    if failure == nil || failure?.code == .authorityNotValid || failure?.code == .certificatePath {
                        failure = error
                    }
                }
            }
        }
        let nearest = failure ?? SigstoreError(.noTrustedRoot, "there is no trusted certificate authority")
        throw nearest.code == .certificatePath ? explained(nearest, leaf, brought, authorities, at: time) : nearest
    }

    private func notValid(_ authority: TrustedRoot.Authority, at time: Int64) -> SigstoreError {
        SigstoreError(
            .authorityNotValid,
            "the certificate authority \(authority.name) counts from \(authority.validFor.description), "
                + "not at \(Instant(seconds: time))")
    }

    /// Why no path was found, if it is that the trusted root has ended or dropped an authority.
    private func explained(
        _ failure: SigstoreError, _ leaf: Certificate, _ brought: [Certificate],
        _ authorities: [TrustedRoot.Authority], at time: Int64
    ) -> SigstoreError {
        let ended = authorities.first { authority in
            guard !authority.validFor.contains(Instant(seconds: time)) else { return false }
            return
                (try? CertificatePath.build(
                    leaf: leaf, intermediates: authority.intermediates, anchors: authority.anchors, at: time,
                    purpose: .codeSigning)) != nil
        }
        if let ended { return notValid(ended, at: time) }
        guard let issuer = brought.first(where: { $0.subject == leaf.issuer }) else { return failure }
        return SigstoreError(
            failure.code,
            "the certificate is by \(issuer.displayName), which came with the signature: expected an intermediate that the "
                + "trusted root lists",
            advice: failure.advice, cause: failure)
    }

    /// 3.3 Exactly one name: an email address, a URI, or one of Fulcio's user names.
    private func onlyName(of leaf: Certificate) throws(SigstoreError) -> String {
        let names = leaf.subjectAlternativeNames
        guard names.count == 1, let name = names.first else {
            throw SigstoreError(.unusableName, "the certificate has \(names.count) subject alternative names, not one")
        }
        switch name {
        case .email(let text), .uri(let text):
            guard !text.isEmpty else { break }
            return text
        case .otherName(let oid, let text):
            guard oid.utf8.elementsEqual(SubjectAlternativeName.fulcioUserName.utf8), !text.isEmpty else { break }
            return text
        case .dns, .other: break
        }
        throw SigstoreError(
            .unusableName, "the certificate's name is not an email address, a URI or a user name of Fulcio's")
    }

    /// 6. Who signed is one of those who should have; each field of an identity must hold by itself.
    /// - Returns: The issuer as the certificate shows it.
    mutating func checkIdentity(_ claims: CertificateClaims, _ identities: [CertificateIdentity]) throws(SigstoreError)
        -> String
    {
        guard let issuer = try claims.issuer() else {
            throw SigstoreError(.wrongIssuer, "the certificate does not say who issued the identity")
        }
        var failures: [SigstoreError] = []
        for identity in identities {
            guard let failure = try mismatch(identity, claims, issuer) else {
                held("identity", "\(signerName) by \(issuer)")
                return issuer
            }
            failures.append(failure)
        }
        // What is said is of an identity that came furthest: name, then issuer, then workflow, then other claims.
        let order: [SigstoreError.Code] = [.wrongClaim, .wrongWorkflow, .wrongIssuer]
        let nearest = order.lazy.compactMap { code in failures.last { $0.code == code } }.first ?? failures.last
        guard failures.count > 1, let nearest else {
            throw nearest ?? SigstoreError(.wrongIdentity, "no identity was given that could have signed")
        }
        throw SigstoreError(
            nearest.code, "none of the \(failures.count) identities signed; of the nearest: \(nearest.message)",
            advice: nearest.advice)
    }

    private func mismatch(_ identity: CertificateIdentity, _ claims: CertificateClaims, _ issuer: String)
        throws(SigstoreError) -> SigstoreError?
    {
        guard identity.subject.holds(for: signerName) else {
            return SigstoreError(
                .wrongIdentity, "expected identity \(identity.subject.description), certificate says \(signerName)",
                advice: .remedy(.expectIdentity))
        }
        guard identity.issuer.holds(for: issuer) else {
            return SigstoreError(
                .wrongIssuer, "expected issuer \(identity.issuer.description), certificate says \(issuer)",
                advice: .remedy(.expectIssuer))
        }
        for (demanded, code) in [(identity.workflow, .wrongWorkflow), (identity.claims, .wrongClaim)]
            as [([(name: CertificateClaims.Name, pattern: CertificateIdentity.Pattern)], SigstoreError.Code)]
        {
            for (name, expected) in demanded {
                let found = try claims.value(name)
                guard let found, expected.holds(for: found) else {
                    return SigstoreError(
                        code, "expected \(name) \(expected.description), certificate says \(found ?? "nothing")")
                }
            }
        }
        return nil
    }
}

extension SigstoreError.Code {
    /// A bundle that brings a root certificate.
    public static let rootInBundle = Self("root-in-bundle")
    /// The certificate authority does not count at the time in question.
    public static let authorityNotValid = Self("authority-not-valid")
    /// A certificate without exactly one name of a kind that is used here.
    public static let unusableName = Self("unusable-name")
    /// No signed certificate timestamp that counts.
    public static let noCertificateTimestamp = Self("no-certificate-timestamp")
    /// The key of a certificate log did not count at the time in question.
    public static let certificateLogNotValid = Self("certificate-log-not-valid")
    /// A certificate log promised to include the certificate only after the signature was made.
    public static let certificateTimestampTooLate = Self("sct-too-late")
    /// The certificate shows another name than was asked for.
    public static let wrongIdentity = Self("wrong-identity")
    /// The certificate shows another issuer than was asked for, or none.
    public static let wrongIssuer = Self("wrong-issuer")
    /// The certificate shows another GitHub workflow than was asked for.
    public static let wrongWorkflow = Self("wrong-workflow")
    /// The certificate makes another claim than was asked for, or does not make it.
    public static let wrongClaim = Self("wrong-claim")
}

extension SigstoreError.Remedy {
    /// The certificate needs a trusted root with a certificate authority.
    public static let giveTrustedRoot = Self("give-a-trusted-root")
    /// The certificate carries no signed certificate timestamp.
    public static let giveCertificateTimestamp = Self("give-a-certificate-timestamp-or-ignore-it")
    /// Another identity signed than the one that was expected.
    public static let expectIdentity = Self("if-this-is-who-should-have-signed-expect-it")
    /// Another issuer vouches for the signer than the one that was expected.
    public static let expectIssuer = Self("if-this-is-who-vouches-for-the-signer-expect-it")
}
