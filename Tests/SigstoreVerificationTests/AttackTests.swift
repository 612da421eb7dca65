import InToto
import SigstoreCrypto
import SigstoreVerification
import StrictJSON
import Testing

/// What went wrong in other tools of this kind, each tried here.
struct AttackTests {
    let file = Array("the release".utf8)
    let otherFile = Array("another release".utf8)

    @Test("The signers of these tests are accepted where nothing is wrong", arguments: [false, true])
    func honest(v2: Bool) throws {
        var signer = try TestSigner(v2: v2)
        let bundle = try signer.sign(file)
        #expect(refusal(bundle, try signer.root(), signer.policy(.message(ArtifactBytes(file)))) == nil)
        #expect(
            refusal(
                try SigstoreBundle(parsing: bundle.serialized()), try signer.root(),
                signer.policy(.message(ArtifactBytes(file))))
                == nil)
        let attestation = try signer.attest(try TestSigner.statement(about: file, type: "https://a.example/type"))
        #expect(
            refusal(
                attestation, try signer.root(),
                signer.policy(
                    .attestation(
                        subject: .artifact(ArtifactBytes(file)),
                        predicateType: PredicateType(uri: "https://a.example/type"))))
                == nil)
    }

    @Test("cosign CVE-2022-23649: a promise is bound to its signature")
    func promiseOfAnotherSignature() throws {
        var signer = try TestSigner()
        var bundle = try signer.sign(file)
        let other = try signer.sign(otherFile)
        let policy = signer.policy(.message(ArtifactBytes(file)))
        // The whole entry of another signature, and only its promise.
        bundle.logEntries = other.logEntries
        #expect(refusal(bundle, try signer.root(), policy) == .logEntryMismatch)
        bundle = try signer.sign(file)
        bundle.logEntries[0].promise = other.logEntries[0].promise
        #expect(refusal(bundle, try signer.root(), policy) == .invalidPromise)
    }

    @Test(
        "cosign CVE-2022-35929, policy-controller CVE-2022-35930, gh CVE-2025-25204: attestations of other types do not count"
    )
    func attestationOfAnotherType() throws {
        var signer = try TestSigner()
        let attestation = try signer.attest(try TestSigner.statement(about: file, type: "https://a.example/type"))
        for type in ["https://a.example/type2", "https://a.example/typ", "https://A.example/type", ""] {
            #expect(
                refusal(
                    attestation, try signer.root(),
                    signer.policy(
                        .attestation(subject: .artifact(ArtifactBytes(file)), predicateType: PredicateType(uri: type))))
                    == .wrongPredicateType)
        }
    }

    @Test("cosign CVE-2022-36056: an older blob bundle is bound to its file, key and signature, field by field")
    func foreignLegacyBundle() throws {
        var signer = try TestSigner()
        let root = try signer.root()
        let stranger = try PrivateKey.generate(.ecdsaP256)
        func older(_ bundle: SigstoreBundle) throws -> SigstoreBundle {
            var entry = bundle.logEntries[0]
            entry.proof = nil
            return try SigstoreBundle(
                signature: try bundle.signature(), isAttestation: false, keyMaterial: bundle.keyMaterial,
                logEntry: entry)
        }
        let mine = try older(try signer.sign(file))
        let other = try older(try signer.sign(otherFile))
        let policy = signer.policy(.message(ArtifactBytes(file)))
        #expect(refusal(mine, root, policy) == nil)

        var bundle = mine
        bundle.content = other.content
        #expect(refusal(bundle, root, policy) == .logEntryMismatch)
        bundle = mine
        bundle.logEntries = other.logEntries
        #expect(refusal(bundle, root, policy) == .logEntryMismatch)
        #expect(refusal(other, root, policy) == .logEntryMismatch)
        bundle = mine
        bundle.keyMaterial = .publicKey(hint: try stranger.publicKey.hint())
        #expect(refusal(bundle, root, policy) == .wrongKey)
        bundle = mine
        bundle.logEntries[0].body = other.logEntries[0].body
        #expect(refusal(bundle, root, policy) == .invalidPromise)
        bundle = mine
        bundle.logEntries[0].integratedTime += 1
        #expect(refusal(bundle, root, policy) == .invalidPromise)
        bundle = mine
        bundle.logEntries[0].logIndex += 1
        #expect(refusal(bundle, root, policy) == .invalidPromise)
    }

    @Test(
        "cosign CVE-2026-22703: a log entry counts only with this signature, this key and this digest",
        arguments: [false, true])
    func anyValidEntry(v2: Bool) throws {
        var signer = try TestSigner(v2: v2)
        let stranger = try PrivateKey.generate(.ecdsaP256)
        var bundle = try signer.sign(file)
        let signature = try bundle.signature()
        let policy = signer.policy(.message(ArtifactBytes(file)))
        let mine = TestEntry.Signer.key(signer.key.publicKey)
        // Entries that the log really holds, each wrong in one thing.
        let wrong: [JSONValue] = [
            try TestEntry.hashedrekord(
                v2: v2, try Digest.sha256(file), try signer.key.sign(file, scheme: .ecdsa(.sha256)) + [0], mine),
            try TestEntry.hashedrekord(v2: v2, try Digest.sha256(file), signature, .key(stranger.publicKey)),
            try TestEntry.hashedrekord(
                v2: v2, try Digest.sha256(file), signature,
                .certificate(try TestAuthority.certificate(TestAuthority.leafPEM))),
            try TestEntry.hashedrekord(v2: v2, try Digest.sha256(otherFile), signature, mine),
            try TestEntry.hashedrekord(v2: v2, try Digest.hash(file, .sha512), signature, mine),
        ]
        for body in wrong {
            bundle.logEntries = [try signer.log.add(body, at: TestAuthority.signedInTime)]
            #expect(refusal(bundle, try signer.root(), policy) == .logEntryMismatch)
        }
        // An entry about an attestation, for a signature over a file.
        bundle.logEntries = try signer.attest(try TestSigner.statement(about: file, type: "x:y")).logEntries
        #expect(refusal(bundle, try signer.root(), policy) == .logEntryMismatch)
    }

    @Test("cosign CVE-2026-24122: an intermediate that had expired when the signature was made")
    func expiredIntermediate() throws {
        var signer = try TestSigner(certificate: TestAuthority.leafPEM)
        var policy = Demand(signedBy: .identities([Self.identity]), claim: .message(ArtifactBytes(file)))
        policy.certificateTransparency = .insecurelyIgnored
        #expect(refusal(try signer.sign(file, at: TestAuthority.signedInTime), try signer.root(), policy) == nil)
        #expect(
            refusal(try signer.sign(file, at: TestAuthority.signedTooLate), try signer.root(), policy)
                == .certificateExpired)
    }

    @Test("cosign CVE-2026-39395: a malformed payload and a wrong predicate are errors")
    func malformedPayload() throws {
        var signer = try TestSigner()
        let good = try TestSigner.statement(about: file, type: "https://a.example/type")
        let claim = BundleClaim.attestation(
            subject: .artifact(ArtifactBytes(file)), predicateType: PredicateType(uri: "https://a.example/type"))
        let payloads: [[UInt8]] = [
            [], Array("{".utf8), Array("null".utf8), Array("{}".utf8), good + [0x20, 0x7d], Array(good.dropLast()),
            Array(String(decoding: good, as: UTF8.self).replacing("Statement/v1", with: "Statement/v9").utf8),
            Array(String(decoding: good, as: UTF8.self).replacing("predicateType", with: "predicatetype").utf8),
        ]
        for payload in payloads {
            #expect(refusal(try signer.attest(payload), try signer.root(), signer.policy(claim)) != nil)
            // Nor does leaving the claims unchecked let it pass.
            #expect(
                refusal(
                    try signer.attest(payload), try signer.root(),
                    signer.policy(.attestation(subject: nil, predicateType: nil)))
                    != nil)
        }
        #expect(refusal(try signer.attest(good), try signer.root(), signer.policy(claim)) == nil)
    }

    @Test("sigstore-go CVE-2024-45395: 33 log entries or timestamps are refused before one of them is read")
    func tooManyEntries() throws {
        for many in [
            "\"tlogEntries\":[\(list(33))]", "\"timestampVerificationData\":{\"rfc3161Timestamps\":[\(list(33))]}",
        ] {
            let json = """
                {"mediaType":"application/vnd.dev.sigstore.bundle.v0.3+json","verificationMaterial":{"publicKey":{},\(many)},
                "messageSignature":{"messageDigest":{},"signature":"AA=="}}
                """
            let error = #expect(throws: SigstoreError.self) { try SigstoreBundle(parsing: Array(json.utf8)) }
            #expect(error?.code == .tooManyEntries)
        }
        func list(_ count: Int) -> String { Array(repeating: "0", count: count).joined(separator: ",") }
        // Nor does a bundle that was not read from JSON get by.
        var signer = try TestSigner()
        var bundle = try signer.sign(file)
        bundle.logEntries = Array(repeating: bundle.logEntries[0], count: 33)
        #expect(refusal(bundle, try signer.root(), signer.policy(.message(ArtifactBytes(file)))) == .tooManyEntries)
    }

    @Test("sigstore-go CVE-2026-49834: a threshold counts logs, not entries")
    func sameEntryTwice() throws {
        var signer = try TestSigner()
        var bundle = try signer.sign(file)
        var policy = signer.policy(.message(ArtifactBytes(file)))
        policy.transparencyLog = .required(threshold: 2)
        // The same entry twice is refused for itself, whatever the threshold.
        bundle.logEntries.append(bundle.logEntries[0])
        #expect(refusal(bundle, try signer.root(), policy) == .tooManyEntries)
        policy.transparencyLog = .required(threshold: 1)
        #expect(refusal(bundle, try signer.root(), policy) == .tooManyEntries)
        policy.transparencyLog = .required(threshold: 2)
        // A second entry in the same log does not count.
        bundle.logEntries[1] = try signer.log.add(
            TestEntry.hashedrekord(v2: false, try Digest.sha256(file), try bundle.signature(), signer.signer), at: 5)
        #expect(refusal(bundle, try signer.root(), policy) == .noLogEntry)
        // One in another log is what was asked for.
        var second = try TestLog(v2: true, name: "second.example")
        bundle.logEntries[1] = try second.add(
            TestEntry.hashedrekord(v2: true, try Digest.sha256(file), try bundle.signature(), signer.signer))
        var root = try signer.root()
        root.transparencyLogs.append(second.trusted())
        #expect(refusal(bundle, root, policy) == nil)
        policy.transparencyLog = .required(threshold: 3)
        #expect(refusal(bundle, root, policy) == .noLogEntry)
        // And a threshold of 0 or less is no threshold, not a way around the log.
        bundle.logEntries = []
        for threshold in [0, -1] {
            policy.transparencyLog = .required(threshold: threshold)
            #expect(refusal(bundle, root, policy) == .noLogEntry)
        }
    }

    @Test(
        "sigstore-go CVE-2026-54787: a log's key counts within its window only, both ends included",
        arguments: [false, true])
    func logKeyOutsideItsWindow(v2: Bool) throws {
        var signer = try TestSigner(v2: v2)
        let time = TestAuthority.signedInTime
        let bundle = try signer.sign(file, at: time)
        var policy = signer.policy(.message(ArtifactBytes(file)))
        // Rekor v2 states no time; without a timestamp the key must count now.
        policy.currentTime = time
        func window(_ start: Int64, _ end: Int64?) -> ValidityWindow {
            ValidityWindow(start: Instant(seconds: start), end: end.map { Instant(seconds: $0) })
        }
        for (held, validFor) in [
            (true, window(time, time)), (true, window(time - 1, nil)), (true, window(0, time)),
            (false, window(time + 1, nil)), (false, window(0, time - 1)),
        ] {
            #expect(refusal(bundle, try signer.root(validFor), policy) == (held ? nil : .logKeyNotValid))
        }
    }

    @Test("A certificate authority counts within its window only")
    func authorityOutsideItsWindow() throws {
        var signer = try TestSigner(certificate: TestAuthority.leafPEM)
        let bundle = try signer.sign(file)
        var policy = Demand(signedBy: .identities([Self.identity]), claim: .message(ArtifactBytes(file)))
        policy.certificateTransparency = .insecurelyIgnored
        var root = try signer.root()
        root.certificateAuthorities = [
            try TestAuthority.authority(
                ValidityWindow(start: Instant(seconds: 0), end: Instant(seconds: TestAuthority.signedInTime - 1)))
        ]
        #expect(refusal(bundle, root, policy) == .authorityNotValid)
    }

    @Test("gitsign CVE-2024-51746: every entry that is there must be about this signature")
    func severalEntries() throws {
        var signer = try TestSigner()
        var bundle = try signer.sign(file)
        let foreign = try signer.sign(otherFile).logEntries[0]
        let mine = bundle.logEntries[0]
        for entries in [[mine, foreign], [foreign, mine]] {
            bundle.logEntries = entries
            #expect(
                refusal(bundle, try signer.root(), signer.policy(.message(ArtifactBytes(file)))) == .logEntryMismatch)
        }
    }

    @Test("gitsign CVE-2026-44309: the raw bytes are verified, not what they mean")
    func rawBytes() throws {
        var signer = try TestSigner()
        let payload = try TestSigner.statement(about: file, type: "x:y")
        var bundle = try signer.attest(payload)
        guard case .dsse(var envelope) = bundle.content else { return #expect(Bool(false)) }
        envelope.payload = Array(" ".utf8) + payload
        bundle.content = .dsse(envelope)
        let policy = signer.policy(.attestation(subject: .artifact(ArtifactBytes(file)), predicateType: nil))
        #expect(refusal(bundle, try signer.root(), policy) == .logEntryMismatch)
        var unlogged = policy
        unlogged.transparencyLog = .insecurelyIgnored
        #expect(refusal(bundle, nil, unlogged) == .invalidSignature)
    }

    @Test("fulcio CVE-2026-22772: an exact issuer is no pattern, and case and canonical equivalence do not match")
    func issuerIsExact() throws {
        var signer = try TestSigner(certificate: TestAuthority.leafPEM)
        let bundle = try signer.sign(file)
        for issuer in [
            "https://issuer.exampl", "https://issuer.example/", "https://issuer.example.evil", "https://issuerXexample",
            "HTTPS://issuer.example", ".*", "", "https://issuer.\u{65}xample\u{200d}",
        ] {
            var identity = Self.identity
            identity.issuer = .exactly(issuer)
            #expect(refusal(bundle, try signer.root(), Self.policy(identity, file)) == .wrongIssuer)
        }
        for subject in ["https://github.com/example/app", TestAuthority.subject + "0", ".*", ""] {
            var identity = Self.identity
            identity.subject = .exactly(subject)
            #expect(refusal(bundle, try signer.root(), Self.policy(identity, file)) == .wrongIdentity)
        }
    }

    @Test("kyverno CVE-2025-29778: each field of an identity is enforced by itself")
    func everyIdentityField() throws {
        var signer = try TestSigner(certificate: TestAuthority.leafPEM)
        let bundle = try signer.sign(file)
        let fields: [(WritableKeyPath<CertificateIdentity, [String]>, String)] = [
            (\.githubWorkflowTrigger, "push"), (\.githubWorkflowSHA, "aaaa"), (\.githubWorkflowName, "release"),
            (\.githubWorkflowRepository, "example/app"), (\.githubWorkflowRef, "refs/tags/v1"),
        ]
        for (field, value) in fields {
            var identity = Self.identity
            for right in [[value], [value, "another"], ["another", value]] {
                identity[keyPath: field] = right
                #expect(refusal(bundle, try signer.root(), Self.policy(identity, file)) == nil)
            }
            for wrong in [value + "x", value.uppercased(), ""] {
                identity[keyPath: field] = [wrong]
                #expect(refusal(bundle, try signer.root(), Self.policy(identity, file)) == .wrongWorkflow)
            }
        }
        // Any one of several identities will do; none of none will not.
        var wrong = Self.identity
        wrong.subject = .exactly("somebody")
        var policy = Self.policy(wrong, file)
        policy.signedBy = .identities([wrong, Self.identity])
        #expect(refusal(bundle, try signer.root(), policy) == nil)
        policy.signedBy = .identities([wrong, wrong])
        #expect(refusal(bundle, try signer.root(), policy) == .wrongIdentity)
        policy.signedBy = .identities([])
        #expect(refusal(bundle, try signer.root(), policy) == .wrongIdentity)
    }

    @Test("A regular expression is searched for anywhere, in linear time")
    func identityPatterns() throws {
        var signer = try TestSigner(certificate: TestAuthority.leafPEM)
        let bundle = try signer.sign(file)
        for (pattern, holds) in [
            ("example/app", true), ("^https://github\\.com/example/app/", true), ("^github", false), ("v1$", true),
            ("v$", false),
        ] {
            var identity = Self.identity
            identity.subject = .matching(try IdentityPattern(pattern))
            #expect(refusal(bundle, try signer.root(), Self.policy(identity, file)) == (holds ? nil : .wrongIdentity))
        }
        #expect(try !IdentityPattern("^(a+)+$").matches(String(repeating: "a", count: 100_000) + "!"))
        for malformed in [
            "(", "a{1001}", "(?=x)", "\\1", "", String(repeating: "a", count: 4097), "((a{500}){500}){500}",
        ] {
            let error = #expect(throws: SigstoreError.self) { try IdentityPattern(malformed) }
            #expect(error?.code == .malformedPattern)
        }
    }

    @Test("A certificate with two names says of nobody that he signed")
    func twoNames() throws {
        var signer = try TestSigner(certificate: TestAuthority.twoNamesPEM)
        let bundle = try signer.sign(file)
        for name in ["a@example.com", "b@example.com"] {
            let identity = CertificateIdentity(subject: .exactly(name), issuer: .exactly(TestAuthority.issuer))
            #expect(refusal(bundle, try signer.root(), Self.policy(identity, file)) == .unusableName)
        }
    }

    @Test("A certificate without a signed certificate timestamp is refused, and so is a root in the bundle")
    func certificateTransparency() throws {
        var signer = try TestSigner(certificate: TestAuthority.leafPEM)
        var bundle = try signer.sign(file)
        var policy = Self.policy(Self.identity, file)
        policy.certificateTransparency = .required
        #expect(refusal(bundle, try signer.root(), policy) == .noCertificateTimestamp)
        policy.certificateTransparency = .insecurelyIgnored
        bundle.version = .v02
        let leaf = try TestAuthority.certificate(TestAuthority.leafPEM)
        let intermediate = try TestAuthority.certificate(TestAuthority.intermediatePEM)
        let root = try TestAuthority.certificate(TestAuthority.rootPEM)
        bundle.keyMaterial = .certificates([leaf.der, intermediate.der])
        #expect(refusal(bundle, try signer.root(), policy) == nil)
        bundle.keyMaterial = .certificates([leaf.der, root.der, intermediate.der])
        #expect(refusal(bundle, try signer.root(), policy) == .rootInBundle)
        // A root that nobody trusts is of no use either.
        var distrusting = try signer.root()
        distrusting.certificateAuthorities = []
        #expect(
            refusal(bundle, distrusting, policy) == .noTrustedRoot
                || refusal(bundle, distrusting, policy) == .rootInBundle)
    }

    @Test("An envelope with two signatures, none, or an empty one is refused")
    func envelopeSignatures() throws {
        var signer = try TestSigner()
        var bundle = try signer.attest(try TestSigner.statement(about: file, type: "x:y"))
        guard case .dsse(let envelope) = bundle.content else { return #expect(Bool(false)) }
        let policy = signer.policy(.attestation(subject: .artifact(ArtifactBytes(file)), predicateType: nil))
        for signatures in [
            envelope.signatures + envelope.signatures, [], [DSSEEnvelope.Signature(signature: [])],
        ] {
            var changed = envelope
            changed.signatures = signatures
            bundle.content = .dsse(changed)
            #expect(refusal(bundle, try signer.root(), policy) == .malformedBundle)
        }
    }

    @Test("A log that names itself in the bundle is not believed: gitsign CVE-2023-47122")
    func rogueLog() throws {
        var signer = try TestSigner()
        let honest = try signer.root()
        signer.log = try TestLog(v2: false)
        let bundle = try signer.sign(file)
        #expect(refusal(bundle, honest, signer.policy(.message(ArtifactBytes(file)))) == .unknownLog)
        // Nor where it takes the id of the honest log.
        var impostor = bundle
        impostor.logEntries[0].logID = honest.transparencyLogs[0].logID
        #expect(refusal(impostor, honest, signer.policy(.message(ArtifactBytes(file)))) == .invalidPromise)
    }

    static let identity = CertificateIdentity(
        subject: .exactly(TestAuthority.subject), issuer: .exactly(TestAuthority.issuer))

    static func policy(_ identity: CertificateIdentity, _ file: [UInt8]) -> Demand {
        var policy = Demand(signedBy: .identities([identity]), claim: .message(ArtifactBytes(file)))
        policy.certificateTransparency = .insecurelyIgnored
        return policy
    }
}
