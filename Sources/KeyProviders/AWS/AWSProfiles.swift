import HTTPTransport
import LocalSystem
import SigstoreCrypto
import StrictJSON

/// What the variables and the configuration files say together: which profile, region and endpoints.
struct AWSProfiles: Sendable {
    private let config: AWSConfigurationFile
    private let credentials: AWSConfigurationFile
    private let variable: @Sendable (String) -> String?
    /// The files, for messages.
    let files: String
    /// The profile that counts.
    let name: String

    /// Reads the files. To be called on a thread that may block.
    /// - Throws: `SigstoreError` with `key-service-settings` if a file is malformed, or a profile that is named is in neither.
    init(_ variable: @escaping @Sendable (String) -> String?) throws(SigstoreError) {
        self.variable = variable
        func path(_ name: String, _ file: String) -> String? {
            variable(name).map { Self.expanded($0, variable) } ?? variable("HOME").map { "\($0)/.aws/\(file)" }
        }
        func read(_ path: String?, isConfig: Bool) throws(SigstoreError) -> AWSConfigurationFile {
            guard let path else { return AWSConfigurationFile() }
            guard var bytes = try LocalFile.read(path, limit: AWSConfigurationFile.limit) else {
                return AWSConfigurationFile()
            }
            defer { SecretBytes.cleanse(&bytes) }
            return try AWSConfigurationFile(parsing: bytes, path: path, isConfig: isConfig)
        }
        let paths = [path("AWS_CONFIG_FILE", "config"), path("AWS_SHARED_CREDENTIALS_FILE", "credentials")]
        files = paths.compactMap { $0 }.joined(separator: " and ")
        config = try read(paths[0], isConfig: true)
        credentials = try read(paths[1], isConfig: false)
        let named = ["AWS_PROFILE", "AWS_DEFAULT_PROFILE"].lazy.compactMap { name in variable(name).map { (name, $0) } }
            .first
        name = named?.1 ?? "default"
        if let named, profile(named.1) == nil {
            throw SigstoreError(
                .keyServiceSettings,
                "\(named.0) names the profile \"\(named.1)\", \(files.isEmpty ? "and HOME is not set, so there are no configuration files" : "which is not in \(files)")",
                advice: .sentence("correct \(named.0), or make the profile with aws configure --profile \(named.1)"))
        }
    }

    /// A profile, as messages name it.
    func place(of profile: String) -> String {
        files.isEmpty
            ? "the profile \"\(profile)\" (HOME is not set, so there are no files)"
            : "the profile \"\(profile)\" in \(files)"
    }

    /// The profile that counts, as messages name it.
    var place: String { place(of: name) }

    /// `~/` at the beginning is the home directory.
    static func expanded(_ path: String, _ variable: (String) -> String?) -> String {
        guard path.utf8.starts(with: "~/".utf8), let home = variable("HOME") else { return path }
        return home + path.dropFirst()
    }

    /// The settings of a profile; those of `credentials` count before those of `config`.
    /// - Returns: `nil` if neither file has it.
    func profile(_ name: String) -> AWSConfigurationFile.Section? {
        let key = AWSConfigurationFile.Name(.profile, name.utf8)
        let (general, secret) = (config.sections[key], credentials.sections[key])
        guard let secret else { return general }
        return (general ?? AWSConfigurationFile.Section()).overlaid(with: secret)
    }

    /// A setting of a profile; `nil` if it is not there or empty.
    func setting(_ name: String, of profile: String? = nil) -> String? {
        let value = self.profile(profile ?? self.name)?.settings[name] ?? ""
        return value.isEmpty ? nil : value
    }

    /// The settings of a session for single sign-on.
    func session(_ name: String) -> [String: String]? { config.sections[.init(.session, name.utf8)]?.settings }

    /// The region that is configured: by a variable, or by the profile.
    var region: String? { variable("AWS_REGION") ?? variable("AWS_DEFAULT_REGION") ?? setting("region") }

    /// Where the endpoint of a service is configured to be.
    enum Endpoint {
        /// For this service alone: it counts before one that a reference names.
        case ofService(HTTPURL)
        /// For all services.
        case ofAll(HTTPURL)

        var url: HTTPURL {
            switch self {
            case .ofService(let url), .ofAll(let url): url
            }
        }
    }

    /// The endpoint that is configured for a service (AWS SDKs and Tools Reference Guide, "Service-specific endpoints").
    /// - Parameter service: `kms`, `sts`, `sso`.
    /// - Throws: `SigstoreError` with `malformed-url` that names the variable or the setting.
    func endpoint(_ service: String) throws(SigstoreError) -> Endpoint? {
        func url(_ text: String, _ place: String) throws(SigstoreError) -> HTTPURL {
            do throws(SigstoreError) { return try HTTPURL(parsing: text) } catch { throw error.concerning(place) }
        }
        guard
            (variable("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS") ?? setting("ignore_configured_endpoint_urls") ?? "")
                .lowercased() != "true"
        else { return nil }
        let own = "AWS_ENDPOINT_URL_\(service.uppercased())"
        if let text = variable(own) { return .ofService(try url(text, own)) }
        if let services = setting("services"),
            let text = config.sections[.init(.services, services.utf8)]?.nested[service]?["endpoint_url"], !text.isEmpty
        {
            return .ofService(try url(text, "endpoint_url of \(service) in the services \"\(services)\" in \(files)"))
        }
        if let text = variable("AWS_ENDPOINT_URL") { return .ofAll(try url(text, "AWS_ENDPOINT_URL")) }
        guard let text = setting("endpoint_url") else { return nil }
        return .ofAll(try url(text, "endpoint_url of \(place)"))
    }

    /// The endpoint that a service has by itself (AWS General Reference, "Service endpoints and quotas").
    /// - Throws: `SigstoreError` with `key-service-settings` if the region is none.
    func standardEndpoint(_ service: String, region: String) throws(SigstoreError) -> HTTPURL {
        guard Self.isRegion(region) else {
            throw SigstoreError(
                .keyServiceSettings, "\"\(String(region.prefix(64)))\" is not a region of AWS",
                advice: "set AWS_REGION to one such as eu-central-1")
        }
        func isOn(_ name: String, _ setting: String) -> Bool {
            (variable(name) ?? self.setting(setting) ?? "").lowercased() == "true"
        }
        let suffixes: [(prefix: String, plain: String, dual: String)] = [
            ("cn-", "amazonaws.com.cn", "api.amazonwebservices.com.cn"),
            ("us-isob-", "sc2s.sgov.gov", "api.aws.scloud"), ("us-isof-", "csp.hci.ic.gov", "api.aws.hci.ic.gov"),
            ("us-iso-", "c2s.ic.gov", "api.aws.ic.gov"), ("eu-isoe-", "cloud.adc-e.uk", "api.cloud-aws.adc-e.uk"),
            ("eusc-", "amazonaws.eu", "api.amazonwebservices.eu"), ("", "amazonaws.com", "api.aws"),
        ]
        let suffix = suffixes.first { region.utf8.starts(with: $0.prefix.utf8) }
        let isDual = isOn("AWS_USE_DUALSTACK_ENDPOINT", "use_dualstack_endpoint")
        let domain = (isDual ? suffix?.dual : suffix?.plain) ?? "amazonaws.com"
        // In GovCloud, the plain endpoints of these two are those for FIPS.
        let isPlainFIPS = region.utf8.starts(with: "us-gov-".utf8) && !isDual && service != "kms"
        let name = isOn("AWS_USE_FIPS_ENDPOINT", "use_fips_endpoint") && !isPlainFIPS ? "\(service)-fips" : service
        return try HTTPURL(try HTTPURL.origin("\(name).\(region).\(domain)", .https), path: "/")
    }

    /// Whether a text can be the name of a region: it becomes part of a host's name.
    static func isRegion(_ text: String) -> Bool {
        (1...32).contains(text.utf8.count) && text.utf8.first != 0x2d
            && text.utf8.allSatisfy { (0x61...0x7a).contains($0) || (0x30...0x39).contains($0) || $0 == 0x2d }
    }
}
