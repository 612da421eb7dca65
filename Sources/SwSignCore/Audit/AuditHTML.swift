internal import SigstoreCrypto
internal import StrictJSON

/// Writes a report as one page that a person reads in a browser.
///
/// It needs nothing but itself, and its policy lets nothing else run or load: its own style and script are allowed by their
/// digests. With scripts off everything can be read; only the filter is missing.
struct AuditHTML {
    private let head: AuditHead
    private let sums: AuditSums
    private let summary: AuditSummary

    init(_ head: AuditHead, _ sums: AuditSums) {
        (self.head, self.sums) = (head, sums)
        summary = AuditSummary(head: head, sums: sums)
    }

    func write(_ rows: @escaping AuditRows, to write: ([UInt8]) throws(SigstoreError) -> Void) throws(SigstoreError) {
        try write(Array(try beginning().utf8))
        try rows { row throws(SigstoreError) in try write(Array(details(row).utf8)) }
        try write(Array("</div>\n</section>\n</main>\n<script>\(Self.script)</script>\n</body>\n</html>\n".utf8))
    }

    // MARK: - The page around the rows

    private func beginning() throws(SigstoreError) -> String {
        let (style, script) = (try Self.source(Self.style), try Self.source(Self.script))
        let title = "Audit of signatures, \(AuditText.day(head.finished))"
        let sentences = summary.sentences
        return """
            <!DOCTYPE html>
            <html lang="en">
            <head>
            <meta charset="utf-8">
            <meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src \(style); script-src \(script); \
            base-uri 'none'; form-action 'none'">
            <meta name="viewport" content="width=device-width">
            <meta name="referrer" content="no-referrer">
            <meta name="color-scheme" content="light dark">
            <title>\(title)</title>
            <style>\(Self.style)</style>
            </head>
            <body>
            <a class="skip" href="#digests">To the digests</a>
            <header>
            <h1>Audit of signatures</h1>
            <p>\(Self.escaped(head.places.prefix(3).joined(separator: ", ")))\
            \(head.places.count > 3 ? " and \(head.places.count - 3) more" : ""), \(AuditText.day(head.finished))</p>
            </header>
            <main>
            <section aria-labelledby="result">
            <h2 id="result">\(sentences.first ?? "")</h2>
            <p class="lead">\(sentences.dropFirst().joined(separator: " "))</p>
            <ul class="tiles">\(tiles)</ul>
            </section>
            \(chart)\(signers)<section aria-labelledby="how">
            <h2 id="how">What was asked</h2>
            <dl>\(summary.facts.map { Self.fact($0.name, $0.values) }.joined())</dl>
            <p class="note">\(AuditSummary.disclaimer)</p>
            </section>
            <section aria-labelledby="digests">
            <h2 id="digests" tabindex="-1">Digests</h2>
            <form id="filter" hidden>
            <label for="text">Text <input id="text" type="search" autocomplete="off"></label>
            <label for="verdict">Verdict <select id="verdict"><option value="">all</option>\
            \(summary.verdicts.map { "<option>\($0.verdict.rawValue)</option>" }.joined())</select></label>
            <p id="shown" role="status"></p>
            </form>
            <div id="rows">

            """
    }

    private var tiles: String {
        summary.verdicts.map { verdict, count in
            "<li class=\"\(verdict.rawValue)\"><strong>\(count)</strong> <span class=\"badge\">\(verdict.rawValue)</span> "
                + "<span class=\"meaning\">\(Self.meaning(verdict))</span></li>"
        }.joined()
    }

    private var signers: String {
        guard !sums.signers.isEmpty else { return "" }
        let rows = sums.signers.map { signer in
            let span = summary.span(signer)
            return "<tr><th scope=\"row\">\(Self.escaped(signer.signer))</th><td class=\"\(signer.verdict.rawValue)\">"
                + "<span class=\"badge\">\(signer.verdict.rawValue)</span></td><td>\(signer.signatures)</td>"
                + "<td>\(span.oldest)</td><td>\(span.newest)</td></tr>"
        }
        return """
            <section aria-labelledby="who">
            <h2 id="who">Who signed</h2>
            <div class="wide" tabindex="0" role="region" aria-labelledby="who">
            <table><thead><tr><th scope="col">Signer</th><th scope="col">Verdict</th><th scope="col">Signatures</th>\
            <th scope="col">Oldest</th><th scope="col">Newest</th></tr></thead><tbody>\(rows.joined(separator: "\n"))</tbody></table>
            </div>
            </section>

            """
    }

    private static func meaning(_ verdict: AuditRow.Verdict) -> String {
        switch verdict {
        case .couldNotLook: "not everything could be read; it may be signed"
        case .invalid: "its signatures do not hold"
        case .unsigned: "it has no signature"
        case .otherSigner: "it is signed by others"
        case .formerSigner: "its signer is no longer accepted"
        case .notJudged: "it is signed, and nobody was named who may"
        case .accepted: "signed by those who may"
        }
    }

    // MARK: - The chart

    /// The most bars that are drawn; beyond it a bar is a year.
    private static let barLimit = 48

    private var chart: String {
        let months = sums.months.filter { Self.isMonth($0.key) }
        let unproven = sums.months[""] ?? 0
        let note =
            unproven == 0
            ? "" : "<p class=\"note\">\(AuditText.count(unproven, "digest has", "digests have")) no proven time.</p>"
        guard let first = months.keys.min(), let last = months.keys.max() else {
            guard unproven > 0 else { return "" }
            return Self.chartSection(note)
        }
        let byYear = Self.number(last) - Self.number(first) >= Self.barLimit
        var counts: [Int: Int] = [:]
        for (month, count) in months {
            counts[byYear ? Self.number(month) / 12 : Self.number(month), default: 0] += count
        }
        var bars: [(name: String, count: Int)] = []
        if let low = counts.keys.min(), let high = counts.keys.max() {
            for number in Swift.max(low, high - 200)...high {
                bars.append((byYear ? Self.padded(number, 4) : Self.name(number), counts[number] ?? 0))
            }
        }
        let most = bars.map(\.count).max() ?? 1
        let (step, height) = (Swift.min(96, 880 / Swift.max(1, bars.count)), 150)
        let every = Swift.max(1, (bars.count * 64 + 879) / 880)
        var drawn = ""
        for (index, bar) in bars.enumerated() {
            let x = 10 + index * step
            let middle = x + step / 2
            let size = bar.count == 0 ? 0 : Swift.max(2, bar.count * height / most)
            drawn +=
                "<rect x=\"\(x + 1)\" y=\"\(20 + height - size)\" width=\"\(Swift.max(1, step - 3))\" height=\"\(size)\">"
                + "<title>\(bar.name): \(bar.count)</title></rect>"
            if bar.count > 0, step >= 16 {
                drawn += "<text x=\"\(middle)\" y=\"\(14 + height - size)\">\(bar.count)</text>"
            }
            if index % every == 0 { drawn += "<text x=\"\(middle)\" y=\"\(38 + height)\">\(bar.name)</text>" }
        }
        let unit = byYear ? "Year" : "Month"
        let cells = bars.filter { $0.count > 0 }.map {
            "<tr><th scope=\"row\">\($0.name)</th><td>\($0.count)</td></tr>"
        }
        return Self.chartSection(
            """
            <svg viewBox="0 0 900 200" role="img" aria-labelledby="chart-title"><title id="chart-title">Accepted digests by \
            \(unit.lowercased()) of their oldest accepted signature, from \(bars.first?.name ?? "") to \(bars.last?.name ?? "")\
            </title><path d="M10 170.5H890"/>\(drawn)</svg>
            \(note)<details><summary>The same as a table</summary><table><thead><tr><th scope="col">\(unit)</th>\
            <th scope="col">Digests</th></tr></thead><tbody>\(cells.joined())</tbody></table></details>
            """)
    }

    private static func chartSection(_ content: String) -> String {
        """
        <section aria-labelledby="when">
        <h2 id="when">When what is accepted was first signed</h2>
        \(content)
        </section>

        """
    }

    /// Whether it is `2026-11`.
    private static func isMonth(_ text: String) -> Bool {
        let bytes = Array(text.utf8)
        return bytes.count == 7 && bytes[4] == 0x2d
            && bytes.indices.allSatisfy { $0 == 4 || (0x30...0x39).contains(bytes[$0]) }
    }

    /// The number of a month, counted from the year 0.
    private static func number(_ month: String) -> Int {
        (Int(month.prefix(4)) ?? 0) * 12 + (Int(month.suffix(2)) ?? 1) - 1
    }

    private static func name(_ number: Int) -> String { "\(padded(number / 12, 4))-\(padded(number % 12 + 1, 2))" }

    private static func padded(_ number: Int, _ width: Int) -> String {
        let digits = String(number)
        return String(repeating: "0", count: Swift.max(0, width - digits.utf8.count)) + digits
    }

    // MARK: - A row

    private func details(_ row: AuditRow) -> String {
        let names = row.names.isEmpty ? "" : ":" + row.names.joined(separator: ", ")
        let digest = row.digest?.description ?? ""
        var out = """
            <details class="\(row.verdict.rawValue)" data-verdict="\(row.verdict.rawValue)"><summary>\
            <span class="badge">\(row.verdict.rawValue)</span> <span class="name">\(Self.escaped(row.place + names))\
            \(row.platform.map { " <em>\(Self.escaped($0))</em>" } ?? "")</span> <code>\(Self.escaped(AuditText.cut(digest, 19)))</code>
            """
        let signers = row.signerNames
        if !signers.isEmpty {
            out += " <span class=\"signers\">\(Self.escaped(signers.joined(separator: "; ")))</span>"
        }
        out += "</summary><div><dl>"
        func fact(_ name: String, _ value: String?) { if let value { out += Self.fact(name, [value]) } }
        fact("Digest", row.digest?.description)
        fact("Part of the index", row.index?.description)
        fact("Media type", row.mediaType)
        fact("Created (as it says)", row.created)
        fact("Source (as it says)", row.source)
        fact("Revision (as it says)", row.revision)
        fact("Signed", row.signed == .couldNotLook ? "could not be found out" : row.signed.rawValue)
        if !row.sboms.isEmpty { out += Self.fact("Bills of materials", row.sboms) }
        if !row.policies.isEmpty { out += Self.fact("Policies", row.policies.map { "\($0.name): \($0.verdict)" }) }
        if !row.failures.isEmpty { out += Self.fact("What went wrong", row.failures.map(\.text)) }
        out += "</dl>"
        out += Self.table("Signatures", row.signatures) + Self.table("Attestations", row.attestations)
        return out + "</div></details>\n"
    }

    private static func table(_ caption: String, _ signatures: [AuditSignature]) -> String {
        guard !signatures.isEmpty else { return "" }
        var out = "<div class=\"wide\"><table><caption>\(caption)</caption><thead><tr><th scope=\"col\">Verdict</th>"
        out += "<th scope=\"col\">Signer</th><th scope=\"col\">Time</th><th scope=\"col\">Log entries</th>"
        out += "<th scope=\"col\">Checks that held</th></tr></thead><tbody>"
        for signature in signatures {
            let verdict = signature.verdict.rawValue
            out +=
                "<tr class=\"\(verdict)\"><td><span class=\"badge\">\(verdict)</span> \(escaped(signature.scheme))</td><td>"
            var lines = [signature.verdict.holds ? signature.signer : "claims to be \(signature.signer)"]
            if let type = signature.predicateType { lines.append("type: \(type)") }
            if let builder = signature.builder { lines.append("builder: \(builder)") }
            if let source = signature.source { lines.append("source: \(source)") }
            if let level = signature.slsaLevel { lines.append("SLSA level: \(level)") }
            lines += signature.claims.map { "\($0.name): \($0.value)" }
            if let failure = signature.failure { lines.append("Why not: \(failure.text)") }
            out += list(lines) + "</td><td>"
            out += list(signature.times.map { "\($0.time) by \($0.source)\($0.name.isEmpty ? "" : " \($0.name)")" })
            out += "</td><td>" + list(signature.logEntries.map { "\($0.log), index \($0.index)" })
            out += "</td><td>" + list(signature.checks) + "</td></tr>"
        }
        return out + "</tbody></table></div>"
    }

    private static func list(_ lines: [String]) -> String { lines.map { "<p>\(escaped($0))</p>" }.joined() }

    private static func fact(_ name: String, _ values: [String]) -> String {
        "<div><dt>\(name)</dt>\(values.map { "<dd>\(escaped($0))</dd>" }.joined())</div>"
    }

    // MARK: - Escaping, style and script

    static func escaped(_ text: String) -> String { text.visible().escapedForHTML }

    /// What allows a style or a script in a policy (CSP level 3, "hash-source").
    private static func source(_ text: String) throws(SigstoreError) -> String {
        "'sha256-\(Base64.encode(try Digest.sha256(text.utf8).bytes))'"
    }

    private static let script = """

        "use strict";
        const form = document.getElementById("filter"), text = document.getElementById("text");
        const verdict = document.getElementById("verdict"), shown = document.getElementById("shown");
        const rows = [...document.querySelectorAll("#rows > details")];
        let contents;
        function apply() {
          contents ??= rows.map(row => row.textContent.toLowerCase());
          const words = text.value.toLowerCase().split(/\\s+/).filter(word => word);
          let count = 0;
          rows.forEach((row, index) => {
            const fits = (!verdict.value || row.dataset.verdict === verdict.value)
              && words.every(word => contents[index].includes(word));
            row.hidden = !fits;
            if (fits) count++;
          });
          shown.textContent = count === rows.length ? "all " + count + " shown" : count + " of " + rows.length + " shown";
        }
        form.addEventListener("submit", event => event.preventDefault());
        text.addEventListener("input", apply);
        verdict.addEventListener("change", apply);
        form.hidden = false;
        if (text.value || verdict.value) apply(); else shown.textContent = "all " + rows.length + " shown";

        """

    private static let style = light.rules + "@media(prefers-color-scheme:dark){\n" + dark.rules + "}\n" + layout

    /// The colours of one scheme. Text has a contrast of at least 4.5 with what is behind it.
    private struct Colors {
        let (text, soft, back, card, line, bar, focus): (String, String, String, String, String, String, String)
        /// Of a verdict: its text, and what is behind it.
        let (good, bad, warning, unseen): ((String, String), (String, String), (String, String), (String, String))

        var rules: String {
            """

            body{color:\(text);background:\(back)}
            header p,.note,.meaning,dt,code,.signers,form p{color:\(soft)}
            section,.skip:focus{background:\(card)}
            section,.tiles li,th,td,#rows>details{border-color:\(line)}
            svg rect{fill:\(bar)}
            svg path{stroke:\(line)}
            svg text{fill:\(text)}
            .skip:focus{color:\(text)}
            :focus-visible{outline-color:\(focus)}
            input,select{color:\(text);background:\(back);border-color:\(soft)}
            .badge{color:\(warning.0);background:\(warning.1)}
            .accepted>.badge,.accepted>*>.badge{color:\(good.0);background:\(good.1)}
            .invalid>.badge,.invalid>*>.badge,.unsigned>.badge,.unsigned>*>.badge{color:\(bad.0);background:\(bad.1)}
            .could-not-look>.badge,.could-not-look>*>.badge{color:\(unseen.0);background:\(unseen.1)}

            """
        }
    }

    private static let light = Colors(
        text: "#1c2321", soft: "#50605a", back: "#f2f4f3", card: "#fff", line: "#d4dbd8", bar: "#1a7f4b",
        focus: "#1b5fc1",
        good: ("#146c3f", "#def3e6"), bad: ("#a01b14", "#fde4e1"), warning: ("#7a4a00", "#fcefd2"),
        unseen: ("#4a3f8c", "#e8e5fa"))
    private static let dark = Colors(
        text: "#e9eeec", soft: "#a8b6b0", back: "#141716", card: "#1f2423", line: "#3a4340", bar: "#45b97c",
        focus: "#8ab8ff",
        good: ("#8fe0b3", "#153524"), bad: ("#ffb3ab", "#4a1a17"), warning: ("#f6cf86", "#40300f"),
        unseen: ("#c9c2ff", "#2c2853"))

    private static let layout = """
        :root{color-scheme:light dark}
        *{box-sizing:border-box}
        [hidden]{display:none!important}
        body{font:1rem/1.5 system-ui,sans-serif;margin:0;padding:0 1rem 4rem}
        header,main{max-width:70rem;margin:auto}
        header{padding:2.5rem 0 .5rem}
        h1{font-size:2rem;line-height:1.2;margin:0}
        header p,.note{margin:.25rem 0 0;overflow-wrap:anywhere}
        section{border-width:1px;border-style:solid;border-radius:.75rem;padding:1.25rem 1.5rem;margin:1rem 0}
        h2{font-size:1.3rem;margin:0 0 .75rem}
        .lead{margin:0 0 1rem}
        .skip{position:absolute;left:-99rem}
        .skip:focus{left:1rem;top:1rem;padding:.5rem}
        :focus-visible{outline-style:solid;outline-width:.2rem;outline-offset:.15rem}
        .tiles{display:grid;grid-template-columns:repeat(auto-fill,minmax(13rem,1fr));gap:.75rem;list-style:none;margin:0;
        padding:0}
        .tiles li{border-width:1px;border-style:solid;border-radius:.5rem;padding:.75rem 1rem}
        .tiles strong{display:block;font-size:2rem;line-height:1.1}
        .meaning{display:block}
        .badge{display:inline-block;padding:0 .5rem;border-radius:1rem;font-size:.875rem;font-weight:600;white-space:nowrap}
        svg{width:100%;height:auto;display:block}
        svg text{font-size:13px;text-anchor:middle}
        table{border-collapse:collapse;width:100%}
        .wide{overflow-x:auto}
        caption{text-align:left;font-weight:600;padding:.75rem 0 .25rem}
        th,td{text-align:left;vertical-align:top;padding:.4rem .75rem .4rem 0;border-width:0 0 1px;border-style:solid}
        tbody th{font-weight:400}
        tbody th,td:nth-child(2)>p{overflow-wrap:anywhere}
        td p{margin:0}
        dl{margin:0;display:grid;gap:.35rem}
        dl div{display:grid;grid-template-columns:minmax(9rem,14rem) 1fr;gap:0 1rem}
        dd{margin:0;grid-column:2;overflow-wrap:anywhere}
        form{display:flex;flex-wrap:wrap;gap:.5rem 1.5rem;align-items:center;margin:0 0 1rem}
        form p{margin:0}
        label{display:flex;gap:.5rem;align-items:center}
        input,select{font:inherit;border-width:1px;border-style:solid;border-radius:.4rem;padding:.3rem .6rem;max-width:100%}
        #rows>details{border-width:1px 0 0;border-style:solid;content-visibility:auto;contain-intrinsic-size:auto 2.75rem}
        summary{cursor:pointer;padding:.5rem 0;overflow-wrap:anywhere}
        #rows summary .name{font-weight:600}
        code{font:.9em ui-monospace,monospace}
        #rows>details>div{padding:.25rem 0 1rem 1.25rem}
        @media(max-width:40rem){dl div{display:block}section{padding:1rem}}
        @media print{body{background:none}section{border:0;padding:0}form,.skip{display:none}}

        """
}
