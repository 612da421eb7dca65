public import StrictJSON
internal import SigstoreCrypto

// The JSON of rows: one form for reports, for the lines of `--output jsonl`, for parts to be merged and for state files.

extension AuditRow {
    /// The row as JSON. What is empty or unknown is left out.
    public func json() -> JSONValue {
        var object: JSONObject = [
            "place": .string(place), "names": .array(names.map { .string($0) }), "signed": .string(signed.rawValue),
            "verdict": .string(verdict.rawValue),
        ]
        object.set("digest", digest?.description)
        object.set("platform", platform)
        object.set("index", index?.description)
        object.set("mediaType", mediaType)
        object.set("created", created)
        object.set("source", source)
        object.set("revision", revision)
        object.set("signatures", signatures) { $0.json() }
        object.set("attestations", attestations) { $0.json() }
        object.set("sboms", sboms) { .string($0) }
        object.set("policies", policies) { .object(["name": .string($0.name), "verdict": .string($0.verdict)]) }
        object.set("failures", failures) { $0.json() }
        if isPartlyUnread { object["partlyUnread"] = .bool(true) }
        return .object(object)
    }

    /// Reads a row that ``json()`` made.
    /// - Throws: `SigstoreError` with `unexpected-json` if a member is missing, unknown or of another kind.
    public init(_ cursor: JSONCursor) throws(SigstoreError) {
        try cursor.expectOnly([
            "place", "names", "digest", "platform", "index", "mediaType", "created", "source", "revision", "signed",
            "verdict", "signatures", "attestations", "sboms", "policies", "failures",
            "partlyUnread",
        ])
        self.init(
            place: try cursor.member("place").string(),
            names: try cursor.member("names").elements().map { item throws(SigstoreError) in try item.string() },
            digest: try cursor.optional("digest").map { item throws(SigstoreError) in try Digest(parsing: item.string())
            },
            signed: try cursor.member("signed").raw(), verdict: try cursor.member("verdict").raw())
        platform = try cursor.text("platform")
        index = try cursor.optional("index").map { item throws(SigstoreError) in try Digest(parsing: item.string()) }
        mediaType = try cursor.text("mediaType")
        created = try cursor.text("created")
        source = try cursor.text("source")
        revision = try cursor.text("revision")
        signatures = try cursor.list("signatures") { item throws(SigstoreError) in try AuditSignature(item) }
        attestations = try cursor.list("attestations") { item throws(SigstoreError) in try AuditSignature(item) }
        sboms = try cursor.list("sboms") { item throws(SigstoreError) in try item.string() }
        policies = try cursor.list("policies") { item throws(SigstoreError) in
            (try item.member("name").string(), try item.member("verdict").string())
        }
        failures = try cursor.list("failures") { item throws(SigstoreError) in try AuditFailure(item) }
        isPartlyUnread = try cursor.optional("partlyUnread")?.bool() ?? false
    }
}

extension AuditSignature {
    /// The signature as JSON. What is empty or unknown is left out.
    public func json() -> JSONValue {
        var object: JSONObject = ["scheme": .string(scheme), "verdict": .string(verdict.rawValue)]
        object.set("key", key)
        object.set("identity", identity)
        object.set("issuer", issuer)
        if !claims.isEmpty {
            object["claims"] = .array(claims.map { .array([.string($0.name), .string($0.value)]) })
        }
        object.set("times", times) {
            .object([
                "time": .string($0.time.description), "source": .string($0.source), "name": .string($0.name),
            ])
        }
        object.set("logEntries", logEntries) { .object(["log": .string($0.log), "index": .integer($0.index)]) }
        object.set("predicateType", predicateType)
        object.set("builder", builder)
        object.set("source", source)
        if let slsaLevel { object["slsaLevel"] = .integer(slsaLevel) }
        object.set("checks", checks) { .string($0) }
        if let failure { object["failure"] = failure.json() }
        return .object(object)
    }

    init(_ cursor: JSONCursor) throws(SigstoreError) {
        try cursor.expectOnly([
            "scheme", "verdict", "key", "identity", "issuer", "claims", "times", "logEntries", "predicateType",
            "builder", "source", "slsaLevel", "checks", "failure",
        ])
        self.init(scheme: try cursor.member("scheme").string(), verdict: try cursor.member("verdict").raw())
        key = try cursor.text("key")
        identity = try cursor.text("identity")
        issuer = try cursor.text("issuer")
        claims = try cursor.list("claims") { item throws(SigstoreError) in
            let pair = try item.elements()
            guard pair.count == 2 else { throw item.fault("a claim is a name and a value") }
            return (try pair[0].string(), try pair[1].string())
        }
        times = try cursor.list("times") { item throws(SigstoreError) in
            guard let time = Instant(rfc3339: try item.member("time").string()) else {
                throw item.fault("a time is written as 2026-11-27T01:02:03Z")
            }
            return Time(time, source: try item.member("source").string(), name: try item.member("name").string())
        }
        logEntries = try cursor.list("logEntries") { item throws(SigstoreError) in
            LogEntry(log: try item.member("log").string(), index: try item.member("index").integer())
        }
        predicateType = try cursor.text("predicateType")
        builder = try cursor.text("builder")
        source = try cursor.text("source")
        slsaLevel = try cursor.optional("slsaLevel").map { item throws(SigstoreError) in try item.integer() }
        checks = try cursor.list("checks") { item throws(SigstoreError) in try item.string() }
        failure = try cursor.optional("failure").map { item throws(SigstoreError) in try AuditFailure(item) }
    }
}

extension AuditFailure {
    func json() -> JSONValue { .object(["code": .string(code), "message": .string(message)]) }

    init(_ cursor: JSONCursor) throws(SigstoreError) {
        try cursor.expectOnly(["code", "message"])
        self.init(code: try cursor.member("code").string(), message: try cursor.member("message").string())
    }
}

extension JSONObject {
    mutating func set(_ name: String, _ value: String?) {
        if let value { self[name] = .string(value) }
    }

    mutating func set<Element>(_ name: String, _ values: [Element], _ json: (Element) -> JSONValue) {
        if !values.isEmpty { self[name] = .array(values.map(json)) }
    }
}

extension JSONCursor {
    func text(_ name: String) throws(SigstoreError) -> String? {
        guard let member = try optional(name) else { return nil }
        return try member.string()
    }

    func list<Element>(_ name: String, _ read: (JSONCursor) throws(SigstoreError) -> Element) throws(SigstoreError)
        -> [Element]
    {
        guard let member = try optional(name) else { return [] }
        var values: [Element] = []
        for item in try member.elements() { values.append(try read(item)) }
        return values
    }

    func raw<Value: RawRepresentable>() throws(SigstoreError) -> Value where Value.RawValue == String {
        let text = try string()
        guard let value = Value(rawValue: text) else { throw fault("\"\(text)\" is unknown here") }
        return value
    }
}
