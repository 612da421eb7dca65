import Foundation
import InToto
import LocalSigstore
import OCIRegistry
import SigstoreCrypto
import SigstoreVerification
import StrictJSON
import TestServices
import Testing

/// What people hand over: several bundles or trusted roots in one file, parts by other flags than ours, standard input
/// and output.
struct HandedOverTests {
    private let directory = TemporaryDirectory()
    private static let sign = ["sign-blob", "--key", "key.pem", "--tlog-upload=false"]
    private static let attest = ["attest-blob", "--key", "key.pem", "--tlog-upload=false"]
    private static let verify = ["verify-blob", "--key", "key.pub", "--insecure-ignore-tlog"]
    private static let verifyAttestation = [
        "verify-blob-attestation", "--key", "key.pub", "--insecure-ignore-tlog", "--type", "slsaprovenance1",
    ]

    private func run(_ arguments: [String], input: Program.Input = .nothing) async -> Program.Outcome {
        await Program(directory: directory.path).run(arguments, input: input)
    }

    // MARK: - Digests

    /// Attests a file by the digests that are stated.
    private func attest(_ digests: String, _ bundle: String) async throws {
        try directory.write(
            "statement",
            #"{"_type":"https://in-toto.io/Statement/v1","predicateType":"https://slsa.dev/provenance/v1","#
                + #""subject":[{"name":"file","digest":{\#(digests)}}],"predicate":{}}"#)
        await run(Self.attest + ["--statement", "statement", "--bundle", bundle]).expectSuccess()
    }

    @Test("--digestAlg beside a file is the digest by which the statement must name it, and every other must be right")
    func digestAlgorithmBesideFile() async throws {
        try directory.makeKey()
        let content = Array("content".utf8)
        try directory.write("file", content)
        let (short, long) = (try Digest.sha256(content).hex, try Digest.hash(content, .sha512).hex)
        try await attest(#""sha512":"\#(long)""#, "long.json")
        try await attest(#""sha256":"\#(short)""#, "short.json")
        try await attest(#""sha256":"\#(try Digest.sha256([1]).hex)","sha512":"\#(long)""#, "torn.json")
        let sha512 = ["--digestAlg", "sha512"]
        await run(Self.verifyAttestation + ["--bundle", "long.json"] + sha512 + ["file"]).expectSuccess()
        await run(Self.verifyAttestation + ["--bundle", "short.json", "--digestAlg", "sha256", "file"]).expectSuccess()
        for bundle in ["short.json", "torn.json"] {
            try await directory.expectRefusal(
                "wrong-subject", of: Self.verifyAttestation + ["--bundle", bundle] + sha512 + ["file"])
        }
        // Also if the file is read for several keys or bundles, and so by all digests.
        try directory.makeKey("other")
        try directory.write(
            "both.jsonl", try directory.text("short.json") + "\n" + (try directory.text("torn.json")) + "\n")
        for flags in [["--key", "other.pub", "--bundle", "short.json"], ["--bundle", "both.jsonl"]] {
            try await directory.expectRefusal("wrong-subject", of: Self.verifyAttestation + flags + sha512 + ["file"])
        }
        // The very subject must be named so, not another one.
        try directory.write(
            "statement",
            #"{"_type":"https://in-toto.io/Statement/v1","predicateType":"https://slsa.dev/provenance/v1","#
                + #""subject":[{"name":"file","digest":{"sha256":"\#(short)"}},"#
                + #"{"name":"x","digest":{"sha512":"\#(try Digest.hash([1], .sha512).hex)"}}],"predicate":{}}"#)
        await run(Self.attest + ["--statement", "statement", "--bundle", "two.json"]).expectSuccess()
        await run(Self.verifyAttestation + ["--bundle", "two.json", "file"]).expectSuccess()
        try await directory.expectRefusal(
            "wrong-subject", of: Self.verifyAttestation + ["--bundle", "two.json"] + sha512 + ["file"])
        try await directory.expectRefusal(
            "unknown-algorithm", "md5",
            of: Self.verifyAttestation + ["--bundle", "long.json", "--digestAlg", "md5", "file"])
        try await directory.expectRefusal(
            "other-digest-needed",
            of: Self.verifyAttestation + ["--bundle", "long.json"] + sha512 + ["sha256:\(short)"])
    }

    // MARK: - Standard input and output

    @Test("--bundle - is standard output when signing, and standard input when verifying; nothing is named -")
    func bundleOnStandardStreams() async throws {
        try directory.makeKey()
        try directory.write("file", "content")
        try directory.write("predicate", "{}")
        let signed = await run(Self.sign + ["--bundle", "-", "file"])
        signed.expectSuccess()
        #expect(!signed.messages.contains("Wrote"), "\(signed.messages)")
        await run(Self.verify + ["--bundle", "-", "file"], input: .bytes(signed.stdout)).expectSuccess()
        await run(Self.verify + ["--bundle", "-", "predicate"], input: .bytes(signed.stdout)).expectRefusal(
            1, "artifact-mismatch")
        // The older form too, and nothing else beside it.
        let older = await run(Self.sign + ["--new-bundle-format=false", "--bundle", "-", "file"])
        #expect(try older.objects().count == 1 && older.objects()[0].member("base64Signature").bytes().isEmpty == false)
        let bare = await run(Self.sign + ["--output-signature", "-", "file"])
        await run(Self.verify + ["--signature", "-", "file"], input: .bytes(bare.stdout)).expectSuccess()
        let attested = await run(
            Self.attest + ["--type", "slsaprovenance1", "--predicate", "-", "--bundle", "-", "file"],
            input: .text("{}"))
        await run(Self.verifyAttestation + ["--bundle", "-", "file"], input: .bytes(attested.stdout)).expectSuccess()

        for refused in [
            Self.sign + ["--bundle", "-", "-"], Self.sign + ["--bundle", "-", "--output-signature", "-", "file"],
            Self.verify + ["--bundle", "-", "-"],
            Self.attest + ["--type", "slsaprovenance1", "--predicate", "predicate", "--bundle", "-", "-"],
        ] { try await directory.expectRefusal("usage", "-", of: refused, input: .text("content")) }
        // The same of other commands' outputs.
        let printed = await run(["public-key", "--key", "key.pem", "--outfile", "-"])
        #expect(printed.output == (try directory.text("key.pub")))
        let made = await run(["signing-config", "create", "--out", "-"])
        #expect(try made.objects().count == 1)
        #expect(!directory.exists("-"))
    }

    @Test("sign and attest write a bundle to standard output too", arguments: ["sign", "attest"])
    func imageBundleOnStandardOutput(_ command: String) async throws {
        let place = try await ImageFixture(.layout)
        let image = try await place.push()
        try place.directory.write("predicate", "{}")
        let what = command == "attest" ? ["--type", "slsaprovenance1", "--predicate", "predicate"] : []
        let made = await place.swsign(
            [command, "--key", "key.pem", "--tlog-upload=false", "--bundle", "-"] + what + [image.name])
        made.expectSuccess()
        #expect(try SigstoreBundle(parsing: made.stdout).version == .v03)
        #expect(!place.directory.exists("-"))
    }

    // MARK: - Several bundles in one file

    /// Attests each file, and joins the bundles, one a line.
    private func join(_ files: [String]) async throws -> String {
        var lines = ""
        for file in files {
            await run(Self.attest + ["--type", "slsaprovenance1", "--predicate", "predicate", "--bundle", "b", file])
                .expectSuccess()
            lines += try directory.text("b") + "\n"
        }
        return lines
    }

    @Test("Of several bundles, one a line, one must hold; each is inspected")
    func bundleLines() async throws {
        try directory.makeKey()
        try directory.write("predicate", "{}")
        for name in ["one", "two", "three"] { try directory.write(name, "content of \(name)") }
        let lines = try await join(["one", "two"])
        try directory.write("all.jsonl", "\n" + lines.replacingOccurrences(of: "\n", with: "\r\n") + "\n")
        for flag in ["--bundle", "--signature"] {
            await run(Self.verifyAttestation + [flag, "all.jsonl", "two"]).expectSuccess(flag)
            await run(Self.verifyAttestation + [flag, "all.jsonl", "three"]).expectRefusal(1, "wrong-subject")
        }
        // The file is standard input, and is there for each of them.
        await run(Self.verifyAttestation + ["--bundle", "all.jsonl", "-"], input: .text("content of two"))
            .expectSuccess()

        let inspected = await run(["bundle", "inspect", "all.jsonl"])
        #expect(inspected.output.contains("Bundle 1 of 2\n") && inspected.output.contains("Bundle 2 of 2\n"))
        let objects = try await run(["bundle", "inspect", "-o", "json", "all.jsonl"]).objects()
        #expect(try objects.map { try $0.member("subjects").elements()[0].member("name").string() } == ["one", "two"])

        // A line that is no bundle is named, and refused whatever the others are.
        try directory.write("bad.jsonl", lines + "\n{\"x\":\n")
        try await directory.expectRefusal(
            "malformed-json", "bad.jsonl, line 4", of: Self.verifyAttestation + ["--bundle", "bad.jsonl", "one"])
        try directory.write("many.jsonl", String(repeating: lines, count: 51))
        try await directory.expectRefusal(
            "too-many-entries", "100", of: Self.verifyAttestation + ["--bundle", "many.jsonl", "one"])
        // Where one is needed, several are not taken for one.
        try await directory.expectRefusal(
            "too-many-entries", "all.jsonl", of: ["bundle", "create", "--bundle", "all.jsonl", "--ignore-tlog"])
    }

    @Test("Several signatures of a file, one a line, that comes from standard input")
    func signatureLines() async throws {
        try directory.makeKey()
        try directory.makeKey("ed", .ed25519)
        try directory.write("file", "content")
        try directory.write("other", "other content")
        var lines = ""
        for (key, file) in [("key", "other"), ("key", "file"), ("ed", "file")] {
            await run(["sign-blob", "--key", "\(key).pem", "--tlog-upload=false", "--bundle", "b", file])
                .expectSuccess()
            lines += try directory.text("b") + "\n"
        }
        try directory.write("all.jsonl", lines)
        await run(Self.verify + ["--bundle", "all.jsonl", "-"], input: .text("content")).expectSuccess()
        await run(Self.verify + ["--bundle", "all.jsonl", "-"], input: .text("contents")).expectRefusal(
            1, "artifact-mismatch")
    }

    // MARK: - A bundle in the place of a signature

    @Test("A bundle given as --signature is the bundle", arguments: [true, false])
    func bundleAsSignature(isNewer: Bool) async throws {
        try directory.makeKey()
        try directory.write("file", "content")
        try directory.write("other", "other content")
        await run(Self.sign + ["--new-bundle-format=\(isNewer)", "--bundle", "b", "file"]).expectSuccess()
        await run(Self.verify + ["--signature", "b", "file"]).expectSuccess()
        await run(Self.verify + ["--signature", "b", "other"]).expectRefusal(
            1, isNewer ? "artifact-mismatch" : "invalid-signature")
        try await directory.expectRefusal(
            isNewer ? "usage" : "malformed-signature", of: Self.verify + ["--signature", "b", "--bundle", "b", "file"])
    }

    // MARK: - Signatures of images

    @Test("verify --signature without --payload takes the payload that cosign makes for the image")
    func signatureWithoutPayload() async throws {
        let place = try await ImageFixture()
        let (image, other) = (try await place.push(), try await place.push("another"))
        func make(_ file: String, _ flags: [String] = []) async {
            await place.sign(
                image.name, scheme: .older, flags: ["--upload=false", "--output-signature", file] + flags
            ).expectSuccess()
        }
        await make("signature")
        #expect(try await place.verify(image.name, flags: ["--signature", "signature"]).payloads().count == 1)
        await place.verify(other.name, flags: ["--signature", "signature"]).expectRefusal(12, "no-matching-signature")
        await place.verify(image.name, key: "other", flags: ["--signature", "signature"]).expectRefusal(
            12, "no-matching-signature")
        // What was signed cannot be known from the image alone.
        await make("annotated", ["-a", "a=1", "--output-payload", "payload"])
        await place.verify(image.name, flags: ["--signature", "annotated"]).expectRefusal(
            12, "no-matching-signature", "--payload")
        await place.verify(image.name, flags: ["--signature", "annotated", "--payload", "payload"]).expectSuccess()
        // A bundle of the newer scheme is one.
        await place.sign(image.name, flags: ["--upload=false", "--bundle", "bundle.json"]).expectSuccess()
        #expect(try await place.verify(image.name, flags: ["--signature", "bundle.json"]).payloads().count == 1)
        await place.verify(other.name, flags: ["--signature", "bundle.json"]).expectRefusal(
            12, "no-matching-signature")
    }

    @Test("--platform takes a single image that says that it is for that platform")
    func platformOfSingleImage() async throws {
        let place = try await ImageFixture()
        let config = Array(#"{"architecture":"arm64","os":"linux","variant":"v8","rootfs":{}}"#.utf8)
        let manifest = try ImageManifest(
            config: Descriptor(
                mediaType: MediaType.imageConfig, digest: try Digest.sha256(config), size: Int64(config.count)),
            layers: []
        ).encoded()
        try await place.put([config], manifest)
        let name = "\(place.repository)@\(manifest.digest)"
        await place.sign(name).expectSuccess()
        for platform in ["linux/arm64", "linux/arm64/v8"] {
            #expect(try await place.verify(name, flags: ["--platform", platform]).payloads().count == 1)
        }
        await place.verify(name, flags: ["--platform", "linux/amd64"]).expectRefusal(
            11, "image-not-found", "linux/arm64")
    }

    @Test("--record-creation-timestamp says when the older scheme's manifest was made", arguments: ["sign", "attest"])
    func creationTimestamp(_ command: String) async throws {
        let place = try await ImageFixture()
        let image = try await place.push()
        let time = ["SOURCE_DATE_EPOCH": "1700000000"]
        func created(_ flags: [String]) async throws -> String {
            let made =
                command == "sign"
                ? await place.sign(image.name, scheme: .older, flags: flags, environment: time)
                : try await place.attest(
                    image.name, type: "link", scheme: .older, flags: flags, environment: time)
            made.expectSuccess()
            let tag = image.tag(command == "sign" ? "sig" : "att")
            let manifest = try #require(try await place.store.manifest(try ManifestSelector(tag: tag)))
            let config = try await place.store.blob(try #require(manifest.image).config, limit: 1 << 20)
            return try JSONCursor(try JSONValue(parsing: config)).member("created").string()
        }
        #expect(try await created([]) == "0001-01-01T00:00:00Z")
        #expect(try await created(["--record-creation-timestamp"]).hasPrefix("2023-11-14T22:13:20"))
    }
}

/// Certificates of one's own, when signing with a key.
struct OwnCertificateTests {
    private let directory = TemporaryDirectory()

    private func run(_ arguments: [String]) async -> Program.Outcome {
        await Program(directory: directory.path).run(arguments)
    }

    /// Makes an authority, and a certificate of it for `key.pem`.
    private func prepare(_ directory: TemporaryDirectory) async throws {
        try directory.makeKey()
        try directory.makeKey("another")
        try directory.write("file", "content")
        let issuer = "https://issuer.example".utf8.map { String(format: "%02x", $0) }.joined()
        try directory.write(
            "leaf.cnf",
            """
            basicConstraints=critical,CA:FALSE
            keyUsage=critical,digitalSignature
            extendedKeyUsage=codeSigning
            subjectAltName=critical,email:ann@local.test
            1.3.6.1.4.1.57264.1.1=DER:\(issuer)
            """)
        for name in ["ca", "stranger"] {
            try await directory.tool(
                "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout",
                "\(name).key", "-out", "\(name).pem", "-days", "2", "-subj", "/CN=\(name)", "-addext",
                "keyUsage=critical,keyCertSign")
        }
        try await directory.tool(
            "openssl", "req", "-new", "-key", "key.pem", "-subj", "/CN=signer", "-out", "leaf.csr")
        try await directory.tool(
            "openssl", "x509", "-req", "-in", "leaf.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-days", "1", "-extfile",
            "leaf.cnf", "-out", "leaf.pem")
        try await directory.tool(
            "openssl", "x509", "-req", "-in", "leaf.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-days", "-1",
            "-extfile",
            "leaf.cnf", "-out", "ended.pem")
    }

    private static let certified = ["--certificate", "leaf.pem", "--certificate-chain", "ca.pem"]
    private static let identity = [
        "--certificate-identity", "ann@local.test", "--certificate-oidc-issuer", "https://issuer.example",
    ]

    @Test("The key's certificate goes into the bundle, and is verified by key or by authority")
    func inBundle() async throws {
        try await prepare(directory)
        let sign = ["sign-blob", "--key", "key.pem", "--tlog-upload=false", "--bundle"]
        await run(sign + ["b.json"] + Self.certified + ["file"]).expectSuccess()
        guard case .certificates(let chain) = try SigstoreBundle(parsing: try directory.read("b.json")).keyMaterial
        else {
            Issue.record("the bundle holds no certificate")
            return
        }
        #expect(chain == [try Certificate.chain(pem: try directory.read("leaf.pem"))[0].der])
        let verify = ["verify-blob", "--insecure-ignore-tlog", "--bundle", "b.json"]
        await run(verify + ["--key", "key.pub", "file"]).expectSuccess()
        await run(verify + ["--key", "another.pub", "file"]).expectRefusal(1, "certificate-not-key")
        let byIdentity = verify + ["--insecure-ignore-sct", "--offline"] + Self.identity
        await run(byIdentity + ["--ca-roots", "ca.pem", "file"]).expectSuccess()
        await run(byIdentity + ["--ca-roots", "stranger.pem", "file"]).expectRefusal(1, "certificate-path")
        // The older form, and without a chain.
        await run(sign + ["older.json", "--new-bundle-format=false", "--certificate", "leaf.pem", "file"])
            .expectSuccess()
        let older = JSONCursor(try JSONValue(parsing: try directory.read("older.json")))
        #expect(try Certificate.chain(pem: try older.member("cert").bytes()).count == 1)
    }

    @Test("A certificate of another key, of another authority, or that has ended is refused, and so are halves")
    func refused() async throws {
        try await prepare(directory)
        let sign = ["sign-blob", "--tlog-upload=false", "--bundle", "b.json"]
        for (code, flags) in [
            ("wrong-key", ["--key", "another.pem"] + Self.certified),
            (
                "certificate-path",
                ["--key", "key.pem", "--certificate", "leaf.pem", "--certificate-chain", "stranger.pem"]
            ),
            ("certificate-expired", ["--key", "key.pem", "--certificate", "ended.pem"]),
            ("usage", ["--key", "key.pem", "--certificate-chain", "ca.pem"]),
            ("malformed-certificate", ["--key", "key.pem", "--certificate", "file"]),
            ("file-not-found", ["--key", "key.pem", "--certificate", "absent"]),
        ] { try await directory.expectRefusal(code, of: sign + flags + ["file"]) }
        try await directory.expectRefusal(
            "usage", "--key", of: ["sign-blob", "--bundle", "b.json", "--certificate", "leaf.pem", "file"])
    }

    @Test("Beside an image stand certificate and chain", arguments: Scheme.allCases)
    func images(scheme: Scheme) async throws {
        let place = try await ImageFixture()
        try await prepare(place.directory)
        let image = try await place.push()
        await place.sign(image.name, scheme: scheme, flags: Self.certified).expectSuccess()
        #expect(try await place.verify(image.name).payloads().count == 1)
        await place.swsign(
            ["verify", "--insecure-ignore-tlog", "--insecure-ignore-sct", "--offline", "--ca-roots", "ca.pem"]
                + Self.identity + [image.name]
        ).expectSuccess()
        guard scheme == .older else { return }
        let manifest = try #require(try await place.store.manifest(try ManifestSelector(tag: image.tag("sig"))))
        let annotations = try #require(manifest.image?.layers.first).annotations
        #expect(annotations["dev.sigstore.cosign/certificate"] == (try place.directory.text("leaf.pem")))
        #expect(annotations["dev.sigstore.cosign/chain"] == (try place.directory.text("ca.pem")))
    }

    @Test("A log records the key's certificate", .localSigstore, arguments: [LocalServices.SigningConfigKind.v1, .v2])
    func logged(_ kind: LocalServices.SigningConfigKind) async throws {
        let place = try SigningFixture()
        try await prepare(place.directory)
        let signed = await place.run(
            ["sign-blob", "--key", "key.pem", "--bundle", "b.json"] + Self.certified + place.services(kind) + ["file"])
        signed.expectSuccess()
        #expect(signed.messages.contains("the key's certificate"), "\(signed.messages)")
        await place.run(["verify-blob", "--key", "key.pub", "--bundle", "b.json"] + place.trust + ["file"])
            .expectSuccess()
        await place.run(
            ["verify-blob", "--bundle", "b.json", "--ca-roots", "ca.pem", "--insecure-ignore-sct"] + Self.identity
                + place.trust + ["file"]
        ).expectSuccess()
    }
}

/// Several trusted roots in one file, and the timestamp beside an attestation.
@Suite(.localSigstore)
struct HandedOverTrustTests {
    private let place: SigningFixture

    init() throws { place = try SigningFixture() }

    private func sign() async throws {
        try place.directory.write("file", "content")
        await place.run(
            ["sign-blob", "--yes", "--bundle", "b.json"] + place.services(.v1) + (try place.token()) + ["file"]
        ).expectSuccess()
    }

    @Test("Of several trusted roots, one a line, the one counts that the certificate leads to, also when signing")
    func rootLines() async throws {
        try await sign()
        let whole = try String(contentsOfFile: place.services.files.trustedRoot, encoding: .utf8)
        guard case .object(let root) = try JSONValue(parsing: Array(whole.utf8)) else { return }
        func part(_ names: String...) throws -> String {
            let members = root.members.filter { $0.name == "mediaType" || names.contains($0.name) }
            return String(decoding: JSONValue.object(JSONObject(members)).serialized(), as: UTF8.self)
        }
        let line = String(decoding: JSONValue.object(root).serialized(), as: UTF8.self)
        let verify = ["verify-blob", "--bundle", "b.json"] + place.expecting(SigningFixture.alice)
        // What belongs together stands in two lines: no log of another root says anything of the signature.
        try place.directory.write(
            "split",
            [try part("certificateAuthorities", "ctlogs"), try part("tlogs", "timestampAuthorities")]
                .joined(separator: "\n"))
        await place.run(verify + ["--trusted-root", "split", "file"]).expectRefusal(1, "unknown-log")
        // Twice the same root: which of them counts is not plain.
        try place.directory.write("twice", "\(line)\n\(line)\n")
        await place.run(verify + ["--trusted-root", "twice", "file"]).expectRefusal(
            1, "ambiguous-trusted-root", "lines 1 and 2")
        let stranger = String(decoding: try TrustedRoot.embedded(.production).serialized(), as: UTF8.self)
        try place.directory.write("strangers", "\(stranger)\n\(try part("tlogs"))\n")
        await place.run(verify + ["--trusted-root", "strangers", "file"]).expectRefusal(1, "certificate-path")
        for lines in [[try part(), line], [line, try part("tlogs")], [stranger, line]] {
            try place.directory.write("roots", lines.joined(separator: "\n\n") + "\n")
            await place.run(verify + ["--trusted-root", "roots", "file"]).expectSuccess("\(lines)")
        }
        try place.directory.write(
            "half", [try part("certificateAuthorities"), try part("tlogs")].joined(separator: "\n"))
        await place.run(verify + ["--trusted-root", "half", "file"]).expectRefusal(1, "unknown-log")
        try place.directory.write("bad", "\(line)\n{}\n")
        await place.run(verify + ["--trusted-root", "bad", "file"]).expectRefusal(
            1, "malformed-trusted-root", "line 2 of 2")
        try place.directory.write("other", "other")
        await place.run(
            [
                "sign-blob", "--yes", "--bundle", "other.json", "--trusted-root", "roots", "--signing-config",
                place.services.files.signingConfig(.v1),
            ] + (try place.token()) + ["other"]
        ).expectSuccess()
    }

    @Test("attest-blob --rfc3161-timestamp-bundle writes the timestamp that verifies beside the attestation")
    func timestampOfAttestation() async throws {
        try place.directory.write("file", "content")
        try place.directory.write("predicate", "{}")
        await place.run(
            [
                "attest-blob", "--yes", "--type", "slsaprovenance1", "--predicate", "predicate", "--output-signature",
                "att", "--output-certificate", "cert", "--rfc3161-timestamp-bundle", "time",
            ] + place.services(.v1) + (try place.token()) + ["file"]
        ).expectSuccess()
        let verify =
            [
                "verify-blob-attestation", "--type", "slsaprovenance1", "--signature", "att", "--certificate", "cert",
                "--insecure-ignore-tlog", "--use-signed-timestamps",
            ] + place.trust + place.expecting(SigningFixture.alice)
        await place.run(verify + ["--rfc3161-timestamp", "time", "file"]).expectSuccess()
        await place.run(verify + ["file"]).expectRefusal(1, "no-timestamp")
    }
}
