import FaultServer
import Foundation
import HTTPTransport
import KeyProviders
import SigstoreCrypto
import Spawning
import StrictJSON
import Testing

/// Keys in the transit engine of Vault or OpenBao.
struct VaultTests {
    private static let recordings: Comment = "left out: the recorded exchanges, in ../shared/keys/wire"

    /// A place whose requests go to a client, with these variables.
    private func place(_ client: any HTTPClient, _ more: [String: String] = [:]) -> VaultKeys {
        let variables = ["VAULT_ADDR": "http://127.0.0.1:8200", "VAULT_TOKEN": "test-root"].merging(more) { $1 }
        return VaultKeys(
            KeySurroundings(
                variable: { variables[$0].flatMap { $0.isEmpty ? nil : $0 } }, now: { 1_790_000_000 },
                client: { (_) throws(SigstoreError) in client }))
    }

    @Test(
        "A reference that is nearly right says the right form, and is no file",
        arguments: [
            "hashivault:/release", "hashivault://", "HASHIVAULT://release", "hashivault://team/release",
            "hashivault://-x",
            "openbao://x.", "hashivault://release?version=0", "hashivault://release?version=1&x=2", "openbao://é",
            "hashivault://release?", "hashivault:release", "hashivault://release?version=99999999999999999999",
        ])
    func wrongReferences(_ reference: String) {
        place(NoNetwork()).expectForm("://KEY, with ?version=N", for: reference)
    }

    @Test(
        "References as cosign has them, and one of a version",
        arguments: ["hashivault://r", "openbao://a.b-c_9?version=12"])
    func references(_ reference: String) throws {
        let place = place(NoNetwork())
        #expect(place.knows(reference) && !place.knows("release.key") && !place.knows("https://vault/x"))
        try place.check(reference)
    }

    @Test(
        "A key signs as the real client asks for it, but for the version, which is pinned",
        .enabled(if: RecordedExchanges.folder != nil, recordings),
        arguments: [
            ("hashivault://k-ecdsa-p384", ["baotransit-10", "baotransit-11"]),
            ("openbao://k-rsa-2048", ["baotransit-28", "baotransit-29"]),
            ("hashivault://cosign", ["baotransit-03", "baotransit-04"]),
        ])
    func recordedSignature(_ reference: String, _ names: [String]) async throws {
        let recorded = try RecordedExchanges(names[0], names[1])
        let signer = try await place(recorded).signer(reference) { SecretBytes([]) }
        // The digest that was signed when it was recorded.
        let exchange = try #require(recorded.requests.first)
        #expect(exchange.request.header("X-Vault-Request") == "true")
        let authorization = try #require(exchange.request.authorization)
        #expect(unsafe authorization.withValue { unsafe String(decoding: $0, as: UTF8.self) } == "test-root")
        let digest = try Digest(
            .sha256, bytes: try #require(Base64.decode("HRoYMAaesadgydGAlkxLrJhhqPYrLp3Zl9eBtSbjTlo=")))
        let scheme = try #require(signer.schemes.first { $0.hash == .sha256 })
        let message = HashedMessage(digest: digest)
        let signature = try await signer.sign(message, scheme: scheme)
        let holds = try signer.publicKey.verifies(signature, of: message, scheme: scheme)
        #expect(holds)
        let sent = try JSONCursor(JSONValue(parsing: Array(try #require(recorded.requests.last).request.text.utf8)))
        let was = try JSONCursor(JSONValue(parsing: Array(try #require(recorded.requests.last).recorded.body.utf8)))
        for member in ["input", "prehashed"] {
            #expect(try sent.member(member).value.serialized() == was.member(member).value.serialized())
        }
        #expect(try sent.member("key_version").string() == "1")
    }

    @Test(
        "A namespace and another path of the engine are asked as the real client asks",
        .enabled(if: RecordedExchanges.folder != nil, recordings))
    func namespace() async throws {
        let recorded = try RecordedExchanges("vault-34")
        let place = place(recorded, ["VAULT_NAMESPACE": "team", "TRANSIT_SECRET_ENGINE_PATH": "/my/transit/"])
        #expect(try await place.publicKey("hashivault://cosign").kind == .ecP256)
        let request = try #require(recorded.requests.first)
        #expect(request.request.header("X-Vault-Namespace") == request.recorded.headers["x-vault-namespace"])
        // The second question is answered from the first.
        _ = try await place.publicKey("hashivault://cosign")
        #expect(recorded.requests.count == 1)
    }

    @Test(
        "What the real transit engine refuses is said with what helps",
        .enabled(if: RecordedExchanges.folder != nil, recordings))
    func recordedRefusals() async throws {
        let missing = await #expect(throws: SigstoreError.self) {
            try await place(try RecordedExchanges("baotransit-43")).publicKey("hashivault://none")
        }
        #expect(missing?.code == .keyNotFound && missing?.message.contains("no key none") == true)
        let cipher = await #expect(throws: SigstoreError.self) {
            try await place(try RecordedExchanges("baotransit-46")).publicKey("hashivault://aes")
        }
        #expect(cipher?.code == .keyUnusable && cipher?.message.contains("aes256-gcm96") == true)
    }

    @Test("What is missing is named: the address, and every place of the token")
    func settings() async throws {
        let none = await #expect(throws: SigstoreError.self) {
            try await place(NoNetwork(), ["VAULT_ADDR": ""]).publicKey("hashivault://x")
        }
        #expect(none?.code == .keyServiceSettings && none?.advice?.description.contains("VAULT_ADDR") == true)
        let noToken = await #expect(throws: SigstoreError.self) {
            try await place(NoNetwork(), ["VAULT_TOKEN": "", "HOME": "/nonexistent"]).publicKey("hashivault://x")
        }
        for name in ["VAULT_TOKEN", "BAO_TOKEN", ".vault-token", "token helper"] {
            #expect(noToken?.message.contains(name) == true, "\(noToken?.message ?? "")")
        }
    }

    @Test(
        "What would send the token or fetch the key in the clear, or is not read, is refused before anything is asked",
        arguments: [
            ["VAULT_ADDR": "http://vault.example:8200"], ["VAULT_CACERT_BYTES": "x"], ["VAULT_CAPATH": "/nonexistent"],
            ["VAULT_PROXY_ADDR": "http://p"],
            ["VAULT_TOKEN": " "], ["VAULT_TOKEN": "two words"], ["TRANSIT_SECRET_ENGINE_PATH": "../sys"],
            ["VAULT_SKIP_VERIFY": "perhaps"], ["VAULT_HEADERS": #"{"X-Vault-Token":"x"}"#],
        ])
    func refusedSettings(_ variables: [String: String]) async throws {
        let client = Answering(status: 200, "{}")
        let error = await #expect(throws: SigstoreError.self) {
            try await place(client, variables).publicKey("hashivault://x")
        }
        #expect(error?.code == .keyServiceSettings, "\(error?.description ?? "")")
        #expect(client.last == nil)
    }

    @Test("No redirect takes the token, or anything else that is for the server alone, to another one")
    func redirects() async throws {
        let other = FaultServer { _, connection in connection.respond(200, [], "{}") }
        let target = other.url
        let server = FaultServer { request, connection in
            connection.respond(307, ["Location: \(target)\(request.target)"])
        }
        let variables = ["VAULT_ADDR": server.url, "VAULT_HEADERS": #"{"Access-Secret":"s"}"#, "VAULT_TOKEN": "t"]
        let place = VaultKeys(
            KeySurroundings(
                variable: { variables[$0] }, now: { 0 }, client: { (_) throws(SigstoreError) in CurlClient() }))
        let error = await #expect(throws: SigstoreError.self) { try await place.publicKey("hashivault://x") }
        #expect(error?.code == .redirectRefused && error?.advice?.description.contains("VAULT_ADDR") == true)
        #expect(server.requests.count == 1 && other.requests.isEmpty)
    }

    @Test("A token comes from ~/.vault-token, and before that from the helper that ~/.vault names")
    func tokens() async throws {
        let home = FileManager.default.temporaryDirectory.appendingPathComponent("vault-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: home, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: home) }
        func used() async throws -> String {
            let client = Answering(status: 403, #"{"errors":["permission denied"]}"#)
            let error = await #expect(throws: SigstoreError.self) {
                try await place(client, ["VAULT_TOKEN": "", "HOME": home.path]).publicKey("hashivault://x")
            }
            #expect(error?.code == .keyDenied)
            #expect(error?.advice?.description.contains("transit/keys/x") == true)
            let secret = try #require(client.last?.authorization)
            let token = unsafe secret.withValue { unsafe String(decoding: $0, as: UTF8.self) }
            #expect(error?.description.contains(token) == false)
            return token
        }
        try "hvs.file\n".write(to: home.appendingPathComponent(".vault-token"), atomically: true, encoding: .utf8)
        #expect(try await used() == "hvs.file")
        let helper = home.appendingPathComponent("helper")
        try Spawning.writeProgram(helper.path, "#!/bin/sh\n[ \"$1\" = get ] && echo hvs.helper\n")
        try "token_helper = \"\(helper.path)\"\n".write(
            to: home.appendingPathComponent(".vault"), atomically: true, encoding: .utf8)
        #expect(try await used() == "hvs.helper")
    }

    @Test(
        "Answers that cannot be are refused",
        arguments: [
            "{", "[]", #"{"data":[]}"#, #"{"data":{"type":"ecdsa-p256"}}"#,
            #"{"data":{"type":"ecdsa-p256","keys":{"1":{"public_key":"x"}}}}"#,
            #"{"data":{"type":"ecdsa-p256","keys":{"01":{"public_key":"x"}}}}"#,
            #"{"data":{"type":"ecdsa-p256","keys":{}}}"#,
            #"{"data":{"type":"ed25519","keys":{"1":{"public_key":"AAAA"}}}}"#,
            #"{"data":{"type":"ecdsa-p256","keys":{"-1":{"public_key":"x"},"99999999999999999999":1}}}"#, "",
        ])
    func hostileAnswers(_ answer: String) async throws {
        let error = await #expect(throws: SigstoreError.self) {
            try await place(Answering(status: 200, answer)).publicKey("hashivault://x")
        }
        #expect(error?.message.contains("127.0.0.1:8200") == true, "\(error?.message ?? "")")
    }
}

/// A client without a network.
private struct NoNetwork: HTTPClient {
    func send(_ request: HTTPRequest, into sink: (any BodySink)?) async throws(SigstoreError) -> HTTPResponse {
        throw SigstoreError(.unreachable, "there is no network")
    }
}

/// A client that always gets one answer.
private final class Answering: HTTPClient, @unchecked Sendable {
    private let status: Int
    private let answer: String
    private let lock = NSLock()
    private var request: HTTPRequest?
    var last: HTTPRequest? { lock.withLock { request } }

    init(status: Int, _ answer: String) { (self.status, self.answer) = (status, answer) }

    func send(_ request: HTTPRequest, into sink: (any BodySink)?) async throws(SigstoreError) -> HTTPResponse {
        lock.withLock { self.request = request }
        return HTTPResponse(status: status, headers: [], body: Array(answer.utf8), url: request.url)
    }
}
