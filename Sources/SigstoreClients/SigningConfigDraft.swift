internal import SigstoreVerification
public import StrictJSON

/// A signing config in the making (Sigstore protobuf specifications, `SigningConfig` v0.2).
///
/// Services that came from another config are passed on as they are.
public struct SigningConfigDraft: Sendable {
    /// The four kinds of services.
    public enum Kind: String, CaseIterable, Sendable {
        /// Fulcio.
        case certificateAuthority = "caUrls"
        /// OpenID Connect issuers.
        case issuer = "oidcUrls"
        /// Rekor.
        case transparencyLog = "rekorTlogUrls"
        /// Timestamp authorities.
        case timestampAuthority = "tsaUrls"

        /// The member that says how many services of the kind are used.
        fileprivate var selectorName: String? {
            switch self {
            case .transparencyLog: "rekorTlogConfig"
            case .timestampAuthority: "tsaConfig"
            case .certificateAuthority, .issuer: nil
            }
        }
    }

    private var services: [Kind: [JSONValue]] = [:]
    private var selectors: [Kind: JSONValue] = [:]
    /// What errors call a service of a kind, if not as the file does, such as the name under which a person gave it.
    public var serviceNames: [Kind: String] = [:]
    /// What errors call that which says how many services of a kind are used.
    public var selectorNames: [Kind: String] = [:]

    /// A config without any service.
    public init() {}

    /// Begins with the services of another config, such as the default services of an instance.
    /// - Parameters:
    ///   - config: The file's content.
    ///   - omitted: Kinds of which nothing is taken over.
    /// - Throws: `SigstoreError` that names the member which is missing, unknown or malformed.
    public init(defaults config: [UInt8], omitting omitted: Set<Kind> = []) throws(SigstoreError) {
        _ = try SigningConfig(parsing: config)
        let file = JSONCursor(try JSONValue(parsing: config, depth: 16))
        for kind in Kind.allCases where !omitted.contains(kind) {
            services[kind] = try file.optional(kind.rawValue)?.elements().map(\.value)
            if let name = kind.selectorName { selectors[kind] = try file.optional(name)?.value }
        }
    }

    /// Adds a service. How many services of its kind are used has to be said after that, even if the defaults did.
    /// - Parameters:
    ///   - specification: `url=…,api-version=…,start-time=…,operator=…` and perhaps `end-time=…`, times as in RFC 3339.
    ///   - kind: What kind of service it is.
    /// - Throws: `SigstoreError` with `malformed-service-specification`.
    public mutating func add(_ specification: String, kind: Kind) throws(SigstoreError) {
        var values: [String: String] = [:]
        for pair in specification.utf8.split(separator: 0x2c, omittingEmptySubsequences: false) {
            let parts = pair.split(separator: 0x3d, maxSplits: 1, omittingEmptySubsequences: false)
            let name = parts.first.map { String(decoding: $0, as: UTF8.self) } ?? ""
            guard parts.count == 2, ["url", "api-version", "start-time", "end-time", "operator"].contains(name) else {
                throw malformed(kind, "has \"\(String(decoding: pair, as: UTF8.self))\", which is not known")
            }
            guard values.updateValue(String(decoding: parts[1], as: UTF8.self), forKey: name) == nil else {
                throw malformed(kind, "has \(name) twice")
            }
        }
        func required(_ name: String) throws(SigstoreError) -> String {
            guard let value = values[name], !value.isEmpty else { throw malformed(kind, "has no \(name)") }
            return value
        }
        func moment(_ name: String, _ text: String) throws(SigstoreError) -> JSONValue {
            guard let moment = Instant(rfc3339: text) else {
                throw malformed(
                    kind, "has the \(name) \"\(text)\", which is not a time such as 2026-01-31T00:00:00Z")
            }
            return .string(moment.description)
        }
        let version = try required("api-version")
        guard let number = UInt32(version), number > 0 else {
            throw malformed(kind, "has the api-version \"\(version)\", which is not a whole number from 1")
        }
        var window: JSONObject = ["start": try moment("start-time", try required("start-time"))]
        if let end = values["end-time"] { window["end"] = try moment("end-time", end) }
        selectors[kind] = nil
        services[kind, default: []].append(
            .object([
                "url": .string(try required("url")), "majorApiVersion": .integer(number), "validFor": .object(window),
                "operator": .string(try required("operator")),
            ]))
    }

    /// Sets how many services of a kind are used.
    /// - Parameters:
    ///   - text: `ANY`, `ALL` or `EXACT:` and a number.
    ///   - kind: Logs or timestamp authorities.
    /// - Throws: `SigstoreError` with `malformed-service-specification`.
    public mutating func select(_ text: String, kind: Kind) throws(SigstoreError) {
        guard kind.selectorName != nil else { throw malformed(kind, "has no selector") }
        let parts = text.utf8.split(separator: 0x3a, maxSplits: 1, omittingEmptySubsequences: false)
        switch (String(decoding: parts[0], as: UTF8.self), parts.count) {
        case ("ANY", 1), ("ALL", 1): selectors[kind] = .object(["selector": .string(text)])
        case ("EXACT", 2):
            guard let count = UInt32(String(decoding: parts[1], as: UTF8.self)), count > 0 else { fallthrough }
            selectors[kind] = .object(["selector": .string("EXACT"), "count": .integer(count)])
        default:
            throw SigstoreError(
                .malformedServiceSpecification, "\(selectorName(kind)) is \"\(text)\"",
                advice: "use ANY, ALL or EXACT:<count>")
        }
    }

    /// Writes the config.
    /// - Returns: JSON that ``SigningConfig/init(parsing:)`` reads.
    /// - Throws: `SigstoreError` with `malformed-service-specification` if logs or timestamp authorities are there and
    ///   nothing says how many of them are used.
    public func serialized() throws(SigstoreError) -> [UInt8] {
        var file: JSONObject = ["mediaType": .string(SigningConfig.mediaType)]
        for kind in Kind.allCases {
            let services = services[kind] ?? []
            if !services.isEmpty { file[kind.rawValue] = .array(services) }
            guard let name = kind.selectorName else { continue }
            guard services.isEmpty || selectors[kind] != nil else {
                throw SigstoreError(
                    .malformedServiceSpecification, "\(serviceName(kind)) is given and \(selectorName(kind)) is not",
                    advice: "add \(selectorName(kind)) ANY, ALL or EXACT:<count>")
            }
            file[name] = selectors[kind] ?? .object(JSONObject())
        }
        let bytes = JSONValue.object(file).serialized()
        _ = try SigningConfig(parsing: bytes)
        return bytes
    }

    private func serviceName(_ kind: Kind) -> String { serviceNames[kind] ?? kind.rawValue }

    private func selectorName(_ kind: Kind) -> String { selectorNames[kind] ?? kind.selectorName ?? kind.rawValue }

    private func malformed(_ kind: Kind, _ what: String) -> SigstoreError {
        SigstoreError(
            .malformedServiceSpecification, "\(serviceName(kind)) \(what)",
            advice: "write it as url=…,api-version=1,start-time=2026-01-31T00:00:00Z,operator=…")
    }
}

extension SigstoreError.Code {
    /// The description of a service cannot be understood.
    public static let malformedServiceSpecification = Self("malformed-service-specification")
}
