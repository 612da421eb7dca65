#if canImport(Glibc)
    internal import Glibc
#elseif canImport(Musl)
    internal import Musl
#elseif canImport(Darwin)
    internal import Darwin
#endif

/// A TCP socket on this machine's own addresses: one that listens, or a connection that it took.
package final class LoopbackSocket: Sendable {
    private let descriptor: CInt

    /// Why a port cannot be listened on.
    package struct ListenFailure: Error {
        /// The host.
        package let host: String
        /// The port; 0 is any.
        package let port: UInt16
        /// The system's number for the reason.
        package let number: CInt

        /// Whether another program has the port.
        package var isTaken: Bool { number == EADDRINUSE }
        /// Whether this machine does not have the address at all, so that no browser and no other program can use it.
        package var isAbsent: Bool { number == EADDRNOTAVAIL || number == EAFNOSUPPORT }
    }

    private init(takingOwnershipOf descriptor: CInt) { self.descriptor = descriptor }

    deinit { close(descriptor) }

    /// Listens.
    /// - Parameters:
    ///   - host: 127.0.0.0/8, or `[::1]`.
    ///   - port: 0 for any free port.
    /// - Returns: The socket, and the port that it has.
    package static func listen(_ host: String, _ port: UInt16) throws(ListenFailure) -> (LoopbackSocket, port: UInt16) {
        let isIPv6 = host.utf8.first == 0x5b
        let descriptor = systemStreamSocket(isIPv6 ? AF_INET6 : AF_INET, isNonBlocking: true)
        guard descriptor >= 0 else { throw ListenFailure(host: host, port: port, number: errno) }
        guard let bound = bind(descriptor, host, port, isIPv6) else {
            let number = errno
            close(descriptor)
            throw ListenFailure(host: host, port: port, number: number)
        }
        return (LoopbackSocket(takingOwnershipOf: descriptor), bound)
    }

    /// - Returns: The port, or `nil` with the reason in `errno`.
    private static func bind(_ descriptor: CInt, _ host: String, _ port: UInt16, _ isIPv6: Bool) -> UInt16? {
        var on: CInt = 1
        let size = socklen_t(MemoryLayout<CInt>.size)
        guard unsafe setsockopt(descriptor, SOL_SOCKET, SO_REUSEADDR, &on, size) == 0 else { return nil }
        if isIPv6 {
            guard unsafe setsockopt(descriptor, CInt(IPPROTO_IPV6), IPV6_V6ONLY, &on, size) == 0 else { return nil }
            var name = sockaddr_in6()
            name.sin6_family = sa_family_t(AF_INET6)
            name.sin6_port = port.bigEndian
            name.sin6_addr = in6addr_loopback
            return bind(descriptor, &name) ? UInt16(bigEndian: name.sin6_port) : nil
        }
        var name = sockaddr_in()
        name.sin_family = sa_family_t(AF_INET)
        name.sin_port = port.bigEndian
        guard unsafe inet_pton(AF_INET, host, &name.sin_addr) == 1 else {
            errno = EADDRNOTAVAIL
            return nil
        }
        return bind(descriptor, &name) ? UInt16(bigEndian: name.sin_port) : nil
    }

    /// Binds, listens, and asks for the address that was taken.
    private static func bind<Name>(_ descriptor: CInt, _ name: inout Name) -> Bool {
        var size = socklen_t(MemoryLayout<Name>.size)
        return unsafe withUnsafeMutablePointer(to: &name) { pointer in
            unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                unsafe systemBind(descriptor, $0, size) == 0 && systemListen(descriptor, 8) == 0
                    && getsockname(descriptor, $0, &size) == 0
            }
        }
    }

    /// Waits until something can be read from one of the sockets, or a connection can be taken.
    /// - Returns: Which of them are ready; none when the time is over. `nil` if the system cannot say.
    package static func ready(_ sockets: [LoopbackSocket], within milliseconds: CInt) -> [Bool]? {
        var polled = sockets.map { pollfd(fd: $0.descriptor, events: Int16(POLLIN), revents: 0) }
        let count = unsafe poll(&polled, nfds_t(polled.count), milliseconds)
        guard count >= 0 || errno == EINTR else { return nil }
        return polled.map { count > 0 && $0.revents != 0 }
    }

    /// Takes a connection.
    package func accept() -> LoopbackSocket? {
        let accepted = systemAccept(descriptor)
        guard accepted >= 0 else { return nil }
        let connection = LoopbackSocket(takingOwnershipOf: accepted)
        return systemPrepare(accepted, isNonBlocking: true) ? connection : nil
    }

    /// What has arrived, at most 4 KiB of it.
    /// - Returns: None if nothing has; `nil` if the other end has closed the connection.
    package func receive() -> [UInt8]? {
        var buffer = [UInt8](repeating: 0, count: 4096)
        let count = unsafe recv(descriptor, &buffer, buffer.count, 0)
        if count < 0, errno == EAGAIN || errno == EINTR { return [] }
        return count > 0 ? Array(buffer.prefix(count)) : nil
    }

    /// Sends an answer, as far as it fits the socket's buffer, and ends the connection.
    package func end(with answer: [UInt8]) {
        var rest = answer[...]
        while !rest.isEmpty {
            let count = unsafe rest.withUnsafeBytes {
                unsafe systemSend(descriptor, $0.baseAddress, $0.count)
            }
            guard count > 0 else { break }
            rest = rest.dropFirst(count)
        }
        shutdown(descriptor, CInt(SHUT_WR))
        // What is left unread when a socket is closed would take the answer with it.
        var left = [UInt8](repeating: 0, count: 65_536)
        _ = unsafe recv(descriptor, &left, left.count, 0)
    }
}
