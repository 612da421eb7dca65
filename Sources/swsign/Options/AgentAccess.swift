import KeyProviders
import LocalSystem
import Provenance
import StrictJSON
import SwSignCore

extension Context {
    /// Where the agent of the person is that runs this: the socket that is named, or the usual one.
    /// - Parameter path: The socket that is named.
    /// - Returns: `nil` if none is named, and the environment does not say where the person's files are.
    func agentPlace(_ path: String?) -> GitAgentPlace? {
        if let path { return GitAgentPlace(path: path) }
        // The folder for what lives as long as the person is logged in.
        if let runtime = environment.value("XDG_RUNTIME_DIR"), runtime.utf8.first == 0x2f {
            return GitAgentPlace(path: "\(runtime)/swsign/agent.sock")
        }
        return environment.value("HOME").map { GitAgentPlace(path: "\($0)/.sigstore/swsign/agent/agent.sock") }
    }
}

extension Context {
    /// The variable that names the agent's socket.
    static let agentVariable = "SWSIGN_AGENT_SOCK"

    /// Has the agent sign a commit or tag, if there is one.
    /// - Parameter payload: The whole object without a signature.
    /// - Returns: `nil` if there is no agent, so that the person has to sign in.
    /// - Throws: `SigstoreError` if there is one that does not sign.
    func signedByAgent(_ payload: [UInt8]) throws(SigstoreError) -> GitAgentClient.Signed? {
        let named = environment.value(Self.agentVariable)
        guard let place = agentPlace(named) else { return nil }
        do throws(SigstoreError) {
            return try waiting { () throws(SigstoreError) in try await GitAgentClient(at: place).sign(payload) }
        } catch {
            guard error.code == .noAgent else { throw error }
            if named != nil { output.warn("there is no agent at \(place.path), which \(Self.agentVariable) names") }
            return nil
        }
    }
}

/// Asks a person before each signature, on the terminal or by the program that asks for ssh.
struct AgentConfirmation: Sendable {
    private let context: Context
    private let program: String?
    private let identity: String

    /// How long the program is waited for.
    private static let limit = Duration.seconds(120)
    /// How many characters of a commit's own words are shown.
    private static let shown = 200

    /// Finds out how a person can be asked.
    /// - Throws: `SigstoreError` with `usage` if nobody can be.
    init(_ context: Context, identity: String = "") throws(SigstoreError) {
        (self.context, self.identity) = (context, identity)
        let isPreferred = ["prefer", "force"].contains(context.environment.value("SSH_ASKPASS_REQUIRE"))
        program =
            isPreferred || !context.terminal.isInteractive ? context.environment.value("SSH_ASKPASS") : nil
        guard program != nil || context.terminal.isInteractive else {
            throw SigstoreError(
                .usage, "--confirm has nobody to ask: standard input is no terminal",
                advice: "run it on a terminal, or set SSH_ASKPASS to a program that asks in a window")
        }
    }

    /// Whether the person says that an object is to be signed; never if nobody answers.
    func agrees(to object: GitObject) async -> Bool {
        func bounded(_ text: String) -> String { String(text.prefix(Self.shown)) }
        let maker = object.maker.map { "\(bounded($0.name)) <\(bounded($0.email))>" } ?? "nobody"
        let name = object.tagName.map { " \(bounded($0))" } ?? ""
        let question =
            "Sign as \(identity) the \(object.kind.rawValue)\(name) by \(maker): \(bounded(object.subject))?"
        let agreed = try? await onBlockingThread { () throws(SigstoreError) -> Bool in
            guard let program else { return try context.terminal.confirms(question) }
            do throws(ChildProcess.Failure) {
                let answer = try ChildProcess.run(
                    [program, Output.escaped(question)], more: ["SSH_ASKPASS_PROMPT": "confirm"], timeout: Self.limit)
                let words = answer.output.prefix { $0 != 0x0a }
                return answer.status == 0 && (words.isEmpty || words.elementsEqual("yes".utf8))
            } catch { return false }
        }
        return agreed ?? false
    }
}
