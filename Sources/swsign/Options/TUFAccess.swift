import FoundationEssentials
import HTTPTransport
import InToto
import SigstoreClients
import SigstoreCrypto
import SwSignCore

/// A Sigstore instance's own files, over TUF.
struct TUFAccess {
    let staging: Bool

    /// The variables of this process.
    static var environment: [String: String] { ProcessInfo.processInfo.environment }

    /// A client for HTTP with this program's usual bounds.
    /// - Parameter attempts: How often a server is asked that does not answer.
    static func http(_ tls: TLSOptions = TLSOptions(), attempts: Int = 5) throws(SigstoreError) -> CurlClient {
        var configuration = CurlClient.Configuration()
        configuration.deadline = GlobalOptions.deadline
        configuration.retryPolicy.maxAttempts = attempts
        configuration.log = { Output.detail($0) }
        configuration.tls = tls
        return try client(configuration)
    }

    /// A client for HTTP. OpenSSL is set up before libcurl can do it, which would read a configuration file.
    static func client(_ configuration: CurlClient.Configuration) throws(SigstoreError) -> CurlClient {
        try Cryptography.prepare()
        return CurlClient(configuration)
    }

    /// A target, verified.
    /// - Parameters:
    ///   - name: The target's name, such as `trusted_root.json`.
    ///   - offline: Whether the network may not be used.
    func target(_ name: String, offline: Bool) throws(SigstoreError) -> [UInt8] {
        let mirror = try TUFMirror.resolve(staging: staging, environment: Self.environment)
        let client = mirror.client(
            environment: Self.environment, freshness: offline ? .offline : .daily,
            fetcher: TUFMirrorFetcher(try Self.http(attempts: 2)), notice: { Output.warn($0.message) })
        do throws(SigstoreError) {
            return try waiting { () throws(SigstoreError) in try await client.target(name) }
        } catch {
            throw SigstoreError(
                error.code, "Sigstore's trust root cannot be brought up to date: \(error.message)",
                advice: error.advice ?? "give --trusted-root FILE, or --offline to go on with what is known here",
                cause: error)
        }
    }
}
