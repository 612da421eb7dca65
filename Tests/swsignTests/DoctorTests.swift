import FaultServer
import Foundation
import LocalSigstore
import OCIRegistry
import SigstoreClients
import StrictJSON
import TestServices
import Testing

@testable import swsign

/// `doctor`: what it says of this machine, an instance and a registry, and what it never says.
struct DoctorTests {
    private let directory = TemporaryDirectory()

    /// The rows of a section of the JSON report, in which a name may stand more than once.
    private func rows(_ outcome: Program.Outcome, _ section: String) throws -> [(name: String, value: String)] {
        let report = try #require(try outcome.objects().first, "\(outcome.messages)")
        let found = try report.member("sections").elements().first { try $0.member("name").string() == section }
        return try found?.member("rows").elements().map {
            (name: try $0.member("name").string(), value: try $0.member("value").string())
        } ?? []
    }

    private func row(_ outcome: Program.Outcome, _ section: String, _ name: String) throws -> String {
        let rows = try rows(outcome, section)
        let found = rows.first { $0.name == name } ?? rows.first { $0.name.hasPrefix(name) }
        return try #require(found?.value, "\(name) is not among \(rows)")
    }

    private func problems(_ outcome: Program.Outcome) throws -> [String] {
        let report = try #require(try outcome.objects().first, "\(outcome.messages)")
        return try report.member("problems").elements().map { try $0.member("message").string() }
    }

    private static func httpDate(_ date: Date) -> String {
        let format = DateFormatter()
        format.locale = Locale(identifier: "en_US_POSIX")
        format.timeZone = TimeZone(identifier: "GMT")
        format.dateFormat = "EEE, dd MMM yyyy HH:mm:ss 'GMT'"
        return format.string(from: date)
    }

    /// An instance at an address, verified from the root that is built in.
    private func instance(_ url: String) throws -> [String: String] {
        try directory.write("tuf-root.json", TUFMirror.production.root)
        return ["TUF_MIRROR": url, "TUF_ROOT_JSON": "tuf-root.json"]
    }

    // MARK: - An instance

    @Test("If all is well, doctor says what is used on one page, changes nothing, and ends with 0", .localSigstore)
    func allIsWell() async throws {
        let place = try SigningFixture()
        defer { withExtendedLifetime(place) {} }
        let environment = [
            "TUF_MIRROR": place.services.tufMirror.url, "TUF_ROOT_JSON": place.services.files.tufRoot,
            "TUF_ROOT": place.directory["tuf"], "COSIGN_NO_SUCH": "1",
        ]
        let image = try place.push()
        let text = await place.run(["doctor", image], environment: environment)
        #expect(text.succeeded && text.stderr.isEmpty, "\(text.output)\(text.messages)")
        #expect(
            text.output.hasSuffix(
                "\nNothing to look at: nothing was found that would keep one from signing or verifying.\n"))
        #expect(text.output.split(separator: "\n").count < 70)
        for line in [
            "  version: \(Version.number), linux/", "  OpenSSL: OpenSSL 3.", "  libcurl: libcurl/", "  system: ",
            "  libyaml: 0.",
            ", glibc 2.", "  instance: \(place.services.tufMirror.url), an instance of one's own\n",
            "  first root: version 1, given, expires ", "  kept: nothing yet\n", "  last asked: never\n",
            "  asked now: it has root 1, expires ", "; timestamp 1, expires ",
            "  said by the environment: TUF_MIRROR, TUF_ROOT_JSON, TUF_ROOT\n",
            "  certificate authority: \(place.services.fulcio.url), version 1\n", "  without effect: COSIGN_NO_SUCH\n",
            "  identity token: none without a person\n", "  referrers API: yes\n",
        ] { #expect(text.output.contains(line), "\(line): \(text.output)") }
        #expect(!place.directory.exists("tuf"))

        // With what an ordinary run has kept.
        let kept = await place.run(["trusted-root", "create", "--with-default-services"], environment: environment)
        try #require(kept.succeeded, "\(kept.messages)")
        let json = await place.run(["doctor", "--output", "json"], environment: environment)
        #expect(json.succeeded && json.stderr.isEmpty, "\(json.output)\(json.messages)")
        #expect(try row(json, "Trust root", "kept in").hasPrefix(place.directory["tuf/127.0.0.1-"]))
        #expect(try row(json, "Trust root", "kept").contains("targets 1, expires "))
        #expect(try row(json, "Trust root", "last asked").hasSuffix(" ago)"))
        #expect(try row(json, "Trust root", "it names").hasPrefix("1 certificate authorities (1 now), "))
        #expect(try row(json, "Services", "TUF mirror \(place.services.tufMirror.url)").hasPrefix("answers 200 in "))
        #expect(try row(json, "Services", "certificate authority").hasPrefix("answers "))
        #expect(try row(json, "Proxies", "direct").contains(place.services.fulcio.url))
        #expect(try problems(json).isEmpty)
        #expect(try json.objects().first?.member("version").integer() == 1)

        // A part of what is kept that is damaged is named, and what the mirror has does in its place.
        let folder = try #require(try FileManager.default.contentsOfDirectory(atPath: place.directory["tuf"]).first)
        try place.directory.write("tuf/\(folder)/snapshot.json", "{}")
        let damaged = await place.run(["doctor", "--output", "json"], environment: environment)
        #expect(damaged.succeeded)
        #expect(try row(damaged, "Trust root", "kept").hasPrefix("cannot be used: "), "\(damaged.output)")
        #expect(try row(damaged, "Trust root", "asked now").hasPrefix("it has root 1, "), "\(damaged.output)")

        // Files in place of the instance: it is not asked.
        place.services.tufMirror.forgetRequests()
        let files = await place.run(["doctor", "-o", "json"] + place.services(.v1), environment: environment)
        #expect(files.succeeded, "\(files.output)")
        #expect(try row(files, "Trust root", "from").contains(place.services.files.trustedRoot))
        #expect(try row(files, "Signing config", "log").hasPrefix(place.services.rekorV1.url))
        #expect(place.services.tufMirror.requests.isEmpty)
    }

    @Test("No step that fails stops another: each is told, and all of them at the end, with exit code 1")
    func failures() async throws {
        try directory.makeDirectory(".docker")
        try directory.write(".docker/config.json", "{")
        let environment = [
            "TUF_MIRROR": "http://127.0.0.1:1", "HTTPS_PROXY": "nonsense://x", "https_proxy": "",
            "COSIGN_TRUSTED_ROOT": "none.json", "COSIGN_SIGNING_CONFIG": "none.json",
        ]
        let outcome = await directory.swsign("doctor", "127.0.0.1:1/app:1.0", environment: environment)
        #expect(outcome.ending == .exit(1) && outcome.stderr.isEmpty, "\(outcome.messages)")
        for words in [
            "  OpenSSL: OpenSSL 3.", "  trusted root: FAILED: there is no file none.json",
            "  not to be had: FAILED: there is no file none.json", "  HTTPS_PROXY: names no proxy that can be used\n",
            "  registry: FAILED: 127.0.0.1:1 cannot be reached", "/.docker/config.json: FAILED: ",
            "  credential for 127.0.0.1:1/app: FAILED: ", " things to look at:\n  1. there is no file none.json",
        ] { #expect(outcome.output.contains(words), "\(words): \(outcome.output)") }

        // The public instance, beyond a proxy that is not there.
        let away = await directory.swsign("doctor", "-o", "json", environment: ["HOME": directory["home"]])
        #expect(away.ending == .exit(1))
        #expect(try row(away, "Trust root", "instance").hasSuffix("Sigstore's public instance"))
        #expect(try row(away, "Trust root", "first root").contains("built in as of 2026-"))
        #expect(try row(away, "Trust root", "asked now").hasPrefix("FAILED: "))
        #expect(try row(away, "Proxies", "through https_proxy").contains("https://fulcio.sigstore.dev"))
        #expect(try problems(away).count == 5, "\(away.output)")
    }

    @Test("A clock that is an hour wrong is something to look at; one that is right, or not told, is not")
    func clock() async throws {
        let server = FaultServer { request, connection in
            let ago: Double? = request.path.hasPrefix("/wrong") ? 3600 : request.path.hasPrefix("/right") ? 0 : nil
            let headers = ago.map { ["Date: \(Self.httpDate(Date(timeIntervalSinceNow: -$0)))"] } ?? []
            // As a cache on the way answers: as old as its age says.
            let cached = ["Date: \(Self.httpDate(Date(timeIntervalSinceNow: -3600)))", "Age: 3600"]
            connection.respond(404, request.path.hasPrefix("/cached") ? cached : headers)
        }
        defer { server.stop() }
        let wrong = await directory.swsign("doctor", "-o", "json", environment: try instance("\(server.url)/wrong"))
        #expect(wrong.ending == .exit(1))
        let told = try row(wrong, "Services", "TUF mirror")
        // The machine may be so busy that some seconds pass between question and answer.
        #expect(told.contains("; this clock is 1 h ") || told.contains("; this clock is 59 min "), "\(told)")
        #expect(told.contains("ahead, give or take "), "\(told)")
        #expect(try problems(wrong).contains { $0.hasPrefix("by the clock of the TUF mirror \(server.url)/wrong") })
        for (path, words) in [
            ("right", "this clock is "), ("cached", "this clock is "), ("none", "it does not say the time"),
        ] {
            let outcome = await directory.swsign(
                "doctor", "-o", "json", environment: try instance("\(server.url)/\(path)"))
            #expect(try row(outcome, "Services", "TUF mirror").contains(words))
            #expect(try !problems(outcome).contains { $0.contains("by the clock of") }, "\(outcome.output)")
        }
    }

    @Test("How far clocks are apart, with the time between question and answer as what is not known")
    func clockDifference() {
        func answer(_ date: Int64?, _ before: Int64, _ after: Int64) -> DoctorService.Answer {
            DoctorService.Answer(
                status: 200, date: date.map { Instant(seconds: $0) }, before: before, after: after,
                duration: .milliseconds(1500))
        }
        #expect(answer(nil, 0, 0).clock == "it does not say the time" && answer(nil, 0, 0).wrongClock == nil)
        #expect(answer(1000, 1000, 1000).clock == "this clock is right to within 1 s")
        #expect(answer(1000, 1000, 1010).clock == "this clock is right to within 6 s")
        #expect(answer(1000, 1003, 1003).clock == "this clock is 3 s ahead, give or take 1 s")
        #expect(answer(10_000, 1000, 1000).clock == "this clock is 2 h 30 min behind, give or take 1 s")
        #expect(answer(1000, 1061, 1061).wrongClock == nil && answer(1000, 1062, 1062).wrongClock?.seconds == 62)
        #expect(answer(1000, 1060, 1066).wrongClock == nil)
        #expect(answer(2000, 1000, 1000).wrongClock?.seconds == -1000)
        #expect(answer(1000, 1000, 1000).milliseconds == 1500)
    }

    // MARK: - Registries

    @Test(
        "What a registry can do, and what is with an image, in both schemes", arguments: [true, false],
        RegistryKind.registries)
    func registries(isSigned: Bool, kind: RegistryKind) async throws {
        let place = try await ImageFixture(kind)
        let image = try await place.push()
        if isSigned {
            for scheme in Scheme.allCases { await place.sign(image.name, scheme: scheme).expectSuccess() }
        }
        let outcome = await place.swsign(["doctor", "-o", "json", image.name])
        let expected = [
            ("image", "\(image.digest), application/vnd.oci.image.manifest.v1+json"),
            (
                "signatures",
                isSigned ? "1 in cosign 3's scheme, 1 in cosign 2's" : "0 in cosign 3's scheme, 0 in cosign 2's"
            ),
            ("attestations", "0 in cosign 3's scheme, 0 in cosign 2's"), ("it wants", "no login to be asked"),
            ("credential for", "none found"), ("deleting", "yes"),
            ("referrers API", kind == .referrersAPI ? "yes" : "no: it answers that it has no such list"),
        ]
        for (name, value) in expected { #expect(try row(outcome, "Image", name) == value, "\(outcome.output)") }
        #expect(try row(outcome, "Image", "registry").hasPrefix("answers 200 in "))
        // Without any tag, docker-registry answers that there is no such repository.
        let tags = try row(outcome, "Image", "list of tags")
        #expect(tags == "yes" || kind == .dockerRegistry && !isSigned && tags.hasPrefix("no"), "\(tags)")
        // Nothing is gone.
        #expect(try await place.store.manifest(.digest(image.digest)) != nil)
        if isSigned { await place.verify(image.name).expectSuccess() }
    }

    @Test("An image in a layout is looked at without any network")
    func layout() async throws {
        try await directory.makeImages()
        try directory.makeKey()
        try await directory.sign("oci-layout:img:one", older: false)
        let outcome = await directory.swsign("doctor", "--offline", "-o", "json", "oci-layout:img:one")
        #expect(outcome.succeeded, "\(outcome.output)")
        #expect(try row(outcome, "Image", "signatures") == "1 in cosign 3's scheme, 0 in cosign 2's")
        let none = await directory.swsign("doctor", "--offline", "-o", "json", "oci-layout:img:none")
        #expect(none.ending == .exit(1))
        #expect(try problems(none).count == 1, "\(none.output)")
    }

    @Test("A registry that does not delete says so; a token's giver is named; an image that is not there is told")
    func otherRegistries() async throws {
        var configuration = LocalRegistry.Configuration()
        configuration.deletion = false
        configuration.authentication = .token(username: "ann", password: "s3cr3t-word")
        try await RegistryKind.referrersAPI.run(configuration) { address, local in
            let outcome = await directory.swsign(
                "doctor", "-o", "json", "\(address)/app:1.0",
                environment: ["COSIGN_REGISTRY_USERNAME": "ann", "COSIGN_REGISTRY_PASSWORD": "s3cr3t-word"])
            #expect(outcome.ending == .exit(1) && !outcome.output.contains("s3cr3t"))
            #expect(try row(outcome, "Image", "it wants") == "a token from \(address)")
            #expect(try row(outcome, "Image", "credential for") == "a password, given by --registry-password")
            #expect(try row(outcome, "Image", "image").hasPrefix("FAILED: "))
            #expect(
                try row(outcome, "Image", "deleting").hasPrefix("no: it answers 405: UNSUPPORTED"), "\(outcome.output)")
            let deletions = try #require(local).server.requests.filter { $0.method == "DELETE" }
            #expect(!deletions.isEmpty && deletions.allSatisfy { $0.target.contains("/app/manifests/sha256:") })
            // Without a credential that holds.
            let stranger = await directory.swsign("doctor", "-o", "json", "\(address)/app:1.0")
            #expect(try row(stranger, "Image", "image").hasPrefix("FAILED: "), "\(stranger.output)")
            #expect(try row(stranger, "Image", "credential for") == "none found")
            #expect(try row(stranger, "Image", "deleting").hasPrefix("no: "))
        }
    }

    @Test("What a hostile registry answers is shown with escapes, and nothing that it says counts as its answer")
    func hostileRegistry() async throws {
        let server = FaultServer { request, connection in
            let words = #"{"errors":[{"code":"X","message":"\u001b[2J\u202e::error::owned\n##[group]"}]}"#
            let status = request.path == "/v2/" ? 200 : request.path.contains("/manifests/") ? 404 : 418
            connection.respond(status, ["Content-Type: application/json"], words)
        }
        defer { server.stop() }
        for format in ["text", "json"] {
            let outcome = await directory.swsign("doctor", "-o", format, "\(server.authority)/app:1.0")
            #expect(outcome.ending == .exit(1))
            let all = outcome.stdout + outcome.stderr
            #expect(!all.contains(0x1b) && !outcome.output.unicodeScalars.contains("\u{202e}"), "\(outcome.output)")
            #expect(outcome.output.contains("deleting") && !outcome.output.contains("##[group]"))
            #expect(!outcome.output.contains("deleting: yes") && !outcome.output.contains(#""deleting","value":"yes"#))
            #expect(!outcome.output.contains("\n::"))
        }
    }

    // MARK: - What is never said

    @Test("No secret is in the report, wherever it stands; a helper is asked for the image's registry alone")
    func secrets() async throws {
        let server = FaultServer { request, connection in
            connection.respond(
                request.path == "/v2/" ? 401 : 403, ["WWW-Authenticate: Basic realm=\"x\""],
                #"{"errors":[{"code":"DENIED","message":"\#(request.header("authorization") ?? "")"}]}"#)
        }
        defer { server.stop() }
        try directory.makeDirectory("bin")
        try directory.write(
            "bin/docker-credential-told",
            """
            #!/bin/sh
            cat >> "$HOME/asked"; echo >> "$HOME/asked"
            echo '{"Username":"ann","Secret":"s3cr3t-of-helper"}'
            """, mode: 0o755)
        let auth = Data("ann:s3cr3t-of-file".utf8).base64EncodedString()
        try directory.makeDirectory(".docker")
        try directory.write(
            ".docker/config.json",
            """
            {"auths":{"one.example":{"auth":"\(auth)"},"https://ann:s3cr3t-key@two.example":{"identitytoken":"s3cr3t-token"},"four.example/?t=s3cr3t":{"auth":"\(auth)"}},
             "credHelpers":{"\(server.authority)":"told"},"credsStore":"other"}
            """)
        let environment = [
            "PATH": "\(directory["bin"]):/usr/bin:/bin", "COSIGN_PASSWORD": "s3cr3t", "SIGSTORE_ID_TOKEN": "s3cr3t",
            "COSIGN_IDENTITY_TOKEN": "s3cr3t-and-long-enough-to-be-hidden", "GOOGLE_OAUTH_ACCESS_TOKEN": "s3cr3t",
            "ACTIONS_ID_TOKEN_REQUEST_TOKEN": "s3cr3t", "BUILDKITE_AGENT_ACCESS_TOKEN": "s3cr3t",
            "DOCKER_AUTH_CONFIG": #"{"auths":{"three.example":{"username":"ann","password":"s3cr3t"}}}"#,
            "HTTPS_PROXY": "http://ann:s3cr3t@127.0.0.1:9", "https_proxy": "http://ann:s3cr3t@127.0.0.1:9",
            "ALL_PROXY": "ann:s3cr3t@127.0.0.1:9", "HTTP_PROXY": "ftp://ann:s3cr3t@proxy.example",
            "COSIGN_REKOR_URL": "https://ann:s3cr3t@rekor.example/?key=s3cr3t",
        ]
        for mirror in [
            "https://ann:s3cr3t@tuf.example/?key=s3cr3t", "https://ann:s3/s3cr3t@tuf.example",
            "https://s3cr3t@tuf.example", "ftp://ann:s3cr3t@tuf.example", "file:///nowhere/?s3cr3t",
        ] {
            for format in ["text", "json"] {
                let outcome = await directory.swsign(
                    "doctor", "-o", format, "\(server.authority)/app:1.0",
                    environment: environment.merging(try instance(mirror)) { $1 })
                #expect(outcome.ending == .exit(1))
                let all = outcome.output + outcome.messages
                #expect(!all.contains("s3cr3t") && !all.contains(auth), "\(mirror): \(all)")
                #expect(all.contains("DENIED: Basic ******"), "\(all)")
                for words in [
                    "one.example", "******@two.example", "three.example",
                    "docker-credential-told for \(server.authority)",
                    "docker-credential-other for all others", "a user name and a password, from docker-credential-told",
                    "HTTPS_PROXY", "127.0.0.1:9", "COSIGN_PASSWORD", "tuf.example",
                ] where words != "tuf.example" || mirror.contains(words) {
                    #expect(all.contains(words), "\(words): \(all)")
                }
            }
        }
        #expect(Set(try directory.text("asked").split(separator: "\n")) == [Substring(server.authority)])
        // By flag, and as a part of what cannot be an image.
        for image in [
            "\(server.authority)/app", "https://ann:s3cr3t@\(server.authority)/app",
            "ann:s3cr3t@\(server.authority)/app:1",
        ] {
            let outcome = await directory.swsign(
                "doctor", "--registry-token", "s3cr3t-and-long-enough-to-be-hidden", image)
            let all = outcome.output + outcome.messages
            #expect(outcome.ending == .exit(1) && !all.contains("s3cr3t"), "\(all)")
        }
    }

    // MARK: - What is missing

    @Test("Without libcurl the package is named, and the rest of the page is there")
    func withoutCurl() async throws {
        // The loader looks here first, and ends its search at what is no library.
        for name in ["libcurl.so.4", "libcurl-gnutls.so.4"] { try directory.write(name, "no library") }
        let outcome = await directory.swsign(
            "doctor", "127.0.0.1:1/app", environment: ["LD_LIBRARY_PATH": directory.path])
        #expect(outcome.ending == .exit(1))
        for words in [
            "  libcurl: FAILED: no HTTP here: ", "  OpenSSL: OpenSSL 3.", "  identity token: ",
            "     install the package libcurl4 (Debian, Ubuntu) or libcurl (Fedora, RHEL)\n",
        ] { #expect(outcome.output.contains(words), "\(words): \(outcome.output)") }
        let offline = await directory.swsign(
            "doctor", "--offline", environment: ["LD_LIBRARY_PATH": directory.path])
        #expect(
            offline.succeeded && offline.output.contains("  libcurl: not opened (--offline)\n"), "\(offline.output)")
    }

    @Test("With --offline no socket is opened and no helper is run")
    func offline() async throws {
        try directory.makeDirectory(".docker")
        try directory.write(".docker/config.json", #"{"credsStore":"none"}"#)
        let outcome = await Program(executable: "strace", directory: directory.path).run([
            "-f", "-e", "trace=socket,connect,execve", "-o", directory["calls"], Program.path, "doctor", "--offline",
            "registry.example/app:1.0",
        ])
        #expect(outcome.succeeded, "\(outcome.output)\(outcome.messages)")
        let calls = try directory.text("calls")
        #expect(!calls.contains("socket(") && !calls.contains("connect("), "\(calls)")
        #expect(!calls.contains("docker-credential-"), "\(calls)")
        for words in [
            "  registry: not asked (--offline)\n", "  asked: none (--offline)\n", "  asked now: no (--offline)\n",
            "docker-credential-none for all others\n", "is the one this program came with, ",
            "\nNothing to look at, as far as can be told without the network.\n",
        ] { #expect(outcome.output.contains(words), "\(words): \(outcome.output)") }
        // An instance of one's own of which nothing is kept cannot be used like that.
        let unknown = await directory.swsign("doctor", "--offline", environment: try instance("https://tuf.example"))
        #expect(unknown.ending == .exit(1) && unknown.output.contains("  trusted root: FAILED: "), "\(unknown.output)")
    }
}
