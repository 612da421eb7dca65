import Foundation
import Spawning
import Testing

/// Runs `Fixtures/tuf/scenarios.py`: repositories made with python-tuf, served over HTTP, and the conformance client.
///
/// python-tuf comes from PyPI into `.build/tuf-python` the first time. Where it cannot be had, the test fails.
@Suite("The TUF client against python-tuf")
struct TUFScenarioTests {
    private let package = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        .deletingLastPathComponent()

    private func run(_ command: [String]) async throws -> (status: Int32, output: String) {
        let folder = try TemporaryFolder()
        let file = "\(folder.path)/output"
        let status = try await Spawning.run(
            command[0], Array(command.dropFirst()), in: folder.path, environment: ProcessInfo.processInfo.environment,
            output: file, errors: file)
        return (status, String(decoding: try Data(contentsOf: URL(filePath: file)), as: UTF8.self))
    }

    @Test func allScenarios() async throws {
        let python = package.appending(path: ".build/tuf-python")
        let interpreter = python.appending(path: "bin/python").path
        if try await run([interpreter, "-c", "import tuf.api.metadata"]).status != 0 {
            let made = try await run(["python3", "-m", "venv", "--clear", python.path])
            try #require(made.status == 0, "\(made.output)")
            let requirements = package.appending(path: "Fixtures/tuf/requirements.txt").path
            let installed = try await run([
                interpreter, "-m", "pip", "install", "--quiet", "--requirement", requirements,
            ])
            try #require(installed.status == 0, "\(installed.output)")
        }
        // The client lies beside the program that runs this test.
        let client = URL(filePath: CommandLine.arguments[0]).deletingLastPathComponent()
            .appending(path: "tuf-conformance-client").path
        try #require(FileManager.default.isExecutableFile(atPath: client), "\(client)")
        let result = try await run([interpreter, package.appending(path: "Fixtures/tuf/scenarios.py").path, client])
        let failures = result.output.split(separator: "\n").filter { !$0.hasPrefix("passed ") }.joined(separator: "\n")
        #expect(result.status == 0, "\(failures)")
        #expect(result.output.split(separator: "\n").count { $0.hasPrefix("passed ") } > 140)
    }
}
