import Foundation
import Spawning

/// Servers that stand in for key services, from the material beside this checkout: one process for all tests, which ends with this
/// one.
public final class KeyServices: Sendable {
    /// Where the script of the servers is; `nil` if it is not beside this checkout.
    public static let folder: String? = {
        let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
            .deletingLastPathComponent()
        let folder = root.deletingLastPathComponent().appendingPathComponent("shared/keys/fakes").path
        return FileManager.default.fileExists(atPath: folder + "/fakes.py") ? folder : nil
    }()

    /// The servers of Vault, Azure, Google, Kubernetes, GitLab and the metadata services, which answer at one port.
    public static func running() throws -> KeyServices { try shared.get() }
    private static let shared = Result { try KeyServices() }

    /// The port on 127.0.0.1.
    public let port: Int
    private let process: Process
    /// The server ends when this one is closed.
    private let input = Pipe()

    private init() throws {
        let script = """
            import sys, os, threading
            sys.argv = ["fakes", "0"]
            sys.path.insert(0, os.environ["FAKES"])
            sys.dont_write_bytecode = True
            import fakes, http.server
            threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0)), daemon=True).start()
            server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), fakes.H)
            print(server.server_port, flush=True)
            server.serve_forever()
            """
        let (output, process) = (Pipe(), Process())
        process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
        process.arguments = ["python3", "-c", script]
        process.environment = [
            "FAKES": Self.folder ?? "", "PATH": ProcessInfo.processInfo.environment["PATH"] ?? "/usr/bin",
        ]
        process.standardInput = input
        process.standardOutput = output
        try Spawning.exclusively { try process.run() }
        let line = String(decoding: output.fileHandleForReading.availableData, as: UTF8.self)
        guard let port = Int(line.trimmingCharacters(in: .whitespacesAndNewlines)) else {
            throw CocoaError(.executableLoad)
        }
        (self.port, self.process) = (port, process)
    }
}
