import FaultServer
import Foundation
import SigstoreCrypto
import StrictJSON
import Testing

/// A folder with something to sign, and the real program with the variables that lead it to a key service.
struct KeyServiceFixture {
    let directory = TemporaryDirectory()
    private let environment: [String: String]

    /// - Parameter environment: The variables; given the folder, in which files that they name may be written.
    init(_ environment: (TemporaryDirectory) throws -> [String: String]) throws {
        try directory.write("file", "the release")
        try directory.write("predicate.json", "{}")
        self.environment = try environment(directory)
    }

    /// Runs the program.
    /// - Parameters:
    ///   - arguments: Its arguments.
    ///   - more: Variables besides, or in place of others.
    ///   - missing: A variable that is not set.
    func swsign(_ arguments: [String], _ more: [String: String] = [:], without missing: String? = nil) async
        -> Program.Outcome
    {
        let own = environment.filter { $0.key != missing }
        return await Program(directory: directory.path, environment: own.merging(more) { $1 }).run(arguments)
    }

    /// Expects that a file and an attestation are signed with a key, and verified by reference and by the exported key, and a
    /// signature that stands alone by openssl.
    /// - Parameters:
    ///   - key: The key, whose public key is in `cosign.pub` already.
    ///   - references: Other references to it.
    ///   - away: Variables with which the service cannot be reached.
    ///   - check: The arguments by which openssl takes the signature; none for Ed25519.
    /// - Returns: How the signature that stands alone was made.
    @discardableResult
    func expectSigns(
        _ key: String, also references: [String] = [], away: [String: String], openssl check: [String]
    ) async throws -> Program.Outcome {
        let attest = ["attest-blob", "--type", "custom", "--predicate", "predicate.json"]
        for (sign, verify) in [
            (["sign-blob"], ["verify-blob"]), (attest, ["verify-blob-attestation", "--type", "custom"]),
        ] {
            let signed = await swsign(
                sign + ["--key", key, "--tlog-upload=false", "--yes", "--bundle", "b.json", "file"])
            #expect(signed.succeeded, "\(signed.messages)")
            for given in [key] + references + ["cosign.pub"] {
                let verified = await swsign(
                    verify + ["--key", given, "--insecure-ignore-tlog", "--bundle", "b.json", "file"],
                    given == "cosign.pub" ? away : [:])
                #expect(verified.succeeded, "\(given): \(verified.messages)")
            }
        }
        let detached = await swsign([
            "sign-blob", "--key", key, "--tlog-upload=false", "--new-bundle-format=false", "--output-signature", "sig",
            "file",
        ])
        #expect(detached.succeeded, "\(detached.messages)")
        for given in [key, "cosign.pub"] {
            let verified = await swsign([
                "verify-blob", "--key", given, "--insecure-ignore-tlog", "--signature", "sig", "file",
            ])
            #expect(verified.succeeded, "\(given): \(verified.messages)")
        }
        try directory.write(
            "sig.der", try #require(Base64.decode(try directory.text("sig").replacing("\n", with: ""))))
        var openssl = Program(directory: directory.path)
        openssl.executable = "/usr/bin/openssl"
        let pure = ["pkeyutl", "-verify", "-pubin", "-inkey", "cosign.pub", "-rawin", "-in", "file"]
        let checked = await openssl.run(
            check.isEmpty
                ? pure + ["-sigfile", "sig.der"]
                : ["dgst"] + check + ["-verify", "cosign.pub", "-signature", "sig.der", "file"])
        #expect(checked.succeeded, "\(checked.messages)")
        let exported = await swsign(["public-key", "--key", key])
        #expect(exported.output == (try directory.text("cosign.pub")))
        return detached
    }

    /// Makes a key, and expects that three images are signed and one is attested with it, and verified by it.
    /// - Parameters:
    ///   - key: The key.
    ///   - other: Another reference to it.
    /// - Returns: How the images were signed, and verified by each reference, with a line for each request.
    func expectSignsImages(_ key: String, also other: String? = nil) async throws -> (
        signed: Program.Outcome, verified: [Program.Outcome]
    ) {
        let made = await swsign(["generate-key-pair", "--kms", key])
        #expect(made.succeeded, "\(made.messages)")
        let layout = try await ImageFixture()
        let images = try await [layout.push(tag: "1"), layout.push(tag: "2"), layout.push(tag: "3")]
        let names = images.map { "\(layout.repository)@\($0.digest)" }
        let signed = await swsign(["sign", "--verbose", "--key", key, "--tlog-upload=false"] + names)
        #expect(signed.succeeded, "\(signed.messages)")
        var verified: [Program.Outcome] = []
        for given in [key, other].compactMap({ $0 }) {
            let outcome = await swsign(["verify", "--verbose", "--key", given, "--insecure-ignore-tlog"] + names)
            #expect(outcome.succeeded, "\(outcome.messages)")
            verified.append(outcome)
        }
        let attest = ["--key", key, "--type", "custom"]
        let attested = await swsign(
            ["attest", "--tlog-upload=false", "--predicate", "predicate.json"] + attest + [names[0]])
        #expect(attested.succeeded, "\(attested.messages)")
        let held = await swsign(["verify-attestation", "--insecure-ignore-tlog"] + attest + [names[0]])
        #expect(held.succeeded, "\(held.messages)")
        return (signed, verified)
    }

    /// Expects that a service whose certificate nobody known has issued is refused, and nothing is written.
    func expectUntrusted(_ key: String, host: String, _ more: [String: String]) async {
        let variables = more.merging(["SSL_CERT_FILE": "/etc/ssl/certs/ca-certificates.crt"]) { $1 }
        await expectRefused(key, variables, "tls-failed", [host, "certificate"])
    }

    /// Expects that answers that are cut short, too long, no JSON, or lead elsewhere are refused, and nothing is written.
    /// - Parameters:
    ///   - key: The key.
    ///   - variables: Lead to a server, given its URL.
    func expectRefusesAnswers(_ key: String, _ variables: (String) -> [String: String]) async {
        let other = FaultServer { _, connection in connection.respond(200, [], "{}") }
        defer { other.stop() }
        let faults: [(code: String, answer: @Sendable (FaultServer.Connection) -> Void)] = [
            (
                "unreachable",
                { connection in
                    connection.respondHead(200, ["Content-Length: 500"])
                    connection.send("{\"key\":")
                    connection.close()
                }
            ), ("too-large", { $0.respond(200, [], [UInt8](repeating: 0x20, count: 2 << 20)) }),
            ("key-service-answer", { $0.respond(200, ["Content-Type: text/html"], "<html>") }),
            ("redirect-refused", { [url = other.url] in $0.respond(307, ["Location: \(url)/"]) }),
        ]
        for (code, answer) in faults {
            let server = FaultServer { _, connection in answer(connection) }
            defer { server.stop() }
            await expectRefused(key, variables(server.url), code, [])
        }
        #expect(other.requests.isEmpty)
    }

    /// A signature over something else, for services that answer with it.
    func signature(by key: PrivateKey) throws -> [UInt8] {
        try key.sign(
            try HashedMessage.of([1, 2, 3], schemes: [.ecdsa(.sha256)]), scheme: .ecdsa(.sha256))
    }

    /// Expects that a key does not sign, and nothing is written.
    func expectRefused(_ key: String, _ more: [String: String], _ code: String, _ words: [String]) async {
        let outcome = await swsign(
            ["sign-blob", "--tlog-upload=false", "--yes", "--bundle", "none.json", "--key", key, "file"], more)
        #expect(!outcome.succeeded && outcome.code == code, "\(outcome.messages)")
        for words in words { #expect(outcome.messages.contains(words), "\(outcome.messages)") }
        #expect(!directory.exists("none.json"))
    }
}

extension Program.Outcome {
    /// How many lines of its messages hold all these words.
    func lines(with words: String...) -> Int {
        messages.components(separatedBy: "\n").filter { line in words.allSatisfy { line.contains($0) } }.count
    }
}
