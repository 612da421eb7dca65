import SigstoreClients
import StrictJSON
import SwSignCore

/// A Sigstore instance's own files, over TUF.
struct TUFAccess {
    let staging: Bool
    private let context: Context

    init(staging: Bool, _ context: Context) {
        self.staging = staging
        self.context = context
    }

    /// The variables that say which instance that is, as far as they are set and count.
    var variables: [String] {
        let names = staging ? ["TUF_ROOT"] : ["TUF_MIRROR", "TUF_ROOT_JSON", "TUF_ROOT"]
        return names.filter { context.environment.value($0) != nil }
    }

    /// What a command that signs or reads a log can do without the TUF repository.
    static let filesInstead = "try again with a network, or give --trusted-root and --signing-config"

    /// Says what the command at hand can do if the TUF repository cannot be reached, since not every one has
    /// `--offline`.
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
            staging ? .staging : .configured, http: try context.http(), environment: context.environment.all,
            clock: context.now)
        instance.repositoryHTTP = try context.http(attempts: 2)
        instance.notice = { [context] in context.output.warn($0.message) }
        return instance
    }

    /// A target, verified.
    /// - Parameter name: The target's name, such as `trusted_root.json`.
    func target(_ name: String) throws(SigstoreError) -> [UInt8] {
        let instance = try instance()
        return try waiting { () throws(SigstoreError) in try await instance.target(name, offline: false) }
    }
}
