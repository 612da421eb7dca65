public import StrictJSON

/// The type of an attestation's predicate: a URI, for which cosign has short names.
public struct PredicateType: Sendable {
    /// The URI as it stands in the statement.
    public let uri: String

    /// Makes a type from its URI.
    public init(uri: String) { self.uri = uri }

    /// What cosign signs images with: an empty predicate that only says "signed".
    public static let cosignSign = PredicateType(uri: "https://sigstore.dev/cosign/sign/v1")
    /// cosign's wrapper for anything (`custom`).
    public static let cosignCustom = PredicateType(uri: "https://cosign.sigstore.dev/attestation/v1")

    /// cosign's short names, each with its URI.
    public static let shortNames: [(name: String, uri: String)] = [
        ("custom", cosignCustom.uri),
        ("slsaprovenance", "https://slsa.dev/provenance/v0.2"),
        ("slsaprovenance02", "https://slsa.dev/provenance/v0.2"),
        ("slsaprovenance1", "https://slsa.dev/provenance/v1"),
        ("spdx", "https://spdx.dev/Document"),
        ("spdxjson", "https://spdx.dev/Document"),
        ("cyclonedx", "https://cyclonedx.org/bom"),
        ("link", "https://in-toto.io/Link/v1"),
        ("vuln", "https://cosign.sigstore.dev/attestation/vuln/v1"),
        ("openvex", "https://openvex.dev/ns"),
    ]

    /// Makes a type from its name: one of cosign's short names, or a URI.
    /// - Parameter name: The short name or URI.
    /// - Throws: `SigstoreError` with `unknown-predicate-type` if it is neither.
    public init(named name: String) throws(SigstoreError) {
        if let known = Self.shortNames.first(where: { $0.name == name }) {
            uri = known.uri
        } else if let colon = name.utf8.firstIndex(of: 0x3a), colon != name.startIndex, !name.utf8.contains(0x20),
            name.utf8.allSatisfy({ $0 > 0x20 && $0 != 0x7f })
        {
            uri = name
        } else {
            throw SigstoreError(
                .unknownPredicateType, "the predicate type \"\(name)\" is not known",
                advice: "use one of \(Self.shortNames.map(\.name).joined(separator: ", ")), or a URI")
        }
    }

    /// Whether both are the same URI, byte for byte.
    public func matches(_ other: PredicateType) -> Bool { uri.utf8.elementsEqual(other.uri.utf8) }
}

extension SigstoreError.Code {
    /// A predicate type that is neither a known short name nor a URI.
    public static let unknownPredicateType = Self("unknown-predicate-type")
}
