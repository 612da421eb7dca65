import Foundation

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
    private let server: PythonServer

    /// The variables that lead a program to the server, with credentials.
    public var environment: [String: String] {
        [
            "AWS_ENDPOINT_URL": url, "AWS_REGION": "us-east-1", "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE",
            "AWS_SECRET_ACCESS_KEY": "secret", "AWS_EC2_METADATA_DISABLED": "true",
        ]
    }

    private init() throws {
        let script = """
            import runpy
            sys.argv = ["moto", "-H", "127.0.0.1", "-p", "0"]
            runpy.run_path(os.environ["SCRIPT"], run_name="__main__")
            """
        // It says where it listens, and then each request.
        func found(_ said: String) -> String? {
            said.firstMatch(of: /Running on (http:\/\/127\.0\.0\.1:\d+)\s/).map { String($0.1) }
        }
        server = try PythonServer(
            script, python: Self.python,
            environment: ["SCRIPT": Self.script, "PATH": "/usr/bin:/bin", "HOME": "/nonexistent"], printsErrors: true
        ) { found($0) != nil }
        url = found(server.said) ?? ""
    }
}
