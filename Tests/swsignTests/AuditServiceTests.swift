import Foundation
import InToto
import LocalSigstore
import OCIRegistry
import SigstoreCrypto
import StrictJSON
import SwSignCore
import TestServices
import Testing

/// `audit` with services: logs that are asked for entries, provenance by certificates, and the signed report.
@Suite("Audits with services", .localSigstore(.own))
struct AuditServiceTests {
    private let place: SigningFixture
    private let repository: String
    private var log: LoopbackServer { place.services.rekorV1 }

    init() throws {
        place = try SigningFixture()
        repository = "\(place.services.registry.address)/\(ImageFixture.path)"
        for key in ["key", "old", "wrong"] { try place.directory.makeKey(key) }
    }

    private func succeed(_ arguments: [String]) async throws {
        let outcome = await place.run(arguments)
        try #require(outcome.succeeded, "\(arguments): \(outcome.messages)")
    }

    /// Pushes an image under a tag.
    /// - Returns: Its reference by digest.
    private func push(_ name: String) throws -> String {
        let image = try place.push(name)
        let digest = try #require(image.split(separator: "@").last.map(String.init))
        let manifest = try #require(place.services.registry.manifest(digest, in: ImageFixture.path))
        try place.services.registry.placeManifest(
            manifest.bytes, mediaType: manifest.mediaType, tag: name, in: ImageFixture.path)
        return image
    }

    private func audit(
        _ flags: [String] = [], signers: [String] = ["--key", "key.pub", "--former-key", "old.pub"],
        _ folder: String? = nil
    ) async -> Program.Outcome {
        await place.run(["audit", "--output", "jsonl"] + signers + place.trust + flags + [folder ?? repository])
    }

    /// How often the log was asked for an entry.
    private var questions: Int { log.requests.filter { $0.target == "/api/v1/log/entries/retrieve" }.count }

    /// Takes the log entries away from what stands at a tag, as it was before signatures kept them.
    private func bare(_ image: String, _ kind: SignatureStore.Kind) async throws {
        let store = ImageFixture.registries.client(for: try Repository(parsing: repository))
        let hex = try #require(image.split(separator: ":").last)
        let tag = "sha256-\(hex).\(kind.rawValue)"
        var manifest = try #require(try await store.manifest(try ManifestSelector(tag: tag))?.image)
        for index in manifest.layers.indices {
            manifest.layers[index].annotations["dev.sigstore.cosign/bundle"] = nil
        }
        let bare = try manifest.encoded()
        try place.services.registry.placeManifest(
            bare.bytes, mediaType: bare.mediaType, tag: tag, in: ImageFixture.path)
    }

    // MARK: - Log entries

    @Test("Older signatures that came without their log entry: it is looked up, or it is said that it could not be")
    func lookedUp() async throws {
        var images: [String: String] = [:]
        try place.directory.write("predicate.json", "{}")
        for key in ["key", "old", "wrong", "unlogged", "alice"] {
            let image = try push(key)
            images[key] = image
            let signing = ["sign", "--yes", "--new-bundle-format=false"]
            switch key {
            case "unlogged": try await succeed(signing + ["--key", "key.pem", "--tlog-upload=false", image])
            case "alice": try await succeed(signing + place.services(.v1) + (try place.token()) + [image])
            default: try await succeed(signing + ["--key", "\(key).pem"] + place.services(.v1) + [image])
            }
            try await bare(image, .signature)
        }
        let first = try #require(images["key"])
        try await succeed(
            ["attest", "--yes", "--new-bundle-format=false", "--key", "key.pem", "--predicate", "predicate.json"]
                + ["--type", "x:y"] + place.services(.v1) + [first])
        try await bare(first, .attestation)
        let recorded = questions
        let outcome = await audit()
        #expect(outcome.ending == .exit(12), "\(outcome.messages)")
        #expect(outcome.messages.contains("Looking up a log entry: \(log.address) learns the digest"))
        #expect(outcome.messages.contains("\(log.address) learns the whole attestation"))
        let rows = try outcome.rowsByDigest()
        func row(_ name: String) throws -> AuditRow {
            let digest = try Digest(parsing: String(try #require(images[name]?.split(separator: "@").last)))
            return try #require(rows[digest], "\(name)")
        }
        #expect(try row("key").verdict == .accepted && row("old").verdict == .formerSigner)
        #expect(try row("alice").verdict == .otherSigner && row("alice").signatures.map(\.logEntries.count) == [1])
        #expect(try row("key").attestations.map(\.verdict) == [.accepted])
        let held = try #require(try row("key").signatures.first)
        #expect(
            held.logEntries.map(\.log) == [log.url] && held.oldest != nil && held.checks.contains("inclusion-proof"))
        // A log has no entry of it; and of a key that nobody named, no log learns anything.
        #expect(try row("unlogged").signatures.map { $0.failure?.code } == ["no-log-entry"])
        #expect(try row("wrong").verdict == .invalid)
        #expect(questions - recorded == 5)
        #expect(
            try await audit(["--rekor-url", log.url]).rowsByDigest()[try #require(try row("key").digest)]?.verdict
                == .accepted)

        let asked = questions
        let offline = await audit(["--offline"])
        #expect(try offline.rows().allSatisfy { $0.verdict == .invalid && $0.signed == .yes }, "\(offline.output)")
        let unlogged = await audit(["--insecure-ignore-tlog"])
        #expect(try unlogged.rows().count { $0.verdict == .accepted } == 2, "\(unlogged.output)")
        #expect(questions == asked)
        // A log that does not answer may have it: that is neither unsigned nor invalid.
        log.faults.add(Fault(.status(403, retryAfter: nil), path: "/api/v1/log/entries/retrieve"))
        let unknown = await audit()
        #expect(unknown.ending == .exit(1) && unknown.code == "audit-incomplete", "\(unknown.messages)")
        #expect(try unknown.rows().count { $0.verdict == .couldNotLook && $0.signed == .couldNotLook } == 4)
        log.faults.removeAll()
    }

    @Test("A signature beside a file, of which only the log has the entry")
    func fileLookedUp() async throws {
        try place.directory.makeDirectory("dist")
        try place.directory.write("dist/file", "the release")
        try await succeed(
            [
                "sign-blob", "--yes", "--key", "key.pem", "--output-signature", "dist/file.sig", "--bundle",
                "bundle.json",
            ]
                + place.services(.v1) + ["dist/file"])
        #expect(try await audit([], "dist").rows().map(\.verdict) == [.accepted])
        #expect(try await audit(["--offline"], "dist").rows().map(\.verdict) == [.invalid])
        log.faults.add(Fault(.status(403, retryAfter: nil), path: "/api/v1/log/entries/retrieve"))
        let unknown = await audit([], "dist")
        #expect(unknown.ending == .exit(1), "\(unknown.messages)")
        #expect(try unknown.rows().map(\.verdict) == [.couldNotLook])
        log.faults.removeAll()
    }

    // MARK: - What is said of signatures

    @Test("SLSA levels: 1 by a key, 2 by the builder that is named, 3 by a trusted builder at a release")
    func slsaLevels() async throws {
        let own = "example/demo/.github/workflows/build.yml@refs/heads/main"
        let generator = "slsa-framework/slsa-github-generator/.github/workflows/generator_container_slsa3.yml"
        let issuer = "https://token.actions.githubusercontent.com"
        var levels: [Digest: Int64?] = [:]
        func attest(_ name: String, builder: String, by signer: [String], _ level: Int64?) async throws {
            let image = try push(name)
            try place.directory.write(
                "predicate.json",
                #"{"buildDefinition":{"buildType":"x","externalParameters":{},"resolvedDependencies":[{"uri":"git+https://"#
                    + #"example.com/a"}]},"runDetails":{"builder":{"id":"https://github.com/\#(builder)"}}}"#)
            try await succeed(
                ["attest", "--yes", "--predicate", "predicate.json", "--type", "slsaprovenance1"] + place.services(.v1)
                    + signer + [image])
            levels[try Digest(parsing: String(try #require(image.split(separator: "@").last)))] = level
        }
        func workflow(_ builder: String) throws -> [String] {
            var workflow = GitHubWorkflow(repository: "example/demo")
            (workflow.builder, workflow.certificateIssuer) = (builder, issuer)
            return try place.token(.gitHubWorkflow(workflow))
        }
        try await attest("key", builder: own, by: ["--key", "key.pem"], 1)
        try await attest("own", builder: own, by: try workflow(own), 2)
        // It names another builder than the one that signed.
        try await attest("claimed", builder: "\(generator)@refs/tags/v2.1.0", by: try workflow(own), 1)
        try await attest(
            "release", builder: "\(generator)@refs/tags/v2.1.0", by: try workflow("\(generator)@refs/tags/v2.1.0"), 3)
        try await attest(
            "branch", builder: "\(generator)@refs/heads/main", by: try workflow("\(generator)@refs/heads/main"), 2)
        // Who is not accepted can say anything.
        try await attest("stranger", builder: own, by: try place.token(), nil)
        let outcome = await audit(
            signers: ["--key", "key.pub", "--signer", "identity-regexp=^https://github.com/,issuer=\(issuer)"])
        let rows = try outcome.rowsByDigest()
        for (digest, level) in levels {
            let row = rows[digest]
            #expect(
                row?.attestations.count == 1 && row?.attestations.first?.slsaLevel == level,
                "\(String(describing: row))")
            #expect(row?.attestations.first?.source == "git+https://example.com/a" || level == nil)
        }
        let last = JSONCursor(
            try JSONValue(parsing: Array(try #require(outcome.stdout.split(separator: 0x0a).last))))
        let sums = try last.member("sums").member("slsaLevels")
        for (level, count) in [("1", 2), ("2", 2), ("3", 1)] {
            #expect(try sums.member(level).integer() == count)
        }
    }

    @Test("The head says when the trusted root was written; the command's own report is signed and compared")
    func headAndSignedReport() async throws {
        let image = try push("v1")
        try await succeed(["sign", "--yes", "--key", "key.pem"] + place.services(.v1) + [image])
        let signing = ["--attest", "--attest-key", "key.pem", "--tlog-upload=false"]
        func report(_ name: String, _ more: [String]) async -> Program.Outcome {
            await place.run(
                ["audit", "--key", "key.pub", "--output", "json", "--output-file", name] + place.trust + more + [
                    repository
                ])
        }
        let made = await report("report.json", signing)
        #expect(made.ending == .exit(0), "\(made.messages)")
        let head = try JSONCursor(try JSONValue(parsing: try place.directory.read("report.json"))).member("head")
        let written = try FileManager.default.attributesOfItem(atPath: place.services.files.trustedRoot)[
            .modificationDate]
        let time = try #require(written as? Date)
        #expect(
            try Instant(rfc3339: head.member("trustedRootTime").string())?.seconds == Int64(time.timeIntervalSince1970))
        let verified = await place.run([
            "verify-blob-attestation", "--key", "key.pub", "--insecure-ignore-tlog", "--type", "urn:swsign:audit:v1",
            "--bundle", "report.json.sigstore.json", "report.json",
        ])
        #expect(verified.succeeded, "\(verified.messages)")
        // What changed since: one more image, which nobody signed.
        _ = try push("other")
        let changed = await place.run(
            ["audit", "--key", "key.pub", "--compare", "report.json"] + place.trust + [repository])
        #expect(changed.ending == .exit(12), "\(changed.messages)")
        #expect(changed.output.contains("unsigned") && changed.output.hasSuffix("1 change.\n"), "\(changed.output)")
        // What is given for an older report is none, or of another version: nothing is compared.
        let text = try place.directory.text("report.json")
        for (old, code) in [
            (text.replacing("\"version\":1", with: "\"version\":2"), "other-report-version"),
            (String(text.dropLast(20)), "malformed-report"),
        ] {
            try place.directory.write("old.json", old)
            let refused = await place.run(
                ["audit", "--key", "key.pub", "--compare", "old.json"] + place.trust + [repository])
            #expect(refused.ending == .exit(1) && refused.code == code, "\(refused.messages)")
        }
    }
}
