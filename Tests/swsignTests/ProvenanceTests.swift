import Foundation
import InToto
import SigstoreVerification
import StrictJSON
import Testing

/// What ecosystems publish, verified by the real program on their real files. Each is also refused with one thing changed.
@Suite("Provenance", .needsShared)
struct ProvenanceTests {
    private static let published = "\(sharedDirectory)/provenance"
    private static let trust = "\(sharedDirectory)/trust"
    private static let trusting = ["--trusted-root", "\(trust)/production/trusted_root.json"]
    private let directory = TemporaryDirectory()

    private func verify(_ arguments: String...) async -> Program.Outcome {
        await Program(directory: directory.path).run(["verify-provenance"] + Self.trusting + arguments)
    }

    private func expectRefusal(
        _ code: String, _ words: String..., of arguments: [String], trusting: [String] = Self.trusting,
        sourceLocation: SourceLocation = #_sourceLocation
    ) async {
        let outcome = await Program(directory: directory.path).run(["verify-provenance"] + trusting + arguments)
        #expect(
            outcome.ending == .exit(1) && outcome.code == code && outcome.stdout.isEmpty,
            "\(code) expected: \(outcome.messages)", sourceLocation: sourceLocation)
        for word in words {
            #expect(
                outcome.messages.contains(word), "\"\(word)\" is not said: \(outcome.messages)",
                sourceLocation: sourceLocation)
        }
    }

    /// Copies published files into the test's folder.
    private func copy(_ names: String..., from folder: String) throws {
        for name in names {
            let to = directory[name]
            try? FileManager.default.removeItem(atPath: to)
            try FileManager.default.copyItem(atPath: "\(Self.published)/\(folder)/\(name)", toPath: to)
        }
    }

    private static func text(_ path: String) throws -> String {
        try String(contentsOfFile: "\(published)/\(path)", encoding: .utf8)
    }

    // MARK: - PyPI

    private static let package = "pypi_attestations-0.0.19.tar.gz"
    private static let repository = "https://github.com/trailofbits/pypi-attestations"

    @Test("PyPI: every published form holds, for its repository and its identity")
    func pypi() async throws {
        let models = "pypi_attestation_models-0.0.4a2.tar.gz"
        for (file, attestations, repository) in [
            (Self.package, ".provenance", Self.repository), (Self.package, ".publish.attestation", Self.repository),
            (Self.package, ".slsa.attestation", Self.repository),
            (models, ".attestation", "https://github.com/trailofbits/pypi-attestation-models"),
        ] {
            let path = "\(Self.published)/pypi/\(file)"
            let outcome = await verify("--repository", repository, "--attestations", path + attestations, path)
            #expect(outcome.succeeded, "\(attestations): \(outcome.messages)")
            #expect(outcome.messages.contains("\n  source: \(repository)\n"), "\(outcome.messages)")
            await expectRefusal(
                "wrong-publisher", "trailofbits/pypi-attestation",
                of: ["--repository", repository + "-other", "-b", path + attestations, path])
        }
        let wheel = "\(Self.published)/pypi/rfc8785-0.1.2-py3-none-any.whl"
        let identity = [
            "--cert-identity", "william@yossarian.net", "--cert-oidc-issuer", "https://github.com/login/oauth",
        ]
        for ending in [".attestation", ".publish.attestation"] {
            let arguments = identity + ["--from", "pypi", "-b", wheel + ending, wheel]
            let staging = await Program(directory: directory.path).run(
                ["verify-provenance", "--trusted-root", "\(Self.trust)/staging/trusted_root.json"] + arguments)
            #expect(staging.succeeded, "\(staging.messages)")
            await expectRefusal("unknown-log", of: arguments)
        }
        // Signed on staging too; its file is not here.
        let other = "spt3g-1.0-cp310-cp310-manylinux_2_17_x86_64.manylinux2014_x86_64.whl"
        try directory.write(other, "another file")
        await expectRefusal(
            "wrong-subject",
            of: identity + ["-b", "\(Self.published)/pypi/\(other).publish.attestation", other],
            trusting: ["--trusted-root", "\(Self.trust)/staging/trusted_root.json"])
    }

    @Test("PyPI: what is printed for people and for programs")
    func pypiOutput() async throws {
        try copy(Self.package, Self.package + ".provenance", from: "pypi")
        let outcome = await verify("--repository", Self.repository, "--output", "json", Self.package)
        let object = try #require(try outcome.objects().first)
        let facts = try object.member("facts")
        for (name, value) in [
            ("package", "pypi_attestations"), ("version", "0.0.19"), ("sourceRepository", Self.repository),
            ("sourceCommit", "08802efe1f8e5fec4ad842d6b8ce97656092ee72"), ("sourceRef", "refs/tags/v0.0.19"),
            ("runner", "github-hosted"), ("publisher", "GitHub trailofbits/pypi-attestations"),
        ] { #expect(try facts.member(name).string() == value) }
        #expect(try object.member("verified").bool() && object.member("from").string() == "pypi")
        let attestation = try #require(try object.member("attestations").elements().first)
        #expect(try attestation.member("times").elements().first?.string() == "2024-12-04T23:14:01Z")
        #expect(outcome.messages.contains("Verified OK\n  package: pypi_attestations\n  version: 0.0.19\n"))
        // A publisher of another kind is compared with nothing, so it is not shown as if it had been.
        let stated = try Self.text("pypi/\(Self.package).provenance").replacing(
            #""kind":"GitHub""#, with: #""kind":"Other""#)
        try directory.write("other.provenance", stated)
        let other = await verify(
            "--cert-identity",
            "\(Self.repository)/.github/workflows/release.yml@refs/tags/v0.0.19",
            "--cert-oidc-issuer", "https://token.actions.githubusercontent.com", "-b", "other.provenance", Self.package)
        #expect(other.succeeded && !other.messages.contains("publisher"), "\(other.messages)")
        let refused = await verify("--repository", Self.repository + "x", "--output", "json", Self.package)
        let error = try #require(try refused.objects().first).member("error")
        #expect(try error.member("code").string() == "wrong-publisher")
    }

    @Test(
        "PyPI: one thing changed is refused by its own code: name, version, digest, publisher, workflow, one byte, repository"
    )
    func pypiChanged() async throws {
        let demanding = ["--repository", Self.repository]
        try copy(Self.package, Self.package + ".provenance", from: "pypi")
        let content = try directory.read(Self.package)
        let provenance = try Self.text("pypi/\(Self.package).provenance")
        for (name, code) in [
            ("pypi_attestations-0.0.20.tar.gz", "wrong-version"), ("pypi_attestation-0.0.19.tar.gz", "wrong-package"),
            ("pypi_attestations-0.0.19.zip", "wrong-package"), ("pypi_attestations.txt", "wrong-package"),
            ("pypi_attestations-0.0.19-py3-none-any.whl", "wrong-package"),
        ] {
            try directory.write(name, content)
            await expectRefusal(code, of: demanding + ["-b", Self.package + ".provenance", name])
        }
        // Names are compared as PyPI does it.
        try directory.write("PyPI.Attestations-0.0.19.tar.gz", content)
        let other = await verify(
            "--repository", Self.repository, "-b", Self.package + ".provenance", "PyPI.Attestations-0.0.19.tar.gz")
        #expect(other.succeeded, "\(other.messages)")
        try directory.write(Self.package, content + [0])
        await expectRefusal("wrong-subject", "publisher 1, attestation 1", of: demanding + [Self.package])
        try directory.write(Self.package, content)
        for (old, new, code) in [
            (#""workflow":"release.yml""#, #""workflow":"other.yml""#, "wrong-publisher"),
            (#""repository":"trailofbits/pypi-attestations""#, #""repository":"trailofbits/other""#, "wrong-publisher"),
            (#""kind":"GitHub""#, #""kind":"GitLab","workflow_filepath":"a""#, "wrong-publisher"),
            (#""kind":"GitHub""#, #""kind":"Nobody""#, "wrong-publisher"),
            (#""signature":"MEYCIQC+"#, #""signature":"MEYCIQC/"#, "log-entry-mismatch"),
            (#""version":1"#, #""version":2"#, "unexpected-json"),
        ] {
            let changed = provenance.replacing(old, with: new)
            #expect(changed != provenance, "\(old)")
            try directory.write("changed", changed)
            await expectRefusal(code, of: demanding + ["-b", "changed", Self.package])
        }
        await expectRefusal(
            "wrong-source", of: ["--repository", "github.com/trailofbits/pypi-attestations", Self.package])
        await expectRefusal("usage", "--repository", of: [Self.package])
        await expectRefusal("usage", of: ["--cert-identity", "a", Self.package])
    }

    @Test("PyPI: a folder of packages in one call; what has no attestations is refused, and named")
    func pypiFolder() async throws {
        for folder in ["dist", "here"] {
            try FileManager.default.createDirectory(atPath: directory[folder], withIntermediateDirectories: false)
        }
        try directory.write(
            "dist/\(Self.package)",
            Array(Data(contentsOf: URL(fileURLWithPath: "\(Self.published)/pypi/\(Self.package)"))))
        for ending in [".provenance", ".slsa.attestation"] {
            try directory.write(
                "dist/\(Self.package)\(ending)", try Self.text("pypi/\(Self.package)\(ending)"))
        }
        let outcome = await verify("--repository", Self.repository, "dist")
        #expect(outcome.succeeded, "\(outcome.messages)")
        try directory.write("dist/other-1.0.tar.gz", "other")
        let refused = await verify("--repository", Self.repository, "dist")
        #expect(refused.ending == .exit(1) && refused.messages.contains("not verified: dist/other-1.0.tar.gz"))
        #expect(refused.messages.contains("1 of 2 files verified"), "\(refused.messages)")
        // The attestations in a folder of their own.
        try directory.write("here/\(Self.package)", try directory.read("dist/\(Self.package)"))
        let apart = await verify("--repository", Self.repository, "-b", "dist", "here/\(Self.package)")
        #expect(apart.succeeded, "\(apart.messages)")
    }

    @Test("base64 may be broken into lines, as Python writes it")
    func brokenLines() async throws {
        try copy(Self.package, from: "pypi")
        var text = try Self.text("pypi/\(Self.package).publish.attestation")
        let statement = try #require(text.firstMatch(of: /"statement":"([^"]+)"/)).1
        let broken = stride(from: 0, to: statement.count, by: 76).map { start in
            String(statement.dropFirst(start).prefix(76)) + "\\n"
        }.joined()
        text = text.replacing(statement, with: broken)
        try directory.write(Self.package + ".publish.attestation", text)
        let outcome = await verify("--repository", Self.repository, Self.package)
        #expect(outcome.succeeded, "\(outcome.messages)")
        try directory.write(Self.package + ".publish.attestation", text.replacing("\\n", with: " "))
        await expectRefusal("malformed-base64", of: ["--repository", Self.repository, Self.package])
    }

    // MARK: - Every wrapping at the door

    @Test("verify-blob-attestation reads each wrapping; of several bundles one must hold, and each failure is named")
    func wrappings() async throws {
        let file = "\(Self.published)/pypi/\(Self.package)"
        func verify(_ bundle: String, _ type: String, _ subject: [String], by signer: [String]) async -> Program.Outcome
        {
            await Program(directory: directory.path).run(
                ["verify-blob-attestation", "--offline"] + Self.trusting + signer
                    + ["--type", type, "--bundle", bundle] + subject)
        }
        let workflow = [
            "--certificate-identity", "\(Self.repository)/.github/workflows/release.yml@refs/tags/v0.0.19",
            "--certificate-oidc-issuer", "https://token.actions.githubusercontent.com",
        ]
        let publish = "https://docs.pypi.org/attestations/publish/v1"
        for ending in [".provenance", ".publish.attestation"] {
            let outcome = await verify(file + ending, publish, [file], by: workflow)
            #expect(outcome.succeeded, "\(outcome.messages)")
        }
        let anyOne =
            ["--certificate-identity-regexp", "^https://github.com/sigstore/sigstore-js/"] + workflow.suffix(2)
        let npm = "\(Self.published)/npm/valid-attestations.json"
        let sha512 =
            "282c0c5fa936d264321643581b65d3de5c0af6ed4fdfac12f5851115df39cc25cfaf0ad22d908487bfef30114d61c25746206d1834be4f8fd1659178f77cc004"
        let digest = ["--digest", sha512, "--digestAlg", "sha512"]
        let provenance = await verify(npm, "slsaprovenance", digest, by: anyOne)
        #expect(provenance.succeeded, "\(provenance.messages)")
        let published = await verify(
            npm, "https://github.com/npm/attestation/tree/main/specs/publish/v0.1", digest,
            by: ["--key", "\(Self.published)/npm/npm-attestations-2022.pub"])
        #expect(published.succeeded, "\(published.messages)")
        let changed = await verify(
            npm, "slsaprovenance", ["--digest", "0" + sha512.dropFirst(), "--digestAlg", "sha512"], by: anyOne)
        #expect(changed.code == "wrong-subject", "\(changed.messages)")
        for place in ["attestation 1: step 8 of 8, statement", "attestation 2: step 1 of 8, form"] {
            #expect(changed.messages.contains(place), "\(changed.messages)")
        }
        let js = "\(Self.published)/github/sigstore-js-2.1.0"
        let lines = "\(js)_with_2_bundles.jsonl"
        let held = await verify(lines, "slsaprovenance1", ["\(js).tgz"], by: anyOne)
        #expect(held.succeeded, "\(held.messages)")
        let refused = await verify(lines, "slsaprovenance1", [file], by: anyOne)
        #expect(refused.code == "wrong-subject")
        #expect(refused.messages.contains("line 1: ") && refused.messages.contains("line 2: "), "\(refused.messages)")
        // An array, as conda's channels and RubyGems have it.
        let each = try Self.text("github/sigstore-js-2.1.0_with_2_bundles.jsonl").split(separator: "\n")
        try directory.write("array.json", "[\(each.joined(separator: ","))]")
        let array = await verify("array.json", "slsaprovenance1", ["\(js).tgz"], by: anyOne)
        #expect(array.succeeded, "\(array.messages)")
        let key = await verify("\(Self.published)/npm/npm-attestations-2022.pub", "custom", [file], by: anyOne)
        #expect(key.code == "not-a-bundle" && key.messages.contains("it looks like a public key in PEM"))
    }

    @Test("What Maven publishes holds; a chain in a bundle of version 0.3 does not")
    func maven() async throws {
        let folder = "\(Self.published)/maven"
        func verify(_ bundle: String, _ instance: String = "production") async -> Program.Outcome {
            await Program(directory: directory.path).run([
                "verify-blob", "--offline", "--trusted-root", "\(Self.trust)/\(instance)/trusted_root.json",
                "--certificate-identity-regexp", ".", "--certificate-oidc-issuer-regexp", ".", "--bundle",
                "\(folder)/\(bundle)", "\(folder)/artifact.txt",
            ])
        }
        for name in ["bundle.sigstore", "bundle.v3.sigstore"] {
            let outcome = await verify(name)
            #expect(outcome.succeeded, "\(name): \(outcome.messages)")
        }
        let rekor = "bundle-with-rekor-v2-entry.sigstore"
        let staging = await verify(rekor, "staging")
        #expect(staging.succeeded, "\(staging.messages)")
        #expect(await verify(rekor).ending == .exit(1))
        #expect(await verify("bundle-no-digest.sigstore").code == "unexpected-json")
        #expect(await verify("bundle.dsse.sigstore").code == "attestation-not-signature")
    }
}
