import FaultServer
import Foundation
import SigstoreCrypto
import StrictJSON
import Testing

/// What stands after `--key`, damaged key files, and where passwords come from.
struct KeyReferenceTests {
    let directory = TemporaryDirectory()

    private func sign(
        _ key: String, _ file: String = "file", environment: [String: String] = [:], input: Program.Input = .nothing
    )
        async -> Program.Outcome
    {
        await directory.swsign(
            "sign-blob", "--key", key, "--tlog-upload=false", "--bundle", "file.sigstore.json", file,
            environment: environment,
            input: input)
    }

    private func verify(_ key: String, environment: [String: String] = [:], input: Program.Input = .nothing) async
        -> Program.Outcome
    {
        await directory.swsign(
            "verify-blob", "--key", key, "--insecure-ignore-tlog", "file", environment: environment, input: input)
    }

    // MARK: - Places

    @Test("Keys come from an environment variable")
    func environmentVariable() async throws {
        try directory.makeKey()
        try directory.write("file", "content")
        let environment = ["MY_KEY": try directory.text("key.pem"), "MY_PUB": try directory.text("key.pub")]
        let signed = await sign("env://MY_KEY", environment: environment)
        #expect(signed.succeeded, "\(signed.messages)")
        let verified = await verify("env://MY_PUB", environment: environment)
        #expect(verified.succeeded, "\(verified.messages)")
        try await directory.expectRefusal(
            "file-not-found", "NO_SUCH_KEY",
            of: ["sign-blob", "--key", "env://NO_SUCH_KEY", "--tlog-upload=false", "file"])
    }

    @Test("Keys come from standard input")
    func standardInput() async throws {
        try directory.makeKey()
        try directory.write("file", "content")
        let signed = await sign("-", input: .bytes(try directory.read("key.pem")))
        #expect(signed.succeeded, "\(signed.messages)")
        let verified = await verify("-", input: .bytes(try directory.read("key.pub")))
        #expect(verified.succeeded, "\(verified.messages)")
    }

    @Test("Public keys may be DER", arguments: [SigningAlgorithm.ecdsaP256, .rsa2048, .ed25519])
    func publicKeyInDER(algorithm: SigningAlgorithm) async throws {
        let key = try directory.makeKey("key", algorithm)
        try directory.write("key.der", key.publicKey.spki)
        try directory.write("file", "content")
        let signed = await sign("key.pem")
        #expect(signed.succeeded, "\(signed.messages)")
        let verified = await verify("key.der")
        #expect(verified.succeeded, "\(verified.messages)")
    }

    @Test("A public key comes from a URL: over TLS, from this machine, or over plain HTTP if that is said")
    func url() async throws {
        let key = try directory.makeKey()
        try directory.write("file", "content")
        #expect(await sign("key.pem").succeeded)
        let pem = key.publicKey.pem
        let server = FaultServer { request, connection in
            // To a proxy the whole URL is said.
            if request.target.hasSuffix("/key.pub") {
                connection.respond(200, [], pem)
            } else if request.target == "/elsewhere" {
                // Also to this very machine: what stands at the other end of plain HTTP says where.
                connection.respond(302, ["Location: /key.pub"])
            } else if request.target == "/large" {
                connection.respond(200, [], [UInt8](repeating: 0x41, count: 1 << 20))
            } else if request.target == "/text" {
                connection.respond(200, [], "no key")
            } else {
                connection.respond(404)
            }
        }
        let place = server.url
        let verified = await verify("\(place)/key.pub")
        #expect(verified.succeeded, "\(verified.messages)")
        for (path, code) in [
            ("none", "key-not-found"), ("large", "too-large"), ("text", "malformed-key"),
            ("elsewhere", "redirect-refused"),
        ] {
            let outcome = await verify("\(place)/\(path)")
            #expect(!outcome.succeeded && outcome.messages.contains("[\(code)]"), "\(outcome.messages)")
        }
        let verify = ["verify-blob", "--insecure-ignore-tlog", "--bundle", "file.sigstore.json", "file", "--key"]
        // Nothing is asked with --offline, and nothing over plain HTTP of another machine.
        try await directory.expectRefusal("usage", "--offline", of: verify + ["\(place)/key.pub", "--offline"])
        try await directory.expectRefusal(
            "key-service-settings", "--allow-http-key", of: verify + ["http://keys.example/key.pub"])
        let allowed = await directory.swsign(
            "verify-blob", "--insecure-ignore-tlog", "--bundle", "file.sigstore.json", "file", "--key",
            "http://keys.example/key.pub", "--allow-http-key",
            environment: ["HTTP_PROXY": place])
        #expect(allowed.succeeded && allowed.messages.contains("can be replaced on its way"), "\(allowed.messages)")
        try await directory.expectRefusal(
            "unsupported-key", "public keys only",
            of: ["sign-blob", "--key", "\(place)/key.pub", "--tlog-upload=false", "file"])
    }

    @Test(
        "A reference that is nearly right is refused with the right form, and is never taken for a file",
        arguments: [
            ("AWSKMS:///alias/x", "awskms:///alias/x"), ("awskms:/alias/x", "awskms:///alias/NAME"),
            ("awskms:alias", "awskms:///alias/NAME"), ("GcpKms://projects/x", "gcpkms://projects/"),
            ("PKCS11:token=x", "pkcs11:token=TOKEN"), ("pkcs11://token=x", "pkcs11:token=TOKEN"),
            ("hashivault:x", "hashivault://KEY"), ("ENV://MY_KEY", "env://NAME"), ("env:MY_KEY", "env://NAME"),
            ("K8S://ns/name", "k8s://NAMESPACE/NAME"), ("k8s://name", "k8s://NAMESPACE/NAME"),
            ("gitlab:group/project", "gitlab://GROUP/PROJECT"), ("GitHub://o/r", "github://OWNER/REPOSITORY"),
            ("https:/example.com/cosign.pub", "https://"),
        ])
    func nearlyRight(reference: String, form: String) async throws {
        // A key file of that very name, as far as a name can have slashes.
        let key = try PrivateKey.generate(.ecdsaP256).publicKey.pem
        if let slash = reference.lastIndex(of: "/") { try directory.makeDirectory(String(reference[..<slash])) }
        try directory.write(reference, key)
        try directory.write("file", "content")
        for arguments in [
            ["sign-blob", "--key", reference, "--tlog-upload=false", "--bundle", "b", "file"],
            ["verify-blob", "--key", reference, "--insecure-ignore-tlog", "--signature", "AQID", "file"],
            ["generate-key-pair", "--kms", reference],
        ] { try await directory.expectRefusal("unknown-key-reference", form, of: arguments) }
    }

    @Test(
        "A password that stands in a reference is never shown",
        arguments: [
            "https://user:hunter2@127.0.0.1:9/key.pub", "https:user:hunter2@h/key.pub",
            "https://user:hun/ter2@h/key.pub", "https://user:47/hunter2@h/key.pub",
            "awskms://user:47/hunter2@h/alias/x",
            "https://user:hunter2/key.pub", "http://hunter2@127.0.0.1/key.pub", "awskms://user:hunter2@h/alias/x",
            "awskms://user:hunter2@h/arn:aws:kms:r:1:key/x",
            "gcpkms://user:hunter2@projects/p/locations/l/keyRings/r/cryptoKeys/k",
            "azurekms://user:hunter2@v.vault.azure.net/k", "AzureKMS://user:hunter2@v.vault.azure.net/k",
            "hashivault://user:hunter2@vault/key", "openbao:user:hunter2@key", "k8s://user:hunter2@ns/name",
            "gitlab://user:hunter2@group/project", "github://user:hunter2@owner/repository",
            "env://user:hunter2@NAME", "zoo://user:hunter2@host/x", "zo o://user:hunter2@host/x",
        ])
    func passwordInReference(_ reference: String) async throws {
        try directory.write("file", "content")
        var commands = [
            ["public-key", "--key", reference], ["key", "info", "-o", "json", reference],
            ["verify-blob", "--key", reference, "--insecure-ignore-tlog", "--signature", "AQID", "-o", "json", "file"],
            ["generate-key-pair", reference],
        ]
        // One that a plugin would have, and one that is refused by its form.
        if reference.hasPrefix("zoo:") || reference.hasPrefix("hashivault:") {
            commands += [
                ["sign-blob", "--key", reference, "--tlog-upload=false", "--bundle", "b", "file"],
                [
                    "verify-blob", "--offline", "--key", reference, "--insecure-ignore-tlog", "--signature", "AQID",
                    "file",
                ],
                ["generate-key-pair", "--kms", reference], ["generate-key-pair", "--kms", reference, reference],
                ["import-key-pair", "--key", reference],
            ]
        }
        for arguments in commands {
            let errors = arguments.count == 3 ? ["--errors", "json"] : []
            let outcome = await Program(directory: directory.path).run(arguments + ["--verbose"] + errors)
            let said = outcome.output + outcome.messages
            #expect(!outcome.succeeded && !outcome.messages.isEmpty)
            #expect(!said.contains("hunter2") && !said.contains("hun/ter2"), "\(arguments): \(said)")
        }
    }

    @Test("What a key's URL has behind its ? is never shown, and neither what stands before an @ for a plugin")
    func secretsInUse() async throws {
        let key = try directory.makeKey()
        try directory.write("file", "content")
        let pem = Base64.encode(Array(key.publicKey.pem.utf8))
        try directory.makeDirectory("bin")
        try directory.write(
            "bin/sigstore-kms-zoo",
            #"""
            #!/bin/sh
            case $2 in
            *user:hunter2@host/x*publicKey*) echo '{"publicKey":{"publicKeyPEM":"\#(pem)"}}' ;;
            *@host/z*) echo '{"errorMessage":"no key user:hunter2@host/z"}' ;;
            *signMessage*) cat > m; echo '{"signMessage":{"signature":"'$(openssl dgst -sha256 -sign key.pem m | base64 -w0)'"}}' ;;
            esac
            """#, mode: 0o755)
        let server = FaultServer { request, connection in
            connection.respond(
                request.target == "/key.pub?sig=hunter2" ? 200 : 404, [], pem.isEmpty ? "" : key.publicKey.pem)
        }
        let path = ["PATH": "\(directory["bin"]):/usr/bin:/bin"]
        let plugin = "zoo://user:hunter2@host/x"
        let program = Program(directory: directory.path, environment: path)
        func run(_ arguments: [String]) async {
            let outcome = await program.run(arguments + ["--verbose"])
            #expect(outcome.succeeded, "\(arguments): \(outcome.messages)")
            #expect(!(outcome.output + outcome.messages).contains("hunter2"), "\(outcome.output)\(outcome.messages)")
        }
        await run(["sign-blob", "--key", plugin, "--tlog-upload=false", "--bundle", "file.sigstore.json", "file"])
        for reference in [plugin, "\(server.url)/key.pub?sig=hunter2"] {
            await run(["verify-blob", "--key", reference, "--insecure-ignore-tlog", "file"])
            await run(["verify-blob", "--key", reference, "--insecure-ignore-tlog", "-o", "json", "file"])
            await run(["public-key", "--key", reference])
            await run(["key", "info", reference])
            await run(["key", "info", "-o", "json", reference])
        }
        let facts = await program.run(["key", "info", "\(server.url)/key.pub?sig=hunter2"])
        for line in [
            "service: web server, \(server.url)", "key: \(server.url)/key.pub?…", "algorithm: ECDSA P-256",
            "signs as: ECDSA with ", "hint: \(try key.publicKey.hint())",
        ] { #expect(facts.output.contains(line), "\(line): \(facts.output)") }
        // What fails says no more of it.
        for (reference, more) in [
            ("zoo://user:hunter2@host/y", "***@host/y"), ("zoo://user:hunter2@host/z", "no key ***@host/z"),
            ("\(server.url)/none?sig=hunter2", "/none?…"),
        ] {
            let outcome = await program.run(["public-key", "--key", reference, "--verbose"])
            #expect(!outcome.succeeded && outcome.messages.contains(more), "\(outcome.messages)")
            #expect(!outcome.messages.contains("hunter2"), "\(outcome.messages)")
        }
    }

    @Test("Only a key service makes keys by --kms")
    func kmsNeedsService() async throws {
        for reference in ["cosign.key", "env://MY_KEY"] {
            try await directory.expectRefusal("usage", reference, of: ["generate-key-pair", "--kms", reference])
        }
    }

    @Test("A scheme that nobody knows is refused as unknown")
    func unknownScheme() async throws {
        try await directory.expectRefusal(
            "unknown-key-reference", "foo://bar", of: ["public-key", "--key", "foo://bar"])
    }

    // MARK: - Damaged key files

    /// The JSON of a key file that opens with the empty password.
    private func sealedJSON() throws -> String {
        let file = try EncryptedKeyFile(encrypting: PrivateKey.generate(.ecdsaP256), password: SecretBytes([])).pem()
        return String(decoding: try #require(try PEM.blocks(in: Array(file.utf8)).first).bytes, as: UTF8.self)
    }

    private func expectKeyRefusal(
        _ code: String, _ words: String, _ content: String, sourceLocation: SourceLocation = #_sourceLocation
    ) async throws {
        try directory.write("bad.key", content)
        try directory.write("file", "content")
        try await directory.expectRefusal(
            code, "bad.key", words,
            of: ["sign-blob", "--key", "bad.key", "--tlog-upload=false", "--bundle", "b.json", "file"],
            environment: ["COSIGN_PASSWORD": ""], sourceLocation: sourceLocation)
    }

    private func pem(_ json: String) -> String { PEM.encode(label: EncryptedKeyFile.label, Array(json.utf8)) }

    @Test(
        "Key derivation parameters that are not cosign's are refused, in little memory",
        arguments: [("65536", "1073741824"), ("65536", "16384"), ("65536", "262144"), ("8", "16"), ("1", "2")])
    func parameters(from: String, to: String) async throws {
        let name = ["65536": "N", "8": "r", "1": "p"][from] ?? ""
        let json = try sealedJSON().replacingOccurrences(of: "\"\(name)\":\(from)", with: "\"\(name)\":\(to)")
        try await expectKeyRefusal("refused-key-parameters", "\(name)=\(to)", pem(json))
        // Less than N=262144 would take, had it been begun.
        var program = Program(directory: directory.path, environment: ["COSIGN_PASSWORD": ""])
        program.limits = "ulimit -d 131072"
        let outcome = await program.run(["public-key", "--key", "bad.key"])
        #expect(outcome.code == "refused-key-parameters", "\(outcome.messages)")
    }

    @Test("Another cipher is refused")
    func otherCipher() async throws {
        let json = try sealedJSON().replacingOccurrences(of: "nacl/secretbox", with: "aes-gcm")
        try await expectKeyRefusal("refused-key-parameters", "aes-gcm", pem(json))
        let derivation = try sealedJSON().replacingOccurrences(of: "scrypt", with: "argon2id")
        try await expectKeyRefusal("refused-key-parameters", "argon2id", pem(derivation))
    }

    @Test("A key file that is cut short is refused, wherever the cut is")
    func truncated() async throws {
        let whole = pem(try sealedJSON())
        for part in [10, 40, 100, whole.utf8.count - 30, whole.utf8.count - 2] {
            let content = String(decoding: Array(whole.utf8.prefix(part)), as: UTF8.self)
            try await expectKeyRefusal(part < 46 ? "malformed-key" : "malformed-pem", "cut short", content)
        }
        let json = try sealedJSON()
        try await expectKeyRefusal("malformed-key", "damaged", pem(String(json.dropLast(20))))
    }

    @Test("A key file that is not PEM, or empty, is refused")
    func notPEM() async throws {
        try await expectKeyRefusal("malformed-key", "PEM", "hello\n")
        try await expectKeyRefusal("malformed-key", "empty", "")
        try await expectKeyRefusal(
            "malformed-pem", "base64", "-----BEGIN PRIVATE KEY-----\n!!!!\n-----END PRIVATE KEY-----\n")
    }

    @Test("A public key where a private one is needed, and the other way round")
    func wrongHalf() async throws {
        let key = try directory.makeKey()
        try await expectKeyRefusal("malformed-key", "public key where a private key is needed", key.publicKey.pem)
        try directory.write("sig", "AQID")
        try await directory.expectRefusal(
            "malformed-key", "private key", "public-key",
            of: ["verify-blob", "--key", "key.pem", "--insecure-ignore-tlog", "--signature", "sig", "file"])
        try directory.write("sealed.key", pem(try sealedJSON()))
        try await directory.expectRefusal(
            "malformed-key", "private key",
            of: ["verify-blob", "--key", "sealed.key", "--insecure-ignore-tlog", "--signature", "sig", "file"])
    }

    @Test("The wrong password is refused")
    func wrongPassword() async throws {
        try directory.write("sealed.key", pem(try sealedJSON()))
        try directory.write("file", "content")
        try await directory.expectRefusal(
            "wrong-password", "sealed.key", "COSIGN_PASSWORD",
            of: ["sign-blob", "--key", "sealed.key", "--tlog-upload=false", "--bundle", "b.json", "file"],
            environment: ["COSIGN_PASSWORD": "wrong"])
    }

    @Test("A key file that is missing, a directory, or too large is refused")
    func notAKeyFile() async throws {
        try directory.write("file", "content")
        try directory.makeDirectory("directory")
        try directory.writeSparse("large", size: 1 << 30)
        for (name, code) in [
            ("none", "file-not-found"), ("directory", "is-directory"), ("large", "file-too-large"),
            ("file/x", "file-not-found"),
        ] {
            try await directory.expectRefusal(
                code, name, of: ["sign-blob", "--key", name, "--tlog-upload=false", "file"])
        }
    }

    // MARK: - Where the password comes from

    private func makeSealed(_ password: String) throws {
        let key = try directory.makeKey()
        try directory.write(
            "sealed.key", try EncryptedKeyFile(encrypting: key, password: SecretBytes(Array(password.utf8))).pem())
        try directory.write("file", "content")
    }

    @Test("Where the artifact is on standard input, the password is in COSIGN_PASSWORD, set but empty means empty")
    func artifactAndEmptyPassword() async throws {
        try makeSealed("")
        let signed = await sign("sealed.key", "-", environment: ["COSIGN_PASSWORD": ""], input: .text("content"))
        #expect(signed.succeeded, "\(signed.messages)")
        let verified = await verify("key.pub")
        #expect(verified.succeeded, "what was signed is not the whole of standard input: \(verified.messages)")
    }

    @Test("Where the artifact is on standard input, the password never is")
    func artifactAndNoPassword() async throws {
        try makeSealed("content")
        for (key, file, input) in [("sealed.key", "-", "content"), ("-", "file", try directory.text("sealed.key"))] {
            try await directory.expectRefusal(
                "no-password", "COSIGN_PASSWORD",
                of: ["sign-blob", "--key", key, "--tlog-upload=false", "--bundle", "b.json", file], input: .text(input))
        }
        try await directory.expectRefusal(
            "no-password", "COSIGN_PASSWORD",
            of: [
                "attest-blob", "--key", "sealed.key", "--tlog-upload=false", "--predicate", "-", "--bundle", "b.json",
                "file",
            ],
            input: .text("content"))
        try await directory.expectRefusal(
            "no-password", of: ["public-key", "--key", "-"], input: .bytes(try directory.read("sealed.key")))
    }

    @Test("Where the artifact is on standard input, the password is asked for on the terminal")
    func artifactAndTerminal() async throws {
        try makeSealed("w0rd")
        let outcome = await directory.swsign(
            "sign-blob", "--key", "sealed.key", "--tlog-upload=false", "--bundle", "file.sigstore.json", "-",
            input: .text("content"),
            terminal: [.init("Enter password for private key: ", "w0rd\r")])
        #expect(outcome.succeeded, "\(outcome.messages)")
        #expect(!outcome.screen.contains("w0rd"))
        let verified = await verify("key.pub")
        #expect(verified.succeeded, "\(verified.messages)")
    }

    @Test("Where the key is on standard input, the password is asked for on the terminal")
    func keyAndTerminal() async throws {
        try makeSealed("w0rd")
        let outcome = await directory.swsign(
            "sign-blob", "--key", "-", "--tlog-upload=false", "file", input: .bytes(try directory.read("sealed.key")),
            terminal: [.init("Enter password for private key: ", "w0rd\r")])
        #expect(outcome.succeeded, "\(outcome.messages)")
    }

    @Test("Where nothing else is, the password comes from standard input, without its line break")
    func passwordOnStandardInput() async throws {
        try makeSealed("w0rd")
        let signed = await sign("sealed.key", input: .text("w0rd\n"))
        #expect(signed.succeeded, "\(signed.messages)")
    }

    @Test("Standard input is named once at most")
    func standardInputTwice() async throws {
        try directory.makeKey()
        try directory.write("file", "content")
        for arguments in [
            ["sign-blob", "--key", "-", "--tlog-upload=false", "-"],
            ["sign-blob", "--key", "key.pem", "--tlog-upload=false", "-", "-"],
            ["attest-blob", "--key", "key.pem", "--tlog-upload=false", "--predicate", "-", "-"],
            ["attest-blob", "--key", "-", "--tlog-upload=false", "--predicate", "-", "file"],
            ["verify-blob", "--key", "key.pub", "--insecure-ignore-tlog", "--bundle", "-", "-"],
            ["verify-blob", "--key", "-", "--insecure-ignore-tlog", "--bundle", "-", "file"],
            ["verify-blob", "--key", "-", "--insecure-ignore-tlog", "--signature", "-", "file"],
            ["verify-blob", "--key", "-", "--insecure-ignore-tlog", "--signature", "AQID", "-"],
            ["verify-blob-attestation", "--key", "-", "--insecure-ignore-tlog", "--bundle", "-", "file"],
            ["verify-blob-attestation", "--key", "key.pub", "--insecure-ignore-tlog", "--signature", "-", "-"],
        ] {
            try await directory.expectRefusal(
                "usage", "standard input (-) is named twice", of: arguments, input: .text("x"))
        }
    }
}
