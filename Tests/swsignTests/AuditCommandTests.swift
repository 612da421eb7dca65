import FaultServer
import Foundation
import HTTPTransport
import LocalSigstore
import OCIRegistry
import SigstoreCrypto
import StrictJSON
import SwSignCore
import Synchronization
import TestServices
import Testing

/// `audit`: the report is compared with a table that the test makes by itself.
@Suite("audit", .localSigstore)
struct AuditCommandTests {
    /// Compares a report with what it must say.
    private func compare(
        _ outcome: Program.Outcome, _ expected: [Digest: ExpectedRow], orCouldNotLook: Bool = false
    ) throws {
        let found = try outcome.rowsByDigest()
        var wrong: [String] = []
        for (digest, row) in expected {
            guard let actual = found[digest] else {
                if !orCouldNotLook { wrong.append("\(digest) is not there: \(row)") }
                continue
            }
            if orCouldNotLook, actual.verdict == .couldNotLook, [.couldNotLook, row.signed].contains(actual.signed) {
                continue
            }
            let seen = ExpectedRow(actual)
            let isSame =
                orCouldNotLook
                ? seen.verdict == row.verdict && seen.signed == row.signed && seen.names.isSubset(of: row.names)
                : seen == row
            if !isSame { wrong.append("\(digest): expected \(row), found \(actual)") }
        }
        for (digest, row) in found where expected[digest] == nil { wrong.append("\(digest) is too much: \(row)") }
        #expect(wrong.isEmpty, "\(wrong.count) wrong: \(wrong.prefix(3).joined(separator: "\n"))")
    }

    @Test(
        "2,000 tags on 500 digests of every kind: each digest once, with all tags, and exactly right",
        arguments: RegistryKind.registries)
    func everyKind(kind: RegistryKind) async throws {
        let place = try await AuditFixture(kind)
        var expected = try await place.fill(500, tags: 4)
        // Signed with a certificate: by one who is accepted, and by another.
        let shop = try SigningFixture()
        for (name, number, identity) in [
            ("alice", 2000, SigningFixture.alice), ("bob", 2001, .email("bob@local.test")),
        ] {
            let image = try await place.push(number, tags: [name])
            let signed = await shop.run(
                ["sign"] + shop.services(.v1) + (try shop.token(identity)) + ["\(place.repository)@\(image.digest)"])
            try #require(signed.succeeded, "\(signed.messages)")
            expected[image.digest] =
                name == "alice"
                ? ExpectedRow([name], .yes, .accepted, ["bundle accepted"])
                : ExpectedRow([name], .yes, .otherSigner, ["bundle other-signer"])
        }
        // Something is attached to an image without any tag; to one that is not there; and a tag names what is attached.
        let untagged = try await place.push(3000, tags: [nil])
        try await place.signOlder(untagged, ["key"])
        expected[untagged.digest] = ExpectedRow([], .yes, .accepted, ["tag accepted"])
        var absent = untagged
        absent.digest = try Digest.sha256(Array("absent".utf8))
        try await place.signOlder(absent, ["key"])
        let referrer = try ImageFixture.manifest(
            [(Array("{}".utf8), "application/json", [:])], subject: untagged, artifactType: "application/example")
        try await place.put([Array("{}".utf8)], referrer, tags: ["attached"])
        // An image behind a name that carriers have is an image all the same.
        let hidden = try await place.push(3001, tags: ["sha256-\(String(repeating: "ab", count: 32)).sig"])
        expected[hidden.digest] = ExpectedRow(
            ["sha256-\(String(repeating: "ab", count: 32)).sig"], .no, .unsigned)
        var unread = 0
        if let local = place.registry.local {
            // What no registry should take.
            try local.placeManifest(
                Array(#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","layers":7}"#.utf8),
                mediaType: MediaType.imageManifest, tag: "broken", in: AuditFixture.path)
            let broken = try Digest.sha256(try #require(local.manifest("broken", in: AuditFixture.path)).bytes)
            expected[broken] = ExpectedRow(["broken"], .couldNotLook, .couldNotLook)
            unread = 1
        }
        let flags = [
            "--signer", "identity=alice@local.test,issuer=\(shop.services.issuer.issuer(of: SigningFixture.alice))",
        ]
        let outcome = await place.audit(shop.trust + flags + [place.repository])
        #expect(outcome.ending == .exit(unread > 0 ? 1 : 12), "\(outcome.messages)")
        try compare(outcome, expected)
        // The sums are those of the table.
        let sums = try #require(try outcome.objects().last?.optional("sums"))
        #expect(try sums.member("rows").integer() == expected.count)
        #expect(try sums.member("incomplete").integer() == unread)
        let found = expected.values.count { ![.accepted, .couldNotLook].contains($0.verdict) }
        #expect(try sums.member("findings").integer() == found)
        // What is known of an image and of a certificate's signature.
        let rows = try outcome.rows()
        let alice = try #require(rows.first { $0.names == ["alice"] })
        #expect(alice.source == "https://example.com/2000" && alice.created == "2026-01-02T03:04:05Z")
        #expect(alice.signatures.first?.identity == "alice@local.test")
        // All but one name is in order.
        #expect(
            rows.map { $0.names.first ?? "~" }.dropLast(2) == rows.map { $0.names.first ?? "~" }.dropLast(2).sorted())
    }

    @Test("All that is accepted: exit code 0; nobody named: not judged; platforms are rows of their own")
    func smallOnes() async throws {
        let place = try await AuditFixture(.referrersAPI)
        let image = try await place.push(0, tags: ["v1", "v2"])
        try await place.signNewer(image, ["key"])
        let good = await place.audit([place.repository])
        #expect(good.ending == .exit(0), "\(good.messages)")
        try compare(good, [image.digest: ExpectedRow(["v1", "v2"], .yes, .accepted, ["bundle accepted"])])
        let nobody = await place.audit([place.repository], signers: ["--insecure-ignore-tlog", "--offline"])
        #expect(nobody.ending == .exit(12), "\(nobody.messages)")
        #expect(try nobody.rows().map(\.verdict) == [.notJudged])
        // As many signers as are demanded, or not.
        let signers = ["--key", "key.pub", "--key", "old.pub", "--insecure-ignore-tlog", "--threshold", "2"]
        let few = try #require(try await place.audit([place.repository], signers: signers).rows().first)
        #expect(few.verdict == .invalid && few.failures.map(\.code) == ["too-few-signers"])
        try await place.signOlder(image, ["old"])
        #expect(try await place.audit([place.repository], signers: signers).rows().map(\.verdict) == [.accepted])

        var entries: [Descriptor] = []
        for (number, architecture) in ["amd64", "arm64", "unknown"].enumerated() {
            var one = try await place.push(10 + number, tags: [nil])
            one.platform = Platform(os: architecture == "unknown" ? "unknown" : "linux", architecture: architecture)
            entries.append(one)
        }
        let index = try ImageIndex(manifests: entries).encoded()
        try await place.put([], index, tags: ["multi"])
        try await place.signNewer(index.descriptor, ["key"])
        try await place.signOlder(entries[0], ["key"])
        let whole = await place.audit(["--platforms", place.repository])
        #expect(whole.ending == .exit(12), "\(whole.messages)")
        let rows = try whole.rowsByDigest()
        #expect(rows.count == 4 && rows[entries[2].digest] == nil)
        #expect(rows[entries[0].digest]?.platform == "linux/amd64" && rows[entries[0].digest]?.index == index.digest)
        #expect(rows[entries[0].digest]?.verdict == .accepted && rows[entries[1].digest]?.verdict == .unsigned)
        // A platform that something is attached to is reached without the flag.
        let reached = try await place.audit([place.repository]).rows()
        #expect(reached.count == 3 && reached.last?.digest == entries[0].digest && reached.last?.platform == nil)
    }

    @Test("Of a certificate's signature it is said who vouches for its time, and which logs have it")
    func certificates() async throws {
        let shop = try SigningFixture()
        var images: [String] = []
        for identity in [SigningFixture.alice, .email("bob@local.test")] {
            let image = try shop.push(identity == SigningFixture.alice ? "alice's" : "bob's")
            let signed = await shop.run(["sign"] + shop.services(.v1) + (try shop.token(identity)) + [image])
            try #require(signed.succeeded, "\(signed.messages)")
            images.append(image)
        }
        let repository = "\(shop.services.registry.address)/\(ImageFixture.path)"
        for (number, image) in images.enumerated() {
            let digest = try #require(image.split(separator: "@").last.map(String.init))
            let manifest = try #require(shop.services.registry.manifest(digest, in: ImageFixture.path))
            try shop.services.registry.placeManifest(
                manifest.bytes, mediaType: manifest.mediaType, tag: "tag\(number)", in: ImageFixture.path)
        }
        let outcome = await shop.run(
            ["audit", "--output", "jsonl"] + shop.trust + shop.expecting(SigningFixture.alice) + [repository])
        #expect(outcome.ending == .exit(12), "\(outcome.messages)")
        let rows = try outcome.rows()
        #expect(rows.map(\.verdict) == [.accepted, .otherSigner] && rows.map(\.names) == [["tag0"], ["tag1"]])
        for (row, name) in zip(rows, ["alice@local.test", "bob@local.test"]) {
            let signature = try #require(row.signatures.first)
            #expect(signature.identity == name && signature.issuer != nil && signature.key == nil)
            #expect(signature.logEntries.map(\.log) == [shop.services.rekorV1.url], "\(signature.logEntries)")
            #expect(signature.times.contains { $0.source == "transparency-log" } && signature.oldest != nil)
            #expect(signature.claims.contains { $0.name == "issuer" } && signature.checks.contains("inclusion-proof"))
        }
        // Who was accepted before is told from others.
        let bob = "identity=bob@local.test,issuer=\(shop.services.issuer.issuer(of: .email("bob@local.test")))"
        let former = await shop.run(
            ["audit", "--output", "jsonl", "--former-signer", bob] + shop.trust + shop.expecting(SigningFixture.alice)
                + [repository])
        #expect(try former.rows().map(\.verdict) == [.accepted, .formerSigner])
    }

    @Test("The parts of several machines are the whole, each digest in one of them")
    func shards() async throws {
        let place = try await AuditFixture(.referrersAPI)
        let expected = try await place.fill(60, tags: 2)
        var parts: [String] = []
        var count = 0
        for number in 1...3 {
            let part = "part\(number).json"
            let outcome = await place.directory.swsign(
                "audit", "--key", "key.pub", "--former-key", "old.pub", "--insecure-ignore-tlog", "--shard",
                "\(number)/3", "--output", "json", "--output-file", part, place.repository)
            #expect(outcome.ending == .exit(12), "\(outcome.messages)")
            parts.append(part)
            count += try JSONCursor(try JSONValue(parsing: try place.directory.read(part))).member("rows").elements()
                .count
        }
        #expect(count == expected.count)
        let joined = await Program(directory: place.directory.path).run(
            ["audit", "merge", "--output", "jsonl"] + parts)
        #expect(joined.ending == .exit(12), "\(joined.messages)")
        try compare(joined, expected)
        for bad in ["0/3", "4/3", "1", "1/0", "x/3", "-1/3", "1/10001", "1/3/3"] {
            let refused = await place.audit(["--shard", bad, place.repository])
            #expect(refused.code == "malformed-shard", "\(bad): \(refused.messages)")
        }
    }

    @Test("A run that was stopped goes on where it was, and what is kept is not asked for again")
    func state() async throws {
        let place = try await AuditFixture(.referrersAPI)
        let expected = try await place.fill(40, tags: 2)
        let local = try #require(place.registry.local)
        let flags = ["--state", "state", place.repository]
        // Half of it could not be looked at: it is looked at again.
        local.faults.add(Fault(.status(403, retryAfter: nil), path: "/referrers/", skip: 20))
        let first = await place.audit(flags)
        #expect(first.ending == .exit(1), "\(first.messages)")
        try compare(first, expected, orCouldNotLook: true)
        #expect(try first.rows().contains { $0.verdict == .couldNotLook })
        local.faults.removeAll()
        let second = await place.audit(flags)
        #expect(second.ending == .exit(12) && second.messages.contains("rows of an earlier run"), "\(second.messages)")
        try compare(second, expected)
        // Now all of it is kept: tags are asked for, and nothing else.
        let before = local.server.requests.count
        let third = await place.audit(flags)
        try compare(third, expected)
        let asked = local.server.requests.dropFirst(before)
        #expect(asked.allSatisfy { $0.method == "HEAD" || $0.target.contains("/tags/list") || $0.target == "/v2/" })
        #expect(asked.count <= 84, "\(asked.count)")

        // Cut short: the last line is dropped, and said.
        let whole = try place.directory.read("state")
        try place.directory.write("state", Array(whole.dropLast(10)))
        let cut = await place.audit(flags)
        #expect(cut.messages.contains("cut short"), "\(cut.messages)")
        try compare(cut, expected)
        // Another question, another version, something else.
        let other = await place.audit(["--platforms"] + flags)
        #expect(other.code == "unusable-state" && other.messages.contains("asked something else"))
        let lines = String(decoding: whole, as: UTF8.self)
        for text in [
            lines.replacingOccurrences(of: #""auditState":1"#, with: #""auditState":2"#), "{}\n", "text\n",
            lines.replacingOccurrences(of: #""verdict""#, with: #""verdikt""#),
        ] {
            try place.directory.write("state", text)
            let refused = await place.audit(flags)
            #expect(refused.ending == .exit(1) && refused.code == "unusable-state", "\(refused.messages)")
            #expect(try place.directory.text("state") == text)
        }
    }

    @Test("With half of the requests failing: the same rows, or could not look", .timeLimit(.minutes(10)))
    func halfFails() async throws {
        let place = try await AuditFixture(.referrersAPI)
        let expected = try await place.fill(60, tags: 2)
        let target = try #require(place.registry.address)
        let count = Mutex(0)
        let client = CurlClient()
        let proxy = FaultServer { request, connection in
            let number = count.withLock { count in
                count += 1
                return count
            }
            // Neither every other one of a kind, nor at random.
            if (number &* 2_654_435_761) >> 7 & 1 == 1, request.path != "/v2/" {
                return connection.respond([500, 503, 429][number % 3], [], "{}")
            }
            let done = DispatchSemaphore(value: 0)
            let answer = Mutex<HTTPResponse?>(nil)
            Task {
                let url = try HTTPURL(parsing: "http://\(target)\(request.target)")
                let headers = request.headers.filter { $0.name == "accept" }
                let response = try? await client.send(
                    HTTPRequest(
                        request.method, url, headers: headers, handledStatuses: Set(400...599)))
                answer.withLock { $0 = response }
                done.signal()
            }
            done.wait()
            guard let response = answer.withLock({ $0 }) else { return connection.reset() }
            let kept = response.headers.filter {
                ["content-type", "docker-content-digest", "link"].contains($0.name)
            }.map { "\($0.name): \($0.value)" }
            if request.method == "HEAD" {
                let size = response.headers.filter { $0.name == "content-length" }.map { "Content-Length: \($0.value)" }
                connection.respondHead(response.status, kept + size)
            } else {
                connection.respond(response.status, kept, response.body)
            }
        }
        defer { proxy.stop() }
        let outcome = await place.audit(["--max-workers", "30", "\(proxy.authority)/\(AuditFixture.path)"])
        #expect(outcome.ending == .exit(1) || outcome.ending == .exit(12), "\(outcome.messages)")
        try compare(outcome, expected, orCouldNotLook: true)
        let rows = try outcome.rows()
        // Whatever could not be asked for is said: no tag is lost.
        let names = Set(rows.flatMap(\.names))
        if !rows.contains(where: { $0.names.isEmpty }) {
            #expect(names == expected.values.reduce(into: Set<String>()) { $0.formUnion($1.names) })
        }
        #expect(rows.count { $0.verdict != .couldNotLook } > 10)
    }

    @Test("A registry that asks to be left alone is, by all requests, and every row comes out right")
    func tooManyRequests() async throws {
        let place = try await AuditFixture(.referrersAPI)
        let expected = try await place.fill(20, tags: 1)
        let local = try #require(place.registry.local)
        local.faults.add(Fault(.status(429, retryAfter: 1), path: "/manifests/", skip: 30, count: 4))
        let before = local.server.requests.count
        let start = ContinuousClock.now
        let outcome = await place.audit(["--max-workers", "4", place.repository])
        #expect(outcome.ending == .exit(12), "\(outcome.messages)")
        try compare(outcome, expected)
        #expect(start.duration(to: .now) > .seconds(1))
        // What was under way may be refused as well; nothing else is asked until the time is over.
        let answers = local.server.requests.dropFirst(before).map { $0.status ?? 0 }
        let first = try #require(answers.firstIndex(of: 429))
        let last = try #require(answers.lastIndex(of: 429))
        #expect(answers.count { $0 == 429 } == 4 && last - first < 20, "\(answers)")
        // It never ends: no row is wrong.
        local.faults.removeAll()
        local.faults.add(Fault(.status(429, retryAfter: 3600), path: "/referrers/"))
        let refused = await place.audit([place.repository])
        #expect(refused.ending == .exit(1), "\(refused.messages)")
        try compare(refused, expected, orCouldNotLook: true)
        #expect(try !refused.rows().contains { $0.verdict == .unsigned })
    }

    @Test("What beside its signatures could not be looked at is said, and looked at again")
    func partlyUnread() async throws {
        let place = try await AuditFixture(.referrersAPI)
        let image = try await place.push(0, tags: ["v1"])
        try await place.signNewer(image, ["key"])
        let local = try #require(place.registry.local)
        let config = try #require(try await place.store.manifest(.digest(image.digest))?.image?.config.digest)
        local.faults.add(Fault(.status(403, retryAfter: nil), path: "/blobs/\(config)"))
        let flags = ["--state", "state", place.repository]
        let unread = await place.audit(flags)
        #expect(unread.ending == .exit(1) && unread.code == "audit-incomplete", "\(unread.messages)")
        let row = try #require(try unread.rows().first)
        #expect(row.verdict == .accepted && row.isPartlyUnread && row.failures.map(\.code) == ["denied"], "\(row)")
        local.faults.removeAll()
        let again = await place.audit(flags)
        #expect(again.ending == .exit(0), "\(again.messages)")
        #expect(try again.rows().first?.source == "https://example.com/0")

        // An index that only its own part could read: the platforms of other parts are not passed over in silence.
        var entries: [Descriptor] = []
        for (number, architecture) in ["amd64", "arm64", "riscv64", "s390x"].enumerated() {
            var one = try await place.push(10 + number, tags: [nil])
            one.platform = Platform(os: "linux", architecture: architecture)
            entries.append(one)
        }
        let index = try ImageIndex(manifests: entries).encoded()
        try await place.put([], index, tags: ["multi"])
        local.faults.add(Fault(.status(403, retryAfter: nil), method: "GET", path: "/manifests/\(index.digest)"))
        for number in 1...2 {
            let part = await place.audit(["--platforms", "--shard", "\(number)/2", place.repository])
            #expect(part.ending == .exit(1) && part.code == "audit-incomplete", "\(part.messages)")
            #expect(try part.rows().contains { $0.names == ["multi"] && $0.verdict == .couldNotLook }, "\(part.output)")
        }
        // The same if the row of the index is kept, and its platforms cannot be had any more.
        local.faults.removeAll()
        let kept = ["--platforms", "--state", "platforms", place.repository]
        let whole = await place.audit(kept)
        #expect(whole.ending == .exit(12), "\(whole.messages)")
        local.faults.add(Fault(.status(403, retryAfter: nil), method: "GET", path: "/manifests/\(index.digest)"))
        let later = await place.audit(kept)
        #expect(later.ending == .exit(1) && later.code == "audit-incomplete", "\(later.messages)")
        #expect(try later.rowsByDigest()[index.digest]?.isPartlyUnread == true)
    }

    @Test("A list of tags saves questions, and never makes what is signed unsigned")
    func listedTags() async throws {
        let place = try await AuditFixture(.referrersAPI)
        let (newer, older) = (try await place.push(0, tags: ["newer"]), try await place.push(1, tags: ["older"]))
        try await place.signNewer(newer, ["key"])
        try await place.signOlder(older, ["key"])
        let local = try #require(place.registry.local)
        func asked() -> [String] {
            local.server.requests.map(\.target).filter { $0.hasSuffix(".sig") || $0.hasSuffix(".att") }
        }
        local.server.forgetRequests()
        #expect(await place.audit([place.repository]).ending == .exit(0))
        // Of the one that is accepted by its bundle, nothing is asked that no tag names.
        #expect(
            asked().count { $0.contains(newer.digest.hex) } == 0 && asked().count { $0.contains(older.digest.hex) } == 1
        )
        // A list that leaves out the tag of a signature, as one that is older than it.
        local.faults.add(
            Fault(
                .answer(
                    200, contentType: "application/json", body: Array(#"{"name":"x","tags":["newer","older"]}"#.utf8)),
                path: "/tags/list"))
        let stale = await place.audit([place.repository])
        #expect(stale.ending == .exit(0), "\(stale.messages)")
        #expect(try stale.rows().map(\.verdict) == [.accepted, .accepted])
    }

    @Test("Layouts and folders of files are audited too")
    func layoutsAndFiles() async throws {
        let directory = TemporaryDirectory()
        try directory.makeKey("key")
        try directory.makeKey("other")
        let images = try await directory.makeImages("img")
        try await directory.sign("oci-layout:img:one", older: false)
        try await directory.sign("oci-layout:img:multi", older: true)
        func audit(_ arguments: String...) async -> Program.Outcome {
            await Program(directory: directory.path).run(
                ["audit", "--key", "key.pub", "--insecure-ignore-tlog", "--output", "jsonl"] + arguments)
        }
        let layout = await audit("oci-layout:img")
        #expect(layout.ending == .exit(0), "\(layout.messages)")
        let rows = try layout.rowsByDigest()
        #expect(rows[images.one]?.verdict == .accepted && rows[images.multi]?.names == ["multi"])
        #expect(try await audit("img").rows().count == rows.count)

        try directory.makeDirectory("dist/deep")
        for name in ["signed", "deep/other", "unsigned", "attested", "damaged"] {
            try directory.write("dist/\(name)", "content of \(name)")
        }
        func sign(_ name: String, _ key: String) async throws {
            try await directory.must(
                "sign-blob", "--key", "\(key).pem", "--tlog-upload=false", "--bundle", "dist/\(name).sigstore.json",
                "dist/\(name)")
        }
        try await sign("signed", "key")
        try await sign("deep/other", "other")
        try directory.write("dist/damaged.sigstore.json", "{")
        try directory.write("predicate.json", "{}")
        try await directory.must(
            "attest-blob", "--key", "key.pem", "--tlog-upload=false", "--type", "custom", "--predicate",
            "predicate.json",
            "--bundle", "dist/attested.sigstore.json", "dist/attested")
        let files = await audit("dist")
        #expect(files.ending == .exit(12), "\(files.messages)")
        var verdicts: [String: AuditRow.Verdict] = [:]
        for row in try files.rows() { verdicts[row.names[0]] = row.verdict }
        #expect(
            verdicts == [
                "signed": .accepted, "deep/other": .invalid, "unsigned": .unsigned, "attested": .unsigned,
                "damaged": .invalid,
            ], "\(verdicts)")
        let attested = try #require(try files.rows().first { $0.names == ["attested"] })
        #expect(attested.attestations.map(\.verdict) == [.accepted] && attested.signed == .no)
    }

    @Test("What names no place, and registries that list nothing, are told")
    func places() async throws {
        let place = try await AuditFixture(.referrersAPI)
        let image = try await place.push(0, tags: ["v1"])
        try await place.signNewer(image, ["key"])
        let local = try #require(place.registry.local)
        let address = local.address
        // Every repository of a registry, and those in a file.
        let all = await place.audit(["--catalog", address])
        #expect(all.ending == .exit(0), "\(all.messages)")
        #expect(try all.rows().map(\.names) == [["v1"]])
        try place.directory.write("places", "# ours\n\n  \(place.repository)\r\n\(place.repository)\n")
        #expect(try await place.audit(["--repositories", "places"]).rows().count == 1)
        for status in [401, 403, 404, 405, 500] {
            local.faults.removeAll()
            local.faults.add(Fault(.status(status, retryAfter: nil), path: "/v2/_catalog"))
            let none = await place.audit(["--catalog", address, place.repository])
            #expect(none.ending == .exit(1), "\(none.messages)")
            // What was found all the same is kept.
            #expect(try none.rows().map(\.verdict) == [.couldNotLook, .accepted], "\(none.output)")
        }
        local.faults.removeAll()
        let missing = await place.audit(["\(address)/none"])
        #expect(missing.ending == .exit(1) && missing.output.contains("there is no repository"))
        for (arguments, code) in [
            ([], "usage"), (["\(place.repository):v1"], "malformed-reference"),
            (["\(place.repository)@\(image.digest)"], "malformed-reference"), (["./nothing"], "file-not-found"),
            (["key.pub"], "malformed-reference"), (["--repositories", "none"], "file-not-found"),
        ] {
            let refused = await place.audit(arguments)
            #expect(refused.ending == .exit(1) && refused.code == code, "\(arguments): \(refused.messages)")
            #expect(refused.stdout.isEmpty)
        }
    }

    @Test("Lists that never end, repeat themselves, are null or broken: a row says so, and what was found is kept")
    func hostileLists() async throws {
        var configuration = LocalRegistry.Configuration()
        configuration.tagsPage = 1
        let place = try await AuditFixture(.referrersAPI, configuration)
        let image = try await place.push(0, tags: ["a", "b"])
        try await place.signNewer(image, ["key"])
        let local = try #require(place.registry.local)
        let list = "/tags/list"
        func json(_ text: String) -> Fault.Action {
            .answer(200, contentType: "application/json", body: Array(text.utf8))
        }
        // The second page fails, or is the first one for ever; the tags of the first are looked at.
        for action in [
            Fault.Action.status(500, retryAfter: nil), json(#"{"tags":[7]}"#), json(#"{"tags":["../x"]}"#), json("["),
            json(#"{"tags":["a"]}"#), .status(403, retryAfter: nil),
        ] {
            local.faults.removeAll()
            local.faults.add(Fault(action, path: list, skip: 1))
            let outcome = await place.audit([place.repository])
            #expect(outcome.ending == .exit(1), "\(action): \(outcome.messages)")
            let rows = try outcome.rows()
            #expect(
                rows.map(\.verdict) == [.couldNotLook, .accepted] && rows.last?.names == ["a"], "\(action): \(rows)")
        }
        // One that is no tag hides no others, before it or behind it.
        local.faults.removeAll()
        local.faults.add(Fault(json(#"{"tags":["a","<script>","b"]}"#), path: list))
        let odd = await place.audit([place.repository])
        #expect(odd.ending == .exit(1), "\(odd.messages)")
        #expect(try odd.rows().map(\.verdict) == [.couldNotLook, .accepted] && odd.rows().last?.names == ["a", "b"])
        local.faults.removeAll()
        local.faults.add(
            Fault(json(#"{"repositories":["=cmd()","\#(AuditFixture.path)","../x"]}"#), path: "/v2/_catalog"))
        let strange = await place.audit(["--catalog", local.address])
        #expect(strange.ending == .exit(1), "\(strange.messages)")
        #expect(try strange.rows().map(\.verdict) == [.couldNotLook, .accepted], "\(strange.output)")
        local.faults.removeAll()
        local.faults.add(Fault(.endlessPages, path: list))
        let endless = await place.audit([place.repository])
        #expect(endless.ending == .exit(1), "\(endless.messages)")
        #expect(try endless.rows().last?.verdict == .accepted)
        // A list of nothing is an answer, and no proof that all is well.
        local.faults.removeAll()
        local.faults.add(Fault(json(#"{"tags":null}"#), path: list))
        let empty = await place.audit([place.repository])
        #expect(empty.ending == .exit(1) && empty.messages.contains("nothing was audited"), "\(empty.messages)")
        // A tag that goes away, or whose content is another one.
        local.faults.removeAll()
        local.faults.add(Fault(.status(404, retryAfter: nil), method: "HEAD", path: "/manifests/b"))
        let gone = await place.audit([place.repository])
        #expect(gone.ending == .exit(1), "\(gone.messages)")
        #expect(try gone.rows().map(\.names) == [["b"], ["a"]])
        local.faults.removeAll()
        local.faults.add(Fault(.corruptBody, method: "GET", path: "/manifests/sha256:"))
        let changed = await place.audit([place.repository])
        #expect(changed.ending == .exit(1), "\(changed.messages)")
        #expect(try changed.rows().map(\.verdict) == [.couldNotLook])
        // The blob of the signature cannot be had: it is not unsigned.
        local.faults.removeAll()
        local.faults.add(Fault(.status(403, retryAfter: nil), path: "/blobs/"))
        let unread = try #require(try await place.audit([place.repository]).rows().first)
        #expect(unread.signed == .couldNotLook && unread.verdict == .couldNotLook)
    }
}
