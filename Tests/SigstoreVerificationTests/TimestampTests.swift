import SigstoreCrypto
import SigstoreVerification
import StrictJSON
import Testing

/// Signed timestamps of real authorities, and trusted roots that know them, or not, or at other times.
@Suite(.enabled(if: SharedMaterial.exists("samples/cases.json"), "../shared/samples is not here"))
struct TimestampTests {
    static func sample(_ name: String) throws -> SigstoreBundle {
        try SigstoreBundle(parsing: try SharedMaterial.read("samples/sigs/\(name).sigstore.json"))
    }
    static func root() async throws -> TrustedRoot {
        try await MaterialCache.shared.trustedRoot("samples/trust/trusted_root.json")
    }
    static func policy(_ name: String) throws -> Demand {
        let artifact = ArtifactBytes(try SharedMaterial.read("samples/blobs/small.txt"))
        let signedBy: VerificationPolicy.SignedBy =
            name.contains("-key-")
            ? .key(try PublicKey(file: try SharedMaterial.read("samples/keys/c3.pub")))
            : .identities([
                CertificateIdentity(
                    subject: .exactly("release@alpha.example"), issuer: .exactly("http://127.0.0.1:8888"))
            ])
        return Demand(signedBy: signedBy, claim: .message(artifact))
    }

    @Test("sigstore-go CVE-2026-49834: a threshold of timestamps counts authorities, not timestamps")
    func sameTimestampTwice() async throws {
        var bundle = try Self.sample("c3-key-v2-c3")
        var policy = try Self.policy("c3-key-v2-c3")
        policy.signedTimestamps = .required(threshold: 1)
        #expect(refusal(bundle, try await Self.root(), policy) == nil)
        // The same timestamp twice is refused for itself.
        bundle.timestamps.append(bundle.timestamps[0])
        #expect(refusal(bundle, try await Self.root(), policy) == .tooManyEntries)
        bundle.timestamps.removeLast()
        policy.signedTimestamps = .required(threshold: 2)
        #expect(refusal(bundle, try await Self.root(), policy) == .noTimestamp)
        // The same authority named twice in the trusted root is still one.
        var root = try await Self.root()
        root.timestampAuthorities += root.timestampAuthorities
        #expect(refusal(bundle, root, policy) == .noTimestamp)
        bundle.timestamps = []
        for threshold in [1, 0, -1] {
            policy.signedTimestamps = .required(threshold: threshold)
            #expect(refusal(bundle, root, policy) == .noTimestamp)
        }
    }

    @Test("The authority that made a timestamp must count at its time, both ends included; no other's window will do")
    func authorityWindow() async throws {
        let bundle = try Self.sample("c3-keyless-v2-email")
        let policy = try Self.policy("c3-keyless-v2-email")
        let verified = try policy.verify(bundle, try await Self.root())
        let time = try #require(verified.times.first).seconds
        for (start, end, holds) in [
            (time, time, true), (0, time, true), (time + 1, nil, false), (0, time - 1, false),
        ] as [(Int64, Int64?, Bool)] {
            var root = try await Self.root()
            root.timestampAuthorities[0].validFor = ValidityWindow(
                start: Instant(seconds: start), end: end.map { Instant(seconds: $0) })
            #expect(refusal(bundle, root, policy) == (holds ? nil : .timestampAuthorityNotValid))
            // An unrelated authority, without certificates, whose window would be right.
            root.timestampAuthorities.append(.init(uri: "", anchors: [], intermediates: [], validFor: .always))
            #expect(refusal(bundle, root, policy) == (holds ? nil : .timestampAuthorityNotValid))
        }
    }

    @Test("Every timestamp that is there must hold, not only one of them")
    func oneOfTwo() async throws {
        var bundle = try Self.sample("c3-keyless-v2-email")
        bundle.timestamps += try Self.sample("c3-keyless-v2-1mib").timestamps
        #expect(refusal(bundle, try await Self.root(), try Self.policy("c3-keyless-v2-email")) == .timestampMismatch)
        bundle.timestamps = [bundle.timestamps[0], [0x30, 0x00]]
        #expect(refusal(bundle, try await Self.root(), try Self.policy("c3-keyless-v2-email")) == .malformedTimestamp)
    }

    @Test("A timestamp by an unknown authority is not counted, with a warning, if what remains suffices")
    func unknownAuthority() async throws {
        var root = try await Self.root()
        root.timestampAuthorities = try TrustedRoot.embedded(.production).timestampAuthorities
        for name in ["c3-key-v1tsa-c3", "c3-key-v2-c3", "c3-keyless-v1tsa-email"] {
            let (bundle, policy) = (try Self.sample(name), try Self.policy(name))
            let verified = try policy.verify(bundle, root)
            #expect(verified.warnings.map(\.code) == [.timestampAuthority], "\(name)")
            #expect(!verified.checks.contains { $0.name == "timestamp" })
            for time in verified.times {
                if case .timestampAuthority = time.source { Issue.record("\(name) has a time that nobody vouches for") }
            }
            #expect(try policy.verify(bundle, try await Self.root()).warnings.isEmpty)
            // One that holds is demanded.
            var demanding = policy
            demanding.signedTimestamps = .required(threshold: 1)
            #expect(refusal(bundle, root, demanding) == .timestampAuthority)
            // Bytes that are no timestamp are no unknown authority's.
            var malformed = bundle
            malformed.timestamps = [Array(bundle.timestamps[0].dropLast())]
            #expect(refusal(malformed, root, policy) == .malformedTimestamp)
            // A root without any authority knows none.
            var without = root
            without.timestampAuthorities = []
            #expect(try policy.verify(bundle, without).warnings.map(\.code) == [.timestampAuthority])
        }
        // Nothing else says when a certificate was used, be it that the log gives no time or that there is none.
        let without = try #require(throws: RejectedBundle.self) {
            try Self.policy("c3-keyless-v2-email").verify(try Self.sample("c3-keyless-v2-email"), root)
        }
        #expect(without.error.code == .timestampAuthority && without.step == .time)
        #expect(without.warnings.map(\.code) == [.timestampAuthority])
        // An authority of the same name is known, and did not make it.
        let wrong = try await MaterialCache.shared.trustedRoot("samples/trust/trusted_root.wrong-tsa.json")
        for name in ["c3-key-v1tsa-c3", "c3-key-v2-c3", "c3-keyless-v1tsa-email"] {
            #expect(refusal(try Self.sample(name), wrong, try Self.policy(name)) == .timestampAuthority)
        }
    }

    @Test("Without a log, a certificate holds at its timestamp, or else by the verifier's clock")
    func clock() async throws {
        let bundle = try Self.sample("c3-keyless-none")
        var policy = try Self.policy("c3-keyless-none")
        policy.transparencyLog = .insecurelyIgnored
        guard case .certificates(let chain) = bundle.keyMaterial else { return #expect(Bool(false)) }
        let leaf = try Certificate(der: chain[0])
        for (time, code) in [
            (leaf.notBefore - 1, .certificateNotYetValid), (leaf.notBefore, nil), (leaf.notAfter, nil),
            (leaf.notAfter + 1, .certificateExpired),
        ] as [(Int64, SigstoreError.Code?)] {
            policy.currentTime = time
            #expect(refusal(bundle, try await Self.root(), policy) == code)
        }
        // With a log demanded, the clock proves nothing.
        policy.currentTime = leaf.notBefore
        policy.transparencyLog = .required(threshold: 1)
        #expect(refusal(bundle, try await Self.root(), policy) == .noTime)
    }

    @Test(
        "A time that a log states without a promise is refused with a certificate; with none stated, a timestamp does")
    func unprovenTime() async throws {
        var bundle = try Self.sample("c3-keyless-v1tsa-email")
        let policy = try Self.policy("c3-keyless-v1tsa-email")
        bundle.logEntries[0].promise = nil
        #expect(refusal(bundle, try await Self.root(), policy) == .unprovenTime)
        bundle.logEntries[0].integratedTime = 0
        #expect(refusal(bundle, try await Self.root(), policy) == nil)
        bundle.timestamps = []
        #expect(refusal(bundle, try await Self.root(), policy) == .noTime)
    }

    @Test("A trusted root that is written and read again verifies the same; log ids of Rekor v2 are note key hashes")
    func trustedRootRoundTrip() async throws {
        let root = try TrustedRoot(parsing: try await Self.root().serialized())
        for name in ["c3-keyless-v1tsa-email", "c3-keyless-v2-email", "c3-key-v2-c3"] {
            #expect(refusal(try Self.sample(name), root, try Self.policy(name)) == nil)
        }
        #expect(
            try TrustedRoot.Log.noteKeyHash(origin: "127.0.0.1", publicKey: root.transparencyLogs[1].publicKey)
                == root.transparencyLogs[1].logID)
        let production = try TrustedRoot.embedded(.production).transparencyLogs[1]
        #expect(
            try TrustedRoot.Log.noteKeyHash(
                origin: "log2025-1.rekor.sigstore.dev", publicKey: production.publicKey) == production.logID)
    }

    @Test("The layer of an older image signature becomes a bundle that verifies")
    func imageLayer() async throws {
        let older = try LegacyBlobBundle(parsing: try SharedMaterial.read("samples/sigs/c2-legacy-keyless.json"))
        let entry = try #require(older.logEntry)
        guard case .certificates(let chain) = try #require(older.keyMaterial) else { return #expect(Bool(false)) }
        let root = try await Self.root()
        let authority = root.certificateAuthorities[0]
        var annotations = [
            "dev.cosignproject.cosign/signature": Base64.encode(older.signature),
            "dev.sigstore.cosign/certificate": try Certificate(der: chain[0]).pem,
            "dev.sigstore.cosign/chain": (authority.intermediates + authority.anchors).map(\.pem).joined(),
            "dev.sigstore.cosign/bundle": String(
                decoding: JSONValue.object([
                    "SignedEntryTimestamp": .bytes(try #require(entry.promise)),
                    "Payload": .object([
                        "body": .bytes(entry.body), "integratedTime": .integer(entry.integratedTime),
                        "logIndex": .integer(entry.logIndex), "logID": .string(Hexadecimal.encode(entry.logID)),
                    ]),
                ]).serialized(), as: UTF8.self),
            "org.example/other": "{",
        ]
        let layer = try SharedMaterial.read("samples/blobs/small.txt")
        let policy = try Self.policy("c2-legacy-keyless")
        let bundle = try SigstoreBundle(annotations: annotations, layer: layer, isAttestation: false)
        #expect(refusal(bundle, root, policy) == nil)
        annotations["dev.sigstore.cosign/bundle"] = "null"
        #expect(
            refusal(
                try SigstoreBundle(annotations: annotations, layer: layer, isAttestation: false), root, policy)
                == .noTime)
        for (name, value) in [
            ("dev.cosignproject.cosign/signature", "!"), ("dev.sigstore.cosign/certificate", "x"),
            ("dev.sigstore.cosign/chain", "x"), ("dev.sigstore.cosign/bundle", "{}"),
            ("dev.sigstore.cosign/rfc3161timestamp", "{}"),
        ] {
            var wrong = annotations
            wrong[name] = value
            #expect(throws: SigstoreError.self) {
                try SigstoreBundle(annotations: wrong, layer: layer, isAttestation: false)
            }
        }
    }
}
