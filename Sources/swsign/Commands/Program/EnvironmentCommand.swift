import ArgumentParser
import LocalSystem
import StrictJSON
import SwSignCore

struct EnvironmentCommand: SwSignCommand {
    static let configuration = CommandConfiguration(
        commandName: "env", abstract: "Prints the environment variables that are looked at.")

    @Flag(name: .customLong("show-descriptions"), inversion: .prefixedNo, help: "Print what each variable is for.")
    var showDescriptions = true
    @Flag(name: .customLong("show-sensitive-values"), help: "Print passwords and tokens too.")
    var showSensitiveValues = false
    @OptionGroup(title: "Global options") var global: GlobalOptions

    private static let variables: [(name: String, purpose: String, isSecret: Bool)] = [
        ("COSIGN_PASSWORD", "the password of the private key; set but empty means an empty one", true),
        ("COSIGN_REPOSITORY", "where the signatures of images are, in place of the image's repository", false),
        ("COSIGN_MAX_ATTACHMENT_SIZE", "the largest signature or attestation that is fetched, such as 128MiB", false),
        ("COSIGN_DOCKER_MEDIA_TYPES", "true to write the older scheme with Docker's media types", false),
        ("COSIGN_EXPERIMENTAL", "accepted as in cosign, without effect", false),
        ("SIGSTORE_ROOT_FILE", "the certificate authority to believe, in PEM", false),
        ("SIGSTORE_CT_LOG_PUBLIC_KEY_FILE", "the key of the certificate transparency log to believe", false),
        ("SIGSTORE_REKOR_PUBLIC_KEY", "the key of the transparency log to believe", false),
        ("SIGSTORE_TSA_CERTIFICATE_FILE", "the timestamp authority to believe, in PEM", false),
        ("SIGSTORE_ID_TOKEN", "the identity token to sign with", true),
        ("ACTIONS_ID_TOKEN_REQUEST_URL", "where GitHub Actions gives identity tokens", false),
        ("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "what GitHub Actions gives them for", true),
        ("BUILDKITE_AGENT_ACCESS_TOKEN", "the access token of Buildkite's agent, which gives identity tokens", true),
        ("GOOGLE_SERVICE_ACCOUNT_NAME", "the service account whose identity token Google is asked for", false),
        ("SPIFFE_ENDPOINT_SOCKET", "the socket of SPIFFE's workload API", false),
        ("BROWSER", "the browser to sign in with; without it, the desktop's", false),
        ("TUF_ROOT", "where the trust root is kept, in place of ~/.sigstore/root", false),
        ("TUF_MIRROR", "the TUF repository that the trust root comes from", false),
        ("TUF_ROOT_JSON", "the TUF root to begin with", false),
        ("SOURCE_DATE_EPOCH", "the time that signatures of images state, in seconds since 1970", false),
        ("DOCKER_CONFIG", "the folder of Docker's configuration, with credentials for registries", false),
        ("REGISTRY_AUTH_FILE", "Podman's credentials for registries", false),
    ]

    func run(_ context: Context) throws(SigstoreError) {
        for variable in Self.variables {
            if showDescriptions { try context.output.result("# \(variable.name) is \(variable.purpose)") }
            let value = context.environment.value(variable.name) ?? ""
            try context.output.result(
                "\(variable.name)=\(variable.isSecret && !showSensitiveValues && !value.isEmpty ? "******" : value)")
        }
        if showDescriptions {
            try context.output.result("# COSIGN_<FLAG> gives any flag, such as COSIGN_TLOG_UPLOAD=false")
        }
    }
}
