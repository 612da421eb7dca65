import Foundation
import SigstoreVerification
import StrictJSON
import Testing

@testable import swsign

/// What identities signed, as a release engineer verifies it on a machine without network.
@Suite(.needsShared)
struct ReleaseTests {
    private let directory = TemporaryDirectory()
    private static let samples = "\(sharedDirectory)/samples"
    private static let trust = ["--offline", "--trusted-root", "\(samples)/trust/trusted_root.json"]
    private static let identity = [
        "--certificate-identity", "release@alpha.example", "--certificate-oidc-issuer", "http://127.0.0.1:8888",
    ]

    private func sample(_ path: String) throws -> [UInt8] {
        Array(try Data(contentsOf: URL(filePath: "\(Self.samples)/\(path)")))
    }

    /// A bundle of the samples on one line.
    private func line(_ name: String) throws -> String {
        String(decoding: try JSONValue(parsing: sample("sigs/\(name).sigstore.json")).serialized(), as: UTF8.self)
            + "\n"
    }

    /// A release of four files, each with its bundle beside it in another form; of one no bundle holds.
    private func prepareRelease() throws {
        try directory.makeDirectory("release/more")
        for name in ["a.txt", "the-other.txt", "c.txt", "more/d.txt"] {
            try directory.write("release/\(name)", try sample("blobs/small.txt"))
        }
        try directory.write("release/a.txt.sigstore.json", try line("c3-keyless-v1-email"))
        // The first signature is for another file; one that holds is enough.
        try directory.write(
            "release/the-other.txt.sigstore.jsonl", try line("c3-keyless-v1-1mib") + "\n" + line("c3-keyless-v2-email"))
        try directory.write("release/c.txt.sigstore.jsonl", try line("c3-keyless-v1-1mib") + line("c3-keyless-v2-1mib"))
        try directory.write("release/more/d.txt.sigstore", try line("c3-keyless-v1tsa-email"))
    }

    @Test("A whole release is verified, each file's bundle found beside it, .sigstore.jsonl too")
    func wholeRelease() async throws {
        try prepareRelease()
        let outcome = await Program(directory: directory.path).run(
            ["verify-blob"] + Self.trust + Self.identity + ["release"])
        #expect(outcome.ending == .exit(1))
        #expect(outcome.code == "artifact-mismatch")
        for name in ["a.txt", "the-other.txt", "more/d.txt"] {
            #expect(
                outcome.messages.contains("release/\(name): Verified OK, signed by release@alpha.example"),
                "\(outcome.messages)")
        }
        #expect(
            outcome.messages.contains("3 of 4 files verified")
                && outcome.messages.contains("not verified: release/c.txt"))
        #expect(!outcome.messages.contains("release/c.txt: Verified OK"))

        for name in ["c.txt", "c.txt.sigstore.jsonl"] {
            try FileManager.default.removeItem(atPath: directory["release/\(name)"])
        }
        let good = await Program(directory: directory.path).run(
            ["verify-blob"] + Self.trust + Self.identity + ["release"])
        #expect(good.succeeded && good.messages.contains("3 of 3 files verified"), "\(good.messages)")

        // A line that is no bundle is not passed over.
        try directory.write("release/a.txt.sigstore.json", "")
        try FileManager.default.removeItem(atPath: directory["release/a.txt.sigstore.json"])
        try directory.write("release/a.txt.sigstore.jsonl", try "{\n" + line("c3-keyless-v1-email"))
        let bad = await Program(directory: directory.path).run(
            ["verify-blob"] + Self.trust + Self.identity + ["release"])
        #expect(bad.ending == .exit(1) && bad.code == "malformed-json", "\(bad.messages)")
        try directory.write(
            "release/a.txt.sigstore.jsonl", String(repeating: try line("c3-keyless-v1-email"), count: 101))
        let many = await Program(directory: directory.path).run(
            ["verify-blob"] + Self.trust + Self.identity + ["release"])
        #expect(many.ending == .exit(1) && many.code == "too-many-entries", "\(many.messages)")
    }

    @Test("The summary is a table on a terminal, with what went wrong below it")
    func table() async throws {
        try prepareRelease()
        let words = ([Program.path, "verify-blob", "--color=never"] + Self.trust + Self.identity + ["release"]).map {
            "'\($0)'"
        }
        let outcome = await Program(executable: "script", directory: directory.path)
            .run(["-qec", words.joined(separator: " "), "typescript"])
        #expect(outcome.ending == .exit(1))
        let lines = outcome.output.split(separator: "\r\n").map(String.init)
        let wide = "release/the-other.txt".count
        func row(_ name: String, _ result: String) -> String {
            name.padding(toLength: wide, withPad: " ", startingAt: 0) + "  " + result
        }
        let verified = "Verified OK, signed by release@alpha.example (issuer http://127.0.0.1:8888)"
        #expect(
            lines.prefix(5) == [
                row("FILE", "RESULT"), row("release/a.txt", verified),
                row("release/c.txt", "FAILED, artifact-mismatch"),
                row("release/more/d.txt", verified), row("release/the-other.txt", verified),
            ], "\(outcome.output)")
        #expect(
            lines.dropFirst(5).first?.hasPrefix("Error: release/c.txt: step 4 of 8, artifact: ") == true,
            "\(outcome.output)")
        #expect(lines.contains("3 of 4 files verified"))
    }

    @Test("JSON lines on request: one object a file, every step with its name")
    func lines() async throws {
        try prepareRelease()
        let outcome = await Program(directory: directory.path)
            .run(["verify-blob", "--output", "json", "--max-workers", "2"] + Self.trust + Self.identity + ["release"])
        let objects = try outcome.objects()
        #expect(objects.count == 4)
        for object in objects {
            let steps = try object.member("checks").elements().map { try $0.member("step").string() }
            let names = try object.member("checks").elements().map { try $0.member("name").string() }
            if try object.member("verified").bool() {
                #expect(try object.member("signer").member("identity").string() == "release@alpha.example")
                #expect(try object.member("signer").member("issuer").string() == "http://127.0.0.1:8888")
                #expect(try !object.member("times").elements().isEmpty)
                #expect(names.contains("log-entry") && names.contains("certificate-path") && names.last == "signature")
            } else {
                // What was not reached is not listed as done.
                #expect(try object.member("failedStep").string() == "artifact")
                #expect(Set(steps) == ["form", "time", "certificate"])
                #expect(try object.member("error").member("code").string() == "artifact-mismatch")
                #expect(
                    try object.member("error").member("message").string().hasPrefix(
                        "the signature is for another file: expected sha256:"))
                #expect(try !object.member("error").member("advice").string().isEmpty)
            }
        }
    }

    @Test("Nothing that was skipped is listed as done")
    func skippedChecks() async throws {
        let arguments =
            [
                "verify-blob", "--bundle", "\(Self.samples)/sigs/c3-keyless-v1tsa-email.sigstore.json", "--output",
                "json",
            ] + Self.trust
            + Self.identity + ["\(Self.samples)/blobs/small.txt"]
        func names(_ more: [String]) async throws -> Set<String> {
            let outcome = await Program(directory: directory.path).run(arguments + more)
            #expect(outcome.succeeded, "\(outcome.messages)")
            return Set(
                try #require(try outcome.objects().first).member("checks").elements().map {
                    try $0.member("name").string()
                })
        }
        let log: Set = ["log-time", "inclusion-promise", "inclusion-proof", "log-entry"]
        let all = try await names([])
        #expect(all.isSuperset(of: log.union(["timestamp", "certificate-timestamp"])))
        #expect(try await names(["--insecure-ignore-tlog"]) == all.subtracting(log))
        #expect(try await names(["--insecure-ignore-sct"]) == all.subtracting(["certificate-timestamp"]))
    }

    @Test("--verbose walks through the steps as they happen, up to the one that fails, which is named with its number")
    func walk() async throws {
        let arguments =
            ["verify-blob", "--bundle", "\(Self.samples)/sigs/c3-keyless-v2-email.sigstore.json"] + Self.trust
            + [
                "--certificate-identity", "release@alpha.example", "--certificate-oidc-issuer",
                "https://accounts.google.com",
            ]
            + ["\(Self.samples)/blobs/small.txt"]
        let loud = await Program(directory: directory.path).run(arguments + ["--verbose"])
        #expect(loud.ending == .exit(1))
        let walked = ["form", "time", "certificate", "artifact", "transparency-log"].map {
            loud.messages.range(of: ": \($0): ")?.lowerBound
        }
        let places = walked.compactMap { $0 }
        #expect(places.count == 5 && places == places.sorted(), "\(loud.messages)")
        #expect(!loud.messages.contains(": signature: "))
        let quiet = await Program(directory: directory.path).run(arguments)
        #expect(
            quiet.messages.hasPrefix(
                "Error: step 6 of 8, identity: expected issuer https://accounts.google.com, certificate says http://127.0.0.1:8888 [wrong-issuer]\n"
            ),
            "\(quiet.messages)")
        #expect(quiet.messages.split(separator: "\n").count == 2, "what to do is missing: \(quiet.messages)")
    }

    @Test("A repeated identity flag means any of these; an expression beside an exact one must hold as well")
    func repeatedFlags() async throws {
        let (right, issuer) = ("release@alpha.example", "http://127.0.0.1:8888")
        func identity(_ names: [String], _ patterns: [String], _ issuers: [String], _ issuerPatterns: [String]) async
            -> String?
        {
            var arguments =
                ["verify-blob", "--bundle", "\(Self.samples)/sigs/c3-keyless-v1-email.sigstore.json"] + Self.trust
            for (flag, values) in [
                ("identity", names), ("identity-regexp", patterns), ("oidc-issuer", issuers),
                ("oidc-issuer-regexp", issuerPatterns),
            ] { for value in values { arguments += ["--certificate-\(flag)", value] } }
            let outcome = await Program(directory: directory.path).run(arguments + ["\(Self.samples)/blobs/small.txt"])
            return outcome.succeeded ? nil : outcome.code
        }
        #expect(await identity(["nobody@alpha.example", right], [], [issuer], []) == nil)
        #expect(await identity([right], [], ["https://x.example", issuer], []) == nil)
        // Every identity with every issuer is not what was meant.
        #expect(await identity(["nobody@alpha.example", right], [], ["https://x.example", issuer], []) == "usage")
        #expect(await identity([], ["^nobody$", "^release@"], [], ["^https:", ":8888$"]) == "usage")
        #expect(await identity(["nobody@alpha.example", "nobody"], [], [issuer], []) == "wrong-identity")
        #expect(await identity([right], [], ["https://x.example", "https://y.example"], []) == "wrong-issuer")
        #expect(await identity([], ["^nobody$", "^release@"], [issuer], ["^https:", ":8888$"]) == nil)
        #expect(await identity([right], ["^release@"], [issuer], ["8888"]) == nil)
        #expect(await identity([right], ["^nobody"], [issuer], []) == "wrong-identity")
        #expect(await identity(["nobody"], ["^release@"], [issuer], []) == "wrong-identity")
        #expect(await identity([right], [], [issuer], ["^https:"]) == "wrong-issuer")
        #expect(await identity([right], [], [], []) == "usage")
        #expect(await identity([], [], [issuer], []) == "usage")
        #expect(await identity([""], [], [issuer], []) == "usage")
        #expect(await identity([], [""], [issuer], []) == "usage")
    }

    @Test("bundle inspect shows certificate, SCT, log entries, checkpoints and times")
    func inspect() async throws {
        let path = "\(Self.samples)/sigs/c3-keyless-v1tsa-email.sigstore.json"
        let outcome = await directory.swsign("bundle", "inspect", path)
        #expect(outcome.succeeded, "\(outcome.messages)")
        for words in [
            "Certificate: identity release@alpha.example, issuer http://127.0.0.1:8888",
            "validFrom 2026-11-21T07:26:01Z",
            "certificateTimestamps 2026-11-21T07:26:01Z by log j+9KLx+Ym/YdMMoXSV26jnB6JeVyXLEKz2z4MsLFALU=",
            "Log entry: index 182, kind hashedrekord 0.0.1, log QwsBnO4dFrexetmSvncNalJTgdMrPV0cg23shs+5u3M=, time 2026-11-21T07:26:01Z",
            "checkpoint rekor.local - 3367407711642943553, size 183", "Signed timestamp: time 2026-11-21T07:26:01Z",
        ] { #expect(outcome.output.contains(words), "\(words) is not in \(outcome.output)") }
        let json = await directory.swsign("bundle", "inspect", "--output", "json", path)
        let object = try #require(try json.objects().first)
        let entry = try #require(try object.member("logEntries").elements().first)
        #expect(try entry.member("checkpoint").string() == "rekor.local - 3367407711642943553, size 183")
        #expect(
            try object.member("signedTimestamps").elements().first?.member("time").string() == "2026-11-21T07:26:01Z")
        #expect(
            try object.member("certificates").elements().first?.member("certificateTimestamps").elements().count == 1)
    }

    @Test("trusted-root create writes what cosign 3 writes for the same flags, and it verifies")
    func createTrustedRoot() async throws {
        let trust = "\(Self.samples)/trust"
        let newer = [
            "--fulcio=url=https://fulcio.example,certificate-chain=\(trust)/fulcio-chain.pem",
            "--rekor=url=https://rekor.example,public-key=\(trust)/rekor.pub,start-time=2024-01-01T00:00:00Z",
            "--rekor=url=https://rekor2.example,public-key=\(trust)/rekor2.pub,start-time=2024-01-01T00:00:00Z,origin=rekor2.example",
            "--ctfe=url=https://ct.example,public-key=\(trust)/ct.pub,start-time=2024-01-01T00:00:00Z,end-time=2030-01-01T00:00:00Z",
            "--tsa=url=https://tsa.example,certificate-chain=\(trust)/tsa-chain.pem,start-time=2024-01-01T00:00:00Z",
        ]
        let older = [
            "--certificate-chain", "\(trust)/fulcio-chain.pem", "--rekor-key", "\(trust)/rekor.pub",
            "--rekor-start-time",
            "2024-05-01T00:00:00Z", "--ctfe-key", "\(trust)/ct.pub", "--timestamp-certificate-chain",
            "\(trust)/tsa-chain.pem",
        ]
        /// The lists sorted: cosign writes them in no order of its own.
        func canonical(_ name: String) throws -> [String] {
            let json = JSONCursor(try JSONValue(parsing: try directory.read(name)))
            return try json.names().sorted().flatMap { name in
                let member = try json.member(name)
                guard case .array = member.value else { return ["\(name) \(try member.string())"] }
                return try member.elements().map {
                    "\(name) \(String(decoding: $0.value.canonicalized(), as: UTF8.self))"
                }.sorted()
            }
        }
        for flags in [newer, older] {
            let ours = await Program(directory: directory.path).run(
                ["trusted-root", "create", "--out", "ours.json"] + flags)
            #expect(ours.succeeded, "\(ours.messages)")
            let theirs = try await Cosign.three.run(
                ["trusted-root", "create", "--out", "theirs.json"] + flags, in: directory)
            #expect(theirs.succeeded, "\(theirs.messages)")
            #expect(try canonical("ours.json") == canonical("theirs.json"))
            let verified = await Program(directory: directory.path).run(
                [
                    "verify-blob", "--offline", "--trusted-root", "ours.json", "--bundle",
                    "\(Self.samples)/sigs/c3-keyless-v1tsa-email.sigstore.json",
                ] + Self.identity + ["\(Self.samples)/blobs/small.txt"])
            #expect(verified.succeeded, "\(verified.messages)")
        }
        for bad in [
            "--rekor=url=https://x,public-key=\(trust)/rekor.pub",
            "--fulcio=url=https://x,certificate-chain=\(trust)/rekor.pub",
            "--ctfe=url=https://x,public-key=\(trust)/ct.pub,start-time=yesterday", "--tsa=url=https://x",
            "--fulcio=url=https://x,certificate-chain=\(trust)/fulcio-intermediate.pem",
        ] {
            let outcome = await Program(directory: directory.path).run([
                "trusted-root", "create", "--out", "bad.json", bad,
            ])
            #expect(outcome.ending == .exit(1) && !directory.exists("bad.json"), "\(bad): \(outcome.messages)")
        }
    }

    @Test(
        "bundle create makes a bundle of older parts, as cosign 3 does where that needs no network, and both verify it")
    func createBundle() async throws {
        let (sigs, small) = ("\(Self.samples)/sigs", "\(Self.samples)/blobs/small.txt")
        func create(_ arguments: String...) async throws -> [UInt8] {
            let outcome = await Program(directory: directory.path).run(["bundle", "create"] + arguments)
            #expect(outcome.succeeded, "\(arguments): \(outcome.messages)")
            return outcome.stdout
        }
        // Without a log entry, version 0.3: the same as cosign 3's but for the spelling of the media type.
        let parts = [
            "--artifact", small, "--signature", "\(sigs)/c2-raw-c3.sig", "--key", "\(Self.samples)/keys/c3.pub",
            "--ignore-tlog",
        ]
        let ours = await Program(directory: directory.path).run(["bundle", "create", "--out", "ours.json"] + parts)
        #expect(ours.succeeded, "\(ours.messages)")
        let theirs = try await Cosign.three.run(["bundle", "create", "--out", "theirs.json"] + parts, in: directory)
        #expect(theirs.succeeded, "\(theirs.messages)")
        let (mine, other) = (
            try SigstoreBundle(parsing: directory.read("ours.json")),
            try SigstoreBundle(parsing: directory.read("theirs.json"))
        )
        #expect(mine.version == .v03 && mine.serialized() == other.serialized())
        let verify = [
            "verify-blob", "--key", "\(Self.samples)/keys/c3.pub", "--insecure-ignore-tlog", "--bundle", "ours.json",
            small,
        ]
        #expect(await Program(directory: directory.path).run(verify).succeeded)
        let read = try await Cosign.three.run(verify, in: directory)
        #expect(read.succeeded, "\(read.messages)")

        // With cosign 2's log entry, which has a promise only, version 0.1; the same checks hold as for the parts.
        try directory.write(
            "key.json",
            try await create(
                "--artifact", small, "--bundle", "\(sigs)/c2-legacy-key.json", "--key", "\(Self.samples)/keys/c2.pub"))
        try directory.write(
            "keyless.json",
            try await create(
                "--artifact", small, "--bundle", "\(sigs)/c2-tsa-legacy-keyless.json", "--rfc3161-timestamp",
                "\(sigs)/c2-tsa-legacy-keyless.tsr"))
        try directory.write(
            "attested.json",
            try await create(
                "--attestation", "\(sigs)/c2-att-legacy-key-custom.dsse.json", "--bundle",
                "\(sigs)/c2-att-legacy-key-custom.json", "--key",
                "\(Self.samples)/keys/c2.pub"))
        #expect(try SigstoreBundle(parsing: directory.read("keyless.json")).timestamps.count == 1)
        for (bundle, command, who) in [
            ("key.json", "verify-blob", ["--key", "\(Self.samples)/keys/c2.pub"]),
            ("keyless.json", "verify-blob", Self.identity),
            ("attested.json", "verify-blob-attestation", ["--key", "\(Self.samples)/keys/c2.pub"]),
        ] {
            #expect(try SigstoreBundle(parsing: directory.read(bundle)).version == .v01)
            let arguments =
                [command, "--bundle", bundle, "--trusted-root", "\(Self.samples)/trust/trusted_root.json"] + who + [
                    small
                ]
            let outcome = await Program(directory: directory.path).run(arguments)
            #expect(outcome.succeeded, "\(bundle): \(outcome.messages)")
            let read = try await Cosign.three.run(arguments, in: directory)
            #expect(read.succeeded, "cosign 3, \(bundle): \(read.messages)")
            // The bundle is for this file only.
            let foreign = await Program(directory: directory.path).run(
                arguments.dropLast() + ["\(Self.samples)/blobs/blob.bin"])
            #expect(foreign.ending == .exit(1))
        }
        try await directory.expectRefusal("no-log-entry", "--ignore-tlog", of: ["bundle", "create"] + parts.dropLast())
    }

    @Test("A bundle of millions of values is refused in little memory")
    func manyValues() async throws {
        let values = String(repeating: "0,", count: 20_000_000) + "0"
        try directory.write(
            "b.json",
            #"{"mediaType":"application/vnd.dev.sigstore.bundle.v0.3+json","verificationMaterial":{"tlogEntries":[\#(values)]}}"#
        )
        for name in ["b.json", "file.sigstore.jsonl"] {
            if name != "b.json" {
                try FileManager.default.moveItem(atPath: directory["b.json"], toPath: directory[name])
            }
            try directory.write("file", "content")
            var program = Program(directory: directory.path)
            program.measuresMemory = true
            let outcome = await program.run(
                ["verify-blob"] + Self.trust + Self.identity + (name == "b.json" ? ["--bundle", name] : []) + ["file"])
            #expect(outcome.code == "malformed-json", "\(outcome.messages)")
            #expect(outcome.peakMemory < 250_000, "\(outcome.peakMemory) KiB")
        }
    }
}

/// The list of attacks that worked on others.
struct AttackListTests {
    private static let package = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        .deletingLastPathComponent()

    @Test("Every attack that is listed has a test named for it", .needsShared)
    func attacks() throws {
        var named = ""
        let tests = Self.package.appending(path: "Tests")
        for folder in try FileManager.default.contentsOfDirectory(atPath: tests.path) where folder.hasSuffix("Tests") {
            let inside = tests.appending(path: folder)
            for name in try FileManager.default.contentsOfDirectory(atPath: inside.path) where name.hasSuffix(".swift")
            {
                let lines = try String(contentsOf: inside.appending(path: name), encoding: .utf8).split(separator: "\n")
                // A name stands in the attribute, or alone on the line after it.
                named += lines.filter { $0.contains("@Test") || $0.drop { $0 == " " }.hasPrefix("\"") }.joined(
                    separator: "\n")
            }
        }
        let list = try String(contentsOfFile: "\(sharedDirectory)/attacks.md", encoding: .utf8)
        var attacks: [String] = ["model-signing 1.0.1"]
        for word in list.split(whereSeparator: { " ,;|()\n".contains($0) })
        where word.hasPrefix("CVE-") || word.hasPrefix("GHSA-") {
            // CVE-2023-33957/8 are two.
            let parts = word.split(separator: "/").map(String.init)
            attacks.append(parts[0])
            if parts.count > 1 { attacks.append(parts[0].dropLast(parts[1].count) + parts[1]) }
        }
        #expect(attacks.count > 35)
        for attack in attacks { #expect(named.contains(attack), "no test is named for \(attack)") }
    }
}
