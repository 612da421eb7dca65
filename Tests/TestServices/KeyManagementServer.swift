import Foundation
import Spawning

/// moto's AWS KMS and STS: one process for all tests, which ends with this one. `make test-deps` installs moto; what it lacks is
/// mended by a script beside this checkout.
public final class KeyManagementServer: Sendable {
    private static let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        .deletingLastPathComponent()
    private static let python = root.appendingPathComponent(".build/python/bin/python3").path
    private static let script = root.deletingLastPathComponent().appendingPathComponent(
        "shared/keys/fakes/moto_kms.py"
    ).path

    /// Whether both are there.
    public static let isThere =
        FileManager.default.fileExists(atPath: python) && FileManager.default.fileExists(atPath: script)

    /// The server.
    public static func running() throws -> KeyManagementServer { try shared.get() }
    private static let shared = Result { try KeyManagementServer() }

    /// `http://127.0.0.1:PORT`.
    public let url: String
    private let process: Process
    /// The server ends when this one is closed.
    private let input = Pipe()

    /// The variables that lead a program to the server, with credentials.
    public var environment: [String: String] {
        [
            "AWS_ENDPOINT_URL": url, "AWS_REGION": "us-east-1", "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE",
            "AWS_SECRET_ACCESS_KEY": "secret", "AWS_EC2_METADATA_DISABLED": "true",
        ]
    }

    private init() throws {
        let start = """
            import os, runpy, sys, threading
            threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0)), daemon=True).start()
            sys.dont_write_bytecode = True
            sys.argv = ["moto", "-H", "127.0.0.1", "-p", "0"]
            runpy.run_path(os.environ["SCRIPT"], run_name="__main__")
            """
        let (output, process) = (Pipe(), Process())
        process.executableURL = URL(fileURLWithPath: Self.python)
        process.arguments = ["-c", start]
        process.environment = ["SCRIPT": Self.script, "PATH": "/usr/bin:/bin", "HOME": "/nonexistent"]
        process.standardInput = input
        process.standardOutput = FileHandle.nullDevice
        process.standardError = output
        try Spawning.exclusively { try process.run() }
        // It says where it listens, and then each request.
        var said = ""
        var found: String?
        while found == nil {
            let bytes = output.fileHandleForReading.availableData
            guard !bytes.isEmpty else { throw CocoaError(.executableLoad) }
            said += String(decoding: bytes, as: UTF8.self)
            found = said.firstMatch(of: /Running on (http:\/\/127\.0\.0\.1:\d+)\s/).map { String($0.1) }
        }
        output.fileHandleForReading.readabilityHandler = { _ = $0.availableData }
        (url, self.process) = (found ?? "", process)
    }
}
