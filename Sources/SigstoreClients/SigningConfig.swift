public import InToto

/// Which services to sign with (Sigstore protobuf specifications, `SigningConfig` v0.2).
public struct SigningConfig: Sendable {
    /// The media type of the file.
    public static let mediaType = "application/vnd.dev.sigstore.signingconfig.v0.2+json"

    /// One service: where it is, which API it speaks, who runs it, and when it may be used.
    public struct Service: Sendable {
        /// The base URL.
        public let url: String
        /// The major version of the API.
        public let majorAPIVersion: Int64
        /// The first moment of use, as RFC 3339 text.
        public let validFrom: String
        /// The last moment of use, as RFC 3339 text; none where the service is in use.
        public let validTo: String?
        /// Who runs it; services of one operator fail together.
        public let operatorName: String
    }

    /// How many services of a kind are used.
    public enum Selector: Sendable, Hashable {
        case all, any
        case exact(Int)
    }

    /// Fulcio instances.
    public let certificateAuthorities: [Service]
    /// OpenID Connect issuers.
    public let issuers: [Service]
    /// Rekor logs.
    public let transparencyLogs: [Service]
    /// How many logs are used.
    public let transparencyLogSelector: Selector
    /// Timestamp authorities.
    public let timestampAuthorities: [Service]
    /// How many timestamp authorities are used.
    public let timestampAuthoritySelector: Selector

    /// Reads a signing config.
    /// - Parameter json: The file's content.
    /// - Throws: ``SigstoreError`` that names the member which is missing, unknown or malformed.
    public init(parsing json: [UInt8]) throws(SigstoreError) {
        let config = JSONCursor(try JSONValue(parsing: json, depth: 16))
        try config.expectOnly([
            "mediaType", "caUrls", "oidcUrls", "rekorTlogUrls", "rekorTlogConfig", "tsaUrls", "tsaConfig",
        ])
        let mediaType = try config.member("mediaType")
        guard try mediaType.string() == Self.mediaType else {
            throw mediaType.fault("is \"\(try mediaType.string())\", not \(Self.mediaType)")
        }
        certificateAuthorities = try Self.services(config, "caUrls")
        issuers = try Self.services(config, "oidcUrls")
        transparencyLogs = try Self.services(config, "rekorTlogUrls")
        transparencyLogSelector = try Self.selector(config, "rekorTlogConfig")
        timestampAuthorities = try Self.services(config, "tsaUrls")
        timestampAuthoritySelector = try Self.selector(config, "tsaConfig")
    }

    private static func services(_ config: JSONCursor, _ name: String) throws(SigstoreError) -> [Service] {
        var services: [Service] = []
        for entry in try config.optional(name)?.elements() ?? [] {
            try entry.expectOnly(["url", "majorApiVersion", "validFor", "operator"])
            let window = try entry.member("validFor")
            try window.expectOnly(["start", "end"])
            services.append(
                Service(
                    url: try entry.member("url").string(),
                    majorAPIVersion: try entry.optional("majorApiVersion")?.integer() ?? 0,
                    validFrom: try window.member("start").string(), validTo: try window.optional("end")?.string(),
                    operatorName: try entry.optional("operator")?.string() ?? ""))
        }
        return services
    }

    private static func selector(_ config: JSONCursor, _ name: String) throws(SigstoreError) -> Selector {
        guard let entry = try config.optional(name) else { return .any }
        try entry.expectOnly(["selector", "count"])
        let selector = try entry.optional("selector")
        switch try selector?.string() ?? "ANY" {
        case "ALL": return .all
        case "ANY", "SERVICE_SELECTOR_UNDEFINED": return .any
        case "EXACT":
            let count = try entry.member("count")
            guard let number = Int(exactly: try count.integer()), (1...32).contains(number) else {
                throw count.fault("is not a number of services from 1 to 32")
            }
            return .exact(number)
        case let other: throw entry.fault("has the selector \"\(other)\", which is not known")
        }
    }
}
