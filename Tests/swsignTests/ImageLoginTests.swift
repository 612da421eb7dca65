import LocalSigstore
import StrictJSON
import TestServices
import Testing

@Suite("Registries: login and logout")
struct ImageLoginTests {
    private static let authentications: [LocalRegistry.Authentication] = [
        .basic(username: "ann", password: "s3cret word"), .token(username: "ann", password: "s3cret word"),
    ]

    @Test("A password that the registry accepts is kept, and used; logout forgets it", arguments: authentications)
    func loginAndLogout(authentication: LocalRegistry.Authentication) async throws {
        let directory = TemporaryDirectory()
        try directory.makeKey()
        try await directory.makeImages()
        var configuration = LocalRegistry.Configuration()
        configuration.authentication = authentication
        try await RegistryKind.referrersAPI.run(configuration) { address, _ in
            let copy = ["copy", "oci-layout:img:one", "\(address)/team/app:v1"]
            let refused = await Program(directory: directory.path).run(copy)
            #expect(refused.ending == .exit(1) && refused.code == "unauthorized", "\(refused.messages)")
            let wrong = await directory.swsign(
                "login", address, "-u", "ann", "--password-stdin", input: .text("wrong\n"))
            #expect(wrong.ending == .exit(1) && wrong.code == "unauthorized", "\(wrong.messages)")
            #expect(!directory.exists(".docker/config.json"))
            let login = await directory.swsign(
                "login", address, "-u", "ann", "--password-stdin", input: .text("s3cret word\n"))
            #expect(login.succeeded && login.messages.contains("logged in via"), "\(login.messages)")
            #expect(!login.messages.contains("s3cret") && !login.messages.contains("WARNING"))
            #expect(try directory.mode(".docker/config.json") == 0o600)
            let copied = await Program(directory: directory.path).run(copy)
            #expect(copied.succeeded, "\(copied.messages)")
            try await directory.sign("\(address)/team/app:v1", older: false)
            #expect(try await directory.signatures("\(address)/team/app:v1") == 1)
            #expect(try await directory.must("logout", address).messages.contains("removed"))
            #expect(try !directory.text(".docker/config.json").contains(address))
            let after = await directory.swsign("tree", "\(address)/team/app:v1")
            #expect(after.ending == .exit(1) && after.code == "unauthorized", "\(after.messages)")
            #expect(try await directory.must("logout", address).messages.contains("no credentials"))
        }
    }

    @Test(
        "The password comes from -p with a warning, the environment, or a terminal; never from a key's COSIGN_PASSWORD")
    func sources() async throws {
        let directory = TemporaryDirectory()
        var configuration = LocalRegistry.Configuration()
        configuration.authentication = Self.authentications[0]
        try await RegistryKind.referrersAPI.run(configuration) { address, registry in
            let flag = await directory.swsign("login", address, "-u", "ann", "-p", "s3cret word")
            #expect(
                flag.succeeded && flag.messages.contains("WARNING") && !flag.messages.contains("s3cret"),
                "\(flag.messages)")
            let variables = await directory.swsign(
                "login", address,
                environment: [
                    "COSIGN_REGISTRY_USERNAME": "ann", "COSIGN_REGISTRY_PASSWORD": "s3cret word",
                    "DOCKER_CONFIG": directory["docker"],
                ])
            #expect(variables.succeeded && directory.exists("docker/config.json"), "\(variables.messages)")
            let typed = await directory.swsign(
                "login", address, "-u", "ann", input: .terminal, terminal: [Program.Turn("Password: ", "s3cret word\n")]
            )
            #expect(typed.succeeded && !typed.screen.contains("s3cret"), "\(typed.messages)")
            registry?.server.forgetRequests()
            try await directory.expectRefusal(
                "no-password", "--password-stdin", of: ["login", address, "-u", "ann"],
                environment: ["COSIGN_PASSWORD": "s3cret word"])
            #expect(registry?.server.requests.isEmpty == true)
            try await directory.expectRefusal("usage", "--username", of: ["login", address, "-p", "x"])
            try await directory.expectRefusal(
                "no-password", of: ["login", address, "-u", "ann", "--password-stdin"], input: .text("\n"))
        }
    }

    @Test("At a terminal, the user name is asked for too; the environment's credentials count before what is kept")
    func names() async throws {
        let directory = TemporaryDirectory()
        var configuration = LocalRegistry.Configuration()
        configuration.authentication = Self.authentications[0]
        try await directory.makeImages()
        try await RegistryKind.referrersAPI.run(configuration) { address, _ in
            let typed = await directory.swsign(
                "login", address, input: .terminal,
                terminal: [Program.Turn("Username: ", "ann\n"), Program.Turn("Password: ", "s3cret word\n")])
            #expect(
                typed.succeeded && typed.screen.contains("ann") && !typed.screen.contains("s3cret"), "\(typed.messages)"
            )
            let copy = ["copy", "oci-layout:img:one", "\(address)/team/app:v1"]
            func entry(_ password: String) -> String {
                // As a template does it, with a line break at the end.
                let pair = Base64.encode(Array("ann:\(password)".utf8))
                return #"{"auths":{"\#(address)":{"auth":"\#(pair)\n"}}}"#
            }
            let other = await Program(
                directory: directory.path, environment: ["DOCKER_AUTH_CONFIG": entry("wrong")]
            ).run(copy)
            #expect(other.ending == .exit(1) && other.code == "unauthorized", "\(other.messages)")
            try directory.write(".docker/config.json", "{}")
            let fromEnvironment = await Program(
                directory: directory.path, environment: ["DOCKER_AUTH_CONFIG": entry("s3cret word")]
            ).run(copy)
            #expect(fromEnvironment.succeeded, "\(fromEnvironment.messages)")
            try directory.write("broken-lines.json", entry("s3cret word"))
            let file = await Program(
                directory: directory.path, environment: ["REGISTRY_AUTH_FILE": directory["broken-lines.json"]]
            ).run(copy)
            #expect(file.succeeded, "\(file.messages)")
            // What cannot be read is not "no credentials".
            for (value, words) in [
                ("{", "not valid JSON"), (#"{"auths":{"\#(address)":{"auth":"!"}}}"#, "is not base64"),
            ] {
                let outcome = await Program(
                    directory: directory.path, environment: ["DOCKER_AUTH_CONFIG": value]
                ).run(copy)
                #expect(outcome.code == "credentials-unreadable", "\(outcome.messages)")
                #expect(outcome.messages.contains("DOCKER_AUTH_CONFIG") && outcome.messages.contains(words))
            }
            let login = await directory.swsign(
                "login", address, "-u", "ann", "--password-stdin", environment: ["DOCKER_AUTH_CONFIG": entry("wrong")],
                input: .text("s3cret word"))
            #expect(login.succeeded && login.messages.contains("DOCKER_AUTH_CONFIG is set"), "\(login.messages)")
        }
    }

    @Test("DOCKER_CONFIG that names the file instead of its folder is said to", arguments: ["login", "triangulate"])
    func fileForFolder(command: String) async throws {
        let directory = TemporaryDirectory()
        try directory.write("config.json", "{}")
        var configuration = LocalRegistry.Configuration()
        configuration.authentication = Self.authentications[0]
        try await RegistryKind.referrersAPI.run(configuration) { address, _ in
            let arguments =
                command == "login"
                ? ["login", address, "-u", "ann", "-p", "s3cret word"]
                : ["triangulate", "--type", "digest", "\(address)/team/app:1"]
            let outcome = await Program(
                directory: directory.path, environment: ["DOCKER_CONFIG": directory["config.json"]]
            ).run(arguments)
            #expect(outcome.ending == .exit(1) && outcome.code == "credentials-unreadable", "\(outcome.messages)")
            #expect(outcome.messages.contains("DOCKER_CONFIG names \(directory["config.json"]), which is a file"))
        }
    }

    @Test("What a credential helper says on standard error is shown")
    func helperWords() async throws {
        let directory = TemporaryDirectory()
        try directory.makeDirectory(".docker")
        try directory.makeDirectory("bin")
        try directory.write(".docker/config.json", #"{"credsStore":"test"}"#)
        try directory.write(
            "bin/docker-credential-test", "#!/bin/sh\necho 'unlock your keyring' >&2\nexit 1\n", mode: 0o755)
        var configuration = LocalRegistry.Configuration()
        configuration.authentication = Self.authentications[0]
        try await RegistryKind.referrersAPI.run(configuration) { address, _ in
            let outcome = await Program(
                directory: directory.path, environment: ["PATH": "\(directory["bin"]):/usr/bin:/bin"]
            ).run(["triangulate", "--type", "digest", "\(address)/team/app:1"])
            #expect(outcome.ending == .exit(1) && outcome.code == "credentials-unreadable", "\(outcome.messages)")
            #expect(outcome.messages.contains("unlock your keyring"))
        }
    }

    @Test("A credential helper that is configured keeps the password, and the file does not; it gets no secret of ours")
    func helper() async throws {
        let directory = TemporaryDirectory()
        try directory.makeDirectory(".docker")
        try directory.makeDirectory("bin")
        try directory.write(".docker/config.json", #"{"credsStore":"test","other":{"kept":true}}"#)
        try directory.write(
            "bin/docker-credential-test",
            """
            #!/bin/sh
            env > "$HOME/environment.$1"
            case $1 in
            store) cat > "$HOME/kept" ;;
            get) if [ -f "$HOME/kept" ]; then cat "$HOME/kept"; else echo "credentials not found in native keychain"; exit 1; fi ;;
            erase) rm -f "$HOME/kept" ;;
            esac
            """, mode: 0o755)
        let environment = [
            "PATH": "\(directory["bin"]):/usr/bin:/bin", "AWS_PROFILE": "mine", "COSIGN_PASSWORD": "t0psecret",
            "SIGSTORE_ID_TOKEN": "t0psecret", "ACTIONS_ID_TOKEN_REQUEST_TOKEN": "t0psecret",
            "COSIGN_IDENTITY_TOKEN": "t0psecret", "DOCKER_AUTH_CONFIG": #"{"auths":{"t0psecret.example":{}}}"#,
            "SIGNING_KEY": "-----BEGIN PRIVATE KEY-----\nt0psecret\n-----END PRIVATE KEY-----\n",
        ]
        var configuration = LocalRegistry.Configuration()
        configuration.authentication = Self.authentications[0]
        try await directory.makeImages()
        try await RegistryKind.referrersAPI.run(configuration) { address, _ in
            let login = await directory.swsign(
                "login", address, "-u", "ann", "--password-stdin", environment: environment, input: .text("s3cret word")
            )
            #expect(login.succeeded, "\(login.messages)")
            let (kept, file) = (try directory.text("kept"), try directory.text(".docker/config.json"))
            #expect(kept.contains("s3cret word"))
            #expect(!file.contains("s3cret") && file.contains("kept"))
            let copied = await directory.swsign(
                "copy", "oci-layout:img:one", "\(address)/a/b:c", environment: environment)
            #expect(copied.succeeded, "\(copied.messages)")
            let logout = await directory.swsign("logout", address, environment: environment)
            #expect(logout.succeeded && !directory.exists("kept"), "\(logout.messages)")
            for action in ["store", "get", "erase"] {
                let seen = try directory.text("environment.\(action)")
                #expect(seen.contains("AWS_PROFILE=mine") && !seen.contains("t0psecret"), "\(action): \(seen)")
            }
        }
    }
}
