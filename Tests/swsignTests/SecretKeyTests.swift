import FaultServer
import Foundation
import HTTPTransport
import SigstoreCrypto
import StrictJSON
import Synchronization
import TestServices
import Spawning
import Testing

/// Key pairs in the secrets and variables of others: Kubernetes, GitLab and GitHub, with the real program and servers that are
/// held to recorded exchanges.
@Suite(
    "Key pairs in secrets",
    .enabled(if: SecretServices.areThere, "left out: the servers of key services, in ../shared/keys/fakes"))
struct SecretKeyTests {
    private let directory = TemporaryDirectory()
    private let services: SecretServices

    init() throws {
        services = try SecretServices.running()
        try directory.write("file", "the release")
        try directory.write("predicate.json", "{}")
    }

    private func swsign(
        _ arguments: [String], _ environment: [String: String], terminal: [Program.Turn]? = nil
    ) async -> Program.Outcome {
        await Program(directory: directory.path, environment: environment).run(
            arguments, input: terminal == nil ? .nothing : .terminal, terminal: terminal)
    }

    /// The variables that lead to the cluster.
    private func cluster(_ user: String = "token: sa-token", cluster: String? = nil) throws -> [String: String] {
        try directory.write("config", services.kubeconfig(user, cluster: cluster))
        return ["KUBECONFIG": directory["config"], "COSIGN_PASSWORD": "a password"]
    }

    private var gitlab: [String: String] {
        [
            "GITLAB_HOST": "http://127.0.0.1:\(services.port)", "GITLAB_TOKEN": "glpat-test",
            "COSIGN_PASSWORD": "a-long-password",
        ]
    }

    /// What the server of GitLab and GitHub answers; nothing if it has nothing there.
    private func get(_ path: String, _ token: Authorization? = nil) async throws -> String {
        let response = try await CurlClient().send(
            HTTPRequest(
                "GET", try HTTPURL(parsing: "http://127.0.0.1:\(services.port)\(path)"), authorization: token,
                handledStatuses: [404]))
        return response.status == 200 ? String(decoding: response.body, as: UTF8.self) : ""
    }

    /// Makes a pair, then signs and verifies with it in every way.
    private func useEverywhere(_ key: String, _ environment: [String: String]) async throws {
        let made = await swsign(["generate-key-pair", key], environment)
        #expect(made.succeeded, "\(made.messages)")
        #expect(!directory.exists("cosign.key") && directory.exists("cosign.pub"))
        // The password that is kept beside the key opens it.
        var reading = environment
        reading["COSIGN_PASSWORD"] = "not the password"
        for (sign, verify) in [
            (["sign-blob"], ["verify-blob"]),
            (
                ["attest-blob", "--type", "custom", "--predicate", "predicate.json"],
                ["verify-blob-attestation", "--type", "custom"]
            ),
        ] {
            let signed = await swsign(
                sign + ["--key", key, "--tlog-upload=false", "--yes", "--bundle", "b.json", "file"], reading)
            #expect(signed.succeeded, "\(signed.messages)")
            for (given, variables) in [(key, reading), ("cosign.pub", [:])] {
                let verified = await swsign(
                    verify + ["--key", given, "--insecure-ignore-tlog", "--bundle", "b.json", "file"], variables)
                #expect(verified.succeeded, "\(verified.messages)")
            }
        }
        let image = try await ImageFixture()
        let name = "\(image.repository)@\(try await image.push(tag: "1").digest)"
        let signed = await swsign(["sign", "--key", key, "--tlog-upload=false", name], reading)
        #expect(signed.succeeded, "\(signed.messages)")
        let verified = await swsign(["verify", "--key", key, "--insecure-ignore-tlog", name], reading)
        #expect(verified.succeeded, "\(verified.messages)")
        let exported = await swsign(["public-key", "--key", key], reading)
        #expect(exported.output == (try directory.text("cosign.pub")))
        // Another program verifies it.
        let detached = await swsign(
            ["sign-blob", "--key", key, "--tlog-upload=false", "--output-signature", "file.sig", "file"], reading)
        #expect(detached.succeeded, "\(detached.messages)")
        let openssl = Program(executable: "/bin/sh", directory: directory.path, environment: ["PATH": "/usr/bin:/bin"])
        let checked = await openssl.run([
            "-c", "base64 -d file.sig > file.der && openssl dgst -sha256 -verify cosign.pub -signature file.der file",
        ])
        #expect(checked.succeeded, "\(checked.messages)\(checked.output)")
    }

    // MARK: - Kubernetes

    @Test("A pair in a secret of a cluster is made, signs and verifies")
    func kubernetes() async throws {
        let environment = try cluster()
        let key = "k8s://team-a/everywhere"
        try await useEverywhere(key, environment)
        let facts = await swsign(["key", "info", key], environment)
        for words in [
            "service: Kubernetes, https://127.0.0.1:\(services.tlsPort)", "secret everywhere in the namespace team-a",
            "algorithm: ECDSA P-256", "credentials: token of the user \"u\"",
            "holds: cosign.key, cosign.password, cosign.pub",
        ] { #expect(facts.output.contains(words), "\(words): \(facts.output)\(facts.messages)") }
        #expect(!facts.output.contains("sa-token"))
        let verified = await swsign(
            [
                "verify-blob-attestation", "--type", "custom", "-o", "json", "--key", key, "--insecure-ignore-tlog",
                "--bundle", "b.json", "file",
            ], environment)
        #expect(verified.output.contains(#""trustVariables":["KUBECONFIG"]"#), "\(verified.output)\(verified.messages)")
        // The secret is read once a run.
        try directory.write("other", "another release")
        for arguments in [
            ["sign-blob", "--key", key, "--tlog-upload=false", "file", "other"],
            ["verify-blob", "--key", key, "--insecure-ignore-tlog", "file", "other"],
        ] {
            let outcome = await swsign(arguments + ["--verbose"], environment)
            #expect(outcome.succeeded, "\(outcome.messages)")
            let asked = outcome.messages.components(separatedBy: "\n").filter { $0.contains("/secrets/") }
            #expect(asked.count == 1, "\(outcome.messages)")
        }
        // What is immutable is never replaced, and the message says how to make room.
        let again = await swsign(
            ["generate-key-pair", key, "--output-key-prefix", "again"], environment,
            terminal: [])
        #expect(!again.succeeded && again.messages.contains("[key-unusable]"), "\(again.messages)")
        #expect(again.messages.contains("kubectl delete secret everywhere -n team-a") && !directory.exists("again.pub"))
    }

    @Test(
        "Each kind of credentials is shown to the cluster",
        arguments: [
            "token: sa-token", "tokenFile: tok", "username: bob\npassword: pw",
            "client-certificate: FOLDER/client.pem\nclient-key: FOLDER/client.key",
            "exec:\n  apiVersion: client.authentication.k8s.io/v1\n  command: ./plugin\n  interactiveMode: Never",
        ])
    func credentials(_ user: String) async throws {
        try directory.write("tok", "file-token\n")
        try Spawning.writeCredentialProgram(directory["plugin"])
        let outcome = await swsign(
            ["key", "info", "k8s://team-a/none"], try cluster(user.replacing("FOLDER", with: services.folder)))
        // Known, so that the secret is looked for.
        #expect(outcome.messages.contains("[key-not-found]"), "\(outcome.messages)")
    }

    @Test(
        "A program for credentials gets the terminal, and may ask a person there, if it says so",
        arguments: ["Always", "IfAvailable"])
    func asksPerson(_ mode: String) async throws {
        try Spawning.writeCredentialProgram(
            directory["plugin"], status: #"{"token":"'$code'"}"#,
            before: #"""
                echo "$KUBERNETES_EXEC_INFO" > said
                printf 'Code: ' > /dev/tty
                read code
                """#)
        let user =
            "exec:\n  apiVersion: client.authentication.k8s.io/v1\n  command: ./plugin\n  interactiveMode: \(mode)"
        let outcome = await swsign(
            ["key", "info", "k8s://team-a/none"], try cluster(user), terminal: [Program.Turn("Code: ", "exec-token\n")])
        #expect(outcome.code == "key-not-found", "\(outcome.messages)\(outcome.screen)")
        #expect(try directory.text("said").contains(#""interactive":true"#))
        // Without a terminal it cannot ask.
        let without = await swsign(["key", "info", "k8s://team-a/none"], try cluster(user))
        #expect(without.code == "key-service-settings", "\(without.messages)")
        #expect(
            without.messages.contains(mode == "Always" ? "is not a terminal" : "neither a token"), "\(without.messages)"
        )
    }

    @Test("Certificates and the client's key stand in the kubeconfig itself too, and another name can be demanded")
    func inlineCertificates() async throws {
        func data(_ name: String) throws -> String {
            try Data(contentsOf: URL(fileURLWithPath: "\(services.folder)/\(name)")).base64EncodedString()
        }
        let user = "client-certificate-data: \(try data("client.pem"))\nclient-key-data: \(try data("client.key"))"
        let server =
            "server: https://127.0.0.1:\(services.tlsPort)\ncertificate-authority-data: \(try data("server.pem"))"
        for (more, code) in [
            ("", "key-not-found"), ("\ntls-server-name: cluster.test", "key-not-found"),
            ("\ntls-server-name: other.test", "tls-failed"),
        ] {
            let outcome = await swsign(["key", "info", "k8s://team-a/none"], try cluster(user, cluster: server + more))
            #expect(outcome.code == code, "\(outcome.messages)")
        }
        // The system's authorities do not know this cluster.
        let address = "server: https://127.0.0.1:\(services.tlsPort)"
        let unknown = await swsign(["key", "info", "k8s://team-a/none"], try cluster(user, cluster: address))
        #expect(unknown.code == "tls-failed", "\(unknown.messages)")
        let insecure = await swsign(
            ["key", "info", "k8s://team-a/none"],
            try cluster(user, cluster: address + "\ninsecure-skip-tls-verify: true"))
        #expect(
            insecure.code == "key-not-found" && insecure.messages.contains("is not verified"), "\(insecure.messages)")
    }

    @Test("What the cluster refuses is said with what helps, and nothing is written")
    func kubernetesRefusals() async throws {
        for (user, code, words) in [
            ("token: wrong-token", "key-denied", "log in again"), ("token: forbidden", "key-denied", "verb get"),
        ] {
            let outcome = await swsign(
                ["sign-blob", "--key", "k8s://team-a/x", "--tlog-upload=false", "--bundle", "b.json", "file"],
                try cluster(user))
            #expect(outcome.code == code && outcome.messages.contains(words), "\(outcome.messages)")
            #expect(!outcome.messages.contains("wrong-token") && !directory.exists("b.json"))
            let made = await swsign(["generate-key-pair", "k8s://team-a/x"], try cluster(user))
            #expect(made.code == code && !directory.exists("cosign.pub"), "\(made.messages)")
        }
        let offline = await swsign(
            ["verify-blob", "--offline", "--key", "k8s://team-a/x", "--signature", "AQID", "file"], try cluster())
        #expect(offline.code == "usage" && offline.messages.contains("--offline"), "\(offline.messages)")
        let both = await swsign(
            ["generate-key-pair", "k8s://team-a/x", "--kms", "awskms:///alias/x"], try cluster())
        #expect(both.code == "usage", "\(both.messages)")
        let service = await swsign(["generate-key-pair", "hashivault://x"], [:])
        #expect(service.code == "usage" && service.messages.contains("--kms"), "\(service.messages)")
        let file = await swsign(["generate-key-pair", "my.key"], [:])
        #expect(file.code == "usage" && file.messages.contains("k8s://NAMESPACE/NAME"), "\(file.messages)")
    }

    // MARK: - GitLab

    @Test(
        "A pair in the variables of a project or group is made, signs and verifies",
        arguments: ["gitlab://team/everywhere", "gitlab://grp/everywhere", "gitlab://8"])
    func gitlab(_ key: String) async throws {
        let environment = gitlab
        if key == "gitlab://team/everywhere" {
            try await useEverywhere(key, environment)
        } else {
            let made = await swsign(["generate-key-pair", key, "--signing-algorithm", "ed25519"], environment)
            #expect(made.succeeded, "\(made.messages)")
        }
        let facts = await swsign(["key", "info", key], environment)
        for words in ["service: GitLab, http://127.0.0.1:\(services.port)", "credentials: the token in GITLAB_TOKEN"] {
            #expect(facts.output.contains(words), "\(facts.output)\(facts.messages)")
        }
        #expect(facts.output.contains(key.contains("grp") ? "of the group grp/everywhere" : "of the project "))
        #expect(!facts.output.contains("glpat-test"))
        // Nothing is replaced without an answer on a terminal.
        let before = try directory.text("cosign.pub")
        let refused = await swsign(["generate-key-pair", key, "--output-key-prefix", "again"], environment)
        #expect(refused.code == "key-exists" && !directory.exists("again.pub"), "\(refused.messages)")
        #expect(await swsign(["public-key", "--key", key], environment).output == before)
        let replaced = await swsign(
            ["generate-key-pair", key, "--output-key-prefix", "again"], environment,
            terminal: [Program.Turn("[y/N] ", "y\n")])
        #expect(replaced.succeeded, "\(replaced.messages)\(replaced.screen)")
        let (now, written) = (
            await swsign(["public-key", "--key", key], environment).output, try directory.text("again.pub")
        )
        #expect(now != before && now == written)
    }

    @Test("If the third variable is refused, the other two are taken back, and the old pair is put back")
    func half() async throws {
        let environment = gitlab
        let failed = await swsign(["generate-key-pair", "gitlab://team/broken"], environment)
        #expect(failed.code == "key-denied" && failed.messages.contains("as they were"), "\(failed.messages)")
        #expect(failed.messages.contains("role Maintainer") && !directory.exists("cosign.pub"))
        let left = await swsign(
            ["sign-blob", "--key", "gitlab://team/broken", "--tlog-upload=false", "--bundle", "b.json", "file"],
            environment)
        #expect(left.code == "key-not-found" && left.messages.contains("COSIGN_PRIVATE_KEY"), "\(left.messages)")
    }

    /// What a GitLab of a test has.
    private final class Variables: Sendable {
        private let state = Mutex<(names: [String], posts: Int)>(([], 0))
        var names: [String] { state.withLock { $0.names } }
        /// How many variables were to be made.
        var posts: Int { state.withLock { $0.posts } }

        func askedToMake() -> Int {
            state.withLock { state in
                state.posts += 1
                return state.posts
            }
        }
        func make(_ name: String) { state.withLock { $0.names.append(name) } }
        func delete(_ name: String) { state.withLock { $0.names.removeAll { $0 == name } } }
    }

    /// A GitLab that answers all but one thing at once.
    /// - Parameter wait: Waits before the second variable is made; returns whether it is.
    private func slowGitLab(
        _ variables: Variables, _ wait: @escaping @Sendable (FaultServer.Connection) -> Bool
    ) -> FaultServer {
        FaultServer { request, connection in
            let name = request.path.split(separator: "/").last.map(String.init) ?? ""
            switch request.method {
            case "POST":
                let body = (try? JSONValue(parsing: request.body)).map { JSONCursor($0) }
                guard variables.askedToMake() != 2 || wait(connection) else { return }
                variables.make((try? body?.member("key").string()) ?? "?")
                connection.respond(201, [], "{}")
            case "DELETE":
                variables.delete(name)
                connection.respond(204)
            default:
                let isThere = name == "team%2Fslow"
                connection.respond(isThere ? 200 : 404, [], isThere ? #"{"id":7}"# : "{}")
            }
        }
    }

    /// Makes a pair in a GitLab, and says what came of it and what was said meanwhile.
    private func makePair(
        in server: FaultServer, _ flags: [String] = [], input: Program.Input = .nothing
    ) async throws -> (outcome: Program.Outcome, said: String) {
        var environment = gitlab
        environment["GITLAB_HOST"] = server.url
        var program = Program(directory: directory.path, environment: environment)
        program.limits = "exec 2> said"
        let outcome = await program.run(["generate-key-pair", "gitlab://team/slow"] + flags, input: input)
        return (outcome, try directory.text("said"))
    }

    private func hasSaid(_ words: String) -> Bool { (try? directory.text("said").contains(words)) == true }

    @Test(
        "Who stops it while a pair is written is told that it finishes first, and then it ends",
        arguments: [SIGINT, SIGTERM])
    func finishing(_ signal: Int32) async throws {
        let variables = Variables()
        let server = slowGitLab(variables) { [self] connection in
            for _ in 0..<30_000 where !hasSaid("Finishing first") { connection.pause(milliseconds: 10) }
            return true
        }
        let (outcome, said) = try await makePair(
            in: server, input: .signalled([(signal, { @Sendable in variables.posts == 2 })]))
        #expect(outcome.ending == .signal(signal), "\(said)")
        #expect(said.contains("Finishing first, so that no half of a key pair is left"), "\(said)")
        #expect(variables.names == ["COSIGN_PASSWORD", "COSIGN_PRIVATE_KEY", "COSIGN_PUBLIC_KEY"], "\(said)")
        #expect(directory.exists("cosign.pub") && !said.contains("[interrupted]"))
    }

    @Test("Who stops it a second time ends it at once, and is told that a half may be left")
    func stoppedTwice() async throws {
        let variables = Variables()
        let server = slowGitLab(variables) { connection in
            connection.waitForEnd()
            return false
        }
        let (outcome, said) = try await makePair(
            in: server,
            input: .signalled([
                (SIGINT, { @Sendable in variables.posts == 2 }),
                (SIGINT, { @Sendable [self] in hasSaid("Finishing first") }),
            ]))
        #expect(outcome.ending == .signal(SIGINT), "\(said)")
        #expect(said.contains("a half may be left [interrupted]"), "\(said)")
        #expect(variables.names == ["COSIGN_PASSWORD"] && !directory.exists("cosign.pub"))
    }

    @Test("If --timeout is over while a pair is written, what was written is taken back all the same")
    func timeOut() async throws {
        let variables = Variables()
        let server = slowGitLab(variables) { connection in
            connection.waitForEnd()
            return false
        }
        let (outcome, said) = try await makePair(in: server, ["--timeout", "3s", "--errors", "json"])
        #expect(outcome.ending == .exit(1) && said.contains(#""code":"timed-out""#), "\(said)")
        #expect(variables.names.isEmpty && !directory.exists("cosign.pub"), "\(said)")
        // On a machine that is too busy it may not have come as far.
        if variables.posts > 1 { #expect(said.contains("as they were"), "\(said)") }
    }

    @Test("A short password is not masked, and that is said; a longer one is")
    func masked() async throws {
        var environment = gitlab
        let long = await swsign(
            ["generate-key-pair", "gitlab://team/long", "--output-key-prefix", "long"], environment)
        #expect(long.succeeded && !long.messages.contains("masked"), "\(long.messages)")
        environment["COSIGN_PASSWORD"] = "short"
        let short = await swsign(
            ["generate-key-pair", "gitlab://team/short", "--output-key-prefix", "short"], environment)
        #expect(short.succeeded && short.messages.contains("will not be masked"), "\(short.messages)")
        for (name, isMasked) in [("long", true), ("short", false)] {
            let text = try await get(
                "/api/v4/projects/team%2F\(name)/variables/COSIGN_PASSWORD",
                Authorization(field: "Private-Token", Array("glpat-test".utf8)))
            #expect(text.contains("\"masked\": \(isMasked)"), "\(text)")
        }
    }

    @Test(
        "What GitLab refuses, or is not set, is said with what helps",
        arguments: [
            (["GITLAB_TOKEN": ""], "key-service-settings", "GITLAB_TOKEN is not set"),
            (["GITLAB_TOKEN": "glpat-wrong"], "key-denied", "CI_JOB_TOKEN"),
            (["GITLAB_TOKEN": "two words"], "key-service-settings", "one word"),
            (["GITLAB_HOST": "http://gitlab.example"], "key-service-settings", "https://"),
            (["GITLAB_HOST": "gitlab example"], "key-service-settings", "GITLAB_HOST"),
        ])
    func gitlabRefusals(_ more: [String: String], _ code: String, _ words: String) async throws {
        let outcome = await swsign(
            ["sign-blob", "--key", "gitlab://team/none", "--tlog-upload=false", "--bundle", "b.json", "file"],
            gitlab.merging(more) { $1 })
        #expect(outcome.code == code && outcome.messages.contains(words), "\(outcome.messages)")
        #expect(!outcome.messages.contains("glpat-wrong") && !directory.exists("b.json"))
    }

    @Test("GitLab's answers that cannot be are refused, and nothing of them is believed")
    func gitlabAnswers() async throws {
        let fixture = try KeyServiceFixture { _ in gitlab }
        await fixture.expectRefusesAnswers("gitlab://team/none") { ["GITLAB_HOST": $0] }
        // A server with a certificate: those of Azure.
        let secured = ["GITLAB_HOST": "https://kms.vault.azure.net", "HTTPS_PROXY": try AzureServices.running().url]
        await fixture.expectUntrusted("gitlab://team/none", host: "kms.vault.azure.net", secured)
    }

    // MARK: - GitHub

    @Test("A pair becomes secrets of a repository or organisation, sealed for GitHub alone; nothing is read from there")
    func github() async throws {
        let environment = [
            "GITHUB_HOST": "http://127.0.0.1:\(services.port)", "GITHUB_TOKEN": "ghp-test",
            "COSIGN_PASSWORD": "a-long-password",
        ]
        func opened(_ path: String) async throws -> String { try await get("/opened/\(path)") }
        for (name, prefix) in [("acme/app", "one"), ("acme-org", "two")] {
            let made = await swsign(
                ["generate-key-pair", "github://\(name)", "--output-key-prefix", prefix], environment)
            #expect(made.succeeded, "\(made.messages)")
            #expect(try await opened("\(name)/COSIGN_PASSWORD") == "a-long-password")
            #expect(try await opened("\(name)/COSIGN_PUBLIC_KEY") == (try directory.text("\(prefix).pub")))
            let key = try PrivateKey.read(file: Array(try await opened("\(name)/COSIGN_PRIVATE_KEY").utf8)) {
                SecretBytes(Array("a-long-password".utf8))
            }
            #expect(key.publicKey.pem == (try directory.text("\(prefix).pub")))
        }
        let again = await swsign(["generate-key-pair", "github://acme/app", "--output-key-prefix", "x"], environment)
        #expect(again.code == "key-exists" && !directory.exists("x.pub"), "\(again.messages)")
        let broken = await swsign(
            ["generate-key-pair", "github://acme/broken", "--output-key-prefix", "x"], environment)
        #expect(broken.code == "key-denied" && broken.messages.contains("as they were"), "\(broken.messages)")
        #expect(try await opened("acme/broken/COSIGN_PASSWORD").isEmpty)
        for (more, code) in [
            (["GITHUB_TOKEN": "ghp-wrong"], "key-denied"), (["GITHUB_TOKEN": ""], "key-service-settings"),
            (["GITHUB_HOST": "http://github.example"], "key-service-settings"),
        ] {
            let outcome = await swsign(
                ["generate-key-pair", "github://acme/other", "--output-key-prefix", "x"],
                environment.merging(more) { $1 })
            #expect(outcome.code == code && !outcome.messages.contains("ghp-wrong"), "\(outcome.messages)")
        }
        let none = await swsign(["generate-key-pair", "github://none/x", "--output-key-prefix", "x"], environment)
        #expect(none.code == "key-not-found", "\(none.messages)")
        for arguments in [["public-key", "--key"], ["key", "info"]] {
            let outcome = await swsign(arguments + ["github://acme/app"], environment)
            #expect(
                outcome.code == "unsupported-key" && outcome.messages.contains("env://COSIGN_"), "\(outcome.messages)")
        }
    }
}
