internal import LocalSystem
public import StrictJSON

/// SPIFFE's workload API: one call of gRPC over a Unix socket (SPIFFE Workload API, `FetchJWTSVID`).
///
/// It speaks as little of HTTP/2 (RFC 9113) as one unary call needs: it sends one request without compression and
/// takes the data frames of its stream. Header frames, compressed or not, are passed over unread.
struct WorkloadAPI {
    private static let answerLimit = 1 << 16
    private static let timeout = Duration.seconds(10)

    private let path: String

    /// - Parameter socket: A path, or `unix://` and a path.
    init(socket: String) throws(SigstoreError) {
        let prefix = "unix:"
        var path = socket.utf8.starts(with: prefix.utf8) ? String(socket.dropFirst(prefix.count)) : socket
        while path.utf8.starts(with: "//".utf8) { path.removeFirst() }
        guard path.utf8.first == 0x2f, path.utf8.count < 108 else {
            throw SigstoreError(
                .workloadAPIFailed, "\"\(socket)\" is not the path of a socket",
                advice: "set SPIFFE_ENDPOINT_SOCKET to unix:///path/of/the/socket")
        }
        self.path = path
    }

    private func failure(_ what: String) -> SigstoreError {
        SigstoreError(
            .workloadAPIFailed, "the workload API at \(path) \(what)",
            advice: "check that the agent runs and has an entry for this workload")
    }

    /// Fetches a token.
    /// - Parameter audience: Whom it is meant for.
    /// - Returns: The first JWT-SVID, in JWS compact serialization.
    func token(audience: String) throws(SigstoreError) -> String {
        let end = ContinuousClock.now + Self.timeout
        let connection = try connect()
        // JWTSVIDRequest { repeated string audience = 1 }, in gRPC's frame: no compression, length, message.
        let message = Self.field(1, Array(audience.utf8))
        let framed = [0] + Self.bigEndian(message.count, 4) + message
        var headers: [UInt8] = []
        for (name, value) in [
            (":method", "POST"), (":scheme", "http"), (":path", "/SpiffeWorkloadAPI/FetchJWTSVID"),
            (":authority", "localhost"),
            ("content-type", "application/grpc"), ("te", "trailers"), ("workload.spiffe.io", "true"),
        ] {
            // HPACK: a literal that is not indexed, with a new name (RFC 7541, section 6.2.2).
            headers += [0] + Self.shortString(name) + Self.shortString(value)
        }
        try send(
            Array("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".utf8) + Self.frame(4, 0, 0, []) + Self.frame(1, 4, 1, headers)
                + Self.frame(0, 1, 1, framed), connection)
        return try Self.firstToken(in: try answer(connection, until: end), failure("gave no token"))
    }

    // MARK: - HTTP/2

    private static func frame(_ type: UInt8, _ flags: UInt8, _ stream: UInt8, _ payload: [UInt8]) -> [UInt8] {
        bigEndian(payload.count, 3) + [type, flags, 0, 0, 0, stream] + payload
    }

    private static func bigEndian(_ value: Int, _ count: Int) -> [UInt8] {
        (0..<count).reversed().map { UInt8(truncatingIfNeeded: value >> (8 * $0)) }
    }

    /// A string of HPACK of fewer than 127 bytes.
    private static func shortString(_ text: String) -> [UInt8] {
        [UInt8(truncatingIfNeeded: text.utf8.count & 0x7f)] + text.utf8
    }

    /// The data of stream 1, up to its end.
    private func answer(_ connection: UnixStream, until end: ContinuousClock.Instant) throws(SigstoreError) -> [UInt8] {
        var received: [UInt8] = []
        var data: [UInt8] = []
        while true {
            while received.count >= 9 {
                let length = Int(received[0]) << 16 | Int(received[1]) << 8 | Int(received[2])
                guard length <= Self.answerLimit else { throw failure("sends a frame that is too large") }
                guard received.count >= 9 + length else { break }
                let (type, flags, stream) = (received[3], received[4], received[8])
                var payload = received[9..<9 + length]
                received = Array(received[(9 + length)...])
                switch type {
                case 0 where stream == 1:
                    if flags & 8 != 0 {
                        guard let padding = payload.popFirst(), Int(padding) <= payload.count else {
                            throw failure("is not gRPC")
                        }
                        payload = payload.dropLast(Int(padding))
                    }
                    data += payload
                    guard data.count <= Self.answerLimit else { throw failure("sends an answer that is too large") }
                case 3 where stream == 1: throw failure("refused the request")
                case 4 where flags & 1 == 0: try send(Self.frame(4, 1, 0, []), connection)
                case 6 where flags & 1 == 0 && length == 8: try send(Self.frame(6, 1, 0, Array(payload)), connection)
                case 7: throw failure("ended the connection")
                default: break
                }
                // Data and headers can end the stream.
                if stream == 1, type <= 1, flags & 1 != 0 { return data }
            }
            received += try receive(connection, until: end)
        }
    }

    private func connect() throws(SigstoreError) -> UnixStream {
        do throws(UnixStream.Failure) { return try UnixStream(path: path) } catch {
            guard case .unreachable(let reason) = error else { throw failure("cannot be reached") }
            throw failure("cannot be reached: \(reason)")
        }
    }

    private func send(_ bytes: [UInt8], _ connection: UnixStream) throws(SigstoreError) {
        do throws(UnixStream.Failure) { try connection.send(bytes) } catch { throw failure("ended the connection") }
    }

    private func receive(_ connection: UnixStream, until end: ContinuousClock.Instant) throws(SigstoreError) -> [UInt8]
    {
        do throws(UnixStream.Failure) { return try connection.receive(until: end) } catch {
            if case .timeOut = error { throw failure("did not answer within \(Self.timeout.components.seconds) s") }
            throw failure("ended the connection without an answer")
        }
    }

    // MARK: - Protobuf

    private static func field(_ number: UInt8, _ bytes: [UInt8]) -> [UInt8] {
        var length = bytes.count
        var out = [number << 3 | 2]
        while length >= 0x80 {
            out.append(UInt8(truncatingIfNeeded: length) | 0x80)
            length >>= 7
        }
        return out + [UInt8(length)] + bytes
    }

    /// The token of the first `JWTSVID { spiffe_id = 1, svid = 2 }` of a `JWTSVIDResponse { repeated svids = 1 }`.
    private static func firstToken(in answer: [UInt8], _ failure: SigstoreError) throws(SigstoreError) -> String {
        guard answer.count >= 5, answer[0] == 0 else { throw failure }
        let length = answer[1..<5].reduce(0) { $0 << 8 | Int($1) }
        guard length <= answer.count - 5, let svid = value(of: 1, in: answer[5..<5 + length]),
            let token = value(of: 2, in: svid), let text = String(validating: token, as: UTF8.self), !text.isEmpty
        else { throw failure }
        return text
    }

    /// The content of the first field of that number; `nil` if there is none, or the bytes are not protobuf.
    private static func value(of number: UInt64, in message: ArraySlice<UInt8>) -> ArraySlice<UInt8>? {
        var rest = message
        func varint() -> UInt64? {
            var value: UInt64 = 0
            for shift in stride(from: UInt64(0), to: 64, by: 7) {
                guard let byte = rest.popFirst() else { return nil }
                value |= UInt64(byte & 0x7f) << shift
                if byte < 0x80 { return value }
            }
            return nil
        }
        while !rest.isEmpty {
            guard let key = varint() else { return nil }
            switch key & 7 {
            case 0: guard varint() != nil else { return nil }
            case 1:
                guard rest.count >= 8 else { return nil }
                rest = rest.dropFirst(8)
            case 2:
                guard let length = varint(), length <= UInt64(rest.count) else { return nil }
                let content = rest.prefix(Int(length))
                if key >> 3 == number { return content }
                rest = rest.dropFirst(Int(length))
            case 5:
                guard rest.count >= 4 else { return nil }
                rest = rest.dropFirst(4)
            default: return nil
            }
        }
        return nil
    }
}

extension SigstoreError.Code {
    /// SPIFFE's workload API gives no token.
    public static let workloadAPIFailed = Self("workload-api-failed")
}
