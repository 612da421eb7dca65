import ArgumentParser
import CMemory
import KeyProviders
import LocalSystem
import StrictJSON
import SwSignCore

/// The program: parse, call the core, print, map errors to exit codes.
@main
struct SwSign: ParsableCommand {
    /// What the program is called as, for what it tells a person to type: `cosign` if it was started by a link of that name.
    static let name = programName.utf8.elementsEqual("cosign".utf8) ? "cosign" : "swsign"

    /// The last part of the name that the program was started by; empty if that is not known.
    private static let programName: String = {
        let path =
            CommandLine.arguments.first
            ?? (try? InputFile("/proc/self/cmdline").contents(limit: 1 << 23)).map {
                String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self)
            }
        return path?.utf8.split(separator: 0x2f).last.map { String(Substring($0)) } ?? ""
    }()

    /// Where the help of a command is.
    /// - Parameter words: The command's words.
    static func helpAdvice(_ words: some Collection<String>) -> String {
        "see \(name) \((words + ["--help"]).joined(separator: " "))"
    }

    static let configuration = CommandConfiguration(
        commandName: name,
        abstract: "Signs and verifies container images, attestations and files, the way cosign does.",
        groupedSubcommands: [
            CommandGroup(
                name: "Keys",
                subcommands: [
                    GenerateKeyPair.self, ImportKeyPair.self, PublicKeyCommand.self, KeyCommand.self, PKCS11Tool.self,
                ]),
            CommandGroup(
                name: "Images",
                subcommands: [
                    Sign.self, Resign.self, Verify.self, Attest.self, VerifyAttestation.self, Tree.self,
                    Triangulate.self,
                    Download.self,
                    Attach.self, Copy.self, Save.self, Load.self, Clean.self,
                ]),
            CommandGroup(name: "Audits", subcommands: [AuditCommand.self]),
            CommandGroup(name: "Registries", subcommands: [Login.self, Logout.self]),
            CommandGroup(
                name: "Files",
                subcommands: [
                    SignBlob.self, VerifyBlob.self, AttestBlob.self, VerifyBlobAttestation.self, VerifyProvenance.self,
                    SignModel.self, GitCommand.self, AgentCommand.self,
                ]),
            CommandGroup(
                name: "Bundles and trust",
                subcommands: [
                    BundleCommand.self, Tlog.self, TrustedRootCommand.self, SigningConfigCommand.self,
                    Initialize.self,
                ]),
            CommandGroup(
                name: "This program",
                subcommands: [
                    Version.self, Doctor.self, EnvironmentCommand.self, ErrorsCommand.self, Completion.self,
                ]),
        ])

    @OptionGroup(title: "Global options") var global: GlobalOptions

    static func main() {
        cmemory_protect()
        // A reader that ends early and a file that may not grow are errors that a person is told of, not signals.
        ProcessSignals.ignoreFailedWrites()
        Interruption.prepare()
        let words = spokenArguments
        let isCalledByGit = GitProgram.isCalled(as: programName, words)
        let context = isCalledByGit ? GitProgram.context(words) : Context()
        let status: Int32
        do throws(SigstoreError) {
            do throws(SigstoreError) {
                try context.output.places.watching { () throws(SigstoreError) in
                    if programName.utf8.starts(with: PluginCall.programPrefix.utf8) {
                        let name = String(Substring(programName.utf8.dropFirst(PluginCall.programPrefix.utf8.count)))
                        return try PluginService(name: name, context: context).run(try arguments())
                    }
                    if isCalledByGit { return try GitProgram(words).run(context) }
                    try run(try arguments(), context)
                }
            } catch {
                context.progress.finish()
                try context.output.finish(succeeded: false)
                throw error
            }
            context.progress.finish()
            try context.output.finish(succeeded: true)
            status = 0
        } catch {
            // Other programs end by this signal too. Success it is not: what is verified may be told by the result alone.
            if error.code == .readerEnded { ProcessSignals.endAsReaderEnded() }
            if error.code != .alreadyReported { context.output.error(error.advised) }
            // After several images, the first failure decides.
            status = exitStatus(
                (error.code == .alreadyReported ? error.cause as? SigstoreError : nil)?.code ?? error.code)
        }
        context.closeKeys()
        // Everything is written, and nobody needs what libraries do when they are closed; a thread may still open some.
        ProcessSignals.end(status: status)
    }

    /// What follows the program's name. Swift's own list needs /proc, is empty if a library that was preloaded (such as one
    /// that sets the clock for a test) runs before it, and has U+FFFD for whatever is not UTF-8.
    private static func arguments() throws(SigstoreError) -> [String] {
        guard let words = ProcessEnvironment.arguments() else { return Array(CommandLine.arguments.dropFirst()) }
        var arguments: [String] = []
        for word in words.dropFirst() {
            guard let text = String(validating: word, as: UTF8.self) else {
                throw SigstoreError.notUTF8("the argument \"\(String(decoding: word, as: UTF8.self))\"")
            }
            arguments.append(text)
        }
        return arguments
    }

    /// The same for a look at them: bytes that are not UTF-8 are replaced, as in the name of a committer.
    private static var spokenArguments: [String] {
        ProcessEnvironment.arguments().map { $0.dropFirst().map { String(decoding: $0, as: UTF8.self) } }
            ?? Array(CommandLine.arguments.dropFirst())
    }

    /// Runs one command line.
    private static func run(_ arguments: [String], _ context: Context) throws(SigstoreError) {
        var context = context
        func early(_ flag: String) -> String {
            NormalizedArguments.early(flag, in: arguments, environment: context.environment.text)
        }
        let jsonErrors = early("errors") == "json"
        try context.output.configure(
            verbose: false, file: nil, jsonErrors: jsonErrors,
            color: GlobalOptions.Color(rawValue: early("color")) ?? .auto)
        if jsonErrors { unsafe Interruption.isJSON = true }
        let normalized = try NormalizedArguments(arguments, environment: context.environment.text)
        for warning in normalized.warnings { context.output.warn(warning) }
        context.trustVariables = TrustVariables(normalized.fromEnvironment, context.output)
        do {
            Preparation.begin(for: normalized.arguments)
            if let command = read(normalized.arguments) { return try run(command, &context) }
            var command = try parsed(normalized.arguments)
            // A command that only has others below it, and the request for help, have nothing to do with the world.
            guard let known = command as? any SwSignCommand else { return try command.run() }
            try run(known, &context)
        } catch let error as SigstoreError {
            throw error
        } catch {
            let text = fullMessage(for: error)
            if exitCode(for: error) == .success {
                let words = normalized.arguments.prefix { $0.utf8.first != 0x2d }
                return try context.output.text(HelpText.arranged(text.hasSuffix("\n") ? text : text + "\n", for: words))
            }
            throw SigstoreError(
                .usage, inOneLine(message(for: error)),
                advice: .sentence(helpAdvice(normalized.arguments.prefix { $0.utf8.first != 0x2d })))
        }
    }

    /// The values that a flag takes are listed one a line if there are many.
    private static func inOneLine(_ message: String) -> String {
        let lines = message.split(separator: "\n").map { $0.trimmingPrefix("  - ") }
        return ([lines.first.map(String.init) ?? ""] + [lines.dropFirst().joined(separator: ", ")])
            .filter { !$0.isEmpty }.joined(separator: " ")
    }

    private static func run(_ command: any SwSignCommand, _ context: inout Context) throws(SigstoreError) {
        try command.global.apply(to: &context)
        try command.run(context)
    }

    /// The command that the arguments name, if it reads its flags itself and nothing is wrong with them.
    static func read(_ arguments: [String]) -> (any SwSignCommand)? {
        var given = GivenFlags(arguments.dropFirst())
        let command: any SwSignCommand
        switch arguments.first {
        case "version": command = Version(&given)
        case "sign-blob": command = SignBlob(&given)
        case "verify-blob": command = VerifyBlob(&given)
        case "attest-blob": command = AttestBlob(&given)
        case "verify-blob-attestation": command = VerifyBlobAttestation(&given)
        default: return nil
        }
        return given.areTaken ? command : nil
    }

    /// The command that the arguments name. It is asked by itself first: from the root, everything on the way to it would
    /// be described to the parser too, which takes longer than many a command. (For the same reason the commands that sign and
    /// verify have a `_superCommandName`: in a command with one, the parser does not look for a request for completions.)
    /// Help and errors name the whole way, and are the root's.
    static func parsed(_ arguments: [String]) throws -> any ParsableCommand {
        var type: any ParsableCommand.Type = SwSign.self
        var rest = arguments[...]
        var isBelowCommand = false
        while let word = rest.first,
            let next = type.configuration.subcommands.first(where: { $0.configuration.commandName == word })
        {
            isBelowCommand = type is any SwSignCommand.Type
            type = next
            rest.removeFirst()
        }
        // From above, the name of a command below one that takes names would be such a name.
        if isBelowCommand { return try type.parseAsRoot(Array(rest)) }
        if let command = try? type.parseAsRoot(Array(rest)), Swift.type(of: command) == type { return command }
        return try parseAsRoot(arguments)
    }

    /// cosign's exit codes: 1 for anything that has none of its own.
    private static func exitStatus(_ code: SigstoreError.Code) -> Int32 {
        switch code {
        case .noSignature: 10
        case .imageNotFound: 11
        case .noMatchingSignature, .notAllSigned, .auditFindings, .unexpectedLogEntry: 12
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
