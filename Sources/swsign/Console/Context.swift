import ArgumentParser
import HTTPTransport
import KeyProviders
import LocalSystem
import SigstoreCrypto
import StrictJSON
import SwSignCore

/// What a command has of the world around it: variables, the time, the network and the person who called it.
///
/// The program makes one for its own process. A test may hand any command another.
struct Context: Sendable {
    /// The variables of the environment.
    private(set) var environment: Environment
    /// The time now, in seconds since 1970 in UTC.
    let now: @Sendable () -> Int64
    /// Makes what carries requests over HTTP.
    let client: @Sendable (CurlClient.Configuration) throws(SigstoreError) -> any HTTPClient
    let output: Output
    let progress: ProgressBar
    let terminal: Terminal
    /// The variables that say whom to believe.
    var trustVariables: TrustVariables
    /// When all requests must be done, if `--timeout` says so.
    var deadline: ContinuousClock.Instant?
    private let keyRing = KeyRing()

    init(
        environment: Environment = .process, now: @escaping @Sendable () -> Int64 = SystemClock.now,
        client: @escaping @Sendable (CurlClient.Configuration) throws(SigstoreError) -> any HTTPClient = Self.curl,
        streams: Streams = Streams()
    ) {
        self.environment = environment
        self.now = now
        self.client = client
        output = Output(streams, environment)
        progress = ProgressBar(output)
        terminal = Terminal(environment, progress, streams)
        trustVariables = TrustVariables([], output)
    }

    /// The same with these variables in place of those of the same names.
    func adding(_ variables: [String: String]) -> Context {
        guard !variables.isEmpty, case .process = environment else { return self }
        var context = self
        context.environment = .valuesBefore(variables)
        return context
    }

    /// A client for HTTP over libcurl. OpenSSL is set up before libcurl can do it, which would read a configuration file.
    private static func curl(_ configuration: CurlClient.Configuration) throws(SigstoreError) -> any HTTPClient {
        try Cryptography.prepare()
        return CurlClient(configuration)
    }

    /// A client for HTTP with this program's usual bounds.
    /// - Parameter attempts: How often a server is asked that does not answer.
    func http(_ tls: TLSOptions = TLSOptions(), attempts: Int = 5) throws(SigstoreError) -> any HTTPClient {
        var configuration = CurlClient.Configuration()
        configuration.deadline = deadline
        configuration.attemptsTakeAllTime = true
        configuration.retryPolicy.maxAttempts = attempts
        configuration.log = { [output] in output.detail($0) }
        configuration.tls = tls
        return try client(configuration)
    }
}

extension Context {
    private static let notOffline = SigstoreError(
        .usage, "a key that is not on this machine cannot be had with --offline",
        advice: "give the public key in a file, or leave --offline out")

    /// The key that a flag names. The places where keys may be are made once a run, so that each key is looked up once.
    /// - Parameters:
    ///   - reference: Which key.
    ///   - offline: Whether no service may be asked for it.
    ///   - allowsHTTP: Whether it may come over plain HTTP from another machine.
    ///   - usingPlugins: Whether another program may be asked for a key that is nowhere else.
    /// - Throws: `SigstoreError` if the reference cannot be meant; nothing is opened or asked yet.
    func key(
        _ reference: String, offline: Bool = false, allowsHTTP: Bool = false, usingPlugins: Bool = true
    ) throws(SigstoreError) -> KeyReference {
        if KeyReference.isPath(reference) { return KeyReference(path: reference, notice: output.warn) }
        let access = KeyRing.Access(isOffline: offline, allowsHTTPKeys: allowsHTTP)
        var places = keyRing.places(access, surroundings(access))
        // What another program does, nobody knows; it is not asked offline.
        if !usingPlugins || offline { places.removeAll { $0 is PluginKeyPlace } }
        if offline, !places.contains(where: { $0.knows(reference) }),
            PluginKeyPlace(surroundings(access)).knows(reference)
        {
            throw Self.notOffline
        }
        return try KeyReference(reference, in: places, notice: output.warn)
    }
}

extension Context {
    private func surroundings(_ access: KeyRing.Access) -> KeySurroundings {
        var surroundings = KeySurroundings(
            variable: { [environment] in environment.value($0) }, now: now,
            client: { tls throws(SigstoreError) in
                guard !access.isOffline else { throw Self.notOffline }
                return try self.http(tls)
            }, notice: { [output] in output.note($0) })
        surroundings.warning = { [output] in output.warn($0) }
        surroundings.secretBytes = { [environment] in environment.secret($0) }
        surroundings.secretVariable = { [environment] in environment.takeSecret($0) }
        surroundings.askSecret = { [terminal] prompt throws(SigstoreError) in
            try terminal.secret(Output.escaped(prompt))
        }
        surroundings.hasTerminal = { [terminal] in terminal.isInteractive }
        surroundings.allowsHTTPKeys = access.allowsHTTPKeys
        return surroundings
    }

    /// The tokens of this machine.
    func tokens() -> PKCS11Keys {
        let access = KeyRing.Access()
        for place in keyRing.places(access, surroundings(access)) {
            if let tokens = place as? PKCS11Keys { return tokens }
        }
        return PKCS11Keys(surroundings(access))
    }

    /// Ends what the places of keys have open: the modules of tokens.
    func closeKeys() { keyRing.close() }
}

/// A command of this program.
protocol SwSignCommand: ParsableCommand, Sendable {
    var global: GlobalOptions { get }

    /// Does what the command line asks for.
    /// - Parameter context: The world around the command, in which its global flags are in effect.
    func run(_ context: Context) throws(SigstoreError)
}
