import Foundation
import HTTPTransport
import LocalSigstore
import OCIRegistry
import SigstoreCrypto
import StrictJSON
import TestServices
import Testing

/// The command lines of users' guides, written for cosign 2 and cosign 3, run as they stand: `cosign` is this program.
@Suite(.needsPeers, .localSigstore(.own))
struct GuideTests {
    /// What the words of a refused line must hold, since they name the cure. What is to come with key services and policies
    /// is refused until then.
    private static let cures = [
        "1.4abc": "sha256:<64 hexadecimal digits", "1.7": "SIGSTORE_ID_TOKEN", "1.18": "verify-attestation",
        "1.18att": "--policy cannot be used yet", "1.26": "SIGSTORE_ID_TOKEN", "1.27": "SIGSTORE_ID_TOKEN",
        "1.29": "awskms://", "1.30": "awskms://", "1.31": "--output-key-prefix",
        "1.32": "azurekms://",
        "1.39": "SIGSTORE_ID_TOKEN", "1.40": "SIGSTORE_ID_TOKEN",
        "2.2": "awskms://", "2.4": "awskms://", "2.4k": "sign-blob", "2.6": "awskms://",
    ]

    @Test("Each line of the guides does what it is there for, or is refused with words that name the cure")
    func lines() async throws {
        let services = try LocalServices.current
        let registry = try await RegistryFixture(.dockerRegistry)
        let address = try #require(registry.address)
        let place = try Workplace()
        let digests = try await prepare(place, address)
        let environment = [
            "PATH": "\(place.path)/bin:/usr/local/bin:/usr/bin:/bin", "REG": address,
            "GH": services.files.gitHubEnvironment,
            "TOKEN": try services.issuer.token(for: .email("your.email@example.com")),
        ].merging(digests) { $1 }
        var (refused, published) = (Set<String>(), Self.published(services))
        for line in try String(contentsOfFile: "\(Shared.path)/guides/lines.txt", encoding: .utf8).split(
            separator: "\n")
        where !line.hasPrefix("#") {
            let parts = line.split(separator: "|", maxSplits: 2).map { $0.trimmingCharacters(in: .whitespaces) }
            try #require(parts.count == 3, "\(line)")
            let (id, wanted) = (parts[0], parts[1])
            // A shell that stops at what fails in the middle of a pipeline, with nothing on its standard input.
            let script = ". \(services.files.folder)/env.sh; set -o pipefail; \(parts[2])"
            let outcome = try await place.run(
                "/bin/bash", ["-c", script], password: "your-passphrase", environment)
            let said = "\(id): \(parts[2])\n\(String(decoding: outcome.output, as: UTF8.self))\(outcome.messages)"
            switch wanted {
            case "ok": #expect(outcome.status == 0, "\(said)")
            case "mismatch": #expect(outcome.status == 12, "\(said)")
            case "refuse", "ok-keys", "ok-policy":
                #expect(outcome.status != 0, "\(said)")
                let cure = try #require(Self.cures[id], "\(id) has no cure here")
                refused.insert(id)
                #expect(outcome.messages.contains(cure), "\(said)")
                #expect(Self.published(services) == published, "something became public: \(said)")
            default: Issue.record("\(id) wants \(wanted), which is not known here")
            }
            published = Self.published(services)
        }
        #expect(refused == Set(Self.cures.keys))
        withExtendedLifetime(registry) {}
    }

    /// How many certificates and log entries there are.
    private static func published(_ services: LocalServices) -> Int {
        [services.fulcio, services.rekorV1, services.rekorV2].flatMap(\.requests)
            .filter { $0.method == "POST" && (200...299).contains($0.status ?? 0) }.count
    }

    /// What the guides take for granted: images, files, and programs.
    /// - Returns: The digests of images by the names that the lines have for them.
    private func prepare(_ place: Workplace, _ address: String) async throws -> [String: String] {
        let manager = FileManager.default
        try manager.createDirectory(atPath: "\(place.path)/bin", withIntermediateDirectories: true)
        try manager.createSymbolicLink(
            atPath: "\(place.path)/bin/cosign", withDestinationPath: try await Tool.swsign.program)
        // `crane ls` lists all tags.
        try place.write(
            "#!/bin/sh\ncurl -s \"http://${2%%/*}/v2/${2#*/}/tags/list\" | jq -r '.tags[]'\n", to: "bin/crane")
        try manager.setAttributes([.posixPermissions: 0o755], ofItemAtPath: "\(place.path)/bin/crane")
        try place.write(
            """
            sign-container:
            \tcosign sign --key cosign.key $(IMAGE_NAME)
            verify-container:
            \tcosign verify --key cosign.pub $(IMAGE_NAME)

            """, to: "Makefile.guide")
        try place.write(#"{"spdxVersion":"SPDX-2.3","name":"myapp","packages":[]}"#, to: "sbom.json")
        try place.write(
            #"{"artifacts":[],"schema":{"version":"16.0.0","url":"https://example.com/syft"}}"#,
            to: "sbom-syftjson.json")
        try place.write(#"{"bomFormat":"CycloneDX","specVersion":"1.5","components":[]}"#, to: "sbom.cdx.json")
        try place.write(
            #"{"builder":{"id":"https://ci.example/builder"},"buildType":"https://ci.example/type","materials":[]}"#,
            to: "provenance.json")
        try place.write("package sigstore\n\ndefault isCompliant = false\n", to: "policy.rego")
        try place.write("the program", to: "myapp")
        for arguments in [
            ["init", "-q"],
            ["-c", "user.name=a", "-c", "user.email=a@b.example", "commit", "-q", "--allow-empty", "-m", "first"],
        ] {
            try await place.must("/usr/bin/git", arguments)
        }
        var options = RegistryOptions()
        options.credentials = CredentialStore(environment: { _ in nil })
        let registries = Registries(CurlClient(), options)
        func push(_ path: String, _ tag: String?, isIndex: Bool = false) async throws -> String {
            let store = registries.client(for: try Repository(parsing: "\(address)/\(path)"))
            let image = try await store.pushImage("the image \(path)", tag: isIndex ? nil : tag)
            guard isIndex else { return image.digest.description }
            var entry = image.descriptor
            entry.platform = Platform(os: "linux", architecture: "amd64")
            let index = try ImageIndex(manifests: [entry]).encoded()
            try await store.putManifest(index, tag: tag)
            return index.digest.description
        }
        _ = try await push("charts/mychart", "1.0.0")
        _ = try await push("multi", "v1.0.0", isIndex: true)
        return [
            "MYORG_DIGEST": try await push("myorg/myapp", "v1.2.3"), "MYAPP_DIGEST": try await push("myapp", "v1.0.0"),
            "MYORG2_DIGEST": try await push("my-org/my-app", "v1.0.0"),
        ]
    }
}
