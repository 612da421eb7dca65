/// Names that a mistyped word may have meant.
struct NearNames {
    /// The nearest names, each once: none if no name is near.
    let names: [String]

    /// - Parameters:
    ///   - word: What was typed. A word of more than 64 bytes is near to nothing, so that the work is bounded.
    ///   - candidates: The names that there are.
    init(to word: String, among candidates: [String]) {
        let typed = Array(word.utf8)
        var (best, nearest): (Int, [String]) = (Int.max, [])
        if (2...64).contains(typed.count) {
            for name in candidates {
                let bytes = Array(name.utf8)
                // A long name may be mistyped in more places than a short one.
                let limit = min(3, max(1, min(typed.count, bytes.count) / 3))
                var distance = Self.distance(typed, bytes, limit: limit)
                // What was cut short is meant if nothing is nearer.
                if distance == nil, typed.count > 3, bytes.starts(with: typed) { distance = 4 }
                guard let distance, distance <= best, !(distance == best && nearest.contains(name)) else { continue }
                if distance < best { nearest = [] }
                best = distance
                nearest.append(name)
            }
        }
        names = nearest
    }

    init(names: [String]) { self.names = names.reduce(into: []) { if !$0.contains($1) { $0.append($1) } } }

    /// The names as a question, such as `did you mean sign?`; `nil` if no name is near, or too many are.
    /// - Parameter prefix: What stands before each name.
    func question(_ prefix: String = "") -> String? {
        (1...3).contains(names.count) ? "did you mean \(names.map { prefix + $0 }.joined(separator: " or "))?" : nil
    }

    /// How many bytes must be changed, added, left out or exchanged with the next one (optimal string alignment).
    /// - Returns: `nil` if they are more than the limit.
    private static func distance(_ one: [UInt8], _ other: [UInt8], limit: Int) -> Int? {
        guard abs(one.count - other.count) <= limit else { return nil }
        var before: [Int] = []
        var row = Array(0...other.count)
        for (i, byte) in one.enumerated() {
            var next = [i + 1]
            for (j, wanted) in other.enumerated() {
                var least = min(row[j + 1] + 1, next[j] + 1, row[j] + (byte == wanted ? 0 : 1))
                if i > 0, j > 0, byte == other[j - 1], one[i - 1] == wanted { least = min(least, before[j - 1] + 1) }
                next.append(least)
            }
            (before, row) = (row, next)
        }
        return row[other.count] <= limit ? row[other.count] : nil
    }
}
