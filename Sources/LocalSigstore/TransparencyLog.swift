import Foundation
import SigstoreCrypto
import StrictJSON
import Synchronization

/// The entries of a transparency log and their tree, without an API around them.
final class TransparencyLog: Sendable {
    struct Entry: Sendable {
        let index: Int
        let body: [UInt8]
        let leafHash: [UInt8]
        /// When it was added, in seconds since 1970.
        let time: Int64
    }
    private struct Contents: Sendable {
        var tree = MerkleTree()
        var entries: [Entry] = []
        var places: [[UInt8]: Int] = [:]
    }
    private let contents = Mutex(Contents())
    private let folder: StateFolder
    private let name: String
    let signer: CheckpointSigner

    /// Opens a log, with what its file holds.
    init(name: String, signer: CheckpointSigner, folder: StateFolder) throws(SigstoreError) {
        self.name = name
        self.signer = signer
        self.folder = folder
        for line in try folder.entries(of: name) {
            let line = JSONCursor(line)
            _ = try insert(line.member("body").bytes(), time: line.member("time").integer())
        }
    }

    /// How many entries there are.
    var size: Int { contents.withLock { $0.entries.count } }

    /// - Returns: The entry, and whether it is new; an entry with the same body is in the log only once.
    private func insert(_ body: [UInt8], time: Int64) throws(SigstoreError) -> (entry: Entry, isNew: Bool) {
        let hash = try MerkleTree.leafHash(body)
        return try contents.withLock { (contents) throws(SigstoreError) in
            if let place = contents.places[hash] { return (contents.entries[place], false) }
            let entry = Entry(index: contents.entries.count, body: body, leafHash: hash, time: time)
            contents.entries.append(entry)
            contents.places[hash] = entry.index
            try contents.tree.append(leafHash: hash)
            return (entry, true)
        }
    }

    /// Adds an entry.
    /// - Returns: The entry, and whether it is new; an entry with the same body is in the log only once.
    func add(_ body: [UInt8]) throws(SigstoreError) -> (entry: Entry, isNew: Bool) {
        let result = try insert(body, time: Int64(Date().timeIntervalSince1970))
        if result.isNew {
            try folder.append(.object(["body": .bytes(body), "time": .integer(result.entry.time)]), to: name)
        }
        return result
    }

    func entry(at index: Int) -> Entry? {
        contents.withLock { $0.entries.indices.contains(index) ? $0.entries[index] : nil }
    }

    func entry(leafHash: [UInt8]) -> Entry? {
        contents.withLock { contents in contents.places[leafHash].map { contents.entries[$0] } }
    }

    var entries: [Entry] { contents.withLock { $0.entries } }

    /// The roots of the full subtrees of 2^level leaves.
    func nodes(level: Int) -> [[UInt8]] { contents.withLock { $0.tree.nodes(level: level) } }

    func root(size: Int) throws(SigstoreError) -> [UInt8] {
        try contents.withLock { (contents) throws(SigstoreError) in try contents.tree.root(size: size) }
    }

    func consistencyProof(from first: Int, to second: Int) throws(SigstoreError) -> [[UInt8]] {
        try contents.withLock { (contents) throws(SigstoreError) in
            try contents.tree.consistencyProof(from: first, to: second)
        }
    }

    /// The checkpoint of the log as it stands.
    func checkpoint(faults: [Fault.Action] = []) throws(SigstoreError) -> String {
        let size = size
        return try signer.checkpoint(size: size, root: root(size: size), other: otherKey(faults))
    }

    /// What proves that an entry is in the log: hashes up to a root, and a checkpoint that signs the root.
    struct Proof: Sendable {
        let size: Int
        let root: [UInt8]
        let hashes: [[UInt8]]
        let checkpoint: String
    }

    func proof(of entry: Entry, faults: [Fault.Action]) throws(SigstoreError) -> Proof {
        let (size, root, path) = try contents.withLock { (contents) throws(SigstoreError) in
            let size = contents.entries.count
            return (
                size, try contents.tree.root(size: size),
                try contents.tree.inclusionProof(index: entry.index, size: size)
            )
        }
        var hashes = path
        if faults.contains(.wrongProof), let first = hashes.first, let byte = first.first {
            hashes[0] = [byte ^ 1] + first.dropFirst()
        }
        return Proof(
            size: size, root: root, hashes: hashes,
            checkpoint: try signer.checkpoint(size: size, root: root, other: otherKey(faults)))
    }

    /// Another key that signs checkpoints, if it is to be the wrong one.
    private func otherKey(_ faults: [Fault.Action]) throws(SigstoreError) -> PrivateKey? {
        guard faults.contains(.wrongCheckpoint) else { return nil }
        return try PrivateKey.generate(signer.key.publicKey.kind == .ed25519 ? .ed25519 : .ecdsaP256)
    }
}

/// The key, or the certificate around one, that an entry's signature is verified with.
struct EntryVerifier: Sendable {
    let key: PublicKey
    let certificate: X509?
    /// The certificates above it, which Rekor v1 takes too.
    private let chain: [X509]

    /// Reads a certificate, with its chain or without, or a public key in PEM.
    init(pem: [UInt8]) throws(SigstoreError) {
        let blocks = try PEM.blocks(in: pem)
        guard let block = blocks.first, block.label == "CERTIFICATE" else {
            (certificate, chain) = (nil, [])
            key = try PublicKey(file: pem)
            return
        }
        let certificate = try X509(der: block.bytes)
        self.certificate = certificate
        var chain: [X509] = []
        for block in blocks.dropFirst() { chain.append(try X509(der: block.bytes)) }
        self.chain = chain
        key = try PublicKey(der: certificate.spki)
    }

    init(certificate der: [UInt8]) throws(SigstoreError) {
        let certificate = try X509(der: der)
        (self.certificate, chain) = (certificate, [])
        key = try PublicKey(der: certificate.spki)
    }

    init(key der: [UInt8]) throws(SigstoreError) {
        (certificate, chain) = (nil, [])
        key = try PublicKey(der: der)
    }

    /// Whether each certificate of the chain issued the one before it.
    var isIssuedByChain: Bool {
        guard let certificate else { return true }
        return zip([certificate] + chain, chain).allSatisfy { issued, issuer in
            guard issued.issuer == issuer.subject, let key = try? PublicKey(der: issuer.spki),
                let signature = try? DERElement(parsing: issued.der).children().at(2, 0x03).bits
            else { return false }
            return key.schemes.contains {
                (try? key.verifies(signature, ofBytes: issued.toBeSigned, scheme: $0)) == true
            }
        }
    }

    var pem: String { certificate.map { ([$0] + chain).map(\.pem).joined() } ?? key.pem }
}
