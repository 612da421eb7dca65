public import HTTPTransport
public import SigstoreCrypto
public import StrictJSON

/// How AWS is shown who asks: Signature Version 4 (AWS General Reference, "Signature Version 4 signing process").
public struct RequestSignature: Sendable {
    /// What the signature is over, in the one form that both sides have.
    public let canonicalRequest: String
    /// What is signed: the algorithm, the time, the scope, and the digest of the canonical request.
    public let stringToSign: String
    /// The signature in hexadecimal.
    public let signature: String
    /// What is sent in `Authorization` behind the algorithm.
    public let credentials: String

    /// The algorithm, as `Authorization` names it.
    public static let algorithm = "AWS4-HMAC-SHA256"

    /// Signs a request.
    /// - Parameters:
    ///   - method: The method, in upper case.
    ///   - url: Where to. Its path is encoded once more, as all services but S3 have it.
    ///   - headers: The header fields that are signed, without `host` and with `x-amz-date`; the names in any case.
    ///   - body: The body.
    ///   - accessKeyID: The public half of the credentials.
    ///   - secret: The secret half.
    ///   - region: The region, such as `eu-central-1`.
    ///   - service: The service, such as `kms`.
    ///   - date: The time as in `x-amz-date`: `20260102T030405Z`.
    /// - Throws: `SigstoreError` with `cryptography-failed`.
    public init(
        method: String, url: HTTPURL, headers: [(name: String, value: String)], body: [UInt8], accessKeyID: String,
        secret: SecretBytes, region: String, service: String, date: String
    ) throws(SigstoreError) {
        let fields = (headers + [(name: "host", value: url.origin.authority)])
            .map { (name: Array(Self.lowercased($0.name)), value: Self.trimmed($0.value)) }
            .sorted { $0.name.lexicographicallyPrecedes($1.name) }
        let names = fields.map { String(decoding: $0.name, as: UTF8.self) }.joined(separator: ";")
        let lines = fields.map { "\(String(decoding: $0.name, as: UTF8.self)):\($0.value)\n" }.joined()
        canonicalRequest = [
            method, Self.canonicalPath(url.path), Self.canonicalQuery(url.query ?? ""), lines, names,
            try Digest.sha256(body).hex,
        ].joined(separator: "\n")
        let day = String(decoding: date.utf8.prefix(8), as: UTF8.self)
        let scope = "\(day)/\(region)/\(service)/aws4_request"
        stringToSign = [
            Self.algorithm, date, scope, try Digest.sha256(Array(canonicalRequest.utf8)).hex,
        ].joined(separator: "\n")
        let key = try Self.signingKey(secret, day: day, region: region, service: service)
        let proof = try MessageAuthentication.hmacSHA256(key: key, Array(stringToSign.utf8))
        signature = unsafe proof.withBytes { unsafe Hexadecimal.encode($0) }
        credentials = "Credential=\(accessKeyID)/\(scope), SignedHeaders=\(names), Signature=\(signature)"
    }

    /// The key of one day, region and service.
    static func signingKey(_ secret: SecretBytes, day: String, region: String, service: String)
        throws(SigstoreError) -> SecretBytes
    {
        var first = Array("AWS4".utf8)
        first.reserveCapacity(4 + secret.count)
        unsafe secret.withBytes { unsafe first.append(contentsOf: $0) }
        defer { SecretBytes.cleanse(&first) }
        var key = SecretBytes(first)
        for part in [day, region, service, "aws4_request"] {
            key = try MessageAuthentication.hmacSHA256(key: key, Array(part.utf8))
        }
        return key
    }

    /// A time as `20260102T030405Z`.
    static func date(_ seconds: Int64) -> String {
        String(Instant(seconds: seconds).description.filter { $0 != "-" && $0 != ":" })
    }

    /// Each segment, which is percent-encoded already, is encoded once more.
    private static func canonicalPath(_ path: String) -> String {
        path.utf8.split(separator: 0x2f, omittingEmptySubsequences: false)
            .map { HTTPURL.percentEncoded(String(decoding: $0, as: UTF8.self)) }.joined(separator: "/")
    }

    /// The parameters, which are percent-encoded already, sorted by name and value; one without a value has an empty one.
    private static func canonicalQuery(_ query: String) -> String {
        let pairs = query.utf8.split(separator: 0x26).map { parameter in
            let name = parameter.prefix { $0 != 0x3d }
            return (name: Array(name), value: Array(parameter.dropFirst(name.count + 1)))
        }
        return pairs.sorted { one, other in
            one.name == other.name
                ? one.value.lexicographicallyPrecedes(other.value) : one.name.lexicographicallyPrecedes(other.name)
        }.map { "\(String(decoding: $0.name, as: UTF8.self))=\(String(decoding: $0.value, as: UTF8.self))" }
            .joined(separator: "&")
    }

    /// A value without spaces around it, and with one in place of several.
    private static func trimmed(_ value: String) -> String {
        value.utf8.split { $0 == 0x20 || $0 == 0x09 }.map { String(decoding: $0, as: UTF8.self) }.joined(separator: " ")
    }

    private static func lowercased(_ name: String) -> [UInt8] {
        name.utf8.map { (0x41...0x5a).contains($0) ? $0 + 32 : $0 }
    }
}
