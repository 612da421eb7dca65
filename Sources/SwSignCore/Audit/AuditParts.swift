internal import SigstoreCrypto
public import StrictJSON

/// Reports of parts of one audit, such as those of several machines, as one report.
///
/// Memory is needed for sixteen bytes a digest, so that none is counted twice.
public struct AuditParts: Sendable {
    /// The head of the joined report: from the first start to the last end.
    public let head: AuditHead
    /// What the rows of all parts come to, counted anew.
    public let sums: AuditSums
    /// The numbers of the parts that were not given; empty if none is missing.
    public let missing: [Int]
    private let parts: [AuditReportFile]

    /// Reads the parts, each whole.
    /// - Throws: `SigstoreError` with `reports-disagree` if they answer different questions, or one part was given twice; what
    ///   ``AuditReportFile`` throws if one is not a whole report.
    public init(_ parts: [AuditReportFile]) throws(SigstoreError) {
        guard let first = parts.first else {
            throw SigstoreError(.reportsDisagree, "there is no report to join", advice: "name the reports")
        }
        var head = first.head
        var seen: [Int: String] = [:]
        let total = try Self.shard(first).total
        var people = [head.ranBy]
        for part in parts {
            if part !== first { try Self.expectSameQuestion(part, as: first) }
            let shard = try Self.shard(part)
            guard shard.total == total else {
                throw Self.disagreement(part, first, "one is a part of \(shard.total), and the other of \(total)")
            }
            for number in shard.numbers {
                if let other = seen.updateValue(part.path, forKey: number) {
                    throw SigstoreError(
                        .reportsDisagree,
                        total == 1
                            ? "\(other) and \(part.path) are both about all of the digests"
                            : "the part \(number)/\(total) is in \(other) and in \(part.path)",
                        advice: "give each part once")
                }
            }
            head.started = min(head.started, part.head.started)
            head.finished = max(head.finished, part.head.finished)
            if let time = part.head.trustedRootTime { head.trustedRootTime = min(head.trustedRootTime ?? time, time) }
            let person = part.head.ranBy
            if !people.contains(where: { $0.utf8.elementsEqual(person.utf8) }) { people.append(person) }
        }
        head.ranBy = people.joined(separator: ", ")
        missing = (1...total).filter { seen[$0] == nil }
        head.shard = missing.isEmpty ? nil : "\(seen.keys.sorted().map { String($0) }.joined(separator: ","))/\(total)"
        (self.head, self.parts) = (head, parts)
        var sums = AuditSums()
        try Self.forEachRow(parts) { row throws(SigstoreError) in sums.add(row) }
        self.sums = sums
    }

    /// Gives the rows of all parts, in the order of the parts.
    public func rows(_ each: (AuditRow) throws(SigstoreError) -> Void) throws(SigstoreError) {
        try Self.forEachRow(parts, each)
    }

    /// Rows without a digest are what could not even be asked for: each part says so of the same name, and once is enough.
    private static func forEachRow(
        _ parts: [AuditReportFile], _ each: (AuditRow) throws(SigstoreError) -> Void
    ) throws(SigstoreError) {
        if parts.count == 1, let only = parts.first {
            try only.read(each)
            return
        }
        var seen: Set<AuditRowKey> = []
        for part in parts {
            try part.read { row throws(SigstoreError) in
                let isNew = seen.insert(try AuditRowKey(row)).inserted
                guard isNew || row.digest == nil else {
                    throw SigstoreError(
                        .reportsDisagree, "\(row.place)@\(row.digest?.description ?? "") is twice in the reports",
                        advice: "give parts of one audit, which divide the digests")
                }
                if isNew { try each(row) }
            }
        }
    }

    /// The most parts that an audit may have.
    private static let partLimit = 10_000

    /// Which parts of how many a report is about: `3/16`, or `1,2,4/16` if some were joined before.
    private static func shard(_ part: AuditReportFile) throws(SigstoreError) -> (numbers: [Int], total: Int) {
        guard let shard = part.head.shard else { return ([1], 1) }
        let halves = shard.utf8.split(separator: 0x2f, omittingEmptySubsequences: false).map { String(Substring($0)) }
        if halves.count == 2, let total = number(halves[1]), total <= partLimit {
            let numbers = halves[0].utf8.split(separator: 0x2c, omittingEmptySubsequences: false).map {
                number(String(Substring($0)))
            }
            let known = numbers.compactMap { $0 }.filter { $0 <= total }
            if known.count == numbers.count, Set(known).count == known.count { return (known, total) }
        }
        throw SigstoreError(
            .malformedReport, "\(part.path): \"\(shard)\" is no part of an audit, such as 3/16",
            advice: "give a whole report in the form json or jsonl")
    }

    private static func number(_ text: String) -> Int? {
        guard text.utf8.first != 0x30, text.utf8.allSatisfy({ (0x30...0x39).contains($0) }) else { return nil }
        return Int(text)
    }

    /// Refuses reports that were made with different programs or roots, or asked about different places or signers.
    private static func expectSameQuestion(_ part: AuditReportFile, as first: AuditReportFile) throws(SigstoreError) {
        func same(_ what: String, _ value: (AuditHead) -> [String]) throws(SigstoreError) {
            let (one, other) = (value(part.head), value(first.head))
            guard one.count == other.count, zip(one, other).allSatisfy({ $0.utf8.elementsEqual($1.utf8) }) else {
                throw disagreement(part, first, "\(what) differ")
            }
        }
        try same("the places") { $0.places }
        try same("the accepted signers") { $0.signers }
        try same("the signers accepted before") { $0.formerSigners }
        try same("the numbers of signers who must sign") { [$0.threshold.map { String($0) } ?? ""] }
        try same("the trusted roots") { [$0.trustedRoot?.description ?? ""] }
        try same("the programs") { [$0.tool] }
    }

    private static func disagreement(_ part: AuditReportFile, _ first: AuditReportFile, _ why: String) -> SigstoreError
    {
        SigstoreError(
            .reportsDisagree, "\(first.path) and \(part.path) are not parts of one audit: \(why)",
            advice: "give parts of one audit, made with the same version, places, signers and trusted root")
    }
}

/// What tells the rows of an audit apart, in sixteen bytes.
struct AuditRowKey: Hashable {
    let (high, low): (UInt64, UInt64)

    /// The key of a digest in a place, on its own or as a platform of an index; of a name, if there is no digest.
    init(_ row: AuditRow) throws(SigstoreError) {
        var parts = [row.place, row.digest?.description ?? "", row.index?.description ?? "", row.platform ?? ""]
        if row.digest == nil { parts += row.names }
        try self.init(parts)
    }

    init(_ parts: [String]) throws(SigstoreError) {
        // Each with its length before it: no text can look like two.
        var bytes: [UInt8] = []
        for part in parts { bytes += Array("\(part.utf8.count):".utf8) + Array(part.utf8) }
        let digest = try Digest.sha256(bytes).bytes
        func number(_ bytes: ArraySlice<UInt8>) -> UInt64 { bytes.reduce(0) { $0 << 8 | UInt64($1) } }
        (high, low) = (number(digest[0..<8]), number(digest[8..<16]))
    }
}
