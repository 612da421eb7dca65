import Foundation
import InToto
import LocalSigstore
import SigstoreCrypto
import SigstoreVerification
import Spawning
import StrictJSON
import TestServices
import Testing

/// Services that fail or lie while the real program signs.
@Suite("Faults of services", .localSigstore(.own))
struct ServiceFaultTests {
    private let place: SigningFixture

    init() throws { place = try SigningFixture() }

    /// Who is at fault.
    enum Service: String, CaseIterable, Sendable {
        case issuer, fulcio, rekorV1, rekorV2, timestamp

        func server(_ services: LocalServices) -> LoopbackServer {
            switch self {
            case .issuer: services.issuerServer
            case .fulcio: services.fulcio
            case .rekorV1: services.rekorV1
            case .rekorV2: services.rekorV2
            case .timestamp: services.timestampAuthority
            }
        }

        var isLog: Bool { self == .rekorV1 || self == .rekorV2 }
        var kind: LocalServices.SigningConfigKind { self == .rekorV1 ? .v1 : .v2 }

        /// How a person is told which service it is.
        func name(_ services: LocalServices) -> String {
            switch self {
            case .issuer: "GitHub Actions: "
            case .fulcio: "Fulcio at \(services.fulcio.address)"
            case .rekorV1, .rekorV2: "transparency log \(server(services).address)"
            case .timestamp: "timestamp authority \(services.timestampAuthority.address)"
            }
        }
    }

    /// A fault, and what a person is told of it.
    struct Case: Sendable, CustomTestStringConvertible {
        let service: Service
        let action: Fault.Action
        let code: String
        /// Words besides the service's name; in place of it for lies that only the finished bundle shows.
        var words: String?
        /// Whether the answer is well formed, and what it says is not true.
        var isLie: Bool {
            switch action {
            case .hang, .reset, .truncate, .status, .endlessBody, .answer, .redirect: false
            default: true
            }
        }
        var testDescription: String { "\(service): \(action)" }
    }

    private static let everywhere: [Case] = Service.allCases.flatMap { service -> [Case] in
        let refused =
            switch service {
            case .issuer: "http-status"
            case .fulcio: "certificate-refused"
            case .rekorV1, .rekorV2: "log-entry-refused"
            case .timestamp: "timestamp-refused"
            }
        let garbage =
            switch service {
            case .issuer: "unexpected-json"
            case .timestamp: "malformed-timestamp"
            case .fulcio, .rekorV1, .rekorV2: "unexpected-answer"
            }
        return [
            Case(service: service, action: .hang, code: "timed-out"),
            Case(service: service, action: .reset, code: "unreachable"),
            Case(service: service, action: .status(400, retryAfter: nil), code: refused),
            Case(service: service, action: .status(500, retryAfter: nil), code: "http-status"),
            // Longer than anybody waits.
            Case(service: service, action: .status(429, retryAfter: 3600), code: "http-status"),
            Case(service: service, action: .endlessBody, code: "too-large"),
            Case(
                service: service, action: .answer(200, contentType: "application/json", body: Array("{}".utf8)),
                code: garbage),
            Case(
                service: service, action: .redirect("http://localhost:9/elsewhere"),
                code: service == .issuer ? "unreachable" : "redirect-refused"),
        ]
    }

    private static let lies: [Case] = [
        Case(service: .issuer, action: .staleToken, code: "identity-token-expired"),
        // The certificate log has no part in signing but its timestamp in the certificate.
        Case(service: .fulcio, action: .wrongSCT, code: "sct-signature"),
        Case(service: .fulcio, action: .missingSCT, code: "no-certificate-timestamp"),
        Case(service: .fulcio, action: .wrongCertificate, code: "wrong-identity"),
        Case(service: .fulcio, action: .wrongKey, code: "unexpected-answer"),
        Case(service: .fulcio, action: .wrongChain, code: "certificate-path"),
        Case(service: .timestamp, action: .wrongImprint, code: "timestamp-mismatch"),
        Case(
            service: .timestamp, action: .wrongCertificate, code: "timestamp-authority",
            words: "local timestamp authority"),
        Case(
            service: .timestamp, action: .wrongTime(seconds: -18_000), code: "certificate-not-yet-valid",
            words: "timestamp"),
        Case(service: .rekorV1, action: .wrongEntry, code: "log-entry-mismatch"),
        Case(service: .rekorV1, action: .wrongPromise, code: "invalid-inclusion-promise", words: "promise"),
        Case(service: .rekorV1, action: .wrongProof, code: "invalid-inclusion-proof", words: "inclusion proof"),
        Case(service: .rekorV1, action: .wrongCheckpoint, code: "invalid-checkpoint", words: "checkpoint"),
        Case(service: .rekorV2, action: .wrongEntry, code: "log-entry-mismatch"),
        Case(service: .rekorV2, action: .wrongProof, code: "invalid-inclusion-proof", words: "inclusion proof"),
        Case(service: .rekorV2, action: .wrongCheckpoint, code: "invalid-checkpoint", words: "checkpoint"),
    ]

    @Test("No success, nothing written or pushed, and words about who and what to do", arguments: everywhere + lies)
    func fault(_ one: Case) async throws {
        let image = try place.push()
        let signing = ["--yes"] + place.services(one.service.kind)
        let environment = one.service == .issuer ? place.gitHubJob : [:]
        func token(_ identity: LocalIdentity) throws -> [String] {
            one.service == .issuer ? [] : try place.token(identity)
        }
        try place.directory.write("file", "signed while \(one)")
        try place.directory.write("predicate.json", #"{"while": "\#(one.service)"}"#)
        if one.action == .wrongEntry {
            // The other entry, which the log gives back.
            let before = await place.run(
                ["sign-blob", "--bundle", "before.json"] + signing + (try place.token()) + ["file"])
            #expect(before.succeeded, "\(before.messages)")
        }
        let recorded = place.recorded
        let server = one.service.server(place.services)
        server.faults.add(Fault(one.action, method: one.service == .issuer ? "GET" : "POST"))

        let signBlob =
            ["sign-blob", "--bundle", "bundle.json"] + signing + (try token(SigningFixture.alice)) + ["file"]
        let predicate = ["--predicate", "predicate.json", "--type", "https://local.test/predicate"]
        let attestBlob =
            ["attest-blob", "--bundle", "attestation.json"] + predicate + signing
            + (try token(SigningFixture.alice)) + ["file"]
        let sign = ["sign"] + signing + (try token(SigningFixture.alice)) + [image]
        let attest = ["attest"] + predicate + signing + (try token(SigningFixture.alice)) + [image]
        // What a service answers is taken in the same way by all commands; a lie must come out in each.
        let commands = one.isLie ? [signBlob, attestBlob, sign, attest] : [signBlob]
        for command in commands {
            let met = server.faults.met
            var outcome = Program.Outcome()
            // On a busy machine a short time may be over before the service is asked.
            for limit in one.action == .hang ? ["2s", "20s", "200s"] : [nil] where server.faults.met == met {
                let flags = limit.map { ["--timeout", $0] } ?? []
                outcome = await place.run(command + flags, environment: environment, takesTurns: one.isLie)
            }
            #expect(outcome.ending == .exit(1), "\(outcome.messages)")
            #expect(outcome.stdout.isEmpty)
            #expect(outcome.code == one.code, "\(outcome.messages)")
            let said = one.words ?? one.service.name(place.services)
            #expect(outcome.messages.contains(said), "\"\(said)\" is not said: \(outcome.messages)")
            let last = try #require(outcome.messages.split(separator: "\n").last)
            #expect(last.hasPrefix("       "), "what to do is not said: \(outcome.messages)")
            // On an idle machine it takes three at most.
            #expect(outcome.seconds < 220)
        }
        #expect(!place.directory.exists("bundle.json") && !place.directory.exists("attestation.json"))
        #expect(!place.hasPushed)

        guard one.service.isLog else { return #expect(place.recorded == 0 && place.unfinished.isEmpty) }
        // What a log may have taken is kept, and another run finishes it without a second entry.
        server.faults.removeAll()
        for command in commands {
            let again = await place.run(command, environment: environment)
            #expect(again.succeeded, "\(again.messages)")
        }
        #expect(place.recorded == recorded + commands.count)
        #expect(place.unfinished.isEmpty)
        let verified = await place.verify("file")
        #expect(verified.succeeded, "\(verified.messages)")
        guard one.isLie else { return }
        let trusting = place.trust + place.expecting(SigningFixture.alice)
        let type = ["--type", "https://local.test/predicate"]
        for command in [
            ["verify-blob-attestation", "--bundle", "attestation.json"] + type + trusting + ["file"],
            ["verify"] + trusting + [image], ["verify-attestation"] + type + trusting + [image],
        ] {
            let verified = await place.run(command)
            #expect(verified.succeeded, "\(command): \(verified.messages)")
        }
    }

    /// Faults that pass.
    static let passing: [(Service, Fault)] = Service.allCases.flatMap { service -> [(Service, Fault)] in
        [
            (service, Fault(.delay(seconds: 1))), (service, Fault(.status(429, retryAfter: 1), count: 1)),
            (service, Fault(.status(503, retryAfter: nil), count: 2)),
            // A log has the entry by then: it answers 409 to the second request.
            (service, Fault(.resetMidBody, count: 1)),
        ]
    }

    @Test("What passes is waited for, and no entry is made twice", arguments: passing)
    func waitedFor(_ service: Service, _ fault: Fault) async throws {
        try place.directory.write("file", "signed while \(fault) at \(service)")
        var fault = fault
        fault.method = service == .issuer ? "GET" : "POST"
        let server = service.server(place.services)
        server.faults.add(fault)
        let outcome = await place.run(
            ["sign-blob", "--yes", "--bundle", "bundle.json", "--timeout", "250s", "file"]
                + place.services(service.kind),
            environment: place.gitHubJob, takesTurns: false)
        #expect(outcome.succeeded, "\(outcome.messages)")
        #expect(server.requests.filter { $0.method == fault.method }.count >= (fault.count ?? 0) + 1)
        #expect(place.recorded == 1)
        #expect(place.unfinished.isEmpty)
        let verified = await place.verify("file", by: .gitHubWorkflow())
        #expect(verified.succeeded, "\(verified.messages)")
    }

    // MARK: - What a log has already

    @Test(
        "A signature that is in the log already is not recorded again",
        arguments: [LocalServices.SigningConfigKind.v1, .v2])
    func conflict(_ kind: LocalServices.SigningConfigKind) async throws {
        try place.directory.makeKey("key", .rsa2048)
        for name in ["file", "other"] { try place.directory.write(name, name) }
        func sign(_ file: String, _ bundle: String) async -> Program.Outcome {
            await place.run(
                ["sign-blob", "--yes", "--key", "key.pem", "--bundle", bundle] + place.services(kind) + [file])
        }
        for (file, bundle) in [("file", "1.json"), ("other", "other.json"), ("file", "2.json")] {
            let outcome = await sign(file, bundle)
            #expect(outcome.succeeded, "\(outcome.messages)")
        }
        #expect(place.recorded == 2)
        let verified = await place.run(
            ["verify-blob", "--key", "key.pub", "--bundle", "2.json"] + place.trust + ["file"])
        #expect(verified.succeeded, "\(verified.messages)")

        // Where the entry cannot be read back, the run fails, and makes no second one.
        let server = kind == .v1 ? place.services.rekorV1 : place.services.rekorV2
        for action in [Fault.Action.status(404, retryAfter: nil), .corruptBody] {
            server.faults.add(Fault(action, method: "GET"))
            let failed = await sign("file", "3.json")
            #expect(failed.ending == .exit(1), "\(failed.messages)")
            #expect(failed.messages.contains("transparency log \(server.address)"), "\(failed.messages)")
            #expect(["log-entry-exists", "log-entry-mismatch"].contains(failed.code), "\(failed.messages)")
            #expect(!place.directory.exists("3.json"))
            server.faults.removeAll()
        }
        #expect(place.recorded == 2)
    }

    @Test("A signature that cannot be written is kept, and finished by the same command")
    func cannotBeWritten() async throws {
        try place.directory.write("file", "not written at first")
        let arguments =
            ["sign-blob", "--yes", "--bundle", "absent/bundle.json"] + place.services(.v1) + (try place.token()) + [
                "file"
            ]
        // The directory goes while the log makes its entry.
        try place.directory.makeDirectory("absent")
        let faults = place.services.rekorV1.faults
        faults.add(Fault(.delay(seconds: 200), method: "POST"))
        async let failing = place.run(arguments)
        #expect(await Spawning.wait { faults.met > 0 })
        try FileManager.default.removeItem(atPath: place.directory["absent"])
        faults.removeAll()
        let failed = await failing
        #expect(failed.ending == .exit(1))
        #expect(failed.messages.contains("already recorded in \(place.services.rekorV1.url)"), "\(failed.messages)")
        #expect(failed.messages.contains("run the same command again"), "\(failed.messages)")
        #expect(place.unfinished.count == 1)
        try place.directory.makeDirectory("absent")
        let again = await place.run(arguments)
        #expect(again.succeeded, "\(again.messages)")
        #expect(place.recorded == 1 && place.certificates == 1)
        #expect(place.unfinished.isEmpty)
        let verified = await place.verify("file", "absent/bundle.json")
        #expect(verified.succeeded, "\(verified.messages)")
    }

    @Test("An attestation with a time in it is finished by the same command too, and recorded once")
    func customAttestation() async throws {
        try place.directory.write("file", "what is attested")
        try place.directory.write("predicate", "a text")
        let arguments =
            ["attest-blob", "--yes", "--bundle", "bundle.json", "--predicate", "predicate"] + place.services(.v2)
            + (try place.token()) + ["file"]
        place.services.rekorV2.faults.add(Fault(.corruptBody, method: "POST"))
        #expect(await place.run(arguments).ending == .exit(1))
        #expect(place.unfinished.count == 1)
        place.services.rekorV2.faults.removeAll()
        // Another second, and so another time in the predicate.
        let second = time(nil)
        #expect(await Spawning.wait { time(nil) != second })
        await place.run(arguments).expectSuccess()
        #expect(place.recorded == 1 && place.unfinished.isEmpty)
    }

    @Test(
        "Stopped while a log makes its entry, a signature is finished by the same command",
        arguments: [SIGTERM, SIGKILL])
    func stopped(_ signal: Int32) async throws {
        try place.directory.write("file", "what is signed")
        let arguments =
            ["sign-blob", "--yes", "--bundle", "bundle.json"] + place.services(.v1) + (try place.token()) + ["file"]
        let faults = place.services.rekorV1.faults
        faults.add(Fault(.delay(seconds: 200), method: "POST"))
        let stopped = await place.run(arguments, input: .stopped(by: signal) { faults.met > 0 })
        #expect(!stopped.succeeded && stopped.ending != .timeOut && !place.directory.exists("bundle.json"))
        #expect(stopped.messages.contains("[interrupted]") == (signal == SIGTERM), "\(stopped.messages)")
        #expect(place.unfinished.count == 1)
        // The log makes its entry all the same.
        faults.removeAll()
        #expect(await Spawning.wait { place.recorded > 0 })
        await place.run(arguments).expectSuccess()
        #expect(place.recorded == 1 && place.certificates == 1 && place.unfinished.isEmpty)
    }

    @Test("Two files with one content in one call have a signature each, however slow the log")
    func oneContent() async throws {
        for file in ["one", "two"] { try place.directory.write(file, "what is signed") }
        place.services.rekorV1.faults.add(Fault(.delay(seconds: 1), method: "POST"))
        let arguments = ["sign-blob", "--yes"] + place.services(.v1) + (try place.token()) + ["one", "two"]
        await place.run(arguments).expectSuccess()
        #expect(place.recorded == 2 && place.unfinished.isEmpty)
        let bundles = try ["one", "two"].map { try place.directory.read("\($0).sigstore.json") }
        #expect(bundles[0] != bundles[1])
    }

    @Test("What cannot be written is kept, whatever the digest that the key signs over")
    func notWritten() async throws {
        try place.directory.write("file", "what is signed")
        for (algorithm, entries) in [(SigningAlgorithm.ecdsaP256, 1), (.ecdsaP384, 2)] {
            try place.directory.makeKey("key", algorithm)
            let sign = ["sign-blob", "--yes", "--key", "key.pem"] + place.services(.v1)
            let refused = await place.run(sign + ["--bundle", "/dev/full", "file"])
            #expect(refused.ending == .exit(1) && place.unfinished.count == 1, "\(refused.messages)")
            await place.run(sign + ["--bundle", "bundle.json", "file"]).expectSuccess()
            #expect(place.recorded == entries && place.unfinished.isEmpty)
        }
    }

    @Test("What was never sent is not said to be recorded, and is not kept")
    func notSent() async throws {
        try place.directory.write("file", "what is signed")
        let outcome = await place.run(
            ["sign-blob", "--yes", "--bundle", "bundle.json", "--rekor-url", "http://127.0.0.1:1"] + place.services(.v2)
                + (try place.token()) + ["file"])
        #expect(outcome.code == "unreachable", "\(outcome.messages)")
        #expect(outcome.messages.contains("transparency log 127.0.0.1:1"), "\(outcome.messages)")
        #expect(!outcome.messages.contains("recorded the signature") && place.unfinished.isEmpty, "\(outcome.messages)")
    }

    // MARK: - Certificates that end

    /// Signs a file with a certificate that has ended by now, and does not reach the log with it, or misses its answer.
    private func signTooLate(
        _ arguments: [String], _ log: LoopbackServer, _ fault: Fault.Action = .status(503, retryAfter: 0),
        recorded: Int = 0
    ) async throws {
        // Everybody's clock is eleven minutes behind.
        for server in [place.services.fulcio, place.services.timestampAuthority] {
            server.faults.add(Fault(.wrongTime(seconds: -660), method: "POST"))
        }
        log.faults.add(Fault(fault, method: "POST"))
        let failed = await place.run(arguments)
        #expect(failed.ending == .exit(1), "\(failed.messages)")
        #expect(place.unfinished.count == 1 && place.recorded == recorded && place.certificates == 1)
        for server in [place.services.fulcio, place.services.timestampAuthority, log] { server.faults.removeAll() }
    }

    @Test(
        "What is left unfinished for longer than its certificate lives is signed anew for Rekor v1, timestamp or not",
        arguments: [true, false], ["sign-blob", "attest-blob"])
    func certificateEnded(isTimestamped: Bool, command: String) async throws {
        try place.directory.write("file", "what is signed")
        try place.directory.write("predicate", "a text")
        let services =
            isTimestamped
            ? place.services(.v1)
            : place.trust + ["--fulcio-url", place.services.fulcio.url, "--rekor-url", place.services.rekorV1.url]
        let what = command == "attest-blob" ? ["--predicate", "predicate"] : []
        let arguments =
            [command, "--yes", "--bundle", "bundle.json"] + what + services + (try place.token()) + ["file"]
        try await signTooLate(arguments, place.services.rekorV1)
        let again = await place.run(arguments)
        again.expectSuccess()
        #expect(again.messages.contains("it is signed anew"), "\(again.messages)")
        #expect(place.recorded == 1 && place.certificates == 2 && place.unfinished.isEmpty)
        let verified = await place.run(
            [command == "sign-blob" ? "verify-blob" : "verify-blob-attestation", "--bundle", "bundle.json"]
                + place.trust
                + place.expecting(SigningFixture.alice) + ["file"])
        verified.expectSuccess()
        // Nothing is left of it.
        let next = await place.run(arguments)
        next.expectSuccess()
        #expect(!next.messages.contains("anew") && place.recorded == 2)
    }

    @Test("What the log recorded in time, and did not say, is finished later and not recorded again")
    func certificateEndedAfterTheLog() async throws {
        try place.directory.write("file", "what is signed")
        let arguments =
            ["sign-blob", "--yes", "--bundle", "bundle.json"] + place.services(.v1) + (try place.token()) + ["file"]
        let log = place.services.rekorV1
        try await signTooLate(arguments, log, .corruptBody, recorded: 1)
        // The log recorded it eleven minutes ago.
        log.faults.add(Fault(.wrongTime(seconds: -660)))
        let again = await place.run(arguments)
        again.expectSuccess()
        #expect(!again.messages.contains("anew"), "\(again.messages)")
        #expect(place.recorded == 1 && place.certificates == 1 && place.unfinished.isEmpty)
        let verified = await place.verify("file")
        verified.expectSuccess()
    }

    @Test("For Rekor v2, a timestamp from within the certificate's time lets the old signature go on")
    func certificateEndedWithTimestamp() async throws {
        try place.directory.write("file", "what is signed")
        let arguments =
            ["sign-blob", "--yes", "--bundle", "bundle.json"] + place.services(.v2) + (try place.token()) + ["file"]
        try await signTooLate(arguments, place.services.rekorV2)
        let again = await place.run(arguments)
        again.expectSuccess()
        #expect(!again.messages.contains("anew"), "\(again.messages)")
        #expect(place.recorded == 1 && place.certificates == 1 && place.unfinished.isEmpty)
        let verified = await place.verify("file")
        verified.expectSuccess()
    }

    // MARK: - What a log does not take

    @Test(
        "Attestations with P-384 and P-521 keys are signed over SHA-256 for Rekor v1, and over the curve's own for v2",
        arguments: [SigningAlgorithm.ecdsaP384, .ecdsaP521], [LocalServices.SigningConfigKind.v1, .v2])
    func largerCurves(_ algorithm: SigningAlgorithm, _ kind: LocalServices.SigningConfigKind) async throws {
        let key = try place.directory.makeKey("key", algorithm)
        let image = try place.push()
        try place.directory.write("file", "what is signed")
        try place.directory.write("predicate", #"{"buildType":"test"}"#)
        let signing = ["--yes", "--key", "key.pem"] + place.services(kind)
        let type = ["--type", "slsaprovenance"]
        let predicate = type + ["--predicate", "predicate"]
        for command in [
            ["attest-blob"] + signing + predicate + ["--bundle", "attest-blob.json", "file"],
            ["sign"] + signing + ["--bundle", "sign.json", image],
            ["attest"] + signing + predicate + ["--bundle", "attest.json", image],
        ] { await place.run(command).expectSuccess() }
        #expect(place.recorded == 3)
        for name in ["attest-blob", "sign", "attest"] {
            let bundle = try SigstoreBundle(parsing: place.directory.read("\(name).json"))
            guard case .dsse(let envelope) = bundle.content else { throw SigstoreError(.malformedBundle, name) }
            let scheme = kind == .v1 ? SignatureScheme.ecdsa(.sha256) : algorithm.scheme
            #expect(
                try key.publicKey.verifies(
                    bundle.signature(), ofBytes: envelope.preAuthenticationEncoding, scheme: scheme))
        }
        if kind == .v1 {
            let older = await place.run(
                ["sign-blob", "--new-bundle-format=false", "--bundle", "older.json"] + signing + ["file"])
            #expect(older.code == "log-entry-refused", "\(older.messages)")
            #expect(older.messages.contains("make a bundle, or use a P-256 key"), "\(older.messages)")
            #expect(place.recorded == 3 && !place.directory.exists("older.json"))
        }
        let verifying = ["--key", "key.pub"] + place.trust
        for command in [
            ["verify-blob-attestation"] + verifying + type + ["--bundle", "attest-blob.json", "file"],
            ["verify"] + verifying + [image], ["verify-attestation"] + verifying + type + [image],
        ] { await place.run(command).expectSuccess() }
    }

    @Test("The older form has no place for Rekor v2: another log is taken, or nothing is signed")
    func olderForm() async throws {
        try place.directory.write("file", "what is signed")
        func sign(_ kind: LocalServices.SigningConfigKind) async throws -> Program.Outcome {
            await place.run(
                ["sign-blob", "--yes", "--bundle", "older.json", "--new-bundle-format=false"]
                    + place.services(kind) + (try place.token()) + ["file"])
        }
        let refused = try await sign(.v2)
        #expect(refused.ending == .exit(1) && refused.code == "usage", "\(refused.messages)")
        #expect(place.recorded == 0 && place.certificates == 0)
        try await sign(.both).expectSuccess()
        #expect(place.recorded == 1)
    }

    @Test("A signature that cannot be pushed is kept, and finished by the same command", arguments: ["sign", "attest"])
    func cannotBePushed(_ command: String) async throws {
        let image = try place.push()
        try place.directory.write("predicate", #"{"buildType":"test"}"#)
        let what = command == "attest" ? ["--type", "slsaprovenance", "--predicate", "predicate"] : []
        let arguments = [command, "--yes"] + place.services(.v2) + (try place.token()) + what + [image]
        place.services.registry.faults.add(Fault(.status(403, retryAfter: nil), method: "PUT"))
        let failed = await place.run(arguments)
        #expect(failed.ending == .exit(1))
        #expect(failed.messages.contains("already recorded in \(place.services.rekorV2.url)"), "\(failed.messages)")
        #expect(failed.messages.contains(place.services.registry.address), "\(failed.messages)")
        #expect(place.unfinished.count == 1)
        place.services.registry.faults.removeAll()
        let again = await place.run(arguments)
        #expect(again.succeeded, "\(again.messages)")
        #expect(place.recorded == 1 && place.certificates == 1)
        #expect(place.unfinished.isEmpty)
    }

    @Test(
        "An entry that may be too large for the log: its size is named, and what to do",
        arguments: [
            Fault.Action.answer(413, contentType: "text/html", body: Array("<html>".utf8)),
            .answer(
                400, contentType: "application/json", body: Array(#"{"message":"http: request body too large"}"#.utf8)),
            .status(502, retryAfter: nil), .reset,
        ])
    func largeEntry(action: Fault.Action) async throws {
        try place.directory.makeKey()
        try place.directory.write("file", "content")
        for (size, isNamed) in [(1_000_000, true), (1000, false)] {
            try place.directory.write("predicate.json", "{\"x\":\"\(String(repeating: "a", count: size))\"}")
            place.services.rekorV1.faults.add(Fault(action, method: "POST"))
            let outcome = await place.run(
                ["attest-blob", "--yes", "--key", "key.pem", "--predicate", "predicate.json", "--bundle", "out.json"]
                    + place.services(.v1) + ["file"])
            place.services.rekorV1.faults.removeAll()
            #expect(outcome.ending == .exit(1), "\(outcome.messages)")
            #expect(outcome.messages.contains("the entry that was sent has ") == isNamed, "\(outcome.messages)")
            #expect(outcome.messages.contains("attest something smaller") == isNamed, "\(outcome.messages)")
            #expect(!place.directory.exists("out.json"))
        }
    }
}
