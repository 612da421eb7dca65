import DebianRegistry
import FaultServer
import Foundation
import HTTPTransport
import OCIRegistry
import SigstoreCrypto
import Spawning
import StrictJSON
import Synchronization
import Testing

private let password = Credential.password(user: "me", password: SecretBytes("sentinel".utf8))

/// A registry that wants tokens, and the service that gives them, on one server and on another.
private struct TokenRegistry {
    final class State: Sendable {
        let valid = Mutex<Set<String>>([])
        let given = Mutex(0)
        let realm = Mutex("")
    }
    let state = State()
    let tokens: FaultServer
    let registry: FaultServer

    /// - Parameters:
    ///   - needsPassword: Whether an anonymous request for a token is refused.
    ///   - realm: What the registry names as its realm.
    ///   - sameOrigin: Whether tokens are given by the registry itself, where no realm is named.
    init(needsPassword: Bool = true, realm: String? = nil, sameOrigin: Bool = true) {
        let state = state
        @Sendable func giveToken(_ request: FaultServer.Request, _ connection: FaultServer.Connection) {
            let isRefresh =
                request.method == "POST"
                && String(decoding: request.body, as: UTF8.self).contains("refresh_token=sentinel")
            guard !needsPassword || isRefresh || request.header("authorization") == "Basic bWU6c2VudGluZWw=" else {
                return connection.respond(401, [], #"{"errors":[{"code":"UNAUTHORIZED","message":"who are you"}]}"#)
            }
            let number = state.given.withLock { given in
                given += 1
                return given
            }
            state.valid.withLock { _ = $0.insert("token\(number)") }
            connection.respond(200, [], #"{"token":"token\#(number)","expires_in":300,"new":1}"#)
        }
        tokens = FaultServer { giveToken($0, $1) }
        registry = FaultServer { request, connection in
            if request.path == "/token" { return giveToken(request, connection) }
            let token = request.header("authorization").map { String($0.dropFirst("Bearer ".count)) } ?? ""
            guard state.valid.withLock({ $0.contains(token) }) else {
                let realm = state.realm.withLock { $0 }
                let scope = "repository:team/app:pull"
                return connection.respond(
                    401, [#"WWW-Authenticate: Bearer realm="\#(realm)",service="test",scope="\#(scope)""#])
            }
            connection.respond(200, ["Content-Type: application/json"], #"{"tags":["a"]}"#)
        }
        let chosen = realm ?? (sameOrigin ? "\(registry.url)/token" : "\(tokens.url)/token")
        state.realm.withLock { $0 = chosen }
    }

    var allRequests: [FaultServer.Request] { registry.requests + tokens.requests }
}

@Suite(.timeLimit(.minutes(10))) struct TokenTests {
    @Test func getsATokenAndKeepsIt() async throws {
        let server = TokenRegistry()
        let client = try Sample.client(server.registry.authority) { $0.credential = password }
        try await withThrowingTaskGroup(of: [String]?.self) { group in
            for _ in 0..<10 { group.addTask { try await client.tags() } }
            for try await tags in group { #expect(tags == ["a"]) }
        }
        #expect(server.state.given.withLock { $0 } == 1)
        let asked = server.registry.requests.first { $0.path == "/token" }
        #expect(asked?.target == "/token?service=test&scope=repository%3Ateam%2Fapp%3Apull")
        // The password goes to where tokens are given, and nowhere else.
        for request in server.registry.requests where request.path != "/token" {
            #expect(request.header("authorization")?.hasPrefix("Basic") != true)
        }
    }

    @Test func getsANewTokenForAStaleOneOnce() async throws {
        let server = TokenRegistry()
        let client = try Sample.client(server.registry.authority) { $0.credential = password }
        #expect(try await client.tags() == ["a"])
        server.state.valid.withLock { $0 = [] }
        #expect(try await client.tags() == ["a"])
        #expect(server.state.given.withLock { $0 } == 2)
    }

    @Test func getsANewTokenWhereTheRegistryForgotThemAll() async throws {
        let server = TokenRegistry()
        let client = try Sample.client(server.registry.authority) { $0.credential = password }
        // One token to read with, and a wider one to write with.
        #expect(try await client.tags() == ["a"])
        try await client.putManifest(try ImageManifest(config: Sample.emptyConfig, layers: []).encoded(), tag: "a")
        #expect(server.state.given.withLock { $0 } == 2)
        server.state.valid.withLock { $0 = [] }
        #expect(try await client.tags() == ["a"])
        #expect(server.state.given.withLock { $0 } == 3)
    }

    @Test func refusesAfterASecondRejection() async throws {
        let server = FaultServer { request, connection in
            request.path == "/token"
                ? connection.respond(200, [], #"{"access_token":"never"}"#)
                : connection.respond(
                    401, [#"WWW-Authenticate: Bearer realm="http://\#(request.header("host") ?? "")/token""#])
        }
        let client = try Sample.client(server.authority) { $0.credential = password }
        let error = await Sample.failure { _ = try await client.tags() }
        #expect(error?.code == .unauthorized)
        #expect(server.requests.count < 10)
    }

    @Test func exchangesAnIdentityToken() async throws {
        let server = TokenRegistry()
        let client = try Sample.client(server.registry.authority) { $0.credential = .identityToken("sentinel") }
        #expect(try await client.tags() == ["a"])
        let asked = try #require(server.registry.requests.first { $0.path == "/token" })
        #expect(asked.method == "POST")
        #expect(String(decoding: asked.body, as: UTF8.self).contains("grant_type=refresh_token"))
    }

    @Test func sendsARegistryTokenAsItIs() async throws {
        let server = TokenRegistry()
        server.state.valid.withLock { $0 = ["given"] }
        let client = try Sample.client(server.registry.authority) { $0.credential = .registryToken("given") }
        #expect(try await client.tags() == ["a"])
        #expect(!server.registry.requests.contains { $0.path == "/token" })
    }

    @Test func doesNotTakeCredentialsToARealmElsewhere() async throws {
        for credential in [password, .identityToken("sentinel")] {
            let server = TokenRegistry(sameOrigin: false)
            let client = try Sample.client(server.registry.authority) { $0.credential = credential }
            let error = try #require(await Sample.failure { _ = try await client.tags() })
            #expect(error.code == .unauthorized)
            #expect(error.advice == .remedy(.allowTokenServer, of: server.tokens.authority))
            for request in server.allRequests {
                #expect(request.header("authorization") == nil)
                #expect(!String(decoding: request.body, as: UTF8.self).contains("sentinel"))
                #expect(!request.target.contains("sentinel"))
            }
            // With the user's say it gets them.
            let allowed = try Sample.client(server.registry.authority) {
                $0.credential = credential
                $0.authRealms = [server.tokens.authority]
            }
            #expect(try await allowed.tags() == ["a"])
        }
    }

    /// Public images can be read through a realm elsewhere, without showing anything.
    @Test func asksARealmElsewhereWithoutCredentials() async throws {
        let server = TokenRegistry(needsPassword: false, sameOrigin: false)
        let client = try Sample.client(server.registry.authority) { $0.credential = password }
        #expect(try await client.tags() == ["a"])
        #expect(server.tokens.requests.allSatisfy { $0.header("authorization") == nil })
    }

    @Test func doesNotTakeCredentialsToARealmByRedirect() async throws {
        let thief = FaultServer { _, connection in connection.respond(200, [], #"{"token":"t"}"#) }
        let server = FaultServer { request, connection in
            request.path == "/token"
                ? connection.respond(307, ["Location: \(thief.url)/token"])
                : connection.respond(
                    401, [#"WWW-Authenticate: Bearer realm="http://\#(request.header("host") ?? "")/token""#])
        }
        for credential in [password, .identityToken("sentinel")] {
            let client = try Sample.client(server.authority) { $0.credential = credential }
            #expect(await Sample.failure { _ = try await client.tags() } != nil)
        }
        for request in thief.requests {
            #expect(request.header("authorization") == nil)
            #expect(!String(decoding: request.body, as: UTF8.self).contains("sentinel"))
        }
    }

    @Test(arguments: ["file:///etc/passwd", "ftp://127.0.0.1/", "http://user@127.0.0.1/t", ""])
    func refusesARealmThatIsNoHTTP(_ realm: String) async throws {
        let server = TokenRegistry(realm: realm)
        let client = try Sample.client(server.registry.authority) { $0.credential = password }
        #expect(await Sample.failure { _ = try await client.tags() } != nil)
    }

    @Test func saysThatThereAreNoCredentials() async throws {
        let server = TokenRegistry()
        let client = try Sample.client(server.registry.authority)
        let error = await Sample.failure { _ = try await client.tags() }
        #expect(error?.code == .unauthorized)
        #expect(error?.advice == .remedy(.logIn, of: server.registry.authority))
    }

    @Test func knowsBasicAmongOthers() async throws {
        let server = FaultServer { request, connection in
            guard request.header("authorization") == "Basic bWU6c2VudGluZWw=" else {
                return connection.respond(
                    401, [#"WWW-Authenticate: Negotiate, Digest realm="a, b", nonce="\"", Basic realm="r""#])
            }
            connection.respond(200, ["Content-Type: application/json"], #"{"tags":["a"]}"#)
        }
        let client = try Sample.client(server.authority) { $0.credential = password }
        #expect(try await client.tags() == ["a"])
        let wrong = try Sample.client(server.authority) {
            $0.credential = .password(user: "me", password: SecretBytes("wrong".utf8))
        }
        let before = server.requests.count
        #expect(await Sample.failure { _ = try await wrong.tags() }?.code == .unauthorized)
        // Wrong passwords are not repeated: some services lock the account.
        #expect(server.requests.dropFirst(before).filter { $0.header("authorization") != nil }.count == 1)
    }

    @Test func checksACredentialForLogin() async throws {
        let registry = try await DockerRegistry(
            """
            auth:
              htpasswd: {realm: test, path: "\(Self.passwordFile())"}
            """)
        let name = try registry.repository("a/b").registry
        let registries = Sample.registries()
        try await registries.check(.password(user: "me", password: SecretBytes("right".utf8)), for: name)
        let error = await Sample.failure {
            try await registries.check(.password(user: "me", password: SecretBytes("wrong".utf8)), for: name)
        }
        #expect(error?.code == .unauthorized)
    }

    /// `me:right` as `htpasswd -B` writes it.
    private static func passwordFile() throws -> String {
        let url = FileManager.default.temporaryDirectory.appending(path: "htpasswd-\(UUID().uuidString)")
        let process = Process()
        process.executableURL = URL(filePath: "/usr/bin/env")
        process.arguments = ["perl", "-e", #"print "me:" . crypt("right", '$2y$05$abcdefghijklmnopqrstuu') . "\n""#]
        let pipe = Pipe()
        process.standardOutput = pipe
        try Spawning.exclusively { try process.run() }
        process.waitUntilExit()
        try pipe.fileHandleForReading.readDataToEndOfFile().write(to: url)
        return url.path
    }
}

/// Registries of the world, without a network: what is asked, and what came with it.
private final class ScriptedWorld: HTTPClient {
    let realm: String
    let asked = Mutex<[(url: HTTPURL, authorization: String?)]>([])
    let shown = Mutex<[Authorization]>([])
    init(realm: String) { self.realm = realm }

    func send(_ request: HTTPRequest, into sink: (any BodySink)?) async throws(SigstoreError) -> HTTPResponse {
        let authorization = unsafe request.authorization?.withValue { unsafe String(decoding: $0, as: UTF8.self) }
        asked.withLock { $0.append((request.url, authorization)) }
        if let shown = request.authorization { self.shown.withLock { $0.append(shown) } }
        // Those who come at the same time have come by now.
        for _ in 0..<100 { await Task.yield() }
        func answer(_ status: Int, _ body: String, _ headers: [(name: String, value: String)] = []) -> HTTPResponse {
            HTTPResponse(status: status, headers: headers, body: Array(body.utf8), url: request.url)
        }
        if "\(request.url.origin)\(request.url.path)" == realm { return answer(200, #"{"token":"t"}"#) }
        if authorization == "Bearer t" { return answer(200, #"{"tags":["a"]}"#) }
        return answer(401, "", [("www-authenticate", #"Bearer realm="\#(realm)",service="s""#)])
    }
}

@Suite struct RealmTests {
    @Test(arguments: [
        ("docker.io/a/b", "https://auth.docker.io/token", true),
        ("ghcr.io/a/b", "https://ghcr.io/token", true),
        ("registry.gitlab.com/a/b", "https://gitlab.com/jwt/auth", true),
        ("ghcr.io/a/b", "https://auth.docker.io/token", false),
        ("docker.io/a/b", "https://docker.io/token", false),
        ("ghcr.io/a/b", "https://ghcr.io:8443/token", false),
        ("ghcr.io/a/b", "https://evil-ghcr.io/token", false),
        ("ghcr.io/a/b", "https://ghcr.io.evil.io/token", false),
        ("one.example.com/a/b", "https://two.example.com/token", false),
        ("one.example.com/a/b", "https://x.one.example.com/token", false),
        ("one.example.com:5000/a/b", "https://example.com/token", true),
        ("a.com/a/b", "https://com/token", false),
        ("10.0.0.1/a/b", "https://0.0.1/token", false),
    ])
    func showsThePasswordOnlyToTheRegistrysOwn(_ image: String, _ realm: String, _ expected: Bool) async throws {
        let world = ScriptedWorld(realm: realm)
        var options = RegistryOptions()
        options.credential = password
        let client = Registries(world, options).client(for: try Repository(parsing: image))
        #expect(try await client.tags() == ["a"])
        let asked = world.asked.withLock { $0 }
        let atRealm = try #require(asked.first { "\($0.url.origin)\($0.url.path)" == realm })
        #expect((atRealm.authorization == "Basic bWU6c2VudGluZWw=") == expected)
        #expect(asked.filter { $0.authorization?.hasPrefix("Basic") == true }.count == (expected ? 1 : 0))
    }

    @Test("Of those who ask at once one asks what the registry wants to see, and the others show it at once")
    func asksOnceWhatIsWanted() async throws {
        let world = ScriptedWorld(realm: "https://ghcr.io/token")
        var options = RegistryOptions()
        options.credential = password
        let client = Registries(world, options).client(for: try Repository(parsing: "ghcr.io/a/b"))
        await withTaskGroup(of: [String]?.self) { group in
            for _ in 0..<20 { group.addTask { try? await client.tags() } }
            for await tags in group { #expect(tags == ["a"]) }
        }
        let asked = world.asked.withLock { $0 }
        #expect(asked.filter { $0.authorization == nil }.count == 1, "\(asked)")
        #expect(asked.count == 22)
    }

    @Test func neverLeavesHTTPSForAToken() async throws {
        let world = ScriptedWorld(realm: "http://ghcr.io/token")
        var options = RegistryOptions()
        options.credential = password
        options.authRealms = ["ghcr.io"]
        let client = Registries(world, options).client(for: try Repository(parsing: "ghcr.io/a/b"))
        #expect(await Sample.failure { _ = try await client.tags() }?.code == .redirectRefused)
        #expect(world.asked.withLock { $0.allSatisfy { $0.url.origin.scheme == .https } })
    }

    @Test func speaksHTTPOnlyOnThisMachineUnlessAllowed() async throws {
        let world = ScriptedWorld(realm: "")
        let remote = ["ghcr.io", "192.168.1.1:5000", "a.local", "localhost.example.com", "127.0.0.1.example.com"]
        for host in remote {
            let client = Registries(world).client(for: try Repository(parsing: "\(host)/a/b"))
            _ = await Sample.failure { _ = try await client.tags() }
        }
        #expect(world.asked.withLock { $0.allSatisfy { $0.url.origin.scheme == .https } })
        for host in ["localhost", "127.0.0.1:5000", "[::1]:5000", "localhost:5000"] {
            let client = Registries(world).client(for: try Repository(parsing: "\(host)/a/b"))
            _ = await Sample.failure { _ = try await client.tags() }
            #expect(world.asked.withLock { $0.last?.url.origin.scheme } == .http)
        }
    }
}

@Suite struct CredentialStoreTests {
    let folder = FileManager.default.temporaryDirectory.appending(path: "credentials-\(UUID().uuidString)")

    private func store(_ files: [String: String], helperTimeout: Duration = .seconds(300)) throws -> CredentialStore {
        for (name, text) in files {
            let file = folder.appending(path: name)
            try FileManager.default.createDirectory(
                at: file.deletingLastPathComponent(), withIntermediateDirectories: true)
            try Data(text.utf8).write(to: file)
        }
        let environment = [
            "DOCKER_CONFIG": folder.appending(path: "docker").path,
            "REGISTRY_AUTH_FILE": folder.appending(path: "auth.json").path,
            "XDG_RUNTIME_DIR": folder.appending(path: "run").path,
        ]
        return CredentialStore(environment: { environment[$0] }, helperTimeout: helperTimeout)
    }

    private func credential(_ store: CredentialStore, _ repository: String) async throws -> Credential {
        try await store.credential(for: try Repository(parsing: repository))
    }

    /// user:password
    private let auth = #"{"auth":"dXNlcjpwYXNzd29yZA=="}"#

    @Test func keepsTheOrder() async throws {
        let store = try store([
            "docker/config.json": #"{"auths":{"a.io":\#(auth),"https://b.io/v1/":{"identitytoken":"t"}},"new":1}"#,
            "auth.json": #"{"auths":{"a.io":{"registrytoken":"later"},"c.io":{"registrytoken":"r"}}}"#,
            "run/containers/auth.json":
                #"{"auths":{"c.io":{"registrytoken":"no"},"d.io/team":\#(auth),"d.io/team/x":{"registrytoken":"x"}}}"#,
        ])
        #expect(
            try await credential(store, "a.io/x/y") == .password(user: "user", password: SecretBytes("password".utf8)))
        #expect(try await credential(store, "b.io/x/y") == .identityToken("t"))
        #expect(try await credential(store, "c.io/x/y") == .registryToken("r"))
        #expect(
            try await credential(store, "d.io/team/y")
                == .password(user: "user", password: SecretBytes("password".utf8)))
        #expect(try await credential(store, "d.io/team/x") == .registryToken("x"))
        #expect(try await credential(store, "d.io/teams/y") == .anonymous)
        #expect(try await credential(store, "evil-a.io/x/y") == .anonymous)
        #expect(try await credential(store, "a.io.evil.io/x/y") == .anonymous)
        #expect(try await credential(store, "a.io:5000/x/y") == .anonymous)
    }

    @Test func keepsAPasswordOnceForAllRepositories() async throws {
        let world = ScriptedWorld(realm: "https://ghcr.io/token")
        var options = RegistryOptions()
        options.credentials = try store(["docker/config.json": #"{"auths":{"ghcr.io":\#(auth)}}"#])
        let registries = Registries(world, options)
        for name in ["ghcr.io/a/b", "ghcr.io/c/d"] {
            #expect(try await registries.client(for: try Repository(parsing: name)).tags() == ["a"])
        }
        let basic = Authorization(user: "user".utf8, password: "password".utf8)
        let shown = world.shown.withLock { $0.filter { $0 == basic } }
        #expect(shown.count == 2 && shown.first === shown.last)
    }

    @Test func passesOverZeroBytesAfterAPassword() async throws {
        for (written, password) in [("dXNlcjpwYXNzAAA=", "pass"), ("dXNlcjpwAHAA", "p\0p"), ("dXNlcjoAAA==", "")] {
            let store = try store(["docker/config.json": #"{"auths":{"a.io":{"auth":"\#(written)"}}}"#])
            #expect(
                try await credential(store, "a.io/x/y")
                    == .password(user: "user", password: SecretBytes(password.utf8)))
        }
    }

    @Test func knowsDockerHubsKey() async throws {
        let store = try store(["docker/config.json": #"{"auths":{"https://index.docker.io/v1/":\#(auth)}}"#])
        #expect(
            try await credential(store, "alpine") == .password(user: "user", password: SecretBytes("password".utf8)))
        #expect(
            try await credential(store, "docker.io/a/b")
                == .password(user: "user", password: SecretBytes("password".utf8)))
        #expect(try await credential(store, "ghcr.io/a/b") == .anonymous)
    }

    @Test(arguments: [
        "{", "[]", #"{"auths":[]}"#, #"{"auths":{"a.io":{"auth":"!"}}}"#, #"{"auths":{"a.io":{"auth":"dXNlcg=="}}}"#,
        #"{"credsStore":"../../bin/sh"}"#, #"{"credHelpers":{"a.io":"x/y"}}"#, #"{"credsStore":"does-not-exist"}"#,
    ])
    func failsWhereCredentialsCannotBeRead(_ text: String) async throws {
        let store = try store(["docker/config.json": text])
        let error = await Sample.failure { _ = try await credential(store, "a.io/x/y") }
        #expect(error?.code == .credentialsUnreadable)
    }

    @Test func writesAsDockerDoes() async throws {
        let text = #"{"auths":{"b.io":{"auth":"eA=="}},"psFormat":"x","z":[1,{"y":2}]}"#
        let store = try store(["docker/config.json": text])
        let registry = try Registry(parsing: "a.io")
        try await store.save(user: "üser", password: SecretBytes("pass:word".utf8), for: registry)
        #expect(
            try await credential(store, "a.io/x/y") == .password(user: "üser", password: SecretBytes("pass:word".utf8)))
        let file = folder.appending(path: "docker/config.json")
        let mode = try FileManager.default.attributesOfItem(atPath: file.path)[.posixPermissions] as? Int
        #expect(mode == 0o600)
        let written = try String(contentsOf: file, encoding: .utf8)
        #expect(written.contains(#""psFormat": "x""#) && written.contains(#""z": [1,{"y":2}]"#))
        #expect(written.contains("\n\t\"auths\": {\n\t\t\"b.io\""))
        #expect(try await store.remove(for: registry))
        #expect(try await credential(store, "a.io/x/y") == .anonymous)
        #expect(try await !store.remove(for: registry))
        #expect(try String(contentsOf: file, encoding: .utf8).contains("psFormat"))
        #expect(try FileManager.default.contentsOfDirectory(atPath: folder.path + "/docker") == ["config.json"])
    }

    @Test func writesThroughALink() async throws {
        let store = try store(["real.json": "{}"])
        try FileManager.default.createDirectory(
            at: folder.appending(path: "docker"), withIntermediateDirectories: true)
        try FileManager.default.createSymbolicLink(
            atPath: folder.appending(path: "docker/config.json").path, withDestinationPath: "../real.json")
        try await store.save(user: "u", password: SecretBytes("p".utf8), for: try Registry(parsing: "a.io"))
        #expect(try String(contentsOf: folder.appending(path: "real.json"), encoding: .utf8).contains("a.io"))
        #expect(try await credential(store, "a.io/x/y") == .password(user: "u", password: SecretBytes("p".utf8)))
    }

    @Test func asksHelpers() async throws {
        let name = "swsign-test-\(UUID().uuidString)"
        let program = "/usr/local/bin/docker-credential-\(name)"
        let memory = folder.appending(path: "memory").path
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        let script = """
            #!/bin/sh
            case $1 in
            store) cat > \(memory);;
            erase) rm -f \(memory);;
            get) read url
              case $url in
              hang.io) sleep 600;;
              broken.io) echo "the keyring is locked"; exit 1;;
              token.io) echo '{"ServerURL":"token.io","Username":"<token>","Secret":"t"}';;
              large.io) head -c 1000000 /dev/zero;;
              *) if [ -f \(memory) ]; then cat \(memory); else
                 echo "credentials not found in native keychain"; exit 1; fi;;
              esac;;
            esac
            """
        try Spawning.writeProgram(program, script)
        defer { try? FileManager.default.removeItem(atPath: program) }
        let files = ["docker/config.json": #"{"credsStore":"\#(name)","auths":{"file.io":\#(auth)}}"#]
        let store = try store(files)
        let impatient = try self.store(files, helperTimeout: .seconds(1))
        #expect(try await credential(store, "token.io/a/b") == .identityToken("t"))
        #expect(try await credential(store, "none.io/a/b") == .anonymous)
        #expect(
            try await credential(store, "file.io/a/b")
                == .password(user: "user", password: SecretBytes("password".utf8)))
        let broken = await Sample.failure { _ = try await credential(store, "broken.io/a/b") }
        #expect(broken?.message.contains("the keyring is locked") == true)
        let time = await ContinuousClock().measure {
            #expect(
                await Sample.failure { _ = try await credential(impatient, "hang.io/a/b") }?.code
                    == .credentialsUnreadable)
        }
        #expect(time < .seconds(60))
        #expect(await Sample.failure { _ = try await credential(store, "large.io/a/b") } != nil)
        let registry = try Registry(parsing: "kept.io")
        #expect(
            try await store.save(user: "u", password: SecretBytes("p".utf8), for: registry)
                == "docker-credential-\(name)")
        #expect(try await credential(store, "kept.io/a/b") == .password(user: "u", password: SecretBytes("p".utf8)))
        let text = try String(contentsOf: folder.appending(path: "docker/config.json"), encoding: .utf8)
        #expect(text.contains(#""kept.io": {}"#))
        #expect(try await store.remove(for: registry))
        #expect(try await credential(store, "kept.io/a/b") == .anonymous)
    }
}
