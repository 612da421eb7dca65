public import InToto
public import SigstoreCrypto
public import StrictJSON

/// A signature together with everything that is needed to verify it offline (Sigstore protobuf-specs,
/// `sigstore_bundle.proto`; client specification, section 5).
///
/// Every older form of cosign's becomes a bundle first, so there is one verifier and not one for each form. Nothing in
/// a bundle is trusted before ``Verifier`` has verified it.
public struct SigstoreBundle: Sendable {
    /// How many log entries, and how many timestamps, a bundle may hold; more are refused before any is read.
    public static let limit = 32
    /// The largest bundle that is read, in bytes: 128 MiB.
    public static let sizeLimit = 128 << 20
    /// How many JSON values a bundle of any form may consist of; the fullest one has a few thousand.
    public static let valueLimit = 1 << 16

    /// The version of a bundle's layout.
    public enum Version: Sendable, Hashable {
        /// Log entries need an inclusion promise.
        case v01
        /// Log entries need an inclusion proof with its checkpoint.
        case v02
        /// As 0.2, with a single certificate in place of a chain.
        case v03

        /// The media type that is written for this version.
        public var mediaType: String {
            switch self {
            case .v01: "application/vnd.dev.sigstore.bundle+json;version=0.1"
            case .v02: "application/vnd.dev.sigstore.bundle+json;version=0.2"
            case .v03: "application/vnd.dev.sigstore.bundle.v0.3+json"
            }
        }

        /// The version that a media type names, in either spelling of 0.3; `nil` for any other media type.
        public init?(mediaType: String) {
            for (version, name) in [
                (Version.v01, Version.v01.mediaType), (.v02, Version.v02.mediaType), (.v03, Version.v03.mediaType),
                (.v03, "application/vnd.dev.sigstore.bundle+json;version=0.3"),
            ] where mediaType.utf8.elementsEqual(name.utf8) {
                self = version
                return
            }
            return nil
        }
    }

    /// What the bundle says about the signer's key.
    public enum KeyMaterial: Sendable {
        /// A key that the verifier has already; the hint names it, and may be empty.
        case publicKey(hint: String)
        /// Certificates in DER, the signer's first.
        case certificates([[UInt8]])
    }

    /// A signature over a file.
    public struct MessageSignature: Sendable {
        /// The digest of the file as the bundle claims it; absent for pure Ed25519 and for bare signatures.
        public var digest: Digest?
        /// The signature's bytes.
        public var signature: [UInt8]
        /// Whether the bundle has a place for the digest: an empty one there says that the signature is over none.
        private(set) var isDigestStated = false

        /// Makes a signature over a file.
        /// - Parameters:
        ///   - digest: The file's digest; `nil` for pure Ed25519 and for bare signatures.
        ///   - signature: DER for ECDSA, the bare bytes otherwise.
        public init(digest: Digest?, signature: [UInt8]) {
            self.digest = digest
            self.signature = signature
        }
    }

    /// What was signed.
    public enum Content: Sendable {
        /// A file, of which only the digest stands in the bundle.
        case messageSignature(MessageSignature)
        /// An attestation, which the bundle holds whole.
        case dsse(DSSEEnvelope)
    }

    /// The version of the layout.
    public var version: Version
    /// What the bundle says about the signer's key.
    public var keyMaterial: KeyMaterial
    /// What was signed, and the signature.
    public var content: Content
    /// The signature's entries in transparency logs.
    public var logEntries: [TransparencyLogEntry]
    /// Signed timestamps over the signature, each a DER `TimeStampResp` (RFC 3161).
    public var timestamps: [[UInt8]]
    /// The envelope as it was written, if cosign 2 had that timestamped in place of the signature within it.
    private(set) var timestampedEnvelope: [UInt8]?
    /// Where the bundle stood in a file with several, such as `line 3`: it is named in errors, and part of no bundle.
    public var place: String?
    /// The statement that was read last, and the payload that it was read from.
    private var lastRead: (payload: [UInt8], statement: Statement)?

    /// Makes a bundle from its parts.
    /// - Parameters:
    ///   - keyMaterial: The hint of a key, or certificates in DER.
    ///   - content: The signature and what it is over.
    ///   - logEntries: The signature's entries in transparency logs.
    ///   - timestamps: DER `TimeStampResp`s over the signature.
    ///   - version: The version of the layout; new bundles are 0.3.
    public init(
        keyMaterial: KeyMaterial, content: Content, logEntries: [TransparencyLogEntry] = [],
        timestamps: [[UInt8]] = [], version: Version = .v03
    ) {
        self.init(keyMaterial, content, logEntries, timestamps, version, timestampedEnvelope: nil)
    }

    init(
        _ keyMaterial: KeyMaterial, _ content: Content, _ logEntries: [TransparencyLogEntry], _ timestamps: [[UInt8]],
        _ version: Version, timestampedEnvelope: [UInt8]?
    ) {
        self.version = version
        self.keyMaterial = keyMaterial
        self.content = content
        self.logEntries = logEntries
        self.timestamps = timestamps
        self.timestampedEnvelope = timestampedEnvelope
    }

    /// Whether the timestamps are over the envelope as it is written, as in cosign's older scheme, and not over the
    /// signature within it.
    public var isEnvelopeTimestamped: Bool { timestampedEnvelope != nil }

    /// The same bundle of an attestation, with timestamps over its envelope as cosign's older scheme writes it.
    public func withEnvelopeTimestamped() -> SigstoreBundle {
        guard case .dsse(let envelope) = content else { return self }
        var bundle = self
        bundle.timestampedEnvelope = envelope.json(includingEmptyKeyID: true).serialized()
        return bundle
    }

    /// The bytes that timestamps are over.
    public func timestampedBytes() throws(SigstoreError) -> [UInt8] {
        if let timestampedEnvelope { return timestampedEnvelope }
        return try signature()
    }

    /// What an attestation says; `nil` for a signature over a file. It is read from the payload, unless ``readStatement()``
    /// has read that very payload before.
    /// - Throws: `SigstoreError` if the payload is no in-toto statement.
    public func statement() throws(SigstoreError) -> Statement? {
        guard case .dsse(let envelope) = content else { return nil }
        if let lastRead, lastRead.payload == envelope.payload { return lastRead.statement }
        return try Statement(parsing: envelope.payload)
    }

    /// Reads what an attestation says and keeps it, so that verifying this bundle does not read it a second time.
    /// - Returns: The statement; `nil` for a signature over a file.
    /// - Throws: `SigstoreError` if the payload is no in-toto statement.
    @discardableResult
    public mutating func readStatement() throws(SigstoreError) -> Statement? {
        guard case .dsse(let envelope) = content, let statement = try statement() else { return nil }
        lastRead = (payload: envelope.payload, statement: statement)
        return statement
    }

    /// The bytes of the one signature, which timestamps and log entries are about.
    /// - Throws: `SigstoreError` with `malformed-bundle` if an envelope does not hold exactly one signature, or the
    ///   signature is empty.
    public func signature() throws(SigstoreError) -> [UInt8] {
        let signature: [UInt8]
        switch content {
        case .messageSignature(let message): signature = message.signature
        case .dsse(let envelope):
            guard envelope.signatures.count == 1, let only = envelope.signatures.first else {
                throw SigstoreError(
                    .malformedBundle,
                    "the envelope holds \(envelope.signatures.count) signatures where exactly one is expected")
            }
            signature = only.signature
        }
        guard !signature.isEmpty else { throw SigstoreError(.malformedBundle, "the signature is empty") }
        return signature
    }

    /// Checks what the version demands of the parts (protobuf-specs, comments of `Bundle` and
    /// `VerificationMaterial`): counts, promises for 0.1, proofs with checkpoints after it, one certificate in 0.3.
    /// - Throws: `SigstoreError` with `malformed-bundle` or `too-many-entries`.
    public func validate() throws(SigstoreError) {
        try Self.bound(logEntries.count, "log entries")
        try Self.bound(timestamps.count, "timestamps")
        if case .certificates(let chain) = keyMaterial {
            guard !chain.isEmpty else { throw SigstoreError(.malformedBundle, "the certificate chain is empty") }
            guard version != .v03 || chain.count == 1 else {
                throw SigstoreError(
                    .malformedBundle, "a bundle of version 0.3 holds one certificate, this one \(chain.count)")
            }
            guard chain.count <= 10 else {
                throw SigstoreError(.malformedBundle, "the chain has \(chain.count) certificates, more than 10")
            }
        }
        for entry in logEntries {
            switch version {
            case .v01:
                guard entry.promise != nil else {
                    throw SigstoreError(
                        .malformedBundle, "a log entry in a bundle of version 0.1 has no inclusion promise")
                }
            case .v02, .v03:
                guard let proof = entry.proof else {
                    throw SigstoreError(.malformedBundle, "a log entry has no inclusion proof")
                }
                guard proof.checkpoint != nil else {
                    throw SigstoreError(.malformedBundle, "the inclusion proof of a log entry has no checkpoint")
                }
            }
        }
        _ = try signature()
    }

    private static func bound(_ count: Int, _ what: String) throws(SigstoreError) {
        guard count <= limit else {
            throw SigstoreError(.tooManyEntries, "the bundle holds \(count) \(what), more than \(limit)")
        }
    }
}

// MARK: - Reading

extension SigstoreBundle {
    /// Reads a bundle strictly: a known media type, no unknown or duplicate member, one content, one kind of key
    /// material, and what the version demands.
    /// - Parameter json: The bundle as JSON in UTF-8, at most ``sizeLimit`` bytes.
    /// - Throws: `SigstoreError` naming the member that is wrong.
    public init(parsing json: [UInt8]) throws(SigstoreError) {
        guard json.count <= Self.sizeLimit else {
            throw SigstoreError(.malformedBundle, "the bundle is larger than 128 MiB")
        }
        try self.init(JSONCursor(try JSONValue(parsing: json, values: Self.valueLimit)))
    }

    /// Reads a bundle from JSON that was parsed already, as strictly.
    /// - Parameter top: The bundle; at most ``valueLimit`` values.
    /// - Throws: `SigstoreError` naming the member that is wrong.
    public init(_ top: JSONCursor) throws(SigstoreError) {
        // The media type comes first: of another kind of file nothing else is worth saying.
        guard let mediaType = try top.optional("mediaType")?.string() else {
            throw SigstoreError(
                .notABundle, "not a Sigstore bundle: there is no \"mediaType\"",
                advice: .remedy(.giveBundle))
        }
        guard let version = Version(mediaType: mediaType) else {
            throw SigstoreError(
                .unknownBundleVersion, "the media type \"\(mediaType)\" is not that of a bundle of version 0.1 to 0.3")
        }
        try top.expectOnly(["mediaType", "verificationMaterial", "messageSignature", "dsseEnvelope"])

        let material = try top.member("verificationMaterial")
        try material.expectOnly([
            "publicKey", "certificate", "x509CertificateChain", "tlogEntries", "timestampVerificationData",
        ])
        let entries = try material.optional("tlogEntries")?.elements() ?? []
        try Self.bound(entries.count, "log entries")
        let timestampData = try material.optional("timestampVerificationData")
        try timestampData?.expectOnly(["rfc3161Timestamps"])
        let timestamps = try timestampData?.optional("rfc3161Timestamps")?.elements() ?? []
        try Self.bound(timestamps.count, "timestamps")

        self.version = version
        keyMaterial = try Self.keyMaterial(of: material, version)
        logEntries = []
        for entry in entries { logEntries.append(try TransparencyLogEntry(entry)) }
        self.timestamps = []
        for timestamp in timestamps {
            try timestamp.expectOnly(["signedTimestamp"])
            self.timestamps.append(try timestamp.member("signedTimestamp").bytes())
        }
        switch (try top.optional("messageSignature"), try top.optional("dsseEnvelope")) {
        case (let message?, nil): content = .messageSignature(try MessageSignature(message))
        case (nil, let envelope?): content = .dsse(try DSSEEnvelope(envelope))
        case (nil, nil):
            throw SigstoreError(.malformedBundle, "the bundle holds no signature: no messageSignature, no dsseEnvelope")
        case (_?, _?):
            throw SigstoreError(.malformedBundle, "the bundle holds both a messageSignature and a dsseEnvelope")
        }
        try validate()
    }

    private static func keyMaterial(of material: JSONCursor, _ version: Version) throws(SigstoreError) -> KeyMaterial {
        var found: [KeyMaterial] = []
        if let key = try material.optional("publicKey") {
            try key.expectOnly(["hint"])
            found.append(.publicKey(hint: try key.optional("hint")?.string() ?? ""))
        }
        if let certificate = try material.optional("certificate") {
            try certificate.expectOnly(["rawBytes"])
            found.append(.certificates([try certificate.member("rawBytes").bytes()]))
        }
        if let chain = try material.optional("x509CertificateChain") {
            guard version != .v03 else { throw chain.fault("does not belong into a bundle of version 0.3") }
            try chain.expectOnly(["certificates"])
            let list = try chain.member("certificates").elements()
            guard (1...10).contains(list.count) else {
                throw chain.fault("holds \(list.count) certificates, not 1 to 10")
            }
            var certificates: [[UInt8]] = []
            for certificate in list {
                try certificate.expectOnly(["rawBytes"])
                certificates.append(try certificate.member("rawBytes").bytes())
            }
            found.append(.certificates(certificates))
        }
        guard found.count == 1, let only = found.first else {
            throw SigstoreError(
                .malformedBundle,
                found.isEmpty
                    ? "the bundle has neither a certificate nor a public key's hint"
                    : "the bundle has more than one of certificate, certificate chain and public key")
        }
        return only
    }
}

extension SigstoreBundle.MessageSignature {
    private static let hashNames: [(name: String, algorithm: HashAlgorithm)] = [
        ("SHA2_256", .sha256), ("SHA2_384", .sha384), ("SHA2_512", .sha512),
    ]

    /// The name that protobuf-specs gives to a hash function (`HashAlgorithm`).
    static func name(of algorithm: HashAlgorithm) -> String {
        switch algorithm {
        case .sha256: "SHA2_256"
        case .sha384: "SHA2_384"
        case .sha512: "SHA2_512"
        }
    }

    /// The hash function of that name in protobuf-specs.
    static func algorithm(named cursor: JSONCursor) throws(SigstoreError) -> HashAlgorithm {
        let name = try cursor.string()
        guard let known = hashNames.first(where: { $0.name.utf8.elementsEqual(name.utf8) }) else {
            throw cursor.fault("is \"\(name)\", not one of SHA2_256, SHA2_384 and SHA2_512")
        }
        return known.algorithm
    }

    init(_ json: JSONCursor) throws(SigstoreError) {
        try json.expectOnly(["messageDigest", "signature"])
        signature = try json.member("signature").bytes()
        digest = nil
        isDigestStated = true
        let named = try json.member("messageDigest")
        try named.expectOnly(["algorithm", "digest"])
        switch (try named.optional("algorithm"), try named.optional("digest")) {
        case (nil, nil): break
        case (let algorithm?, let bytes?):
            digest = try Digest(try Self.algorithm(named: algorithm), bytes: try bytes.bytes())
        default: throw named.fault("has only one of \"algorithm\" and \"digest\"")
        }
    }

    var json: JSONValue {
        var named: JSONObject = [:]
        if let digest {
            named["algorithm"] = .string(Self.name(of: digest.algorithm))
            named["digest"] = .bytes(digest.bytes)
        }
        return .object(["messageDigest": .object(named), "signature": .bytes(signature)])
    }
}

// MARK: - Writing

extension SigstoreBundle {
    /// The bundle as JSON, in the members and order that cosign 3 writes; protobuf's default values are left out.
    public func serialized() -> [UInt8] { json.serialized() }

    /// The bundle as JSON.
    public var json: JSONValue {
        var material: JSONObject = [:]
        switch (keyMaterial, version) {
        case (.publicKey(let hint), _):
            material["publicKey"] = .object(hint.isEmpty ? [:] : ["hint": .string(hint)])
        case (.certificates(let chain), .v03):
            material["certificate"] = .object(["rawBytes": .bytes(chain.first ?? [])])
        case (.certificates(let chain), .v01), (.certificates(let chain), .v02):
            material["x509CertificateChain"] = .object([
                "certificates": .array(chain.map { .object(["rawBytes": .bytes($0)]) })
            ])
        }
        if !logEntries.isEmpty { material["tlogEntries"] = .array(logEntries.map(\.json)) }
        if !timestamps.isEmpty {
            material["timestampVerificationData"] = .object([
                "rfc3161Timestamps": .array(timestamps.map { .object(["signedTimestamp": .bytes($0)]) })
            ])
        }
        var bundle: JSONObject = ["mediaType": .string(version.mediaType), "verificationMaterial": .object(material)]
        switch content {
        case .messageSignature(let message): bundle["messageSignature"] = message.json
        case .dsse(let envelope): bundle["dsseEnvelope"] = Self.json(envelope)
        }
        return .object(bundle)
    }

    /// An envelope in protobuf's order of members, which is not that of envelopes in files of their own.
    private static func json(_ envelope: DSSEEnvelope) -> JSONValue {
        .object([
            "payload": .bytes(envelope.payload), "payloadType": .string(envelope.payloadType),
            "signatures": .array(
                envelope.signatures.map {
                    var signature: JSONObject = ["sig": .bytes($0.signature)]
                    if !$0.keyID.isEmpty { signature["keyid"] = .string($0.keyID) }
                    return .object(signature)
                }),
        ])
    }
}

extension SigstoreError.Code {
    /// JSON that is not a bundle at all.
    public static let notABundle = Self("not-a-bundle")
    /// A bundle's media type that is not known.
    public static let unknownBundleVersion = Self("unknown-bundle-version")
    /// A bundle whose parts do not fit together or do not fit its version.
    public static let malformedBundle = Self("malformed-bundle")
    /// More log entries or timestamps than a bundle may hold.
    public static let tooManyEntries = Self("too-many-entries")
}

extension SigstoreError.Remedy {
    /// The file is no bundle: the one that was written at signing is needed.
    public static let giveBundle = Self("give-the-bundle")
}
