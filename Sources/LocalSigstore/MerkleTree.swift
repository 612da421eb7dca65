import SigstoreCrypto
import StrictJSON

/// The tree of a transparency log (RFC 6962, section 2): leaves are only ever added.
struct MerkleTree: Sendable {
    /// The roots of all full subtrees of 2^level leaves, by level and place.
    private var levels: [[[UInt8]]] = [[]]

    /// How many leaves there are.
    var size: Int { levels[0].count }

    static func leafHash(_ leaf: [UInt8]) throws(SigstoreError) -> [UInt8] { try Digest.sha256([0] + leaf).bytes }
    private static func nodeHash(_ left: [UInt8], _ right: [UInt8]) throws(SigstoreError) -> [UInt8] {
        try Digest.sha256([1] + left + right).bytes
    }

    /// Adds a leaf by its hash.
    mutating func append(leafHash: [UInt8]) throws(SigstoreError) {
        levels[0].append(leafHash)
        var level = 0
        while levels[level].count.isMultiple(of: 2) {
            let count = levels[level].count
            let parent = try Self.nodeHash(levels[level][count - 2], levels[level][count - 1])
            if levels.count == level + 1 { levels.append([]) }
            levels[level + 1].append(parent)
            level += 1
        }
    }

    /// The roots of the full subtrees of 2^level leaves, in order.
    func nodes(level: Int) -> [[UInt8]] { levels.indices.contains(level) ? levels[level] : [] }

    /// The hash of the leaves from `start` to before `end`: MTH(D[start:end]).
    private func hash(_ start: Int, _ end: Int) throws(SigstoreError) -> [UInt8] {
        let count = end - start
        guard count > 0 else { return try Digest.sha256([]).bytes }
        let level = Int.bitWidth - 1 - count.leadingZeroBitCount
        if count == 1 << level { return levels[level][start >> level] }
        let middle = start + 1 << (Int.bitWidth - 1 - (count - 1).leadingZeroBitCount)
        return try Self.nodeHash(hash(start, middle), hash(middle, end))
    }

    /// The root of the tree when it had so many leaves.
    func root(size: Int) throws(SigstoreError) -> [UInt8] { try hash(0, size) }

    /// The proof that a leaf is in the tree of so many leaves: PATH(index, D[0:size]), the leaf's sibling first.
    func inclusionProof(index: Int, size: Int) throws(SigstoreError) -> [[UInt8]] {
        var start = 0
        var end = size
        var path: [[UInt8]] = []
        while end - start > 1 {
            let middle = start + 1 << (Int.bitWidth - 1 - (end - start - 1).leadingZeroBitCount)
            if index < middle {
                path.append(try hash(middle, end))
                end = middle
            } else {
                path.append(try hash(start, middle))
                start = middle
            }
        }
        return path.reversed()
    }

    /// The proof that the tree of `first` leaves is the beginning of that of `second` (RFC 6962, section 2.1.2).
    func consistencyProof(from first: Int, to second: Int) throws(SigstoreError) -> [[UInt8]] {
        guard first > 0, first < second else { return [] }
        return try subproof(first, 0, second, whole: true)
    }

    private func subproof(_ first: Int, _ start: Int, _ end: Int, whole: Bool) throws(SigstoreError) -> [[UInt8]] {
        if first == end - start { return whole ? [] : [try hash(start, end)] }
        let half = 1 << (Int.bitWidth - 1 - (end - start - 1).leadingZeroBitCount)
        if first <= half {
            return try subproof(first, start, start + half, whole: whole) + [hash(start + half, end)]
        }
        return try subproof(first - half, start + half, end, whole: false) + [hash(start, start + half)]
    }
}

/// A key that signs checkpoints (C2SP signed-note and tlog-checkpoint).
struct CheckpointSigner: Sendable {
    let key: PrivateKey
    /// The first line: which log this is.
    let origin: String
    /// The name on the signature's line.
    let name: String
    /// The key's whole hash; its first four bytes stand before the signature.
    let keyID: [UInt8]

    /// Rekor v1: ECDSA, named by the hash of its SubjectPublicKeyInfo.
    static func ecdsa(_ key: PrivateKey, origin: String, name: String) throws(SigstoreError) -> Self {
        Self(key: key, origin: origin, name: name, keyID: try Digest.sha256(key.publicKey.spki).bytes)
    }

    /// Rekor v2: Ed25519, named by the hash of name, algorithm and key as signed notes define it.
    static func ed25519(_ key: PrivateKey, origin: String) throws(SigstoreError) -> Self {
        let raw = try DERElement(parsing: key.publicKey.spki).children().at(1, 0x03).bits
        return Self(
            key: key, origin: origin, name: origin,
            keyID: try Digest.sha256(Array(origin.utf8) + [0x0a, 0x01] + raw).bytes)
    }

    /// The checkpoint of a tree.
    /// - Parameter other: Signs in this key's place and under its name: a checkpoint that does not verify.
    func checkpoint(size: Int, root: [UInt8], other: PrivateKey? = nil) throws(SigstoreError) -> String {
        let text = "\(origin)\n\(size)\n\(Base64.encode(root))\n"
        let signer = other ?? key
        let signature = try signer.sign(Array(text.utf8), scheme: signer.publicKey.defaultScheme)
        return "\(text)\n\u{2014} \(name) \(Base64.encode(keyID.prefix(4) + signature))\n"
    }
}
