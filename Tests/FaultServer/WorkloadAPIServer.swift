import Glibc

/// SPIFFE's workload API on a Unix socket, as far as one call goes: whoever connects gets the same bytes.
public final class WorkloadAPIServer: Sendable {
    /// The socket's path.
    public let path: String
    private let listener: Listener

    /// Starts answering.
    /// - Parameter answer: What is sent once a request is there.
    public init(_ answer: [UInt8]) {
        path = "/tmp/spiffe-\(getpid())-\(UInt64.random(in: 0 ... .max)).sock"
        let socket = Glibc.socket(AF_UNIX, CInt(SOCK_STREAM.rawValue), 0)
        listener = Listener(socket)
        var name = sockaddr_un()
        name.sun_family = sa_family_t(AF_UNIX)
        unsafe withUnsafeMutableBytes(of: &name.sun_path) { unsafe $0.copyBytes(from: path.utf8) }
        let bound = unsafe withUnsafePointer(to: &name) { pointer in
            unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                unsafe bind(socket, $0, socklen_t(MemoryLayout<sockaddr_un>.size)) == 0 && listen(socket, 4) == 0
            }
        }
        precondition(bound, "no socket at \(path)")
        FaultServer.thread { [listener] in
            while let connection = listener.accept() { Self.answer(connection, answer) }
        }
    }

    /// Ends the server and removes its socket.
    public func stop() {
        listener.stop()
        unsafe unlink(path)
    }

    private static func answer(_ connection: CInt, _ answer: [UInt8]) {
        var buffer = [UInt8](repeating: 0, count: 4096)
        var request: [UInt8] = []
        // The request is there when its last frame is: data with the end of the stream.
        while !request.suffix(64).contains(UInt8(ascii: "g")) || request.count < 150 {
            let count = unsafe recv(connection, &buffer, buffer.count, 0)
            guard count > 0 else { break }
            request += buffer.prefix(count)
        }
        _ = unsafe send(connection, answer, answer.count, CInt(MSG_NOSIGNAL))
        // Nothing more comes; what the client still says is taken, until it goes.
        shutdown(connection, CInt(SHUT_WR))
        while unsafe recv(connection, &buffer, buffer.count, 0) > 0 {}
        close(connection)
    }

    /// A frame of HTTP/2 (RFC 9113, section 4.1).
    public static func frame(_ type: UInt8, _ flags: UInt8, _ stream: UInt8, _ payload: [UInt8]) -> [UInt8] {
        [0, UInt8(payload.count >> 8), UInt8(payload.count & 0xff), type, flags, 0, 0, 0, stream] + payload
    }

    /// The answer with a token: `JWTSVIDResponse { svids = 1: JWTSVID { spiffe_id = 1, svid = 2 } }`, in two frames of
    /// data between the headers and the trailers of gRPC.
    /// - Parameter token: Of 128 to 16,000 bytes.
    public static func answer(token: String) -> [UInt8] {
        func length(_ count: Int) -> [UInt8] { [UInt8(count & 0x7f | 0x80), UInt8(count >> 7)] }
        let svid = [0x0a, 3] + Array("s:x".utf8) + [0x12] + length(token.utf8.count) + Array(token.utf8)
        let message = [0x0a] + length(svid.count) + svid
        let grpc = [0, 0, 0, UInt8(message.count >> 8), UInt8(message.count & 0xff)] + message
        return frame(4, 0, 0, []) + frame(6, 0, 0, [1, 2, 3, 4, 5, 6, 7, 8]) + frame(1, 4, 1, [0x88])
            + frame(0, 0, 1, Array(grpc.prefix(20))) + frame(0, 0, 1, Array(grpc.dropFirst(20)))
            + frame(1, 5, 1, [0x88])
    }
}
