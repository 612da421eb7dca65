import FoundationEssentials
import HTTPTransport
import SigstoreClients
import SigstoreCrypto
import StrictJSON
import SwSignCore

/// A Sigstore instance's own files, over TUF.
struct TUFAccess {
    let staging: Bool

    /// The variables of this process.
    static var environment: [String: String] { ProcessInfo.processInfo.environment }

    /// The variables that say which instance that is, as far as they are set and count.
    var variables: [String] {
        let names = staging ? ["TUF_ROOT"] : ["TUF_MIRROR", "TUF_ROOT_JSON", "TUF_ROOT"]
        let environment = Self.environment
        return names.filter { !(environment[$0] ?? "").isEmpty }
    }

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

    /// What a command that signs or reads a log can do without the TUF repository.
    static let filesInstead = "try again with a network, or give --trusted-root and --signing-config"

    /// Says what the command at hand can do where the TUF repository cannot be reached, since not every one has `--offline`.
    static func advising<Value>(
        _ advice: String, _ body: () throws(SigstoreError) -> Value
    ) throws(SigstoreError) -> Value {
        do throws(SigstoreError) { return try body() } catch {
            guard error.code == .tufUnreachable else { throw error }
            var explained = error
            explained.advice = .sentence(advice)
            throw explained
        }
    }

    /// The instance, over this program's connections.
    func instance() throws(SigstoreError) -> SigstoreInstance {
        var instance = SigstoreInstance(
            staging ? .staging : .configured, http: try Self.http(), environment: Self.environment)
        instance.repositoryHTTP = try Self.http(attempts: 2)
        instance.notice = { Output.warn($0.message) }
        return instance
    }

    /// A target, verified.
    /// - Parameter name: The target's name, such as `trusted_root.json`.
    func target(_ name: String) throws(SigstoreError) -> [UInt8] {
        let instance = try instance()
        return try waiting { () throws(SigstoreError) in try await instance.target(name, offline: false) }
    }
}
