internal import InToto
internal import SigstoreCrypto
public import StrictJSON

// cosign's forms from before bundles. Each becomes a bundle of version 0.1: what stands in the log is proved by a
// promise, never by a proof.

/// cosign 2's bundle beside a file: `base64Signature`, `cert`, `rekorBundle`.
public struct LegacyBlobBundle: Sendable {
    /// The signature's bytes; of an attestation, the envelope's JSON.
    public var signature: [UInt8]
    /// The signer's certificates, or the fingerprint of the signer's key; `nil` if it says nothing.
    public var keyMaterial: SigstoreBundle.KeyMaterial?
    /// The entry in Rekor v1.
    public var logEntry: TransparencyLogEntry?

    /// Reads a bundle.
    /// - Parameter json: The whole file.
    /// - Throws: `SigstoreError` with `not-a-bundle` if it is no such bundle, or naming the member that is wrong.
    public init(parsing json: [UInt8]) throws(SigstoreError) {
        guard json.count <= SigstoreBundle.sizeLimit else {
            throw SigstoreError(.malformedBundle, "the bundle is larger than 128 MiB")
        }
        try self.init(JSONCursor(try JSONValue(parsing: json, values: SigstoreBundle.valueLimit)))
    }

    /// Reads a bundle from JSON that was parsed already.
    /// - Parameter top: The whole file.
    /// - Throws: As ``init(parsing:)``.
    public init(_ top: JSONCursor) throws(SigstoreError) {
        guard let signature = try top.optional("base64Signature") else {
            throw SigstoreError(
                .notABundle, "not a bundle: there is neither a \"mediaType\" nor a \"base64Signature\"",
                advice: .remedy(.giveBundle))
        }
        try top.expectOnly(["base64Signature", "cert", "rekorBundle"])
        self.signature = try signature.bytes()
        if let member = try top.optional("cert"), !(try member.string().isEmpty) {
            keyMaterial = try Self.keyMaterial(Array(try member.string().utf8))
        }
        if let entry = try top.optional("rekorBundle") { logEntry = try TransparencyLogEntry(rekorBundle: entry) }
    }

    /// Reads a signer's certificates or key as cosign 2 writes them: PEM, or base64 of PEM.
    /// - Parameter text: The content of a certificate's file, or of the member `cert` of cosign 2's bundle.
    /// - Throws: `SigstoreError` with `malformed-certificate` if it is neither a certificate nor a public key.
    public static func keyMaterial(_ text: [UInt8]) throws(SigstoreError) -> SigstoreBundle.KeyMaterial {
        let trimmed = text.filter { $0 > 0x20 }
        let pem = Base64.decode(trimmed) ?? text
        let blocks = try PEM.blocks(in: pem)
        if blocks.count == 1, let key = blocks.first, key.label == "PUBLIC KEY" {
            return .publicKey(hint: try PublicKey(der: key.bytes).hint())
        }
        guard !blocks.isEmpty, blocks.allSatisfy({ $0.label == "CERTIFICATE" }) else {
            throw SigstoreError(.malformedCertificate, "there is no certificate in PEM, and no base64 of one")
        }
        return .certificates(blocks.map(\.bytes))
    }
}

extension TransparencyLogEntry {
    /// Reads an entry of Rekor v1 as cosign 2 keeps it (`rekorBundle`, and the annotation `dev.sigstore.cosign/bundle`):
    /// `SignedEntryTimestamp` and `Payload` with `body`, `integratedTime`, `logIndex` and `logID`.
    /// - Throws: `SigstoreError` naming the member that is wrong.
    public init(rekorBundle json: JSONCursor) throws(SigstoreError) {
        try json.expectOnly(["SignedEntryTimestamp", "Payload"])
        let payload = try json.member("Payload")
        try payload.expectOnly(["body", "integratedTime", "logIndex", "logID"])
        let log = try payload.member("logID")
        guard let logID = Hexadecimal.decode(try log.string()) else { throw log.fault("is not hexadecimal") }
        let body = try payload.member("body").bytes()
        // This form does not say the kind, so it is the body's.
        let kind = JSONCursor(try JSONValue(parsing: body, values: SigstoreBundle.valueLimit))
        self.init(
            logIndex: try Self.count(payload, "logIndex"), logID: logID, kind: try kind.member("kind").string(),
            kindVersion: try kind.member("apiVersion").string(),
            integratedTime: try Self.count(payload, "integratedTime"),
            promise: try json.member("SignedEntryTimestamp").bytes(), body: body)
    }
}

extension SigstoreBundle {
    /// Makes a bundle of parts that cosign keeps in files of their own.
    /// - Parameters:
    ///   - signature: The signature's bytes; of an attestation, the envelope's JSON.
    ///   - isAttestation: Whether it is an attestation.
    ///   - keyMaterial: The signer's certificates in DER, or a key's hint, which may be empty.
    ///   - logEntry: The entry in Rekor v1.
    ///   - timestamps: DER `TimeStampResp`s over the signature.
    /// - Throws: `SigstoreError` if an attestation's envelope cannot be read.
    public init(
        signature: [UInt8], isAttestation: Bool, keyMaterial: KeyMaterial, logEntry: TransparencyLogEntry? = nil,
        timestamps: [[UInt8]] = []
    ) throws(SigstoreError) {
        let content: Content =
            isAttestation
            ? .dsse(try DSSEEnvelope(JSONCursor(try JSONValue(parsing: signature, values: SigstoreBundle.valueLimit))))
            : .messageSignature(MessageSignature(digest: nil, signature: signature))
        self.init(
            keyMaterial, content, logEntry.map { [$0] } ?? [], timestamps, .v01,
            timestampedEnvelope: isAttestation ? signature : nil)
    }

    /// Makes a bundle of an envelope that stands alone in a file and was parsed already.
    /// - Parameters:
    ///   - envelope: The envelope.
    ///   - written: The bytes that it was parsed from.
    /// - Throws: `SigstoreError` naming the member that is wrong.
    public init(envelope: JSONCursor, written: [UInt8]) throws(SigstoreError) {
        self.init(
            .publicKey(hint: ""), .dsse(try DSSEEnvelope(envelope)), [], [], .v01, timestampedEnvelope: written)
    }

    /// Makes a bundle of one layer of a signature or attestation image, as cosign 1 and 2 push them.
    /// - Parameters:
    ///   - annotations: The layer's annotations; those that are not cosign's are passed over.
    ///   - layer: The layer: what was signed, or the envelope of an attestation.
    ///   - isAttestation: Whether it is an attestation.
    /// - Throws: `SigstoreError` naming the annotation that is wrong.
    public init(annotations: [String: String], layer: [UInt8], isAttestation: Bool) throws(SigstoreError) {
        func text(_ name: String) -> [UInt8]? {
            guard let value = annotations[name], !value.isEmpty else { return nil }
            return Array(value.utf8)
        }
        var keyMaterial = KeyMaterial.publicKey(hint: "")
        if let certificate = text("dev.sigstore.cosign/certificate") {
            var chain = try PEM.blocks(in: certificate).filter { $0.label == "CERTIFICATE" }.map(\.bytes)
            guard !chain.isEmpty else {
                throw SigstoreError(
                    .malformedCertificate, "the annotation dev.sigstore.cosign/certificate holds no certificate")
            }
            if let rest = text("dev.sigstore.cosign/chain") {
                // The chain comes with its root, which only the trusted root may bring.
                for certificate in try Certificate.chain(pem: rest) where !certificate.isSelfIssued {
                    chain.append(certificate.der)
                }
            }
            keyMaterial = .certificates(chain)
        }
        var signature = layer
        if !isAttestation {
            guard let encoded = text("dev.cosignproject.cosign/signature"), let decoded = Base64.decode(encoded) else {
                throw SigstoreError(
                    .malformedBase64, "the annotation dev.cosignproject.cosign/signature is absent or not base64")
            }
            signature = decoded
        }
        var logEntry: TransparencyLogEntry?
        if let bundle = text("dev.sigstore.cosign/bundle") {
            let json = JSONCursor(try JSONValue(parsing: bundle, values: SigstoreBundle.valueLimit))
            if case .null = json.value {} else { logEntry = try TransparencyLogEntry(rekorBundle: json) }
        }
        var timestamps: [[UInt8]] = []
        if let timestamp = text("dev.sigstore.cosign/rfc3161timestamp"), let response = try Self.timestamp(timestamp) {
            timestamps = [response]
        }
        try self.init(
            signature: signature, isAttestation: isAttestation, keyMaterial: keyMaterial, logEntry: logEntry,
            timestamps: timestamps)
    }

    /// Reads a timestamp as cosign keeps it in a file and in an image's annotations: JSON with
    /// `SignedRFC3161Timestamp`, or the DER itself.
    /// - Parameter file: The whole file.
    /// - Returns: The DER `TimeStampResp`; `nil` if the JSON is `null`.
    /// - Throws: `SigstoreError` if it is neither.
    public static func timestamp(_ file: [UInt8]) throws(SigstoreError) -> [UInt8]? {
        if file.first == 0x30 { return file }
        let json = JSONCursor(try JSONValue(parsing: file, values: SigstoreBundle.valueLimit))
        if case .null = json.value { return nil }
        try json.expectOnly(["SignedRFC3161Timestamp"])
        return try json.member("SignedRFC3161Timestamp").bytes()
    }
}
