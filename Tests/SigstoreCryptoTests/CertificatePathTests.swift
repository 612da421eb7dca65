import StrictJSON
import Testing

@testable import SigstoreCrypto

@Suite struct CertificatePathTests {
    static let start = IssuedCertificate.start

    static func build(
        _ leaf: IssuedCertificate, through intermediates: [IssuedCertificate] = [], to anchors: [IssuedCertificate],
        at time: Int64 = start + 1, for purpose: CertificatePath.Purpose = .codeSigning
    ) throws -> [Certificate] {
        try CertificatePath.build(
            leaf: leaf.certificate, intermediates: intermediates.map(\.certificate),
            anchors: anchors.map(\.certificate), at: time, purpose: purpose)
    }

    /// Expects a refusal for a reason.
    static func refuses(
        _ code: SigstoreError.Code, _ leaf: IssuedCertificate, through intermediates: [IssuedCertificate] = [],
        to anchors: [IssuedCertificate], at time: Int64 = start + 1,
        for purpose: CertificatePath.Purpose = .codeSigning, sourceLocation: SourceLocation = #_sourceLocation
    ) {
        let error = #expect(throws: SigstoreError.self, sourceLocation: sourceLocation) {
            _ = try build(leaf, through: intermediates, to: anchors, at: time, for: purpose)
        }
        #expect(error?.code == code, "\(error?.message ?? "")", sourceLocation: sourceLocation)
    }

    let root: IssuedCertificate
    let intermediate: IssuedCertificate
    let leaf: IssuedCertificate

    init() throws {
        root = try IssuedCertificate.root()
        intermediate = try IssuedCertificate.intermediate(by: root)
        leaf = try IssuedCertificate.leaf(by: intermediate)
    }

    @Test func aGoodPath() throws {
        let path = try Self.build(leaf, through: [intermediate], to: [root])
        #expect(path.map(\.der) == [leaf, intermediate, root].map(\.certificate.der))
        let direct = try IssuedCertificate.leaf(by: root)
        #expect(try Self.build(direct, to: [root]).count == 2)
    }

    @Test("A certificate that OpenSSL cannot read is on no path, also if no path needs it")
    func unreadable() throws {
        // A name is a list of sets; our reader takes names as they are.
        let name: [UInt8] = [0x30, 2, 5, 0]
        let unreadable = try IssuedCertificate(name, [.keyUsage(0x80)])
        Self.refuses(.malformedCertificate, unreadable, through: [intermediate], to: [root])
        Self.refuses(.malformedCertificate, leaf, through: [intermediate, unreadable], to: [root])
        Self.refuses(.malformedCertificate, leaf, through: [intermediate], to: [root, unreadable])
        #expect(try Self.build(leaf, through: [intermediate], to: [root]).count == 3)
    }

    @Test func validityIncludesBothEnds() throws {
        for time in [Self.start, Self.start + 600] {
            #expect(try Self.build(leaf, through: [intermediate], to: [root], at: time).count == 3)
        }
        Self.refuses(.certificateNotYetValid, leaf, through: [intermediate], to: [root], at: Self.start - 1)
        Self.refuses(.certificateExpired, leaf, through: [intermediate], to: [root], at: Self.start + 601)
    }

    /// CVE-2026-24122: intermediate valid 12:30 to 1:30, leaf 1:00 to 3:00, signed at 2:30.
    @Test func anIntermediateThatHadExpiredIsRefused() throws {
        let hour: Int64 = 3600
        let early = try IssuedCertificate.intermediate(by: root, from: Self.start, to: Self.start + hour)
        let leaf = try IssuedCertificate.leaf(by: early, from: Self.start + hour / 2, to: Self.start + 5 * hour / 2)
        #expect(try Self.build(leaf, through: [early], to: [root], at: Self.start + hour).count == 3)
        Self.refuses(.certificateExpired, leaf, through: [early], to: [root], at: Self.start + 2 * hour)
    }

    @Test func anAnchorThatHadExpiredIsRefused() throws {
        let early = try IssuedCertificate.root("early", to: Self.start + 10)
        let leaf = try IssuedCertificate.leaf(by: early)
        #expect(try Self.build(leaf, to: [early], at: Self.start + 10).count == 2)
        Self.refuses(.certificateExpired, leaf, to: [early], at: Self.start + 11)
        let late = try IssuedCertificate.root("late", from: Self.start + 20)
        Self.refuses(
            .certificateNotYetValid, try IssuedCertificate.leaf(by: late), to: [late], at: Self.start + 11)
    }

    @Test func aRenewedAuthorityIsFound() throws {
        // The same name and key, once expired and once not: the order must not matter.
        let expired = try IssuedCertificate(
            IssuedCertificate.name("intermediate"), by: root, serialNumber: [2], key: intermediate.key,
            from: Self.start - 100, to: Self.start, [.authority(), .keyUsage(0x04)])
        for order in [[expired, intermediate], [intermediate, expired]] {
            #expect(try Self.build(leaf, through: order, to: [root])[1].equals(intermediate.certificate))
        }
    }

    @Test func anotherAnchorIsRefused() throws {
        let other = try IssuedCertificate.root()
        Self.refuses(.certificateSignature, leaf, through: [intermediate], to: [other])
        Self.refuses(.certificatePath, leaf, through: [intermediate], to: [try IssuedCertificate.root("other")])
        Self.refuses(.certificatePath, leaf, through: [], to: [root])
        Self.refuses(.certificatePath, leaf, through: [intermediate], to: [])
        // A root that came with the leaf is not trusted for that.
        Self.refuses(
            .certificatePath, leaf, through: [intermediate, root], to: [try IssuedCertificate.root("other")])
    }

    @Test func aLeafIsNotItsOwnAnchor() throws {
        Self.refuses(.certificatePath, leaf, to: [leaf])
        let own = try IssuedCertificate(
            IssuedCertificate.name("own"),
            [.keyUsage(0x80), .extendedKeyUsage(IssuedCertificate.codeSigning)])
        Self.refuses(.certificatePath, own, to: [own])
    }

    @Test func anIntermediateMayBeTheAnchor() throws {
        let path = try Self.build(leaf, to: [intermediate])
        #expect(path.map(\.der) == [leaf, intermediate].map(\.certificate.der))
    }

    @Test func anAlteredCertificateIsRefused() throws {
        var der = leaf.certificate.der
        der[der.count - 1] ^= 1
        let altered = IssuedCertificate(certificate: try Certificate(der: der), key: leaf.key)
        Self.refuses(.certificateSignature, altered, through: [intermediate], to: [root])
    }

    @Test func theLeafsUsage() throws {
        typealias Extension = IssuedCertificate.Extension
        let names = Extension.names([IssuedCertificate.email("a@b.c")])
        let codeSigning = Extension.extendedKeyUsage(IssuedCertificate.codeSigning)
        for wrong: [Extension] in [
            [.keyUsage(0x80), names], [.keyUsage(0x80), names, .extendedKeyUsage("1.3.6.1.5.5.7.3.1")],
            [.keyUsage(0x80), names, .extendedKeyUsage("2.5.29.37.0")],
            [.keyUsage(0x80), names, .extendedKeyUsage(IssuedCertificate.timestamping, critical: true)],
            [names, codeSigning], [.keyUsage(0x20), names, codeSigning],
            [.keyUsage(0x84), names, codeSigning, .authority()],
        ] {
            let authority = try IssuedCertificate.intermediate(by: root, pathLength: nil)
            let leaf = try IssuedCertificate(
                [0x30, 0], by: authority, to: Self.start + 600, wrong)
            Self.refuses(.certificateKeyUsage, leaf, through: [authority], to: [root])
        }
    }

    @Test func aTimestampersUsage() throws {
        typealias Extension = IssuedCertificate.Extension
        let authority = try IssuedCertificate.intermediate(by: root, usage: IssuedCertificate.timestamping)
        func leaf(_ extensions: Extension...) throws -> IssuedCertificate {
            try IssuedCertificate(IssuedCertificate.name("tsa"), by: authority, extensions)
        }
        let right = Extension.extendedKeyUsage(IssuedCertificate.timestamping, critical: true)
        for good in [try leaf(right), try leaf(right, .keyUsage(0x80)), try leaf(right, .keyUsage(0x40))] {
            #expect(try Self.build(good, through: [authority], to: [root], for: .timestamping).count == 3)
            Self.refuses(.certificateKeyUsage, good, through: [authority], to: [root], for: .codeSigning)
        }
        for wrong in [
            try leaf(), try leaf(.extendedKeyUsage(IssuedCertificate.timestamping)),
            try leaf(
                .extendedKeyUsage(IssuedCertificate.timestamping, IssuedCertificate.codeSigning, critical: true)),
            try leaf(right, .keyUsage(0x20)),
        ] {
            Self.refuses(.certificateKeyUsage, wrong, through: [authority], to: [root], for: .timestamping)
        }
    }

    @Test func anIntermediatesUsage() throws {
        let other = try IssuedCertificate.intermediate(by: root, usage: "1.3.6.1.5.5.7.3.1")
        Self.refuses(.certificateKeyUsage, try IssuedCertificate.leaf(by: other), through: [other], to: [root])
        let any = try IssuedCertificate.intermediate(by: root, usage: "2.5.29.37.0")
        #expect(try Self.build(try IssuedCertificate.leaf(by: any), through: [any], to: [root]).count == 3)
        let unstated = try IssuedCertificate(
            IssuedCertificate.name("unstated"), by: root, [.authority(), .keyUsage(0x04)])
        #expect(try Self.build(try IssuedCertificate.leaf(by: unstated), through: [unstated], to: [root]).count == 3)
        let signsNothing = try IssuedCertificate(
            IssuedCertificate.name("signs nothing"), by: root, [.authority(), .keyUsage(0x80)])
        #expect(throws: SigstoreError.self) {
            try Self.build(try IssuedCertificate.leaf(by: signsNothing), through: [signsNothing], to: [root])
        }
        let noAuthority = try IssuedCertificate(IssuedCertificate.name("no authority"), by: root, [.keyUsage(0x04)])
        Self.refuses(
            .certificateConstraint, try IssuedCertificate.leaf(by: noAuthority), through: [noAuthority], to: [root])
    }

    @Test func pathLength() throws {
        // The intermediate allows no authority below it.
        let second = try IssuedCertificate.intermediate(by: intermediate, "second")
        let leaf = try IssuedCertificate.leaf(by: second)
        Self.refuses(.certificateConstraint, leaf, through: [second, intermediate], to: [root])

        var chain = [root]
        for number in 0..<12 {
            chain.append(try IssuedCertificate.intermediate(by: chain[number], "\(number)", pathLength: nil))
        }
        for depth in [8, 9, 12] {
            let leaf = try IssuedCertificate.leaf(by: chain[depth])
            if depth == 8 {
                #expect(try Self.build(leaf, through: Array(chain[1...]), to: [root]).count == 10)
            } else {
                Self.refuses(.certificatePath, leaf, through: Array(chain[1...]), to: [root])
            }
        }
        Self.refuses(
            .certificatePath, self.leaf, through: Array(repeating: intermediate, count: 33), to: [root])
    }

    @Test func nameConstraints() throws {
        // permittedSubtrees: email addresses at example.com only
        let constraint = DERWriter.element(
            0x30, DERWriter.element(0xa0, DERWriter.element(0x30, IssuedCertificate.email("example.com"))))
        let limited = try IssuedCertificate(
            IssuedCertificate.name("limited"), by: root,
            [
                .authority(), .keyUsage(0x04), .extendedKeyUsage(IssuedCertificate.codeSigning),
                .init("2.5.29.30", critical: true, constraint),
            ])
        #expect(try Self.build(try IssuedCertificate.leaf(by: limited), through: [limited], to: [root]).count == 3)
        let outside = try IssuedCertificate(
            [0x30, 0], by: limited,
            [
                .keyUsage(0x80), .extendedKeyUsage(IssuedCertificate.codeSigning),
                .names([IssuedCertificate.email("someone@elsewhere.example")]),
            ])
        Self.refuses(.certificateConstraint, outside, through: [limited], to: [root])
    }

    @Test func unknownCriticalExtensions() throws {
        for (oid, value) in [("1.2.3.4", [5, 0]), ("2.5.29.36", [0x30, 3, 0x80, 1, 0])] as [(String, [UInt8])] {
            let leaf = try IssuedCertificate(
                [0x30, 0], by: intermediate,
                [
                    .keyUsage(0x80), .extendedKeyUsage(IssuedCertificate.codeSigning),
                    .names([IssuedCertificate.email("a@b.c")]), .init(oid, critical: true, value),
                ])
            Self.refuses(.certificateCriticalExtension, leaf, through: [intermediate], to: [root])
            let authority = try IssuedCertificate(
                IssuedCertificate.name("odd"), by: root,
                [.authority(), .keyUsage(0x04), .init(oid, critical: true, value)])
            Self.refuses(
                .certificateCriticalExtension, try IssuedCertificate.leaf(by: authority), through: [authority],
                to: [root])
        }
    }

    @Test func theMessageNamesDates() throws {
        let error = #expect(throws: SigstoreError.self) {
            _ = try Self.build(leaf, through: [intermediate], to: [root], at: Self.start + 3600)
        }
        #expect(
            error?.message
                == "the certificate of someone@example.com is valid from 2026-01-01T00:00:00Z to 2026-01-01T00:10:00Z, "
                + "not at 2026-01-01T01:00:00Z")
    }
}
