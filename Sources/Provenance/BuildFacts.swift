public import InToto
public import SigstoreVerification
internal import StrictJSON

/// What provenance by SLSA's predicates says of a build, whatever builder wrote it. It is worth as much as the attestation that
/// it stands in.
public struct BuildFacts: Sendable {
    /// The builder (`builder.id`).
    public let builder: String
    /// What was built: the first of its materials or resolved dependencies, as a URI; `nil` if none is named.
    public let source: String?

    /// Reads the predicate.
    /// - Returns: `nil` if it is no provenance of SLSA, or names no builder.
    public init?(_ statement: Statement) {
        guard let version = SLSAProvenance.types.firstIndex(where: { $0.matches(statement.predicateType) }) else {
            return nil
        }
        let predicate = JSONCursor(statement.predicate)
        let place = if version == 0 { Optional(predicate) } else { try? predicate.optional("runDetails") }
        guard let builder = try? place?.optional("builder")?.optional("id")?.string(), !builder.isEmpty else {
            return nil
        }
        self.builder = builder
        let definition = try? predicate.optional("buildDefinition")
        let list =
            if version == 0 { try? predicate.optional("materials") } else {
                try? definition?.optional("resolvedDependencies")
            }
        source = try? list?.elements().first?.optional("uri")?.string()
    }

    /// The level of SLSA's build track that verified provenance shows: 3 if its signer is one of the trusted builders of
    /// `slsa-framework/slsa-github-generator` at a release; 2 if the builder that it names has signed it, by a certificate; else 1.
    /// - Parameter claims: What the verified certificate says of the signer; `nil` if a key signed.
    public func level(by claims: CertificateClaims?) -> Int64 {
        guard let signer = claims?[.buildSignerURI], signer.utf8.elementsEqual(builder.utf8) else { return 1 }
        return SLSAPolicy.isReleasedTrustedBuilder(signer) ? 3 : 2
    }
}
