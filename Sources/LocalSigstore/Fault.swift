public import StrictJSON
import Synchronization

/// One thing that a local service does wrong on purpose, and to which requests.
///
/// Faults are switched on by ``Faults/add(_:)`` or over HTTP on the service's own port (`/_faults`). They let tests see
/// what a client does when a service is slow, broken, overloaded, or lies.
public struct Fault: Sendable, Equatable {
    /// What goes wrong.
    public enum Action: Sendable, Equatable {
        /// The answer comes, this many seconds late, or as soon as all faults are switched off.
        case delay(seconds: Double)
        /// No answer ever comes; the connection stays open.
        case hang
        /// This status code instead of an answer, with a `Retry-After` of so many seconds if given.
        case status(Int, retryAfter: Int?)
        /// This status code and these bytes as the body, instead of an answer.
        case answer(Int, contentType: String, body: [UInt8])
        /// The connection is reset (TCP RST) before the answer.
        case reset
        /// The connection is reset in the middle of the body.
        case resetMidBody
        /// The connection is closed in good order after half of the body.
        case truncate
        /// The right body's bytes, then more of them for ever, without a length.
        case endlessBody
        /// The body comes one byte at a time, with this many seconds between two of them.
        case drip(seconds: Double)
        /// The answer's `Content-Type` is this.
        case contentType(String)
        /// A bit of the body is flipped; headers still name the digest of the right one.
        case corruptBody
        /// A redirect (307) to this URL instead of an answer.
        case redirect(String)
        /// This header is set on the answer, in place of one that was there.
        case header(String, String)

        /// Registry: as if it had no referrers API, so that clients use the fallback tag.
        case noReferrersAPI
        /// Registry: the fallback tag `sha256-…` answers with the subject itself.
        case subjectAtFallbackTag
        /// Registry: another tool, which had read a tag before this manifest was put there, puts back what it had read.
        case overwritten
        /// Registry: `Docker-Content-Digest` names another digest.
        case wrongDigestHeader
        /// Registry: a list (tags or referrers) says on each page that there is another.
        case endlessPages
        /// Token service: the tokens handed out have expired already.
        case staleToken

        /// Fulcio: the embedded timestamp of the certificate transparency log is signed by another key.
        case wrongSCT
        /// Fulcio: the certificate carries no timestamp of a log.
        case missingSCT
        /// Fulcio: the certificate is for another identity. Timestamp authority: another signer's certificate.
        case wrongCertificate
        /// Fulcio: the certificate is for another public key.
        case wrongKey
        /// Fulcio: the chain ends in a root that nobody trusts.
        case wrongChain
        /// Rekor v1: the signed entry timestamp is signed by another key.
        case wrongPromise
        /// Rekor: a hash of the inclusion proof is wrong.
        case wrongProof
        /// Rekor: the checkpoint is signed by another key.
        case wrongCheckpoint
        /// Rekor: the answer is a valid entry of the log, but another one.
        case wrongEntry
        /// Timestamp authority: the token is over another digest.
        case wrongImprint
        /// Timestamp authority, Rekor v1, Fulcio: the time is this many seconds away from now. Fulcio's certificate is then
        /// one that was issued and logged at that time.
        case wrongTime(seconds: Int64)
    }

    /// What goes wrong.
    public var action: Action
    /// The method (`GET`, `PUT`, …) that it happens to, or `nil` for all.
    public var method: String?
    /// What the path must contain for it to happen; empty for all.
    public var path: String
    /// How many matching requests go well first.
    public var skip: Int
    /// How many matching requests it then happens to, or `nil` for all.
    public var count: Int?

    /// Describes a fault.
    /// - Parameters:
    ///   - action: What goes wrong.
    ///   - method: The method that it happens to, or `nil` for all.
    ///   - path: What the path must contain, such as `/manifests/`; empty for all.
    ///   - skip: How many matching requests go well first.
    ///   - count: How many matching requests it then happens to, or `nil` for all.
    public init(_ action: Action, method: String? = nil, path: String = "", skip: Int = 0, count: Int? = nil) {
        self.action = action
        self.method = method
        self.path = path
        self.skip = skip
        self.count = count
    }
}

/// The faults that are switched on at one local service.
public final class Faults: Sendable {
    private struct Armed: Sendable {
        let fault: Fault
        var seen = 0
    }
    private struct State: Sendable {
        var armed: [Armed] = []
        /// How often all faults were switched off.
        var round = 0
        var met = 0
    }
    private let state = Mutex(State())

    init() {}

    /// Switches a fault on, beside those that are on already.
    public func add(_ fault: Fault) { state.withLock { $0.armed.append(Armed(fault: fault)) } }

    /// Switches all faults off. Answers that are delayed come now.
    public func removeAll() {
        state.withLock {
            $0.armed.removeAll()
            $0.round += 1
        }
    }

    /// The faults that are switched on, in the order in which they were added.
    public var all: [Fault] { state.withLock { $0.armed.map(\.fault) } }

    /// How many requests something went wrong with so far, those included that still wait for their answer.
    public var met: Int { state.withLock { $0.met } }

    /// The actions that apply to one request, and counts the request.
    func actions(method: String, path: String) -> (actions: [Fault.Action], round: Int) {
        state.withLock { state in
            var actions: [Fault.Action] = []
            for index in state.armed.indices {
                let fault = state.armed[index].fault
                guard fault.method == nil || fault.method == method, fault.path.isEmpty || path.contains(fault.path)
                else { continue }
                let number = state.armed[index].seen
                state.armed[index].seen += 1
                guard number >= fault.skip else { continue }
                if let count = fault.count, number - fault.skip >= count { continue }
                actions.append(fault.action)
            }
            if !actions.isEmpty { state.met += 1 }
            return (actions, state.round)
        }
    }

    /// Lets that many seconds pass, unless the faults of that round are or were switched off.
    func delay(_ seconds: Double, round: Int) async throws {
        let end = ContinuousClock.now + .seconds(seconds)
        while state.withLock({ $0.round == round }) {
            let left = ContinuousClock.now.duration(to: end)
            guard left > .zero else { return }
            try await Task.sleep(for: min(left, .milliseconds(10)))
        }
    }
}

extension SigstoreError.Code {
    /// A description of a fault that the local services do not know.
    public static let unknownFault = Self("unknown-fault")
    /// A local service could not be started.
    public static let localServiceFailed = Self("local-service-failed")
}

extension Fault {
    /// Reads a fault from the JSON of the `/_faults` route: `{"action":"status","status":429,"retryAfter":1,
    /// "method":"GET","path":"/manifests/","skip":0,"count":2}`.
    /// - Parameter json: The object. `action` is the case's name in lower case with hyphens.
    /// - Throws: `unknown-fault` if the action or a member of it is not known.
    public init(json: JSONValue) throws(SigstoreError) {
        let object = JSONCursor(json)
        try object.expectOnly([
            "action", "method", "path", "skip", "count", "seconds", "status", "retryAfter", "contentType", "body",
            "location", "name", "value",
        ])
        let name = try object.member("action").string()
        func text(_ member: String) throws(SigstoreError) -> String { try object.member(member).string() }
        func number(_ member: String) throws(SigstoreError) -> Double {
            guard case .number(let literal) = try object.member(member).value, let value = Double(literal) else {
                throw SigstoreError(.unknownFault, "\"\(member)\" of the fault \"\(name)\" is not a number")
            }
            return value
        }
        func whole(_ member: String) throws(SigstoreError) -> Int? {
            guard try object.optional(member) != nil else { return nil }
            guard let value = Int(exactly: try number(member)) else {
                throw SigstoreError(.unknownFault, "\"\(member)\" of the fault \"\(name)\" is not a whole number")
            }
            return value
        }
        let action: Action
        switch name {
        case "delay": action = .delay(seconds: try number("seconds"))
        case "hang": action = .hang
        case "status": action = .status(try whole("status") ?? 500, retryAfter: try whole("retryAfter"))
        case "answer":
            action = .answer(
                try whole("status") ?? 200, contentType: try object.optional("contentType")?.string() ?? "text/plain",
                body: Array(try text("body").utf8))
        case "reset": action = .reset
        case "reset-mid-body": action = .resetMidBody
        case "truncate": action = .truncate
        case "endless-body": action = .endlessBody
        case "drip": action = .drip(seconds: try number("seconds"))
        case "content-type": action = .contentType(try text("contentType"))
        case "corrupt-body": action = .corruptBody
        case "redirect": action = .redirect(try text("location"))
        case "header": action = .header(try text("name"), try text("value"))
        case "no-referrers-api": action = .noReferrersAPI
        case "subject-at-fallback-tag": action = .subjectAtFallbackTag
        case "overwritten": action = .overwritten
        case "wrong-digest-header": action = .wrongDigestHeader
        case "endless-pages": action = .endlessPages
        case "stale-token": action = .staleToken
        case "wrong-sct": action = .wrongSCT
        case "missing-sct": action = .missingSCT
        case "wrong-certificate": action = .wrongCertificate
        case "wrong-key": action = .wrongKey
        case "wrong-chain": action = .wrongChain
        case "wrong-promise": action = .wrongPromise
        case "wrong-proof": action = .wrongProof
        case "wrong-checkpoint": action = .wrongCheckpoint
        case "wrong-entry": action = .wrongEntry
        case "wrong-imprint": action = .wrongImprint
        case "wrong-time": action = .wrongTime(seconds: Int64(try whole("seconds") ?? 3600))
        default: throw SigstoreError(.unknownFault, "\"\(name)\" is not a fault that the local services know")
        }
        self.init(
            action, method: try object.optional("method")?.string(), path: try object.optional("path")?.string() ?? "",
            skip: try whole("skip") ?? 0, count: try whole("count"))
    }
}
