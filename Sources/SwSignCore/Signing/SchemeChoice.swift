internal import SigstoreClients
public import SigstoreCrypto
public import StrictJSON

/// How signatures are made in a run: the one place that decides on scheme and hash.
///
/// Of the ways in which the key can sign such content, the best one that every log records is taken. It is what the key's
/// service is told, and of a file what its bundle says.
public struct SchemeChoice: Sendable {
    /// What is signed, and whether a bundle holds the signature.
    public enum Content: Hashable, Sendable, CaseIterable {
        /// A file. Its bundle names the hash function.
        case file
        /// A file whose signature stands by itself, or in cosign 2's form. No hash function is named: cosign takes ECDSA for
        /// SHA-256, whatever the curve.
        case fileWithoutBundle
        /// The envelope of an attestation, or of an image's signature.
        case envelope
        /// The envelope of an attestation in cosign 2's form, of which cosign takes the same for granted.
        case envelopeWithoutBundle

        fileprivate var isEnvelope: Bool { self == .envelope || self == .envelopeWithoutBundle }
        fileprivate var hasBundle: Bool { self == .file || self == .envelope }
    }

    private let kind: PublicKey.Kind
    private let able: [SignatureScheme]
    private let algorithm: SigningAlgorithm?
    private let logs: [RekorClient]

    /// Looks at what decides. Nothing is asked.
    /// - Parameters:
    ///   - signer: What signs; `nil` for the ephemeral key of an identity, on P-256.
    ///   - algorithm: The algorithm that the person named, if one was.
    ///   - logs: The logs that record the signature.
    init(_ signer: (any Signer)?, algorithm: SigningAlgorithm?, logs: [RekorClient]) {
        kind = signer?.publicKey.kind ?? .ecP256
        able = signer?.schemes ?? [.ecdsa(.sha256)]
        (self.algorithm, self.logs) = (algorithm, logs)
    }

    /// How such content is signed.
    /// - Throws: `SigstoreError` with `log-entry-refused` if no way in which the key can sign it is recorded by every log, with
    ///   what would work instead; with `unsupported-key` if it cannot sign it at all.
    public func scheme(for content: Content) throws(SigstoreError) -> SignatureScheme {
        let ways = ways(for: content)
        guard let best = ways.first else {
            throw SigstoreError(
                .unsupportedKey, "the key is \(kind), and what keeps it signs in no way that is known here",
                advice: "use another key")
        }
        guard let recorded = ways.first(where: { way in logs.allSatisfy { $0.records(way, kind, content) } }) else {
            throw refusal(of: best, content)
        }
        return recorded
    }

    /// How a file is signed once more for a signature that stands by itself, if the one in its bundle will not do.
    func schemeBeside(_ scheme: SignatureScheme) -> SignatureScheme {
        guard case .ecdsa = scheme, able.contains(.ecdsa(.sha256)) else { return scheme }
        return .ecdsa(.sha256)
    }

    /// The ways in which the key can sign such content, the best first.
    private func ways(for content: Content) -> [SignatureScheme] {
        // An algorithm names a hash function too. Of ECDSA, only a file's bundle has a place for that.
        var ways = able.filter { way in
            guard let algorithm else { return true }
            return way == algorithm.scheme || content != .file && way.isECDSA && algorithm.scheme.isECDSA
        }
        if !content.hasBundle, ways.contains(.ecdsa(.sha256)) { ways = [.ecdsa(.sha256)] }
        return ways
    }

    private func refusal(of way: SignatureScheme, _ content: Content) -> SigstoreError {
        var error = SigstoreError(.entryRefused, "no log that is named records signatures by \(way)")
        if way == .ed25519, !content.isEnvelope {
            error.message = "transparency logs do not record pure Ed25519 signatures of files"
        } else {
            for log in logs where !log.records(way, kind, content) {
                do throws(SigstoreError) {
                    try log.expectRecordable(way, by: kind, inEnvelope: content.isEnvelope)
                } catch {
                    return SigstoreError(error.code, error.message, advice: .remedy(remedy(content)))
                }
            }
        }
        error.advice = .remedy(remedy(content))
        return error
    }

    /// What would work in place of what was asked for.
    private func remedy(_ content: Content) -> SigstoreError.Remedy {
        if able.contains(.ed25519ph), !content.isEnvelope { return .useEd25519phOrNoLog }
        func isRecorded(_ content: Content, by version: RekorClient.Version) -> Bool {
            ways(for: content).contains {
                RekorClient.records($0, by: kind, inEnvelope: content.isEnvelope, version: version)
            }
        }
        if !content.hasBundle, able.contains(where: { $0 != .ecdsa(.sha256) && $0.isECDSA }), able.count > 1 {
            return .makeBundleOrUseNoLog
        }
        if isRecorded(content, by: .v2), content.hasBundle { return .useRekorV2OrNoLog }
        if isRecorded(content, by: .v1) { return .useRekorV1OrNoLog }
        return .useNoLogOrOtherKey
    }
}

extension SignatureScheme {
    fileprivate var isECDSA: Bool { if case .ecdsa = self { true } else { false } }
}

extension RekorClient {
    fileprivate func records(_ way: SignatureScheme, _ kind: PublicKey.Kind, _ content: SchemeChoice.Content) -> Bool {
        Self.records(way, by: kind, inEnvelope: content.isEnvelope, version: version)
    }
}

extension SigstoreError.Remedy {
    /// Logs do not record pure Ed25519 signatures of files.
    public static let useEd25519phOrNoLog = Self("use-ed25519ph-or-no-log")
    /// A bundle names the hash function, so that the log records it; or no log is told.
    public static let makeBundleOrUseNoLog = Self("make-a-bundle-or-use-no-log")
    /// What this key signs, Rekor v2 records.
    public static let useRekorV2OrNoLog = Self("use-rekor-v2-or-no-log-with-a-timestamp-or-another-key")
    /// What this key signs, Rekor v1 records.
    public static let useRekorV1OrNoLog = Self("use-rekor-v1-or-no-log-with-a-timestamp-or-another-key")
    /// What this key signs, no log records.
    public static let useNoLogOrOtherKey = Self("use-no-log-with-a-timestamp-or-another-key")
}
