internal import LocalSystem
internal import Provenance
internal import StrictJSON

/// What an agent is asked, and what it answers, each as four bytes with the length, the highest first, and so many bytes of
/// JSON.
enum GitAgentMessage {
    /// The version of what is said.
    static let version: Int64 = 1
    /// The largest message: the largest object in base64, and a little more.
    static let limit = GitObject.sizeLimit / 3 * 4 + 4096
    /// How long a whole message may take to arrive.
    static let arrivalTime = Duration.seconds(5)

    /// What an agent is asked.
    enum Question {
        /// Sign this commit or tag.
        case sign(GitObject)
        /// Say for whom you sign.
        case status
        /// End.
        case stop

        /// Reads a question. What is to be signed must be a commit or tag, and not be signed already.
        init(parsing bytes: [UInt8]) throws(SigstoreError) {
            let json = JSONCursor(try JSONValue(parsing: bytes, depth: 4, values: 16))
            let version = try json.member("version")
            guard try version.integer() == GitAgentMessage.version else {
                throw version.fault("is another one than \(GitAgentMessage.version)")
            }
            let question = try json.member("question")
            switch try question.string() {
            case "sign":
                try json.expectOnly(["version", "question", "object"])
                self = .sign(try GitSigner.object(try json.member("object").bytes()))
            case "status":
                try json.expectOnly(["version", "question"])
                self = .status
            case "stop":
                try json.expectOnly(["version", "question"])
                self = .stop
            default: throw question.fault("is none that is known")
            }
        }
    }

    /// A question as JSON.
    static func question(_ name: String, _ more: JSONObject = [:]) -> [UInt8] {
        var members: JSONObject = ["version": .integer(version), "question": .string(name)]
        for member in more.members { members[member.name] = member.value }
        return JSONValue.object(members).serialized()
    }

    /// What an agent answers if it does not do what it is asked.
    static func failure(_ error: SigstoreError) -> [UInt8] {
        JSONValue.object([
            "error": .object(["code": .string(error.code.rawValue), "message": .string(error.message)])
        ]).serialized()
    }

    // MARK: - Over a connection

    /// Sends a message. If the other end is gone, nobody misses it.
    static func send(_ message: [UInt8], over stream: UnixStream) {
        let count = UInt32(truncatingIfNeeded: message.count)
        try? stream.send([24, 16, 8, 0].map { UInt8(truncatingIfNeeded: count >> $0) } + message)
    }

    /// Receives a message.
    /// - Parameter end: When all of it must be there.
    /// - Returns: It, or that it would be larger than what is read; `nil` if it does not come.
    static func receive(over stream: UnixStream, until end: ContinuousClock.Instant) -> Result<[UInt8], SigstoreError>?
    {
        var bytes: [UInt8] = []
        while true {
            if bytes.count >= 4 {
                let count = bytes[..<4].reduce(0) { $0 << 8 | Int($1) }
                guard count <= limit, bytes.count <= count + 4 else {
                    return .failure(
                        SigstoreError(
                            .gitObjectTooLarge,
                            "the message is of \(max(count, bytes.count - 4)) bytes, more than \(min(count, limit))"))
                }
                if bytes.count == count + 4 { return .success(Array(bytes[4...])) }
            }
            guard let more = try? stream.receive(until: end) else { return nil }
            bytes += more
        }
    }
}
