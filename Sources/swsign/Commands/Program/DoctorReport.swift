import HTTPTransport
import OCIRegistry
import SigstoreClients
import StrictJSON
import SwSignCore

/// The page that `doctor` prints: sections of rows, and what would keep one from signing or verifying. No secret is in it.
struct DoctorReport {
    private struct Section {
        let title: String
        var rows: [(name: String, value: String)] = []
    }

    /// What would keep one from signing or verifying.
    private(set) var problems: [(message: String, advice: String?)] = []
    private var sections: [Section] = []
    /// What is never shown, since a message may quote it, such as a password before the host of a URL, and what stands in
    /// its place. A short secret alone is not among them: that a word is missing would tell it.
    private var hidden: [(text: String, shown: String)] = []
    private let now: Instant
    private let output: Output

    init(_ context: Context) {
        now = Instant(seconds: context.now())
        output = context.output
        for variable in EnvironmentCommand.variables() {
            let other = variable.name.hasSuffix("_PROXY") ? context.environment.value(variable.name.lowercased()) : nil
            for value in [context.environment.value(variable.name), other] {
                guard let value else { continue }
                if variable.isSecret {
                    hide(value)
                } else if value.contains("://") || variable.name.hasSuffix("_PROXY") {
                    hide(url: value)
                }
            }
        }
    }

    // MARK: - Secrets

    /// Shows a secret nowhere that is long enough to stand for itself.
    mutating func hide(_ secret: String?) {
        guard let secret, secret.utf8.count >= 20 else { return }
        hidden.append((secret, "******"))
    }

    /// Shows nowhere what a registry is shown, which it may answer with.
    mutating func hide(_ credential: Credential) {
        switch credential {
        case .anonymous: break
        case .identityToken(let token): hide(token)
        case .basic(let authorization), .bearer(let authorization):
            let value = unsafe authorization.withValue { unsafe String(decoding: $0, as: UTF8.self) }
            // Without the scheme, which is no secret.
            if let word = value.split(separator: " ").last, word.utf8.count >= 8 {
                hidden.append((String(word), "******"))
            }
        }
    }

    /// Shows nowhere the folder of a mirror's cache, whose name is made of its URL, if there are secrets in that.
    mutating func hide(folder: String, of mirror: String) {
        guard mirror.utf8.contains(0x40) || mirror.utf8.contains(0x3f),
            let name = folder.split(separator: "/").last
        else { return }
        hidden.append((String(name), "******"))
    }

    /// Shows nowhere what stands before a URL's host and behind its path, which may be secrets.
    mutating func hide(url: String) {
        if let user = Self.user(url) {
            hidden.append(("\(user)@", "******@"))
            // A message may take a slash in a password for the end of the host.
            let host = user.prefix { $0 != "/" }
            if host.utf8.count < user.utf8.count, host.utf8.contains(0x3a) { hidden.append((String(host), "******")) }
        }
        guard let mark = url.utf8.firstIndex(of: 0x3f), mark < url.utf8.index(before: url.endIndex) else { return }
        hidden.append((String(url[mark...]), "?…"))
    }

    /// Shows nowhere what a reference to an image has before its host, though it may have nothing there, and a query.
    mutating func hide(image: String) {
        let name = image.firstRange(of: "@sha").map { String(image[..<$0.lowerBound]) } ?? image
        if name.contains("@") || name.contains("?") { hide(url: name) }
    }

    /// What stands before the host of a URL, or of a proxy without a scheme: a name, and perhaps a password. A slash that
    /// should have been encoded may be a part of it.
    private static func user(_ url: String) -> String? {
        let start = url.firstRange(of: "://")?.upperBound ?? url.startIndex
        guard let at = url.utf8[start...].lastIndex(of: 0x40), at > start else { return nil }
        return String(url[start..<at])
    }

    /// A URL without what stands before its host.
    static func withoutUser(_ url: String) -> String {
        let shown = user(url).map { url.replacing("\($0)@", with: "******@", maxReplacements: 1) } ?? url
        return shown.utf8.firstIndex(of: 0x3f).map { "\(shown[..<$0])?…" } ?? shown
    }

    private func shown(_ text: String) -> String {
        hidden.reduce(text) { text, secret in text.replacing(secret.text, with: secret.shown) }
    }

    // MARK: - Writing

    mutating func begin(_ title: String) { sections.append(Section(title: title)) }

    /// Adds a row to the last section.
    mutating func add(_ name: String, _ value: String) {
        guard let last = sections.indices.last else { return }
        sections[last].rows.append((shown(name), shown(value)))
    }

    /// Adds a row about what a service answered.
    mutating func add(_ place: String, _ answer: DoctorService.Answer) {
        add(place, "answers \(answer.status) in \(answer.milliseconds) ms; \(answer.clock)")
        guard let (seconds, uncertainty) = answer.wrongClock else { return }
        problem(
            "by the clock of the \(place), this machine's is \(Self.span(abs(seconds))) "
                + "\(seconds < 0 ? "behind" : "ahead"), give or take \(uncertainty) s",
            "set this machine's clock, such as by NTP, unless that one is wrong")
    }

    /// Adds a row that says what is wrong, which is told again at the end.
    mutating func add(_ name: String, fault: SigstoreError) {
        add(name, "FAILED: \(fault.message)")
        problem(fault)
    }

    /// Adds something that would keep one from signing or verifying.
    mutating func problem(_ error: SigstoreError) {
        problem(error.message, error.advised.advice?.description)
    }

    /// Adds something that would keep one from signing or verifying, and what to do about it.
    mutating func problem(_ message: String, _ advice: String?) {
        let (message, advice) = (shown(message), advice.map { shown($0) })
        guard !problems.contains(where: { $0.message.utf8.elementsEqual(message.utf8) }) else { return }
        problems.append((message, advice))
    }

    /// A moment, and how far away it is.
    func date(_ moment: Instant) -> String {
        let (seconds, overflow) = moment.seconds.subtractingReportingOverflow(now.seconds)
        guard !overflow else { return moment.description }
        let span = Self.span(abs(seconds), parts: 1)
        return "\(moment) (\(seconds <= 0 ? "\(span) ago" : "in \(span)"))"
    }

    /// What TUF metadata there is, and until when it counts.
    func roles(_ update: TUFUpdate) -> String {
        var roles = [("root", update.root.version, update.root.expires)]
        if let timestamp = update.timestamp { roles.append(("timestamp", timestamp.version, timestamp.expires)) }
        if let snapshot = update.snapshot { roles.append(("snapshot", snapshot.version, snapshot.expires)) }
        if let targets = update.topTargets { roles.append(("targets", targets.version, targets.expires)) }
        return roles.map { "\($0.0) \($0.1), \(expiry($0.2))" }.joined(separator: "; ")
    }

    /// Until when something counts, or counted.
    func expiry(_ moment: Instant) -> String { "\(moment <= now ? "expired" : "expires") \(date(moment))" }

    /// A span of time in its largest units, such as `1 h 2 min`.
    static func span(_ seconds: Int64, parts: Int = 2) -> String {
        var (rest, words) = (seconds, [String]())
        for (length, unit) in [(86_400, "d"), (3600, "h"), (60, "min"), (1, "s")] as [(Int64, String)] {
            let (count, left) = rest.quotientAndRemainder(dividingBy: length)
            if count > 0 || length == 1 && words.isEmpty { words.append("\(count) \(unit)") }
            rest = left
        }
        return words.prefix(parts).joined(separator: " ")
    }

    /// Prints the page.
    func print(_ format: OutputFormat, isOffline: Bool) throws(SigstoreError) {
        if format == .json {
            let sections = sections.map { section in
                JSONValue.object([
                    "name": .string(section.title),
                    "rows": .array(
                        section.rows.map { .object(["name": .string($0.name), "value": .string($0.value)]) }),
                ])
            }
            let problems = problems.map { problem in
                var members: JSONObject = ["message": .string(problem.message)]
                members["advice"] = problem.advice.map { .string($0) }
                return JSONValue.object(members)
            }
            return try output.json(
                .object(["version": .integer(1), "sections": .array(sections), "problems": .array(problems)]))
        }
        for section in sections {
            try output.result(section.title)
            for row in section.rows { try output.result("  \(row.name): \(row.value)") }
            try output.text("\n")
        }
        guard !problems.isEmpty else {
            return try output.result(
                isOffline
                    ? "Nothing to look at, as far as can be told without the network."
                    : "Nothing to look at: nothing was found that would keep one from signing or verifying.")
        }
        try output.result(problems.count == 1 ? "1 thing to look at:" : "\(problems.count) things to look at:")
        for (index, problem) in problems.enumerated() {
            try output.result("  \(index + 1). \(problem.message)")
            if let advice = problem.advice { try output.result("     \(advice)") }
        }
    }
}

/// A service that `doctor` asks whether it is there, and what time it is.
struct DoctorService: Sendable {
    /// What a service answered.
    struct Answer: Sendable {
        let status: Int
        /// The time by the service's clock, in whole seconds; `nil` if it does not say it.
        let date: Instant?
        /// The time by this machine's clock when it was asked and when it had answered, in whole seconds since 1970.
        let before: Int64
        let after: Int64
        let duration: Duration

        var milliseconds: Int64 {
            let (seconds, attoseconds) = duration.components
            return seconds * 1000 + attoseconds / 1_000_000_000_000_000
        }

        /// How far this machine's clock is ahead, and by how much that may be wrong. The service read its clock at some
        /// moment between question and answer, and all three times are cut to whole seconds.
        private var difference: (seconds: Int64, uncertainty: Int64)? {
            guard let date else { return nil }
            return ((before + after) / 2 - date.seconds, 1 + (after - before + 1) / 2)
        }

        /// The difference in words.
        var clock: String {
            guard let (seconds, uncertainty) = difference else { return "it does not say the time" }
            guard abs(seconds) > uncertainty else { return "this clock is right to within \(uncertainty) s" }
            return "this clock is \(DoctorReport.span(abs(seconds))) \(seconds < 0 ? "behind" : "ahead"), "
                + "give or take \(uncertainty) s"
        }

        /// The difference if it is more than a minute: certificates hold for ten, and tokens often for less.
        var wrongClock: (seconds: Int64, uncertainty: Int64)? {
            difference.flatMap { abs($0.seconds) - $0.uncertainty > 60 ? $0 : nil }
        }
    }

    let name: String
    let url: String
    /// What is asked for below it.
    let path: String
    /// Whether it is a fault if it does not answer.
    var isNeeded = true
    var answer: Result<Answer, SigstoreError>?

    var isOverHTTP: Bool { !url.utf8.starts(with: "file://".utf8) }

    /// The URL without secrets.
    var shownURL: String { (try? HTTPURL(parsing: url))?.redacted ?? DoctorReport.withoutUser(url) }

    /// The same service with what it answers. Any answer shows that it is there.
    func asked(_ http: any HTTPClient, _ now: @Sendable () -> Int64) async -> DoctorService {
        var service = self
        let (start, before) = (ContinuousClock.now, now())
        do throws(SigstoreError) {
            let place = path.isEmpty ? url : url.utf8.last == 0x2f ? url + path : "\(url)/\(path)"
            let response = try await http.send(
                HTTPRequest(
                    "GET", try HTTPURL(parsing: place), timeout: .seconds(15), handledStatuses: Set(300...599)))
            service.answer = .success(
                Answer(
                    status: response.status, date: response.date, before: before, after: now(), duration: .now - start))
        } catch { service.answer = .failure(error) }
        return service
    }
}
