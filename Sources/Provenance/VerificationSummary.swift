internal import InToto
public import SigstoreCrypto
public import SigstoreVerification
public import StrictJSON

/// What must hold of a verification summary (SLSA VSA 1): who verified what, and with which levels. The owner of a
/// key has looked at the provenance, and says that it held.
public struct SummaryPolicy: Sendable {
    /// The predicate type of a summary.
    public static let predicateType = "https://slsa.dev/verification_summary/v1"

    private let subjects: [(algorithm: String, value: String)]
    private let verifier: String
    private let resource: String
    private let levels: [String]

    /// Makes a policy.
    /// - Parameters:
    ///   - subjects: Digests that the summary must be about, all of them: `ALGORITHM:VALUE`, such as `sha256:…` in lower case or
    ///     `gce_image_id:…`.
    ///   - verifier: The verifier's name (`verifier.id`).
    ///   - resource: What was verified (`resourceUri`).
    ///   - levels: Levels that must have been found, all of them. One of a track of SLSA's, `SLSA_BUILD_LEVEL_2`, is met by a higher one.
    /// - Throws: `SigstoreError` with `wrong-subject` or `wrong-level` if one of them is not in that form.
    public init(subjects: [String], verifier: String, resource: String, levels: [String]) throws(SigstoreError) {
        var digests: [(algorithm: String, value: String)] = []
        for subject in subjects {
            let parts = subject.utf8.split(separator: 0x3a, maxSplits: 1, omittingEmptySubsequences: false)
            guard parts.count == 2, let algorithm = parts.first, let value = parts.last, !algorithm.isEmpty,
                !value.isEmpty
            else {
                throw SigstoreError(
                    .wrongSubject, "\"\(subject)\" is no digest",
                    advice: "write it as ALGORITHM:VALUE, such as sha256:…")
            }
            digests.append((String(Substring(algorithm)), String(Substring(value))))
        }
        for level in levels where level.isEmpty || level.utf8.starts(with: "SLSA_".utf8) && Self.step(level) == nil {
            throw SigstoreError(
                .wrongLevel, "\"\(level)\" is no level",
                advice: "write it as SLSA_BUILD_LEVEL_2, or as the verifier does")
        }
        (self.subjects, self.verifier, self.resource, self.levels) = (digests, verifier, resource, levels)
    }

    /// The bundles of a file: a bare envelope, or attestations in any other form.
    /// - Parameters:
    ///   - content: The whole file: JSON in UTF-8.
    ///   - keys: The keys one of which must have signed. An ECDSA signature in a bare envelope may be two bare numbers (IEEE P1363).
    /// - Throws: `SigstoreError` that names the member that is wrong.
    public static func bundles(in content: [UInt8], keys: [PublicKey]) throws(SigstoreError) -> [SigstoreBundle] {
        guard content.count <= SigstoreBundle.sizeLimit,
            let json = try? JSONValue(parsing: content, values: 1 << 18),
            (try? JSONCursor(json).optional("payloadType")) != nil
        else { return try AttestationDocument(parsing: content).attestations.map(\.bundle) }
        let envelope = try DSSEEnvelope(JSONCursor(json))
        var (bare, isDER) = (envelope, true)
        for (index, signature) in envelope.signatures.map(\.signature).enumerated() {
            guard let key = keys.first(where: { $0.kind.coordinateSize.map { 2 * $0 } == signature.count }) else {
                continue
            }
            bare.signatures[index].signature = try key.kind.signature(fromFixedWidth: signature)
            // Numbers may begin as DER does: then it could be either.
            isDER = signature.starts(with: [0x30, UInt8(truncatingIfNeeded: signature.count - 2)])
        }
        let isBare = bare.signatures.map(\.signature) != envelope.signatures.map(\.signature)
        return (isDER ? [envelope] : []).map(Self.bundle) + (isBare ? [bare] : []).map(Self.bundle)
    }

    private static func bundle(_ envelope: DSSEEnvelope) -> SigstoreBundle {
        SigstoreBundle(keyMaterial: .publicKey(hint: ""), content: .dsse(envelope))
    }

    /// Verifies a summary. Of several one must hold.
    /// - Parameters:
    ///   - file: What was verified, which is read for the digests that the summary names; `nil` if its digests are demanded.
    ///   - bundles: The summaries.
    ///   - signers: Who must have signed.
    ///   - verifier: The verifier.
    /// - Throws: `SigstoreError` of the first; if there are several, it says of each why it does not hold.
    public func verify(
        _ file: (any ArtifactSource)?, _ bundles: [SigstoreBundle], by signers: DemandedSigners, with verifier: Verifier
    ) throws(SigstoreError) -> VerifiedProvenance {
        guard file != nil || !subjects.isEmpty else {
            throw SigstoreError(.wrongSubject, "nothing says what the summary must be about")
        }
        let claim = BundleClaim.attestation(
            subject: file.map { .artifact($0) }, predicateType: PredicateType(uri: Self.predicateType)
        ).readOnce(digests: Set(HashAlgorithm.allCases))
        return try VerifiedProvenance.first(of: bundles) { bundle throws(SigstoreError) in
            let verified: [VerifiedBundle]
            do throws(RejectedBundle) { verified = try verifier.verify([bundle], claim, signers) } catch {
                throw error.explained
            }
            guard let statement = verified.first?.statement else {
                throw SigstoreError(.malformedProvenance, "it is no attestation")
            }
            return VerifiedProvenance(.slsa, verified, try check(statement))
        }
    }

    /// Expects that a summary says what was demanded.
    private func check(_ statement: Statement) throws(SigstoreError) -> [(VerifiedProvenance.Fact, String?)] {
        let digests = statement.subjects.flatMap(\.digests)
        for subject in subjects {
            let holds = digests.contains {
                $0.algorithm.utf8.elementsEqual(subject.algorithm.utf8) && $0.hex.utf8.elementsEqual(subject.value.utf8)
            }
            guard holds else {
                throw SigstoreError(
                    .wrongSubject,
                    "the summary is about something else: expected \(subject.algorithm):\(subject.value), found "
                        + digests.prefix(10).map { "\($0.algorithm):\($0.hex)" }.joined(separator: ", "),
                    advice: "get the summary that belongs to it")
            }
        }
        let predicate = JSONCursor(statement.predicate)
        func expect(_ code: SigstoreError.Code, _ what: String, _ expected: String, _ found: String)
            throws(SigstoreError)
        {
            guard found.utf8.elementsEqual(expected.utf8) else {
                throw SigstoreError(
                    code, "expected the \(what) \(expected), the summary says \(found)",
                    advice: "do not use it, unless that is what you want")
            }
        }
        let named = try predicate.member("verifier").member("id").string()
        try expect(.wrongVerifier, "verifier", verifier, named)
        try expect(.wrongResource, "resource", resource, try predicate.member("resourceUri").string())
        try expect(.verificationNotPassed, "result", "PASSED", try predicate.member("verificationResult").string())
        var found: [String] = []
        for level in try predicate.optional("verifiedLevels")?.elements() ?? [] { found.append(try level.string()) }
        for level in levels {
            let holds = found.contains { other in
                guard let demanded = Self.step(level) else { return other.utf8.elementsEqual(level.utf8) }
                guard let reached = Self.step(other) else { return false }
                return reached.track.utf8.elementsEqual(demanded.track.utf8) && reached.number >= demanded.number
            }
            guard holds else {
                throw SigstoreError(
                    .wrongLevel,
                    "expected the level \(level), the summary says \(found.isEmpty ? "none" : found.prefix(20).joined(separator: ", "))",
                    advice: "do not use it, unless a lower level is enough")
            }
        }
        let digest = subjects.first ?? digests.first.map { ($0.algorithm, $0.hex) }
        return [
            (.resource, resource), (.digest, digest.map { "\($0.algorithm):\($0.value)" }), (.verifier, named),
            (.levels, found.joined(separator: ", ")),
            (.verifiedAt, try predicate.optional("timeVerified")?.string()),
        ]
    }

    /// A level of a track of SLSA's: `SLSA_TRACK_LEVEL_NUMBER`; `nil` if it is none.
    private static func step(_ level: String) -> (track: String, number: Int)? {
        let parts = level.utf8.split(separator: 0x5f, omittingEmptySubsequences: false)
        guard parts.count == 4, parts[0].elementsEqual("SLSA".utf8), parts[2].elementsEqual("LEVEL".utf8),
            !parts[1].isEmpty, (1...9).contains(parts[3].count), parts[3].allSatisfy({ (0x30...0x39).contains($0) }),
            let number = Int(String(Substring(parts[3])))
        else { return nil }
        return (String(Substring(parts[1])), number)
    }
}

extension SigstoreError.Code {
    /// Another verifier made the summary than was asked for.
    public static let wrongVerifier = Self("wrong-verifier")
    /// Something else was verified than was asked for.
    public static let wrongResource = Self("wrong-resource")
    /// The verifier did not find a level that was asked for.
    public static let wrongLevel = Self("wrong-level")
    /// The verifier says that the verification failed.
    public static let verificationNotPassed = Self("verification-not-passed")
}
