import Foundation
import HTTPTransport
import LocalSigstore
import LocalSystem
import Provenance
import SigstoreClients
import SigstoreVerification
import Spawning
import StrictJSON
import TestServices
import Testing

@testable import SigstoreCrypto
@testable import SwSignCore

/// gitsign's online form: in the commit stands no log entry, and the log has one over the name of the finished commit.
@Suite("Commits whose entry is in the log alone", .localSigstore)
struct GitLookupTests {
    private let shop: Workshop
    private let ann = LocalIdentity.email("ann@local.test")

    init() throws { shop = try Workshop() }

    /// A key with a certificate, as gitsign has one for each commit.
    private struct Signatory {
        let key: PrivateKey
        let certificate: Certificate
    }

    private func signatory(_ identity: LocalIdentity) async throws -> Signatory {
        let key = try PrivateKey.generate(.ecdsaP256)
        let token = try IdentityToken(parsing: try shop.services.issuer.token(for: identity))
        return Signatory(key: key, certificate: try await shop.fulcio().certificate(for: key, token: token).leaf)
    }

    /// A signed commit.
    private func commit(_ message: String, by signer: Signatory, spoiled: Bool = false) throws -> GitRepository.Entry {
        func identifier(_ dotted: String) throws -> [UInt8] {
            DERWriter.element(0x06, try #require(ObjectIdentifier(dotted: dotted)).content)
        }
        func sequence(_ parts: [UInt8]...) -> [UInt8] { DERWriter.element(0x30, parts.flatMap { $0 }) }
        let person = "Ann <ann@local.test> 1700000000 +0000"
        let head = "tree \(String(repeating: "ab", count: 20))\nauthor \(person)\ncommitter \(person)\n"
        let plain = try identifier("1.2.840.113549.1.7.1")
        let hash = sequence(try identifier("2.16.840.1.101.3.4.2.1"))
        let digest = try Digest.sha256(Array("\(head)\n\(message)\n".utf8))
        let attributes =
            sequence(try identifier("1.2.840.113549.1.9.3"), DERWriter.element(0x31, plain))
            + sequence(
                try identifier("1.2.840.113549.1.9.4"),
                DERWriter.element(0x31, DERWriter.element(0x04, digest.bytes)))
        var signature = try signer.key.sign(DERWriter.element(0x31, attributes), scheme: .ecdsa(.sha256))
        if spoiled { signature = try signer.key.sign(attributes, scheme: .ecdsa(.sha256)) }
        let info = sequence(
            [0x02, 1, 1],
            sequence(signer.certificate.issuer, DERWriter.element(0x02, signer.certificate.serialNumber)), hash,
            DERWriter.element(0xa0, attributes), sequence(try identifier("1.2.840.10045.4.3.2")),
            DERWriter.element(0x04, signature))
        let data = sequence(
            [0x02, 1, 1], DERWriter.element(0x31, hash), sequence(plain),
            DERWriter.element(0xa0, signer.certificate.der), DERWriter.element(0x31, info))
        let pem = PEM.encode(
            label: "SIGNED MESSAGE",
            sequence(try identifier("1.2.840.113549.1.7.2"), DERWriter.element(0xa0, data)))
        let lines = pem.split(separator: "\n").joined(separator: "\n ")
        let content = Array("\(head)gpgsig \(lines)\n\n\(message)\n".utf8)
        return GitRepository.Entry(
            id: try GitObject(content, .commit).id, type: "commit", size: content.count, content: content)
    }

    /// Records a signature over a name.
    private func record(_ name: String, by signer: Signatory) async throws {
        let digest = try Digest.sha256(Array(name.utf8))
        let entry = ProposedLogEntry(
            content: .message(digest), signature: try signer.key.sign(Array(name.utf8), scheme: .ecdsa(.sha256)),
            scheme: .ecdsa(.sha256), key: signer.key.publicKey, certificate: signer.certificate)
        _ = try await shop.rekor(.v1).record(entry)
    }

    /// What comes of a commit.
    private func judged(_ entry: GitRepository.Entry, by identity: LocalIdentity, log: String? = nil) async throws
        -> [String]
    {
        let verifier = Verifier(trustedRoot: shop.trustedRoot, now: SystemClock.now)
        let issuer = shop.services.issuer
        let signers = DemandedSigners(
            VerificationPolicy(identity: issuer.subject(of: identity), issuer: issuer.issuer(of: identity)))
        let lookup = LogLookup(verifier: verifier, signers: signers, url: log, http: { shop.http }) { _, _ in }
        let judge = GitJudge(
            sigstore: (verifier, signers), allowedSigners: nil, offline: false, lookup: lookup,
            now: Int64(Date().timeIntervalSince1970))
        let row = await judge.lookUp(judge.judge(entry))
        #expect(!GitJudge.isPending(row))
        return [row.verdict.rawValue, row.failure?.code.rawValue ?? "-"]
    }

    /// How often a log was asked.
    private var questions: Int { shop.http.requests.filter { $0.contains("/api/v1/index/retrieve") }.count }

    @Test("The log is asked by the commit's name, and what it has must be by the same certificate")
    func online() async throws {
        let signer = try await signatory(ann)
        let first = try commit("first", by: signer)
        #expect(try await judged(first, by: ann) == ["refused", "no-log-entry"])
        // The entry of another commit, and another's entry about this one, say nothing of it.
        let other = try commit("second", by: signer)
        try await record(other.id, by: signer)
        try await record(first.id, by: try await signatory(ann))
        #expect(try await judged(first, by: ann) == ["refused", "no-log-entry"])
        #expect(try await judged(other, by: ann) == ["accepted", "-"])
        try await record(first.id, by: signer)
        #expect(try await judged(first, by: ann) == ["accepted", "-"])
        // Who may not sign, and what does not hold, is refused before a log learns of it.
        let asked = questions
        #expect(asked > 0)
        #expect(try await judged(first, by: .email("bob@local.test")) == ["refused", "wrong-identity"])
        let spoiled = try commit("third", by: signer, spoiled: true)
        try await record(spoiled.id, by: signer)
        #expect(try await judged(spoiled, by: ann) == ["refused", "signed-data-signature"])
        #expect(questions == asked)
        // A log that is not reached says nothing.
        let down = try await judged(first, by: ann, log: "http://127.0.0.1:1")
        #expect(down.first == "could-not-look", "\(down)")
    }

    @Test(
        "gitsign finds what was recorded over the name of a commit",
        .enabled(if: NewestGit.isHere, NewestGit.absence))
    func judgedByGitsign() async throws {
        let folder = FileManager.default.temporaryDirectory.appending(path: "gitsign-\(UUID().uuidString)").path
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(atPath: folder) }
        let (services, files) = (shop.services, shop.services.files.folder)
        let signer = try await signatory(ann)
        for (message, isRecorded) in [("first", true), ("second", false)] {
            let entry = try commit(message, by: signer)
            if isRecorded { try await record(entry.id, by: signer) }
            try Data(try #require(entry.content)).write(to: URL(filePath: "\(folder)/commit"))
            let script = """
                git init -q .; git hash-object -w -t commit --stdin < commit
                '\(NewestGit.folder)/gitsign' verify --certificate-identity '\(services.issuer.subject(of: ann))' \
                  --certificate-oidc-issuer '\(services.issuer.issuer(of: ann))' \(entry.id)
                """
            let status = try await Spawning.run(
                "/bin/sh", ["-ec", script], in: folder,
                environment: [
                    "PATH": "/usr/bin:/bin", "HOME": folder, "GIT_CONFIG_NOSYSTEM": "1",
                    "GITSIGN_REKOR_URL": services.rekorV1.url, "SIGSTORE_ROOT_FILE": "\(files)/fulcio_root.pem",
                    "SIGSTORE_REKOR_PUBLIC_KEY": "\(files)/rekor.pub",
                    "SIGSTORE_CT_LOG_PUBLIC_KEY_FILE": "\(files)/ct_log.pub",
                ], output: "\(folder)/output", errors: "\(folder)/messages")
            let said = try String(contentsOfFile: "\(folder)/output", encoding: .utf8)
            let messages = try String(contentsOfFile: "\(folder)/messages", encoding: .utf8)
            #expect((status == 0) == isRecorded, "\(said)\(messages)")
            // This it says of what it has looked up alone.
            #expect((said + messages).contains("Validated Rekor entry: true") == isRecorded, "\(said)\(messages)")
        }
    }
}
