internal import InToto
internal import OCIRegistry
internal import Provenance
internal import SigstoreCrypto
public import SigstoreVerification
public import StrictJSON

/// Says of each signature who made it and whether that signer is accepted, by the one verifier and several policies.
public struct AuditJudge: Sendable {
    /// The verifier, with whom it believes.
    public let verifier: Verifier
    /// Who must have signed; `nil` if nobody is named.
    public let accepted: DemandedSigners?
    /// Who was accepted before; `nil` if nobody is named.
    public let former: CombinedPolicy?
    /// What must hold of the certificates of all others.
    private let others: CombinedPolicy
    /// What stands before tags of the older scheme.
    public var tagPrefix = ""
    /// Looks up the log entries that signatures of the older scheme came without; `nil` if nothing may. It must demand
    /// ``everyone``.
    public var signatureLookup: LogLookup?
    /// The same for attestations, of which a log learns the whole. It must demand ``named``.
    public var attestationLookup: LogLookup?
    /// Those who are named, and every other owner of a certificate.
    public let everyone: DemandedSigners
    /// Who is accepted, and who was; `nil` if nobody is named.
    public let named: DemandedSigners?

    /// - Parameters:
    ///   - verifier: The verifier, with whom it believes.
    ///   - accepted: Who must have signed; `nil` if nobody is named.
    ///   - former: Who was accepted before; `nil` if nobody is named.
    ///   - rules: What must hold of certificates of signers who are not named. Who it says must have signed does not count.
    public init(
        verifier: Verifier, accepted: DemandedSigners?, former: CombinedPolicy? = nil, rules: VerificationPolicy
    ) throws(SigstoreError) {
        (self.verifier, self.accepted, self.former) = (verifier, accepted, former)
        let anyName = CertificateIdentity.Pattern.matching(try IdentityPattern("(?s)^"))
        var rules = rules
        rules.signedBy = .identities([CertificateIdentity(subject: anyName, issuer: anyName)])
        others = .policy(rules)
        let known = [accepted?.anyOne, former].compactMap { $0 }
        named = known.isEmpty ? nil : try DemandedSigners(known)
        everyone = try DemandedSigners(known + [others])
    }

    /// The signatures and attestations of one digest, as far as they were judged.
    struct Findings {
        var signatures: [AuditSignature] = []
        var attestations: [AuditSignature] = []
        var sboms: [String] = []
        /// Why what was demanded does not hold, or something could not be looked at.
        var failures: [AuditFailure] = []
        /// Who is counted, if signers are.
        fileprivate var counted: SignerCount<Bool>?

        init(_ judge: AuditJudge) {
            guard let accepted = judge.accepted, accepted.threshold != nil else { return }
            counted = SignerCount(policies: accepted.policies.count)
        }

        /// Adds what could not be looked at.
        mutating func add(unread errors: [SigstoreError], _ scheme: String, areAttestations: Bool = false) {
            for error in errors.prefix(SignatureStore.limit) {
                var one = AuditSignature(scheme: scheme, verdict: .couldNotLook)
                one.failure = AuditFailure(error)
                if areAttestations { attestations.append(one) } else { signatures.append(one) }
            }
        }
    }

    // MARK: - Log entries

    /// Looks up the log entries that signatures of the older scheme came without.
    /// - Returns: The same signatures, each once: with an entry that holds, or as they were if there is none.
    func completed(_ found: StoredSignatures, of image: Image, areAttestations: Bool) async -> StoredSignatures {
        guard let lookup = areAttestations ? attestationLookup : signatureLookup else { return found }
        let verifier = ImageVerifier(verifier: verifier, policy: .init(signedBy: .identities([])))
        var completed = found
        completed.readable = []
        for signature in found.readable {
            let sought: ImageVerifier.Sought
            switch (signature.form, signature.predicateType) {
            case (.simpleSigning, _): sought = .signature
            case (_, let type?): sought = .attestation(type)
            case (_, nil):
                completed.readable.append(signature)
                continue
            }
            do throws(SigstoreError) {
                let whole = try await verifier.completed(signature, of: image, as: sought, lookup) ?? [signature]
                let holding = whole.first {
                    (try? verifier.verify($0, of: image, as: sought, by: everyone.anyOne)) != nil
                }
                completed.readable.append(holding ?? whole.first ?? signature)
            } catch { completed.unread.append(error) }
        }
        return completed
    }

    /// Looks up the log entry that a signature beside a file came without.
    /// - Returns: The same signature with an entry that holds, or as it was if there is none.
    /// - Throws: Because a log that may have it could not be asked.
    func completed(_ bundle: SigstoreBundle, _ claim: BundleClaim) async throws(SigstoreError) -> SigstoreBundle {
        guard let signatureLookup, bundle.logEntries.isEmpty else { return bundle }
        do throws(LogLookup.Failure) {
            let found = try await signatureLookup.bundles(bundle, claim)
            return found.first { (try? verifier.verify($0, claim, everyone.anyOne)) != nil } ?? found.first ?? bundle
        } catch {
            guard case .couldNotLook(let reason) = error else { return bundle }
            throw reason
        }
    }

    // MARK: - One signature

    /// Judges what was found of an image in one place.
    func judge(
        _ found: StoredSignatures, _ scheme: String, of image: Image, _ findings: inout Findings,
        areAttestations: Bool = false
    ) {
        findings.add(unread: found.unread, scheme, areAttestations: areAttestations)
        for error in found.unreadable {
            var one = AuditSignature(scheme: scheme, verdict: .invalid)
            one.failure = AuditFailure(error)
            if areAttestations { findings.attestations.append(one) } else { findings.signatures.append(one) }
        }
        for signature in found.readable {
            var signature = signature
            var one = claimed(by: signature.bundle, scheme)
            let type: PredicateType?
            do throws(SigstoreError) { type = try signature.readPredicateType() } catch {
                one.failure = AuditFailure(error)
                findings.signatures.append(one)
                continue
            }
            let sought: ImageVerifier.Sought
            switch (signature.form, type) {
            case (.simpleSigning, _): sought = .signature
            case (.bundle, let type?) where type.matches(.cosignSign): sought = .signature
            case (_, let type?): sought = .attestation(type)
            case (_, nil):
                one.failure = AuditFailure(
                    SigstoreError(
                        .unreadableSignature, "\(signature.place): it is a signature over a file, not of an image"))
                findings.signatures.append(one)
                continue
            }
            let verifier = ImageVerifier(verifier: verifier, policy: .init(signedBy: .identities([])))
            let stored = signature
            judge(&one, sought.isSignature ? nil : type, &findings) { policy throws(SigstoreError) in
                try verifier.verify(stored, of: image, as: sought, by: policy)
            }
        }
    }

    /// Judges one signature, and adds it.
    /// - Parameters:
    ///   - type: The type of its predicate, if it is an attestation.
    ///   - check: Verifies it by a policy.
    func judge(
        _ signature: inout AuditSignature, _ type: PredicateType?, _ findings: inout Findings,
        _ check: (CombinedPolicy) throws(SigstoreError) -> VerifiedBundle
    ) {
        let isAttestation = type != nil
        signature.predicateType = type?.uri
        do throws(SigstoreError) {
            let verified = try judge(&signature, counting: !isAttestation, &findings, check)
            describe(verified, &signature)
            if isAttestation, let uri = type?.uri,
                ["spdx", "cyclonedx"].contains(where: { uri.lowercased().contains($0) })
            {
                findings.sboms.append(uri)
            }
        } catch {
            signature.verdict = .invalid
            signature.failure = AuditFailure(error)
        }
        if isAttestation { findings.attestations.append(signature) } else { findings.signatures.append(signature) }
    }

    /// Tries who is accepted, who was, and any other owner of a certificate.
    /// - Throws: Why it holds for nobody.
    private func judge(
        _ signature: inout AuditSignature, counting: Bool, _ findings: inout Findings,
        _ check: (CombinedPolicy) throws(SigstoreError) -> VerifiedBundle
    ) throws(SigstoreError) -> VerifiedBundle {
        var failure: SigstoreError?
        if let accepted {
            do throws(SigstoreError) {
                let verified: VerifiedBundle
                if counting, findings.counted != nil {
                    var held: VerifiedBundle?
                    try findings.counted?.add(accepted.policies) { policy throws(SigstoreError) in
                        let verified = try check(policy)
                        held = held ?? verified
                        return (true, verified.signer)
                    } nearness: { _ in
                        0
                    }
                    guard let held else { throw SigstoreError(.invalidPolicy, "nobody is demanded") }
                    verified = held
                } else {
                    verified = try check(accepted.anyOne)
                }
                signature.verdict = .accepted
                return verified
            } catch { failure = error }
        }
        if let former {
            do throws(SigstoreError) {
                let verified = try check(former)
                signature.verdict = .formerSigner
                return verified
            } catch { failure = failure ?? error }
        }
        do throws(SigstoreError) {
            let verified = try check(others)
            signature.verdict = .otherSigner
            return verified
        } catch {
            // Of a certificate this is the reason; of a key that is known, why it does not hold for that.
            throw signature.identity == nil ? failure ?? error : error
        }
    }

    // MARK: - What is said of it

    /// What a bundle says of its signer, of which nothing is believed yet.
    func claimed(by bundle: SigstoreBundle, _ scheme: String) -> AuditSignature {
        var signature = AuditSignature(scheme: scheme, verdict: .invalid)
        switch bundle.keyMaterial {
        case .publicKey(let hint): if !hint.isEmpty { signature.key = hint }
        case .certificates(let chain):
            guard let leaf = chain.first, let certificate = try? Certificate(der: leaf) else { return signature }
            signature.identity = certificate.subjectAlternativeNames.lazy.compactMap(\.text).first ?? ""
            signature.issuer = try? CertificateClaims(certificate).issuer()
        }
        return signature
    }

    /// What is known once it holds.
    private func describe(_ verified: VerifiedBundle, _ signature: inout AuditSignature) {
        switch verified.signer {
        case .key(let fingerprint): (signature.key, signature.identity, signature.issuer) = (fingerprint, nil, nil)
        case .certificate(let identity, let issuer): (signature.identity, signature.issuer) = (identity, issuer)
        }
        signature.claims = verified.claims?.values.map { (name: $0.name.text, value: $0.value) } ?? []
        signature.times = verified.times.map { time in
            let (source, name) =
                switch time.source {
                case .timestampAuthority(let name): ("timestamp-authority", name)
                case .transparencyLog(let name): ("transparency-log", name)
                case .currentTime: ("clock", "")
                }
            return AuditSignature.Time(Instant(seconds: time.seconds), source: source, name: name)
        }
        signature.checks = verified.checks.map(\.name)
        // An entry that nobody looked at may be anything.
        if verified.checks.contains(where: { $0.step == .transparencyLog }) {
            signature.logEntries = verified.bundle.logEntries.map { entry in
                let log = verifier.trustedRoot?.transparencyLogs.first {
                    $0.logID == entry.logID && !$0.baseURL.isEmpty
                }
                return AuditSignature.LogEntry(
                    log: log?.baseURL ?? Base64.encode(entry.logID), index: entry.logIndex)
            }
        }
        guard let statement = verified.statement, let facts = BuildFacts(statement) else { return }
        (signature.builder, signature.source) = (facts.builder, facts.source)
        // Who is not accepted can say anything of how something was built.
        if signature.verdict == .accepted { signature.slsaLevel = facts.level(by: verified.claims) }
    }

    // MARK: - One digest

    /// Whether accepted signers signed it, as many as are demanded, whatever else is found.
    func isSettled(_ findings: Findings) -> Bool {
        findings.signatures.contains { $0.verdict == .accepted } && tooFew(findings) == nil
    }

    /// Why those who were counted are not enough; `nil` if they are, or none are counted.
    private func tooFew(_ findings: Findings) -> SigstoreError? {
        guard let counted = findings.counted, let threshold = accepted?.threshold else { return nil }
        do throws(SigstoreError) { _ = try counted.atLeast(threshold, otherwise: nil) } catch { return error }
        return nil
    }

    /// Fills in what is said of a digest of which everything was looked at, or it is said what was not.
    /// - Parameter isOpen: Whether it may be something else than it seems, since it could not be read.
    func conclude(_ row: inout AuditRow, _ findings: Findings, isOpen: Bool = false) {
        row.signatures = findings.signatures
        row.attestations = findings.attestations
        var sboms: [String] = []
        for type in row.sboms + findings.sboms where !sboms.contains(where: { $0.utf8.elementsEqual(type.utf8) }) {
            sboms.append(type)
        }
        row.sboms = sboms
        row.failures += findings.failures
        let verdicts = Set(findings.signatures.map(\.verdict))
        let isUnread = verdicts.contains(.couldNotLook)
        if findings.signatures.contains(where: { $0.verdict != .couldNotLook }) {
            row.signed = .yes
        } else {
            row.signed = isUnread || isOpen ? .couldNotLook : .no
        }
        let tooFew = verdicts.contains(.accepted) ? tooFew(findings) : nil
        if verdicts.contains(.accepted), tooFew == nil {
            row.verdict = .accepted
        } else if isUnread || row.signed == .couldNotLook {
            // What could not be read may be what is demanded.
            row.verdict = .couldNotLook
        } else if row.signed == .no {
            row.verdict = .unsigned
        } else if accepted == nil,
            findings.signatures.contains(where: { $0.verdict == .otherSigner || $0.isByUnknownKey })
        {
            row.verdict = .notJudged
        } else if verdicts.contains(.formerSigner) {
            row.verdict = .formerSigner
        } else if verdicts.contains(.otherSigner) {
            row.verdict = .otherSigner
        } else {
            row.verdict = .invalid
        }
        if let tooFew { row.failures.append(AuditFailure(tooFew)) }
    }
}

extension AuditSignature {
    /// Whether a key signed that is none of those which are known.
    fileprivate var isByUnknownKey: Bool {
        let codes: [SigstoreError.Code] = [.keyNotCertificate, .wrongKey, .invalidSignature]
        return verdict == .invalid && identity == nil && codes.contains { $0.rawValue == failure?.code }
    }
}
