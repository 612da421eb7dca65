public import SigstoreCrypto
public import StrictJSON
internal import Synchronization

/// Policies put together. All of it is demanded of one and the same bundle, which has one signer; for signatures of
/// several signers there is ``Verifier/verify(_:atLeast:of:report:)``.
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

/// Who must have signed something: any one of several, or so many of them.
public struct DemandedSigners: Sendable {
    /// A policy for each signer: the owner of a key, or of an identity.
    public let policies: [CombinedPolicy]
    /// How many of them must have signed, each by a signature of its own; `nil` if one signature that holds is enough.
    public let threshold: Int?
    /// That any one of them has signed.
    public let anyOne: CombinedPolicy

    /// The keys whose owners may have signed.
    public var keys: [PublicKey] { policies.flatMap(\.keys) }

    /// Demands that one policy holds for one signature.
    public init(_ policy: VerificationPolicy) {
        (policies, threshold, anyOne) = ([.policy(policy)], nil, .policy(policy))
    }

    /// Demands signatures of one or more of several signers.
    /// - Parameters:
    ///   - policies: A policy for each signer, at most 100.
    ///   - threshold: How many of them must hold, from 1 to as many as there are; `nil` if one signature that holds is
    ///     enough.
    /// - Throws: `SigstoreError` with `invalid-policy` if that cannot be met, or asks for nothing.
    public init(_ policies: [CombinedPolicy], threshold: Int? = nil) throws(SigstoreError) {
        try CombinedPolicy.expectSound(policies, atLeast: threshold ?? 1)
        (self.policies, self.threshold) = (policies, threshold)
        anyOne = policies.count == 1 ? policies[0] : .anyOf(policies)
    }
}

extension CombinedPolicy {
    fileprivate var keys: [PublicKey] {
        switch self {
        case .policy(let policy):
            guard case .key(let key) = policy.signedBy else { return [] }
            return [key]
        case .allOf(let parts), .anyOf(let parts): return parts.flatMap(\.keys)
        }
    }

    /// Refuses a number of policies that cannot be met or asks for nothing, and policies that are not sound.
    fileprivate static func expectSound(_ policies: [CombinedPolicy], atLeast count: Int) throws(SigstoreError) {
        guard count >= 1, count <= policies.count, policies.count <= countLimit else {
            throw SigstoreError(
                .invalidPolicy,
                "at least \(count) of \(policies.count) policies are demanded: expected 1 to \(policies.count), of at most "
                    + "\(countLimit)")
        }
        for policy in policies { try policy.expectSound() }
    }
}

extension Verifier {
    /// Verifies the signatures of one artifact, which is read as seldom as their forms allow.
    /// - Parameters:
    ///   - bundles: The bundles, of which nothing is believed yet; at most 100 if they are counted.
    ///   - claim: What is claimed of each.
    ///   - signers: Who must have signed.
    ///   - report: Called for each check as soon as it has held, of each bundle and policy that is tried.
    /// - Returns: The first bundle that holds; if signers are counted, one of each that was, in their order.
    /// - Throws: ``RejectedBundle`` of the bundle that came furthest, or with `too-few-signers`.
    public func verify(
        _ bundles: [SigstoreBundle], _ claim: BundleClaim, _ signers: DemandedSigners,
        report: ((VerificationCheck) -> Void)? = nil
    ) throws(RejectedBundle) -> [VerifiedBundle] {
        let claim = claim.readOnce()
        guard let threshold = signers.threshold else {
            let verified = try firstHeld(ofBundles: bundles) { bundle throws(RejectedBundle) in
                try evaluate(bundle, claim, signers.anyOne, report)
            }
            return [verified]
        }
        do throws(SigstoreError) {
            return try verify(
                bundles.map { (bundle: $0, claim: claim) }, atLeast: threshold, of: signers.policies, report: report)
        } catch { throw RejectedBundle(error: error, step: .identity, checks: []) }
    }

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
        return try evaluate(bundle, claim.readOnce(), policy, report)
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
                throw RejectedBundle(error: none, step: error.step, checks: error.checks, warnings: error.warnings)
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
    ///   - report: Called for each check as soon as it has held, of each bundle and policy that is tried.
    /// - Returns: One bundle of each signer that was counted, in the order of the policies; `count` of them or more.
    /// - Throws: `SigstoreError` with `invalid-policy` if the count cannot be met or asks for
    ///   nothing, with `too-many-entries` for too many bundles, and with
    ///   `too-few-signers`.
    public func verify(
        _ signatures: [(bundle: SigstoreBundle, claim: BundleClaim)], atLeast count: Int, of policies: [CombinedPolicy],
        report: ((VerificationCheck) -> Void)? = nil
    ) throws(SigstoreError) -> [VerifiedBundle] {
        try CombinedPolicy.expectSound(policies, atLeast: count)
        guard signatures.count <= CombinedPolicy.countLimit else {
            throw SigstoreError(
                .tooManyEntries,
                "\(signatures.count) signatures, more than the \(CombinedPolicy.countLimit) that are counted")
        }
        var signers = SignerCount<VerifiedBundle>(policies: policies.count)
        var failure: SigstoreError?
        for (bundle, claim) in signatures {
            let claim = claim.readOnce()
            do throws(RejectedBundle) {
                try signers.add(policies) { policy throws(RejectedBundle) in
                    let verified = try evaluate(bundle, claim, policy, report)
                    return (verified, verified.signer)
                } nearness: {
                    $0.checks.count
                }
            } catch { failure = failure ?? error.explained }
        }
        return try signers.atLeast(count, otherwise: failure)
    }
}

/// Counts who has signed: a signer counts once, whatever number of signatures it made, and so does a policy, however many
/// signers it would take.
public struct SignerCount<Held> {
    private let policies: Int
    /// Each signer, with what holds of it for each policy. The maker of one signature is one signer, also if a key and a
    /// certificate for that key both show who it is.
    private var signers: [(identifiers: Set<[UInt8]>, held: [Int: Held])] = []

    /// Begins with nobody.
    /// - Parameter policies: How many policies there are.
    public init(policies: Int) { self.policies = policies }

    /// Whether nothing has held for any policy.
    public var isEmpty: Bool { signers.isEmpty }

    /// Tries one signature with each policy.
    /// - Parameters:
    ///   - policies: The policies.
    ///   - verify: Verifies the signature, and says who signed.
    ///   - nearness: How far the signature came, such as the number of checks that held.
    /// - Throws: What the policy throws for which the signature came furthest, if none holds.
    public mutating func add<Policy, Failure>(
        _ policies: [Policy], _ verify: (Policy) throws(Failure) -> (held: Held, signer: VerifiedSigner),
        nearness: (Failure) -> Int
    ) throws(Failure) {
        var failure: Failure?
        var signer: (identifiers: Set<[UInt8]>, held: [Int: Held]) = ([], [:])
        for (index, policy) in policies.enumerated() {
            do throws(Failure) {
                let (held, found) = try verify(policy)
                signer.identifiers.insert(found.identifier)
                signer.held[index] = held
            } catch {
                if failure.map({ nearness($0) < nearness(error) }) ?? true { failure = error }
            }
        }
        guard !signer.held.isEmpty else {
            if let failure { throw failure }
            return
        }
        let known = signers.filter { !$0.identifiers.isDisjoint(with: signer.identifiers) }
        signers.removeAll { !$0.identifiers.isDisjoint(with: signer.identifiers) }
        for other in known.reversed() {
            signer.identifiers.formUnion(other.identifiers)
            // What was found first stays.
            signer.held.merge(other.held) { _, first in first }
        }
        signers.append(signer)
    }

    /// The most policies that hold side by side, each by a signer of its own: a matching as large as there is one, found
    /// by augmenting paths (Kuhn). Who comes first must not decide.
    private func counted() -> [Held] {
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

    /// The signers that count, in the order of the policies.
    /// - Parameters:
    ///   - count: How many there must be.
    ///   - failure: Why a signature does not count, for the error.
    /// - Throws: `SigstoreError` with `too-few-signers`.
    public func atLeast(_ count: Int, otherwise failure: SigstoreError?) throws(SigstoreError) -> [Held] {
        let counted = counted()
        guard counted.count >= count else {
            throw SigstoreError(
                .tooFewSigners,
                "expected signatures by at least \(count) of the signers that are demanded, found \(counted.count)"
                    + (failure.map { "; of the signatures that do not count: \($0.message)" } ?? ""),
                advice: failure?.advice, cause: failure)
        }
        return counted
    }
}

extension BundleClaim {
    /// The same claim about an artifact that is not read again for what is known of it already.
    /// - Parameters:
    ///   - digests: Digests that the first reading gives besides those that are needed then.
    ///   - schemes: Schemes that the first reading is for besides those that are needed then.
    public func readOnce(digests: Set<HashAlgorithm> = [], schemes: Set<SignatureScheme> = []) -> BundleClaim {
        func once(_ artifact: any ArtifactSource) -> any ArtifactSource {
            artifact as? OnceReadArtifact ?? OnceReadArtifact(artifact, digests, schemes)
        }
        return switch self {
        case .message(let artifact): .message(once(artifact))
        case .attestation(.artifact(let artifact, let algorithm)?, let type):
            .attestation(subject: .artifact(once(artifact), namedBy: algorithm), predicateType: type)
        case .attestation: self
        }
    }
}

/// An artifact that several policies or bundles look at.
private final class OnceReadArtifact: ArtifactSource {
    private let source: any ArtifactSource
    private let more: (digests: Set<HashAlgorithm>, schemes: Set<SignatureScheme>)
    private let last = Mutex<(digests: Set<HashAlgorithm>, schemes: Set<SignatureScheme>, message: HashedMessage)?>(nil)

    init(_ source: any ArtifactSource, _ digests: Set<HashAlgorithm>, _ schemes: Set<SignatureScheme>) {
        (self.source, more) = (source, (digests, schemes))
    }

    func read(digests: Set<HashAlgorithm>, schemes: Set<SignatureScheme>) throws(SigstoreError) -> HashedMessage {
        // One reading is for all: others wait for it.
        try last.withLock { (last) throws(SigstoreError) in
            if let last, digests.isSubset(of: last.digests), schemes.isSubset(of: last.schemes) { return last.message }
            let (digests, schemes) = (digests.union(more.digests), schemes.union(more.schemes))
            let message = try source.read(digests: digests, schemes: schemes)
            last = (digests, schemes, message)
            return message
        }
    }
}

extension VerifiedBundle {
    /// What is known after another policy has held for the same bundle too.
    fileprivate func adding(_ other: VerifiedBundle) -> VerifiedBundle {
        var both = self
        let more = other.checks.filter { check in !checks.contains { $0.isSame(as: check) } }
        both.checks = VerificationStep.allCases.flatMap { step in (checks + more).filter { $0.step == step } }
        for time in other.times where !times.contains(where: { $0.isSame(as: time) }) { both.times.append(time) }
        both.unproven += other.unproven.filter { !unproven.contains($0) }
        // What warnings are about is the bundle, which is the same.
        for warning in other.warnings
        where !warnings.contains(where: { $0.message.utf8.elementsEqual(warning.message.utf8) }) {
            both.warnings.append(warning)
        }
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
    /// A combined policy that nothing could meet, or that would hold for anything.
    public static let invalidPolicy = Self("invalid-policy")
    /// Fewer signers than a policy demands.
    public static let tooFewSigners = Self("too-few-signers")
}
