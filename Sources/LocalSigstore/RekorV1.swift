import Foundation
import SigstoreCrypto
import StrictJSON
import Synchronization

/// A transparency log with Rekor's API v1: `hashedrekord` 0.0.1 and `dsse` 0.0.1, answering as Rekor 1.5 does.
///
/// Ed25519ph signatures are logged without being verified: the log sees a digest only, and the library at hand verifies
/// Ed25519ph only over whole messages.
final class RekorV1: Sendable {
    let log: TransparencyLog
    private let treeID: UInt64
    /// SHA-256 of the key's SubjectPublicKeyInfo.
    let logID: [UInt8]
    private let key: PrivateKey
    /// What can be searched for, and the UUIDs that it leads to.
    private let searchIndex = Mutex<[String: [String]]>([:])

    /// - Parameter name: What its file is called.
    init(name: String, key: PrivateKey, folder: StateFolder) throws(SigstoreError) {
        self.key = key
        logID = try Digest.sha256(key.publicKey.spki).bytes
        // The tree's number must stay the same from one start to the next, and so comes from the key.
        treeID = logID.dropFirst(8).prefix(8).reduce(0) { $0 << 8 | UInt64($1) } & 0x7fff_ffff_ffff_ffff | 1 << 60
        log = try TransparencyLog(
            name: name,
            signer: .ecdsa(key, origin: "rekor.local - \(treeID)", name: "rekor.local"), folder: folder)
        for entry in log.entries { try addToIndex(entry) }
        if log.size == 0 { try addOwnEntry() }
    }

    /// cosign 2.5 refuses the entry number 0, so the log begins with one of its own.
    private func addOwnEntry() throws(SigstoreError) {
        let digest = try Digest.sha256(Array("the first entry of \(log.signer.origin)".utf8))
        let signature = try key.sign(HashedMessage(digest: digest), scheme: .ecdsa(.sha256))
        _ = try log.add(
            Self.body(
                kind: "hashedrekord",
                spec: Self.hashedRekord(digest, signature: signature, verifier: key.publicKey.pem)))
    }

    private static func body(kind: String, spec: JSONObject) -> [UInt8] {
        JSONValue.object(["apiVersion": .string("0.0.1"), "kind": .string(kind), "spec": .object(spec)]).canonicalized()
    }

    private static func hashedRekord(_ digest: Digest, signature: [UInt8], verifier pem: String) -> JSONObject {
        [
            "data": .object([
                "hash": .object(["algorithm": .string(digest.algorithm.rawValue), "value": .string(digest.hex)])
            ]),
            "signature": .object([
                "content": .bytes(signature), "publicKey": .object(["content": .bytes(Array(pem.utf8))]),
            ]),
        ]
    }

    // MARK: - Answering

    /// What Rekor answers instead of an entry.
    private struct Refusal: Error {
        let status: Int
        let message: String

        static func entry(_ what: String) -> Self { Self(status: 400, message: "error processing entry: \(what)") }
    }

    private static func error(_ status: Int, _ message: String, headers: [(name: String, value: String)] = [])
        -> LoopbackResponse
    {
        .json(status, .object(["code": .integer(status), "message": .string(message)]), headers: headers)
    }

    func answer(_ request: LoopbackRequest) throws -> LoopbackResponse {
        do {
            switch (request.method, request.path) {
            case ("POST", "/api/v1/log/entries"): return try create(request)
            case ("GET", "/api/v1/log/entries"): return try byIndex(request)
            case ("POST", "/api/v1/log/entries/retrieve"): return try retrieve(request)
            case ("POST", "/api/v1/index/retrieve"): return try search(request)
            case ("GET", "/api/v1/log"): return try info(request)
            case ("GET", "/api/v1/log/publicKey"):
                return .text(200, key.publicKey.pem, contentType: "application/x-pem-file")
            case ("GET", "/api/v1/log/proof"): return try consistency(request)
            case ("GET", "/ping"), ("GET", "/healthz"): return .text(200, "ok\n")
            case ("GET", let path) where path.hasPrefix("/api/v1/log/entries/"):
                guard let entry = entry(uuid: String(path.dropFirst("/api/v1/log/entries/".count))) else {
                    return LoopbackResponse(404)
                }
                return .json(200, try describe(entry, faults: request.faults))
            case (_, "/api/v1/log/entries"), (_, "/api/v1/log"):
                return Self.error(405, "method \(request.method) is not allowed, but [GET,POST] are")
            default: return Self.error(404, "path \(request.path) was not found")
            }
        } catch let refusal as Refusal {
            return Self.error(refusal.status, refusal.message)
        }
    }

    private func uuid(_ entry: TransparencyLog.Entry) -> String {
        Hexadecimal.encode(TLS.integer(treeID, bytes: 8) + entry.leafHash)
    }

    /// Finds an entry by its UUID, with or without the tree's number before it.
    private func entry(uuid: String) -> TransparencyLog.Entry? {
        guard let bytes = Hexadecimal.decode(uuid) else { return nil }
        if bytes.count == 40, Array(bytes.prefix(8)) != TLS.integer(treeID, bytes: 8) { return nil }
        guard bytes.count == 40 || bytes.count == 32 else { return nil }
        return log.entry(leafHash: Array(bytes.suffix(32)))
    }

    /// An entry with its promise and proof, keyed by its UUID.
    private func describe(_ asked: TransparencyLog.Entry, faults: [Fault.Action]) throws -> JSONValue {
        // Another entry than the one that was asked for, if that is the fault: the one before it.
        let entry = faults.contains(.wrongEntry) ? log.entry(at: max(0, asked.index - 1)) ?? asked : asked
        var time = entry.time
        for case .wrongTime(let seconds) in faults { time += seconds }
        let promised: JSONValue = .object([
            "body": .bytes(entry.body), "integratedTime": .integer(time), "logID": .string(Hexadecimal.encode(logID)),
            "logIndex": .integer(entry.index),
        ])
        let signer = faults.contains(.wrongPromise) ? try PrivateKey.generate(.ecdsaP256) : key
        let promise = try signer.sign(promised.canonicalized(), scheme: .ecdsa(.sha256))
        let proof = try log.proof(of: entry, faults: faults)
        return .object([
            uuid(entry): .object([
                "body": .bytes(entry.body), "integratedTime": .integer(time),
                "logID": .string(Hexadecimal.encode(logID)), "logIndex": .integer(entry.index),
                "verification": .object([
                    "inclusionProof": .object([
                        "checkpoint": .string(proof.checkpoint),
                        "hashes": .array(proof.hashes.map { .string(Hexadecimal.encode($0)) }),
                        "logIndex": .integer(entry.index), "rootHash": .string(Hexadecimal.encode(proof.root)),
                        "treeSize": .integer(proof.size),
                    ]),
                    "signedEntryTimestamp": .bytes(promise),
                ]),
            ])
        ])
    }

    // MARK: - Adding

    /// A proposed entry's JSON, once its media type and form are right.
    private func parse(_ request: LoopbackRequest) throws -> JSONCursor {
        guard request.contentType == "application/json" else {
            throw Refusal(
                status: 415,
                message: "unsupported media type \"\(request.contentType ?? "")\", only [application/json] are allowed")
        }
        guard let parsed = try? JSONValue(parsing: request.body) else {
            throw Refusal(status: 500, message: GoJSON.complaint(about: request.body))
        }
        return JSONCursor(parsed)
    }

    private func create(_ request: LoopbackRequest) throws -> LoopbackResponse {
        let (entry, isNew) = try log.add(canonicalBody(of: try parse(request)))
        let location = "/api/v1/log/entries/\(uuid(entry))"
        guard isNew else {
            return Self.error(
                409, "an equivalent entry already exists in the transparency log with UUID \(uuid(entry))",
                headers: [(name: "Location", value: location)])
        }
        try addToIndex(entry)
        return .json(
            201, try describe(entry, faults: request.faults),
            headers: [(name: "ETag", value: uuid(entry)), (name: "Location", value: location)])
    }

    /// Checks a proposed entry and makes the body that is logged for it.
    private func canonicalBody(of proposal: JSONCursor) throws -> [UInt8] {
        let kind = (try? proposal.member("kind").string()) ?? ""
        let version = (try? proposal.member("apiVersion").string()) ?? ""
        guard ["hashedrekord", "dsse"].contains(kind) else {
            throw Refusal(status: 422, message: "invalid kind value: \"\(kind)\"")
        }
        guard version == "0.0.1" else {
            throw Refusal.entry(
                "\(kind) implementation for version '\(version)' not found: "
                    + "unable to locate entry for version \(version)"
            )
        }
        guard let spec = try? proposal.member("spec") else { throw Refusal.entry("spec is missing") }
        return kind == "dsse" ? try dsse(spec) : try hashedRekord(spec)
    }

    private func hashedRekord(_ spec: JSONCursor) throws -> [UInt8] {
        guard let signature = try? spec.member("signature"), let content = try? signature.member("content").string(),
            let keyText = try? signature.member("publicKey").member("content").string(),
            let hash = try? spec.member("data").member("hash"), let value = try? hash.member("value").string()
        else { throw Refusal.entry("validation failure list: spec is incomplete") }
        guard let signature = Base64.decode(content) else {
            throw Refusal.entry(
                "failed parsing base64 data for signature content: illegal base64 data at input byte 0")
        }
        guard let pem = Base64.decode(keyText) else {
            throw Refusal.entry(
                "failed parsing base64 data for public key content: illegal base64 data at input byte 0")
        }
        guard let verifier = try? EntryVerifier(pem: pem) else { throw Refusal.entry("invalid public key") }
        let name = (try? hash.member("algorithm").string()) ?? "sha256"
        guard let algorithm = HashAlgorithm(rawValue: name), let digest = try? Digest(hex: value, algorithm) else {
            throw Refusal.entry("invalid value for hash")
        }
        let scheme: SignatureScheme
        switch verifier.key.kind {
        case .ecP256, .ecP384, .ecP521: scheme = .ecdsa(algorithm)
        case .rsa: scheme = .rsaPKCS1(algorithm)
        case .ed25519:
            guard algorithm == .sha512 else {
                let goName = name.uppercased().replacingOccurrences(of: "SHA", with: "SHA-")
                throw Refusal.entry(
                    "verifying signature: unsupported hash algorithm: \"\(goName)\" not in [SHA-512]")
            }
            scheme = .ed25519ph
        }
        if scheme != .ed25519ph,
            (try? verifier.key.verifies(signature, of: HashedMessage(digest: digest), scheme: scheme)) != true
        {
            throw Refusal.entry("verifying signature: invalid signature when validating ASN.1 encoded signature")
        }
        return Self.body(
            kind: "hashedrekord", spec: Self.hashedRekord(digest, signature: signature, verifier: verifier.pem))
    }

    private func dsse(_ spec: JSONCursor) throws -> [UInt8] {
        guard let content = try? spec.member("proposedContent"), let text = try? content.member("envelope").string(),
            let keys = try? content.member("verifiers").elements().map({ try EntryVerifier(pem: $0.bytes()) })
        else { throw Refusal.entry("missing required field: proposedContent") }
        guard let parsed = try? JSONValue(parsing: Array(text.utf8)),
            let payload = try? JSONCursor(parsed).member("payload").bytes(),
            let type = try? JSONCursor(parsed).member("payloadType").string(),
            let signatures = try? JSONCursor(parsed).member("signatures").elements().map({
                try $0.member("sig").bytes()
            })
        else { throw Refusal.entry("error unmarshaling envelope") }
        let authenticated =
            Array("DSSEv1 \(type.utf8.count) \(type) \(payload.count) ".utf8) + payload
        var signed: [JSONValue] = []
        for signature in signatures {
            let verifier = keys.first { verifier in
                verifier.key.schemes.contains {
                    (try? verifier.key.verifies(signature, ofBytes: authenticated, scheme: $0)) == true
                }
            }
            guard let verifier else { break }
            signed.append(
                .object(["signature": .bytes(signature), "verifier": .bytes(Array(verifier.pem.utf8))]))
        }
        guard !signed.isEmpty, signed.count == signatures.count else {
            throw Refusal.entry(
                "could not verify envelope: accepted signatures do not match threshold, "
                    + "Found: \(signed.count), Expected 1"
            )
        }
        func hash(_ bytes: [UInt8]) throws -> JSONValue {
            .object(["algorithm": .string("sha256"), "value": .string(try Digest.sha256(bytes).hex)])
        }
        return Self.body(
            kind: "dsse",
            spec: [
                "envelopeHash": try hash(Array(text.utf8)), "payloadHash": try hash(payload),
                "signatures": .array(signed),
            ])
    }

    // MARK: - Reading

    private func byIndex(_ request: LoopbackRequest) throws -> LoopbackResponse {
        guard let text = request.parameter("logIndex"), let index = Int(text) else {
            return Self.error(422, "logIndex in query is required")
        }
        guard let entry = log.entry(at: index) else { return LoopbackResponse(404) }
        return .json(200, try describe(entry, faults: request.faults))
    }

    private func retrieve(_ request: LoopbackRequest) throws -> LoopbackResponse {
        let query = try parse(request)
        var found: [TransparencyLog.Entry] = []
        for uuid in try query.optional("entryUUIDs")?.elements() ?? [] {
            if let entry = entry(uuid: try uuid.string()) { found.append(entry) }
        }
        for index in try query.optional("logIndexes")?.elements() ?? [] {
            if let entry = log.entry(at: Int(try index.integer())) { found.append(entry) }
        }
        for proposal in try query.optional("entries")?.elements() ?? [] {
            let hash = try MerkleTree.leafHash(try canonicalBody(of: proposal))
            if let entry = log.entry(leafHash: hash) { found.append(entry) }
        }
        return .json(200, .array(try found.map { try describe($0, faults: request.faults) }))
    }

    private func search(_ request: LoopbackRequest) throws -> LoopbackResponse {
        let query = try parse(request)
        var terms: [String] = []
        if let hash = try query.optional("hash")?.string() {
            terms.append(hash.contains(":") ? hash.lowercased() : "sha256:\(hash.lowercased())")
        }
        if let email = try query.optional("email")?.string() { terms.append("email:\(email)") }
        if let content = try query.optional("publicKey")?.optional("content")?.bytes() {
            guard let verifier = try? EntryVerifier(pem: content) else {
                return Self.error(400, "invalid public key")
            }
            terms.append("key:\(try Digest.sha256(verifier.key.spki).hex)")
        }
        guard !terms.isEmpty else { return Self.error(400, "at least one of hash, publicKey or email must be given") }
        let lists = searchIndex.withLock { index in terms.map { index[$0] ?? [] } }
        let both = ((try? query.optional("operator")?.string()) ?? "or") == "and"
        var found: [String] = []
        for uuid in lists.joined() where !found.contains(uuid) {
            if !both || lists.allSatisfy({ $0.contains(uuid) }) { found.append(uuid) }
        }
        return .json(200, .array(found.map(JSONValue.string)))
    }

    private func addToIndex(_ entry: TransparencyLog.Entry) throws(SigstoreError) {
        let body = JSONCursor(try JSONValue(parsing: entry.body))
        let spec = try body.member("spec")
        var terms: [String] = []
        var keys: [[UInt8]] = []
        if let hash = try spec.optional("data")?.member("hash") {
            terms.append("\(try hash.member("algorithm").string()):\(try hash.member("value").string())")
            keys.append(try spec.member("signature").member("publicKey").member("content").bytes())
        }
        for name in ["envelopeHash", "payloadHash"] {
            if let hash = try spec.optional(name) { terms.append("sha256:\(try hash.member("value").string())") }
        }
        for signature in try spec.optional("signatures")?.elements() ?? [] {
            keys.append(try signature.member("verifier").bytes())
        }
        for pem in keys {
            let verifier = try EntryVerifier(pem: pem)
            terms.append("key:\(try Digest.sha256(verifier.key.spki).hex)")
            for email in try verifier.certificate?.emails() ?? [] { terms.append("email:\(email)") }
        }
        let uuid = uuid(entry)
        searchIndex.withLock { index in for term in terms { index[term, default: []].append(uuid) } }
    }

    private func info(_ request: LoopbackRequest) throws -> LoopbackResponse {
        let size = log.size
        return .json(
            200,
            .object([
                "inactiveShards": .null, "rootHash": .string(Hexadecimal.encode(try log.root(size: size))),
                "signedTreeHead": .string(try log.checkpoint(faults: request.faults)),
                "treeID": .string(String(treeID)),
                "treeSize": .integer(size),
            ]))
    }

    private func consistency(_ request: LoopbackRequest) throws -> LoopbackResponse {
        let first = request.parameter("firstSize").map { Int($0) } ?? 1
        guard let first, let last = request.parameter("lastSize").flatMap({ Int($0) }), first > 0 else {
            return Self.error(422, "lastSize in query is required")
        }
        guard first <= last, last <= log.size else {
            return Self.error(400, "firstSize(\(first)) must be less than lastSize(\(last))")
        }
        let hashes = try log.consistencyProof(from: first, to: last)
        return .json(
            200,
            .object([
                "hashes": .array(hashes.map { .string(Hexadecimal.encode($0)) }),
                "rootHash": .string(Hexadecimal.encode(try log.root(size: last))),
            ]))
    }
}
