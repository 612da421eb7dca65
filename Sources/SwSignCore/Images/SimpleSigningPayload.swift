public import SigstoreCrypto
public import StrictJSON

/// What cosign 1 and 2 sign for an image: a JSON text that names the image's digest (the "simple signing" format of
/// containers/image, as cosign's specification narrows it).
public struct SimpleSigningPayload: Sendable {
    /// The media type of the layer that holds it.
    public static let mediaType = "application/vnd.dev.cosign.simplesigning.v1+json"
    /// What `critical.type` says.
    public static let type = "cosign container image signature"

    /// The repository that the signer named (`critical.identity.docker-reference`). Nothing is decided by it.
    public let dockerReference: String
    /// The digest of the image that was signed, as the text has it.
    public let digest: Digest
    /// The signer's annotations (`optional`).
    public let annotations: JSONObject

    /// Makes a payload to sign.
    /// - Parameters:
    ///   - dockerReference: The repository without tag or digest.
    ///   - digest: The digest of the image's manifest.
    ///   - annotations: What the signer adds; may be empty.
    public init(dockerReference: String, digest: Digest, annotations: JSONObject = [:]) {
        self.dockerReference = dockerReference
        self.digest = digest
        self.annotations = annotations
    }

    /// Reads a payload.
    /// - Throws: `SigstoreError` if it is not JSON, a member of `critical` is missing, or its type is another.
    public init(parsing json: [UInt8]) throws(SigstoreError) { try self.init(JSONCursor(try JSONValue(parsing: json))) }

    /// Reads a payload that was parsed already.
    /// - Throws: `SigstoreError` if a member of `critical` is missing, or its type is another.
    public init(_ payload: JSONCursor) throws(SigstoreError) {
        let critical = try payload.member("critical")
        let type = try critical.member("type")
        guard try type.string().utf8.elementsEqual(Self.type.utf8) else {
            throw type.fault("is \"\(try type.string())\", not \"\(Self.type)\"")
        }
        dockerReference = try critical.member("identity").optional("docker-reference")?.string() ?? ""
        digest = try Digest(parsing: try critical.member("image").member("docker-manifest-digest").string())
        if case .object(let object)? = try payload.optional("optional")?.value {
            annotations = object
        } else {
            annotations = [:]
        }
    }

    /// The payload as JSON, in the order and form that cosign writes.
    public func json() -> JSONValue {
        .object([
            "critical": .object([
                "identity": .object(["docker-reference": .string(dockerReference)]),
                "image": .object(["docker-manifest-digest": .string(digest.description)]),
                "type": .string(Self.type),
            ]),
            "optional": annotations.members.isEmpty ? .null : .object(annotations),
        ])
    }
}
