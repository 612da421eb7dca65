import Foundation
import LocalSigstore
import OCIRegistry
import SigstoreCrypto
import SigstoreVerification
import StrictJSON
import SwSignCore
import TestServices
import Testing

@testable import swsign

/// Any of several signers, and several of them.
@Suite("Several signers", .localSigstore)
struct SeveralSignersTests {
    private static let unlogged = ["--insecure-ignore-tlog"]

    // MARK: - Keys

    /// A directory with a file that owners of keys have signed, each with a bundle of its own: `NAME.json`.
    private static func signed(by names: [String], _ algorithm: SigningAlgorithm = .ecdsaP256) async throws
        -> TemporaryDirectory
    {
        let directory = TemporaryDirectory()
        try directory.write("file", "the release")
        for name in names {
            try directory.makeKey(name, algorithm)
            let outcome = await directory.swsign(
                "sign-blob", "--key", "\(name).pem", "--tlog-upload=false", "--bundle", "\(name).json",
                "--output-signature", "\(name).sig", "file")
            #expect(outcome.succeeded, "\(outcome.messages)")
        }
        return directory
    }

    /// Puts bundles, one a line, beside the file.
    private static func place(_ names: [String], in directory: TemporaryDirectory) throws {
        let lines = try names.map { try directory.text("\($0).json").replacing("\n", with: "") + "\n" }
        try directory.write("file.sigstore.jsonl", lines.joined())
    }

    private static func verify(_ flags: [String], in directory: TemporaryDirectory, input: Program.Input = .nothing)
        async -> Program.Outcome
    {
        await Program(directory: directory.path).run(["verify-blob"] + unlogged + flags, input: input)
    }

    @Test("Of several keys any may have signed a file, whatever their order and kind")
    func anyKey() async throws {
        let directory = try await Self.signed(by: ["ann", "ben"])
        try directory.makeKey("cid")
        try directory.makeKey("dan", .ecdsaP384)
        for keys in [["ann", "cid"], ["cid", "ann"], ["dan", "cid", "ann"]] {
            let flags = keys.flatMap { ["--key", "\($0).pub"] }
            #expect(await Self.verify(flags + ["--bundle", "ann.json", "file"], in: directory).succeeded)
            let detached = await Self.verify(flags + ["--signature", "ann.sig", "file"], in: directory)
            #expect(detached.succeeded, "\(detached.messages)")
            // Standard input can be read once only.
            let piped = await Self.verify(
                flags + ["--signature", "ann.sig", "-"], in: directory, input: .text("the release"))
            #expect(piped.succeeded, "\(piped.messages)")
        }
        for flags in [["--bundle", "ann.json"], ["--signature", "ann.sig"]] {
            try await directory.expectRefusal(
                flags[0] == "--bundle" ? "wrong-key" : "invalid-signature",
                of: ["verify-blob", "--key", "ben.pub", "--key", "cid.pub"] + Self.unlogged + flags + ["file"])
        }
        // The environment gives one, and the command line counts before it.
        let variable = ["COSIGN_KEY": "ann.pub"]
        let byVariable = await directory.swsign(
            "verify-blob", "--insecure-ignore-tlog", "--bundle", "ann.json", "file", environment: variable)
        #expect(byVariable.succeeded && byVariable.messages.contains("COSIGN_KEY"), "\(byVariable.messages)")
        try await directory.expectRefusal(
            "wrong-key", of: ["verify-blob", "--key", "ben.pub", "--bundle", "ann.json", "file"] + Self.unlogged,
            environment: variable)
        try await directory.expectRefusal(
            "usage", "named twice",
            of: ["verify-blob", "--key", "-", "--key", "-", "--bundle", "ann.json", "file"] + Self.unlogged)
    }

    @Test("Of several keys any may have made an attestation of a file")
    func anyKeyOfAnAttestation() async throws {
        let directory = TemporaryDirectory()
        for name in ["ann", "ben", "cid"] { try directory.makeKey(name) }
        try directory.write("file", "the release")
        try directory.write("predicate", "{}")
        let attested = await directory.swsign(
            "attest-blob", "--key", "ben.pem", "--tlog-upload=false", "--predicate", "predicate", "--bundle", "b.json",
            "file")
        #expect(attested.succeeded, "\(attested.messages)")
        let flags = ["--bundle", "b.json", "file"] + Self.unlogged
        let program = Program(directory: directory.path)
        let verified = await program.run(
            ["verify-blob-attestation", "--key", "ann.pub", "--key", "ben.pub"] + flags)
        #expect(verified.succeeded, "\(verified.messages)")
        try await directory.expectRefusal(
            "wrong-key", of: ["verify-blob-attestation", "--key", "ann.pub", "--key", "cid.pub"] + flags)
    }

    @Test("A threshold counts keys: each once, whatever the number of signatures and the way the key is given")
    func threshold() async throws {
        let directory = try await Self.signed(by: ["ann", "ben"])
        try directory.makeKey("cid")
        let ann = try PublicKey(file: try directory.read("ann.pub"))
        let ben = try PublicKey(file: try directory.read("ben.pub"))
        try directory.write("ann.der", ann.spki)
        let keys = ["--key", "ann.pub", "--key", "ben.pub", "--key", "cid.pub"]
        try Self.place(["ann", "ben"], in: directory)
        let both = await Self.verify(keys + ["--threshold", "2", "--output", "json", "file"], in: directory)
        #expect(both.succeeded, "\(both.messages)")
        for hint in [try ann.hint(), try ben.hint()] { #expect(both.messages.contains("signed with the key \(hint)")) }
        let object = try #require(try both.objects().first)
        let named = try object.member("signatures").elements().map {
            try $0.member("signer").member("key").string()
        }
        #expect(named == [try ann.hint(), try ben.hint()])
        #expect(try object.optional("signer") == nil)
        for flags in [["--threshold", "1"], ["--threshold", "2", "--bundle", "file.sigstore.jsonl"]] {
            let counted = await Self.verify(keys + flags + ["file"], in: directory)
            #expect(counted.succeeded, "\(counted.messages)")
        }

        // Two signatures by one key, and one key in two spellings.
        let again = await directory.swsign(
            "sign-blob", "--key", "ann.pem", "--tlog-upload=false", "--bundle", "more.json", "file")
        #expect(again.succeeded, "\(again.messages)")
        for names in [["ann", "more", "ann"], ["ann"]] {
            try Self.place(names, in: directory)
            try await directory.expectRefusal(
                "too-few-signers", "at least 2 of the signers", "found 1",
                of: ["verify-blob", "--threshold", "2", "file"] + Self.unlogged + keys)
        }
        try await directory.expectRefusal(
            "usage", "--threshold demands 2", "1 different key",
            of: ["verify-blob", "--threshold", "2", "--key", "ann.pub", "--key", "ann.der", "file"] + Self.unlogged)
        // One bundle alone has one signer.
        try await directory.expectRefusal(
            "too-few-signers",
            of: ["verify-blob", "--threshold", "2", "--bundle", "ben.json", "file"] + Self.unlogged + keys)
        // What cannot be met is said before anything is read, and so is what demands nothing.
        for threshold in ["3", "0", "-1"] {
            try await directory.expectRefusal(
                "usage", "--threshold",
                of: ["verify-blob", "--threshold=\(threshold)", "--key", "none.pub", "--key", "no.pub", "nothing"]
                    + Self.unlogged)
        }
        // A signature of the file by somebody else, or of another file, does not count, and says why.
        try directory.write("file", "another release")
        try Self.place(["ann", "ben"], in: directory)
        let changed = await Self.verify(keys + ["--threshold", "2", "--output", "json", "file"], in: directory)
        #expect(changed.code == "too-few-signers" && changed.messages.contains("found 0"), "\(changed.messages)")
        #expect(changed.messages.contains("for another file"))
        #expect(try changed.objects().first?.member("failedStep").string() == "identity")
    }

    @Test("All signatures of an image are looked at, in both schemes", arguments: Scheme.allCases)
    func images(scheme: Scheme) async throws {
        let place = try await ImageFixture()
        try place.directory.makeKey("third")
        let image = try await place.push()
        let keys = ["--key", "key.pub", "--key", "other.pub", "--key", "third.pub"]
        func verify(_ flags: [String]) async -> Program.Outcome {
            await place.swsign(["verify"] + keys + ImageFixture.verifying + flags + [image.name])
        }
        for _ in 0..<2 { await place.sign(image.name, scheme: scheme, key: "other").expectSuccess() }
        // Any of these; and no more of them than have signed.
        #expect(try await verify([]).payloads().count == 2)
        await verify(["--threshold", "2"]).expectRefusal(
            1, "too-few-signers", "at least 2 of the signers", "found 1", image.digest.description)
        await place.sign(image.name, scheme: scheme, key: "third").expectSuccess()
        let json = await verify(["--threshold", "2"])
        json.expectSuccess()
        let hints = try ["other", "third"].map {
            try PublicKey(file: try place.directory.read("\($0).pub")).hint()
        }
        #expect(try json.payloads().map { try $0.member("signer").member("key").string() } == hints)
        let text = await verify(["--threshold", "2", "--output", "text"])
        #expect(text.output.split(separator: "\n").count == 2)
        for hint in hints { #expect(text.output.contains(hint) && json.messages.contains(hint)) }
        // Nobody at all is what it was before.
        let unsigned = try await place.push("not signed")
        await place.swsign(["verify", "--threshold", "2"] + keys + ImageFixture.verifying + [unsigned.name])
            .expectRefusal(10, "no-signature")
        // What could not be looked at may be the signature that is missing.
        try place.registry.faults.add(
            Fault(.status(403, retryAfter: nil), path: scheme == .older ? "/referrers/" : ".sig"))
        await verify(["--threshold", "3"]).expectRefusal(1, "denied", "could not all be looked at", "found 2")
        await verify(["--threshold", "2"]).expectSuccess()
    }

    @Test func attestationsOfAnImage() async throws {
        let place = try await ImageFixture()
        let image = try await place.push()
        let flags = ["--type", "x:y", "--key", "key.pub", "--key", "other.pub"] + ImageFixture.verifying
        try await place.attest(image.name, type: "x:y", key: "other").expectSuccess()
        await place.swsign(["verify-attestation"] + flags + [image.name]).expectSuccess()
        await place.swsign(["verify-attestation", "--threshold", "2"] + flags + [image.name])
            .expectRefusal(1, "too-few-signers", "found 1")
        // One of another type is no second one.
        try await place.attest(image.name, type: "x:z", key: "key").expectSuccess()
        await place.swsign(["verify-attestation", "--threshold", "2"] + flags + [image.name])
            .expectRefusal(1, "too-few-signers", "found 1")
        try await place.attest(image.name, type: "x:y", key: "key").expectSuccess()
        let both = await place.swsign(["verify-attestation", "--threshold", "2"] + flags + [image.name])
        both.expectSuccess()
        #expect(try both.objects().map { try $0.member("signer").member("key").string() }.count == 2)
        #expect(try both.statements().count == 2)
    }

    // MARK: - Identities

    private static let bob = LocalIdentity.federated(email: "bob@local.test", connector: "https://accounts.example")
    private static let uri = LocalIdentity.uri("/users/1,2")

    private static func sign(_ place: SigningFixture, _ identity: LocalIdentity, _ bundle: String) async throws {
        let outcome = await place.run(
            ["sign-blob", "--yes", "--bundle", bundle] + place.services(.v1) + (try place.token(identity)) + ["file"])
        try #require(outcome.succeeded, "\(outcome.messages)")
    }

    @Test("Identities are named in pairs with their issuers, and with claims by name")
    func pairs() async throws {
        let place = try SigningFixture()
        let (alice, job) = (SigningFixture.alice, LocalIdentity.gitHubWorkflow())
        try place.directory.write("file", "the release")
        for (identity, name) in [(alice, "alice"), (Self.bob, "bob"), (Self.uri, "uri"), (job, "job")] {
            try await Self.sign(place, identity, "\(name).json")
        }
        func issuer(_ identity: LocalIdentity) -> String { place.services.issuer.issuer(of: identity) }
        func subject(_ identity: LocalIdentity) -> String { place.services.issuer.subject(of: identity) }
        func pair(_ identity: LocalIdentity, issuer other: LocalIdentity? = nil) -> String {
            let name = subject(identity).replacing(",", with: "\\,")
            return "identity=\(name),issuer=\(issuer(other ?? identity))"
        }
        func verify(_ bundle: String, _ flags: [String]) async -> Program.Outcome {
            await place.run(["verify-blob", "--bundle", "\(bundle).json"] + place.trust + flags + ["file"])
        }
        #expect(issuer(alice) != issuer(Self.bob))

        // Either of two pairs, and never the one's name with the other's issuer.
        let pairs = ["--signer", pair(alice), "--signer", pair(Self.bob)]
        for name in ["alice", "bob"] {
            let verified = await verify(name, pairs)
            #expect(verified.succeeded, "\(verified.messages)")
        }
        #expect(await verify("job", pairs).code == "wrong-identity")
        let crossed = ["--signer", pair(alice, issuer: Self.bob), "--signer", pair(Self.bob, issuer: alice)]
        for name in ["alice", "bob"] { #expect(await verify(name, crossed).code == "wrong-issuer") }
        let old = [alice, Self.bob].flatMap {
            ["--certificate-identity", subject($0), "--certificate-oidc-issuer", issuer($0)]
        }
        let refused = await verify("alice", old)
        #expect(refused.code == "usage" && refused.messages.contains("--signer identity=…,issuer=…"))
        #expect(refused.messages.contains("every identity would be accepted with every issuer"))
        // Several of one and one of the other are no crossing, and the same one twice is one.
        for flags in [
            ["--certificate-identity", "nobody", "--certificate-identity", subject(alice)]
                + ["--certificate-oidc-issuer", issuer(alice), "--certificate-oidc-issuer", issuer(alice)],
            ["--certificate-identity", subject(alice), "--certificate-identity", subject(alice)]
                + ["--certificate-oidc-issuer", issuer(alice), "--certificate-oidc-issuer", issuer(Self.bob)],
        ] {
            let verified = await verify("alice", flags)
            #expect(verified.succeeded, "\(verified.messages)")
        }

        // A comma in a value, and in an expression, in which other backslashes are the expression's own.
        #expect(await verify("uri", ["--signer", pair(Self.uri)]).succeeded)
        let expression = "identity-regexp=/users/\\d\\,\\d$,issuer-regexp=^https?://127\\.0\\.0\\.1:\\d{1\\,5}"
        let matched = await verify("uri", ["--signer", expression])
        #expect(matched.succeeded, "\(matched.messages)")

        // Claims by name, beside the old flags and in a signer.
        let github = ["--certificate-identity", subject(job), "--certificate-oidc-issuer", issuer(job)]
        let hosted = "runnerEnvironment=github-hosted"
        for flags in [
            github + ["--certificate-claim", hosted, "--certificate-claim", "buildTrigger=push"],
            github + ["--certificate-claim", "buildTrigger=tag", "--certificate-claim", "buildTrigger=push"],
            github + ["--certificate-claim", "1.3.6.1.4.1.57264.1.11=github-hosted"],
            ["--signer", "\(pair(job)),\(hosted),buildTrigger=push"],
        ] {
            let verified = await verify("job", flags)
            #expect(verified.succeeded, "\(flags): \(verified.messages)")
        }
        for flags in [
            github + ["--certificate-claim", "runnerEnvironment=self-hosted"],
            github + ["--certificate-claim", hosted, "--certificate-claim", "buildTrigger=tag"],
            github + ["--certificate-claim", "deploymentEnvironment=production"],
            ["--signer", "\(pair(job)),runnerEnvironment=self-hosted"],
        ] {
            let outcome = await verify("job", flags)
            #expect(outcome.code == "wrong-claim", "\(flags): \(outcome.messages)")
        }

        // A file of signers, with comments, empty lines and Windows' line ends.
        try place.directory.write(
            "signers", "# who may release\n\n  # and who else\n\(pair(Self.bob))\r\n\(pair(alice))")
        #expect(await verify("alice", ["--signers", "signers"]).succeeded)
        #expect(await verify("job", ["--signers", "signers"]).code == "wrong-identity")
        let byVariable = await place.run(
            ["verify-blob", "--bundle", "bob.json"] + place.trust + ["file"],
            environment: ["COSIGN_SIGNERS": "signers"])
        #expect(byVariable.succeeded && byVariable.messages.contains("whom to believe: COSIGN_SIGNERS"))
        try place.directory.write("bad", "# first\n\(pair(alice))\nidentity=a\n")
        let bad = await verify("alice", ["--signers", "bad"])
        #expect(bad.code == "usage" && bad.messages.contains("bad, line 3"), "\(bad.messages)")

        // Several of them, keys too: each once.
        try place.directory.makeKey("key")
        let byKey = await place.run(
            ["sign-blob", "--yes", "--key", "key.pem", "--bundle", "key.json"] + place.services(.v1) + ["file"])
        #expect(byKey.succeeded, "\(byKey.messages)")
        let lines = try ["bob", "key", "alice"].map {
            try place.directory.text("\($0).json").replacing("\n", with: "") + "\n"
        }
        try place.directory.write("file.sigstore.jsonl", lines.joined())
        func count(_ threshold: Int, _ flags: [String]) async -> Program.Outcome {
            await place.run(["verify-blob", "--threshold", "\(threshold)"] + place.trust + flags + ["file"])
        }
        let three = await count(3, pairs + ["--key", "key.pub"])
        #expect(three.succeeded, "\(three.messages)")
        for name in [subject(alice), subject(Self.bob), "the key "] { #expect(three.messages.contains(name)) }
        // An expression is one signer, whoever matches it, and a signer in the file and beside it is one.
        let anybody = "identity-regexp=@local.test$,issuer-regexp=."
        #expect(await count(2, ["--signer", anybody]).code == "usage")
        #expect(await count(2, ["--signers", "signers", "--signer", pair(alice)]).succeeded)
        #expect(await count(3, ["--signers", "signers", "--signer", pair(alice)]).code == "usage")
        let oneForTwo = await count(2, ["--signer", anybody, "--signer", pair(job)])
        #expect(oneForTwo.code == "too-few-signers", "\(oneForTwo.messages)")
        // Who is named one by one is not named by other flags.
        let mixed = await verify("alice", pairs + ["--certificate-claim", hosted])
        #expect(mixed.code == "usage" && mixed.messages.contains("cannot be given together"), "\(mixed.messages)")
        // Two issuers of one identity are one signer.
        let oneName = ["--certificate-identity", subject(alice)]
        let twoIssuers = ["--certificate-oidc-issuer", issuer(alice), "--certificate-oidc-issuer", issuer(Self.bob)]
        #expect(await count(2, oneName + twoIssuers).code == "usage")
    }

    @Test("What is no signer is refused, and the form is said")
    func forms() throws {
        func refusal(_ text: String) -> SigstoreError? {
            do throws(SigstoreError) {
                _ = try SignerFlag(text)
                return nil
            } catch { return error }
        }
        for (text, words) in [
            ("", "NAME=VALUE"), ("identity", "NAME=VALUE"), ("identity=", "NAME=VALUE"), ("=a", "NAME=VALUE"),
            ("identity=a", "\"issuer\""), ("issuer=b", "\"identity\""), ("identity=a,issuer=b,", "NAME=VALUE"),
            ("identity=a,b,issuer=c", "\"b\""), ("identity=a,issuer=b,issuer=c", "\"issuer\" twice"),
            ("identity=a,issuer=b,nobodyKnows=c", "nobodyKnows"), ("identity=a, issuer=b", "\" issuer\""),
            ("identity=a,issuer=b,runnerEnvironment=c,1.3.6.1.4.1.57264.1.11=d", "twice"),
            ("Identity=a,issuer=b", "\"Identity\""),
        ] {
            let error = refusal(text)
            #expect(error?.code == .usage && error?.message.contains(words) == true, "\(text): \(error as Any)")
        }
        #expect(refusal("identity-regexp=(,issuer=b")?.code == .malformedPattern)
        for text in ["identity=a=b,issuer=c", "identity=a\\,issuer=x,issuer=b", "issuer=b,identity-regexp=^\\w+$"] {
            #expect(refusal(text) == nil, "\(text)")
        }
        // In which order and how the parts are written makes no other signer.
        let one = try SignerFlag("identity=a,issuer=b")
        #expect(one.isSame(as: try SignerFlag("issuer=b,identity=a")))
        #expect(!one.isSame(as: try SignerFlag("issuer=b,identity-regexp=a")))
    }
}
