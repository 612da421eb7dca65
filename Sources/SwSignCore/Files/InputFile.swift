internal import LocalSystem
public import SigstoreCrypto
public import SigstoreVerification
public import StrictJSON

/// A file to read, or standard input if the path is `-`.
public struct InputFile: ArtifactSource {
    /// The path as the person wrote it.
    public let path: String

    /// Takes the size of each piece that was read, if the pieces are counted.
    private var onRead: (@Sendable (Int) -> Void)?

    /// Whether it was found in a directory or beside another file, and not named.
    var isFound = false

    /// Names a file.
    /// - Parameter path: The path, or `-` for standard input.
    public init(_ path: String) { (self.path, onRead) = (path, nil) }

    /// The same file, with a function that counts what is read.
    /// - Parameter onRead: Takes the size of each piece that was read.
    public func counting(_ onRead: @escaping @Sendable (Int) -> Void) -> InputFile {
        var file = self
        file.onRead = onRead
        return file
    }

    /// Refuses what was found in a directory and is no file, such as a pipe, which might never end. A person who names one
    /// knows what it is.
    /// - Throws: `SigstoreError` with `file-unreadable`.
    public func expectFile() throws(SigstoreError) {
        guard isFound, let status = FileStatus(path), status.kind != .file, status.kind != .folder else { return }
        throw SigstoreError(
            .fileUnreadable, "\(path) is neither a file nor a directory",
            advice: "name it by itself, if it is to be read")
    }

    /// Refuses what cannot be read, without reading it. Standard input may always be read.
    /// - Throws: `SigstoreError` with `file-not-found`, `file-unreadable` or `is-directory`.
    public func expectReadable() throws(SigstoreError) {
        guard !isStandardInput else { return }
        try expectFile()
        try LocalFile.expectReadable(path)
    }

    /// How many bytes there are to read; 0 if that is not known, as with a pipe.
    public var size: Int64 {
        guard !isStandardInput, let status = FileStatus(path), status.kind == .file else { return 0 }
        return status.size
    }

    /// Whether this is standard input.
    public var isStandardInput: Bool { path == "-" }
    /// How messages name the file.
    public var name: String { isStandardInput ? "standard input" : path }

    /// The path's last component.
    public var baseName: String { path.utf8.split(separator: 0x2f).last.map { String(Substring($0)) } ?? path }

    /// The files in this directory and below it, in the order of their paths. A symbolic link is one of the files,
    /// whatever it leads to: directories are not entered through links.
    /// - Returns: `nil` if this is not a directory.
    /// - Throws: `SigstoreError` if a directory cannot be read, something in it has a name that is not UTF-8, or there
    ///   are more than 100,000 files.
    public func filesInDirectory() throws(SigstoreError) -> [InputFile]? {
        guard !isStandardInput, FileStatus(path)?.kind == .folder else { return nil }
        var files: [InputFile] = []
        var directories = [path]
        while let directory = directories.popLast() {
            try LocalFile.forEachName(directory) { (bytes) throws(SigstoreError) in
                guard let name = String(validating: bytes, as: UTF8.self) else {
                    throw .notUTF8("the name of the file \(directory)/\(String(decoding: bytes, as: UTF8.self))")
                }
                let inside = directory.hasSuffix("/") ? directory + name : "\(directory)/\(name)"
                guard let status = FileStatus(inside, followingLinks: false) else {
                    throw SigstoreError(.fileUnreadable, "\(inside) cannot be looked at", advice: "try again")
                }
                switch status.kind {
                case .folder: directories.append(inside)
                // What is neither file nor directory is refused when it is its turn, beside the others.
                default:
                    var file = InputFile(inside)
                    file.isFound = true
                    files.append(file)
                }
                guard files.count + directories.count <= 100_000 else {
                    throw SigstoreError(.fileTooLarge, "there are more than 100,000 files in \(path)")
                }
            }
        }
        return files.sorted { $0.path < $1.path }
    }

    /// Reads the whole file.
    /// - Parameter limit: The largest size in bytes that is accepted.
    /// - Throws: `SigstoreError` with `file-not-found`, `file-unreadable`, `is-directory` or `file-too-large`.
    public func contents(limit: Int) throws(SigstoreError) -> [UInt8] {
        try LocalFile.contents(isStandardInput ? nil : path, limit: limit, onRead: onRead)
    }

    /// Streams the file once, in constant memory, into everything that is wanted of it.
    public func read(digests: Set<HashAlgorithm>, schemes: Set<SignatureScheme>) throws(SigstoreError) -> HashedMessage
    {
        var hasher = try MessageHasher(digests: digests, schemes: schemes)
        do throws(SigstoreError) {
            unsafe try forEachChunk { (chunk) throws(SigstoreError) in try unsafe hasher.update(chunk) }
        } catch {
            throw error.code == .messageTooLarge ? error.concerning(name) : error
        }
        return try hasher.finish()
    }

    private func forEachChunk(_ body: (UnsafeRawBufferPointer) throws(SigstoreError) -> Void) throws(SigstoreError) {
        unsafe try LocalFile.forEachPiece(of: isStandardInput ? nil : path) { (piece) throws(SigstoreError) in
            unsafe try body(piece)
            onRead?(piece.count)
        }
    }
}

/// A message that was read before, so that the file need not be read again.
public struct ReadArtifact: ArtifactSource {
    let message: HashedMessage

    /// - Parameter message: What was read.
    public init(message: HashedMessage) { self.message = message }

    public func read(digests: Set<HashAlgorithm>, schemes: Set<SignatureScheme>) -> HashedMessage { message }
}
