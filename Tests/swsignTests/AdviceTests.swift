import Foundation
import SigstoreCrypto
import StrictJSON
import Testing

/// What to type next is the console's word: the libraries name no flag, and what people are told is held here.
struct AdviceTests {
    private static let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        .deletingLastPathComponent()

    /// The sources of the libraries.
    private static func librarySources() throws -> [(name: String, text: String)] {
        try [
            "StrictJSON", "InToto", "SigstoreCrypto", "HTTPTransport", "LocalSystem", "OCIRegistry",
            "SigstoreVerification", "SigstoreClients", "KeyProviders", "Provenance", "SwSignCore",
        ].flatMap { module in
            let folder = root.appendingPathComponent("Sources/\(module)")
            return try FileManager.default.subpathsOfDirectory(atPath: folder.path).filter { $0.hasSuffix(".swift") }
                .map { path in
                    let file = folder.appendingPathComponent(path)
                    return (file.lastPathComponent, try String(contentsOf: file, encoding: .utf8))
                }
        }
    }

    /// The words that look like a flag, the program or a variable, and in which file each may stand.
    private static let allowed: [String: Set<String>] = [
        // Variables that a library itself reads, and what it says of them.
        "SIGSTORE_ID_TOKEN": ["AmbientIdentity.swift", "AmbientProvider.swift", "ChildProcess.swift"],
        "GITHUB_ACTIONS": ["AmbientIdentity.swift"], "GITLAB_CI": ["AmbientIdentity.swift"],
        "ACTIONS_ID_TOKEN_REQUEST_URL": ["AmbientIdentity.swift", "AmbientProvider.swift"],
        "ACTIONS_ID_TOKEN_REQUEST_TOKEN": ["AmbientIdentity.swift", "AmbientProvider.swift"],
        "GOOGLE_SERVICE_ACCOUNT_NAME": ["AmbientIdentity.swift", "AmbientProvider.swift"],
        "GCE_METADATA_HOST": ["AmbientIdentity.swift", "AmbientProvider.swift"],
        "BUILDKITE_AGENT_ACCESS_TOKEN": ["AmbientIdentity.swift", "ChildProcess.swift"],
        "SPIFFE_ENDPOINT_SOCKET": ["AmbientIdentity.swift", "AmbientProvider.swift", "WorkloadAPI.swift"],
        "WAYLAND_DISPLAY": ["Browser.swift"],
        "TUF_ROOT": ["TUFMirror.swift", "SigstoreInstance.swift"],
        "TUF_MIRROR": ["TUFMirror.swift", "SigstoreInstance.swift"],
        "TUF_ROOT_JSON": ["TUFMirror.swift", "SigstoreInstance.swift"],
        "DOCKER_CONFIG": ["CredentialStore.swift"], "REGISTRY_AUTH_FILE": ["CredentialStore.swift"],
        "XDG_RUNTIME_DIR": ["CredentialStore.swift"],
        "HTTP_PROXY": ["Proxy.swift"], "HTTPS_PROXY": ["Proxy.swift"], "ALL_PROXY": ["Proxy.swift"],
        "NO_PROXY": ["Proxy.swift"], "REQUEST_METHOD": ["Proxy.swift"], "SSL_CERT_FILE": ["Transfer.swift"],
        "SSL_CERT_DIR": ["Transfer.swift"],
        // Secrets that other programs do not inherit.
        "COSIGN_": ["ChildProcess.swift"], "COSIGN_REGISTRY_": ["ChildProcess.swift"],
        "ACTIONS_ID_TOKEN_REQUEST_": ["ChildProcess.swift"],
        "DOCKER_AUTH_CONFIG": ["ChildProcess.swift", "CredentialStore.swift"], "VAULT_TOKEN": ["ChildProcess.swift"],
        "GITLAB_TOKEN": ["ChildProcess.swift"], "GITHUB_TOKEN": ["ChildProcess.swift"],
        "GH_TOKEN": ["ChildProcess.swift"],
        "AWS_SECRET_ACCESS_KEY": ["ChildProcess.swift"], "AWS_SECRET_KEY": ["ChildProcess.swift"],
        "AWS_SESSION_TOKEN": ["ChildProcess.swift"], "AZURE_CLIENT_SECRET": ["ChildProcess.swift"],
        "AZURE_CLIENT_CERTIFICATE_PASSWORD": ["ChildProcess.swift"], "AZURE_PASSWORD": ["ChildProcess.swift"],
        "IDENTITY_HEADER": ["ChildProcess.swift"], "MSI_SECRET": ["ChildProcess.swift"],
        "BAO_TOKEN": ["ChildProcess.swift"], "VAULT_HEADERS": ["ChildProcess.swift"],
        "BAO_HEADERS": ["ChildProcess.swift"],
        "GOOGLE_OAUTH_ACCESS_TOKEN": ["AmbientProvider.swift", "ChildProcess.swift"],
        "CLOUDSDK_AUTH_ACCESS_TOKEN": ["ChildProcess.swift"],
        // Stored names, the user agent, and the client that registries see.
        "swsign.unfinished.v1": ["UnfinishedSignatures.swift"],
        "swsign": ["CurlClient.swift", "RegistrySession.swift", "AWSKeys.swift"], "swsign-": ["AWSCredentials.swift"],
        // Words of formats and of registries, and another program's argument.
        "RSA_PSS": ["FulcioClient.swift"], "SERVICE_SELECTOR_UNDEFINED": ["SigningConfig.swift"],
        "DIGEST_INVALID": ["RegistryClient.swift"], "NAME_UNKNOWN": ["RegistryFeatures.swift"],
        "MANIFEST_UNKNOWN": ["RegistryFeatures.swift"], "PRETTY_NAME": ["SystemDescription.swift"],
        "--audience": ["AmbientProvider.swift"], "GITHUB_WORKFLOW_REF": ["SLSAProvenance.swift"],
        // A level that a verification summary names, and its beginning.
        "SLSA_BUILD_LEVEL_2": ["VerificationSummary.swift"], "SLSA_": ["VerificationSummary.swift"],
    ]

    /// Key services are found by variables that their own programs have: the beginning of a file's name, and how the words begin
    /// that may stand in it.
    private static let services: [(file: String, words: [String])] = [
        ("Kube", ["KUBERNETES_"]),
        ("GitLab", ["GITLAB_", "COSIGN_PRIVATE_KEY", "COSIGN_PASSWORD", "COSIGN_PUBLIC_KEY", "CI_JOB_TOKEN"]),
        ("GitHub", ["GITHUB_", "COSIGN_PRIVATE_KEY", "COSIGN_PASSWORD", "COSIGN_PUBLIC_KEY"]),
        // With the names that PKCS#11 has for results and attributes.
        ("PKCS11", ["COSIGN_PKCS11_", "C_", "CKR_", "CKA_"]), ("TokenSession", ["C_", "CKR_", "CKA_"]),
        ("Vault", ["VAULT_", "BAO_", "TRANSIT_SECRET_ENGINE_PATH", "HTTPS_PROXY"]),
        (
            "Azure",
            [
                "AZURE_", "IDENTITY_", "IMDS_ENDPOINT", "MSI_", "--enabled", "--hsm-name", "--name", "--output",
                "--query",
                "--resource", "--tenant", "--vault-name",
            ]
        ),
        // With the names that AWS KMS has for kinds of keys and for algorithms, and a flag of AWS's own program.
        // With Google's names of kinds of keys, of states and of errors, and flags of gcloud.
        (
            "Google",
            [
                "GOOGLE_", "CLOUDSDK_", "GCE_METADATA_HOST", "NO_GCE_CHECK", "AWS_REGION", "ASYMMETRIC_SIGN",
                "EC_SIGN_",
                "RSA_SIGN_", "DESTROY_SCHEDULED", "PENDING_", "FAILED_PRECONDITION", "PERMISSION_DENIED",
                "SERVICE_DISABLED", "ACCESS_TOKEN_SCOPE_INSUFFICIENT", "BILLING_DISABLED", "USER_PROJECT_DENIED",
                "SECURITY_POLICY_VIOLATED", "--key", "--location", "--project", "--scopes",
            ]
        ),
        // git's own flags and variables.
        (
            "GitRepository",
            [
                "GIT_", "LC_ALL", "--all", "--always", "--batch", "--count", "--end-of-options", "--format",
                "--git-common-dir", "--git-path", "--ignore-submodules", "--is-shallow-repository", "--no-ext-diff",
                "--no-pager", "--no-renames", "--no-replace-objects", "--no-textconv", "--path-format", "--quiet",
                "--raw", "--root", "--show-toplevel", "--stdin", "--symbolic-full-name", "--topo-order", "--verify",
            ]
        ),
        // Those of GnuPG, and of git for which program that is.
        (
            "GPG",
            [
                "BEGIN_DECRYPTION", "DECRYPTION_INFO", "GIT_DIR", "LC_ALL", "--batch", "--get", "--global",
                "--includes",
                "--keyid-format", "--no-auto-key-retrieve", "--no-tty", "--status-fd", "--system", "--type", "--verify",
            ]
        ),
        ("GitSettings", ["--get", "--git-dir", "--null", "--replace-all", "--show-scope", "--unset-all"]),
        (
            "GitAttestation",
            [
                "--end-of-options", "--full-tree", "--get-all", "--git-dir", "--no-gpg-sign", "--quiet", "--stdin",
                "--verify",
            ]
        ),
        ("AWS", ["AWS_", "SIGN_VERIFY", "ECC_NIST_", "RSA_", "ECDSA_SHA_", "RSASSA_P", "--profile"]),
    ]

    @Test("The libraries know no command line")
    func libraries() throws {
        let spoken = /--[a-z][a-z0-9-]*|swsign[a-z0-9.-]*|verify-(?:blob|attestation)|[A-Z][A-Z0-9]*_[A-Z0-9_]*/
        // Documentation may name constants of the system and of its libraries.
        let documented =
            /--[a-z][a-z0-9-]*|swsign[a-z0-9.-]*|[a-z]+-(?:blob|attestation)|(?:COSIGN|SIGSTORE|TUF|SOURCE)_[A-Z0-9_]*/
        // Names of algorithms in trusted roots, bundles and log entries.
        let algorithm = /(PKIX|SHA2|PKCS1)_.*/
        var unseen = Set(Self.allowed.flatMap { word, files in files.map { "\(word) in \($0)" } })
        var (literals, comments) = (0, 0)
        for (name, text) in try Self.librarySources() {
            let source = SwiftTexts(text)
            literals += source.literals.count
            comments += source.documentation.count
            for (texts, pattern) in [(source.literals, spoken), (source.documentation, documented)] {
                for (line, text) in texts {
                    for word in text.matches(of: pattern).map({ String($0.output) })
                    where word.wholeMatch(of: algorithm) == nil {
                        unseen.remove("\(word) in \(name)")
                        let service = Self.services.first { name.hasPrefix($0.file) }
                        if service?.words.contains(where: word.hasPrefix) == true { continue }
                        #expect(
                            Self.allowed[word]?.contains(name) == true,
                            "\(name), line \(line), names \(word): what to type is said in Console/Advice.swift")
                    }
                }
            }
        }
        #expect(literals > 3000)
        #expect(comments > 3000)
        #expect(unseen.isEmpty, "allowed, and not there any more: \(unseen.sorted())")
    }

    @Test("The reader of Swift source finds what stands in string literals and in documentation")
    func reader() {
        let source = ##"""
            // "a comment", and /* "another" */
            /// Documentation, "quoted".
            let one = "say \"it\" with \(flag ? "--in" : other("deep \(er)")) it" /* "no" */
            let two = """
                first "quoted" \(name)
                second
                """, three = #"raw " \(kept) \#("--inner")"#, four = ""
            """##
        let texts = SwiftTexts(source)
        #expect(texts.documentation.map(\.text) == [#"/// Documentation, "quoted"."#])
        #expect(texts.documentation.first?.line == 2)
        let found = texts.literals
        #expect(found.map(\.text).contains { $0.contains("first \"quoted\"") && $0.contains("second") })
        #expect(
            Set(found.map(\.text).filter { !$0.contains("\n") }) == [
                #"say \"it\" with  it"#, "--in", "deep ", #"raw " \(kept) "#, "--inner", "",
            ])
        #expect(found.first { $0.text == "--in" }?.line == 3)
        #expect(found.first { $0.text == "--inner" }?.line == 7)
    }

    @Test("The console has words for each remedy of the libraries")
    func remedies() throws {
        let console = try String(
            contentsOf: Self.root.appendingPathComponent("Sources/swsign/Console/Advice.swift"), encoding: .utf8)
        var names: [String] = []
        for (_, text) in try Self.librarySources() {
            for part in text.components(separatedBy: "extension SigstoreError.Remedy {").dropFirst() {
                names +=
                    part.components(separatedBy: "\n}").first?.matches(of: /static let (\w+) =/).map {
                        String($0.1)
                    } ?? []
            }
        }
        #expect(names.count > 50)
        #expect(names.sorted() == console.matches(of: /case \.(\w+):/).map { String($0.1) }.sorted())
    }

    // MARK: - What people are told

    /// A command that fails, and what is printed of it, to the letter.
    private struct Failure {
        let arguments: [String]
        var environment: [String: String] = [:]
        let message: String
        let advice: String

        init(
            _ command: String, and more: [String] = [], environment: [String: String] = [:], _ message: String,
            _ advice: String
        ) {
            arguments = command.split(separator: " ").map(String.init) + more
            self.environment = environment
            self.message = message
            self.advice = advice
        }
    }

    /// Expects each failure to be printed as it stands there, for people and for programs.
    private func expect(_ failures: [Failure], in directory: TemporaryDirectory) async throws {
        await withTaskGroup(of: (Failure, Program.Outcome).self) { group in
            for failure in failures {
                group.addTask {
                    let program = Program(directory: directory.path, environment: failure.environment)
                    return (failure, await program.run(failure.arguments))
                }
            }
            for await (failure, outcome) in group {
                let lines = outcome.messages.components(separatedBy: "\n")
                let printed = lines.drop { !$0.hasPrefix("Error: ") }.joined(separator: "\n")
                #expect(!outcome.succeeded)
                #expect(printed == "Error: \(failure.message)\n       \(failure.advice)\n", "\(failure.arguments)")
            }
        }
    }

    /// A certificate that this test's keys have nothing to do with.
    private static let certificate = """
        MIIBbjCCAROgAwIBAgIUdMOAWJ0V711zTmKh261tL3w7E48wCgYIKoZIzj0EAwIwDDEKMAgGA1UEAwwBYTAeFw0yNjExMjYwMjA5\
        MDhaFw0zNTAyMTIwMjA5MDhaMAwxCjAIBgNVBAMMAWEwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAATyLDNIfkTT6wyoA7m7wUQt\
        20ocs/JT9PtDnQkeGhPWIvuREsL8VOqviAeu3FNH77jC8/qxQ6DV9Gf61KTA/uEXo1MwUTAdBgNVHQ4EFgQUvpNviRw8X5A+wpov\
        Bwyjok340AswHwYDVR0jBBgwFoAUvpNviRw8X5A+wpovBwyjok340AswDwYDVR0TAQH/BAUwAwEB/zAKBggqhkjOPQQDAgNJADBG\
        AiEA/mNkZuEGAQqnwAQUXkRfF7YRn6nCHRCRdqOvc3FsRzgCIQDyeNE66+zSL+mzLpRd4YACznSRlvkV2zXUszPqh5nskA==
        """

    /// A trusted root that trusts nothing.
    private static let emptyRoot = #"{"mediaType":"application/vnd.dev.sigstore.trustedroot+json;version=0.1"}"#

    @Test("What is said of files that do not verify")
    func files() async throws {
        let directory = TemporaryDirectory()
        let key = try directory.makeKey()
        try directory.makeKey("ed", .ed25519)
        try directory.write("file", "content of the file\n")
        try directory.write("predicate.json", #"{"a":1}"#)
        try directory.write("other.json", #"{"a":1}"#)
        try directory.write("root.json", Self.emptyRoot)
        try directory.writeSparse("large", size: 128 << 20 | 1)
        let signature = Base64.encode(try key.sign(directory.read("file"), scheme: .ecdsa(.sha256)))
        let digest = Base64.encode(try Digest.sha256(directory.read("file")).bytes)
        try directory.write("sig", signature)
        for (name, material) in [
            ("bundle.json", #""publicKey":{"hint":"\#(try key.publicKey.hint())"}"#),
            ("cert.json", #""certificate":{"rawBytes":"\#(Self.certificate)"}"#),
        ] {
            try directory.write(
                name,
                #"{"mediaType":"application/vnd.dev.sigstore.bundle.v0.3+json","verificationMaterial":{\#(material)},"#
                    + #""messageSignature":{"messageDigest":{"algorithm":"SHA2_256","digest":"\#(digest)"},"#
                    + #""signature":"\#(signature)"}}"#)
        }
        try await directory.must(
            "attest-blob", "--key", "key.pem", "--tlog-upload=false", "--type", "slsaprovenance", "--predicate",
            "predicate.json", "--bundle", "attestation.json", "file")
        try await directory.must(
            "generate-key-pair", "--output-key-prefix", "locked", environment: ["COSIGN_PASSWORD": "right"])
        let byKey = "verify-blob --key key.pub --insecure-ignore-tlog"
        let byIdentity = "verify-blob --certificate-identity a --certificate-oidc-issuer b --trusted-root root.json"
        try await expect(
            [
                Failure(
                    "sign-blob --key locked.key --tlog-upload=false file", environment: ["COSIGN_PASSWORD": "wrong"],
                    "locked.key: the password does not open the private key, or the key file was altered [wrong-password]",
                    "check COSIGN_PASSWORD, or unset it to be asked"),
                Failure(
                    "sign-blob --key key.pub --tlog-upload=false file",
                    "key.pub: this is a public key where a private key is needed [malformed-key]",
                    "give the private key, such as cosign.key, to --key"),
                Failure(
                    "verify-blob --key key.pem --insecure-ignore-tlog --bundle bundle.json file",
                    "key.pem: this is a private key (PRIVATE KEY) where a public key is needed [malformed-key]",
                    "get its public key with: swsign public-key --key FILE"),
                Failure(
                    "sign-blob --key ed.pem --signing-algorithm ed25519 --tlog-upload=false large",
                    "large: pure Ed25519 needs the whole message in memory, and this one is larger than 128 MiB "
                        + "[message-too-large]",
                    "use Ed25519ph (--signing-algorithm ed25519-ph) or an ECDSA key"),
                Failure(
                    "sign-blob --key key.pem --signing-algorithm ed25519 --tlog-upload=false file",
                    "the key is ECDSA P-256, which cannot sign with ed25519 [unsupported-key]",
                    "leave --signing-algorithm out, or give the key that belongs to it"),
                Failure(
                    "attest-blob --key key.pem --tlog-upload=false --type slsaprovenance --predicate sig file",
                    "sig: the predicate is not valid JSON: unexpected character at byte 0 [malformed-predicate]",
                    "a predicate of type slsaprovenance must be JSON; use --type custom for other text"),
                Failure(
                    "\(byKey) file",
                    "no signature was given for file, and no file.sigstore.json, file.sigstore, file.sigstore.jsonl is "
                        + "there [file-not-found]", "give --bundle or --signature"),
                Failure(
                    "\(byKey) -", "there is no bundle beside standard input [usage]", "give --bundle or --signature"),
                Failure(
                    "\(byKey) --bundle other.json file",
                    "other.json: not a Sigstore bundle: it looks like JSON, but has no \"mediaType\"; expected a bundle, several "
                        + "of them (one a line or in an array), npm's answer with \"attestations\", or an attestation or "
                        + "provenance object of PyPI [not-a-bundle]",
                    "give the file that was written with --bundle"),
                Failure(
                    "\(byKey) --bundle bundle.json --signature sig file",
                    "bundle.json: the bundle is complete, and --signature, --certificate or --rfc3161-timestamp would "
                        + "change it [usage]", "give the bundle alone"),
                Failure(
                    "\(byKey) --signature nothing file",
                    "--signature is neither a file nor a signature in base64: nothing [file-not-found]",
                    "check the path"),
                Failure(
                    "verify-blob --key key.pub --trusted-root root.json --bundle bundle.json file",
                    "step 5 of 8, transparency-log: the signature has no entry in a transparency log, and one is "
                        + "demanded [no-log-entry]",
                    "if it was made without a log on purpose, verify it with --insecure-ignore-tlog"),
                Failure(
                    "verify-blob --key key.pub --trusted-root root.json --signature sig file",
                    "step 5 of 8, transparency-log: the signature has no entry in a transparency log, and one is "
                        + "demanded: no log of the trusted root can be asked for its entry: only one of Rekor v1 can, at "
                        + "the address that stands there [no-log-entry]",
                    "sign with --bundle, which keeps the entry, and verify with that; --insecure-ignore-tlog is for a "
                        + "signature that was made without a log"),
                Failure(
                    "verify-blob --key key.pub --trusted-root root.json --offline --signature sig file",
                    "step 5 of 8, transparency-log: the signature has no entry in a transparency log, and one is "
                        + "demanded [no-log-entry]",
                    "none is looked up with --offline: give the --bundle that keeps it; --insecure-ignore-tlog is for a "
                        + "signature that was made without a log"),
                Failure(
                    "\(byKey) --bundle attestation.json file",
                    "step 1 of 8, form: the bundle holds an attestation, not a signature over a file "
                        + "[attestation-not-signature]",
                    "verify it with verify-blob-attestation (verify-attestation for images)"),
                Failure(
                    "verify-blob-attestation --key key.pub --insecure-ignore-tlog --bundle bundle.json file",
                    "step 1 of 8, form: the bundle holds a signature over a file, not an attestation "
                        + "[signature-not-attestation]", "verify it with verify-blob (verify for images)"),
                Failure(
                    "verify-blob-attestation --key key.pub --insecure-ignore-tlog --type vuln --bundle attestation.json file",
                    "step 8 of 8, statement: expected the predicate type "
                        + "https://cosign.sigstore.dev/attestation/vuln/v1, the attestation's is "
                        + "https://slsa.dev/provenance/v0.2 [wrong-predicate-type]",
                    "give the attestation's type with --type"),
                Failure(
                    "\(byKey) --bundle cert.json file",
                    "step 1 of 8, form: a key was given, but the signature was made with a certificate "
                        + "[certificate-not-key]",
                    "give --certificate-identity and --certificate-oidc-issuer in place of --key"),
                Failure(
                    "\(byIdentity) --bundle bundle.json file",
                    "step 1 of 8, form: an identity was given, but the signature was made with a key, without a "
                        + "certificate [key-not-certificate]", "give the signer's public key with --key"),
                Failure(
                    "\(byIdentity) --insecure-ignore-tlog --bundle cert.json file",
                    "step 3 of 8, certificate: there is no trusted certificate authority to verify the certificate with "
                        + "[no-trusted-root]", "give a trusted root with --trusted-root"),
            ], in: directory)
        // The same words reach programs.
        let outcome = await directory.swsign(
            "--errors", "json", "verify-blob", "--key", "key.pub", "--trusted-root", "root.json", "--bundle",
            "bundle.json", "--output", "json", "file")
        let advice = "if it was made without a log on purpose, verify it with --insecure-ignore-tlog"
        #expect(try outcome.jsonError().member("advice").string() == advice)
        #expect(try outcome.objects().first?.member("error").member("advice").string() == advice)
    }

    @Test("What is said of services and tokens that do not fit")
    func services() async throws {
        let directory = TemporaryDirectory()
        try directory.makeKey()
        try directory.makeKey("ed", .ed25519)
        try directory.write("file", "content of the file\n")
        try directory.write("root.json", Self.emptyRoot)
        try directory.makeDirectory("tuf")
        try directory.write("tuf/remote.json", "nonsense")
        for (name, authority, version) in [("v1", true, 1), ("v2", true, 2), ("v9", true, 9), ("log", false, 1)] {
            func service(_ version: Int) -> String {
                #"[{"url":"https://a.invalid","majorApiVersion":\#(version),"operator":"o","#
                    + #""validFor":{"start":"2020-01-01T00:00:00Z"}}]"#
            }
            let authorities = authority ? #""caUrls":\#(service(1)),"oidcUrls":\#(service(1)),"# : ""
            try directory.write(
                "\(name).json",
                #"{"mediaType":"application/vnd.dev.sigstore.signingconfig.v0.2+json",\#(authorities)"#
                    + #""rekorTlogUrls":\#(service(version)),"rekorTlogConfig":{"selector":"ANY"},"tsaConfig":{}}"#)
        }
        func token(_ audience: String, _ email: String = "a@b.example") -> String {
            let claims =
                #"{"iss":"https://i.example","aud":"\#(audience)","sub":"s","exp":4000000000,"iat":1700000000,"#
                + #""email":"\#(email)","email_verified":true}"#
            // Base64url has other letters and no padding (RFC 4648, section 5).
            let parts = [#"{"alg":"RS256"}"#, claims].map { part in
                Base64.encode(Array(part.utf8)).replacing("+", with: "-").replacing("/", with: "_")
                    .replacing("=", with: "")
            }
            return parts.joined(separator: ".") + ".AAAA"
        }
        let sign = "sign-blob --bundle b.json --trusted-root root.json"
        let service = "url=https://a.example,api-version=1,start-time=2026-01-31T00:00:00Z,operator=o"
        try await expect(
            [
                Failure(
                    "\(sign) --signing-config v1.json file",
                    "there is no identity token, and no terminal to sign in at [no-identity-token]",
                    "set SIGSTORE_ID_TOKEN, give one with --identity-token, or sign with --key"),
                Failure(
                    "\(sign) --signing-config v1.json file", and: ["--identity-token", token("other")],
                    "the given identity token: the identity token is meant for other, expected sigstore "
                        + "[identity-token-audience]",
                    "request the token with the audience sigstore, or name its audience with --oidc-client-id"),
                Failure(
                    "\(sign) --signing-config v1.json file",
                    and: ["--identity-token", token("sigstore", "é@b.example")],
                    "the given identity token: the email address é@b.example has letters that no certificate can hold: "
                        + "only ASCII can [identity-token-email-not-ascii]",
                    "sign in with an account whose address is in ASCII, or sign with --key"),
                Failure(
                    "\(sign) --signing-config v2.json file", and: ["--identity-token", token("sigstore")],
                    "signing with an identity and Rekor v2 needs a timestamp authority, and there is none [no-time]",
                    "a certificate holds for minutes, so a timestamp must say when it was used: name a timestamp authority "
                        + "in the signing config, or with --timestamp-server-url"),
                Failure(
                    "\(sign) --signing-config log.json file", and: ["--identity-token", token("sigstore")],
                    "the signing config names no certificate authority (Fulcio) [no-usable-service]",
                    "give another --signing-config, or the service's URL"),
                Failure(
                    "\(sign) --key key.pem --signing-config v9.json file",
                    "the signing config names no transparency log (Rekor) whose API is spoken here: expected version 2 "
                        + "or 1, found 9 [no-usable-service]", "use a newer swsign, or another signing config"),
                Failure(
                    "\(sign) --key ed.pem --signing-algorithm ed25519 --signing-config log.json file",
                    "transparency logs do not record pure Ed25519 signatures of files [log-entry-refused]",
                    "use --signing-algorithm ed25519-ph, or no log"),
                Failure(
                    "tlog get --rekor-url https://a.invalid --rekor-version 2 --trusted-root root.json --uuid",
                    and: [String(repeating: "a", count: 80)],
                    "transparency log a.invalid: logs of Rekor v2 do not have UUIDs [not-in-rekor-v2]",
                    "give the entry's index with --log-index; swsign bundle inspect shows it"),
                Failure(
                    "signing-config create --rekor x=y",
                    "--rekor has \"x=y\", which is not known [malformed-service-specification]",
                    "write it as url=…,api-version=1,start-time=2026-01-31T00:00:00Z,operator=…"),
                Failure(
                    "signing-config create --tsa \(service)",
                    "--tsa is given and --tsa-config is not [malformed-service-specification]",
                    "add --tsa-config ANY, ALL or EXACT:<count>"),
                Failure(
                    "signing-config create --rekor-config SOME",
                    "--rekor-config is \"SOME\" [malformed-service-specification]", "use ANY, ALL or EXACT:<count>"),
                Failure(
                    "initialize --root https://r.example/root.json",
                    "the root of trust https://r.example/root.json comes over a network, and nothing says that it is "
                        + "the right one [tuf-no-root]", "give its SHA-256 with --root-checksum"),
                Failure(
                    "initialize", environment: ["TUF_MIRROR": "https://m.example"],
                    "no root of trust is known for the TUF mirror https://m.example [tuf-no-root]",
                    "give it once: swsign initialize --mirror https://m.example --root FILE"),
                Failure(
                    "verify-blob --certificate-identity a --certificate-oidc-issuer b --bundle file file",
                    environment: ["TUF_ROOT": "tuf"],
                    "tuf/remote.json cannot be read: not valid JSON: unexpected character at byte 0 [tuf-cache]",
                    "run swsign initialize again"),
            ], in: directory)
    }

    @Test("What is said of images")
    func images() async throws {
        let directory = TemporaryDirectory()
        try directory.makeKey()
        try directory.write("predicate.json", #"{"a":1}"#)
        try directory.write("entry.json", #"{"a":1,"b":2}"#)
        let digests = try await directory.makeImages()
        let (one, multi) = (
            "oci-layout:img:one (\(digests.one))", "oci-layout:img:multi (\(digests.multi))"
        )
        try await directory.must(
            "attest", "--key", "key.pem", "--tlog-upload=false", "--type", "slsaprovenance", "--predicate",
            "predicate.json", "oci-layout:img:multi")
        let verify = "verify --key key.pub --insecure-ignore-tlog"
        let attested = "verify-attestation --key key.pub --insecure-ignore-tlog --type vuln"
        try await expect(
            [
                Failure(
                    "\(verify) oci-layout:img:one", "there is no signature of \(one) [no-signature]",
                    "sign it with swsign sign, or check that this is the image that was signed"),
                Failure(
                    "\(attested) oci-layout:img:one", "there is no attestation of \(one) [no-signature]",
                    "sign it with swsign attest, or check that this is the image that was signed"),
                Failure(
                    "\(verify) oci-layout:img:multi",
                    "there is no signature of \(multi), only: https://slsa.dev/provenance/v0.2 [no-signature]",
                    "it has attestations, which verify-attestation verifies"),
                Failure(
                    "\(attested) oci-layout:img:multi",
                    "there is no attestation of type https://cosign.sigstore.dev/attestation/vuln/v1 of \(multi), only: "
                        + "https://slsa.dev/provenance/v0.2 [no-matching-signature]", "give one of these with --type"),
                Failure(
                    "copy oci-layout:img:one oci-layout:img:multi",
                    "oci-layout:img:multi is another image already: expected \(digests.one), found \(digests.multi) "
                        + "[already-there]", "use another tag, or --force to point this one elsewhere"),
                Failure(
                    "save --dir img oci-layout:img:one",
                    "the folder img is an image layout with images of its own, which saving would replace "
                        + "[already-there]", "name a new folder, or use swsign copy IMAGE oci-layout:img:TAG"),
                Failure(
                    "download sbom oci-layout:img:one",
                    "no SBOM is attached to oci-layout:img:one: there is no "
                        + "oci-layout:img:sha256-\(digests.one.hex).sbom [image-not-found]",
                    "it may have one as an attestation: see swsign download attestation"),
                Failure(
                    "download sbom oci-layout:img:multi",
                    "no SBOM is attached to oci-layout:img:multi: there is no "
                        + "oci-layout:img:sha256-\(digests.multi.hex).sbom [image-not-found]",
                    "it is an index; with --platform, the SBOM of one of its images: linux/amd64, linux/arm64"),
                Failure(
                    "attach sbom --sbom predicate.json --type syft --input-format xml oci-layout:img:one",
                    "an SBOM of type syft cannot be xml [usage]",
                    "spdx is json or text, cyclonedx json or xml, syft json; see --type and --input-format"),
                Failure(
                    "attach signature --signature AAAA --payload predicate.json --rekor-response entry.json "
                        + "oci-layout:img:one", "this is no entry of a Rekor log [unexpected-json]",
                    "give Rekor's answer for the entry, or the bundle that cosign sign-blob --bundle wrote"),
            ], in: directory)
    }
}

/// The string literals of Swift source and the lines of its documentation, each with the line that it begins on. What is
/// interpolated is left out, but literals in it are literals too.
private struct SwiftTexts {
    private(set) var literals: [(line: Int, text: String)] = []
    private(set) var documentation: [(line: Int, text: String)] = []
    private let source: [UInt8]
    private var at = 0
    private var line = 1

    init(_ text: String) {
        source = Array(text.utf8)
        code(interpolated: false)
    }

    private func stands(_ text: some Sequence<UInt8>) -> Bool { source[at...].starts(with: text) }

    private mutating func step(_ count: Int = 1) {
        for byte in source[at...].prefix(count) where byte == 0x0a { line += 1 }
        at = min(at + count, source.count)
    }

    /// Reads code up to its end; if it is interpolated, up to and with its parenthesis.
    private mutating func code(interpolated: Bool) {
        var depth = 0
        while at < source.count {
            switch source[at] {
            case UInt8(ascii: "/") where stands("//".utf8):
                let end = source[at...].firstIndex(of: 0x0a) ?? source.count
                if stands("///".utf8) {
                    documentation.append((line, String(decoding: source[at..<end], as: UTF8.self)))
                }
                at = end
            case UInt8(ascii: "/") where stands("/*".utf8):
                while at < source.count, !stands("*/".utf8) { step() }
                step(2)
            case UInt8(ascii: "#"), UInt8(ascii: "\""):
                if let hashes = opening { literal(hashes) } else { step() }
            case UInt8(ascii: "("):
                depth += 1
                step()
            case UInt8(ascii: ")"):
                depth -= 1
                step()
                if interpolated, depth < 0 { return }
            default: step()
            }
        }
    }

    /// How many `#` stand before the quotation mark here, if a literal begins here.
    private var opening: Int? {
        let hashes = source[at...].prefix { $0 == 0x23 }.count
        return at + hashes < source.count && source[at + hashes] == 0x22 ? hashes : nil
    }

    private mutating func literal(_ hashes: Int) {
        let begin = line
        step(hashes)
        let quotes = stands("\"\"\"".utf8) ? 3 : 1
        step(quotes)
        let marks = [UInt8](repeating: 0x23, count: hashes)
        let (end, escape) = ([UInt8](repeating: 0x22, count: quotes) + marks, [0x5c] + marks)
        var text: [UInt8] = []
        while at < source.count, !(source[at] == 0x22 && stands(end)) {
            let isEscape = source[at] == 0x5c && stands(escape)
            if isEscape, source[at...].dropFirst(escape.count).first == 0x28 {
                step(escape.count + 1)
                code(interpolated: true)
            } else {
                let count = isEscape ? escape.count + 1 : 1
                text += source[at...].prefix(count)
                step(count)
            }
        }
        step(end.count)
        literals.append((begin, String(decoding: text, as: UTF8.self)))
    }
}
