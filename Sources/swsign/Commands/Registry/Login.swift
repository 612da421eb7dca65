import ArgumentParser
import OCIRegistry
import SigstoreCrypto
import StrictJSON
import SwSignCore

struct Login: SwSignCommand {
    static let configuration = CommandConfiguration(
        commandName: "login", abstract: "Keeps the credentials for a registry, where Docker keeps them.")

    @Argument(help: "The registry; Docker Hub unless given.")
    var server: String?
    @Option(name: .shortAndLong, help: "The user name.")
    var username: String?
    @Option(
        name: .shortAndLong, help: "The password or token. Others on this machine can see it: prefer --password-stdin.")
    var password: String?
    @Flag(name: .customLong("password-stdin"), help: "Read the password from standard input.")
    var passwordStdin = false
    @OptionGroup(title: "Registry") var registry: RegistryConnectionFlags
    @OptionGroup(title: "Global options") var global: GlobalOptions

    func run(_ context: Context) throws(SigstoreError) {
        let server = try server.map { (name) throws(SigstoreError) in try Registry(parsing: name) } ?? .dockerHub
        let user = try user(context)
        let secret = try secret(context)
        let registries = try registry.registries(context)
        let store = CredentialStore(environment: context.environment.value)
        let place = try waiting { () throws(SigstoreError) in
            try await registries.check(.password(user: user, password: secret), for: server)
            return try await store.save(user: user, password: secret, for: server)
        }
        context.output.note("logged in via \(place)")
        if store.isInEnvironment {
            context.output.warn("DOCKER_AUTH_CONFIG is set: what it holds for a registry counts before what is kept")
        }
    }

    private func user(_ context: Context) throws(SigstoreError) -> String {
        let typed = username == nil && !passwordStdin ? try context.terminal.line("Username: ") : username
        guard let typed, !typed.isEmpty else {
            throw SigstoreError(.usage, "no user name was given", advice: "give --username")
        }
        return typed
    }

    private func secret(_ context: Context) throws(SigstoreError) -> SecretBytes {
        if let password, !password.isEmpty {
            guard !passwordStdin else {
                throw SigstoreError(.usage, "--password and --password-stdin exclude each other")
            }
            context.output.warn("others on this machine can see a password on the command line; use --password-stdin")
            return SecretBytes(password.utf8)
        }
        if passwordStdin {
            var bytes = try InputFile("-").contents(limit: 1 << 16)
            defer { SecretBytes.cleanse(&bytes) }
            while let last = bytes.last, last == 0x0a || last == 0x0d { bytes.removeLast() }
            guard !bytes.isEmpty, Self.isText(bytes) else {
                throw SigstoreError(.noPassword, "there is no password on standard input, or it is not text")
            }
            return SecretBytes(bytes)
        }
        guard let typed = try context.terminal.secret("Password: "), typed.count > 0,
            unsafe typed.withBytes({ unsafe Self.isText($0) })
        else {
            throw SigstoreError(
                .noPassword, "no password was given, and there is no terminal to ask for it",
                advice: "use --password-stdin")
        }
        return typed
    }

    private static func isText(_ bytes: some Sequence<UInt8>) -> Bool {
        String(validating: Array(bytes), as: UTF8.self) != nil
    }
}
