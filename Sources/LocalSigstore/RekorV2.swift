import Foundation
import SigstoreCrypto
import StrictJSON

/// A transparency log with Rekor's API v2 (rekor-tiles): `hashedrekord` 0.0.2 only, no times, an Ed25519 key, and reads
/// as tiles (C2SP tlog-tiles), which are served under `/api/v2/` and at the root.
final class RekorV2: Sendable {
    let log: TransparencyLog

    /// - Parameters:
    ///   - name: What its file is called.
    ///   - origin: The host name of the log's base URL, without a port.
    init(name: String, key: PrivateKey, origin: String, folder: StateFolder) throws(SigstoreError) {
        log = try TransparencyLog(name: name, signer: .ed25519(key, origin: origin), folder: folder)
        if log.size == 0 {
            // As in v1, no client's entry is number 0.
            let own = try PrivateKey.generate(.ecdsaP256)
            let digest = try Digest.sha256(Array("the first entry of \(origin)".utf8))
            let signature = try own.sign(HashedMessage(digest: digest), scheme: .ecdsa(.sha256))
            _ = try log.add(
                Self.body(
                    digest, signature: signature, keyDetails: "PKIX_ECDSA_P256_SHA_256", material: "publicKey",
                    rawBytes: own.publicKey.spki))
        }
    }

    private static func body(
        _ digest: Digest, signature: [UInt8], keyDetails: String, material: String, rawBytes: [UInt8]
    ) -> [UInt8] {
        let algorithm =
            switch digest.algorithm {
            case .sha256: "SHA2_256"
            case .sha384: "SHA2_384"
            case .sha512: "SHA2_512"
            }
        return JSONValue.object([
            "apiVersion": .string("0.0.2"), "kind": .string("hashedrekord"),
            "spec": .object([
                "hashedRekordV002": .object([
                    "data": .object(["algorithm": .string(algorithm), "digest": .bytes(digest.bytes)]),
                    "signature": .object([
                        "content": .bytes(signature),
                        "verifier": .object([
                            "keyDetails": .string(keyDetails), material: .object(["rawBytes": .bytes(rawBytes)]),
                        ]),
                    ]),
                ])
            ]),
        ]).canonicalized()
    }

    private static func error(_ status: Int, code: Int, _ message: String, index: Int? = nil) -> LoopbackResponse {
        .json(
            status, .object(["code": .integer(code), "message": .string(message), "details": .array([])]),
            headers: index.map { [(name: "X-Log-Index", value: String($0))] } ?? [])
    }
    private static let invalid = error(400, code: 3, "invalid hashedrekord request")

    func answer(_ request: LoopbackRequest) throws -> LoopbackResponse {
        switch (request.method, request.path) {
        case ("POST", "/api/v2/log/entries"): return try create(request)
        case (_, "/api/v2/log/entries"): return Self.error(501, code: 12, "Method Not Allowed")
        case ("GET", "/healthz"): return .json(200, .object(["status": .string("SERVING")]))
        case ("GET", let path):
            let path = path.hasPrefix("/api/v2/") ? String(path.dropFirst("/api/v2".count)) : path
            if path == "/checkpoint" { return .text(200, try log.checkpoint(faults: request.faults)) }
            if path.hasPrefix("/tile/") { return tile(Array(path.split(separator: "/").dropFirst())) }
            return Self.error(404, code: 5, "Not Found")
        default: return Self.error(404, code: 5, "Not Found")
        }
    }

    private func create(_ request: LoopbackRequest) throws -> LoopbackResponse {
        let parsed: JSONValue
        // No body is taken for an empty request.
        do { parsed = request.body.isEmpty ? .object([:]) : try JSONValue(parsing: request.body) } catch {
            return Self.error(400, code: 3, GoJSON.complaint(about: request.body))
        }
        if let complaint = ProtoJSON(request.body).complaint(about: parsed) {
            return Self.error(400, code: 3, complaint)
        }
        guard let entry = try? JSONCursor(parsed).optional("hashedRekordRequestV002") else {
            return Self.error(400, code: 3, "invalid type, must be hashedrekord")
        }
        guard let digestBytes = try? entry.member("digest").bytes(), let outer = try? entry.member("signature"),
            let signature = try? outer.member("content").bytes(), let verifier = try? outer.member("verifier"),
            let details = try? verifier.member("keyDetails").string(), let names = try? verifier.names(),
            let material = names.first(where: { $0 == "x509Certificate" || $0 == "publicKey" }),
            let rawBytes = try? verifier.member(material).member("rawBytes").bytes(),
            let key = try? material == "publicKey" ? EntryVerifier(key: rawBytes) : EntryVerifier(certificate: rawBytes)
        else { return Self.invalid }
        if details == "PKIX_ED25519", key.key.kind == .ed25519 {
            return Self.error(500, code: 13, "internal server error")
        }
        guard let scheme = Self.scheme(details, key.key), let algorithm = scheme.hash,
            let digest = try? Digest(algorithm, bytes: digestBytes),
            try key.key.verifies(signature, of: HashedMessage(digest: digest), scheme: scheme)
        else { return Self.invalid }
        let (added, isNew) = try log.add(
            Self.body(digest, signature: signature, keyDetails: details, material: material, rawBytes: rawBytes))
        guard isNew else {
            return Self.error(
                409, code: 6, "an equivalent entry already exists in the transparency log with index \(added.index)",
                index: added.index)
        }
        return try describe(added, faults: request.faults)
    }

    /// The scheme that a name of protobuf-specs' PublicKeyDetails stands for, if the key is of that kind.
    private static func scheme(_ details: String, _ key: PublicKey) -> SignatureScheme? {
        switch (details, key.kind) {
        case ("PKIX_ECDSA_P256_SHA_256", .ecP256): .ecdsa(.sha256)
        case ("PKIX_ECDSA_P384_SHA_384", .ecP384): .ecdsa(.sha384)
        case ("PKIX_ECDSA_P521_SHA_512", .ecP521): .ecdsa(.sha512)
        case ("PKIX_RSA_PKCS1V15_2048_SHA256", .rsa(bits: 2048)), ("PKIX_RSA_PKCS1V15_3072_SHA256", .rsa(bits: 3072)),
            ("PKIX_RSA_PKCS1V15_4096_SHA256", .rsa(bits: 4096)):
            .rsaPKCS1(.sha256)
        case ("PKIX_ED25519_PH", .ed25519): .ed25519ph
        default: nil
        }
    }

    private func describe(_ added: TransparencyLog.Entry, faults: [Fault.Action]) throws -> LoopbackResponse {
        let entry = faults.contains(.wrongEntry) ? log.entry(at: max(0, added.index - 1)) ?? added : added
        let proof = try log.proof(of: entry, faults: faults)
        return .json(
            201,
            .object([
                "logIndex": .string(String(entry.index)), "logId": .object(["keyId": .bytes(log.signer.keyID)]),
                "kindVersion": .object(["kind": .string("hashedrekord"), "version": .string("0.0.2")]),
                "integratedTime": .string("0"), "inclusionPromise": .null,
                "inclusionProof": .object([
                    "logIndex": .string(String(entry.index)), "rootHash": .bytes(proof.root),
                    "treeSize": .string(String(proof.size)), "hashes": .array(proof.hashes.map(JSONValue.bytes)),
                    "checkpoint": .object(["envelope": .string(proof.checkpoint)]),
                ]),
                "canonicalizedBody": .bytes(entry.body),
            ]))
    }

    // MARK: - Tiles

    /// `LEVEL/x001/234` or `entries/x001/234`, with `.p/WIDTH` after a tile that is not full.
    private func tile(_ parts: [Substring]) -> LoopbackResponse {
        var parts = parts.map(String.init)
        var width = 256
        if parts.count >= 2, parts[parts.count - 2].hasSuffix(".p"), let partial = Int(parts[parts.count - 1]),
            (1..<256).contains(partial)
        {
            width = partial
            parts.removeLast()
            parts[parts.count - 1] = String(parts[parts.count - 1].dropLast(2))
        }
        guard let kind = parts.first, parts.count >= 2, parts.count <= 6 else { return .text(404, "not found\n") }
        var number = 0
        for (place, part) in parts.dropFirst().enumerated() {
            let isLast = place == parts.count - 2
            guard let group = Int(isLast ? part : String(part.dropFirst())), isLast || part.hasPrefix("x"),
                (0..<1_000).contains(group)
            else { return .text(404, "not found\n") }
            number = number * 1_000 + group
        }
        let first = number * 256
        var body: [UInt8] = []
        if kind == "entries" {
            let entries = log.entries
            guard first + width <= entries.count else { return .text(404, "not found\n") }
            for entry in entries[first..<first + width] { body += TLS.vector16(entry.body) }
        } else {
            guard let level = Int(kind), (0..<8).contains(level) else { return .text(404, "not found\n") }
            let nodes = log.nodes(level: level * 8)
            guard first + width <= nodes.count else { return .text(404, "not found\n") }
            for node in nodes[first..<first + width] { body += node }
        }
        return LoopbackResponse(200, contentType: "application/octet-stream", body: body)
    }
}

/// What Go's reader of protobuf's JSON says of a request that is not of the form that a service wants: Rekor v2's, whose
/// messages are known here, or Fulcio's.
struct ProtoJSON {
    private let body: [UInt8]

    init(_ body: [UInt8]) { self.body = body }

    /// The members of each message, by its place in the request.
    private static let members: [String: [String]] = [
        "": ["hashedRekordRequestV002", "dsseRequestV002"], "dsseRequestV002": ["envelope", "verifiers"],
        "hashedRekordRequestV002": ["digest", "signature"], "signature": ["content", "verifier"],
        "verifier": ["publicKey", "x509Certificate", "keyDetails"], "publicKey": ["rawBytes"],
        "x509Certificate": ["rawBytes"],
    ]
    /// Of these a message holds one.
    private static let choices: [String: (members: Set<String>, name: String)] = [
        "": (["hashedRekordRequestV002", "dsseRequestV002"], "CreateEntryRequest.spec"),
        "verifier": (["publicKey", "x509Certificate"], "Verifier.verifier"),
    ]

    /// Line and column of a member's name, or of its value.
    func position(of name: String, value: Bool = false) -> String {
        let name = Array("\"\(name)\"".utf8)
        guard var place = body.firstRange(of: name)?.lowerBound else { return "(line 1:1)" }
        if value {
            place += name.count
            while body.indices.contains(place), [0x20, 0x3a, 0x0a, 0x09, 0x0d].contains(body[place]) { place += 1 }
        }
        let before = body[..<place]
        let column = before.reversed().prefix { $0 != 0x0a }.count + 1
        return "(line \(before.count { $0 == 0x0a } + 1):\(column))"
    }

    /// What is said of a value that should be a message.
    func unexpected(_ value: JSONValue, in place: String = "") -> String {
        let token = String(decoding: value.serialized(), as: UTF8.self)
        let start = place.isEmpty ? "(line 1:1)" : position(of: place, value: true)
        return "proto: syntax error \(start): unexpected token \(token.hasPrefix("[") ? "[" : token)"
    }

    /// What is wrong with a message; `nil` if nothing is.
    func complaint(about message: JSONValue, in place: String = "") -> String? {
        guard case .object(let object) = message else { return unexpected(message, in: place) }
        var chosen = false
        for (name, value) in object.members.map({ ($0.name, $0.value) }) {
            guard let known = Self.members[place], known.contains(name) else {
                return Self.members[place] == nil ? nil : "proto: \(position(of: name)): unknown field \"\(name)\""
            }
            if let choice = Self.choices[place], choice.members.contains(name) {
                if chosen {
                    return "proto: \(position(of: name)): error parsing \"\(name)\", oneof dev.sigstore.rekor.v2."
                        + "\(choice.name) is already set"
                }
                chosen = true
            }
            if case .null = value { continue }
            switch name {
            case "digest", "content", "rawBytes":
                if case .string(let text) = value, Base64.decode(text) != nil { continue }
                return "proto: \(position(of: name, value: true)): invalid value for bytes field \(name): "
                    + String(decoding: value.serialized(), as: UTF8.self)
            case "keyDetails":
                guard case .string(let text) = value, !text.hasPrefix("PKIX_"), !text.hasPrefix("PKCS1_"),
                    text != "PUBLIC_KEY_DETAILS_UNSPECIFIED", !text.hasPrefix("LMS_"), !text.hasPrefix("LMOTS_")
                else { continue }
                return "proto: \(position(of: name, value: true)): invalid value for enum field \(name): \"\(text)\""
            case "envelope", "verifiers": continue
            default: if let complaint = complaint(about: value, in: name) { return complaint }
            }
        }
        return nil
    }
}
