import SigstoreCrypto
import SigstoreVerification
import StrictJSON
import Testing

/// The public conformance suite's bundles and those of CPython's releases, by file and by digest.
@Suite(.enabled(if: SharedMaterial.exists("conformance/bundle-verify"), "../shared/conformance is not here"))
struct ConformanceTests {
    static let beacon =
        "https://github.com/sigstore-conformance/extremely-dangerous-public-oidc-beacon/.github/workflows/extremely-dangerous-oidc-beacon.yml@refs/heads/main"
    static let github = "https://token.actions.githubusercontent.com"

    static func verify(
        _ json: [UInt8], _ artifact: any ArtifactSource, _ root: TrustedRoot, _ signedBy: VerificationPolicy.SignedBy
    ) throws -> VerifiedBundle {
        let bundle = try SigstoreBundle(parsing: json)
        let claim: BundleClaim =
            switch bundle.content {
            case .messageSignature: .message(artifact)
            case .dsse: .attestation(subject: .artifact(artifact), predicateType: nil)
            }
        return try Demand(signedBy: signedBy, claim: claim).verify(bundle, root)
    }

    @Test("Each case of the conformance suite ends as its name says")
    func suite() throws {
        let names = try SharedMaterial.list("conformance/bundle-verify").filter { $0 != "a.txt" }
        #expect(names.count >= 32)
        for name in names {
            let folder = "conformance/bundle-verify/\(name)"
            func optional(_ file: String) throws -> [UInt8]? {
                SharedMaterial.exists("\(folder)/\(file)") ? try SharedMaterial.read("\(folder)/\(file)") : nil
            }
            let artifact = try optional("artifact") ?? SharedMaterial.read("conformance/bundle-verify/a.txt")
            for source in [ArtifactBytes(artifact), ArtifactDigest(try Digest.sha256(artifact))] as [any ArtifactSource]
            {
                var outcome: String
                do {
                    let root =
                        try optional("trusted_root.json").map { try TrustedRoot(parsing: $0) } ?? .embedded(.production)
                    let signedBy: VerificationPolicy.SignedBy
                    if let key = try optional("key.pub") {
                        signedBy = .key(try PublicKey(file: key))
                    } else {
                        signedBy = .identities([
                            CertificateIdentity(
                                subject: .exactly(
                                    String(decoding: try optional("identity") ?? Array(Self.beacon.utf8), as: UTF8.self)
                                ),
                                issuer: .exactly(
                                    String(decoding: try optional("issuer") ?? Array(Self.github.utf8), as: UTF8.self)))
                        ])
                    }
                    let verified = try Self.verify(
                        try SharedMaterial.read("\(folder)/bundle.sigstore.json"), source, root, signedBy)
                    outcome = "ok: \(verified.checks.map(\.name))"
                } catch { outcome = "fail: \(error)" }
                #expect(outcome.hasPrefix(name.hasSuffix("_fail") ? "fail" : "ok"), "\(name): \(outcome)")
            }
        }
    }

    @Test("CPython's releases verify")
    func cpython() throws {
        let cases = JSONCursor(try JSONValue(parsing: try SharedMaterial.read("conformance/cpython/cases.json")))
        for each in try cases.elements() {
            let json = try SharedMaterial.read("conformance/cpython/\(try each.member("bundle").string())")
            let digest = try Digest(hex: try each.member("sha256").string(), .sha256)
            let identity = CertificateIdentity(
                subject: .exactly(try each.member("identity").string()),
                issuer: .exactly(try each.member("issuer").string()))
            _ = try Self.verify(json, ArtifactDigest(digest), .embedded(.production), .identities([identity]))
        }
    }
}
