public import InToto
internal import OCIRegistry
public import SigstoreCrypto
public import SigstoreVerification
public import StrictJSON

/// A signature that was made elsewhere, with what belongs to it, to be attached in the older scheme.
public struct ForeignSignature: Sendable {
    /// The bare signature.
    public var signature: [UInt8]
    /// What it is over; `nil` for the payload that cosign signs for the image.
    public var payload: [UInt8]?
    /// The signer's certificate, in PEM.
    public var certificate: [UInt8]?
    /// The certificates above it, in PEM.
    public var chain: [UInt8]?
    /// The entry in a log, as JSON: Rekor's answer, cosign 2's bundle, or the part of it called `rekorBundle`.
    public var logEntry: [UInt8]?
    /// A timestamp over the signature: a DER `TimeStampResp`, or cosign's JSON of one.
    public var timestamp: [UInt8]?

    public init(signature: [UInt8]) { self.signature = signature }
}

extension SignatureStore {
    static let certificateAnnotation = "dev.sigstore.cosign/certificate"
    static let chainAnnotation = "dev.sigstore.cosign/chain"
    static let logEntryAnnotation = "dev.sigstore.cosign/bundle"
    static let timestampAnnotation = "dev.sigstore.cosign/rfc3161timestamp"

    /// Attaches a signature that was made elsewhere.
    /// - Returns: The digest that its payload names, which may be another one than the image's.
    /// - Throws: `SigstoreError` if a part of it cannot be read; nothing is attached then.
    public func attach(_ foreign: ForeignSignature) async throws(SigstoreError) -> Digest? {
        var annotations: Annotations = [Self.signatureAnnotation: Base64.encode(foreign.signature)]
        if let certificate = foreign.certificate {
            guard case .certificates(let found) = try LegacyBlobBundle.keyMaterial(certificate), let first = found.first
            else {
                throw SigstoreError(.malformedCertificate, "a public key was given where a certificate is needed")
            }
            annotations[Self.certificateAnnotation] = PEM.encode(label: "CERTIFICATE", first)
        }
        if let chain = foreign.chain {
            annotations[Self.chainAnnotation] = try Certificate.chain(pem: chain).map(\.pem).joined()
        }
        if let entry = foreign.logEntry {
            annotations[Self.logEntryAnnotation] = String(
                decoding: try Self.logEntry(entry).serialized(), as: UTF8.self)
        }
        if let timestamp = foreign.timestamp, let response = try SigstoreBundle.timestamp(timestamp) {
            let json = JSONValue.object(["SignedRFC3161Timestamp": .bytes(response)])
            annotations[Self.timestampAnnotation] = String(decoding: json.serialized(), as: UTF8.self)
        }
        let payload =
            foreign.payload
            ?? SimpleSigningPayload(dockerReference: image.repositoryName, digest: image.digest).json().serialized()
        // What nobody could read again is not attached.
        var readable: [String: String] = [:]
        for entry in annotations.entries { readable[entry.name] = entry.value }
        _ = try SigstoreBundle(annotations: readable, layer: payload, isAttestation: false)
        try await add(.signature, payload, annotations: annotations)
        return (try? SimpleSigningPayload(parsing: payload))?.digest
    }

    /// An entry of Rekor v1 as the older scheme keeps it.
    private static func logEntry(_ file: [UInt8]) throws(SigstoreError) -> JSONValue {
        let top = JSONCursor(try JSONValue(parsing: file))
        if let bundle = try top.optional("rekorBundle") { return bundle.value }
        if try top.optional("SignedEntryTimestamp") != nil { return top.value }
        // Rekor's own answer: the entry under its UUID.
        let names = try top.names()
        guard let uuid = names.first, names.count == 1 else {
            throw SigstoreError(
                .unexpectedJSON, "this is no entry of a Rekor log",
                advice: .remedy(.giveLogEntry))
        }
        let entry = try top.member(uuid)
        return .object([
            "SignedEntryTimestamp": try entry.member("verification").member("signedEntryTimestamp").value,
            "Payload": .object([
                "body": try entry.member("body").value, "integratedTime": try entry.member("integratedTime").value,
                "logIndex": try entry.member("logIndex").value, "logID": try entry.member("logID").value,
            ]),
        ])
    }

    /// What an attestation's file holds.
    public enum ForeignAttestation: Sendable {
        case envelope(JSONValue)
        case bundle(SigstoreBundle)

        /// Reads a file: a bundle, an envelope, or several envelopes one a line.
        /// - Throws: `SigstoreError` if it is none of these.
        public static func read(_ file: [UInt8]) throws(SigstoreError) -> [ForeignAttestation] {
            if let whole = try? JSONValue(parsing: file) { return [try one(whole, file)] }
            var found: [ForeignAttestation] = []
            for line in file.split(whereSeparator: { $0 == 0x0a || $0 == 0x0d })
            where !line.allSatisfy({ $0 == 0x20 || $0 == 0x09 }) {
                found.append(try one(try JSONValue(parsing: Array(line)), Array(line)))
                guard found.count <= SignatureStore.limit else {
                    throw SigstoreError(
                        .tooManySignatures, "there are more than \(SignatureStore.limit) attestations in it")
                }
            }
            guard !found.isEmpty else { throw SigstoreError(.unexpectedJSON, "it is empty") }
            return found
        }

        private static func one(_ value: JSONValue, _ bytes: [UInt8]) throws(SigstoreError) -> ForeignAttestation {
            let json = JSONCursor(value)
            if try json.optional("mediaType") != nil {
                let bundle = try SigstoreBundle(parsing: bytes)
                guard case .dsse = bundle.content else {
                    throw SigstoreError(
                        .notABundle, "the bundle holds a signature, not an attestation",
                        advice: .remedy(.attachAsSignature))
                }
                return .bundle(bundle)
            }
            _ = try Statement(parsing: try DSSEEnvelope(json).payload)
            return .envelope(value)
        }

        /// The statement.
        public var statement: Statement? {
            switch self {
            case .envelope(let value):
                (try? DSSEEnvelope(JSONCursor(value))).flatMap { try? Statement(parsing: $0.payload) }
            case .bundle(let bundle):
                if case .dsse(let envelope) = bundle.content { try? Statement(parsing: envelope.payload) } else { nil }
            }
        }
    }

    /// Attaches an attestation that was made elsewhere: an envelope in the older scheme, a bundle in the newer one.
    /// - Parameters:
    ///   - attestation: The attestation.
    ///   - created: The time in a bundle's manifest, RFC 3339.
    public func attach(_ attestation: ForeignAttestation, created: String) async throws(SigstoreError) {
        switch attestation {
        case .bundle(let bundle): try await add(bundle, created: created)
        case .envelope(let value):
            let type = attestation.statement?.predicateType.uri ?? ""
            try await add(
                .attestation, value.serialized(), annotations: [Self.signatureAnnotation: "", "predicateType": type])
        }
    }

    /// Attaches an SBOM under a tag of the older scheme, in place of one that is there.
    /// - Returns: The tag.
    public func attach(sbom content: [UInt8], mediaType: String) async throws(SigstoreError) -> String {
        let store = image.signatureStore
        let blob = try Blob(content)
        let (manifest, config) = try self.manifest([
            Descriptor(mediaType: mediaType, digest: blob.digest, size: blob.size)
        ])
        try await store.putBlob(blob)
        try await store.putBlob(config)
        try await store.putManifest(manifest, tag: tag(.sbom))
        return tag(.sbom)
    }

    /// The media type of an SBOM, as cosign names it.
    /// - Parameters:
    ///   - type: `spdx`, `cyclonedx` or `syft`.
    ///   - format: `json`, `xml` or `text`; `nil` to go by the content.
    ///   - content: The SBOM.
    /// - Throws: `SigstoreError` if there is no such type, or not in this format.
    public static func sbomMediaType(_ type: String, format: String?, content: [UInt8]) throws(SigstoreError) -> String
    {
        let looksLike: String =
            switch content.first(where: { $0 > 0x20 }) {
            case 0x7b: "json"
            case 0x3c: "xml"
            default: "text"
            }
        switch (type, format ?? looksLike) {
        case ("spdx", "json"): return "text/spdx+json"
        case ("spdx", "text"): return "text/spdx"
        case ("cyclonedx", "json"): return "application/vnd.cyclonedx+json"
        case ("cyclonedx", "xml"): return "application/vnd.cyclonedx+xml"
        case ("syft", "json"): return "application/vnd.syft+json"
        case ("spdx", let format), ("cyclonedx", let format), ("syft", let format):
            throw SigstoreError(
                .usage, "an SBOM of type \(type) cannot be \(format)",
                advice: .remedy(.giveSBOMFormat))
        default: throw SigstoreError(.usage, "the type of an SBOM is spdx, cyclonedx or syft, not \"\(type)\"")
        }
    }
}

extension SigstoreError.Remedy {
    /// The file is no entry of a Rekor log.
    public static let giveLogEntry = Self("give-the-answer-of-rekor-or-a-bundle")
    /// The bundle holds a signature, not an attestation.
    public static let attachAsSignature = Self("attach-it-as-a-signature")
    /// SBOMs of this type have no such format.
    public static let giveSBOMFormat = Self("give-a-format-that-the-type-has")
}
