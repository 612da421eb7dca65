import Foundation
import TestServices
import Testing

/// Keys on a token, with the real program and SoftHSM's module, which fails at times if several programs log in at once.
@Suite(
    "Keys on PKCS#11 tokens", .serialized,
    .enabled(if: SoftToken.module != nil, "left out: softhsm2 or opensc is not installed"))
struct PKCS11KeyTests {
    private let directory = TemporaryDirectory()
    private let token: SoftToken

    init() throws {
        token = try SoftToken.shared()
        try directory.write("file", "the release")
        try directory.write("predicate.json", "{}")
    }

    private static let withPIN = ["COSIGN_PKCS11_PIN": SoftToken.pin]

    private func swsign(_ arguments: [String], _ more: [String: String] = [:]) async -> Program.Outcome {
        await Program(directory: directory.path, environment: token.environment.merging(more) { $1 }).run(arguments)
    }

    private static func key(_ name: String) -> String { "pkcs11:token=release%20token;object=\(name)" }

    /// OpenSC's module that hands every call on to another, and writes it down.
    private static let spy = [
        "/usr/lib/x86_64-linux-gnu/pkcs11/pkcs11-spy.so", "/usr/lib/aarch64-linux-gnu/pkcs11/pkcs11-spy.so",
        "/usr/lib64/pkcs11/pkcs11-spy.so",
    ].first(where: FileManager.default.fileExists)

    /// Runs the program with the module that writes calls down.
    /// - Returns: What it did, and the calls of a function: what was given and what it returned. `nil` if no call was made at all.
    private func spied(_ call: String, _ arguments: [String], _ token: SoftToken, _ more: [String: String] = withPIN)
        async throws -> (outcome: Program.Outcome, calls: [String]?)
    {
        let environment = token.environment.merging([
            "COSIGN_PKCS11_MODULE_PATH": try #require(Self.spy, "opensc-pkcs11 is not installed"),
            "PKCS11SPY": token.environment["COSIGN_PKCS11_MODULE_PATH"] ?? "", "PKCS11SPY_OUTPUT": directory["calls"],
        ]) { $1 }
        try? FileManager.default.removeItem(atPath: directory["calls"])
        let outcome = await Program(
            directory: directory.path, environment: environment.merging(more) { $1 }
        ).run(arguments)
        guard directory.exists("calls") else { return (outcome, nil) }
        let calls = try directory.text("calls").components(separatedBy: "\n\n").filter { $0.contains(": \(call)\n") }
        return (outcome, calls)
    }

    private func sign(_ key: String, _ more: [String: String] = [:]) async -> Program.Outcome {
        await swsign(
            ["sign-blob", "--key", key, "--tlog-upload=false", "--yes", "--bundle", "b.json", "file"], more)
    }

    @Test(
        "A file and an attestation are signed with a PIN and verified without one, by reference and by the exported key",
        arguments: ["p256", "p384", "p521", "rsa", "ed25519", "always", "certified"])
    func everyKind(_ name: String) async throws {
        let key = Self.key(name)
        let exported = await swsign(["public-key", "--key", key, "--outfile", "key.pub"])
        #expect(exported.succeeded, "\(exported.messages)")
        for (sign, verify) in [
            (["sign-blob"], ["verify-blob"]),
            (
                ["attest-blob", "--type", "custom", "--predicate", "predicate.json"],
                ["verify-blob-attestation", "--type", "custom"]
            ),
        ] {
            let signed = await swsign(
                sign + ["--key", key, "--tlog-upload=false", "--yes", "--bundle", "b.json", "file"], Self.withPIN)
            #expect(signed.succeeded, "\(signed.messages)")
            #expect(!signed.messages.contains(SoftToken.pin))
            for given in [key, "key.pub"] {
                let verified = await swsign(
                    verify + ["--key", given, "--insecure-ignore-tlog", "--bundle", "b.json", "file"],
                    given == key ? [:] : ["COSIGN_PKCS11_MODULE_PATH": ""])
                #expect(verified.succeeded, "\(verified.messages)")
            }
        }
    }

    @Test("OpenSSL verifies what the token signs", arguments: ["p256", "rsa"])
    func openssl(_ name: String) async throws {
        #expect(await swsign(["public-key", "--key", Self.key(name), "--outfile", "key.pub"]).succeeded)
        let signed = await swsign(
            [
                "sign-blob", "--key", Self.key(name), "--tlog-upload=false", "--b64=false", "--output-signature", "sig",
                "file",
            ],
            Self.withPIN)
        #expect(signed.succeeded, "\(signed.messages)")
        let verified = await Program(executable: "/usr/bin/openssl", directory: directory.path).run(
            ["dgst", "-sha256", "-verify", "key.pub", "-signature", "sig", "file"])
        #expect(verified.succeeded, "\(verified.messages)")
    }

    @Test("An empty file is signed too, by every kind of mechanism", arguments: ["p256", "rsa", "ed25519"])
    func empty(_ name: String) async throws {
        try directory.write("file", "")
        let signed = await sign(Self.key(name), Self.withPIN)
        #expect(signed.succeeded, "\(signed.messages)")
        let verified = await swsign([
            "verify-blob", "--offline", "--key", Self.key(name), "--insecure-ignore-tlog", "--bundle", "b.json", "file",
        ])
        #expect(verified.succeeded, "\(verified.messages)")
    }

    @Test("Several images are signed with one login, and verified")
    func images() async throws {
        let layout = try await ImageFixture()
        let images = try await [layout.push(tag: "1"), layout.push(tag: "2"), layout.push(tag: "3")]
        let names = images.map { "\(layout.repository)@\($0.digest)" }
        // "always" demands the PIN for each signature too, between its beginning and its end.
        for (name, again) in [("p256", 0), ("always", names.count)] {
            let key = Self.key(name)
            let (signed, logins) = try await spied(
                "C_Login", ["sign", "--key", key, "--tlog-upload=false"] + names, token)
            #expect(signed.succeeded, "\(signed.messages)")
            let calls = try #require(logins)
            #expect(calls.filter { $0.contains("userType = CKU_USER\n") }.count == 1, "\(calls)")
            #expect(calls.filter { $0.contains("userType = CKU_CONTEXT_SPECIFIC\n") }.count == again, "\(calls)")
            #expect(calls.allSatisfy { $0.contains("CKR_OK") }, "\(calls)")
            let verified = await swsign(["verify", "--key", key, "--insecure-ignore-tlog"] + names)
            #expect(verified.succeeded, "\(verified.messages)")
        }
    }

    @Test("A key that is for RSA-PSS only signs so, and OpenSSL verifies it; one that is for no signatures is refused")
    func allowedMechanisms() async throws {
        let own = try SoftToken(keys: [], hasSpare: false)
        defer { withExtendedLifetime(own) {} }
        try own.makeKey("rsa:2048", id: "01", label: "pss", ["--allowed-mechanisms", "RSA-PKCS-PSS"])
        try own.makeKey("rsa:2048", id: "02", label: "none", ["--allowed-mechanisms", "RSA-PKCS-OAEP"])
        func swsign(_ arguments: [String]) async -> Program.Outcome {
            await Program(
                directory: directory.path, environment: own.environment.merging(Self.withPIN) { $1 }
            ).run(arguments)
        }
        let key = Self.key("pss")
        let sign = ["sign-blob", "--tlog-upload=false", "--yes", "file", "--key"]
        #expect(await swsign(["public-key", "--key", key, "--outfile", "key.pub"]).succeeded)
        let signed = await swsign(sign + [key, "--b64=false", "--output-signature", "sig", "--bundle", "b.json"])
        #expect(signed.succeeded, "\(signed.messages)")
        let checked = await Program(executable: "/usr/bin/openssl", directory: directory.path).run(
            [
                "dgst", "-sha256", "-sigopt", "rsa_padding_mode:pss", "-sigopt", "rsa_pss_saltlen:32", "-verify",
                "key.pub",
                "-signature", "sig", "file",
            ])
        #expect(checked.succeeded, "\(checked.messages)")
        for given in ["key.pub", key] {
            let verified = await swsign([
                "verify-blob", "--key", given, "--insecure-ignore-tlog", "--bundle", "b.json", "file",
            ])
            #expect(verified.succeeded, "\(verified.messages)")
        }
        let refused = await swsign(sign + [Self.key("none"), "--bundle", "c.json"])
        #expect(
            refused.code == "key-unusable" && refused.messages.contains("CKA_ALLOWED_MECHANISMS"), "\(refused.messages)"
        )
        #expect(!directory.exists("c.json"))
    }

    @Test("The PIN comes from the reference, a file, the variable or the terminal, and is shown nowhere")
    func pins() async throws {
        try directory.write("pin", "1234\n")
        let key = Self.key("p256")
        for reference in [
            "\(key)?pin-value=1234", "\(key)?pin-source=file:\(directory["pin"])",
            "\(key)?pin-source=file://\(directory["pin"])", "\(key)?pin-source=\(directory["pin"])",
        ] {
            let signed = await sign(reference)
            #expect(signed.succeeded, "\(reference): \(signed.messages)")
        }
        // The reference counts before the variable, as the list of variables has it.
        let both = await sign("\(key)?pin-value=1234", ["COSIGN_PKCS11_PIN": "4321"])
        #expect(both.succeeded, "\(both.messages)")
        let listed = await swsign(["env"])
        #expect(
            listed.output.contains("unless --pin or the reference has one (pin-value, pin-source)"), "\(listed.output)")
        #expect(listed.output.components(separatedBy: "\nCOSIGN_PKCS11_MODULE_PATH=").count == 2, "\(listed.output)")
        #expect(listed.output.contains("; --module-path of pkcs11-tool list-tokens"), "\(listed.output)")
        let asked = await Program(directory: directory.path, environment: token.environment).run(
            ["sign-blob", "--key", key, "--tlog-upload=false", "--yes", "--bundle", "b.json", "file"], input: .terminal,
            terminal: [.init("Enter PIN for PKCS#11 token 'release token': ", "1234\n")])
        #expect(asked.succeeded, "\(asked.messages)")
        #expect(!asked.screen.contains("1234"), "\(asked.screen)")
        // Without one, nothing is signed.
        let none = await sign(key)
        #expect(none.code == "no-pin", "\(none.messages)")
        for (arguments, code) in [
            (["key", "info", "\(key)?pin-value=98765"], nil),
            (["key", "info", "pkcs11:token=release%20token;object=nosuch?pin-value=98765"], "pin-refused"),
            (["key", "info", "pkcs11:tokn=x?pin-value=98765"], "unknown-key-reference"),
            (["key", "info", "PKCS11:token=x?pin-value=98765"], "unknown-key-reference"),
            (["key", "info", "pkcs11:pin-value=98765"], "unknown-key-reference"),
            (["generate-key-pair", "--kms", "\(key)?pin-value=98765"], "usage"),
            (["import-key-pair", "--key", "\(key)?pin-value=98765"], "unsupported-key"),
            (
                [
                    "verify-blob", "--insecure-ignore-tlog", "--output", "json", "--key", "\(key)?pin-value=98765",
                    "--bundle", "b.json", "file",
                ],
                nil
            ),
        ] as [([String], String?)] {
            let outcome = await Program(directory: directory.path, environment: token.environment).run(arguments)
            #expect(outcome.code == code && outcome.succeeded == (code == nil), "\(arguments): \(outcome.messages)")
            #expect(!(outcome.output + outcome.messages).contains("98765"), "\(outcome.output)\(outcome.messages)")
        }
    }

    @Test("A wrong PIN is tried once, says what is known of the tries that are left, and signs nothing")
    func wrongPIN() async throws {
        // Of its own: SoftHSM counts.
        let own = try SoftToken(keys: ["p256"], hasSpare: false)
        defer { withExtendedLifetime(own) {} }
        try directory.write("other", "another file")
        let arguments = ["sign-blob", "--key", Self.key("p256"), "--tlog-upload=false", "--yes", "file", "other"]
        func run(_ pin: String) async -> Program.Outcome {
            await Program(
                directory: directory.path, environment: own.environment.merging(["COSIGN_PKCS11_PIN": pin]) { $1 }
            ).run(arguments)
        }
        let (wrong, logins) = try await spied("C_Login", arguments, own, ["COSIGN_PKCS11_PIN": "4321"])
        #expect(logins?.count == 1 && logins?.first?.contains("CKR_PIN_INCORRECT") == true, "\(logins ?? [])")
        #expect(wrong.code == "pin-refused", "\(wrong.messages)")
        #expect(
            wrong.messages.contains("CKR_PIN_INCORRECT") && wrong.messages.contains("tried once"), "\(wrong.messages)")
        #expect(
            wrong.messages.contains("a few tries are left") && !wrong.messages.contains("4321"), "\(wrong.messages)")
        #expect(!directory.exists("file.sigstore.json"))
        let right = await run("1234")
        #expect(right.succeeded && right.messages.contains("WARNING: the token \"release token\""), "\(right.messages)")
        let last = await run("1234")
        #expect(last.succeeded && !last.messages.contains("WARNING"), "\(last.messages)")
    }

    @Test(
        "What a reference does not find, or finds twice, is refused with what is there",
        arguments: [
            ("pkcs11:token=nosuch;object=p256", "key-not-found", "\"release token\" (serial "),
            ("pkcs11:object=p256;token=release%20token;slot-id=1", "key-not-found", "the tokens are"),
            ("pkcs11:object=p256", "ambiguous-key", "\"spare\" (serial "),
            ("pkcs11:token=release%20token;object=twin", "ambiguous-key", "\"twin\" (id 08, ECDSA P-256)"),
            ("pkcs11:token=release%20token", "ambiguous-key", "name one, by object or id"),
            ("pkcs11:token=release%20token;object=nosuch", "key-not-found", "\"p384\" (id 02)"),
            ("pkcs11:token=spare", "key-not-found", "the token shows no keys"),
            ("pkcs11:token=release%20token;object=p256?module-path=/nosuch.so", "key-service-settings", "is not there"),
            (
                "pkcs11:token=release%20token;object=p256?module-path=/usr/bin/env", "key-service-settings",
                "cannot be used"
            ),
            (
                "pkcs11:token=release%20token;object=p256?module-name=nosuch", "key-service-settings",
                "no PKCS#11 module nosuch"
            ),
            ("pkcs11:token=release%20token;object=p256?module-path=/usr/lib", "key-service-settings", "is no file"),
            ("pkcs11:token=release%20token;object=p256;library-version=2", "key-not-found", "the tokens are"),
        ])
    func refusals(reference: String, code: String, words: String) async throws {
        let outcome = await sign(reference)
        #expect(outcome.code == code && outcome.messages.contains(words), "\(outcome.messages)")
        #expect(!directory.exists("b.json"))
    }

    @Test(
        "Every attribute counts, in any order",
        arguments: [
            "pkcs11:id=%01;token=release%20token", "pkcs11:token=release+token;object=p256;type=private",
            "pkcs11:object=p256;token=release%20token;manufacturer=SoftHSM%20project;model=SoftHSM%20v2;library-manufacturer=SoftHSM",
            "pkcs11:object=p256&token=release%20token;library-description=Implementation%20of%20PKCS11;x-vendor=1",
            "pkcs11:object=p256;slot-manufacturer=SoftHSM%20project;token=release%20token;library-version=VERSION?x-vendor=2",
        ])
    func attributes(reference: String) async throws {
        let reference = reference.replacing("VERSION", with: token.libraryVersion)
        let outcome = await swsign(["public-key", "--key", reference])
        #expect(outcome.succeeded, "\(outcome.messages)")
        #expect(outcome.output == (await swsign(["public-key", "--key", Self.key("p256")])).output)
        for (right, wrong) in [
            ("%01", "%0f"), ("p256", "p2567"), ("SoftHSM", "softHSM"), ("Implementation", "implementation"),
            ("library-version=\(token.libraryVersion)", "library-version=0.1"),
        ] where reference.contains(right) {
            let other = await swsign(["public-key", "--key", reference.replacing(right, with: wrong)])
            #expect(other.code == "key-not-found", "\(other.messages)")
        }
    }

    @Test("A module is named by the reference too, by its path, or by its name in a folder")
    func modules() async throws {
        let module = try #require(SoftToken.module)
        let folder = URL(fileURLWithPath: module).deletingLastPathComponent().path
        for query in [
            "module-path=\(module)", "module-path=\(folder)&module-name=softhsm2",
            "module-path=\(folder)&module-name=libSoftHSM2.so", "module-path=\(module)&module-name=SoftHSM2",
        ] {
            let outcome = await swsign(
                ["public-key", "--key", "\(Self.key("p256"))?\(query)"], ["COSIGN_PKCS11_MODULE_PATH": "/nosuch.so"])
            #expect(outcome.succeeded, "\(outcome.messages)")
        }
        for variable in [folder, module] {
            let named = await swsign(
                ["public-key", "--key", "\(Self.key("p256"))?module-name=softhsm2"],
                ["COSIGN_PKCS11_MODULE_PATH": variable])
            #expect(named.succeeded, "\(named.messages)")
        }
        // The path of one module, and the name of another.
        let other = await swsign([
            "public-key", "--key", "\(Self.key("p256"))?module-path=\(module)&module-name=ykcs11",
        ])
        #expect(other.code == "key-service-settings", "\(other.messages)")
        #expect(other.messages.contains("is not ykcs11, which module-name demands"), "\(other.messages)")
        let none = await swsign(["public-key", "--key", Self.key("p256")], ["COSIGN_PKCS11_MODULE_PATH": ""])
        #expect(none.code == "key-service-settings", "\(none.messages)")
        #expect(none.messages.contains("set COSIGN_PKCS11_MODULE_PATH"), "\(none.messages)")
    }

    @Test("Success names the variable that said where the module is, if it did")
    func trustVariables() async throws {
        #expect(await sign(Self.key("p256"), Self.withPIN).succeeded)
        let verify = ["verify-blob", "-o", "json", "--insecure-ignore-tlog", "--bundle", "b.json", "file", "--key"]
        for query in ["", "?module-name=softhsm2"] {
            let verified = await swsign(verify + [Self.key("p256") + query])
            #expect(verified.output.contains(#""trustVariables":["COSIGN_PKCS11_MODULE_PATH"]"#), "\(verified.output)")
        }
        let module = try #require(SoftToken.module)
        let named = await swsign(verify + ["\(Self.key("p256"))?module-path=\(module)"])
        #expect(named.succeeded && !named.output.contains("COSIGN_PKCS11"), "\(named.output)")
    }

    @Test("A public key that is its owner's to see is looked for with the PIN")
    func hidden() async throws {
        let without = await swsign(["public-key", "--key", Self.key("hidden")])
        #expect(without.code == "key-not-found" && without.messages.contains("without a login"), "\(without.messages)")
        let with = await swsign(["public-key", "--key", Self.key("hidden")], Self.withPIN)
        #expect(with.succeeded, "\(with.messages)")
    }

    @Test("The public key of a private one comes from that, or from what has its identifier; else that is said")
    func bare() async throws {
        let own = try SoftToken(keys: [], hasSpare: false)
        defer { withExtendedLifetime(own) {} }
        func run(_ arguments: [String], _ environment: [String: String] = Self.withPIN) async -> Program.Outcome {
            await Program(
                directory: directory.path, environment: own.environment.merging(environment) { $1 }
            ).run(arguments)
        }
        func sign(_ name: String) async -> Program.Outcome {
            await run([
                "sign-blob", "--key", Self.key(name), "--tlog-upload=false", "--yes", "--bundle", "b.json", "file",
            ])
        }
        for (type, id, label) in [
            ("rsa:2048", "01", "rsa"), ("EC:prime256v1", "02", "shown"), ("EC:prime256v1", "03", "certified"),
            ("EC:prime256v1", "04", "bare"),
        ] {
            try own.makeKey(type, id: id, label: label)
            try own.takePublicKey(id: id)
        }
        // What has the identifier may have any label.
        try own.run(own.tool + ["--write-object", "02.der", "--type", "pubkey", "--id", "02", "--label", "other"])
        try own.addCertificate(id: "03", label: "another")
        for name in ["rsa", "shown", "certified"] {
            let exported = await run(["public-key", "--key", Self.key(name), "--outfile", "key.pub"])
            #expect(exported.succeeded, "\(name): \(exported.messages)")
            let signed = await sign(name)
            #expect(signed.succeeded, "\(name): \(signed.messages)")
            let verified = await run([
                "verify-blob", "--key", "key.pub", "--insecure-ignore-tlog", "--bundle", "b.json", "file",
            ])
            #expect(verified.succeeded, "\(name): \(verified.messages)")
        }
        let refused = await sign("bare")
        #expect(refused.code == "key-unusable", "\(refused.messages)")
        for words in ["the private key \"bare\" (id 04) is on the token", "its public key is not", "with the id 04"] {
            #expect(refused.messages.contains(words), "\(words) in \(refused.messages)")
        }
        // The public half of one key that is called as another private key is.
        try own.makeKey(id: "06", label: "six")
        try own.takePublicKey(id: "06")
        try own.run(own.tool + ["--write-object", "06.der", "--type", "pubkey", "--id", "06", "--label", "rsa"])
        let crossed = await sign("rsa")
        #expect(crossed.code == "ambiguous-key", "\(crossed.messages)")
        #expect(crossed.messages.contains("\"rsa\" (id 01), \"six\" (id 06)"), "\(crossed.messages)")
        // Two private keys of one name, of which one has its public half: not the one that happens to show it.
        try own.makeKey(id: "05", label: "bare")
        let two = await sign("bare")
        #expect(two.code == "ambiguous-key", "\(two.messages)")
        #expect(
            two.messages.contains("\"bare\" (id 04)") && two.messages.contains("\"bare\" (id 05"), "\(two.messages)")
    }

    @Test("A signature that does not hold for the key that the token shows is not used")
    func mismatch() async throws {
        let outcome = await sign(Self.key("wrong"), Self.withPIN)
        #expect(outcome.code == "key-mismatch", "\(outcome.messages)")
        #expect(outcome.messages.contains("key \"wrong\" (id 0b)"), "\(outcome.messages)")
        #expect(!directory.exists("b.json"))
    }

    @Test("key info says what the key is, and where the PIN would come from, without asking for it")
    func information() async throws {
        let outcome = await swsign(["key", "info", Self.key("p384")], Self.withPIN)
        for line in [
            "service: PKCS#11 module \(SoftToken.module ?? "")\n",
            "token: release token (SoftHSM project, SoftHSM v2, serial ",
            "key: p384\nid: 02\nalgorithm: ECDSA P-384\n",
            "signs as: ECDSA with sha384, ECDSA with sha256\n",
            "credentials: the PIN, from the variable COSIGN_PKCS11_PIN\n",
            "slot-id=\(token.slot);id=%02;object=p384?module-path=",
        ] { #expect(outcome.output.contains(line), "\(line) in \(outcome.output)\(outcome.messages)") }
        #expect(!outcome.output.contains("1234\n"))
    }

    @Test("Tokens and keys are listed as cosign lists them, and no PIN is printed")
    func lists() async throws {
        let module = try #require(SoftToken.module)
        let tokens = await swsign(["pkcs11-tool", "list-tokens"])
        #expect(
            tokens.output.hasPrefix("\nListing tokens of PKCS11 module '\(module)'\nToken in slot "),
            "\(tokens.messages)")
        #expect(
            tokens.output.contains(
                "Token in slot \(token.slot)\n\tLabel: release token\n\tManufacturer: SoftHSM project\n\tModel: SoftHSM v2\n\tS/N: "
            ))
        let list = ["pkcs11-tool", "list-keys-uris", "--module-path", module]
        for (arguments, environment) in [
            (list + ["--slot-id", token.slot, "--pin", SoftToken.pin], [:]),
            (list + ["--slot-id", token.slot], Self.withPIN),
        ] {
            let keys = await swsign(arguments, environment)
            #expect(
                keys.output.hasPrefix(
                    "\nListing URIs of keys in slot '\(token.slot)' of PKCS11 module '\(module)'\nObject 0\n"),
                "\(keys.messages)")
            let uri = "pkcs11:token=release%20token;slot-id=\(token.slot);id=%01;object=p256?module-path=\(module)"
            #expect(keys.output.contains("\tLabel: p256\n\tID: 01\n\tURI: \(uri)\n"), "\(keys.output)")
            #expect(!keys.output.contains("pin-value") && !keys.output.contains("1234\n"))
            // Each of them is what to sign with.
            #expect(await sign(uri, Self.withPIN).succeeded)
        }
        let several = await swsign(list, Self.withPIN)
        #expect(several.code == "ambiguous-key", "\(several.messages)")
        let none = await swsign(["pkcs11-tool", "list-tokens"], ["COSIGN_PKCS11_MODULE_PATH": ""])
        #expect(none.code == "key-service-settings", "\(none.messages)")
    }

    @Test(
        "Each reference that is listed is one to sign with, whatever token and key are called, and each means another key",
        arguments: ["", "r\\377;?&=+/#\\303\\244 %%"])
    func listedReferences(label: String) async throws {
        let own = try SoftToken(label: label, keys: [])
        defer { withExtendedLifetime(own) {} }
        for (id, label) in [
            ("01", "k\\377;?&=+/#\\303\\244 %%@"), ("02", ""), (nil, "only"), (nil, ""), ("03", "same"), ("03", ""),
            ("00ff", "same"), ("04", "pin-value=1"), ("05", "a\\nb"),
        ] as [(String?, String)] {
            try own.makeKey(id: id, label: label)
        }
        func run(_ arguments: [String]) async -> Program.Outcome {
            await Program(
                directory: directory.path, environment: own.environment.merging(Self.withPIN) { $1 }
            ).run(arguments)
        }
        let list = ["pkcs11-tool", "list-keys-uris", "--slot-id", own.slot]
        let listed = await run(list)
        let references = listed.output.components(separatedBy: "\tURI: ").dropFirst().map { uri in
            String(uri.prefix { $0 != "\n" })
        }
        #expect(references.count == 9, "\(listed.output)\(listed.messages)")
        var keys: Set<String> = []
        for reference in references {
            // With the token by its name alone too.
            let exported = await run(["public-key", "--key", reference.replacing("slot-id=\(own.slot);", with: "")])
            #expect(exported.succeeded, "\(reference): \(exported.messages)")
            keys.insert(exported.output)
            try directory.write("key.pub", exported.output)
            let signed = await run([
                "sign-blob", "--key", reference, "--tlog-upload=false", "--yes", "--bundle", "b.json", "file",
            ])
            #expect(signed.succeeded, "\(reference): \(signed.messages)")
            let verified = await run([
                "verify-blob", "--key", "key.pub", "--insecure-ignore-tlog", "--bundle", "b.json", "file",
            ])
            #expect(verified.succeeded, "\(reference): \(verified.messages)")
            let facts = await run(["key", "info", reference])
            let shown = facts.output.components(separatedBy: "\nreference: ").last?.prefix { $0 != "\n" } ?? ""
            let again = await run(["public-key", "--key", String(shown)])
            #expect(again.output == exported.output, "\(reference): \(shown): \(facts.messages)\(again.messages)")
        }
        #expect(keys.count == 9)
        // What nothing tells apart gets no reference, and that is said.
        try own.makeKey(id: "01", label: "k\\377;?&=+/#\\303\\244 %%@")
        let twins = await run(list)
        #expect(twins.output.components(separatedBy: "\tURI: ").count == 9, "\(twins.output)")
        #expect(twins.messages.contains("no reference means the key of object"), "\(twins.messages)")
    }

    @Test("A certificate on the token goes into the signature by a flag only, and which of the two goes in is said")
    func certificates() async throws {
        let key = Self.key("certified")
        let verify = ["verify-blob", "--insecure-ignore-tlog", "--bundle", "b.json", "file", "--key", key]
        let plain = await sign(key, Self.withPIN)
        #expect(plain.messages.contains("The signature names the key; the certificate of "), "\(plain.messages)")
        #expect(try directory.text("b.json").contains(#""publicKey""#))
        #expect(await swsign(verify).succeeded)
        let sign = [
            "sign-blob", "--tlog-upload=false", "--yes", "--bundle", "b.json", "file", "--pkcs11-certificate", "--key",
        ]
        let ignored = await swsign(
            sign + [key], Self.withPIN.merging(["COSIGN_PKCS11_IGNORE_CERTIFICATE": "1"]) { $1 })
        #expect(ignored.messages.contains("is left out (COSIGN_PKCS11_IGNORE_CERTIFICATE)"), "\(ignored.messages)")
        #expect(await swsign(verify).succeeded)
        let certified = await swsign(sign + [key], Self.withPIN)
        #expect(certified.succeeded, "\(certified.messages)")
        #expect(certified.messages.contains("The signature holds the certificate of "), "\(certified.messages)")
        let bundle = try directory.text("b.json")
        #expect(bundle.contains(#""certificate""#) && !bundle.contains(#""publicKey""#), "\(bundle)")
        #expect(await swsign(verify).succeeded)
        for (arguments, code) in [
            ([Self.key("p256")], "key-not-found"), ([key, "--certificate", "x.pem"], "usage"),
        ] {
            let refused = await swsign(sign + arguments, Self.withPIN)
            #expect(refused.code == code, "\(refused.messages)")
        }
        // Flags that cannot be meant are refused before the PIN is needed.
        for more in [
            ["--pkcs11-certificate", "--certificate", "x.pem"], ["--certificate-chain", "x.pem"],
        ] {
            let refused = await swsign(
                ["sign-blob", "--tlog-upload=false", "--yes", "--bundle", "c.json", "file", "--key", key] + more)
            #expect(refused.code == "usage", "\(refused.messages)")
        }
        let keyless = await swsign(sign.dropLast())
        #expect(keyless.code == "usage", "\(keyless.messages)")
    }

    @Test("A certificate that its owner alone may see is found when the token is logged in to")
    func privateCertificate() async throws {
        let own = try SoftToken(keys: [], hasSpare: false)
        defer { withExtendedLifetime(own) {} }
        try own.makeKey(id: "01", label: "p256")
        try own.takePublicKey(id: "01")
        try own.run(own.tool + ["--write-object", "01.der", "--type", "pubkey", "--id", "01", "--label", "p256"])
        try own.addCertificate(id: "01", label: "p256", isPrivate: true)
        let signed = await Program(
            directory: directory.path, environment: own.environment.merging(Self.withPIN) { $1 }
        ).run([
            "sign-blob", "--tlog-upload=false", "--yes", "--bundle", "b.json", "--pkcs11-certificate", "--key",
            Self.key("p256"), "file",
        ])
        #expect(signed.succeeded, "\(signed.messages)")
        #expect(signed.messages.contains("The signature holds the certificate of "), "\(signed.messages)")
    }

    @Test("--sk takes the key in a slot of the YubiKey, by the identifiers that its module has for these")
    func securityKey() async throws {
        let own = try SoftToken(hasSpare: false)
        defer { withExtendedLifetime(own) {} }
        func swsign(_ arguments: [String]) async -> Program.Outcome {
            await Program(
                directory: directory.path, environment: own.environment.merging(Self.withPIN) { $1 }
            ).run(arguments)
        }
        for (flags, key) in [
            ([], "p384"), (["--slot", "signature"], "p384"), (["--slot", "authentication"], "p256"),
            (["--slot", "card-authentication"], "rsa"), (["--slot", "key-management"], "p521"),
        ] as [([String], String)] {
            let exported = await swsign(["public-key", "--sk"] + flags)
            #expect(exported.succeeded, "\(exported.messages)")
            #expect(exported.output == (await swsign(["public-key", "--key", Self.key(key)])).output, "\(flags)")
        }
        let signed = await swsign(["sign-blob", "--sk", "--tlog-upload=false", "--yes", "--bundle", "b.json", "file"])
        #expect(signed.succeeded, "\(signed.messages)")
        let verified = await swsign(["verify-blob", "--sk", "--insecure-ignore-tlog", "--bundle", "b.json", "file"])
        #expect(verified.succeeded, "\(verified.messages)")
        let verify = ["verify-blob", "--insecure-ignore-tlog", "--bundle", "b.json", "file"]
        #expect(await swsign(verify + ["--sk", "--slot", "authentication"]).code == "wrong-key")
        for (flags, words) in [
            (["--sk", "--key", "cosign.pub"], "--key and --sk"), (["--sk", "--slot", "9a"], "there is no slot \"9a\""),
            (["--slot", "signature", "--key", "cosign.pub"], "--sk is not given"),
        ] {
            for command in [
                verify, ["sign-blob", "--tlog-upload=false", "--bundle", "c.json", "file"], ["public-key"],
            ] {
                let refused = await swsign(command + flags)
                #expect(refused.code == "usage" && refused.messages.contains(words), "\(refused.messages)")
            }
        }
        let none = await Program(directory: directory.path).run(["public-key", "--sk"])
        #expect(!none.succeeded && none.messages.contains("ykcs11"), "\(none.messages)")
    }

    @Test("No module is opened unless a key on a token is used")
    func unused() async throws {
        try directory.makeKey("other")
        let sign = ["sign-blob", "--tlog-upload=false", "--yes", "--bundle", "b.json", "file", "--key"]
        let (signed, calls) = try await spied("C_Initialize", sign + ["other.pem"], token)
        #expect(signed.succeeded && calls == nil, "\(signed.messages)\(calls ?? [])")
        // Were it opened, it would be seen.
        let (onToken, made) = try await spied("C_Initialize", sign + [Self.key("p256")], token)
        #expect(onToken.succeeded && made?.count == 1, "\(onToken.messages)\(made ?? [])")
    }
}
