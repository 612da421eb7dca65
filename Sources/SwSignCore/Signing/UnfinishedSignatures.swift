internal import LocalSystem
internal import SigstoreCrypto
internal import SigstoreVerification
internal import StrictJSON
internal import Synchronization

/// Signatures that were begun, and that services know of already, but that did not reach where they belong. They are
/// kept, one a file, so that the next run finishes them instead of recording another.
///
/// Several instances, in one process or in many, may share a directory.
public final class UnfinishedSignatures: Sendable {
    /// The directory; it is made when something is kept.
    public let directory: String

    /// What this instance has signed and not delivered, and how much it has begun.
    private struct State {
        /// The names of finished signatures, by signature: a bundle does not always hold the digest that names it.
        var names: [[UInt8]: String] = [:]
        /// How much was begun.
        var count = 0
        /// Whether it was said that something is signed anew.
        var hasSaid = false
    }

    private let state = Mutex(State())
    /// What tells this instance from others of this process.
    private let number = UInt32.random(in: .min ... .max)

    private let notice: @Sendable (String) -> Void

    /// Names the directory.
    /// - Parameters:
    ///   - directory: Its path.
    ///   - notice: Takes a sentence for a person if signatures that were begun are signed anew.
    public init(directory: String, notice: @escaping @Sendable (String) -> Void = { _ in }) {
        self.directory = directory
        self.notice = notice
    }

    /// Says that signatures are signed anew, once.
    func say(_ sentence: String) {
        let isFirst = state.withLock { state in
            defer { state.hasSaid = true }
            return !state.hasSaid
        }
        if isFirst { notice(sentence) }
    }

    /// A signature and how far it got.
    struct Entry: Sendable {
        static let mediaType = "application/vnd.swsign.unfinished.v1+json"

        var bundle: SigstoreBundle
        /// The timestamp authorities that have timestamped it, by their URLs, in the order of the bundle.
        var timestampAuthorities: [String] = []
        /// The logs that have recorded it, by their URLs, in the order of the bundle.
        var transparencyLogs: [String] = []

        init(bundle: SigstoreBundle) { self.bundle = bundle }

        init(parsing json: [UInt8]) throws(SigstoreError) {
            let entry = JSONCursor(try JSONValue(parsing: json))
            try entry.expectOnly(["mediaType", "bundle", "timestampAuthorities", "transparencyLogs"])
            let mediaType = try entry.member("mediaType")
            guard try mediaType.string().utf8.elementsEqual(Self.mediaType.utf8) else {
                throw mediaType.fault("is not \(Self.mediaType)")
            }
            bundle = try SigstoreBundle(parsing: try entry.member("bundle").value.serialized())
            for url in try entry.member("timestampAuthorities").elements() {
                timestampAuthorities.append(try url.string())
            }
            for url in try entry.member("transparencyLogs").elements() { transparencyLogs.append(try url.string()) }
            guard timestampAuthorities.count == bundle.timestamps.count,
                transparencyLogs.count == bundle.logEntries.count
            else { throw entry.fault("does not say for each timestamp and log entry where it is from") }
        }

        var json: JSONValue {
            .object([
                "mediaType": .string(Self.mediaType), "bundle": bundle.json,
                "timestampAuthorities": .array(timestampAuthorities.map { .string($0) }),
                "transparencyLogs": .array(transparencyLogs.map { .string($0) }),
            ])
        }
    }

    /// The name of the file for one thing signed by one signer.
    static func name(signed: Digest, signer: String) throws(SigstoreError) -> String {
        "\(signed.hex)-\(try Digest.sha256(Array(signer.utf8)).hex.prefix(16)).json"
    }

    func path(_ name: String) -> String { "\(directory)/\(name)" }

    /// Remembers the name of a finished signature for ``takeName(of:)``.
    func remember(_ name: String, of bundle: SigstoreBundle) throws(SigstoreError) {
        let signature = try bundle.signature()
        state.withLock { $0.names[signature] = name }
    }

    /// The name of a finished signature, once.
    func takeName(of bundle: SigstoreBundle) -> String? {
        guard let signature = try? bundle.signature() else { return nil }
        return state.withLock { $0.names.removeValue(forKey: signature) }
    }

    /// Keeps what a log or a registry is about to be told of, so that it is not lost if the run is stopped then. If it
    /// cannot be kept, the signature is made all the same.
    /// - Parameter path: Where it is kept already.
    /// - Returns: Where it is kept now, for ``end(_:)``.
    func begin(_ entry: Entry, _ name: String, at path: String? = nil) async -> String {
        let path =
            path
            ?? state.withLock { state in
                // Two files with one content have one name.
                state.count += 1
                let owner = "\(ProcessEnvironment.processNumber).\(ProcessEnvironment.runIdentifier)"
                return "\(self.path(name)).\(owner).\(number).\(state.count)"
            }
        try? await onBlockingThread { () throws(SigstoreError) in
            try self.makeDirectory()
            try OutputFile(path).write(entry.json.serialized(), synced: false)
        }
        return path
    }

    /// Forgets what ``begin(_:_:at:)`` kept.
    func end(_ path: String) async {
        _ = try? await onBlockingThread { () throws(SigstoreError) in LocalFile.remove(path) }
    }

    /// Whether the run that began what is kept in a file is over.
    /// - Parameter ending: What stands in the file's name after the signature's: process, run, instance and count.
    private static func isOver(_ ending: Substring) -> Bool {
        let parts = ending.split(separator: ".", maxSplits: 2)
        guard let process = parts.first.flatMap({ Int32($0) }) else { return false }
        guard process == ProcessEnvironment.processNumber else { return !ProcessEnvironment.isRunning(process) }
        // In containers, runs one after the other often have the same number. What this run has begun, itself or by
        // another instance, is under way.
        return parts.count < 2 || !parts[1].utf8.elementsEqual(ProcessEnvironment.runIdentifier.utf8)
    }

    /// What a run that was stopped has left becomes what is kept, unless something is.
    private func takeOver(_ name: String) {
        for found in (try? LocalFile.names(directory, limit: 1_000_000)) ?? [] {
            guard found.utf8.starts(with: "\(name).".utf8),
                Self.isOver(found.dropFirst(name.count + 1))
            else { continue }
            // A link never replaces what stands there: that comes first, and this one in a later run.
            guard (try? LocalFile.link(path(found), as: path(name))) != nil else { return }
            LocalFile.remove(path(found))
            return
        }
    }

    /// What was kept under a name; `nil` if nothing was.
    func load(_ name: String) async throws(SigstoreError) -> Entry? {
        try await onBlockingThread { () throws(SigstoreError) in try self.read(name) }
    }

    private func read(_ name: String) throws(SigstoreError) -> Entry? {
        // If nothing can be kept, nothing was.
        guard LocalFile.canEnter(directory) else { return nil }
        takeOver(name)
        let content: [UInt8]
        do throws(SigstoreError) { content = try InputFile(path(name)).contents(limit: SigstoreBundle.sizeLimit) } catch
        {
            guard error.code == .fileNotFound else { throw error }
            return nil
        }
        do throws(SigstoreError) { return try Entry(parsing: content) } catch {
            throw SigstoreError(
                error.code, "the unfinished signature \(path(name)) cannot be read: \(error.message)",
                advice: "remove the file to sign anew", cause: error)
        }
    }

    /// Keeps a signature for the next run.
    func keep(_ entry: Entry, _ name: String) async throws(SigstoreError) {
        try await onBlockingThread { () throws(SigstoreError) in
            try self.makeDirectory()
            try OutputFile(self.path(name)).write(entry.json.serialized())
        }
    }

    /// Makes the directory, and those on the way to it, closed to others.
    private func makeDirectory() throws(SigstoreError) { try LocalFile.makeFolder(directory, mode: 0o700) }

    /// Forgets what was kept under a name.
    func remove(_ name: String) async {
        _ = try? await onBlockingThread { () throws(SigstoreError) in LocalFile.remove(self.path(name)) }
    }
}
