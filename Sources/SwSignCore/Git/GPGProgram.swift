internal import LocalSystem
public import Provenance
public import StrictJSON
internal import Synchronization

/// The GnuPG of this machine, which alone knows its keys. It is run without looking for keys elsewhere.
public final class GPGProgram: Sendable {
    private let environment: [String: String]

    /// How long it may take for one signature.
    private static let timeout = Duration.seconds(60)

    /// What is run, once that is known.
    private let found = Mutex<String?>(nil)

    /// - Parameter environment: The variables of the environment, by which programs are found.
    public init(environment: [String: String]) { self.environment = environment }

    /// The program that git's configuration of the user or the system names, never that of a repository.
    private var program: String {
        found.withLock { found in
            let program = found ?? Self.configured(environment) ?? "gpg"
            found = program
            return program
        }
    }

    private static func configured(_ environment: [String: String]) -> String? {
        for scope in ["--global", "--system"] {
            for name in ["gpg.openpgp.program", "gpg.program"] {
                let answer = try? ChildProcess.run(
                    ["git", "-C", "/", "config", scope, "--includes", "--type=path", "--get", name],
                    environment: environment, more: ["GIT_DIR": "/dev/null"], timeout: timeout)
                guard let answer, answer.status == 0 else { continue }
                let path = String(decoding: answer.output.prefix { $0 != 0x0a }, as: UTF8.self)
                if !path.isEmpty { return path }
            }
        }
        return nil
    }

    /// Has it check a signature.
    /// - Parameters:
    ///   - signature: The whole block.
    ///   - payload: What was signed.
    /// - Throws: `SigstoreError` with `gpg-failed` if it is not there, `file-unwritable`, and what reading the status throws.
    public func status(of signature: [UInt8], over payload: [UInt8]) throws(SigstoreError) -> GPGStatus {
        let program = program
        guard program.utf8.contains(0x2f) || ChildProcess.find(program, environment: environment) != nil else {
            throw SigstoreError(.gpgFailed, "\(program) is not installed, which knows the keys", advice: "install gpg")
        }
        let folder = environment["TMPDIR"].flatMap { $0.isEmpty ? nil : $0 } ?? "/tmp"
        let path = "\(folder)/signature-\(String(UInt64.random(in: .min ... .max), radix: 36)).sig"
        let file = try TemporaryFile(beside: path, mode: 0o600, exactly: true)
        try file.write(signature)
        try file.commit(as: path, existing: .refused, synced: false)
        defer { _ = LocalFile.remove(path) }
        let answer: (output: [UInt8], status: CInt)
        do throws(ChildProcess.Failure) { answer = try run(program, path, payload) } catch {
            throw SigstoreError(
                .gpgFailed, "\(program) cannot be run, or does not answer", advice: "run gpg --verify by hand")
        }
        return try GPGStatus(parsing: answer.output, exitStatus: answer.status)
    }

    private func run(
        _ program: String, _ path: String, _ payload: [UInt8]
    ) throws(ChildProcess.Failure) -> (output: [UInt8], status: CInt) {
        var output: [UInt8] = []
        let status = try ChildProcess.run(
            [
                program, "--batch", "--no-tty", "--no-auto-key-retrieve", "--keyid-format=long", "--status-fd=1",
                "--verify", path, "-",
            ], environment: environment, more: ["LC_ALL": "C"], input: payload, isSilent: true, timeout: Self.timeout
        ) { piece in
            output += piece
            return output.count <= GPGStatus.sizeLimit
        }
        guard status.value != 127, !status.wasKilled else { throw .notStarted }
        return (output, status.value)
    }
}
