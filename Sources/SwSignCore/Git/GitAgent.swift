internal import LocalSystem
public import Provenance
public import StrictJSON
internal import Synchronization

/// Where an agent is reached: a Unix socket.
public struct GitAgentPlace: Sendable {
    /// The socket.
    public let path: String

    /// - Parameter path: The socket.
    public init(path: String) { self.path = path }
}

/// For whom an agent signs.
public struct GitAgentStatus: Sendable {
    /// The identity in the certificate.
    public let identity: String
    /// Who vouches for the identity.
    public let issuer: String
    /// When the agent ends, in seconds since 1970.
    public let end: Int64
    /// How many objects it has signed.
    public let signatures: Int64

    /// - Parameters:
    ///   - identity: The identity in the certificate.
    ///   - issuer: Who vouches for it.
    ///   - end: When the agent ends.
    ///   - signatures: How many objects it has signed.
    public init(identity: String, issuer: String, end: Int64, signatures: Int64 = 0) {
        (self.identity, self.issuer, self.end, self.signatures) = (identity, issuer, end, signatures)
    }

    init(_ json: JSONCursor) throws(SigstoreError) {
        try json.expectOnly(["identity", "issuer", "end", "signatures"])
        identity = try json.member("identity").string()
        issuer = try json.member("issuer").string()
        end = try json.member("end").integer()
        signatures = try json.member("signatures").integer()
    }

    func json(_ signatures: Int64) -> JSONValue {
        .object([
            "identity": .string(identity), "issuer": .string(issuer), "end": .integer(end),
            "signatures": .integer(signatures),
        ])
    }
}

/// Signs commits and tags with one certificate until it ends, for programs of the same user.
///
/// It is asked over a Unix socket in a folder that is closed to others, and hears nobody but processes of its own user. It
/// takes the whole commit or tag, reads it as one, and signs nothing else, no digest either: what it signs, it could show.
/// What forwards the socket to another machine lets that machine ask; the key does not leave.
public final class GitAgent: Sendable {
    /// How many connections are open at a time; others wait until one is done.
    private static let connectionLimit = 32
    /// How often the agent looks whether it has to end, in milliseconds.
    private static let pace: CInt = 200
    /// How long what is being signed is waited for at the end.
    private static let farewell = Duration.seconds(30)

    private struct State {
        var isStopped = false
        var open = 0
        var signatures: Int64 = 0
    }

    private let signer: GitAgentStatus
    private let listener: UnixListener
    private let lock: FileLock
    private let clock: @Sendable () -> Int64
    private let confirm: (@Sendable (GitObject) async -> Bool)?
    private let sign: @Sendable (GitObject) async throws(SigstoreError) -> [UInt8]
    /// A person is asked one thing at a time.
    private let questions = Turns(1)
    private let state = Mutex(State())

    /// Takes its place. Another's socket, or one that answers, is left as it is; a socket of this user at which nobody
    /// listens is replaced.
    /// - Parameters:
    ///   - place: Where it is asked.
    ///   - signer: For whom it signs, and when it ends.
    ///   - clock: The time now, in seconds since 1970.
    ///   - confirm: Asks a person whether an object is to be signed, one at a time; `nil` asks nobody.
    ///   - sign: Makes the signature of an object.
    /// - Throws: `SigstoreError` with `folder-not-private`, `agent-there` if one is there already, `file-exists` if
    ///   something else is, or `file-unwritable`.
    public init(
        at place: GitAgentPlace, signer: GitAgentStatus, clock: @escaping @Sendable () -> Int64,
        confirm: (@Sendable (GitObject) async -> Bool)?,
        sign: @escaping @Sendable (GitObject) async throws(SigstoreError) -> [UInt8]
    ) throws(SigstoreError) {
        (self.signer, self.clock, self.confirm, self.sign) = (signer, clock, confirm, sign)
        (lock, listener) = try Self.settle(at: place.path)
    }

    /// Makes sure that an agent could take its place, before a person is asked for anything.
    /// - Parameter place: Where it will be asked.
    /// - Throws: What the initializer throws.
    public static func expectFree(_ place: GitAgentPlace) throws(SigstoreError) {
        let (_, listener) = try settle(at: place.path)
        listener.remove()
    }

    private static func settle(at path: String) throws(SigstoreError) -> (FileLock, UnixListener) {
        guard path.utf8.last != 0x2f, !path.utf8.contains(0) else {
            throw SigstoreError(.fileUnwritable, "\"\(path)\" cannot be a socket's name")
        }
        try PrivateFolder.make(LocalFile.folder(of: path))
        let there = SigstoreError(.agentThere, "an agent is at \(path) already", advice: .remedy(.stopOtherAgent))
        // Of two that begin at once, one has the lock.
        let lock = try FileLock(on: path + ".lock", creating: true)
        guard try lock.take() else { throw there }
        switch UnixListener.standing(at: path) {
        case .nothing: break
        case .abandoned: try LocalFile.remove(reporting: path)
        case .answering: throw there
        case .foreign: throw .exists(path)
        }
        return (lock, try UnixListener(path: path))
    }

    // MARK: - Serving

    /// Whether the agent has to end.
    private var isOver: Bool { clock() >= signer.end || state.withLock { $0.isStopped } }

    /// Answers until the certificate ends, or the agent is stopped. Then its socket is gone.
    /// - Parameter isInterrupted: Whether the process is to end.
    /// - Returns: How many objects it has signed.
    @discardableResult
    public func serve(until isInterrupted: @escaping @Sendable () -> Bool = { false }) async throws(SigstoreError)
        -> Int64
    {
        try await onBlockingThread { () throws(SigstoreError) in
            while !self.isOver, !isInterrupted() {
                guard self.state.withLock({ $0.open }) < Self.connectionLimit else {
                    BlockingThread.pause(milliseconds: 10)
                    continue
                }
                guard let stream = self.listener.accept(within: Self.pace) else { continue }
                // The folder is closed to others. Who gets here nonetheless is told nothing.
                guard stream.isOfThisUser else { continue }
                self.state.withLock { $0.open += 1 }
                Task.detached {
                    await self.serve(stream)
                    self.state.withLock { $0.open -= 1 }
                }
            }
            self.listener.remove()
            let end = ContinuousClock.now + Self.farewell
            while self.state.withLock({ $0.open }) > 0, .now < end, !isInterrupted() {
                BlockingThread.pause(milliseconds: 10)
            }
            return self.state.withLock { $0.signatures }
        }
    }

    private func serve(_ stream: UnixStream) async {
        let end = ContinuousClock.now + GitAgentMessage.arrivalTime
        let answer: [UInt8]
        do throws(SigstoreError) {
            guard let question = try await onBlockingThread({ GitAgentMessage.receive(over: stream, until: end) })
            else { return }
            answer = try await respond(to: try GitAgentMessage.Question(parsing: try question.get()))
        } catch { answer = GitAgentMessage.failure(error) }
        _ = try? await onBlockingThread { GitAgentMessage.send(answer, over: stream) }
    }

    private func respond(to question: GitAgentMessage.Question) async throws(SigstoreError) -> [UInt8] {
        switch question {
        case .status: return signer.json(state.withLock { $0.signatures }).serialized()
        case .stop:
            state.withLock { $0.isStopped = true }
            return JSONValue.object(["stopped": .bool(true)]).serialized()
        case .sign(let object):
            try expectCurrent()
            if let confirm {
                await questions.take()
                let isConfirmed = await confirm(object)
                await questions.giveBack()
                guard isConfirmed else {
                    throw SigstoreError(
                        .notConfirmed, "the person at the agent did not agree to sign the \(object.kind.rawValue)")
                }
                try expectCurrent()
            }
            let signature = try await sign(object)
            state.withLock { $0.signatures += 1 }
            return JSONValue.object(["signature": .string(String(decoding: signature, as: UTF8.self))]).serialized()
        }
    }

    private func expectCurrent() throws(SigstoreError) {
        guard !isOver else { throw SigstoreError(.certificateExpired, "the agent's certificate has ended") }
    }
}

extension SigstoreError.Code {
    /// An agent is there already.
    public static let agentThere = Self("agent-there")
    /// The person at an agent did not agree to sign.
    public static let notConfirmed = Self("not-confirmed")
    /// There is no agent.
    public static let noAgent = Self("no-agent")
    /// The agent does not sign.
    public static let agentRefused = Self("agent-refused")
    /// What answers in an agent's place is another user's, or says what no agent says.
    public static let notAgent = Self("not-an-agent")
}

extension SigstoreError.Remedy {
    /// Another agent is there, which can be stopped or used.
    public static let stopOtherAgent = Self("stop-the-other-agent-or-name-another-place")
}
