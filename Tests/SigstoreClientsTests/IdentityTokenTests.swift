import Foundation
import HTTPTransport
import SigstoreCrypto
import SigstoreVerification
import StrictJSON
import Testing

@testable import SigstoreClients

/// A token with these claims, whose signature nobody made.
func token(_ claims: String) -> String {
    [Array("{\"alg\":\"RS256\"}".utf8), Array(claims.utf8), [1, 2, 3]].map(Base64.encodeURLSafe).joined(separator: ".")
}

@Suite("Identity tokens")
struct IdentityTokenTests {
    private let now: Int64 = 1_800_000_000

    private func claims(_ changes: [String: String?] = [:]) -> String {
        var claims: [String: String] = [
            "iss": "\"https://issuer.test\"", "sub": "\"42\"", "aud": "\"sigstore\"", "exp": "\(now + 60)",
            "email": "\"alice@example.com\"", "email_verified": "true",
        ]
        for (name, value) in changes { claims[name] = value }
        return "{" + claims.map { "\"\($0)\":\($1)" }.joined(separator: ",") + "}"
    }

    private func fault(_ changes: [String: String?], audience: String = "sigstore") -> SigstoreError? {
        do throws(SigstoreError) {
            try IdentityToken(parsing: token(claims(changes))).check(audience: audience, now: now)
            return nil
        } catch { return error }
    }

    @Test("Each fault has its own name")
    func faults() {
        #expect(fault([:]) == nil)
        #expect(fault(["exp": "\(now)"])?.code == .tokenExpired)
        #expect(fault(["exp": "\(now - 3600)"])?.message.contains("expired at 2027-01-15T07:00:00Z") == true)
        #expect(fault(["aud": "\"other\""])?.code == .tokenAudience)
        #expect(fault(["aud": "[]"])?.code == .tokenAudience)
        #expect(fault(["aud": "[\"a\",\"sigstore\"]"]) == nil)
        #expect(fault([:], audience: "sigstore\u{200d}")?.code == .tokenAudience)
        #expect(fault(["email_verified": "false"])?.code == .tokenEmailUnverified)
        #expect(fault(["email_verified": nil])?.code == .tokenEmailUnverified)
        #expect(fault(["email_verified": "\"true\""]) == nil)
        #expect(fault(["nbf": "\(now + 3600)"])?.code == .tokenNotYetValid)
        #expect(fault(["nbf": "\(now + 60)"]) == nil)
        #expect(fault(["exp": "\(now + 60).75"]) == nil)
        for (name, value) in [
            ("exp", "\"soon\""), ("exp", "1e99"), ("exp", "99999999999999999999"), ("iss", "1"), ("sub", "\"\""),
            ("iss", "null"),
            ("aud", "{}"), ("email", "1"), ("federated_claims", "[]"), ("nbf", "true"),
        ] as [(String, String?)] {
            #expect(fault([name: value])?.code == .malformedToken, "\(name): \(value ?? "")")
        }
    }

    @Test(
        "What is not a token",
        arguments: [
            "", "abc", "a.b", "a.b.c.d", "..", "e30.e30.", "!.e30.e30", "e30.!.e30", "e30.e30.!", "W10.e30.AQ",
            "e30.W10.AQ",
            token("{\"iss\":\"a\",\"iss\":\"b\"}"), token("{} "), token(String(repeating: "[", count: 40)),
            String(repeating: "a", count: 40_000),
        ])
    func malformed(_ text: String) {
        let error = #expect(throws: SigstoreError.self) { try IdentityToken(parsing: text) }
        #expect(error?.code == .malformedToken)
        #expect(text.count < 8 || error?.description.contains(text) == false)
    }

    @Test("Whom the proof names, and whom the certificate may")
    func identities() throws {
        func read(_ changes: [String: String?]) throws -> IdentityToken {
            try IdentityToken(parsing: token(claims(changes)))
        }
        func allows(_ token: IdentityToken, _ name: String, _ issuer: String) throws -> Bool {
            try token.certificateIdentities().contains {
                $0.subject.holds(for: name) && $0.issuer.holds(for: issuer)
            }
        }
        let email = try read([:])
        #expect(email.challenge == "alice@example.com" && email.identity == "alice@example.com")
        #expect(try allows(email, "alice@example.com", "https://issuer.test"))
        #expect(try !allows(email, "alice@example.com", "https://issuer.test/"))
        #expect(try !allows(email, "xalice@example.com", "https://issuer.test"))
        #expect(try !allows(email, "42", "https://issuer.test"))

        let federated = try read(["federated_claims": "{\"connector_id\":\"https://accounts.test\",\"user_id\":\"9\"}"])
        #expect(federated.certificateIssuer == "https://accounts.test")
        #expect(try allows(federated, "alice@example.com", "https://accounts.test"))
        #expect(try !allows(federated, "alice@example.com", "https://elsewhere.test"))

        let github = try read([
            "email": nil, "email_verified": nil, "sub": "\"repo:o/r:ref:refs/heads/main\"",
            "iss": "\"https://token.actions.githubusercontent.com\"",
            "job_workflow_ref": "\"o/r/.github/workflows/a+b.yml@refs/heads/main\"",
        ])
        let name = "https://github.com/o/r/.github/workflows/a+b.yml@refs/heads/main"
        #expect(github.challenge == "repo:o/r:ref:refs/heads/main" && github.identity == name)
        #expect(try allows(github, name, github.issuer))
        #expect(try allows(github, name.replacingOccurrences(of: "github.com", with: "github.corp"), github.issuer))
        #expect(try !allows(github, name + "x", github.issuer))
        #expect(try !allows(github, name.replacingOccurrences(of: "a+b.yml", with: "aab.yml"), github.issuer))
        #expect(
            try !allows(
                github, "https://evil.test/?https://github.com/o/r/.github/workflows/a+b.yml@refs/heads/main",
                github.issuer))

        let gitlab = try read(["email": nil, "ci_config_ref_uri": "\"gitlab.com/g/p//.gitlab-ci.yml@refs/heads/main\""])
        #expect(gitlab.identity == "https://gitlab.com/g/p//.gitlab-ci.yml@refs/heads/main")
        let spiffe = try read(["email": nil, "sub": "\"spiffe://td/x\""])
        #expect(try allows(spiffe, "spiffe://td/x", spiffe.issuer) && !allows(spiffe, "spiffe://td/y", spiffe.issuer))
        let pod = try read([
            "email": nil, "kubernetes.io": "{\"namespace\":\"n\",\"serviceaccount\":{\"name\":\"s\"}}",
        ])
        #expect(pod.identity == "https://kubernetes.io/namespaces/n/serviceaccounts/s")
        // é composed and decomposed are different names.
        let accented = try read(["email": "\"caf\u{e9}@example.com\""])
        #expect(try !allows(accented, "cafe\u{301}@example.com", accented.issuer))
    }

    @Test("A token or the path of one")
    func tokenOrPath() throws {
        let path = FileManager.default.temporaryDirectory.appendingPathComponent("token-\(UUID().uuidString)").path
        defer { try? FileManager.default.removeItem(atPath: path) }
        try Data((token(claims()) + "\n").utf8).write(to: URL(filePath: path))
        #expect(try IdentityToken(tokenOrPath: path).identity == "alice@example.com")
        #expect(try IdentityToken(tokenOrPath: token(claims())).identity == "alice@example.com")
        #expect(throws: SigstoreError.self) { try IdentityToken(tokenOrPath: "/nonexistent/token") }
        try Data(repeating: 0x61, count: 100_000).write(to: URL(filePath: path))
        #expect(throws: SigstoreError.self) { try IdentityToken(tokenOrPath: path) }
    }
}
