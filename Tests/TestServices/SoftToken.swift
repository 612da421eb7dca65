import Foundation
import Spawning

/// A token of SoftHSM's with a key of each kind: one for all tests of a process, and others for those that change it.
public final class SoftToken: Sendable {
    /// SoftHSM's module; `nil` if it or OpenSC's tool is not installed.
    public static let module: String? = {
        let files = FileManager.default
        let tools = ["/usr/bin/softhsm2-util", "/usr/bin/pkcs11-tool"]
        guard tools.allSatisfy(files.isExecutableFile) else { return nil }
        return ["/usr/lib/softhsm/libsofthsm2.so", "/usr/lib64/pkcs11/libsofthsm2.so"].first(where: files.fileExists)
    }()

    /// The token, which the first test that asks makes.
    public static func shared() throws -> SoftToken { try made.get() }
    private static let made = Result {
        atexit { try? FileManager.default.removeItem(atPath: SoftToken.sharedFolder) }
        return try SoftToken(in: sharedFolder)
    }
    private static let sharedFolder =
        NSTemporaryDirectory() + "swsign-token-\(ProcessInfo.processInfo.processIdentifier)"

    /// The PIN of the token's user.
    public static let pin = "1234"
    /// The label of the token that holds the keys. Another one, "spare", holds none.
    public static let label = "release token"
    /// The keys' labels; the identifiers count from 01.
    ///
    /// `always` demands the PIN for each signature; two are called `twin`; `certified` has a certificate; `hidden` shows its
    /// public half to its owner only; what `wrong` shows as its public half is another key's.
    public static let keys = [
        "p256", "p384", "p521", "rsa", "ed25519", "always", "twin", "twin", "certified", "hidden", "wrong",
    ]

    /// The folder with SoftHSM's configuration and tokens.
    public let folder: String
    /// The slot of the token.
    public let slot: String
    /// What a program needs to find the token.
    public let environment: [String: String]

    /// Makes a token for a test that changes it.
    /// - Parameter hasSpare: Whether a second token is there, without keys.
    public convenience init(hasSpare: Bool = true) throws {
        try self.init(in: NSTemporaryDirectory() + "swsign-token-\(UUID().uuidString)", hasSpare: hasSpare)
    }

    private init(in folder: String, hasSpare: Bool = true) throws {
        guard let module = Self.module else { throw CocoaError(.fileNoSuchFile) }
        self.folder = folder
        try FileManager.default.createDirectory(atPath: folder + "/tokens", withIntermediateDirectories: true)
        try "directories.tokendir = \(folder)/tokens\nlog.level = ERROR\n"
            .write(toFile: folder + "/softhsm2.conf", atomically: true, encoding: .utf8)
        environment = ["SOFTHSM2_CONF": folder + "/softhsm2.conf", "COSIGN_PKCS11_MODULE_PATH": module]
        let variables = environment
        @discardableResult
        func run(_ words: [String]) throws -> String {
            let (process, output) = (Process(), Pipe())
            process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
            process.arguments = words
            process.environment = variables.merging(["PATH": "/usr/bin:/bin", "HOME": folder]) { $1 }
            process.currentDirectoryURL = URL(fileURLWithPath: folder)
            process.standardOutput = output
            process.standardError = output
            try Spawning.exclusively { try process.run() }
            let said = String(decoding: output.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
            process.waitUntilExit()
            guard process.terminationStatus == 0 else { throw Failure(words: words.joined(separator: " "), said: said) }
            return said
        }
        for name in hasSpare ? [Self.label, "spare"] : [Self.label] {
            try run([
                "softhsm2-util", "--init-token", "--free", "--label", name, "--so-pin", "5678", "--pin", Self.pin,
            ])
        }
        let tool = ["pkcs11-tool", "--module", module, "--token-label", Self.label, "--login", "--pin", Self.pin]
        for (index, name) in Self.keys.enumerated() {
            let type =
                switch name {
                case "p384": "EC:secp384r1"
                case "p521": "EC:secp521r1"
                case "rsa": "rsa:2048"
                case "ed25519": "EC:edwards25519"
                default: "EC:prime256v1"
                }
            let id = "0" + String(index + 1, radix: 16)
            try run(
                tool + ["--keypairgen", "--key-type", type, "--id", id, "--label", name]
                    + (name == "always" ? ["--always-auth"] : []))
            switch name {
            case "certified", "wrong":
                // A certificate, or another key, with the identifier of this one.
                let isCertificate = name == "certified"
                let public_ = ["--read-object", "--type", "pubkey", "--id", id, "--output-file", "\(name).der"]
                try run(tool + public_)
                try run(["openssl", "pkey", "-pubin", "-inform", "DER", "-in", "\(name).der", "-out", "\(name).pub"])
                try run(["openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", "\(name).pem"])
                if isCertificate {
                    try run([
                        "openssl", "req", "-x509", "-new", "-key", "\(name).pem", "-subj", "/CN=issuer", "-days", "30",
                        "-out", "issuer.pem",
                    ])
                    try run([
                        "openssl", "req", "-new", "-key", "\(name).pem", "-subj", "/CN=release", "-out", "request.pem",
                    ])
                    try
                        "subjectAltName=email:ann@example.com\nextendedKeyUsage=codeSigning\nkeyUsage=digitalSignature\n"
                        .write(toFile: folder + "/extensions", atomically: true, encoding: .utf8)
                    try run([
                        "openssl", "x509", "-req", "-in", "request.pem", "-CA", "issuer.pem", "-CAkey",
                        "\(name).pem", "-force_pubkey", "\(name).pub", "-days", "20", "-extfile",
                        "extensions", "-outform", "DER", "-out", "\(name).crt",
                    ])
                    try run(tool + ["--write-object", "\(name).crt", "--type", "cert", "--id", id, "--label", name])
                } else {
                    try run(tool + ["--delete-object", "--type", "pubkey", "--id", id])
                    try run([
                        "openssl", "pkey", "-in", "\(name).pem", "-pubout", "-outform", "DER", "-out", "other.der",
                    ])
                    try run(tool + ["--write-object", "other.der", "--type", "pubkey", "--id", id, "--label", name])
                }
            case "hidden":
                try run(tool + ["--read-object", "--type", "pubkey", "--id", id, "--output-file", "hidden.der"])
                try run(tool + ["--delete-object", "--type", "pubkey", "--id", id])
                try run(
                    tool + [
                        "--write-object", "hidden.der", "--type", "pubkey", "--id", id, "--label", name, "--private",
                    ])
            default: break
            }
        }
        let slots = try run(["pkcs11-tool", "--module", module, "--list-token-slots"])
        // The number of a slot that a token was moved to is the end of its serial number.
        let listed = slots.components(separatedBy: "Slot ").first { $0.contains(": \(Self.label)\n") }
        let hexadecimal = listed?.components(separatedBy: "(0x").dropFirst().first?.prefix { $0 != ")" } ?? ""
        slot = UInt(hexadecimal, radix: 16).map(String.init) ?? ""
    }

    deinit { try? FileManager.default.removeItem(atPath: folder) }

    /// A command that made the token failed.
    public struct Failure: Error, CustomStringConvertible {
        let words: String
        let said: String
        /// The command, and what it said.
        public var description: String { "\(words): \(said)" }
    }
}
