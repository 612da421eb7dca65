import ArgumentParser
import InToto
import OCIRegistry
import SigstoreCrypto
import SigstoreVerification
import StrictJSON
import SwSignCore

/// What came of one name on the command line: each image with what holds for it.
struct VerifiedImages: Sendable {
    var images: [(image: Image, signatures: [VerifiedImageSignature])] = []
    /// What could not be read beside what holds.
    var passedOver: [SigstoreError] = []

    mutating func add(_ image: Image, _ held: [VerifiedImageSignature], _ found: StoredSignatures) {
        images.append((image, held))
        passedOver += found.unread + found.unreadable
    }

    /// What came of it in a table: a line for each signature, with its image if there are several.
    var lines: [String] {
        let lines = images.flatMap { image, signatures in
            signatures.map {
                "\(images.count > 1 ? "\(image.digest): " : "")\(VerifiedDescription($0.verified).signer)"
            }
        }
        guard let first = lines.first else { return ["Verified OK"] }
        return ["Verified OK, \(first)"] + lines.dropFirst()
    }

    /// Says what could not be read: what holds is enough, but there may be more.
    func warn(_ output: Output) {
        for error in passedOver.prefix(5) { output.warn("passed over: \(error.message)") }
        if passedOver.count > 5 { output.warn("passed over: \(passedOver.count - 5) more") }
    }
}

/// What cosign prints before its results: the image, and the checks that were made on each signature.
struct VerificationHeader {
    private let output: Output

    init(_ output: Output) { self.output = output }

    /// With `--verbose`, each check as it is made.
    @Sendable func report(_ signature: StoredSignature, _ check: VerificationCheck) {
        output.detail("  \(signature.place): \(check.step.rawValue): \(check.detail)")
    }

    func print(
        _ name: String, _ held: [VerifiedImageSignature], checksClaims: Bool, comparesAnnotations: Bool = false
    ) {
        output.note("")
        output.note("Verification for \(name) --", .success)
        output.note("The following checks were performed on each of these signatures:")
        // No signature holds without each annotation that was demanded.
        if comparesAnnotations, !held.isEmpty { output.note("  - The specified annotations were verified.") }
        if checksClaims { output.note("  - The cosign claims were validated") }
        // What scripts look for, in cosign's words: each only if it was checked of every signature.
        let signers = held.map(\.verified.signer)
        if !held.isEmpty {
            if held.allSatisfy({ $0.verified.checks.contains { $0.step == .transparencyLog } }) {
                output.note("  - Existence of the claims in the transparency log was verified offline")
            }
            if signers.allSatisfy({ if case .key = $0 { true } else { false } }) {
                output.note("  - The signatures were verified against the specified public key")
            } else if signers.allSatisfy({ if case .certificate = $0 { true } else { false } }) {
                output.note(
                    "  - The code-signing certificate was verified using trusted certificate authority certificates")
            }
        }
        let made = held.map { Set($0.verified.checks.map(\.name)) }
        let onAll = held.first?.verified.checks.filter { check in made.allSatisfy { $0.contains(check.name) } } ?? []
        for check in onAll { output.note("  - \(check.step.rawValue): \(check.name)") }
        for signature in held {
            let description = VerifiedDescription(signature.verified)
            output.note("\(signature.signature.place): \(description.line)")
            if let unproven = description.unproven { output.note("\(signature.signature.place): \(unproven)") }
        }
        warn(held)
    }

    /// Says what makes the signatures weaker than usual.
    func warn(_ held: [VerifiedImageSignature]) {
        for signature in held {
            for warning in signature.verified.warnings {
                output.warn("\(signature.signature.place): \(warning.message)")
            }
        }
    }
}

extension JSONValue {
    /// The same object with the certificate's identity and issuer where cosign prints them, in place of annotations of
    /// these names.
    func namingCertificate(_ verified: VerifiedBundle) -> JSONValue {
        guard case .certificate(let identity, let issuer) = verified.signer, case .object(var object) = self else {
            return self
        }
        var optional: JSONObject = if case .object(let said)? = object["optional"] { said } else { [:] }
        optional["Subject"] = .string(identity)
        optional["Issuer"] = .string(issuer)
        object["optional"] = .object(optional)
        return .object(object)
    }

    /// The same object with who signed, for signers that are counted: `verify` and `verify-attestation` print what cosign
    /// prints, which does not say it.
    func naming(_ verified: VerifiedBundle) -> JSONValue {
        guard case .object(var object) = self else { return self }
        object["signer"] = VerifiedDescription(verified).who
        return .object(object)
    }
}
