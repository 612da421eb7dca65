public import StrictJSON

/// A DSSE envelope: a payload, its type, and signatures over both (Dead Simple Signing Envelope 1.0).
public struct DSSEEnvelope: Sendable {
    /// One signature of an envelope.
    public struct Signature: Sendable {
        /// The signature's bytes.
        public var signature: [UInt8]
        /// A hint at the key, not to be trusted; often empty.
        public var keyID: String

        public init(signature: [UInt8], keyID: String = "") {
            self.signature = signature
            self.keyID = keyID
        }
    }

    /// The media type of the payload, such as ``Statement/payloadType``.
    public var payloadType: String
    /// The payload as it was signed.
    public var payload: [UInt8]
    /// The signatures; one for everything that Sigstore makes.
    public var signatures: [Signature]

    public init(payloadType: String, payload: [UInt8], signatures: [Signature]) {
        self.payloadType = payloadType
        self.payload = payload
        self.signatures = signatures
    }

    /// What is really signed: the pre-authentication encoding (DSSE protocol, section "Signature Definition").
    public var preAuthenticationEncoding: [UInt8] {
        Self.preAuthenticationEncoding(payloadType: payloadType, payload: payload)
    }

    /// The pre-authentication encoding of a payload that is not in an envelope yet.
    public static func preAuthenticationEncoding(payloadType: String, payload: [UInt8]) -> [UInt8] {
        Array("DSSEv1 \(payloadType.utf8.count) \(payloadType) \(payload.count) ".utf8) + payload
    }

    /// Reads an envelope from its JSON form (DSSE envelope 1.0).
    /// - Parameter json: The envelope, at the top of a document or inside another.
    /// - Throws: `SigstoreError` naming the member that is missing, unknown or malformed, and if there is no signature.
    public init(_ json: JSONCursor) throws(SigstoreError) {
        try json.expectOnly(["payload", "payloadType", "signatures"])
        payloadType = try json.member("payloadType").string()
        payload = try json.optional("payload")?.bytes() ?? []
        let list = try json.member("signatures")
        signatures = []
        for entry in try list.elements() {
            try entry.expectOnly(["sig", "keyid"])
            signatures.append(
                Signature(
                    signature: try entry.member("sig").bytes(), keyID: try entry.optional("keyid")?.string() ?? ""))
        }
        guard !signatures.isEmpty else { throw list.fault("holds no signature") }
    }

    /// The envelope as JSON: `payloadType`, `payload`, `signatures`.
    /// - Parameter includingEmptyKeyID: cosign's envelope files have `"keyid":""`, bundles leave it out.
    public func json(includingEmptyKeyID: Bool = false) -> JSONValue {
        .object([
            "payloadType": .string(payloadType),
            "payload": .bytes(payload),
            "signatures": .array(
                signatures.map {
                    var member: JSONObject = [:]
                    if includingEmptyKeyID || !$0.keyID.isEmpty { member["keyid"] = .string($0.keyID) }
                    member["sig"] = .bytes($0.signature)
                    return .object(member)
                }),
        ])
    }
}
