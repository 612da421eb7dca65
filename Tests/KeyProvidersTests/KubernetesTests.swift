import FaultServer
import Foundation
import HTTPTransport
import KeyProviders
import SigstoreCrypto
import Spawning
import StrictJSON
import Testing

/// Keys in the secrets of a cluster, and kubeconfig files.
final class KubernetesTests {
    private static let recordings: Comment = "left out: the recorded exchanges, in ../shared/keys/wire"
    private let folder = FileManager.default.temporaryDirectory.appendingPathComponent("kube-\(UUID().uuidString)").path

    init() throws { try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true) }
    deinit { try? FileManager.default.removeItem(atPath: folder) }

    @discardableResult
    private func write(_ name: String, _ text: String) throws -> String {
        let path = "\(folder)/\(name)"
        try text.write(toFile: path, atomically: true, encoding: .utf8)
        return path
    }

    /// A kubeconfig with one of each.
    private func config(
        user: String = "token: sa-token", server: String = "https://cluster.test:6443", cluster: String = ""
    ) -> String {
        """
        current-context: test
        contexts: [{name: test, context: {cluster: c, user: u}}]
        clusters: [{name: c, cluster: {server: "\(server)"\(cluster)}}]
        users: [{name: u, user: {\(user)}}]
        """
    }

    /// A place whose requests go to a client, with these variables.
    private func place(_ client: any HTTPClient, _ variables: [String: String]) -> KubernetesKeys {
        KubernetesKeys(
            KeySurroundings(
                variable: { variables[$0] }, now: { 1_790_000_000 },
                client: { (tls) throws(SigstoreError) in
                    (client as? Capturing)?.options = tls
                    return client
                }), serviceAccount: folder)
    }

    private func place(_ client: any HTTPClient, config text: String) throws -> KubernetesKeys {
        place(client, ["KUBECONFIG": try write("config", text)])
    }

    /// What is asked with a kubeconfig, and how.
    private func asked(_ text: String) async throws -> Capturing {
        let client = Capturing()
        let error = await #expect(throws: SigstoreError.self) {
            try await place(client, config: text).publicKey("k8s://team-a/sign-key")
        }
        #expect(client.request != nil, "\(error?.description ?? "")")
        return client
    }

    private func authorization(_ client: Capturing) -> String? {
        client.request?.authorization.map { unsafe $0.withValue { unsafe String(decoding: $0, as: UTF8.self) } }
    }

    // MARK: - References

    @Test(
        "A reference that is nearly right says the right form, and is no file",
        arguments: [
            "k8s://", "k8s://name", "k8s:/ns/name", "k8s:ns/name", "K8S://ns/name", "k8s://ns/name/x", "k8s://ns/",
            "k8s:///name", "k8s://NS/name", "k8s://ns/Name", "k8s://ns/-name", "k8s://ns/na..me", "k8s://n.s/name",
            "k8s://ns/é", "k8s://ns/name?x", "k8s://\(String(repeating: "n", count: 64))/name",
        ])
    func wrongReferences(_ reference: String) throws {
        let place = place(Capturing(), [:])
        #expect(place.knows(reference))
        let error = #expect(throws: SigstoreError.self) { try place.check(reference) }
        #expect(error?.code == .unknownKeyReference)
        #expect(error?.advice?.description.contains("k8s://NAMESPACE/NAME") == true)
        try place.check("k8s://team-a/sign-key.v2")
    }

    // MARK: - Requests

    @Test(
        "A secret is asked for as the real client asks, with each kind of credentials, and signs",
        .enabled(if: RecordedExchanges.folder != nil, recordings),
        arguments: [
            ("k8stls-05", "token: sa-token"), ("k8stls-13", "tokenFile: tok"),
            ("k8stls-14", "username: bob, password: pw"),
            (
                "k8stls-12",
                "exec: {apiVersion: client.authentication.k8s.io/v1, command: ./plugin, interactiveMode: Never}"
            ),
            ("k8stls-11", "client-certificate-data: QQ==, client-key: tok"),
        ])
    func recorded(_ name: String, _ user: String) async throws {
        let recorded = try RecordedExchanges(name)
        try write("tok", "filetoken\n")
        try Spawning.writeCredentialProgram("\(folder)/plugin")
        let place = try place(recorded, config: config(user: user))
        let signer = try await place.signer("k8s://team-a/sign-key") { SecretBytes([]) }
        let public_ = try await place.publicKey("k8s://team-a/sign-key")
        #expect(signer.publicKey.isSame(as: public_))
        // One look-up for both.
        #expect(recorded.requests.count == 1)
        let exchange = try #require(recorded.requests.first)
        #expect(exchange.request.header("Accept") == "application/json")
        let sent = exchange.request.authorization.map {
            unsafe $0.withValue { unsafe String(decoding: $0, as: UTF8.self) }
        }
        #expect(sent == exchange.recorded.headers["authorization"])
        #expect(exchange.request.refusesRedirects)
        let facts = try await place.facts("k8s://team-a/sign-key")
        #expect(facts.contains(KeyFact("holds", "cosign.key, cosign.password, cosign.pub")))
        #expect(facts.contains(KeyFact("algorithm", "\(public_.kind)")))
        #expect(!facts.contains { $0.value.contains("token:") || $0.value.contains("pw") }, "\(facts)")
    }

    @Test("A new secret is made with JSON as the API has it, and nothing is asked beside it")
    func making() async throws {
        let key = try PrivateKey.generate(.ecdsaP256)
        let pair = try EncryptedKeyPair(key, password: SecretBytes(Array("pw".utf8)))
        let client = Answers { request in
            if request.method == "GET" { return (404, Self.status("NotFound", 404)) }
            return (201, request.text.replacing("\"kind\"", with: "\"x\":1,\"kind\""))
        }
        let place = try place(client, config: config())
        #expect(try await place.existing("k8s://team-a/sign-key").isEmpty)
        _ = try await place.keep(pair, "k8s://team-a/sign-key", replacing: false)
        #expect(
            client.requests.map { "\($0.method) \($0.url.path)" } == [
                "GET /api/v1/namespaces/team-a/secrets/sign-key", "GET /api/v1/namespaces/team-a/secrets/sign-key",
                "POST /api/v1/namespaces/team-a/secrets",
            ])
        let sent = JSONCursor(try JSONValue(parsing: Array(try #require(client.requests.last).text.utf8)))
        #expect(try sent.member("immutable").bool() && sent.member("type").string() == "Opaque")
        #expect(try sent.member("metadata").member("namespace").string() == "team-a")
        let data = try sent.member("data")
        #expect(try data.names() == ["cosign.key", "cosign.password", "cosign.pub"])
        #expect(try data.member("cosign.password").bytes() == Array("pw".utf8))
        #expect(try data.member("cosign.pub").bytes() == Array(key.publicKey.pem.utf8))
        let opened = try PrivateKey.read(file: try data.member("cosign.key").bytes()) {
            SecretBytes(Array("pw".utf8))
        }
        #expect(opened.publicKey.isSame(as: key.publicKey))
    }

    @Test("A secret that is there keeps all else in it, and its version; what is immutable or taken is left alone")
    func replacing() async throws {
        let pair = try EncryptedKeyPair(try PrivateKey.generate(.ecdsaP256), password: SecretBytes([]))
        func object(_ more: String, _ data: String) -> String {
            #"{"metadata":{"name":"s","namespace":"n","resourceVersion":"7","labels":{"a":"b"}},"data":{\#(data)}\#(more)}"#
        }
        func keep(_ there: String, replacing: Bool) async throws -> Answers {
            let client = Answers { request in request.method == "GET" ? (200, there) : (200, request.text) }
            _ = try await place(client, config: config()).keep(pair, "k8s://n/s", replacing: replacing)
            return client
        }
        let added = try await keep(object("", #""other":"QQ==""#), replacing: false)
        let put = try #require(added.requests.last)
        #expect(put.method == "PUT" && put.url.path == "/api/v1/namespaces/n/secrets/s" && !put.isIdempotent)
        #expect(put.text.contains(#""resourceVersion":"7""#) && put.text.contains(#""labels":{"a":"b"}"#))
        #expect(put.text.contains(#""other":"QQ==""#) && !put.text.contains("immutable"))
        let taken = object("", #""cosign.key":"QQ==","cosign.pub":"QQ==""#)
        let refused = await #expect(throws: SigstoreError.self) { try await keep(taken, replacing: false) }
        #expect(refused?.code == .keyExists)
        #expect(try await keep(taken, replacing: true).requests.last?.method == "PUT")
        let fixed = await #expect(throws: SigstoreError.self) {
            try await keep(object(#","immutable":true"#, ""), replacing: true)
        }
        #expect(fixed?.code == .keyUnusable && fixed?.description.contains("kubectl delete secret s -n n") == true)
        let names = try await place(Answers { _ in (200, taken) }, config: config()).existing("k8s://n/s")
        #expect(names == ["cosign.key in the secret n/s", "cosign.pub in the secret n/s"])
    }

    @Test("If the answer to writing is lost, it is looked whether the secret was written")
    func lostAnswer() async throws {
        let pair = try EncryptedKeyPair(try PrivateKey.generate(.ecdsaP256), password: SecretBytes([]))
        for isKept in [true, false] {
            let kept = Kept()
            let client = Answers { request in
                if request.method == "GET" {
                    return kept.text.map { (200, $0) } ?? (404, Self.status("NotFound", 404))
                }
                if isKept { kept.text = request.text }
                return nil
            }
            let place = try place(client, config: config())
            if isKept {
                _ = try await place.keep(pair, "k8s://n/s", replacing: false)
            } else {
                let error = await #expect(throws: SigstoreError.self) {
                    try await place.keep(pair, "k8s://n/s", replacing: false)
                }
                #expect(error?.message.contains("not known") == true)
            }
        }
        // A cluster that keeps something else than what was sent.
        let other = Answers { request in
            request.method == "GET"
                ? (404, Self.status("NotFound", 404)) : (201, #"{"metadata":{"name":"s","namespace":"n"},"data":{}}"#)
        }
        let error = await #expect(throws: SigstoreError.self) {
            try await place(other, config: self.config()).keep(pair, "k8s://n/s", replacing: false)
        }
        #expect(error?.code == .keyServiceAnswer)
    }

    // MARK: - Refusals

    private static func status(_ reason: String, _ code: Int, _ message: String = "words of the cluster") -> String {
        #"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"\#(message)","reason":"\#(reason)","code":\#(code)}"#
    }

    @Test(
        "What the cluster refuses is said with what helps",
        arguments: [
            (401, status("Unauthorized", 401), "key-denied", "log in again"),
            (403, status("Forbidden", 403), "key-denied", "verb get on the resource secrets"),
            (404, status("NotFound", 404), "key-not-found", "kubectl get secrets -n team-a"),
            (404, "<html>", "key-service-settings", "check the server"),
            (409, status("Conflict", 409), "key-exists", ""),
            (422, status("Invalid", 422), "key-unusable", ""), (429, status("x", 429), "key-service-failed", "later"),
            (503, "", "key-service-failed", "later"), (418, status("x", 418), "http-status", ""),
        ])
    func refusals(_ status: Int, _ body: String, _ code: String, _ advice: String) async throws {
        let error = await #expect(throws: SigstoreError.self) {
            try await place(Answers { _ in (status, body) }, config: config()).publicKey("k8s://team-a/sign-key")
        }
        #expect(error?.code.rawValue == code, "\(error?.description ?? "")")
        #expect(error?.message.contains("team-a/sign-key") == true, "\(error?.description ?? "")")
        if body.contains("words"), status != 404 { #expect(error?.message.contains("words of the cluster") == true) }
        #expect(advice.isEmpty || error?.advice?.description.contains(advice) == true, "\(error?.description ?? "")")
        #expect(error?.description.contains("sa-token") == false)
    }

    @Test(
        "Answers that cannot be are refused",
        arguments: [
            "", "{", "[]", "{}", #"{"metadata":{"name":"other","namespace":"team-a"},"data":{}}"#,
            #"{"metadata":{"name":"sign-key","namespace":"team-a"},"data":[]}"#,
            #"{"metadata":{"name":"sign-key","namespace":"team-a"},"data":{"cosign.pub":"*"}}"#,
            #"{"metadata":{"name":"sign-key","namespace":"team-a"},"data":{"cosign.pub":1}}"#,
            #"{"metadata":{"name":"sign-key","namespace":"team-a"},"data":{"cosign.pub":"QQ=="}}"#,
            #"{"metadata":{"name":"sign-key","namespace":"team-a"}}"#,
        ])
    func hostileAnswers(_ answer: String) async throws {
        for isSigner in [true, false] {
            let error = await #expect(throws: SigstoreError.self) {
                let place = try place(Answers { _ in (200, answer) }, config: config())
                if isSigner {
                    _ = try await place.signer("k8s://team-a/sign-key") { SecretBytes([]) }
                } else {
                    _ = try await place.publicKey("k8s://team-a/sign-key")
                }
            }
            #expect(error?.message.contains("cluster.test:6443") == true, "\(error?.message ?? "")")
        }
    }

    @Test("A public key that is not that of the private key beside it is told before anything is signed")
    func halves() async throws {
        let pair = try EncryptedKeyPair(try PrivateKey.generate(.ecdsaP256), password: SecretBytes(Array("pw".utf8)))
        let other = try PrivateKey.generate(.ecdsaP256).publicKey.pem
        func signer(_ publicKey: String, password: String?) async throws -> any Signer {
            let entry = password.map { #""cosign.password":"\#(Base64.encode(Array($0.utf8)))","# } ?? ""
            let data =
                #"\#(entry)"cosign.key":"\#(Base64.encode(Array(pair.privateKey.utf8)))","cosign.pub":"\#(Base64.encode(Array(publicKey.utf8)))""#
            let answer = #"{"metadata":{"name":"s","namespace":"n"},"data":{\#(data)}}"#
            return try await place(Answers { _ in (200, answer) }, config: config()).signer("k8s://n/s") {
                SecretBytes(Array("pw".utf8))
            }
        }
        let error = await #expect(throws: SigstoreError.self) { try await signer(other, password: "pw") }
        #expect(error?.code == .keyMismatch && error?.message.contains("secret n/s") == true)
        // Without an entry the person is asked.
        #expect(try await signer(pair.publicKey, password: nil).publicKey.pem == pair.publicKey)
        let wrong = await #expect(throws: SigstoreError.self) { try await signer(pair.publicKey, password: "x") }
        #expect(wrong?.code.rawValue == "wrong-password" && wrong?.message.contains("secret n/s") == true)
    }

    @Test(
        "No redirect takes the token, or anything else, to another server; an answer that is too large is not read; throttling is honoured"
    )
    func redirects() async throws {
        let busy = Kept()
        let other = FaultServer { _, connection in connection.respond(200, [], "{}") }
        let target = other.url
        let server = FaultServer { request, connection in
            if request.target.contains("busy") {
                // Once too much is asked, and the next time there is an answer.
                guard busy.text == nil else { return connection.respond(404, [], Self.status("NotFound", 404)) }
                busy.text = "asked"
                connection.respond(429, ["Retry-After: 0"], Self.status("TooManyRequests", 429))
            } else if request.target.contains("large") {
                connection.respond(200, [], [UInt8](repeating: 0x20, count: 5 << 20))
            } else {
                connection.respond(307, ["Location: \(target)\(request.target)"])
            }
        }
        let path = try write("config", config(user: "", server: server.url))
        let place = KubernetesKeys(
            KeySurroundings(
                variable: { $0 == "KUBECONFIG" ? path : nil }, now: { 0 },
                client: { (_) throws(SigstoreError) in CurlClient() }))
        let error = await #expect(throws: SigstoreError.self) { try await place.publicKey("k8s://n/s") }
        #expect(error?.code == .redirectRefused && other.requests.isEmpty)
        let large = await #expect(throws: SigstoreError.self) { try await place.publicKey("k8s://n/large") }
        #expect(large?.code == .tooLarge)
        let later = await #expect(throws: SigstoreError.self) { try await place.publicKey("k8s://n/busy") }
        #expect(later?.code == .keyNotFound && busy.text != nil)
    }

    // MARK: - kubeconfig

    @Test("Of several files the first that has something counts, and paths begin at the file's own folder")
    func merging() async throws {
        let client = Capturing()
        try FileManager.default.createDirectory(atPath: "\(folder)/sub", withIntermediateDirectories: true)
        try write("sub/tok", "from-sub")
        try write("sub/ca", "CA")
        let first = try write("a", "users: [{name: u, user: {token: first}}]\n")
        let second = try write(
            "sub/b",
            """
            current-context: two
            contexts: [{name: two, context: {cluster: c, user: v}}, {name: one, context: {cluster: c, user: u}}]
            clusters: [{name: c, cluster: {server: https://h/base/, certificate-authority: ca, tls-server-name: real.test}}]
            users: [{name: u, user: {token: second}}, {name: v, user: {tokenFile: ./tok}}]
            """)
        let third = try write("c", "current-context: three\n")
        func ask(_ list: String) async {
            let place = place(client, ["KUBECONFIG": list])
            await #expect(throws: SigstoreError.self) { try await place.publicKey("k8s://n/s") }
        }
        await ask("\(folder)/none:\(first)::\(second):\(third)")
        #expect(authorization(client) == "Bearer from-sub")
        #expect(client.request?.url.description == "https://h/base/api/v1/namespaces/n/secrets/s")
        #expect(client.options?.serverName == "real.test" && client.options?.authority != nil)
        try write("c", "current-context: one\n")
        await ask("\(third):\(first):\(second)")
        #expect(authorization(client) == "Bearer first")
        // The token is read anew each time.
        await ask(second)
        try write("sub/tok", "renewed")
        await ask(second)
        #expect(authorization(client) == "Bearer renewed")
    }

    @Test("~/.kube/config counts if no other is named; a pod's account only if there is none")
    func places() async throws {
        try FileManager.default.createDirectory(atPath: "\(folder)/.kube", withIntermediateDirectories: true)
        let client = Capturing()
        try write("token", "pod-token\n")
        let pod = ["HOME": folder, "KUBERNETES_SERVICE_HOST": "fd00::1", "KUBERNETES_SERVICE_PORT": "443"]
        await #expect(throws: SigstoreError.self) { try await place(client, pod).publicKey("k8s://n/s") }
        #expect(
            client.request?.url.origin.description == "https://[fd00::1]" && authorization(client) == "Bearer pod-token"
        )
        #expect(client.options?.authorityFile == "\(folder)/ca.crt")
        try write(".kube/config", config(user: "token: mine"))
        await #expect(throws: SigstoreError.self) { try await place(client, pod).publicKey("k8s://n/s") }
        #expect(authorization(client) == "Bearer mine")
        let none = await #expect(throws: SigstoreError.self) {
            try await place(client, ["HOME": "/nonexistent"]).publicKey("k8s://n/s")
        }
        #expect(none?.code == .keyServiceSettings)
        for word in ["/nonexistent/.kube/config", "KUBERNETES_SERVICE_HOST", "KUBECONFIG"] {
            #expect(none?.description.contains(word) == true, "\(none?.description ?? "")")
        }
    }

    @Test("A user acts for another one by header fields, and a proxy, a name and certificates reach the connection")
    func connection() async throws {
        let client = try await asked(
            config(
                user:
                    "client-certificate-data: QQ==, client-key-data: Qg==, as: ann, as-uid: '7', as-groups: [g, h], as-user-extra: {Scopes/x: [v]}",
                cluster: ", certificate-authority-data: Qw==, proxy-url: \"http://u:pw@proxy.test:3128\""))
        let fields = client.request?.headers.filter { $0.name.hasPrefix("Impersonate") } ?? []
        #expect(
            fields.map { "\($0.name)=\($0.value)" } == [
                "Impersonate-User=ann", "Impersonate-Uid=7", "Impersonate-Group=g", "Impersonate-Group=h",
                "Impersonate-Extra-scopes%2Fx=v",
            ])
        #expect(client.request?.proxy?.authority == "proxy.test:3128")
        #expect(client.request?.authorization == nil)
        #expect(
            client.options?.clientCertificate != nil && client.options?.clientKey != nil
                && client.options?.authority != nil)
    }

    @Test("Over plain HTTP nothing secret is sent: to this machine without credentials, to others not at all")
    func plainHTTP() async throws {
        let local = try await asked(config(user: "token: sa-token, as: ann", server: "http://127.0.0.1:8001"))
        #expect(local.request?.authorization == nil)
        #expect(local.request?.headers.contains { $0.name.hasPrefix("Impersonate") } == false)
        for (server, cluster) in [
            ("http://cluster.test", ""), ("http://127.0.0.1:8001", ", proxy-url: \"http://proxy.test:3128\""),
        ] {
            let client = Capturing()
            let error = await #expect(throws: SigstoreError.self) {
                try await place(client, config: config(server: server, cluster: cluster)).publicKey("k8s://n/s")
            }
            #expect(error?.code == .keyServiceSettings && client.request == nil)
        }
    }

    @Test(
        "What cannot be meant is refused with the file and the line, and nothing is asked",
        arguments: [
            ("a: [", 2, "YAML"), ("a: 1\na: 2\n", 2, "twice"), ("kind: Other\n", 1, "Config"), ("[]", 1, "object"),
            ("apiVersion: v2\n", 1, "v1"), ("current-context: [x]\n", 1, "string"),
            ("users: [{name: u}]\n", nil, "current-context"),
            ("current-context: x\n", nil, "\"x\""),
            ("current-context: x\ncontexts:\n- name: x\n  context:\n    user: u\n", 5, "cluster"),
            ("current-context: x\ncontexts:\n- name: x\n  context: {cluster: c}\n", nil, "\"c\""),
            ("current-context: x\ncontexts:\n- name: x\n- name: x\n", 4, "as another"),
            (
                "current-context: x\ncontexts: [{name: x, context: {cluster: c}}]\nclusters:\n- name: c\n  cluster:\n    server: host:6443\n",
                6, "address"
            ),
            (
                "current-context: x\ncontexts: [{name: x, context: {cluster: c}}]\nclusters:\n- name: c\n  cluster:\n    server: https://h\n    insecure-skip-tls-verify: yes\n",
                7, "true or false"
            ),
            (
                "current-context: x\ncontexts: [{name: x, context: {cluster: c}}]\nclusters:\n- name: c\n  cluster:\n    server: https://h\n    certificate-authority-data: '*'\n",
                7, "base64"
            ),
            (
                "current-context: x\ncontexts: [{name: x, context: {cluster: c}}]\nclusters:\n- name: c\n  cluster:\n    server: http://127.0.0.1:1\n    proxy-url: http://192.0.2.2:1\n",
                nil, "proxy"
            ),
            (
                "current-context: x\ncontexts: [{name: x, context: {cluster: c, user: u}}]\nclusters: [{name: c, cluster: {server: 'https://h'}}]\nusers:\n- name: u\n  user: {token: 12345678}\n",
                6, "quotation marks"
            ),
        ] as [(String, Int?, String)])
    func malformed(_ text: String, _ line: Int?, _ word: String) async throws {
        let client = Capturing()
        let error = await #expect(throws: SigstoreError.self) {
            try await place(client, config: text).publicKey("k8s://n/s")
        }
        #expect(error?.code == .keyServiceSettings && client.request == nil, "\(error?.description ?? "")")
        let beginning = line.map { "\(folder)/config, line \($0):" } ?? "\(folder)/config"
        #expect(error?.message.contains(beginning) == true, "\(error?.description ?? "")")
        #expect(error?.message.contains(word) == true, "\(error?.description ?? "")")
    }

    @Test(
        "A user that cannot be used says why",
        arguments: [
            ("auth-provider: {name: gcp}", "\"gcp\""), ("token: 12345", "quotation marks"),
            ("username: true, password: x", "quotation marks"),
            ("token: a, username: b, password: c", "token, and a username"),
            ("client-certificate-data: QQ==", "no client-key"), ("client-key-data: QQ==", "no client-certificate"),
            ("client-certificate: none, client-key: none", "none"), ("as-groups: [g]", "\"as\""),
            ("tokenFile: none", "token cannot be read"), ("tokenFile: empty", "no token"),
            ("exec: {apiVersion: client.authentication.k8s.io/v1alpha1, command: x}", "update-kubeconfig"),
            ("exec: {apiVersion: client.authentication.k8s.io/v1, command: x}", "interactiveMode"),
            ("exec: {apiVersion: client.authentication.k8s.io/v1, command: x, interactiveMode: Always}", "Always"),
            ("exec: {apiVersion: client.authentication.k8s.io/v1, interactiveMode: Never}", "command"),
            (
                "exec: {apiVersion: client.authentication.k8s.io/v1beta1, command: ./none, installHint: get it}",
                "get it"
            ),
            (
                "exec: {apiVersion: client.authentication.k8s.io/v1beta1, command: x, env: [{name: a=b, value: c}]}",
                "a=b"
            ),
        ])
    func wrongUsers(_ user: String, _ words: String) async throws {
        let client = Capturing()
        try write("empty", "\n")
        let error = await #expect(throws: SigstoreError.self) {
            try await place(client, config: config(user: user)).publicKey("k8s://n/s")
        }
        #expect(error?.code == .keyServiceSettings && client.request == nil, "\(error?.description ?? "")")
        #expect(error?.description.contains(words) == true, "\(error?.description ?? "")")
    }

    // MARK: - Programs for credentials

    @Test("A program for credentials gets what the interface says, and none of our secrets")
    func program() async throws {
        try Spawning.writeCredentialProgram(
            "\(folder)/plugin",
            status: #"{"clientCertificateData":"C","clientKeyData":"K","expirationTimestamp":"2030-01-01T00:00:00Z"}"#,
            version: "v1beta1",
            before: #"{ echo "$1 $MORE $COSIGN_PASSWORD"; echo "$KUBERNETES_EXEC_INFO"; } > "${0%/*}/said""#)
        let client = try await asked(
            config(
                user:
                    "exec: {apiVersion: client.authentication.k8s.io/v1beta1, command: ./plugin, args: [get-token], env: [{name: MORE, value: 'a b'}], provideClusterInfo: true}",
                cluster:
                    ", certificate-authority-data: Qw==, extensions: [{name: client.authentication.k8s.io/exec, extension: {audience: x}}]"
            ))
        #expect(client.request?.authorization == nil && client.options?.clientKey != nil)
        let said = try String(contentsOfFile: "\(folder)/said", encoding: .utf8).split(separator: "\n")
        #expect(said.first == "get-token a b ")
        #expect(
            said.last
                == #"{"kind":"ExecCredential","apiVersion":"client.authentication.k8s.io/v1beta1","spec":{"interactive":false,"cluster":{"server":"https://cluster.test:6443/","certificate-authority-data":"Qw==","config":{"audience":"x"}}}}"#
        )
    }

    /// Writes a program that gives the token `exec-1` the first time, `exec-2` the second, and so on, with an end if one is told.
    private func writeCountingProgram(end: String = "") throws {
        let more = end.isEmpty ? "" : #","expirationTimestamp":"\#(end)""#
        try Spawning.writeCredentialProgram(
            "\(folder)/plugin", status: #"{"token":"exec-'$n'"\#(more)}"#,
            before: #"""
                echo >> "${0%/*}/runs"
                n=$(wc -l < "${0%/*}/runs")
                """#)
    }

    private static let exec =
        "exec: {apiVersion: client.authentication.k8s.io/v1, command: ./plugin, interactiveMode: %}"

    /// The tokens that were shown.
    private func tokens(_ client: Answers) -> [String] {
        client.requests.compactMap { request in
            request.authorization.map { unsafe $0.withValue { unsafe String(decoding: $0, as: UTF8.self) } }
        }
    }

    private static let secret = #"{"metadata":{"name":"s","namespace":"n"},"data":{"other":"QQ=="}}"#

    @Test("A program is asked once more if the cluster refuses what it gave, and then no more")
    func renewal() async throws {
        let user = Self.exec.replacing("%", with: "Never")
        try writeCountingProgram()
        let client = Answers { request in
            let token = request.authorization.map { unsafe $0.withValue { unsafe Array($0) } } ?? []
            return token == Array("Bearer exec-1".utf8) ? (401, Self.status("Unauthorized", 401)) : (200, Self.secret)
        }
        let place = try place(client, config: config(user: user))
        #expect(try await place.existing("k8s://n/s").isEmpty)
        #expect(try await place.existing("k8s://n/s").isEmpty)
        #expect(tokens(client) == ["Bearer exec-1", "Bearer exec-2", "Bearer exec-2"])
        // What is refused again is refused, and credentials that stand in the file are not asked for again.
        for (user, count) in [(user, 2), ("token: mine", 1)] {
            let refusing = Answers { _ in (401, Self.status("Unauthorized", 401)) }
            let other = try self.place(refusing, config: config(user: user))
            let error = await #expect(throws: SigstoreError.self) { try await other.existing("k8s://n/s") }
            #expect(error?.code == .keyDenied && refusing.requests.count == count, "\(error?.description ?? "")")
        }
        #expect(Set(tokens(client)).count == 2)
    }

    @Test("Credentials whose time is over are not shown: the program is asked again")
    func ended() async throws {
        let client = Answers { _ in (200, Self.secret) }
        for (end, expected) in [
            ("2026-01-01T00:00:00Z", ["Bearer exec-2", "Bearer exec-3"]),
            ("2030-01-01T00:00:00Z", ["Bearer exec-4", "Bearer exec-4"]),
        ] {
            try writeCountingProgram(end: end)
            let place = try place(client, config: config(user: Self.exec.replacing("%", with: "Never")))
            let before = client.requests.count
            for _ in 0..<2 { #expect(try await place.existing("k8s://n/s").isEmpty) }
            #expect(Array(tokens(client)[before...]) == expected)
        }
    }

    @Test(
        "A program that must ask a person is not run without a terminal; one that may do so is told",
        arguments: ["Always", "IfAvailable"])
    func withoutTerminal(_ mode: String) async throws {
        try Spawning.writeCredentialProgram(
            "\(folder)/plugin", status: #"{"token":"t"}"#, before: #"echo "$KUBERNETES_EXEC_INFO" > "${0%/*}/said""#)
        let client = Answers { _ in (200, Self.secret) }
        let place = try place(client, config: config(user: Self.exec.replacing("%", with: mode)))
        if mode == "Always" {
            let error = await #expect(throws: SigstoreError.self) { try await place.existing("k8s://n/s") }
            #expect(error?.description.contains("standard input is not a terminal") == true)
            #expect(client.requests.isEmpty && !FileManager.default.fileExists(atPath: "\(folder)/said"))
        } else {
            _ = try await place.existing("k8s://n/s")
            let said = try String(contentsOfFile: "\(folder)/said", encoding: .utf8)
            #expect(said.contains(#""interactive":false"#))
        }
    }

    @Test(
        "A program that gives no credentials is named, with what it did",
        arguments: [
            ("exit 3", "status 3"), ("echo x", "something else"), ("echo '{}'", "something else"),
            (
                #"echo '{"apiVersion":"client.authentication.k8s.io/v1","kind":"ExecCredential","status":{"token":"secret-word"}}'"#,
                "v1beta1"
            ),
            (
                #"echo '{"apiVersion":"client.authentication.k8s.io/v1beta1","kind":"ExecCredential","status":{}}'"#,
                "neither a token"
            ),
            (
                #"echo '{"apiVersion":"client.authentication.k8s.io/v1beta1","kind":"ExecCredential","status":{"clientKeyData":"k"}}'"#,
                "neither a token"
            ),
            ("head -c 100000 /dev/zero", "more than"),
        ])
    func failingProgram(_ body: String, _ words: String) async throws {
        try Spawning.writeProgram("\(folder)/plugin", "#!/bin/sh\n\(body)\n")
        let error = await #expect(throws: SigstoreError.self) {
            try await place(
                Capturing(),
                config: config(user: "exec: {apiVersion: client.authentication.k8s.io/v1beta1, command: ./plugin}")
            ).publicKey("k8s://n/s")
        }
        #expect(error?.code == .keyServiceSettings && error?.message.contains("plugin") == true)
        #expect(error?.description.contains(words) == true, "\(error?.description ?? "")")
        #expect(error?.description.contains("secret-word") == false)
    }
}

/// What a server of a test keeps.
private final class Kept: @unchecked Sendable {
    private let lock = NSLock()
    private var value: String?
    var text: String? {
        get { lock.withLock { value } }
        set { lock.withLock { value = newValue } }
    }
}

/// A client without a network that keeps what it is asked.
private final class Capturing: HTTPClient, @unchecked Sendable {
    private let lock = NSLock()
    private var last: HTTPRequest?
    private var tls: TLSOptions?
    var request: HTTPRequest? { lock.withLock { last } }
    var options: TLSOptions? {
        get { lock.withLock { tls } }
        set { lock.withLock { tls = newValue } }
    }

    func send(_ request: HTTPRequest, into sink: (any BodySink)?) async throws(SigstoreError) -> HTTPResponse {
        lock.withLock { last = request }
        throw SigstoreError(.unreachable, "there is no network")
    }
}
