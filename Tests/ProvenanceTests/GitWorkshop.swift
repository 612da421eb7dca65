import Foundation
import Spawning
import StrictJSON
import Testing

/// A folder in which git, ssh-keygen and openssl make what a test needs; gone with it.
final class GitWorkshop {
    let url = FileManager.default.temporaryDirectory.appendingPathComponent("swsign-git-\(UUID().uuidString)")

    /// What is kept beside the repository.
    static let shared: String = {
        let checkout = "/" + #filePath.split(separator: "/").dropLast(3).joined(separator: "/")
        return "\(checkout)/../shared"
    }()
    static func isThere(_ name: String) -> Bool { FileManager.default.fileExists(atPath: "\(shared)/\(name)") }
    static func sharedFile(_ name: String) throws -> [UInt8] {
        Array(try Data(contentsOf: URL(filePath: "\(shared)/\(name)")))
    }

    init() throws { try FileManager.default.createDirectory(at: url, withIntermediateDirectories: true) }
    deinit { try? FileManager.default.removeItem(at: url) }

    func write(_ name: String, _ content: some Collection<UInt8>) throws {
        try Data(content).write(to: url.appendingPathComponent(name))
    }
    func read(_ name: String) throws -> [UInt8] { Array(try Data(contentsOf: url.appendingPathComponent(name))) }

    /// Runs a script of the shell.
    /// - Returns: Its exit status, and what it wrote.
    @discardableResult
    func shell(_ script: String, fails: Bool = false) throws -> [UInt8] {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/bin/sh")
        process.arguments = ["-ec", script]
        process.currentDirectoryURL = url
        process.environment = [
            "PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": url.path, "GIT_CONFIG_NOSYSTEM": "1", "LC_ALL": "C",
            "TZ": "UTC", "GIT_AUTHOR_NAME": "Ann", "GIT_AUTHOR_EMAIL": "ann@example.org",
            "GIT_COMMITTER_NAME": "Bob", "GIT_COMMITTER_EMAIL": "bob@example.org",
            "GIT_AUTHOR_DATE": "1700000000 +0000", "GIT_COMMITTER_DATE": "1700000001 +0100",
        ]
        let (output, errors) = (Pipe(), url.appendingPathComponent(".errors"))
        process.standardOutput = output
        _ = FileManager.default.createFile(atPath: errors.path, contents: nil)
        process.standardError = try FileHandle(forWritingTo: errors)
        try Spawning.exclusively { try process.run() }
        let text = output.fileHandleForReading.readDataToEndOfFile()
        process.waitUntilExit()
        let said = String(decoding: (try? Data(contentsOf: errors)) ?? Data(), as: UTF8.self)
        try #require((process.terminationStatus == 0) != fails, "\(script): \(said)")
        return Array(text)
    }

    /// The code of what is thrown; `nil` if nothing is.
    static func code(_ body: () throws -> Void) -> String? {
        do {
            try body()
            return nil
        } catch { return (error as? SigstoreError)?.code.rawValue ?? "\(error)" }
    }
}
