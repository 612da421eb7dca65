public import InToto
public import SigstoreCrypto

/// What is claimed of one bundle: which file was signed, or what an attestation is about. The policy says who must have
/// signed and how; it is the same for many bundles.
public enum BundleClaim: Sendable {
    /// This file: the bundle holds a signature over it.
    case message(any ArtifactSource)
    /// An in-toto attestation.
    /// - Parameters:
    ///   - subject: What it must be about; `nil` accepts any subject.
    ///   - predicateType: The type that its predicate must have, byte for byte; `nil` accepts any.
    case attestation(subject: Subject?, predicateType: PredicateType?)

    /// What an attestation must be about.
    public enum Subject: Sendable {
        /// This file; it is read for the digests that the statement names. If an algorithm is given, a digest by it must be
        /// among those of the very subject.
        case artifact(any ArtifactSource, namedBy: HashAlgorithm? = nil)
        /// Something with this digest.
        case digest(Digest)
    }

    /// A file that is not at hand: the bundle holds a signature over something with this digest.
    /// - Parameter digest: The digest; it has to be the one that was signed.
    public static func message(digest: Digest) -> BundleClaim { .message(ArtifactDigest(digest)) }

    /// An attestation about a file.
    /// - Parameters:
    ///   - artifact: The file; it is read for the digests that the statement names.
    ///   - type: The type that the predicate must have, byte for byte.
    public static func attestation(about artifact: any ArtifactSource, type: PredicateType) -> BundleClaim {
        .attestation(subject: .artifact(artifact), predicateType: type)
    }

    /// An attestation about something of which the digest is known, such as an image.
    /// - Parameters:
    ///   - digest: The digest that one of the statement's subjects must have.
    ///   - type: The type that the predicate must have, byte for byte.
    public static func attestation(aboutDigest digest: Digest, type: PredicateType) -> BundleClaim {
        .attestation(subject: .digest(digest), predicateType: type)
    }
}
