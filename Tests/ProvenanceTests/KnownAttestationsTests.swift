import Foundation
import InToto
import SigstoreCrypto
import SigstoreVerification
import StrictJSON
import Testing

@testable import Provenance

private let shared: String = {
    let checkout = "/" + #filePath.split(separator: "/").dropLast(3).joined(separator: "/")
    return "\(checkout)/../shared"
}()

/// Many files by many attestations.
@Suite(
    "Attestations about many files",
    .enabled(if: FileManager.default.fileExists(atPath: shared), "left out: ../shared is not there"))
struct KnownAttestationsTests {
    private func read(_ path: String) throws -> [UInt8] {
        Array(try Data(contentsOf: URL(filePath: "\(shared)/\(path)")))
    }

    private func verifier() throws -> Verifier {
        Verifier(trustedRoot: try TrustedRoot(file: try read("trust/production/trusted_root.json"))) { 1_790_000_000 }
    }

    @Test("Each attestation is verified once, however many files it is about, and what is known of it is the same")
    func once() throws {
        // One that holds, one that was changed, and one that holds.
        let line = try JSONValue(parsing: try read("provenance/github/sigstore-js-2.1.0-bundle.json")).serialized()
        let text = String(decoding: line, as: UTF8.self)
        let cursor = try JSONCursor(try JSONValue(parsing: line)).member("dsseEnvelope").member("signatures")
        let signature = try #require(try cursor.elements().first).member("sig").string()
        let other = String(signature.dropLast(8)) + "AAAAAAA="
        let changed = text.replacing(signature, with: other)
        #expect(changed != text)
        let lines = (0..<40).map { $0 % 3 == 1 ? changed : text }
        let document = try AttestationDocument(parsing: Array(lines.joined(separator: "\n").utf8))
        let archive = ArtifactBytes(try read("provenance/github/sigstore-js-2.1.0.tgz"))
        let policy = try GitHubPolicy(repository: "sigstore/sigstore-js")
        let verifier = try verifier()
        let alone = try policy.verify(archive, document, with: verifier)
        let known = KnownAttestations()
        for _ in 0..<50 {
            let found = try policy.verify(archive, document, with: verifier, knowing: known)
            #expect(found.attestations.count == 27 && alone.attestations.count == 27)
            for (one, same) in zip(found.attestations, alone.attestations) {
                #expect(one.checks.map(\.detail) == same.checks.map(\.detail))
                #expect(one.bundle.place == same.bundle.place)
            }
        }
        #expect(known.count == 40)
        // Another file is refused by what it is about; another type and another repository by what was demanded.
        let stranger = #expect(throws: SigstoreError.self) {
            try policy.verify(ArtifactBytes([1]), document, with: verifier, knowing: known)
        }
        #expect(stranger?.code == .wrongSubject && known.count == 40)
        #expect(stranger?.details.count == 11 && stranger?.details.last == "30 others are about something else")
        var typed = policy
        typed.predicateType = "https://example.com/other"
        let untyped = #expect(throws: SigstoreError.self) {
            try typed.verify(archive, document, with: verifier, knowing: known)
        }
        #expect(untyped?.code == .wrongPredicateType && untyped?.details.last == "and 30 more")
    }

    @Test("A thousand attestations of one digest are verified once for a thousand files")
    func many() throws {
        let line = try JSONValue(parsing: try read("provenance/github/sigstore-js-2.1.0-bundle.json")).serialized()
        // Most are signed by nobody, and would be tried for each file.
        let text = String(decoding: line, as: UTF8.self)
        let bad = text.replacing(#""integratedTime":"1"#, with: #""integratedTime":"2"#)
        let document = try AttestationDocument(
            parsing: Array(([text] + Array(repeating: bad, count: 999)).joined(separator: "\n").utf8))
        let digest = try Digest.hash(try read("provenance/github/sigstore-js-2.1.0.tgz"), .sha512)
        let policy = try GitHubPolicy(repository: "sigstore/sigstore-js")
        let (known, verifier) = (KnownAttestations(), try verifier())
        for _ in 0..<1000 {
            let found = try policy.verify(ArtifactDigest(digest), document, with: verifier, knowing: known)
            #expect(found.attestations.count == 1)
        }
        #expect(known.count == 1000)
    }
}
