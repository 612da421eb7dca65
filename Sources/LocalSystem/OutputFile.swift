#if canImport(Glibc)
    internal import Glibc
#elseif canImport(Musl)
    internal import Musl
#elseif canImport(Darwin)
    internal import Darwin
#endif
public import StrictJSON

/// A file that is written whole or not at all.
///
/// The file gets its name only when it is complete and on the disk, so that an interrupted run leaves nothing behind. A
/// device or a pipe is written to as it is.
public struct OutputFile: Sendable {
    /// Where the file will stand.
    public let path: String
    /// Its permissions, such as `0o600`.
    public let mode: UInt32

    /// Names a file.
    /// - Parameters:
    ///   - path: Where it will stand.
    ///   - mode: Its permissions, whatever the umask takes away.
    public init(_ path: String, mode: UInt32 = 0o600) {
        self.path = path
        self.mode = mode
    }

    /// Whether something stands at the path already.
    public var exists: Bool {
        FileStatus(path, followingLinks: false) != nil
    }

    /// Whether what stands there is written to as it is: a device, a pipe, or whatever `/dev/stdout` leads to. Renaming over
    /// them would put a file in the place of the system's.
    public var isWrittenInPlace: Bool { FileStatus(path).map { $0.kind != .file || isInDevices } ?? false }

    /// Whether a terminal stands there.
    public var isTerminal: Bool {
        guard FileStatus(path)?.kind == .device else { return false }
        let descriptor = unsafe open(path, O_WRONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK)
        defer { close(descriptor) }
        return isatty(descriptor) == 1
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

    /// Refuses a place at which no file can be written, before there is anything to write.
    /// - Throws: `SigstoreError` with `is-directory` or `file-unwritable`.
    public func expectWritable() throws(SigstoreError) {
        if let status = FileStatus(path) {
            guard status.kind != .folder else {
                throw SigstoreError(.isDirectory, "\(path) is a directory where a file is to be written")
            }
            if isWrittenInPlace { return }
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
    /// - Throws: `SigstoreError` with `file-exists` or `file-unwritable`.
    public func write(_ bytes: [UInt8], replacing: Bool = true, synced: Bool = true) throws(SigstoreError) {
        if let status = FileStatus(path) {
            guard status.kind != .folder else {
                throw SigstoreError(.isDirectory, "\(path) is a directory where a file is to be written")
            }
            if isWrittenInPlace { return try writeInPlace(bytes) }
            // What a symbolic link leads to is replaced, and not the link.
            if replacing, let target, !target.utf8.elementsEqual(path.utf8) {
                return try OutputFile(target, mode: mode).write(bytes, synced: synced)
            }
        }
        let file = try TemporaryFile(beside: path, mode: mode, exactly: true)
        try file.write(bytes)
        try file.commit(as: path, existing: replacing ? .replaced : .refused, synced: synced)
    }

    /// Begins a file that is too large for memory.
    /// - Returns: The file, to be written to and then given to ``finish(_:)``.
    /// - Throws: `SigstoreError` with `file-unwritable`.
    package func begin() throws(SigstoreError) -> TemporaryFile {
        try TemporaryFile(beside: target ?? path, mode: mode, exactly: true)
    }

    /// Puts a file that was begun into its place, or into that which a symbolic link leads to.
    /// - Throws: `SigstoreError` with `file-unwritable`.
    package func finish(_ file: TemporaryFile) throws(SigstoreError) { try file.commit(as: target ?? path) }

    private var isInDevices: Bool {
        path.utf8.starts(with: "/dev/".utf8) || path.utf8.starts(with: "/proc/".utf8)
    }

    /// Where the path leads, if it is a symbolic link.
    private var target: String? {
        FileStatus(path, followingLinks: false)?.kind == .link ? LocalFile.realPath(path) : nil
    }

    private func writeInPlace(_ bytes: [UInt8]) throws(SigstoreError) {
        let descriptor = unsafe open(path, O_WRONLY | O_CLOEXEC)
        guard descriptor >= 0 else { throw .writing(path, errno) }
        defer { close(descriptor) }
        if let number = unsafe bytes.withUnsafeBytes({ unsafe Descriptor.write(descriptor, $0) }) {
            throw .writing(path, number)
        }
    }

    private var directory: String { LocalFile.folder(of: path) }
}
