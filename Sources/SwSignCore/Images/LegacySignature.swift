internal import OCIRegistry
public import SigstoreCrypto
public import SigstoreVerification
public import StrictJSON

/// A bundle in the parts that cosign 2 keeps apart: for its blob bundles, its files, and the annotations of its layers.
public struct LegacySignature: Sendable {
    private let bundle: SigstoreBundle
    private let chain: [Certificate]

    /// - Parameters:
    ///   - bundle: The bundle.
    ///   - chain: The certificates above the signer's, which an image's layer of the older scheme has a place for.
    public init(_ bundle: SigstoreBundle, chain: [Certificate] = []) { (self.bundle, self.chain) = (bundle, chain) }

    /// The signer's certificate in PEM; none if a key signed.
    public func certificate() throws(SigstoreError) -> String? {
        guard case .certificates(let chain) = bundle.keyMaterial, let leaf = chain.first else { return nil }
        return try Certificate(der: leaf).pem
    }

    /// The entry in Rekor v1 as `rekorBundle` and the annotation `dev.sigstore.cosign/bundle` hold it.
    /// - Throws: `SigstoreError` if the entry has no promise: cosign 2's forms cannot say where a Rekor v2 entry is.
    public func rekorBundle() throws(SigstoreError) -> JSONValue? {
        guard let entry = bundle.logEntries.first else { return nil }
        guard let promise = entry.promise else {
            throw SigstoreError(
                .usage, "the form that cosign 2 wrote has no place for an entry of Rekor v2",
                advice: .remedy(.useBundleOrRekorV1))
        }
        return .object([
            "SignedEntryTimestamp": .bytes(promise),
            "Payload": .object([
                "body": .bytes(entry.body), "integratedTime": .integer(entry.integratedTime),
                "logIndex": .integer(entry.logIndex), "logID": .string(Hexadecimal.encode(entry.logID)),
            ]),
        ])
    }

    /// The timestamp as cosign keeps it in a file and in an image's annotations; `nil` if there is none.
    public func timestamp() -> JSONValue? {
        bundle.timestamps.first.map { .object(["SignedRFC3161Timestamp": .bytes($0)]) }
    }

    /// cosign 2's blob bundle.
    /// - Parameter signature: The signature's bytes, or an attestation's envelope.
    public func blobBundle(signature: [UInt8]) throws(SigstoreError) -> [UInt8] {
        var object: JSONObject = ["base64Signature": .bytes(signature)]
        if let certificate = try certificate() { object["cert"] = .bytes(Array(certificate.utf8)) }
        if let entry = try rekorBundle() { object["rekorBundle"] = entry }
        return JSONValue.object(object).serialized()
    }

    /// What a layer of the older scheme says of its signature.
    func annotations() throws(SigstoreError) -> [(name: String, value: String)] {
        func text(_ json: JSONValue) -> String { String(decoding: json.serialized(), as: UTF8.self) }
        var annotations: [(name: String, value: String)] = []
        if let certificate = try certificate() { annotations.append(("dev.sigstore.cosign/certificate", certificate)) }
        if !chain.isEmpty { annotations.append(("dev.sigstore.cosign/chain", chain.map(\.pem).joined())) }
        if let entry = try rekorBundle() { annotations.append(("dev.sigstore.cosign/bundle", text(entry))) }
        if let timestamp = timestamp() { annotations.append(("dev.sigstore.cosign/rfc3161timestamp", text(timestamp))) }
        return annotations
    }
}

extension SigstoreError.Remedy {
    /// The older form has no place for an entry of Rekor v2.
    public static let useBundleOrRekorV1 = Self("use-the-bundle-or-a-rekor-v1-log")
}
