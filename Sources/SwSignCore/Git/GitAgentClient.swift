internal import LocalSystem
public import Provenance
public import SigstoreCrypto
public import StrictJSON

/// Asks an agent, which signs commits and tags with a certificate that it has already.
public struct GitAgentClient: Sendable {
    private let place: GitAgentPlace

    /// How long an agent may take for a signature: a person may be asked, and services take their time.
    private static let signingTime = Duration.seconds(900)
    /// How long it may take for anything else.
    private static let answerTime = Duration.seconds(10)

    /// - Parameter place: Where the agent is.
    public init(at place: GitAgentPlace) { self.place = place }

    /// For whom the agent signs.
    /// - Throws: `SigstoreError` with `no-agent`, or `not-an-agent` if what answers is another user's, or no agent.
    public func status() async throws(SigstoreError) -> GitAgentStatus {
        try await ask(GitAgentMessage.question("status"), within: Self.answerTime) { json throws(SigstoreError) in
            try GitAgentStatus(json)
        }
    }

    /// Ends the agent.
    /// - Throws: As ``status()`` does.
    public func stop() async throws(SigstoreError) {
        try await ask(GitAgentMessage.question("stop"), within: Self.answerTime) { json throws(SigstoreError) in
            guard try json.member("stopped").bool() else { throw json.fault("is no agent's answer") }
        }
    }

    /// A signature that an agent has made.
    public struct Signed: Sendable {
        /// The signature in CMS as PEM, which is over what was asked for.
        public let pem: [UInt8]
        /// The same, read. Only a ``GitJudge`` says what it is worth.
        public let signature: GitSignature
        /// The certificate in it.
        public let certificate: Certificate
    }

    /// Has a commit or tag signed. What comes back is over that object, and by the key of the certificate in it; whose that is,
    /// and whether it is to be trusted, is not looked at here.
    /// - Parameter payload: The whole object without a signature, as git gives it to what signs.
    /// - Throws: `SigstoreError` as ``status()`` does, with `agent-refused` if the agent does not sign it, and what
    ///   ``GitSigner/object(_:)`` throws.
    public func sign(_ payload: [UInt8]) async throws(SigstoreError) -> Signed {
        _ = try GitSigner.object(payload)
        let question = GitAgentMessage.question("sign", ["object": .bytes(payload)])
        let pem = try await ask(question, within: Self.signingTime) { json throws(SigstoreError) in
            Array(try json.member("signature").string().utf8)
        }
        do throws(SigstoreError) {
            let signature = try GitSignature(pem: pem, payload: payload)
            guard case .certificates(let chain) = signature.bundle.keyMaterial, let der = chain.first,
                let block = try PEM.blocks(in: pem, limit: 1).first
            else { throw SigstoreError(.malformedGitSignature, "it holds no certificate") }
            let certificate = try Certificate(der: der)
            try SignedData(block.bytes, contentType: SignedData.plainContent)
                .verify(content: payload, by: certificate)
            return Signed(pem: pem, signature: signature, certificate: certificate)
        } catch { throw other("its signature is no good: \(error.message)", error) }
    }

    private func ask<Answer: Sendable>(
        _ question: [UInt8], within limit: Duration,
        _ read: @escaping @Sendable (JSONCursor) throws(SigstoreError) -> Answer
    ) async throws(SigstoreError) -> Answer {
        try await onBlockingThread { () throws(SigstoreError) in
            guard let stream = try? UnixStream(path: place.path) else {
                throw SigstoreError(.noAgent, "there is no agent at \(place.path)", advice: .remedy(.startAgent))
            }
            // What is to be signed is shown to nobody else, and nobody else signs it.
            guard stream.isOfThisUser else { throw other("another user listens there") }
            GitAgentMessage.send(question, over: stream)
            guard let answer = GitAgentMessage.receive(over: stream, until: .now + limit) else {
                throw other("it gives no answer")
            }
            do throws(SigstoreError) {
                let json = JSONCursor(try JSONValue(parsing: try answer.get(), depth: 4, values: 16))
                if let error = try json.optional("error") {
                    let (code, message) = (try error.member("code").string(), try error.member("message").string())
                    throw SigstoreError(
                        .agentRefused, "the agent does not do it: \(message.prefix(1024)) [\(code.prefix(64))]")
                }
                return try read(json)
            } catch {
                guard error.code != .agentRefused else { throw error }
                throw other("its answer cannot be read: \(error.message)", error)
            }
        }
    }

    private func other(_ what: String, _ cause: SigstoreError? = nil) -> SigstoreError {
        SigstoreError(
            .notAgent, "what is at \(place.path) is no agent of yours: \(what)",
            advice: "see what listens there, and name another place if it is not an agent", cause: cause)
    }
}

extension SigstoreError.Remedy {
    /// There is no agent.
    public static let startAgent = Self("start-an-agent")
}
