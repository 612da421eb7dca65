import Foundation
import HTTPTransport
import KeyProviders
import SigstoreClients
import SigstoreCrypto
import SigstoreVerification
import StrictJSON
import SwSignCore
import Testing

/// The one decision on scheme and hash, and the guide's table of it.
struct SchemeChoiceTests {
    /// A key that can sign in these ways only.
    private struct Key: Signer {
        let key: PrivateKey
        let schemes: [SignatureScheme]
        var publicKey: PublicKey { key.publicKey }
        func sign(_ message: HashedMessage, scheme: SignatureScheme) async throws(SigstoreError) -> [UInt8] {
            guard schemes.contains(scheme) else { throw SigstoreError(.keyUnusable, "not with \(scheme)") }
            return try key.sign(message, scheme: scheme)
        }
    }

    /// A network that must not be used.
    private struct NoNetwork: HTTPClient {
        func send(_ request: HTTPRequest, into sink: (any BodySink)?) async throws(SigstoreError) -> HTTPResponse {
            throw SigstoreError(.unreachable, "\(request.url) was asked")
        }
    }

    /// The rows: where such a key is, its kind, and the ways in which it can sign there.
    private static let rows: [(name: String, kind: SigningAlgorithm, ways: [SignatureScheme])] = [
        ("ECDSA P-256, anywhere", .ecdsaP256, [.ecdsa(.sha256)]),
        ("ECDSA P-384 that signs any hash: files, Vault, PKCS#11", .ecdsaP384, [.ecdsa(.sha384), .ecdsa(.sha256)]),
        ("ECDSA P-384 that signs its own: AWS, Google, Azure", .ecdsaP384, [.ecdsa(.sha384)]),
        ("ECDSA P-521 that signs any hash: files, Vault, PKCS#11", .ecdsaP521, [.ecdsa(.sha512), .ecdsa(.sha256)]),
        ("ECDSA P-521 that signs its own: AWS, Azure", .ecdsaP521, [.ecdsa(.sha512)]),
        ("RSA 2048, 3072, 4096, PKCS#1 over SHA-256: anywhere", .rsa2048, [.rsaPKCS1(.sha256)]),
        ("RSA, PKCS#1 over SHA-512 only: Google", .rsa4096, [.rsaPKCS1(.sha512)]),
        ("RSA-PSS over SHA-256 only: Google", .rsa2048, [.rsaPSS(.sha256)]),
        ("RSA-PSS over SHA-512 only: Google", .rsa4096, [.rsaPSS(.sha512)]),
        ("Ed25519 in a file", .ed25519, [.ed25519, .ed25519ph]),
        ("Ed25519, pure only: Vault, Google, PKCS#11", .ed25519, [.ed25519]),
    ]

    /// The columns: what is signed, and who records it.
    private static let columns: [(content: SchemeChoice.Content, log: RekorClient.Version?)] = [
        (.file, nil), (.file, .v1), (.file, .v2), (.envelope, nil), (.envelope, .v1), (.envelope, .v2),
        (.fileWithoutBundle, nil), (.fileWithoutBundle, .v1),
    ]

    private func session(_ key: Key, _ log: RekorClient.Version?) throws -> SigningSession {
        let url = try HTTPURL(parsing: "https://log.example")
        let logs = log.map { [RekorClient(url: url, version: $0, http: NoNetwork())] } ?? []
        return try SigningSession(
            signatory: .key(key, algorithm: nil), services: SigningSession.Services(transparencyLogs: logs),
            trustedRoot: TrustedRoot())
    }

    private static func words(_ scheme: SignatureScheme) -> String {
        switch scheme {
        case .ecdsa(let hash), .rsaPKCS1(let hash): "SHA-\(hash.byteCount * 8)"
        case .rsaPSS(let hash): "PSS, SHA-\(hash.byteCount * 8)"
        case .ed25519: "pure"
        case .ed25519ph: "Ed25519ph"
        }
    }

    @Test(
        "The guide's table is what is decided; what cannot be recorded is refused with what works, before anything is asked"
    )
    func table() async throws {
        var lines: [String] = []
        for row in Self.rows {
            let key = Key(key: try PrivateKey.generate(row.kind), schemes: row.ways)
            var cells: [String] = []
            for column in Self.columns {
                let session = try session(key, column.log)
                do {
                    cells.append(Self.words(try session.schemes.scheme(for: column.content)))
                } catch {
                    cells.append("no")
                    #expect(error.code == .entryRefused, "\(row.name): \(error)")
                    guard case .remedy(let remedy, _)? = error.advice else {
                        Issue.record("no cure: \(error)")
                        continue
                    }
                    // What the cure says works: no log, and the other version if that is named.
                    #expect(remedy.rawValue.contains("no-log"))
                    #expect(throws: Never.self) {
                        _ = try self.session(key, nil).schemes.scheme(for: column.content)
                        if remedy == .useRekorV2OrNoLog {
                            _ = try self.session(key, .v2).schemes.scheme(for: column.content)
                        }
                        if remedy == .makeBundleOrUseNoLog {
                            _ = try self.session(key, column.log).schemes.scheme(for: .file)
                        }
                    }
                    // Nothing is signed, and no log is asked.
                    let content = ArtifactBytes([1])
                    let refused =
                        column.content == .envelope
                        ? await failure { _ = try await BlobSigner(session).attest(statement()) }
                        : await failure {
                            _ = try await BlobSigner(session).sign(
                                content, forms: column.content == .file ? [.bundle] : [.detached])
                        }
                    #expect(refused?.code == .entryRefused, "\(row.name): \(String(describing: refused))")
                }
            }
            lines.append("| \(row.name) | \(cells.joined(separator: " | ")) |")
        }
        let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
            .deletingLastPathComponent()
        let guide = try String(
            contentsOf: root.appendingPathComponent("Sources/swsign/Documentation.docc/KeyServices.md"), encoding: .utf8
        )
        let shown = guide.split(separator: "\n").map(String.init).filter { line in
            Self.rows.contains { line.hasPrefix("| \($0.name) |") }
        }
        #expect(shown == lines, "the guide should have:\n\(lines.joined(separator: "\n"))")
    }

    @Test("What is decided is what the key is asked for, what the bundle says, and what verifies")
    func signed() async throws {
        for row in Self.rows {
            let key = Key(key: try PrivateKey.generate(row.kind), schemes: row.ways)
            let session = try session(key, nil)
            let artifact = ArtifactBytes(Array("content".utf8))
            let bundle = try await session.sign(artifact)
            let scheme = try session.schemes.scheme(for: .file)
            guard case .messageSignature(let message) = bundle.content else {
                Issue.record("no signature over a file")
                continue
            }
            #expect(message.digest?.algorithm == scheme.hash, "\(row.name)")
            let verifier = Verifier(trustedRoot: nil, now: { 1_800_000_000 })
            let policy = VerificationPolicy(signedBy: .key(key.publicKey), transparencyLog: .insecurelyIgnored)
            #expect(try verifier.verify(bundle, .message(artifact), policy).scheme == scheme, "\(row.name)")
            let attestation = try await session.attest(statement())
            _ = try verifier.verify(attestation, .attestation(subject: nil, predicateType: nil), policy)
        }
    }
}
