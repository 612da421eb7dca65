import Foundation
import HTTPTransport
import LocalSigstore
import LocalSystem
import SigstoreClients
import SigstoreCrypto
import SigstoreVerification
import StrictJSON
import SwSignCore
import TestServices
import Testing

@Suite("Signing with services", .localSigstore, .serialized)
struct SigningSessionTests {
    static let identities: [LocalIdentity] = [
        .email("alice+ci@local.test"), .gitHubWorkflow(), .uri("/users/1"),
        .federated(email: "bob@local.test", connector: "https://accounts.example.test"),
    ]

    @Test(
        "Files and attestations × services × identities", arguments: LocalServices.SigningConfigKind.allCases,
        identities)
    func matrix(_ kind: LocalServices.SigningConfigKind, _ identity: LocalIdentity) async throws {
        let shop = try Workshop()
        let services = try shop.clients(kind)
        guard kind != .none else {
            // Without log and timestamps nothing would prove when the certificate was used.
            #expect(await failure { _ = try shop.session(identity, services) }?.code == .noTime)
            return
        }
        let session = try shop.session(identity, services)
        let artifact = ArtifactBytes(Array("a file for \(kind) \(identity)".utf8))
        let bundle = try await session.sign(artifact)
        let logs = kind == .timestamp ? 0 : 1
        #expect(bundle.logEntries.count == logs)
        #expect(bundle.logEntries.allSatisfy { $0.kindVersion == (kind == .v1 ? "0.0.1" : "0.0.2") })
        #expect(bundle.timestamps.count == 1)
        let verified = try shop.verify(bundle, by: identity, .message(artifact), logs: logs)
        #expect(!verified.times.isEmpty)

        let attested = try await session.attest(statement("\(kind) \(identity)"))
        _ = try shop.verify(attested, by: identity, .attestation(subject: nil, predicateType: nil), logs: logs)
        #expect(attested.logEntries.first?.kind == (kind == .v1 ? "dsse" : kind == .timestamp ? nil : "hashedrekord"))
        // One certificate served both.
        #expect(shop.http.requests.filter { $0.contains("signingCert") }.count == 1)
    }

    @Test(
        "Keys with a log", arguments: [SigningAlgorithm.ecdsaP256, .ecdsaP384, .ecdsaP521, .ed25519, .rsa2048], [1, 2])
    func keys(_ algorithm: SigningAlgorithm, _ version: Int64) async throws {
        let shop = try Workshop()
        let key = try PrivateKey.generate(algorithm)
        let log = try shop.rekor(try #require(RekorClient.Version(rawValue: version)))
        let session = try SigningSession(
            signatory: .key(key, algorithm: nil), services: SigningSession.Services(transparencyLogs: [log]),
            trustedRoot: shop.trustedRoot)
        let artifact = ArtifactBytes(Array("\(algorithm) \(version)".utf8))
        let policy = VerificationPolicy(signedBy: .key(key.publicKey))
        let bundle = try await session.sign(artifact)
        let verifier = Verifier(trustedRoot: shop.trustedRoot, now: SystemClock.now)
        _ = try verifier.verify(bundle, .message(artifact), policy)
        let attested = try await session.attest(statement("\(algorithm) \(version)"))
        _ = try verifier.verify(attested, .attestation(subject: nil, predicateType: nil), policy)
        #expect(session.isLogged)
        #expect(bundle.timestamps.isEmpty)
    }

    @Test("The same thing signed twice by a deterministic key is one log entry", arguments: [1, 2])
    func twice(_ version: Int64) async throws {
        let shop = try Workshop()
        let key = try PrivateKey.generate(.rsa2048)
        let log = try shop.rekor(try #require(RekorClient.Version(rawValue: version)))
        let artifact = ArtifactBytes(Array("the same \(version)".utf8))
        func sign() async throws -> SigstoreBundle {
            try await SigningSession(
                signatory: .key(key, algorithm: nil), services: SigningSession.Services(transparencyLogs: [log]),
                trustedRoot: shop.trustedRoot
            ).sign(artifact)
        }
        let first = try await sign()
        // Others come between, so that the proof is of another tree.
        for number in 0..<3 {
            _ = try await SigningSession(
                signatory: .key(key, algorithm: nil), services: SigningSession.Services(transparencyLogs: [log]),
                trustedRoot: shop.trustedRoot
            ).sign(ArtifactBytes(Array("another \(version) \(number)".utf8)))
        }
        let second = try await sign()
        #expect(first.logEntries.first?.logIndex == second.logEntries.first?.logIndex)
        #expect(first.logEntries.first?.body == second.logEntries.first?.body)
        #expect(second.logEntries.first?.proof != nil)
    }

    @Test("A log of several tiles gives back what it has")
    func tiles() async throws {
        let shop = try Workshop()
        let key = try PrivateKey.generate(.rsa2048)
        let log = try shop.rekor(.v2)
        func entry(_ text: String) throws -> ProposedLogEntry {
            let digest = try Digest.sha256(Array(text.utf8))
            return ProposedLogEntry(
                content: .message(digest),
                signature: try key.sign(HashedMessage(digest: digest), scheme: .rsaPKCS1(.sha256)),
                scheme: .rsaPKCS1(.sha256), key: key.publicKey, certificate: nil)
        }
        var recorded: [Int: Int64] = [:]
        for number in 0..<530 { recorded[number] = try await log.record(entry("tile \(number)")).logIndex }
        for number in [0, 1, 254, 255, 256, 400, 511, 512, 529] {
            let again = try await log.record(entry("tile \(number)"), trusted: shop.trustedRoot.transparencyLogs)
            #expect(again.logIndex == recorded[number])
            let proof = try #require(again.proof)
            let root = try MerkleTree.root(
                leafHash: try MerkleTree.leafHash(again.body), index: proof.logIndex, size: proof.treeSize,
                path: proof.hashes)
            #expect(root == proof.rootHash)
        }
        // Without a log that is trusted, nothing is taken from the tiles.
        let error = await failure { _ = try await log.record(entry("tile 7")) }
        #expect(error?.code == .entryExists)
        #expect(error?.message.contains("index") == true)
    }

    @Test("Many tasks at once share one certificate")
    func sharing() async throws {
        let shop = try Workshop()
        let session = try shop.session(.email("many@local.test"), try shop.clients(.v1))
        let bundles = try await withThrowingTaskGroup(of: SigstoreBundle.self) { group in
            for number in 0..<12 {
                group.addTask { try await session.sign(ArtifactBytes(Array("file \(number)".utf8))) }
            }
            return try await group.reduce(into: []) { $0.append($1) }
        }
        #expect(bundles.count == 12)
        #expect(shop.http.requests.filter { $0.contains("signingCert") }.count == 1)
    }

    @Test("Both logs, where both are named")
    func bothLogs() async throws {
        let shop = try Workshop()
        var services = try shop.clients(.v2)
        services.transparencyLogs.append(try shop.rekor(.v1))
        let identity = LocalIdentity.email("alice@local.test")
        let artifact = ArtifactBytes(Array("two logs".utf8))
        let bundle = try await shop.session(identity, services).sign(artifact)
        #expect(bundle.logEntries.map(\.kindVersion) == ["0.0.2", "0.0.1"])
        _ = try shop.verify(bundle, by: identity, .message(artifact), logs: 2)
    }

    @Test("What a log would refuse is not made, and no log is asked")
    func refusedBefore() async throws {
        let shop = try Workshop()
        for (kind, algorithm, logs) in [
            (SigningAlgorithm.ed25519, SigningAlgorithm.ed25519ph, [RekorClient.Version.v1]),
            // What v1 checks over SHA-256, v2 takes over the curve's own hash only.
            (.ecdsaP384, nil, [.v1, .v2]),
        ] as [(SigningAlgorithm, SigningAlgorithm?, [RekorClient.Version])] {
            let session = try SigningSession(
                signatory: .key(try PrivateKey.generate(kind), algorithm: algorithm),
                services: SigningSession.Services(transparencyLogs: try logs.map { try shop.rekor($0) }),
                trustedRoot: shop.trustedRoot)
            let error = await failure { _ = try await session.attest(statement("refused")) }
            #expect(error?.code == .entryRefused, "\(String(describing: error))")
            #expect(error?.message.hasPrefix("transparency log 127.0.0.1:") == true)
        }
        #expect(shop.http.requests.isEmpty)
    }

    @Test("A key without services signs by itself")
    func keyAlone() async throws {
        let key = try PrivateKey.generate(.ed25519)
        let session = try SigningSession(signatory: .key(key, algorithm: nil))
        let artifact = ArtifactBytes([1, 2, 3])
        let bundle = try await session.sign(artifact)
        _ = try Verifier(trustedRoot: nil, now: SystemClock.now).verify(
            bundle, .message(artifact),
            VerificationPolicy(signedBy: .key(key.publicKey), transparencyLog: .insecurelyIgnored))
        #expect(try await session.publication(ofAttestations: true).isEmpty)
        #expect(
            await failure {
                _ = try SigningSession(signatory: .key(key, algorithm: .ecdsaP256))
            }?.code == .unsupportedKey)
    }

    @Test("What will be public is said before")
    func publication() async throws {
        let shop = try Workshop()
        let session = try shop.session(.email("alice@local.test"), try shop.clients(.v1))
        let lines = try await session.publication(ofAttestations: true)
        #expect(lines.count == 3)
        #expect(lines[0].contains("alice@local.test") && lines[0].contains(shop.services.issuer.url))
        #expect(lines[1].contains("whole") && lines[1].contains(shop.services.rekorV1.url))
        #expect(try await session.publication(ofAttestations: false)[1].contains("digest"))
        // Nobody was told yet.
        #expect(shop.http.requests.isEmpty)
    }

    // MARK: - Services that fail or lie

    /// A fault, where it is, what it comes to, and whom the message names.
    struct Case: Sendable, CustomTestStringConvertible {
        let name: String
        let service: @Sendable (LocalServices) -> LoopbackServer
        let action: Fault.Action
        let codes: Set<SigstoreError.Code>
        let words: String
        var kind = LocalServices.SigningConfigKind.v1
        var testDescription: String { name }
    }

    static let faults: [Case] = [
        Case(
            name: "Fulcio 503", service: \.fulcio, action: .status(503, retryAfter: nil), codes: [.httpStatus],
            words: "Fulcio"),
        Case(
            name: "Fulcio 429", service: \.fulcio, action: .status(429, retryAfter: nil), codes: [.httpStatus],
            words: "Fulcio"),
        Case(name: "Fulcio hangs", service: \.fulcio, action: .hang, codes: [.timedOut], words: "Fulcio"),
        Case(name: "Fulcio resets", service: \.fulcio, action: .reset, codes: [.unreachable], words: "Fulcio"),
        Case(
            name: "Fulcio garbage", service: \.fulcio,
            action: .answer(200, contentType: "application/json", body: Array("{}".utf8)), codes: [.unexpectedAnswer],
            words: "Fulcio"),
        Case(
            name: "wrong SCT", service: \.fulcio, action: .wrongSCT, codes: [.sctSignature, .noCertificateTimestamp],
            words: "Fulcio"),
        Case(
            name: "missing SCT", service: \.fulcio, action: .missingSCT, codes: [.noCertificateTimestamp],
            words: "Fulcio"),
        Case(
            name: "wrong identity", service: \.fulcio, action: .wrongCertificate, codes: [.wrongIdentity],
            words: "Fulcio"),
        Case(name: "wrong key", service: \.fulcio, action: .wrongKey, codes: [.unexpectedAnswer], words: "Fulcio"),
        Case(
            name: "TSA 500", service: \.timestampAuthority, action: .status(500, retryAfter: nil), codes: [.httpStatus],
            words: "timestamp authority"),
        Case(
            name: "TSA hangs", service: \.timestampAuthority, action: .hang, codes: [.timedOut],
            words: "timestamp authority"),
        Case(
            name: "TSA 400", service: \.timestampAuthority, action: .status(400, retryAfter: nil),
            codes: [.timestampRefused], words: "timestamp authority"),
        Case(
            name: "TSA other digest", service: \.timestampAuthority, action: .wrongImprint, codes: [.timestampMismatch],
            words: "timestamp authority"),
        Case(
            name: "TSA other signer", service: \.timestampAuthority, action: .wrongCertificate,
            codes: [.timestampAuthority, .timestampSignature], words: "does not verify"),
        Case(
            name: "TSA other time", service: \.timestampAuthority, action: .wrongTime(seconds: -3600 * 5),
            codes: [
                .certificateNotYetValid, .timestampAuthorityNotValid, .noTimestamp, .timestampAuthority,
                .certificatePath,
            ],
            words: "nothing was recorded in a log"),
        Case(
            name: "TSA endless", service: \.timestampAuthority, action: .endlessBody, codes: [.tooLarge, .timedOut],
            words: "timestamp authority"),
        Case(
            name: "Rekor 500", service: \.rekorV1, action: .status(500, retryAfter: nil), codes: [.httpStatus],
            words: "transparency log"),
        Case(name: "Rekor hangs", service: \.rekorV1, action: .hang, codes: [.timedOut], words: "transparency log"),
        Case(
            name: "Rekor 400", service: \.rekorV1, action: .status(400, retryAfter: nil), codes: [.entryRefused],
            words: "transparency log"),
        Case(
            name: "Rekor other entry", service: \.rekorV1, action: .wrongEntry, codes: [.logEntryMismatch],
            words: "transparency log"),
        Case(
            name: "Rekor promise", service: \.rekorV1, action: .wrongPromise, codes: [.invalidPromise],
            words: "does not verify"),
        Case(
            name: "Rekor proof", service: \.rekorV1, action: .wrongProof, codes: [.invalidInclusionProof],
            words: "does not verify"),
        Case(
            name: "Rekor checkpoint", service: \.rekorV1, action: .wrongCheckpoint, codes: [.invalidCheckpoint],
            words: "does not verify"),
        Case(
            name: "Rekor redirects", service: \.rekorV1, action: .redirect("http://localhost:9/x"),
            codes: [.redirectRefused], words: "transparency log"),
        Case(
            name: "Rekor v2 500", service: \.rekorV2, action: .status(500, retryAfter: nil), codes: [.httpStatus],
            words: "transparency log", kind: .v2),
        Case(
            name: "Rekor v2 proof", service: \.rekorV2, action: .wrongProof, codes: [.invalidInclusionProof],
            words: "does not verify", kind: .v2),
        Case(
            name: "Rekor v2 checkpoint", service: \.rekorV2, action: .wrongCheckpoint, codes: [.invalidCheckpoint],
            words: "does not verify", kind: .v2),
        Case(
            name: "Rekor v2 other entry", service: \.rekorV2, action: .wrongEntry, codes: [.logEntryMismatch],
            words: "transparency log", kind: .v2),
    ]

    @Test("Each fault is an error that names the service", arguments: faults)
    func fault(_ one: Case) async throws {
        let shop = try Workshop()
        let server = one.service(shop.services)
        let isLog = [shop.services.rekorV1.url, shop.services.rekorV2.url].contains(server.url)
        // An entry that is not ours must be there to be given back.
        let identity = LocalIdentity.email("alice@local.test")
        _ = try await shop.session(identity, try shop.clients(one.kind)).sign(
            ArtifactBytes(Array("before \(one.name)".utf8)))
        server.faults.add(Fault(one.action, method: "POST"))
        defer { server.faults.removeAll() }
        // Only the service that hangs has little time: the others must not be too slow on a busy machine.
        func limit(_ isAtFault: Bool) -> Duration {
            isAtFault && one.action == .hang ? .milliseconds(700) : .seconds(300)
        }
        let services = try shop.clients(
            one.kind, authorityTimeout: limit(server.url == shop.services.timestampAuthority.url),
            logTimeout: limit(isLog))
        let session = try SigningSession(
            signatory: try shop.signatory(identity, timeout: limit(server.url == shop.services.fulcio.url)),
            services: services, trustedRoot: shop.trustedRoot)
        let before = shop.recordings
        let error = await failure { _ = try await session.sign(ArtifactBytes(Array("during \(one.name)".utf8))) }
        let found = try #require(error)
        #expect(one.codes.contains(found.code), "\(found)")
        #expect(found.message.contains(one.words), "\(found)")
        // What failed before the log never reached it.
        if !isLog { #expect(shop.recordings == before) }
    }

    @Test("A fault that passes is got over", arguments: [1, 2])
    func transient(_ version: Int64) async throws {
        let shop = try Workshop()
        let kind: LocalServices.SigningConfigKind = version == 1 ? .v1 : .v2
        let servers = [
            shop.services.fulcio, shop.services.timestampAuthority,
            version == 1 ? shop.services.rekorV1 : shop.services.rekorV2,
        ]
        for server in servers { server.faults.add(Fault(.status(503, retryAfter: 0), method: "POST", count: 1)) }
        defer { for server in servers { server.faults.removeAll() } }
        let identity = LocalIdentity.email("alice@local.test")
        let artifact = ArtifactBytes(Array("transient \(version)".utf8))
        let bundle = try await shop.session(identity, try shop.clients(kind)).sign(artifact)
        _ = try shop.verify(bundle, by: identity, .message(artifact), logs: 1)
    }

    @Test("An answer that is lost on the way does not make a second entry", arguments: [1, 2])
    func lostAnswer(_ version: Int64) async throws {
        let shop = try Workshop()
        let server = version == 1 ? shop.services.rekorV1 : shop.services.rekorV2
        server.faults.add(Fault(.resetMidBody, method: "POST", count: 1))
        defer { server.faults.removeAll() }
        let identity = LocalIdentity.email("alice@local.test")
        let artifact = ArtifactBytes(Array("lost answer \(version)".utf8))
        let bundle = try await shop.session(identity, try shop.clients(version == 1 ? .v1 : .v2)).sign(artifact)
        _ = try shop.verify(bundle, by: identity, .message(artifact), logs: 1)
        #expect(bundle.logEntries.count == 1)
    }

    // MARK: - What was left unfinished

    private func directory() -> UnfinishedSignatures {
        UnfinishedSignatures(
            directory: FileManager.default.temporaryDirectory.appendingPathComponent("u-\(UUID().uuidString)/below")
                .path)
    }

    private func files(_ unfinished: UnfinishedSignatures) -> [String] {
        (try? FileManager.default.contentsOfDirectory(atPath: unfinished.directory)) ?? []
    }

    @Test("A second run finishes what the first one recorded", arguments: [false, true])
    func resume(_ attestation: Bool) async throws {
        let shop = try Workshop()
        let unfinished = directory()
        let identity = LocalIdentity.email("alice@local.test")
        var services = try shop.clients(.v2)
        services.transparencyLogs.append(try shop.rekor(.v1))
        let content = Array("unfinished \(attestation)".utf8)
        func sign() async throws -> SigstoreBundle {
            let session = try shop.session(identity, services, unfinished: unfinished)
            return attestation
                ? try await session.attest(statement("unfinished")) : try await session.sign(ArtifactBytes(content))
        }
        // The second log of two fails.
        shop.services.rekorV1.faults.add(Fault(.status(500, retryAfter: nil), method: "POST"))
        let error = try #require(await failure { _ = try await sign() })
        shop.services.rekorV1.faults.removeAll()
        #expect(error.code == .httpStatus)
        #expect(error.message.contains("already recorded in \(shop.services.rekorV2.url)"), "\(error)")
        #expect(error.advice?.description.contains("again") == true)
        #expect(files(unfinished).count == 1)
        let requests = shop.http.requests
        let finished = try await sign()
        let more = shop.http.requests.dropFirst(requests.count)
        // Neither a new certificate, nor a new timestamp, nor a second entry in the first log.
        #expect(Array(more) == ["POST /api/v1/log/entries"])
        #expect(files(unfinished).isEmpty)
        _ = try shop.verify(
            finished, by: identity,
            attestation ? .attestation(subject: nil, predicateType: nil) : .message(ArtifactBytes(content)), logs: 2)
        // The next time is a new signature.
        let next = try await sign()
        #expect(try next.signature() != finished.signature())
    }

    @Test(
        "A log that lied once is asked again for the entry that it has",
        arguments: [Fault.Action.wrongProof, .wrongCheckpoint])
    func askedAgain(_ lie: Fault.Action) async throws {
        for (kind, server) in [(.v1, \.rekorV1), (.v2, \.rekorV2)]
            as [(LocalServices.SigningConfigKind, KeyPath<LocalServices, LoopbackServer>)]
        {
            let shop = try Workshop()
            let unfinished = directory()
            let identity = LocalIdentity.email("alice@local.test")
            let artifact = ArtifactBytes(Array("lied about \(kind) \(lie)".utf8))
            let session = try shop.session(identity, try shop.clients(kind), unfinished: unfinished)
            let log = shop.services[keyPath: server]
            log.faults.add(Fault(lie, method: "POST"))
            let error = await failure { _ = try await session.sign(artifact) }
            log.faults.removeAll()
            #expect(error?.message.contains("already recorded in \(log.url)/ as entry") == true)
            let index = error?.message.split(separator: "as entry ").last.flatMap { Int64($0.prefix { $0.isNumber }) }
            let bundle = try await session.sign(artifact)
            #expect(bundle.logEntries.first?.logIndex == index)
            _ = try shop.verify(bundle, by: identity, .message(artifact), logs: 1)
        }
    }

    @Test("What could not be delivered is delivered by the next run")
    func delivery() async throws {
        let shop = try Workshop()
        let unfinished = directory()
        let artifact = ArtifactBytes(Array("not delivered".utf8))
        let session = try shop.session(.email("alice@local.test"), try shop.clients(.v1), unfinished: unfinished)
        let bundle = try await session.sign(artifact)
        let error = await failure {
            try await session.deliver(bundle) { _ throws(SigstoreError) in
                throw SigstoreError(.fileUnreadable, "the registry is away")
            }
        }
        #expect(error?.message.hasPrefix("the registry is away; the signature is already recorded in") == true)
        let recordings = shop.recordings
        let again = try await session.sign(artifact)
        #expect(try again.signature() == bundle.signature())
        #expect(shop.recordings == recordings)
        #expect(files(unfinished).isEmpty)
        try await session.deliver(again) { _ in }
        #expect(files(unfinished).isEmpty)
    }

    @Test("While it is delivered it is kept, for the case that the run is stopped; other services do not finish it")
    func deliveryIsStopped() async throws {
        let shop = try Workshop()
        let unfinished = directory()
        let artifact = ArtifactBytes(Array("stopped".utf8))
        let session = try shop.session(.email("alice@local.test"), try shop.clients(.v1), unfinished: unfinished)
        let bundle = try await session.sign(artifact)
        var kept: [String] = []
        try await session.deliver(bundle) { _ throws(SigstoreError) in
            kept = files(unfinished)
            // What a run that is stopped here leaves, and whose number no process has any more.
            for name in kept {
                let stopped = name.prefix { $0 != "." } + ".json.4194305.1"
                try? FileManager.default.copyItem(
                    atPath: "\(unfinished.directory)/\(name)", toPath: "\(unfinished.directory)/\(stopped)")
            }
        }
        #expect(kept.count == 1 && files(unfinished).count == 1)
        let other = try await shop.session(.email("alice@local.test"), try shop.clients(.v2), unfinished: unfinished)
            .sign(artifact)
        #expect(try other.signature() != bundle.signature())
        let recordings = shop.recordings
        let again = try await session.sign(artifact)
        #expect(try again.signature() == bundle.signature())
        #expect(shop.recordings == recordings)
        #expect(files(unfinished).isEmpty)
    }

    @Test("What another instance has under way is not finished; what an earlier run with the same number left is")
    func othersAtWork() async throws {
        let shop = try Workshop()
        let (unfinished, artifact) = (directory(), ArtifactBytes(Array("at work".utf8)))
        let services = try shop.clients(.v1)
        let session = try shop.session(.email("alice@local.test"), services, unfinished: unfinished)
        let other = try shop.session(
            .email("alice@local.test"), services,
            unfinished: UnfinishedSignatures(directory: unfinished.directory))
        let bundle = try await session.sign(artifact)
        try await session.deliver(bundle) { _ throws(SigstoreError) in
            let kept = files(unfinished)
            let meanwhile = try await other.sign(artifact).signature()
            let delivered = try bundle.signature()
            #expect(meanwhile != delivered)
            #expect(files(unfinished) == kept)
            for name in kept {
                let earlier = name.prefix { $0 != "." } + ".json.\(ProcessInfo.processInfo.processIdentifier).abc.1.1"
                try? FileManager.default.copyItem(
                    atPath: "\(unfinished.directory)/\(name)", toPath: "\(unfinished.directory)/\(earlier)")
            }
        }
        #expect(try await other.sign(artifact).signature() == bundle.signature())
        #expect(files(unfinished).isEmpty)
    }

    @Test("Another identity does not finish it")
    func otherIdentity() async throws {
        let shop = try Workshop()
        let unfinished = directory()
        let artifact = ArtifactBytes(Array("whose".utf8))
        let services = try shop.clients(.v1)
        let session = try shop.session(.email("alice@local.test"), services, unfinished: unfinished)
        let bundle = try await session.sign(artifact)
        _ = await failure {
            try await session.deliver(bundle) { _ throws(SigstoreError) in throw SigstoreError(.fileUnreadable, "no") }
        }
        #expect(files(unfinished).count == 1)
        let other = try await shop.session(.email("mallory@local.test"), services, unfinished: unfinished).sign(
            artifact)
        #expect(try other.signature() != bundle.signature())
        #expect(files(unfinished).count == 1)
    }

    @Test("A file that was tampered with is refused, and nothing is recorded")
    func tampered() async throws {
        let shop = try Workshop()
        let unfinished = directory()
        let artifact = ArtifactBytes(Array("tampered".utf8))
        let identity = LocalIdentity.email("alice@local.test")
        let services = try shop.clients(.v1)
        let session = try shop.session(identity, services, unfinished: unfinished)
        let bundle = try await session.sign(artifact)
        _ = await failure {
            try await session.deliver(bundle) { _ throws(SigstoreError) in throw SigstoreError(.fileUnreadable, "no") }
        }
        let path = "\(unfinished.directory)/\(try #require(files(unfinished).first))"
        let text = try String(contentsOfFile: path, encoding: .utf8)
        let signature = Base64.encode(try bundle.signature())
        // Another signature, no log entry yet: it must not be recorded.
        let other = try await shop.session(identity, services).sign(ArtifactBytes([1]))
        let entry = "\"tlogEntries\":["
        let start = try #require(text.range(of: entry)),
            end = try #require(text.range(of: "],\"timestampVerificationData\""))
        var changed = text
        changed.replaceSubrange(start.upperBound..<end.lowerBound, with: "")
        changed = changed.replacingOccurrences(
            of: "\"transparencyLogs\":[\"\(shop.services.rekorV1.url)/\"]", with: "\"transparencyLogs\":[]")
        changed = changed.replacingOccurrences(of: signature, with: Base64.encode(try other.signature()))
        try changed.write(toFile: path, atomically: true, encoding: .utf8)
        let recordings = shop.recordings
        let error = await failure { _ = try await session.sign(artifact) }
        #expect(error != nil)
        #expect(shop.recordings == recordings)
        try "{}".write(toFile: path, atomically: true, encoding: .utf8)
        #expect(
            await failure { _ = try await session.sign(artifact) }?.advice?.description.contains("remove the file")
                == true)
    }
}

@Suite("Tokens that Fulcio never sees", .localSigstore)
struct TokenExaminationTests {
    @Test("A bad token is named before Fulcio is asked")
    func named() async throws {
        let shop = try Workshop()
        var expired = TokenOptions(), foreign = TokenOptions(), early = TokenOptions()
        expired.lifetime = -60
        foreign.audience = "other"
        early.delay = 3600
        for (identity, options, code) in [
            (LocalIdentity.email("a@local.test"), expired, SigstoreError.Code.tokenExpired),
            (.email("a@local.test"), foreign, .tokenAudience), (.email("a@local.test"), early, .tokenNotYetValid),
            (.email("a@local.test", verified: false), TokenOptions(), .tokenEmailUnverified),
        ] {
            let session = try SigningSession(
                signatory: try shop.signatory(identity, options: options), services: try shop.clients(.v1),
                trustedRoot: shop.trustedRoot)
            #expect(await failure { _ = try await session.sign(ArtifactBytes([1])) }?.code == code)
        }
        #expect(shop.http.requests.isEmpty)
        // What only Fulcio can see.
        var forged = TokenOptions()
        forged.forged = true
        let session = try SigningSession(
            signatory: try shop.signatory(.email("a@local.test"), options: forged), services: try shop.clients(.v1),
            trustedRoot: shop.trustedRoot)
        #expect(await failure { _ = try await session.sign(ArtifactBytes([1])) }?.code == .tokenRefused)
        #expect(shop.recordings == 0)
    }
}
