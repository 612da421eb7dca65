import ArgumentParser
import LocalSystem
import StrictJSON
import SwSignCore

struct GitSetup: SwSignCommand {
    static let configuration = CommandConfiguration(
        commandName: "setup", _superCommandName: "\(SwSign.name) git",
        abstract: "Has git call this program to sign commits and tags, and to verify them.")

    @Flag(
        name: .customLong("global"),
        help: "Write your own configuration, for all your repositories; this is so without either flag.")
    var isGlobal = false
    @Flag(help: "Write the configuration of one repository.")
    var local = false
    @Flag(help: "Take back what an earlier run wrote.")
    var undo = false
    @Option(
        name: [.customLong("directory"), .customShort("C")],
        help: "The repository; without it, the one of the working directory.")
    var directory: String?
    @OptionGroup(title: "Global options") var global: GlobalOptions

    /// The settings with their values; where the values were kept that stood there before.
    private struct Wanted {
        let name: String
        let value: String
        /// Whether a value is what an earlier run wrote, also as a program that was elsewhere then.
        func isOurs(_ found: String) -> Bool {
            found.utf8.elementsEqual(value.utf8)
                || name == "gpg.x509.program" && ["swsign", GitProgram.name].contains(InputFile(found).baseName)
        }
        var former: String { "swsign.former." + String(name.map { $0 == "." ? "-" : $0 }) }
    }

    func run(_ context: Context) throws(SigstoreError) {
        guard !isGlobal || !local else {
            throw SigstoreError(.usage, "--global and --local cannot be given together")
        }
        let scope: GitSettingScope = local ? .local : .global
        let repository = GitRepository(folder: directory, environment: context.environment.all)
        let wanted = [
            Wanted(name: "gpg.format", value: "x509"),
            Wanted(name: "gpg.x509.program", value: Self.program(context)),
            Wanted(name: "commit.gpgsign", value: "true"), Wanted(name: "tag.gpgsign", value: "true"),
        ]
        for setting in wanted {
            if undo {
                try takeBack(setting, scope, repository, context)
            } else {
                try write(setting, scope, repository, context)
            }
        }
        guard !undo else { return }
        context.output.note(
            "Each signature with an identity makes it public, with the signature and the name in the certificate, for good."
        )
        let names = ["swsign.signer", "swsign.publickey", "swsign.certificateidentity"]
        let isSaid = try repository.settings(of: ["swsign"]).contains { setting in
            !setting.isOfRepository && names.contains { setting.name.utf8.starts(with: $0.utf8) }
        }
        guard !isSaid else { return }
        context.output.note(
            "Who may have signed is not said yet: git config --global swsign.signers FILE", .request)
    }

    /// The path of this program: that by which it is found, if there is one, which stays when it is replaced by a newer one.
    private static func program(_ context: Context) -> String {
        let own = LocalFile.realPath("/proc/self/exe")
        let found = ChildProcess.find("swsign", environment: context.environment.all)
        guard let own else { return found ?? "swsign" }
        return found.flatMap { LocalFile.realPath($0)?.utf8.elementsEqual(own.utf8) == true ? $0 : nil } ?? own
    }

    private func write(_ setting: Wanted, _ scope: GitSettingScope, _ repository: GitRepository, _ context: Context)
        throws(SigstoreError)
    {
        let before = try repository.setting(setting.name, in: scope)
        if before?.utf8.elementsEqual(setting.value.utf8) == true {
            return try context.output.result("\(setting.name) is \(setting.value) already")
        }
        if try repository.setting(setting.former, in: scope) == nil {
            // Nothing stands for what was not set.
            try repository.set(setting.former, to: before ?? "", in: scope)
        }
        try repository.set(setting.name, to: setting.value, in: scope)
        try context.output.result(
            "\(setting.name) = \(setting.value)" + (before.map { " (it was \($0))" } ?? "")
                + ", in the \(scope.rawValue) configuration")
    }

    private func takeBack(_ setting: Wanted, _ scope: GitSettingScope, _ repository: GitRepository, _ context: Context)
        throws(SigstoreError)
    {
        guard let former = try repository.setting(setting.former, in: scope) else {
            return try context.output.result("\(setting.name) was not written by \(SwSign.name), and stays as it is")
        }
        let now = try repository.setting(setting.name, in: scope)
        guard now.map(setting.isOurs) == true else {
            try repository.set(setting.former, to: nil, in: scope)
            return try context.output.result("\(setting.name) was changed since, and stays as it is")
        }
        try repository.set(setting.name, to: former.isEmpty ? nil : former, in: scope)
        try repository.set(setting.former, to: nil, in: scope)
        try context.output.result(
            former.isEmpty ? "\(setting.name) is not set any more" : "\(setting.name) = \(former), as before")
    }
}
