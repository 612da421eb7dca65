import ArgumentParser
import Foundation
import HTTPTransport
import LocalSigstore
import StrictJSON

@main
struct LocalSigstoreCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "local-sigstore",
        abstract: "A whole Sigstore on this machine, for tests and demos.",
        discussion: """
            Starts an OpenID Connect issuer, Fulcio, a certificate log, Rekor v1 and v2, a timestamp authority, an \
            OCI registry and a TUF repository on ports of 127.0.0.1. The issuer believes whoever asks: trust it for nothing real.
            """,
        subcommands: [Start.self, Token.self, Rotate.self], defaultSubcommand: Start.self)
}

struct FolderOption: ParsableArguments {
    @Option(help: "The folder for keys, logs and the files that clients use.")
    var folder = "local-sigstore.state"
}

struct Start: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Start all services, and run until interrupted (the default).",
        discussion: """
            FOLDER/env.sh appears when all services answer, and goes when they stop. Faults are switched on each \
            service's own port: curl -d '{"action":"status","status":503,"count":1}' http://127.0.0.1:PORT/_faults; \
            curl -X DELETE switches them off.
            """)

    @OptionGroup var state: FolderOption
    @Option(help: "The first of eight ports in a row; 0 for ports that are free, if possible those of the last time.")
    var firstPort: UInt16 = 0
    @Flag(help: "Keep what is pushed to the registry in memory only.")
    var registryInMemory = false
    @Flag(inversion: .prefixedNo, help: "Whether the registry has the referrers API.")
    var referrers = true

    func run() async throws {
        var configuration = LocalServices.Configuration(folder: state.folder)
        configuration.firstPort = firstPort
        configuration.registry.folder = registryInMemory ? nil : "\(state.folder)/registry"
        configuration.registry.referrersAPI = referrers
        try? FileManager.default.removeItem(atPath: "\(state.folder)/env.sh")
        let services: LocalServices
        do {
            services = try await LocalServices.start(configuration)
        } catch let error as SigstoreError {
            FileHandle.standardError.write(Data("Error: \(error)\n".utf8))
            throw ExitCode(1)
        }
        show(services)
        await interruption()
        try? FileManager.default.removeItem(atPath: services.files.environment)
        await services.stop()
    }

    private func show(_ services: LocalServices) {
        var lines = ["local-sigstore is running", ""]
        for (name, server) in services.servers {
            lines.append("  " + name.padding(toLength: 12, withPad: " ", startingAt: 0) + server.url)
        }
        lines += [
            "",
            "  trusted root        \(services.files.trustedRoot)",
            "  signing configs     \(services.files.signingConfig(.both)) (and .v1, .v2, .timestamp, .none)",
            "  client trust config \(services.files.trustConfig(.both)) (and .v1, .v2, .timestamp, .none)",
            "  TUF root            \(services.files.tufRoot)",
            "  to source           \(services.files.environment), \(services.files.gitHubEnvironment)",
            "",
            "A token:              local-sigstore token --folder \(state.folder) --email you@example.com",
            "A registry:           \(services.registry.address)",
            "",
            "  cosign sign-blob -y --signing-config \(services.files.signingConfig(.both)) \\",
            "    --trusted-root \(services.files.trustedRoot) --bundle FILE.sigstore.json \\",
            "    --identity-token \"$(local-sigstore token --folder \(state.folder) --email you@example.com)\" FILE",
            "  cosign verify-blob --trusted-root \(services.files.trustedRoot) --bundle FILE.sigstore.json \\",
            "    --certificate-identity you@example.com --certificate-oidc-issuer \(services.issuer.url) FILE",
            "",
            "Or once, and then without --signing-config and --trusted-root:",
            "",
            "  cosign initialize --mirror \(services.tufMirror.url) --root \(services.files.tufRoot)",
            "",
        ]
        FileHandle.standardOutput.write(Data((lines.joined(separator: "\n") + "\n").utf8))
    }

    /// Waits for SIGINT or SIGTERM.
    private func interruption() async {
        for number in [SIGINT, SIGTERM] { signal(number, SIG_IGN) }
        let sources = [SIGINT, SIGTERM].map { DispatchSource.makeSignalSource(signal: $0, queue: .global()) }
        let (stream, continuation) = AsyncStream.makeStream(of: Void.self)
        for source in sources {
            source.setEventHandler { continuation.yield() }
            source.resume()
        }
        for await _ in stream { break }
        for source in sources { source.cancel() }
    }
}

struct Rotate: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Replace keys of the services that run.",
        discussion: """
            root replaces every key of the TUF repository: the next version of its root is signed by the old root key \
            and the new one. keys replaces those of Fulcio, the certificate log, both Rekors and the timestamp \
            authority: the trusted root gets the new ones beside the old ones, which end ten minutes later.

            A client learns of it when it asks the mirror again: cosign does so each time, swsign once a day or by \
            swsign initialize.
            """)

    @OptionGroup var state: FolderOption
    @Argument(help: "What to replace: root, keys, or both.", transform: rotation)
    var what: [LocalServices.Rotation]

    private static func rotation(_ name: String) throws -> LocalServices.Rotation {
        guard let rotation = LocalServices.Rotation(rawValue: name) else {
            throw ValidationError("\(name) is neither root nor keys")
        }
        return rotation
    }

    func run() async throws {
        do {
            let mirror = try LocalServices.url(of: "tuf", folder: state.folder)
            let names = JSONValue.array(what.map { .string($0.rawValue) }).serialized()
            let answer: HTTPResponse
            do throws(SigstoreError) {
                answer = try await CurlClient().send(
                    HTTPRequest("POST", try HTTPURL(parsing: "\(mirror)/_rotate"), body: .bytes(names)))
            } catch {
                guard error.code == .unreachable else { throw error }
                throw SigstoreError(
                    .localServiceFailed, "the services of \(state.folder) do not run: \(error.message)",
                    advice: "start them with: local-sigstore --folder \(state.folder)", cause: error)
            }
            let now = JSONCursor(try JSONValue(parsing: answer.body))
            print("TUF root: version \(try now.member("rootVersion").integer())")
            print("keys of the services: number \(try now.member("keysNumber").integer())")
        } catch {
            FileHandle.standardError.write(Data("Error: \(error)\n".utf8))
            throw ExitCode(1)
        }
    }
}

struct Token: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Print an identity token of the local issuer.",
        discussion: "The services need not run, but must have been started in the folder once.")

    @OptionGroup var state: FolderOption
    @Option(help: "The email address that the token is for.")
    var email: String?
    @Flag(help: "Say that the email address was not verified.")
    var unverified = false
    @Option(help: "With --email: the issuer that vouches for it, as a federated issuer names it.")
    var connector: String?
    @Option(help: "The URI that the token is for, under the issuer's URL; a path is enough.")
    var uri: String?
    @Flag(name: .customLong("github"), help: "A token of a GitHub Actions job.")
    var gitHub = false
    @Option(help: "With --github: the repository, as OWNER/NAME.")
    var repository = GitHubWorkflow().repository
    @Option(help: "With --github: the workflow's file.")
    var workflow = GitHubWorkflow().file
    @Option(help: "With --github: the git reference.")
    var ref = GitHubWorkflow().ref
    @Option(help: "With --github: the commit.")
    var sha = GitHubWorkflow().sha
    @Option(help: "With --github: what started the job.")
    var event = GitHubWorkflow().event
    @Option(help: "With --github: the workflow's name.")
    var workflowName = GitHubWorkflow().name
    @Option(help: "Whom the token is for.")
    var audience = TokenOptions().audience
    @Option(
        parsing: .unconditional, help: "For how many seconds it holds; a negative number makes one that has expired.")
    var lifetime = TokenOptions().lifetime
    @Flag(help: "Sign it with a key that nobody knows.")
    var forged = false

    func validate() throws {
        guard [email != nil, uri != nil, gitHub].filter({ $0 }).count == 1 else {
            throw ValidationError("give exactly one of --email, --uri and --github")
        }
    }

    func run() async throws {
        var options = TokenOptions()
        options.audience = audience
        options.lifetime = lifetime
        options.forged = forged
        let identity: LocalIdentity
        if let email {
            identity =
                if let connector { .federated(email: email, connector: connector) } else {
                    .email(email, verified: !unverified)
                }
        } else if let uri {
            identity = .uri(uri)
        } else {
            identity = .gitHubWorkflow(
                GitHubWorkflow(
                    repository: repository, file: workflow, ref: ref, sha: sha, event: event, name: workflowName))
        }
        do {
            print(try LocalServices.token(for: identity, options: options, folder: state.folder))
        } catch {
            FileHandle.standardError.write(Data("Error: \(error)\n".utf8))
            throw ExitCode(1)
        }
    }
}
