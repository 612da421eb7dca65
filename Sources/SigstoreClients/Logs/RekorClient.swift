public import HTTPTransport
public import InToto
public import SigstoreCrypto
public import SigstoreVerification
public import StrictJSON

/// A signature that is to be recorded in a transparency log.
public struct ProposedLogEntry: Sendable {
    /// What the signature is over.
    public enum Content: Sendable {
        /// A file, by its digest under the scheme's hash function.
        case message(Digest)
        /// An attestation, whole; its one signature is the one that is recorded.
        case envelope(DSSEEnvelope)
    }

    /// What the signature is over.
    public let content: Content
    /// The signature's bytes.
    public let signature: [UInt8]
    /// How it was made.
    public let scheme: SignatureScheme
    /// The key that verifies it.
    public let key: PublicKey
    /// The certificate for that key, if there is one; it is recorded in place of the key.
    public let certificate: Certificate?

    /// Makes an entry; what is recorded of each part, the log's API says.
    public init(
        content: Content, signature: [UInt8], scheme: SignatureScheme, key: PublicKey, certificate: Certificate?
    ) {
        self.content = content
        self.signature = signature
        self.scheme = scheme
        self.key = key
        self.certificate = certificate
    }
}

/// A transparency log that signatures are recorded in: Rekor v1 (`openapi.yaml`) or v2 (`rekor_service.proto`).
///
/// Requests go to the given URL only. Nothing that stands in an entry or an answer is ever fetched.
public struct RekorClient: Sendable {
    /// The API that a log speaks.
    public enum Version: Int64, Sendable, CaseIterable {
        case v1 = 1
        case v2 = 2
    }

    /// The base URL.
    public let url: HTTPURL
    /// The API that the log speaks.
    public let version: Version
    let http: any HTTPClient
    let timeout: Duration

    /// Makes a client.
    /// - Parameters:
    ///   - url: The base URL.
    ///   - version: The API that the log speaks.
    ///   - http: Who carries the requests.
    ///   - timeout: How long one attempt may take. Logs answer when the entry is in the tree, which can take seconds.
    public init(url: HTTPURL, version: Version, http: any HTTPClient, timeout: Duration = .seconds(45)) {
        self.url = url
        self.version = version
        self.http = http
        self.timeout = timeout
    }

    /// Records a signature.
    ///
    /// If the log has the same entry already, that one is fetched and returned: there is never a second one.
    /// - Parameters:
    ///   - entry: The signature.
    ///   - trusted: The logs of the trusted root; with Rekor v2, an entry that is there already is only taken from the
    ///     log's tiles against a checkpoint that one of them signed.
    /// - Returns: The log's entry, which was compared with what was sent. Its proof and promise are the verifier's to
    ///   check.
    /// - Throws: `SigstoreError` that names the log: `log-entry-refused`, `log-entry-exists` if it cannot be fetched,
    ///   `unexpected-answer`, `log-entry-mismatch`, or what the transport throws.
    public func record(_ entry: ProposedLogEntry, trusted: [TrustedRoot.Log] = []) async throws(SigstoreError)
        -> TransparencyLogEntry
    {
        do throws(SigstoreError) {
            let recorded =
                switch version {
                case .v1: try await recordV1(entry)
                case .v2: try await recordV2(entry, trusted)
                }
            try Self.compare(recorded, with: entry, version)
            return recorded
        } catch {
            throw error.concerning(
                "transparency log \(url.origin.authority)",
                otherwise: .remedy(.checkLog))
        }
    }

    /// Refuses a signature that the log would not record, before it is made.
    /// - Parameters:
    ///   - scheme: How it is made.
    ///   - kind: The kind of key that makes it.
    ///   - inEnvelope: Whether it is over an envelope, which Rekor v1 takes whole, and not over a file.
    /// - Throws: `SigstoreError` with `log-entry-refused`, which names the log.
    public func expectRecordable(_ scheme: SignatureScheme, by kind: PublicKey.Kind, inEnvelope: Bool)
        throws(SigstoreError)
    {
        guard !Self.records(scheme, by: kind, inEnvelope: inEnvelope, version: version) else { return }
        let refusal =
            version == .v1 && inEnvelope
            ? SigstoreError(
                .entryRefused,
                "Rekor v1 records attestations that are signed over SHA-256 or with pure Ed25519, and this key signs "
                    + "with \(scheme)",
                advice: "use a log of Rekor v2, another key or another algorithm") : refusal(kind, scheme)
        throw refusal.concerning("transparency log \(url.origin.authority)")
    }

    /// Whether logs of a version record signatures that are made so.
    /// - Parameters:
    ///   - scheme: How they are made.
    ///   - kind: The kind of key that makes them.
    ///   - inEnvelope: Whether they are over envelopes, and not over files.
    ///   - version: The API that the log speaks.
    public static func records(
        _ scheme: SignatureScheme, by kind: PublicKey.Kind, inEnvelope: Bool, version: Version
    ) -> Bool {
        version == .v1 && inEnvelope
            ? [.ecdsa(.sha256), .rsaPKCS1(.sha256), .ed25519].contains(scheme) : keyDetails(kind, scheme) != nil
    }

    func post(_ path: String, _ body: JSONValue) async throws(SigstoreError) -> HTTPResponse {
        let bytes = body.serialized()
        var failure: SigstoreError
        do throws(SigstoreError) {
            // A repeated request never makes a second entry: the log answers 409, which is dealt with.
            let response = try await http.send(
                HTTPRequest(
                    "POST", try url.appending(path),
                    headers: [
                        (name: "Content-Type", value: "application/json"), (name: "Accept", value: "application/json"),
                    ], body: .bytes(bytes), timeout: timeout,
                    handledStatuses: [400, 404, 405, 409, 413, 415, 422, 501], isIdempotent: true))
            let isTooLarge = response.status == 413 || response.status == 400 && response.words.contains("too large")
            guard isTooLarge else { return response }
            failure = refusal(response)
        } catch { failure = error }
        // What stands before a log often drops what is large without saying why.
        if bytes.count > Self.largeEntry,
            failure.code == .unreachable || failure.code == .entryRefused || (failure.httpStatus ?? 0) >= 500
        {
            failure.message +=
                "; the entry that was sent has \(bytes.count) bytes, which may be more than the log takes"
            failure.advice = .remedy(.makeSmallerEntry)
        }
        throw failure
    }

    /// From this size on, in bytes, an entry's size is worth naming if the log fails. nginx takes 1 MiB unless it is told
    /// otherwise.
    private static let largeEntry = 512 << 10

    private func refusal(_ response: HTTPResponse) -> SigstoreError {
        let isMissing = [404, 405, 501].contains(response.status)
        return SigstoreError(
            .entryRefused,
            isMissing
                ? "there is no Rekor API v\(version.rawValue): the answer to POST \(response.url.redacted) is \(response.status)"
                : "the entry is refused with status \(response.status)\(ServiceMessage.suffix(response))",
            advice: isMissing
                ? "check the URL of the log and the version of its API"
                : "nothing was recorded; the log's words say what it does not accept",
            cause: HTTPStatusError(response: response))
    }

    /// What came back is about the signature that was sent, in every part.
    private static func compare(_ found: TransparencyLogEntry, with sent: ProposedLogEntry, _ version: Version)
        throws(SigstoreError)
    {
        func mismatch(_ what: String) -> SigstoreError {
            SigstoreError(
                .logEntryMismatch, "the entry that the log returned has another \(what) than the one that was sent",
                advice: "do not trust this log; nothing was written")
        }
        let body = try LogEntryBody(parsing: found.body)
        let expected: (kind: String, version: String, subject: Digest)
        switch (sent.content, version) {
        case (.message(let digest), .v1): expected = ("hashedrekord", "0.0.1", digest)
        case (.message(let digest), .v2): expected = ("hashedrekord", "0.0.2", digest)
        case (.envelope(let envelope), .v1):
            expected = ("dsse", "0.0.1", try Digest.sha256(envelope.payload))
        case (.envelope(let envelope), .v2):
            expected = ("hashedrekord", "0.0.2", try encodingDigest(envelope, sent.scheme))
        }
        for (kind, kindVersion) in [(found.kind, found.kindVersion), (body.kind, body.kindVersion)] {
            guard kind.utf8.elementsEqual(expected.kind.utf8), kindVersion.utf8.elementsEqual(expected.version.utf8)
            else { throw mismatch("kind") }
        }
        switch body.subject {
        case .message(let digest), .payload(let digest):
            guard digest == expected.subject else { throw mismatch("digest") }
        case .envelope: throw mismatch("digest")
        }
        guard body.signatures.count == 1, let signature = body.signatures.first, signature.signature == sent.signature
        else { throw mismatch("signature") }
        switch (signature.verifier, sent.certificate) {
        case (.certificate(let der), let certificate?):
            guard der == certificate.der else { throw mismatch("certificate") }
        case (.publicKey(let spki), nil): guard spki == sent.key.spki else { throw mismatch("key") }
        default: throw mismatch("verifier")
        }
    }

    /// The digest of what an envelope's signature is over.
    private static func encodingDigest(_ envelope: DSSEEnvelope, _ scheme: SignatureScheme) throws(SigstoreError)
        -> Digest
    {
        try Digest.hash(envelope.preAuthenticationEncoding, scheme.hash ?? .sha256)
    }
}

// MARK: - Rekor v1

extension RekorClient {
    static let entriesV1 = "/api/v1/log/entries"

    /// An entry as it is proposed to Rekor v1.
    /// - Parameter written: An attestation's envelope in the bytes that the log is to see; by default as cosign writes it.
    static func proposalV1(_ entry: ProposedLogEntry, written: [UInt8]? = nil) -> JSONValue {
        let verifier = JSONValue.bytes(Array((entry.certificate?.pem ?? entry.key.pem).utf8))
        let kind: String
        let spec: JSONValue
        switch entry.content {
        case .message(let digest):
            kind = "hashedrekord"
            spec = .object([
                "data": .object([
                    "hash": .object(["algorithm": .string(digest.algorithm.rawValue), "value": .string(digest.hex)])
                ]),
                "signature": .object([
                    "content": .bytes(entry.signature), "publicKey": .object(["content": verifier]),
                ]),
            ])
        case .envelope(let envelope):
            kind = "dsse"
            let text = written ?? envelope.json(includingEmptyKeyID: true).serialized()
            spec = .object([
                "proposedContent": .object([
                    "envelope": .string(String(decoding: text, as: UTF8.self)), "verifiers": .array([verifier]),
                ])
            ])
        }
        return .object(["apiVersion": .string("0.0.1"), "kind": .string(kind), "spec": spec])
    }

    private func recordV1(_ entry: ProposedLogEntry) async throws(SigstoreError) -> TransparencyLogEntry {
        let response = try await post(Self.entriesV1, Self.proposalV1(entry))
        switch response.status {
        case 200, 201: return try Self.entryV1(response.body)
        case 409: return try await existingV1(response)
        default:
            var refused = refusal(response)
            if case .message = entry.content, entry.scheme == .ecdsa(.sha256), entry.key.kind != .ecP256 {
                refused.advice = .sentence(
                    "nothing was recorded; Rekor v1 takes files by such keys over the curve's own hash only, which bare "
                        + "signatures and the older form do not use: make a bundle, or use a P-256 key")
            }
            throw refused
        }
    }

    /// Fetches the entry that a 409 names. Only its number is taken from `Location`, never the host.
    private func existingV1(_ response: HTTPResponse) async throws(SigstoreError) -> TransparencyLogEntry {
        let name = response.header("location").flatMap { $0.utf8.split(separator: 0x2f).last }.map { Array($0) } ?? []
        let isUUID =
            [64, 80].contains(name.count)
            && name.allSatisfy { (0x30...0x39).contains($0) || (0x61...0x66).contains($0) }
        guard isUUID else {
            throw SigstoreError(
                .entryExists, "the log has the entry already, and does not say where\(ServiceMessage.suffix(response))",
                advice: .remedy(.searchLog), cause: HTTPStatusError(response: response))
        }
        let uuid = String(decoding: name, as: UTF8.self)
        do throws(SigstoreError) {
            let found = try await http.send(
                HTTPRequest(
                    "GET", try url.appending("\(Self.entriesV1)/\(uuid)"),
                    headers: [(name: "Accept", value: "application/json")], timeout: timeout))
            return try Self.entryV1(found.body)
        } catch { throw Self.unreadable("UUID \(uuid)", error) }
    }

    /// Reads `{"<uuid>": {…}}`, whose numbers and hashes are written in other ways than in a bundle.
    static func entryV1(_ body: [UInt8]) throws(SigstoreError) -> TransparencyLogEntry {
        try entryV1(
            answer("a log entry") { () throws(SigstoreError) in JSONCursor(try JSONValue(parsing: body, depth: 16)) })
    }

    /// Reads the same from JSON that was parsed already.
    /// - Parameter readsBody: Whether an entry that cannot be read is refused; otherwise its kind is left open.
    static func entryV1(_ answer: JSONCursor, readsBody: Bool = true) throws(SigstoreError) -> TransparencyLogEntry {
        try Self.answer("a log entry") { () throws(SigstoreError) in
            let names = try answer.names()
            guard names.count == 1, let name = names.first else {
                throw answer.fault("holds \(names.count) entries, not one")
            }
            let json = try answer.member(name)
            try json.expectOnly(["attestation", "body", "integratedTime", "logID", "logIndex", "verification"])
            let canonical = try json.member("body").bytes()
            let parsed = readsBody ? try LogEntryBody(parsing: canonical) : nil
            let verification = try json.member("verification")
            try verification.expectOnly(["inclusionProof", "signedEntryTimestamp"])
            return TransparencyLogEntry(
                logIndex: try count(json.member("logIndex")), logID: try hexadecimal(json.member("logID")),
                kind: parsed?.kind ?? "", kindVersion: parsed?.kindVersion ?? "",
                integratedTime: try count(json.member("integratedTime")),
                promise: try verification.optional("signedEntryTimestamp")?.bytes(),
                proof: try proofV1(verification.member("inclusionProof")), body: canonical)
        }
    }

    private static func proofV1(_ json: JSONCursor) throws(SigstoreError) -> TransparencyLogEntry.InclusionProof {
        try json.expectOnly(["checkpoint", "hashes", "logIndex", "rootHash", "treeSize"])
        let list = try json.member("hashes")
        let elements = try list.elements()
        guard elements.count <= 63 else { throw list.fault("holds more hashes than any tree needs") }
        var hashes: [[UInt8]] = []
        for element in elements { hashes.append(try hexadecimal(element)) }
        return TransparencyLogEntry.InclusionProof(
            logIndex: try count(json.member("logIndex")), rootHash: try hexadecimal(json.member("rootHash")),
            treeSize: try count(json.member("treeSize")), hashes: hashes,
            checkpoint: try json.member("checkpoint").string())
    }

    private static func count(_ json: JSONCursor) throws(SigstoreError) -> Int64 {
        let number = try json.integer()
        guard number >= 0 else { throw json.fault("is negative") }
        return number
    }

    private static func hexadecimal(_ json: JSONCursor) throws(SigstoreError) -> [UInt8] {
        guard let bytes = Hexadecimal.decode(try json.string()) else { throw json.fault("is not hexadecimal") }
        return bytes
    }
}

// MARK: - Rekor v2

extension RekorClient {
    private func recordV2(_ entry: ProposedLogEntry, _ trusted: [TrustedRoot.Log]) async throws(SigstoreError)
        -> TransparencyLogEntry
    {
        let digest: Digest =
            switch entry.content {
            case .message(let digest): digest
            case .envelope(let envelope): try Self.encodingDigest(envelope, entry.scheme)
            }
        var verifier: JSONObject =
            if let certificate = entry.certificate {
                ["x509Certificate": .object(["rawBytes": .bytes(certificate.der)])]
            } else {
                ["publicKey": .object(["rawBytes": .bytes(entry.key.spki)])]
            }
        guard let details = Self.keyDetails(entry.key.kind, entry.scheme) else {
            throw refusal(entry.key.kind, entry.scheme)
        }
        verifier["keyDetails"] = .string(details)
        let response = try await post(
            "/api/v2/log/entries",
            .object([
                "hashedRekordRequestV002": .object([
                    "digest": .bytes(digest.bytes),
                    "signature": .object(["content": .bytes(entry.signature), "verifier": .object(verifier)]),
                ])
            ]))
        switch response.status {
        case 200, 201:
            do throws(SigstoreError) {
                return try TransparencyLogEntry(JSONCursor(try JSONValue(parsing: response.body, depth: 16)))
            } catch {
                throw SigstoreError(
                    .unexpectedAnswer, "the answer is not a log entry: \(error.message)",
                    advice: "check the URL of the log and the version of its API", cause: error)
            }
        case 409: return try await existingV2(response, entry, trusted)
        default: throw refusal(response)
        }
    }

    /// protobuf-specs' name of a key together with how it signs (`PublicKeyDetails`); `nil` if it is none of those that both
    /// versions of Rekor record of a file, and v2 of an envelope.
    private static func keyDetails(_ kind: PublicKey.Kind, _ scheme: SignatureScheme) -> String? {
        switch (kind, scheme) {
        case (.ecP256, .ecdsa(.sha256)): return "PKIX_ECDSA_P256_SHA_256"
        case (.ecP384, .ecdsa(.sha384)): return "PKIX_ECDSA_P384_SHA_384"
        case (.ecP521, .ecdsa(.sha512)): return "PKIX_ECDSA_P521_SHA_512"
        case (.ed25519, .ed25519ph): return "PKIX_ED25519_PH"
        case (.rsa(2048), .rsaPKCS1(.sha256)): return "PKIX_RSA_PKCS1V15_2048_SHA256"
        case (.rsa(3072), .rsaPKCS1(.sha256)): return "PKIX_RSA_PKCS1V15_3072_SHA256"
        case (.rsa(4096), .rsaPKCS1(.sha256)): return "PKIX_RSA_PKCS1V15_4096_SHA256"
        default: return nil
        }
    }

    private func refusal(_ kind: PublicKey.Kind, _ scheme: SignatureScheme) -> SigstoreError {
        SigstoreError(
            .entryRefused, "Rekor \(version) does not record signatures of \(kind) keys by \(scheme)",
            advice: "use another key or another algorithm")
    }

    /// A 409 of Rekor v2 names the entry's index only. The entry and its proof are in the log's tiles.
    private func existingV2(_ response: HTTPResponse, _ entry: ProposedLogEntry, _ trusted: [TrustedRoot.Log])
        async throws(SigstoreError) -> TransparencyLogEntry
    {
        guard let text = response.header("x-log-index"), text.utf8.count <= 19,
            text.utf8.allSatisfy({ (0x30...0x39).contains($0) }), let index = Int64(text)
        else {
            throw SigstoreError(
                .entryExists, "the log has the entry already, and does not say where\(ServiceMessage.suffix(response))",
                advice: "nothing was recorded a second time; use the bundle that was made then",
                cause: HTTPStatusError(response: response))
        }
        do throws(SigstoreError) {
            return try await LogTiles(url: url, http: http, timeout: timeout).entry(
                at: index, kind: "hashedrekord", kindVersion: "0.0.2", trusted: trusted)
        } catch { throw Self.unreadable("index \(index)", error) }
    }

    private static func unreadable(_ name: String, _ error: SigstoreError) -> SigstoreError {
        SigstoreError(
            .entryExists, "the log has the entry already, with \(name), and it cannot be read back: \(error.message)",
            advice: "nothing was recorded a second time; use the bundle that was made then, or try again later",
            cause: error)
    }
}

extension SigstoreError.Code {
    /// A transparency log does not record a signature.
    public static let entryRefused = Self("log-entry-refused")
    /// A transparency log has an entry already, and it cannot be fetched.
    public static let entryExists = Self("log-entry-exists")
}

extension SigstoreError.Remedy {
    /// The log may not take an entry of that size.
    public static let makeSmallerEntry = Self("attest-something-smaller-or-use-no-log")
    /// What answers is no log, or none that can be used.
    public static let checkLog = Self("check-the-url-of-the-log")
    /// The log has the entry already, and does not say where.
    public static let searchLog = Self("look-for-it-in-the-log")
}
