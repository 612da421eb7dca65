public import SigstoreCrypto
public import StrictJSON

/// Whom to believe: certificate authorities, logs and timestamp authorities, each with the time in which it counts
/// (protobuf-specs, `sigstore_trustroot.proto`).
public struct TrustedRoot: Sendable {
    /// A log: of signatures (Rekor), or of certificates.
    public struct Log: Sendable {
        /// Where the log is. Its host name is the origin of Rekor v2's checkpoints; verifying fetches nothing from it.
        public var baseURL: String
        /// The log's key.
        public var publicKey: PublicKey
        /// The log's id: SHA-256 of the key's SubjectPublicKeyInfo, or for Rekor v2 the note key's hash.
        public var logID: [UInt8]
        /// When the key counts.
        public var validFor: ValidityWindow
        /// The line of its root in a file of several roots; `nil` if it belongs to all of them.
        fileprivate(set) var line: Int?

        /// Makes a log.
        public init(baseURL: String, publicKey: PublicKey, logID: [UInt8], validFor: ValidityWindow) {
            self.baseURL = baseURL
            self.publicKey = publicKey
            self.logID = logID
            self.validFor = validFor
        }

        /// Makes a log of its key alone. Its id is SHA-256 of the key's SubjectPublicKeyInfo, and its key counts at all
        /// times.
        public init(publicKey: PublicKey) throws(SigstoreError) {
            self.init(
                baseURL: "", publicKey: publicKey, logID: try Digest.sha256(publicKey.spki).bytes, validFor: .always)
        }

        /// The id of a log of Rekor v2: the whole hash of which a note's signature carries four bytes (C2SP signed-note,
        /// "Verifying", and what rekor-tiles does for keys that it does not know).
        /// - Parameters:
        ///   - origin: The log's name in its checkpoints: the host name of its URL.
        ///   - publicKey: The log's key.
        public static func noteKeyHash(origin: String, publicKey: PublicKey) throws(SigstoreError) -> [UInt8] {
            let name = Array("\(origin)\n".utf8)
            switch publicKey.kind {
            case .ed25519: return try Digest.sha256(name + [1] + publicKey.spki.suffix(32)).bytes
            case .ecP256, .ecP384, .ecP521: return try Digest.sha256(publicKey.spki).bytes
            case .rsa: return try Digest.sha256(name + [255] + Array("PKIX-RSA-PKCS#1v1.5".utf8) + publicKey.spki).bytes
            }
        }

        /// Whether the log may be one of that version of Rekor. Its id says so: Rekor v1's is the digest of the key, and
        /// Rekor v2's is not, except with ECDSA keys. There both have the same id, and the checkpoint's origin decides.
        public func mayBe(rekorV2: Bool) throws(SigstoreError) -> Bool {
            switch publicKey.kind {
            case .ecP256, .ecP384, .ecP521: return true
            case .ed25519, .rsa: return try (Digest.sha256(publicKey.spki).bytes == logID) != rekorV2
            }
        }

        /// The log in words: its URL, or its id if it has none.
        public var name: String { baseURL.isEmpty ? "log \(Hexadecimal.encode(logID.prefix(4)))" : baseURL }
    }

    /// An authority that issues certificates or timestamps.
    public struct Authority: Sendable {
        /// Where the authority is; only a name here.
        public var uri: String
        /// The certificates that are believed by themselves.
        public var anchors: [Certificate]
        /// Certificates between: of a timestamp authority also the one that signs.
        public var intermediates: [Certificate]
        /// When the authority counts.
        public var validFor: ValidityWindow
        /// The line of its root in a file of several roots; `nil` if it belongs to all of them.
        fileprivate(set) var line: Int?

        /// Makes an authority.
        public init(uri: String, anchors: [Certificate], intermediates: [Certificate], validFor: ValidityWindow) {
            self.uri = uri
            self.anchors = anchors
            self.intermediates = intermediates
            self.validFor = validFor
        }

        /// Which certificates are anchors, if some are given without saying so.
        public enum Anchoring: Sendable {
            /// Those that issued themselves; the others are intermediates.
            case selfIssued
            /// The last of a chain, even if another issued it, and those that issued themselves.
            case last
            /// All of them: the certificates are a list of roots.
            case all
        }

        /// Makes an authority of its certificates alone, which counts at all times.
        /// - Throws: `SigstoreError` with `malformed-trusted-root` if there is no anchor.
        public init(certificates: [Certificate], anchoring: Anchoring = .selfIssued) throws(SigstoreError) {
            func isAnchor(_ certificate: Certificate) -> Bool {
                switch anchoring {
                case .selfIssued: certificate.isSelfIssued
                case .last: certificate.isSelfIssued || certificates.last?.equals(certificate) == true
                case .all: true
                }
            }
            let anchors = certificates.filter(isAnchor)
            guard !anchors.isEmpty else {
                throw SigstoreError(
                    .malformedTrustedRoot, "there is no root among the \(certificates.count) certificates",
                    advice: "put the self-signed root certificate into the file too")
            }
            self.init(
                uri: "", anchors: anchors, intermediates: certificates.filter { !isAnchor($0) }, validFor: .always)
        }

        /// The authority in words.
        public var name: String { uri.isEmpty ? anchors.last?.displayName ?? "an authority" : uri }

        /// Whether the authority lists an intermediate below an anchor. Anchors are the same if their keys are: the same
        /// root may be encoded in more ways than one.
        fileprivate func listsIntermediate(below anchor: Certificate) -> Bool {
            func isAnchor(_ certificate: Certificate) -> Bool { certificate.publicKey.spki == anchor.publicKey.spki }
            // An intermediate can be an anchor itself, and then lies below its issuer all the same.
            if anchors.contains(where: { !$0.isSelfIssued && !isAnchor($0) && $0.issuer == anchor.subject }) {
                return true
            }
            guard anchors.contains(where: isAnchor) else { return false }
            let known = anchors + intermediates
            return intermediates.contains { intermediate in
                guard intermediate.isCA, !isAnchor(intermediate) else { return false }
                // One whose issuer is not here may lie below any of the anchors.
                return anchors.count == 1 || intermediate.issuer == anchor.subject
                    || !known.contains { $0.subject == intermediate.issuer }
            }
        }
    }

    /// Who issues certificates (Fulcio).
    public var certificateAuthorities: [Authority]
    /// Logs of certificates.
    public var certificateTransparencyLogs: [Log]
    /// Logs of signatures (Rekor).
    public var transparencyLogs: [Log]
    /// Who signs timestamps.
    public var timestampAuthorities: [Authority]
    /// Where logs were passed over, since the kind of their keys is not known: in which of several roots, by their lines, or in the
    /// only one (`nil`).
    private var unknownLogs: Set<Int?> = []

    /// Makes a trusted root from its parts.
    public init(
        certificateAuthorities: [Authority] = [], certificateTransparencyLogs: [Log] = [],
        transparencyLogs: [Log] = [], timestampAuthorities: [Authority] = []
    ) {
        self.certificateAuthorities = certificateAuthorities
        self.certificateTransparencyLogs = certificateTransparencyLogs
        self.transparencyLogs = transparencyLogs
        self.timestampAuthorities = timestampAuthorities
    }
}

// MARK: - One of several roots

extension TrustedRoot {
    /// The root to which the issuer of a certificate leads, of several that one file holds; no other is tried after it. A root of
    /// which the file holds one alone is that one.
    ///
    /// The issuer's name is looked for among the authorities of each root, byte for byte; if none has it, the name of the
    /// authority that issued the intermediate certificate of that name that came with the signature. If several roots have it, as
    /// instances that name their authorities alike do, it is the one whose authority has signed the certificate.
    /// - Parameters:
    ///   - leaf: The signer's certificate.
    ///   - brought: The certificates that came with it.
    /// - Throws: `SigstoreError` with `certificate-path` if it leads to none of the roots, and with `ambiguous-trusted-root` if it
    ///   leads to more than one.
    func root(for leaf: Certificate, _ brought: [Certificate]) throws(SigstoreError) -> TrustedRoot {
        let lines = Set(certificateAuthorities.compactMap(\.line)).sorted()
        guard !lines.isEmpty else { return self }
        var issued = leaf
        var found = authorities(named: issued.issuer)
        for _ in 0..<10 where found.isEmpty {
            guard let next = brought.first(where: { $0.subject == issued.issuer && !$0.isSelfIssued }) else { break }
            issued = next
            found = authorities(named: issued.issuer)
        }
        // Those that belong to no line were named by themselves, and belong to every root.
        var candidates = Set(found.flatMap { $0.line.map { [$0] } ?? lines })
        if candidates.count > 1 {
            let signers = found.filter { issued.isSigned(by: $0.certificate) }
            let narrowed = Set(signers.flatMap { $0.line.map { [$0] } ?? lines })
            if !narrowed.isEmpty { candidates = narrowed }
        }
        guard let line = candidates.first else {
            throw SigstoreError(
                .certificatePath,
                "the certificate is by \(leaf.issuerName), and none of the \(lines.count) trusted roots in the file knows that "
                    + "authority",
                advice: .remedy(.giveTrustedRoot))
        }
        guard candidates.count == 1 else {
            throw SigstoreError(
                .ambiguousTrustedRoot,
                "the certificate is by \(leaf.issuerName), and the trusted roots in the lines "
                    + "\(candidates.sorted().map(String.init).joined(separator: " and ")) both know that authority",
                advice: "leave one of these lines out: whom it is to be verified by must be plain")
        }
        var root = self
        root.certificateAuthorities.removeAll { $0.line != nil && $0.line != line }
        root.certificateTransparencyLogs.removeAll { $0.line != nil && $0.line != line }
        root.transparencyLogs.removeAll { $0.line != nil && $0.line != line }
        root.timestampAuthorities.removeAll { $0.line != nil && $0.line != line }
        root.unknownLogs = root.unknownLogs.filter { $0 == nil || $0 == line }
        return root
    }

    /// The certificates of that name among the authorities, each with the line of its root.
    private func authorities(named name: [UInt8]) -> [(line: Int?, certificate: Certificate)] {
        certificateAuthorities.flatMap { authority in
            (authority.intermediates + authority.anchors).filter { $0.subject == name }.map {
                (line: authority.line, certificate: $0)
            }
        }
    }

    /// Whether this is the root of an instance that publishes nothing: it has authorities, and no log at all, also none that is
    /// not known here.
    var isWithoutLogs: Bool {
        !certificateAuthorities.isEmpty && !timestampAuthorities.isEmpty && transparencyLogs.isEmpty
            && certificateTransparencyLogs.isEmpty && unknownLogs.isEmpty
    }
}

extension Certificate {
    /// Whether an authority's key made the signature on this certificate.
    fileprivate func isSigned(by authority: Certificate) -> Bool {
        (try? CertificatePath.build(
            leaf: self, intermediates: [], anchors: [authority], at: max(notBefore, authority.notBefore),
            purpose: .codeSigning)) != nil
    }
}

// MARK: - Certificates that signatures bring

extension [TrustedRoot.Authority] {
    /// Whether one of these authorities lists an intermediate below an anchor. Only listed ones count there then, each
    /// while its authority counts: one that the trusted root has ended or dropped must not come back with a signature.
    func listIntermediate(below anchor: Certificate) -> Bool { contains { $0.listsIntermediate(below: anchor) } }

    /// Those of the certificates that came with a signature whose keys are not listed here. What is done with a listed
    /// key is the trusted root's to say, in this certificate of it and in every other.
    func unlisted(_ brought: [Certificate]) -> [Certificate] {
        brought.filter { certificate in
            !contains { authority in
                (authority.anchors + authority.intermediates).contains {
                    $0.publicKey.spki == certificate.publicKey.spki
                }
            }
        }
    }
}

// MARK: - Reading

extension TrustedRoot {
    private static let mediaTypes = [
        "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
        "application/vnd.dev.sigstore.trustedroot.v0.1+json",
        "application/vnd.dev.sigstore.trustedroot.v0.2+json",
        "application/vnd.dev.sigstore.trustedroot+json;version=0.2",
    ]

    /// Reads a trusted root.
    ///
    /// The file is the user's or comes over TUF, and later versions of the format may add to it: members that are not
    /// known are passed over, and so are logs whose kind of key is not known, which are then simply not trusted.
    /// - Parameter json: The trusted root as JSON in UTF-8, of version 0.1 or 0.2.
    /// - Throws: `SigstoreError` with `malformed-trusted-root` and what is wrong, such as a validity window without a
    ///   start.
    public init(parsing json: [UInt8]) throws(SigstoreError) {
        do throws(SigstoreError) {
            guard json.count <= 16 << 20 else {
                throw SigstoreError(.malformedTrustedRoot, "it is larger than 16 MiB")
            }
            let top = JSONCursor(try JSONValue(parsing: json))
            guard let mediaType = try top.optional("mediaType")?.string(),
                Self.mediaTypes.contains(where: { $0.utf8.elementsEqual(mediaType.utf8) })
            else { throw top.fault("has no media type of a trusted root of version 0.1 or 0.2") }
            certificateAuthorities = try Self.authorities(top, "certificateAuthorities")
            var passesOver = false
            certificateTransparencyLogs = try Self.logs(top, "ctlogs", &passesOver)
            transparencyLogs = try Self.logs(top, "tlogs", &passesOver)
            if passesOver { unknownLogs.insert(nil) }
            timestampAuthorities = try Self.authorities(top, "timestampAuthorities")
        } catch {
            throw SigstoreError(
                .malformedTrustedRoot, "not a usable trusted root: \(error.message)",
                advice: error.advice ?? "get the trusted root from whoever runs the Sigstore instance", cause: error)
        }
    }

    /// How many trusted roots one file may hold.
    private static let lineLimit = 32

    /// Reads a file of trusted roots: one, or several, one a line (JSON Lines), as `gh attestation trusted-root` prints them.
    ///
    /// For a signature with a certificate, one of several counts: the one to which the certificate's issuer leads. Authorities and
    /// logs of the others say nothing of it. For a signature by a key, which no authority has issued, logs and timestamp
    /// authorities of all of them count.
    /// - Parameter content: The whole file, in UTF-8.
    /// - Throws: As ``init(parsing:)`` does, naming the line.
    public init(file content: [UInt8]) throws(SigstoreError) {
        guard let lines = JSONValue.lines(of: content, limit: Self.lineLimit) else {
            try self.init(parsing: content)
            return
        }
        guard lines.count <= Self.lineLimit else {
            throw SigstoreError(
                .malformedTrustedRoot, "the file holds more than \(Self.lineLimit) trusted roots, one a line")
        }
        self.init()
        for line in lines {
            let root: TrustedRoot
            do throws(SigstoreError) { root = try TrustedRoot(parsing: line.text) } catch {
                throw error.concerning("line \(line.number) of \(lines.count) trusted roots")
            }
            add(root, line: line.number)
        }
    }

    /// Joins the trusted roots of several instances, of which one counts for each certificate, as ``init(file:)`` has it.
    public init(joining roots: [TrustedRoot]) {
        self.init()
        for (index, root) in roots.enumerated() { add(root, line: index + 1) }
    }

    private mutating func add(_ root: TrustedRoot, line: Int) {
        func numbered<Part>(_ parts: [Part], _ place: WritableKeyPath<Part, Int?>) -> [Part] {
            parts.map { part in
                var part = part
                part[keyPath: place] = line
                return part
            }
        }
        certificateAuthorities += numbered(root.certificateAuthorities, \.line)
        certificateTransparencyLogs += numbered(root.certificateTransparencyLogs, \.line)
        transparencyLogs += numbered(root.transparencyLogs, \.line)
        timestampAuthorities += numbered(root.timestampAuthorities, \.line)
        if !root.unknownLogs.isEmpty { unknownLogs.insert(line) }
    }

    /// - Parameter passesOver: Set if there is a log whose kind of key is not known.
    private static func logs(_ top: JSONCursor, _ name: String, _ passesOver: inout Bool) throws(SigstoreError) -> [Log]
    {
        var logs: [Log] = []
        for entry in try top.optional(name)?.elements() ?? [] {
            let key = try entry.member("publicKey")
            let publicKey: PublicKey
            do throws(SigstoreError) {
                publicKey = try PublicKey(der: try key.member("rawBytes").bytes())
            } catch  where error.code == .unsupportedKey {
                passesOver = true
                continue
            }
            logs.append(
                Log(
                    baseURL: try entry.optional("baseUrl")?.string() ?? "", publicKey: publicKey,
                    logID: try entry.member("logId").member("keyId").bytes(), validFor: try window(key)))
        }
        return logs
    }

    /// Finds the certificate paths of the timestamp authorities ahead of their timestamps, for callers that wait for
    /// something else meanwhile: authorities' signatures are the slow part of verifying a timestamp. It decides nothing;
    /// what is wrong with an authority is said of its timestamp.
    /// - Parameter time: About when the timestamps will be made, in seconds since 1970.
    public func findTimestampPaths(at time: Int64) {
        for authority in timestampAuthorities {
            guard let leaf = authority.intermediates.first(where: { !$0.isCA }) else { continue }
            for anchor in authority.anchors {
                _ = try? CertificatePath.build(
                    leaf: leaf, intermediates: authority.intermediates.filter(\.isCA), anchors: [anchor], at: time,
                    purpose: .timestamping)
            }
        }
    }

    /// The same for the timestamp authorities of a trusted root that is being read meanwhile.
    /// - Parameters:
    ///   - json: The trusted root as JSON in UTF-8. One that cannot be read has none here.
    ///   - time: About when the timestamps were made, in seconds since 1970.
    public static func findTimestampPaths(in json: [UInt8], at time: Int64) {
        guard let value = try? JSONValue(parsing: json),
            let authorities = try? authorities(JSONCursor(value), "timestampAuthorities")
        else { return }
        TrustedRoot(timestampAuthorities: authorities).findTimestampPaths(at: time)
    }

    private static func authorities(_ top: JSONCursor, _ name: String) throws(SigstoreError) -> [Authority] {
        var authorities: [Authority] = []
        for entry in try top.optional(name)?.elements() ?? [] {
            var chain: [Certificate] = []
            for certificate in try entry.optional("certChain")?.optional("certificates")?.elements() ?? [] {
                chain.append(try Certificate(der: try certificate.member("rawBytes").bytes()))
            }
            authorities.append(
                Authority(
                    uri: try entry.optional("uri")?.string() ?? "", anchors: Array(chain.suffix(1)),
                    intermediates: Array(chain.dropLast()), validFor: try window(entry)))
        }
        return authorities
    }

    /// A window; one that does not say when it starts would count forever backwards, and is refused.
    private static func window(_ json: JSONCursor) throws(SigstoreError) -> ValidityWindow {
        let window = try json.member("validFor")
        guard let start = try window.optional("start") else { throw window.fault("does not say when it starts") }
        let end = try window.optional("end")
        return ValidityWindow(
            start: try moment(start), end: try end.map { cursor throws(SigstoreError) in try moment(cursor) })
    }

    private static func moment(_ json: JSONCursor) throws(SigstoreError) -> Instant {
        guard let moment = Instant(rfc3339: try json.string()) else { throw json.fault("is not a time of RFC 3339") }
        return moment
    }
}

// MARK: - Writing

extension TrustedRoot {
    /// The trusted root as JSON of version 0.1. An authority with several anchors is written once for each of them.
    public func serialized() -> [UInt8] {
        var file: JSONObject = ["mediaType": .string(Self.mediaTypes[0])]
        for (name, entries) in [
            ("tlogs", transparencyLogs.map(Self.json)),
            ("certificateAuthorities", certificateAuthorities.flatMap(Self.json)),
            ("ctlogs", certificateTransparencyLogs.map(Self.json)),
            ("timestampAuthorities", timestampAuthorities.flatMap(Self.json)),
        ] where !entries.isEmpty { file[name] = .array(entries) }
        return JSONValue.object(file).serialized()
    }

    private static func json(_ log: Log) -> JSONValue {
        let details =
            switch log.publicKey.kind {
            case .ecP256: "PKIX_ECDSA_P256_SHA_256"
            case .ecP384: "PKIX_ECDSA_P384_SHA_384"
            case .ecP521: "PKIX_ECDSA_P521_SHA_512"
            case .ed25519: "PKIX_ED25519"
            case .rsa(let bits): "PKIX_RSA_PKCS1V15_\(bits)_SHA256"
            }
        var object: JSONObject = log.baseURL.isEmpty ? [:] : ["baseUrl": .string(log.baseURL)]
        let rest: JSONObject = [
            "hashAlgorithm": .string("SHA2_256"),
            "publicKey": .object([
                "rawBytes": .bytes(log.publicKey.spki), "keyDetails": .string(details), "validFor": json(log.validFor),
            ]),
            "logId": .object(["keyId": .bytes(log.logID)]),
        ]
        for member in rest.members { object[member.name] = member.value }
        return .object(object)
    }

    private static func json(_ authority: Authority) -> [JSONValue] {
        authority.anchors.map { anchor in
            var object: JSONObject = [:]
            var subject: JSONObject = [:]
            if let organization = anchor.organization { subject["organization"] = .string(organization) }
            if let commonName = anchor.commonName { subject["commonName"] = .string(commonName) }
            if !subject.members.isEmpty { object["subject"] = .object(subject) }
            if !authority.uri.isEmpty { object["uri"] = .string(authority.uri) }
            object["certChain"] = .object([
                "certificates": .array(
                    (authority.intermediates + [anchor]).map { .object(["rawBytes": .bytes($0.der)]) })
            ])
            object["validFor"] = json(authority.validFor)
            return .object(object)
        }
    }

    private static func json(_ window: ValidityWindow) -> JSONValue {
        // A start must be written; one before 1970 means "always".
        var object: JSONObject = ["start": .string(max(window.start, Instant(milliseconds: 0)).description)]
        if let end = window.end { object["end"] = .string(end.description) }
        return .object(object)
    }
}

extension SigstoreError.Code {
    /// A trusted root that cannot be read, or lacks what it needs.
    public static let malformedTrustedRoot = Self("malformed-trusted-root")
    /// Several trusted roots in one file know the authority of a certificate.
    public static let ambiguousTrustedRoot = Self("ambiguous-trusted-root")
}
