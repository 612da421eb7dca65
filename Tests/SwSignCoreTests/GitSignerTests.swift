import Foundation
import LocalSigstore
import LocalSystem
import Provenance
import SigstoreClients
import SigstoreCrypto
import SigstoreVerification
import StrictJSON
import SwSignCore
import TestServices
import Testing

/// git's signatures as gitsign writes them.
@Suite("Signing commits and tags", .localSigstore, .serialized)
struct GitSignerTests {
    private static let tree = String(repeating: "ab", count: 20)

    private static func commit(by email: String = "ann@local.test", name: String = "Ann", _ message: String = "m")
        -> [UInt8]
    {
        Array(
            "tree \(tree)\nauthor A <a@b> 1700000000 +0000\ncommitter \(name) <\(email)> 1700000000 +0000\n\n\(message)\n"
                .utf8)
    }

    private static let tag = Array(
        "object \(tree)\ntype commit\ntag v1\ntagger Ann <ann@local.test> 1700000000 +0000\n\none\n".utf8)

    private func code(_ body: () async throws -> Void) async -> String? { await failure(body)?.code.rawValue }

    @Test(
        "Entry and timestamp are in the signature, which holds without a network", arguments: ["v1", "v2", "timestamp"])
    func identity(_ name: String) async throws {
        let shop = try Workshop()
        let kind = try #require(LocalServices.SigningConfigKind(rawValue: name))
        let identity = LocalIdentity.email("ann@local.test")
        let signer = try GitSigner(try shop.session(identity, try shop.clients(kind)), matchesCommitter: true)
        for payload in [Self.commit(), Self.tag] {
            let signed = try await signer.sign(payload)
            #expect(signed.certificate?.subjectAlternativeNames.first?.text == "ann@local.test")
            let read = try GitSignature(pem: Array(signed.pem.utf8), payload: payload)
            #expect(read.bundle.logEntries.count == (kind == .timestamp ? 0 : 1) && read.bundle.timestamps.count == 1)
            let verified = try shop.verify(
                read.bundle, by: identity, read.claim, logs: read.bundle.logEntries.count)
            #expect(verified.checks.contains { $0.name == "timestamp" } || !verified.times.isEmpty)
            // What follows from the rest is left out, as gitsign has it, and only that.
            let der = try #require(try PEM.blocks(in: Array(signed.pem.utf8)).first?.bytes)
            let data = try SignedData(der, contentType: SignedData.plainContent)
            if let entry = try data.unsignedBytes("1.3.6.1.4.1.57264.3.1") {
                #expect(try TransparencyLogEntry(protobuf: entry).body.isEmpty == (kind == .v1))
            }
            // Of another object it is none.
            #expect(
                await code { _ = try GitSignature(pem: Array(signed.pem.utf8), payload: payload + [0x0a]) }
                    == "signed-data-mismatch")
        }
    }

    @Test("Keys", arguments: [SigningAlgorithm.ecdsaP256, .ecdsaP384, .ecdsaP521, .rsa2048], [1, 2])
    func keys(_ algorithm: SigningAlgorithm, _ version: Int64) async throws {
        let shop = try Workshop()
        let key = try PrivateKey.generate(algorithm)
        let log = try shop.rekor(try #require(RekorClient.Version(rawValue: version)))
        let session = try SigningSession(
            signatory: .key(key, algorithm: nil), services: SigningSession.Services(transparencyLogs: [log]),
            trustedRoot: shop.trustedRoot)
        let payload = Self.commit("\(algorithm) \(version)")
        let signed = try await GitSigner(session).sign(payload)
        let read = try GitSignature(pem: Array(signed.pem.utf8), payload: payload)
        #expect(try read.keyIdentifier == key.publicKey.subjectKeyIdentifier() && signed.certificate == nil)
        let verifier = Verifier(trustedRoot: shop.trustedRoot, now: SystemClock.now)
        _ = try verifier.verify(read.bundle, read.claim, VerificationPolicy(signedBy: .key(key.publicKey)))
        let other = VerificationPolicy(signedBy: .key(try PrivateKey.generate(algorithm).publicKey))
        #expect(await code { _ = try verifier.verify(read.bundle, read.claim, other) } != nil)
    }

    @Test("Entry, timestamp and certificate of another commit are refused", arguments: ["v1", "v2"])
    func exchanged(_ name: String) async throws {
        let shop = try Workshop()
        let clients = try shop.clients(try #require(LocalServices.SigningConfigKind(rawValue: name)))
        let identity = LocalIdentity.email("ann@local.test")
        let first = try await GitSigner(try shop.session(identity, clients)).sign(Self.commit("first"))
        let second = try await GitSigner(try shop.session(identity, clients)).sign(Self.commit("second"))
        let draft = try SignedDataDraft(content: Self.commit("first"), hash: .sha256, time: first.time)
        /// Why a signature of the first commit is refused, if it is.
        func code(_ bundle: SigstoreBundle, by certificate: Certificate?) async throws -> String? {
            let pem = try GitSignature.pem(
                of: bundle, draft, first.scheme, by: .certificate(try #require(certificate)))
            return await self.code {
                let read = try GitSignature(pem: Array(pem.utf8), payload: Self.commit("first"))
                _ = try shop.verify(read.bundle, by: identity, read.claim, logs: 1)
            }
        }
        #expect(try await code(first.bundle, by: first.certificate) == nil)
        var bundle = first.bundle
        bundle.logEntries = second.bundle.logEntries
        #expect(try await code(bundle, by: first.certificate) == "log-entry-mismatch")
        bundle = first.bundle
        bundle.timestamps = second.bundle.timestamps
        #expect(try await code(bundle, by: first.certificate) == "timestamp-mismatch")
        #expect(try await code(first.bundle, by: second.certificate) != nil)
        // Nor is what another key has signed.
        bundle = first.bundle
        bundle.content = second.bundle.content
        #expect(try await code(bundle, by: first.certificate) != nil)
    }

    @Test("What cannot be meant is refused before anything is signed")
    func refused() async throws {
        let shop = try Workshop()
        let clients = try shop.clients(.v1)
        let session = try shop.session(.email("ann@local.test"), clients)
        for payload in [
            Array("certificate version 0.1\n".utf8), [], Array("tree x\n\nm".utf8), Self.commit("m\0"),
            Array(String(decoding: Self.commit(), as: UTF8.self).replacing("\n\n", with: "\ngpgsig x\n\n").utf8),
            Self.tag + Array("-----BEGIN SSH SIGNATURE-----\nAAAA\n-----END SSH SIGNATURE-----\n".utf8),
        ] {
            let found = await code { _ = try await GitSigner(session).sign(payload) }
            #expect(
                ["malformed-git-object", "several-git-signatures", "unknown-git-signature"].contains(found),
                "\(String(decoding: payload, as: UTF8.self)): \(found ?? "signed")")
        }
        for payload in [Self.commit(by: "bob@local.test"), Self.commit(by: "ANN@local.test", name: "ann@local.test")] {
            #expect(
                await code { _ = try await GitSigner(session, matchesCommitter: true).sign(payload) }
                    == "wrong-committer")
        }
        // A URI is the committer's name.
        let uri = LocalIdentity.uri("/users/1")
        let committer = try LocalServices.current.issuer.subject(of: uri)
        let byURI = try GitSigner(try shop.session(uri, clients), matchesCommitter: true)
        _ = try await byURI.sign(Self.commit(by: "x@y", name: committer))
        #expect(await code { _ = try await byURI.sign(Self.commit(by: committer)) } == "wrong-committer")
        let recorded = shop.recordings
        #expect(recorded == 1)
        let key = try SigningSession(signatory: .key(try PrivateKey.generate(.ecdsaP256), algorithm: nil))
        #expect(
            await code { _ = try await GitSigner(key, matchesCommitter: true).sign(Self.commit()) } == "wrong-committer"
        )
        let edwards = try SigningSession(signatory: .key(try PrivateKey.generate(.ed25519), algorithm: nil))
        #expect(await code { _ = try GitSigner(edwards) } == "unsupported-key")
        var two = clients
        two.transparencyLogs.append(try shop.rekor(.v2))
        let several = try shop.session(.email("ann@local.test"), two)
        #expect(await code { _ = try GitSigner(several) } == "usage")
    }
}
