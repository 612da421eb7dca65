import ArgumentParser
import Glibc
import InToto
import SwSignCore

/// The program: parse, call the core, print, map errors to exit codes.
@main
struct SwSign: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "swsign",
        abstract: "Signs and verifies container images, attestations and files, the way cosign does.",
        groupedSubcommands: [
            CommandGroup(name: "Keys:", subcommands: [GenerateKeyPair.self, ImportKeyPair.self, PublicKeyCommand.self]),
            CommandGroup(
                name: "Images:",
                subcommands: [
                    Sign.self, Verify.self, Attest.self, VerifyAttestation.self, Tree.self, Triangulate.self, Download.self,
                    Attach.self, Copy.self, Save.self, Load.self, Clean.self,
                ]),
            CommandGroup(name: "Registries:", subcommands: [Login.self, Logout.self]),
            CommandGroup(
                name: "Files:", subcommands: [SignBlob.self, VerifyBlob.self, AttestBlob.self, VerifyBlobAttestation.self]),
            CommandGroup(
                name: "Bundles and trust:",
                subcommands: [
                    BundleCommand.self, TransparencyLogCommand.self, TrustedRootCommand.self, SigningConfigCommand.self, Initialize.self,
                ]),
            CommandGroup(name: "This program:", subcommands: [Version.self, Environment.self, Completion.self]),
        ])

    @OptionGroup(title: "Global options") var global: GlobalOptions

    static func main() {
        // A reader that ends early and a file that may not grow are errors that a person is told of, not signals.
        signal(SIGPIPE, SIG_IGN)
        signal(SIGXFSZ, SIG_IGN)
        let status: Int32
        do throws(SigstoreError) {
            try run(try arguments())
            status = 0
        } catch {
            if error.code != .alreadyReported { Output.error(error) }
            // After several images, the first failure decides.
            status = exitStatus((error.code == .alreadyReported ? error.cause as? SigstoreError : nil)?.code ?? error.code)
        }
        Glibc.exit(status)
    }

    /// What follows the program's name. Swift's own list is empty where a library that was preloaded (such as one that
    /// sets the clock for a test) runs before it; Linux keeps the list too.
    private static func arguments() throws(SigstoreError) -> [String] {
        if !CommandLine.arguments.isEmpty { return Array(CommandLine.arguments.dropFirst()) }
        return try InputFile("/proc/self/cmdline").contents(limit: 1 << 22).split(separator: 0, omittingEmptySubsequences: false)
            .dropFirst().dropLast().map { String(decoding: $0, as: UTF8.self) }
    }

    /// Runs one command line.
    private static func run(_ arguments: [String]) throws(SigstoreError) {
        let environment = { (name: String) -> String? in unsafe getenv(name).map { unsafe String(cString: $0) } }
        try Output.configure(
            verbose: false, file: nil,
            jsonErrors: NormalizedArguments.wantsJSONErrors(arguments, environment: environment))
        let normalized = try NormalizedArguments(arguments, environment: environment)
        do {
            var command = try parseAsRoot(normalized.arguments)
            try command.run()
        } catch let error as SigstoreError {
            throw error
        } catch {
            let text = fullMessage(for: error)
            if exitCode(for: error) == .success { return try Output.text(text.hasSuffix("\n") ? text : text + "\n") }
            throw SigstoreError(
                .usage, message(for: error), advice: "see swsign \((normalized.arguments.prefix { $0.utf8.first != 0x2d } + ["--help"]).joined(separator: " "))")
        }
    }

    /// cosign's exit codes: 1 for anything that has none of its own.
    private static func exitStatus(_ code: SigstoreError.Code) -> Int32 {
        switch code {
        case .noSignature: 10
        case .imageNotFound: 11
        case .noMatchingSignature: 12
        case .noCertificate: 13
        case .interrupted: 130
        default: 1
        }
    }
}

extension SigstoreError.Code {
    /// The command failed, and what failed has been printed already.
    static let alreadyReported = Self("already-reported")
}
