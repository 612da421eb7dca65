import Foundation
import SigstoreCrypto
import SigstoreVerification
import StrictJSON
import Testing

@testable import Provenance

/// git's signatures in CMS: real ones of gitsign, and what `openssl cms` writes.
struct GitSignatureTests {
    private typealias Folder = GitWorkshop

    // MARK: - Real objects

    /// What comes of a real object of gitsign's.
    private static func verify(
        _ name: String, _ kind: GitObject.Kind = .commit, root: String = "provenance/git/trusted_root.json",
        identity: String = "ann@example.org", mutate: (inout [UInt8]) -> Void = { _ in }
    ) throws -> VerifiedBundle {
        var content = try Folder.sharedFile("provenance/git/\(name)")
        mutate(&content)
        let object = try GitObject(content, kind)
        guard case .x509(let pem)? = object.signature else { throw SigstoreError(.noBundle, "it is not signed") }
        let signature = try GitSignature(pem: pem, payload: object.payload)
        let verifier = Verifier(trustedRoot: try TrustedRoot(parsing: Folder.sharedFile(root))) { 1_800_000_000 }
        let identity = CertificateIdentity(
            subject: .exactly(identity), issuer: .matching(try IdentityPattern("^https?://")))
        do throws(RejectedBundle) {
            return try verifier.verify(
                signature.bundle, signature.claim, VerificationPolicy(signedBy: .identities([identity])))
        } catch { throw error.error }
    }

    @Test(
        "gitsign's offline form holds",
        .enabled(if: Folder.isThere("provenance/git"), "left out: ../shared is not there"))
    func offline() throws {
        for (name, kind) in [("local-offline.commit", GitObject.Kind.commit), ("local-tag-offline.tag", .tag)] {
            let verified = try Self.verify(name, kind)
            #expect(verified.checks.contains { $0.name == "inclusion-proof" })
            #expect(verified.checks.contains { $0.name == "inclusion-promise" })
            #expect(Folder.code { _ = try Self.verify(name, kind, identity: "bob@example.org") } == "wrong-identity")
        }
        let production = "trust/production/trusted_root.json"
        let real = try Self.verify("offline.commit", root: production, identity: "billy@chainguard.dev")
        #expect(real.claims != nil)
        #expect(Folder.code { _ = try Self.verify("offline.commit", identity: "billy@chainguard.dev") } != nil)
    }

    @Test(
        "gitsign's online form has no entry with it, which is said",
        .enabled(if: Folder.isThere("provenance/git"), "left out: ../shared is not there"))
    func online() {
        #expect(Folder.code { _ = try Self.verify("local-online.commit") } == "no-time")
        #expect(Folder.code { _ = try Self.verify("local-timestamp-online.commit") } == "no-log-entry")
    }

    @Test(
        "A changed commit, and a signature of another, are refused",
        .enabled(if: Folder.isThere("provenance/git"), "left out: ../shared is not there"))
    func changed() throws {
        #expect(Folder.code { _ = try Self.verify("local-offline.commit") { $0 += [0x0a] } } == "signed-data-mismatch")
        func object(_ name: String) throws -> GitObject {
            try GitObject(try Folder.sharedFile("provenance/git/\(name).commit"), .commit)
        }
        guard case .x509(let pem)? = try object("local-online").signature else {
            Issue.record("not signed")
            return
        }
        #expect(
            Folder.code { _ = try GitSignature(pem: pem, payload: try object("local-offline").payload) }
                == "signed-data-mismatch")
        // Whatever single byte of the signature is another one, nothing holds that did not: it is refused, or it is the same.
        let content = try Folder.sharedFile("provenance/git/local-offline.commit")
        let text = try #require(String(validating: content, as: UTF8.self))
        let lines = text.split(separator: "\n", omittingEmptySubsequences: false)
        let block = lines.filter { $0.hasPrefix(" ") && !$0.contains("-") }.map { $0.dropFirst() }.joined()
        let der = try #require(Base64.decode(block))
        guard case .x509(let own)? = try object("local-offline").signature else { return }
        let payload = try object("local-offline").payload
        let good = try GitSignature(pem: own, payload: payload)
        let root = try TrustedRoot(parsing: Folder.sharedFile("provenance/git/trusted_root.json"))
        let verifier = Verifier(trustedRoot: root) { 1_800_000_000 }
        let policy = VerificationPolicy(
            signedBy: .identities([
                CertificateIdentity(subject: .exactly("ann@example.org"), issuer: .matching(try IdentityPattern(".")))
            ]))
        _ = try verifier.verify(good.bundle, good.claim, policy)
        var accepted = 0
        for index in stride(from: 0, to: der.count, by: 7) {
            var other = der
            other[index] ^= 0x11
            let pem = Array(PEM.encode(label: "SIGNED MESSAGE", other).utf8)
            guard let read = try? GitSignature(pem: pem, payload: payload),
                (try? verifier.verify(read.bundle, read.claim, policy)) != nil
            else { continue }
            accepted += 1
            // The promise alone, the proof alone: neither is left out, so what differs is what is not signed at all.
            #expect(try read.bundle.signature() == good.bundle.signature())
        }
        #expect(accepted < 4)
    }

    // MARK: - What openssl writes

    /// A key with a certificate of its own, and a signature over `content` with these flags.
    private static func make(_ folder: GitWorkshop, _ flags: String) throws -> [UInt8] {
        try folder.write("content", "what is signed\n".utf8)
        try folder.shell(
            """
            openssl ecparam -name prime256v1 -genkey -noout -out key.pem
            openssl ecparam -name prime256v1 -genkey -noout -out other.pem
            openssl req -x509 -new -key key.pem -subj /CN=a -days 2 -out cert.pem
            openssl req -x509 -new -key other.pem -subj /CN=b -days 2 -out second.pem
            openssl cms -sign -binary -in content -outform DER -out signed -signer cert.pem -inkey key.pem \(flags)
            """)
        return try folder.read("signed")
    }

    private static func read(_ der: [UInt8], label: String = "SIGNED MESSAGE", _ content: String = "what is signed\n")
        throws -> GitSignature
    {
        try GitSignature(pem: Array(PEM.encode(label: label, der).utf8), payload: Array(content.utf8))
    }

    /// Whether the signature is by this key.
    private static func holds(_ signature: GitSignature, _ folder: GitWorkshop, _ key: String) throws -> String? {
        let key = try PublicKey(file: try folder.shell("openssl pkey -in \(key) -pubout"))
        return Folder.code {
            do throws(RejectedBundle) {
                _ = try Verifier(trustedRoot: nil) { 0 }.verify(
                    signature.bundle, signature.claim,
                    VerificationPolicy(signedBy: .key(key), transparencyLog: .insecurelyIgnored))
            } catch { throw error.error }
        }
    }

    @Test("Signatures of certificates and of bare keys are read, and are the key's own")
    func keys() throws {
        let folder = try GitWorkshop()
        let certified = try Self.read(try Self.make(folder, "-md sha256"))
        #expect(certified.keyIdentifier == nil)
        #expect(try Self.holds(certified, folder, "key.pem") == nil)
        #expect(try Self.holds(certified, folder, "other.pem") == "certificate-not-key")
        let bare = try Self.read(try Self.make(folder, "-md sha256 -keyid -nocerts"))
        #expect(bare.keyIdentifier?.count == 20)
        #expect(try Self.holds(bare, folder, "key.pem") == nil)
        #expect(try Self.holds(bare, folder, "other.pem") == "invalid-signature")
        let both = try Self.read(try Self.make(folder, "-md sha256 -keyid"))
        #expect(try both.keyIdentifier == nil && Self.holds(both, folder, "key.pem") == nil)
        // Certificates that are not the signer's are not looked at.
        let more = try Self.read(try Self.make(folder, "-md sha256 -certfile second.pem"))
        #expect(try Self.holds(more, folder, "key.pem") == nil)
    }

    @Test("Forms that gitsign never writes are refused")
    func refused() throws {
        let folder = try GitWorkshop()
        for (flags, code) in [
            ("-md sha256 -nodetach", "malformed-git-signature"), ("-md sha256 -nocerts", "malformed-git-signature"),
            ("-md sha256 -nocerts -certfile second.pem", "malformed-git-signature"),
            ("-md sha1", "malformed-signed-data"), ("-md sha256 -noattr", "malformed-signed-data"),
            ("-md sha256 -signer second.pem -inkey other.pem", "malformed-signed-data"),
            ("-md sha256 -econtent_type 1.2.3.4", "malformed-signed-data"),
        ] {
            let signed = try Self.make(folder, flags)
            #expect(Folder.code { _ = try Self.read(signed) } == code, "\(flags)")
        }
        let good = try Self.make(folder, "-md sha256")
        #expect(Folder.code { _ = try Self.read(good) } == nil)
        #expect(Folder.code { _ = try Self.read(good, "what is signed") } == "signed-data-mismatch")
        #expect(Folder.code { _ = try Self.read(good, label: "CMS") } == "malformed-git-signature")
        #expect(Folder.code { _ = try Self.read(good + [0]) } == "malformed-signed-data")
        let pem = PEM.encode(label: "SIGNED MESSAGE", good)
        #expect(
            Folder.code { _ = try GitSignature(pem: Array((pem + pem).utf8), payload: Array("what is signed\n".utf8)) }
                == "malformed-pem")
    }

    @Test("A log entry in protobuf is read strictly")
    func protobuf() throws {
        func code(_ bytes: [UInt8]) -> String? { Folder.code { _ = try TransparencyLogEntry(protobuf: bytes) } }
        let log: [UInt8] = [0x12, 3, 0x0a, 1, 9]
        let kind: [UInt8] = [0x1a, 6, 0x0a, 1, 0x61, 0x12, 1, 0x62]
        let entry = try TransparencyLogEntry(protobuf: [0x08, 0xac, 0x02] + log + kind + [0x20, 5])
        #expect(entry.logIndex == 300 && entry.logID == [9] && entry.kind == "a" && entry.kindVersion == "b")
        #expect(entry.integratedTime == 5 && entry.body.isEmpty && entry.proof == nil && entry.promise == nil)
        let bad = "malformed-log-entry"
        for bytes in [
            [], log, kind, log + kind + [0x08], log + kind + [0x08, 1, 0x08, 1], log + log + kind,
            log + kind + [0x40, 1], log + kind + [0x3a, 5, 1], log + kind + [0x39, 0, 0, 0, 0, 0, 0, 0, 0],
            log + kind + [0x08] + [UInt8](repeating: 0xff, count: 9) + [0x01],
            log + kind + [0x08] + [UInt8](repeating: 0xff, count: 9) + [0x7f], log + kind + [0x0a, 1, 1],
            log + kind + [0x32, 2] + [0x30, 1], log + [0x1a, 3, 0x0a, 1, 0xff], log + kind + [0x2a, 2, 0x0a, 0],
            log + kind + [0x3a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1],
            log + kind + [0x32, 128, 1] + [[UInt8]](repeating: [0x22, 0], count: 64).joined(),
            [UInt8](repeating: 0, count: 1 << 17),
        ] as [[UInt8]] {
            #expect(code(bytes) == bad, "\(bytes.prefix(40))")
        }
        let proof: [UInt8] = [0x32, 126] + [[UInt8]](repeating: [0x22, 0], count: 63).joined()
        #expect(try TransparencyLogEntry(protobuf: log + kind + proof).proof?.hashes.count == 63)
    }
}
