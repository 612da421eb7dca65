import ArgumentParser
import HTTPTransport
import LocalSystem
import SigstoreClients
import SigstoreCrypto
import SigstoreVerification
import StrictJSON
import SwSignCore
import Synchronization

struct TlogMonitor: SwSignCommand {
    static let configuration = CommandConfiguration(
        commandName: "monitor",
        abstract: "Watches logs: that they only grow, and who signs with your keys and identities.",
        discussion: """
            The first run notes how large each log is. Every other one checks that the log still begins with what it had then, \
            and reads the entries that are new since.
            """)

    @Option(help: "The file that keeps how far the logs were watched; made by the first run.")
    var state: String
    @Option(
        name: .customLong("key"),
        help: "A public key whose entries are shown: as for --key of verify. May be repeated: any of these.")
    var keys: [String] = []
    @Option(name: .customLong("max-entries"), help: "How many entries are read at most; the next run goes on there.")
    var maxEntries: Int64 = 1000
    @Option(
        help:
            "A file of entries that are right, one a line: the digest of what was signed, the entry's leaf hash or UUID, or if one log is watched, its index. Any other entry is a finding."
    )
    var expect: String?
    @OptionGroup(title: "Identity") var identity: IdentityOptions
    @OptionGroup(title: "Log") var log: LogOptions
    @OptionGroup(title: "Global options") var global: GlobalOptions

    func run(_ context: Context) throws(SigstoreError) {
        guard maxEntries >= 1 else {
            throw SigstoreError(.usage, "--max-entries is \(maxEntries), expected at least 1")
        }
        let place = OutputFile(state, mode: 0o644)
        try place.expectWritable()
        var known = try Self.state(state)
        let (readers, variables) = try log.readers(context)
        let expected = try expect.map { path throws(SigstoreError) in
            try ExpectedEntries(InputFile(path), takesIndexes: readers.count == 1)
        }
        var keys: [PublicKey] = []
        for key in self.keys { keys += try context.key(key).readPublicKeys() }
        let isNamed = identity.isStated || identity.namesSigners
        let identities = isNamed ? try identity.signers().flatMap(\.self) : []
        var (left, unexpected) = (maxEntries, 0)
        var kept = known.json().serialized()
        var failures: [SigstoreError] = []
        for reader in readers {
            let watch = LogWatch(keys: keys, identities: identities, root: reader.root)
            let monitor = LogMonitor(reader.client, root: reader.root, now: context.now())
            let positions = known.positions
            let report = Report(
                reader: reader, format: log.output, expected: expected, watch: watch, now: context.now(),
                output: context.output)
            let outcome = try waiting { [left] () throws(SigstoreError) in
                await monitor.follow(from: positions, limit: left) { entry throws(SigstoreError) in
                    try report.take(entry)
                }
            }
            unexpected += report.unexpected
            left -= outcome.read
            try report.print(outcome, variables)
            if let failure = outcome.failure { failures.append(failure) }
            // What was shown is not shown again, whatever comes of the other logs.
            known.update(outcome)
            let text = known.json().serialized()
            guard text != kept else { continue }
            try place.write(text)
            kept = text
        }
        if let first = failures.first {
            guard readers.count > 1 else { throw first }
            for failure in failures { context.output.error(failure.advised) }
            throw SigstoreError(.alreadyReported, "\(failures.count) of \(readers.count) logs were not watched")
        }
        guard unexpected == 0 else {
            throw SigstoreError(
                .unexpectedLogEntry, "\(unexpected) \(unexpected == 1 ? "entry was" : "entries were") not expected")
        }
    }

    /// What the run before has kept; nothing if there was none.
    private static func state(_ path: String) throws(SigstoreError) -> LogMonitorState {
        guard FileStatus(path) != nil else { return LogMonitorState() }
        let content = try InputFile(path).contents(limit: LogMonitorState.byteLimit)
        do throws(SigstoreError) { return try LogMonitorState(parsing: content) } catch {
            throw SigstoreError(
                error.code, "the state file \(path) cannot be used: \(error.message)",
                advice: "put back a copy of it; without one, move it away, and entries count from now on", cause: error)
        }
    }
}

/// Entries that are right, as a file lists them.
struct ExpectedEntries: Sendable {
    private var digests: Set<Digest> = []
    private var leaves: Set<[UInt8]> = []
    private var indexes: Set<Int64> = []
    private static let sizeLimit = 1 << 26

    /// Reads a file: one a line; empty lines and those that begin with `#` are passed over.
    init(_ file: InputFile, takesIndexes: Bool) throws(SigstoreError) {
        let content = try file.contents(limit: Self.sizeLimit)
        for (number, bytes) in content.split(separator: 0x0a, omittingEmptySubsequences: false).enumerated() {
            let words = bytes.split(whereSeparator: { [0x20, 0x09, 0x0d].contains($0) })
            guard let word = words.first, word.first != 0x23 else { continue }
            do throws(SigstoreError) {
                guard words.count == 1 || words[1].first == 0x23 else {
                    throw SigstoreError(.usage, "there is more than one word, and no # before the second")
                }
                try add(String(decoding: word, as: UTF8.self), takesIndexes)
            } catch { throw error.concerning("\(file.name), line \(number + 1)") }
        }
    }

    private mutating func add(_ word: String, _ takesIndexes: Bool) throws(SigstoreError) {
        if word.utf8.contains(0x3a) {
            digests.insert(try Digest(parsing: word))
        } else if [64, 80].contains(word.utf8.count), let bytes = Hexadecimal.decode(word) {
            leaves.insert(Array(bytes.suffix(32)))
        } else if let index = Int64(word), index >= 0 {
            guard takesIndexes else {
                throw SigstoreError(
                    .usage, "the index \(word) does not say of which log, and several are watched",
                    advice: "name one log with --rekor-url, or write the entry's leaf hash")
            }
            indexes.insert(index)
        } else {
            throw SigstoreError(
                .usage, "\"\(word)\" is no digest, no leaf hash or UUID, and no index",
                advice: "write sha256:…, 64 or 80 hexadecimal digits, or a number")
        }
    }

    func has(_ found: LogMonitor.Entry) -> Bool {
        if leaves.contains(found.leafHash) || indexes.contains(found.entry.logIndex) { return true }
        switch found.body?.subject {
        case .message(let digest)?, .payload(let digest)?: return digests.contains(digest)
        case .envelope(let envelope, let payload)?: return digests.contains(envelope) || digests.contains(payload)
        case nil: return false
        }
    }
}

/// What is printed of one log.
private final class Report: Sendable {
    private let reader: LogOptions.Reader
    private let format: OutputFormat
    private let expected: ExpectedEntries?
    private let watch: LogWatch
    private let now: Int64
    private let output: Output
    private let counts = Mutex((shown: 0, unexpected: 0, unfounded: 0, unreadable: 0))

    init(
        reader: LogOptions.Reader, format: OutputFormat, expected: ExpectedEntries?, watch: LogWatch, now: Int64,
        output: Output
    ) {
        (self.reader, self.format, self.expected) = (reader, format, expected)
        (self.watch, self.now, self.output) = (watch, now, output)
    }

    var unexpected: Int { counts.withLock { $0.unexpected } }

    /// Shows an entry if it is by one who is watched.
    func take(_ found: LogMonitor.Entry) throws(SigstoreError) {
        guard let body = found.body else { return }
        var entry = found.entry
        let match: LogWatch.Match?
        do throws(SigstoreError) { match = try watch.match(body, at: nil) } catch {
            // A key or certificate that cannot be read is nobody's who is watched, and is counted.
            return counts.withLock { $0.unreadable += 1 }
        }
        guard var match else { return }
        (entry.kind, entry.kindVersion) = (body.kind, body.kindVersion)
        if entry.promise != nil {
            // The time is the log's word: whether a certificate counted then, depends on it.
            _ = try reader.root.verify(entry, body, currentTime: now)
            match = try watch.match(body, at: entry.integratedTime) ?? match
        }
        if case .unfounded = match { return counts.withLock { $0.unfounded += 1 } }
        let isExpected = expected?.has(found)
        counts.withLock {
            $0.shown += 1
            if isExpected == false { $0.unexpected += 1 }
        }
        let digest: Digest =
            switch body.subject {
            case .message(let digest), .payload(let digest), .envelope(_, let digest): digest
            }
        let time = entry.promise == nil ? nil : Instant(seconds: entry.integratedTime)
        let leaf = Hexadecimal.encode(found.leafHash)
        if format == .json {
            var object: JSONObject = [
                "event": .string("entry"), "log": .string(reader.client.url.description),
                "logIndex": .integer(entry.logIndex), "leafHash": .string(leaf),
                "kind": .string("\(body.kind) \(body.kindVersion)"), "digest": .string(digest.description),
            ]
            switch match {
            case .key(let fingerprint): object["key"] = .string(fingerprint)
            case .identity(let subject, let issuer):
                object["identity"] = .string(subject)
                object["issuer"] = .string(issuer)
            case .unfounded: break
            }
            if let time { object["integratedTime"] = .string(time.description) }
            if let isExpected { object["expected"] = .bool(isExpected) }
            return try output.json(.object(object))
        }
        let signer =
            switch match {
            case .key(let fingerprint): "the key \(fingerprint)"
            case .identity(let subject, let issuer): "\(subject) (issuer \(issuer))"
            case .unfounded(let subject): subject
            }
        let word = isExpected.map { $0 ? "expected: " : "NOT EXPECTED: " } ?? ""
        try output.result(
            "\(word)entry \(entry.logIndex) of \(reader.client.url): \(digest) by \(signer)"
                + (time.map { ", recorded \($0)" } ?? "") + ", leaf \(leaf)")
    }

    /// Says how far the log was watched.
    func print(_ outcome: LogMonitor.Outcome, _ variables: [String]) throws(SigstoreError) {
        let counts = self.counts.withLock { $0 }
        let unreadable = outcome.unreadable + Int64(counts.unreadable)
        let size = outcome.positions.last?.size ?? 0
        if format == .json {
            var object: JSONObject = [
                "event": .string("log"), "version": .integer(1), "log": .string(reader.client.url.description),
                "began": .bool(outcome.isFirst), "treeSize": .integer(size), "read": .integer(outcome.read),
                "shown": .integer(counts.shown), "unexpected": .integer(counts.unexpected),
                "unreadable": .integer(unreadable), "unfounded": .integer(counts.unfounded),
                "behind": .integer(outcome.behind), "succeeded": .bool(outcome.failure == nil),
            ]
            let member = TrustVariables.member(variables)
            object[member.name] = member.value
            try output.json(.object(object))
        }
        let url = reader.client.url
        if counts.unfounded > 0 {
            output.note(
                "\(url): \(counts.unfounded) entries name an identity that is watched, in certificates that no trusted authority issued"
            )
        }
        if unreadable > 0 {
            output.warn(
                "\(url): \(unreadable) of \(outcome.read) new entries cannot be read here; whose they are is not known")
        }
        guard outcome.failure == nil else { return }
        if outcome.isFirst {
            return output.note("\(url): watched from now on, from its \(size) entries", .success)
        }
        output.note("\(url): consistent; \(outcome.read) new entries read, \(counts.shown) shown", .success)
        if outcome.behind > 0 { output.note("\(url): \(outcome.behind) entries are left for the next run") }
    }
}

extension SigstoreError.Code {
    /// A log has an entry by one who is watched that was not expected.
    static let unexpectedLogEntry = Self("unexpected-log-entry")
}
