import FoundationEssentials
import StrictJSON
import Testing

@testable import SigstoreCrypto

/// Real Sigstore material, which is kept beside the package, in `../shared`, and not in it.
enum SharedMaterial {
    static let root: String = {
        let parts = #filePath.split(separator: "/", omittingEmptySubsequences: false)
        return parts.dropLast(4).joined(separator: "/") + "/shared"
    }()

    static var isThere: Bool { FileManager.default.fileExists(atPath: root + "/conformance/bundle-verify") }

    static func file(_ path: String) throws -> [UInt8] {
        Array(try #require(FileManager.default.contents(atPath: "\(root)/\(path)"), "\(path) is missing"))
    }

    static func names(in folder: String) throws -> [String] {
        try FileManager.default.contentsOfDirectory(atPath: "\(root)/\(folder)").sorted()
    }

    static func json(_ path: String) throws -> JSONCursor { JSONCursor(try JSONValue(parsing: try file(path))) }

    /// What these tests need of a trusted root.
    struct Trust {
        let authorities: [[Certificate]]
        let timestampAuthorities: [[Certificate]]
        let logs: [(id: [UInt8], key: PublicKey)]

        init(_ path: String) throws {
            let root = try json(path)
            func chains(_ name: String) throws -> [[Certificate]] {
                try (root.optional(name)?.elements() ?? []).map {
                    try $0.member("certChain").member("certificates").elements().map {
                        try Certificate(der: try $0.member("rawBytes").bytes())
                    }
                }
            }
            authorities = try chains("certificateAuthorities")
            timestampAuthorities = try chains("timestampAuthorities")
            logs = try (root.optional("ctlogs")?.elements() ?? []).map {
                (
                    try $0.member("logId").member("keyId").bytes(),
                    try PublicKey(der: try $0.member("publicKey").member("rawBytes").bytes())
                )
            }
        }

        /// The path from a leaf to one of the authorities.
        func path(_ leaf: Certificate) throws -> [Certificate] {
            var failure: any Error = SigstoreError(.certificatePath, "no authority")
            for chain in authorities {
                do {
                    return try CertificatePath.build(
                        leaf: leaf, intermediates: Array(chain.dropLast()), anchors: chain.suffix(1),
                        at: leaf.notBefore, purpose: .codeSigning)
                } catch { failure = error }
            }
            throw failure
        }

        /// Verifies every timestamp that a certificate holds; there must be one.
        func verifyTimestamps(in leaf: Certificate, issuer: Certificate) throws {
            let timestamps = try SignedCertificateTimestamp.embedded(in: leaf)
            try #require(!timestamps.isEmpty)
            for timestamp in timestamps {
                guard let log = logs.first(where: { $0.id == timestamp.logID }) else {
                    throw SigstoreError(.sctLogMismatch, "an unknown log")
                }
                try timestamp.verify(certificate: leaf, issuer: issuer, logKey: log.key)
            }
        }
    }

    /// What these tests need of a bundle.
    struct Bundle {
        let leaf: Certificate?
        let signature: [UInt8]
        let timestamps: [[UInt8]]

        init(_ bundle: JSONCursor) throws {
            let material = try bundle.member("verificationMaterial")
            let chain = try material.optional("x509CertificateChain")?.member("certificates").elements().first
            leaf = try (material.optional("certificate") ?? chain).map {
                try Certificate(der: try $0.member("rawBytes").bytes())
            }
            let envelope = try bundle.optional("dsseEnvelope")?.member("signatures").elements().first
            signature =
                try envelope?.member("sig").bytes()
                ?? bundle.member("messageSignature").member("signature").bytes()
            let timestampData = try material.optional("timestampVerificationData")
            timestamps = try (timestampData?.optional("rfc3161Timestamps")?.elements() ?? []).map {
                try $0.member("signedTimestamp").bytes()
            }
        }
    }
}

/// Certificates, log promises and timestamps that real services made.
///
/// These tests need `../shared`. Where that is absent they are reported as skipped, which leaves out: real Fulcio
/// certificates of every age, the public CT logs' promises, and the timestamps of Sigstore's authority.
@Suite(.enabled(if: SharedMaterial.isThere, "../shared/conformance is absent: real certificates are not checked"))
struct SharedMaterialTests {
    static let conformance = "conformance/bundle-verify"
    static let production = "trust/production/trusted_root.json"

    /// The trusted root of a conformance case.
    static func trust(_ name: String) throws -> SharedMaterial.Trust {
        let own = "\(conformance)/\(name)/trusted_root.json"
        let there = FileManager.default.fileExists(atPath: "\(SharedMaterial.root)/\(own)")
        return try SharedMaterial.Trust(there ? own : production)
    }

    @Test func pathsAndPromisesOfTheConformanceSuite() throws {
        var checked = 0
        for name in try SharedMaterial.names(in: Self.conformance)
        where name != "a.txt" && name != "bundle-malformed-json_fail" {
            let bundle = try SharedMaterial.Bundle(
                SharedMaterial.json("\(Self.conformance)/\(name)/bundle.sigstore.json"))
            guard let leaf = bundle.leaf else { continue }
            let trust = try Self.trust(name)
            let verify = { try trust.verifyTimestamps(in: leaf, issuer: try trust.path(leaf)[1]) }
            switch name {
            case "invalid-ct-key_fail": #expect(CertificateTests.code(verify) == .sctLogMismatch)
            case "intoto-expired-certificate_fail": #expect(CertificateTests.code(verify) == .certificateExpired)
            default: #expect(throws: Never.self, "\(name)") { try verify() }
            }
            #expect(leaf.subjectAlternativeNames.count == 1, "\(name)")
            #expect(try leaf.fulcioExtension(1) ?? leaf.fulcioExtension(8) != nil, "\(name)")
            checked += 1
        }
        #expect(checked >= 29)
    }

    @Test func releasesOfCPython() throws {
        let trust = try SharedMaterial.Trust(Self.production)
        let cases = try SharedMaterial.json("conformance/cpython/cases.json").elements()
        for entry in cases {
            let bundle = try SharedMaterial.Bundle(
                SharedMaterial.json("conformance/cpython/\(entry.member("bundle").string())"))
            let leaf = try #require(bundle.leaf)
            try trust.verifyTimestamps(in: leaf, issuer: try trust.path(leaf)[1])
            guard case .email(let email) = try #require(leaf.subjectAlternativeNames.first) else {
                Issue.record("not an email address")
                continue
            }
            #expect(try Array(email.utf8) == Array(entry.member("identity").string().utf8))
            #expect(try leaf.fulcioExtension(1) == entry.member("issuer").string())
        }
        #expect(cases.count == 6)
    }

    @Test func timestampsOfTheConformanceSuite() throws {
        let refused: [String: SigstoreError.Code] = [
            "rekor2-timestamp-outside-tsa-cert-validity_fail": .certificateExpired,
            "rekor2-timestamp-payload-mismatch_fail": .timestampMismatch,
            "rekor2-timestamp-untrusted-tsa-with-embedded-cert_fail": .timestampAuthority,
        ]
        var checked: Set<String> = []
        for name in try SharedMaterial.names(in: Self.conformance)
        where name != "a.txt" && name != "bundle-malformed-json_fail" {
            let bundle = try SharedMaterial.Bundle(
                SharedMaterial.json("\(Self.conformance)/\(name)/bundle.sigstore.json"))
            let trust = try Self.trust(name)
            for response in bundle.timestamps {
                let authority = try #require(trust.timestampAuthorities.first)
                let verify = {
                    _ = try TimestampToken(response: response).verify(over: bundle.signature, authority: authority)
                }
                if let code = refused[name] {
                    #expect(CertificateTests.code(verify) == code, "\(name)")
                } else {
                    #expect(throws: Never.self, "\(name)") { try verify() }
                }
                checked.insert(name)
            }
        }
        #expect(checked.isSuperset(of: refused.keys))
        #expect(checked.count >= 14)
    }

    @Test func samplesOfRealServices() throws {
        let trust = try SharedMaterial.Trust("samples/trust/trusted_root.json")
        let wrong = try SharedMaterial.Trust("samples/trust/trusted_root.wrong-tsa.json")
        var certificates = 0
        var timestamps = 0
        for name in try SharedMaterial.names(in: "samples/sigs") where name.hasSuffix(".sigstore.json") {
            let bundle = try SharedMaterial.Bundle(SharedMaterial.json("samples/sigs/\(name)"))
            if let leaf = bundle.leaf {
                #expect(throws: Never.self, "\(name)") {
                    try trust.verifyTimestamps(in: leaf, issuer: try trust.path(leaf)[1])
                }
                certificates += 1
            }
            for response in bundle.timestamps {
                let token = try TimestampToken(response: response)
                #expect(throws: Never.self, "\(name)") {
                    try token.verify(over: bundle.signature, authority: trust.timestampAuthorities[0])
                }
                #expect(throws: SigstoreError.self, "\(name)") {
                    try token.verify(over: bundle.signature, authority: wrong.timestampAuthorities[0])
                }
                timestamps += 1
            }
        }
        #expect(certificates > 10 && timestamps > 10)
    }
}
