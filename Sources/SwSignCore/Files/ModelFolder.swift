internal import LocalSystem
public import Provenance
public import SigstoreCrypto
public import StrictJSON
internal import Synchronization

/// The folder of a model, whose files are hashed side by side, each streamed once.
public struct ModelFolder: Sendable {
    /// The path as the person wrote it.
    public let path: String
    /// Where the signature is, or will be. It is no file of the model.
    public let signature: String
    /// Paths from the folder that are left out, with all that is below them.
    public let ignoredPaths: [String]
    /// Whether what belongs to Git is left out too.
    public let ignoresGit: Bool
    /// Takes how many bytes there are to read, before any is read.
    public var onBegin: (@Sendable (Int64) -> Void)?
    /// Takes the size of each piece that was read.
    public var onRead: (@Sendable (Int) -> Void)?

    private let folder: OpenFolder

    /// The name of the signature that `model_signing` writes.
    public static let signatureName = "model.sig"
    /// How many differences are named one by one.
    private static let namedLimit = 20

    /// Opens a model's folder.
    /// - Parameters:
    ///   - path: The folder.
    ///   - signature: Where the signature is; by default `model.sig` in the folder.
    ///   - ignoredPaths: Paths, as any program takes them, of what is left out. Each lies in the folder.
    ///   - ignoresGit: Whether what belongs to Git is left out too (`ModelManifest.gitPaths`).
    /// - Throws: `SigstoreError` with `file-not-found` or `file-unreadable`; with `usage` for a path that is not in the folder.
    public init(_ path: String, signature: String? = nil, ignoredPaths: [String] = [], ignoresGit: Bool = true)
        throws(SigstoreError)
    {
        self.path = path
        self.ignoresGit = ignoresGit
        if let status = FileStatus(path), status.kind != .folder {
            throw SigstoreError(
                .fileUnreadable, "\(path) is not a folder", advice: "name the folder that holds the model's files")
        }
        folder = try OpenFolder(path)
        self.signature = signature ?? (path.hasSuffix("/") ? path : path + "/") + Self.signatureName
        var ignored: [String] = []
        for given in ignoredPaths {
            guard let inside = Self.path(of: given, in: path) else {
                throw SigstoreError(
                    .usage, "\(given) is to be left out of the model, and is not in the folder \(path)",
                    advice: "write its path from where you are, such as \(path)/README.md")
            }
            try ModelManifest.expectName(inside)
            ignored.append(inside)
        }
        self.ignoredPaths = ignored
    }

    /// The folder's own name.
    public var name: String {
        (LocalFile.realPath(path) ?? path).utf8.split(separator: 0x2f).last.map { String(Substring($0)) } ?? path
    }

    /// The path of something from a folder; `nil` if it is not in it. The last part may be a link, or not be there.
    private static func path(of given: String, in folder: String) -> String? {
        var parts = given.utf8.split(separator: 0x2f)
        guard let last = parts.popLast(), !last.elementsEqual(".".utf8), !last.elementsEqual("..".utf8),
            let parent = LocalFile.realPath(LocalFile.folder(of: trimmed(given))),
            let root = LocalFile.realPath(folder)
        else { return nil }
        let found = (parent.utf8.split(separator: 0x2f) + [last])
        let above = root.utf8.split(separator: 0x2f)
        guard found.count > above.count, zip(found, above).allSatisfy({ $0.elementsEqual($1) }) else { return nil }
        return found.dropFirst(above.count).map { String(Substring($0)) }.joined(separator: "/")
    }

    private static func trimmed(_ path: String) -> String {
        var bytes = path.utf8[...]
        while bytes.count > 1, bytes.last == 0x2f { bytes.removeLast() }
        return String(Substring(bytes))
    }

    // MARK: - Signing

    /// Hashes the model for a new signature.
    /// - Parameters:
    ///   - hash: The hash function.
    ///   - allowsLinks: Whether links to files in the folder stand for these; otherwise a link is refused.
    /// - Throws: `SigstoreError` with `model-file-link` for a link that may not be there or leads out of the folder, with
    ///   `model-file-name`, or with `file-unreadable`.
    public func manifest(hash: ContentHash, allowsLinks: Bool) async throws(SigstoreError) -> ModelManifest {
        let own = Self.path(of: signature, in: path)
        let ignored = (own.map { [$0] } ?? []) + (ignoresGit ? ModelManifest.gitPaths : []) + ignoredPaths
        let found = try await entries(without: ignored)
        var differences = Differences()
        for entry in found {
            if entry.kind == .link, !allowsLinks { differences.links.append(entry.path) }
            if entry.kind != .link, entry.kind != .file { differences.others.append(entry.path) }
        }
        try differences.expectNone(in: path, isSigning: true)
        let digests = try await digests(of: found, hash, followingLinks: allowsLinks)
        do throws(SigstoreError) {
            return try ModelManifest(
                name: name, hash: hash, allowsLinks: allowsLinks, ignoredPaths: ignored,
                files: zip(found, digests).map { ModelManifest.File(name: $0.path, digest: $1 ?? []) })
        } catch {
            throw error.code == .malformedModelSignature
                ? SigstoreError(
                    .malformedModelSignature, "\(path): \(error.message); nothing was signed",
                    advice: "name the folder that holds the model's files") : error.concerning(path)
        }
    }

    // MARK: - Verifying

    /// Refuses a folder that is not what a signature says.
    ///
    /// A file that the signature names is always looked at. Others count, unless they are the signature itself, or the
    /// signature, this folder or Git leaves them out.
    /// - Parameter manifest: What the signature says, verified before.
    /// - Throws: `SigstoreError` that names the first differences of each kind, with `model-file-changed`,
    ///   `model-file-missing`, `model-file-extra` or `model-file-link`, the first of these that there is; with
    ///   `file-unreadable` if something cannot be looked at.
    public func expect(_ manifest: ModelManifest) async throws(SigstoreError) {
        var expected: [[UInt8]: [UInt8]] = [:]
        for file in manifest.files {
            guard !ModelManifest.isIgnored(file.name, by: ignoredPaths) else {
                throw SigstoreError(
                    .modelFileMissing, "\(path): the signature names \(file.name), which is to be left out",
                    advice: "leave out only what the signature does not name")
            }
            expected[Array(file.name.utf8)] = file.digest
        }
        // What Git keeps is left out by name alone, so none of it may be a file that was signed.
        let git = ignoresGit ? ModelManifest.gitPaths : []
        let byName = git.filter { name in !manifest.files.contains { ModelManifest.isIgnored($0.name, by: [name]) } }
        let ignored = manifest.ignoredPaths + ignoredPaths + byName
        // By its name: a file by another name is one of the model's, even if it is the same.
        let own = Self.path(of: LocalFile.realPath(signature) ?? signature, in: path)
        let found = try await entries(without: ignored).filter { entry in
            own.map { !$0.utf8.elementsEqual(entry.path.utf8) } ?? true || expected[Array(entry.path.utf8)] != nil
        }
        var differences = Differences()
        var hashed: [FolderEntry] = []
        var seen: Set<[UInt8]> = []
        for entry in found {
            let name = Array(entry.path.utf8)
            seen.insert(name)
            switch entry.kind {
            case .link where !manifest.allowsLinks: differences.links.append(entry.path)
            case .file, .link:
                if expected[name] == nil { differences.extra.append(entry.path) } else { hashed.append(entry) }
            default: differences.others.append(entry.path)
            }
        }
        differences.missing = manifest.files.map(\.name).filter { !seen.contains(Array($0.utf8)) }
        let digests = try await digests(of: hashed, manifest.hash, followingLinks: manifest.allowsLinks)
        for (entry, digest) in zip(hashed, digests) {
            guard let signed = expected[Array(entry.path.utf8)] else { continue }
            guard let digest else {
                differences.missing.append(entry.path)
                continue
            }
            if digest != signed {
                differences.changed.append(
                    "\(entry.path), expected \(manifest.hash.rawValue):\(Hexadecimal.encode(signed)), found "
                        + "\(Hexadecimal.encode(digest))")
            }
        }
        try differences.expectNone(in: path, isSigning: false)
    }

    /// What is not as it should be, by kind.
    private struct Differences {
        var changed: [String] = []
        var missing: [String] = []
        var extra: [String] = []
        var links: [String] = []
        /// Pipes, sockets, devices.
        var others: [String] = []

        func expectNone(in folder: String, isSigning: Bool) throws(SigstoreError) {
            let kinds: [(code: SigstoreError.Code, word: String, names: [String])] = [
                (.modelFileChanged, "changed", changed), (.modelFileMissing, "missing", missing),
                (.modelFileExtra, isSigning ? "neither file nor folder" : "extra", extra + others),
                (.modelFileLink, links.count == 1 ? "symbolic link" : "symbolic links", links),
            ].filter { !$0.names.isEmpty }
            guard let first = kinds.first else { return }
            let counts = kinds.map { "\($0.names.count) \($0.word)" }.joined(separator: ", ")
            var details: [String] = []
            for kind in kinds {
                let names = kind.names.sorted { $0.utf8.lexicographicallyPrecedes($1.utf8) }
                details += names.prefix(ModelFolder.namedLimit).map { "\(kind.word): \($0)" }
                if names.count > ModelFolder.namedLimit {
                    details.append("\(kind.word): \(names.count - ModelFolder.namedLimit) more")
                }
            }
            throw SigstoreError(
                first.code,
                isSigning
                    ? "\(folder): not everything in it can be signed (\(counts)); nothing was signed"
                    : "\(folder) is not the model that was signed: \(counts)",
                details: details,
                advice: isSigning
                    ? .remedy(.leaveOutOrAllowLinks) : "get the model again, or the signature that belongs to it")
        }
    }

    // MARK: - Reading

    /// What is in the folder and is not left out, in no order.
    private func entries(without ignored: [String]) async throws(SigstoreError) -> [FolderEntry] {
        try await onBlockingThread { () throws(SigstoreError) in
            do throws(SigstoreError) {
                return try folder.entriesBelow(limit: 2 * ModelManifest.fileLimit) {
                    !ModelManifest.isIgnored($0, by: ignored)
                }
            } catch { throw error.concerning(path) }
        }
    }

    /// The digests of files, in their order; `nil` for one that is not there (any more).
    private func digests(of files: [FolderEntry], _ hash: ContentHash, followingLinks: Bool)
        async throws(SigstoreError) -> [[UInt8]?]
    {
        onBegin?(files.reduce(0) { $0.addingReportingOverflow($1.size).partialValue })
        // The largest first, so that no thread has one left when the others have ended.
        let order = files.indices.sorted { files[$0].size > files[$1].size }
        let work = HashWork(order: order, count: files.count)
        await withTaskGroup(of: Void.self) { group in
            for _ in 0..<min(BlockingThread.processors, files.count) {
                group.addTask {
                    do throws(SigstoreError) {
                        try await onBlockingThread { () throws(SigstoreError) in
                            while let index = work.next() {
                                work.end(
                                    index, try digest(of: files[index], hash, followingLinks: followingLinks))
                            }
                        }
                    } catch { work.fail(error) }
                }
            }
        }
        return try work.digests()
    }

    private func digest(of file: FolderEntry, _ hash: ContentHash, followingLinks: Bool) throws(SigstoreError)
        -> [UInt8]?
    {
        do throws(SigstoreError) {
            guard let opened = try folder.file(below: file.path, followingLinks: followingLinks) else { return nil }
            var hasher = try ContentHasher(hash)
            unsafe try opened.forEachPiece { (piece) throws(SigstoreError) in
                unsafe try hasher.update(piece)
                onRead?(piece.count)
            }
            return try hasher.finish()
        } catch {
            guard error.code == .linkLeadsOut else { throw error.concerning(path) }
            throw SigstoreError(
                .modelFileLink, "\(path): \(error.message)",
                advice: "put the file itself in the place of the link")
        }
    }
}

extension InputFile {
    /// Whether this is a folder with a file of that name.
    public func isFolder(holding name: String) -> Bool {
        FileStatus(path)?.kind == .folder && FileStatus("\(path)/\(name)")?.kind == .file
    }
}

/// The files that are still to be hashed, and the digests of the others.
private final class HashWork: Sendable {
    private struct State {
        var next = 0
        var digests: [[UInt8]?]
        var failure: SigstoreError?
    }
    private let order: [Int]
    private let state: Mutex<State>

    init(order: [Int], count: Int) {
        self.order = order
        state = Mutex(State(digests: Array(repeating: nil, count: count)))
    }

    /// The next file; `nil` after the last one, or if one has failed.
    func next() -> Int? {
        state.withLock { state in
            guard state.failure == nil, state.next < order.count else { return nil }
            defer { state.next += 1 }
            return order[state.next]
        }
    }

    func end(_ index: Int, _ digest: [UInt8]?) { state.withLock { $0.digests[index] = digest } }

    func fail(_ error: SigstoreError) { state.withLock { $0.failure = $0.failure ?? error } }

    func digests() throws(SigstoreError) -> [[UInt8]?] {
        let (digests, failure) = state.withLock { ($0.digests, $0.failure) }
        if let failure { throw failure }
        return digests
    }
}

extension SigstoreError.Code {
    /// A file of a model is not the one that was signed.
    public static let modelFileChanged = Self("model-file-changed")
    /// A file that was signed is not in the model.
    public static let modelFileMissing = Self("model-file-missing")
    /// Something in a model was not signed.
    public static let modelFileExtra = Self("model-file-extra")
    /// A symbolic link in a model that may not be there, or leads out of it.
    public static let modelFileLink = Self("model-file-link")
}

extension SigstoreError.Remedy {
    /// A model holds something that cannot be signed as it is.
    public static let leaveOutOrAllowLinks = Self("leave-it-out-or-allow-links")
}
