import Foundation
import LocalSigstore
import SigstoreCrypto
import StrictJSON
import SwSignCore
import TestServices
import Testing

/// `audit merge`: reports from files, joined or in another form.
struct AuditMergeTests {
    private let directory = TemporaryDirectory()

    /// Writes a part of a report.
    private func write(
        _ name: String, _ shard: String?, _ verdicts: [AuditRow.Verdict], first: Int = 0, format: AuditFormat = .json,
        place: String = "registry.example/app", tag: String = "v"
    ) throws {
        var rows: [AuditRow] = []
        for (index, verdict) in verdicts.enumerated() {
            let number = first + index
            rows.append(
                AuditRow(
                    place: place, names: ["\(tag)\(number)"], digest: try Digest.sha256(Array("\(number)".utf8)),
                    signed: verdict == .unsigned ? .no : .yes, verdict: verdict))
        }
        var sums = AuditSums()
        for row in rows { sums.add(row) }
        let head = AuditHead(
            started: Instant(seconds: 1_790_000_000), finished: Instant(seconds: 1_790_000_060), tool: "swsign 0.2.0",
            ranBy: "ann@example", places: [place], signers: ["the key abc="], shard: shard)
        var report: [UInt8] = []
        try format.write(head, sums, rows: { [rows] each throws(SigstoreError) in for row in rows { try each(row) } }) {
            report += $0
        }
        try directory.write(name, report)
    }

    private func merge(_ arguments: String..., environment: [String: String] = [:]) async -> Program.Outcome {
        await Program(directory: directory.path, environment: environment).run(["audit", "merge"] + arguments)
    }

    @Test("Two parts are one report: 0 if all is well, 12 if something was found, 1 if something was not seen")
    func exitCodes() async throws {
        try write("one", "1/2", [.accepted, .accepted])
        try write("two", "2/2", [.accepted], first: 2, format: .jsonl)
        let well = await merge("one", "two", "--output", "json")
        #expect(well.succeeded, "\(well.messages)")
        let report = JSONCursor(try JSONValue(parsing: well.stdout))
        #expect(try report.member("rows").elements().count == 3)
        #expect(try report.member("sums").member("rows").integer() == 3)
        #expect(try report.member("head").optional("shard") == nil)

        try write("found", "2/2", [.unsigned, .accepted], first: 2)
        let found = await merge("one", "found")
        #expect(found.ending == .exit(12) && found.code == "audit-findings", "\(found.messages)")
        #expect(found.messages.contains("1 of 4 digests should be looked at by a person"))
        #expect(found.output.contains("unsigned  v2  sha256:") && found.output.contains("3 of 4 digests are accepted."))

        try write("unseen", "2/2", [.unsigned, .couldNotLook], first: 2)
        let unseen = await merge("one", "unseen")
        #expect(unseen.ending == .exit(1) && unseen.code == "audit-incomplete", "\(unseen.messages)")
        #expect(unseen.messages.contains("1 digest could not be looked at whole; 1 of 4 digests should be"))

        let missing = await merge("one", "--output", "jsonl", "--output-file", "report")
        #expect(missing.ending == .exit(1) && missing.code == "audit-incomplete", "\(missing.messages)")
        #expect(missing.messages.contains("WARNING: parts of the audit are missing: 2\n"))
        // The report is kept, and the rest is joined to it later.
        #expect(try directory.text("report").contains("\"shard\":\"1/2\""))
        let later = await merge("report", "two")
        #expect(later.succeeded, "\(later.messages)")
    }

    @Test("Reports that do not fit together or are damaged give no report")
    func refused() async throws {
        try write("one", "1/2", [.accepted])
        try write("other", "2/2", [.accepted], first: 1, place: "registry.example/other")
        let other = await merge("one", "other")
        #expect(other.ending == .exit(1) && other.code == "reports-disagree" && other.stdout.isEmpty)
        let twice = await merge("one", "one")
        #expect(twice.code == "reports-disagree" && twice.messages.contains("the part 1/2 is in one and in one"))
        try directory.write("cut", Array(try directory.read("one").dropLast(10)))
        let cut = await merge("cut", "--output-file", "report")
        #expect(
            cut.ending == .exit(1) && cut.code == "malformed-report" && !directory.exists("report"), "\(cut.messages)")
        try directory.write("newer", try directory.text("one").replacing("\"version\":1", with: "\"version\":2"))
        #expect(await merge("newer").code == "other-report-version")
        #expect(await merge("none").code == "file-not-found")
        #expect(await merge().ending == .exit(1))
        let form = await merge("one", "--output", "pdf")
        #expect(form.ending == .exit(1) && form.messages.contains("markdown"), "\(form.messages)")
        // A report is not replaced by what is made of it.
        let before = try directory.text("one")
        let same = await merge("one", "--output", "csv", "--output-file", "one")
        #expect(same.code == "file-exists", "\(same.messages)")
        #expect(try directory.text("one") == before)
    }

    @Test(
        "On standard output no form has a control character, nor a command for a CI system",
        arguments: AuditFormat.allCases)
    func hostile(format: AuditFormat) async throws {
        let place = "::error::<script>\u{1b}[2J\u{202e}\n##[command]"
        try write("report", nil, [.accepted], place: place, tag: "=cmd()|`")
        let outcome = await merge("report", "--output", format.rawValue)
        #expect(outcome.succeeded, "\(outcome.messages)")
        let text = outcome.output
        #expect(!text.unicodeScalars.contains { $0.changesDisplay && $0 != "\n" && $0 != "\r" }, "\(text)")
        #expect(!text.contains("##[") && !text.split(separator: "\n").contains { $0.hasPrefix("::") }, "\(text)")
        if format == .json || format == .jsonl {
            #expect(!text.contains("::"))
            try directory.write("again", outcome.stdout)
            let again = await merge("again", "--output", format.rawValue)
            #expect(again.succeeded && again.stdout == outcome.stdout, "\(again.messages)")
        }
    }

    @Test(
        "Twenty thousand digests are joined in little memory, to standard output and to a file", .timeLimit(.minutes(5))
    )
    func memory() async throws {
        for part in 1...2 {
            try write(
                "part\(part)", "\(part)/2", Array(repeating: .accepted, count: 10_000), first: part * 10_000,
                format: .jsonl,
                tag: String(repeating: "t", count: 400))
        }
        var program = Program(directory: directory.path)
        program.measuresMemory = true
        let outcome = await program.run([
            "audit", "merge", "part1", "part2", "--output", "json", "--output-file", "whole",
        ])
        #expect(outcome.succeeded, "\(outcome.messages)")
        #expect(try directory.read("whole").count > 10 << 20)
        #expect(outcome.peakMemory < 64 << 10, "\(outcome.peakMemory) KiB")
        #expect(directory.names.filter { $0.hasPrefix(".tmp-") }.isEmpty)
    }

    @Test("What changed since an older report is printed in place of the report")
    func comparison() async throws {
        try write("old", nil, [.accepted, .accepted])
        try write("new", nil, [.accepted, .unsigned, .accepted])
        let outcome = await merge("new", "--compare", "old")
        #expect(outcome.ending == .exit(12), "\(outcome.messages)")
        #expect(outcome.output.contains("  verdict   registry.example/app:v1@sha256:"))
        #expect(outcome.output.hasSuffix("  accepted\n2 changes.\n"), "\(outcome.output)")
        #expect(await merge("new", "--compare", "old", "--output", "html").code == "usage")
        try directory.write("cut", Array(try directory.read("old").dropLast(10)))
        #expect(await merge("new", "--compare", "cut").code == "malformed-report")
    }

    @Test("A report is signed as an attestation that names it, and nothing else is accepted for it")
    func attested() async throws {
        try write("one", "1/2", [.accepted])
        try write("two", "2/2", [.unsigned], first: 1)
        try directory.makeKey()
        try directory.write("report.json.sigstore.json", "an older one")
        let signing = ["--attest", "--attest-key", "key.pem", "--tlog-upload=false"]
        let made = await Program(directory: directory.path).run(
            ["audit", "merge", "one", "two", "--output", "json", "--output-file", "report.json"] + signing)
        #expect(made.ending == .exit(12) && made.code == "audit-findings", "\(made.messages)")
        #expect(made.messages.contains("Wrote attestation to file report.json.sigstore.json"))
        let verifying = [
            "verify-blob-attestation", "--key", "key.pub", "--insecure-ignore-tlog", "--type", "urn:swsign:audit:v1",
            "--bundle",
            "report.json.sigstore.json",
        ]
        let verified = await Program(directory: directory.path).run(verifying + ["report.json"])
        #expect(verified.succeeded, "\(verified.messages)")
        let bundle = JSONCursor(try JSONValue(parsing: try directory.read("report.json.sigstore.json")))
        let statement = JSONCursor(try JSONValue(parsing: try bundle.member("dsseEnvelope").member("payload").bytes()))
        let subject = try #require(try statement.member("subject").elements().first)
        #expect(try subject.member("name").string() == "report.json")
        #expect(
            try subject.member("digest").member("sha256").string()
                == Digest.sha256(try directory.read("report.json")).hex)
        let predicate = try statement.member("predicate")
        #expect(try predicate.member("sums").member("findings").integer() == 1)
        #expect(try predicate.member("head").member("ranBy").string() == "ann@example")

        try directory.write("report.json", try directory.read("report.json") + [0x0a])
        let changed = await Program(directory: directory.path).run(verifying + ["report.json"])
        #expect(changed.ending == .exit(1) && changed.code == "wrong-subject", "\(changed.messages)")

        // What cannot be signed is said before anything is written.
        for (arguments, code) in [
            (["--attest", "--attest-key", "key.pem"], "usage"), (["--attest-key", "key.pem"], "usage"),
            (
                ["--attest", "--attest-key", "none.pem", "--output-file", "more", "--tlog-upload=false"],
                "file-not-found"
            ),
        ] {
            let outcome = await Program(directory: directory.path).run(["audit", "merge", "one", "two"] + arguments)
            #expect(outcome.ending == .exit(1) && outcome.code == code, "\(arguments): \(outcome.messages)")
            #expect(!directory.exists("more"))
        }
    }

    @Test("Without a key, an identity signs the report", .localSigstore)
    func attestedKeyless() async throws {
        let place = try SigningFixture()
        defer { withExtendedLifetime(place) {} }
        try write("one", nil, [.accepted])
        try place.directory.write("one", try directory.read("one"))
        let made = await place.run(
            ["audit", "merge", "one", "--output", "html", "--output-file", "report.html", "--attest", "--yes"]
                + place.services(.v1) + (try place.token()))
        #expect(made.succeeded, "\(made.messages)")
        let verified = await place.run(
            ["verify-blob-attestation", "--type", "urn:swsign:audit:v1", "--bundle", "report.html.sigstore.json"]
                + place.trust
                + place.expecting(SigningFixture.alice) + ["report.html"])
        #expect(verified.succeeded, "\(verified.messages)")
    }
}
