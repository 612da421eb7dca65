import Foundation
import SigstoreCrypto
import StrictJSON
import Synchronization

/// A transparency log with Rekor's API v1: `hashedrekord` 0.0.1 and `dsse` 0.0.1, answering and refusing as Rekor 1.5
/// does. Whether a certificate still holds it does not ask, no more than Rekor does: what is posted too late is recorded.
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
        /// The number that stands in the answer, if not the status: one of go-openapi's for a request of the wrong form.
        var code: Int?
        let message: String

        /// An entry that is not taken. Rekor puts "error processing entry: " before the reason when one is proposed.
        static func entry(_ what: String) -> Self { Self(status: 400, message: what) }
        /// An entry whose form is not that of its kind.
        static func form(_ what: String) -> Self { .entry("validation failure list:\n\(what)") }
        static func missing(_ what: String) -> Self {
            Self(status: 422, code: 602, message: "\(what) is required")
        }
    }

    private static func error(
        _ status: Int, code: Int? = nil, _ message: String, headers: [(name: String, value: String)] = []
    ) -> LoopbackResponse {
        .json(status, .object(["code": .integer(code ?? status), "message": .string(message)]), headers: headers)
    }

    /// - Parameter inactive: The trees that were in use before this one.
    func answer(_ request: LoopbackRequest, inactive: [RekorV1] = []) throws -> LoopbackResponse {
        do {
            switch (request.method, request.path) {
            case ("POST", "/api/v1/log/entries"): return try create(request)
            case ("GET", "/api/v1/log/entries"): return try byIndex(request)
            case ("POST", "/api/v1/log/entries/retrieve"): return try retrieve(request)
            case ("POST", "/api/v1/index/retrieve"): return try search(request)
            case ("GET", "/api/v1/log"): return try info(request, inactive)
            case ("GET", "/api/v1/log/publicKey"):
                return .text(200, key.publicKey.pem, contentType: "application/x-pem-file")
            case ("GET", "/api/v1/log/proof"): return try consistency(request)
            case ("GET", "/ping"), ("GET", "/healthz"): return .text(200, "ok\n")
            case ("GET", let path) where path.hasPrefix("/api/v1/log/entries/"):
                let uuid = String(path.dropFirst("/api/v1/log/entries/".count))
                guard let bytes = Self.bytes(ofUUID: uuid) else {
                    return Self.error(422, code: 605, "entryUUID in path should match '\(Self.uuidPattern)'")
                }
                guard bytes.count == 32 || Array(bytes.prefix(8)) == TLS.integer(treeID, bytes: 8) else {
                    return Self.error(500, "unexpected error communicating with transparency log")
                }
                guard let entry = entry(uuid: uuid) else { return LoopbackResponse(404) }
                return .json(200, try describe(entry, faults: request.faults))
            case (_, "/api/v1/log/entries"):
                return Self.error(405, "method \(request.method) is not allowed, but [GET,POST] are")
            case (_, "/api/v1/log"):
                return Self.error(405, "method \(request.method) is not allowed, but [GET] are")
            default: return Self.error(404, "path \(request.path) was not found")
            }
        } catch let refusal as Refusal {
            return Self.error(refusal.status, code: refusal.code, refusal.message)
        }
    }

    private static let uuidPattern = "^([0-9a-fA-F]{64}|[0-9a-fA-F]{80})$"

    private static func bytes(ofUUID uuid: String) -> [UInt8]? {
        Hexadecimal.decode(uuid.lowercased()).flatMap { $0.count == 32 || $0.count == 40 ? $0 : nil }
    }

    private func uuid(_ entry: TransparencyLog.Entry) -> String {
        Hexadecimal.encode(TLS.integer(treeID, bytes: 8) + entry.leafHash)
    }

    /// Finds an entry by its UUID, with or without the tree's number before it.
    private func entry(uuid: String) -> TransparencyLog.Entry? {
        guard let bytes = Self.bytes(ofUUID: uuid) else { return nil }
        if bytes.count == 40, Array(bytes.prefix(8)) != TLS.integer(treeID, bytes: 8) { return nil }
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

    /// A proposed entry in a request to record one.
    private func proposal(_ request: LoopbackRequest) throws -> JSONCursor {
        guard !request.body.isEmpty || request.contentType != "application/json" else {
            throw Refusal.missing("proposedEntry in body")
        }
        let proposal = try parse(request)
        let other: String
        switch proposal.value {
        case .object: return proposal
        case .null: throw Refusal.missing("kind in body")
        case .array: other = "array"
        case .string: other = "string"
        case .number: other = "number"
        case .bool: other = "bool"
        }
        throw Refusal(
            status: 500,
            message:
                "json: cannot unmarshal \(other) into Go value of type struct { Kind string \"json:\\\"kind\\\"\" }")
    }

    private func create(_ request: LoopbackRequest) throws -> LoopbackResponse {
        let proposal = try proposal(request)
        let body: [UInt8]
        do { body = try canonicalBody(of: proposal) } catch let refusal as Refusal where refusal.status == 400 {
            throw Refusal(status: 400, message: "error processing entry: \(refusal.message)")
        }
        let (entry, isNew) = try log.add(body)
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
        guard let kind = try? proposal.member("kind").string(), !kind.isEmpty else {
            throw Refusal.missing("kind in body")
        }
        guard ["hashedrekord", "dsse"].contains(kind) else {
            throw Refusal(status: 422, message: "invalid kind value: \"\(kind)\"")
        }
        guard let version = try? proposal.member("apiVersion").string() else {
            throw Refusal.missing("apiVersion in body")
        }
        guard let spec = try? proposal.member("spec"), case .object = spec.value else {
            throw Refusal.missing("spec in body")
        }
        guard version == "0.0.1" else {
            throw Refusal.entry(
                "\(kind) implementation for version '\(version)' not found: "
                    + "unable to locate entry for version \(version)"
            )
        }
        return kind == "dsse" ? try dsse(spec) : try hashedRekord(spec)
    }

    private static func verifier(_ pem: [UInt8]) throws -> EntryVerifier {
        do { return try EntryVerifier(pem: pem) } catch {
            switch (try? PEM.blocks(in: pem))?.first?.label {
            case nil: throw Refusal.entry("invalid public key: failure decoding PEM")
            case "PUBLIC KEY", "CERTIFICATE": throw Refusal.entry("invalid public key")
            case let label?: throw Refusal.entry("invalid public key: cannot handle type \(label)")
            }
        }
    }

    private func hashedRekord(_ spec: JSONCursor) throws -> [UInt8] {
        let outer = try? spec.member("signature")
        let key = try? outer?.member("publicKey")
        func decoded(_ text: String?, _ what: String) throws -> [UInt8] {
            guard let bytes = Base64.decode(text ?? "") else {
                throw Refusal.entry(
                    "failed parsing base64 data for \(what) content: illegal base64 data at input byte 0")
            }
            return bytes
        }
        let signature = try decoded(try? outer?.member("content").string(), "signature")
        let pem = try decoded(try? key?.member("content").string(), "public key")
        guard let hash = try? spec.member("data").member("hash") else { throw Refusal.form("data in body is required") }
        guard let name = try? hash.member("algorithm").string() else {
            throw Refusal.form("data.data.hash.data.hash.algorithm in body is required")
        }
        guard let algorithm = HashAlgorithm(rawValue: name) else {
            throw Refusal.form(
                "data.data.hash.data.hash.algorithm in body should be one of [sha256 sha384 sha512]")
        }
        guard let value = try? hash.member("value").string() else {
            throw Refusal.form("data.data.hash.data.hash.value in body is required")
        }
        guard outer != nil else { throw Refusal.form("signature in body is required") }
        guard key != nil else { throw Refusal.entry("missing public key") }
        let verifier = try Self.verifier(pem)
        guard value.utf8.count == algorithm.byteCount * 2 else { throw Refusal.entry("invalid value for hash") }
        if let wrong = value.unicodeScalars.first(where: { !$0.properties.isASCIIHexDigit }) {
            throw Refusal.entry(
                "encoding/hex: invalid byte: U+\(String(format: "%04X", wrong.value)) '\(Character(wrong))'")
        }
        let digest = try Digest(hex: value.lowercased(), algorithm)
        guard verifier.isIssuedByChain else {
            throw Refusal.entry("verifying signature: x509: certificate signed by unknown authority")
        }
        try check(signature, by: verifier.key, of: digest)
        return Self.body(
            kind: "hashedrekord", spec: Self.hashedRekord(digest, signature: signature, verifier: verifier.pem))
    }

    /// Checks the signature over a file, in the one scheme that Rekor takes of its kind of key.
    private func check(_ signature: [UInt8], by key: PublicKey, of digest: Digest) throws {
        func refusal(_ why: String) -> Refusal { .entry("verifying signature: \(why)") }
        guard !signature.isEmpty else { throw refusal("X509 signature has not been initialized") }
        let scheme: SignatureScheme? =
            switch (key.kind, digest.algorithm) {
            case (.ecP256, .sha256), (.ecP384, .sha384), (.ecP521, .sha512): .ecdsa(digest.algorithm)
            case (.rsa(2048), .sha256), (.rsa(3072), .sha256), (.rsa(4096), .sha256): .rsaPKCS1(.sha256)
            case (.ed25519, .sha512): .ed25519ph
            case (.ed25519, .sha256), (.ed25519, .sha384):
                throw refusal(
                    "unsupported hash algorithm: \"SHA-\(digest.algorithm == .sha256 ? 256 : 384)\" not in [SHA-512]")
            default: nil
            }
        guard let scheme else { throw Refusal.entry("entry algorithms are not allowed") }
        guard (try? key.verifies(signature, of: HashedMessage(digest: digest), scheme: scheme)) != true else { return }
        switch scheme {
        case .ecdsa where signature.first != 0x30: throw refusal("ecdsa: Invalid IEEE_P1363 encoded bytes")
        case .ecdsa: throw refusal("invalid signature when validating ASN.1 encoded signature")
        case .ed25519, .ed25519ph: throw refusal("failed to verify signature: ed25519: invalid signature")
        case .rsaPKCS1, .rsaPSS: throw refusal("crypto/rsa: verification error")
        }
    }

    /// How Rekor checks an envelope: over SHA-256 whatever the key's curve, and Ed25519 in its pure form.
    private static func envelopeScheme(_ key: PublicKey) -> SignatureScheme {
        switch key.kind {
        case .ecP256, .ecP384, .ecP521: .ecdsa(.sha256)
        case .rsa: .rsaPKCS1(.sha256)
        case .ed25519: .ed25519
        }
    }

    private func dsse(_ spec: JSONCursor) throws -> [UInt8] {
        guard let content = try? spec.member("proposedContent") else {
            throw Refusal.entry("either proposedContent or envelopeHash, payloadHash, and signatures must be present")
        }
        let form = "proposedContent.proposedContent"
        guard let text = try? content.member("envelope").string() else {
            throw Refusal.form("\(form).envelope in body is required")
        }
        guard let list = try? content.member("verifiers").elements() else {
            throw Refusal.form("\(form).verifiers in body is required")
        }
        guard !list.isEmpty else { throw Refusal.form("\(form).verifiers in body should have at least 1 items") }
        guard let parsed = try? JSONValue(parsing: Array(text.utf8)) else {
            let complaint = GoJSON.complaint(about: Array(text.utf8))
            throw Refusal.entry(complaint.hasSuffix("EOF") ? "unexpected end of JSON input" : complaint)
        }
        let envelope = JSONCursor(parsed)
        guard let signatures = try? envelope.optional("signatures")?.elements().map({ try $0.member("sig").bytes() }),
            !signatures.isEmpty
        else { throw Refusal.entry("DSSE envelope must contain 1 or more signatures") }
        guard let payload = try? envelope.member("payload").bytes(),
            let type = try? envelope.member("payloadType").string()
        else {
            throw Refusal.entry(
                "could not verify envelope: unable to base64 decode payload (is payload in the right format?)")
        }
        let keys = try list.map { key in
            do { return try Self.verifier(try key.bytes()) } catch let refusal as Refusal {
                throw Refusal.entry("could not parse public key as x509: \(refusal.message)")
            }
        }
        let authenticated =
            Array("DSSEv1 \(type.utf8.count) \(type) \(payload.count) ".utf8) + payload
        var signed: [JSONValue] = []
        for signature in signatures {
            let verifier = keys.first {
                (try? $0.key.verifies(signature, ofBytes: authenticated, scheme: Self.envelopeScheme($0.key))) == true
            }
            guard let verifier else { continue }
            signed.append(
                .object(["signature": .bytes(signature), "verifier": .bytes(Array(verifier.pem.utf8))]))
        }
        guard !signed.isEmpty else {
            throw Refusal.entry(
                "could not verify envelope: accepted signatures do not match threshold, Found: 0, Expected 1")
        }
        guard signed.count == signatures.count else {
            throw Refusal.entry("all signatures must have a key that verifies it")
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
        guard let text = request.parameter("logIndex"), !text.isEmpty else {
            throw Refusal.missing("logIndex in query")
        }
        guard let index = Int(text) else {
            throw Refusal(status: 422, code: 601, message: "logIndex in query must be of type int64: \"\(text)\"")
        }
        guard index >= 0 else {
            throw Refusal(status: 422, code: 609, message: "logIndex in query should be greater than or equal to 0")
        }
        guard let entry = log.entry(at: index) else { return LoopbackResponse(404) }
        return .json(200, try describe(entry, faults: request.faults))
    }

    private func retrieve(_ request: LoopbackRequest) throws -> LoopbackResponse {
        let query: JSONCursor
        do { query = try parse(request) } catch let refusal as Refusal where refusal.status == 500 {
            throw Refusal(
                status: 400, message: "parsing entry body from \"\" failed, because \(refusal.message)")
        }
        func elements(_ name: String) throws -> [JSONCursor] {
            let elements = try query.optional(name)?.elements() ?? []
            guard elements.count <= 10 else {
                throw Refusal(status: 422, code: 611, message: "\(name) in body should have at most 10 items")
            }
            return elements
        }
        var found: [TransparencyLog.Entry] = []
        for (place, uuid) in try elements("entryUUIDs").enumerated() {
            let uuid = try uuid.string()
            guard Self.bytes(ofUUID: uuid) != nil else {
                throw Refusal(
                    status: 422, code: 605, message: "entryUUIDs.\(place) in body should match '\(Self.uuidPattern)'")
            }
            if let entry = entry(uuid: uuid) { found.append(entry) }
        }
        for index in try elements("logIndexes") {
            if let entry = log.entry(at: Int(try index.integer())) { found.append(entry) }
        }
        for proposal in try elements("entries") {
            let hash = try MerkleTree.leafHash(try canonicalBody(of: proposal))
            if let entry = log.entry(leafHash: hash) { found.append(entry) }
        }
        return .json(200, .array(try found.map { try describe($0, faults: request.faults) }))
    }

    private func search(_ request: LoopbackRequest) throws -> LoopbackResponse {
        let query = try parse(request)
        var terms: [String] = []
        if let hash = try query.optional("hash")?.string() {
            let parts = hash.lowercased().split(separator: ":", omittingEmptySubsequences: false)
            let digits = parts.last?.utf8.count ?? 0
            let name = [128: "sha512", 64: "sha256", 40: "sha1"][digits]
            guard let name, parts.count == 1 || parts.count == 2 && parts[0] == name,
                Hexadecimal.decode(String(parts[parts.count - 1])) != nil
            else {
                throw Refusal(
                    status: 422, code: 605,
                    message: "hash in body should match "
                        + "'^(sha512:)?[0-9a-fA-F]{128}$|^(sha256:)?[0-9a-fA-F]{64}$|^(sha1:)?[0-9a-fA-F]{40}$'")
            }
            terms.append("\(name):\(parts[parts.count - 1])")
        }
        if let email = try query.optional("email")?.string() {
            guard email.contains("@") else {
                throw Refusal(status: 422, code: 601, message: "email in body must be of type email: \"\(email)\"")
            }
            terms.append("email:\(email)")
        }
        if let key = try query.optional("publicKey") {
            guard try key.optional("format") != nil else {
                throw Refusal.missing("publicKey.publicKey.format in body")
            }
            guard let content = try? key.member("content").bytes(), let verifier = try? EntryVerifier(pem: content)
            else {
                return Self.error(400, "public key provided could not be parsed")
            }
            terms.append("key:\(try Digest.sha256(verifier.key.spki).hex)")
        }
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

    private func info(_ request: LoopbackRequest, _ inactive: [RekorV1]) throws -> LoopbackResponse {
        var info = try tree(request)
        let shards: [JSONValue] = try inactive.map { .object(try $0.tree(request)) }
        info["inactiveShards"] = shards.isEmpty ? .null : .array(shards)
        return .json(200, .object(info))
    }

    private func tree(_ request: LoopbackRequest) throws -> JSONObject {
        let size = log.size
        return [
            "rootHash": .string(Hexadecimal.encode(try log.root(size: size))),
            "signedTreeHead": .string(try log.checkpoint(faults: request.faults)), "treeID": .string(String(treeID)),
            "treeSize": .integer(size),
        ]
    }

    private func consistency(_ request: LoopbackRequest) throws -> LoopbackResponse {
        let first = request.parameter("firstSize").map { Int($0) ?? 0 } ?? 1
        guard let last = request.parameter("lastSize").flatMap({ Int($0) }) else {
            throw Refusal.missing("lastSize in query")
        }
        guard first >= 1 else {
            throw Refusal(status: 422, code: 609, message: "firstSize in query should be greater than or equal to 1")
        }
        guard first <= last else {
            return Self.error(400, "firstSize(\(first)) must be less than lastSize(\(last))")
        }
        let size = log.size
        guard last <= size else {
            return Self.error(
                400,
                "the tree size requested(\(last)) was greater than what is currently observable(\(size))")
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
