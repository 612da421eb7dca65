internal import InToto
internal import SigstoreCrypto
public import StrictJSON

extension Verification {
    /// The schemes in which this signature may have been made, the likeliest first.
    ///
    /// The digest that the bundle names decides on the hash function. If it names none, ECDSA may be over the curve's
    /// own hash (cosign 3) or SHA-256 (cosign 2), RSA over SHA-256, and Ed25519 is pure, unless a log, which only takes
    /// Ed25519ph, has an entry. An RSA key that was given may sign over another hash: some keys of services have one of their
    /// own. An envelope is small, so everything that the key can do is tried. By keys of services and tokens that choose the
    /// hash themselves, cosign names one of ECDSA's two and signs over the other; the artifact has to have the digest that is
    /// named all the same.
    /// - Throws: `SigstoreError` with `wrong-key-type` if keys of this kind never sign over the digest that the bundle
    ///   names.
    func signatureSchemes(of key: PublicKey) throws(SigstoreError) -> [SignatureScheme] {
        guard case .messageSignature(let message) = bundle.content else { return key.schemes }
        guard let named = message.digest?.algorithm else {
            guard !message.isDigestStated || key.kind == .ed25519 else {
                throw SigstoreError(
                    .malformedBundle,
                    "the bundle's message digest is empty, which only a signature by an Ed25519 key may have")
            }
            switch key.kind {
            case .ecP256, .ecP384, .ecP521: return key.schemes
            case .rsa:
                if case .key = policy.signedBy { return key.schemes }
                return [.rsaPKCS1(.sha256), .rsaPSS(.sha256)]
            case .ed25519: return bundle.logEntries.isEmpty ? [.ed25519] : [.ed25519ph, .ed25519]
            }
        }
        if key.kind == .ed25519 { return named == .sha512 ? [.ed25519ph] : [.ed25519] }
        let schemes = key.schemes.filter { $0.hash == named }
        if case .key = policy.signedBy, schemes == [.ecdsa(named)] {
            return schemes + key.schemes.filter { $0 != .ecdsa(named) }
        }
        guard !schemes.isEmpty else {
            throw SigstoreError(
                .wrongKeyType,
                "the signature is over \(named.rawValue), which \(key.kind) keys do not sign: another kind of key made it",
                advice: "give the public key of whoever signed")
        }
        return schemes
    }

    /// 4. Reads what was signed: the artifact, or the envelope's pre-authentication encoding.
    /// - Throws: `SigstoreError` with `artifact-mismatch` if the artifact's digest is not the one that the bundle
    ///   names.
    mutating func readMessage(_ schemes: [SignatureScheme]) throws(SigstoreError) -> HashedMessage {
        switch (bundle.content, claim) {
        case (.messageSignature(let signed), .message(let source)):
            var digests: Set<HashAlgorithm> = []
            if let named = signed.digest?.algorithm { digests.insert(named) }
            let message = try source.read(digests: digests, schemes: Set(schemes))
            if let named = signed.digest {
                guard let found = message.digest(named.algorithm) else {
                    throw SigstoreError(
                        .artifactMismatch, "the artifact's \(named.algorithm.rawValue) digest is not known")
                }
                guard found.bytes == named.bytes else {
                    throw SigstoreError(
                        .artifactMismatch, "the signature is for another file: expected \(named), found \(found)",
                        advice: "get the file again, or the signature that belongs to it")
                }
                held("artifact-digest", "the artifact has the digest that the bundle names, \(named)")
            }
            return message
        case (.dsse(let envelope), _):
            return try HashedMessage.of(
                envelope.preAuthenticationEncoding, digests: Set(HashAlgorithm.allCases), schemes: Set(schemes))
        case (.messageSignature, .attestation):
            throw SigstoreError(.signatureNotAttestation, "the bundle does not hold an attestation")
        }
    }

    /// 7. The signature itself, by the key that was given or that the certificate holds (section 4.5).
    /// - Returns: How the signature was made.
    mutating func verifySignature(_ key: PublicKey, _ schemes: [SignatureScheme], _ message: HashedMessage)
        throws(SigstoreError) -> SignatureScheme
    {
        // Of an artifact that is not at hand only one digest may be known.
        let known = schemes.filter { scheme in
            switch scheme {
            case .ecdsa(let hash), .rsaPKCS1(let hash), .rsaPSS(let hash): message.digest(hash) != nil
            case .ed25519, .ed25519ph: true
            }
        }
        for scheme in known.isEmpty ? schemes : known {
            guard try key.verifies(signature, of: message, scheme: scheme) else { continue }
            held("signature", "the signature holds: \(scheme) by a key of kind \(key.kind)")
            return scheme
        }
        throw unverified(key)
    }

    /// Why a signature does not hold, as far as its bytes tell.
    private func unverified(_ key: PublicKey) -> SigstoreError {
        let count = signature.count
        // A DER signature is a SEQUENCE whose length fits; P1363 is two numbers of the curve's size side by side.
        let der =
            signature.first == 0x30 && (signature.dropFirst().first.map { Int($0) == count - 2 || $0 == 0x81 } ?? false)
        let size: Int? =
            switch key.kind {
            case .ecP256: 64
            case .ecP384: 96
            case .ecP521: 132
            case .rsa(let bits): (bits + 7) / 8
            case .ed25519: 64
            }
        switch key.kind {
        case .ecP256, .ecP384, .ecP521:
            if count == size, !der {
                return SigstoreError(
                    .signatureInP1363, "the signature is \(count) bare bytes (IEEE P1363), ECDSA needs ASN.1 DER",
                    advice: "have it written in DER, as OpenSSL and cosign do")
            }
            if !der, signature.first == 0x30 {
                return SigstoreError(
                    .invalidSignature, "the signature is damaged: its \(count) bytes are not one ASN.1 DER value",
                    advice: "get the signature from its source again")
            }
            if !der {
                return SigstoreError(
                    .wrongKeyType, "the signature is not one by an ECDSA key: \(count) bytes that are not ASN.1 DER",
                    advice: "give the public key of whoever signed")
            }
        case .rsa, .ed25519:
            if count != size {
                return SigstoreError(
                    .wrongKeyType,
                    "the signature is not one by a key of kind \(key.kind): expected \(size ?? 0) bytes, found \(count)",
                    advice: "give the public key of whoever signed")
            }
        }
        if case .publicKey(let hint) = bundle.keyMaterial, !hint.isEmpty, let given = try? key.hint(),
            !hint.utf8.elementsEqual(given.utf8)
        {
            return SigstoreError(
                .invalidSignature, "the signature does not hold: another key signed it, named \"\(hint)\"",
                advice: "give the public key of whoever signed")
        }
        return SigstoreError(
            .invalidSignature, "the signature does not hold",
            advice: "what was signed or the signature was changed, or another key signed it")
    }

    /// 8. What an attestation is about, and the type of its predicate; nothing for signatures over files.
    mutating func verifyStatement() throws(SigstoreError) -> Statement? {
        guard case .attestation(let subject, let predicateType) = claim, let statement = try bundle.statement() else {
            return nil
        }
        if let predicateType {
            guard statement.predicateType.matches(predicateType) else {
                throw SigstoreError(
                    .wrongPredicateType,
                    "expected the predicate type \(predicateType.uri), the attestation's is \(statement.predicateType.uri)",
                    advice: .remedy(.givePredicateType))
            }
            held("predicate-type", "the predicate is of type \(predicateType.uri)")
        }
        switch subject {
        case nil: break
        case .digest(let digest):
            try require(statement, about: [digest], by: nil)
        case .artifact(let source, let algorithm):
            let named = Set(
                statement.subjects.flatMap { $0.digests.compactMap { HashAlgorithm(rawValue: $0.algorithm) } })
            guard !named.isEmpty else {
                throw SigstoreError(
                    .wrongSubject, "the attestation names its subjects by no digest of sha256, sha384 or sha512")
            }
            if let algorithm, !named.contains(algorithm) {
                throw SigstoreError(
                    .wrongSubject,
                    "the attestation names its subjects by no \(algorithm.rawValue) digest, only by "
                        + named.map(\.rawValue).sorted().joined(separator: ", "),
                    advice: "demand one of these")
            }
            let artifact = try source.read(digests: named, schemes: [])
            if let algorithm, artifact.digest(algorithm) == nil {
                throw SigstoreError(
                    .otherDigestNeeded, "a digest was given in place of the file, and it is not \(algorithm.rawValue)",
                    advice: "give the file")
            }
            try require(statement, about: named.compactMap { artifact.digest($0) }, by: algorithm)
        }
        return statement
    }

    /// One subject must have the artifact's digest; of each algorithm that is known of both, it must be the same.
    /// - Parameter algorithm: The algorithm by which the subject must be named; `nil` if any will do.
    private mutating func require(_ statement: Statement, about digests: [Digest], by algorithm: HashAlgorithm?)
        throws(SigstoreError)
    {
        for subject in statement.subjects {
            var matches = 0
            var differs = false
            for named in subject.digests {
                for digest in digests where named.algorithm.utf8.elementsEqual(digest.algorithm.rawValue.utf8) {
                    if named.hex.utf8.elementsEqual(digest.hex.utf8) { matches += 1 } else { differs = true }
                }
            }
            let isNamed = algorithm.map { algorithm in
                subject.digests.contains { $0.algorithm.utf8.elementsEqual(algorithm.rawValue.utf8) }
            }
            if matches > 0, !differs, isNamed ?? true {
                held("subject", "the attestation is about \(digests[0])")
                return
            }
        }
        let expected = digests.map(\.description).joined(separator: ", ")
        let found = statement.subjects.prefix(4).flatMap(\.digests).map { "\($0.algorithm):\($0.hex)" }
        throw SigstoreError(
            .wrongSubject,
            "the attestation is about something else: expected \(expected), found \(found.joined(separator: ", "))",
            advice: "give the artifact that was attested")
    }
}

extension SigstoreError.Code {
    /// The signature is over another file than the one that was given.
    public static let artifactMismatch = Self("artifact-mismatch")
    /// The signature does not hold.
    public static let invalidSignature = Self("invalid-signature")
    /// An ECDSA signature as two bare numbers (IEEE P1363), but ASN.1 DER is needed.
    public static let signatureInP1363 = Self("signature-in-p1363")
    /// The signature is of another kind than the key.
    public static let wrongKeyType = Self("wrong-key-type")
    /// An attestation's predicate is of another type than was asked for.
    public static let wrongPredicateType = Self("wrong-predicate-type")
    /// An attestation is about something else.
    public static let wrongSubject = Self("wrong-subject")
}

extension SigstoreError.Remedy {
    /// The attestation has another type of predicate than the one that was expected.
    public static let givePredicateType = Self("give-the-type-of-the-attestation")
}
