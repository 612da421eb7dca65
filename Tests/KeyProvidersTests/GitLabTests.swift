import Foundation
import HTTPTransport
import KeyProviders
import SigstoreCrypto
import StrictJSON
import Testing

/// Keys in the variables of GitLab, and those that become secrets of GitHub.
struct GitLabTests {
    private static let recordings: Comment = "left out: the recorded exchanges, in ../shared/keys/wire"
    private static let variables = [
        "GITLAB_HOST": "http://127.0.0.1:1", "GITLAB_TOKEN": "glpat-test", "GITHUB_HOST": "https://ghe.test",
        "GITHUB_TOKEN": "ghp-test",
    ]

    private func around(_ client: any HTTPClient, _ more: [String: String] = [:]) -> KeySurroundings {
        let variables = Self.variables.merging(more) { $1 }
        return KeySurroundings(
            variable: { variables[$0].flatMap { $0.isEmpty ? nil : $0 } }, now: { 1_790_000_000 },
            client: { (_) throws(SigstoreError) in client })
    }

    private func pair() throws -> EncryptedKeyPair {
        try EncryptedKeyPair(try PrivateKey.generate(.ecdsaP256), password: SecretBytes(Array("a-long-password".utf8)))
    }

    // MARK: - References

    @Test(
        "A reference that is nearly right says the right form, and is no file",
        arguments: [
            "gitlab://", "gitlab:5", "gitlab:/a/b", "GITLAB://a/b", "gitlab:///a", "gitlab://a/", "gitlab://a//b",
            "gitlab://a/../b", "gitlab://https://gitlab.com/a/b", "gitlab://a b", "gitlab://a?b", "gitlab://a%2Fb",
            "gitlab://-a", "gitlab://é",
        ])
    func wrongReferences(_ reference: String) throws {
        let place = GitLabKeys(around(Answers { _ in nil }))
        #expect(place.knows(reference))
        let error = #expect(throws: SigstoreError.self) { try place.check(reference) }
        #expect(error?.code == .unknownKeyReference)
        #expect(error?.advice?.description.contains("gitlab://GROUP/PROJECT") == true)
        for right in ["gitlab://5", "gitlab://team/sub/proj.x_y-z"] { try place.check(right) }
    }

    @Test(
        "A reference to GitHub names a repository or an organisation",
        arguments: [
            "github://", "github:a/b", "GitHub://a/b", "github://a/b/c", "github://a/", "github:///b", "github://a/..",
        ])
    func wrongRepositories(_ reference: String) throws {
        let place = GitHubKeys(around(Answers { _ in nil }))
        #expect(place.knows(reference))
        #expect(throws: SigstoreError.self) { try place.check(reference) }
        for right in ["github://a", "github://a/b.c"] { try place.check(right) }
    }

    // MARK: - Requests

    @Test(
        "The public key is asked for as the real client asks, and once",
        .enabled(if: RecordedExchanges.folder != nil, recordings))
    func recordedKey() async throws {
        let recorded = try RecordedExchanges("gitlab-13", "gitlab-14")
        let place = GitLabKeys(around(recorded))
        let key = try await place.publicKey("gitlab://team/proj")
        #expect(key.kind == .ecP256)
        _ = try await place.publicKey("gitlab://team/proj")
        #expect(recorded.requests.count == 2)
        for exchange in recorded.requests {
            let secret = try #require(exchange.request.authorization)
            let token = unsafe secret.withValue { unsafe String(decoding: $0, as: UTF8.self) }
            #expect(token == exchange.recorded.headers["private-token"])
            #expect(exchange.request.header("Accept") == exchange.recorded.headers["accept"])
            #expect(exchange.request.refusesRedirects)
        }
    }

    @Test(
        "A pair is written as the real client writes it, but for the mask; all three are looked at first",
        .enabled(if: RecordedExchanges.folder != nil, recordings), arguments: [false, true])
    func recordedPair(_ isGroup: Bool) async throws {
        let client = Answers { request in
            switch request.method {
            case "GET" where request.url.path.hasSuffix("/projects/grp%2Fsub"): return (404, "{}")
            case "GET" where request.url.path.contains("variables"):
                return (404, #"{"message":"404 Variable Not Found"}"#)
            case "GET": return (200, #"{"id":5}"#)
            default: return (201, request.text)
            }
        }
        let reference = isGroup ? "gitlab://grp/sub" : "gitlab://team/proj"
        _ = try await GitLabKeys(around(client)).keep(try pair(), reference, replacing: false)
        let folder = try #require(RecordedExchanges.folder)
        let names = isGroup ? ["gitlab-23", "gitlab-24", "gitlab-25"] : ["gitlab-02", "gitlab-03", "gitlab-04"]
        let recorded = try FileManager.default.contentsOfDirectory(atPath: folder.path).sorted()
            .filter { file in names.contains { file.hasPrefix($0) } }
            .compactMap {
                RecordedExchanges.Exchange(try String(contentsOf: folder.appendingPathComponent($0), encoding: .utf8))
            }
        let sent = client.requests.filter { $0.method == "POST" }
        #expect(sent.count == 3 && recorded.count == 3)
        #expect(client.requests.dropLast(3).allSatisfy { $0.method == "GET" })
        #expect(client.requests.filter { $0.method == "GET" && $0.url.path.contains("variables") }.count == 3)
        for (request, was) in zip(sent, recorded) {
            #expect(request.url.path == was.path)
            let (ours, theirs) = (
                JSONCursor(try JSONValue(parsing: Array(request.text.utf8))),
                JSONCursor(try JSONValue(parsing: Array(was.body.utf8)))
            )
            // A $ in the password stands for itself.
            #expect(try ours.names().filter { $0 != "raw" }.sorted() == theirs.names().sorted())
            for name in try ours.names() where !["value", "masked", "raw"].contains(name) {
                #expect(try ours.member(name).value.serialized() == theirs.member(name).value.serialized(), "\(name)")
            }
            #expect(
                try ours.member("masked").bool() == (try ours.member("key").string() == "COSIGN_PASSWORD"))
        }
    }

    @Test("If a replaced pair cannot be written whole, the old values are put back as they were")
    func puttingBack() async throws {
        let client = Answers { request in
            if request.method == "GET" {
                guard request.url.path.contains("variables") else { return (200, #"{"id":5}"#) }
                let name = request.url.path.split(separator: "/").last ?? ""
                // The public key is not there yet.
                guard name != "COSIGN_PUBLIC_KEY" else { return (404, "{}") }
                return (
                    200,
                    #"{"key":"\#(name)","value":"old \#(name)","masked":false,"protected":true,"variable_type":"file","raw":true,"hidden":false,"environment_scope":"x","description":null}"#
                )
            }
            if request.method == "POST" { return (400, #"{"message":{"value":["is invalid"]}}"#) }
            return (200, request.text)
        }
        let error = await #expect(throws: SigstoreError.self) {
            try await GitLabKeys(around(client)).keep(try pair(), "gitlab://5", replacing: true)
        }
        #expect(error?.code == .keyUnusable && error?.message.contains("as they were") == true)
        #expect(error?.message.contains("is invalid") == true)
        let written = client.requests.filter { $0.method != "GET" }.map {
            "\($0.method) \($0.url.path.split(separator: "/").last ?? "")"
        }
        #expect(
            written == [
                "PUT COSIGN_PASSWORD", "PUT COSIGN_PRIVATE_KEY", "POST variables",
                "PUT COSIGN_PRIVATE_KEY", "PUT COSIGN_PASSWORD",
            ])
        let last = JSONCursor(try JSONValue(parsing: Array(try #require(client.requests.last).text.utf8)))
        #expect(try last.member("value").string() == "old COSIGN_PASSWORD" && last.member("protected").bool())
        #expect(try last.member("environment_scope").string() == "x" && last.member("variable_type").string() == "file")
        // While it is replaced, for which jobs and environments it is stays.
        let first = try #require(client.requests.first { $0.method == "PUT" }).text
        #expect(!first.contains("protected") && !first.contains("environment_scope"))
        // What is there is not replaced unless that is asked for, and then nothing was written.
        let second = Answers { request in
            request.url.path.contains("variables")
                ? (200, #"{"key":"COSIGN_PASSWORD","value":"x"}"#) : (200, #"{"id":5}"#)
        }
        let refused = await #expect(throws: SigstoreError.self) {
            try await GitLabKeys(around(second)).keep(try pair(), "gitlab://5", replacing: false)
        }
        #expect(refused?.code == .keyExists && second.requests.allSatisfy { $0.method == "GET" })
    }

    @Test("If what was written cannot be taken back, the variables are named")
    func leftovers() async throws {
        let client = Answers { request in
            switch request.method {
            case "GET": return request.url.path.contains("variables") ? (404, "{}") : (200, #"{"id":5}"#)
            case "POST": return request.text.contains("COSIGN_PASSWORD") ? (201, "{}") : (500, "")
            default: return (403, "{}")
            }
        }
        let error = await #expect(throws: SigstoreError.self) {
            try await GitLabKeys(around(client)).keep(try pair(), "gitlab://5", replacing: false)
        }
        #expect(
            error?.message.contains("COSIGN_PRIVATE_KEY, COSIGN_PASSWORD could not be put back") == true,
            "\(error?.description ?? "")")
    }

    @Test("A public key that is not that of the private key beside it is told before anything is signed")
    func halves() async throws {
        let (one, other) = (try pair(), try pair())
        func signer(_ publicKey: String) async throws -> any Signer {
            let values = [
                "COSIGN_PRIVATE_KEY": one.privateKey, "COSIGN_PASSWORD": "a-long-password",
                "COSIGN_PUBLIC_KEY": publicKey,
            ]
            let client = Answers { request in
                let name = String(request.url.path.split(separator: "/").last ?? "")
                guard let value = values[name] else { return (200, #"{"id":5}"#) }
                let object = JSONValue.object(["key": .string(name), "value": .string(value)])
                return (200, String(decoding: object.serialized(), as: UTF8.self))
            }
            return try await GitLabKeys(around(client)).signer("gitlab://5") { SecretBytes([]) }
        }
        #expect(try await signer(one.publicKey).publicKey.pem == one.publicKey)
        let error = await #expect(throws: SigstoreError.self) { try await signer(other.publicKey) }
        #expect(error?.code == .keyMismatch && error?.message.contains("project 5") == true)
    }

    // MARK: - Refusals

    @Test(
        "What GitLab refuses is said with what helps",
        arguments: [
            (401, #"{"message":"401 Unauthorized"}"#, "key-denied", "scope api"),
            (403, #"{"error":"insufficient_scope","error_description":"needs more"}"#, "key-denied", "role Maintainer"),
            (409, #"{"message":"There are multiple variables"}"#, "key-service-settings", "leave one"),
            (429, "", "key-service-failed", "minute"), (502, "<html>", "key-service-failed", "later"),
            (404, "{}", "key-not-found", "generate-key-pair"), (400, #"{"message":{"a":["b"]}}"#, "key-unusable", ""),
            (
                200, #"{"key":"COSIGN_PUBLIC_KEY","value":null,"hidden":true}"#, "key-unusable",
                "env://COSIGN_PUBLIC_KEY"
            ),
            (200, #"{"key":"OTHER","value":"x"}"#, "key-service-answer", "GITLAB_HOST"),
            (200, #"{"key":"COSIGN_PUBLIC_KEY","value":1}"#, "key-service-answer", "GITLAB_HOST"),
            (200, "<html>", "key-service-answer", "GITLAB_HOST"), (200, "", "key-service-answer", "GITLAB_HOST"),
            (200, #"{"key":"COSIGN_PUBLIC_KEY","value":"x"}"#, "malformed-key", ""),
        ])
    func refusals(_ status: Int, _ body: String, _ code: String, _ advice: String) async throws {
        let client = Answers { request in
            request.url.path.contains("variables") ? (status, body) : (200, #"{"id":5}"#)
        }
        let error = await #expect(throws: SigstoreError.self) {
            try await GitLabKeys(around(client)).publicKey("gitlab://team/proj")
        }
        #expect(error?.code.rawValue == code, "\(error?.description ?? "")")
        #expect(error?.message.contains("team/proj") == true, "\(error?.description ?? "")")
        #expect(advice.isEmpty || error?.description.contains(advice) == true, "\(error?.description ?? "")")
        #expect(error?.description.contains("glpat-test") == false)
    }

    @Test("A project or group that the token does not see is told apart from a token that is not accepted")
    func owners() async throws {
        for (status, code) in [
            (404, "key-not-found"), (401, "key-denied"), (403, "key-denied"), (503, "key-service-failed"),
        ] {
            let error = await #expect(throws: SigstoreError.self) {
                try await GitLabKeys(around(Answers { _ in (status, "{}") })).publicKey("gitlab://team/proj")
            }
            #expect(error?.code.rawValue == code, "\(error?.description ?? "")")
            #expect(error?.message.contains("team/proj") == true)
        }
        // A server is named with or without https://, and nothing goes to another machine in the clear.
        let client = Answers { _ in (404, "{}") }
        for (host, url) in [
            ("gitlab.test", "https://gitlab.test/api/v4/projects/a%2Fb"),
            ("gitlab.test:8443/base/", "https://gitlab.test:8443/base/api/v4/projects/a%2Fb"),
            ("", "https://gitlab.com/api/v4/projects/a%2Fb"),
        ] {
            await #expect(throws: SigstoreError.self) {
                try await GitLabKeys(around(client, ["GITLAB_HOST": host])).publicKey("gitlab://a/b")
            }
            #expect(client.requests.dropLast().last?.url.description == url)
        }
        let count = client.requests.count
        let plain = await #expect(throws: SigstoreError.self) {
            try await GitLabKeys(around(client, ["GITLAB_HOST": "http://gitlab.test"])).publicKey("gitlab://a/b")
        }
        #expect(plain?.code == .keyServiceSettings && client.requests.count == count)
    }

    @Test("GitHub is asked as its interface says; what it refuses is said with what helps")
    func github() async throws {
        let sealing = Base64.encode([9] + [UInt8](repeating: 0, count: 31))
        for (reference, variables, url) in [
            ("github://o/r", [:], "https://ghe.test/api/v3/repos/o/r/actions/secrets/COSIGN_PRIVATE_KEY"),
            ("github://o", [:], "https://ghe.test/api/v3/orgs/o/actions/secrets/COSIGN_PRIVATE_KEY"),
            (
                "github://o/r", ["GITHUB_HOST": ""],
                "https://api.github.com/repos/o/r/actions/secrets/COSIGN_PRIVATE_KEY"
            ),
            (
                "github://o/r", ["GITHUB_HOST": "ghe.test/api/v3/"],
                "https://ghe.test/api/v3/repos/o/r/actions/secrets/COSIGN_PRIVATE_KEY"
            ),
        ] {
            let client = Answers { request in
                request.url.path.hasSuffix("public-key") ? (200, #"{"key_id":"1","key":"\#(sealing)"}"#) : (200, "{}")
            }
            _ = try await GitHubKeys(around(client, variables)).existing(reference)
            let request = try #require(client.requests.dropFirst().first)
            #expect(request.url.description == url && request.refusesRedirects)
            let token = try #require(request.authorization)
            #expect(unsafe token.withValue { unsafe String(decoding: $0, as: UTF8.self) } == "Bearer ghp-test")
        }
        for (status, code, words) in [
            (401, "key-denied", "Secrets (read and write)"), (403, "key-denied", "Secrets (read and write)"),
            (404, "key-not-found", "check the name"), (422, "key-unusable", ""), (429, "key-service-failed", "later"),
            (500, "key-service-failed", "later"),
        ] {
            let error = await #expect(throws: SigstoreError.self) {
                try await GitHubKeys(around(Answers { _ in (status, #"{"message":"words"}"#) })).existing(
                    "github://o/r")
            }
            #expect(error?.code.rawValue == code && error?.message.contains("words") == true)
            #expect(
                (words.isEmpty || error?.description.contains(words) == true)
                    && error?.description.contains("ghp-test") == false)
        }
        // A key to seal for that is none.
        for key in ["QQ==", "*", ""] {
            let client = Answers { request in
                request.url.path.hasSuffix("public-key") ? (200, #"{"key_id":"1","key":"\#(key)"}"#) : (404, "{}")
            }
            let error = await #expect(throws: SigstoreError.self) {
                try await GitHubKeys(around(client)).keep(try pair(), "github://o/r", replacing: false)
            }
            #expect(error?.code == .keyServiceAnswer && client.requests.allSatisfy { $0.method == "GET" })
        }
        // What was replaced cannot be put back, and that is said.
        let client = Answers { request in
            if request.method != "GET" { return request.url.path.hasSuffix("PUBLIC_KEY") ? (403, "{}") : (204, "") }
            return request.url.path.hasSuffix("public-key")
                ? (200, #"{"key_id":"1","key":"\#(sealing)"}"#) : (200, "{}")
        }
        let error = await #expect(throws: SigstoreError.self) {
            try await GitHubKeys(around(client)).keep(try pair(), "github://o/r", replacing: true)
        }
        #expect(
            error?.message.contains("COSIGN_PASSWORD, COSIGN_PRIVATE_KEY may be of another pair")
                == true)
    }
}
