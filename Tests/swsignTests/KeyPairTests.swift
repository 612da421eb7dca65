import Foundation
import SigstoreCrypto
import StrictJSON
import Testing

/// generate-key-pair, import-key-pair and public-key.
struct KeyPairTests {
    let directory = TemporaryDirectory()

    // MARK: - generate-key-pair

    @Test(
        "Every signing algorithm makes a pair whose public key OpenSSL reads",
        arguments: [
            ("ecdsa-sha2-256-nistp256", "NIST CURVE: P-256"), ("ecdsa-sha2-384-nistp384", "NIST CURVE: P-384"),
            ("ecdsa-sha2-512-nistp521", "NIST CURVE: P-521"), ("ed25519", "ED25519 Public-Key"),
            ("ed25519-ph", "ED25519 Public-Key"),
            ("rsa-sign-pkcs1-2048-sha256", "Public-Key: (2048 bit)"),
            ("rsa-sign-pkcs1-3072-sha256", "Public-Key: (3072 bit)"),
            ("rsa-sign-pkcs1-4096-sha256", "Public-Key: (4096 bit)"),
        ])
    func everyAlgorithm(algorithm: String, words: String) async throws {
        let outcome = await directory.swsign(
            "generate-key-pair", "--signing-algorithm", algorithm, environment: ["COSIGN_PASSWORD": "secret"])
        #expect(outcome.succeeded, "\(outcome.messages)")
        #expect(outcome.stdout.isEmpty)
        #expect(outcome.messages.contains("cosign.key") && outcome.messages.contains("cosign.pub"))
        #expect(directory.names == ["cosign.key", "cosign.pub"])
        #expect(try directory.mode("cosign.key") == 0o600)
        #expect(try directory.mode("cosign.pub") == 0o644)
        #expect(try directory.text("cosign.key").hasPrefix("-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----\n"))
        let shown = try await directory.tool("openssl", "pkey", "-pubin", "-in", "cosign.pub", "-noout", "-text")
        #expect(shown.output.contains(words), "\(shown.output)")
        let key = try PrivateKey.read(file: directory.read("cosign.key")) { SecretBytes(Array("secret".utf8)) }
        #expect(try key.publicKey.isSame(as: PublicKey(file: directory.read("cosign.pub"))))
    }

    @Test("P-256 is the default, and a prefix names the files, whatever the umask")
    func defaultAndPrefix() async throws {
        try directory.makeDirectory("keys")
        var program = Program(directory: directory.path, environment: ["COSIGN_PASSWORD": ""])
        program.limits = "umask 0"
        let open = await program.run(["generate-key-pair", "--output-key-prefix", "keys/a"])
        #expect(open.succeeded, "\(open.messages)")
        program.limits = "umask 077"
        let closed = await program.run(["generate-key-pair", "--output-key-prefix", "keys/b"])
        #expect(closed.succeeded, "\(closed.messages)")
        for name in ["a", "b"] {
            #expect(try directory.mode("keys/\(name).key") == 0o600)
            #expect(try directory.mode("keys/\(name).pub") == 0o644)
            #expect(try PublicKey(file: directory.read("keys/\(name).pub")).kind == .ecP256)
        }
    }

    @Test("An unknown algorithm is refused with those that are known")
    func unknownAlgorithm() async throws {
        try await directory.expectRefusal(
            "unknown-algorithm", "rsa-1024", "ecdsa-sha2-256-nistp256", "ed25519-ph",
            of: ["generate-key-pair", "--signing-algorithm", "rsa-1024"], environment: ["COSIGN_PASSWORD": ""])
    }

    @Test("The password may come from standard input, and opens the key", arguments: ["nothing", "LF", "CRLF"])
    func passwordFromStandardInput(followedBy ending: String) async throws {
        let typed = "secret" + (ending == "LF" ? "\n" : ending == "CRLF" ? "\r\n" : "")
        let made = await directory.swsign("generate-key-pair", input: .text(typed))
        #expect(made.succeeded, "\(made.messages)")
        for (password, opens) in [("secret", true), ("wrong", false), ("", false)] {
            let outcome = await directory.swsign("public-key", "--key", "cosign.key", input: .text(password + "\n"))
            #expect(outcome.succeeded == opens, "\(password): \(outcome.messages)")
            #expect(outcome.code == (opens ? nil : "wrong-password"))
        }
    }

    @Test("COSIGN_PASSWORD counts before standard input, and set but empty means empty")
    func passwordFromEnvironment() async throws {
        let made = await directory.swsign(
            "generate-key-pair", environment: ["COSIGN_PASSWORD": ""], input: .text("other"))
        #expect(made.succeeded, "\(made.messages)")
        #expect(try PrivateKey.read(file: directory.read("cosign.key")) { SecretBytes([]) }.publicKey.kind == .ecP256)
    }

    @Test("On a terminal the password is asked for twice, and never shown")
    func passwordFromTerminal() async throws {
        let outcome = await directory.swsign(
            "generate-key-pair", input: .terminal,
            terminal: [.init("Enter password for private key: ", "s3cr3t-word\r"), .init("again: ", "s3cr3t-word\r")])
        #expect(outcome.succeeded, "\(outcome.messages) \(outcome.screen)")
        for shown in [outcome.screen, outcome.messages, outcome.output] { #expect(!shown.contains("s3cr3t")) }
        let key = try PrivateKey.read(file: directory.read("cosign.key")) { SecretBytes(Array("s3cr3t-word".utf8)) }
        #expect(key.publicKey.kind == .ecP256)
    }

    @Test("Two passwords that differ make no key")
    func passwordsDiffer() async throws {
        let outcome = await directory.swsign(
            "generate-key-pair", input: .terminal,
            terminal: [.init("Enter password for private key: ", "one\r"), .init("again: ", "two\r")])
        #expect(outcome.ending == .exit(1))
        #expect(outcome.code == "no-password")
        #expect(outcome.messages.contains("not the same"))
        #expect(directory.names.isEmpty)
    }

    @Test(
        "What was taken back with backspace, Control-W or Control-U does not count",
        arguments: [
            "ax\u{7f}b", "wrong\u{15}ab", "wrong\u{17}ab", "wrong word  \u{17}\u{17}ab", "é\u{7f}ab", "\u{7f}ab",
        ])
    func takenBack(typed: String) async throws {
        let outcome = await directory.swsign(
            "generate-key-pair", input: .terminal,
            terminal: [.init("private key: ", typed + "\r"), .init("again: ", "ab\r")])
        #expect(outcome.succeeded, "\(outcome.messages)")
    }

    @Test("A key whose password has a line break at its end, as cosign makes it of a pipe, opens with what made it")
    func passwordWithLineBreak() async throws {
        let made = await directory.swsign("generate-key-pair", environment: ["COSIGN_PASSWORD": "secret\n"])
        #expect(made.succeeded, "\(made.messages)")
        for (typed, opens) in [("secret\n", true), ("secret", false), ("secret\n\n", false)] {
            let outcome = await directory.swsign("public-key", "--key", "cosign.key", input: .text(typed))
            #expect(outcome.succeeded == opens, "\(outcome.messages)")
        }
        // The key that is made of it by importing opens with that password too.
        for command in [
            ["import-key-pair", "--key", "cosign.key", "--output-key-prefix", "imported"],
            ["public-key", "--key", "imported.key"],
        ] {
            let outcome = await Program(directory: directory.path).run(command, input: .text("secret\n"))
            #expect(outcome.succeeded, "\(outcome.messages)")
        }
    }

    @Test("Where nobody gives a password, no key is made: it would be open to everybody")
    func noPassword() async throws {
        try directory.makeKey()
        for command in [["generate-key-pair"], ["import-key-pair", "--key", "key.pem"]] {
            let outcome = await Program(directory: directory.path).run(command, input: .text(""))
            #expect(outcome.ending == .exit(1) && outcome.code == "no-password", "\(outcome.messages)")
        }
        #expect(!directory.exists("cosign.key") && !directory.exists("import-cosign.key"))
    }

    @Test("What was read is not replaced by what comes of it")
    func resultOverInput() async throws {
        try directory.makeKey()
        try directory.write("file", "what is signed")
        try FileManager.default.createSymbolicLink(atPath: directory["link"], withDestinationPath: "key.pem")
        let before = try directory.read("key.pem")
        for arguments in [
            ["public-key", "--key", "key.pem", "--outfile", "key.pem"],
            ["public-key", "--key", "key.pem", "--outfile", "link"],
            ["public-key", "--key", "key.pem", "--output-file", "key.pem"],
            ["sign-blob", "--key", "key.pem", "--tlog-upload=false", "--output-file", "key.pem", "file"],
            ["sign-blob", "--key", "key.pem", "--tlog-upload=false", "--output-file", "file", "file"],
        ] {
            let outcome = await Program(directory: directory.path).run(arguments)
            #expect(outcome.ending == .exit(1) && outcome.code == "file-exists", "\(arguments): \(outcome.messages)")
        }
        #expect(try directory.read("key.pem") == before)
        #expect(try directory.text("file") == "what is signed")
        // However many other files are read after it.
        let files = (0..<1_100).map { "file-\($0)" }
        for file in files { try directory.write(file, file) }
        let program = Program(directory: directory.path)
        await program.run(["sign-blob", "--key", "key.pem", "--tlog-upload=false"] + files).expectSuccess()
        let verified = await program.run(
            ["verify-blob", "--key", "key.pub", "--insecure-ignore-tlog", "--output-file", files[0]] + files)
        #expect(verified.ending == .exit(1) && verified.code == "file-exists", "\(verified.messages)")
        #expect(try directory.text(files[0]) == files[0])
        // Nor is one result written over another, however it is spelled.
        try await directory.expectRefusal(
            "usage", "two things",
            of: [
                "sign-blob", "--key", "key.pem", "--tlog-upload=false", "--bundle", "new.json", "--output-signature",
                "./new.json", "file",
            ])
    }

    @Test("Control-C at the prompt ends the program and leaves nothing")
    func interruptedAtPrompt() async throws {
        let outcome = await directory.swsign(
            "generate-key-pair", input: .terminal, terminal: [.init("private key: ", "ab\u{3}")])
        #expect(outcome.ending == .exit(130), "\(outcome.ending)")
        #expect(outcome.code == "interrupted")
        #expect(directory.names.isEmpty)
    }

    // MARK: - Existing keys

    /// A pair that was there before.
    private func makeExisting() throws -> [String: Data] {
        try directory.write("cosign.key", "old private key")
        try directory.write("cosign.pub", "old public key")
        return try directory.snapshot()
    }

    @Test(
        "An existing key is not replaced by --yes, the environment or standard input",
        arguments: [
            (["--yes"], [:]), (["-y"], [:]), ([], ["COSIGN_YES": "true"]), ([], [:]),
        ] as [([String], [String: String])])
    func existingKeyStays(flags: [String], environment: [String: String]) async throws {
        let before = try makeExisting()
        for input in [Program.Input.nothing, .text("y\n"), .text("yes\n")] {
            let outcome = await Program(
                directory: directory.path, environment: environment.merging(["COSIGN_PASSWORD": ""]) { $1 }
            ).run(["generate-key-pair"] + flags, input: input)
            #expect(outcome.ending == .exit(1))
            #expect(outcome.code == "file-exists")
            #expect(outcome.messages.contains("cosign.key and cosign.pub exist"))
            #expect(try directory.snapshot() == before)
        }
    }

    @Test("One file of the two is enough to be asked", arguments: ["cosign.key", "cosign.pub"])
    func oneExistingFile(name: String) async throws {
        try directory.write(name, "old")
        try await directory.expectRefusal(
            "file-exists", name, of: ["generate-key-pair", "--yes"], environment: ["COSIGN_PASSWORD": ""])
    }

    @Test("A typed no, or nothing, leaves an existing key", arguments: ["n\r", "\r", "maybe\r", "\u{4}"])
    func typedNo(answer: String) async throws {
        let before = try makeExisting()
        let outcome = await directory.swsign(
            "generate-key-pair", "--yes", environment: ["COSIGN_PASSWORD": ""], input: .terminal,
            terminal: [.init("[y/N] ", answer)])
        #expect(outcome.ending != .exit(0))
        #expect(try directory.snapshot() == before)
    }

    @Test("A typed yes replaces an existing key, which is kept under another name", arguments: ["y\r", "YES\r"])
    func typedYes(answer: String) async throws {
        _ = try makeExisting()
        let outcome = await directory.swsign(
            "generate-key-pair", environment: ["COSIGN_PASSWORD": ""], input: .terminal,
            terminal: [.init("[y/N] ", answer)])
        #expect(outcome.succeeded, "\(outcome.messages)")
        #expect(outcome.screen.contains("cosign.key and cosign.pub exist"))
        #expect(directory.names.count == 4)
        let key = try #require(directory.names.first { $0.hasPrefix("cosign.key.bak-") })
        let pub = try #require(directory.names.first { $0.hasPrefix("cosign.pub.bak-") })
        #expect(try directory.text(key) == "old private key")
        #expect(try directory.text(pub) == "old public key")
        #expect(outcome.messages.contains(key))
        #expect(try directory.mode("cosign.key") == 0o600)
        #expect(try PublicKey(file: directory.read("cosign.pub")).kind == .ecP256)
    }

    @Test("The answer is not taken from standard input where that is not the terminal")
    func answerOnlyOnTerminal() async throws {
        let before = try makeExisting()
        let outcome = await directory.swsign(
            "generate-key-pair", environment: ["COSIGN_PASSWORD": ""], input: .text("y\n"),
            terminal: [.init("[y/N] ", "y\r")])
        #expect(outcome.ending == .exit(1))
        #expect(try directory.snapshot() == before)
    }

    // MARK: - Whole or not at all

    @Test("A directory that cannot be written to is said so")
    func unwritableDirectory() async throws {
        // Not even the superuser makes files there.
        try await directory.expectRefusal(
            "file-unwritable", "/sys/kernel/swsign.key",
            of: ["generate-key-pair", "--output-key-prefix", "/sys/kernel/swsign"],
            environment: ["COSIGN_PASSWORD": ""])
    }

    @Test("A directory that does not exist is said so")
    func missingDirectory() async throws {
        try await directory.expectRefusal(
            "file-unwritable", "none/k.key", "directory does not exist",
            of: ["generate-key-pair", "--output-key-prefix", "none/k"], environment: ["COSIGN_PASSWORD": ""])
    }

    @Test("Where the public key cannot be written, the old private key is put back and no new one is left")
    func publicKeyIsDirectory() async throws {
        try directory.write("cosign.key", "old private key")
        try directory.makeDirectory("cosign.pub")
        try directory.write("cosign.pub/inside", "x")
        let before = try directory.snapshot()
        let outcome = await directory.swsign(
            "generate-key-pair", environment: ["COSIGN_PASSWORD": ""], input: .terminal,
            terminal: [.init("[y/N] ", "y\r")])
        #expect(outcome.ending == .exit(1))
        #expect(outcome.code == "file-unwritable" || outcome.code == "is-directory", "\(outcome.messages)")
        #expect(try directory.snapshot() == before)
    }

    @Test("A full disk leaves the old pair as it was")
    func fullDiskKeepsOldPair() async throws {
        let before = try makeExisting()
        var program = Program(directory: directory.path, environment: ["COSIGN_PASSWORD": ""])
        program.limits = "ulimit -f 0"
        let outcome = await program.run(["generate-key-pair"], input: .terminal, terminal: [.init("[y/N] ", "y\r")])
        #expect(outcome.ending == .exit(1), "\(outcome.ending)")
        #expect(outcome.code == "file-unwritable")
        #expect(try directory.snapshot() == before)
    }

    // MARK: - import-key-pair

    /// How the openssl program makes a private key at `in.pem`; `ENC` stands for a password.
    enum Source: String, CaseIterable, CustomTestStringConvertible {
        case p256 = "genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out in.pem"
        case p384 = "genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-384 -out in.pem"
        case p521 = "genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-521 -out in.pem"
        case ed25519 = "genpkey -algorithm ED25519 -out in.pem"
        case rsa2048 = "genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out in.pem"
        case rsa3072 = "genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:3072 -out in.pem"
        case rsa4096 = "genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:4096 -out in.pem"
        case encryptedP256 =
            "genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -aes-256-cbc -pass pass:secret -out in.pem"
        case encryptedEd25519 = "genpkey -algorithm ED25519 -aes-256-cbc -pass pass:secret -out in.pem"
        case encryptedRSA =
            "genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -aes-128-cbc -pass pass:secret -out in.pem"
        case sec1P256 = "ecparam -name prime256v1 -genkey -noout -out in.pem"
        case sec1WithParameters = "ecparam -name prime256v1 -genkey -out in.pem"
        case sec1P384 = "ecparam -name secp384r1 -genkey -out in.pem"
        case sec1P521 = "ecparam -name secp521r1 -genkey -out in.pem"
        case pkcs1 = "genrsa -traditional -out in.pem 2048"
        var testDescription: String { "openssl \(rawValue)" }
    }

    @Test("A private key that OpenSSL made is imported, and signs", arguments: Source.allCases)
    func imports(source: Source) async throws {
        let openssl = Program(executable: "openssl", directory: directory.path)
        let made = await openssl.run(source.rawValue.split(separator: " ").map(String.init))
        try #require(made.succeeded, "\(made.messages)")
        let outcome = await directory.swsign(
            "import-key-pair", "--key", "in.pem", environment: ["COSIGN_PASSWORD": "secret"])
        #expect(outcome.succeeded, "\(outcome.messages)")
        #expect(try directory.mode("import-cosign.key") == 0o600)
        #expect(try directory.mode("import-cosign.pub") == 0o644)
        let expected = try await directory.tool("openssl", "pkey", "-in", "in.pem", "-passin", "pass:secret", "-pubout")
        #expect(try directory.read("import-cosign.pub") == expected.stdout)

        try directory.write("file", "content")
        let signed = await directory.swsign(
            "sign-blob", "--key", "import-cosign.key", "--tlog-upload=false", "--output-signature", "sig",
            "--b64=false", "file",
            environment: ["COSIGN_PASSWORD": "secret"])
        #expect(signed.succeeded, "\(signed.messages)")
        if case .ed25519 = try PublicKey(file: directory.read("import-cosign.pub")).kind {
            try await directory.tool(
                "openssl", "pkeyutl", "-verify", "-pubin", "-inkey", "import-cosign.pub", "-rawin", "-in", "file",
                "-sigfile", "sig")
        } else {
            try await directory.tool(
                "openssl", "dgst", "-sha256", "-verify", "import-cosign.pub", "-signature", "sig", "file")
        }
    }

    @Test("An imported key goes where the prefix says, and its new password is asked for twice on a terminal")
    func importAsksTwice() async throws {
        try directory.makeKey("in")
        let outcome = await directory.swsign(
            "import-key-pair", "-k", "in.pem", "-o", "mine", input: .terminal,
            terminal: [.init("private key: ", "w0rd\r"), .init("again: ", "w0rd\r")])
        #expect(outcome.succeeded, "\(outcome.messages)")
        #expect(directory.names == ["in.pem", "in.pub", "mine.key", "mine.pub"])
        #expect(try directory.read("mine.pub") == directory.read("in.pub"))
    }

    @Test(
        "A key of a kind that is not used is refused as that",
        arguments: [
            ("genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:1024 -out in.pem", "1024 bits"),
            ("genrsa -traditional -out in.pem 1024", "1024 bits"),
            ("genpkey -algorithm EC -pkeyopt ec_paramgen_curve:secp256k1 -out in.pem", "secp256k1"),
            ("ecparam -name secp256k1 -genkey -out in.pem", "secp256k1"),
            (
                "genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -pkeyopt ec_param_enc:explicit -out in.pem",
                "explicit"
            ),
            ("genpkey -algorithm X25519 -out in.pem", "not supported"),
            ("genpkey -algorithm ED448 -out in.pem", "not supported"),
            ("dsaparam -genkey -out in.pem 1024", "only ECDSA, RSA and Ed25519"),
        ])
    func refusedKinds(command: String, words: String) async throws {
        let made = await Program(executable: "openssl", directory: directory.path)
            .run(command.split(separator: " ").map(String.init))
        try #require(made.succeeded, "\(made.messages)")
        try await directory.expectRefusal(
            "unsupported-key", words, of: ["import-key-pair", "--key", "in.pem"], environment: ["COSIGN_PASSWORD": ""])
    }

    @Test("A DSA key in PKCS#8 is refused")
    func dsaInPKCS8() async throws {
        try await directory.tool("openssl", "dsaparam", "-genkey", "-out", "dsa.pem", "1024")
        try await directory.tool("openssl", "pkcs8", "-topk8", "-nocrypt", "-in", "dsa.pem", "-out", "in.pem")
        try await directory.expectRefusal(
            "unsupported-key", "only ECDSA, RSA and Ed25519", of: ["import-key-pair", "--key", "in.pem"],
            environment: ["COSIGN_PASSWORD": ""])
    }

    @Test("OpenSSL's old encryption is refused with the way to convert it")
    func legacyEncryption() async throws {
        try await directory.tool(
            "openssl", "genrsa", "-traditional", "-aes128", "-passout", "pass:secret", "-out", "in.pem", "2048")
        try #require(try directory.text("in.pem").contains("Proc-Type: 4,ENCRYPTED"))
        try await directory.expectRefusal(
            "malformed-pem", "openssl pkcs8 -topk8", of: ["import-key-pair", "--key", "in.pem"],
            environment: ["COSIGN_PASSWORD": "secret"])
    }

    @Test("An encrypted PKCS#8 key with the wrong password is refused")
    func importWrongPassword() async throws {
        try await directory.tool(
            "openssl", "genpkey", "-algorithm", "ED25519", "-aes-256-cbc", "-pass", "pass:secret", "-out", "in.pem")
        try await directory.expectRefusal(
            "wrong-password", "in.pem", of: ["import-key-pair", "--key", "in.pem"],
            environment: ["COSIGN_PASSWORD": "other"])
    }

    @Test(
        "An encrypted PKCS#8 key that would take minutes to open is refused before the password is asked for",
        arguments: [
            "-v2 aes-256-cbc -iter 10000001", "-v1 PBE-SHA1-3DES -iter 10000001",
            "-scrypt -scrypt_N 16384 -scrypt_r 8 -scrypt_p 65",
        ])
    func importBoundedDerivation(flags: String) async throws {
        try directory.makeKey("in")
        let words = flags.split(separator: " ").map(String.init)
        let made = await Program(executable: "openssl", directory: directory.path)
            .run(["pkcs8", "-topk8", "-in", "in.pem", "-out", "sealed.pem", "-passout", "pass:secret"] + words)
        try #require(made.succeeded, "\(made.messages)")
        try await directory.expectRefusal(
            "refused-key-parameters", "sealed.pem", of: ["import-key-pair", "--key", "sealed.pem"],
            input: .text("wrong"))
    }

    @Test("Importing does not replace an existing pair either")
    func importKeepsExisting() async throws {
        try directory.makeKey("in")
        try directory.write("import-cosign.key", "old")
        try await directory.expectRefusal(
            "file-exists", "import-cosign.key", of: ["import-key-pair", "--yes", "--key", "in.pem"],
            environment: ["COSIGN_PASSWORD": ""])
    }

    // MARK: - public-key

    @Test("public-key prints the public key, or writes it with mode 0644")
    func publicKey() async throws {
        try directory.makeKey()
        let printed = await directory.swsign("public-key", "--key", "key.pem")
        #expect(printed.succeeded, "\(printed.messages)")
        #expect(try printed.stdout == directory.read("key.pub"))
        let written = await directory.swsign("public-key", "--key", "key.pem", "--outfile", "out.pub")
        #expect(written.succeeded, "\(written.messages)")
        #expect(written.stdout.isEmpty)
        #expect(try directory.read("out.pub") == directory.read("key.pub"))
        #expect(try directory.mode("out.pub") == 0o644)
    }
}
