import Foundation
import LocalSigstore
import TestServices
import Testing

/// Models that one of the two programs signs, and the other verifies: PyPI's `model_signing` is the judge.
@Suite(.enabled(if: ModelSigning.isThere, "left out: model_signing, by make test-deps"), .localSigstore)
struct ModelPairTests {
    private let place: Workplace

    init() throws {
        place = try Workplace()
        for folder in ["model/layers", "model/.git"] {
            try FileManager.default.createDirectory(
                atPath: "\(place.path)/\(folder)", withIntermediateDirectories: true)
        }
        for (file, text) in [
            ("model/layers/a", "1"), ("model/layers.json", "{}"), ("model/weights", "2"), ("model/empty", ""),
            ("model/\u{e4} b", "3"), ("model/.git/HEAD", "ref"), ("model/README", "text"),
        ] { try place.write(text, to: file) }
    }

    private func swsign(_ arguments: String...) async throws -> Workplace.Outcome {
        try await place.run(try await Tool.swsign.program, arguments)
    }

    private func judge(_ arguments: String...) async throws -> Workplace.Outcome {
        try await place.run(ModelSigning.python, ["-m", "model_signing"] + arguments)
    }

    private func openssl(_ arguments: String...) async throws { try await place.must("/usr/bin/openssl", arguments) }

    /// Makes `key.pem` and `key.pub`.
    private func makeKey(_ curve: String) async throws {
        try await openssl("ecparam", "-name", curve, "-genkey", "-noout", "-out", "sec1.pem")
        try await openssl("pkcs8", "-topk8", "-nocrypt", "-in", "sec1.pem", "-out", "key.pem")
        try await openssl("ec", "-in", "sec1.pem", "-pubout", "-out", "key.pub")
    }

    @Test("By a key, both ways, on each curve", arguments: ["prime256v1", "secp384r1", "secp521r1"])
    func keys(curve: String) async throws {
        try await makeKey(curve)
        let signed = try await swsign("sign-model", "--key", "key.pem", "--ignore-paths", "model/README", "model")
        #expect(signed.status == 0, "\(signed.messages)")
        let judged = try await judge(
            "verify", "key", "--public_key", "key.pub", "--signature", "model/model.sig", "model")
        #expect(judged.status == 0, "\(judged.messages)")
        try place.write("other", to: "model/weights")
        let refused = try await judge(
            "verify", "key", "--public_key", "key.pub", "--signature", "model/model.sig", "model")
        #expect(refused.status != 0, "the judge sees no change")

        let made = try await judge(
            "sign", "key", "--private_key", "key.pem", "--signature", "model/model.sig", "--ignore-paths",
            "model/README",
            "model")
        #expect(made.status == 0, "\(made.messages)")
        let verified = try await swsign("verify-provenance", "--key", "key.pub", "model")
        #expect(verified.status == 0, "\(verified.messages)")
        try place.write("2", to: "model/weights")
        let changed = try await swsign("verify-provenance", "--key", "key.pub", "model")
        #expect(changed.messages.contains("[model-file-changed]"), "\(changed.messages)")
    }

    @Test("By a certificate of one's own authority, both ways")
    func certificates() async throws {
        try await makeKey("secp384r1")
        try await openssl(
            "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", "ca.key",
            "-out",
            "ca.pem", "-subj", "/CN=root", "-days", "10", "-addext", "keyUsage=critical,keyCertSign")
        try place.write(
            "keyUsage=critical,digitalSignature\nextendedKeyUsage=codeSigning\nauthorityKeyIdentifier=keyid\n",
            to: "ext")
        try await openssl("req", "-new", "-key", "key.pem", "-subj", "/CN=leaf", "-out", "leaf.csr")
        try await openssl(
            "x509", "-req", "-in", "leaf.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "5",
            "-extfile", "ext", "-out", "leaf.pem")
        let signed = try await swsign(
            "sign-model", "--key", "key.pem", "--certificate", "leaf.pem", "--certificate-chain", "ca.pem", "model")
        #expect(signed.status == 0, "\(signed.messages)")
        for _ in 0..<2 {
            let judged = try await judge(
                "verify", "certificate", "--certificate_chain", "ca.pem", "--signature", "model/model.sig", "model")
            #expect(judged.status == 0, "\(judged.messages)")
            let verified = try await swsign("verify-provenance", "--certificate-chain", "ca.pem", "model")
            #expect(verified.status == 0, "\(verified.messages)")
            // And once more by a signature of the judge's own.
            let made = try await judge(
                "sign", "certificate", "--private_key", "key.pem", "--signing_certificate", "leaf.pem",
                "--certificate_chain", "ca.pem", "--signature", "model/model.sig", "model")
            #expect(made.status == 0, "\(made.messages)")
        }
    }

    @Test("With BLAKE2b and links, by the judge's library: its command line verifies SHA-256 alone")
    func hashAndLinks() async throws {
        try await makeKey("prime256v1")
        try FileManager.default.createSymbolicLink(
            atPath: "\(place.path)/model/link", withDestinationPath: "layers/a")
        let signed = try await swsign(
            "sign-model", "--key", "key.pem", "--hash-type", "blake2", "--allow-symlinks", "model")
        #expect(signed.status == 0, "\(signed.messages)")
        let script = """
            import model_signing as m
            h = m.hashing.Config().use_file_serialization(hashing_algorithm="blake2", allow_symlinks=True)
            h.set_ignored_paths(paths=["model.sig"]).set_allow_symlinks(True)
            m.verifying.Config().use_elliptic_key_verifier(public_key="key.pub").set_hashing_config(h).verify(
                "model", "model/model.sig")
            m.signing.Config().use_elliptic_key_signer(private_key="key.pem").set_hashing_config(h).sign(
                "model", "model/model.sig")
            """
        let judged = try await place.run(ModelSigning.python, ["-c", script])
        #expect(judged.status == 0, "\(judged.messages)")
        let verified = try await swsign("verify-provenance", "--key", "key.pub", "model")
        #expect(verified.status == 0 && verified.messages.contains("by blake2b"), "\(verified.messages)")
    }

    @Test("By an identity: the judge verifies it offline with the trust of a Sigstore of one's own")
    func identities() async throws {
        let services = try LocalServices.current
        let alice = LocalIdentity.email("alice@local.test")
        let signed = try await swsign(
            "sign-model", "--yes", "--trusted-root", services.files.trustedRoot, "--signing-config",
            services.files.signingConfig(.v1), "--identity-token", try services.issuer.token(for: alice), "model")
        #expect(signed.status == 0, "\(signed.messages)")
        let trust = services.files.trustConfig(.v1)
        let judged = try await judge(
            "verify", "sigstore", "--trust_config", trust, "--signature", "model/model.sig", "--identity",
            services.issuer.subject(of: alice), "--identity_provider", services.issuer.issuer(of: alice), "model")
        #expect(judged.status == 0, "\(judged.messages)")
        let refused = try await judge(
            "verify", "sigstore", "--trust_config", trust, "--signature", "model/model.sig", "--identity",
            "bob@local.test", "--identity_provider", services.issuer.issuer(of: alice), "model")
        #expect(refused.status != 0, "the judge takes another identity")
    }
}

/// PyPI's `model_signing`, as `make test-deps` installs it.
enum ModelSigning {
    static let python = Shared.checkout.appendingPathComponent(".build/python/bin/python3").path
    static let isThere = isInstalled("model_signing")

    /// Whether a package is in that folder.
    static func isInstalled(_ package: String) -> Bool {
        let library = Shared.checkout.appendingPathComponent(".build/python/lib").path
        let versions = (try? FileManager.default.contentsOfDirectory(atPath: library)) ?? []
        return versions.contains {
            FileManager.default.fileExists(atPath: "\(library)/\($0)/site-packages/\(package)")
        }
    }
}
