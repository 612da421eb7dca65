public import InToto
internal import OCIRegistry
internal import SigstoreCrypto
public import SigstoreVerification
public import StrictJSON

/// A signature or attestation of an image that holds.
public struct VerifiedImageSignature: Sendable {
    /// What was found.
    public let signature: StoredSignature
    /// What the verifier knows of it.
    public let verified: VerifiedBundle
    /// The payload that cosign prints for it: of the older scheme what was signed, of the newer the same made of it.
    public let payload: JSONValue
}

/// Verifies what is found with images.
public struct ImageVerifier: Sendable {
    /// What is looked for.
    public enum Sought: Sendable {
        /// A signature: a payload of the older scheme, or a statement of cosign's sign predicate. Never some attestation.
        case signature
        /// An attestation whose predicate has this type.
        case attestation(PredicateType)
    }

    private let verifier: Verifier
    private let signers: DemandedSigners
    private let annotations: [(name: String, value: String)]
    private let checksClaims: Bool
    private let report: @Sendable (StoredSignature, VerificationCheck) -> Void

    /// - Parameters:
    ///   - verifier: The verifier, with whom it believes.
    ///   - policy: Who must have signed, and what must hold.
    ///   - annotations: What the signer must have said, compared byte for byte.
    ///   - checksClaims: Whether the digest that was signed must be the image's.
    ///   - report: Called for each check of a signature as soon as it has held.
    public init(
        verifier: Verifier, policy: VerificationPolicy,
        annotations: [(name: String, value: String)] = [], checksClaims: Bool = true,
        report: @escaping @Sendable (StoredSignature, VerificationCheck) -> Void = { _, _ in }
    ) {
        self.init(
            verifier: verifier, signers: DemandedSigners(policy), annotations: annotations, checksClaims: checksClaims,
            report: report)
    }

    /// - Parameters:
    ///   - verifier: The verifier, with whom it believes.
    ///   - signers: Who must have signed: any one of these, or so many of them.
    ///   - annotations: What each signer must have said, compared byte for byte.
    ///   - checksClaims: Whether the digest that was signed must be the image's.
    ///   - report: Called for each check of a signature as soon as it has held.
    public init(
        verifier: Verifier, signers: DemandedSigners,
        annotations: [(name: String, value: String)] = [], checksClaims: Bool = true,
        report: @escaping @Sendable (StoredSignature, VerificationCheck) -> Void = { _, _ in }
    ) {
        self.verifier = verifier
        self.signers = signers
        self.annotations = annotations
        self.checksClaims = checksClaims
        self.report = report
    }

    /// Verifies an image.
    /// - Parameters:
    ///   - image: The image.
    ///   - found: What was found with it (``SignatureStore/find(_:)``).
    ///   - sought: What is looked for.
    /// - Returns: Everything that holds; at least one. If signers are counted, one signature of each that was.
    /// - Throws: `SigstoreError` with `no-signature` if there is nothing, `no-matching-signature` if nothing holds,
    ///   `no-certificate` if an identity is demanded and keys signed, `too-few-signers` if signers are counted. If not
    ///   enough holds and not everything could be looked at, the error says why that is, with the code of the first
    ///   reason.
    public func verify(_ image: Image, _ found: StoredSignatures, _ sought: Sought) throws(SigstoreError)
        -> [VerifiedImageSignature]
    {
        var trial = Trial(self, image, sought)
        trial.add(found)
        return try trial.result()
    }

    /// Verifies an image. If nothing holds, the image is asked for unless it was before, the log entries of signatures of the
    /// older scheme that came without one are looked up, and it is verified again.
    /// - Parameters:
    ///   - image: The image.
    ///   - found: What was found with it.
    ///   - sought: What is looked for.
    ///   - lookup: What looks up log entries; `nil` if nothing may.
    /// - Returns: As ``verify(_:_:_:)``.
    /// - Throws: As ``verify(_:_:_:)``, and `image-not-found` if there is no such image. A log that could not be asked is
    ///   something that could not be looked at.
    public func verify(_ image: Image, _ found: StoredSignatures, _ sought: Sought, _ lookup: LogLookup?)
        async throws(SigstoreError) -> [VerifiedImageSignature]
    {
        var trial = Trial(self, image, sought)
        trial.add(found)
        if let held = trial.held { return held }
        if let absence = await image.absence() { throw absence }
        return try await result(of: trial, lookup)
    }

    /// Finds what is with an image, and verifies it. No more is asked for than is needed: the tag of the older scheme only if
    /// no bundle holds, and the image itself, if it is named by its digest, only if nothing holds. If signers are counted, both
    /// schemes are read. Before an image is called unsigned, the registry's own list of what refers to it has been asked for.
    /// - Parameters:
    ///   - store: Where the image's signatures are.
    ///   - sought: What is looked for; by default signatures.
    ///   - all: Whether everything that holds is looked for, in both schemes.
    ///   - lookup: What looks up log entries of signatures of the older scheme that came without one; `nil` if nothing may.
    /// - Returns: What holds where it was looked: at least one, and if signers are counted, one signature of each that was.
    ///   With it, everything that was found on the way.
    /// - Throws: As ``verify(_:_:_:)``; `image-not-found` if there is no such image; if the store could not be asked, or more
    ///   is there than is looked at.
    public func verify(
        _ store: SignatureStore, _ sought: Sought = .signature, all: Bool = false, _ lookup: LogLookup? = nil
    ) async throws(SigstoreError) -> (signatures: [VerifiedImageSignature], found: StoredSignatures) {
        let image = store.image
        var search = SignatureSearch(store, sought.isSignature ? .signature : .attestation)
        var trial = Trial(self, image, sought)
        do throws(SigstoreError) {
            if all {
                trial.add(try await search.look(.bundles, .tag))
            } else if signers.threshold != nil {
                trial.add(try await search.look(.likelyBundles, .tag))
            } else {
                trial.add(try await search.look(.likelyBundles))
                if let held = trial.held { return (held, search.found) }
                trial.add(try await search.look(.tag))
            }
            if let held = trial.held { return (held, search.found) }
        } catch {
            throw await image.absence() ?? error
        }
        async let absence = image.absence()
        let rest: Result<StoredSignatures, SigstoreError>
        do throws(SigstoreError) { rest = .success(try await search.look(.omittedBundles)) } catch {
            rest = .failure(error)
        }
        if let absence = await absence { throw absence }
        trial.add(try rest.get())
        return (try await result(of: trial, lookup), search.found)
    }

    /// What holds, with the log entries that can be looked up, if nothing does without.
    private func result(of trial: Trial, _ lookup: LogLookup?) async throws(SigstoreError) -> [VerifiedImageSignature] {
        do throws(SigstoreError) { return try trial.result() } catch {
            guard let lookup, let completed = await completed(trial.image, trial.found, trial.sought, lookup) else {
                throw error
            }
            return try verify(trial.image, completed, trial.sought)
        }
    }

    /// What was found, with the log entries that were looked up; `nil` if there was nothing to look up.
    private func completed(_ image: Image, _ found: StoredSignatures, _ sought: Sought, _ lookup: LogLookup) async
        -> StoredSignatures?
    {
        var completed = found
        completed.readable = []
        var isAsked = false
        for signature in found.readable {
            do throws(SigstoreError) {
                guard let whole = try await self.completed(signature, of: image, as: sought, lookup) else {
                    completed.readable.append(signature)
                    continue
                }
                completed.readable += whole
            } catch { completed.unread.append(error) }
            isAsked = true
        }
        return isAsked ? completed : nil
    }

    /// Looks up the log entry of a signature of the older scheme that came without one.
    /// - Returns: The signature with each entry that was found, or as it is if there is none; `nil` if it is no such signature,
    ///   or not what is sought.
    /// - Throws: Because a log that may have it could not be asked.
    func completed(
        _ signature: StoredSignature, of image: Image, as sought: Sought, _ lookup: LogLookup
    ) async throws(SigstoreError) -> [StoredSignature]? {
        guard signature.bundle.logEntries.isEmpty, !signature.isOfNewerScheme,
            isSought(signature.form, signature.predicateType, sought)
        else { return nil }
        do throws(LogLookup.Failure) {
            return try await lookup.bundles(signature.bundle, claim(signature, of: image, sought)).map { bundle in
                var whole = signature
                whole.bundle = bundle
                return whole
            }
        } catch {
            switch error {
            case .couldNotLook(let reason): throw reason.concerning(signature.place)
            case .refused, .notFound: return [signature]
            }
        }
    }

    /// Finds what is with an image, and verifies it, as ``verify(_:_:all:_:)`` does.
    /// - Parameters:
    ///   - image: The image.
    ///   - sought: What is looked for; by default its signatures.
    ///   - all: Whether everything that holds is looked for, in both of cosign's schemes, and not only until something holds.
    /// - Returns: What holds where it was looked; at least one.
    /// - Throws: As ``verify(_:_:_:)`` does, and if the store could not be asked.
    public func verify(_ image: Image, _ sought: Sought = .signature, all: Bool = false) async throws(SigstoreError)
        -> [VerifiedImageSignature]
    {
        try await verify(SignatureStore(image), sought, all: all).signatures
    }

    /// Tries what was found with an image, part after part.
    private struct Trial {
        let verifier: ImageVerifier
        let image: Image
        let sought: Sought
        private(set) var found = StoredSignatures()
        private var holding: [VerifiedImageSignature] = []
        private var counted: SignerCount<VerifiedImageSignature>
        private var failures: [SigstoreError] = []
        private var unreadable: [SigstoreError] = []
        private var others: [PredicateType?] = []

        init(_ verifier: ImageVerifier, _ image: Image, _ sought: Sought) {
            (self.verifier, self.image, self.sought) = (verifier, image, sought)
            counted = SignerCount(policies: verifier.signers.policies.count)
        }

        /// Tries each signature of a part.
        mutating func add(_ part: StoredSignatures) {
            let (verifier, image, sought) = (verifier, image, sought)
            found.add(part)
            unreadable += part.unreadable
            for var signature in part.readable {
                let type: PredicateType?
                do throws(SigstoreError) { type = try signature.readPredicateType() } catch {
                    // It may be what is sought: that cannot be known.
                    unreadable.append(error)
                    continue
                }
                guard verifier.isSought(signature.form, type, sought) else {
                    // A signature is no attestation of another type.
                    if !sought.isSignature, type?.matches(.cosignSign) ?? false { continue }
                    others.append(type)
                    continue
                }
                do throws(Failure) {
                    guard verifier.signers.threshold != nil else {
                        holding.append(try verifier.verify(signature, of: image, sought, verifier.signers.anyOne))
                        continue
                    }
                    try counted.add(verifier.signers.policies) { policy throws(Failure) in
                        let found = try verifier.verify(signature, of: image, sought, policy)
                        return (found, found.verified.signer)
                    } nearness: {
                        $0.checks
                    }
                } catch { failures.append(error.error.concerning(signature.place)) }
            }
        }

        /// What holds, if it is enough.
        var held: [VerifiedImageSignature]? {
            guard let threshold = verifier.signers.threshold else { return holding.isEmpty ? nil : holding }
            return counted.isEmpty ? nil : try? counted.atLeast(threshold, otherwise: nil)
        }

        /// What holds, or why it is not enough.
        func result() throws(SigstoreError) -> [VerifiedImageSignature] {
            if !holding.isEmpty { return holding }
            let unread = found.unread
            if let threshold = verifier.signers.threshold, !counted.isEmpty {
                do throws(SigstoreError) {
                    return try counted.atLeast(threshold, otherwise: failures.count == 1 ? failures.first : nil)
                } catch {
                    var error = error
                    if failures.count > 1 {
                        error.message += "; these signatures do not count"
                        error.details = SigstoreError.listed(failures.map(\.message), limit: 50)
                        (error.advice, error.cause) = (failures.first?.advice, failures.first)
                    }
                    guard let first = unread.first else { throw error.concerning("\(image.name) (\(image.digest))") }
                    throw verifier.couldNotLook(
                        image, sought, first, others: unread.dropFirst().map(\.message), [error.message] + error.details
                    )
                }
            }
            if let first = unread.first {
                throw verifier.couldNotLook(
                    image, sought, first, others: unread.dropFirst().map(\.message), failures.map(\.message))
            }
            throw verifier.failure(image, sought, failures, unreadable, others)
        }
    }

    private func isSought(_ form: StoredSignature.Form, _ found: PredicateType?, _ sought: Sought) -> Bool {
        switch (sought, form) {
        case (.signature, .simpleSigning): true
        case (.signature, .bundle): found?.matches(.cosignSign) ?? false
        case (.signature, .envelope), (.attestation, .simpleSigning): false
        case (.attestation(let type), .bundle), (.attestation(let type), .envelope):
            found?.matches(type) ?? false
        }
    }

    /// Why a signature does not hold, and how many checks held before that.
    private struct Failure: Error {
        let error: SigstoreError
        let checks: Int
    }

    private func verify(
        _ signature: StoredSignature, of image: Image, _ sought: Sought, _ policy: CombinedPolicy
    ) throws(Failure) -> VerifiedImageSignature {
        let verified: VerifiedBundle
        do throws(RejectedBundle) {
            verified = try verifier.verify(signature.bundle, claim(signature, of: image, sought), policy) {
                report(signature, $0)
            }
        } catch { throw Failure(error: error.explained, checks: error.checks.count) }
        do throws(SigstoreError) {
            return VerifiedImageSignature(
                signature: signature, verified: verified, payload: try checkClaims(signature, verified, image))
        } catch { throw Failure(error: error, checks: verified.checks.count) }
    }

    /// Verifies one signature by one policy, of several that may be demanded.
    func verify(
        _ signature: StoredSignature, of image: Image, as sought: Sought, by policy: CombinedPolicy
    ) throws(SigstoreError) -> VerifiedBundle {
        do throws(Failure) { return try verify(signature, of: image, sought, policy).verified } catch {
            throw error.error
        }
    }

    /// What is claimed of one signature.
    private func claim(_ signature: StoredSignature, of image: Image, _ sought: Sought) -> BundleClaim {
        let subject: BundleClaim.Subject? = checksClaims ? .digest(image.digest) : nil
        return switch (sought, signature.form) {
        case (_, .simpleSigning(let payload)): .message(ArtifactBytes(payload))
        case (.signature, _): .attestation(subject: subject, predicateType: .cosignSign)
        case (.attestation(let type), _): .attestation(subject: subject, predicateType: type)
        }
    }

    /// What was signed names this image, and says what the signer must have said.
    private func checkClaims(_ signature: StoredSignature, _ verified: VerifiedBundle, _ image: Image)
        throws(SigstoreError)
        -> JSONValue
    {
        switch signature.form {
        case .simpleSigning(let bytes):
            let json = try JSONValue(parsing: bytes)
            let payload = try SimpleSigningPayload(JSONCursor(json))
            if checksClaims, payload.digest != image.digest {
                throw SigstoreError(
                    .wrongSubject,
                    "the signature is for another image: expected \(image.digest), it names \(payload.digest)")
            }
            _ = try AnnotationMatch(annotations).check([payload.annotations])
            return json
        case .bundle, .envelope:
            let subjects = verified.statement?.subjects ?? []
            let about = subjects.filter { subject in
                !checksClaims
                    || subject.digests.contains {
                        $0.algorithm.utf8.elementsEqual(image.digest.algorithm.rawValue.utf8)
                            && $0.hex.utf8.elementsEqual(image.digest.hex.utf8)
                    }
            }
            let said = try AnnotationMatch(annotations).check(about.map { $0.annotations ?? [:] })
            return .object([
                "critical": .object([
                    "identity": .object(["docker-reference": .string(image.reference)]),
                    "image": .object(["docker-manifest-digest": .string(image.digest.description)]),
                    "type": .string(verified.statement?.predicateType.uri ?? ""),
                ]), "optional": .object(said),
            ])
        }
    }

    /// Nothing that was read holds, and not everything could be read: whether the image is signed is not known.
    /// - Parameters:
    ///   - first: Why one could not be read.
    ///   - others: Why others could not.
    ///   - failures: Why those that were read do not hold.
    private func couldNotLook(
        _ image: Image, _ sought: Sought, _ first: SigstoreError, others: [String], _ failures: [String]
    ) -> SigstoreError {
        var error = first.concerning(
            "the \(sought.isSignature ? "signatures" : "attestations") of \(image.name) (\(image.digest)) could not all be looked at"
        )
        error.details = SigstoreError.listed(others, limit: 50)
        if failures.count == 1, let only = failures.first {
            error.message += "; of those that were read, none holds: \(only)"
        } else if !failures.isEmpty {
            error.message += "; of those that were read, none holds"
            error.details += SigstoreError.listed(failures, limit: 50)
        }
        return error
    }

    /// Why nothing holds: unsigned, signed by another signer, or signed in a way that cannot be checked.
    private func failure(
        _ image: Image, _ sought: Sought, _ failures: [SigstoreError], _ unreadable: [SigstoreError],
        _ others: [PredicateType?]
    ) -> SigstoreError {
        let what: String
        let instead: SigstoreError.Advice
        switch sought {
        case .signature: (what, instead) = ("signature", .remedy(.verifyAttestations))
        case .attestation(let type):
            (what, instead) = ("attestation of type \(type.uri)", .remedy(.giveOneOfTheseTypes))
        }
        let toDo = SigstoreError.Advice.remedy(sought.isSignature ? .signOrCheckImage : .attestOrCheckImage)
        if let first = failures.first {
            // What cannot be read may be signed with a certificate.
            let keysOnly = unreadable.isEmpty && failures.allSatisfy { $0.code == .keyNotCertificate }
            let reasons = (failures + unreadable).map(\.message)
            return SigstoreError(
                keysOnly ? .noCertificate : .noMatchingSignature,
                "no \(what) of \(image.name) (\(image.digest)) holds" + (reasons.count == 1 ? ": \(reasons[0])" : ""),
                details: reasons.count == 1 ? [] : SigstoreError.listed(reasons, limit: 50), advice: first.advice,
                cause: first)
        }
        if let first = unreadable.first {
            return SigstoreError(
                .noMatchingSignature,
                "\(image.name) (\(image.digest)) is signed in a way that cannot be checked"
                    + (unreadable.count == 1 ? ": \(first.message)" : ""),
                details: unreadable.count == 1 ? [] : SigstoreError.listed(unreadable.map(\.message), limit: 50),
                advice: first.advice ?? (first.cause as? SigstoreError)?.advice, cause: first)
        }
        guard others.isEmpty else {
            var types: [String] = []
            for type in others.map({ $0?.uri ?? "a signature over a file" }) where !types.contains(type) {
                types.append(type)
            }
            return SigstoreError(
                sought.isSignature ? .noSignature : .noMatchingSignature,
                "there is no \(what) of \(image.name) (\(image.digest)), only: \(types.prefix(5).joined(separator: ", "))",
                // A signature over a file has no type that could be given.
                advice: others.contains { $0 != nil } ? instead : toDo)
        }
        return SigstoreError(
            .noSignature,
            "there is no \(sought.isSignature ? "signature" : "attestation") of \(image.name) (\(image.digest))",
            advice: toDo)
    }
}

extension ImageVerifier.Sought {
    var isSignature: Bool { if case .signature = self { true } else { false } }
}

extension SigstoreError.Code {
    /// An image that nobody signed (exit code 10).
    public static let noSignature = Self("no-signature")
    /// An image whose signatures do not hold, or are by others (exit code 12).
    public static let noMatchingSignature = Self("no-matching-signature")
    /// An identity is demanded, and the image is signed with keys only (exit code 13).
    public static let noCertificate = Self("no-certificate")
    /// What the signer says of an image is not what was demanded.
    public static let wrongAnnotation = Self("wrong-annotation")
}

extension SigstoreError.Remedy {
    /// The image has attestations, and a signature was demanded.
    public static let verifyAttestations = Self("verify-its-attestations")
    /// The image has attestations, of other types than the one that was demanded.
    public static let giveOneOfTheseTypes = Self("give-one-of-these-types")
    /// The image has no signature.
    public static let signOrCheckImage = Self("sign-the-image-or-check-that-it-is-the-right-one")
    /// The image has no attestation.
    public static let attestOrCheckImage = Self("attest-the-image-or-check-that-it-is-the-right-one")
}
