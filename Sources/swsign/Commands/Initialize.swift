import ArgumentParser
import FoundationEssentials
import HTTPTransport
import InToto
import SigstoreClients
import SigstoreVerification
import SwSignCore

struct Initialize: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "initialize",
        abstract: "Fetches and verifies a Sigstore instance's trust root over TUF, and uses that instance from now on.")

    @Option(
        help: "The TUF mirror: an https, http or file URL; without it, that of TUF_MIRROR, or the public instance's.")
    var mirror: String?
    @Option(
        help:
            "The root file that everything is verified from: a path or URL; without it, the one given before, or the one built in."
    )
    var root: String?
    @Option(
        name: .customLong("root-checksum"),
        help: "The SHA-256 of the root file (or sha512:<hex>); needed where it comes over a network.")
    var rootChecksum: String?
    @Flag(help: "Use the public instance's staging, which is for rehearsals only.")
    var staging = false
    @OptionGroup(title: "Global options") var global: GlobalOptions

    mutating func run() throws {
        try global.apply()
        let (environment, fetcher) = (TUFAccess.environment, TUFMirrorFetcher(try TUFAccess.http()))
        let (root, checksum, staging) = (root, rootChecksum, staging && mirror == nil)
        // Without any word on which mirror, it is the public one, whatever was initialized before.
        let named = environment["TUF_MIRROR"].map { !$0.isEmpty } ?? false
        let mirror = mirror ?? (staging || named ? nil : TUFMirror.production.url)
        let version = try waiting { () throws(SigstoreError) in
            var given: [UInt8]?
            if let root { given = try await TUFMirror.readRoot(root, checksum: checksum, fetcher: fetcher) }
            let chosen = try TUFMirror.resolve(
                url: mirror, root: given, staging: staging, environment: environment)
            return try await chosen.initialize(
                keepingRoot: given != nil, environment: environment, fetcher: fetcher,
                notice: { Output.warn($0.message) }
            ).root.version
        }
        // A mirror or root that was given leaves the instance's own variables without a part.
        var variables = TUFAccess(staging: staging || mirror != nil).variables
        if root != nil { variables.removeAll { $0 == "TUF_ROOT_JSON" } }
        TrustVariables.named(variables)
        Output.note("The trust root was fetched and verified: version \(version) of the root metadata")
    }
}

struct SigningConfigCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "signing-config", abstract: "Makes signing configs: files that say which services to sign with.",
        subcommands: [Create.self])

    struct Create: ParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "create", abstract: "Makes a signing config.",
            discussion: """
                A service is written as key=value pairs: url, api-version, start-time, operator, and perhaps end-time \
                (RFC 3339).
                """)

        @Option(help: "A certificate authority.") var fulcio: [String] = []
        @Option(help: "A transparency log.") var rekor: [String] = []
        @Option(help: "A timestamp authority.") var tsa: [String] = []
        @Option(name: .customLong("oidc-provider"), help: "An issuer of identity tokens.") var oidcProvider: [String] =
            []
        @Option(name: .customLong("rekor-config"), help: "How many logs are used: ANY, ALL or EXACT:<count>.")
        var rekorConfig: String?
        @Option(
            name: .customLong("tsa-config"), help: "How many timestamp authorities are used: ANY, ALL or EXACT:<count>."
        )
        var tsaConfig: String?
        @Flag(name: .customLong("with-default-services"), help: "Begin with the services of the instance in use.")
        var withDefaultServices = false
        @Flag(
            name: .customLong("with-default-rekor-v2"),
            help: "The same; a Rekor v2 log is used where the instance names one.")
        var withDefaultRekorV2 = false
        @Flag(name: .customLong("no-default-fulcio"), help: "Leave out the default certificate authorities.")
        var noFulcio = false
        @Flag(name: .customLong("no-default-rekor"), help: "Leave out the default logs.") var noRekor = false
        @Flag(name: .customLong("no-default-tsa"), help: "Leave out the default timestamp authorities.") var noTSA =
            false
        @Flag(name: .customLong("no-default-oidc"), help: "Leave out the default issuers.") var noOIDC = false
        @Option(help: "The file to write; without it, standard output.") var out: String?
        @OptionGroup(title: "Global options") var global: GlobalOptions

        mutating func run() throws {
            try global.apply()
            var draft = SigningConfigDraft()
            if withDefaultServices || withDefaultRekorV2 {
                var omitted: Set<SigningConfigDraft.Kind> = []
                if noFulcio { omitted.insert(.certificateAuthority) }
                if noRekor { omitted.insert(.transparencyLog) }
                if noTSA { omitted.insert(.timestampAuthority) }
                if noOIDC { omitted.insert(.issuer) }
                draft = try SigningConfigDraft(
                    defaults: try TUFAccess(staging: false).target(
                        withDefaultRekorV2 ? TUFMirror.signingConfigRekorV2Target : TUFMirror.signingConfigTarget,
                        offline: false),
                    omitting: omitted)
            }
            for text in fulcio { try draft.add(text, kind: .certificateAuthority) }
            for text in rekor { try draft.add(text, kind: .transparencyLog) }
            for text in tsa { try draft.add(text, kind: .timestampAuthority) }
            for text in oidcProvider { try draft.add(text, kind: .issuer) }
            if let rekorConfig { try draft.select(rekorConfig, kind: .transparencyLog) }
            if let tsaConfig { try draft.select(tsaConfig, kind: .timestampAuthority) }
            let content = try draft.serialized()
            guard let out else { return try Output.json(content) }
            try OutputFile(out, mode: 0o644).write(content)
            Output.note("Wrote signing config to file \(out)")
        }
    }
}
