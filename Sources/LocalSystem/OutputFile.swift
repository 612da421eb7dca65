internal import Glibc
public import StrictJSON
internal import Synchronization

/// A file that is written whole or not at all.
///
/// The content goes to a file without a name in the same directory and gets its name only when it is complete and on
/// the disk, so that an interrupted run leaves nothing behind; where the file system cannot do that, to a temporary
/// name that is then renamed.
public struct OutputFile: Sendable {
    /// Where the file will stand.
    public let path: String
    /// Its permissions, such as `0o600`.
    public let mode: UInt32

    public init(_ path: String, mode: UInt32 = 0o600) {
        self.path = path
        self.mode = mode
    }

    /// Whether something stands at the path already.
    public var exists: Bool {
        FileStatus(path, followingLinks: false) != nil
    }

    /// Whether both are one file, by whatever names.
    public func isSame(as other: String) -> Bool {
        guard let first = FileStatus(path), let second = FileStatus(other) else {
            // What is not there yet is one file if it would have one name in one directory.
            guard let first = FileStatus(directory), let second = FileStatus(LocalFile.folder(of: other)) else {
                return path.utf8.elementsEqual(other.utf8)
            }
            func name(_ path: String) -> Substring.UTF8View? { path.utf8.split(separator: 0x2f).last }
            return first.identity == second.identity
                && (name(path) ?? path.utf8[...]).elementsEqual(name(other) ?? other.utf8[...])
        }
        return first.identity == second.identity && first.kind == .file
    }

    /// The files that results will replace, and whether they were read since that is known.
    private static let places = Mutex<[(file: FileStatus.Identity, wasRead: Bool)]>([])

    /// Makes known that a result will be written here, before anything is read that it could replace.
    public func reserve() {
        guard let status = FileStatus(path), status.kind == .file else { return }
        Self.places.withLock { $0.append((file: status.identity, wasRead: false)) }
    }

    /// Remembers that a file is read, where a result would replace it.
    static func noteReading(_ descriptor: Int32) {
        places.withLock { places in
            guard !places.isEmpty, let file = FileStatus(descriptor)?.identity else { return }
            for index in places.indices where places[index].file == file { places[index].wasRead = true }
        }
    }

    /// Refuses a file that this run has read since ``reserve()``: what it was asked about would be lost.
    /// - Throws: ``SigstoreError`` with ``SigstoreError/Code/fileExists``.
    public func expectNotRead() throws(SigstoreError) {
        guard let file = FileStatus(path)?.identity else { return }
        let wasRead = Self.places.withLock { places in places.contains { $0.file == file && $0.wasRead } }
        guard !wasRead else {
            throw SigstoreError(
                .fileExists, "\(path) was read, and would be replaced by the result; it was left as it is",
                advice: "name another file for the result")
        }
    }

    /// Refuses a place where no file can be written, before there is anything to write.
    /// - Throws: ``SigstoreError`` with ``SigstoreError/Code/isDirectory`` or ``SigstoreError/Code/fileUnwritable``.
    public func expectWritable() throws(SigstoreError) {
        if let status = FileStatus(path) {
            guard status.kind != .folder else {
                throw SigstoreError(.isDirectory, "\(path) is a directory where a file is to be written")
            }
            if status.kind != .file || isInDevices { return }
        }
        let directory = LocalFile.folder(of: target ?? path)
        if let status = FileStatus(directory), status.kind != .folder { throw .writing(path, ENOTDIR) }
        if let number = LocalFile.fault(reaching: directory, W_OK | X_OK) { throw .writing(path, number) }
    }

    /// Writes the file.
    /// - Parameters:
    ///   - bytes: The whole content.
    ///   - replacing: Whether a file that stands there is replaced; otherwise it is left alone and this throws.
    ///   - synced: Whether it is on the disk when this returns, and not only on its way there.
    /// - Throws: ``SigstoreError`` with ``SigstoreError/Code/fileExists`` or ``SigstoreError/Code/fileUnwritable``.
    public func write(_ bytes: [UInt8], replacing: Bool = true, synced: Bool = true) throws(SigstoreError) {
        if let status = FileStatus(path) {
            guard status.kind != .folder else {
                throw SigstoreError(.isDirectory, "\(path) is a directory where a file is to be written")
            }
            // A device or a pipe is written to, and so is whatever /dev/stdout leads to: renaming over them would put a
            // file in the place of the system's.
            if status.kind != .file || isInDevices { return try writeInPlace(bytes) }
            // What a symbolic link leads to is replaced, and not the link.
            if replacing, let target, !target.utf8.elementsEqual(path.utf8) {
                return try OutputFile(target, mode: mode).write(bytes)
            }
        }
        var (descriptor, temporary) = (
            unsafe open(directory, Self.withoutName | O_WRONLY | O_CLOEXEC, mode), String?.none
        )
        if descriptor < 0 {
            let name = temporaryName
            descriptor = unsafe open(name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode)
            guard descriptor >= 0 else { throw .writing(path, errno) }
            temporary = name
        }
        do throws(SigstoreError) {
            defer { close(descriptor) }
            guard fchmod(descriptor, mode) == 0 else { throw .writing(path, errno) }
            try Self.write(bytes, to: descriptor, path)
            if synced { guard fsync(descriptor) == 0 else { throw .writing(path, errno) } }
            if temporary == nil { temporary = try name(descriptor, replacing: replacing) }
        } catch {
            if let temporary { unsafe unlink(temporary) }
            throw error
        }
        if let temporary { try rename(temporary, replacing: replacing) }
    }

    /// A name beside the file's own. One that an earlier run left behind must not be in the way.
    private var temporaryName: String { "\(path).tmp-\(String(UInt64.random(in: 0...UInt64.max), radix: 36))" }

    /// Gives an open file without a name its place.
    /// - Returns: The temporary name that it got instead, where something stands at its place already.
    private func name(_ descriptor: Int32, replacing: Bool) throws(SigstoreError) -> String? {
        let source = "/proc/self/fd/\(descriptor)"
        if unsafe linkat(AT_FDCWD, source, AT_FDCWD, path, AT_SYMLINK_FOLLOW) == 0 { return nil }
        guard errno == EEXIST else { throw .writing(path, errno) }
        guard replacing else { throw .exists(path) }
        let name = temporaryName
        guard unsafe linkat(AT_FDCWD, source, AT_FDCWD, name, AT_SYMLINK_FOLLOW) == 0 else {
            throw .writing(path, errno)
        }
        return name
    }

    private func rename(_ temporary: String, replacing: Bool) throws(SigstoreError) {
        // A link never replaces what stands there, a renaming does.
        let result = unsafe replacing ? Glibc.rename(temporary, path) : link(temporary, path)
        let number = errno
        if result != 0 || !replacing { unsafe unlink(temporary) }
        guard result == 0 else { throw number == EEXIST ? .exists(path) : .writing(path, number) }
    }

    /// Linux's `O_TMPFILE`, whose macro Swift does not import: a file without a name in a directory.
    static let withoutName: Int32 = 0o20000000 | O_DIRECTORY

    private var isInDevices: Bool {
        path.utf8.starts(with: "/dev/".utf8) || path.utf8.starts(with: "/proc/".utf8)
    }

    /// Where the path leads, where it is a symbolic link.
    private var target: String? {
        FileStatus(path, followingLinks: false)?.kind == .link ? LocalFile.realPath(path) : nil
    }

    private func writeInPlace(_ bytes: [UInt8]) throws(SigstoreError) {
        let descriptor = unsafe open(path, O_WRONLY | O_CLOEXEC)
        guard descriptor >= 0 else { throw .writing(path, errno) }
        defer { close(descriptor) }
        try Self.write(bytes, to: descriptor, path)
    }

    private static func write(_ bytes: [UInt8], to descriptor: Int32, _ name: String) throws(SigstoreError) {
        if let number = unsafe bytes.withUnsafeBytes({ unsafe Descriptor.write(descriptor, $0) }) {
            throw .writing(name, number)
        }
    }

    private var directory: String { LocalFile.folder(of: path) }
}
