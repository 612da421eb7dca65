import Foundation
import HTTPTransport
import LocalSigstore
import Spawning
import StrictJSON
import TestServices
import Testing

/// A whole Sigstore, a directory with a file to sign, and a browser that only says where it was sent.
private final class Place: Sendable {
    let services: LocalServices
    let directory = TemporaryDirectory()
    private let http = CurlClient()

    init() throws {
        services = try LocalServices.current
        try directory.write("file", "hello\n")
        try directory.write(
            "browser", "#!/bin/sh\nenv > environment\necho \"$@\" > url.part && mv url.part url\n", mode: 0o755)
    }

    /// What `BROWSER` says. A shell reads the script: one that was just written cannot be run as a program while some other
    /// program that was started meanwhile still has it open.
    var browserCommand: String { "/bin/sh \(directory["browser"])" }

    /// Runs `sign-blob` while a person does something elsewhere.
    /// - Parameters:
    ///   - more: More flags; without a terminal, those that make a person sign in nonetheless.
    ///   - browser: `BROWSER`; the program here unless told.
    ///   - terminal: What is typed, where the program is run on a terminal.
    ///   - person: What the person does.
    func sign(
        _ more: [String] = ["--yes", "--fulcio-auth-flow", "normal"], browser: String? = nil,
        terminal: [Program.Turn]? = nil, meanwhile person: () async throws -> Void
    ) async throws -> Program.Outcome {
        var program = Program(
            directory: directory.path,
            environment: [
                "BROWSER": browser ?? "no-such-browser:\(browserCommand)", "COSIGN_PASSWORD": "t0psecret",
                "COSIGN_REGISTRY_TOKEN": "t0psecret",
            ])
        program.takesTurns = false
        program.warnsOnTerminal = terminal != nil
        let arguments =
            [
                "sign-blob", "--signing-config", services.files.signingConfig(.v2), "--trusted-root",
                services.files.trustedRoot, "--bundle", "bundle",
            ] + more + ["file"]
        async let outcome = program.run(arguments, input: terminal == nil ? .nothing : .terminal, terminal: terminal)
        try await person()
        return await outcome
    }

    /// Runs `sign-blob` while a person does something with the URL that the browser is sent to.
    func sign(
        _ more: [String] = ["--yes", "--fulcio-auth-flow", "normal"], browser: String? = nil,
        terminal: [Program.Turn]? = nil, person: (URLComponents) async throws -> Void
    ) async throws -> Program.Outcome {
        try? FileManager.default.removeItem(atPath: directory["url"])
        return try await sign(more, browser: browser, terminal: terminal) {
            #expect(await Spawning.wait { directory.exists("url") })
            let words = try directory.text("url").trimmingCharacters(in: .newlines).split(separator: " ")
            try await person(try #require(words.last.flatMap { URLComponents(string: String($0)) }))
        }
    }

    /// Asks for a URL as a browser does, which goes where it is redirected.
    func visit(_ url: String, _ method: String = "GET") async throws -> (status: Int, page: String) {
        let answer = try await http.send(
            HTTPRequest(
                method, try HTTPURL(parsing: url), timeout: .seconds(300), handledStatuses: [400, 404, 405, 409]))
        return (answer.status, String(decoding: answer.body, as: UTF8.self))
    }

    /// Signs in at the issuer's page, and gives the page that follows.
    @discardableResult
    func signIn(_ url: URLComponents, email: String = "alice@local.test") async throws -> (
        status: Int, page: String
    ) {
        var url = url
        url.queryItems?.append(URLQueryItem(name: "email", value: email))
        return try await visit(try #require(url.string))
    }

    /// Does something in Chromium, keeps the pictures with the test, and gives the page that it ends on.
    func chromium(_ url: String, _ actions: [String], pictures: [String]) async throws -> JSONCursor {
        let folder = TemporaryDirectory()
        let script = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
            .appendingPathComponent("browser").path
        var program = Program(executable: script, directory: folder.path)
        program.takesTurns = false
        let run = await program.run([folder.path, url] + actions)
        try #require(run.succeeded, "\(run.messages)")
        for (index, name) in pictures.enumerated() {
            let picture = try folder.read("\(index).png")
            // A page that shows nothing takes two thousand bytes.
            #expect(picture.starts(with: [0x89, 0x50, 0x4e, 0x47]) && picture.count > 4000, "\(name)")
            Attachment.record(picture, named: "\(name).png")
        }
        return try #require(try run.objects().first)
    }

    func verify(_ identity: LocalIdentity) async -> Program.Outcome {
        await directory.swsign(
            "verify-blob", "--offline", "--trusted-root", services.files.trustedRoot, "--bundle", "bundle",
            "--certificate-identity", services.issuer.subject(of: identity), "--certificate-oidc-issuer",
            services.issuer.url, "file")
    }
}

/// Signing as a person does who has neither a key nor a token: the program asks, and the person signs in.
@Suite("Signing in", .localSigstore(.own), .serialized)
struct SignInTests {
    private let place: Place

    init() throws { place = try Place() }

    private static let needsChromium: any SuiteTrait & TestTrait = .enabled(
        if: FileManager.default.isExecutableFile(atPath: "/usr/bin/chromium"), "left out: chromium is not installed")

    private func value(_ name: String, _ url: URLComponents) -> String {
        url.queryItems?.first { $0.name == name }?.value ?? ""
    }

    @Test("In Chromium, from the issuer's page to ours", needsChromium)
    func chromium() async throws {
        let email = "o'neil&co+x@local.test"
        let outcome = try await place.sign { url in
            let page = try await place.chromium(
                try #require(url.string), ["fill", "email", email, "click", "sign-in"],
                pictures: ["issuer", "signed-in"])
            #expect(try page.member("title").string() == "Signed in · swsign")
            #expect(try page.member("url").string().hasPrefix(value("redirect_uri", url) + "?code="))
            let text = try page.member("text").string()
            #expect(
                text.contains("Signed in") && text.contains("You are \(email)")
                    && text.contains("go back to the terminal"))
        }
        #expect(outcome.succeeded, "\(outcome.messages)")
        #expect(outcome.messages.contains("the identity \(email), vouched for by \(place.services.issuer.url)"))
        let verified = await place.verify(.email(email))
        #expect(verified.succeeded, "\(verified.messages)")
    }

    @Test("In Chromium, a refusal at the issuer's page, and one that tries to write our page", needsChromium)
    func chromiumRefused() async throws {
        let refused = try await place.sign { url in
            let page = try await place.chromium(
                try #require(url.string), ["click", "deny"], pictures: ["issuer", "refused"])
            #expect(try page.member("title").string() == "Not signed in · swsign")
            #expect(try page.member("text").string().contains("access_denied: The sign-in was refused."))
        }
        #expect(
            refused.code == "sign-in-failed" && refused.messages.contains("access_denied: The sign-in was refused.")
        )

        let words = "<script>document.title='x'</script><img src=x onerror=alert(1)>\u{202e}\u{1b}[2K</p>\"'&amp;"
        let hostile = try await place.sign { url in
            var answer = try #require(URLComponents(string: value("redirect_uri", url)))
            answer.queryItems = [
                URLQueryItem(name: "state", value: value("state", url)),
                URLQueryItem(name: "error", value: "<b>bad</b>"),
                URLQueryItem(name: "error_description", value: words),
            ]
            let page = try await place.chromium(
                try #require(url.string), ["visit", try #require(answer.string)], pictures: ["issuer", "hostile"])
            #expect(try page.member("title").string() == "Not signed in · swsign")
            #expect(try page.member("elements").string() == "main h1 span p p")
            let text = try page.member("text").string()
            #expect(
                text.contains("<b>bad</b>: <script>")
                    && text.contains("onerror=alert(1)>\u{fffd}\u{fffd}[2K</p>\"'&amp;"))
        }
        #expect(hostile.code == "sign-in-failed")
        #expect(!hostile.stderr.contains(0x1b) && !hostile.messages.contains("\u{202e}"))
        #expect(!place.directory.exists("bundle"))
        #expect(place.services.fulcio.requests.isEmpty)
    }

    @Test("In Chromium, on another device", needsChromium)
    func chromiumDevice() async throws {
        var code = ""
        let signed = try await place.sign(["--yes", "--fulcio-auth-flow", "device"]) {
            #expect(await Spawning.wait { !place.services.pendingUserCodes.isEmpty })
            code = try #require(place.services.pendingUserCodes.first)
            let page = try await place.chromium(
                "\(place.services.issuer.url)/auth/device?user_code=\(code)",
                ["fill", "email", "ann@local.test", "click", "confirm"], pictures: ["device", "confirmed"])
            #expect(try page.member("title").string() == "Confirmed")
        }
        #expect(signed.succeeded, "\(signed.messages)")
        #expect(signed.messages.contains("enter the code \(code)"))
        let address = "\(place.services.issuer.url)/auth/device"
        #expect(
            signed.messages.contains(
                """
                Sign-in: open this address on any device, and enter the code \(code):
                  \(address)
                or open this one, which has the code in it:
                  \(address)?user_code=\(code)
                Waiting for you to sign in there, at most 5 minutes. Control-C stops; nothing has been signed yet.
                Signed in as ann@local.test

                """), "\(signed.messages)")
        #expect(await place.verify(.email("ann@local.test")).succeeded)
    }

    @Test("The address is printed for a person to copy, whether or not a browser opens it")
    func address() async throws {
        for (browser, words) in [
            (place.browserCommand, ""), ("\(place.browserCommand) --new %s", "--new "),
        ] {
            let outcome = try await place.sign(browser: browser) { url in
                #expect(try place.directory.text("url").hasPrefix("\(words)http://"))
                try await place.signIn(url)
            }
            #expect(outcome.succeeded, "\(outcome.messages)")
            let url = try place.directory.text("url").dropFirst(words.count).dropLast()
            #expect(
                outcome.messages.contains(
                    """
                    Sign-in: your browser was opened. If it was not, open this address on this machine:
                      \(url)
                    Waiting for you to sign in there, at most 5 minutes. Control-C stops; nothing has been signed yet.
                    Signed in as alice@local.test

                    """), "\(outcome.messages)")
        }
        // A browser that is not there; nobody signs in.
        let words = "Sign-in: open this address in a browser on this machine:\n  http://127.0.0.1:"
        var unopened = Program.Outcome()
        // On a busy machine a short time may be over before anybody could sign in.
        for limit in ["1s", "10s", "100s"] where !unopened.messages.contains(words) {
            unopened = try await place.sign(
                ["--yes", "--fulcio-auth-flow", "normal", "--timeout", limit, "--bundle", "none"],
                browser: "no-such-browser"
            ) {}
            #expect(unopened.ending == .exit(1) && unopened.code == "timed-out" && unopened.seconds < 200)
        }
        #expect(unopened.messages.contains(words))
        #expect(!place.directory.exists("none"))
    }

    @Test(
        "At a port of which another program owns ::1 or 127.0.0.1 nobody is sent to sign in",
        arguments: ["[::1]", "127.0.0.1"])
    func portOfAnother(host: String) async throws {
        // The first sign-in is the other program; it waits until the second one has ended.
        var refused: Program.Outcome?
        let waiting = try await place.sign([
            "--yes", "--fulcio-auth-flow", "normal", "--oidc-redirect-url", "http://\(host):0/auth/callback",
        ]) { url in
            let here = value("redirect_uri", url)
            let both = here.replacingOccurrences(of: "//\(host):", with: "//localhost:")
            refused = await place.directory.swsign(
                "sign-blob", "--yes", "--fulcio-auth-flow", "normal", "--oidc-redirect-url", both,
                "--signing-config", place.services.files.signingConfig(.v2), "--trusted-root",
                place.services.files.trustedRoot, "--timeout", "100s", "--bundle", "refused", "file")
            try await place.signIn(url)
        }
        #expect(waiting.succeeded, "\(waiting.messages)")
        #expect(refused?.ending == .exit(1) && refused?.code == "unusable-redirect-url")
        #expect(
            // The port of the one address can be taken on the other by chance.
            refused?.messages.contains("belongs to another program") == true, "\(refused?.messages ?? "")")
        #expect(refused?.messages.contains("http://localhost") == false && !place.directory.exists("refused"))
    }

    @Test("Without a terminal nobody can sign in, and nothing is waited for")
    func noTerminal() async throws {
        let outcome = await place.directory.swsign(
            "sign-blob", "--yes", "--oidc-disable-ambient-providers", "--oidc-issuer", place.services.issuer.url,
            "--signing-config", place.services.files.signingConfig(.v2), "--bundle", "bundle", "file",
            environment: ["BROWSER": place.browserCommand])
        #expect(outcome.code == "no-identity-token" && !place.directory.exists("url"))
    }

    @Test("On a terminal the browser opens by itself, and what becomes public is confirmed")
    func terminal() async throws {
        let signed = try await place.sign(["--quiet"], terminal: [.init("Go on? [y/N]", "y\n")]) { url in
            try await place.signIn(url)
        }
        #expect(signed.succeeded, "\(signed.screen)")
        #expect(await place.verify(.email("alice@local.test")).succeeded)
        // Words of ours have a colour; the address has none, so that it can be copied whole.
        let url = try place.directory.text("url").dropLast()
        #expect(
            signed.screen.contains(
                "\u{1b}[36mSign-in:\u{1b}[0m your browser was opened. If it was not, open this address on this machine:\r\n  \(url)\r\nWaiting for you"
            ), "\(signed.screen)")
        #expect(
            signed.screen.contains("\u{1b}[32mSigned\u{1b}[0m in as alice@local.test\r\nWhat becomes public:"),
            "\(signed.screen)")
        #expect(signed.screen.contains("\u{1b}[32mWrote\u{1b}[0m bundle to file bundle\r\n"), "\(signed.screen)")
        // The browser has this process's environment, but for its secrets.
        let seen = try place.directory.text("environment")
        #expect(seen.contains("BROWSER=") && !seen.contains("t0psecret"), "\(seen)")
    }

    @Test("What is not the answer to this sign-in is refused", arguments: ["state", "nonce", "code_challenge"])
    func notOurs(_ name: String) async throws {
        let outcome = try await place.sign { url in
            // Somebody has the person sign in for another sign-in than the program's.
            var other = url
            other.queryItems = url.queryItems?.map {
                $0.name == name ? URLQueryItem(name: name, value: String(repeating: "x", count: 43)) : $0
            }
            let page = try await place.signIn(other)
            #expect(
                page.status == 400 && page.page.contains("Not signed in")
                    && page.page.contains("Nothing was signed"))
        }
        #expect(outcome.ending == .exit(1))
        #expect(outcome.code == (name == "code_challenge" ? "sign-in-failed" : "sign-in-refused"))
        #expect(outcome.messages.contains(name == "code_challenge" ? "Invalid code_verifier" : name))
        #expect(!place.directory.exists("bundle") && place.services.fulcio.requests.isEmpty)
    }

    @Test("Only the first answer counts; other paths, a favicon and other methods do not disturb")
    func otherRequests() async throws {
        let issuer = place.services.issuerServer
        // While the first answer's code is being exchanged, another one comes.
        issuer.faults.add(Fault(.delay(seconds: 200), method: "POST", path: "/auth/token"))
        defer { issuer.faults.removeAll() }
        let outcome = try await place.sign { url in
            let here = value("redirect_uri", url)
            #expect(
                try await place.visit(here.replacingOccurrences(of: "/auth/callback", with: "/favicon.ico")).status
                    == 404)
            #expect(try await place.visit(here + "/more").status == 404)
            #expect(try await place.visit(here, "POST").status == 405)
            async let first = place.signIn(url)
            #expect(await Spawning.wait { issuer.faults.met > 0 })
            let late = try await place.signIn(url, email: "mallory@local.test")
            #expect(late.status == 409 && late.page.contains("answered already"))
            issuer.faults.removeAll()
            #expect(try await first.page.contains("<strong>alice@local.test</strong>"))
        }
        #expect(outcome.succeeded, "\(outcome.messages)")
        #expect(await place.verify(.email("alice@local.test")).succeeded)
    }
}

/// Signing as a CI job does, with nothing but its identity token: the guide's own lines.
@Suite("A job's identity", .localSigstore(.own))
struct JobTests {
    private let place: Place

    init() throws { place = try Place() }

    /// The shell commands in the guide's example for a CI system.
    private static func script(_ system: String) throws -> String {
        let guide = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
            .deletingLastPathComponent().appendingPathComponent("Sources/swsign/Documentation.docc/CI.md")
        let text = try String(contentsOf: guide, encoding: .utf8)
        let section = try #require(text.range(of: "\n## \(system)"), "\(system) is not in the guide")
        let block = text[section.upperBound...].components(separatedBy: "```")[1]
        let lines = block.split(separator: "\n").map(String.init)
        let commands: [String] =
            if let quote = lines.last(where: { $0.contains("sh '") }) {
                [quote.components(separatedBy: "'")[1]]
            } else if let start = lines.firstIndex(where: { $0.hasSuffix("run: |") }) {
                lines[(start + 1)...].map { $0.trimmingCharacters(in: .whitespaces) }
            } else if let start = lines.firstIndex(where: { $0.hasSuffix(" script:") }) {
                lines[(start + 1)...].map { String($0.trimmingCharacters(in: .whitespaces).dropFirst(2)) }
            } else { [] }
        try #require(commands.contains { $0.contains("swsign sign") }, "\(block)")
        return commands.joined(separator: "\n")
    }

    @Test(
        "The guide's lines for CI sign, and without the token name what is missing",
        arguments: ["GitHub Actions", "GitLab CI", "Jenkins"])
    func guide(_ system: String) async throws {
        let script = try Self.script(system)
        let images = try await ImageFixture()
        let image = try await images.push(tag: "1.0")
        let services = place.services
        let identity: LocalIdentity = system == "GitHub Actions" ? .gitHubWorkflow() : .uri("/job/1")
        var job = [
            "CI": "true", "COSIGN_SIGNING_CONFIG": services.files.signingConfig(.v1),
            "COSIGN_TRUSTED_ROOT": services.files.trustedRoot, "DIGEST": "\(image.digest)",
            "PATH": "\(place.directory.path):/usr/bin:/bin",
        ]
        try FileManager.default.createSymbolicLink(
            atPath: place.directory["swsign"], withDestinationPath: Program.path)
        let (token, missing): ([String: String], String)
        switch system {
        case "GitHub Actions":
            job["GITHUB_ACTIONS"] = "true"
            job["TAGS"] = "\(images.repository):1.0\n\(images.repository):latest"
            token = [
                "ACTIONS_ID_TOKEN_REQUEST_URL": services.gitHubTokenURL,
                "ACTIONS_ID_TOKEN_REQUEST_TOKEN": services.requestToken,
            ]
            missing = "id-token: write"
        case "GitLab CI":
            let name = images.repository.split(separator: "/")[0]
            job.merge([
                "GITLAB_CI": "true", "COSIGN_YES": "true", "CI_REGISTRY": String(name), "CI_REGISTRY_USER": "ann",
                "CI_REGISTRY_PASSWORD": "secret", "CI_REGISTRY_IMAGE": images.repository,
            ]) { $1 }
            token = ["SIGSTORE_ID_TOKEN": try services.issuer.token(for: identity)]
            missing = "id_tokens: { SIGSTORE_ID_TOKEN: { aud: sigstore } }"
        default:
            job.merge(["JENKINS_URL": "http://localhost", "IMAGE": images.repository]) { $1 }
            token = ["SIGSTORE_ID_TOKEN": try services.issuer.token(for: identity)]
            missing = "SIGSTORE_ID_TOKEN"
        }
        var shell = Program(executable: "bash", directory: place.directory.path, environment: job)
        let without = await shell.run(["-euc", script])
        #expect(without.ending == .exit(1) && without.code == "no-identity-token", "\(without.messages)")
        #expect(without.messages.contains(missing), "\(without.messages)")
        #expect(services.fulcio.requests.isEmpty && services.rekorV1.requests.isEmpty)

        shell.environment.merge(token) { $1 }
        let signed = await shell.run(["-euc", script])
        #expect(signed.succeeded, "\(signed.messages)")
        #expect(signed.messages.contains("this is public for good"))
        let verified = await place.directory.swsign(
            "verify", "--trusted-root", services.files.trustedRoot, "--certificate-identity",
            services.issuer.subject(of: identity), "--certificate-oidc-issuer",
            services.issuer.issuer(of: identity),
            image.name)
        #expect(verified.succeeded, "\(verified.messages)")
    }
}
