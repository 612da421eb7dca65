import Foundation
import Spawning
import Testing

/// A directory of its own for one test, removed afterwards, and the programs that run in it.
final class Workplace: Sendable {
    /// The directory's path.
    let path: String

    init() throws {
        let url = FileManager.default.temporaryDirectory.appendingPathComponent("swsign-interop-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: url, withIntermediateDirectories: true)
        path = url.path
    }

    deinit { try? FileManager.default.removeItem(atPath: path) }

    /// What came of one run of a program.
    struct Outcome {
        let status: Int32
        let output: [UInt8]
        let messages: String

        /// The last line of the messages, without what Go's command line framework puts before it.
        var lastWords: String {
            (messages.split(separator: "\n").last.map(String.init) ?? "")
                .replacingOccurrences(of: "error during command execution: ", with: "")
        }
    }

    /// Runs a program in the directory, with nothing of the person's own environment and no network.
    func run(_ program: String, _ arguments: [String], password: String? = nil, _ more: [String: String] = [:])
        async throws
        -> Outcome
    {
        let environment = [
            "PATH": ProcessInfo.processInfo.environment["PATH"] ?? "/usr/bin:/bin", "HOME": path, "TMPDIR": path,
            "COSIGN_PASSWORD": password ?? "swsign", "HTTPS_PROXY": "http://127.0.0.1:9",
            "HTTP_PROXY": "http://127.0.0.1:9",
            "NO_PROXY": "127.0.0.1,localhost",
        ].merging(more) { $1 }
        let name = "\(path)/.\(UUID().uuidString)"
        let files = [name + ".out", name + ".err"]
        defer { for file in files { try? FileManager.default.removeItem(atPath: file) } }
        let status = try await Spawning.run(
            program, arguments, in: path, environment: environment, output: files[0], errors: files[1])
        return Outcome(
            status: status, output: try read(files[0]), messages: String(decoding: try read(files[1]), as: UTF8.self))
    }

    /// Runs a program that has to succeed.
    @discardableResult
    func must(_ program: String, _ arguments: [String], password: String? = nil) async throws -> Outcome {
        let outcome = try await run(program, arguments, password: password)
        try #require(outcome.status == 0, "\(program) \(arguments.joined(separator: " ")): \(outcome.messages)")
        return outcome
    }

    func write(_ text: String, to name: String) throws {
        try text.write(toFile: "\(path)/\(name)", atomically: false, encoding: .utf8)
    }

    /// Reads a file of the directory, or one that is named by its whole path.
    func read(_ name: String) throws -> [UInt8] {
        [UInt8](try Data(contentsOf: URL(fileURLWithPath: name.hasPrefix("/") ? name : "\(path)/\(name)")))
    }
}

/// The material and the programs that stand beside the checkout.
enum Shared {
    static let checkout = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        .deletingLastPathComponent()
    static let path = checkout.deletingLastPathComponent().appendingPathComponent("shared").path
    static let isThere = FileManager.default.fileExists(atPath: path + "/peers/unpack")
    static let trustedRoot = path + "/trust/production/trusted_root.json"
    static let predicates = path + "/samples/predicates"
}

extension Trait where Self == ConditionTrait {
    /// For tests that need cosign 2, cosign 3 or the corpus; `make test` counts what is left out without them.
    static var needsPeers: Self { .enabled(if: Shared.isThere, "the peers and samples in ../shared are not there") }
}
