import FaultServer
import Foundation
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
        let probe = FaultServer { _, _ in }
        port = probe.port
        probe.stop()
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
        for _ in 0..<600 where process.isRunning {
            if let answer = try? await CurlClient().send(
                HTTPRequest("GET", url, handledStatuses: [401], isIdempotent: false)),
                answer.status != 0
            {
                return
            }
            try await Task.sleep(for: .milliseconds(50))
        }
        throw StartFailure()
    }

    deinit {
        if process.isRunning {
            process.terminate()
            process.waitUntilExit()
        }
        try? FileManager.default.removeItem(at: folder)
    }
}
