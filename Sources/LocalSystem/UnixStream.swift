#if canImport(Glibc)
    internal import Glibc
#elseif canImport(Musl)
    internal import Musl
#elseif canImport(Darwin)
    internal import Darwin
#endif
internal import StrictJSON

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

    /// Connects.
    /// - Parameter path: The socket's path, of fewer bytes than the system's name of a socket has: 108 on Linux.
    package init(path: String) throws(Failure) {
        var name = sockaddr_un()
        let descriptor = systemStreamSocket(AF_UNIX)
        guard descriptor >= 0 else { throw .unreachable(SigstoreError.reason(errno)) }
        // The path and the zero behind it.
        guard path.utf8.count < MemoryLayout.size(ofValue: name.sun_path) else {
            close(descriptor)
            throw .unreachable(SigstoreError.reason(ENAMETOOLONG))
        }
        name.sun_family = sa_family_t(AF_UNIX)
        unsafe withUnsafeMutableBytes(of: &name.sun_path) { unsafe $0.copyBytes(from: path.utf8) }
        let connected = unsafe withUnsafePointer(to: &name) { pointer in
            unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                unsafe connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
            }
        }
        guard connected == 0 else {
            let number = errno
            close(descriptor)
            throw .unreachable(SigstoreError.reason(number))
        }
        self.descriptor = descriptor
    }

    deinit { close(descriptor) }

    /// Sends everything.
    package func send(_ bytes: [UInt8]) throws(Failure) {
        var rest = bytes[...]
        while !rest.isEmpty {
            let count = unsafe rest.withUnsafeBytes {
                unsafe systemSend(descriptor, $0.baseAddress, $0.count)
            }
            if count < 0 && errno == EINTR { continue }
            guard count > 0 else { throw .ended }
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
