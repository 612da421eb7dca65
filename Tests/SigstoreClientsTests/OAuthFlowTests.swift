import FaultServer
import Foundation
import Glibc
import HTTPTransport
import LocalSigstore
import LocalSystem
import SigstoreCrypto
import Spawning
import StrictJSON
import Synchronization
import TestServices
import Testing
@testable import SigstoreClients

/// What a browser saw when it landed on this machine.
private struct Landed: Sendable {
    let status: Int
    let page: String
}

/// Does something with an address of this machine: 127.0.0.1, or ::1.
private func withAddress<Result>(
    _ family: CInt, _ port: Int, _ body: (UnsafeMutablePointer<sockaddr>, inout socklen_t) -> Result
) -> Result {
    var (four, six) = (sockaddr_in(), sockaddr_in6())
    four.sin_family = sa_family_t(AF_INET)
    four.sin_port = UInt16(port).bigEndian
    four.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
    six.sin6_family = sa_family_t(AF_INET6)
    six.sin6_port = UInt16(port).bigEndian
    six.sin6_addr = in6addr_loopback
    func rebound<Name>(_ name: inout Name) -> Result {
        var size = socklen_t(MemoryLayout<Name>.size)
        return unsafe withUnsafeMutablePointer(to: &name) { pointer in
            unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { unsafe body($0, &size) }
        }
    }
    return family == AF_INET6 ? rebound(&six) : rebound(&four)
}

/// Another program's socket at a port of one address.
private final class OtherListener: Sendable {
    let port: Int
    private let socket: CInt

    init?(_ family: CInt) {
        let socket = Glibc.socket(family, CInt(SOCK_STREAM.rawValue), 0)
        let port = unsafe withAddress(family, 0) { name, size -> Int? in
            guard unsafe bind(socket, name, size) == 0, listen(socket, 1) == 0,
                unsafe getsockname(socket, name, &size) == 0
            else { return nil }
            // The port stands at the same place in both families.
            return unsafe name.withMemoryRebound(to: sockaddr_in.self, capacity: 1) {
                unsafe Int(UInt16(bigEndian: $0.pointee.sin_port))
            }
        }
        guard let port else {
            close(socket)
            return nil
        }
        (self.port, self.socket) = (port, socket)
    }

    deinit { close(socket) }
}

/// Sends a request over a socket of its own and reads the whole answer.
private func raw(_ port: Int, _ request: String, family: CInt = AF_INET) -> Landed? {
    let connection = socket(family, CInt(SOCK_STREAM.rawValue), 0)
    defer { close(connection) }
    guard unsafe withAddress(family, port, { unsafe connect(connection, $0, $1) }) == 0 else { return nil }
    let bytes = Array(request.utf8)
    _ = unsafe send(connection, bytes, bytes.count, CInt(MSG_NOSIGNAL))
    var answer: [UInt8] = []
    var buffer = [UInt8](repeating: 0, count: 4096)
    while true {
        let count = unsafe recv(connection, &buffer, buffer.count, 0)
        guard count > 0 else { break }
        answer += buffer.prefix(count)
    }
    let text = String(decoding: answer, as: UTF8.self)
    let parts = text.split(separator: " ", maxSplits: 2)
    guard parts.count == 3, let status = Int(parts[1]) else { return nil }
    return Landed(status: status, page: text)
}

private func get(_ url: String, family: CInt = AF_INET) -> Landed? {
    guard let parts = URLComponents(string: url), let port = parts.port else { return nil }
    let target = parts.percentEncodedPath + (parts.percentEncodedQuery.map { "?\($0)" } ?? "")
    return raw(port, "GET \(target) HTTP/1.1\r\nHost: localhost:\(port)\r\nConnection: close\r\n\r\n", family: family)
}

@Suite("Signing in", .localSigstore)
struct OAuthFlowTests {
    /// Runs a sign-in at the local issuer, with something that plays the browser.
    private func signIn(
        issuer: String? = nil, timeout: Duration = .seconds(300), redirectURL: String = OAuthFlow.defaultRedirectURL,
        secret: String? = nil, _ browser: @escaping @Sendable (URLComponents) -> Void
    ) async throws -> IdentityToken {
        let services = try LocalServices.current
        let flow = try OAuthFlow(
            issuer: issuer ?? services.issuer.url, clientSecret: secret, method: .browser(redirectURL: redirectURL),
            timeout: timeout, http: CountingClient(attempts: 1)
        ) { prompt in
            guard case .open(let url) = prompt, let parts = URLComponents(string: url) else { return }
            Thread.detachNewThread { browser(parts) }
        }
        return try await flow.token(audience: "sigstore")
    }

    /// Signs in at the issuer's page, and gives the redirect that follows.
    private func redirect(_ authorization: URLComponents, email: String = "alice@local.test") -> String {
        var url = authorization
        url.queryItems?.append(URLQueryItem(name: "email", value: email))
        let landed = get(url.string ?? "")
        let location = landed?.page.components(separatedBy: "\r\n").first { $0.lowercased().hasPrefix("location: ") }
        return location.map { String($0.dropFirst("location: ".count)) } ?? ""
    }

    private func value(_ name: String, _ url: URLComponents) -> String {
        url.queryItems?.first { $0.name == name }?.value ?? ""
    }

    @Test("Through the browser, to a page that says so")
    func browser() async throws {
        let landed = Mutex<Landed?>(nil)
        let asked = Mutex<URLComponents?>(nil)
        let token = try await signIn { url in
            asked.withLock { $0 = url }
            let page = get(redirect(url, email: "<b>&alice@local.test"))
            landed.withLock { $0 = page }
        }
        #expect(token.email == "<b>&alice@local.test")
        try token.check(audience: "sigstore", now: Int64(time(nil)))
        #expect(await Spawning.wait { landed.withLock { $0 != nil } })
        let page = try #require(landed.withLock { $0 })
        #expect(page.status == 200 && page.page.contains("You are <strong>&lt;b&gt;&amp;alice@local.test</strong>"))
        #expect(!page.page.contains("<b>") && page.page.contains("Content-Security-Policy: default-src 'none'"))
        let url = try #require(asked.withLock { $0 })
        #expect(value("code_challenge_method", url) == "S256" && value("code_challenge", url).count == 43)
        #expect(
            value("state", url).count == 43 && value("nonce", url).count == 43
                && value("state", url) != value("nonce", url))
        #expect(value("scope", url) == "openid email" && value("client_id", url) == "sigstore")
        #expect(value("redirect_uri", url).hasPrefix("http://localhost:"))
    }

    @Test("sigstore-python CVE-2026-24408: a wrong state, none, or two")
    func state() async throws {
        for change: @Sendable (String) -> String in [
            { $0.replacingOccurrences(of: "state=", with: "state=x") },
            { $0.replacingOccurrences(of: "state=", with: "other=") },
            { $0 + "&state=x" }, { $0.components(separatedBy: "?")[0] },
        ] {
            let landed = Mutex<Landed?>(nil)
            let error = await failure {
                _ = try await signIn { url in
                    let page = get(change(redirect(url)))
                    landed.withLock { $0 = page }
                }
            }
            #expect(error?.code == .signInRefused && error?.message.contains("state") == true)
            #expect(await Spawning.wait { landed.withLock { $0 != nil } })
            #expect(landed.withLock { $0 }?.status == 400)
            #expect(landed.withLock { $0 }?.page.contains("Not signed in") == true)
        }
    }

    @Test("A second answer is refused")
    func second() async throws {
        final class Box: Sendable { let answer = Mutex<(isIn: Bool, landed: Landed?)>((false, nil)) }
        let second = Box()
        // While the first answer's code is being exchanged, another one comes.
        let (server, browser) = issuer { url, nonce in
            for _ in 0..<60_000 where !second.answer.withLock({ $0.isIn }) { usleep(1000) }
            return token(
                "{\"iss\":\"\(url)\",\"sub\":\"x\",\"aud\":\"sigstore\",\"exp\":9999999999,\"nonce\":\"\(nonce)\"}")
        }
        defer { server.stop() }
        let signedIn = try await signIn(issuer: server.url) { url in
            Thread.detachNewThread { browser(url) }
            for _ in 0..<60_000 where !server.requests.contains(where: { $0.path == "/t" }) { usleep(1000) }
            let page = get("\(value("redirect_uri", url))?state=\(value("state", url))&code=2")
            second.answer.withLock { $0 = (true, page) }
        }
        #expect(signedIn.subject == "x")
        #expect(second.answer.withLock { $0.landed }?.status == 409)
        let exchanged = server.requests.filter { $0.path == "/t" }.map { String(decoding: $0.body, as: UTF8.self) }
        #expect(exchanged.count == 1 && exchanged.allSatisfy { $0.contains("code=1&") || $0.hasSuffix("code=1") })
    }

    @Test("What is not the redirect is not answered as one")
    func otherRequests() async throws {
        let statuses = Mutex<[Int?]>([])
        let token = try await signIn { url in
            let base = value("redirect_uri", url)
            let port = URLComponents(string: base)?.port ?? 0
            // A connection that a browser opened ahead and leaves idle.
            let idle = socket(AF_INET, CInt(SOCK_STREAM.rawValue), 0)
            _ = unsafe withAddress(AF_INET, port) { unsafe connect(idle, $0, $1) }
            let answers = [
                raw(port, "GET /favicon.ico HTTP/1.1\r\n\r\n")?.status,
                raw(port, "POST /auth/callback HTTP/1.1\r\n\r\n")?.status,
                raw(port, "GET /auth/callback?state=%zz HTTP/1.1\r\n\r\n")?.status,
                raw(port, "nonsense\r\n\r\n")?.status,
                raw(port, "GET /auth/callback?\(String(repeating: "a", count: 20_000)) HTTP/1.1\r\n\r\n")?.status,
                raw(port, "GET /auth/callback?\((0..<40).map { "a\($0)=1" }.joined(separator: "&")) HTTP/1.1\r\n\r\n")?
                    .status,
            ]
            statuses.withLock { $0 = answers }
            _ = get(redirect(url))
            close(idle)
        }
        #expect(token.email == "alice@local.test")
        #expect(statuses.withLock { $0 } == [404, 405, 400, 400, 431, 400])
    }

    @Test("The time limit, and cancellation")
    func timeLimit() async throws {
        final class Box: Sendable { let asked = Mutex(false) }
        let box = Box()
        let begin = ContinuousClock.now
        #expect(await failure { _ = try await signIn(timeout: .milliseconds(300)) { _ in } }?.code == .timedOut)
        #expect(ContinuousClock.now - begin < .seconds(60))
        let task = Task { await failure { _ = try await signIn { _ in box.asked.withLock { $0 = true } } } }
        #expect(await Spawning.wait { box.asked.withLock { $0 } })
        task.cancel()
        #expect(await task.value?.code == .cancelled)
    }

    @Test("The issuer's refusal, and a redirect without a code")
    func refusal() async throws {
        let error = await failure {
            _ = try await signIn { url in
                _ = get(
                    "\(value("redirect_uri", url))?state=\(value("state", url))&error=access_denied&error_description=not+you%21"
                )
            }
        }
        #expect(error?.code == .signInFailed && error?.message.contains("access_denied: not you!") == true)
        #expect(
            await failure {
                _ = try await signIn { url in _ = get("\(value("redirect_uri", url))?state=\(value("state", url))") }
            }?.message.contains("without a code") == true)
        // A code that is nobody's.
        #expect(
            await failure {
                _ = try await signIn { url in
                    _ = get("\(value("redirect_uri", url))?state=\(value("state", url))&code=x")
                }
            }?.message.contains("invalid_grant") == true)
    }

    /// An issuer whose token is what a test says, given the nonce that was asked for.
    private func issuer(
        stated: (@Sendable (String) -> String)? = nil,
        _ token: @escaping @Sendable (_ url: String, _ nonce: String) -> String
    ) -> (FaultServer, @Sendable (URLComponents) -> Void) {
        final class Box: Sendable { let nonce = Mutex("") }
        let box = Box()
        let server = FaultServer { request, connection in
            let url = "http://\(request.header("host") ?? "")"
            switch request.path {
            case "/.well-known/openid-configuration":
                connection.respond(
                    200, [],
                    "{\"issuer\":\"\(stated?(url) ?? url)\",\"authorization_endpoint\":\"\(url)/a\",\"token_endpoint\":\"\(url)/t\"}"
                )
            case "/t": connection.respond(200, [], "{\"id_token\":\"\(token(url, box.nonce.withLock { $0 }))\"}")
            default: connection.respond(404, [], "")
            }
        }
        return (
            server,
            { url in
                box.nonce.withLock { $0 = value("nonce", url) }
                _ = get("\(value("redirect_uri", url))?state=\(value("state", url))&code=1")
            }
        )
    }

    @Test("A wrong nonce, none, another issuer's token, another issuer's configuration")
    func nonce() async throws {
        let good: @Sendable (String, String) -> String = {
            token("{\"iss\":\"\($0)\",\"sub\":\"x\",\"aud\":\"sigstore\",\"exp\":9999999999,\"nonce\":\"\($1)\"}")
        }
        let (server, browser) = issuer(good)
        defer { server.stop() }
        #expect(try await signIn(issuer: server.url, browser).subject == "x")
        // The exchange had our verifier, and it is the one that was promised.
        let form = String(decoding: try #require(server.requests.first { $0.path == "/t" }).body, as: UTF8.self)
        #expect(
            form.contains("grant_type=authorization_code") && form.contains("code_verifier=")
                && form.contains("client_id=sigstore"))
        #expect(!form.contains("client_secret"))

        for bad: @Sendable (String, String) -> String in [
            { url, _ in good(url, "other") },
            { url, _ in token("{\"iss\":\"\(url)\",\"sub\":\"x\",\"aud\":\"sigstore\",\"exp\":9999999999}") },
            { _, nonce in good("https://other.test", nonce) },
        ] {
            let (server, browser) = issuer(bad)
            defer { server.stop() }
            #expect(await failure { _ = try await signIn(issuer: server.url, browser) }?.code == .signInRefused)
        }
        let (liar, liarBrowser) = issuer(stated: { $0 + "/" }, good)
        defer { liar.stop() }
        #expect(await failure { _ = try await signIn(issuer: liar.url, liarBrowser) }?.code == .signInFailed)
        #expect(!liar.requests.contains { $0.path == "/t" })
    }

    @Test("A client with a secret")
    func secret() async throws {
        let (server, browser) = issuer {
            token("{\"iss\":\"\($0)\",\"sub\":\"x\",\"aud\":\"sigstore\",\"exp\":9999999999,\"nonce\":\"\($1)\"}")
        }
        defer { server.stop() }
        _ = try await signIn(issuer: server.url, secret: "s e:c", browser)
        let header = try #require(server.requests.first { $0.path == "/t" }?.header("authorization"))
        #expect(header == "Basic \(Base64.encode(Array("sigstore:s%20e%3Ac".utf8)))")
    }

    @Test("Redirect URLs")
    func redirectURLs() async throws {
        for bad in [
            "https://localhost:0/x", "http://example.com:0/x", "http://127.0.0.1.evil.test:0/x",
            "http://localhost:99999/x",
            "http://localhost:0/x?y", "http://localhost:x/", "ftp://localhost", "http://[::2]:0/", "http://127.1.2:0/",
            "",
        ] {
            #expect(throws: SigstoreError.self, "\(bad)") { try LoopbackResponder.Address(parsing: bad) }
        }
        for good in ["http://127.0.0.1:0/cb", "http://[::1]:0/cb", "http://localhost:0"] {
            let responder = try LoopbackResponder(try LoopbackResponder.Address(parsing: good))
            #expect(
                responder.redirectURL.hasPrefix(good.components(separatedBy: ":0")[0])
                    && !responder.redirectURL.contains(":0/"))
        }
        // A port that is taken.
        let taken = try LoopbackResponder(try LoopbackResponder.Address(parsing: "http://127.0.0.1:0/cb"))
        #expect(throws: SigstoreError.self) {
            try LoopbackResponder(try LoopbackResponder.Address(parsing: taken.redirectURL))
        }
        let port = try #require(URLComponents(string: taken.redirectURL)?.port)
        #expect(
            await failure { _ = try await signIn(redirectURL: "http://127.0.0.1:\(port)/cb") { _ in } }?.code
                == .unusableRedirect)
    }

    private static let hasIPv6 = OtherListener(AF_INET6) != nil

    @Test(
        "A browser that takes localhost for ::1 lands here too",
        .enabled(if: hasIPv6, "left out: this machine has no ::1"), arguments: [AF_INET, AF_INET6])
    func bothAddresses(family: CInt) async throws {
        let landed = Mutex<Landed?>(nil)
        let token = try await signIn { url in
            let page = get(redirect(url), family: family)
            landed.withLock { $0 = page }
        }
        #expect(token.email == "alice@local.test")
        // An address that is named is the only one.
        for (host, other) in [("127.0.0.1", AF_INET6), ("[::1]", AF_INET)] {
            let responder = try LoopbackResponder(try LoopbackResponder.Address(parsing: "http://\(host):0/cb"))
            let port = try #require(URLComponents(string: responder.redirectURL)?.port)
            let connection = socket(other, CInt(SOCK_STREAM.rawValue), 0)
            defer { close(connection) }
            #expect(unsafe withAddress(other, port) { unsafe connect(connection, $0, $1) } != 0, "\(host)")
        }
    }

    @Test(
        "Nobody signs in if another program owns one of the two addresses at the port",
        .enabled(if: hasIPv6, "left out: this machine has no ::1"),
        arguments: [(AF_INET, "127.0.0.1"), (AF_INET6, "[::1]")])
    func otherProgram(family: CInt, name: String) async throws {
        let other = try #require(OtherListener(family))
        let asked = Mutex(false)
        let error = await failure {
            _ = try await signIn(redirectURL: "http://localhost:\(other.port)/auth/callback") { _ in
                asked.withLock { $0 = true }
            }
        }
        #expect(error?.code == .unusableRedirect && error?.message.contains("another program") == true)
        #expect(error?.message.contains("port \(other.port) of \(name)") == true, "\(error?.message ?? "")")
        #expect(!asked.withLock { $0 })
        // Nor is the other address left open.
        let connection = socket(family == AF_INET ? AF_INET6 : AF_INET, CInt(SOCK_STREAM.rawValue), 0)
        defer { close(connection) }
        #expect(
            unsafe withAddress(family == AF_INET ? AF_INET6 : AF_INET, other.port) {
                unsafe connect(connection, $0, $1)
            } != 0)
    }

    @Test("On another device")
    func device() async throws {
        let services = try LocalServices.current
        let shown = Mutex<String?>(nil)
        let flow = try OAuthFlow(
            issuer: services.issuer.url, method: .device, timeout: .seconds(300), http: CountingClient()
        ) {
            prompt in
            guard case .enter(let code, let url, let complete) = prompt else { return }
            shown.withLock { $0 = "\(code) \(url) \(complete ?? "")" }
            let port = services.issuerServer.port
            Thread.detachNewThread {
                let form = "user_code=\(code)&email=dora%40local.test"
                _ = raw(
                    Int(port),
                    "POST /auth/device HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: \(form.utf8.count)\r\n\r\n\(form)"
                )
            }
        }
        let token = try await flow.token(audience: "sigstore")
        #expect(token.email == "dora@local.test")
        #expect(shown.withLock { $0 }?.contains("/auth/device") == true)
        // Nobody enters the code.
        let slow = try OAuthFlow(
            issuer: services.issuer.url, method: .device, timeout: .milliseconds(1500), http: CountingClient()
        ) { _ in }
        #expect(await failure { _ = try await slow.token(audience: "sigstore") }?.code == .timedOut)
        // An issuer that offers none.
        let (server, _) = issuer { _, _ in "" }
        defer { server.stop() }
        let none = try OAuthFlow(issuer: server.url, method: .device, http: CountingClient()) { _ in }
        #expect(await failure { _ = try await none.token(audience: "sigstore") }?.code == .signInFailed)
    }
}
