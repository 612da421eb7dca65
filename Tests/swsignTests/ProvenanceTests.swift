import Foundation
import InToto
import LocalSigstore
import SigstoreCrypto
import SigstoreVerification
import StrictJSON
import TestServices
import Testing

/// What ecosystems publish, verified by the real program on their real files. Each is also refused with one thing changed.
@Suite("Provenance", .needsShared)
struct ProvenanceTests {
    private static let published = "\(sharedDirectory)/provenance"
    private static let trust = "\(sharedDirectory)/trust"
    private static let trusting = ["--trusted-root", "\(trust)/production/trusted_root.json"]
    private let directory = TemporaryDirectory()

    private func verify(_ arguments: String...) async -> Program.Outcome { await verify(arguments: arguments) }

    private func verify(arguments: [String]) async -> Program.Outcome {
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
            // A person is no workflow of any repository, and that is said.
            await expectRefusal(
                "wrong-publisher",
                "a person has published: william@yossarian.net (issuer https://github.com/login/oauth)",
                of: [
                    "--repository", "https://github.com/trailofbits/rfc8785.py", "--from", "pypi", "-b", wheel + ending,
                    wheel,
                ], trusting: ["--trusted-root", "\(Self.trust)/staging/trusted_root.json"])
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

    @Test("In a directory, a file is passed over for its name only if it is read as attestations, or holds some")
    func namedLikeAttestations() async throws {
        try copy(Self.package, Self.package + ".provenance", from: "pypi")
        for folder in ["dist", "apart"] {
            try FileManager.default.createDirectory(atPath: directory[folder], withIntermediateDirectories: false)
        }
        func put(_ name: String, _ from: String) throws {
            try directory.write("dist/\(name)", try directory.read(from))
        }
        try put(Self.package, Self.package)
        try put(Self.package + ".provenance", Self.package + ".provenance")
        try put(Self.package + ".sigs", Self.package + ".provenance")
        let held = await verify("--repository", Self.repository, "dist")
        #expect(held.succeeded, "\(held.messages)")
        for ending in [".jsonl", ".sigs"] {
            try directory.write("dist/\(Self.package)\(ending)", "a program that nobody signed")
        }
        let refused = await verify("--repository", Self.repository, "dist")
        #expect(refused.ending == .exit(1) && refused.messages.contains("1 of 3 files verified"), "\(refused.messages)")
        // The attestations are in another folder: none in this one is read for a file.
        try put(Self.package + ".provenance", Self.package)
        try directory.write("apart/\(Self.package).provenance", try directory.read(Self.package + ".provenance"))
        let elsewhere = await verify("--repository", Self.repository, "-b", "apart", "dist")
        #expect(
            elsewhere.ending == .exit(1) && elsewhere.messages.contains("1 of 4 files verified"),
            "\(elsewhere.messages)")
    }

    @Test("A flag that says nothing of the ecosystem is refused, and never passed over")
    func flagsOfOthers() async throws {
        let pypi = [
            "--repository", Self.repository, "-b", "\(Self.published)/pypi/\(Self.package).provenance",
            "\(Self.published)/pypi/\(Self.package)",
        ]
        let npm = Self.npm()
        let identity = ["--cert-identity", "nobody", "--cert-oidc-issuer", "https://example.org"]
        for (flags, arguments) in [
            (["--repo", "a/b", "--source-ref", "refs/tags/v9"], ["--from", "pypi"] + pypi),
            (["--repo", "a/b"] + identity, pypi), (["--owner", "a"], pypi), (["--predicate-type", "custom"], npm),
            (["--repo", "a/b"], npm), (["--repository", Self.repository], npm), (["--signer-digest", "a"], npm),
            (["--deny-self-hosted-runners"], npm),
            (["--source-uri", "github.com/a/b"], ["--from", "github"] + Self.js),
            (["--repository", Self.repository], Self.js),
            (["--repository", Self.repository, "--from", "github"], Self.js),
            (
                [
                    "--package", "a", "--package-version", "1", "--source-uri", "github.com/a/b", "--npm-keys",
                    Self.npmKey,
                ], pypi
            ),
        ] { await expectRefusal("usage", of: flags + arguments) }
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

    // MARK: - Trusted roots as they are handed out

    private static let gitHubIdentity = [
        "--certificate-identity-regexp", "^https://github.com/", "--certificate-oidc-issuer",
        "https://token.actions.githubusercontent.com", "--type", "slsaprovenance1",
    ]

    @Test("GitHub's instance for private repositories: no flag is needed, and what was not proven is said")
    func privateInstance() async throws {
        let folder = "\(Self.published)/github"
        let roots = "\(folder)/github-private-no-tlog/trusted_root.jsonl"
        let lines = try Self.text("github/github-private-no-tlog/trusted_root.jsonl").split(separator: "\n")
        try directory.write("private.json", String(lines[1]))
        let demo = "github_provenance_demo-0.0.12-py3-none-any"
        let subjects = [
            ["--bundle", "\(folder)/\(demo)-bundle.jsonl", "\(folder)/\(demo).whl"],
            [
                "--bundle", "\(folder)/github-private-no-tlog/attestation.sigstore.json", "--digest",
                "caa015ef69e9bc31a41322d6c71563ed9600c75bb988e4d639b1edc578580551",
            ],
        ]
        func verify(_ root: String, _ subject: [String], _ flags: String...) async -> Program.Outcome {
            await Program(directory: directory.path).run(
                ["verify-blob-attestation", "--trusted-root", root] + Self.gitHubIdentity + flags + subject)
        }
        for root in [roots, "private.json"] {
            for subject in subjects {
                let outcome = await verify(root, subject)
                #expect(outcome.succeeded && !outcome.messages.contains("WARNING"), "\(outcome.messages)")
                #expect(
                    outcome.messages.contains("  not proven: no log has the signature, no SCT: "), "\(outcome.messages)"
                )
            }
        }
        let json = await verify(roots, subjects[0], "--output", "json")
        let unproven = try #require(try json.objects().first).member("notProven").elements().map { try $0.string() }
        #expect(unproven == ["log-entry", "certificate-timestamp"])
        // The public root alone does not know the authority; in the file, no other root is tried for a public signature.
        try directory.write("public.json", String(lines[0]))
        #expect(await verify("public.json", subjects[0]).code == "timestamp-authority")
        let js = ["--bundle", "\(folder)/sigstore-js-2.1.0-bundle.json", "\(folder)/sigstore-js-2.1.0.tgz"]
        let publicOne = await verify(roots, js)
        #expect(publicOne.succeeded && !publicOne.messages.contains("not proven"), "\(publicOne.messages)")
        #expect(await verify("private.json", js).ending == .exit(1))
        // Without the timestamp, with one byte of it changed, or with a root that has no authority for it: refused.
        let bundle = try JSONValue(
            parsing: Array(try Self.text("github/\(demo)-bundle.jsonl").split(separator: "\n")[0].utf8))
        let text = String(decoding: bundle.serialized(), as: UTF8.self)
        let timestamp = try #require(text.firstMatch(of: /"timestampVerificationData":\{[^}]*\}\]\}/)).0
        for (changed, code) in [
            (text.replacing(timestamp, with: #""timestampVerificationData":{}"#), "no-time"),
            (text.replacing(#""signedTimestamp":"M"#, with: #""signedTimestamp":"N"#), "malformed-timestamp"),
        ] {
            #expect(changed != text)
            try directory.write("changed.json", changed)
            let refused = await verify(roots, ["--bundle", "changed.json", "\(folder)/\(demo).whl"])
            #expect(refused.code == code, "\(refused.messages)")
        }
        guard case .object(var root) = try JSONValue(parsing: Array(lines[1].utf8)) else { return }
        guard case .object(let whole) = try JSONValue(parsing: Array(lines[0].utf8)) else { return }
        root["timestampAuthorities"] = nil
        try directory.write("no-tsa.json", JSONValue.object(root).serialized())
        #expect(await verify("no-tsa.json", subjects[0]).ending == .exit(1))
        // A log of either kind in the root: then an entry and an SCT are demanded.
        for name in ["tlogs", "ctlogs"] {
            guard case .object(var root) = try JSONValue(parsing: Array(lines[1].utf8)) else { return }
            root[name] = whole[name]
            try directory.write("with-log.json", JSONValue.object(root).serialized())
            let refused = await verify("with-log.json", subjects[0])
            #expect(
                ["no-certificate-timestamp", "no-log-entry"].contains(refused.code), "\(name): \(refused.messages)")
            // A log with a key of a kind that is not known (X25519, which signs nothing) is passed over, and is a log all the same.
            let logs = String(decoding: try #require(whole[name]).serialized(), as: UTF8.self)
            let unknown = logs.replacing(
                /"rawBytes":"[^"]*"/,
                with: #""rawBytes":"MCowBQYDK2VuAyEAAQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyA=""#)
            root[name] = try JSONValue(parsing: Array(unknown.utf8))
            try directory.write("unknown-log.json", JSONValue.object(root).serialized())
            try directory.write(
                "unknown-log.jsonl", JSONValue.object(whole).serialized() + [0x0a] + JSONValue.object(root).serialized()
            )
            for file in ["unknown-log.json", "unknown-log.jsonl"] {
                let demanded = await verify(file, subjects[0])
                #expect(demanded.ending == .exit(1), "\(name), \(file): \(demanded.messages)")
            }
        }
    }

    @Test("A public signature is not taken for a private one by a root whose logs were cut out")
    func rootWithoutLogs() async throws {
        guard
            case .object(var root) = try JSONValue(
                parsing: Array(try Data(contentsOf: URL(fileURLWithPath: "\(Self.trust)/production/trusted_root.json")))
            )
        else { return }
        (root["tlogs"], root["ctlogs"]) = (nil, nil)
        try directory.write("root.json", JSONValue.object(root).serialized())
        let js = "\(Self.published)/github/sigstore-js-2.1.0"
        let bundle = try Self.text("github/sigstore-js-2.1.0-bundle.json")
        try directory.write("with-entry.json", bundle)
        let json = JSONCursor(try JSONValue(parsing: Array(bundle.utf8)))
        guard case .object(var top) = json.value,
            case .object(var material) = try json.member("verificationMaterial").value
        else { return }
        material["tlogEntries"] = nil
        top["verificationMaterial"] = .object(material)
        try directory.write("without-entry.json", JSONValue.object(top).serialized())
        for name in ["with-entry.json", "without-entry.json"] {
            let outcome = await Program(directory: directory.path).run(
                ["verify-blob-attestation", "--trusted-root", "root.json", "--bundle", name] + Self.gitHubIdentity
                    + ["\(js).tgz"])
            #expect(outcome.ending == .exit(1), "\(name): \(outcome.messages)")
        }
    }

    // MARK: - npm

    private static let npmKey = "\(published)/npm/npm-attestations-2022.pub"
    private static let npmDigest =
        "282c0c5fa936d264321643581b65d3de5c0af6ed4fdfac12f5851115df39cc25cfaf0ad22d908487bfef30114d61c25746206d1834be4f8fd1659178f77cc004"

    private static func npm(
        _ file: String = "valid-attestations.json", package: String = "sigstore", version: String = "0.4.0",
        source: String = "github.com/sigstore/sigstore-js", keys: String = npmKey,
        digest: String = "sha512:" + npmDigest,
        more: [String] = []
    ) -> [String] {
        [
            "--from", "npm", "--package", package, "--package-version", version, "--source-uri", source, "--npm-keys",
            keys, "-b", file.contains("/") ? file : "\(published)/npm/\(file)", digest,
        ] + more
    }

    @Test("npm: the registry's answer holds, with the key in PEM and as the registry and TUF hand it out")
    func npm() async throws {
        let pem = try Self.text("npm/npm-attestations-2022.pub")
        let der = pem.split(separator: "\n")[1]
        let id = "SHA256:jl3bwswu80PjjokCgh0o2w5c2U4LhQAE57gj9cz1kzA"
        func tuf(_ id: String, _ end: String = "", _ usage: String = "npm:attestations") -> String {
            #"{"keys":[{"keyId":"\#(id)","keyUsage":"\#(usage)","publicKey":{"rawBytes":"\#(der)","keyDetails":"#
                + #""PKIX_ECDSA_P256_SHA_256","validFor":{"start":"1999-01-01T00:00:00.000Z"\#(end)}}}]}"#
        }
        try directory.write("tuf.json", tuf(id))
        try directory.write("until.json", tuf(id, #","end":"2023-01-12T00:00:00Z""#))
        try directory.write("expired.json", tuf(id, #","end":"2023-01-01T00:00:00Z""#))
        try directory.write("other.json", tuf("SHA256:other"))
        try directory.write("usage.json", tuf(id, "", "npm:signatures"))
        let answer =
            #"{"keys":[{"expires":null,"keyid":"\#(id)","keytype":"ecdsa-sha2-nistp256","scheme":"x","key":"\#(der)"}]}"#
        try directory.write("answer.json", answer)
        try directory.write("gone.json", answer.replacing("null", with: #""2023-01-01T00:00:00.000Z""#))
        let run = { (arguments: [String]) in
            await Program(directory: directory.path).run(["verify-provenance"] + Self.trusting + arguments)
        }
        for keys in [Self.npmKey, "tuf.json", "until.json", "answer.json"] {
            let outcome = await run(Self.npm(keys: keys))
            #expect(outcome.succeeded, "\(keys): \(outcome.messages)")
        }
        for (keys, code) in [
            ("expired.json", "registry-key-expired"), ("gone.json", "registry-key-expired"),
            ("other.json", "unknown-registry-key"), ("usage.json", "unexpected-json"),
        ] { await expectRefusal(code, of: Self.npm(keys: keys)) }
        // What the person is told, and the program.
        let integrity = "sha512-" + Base64.encode(try #require(Hexadecimal.decode(Self.npmDigest)))
        let builder = "https://github.com/npm/cli@9.2.0"
        let outcome = await run(
            Self.npm(source: "git+https://github.com/sigstore/sigstore-js", digest: integrity)
                + ["--builder-id", builder, "--format", "json"])
        let facts = try #require(try outcome.objects().first, "\(outcome.messages)").member("facts")
        for (name, value) in [
            ("package", "sigstore"), ("version", "0.4.0"), ("digest", "sha512:" + Self.npmDigest), ("builder", builder),
            ("sourceRepository", "https://github.com/sigstore/sigstore-js"), ("sourceRef", "refs/tags/v0.4.0"),
            ("sourceCommit", "8a2ee2fd20dda58ffa4a8d808a65cb1e04711c03"), ("publisher", "https://registry.npmjs.org"),
        ] { #expect(try facts.member(name).string() == value) }
        #expect(outcome.messages.contains("at 2023-01-11T17:31:54Z"), "\(outcome.messages)")
    }

    @Test("npm: each of the registry's answers that are not right is refused by its own code")
    func npmRefused() async throws {
        for (file, code, words) in [
            ("mismatched-subject-name", "wrong-version", "expected 0.4.0, found 1.4.0"),
            ("mismatched-subject-digest", "wrong-subject", "found sha512:123c0c5f"),
            ("mismatched-keyid", "unknown-registry-key", "JXkT/aBM9baLZ7dpjJLQhJrj3Ru5s/OSXoZzZsPUyhg"),
            ("no-keyid", "malformed-base64", "signatures[0].sig"),
            ("malformed-subject", "unexpected-json", "attestation 2"),
            ("invalid", "malformed-base64", "attestations[1]"),
            ("unsupported", "wrong-payload-type", "tlog-entry-mismatch"),
        ] { await expectRefusal(code, words, of: Self.npm("\(file)-attestations.json")) }
        await expectRefusal("wrong-package", "expected sigstor, found sigstore", of: Self.npm(package: "sigstor"))
        await expectRefusal("wrong-version", of: Self.npm(version: "0.4.1"))
        await expectRefusal("wrong-subject", of: Self.npm(digest: "sha512:1" + Self.npmDigest.dropFirst()))
        await expectRefusal("other-digest-needed", of: Self.npm(digest: "sha256:" + Self.npmDigest.prefix(64)))
        await expectRefusal("wrong-source", "certificate says", of: Self.npm(source: "github.com/sigstore/sigstore"))
        await expectRefusal("wrong-source", of: Self.npm(source: "example.org/sigstore/sigstore"))
        await expectRefusal("wrong-builder", of: Self.npm(more: ["--builder-id", "https://github.com/npm/cli@9.2"]))
        await expectRefusal(
            "wrong-identity",
            of: Self.npm(more: [
                "--cert-identity", "a", "--cert-oidc-issuer", "https://token.actions.githubusercontent.com",
            ]))
        let whole = try Self.text("npm/valid-attestations.json")
        guard case .object(let top) = try JSONValue(parsing: Array(whole.utf8)),
            case .array(let attestations)? = top["attestations"]
        else { return }
        for index in [0, 1] {
            try directory.write(
                "half.json", JSONValue.object(["attestations": .array([attestations[index]])]).serialized())
            await expectRefusal("no-provenance", of: Self.npm(directory["half.json"]))
        }
        // The same without the key's name, and with one byte of a signature changed.
        let compact = String(decoding: JSONValue.object(top).serialized(), as: UTF8.self)
        for (old, new, code) in [
            (#""keyid":"SHA256:jl3"#, #""keyid":"SHA256:jl4"#, "unknown-registry-key"),
            (#""hint":"SHA256:jl3"#, #""hint":"SHA256:jl4"#, "unknown-registry-key"),
            (#""sig":"MEUCIQ"#, #""sig":"MEUCIR"#, "log-entry-mismatch"),
        ] {
            let changed = compact.replacing(old, with: new)
            #expect(changed != compact, "\(old)")
            try directory.write("changed.json", changed)
            await expectRefusal(code, of: Self.npm(directory["changed.json"]))
        }
        try directory.write(
            "types.json",
            whole.replacing(#""predicateType": "https://slsa.dev/provenance/v0.2""#, with: #""predicateType": "x""#)
                .replacing(#""predicateType":"https://slsa.dev/provenance/v0.2""#, with: #""predicateType":"x""#))
        await expectRefusal("attestations-disagree", of: Self.npm(directory["types.json"]))
        await expectRefusal(
            "usage", "--package",
            of: ["-b", "\(Self.published)/npm/valid-attestations.json", "sha512:" + Self.npmDigest])
        await expectRefusal("usage", of: ["--from", "npm", "--package", "a", "file"])
    }

    @Test(
        "npm: if an identity is demanded alone, the builder that is named has signed, and there is one source",
        .localSigstore)
    func npmBuilder() async throws {
        let place = try SigningFixture()
        try place.directory.write("app", "a package")
        try place.directory.makeKey("npm")
        let digest = try Digest.hash(Array("a package".utf8), .sha512).hex
        let own = "example/demo/.github/workflows/build.yml@refs/tags/v1.0.0"
        let node = "slsa-framework/slsa-github-generator/.github/workflows/builder_nodejs_slsa3.yml@refs/tags/v2.1.0"
        func refusal(_ builder: String, by signer: String, from source: String, _ more: [String]) async throws
            -> String?
        {
            let predicate =
                #"{"builder":{"id":"https://github.com/\#(builder)"},"buildType":"x","invocation":{"configSource":"#
                + #"{"uri":"git+https://github.com/\#(source)@refs/tags/v1.0.0"}}}"#
            try place.directory.write(
                "statement",
                #"{"_type":"https://in-toto.io/Statement/v1","subject":[{"name":"pkg:npm/app@1.0.0","digest":{"sha512":""#
                    + #"\#(digest)"}}],"predicateType":"https://slsa.dev/provenance/v0.2","predicate":\#(predicate)}"#)
            var workflow = GitHubWorkflow(repository: "example/demo", ref: "refs/tags/v1.0.0", event: "push")
            workflow.builder = signer
            workflow.certificateIssuer = "https://token.actions.githubusercontent.com"
            let made = try await place.run(
                ["attest-blob", "--yes"] + place.services(.v1) + place.token(.gitHubWorkflow(workflow)) + [
                    "--statement", "statement", "--bundle", "bundle",
                ])
            try #require(made.succeeded, "\(made.messages)")
            let outcome = await place.run(
                ["verify-provenance"] + place.trust + [
                    "--from", "npm", "--package", "app", "--package-version", "1.0.0", "--npm-keys", "npm.pub", "-b",
                    "bundle",
                ] + more + ["app"])
            #expect(outcome.ending == .exit(1), "\(outcome.messages)")
            return outcome.code
        }
        let identity = [
            "--cert-identity", "https://github.com/\(own)", "--cert-oidc-issuer",
            "https://token.actions.githubusercontent.com",
        ]
        // What holds lacks the registry's attestation alone.
        #expect(try await refusal(own, by: own, from: "example/demo", identity) == "no-provenance")
        #expect(try await refusal(node, by: own, from: "example/demo", identity) == "wrong-builder")
        #expect(try await refusal(own, by: own, from: "example/other", identity) == "attestations-disagree")
    }

    // MARK: - GitHub

    private static let gitHub = "\(published)/github"
    private static let js = [
        "--repo", "sigstore/sigstore-js", "-b", "\(gitHub)/sigstore-js-2.1.0-bundle.json",
        "\(gitHub)/sigstore-js-2.1.0.tgz",
    ]
    private static let reusable = [
        "-b", "\(gitHub)/reusable-workflow-attestation.sigstore.json", "\(gitHub)/reusable-workflow-artifact",
    ]
    private static let called = "github/artifact-attestations-workflows"

    @Test("GitHub: bundles, lines of them, a called workflow, and the instance for private repositories hold")
    func gitHub() async throws {
        let demo = "\(Self.gitHub)/github_provenance_demo-0.0.12-py3-none-any"
        let private1 = [
            "--custom-trusted-root", "\(Self.gitHub)/github-private-no-tlog/trusted_root.jsonl", "--repo",
            "actions/attest-demo", "-b", "\(demo)-bundle.jsonl", "\(demo).whl",
        ]
        func of(_ bundle: String) -> [String] {
            ["-R", "sigstore/sigstore-js", "-b", "\(Self.gitHub)/sigstore-js-2.1.0\(bundle)"] + Self.js.suffix(1)
        }
        let workflow = "sigstore/sigstore-js/.github/workflows/release.yml"
        let commit = "26d16513386ffaa790b1c32f927544f1322e4194"
        var calls: [[String]] = [Self.js, ["--from", "github", "-o", "SigStore"] + Self.js.dropFirst(2)]
        calls += [of("-bundle-v0.1.json"), of("_with_2_bundles.jsonl")]
        for flags in [
            [
                "--signer-workflow", workflow, "--source-ref", "refs/heads/main", "--source-digest", commit,
                "--deny-self-hosted-runners", "--digest-alg", "sha512",
            ],
            ["--signer-workflow", "github.com/\(workflow)@refs/heads/main", "--signer-digest", commit],
            ["--cert-identity", "https://github.com/\(workflow)@refs/heads/main"],
            ["--hostname", "github.com"],
        ] { calls.append(Self.js + flags) }
        calls.append(["--repo", "malancas/attest-demo", "--signer-repo", Self.called] + Self.reusable)
        calls = calls.map { Self.trusting + $0 } + [private1, private1 + ["--from", "github"]]
        for arguments in calls {
            let outcome = await Program(directory: directory.path).run(["verify-provenance"] + arguments)
            #expect(outcome.succeeded, "\(arguments): \(outcome.messages)")
            #expect(outcome.messages.contains("not proven") == arguments.contains("--custom-trusted-root"))
        }
    }

    @Test("GitHub: an enterprise that GitHub hosts apart, by its name, issuer and trusted root", .localSigstore)
    func gitHubTenant() async throws {
        let place = try SigningFixture()
        try place.directory.write("app", "content")
        var workflow = GitHubWorkflow(repository: "example/demo")
        workflow.certificateIssuer = "https://token.actions.acme.ghe.com"
        let made = try await place.run(
            ["attest-blob", "--yes"] + place.services(.v1) + place.token(.gitHubWorkflow(workflow)) + [
                "--type", "slsaprovenance1", "--predicate", "-", "--bundle", "bundle", "app",
            ], input: .bytes(Array(Self.predicate.utf8)))
        try #require(made.succeeded, "\(made.messages)")
        let file = ["--from", "github", "-b", "bundle", "app"]
        let tenant = ["--hostname", "acme.ghe.com"]
        let path = "example/demo/.github/workflows/release.yml"
        for flags in [
            ["--repo", "example/demo"], ["--owner", "Example"],
            ["--repo", "example/demo", "--signer-workflow", "acme.ghe.com/\(path)"],
            ["--repo", "example/demo", "--signer-workflow", path],
            ["-R", "example/demo", "--signer-repo", "example/demo"],
        ] {
            let held = await place.run(["verify-provenance"] + place.trust + tenant + flags + file)
            #expect(held.succeeded, "\(flags): \(held.messages)")
        }
        for (flags, code) in [
            (["--repo", "example/demo"], "wrong-issuer"), (tenant + ["--repo", "example/other"], "wrong-source"),
            (["--hostname", "acm.ghe.com", "--repo", "example/demo"], "wrong-issuer"),
            (tenant + ["--repo", "example/demo", "--signer-workflow", "github.com/\(path)"], "wrong-workflow"),
            (
                [
                    "--repo", "example/demo", "--cert-oidc-issuer", "https://token.actions.acme.ghe.com",
                ], "wrong-source"
            ),
        ] {
            let refused = await place.run(["verify-provenance"] + place.trust + flags + file)
            #expect(refused.code == code, "\(flags): \(refused.messages)")
        }
    }

    private static let predicate =
        #"{"buildDefinition":{"buildType":"https://actions.github.io/buildtypes/workflow/v1","externalParameters":{},"resolvedDependencies":[]},"runDetails":{"builder":{"id":"https://example.com"}}}"#

    @Test("GitHub: the JSON is what users of gh read")
    func gitHubJSON() async throws {
        let outcome = await verify(arguments: Self.js + ["--format", "json"])
        let entry = try #require(try outcome.objects().first?.elements().first, "\(outcome.messages)")
        let result = try entry.member("verificationResult")
        let statement = try result.member("statement")
        #expect(try statement.member("subject").elements().first?.member("name").string() == "pkg:npm/sigstore@2.1.0")
        #expect(try statement.member("predicateType").string() == "https://slsa.dev/provenance/v1")
        let time = try #require(try result.member("verifiedTimestamps").elements().first)
        #expect(try time.member("timestamp").string() == "2023-08-29T15:40:23Z")
        #expect(try time.member("type").string() == "Tlog")
        let certificate = try result.member("signature").member("certificate")
        for (name, value) in [
            ("sourceRepositoryURI", "https://github.com/sigstore/sigstore-js"), ("runnerEnvironment", "github-hosted"),
            ("githubWorkflowRepository", "sigstore/sigstore-js"),
            ("issuer", "https://token.actions.githubusercontent.com"),
        ] { #expect(try certificate.member(name).string() == value) }
        let bundle = try entry.member("attestation").member("bundle")
        _ = try SigstoreBundle(bundle)
    }

    @Test("GitHub: each demand that is not met has its own code; patterns are closed")
    func gitHubRefused() async throws {
        let workflow = "sigstore/sigstore-js/.github/workflows/"
        for (flags, code) in [
            (["--signer-workflow", workflow + "rel"], "wrong-workflow"),
            (["--signer-workflow", workflow + "release"], "wrong-workflow"),
            (["--signer-workflow", workflow + "release.y"], "wrong-workflow"),
            (["--signer-workflow", workflow + "release?yml"], "wrong-workflow"),
            (["--signer-workflow", workflow + "Release.yml"], "wrong-workflow"),
            (["--signer-workflow", workflow + "release.yml@refs/heads/mai"], "wrong-workflow"),
            (["--signer-workflow", "sigstore.sigstore-js/.github/workflows/release.yml"], "wrong-workflow"),
            (["--signer-workflow", "release.yml"], "wrong-source"),
            (["--signer-repo", "sigstore/sigstore-j"], "wrong-workflow"), (["--signer-repo", "a"], "wrong-source"),
            (["--source-ref", "refs/heads/mai"], "wrong-branch"), (["--source-ref", "refs/tags/v2.1.0"], "wrong-tag"),
            (["--source-digest", "26d16513386ffaa790b1c32f927544f1322e4195"], "wrong-commit"),
            (["--signer-digest", "26d1"], "wrong-commit"), (["--predicate-type", "spdxjson"], "wrong-predicate-type"),
            (["--cert-oidc-issuer", "https://gitlab.com"], "wrong-issuer"),
            (["--cert-identity", "https://github.com/sigstore/sigstore-js"], "wrong-identity"),
            (["--cert-identity-regex", "^https://github.com/other/"], "wrong-identity"),
            (["--digest-alg", "sha256"], "wrong-subject"), (["--digest-alg", "md5"], "unknown-algorithm"),
            (["--digest-alg", "sha384"], "unknown-algorithm"),
            (["--hostname", "acme.ghe.com"], "wrong-issuer"), (["--hostname", "github.example"], "wrong-source"),
            (["--hostname", "a.b.ghe.com"], "wrong-source"), (["--hostname", "ghe.com"], "wrong-source"),
            (["--hostname", ".ghe.com"], "wrong-source"), (["--hostname", "GitHub.com"], "wrong-source"),
            (["--owner", "sigstore"], "usage"), (["--signer-repo", "a/b", "--cert-identity", "c"], "usage"),
        ] { await expectRefusal(code, of: Self.js + flags) }
        // What another host has signed is believed by that host's trusted root alone.
        await expectRefusal("usage", "acme.ghe.com", of: Self.js + ["--hostname", "acme.ghe.com"], trusting: [])
        await expectRefusal(
            "usage", "--hostname", of: ["--from", "github", "--hostname", "github.com"] + Self.reusable)
        for (repository, code) in [
            ("sigstore/sigstore-j", "wrong-source"), ("sigstore/sigstore", "wrong-source"), ("other/x", "wrong-source"),
            ("sigstore", "wrong-source"), ("sigstore/sigstore-js/x", "wrong-source"), ("a b/c", "wrong-source"),
        ] { await expectRefusal(code, of: ["--from", "github", "--repo", repository] + Self.js.dropFirst(2)) }
        // The called workflow signs for the caller's repository only if that was said.
        await expectRefusal("wrong-workflow", of: ["--repo", "malancas/attest-demo"] + Self.reusable)
        await expectRefusal(
            "wrong-source", of: ["--repo", Self.called, "--signer-repo", Self.called] + Self.reusable)
        await expectRefusal("usage", "--repo", of: ["--from", "github"] + Self.reusable)
        await expectRefusal("usage", "--source-ref", of: ["--source-ref", "a"] + Self.reusable)
        let artifact = try Array(Data(contentsOf: URL(fileURLWithPath: Self.js[4])))
        try directory.write("changed.tgz", artifact + [0])
        let lines = "\(Self.gitHub)/sigstore-js-2.1.0_with_2_bundles.jsonl"
        await expectRefusal(
            "wrong-subject", "line 1: ", "line 2: ", of: ["-R", "sigstore/sigstore-js", "-b", lines, "changed.tgz"])
        await expectRefusal(
            "wrong-payload-type",
            of: [
                "--from", "github", "-R", "github/example", "-b",
                "\(Self.gitHub)/sigstoreBundle-invalid-signature.json",
                "changed.tgz",
            ])
    }

    @Test("npm: a whole lock file in one call; what cannot be proven is named, and the exit code says so")
    func npmLockFile() async throws {
        let integrity = "sha512-" + Base64.encode(try #require(Hexadecimal.decode(Self.npmDigest)))
        func lock(_ more: String = "") -> String {
            #"{"name":"p","lockfileVersion":3,"packages":{"":{"name":"p"},"node_modules/sigstore":{"version":"0.4.0","#
                + #""resolved":"https://registry.npmjs.org/sigstore/-/sigstore-0.4.0.tgz","integrity":"\#(integrity)"}"#
                + more + "}}"
        }
        try FileManager.default.createDirectory(atPath: directory["folder"], withIntermediateDirectories: false)
        try directory.write("folder/sigstore@0.4.0.json", try Self.text("npm/valid-attestations.json"))
        let demanding = ["--from", "npm", "--npm-keys", Self.npmKey, "-b", "folder", "package-lock.json"]
        try directory.write("package-lock.json", lock())
        let outcome = await verify(arguments: demanding + ["--output", "json"])
        #expect(outcome.succeeded, "\(outcome.messages)")
        let facts = try #require(try outcome.objects().first).member("facts")
        #expect(try facts.member("sourceRepository").string() == "https://github.com/sigstore/sigstore-js")
        let unprovable = [
            (#""packages/own":{"version":"1.0.0"}"#, "packages/own", "a workspace or folder of the project"),
            (#""node_modules/own":{"resolved":"packages/own","link":true}"#, "node_modules/own", "a link"),
            (
                #""node_modules/a":{"version":"1.0.0","resolved":"git+ssh://git@github.com/a/a.git#1"}"#,
                "node_modules/a",
                "of a git repository"
            ),
            (#""node_modules/b":{"version":"1.0.0","resolved":"file:b.tgz"}"#, "node_modules/b", "a file or folder"),
            (
                #""node_modules/@x/c":{"version":"1.0.0","resolved":"https://x/c.tgz"}"#, "node_modules/@x/c",
                "without an \"integrity\""
            ),
        ]
        try directory.write("package-lock.json", lock(unprovable.map { "," + $0.0 }.joined()))
        let refused = await verify(arguments: demanding)
        #expect(
            refused.ending == .exit(1) && refused.messages.contains("1 of 6 packages verified"), "\(refused.messages)")
        for (_, place, words) in unprovable {
            #expect(refused.messages.contains("  not verified: \(place)\n"), "\(refused.messages)")
            #expect(refused.messages.contains(words), "\(words): \(refused.messages)")
        }
        // Without attestations; of another version; with another digest.
        for (old, new, code) in [
            ("node_modules/sigstore", "node_modules/other", "no-provenance"),
            (#""version":"0.4.0""#, #""version":"0.4.1""#, "no-provenance"),
            (integrity, "sha512-" + Base64.encode([UInt8](repeating: 1, count: 64)), "wrong-subject"),
            (#""version":"0.4.0""#, #""name":"../x","version":"0.4.0""#, "no-provenance"),
            (#""lockfileVersion":3"#, #""lockfileVersion":1"#, "malformed-lock-file"),
        ] {
            try directory.write("package-lock.json", lock().replacing(old, with: new))
            await expectRefusal(code, of: demanding)
        }
        // Two archives of one package: the one that npm published does not vouch for the other, whichever stands first.
        let other = "sha512-" + Base64.encode([UInt8](repeating: 1, count: 64))
        func second(_ integrity: String) -> String {
            #","node_modules/a/node_modules/sigstore":{"version":"0.4.0","integrity":"\#(integrity)"}"#
        }
        for (text, code) in [
            (lock(second(other)), "malformed-lock-file"),
            (
                lock(second(other)).replacing(integrity, with: "#").replacing(other, with: integrity)
                    .replacing("#", with: other), "malformed-lock-file, wrong-subject"
            ),
        ] {
            try directory.write("package-lock.json", text)
            let twice = await verify(arguments: demanding)
            #expect(twice.ending == .exit(1), "\(twice.messages)")
            for code in code.split(separator: ", ") {
                #expect(twice.messages.contains("[\(code)]"), "\(twice.messages)")
            }
        }
        try directory.write("package-lock.json", lock(second(integrity)))
        let same = await verify(arguments: demanding)
        #expect(same.succeeded && same.messages.contains("Verified OK\n  package: sigstore\n"), "\(same.messages)")
        try directory.write("package-lock.json", lock())
        await expectRefusal(
            "wrong-builder", "sigstore@0.4.0: ", of: demanding + ["--builder-id", "https://github.com/npm"])
        for flags in [
            ["--repo", "a/b", "--cert-identity", "nobody", "--cert-oidc-issuer", "a"],
            ["--source-ref", "refs/tags/v1"],
            ["--repository", Self.repository], ["--deny-self-hosted-runners"],
        ] { await expectRefusal("usage", of: demanding + flags) }
        await expectRefusal(
            "usage", "--attestations", of: ["--from", "npm", "--npm-keys", Self.npmKey, "package-lock.json"])
        await expectRefusal(
            "wrong-source", of: demanding + ["--source-uri", "github.com/other/other"])
    }
}
