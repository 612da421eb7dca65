internal import Glibc
public import InToto
public import SigstoreCrypto
public import SigstoreVerification

/// A file to read, or standard input where the path is `-`.
public struct InputFile: ArtifactSource {
    /// The path as the person wrote it.
    public let path: String

    /// Takes the size of each piece that was read, where somebody counts.
    private var onRead: (@Sendable (Int) -> Void)?

    /// Whether it was found in a directory or beside another file, and not named.
    var isFound = false

    /// Names a file.
    /// - Parameter path: The path, or `-` for standard input.
    public init(_ path: String) { (self.path, onRead) = (path, nil) }

    /// The same file, with somebody who counts.
    /// - Parameter onRead: Takes the size of each piece that was read.
    public func counting(_ onRead: @escaping @Sendable (Int) -> Void) -> InputFile {
        var file = self
        file.onRead = onRead
        return file
    }

    /// Refuses what was found in a directory and is no file, such as a pipe, which might never end. A person who names one
    /// knows what it is.
    /// - Throws: ``SigstoreError`` with ``SigstoreError/Code/fileUnreadable``.
    public func expectFile() throws(SigstoreError) {
        var status = stat()
        guard isFound, unsafe stat(path, &status) == 0, status.st_mode & S_IFMT != S_IFREG,
            status.st_mode & S_IFMT != S_IFDIR
        else { return }
        throw SigstoreError(
            .fileUnreadable, "\(path) is neither a file nor a directory",
            advice: "name it by itself, if it is to be read")
    }

    /// How many bytes there are to read; 0 where nobody knows, as with a pipe.
    public var size: Int64 {
        var status = stat()
        guard !isStandardInput, unsafe stat(path, &status) == 0, status.st_mode & S_IFMT == S_IFREG else { return 0 }
        return Int64(status.st_size)
    }

    /// Whether this is standard input.
    public var isStandardInput: Bool { path == "-" }
    /// How messages name the file.
    public var name: String { isStandardInput ? "standard input" : path }

    /// The path's last component.
    public var baseName: String { path.utf8.split(separator: 0x2f).last.map { String(Substring($0)) } ?? path }

    /// The files in this directory and below it, in the order of their paths. A symbolic link is one of the files,
    /// whatever it leads to: directories are not entered through links.
    /// - Returns: `nil` where this is not a directory.
    /// - Throws: ``SigstoreError`` where a directory cannot be read, something in it has a name that is not UTF-8, or there
    ///   are more than 100,000 files.
    public func filesInDirectory() throws(SigstoreError) -> [InputFile]? {
        var status = stat()
        guard !isStandardInput, unsafe stat(path, &status) == 0, status.st_mode & S_IFMT == S_IFDIR else { return nil }
        var files: [InputFile] = []
        var directories = [path]
        while let directory = directories.popLast() {
            guard let stream = unsafe opendir(directory) else { throw .opening(directory, errno) }
            defer { unsafe closedir(stream) }
            while let entry = unsafe readdir(stream) {
                let bytes = unsafe withUnsafeBytes(of: entry.pointee.d_name) { unsafe Array($0.prefix { $0 != 0 }) }
                guard let name = String(validating: bytes, as: UTF8.self) else {
                    throw .notUTF8("the name of the file \(directory)/\(String(decoding: bytes, as: UTF8.self))")
                }
                if name == "." || name == ".." { continue }
                let inside = directory.hasSuffix("/") ? directory + name : "\(directory)/\(name)"
                guard unsafe lstat(inside, &status) == 0 else { throw .opening(inside, errno) }
                switch status.st_mode & S_IFMT {
                case S_IFDIR: directories.append(inside)
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
    /// - Throws: ``SigstoreError`` with ``SigstoreError/Code/fileNotFound``, ``SigstoreError/Code/fileUnreadable``,
    ///   ``SigstoreError/Code/isDirectory`` or ``SigstoreError/Code/fileTooLarge``.
    public func contents(limit: Int) throws(SigstoreError) -> [UInt8] {
        var bytes: [UInt8] = []
        unsafe try forEachChunk { (chunk) throws(SigstoreError) in
            guard bytes.count + chunk.count <= limit else {
                throw SigstoreError(.fileTooLarge, "\(name) is larger than \(limit) bytes")
            }
            unsafe bytes.append(contentsOf: chunk)
        }
        return bytes
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
        let descriptor = isStandardInput ? STDIN_FILENO : unsafe open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY)
        guard descriptor >= 0 else { throw .opening(path, errno) }
        defer { if !isStandardInput { close(descriptor) } }
        OutputFile.noteReading(descriptor)
        _ = posix_fadvise(descriptor, 0, 0, POSIX_FADV_SEQUENTIAL)
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 1 << 18, alignment: 4096)
        defer { unsafe buffer.deallocate() }
        while true {
            let count = unsafe Glibc.read(descriptor, buffer.baseAddress, buffer.count)
            if count == 0 { return }
            if count < 0 {
                if errno == EINTR { continue }
                throw .reading(name, errno)
            }
            try unsafe body(UnsafeRawBufferPointer(rebasing: buffer[..<count]))
            onRead?(count)
        }
    }
}

/// A message that was read before, for checking what was just signed without reading the file again.
struct ReadArtifact: ArtifactSource {
    let message: HashedMessage
    func read(digests: Set<HashAlgorithm>, schemes: Set<SignatureScheme>) -> HashedMessage { message }
}

extension SigstoreError {
    static func opening(_ path: String, _ number: Int32) -> SigstoreError {
        switch number {
        case ENOENT: SigstoreError(.fileNotFound, "there is no file \(path)", advice: "check the path")
        case ENOTDIR: SigstoreError(.fileNotFound, "\(path) leads through something that is not a directory")
        default: SigstoreError(.fileUnreadable, "\(path) cannot be opened: \(reason(number))")
        }
    }

    static func reading(_ name: String, _ number: Int32) -> SigstoreError {
        number == EISDIR
            ? SigstoreError(.isDirectory, "\(name) is a directory where a file is needed")
            : SigstoreError(.fileUnreadable, "\(name) cannot be read: \(reason(number))")
    }

    /// Text that would have to be changed to be shown or passed on, and is refused instead.
    /// - Parameter what: What is not UTF-8, as the beginning of a sentence.
    public static func notUTF8(_ what: String) -> SigstoreError {
        SigstoreError(.notUTF8, "\(what) is not UTF-8", advice: "rename the file, or give it another name by a link")
    }

    /// The system's words for an error number.
    public static func reason(_ number: Int32) -> String {
        var text = [CChar](repeating: 0, count: 256)
        guard unsafe strerror_r(number, &text, text.count) == 0 else { return "error \(number)" }
        return String(decoding: text.prefix { $0 != 0 }.map(UInt8.init(bitPattern:)), as: UTF8.self)
    }
}

extension SigstoreError.Code {
    /// A file that was named does not exist.
    public static let fileNotFound = Self("file-not-found")
    /// A file exists and cannot be read.
    public static let fileUnreadable = Self("file-unreadable")
    /// A directory stands where a file is needed.
    public static let isDirectory = Self("is-directory")
    /// A name or a value is not text in UTF-8.
    public static let notUTF8 = Self("not-utf8")
    /// A file is larger than what it is read for allows.
    public static let fileTooLarge = Self("file-too-large")
}
