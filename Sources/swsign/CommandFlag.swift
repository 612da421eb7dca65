/// One flag of the command line, as cosign names it and pflag reads it.
struct CommandFlag: Sendable {
    /// What a flag takes.
    enum Kind: Sendable {
        /// Nothing, or `=true` and `=false`; off unless given.
        case off
        /// Nothing, or `=true` and `=false`; on unless given.
        case on
        /// One value; the last one given counts.
        case value
        /// Values that add up, each cut at its commas.
        case list
        /// Values that add up, each taken whole.
        case each
    }

    let name: String
    let kind: Kind
    var short: Character?
    /// Other spellings that cosign has.
    var aliases: [String] = []
    /// What the flag needs that is not built yet; such a flag stops the command before it does anything.
    var awaits: String?

    init(_ name: String, _ kind: Kind = .value, short: Character? = nil, aliases: [String] = [], awaits: String? = nil) {
        self.name = name
        self.kind = kind
        self.short = short
        self.aliases = aliases
        self.awaits = awaits
    }

    /// The environment variable that gives the flag: `COSIGN_` and the name, with underscores.
    var variable: String { "COSIGN_" + name.uppercased().replacing("-", with: "_") }
}

/// Every command with every flag that cosign 2 or cosign 3 has for it: the one table by which arguments and environment
/// are brought into one form before they are parsed.
enum FlagTable {
    static let global: [CommandFlag] = [
        CommandFlag("output-file"), CommandFlag("timeout", short: "t"), CommandFlag("verbose", .off, short: "d"), CommandFlag("help", .off, short: "h"),
        CommandFlag("errors"),
    ]

    private static let securityKey = awaiting("security keys", [CommandFlag("sk", .off), CommandFlag("slot")])
    private static let keyless = awaiting(
        "signing without a key",
        [
            CommandFlag("certificate", aliases: ["cert"]), CommandFlag("certificate-chain", aliases: ["cert-chain"]),
            CommandFlag("fulcio-auth-flow"), CommandFlag("fulcio-url"), CommandFlag("identity-token"), CommandFlag("insecure-skip-verify", .off),
            CommandFlag("issue-certificate", .off), CommandFlag("oidc-client-id"), CommandFlag("oidc-client-secret-file"),
            CommandFlag("oidc-disable-ambient-providers", .off), CommandFlag("oidc-issuer"), CommandFlag("oidc-provider"),
            CommandFlag("oidc-redirect-url"), CommandFlag("output-certificate", aliases: ["output-cert"]), CommandFlag("rekor-url"),
            CommandFlag("rfc3161-timestamp"), CommandFlag("rfc3161-timestamp-bundle"), CommandFlag("timestamp-client-cacert"),
            CommandFlag("timestamp-client-cert"), CommandFlag("timestamp-client-key"), CommandFlag("timestamp-server-name"),
            CommandFlag("timestamp-server-url"), CommandFlag("trusted-root"), CommandFlag("rekor-entry-type"),
        ])
    private static let signing =
        [
            CommandFlag("key"), CommandFlag("yes", .off, short: "y"), CommandFlag("tlog-upload", .on), CommandFlag("signing-config"),
            CommandFlag("use-signing-config", .on), CommandFlag("bundle"), CommandFlag("new-bundle-format", .on), CommandFlag("output-signature"),
        ] + securityKey + keyless

    private static let verifying =
        [
            CommandFlag("key"), CommandFlag("bundle"), CommandFlag("signature"), CommandFlag("insecure-ignore-tlog", .off),
            CommandFlag("private-infrastructure", .off), CommandFlag("new-bundle-format", .on),
            CommandFlag("output", short: "o"), CommandFlag("max-workers"), CommandFlag("offline", .off),
            CommandFlag("trusted-root"), CommandFlag("staging", .off), CommandFlag("ca-intermediates"),
            CommandFlag("ca-roots"), CommandFlag("certificate", aliases: ["cert"]),
            CommandFlag("certificate-chain", aliases: ["cert-chain"]),
            CommandFlag("certificate-github-workflow-name", aliases: ["cert-github-workflow-name"]),
            CommandFlag("certificate-github-workflow-ref", aliases: ["cert-github-workflow-ref"]),
            CommandFlag("certificate-github-workflow-repository", aliases: ["cert-github-workflow-repository"]),
            CommandFlag("certificate-github-workflow-sha", aliases: ["cert-github-workflow-sha"]),
            CommandFlag("certificate-github-workflow-trigger", aliases: ["cert-github-workflow-trigger"]),
            CommandFlag("certificate-identity", .each, aliases: ["cert-identity", "certificate-email", "cert-email"]),
            CommandFlag("certificate-identity-regexp", .each, aliases: ["cert-identity-regexp"]),
            CommandFlag("certificate-oidc-issuer", .each, aliases: ["cert-oidc-issuer"]),
            CommandFlag("certificate-oidc-issuer-regexp", .each, aliases: ["cert-oidc-issuer-regexp"]),
            CommandFlag("experimental-oci11", .off), CommandFlag("insecure-ignore-sct", .off), CommandFlag("rekor-url"),
            CommandFlag("rfc3161-timestamp"), CommandFlag("sct"), CommandFlag("timestamp-certificate-chain"),
            CommandFlag("use-signed-timestamps", .off),
        ] + securityKey

    /// The commands by their words, such as `bundle inspect`.
    static let commands: [String: [CommandFlag]] = [
        "generate-key-pair": [
            CommandFlag("signing-algorithm"), CommandFlag("output-key-prefix"), CommandFlag("kms", awaits: "key services"),
            CommandFlag("yes", .off, short: "y"),
        ],
        "import-key-pair": [
            CommandFlag("key", short: "k"), CommandFlag("output-key-prefix", short: "o"), CommandFlag("yes", .off, short: "y"),
        ],
        "public-key": [CommandFlag("key"), CommandFlag("outfile")] + securityKey,
        "sign-blob": signing + [
            CommandFlag("b64", .on), CommandFlag("output"), CommandFlag("output-directory"), CommandFlag("signing-algorithm"),
        ],
        "attest-blob": signing + [
            CommandFlag("predicate"), CommandFlag("statement"), CommandFlag("type"), CommandFlag("hash"), CommandFlag("output-attestation"),
            CommandFlag("output-directory"),
        ],
        "verify-blob": verifying,
        "verify-blob-attestation": verifying + [
            CommandFlag("type"), CommandFlag("check-claims", .on), CommandFlag("digest"), CommandFlag("digestAlg"),
        ],
        "bundle inspect": [CommandFlag("output", short: "o")],
        "version": [CommandFlag("json", .off)],
        "env": [CommandFlag("show-descriptions", .on), CommandFlag("show-sensitive-values", .off)],
        "completion": [],
    ]

    /// cosign's commands that are not built yet.
    static let laterCommands = [
        "sign", "verify", "attest", "verify-attestation", "attach", "clean", "copy", "download", "initialize", "load",
        "login", "logout", "manifest", "dockerfile", "piv-tool", "pkcs11-tool", "save", "signing-config", "tree",
        "triangulate", "trusted-root", "upload", "generate",
    ]

    private static func awaiting(_ what: String, _ flags: [CommandFlag]) -> [CommandFlag] {
        flags.map {
            var flag = $0
            flag.awaits = what
            return flag
        }
    }
}
