import ArgumentParser
import HTTPTransport
import LocalSystem
import OCIRegistry
import SigstoreClients
import SigstoreCrypto
import SigstoreVerification
import StrictJSON
import StrictYAML
import SwSignCore
import Synchronization

struct Doctor: SwSignCommand {
    static let configuration = CommandConfiguration(
        commandName: "doctor",
        abstract: "Says what this machine signs and verifies with, and what is the matter, on one page for a report.")

    @Argument(help: "An image, to look at its registry too: a reference, or oci-layout:PATH[:TAG|@DIGEST].")
    var image: String?
    @Flag(help: "Open no connection, and run no credential helper.")
    var offline = false
    @Option(name: .shortAndLong, help: "How it is printed: text or json.")
    var output: OutputFormat = .text
    @Option(name: .customLong("trusted-root"), help: "The trusted root file to look at, in place of the instance's.")
    var trustedRoot: String?
    @Option(
        name: .customLong("signing-config"), help: "The signing config file to look at, in place of the instance's.")
    var signingConfig: String?
    @Flag(help: "Look at the public instance's staging, which is for rehearsals only.")
    var staging = false
    @OptionGroup(title: "Registry") var registry: RegistryFlags
    @OptionGroup(title: "Global options") var global: GlobalOptions

    func run(_ context: Context) throws(SigstoreError) {
        var report = DoctorReport(context)
        report.hide(registry.token)
        if let username = registry.username, let password = registry.password {
            report.hide(.password(user: username, password: SecretBytes(password.utf8)))
        }
        program(&report, context)
        libraries(&report)
        var services = trust(&report, context)
        ask(services, &report, context)
        if let image { services += look(at: image, &report, context) }
        proxies(of: services, &report, context)
        variables(&report, context)
        credentials(&report, context)
        try report.print(output, isOffline: offline)
        guard report.problems.isEmpty else {
            throw SigstoreError(.alreadyReported, "something would keep one from signing or verifying")
        }
    }

    // MARK: - This program

    private func program(_ report: inout DoctorReport, _ context: Context) {
        report.begin("Program")
        report.add("version", "\(Version.number), \(Version.platform), commit not recorded in it")
        if SwSign.name != "swsign" { report.add("called as", SwSign.name) }
        if let path = LocalFile.realPath("/proc/self/exe") {
            let digest = try? Self.digest(of: path)
            report.add("file", path + (digest.map { ", \($0)" } ?? ""))
        }
        let system = [SystemDescription.distribution, SystemDescription.kernel, SystemDescription.cLibrary]
        report.add("system", system.compactMap { $0 }.joined(separator: ", "))
        report.add("clock", "\(Instant(seconds: context.now()))")
    }

    private static func digest(of path: String) throws(SigstoreError) -> Digest? {
        var hasher = try MessageHasher(digests: [.sha256])
        unsafe try LocalFile.forEachPiece(of: path) { (bytes) throws(SigstoreError) in unsafe try hasher.update(bytes) }
        return try hasher.finish().digest(.sha256)
    }

    private func libraries(_ report: inout DoctorReport) {
        report.begin("Libraries")
        // OpenSSL first, which libcurl would set up by a configuration file.
        do throws(SigstoreError) {
            try Cryptography.prepare()
            report.add("OpenSSL", Cryptography.openSSLVersion)
            report.add("libsodium", "\(Cryptography.sodiumVersion), in the program")
        } catch { report.add("OpenSSL", fault: error) }
        report.add("libyaml", "\(YAMLDocument.libraryVersion), in the program")
        // Some of the libraries that it brings ask the system's name service, over a socket, as soon as they are opened.
        guard !offline else { return report.add("libcurl", "not opened (--offline)") }
        do throws(SigstoreError) { report.add("libcurl", try CurlClient.libraryVersion()) } catch {
            report.add("libcurl", fault: error)
        }
    }

    // MARK: - Whom to believe

    /// What an instance says while it works, which is no error.
    private final class Notices: Sendable {
        let all = Mutex<[String]>([])
    }

    /// Looks at the trusted root and the signing config.
    /// - Returns: The services that they name.
    private func trust(_ report: inout DoctorReport, _ context: Context) -> [DoctorService] {
        report.begin("Trust root")
        let sources = TrustSources(trustedRoot: trustedRoot, staging: staging, context: context)
        var instance: SigstoreInstance
        do throws(SigstoreError) { instance = try sources.instance() } catch {
            report.add("what is believed", fault: error)
            return []
        }
        let notices = Notices()
        instance.notice = { notice in notices.all.withLock { $0.append(notice.message) } }
        if let signingConfig { instance.signingConfigSource = .file(signingConfig) }
        let variables = sources.variables
        if !variables.isEmpty { report.add("said by the environment", variables.joined(separator: ", ")) }
        let needsRepository = trustedRoot == nil && !sources.isComplete
        var services: [DoctorService] = []
        var client: TUFClient?
        if needsRepository || signingConfig == nil {
            do throws(SigstoreError) {
                let kept = try instance.repositoryClient(.offline)
                let mirror = kept.configuration.mirror
                report.hide(url: mirror)
                if let folder = kept.configuration.cache?.folder { report.hide(folder: folder, of: mirror) }
                client = kept
            } catch { if needsRepository { report.add("instance", fault: error) } }
        }
        var works = true
        if let trustedRoot {
            report.add("from", "the file \(trustedRoot); the instance's own is not used")
        } else if let client, needsRepository {
            works = repository(client, &report, context)
            services.append(
                DoctorService(
                    name: "TUF mirror", url: client.configuration.mirror, path: "timestamp.json", isNeeded: false))
        }
        do throws(SigstoreError) {
            let root = try waiting { [instance] () throws(SigstoreError) in
                try await instance.trustedRoot(offline: true)
            }
            names(root, &report, context)
        } catch {
            // What is fetched at first use is no fault.
            if offline || !works || trustedRoot != nil { report.add("trusted root", fault: error) }
        }
        for notice in notices.all.withLock({ $0 }) { report.add("note", notice) }

        report.begin("Signing config")
        if let signingConfig { report.add("from", "the file \(signingConfig)") }
        do throws(SigstoreError) {
            services += try self.services(of: try config(instance, client), &report, context)
        } catch {
            // An instance of one's own need not have one: then services are named by flags.
            if error.code == .tufNoTarget {
                report.add("none", "the instance has none; services are named by flags")
            } else if needsRepository && !works {
                report.add("not to be had", error.message)
            } else {
                report.add("not to be had", fault: error)
            }
        }
        return services
    }

    /// Looks at a TUF repository, and at what is kept of it.
    /// - Returns: Whether the repository can be used now.
    private func repository(_ client: TUFClient, _ report: inout DoctorReport, _ context: Context) -> Bool {
        let (mirror, root) = (client.configuration.mirror, client.configuration.root)
        let known = [
            (TUFMirror.production, "Sigstore's public instance"),
            (TUFMirror.staging, "the public instance's staging, for rehearsals only"),
        ]
        let builtIn = known.first { $0.0.url.utf8.elementsEqual(mirror.utf8) && $0.0.root == root }
        report.add("instance", "\(mirror), \(builtIn?.1 ?? "an instance of one's own")")
        if let first = try? TUFMetadata<TUFRoot>(parsing: root) {
            var words = "version \(first.version), \(builtIn == nil ? "given" : "built in")"
            if builtIn != nil, let date = client.configuration.embeddedDate {
                words += " as of \(report.date(date))"
            }
            report.add("first root", "\(words), \(report.expiry(first.expires))")
        }
        report.add("kept in", client.configuration.cache?.folder ?? "nothing: neither TUF_ROOT nor HOME is set")
        do throws(SigstoreError) {
            report.add("kept", try client.kept().map { report.roles($0) } ?? "nothing yet")
        } catch { report.add("kept", "cannot be used: \(error.message)") }
        report.add("last asked", client.lastChecked.map { report.date($0) } ?? "never")
        guard !offline else {
            report.add("asked now", "no (--offline)")
            return true
        }
        do throws(SigstoreError) {
            let update = try waiting { () throws(SigstoreError) in try await client.tried() }
            report.add("asked now", "it has \(report.roles(update))")
            return true
        } catch {
            report.add("asked now", fault: error)
            return false
        }
    }

    private func names(_ root: TrustedRoot, _ report: inout DoctorReport, _ context: Context) {
        let now = Instant(seconds: context.now())
        func count(_ windows: [ValidityWindow], _ what: String) -> String {
            "\(windows.count) \(what) (\(windows.filter { $0.contains(now) }.count) now)"
        }
        let authorities = root.certificateAuthorities.map(\.validFor)
        report.add(
            "it names",
            [
                count(authorities, "certificate authorities"),
                count(root.transparencyLogs.map(\.validFor), "logs"),
                count(root.certificateTransparencyLogs.map(\.validFor), "logs of certificates"),
                count(root.timestampAuthorities.map(\.validFor), "timestamp authorities"),
            ].joined(separator: ", "))
        guard !authorities.isEmpty, !authorities.contains(where: { $0.contains(now) }) else { return }
        report.problem(
            "none of the trusted root's certificate authorities counts now",
            "get the instance's current trusted root, and check this machine's clock")
    }

    /// The signing config. What cannot be had without the network is fetched and not kept.
    private func config(_ instance: SigstoreInstance, _ client: TUFClient?) throws(SigstoreError) -> SigningConfig {
        guard signingConfig == nil else {
            return try waiting { () throws(SigstoreError) in try await instance.signingConfig() }
        }
        let name = TUFMirror.signingConfigTarget
        do throws(SigstoreError) {
            return try waiting { () throws(SigstoreError) in
                try SigningConfig(parsing: try await instance.target(name, offline: true))
            }
        } catch {
            guard !offline, let client else { throw error }
            var configuration = client.configuration
            (configuration.cache, configuration.freshness) = (nil, .now)
            let fresh = TUFClient(configuration, fetcher: TUFMirrorFetcher(instance.repositoryHTTP))
            return try waiting { () throws(SigstoreError) in
                try SigningConfig(parsing: try await fresh.target(name))
            }
        }
    }

    private func services(
        of config: SigningConfig, _ report: inout DoctorReport, _ context: Context
    ) throws(SigstoreError) -> [DoctorService] {
        let now = Instant(seconds: context.now())
        var services: [DoctorService] = []
        func add(_ name: String, _ path: String, _ pick: () throws(SigstoreError) -> [SigningConfig.Service]) {
            do throws(SigstoreError) {
                let picked = try pick()
                if picked.isEmpty { report.add(name, "none") }
                for service in picked {
                    report.hide(url: service.url)
                    report.add(name, "\(service.url), version \(service.majorAPIVersion)")
                    services.append(
                        DoctorService(
                            name: name, url: service.url,
                            path: name == "log" && service.majorAPIVersion > 1 ? "checkpoint" : path))
                }
            } catch { report.add(name, fault: error) }
        }
        add("certificate authority", "api/v2/trustBundle") { () throws(SigstoreError) in
            config.certificateAuthorities.isEmpty ? [] : [try config.certificateAuthority(at: now)]
        }
        add("identity token issuer", ".well-known/openid-configuration") { () throws(SigstoreError) in
            config.issuers.isEmpty ? [] : [try config.issuer(at: now)]
        }
        add("log", "api/v1/log") { () throws(SigstoreError) in try config.transparencyLogs(at: now) }
        add("timestamp authority", "") { () throws(SigstoreError) in try config.timestampAuthorities(at: now) }
        return services
    }

    // MARK: - The network

    /// Asks every service at once, and compares clocks.
    private func ask(_ services: [DoctorService], _ report: inout DoctorReport, _ context: Context) {
        report.begin("Services")
        guard !offline else { return report.add("asked", "none (--offline)") }
        let services = services.filter(\.isOverHTTP)
        if services.isEmpty { report.add("asked", "none") }
        do throws(SigstoreError) {
            let http = try context.http(attempts: 1)
            let answers = try waiting { () throws(SigstoreError) in
                await withTaskGroup(of: (Int, DoctorService).self) { group in
                    for (index, service) in services.enumerated() {
                        group.addTask { (index, await service.asked(http, context.now)) }
                    }
                    var answers = services
                    for await (index, service) in group { answers[index] = service }
                    return answers
                }
            }
            for service in answers { tell(service, &report) }
        } catch { report.add("asked", fault: error) }
    }

    private func tell(_ service: DoctorService, _ report: inout DoctorReport) {
        let place = "\(service.name) \(service.shownURL)"
        switch service.answer {
        case .success(let answer):
            // Where a path is asked that every such service has, only what it should answer shows that it is one.
            guard service.path.isEmpty || !service.isNeeded ? answer.status < 500 : (200...299).contains(answer.status)
            else {
                return report.add(
                    place,
                    fault: SigstoreError(
                        .httpStatus, "\(service.shownURL) answers \(answer.status)",
                        advice: answer.status < 500
                            ? "check its address, and the proxy: this is not the answer of such a service"
                            : "the fault is on its side; try again later"))
            }
            report.add(place, answer)
        case .failure(let error):
            // What was told where the trust root was looked at is not told twice.
            if service.isNeeded { report.add(place, fault: error) } else { report.add(place, "no answer") }
        case nil: break
        }
    }

    private func proxies(of services: [DoctorService], _ report: inout DoctorReport, _ context: Context) {
        report.begin("Proxies")
        let names = ["HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"]
        let set = names.filter { context.environment.value($0) != nil }
        if set.isEmpty { report.add("set", "none") }
        for name in set {
            // As if nothing else were set, for a host that no list of hosts has.
            let scheme: HTTPURL.Scheme = name.lowercased() == "http_proxy" ? .http : .https
            let origin = try? HTTPURL.origin("host.invalid", scheme)
            let proxy = origin.flatMap { origin in
                try? Proxy.of(origin) { $0 == name ? context.environment.value($0) : nil }
            }
            report.add(name, proxy?.authority ?? "names no proxy that can be used")
        }
        for name in ["NO_PROXY", "no_proxy"] {
            if let list = context.environment.value(name) { report.add(name, list) }
        }
        var ways: [(way: String, origins: [String])] = []
        func add(_ origin: String, _ way: String) {
            if let index = ways.firstIndex(where: { $0.way == way }) {
                if !ways[index].origins.contains(origin) { ways[index].origins.append(origin) }
            } else {
                ways.append((way, [origin]))
            }
        }
        for service in services {
            guard let origin = try? HTTPURL(parsing: service.url).origin else { continue }
            do throws(SigstoreError) {
                let proxy = try Proxy.of(origin, environment: context.environment.value)
                add(origin.description, proxy.map { "through \($0.variable)" } ?? "direct")
            } catch {
                add(origin.description, "not to be reached: \(error.message)")
                report.problem(error)
            }
        }
        for way in ways { report.add(way.way, way.origins.joined(separator: ", ")) }
    }

    // MARK: - This place

    private func variables(_ report: inout DoctorReport, _ context: Context) {
        report.begin("Environment")
        let known = EnvironmentCommand.variables().map(\.name)
        let set = known.filter { !["HOME", "PATH"].contains($0) && context.environment.value($0) != nil }
        report.add("variables that count", set.isEmpty ? "none is set" : set.joined(separator: ", "))
        let others = context.environment.all.keys.filter { name in
            ["COSIGN_", "SIGSTORE_", "TUF_"].contains { name.utf8.starts(with: $0.utf8) } && !known.contains(name)
        }
        if !others.isEmpty { report.add("without effect", others.sorted().joined(separator: ", ")) }
    }

    private func credentials(_ report: inout DoctorReport, _ context: Context) {
        report.begin("Credentials")
        let places = CredentialStore(environment: context.environment.value).places()
        if places.isEmpty { report.add("for registries", "none") }
        for place in places {
            if let fault = place.fault {
                report.add(place.name, fault: fault)
                continue
            }
            var words: [String] = []
            if !place.names.isEmpty {
                words.append("for \(place.names.map(DoctorReport.withoutUser).joined(separator: ", "))")
            }
            words += place.helpers.map { helper in
                "\(helper.program) for \(helper.registry.map(DoctorReport.withoutUser) ?? "all others")"
            }
            report.add(place.name, words.isEmpty ? "holds none" : words.joined(separator: "; "))
        }
        do throws(SigstoreError) {
            let identity = AmbientIdentity(environment: context.environment.all, http: try context.http(attempts: 1))
            report.add("identity token", try identity.provider().map { "from \($0.name)" } ?? "none without a person")
        } catch { report.add("identity token", "none: \(error.message)") }
    }

    // MARK: - An image

    /// Looks at an image, and at its registry.
    /// - Returns: The registries that signatures and image are in.
    private func look(at name: String, _ report: inout DoctorReport, _ context: Context) -> [DoctorService] {
        report.begin("Image")
        report.hide(image: name)
        report.add("name", name)
        var services: [DoctorService] = []
        do throws(SigstoreError) {
            let access = try registry.images(context, attempts: 2)
            guard case .registry(let reference) = try ImageLocation(parsing: name) else {
                attached(to: name, access, &report)
                return []
            }
            var repositories = [reference.repository]
            if let text = context.environment.value("COSIGN_REPOSITORY") {
                report.hide(image: text)
                report.add("signatures are in", text)
                repositories.append(try Repository(parsing: text))
            }
            guard !offline else {
                report.add("registry", "not asked (--offline)")
                return []
            }
            let isUp = greet(repositories, access, &services, &report, context)
            for repository in repositories { credential(for: repository, &report, context) }
            guard isUp, let last = repositories.last else { return services }
            let digest = attached(to: name, access, &report)
            features(access.registries.client(for: last), digest, &report)
        } catch { report.add("not looked at", fault: error) }
        return services
    }

    /// Asks each registry's first page.
    /// - Returns: Whether all of them answer.
    private func greet(
        _ repositories: [Repository], _ access: ImageAccess, _ services: inout [DoctorService],
        _ report: inout DoctorReport, _ context: Context
    ) -> Bool {
        var isUp = true
        for repository in repositories
        where repository == repositories.first || repository.registry != repositories.first?.registry {
            let client = access.registries.client(for: repository)
            let (start, before) = (ContinuousClock.now, context.now())
            do throws(SigstoreError) {
                let greeting = try waiting { () throws(SigstoreError) in try await client.greeting() }
                let answer = DoctorService.Answer(
                    status: greeting.status, date: greeting.date, before: before, after: context.now(),
                    duration: .now - start)
                let place = greeting.url.origin.description
                services.append(DoctorService(name: "registry", url: place, path: ""))
                let wants =
                    switch greeting.logIn {
                    case .nothing: "no login to be asked"
                    case .password: "a user name and a password"
                    case .token(let host): "a token from \(host)"
                    case .unknown: "a login of a kind that is not known here"
                    }
                report.add("registry \(place)", answer)
                report.add("it wants", wants)
            } catch {
                isUp = false
                report.add("registry", fault: error)
            }
        }
        return isUp
    }

    private func credential(for repository: Repository, _ report: inout DoctorReport, _ context: Context) {
        let place = "credential for \(repository)"
        if registry.token != nil { return report.add(place, "a token, given by --registry-token") }
        if registry.username != nil { return report.add(place, "a password, given by --registry-password") }
        do throws(SigstoreError) {
            let store = CredentialStore(environment: context.environment.value)
            let found = try waiting { () throws(SigstoreError) in try await store.located(for: repository) }
            guard let found else { return report.add(place, "none found") }
            report.hide(found.credential)
            let kind =
                switch found.credential {
                case .anonymous: "none"
                case .basic: "a user name and a password"
                case .identityToken: "a token to get others with"
                case .bearer: "a token"
                }
            report.add(place, "\(kind), from \(found.place)")
        } catch { report.add(place, fault: error) }
    }

    /// Finds the image and what is attached to it.
    /// - Returns: Its digest; `nil` if it cannot be had.
    @discardableResult
    private func attached(to name: String, _ access: ImageAccess, _ report: inout DoctorReport) -> Digest? {
        do throws(SigstoreError) {
            let found = try waiting { () throws(SigstoreError) in
                let image = try await access.image(name)
                return (image: image, descriptor: try await image.descriptor())
            }
            report.add("image", "\(found.image.digest), \(found.descriptor.mediaType)")
            let store = try access.attachments(of: found.image)
            do throws(SigstoreError) {
                let attached = try waiting { () throws(SigstoreError) in try await store.attachments() }
                for kind in [SignatureStore.Kind.signature, .attestation] {
                    let bundles = attached.referrers.filter { $0.kind == kind }.count
                    let layers = attached.tagged.filter { $0.kind == kind }.map { $0.manifest.image?.layers.count ?? 0 }
                        .reduce(0, +)
                    report.add(
                        kind == .signature ? "signatures" : "attestations",
                        "\(bundles) in cosign 3's scheme, \(layers) in cosign 2's")
                }
                for error in attached.unreadable { report.add("not readable", fault: error) }
            } catch { report.add("signatures", fault: error) }
            return found.image.digest
        } catch {
            report.add("image", fault: error)
            return nil
        }
    }

    private func features(_ client: RegistryClient, _ digest: Digest?, _ report: inout DoctorReport) {
        func add(_ name: String, isNeeded: Bool, _ ask: () throws(SigstoreError) -> RegistryClient.Feature) {
            do throws(SigstoreError) {
                switch try ask() {
                case .present: report.add(name, "yes")
                case .absent(let words): report.add(name, "no: \(words)")
                case .unclear(let words): report.add(name, "not to be told: \(words)")
                }
            } catch {
                if isNeeded { report.add(name, fault: error) } else { report.add(name, "no: \(error.message)") }
            }
        }
        if let digest {
            add("referrers API", isNeeded: true) { () throws(SigstoreError) in
                try waiting { () throws(SigstoreError) in try await client.referrersAPI(of: digest) }
            }
        }
        // Neither is needed to sign or verify.
        add("list of tags", isNeeded: false) { () throws(SigstoreError) in
            try waiting { () throws(SigstoreError) in try await client.tagList() }
        }
        add("deleting", isNeeded: false) { () throws(SigstoreError) in
            try waiting { () throws(SigstoreError) in try await client.deletion() }
        }
    }
}
