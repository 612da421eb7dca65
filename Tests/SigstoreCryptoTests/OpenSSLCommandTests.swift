import Foundation
import Spawning
import StrictJSON
import Testing

@testable import SigstoreCrypto

/// Certificates and timestamps that the `openssl` command makes, which shares none of our code.
@Suite struct OpenSSLCommandTests {
    /// A folder of its own for each test, gone with it.
    final class Folder {
        let url = FileManager.default.temporaryDirectory.appendingPathComponent("swsign-\(UUID().uuidString)")
        init() throws { try FileManager.default.createDirectory(at: url, withIntermediateDirectories: true) }
        deinit { try? FileManager.default.removeItem(at: url) }

        func write(_ name: String, _ text: String) throws {
            try Data(text.utf8).write(to: url.appendingPathComponent(name))
        }
        func read(_ name: String) throws -> [UInt8] {
            Array(try Data(contentsOf: url.appendingPathComponent(name)))
        }
        func openssl(_ arguments: [String]) throws {
            let process = Process()
            process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
            process.arguments = ["openssl"] + arguments
            process.currentDirectoryURL = url
            let output = Pipe()
            process.standardOutput = output
            process.standardError = output
            try Spawning.exclusively { try process.run() }
            let text = output.fileHandleForReading.readDataToEndOfFile()
            process.waitUntilExit()
            try #require(process.terminationStatus == 0, "\(arguments): \(String(decoding: text, as: UTF8.self))")
        }

        /// A root and a timestamp signer; `digest` is what the signer's certificate is named by.
        func makeAuthority(key: [String], digest: String) throws -> [Certificate] {
            try write(
                "openssl.cnf",
                """
                [req]
                distinguished_name = name
                [name]
                [root]
                basicConstraints = critical, CA:TRUE
                keyUsage = critical, keyCertSign
                [signer]
                keyUsage = critical, digitalSignature
                extendedKeyUsage = critical, timeStamping
                [tsa]
                default_tsa = settings
                [settings]
                serial = serial
                signer_cert = signer.pem
                certs = root.pem
                signer_key = signer.key
                signer_digest = sha384
                default_policy = 1.2.3.4
                digests = sha256, sha512
                accuracy = secs:1, millisecs:500
                ordering = yes
                tsa_name = yes
                ess_cert_id_chain = yes
                ess_cert_id_alg = \(digest)
                """)
            try write("serial", "01\n")
            for (name, subject) in [("root", "/O=Example/CN=root"), ("signer", "/O=Example/CN=signer")] {
                let issuing = name == "root" ? [] : ["-CA", "root.pem", "-CAkey", "root.key"]
                try openssl(
                    ["req", "-x509", "-config", "openssl.cnf", "-newkey"] + key
                        + [
                            "-nodes", "-keyout", "\(name).key", "-out", "\(name).pem", "-subj", subject, "-days", "2",
                            "-extensions", name,
                        ] + issuing)
            }
            return try ["signer.pem", "root.pem"].flatMap { try Certificate.chain(pem: try read($0)) }
        }
    }

    @Test(
        arguments: [
            (["ec", "-pkeyopt", "ec_paramgen_curve:P-384"], "sha256", "-sha256"),
            (["rsa:2048"], "sha1", "-sha512"), (["rsa:3072"], "sha512", "-sha256"),
        ])
    func timestamps(key: [String], certificateDigest: String, imprint: String) throws {
        let folder = try Folder()
        let authority = try folder.makeAuthority(key: key, digest: certificateDigest)
        try folder.write("signature", "a signature")
        try folder.openssl(["ts", "-query", "-data", "signature", imprint, "-cert", "-out", "with.tsq"])
        try folder.openssl(["ts", "-query", "-data", "signature", imprint, "-no_nonce", "-out", "without.tsq"])
        let before = Int64(Date().timeIntervalSince1970)
        for name in ["with", "without"] {
            try folder.openssl([
                "ts", "-reply", "-config", "openssl.cnf", "-queryfile", "\(name).tsq", "-out", "\(name).tsr",
            ])
            let token = try TimestampToken(response: try folder.read("\(name).tsr"))
            #expect(try token.verify(over: Array("a signature".utf8), authority: authority).count == 2)
            #expect((before...Int64(Date().timeIntervalSince1970)).contains(token.time))
            #expect(token.policy == "1.2.3.4")
            #expect((token.nonce == nil) == (name == "without"))
            #expect(token.certificates.count == (name == "with" ? 2 : 0))
            #expect(
                CertificateTests.code { try token.verify(over: Array("another".utf8), authority: authority) }
                    == .timestampMismatch)
            #expect(throws: SigstoreError.self) {
                try token.verify(over: Array("a signature".utf8), authority: [authority[0]])
            }
        }
        // Without the signer's certificate in the trusted chain, only the token that carries it can be verified.
        let root = [authority[1]]
        try TimestampToken(response: try folder.read("with.tsr")).verify(
            over: Array("a signature".utf8), authority: root)
        #expect(throws: SigstoreError.self) {
            try TimestampToken(response: try folder.read("without.tsr")).verify(
                over: Array("a signature".utf8), authority: root)
        }
    }
}
