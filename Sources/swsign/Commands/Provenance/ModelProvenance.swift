import LocalSystem
import Provenance
import SigstoreCrypto
import SigstoreVerification
import StrictJSON
import SwSignCore

extension VerifyProvenance {
    /// Verifies folders of models by their signatures: `--from model`. One after the other, since the files of each are hashed
    /// side by side.
    func verifyModels(_ context: Context) throws(SigstoreError) {
        try DemandFlag.expect(publisher.given + build.given, by: .model, isNamed: from != nil)
        try fetching.expectUnused()
        guard files.count == 1, let path = files.first else {
            throw SigstoreError(
                .usage, "\(files.count) models are named", advice: "name one model's folder in each call")
        }
        let verifier = try modelVerifier(context)
        do throws(SigstoreError) {
            let folder = try model.contents.folder(path, signature: attestations, context)
            let signature = try Self.signature(InputFile(folder.signature))
            let verified = try waiting { () throws(SigstoreError) in
                try await verifier.verify(folder, signature) { check in
                    context.output.detail("  \(path): \(check.step.rawValue): \(check.detail)")
                }
            }
            try ModelDescription(path, verified).report(output, context)
        } catch {
            if output == .json, error.code != .outputFailed, error.code != .readerEnded {
                try context.output.json(ProvenanceDescription.json(path, error))
            }
            throw error
        }
    }

    private static func signature(_ file: InputFile) throws(SigstoreError) -> ModelSignature {
        do throws(SigstoreError) {
            return try ModelSignature(parsing: try file.contents(limit: SigstoreBundle.sizeLimit))
        } catch {
            guard error.code == .fileNotFound else { throw error.concerning(file.name) }
            throw SigstoreError(
                .fileNotFound, "there is no signature of the model: \(file.name) is not there",
                advice: "give it with --signature")
        }
    }

    /// What verifies the signature. By a key or by an authority of one's own, no log entry is demanded: `model_signing` writes
    /// none.
    private func modelVerifier(_ context: Context) throws(SigstoreError) -> ModelVerifier {
        var none = GivenFlags([])
        var (verification, identity) = (VerificationOptions(&none), IdentityOptions(&none))
        var trust = TrustOptions(&none)
        (verification.keys, verification.offline) = (model.keys, true)
        identity.identities = publisher.identity.map { [$0] } ?? []
        identity.identityPatterns = publisher.identityPattern.map { [$0] } ?? []
        identity.issuers = publisher.issuer.map { [$0] } ?? []
        (trust.trustedRoot, trust.staging, trust.certificateChain) = (trustedRoot, staging, model.certificateChain)
        let ways = [!model.keys.isEmpty, identity.isStated, model.certificateChain != nil].count { $0 }
        guard ways == 1 else {
            throw SigstoreError(
                .usage,
                ways == 0
                    ? "nothing says who must have signed the model"
                    : "a key, an identity and an authority cannot be demanded together",
                advice:
                    "give one of --key, --certificate-chain, or --certificate-identity with --certificate-oidc-issuer")
        }
        if trust.certificateChain != nil,
            let authority = try trust.sources(context).instance().trust.certificateAuthorities?.first
        {
            context.trustVariables.named([])
            return ModelVerifier(
                Verifier(trustedRoot: nil, now: context.now),
                .certified(anchors: authority.anchors, intermediates: authority.intermediates), now: context.now)
        }
        let signers = try verification.signers(
            identity, standardInputIsTaken: attestations == "-", keysAreLogged: false, context)
        return ModelVerifier(
            try verification.verifier(identity, trust, keysAreLogged: false, context), .demanded(signers),
            now: context.now)
    }
}

/// A verified model in words, and for programs.
private struct ModelDescription {
    private let path: String
    private let model: VerifiedModel
    private let signatures: [VerifiedDescription]

    init(_ path: String, _ model: VerifiedModel) {
        (self.path, self.model) = (path, model)
        signatures = model.signatures.map { VerifiedDescription($0) }
    }

    /// Whether something shows when the model was signed.
    private var isDated: Bool { model.signatures.allSatisfy { !$0.times.isEmpty } }

    func report(_ format: OutputFormat, _ context: Context) throws(SigstoreError) {
        if format == .json { try context.output.json(json) }
        for warning in model.signatures.flatMap(\.warnings) { context.output.warn("\(path): \(warning.message)") }
        context.output.note("Verified OK", .success)
        for line in lines { context.output.note("  \(line)") }
    }

    private var lines: [String] {
        let count = model.manifest.files.count
        let name = model.manifest.name.map { "\($0), " } ?? ""
        var lines = ["model: \(name)\(count) \(count == 1 ? "file" : "files") by \(model.manifest.hash.rawValue)"]
        if let certificate = model.certificate {
            lines.append("signed with the certificate of \(certificate.displayName)")
        } else {
            lines += signatures.map(\.line)
        }
        lines += signatures.map { "checked: \($0.checks), files" }
        if !isDated { lines.append("not proven: when it was signed (no log entry, no timestamp)") }
        return lines
    }

    private var json: JSONValue {
        var facts: JSONObject = [
            "files": .integer(model.manifest.files.count), "hash": .string(model.manifest.hash.rawValue),
            "ignoredPaths": .array(model.manifest.ignoredPaths.map { .string($0) }),
        ]
        if let name = model.manifest.name { facts["model"] = .string(name) }
        if let certificate = model.certificate { facts["certificate"] = .string(certificate.displayName) }
        return .object([
            "version": .integer(1), "file": .string(path), "verified": .bool(true),
            "from": .string(ProvenanceSource.model.rawValue), "facts": .object(facts),
            "notProven": .array(isDated ? [] : [.string("time")]),
            "attestations": .array(signatures.map { .object(JSONObject($0.members)) }),
        ])
    }
}
