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
    /// The environment variable that gives the flag.
    var variable: String {
        ownVariable
            ?? "COSIGN_"
            + String(
                decoding: name.utf8.map { $0 == 0x2d ? 0x5f : (0x61...0x7a).contains($0) ? $0 - 0x20 : $0 },
                as: UTF8.self)
    }
    private let ownVariable: String?
    /// Whether it takes a value, which may be the next word.
    var takesValue: Bool {
        switch kind {
        case .off, .on: false
        case .value, .list, .each: true
        }
    }

    /// - Parameter variable: The environment variable, if it is not `COSIGN_` and the name with underscores.
    init(
        _ name: String, _ kind: Kind = .value, short: Character? = nil, aliases: [String] = [], awaits: String? = nil,
        variable: String? = nil
    ) {
        ownVariable = variable
        self.name = name
        self.kind = kind
        self.short = short
        self.aliases = aliases
        self.awaits = awaits
    }
}

/// Every command with every flag that cosign 2 or cosign 3 has for it: the one table by which arguments and environment
/// are brought into one form before they are parsed.
enum FlagTable {
    static let global: [CommandFlag] = [
        CommandFlag("output-file"), CommandFlag("timeout", short: "t"), CommandFlag("verbose", .off, short: "d"),
        CommandFlag("help", .off, short: "h"), CommandFlag("errors"), CommandFlag("quiet", .off),
        CommandFlag("color"),
    ]

    private static let securityKey = [CommandFlag("sk", .off), CommandFlag("slot")]
    private static let services =
        [
            CommandFlag("tlog-upload", .on), CommandFlag("signing-config"), CommandFlag("use-signing-config", .on),
            CommandFlag("fulcio-url"), CommandFlag("rekor-url"), CommandFlag("timestamp-server-url"),
            CommandFlag("timestamp-client-cacert"), CommandFlag("timestamp-client-cert"),
            CommandFlag("timestamp-client-key"), CommandFlag("timestamp-server-name"), CommandFlag("rekor-entry-type"),
            CommandFlag("trusted-root"), CommandFlag("staging", .off), CommandFlag("identity-token"),
            CommandFlag("oidc-provider"), CommandFlag("oidc-disable-ambient-providers", .off),
            CommandFlag("oidc-issuer"),
            CommandFlag("oidc-client-id"), CommandFlag("oidc-client-secret-file"), CommandFlag("oidc-redirect-url"),
            CommandFlag("fulcio-auth-flow"), CommandFlag("certificate", aliases: ["cert"]),
            CommandFlag("certificate-chain", aliases: ["cert-chain"]), CommandFlag("pkcs11-certificate", .off),
        ]
        + awaiting("certificates of Fulcio's for keys", [CommandFlag("issue-certificate", .off)])
        + awaiting("signing without checking what Fulcio published", [CommandFlag("insecure-skip-verify", .off)])
    private static let signing =
        [
            CommandFlag("key"), CommandFlag("yes", .off, short: "y"), CommandFlag("bundle"),
            CommandFlag("new-bundle-format", .on), CommandFlag("output-signature"),
            CommandFlag("output-certificate", aliases: ["output-cert"]),
            CommandFlag("rfc3161-timestamp", aliases: ["rfc3161-timestamp-bundle"]),
        ] + securityKey + services

    private static let verifying =
        [
            CommandFlag("key", .each), CommandFlag("signer", .each), CommandFlag("signers", .each),
            CommandFlag("threshold"), CommandFlag("certificate-claim", .each, aliases: ["cert-claim"]),
            CommandFlag("insecure-ignore-tlog", .off), CommandFlag("private-infrastructure", .off),
            CommandFlag("allow-http-key", .off),
            CommandFlag("new-bundle-format", .on), CommandFlag("output", short: "o"), CommandFlag("max-workers"),
            CommandFlag("offline", .off), CommandFlag("trusted-root"), CommandFlag("staging", .off),
            CommandFlag("ca-intermediates"), CommandFlag("ca-roots"),
            CommandFlag("certificate-chain", aliases: ["cert-chain"]),
            CommandFlag("certificate-github-workflow-name", .each, aliases: ["cert-github-workflow-name"]),
            CommandFlag("certificate-github-workflow-ref", .each, aliases: ["cert-github-workflow-ref"]),
            CommandFlag("certificate-github-workflow-repository", .each, aliases: ["cert-github-workflow-repository"]),
            CommandFlag("certificate-github-workflow-sha", .each, aliases: ["cert-github-workflow-sha"]),
            CommandFlag("certificate-github-workflow-trigger", .each, aliases: ["cert-github-workflow-trigger"]),
            CommandFlag("certificate-identity", .each, aliases: ["cert-identity", "certificate-email", "cert-email"]),
            CommandFlag("certificate-identity-regexp", .each, aliases: ["cert-identity-regexp"]),
            CommandFlag("certificate-oidc-issuer", .each, aliases: ["cert-oidc-issuer"]),
            CommandFlag("certificate-oidc-issuer-regexp", .each, aliases: ["cert-oidc-issuer-regexp"]),
            CommandFlag("experimental-oci11", .off), CommandFlag("insecure-ignore-sct", .off), CommandFlag("rekor-url"),
            CommandFlag("sct"), CommandFlag("timestamp-certificate-chain"), CommandFlag("use-signed-timestamps", .off),
        ] + securityKey
    private static let fileSignature = [
        CommandFlag("bundle"), CommandFlag("signature"), CommandFlag("certificate", aliases: ["cert"]),
        CommandFlag("rfc3161-timestamp"),
    ]
    /// The flags of `model_signing`, in its spelling and in ours.
    private static let model = [
        CommandFlag("ignore-paths", .each, aliases: ["ignore_paths"]),
        CommandFlag("ignore-git-paths", .on),
    ]
    private static let registry = [
        CommandFlag("registry-username"), CommandFlag("registry-password"), CommandFlag("registry-token"),
        CommandFlag("registry-auth-realm", .list), CommandFlag("allow-http-registry", .off),
        CommandFlag("allow-insecure-registry", .off), CommandFlag("registry-cacert"),
        CommandFlag("registry-client-cert"),
        CommandFlag("registry-client-key"), CommandFlag("registry-server-name"), CommandFlag("registry-referrers-mode"),
        CommandFlag("max-workers"), CommandFlag("k8s-keychain", .off, awaits: "Kubernetes' keychains"),
    ]
    private static let attachments =
        registry + [CommandFlag("attachment-tag-prefix"), CommandFlag("experimental-oci11", .off)]
    private static let imageVerification =
        verifying + registry.filter { $0.name != "max-workers" } + [
            CommandFlag("check-claims", .on), CommandFlag("local-image", .off),
            CommandFlag("recursive", .off, short: "r"),
            CommandFlag("platform"), CommandFlag("attachment-tag-prefix"), CommandFlag("all-signatures", .off),
            CommandFlag("certificate", aliases: ["cert"], awaits: "a certificate beside an image's signature"),
        ]
    private static let modulePath = CommandFlag("module-path", variable: "COSIGN_PKCS11_MODULE_PATH")
    private static let concurrentSigners = CommandFlag("concurrent-signers", .off)
    private static let imageSigning =
        signing + registry + [
            concurrentSigners,
            CommandFlag("recursive", .off, short: "r"), CommandFlag("upload", .on),
            CommandFlag("attachment-tag-prefix"),
            CommandFlag("record-creation-timestamp", .off),
        ]

    private static let log = [
        CommandFlag("rekor-url"), CommandFlag("rekor-version"), CommandFlag("signing-config"),
        CommandFlag("trusted-root"),
        CommandFlag("staging", .off), CommandFlag("output", short: "o"),
    ]

    /// Who may sign commits and tags.
    private static let gitSigners = [
        CommandFlag("allowed-signers"), CommandFlag("gpg-key", .each), CommandFlag("rules"),
    ]
    private static let gitHook =
        verifying.filter { $0.name != "max-workers" && $0.name != "output" } + gitSigners

    /// What is done with the report of an audit.
    private static let auditReport = [
        CommandFlag("output", short: "o"), CommandFlag("compare"), CommandFlag("attest", .off),
        CommandFlag("attest-key"), CommandFlag("signing-config"), CommandFlag("tlog-upload", .on),
        CommandFlag("timestamp-server-url"), CommandFlag("identity-token"), CommandFlag("yes", .off, short: "y"),
    ]

    /// The commands by their words, such as `bundle inspect`.
    static var commands: [String] { table.map(\.key) }

    /// The flags of a command besides the global ones, `nil` if there is no such command.
    static func flags(of command: String) -> [CommandFlag]? { table.first { $0.key == command }?.value() }

    /// The commands that have a flag by this name.
    static func commands(with flag: String) -> [String] {
        table.filter { $0.value().contains { $0.name == flag || $0.aliases.contains(flag) } }.map(\.key)
    }

    /// Made command by command, and not hashed: one run needs one.
    private static let table: KeyValuePairs<String, @Sendable () -> [CommandFlag]> = [
        "generate-key-pair": {
            [
                CommandFlag("signing-algorithm"), CommandFlag("output-key-prefix"),
                CommandFlag("kms"),
                CommandFlag("yes", .off, short: "y"),
            ]
        },
        "import-key-pair": {
            [
                CommandFlag("key", short: "k"), CommandFlag("output-key-prefix", short: "o"),
                CommandFlag("yes", .off, short: "y"),
            ]
        },
        "key info": { [CommandFlag("output", short: "o")] },
        "pkcs11-tool list-tokens": { [modulePath] },
        "pkcs11-tool list-keys-uris": { [modulePath, CommandFlag("slot-id"), CommandFlag("pin")] },
        "public-key": { [CommandFlag("key"), CommandFlag("outfile")] + securityKey },
        "sign-blob": {
            signing + [
                CommandFlag("b64", .on), CommandFlag("output"), CommandFlag("output-directory"),
                CommandFlag("signing-algorithm"),
            ]
        },
        "attest-blob": {
            signing + [
                CommandFlag("predicate"), CommandFlag("statement"), CommandFlag("type"), CommandFlag("hash"),
                CommandFlag("output-attestation"),
                CommandFlag("output-directory"),
            ]
        },
        "verify-blob": { verifying + fileSignature },
        "verify-blob-attestation": {
            verifying + fileSignature + [
                CommandFlag("type"), CommandFlag("check-claims", .on), CommandFlag("digest"), CommandFlag("digestAlg"),
            ]
        },
        "verify-provenance": {
            [
                CommandFlag("from"), CommandFlag("owner", short: "o"), CommandFlag("repo", short: "R"),
                CommandFlag("hostname"), CommandFlag("signer-repo"), CommandFlag("signer-workflow"),
                CommandFlag("signer-digest"),
                CommandFlag("source-ref"), CommandFlag("source-digest"), CommandFlag("deny-self-hosted-runners", .off),
                CommandFlag("predicate-type"), CommandFlag("digest-alg"),
                CommandFlag("package", aliases: ["package-name"]),
                CommandFlag("package-version"), CommandFlag("npm-keys"), CommandFlag("channel"),
                CommandFlag(
                    "attestations", short: "b",
                    aliases: ["bundle", "provenance-path", "attestation-path", "attestations-path", "signature"]),
                // COSIGN_REPOSITORY is where images keep their signatures.
                CommandFlag("repository", variable: "COSIGN_PYPI_REPOSITORY"),
                CommandFlag("certificate-identity", aliases: ["cert-identity"]),
                CommandFlag(
                    "certificate-identity-regexp", aliases: ["cert-identity-regexp", "cert-identity-regex"]),
                CommandFlag("certificate-oidc-issuer", aliases: ["cert-oidc-issuer"]),
                CommandFlag("source-uri"), CommandFlag("builder-id"), CommandFlag("source-branch"),
                CommandFlag("source-tag"), CommandFlag("source-versioned-tag"),
                CommandFlag("build-workflow-input", .each),
                CommandFlag("subject-digest", .each), CommandFlag("verifier-id"), CommandFlag("resource-uri"),
                CommandFlag("verified-level", .list, aliases: ["verified-levels"]),
                CommandFlag("trusted-root", aliases: ["custom-trusted-root"]), CommandFlag("staging", .off),
                CommandFlag("output", aliases: ["format"]), CommandFlag("fetch", .off),
                CommandFlag("registry", variable: "COSIGN_FETCH_REGISTRY"),
                CommandFlag("limit", short: "L"), CommandFlag("bundle-from-oci", .off),
                CommandFlag("key", .each, aliases: ["public-key-path"]),
                CommandFlag("certificate-chain", aliases: ["cert-chain"]),
            ] + registry + model
        },
        "sign-model": {
            [CommandFlag("key"), CommandFlag("yes", .off, short: "y")] + securityKey + services + model + [
                CommandFlag("signature", aliases: ["output"]),
                CommandFlag("allow-symlinks", .off, aliases: ["allow_symlinks"]), CommandFlag("hash-type"),
            ]
        },
        "sign": {
            imageSigning + [
                CommandFlag("annotations", .list, short: "a"), CommandFlag("payload"), CommandFlag("output-payload"),
                CommandFlag("sign-container-identity"), CommandFlag("attachment"),
            ]
        },
        "attest": {
            imageSigning + [
                CommandFlag("predicate"), CommandFlag("statement"), CommandFlag("type"), CommandFlag("replace", .off),
                CommandFlag("no-upload", .off),
            ]
        },
        "resign": {
            services + securityKey + registry + [
                CommandFlag("former-key", .each), CommandFlag("former-signer", .each), CommandFlag("key"),
                CommandFlag("insecure-ignore-tlog", .off), CommandFlag("private-infrastructure", .off),
                CommandFlag("allow-http-key", .off), CommandFlag("new-bundle-format", .on),
                CommandFlag("yes", .off, short: "y"), CommandFlag("dry-run", .off), CommandFlag("plan"),
                CommandFlag("signed-before"), CommandFlag("attestations", .off),
                CommandFlag("recursive", .off, short: "r"), CommandFlag("attachment-tag-prefix"),
                CommandFlag("record-creation-timestamp", .off), concurrentSigners, CommandFlag("output", short: "o"),
            ]
        },
        "verify": {
            imageVerification + [
                CommandFlag("annotations", .list, short: "a"), CommandFlag("attachment"), CommandFlag("payload"),
                CommandFlag("signature"), CommandFlag("signature-digest-algorithm"),
            ]
        },
        "verify-attestation": {
            imageVerification + [
                CommandFlag("type"), CommandFlag("policy", .each, awaits: "policies"),
            ]
        },
        "tree": { attachments },
        "triangulate": { attachments + [CommandFlag("type")] },
        "download signature": { attachments },
        "download attestation": { attachments + [CommandFlag("predicate-type"), CommandFlag("platform")] },
        "download sbom": { attachments + [CommandFlag("platform")] },
        "attach signature": {
            attachments + [
                concurrentSigners,
                CommandFlag("signature"), CommandFlag("payload"), CommandFlag("certificate", aliases: ["cert"]),
                CommandFlag("certificate-chain", aliases: ["cert-chain"]), CommandFlag("rekor-response"),
                CommandFlag("tsr"),
                CommandFlag("bundle"),
            ]
        },
        "attach attestation": { attachments + [concurrentSigners, CommandFlag("attestation", .each)] },
        "attach sbom": { attachments + [CommandFlag("sbom"), CommandFlag("type"), CommandFlag("input-format")] },
        "copy": {
            attachments + [
                concurrentSigners,
                CommandFlag("force", .off, short: "f"), CommandFlag("only", .list), CommandFlag("sig-only", .off),
                CommandFlag("platform"),
            ]
        },
        "save": { attachments + [CommandFlag("dir")] },
        "load": { attachments + [concurrentSigners, CommandFlag("dir")] },
        "clean": {
            attachments + [
                CommandFlag("type"), CommandFlag("force", .off, short: "f"), CommandFlag("yes", .off, short: "y"),
            ]
        },
        // COSIGN_PASSWORD is the password of a key, which no registry is to be shown.
        "login": {
            registry.filter { !["registry-username", "registry-password", "registry-token"].contains($0.name) } + [
                CommandFlag("username", short: "u", variable: "COSIGN_REGISTRY_USERNAME"),
                CommandFlag("password", short: "p", variable: "COSIGN_REGISTRY_PASSWORD"),
                CommandFlag("password-stdin", .off),
            ]
        },
        "logout": { [] },
        "bundle inspect": { [CommandFlag("output", short: "o")] },
        "bundle create": {
            [
                CommandFlag("artifact"), CommandFlag("signature"), CommandFlag("attestation"), CommandFlag("bundle"),
                CommandFlag("certificate", aliases: ["cert"]), CommandFlag("key"), CommandFlag("rfc3161-timestamp"),
                CommandFlag("ignore-tlog", .off), CommandFlag("out"),
                CommandFlag("rekor-url", awaits: "looking for an entry in the log"),
            ] + securityKey
        },
        "trusted-root create": {
            [
                CommandFlag("fulcio", .each), CommandFlag("ctfe", .each), CommandFlag("rekor", .each),
                CommandFlag("tsa", .each),
                CommandFlag("certificate-chain", .each), CommandFlag("timestamp-certificate-chain", .each),
                CommandFlag("ctfe-key", .each), CommandFlag("ctfe-start-time", .each), CommandFlag("rekor-key", .each),
                CommandFlag("rekor-start-time", .each), CommandFlag("out"),
                CommandFlag("with-default-services", .off), CommandFlag("no-default-ctfe", .off),
                CommandFlag("no-default-fulcio", .off), CommandFlag("no-default-rekor", .off),
                CommandFlag("no-default-tsa", .off),
            ]
        },
        "signing-config create": {
            [
                CommandFlag("fulcio", .each), CommandFlag("rekor", .each), CommandFlag("tsa", .each),
                CommandFlag("oidc-provider", .each), CommandFlag("rekor-config"), CommandFlag("tsa-config"),
                CommandFlag("with-default-services", .off), CommandFlag("with-default-rekor-v2", .off),
                CommandFlag("no-default-fulcio", .off), CommandFlag("no-default-rekor", .off),
                CommandFlag("no-default-tsa", .off), CommandFlag("no-default-oidc", .off), CommandFlag("out"),
            ]
        },
        "tlog get": { log + [CommandFlag("log-index"), CommandFlag("uuid")] },
        "tlog search": {
            log + [
                CommandFlag("artifact"), CommandFlag("sha"), CommandFlag("email"), CommandFlag("public-key"),
            ]
        },
        "tlog verify": {
            log + [
                CommandFlag("bundle"), CommandFlag("log-index"), CommandFlag("uuid"), CommandFlag("artifact"),
                CommandFlag("sha"),
            ]
        },
        "tlog info": { log },
        "tlog monitor": {
            log
                + verifying.filter {
                    $0.name == "key" || $0.name.hasPrefix("certificate-") || $0.name.hasPrefix("signer")
                }
                .filter { $0.name != "certificate-chain" } + [
                    CommandFlag("state"), CommandFlag("max-entries"), CommandFlag("expect"),
                ]
        },
        "git setup": {
            [
                CommandFlag("global", .off), CommandFlag("local", .off), CommandFlag("undo", .off),
                CommandFlag("directory", short: "C"),
            ]
        },
        "git verify": {
            verifying.filter { $0.name != "max-workers" } + gitSigners + [
                CommandFlag("all", .off), CommandFlag("ref"), CommandFlag("directory", short: "C"),
            ]
        },
        "git hook pre-receive": { gitHook },
        "git hook update": { gitHook },
        "git hook pre-push": { gitHook },
        "git hook install": {
            [
                CommandFlag("rules"), CommandFlag("allowed-signers"), CommandFlag("trusted-root"),
                CommandFlag("offline", .off), CommandFlag("directory", short: "C"),
            ]
        },
        "git attest": {
            [CommandFlag("key"), CommandFlag("yes", .off, short: "y")] + securityKey + services + [
                CommandFlag("filepath", short: "f"), CommandFlag("objtype"), CommandFlag("type"),
                CommandFlag("directory", short: "C"),
            ]
        },
        "git show": { [CommandFlag("remote", short: "r"), CommandFlag("directory", short: "C")] },
        "agent": {
            services + [
                CommandFlag("socket", variable: "SWSIGN_AGENT_SOCK"), CommandFlag("confirm", .off),
                CommandFlag("status", .off), CommandFlag("stop", .off), CommandFlag("yes", .off, short: "y"),
            ]
        },
        "initialize": {
            [
                CommandFlag("mirror"), CommandFlag("root"), CommandFlag("root-checksum"), CommandFlag("staging", .off),
            ]
        },
        "audit": {
            verifying.filter { $0.name != "output" } + auditReport + gitSigners
                + [CommandFlag("git"), CommandFlag("all", .off), CommandFlag("ref")]
                + registry.filter { $0.name != "max-workers" } + [
                    CommandFlag("repositories", .each), CommandFlag("catalog", .each), CommandFlag("platforms", .off),
                    CommandFlag("former-key", .each), CommandFlag("former-signer", .each), CommandFlag("state"),
                    CommandFlag("shard"), CommandFlag("attachment-tag-prefix"),
                ]
        },
        "audit merge": { auditReport + [CommandFlag("trusted-root"), CommandFlag("staging", .off)] },
        "version": { [CommandFlag("json", .off)] },
        "doctor": {
            registry + [
                CommandFlag("offline", .off), CommandFlag("output", short: "o"), CommandFlag("trusted-root"),
                CommandFlag("signing-config"), CommandFlag("staging", .off),
            ]
        },
        "env": { [CommandFlag("show-descriptions", .on), CommandFlag("show-sensitive-values", .off)] },
        "errors": { [] },
        "completion": { [] },
    ]

    /// cosign's commands that are not built yet.
    static let laterCommands = [
        "manifest", "dockerfile", "piv-tool", "upload", "generate", "bundle upgrade",
    ]

    private static func awaiting(_ what: String, _ flags: [CommandFlag]) -> [CommandFlag] {
        flags.map {
            var flag = $0
            flag.awaits = what
            return flag
        }
    }
}
