public import HTTPTransport
internal import SigstoreCrypto
public import StrictJSON

/// A timestamp authority that is asked over HTTP (RFC 3161, section 3.4).
public struct TimestampClient: Sendable {
    /// Where requests are sent to, such as `https://timestamp.sigstore.dev/api/v1/timestamp`.
    public let url: HTTPURL
    private let http: any HTTPClient
    private let timeout: Duration

    /// Makes a client.
    /// - Parameters:
    ///   - url: Where requests are sent to; not a base URL.
    ///   - http: Carries the requests; its TLS options hold the client certificate, if the authority wants one.
    ///   - timeout: How long one attempt may take.
    public init(url: HTTPURL, http: any HTTPClient, timeout: Duration = .seconds(20)) {
        self.url = url
        self.http = http
        self.timeout = timeout
    }

    /// Has a signature timestamped.
    /// - Parameter signature: The bytes of the signature; only their SHA-256 is sent.
    /// - Returns: The authority's answer, a DER `TimeStampResp` as it stands in a bundle. It is over these bytes and
    ///   answers this request; whether the authority is to be trusted is the verifier's to say.
    /// - Throws: `SigstoreError` that names the authority: `timestamp-refused`, `malformed-timestamp`,
    ///   `timestamp-mismatch`, or what the transport throws.
    public func timestamp(over signature: [UInt8]) async throws(SigstoreError) -> [UInt8] {
        do throws(SigstoreError) {
            let request = try TimestampRequest(try Digest.sha256(signature))
            // Asking twice does no harm: a timestamp is not kept anywhere.
            let response = try await http.send(
                HTTPRequest(
                    "POST", url,
                    headers: [
                        (name: "Content-Type", value: "application/timestamp-query"),
                        (name: "Accept", value: "application/timestamp-reply"),
                    ], body: .bytes(request.der), bodyLimit: Int64(TimestampToken.sizeLimit), timeout: timeout,
                    handledStatuses: [400, 404, 405, 415, 422], isIdempotent: true))
            guard response.status == 200 || response.status == 201 else {
                throw SigstoreError(
                    .timestampRefused,
                    "no timestamp was made: the answer to POST \(url.redacted) is \(response.status)"
                        + ServiceMessage.suffix(response),
                    advice: "check that the URL is the one that timestamp requests are sent to",
                    cause: HTTPStatusError(response: response))
            }
            _ = try request.token(in: response.body)
            return response.body
        } catch {
            throw error.concerning(
                "timestamp authority \(url.origin.authority)",
                otherwise: .both("nothing was recorded", .remedy(.checkTimestampAuthority)))
        }
    }
}

extension SigstoreError.Remedy {
    /// What answers is no timestamp authority, or none that can be used.
    public static let checkTimestampAuthority = Self("check-the-url-of-the-timestamp-authority")
}
