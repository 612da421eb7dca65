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
        return try SoftToken(in: sharedFolder, label: label, keys: keys)
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
    /// The version of SoftHSM's library, such as 2.6.
    public let libraryVersion: String
    /// OpenSC's tool, logged in to the token; what it is to do follows.
    public let tool: [String]

    /// Makes a token for a test that changes it.
    /// - Parameters:
    ///   - label: The token's label, as printf(1) prints it: `\377` is a byte that is no text.
    ///   - keys: The labels of the keys.
    ///   - hasSpare: Whether a second token is there, without keys.
    public convenience init(
        label: String = SoftToken.label, keys: [String] = SoftToken.keys, hasSpare: Bool = true
    ) throws {
        try self.init(
            in: NSTemporaryDirectory() + "swsign-token-\(UUID().uuidString)", label: label, keys: keys,
            hasSpare: hasSpare)
    }

    /// Runs a program beside the token, in its folder.
    /// - Parameter words: The program and its arguments.
    /// - Returns: What it said.
    /// - Throws: `Failure` if it fails.
    @discardableResult
    public func run(_ words: [String]) throws -> String { try Self.run(words, folder, environment) }

    private static func run(_ words: [String], _ folder: String, _ variables: [String: String]) throws -> String {
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

    /// Makes a key pair on the token.
    /// - Parameters:
    ///   - type: The kind, as OpenSC's tool has it.
    ///   - id: The identifier, in hexadecimal; `nil` for none.
    ///   - label: The label, as printf(1) prints it; empty for none.
    ///   - more: Further arguments.
    public func makeKey(_ type: String = "EC:prime256v1", id: String?, label: String, _ more: [String] = []) throws {
        let named = label.isEmpty ? "exec \"$@\"" : "exec \"$@\" --label \"$(printf '\(label)')\""
        try run(
            ["sh", "-c", named, "sh"] + tool + ["--keypairgen", "--key-type", type] + (id.map { ["--id", $0] } ?? [])
                + more)
    }

    /// Takes the public half of a key from the token, into the file `ID.der`.
    /// - Parameter id: The identifier, in hexadecimal.
    public func takePublicKey(id: String) throws {
        try run(tool + ["--read-object", "--type", "pubkey", "--id", id, "--output-file", "\(id).der"])
        try run(tool + ["--delete-object", "--type", "pubkey", "--id", id])
    }

    /// Makes a certificate for a public key in the file `ID.der`, and puts it on the token.
    /// - Parameters:
    ///   - id: The identifier, in hexadecimal.
    ///   - label: The certificate's label.
    ///   - isPrivate: Whether only its owner may see it.
    public func addCertificate(id: String, label: String, isPrivate: Bool = false) throws {
        try "subjectAltName=email:ann@example.com\nextendedKeyUsage=codeSigning\nkeyUsage=digitalSignature\n"
            .write(toFile: folder + "/extensions", atomically: true, encoding: .utf8)
        try run([
            "sh", "-ec",
            """
            openssl pkey -pubin -inform DER -in \(id).der -out \(id).pub
            openssl ecparam -name prime256v1 -genkey -noout -out \(id).pem
            openssl req -x509 -new -key \(id).pem -subj /CN=issuer -days 30 -out issuer.pem
            openssl req -new -key \(id).pem -subj /CN=release -out request.pem
            openssl x509 -req -in request.pem -CA issuer.pem -CAkey \(id).pem -force_pubkey \(id).pub -days 20 \
              -extfile extensions -outform DER -out \(id).crt
            """,
        ])
        guard isPrivate else {
            try run(tool + ["--write-object", "\(id).crt", "--type", "cert", "--id", id, "--label", label])
            return
        }
        // OpenSC's tool makes no certificates that are private.
        let program = """
            import ctypes, sys
            module, slot, pin, key, label = sys.argv[1:]
            class Attribute(ctypes.Structure):
                _fields_ = [("type", ctypes.c_ulong), ("value", ctypes.c_char_p), ("size", ctypes.c_ulong)]
            number = lambda value: value.to_bytes(ctypes.sizeof(ctypes.c_ulong), sys.byteorder)
            values = [(0, number(1)), (0x80, number(0)), (1, b"\\1"), (2, b"\\1"), (3, label.encode()), (0x101, b"0\\0"),
                      (0x102, bytes.fromhex(key)), (0x11, open(key + ".crt", "rb").read())]
            template = (Attribute * len(values))(*[Attribute(type, value, len(value)) for type, value in values])
            library, session, made = ctypes.CDLL(module), ctypes.c_ulong(), ctypes.c_ulong()
            for code in (library.C_Initialize(None),
                         library.C_OpenSession(ctypes.c_ulong(int(slot)), ctypes.c_ulong(6), None, None, ctypes.byref(session)),
                         library.C_Login(session, ctypes.c_ulong(1), pin.encode(), ctypes.c_ulong(len(pin))),
                         library.C_CreateObject(session, template, ctypes.c_ulong(len(values)), ctypes.byref(made))):
                if code: sys.exit("the module gave %#x" % code)
            """
        try run(["python3", "-c", program, environment["COSIGN_PKCS11_MODULE_PATH"] ?? "", slot, Self.pin, id, label])
    }

    private init(in folder: String, label: String, keys: [String], hasSpare: Bool = true) throws {
        guard let module = Self.module else { throw CocoaError(.fileNoSuchFile) }
        self.folder = folder
        try FileManager.default.createDirectory(atPath: folder + "/tokens", withIntermediateDirectories: true)
        try "directories.tokendir = \(folder)/tokens\nlog.level = ERROR\n"
            .write(toFile: folder + "/softhsm2.conf", atomically: true, encoding: .utf8)
        environment = ["SOFTHSM2_CONF": folder + "/softhsm2.conf", "COSIGN_PKCS11_MODULE_PATH": module]
        let make =
            "exec softhsm2-util --init-token --free --so-pin 5678 --pin \(Self.pin) --label \"$(printf '\(label)')\""
        let made = try Self.run(["sh", "-c", make], folder, environment)
        // "The token has been initialized and is reassigned to slot N".
        slot = String(made.reversed().drop { !$0.isNumber }.prefix { $0.isNumber }.reversed())
        // "Library          Implementation of PKCS11 (ver 2.6)".
        let about = try Self.run(["pkcs11-tool", "--module", module, "--show-info"], folder, environment)
        libraryVersion = String(about.components(separatedBy: "(ver ").last?.prefix { $0 != ")" } ?? "")
        tool = ["pkcs11-tool", "--module", module, "--slot", slot, "--login", "--pin", Self.pin]
        if hasSpare {
            try run([
                "softhsm2-util", "--init-token", "--free", "--label", "spare", "--so-pin", "5678", "--pin", Self.pin,
            ])
        }
        for (index, name) in keys.enumerated() {
            let type =
                switch name {
                case "p384": "EC:secp384r1"
                case "p521": "EC:secp521r1"
                case "rsa": "rsa:2048"
                case "ed25519": "EC:edwards25519"
                default: "EC:prime256v1"
                }
            let id = "0" + String(index + 1, radix: 16)
            try makeKey(type, id: id, label: name, name == "always" ? ["--always-auth"] : [])
            switch name {
            case "certified":
                try run(tool + ["--read-object", "--type", "pubkey", "--id", id, "--output-file", "\(id).der"])
                try addCertificate(id: id, label: name)
            case "wrong":
                // Another key with the identifier of this one.
                try run(tool + ["--delete-object", "--type", "pubkey", "--id", id])
                try run(["openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", "other.pem"])
                try run(["openssl", "pkey", "-in", "other.pem", "-pubout", "-outform", "DER", "-out", "other.der"])
                try run(tool + ["--write-object", "other.der", "--type", "pubkey", "--id", id, "--label", name])
            case "hidden":
                try takePublicKey(id: id)
                try run(
                    tool + [
                        "--write-object", "\(id).der", "--type", "pubkey", "--id", id, "--label", name, "--private",
                    ])
            default: break
            }
        }
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
