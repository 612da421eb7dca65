#if canImport(Glibc)
    internal import Glibc
#elseif canImport(Musl)
    internal import Musl
#elseif canImport(Darwin)
    internal import Darwin
#endif
package import StrictJSON

/// A file that is written first and gets its name when it is whole, so that a reader sees all of it or nothing, and an
/// interrupted run leaves nothing behind. Everything that is written to disk goes through here.
///
/// It has no name until ``commit(as:existing:synced:)``. If the system or the file system cannot do that, it has a name of
/// its own beside its place until then. It is gone with this object if it was not committed.
package final class TemporaryFile: Sendable {
    /// What becomes of a file that has the name already.
    package enum Existing: Sendable {
        /// It gives way.
        case replaced
        /// It stays, and that is no error.
        case kept
        /// It stays, and that is an error.
        case refused
    }

    /// The file, for reading what was written.
    package let reading: OpenFile
    private let folder: OpenFolder?
    /// The name of its own; `nil` if it has none.
    private let name: String?
    /// What messages call it.
    private let path: String

    private var descriptor: CInt { reading.descriptor }

    /// A file that will get a name.
    /// - Parameters:
    ///   - path: What it will be called. It is on the same disk from the beginning.
    ///   - folder: An open folder that relative paths begin at.
    ///   - mode: The file's permissions, such as `0o600`.
    ///   - exactly: Whether they are these whatever the umask takes away.
    /// - Throws: `SigstoreError` with `file-unwritable`.
    package convenience init(beside path: String, in folder: OpenFolder? = nil, mode: UInt32, exactly: Bool = false)
        throws(SigstoreError)
    {
        try self.init(beside: path, in: folder, mode: mode, exactly: exactly, unnamed: systemNamesOpenFiles())
    }

    /// - Parameter unnamed: Whether it has no name of its own, if the file system can do that.
    init(beside path: String, in folder: OpenFolder? = nil, mode: UInt32, exactly: Bool = false, unnamed: Bool)
        throws(SigstoreError)
    {
        let parent = OpenFolder.descriptor(folder)
        var name: String?
        var descriptor: CInt = -1
        if unnamed { descriptor = systemOpenUnnamed(parent, LocalFile.folder(of: path), mode) }
        if descriptor < 0 {
            let own = Self.ownName(beside: path)
            descriptor = unsafe openat(
                parent, own, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, mode_t(truncatingIfNeeded: mode))
            guard descriptor >= 0 else { throw .writing(path, errno) }
            name = own
        }
        reading = OpenFile(takingOwnershipOf: descriptor, path: path, size: 0)
        (self.folder, self.name, self.path) = (folder, name, path)
        if exactly, fchmod(descriptor, mode_t(truncatingIfNeeded: mode)) != 0 { throw .writing(path, errno) }
    }

    /// A file that never gets a name, for what is too large for memory. Its space is given back whatever happens to this
    /// process.
    /// - Parameter folder: The folder on whose disk it is, such as `/tmp`.
    /// - Throws: `SigstoreError` with `file-unwritable`.
    package init(in folder: String) throws(SigstoreError) {
        let path = "a temporary file in \(folder)"
        var descriptor = systemOpenUnnamed(AT_FDCWD, folder, 0o600)
        if descriptor < 0 {
            let own = Self.ownName(beside: "\(folder)/file")
            descriptor = unsafe open(own, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0o600)
            guard descriptor >= 0 else { throw .writing(path, errno) }
            unsafe unlink(own)
        }
        reading = OpenFile(takingOwnershipOf: descriptor, path: path, size: 0)
        (self.folder, name, self.path) = (nil, nil, path)
    }

    deinit { if let name { _ = unsafe unlinkat(OpenFolder.descriptor(folder), name, 0) } }

    /// A name that an earlier run has not left behind.
    private static func ownName(beside path: String) -> String {
        let parent = path.utf8.lastIndex(of: 0x2f).map { String(path[...$0]) } ?? ""
        return "\(parent).tmp-\(String(UInt64.random(in: .min ... .max), radix: 36))"
    }

    /// Writes more.
    /// - Throws: `SigstoreError` with `file-unwritable`.
    package func write(_ bytes: UnsafeRawBufferPointer) throws(SigstoreError) {
        if let number = unsafe Descriptor.write(descriptor, bytes) { throw .writing(path, number) }
    }

    /// Writes more.
    /// - Throws: `SigstoreError` with `file-unwritable`.
    package func write(_ bytes: [UInt8]) throws(SigstoreError) {
        unsafe try bytes.span.bytes.withUnsafeBytes { (buffer) throws(SigstoreError) in unsafe try write(buffer) }
    }

    /// Drops what was written, for another try.
    /// - Throws: `SigstoreError` with `file-unwritable`.
    package func rewind() throws(SigstoreError) {
        guard ftruncate(descriptor, 0) == 0, lseek(descriptor, 0, SEEK_SET) == 0 else { throw .writing(path, errno) }
    }

    /// Waits until what was written is on the disk.
    /// - Throws: `SigstoreError` with `file-unwritable`.
    package func sync() throws(SigstoreError) {
        guard systemSync(descriptor) == 0 else { throw .writing(path, errno) }
    }

    /// Gives the file its name.
    /// - Parameters:
    ///   - path: The name.
    ///   - existing: What becomes of a file that has the name already.
    ///   - synced: Whether the file and its name are on the disk when this returns, and not only on their way there.
    /// - Throws: `SigstoreError` with `file-exists` or `file-unwritable`.
    package func commit(as path: String, existing: Existing = .replaced, synced: Bool = true) throws(SigstoreError) {
        if synced { try sync() }
        let parent = OpenFolder.descriptor(folder)
        if let name, existing == .replaced {
            guard unsafe renameat(parent, name, parent, path) == 0 else { throw .writing(path, errno) }
        } else if !link(as: path) {
            // A link never replaces what has the name.
            guard errno == EEXIST else { throw .writing(path, errno) }
            switch existing {
            case .replaced: try replace(path)
            case .kept: return
            case .refused: throw .exists(path)
            }
        }
        if synced { syncFolder(of: path) }
    }

    /// - Returns: Whether the file has that name now; if not, `errno` says why.
    private func link(as path: String) -> Bool {
        let parent = OpenFolder.descriptor(folder)
        if let name { return unsafe linkat(parent, name, parent, path, 0) == 0 }
        return systemLinkUnnamed(descriptor, parent, path) == 0
    }

    /// Renaming alone replaces what has a name, and it needs another name first.
    private func replace(_ path: String) throws(SigstoreError) {
        let (parent, own) = (OpenFolder.descriptor(folder), Self.ownName(beside: path))
        guard link(as: own) else { throw .writing(path, errno) }
        guard unsafe renameat(parent, own, parent, path) == 0 else {
            let number = errno
            _ = unsafe unlinkat(parent, own, 0)
            throw .writing(path, number)
        }
    }

    private func syncFolder(of path: String) {
        let directory = unsafe openat(
            OpenFolder.descriptor(folder), LocalFile.folder(of: path), O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard directory >= 0 else { return }
        // Some file systems cannot do this for a folder; the file itself is safe then.
        _ = systemSync(directory)
        close(directory)
    }
}
