import StrictJSON
import SwSignCore

/// What stands in git's configuration and in gitsign's variables, as the flags of our own commands.
///
/// Each flag of a command may stand there as `swsign.FLAG`, without hyphens: `swsign.trustedRoot` is `--trusted-root`. What the
/// environment gives by our own variables counts before that, then gitsign's variables, then `swsign.…`, then `gitsign.…`.
struct GitSettingFlags {
    private let settings: [GitSetting]
    private let environment: Environment

    /// What may stand there besides flags.
    private static let others = ["publickey", "matchcommitter", "gitsignonline"]

    /// gitsign's settings, by the ends of its variables' names and the names in the configuration. (gitsign's `config.go`; what
    /// else stands there has no effect here.)
    private static let gitsign: [(flag: String, variable: String, name: String)] = [
        ("fulcio-url", "FULCIO_URL", "fulcio"), ("rekor-url", "REKOR_URL", "rekor"),
        ("oidc-client-id", "OIDC_CLIENT_ID", "clientid"),
        ("oidc-client-secret-file", "OIDC_CLIENT_SECRET_FILE", "clientsecretfile"),
        ("oidc-redirect-url", "OIDC_REDIRECT_URL", "redirecturl"), ("oidc-issuer", "OIDC_ISSUER", "issuer"),
        ("timestamp-server-url", "TIMESTAMP_SERVER_URL", "timestampserverurl"),
        ("token-provider", "TOKEN_PROVIDER", "tokenprovider"), ("ca-roots", "FULCIO_ROOT", "fulcioroot"),
        ("timestamp-certificate-chain", "TIMESTAMP_CERT_CHAIN", "timestampcertchain"),
    ]

    /// - Parameters:
    ///   - settings: Those of the sections `swsign` and `gitsign`.
    ///   - output: Where it is said that a setting is unknown.
    init(_ settings: [GitSetting], _ environment: Environment, _ output: Output) {
        (self.settings, self.environment) = (settings, environment)
        let flags = ["sign-blob", "git verify"].flatMap { FlagTable.flags(of: $0) ?? [] } + FlagTable.global
        for setting in settings {
            guard let name = Self.variable(setting.name, of: "swsign"), !Self.others.contains(name),
                !flags.contains(where: { Self.isNamed($0, name) })
            else { continue }
            output.warn("git's configuration has \(setting.name), which is no setting of \(SwSign.name)'s")
        }
    }

    /// The flags of a command that are given there.
    /// - Parameter aliases: Further names of settings, with the flag that each stands for.
    /// - Throws: `SigstoreError` if a variable is not UTF-8.
    func arguments(_ command: String, except: [String] = [], aliases: [String: String] = [:]) throws(SigstoreError)
        -> [String]
    {
        var arguments: [String] = []
        for flag in (FlagTable.flags(of: command) ?? []) + FlagTable.global where flag.awaits == nil {
            if let ours = try environment.text(flag.variable), !ours.isEmpty, !except.contains(flag.name) { continue }
            var values: [String] = []
            if let variable = try gitsignVariable(flag.name) {
                values = [variable]
            } else {
                let isLeftOut = except.contains(flag.name)
                for setting in settings {
                    guard let name = Self.variable(setting.name, of: "swsign") else { continue }
                    if aliases[name] == flag.name || !isLeftOut && Self.isNamed(flag, name) {
                        values.append(setting.value)
                    }
                }
                if values.isEmpty { values = gitsign(flag.name).map { [$0] } ?? [] }
            }
            switch flag.kind {
            case .off, .on: values = values.suffix(1).map(Self.truth)
            case .value: values = values.suffix(1)
            case .list, .each: break
            }
            arguments += values.filter { !$0.isEmpty }.map { "--\(flag.name)=\(expanded($0))" }
        }
        return arguments
    }

    /// What gitsign is told under the name of a flag, or of something that no flag says.
    func gitsignValue(_ name: String) throws(SigstoreError) -> String? {
        try (gitsignVariable(name) ?? gitsign(name)).flatMap { $0.isEmpty ? nil : expanded($0) }
    }

    /// The last value of a setting of ours or gitsign's.
    /// - Parameter name: The variable's name in small letters.
    func last(_ name: String) -> String? {
        settings.last { ["swsign.\(name)", "gitsign.\(name)"].contains($0.name) }?.value
    }

    /// Whether such a setting says yes.
    func isOn(_ name: String) -> Bool { last(name).map { Self.truth($0) == "true" } ?? false }

    private func gitsignVariable(_ flag: String) throws(SigstoreError) -> String? {
        guard let known = Self.gitsign.first(where: { $0.flag == flag }) else { return nil }
        // A variable that is set but empty takes away what the configuration says.
        for prefix in ["GITSIGN", "SIGSTORE"] {
            if let value = try environment.text("\(prefix)_\(known.variable)") { return value }
        }
        return nil
    }

    private func gitsign(_ flag: String) -> String? {
        guard let known = Self.gitsign.first(where: { $0.flag == flag }) else { return nil }
        return settings.last { $0.name == "gitsign.\(known.name)" }?.value
    }

    /// The name in a section, if it is in that one and in no part of it.
    private static func variable(_ name: String, of section: String) -> String? {
        let rest = name.utf8.dropFirst(section.utf8.count + 1)
        guard name.utf8.starts(with: "\(section).".utf8), !rest.contains(0x2e) else { return nil }
        return String(Substring(rest))
    }

    /// Whether this is how a flag is written in git's configuration, whose names have no distinction of large and small letters.
    private static func isNamed(_ flag: CommandFlag, _ name: String) -> Bool {
        func isWritten(_ word: String) -> Bool {
            word.utf8.lazy.filter { $0 != 0x2d }.map { (0x41...0x5a).contains($0) ? $0 + 0x20 : $0 }
                .elementsEqual(name.utf8)
        }
        return isWritten(flag.name) || flag.aliases.contains(where: isWritten)
    }

    /// git's words for yes and no, as those of flags.
    private static func truth(_ value: String) -> String {
        switch value.lowercased() {
        case "yes", "on", "1", "true": "true"
        case "no", "off", "0", "false", "": "false"
        default: value
        }
    }

    private func expanded(_ value: String) -> String {
        guard value.utf8.starts(with: "~/".utf8), let home = environment.value("HOME") else { return value }
        return home + String(Substring(value.utf8.dropFirst()))
    }
}
