import Foundation
import Spawning

/// A server in Python, which ends with this process.
final class PythonServer: Sendable {
    /// What it printed until it was ready.
    let said: String
    private let process: Process
    /// The server ends when this one is closed.
    private let input = Pipe()

    /// Ends the server with its standard input: the script's first lines.
    private static let watch = """
        import os, sys, threading
        sys.dont_write_bytecode = True
        def ends(): pass
        def watch():
            sys.stdin.read()
            ends()
            os._exit(0)
        threading.Thread(target=watch, daemon=True).start()

        """

    /// Starts a server.
    /// - Parameters:
    ///   - script: What it does; `ends` is called when it must end.
    ///   - python: The interpreter; that of the system unless told.
    ///   - environment: Its variables.
    ///   - printsErrors: Whether it says on standard error that it is ready.
    ///   - isReady: Whether it is ready when it has printed that.
    init(
        _ script: String, python: String? = nil, environment: [String: String], printsErrors: Bool = false,
        isReady: (String) -> Bool
    ) throws {
        let (output, process) = (Pipe(), Process())
        process.executableURL = URL(fileURLWithPath: python ?? "/usr/bin/env")
        process.arguments = (python == nil ? ["python3"] : []) + ["-c", Self.watch + script]
        process.environment = environment.merging(
            ["PATH": ProcessInfo.processInfo.environment["PATH"] ?? "/usr/bin:/bin"]) { own, _ in own }
        process.standardInput = input
        process.standardOutput = printsErrors ? FileHandle.nullDevice : output
        if printsErrors { process.standardError = output }
        try Spawning.exclusively { try process.run() }
        var said = ""
        while !isReady(said) {
            let bytes = output.fileHandleForReading.availableData
            guard !bytes.isEmpty else { throw CocoaError(.executableLoad) }
            said += String(decoding: bytes, as: UTF8.self)
        }
        // What it prints later must not fill the pipe.
        output.fileHandleForReading.readabilityHandler = { _ = $0.availableData }
        (self.said, self.process) = (said, process)
    }

    /// A server on top of those of the material beside this checkout (`fakes`).
    convenience init(onFakes script: String, isReady: (String) -> Bool = { $0.hasSuffix("\n") }) throws {
        let start = """
            sys.argv = ["fakes", "0"]
            sys.path.insert(0, os.environ["FAKES"])
            import fakes, http.server

            """
        try self.init(start + script, environment: ["FAKES": KeyServices.folder ?? ""], isReady: isReady)
    }
}
