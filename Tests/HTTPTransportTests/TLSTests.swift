import FaultServer
import Foundation
import HTTPTransport
import Spawning
import StrictJSON
import Testing

/// OpenSSL's own server on loopback, with a certificate of its own for `registry.test`. What it answers is the
/// content of files, header and all.
private final class TLSServer: Sendable {
    let folder: URL
    let port: UInt16
    private let process = Process()

    init(answers: [String: String], options: [String] = []) async throws {
        folder = FileManager.default.temporaryDirectory.appending(path: "tls-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        for (name, text) in answers { try Data(text.utf8).write(to: folder.appending(path: name)) }
        for name in ["server", "client"] {
            let maker = Process()
            maker.executableURL = URL(filePath: "/usr/bin/openssl")
            maker.currentDirectoryURL = folder
            maker.standardError = FileHandle.nullDevice
            maker.arguments = [
                "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "1", "-subj",
                "/CN=\(name)", "-addext", "subjectAltName=DNS:registry.test", "-keyout", "\(name).key", "-out",
                "\(name).pem",
            ]
            try Spawning.exclusively { try maker.run() }
            maker.waitUntilExit()
            try #require(maker.terminationStatus == 0)
        }
        let output = folder.appending(path: "output")
        try Data().write(to: output)
        process.executableURL = URL(filePath: "/usr/bin/openssl")
        process.currentDirectoryURL = folder
        process.arguments =
            [
                "s_server", "-HTTP", "-accept", "127.0.0.1:0", "-cert", "server.pem", "-key", "server.key",
            ] + options
        process.standardInput = FileHandle.nullDevice
        process.standardOutput = try FileHandle(forWritingTo: output)
        process.standardError = FileHandle.nullDevice
        let server = process
        try Spawning.exclusively { try server.run() }
        // It says on which port it listens, once it does.
        let accept = "ACCEPT 127.0.0.1:"
        func listening() -> [Substring] {
            let lines = ((try? String(contentsOf: output, encoding: .utf8)) ?? "").split(
                separator: "\n", omittingEmptySubsequences: false)
            return lines.dropLast().filter { $0.hasPrefix(accept) }
        }
        _ = await Spawning.wait { !listening().isEmpty || !server.isRunning }
        port = try #require(listening().first.flatMap { UInt16($0.dropFirst(accept.count)) }, "openssl does not listen")
    }

    var url: String { "https://127.0.0.1:\(port)" }
    func path(_ name: String) -> String { folder.appending(path: name).path }

    deinit {
        process.terminate()
        try? FileManager.default.removeItem(at: folder)
    }
}

@Suite(.timeLimit(.minutes(10))) struct TLSTests {
    static let hello = "HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\nhello"

    private func fetch(
        _ url: String, _ change: (inout TLSOptions) -> Void
    ) async throws(SigstoreError) -> HTTPResponse {
        var configuration = CurlClient.Configuration()
        configuration.retryPolicy.baseDelay = .milliseconds(5)
        change(&configuration.tls)
        return try await CurlClient(configuration).send(HTTPRequest("GET", try HTTPURL(parsing: url)))
    }

    private func code(_ url: String, _ change: (inout TLSOptions) -> Void) async -> SigstoreError.Code? {
        do throws(SigstoreError) {
            _ = try await fetch(url, change)
            return nil
        } catch {
            return error.code
        }
    }

    @Test func verifiesTheServer() async throws {
        let server = try await TLSServer(answers: ["hello": Self.hello])
        #expect(await code("\(server.url)/hello") { _ in } == .tlsFailed)
        // The authority is right, but the certificate is for another name.
        #expect(await code("\(server.url)/hello") { $0.authorityFile = server.path("server.pem") } == .tlsFailed)
        let named = try await fetch("\(server.url)/hello") {
            $0.authorityFile = server.path("server.pem")
            $0.serverName = "registry.test"
        }
        #expect(named.body == Array("hello".utf8))
        #expect(named.url.origin.authority == "127.0.0.1:\(server.port)")
        #expect(
            await code("\(server.url)/hello") {
                $0.authorityFile = server.path("server.pem")
                $0.serverName = "other.test"
            } == .tlsFailed)
        let insecure = try await fetch("\(server.url)/hello") { $0.insecureSkipsVerification = true }
        #expect(insecure.body == Array("hello".utf8))
    }

    @Test func showsTheClientsCertificate() async throws {
        let server = try await TLSServer(
            answers: ["hello": Self.hello], options: ["-Verify", "1", "-verify_return_error", "-CAfile", "client.pem"])
        let with = try await fetch("\(server.url)/hello") {
            $0.insecureSkipsVerification = true
            $0.clientCertificateFile = server.path("client.pem")
            $0.clientKeyFile = server.path("client.key")
        }
        #expect(with.status == 200)
        #expect(await code("\(server.url)/hello") { $0.insecureSkipsVerification = true } != nil)
    }

    @Test("Certificates in memory count, also if libcurl takes files only", arguments: [false, true])
    func takesCertificatesFromMemory(asFiles: Bool) async throws {
        let server = try await TLSServer(
            answers: ["hello": Self.hello], options: ["-Verify", "1", "-verify_return_error", "-CAfile", "client.pem"])
        func material(_ name: String) throws -> TLSMaterial {
            TLSMaterial(try Data(contentsOf: URL(filePath: server.path(name))))
        }
        let (authority, other) = (try material("server.pem"), try material("client.pem"))
        let (certificate, key) = (try material("client.pem"), try material("client.key"))
        func code(_ authority: TLSMaterial, _ key: TLSMaterial?) async -> SigstoreError.Code? {
            await self.code("\(server.url)/hello") {
                $0.passesMemoryAsFiles = asFiles
                $0.authority = authority
                $0.serverName = "registry.test"
                $0.clientCertificate = key == nil ? nil : certificate
                $0.clientKey = key
            }
        }
        #expect(await code(authority, key) == nil)
        // Only what is given is trusted, and the key must be there and belong to the certificate.
        #expect(await code(other, key) == .tlsFailed)
        #expect(await code(authority, nil) != nil)
        #expect(await code(authority, try material("server.key")) == .tlsFailed)
        #expect(await code(TLSMaterial(Array("nonsense".utf8)), key) == .tlsFailed)
    }

    @Test func neverLeavesHTTPS() async throws {
        let plain = FaultServer { _, connection in connection.respond(200) }
        let server = try await TLSServer(
            answers: ["down": "HTTP/1.0 302 Found\r\nLocation: \(plain.url)/\r\nContent-Length: 0\r\n\r\n"])
        #expect(await code("\(server.url)/down") { $0.insecureSkipsVerification = true } == .redirectRefused)
        #expect(plain.requests.isEmpty)
    }
}
