import Foundation
import SigstoreCrypto
import StrictJSON
import SwSignCore
import Testing

/// The page of an audit's report, in a real browser.
@Suite(
    "The page of an audit",
    .enabled(
        if: FileManager.default.isExecutableFile(atPath: "/usr/bin/chromium"), "left out: chromium is not installed"))
struct AuditPageTests {
    private let directory = TemporaryDirectory()

    /// A report of a registry as there are many: most is well, some is not.
    private static func rows() throws -> [AuditRow] {
        let verdicts: [AuditRow.Verdict] = [
            .accepted, .accepted, .accepted, .formerSigner, .accepted, .unsigned, .accepted, .accepted, .otherSigner,
            .accepted,
            .invalid, .accepted, .couldNotLook, .accepted,
        ]
        return try (0..<42).map { number in
            let verdict = verdicts[number % verdicts.count]
            var row = AuditRow(
                place: "registry.example/\(["shop/web", "shop/api", "tools/build"][number % 3])",
                names: number % 4 == 0 ? ["1.\(number)", "stable"] : ["1.\(number)"],
                digest: try Digest.sha256(Array("image \(number)".utf8)),
                signed: verdict == .unsigned ? .no : verdict == .couldNotLook ? .couldNotLook : .yes, verdict: verdict)
            row.mediaType = "application/vnd.oci.image.manifest.v1+json"
            row.created = "2026-0\(number % 9 + 1)-11T08:00:00Z"
            row.source = "https://git.example/shop"
            row.revision = "4f1d0c2"
            if verdict == .couldNotLook {
                row.failures = [AuditFailure(code: "http-status", message: "GET /v2/…: 503 Service Unavailable")]
            }
            let kinds: [AuditRow.Verdict: AuditSignature.Verdict] = [
                .accepted: .accepted, .formerSigner: .formerSigner, .otherSigner: .otherSigner, .invalid: .invalid,
            ]
            guard let kind = kinds[verdict] else { return row }
            var signature = AuditSignature(scheme: number % 5 == 0 ? "tag" : "bundle", verdict: kind)
            if kind == .formerSigner || kind == .invalid {
                signature.key = "u7Yc1z8m0oQvJ2v2Gm3J0r3aM3X8nq0n6b1d9l9QWmM="
            } else {
                signature.identity = "https://git.example/shop/.ci/release.yml@refs/tags/1.\(number % 2)"
                signature.issuer = "https://ci.example"
                signature.claims = [(name: "runnerEnvironment", value: "hosted")]
            }
            if kind == .invalid {
                signature.failure = AuditFailure(code: "invalid-signature", message: "the signature does not hold")
            } else {
                let month = number * 7 % 15
                let date = "202\(5 + (month + 6) / 12)-\((month + 6) % 12 + 1 < 10 ? "0" : "")\((month + 6) % 12 + 1)"
                signature.times = [
                    AuditSignature.Time(
                        try #require(Instant(rfc3339: "\(date)-02T03:04:05Z")), source: "timestamp-authority",
                        name: "https://tsa.example")
                ]
                signature.logEntries = [
                    AuditSignature.LogEntry(log: "https://log.example", index: 1_000 + Int64(number))
                ]
                signature.checks = ["bundle", "log entry", "certificate", "signature"]
            }
            row.signatures = [signature]
            if number % 3 == 0, kind == .accepted {
                var attestation = signature
                attestation.predicateType = "https://slsa.dev/provenance/v1"
                attestation.builder = "https://ci.example/builder"
                attestation.slsaLevel = 3
                row.attestations = [attestation]
                row.sboms = ["https://spdx.dev/Document"]
            }
            return row
        }
    }

    /// Writes the page of these rows, and does something there in Chromium.
    private func open(_ rows: [AuditRow], _ actions: [String], pictures: [String] = []) async throws -> JSONCursor {
        var sums = AuditSums()
        for row in rows { sums.add(row) }
        var head = AuditHead(
            started: Instant(seconds: 1_793_000_000), finished: Instant(seconds: 1_793_000_321), tool: "swsign 0.2.0",
            trustedRoot: try Digest.sha256([1]), trustedRootTime: Instant(seconds: 1_792_900_000), ranBy: "ann@build-7",
            places: ["registry.example/shop/web", "registry.example/shop/api", "registry.example/tools/build"],
            signers: ["https://git.example/shop/.ci/release.yml@* (issuer https://ci.example)"])
        head.formerSigners = ["the key u7Yc1z8m0oQvJ2v2Gm3J0r3aM3X8nq0n6b1d9l9QWmM="]
        var page: [UInt8] = []
        try AuditFormat.html.write(
            head, sums, rows: { each throws(SigstoreError) in for row in rows { try each(row) } }
        ) {
            page += $0
        }
        try directory.write("report.html", page)
        let script = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
            .appendingPathComponent("browser").path
        var program = Program(executable: script, directory: directory.path)
        program.takesTurns = false
        let run = await program.run([directory.path, "file://\(directory["report.html"])"] + actions)
        try #require(run.succeeded, "\(run.messages)")
        for (index, name) in pictures.enumerated() {
            let picture = try directory.read("\(index).png")
            #expect(picture.starts(with: [0x89, 0x50, 0x4e, 0x47]) && picture.count > 4000, "\(name)")
            Attachment.record(picture, named: "\(name).png")
        }
        return try #require(try run.objects().first)
    }

    private func strings(_ cursor: JSONCursor) throws -> [String] {
        try cursor.elements().map { item throws(SigstoreError) in try item.string() }
    }

    /// Nothing was asked for but the page itself, and nothing complained.
    private func expectQuiet(_ page: JSONCursor, sourceLocation: SourceLocation = #_sourceLocation) throws {
        #expect(try strings(page.member("console")) == [], sourceLocation: sourceLocation)
        let requests = try strings(page.member("requests"))
        #expect(
            !requests.isEmpty && requests.allSatisfy { $0 == "file://\(directory["report.html"])" }, "\(requests)",
            sourceLocation: sourceLocation)
    }

    private static let count =
        "[...document.querySelectorAll('#rows > details')].filter(e => e.checkVisibility()).length"

    /// The first row shows its checks. What is not in the window yet is not drawn, so its text as drawn may be empty still.
    private static let checks =
        "[...document.querySelectorAll('#rows > details')[0].querySelectorAll('td p')].some(e => e.textContent === 'certificate' && e.checkVisibility())"

    @Test(
        "It opens, its filter works by text and by verdict, each row opens to its checks; nothing is asked of a network"
    )
    func filter() async throws {
        let page = try await open(
            try Self.rows(),
            [
                "evaluate", "all", Self.count, "picture", "fill", "text", "WEB 1.3", "evaluate", "byText", Self.count,
                "evaluate",
                "status", "document.getElementById('shown').textContent", "evaluate", "clear",
                "text.value = ''; text.dispatchEvent(new Event('input')); true", "select", "verdict", "unsigned",
                "evaluate",
                "byVerdict", Self.count, "evaluate", "verdicts",
                "[...document.querySelectorAll('#rows > details')].filter(e => e.checkVisibility()).every(e => e.querySelector('.badge').textContent === 'unsigned')",
                "select", "verdict", "accepted", "evaluate", "closed", Self.checks, "evaluate", "open",
                "document.querySelectorAll('#rows > details')[0].open = true; document.getElementById('digests').scrollIntoView(); true",
                "evaluate", "checks", Self.checks,
                "picture", "scheme", "dark", "picture", "evaluate", "top", "scrollTo(0, 0); true",
            ], pictures: ["page", "digests", "digests-dark", "page-dark"])
        let results = try page.member("results")
        #expect(try page.member("title").string().hasPrefix("Audit of signatures, 2026-"))
        #expect(try results.member("all").integer() == 42)
        let rows = try Self.rows()
        let byText = rows.filter { $0.place.hasSuffix("web") && $0.names[0].hasPrefix("1.3") }.count
        // The text of the page has other places with these letters too, but not within a row.
        #expect(try results.member("byText").integer() == Int64(byText) && byText > 0)
        #expect(try results.member("status").string() == "\(byText) of 42 shown")
        #expect(try results.member("byVerdict").integer() == Int64(rows.filter { $0.verdict == .unsigned }.count))
        #expect(try results.member("verdicts").bool())
        #expect(try !results.member("closed").bool())
        #expect(try results.member("checks").bool())
        try expectQuiet(page)
    }

    @Test("Its policy lets no other script run, nothing load and nothing leave; without scripts it can be read")
    func policy() async throws {
        let inject = """
            (() => {
              const script = document.createElement('script'); script.textContent = 'window.injected = 1'; document.body.append(script);
              document.body.insertAdjacentHTML('beforeend',
                '<img src="https://other.example/x.png" onerror="window.injected = 2"><a href="javascript:window.injected=3" id="link">x</a>');
              document.getElementById('link').click();
              fetch('https://other.example/').catch(() => {});
              return true;
            })()
            """
        let page = try await open(
            try Self.rows(),
            [
                "evaluate", "inject", inject, "evaluate", "injected",
                "new Promise(done => setTimeout(() => done(0), 300)), String(window.injected)",
            ])
        #expect(try page.member("results").member("injected").string() == "undefined")
        let complaints = try strings(page.member("console"))
        #expect(complaints.count { $0.contains("Content Security Policy") } >= 3, "\(complaints)")
        let requests = try strings(page.member("requests"))
        #expect(requests.allSatisfy { !$0.contains("other.example") }, "\(requests)")

        let plain = try await open(
            try Self.rows(),
            [
                "scripts", "off", "evaluate", "all", Self.count, "evaluate", "filter",
                "document.getElementById('filter').checkVisibility()",
            ])
        #expect(try plain.member("results").member("all").integer() == 42)
        #expect(try plain.member("results").member("filter").bool() == false)
        try expectQuiet(plain)
    }

    @Test("Hostile texts are shown, and do nothing")
    func hostile() async throws {
        var rows = try Self.rows()
        let texts = [
            "<script>window.injected = 1</script>", "\"><img src=x onerror=\"window.injected=1\">",
            "</details></main><h1>x</h1>",
            "\u{202e}gnp", "' onclick='window.injected=1", "<!--",
            "</title></style></script><script>window.injected = 1</script>",
        ]
        for (index, text) in texts.enumerated() {
            rows[index].names = [text]
            (rows[index].place, rows[index].source, rows[index].platform) = (text, text, text)
            rows[index].failures = [AuditFailure(code: text, message: text)]
            guard !rows[index].signatures.isEmpty else { continue }
            rows[index].signatures[0].identity = text
            rows[index].signatures[0].claims = [(name: text, value: text)]
        }
        let page = try await open(
            rows,
            [
                "evaluate", "injected", "String(window.injected)", "evaluate", "rows",
                "document.querySelectorAll('main > section > #rows > details').length", "evaluate", "odd",
                "document.querySelectorAll('img, h1 ~ h1, [onclick], [onerror]').length + document.scripts.length",
                "evaluate", "shown", "document.body.textContent.includes('<script>window.injected = 1</script>')",
                "evaluate", "marks",
                "document.body.textContent.includes('\\\\u{202e}gnp') && !document.body.textContent.includes('\\u202e')",
            ])
        let results = try page.member("results")
        #expect(try results.member("injected").string() == "undefined")
        #expect(try results.member("rows").integer() == 42 && results.member("odd").integer() == 1)
        #expect(try results.member("shown").bool() && results.member("marks").bool())
        try expectQuiet(page)
    }

    /// What a page must have for those who do not see it, or not well, or have no mouse. Gives what it lacks.
    private static let accessibility = #"""
        (() => {
          const faults = [], all = selector => [...document.querySelectorAll(selector)];
          const fault = (what, element) => faults.push(what + ": " + (element ? element.outerHTML.slice(0, 160) : ""));
          all("details").forEach(details => details.open = true);
          if (!document.documentElement.lang) fault("no language");
          if (!document.title.trim()) fault("no title");
          if (all("main").length !== 1) fault("not one main");
          if (all("h1").length !== 1) fault("not one first heading");
          let level = 0;
          for (const heading of all("h1,h2,h3,h4,h5,h6")) {
            const own = Number(heading.localName[1]);
            if (own > level + 1) fault("a level of headings is left out", heading);
            if (!heading.textContent.trim()) fault("an empty heading", heading);
            level = own;
          }
          for (const table of all("table")) if (!table.querySelector("thead th")) fault("a table without headers", table);
          for (const header of all("th")) if (!["col", "row"].includes(header.getAttribute("scope"))) fault("no scope", header);
          for (const field of all("input,select,textarea,button")) {
            if (![...(field.labels ?? [])].some(label => label.textContent.trim())) fault("no label", field);
          }
          for (const details of all("details")) {
            const first = details.firstElementChild;
            if (first?.localName !== "summary" || !first.textContent.trim()) fault("no summary", details);
          }
          for (const drawing of all("svg")) {
            const title = document.getElementById(drawing.getAttribute("aria-labelledby"));
            if (drawing.getAttribute("role") !== "img" || !title?.textContent.trim()) fault("a drawing without a name", drawing);
          }
          for (const element of all("[aria-labelledby]")) {
            for (const id of element.getAttribute("aria-labelledby").split(" ")) {
              if (!document.getElementById(id)) fault("it is named by nothing", element);
            }
          }
          const ids = all("[id]").map(element => element.id);
          if (new Set(ids).size !== ids.length) fault("an identifier stands twice");
          for (const link of all("a")) if (!document.querySelector(link.getAttribute("href"))) fault("a link to nothing", link);

          const numbers = color => (color.match(/[\d.]+/g) ?? []).map(Number);
          const luminance = color => {
            const [red, green, blue] = color.map(part => {
              part /= 255;
              return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
            });
            return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
          };
          let least = 100, texts = 0;
          const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
          while (walker.nextNode()) {
            const element = walker.currentNode.parentElement;
            if (!walker.currentNode.data.trim() || !element.checkVisibility()) continue;
            if (["script", "style", "title"].includes(element.localName)) continue;
            const style = getComputedStyle(element);
            const front = numbers(element instanceof SVGElement ? style.fill : style.color).slice(0, 3);
            let back = [255, 255, 255], behind = element;
            for (; behind; behind = behind.parentElement) {
              const color = numbers(getComputedStyle(behind).backgroundColor);
              if (color.length === 3 || color[3] === 1) { back = color.slice(0, 3); break; }
              if (color[3] > 0) fault("a background that shines through", behind);
            }
            const [one, other] = [luminance(front), luminance(back)].sort((a, b) => b - a);
            const contrast = (one + 0.05) / (other + 0.05);
            texts++;
            least = Math.min(least, contrast);
            if (contrast < 4.5) fault("contrast " + contrast.toFixed(2), element);
          }
          if (texts < 100) fault("only " + texts + " texts");
          return faults.slice(0, 20).join("\n") + (faults.length ? "" : "least contrast " + least.toFixed(2));
        })()
        """#

    @Test(
        "It is accessible: language, headings, labels, scopes, contrast in both colour schemes, and by keyboard alone")
    func accessibility() async throws {
        let focused = "(e => e.id || e.className || e.localName)(document.activeElement)"
        var actions = [
            "scheme", "light", "evaluate", "light", Self.accessibility, "scheme", "dark", "evaluate", "dark",
            Self.accessibility,
        ]
        actions += [
            "evaluate", "back", "document.body.style.color", "evaluate", "shown",
            "document.body ? getComputedStyle(document.body).backgroundColor : ''",
        ]
        actions += [
            "evaluate", "close", "document.querySelectorAll('details').forEach(details => details.open = false); true",
        ]
        for number in 0..<7 { actions += ["press", "Tab", "evaluate", "focus\(number)", focused] }
        actions += [
            "press", "Enter", "evaluate", "opened", "document.activeElement.parentElement.open === true", "evaluate",
            "outline",
            "getComputedStyle(document.activeElement).outlineStyle",
        ]
        let page = try await open(try Self.rows(), actions)
        let results = try page.member("results")
        for scheme in ["light", "dark"] {
            let answer = try results.member(scheme).string()
            #expect(answer.hasPrefix("least contrast "), "\(scheme): \(answer)")
        }
        #expect(try results.member("shown").string() == "rgb(20, 23, 22)")
        let focus = try (0..<7).map { try results.member("focus\($0)").string() }
        #expect(focus == ["skip", "summary", "wide", "text", "verdict", "summary", "summary"], "\(focus)")
        #expect(try results.member("opened").bool() && results.member("outline").string() == "solid")
        try expectQuiet(page)
    }
}
