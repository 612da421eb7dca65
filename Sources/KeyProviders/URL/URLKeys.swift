internal import HTTPTransport
public import SigstoreCrypto
public import StrictJSON

/// Public keys at a URL: `https://…`, and `http://…` on this machine.
///
/// What a URL gives says who is believed, so TLS is demanded of other machines.
public final class URLKeys: KeyPlace {
    private let around: KeySurroundings
    private let found = Once<String, PublicKey>()

    /// Nothing is opened or asked yet.
    public init(_ around: KeySurroundings) { self.around = around }

    public func shown(_ reference: String) -> String {
        let shown = HTTPURL.withoutUser(reference)
        // A query can hold a secret too, such as a signature that opens a storage account.
        guard let mark = shown.utf8.firstIndex(of: 0x3f) else { return shown }
        return "\(shown[...mark])…"
    }

    private static let schemes = [
        ReferenceScheme("https", form: "https://HOST/PATH"), ReferenceScheme("http", form: "https://HOST/PATH"),
    ]

    public func knows(_ reference: String) -> Bool { Self.schemes.contains { $0.isMeant(by: reference) } }

    public func check(_ reference: String) throws(SigstoreError) { _ = try url(reference) }

    private func url(_ reference: String) throws(SigstoreError) -> HTTPURL {
        if let scheme = Self.schemes.first(where: { $0.isMeant(by: reference) }),
            !reference.utf8.starts(with: "\(scheme.name)://".utf8)
        {
            throw scheme.malformed(shown(reference), "it does not begin with \(scheme.name)://")
        }
        let url = try HTTPURL(parsing: reference)
        let shown = HTTPURL.withoutUser(reference)
        guard shown.utf8.elementsEqual(reference.utf8) else {
            throw SigstoreError(
                .unknownKeyReference, "\(shown): what stands before the @ may be a password, and none is sent to a URL",
                advice: "leave it out; if the @ is in the path, behind a port, write it as %40")
        }
        guard url.origin.scheme == .https || url.origin.isLoopback || around.allowsHTTPKeys else {
            throw SigstoreError(
                .keyServiceSettings, "\(url.redacted): a key that comes over plain HTTP can be replaced on its way",
                advice: .both("fetch it over https", .remedy(.allowHTTPKeys)))
        }
        return url
    }

    public func publicKey(_ reference: String) async throws(SigstoreError) -> PublicKey {
        let (url, around) = (try url(reference), around)
        return try await found.value(reference) { () async throws(SigstoreError) in
            var request = HTTPRequest("GET", url, bodyLimit: 1 << 16, timeout: .seconds(30), handledStatuses: [404])
            // Where plain HTTP leads to, nobody vouches for.
            request.refusesRedirects = url.origin.scheme == .http
            if url.origin.scheme == .http, !url.origin.isLoopback {
                around.warning("\(url.redacted): the key comes over plain HTTP, and can be replaced on its way")
            }
            let response = try await around.client(TLSOptions()).send(request)
            guard response.status != 404 else {
                throw SigstoreError(
                    .keyNotFound, "there is no key at \(url.redacted): the answer is 404", advice: "check the address")
            }
            do throws(SigstoreError) { return try PublicKey(file: response.body) } catch {
                throw error.concerning(url.redacted)
            }
        }
    }

    public func facts(_ reference: String) async throws(SigstoreError) -> [KeyFact] {
        let (url, key) = (try url(reference), try await publicKey(reference))
        return [
            KeyFact("service", "web server, \(url.origin)"), KeyFact("key", shown(reference)),
            KeyFact("holds", "a public key"), KeyFact("algorithm", "\(key.kind)"),
            KeyFact("signs as", "\(key.defaultScheme)"), KeyFact("credentials", "none"),
        ]
    }

    public func signer(_ reference: String, password: @escaping PasswordSource) async throws(SigstoreError)
        -> any Signer
    {
        throw SigstoreError(
            .unsupportedKey,
            "\(try url(reference).redacted): a URL holds public keys only, and signing needs a private one",
            advice: .remedy(.givePrivateKeyElsewhere))
    }
}

extension SigstoreError.Remedy {
    /// The key would come over plain HTTP.
    public static let allowHTTPKeys = Self("allow-keys-over-plain-http")
    /// The reference is to a public key, and a private one is needed.
    public static let givePrivateKeyElsewhere = Self("give-a-private-key")
}
