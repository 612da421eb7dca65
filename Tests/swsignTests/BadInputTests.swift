import Foundation
import InToto
import SigstoreCrypto
import StrictJSON
import Testing

/// Bad input: each with its own clear message and reason code, and nothing half written.
struct BadInputTests {
    let directory = TemporaryDirectory()
    let key: PrivateKey

    static let content = Array("content of the file\n".utf8)
    static let verifying = ["verify-blob", "--key", "key.pub", "--insecure-ignore-tlog", "--bundle", "b.json"]
    static let attesting = [
        "verify-blob-attestation", "--key", "key.pub", "--insecure-ignore-tlog", "--bundle", "b.json",
    ]

    init() throws {
        key = try directory.makeKey()
        try directory.write("file", Self.content)
    }

    /// Expects a refused verification: the code in brackets, these words, exit code 1; and with `--output json` one object
    /// on standard output with the same code.
    private func expectRejection(
        _ code: String, _ words: String..., by command: [String] = BadInputTests.verifying, file: String = "file",
        sourceLocation: SourceLocation = #_sourceLocation
    ) async throws {
        let before = try directory.snapshot()
        let outcome = await Program(directory: directory.path).run(command + ["--output", "json", file])
        #expect(outcome.ending == .exit(1), "\(outcome.messages)", sourceLocation: sourceLocation)
        #expect(outcome.code == code, "\(outcome.messages)", sourceLocation: sourceLocation)
        for word in words {
            #expect(outcome.messages.contains(word), "\"\(word)\": \(outcome.messages)", sourceLocation: sourceLocation)
        }
        let objects = try outcome.objects()
        #expect(objects.count == 1, sourceLocation: sourceLocation)
        if let object = objects.first {
            #expect(try !object.member("verified").bool(), sourceLocation: sourceLocation)
            #expect(try object.member("file").string() == file, sourceLocation: sourceLocation)
            #expect(try object.member("error").member("code").string() == code, sourceLocation: sourceLocation)
            #expect(
                try outcome.messages.contains(Self.shown(object.member("error").member("message").string())),
                sourceLocation: sourceLocation)
        }
        #expect(!outcome.messages.contains("Verified OK"), sourceLocation: sourceLocation)
        #expect(try directory.snapshot() == before, "files were changed", sourceLocation: sourceLocation)
    }

    private static func shown(_ text: String) -> String { swsignEscaped(text) }

    /// A bundle by this test's key over its file, with parts exchanged before it is written to `b.json`.
    private func writeBundle(
        mediaType: String = "application/vnd.dev.sigstore.bundle.v0.3+json", material: String? = nil,
        algorithm: String = "SHA2_256",
        digest: [UInt8]? = nil, signature: [UInt8]? = nil, extra: String = "", in name: String = "b.json",
        _ change: (String) -> String = { $0 }
    ) throws {
        let signed = try signature ?? key.sign(Self.content, scheme: .ecdsa(.sha256))
        let found = try digest ?? Digest.sha256(Self.content).bytes
        let keyMaterial = try material ?? #""publicKey":{"hint":"\#(key.publicKey.hint())"}"#
        try directory.write(
            name,
            change(
                #"{"mediaType":"\#(mediaType)","verificationMaterial":{\#(keyMaterial)},"#
                    + #""messageSignature":{"messageDigest":{"algorithm":"\#(algorithm)","digest":"\#(Base64.encode(found))"},"#
                    + #""signature":"\#(Base64.encode(signed))"}\#(extra)}"#))
    }

    @Test("The bundle that these tests damage is a good one before")
    func good() async throws {
        try writeBundle()
        let outcome = await Program(directory: directory.path).run(Self.verifying + ["file"])
        #expect(outcome.succeeded, "\(outcome.messages)")
    }

    // MARK: - Files

    @Test("A file that is missing, or has no name, is said so")
    func missing() async throws {
        try writeBundle()
        try await expectRejection("file-not-found", "there is no file none", file: "none")
        try await expectRejection("file-not-found", "file/x", file: "file/x")
        let sign = ["sign-blob", "--key", "key.pem", "--tlog-upload=false", "--bundle", "out.json"]
        try await directory.expectRefusal("file-not-found", "there is no file none", of: sign + ["none"])
        try await directory.expectRefusal("file-not-found", "there is no file", of: sign + [""])
    }

    @Test("A directory without files is not signed, and is no file")
    func aDirectory() async throws {
        try directory.makeDirectory("d")
        try await directory.expectRefusal(
            "file-not-found", "no file to sign in d",
            of: ["sign-blob", "--key", "key.pem", "--tlog-upload=false", "d"])
        try await directory.expectRefusal(
            "is-directory", "d is a directory",
            of: ["verify-blob", "--key", "key.pub", "--insecure-ignore-tlog", "--bundle", "d", "file"])
        try await directory.expectRefusal(
            "is-directory", "d is a directory",
            of: ["sign-blob", "--key", "key.pem", "--tlog-upload=false", "--bundle", "d", "file"])
    }

    @Test("A file that cannot be read is said so")
    func unreadable() async throws {
        // Reading this one fails for the superuser too.
        try await directory.expectRefusal(
            "file-unreadable", "/proc/self/mem",
            of: ["sign-blob", "--key", "key.pem", "--tlog-upload=false", "--bundle", "out.json", "/proc/self/mem"])
        if geteuid() != 0 {
            try directory.write("secret", [1], mode: 0)
            try await directory.expectRefusal(
                "file-unreadable", "secret",
                of: ["sign-blob", "--key", "key.pem", "--tlog-upload=false", "--bundle", "out.json", "secret"])
        }
    }

    @Test("An empty file is signed and verified like any other, and a signature over it is not one over another")
    func emptyFile() async throws {
        try directory.write("empty", [])
        let signed = await directory.swsign(
            "sign-blob", "--key", "key.pem", "--tlog-upload=false", "--bundle", "b.json", "empty")
        #expect(signed.succeeded, "\(signed.messages)")
        #expect(await Program(directory: directory.path).run(Self.verifying + ["empty"]).succeeded)
        try await expectRejection("artifact-mismatch", "another file")
    }

    @Test("An empty bundle, signature or key is said to be empty")
    func emptyParts() async throws {
        try directory.write("b.json", [])
        try await expectRejection("malformed-json", "b.json", "empty")
        try await expectRejection(
            "malformed-signature", "b.json", "empty",
            by: ["verify-blob", "--key", "key.pub", "--insecure-ignore-tlog", "--signature", "b.json"])
        try await directory.expectRefusal(
            "malformed-key", "b.json", "empty",
            of: ["verify-blob", "--key", "b.json", "--insecure-ignore-tlog", "--signature", "AQID", "file"])
    }

    @Test("Where nobody else says what to do next, the table by codes does, in JSON too")
    func advice() async throws {
        try directory.write("empty", [])
        try directory.makeDirectory("d")
        try await directory.tool("openssl", "genrsa", "-out", "small.pem", "1024")
        let sign = ["sign-blob", "--tlog-upload=false", "--key"]
        let verify = ["verify-blob", "--key", "key.pub", "--insecure-ignore-tlog"]
        for (arguments, code) in [
            (sign + ["key.pem", "--bundle", "none/b.json", "file"], "file-unwritable"),
            (sign + ["env://NOPE", "file"], "file-not-found"), (sign + ["small.pem", "file"], "unsupported-key"),
            (sign + ["key.pem", "--bundle", "d", "file"], "is-directory"), (sign, "usage"), (["tlog", "get"], "usage"),
            (verify + ["--bundle", "empty", "file"], "malformed-json"),
            (verify + ["--signature", "empty", "file"], "malformed-signature"),
        ] as [([String], String)] {
            let outcome = await Program(directory: directory.path).run(arguments)
            #expect(outcome.ending == .exit(1) && outcome.code == code, "\(arguments): \(outcome.messages)")
            let last = outcome.messages.split(separator: "\n").last
            #expect(last?.hasPrefix("       ") == true, "\(arguments): \(outcome.messages)")
            let error = try await Program(directory: directory.path).run(["--errors", "json"] + arguments).jsonError()
            #expect(try last.map(String.init) == "       \(error.member("advice").string())")
        }
        let object = try await Program(directory: directory.path).run(
            verify + ["--output", "json", "--bundle", "empty", "file"]
        ).objects().first
        #expect(try object?.member("error").member("advice").string().isEmpty == false)
    }

    // MARK: - Bundles

    @Test("A bundle that is not JSON is refused")
    func notJSON() async throws {
        for text in ["hello", "{", "{}x", "\u{feff}{}", "{'a':1}"] {
            try directory.write("b.json", text)
            try await expectRejection("malformed-json", "b.json", "not valid JSON")
        }
        try directory.write("b.json", [0x7b, 0xff, 0x7d])
        try await expectRejection("malformed-json", "b.json")
    }

    @Test("gitsign CVE-2026-44310, model-signing 1.0.1: a bundle that is cut short never ends with exit code 0")
    func truncated() async throws {
        try writeBundle()
        let whole = try directory.read("b.json")
        for count in [1, 20, 100, whole.count / 2, whole.count - 1] {
            try directory.write("b.json", Array(whole.prefix(count)))
            try await expectRejection("malformed-json", "b.json")
        }
    }

    @Test("JSON that is no bundle is refused as that")
    func notABundle() async throws {
        for text in ["{}", #"{"signature":"AQID"}"#] {
            try directory.write("b.json", text)
            try await expectRejection("not-a-bundle", "b.json", "mediaType")
        }
        try directory.write("b.json", #"{"version":1,"verification_material":{},"envelope":{}}"#)
        try await expectRejection("unexpected-json", "b.json", "has no \"transparency_entries\"")
        try directory.write("b.json", "[]")
        try await expectRejection("no-bundle", "b.json", "nothing was signed")
        for text in ["null", "1", "\"x\"", #"{"mediaType":1}"#] {
            try directory.write("b.json", text)
            try await expectRejection("unexpected-json", "b.json")
        }
    }

    @Test(
        "A wrong media type, or an unknown version, is refused",
        arguments: [
            "", "application/json", "application/vnd.dev.sigstore.bundle.v0.4+json",
            "application/vnd.dev.sigstore.bundle+json;version=0.4",
            "application/vnd.dev.sigstore.bundle+json;version=1.0", "application/vnd.dev.sigstore.bundle.v0.3+json ",
            "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
            "APPLICATION/vnd.dev.sigstore.bundle.v0.3+json",
        ])
    func mediaTypes(mediaType: String) async throws {
        try writeBundle(mediaType: mediaType)
        try await expectRejection("unknown-bundle-version", "b.json", "\"\(mediaType)\"")
    }

    @Test("Two signatures' worth of content are refused")
    func twoSignatures() async throws {
        let envelope = #"{"payload":"e30=","payloadType":"t","signatures":[{"sig":"AQ=="}]}"#
        try writeBundle(extra: #","dsseEnvelope":\#(envelope)"#)
        try await expectRejection("malformed-bundle", "both a messageSignature and a dsseEnvelope")
        try writeBundle(extra: #","messageSignature":{"signature":"AQ=="}"#)
        try await expectRejection("malformed-json", "twice")
        let two =
            #"{"payload":"e30=","payloadType":"application/vnd.in-toto+json","signatures":[{"sig":"AQ=="},{"sig":"Ag=="}]}"#
        try directory.write(
            "b.json",
            #"{"mediaType":"application/vnd.dev.sigstore.bundle.v0.3+json","verificationMaterial":{"publicKey":{}},"dsseEnvelope":\#(two)}"#
        )
        try await expectRejection("malformed-bundle", "2 signatures", by: Self.attesting)
    }

    @Test("A bundle without signature or key is refused")
    func missingParts() async throws {
        try writeBundle { $0.replacingOccurrences(of: "messageSignature", with: "messageSignaturf") }
        try await expectRejection("unexpected-json", "messageSignaturf")
        try directory.write(
            "b.json",
            #"{"mediaType":"application/vnd.dev.sigstore.bundle.v0.3+json","verificationMaterial":{"publicKey":{}}}"#)
        try await expectRejection("malformed-bundle", "no signature")
        try writeBundle(material: "")
        try await expectRejection("malformed-bundle", "neither a certificate nor a public key")
        try writeBundle(signature: [])
        try await expectRejection("malformed-bundle", "signature is empty")
        try writeBundle(material: #""publicKey":{},"certificate":{"rawBytes":"AQID"}"#)
        try await expectRejection("malformed-bundle", "more than one")
    }

    @Test("A number too large for 64 bits, or of a megabyte, is refused")
    func hugeNumbers() async throws {
        let entry =
            #"{"logIndex":"NUMBER","logId":{"keyId":"AQID"},"kindVersion":{"kind":"hashedrekord","version":"0.0.1"},"integratedTime":"1","canonicalizedBody":"e30="}"#
        for number in ["9223372036854775808", "99999999999999999999999999", "1e400", "-9223372036854775809"] {
            let changed = entry.replacingOccurrences(of: "NUMBER", with: number)
            try writeBundle(material: #""publicKey":{},"tlogEntries":[\#(changed)]"#)
            try await expectRejection("unexpected-json", "logIndex")
            try writeBundle(
                material:
                    #""publicKey":{},"tlogEntries":[\#(changed.replacingOccurrences(of: "\"\(number)\"", with: number))]"#
            )
            try await expectRejection("unexpected-json", "logIndex")
        }
        let digits = String(repeating: "9", count: 1 << 20)
        try writeBundle(
            material: #""publicKey":{},"tlogEntries":[\#(entry.replacingOccurrences(of: "\"NUMBER\"", with: digits))]"#)
        try await expectRejection("malformed-json", "too long")
    }

    @Test("64 KB of nesting is refused, in little time and memory", arguments: ["[", "{\"a\":"])
    func deepNesting(unit: String) async throws {
        try directory.write("b.json", String(repeating: unit, count: 65536 / unit.utf8.count))
        try await expectRejection("malformed-json", "nested too deeply")
        try writeBundle(extra: ",\"x\":" + String(repeating: unit, count: 65536 / unit.utf8.count))
        try await expectRejection("malformed-json", "nested too deeply")
    }

    @Test("A statement with 64 KB of nesting is refused, although its signature holds")
    func deeplyNestedStatement() async throws {
        try writeAttestation(String(repeating: "[", count: 65536))
        try await expectRejection("malformed-json", "nested too deeply", by: Self.attesting)
    }

    @Test("Base64 with garbage in it is refused")
    func garbageInBase64() async throws {
        let good = Base64.encode(try key.sign(Self.content, scheme: .ecdsa(.sha256)))
        for bad in [
            good + "!", "!" + good, good + "\\n", " " + good, good + "====", String(good.dropLast()),
            good.replacingOccurrences(of: "=", with: "") + "*",
        ] {
            try writeBundle {
                $0.replacingOccurrences(
                    of: #""signature":"[^"]*""#, with: "\"signature\":\"\(bad)\"", options: .regularExpression)
            }
            try await expectRejection("malformed-base64", "messageSignature.signature", "not base64")
        }
        try writeBundle { $0.replacingOccurrences(of: "\"digest\":\"", with: "\"digest\":\"*") }
        try await expectRejection("malformed-base64", "messageDigest.digest")
        try directory.write("b.json", "\(good)!")
        try await expectRejection(
            "malformed-signature", "b.json",
            by: ["verify-blob", "--key", "key.pub", "--insecure-ignore-tlog", "--signature", "b.json"])
    }

    @Test("More log entries or timestamps than 32 are refused")
    func tooMany() async throws {
        let entries = (0..<33).map { _ in "{}" }.joined(separator: ",")
        try writeBundle(material: #""publicKey":{},"tlogEntries":[\#(entries)]"#)
        try await expectRejection("too-many-entries", "33 log entries")
        try writeBundle(material: #""publicKey":{},"timestampVerificationData":{"rfc3161Timestamps":[\#(entries)]}"#)
        try await expectRejection("too-many-entries", "33 timestamps")
    }

    @Test("A member that nobody knows, or one that stands twice, is refused")
    func unknownMembers() async throws {
        try writeBundle(extra: #","more":1"#)
        try await expectRejection("unexpected-json", "\"more\"")
        try writeBundle(material: #""publicKey":{"hint":"","more":1}"#)
        try await expectRejection("unexpected-json", "\"more\"")
        try writeBundle(extra: #","mediaType":"x""#)
        try await expectRejection("malformed-json", "twice")
    }

    @Test("A bundle of the wrong digest is refused")
    func digestForms() async throws {
        try writeBundle(algorithm: "SHA1")
        try await expectRejection("unexpected-json", "SHA1")
        try writeBundle(digest: [1, 2, 3])
        try await expectRejection("malformed-digest", "32 bytes")
        // The digest that a bundle names is checked, also where the signature would hold.
        try writeBundle(digest: try Digest.sha256([1]).bytes)
        try await expectRejection("artifact-mismatch", "another file", try Digest.sha256([1]).hex)
    }

    // MARK: - Signatures

    @Test("A signature for another file is refused, with both digests")
    func otherFile() async throws {
        try writeBundle()
        try directory.write("other", "other")
        try await expectRejection(
            "artifact-mismatch", "another file", try Digest.sha256(Self.content).hex,
            try Digest.sha256(Array("other".utf8)).hex, file: "other")
        // A bare signature cannot tell why.
        let signature = Base64.encode(try key.sign(Self.content, scheme: .ecdsa(.sha256)))
        try await expectRejection(
            "invalid-signature",
            by: ["verify-blob", "--key", "key.pub", "--insecure-ignore-tlog", "--signature", signature], file: "other")
    }

    @Test("A signature by another key is refused, and the hint tells")
    func otherKey() async throws {
        let other = try directory.makeKey("other")
        try writeBundle()
        let command = ["verify-blob", "--key", "other.pub", "--insecure-ignore-tlog", "--bundle", "b.json"]
        try await expectRejection("wrong-key", try other.publicKey.hint(), try key.publicKey.hint(), by: command)
        try writeBundle(material: #""publicKey":{}"#)
        try await expectRejection("invalid-signature", "does not hold", by: command)
        // A hint that was changed to the verifier's key does not help.
        try writeBundle(material: #""publicKey":{"hint":"\#(other.publicKey.hint())"}"#)
        try await expectRejection("invalid-signature", by: command)
        try writeBundle(material: #""publicKey":{"hint":"my-key"}"#)
        try await expectRejection("invalid-signature", "my-key", by: command)
    }

    @Test("A changed byte of the signature is refused")
    func changedSignature() async throws {
        var signature = try key.sign(Self.content, scheme: .ecdsa(.sha256))
        signature[signature.count - 1] ^= 1
        try writeBundle(signature: signature)
        try await expectRejection("invalid-signature", "does not hold")
    }

    @Test("A signature of another algorithm is refused as that")
    func otherAlgorithm() async throws {
        for (name, algorithm) in [("rsa", SigningAlgorithm.rsa2048), ("ed", .ed25519), ("p384", .ecdsaP384)] {
            var other = try directory.makeKey(name, algorithm)
            var signature = try other.sign(Self.content, scheme: algorithm.scheme)
            // One in 256 begins as DER does, and is taken for it.
            while name != "p384", signature.first == 0x30 {
                other = try directory.makeKey(name, algorithm)
                signature = try other.sign(Self.content, scheme: algorithm.scheme)
            }
            try writeBundle(material: #""publicKey":{}"#)
            try await expectRejection(
                name == "p384" ? "invalid-signature" : "wrong-key-type",
                by: ["verify-blob", "--key", "\(name).pub", "--insecure-ignore-tlog", "--bundle", "b.json"])
            guard name != "p384" else { continue }
            try writeBundle(material: #""publicKey":{}"#, signature: signature)
            let outcome = await Program(directory: directory.path).run(Self.verifying + ["file"])
            #expect(["wrong-key-type", "signature-in-p1363"].contains(outcome.code), "\(name): \(outcome.messages)")
        }
        try writeBundle(algorithm: "SHA2_512", digest: try Digest.hash(Self.content, .sha512).bytes)
        try await expectRejection("wrong-key-type", "sha512", "ECDSA P-256")
    }

    @Test(
        "A signature in IEEE P1363 form is refused as that, in a bundle, as bare bytes and in base64",
        arguments: [SigningAlgorithm.ecdsaP256, .ecdsaP384, .ecdsaP521])
    func p1363(algorithm: SigningAlgorithm) async throws {
        let signer = try directory.makeKey("key", algorithm)
        let size = [SigningAlgorithm.ecdsaP256: 32, .ecdsaP384: 48, .ecdsaP521: 66][algorithm] ?? 0
        let hash = try #require(algorithm.scheme.hash)
        let bare = try Self.p1363(der: signer.sign(Self.content, scheme: algorithm.scheme), size: size)
        let name = ["sha256": "SHA2_256", "sha384": "SHA2_384", "sha512": "SHA2_512"][hash.rawValue] ?? ""
        try writeBundle(
            material: #""publicKey":{}"#, algorithm: name, digest: try Digest.hash(Self.content, hash).bytes,
            signature: bare)
        try await expectRejection("signature-in-p1363", "P1363", "DER")
        let command = ["verify-blob", "--key", "key.pub", "--insecure-ignore-tlog", "--signature"]
        try await expectRejection("signature-in-p1363", "P1363", by: command + [Base64.encode(bare)])
        try directory.write("raw", bare)
        try await expectRejection("signature-in-p1363", "P1363", by: command + ["raw"])
    }

    /// The two numbers of a DER signature side by side, each of the curve's size.
    private static func p1363(der: [UInt8], size: Int) throws -> [UInt8] {
        var rest = der.dropFirst(der[1] == 0x81 ? 3 : 2)
        var out: [UInt8] = []
        for _ in 0..<2 {
            let count = Int(rest[rest.startIndex + 1])
            let number = Array(rest.dropFirst(2).prefix(count).drop { $0 == 0 })
            out += [UInt8](repeating: 0, count: size - number.count) + number
            rest = rest.dropFirst(2 + count)
        }
        return out
    }

    // MARK: - Attestations

    /// A bundle with an envelope over any payload, signed by this test's key.
    private func writeAttestation(_ payload: String, payloadType: String = Statement.payloadType) throws {
        let envelope = DSSEEnvelope(
            payloadType: payloadType, payload: Array(payload.utf8),
            signatures: [
                DSSEEnvelope.Signature(
                    signature: try key.sign(
                        DSSEEnvelope.preAuthenticationEncoding(payloadType: payloadType, payload: Array(payload.utf8)),
                        scheme: .ecdsa(.sha256)))
            ])
        let json = String(decoding: envelope.json().serialized(), as: UTF8.self)
        try directory.write(
            "b.json",
            #"{"mediaType":"application/vnd.dev.sigstore.bundle.v0.3+json","verificationMaterial":{"publicKey":{}},"dsseEnvelope":\#(json)}"#
        )
    }

    private func statement(type: String = "https://cosign.sigstore.dev/attestation/v1", digests: String? = nil) throws
        -> String
    {
        let found = try digests ?? #"{"sha256":"\#(Digest.sha256(Self.content).hex)"}"#
        return
            #"{"_type":"https://in-toto.io/Statement/v1","subject":[{"name":"n","digest":\#(found)}],"predicateType":"\#(type)","predicate":{}}"#
    }

    @Test("A good attestation verifies before it is damaged")
    func goodAttestation() async throws {
        try writeAttestation(try statement())
        let outcome = await Program(directory: directory.path).run(Self.attesting + ["file"])
        #expect(outcome.succeeded, "\(outcome.messages)")
    }

    @Test("A predicate type that differs from --type is refused, byte for byte")
    func predicateType() async throws {
        for type in [
            "https://cosign.sigstore.dev/attestation/v2", "https://cosign.sigstore.dev/attestation/v1/",
            "HTTPS://cosign.sigstore.dev/attestation/v1",
        ] {
            try writeAttestation(try statement(type: type))
            try await expectRejection("wrong-predicate-type", type, "--type", by: Self.attesting)
        }
    }

    @Test("A statement whose subjects do not hold the file's digest is refused")
    func otherSubject() async throws {
        let right = try Digest.sha256(Self.content).hex
        for digests in [
            #"{"sha256":"\#(String(repeating: "0", count: 64))"}"#, #"{"sha512":"\#(right)"}"#,
            #"{"sha256":"\#(right.uppercased())"}"#,
            #"{"sha256":"\#(right.dropLast())"}"#, #"{"md5":"\#(right)"}"#, #"{"SHA256":"\#(right)"}"#,
            #"{"sha256":"\#(right)","sha512":"\#(String(repeating: "0", count: 128))"}"#,
        ] {
            try writeAttestation(try statement(digests: digests))
            try await expectRejection("wrong-subject", by: Self.attesting)
        }
    }

    @Test("An envelope of another payload type is refused, although its signature holds")
    func payloadType() async throws {
        try writeAttestation(try statement(), payloadType: "text/plain")
        try await expectRejection(
            "wrong-payload-type", "text/plain", "application/vnd.in-toto+json", by: Self.attesting)
    }

    @Test("An envelope whose payload is no statement is refused, although its signature holds")
    func noStatement() async throws {
        for payload in ["", "hello", "{}", "[]", try statement() + "x"] {
            try writeAttestation(payload)
            let outcome = await Program(directory: directory.path).run(Self.attesting + ["file"])
            #expect(outcome.ending == .exit(1))
            #expect(["malformed-json", "unexpected-json"].contains(outcome.code), "\(payload): \(outcome.messages)")
        }
    }

    @Test("A changed payload is refused")
    func changedPayload() async throws {
        try writeAttestation(try statement())
        let text = try directory.text("b.json")
        let other = Base64.encode(Array(try statement().replacingOccurrences(of: "\"n\"", with: "\"m\"").utf8))
        try directory.write(
            "b.json", text.replacingOccurrences(of: Base64.encode(Array(try statement().utf8)), with: other))
        try await expectRejection("invalid-signature", by: Self.attesting)
    }

    // MARK: - Disks and signals

    static let writing: [[String]] = [
        ["generate-key-pair"], ["import-key-pair", "--key", "key.pem"],
        ["public-key", "--key", "key.pem", "--outfile", "out.pub"],
        ["sign-blob", "--key", "key.pem", "--tlog-upload=false", "--bundle", "out.json", "file"],
        ["sign-blob", "--key", "key.pem", "--tlog-upload=false", "--output-signature", "out.sig", "file"],
        ["sign-blob", "--key", "key.pem", "--tlog-upload=false", "--output-directory", ".", "file"],
        [
            "attest-blob", "--key", "key.pem", "--tlog-upload=false", "--predicate", "file", "--bundle", "out.json",
            "file",
        ],
        [
            "attest-blob", "--key", "key.pem", "--tlog-upload=false", "--predicate", "file", "--output-attestation",
            "out.json", "file",
        ],
    ]

    @Test("A file that cannot grow leaves nothing half written", arguments: writing)
    func noRoomForFile(arguments: [String]) async throws {
        let before = try directory.snapshot()
        var program = Program(directory: directory.path, environment: ["COSIGN_PASSWORD": ""])
        program.limits = "ulimit -f 0"
        let outcome = await program.run(arguments)
        #expect(outcome.ending == .exit(1), "\(outcome.ending) \(outcome.messages)")
        #expect(outcome.code == "file-unwritable", "\(outcome.messages)")
        #expect(try directory.snapshot() == before)
    }

    @Test("A full disk is said to be full, and nothing is left on it", .needsMounting, arguments: writing)
    func fullDisk(arguments: [String]) async throws {
        // The disk has room for names but for no byte more.
        let script = """
            mkdir disk && mount -t tmpfs -o size=16k none disk && cp key.pem key.pub file disk/ && cd disk || exit 99
            dd if=/dev/zero of=fill bs=4096 2>/dev/null
            "$0" "$@"; echo "exit $?"; ls -A
            """
        let outcome = await Program(
            executable: "unshare", directory: directory.path, environment: ["COSIGN_PASSWORD": ""]
        )
        .run(["-rm", "/bin/sh", "-c", script, Program.path] + arguments)
        #expect(outcome.output == "exit 1\nfile\nfill\nkey.pem\nkey.pub\n", "\(outcome.output) \(outcome.messages)")
        #expect(outcome.code == "file-unwritable", "\(outcome.messages)")
        #expect(outcome.messages.contains("the disk is full"))
    }

    @Test("A device that is full is said to be full")
    func fullDevice() async throws {
        try await directory.expectRefusal(
            "file-unwritable", "/dev/full", "disk is full",
            of: ["sign-blob", "--key", "key.pem", "--tlog-upload=false", "--bundle", "/dev/full", "file"])
    }

    @Test(
        "A result that cannot be printed is an error",
        arguments: [
            ["sign-blob", "--key", "key.pem", "--tlog-upload=false", "file"],
            ["sign-blob", "--key", "key.pem", "--tlog-upload=false", "--b64=false", "file"],
            ["public-key", "--key", "key.pem"], ["version"], ["env"], ["completion", "bash"], ["--help"],
            ["bundle", "inspect", "b.json"],
            ["attest-blob", "--key", "key.pem", "--tlog-upload=false", "--predicate", "file", "file"],
            verifying + ["-o", "json", "file"],
        ])
    func fullStandardOutput(arguments: [String]) async throws {
        try writeBundle()
        var program = Program(directory: directory.path)
        program.limits = "exec >/dev/full"
        let outcome = await program.run(arguments)
        #expect(outcome.ending == .exit(1), "\(outcome.ending)")
        #expect(outcome.code == "output-failed", "\(outcome.messages)")
        program.limits = "exec >&-"
        let closed = await program.run(arguments)
        #expect(closed.ending == .exit(1), "\(closed.ending)")
    }

    @Test(
        "A reader that ended early ends the program like any other, without a word and without success",
        arguments: [
            ["completion", "bash"], ["--help"], verifying + ["-o", "json", "file"],

            ["verify-blob", "--key", "key.pub", "--insecure-ignore-tlog", "-o", "json", "file", "file"],
            ["--errors", "json", "env"],
            ["sign-blob", "--key", "key.pem", "--tlog-upload=false", "--quiet", "file"],
        ])
    func readerEnded(arguments: [String]) async throws {
        try writeBundle()
        try directory.write("file.sigstore.json", directory.read("b.json"))
        let script = #"""
            (while [ ! -e ended ]; do sleep 0.01; done; "$@" 2>errors; echo "exit $?" >&2) | (exec <&-; : > ended)
            """#
        let outcome = await Program(executable: "/bin/bash", directory: directory.path).run(
            ["-c", script, "bash", Program.path] + arguments)
        #expect(outcome.messages == "exit \(128 + SIGPIPE)\n", "\(outcome.messages)")
        let errors = try directory.text("errors")
        #expect(!errors.contains("rror") && !errors.contains("Verified OK"), "\(errors)")
    }

    @Test("A signal in the middle of reading leaves nothing half written", arguments: [SIGINT, SIGTERM, SIGHUP])
    func interrupted(number: Int32) async throws {
        let before = try directory.snapshot()
        let half = [UInt8](repeating: 0x61, count: 1 << 20)
        for arguments in [
            ["sign-blob", "--key", "key.pem", "--tlog-upload=false", "--bundle", "out.json", "-"],
            ["sign-blob", "--key", "key.pem", "--tlog-upload=false", "-"],
            [
                "attest-blob", "--key", "key.pem", "--tlog-upload=false", "--predicate", "-", "--bundle", "out.json",
                "file",
            ],
        ] {
            let outcome = await Program(directory: directory.path).run(
                arguments, input: .interrupted(after: half, signal: number))
            #expect([.signal(number), .exit(128 + number)].contains(outcome.ending), "\(outcome.ending)")
            #expect(outcome.stdout.isEmpty)
            #expect(try directory.snapshot() == before)
        }
        let password = await directory.swsign(
            "generate-key-pair", input: .interrupted(after: Array("pass".utf8), signal: number))
        #expect([.signal(number), .exit(128 + number)].contains(password.ending), "\(password.ending)")
        #expect(try directory.snapshot() == before)
    }

    @Test("Whatever bytes stand in a bundle, a signature or a key, the program ends with an error and not with a crash")
    func damagedAtRandom() async throws {
        var state: UInt64 = 0x5157_5349_474e
        func next(_ bound: Int) -> Int {
            state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
            return Int(state >> 33) % bound
        }
        try writeAttestation(try statement())
        let attestation = try directory.read("b.json")
        try writeBundle()
        let bundle = try directory.read("b.json")
        let pem = try directory.read("key.pem")
        let pub = key.publicKey.spki
        try directory.write("good.json", bundle)
        for _ in 0..<10 {
            for (bytes, command) in [
                (bundle, Self.verifying), (attestation, Self.attesting), (attestation, ["bundle", "inspect"]),
                (pem, ["public-key", "--key"]),
                (pub, ["verify-blob", "--key", "b.json", "--insecure-ignore-tlog", "--bundle", "good.json"]),
            ] {
                var damaged = bytes
                for _ in 0...next(3) {
                    switch next(3) {
                    case 0: damaged[next(damaged.count)] = UInt8(next(256))
                    case 1: damaged.remove(at: next(damaged.count))
                    default: damaged.insert(UInt8(next(256)), at: next(damaged.count))
                    }
                }
                try directory.write("b.json", damaged)
                let outcome = await Program(directory: directory.path)
                    .run(
                        command
                            + (command.contains("inspect") || command.contains("public-key") ? ["b.json"] : ["file"]))
                #expect(
                    [Program.Ending.exit(0), .exit(1)].contains(outcome.ending),
                    "\(outcome.ending): \(Base64.encode(damaged))")
                if outcome.succeeded, damaged != bytes, command == Self.verifying || command == Self.attesting {
                    // Only what means the same may still verify: white space, or a hint that says nothing.
                    #expect(!outcome.messages.isEmpty)
                }
            }
        }
    }
}

extension Trait where Self == ConditionTrait {
    /// For tests with a file system of their own.
    static var needsMounting: Self {
        .enabled("left out: unprivileged mounts are not allowed here") {
            let directory = TemporaryDirectory()
            return await Program(executable: "unshare", directory: directory.path)
                .run(["-rm", "/bin/sh", "-c", "mkdir d && mount -t tmpfs -o size=16k none d"]).succeeded
        }
    }
}
