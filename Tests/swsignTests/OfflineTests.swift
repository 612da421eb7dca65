import Foundation
import LocalSigstore
import SigstoreVerification
import Testing

/// What identities signed, verified without network and apart from the machine's settings.
@Suite(.needsShared)
struct OfflineTests {
    private let directory = TemporaryDirectory()
    private static let shared = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        .deletingLastPathComponent().deletingLastPathComponent().appendingPathComponent("shared").path
    /// A bundle with certificate, timestamp and log entry of the public instance, whose trust root is built in.
    private static let verify = [
        "verify-blob", "--offline", "--bundle",
        "\(shared)/conformance/bundle-verify/happy-path-v0.3/bundle.sigstore.json", "--certificate-identity",
        "https://github.com/sigstore-conformance/extremely-dangerous-public-oidc-beacon/.github/workflows/"
            + "extremely-dangerous-oidc-beacon.yml@refs/heads/main", "--certificate-oidc-issuer",
        "https://token.actions.githubusercontent.com", "\(shared)/conformance/bundle-verify/a.txt",
    ]

    @Test("--offline opens no socket")
    func opensNoSocket() async throws {
        let traced = Program(executable: "strace", directory: directory.path)
        let outcome = await traced.run(
            ["-f", "-e", "trace=socket,connect", "-o", directory["calls"], Program.path] + Self.verify)
        #expect(outcome.succeeded, "\(outcome.messages)")
        let calls = String(decoding: try directory.read("calls"), as: UTF8.self)
        #expect(!calls.contains("socket(") && !calls.contains("connect("), "\(calls)")
        // The same watch sees the socket of a command that may use the network.
        let asking = await traced.run(
            ["-f", "-e", "trace=socket,connect", "-o", directory["calls"], Program.path]
                + Self.verify.filter { $0 != "--offline" })
        #expect(asking.succeeded, "\(asking.messages)")
        #expect(String(decoding: try directory.read("calls"), as: UTF8.self).contains("socket("))
    }

    @Test("The first day without a network: what is built in serves, and its age is said", arguments: [true, false])
    func firstDay(isOffline: Bool) async throws {
        let verify = Self.verify.filter { isOffline || $0 != "--offline" }
        let outcome = await Program(directory: directory.path).run(verify)
        let warnings = outcome.messages.split(separator: "\n").filter { $0.hasPrefix("WARNING") }
        #expect(outcome.succeeded && warnings.count == 1, "\(outcome.messages)")
        #expect(
            warnings.first?.contains(
                /trusted_root\.json is the one this program came with, \d+ days old \(as of \d{4}-\d\d-\d\d\)/) == true,
            "\(warnings)")
        // What the keys do not vouch for stays refused.
        try directory.write("other", "another file")
        let refused = await Program(directory: directory.path).run(verify.dropLast() + ["other"])
        #expect(
            refused.ending == .exit(1) && refused.code != nil && refused.code != "tuf-unreachable",
            "\(refused.messages)")
        // Once something was fetched here, nothing older takes its place.
        let cache = ".sigstore/root/tuf-repo-cdn.sigstore.dev"
        try directory.makeDirectory(cache)
        try directory.write("\(cache)/timestamp.json", "{}")
        let seen = await Program(directory: directory.path).run(verify)
        #expect(seen.code == (isOffline ? "tuf-offline" : "tuf-unreachable"), "\(seen.messages)")
    }

    @Test("With --offline an image's own registry is asked, and nobody else")
    func asksOnlyTheRegistry() async throws {
        let place = try await ImageFixture()
        let image = try await place.push()
        await place.sign(image.name).expectSuccess()
        let port = try #require(try place.registry.address.split(separator: ":").last)
        let outcome = await Program(executable: "strace", directory: place.directory.path).run([
            "-f", "-e", "trace=connect", "-o", place.directory["calls"], Program.path, "verify", "--offline", "--key",
            "key.pub", "--insecure-ignore-tlog", image.name,
        ])
        #expect(outcome.succeeded, "\(outcome.messages)")
        let calls = try place.directory.text("calls").split(separator: "\n").filter { $0.contains("connect(") }
        #expect(!calls.isEmpty && calls.allSatisfy { $0.contains("htons(\(port))") }, "\(calls)")
    }

    @Test("rekor CVE-2026-24117: nothing is fetched from an address that a log entry or a certificate names")
    func fetchesNothingFromAnEntry() async throws {
        // Without --offline, but with a trusted root, nothing has to be asked.
        let samples = "\(Self.shared)/samples"
        var bundle = try SigstoreBundle(
            parsing: Array(try Data(contentsOf: URL(filePath: "\(samples)/sigs/c3-key-v1-c3.sigstore.json"))))
        let body = String(decoding: bundle.logEntries[0].body, as: UTF8.self)
        bundle.logEntries[0].body = Array(
            body.replacingOccurrences(of: #""data":{"#, with: #""data":{"url":"http://127.0.0.1:9/fetched","#).utf8)
        try directory.write("named.json", bundle.serialized())
        for (path, code) in [
            ("named.json", "invalid-inclusion-promise"), ("\(samples)/sigs/c3-key-v1-c3.sigstore.json", nil),
        ] {
            let outcome = await Program(executable: "strace", directory: directory.path).run([
                "-f", "-e", "trace=socket,connect", "-o", directory["calls"], Program.path, "verify-blob", "--bundle",
                path, "--key",
                "\(samples)/keys/c3.pub", "--trusted-root", "\(samples)/trust/trusted_root.json",
                "\(samples)/blobs/small.txt",
            ])
            #expect(outcome.code == code, "\(outcome.messages)")
            #expect(!(try directory.text("calls")).contains("socket("))
        }
    }

    @Test("OPENSSL_CONF has no influence")
    func openSSLConfiguration() async throws {
        // It breaks the openssl command: no provider is left that could hash anything.
        try directory.write(
            "openssl.cnf",
            Array(
                "openssl_conf = all\n[all]\nproviders = these\nssl_conf = missing\n[these]\nbase = base\n[base]\nactivate = 1\n"
                    .utf8))
        var program = Program(directory: directory.path)
        program.environment["OPENSSL_CONF"] = directory["openssl.cnf"]
        let outcome = await program.run(Self.verify)
        #expect(outcome.succeeded, "\(outcome.messages)")
        var other = program
        other.executable = "openssl"
        let broken = await other.run(["dgst", "-sha256", "\(Self.shared)/conformance/bundle-verify/a.txt"])
        #expect(!broken.succeeded, "the configuration breaks nothing, so this test proves nothing")
    }

    @Test("The variables that say whom to believe are not looked at beside --trusted-root")
    func variables() async throws {
        try directory.makeKey()
        var program = Program(directory: directory.path)
        program.environment = ["SIGSTORE_REKOR_PUBLIC_KEY": "key.pub"]
        let replaced = await program.run(Self.verify)
        #expect(replaced.code == "unknown-log", "\(replaced.messages)")
        program.environment["SIGSTORE_ROOT_FILE"] = "none"
        let stated = await program.run(
            Self.verify + ["--trusted-root", "\(Self.shared)/trust/production/trusted_root.json"])
        #expect(stated.succeeded, "\(stated.messages)")
    }
}
