import Foundation
import Glibc
import HTTPTransport
import Spawning

/// Debian's `docker-registry` on a loopback port, with an empty store of its own. It has no referrers API and no
/// deletion of single tags.
public final class DockerRegistry: Sendable {
    /// The port on 127.0.0.1.
    public let port: UInt16
    /// The host and port to name images by.
    public var address: String { "127.0.0.1:\(port)" }
    private let folder: URL
    private let process = Process()

    /// Why there is no registry.
    public struct StartFailure: Error {}

    /// Starts one, and waits until it answers.
    /// - Parameter configuration: Lines of YAML for its configuration.
    public init(_ configuration: String = "") async throws {
        folder = FileManager.default.temporaryDirectory.appending(path: "registry-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        // It does not say which port it took. So one is held for it: bound, but not listened on.
        let holder = socket(AF_INET, CInt(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
        defer { close(holder) }
        port = try Self.bind(holder)
        let file = folder.appending(path: "config.yml")
        let text = """
            version: 0.1
            log: {level: error}
            storage:
              filesystem: {rootdirectory: "\(folder.path)/store"}
              delete: {enabled: true}
            http: {addr: "127.0.0.1:\(port)"}
            \(configuration)
            """
        try Data(text.utf8).write(to: file)
        process.executableURL = URL(filePath: "/usr/bin/docker-registry")
        process.arguments = ["serve", file.path]
        process.standardOutput = FileHandle.nullDevice
        process.standardError = FileHandle.nullDevice
        try Spawning.exclusively { try process.run() }
        let url = try HTTPURL(parsing: "http://127.0.0.1:\(port)/v2/")
        let end = ContinuousClock.now + .seconds(300)
        while process.isRunning, ContinuousClock.now < end {
            let answer = try? await CurlClient().send(
                HTTPRequest("GET", url, handledStatuses: [401], isIdempotent: false))
            if answer != nil { return }
            try await Task.sleep(for: .milliseconds(20))
        }
        throw StartFailure()
    }

    /// Binds a socket to a free port on 127.0.0.1. While it is bound, nobody else is given that port; only who asks for it
    /// by its number, and lets it be reused, can listen on it, as Go's programs do.
    private static func bind(_ socket: CInt) throws -> UInt16 {
        var (yes, size): (CInt, socklen_t) = (1, socklen_t(MemoryLayout<sockaddr_in>.size))
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
        let bound = unsafe withUnsafeMutablePointer(to: &address) { pointer in
            unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { pointer in
                unsafe setsockopt(socket, SOL_SOCKET, SO_REUSEADDR, &yes, socklen_t(MemoryLayout<CInt>.size)) == 0
                    && Glibc.bind(socket, pointer, size) == 0 && getsockname(socket, pointer, &size) == 0
            }
        }
        guard bound else { throw StartFailure() }
        return UInt16(bigEndian: address.sin_port)
    }

    deinit {
        if process.isRunning {
            process.terminate()
            process.waitUntilExit()
        }
        try? FileManager.default.removeItem(at: folder)
    }
}
