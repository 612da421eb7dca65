/// One flag of the command line, as cosign names it and pflag reads it.
struct Flag: Sendable {
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
    static let global: [Flag] = [
        Flag("output-file"), Flag("timeout", short: "t"), Flag("verbose", .off, short: "d"), Flag("help", .off, short: "h"),
        Flag("errors"),
    ]

    private static let securityKey = awaiting("security keys", [Flag("sk", .off), Flag("slot")])
    private static let keyless = awaiting(
        "signing without a key",
        [
            Flag("certificate", aliases: ["cert"]), Flag("certificate-chain", aliases: ["cert-chain"]),
            Flag("fulcio-auth-flow"), Flag("fulcio-url"), Flag("identity-token"), Flag("insecure-skip-verify", .off),
            Flag("issue-certificate", .off), Flag("oidc-client-id"), Flag("oidc-client-secret-file"),
            Flag("oidc-disable-ambient-providers", .off), Flag("oidc-issuer"), Flag("oidc-provider"),
            Flag("oidc-redirect-url"), Flag("output-certificate", aliases: ["output-cert"]), Flag("rekor-url"),
            Flag("rfc3161-timestamp"), Flag("rfc3161-timestamp-bundle"), Flag("timestamp-client-cacert"),
            Flag("timestamp-client-cert"), Flag("timestamp-client-key"), Flag("timestamp-server-name"),
            Flag("timestamp-server-url"), Flag("trusted-root"), Flag("rekor-entry-type"),
        ])
    private static let signing =
        [
            Flag("key"), Flag("yes", .off, short: "y"), Flag("tlog-upload", .on), Flag("signing-config"),
            Flag("use-signing-config", .on), Flag("bundle"), Flag("new-bundle-format", .on), Flag("output-signature"),
        ] + securityKey + keyless

    private static let verifying =
        [
            Flag("key"), Flag("bundle"), Flag("signature"), Flag("insecure-ignore-tlog", .off),
            Flag("private-infrastructure", .off), Flag("new-bundle-format", .on), Flag("output", short: "o"),
            Flag("max-workers"), Flag("offline", .off), Flag("trusted-root"),
        ] + securityKey
        + awaiting(
            "verifying certificates, logs and timestamps",
            [
                Flag("ca-intermediates"), Flag("ca-roots"), Flag("certificate", aliases: ["cert"]),
                Flag("certificate-chain", aliases: ["cert-chain"]),
                Flag("certificate-github-workflow-name", aliases: ["cert-github-workflow-name"]),
                Flag("certificate-github-workflow-ref", aliases: ["cert-github-workflow-ref"]),
                Flag("certificate-github-workflow-repository", aliases: ["cert-github-workflow-repository"]),
                Flag("certificate-github-workflow-sha", aliases: ["cert-github-workflow-sha"]),
                Flag("certificate-github-workflow-trigger", aliases: ["cert-github-workflow-trigger"]),
                Flag("certificate-identity", .each, aliases: ["cert-identity", "certificate-email", "cert-email"]),
                Flag("certificate-identity-regexp", .each, aliases: ["cert-identity-regexp"]),
                Flag("certificate-oidc-issuer", .each, aliases: ["cert-oidc-issuer"]),
                Flag("certificate-oidc-issuer-regexp", .each, aliases: ["cert-oidc-issuer-regexp"]),
                Flag("experimental-oci11", .off), Flag("insecure-ignore-sct", .off), Flag("rekor-url"),
                Flag("rfc3161-timestamp"), Flag("sct"), Flag("timestamp-certificate-chain"),
                Flag("use-signed-timestamps", .off), Flag("staging", .off),
            ])

    /// The commands by their words, such as `bundle inspect`.
    static let commands: [String: [Flag]] = [
        "generate-key-pair": [
            Flag("signing-algorithm"), Flag("output-key-prefix"), Flag("kms", awaits: "key services"),
            Flag("yes", .off, short: "y"),
        ],
        "import-key-pair": [
            Flag("key", short: "k"), Flag("output-key-prefix", short: "o"), Flag("yes", .off, short: "y"),
        ],
        "public-key": [Flag("key"), Flag("outfile")] + securityKey,
        "sign-blob": signing + [
            Flag("b64", .on), Flag("output"), Flag("output-directory"), Flag("signing-algorithm"),
        ],
        "attest-blob": signing + [
            Flag("predicate"), Flag("statement"), Flag("type"), Flag("hash"), Flag("output-attestation"),
            Flag("output-directory"),
        ],
        "verify-blob": verifying,
        "verify-blob-attestation": verifying + [
            Flag("type"), Flag("check-claims", .on), Flag("digest"), Flag("digestAlg"),
        ],
        "bundle inspect": [Flag("output", short: "o")],
        "version": [Flag("json", .off)],
        "env": [Flag("show-descriptions", .on), Flag("show-sensitive-values", .off)],
        "completion": [],
    ]

    /// cosign's commands that are not built yet.
    static let laterCommands = [
        "sign", "verify", "attest", "verify-attestation", "attach", "clean", "copy", "download", "initialize", "load",
        "login", "logout", "manifest", "dockerfile", "piv-tool", "pkcs11-tool", "save", "signing-config", "tree",
        "triangulate", "trusted-root", "upload", "generate",
    ]

    private static func awaiting(_ what: String, _ flags: [Flag]) -> [Flag] {
        flags.map {
            var flag = $0
            flag.awaits = what
            return flag
        }
    }
}
