internal import HTTPTransport
public import SigstoreCrypto
public import SigstoreVerification
public import StrictJSON

/// An entry that was read from a log, and that the log proved to hold.
public struct VerifiedLogEntry: Sendable {
    /// The entry, with its proof.
    public let entry: TransparencyLogEntry
    /// What it says.
    public let body: LogEntryBody
    /// The log of the trusted root that it is in.
    public let log: TrustedRoot.Log
    /// SHA-256 of the entry as a leaf of the tree: the last 64 digits of Rekor v1's UUID.
    public let leafHash: [UInt8]
}

/// What entries are looked for by.
public enum LogSearchTerm: Sendable {
    /// What was signed: a file, or an attestation.
    case digest(Digest)
    /// The email address in the signer's certificate.
    case email(String)
    /// The key that verifies.
    case key(PublicKey)
}

// MARK: - Reading a log

extension RekorClient {
    /// The entry at an index.
    /// - Parameters:
    ///   - index: Its place, counted from 0 over all shards of the log.
    ///   - root: Whose logs are believed.
    ///   - now: In seconds since 1970.
    /// - Throws: `SigstoreError` that names the log: `no-such-log-entry`, what the transport throws, or what does not
    ///   hold.
    public func entry(at index: Int64, root: TrustedRoot, now: Int64) async throws(SigstoreError) -> VerifiedLogEntry {
        try await naming { () throws(SigstoreError) in
            let found: TransparencyLogEntry
            switch version {
            case .v1:
                found = try Self.entryV1(
                    try await read("/api/v1/log/entries", ["logIndex": String(index)], missing: "entry \(index)"))
                // The tree knows places within one shard; only the promise is about the place in the whole log.
                guard found.promise != nil else {
                    throw SigstoreError(.unexpectedAnswer, "the log does not promise that this is entry \(index)")
                }
            case .v2:
                found = try await LogTiles(url: url, http: http, timeout: timeout).entry(
                    at: index, kind: "hashedrekord", kindVersion: "0.0.2", trusted: root.transparencyLogs)
            }
            guard found.logIndex == index else {
                throw SigstoreError(
                    .logEntryMismatch, "the log answered with entry \(found.logIndex), and was asked for \(index)",
                    advice: "do not trust this log")
            }
            return try Self.verified(found, root, now)
        }
    }

    /// The entry with a UUID, which only logs of Rekor v1 have.
    /// - Parameters:
    ///   - uuid: 64 hexadecimal digits, or 80 with the number of the tree before them.
    ///   - root: The logs that are believed.
    ///   - now: The time in seconds since 1970.
    public func entry(uuid: String, root: TrustedRoot, now: Int64) async throws(SigstoreError) -> VerifiedLogEntry {
        try await naming { () throws(SigstoreError) in
            guard version == .v1 else { throw Self.onlyV1("UUIDs") }
            guard [64, 80].contains(uuid.utf8.count), let bytes = Hexadecimal.decode(uuid) else {
                throw SigstoreError(
                    .malformedUUID, "\"\(uuid)\" is not the UUID of a log entry",
                    advice: "give its 64 or 80 hexadecimal digits")
            }
            if bytes.count == 40 { try await expectTree(bytes.prefix(8)) }
            let found = try Self.entryV1(
                try await read("/api/v1/log/entries/\(Hexadecimal.encode(bytes))", [:], missing: "entry \(uuid)"))
            let verified = try Self.verified(found, root, now)
            guard bytes.suffix(32).elementsEqual(verified.leafHash) else {
                throw SigstoreError(
                    .logEntryMismatch,
                    "the log answered with the entry \(Hexadecimal.encode(verified.leafHash)), and was asked for \(uuid)",
                    advice: "do not trust this log")
            }
            return verified
        }
    }

    /// Refuses a UUID that names a tree which is none of this log's. Rekor's own answer to that is a failure of its own.
    private func expectTree(_ number: some Collection<UInt8>) async throws(SigstoreError) {
        let body = try await read("/api/v1/log", [:], missing: "API of Rekor v1")
        let trees = try Self.answer("about a log") { () throws(SigstoreError) in
            let log = JSONCursor(try JSONValue(parsing: body, depth: 16))
            var trees = [try log.member("treeID").string()]
            for shard in try log.optional("inactiveShards")?.elements() ?? [] {
                trees.append(try shard.member("treeID").string())
            }
            return trees
        }
        let tree = String(number.reduce(UInt64(0)) { $0 << 8 | UInt64($1) })
        guard !trees.contains(where: { $0.utf8.elementsEqual(tree.utf8) }) else { return }
        throw SigstoreError(
            .noSuchLogEntry,
            "the entry is in another log: its UUID names the tree \(tree), and the trees of this log are "
                + trees.prefix(8).joined(separator: ", "),
            advice: "give the URL of the log that the entry is in")
    }

    /// The UUIDs of the entries that the index of a log of Rekor v1 has under a term. What they are has to be read.
    public func search(_ term: LogSearchTerm) async throws(SigstoreError) -> [String] {
        try await naming { () throws(SigstoreError) in
            guard version == .v1 else { throw Self.onlyV1("a search index") }
            let query: JSONObject =
                switch term {
                case .digest(let digest): ["hash": .string(digest.description)]
                case .email(let email): ["email": .string(email)]
                case .key(let key):
                    ["publicKey": .object(["format": .string("x509"), "content": .bytes(Array(key.pem.utf8))])]
                }
            let response = try await http.send(
                HTTPRequest(
                    "POST", try url.appending("/api/v1/index/retrieve"),
                    headers: [
                        (name: "Content-Type", value: "application/json"), (name: "Accept", value: "application/json"),
                    ], body: .bytes(JSONValue.object(query).serialized()), timeout: timeout, isIdempotent: true))
            return try Self.answer("a list of entries") { () throws(SigstoreError) in
                var found: [String] = []
                for element in try JSONCursor(try JSONValue(parsing: response.body, depth: 16)).elements() {
                    found.append(try element.string())
                }
                return found
            }
        }
    }

    /// The log's newest statement of how large it is, which a log of the trusted root signed.
    public func checkpoint(root: TrustedRoot, now: Int64) async throws(SigstoreError)
        -> (note: String, checkpoint: Checkpoint, log: TrustedRoot.Log)
    {
        try await naming { () throws(SigstoreError) in
            let note: String
            switch version {
            case .v1:
                let body = try await read("/api/v1/log", [:], missing: "API of Rekor v1")
                note = try Self.answer("about a log") { () throws(SigstoreError) in
                    try JSONCursor(try JSONValue(parsing: body, depth: 16)).member("signedTreeHead").string()
                }
            case .v2:
                note = String(
                    decoding: try await read("/api/v2/checkpoint", [:], missing: "API of Rekor v2"), as: UTF8.self)
            }
            let checkpoint = try Checkpoint(note)
            for log in root.transparencyLogs where log.validFor.contains(Instant(seconds: now)) {
                do throws(SigstoreError) { try checkpoint.verify(log, rekorV2: version == .v2) } catch { continue }
                return (note, checkpoint, log)
            }
            throw SigstoreError(
                .invalidCheckpoint,
                "no log that the trusted root knows has signed the checkpoint of \(checkpoint.origin)",
                advice: "check that the trusted root is that of this log")
        }
    }

    func naming<Value>(_ work: () async throws(SigstoreError) -> Value) async throws(SigstoreError) -> Value {
        do throws(SigstoreError) { return try await work() } catch {
            throw error.concerning(
                "transparency log \(url.origin.authority)",
                otherwise: .remedy(.checkLog))
        }
    }

    func read(
        _ path: String, _ parameters: [String: String], missing: String, accepting type: String = "application/json"
    ) async throws(SigstoreError) -> [UInt8] {
        var place = try url.appending(path)
        for (name, value) in parameters { place = place.adding(name, value) }
        let response = try await http.send(
            HTTPRequest(
                "GET", place, headers: [(name: "Accept", value: type)], timeout: timeout, handledStatuses: [404]))
        guard response.status != 404 else {
            throw SigstoreError(
                .noSuchLogEntry, "there is no \(missing) in this log",
                advice: "check the number, the URL of the log and the version of its API",
                cause: HTTPStatusError(response: response))
        }
        return response.body
    }

    static func answer<Value>(_ what: String, _ read: () throws(SigstoreError) -> Value) throws(SigstoreError)
        -> Value
    {
        do throws(SigstoreError) { return try read() } catch {
            throw SigstoreError(
                .unexpectedAnswer, "the answer is not \(what): \(error.message)",
                advice: "check the URL of the log and the version of its API", cause: error)
        }
    }

    static func onlyV1(_ what: String) -> SigstoreError {
        SigstoreError(
            .notInRekorV2, "logs of Rekor v2 do not have \(what)",
            advice: .remedy(.giveLogIndex))
    }

    private static func verified(_ found: TransparencyLogEntry, _ root: TrustedRoot, _ now: Int64) throws(SigstoreError)
        -> VerifiedLogEntry
    {
        let body = try LogEntryBody(parsing: found.body)
        var entry = found
        (entry.kind, entry.kindVersion) = (body.kind, body.kindVersion)
        let log = try root.verify(entry, body, currentTime: now)
        return VerifiedLogEntry(entry: entry, body: body, log: log, leafHash: try MerkleTree.leafHash(entry.body))
    }
}

extension VerifiedLogEntry {
    /// Whether the entry itself says what it was found by. An index also holds what only an attestation said that the
    /// log does not keep.
    public func states(_ term: LogSearchTerm) throws(SigstoreError) -> Bool {
        switch term {
        case .digest(let digest):
            switch body.subject {
            case .message(let found), .payload(let found): return found == digest
            case .envelope(let found, let payload): return found == digest || payload == digest
            }
        case .email(let email):
            for signature in body.signatures {
                guard case .certificate(let der) = signature.verifier else { continue }
                for case .email(let name) in try Certificate(der: der).subjectAlternativeNames
                where name.utf8.elementsEqual(email.utf8) { return true }
            }
            return false
        case .key(let key):
            for signature in body.signatures {
                switch signature.verifier {
                case .publicKey(let spki): if spki == key.spki { return true }
                case .certificate(let der): if try Certificate(der: der).publicKey.isSame(as: key) { return true }
                }
            }
            return false
        }
    }
}

extension SigstoreError.Code {
    /// A log has no such entry.
    public static let noSuchLogEntry = Self("no-such-log-entry")
    /// Text that should be the UUID of a log entry is not one.
    public static let malformedUUID = Self("malformed-uuid")
    /// Something that only logs of Rekor v1 have.
    public static let notInRekorV2 = Self("not-in-rekor-v2")
}

extension SigstoreError.Remedy {
    /// The log finds entries by their index only.
    public static let giveLogIndex = Self("give-the-index-of-the-entry")
}
