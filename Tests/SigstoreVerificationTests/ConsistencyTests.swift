import SigstoreVerification
import StrictJSON
import Testing

/// That a tree begins with another one.
struct ConsistencyTests {
    private let leaves: [[UInt8]]

    init() throws {
        var leaves: [[UInt8]] = []
        for number in 0..<20 { leaves.append(try MerkleTree.leafHash([UInt8(number)])) }
        self.leaves = leaves
    }

    /// MTH of RFC 6962, as it is written there.
    private func root(_ part: ArraySlice<[UInt8]>) throws -> [UInt8] {
        guard part.count > 1 else { return part.first ?? [] }
        let half = part.startIndex + split(part.count)
        return try MerkleTree.nodeHash(root(part[..<half]), root(part[half...]))
    }

    private func split(_ count: Int) -> Int {
        var half = 1
        while half * 2 < count { half *= 2 }
        return half
    }

    /// SUBPROOF of RFC 6962.
    private func proof(_ first: Int, _ part: ArraySlice<[UInt8]>, _ isWhole: Bool) throws -> [[UInt8]] {
        if first == part.count { return isWhole ? [] : [try root(part)] }
        let half = split(part.count)
        let middle = part.startIndex + half
        if first <= half { return try proof(first, part[..<middle], isWhole) + [root(part[middle...])] }
        return try proof(first - half, part[middle...], false) + [root(part[..<middle])]
    }

    private func holds(
        _ first: Int, _ firstRoot: [UInt8], _ second: Int, _ secondRoot: [UInt8], _ proof: [[UInt8]]
    ) -> Bool {
        do {
            try MerkleTree.verifyConsistency(
                of: (size: Int64(first), root: firstRoot), with: (size: Int64(second), root: secondRoot), proof: proof)
            return true
        } catch {
            #expect(error.code == .inconsistentLog)
            return false
        }
    }

    @Test("Of every two sizes up to twenty: the right proof holds, and nothing else does")
    func all() throws {
        for second in 1...20 {
            let after = try root(leaves[..<second])
            for first in 1...second {
                let before = try root(leaves[..<first])
                let proof = try proof(first, leaves[..<second], true)
                #expect(holds(first, before, second, after, proof), "\(first) \(second)")
                let wrong = before.map { $0 ^ 1 }
                #expect(!holds(first, wrong, second, after, proof), "\(first) \(second)")
                #expect(!holds(first, before, second, wrong, proof), "\(first) \(second)")
                guard first < second else { continue }
                #expect(!holds(first, before, second, after, proof + [wrong]), "\(first) \(second)")
                #expect(!holds(first, before, second, after, Array(proof.dropLast())), "\(first) \(second)")
                #expect(!holds(first, before, second, after, proof.map { Array($0.dropLast()) }), "\(first) \(second)")
                for place in proof.indices {
                    var changed = proof
                    changed[place][0] ^= 1
                    #expect(!holds(first, before, second, after, changed), "\(first) \(second)")
                }
                #expect(!holds(second, after, first, before, proof), "\(first) \(second)")
            }
        }
    }

    @Test("Sizes that are none are refused, and every tree begins with the empty one")
    func sizes() throws {
        let after = try root(leaves[..<3])
        #expect(holds(0, [], 3, after, []))
        #expect(!holds(-1, [], 3, after, []))
        #expect(!holds(2, after, 3, after, []))
        #expect(!holds(1, leaves[0], .max, after, Array(repeating: after, count: 200)))
    }
}
