import InToto
import SigstoreCrypto
import SigstoreVerification
import StrictJSON
import Synchronization
import Testing

/// Policies put together, for one bundle and for several.
struct CombinedPolicyTests {
    static let file = Array("the release".utf8)
    static let verifier = Verifier(trustedRoot: nil) { 0 }

    /// The owner of a key, with a signature over the file, and the policy that this key must have signed.
    struct Owner {
        let bundle: SigstoreBundle
        let policy: CombinedPolicy
        let fingerprint: String

        init(_ algorithm: SigningAlgorithm = .ecdsaP256) throws {
            let key = try PrivateKey.generate(algorithm)
            bundle = try KeyTests.bundle(key, over: CombinedPolicyTests.file, scheme: algorithm.scheme)
            policy = .policy(.init(signedBy: .key(key.publicKey), transparencyLog: .insecurelyIgnored))
            fingerprint = try key.publicKey.hint()
        }
    }

    static func fingerprint(_ verified: VerifiedBundle) -> String? {
        if case .key(let fingerprint) = verified.signer { fingerprint } else { nil }
    }

    @discardableResult
    static func verify(_ bundle: SigstoreBundle, _ policy: CombinedPolicy, _ artifact: any ArtifactSource)
        throws(RejectedBundle) -> VerifiedBundle
    {
        try verifier.verify(bundle, .message(artifact), policy)
    }

    static func code(_ bundle: SigstoreBundle, _ policy: CombinedPolicy) -> SigstoreError.Code? {
        do throws(RejectedBundle) {
            try verify(bundle, policy, ArtifactBytes(file))
            return nil
        } catch { return error.error.code }
    }

    static func count(_ owners: [Owner], atLeast count: Int, of policies: [CombinedPolicy]) throws(SigstoreError)
        -> [String?]
    {
        try verifier.verify(
            owners.map { (bundle: $0.bundle, claim: .message(ArtifactBytes(file))) }, atLeast: count, of: policies
        ).map(fingerprint)
    }

    static func refusal(_ owners: [Owner], atLeast count: Int, of policies: [CombinedPolicy]) -> SigstoreError.Code? {
        do throws(SigstoreError) {
            _ = try Self.count(owners, atLeast: count, of: policies)
            return nil
        } catch { return error.code }
    }

    // MARK: - One bundle

    @Test("All of and any of, also within each other; an empty list is never a yes, wherever it stands")
    func oneBundle() throws {
        let (ann, ben) = (try Owner(), try Owner())
        let (yes, no) = (ann.policy, ben.policy)
        for policy in [
            yes, .allOf([yes]), .anyOf([yes]), .allOf([yes, yes]), .anyOf([no, yes]), .anyOf([yes, no]),
            .anyOf([.allOf([yes, no]), .allOf([yes, .anyOf([no, yes])])]), .allOf([.anyOf([no, yes]), yes]),
        ] as [CombinedPolicy] { #expect(Self.code(ann.bundle, policy) == nil, "\(policy)") }
        for policy in [
            no, .allOf([no]), .anyOf([no]), .allOf([yes, no]), .allOf([no, yes]), .anyOf([no, no]),
            .allOf([yes, .anyOf([no, .allOf([yes, no])])]), .anyOf([.allOf([yes, no]), no]),
        ] as [CombinedPolicy] { #expect(Self.code(ann.bundle, policy) == .wrongKey, "\(policy)") }
        for policy in [
            .allOf([]), .anyOf([]), .anyOf([yes, .allOf([])]), .anyOf([yes, .anyOf([])]), .allOf([yes, .allOf([])]),
            .allOf([yes, .anyOf([no, yes, .allOf([.anyOf([])])])]),
        ] as [CombinedPolicy] { #expect(Self.code(ann.bundle, policy) == .invalidPolicy, "\(policy)") }
        // Too deep, and too many.
        var deep = yes
        for _ in 0..<16 { deep = .allOf([deep]) }
        #expect(Self.code(ann.bundle, deep) == nil)
        #expect(Self.code(ann.bundle, .anyOf([deep])) == .invalidPolicy)
        for _ in 0..<200 { deep = .anyOf([deep]) }
        #expect(Self.code(ann.bundle, deep) == .invalidPolicy)
        #expect(Self.code(ann.bundle, .anyOf(Array(repeating: yes, count: 100))) == nil)
        #expect(Self.code(ann.bundle, .anyOf(Array(repeating: yes, count: 101))) == .invalidPolicy)
    }

    @Test("What is said of several policies is of the one that came furthest; what holds for all is known of each")
    func whatIsKnown() throws {
        var signer = try TestSigner()
        let bundle = try signer.sign(Self.file)
        let verifier = Verifier(trustedRoot: try signer.root()) { 0 }
        let logged = VerificationPolicy(signedBy: .key(signer.key.publicKey))
        let unlogged = VerificationPolicy(signedBy: .key(signer.key.publicKey), transparencyLog: .insecurelyIgnored)
        let claim = BundleClaim.message(ArtifactBytes(Self.file))
        for parts in [[logged, unlogged], [unlogged, logged]] {
            let verified = try verifier.verify(bundle, claim, .allOf(parts.map { .policy($0) }))
            let alone = try verifier.verify(bundle, claim, logged)
            #expect(verified.checks.map(\.name) == alone.checks.map(\.name))
            #expect(verified.times.map(\.seconds) == alone.times.map(\.seconds))
        }
        let stranger = try Owner()
        var twoLogs = logged
        twoLogs.transparencyLog = .required(threshold: 2)
        for parts in [[stranger.policy, .policy(twoLogs)], [.policy(twoLogs), stranger.policy]] as [[CombinedPolicy]] {
            let error = #expect(throws: RejectedBundle.self) { try verifier.verify(bundle, claim, .anyOf(parts)) }
            #expect(error?.step == .transparencyLog && error?.error.code == .noLogEntry)
            #expect(
                error?.error.message.hasPrefix("none of the policies holds; of the nearest: expected entries") == true)
        }
    }

    /// A file that counts how often it is read.
    final class CountedArtifact: ArtifactSource {
        let reads = Atomic(0)
        func read(digests: Set<HashAlgorithm>, schemes: Set<SignatureScheme>) throws(SigstoreError) -> HashedMessage {
            reads.add(1, ordering: .relaxed)
            return try HashedMessage.of(CombinedPolicyTests.file, digests: digests, schemes: schemes)
        }
    }

    @Test("Several policies read the artifact once, and each gets what it needs of it")
    func readOnce() throws {
        let (ann, ben) = (try Owner(.ed25519), try Owner(.ecdsaP256))
        let artifact = CountedArtifact()
        try Self.verify(ben.bundle, .allOf([ben.policy, ben.policy, .anyOf([ben.policy])]), artifact)
        #expect(artifact.reads.load(ordering: .relaxed) == 1)
        // A bare signature names no key, so that each policy tries its own.
        func bare(_ owner: Owner) throws -> SigstoreBundle {
            SigstoreBundle(
                keyMaterial: .publicKey(hint: ""),
                content: .messageSignature(.init(digest: nil, signature: try owner.bundle.signature())))
        }
        for (owner, other) in [(ann, ben), (ben, ann)] {
            let verified = try Self.verify(try bare(owner), .anyOf([other.policy, owner.policy]), artifact)
            #expect(Self.fingerprint(verified) == owner.fingerprint)
        }
    }

    // MARK: - Several bundles

    @Test("At least so many of the policies hold, each by a signer of its own")
    func threshold() throws {
        let (ann, ben, cid) = (try Owner(), try Owner(), try Owner())
        let policies = [ann.policy, ben.policy, cid.policy]
        #expect(try Self.count([cid, ann], atLeast: 2, of: policies) == [ann.fingerprint, cid.fingerprint])
        #expect(try Self.count([cid, ben, ann], atLeast: 2, of: policies).count == 3)
        #expect(try Self.count([ben], atLeast: 1, of: policies) == [ben.fingerprint])
        #expect(Self.refusal([ann, ben, cid], atLeast: 3, of: policies) == nil)
        #expect(Self.refusal([ann, ben], atLeast: 3, of: policies) == .tooFewSigners)
        #expect(Self.refusal([], atLeast: 1, of: policies) == .tooFewSigners)
        // A stranger's signature is passed over, wherever it stands.
        let stranger = try Owner()
        #expect(Self.refusal([stranger, ann, stranger, ben, stranger], atLeast: 2, of: policies) == nil)
        #expect(Self.refusal([stranger, ann], atLeast: 2, of: policies) == .tooFewSigners)
    }

    @Test("One signer counts once, whatever number of bundles it made and of policies it fits")
    func sameSigner() throws {
        let (ann, ben, cid) = (try Owner(), try Owner(), try Owner())
        #expect(Self.refusal([ann, ann, ann], atLeast: 2, of: [ann.policy, ben.policy]) == .tooFewSigners)
        #expect(Self.refusal([ann, ann], atLeast: 2, of: [ann.policy, ann.policy]) == .tooFewSigners)
        #expect(
            Self.refusal([ann, ann], atLeast: 2, of: [ann.policy, .anyOf([ann.policy, ben.policy])]) == .tooFewSigners)
        // A policy counts once too.
        let annOrBen = CombinedPolicy.anyOf([ann.policy, ben.policy])
        #expect(Self.refusal([ann, ben], atLeast: 2, of: [annOrBen, cid.policy]) == .tooFewSigners)
        // Who is counted for which policy is chosen so that most are counted, in whatever order they come.
        for owners in [[ann, ben], [ben, ann]] {
            for policies in [[annOrBen, ann.policy], [ann.policy, annOrBen]] {
                #expect(Self.refusal(owners, atLeast: 2, of: policies) == nil)
            }
        }
        let any = CombinedPolicy.anyOf([ann.policy, ben.policy, cid.policy])
        #expect(try Self.count([ann, ben, cid], atLeast: 3, of: [any, annOrBen, ann.policy]).count == 3)
        #expect(Self.refusal([ann, ben], atLeast: 3, of: [any, annOrBen, ann.policy]) == .tooFewSigners)
        #expect(Self.refusal([ann, ben, cid], atLeast: 3, of: [annOrBen, annOrBen, ann.policy]) == .tooFewSigners)
    }

    @Test("A key and a certificate for that key are one signer, by one signature or by two")
    func keyWithCertificate() throws {
        var signer = try TestSigner(certificate: TestAuthority.leafPEM)
        let root = try signer.root()
        let certified = try signer.sign(Self.file)
        var bare = certified
        bare.keyMaterial = .publicKey(hint: "")
        bare.logEntries = []
        var byName = VerificationPolicy(signedBy: .identities([AttackTests.identity]))
        byName.certificateTransparency = .insecurelyIgnored
        let byKey = VerificationPolicy(
            signedBy: .key(try TestAuthority.leafKey().publicKey), transparencyLog: .insecurelyIgnored)
        let verifier = Verifier(trustedRoot: root) { TestAuthority.signedInTime }
        func count(_ bundles: [SigstoreBundle], _ policies: [VerificationPolicy]) throws -> Int {
            try verifier.verify(
                bundles.map { (bundle: $0, claim: .message(ArtifactBytes(Self.file))) }, atLeast: 1,
                of: policies.map { .policy($0) }
            ).count
        }
        for bundles in [[certified], [certified, bare], [bare, certified]] {
            for policies in [[byName, byKey], [byKey, byName]] { #expect(try count(bundles, policies) == 1) }
        }
    }

    @Test("Owners of identities are told apart by name and issuer, byte for byte")
    func identities() throws {
        let ann = try CertificateClaimsTests.Signed([CertificateClaimsTests.encoded(8, TestAuthority.issuer)])
        let anyone = VerificationPolicy(
            signedBy: .identities([
                CertificateIdentity(
                    subject: .matching(try IdentityPattern(".")), issuer: .matching(try IdentityPattern(".")))
            ]), transparencyLog: .insecurelyIgnored, certificateTransparency: .insecurelyIgnored)
        func count(_ others: [CertificateClaimsTests.Signed]) throws -> Int {
            let all = [ann] + others
            let root = TrustedRoot(certificateAuthorities: all.flatMap(\.root.certificateAuthorities))
            let verifier = Verifier(trustedRoot: root) { TestAuthority.signedInTime }
            return try verifier.verify(
                all.map { (bundle: $0.bundle, claim: .message(ArtifactBytes(Self.file))) }, atLeast: 1,
                of: Array(repeating: .policy(anyone), count: all.count)
            ).count
        }
        // Another certificate of the same name by the same issuer is the same signer, whatever else it says.
        #expect(
            try count([
                .init([CertificateClaimsTests.raw(1, TestAuthority.issuer)]),
                .init([
                    CertificateClaimsTests.encoded(8, TestAuthority.issuer), CertificateClaimsTests.encoded(11, "x"),
                ]),
            ]) == 1)
        #expect(try count([.init([CertificateClaimsTests.encoded(8, "https://other.example")])]) == 2)
        // Name and issuer do not run into each other.
        let pairs = [("a", " b"), ("a ", "b"), ("a\0", "b"), ("a", "\0b")]
        #expect(
            try count(
                pairs.map { name, issuer in
                    try .init(
                        name: CertificateClaimsTests.userName(name), [CertificateClaimsTests.encoded(8, issuer)])
                }) == 5)
    }

    @Test("A count of nothing, or of more than there are, is refused, and so are too many signatures")
    func bounds() throws {
        let ann = try Owner()
        for count in [0, -1, 2, .max, .min] {
            #expect(Self.refusal([ann], atLeast: count, of: [ann.policy]) == .invalidPolicy)
        }
        #expect(Self.refusal([ann], atLeast: 0, of: []) == .invalidPolicy)
        #expect(Self.refusal([ann], atLeast: 1, of: []) == .invalidPolicy)
        #expect(Self.refusal([ann], atLeast: 1, of: [ann.policy, .anyOf([])]) == .invalidPolicy)
        #expect(Self.refusal([ann], atLeast: 1, of: Array(repeating: ann.policy, count: 101)) == .invalidPolicy)
        #expect(Self.refusal(Array(repeating: ann, count: 100), atLeast: 1, of: [ann.policy]) == nil)
        #expect(Self.refusal(Array(repeating: ann, count: 101), atLeast: 1, of: [ann.policy]) == .tooManyEntries)
    }

    @Test("Nested policies count as one each, and what is signed is each bundle's own claim")
    func nested() throws {
        let (ann, ben) = (try Owner(), try Owner())
        let both = CombinedPolicy.allOf([ann.policy, .anyOf([ann.policy, ben.policy])])
        #expect(Self.refusal([ann, ben], atLeast: 2, of: [both, ben.policy]) == nil)
        // One bundle has one signer: that both signed cannot hold of it.
        #expect(
            Self.refusal([ann, ben], atLeast: 1, of: [.allOf([ann.policy, ben.policy])]) == .tooFewSigners)
        let error = #expect(throws: SigstoreError.self) {
            try Self.verifier.verify(
                [
                    (bundle: ann.bundle, claim: .message(ArtifactBytes(Self.file))),
                    (bundle: ben.bundle, claim: .message(ArtifactBytes([1]))),
                ], atLeast: 2, of: [ann.policy, ben.policy])
        }
        #expect(error?.code == .tooFewSigners)
        #expect(error?.message.contains("found 1") == true, "\(error?.message ?? "")")
    }
}
