import SigstoreCrypto
import SigstoreVerification
import StrictJSON
import Testing

@testable import LocalSigstore

/// Below an anchor for which the trusted root lists an intermediate, only listed intermediates count.
struct ListedIntermediateTests {
    private static let file = Array("the release".utf8)
    /// When everything here is signed.
    private static let time = TestAuthority.signedInTime
    private static let ended = ValidityWindow(start: Instant(seconds: 0), end: Instant(seconds: time - 1))
    private static let endsNow = ValidityWindow(start: Instant(seconds: 0), end: Instant(seconds: time))

    /// An authority's certificate and key; without an issuer, a root.
    private static func authority(_ name: String, key: PrivateKey? = nil, by issuer: CertificateIssuer? = nil) throws
        -> CertificateIssuer
    {
        let key = try key ?? PrivateKey.generate(.ecdsaP256)
        let name = DistinguishedName(organization: "example", commonName: name)
        // Timestamps are made by the clock, and what else is signed here at another time.
        let (from, to): (Int64, Int64) = (1_577_836_800, time + 20 * 365 * 86_400)
        let issuer = try issuer ?? CertificateIssuer.root(name, key: key, notBefore: from, notAfter: to)
        return CertificateIssuer(
            key: key,
            certificate: try issuer.issue(
                .init(
                    subject: name.der, publicKey: key.publicKey, notBefore: from, notAfter: to,
                    extensions: [
                        .authority(pathLength: 9), .keyUsage(digitalSignature: false),
                        .subjectKeyIdentifier(try X509.keyIdentifier(key.publicKey)),
                        .authorityKeyIdentifier(try X509.keyIdentifier(issuer.key.publicKey)),
                    ])))
    }

    private static func listed(
        _ intermediates: [CertificateIssuer], _ anchors: CertificateIssuer..., validFor: ValidityWindow = .always
    ) throws -> TrustedRoot.Authority {
        func certificate(_ issuer: CertificateIssuer) throws -> Certificate {
            try Certificate(der: issuer.certificate.der)
        }
        return TrustedRoot.Authority(
            uri: "", anchors: try anchors.map(certificate), intermediates: try intermediates.map(certificate),
            validFor: validFor)
    }

    /// With which codes a file is refused whose signer's certificate an authority issued, as a bundle of 0.1 and of 0.2
    /// that bring these intermediates.
    private static func refusals(
        by issuer: CertificateIssuer, bringing: [CertificateIssuer], _ authorities: [TrustedRoot.Authority]
    ) throws -> Set<SigstoreError.Code?> {
        let leaf = try issuer.issue(
            .init(
                subject: DistinguishedName.empty, publicKey: try TestAuthority.leafKey().publicKey,
                notBefore: time - 60, notAfter: time + 600,
                extensions: [
                    .keyUsage(digitalSignature: true), .extendedKeyUsage(CertificateExtension.codeSigning),
                    .subjectAlternativeName(6, TestAuthority.subject),
                    CertificateExtension(
                        oid: "1.3.6.1.4.1.57264.1.8", value: DER.utf8String(TestAuthority.issuer)),
                ]))
        var signer = try TestSigner(certificate: leaf.pem)
        var bundle = try signer.sign(file, at: time)
        bundle.keyMaterial = .certificates([leaf.der] + bringing.map(\.certificate.der))
        let root = TrustedRoot(certificateAuthorities: authorities, transparencyLogs: [signer.log.trusted()])
        var refusals: Set<SigstoreError.Code?> = []
        for version in [SigstoreBundle.Version.v01, .v02] {
            bundle.version = version
            refusals.insert(refusal(bundle, root, AttackTests.policy(AttackTests.identity, file)))
        }
        return refusals
    }

    @Test("An intermediate that the trusted root has ended or dropped does not come back with a bundle")
    func retired() throws {
        let root = try Self.authority("root")
        let (old, new) = (try Self.authority("old", by: root), try Self.authority("new", by: root))
        func refusals(_ authorities: TrustedRoot.Authority...) throws -> Set<SigstoreError.Code?> {
            try Self.refusals(by: old, bringing: [old], authorities)
        }
        let ended = try Self.listed([old], root, validFor: Self.ended)
        #expect(try refusals(ended, Self.listed([new], root)) == [.authorityNotValid])
        #expect(try refusals(Self.listed([new], root), ended) == [.authorityNotValid])
        #expect(try refusals(Self.listed([new], root)) == [.certificatePath])
        // The root may stand there by itself too: another authority lists what is below it.
        #expect(try refusals(Self.listed([], root), ended) == [.authorityNotValid])
        #expect(try refusals(Self.listed([], root), Self.listed([new], root)) == [.certificatePath])
        #expect(
            try refusals(Self.listed([], root), Self.listed([new], root, validFor: Self.ended)) == [.certificatePath])
        // The intermediate as an anchor: it was listed all the same.
        #expect(try refusals(Self.listed([], root), Self.listed([], new)) == [.certificatePath])
        // What was signed before the end holds, and so does what is below an anchor for which nothing is listed.
        #expect(try refusals(Self.listed([old], root, validFor: Self.endsNow), Self.listed([new], root)) == [nil])
        #expect(try refusals(Self.listed([new], root), Self.listed([old], root, validFor: Self.endsNow)) == [nil])
        #expect(try refusals(Self.listed([], root)) == [nil])
        // In whatever order they are listed.
        #expect(try refusals(Self.listed([new, old], root)) == [nil])
        #expect(try refusals(Self.listed([old, new], root)) == [nil])
        // The bundle brings nothing.
        #expect(try Self.refusals(by: old, bringing: [], [Self.listed([], root)]) == [.certificatePath])
        #expect(try Self.refusals(by: new, bringing: [], [ended, Self.listed([new], root)]) == [nil])
    }

    @Test("A bundle's intermediate below a listed one does not count either")
    func belowListed() throws {
        let root = try Self.authority("root")
        let listed = try Self.authority("listed", by: root)
        let second = try Self.authority("second", by: listed)
        #expect(try Self.refusals(by: second, bringing: [second], [Self.listed([listed], root)]) == [.certificatePath])
        #expect(
            try Self.refusals(by: second, bringing: [second, listed], [Self.listed([listed], root)])
                == [.certificatePath])
        #expect(try Self.refusals(by: second, bringing: [], [Self.listed([second, listed], root)]) == [nil])
        #expect(try Self.refusals(by: second, bringing: [second, listed], [Self.listed([], root)]) == [nil])
    }

    @Test("An anchor that is encoded or issued anew is the same; one of the same name with another key is not")
    func sameAnchor() throws {
        let root = try Self.authority("root")
        let again = try Self.authority("root", key: root.key)
        let (old, new) = (try Self.authority("old", by: root), try Self.authority("new", by: root))
        #expect(again.certificate.der != root.certificate.der)
        for authorities in [
            [try Self.listed([new], again), try Self.listed([], root)],
            [try Self.listed([], again), try Self.listed([new], root)], [try Self.listed([new], root, again)],
        ] {
            #expect(try Self.refusals(by: old, bringing: [old], authorities) == [.certificatePath])
        }
        let namesake = try Self.authority("root")
        let below = try Self.authority("below", by: namesake)
        #expect(
            try Self.refusals(by: below, bringing: [below], [Self.listed([new], root), Self.listed([], namesake)])
                == [nil])
    }

    @Test("Of several anchors of one authority, those below which something is listed are closed")
    func severalAnchors() throws {
        let (root, other) = (try Self.authority("root"), try Self.authority("other"))
        let (old, new) = (try Self.authority("old", by: root), try Self.authority("new", by: root))
        let below = try Self.authority("below", by: other)
        let both = [try Self.listed([new], root, other)]
        #expect(try Self.refusals(by: old, bringing: [old], both) == [.certificatePath])
        #expect(try Self.refusals(by: new, bringing: [], both) == [nil])
        #expect(try Self.refusals(by: below, bringing: [below], both) == [nil])
        // One whose issuer is not listed may be of either.
        let second = try Self.authority("second", by: new)
        #expect(
            try Self.refusals(by: below, bringing: [below], [Self.listed([second], root, other)]) == [.certificatePath])
    }

    @Test("A key that the trusted root lists is not certified anew by a bundle")
    func crossSigned() throws {
        let (root, other) = (try Self.authority("root"), try Self.authority("other"))
        let (old, new) = (try Self.authority("old", by: root), try Self.authority("new", by: root))
        let listed = try Self.listed([new], root)
        let rootByOther = try Self.authority("root", key: root.key, by: other)
        let open = try Self.listed([], other)
        #expect(try Self.refusals(by: old, bringing: [old, rootByOther], [open]) == [nil])
        #expect(try Self.refusals(by: old, bringing: [old, rootByOther], [open, listed]) == [.certificatePath])
        #expect(try Self.refusals(by: old, bringing: [old, rootByOther], [listed, open]) == [.certificatePath])
        let oldByOther = try Self.authority("old", key: old.key, by: other)
        let ended = try Self.listed([old], root, validFor: Self.ended)
        #expect(try Self.refusals(by: old, bringing: [oldByOther], [open]) == [nil])
        #expect(try Self.refusals(by: old, bringing: [oldByOther], [open, ended, listed]) == [.authorityNotValid])
    }

    @Test("One root at the end of an older bundle is dropped, and anchors nothing; any other is refused")
    func rootAtTheEnd() throws {
        let (root, other) = (try Self.authority("root"), try Self.authority("other"))
        let between = try Self.authority("between", by: root)
        let open = try Self.listed([], root)
        for brought in [[between, root], [between, other]] {
            #expect(try Self.refusals(by: between, bringing: brought, [open]) == [nil])
            // It is dropped before anything else, so the root that is trusted decides.
            #expect(
                try Self.refusals(by: between, bringing: brought, [try Self.listed([], other)]) == [.certificatePath])
            #expect(try Self.refusals(by: between, bringing: brought, []) == [.noTrustedRoot])
        }
        #expect(try Self.refusals(by: root, bringing: [root], [open]) == [nil])
        #expect(try Self.refusals(by: root, bringing: [root], [try Self.listed([], other)]) == [.certificatePath])
        // Once, and in last place only.
        for brought in [
            [between, root, root], [between, root, other], [root, between], [other, between], [root, between, root],
        ] {
            #expect(try Self.refusals(by: between, bringing: brought, [open]) == [.rootInBundle])
        }
        // A signer's certificate that issued itself is the signer's, and not a root that is brought.
        var signer = try TestSigner(certificate: TestAuthority.leafPEM)
        var bundle = try signer.sign(Self.file)
        bundle.version = .v02
        bundle.keyMaterial = .certificates([root.certificate.der])
        var policy = Demand(signedBy: .identities([AttackTests.identity]), claim: .message(ArtifactBytes(Self.file)))
        policy.certificateTransparency = .insecurelyIgnored
        #expect(refusal(bundle, try signer.root(), policy) != nil)
        // Version 0.3 has no chains.
        bundle.version = .v03
        let leaf = try TestAuthority.certificate(TestAuthority.leafPEM)
        bundle.keyMaterial = .certificates([leaf.der, try TestAuthority.certificate(TestAuthority.rootPEM).der])
        #expect(refusal(bundle, try signer.root(), policy) == .malformedBundle)
    }

    // MARK: - Timestamps

    /// A timestamp over these bytes, made now, that carries these certificates.
    private static func timestamp(
        _ bytes: [UInt8], by authority: TimestampAuthority, carrying: [X509]
    ) throws -> [UInt8] {
        let answer = try authority.answer(
            LoopbackRequest(
                method: "POST", path: "/api/v1/timestamp", query: [],
                body: try TimestampRequest(Digest.sha256(bytes)).der, faults: [],
                headers: ["content-type": "application/timestamp-query"]))
        // The certificates of a token are not signed (RFC 5652, section 5.1).
        let parts = try DERElement(parsing: answer.body).children()
        let token = try parts.at(1, 0x30).children()
        let signed = try token.at(1, 0xa0).children().at(0, 0x30).children()
        let changed = signed.map { $0.tag == 0xa0 ? DER.explicit(0, carrying.flatMap(\.der)) : $0.whole }
        return DER.sequence([
            try parts.at(0, 0x30).whole,
            DER.sequence([try token.at(0, 0x06).whole, DER.explicit(0, DER.sequence(changed))]),
        ])
    }

    @Test("An intermediate that the trusted root has ended or dropped does not come back with a timestamp")
    func retiredTimestampAuthority() throws {
        let root = try Self.authority("root")
        let (old, new) = (try Self.authority("old", by: root), try Self.authority("new", by: root))
        let again = try Self.authority("root", key: root.key)
        let key = try PrivateKey.generate(.ecdsaP256)
        let leaf = try old.issue(
            .init(
                subject: DistinguishedName(organization: "example", commonName: "timestamps").der,
                publicKey: key.publicKey, notBefore: 0, notAfter: Self.time + 86_400,
                extensions: [
                    .keyUsage(digitalSignature: true),
                    .extendedKeyUsage(CertificateExtension.timeStamping, critical: true),
                ]))
        let authority = TimestampAuthority(key: key, certificate: leaf, issuers: [])
        var signer = try TestSigner(v2: true)
        var bundle = try signer.sign(Self.file)
        bundle.timestamps = [
            try Self.timestamp(try bundle.signature(), by: authority, carrying: [leaf, old.certificate])
        ]
        var policy = signer.policy(.message(ArtifactBytes(Self.file)))
        policy.signedTimestamps = .required(threshold: 1)
        let longAgo = ValidityWindow(start: Instant(seconds: 0), end: Instant(seconds: 1_600_000_000))
        func refusals(_ authorities: TrustedRoot.Authority...) throws -> SigstoreError.Code? {
            var trusted = try signer.root()
            trusted.timestampAuthorities = authorities
            return refusal(bundle, trusted, policy)
        }
        #expect(try refusals(Self.listed([], root)) == nil)
        #expect(try refusals(Self.listed([old], root)) == nil)
        #expect(try refusals(Self.listed([new], root)) == .certificatePath)
        #expect(try refusals(Self.listed([new], root), Self.listed([], root)) == .certificatePath)
        #expect(try refusals(Self.listed([], again), Self.listed([new], root)) == .certificatePath)
        #expect(
            try refusals(Self.listed([old], root, validFor: longAgo), Self.listed([new], root))
                == .timestampAuthorityNotValid)
        #expect(try refusals(Self.listed([old], root), Self.listed([new], root)) == nil)

        // None is demanded. Of one by an authority that the root does not know, nothing depends here, so it is not counted.
        policy.signedTimestamps = .whenPresent
        func warnings(_ authorities: TrustedRoot.Authority...) throws -> [SigstoreError.Code] {
            var trusted = try signer.root()
            trusted.timestampAuthorities = authorities
            return try policy.verify(bundle, trusted).warnings.map(\.code)
        }
        let stranger = try Self.authority("stranger")
        #expect(try warnings(Self.listed([], root)) == [])
        #expect(try warnings(Self.listed([], stranger)) == [.timestampAuthority])
        #expect(try warnings(Self.listed([new], root)) == [.timestampAuthority])
        // It is known by the name of an authority, or by the key of a certificate that it carries: then it must hold.
        let namesake = try Self.authority("old", by: stranger)
        let issued = try Self.authority("another", by: try Self.authority("old"))
        let renamed = try Self.authority("renamed", key: old.key, by: stranger)
        for known in [
            try Self.listed([namesake], stranger), try Self.listed([issued], stranger), try Self.listed([], namesake),
            try Self.listed([renamed], stranger), try Self.listed([], renamed),
        ] {
            #expect(try refusals(known) != nil)
            #expect(try refusals(Self.listed([], stranger), known) != nil)
        }
    }
}
