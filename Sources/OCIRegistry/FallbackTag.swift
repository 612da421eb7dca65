package import SigstoreCrypto
internal import StrictJSON

/// The tag where registries without the referrers API keep a list of what refers to a manifest (OCI distribution
/// specification, "Referrers Tag Schema"), and that list.
package enum FallbackTag {
    /// The tag's name for a manifest: its digest with a hyphen.
    package static func name(of digest: Digest) -> String {
        "\(digest.algorithm.rawValue)-\(digest.hex.prefix(64))"
    }

    /// An index without some of its manifests, otherwise as it was written.
    static func index(_ manifest: Manifest, without digests: Set<Digest>) throws(SigstoreError) -> Manifest {
        guard case .object(var document) = try JSONValue(parsing: manifest.bytes) else { return manifest }
        var kept: [JSONValue] = []
        for element in try JSONCursor(.object(document)).member("manifests").elements()
        where !digests.contains(try Descriptor(element).digest) { kept.append(element.value) }
        document["manifests"] = .array(kept)
        return try Manifest(JSONValue.object(document).serialized())
    }
}
