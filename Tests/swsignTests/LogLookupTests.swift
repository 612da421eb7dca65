import Foundation
import HTTPTransport
import InToto
import LocalSigstore
import OCIRegistry
import SigstoreCrypto
import SigstoreVerification
import StrictJSON
import SwSignCore
import TestServices
import Testing

/// A signature that comes without its log entry is looked up in the log.
@Suite("Looking up log entries", .localSigstore(.own))
struct LogLookupTests {
    private let place: SigningFixture
    private var log: LoopbackServer { place.services.rekorV1 }

    init() throws { place = try SigningFixture() }

    private func succeed(_ arguments: [String], environment: [String: String] = [:]) async throws {
        let outcome = await place.run(arguments, environment: environment)
        try #require(outcome.succeeded, "\(arguments): \(outcome.messages)")
    }

    /// Signs the file with a key, recorded in the log, into `file.sig` and `bundle.json`.
    private func signed(_ algorithm: SigningAlgorithm = .ecdsaP256, _ flags: [String] = []) async throws {
        try place.directory.makeKey("key", algorithm)
        try place.directory.write("file", "the release")
        try await succeed(
            ["sign-blob", "--yes", "--key", "key.pem", "--bundle", "bundle.json"] + place.services(.v1) + flags
                + ["file"])
        // Of larger curves, a signature beside the bundle is another one, which is not recorded.
        let bundle = try SigstoreBundle(parsing: try place.directory.read("bundle.json"))
        try place.directory.write("file.sig", Base64.encode(try bundle.signature()))
    }

    private func verify(_ flags: [String] = [], _ file: String = "file", input: Program.Input = .nothing) async
        -> Program.Outcome
    {
        await place.run(
            ["verify-blob", "--key", "key.pub", "--signature", "file.sig"] + place.trust + flags + [file], input: input)
    }

    /// The questions that the log was asked, by their paths.
    private var questions: [String] {
        log.requests.filter { !($0.method == "POST" && $0.target == "/api/v1/log/entries") }.map(\.target)
    }
    private static let retrieve = "/api/v1/log/entries/retrieve"

    /// A trusted root that is changed.
    private func root(_ change: (inout TrustedRoot) throws -> Void) throws -> [String] {
        var root = try TrustedRoot(
            parsing: Array(try Data(contentsOf: URL(fileURLWithPath: place.services.files.trustedRoot))))
        try change(&root)
        try place.directory.write("root.json", root.serialized())
        return ["--trusted-root", "root.json"]
    }

    // MARK: - Files

    @Test(
        "The very entry is asked for, once, and the host is named before",
        arguments: [
            SigningAlgorithm.ecdsaP256, .ecdsaP384, .rsa2048,
        ])
    func byKey(algorithm: SigningAlgorithm) async throws {
        try await signed(algorithm)
        let outcome = await verify(["--output", "json"])
        #expect(outcome.succeeded, "\(outcome.messages)")
        #expect(outcome.messages.contains("Looking up a log entry: \(log.address) learns the digest"))
        #expect(questions == [Self.retrieve])
        let checks = try #require(try outcome.objects().first).member("checks").elements().map {
            try $0.member("name").string()
        }
        #expect(checks.contains("inclusion-proof") && checks.contains("log-entry") && checks.contains("log-time"))
        // Standard input is read once, and of a digest nothing needs to be read.
        let piped = await verify([], "-", input: .text("the release"))
        #expect(piped.succeeded, "\(piped.messages)")
        let digest = try Digest.hash(Array("the release".utf8), algorithm.scheme.hash ?? .sha256)
        let ofDigest = await verify([], digest.description)
        #expect(ofDigest.succeeded, "\(ofDigest.messages)")
        // By several keys, the one that signed is asked about.
        try place.directory.makeKey("other")
        let several = await verify(["--key", "other.pub"])
        #expect(several.succeeded, "\(several.messages)")
        #expect(questions == Array(repeating: Self.retrieve, count: 4))
    }

    @Test("A signature with its certificate beside it")
    func byCertificate() async throws {
        try place.directory.write("file", "the release")
        try await succeed(
            ["sign-blob", "--yes", "--output-signature", "file.sig", "--output-certificate", "file.pem"]
                + ["--bundle", "bundle.json"] + place.services(.v1) + (try place.token()) + ["file"])
        func verify(_ identity: LocalIdentity, _ flags: [String] = []) async -> Program.Outcome {
            await place.run(
                ["verify-blob", "--signature", "file.sig", "--certificate", "file.pem"] + place.trust
                    + place.expecting(identity) + flags + ["file"])
        }
        let outcome = await verify(SigningFixture.alice)
        #expect(outcome.succeeded, "\(outcome.messages)")
        #expect(outcome.messages.contains("says the log"), "the log gives the time: \(outcome.messages)")
        // Of a signer whom nobody demands, no log learns anything.
        #expect(await verify(.email("mallory@local.test")).code == "wrong-identity")
        #expect(questions == [Self.retrieve])
        let offline = await verify(SigningFixture.alice, ["--offline"])
        #expect(offline.code == "no-time" && offline.messages.contains("--bundle"), "\(offline.messages)")
        #expect(questions.count == 1)
    }

    @Test("Nobody is asked if that was not wanted, or if the signature does not hold by itself")
    func notAsked() async throws {
        try await signed()
        let offline = await verify(["--offline"])
        #expect(offline.code == "no-log-entry" && offline.messages.contains("--offline"), "\(offline.messages)")
        for flag in ["--insecure-ignore-tlog", "--private-infrastructure"] {
            let outcome = await verify([flag])
            #expect(outcome.succeeded && !outcome.messages.contains("Looking up"), "\(outcome.messages)")
        }
        try place.directory.write("changed", "another release")
        let changed = await verify(["--output", "json"], "changed")
        #expect(changed.code == "invalid-signature", "\(changed.messages)")
        #expect(try changed.objects().first?.member("failedStep").string() == "signature")
        // A bundle that brings no entry is not filled up: it would have been written with one.
        try await succeed(
            ["sign-blob", "--key", "key.pem", "--tlog-upload=false", "--bundle", "bare.json", "file"])
        let bare = await place.run(
            ["verify-blob", "--key", "key.pub", "--bundle", "bare.json"] + place.trust + ["file"])
        #expect(bare.code == "no-log-entry", "\(bare.messages)")
        #expect(questions.isEmpty)
        // Pure Ed25519 is in no log.
        try place.directory.makeKey("key", .ed25519)
        try await succeed(
            ["sign-blob", "--key", "key.pem", "--tlog-upload=false", "--output-signature", "file.sig", "file"])
        #expect(await verify().code == "no-log-entry")
        #expect(questions.isEmpty)
    }

    @Test("What is in no log, or in one that cannot be asked, is told apart from a log that did not answer")
    func notThere() async throws {
        try await signed()
        let recorded = try place.directory.read("file.sig")
        try await succeed(
            ["sign-blob", "--key", "key.pem", "--tlog-upload=false", "--output-signature", "file.sig", "file"])
        let absent = await verify(["--output", "json"])
        #expect(absent.code == "no-log-entry", "\(absent.messages)")
        #expect(
            absent.messages.contains("no entry of this signature in \(log.address)")
                && absent.messages.contains("sign with --bundle"))
        #expect(try absent.objects().first?.member("failedStep").string() == "transparency-log")
        try place.directory.write("file.sig", recorded)
        // A root of Rekor v2 alone, and one that does not say where its log is.
        for change in [
            { $0.transparencyLogs.removeAll { (try? $0.mayBe(rekorV2: false)) ?? false } },
            { for index in $0.transparencyLogs.indices { $0.transparencyLogs[index].baseURL = "" } },
        ] as [(inout TrustedRoot) -> Void] {
            let before = questions.count
            let outcome = await verify(try root(change))
            #expect(outcome.code == "no-log-entry", "\(outcome.messages)")
            #expect(outcome.messages.contains("sign with --bundle") && !outcome.messages.contains("Looking up"))
            #expect(questions.count == before)
        }
        // It could not be looked up: that is not "not there".
        for (action, code) in [
            (.status(403, retryAfter: nil), "http-status"), (.status(404, retryAfter: nil), "log-entry-refused"),
            (.answer(200, contentType: "application/json", body: Array("{}".utf8)), "unexpected-answer"),
            (
                .answer(
                    200, contentType: "application/json",
                    body: Array("[\(Array(repeating: "{}", count: 33).joined(separator: ","))]".utf8)),
                "too-many-entries"
            ),
        ] as [(Fault.Action, String)] {
            log.faults.add(Fault(action, path: Self.retrieve))
            let outcome = await verify()
            #expect(outcome.code == code, "\(action): \(outcome.messages)")
            #expect(outcome.messages.contains("could not be looked up") && outcome.messages.contains(log.address))
            log.faults.removeAll()
        }
        #expect(await verify().succeeded)
    }

    @Test("A signature that cannot be looked up hides no other one that holds")
    func oneOfSeveral() async throws {
        try await signed()
        try await succeed(
            ["sign-blob", "--key", "key.pem", "--tlog-upload=false", "--bundle", "bare.json", "file"])
        let (bare, whole) = (try place.directory.text("bare.json"), try place.directory.text("bundle.json"))
        try place.directory.write("lines.jsonl", "\(bare)\n\(whole)\n")
        func verify(_ signature: String, _ file: String, input: Program.Input = .nothing) async -> Program.Outcome {
            await place.run(
                ["verify-blob", "--key", "key.pub", "--signature", signature] + place.trust + [file], input: input)
        }
        log.faults.add(Fault(.status(403, retryAfter: nil), path: Self.retrieve))
        let outcome = await verify("lines.jsonl", "file")
        #expect(outcome.succeeded && questions == [Self.retrieve], "\(outcome.messages)")
        try place.directory.write("lines.jsonl", "\(bare)\n\(bare)\n")
        #expect(await verify("lines.jsonl", "file").code == "http-status")
        log.faults.removeAll()
        // What was signed is read once, from standard input too.
        var bundle = try SigstoreBundle(parsing: Array(whole.utf8))
        bundle.logEntries = []
        try place.directory.write("bare.json", bundle.serialized())
        let piped = await verify("bare.json", "-", input: .text("the release"))
        #expect(piped.succeeded, "\(piped.messages)")
    }

    @Test(
        "An answer is verified as one that came with the signature",
        arguments: [
            (Fault.Action.wrongEntry, "log-entry-mismatch"), (.wrongPromise, "invalid-inclusion-promise"),
            (.wrongProof, "invalid-inclusion-proof"),
        ])
    func lies(action: Fault.Action, code: String) async throws {
        try await signed()
        log.faults.add(Fault(action, path: Self.retrieve))
        let outcome = await verify()
        #expect(outcome.code == code, "\(outcome.messages)")
    }

    @Test("--rekor-url names the log, if the trusted root knows its key")
    func namedLog() async throws {
        try await signed()
        let flags = ["--rekor-url", log.url]
        #expect(await verify(flags).succeeded)
        #expect(questions == [Self.retrieve])
        // At an address that does not stand in the root, it is asked for its key first.
        let elsewhere = try root { root in
            for index in root.transparencyLogs.indices { root.transparencyLogs[index].baseURL = "" }
        }
        let named = await verify(elsewhere + flags)
        #expect(named.succeeded, "\(named.messages)")
        #expect(questions == [Self.retrieve, "/api/v1/log/publicKey", Self.retrieve])
        let stranger = try root { root in
            root.transparencyLogs = try TrustedRoot.embedded(.production).transparencyLogs
        }
        let unknown = await verify(stranger + flags)
        #expect(unknown.code == "unknown-log", "\(unknown.messages)")
        #expect(unknown.messages.contains("could not be looked up"))
        #expect(!unknown.messages.contains("Looking up"))
        #expect(questions.count == 4 && questions.last == "/api/v1/log/publicKey")
    }

    @Test func attestationOfAFile() async throws {
        try place.directory.makeKey("key")
        try place.directory.write("file", "the release")
        try place.directory.write("predicate", "{}")
        try await succeed(
            ["attest-blob", "--yes", "--key", "key.pem", "--predicate", "predicate", "--output-signature", "file.att"]
                + ["--bundle", "bundle.json"] + place.services(.v1) + ["file"])
        let outcome = await place.run(
            ["verify-blob-attestation", "--key", "key.pub", "--signature", "file.att"] + place.trust + ["file"])
        #expect(outcome.succeeded, "\(outcome.messages)")
        #expect(outcome.messages.contains("\(log.address) learns the whole attestation"), "\(outcome.messages)")
        #expect(questions == [Self.retrieve])
    }

    // MARK: - Images

    @Test("Older images whose signatures have no bundle", arguments: [SignatureStore.Kind.signature, .attestation])
    func image(kind: SignatureStore.Kind) async throws {
        let name = try place.push()
        try place.directory.makeKey("key")
        try place.directory.write("predicate.json", "{}")
        let isSignature = kind == .signature
        try await succeed(
            (isSignature ? ["sign"] : ["attest", "--predicate", "predicate.json", "--type", "x:y"])
                + ["--yes", "--key", "key.pem", "--new-bundle-format=false"] + place.services(.v1) + [name])
        let verifying =
            (isSignature ? ["verify"] : ["verify-attestation", "--type", "x:y"]) + ["--key", "key.pub"] + place.trust
        try await succeed(verifying + [name])
        #expect(questions.isEmpty)

        // The same signature, as it was pushed before there were bundles.
        let store = ImageFixture.registries.client(
            for: try Repository(parsing: "\(place.services.registry.address)/\(ImageFixture.path)"))
        let hex = try #require(name.split(separator: ":").last)
        let tag = try ManifestSelector(tag: "sha256-\(hex).\(kind.rawValue)")
        var manifest = try #require(try await store.manifest(tag)?.image)
        for index in manifest.layers.indices {
            var annotations = manifest.layers[index].annotations
            #expect(annotations["dev.sigstore.cosign/bundle"] != nil)
            annotations["dev.sigstore.cosign/bundle"] = nil
            manifest.layers[index].annotations = annotations
        }
        let bare = try manifest.encoded()
        try place.services.registry.placeManifest(
            bare.bytes, mediaType: bare.mediaType, tag: "sha256-\(hex).\(kind.rawValue)", in: ImageFixture.path)
        let outcome = await place.run(verifying + [name])
        #expect(outcome.succeeded, "\(outcome.messages)")
        let learned = isSignature ? "the digest" : "the whole attestation"
        #expect(outcome.messages.contains("\(log.address) learns \(learned)"), "\(outcome.messages)")
        #expect(questions == [Self.retrieve])
        let offline = await place.run(verifying + ["--offline", name])
        #expect(offline.ending == .exit(12) && questions.count == 1, "\(offline.messages)")
        // Another key's signature it is not, so that nobody is asked.
        try place.directory.makeKey("other")
        let other = await place.run(verifying + ["--key", "other.pub", "--threshold", "2", name])
        #expect(other.code == "too-few-signers", "\(other.messages)")
        let asked = questions.count
        let foreign = await place.run(verifying.map { $0 == "key.pub" ? "other.pub" : $0 } + [name])
        #expect(foreign.ending == .exit(12) && questions.count == asked, "\(foreign.messages)")
        // A log that does not answer may have it.
        log.faults.add(Fault(.status(403, retryAfter: nil), path: Self.retrieve))
        let unknown = await place.run(verifying + [name])
        #expect(unknown.ending == .exit(1) && unknown.code == "http-status", "\(unknown.messages)")
        #expect(unknown.messages.contains("could not all be looked at"))
    }
}
