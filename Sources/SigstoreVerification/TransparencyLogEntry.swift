public import StrictJSON

/// An entry of a transparency log, with what the log said about it (protobuf-specs, `sigstore_rekor.proto`).
public struct TransparencyLogEntry: Sendable {
    /// That an entry is in a log: the path from its leaf to a root, and the log's signature of that root.
    public struct InclusionProof: Sendable {
        /// The entry's place in the tree, counted from 0; not the place in all shards of the log.
        public var logIndex: Int64
        /// The root of the tree.
        public var rootHash: [UInt8]
        /// How many leaves the tree has.
        public var treeSize: Int64
        /// The hashes beside the path, from the leaf upward (RFC 6962, section 2.1.1).
        public var hashes: [[UInt8]]
        /// The log's signed note about the root (C2SP tlog-checkpoint); old bundles may lack it.
        public var checkpoint: String?

        /// Makes a proof from its parts.
        public init(logIndex: Int64, rootHash: [UInt8], treeSize: Int64, hashes: [[UInt8]], checkpoint: String?) {
            self.logIndex = logIndex
            self.rootHash = rootHash
            self.treeSize = treeSize
            self.hashes = hashes
            self.checkpoint = checkpoint
        }
    }

    /// The entry's place in the log, counted over all shards.
    public var logIndex: Int64
    /// Which log: SHA-256 of its key for Rekor v1, the note key's hash for Rekor v2.
    public var logID: [UInt8]
    /// The kind of entry, such as `hashedrekord`.
    public var kind: String
    /// The version of that kind, such as `0.0.1`.
    public var kindVersion: String
    /// When Rekor v1 says that it took the entry, in seconds since 1970; 0 if nothing is said. It means nothing unless
    /// ``promise`` holds.
    public var integratedTime: Int64
    /// Rekor v1's signed entry timestamp over body, time, index and log.
    public var promise: [UInt8]?
    /// That the entry is in the log.
    public var proof: InclusionProof?
    /// The entry itself, canonical JSON as the log holds it.
    public var body: [UInt8]

    /// Makes an entry from its parts, as ``SigstoreBundle`` documents them.
    public init(
        logIndex: Int64, logID: [UInt8], kind: String, kindVersion: String, integratedTime: Int64 = 0,
        promise: [UInt8]? = nil, proof: InclusionProof? = nil, body: [UInt8]
    ) {
        self.logIndex = logIndex
        self.logID = logID
        self.kind = kind
        self.kindVersion = kindVersion
        self.integratedTime = integratedTime
        self.promise = promise
        self.proof = proof
        self.body = body
    }

    /// Reads an entry from its protobuf JSON, as it stands in a bundle and in Rekor v2's answers.
    /// - Throws: `SigstoreError` naming the member that is missing, unknown, or out of range.
    public init(_ json: JSONCursor) throws(SigstoreError) {
        try json.expectOnly([
            "logIndex", "logId", "kindVersion", "integratedTime", "inclusionPromise", "inclusionProof",
            "canonicalizedBody",
        ])
        logIndex = try Self.count(json, "logIndex")
        let log = try json.member("logId")
        try log.expectOnly(["keyId"])
        logID = try log.member("keyId").bytes()
        let kindVersion = try json.member("kindVersion")
        try kindVersion.expectOnly(["kind", "version"])
        kind = try kindVersion.member("kind").string()
        self.kindVersion = try kindVersion.member("version").string()
        integratedTime = try Self.count(json, "integratedTime")
        if let promise = try json.optional("inclusionPromise") {
            try promise.expectOnly(["signedEntryTimestamp"])
            self.promise = try promise.member("signedEntryTimestamp").bytes()
        }
        if let proof = try json.optional("inclusionProof") { self.proof = try InclusionProof(proof) }
        body = try json.member("canonicalizedBody").bytes()
    }

    /// A member that counts something: absent means 0, as in protobuf; negative is refused.
    static func count(_ json: JSONCursor, _ name: String) throws(SigstoreError) -> Int64 {
        guard let member = try json.optional(name) else { return 0 }
        let number = try member.integer()
        guard number >= 0 else { throw member.fault("is negative") }
        return number
    }

    /// The entry as protobuf JSON; default values are left out, as cosign 3 does.
    public var json: JSONValue {
        var object: JSONObject = [:]
        if logIndex != 0 { object["logIndex"] = .string(String(logIndex)) }
        object["logId"] = .object(["keyId": .bytes(logID)])
        object["kindVersion"] = .object(["kind": .string(kind), "version": .string(kindVersion)])
        if integratedTime != 0 { object["integratedTime"] = .string(String(integratedTime)) }
        if let promise { object["inclusionPromise"] = .object(["signedEntryTimestamp": .bytes(promise)]) }
        if let proof { object["inclusionProof"] = proof.json }
        object["canonicalizedBody"] = .bytes(body)
        return .object(object)
    }
}

extension TransparencyLogEntry.InclusionProof {
    init(_ json: JSONCursor) throws(SigstoreError) {
        try json.expectOnly(["logIndex", "rootHash", "treeSize", "hashes", "checkpoint"])
        logIndex = try TransparencyLogEntry.count(json, "logIndex")
        rootHash = try json.member("rootHash").bytes()
        treeSize = try TransparencyLogEntry.count(json, "treeSize")
        let list = try json.optional("hashes")
        let elements = try list?.elements() ?? []
        // A tree of 2^63 leaves is 63 levels high.
        guard elements.count <= 63 else { throw json.fault("holds \(elements.count) hashes, more than any tree needs") }
        hashes = []
        for element in elements { hashes.append(try element.bytes()) }
        if let checkpoint = try json.optional("checkpoint") {
            try checkpoint.expectOnly(["envelope"])
            let envelope = try checkpoint.optional("envelope")?.string() ?? ""
            self.checkpoint = envelope.isEmpty ? nil : envelope
        }
    }

    var json: JSONValue {
        var object: JSONObject = [:]
        if logIndex != 0 { object["logIndex"] = .string(String(logIndex)) }
        object["rootHash"] = .bytes(rootHash)
        object["treeSize"] = .string(String(treeSize))
        if !hashes.isEmpty { object["hashes"] = .array(hashes.map { .bytes($0) }) }
        if let checkpoint { object["checkpoint"] = .object(["envelope": .string(checkpoint)]) }
        return .object(object)
    }
}
