import Foundation
import Testing

/// What one tool signs, the others verify.
@Suite(.needsPeers, .serialized)
struct PairTests {
    /// The kinds of keys that all three tools have.
    enum Algorithm: String, CaseIterable, Sendable {
        case p256 = "ecdsa-sha2-256-nistp256"
        case p384 = "ecdsa-sha2-384-nistp384"
        case p521 = "ecdsa-sha2-512-nistp521"
        case rsa2048 = "rsa-sign-pkcs1-2048-sha256"
        case rsa3072 = "rsa-sign-pkcs1-3072-sha256"
        case rsa4096 = "rsa-sign-pkcs1-4096-sha256"
        case ed25519
    }

    /// Where the verifying cosign is itself wrong, and what it says then.
    struct CosignFault {
        let algorithms: Set<Algorithm>
        let forms: Set<Form>
        let signers: Set<Tool>
        let verifiers: Set<Tool>
        let words: String
    }

    private static let message = "invalid signature when validating ASN.1 encoded signature"
    private static let envelope = "accepted signatures do not match threshold, Found: 0, Expected 1"
    static let faults = [
        // Both check every ECDSA signature over SHA-256. In bundles, and wherever cosign 3 signs, it is over the
        // curve's own hash.
        CosignFault(
            algorithms: [.p384, .p521], forms: [.bundle], signers: [.swsign, .cosign3],
            verifiers: [.cosign2, .cosign3],
            words: "failed to verify signature: could not verify message: " + message),
        CosignFault(
            algorithms: [.p384, .p521], forms: [.attestation], signers: [.swsign, .cosign3],
            verifiers: [.cosign2, .cosign3],
            words: "failed to verify signature: could not verify envelope: " + envelope),
        CosignFault(
            algorithms: [.p384, .p521], forms: [.signature, .olderBundle], signers: [.cosign3],
            verifiers: [.cosign2, .cosign3], words: message),
        CosignFault(
            algorithms: [.p384, .p521], forms: [.envelope, .olderAttestation], signers: [.cosign3],
            verifiers: [.cosign2, .cosign3], words: envelope),
        // A pure Ed25519 signature has no digest to name, and cosign 3 demands one.
        CosignFault(
            algorithms: [.ed25519], forms: [.bundle], signers: [.swsign, .cosign3], verifiers: [.cosign3],
            words: "failed to verify signature: message is missing artifact digest"),
        // cosign 3 signs envelopes with Ed25519ph, and both check them as pure Ed25519.
        CosignFault(
            algorithms: [.ed25519], forms: [.attestation], signers: [.cosign3], verifiers: [.cosign2, .cosign3],
            words: "failed to verify signature: could not verify envelope: " + envelope),
        CosignFault(
            algorithms: [.ed25519], forms: [.envelope, .olderAttestation], signers: [.cosign3],
            verifiers: [.cosign2, .cosign3], words: envelope),
    ]

    /// Where both cosigns verify by the key that the signature file brings, whatever `--key` says: the member `cert` of
    /// the older bundles, with a public key in it.
    static func cosignIgnoresTheKey(_ form: Form, signer: Tool, verifier: Tool) -> Bool {
        switch (form, signer, verifier) {
        case (.olderBundle, .cosign3, .cosign2), (.olderBundle, .cosign3, .cosign3): true
        case (.olderAttestation, .cosign2, .cosign2), (.olderAttestation, .cosign2, .cosign3): true
        case (.olderAttestation, .cosign3, .cosign2), (.olderAttestation, .cosign3, .cosign3): true
        default: false
        }
    }

    @Test(arguments: Algorithm.allCases)
    func eachVerifiesWhatTheOthersSigned(algorithm: Algorithm) async throws {
        let place = try Workplace()
        try place.write("signed by one, verified by another\n", to: "file")
        try place.write("signed by nobody\n", to: "other")
        try place.write(#"{"tested":true}"#, to: "predicate")
        for key in ["key", "stranger"] {
            try await place.must(
                Tool.swsign.program,
                ["generate-key-pair", "--signing-algorithm", algorithm.rawValue, "--output-key-prefix", key])
        }
        for form in Form.allCases {
            for signer in Tool.allCases {
                let signed = try await signer.sign(form, "file", key: "key", predicate: "predicate", in: place)
                try #require(
                    signed.outcome.status == 0, "\(signer) does not make a \(form): \(signed.outcome.messages)")
                for verifier in Tool.allCases {
                    try await check(algorithm, form, signed.file, signer, verifier, place)
                }
            }
        }
    }

    private func check(
        _ algorithm: Algorithm, _ form: Form, _ signature: String, _ signer: Tool, _ verifier: Tool, _ place: Workplace
    ) async throws {
        let cell = Comment("\(verifier) of a \(form) by \(signer)")
        let outcome = try await verifier.verify(form, signature, of: "file", key: "key", in: place)
        let fault = Self.faults.first {
            $0.algorithms.contains(algorithm) && $0.forms.contains(form) && $0.signers.contains(signer)
                && $0.verifiers.contains(verifier)
        }
        if let fault {
            #expect(outcome.status != 0, cell)
            #expect(outcome.lastWords == fault.words, cell)
            return
        }
        #expect(outcome.status == 0, "\(cell): \(outcome.messages)")
        let otherFile = try await verifier.verify(form, signature, of: "other", key: "key", in: place)
        #expect(otherFile.status != 0, cell)
        let otherKey = try await verifier.verify(form, signature, of: "file", key: "stranger", in: place)
        #expect((otherKey.status == 0) == Self.cosignIgnoresTheKey(form, signer: signer, verifier: verifier), cell)
    }
}
