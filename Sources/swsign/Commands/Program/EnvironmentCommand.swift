import ArgumentParser
import LocalSystem
import StrictJSON
import SwSignCore

struct EnvironmentCommand: SwSignCommand {
    static let configuration = CommandConfiguration(
        commandName: "env",
        abstract: "Prints the environment variables that count, whether they are set, and where they count.")

    @Flag(name: .customLong("show-descriptions"), inversion: .prefixedNo, help: "Print what each variable is for.")
    var showDescriptions = true
    @Flag(name: .customLong("show-sensitive-values"), help: "Print passwords and tokens too.")
    var showSensitiveValues = false
    @OptionGroup(title: "Global options") var global: GlobalOptions

    /// The variables that are more than the value of a flag: name, purpose and where they count; those with a star hold a secret.
    private static let table = """
        *COSIGN_PASSWORD|the password of the private key; set but empty means an empty one|wherever a private key is read or made
        COSIGN_REPOSITORY|where the signatures of images are, in place of the image's repository|commands on images
        COSIGN_MAX_ATTACHMENT_SIZE|the largest signature or attestation that is fetched, such as 128MiB|commands on images
        COSIGN_DOCKER_MEDIA_TYPES|true to write the older scheme with Docker's media types|commands on images
        COSIGN_EXPERIMENTAL|accepted as in cosign, without effect|nowhere
        SIGSTORE_ROOT_FILE|the certificate authority to believe, in PEM|verifying and signing
        SIGSTORE_CT_LOG_PUBLIC_KEY_FILE|the key of the certificate transparency log to believe|verifying and signing
        SIGSTORE_REKOR_PUBLIC_KEY|the key of the transparency log to believe|verifying, signing and tlog
        SIGSTORE_TSA_CERTIFICATE_FILE|the timestamp authority to believe, in PEM|verifying and signing
        *SIGSTORE_ID_TOKEN|the identity token to sign with|signing without a key
        ACTIONS_ID_TOKEN_REQUEST_URL|where GitHub Actions gives identity tokens|signing without a key
        *ACTIONS_ID_TOKEN_REQUEST_TOKEN|what GitHub Actions gives them for|signing without a key
        *BUILDKITE_AGENT_ACCESS_TOKEN|the access token of Buildkite's agent, which gives identity tokens|signing without a key
        GOOGLE_SERVICE_ACCOUNT_NAME|the service account whose identity token Google is asked for|signing without a key
        *GOOGLE_OAUTH_ACCESS_TOKEN|an access token of Google: keys are used with it, and an identity token is asked for|signing without a key, and keys in Google Cloud KMS
        GCE_METADATA_HOST|the host of Google's metadata service|signing without a key, and keys in Google Cloud KMS
        SPIFFE_ENDPOINT_SOCKET|the socket of SPIFFE's workload API|signing without a key
        CI|set in a CI job, in which nobody signs in|signing without a key
        GITHUB_ACTIONS|set in a job of GitHub Actions|signing without a key
        GITLAB_CI|set in a job of GitLab|signing without a key
        BROWSER|the browser to sign in with; without it, the desktop's|signing without a key
        DISPLAY|the desktop, on which a browser may be opened|signing without a key
        WAYLAND_DISPLAY|the desktop, on which a browser may be opened|signing without a key
        TUF_ROOT|where the trust root is kept, in place of ~/.sigstore/root|initialize, verifying and signing
        TUF_MIRROR|the TUF repository that the trust root comes from|initialize, verifying and signing
        TUF_ROOT_JSON|the TUF root to begin with|initialize, verifying and signing
        SOURCE_DATE_EPOCH|the time that signatures of images state, in seconds since 1970|sign and attest
        *DOCKER_AUTH_CONFIG|credentials for registries, as Docker's config.json would hold them|commands on images
        DOCKER_CONFIG|the folder of Docker's configuration, with credentials for registries|commands on images, login and logout
        REGISTRY_AUTH_FILE|Podman's credentials for registries|commands on images
        XDG_RUNTIME_DIR|where containers/auth.json is, with Podman's credentials for registries; and swsign/agent.sock, the agent's socket|commands on images, agent
        SWSIGN_AGENT_SOCK|the socket of the agent, in place of the usual one|signing commits and tags without a key
        SSH_ASKPASS|the program that asks a person in a window, if there is no terminal|agent --confirm
        SSH_ASKPASS_REQUIRE|prefer or force to ask by that program on a terminal too|agent --confirm
        AWS_REGION|the region of AWS; without it, AWS_DEFAULT_REGION, the profile's, and the instance's|keys in AWS KMS
        AWS_DEFAULT_REGION|as AWS_REGION, if that is not set|keys in AWS KMS
        AWS_PROFILE|the profile of AWS's configuration files; without it, AWS_DEFAULT_PROFILE, and default|keys in AWS KMS
        AWS_DEFAULT_PROFILE|as AWS_PROFILE, if that is not set|keys in AWS KMS
        AWS_CONFIG_FILE|the file with profiles, in place of ~/.aws/config|keys in AWS KMS
        AWS_SHARED_CREDENTIALS_FILE|the file with credentials, in place of ~/.aws/credentials|keys in AWS KMS
        AWS_ACCESS_KEY_ID|the access key|keys in AWS KMS
        AWS_ACCESS_KEY|as AWS_ACCESS_KEY_ID, if that is not set|keys in AWS KMS
        *AWS_SECRET_ACCESS_KEY|the secret of the access key|keys in AWS KMS
        *AWS_SECRET_KEY|as AWS_SECRET_ACCESS_KEY, if that is not set|keys in AWS KMS
        *AWS_SESSION_TOKEN|the session token of credentials that end|keys in AWS KMS
        AWS_WEB_IDENTITY_TOKEN_FILE|a file with an identity token, with which the role AWS_ROLE_ARN is taken|keys in AWS KMS
        AWS_ROLE_ARN|the role that is taken with an identity token|keys in AWS KMS
        AWS_ROLE_SESSION_NAME|the name of the session in AWS's logs|keys in AWS KMS
        AWS_CONTAINER_CREDENTIALS_RELATIVE_URI|where a container of ECS has credentials, set by ECS|keys in AWS KMS
        AWS_CONTAINER_CREDENTIALS_FULL_URI|where a container has credentials, set by EKS and others|keys in AWS KMS
        AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE|the file with the token for that|keys in AWS KMS
        *AWS_CONTAINER_AUTHORIZATION_TOKEN|the token for that|keys in AWS KMS
        AWS_EC2_METADATA_DISABLED|true to ask no instance for its role and region|keys in AWS KMS
        AWS_EC2_METADATA_SERVICE_ENDPOINT|the metadata service of an instance, in place of http://169.254.169.254|keys in AWS KMS
        AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE|IPv6 to ask it at [fd00:ec2::254]|keys in AWS KMS
        AWS_ENDPOINT_URL_KMS|the address of AWS KMS; counts before a host in the reference|keys in AWS KMS
        AWS_ENDPOINT_URL_STS|the address of AWS STS|keys in AWS KMS
        AWS_ENDPOINT_URL_SSO|the address of the portal of AWS's single sign-on|keys in AWS KMS
        AWS_ENDPOINT_URL|the address of all services of AWS; a host in the reference counts before|keys in AWS KMS
        AWS_IGNORE_CONFIGURED_ENDPOINT_URLS|true to use none of these addresses|keys in AWS KMS
        AWS_USE_FIPS_ENDPOINT|true for the FIPS address of a service|keys in AWS KMS
        AWS_USE_DUALSTACK_ENDPOINT|true for the address of a service that has IPv6 too|keys in AWS KMS
        AWS_CA_BUNDLE|the certificates of the authorities to believe for AWS, in PEM|keys in AWS KMS
        AWS_TLS_INSECURE_SKIP_VERIFY|1 to believe every certificate of AWS|keys in AWS KMS
        AWS_MAX_ATTEMPTS|how often a request to AWS KMS is sent at most; 3 without it, and 8 if there are too many|keys in AWS KMS
        *CLOUDSDK_AUTH_ACCESS_TOKEN|as GOOGLE_OAUTH_ACCESS_TOKEN, if that is not set|keys in Google Cloud KMS
        GOOGLE_APPLICATION_CREDENTIALS|the file with credentials; without it, the one that gcloud auth application-default login wrote, and the machine's|keys in Google Cloud KMS
        CLOUDSDK_CONFIG|the folder of gcloud's configuration, in place of ~/.config/gcloud|keys in Google Cloud KMS
        GOOGLE_EXTERNAL_ACCOUNT_ALLOW_EXECUTABLES|1 to run the program that a credentials file names for a token|keys in Google Cloud KMS
        GOOGLE_CLOUD_QUOTA_PROJECT|the project whose quota counts, in place of that of the credentials|keys in Google Cloud KMS
        GOOGLE_CLOUD_UNIVERSE_DOMAIN|the domain of Google's services, in place of that of the credentials and of googleapis.com|keys in Google Cloud KMS
        CLOUDSDK_API_ENDPOINT_OVERRIDES_CLOUDKMS|the address of Cloud KMS|keys in Google Cloud KMS
        NO_GCE_CHECK|true to ask no metadata service, unless GCE_METADATA_HOST names one|keys in Google Cloud KMS
        AZURE_TENANT_ID|the tenant of Entra ID|keys in Azure
        AZURE_CLIENT_ID|the application, or the managed identity|keys in Azure
        *AZURE_CLIENT_SECRET|the secret of the application|keys in Azure
        AZURE_CLIENT_CERTIFICATE_PATH|the key and certificate of the application, in PEM or PKCS#12|keys in Azure
        *AZURE_CLIENT_CERTIFICATE_PASSWORD|the password of that file|keys in Azure
        AZURE_CLIENT_SEND_CERTIFICATE_CHAIN|true to send the certificates too|keys in Azure
        AZURE_FEDERATED_TOKEN_FILE|a file with the identity token of a workload|keys in Azure
        AZURE_USERNAME|refused with AZURE_PASSWORD, if no application is named|keys in Azure
        *AZURE_PASSWORD|refused with AZURE_USERNAME|keys in Azure
        AZURE_ADDITIONALLY_ALLOWED_TENANTS|further tenants that a vault may belong to, or * for all|keys in Azure
        AZURE_TOKEN_CREDENTIALS|prod, dev, or the one place that credentials are taken from|keys in Azure
        AZURE_AUTHORITY_HOST|where tokens are had; without it, what belongs to the vault's cloud|keys in Azure
        AZURE_ENVIRONMENT|the cloud; counts before AZURE_AUTHORITY_HOST|keys in Azure
        AZURE_POD_IDENTITY_AUTHORITY_HOST|the metadata service of a virtual machine, in place of http://169.254.169.254|keys in Azure
        IDENTITY_ENDPOINT|where an App Service or Azure Arc has tokens of its managed identity, set by it|keys in Azure
        *IDENTITY_HEADER|what an App Service wants to see for that|keys in Azure
        IDENTITY_SERVER_THUMBPRINT|set by Service Fabric, whose managed identities are refused|keys in Azure
        IMDS_ENDPOINT|set by Azure Arc, beside IDENTITY_ENDPOINT|keys in Azure
        MSI_ENDPOINT|where the Cloud Shell or Azure ML has tokens, set by it|keys in Azure
        *MSI_SECRET|what Azure ML wants to see for that|keys in Azure
        VAULT_ADDR|the server of Vault or OpenBao|keys in Vault
        *VAULT_TOKEN|the token for it; without one, that of the token helper or of ~/.vault-token|keys in Vault
        VAULT_NAMESPACE|the namespace|keys in Vault
        TRANSIT_SECRET_ENGINE_PATH|where the transit engine is mounted, in place of transit|keys in Vault
        VAULT_CONFIG_PATH|the file that names the token helper, in place of ~/.vault|keys in Vault
        VAULT_CACERT|the certificates of the authorities to believe for Vault, in PEM|keys in Vault
        VAULT_CACERT_BYTES|these certificates themselves, if VAULT_CACERT is not set|keys in Vault
        VAULT_CAPATH|a folder of files with such certificates, if neither is set|keys in Vault
        VAULT_CLIENT_CERT|the client's certificate for Vault, in PEM|keys in Vault
        VAULT_CLIENT_KEY|the key of that certificate, in PEM|keys in Vault
        VAULT_TLS_SERVER_NAME|the name that Vault's certificate must have|keys in Vault
        VAULT_SKIP_VERIFY|true to believe every certificate of Vault|keys in Vault
        *VAULT_HEADERS|more header fields for Vault, as a JSON object|keys in Vault
        BAO_ADDR|as VAULT_ADDR, if that is not set|keys in Vault
        *BAO_TOKEN|as VAULT_TOKEN, if that is not set|keys in Vault
        BAO_NAMESPACE|as VAULT_NAMESPACE, if that is not set|keys in Vault
        BAO_CACERT|as VAULT_CACERT, if that is not set|keys in Vault
        BAO_CACERT_BYTES|as VAULT_CACERT_BYTES, if that is not set|keys in Vault
        BAO_CAPATH|as VAULT_CAPATH, if that is not set|keys in Vault
        BAO_CLIENT_CERT|as VAULT_CLIENT_CERT, if that is not set|keys in Vault
        BAO_CLIENT_KEY|as VAULT_CLIENT_KEY, if that is not set|keys in Vault
        BAO_TLS_SERVER_NAME|as VAULT_TLS_SERVER_NAME, if that is not set|keys in Vault
        BAO_SKIP_VERIFY|as VAULT_SKIP_VERIFY, if that is not set|keys in Vault
        *BAO_HEADERS|as VAULT_HEADERS, if that is not set|keys in Vault
        KUBECONFIG|the kubeconfig files, with : between, in place of ~/.kube/config|keys in Kubernetes
        KUBERNETES_SERVICE_HOST|the cluster that a pod is in, if there is no kubeconfig|keys in Kubernetes
        KUBERNETES_SERVICE_PORT|the port of that cluster|keys in Kubernetes
        GITLAB_HOST|the GitLab server, in place of https://gitlab.com|keys in GitLab
        *GITLAB_TOKEN|the access token for it|keys in GitLab
        GITHUB_SERVER_URL|with GITHUB_REPOSITORY and GITHUB_RUN_ID: the run that a report names|audit
        GITHUB_REPOSITORY|the repository of a job of GitHub Actions, for that|audit
        GITHUB_RUN_ID|the run of a job of GitHub Actions, for that|audit
        CI_JOB_URL|the job of GitLab's that a report names|audit
        BUILD_URL|the build of Jenkins that a report names|audit
        USER|who a report says ran it, if no job does; without it, LOGNAME|audit
        LOGNAME|the same|audit
        GIT_SHALLOW_FILE|set by git while it receives a push from a history that is cut off|git hook
        GITHUB_HOST|the GitHub server, in place of https://api.github.com|generate-key-pair
        *GH_TOKEN|the access token for GitHub's API; without it, GITHUB_TOKEN|verify-provenance --fetch
        *GITHUB_TOKEN|the access token for GitHub|generate-key-pair and verify-provenance --fetch
        COSIGN_PKCS11_MODULE_PATH|the PKCS#11 module of the token's maker, unless the reference names one (module-path); or a folder of modules, if it names one by module-name|keys on PKCS#11 tokens, and --sk
        *COSIGN_PKCS11_PIN|the PIN of a token, unless --pin or the reference has one (pin-value, pin-source); without any, it is typed|keys on PKCS#11 tokens
        COSIGN_PKCS11_IGNORE_CERTIFICATE|1 to leave a certificate on a token aside, whatever is asked for|keys on PKCS#11 tokens
        GITSIGN_FULCIO_URL|the certificate authority, as --fulcio-url; without it, SIGSTORE_FULCIO_URL|signing for git
        SIGSTORE_FULCIO_URL|the same|signing for git
        GITSIGN_REKOR_URL|the log, as --rekor-url; without it, SIGSTORE_REKOR_URL|signing for git
        SIGSTORE_REKOR_URL|the same|signing for git
        GITSIGN_OIDC_CLIENT_ID|the client, as --oidc-client-id; without it, SIGSTORE_OIDC_CLIENT_ID|signing for git
        SIGSTORE_OIDC_CLIENT_ID|the same|signing for git
        GITSIGN_OIDC_CLIENT_SECRET_FILE|as --oidc-client-secret-file; without it, SIGSTORE_OIDC_CLIENT_SECRET_FILE|signing for git
        SIGSTORE_OIDC_CLIENT_SECRET_FILE|the same|signing for git
        GITSIGN_OIDC_REDIRECT_URL|as --oidc-redirect-url; without it, SIGSTORE_OIDC_REDIRECT_URL|signing for git
        SIGSTORE_OIDC_REDIRECT_URL|the same|signing for git
        GITSIGN_OIDC_ISSUER|where to sign in, as --oidc-issuer; without it, SIGSTORE_OIDC_ISSUER|signing for git
        SIGSTORE_OIDC_ISSUER|the same|signing for git
        GITSIGN_TIMESTAMP_SERVER_URL|as --timestamp-server-url; without it, SIGSTORE_TIMESTAMP_SERVER_URL|signing for git
        SIGSTORE_TIMESTAMP_SERVER_URL|the same|signing for git
        GITSIGN_TOKEN_PROVIDER|where the token comes from, in gitsign's words; without it, SIGSTORE_TOKEN_PROVIDER|signing for git
        SIGSTORE_TOKEN_PROVIDER|the same|signing for git
        GITSIGN_FULCIO_ROOT|the certificate authority to believe, in PEM; without it, SIGSTORE_FULCIO_ROOT|signing and verifying for git
        SIGSTORE_FULCIO_ROOT|the same|signing and verifying for git
        GITSIGN_TIMESTAMP_CERT_CHAIN|the timestamp authority to believe, in PEM; without it, SIGSTORE_TIMESTAMP_CERT_CHAIN|signing and verifying for git
        SIGSTORE_TIMESTAMP_CERT_CHAIN|the same|signing and verifying for git
        GITSIGN_REKOR_VERSION|1 or 2 for a log of that version alone|signing for git
        HTTPS_PROXY|the proxy for HTTPS; in small letters too|every request
        HTTP_PROXY|the proxy for HTTP, unless REQUEST_METHOD is set; http_proxy always|every request
        ALL_PROXY|the proxy for what has no other; in small letters too|every request
        NO_PROXY|the hosts that are reached without a proxy; in small letters too|every request
        REQUEST_METHOD|set by a web server: HTTP_PROXY may then come from outside, and is not used|every request
        SSL_CERT_FILE|the certificates of the authorities to believe in TLS, in PEM|every request
        SSL_CERT_DIR|the folder with such certificates|every request
        NO_COLOR|set and not empty: words have no colours, unless --color says otherwise|everywhere
        TERM|dumb for a terminal without colours|everywhere
        HOME|where .sigstore, .docker and .config are|everywhere
        PATH|where credential helpers and browsers are|commands on images and signing without a key
        TMPDIR|where large files, and GPG's signatures, are kept for a while|audit, copy, save, load and git
        """

    /// The flags whose values are secrets.
    private static let secretFlags = ["registry-password", "registry-token", "password", "identity-token", "pin"]

    func run(_ context: Context) throws(SigstoreError) {
        for variable in Self.variables() { try show(variable.name, variable.purpose, variable.isSecret, context) }
    }

    /// Every variable that counts, what it is for, and whether its value is a secret.
    static func variables() -> [(name: String, purpose: String, isSecret: Bool)] {
        var all: [(name: String, purpose: String, isSecret: Bool)] = []
        for line in table.split(separator: "\n") {
            let parts = line.split(separator: "|").map(String.init)
            guard let name = parts.first, parts.count == 3 else { continue }
            let isSecret = name.utf8.first == 0x2a
            all.append(
                (isSecret ? String(name.dropFirst()) : name, "\(parts[1]). It counts in: \(parts[2])", isSecret))
        }
        // Each flag may be given by a variable; several flags may share one.
        var variables: [(name: String, flags: [(name: String, commands: [String])])] = []
        var isSecret: Set<String> = []
        func add(_ flag: CommandFlag, _ command: String) {
            if secretFlags.contains(flag.name) { isSecret.insert(flag.variable) }
            guard let index = variables.firstIndex(where: { $0.name == flag.variable }) else {
                return variables.append((flag.variable, [(flag.name, [command])]))
            }
            if let place = variables[index].flags.firstIndex(where: { $0.name == flag.name }) {
                variables[index].flags[place].commands.append(command)
            } else {
                variables[index].flags.append((flag.name, [command]))
            }
        }
        for flag in FlagTable.global where flag.name != "help" { add(flag, "every command") }
        for command in FlagTable.commands {
            for flag in FlagTable.flags(of: command) ?? [] where flag.awaits == nil { add(flag, command) }
        }
        for variable in variables.sorted(by: { $0.name < $1.name }) {
            let flags = variable.flags.map { "--\($0.name) of \($0.commands.joined(separator: ", "))" }
                .joined(separator: "; ")
            if let place = all.firstIndex(where: { $0.name == variable.name }) {
                all[place].purpose += "; \(flags)"
            } else {
                all.append((variable.name, flags, isSecret.contains(variable.name)))
            }
        }
        return all
    }

    /// Prints a variable and its value. A URL may have a password before its host.
    private func show(_ name: String, _ purpose: String, _ isSecret: Bool, _ context: Context) throws(SigstoreError) {
        let other = name.hasSuffix("_PROXY") ? context.environment.value(name.lowercased()) : nil
        let value = context.environment.value(name) ?? other ?? ""
        if showDescriptions {
            try context.output.result("# \(name) (\(value.isEmpty ? "not set" : "set")): \(purpose)")
        }
        let isHidden =
            !value.isEmpty && !showSensitiveValues
            && (isSecret
                || value.contains("@")
                    && (value.contains("://") || name.hasSuffix("_PROXY") || name == "COSIGN_REPOSITORY"))
        try context.output.result("\(name)=\(isHidden ? "******" : value)")
    }
}
