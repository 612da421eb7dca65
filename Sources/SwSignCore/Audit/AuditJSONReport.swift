internal import SigstoreCrypto
public import StrictJSON

// The JSON of whole reports.

extension AuditHead {
    private static let members = [
        "started", "finished", "tool", "trustedRoot", "trustedRootTime", "ranBy", "places", "signers", "formerSigners",
        "threshold", "shard", "controls",
    ]

    /// The head as JSON. What is empty or unknown is left out.
    public func json() -> JSONValue {
        var object: JSONObject = [
            "started": .string(started.description), "finished": .string(finished.description), "tool": .string(tool),
        ]
        object.set("trustedRoot", trustedRoot?.description)
        object.set("trustedRootTime", trustedRootTime?.description)
        object["ranBy"] = .string(ranBy)
        object["places"] = .array(places.map { .string($0) })
        object["signers"] = .array(signers.map { .string($0) })
        object.set("formerSigners", formerSigners) { .string($0) }
        if let threshold { object["threshold"] = .integer(threshold) }
        object.set("shard", shard)
        object["controls"] = .array(AuditSummary.controls.map { .string($0) })
        return .object(object)
    }

    /// Reads a head that ``json()`` made.
    /// - Throws: `SigstoreError` with `unexpected-json` if a member is missing, unknown or of another kind.
    public init(_ cursor: JSONCursor) throws(SigstoreError) {
        try cursor.expectOnly(Self.members)
        func time(_ cursor: JSONCursor) throws(SigstoreError) -> Instant {
            guard let time = Instant(rfc3339: try cursor.string()) else {
                throw cursor.fault("is not a time such as 2026-11-27T01:02:03Z")
            }
            return time
        }
        func texts(_ name: String) throws(SigstoreError) -> [String] {
            try cursor.list(name) { item throws(SigstoreError) in try item.string() }
        }
        self.init(
            started: try time(cursor.member("started")), finished: try time(cursor.member("finished")),
            tool: try cursor.member("tool").string(), ranBy: try cursor.member("ranBy").string(),
            places: try texts("places"), signers: try texts("signers"), formerSigners: try texts("formerSigners"),
            shard: try cursor.text("shard"))
        if let root = try cursor.text("trustedRoot") { trustedRoot = try Digest(parsing: root) }
        if let member = try cursor.optional("trustedRootTime") { trustedRootTime = try time(member) }
        if let member = try cursor.optional("threshold") {
            guard let number = Int(exactly: try member.integer()), number > 0 else {
                throw member.fault("is not a number of signers")
            }
            threshold = number
        }
        _ = try texts("controls")
    }
}

extension AuditSums {
    /// The sums as JSON. They are never read: a reader counts the rows and compares.
    public func json() -> JSONValue {
        var verdicts = JSONObject()
        for verdict in AuditRow.Verdict.allCases { verdicts[verdict.rawValue] = .integer(count(verdict)) }
        var signed = JSONObject()
        for answer in AuditRow.Signed.allCases { signed[answer.rawValue] = .integer(self.signed[answer] ?? 0) }
        var object: JSONObject = [
            "rows": .integer(rows), "findings": .integer(findings), "incomplete": .integer(incomplete),
            "verdicts": .object(verdicts), "signed": .object(signed),
        ]
        object.set("signers", signers) { signer in
            var object: JSONObject = [
                "signer": .string(signer.signer), "verdict": .string(signer.verdict.rawValue),
                "signatures": .integer(signer.signatures),
            ]
            object.set("oldest", signer.oldest?.description)
            object.set("newest", signer.newest?.description)
            return .object(object)
        }
        object["months"] = .object(
            JSONObject(months.sorted { $0.key < $1.key }.map { (name: $0.key, value: .integer($0.value)) }))
        object["slsaLevels"] = .object(
            JSONObject(slsaLevels.sorted { $0.key < $1.key }.map { (name: String($0.key), value: .integer($0.value)) }))
        return .object(object)
    }
}

/// Writes a report as JSON.
struct AuditJSONReport {
    private let head: AuditHead
    private let sums: AuditSums

    init(_ head: AuditHead, _ sums: AuditSums) { (self.head, self.sums) = (head, sums) }

    private var beginning: [UInt8] {
        Array("{\"version\":\(AuditHead.version),\"head\":".utf8) + head.json().serialized()
    }

    func write(_ rows: @escaping AuditRows, to write: ([UInt8]) throws(SigstoreError) -> Void) throws(SigstoreError) {
        try write(beginning + Array(",\n\"sums\":".utf8) + sums.json().serialized() + Array(",\n\"rows\":[".utf8))
        var lead = "\n"
        try rows { row throws(SigstoreError) in
            try write(Array(lead.utf8) + row.json().serialized())
            lead = ",\n"
        }
        try write(Array("\n]}\n".utf8))
    }

    func writeLines(_ rows: @escaping AuditRows, to write: ([UInt8]) throws(SigstoreError) -> Void)
        throws(SigstoreError)
    {
        try write(beginning + Array("}\n".utf8))
        try rows { row throws(SigstoreError) in try write(Self.line("row", row.json())) }
        try write(Self.line("sums", sums.json()))
    }

    private static func line(_ name: String, _ value: JSONValue) -> [UInt8] {
        JSONValue.object([name: value]).serialized() + [0x0a]
    }
}
