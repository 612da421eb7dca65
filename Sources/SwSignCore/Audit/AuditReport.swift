public import SigstoreCrypto
public import StrictJSON

/// What a report says before its rows: what was asked, by whom, with what.
public struct AuditHead: Sendable {
    /// The layout of the JSON that reports, parts and state files have.
    public static let version: Int64 = 1

    /// When the audit began and when it ended.
    public var started, finished: Instant
    /// The program, with its version.
    public var tool: String
    /// The digest of the trusted root that signatures were verified with; `nil` if keys alone were.
    public var trustedRoot: Digest?
    /// When that trusted root was last brought up to date, or its file was written; `nil` if that is not known.
    public var trustedRootTime: Instant?
    /// Who ran it: `USER@HOST`, or what the CI job says of itself.
    public var ranBy: String
    /// The repositories, layouts and folders that were asked for.
    public var places: [String]
    /// The signers who are accepted, in words.
    public var signers: [String]
    /// The signers who were accepted before, in words.
    public var formerSigners: [String]
    /// How many of the signers must have signed; `nil` if any one suffices.
    public var threshold: Int?
    /// The part of the digests that this report is about, such as `3/16`; `nil` if it is about all.
    public var shard: String?

    public init(
        started: Instant, finished: Instant, tool: String, trustedRoot: Digest? = nil, trustedRootTime: Instant? = nil,
        ranBy: String, places: [String], signers: [String], formerSigners: [String] = [], threshold: Int? = nil,
        shard: String? = nil
    ) {
        (self.started, self.finished, self.tool, self.ranBy) = (started, finished, tool, ranBy)
        (self.trustedRoot, self.trustedRootTime) = (trustedRoot, trustedRootTime)
        (self.places, self.signers, self.formerSigners) = (places, signers, formerSigners)
        (self.threshold, self.shard) = (threshold, shard)
    }
}

/// What the rows of a report come to. Rows are counted one by one, so that no report need be held in memory.
public struct AuditSums: Sendable {
    /// A signer whose signatures hold, and how many digests they hold for.
    public struct Signer: Sendable {
        /// The signer in words: a key by its fingerprint, or an identity with its issuer.
        public var signer: String
        /// Whether it is accepted, was accepted before, or neither.
        public var verdict: AuditSignature.Verdict
        /// How many signatures hold.
        public var signatures: Int
        /// The oldest and the newest proven time of a signature; `nil` if no time is proven.
        public var oldest, newest: Instant?
    }

    /// How many rows have each verdict.
    public private(set) var verdicts: [AuditRow.Verdict: Int] = [:]
    /// How many digests are signed, are not, and could not be looked at.
    public private(set) var signed: [AuditRow.Signed: Int] = [:]
    /// How many rows there are.
    public private(set) var rows = 0
    /// How many rows could not be looked at whole, whatever their verdict: what could not be looked at is never nothing.
    public private(set) var incomplete = 0
    /// Those who signed, in the order in which they were met.
    public private(set) var signers: [Signer] = []
    /// By month (`2026-11`), how many digests have their oldest accepted signature in it; those without a proven time under the
    /// empty name.
    public private(set) var months: [String: Int] = [:]
    /// The highest SLSA level that verified provenance shows, by how many digests show it.
    public private(set) var slsaLevels: [Int64: Int] = [:]
    /// How many signers are told apart, and how many months: names come from outside.
    private static let limit = 10_000
    private var positions: [String: Int] = [:]

    public init() {}

    /// Whether something was found that a person should see: exit code 12.
    public var hasFindings: Bool {
        verdicts.contains { $0.value > 0 && $0.key != .accepted && $0.key != .couldNotLook }
    }

    /// Counts a row.
    public mutating func add(_ row: AuditRow) {
        rows += 1
        verdicts[row.verdict, default: 0] += 1
        signed[row.signed, default: 0] += 1
        if !row.isWhole { incomplete += 1 }
        if let level = row.attestations.compactMap(\.slsaLevel).max() { slsaLevels[level, default: 0] += 1 }
        for signature in row.signatures { add(signature) }
        guard row.verdict == .accepted else { return }
        let times = row.signatures.filter { $0.verdict == .accepted }.compactMap(\.oldest)
        let month = times.min().map { String($0.description.prefix(7)) } ?? ""
        if months[month] != nil || months.count < Self.limit { months[month, default: 0] += 1 }
    }

    private mutating func add(_ signature: AuditSignature) {
        guard [.accepted, .formerSigner, .otherSigner].contains(signature.verdict) else { return }
        let name = signature.signer
        let key = "\(signature.verdict.rawValue) \(name)"
        let position: Int
        if let known = positions[key] {
            position = known
        } else {
            guard signers.count < Self.limit else { return }
            position = signers.count
            positions[key] = position
            signers.append(Signer(signer: name, verdict: signature.verdict, signatures: 0))
        }
        signers[position].signatures += 1
        guard let time = signature.oldest else { return }
        signers[position].oldest = min(signers[position].oldest ?? time, time)
        signers[position].newest = max(signers[position].newest ?? time, time)
    }
}

extension AuditSignature {
    /// The oldest time that someone other than this machine's clock vouches for.
    public var oldest: Instant? { times.filter { $0.source != "clock" }.map(\.time).min() }

    /// The signer in words.
    public var signer: String {
        if let identity { return issuer.map { "\(identity) (issuer \($0))" } ?? identity }
        return key.map { "the key \($0)" } ?? "an unknown signer"
    }
}
