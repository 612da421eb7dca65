#if canImport(Glibc)
    internal import Glibc
#elseif canImport(Musl)
    internal import Musl
#elseif canImport(Darwin)
    internal import Darwin
#endif
internal import CProcess
package import StrictJSON

/// A connection to another program on this machine, over a Unix socket.
package final class UnixStream: Sendable {
    private let descriptor: CInt

    /// Why a connection cannot be used.
    package enum Failure: Error {
        /// There is none; the system's words.
        case unreachable(String)
        /// The other end has closed it.
        case ended
        /// Nothing came in time.
        case timeOut
    }

    /// How long a connection and a piece that is sent may wait for the other end, in seconds.
    private static let sendingTime = 10

    /// Connects.
    /// - Parameter path: The socket's path, of fewer bytes than the system's name of a socket has: 108 on Linux.
    package init(path: String) throws(Failure) {
        let descriptor = systemStreamSocket(AF_UNIX)
        guard descriptor >= 0 else { throw .unreachable(SigstoreError.reason(errno)) }
        // Else one that takes no connections would be waited for without end.
        Self.bound(descriptor)
        let connected = unsafe withUnixName(path) { unsafe connect(descriptor, $0, $1) }
        guard connected == 0 else {
            let number = errno
            close(descriptor)
            throw .unreachable(SigstoreError.reason(number))
        }
        self.descriptor = descriptor
    }

    /// Takes a connection over that a ``UnixListener`` has taken.
    init(takingOwnershipOf descriptor: CInt) {
        self.descriptor = descriptor
        Self.bound(descriptor)
    }

    deinit { close(descriptor) }

    private static func bound(_ descriptor: CInt) {
        var limit = timeval()
        limit.tv_sec = .init(sendingTime)
        _ = unsafe setsockopt(descriptor, SOL_SOCKET, SO_SNDTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
    }

    /// The number of the user whose process is at the other end, as the system has noted it; `nil` if it does not say.
    package var peerUser: UInt32? {
        var user: UInt32 = 0
        return unsafe cprocess_peer_user(descriptor, &user) == 0 ? user : nil
    }

    /// Whether the process at the other end is this one's own user's.
    package var isOfThisUser: Bool { peerUser == geteuid() }

    /// Sends everything.
    package func send(_ bytes: [UInt8]) throws(Failure) {
        var rest = bytes[...]
        while !rest.isEmpty {
            let count = unsafe rest.withUnsafeBytes {
                unsafe systemSend(descriptor, $0.baseAddress, $0.count)
            }
            if count < 0 && errno == EINTR { continue }
            guard count > 0 else { throw errno == EAGAIN || errno == EWOULDBLOCK ? .timeOut : .ended }
            rest = rest.dropFirst(count)
        }
    }

    /// Waits for bytes, and blocks the thread meanwhile.
    package func receive(until end: ContinuousClock.Instant) throws(Failure) -> [UInt8] {
        var buffer = [UInt8](repeating: 0, count: 16_384)
        while true {
            guard ContinuousClock.now < end else { throw .timeOut }
            var polled = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
            let ready = unsafe poll(&polled, 1, 200)
            if ready == 0 || (ready < 0 && errno == EINTR) { continue }
            let count = unsafe recv(descriptor, &buffer, buffer.count, 0)
            guard count > 0 else { throw .ended }
            return Array(buffer.prefix(count))
        }
    }
}

/// Waits on a path for other programs of this machine, over a Unix socket.
package final class UnixListener: Sendable {
    private let descriptor: CInt
    /// Where it is.
    package let path: String
    /// Which file the socket is.
    private let identity: FileStatus.Identity?

    /// How many connections wait to be taken, at most.
    private static let waitingLimit: CInt = 64

    /// Listens. Only the owner of the process may connect.
    /// - Parameter path: Where the socket is to be. Nothing may be there, and the folder must be closed to others.
    /// - Throws: `SigstoreError` with `file-exists` if something is there, or `file-unwritable`.
    package init(path: String) throws(SigstoreError) {
        let descriptor = systemStreamSocket(AF_UNIX)
        guard descriptor >= 0 else { throw .writing(path, errno) }
        func fail() -> SigstoreError {
            let number = errno
            close(descriptor)
            return number == EADDRINUSE ? .exists(path) : .writing(path, number)
        }
        guard unsafe withUnixName(path, { unsafe systemBind(descriptor, $0, $1) }) == 0 else { throw fail() }
        identity = FileStatus(path, followingLinks: false)?.identity
        // Nobody is let in before it listens.
        guard unsafe chmod(path, 0o600) == 0, systemListen(descriptor, Self.waitingLimit) == 0 else {
            let error = fail()
            LocalFile.remove(path)
            throw error
        }
        self.descriptor = descriptor
        self.path = path
    }

    deinit { close(descriptor) }

    /// What stands at a place for a socket.
    package enum Standing {
        case nothing
        /// A socket of this user at which nobody listens any more.
        case abandoned
        /// A socket of this user that is listened at, or may be.
        case answering
        /// Anything else, or another user's.
        case foreign
    }

    /// Says what stands at a place.
    package static func standing(at path: String) -> Standing {
        var status = stat()
        guard unsafe lstat(path, &status) == 0 else { return errno == ENOENT ? .nothing : .foreign }
        guard status.st_mode & S_IFMT == S_IFSOCK, status.st_uid == geteuid() else { return .foreign }
        let descriptor = systemStreamSocket(AF_UNIX, isNonBlocking: true)
        guard descriptor >= 0 else { return .answering }
        defer { close(descriptor) }
        let connected = unsafe withUnixName(path) { unsafe connect(descriptor, $0, $1) }
        return connected != 0 && errno == ECONNREFUSED ? .abandoned : .answering
    }

    /// Waits for a connection.
    /// - Returns: `nil` if none came in time, or it was gone already.
    package func accept(within milliseconds: CInt) -> UnixStream? {
        var polled = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
        guard unsafe poll(&polled, 1, milliseconds) > 0 else { return nil }
        let accepted = systemAccept(descriptor)
        guard accepted >= 0 else { return nil }
        let stream = UnixStream(takingOwnershipOf: accepted)
        return systemPrepare(accepted, isNonBlocking: false) ? stream : nil
    }

    /// Takes the socket away, unless another stands in its place by now.
    package func remove() {
        guard let identity, FileStatus(path, followingLinks: false)?.identity == identity else { return }
        LocalFile.remove(path)
    }
}

/// Calls with the name of a socket at a path.
/// - Returns: What the body returns; -1 with the reason in `errno` if the path is too long.
private func withUnixName(_ path: String, _ body: (UnsafePointer<sockaddr>, socklen_t) -> CInt) -> CInt {
    var name = sockaddr_un()
    // The path and the zero behind it.
    guard path.utf8.count < MemoryLayout.size(ofValue: name.sun_path), !path.utf8.contains(0) else {
        errno = ENAMETOOLONG
        return -1
    }
    name.sun_family = sa_family_t(AF_UNIX)
    unsafe withUnsafeMutableBytes(of: &name.sun_path) { unsafe $0.copyBytes(from: path.utf8) }
    return unsafe withUnsafePointer(to: &name) { pointer in
        unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
            unsafe body($0, socklen_t(MemoryLayout<sockaddr_un>.size))
        }
    }
}
