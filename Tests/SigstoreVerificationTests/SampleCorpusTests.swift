import InToto
import SigstoreCrypto
import SigstoreVerification
import StrictJSON
import Testing

/// Signatures over files by real cosigns, sigstore-python and sigstore-go against a real Sigstore: every case whose
/// bundle can be made from the files alone comes out as it should.
@Suite(.enabled(if: SharedMaterial.exists("samples/cases.json"), "../shared/samples is not here"))
struct SampleCorpusTests {
    struct Case: Sendable, CustomTestStringConvertible {
        let id: String
        let arguments: [String]
        let environment: [(String, String)]
        let want: String
        var testDescription: String { id }
    }

    static func cases() throws -> [Case] {
        let json = JSONCursor(try JSONValue(parsing: try SharedMaterial.read("samples/cases.json")))
        return try json.elements().compactMap { entry in
            guard ["blob", "blob-attestation"].contains(try entry.member("kind").string()),
                try entry.member("want").string() != "any"
            else { return nil }
            let environment = try entry.optional("verify_env")
            return Case(
                id: try entry.member("id").string(),
                arguments: try entry.member("verify").elements().map { try $0.string() },
                environment: try environment.map { variables in
                    try variables.names().map { ($0, try variables.member($0).string()) }
                } ?? [],
                want: try entry.member("want").string())
        }
    }

    @Test("Every signature over a file comes out as it should")
    func everyCase() async throws {
        let cases = try Self.cases()
        #expect(cases.count > 600)
        for each in cases {
            var outcome = "ok"
            do {
                try await Self.run(each)
            } catch {
                outcome = "fail: \(error)"
            }
            #expect(outcome.hasPrefix(each.want), "\(each.id): \(outcome)")
        }
    }

    static func file(_ path: String) throws -> [UInt8] { try SharedMaterial.read("samples/\(path)") }

    static func run(_ each: Case) async throws {
        var options: [String: String] = [:]
        var flags: Set<String> = []
        var files: [String] = []
        let isAttestation = each.arguments[1] == "verify-blob-attestation"
        let bare = [
            "--insecure-ignore-tlog", "--insecure-ignore-sct", "--use-signed-timestamps", "--offline",
            "--private-infrastructure", "--check-claims=false",
        ]
        var index = 2
        while index < each.arguments.count {
            let argument = each.arguments[index]
            if bare.contains(argument) {
                flags.insert(argument)
            } else if argument.hasPrefix("--") {
                index += 1
                options[argument] = each.arguments[index]
            } else {
                files.append(argument)
            }
            index += 1
        }

        // The trusted root: a file, or keys and certificates by themselves.
        var root: TrustedRoot?
        if let path = options["--trusted-root"] { root = try await MaterialCache.shared.trustedRoot("samples/\(path)") }
        if !each.environment.isEmpty {
            var made = TrustedRoot()
            for (name, path) in each.environment {
                switch name {
                case "SIGSTORE_ROOT_FILE":
                    made.certificateAuthorities = [try .init(certificates: try Certificate.chain(pem: try file(path)))]
                case "SIGSTORE_CT_LOG_PUBLIC_KEY_FILE":
                    made.certificateTransparencyLogs = [try .init(publicKey: try PublicKey(file: try file(path)))]
                case "SIGSTORE_REKOR_PUBLIC_KEY":
                    made.transparencyLogs = [try .init(publicKey: try PublicKey(file: try file(path)))]
                default: Issue.record("\(each.id): \(name)")
                }
            }
            root = made
        }
        if let path = options["--ca-roots"] {
            root?.certificateAuthorities = [
                .init(
                    uri: "", anchors: try Certificate.chain(pem: try file(path)),
                    intermediates: try options["--ca-intermediates"].map { try Certificate.chain(pem: try file($0)) }
                        ?? [],
                    validFor: .always)
            ]
        }
        if let path = options["--timestamp-certificate-chain"] {
            root?.timestampAuthorities = [try .init(certificates: try Certificate.chain(pem: try file(path)))]
        }

        // The bundle, in whatever form.
        var signature: [UInt8]?
        if let path = options["--signature"] {
            let text = try file(path)
            signature = isAttestation ? text : Base64.decode(text.filter { $0 > 0x20 }) ?? text
        }
        let timestamps =
            try options["--rfc3161-timestamp"].map {
                [try #require(try SigstoreBundle.timestamp(try file($0)))]
            } ?? []
        let bundle: SigstoreBundle
        if let path = options["--bundle"], path.hasSuffix(".sigstore.json") {
            bundle = try SigstoreBundle(parsing: try file(path))
        } else {
            let older = try options["--bundle"].map { try LegacyBlobBundle(parsing: try file($0)) }
            let certificate = try options["--certificate"].map { try LegacyBlobBundle.keyMaterial(try file($0)) }
            bundle = try SigstoreBundle(
                signature: signature ?? older?.signature ?? [], isAttestation: isAttestation,
                keyMaterial: certificate ?? older?.keyMaterial ?? .publicKey(hint: ""), logEntry: older?.logEntry,
                timestamps: timestamps)
        }

        // The policy.
        let signedBy: VerificationPolicy.SignedBy
        if let path = options["--key"] {
            signedBy = .key(try PublicKey(file: try file(path)))
        } else {
            func pattern(_ name: String) throws -> CertificateIdentity.Pattern {
                if let exact = options[name] { return .exactly(exact) }
                if let expression = options["\(name)-regexp"] { return .matching(try IdentityPattern(expression)) }
                throw SigstoreError(.wrongIdentity, "no \(name)")
            }
            var identity = CertificateIdentity(
                subject: try pattern("--certificate-identity"), issuer: try pattern("--certificate-oidc-issuer"))
            identity.githubWorkflowTrigger = options["--certificate-github-workflow-trigger"].map { [$0] } ?? []
            identity.githubWorkflowSHA = options["--certificate-github-workflow-sha"].map { [$0] } ?? []
            identity.githubWorkflowName = options["--certificate-github-workflow-name"].map { [$0] } ?? []
            identity.githubWorkflowRepository = options["--certificate-github-workflow-repository"].map { [$0] } ?? []
            identity.githubWorkflowRef = options["--certificate-github-workflow-ref"].map { [$0] } ?? []
            signedBy = .identities([identity])
        }
        let claim: BundleClaim
        if isAttestation {
            var subject: BundleClaim.Subject?
            if let hex = options["--digest"] {
                subject = .digest(try Digest(hex: hex, .sha256))
            } else if !flags.contains("--check-claims=false") {
                subject = .artifact(ArtifactBytes(try file(files[0])))
            }
            claim = .attestation(
                subject: subject, predicateType: try PredicateType(named: options["--type"] ?? "custom"))
        } else {
            claim = .message(ArtifactBytes(try file(files[0])))
        }
        var policy = Demand(signedBy: signedBy, claim: claim)
        if flags.contains("--insecure-ignore-tlog") || flags.contains("--private-infrastructure") {
            policy.transparencyLog = .insecurelyIgnored
        }
        if flags.contains("--use-signed-timestamps") { policy.signedTimestamps = .required(threshold: 1) }
        if flags.contains("--insecure-ignore-sct") { policy.certificateTransparency = .insecurelyIgnored }
        try policy.verify(bundle, root)
    }
}
