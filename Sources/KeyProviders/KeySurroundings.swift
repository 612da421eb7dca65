public import HTTPTransport
internal import LocalSystem
public import SigstoreCrypto
public import StrictJSON

/// What the places of keys have of the world around them; handed in, so that nothing is read behind the caller's back.
public struct KeySurroundings: Sendable {
    /// The value of a variable of the environment; `nil` if it is not set or empty.
    public var variable: @Sendable (String) -> String?
    /// The time now, in seconds since 1970 in UTC.
    public var now: @Sendable () -> Int64
    /// Makes what carries requests over HTTP. Each place asks for a client of its own with the certificates that it needs.
    public var client: @Sendable (TLSOptions) throws(SigstoreError) -> any HTTPClient
    /// Takes a sentence for the person, such as which of several credentials is used.
    public var notice: @Sendable (String) -> Void

    /// Takes a sentence about what makes the result weaker than usual; by default a notice.
    public var warning: @Sendable (String) -> Void
    /// The value of a variable of the environment that may be a secret, byte for byte; `nil` if it is not set. It stays there. By
    /// default none is empty.
    public var secretBytes: @Sendable (String) -> SecretBytes?
    /// Takes a secret out of a variable of the environment; `nil` if it is not set. By default it stays there.
    public var secretVariable: @Sendable (String) -> SecretBytes?
    /// Asks a person at the terminal for something secret, by this prompt; `nil` if there is nobody to ask, as by default.
    public var askSecret: @Sendable (String) throws(SigstoreError) -> SecretBytes? = { _ in nil }
    /// Whether a person sits at standard input, so that a program for credentials may ask there; by default not.
    public var hasTerminal: @Sendable () -> Bool = { false }
    /// Whether a public key may come over plain HTTP from another machine, where it can be replaced on its way.
    public var allowsHTTPKeys = false
    /// Lets time pass before something is asked for again.
    var pause: @Sendable (Duration) async throws(SigstoreError) -> Void = ServiceAttempts.pause
    /// What the machine's maker calls it, such as `Google Compute Engine`, as its firmware says (DMI); `nil` if it says nothing.
    var machineName: @Sendable () -> String? = {
        let bytes = (try? LocalFile.read("/sys/class/dmi/id/product_name", limit: 256)) ?? nil
        return bytes.map { String(decoding: $0, as: UTF8.self) }
    }

    /// Names what is around.
    public init(
        variable: @escaping @Sendable (String) -> String?, now: @escaping @Sendable () -> Int64,
        client: @escaping @Sendable (TLSOptions) throws(SigstoreError) -> any HTTPClient,
        notice: @escaping @Sendable (String) -> Void = { _ in }
    ) {
        (self.variable, self.now, self.client, self.notice) = (variable, now, client, notice)
        warning = notice
        secretBytes = { name in variable(name).map { SecretBytes($0.utf8) } }
        secretVariable = secretBytes
    }

    /// The value of a variable that is a secret; `nil` if it is not set or empty.
    func secret(_ name: String) -> SecretBytes? { secretBytes(name).flatMap { $0.count == 0 ? nil : $0 } }

    /// This process's own: its variables, the system's clock, libcurl. What would be said to a person is not said.
    public static var process: KeySurroundings {
        var surroundings = KeySurroundings(
            variable: ProcessEnvironment.value, now: SystemClock.now,
            client: { tls throws(SigstoreError) in
                // OpenSSL first, which libcurl would set up by a configuration file.
                try Cryptography.prepare()
                var configuration = CurlClient.Configuration()
                configuration.tls = tls
                return CurlClient(configuration)
            })
        surroundings.secretBytes = { name in unsafe ProcessEnvironment.withBytes(name) { unsafe SecretBytes($0) } }
        return surroundings
    }
}
