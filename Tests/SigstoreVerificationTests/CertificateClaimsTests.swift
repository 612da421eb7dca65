import SigstoreCrypto
import SigstoreVerification
import StrictJSON
import Testing

@testable import LocalSigstore

/// What certificates say beside the name, and what a policy demands of it.
struct CertificateClaimsTests {
    static let file = Array("the release".utf8)
    typealias Name = CertificateClaims.Name

    static func raw(_ number: UInt32, _ text: String) -> CertificateExtension {
        CertificateExtension(oid: "1.3.6.1.4.1.57264.1.\(number)", value: Array(text.utf8))
    }
    static func encoded(_ number: UInt32, _ text: String) -> CertificateExtension {
        CertificateExtension(oid: "1.3.6.1.4.1.57264.1.\(number)", value: DER.utf8String(text))
    }
    /// Fulcio's name for a user without an email address (RFC 5280, section 4.2.1.6, otherName).
    static func userName(_ text: String) -> CertificateExtension {
        let name = DER.oid("1.3.6.1.4.1.57264.1.7") + DER.explicit(0, DER.utf8String(text))
        return CertificateExtension(oid: "2.5.29.17", critical: true, value: DER.sequence([DER.explicit(0, name)]))
    }

    /// A file that was signed with a certificate that says this, and what verifies it.
    struct Signed {
        let certificate: Certificate
        let bundle: SigstoreBundle
        let root: TrustedRoot

        init(name: CertificateExtension? = nil, _ claims: [CertificateExtension]) throws {
            let time = TestAuthority.signedInTime
            let issuer = try CertificateIssuer.root(
                DistinguishedName(organization: "example", commonName: "claims"),
                key: try PrivateKey.generate(.ecdsaP256), notBefore: time - 3600, notAfter: time + 3600)
            let leaf = try issuer.issue(
                .init(
                    subject: DistinguishedName.empty, publicKey: try TestAuthority.leafKey().publicKey,
                    notBefore: time - 60, notAfter: time + 600,
                    extensions: [
                        .keyUsage(digitalSignature: true), .extendedKeyUsage(CertificateExtension.codeSigning),
                        name ?? .subjectAlternativeName(6, TestAuthority.subject),
                    ] + claims))
            certificate = try Certificate(der: leaf.der)
            var signer = try TestSigner(certificate: leaf.pem)
            bundle = try signer.sign(CertificateClaimsTests.file)
            root = TrustedRoot(
                certificateAuthorities: [
                    .init(
                        uri: "", anchors: [try Certificate(der: issuer.certificate.der)], intermediates: [],
                        validFor: .always)
                ], transparencyLogs: [signer.log.trusted()])
        }

        var claims: CertificateClaims { CertificateClaims(certificate) }

        /// The error with which the signature is refused, if the certificate must say this.
        func refusal(
            _ demanded: [(name: Name, pattern: CertificateIdentity.Pattern)],
            _ identity: CertificateIdentity = AttackTests.identity
        ) -> SigstoreError? {
            var identity = identity
            identity.claims = demanded
            do throws(RejectedBundle) {
                try AttackTests.policy(identity, CertificateClaimsTests.file).verify(bundle, root)
                return nil
            } catch { return error.error }
        }
    }

    @Test("Every claim is read by its name, the deprecated ones apart, and later ones by their number")
    func every() throws {
        let numbers: [UInt32] = Array(8...24) + [25, 99, 70_000]
        let signed = try Signed(
            (numbers.filter { $0 != 8 } + [7]).reversed().map { Self.encoded($0, "value \($0)") }
                + (1...6).reversed().map { Self.raw($0, "value \($0)") } + [Self.encoded(8, TestAuthority.issuer)])
        let claims = signed.claims
        #expect(claims.values.map(\.name.number) == numbers)
        #expect(claims.deprecatedValues.map(\.name.number) == Array(1...6))
        for (name, value) in claims.values + claims.deprecatedValues where name != .issuer {
            #expect(value == "value \(name.number)")
            #expect(claims[name] == value)
            #expect(Name(name.text) == name)
        }
        #expect(claims[.runnerEnvironment] == "value 11" && claims[.deploymentEnvironment] == "value 23")
        #expect(try claims.issuer() == TestAuthority.issuer)
        // Number 7 is a kind of name, not an extension, and there is no number 0.
        #expect(claims[.userName] == nil && claims[Name(number: 0)] == nil)
        let texts = (1...24).map { Name(number: $0).text }
        #expect(Set(texts).count == 24 && !texts.contains { $0.contains(".") })
        #expect(Name(number: 25).text == "1.3.6.1.4.1.57264.1.25")
        for text in [
            "", "runnerenvironment", "1.3.6.1.4.1.57264.1", "1.3.6.1.4.1.57264.1.", "1.3.6.1.4.1.57264.1.08",
            "1.3.6.1.4.1.57264.1.+8", "1.3.6.1.4.1.57264.1.4294967296", "1.3.6.1.4.1.57264.1.\u{301}8",
            "1.3.6.1.4.1.57264.2.8",
        ] { #expect(Name(text) == nil, "\(text)") }
        // What is verified carries the same.
        let verified = try AttackTests.policy(AttackTests.identity, Self.file).verify(signed.bundle, signed.root)
        #expect(verified.claims?.values.map(\.value) == claims.values.map(\.value))
    }

    @Test("A user name is a claim, whichever way the certificate was issued")
    func userName() throws {
        let signed = try Signed(name: Self.userName("ann!example"), [Self.raw(1, TestAuthority.issuer)])
        #expect(signed.claims.values.map(\.name) == [.userName] && signed.claims[.userName] == "ann!example")
        #expect(try signed.claims.issuer() == TestAuthority.issuer)
        let ann = CertificateIdentity(subject: .exactly("ann!example"), issuer: .exactly(TestAuthority.issuer))
        #expect(signed.refusal([(.userName, .exactly("ann!example"))], ann) == nil)
        #expect(signed.refusal([(.userName, .exactly("ben!example"))], ann)?.code == .wrongClaim)
    }

    @Test("Each claim that is demanded must hold: byte for byte, or as RE2 does it; one that is not made never does")
    func demanded() throws {
        let signed = try Signed([
            Self.encoded(8, TestAuthority.issuer), Self.encoded(11, "github-hosted"), Self.encoded(12, "caf\u{e9}"),
            Self.encoded(20, ""), Self.encoded(99, "later"), Self.raw(2, "push"),
        ])
        let anything = CertificateIdentity.Pattern.matching(try IdentityPattern(".*"))
        for demanded in [
            [], [(.runnerEnvironment, .exactly("github-hosted"))], [(.sourceRepositoryURI, .exactly("caf\u{e9}"))],
            [(.runnerEnvironment, .matching(try IdentityPattern("^github-")))], [(Name(number: 99), anything)],
            [(.githubWorkflowTrigger, .any([.exactly("x"), .exactly("push")]))], [(.buildTrigger, .exactly(""))],
            [(.runnerEnvironment, .all([.exactly("github-hosted"), anything])), (.buildTrigger, anything)],
        ] as [[(name: Name, pattern: CertificateIdentity.Pattern)]] {
            #expect(signed.refusal(demanded) == nil, "\(demanded)")
        }
        for demanded in [
            [(.runnerEnvironment, .exactly("self-hosted"))], [(.runnerEnvironment, .exactly("GitHub-hosted"))],
            [(.runnerEnvironment, .exactly("github-hosted\0"))], [(.sourceRepositoryURI, .exactly("cafe\u{301}"))],
            [(.deploymentEnvironment, anything)], [(.deploymentEnvironment, .exactly(""))],
            [(.userName, anything)], [(Name(number: 98), anything)], [(.runnerEnvironment, .any([]))],
            [(.runnerEnvironment, .all([]))], [(.buildTrigger, .exactly("push"))],
            [(.runnerEnvironment, anything), (.runnerEnvironment, .exactly("self-hosted"))],
        ] as [[(name: Name, pattern: CertificateIdentity.Pattern)]] {
            #expect(signed.refusal(demanded)?.code == .wrongClaim, "\(demanded)")
        }
        let words = signed.refusal([(.runnerEnvironment, .any([.exactly("self-hosted"), .exactly("x")]))])?.message
        #expect(words == "expected runner environment self-hosted or x, certificate says github-hosted")
        // What a workflow was is said in the words that it always was.
        var identity = AttackTests.identity
        identity.githubWorkflowTrigger = ["pull_request", "release"]
        #expect(
            signed.refusal([], identity)?.message
                == "expected GitHub workflow trigger pull_request or release, certificate says push")
        identity.githubWorkflowTrigger = []
        identity.githubWorkflowSHA = ["aaaa"]
        #expect(
            signed.refusal([], identity)?.message == "expected GitHub workflow sha aaaa, certificate says nothing")
    }

    @Test("A claim in a form that it must not have does no harm, and no pattern matches it")
    func malformed() throws {
        let broken: [(UInt32, [UInt8])] = [
            (2, [0xff]), (9, Array("raw text".utf8)), (10, DER.utf8String("a") + [0]), (11, []),
            (12, DER.element(0x16, Array("IA5String".utf8))), (13, [0x0c, 0x81, 0x01, 0x61]), (14, [0x0c, 5, 0x61]),
            (15, DER.element(0x0c, [0xc3, 0x28])), (25, DER.sequence([DER.utf8String("a structure")])),
        ]
        let signed = try Signed(
            [Self.encoded(8, TestAuthority.issuer), Self.encoded(16, "sound")]
                + broken.map { CertificateExtension(oid: "1.3.6.1.4.1.57264.1.\($0.0)", value: $0.1) })
        #expect(signed.refusal([]) == nil)
        #expect(signed.claims.values.map(\.name) == [.issuer, .sourceRepositoryOwnerURI])
        #expect(signed.claims.deprecatedValues.isEmpty)
        let anything = CertificateIdentity.Pattern.matching(try IdentityPattern(".*"))
        for number in broken.map(\.0) {
            let name = Name(number: number)
            #expect(signed.claims[name] == nil)
            let error = #expect(throws: SigstoreError.self) { try signed.claims.value(name) }
            #expect(error?.code == .malformedCertificate)
            #expect(signed.refusal([(name, anything)])?.code == .malformedCertificate)
        }
        var identity = AttackTests.identity
        identity.githubWorkflowTrigger = [""]
        #expect(signed.refusal([], identity)?.code == .malformedCertificate)
        // The issuer is always asked for: the newer form counts, and does not fall back to the older one.
        let issuers = try Signed([Self.raw(1, TestAuthority.issuer), Self.raw(8, TestAuthority.issuer)])
        #expect(issuers.refusal([])?.code == .malformedCertificate)
    }

    @Test("A policy in one line demands name and issuer byte for byte, a log entry, and certificate transparency")
    func oneLine() throws {
        let signed = try Signed([Self.encoded(8, TestAuthority.issuer)])
        let verifier = Verifier(trustedRoot: signed.root) { TestAuthority.signedInTime }
        func code(_ policy: VerificationPolicy) -> SigstoreError.Code? {
            do throws(RejectedBundle) {
                _ = try verifier.verify(signed.bundle, .message(ArtifactBytes(Self.file)), policy)
                return nil
            } catch { return error.error.code }
        }
        var policy = VerificationPolicy(identity: TestAuthority.subject, issuer: TestAuthority.issuer)
        #expect(code(policy) == .noCertificateTimestamp)
        policy.certificateTransparency = .insecurelyIgnored
        #expect(code(policy) == nil)
        for (identity, issuer, expected) in [
            (TestAuthority.subject, "https://issuer.exampl", .wrongIssuer), (".*", ".*", .wrongIdentity),
            (TestAuthority.subject, "", .wrongIssuer), ("", TestAuthority.issuer, .wrongIdentity),
        ] as [(String, String, SigstoreError.Code)] {
            var policy = VerificationPolicy(identity: identity, issuer: issuer)
            policy.certificateTransparency = .insecurelyIgnored
            #expect(code(policy) == expected)
        }
    }
}
