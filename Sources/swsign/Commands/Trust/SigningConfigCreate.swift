import ArgumentParser
import LocalSystem
import SigstoreClients
import StrictJSON

struct SigningConfigCreate: SwSignCommand {
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

    func run(_ context: Context) throws(SigstoreError) {
        var draft = SigningConfigDraft()
        if withDefaultServices || withDefaultRekorV2 {
            var omitted: Set<SigningConfigDraft.Kind> = []
            if noFulcio { omitted.insert(.certificateAuthority) }
            if noRekor { omitted.insert(.transparencyLog) }
            if noTSA { omitted.insert(.timestampAuthority) }
            if noOIDC { omitted.insert(.issuer) }
            draft = try SigningConfigDraft(
                defaults: try TUFAccess(staging: false, context).target(
                    withDefaultRekorV2 ? TUFMirror.signingConfigRekorV2Target : TUFMirror.signingConfigTarget),
                omitting: omitted)
        }
        draft.serviceNames = [
            .certificateAuthority: "--fulcio", .issuer: "--oidc-provider", .transparencyLog: "--rekor",
            .timestampAuthority: "--tsa",
        ]
        draft.selectorNames = [.transparencyLog: "--rekor-config", .timestampAuthority: "--tsa-config"]
        for text in fulcio { try draft.add(text, kind: .certificateAuthority) }
        for text in rekor { try draft.add(text, kind: .transparencyLog) }
        for text in tsa { try draft.add(text, kind: .timestampAuthority) }
        for text in oidcProvider { try draft.add(text, kind: .issuer) }
        if let rekorConfig { try draft.select(rekorConfig, kind: .transparencyLog) }
        if let tsaConfig { try draft.select(tsaConfig, kind: .timestampAuthority) }
        let content = try draft.serialized()
        guard let out, out != "-" else { return try context.output.json(content) }
        try OutputFile(out, mode: 0o644).write(content)
        context.output.note("Wrote signing config to file \(out)", .success)
    }
}
