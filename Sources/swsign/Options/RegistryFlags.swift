import ArgumentParser
import HTTPTransport
import OCIRegistry
import SigstoreCrypto
import StrictJSON
import SwSignCore

/// The flags that say how registries are connected to.
struct RegistryConnectionFlags: ParsableArguments {
    @Option(
        name: .customLong("registry-auth-realm"),
        help: "A host that the registry may send the password to for its tokens. May be repeated.")
    var authRealms: [String] = []
    @Flag(name: .customLong("allow-http-registry"), help: "Speak plain HTTP where a registry does not speak HTTPS.")
    var allowHTTP = false
    @Flag(
        name: .customLong("allow-insecure-registry"),
        help: "Do not check the registry's TLS certificate, and allow plain HTTP.")
    var allowInsecure = false
    @Option(name: .customLong("registry-cacert"), help: "The CA certificates for the registry's TLS, in PEM.")
    var authorityFile: String?
    @Option(name: .customLong("registry-client-cert"), help: "The client certificate for the registry's TLS, in PEM.")
    var clientCertificate: String?
    @Option(name: .customLong("registry-client-key"), help: "The key of the client certificate, in PEM.")
    var clientKey: String?
    @Option(name: .customLong("registry-server-name"), help: "The name that the registry's TLS certificate must have.")
    var serverName: String?
    @Option(
        name: .customLong("registry-referrers-mode"),
        help: "legacy or oci-1-1, accepted as in cosign; the referrers API is always tried first.")
    var referrersMode: ReferrersMode?
    @Option(name: .customLong("max-workers"), help: "How many requests are under way at the same time.")
    var maxWorkers = 10

    enum ReferrersMode: String, ExpressibleByArgument, CaseIterable {
        case legacy
        case oci11 = "oci-1-1"
    }

    /// Refuses a way of writing signatures that is not built.
    func expectWritable(newBundleFormat: Bool) throws(SigstoreError) {
        guard referrersMode == .oci11, !newBundleFormat else { return }
        throw SigstoreError(
            .notBuiltYet,
            "--registry-referrers-mode=oci-1-1 cannot be used with --new-bundle-format=false yet; nothing was signed",
            advice: "leave out one of the two")
    }

    /// The registries, as these flags say.
    /// - Parameters:
    ///   - context: Its deadline is the time for the whole command, 3 minutes unless told.
    ///   - credential: A credential for all of them; otherwise one is looked for.
    ///   - concurrentSigners: Whether other jobs write to the same images at once.
    ///   - isLong: Whether the command may take as long as it needs, if its time was not limited.
    ///   - attempts: How often a registry is asked that does not answer.
    func registries(
        _ context: Context, credential: Credential? = nil, concurrentSigners: Bool = false, isLong: Bool = false,
        attempts: Int = 5
    ) throws(SigstoreError) -> Registries {
        guard (1...1000).contains(maxWorkers) else {
            throw SigstoreError(.usage, "--max-workers is \(maxWorkers), expected 1 to 1000")
        }
        var configuration = CurlClient.Configuration()
        configuration.maxWorkers = maxWorkers
        configuration.retryPolicy.maxAttempts = attempts
        configuration.deadline = context.deadline ?? (isLong ? nil : .now + .seconds(180))
        configuration.attemptsTakeAllTime = context.deadline != nil
        configuration.log = { context.output.detail($0) }
        configuration.transferred = { [progress = context.progress] in progress.transfer(pulled: $0, pushed: $1) }
        configuration.tls.authorityFile = authorityFile
        configuration.tls.clientCertificateFile = clientCertificate
        configuration.tls.clientKeyFile = clientKey
        configuration.tls.serverName = serverName
        if allowInsecure {
            context.output.warn("the registry's TLS certificate is not checked (--allow-insecure-registry)")
            configuration.tls.insecureSkipsVerification = true
        }
        if allowHTTP {
            context.output.warn(
                "a registry may be spoken to in plain HTTP, which others can read and change (--allow-http-registry)")
        }
        var options = OCIRegistry.RegistryOptions()
        options.allowsHTTP = allowHTTP || allowInsecure
        options.authRealms = Set(authRealms)
        options.credential = credential
        options.credentials = CredentialStore(environment: context.environment.value)
        // A writer that may take longer also waits longer for others who write at the same time.
        if let deadline = context.deadline {
            options.mergeTimeout = max(options.mergeTimeout, ContinuousClock.now.duration(to: deadline))
        }
        options.announcesWriters = concurrentSigners
        options.report = { notice in Self.report(notice, concurrentSigners, context) }
        return Registries(try context.client(configuration), options)
    }

    private static func seconds(_ duration: Duration, digits: Int) -> String {
        let (seconds, attoseconds) = duration.components
        let fraction = String(1_000_000_000_000_000_000 + attoseconds).dropFirst().prefix(digits)
        return "\(seconds).\(fraction)"
    }

    /// Says what a person may want to know of writing to a list that others write to as well.
    private static func report(_ notice: TagMerge.Notice, _ isAnnounced: Bool, _ context: Context) {
        switch notice {
        case .waiting(let duration):
            context.progress.say("looking again for other signers")
            context.output.detail("looking again for other signers in \(Self.seconds(duration, digits: 3)) s")
        case .slow(let tag, let duration):
            let words = "writing \(tag) took \(Self.seconds(duration, digits: 2)) s"
            guard !isAnnounced else { return context.output.detail(words) }
            context.output.warn(
                "\(words), and other signers wait for 1 s: another's signature may have been replaced at that moment; --concurrent-signers prevents that"
            )
        case .unsettled(let tag, let error):
            context.output.warn("\(tag) has the new entry, but the list is not settled: \(error.message)")
        }
    }
}

/// The flags of the commands that use images in registries.
struct RegistryFlags: ParsableArguments {
    @Option(name: .customLong("registry-username"), help: "The user name for the registry.")
    var username: String?
    @Option(name: .customLong("registry-password"), help: "The password for the registry.")
    var password: String?
    @Option(name: .customLong("registry-token"), help: "An access token for the registry.")
    var token: String?
    @OptionGroup var connection: RegistryConnectionFlags

    /// The registries, as these flags say.
    /// - Parameters:
    ///   - context: Its deadline is the time for the whole command, 3 minutes unless told.
    ///   - concurrentSigners: Whether other jobs write to the same images at once.
    ///   - isLong: Whether the command may take as long as it needs, if its time was not limited.
    ///   - attempts: How often a registry is asked that does not answer.
    private func registries(
        _ context: Context, _ concurrentSigners: Bool, isLong: Bool, _ attempts: Int
    ) throws(SigstoreError) -> Registries {
        guard (username == nil) == (password == nil) || token != nil else {
            throw SigstoreError(.usage, "--registry-username and --registry-password belong together")
        }
        var credential: Credential?
        if let token {
            credential = .registryToken(token)
        } else if let username, let password {
            credential = .password(user: username, password: SecretBytes(password.utf8))
        }
        return try connection.registries(
            context, credential: credential, concurrentSigners: concurrentSigners, isLong: isLong, attempts: attempts)
    }

    /// The images, reached as these flags say.
    /// - Parameters:
    ///   - tagPrefix: What stands before tags of the older scheme.
    ///   - concurrentSigners: Whether other jobs write to the same images at once.
    ///   - isLong: Whether the command may take as long as it needs, if its time was not limited.
    ///   - attempts: How often a registry is asked that does not answer.
    func images(
        _ context: Context, tagPrefix: String = "", concurrentSigners: Bool = false, isLong: Bool = false,
        attempts: Int = 5
    ) throws(SigstoreError) -> ImageAccess {
        ImageAccess(
            registries: try registries(context, concurrentSigners, isLong: isLong, attempts), tagPrefix: tagPrefix,
            context: context)
    }
}
