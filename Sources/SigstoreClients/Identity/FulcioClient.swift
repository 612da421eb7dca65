public import HTTPTransport
public import SigstoreCrypto
public import StrictJSON

/// A certificate that Fulcio issued for a key and an identity, not verified yet.
public struct IssuedCertificate: Sendable {
    /// The certificate for the key.
    public let leaf: Certificate
    /// The certificates above it, as Fulcio sent them; whom to believe says the trusted root.
    public let authorities: [Certificate]
    /// The signed certificate timestamp, if it does not stand in the certificate: the JSON of RFC 6962's `add-chain`.
    public let detachedTimestamp: [UInt8]?
    /// The signature that proved to Fulcio that the key is ours.
    public let proofOfPossession: [UInt8]
}

/// Fulcio, which issues certificates for identities (its API v2, `fulcio.proto`).
public struct FulcioClient: Sendable {
    /// The base URL.
    public let url: HTTPURL
    private let http: any HTTPClient
    private let timeout: Duration

    /// Makes a client.
    /// - Parameters:
    ///   - url: The base URL.
    ///   - http: Who carries the requests.
    ///   - timeout: How long one attempt may take. If its certificate log is down, Fulcio itself waits without end.
    public init(url: HTTPURL, http: any HTTPClient, timeout: Duration = .seconds(30)) {
        self.url = url
        self.http = http
        self.timeout = timeout
    }

    /// Obtains a certificate for a key.
    /// - Parameters:
    ///   - signer: The key; it signs the proof of possession over ``IdentityToken/challenge``.
    ///   - token: The identity token, examined before with ``IdentityToken/check(audience:now:)``.
    /// - Throws: `SigstoreError` that names the instance: `identity-token-refused`, `certificate-refused`,
    ///   `unexpected-answer`, or what the transport throws.
    public func certificate(for signer: any Signer, token: IdentityToken) async throws(SigstoreError)
        -> IssuedCertificate
    {
        do throws(SigstoreError) {
            let key = signer.publicKey
            let scheme = key.defaultScheme
            let proof = try await signer.sign(
                HashedMessage.of(
                    Array(token.challenge.utf8), schemes: [scheme], keepingBytes: signer.takesWholeMessages),
                scheme: scheme)
            let algorithm =
                switch key.kind {
                case .ecP256, .ecP384, .ecP521: "ECDSA"
                case .rsa: "RSA_PSS"
                case .ed25519: "ED25519"
                }
            let body = JSONValue.object([
                "publicKeyRequest": .object([
                    "publicKey": .object(["algorithm": .string(algorithm), "content": .string(key.pem)]),
                    "proofOfPossession": .bytes(proof),
                ])
            ])
            // A second certificate does no harm: it is for the same identity, and the first one's key never signs.
            let response = try await http.send(
                HTTPRequest(
                    "POST", try url.appending("/api/v2/signingCert"),
                    headers: [
                        (name: "Content-Type", value: "application/json"), (name: "Accept", value: "application/json"),
                    ], authorization: token.authorization, body: .bytes(body.serialized()), bodyLimit: 1 << 20,
                    timeout: timeout, handledStatuses: [400, 401, 403, 404, 405, 501], isIdempotent: true))
            guard response.status == 200 || response.status == 201 else { throw Self.refusal(response, token) }
            return try Self.read(response.body, key, proof)
        } catch {
            throw error.concerning(
                "Fulcio at \(url.origin.authority)",
                otherwise: .both("nothing was signed", .remedy(.checkFulcio)))
        }
    }

    /// The error that an answer other than a certificate is.
    private static func refusal(_ response: HTTPResponse, _ token: IdentityToken) -> SigstoreError {
        let words = ServiceMessage(response.body)?.text ?? ""
        let cause = HTTPStatusError(response: response)
        switch response.status {
        case 400 where words.utf8.elementsEqual("There was an error processing the identity token".utf8), 401, 403:
            return SigstoreError(
                .tokenRefused,
                "the identity token is refused, although it looks sound: it was issued by \(token.issuer) for "
                    + "\(token.audiences.joined(separator: ", ")) to \(token.identity)",
                advice: .sentence(
                    "check that this instance accepts the issuer \(token.issuer) and that audience, that the token is from "
                        + "the same instance, and that Fulcio itself can reach the issuer, whose keys it fetches there"),
                cause: cause)
        case 400:
            return SigstoreError(
                .certificateRefused, "no certificate was issued: \(words.isEmpty ? response.words : words)",
                advice: words.utf8.elementsEqual("The signature supplied in the request could not be verified".utf8)
                    ? "the instance expects a proof over another claim of the token than \(token.challenge)"
                    : "nothing was signed; check that this instance issues certificates for \(token.identity)",
                cause: cause)
        default:
            return SigstoreError(
                .certificateRefused,
                "there is no Fulcio API v2: the answer to POST \(response.url.redacted) is \(response.status)"
                    + ServiceMessage.suffix(response),
                advice: .remedy(.checkFulcio), cause: cause)
        }
    }

    private static func read(_ body: [UInt8], _ key: PublicKey, _ proof: [UInt8]) throws(SigstoreError)
        -> IssuedCertificate
    {
        let chain: [Certificate]
        var detached: [UInt8]?
        do throws(SigstoreError) {
            let answer = JSONCursor(try JSONValue(parsing: body, depth: 16))
            let issued: JSONCursor
            switch (
                try answer.optional("signedCertificateEmbeddedSct"), try answer.optional("signedCertificateDetachedSct")
            ) {
            case (let embedded?, nil): issued = embedded
            case (nil, let other?):
                issued = other
                detached = try other.optional("signedCertificateTimestamp")?.bytes()
            default: throw answer.fault("does not hold one certificate")
            }
            let list = try issued.member("chain").member("certificates")
            let elements = try list.elements()
            guard (1...10).contains(elements.count) else {
                throw list.fault("holds \(elements.count) certificates, not 1 to 10")
            }
            var certificates: [Certificate] = []
            for element in elements {
                let found = try Certificate.chain(pem: Array(try element.string().utf8))
                guard found.count == 1 else { throw element.fault("is not one certificate") }
                certificates += found
            }
            chain = certificates
        } catch {
            throw SigstoreError(
                .unexpectedAnswer, "the answer is not a certificate: \(error.message)",
                advice: .remedy(.checkFulcio), cause: error)
        }
        guard let leaf = chain.first, leaf.publicKey.isSame(as: key) else {
            throw SigstoreError(.unexpectedAnswer, "the certificate is for another key than the one that was sent")
        }
        return IssuedCertificate(
            leaf: leaf, authorities: Array(chain.dropFirst()), detachedTimestamp: detached, proofOfPossession: proof)
    }
}

extension SigstoreError {
    /// The error with the service that it is about in front.
    /// - Parameter advice: What to do, if the error does not say it.
    func concerning(_ service: String, otherwise advice: Advice) -> SigstoreError {
        var error = concerning(service)
        error.advice = error.advice ?? advice
        return error
    }
}

/// What a service says when it refuses: `{"code":…,"message":"…"}`.
struct ServiceMessage {
    let text: String

    init?(_ body: [UInt8]) {
        guard let value = try? JSONValue(parsing: body, depth: 16),
            let text = try? JSONCursor(value).optional("message")?.string()
        else { return nil }
        self.text = String(decoding: text.utf8.prefix(512), as: UTF8.self)
    }

    /// The service's words as the end of a sentence; nothing if it says nothing.
    static func suffix(_ response: HTTPResponse) -> String {
        let words = ServiceMessage(response.body)?.text ?? response.words
        return words.isEmpty ? "" : ": \(words)"
    }
}

extension HTTPURL {
    /// The URL of something under this one.
    /// - Parameter path: Begins with `/`.
    func appending(_ path: String) throws(SigstoreError) -> HTTPURL {
        var base = Substring(self.path)
        while base.utf8.last == 0x2f { base.removeLast() }
        return try HTTPURL(origin, path: base + path)
    }
}

extension SigstoreError.Code {
    /// Fulcio does not accept an identity token.
    public static let tokenRefused = Self("identity-token-refused")
    /// Fulcio issues no certificate.
    public static let certificateRefused = Self("certificate-refused")
    /// A service's answer is not what its API says.
    public static let unexpectedAnswer = Self("unexpected-answer")
}

extension SigstoreError.Remedy {
    /// What answers is no Fulcio, or none that can be used.
    public static let checkFulcio = Self("check-the-url-of-fulcio")
}
