import Foundation
import SigstoreCrypto
import SigstoreVerification
import StrictJSON
import Testing

/// sign-blob and verify-blob.
struct BlobTests {
    let directory = TemporaryDirectory()

    static let content = "content of the file\n"

    private func sign(_ arguments: String..., input: Program.Input = .nothing) async -> Program.Outcome {
        await Program(directory: directory.path)
            .run(["sign-blob", "--key", "key.pem", "--tlog-upload=false"] + arguments, input: input)
    }

    private func verify(_ arguments: String..., input: Program.Input = .nothing) async -> Program.Outcome {
        await Program(directory: directory.path)
            .run(["verify-blob", "--key", "key.pub", "--insecure-ignore-tlog"] + arguments, input: input)
    }

    private func prepare(_ algorithm: SigningAlgorithm = .ecdsaP256) throws {
        try directory.makeKey("key", algorithm)
        try directory.write("file", Self.content)
    }

    private func bundle(_ name: String) throws -> JSONCursor {
        JSONCursor(try JSONValue(parsing: directory.read(name)))
    }

    // MARK: - Signing

    @Test(
        "The base64 signature is printed, and OpenSSL accepts it",
        arguments: [SigningAlgorithm.ecdsaP256, .ecdsaP384, .ecdsaP521, .rsa2048])
    func printsBase64(algorithm: SigningAlgorithm) async throws {
        try prepare(algorithm)
        let outcome = await sign("file")
        #expect(outcome.succeeded, "\(outcome.messages)")
        #expect(outcome.output == outcome.line + "\n")
        try directory.write("raw", try #require(Base64.decode(outcome.line)))
        // Over SHA-256 whatever the curve, as both cosigns check it.
        try await directory.tool("openssl", "dgst", "-sha256", "-verify", "key.pub", "-signature", "raw", "file")
        try directory.write("sig", outcome.stdout)
        let verified = await verify("--signature", "sig", "file")
        #expect(verified.succeeded, "\(verified.messages)")
    }

    @Test("--b64=false prints the bare bytes")
    func printsBareBytes() async throws {
        try prepare()
        let outcome = await sign("--b64=false", "file")
        #expect(outcome.succeeded, "\(outcome.messages)")
        try directory.write("raw", outcome.stdout)
        try await directory.tool("openssl", "dgst", "-sha256", "-verify", "key.pub", "-signature", "raw", "file")
    }

    @Test("A bare signature may end as a line does, and an editor may have added a line break", arguments: [10, 13])
    func bareBytesEndInLineBreak(last: UInt8) async throws {
        let key = try directory.makeKey("key", .ed25519)
        var found: (content: [UInt8], signature: [UInt8])?
        for number in 0..<10_000 where found == nil {
            let content = Array("content \(number)".utf8)
            let signature = try key.sign(content, scheme: .ed25519)
            if signature.last == last { found = (content, signature) }
        }
        let (content, signature) = try #require(found)
        try directory.write("file", content)
        for (name, bytes) in [("raw", signature), ("edited", signature + [10])] {
            try directory.write(name, bytes)
            let outcome = await verify("--signature", name, "file")
            #expect(outcome.succeeded, "\(name): \(outcome.messages)")
        }
    }

    @Test(
        "--output-signature and --output write the signature with mode 0600, and nothing is printed",
        arguments: ["--output-signature", "--output"])
    func writesSignature(flag: String) async throws {
        try prepare()
        let outcome = await sign(flag, "sig", "file")
        #expect(outcome.succeeded, "\(outcome.messages)")
        #expect(outcome.stdout.isEmpty)
        #expect(try directory.mode("sig") == 0o600)
        let bytes = try directory.read("sig")
        #expect(Base64.decode(bytes) != nil, "base64 without anything around it")
        let raw = await sign(flag, "raw", "--b64=false", "file")
        #expect(raw.succeeded)
        try await directory.tool("openssl", "dgst", "-sha256", "-verify", "key.pub", "-signature", "raw", "file")
    }

    @Test(
        "--bundle writes a bundle of version 0.3 over the key's own hash",
        arguments: [
            (SigningAlgorithm.ecdsaP256, "SHA2_256"), (.ecdsaP384, "SHA2_384"), (.ecdsaP521, "SHA2_512"),
            (.rsa2048, "SHA2_256"),
            (.ed25519, nil),
        ] as [(SigningAlgorithm, String?)])
    func writesBundle(algorithm: SigningAlgorithm, hash: String?) async throws {
        try prepare(algorithm)
        let outcome = await sign("--bundle", "b.json", "file")
        #expect(outcome.succeeded, "\(outcome.messages)")
        #expect(outcome.stdout.isEmpty)
        #expect(try directory.mode("b.json") == 0o600)
        let top = try bundle("b.json")
        #expect(try top.member("mediaType").string() == "application/vnd.dev.sigstore.bundle.v0.3+json")
        let key = try PublicKey(file: directory.read("key.pub"))
        #expect(try top.member("verificationMaterial").member("publicKey").member("hint").string() == key.hint())
        let digest = try top.member("messageSignature").member("messageDigest")
        #expect(try digest.optional("algorithm")?.string() == hash)
        let verified = await verify("--bundle", "b.json", "file")
        #expect(verified.succeeded, "\(verified.messages)")
        #expect(verified.messages.contains("Verified OK"))
    }

    @Test("Bundle and signature can be had together, from one reading of the file")
    func bundleAndSignature() async throws {
        try prepare()
        let outcome = await sign("--bundle", "b.json", "--output-signature", "sig", "-", input: .text(Self.content))
        #expect(outcome.succeeded, "\(outcome.messages)")
        #expect(await verify("--bundle", "b.json", "file").succeeded)
        #expect(await verify("--signature", "sig", "file").succeeded)
    }

    @Test("--new-bundle-format=false writes the form of cosign 2, which is read as well")
    func olderBundle() async throws {
        try prepare()
        let outcome = await sign("--new-bundle-format=false", "--bundle", "b.json", "file")
        #expect(outcome.succeeded, "\(outcome.messages)")
        #expect(try bundle("b.json").names() == ["base64Signature"])
        #expect(try bundle("b.json").member("base64Signature").string() == outcome.line)
        let verified = await verify("--bundle", "b.json", "file")
        #expect(verified.succeeded, "\(verified.messages)")
    }

    @Test("A symbolic link is written through, not replaced")
    func outputThroughLink() async throws {
        try prepare()
        try directory.write("target", "old")
        try FileManager.default.createSymbolicLink(atPath: directory["link"], withDestinationPath: "target")
        let outcome = await sign("--bundle", "link", "file")
        #expect(outcome.succeeded, "\(outcome.messages)")
        #expect(try FileManager.default.destinationOfSymbolicLink(atPath: directory["link"]) == "target")
        #expect(await verify("--bundle", "target", "file").succeeded)
    }

    @Test("A bundle may go to a pipe")
    func outputToPipe() async throws {
        try prepare()
        let outcome = await sign("--bundle", "/dev/stdout", "file")
        #expect(outcome.succeeded, "\(outcome.messages)")
        #expect(try outcome.objects().first?.member("mediaType").string().isEmpty == false)
    }

    @Test("What is read is never replaced by what is written")
    func outputsOverInputs() async throws {
        try prepare()
        for flag in ["--bundle", "--output-signature"] {
            for input in ["file", "key.pem", "./file"] {
                try await directory.expectRefusal(
                    "usage", "would be replaced",
                    of: ["sign-blob", "--key", "key.pem", "--tlog-upload=false", flag, input, "file"])
            }
        }
        try await directory.expectRefusal(
            "usage", "two things",
            of: ["sign-blob", "--key", "key.pem", "--tlog-upload=false", "--bundle", "x", "--output", "x", "file"])
        try await directory.expectRefusal(
            "usage", "name each file once",
            of: ["sign-blob", "--key", "key.pem", "--tlog-upload=false", "file", "file"])
        try directory.write("predicate", "{}")
        try await directory.expectRefusal(
            "usage", "would be replaced",
            of: [
                "attest-blob", "--key", "key.pem", "--tlog-upload=false", "--predicate", "predicate",
                "--output-attestation",
                "predicate", "file",
            ])
    }

    @Test("Where the command fails, what --output-file names is left as it was")
    func outputFileOfAFailure() async throws {
        try prepare()
        try directory.write("result", "older")
        try await directory.expectRefusal(
            "file-not-found",
            of: ["sign-blob", "--key", "key.pem", "--tlog-upload=false", "--output-file", "result", "none"])
        try await directory.expectRefusal(
            "file-unwritable",
            of: ["sign-blob", "--key", "key.pem", "--tlog-upload=false", "--output-file", "none/result", "file"])
    }

    @Test("A pipe beside a file is not waited for")
    func pipeBeside() async throws {
        try prepare()
        #expect(unsafe mkfifo(directory["file.sigstore.json"], 0o600) == 0)
        let outcome = await verify("file")
        #expect(outcome.ending == .exit(1) && outcome.code == "file-unreadable", "\(outcome.messages)")
    }

    @Test("Nothing is given beside a bundle that is complete, a bare envelope too")
    func beside() async throws {
        try prepare()
        try directory.write("predicate", "{}")
        let program = Program(directory: directory.path)
        await program.run([
            "attest-blob", "--key", "key.pem", "--tlog-upload=false", "--predicate", "predicate",
            "--output-signature", "envelope", "file",
        ]).expectSuccess()
        let verify = [
            "verify-blob-attestation", "--key", "key.pub", "--insecure-ignore-tlog", "--type", "custom", "--bundle",
            "envelope",
        ]
        await program.run(verify + ["file"]).expectSuccess()
        for flag in ["--signature", "--certificate", "--rfc3161-timestamp"] {
            try await directory.expectRefusal("usage", "complete", of: verify + [flag, "envelope", "file"])
        }
    }

    // MARK: - The progress bar

    /// Signs what comes once a shell command is over, with a terminal or without.
    private func slowly(_ wait: String, _ flags: String, terminal: Bool) async throws -> String {
        let name = "slow\(UUID().uuidString)"
        try directory.write(
            name,
            "(\(wait); echo x) | "
                + "'\(Program.path)' sign-blob --key key.pem --tlog-upload=false \(flags) --bundle /dev/null -\n"
        )
        return try await terminal
            ? directory.tool("script", "-qefc", "sh \(name)", "seen").output : directory.tool("sh", name).messages
    }

    @Test(
        "What takes longer than a second has a progress bar on a terminal, which is gone at the end; nowhere else, and not with --quiet"
    )
    func progressBar() async throws {
        try prepare()
        // Until the bar is seen, which on a busy machine may come later than after a second.
        let shown = try await slowly(
            "for i in $(seq 10000); do grep -q working seen && break; sleep 0.02; done", "", terminal: true)
        #expect(shown.contains(/\r\u{1b}\[Kworking, [1-9][0-9]* s/), "\(shown)")
        #expect(shown.contains("\r\u{1b}[K\u{1b}[32mWrote\u{1b}[0m bundle"), "\(shown)")
        async let quiet = slowly("sleep 1.6", "--quiet", terminal: true)
        async let unseen = slowly("sleep 1.6", "", terminal: false)
        let wrote = "\u{1b}[32mWrote\u{1b}[0m bundle to file /dev/null\r\n"
        #expect(try await quiet == wrote)
        #expect(try await unseen == "Wrote bundle to file /dev/null\n")
        // What is fast has none; a busy machine may need more than one attempt to be fast.
        var fast = Program.Outcome()
        for attempt in 0..<20 where attempt == 0 || fast.seconds > 0.9 {
            fast = try await directory.tool(
                "script", "-qec",
                "'\(Program.path)' sign-blob --key key.pem --tlog-upload=false --bundle /dev/null file",
                "/dev/null")
        }
        #expect(fast.output == wrote)
    }

    @Test("--output-file takes what would go to standard output")
    func outputFile() async throws {
        try prepare()
        let outcome = await sign("--output-file", "sig", "file")
        #expect(outcome.succeeded, "\(outcome.messages)")
        #expect(outcome.stdout.isEmpty)
        #expect(await verify("--signature", "sig", "file").succeeded)
    }

    @Test("Where the services cannot be reached, nothing is signed without a log unless that was asked for")
    func servicesOutOfReach() async throws {
        try prepare()
        let before = try directory.snapshot()
        for arguments in [
            ["sign-blob", "--key", "key.pem", "--bundle", "b.json", "file"],
            ["sign-blob", "--yes", "--bundle", "b.json", "file"],
        ] {
            let outcome = await Program(directory: directory.path).run(arguments)
            #expect(outcome.ending == .exit(1))
            #expect(outcome.code != nil && outcome.stdout.isEmpty, "\(outcome.messages)")
            #expect(!outcome.messages.contains("--offline"), "there is no such flag: \(outcome.messages)")
            #expect(try directory.snapshot() == before)
        }
        // A key that cannot be used is the first thing to be told.
        for (key, code) in [
            ("gcpkms://projects/x", "unknown-key-reference"), ("k8s://a/b", "key-service-settings"),
            ("gitlab://1", "key-service-settings"), ("github://o/r", "unsupported-key"),
            ("pkcs11:token=x", "key-service-settings"), ("nosuch.key", "file-not-found"),
        ] {
            try await directory.expectRefusal(code, of: ["sign-blob", "--key", key, "file"])
            try await directory.expectRefusal(code, of: ["sign", "--key", key, "oci-layout:none"])
        }
    }

    @Test(
        "Who does not agree has declined; a signature alone, whose log entry would be kept nowhere, is warned of before",
        arguments: [("n\n", Int32(1), "declined"), ("\u{3}", 130, "interrupted")])
    func declined(answer: String, status: Int32, code: String) async throws {
        try prepare()
        let log = try TrustedRoot.Log(publicKey: try PrivateKey.generate(.ecdsaP256).publicKey)
        try directory.write("root.json", TrustedRoot(transparencyLogs: [log]).serialized())
        try directory.write("predicate", "{}")
        try directory.write(
            "log.json",
            #"{"mediaType":"application/vnd.dev.sigstore.signingconfig.v0.2+json","rekorTlogUrls":[{"url":"https://r","#
                + #""majorApiVersion":1,"validFor":{"start":"2020-01-01T00:00:00Z"},"operator":"o"}],"#
                + #""rekorTlogConfig":{"selector":"ANY"},"tsaConfig":{}}"#)
        let services = ["--key", "key.pem", "--signing-config", "log.json", "--trusted-root", "root.json"]
        for command in [["sign-blob"], ["attest-blob", "--predicate", "predicate"]] {
            for bundle in [[], ["--bundle", "b.json"]] {
                let outcome = await Program(directory: directory.path).run(
                    command + services + bundle + ["file"], input: .terminal,
                    terminal: [Program.Turn("Go on? [y/N]", answer)])
                #expect(outcome.ending == .exit(status) && outcome.code == code, "\(outcome.messages)")
                #expect(outcome.messages.contains("answer y, or give --yes") == (code == "declined"))
                #expect(
                    outcome.messages.contains("WARNING: the log entry will be kept nowhere") == bundle.isEmpty,
                    "\(outcome.messages)")
                #expect(outcome.messages.contains("--bundle FILE") == bundle.isEmpty)
                #expect(!directory.exists("b.json"))
            }
        }
    }

    @Test("A signing config without services is as good as --tlog-upload=false; one with a log is not")
    func signingConfig() async throws {
        try prepare()
        let empty =
            #"{"mediaType":"application/vnd.dev.sigstore.signingconfig.v0.2+json","rekorTlogConfig":{},"tsaConfig":{}}"#
        try directory.write("none.json", empty)
        let outcome = await directory.swsign(
            "sign-blob", "--key", "key.pem", "--signing-config", "none.json", "--bundle", "b.json", "file")
        #expect(outcome.succeeded, "\(outcome.messages)")
        #expect(await verify("--bundle", "b.json", "file").succeeded)
        let service =
            #"[{"url":"https://r","majorApiVersion":1,"validFor":{"start":"2020-01-01T00:00:00Z"},"operator":"o"}]"#
        try directory.write(
            "log.json",
            empty.replacingOccurrences(
                of: "\"rekorTlogConfig\"", with: "\"rekorTlogUrls\":\(service),\"rekorTlogConfig\""))
        let out = await directory.swsign(
            "sign-blob", "--key", "key.pem", "--signing-config", "log.json", "--bundle", "c.json", "file")
        #expect(out.ending == .exit(1), "the log that is named cannot be reached")
        #expect(!directory.exists("c.json"))
        try directory.write("bad.json", "{")
        try await directory.expectRefusal(
            "malformed-json", "bad.json",
            of: ["sign-blob", "--key", "key.pem", "--signing-config", "bad.json", "--bundle", "c.json", "file"])
    }

    @Test("An algorithm that is not the key's is refused")
    func algorithmOfAnotherKey() async throws {
        try prepare()
        try await directory.expectRefusal(
            "unsupported-key", "ECDSA P-256", "ed25519-ph",
            of: [
                "sign-blob", "--key", "key.pem", "--tlog-upload=false", "--signing-algorithm", "ed25519-ph", "--bundle",
                "b", "file",
            ])
        let outcome = await sign("--signing-algorithm", "ecdsa-sha2-256-nistp256", "--bundle", "b.json", "file")
        #expect(outcome.succeeded, "\(outcome.messages)")
    }

    @Test("Ed25519 keys sign pure, or prehashed where that is asked for")
    func ed25519Forms() async throws {
        try prepare(.ed25519)
        #expect(await sign("--bundle", "pure.json", "file").succeeded)
        #expect(await sign("--signing-algorithm", "ed25519-ph", "--bundle", "ph.json", "file").succeeded)
        #expect(
            try bundle("ph.json").member("messageSignature").member("messageDigest").member("algorithm").string()
                == "SHA2_512")
        for (name, scheme) in [("pure.json", "Ed25519"), ("ph.json", "Ed25519ph")] {
            let outcome = await verify("--output", "json", "--bundle", name, "file")
            #expect(outcome.succeeded, "\(outcome.messages)")
            #expect(try outcome.objects().first?.member("signatureScheme").string() == scheme)
        }
        // Bare signatures are pure, as both cosigns have it.
        let bare = await sign("--output-signature", "sig", "file")
        #expect(bare.succeeded)
        #expect(await verify("--signature", "sig", "file").succeeded)
        try await directory.expectRefusal(
            "usage", "--bundle",
            of: ["sign-blob", "--key", "key.pem", "--tlog-upload=false", "--signing-algorithm", "ed25519-ph", "file"])
    }

    // MARK: - Several files

    @Test("Several files are signed in one call, each bundle beside its file, and verified without naming them")
    func severalFiles() async throws {
        try prepare()
        try directory.makeDirectory("d")
        try directory.write("d/b", "b")
        let signed = await sign("file", "d/b")
        #expect(signed.succeeded, "\(signed.messages)")
        #expect(signed.stdout.isEmpty)
        #expect(signed.messages.contains("2 of 2 files signed"))
        #expect(try directory.mode("file.sigstore.json") == 0o600)
        let verified = await verify("file", "d/b")
        #expect(verified.succeeded, "\(verified.messages)")
        #expect(verified.messages.contains("d/b: Verified OK") && verified.messages.contains("2 of 2 files verified"))
    }

    @Test("The key is opened once, however many files there are")
    func keyOpenedOnce() async throws {
        let key = try directory.makeKey()
        try directory.write(
            "sealed.key", try EncryptedKeyFile(encrypting: key, password: SecretBytes(Array("w0rd".utf8))).pem())
        for name in ["a", "b", "c"] { try directory.write(name, name) }
        let outcome = await directory.swsign(
            "sign-blob", "--key", "sealed.key", "--tlog-upload=false", "a", "b", "c", input: .terminal,
            terminal: [.init("Enter password for private key: ", "w0rd\r")])
        #expect(outcome.succeeded, "\(outcome.messages)")
        #expect(outcome.screen.components(separatedBy: "Enter password").count == 2)
        #expect(await verify("a", "b", "c").succeeded)
    }

    @Test("--output-directory takes the bundles")
    func outputDirectory() async throws {
        try prepare()
        try directory.makeDirectory("out")
        try directory.makeDirectory("d")
        try directory.write("d/b", "b")
        let outcome = await sign("--output-directory", "out", "file", "d/b")
        #expect(outcome.succeeded, "\(outcome.messages)")
        #expect(directory.exists("out/file.sigstore.json") && directory.exists("out/b.sigstore.json"))
        #expect(!directory.exists("file.sigstore.json"))
        #expect(await verify("--bundle", "out/b.sigstore.json", "d/b").succeeded)
        let one = await sign("--output-directory", "out", "--yes", "file")
        #expect(one.succeeded, "\(one.messages)")
    }

    @Test("Two files of one name do not go into one directory", arguments: [[], ["--yes"]] as [[String]])
    func sameNameTwice(flags: [String]) async throws {
        try prepare()
        for name in ["out", "d"] { try directory.makeDirectory(name) }
        try directory.write("d/file", "another")
        try await directory.expectRefusal(
            "usage", "file.sigstore.json",
            of: ["sign-blob", "--key", "key.pem", "--tlog-upload=false", "--output-directory", "out"] + flags + [
                "file", "d/file",
            ])
    }

    @Test("One bad file does not stop the others, and the summary names it")
    func oneBadFile() async throws {
        try prepare()
        try directory.write("b", "b")
        let signed = await sign("file", "missing", "b")
        #expect(signed.ending == .exit(1))
        #expect(signed.code == "file-not-found")
        #expect(signed.messages.contains("2 of 3 files signed"))
        #expect(signed.messages.contains("not signed: missing"))
        #expect(directory.exists("file.sigstore.json") && directory.exists("b.sigstore.json"))
        #expect(!directory.exists("missing.sigstore.json"))

        try directory.write("file", "changed")
        let verified = await verify("file", "b")
        #expect(verified.ending == .exit(1))
        #expect(verified.messages.contains("b: Verified OK"))
        #expect(!verified.messages.contains("file: Verified OK"))
        #expect(verified.messages.contains("1 of 2 files verified") && verified.messages.contains("not verified: file"))
        #expect(verified.code == "artifact-mismatch")
    }

    @Test("A bundle that stands beside its file already is only replaced with --yes")
    func existingBundle() async throws {
        try prepare()
        try directory.write("b", "b")
        try directory.write("file.sigstore.json", "old")
        let refused = await sign("file", "b")
        #expect(refused.ending == .exit(1))
        #expect(refused.code == "file-exists")
        #expect(refused.messages.contains("--yes"))
        #expect(try directory.text("file.sigstore.json") == "old")
        #expect(directory.exists("b.sigstore.json"))
        let replaced = await sign("-y", "file", "b")
        #expect(replaced.succeeded, "\(replaced.messages)")
        #expect(await verify("file", "b").succeeded)
    }

    @Test("One name for the outputs of several files is refused", arguments: ["--bundle", "--output-signature"])
    func oneOutputForSeveral(flag: String) async throws {
        try prepare()
        try directory.write("b", "b")
        try await directory.expectRefusal(
            "usage", "2 files", of: ["sign-blob", "--key", "key.pem", "--tlog-upload=false", flag, "out", "file", "b"])
    }

    @Test("Standard input among several files has no name for its bundle")
    func standardInputAmongSeveral() async throws {
        try prepare()
        let outcome = await sign("file", "-", input: .text("x"))
        #expect(outcome.ending == .exit(1))
        #expect(outcome.messages.contains("1 of 2 files signed"))
        #expect(outcome.messages.contains("not signed: standard input"))
    }

    @Test("A hundred files side by side, each object on a line of its own")
    func manyFiles() async throws {
        try prepare()
        let names = (0..<100).map { "f\($0)-\(String(repeating: "x", count: 150))" }
        for name in names { try directory.write(name, name) }
        let signed = await Program(directory: directory.path).run(
            ["sign-blob", "--key", "key.pem", "--tlog-upload=false"] + names)
        #expect(signed.succeeded, "\(signed.messages)")
        let verified = await Program(directory: directory.path)
            .run(
                ["verify-blob", "--key", "key.pub", "--insecure-ignore-tlog", "-o", "json", "--max-workers", "16"]
                    + names)
        #expect(verified.succeeded)
        let objects = try verified.objects()
        #expect(Set(try objects.map { try $0.member("file").string() }) == Set(names))
        #expect(try objects.allSatisfy { try $0.member("verified").bool() })
    }

    // MARK: - Verifying

    @Test("The bundle beside the file is found, .sigstore.json before .sigstore")
    func bundleBeside() async throws {
        try prepare()
        #expect(await sign("--bundle", "file.sigstore", "file").succeeded)
        #expect(await verify("file").succeeded)
        try directory.write("file.sigstore.json", "not a bundle")
        let outcome = await verify("file")
        #expect(outcome.code == "malformed-json")
        #expect(outcome.messages.contains("file.sigstore.json"))
    }

    @Test("Where no signature is to be found, both names are said")
    func noSignature() async throws {
        try prepare()
        try await directory.expectRefusal(
            "file-not-found", "file.sigstore.json", "file.sigstore,", "--bundle or --signature",
            of: ["verify-blob", "--key", "key.pub", "--insecure-ignore-tlog", "file"])
    }

    @Test("--signature takes a file in base64 or of bare bytes, standard input, or the base64 itself")
    func signatureForms() async throws {
        try prepare()
        let base64 = await sign("file").line
        let raw = try #require(Base64.decode(base64))
        try directory.write("base64", base64)
        try directory.write("line", base64 + "\r\n")
        try directory.write("raw", raw)
        for form in ["base64", "line", "raw", base64] {
            let outcome = await verify("--signature", form, "file")
            #expect(outcome.succeeded, "\(form): \(outcome.messages)")
        }
        #expect(await verify("--signature", "-", "file", input: .text(base64)).succeeded)
        try await directory.expectRefusal(
            "file-not-found", "neither a file nor a signature",
            of: ["verify-blob", "--key", "key.pub", "--insecure-ignore-tlog", "--signature", "nowhere.sig", "file"])
    }

    @Test("The artifact may be standard input")
    func artifactOnStandardInput() async throws {
        try prepare()
        let base64 = await sign("-", input: .text(Self.content)).line
        #expect(await verify("--signature", base64, "-", input: .text(Self.content)).succeeded)
        let other = await verify("--signature", base64, "-", input: .text("other"))
        #expect(other.code == "invalid-signature")
        let nameless = await verify("-", input: .text(Self.content))
        #expect(nameless.code == "usage" && nameless.messages.contains("--bundle or --signature"))
    }

    @Test(
        "A digest does in place of the file where it is the one that was signed",
        arguments: [
            (SigningAlgorithm.ecdsaP256, HashAlgorithm.sha256), (.ecdsaP384, .sha384), (.ecdsaP521, .sha512),
            (.rsa2048, .sha256),
        ])
    func digestInPlaceOfFile(algorithm: SigningAlgorithm, right: HashAlgorithm) async throws {
        try prepare(algorithm)
        #expect(await sign("--bundle", "b.json", "file").succeeded)
        for hash in HashAlgorithm.allCases {
            let digest = try Digest.hash(Array(Self.content.utf8), hash)
            let outcome = await verify("--bundle", "b.json", digest.description)
            #expect(outcome.succeeded == (hash == right), "\(hash): \(outcome.messages)")
            if hash != right {
                #expect(outcome.code == "other-digest-needed")
                #expect(
                    outcome.messages.contains("\(right.rawValue):"), "the right one is not named: \(outcome.messages)")
            }
            let other = await verify("--bundle", "b.json", try Digest.hash([1], hash).description)
            #expect(other.code == (hash == right ? "artifact-mismatch" : "other-digest-needed"))
        }
        for malformed in ["sha256:abc", "sha512:zz", "sha384:"] {
            #expect(await verify("--bundle", "b.json", malformed).code == "malformed-digest")
        }
    }

    @Test("For pure Ed25519 no digest can do")
    func digestForEd25519() async throws {
        try prepare(.ed25519)
        #expect(await sign("--bundle", "b.json", "file").succeeded)
        for hash in HashAlgorithm.allCases {
            let outcome = await verify(
                "--bundle", "b.json", try Digest.hash(Array(Self.content.utf8), hash).description)
            #expect(outcome.code == "other-digest-needed", "\(outcome.messages)")
            #expect(outcome.messages.contains("give the file"))
        }
    }

    @Test("For Ed25519ph the SHA-512 does, and no other digest")
    func digestForEd25519ph() async throws {
        try prepare(.ed25519)
        #expect(await sign("--signing-algorithm", "ed25519-ph", "--bundle", "b.json", "file").succeeded)
        let good = try Digest.hash(Array(Self.content.utf8), .sha512).description
        let verified = await verify("--bundle", "b.json", good)
        #expect(verified.succeeded, "\(verified.messages)")
        let other = await verify("--bundle", "b.json", try Digest.hash([1], .sha512).description)
        #expect(other.code == "artifact-mismatch", "\(other.messages)")
        let wrong = await verify("--bundle", "b.json", try Digest.hash(Array(Self.content.utf8), .sha256).description)
        #expect(wrong.code == "other-digest-needed" && wrong.messages.contains("sha512:"), "\(wrong.messages)")
        try directory.makeKey("another", .ed25519)
        #expect(
            await directory.swsign(
                "verify-blob", "--key", "another.pub", "--insecure-ignore-tlog", "--bundle", "b.json", good
            ).code == "wrong-key")
    }

    @Test(
        "A signature by a key service over the other of its curve's two hashes than the bundle names holds, for that artifact",
        arguments: [
            (HashAlgorithm.sha256, HashAlgorithm.sha384, "SHA2_384", true), (.sha384, .sha256, "SHA2_256", true),
            (.sha512, .sha384, "SHA2_384", false), (.sha512, .sha512, "SHA2_512", false),
        ])
    func otherHashThanNamed(signed: HashAlgorithm, named: HashAlgorithm, name: String, holds: Bool) async throws {
        let content = Array(Self.content.utf8)
        let key = try PrivateKey.generate(signed == .sha512 ? .ecdsaP521 : .ecdsaP384)
        let other = try PrivateKey.generate(.ecdsaP384).publicKey
        try directory.write("p384.pub", (signed == .sha512 ? other : key.publicKey).pem)
        try directory.write("file", content)
        let signature = Base64.encode(try key.sign(content, scheme: .ecdsa(signed)))
        func bundle(_ digest: Digest) -> String {
            """
            {"mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json", "verificationMaterial": {"publicKey": {"hint": ""}},
            "messageSignature": {"messageDigest": {"algorithm": "\(name)", "digest": "\(Base64.encode(digest.bytes))"},
            "signature": "\(signature)"}}
            """
        }
        try directory.write("right.json", bundle(try Digest.hash(content, named)))
        try directory.write("wrong.json", bundle(try Digest.hash([1], named)))
        func verify(_ bundle: String, _ artifact: String) async -> Program.Outcome {
            await directory.swsign(
                "verify-blob", "--key", "p384.pub", "--insecure-ignore-tlog", "--bundle", bundle, artifact)
        }
        let right = await verify("right.json", "file")
        #expect(right.succeeded == holds, "\(right.messages)")
        guard holds else { return }
        #expect(await verify("wrong.json", "file").code == "artifact-mismatch")
        // Of a digest in place of the file, only what the bundle names is known.
        #expect(await verify("right.json", try Digest.hash(content, named).description).code == "invalid-signature")
        #expect(await verify("right.json", try Digest.hash(content, signed).description).code == "other-digest-needed")
    }

    // MARK: - Directories

    @Test(
        "Of a directory everything must be signed but the signatures beside its files, and those that nobody reads are named"
    )
    func directories() async throws {
        try prepare()
        try directory.makeDirectory("dist/inner")
        for name in ["dist/a", "dist/inner/b"] {
            try directory.write(name, name)
            #expect(await sign("--bundle", "\(name).sigstore.json", name).succeeded)
        }
        let good = await verify("dist")
        #expect(good.succeeded && good.messages.contains("2 of 2 files verified"), "\(good.messages)")
        #expect(!good.messages.contains("not verified"))
        for name in ["dist/a.sig", "dist/a.pem", "dist/a.sigstore"] { try directory.write(name, "x") }
        let beside = await verify("dist")
        #expect(beside.succeeded, "\(beside.messages)")
        for name in ["dist/a.sig", "dist/a.pem", "dist/a.sigstore"] {
            #expect(
                beside.messages.contains(
                    "WARNING: not verified, since it has the name of a signature or certificate: \(name)\n"))
        }
        for name in ["evil.pem", "evil.sig", "cosign.pub", "ca.crt", "x.sigstore.json", "x.sigstore", "inner/.hidden"] {
            try directory.write("dist/\(name)", "x")
            let outcome = await verify("dist")
            #expect(outcome.ending == .exit(1), "\(name)")
            #expect(outcome.messages.contains("not verified: dist/\(name)\n"), "\(outcome.messages)")
            try FileManager.default.removeItem(atPath: directory["dist/\(name)"])
        }
        try FileManager.default.createSymbolicLink(atPath: directory["dist/link"], withDestinationPath: "/etc/hostname")
        let link = await verify("dist")
        #expect(link.ending == .exit(1) && link.messages.contains("not verified: dist/link\n"), "\(link.messages)")
        try FileManager.default.removeItem(atPath: directory["dist/link"])
        try await directory.tool("mkfifo", "dist/pipe")
        let pipe = await verify("dist")
        // It is refused by itself, and the others are verified all the same.
        #expect(pipe.ending == .exit(1) && pipe.messages.contains("not verified: dist/pipe\n"), "\(pipe.messages)")
        #expect(pipe.messages.contains("dist/pipe is neither a file nor a directory [file-unreadable]"))
        #expect(pipe.messages.contains(": Verified OK"), "\(pipe.messages)")
    }

    @Test("A name that is not UTF-8 is refused, and not taken for another file's")
    func namesThatAreNotText() async throws {
        try prepare()
        // U+FFFD is what such bytes are often changed to; a signed file of that name must not vouch for the other.
        try directory.makeDirectory("dist")
        try directory.write("dist/n\u{fffd}", "signed")
        #expect(await sign("--bundle", "dist/n\u{fffd}.sigstore.json", "dist/n\u{fffd}").succeeded)
        #expect(await verify("dist").succeeded)
        func refused(_ arguments: String) async {
            let outcome = await Program(executable: "/bin/sh", directory: directory.path)
                .run(["-c", "bytes=$(printf 'n\\377'); \(arguments)", Program.path])
            #expect(outcome.ending == .exit(1) && outcome.code == "not-utf8", "\(arguments): \(outcome.messages)")
        }
        let flags = "--key key.pem --tlog-upload=false"
        await refused("echo x > dist/$bytes; \"$0\" sign-blob \(flags) dist/$bytes")
        await refused("\"$0\" verify-blob --key key.pub --insecure-ignore-tlog dist/$bytes")
        await refused("\"$0\" verify-blob --key key.pub --insecure-ignore-tlog dist")
        await refused("\"$0\" sign-blob \(flags) --bundle $bytes file")
        await refused("COSIGN_BUNDLE=$bytes \"$0\" sign-blob \(flags) file")
    }

    @Test("A file that is named like a digest is that file")
    func fileNamedLikeDigest() async throws {
        try prepare()
        let name = "sha256:" + String(repeating: "0", count: 64)
        try directory.write(name, Self.content)
        #expect(await sign("--bundle", "b.json", "file").succeeded)
        let outcome = await verify("--bundle", "b.json", name)
        #expect(outcome.succeeded, "\(outcome.messages)")
    }

    @Test("A verified log entry is demanded, with a key too, unless it is waived by name, which warns")
    func logEntryIsDemanded() async throws {
        try prepare()
        #expect(await sign("--bundle", "b.json", "file").succeeded)
        try directory.write("root.json", #"{"mediaType":"application/vnd.dev.sigstore.trustedroot+json;version=0.1"}"#)
        let verify = ["verify-blob", "--key", "key.pub", "--trusted-root", "root.json"]
        try await directory.expectRefusal(
            "no-log-entry", "transparency log", "--insecure-ignore-tlog", of: verify + ["--bundle", "b.json", "file"])
        let base64 = await sign("file").line
        try await directory.expectRefusal(
            "no-log-entry", "transparency log", "sign with --bundle, which keeps the entry",
            of: verify + ["--signature", base64, "file"])
        for flag in ["--insecure-ignore-tlog", "--private-infrastructure"] {
            let outcome = await directory.swsign("verify-blob", "--key", "key.pub", flag, "--bundle", "b.json", "file")
            #expect(outcome.succeeded, "\(outcome.messages)")
            #expect(outcome.messages.contains("WARNING: ") && outcome.messages.contains(flag))
            #expect(outcome.stdout.isEmpty)
        }
    }

    @Test("--output json prints one versioned object a file: what was checked, with what result")
    func jsonReport() async throws {
        try prepare()
        try directory.write("b", "b")
        #expect(await sign("file", "b").succeeded)
        try directory.write("b", "changed")
        let outcome = await verify("--output", "json", "file", "b", "missing")
        #expect(outcome.ending == .exit(1))
        let objects = try outcome.objects()
        #expect(objects.count == 3)
        func object(_ name: String) throws -> JSONCursor {
            try #require(try objects.first { try $0.member("file").string() == name })
        }
        for each in objects { #expect(try each.member("version").integer() == 1) }
        let good = try object("file")
        #expect(try good.member("verified").bool())
        #expect(try good.member("signer").member("key").string() == PublicKey(file: directory.read("key.pub")).hint())
        #expect(try good.member("signatureScheme").string() == "ECDSA with sha256")
        #expect(try good.member("checks").elements().map { try $0.member("name").string() }.contains("signature"))
        #expect(try good.optional("error") == nil)
        // A key claims nothing.
        #expect(try good.optional("claims") == nil && good.optional("deprecatedClaims") == nil)
        let bad = try object("b")
        #expect(try !bad.member("verified").bool())
        #expect(try bad.member("failedStep").string() == "artifact")
        #expect(try bad.member("error").member("code").string() == "artifact-mismatch")
        #expect(try bad.member("error").member("message").string().contains("another file"))
        let missing = try object("missing")
        #expect(try !missing.member("verified").bool())
        #expect(try missing.member("error").member("code").string() == "file-not-found")
    }

    @Test("--verbose shows each check, and without it none is shown")
    func verbose() async throws {
        try prepare()
        #expect(await sign("--bundle", "b.json", "file").succeeded)
        let loud = await verify("--bundle", "b.json", "-d", "file")
        #expect(loud.messages.contains("the signature holds: ECDSA with sha256 by a key of kind ECDSA P-256"))
        let plain = await verify("--bundle", "b.json", "file")
        #expect(!plain.messages.contains("the signature holds"))
    }

    @Test("Flags that exclude each other are refused")
    func exclusiveFlags() async throws {
        try prepare()
        let base = ["verify-blob", "--key", "key.pub", "--insecure-ignore-tlog"]
        #expect(await sign("--bundle", "b.json", "file").succeeded)
        try await directory.expectRefusal(
            "usage", "--signature", of: base + ["--bundle", "b.json", "--signature", "AQID", "file"])
        try await directory.expectRefusal("usage", "2 files", of: base + ["--bundle", "b", "file", "file2"])
        try await directory.expectRefusal(
            "usage", "together",
            of: [
                "sign-blob", "--key", "key.pem", "--tlog-upload=false", "--bundle", "b", "--output-directory", ".",
                "file",
            ])
    }

    @Test(
        "Every sample of cosign's that needs only a key and no log comes out as it should", .needsShared,
        arguments: ["blob", "blob-attestation"])
    func cosignsSamples(kind: String) async throws {
        let list = JSONCursor(
            try JSONValue(
                parsing: Array(try Data(contentsOf: URL(fileURLWithPath: sharedDirectory + "/samples/cases.json")))))
        var seen = 0
        for each in try list.elements() {
            guard try each.member("kind").string() == kind, try each.optional("key") != nil,
                try each.optional("log")?.string() == "none"
            else { continue }
            let arguments = try each.member("verify").elements().dropFirst().map { try $0.string() }
            let want = try each.member("want").string()
            var program = Program(directory: sharedDirectory + "/samples")
            for name in try each.optional("verify_env")?.names() ?? [] {
                program.environment[name] = try each.member("verify_env").member(name).string()
            }
            seen += 1
            let outcome = await program.run(arguments)
            let name = try each.member("id").string()
            #expect(
                want == "any" || outcome.ending == (want == "ok" ? .exit(0) : .exit(1)),
                "\(name): wanted \(want): \(arguments): \(outcome.messages)")
        }
        #expect(seen > 5)
    }
}
