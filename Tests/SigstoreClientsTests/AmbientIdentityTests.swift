import FaultServer
import Foundation
import Glibc
import HTTPTransport
import LocalSigstore
import SigstoreCrypto
import Spawning
import StrictJSON
import TestServices
import Testing

@testable import SigstoreClients

private let claims = "{\"iss\":\"https://issuer.test\",\"sub\":\"x\",\"aud\":\"sigstore\",\"exp\":9999999999}"

@Suite("Identity tokens of CI systems", .localSigstore)
struct AmbientIdentityTests {
    /// A place without anything of this machine's.
    private func place(_ environment: [String: String]) -> AmbientIdentity {
        var place = AmbientIdentity(environment: environment, http: CountingClient(attempts: 1))
        place.tokenFile = "/nonexistent/token"
        place.productNameFile = "/nonexistent/product"
        place.workloadSocket = "/nonexistent/socket"
        return place
    }

    private func token(_ place: AmbientIdentity, named name: String? = nil) async throws -> IdentityToken {
        try await #require(try place.provider(named: name)).token(audience: "sigstore")
    }

    @Test("GitHub Actions")
    func github() async throws {
        let services = try LocalServices.current
        let environment = [
            "GITHUB_ACTIONS": "true", "ACTIONS_ID_TOKEN_REQUEST_URL": services.gitHubTokenURL,
            "ACTIONS_ID_TOKEN_REQUEST_TOKEN": services.requestToken,
        ]
        let token = try await token(place(environment))
        #expect(token.identity.hasPrefix("https://github.com/") && token.audiences == ["sigstore"])
        #expect(try place(environment).provider()?.name == "GitHub Actions")
        #expect(try await self.token(place(environment), named: "github").identity == token.identity)
        // A wrong secret.
        var wrong = environment
        wrong["ACTIONS_ID_TOKEN_REQUEST_TOKEN"] = "wrong"
        let error = await failure { _ = try await self.token(place(wrong)) }
        #expect(error?.message.hasPrefix("GitHub Actions: ") == true)
        // A job without the permission.
        let denied = await failure { _ = try place(["GITHUB_ACTIONS": "true", "CI": "true"]).provider() }
        #expect(denied?.code == .noIdentityToken && denied?.advice?.description.contains("id-token: write") == true)
    }

    @Test("GitLab CI, a variable, a file")
    func simple() async throws {
        #expect(
            try await token(place(["SIGSTORE_ID_TOKEN": SigstoreClientsTests.token(claims)])).issuer
                == "https://issuer.test")
        let denied = await failure { _ = try place(["GITLAB_CI": "true"]).provider() }
        #expect(denied?.advice?.description.contains("id_tokens") == true)
        #expect(await failure { _ = try await token(place(["SIGSTORE_ID_TOKEN": "junk"])) }?.code == .malformedToken)

        let path = FileManager.default.temporaryDirectory.appendingPathComponent("token-\(UUID().uuidString)").path
        defer { try? FileManager.default.removeItem(atPath: path) }
        try Data(SigstoreClientsTests.token(claims).utf8).write(to: URL(filePath: path))
        var filed = place([:])
        filed.tokenFile = path
        #expect(try await token(filed).subject == "x")
        #expect(try await token(filed, named: "filesystem").subject == "x")
    }

    @Test("Nothing there")
    func nothing() throws {
        #expect(try place([:]).provider() == nil)
        #expect(try place(["SIGSTORE_ID_TOKEN": ""]).provider() == nil)
        for name in ["envvar", "github-actions", "google", "buildkite-agent", "spiffe", "filesystem"] {
            let error = #expect(throws: SigstoreError.self) { try place([:]).provider(named: name) }
            #expect(error?.code == .noIdentityToken && error?.advice != nil, "\(name)")
        }
        #expect(throws: SigstoreError.self) { try place([:]).provider(named: "nonesuch") }
        #expect(place([:]).noToken().message.contains("terminal"))
        #expect(place(["CI": "1"]).noToken().message.contains("CI job"))
    }

    @Test("Google's metadata server, and another account's token")
    func google() async throws {
        let encoded = SigstoreClientsTests.token(claims)
        let server = FaultServer { request, connection in
            switch request.path {
            case _ where request.path.hasPrefix("/v1/projects/"):
                let good =
                    request.header("authorization") == "Bearer access"
                    && request.path == "/v1/projects/-/serviceAccounts/sa%40p.test:generateIdToken"
                    && String(decoding: request.body, as: UTF8.self)
                        == "{\"audience\":\"sigstore\",\"includeEmail\":true}"
                connection.respond(good ? 200 : 403, [], "{\"token\":\"\(encoded)\"}")
            case _ where request.header("metadata-flavor") != "Google": connection.respond(403, [], "no flavour")
            case _ where request.target.hasSuffix("/identity?audience=sigstore&format=full"):
                connection.respond(200, [], encoded)
            case _ where request.path.hasSuffix("/token"):
                connection.respond(200, [], "{\"access_token\":\"access\",\"expires_in\":9}")
            default: connection.respond(404, [], "")
            }
        }
        defer { server.stop() }
        #expect(try await token(place(["GCE_METADATA_HOST": server.authority])).subject == "x")
        var other = place(["GCE_METADATA_HOST": server.authority, "GOOGLE_SERVICE_ACCOUNT_NAME": "sa@p.test"])
        other.impersonationURL = server.url
        #expect(try other.provider()?.name == "Google's service account impersonation")
        #expect(try await token(other).subject == "x")
        // The machine is known by its maker.
        let path = FileManager.default.temporaryDirectory.appendingPathComponent("product-\(UUID().uuidString)").path
        defer { try? FileManager.default.removeItem(atPath: path) }
        try Data("Google Compute Engine\n".utf8).write(to: URL(filePath: path))
        var machine = place([:])
        machine.productNameFile = path
        #expect(try machine.provider()?.name == "Google's metadata server")
    }

    @Test("The Buildkite agent")
    func buildkite() async throws {
        let directory = FileManager.default.temporaryDirectory.appendingPathComponent("bin-\(UUID().uuidString)").path
        try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(atPath: directory) }
        let environment = [
            "BUILDKITE_AGENT_ACCESS_TOKEN": "secret", "COSIGN_PASSWORD": "ours",
            "PATH": "\(directory):/usr/bin:/bin",
        ]
        #expect(await failure { _ = try await token(place(environment)) }?.message.contains("not on the PATH") == true)
        func install(_ script: String) throws {
            try Spawning.writeProgram("\(directory)/buildkite-agent", "#!/bin/sh\n\(script)\n")
        }
        try install(
            "[ \"$*\" = 'oidc request-token --audience sigstore' ] && [ \"$BUILDKITE_AGENT_ACCESS_TOKEN${COSIGN_PASSWORD+x}\" = secret ] && echo '\(SigstoreClientsTests.token(claims))'"
        )
        #expect(try await token(place(environment)).subject == "x")
        try install("exit 3")
        #expect(await failure { _ = try await token(place(environment)) }?.message.contains("status 3") == true)
        try install("yes")
        #expect(await failure { _ = try await token(place(environment)) }?.message.contains("printed more") == true)
        try install("sleep 600")
        let begin = ContinuousClock.now
        #expect(throws: SigstoreError.self) {
            try AmbientProvider.output(
                of: ["\(directory)/buildkite-agent"], environment, timeout: .milliseconds(300))
        }
        #expect(ContinuousClock.now - begin < .seconds(100))
    }

    @Test("SPIFFE's workload API")
    func spiffe() async throws {
        let encoded = SigstoreClientsTests.token(claims)
        func frame(_ type: UInt8, _ flags: UInt8, _ stream: UInt8, _ payload: [UInt8]) -> [UInt8] {
            WorkloadAPIServer.frame(type, flags, stream, payload)
        }
        let good = WorkloadAPIServer(WorkloadAPIServer.answer(token: encoded))
        defer { good.stop() }
        #expect(try WorkloadAPI(socket: "unix://\(good.path)").token(audience: "sigstore") == encoded)
        // The provider as a whole.
        #expect(try await token(place(["SPIFFE_ENDPOINT_SOCKET": "unix://\(good.path)"])).subject == "x")
        for bad in [
            [], frame(4, 0, 0, []) + frame(1, 5, 1, [0x88]), frame(3, 0, 1, [0, 0, 0, 2]),
            frame(7, 0, 0, [0, 0, 0, 0]),
            [0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 1], frame(0, 1, 1, [0, 0, 0, 0, 9, 1]), frame(0, 9, 1, [200, 1]),
            frame(0, 1, 1, [0, 0, 0, 0, 2, 0x0a, 0x7f]), frame(0, 1, 1, [0, 0, 0, 0, 1, 0xff]),
        ] {
            let server = WorkloadAPIServer(bad)
            defer { server.stop() }
            let error = await failure { _ = try WorkloadAPI(socket: server.path).token(audience: "sigstore") }
            #expect(error?.code == .workloadAPIFailed, "\(bad)")
        }
        #expect(throws: SigstoreError.self) { try WorkloadAPI(socket: "tcp://127.0.0.1:1") }
        #expect(throws: SigstoreError.self) { try WorkloadAPI(socket: "/nonexistent").token(audience: "a") }
    }
}
