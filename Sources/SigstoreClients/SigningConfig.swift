public import SigstoreVerification
public import StrictJSON

/// Which services to sign with (Sigstore protobuf specifications, `SigningConfig` v0.2).
public struct SigningConfig: Sendable {
    /// The media type of the file.
    public static let mediaType = "application/vnd.dev.sigstore.signingconfig.v0.2+json"

    /// One service: where it is, which API it speaks, who runs it, and when it may be used.
    public struct Service: Sendable {
        /// The base URL; of a timestamp authority, the URL that requests are sent to.
        public let url: String
        /// The major version of the API.
        public let majorAPIVersion: Int64
        /// When it may be used.
        public let validFor: ValidityWindow
        /// Who runs it; services of one operator fail together.
        public let operatorName: String

        /// Makes a service.
        public init(url: String, majorAPIVersion: Int64, validFor: ValidityWindow, operatorName: String) {
            self.url = url
            self.majorAPIVersion = majorAPIVersion
            self.validFor = validFor
            self.operatorName = operatorName
        }
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

    /// Makes a signing config, which names one of each kind of service that is used.
    public init(
        certificateAuthorities: [Service], issuers: [Service], transparencyLogs: [Service],
        timestampAuthorities: [Service] = []
    ) {
        self.certificateAuthorities = certificateAuthorities
        self.issuers = issuers
        self.transparencyLogs = transparencyLogs
        self.timestampAuthorities = timestampAuthorities
        (transparencyLogSelector, timestampAuthoritySelector) = (.any, .any)
    }

    /// Reads a signing config.
    /// - Parameter json: The file's content.
    /// - Throws: `SigstoreError` that names the member which is missing, unknown or malformed.
    public init(parsing json: [UInt8]) throws(SigstoreError) {
        let config = JSONCursor(try JSONValue(parsing: json, depth: 16))
        try config.expectOnly([
            "mediaType", "caUrls", "oidcUrls", "rekorTlogUrls", "rekorTlogConfig", "tsaUrls", "tsaConfig",
        ])
        let mediaType = try config.member("mediaType")
        guard try mediaType.string().utf8.elementsEqual(Self.mediaType.utf8) else {
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
            let end = try window.optional("end")
            services.append(
                Service(
                    url: try entry.member("url").string(),
                    majorAPIVersion: try entry.optional("majorApiVersion")?.integer() ?? 0,
                    validFor: ValidityWindow(
                        start: try moment(try window.member("start")),
                        end: try end.map { json throws(SigstoreError) in try moment(json) }),
                    operatorName: try entry.optional("operator")?.string() ?? ""))
        }
        return services
    }

    private static func moment(_ json: JSONCursor) throws(SigstoreError) -> Instant {
        guard let moment = Instant(rfc3339: try json.string()) else { throw json.fault("is not a time of RFC 3339") }
        return moment
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

extension SigningConfig {
    /// The signing config of a public instance, as it was when this library was written.
    /// - Throws: `SigstoreError` if it cannot be read.
    public static func embedded(_ instance: TrustedRoot.Instance) throws(SigstoreError) -> SigningConfig {
        switch instance {
        case .production: try SigningConfig(parsing: EmbeddedTrust.productionSigningConfig)
        case .staging: try SigningConfig(parsing: EmbeddedTrust.stagingSigningConfig)
        }
    }
}

// MARK: - Selecting

extension SigstoreError.Code {
    /// A signing config names no service that can be used now, or not as many as it demands.
    public static let noUsableService = Self("no-usable-service")
}

extension SigningConfig {
    /// The Fulcio instance to use at a moment.
    /// - Throws: `SigstoreError` with `no-usable-service`, also if none is named.
    public func certificateAuthority(at moment: Instant) throws(SigstoreError) -> Service {
        try Self.only(certificateAuthorities, at: moment, "certificate authority (Fulcio)")
    }

    /// The OpenID Connect issuer to use at a moment.
    /// - Throws: `SigstoreError` with `no-usable-service`, also if none is named.
    public func issuer(at moment: Instant) throws(SigstoreError) -> Service {
        try Self.only(issuers, at: moment, "identity token issuer")
    }

    /// The logs to use at a moment, all of the newest API version that is spoken here.
    /// - Parameters:
    ///   - moment: When the logs will be used.
    ///   - versions: The API versions that will do, the best first.
    /// - Returns: None if the config names none.
    /// - Throws: `SigstoreError` with `no-usable-service` if logs are named, and not enough of them can be used.
    public func transparencyLogs(at moment: Instant, versions: [Int64] = [2, 1]) throws(SigstoreError) -> [Service] {
        try Self.select(
            transparencyLogs, transparencyLogSelector, versions: versions, at: moment, "transparency log (Rekor)")
    }

    /// The timestamp authorities to use at a moment.
    /// - Returns: None if the config names none.
    /// - Throws: `SigstoreError` with `no-usable-service` if authorities are named, and not enough of them can be used.
    public func timestampAuthorities(at moment: Instant) throws(SigstoreError) -> [Service] {
        try Self.select(
            timestampAuthorities, timestampAuthoritySelector, versions: [1], at: moment, "timestamp authority")
    }

    private static func only(_ services: [Service], at moment: Instant, _ what: String) throws(SigstoreError)
        -> Service
    {
        guard let service = try select(services, .any, versions: [1], at: moment, what).first else {
            throw SigstoreError(
                .noUsableService, "the signing config names no \(what)",
                advice: .remedy(.giveServiceOrConfig))
        }
        return service
    }

    /// The services of the newest version that has any in use, the newest of each operator, as many as are demanded
    /// (protobuf-specs, comments of `SigningConfig` and `ServiceSelector`).
    private static func select(
        _ services: [Service], _ selector: Selector, versions: [Int64], at moment: Instant, _ what: String
    ) throws(SigstoreError) -> [Service] {
        guard !services.isEmpty else { return [] }
        let inUse = services.enumerated().filter { $0.element.validFor.contains(moment) }
            .sorted {
                $0.element.validFor.start == $1.element.validFor.start
                    ? $0.offset < $1.offset : $0.element.validFor.start > $1.element.validFor.start
            }
            .map(\.element)
        guard !inUse.isEmpty else {
            throw SigstoreError(
                .noUsableService,
                "none of the \(services.count) of kind \(what) in the signing config is in use at \(moment)",
                advice: "get the instance's current signing config, and check this machine's clock")
        }
        var selected: [Service] = []
        for version in versions where selected.isEmpty {
            for service in inUse where service.majorAPIVersion == version {
                let isTaken = selected.contains { $0.operatorName.utf8.elementsEqual(service.operatorName.utf8) }
                if !isTaken { selected.append(service) }
            }
        }
        guard !selected.isEmpty else {
            let found = Set(inUse.map(\.majorAPIVersion)).sorted().map(String.init).joined(separator: ", ")
            throw SigstoreError(
                .noUsableService,
                "the signing config names no \(what) whose API is spoken here: expected version "
                    + "\(versions.map(String.init).joined(separator: " or ")), found \(found)",
                advice: .remedy(.useNewerOrAnotherConfig))
        }
        switch selector {
        case .all: return selected
        case .any: return Array(selected.prefix(1))
        case .exact(let count):
            guard selected.count >= count else {
                throw SigstoreError(
                    .noUsableService,
                    "the signing config demands \(count) of kind \(what) by different operators, and has \(selected.count)",
                    advice: "correct the count in the signing config, or add services to it")
            }
            return Array(selected.prefix(count))
        }
    }
}

extension SigstoreError.Remedy {
    /// The signing config does not name the service.
    public static let giveServiceOrConfig = Self("give-another-signing-config-or-the-url")
    /// The service speaks an API that is not known here.
    public static let useNewerOrAnotherConfig = Self("use-a-newer-version-or-another-signing-config")
}
