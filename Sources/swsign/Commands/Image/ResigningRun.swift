import LocalSystem
import OCIRegistry
import SigstoreCrypto
import StrictJSON
import SwSignCore

/// One run of `resign`: what was found, and what came of it.
struct ResigningRun {
    /// One digest.
    struct Row: Sendable {
        let repository: String
        let tags: [String]
        /// `nil` if the row is about the repository, or about a tag that could not be asked for.
        var digest: Digest?
        var store: SignatureStore?
        var finding: Result<ImageResigner.Finding, SigstoreError>?
        var isSigned = false

        var name: String {
            guard let digest else { return tags.first.map { "\(repository):\($0)" } ?? repository }
            return "\(repository)@\(digest)"
        }
    }

    /// What came of a digest.
    enum Outcome: String {
        case signed
        case toSign = "to-sign"
        case alreadySigned = "already-signed"
        case notProven = "not-proven"
        case notFormer = "not-former-signer"
        case carrier
        case failed
    }

    let resigner: ImageResigner
    let access: ImageAccess
    let isRecursive: Bool
    let creationTime: String?
    /// Whether a proven time was demanded.
    let reportsLeft: Bool
    let context: Context
    private var rows: [Row] = []
    private var gone = 0

    /// How many images are worked on at once.
    private static let width = 32

    init(
        resigner: ImageResigner, access: ImageAccess, isRecursive: Bool, creationTime: String?, reportsLeft: Bool,
        context: Context
    ) {
        (self.resigner, self.access, self.isRecursive) = (resigner, access, isRecursive)
        (self.creationTime, self.reportsLeft, self.context) = (creationTime, reportsLeft, context)
    }

    // MARK: What there is

    /// A repository by its name, with what its images are called.
    private func place(_ text: String) throws(SigstoreError) -> (name: String, store: any ImageStore) {
        guard text.utf8.starts(with: "oci-layout:".utf8) else {
            let repository = try Repository(parsing: text)
            return (repository.name, access.registries.client(for: repository))
        }
        let location = try ImageLocation(parsing: text)
        guard case .layout(_, nil) = location else {
            throw SigstoreError(
                .usage, "\(text) names one image, and a layout is expected", advice: "write oci-layout:PATH")
        }
        return (text, try access.registries.store(for: location))
    }

    /// Lists what is to be looked at: what the plan has, or what is in the repositories.
    mutating func find(in repositories: [String], _ plan: ResigningPlan?) throws(SigstoreError) {
        var places: [(name: String, store: any ImageStore)] = []
        for repository in repositories { places.append(try place(repository)) }
        if let plan {
            for entry in plan.entries {
                let name = try place(entry.repository).name
                guard places.isEmpty || places.contains(where: { $0.name.utf8.elementsEqual(name.utf8) }) else {
                    throw SigstoreError(
                        .usage,
                        "the plan is about \(entry.repository) too, which is not among the repositories that are named",
                        advice: "leave the repositories out, or name all of them")
                }
                rows.append(Row(repository: name, tags: entry.tags, digest: entry.digest))
            }
            return
        }
        let (prefix, isRecursive, access) = (access.tagPrefix, isRecursive, access)
        for (index, (name, store)) in places.enumerated()
        where !places[..<index].contains(where: { $0.name.utf8.elementsEqual(name.utf8) }) {
            let walked = try waiting { () throws(SigstoreError) -> Result<RepositoryWalk, SigstoreError> in
                do throws(SigstoreError) { return .success(try await RepositoryWalk(store, tagPrefix: prefix)) } catch {
                    return .failure(error)
                }
            }
            switch walked {
            case .failure(let error): rows.append(Row(repository: name, tags: [], finding: .failure(error)))
            case .success(let walk):
                for (tag, error) in walk.unread {
                    rows.append(Row(repository: name, tags: [tag], finding: .failure(error)))
                }
                gone += walk.gone.count
                var seen = Set(walk.entries.map(\.digest))
                for entry in walk.entries {
                    rows.append(Row(repository: name, tags: entry.tags, digest: entry.digest))
                    guard isRecursive else { continue }
                    do throws(SigstoreError) {
                        let within = try waiting { () throws(SigstoreError) in
                            try await access.image("\(name)@\(entry.digest)", isAskedFor: false).withPlatforms()
                                .map(\.image.digest)
                        }
                        for digest in within.dropFirst() where seen.insert(digest).inserted {
                            rows.append(Row(repository: name, tags: [], digest: digest))
                        }
                    } catch {
                        let failed = error.concerning("the images of the index could not be found")
                        rows[rows.count - 1].finding = .failure(failed)
                    }
                }
            }
        }
    }

    // MARK: The work

    /// Looks at every digest.
    mutating func examine(_ plan: ResigningPlan?) throws(SigstoreError) {
        let (resigner, access, creationTime, entries) = (resigner, access, creationTime, plan?.entries)
        try work(on: rows.indices.filter { rows[$0].finding == nil }, "looked at") { index, row in
            var row = row
            do throws(SigstoreError) {
                var store = try access.attachments(of: try await access.image(row.name, isAskedFor: false))
                store.creationTime = creationTime
                row.store = store
                row.finding = .success(try await resigner.examine(store, planned: entries?[index]))
            } catch { row.finding = .failure(error) }
            return row
        }
    }

    /// Whether there is something to sign.
    var hasWork: Bool { rows.contains { !$0.parts.isEmpty } }

    /// Signs what was found.
    mutating func sign(_ signer: ImageSigner) throws(SigstoreError) {
        let resigner = resigner
        try work(on: rows.indices.filter { !rows[$0].parts.isEmpty }, "signed") { _, row in
            var row = row
            guard case .success(let finding)? = row.finding, let store = row.store else { return row }
            do throws(SigstoreError) {
                try await resigner.sign(finding, in: store, by: signer)
                row.isSigned = true
                Interruption.noteSigned()
            } catch { row.finding = .failure(error) }
            return row
        }
    }

    /// Works on rows side by side, some at a time.
    private mutating func work(
        on indices: [Int], _ verb: String, _ body: @escaping @Sendable (Int, Row) async -> Row
    ) throws(SigstoreError) {
        context.progress.begin(Int64(indices.count), of: .images(verb))
        var rest = indices[...]
        while !rest.isEmpty {
            let part = rest.prefix(Self.width).map { (index: $0, row: rows[$0]) }
            rest = rest.dropFirst(Self.width)
            let done = try waiting { [progress = context.progress] () throws(SigstoreError) in
                try await concurrently(part) { item throws(SigstoreError) in
                    defer { progress.advance(1) }
                    return await body(item.index, item.row)
                }
            }
            for (item, row) in zip(part, done) { rows[item.index] = row }
        }
    }

    /// What would be signed.
    func plan(at time: Instant) -> ResigningPlan {
        ResigningPlan(
            created: time, isComplete: !rows.contains { $0.outcome == .failed },
            entries: rows.compactMap { row in
                guard let digest = row.digest, !row.parts.isEmpty else { return nil }
                return ResigningPlan.Entry(repository: row.repository, tags: row.tags, digest: digest, parts: row.parts)
            })
    }

    // MARK: What is said of it

    /// Prints every row and the counts.
    /// - Throws: `SigstoreError` with `already-reported` if something failed, and with `not-all-signed` if something was left
    ///   or nothing at all is by the former signer.
    func report(_ format: OutputFormat, isDry: Bool) throws(SigstoreError) {
        let output = context.output
        var counts: [Outcome: Int] = [:]
        for row in rows { counts[row.outcome, default: 0] += 1 }
        let order: [(outcome: Outcome, words: String)] = [
            (.signed, "signed"), (.toSign, isDry ? "to be signed" : "not signed yet"),
            (.alreadySigned, "already signed"),
            (.notProven, "not signed, as nothing proves that the former signature is old enough"),
            (.notFormer, "without a signature of the former signer"), (.carrier, "not signed, as they hold signatures"),
            (.failed, "failed"),
        ]
        if format == .json {
            var sums = JSONObject()
            for (outcome, _) in order { sums[outcome.rawValue] = .integer(counts[outcome] ?? 0) }
            try output.json(
                .object([
                    "version": .integer(1), "dryRun": .bool(isDry), "images": .array(rows.map { $0.json() }),
                    "counts": .object(sums),
                ]))
        } else {
            let width = 17
            for row in rows {
                let word = row.outcome.rawValue
                let space = String(repeating: " ", count: max(1, width - word.utf8.count))
                try output.result("\(word)\(space)\(row.name)  \(row.detail)")
            }
        }
        var failures = FailureReport()
        for row in rows {
            if case .failure(let error)? = row.finding { failures.add(row.name, error) }
            if case .success(let finding)? = row.finding, finding.unplanned > 0 {
                output.warn(
                    "\(row.name): \(finding.unplanned) of the former signer's are not in the plan, and were left")
            }
        }
        failures.print(of: "images", isNamedOnce: true, output)
        if gone > 0 { output.note("\(gone) tags are listed that are not there any more") }
        let said = order.compactMap { outcome, words in counts[outcome].map { "\($0) \(words)" } }
        output.note(
            said.isEmpty ? "No images were found" : said.joined(separator: ", "),
            failures.count == 0 ? .success : .failure)
        guard failures.count == 0 else {
            throw SigstoreError(.alreadyReported, "\(failures.count) of \(rows.count) could not be looked at or signed")
        }
        let left = rows.filter(\.isLeft).count
        guard left == 0 else {
            throw SigstoreError(
                .notAllSigned,
                "\(left) of \(rows.count) images have signatures of the former signer that were not signed anew")
        }
        let isAny = rows.contains { row in
            guard case .success(let finding)? = row.finding else { return false }
            return finding.refusal == nil || finding.isSignedAnew
        }
        guard isAny || rows.isEmpty else {
            throw SigstoreError(
                .notAllSigned, "no image has a signature that verifies by the former signer, and nothing was signed",
                advice: "check the former key or identity, and whether its signatures are in a log")
        }
    }
}

extension ResigningRun.Row {
    var parts: [ImageResigner.Part] {
        if case .success(let finding)? = finding { finding.parts } else { [] }
    }

    /// Whether something of the former signer was seen and not signed.
    var isLeft: Bool {
        if case .success(let finding)? = finding { !finding.unproven.isEmpty } else { false }
    }

    var outcome: ResigningRun.Outcome {
        guard case .success(let finding)? = finding else { return .failed }
        if isSigned { return .signed }
        if finding.isCarrier { return .carrier }
        if !finding.parts.isEmpty { return .toSign }
        if !finding.unproven.isEmpty { return .notProven }
        if !finding.done.isEmpty || finding.isSignedAnew { return .alreadySigned }
        return .notFormer
    }

    /// The tags, and what is said of the digest.
    var detail: String {
        var words: [String] = []
        if !tags.isEmpty, digest != nil {
            words.append("(\(tags.prefix(5).joined(separator: ", "))\(tags.count > 5 ? ", …" : ""))")
        }
        switch finding {
        case .failure(let error)?: words.append(error.code.rawValue)
        case .success(let finding)?:
            words += finding.parts.map(\.words)
            for part in finding.unproven {
                words.append(
                    "left: \(part.words), \(part.time.map { "\(Instant(seconds: $0.seconds))" } ?? "no proven time")")
            }
        case nil: break
        }
        return words.joined(separator: " ")
    }

    func json() -> JSONValue {
        var object: JSONObject = [
            "repository": .string(repository), "tags": .array(tags.map { .string($0) }),
            "result": .string(outcome.rawValue),
        ]
        if let digest { object["digest"] = .string(digest.description) }
        switch finding {
        case .failure(let error)?:
            if case .object(let report) = Output.report(error.advised) { object["error"] = report["error"] }
        case .success(let finding)?:
            for (name, parts) in [
                ("sign", finding.parts), ("alreadySigned", finding.done), ("notProven", finding.unproven),
            ] where !parts.isEmpty { object[name] = .array(parts.map { $0.json() }) }
            if finding.unplanned > 0 { object["notInPlan"] = .integer(finding.unplanned) }
            if let refusal = finding.refusal { object["reason"] = .string(refusal.code.rawValue) }
        case nil: break
        }
        return .object(object)
    }
}

extension SigstoreError.Code {
    /// Something of the former signer was not signed anew, or nothing of it was found at all.
    static let notAllSigned = Self("not-all-signed")
}
