internal import SigstoreCrypto
public import StrictJSON

/// The hash tree of transparency logs (RFC 6962, section 2.1).
public enum MerkleTree {
    /// The hash of a leaf.
    public static func leafHash(_ entry: [UInt8]) throws(SigstoreError) -> [UInt8] {
        try Digest.sha256([0] + entry).bytes
    }

    /// The hash of a node above two others.
    public static func nodeHash(_ left: [UInt8], _ right: [UInt8]) throws(SigstoreError) -> [UInt8] {
        try Digest.sha256([1] + left + right).bytes
    }

    /// The root that an inclusion proof leads to (RFC 9162, section 2.1.3.2).
    /// - Parameters:
    ///   - leafHash: The hash of the leaf.
    ///   - index: The leaf's place, counted from 0.
    ///   - size: How many leaves the tree has.
    ///   - path: The hashes beside the path, from the leaf upward.
    /// - Throws: `SigstoreError` with `invalid-inclusion-proof` if index, size and the number of hashes do not fit
    ///   together.
    public static func root(leafHash: [UInt8], index: Int64, size: Int64, path: [[UInt8]]) throws(SigstoreError)
        -> [UInt8]
    {
        guard index >= 0, index < size else {
            throw SigstoreError(.invalidInclusionProof, "there is no leaf \(index) in a tree of \(size)")
        }
        var hash = leafHash
        var place = index
        var last = size - 1
        for sibling in path {
            guard last > 0 else { throw wrongLength }
            guard sibling.count == 32 else {
                throw SigstoreError(
                    .invalidInclusionProof, "a hash of the inclusion proof has \(sibling.count) bytes, not 32")
            }
            if place & 1 == 1 || place == last {
                hash = try nodeHash(sibling, hash)
                // Levels at which this node is the last and has nothing beside it are passed over.
                while place & 1 == 0, place > 0 {
                    place >>= 1
                    last >>= 1
                }
            } else {
                hash = try nodeHash(hash, sibling)
            }
            place >>= 1
            last >>= 1
        }
        guard last == 0 else { throw wrongLength }
        return hash
    }

    /// Verifies that a tree begins with another one (RFC 9162, section 2.1.4.2).
    /// - Parameters:
    ///   - first: Size and root of the smaller tree.
    ///   - second: Size and root of the larger tree.
    ///   - proof: The hashes, as the log gives them.
    /// - Throws: `SigstoreError` with `inconsistent-log` if the proof does not hold.
    public static func verifyConsistency(
        of first: (size: Int64, root: [UInt8]), with second: (size: Int64, root: [UInt8]), proof: [[UInt8]]
    ) throws(SigstoreError) {
        let failure = SigstoreError(
            .inconsistentLog,
            "the tree of \(second.size) entries is not shown to begin with that of \(first.size) entries",
            advice: "do not trust this log")
        guard first.size >= 0, first.size <= second.size else { throw failure }
        guard first.size < second.size else {
            guard first.root == second.root else { throw failure }
            return
        }
        // Every tree begins with the empty one.
        guard first.size > 0 else { return }
        var path = proof[...]
        guard path.allSatisfy({ $0.count == 32 }) else { throw failure }
        if first.size & (first.size - 1) == 0 { path = ([first.root] + proof)[...] }
        guard var old = path.popFirst() else { throw failure }
        var new = old
        var (place, last) = (first.size - 1, second.size - 1)
        while place & 1 == 1 { (place, last) = (place >> 1, last >> 1) }
        for hash in path {
            guard last > 0 else { throw failure }
            if place & 1 == 1 || place == last {
                (old, new) = (try nodeHash(hash, old), try nodeHash(hash, new))
                while place & 1 == 0, place > 0 { (place, last) = (place >> 1, last >> 1) }
            } else {
                new = try nodeHash(new, hash)
            }
            (place, last) = (place >> 1, last >> 1)
        }
        guard last == 0, old == first.root, new == second.root else { throw failure }
    }

    private static var wrongLength: SigstoreError {
        SigstoreError(.invalidInclusionProof, "the inclusion proof does not have as many hashes as the tree is high")
    }
}

extension SigstoreError.Code {
    /// An inclusion proof that does not lead from the entry to the root that the log signed.
    public static let invalidInclusionProof = Self("invalid-inclusion-proof")
    /// A log whose tree does not begin with the one that it had signed before.
    public static let inconsistentLog = Self("inconsistent-log")
}
