import Foundation
import SigstoreCrypto
import StrictJSON
import SwSignCore
import Testing

/// A report as tests make them.
struct SampleReport {
    var head: AuditHead
    var rows: [AuditRow]

    /// 2026-11-27T01:02:03Z.
    static let start = Instant(seconds: 1795741323)

    init(rows: [AuditRow] = [], shard: String? = nil, signers: [String] = ["the key abc="]) {
        head = AuditHead(
            started: Self.start, finished: Instant(milliseconds: Self.start.milliseconds + 61_500), tool: "program 1.0",
            ranBy: "ann@host", places: ["registry.example/app"], signers: signers, shard: shard)
        self.rows = rows
    }

    var sums: AuditSums {
        var sums = AuditSums()
        for row in rows { sums.add(row) }
        return sums
    }

    func text(_ format: AuditFormat, columns: Int? = nil) throws -> String {
        var bytes: [UInt8] = []
        let rows = rows
        try format.write(
            head, sums, rows: { each throws(SigstoreError) in for row in rows { try each(row) } }, columns: columns
        ) {
            bytes += $0
        }
        return try #require(String(validating: bytes, as: UTF8.self))
    }

    /// Writes the report to a file that the system clears away.
    func file(_ format: AuditFormat = .json) throws -> AuditReportFile { try Self.file(try text(format)) }

    static func file(_ text: String) throws -> AuditReportFile {
        let path = FileManager.default.temporaryDirectory.appending(path: "report-\(UUID().uuidString)").path
        try text.write(toFile: path, atomically: false, encoding: .utf8)
        // It stays open.
        defer { try? FileManager.default.removeItem(atPath: path) }
        return try AuditReportFile(path)
    }

    /// A row of that digest and verdict, with one signature if the verdict needs one.
    static func row(
        _ number: Int, _ verdict: AuditRow.Verdict = .accepted, names: [String]? = nil,
        place: String = "registry.example/app",
        time: String = "2026-03-04T05:06:07Z"
    ) throws -> AuditRow {
        var row = AuditRow(
            place: place, names: names ?? ["v\(number)"], digest: try Digest.sha256(Array("\(number)".utf8)),
            signed: verdict == .unsigned ? .no : verdict == .couldNotLook ? .couldNotLook : .yes, verdict: verdict)
        let kinds: [AuditRow.Verdict: AuditSignature.Verdict] = [
            .accepted: .accepted, .formerSigner: .formerSigner, .otherSigner: .otherSigner, .invalid: .invalid,
        ]
        guard let kind = kinds[verdict] else { return row }
        var signature = AuditSignature(scheme: "bundle", verdict: kind)
        signature.key = "abc="
        signature.times = [
            AuditSignature.Time(
                try #require(Instant(rfc3339: time)), source: "timestamp-authority", name: "https://tsa.example")
        ]
        signature.checks = ["bundle", "signature"]
        row.signatures = [signature]
        return row
    }

    /// A row in which every text is the same.
    static func row(saying text: String) throws -> AuditRow {
        var row = AuditRow(
            place: text, names: [text, "v1"], digest: try Digest.sha256(Array(text.utf8)), signed: .yes,
            verdict: .accepted)
        (row.platform, row.mediaType, row.created, row.source, row.revision) = (text, text, text, text, text)
        row.index = row.digest
        row.sboms = [text]
        row.policies = [(name: text, verdict: text)]
        row.failures = [AuditFailure(code: text, message: text)]
        var signature = AuditSignature(scheme: text, verdict: .accepted)
        (signature.key, signature.identity, signature.issuer) = (text, text, text)
        (signature.predicateType, signature.builder, signature.source) = (text, text, text)
        signature.claims = [(name: text, value: text)]
        signature.times = [AuditSignature.Time(start, source: text, name: text)]
        signature.logEntries = [AuditSignature.LogEntry(log: text, index: .max)]
        signature.slsaLevel = 3
        signature.checks = [text]
        signature.failure = AuditFailure(code: text, message: text)
        row.signatures = [signature]
        row.attestations = [signature]
        return row
    }

    static let hostile = [
        "<script>document.title='x'</script>", "</style><img src=x onerror=alert(1)>", "=cmd|' /C calc'!A0", " \t=1+1",
        "+1", "-1", "@SUM(A1)", "\r\n=1", "＝1+1", "a|b|c", "a\\|b", "`|`", "``` | ``", "a\nb\r\nc\u{2028}d\u{85}e",
        "\u{202e}gnp.exe",
        "\u{1b}[2J\u{1b}]0;x\u{7}", "\"quoted\",\"more\"", "'", "&amp;&#x3c;", "::error::x", "##[section]x", "##vso[x]",
        "\u{0}", "",
        "   ", "| --- |", "](javascript:x)", "é\u{301}\u{200d}\u{feff}", "https://x.example/_a_*b*",
    ]

    /// A report with every hostile text in every place.
    static func hostileReport() throws -> SampleReport {
        var report = SampleReport(rows: try hostile.map(row(saying:)), signers: hostile)
        (report.head.tool, report.head.ranBy) = (hostile[0], hostile[13])
        (report.head.places, report.head.formerSigners) = (hostile, hostile)
        report.head.shard = hostile[9]
        return report
    }
}

/// The forms of an audit's report, and reading them back.
struct AuditReportTests {
    private func every() throws -> SampleReport {
        SampleReport(rows: try AuditRow.Verdict.allCases.enumerated().map { try SampleReport.row($0, $1) })
    }

    private func json(_ rows: [AuditRow]) -> [[UInt8]] { rows.map { $0.json().serialized() } }

    @Test("What json and jsonl say is read back, whatever the texts are", arguments: [AuditFormat.json, .jsonl])
    func read(format: AuditFormat) throws {
        for report in [try every(), try SampleReport.hostileReport(), SampleReport()] {
            let file = try report.file(format)
            #expect(file.head.json().serialized() == report.head.json().serialized())
            // As often as one likes.
            for _ in 0..<2 {
                var rows: [AuditRow] = []
                let sums = try file.read { rows.append($0) }
                #expect(json(rows) == json(report.rows))
                #expect(sums.json().serialized() == report.sums.json().serialized())
            }
        }
        // As another program writes it: spaces, line breaks, escapes.
        let pretty = try JSONSerialization.jsonObject(with: Data(try every().text(.json).utf8))
        #expect(pretty is [String: Any])
        let spaced = try every().text(format).replacing("\":", with: "\" \n:\t").replacing(",\"", with: " ,\r\n\"")
        #expect(try SampleReport.file(spaced).read { _ in }.rows == 7)
    }

    private func refusal(_ text: String, sourceLocation: SourceLocation = #_sourceLocation) -> SigstoreError.Code? {
        do {
            try SampleReport.file(text).read { _ in }
            Issue.record("it was read: \(text.prefix(300))", sourceLocation: sourceLocation)
            return nil
        } catch { return (error as? SigstoreError)?.code }
    }

    @Test("A report that is cut short anywhere is refused", arguments: [AuditFormat.json, .jsonl])
    func cut(format: AuditFormat) throws {
        let bytes = Array(try SampleReport(rows: [try SampleReport.row(1), try SampleReport.row(2)]).text(format).utf8)
        for length in bytes.indices.dropLast() {
            #expect(refusal(String(decoding: bytes.prefix(length), as: UTF8.self)) == .malformedReport, "\(length)")
        }
        // The line break at its end is no loss.
        #expect(try SampleReport.file(String(decoding: bytes.dropLast(), as: UTF8.self)).read { _ in }.rows == 2)
    }

    @Test("A report of another version, with other members or sums, or with hostile numbers or nesting, is refused")
    func refused() throws {
        for format in [AuditFormat.json, .jsonl] {
            let text = try every().text(format)
            for version in ["2", "0", "\"1\"", "1.0", "null", "99999999999999999999999"] {
                #expect(
                    refusal(text.replacing("\"version\":1,", with: "\"version\":\(version),")) == .otherReportVersion)
            }
            for (old, new) in [
                ("\"version\":1", "\"verdict\":1"), ("\"ranBy\":", "\"other\":1,\"ranBy\":"),
                ("\"ranBy\":\"ann@host\",", ""), ("\"place\":", "\"more\":1,\"place\":"),
                ("\"findings\":5", "\"findings\":4"),
                ("\"rows\":7", "\"rows\":8"), ("\"incomplete\":1", "\"incomplete\":0"),
                ("\"oldest\":\"2026", "\"oldest\":\"2025"),
                ("\"verdict\":\"unsigned\"", "\"verdict\":\"accepted\""),
                ("\"verdict\":\"unsigned\"", "\"verdict\":\"fine\""),
                ("\"names\":[\"v1\"]", "\"names\":[\"v1\",]"), ("\"names\":[\"v1\"]", "\"names\":[1]"),
                ("\"scheme\":\"bundle\"", "\"scheme\":\"bundle\",\"scheme\":\"bundle\""),
                ("\"names\":[\"v1\"]", "\"names\":" + String(repeating: "[", count: 100_000)),
                ("\"scheme\":\"bundle\"", "\"scheme\":\"bundle\",\"slsaLevel\":1e400"),
                ("\"scheme\":\"bundle\"", "\"scheme\":\"bundle\",\"slsaLevel\":99999999999999999999"),
                ("\"names\":[\"v1\"]", "\"names\":[\"\(String(repeating: "x", count: 17 << 20))\"]"),
            ] {
                let changed = text.replacing(old, with: new, maxReplacements: 1)
                #expect(changed != text, "\(old)")
                #expect(refusal(changed) == .malformedReport, "\(old) \(new.prefix(100))")
            }
            #expect(refusal(text + "{}") == .malformedReport)
            #expect(refusal(text + text) == .malformedReport)
            #expect(refusal("\u{feff}" + text) == .malformedReport)
            // A row that stands twice, and one that is gone.
            let row = String(decoding: try SampleReport.row(2, .unsigned).json().serialized(), as: UTF8.self)
            let line = format == .json ? row + ",\n" : "{\"row\":\(row)}\n"
            #expect(text.contains(line))
            #expect(refusal(text.replacing(line, with: "")) == .malformedReport)
            #expect(refusal(text.replacing(line, with: line + line)) == .malformedReport)
        }
        for text in ["", "{", "[]", "null", "{}", "\"", "}", "{\"version\":1}", "{\"version\":1,\"head\":{}}"] {
            #expect(refusal(text) == .malformedReport, "\(text)")
        }
        #expect(throws: SigstoreError.self) { try AuditReportFile("/nowhere/report.json") }
        #expect(throws: SigstoreError.self) { try AuditReportFile("/dev/zero") }
    }

    @Test("No character of any form does anything but show a glyph", arguments: AuditFormat.allCases)
    func characters(format: AuditFormat) throws {
        let text = try SampleReport.hostileReport().text(format)
        let breaks: Set<Unicode.Scalar> = format == .csv ? ["\r", "\n"] : ["\n"]
        #expect(!text.unicodeScalars.contains { $0.changesDisplay && !breaks.contains($0) })
        if format != .json, format != .jsonl {
            #expect(text.contains("\\u{202e}gnp.exe"))
            #expect(!text.contains("##[") && !text.contains("##vso["))
            #expect(!text.split(whereSeparator: \.isNewline).contains { $0.drop { $0 == " " }.hasPrefix("::") })
        }
    }

    /// Reads comma-separated values as RFC 4180 has them.
    private func records(_ text: String) throws -> [[String]] {
        var records: [[String]] = []
        var (cells, cell, isQuoted): ([String], String, Bool) = ([], "", false)
        var rest = text.unicodeScalars[...]
        while let scalar = rest.popFirst() {
            if isQuoted {
                if scalar != "\"" {
                    cell.unicodeScalars.append(scalar)
                } else if rest.first == "\"" {
                    cell += "\""
                    rest.removeFirst()
                } else {
                    isQuoted = false
                }
            } else if scalar == "\"" {
                try #require(cell.isEmpty)
                isQuoted = true
            } else if scalar == "," || scalar == "\r" {
                cells.append(cell)
                cell = ""
                if scalar == "\r" {
                    try #require(rest.popFirst() == "\n")
                    records.append(cells)
                    cells = []
                }
            } else {
                Issue.record("\(scalar) stands outside of quotes")
            }
        }
        try #require(!isQuoted && cells.isEmpty && cell.isEmpty)
        return records
    }

    @Test("In csv each digest is a record of as many cells, and none begins a formula")
    func csv() throws {
        let report = try SampleReport.hostileReport()
        let records = try records(try report.text(.csv))
        #expect(records.count == report.rows.count + 1)
        #expect(records.allSatisfy { $0.count == 20 })
        for cell in records.joined() {
            let first = cell.unicodeScalars.first { !$0.properties.isWhitespace }
            #expect(first.map { "=+-@＝＋－＠\t\r".unicodeScalars.contains($0) } != true, "\(cell)")
        }
        // What is harmless is as it was.
        let plain = try self.records(try every().text(.csv))
        #expect(plain[0].prefix(3) == ["place", "names", "digest"])
        let accepted = try #require(plain.last)
        #expect(accepted[0] == "registry.example/app" && accepted[1] == "v6" && accepted[10] == "accepted")
        #expect(accepted[11] == "the key abc=" && accepted[12] == "2026-03-04T05:06:07Z")
    }

    @Test("In markdown tables stay whole, and no text is taken for a tag, a link or a style")
    func markdown() throws {
        let report = try SampleReport.hostileReport()
        let text = try report.text(.markdown)
        let lines = text.split(separator: "\n", omittingEmptySubsequences: false)
        let digests = try #require(lines.firstIndex(of: "## Digests"))
        let table = lines[(digests + 2)...].filter { !$0.isEmpty }
        #expect(table.count == report.rows.count + 2)
        for line in table {
            #expect(line.count { $0 == "|" } == 8 && line.hasPrefix("| ") && line.hasSuffix(" |"), "\(line)")
        }
        // Outside of code there is nothing from outside.
        for line in lines where line.hasPrefix("|") {
            #expect(line.count { $0 == "`" } % 2 == 0)
            let outside = line.split(separator: "`", omittingEmptySubsequences: false).enumerated()
                .filter { $0.offset % 2 == 0 }.map { $0.element.replacing("<br>", with: "") }.joined()
            #expect(!outside.contains("script") && !outside.contains("http") && !outside.contains("<"), "\(outside)")
        }
        #expect(!text.contains("<script") && !text.contains("<img"))
    }

    @Test("The page has one script and one style, its own, which its policy allows by their digests")
    func html() throws {
        let report = try SampleReport.hostileReport()
        let page = try report.text(.html)
        func between(_ start: String, _ end: String) throws -> String {
            let parts = page.components(separatedBy: start)
            try #require(parts.count == 2, "\(start)")
            return parts[1].components(separatedBy: end)[0]
        }
        let policy = try between("http-equiv=\"Content-Security-Policy\" content=\"", "\"")
        for (kind, text) in [
            ("style", try between("<style>", "</style>")), ("script", try between("<script>", "</script>")),
        ] {
            let digest = Base64.encode(try Digest.sha256(Array(text.utf8)).bytes)
            #expect(policy.contains("\(kind)-src 'sha256-\(digest)';"), "\(policy)")
        }
        #expect(policy.hasPrefix("default-src 'none';") && !policy.contains("unsafe"))
        #expect(page.lowercased().components(separatedBy: "<script").count == 2 && !page.contains("<img"))
        #expect(!page.contains("style=") && !page.contains(" onerror=alert(1)>"))
        #expect(page.components(separatedBy: "<details class=\"accepted\"").count == report.rows.count + 1)
        #expect(page.contains("&lt;script&gt;document.title=&#39;x&#39;&lt;/script&gt;"))
        // No text ends an attribute or a tag.
        for tag in page.matches(of: /<[a-zA-Z\/!][^>]*>/) where tag.output.contains("\"") {
            #expect(tag.output.count { $0 == "\"" } % 2 == 0, "\(tag.output)")
        }
    }

    @Test("The chart counts the months of the oldest accepted signatures; many are drawn by year")
    func chart() throws {
        let times = ["2026-01-05T00:00:00Z", "2026-01-30T00:00:00Z", "2026-04-01T00:00:00Z"]
        var report = SampleReport(rows: try times.enumerated().map { try SampleReport.row($0, time: $1) })
        report.rows.append(try SampleReport.row(9, .formerSigner, time: "2020-01-01T00:00:00Z"))
        let page = try report.text(.html)
        #expect(page.contains("from 2026-01 to 2026-04"))
        for (month, count) in [("2026-01", 2), ("2026-02", 0), ("2026-03", 0), ("2026-04", 1)] {
            #expect(page.contains("<title>\(month): \(count)</title>"))
        }
        #expect(!page.contains("2026-05") && page.contains("<tr><th scope=\"row\">2026-04</th><td>1</td></tr>"))
        report.rows.append(try SampleReport.row(10, time: "0001-01-01T00:00:00Z"))
        report.rows.append(try SampleReport.row(11, time: "9999-12-01T00:00:00Z"))
        let long = try report.text(.html)
        #expect(long.contains("<title>9999: 1</title>") && long.utf8.count < 200_000)
        // Without a proven time there is no chart.
        var row = try SampleReport.row(1)
        row.signatures[0].times = [AuditSignature.Time(SampleReport.start, source: "clock", name: "")]
        let unproven = try SampleReport(rows: [row]).text(.html)
        #expect(!unproven.contains("<svg") && unproven.contains("1 digest has no proven time"))
    }

    @Test("The table names places once, says who signed or why not, and is no wider than the terminal")
    func table() throws {
        var report = try every()
        report.rows[0].failures = [AuditFailure(code: "unreachable", message: "the registry does not answer")]
        report.rows[6].names = ["v6", "latest", "stable"]
        let text = try report.text(.table)
        let lines = text.split(separator: "\n").map(String.init)
        #expect(lines[0] == "registry.example/app" && lines.count { $0 == "registry.example/app" } == 1)
        #expect(
            lines[1].hasPrefix("  could-not-look  v0")
                && lines[1].hasSuffix("  the registry does not answer [unreachable]"))
        #expect(
            lines[7].hasPrefix("  accepted        v6 +2  sha256:") && lines[7].hasSuffix("the key abc="), "\(lines[7])")
        #expect(
            text.hasSuffix(
                """
                Verdicts:
                  1 could-not-look
                  1 invalid
                  1 unsigned
                  1 other-signer
                  1 former-signer
                  1 not-judged
                  1 accepted
                1 of 7 digests is accepted.
                5 should be looked at by a person.
                1 could not be looked at whole: they may be signed or not.

                """), "\(text)")
        #expect(text.contains("oldest 2026-03-04, 267 days ago; newest 2026-03-04, 267 days ago"), "\(text)")
        // Places that come again and again stand in each line.
        report.rows.insert(try SampleReport.row(8, place: "registry.example/other"), at: 3)
        let mixed = try report.text(.table).split(separator: "\n").map(String.init)
        #expect(mixed[0].hasPrefix("  could-not-look  registry.example/app:v0"), "\(mixed)")
        #expect(mixed[3].hasPrefix("  accepted        registry.example/other:v8   sha256:"), "\(mixed)")
        let narrow = try SampleReport.hostileReport().text(.table, columns: 40)
        #expect(narrow.split(separator: "\n").allSatisfy { $0.unicodeScalars.count <= 40 })
    }

    // MARK: - Parts

    private func joined(_ reports: [SampleReport]) throws -> AuditParts {
        try AuditParts(try reports.map { try $0.file() })
    }

    private func disagreement(_ reports: [SampleReport], sourceLocation: SourceLocation = #_sourceLocation)
        -> SigstoreError?
    {
        let error = #expect(throws: SigstoreError.self, sourceLocation: sourceLocation) { try joined(reports) }
        #expect(error?.code == .reportsDisagree, sourceLocation: sourceLocation)
        return error
    }

    @Test("Parts are joined: the rows of all, the sums counted anew, from the first start to the last end")
    func parts() throws {
        var one = SampleReport(rows: [try SampleReport.row(1), try SampleReport.row(2, .unsigned)], shard: "1/2")
        var two = SampleReport(rows: [try SampleReport.row(3), try SampleReport.row(4, .couldNotLook)], shard: "2/2")
        one.head.started = Instant(seconds: 1000)
        two.head.finished = Instant(seconds: 5_000_000_000)
        two.head.ranBy = "bob@host"
        // Each part says of a tag that it could not be asked for.
        let lost = AuditRow(
            place: "registry.example/app", names: ["lost"], digest: nil, signed: .couldNotLook, verdict: .couldNotLook)
        one.rows.append(lost)
        two.rows.append(lost)
        let parts = try joined([two, one])
        #expect(parts.missing.isEmpty && parts.head.shard == nil && parts.head.ranBy == "bob@host, ann@host")
        #expect(parts.head.started == one.head.started && parts.head.finished == two.head.finished)
        var rows: [AuditRow] = []
        try parts.rows { rows.append($0) }
        #expect(json(rows) == json(two.rows + one.rows.dropLast()))
        var expected = AuditSums()
        for row in rows { expected.add(row) }
        #expect(parts.sums.json().serialized() == expected.json().serialized())
        #expect(parts.sums.rows == 5 && parts.sums.incomplete == 2)
        #expect(throws: SigstoreError.self) { try parts.sums.expectNothingFound() }

        // What was joined is a part again.
        var third = SampleReport(rows: [try SampleReport.row(1)], shard: "1,3/4")
        let early = try joined([third])
        #expect(early.missing == [2, 4] && early.head.shard == "1,3/4")
        let fourth = SampleReport(rows: [try SampleReport.row(2)], shard: "4/4")
        #expect(try joined([third, fourth]).head.shard == "1,3,4/4")
        for shard in [
            "", "1", "0/2", "3/2", "1/0", "1,1/2", "1/2/3", "+1/2", "01/2", "1/99999999999999999999", "1/20000", ",/2",
            "a/b",
        ] {
            third.head.shard = shard
            #expect(throws: SigstoreError.self, "\(shard)") { try joined([third]) }
        }
        #expect(throws: SigstoreError.self) { try AuditParts([]) }
    }

    @Test("Parts of different questions, a part given twice and a digest in two parts are refused")
    func disagreeing() throws {
        let one = SampleReport(rows: [try SampleReport.row(1)], shard: "1/2")
        var two = SampleReport(rows: [try SampleReport.row(2)], shard: "2/2")
        #expect(try joined([one, two]).sums.rows == 2)
        #expect(disagreement([one, one])?.message.contains("the part 1/2") == true)
        #expect(disagreement([SampleReport(), SampleReport()])?.message.contains("all of the digests") == true)
        #expect(disagreement([one, SampleReport()]) != nil)
        let changes: [(String, (inout AuditHead) -> Void)] = [
            ("places", { $0.places.append("more") }), ("accepted signers", { $0.signers = ["other"] }),
            ("before", { $0.formerSigners = ["old"] }), ("numbers", { $0.threshold = 2 }),
            ("roots", { $0.trustedRoot = try? Digest.sha256([1]) }), ("programs", { $0.tool = "program 1.1" }),
            // Equal to Swift, and not the same bytes.
            ("part of", { $0.shard = "2/3" }),
        ]
        for (words, change) in changes {
            var other = two
            change(&other.head)
            #expect(disagreement([one, other])?.message.contains(words) == true, "\(words)")
        }
        two.rows.append(try SampleReport.row(1, .unsigned))
        #expect(disagreement([one, two])?.message.contains("is twice in the reports") == true)
    }

    @Test("All well, something found, something not seen: three outcomes, the last of which counts first")
    func outcomes() throws {
        func outcome(
            _ verdicts: [AuditRow.Verdict], missing: Int = 0, isPart: Bool = false
        ) throws -> SigstoreError.Code? {
            let report = SampleReport(rows: try verdicts.enumerated().map { try SampleReport.row($0, $1) })
            do throws(SigstoreError) { try report.sums.expectNothingFound(missingParts: missing, isPart: isPart) } catch
            {
                return error.code
            }
            return nil
        }
        #expect(try outcome([.accepted]) == nil)
        // Nothing at all is no good news, but in a part.
        #expect(try outcome([]) == .auditIncomplete && outcome([], isPart: true) == nil)
        for verdict in AuditRow.Verdict.allCases where ![.accepted, .couldNotLook].contains(verdict) {
            #expect(try outcome([.accepted, verdict]) == .auditFindings)
            #expect(try outcome([.couldNotLook, verdict]) == .auditIncomplete)
        }
        #expect(try outcome([.accepted, .couldNotLook]) == .auditIncomplete)
        #expect(try outcome([.accepted], missing: 1) == .auditIncomplete)
    }

    // MARK: - Changes

    private func changes(_ old: SampleReport, _ new: SampleReport, _ format: AuditFormat = .table) throws -> String {
        var bytes: [UInt8] = []
        try AuditComparison(new.head, since: try old.file()).write(
            format, rows: { each throws(SigstoreError) in for row in new.rows { try each(row) } }
        ) { bytes += $0 }
        return String(decoding: bytes, as: UTF8.self)
    }

    @Test("What changed is told: digests new and gone, verdicts, signers, and tags that moved")
    func comparison() throws {
        let old = SampleReport(
            rows: [
                try SampleReport.row(1), try SampleReport.row(2), try SampleReport.row(3, names: ["v3", "latest"]),
                try SampleReport.row(4, .unsigned), try SampleReport.row(5),
            ])
        var new = old
        new.head.finished = Instant(milliseconds: old.head.finished.milliseconds + 86_400_000)
        #expect(try changes(old, new).hasSuffix("\nNothing changed.\n"))
        new.rows[1].verdict = .formerSigner
        new.rows[2].names = ["v3"]
        new.rows[3] = try SampleReport.row(4)
        new.rows[4].signatures[0].key = "other="
        new.rows.removeFirst()
        new.rows.append(try SampleReport.row(6, .invalid, names: ["latest"]))
        func digest(_ number: Int) throws -> String { try Digest.sha256(Array("\(number)".utf8)).description }
        let place = "registry.example/app"
        #expect(
            try changes(old, new) == """
                Changes from 2026-11-27T01:03:04.500Z to 2026-11-28T01:03:04.500Z
                  verdict   \(place):v2@\(digest(2))  former-signer, was accepted
                  verdict   \(place):v4@\(digest(4))  accepted, was unsigned
                  signers   \(place):v4@\(digest(4))  the key abc=, was nobody
                  signers   \(place):v5@\(digest(5))  the key other=, was the key abc=
                  new       \(place):latest@\(digest(6))  invalid
                  moved     \(place):latest  \(digest(6)), was \(digest(3))
                  gone      \(place):v1@\(digest(1))  was accepted
                7 changes.

                """)
        let lines = try changes(old, new, .jsonl).split(separator: "\n").map {
            JSONCursor(try JSONValue(parsing: Array($0.utf8)))
        }
        let kinds = try lines.map { line throws(SigstoreError) in try line.member("change").string() }
        #expect(kinds == ["verdict", "verdict", "signers", "signers", "new", "moved", "gone"])
        let (name, was) = (try lines[5].member("name").string(), try lines[5].member("was").string())
        #expect(name == "latest")
        #expect(try was == digest(3))
        let whole = JSONCursor(try JSONValue(parsing: Array(try changes(old, new, .json).utf8)))
        #expect(try whole.member("changes").elements().count == 7)
        let none = JSONCursor(try JSONValue(parsing: Array(try changes(old, old, .json).utf8)))
        #expect(try none.member("changes").elements().isEmpty)
        for format in [AuditFormat.csv, .html] {
            #expect(throws: SigstoreError.self) { try changes(old, new, format) }
        }
        let hostile = SampleReport(rows: try SampleReport.hostile.map(SampleReport.row(saying:)))
        for format in [AuditFormat.table, .markdown, .json, .jsonl] {
            let text = try changes(SampleReport(), hostile, format) + changes(hostile, SampleReport(), format)
            #expect(!text.unicodeScalars.contains { $0.changesDisplay && $0 != "\n" })
            guard format == .markdown else { continue }
            for line in text.split(separator: "\n") where line.hasPrefix("|") {
                #expect(line.count { $0 == "|" } == 4, "\(line)")
            }
        }
    }
}
