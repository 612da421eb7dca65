public import SigstoreCrypto
public import StrictJSON

/// One call of the protocol by which cosign asks programs named `sigstore-kms-NAME` for keys, as JSON in their second
/// argument (sigstore's `pkg/signature/kms/cliplugin`, version `v1`). A message to be signed or verified is on standard input.
public struct PluginCall: Sendable {
    /// What is asked for.
    public enum Method: Sendable, Equatable {
        /// What a new key is by default.
        case defaultAlgorithm
        /// What a new key can be.
        case supportedAlgorithms
        /// To make a key.
        case createKey(algorithm: String)
        /// The public key.
        case publicKey
        /// A signature. cosign 3 gives the digest beside the message, cosign 2 the message alone.
        case signMessage(digest: [UInt8]?)
        /// Whether a signature holds.
        case verifySignature([UInt8], digest: [UInt8]?)

        /// The name that the call, its parameters and its answer have.
        public var name: String {
            switch self {
            case .defaultAlgorithm: "defaultAlgorithm"
            case .supportedAlgorithms: "supportedAlgorithms"
            case .createKey: "createKey"
            case .publicKey: "publicKey"
            case .signMessage: "signMessage"
            case .verifySignature: "verifySignature"
            }
        }
    }

    /// The protocol's version, which is the first argument.
    public static let version = "v1"
    /// What stands before a plugin's name in the name of its program.
    public static let programPrefix = "sigstore-kms-"

    /// What follows `NAME://` in the key's reference.
    public var resource: String
    /// The hash function that the caller expects; SHA-256 unless it knows better.
    public var hash: HashAlgorithm
    /// What is asked for.
    public var method: Method

    /// Makes a call.
    /// - Parameters:
    ///   - method: What is asked for.
    ///   - resource: What follows `NAME://` in the key's reference.
    ///   - hash: The hash function that the message goes through.
    public init(_ method: Method, of resource: String, hash: HashAlgorithm = .sha256) {
        (self.method, self.resource, self.hash) = (method, resource, hash)
    }

    /// The hash functions by the numbers that Go has for them (`crypto.Hash`).
    private static let hashes: [(number: Int64, hash: HashAlgorithm)] = [(5, .sha256), (6, .sha384), (7, .sha512)]

    /// Reads a call.
    /// - Parameter json: The second argument, in UTF-8.
    /// - Throws: `SigstoreError` with `unexpected-json` or `malformed-json`. Members that are not known are for others.
    public init(parsing json: [UInt8]) throws(SigstoreError) {
        let call = JSONCursor(try JSONValue(parsing: json, depth: 16))
        let options = try call.member("initOptions")
        let version = try options.member("protocolVersion").string()
        guard version.utf8.elementsEqual(Self.version.utf8) else {
            throw SigstoreError(
                .unexpectedJSON, "the call is of version \"\(version)\" of the protocol, expected \(Self.version)")
        }
        resource = try options.member("keyResourceID").string()
        let number = try options.optional("hashFunc")?.integer() ?? 5
        guard let hash = Self.hashes.first(where: { $0.number == number })?.hash else {
            throw SigstoreError(
                .unexpectedJSON, "the hash function has the number \(number), expected 5, 6 or 7 (SHA-256, 384, 512)")
        }
        self.hash = hash
        let name = try call.member("methodName").string()
        func digest(_ options: JSONCursor?) throws(SigstoreError) -> [UInt8]? {
            let bytes = try options?.optional("messageOptions")?.optional("digest")?.bytes()
            return bytes?.isEmpty == true ? nil : bytes
        }
        switch name {
        case "defaultAlgorithm": method = .defaultAlgorithm
        case "supportedAlgorithms": method = .supportedAlgorithms
        case "createKey": method = .createKey(algorithm: try call.member(name).member("algorithm").string())
        case "publicKey": method = .publicKey
        case "signMessage": method = .signMessage(digest: try digest(try call.member(name).optional("signOptions")))
        case "verifySignature":
            let arguments = try call.member(name)
            method = .verifySignature(
                try arguments.member("signature").bytes(), digest: try digest(try arguments.optional("verifyOptions")))
        default: throw SigstoreError(.unexpectedJSON, "the method \"\(name)\" is not known")
        }
    }

    /// The call as JSON, as cosign writes it.
    public func serialized() -> [UInt8] {
        let rpc = JSONValue.object(["keyVersion": .string(""), "remoteVerification": .bool(false)])
        func options(_ digest: [UInt8]?) -> JSONValue {
            .object(["rpcOptions": rpc, "messageOptions": .object(["digest": digest.map { .bytes($0) } ?? .null])])
        }
        let arguments: JSONObject =
            switch method {
            case .defaultAlgorithm, .supportedAlgorithms: [:]
            case .createKey(let algorithm): ["algorithm": .string(algorithm)]
            case .publicKey: ["publicKeyOptions": .object(["rpcOptions": rpc])]
            case .signMessage(let digest): ["signOptions": options(digest)]
            case .verifySignature(let signature, let digest):
                ["signature": .bytes(signature), "verifyOptions": options(digest)]
            }
        let number = Self.hashes.first { $0.hash == hash }?.number ?? 5
        return JSONValue.object([
            "initOptions": .object([
                "protocolVersion": .string(Self.version), "keyResourceID": .string(resource),
                "hashFunc": .integer(number), "rpcOptions": rpc,
            ]),
            "methodName": .string(method.name), method.name: .object(arguments),
        ]).serialized()
    }

    /// The answer to a call: an object under the method's name.
    /// - Parameters:
    ///   - member: The member of that object that the method has; `nil` if it has none.
    ///   - value: Its value.
    public func answer(_ member: String?, _ value: JSONValue = .null) -> JSONValue {
        .object([method.name: .object(JSONObject(member.map { [(name: $0, value: value)] } ?? []))])
    }

    /// The answer to a call that failed.
    /// - Parameter words: What went wrong. cosign prints them as they are.
    public static func failure(_ words: String) -> JSONValue { .object(["errorMessage": .string(words)]) }
}
