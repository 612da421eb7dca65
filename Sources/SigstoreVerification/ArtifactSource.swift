public import SigstoreCrypto
public import StrictJSON

/// A file that a signature may be over. It is read once, with everything that the verifier needs of it.
public protocol ArtifactSource: Sendable {
    /// Reads the artifact through.
    /// - Parameters:
    ///   - digests: The digests that are needed; a source that knows only one digest gives that one.
    ///   - schemes: The signature schemes that the message will be verified with.
    /// - Throws: `SigstoreError` if the artifact cannot be read, or is not known in the form that is needed.
    func read(digests: Set<HashAlgorithm>, schemes: Set<SignatureScheme>) throws(SigstoreError) -> HashedMessage
}

/// An artifact in memory, such as a simple-signing payload.
public struct ArtifactBytes: ArtifactSource {
    /// The whole artifact.
    public let bytes: [UInt8]

    /// Takes an artifact that is in memory.
    public init(_ bytes: [UInt8]) { self.bytes = bytes }

    public func read(digests: Set<HashAlgorithm>, schemes: Set<SignatureScheme>) throws(SigstoreError) -> HashedMessage
    {
        try HashedMessage.of(bytes, digests: digests, schemes: schemes)
    }
}

/// An artifact of which only a digest is known.
public struct ArtifactDigest: ArtifactSource {
    /// The digest.
    public let digest: Digest

    /// Takes the digest of an artifact that is not at hand.
    public init(_ digest: Digest) { self.digest = digest }

    /// Gives the digest.
    /// - Throws: `SigstoreError` with `other-digest-needed` if the signature is over another digest, naming that one.
    public func read(digests: Set<HashAlgorithm>, schemes: Set<SignatureScheme>) throws(SigstoreError) -> HashedMessage
    {
        guard schemes != [.ed25519] else {
            throw SigstoreError(
                .otherDigestNeeded, "an Ed25519 signature is over the file itself, so a digest cannot verify it",
                advice: "give the file")
        }
        let usable = digests.isEmpty ? Set(schemes.compactMap(\.hash)) : digests
        guard usable.contains(digest.algorithm) else {
            let names = usable.map(\.rawValue).sorted()
            throw SigstoreError(
                .otherDigestNeeded,
                "this signature needs the file's \(names.joined(separator: " or ")) digest, "
                    + "not \(digest.algorithm.rawValue)",
                advice: "give the file, or its digest as \(names.joined(separator: ": or ")):…")
        }
        return HashedMessage(digest: digest)
    }
}

extension SigstoreError.Code {
    /// A digest was given, but the signature is over another digest, or over the file itself.
    public static let otherDigestNeeded = Self("other-digest-needed")
}
