internal import InToto
internal import OCIRegistry
public import SigstoreCrypto
public import SigstoreVerification
public import StrictJSON

/// Signs anew, by another key or identity, what a former signer has signed: what verifies by that one now, and nothing else.
public struct ImageResigner: Sendable {
    /// One signature or attestation of the former signer.
    public struct Part: Sendable {
        /// What it says of the image.
        public enum Content: Sendable {
            /// A signature with its annotations, and in the older scheme the repository that it names.
            case signature(annotations: JSONObject, identity: String?)
            /// An attestation: its type, and the digest of its statement.
            case attestation(type: String, statement: Digest)
        }

        /// What it says of the image.
        public let content: Content
        /// Who made it, in words.
        public let signer: String
        /// The earliest time at which others than this machine's clock prove that it existed; `nil` if none do.
        public let time: VerifiedTime?

        /// Bytes that are the same for what says the same.
        var identifier: [UInt8] {
            switch content {
            case .signature(let annotations, _):
                Array("signature ".utf8) + JSONValue.object(annotations).canonicalized()
            case .attestation(let type, let statement): Array("attestation \(statement) \(type)".utf8)
            }
        }
    }

    /// What was found of one image.
    public struct Finding: Sendable {
        /// The image.
        public let image: Image
        /// What is to be signed.
        public internal(set) var parts: [Part] = []
        /// What the new signer has signed already.
        public internal(set) var done: [Part] = []
        /// What is not signed, since nothing proves that it existed in time.
        public internal(set) var unproven: [Part] = []
        /// How much of the former signer is not in the plan, and so not signed.
        public internal(set) var unplanned = 0
        /// Whether the digest itself carries signatures or attestations of another one: nothing of it is signed.
        public internal(set) var isCarrier = false
        /// Whether the new signer has signed the image in any way.
        public internal(set) var isSignedAnew = false
        /// Why nothing of the image is the former signer's; `nil` if something is.
        public internal(set) var refusal: SigstoreError?
    }

    private let former: ImageVerifier
    private let latter: ImageVerifier
    private let lookup: LogLookup?
    private let limit: Instant?
    private let takesAttestations: Bool

    /// - Parameters:
    ///   - former: Verifies what the former signer has made.
    ///   - latter: Verifies what the new signer has made, so that nothing is signed twice.
    ///   - lookup: Looks up log entries of the former signer's signatures that came without one.
    ///   - limit: The time before which a signature must be proven to have existed; `nil` demands no proof.
    ///   - takesAttestations: Whether attestations are signed too.
    public init(
        former: ImageVerifier, latter: ImageVerifier, lookup: LogLookup? = nil, provenBefore limit: Instant? = nil,
        takesAttestations: Bool = false
    ) {
        (self.former, self.latter, self.lookup) = (former, latter, lookup)
        (self.limit, self.takesAttestations) = (limit, takesAttestations)
    }

    /// Looks at one image.
    /// - Parameters:
    ///   - store: Where the image's signatures are.
    ///   - planned: What may be signed of it, and must still be there; `nil` if there is no plan.
    /// - Throws: `SigstoreError` if not everything could be looked at, or something that is planned does not verify by the
    ///   former signer.
    public func examine(_ store: SignatureStore, planned: ResigningPlan.Entry? = nil) async throws(SigstoreError)
        -> Finding
    {
        var finding = Finding(image: store.image)
        var (held, refusal) = try await signatures(store, &finding)
        if takesAttestations { held += try await attestations(store, &finding).map(\.part) }
        if held.isEmpty {
            guard planned == nil else { throw refusal ?? Self.noneHolds(store.image) }
            finding.refusal = refusal ?? Self.noneHolds(store.image)
            return finding
        }
        // A signature of a signature, as a loop over all tags makes them, is left as it is.
        guard let manifest = try await store.image.store.manifest(.digest(store.image.digest)) else {
            throw await store.image.absence()
                ?? SigstoreError(.imageNotFound, "\(store.image.name) is not there any more")
        }
        guard !manifest.isCarrier else {
            finding.isCarrier = true
            return finding
        }
        let done = Set(finding.done.map(\.identifier))
        finding.done = []
        let wanted = planned.map { Set($0.parts.map(\.identifier)) }
        var seen: Set<[UInt8]> = []
        // What is proven to be old counts before what says the same and is not.
        for part in held.filter(isInTime) + held.filter({ !isInTime($0) }) where seen.insert(part.identifier).inserted {
            if let wanted, !wanted.contains(part.identifier) {
                finding.unplanned += 1
            } else if done.contains(part.identifier) {
                finding.done.append(part)
            } else if isInTime(part) {
                finding.parts.append(part)
            } else {
                finding.unproven.append(part)
            }
        }
        for part in planned?.parts ?? [] where !seen.contains(part.identifier) {
            throw SigstoreError(
                .noMatchingSignature,
                "\(store.image.name): the plan has \(part.words), which does not verify by the former signer",
                advice: "make the plan anew, and look at what has changed")
        }
        return finding
    }

    /// Signs what was found of an image.
    /// - Parameters:
    ///   - finding: What was found.
    ///   - store: Where the image's signatures are.
    ///   - signer: Signs.
    public func sign(_ finding: Finding, in store: SignatureStore, by signer: ImageSigner) async throws(SigstoreError) {
        var statements: Set<[UInt8]> = []
        for part in finding.parts {
            guard case .signature(let annotations, let identity) = part.content else {
                statements.insert(part.identifier)
                continue
            }
            let signed = try await signer.sign(finding.image, annotations: annotations, identity: identity)
            try await signer.store(signed, in: store)
        }
        guard !statements.isEmpty else { return }
        // Statements may be large, so they were not kept: what is signed is verified once more.
        var ignored = finding
        for (part, statement) in try await attestations(store, &ignored) {
            guard statements.remove(part.identifier) != nil else { continue }
            _ = try await signer.attest(statement, in: store, upload: true, replacing: false)
        }
        guard statements.isEmpty else {
            throw SigstoreError(
                .noMatchingSignature, "an attestation of \(finding.image.name) was changed while it was to be signed")
        }
    }

    private func isInTime(_ part: Part) -> Bool {
        guard let limit else { return true }
        return part.time.map { Instant(seconds: $0.seconds) < limit } ?? false
    }

    /// The former signer's signatures, or why there are none; notes those of the new signer.
    private func signatures(_ store: SignatureStore, _ finding: inout Finding) async throws(SigstoreError)
        -> (held: [Part], refusal: SigstoreError?)
    {
        let image = store.image
        let found = try await store.find(.signature)
        if let error = found.unread.first { throw error.concerning(Self.notLookedAt(image)) }
        var refusal: SigstoreError?
        var held: [VerifiedImageSignature] = []
        do throws(SigstoreError) { held = try await former.verify(image, found, .signature, lookup) } catch {
            guard error.meansNone else { throw error }
            refusal = error
        }
        let anew = try Self.held { () throws(SigstoreError) in try latter.verify(image, found, .signature) }
        finding.done += anew.map(Self.part)
        if !anew.isEmpty { finding.isSignedAnew = true }
        return (held.map(Self.part), refusal)
    }

    /// The former signer's attestations with their statements; notes those of the new signer.
    private func attestations(_ store: SignatureStore, _ finding: inout Finding) async throws(SigstoreError)
        -> [(part: Part, statement: [UInt8])]
    {
        let image = store.image
        let found = try await store.find(.attestation)
        if let error = found.unread.first { throw error.concerning(Self.notLookedAt(image)) }
        var types: [PredicateType] = []
        for type in found.readable.compactMap(\.predicateType)
        where !type.matches(.cosignSign) && !types.contains(where: { $0.matches(type) }) { types.append(type) }
        var held: [(part: Part, statement: [UInt8])] = []
        for type in types {
            do throws(SigstoreError) {
                for one in try await former.verify(image, found, .attestation(type), lookup) {
                    if let attestation = try Self.attestation(one) { held.append(attestation) }
                }
            } catch { guard error.meansNone else { throw error } }
            for one in try Self.held({ () throws(SigstoreError) in try latter.verify(image, found, .attestation(type)) }
            ) {
                if let attestation = try Self.attestation(one) { finding.done.append(attestation.part) }
            }
        }
        return held
    }

    private static func held(_ verify: () throws(SigstoreError) -> [VerifiedImageSignature]) throws(SigstoreError)
        -> [VerifiedImageSignature]
    {
        do throws(SigstoreError) { return try verify() } catch {
            guard error.meansNone else { throw error }
            return []
        }
    }

    private static func part(_ held: VerifiedImageSignature) -> Part {
        var annotations: JSONObject = [:]
        if case .object(let payload) = held.payload, case .object(let said)? = payload["optional"] {
            annotations = said
        }
        var identity: String?
        if case .simpleSigning = held.signature.form, case .object(let payload) = held.payload,
            case .object(let critical)? = payload["critical"], case .object(let named)? = critical["identity"],
            case .string(let reference)? = named["docker-reference"], !reference.isEmpty
        {
            identity = reference
        }
        return Part(
            content: .signature(annotations: annotations, identity: identity), signer: held.verified.signer.description,
            time: time(held.verified))
    }

    private static func attestation(_ held: VerifiedImageSignature) throws(SigstoreError)
        -> (part: Part, statement: [UInt8])?
    {
        guard case .dsse(let envelope) = held.verified.bundle.content, let statement = held.verified.statement else {
            return nil
        }
        let content = Part.Content.attestation(
            type: statement.predicateType.uri, statement: try Digest.sha256(envelope.payload))
        return (
            Part(content: content, signer: held.verified.signer.description, time: time(held.verified)),
            envelope.payload
        )
    }

    /// The earliest time that is proven.
    private static func time(_ verified: VerifiedBundle) -> VerifiedTime? {
        verified.times.filter { if case .currentTime = $0.source { false } else { true } }
            .min { $0.seconds < $1.seconds }
    }

    private static func notLookedAt(_ image: Image) -> String {
        "what is with \(image.name) (\(image.digest)) could not all be looked at"
    }

    private static func noneHolds(_ image: Image) -> SigstoreError {
        SigstoreError(.noSignature, "nothing of \(image.name) (\(image.digest)) is by the former signer")
    }
}

extension SigstoreError {
    /// Whether everything was looked at, and nothing is by the signer who is sought.
    fileprivate var meansNone: Bool { [.noSignature, .noMatchingSignature, .noCertificate].contains(code) }
}

extension VerifiedTime {
    /// Who vouches for it, in words.
    var voucher: String {
        switch source {
        case .timestampAuthority(let name): "timestamp authority \(name)"
        case .transparencyLog(let name): "log \(name)"
        case .currentTime: "clock"
        }
    }
}

extension ImageResigner.Part {
    /// What it is, for messages.
    public var words: String {
        switch content {
        case .signature(let annotations, _):
            annotations.members.isEmpty
                ? "a signature"
                : "a signature with the annotations "
                    + String(decoding: JSONValue.object(annotations).serialized(), as: UTF8.self)
        case .attestation(let type, _): "an attestation of type \(type)"
        }
    }

    /// The part as JSON.
    public func json() -> JSONValue {
        var object: JSONObject = [:]
        switch content {
        case .signature(let annotations, let identity):
            object["kind"] = .string("signature")
            object["annotations"] = .object(annotations)
            object.set("identity", identity)
        case .attestation(let type, let statement):
            object["kind"] = .string("attestation")
            object["type"] = .string(type)
            object["statement"] = .string(statement.description)
        }
        object["signer"] = .string(signer)
        if let time {
            object["time"] = .string(Instant(seconds: time.seconds).description)
            object["timeBy"] = .string(time.voucher)
        }
        return .object(object)
    }

    /// Reads a part of a plan. Signer and time are for the person who looks at it: both are found anew.
    init(_ cursor: JSONCursor) throws(SigstoreError) {
        try cursor.expectOnly(["kind", "annotations", "identity", "type", "statement", "signer", "time", "timeBy"])
        let kind = try cursor.member("kind")
        switch try kind.string() {
        case "signature":
            let annotations = try cursor.member("annotations")
            guard case .object(let said) = annotations.value else { throw annotations.fault("is not an object") }
            content = .signature(annotations: said, identity: try cursor.text("identity"))
        case "attestation":
            content = .attestation(
                type: try cursor.member("type").string(),
                statement: try Digest(parsing: try cursor.member("statement").string()))
        case let other: throw kind.fault("\"\(other)\" is unknown here")
        }
        signer = try cursor.text("signer") ?? ""
        time = nil
    }
}

/// What is to be signed anew, by digest: made by one run, looked at by a person, and signed by another run.
public struct ResigningPlan: Sendable {
    /// The layout of the JSON.
    public static let version: Int64 = 1
    /// The largest file that is read.
    public static let byteLimit = 256 << 20

    /// One image.
    public struct Entry: Sendable {
        /// The repository, or `oci-layout:PATH`.
        public let repository: String
        /// The tags that pointed at it. Nothing is decided by them.
        public let tags: [String]
        /// The digest.
        public let digest: Digest
        /// What is to be signed of it.
        public let parts: [ImageResigner.Part]

        public init(repository: String, tags: [String], digest: Digest, parts: [ImageResigner.Part]) {
            (self.repository, self.tags, self.digest, self.parts) = (repository, tags, digest, parts)
        }
    }

    /// When it was made.
    public let created: Instant
    /// Whether everything could be looked at when it was made.
    public let isComplete: Bool
    /// The images.
    public let entries: [Entry]

    public init(created: Instant, isComplete: Bool, entries: [Entry]) {
        (self.created, self.isComplete, self.entries) = (created, isComplete, entries)
    }

    /// Reads a plan.
    /// - Throws: `SigstoreError` if it is of another version, or not as ``json()`` writes it.
    public init(parsing json: [UInt8]) throws(SigstoreError) {
        let top = JSONCursor(try JSONValue(parsing: json))
        let version = try top.member("version")
        guard try version.integer() == Self.version else {
            throw version.fault("is \(try version.integer()), and \(Self.version) is what is read here")
        }
        try top.expectOnly(["version", "created", "complete", "images"])
        let time = try top.member("created")
        guard let created = Instant(rfc3339: try time.string()) else { throw time.fault("is not a time") }
        self.created = created
        isComplete = try top.member("complete").bool()
        var entries: [Entry] = []
        var seen: Set<[UInt8]> = []
        for image in try top.member("images").elements() {
            try image.expectOnly(["repository", "tags", "digest", "sign"])
            let repository = try image.member("repository").string()
            let digest = try Digest(parsing: try image.member("digest").string())
            guard seen.insert(Array("\(digest) \(repository)".utf8)).inserted else {
                throw image.fault("is there twice: \(digest)")
            }
            let parts = try image.list("sign") { part throws(SigstoreError) in try ImageResigner.Part(part) }
            guard !parts.isEmpty else { throw image.fault("has nothing to sign") }
            entries.append(
                Entry(
                    repository: repository,
                    tags: try image.list("tags") { tag throws(SigstoreError) in try tag.string() },
                    digest: digest, parts: parts))
        }
        self.entries = entries
    }

    /// The plan as JSON.
    public func json() -> JSONValue {
        .object([
            "version": .integer(Self.version), "created": .string(created.description), "complete": .bool(isComplete),
            "images": .array(
                entries.map { entry in
                    .object([
                        "repository": .string(entry.repository), "tags": .array(entry.tags.map { .string($0) }),
                        "digest": .string(entry.digest.description), "sign": .array(entry.parts.map { $0.json() }),
                    ])
                }),
        ])
    }
}
