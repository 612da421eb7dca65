internal import SigstoreCrypto
public import StrictJSON
internal import Synchronization

/// Policies put together. All of it is demanded of one and the same bundle, which has one signer; for signatures of
/// several signers there is ``Verifier/verify(_:atLeast:of:)``.
public indirect enum CombinedPolicy: Sendable {
    /// This policy holds.
    case policy(VerificationPolicy)
    /// Every one of these holds. None is refused: it would hold for everything.
    case allOf([CombinedPolicy])
    /// At least one of these holds. None is refused: it could never hold.
    case anyOf([CombinedPolicy])

    /// How deep policies may be put into each other.
    static let depthLimit = 16
    /// How many policies may be put together in one list.
    static let countLimit = 100

    fileprivate static let nothingDemanded = SigstoreError(
        .invalidPolicy, "a combined policy puts no policies together: expected at least one")

    /// Refuses a policy with an empty list anywhere, before anything is verified: it is not what was meant.
    func expectSound(depth: Int = 1) throws(SigstoreError) {
        let parts: [CombinedPolicy]
        switch self {
        case .policy: return
        case .allOf(let list), .anyOf(let list): parts = list
        }
        guard !parts.isEmpty else { throw Self.nothingDemanded }
        guard parts.count <= Self.countLimit, depth <= Self.depthLimit else {
            throw SigstoreError(
                .invalidPolicy,
                "a combined policy is too large: expected at most \(Self.countLimit) policies in a list and "
                    + "\(Self.depthLimit) lists in each other")
        }
        for part in parts { try part.expectSound(depth: depth + 1) }
    }
}

extension Verifier {
    /// Verifies a bundle by several policies.
    ///
    /// The artifact is read once, unless the policies need it in different forms, as those of keys of several kinds do.
    /// - Parameters:
    ///   - bundle: The bundle, of which nothing is believed yet.
    ///   - claim: What is claimed of it.
    ///   - policy: What must hold.
    ///   - report: Called for each check as soon as it has held, of each policy that is tried.
    /// - Returns: The bundle with what is now known about it; the checks and times are those of all policies that hold.
    /// - Throws: ``RejectedBundle``. If none of several policies holds, it is of the one that came furthest. With
    ///   `invalid-policy` if a list is empty, or the policy is too large.
    public func verify(
        _ bundle: SigstoreBundle, _ claim: BundleClaim, _ policy: CombinedPolicy,
        report: ((VerificationCheck) -> Void)? = nil
    ) throws(RejectedBundle) -> VerifiedBundle {
        do throws(SigstoreError) { try policy.expectSound() } catch {
            throw RejectedBundle(error: error, step: .form, checks: [])
        }
        return try evaluate(bundle, claim.readOnce, policy, report)
    }

    private func evaluate(
        _ bundle: SigstoreBundle, _ claim: BundleClaim, _ policy: CombinedPolicy,
        _ report: ((VerificationCheck) -> Void)?
    ) throws(RejectedBundle) -> VerifiedBundle {
        switch policy {
        case .policy(let policy): return try verify(bundle, claim, policy, report: report)
        case .allOf(let parts):
            var held: VerifiedBundle?
            for part in parts {
                let verified = try evaluate(bundle, claim, part, report)
                held = held?.adding(verified) ?? verified
            }
            guard let held else {
                throw RejectedBundle(error: CombinedPolicy.nothingDemanded, step: .form, checks: [])
            }
            return held
        case .anyOf(let parts):
            do throws(RejectedBundle) {
                return try firstHeld(of: parts) { part throws(RejectedBundle) in
                    try evaluate(bundle, claim, part, report)
                }
            } catch {
                guard parts.count != 1 else { throw error }
                var none = error.error
                none.message = "none of the policies holds; of the nearest: \(none.message)"
                throw RejectedBundle(error: none, step: error.step, checks: error.checks)
            }
        }
    }

    /// Verifies that several have signed, each for a policy of its own: of the policies, at least so many hold.
    ///
    /// A signer counts once, whatever number of bundles it made: the owner of one key, or of one identity by one issuer,
    /// byte for byte. A policy counts once too, however many signers it would take. Bundles for which no policy holds are
    /// passed over.
    /// - Parameters:
    ///   - signatures: The bundles, at most 100, each with what is claimed of it. That all claims are about the same
    ///     artifact is the caller's to see to.
    ///   - count: How many policies must hold: at least 1, at most as many as there are.
    ///   - policies: The policies, at most 100.
    /// - Returns: One bundle of each signer that was counted, in the order of the policies; `count` of them or more.
    /// - Throws: `SigstoreError` with `invalid-policy` if the count cannot be met or asks for
    ///   nothing, with `too-many-entries` for too many bundles, and with
    ///   `too-few-signers`.
    public func verify(
        _ signatures: [(bundle: SigstoreBundle, claim: BundleClaim)], atLeast count: Int, of policies: [CombinedPolicy]
    ) throws(SigstoreError) -> [VerifiedBundle] {
        guard count >= 1, count <= policies.count, policies.count <= CombinedPolicy.countLimit else {
            throw SigstoreError(
                .invalidPolicy,
                "at least \(count) of \(policies.count) policies are demanded: expected 1 to \(policies.count), of at most "
                    + "\(CombinedPolicy.countLimit)")
        }
        for policy in policies { try policy.expectSound() }
        guard signatures.count <= CombinedPolicy.countLimit else {
            throw SigstoreError(
                .tooManyEntries,
                "\(signatures.count) signatures, more than the \(CombinedPolicy.countLimit) that are counted")
        }
        var signers = SignerCount(policies: policies.count)
        var failure: SigstoreError?
        for (bundle, claim) in signatures {
            let claim = claim.readOnce
            for (index, policy) in policies.enumerated() {
                do throws(RejectedBundle) {
                    signers.add(try evaluate(bundle, claim, policy, nil), policy: index)
                } catch { failure = failure ?? error.explained }
            }
        }
        let counted = signers.counted()
        guard counted.count >= count else {
            throw SigstoreError(
                .tooFewSigners,
                "expected signatures by at least \(count) signers, each for a policy of its own, found \(counted.count)"
                    + (failure.map { "; of the signatures that do not count: \($0.message)" } ?? ""),
                advice: failure?.advice, cause: failure)
        }
        return counted
    }
}

/// Which signer is right for which policies.
private struct SignerCount {
    private let policies: Int
    /// Each signer, with the bundle for each policy that holds for it.
    private var signers: [(identifier: [UInt8], held: [Int: VerifiedBundle])] = []

    init(policies: Int) { self.policies = policies }

    mutating func add(_ verified: VerifiedBundle, policy: Int) {
        let identifier = verified.signer.identifier
        let index = signers.firstIndex { $0.identifier == identifier } ?? signers.endIndex
        if index == signers.endIndex { signers.append((identifier: identifier, held: [:])) }
        if signers[index].held[policy] == nil { signers[index].held[policy] = verified }
    }

    /// The most policies that hold side by side, each by a signer of its own: a matching as large as there is one, found
    /// by augmenting paths (Kuhn). Who comes first must not decide.
    func counted() -> [VerifiedBundle] {
        var signer = [Int?](repeating: nil, count: policies)
        func find(_ candidate: Int, _ seen: inout Set<Int>) -> Bool {
            for policy in signers[candidate].held.keys.sorted() where seen.insert(policy).inserted {
                if let other = signer[policy], !find(other, &seen) { continue }
                signer[policy] = candidate
                return true
            }
            return false
        }
        for candidate in signers.indices {
            var seen: Set<Int> = []
            _ = find(candidate, &seen)
        }
        return signer.enumerated().compactMap { policy, candidate in candidate.flatMap { signers[$0].held[policy] } }
    }
}

extension BundleClaim {
    /// The same claim about an artifact that is not read again for the same purpose.
    fileprivate var readOnce: BundleClaim {
        switch self {
        case .message(let artifact): .message(OnceReadArtifact(artifact))
        case .attestation(.artifact(let artifact)?, let type):
            .attestation(subject: .artifact(OnceReadArtifact(artifact)), predicateType: type)
        case .attestation: self
        }
    }
}

/// An artifact that several policies look at.
private final class OnceReadArtifact: ArtifactSource {
    private let source: any ArtifactSource
    private let last = Mutex<(digests: Set<HashAlgorithm>, schemes: Set<SignatureScheme>, message: HashedMessage)?>(nil)

    init(_ source: any ArtifactSource) { self.source = source }

    func read(digests: Set<HashAlgorithm>, schemes: Set<SignatureScheme>) throws(SigstoreError) -> HashedMessage {
        let known = last.withLock { last in
            last.flatMap { digests == $0.digests && schemes == $0.schemes ? $0.message : nil }
        }
        if let known { return known }
        let message = try source.read(digests: digests, schemes: schemes)
        last.withLock { $0 = (digests, schemes, message) }
        return message
    }
}

extension VerifiedBundle {
    /// What is known after another policy has held for the same bundle too.
    fileprivate func adding(_ other: VerifiedBundle) -> VerifiedBundle {
        var both = self
        let more = other.checks.filter { check in !checks.contains { $0.isSame(as: check) } }
        both.checks = VerificationStep.allCases.flatMap { step in (checks + more).filter { $0.step == step } }
        for time in other.times where !times.contains(where: { $0.isSame(as: time) }) { both.times.append(time) }
        return both
    }
}

extension VerificationCheck {
    fileprivate func isSame(as other: VerificationCheck) -> Bool {
        step == other.step && name.utf8.elementsEqual(other.name.utf8) && detail.utf8.elementsEqual(other.detail.utf8)
    }
}

extension VerifiedTime {
    fileprivate func isSame(as other: VerifiedTime) -> Bool {
        guard seconds == other.seconds else { return false }
        return switch (source, other.source) {
        case (.timestampAuthority(let name), .timestampAuthority(let another)),
            (.transparencyLog(let name), .transparencyLog(let another)):
            name.utf8.elementsEqual(another.utf8)
        case (.currentTime, .currentTime): true
        default: false
        }
    }
}

extension SigstoreError.Code {
    /// A combined policy that nothing could meet, or everything would.
    public static let invalidPolicy = Self("invalid-policy")
    /// Fewer signers than a policy demands.
    public static let tooFewSigners = Self("too-few-signers")
}
