import FaultServer
import HTTPTransport
import KeyProviders
import SigstoreCrypto
import StrictJSON
import Testing

/// Key pairs for the secrets of GitHub, and servers that answer what they should not.
struct GitHubTests {
    private static let sealing = Base64.encode([9] + [UInt8](repeating: 0, count: 31))
    private static let key = #"{"key_id":"1","key":"\#(sealing)"}"#

    private static func place(_ client: any HTTPClient, _ host: String = "https://ghe.test") -> GitHubKeys {
        let variables = ["GITHUB_HOST": host, "GITHUB_TOKEN": "ghp-test"]
        return GitHubKeys(
            KeySurroundings(
                variable: { variables[$0] }, now: { 1_790_000_000 }, client: { (_) throws(SigstoreError) in client }))
    }

    /// Has a pair written to a repository or organisation.
    private static func keep(_ client: any HTTPClient, _ reference: String = "github://o/r", replacing: Bool = false)
        async throws -> (error: SigstoreError?, writes: Int)
    {
        let pair = try EncryptedKeyPair(try PrivateKey.generate(.ecdsaP256), password: SecretBytes("a-password".utf8))
        do throws(SigstoreError) {
            _ = try await place(client).keep(pair, reference, replacing: replacing)
        } catch { return (error, (client as? Answers)?.writes ?? 0) }
        return (nil, (client as? Answers)?.writes ?? 0)
    }

    private static func isKey(_ request: HTTPRequest) -> Bool { request.url.path.hasSuffix("/public-key") }

    // MARK: - The key for secrets

    @Test(
        "An answer that holds no key is refused before anything is written, and none of it is shown but its place",
        arguments: [
            "", "{", #"{"key_id":"1","key":"\#(sealing)""#, "[]", "null", "7", "<html>", "{}", #"{"key_id":"1"}"#,
            #"{"key":"\#(sealing)"}"#, #"{"key_id":1,"key":"\#(sealing)"}"#, #"{"key_id":"1","key":7}"#,
            #"{"key_id":"1","key":null}"#, #"{"key_id":"1","key":["\#(sealing)"]}"#,
            #"{"key_id":1e999,"key":"\#(sealing)"}"#,
            #"{"key_id":\#(String(repeating: "9", count: 5000)),"key":"\#(sealing)"}"#,
            #"{"key_id":"1","key":"\#(sealing)","key":"\#(sealing)"}"#, #"{"key_id":"1","key":"\#(sealing)"} x"#,
            #"{"key_id":"1","key":"\#(sealing)","more":[\#(Array(repeating: "0", count: 1000).joined(separator: ","))]}"#,
            String(repeating: "[", count: 5000), #"{"key_id":"1","key":"secret-of-the-answer"}"#,
            #"{"key_id":"1","key":"\#(Base64.encode([UInt8](repeating: 1, count: 33)))"}"#,
            // A point of which no secret comes.
            #"{"key_id":"1","key":"\#(Base64.encode([UInt8](repeating: 0, count: 32)))"}"#,
        ])
    func noKey(_ answer: String) async throws {
        let (error, writes) = try await Self.keep(Answers { Self.isKey($0) ? (200, answer) : (404, "{}") })
        #expect(error?.code == .keyServiceAnswer && writes == 0, "\(error?.description ?? "no error")")
        #expect(error?.message.contains("ghe.test, o/r") == true && error?.advice != nil)
        #expect(error?.description.contains("secret-of-the-answer") == false)
        #expect((error?.description.utf8.count ?? 0) < 600, "\(error?.description ?? "")")
    }

    // MARK: - What is there

    @Test(
        "An answer about a secret that is none is never taken for its absence",
        arguments: [
            (200, "", "key-service-answer"), (200, "{", "key-service-answer"), (200, "[]", "key-service-answer"),
            (200, #"{"visibility":7}"#, "key-service-answer"),
            (200, #"{"visibility":"all","visibility":"all"}"#, "key-service-answer"),
            (200, "{\"a\":\(String(repeating: "[", count: 100))", "key-service-answer"),
            (200, #"{"a":[\#(Array(repeating: "0", count: 5000).joined(separator: ","))]}"#, "key-service-answer"),
            (401, "", "key-denied"), (403, "", "key-denied"), (429, "", "key-service-failed"),
            (500, "", "key-service-failed"), (503, "<html>", "key-service-failed"), (408, "", "key-service-failed"),
            (410, "", "http-status"), (451, "x", "http-status"),
        ])
    func strangeSecret(_ status: Int, _ answer: String, _ code: String) async throws {
        let client = Answers { Self.isKey($0) ? (200, Self.key) : (status, answer) }
        for replacing in [false, true] {
            let (error, writes) = try await Self.keep(client, replacing: replacing)
            #expect(error?.code.rawValue == code && writes == 0, "\(error?.description ?? "no error")")
        }
        let asked = await #expect(throws: SigstoreError.self) {
            try await Self.place(client).existing("github://o/r")
        }
        #expect(asked?.code.rawValue == code)
        #expect(asked?.message.contains("o/r") == true && asked?.description.contains("ghp-test") == false)
    }

    @Test("A secret for selected repositories is left as it is")
    func selected() async throws {
        let client = Answers { Self.isKey($0) ? (200, Self.key) : (200, #"{"visibility":"selected"}"#) }
        let (error, writes) = try await Self.keep(client, "github://o", replacing: true)
        #expect(error?.code == .keyUnusable && writes == 0, "\(error?.description ?? "")")
    }

    // MARK: - What the server says

    @Test("What the server says is one short line, without what would move a terminal's cursor")
    func words() async throws {
        for (said, shown) in [
            (#"a\r\nb\u001b[31m\u0000c"#, "a  b [31m c"), (String(repeating: "x", count: 5000), "xxx"),
        ] {
            let client = Answers { _ in (403, #"{"message":"\#(said)"}"#) }
            let (error, _) = try await Self.keep(client)
            let message = error?.message ?? ""
            #expect(error?.code == .keyDenied && message.contains(shown), "\(message)")
            #expect(message.utf8.allSatisfy { $0 >= 0x20 } && message.utf8.count < 800, "\(message)")
        }
        // What is no text is passed over.
        for body in [#"{"message":7}"#, #"{"message":["a"]}"#, "[]", "", "{", #"{"message":{"a":"b"}}"#] {
            let (error, writes) = try await Self.keep(Answers { _ in (403, body) })
            #expect(error?.code == .keyDenied && writes == 0)
        }
    }

    @Test("Limits of the interface are told apart from a right that is missing")
    func limits() async throws {
        let server = FaultServer { _, connection in
            connection.respond(403, ["x-ratelimit-remaining: 0"], #"{"message":"API rate limit exceeded"}"#)
        }
        defer { server.stop() }
        let error = await #expect(throws: SigstoreError.self) {
            try await Self.place(CurlClient(), server.url).existing("github://o/r")
        }
        #expect(error?.code == .keyServiceFailed && error?.message.contains("rate limit") == true)
    }

    // MARK: - Writing

    @Test("Each way in which writing can fail takes back what was written, and says what may be left")
    func writing() async throws {
        for (status, code) in [
            (400, "key-unusable"), (401, "key-denied"), (403, "key-denied"), (404, "key-not-found"),
            (422, "key-unusable"), (429, "key-service-failed"), (500, "key-service-failed"), (302, "http-status"),
        ] {
            let client = Answers { request in
                switch request.method {
                case "GET": Self.isKey(request) ? (200, Self.key) : (404, "{}")
                case "PUT": request.url.path.hasSuffix("PUBLIC_KEY") ? (status, "{}") : (201, "")
                default: (204, "")
                }
            }
            let (error, _) = try await Self.keep(client)
            #expect(error?.code.rawValue == code, "\(status): \(error?.description ?? "no error")")
            #expect(error?.message.contains("as they were") == true, "\(error?.description ?? "")")
            let deleted = client.requests.filter { $0.method == "DELETE" }.map {
                String($0.url.path.split(separator: "/").last ?? "")
            }
            #expect(deleted.contains("COSIGN_PASSWORD") && deleted.contains("COSIGN_PRIVATE_KEY"), "\(deleted)")
        }
        // The connection breaks off: nobody knows whether it was written.
        let broken = Answers { request in
            guard request.method == "GET" else { return nil }
            return Self.isKey(request) ? (200, Self.key) : (404, "{}")
        }
        let (error, _) = try await Self.keep(broken)
        #expect(
            error?.message.contains("COSIGN_PASSWORD may be of another pair") == true, "\(error?.description ?? "")")
    }

    @Test("No request carries a secret or a key in the clear")
    func sealed() async throws {
        let client = Answers { request in
            if request.method != "GET" { return (201, "") }
            return Self.isKey(request) ? (200, Self.key) : (404, "{}")
        }
        let (error, writes) = try await Self.keep(client)
        #expect(error == nil && writes == 3)
        for request in client.requests {
            #expect(!request.text.contains("a-password") && !request.text.contains("BEGIN"))
            #expect(!request.url.description.contains("ghp-test") && request.refusesRedirects)
        }
    }

    // MARK: - The connection

    @Test("Neither the token nor a secret follows a redirect, to whatever place and by whatever request")
    func redirects() async throws {
        let other = FaultServer { _, connection in connection.respond(200, [], Self.key) }
        defer { other.stop() }
        for status in [301, 302, 303, 307, 308] {
            for place in ["\(other.url)/", "/elsewhere", "//127.0.0.1:\(other.port)/"] {
                // First where the key is asked for, then where a secret is written.
                for redirected in ["GET", "PUT"] {
                    let server = FaultServer { request, connection in
                        if request.path == "/elsewhere" { return connection.respond(200, [], Self.key) }
                        if request.method == redirected {
                            return connection.respond(status, ["Location: \(place)"], "")
                        }
                        if request.path.hasSuffix("public-key") { return connection.respond(200, [], Self.key) }
                        connection.respond(request.method == "DELETE" ? 204 : 404, [], "")
                    }
                    defer { server.stop() }
                    let pair = try EncryptedKeyPair(
                        try PrivateKey.generate(.ecdsaP256), password: SecretBytes("a-password".utf8))
                    let error = await #expect(throws: SigstoreError.self) {
                        try await Self.place(CurlClient(), server.url).keep(pair, "github://o/r", replacing: false)
                    }
                    #expect(error?.code == .redirectRefused, "\(status) \(place): \(error?.description ?? "")")
                    #expect(!server.requests.contains { $0.path == "/elsewhere" })
                }
            }
        }
        #expect(other.requests.isEmpty)
    }

    @Test("Answers that are cut short or too long are refused")
    func faults() async throws {
        let faults: [(code: SigstoreError.Code, answer: @Sendable (FaultServer.Connection) -> Void)] = [
            (
                .unreachable,
                { connection in
                    connection.respondHead(200, ["Content-Length: 500"])
                    connection.send(Self.key)
                    connection.close()
                }
            ), (.tooLarge, { $0.respond(200, [], [UInt8](repeating: 0x20, count: 2 << 20)) }),
            (
                .tooLarge,
                { connection in
                    connection.respondHead(200, ["Transfer-Encoding: chunked"])
                    for _ in 0..<64 {
                        guard connection.send("8000\r\n\(String(repeating: " ", count: 0x8000))\r\n") else { return }
                    }
                    connection.send("0\r\n\r\n")
                }
            ),
        ]
        for (code, answer) in faults {
            let server = FaultServer { _, connection in answer(connection) }
            defer { server.stop() }
            let error = await #expect(throws: SigstoreError.self) {
                try await Self.place(CurlClient(), server.url).existing("github://o/r")
            }
            #expect(error?.code == code, "\(error?.description ?? "")")
        }
    }
}

extension Answers {
    /// How many requests were to change something.
    fileprivate var writes: Int { requests.filter { $0.method == "PUT" || $0.method == "POST" }.count }
}
