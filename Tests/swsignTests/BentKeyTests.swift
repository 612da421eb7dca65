import Foundation
import SigstoreCrypto
import StrictJSON
import Testing

/// Keys that a CI system, a shell or an editor bent, and passwords that were.
struct BentKeyTests {
    private let directory = TemporaryDirectory()

    /// What can happen to a key, and how the warning names it.
    enum Bend: String, CaseIterable, Sendable {
        case spaces, joined, written, quotes, mark, little, big, base64, base64OfSpaces, quotedBase64

        func apply(_ text: String) -> [UInt8] {
            let bytes = Array(text.utf8)
            func encoded(_ bytes: [UInt8]) -> String { Base64.encode(bytes) }
            return switch self {
            case .spaces: Array(text.replacing("\n", with: " ").utf8)
            case .joined: Array(text.replacing("\n", with: "").utf8)
            case .written: Array(text.replacing("\n", with: #"\n"#).utf8)
            case .quotes: Array("\"\(text)\"\n".utf8)
            case .mark: [0xef, 0xbb, 0xbf] + bytes
            case .little: [0xff, 0xfe] + bytes.flatMap { [$0, 0] }
            case .big: [0xfe, 0xff] + bytes.flatMap { [0, $0] }
            // As base64 breaks its lines.
            case .base64:
                Array(encoded(bytes).enumerated().map { "\($1)\(($0 + 1) % 76 == 0 ? "\n" : "")" }.joined().utf8)
            case .base64OfSpaces: Array(encoded(Bend.spaces.apply(text)).utf8)
            case .quotedBase64: Array("'\(encoded(bytes))'".utf8)
            }
        }

        var words: [String] {
            switch self {
            case .spaces: ["turned into spaces"]
            case .joined: ["line breaks were lost"]
            case .written: [#"written as \n"#]
            case .quotes: ["quotation marks"]
            case .mark: ["byte order mark"]
            case .little, .big: ["UTF-16"]
            case .base64: ["base64"]
            case .base64OfSpaces: ["base64", "turned into spaces"]
            case .quotedBase64: ["quotation marks", "base64"]
            }
        }
    }

    /// Makes a pair with a password, a bundle by it, and bends both of its files.
    private func prepare(_ bend: (String) -> [UInt8]) async throws {
        await directory.swsign("generate-key-pair", environment: ["COSIGN_PASSWORD": "pw"]).expectSuccess()
        try directory.write("file", "content")
        await sign("cosign.key", "good.json").expectSuccess()
        for name in ["cosign.key", "cosign.pub"] { try directory.write("bent.\(name)", bend(try directory.text(name))) }
    }

    private func sign(_ key: String, _ bundle: String, _ environment: [String: String] = [:], password: String = "pw")
        async -> Program.Outcome
    {
        await directory.swsign(
            "sign-blob", "--key", key, "--tlog-upload=false", "--bundle", bundle, "file",
            environment: environment.merging(["COSIGN_PASSWORD": password]) { $1 })
    }

    private func verify(_ key: String, _ environment: [String: String] = [:]) async -> Program.Outcome {
        await directory.swsign(
            "verify-blob", "--key", key, "--insecure-ignore-tlog", "--bundle", "good.json", "file",
            environment: environment)
    }

    @Test("A key that was bent in one way is read from a file, with a warning that names it", arguments: Bend.allCases)
    func oneBend(_ bend: Bend) async throws {
        try await prepare(bend.apply)
        let (signed, verified) = (await sign("bent.cosign.key", "b.json"), await verify("bent.cosign.pub"))
        for outcome in [signed, verified] {
            outcome.expectSuccess()
            for words in bend.words { #expect(outcome.messages.contains(words), "\(outcome.messages)") }
            #expect(outcome.messages.contains("WARNING: the key bent.cosign."), "\(outcome.messages)")
        }
    }

    @Test("From a variable too; never from standard input")
    func variable() async throws {
        try await prepare(Bend.spaces.apply)
        let (key, pub) = (try directory.text("bent.cosign.key"), try directory.text("bent.cosign.pub"))
        await sign("env://K", "b.json", ["K": key]).expectSuccess()
        await verify("env://K", ["K": pub]).expectSuccess()
        let piped = await directory.swsign(
            "verify-blob", "--key", "-", "--insecure-ignore-tlog", "--bundle", "good.json", "file", input: .text(pub))
        piped.expectRefusal(1, "malformed-pem")
        // A key that is as it should be has no warning.
        let good = await verify("cosign.pub")
        #expect(good.succeeded && !good.messages.contains("was changed"), "\(good.messages)")
    }

    @Test("What was bent in more than one way is refused, and said")
    func twoBends() async throws {
        try await prepare { Bend.quotes.apply(String(decoding: Bend.written.apply($0), as: UTF8.self)) }
        let pub = try directory.text("cosign.pub")
        await verify("bent.cosign.pub").expectRefusal(1, "malformed-key", "quotation marks", #"written as \n"#)
        await sign("bent.cosign.key", "b.json").expectRefusal(1, "malformed-key", "quotation marks", #"written as \n"#)
        func expect(_ code: String, _ content: [UInt8], _ words: String, line: Int = #line) async throws {
            try directory.write("bad", content)
            let outcome = await verify("bad")
            #expect(outcome.code == code && outcome.messages.contains(words), "\(line): \(outcome.messages)")
        }
        func twice(_ text: String) -> String { Base64.encode(Array(Base64.encode(Array(text.utf8)).utf8)) }
        try await expect("malformed-key", Array(twice(pub).utf8), "not a public key")
        // Two blocks are never joined into one, and nothing is made up.
        try await expect("malformed-pem", Bend.spaces.apply(pub + pub), "line breaks were lost")
        try await expect(
            "malformed-pem", Bend.joined.apply(pub.replacing("END PUBLIC", with: "END PRIVATE")),
            "line breaks were lost")
        try await expect("malformed-key", Array(Bend.joined.apply(pub).dropLast(20)), "line breaks were lost")
        // What only looks a little like one is told nothing new.
        try await expect("malformed-key", Array("\"hello\"".utf8), "not a public key")
        // The kind of key is never guessed at either.
        try await expect("malformed-key", try directory.read("bent.cosign.key"), "quotation marks")
        try directory.write("bent", Bend.spaces.apply(try directory.text("cosign.key")))
        await verify("bent").expectRefusal(1, "malformed-key", "private key")
    }

    // MARK: - Passwords

    @Test(
        "A wrong password that ends in a line break is named as such, and never changed", arguments: ["\n", "\r", ""])
    func passwordWithLineBreak(_ ending: String) async throws {
        try await prepare { Array($0.utf8) }
        let outcome = await sign("cosign.key", "b.json", password: ending.isEmpty ? "other" : "pw" + ending)
        outcome.expectRefusal(1, "wrong-password")
        #expect(outcome.messages.contains("ends in a line break") == !ending.isEmpty, "\(outcome.messages)")
        // A password that has one opens its key.
        await directory.swsign(
            "generate-key-pair", "--output-key-prefix", "own", environment: ["COSIGN_PASSWORD": "pw" + ending]
        ).expectSuccess()
        await sign("own.key", "own.json", password: "pw" + ending).expectSuccess()
    }

    @Test("No password and no terminal is said, and not that the password is wrong")
    func noPassword() async throws {
        try await prepare { Array($0.utf8) }
        for command in [
            ["sign-blob", "--tlog-upload=false", "--bundle", "b.json", "file"], ["public-key"],
        ] {
            try await directory.expectRefusal(
                "no-password", "COSIGN_PASSWORD", "cosign.key", of: command + ["--key", "cosign.key"])
        }
        // Something on standard input is a password.
        let wrong = await directory.swsign(
            "public-key", "--key", "cosign.key", input: .text("other\n"))
        wrong.expectRefusal(1, "wrong-password")
        // A key with an empty password needs none.
        await directory.swsign("generate-key-pair", "--output-key-prefix", "open", environment: ["COSIGN_PASSWORD": ""])
            .expectSuccess()
        await directory.swsign("public-key", "--key", "open.key").expectSuccess()
    }
}
