import Foundation
import SigstoreCrypto
import StrictJSON
import Synchronization

/// A certificate transparency log (RFC 6962) that holds what the local Fulcio issues.
final class CertificateLog: Sendable {
    private struct Entry: Sendable {
        let leaf: [UInt8]
        let extra: [UInt8]
    }
    private struct Contents: Sendable {
        var tree = MerkleTree()
        var entries: [Entry] = []
        var places: [[UInt8]: Int] = [:]
    }
    private let contents = Mutex(Contents())
    private let folder: StateFolder
    let key: PrivateKey
    /// SHA-256 of the key's SubjectPublicKeyInfo.
    let id: [UInt8]
    private let roots: [X509]
    private let name: String

    /// - Parameter name: What its file is called.
    init(name: String, key: PrivateKey, roots: [X509], folder: StateFolder) throws(SigstoreError) {
        self.name = name
        self.key = key
        self.roots = roots
        self.folder = folder
        id = try Digest.sha256(key.publicKey.spki).bytes
        for line in try folder.entries(of: name) {
            let line = JSONCursor(line)
            try add(leaf: line.member("leaf").bytes(), extra: line.member("extra").bytes())
        }
    }

    private func add(leaf: [UInt8], extra: [UInt8]) throws(SigstoreError) {
        let hash = try MerkleTree.leafHash(leaf)
        try contents.withLock { (contents) throws(SigstoreError) in
            contents.places[hash] = contents.entries.count
            contents.entries.append(Entry(leaf: leaf, extra: extra))
            try contents.tree.append(leafHash: hash)
        }
    }

    /// A signed certificate timestamp: its time, and the whole structure as it stands in a certificate.
    struct Timestamp: Sendable {
        let milliseconds: UInt64
        let signature: [UInt8]
        let encoded: [UInt8]
    }

    /// Takes a certificate or precertificate in.
    /// - Parameters:
    ///   - chain: The certificate, then its issuers.
    ///   - precertificate: Whether it carries the poison extension.
    ///   - time: In seconds since 1970, if not now.
    ///   - signer: Signs in the log's place: a timestamp that does not verify.
    func add(_ chain: [X509], precertificate: Bool, at time: Int64? = nil, signer: PrivateKey? = nil)
        throws(SigstoreError) -> Timestamp
    {
        guard let certificate = chain.first, let issuer = chain.dropFirst().first ?? roots.first else {
            throw SigstoreError(.malformedDER, "the chain is empty")
        }
        let now = time.map { UInt64(clamping: $0) &* 1_000 } ?? UInt64(Date().timeIntervalSince1970 * 1_000)
        let type = TLS.integer(precertificate ? 1 : 0, bytes: 2)
        let signedEntry =
            precertificate
            ? try Digest.sha256(issuer.spki).bytes
                + TLS.vector24(certificate.toBeSigned(without: CertificateExtension.poison.oid))
            : TLS.vector24(certificate.der)
        let body = TLS.integer(now, bytes: 8) + type + signedEntry + TLS.vector16([])
        // Version 1 and certificate_timestamp are both written as 0, and so are the leaf's version and type.
        let signature = try (signer ?? key).sign([0, 0] + body, scheme: .ecdsa(.sha256))
        let issuers = TLS.vector24(chain.dropFirst().flatMap { TLS.vector24($0.der) })
        let extra = precertificate ? TLS.vector24(certificate.der) + issuers : issuers
        try add(leaf: [0, 0] + body, extra: extra)
        try folder.append(.object(["leaf": .bytes([0, 0] + body), "extra": .bytes(extra)]), to: name)
        return Timestamp(
            milliseconds: now, signature: [4, 3] + TLS.vector16(signature),
            encoded: [0] + id + TLS.integer(now, bytes: 8) + TLS.vector16([]) + [4, 3] + TLS.vector16(signature))
    }

    // MARK: Over HTTP (RFC 6962, section 4)

    func answer(_ request: LoopbackRequest) throws -> LoopbackResponse {
        func number(_ name: String) -> Int? { request.parameter(name).flatMap { Int($0) } }
        let size = contents.withLock { $0.entries.count }
        switch (request.method, request.path.split(separator: "/").last ?? "") {
        case ("POST", "add-chain"), ("POST", "add-pre-chain"):
            let precertificate = request.path.hasSuffix("add-pre-chain")
            guard let body = try? JSONValue(parsing: request.body),
                let chain = try? JSONCursor(body).member("chain").elements().map({ try X509(der: $0.bytes()) }),
                !chain.isEmpty
            else { return .text(400, "Failed to parse add-chain body.\n") }
            let timestamp = try add(
                chain, precertificate: precertificate,
                signer: request.faults.contains(.wrongSCT) ? PrivateKey.generate(.ecdsaP256) : nil)
            return .json(
                200,
                .object([
                    "sct_version": .integer(0), "id": .bytes(id), "timestamp": .integer(timestamp.milliseconds),
                    "extensions": .string(""), "signature": .bytes(timestamp.signature),
                ]))
        case ("GET", "get-sth"):
            let root = try contents.withLock { try $0.tree.root(size: size) }
            let now = UInt64(Date().timeIntervalSince1970 * 1_000)
            let signed = [0, 1] + TLS.integer(now, bytes: 8) + TLS.integer(UInt64(size), bytes: 8) + root
            let signature = try key.sign(signed, scheme: .ecdsa(.sha256))
            return .json(
                200,
                .object([
                    "tree_size": .integer(size), "timestamp": .integer(now), "sha256_root_hash": .bytes(root),
                    "tree_head_signature": .bytes([4, 3] + TLS.vector16(signature)),
                ]))
        case ("GET", "get-roots"):
            return .json(200, .object(["certificates": .array(roots.map { .bytes($0.der) })]))
        case ("GET", "get-entries"):
            guard let start = number("start"), let end = number("end"), start >= 0, start <= end, start < size else {
                return .text(400, "need start <= end within the log\n")
            }
            let entries = contents.withLock { Array($0.entries[start...min(end, size - 1, start + 999)]) }
            return .json(
                200,
                .object([
                    "entries": .array(
                        entries.map { .object(["leaf_input": .bytes($0.leaf), "extra_data": .bytes($0.extra)]) })
                ]))
        case ("GET", "get-proof-by-hash"):
            guard let hash = request.parameter("hash").flatMap(Base64.decode), let size = number("tree_size"),
                let place = contents.withLock({ $0.places[hash] }), place < size,
                size <= contents.withLock({ $0.entries.count })
            else { return .text(404, "no such leaf\n") }
            let path = try contents.withLock { try $0.tree.inclusionProof(index: place, size: size) }
            return .json(
                200, .object(["leaf_index": .integer(place), "audit_path": .array(path.map(JSONValue.bytes))]))
        case ("GET", "get-sth-consistency"):
            guard let first = number("first"), let second = number("second"), first >= 0, first <= second,
                second <= size
            else { return .text(400, "need first <= second within the log\n") }
            let path = try contents.withLock { try $0.tree.consistencyProof(from: first, to: second) }
            return .json(200, .object(["consistency": .array(path.map(JSONValue.bytes))]))
        default: return .text(404, "404 page not found\n")
        }
    }
}
