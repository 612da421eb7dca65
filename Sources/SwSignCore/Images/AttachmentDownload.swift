public import InToto
internal import OCIRegistry
internal import SigstoreCrypto
internal import SigstoreVerification
public import StrictJSON

/// What was found with an image, in the form that cosign prints it. Nothing of it is verified.
public struct DownloadedAttachments: Sendable {
    /// One value for each signature or attestation: of the older scheme first, then bundles as they are.
    public internal(set) var values: [JSONValue] = []
    /// What could not be read, with its place.
    public internal(set) var unreadable: [SigstoreError] = []
}

extension SignatureStore {
    /// The signatures: of the older scheme as `Base64Signature`, `Payload`, `Cert`, `Chain`, `Bundle` and
    /// `RFC3161Timestamp`; of the newer one their bundles.
    /// - Throws: `SigstoreError` with `no-signature` if there is none, or because the store could not be asked.
    public func downloadSignatures() async throws(SigstoreError) -> DownloadedAttachments {
        let found = try await download(.signature) { (value, _) in value }
        guard !found.values.isEmpty || !found.unreadable.isEmpty else {
            throw SigstoreError(.noSignature, "there is no signature of \(image.name) (\(image.digest))")
        }
        return found
    }

    /// The attestations: of the older scheme their envelopes, of the newer one their bundles.
    /// - Parameter type: The type that the predicate must have; `nil` for all.
    /// - Throws: `SigstoreError` with `no-signature` if there is none, or because the store could not be asked.
    public func downloadAttestations(_ type: PredicateType?) async throws(SigstoreError) -> DownloadedAttachments {
        let found = try await download(.attestation) { (value, envelope) throws(SigstoreError) in
            guard let type else {
                // cosign 3 signs with a statement as well; that one is no attestation unless it is asked for.
                let isSignature =
                    (try? Statement(parsing: envelope.payload))?.predicateType.matches(.cosignSign) ?? false
                return isSignature ? nil : value
            }
            return try Statement(parsing: envelope.payload).predicateType.matches(type) ? value : nil
        }
        guard !found.values.isEmpty || !found.unreadable.isEmpty else {
            throw SigstoreError(
                .noSignature,
                "there is no attestation\(type.map { " of type \($0.uri)" } ?? "") of \(image.name) (\(image.digest))")
        }
        return found
    }

    /// The SBOM that is attached under a tag of the older scheme.
    /// - Returns: Its media type, and its bytes.
    /// - Throws: `SigstoreError` with `image-not-found` if there is none, or because it cannot be read.
    public func downloadSBOM() async throws(SigstoreError) -> (mediaType: String, content: [UInt8]) {
        let tag = tag(.sbom)
        guard let manifest = try await image.signatureStore.manifest(try ManifestSelector(tag: tag)) else {
            let known = try await image.withPlatforms().compactMap(\.platform).map(\.description).joined(
                separator: ", ")
            throw SigstoreError(
                .imageNotFound, "no SBOM is attached to \(image.name): there is no \(image.signatureStore.name):\(tag)",
                advice: known.isEmpty
                    ? .remedy(.downloadAttestation)
                    : .remedy(.choosePlatform, of: known))
        }
        guard let layer = manifest.image?.layers.first, manifest.image?.layers.count == 1 else {
            throw SigstoreError(
                .unreadableSignature, "\(tag) holds \(manifest.image?.layers.count ?? 0) files, and an SBOM is one")
        }
        return (layer.mediaType, try await image.signatureStore.blob(layer, limit: attachmentLimit))
    }

    private func download(
        _ kind: Kind, _ pick: @escaping @Sendable (JSONValue, DSSEEnvelope) throws(SigstoreError) -> JSONValue?
    ) async throws(SigstoreError) -> DownloadedAttachments {
        let store = image.signatureStore
        let limit = attachmentLimit
        var layers: [(layer: Descriptor, place: String)] = []
        let attached = try await attachments()
        func add(_ manifest: Manifest, _ place: String) {
            for (index, layer) in (manifest.image?.layers ?? []).enumerated() {
                layers.append((layer, "\(place), layer \(index)"))
            }
        }
        for tagged in attached.tagged where tagged.kind == kind { add(tagged.manifest, tagged.tag) }
        for referrer in attached.referrers
        where referrer.kind == kind || kind == .attestation && referrer.kind == .signature {
            add(referrer.manifest, "referrer \(referrer.manifest.digest)")
        }
        let results = try await concurrently(layers) {
            entry throws(SigstoreError) -> Result<JSONValue?, SigstoreError> in
            do throws(SigstoreError) {
                let content = try await store.blob(entry.layer, limit: limit)
                return .success(try Self.value(entry.layer, content, kind, pick))
            } catch {
                if [.notFound, .digestMismatch].contains(error.code) { return .failure(error.concerning(entry.place)) }
                guard error.isAboutContent else { throw error }
                return .failure(
                    SigstoreError(.unreadableSignature, error.message, cause: error).concerning(entry.place))
            }
        }
        var found = DownloadedAttachments()
        found.unreadable = attached.unreadable
        for result in results {
            switch result {
            case .success(let value?): found.values.append(value)
            case .success(nil): break
            case .failure(let error): found.unreadable.append(error)
            }
        }
        return found
    }

    private static func value(
        _ layer: Descriptor, _ content: [UInt8], _ kind: Kind,
        _ pick: (JSONValue, DSSEEnvelope) throws(SigstoreError) -> JSONValue?
    ) throws(SigstoreError) -> JSONValue? {
        if layer.mediaType.utf8.starts(with: bundleTypePrefix.utf8) {
            let value = try JSONValue(parsing: content)
            guard case .dsse(let envelope) = try SigstoreBundle(parsing: content).content else {
                return kind == .signature ? value : nil
            }
            return try pick(value, envelope)
        }
        if kind == .attestation {
            guard layer.mediaType.utf8.elementsEqual(envelopeMediaType.utf8) else { return nil }
            let value = try JSONValue(parsing: content)
            return try pick(value, try DSSEEnvelope(JSONCursor(value)))
        }
        guard layer.mediaType.utf8.elementsEqual(SimpleSigningPayload.mediaType.utf8) else { return nil }
        func certificates(_ name: String) throws(SigstoreError) -> [JSONValue] {
            guard let text = layer.annotations[name], !text.isEmpty else { return [] }
            return try PEM.blocks(in: Array(text.utf8)).map { .object(["Raw": .bytes($0.bytes)]) }
        }
        func json(_ name: String) throws(SigstoreError) -> JSONValue {
            guard let text = layer.annotations[name], !text.isEmpty else { return .null }
            return try JSONValue(parsing: Array(text.utf8))
        }
        let chain = try certificates(chainAnnotation)
        return .object([
            "Base64Signature": .string(layer.annotations[signatureAnnotation] ?? ""), "Payload": .bytes(content),
            "Cert": try certificates(certificateAnnotation).first ?? .null,
            "Chain": chain.isEmpty ? .null : .array(chain),
            "Bundle": try json(logEntryAnnotation), "RFC3161Timestamp": try json(timestampAnnotation),
        ])
    }
}

extension SigstoreError.Remedy {
    /// No SBOM is attached; there may be one as an attestation.
    public static let downloadAttestation = Self("download-it-as-an-attestation")
    /// The image is an index with images for the platforms that are named.
    public static let choosePlatform = Self("choose-a-platform")
}
