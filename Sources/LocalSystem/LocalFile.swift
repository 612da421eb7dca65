#if canImport(Glibc)
    internal import Glibc
#elseif canImport(Musl)
    internal import Musl
#elseif canImport(Darwin)
    internal import Darwin
#endif
package import StrictJSON

/// Files on this machine: read within bounds, written whole or not at all.
package enum LocalFile {
    /// The content of a regular file.
    /// - Parameters:
    ///   - path: The file.
    ///   - folder: An open folder that a relative path begins at.
    ///   - limit: The most bytes that it may have.
    /// - Returns: `nil` if there is no such file.
    package static func read(_ path: String, in folder: OpenFolder? = nil, limit: Int) throws(SigstoreError) -> [UInt8]?
    {
        guard let file = try OpenFile(reading: path, in: folder) else { return nil }
        guard file.size <= Int64(limit) else {
            throw SigstoreError(.fileTooLarge, "\(path) has \(file.size) bytes, more than the \(limit) accepted")
        }
        var bytes: [UInt8] = []
        unsafe try file.forEachPiece { (piece) throws(SigstoreError) in
            guard bytes.count + piece.count <= limit else {
                throw SigstoreError(.fileTooLarge, "\(path) grew while it was read")
            }
            unsafe bytes.append(contentsOf: piece)
        }
        return bytes
    }

    /// The content of a small file that a person or another program named: a pipe or a device is read too.
    /// - Parameters:
    ///   - path: The file; `nil` is standard input.
    ///   - limit: The most bytes that it may have.
    ///   - onRead: Takes the size of each piece that was read.
    /// - Throws: `SigstoreError` with `file-not-found`, `file-unreadable`,
    ///   `is-directory` or `file-too-large`.
    package static func contents(_ path: String?, limit: Int, onRead: ((Int) -> Void)? = nil) throws(SigstoreError)
        -> [UInt8]
    {
        var content: [UInt8] = []
        unsafe try forEachPiece(of: path) { (piece) throws(SigstoreError) in
            guard content.count + piece.count <= limit else {
                throw SigstoreError(.fileTooLarge, "\(path ?? "standard input") is larger than \(limit) bytes")
            }
            unsafe content.append(contentsOf: piece)
            onRead?(piece.count)
        }
        return content
    }

    /// Reads what is at a path once, in constant memory. That it was read is remembered, so that no result replaces it
    /// (``OutputPlaces``).
    /// - Parameters:
    ///   - path: A file, a pipe or a device; `nil` is standard input.
    ///   - body: Is given each piece.
    /// - Throws: `SigstoreError` with `file-not-found`, `file-unreadable` or `is-directory`, or what the body throws.
    package static func forEachPiece(of path: String?, _ body: (UnsafeRawBufferPointer) throws(SigstoreError) -> Void)
        throws(SigstoreError)
    {
        let descriptor = if let path { unsafe open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY) } else { STDIN_FILENO }
        guard descriptor >= 0 else { throw .opening(path ?? "", errno) }
        defer { if path != nil { close(descriptor) } }
        OutputPlaces.noteReading(descriptor)
        systemWillReadAll(descriptor)
        var status = stat()
        let isFile = unsafe fstat(descriptor, &status) == 0 && status.st_mode & S_IFMT == S_IFREG
        let buffer = unsafe pieceBuffer(size: isFile ? Int64(status.st_size) : 0)
        defer { unsafe buffer.deallocate() }
        while true {
            let count = unsafe Descriptor.read(descriptor, buffer)
            guard count >= 0 else { throw .reading(path ?? "standard input", errno) }
            guard count > 0 else { return }
            unsafe try body(UnsafeRawBufferPointer(rebasing: buffer[..<count]))
        }
    }

    /// Room for one piece of a file. That of a small file is small: the system takes and gives back large ones each time.
    /// - Parameter size: The file's size in bytes; 0 if it is not known.
    fileprivate static func pieceBuffer(size: Int64) -> UnsafeMutableRawBufferPointer {
        let most = 1 << 18
        return .allocate(byteCount: (1...Int64(most)).contains(size) ? Int(size) : most, alignment: 64)
    }

    /// Writes a file beside its place and moves it there, so that a reader sees the old content or the new.
    /// A symbolic link stays one; the file behind it is replaced.
    /// - Parameters:
    ///   - mode: The file's permissions, such as `0o600`.
    ///   - unlessThere: Whether a file that is there stays as it is.
    package static func replace(
        _ path: String, in folder: OpenFolder? = nil, with bytes: [UInt8], mode: UInt32, unlessThere: Bool = false
    ) throws(SigstoreError) {
        let target = folder == nil ? realPath(path) ?? path : path
        // Permissions that are for the owner alone are these, whatever the umask takes away.
        let file = try TemporaryFile(beside: target, in: folder, mode: mode, exactly: mode & 0o077 == 0)
        try file.write(bytes)
        try file.commit(as: target, existing: unlessThere ? .kept : .replaced)
    }

    /// Where a path leads if all symbolic links on the way are followed.
    /// - Returns: `nil` if it leads nowhere.
    package static func realPath(_ path: String) -> String? {
        guard let found = unsafe realpath(path, nil) else { return nil }
        defer { unsafe free(found) }
        return unsafe String(cString: found)
    }

    /// Whether something is at a path that this process can reach.
    package static func exists(_ path: String) -> Bool { unsafe access(path, F_OK) == 0 }

    /// Why a path cannot be reached: the system's number, `nil` if it can.
    static func fault(reaching path: String, _ how: CInt = F_OK) -> CInt? {
        unsafe access(path, how) == 0 ? nil : errno
    }

    /// Whether a path is a folder that this process can enter.
    package static func canEnter(_ path: String) -> Bool { unsafe access(path, X_OK) == 0 }

    /// Refuses a path at which nothing is.
    /// - Throws: `SigstoreError` with `file-not-found`; nothing if it may be there and cannot be seen.
    package static func expectThere(_ path: String) throws(SigstoreError) {
        if let number = fault(reaching: path), number != EACCES { throw .opening(path, number) }
    }

    /// Refuses what cannot be read, without reading it: something that is not there, a folder, or what is for others only.
    /// - Throws: `SigstoreError` with `file-not-found`, `is-directory` or `file-unreadable`.
    package static func expectReadable(_ path: String) throws(SigstoreError) {
        if let number = fault(reaching: path, R_OK) { throw .opening(path, number) }
        if FileStatus(path)?.kind == .folder { throw .reading(path, EISDIR) }
    }

    /// Removes a file.
    /// - Returns: Whether there is none now.
    @discardableResult
    package static func remove(_ path: String) -> Bool {
        unsafe unlink(path) == 0 || errno == ENOENT || errno == ENOTDIR
    }

    /// Removes a file, or says why it is still there.
    package static func remove(reporting path: String) throws(SigstoreError) {
        guard !remove(path) else { return }
        throw SigstoreError(.fileUnwritable, "\(path) cannot be removed: \(SigstoreError.reason(errno))")
    }

    /// Gives a file a second name. What has that name already stays.
    /// - Throws: `SigstoreError` with `file-exists` or `file-unwritable`.
    package static func link(_ path: String, as name: String) throws(SigstoreError) {
        guard systemLink(path, name) == 0 else {
            throw errno == EEXIST ? .exists(name) : .writing(name, errno)
        }
    }

    /// Gives a file another name, in place of what has it.
    /// - Throws: `SigstoreError` with `file-unwritable`.
    package static func rename(_ path: String, to name: String) throws(SigstoreError) {
        guard systemRename(path, name) == 0 else { throw .writing(name, errno) }
    }

    /// The names of what is in a folder.
    /// - Throws: `SigstoreError` with `file-too-large` if there are more than `limit`.
    /// - Returns: None if there is no folder. Names that are not UTF-8 are left out.
    package static func names(_ path: String, in folder: OpenFolder? = nil, limit: Int) throws(SigstoreError)
        -> [String]
    {
        var names: [String] = []
        try forEachName(path, in: folder) { (name) throws(SigstoreError) in
            guard let name = String(validating: name, as: UTF8.self) else { return }
            guard names.count < limit else {
                throw SigstoreError(.fileTooLarge, "\(path) holds more than the \(limit) files accepted")
            }
            names.append(name)
        }
        return names
    }

    /// Calls back for each name in a folder, byte for byte; not at all if there is no folder.
    package static func forEachName(
        _ path: String, in folder: OpenFolder? = nil, _ body: ([UInt8]) throws(SigstoreError) -> Void
    ) throws(SigstoreError) {
        let descriptor = unsafe openat(OpenFolder.descriptor(folder), path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard descriptor >= 0 else {
            if errno == ENOENT { return }
            throw .reading(path, errno)
        }
        guard let stream = unsafe fdopendir(descriptor) else {
            let number = errno
            close(descriptor)
            throw .reading(path, number)
        }
        defer { unsafe closedir(stream) }
        while true {
            errno = 0
            guard let entry = unsafe readdir(stream) else {
                // The end, or the rest cannot be read.
                guard errno == 0 else { throw .reading(path, errno) }
                return
            }
            let name = unsafe withUnsafeBytes(of: entry.pointee.d_name) { unsafe Array($0.prefix { $0 != 0 }) }
            if name == [0x2e] || name == [0x2e, 0x2e] { continue }
            try body(name)
        }
    }

    /// Makes the folders above a file.
    package static func makeParent(of path: String, mode: UInt32) throws(SigstoreError) {
        guard let slash = path.utf8.lastIndex(of: 0x2f), slash != path.utf8.startIndex else { return }
        try makeFolder(String(path[..<slash]), mode: mode)
    }

    /// Makes a folder and those above it.
    package static func makeFolder(_ path: String, mode: UInt32) throws(SigstoreError) {
        // Most often it is there, or only the last part is missing.
        if unsafe mkdir(path, mode_t(truncatingIfNeeded: mode)) == 0 || errno == EEXIST { return }
        guard errno == ENOENT else { throw .writing(path, errno) }
        for end in path.utf8.indices where path.utf8[end] == 0x2f && end != path.utf8.startIndex {
            _ = unsafe mkdir(String(path[..<end]), mode_t(truncatingIfNeeded: mode))
        }
        guard unsafe mkdir(path, mode_t(truncatingIfNeeded: mode)) == 0 || errno == EEXIST else {
            throw .writing(path, errno)
        }
    }

    /// The folder that a path's last part is in.
    package static func folder(of path: String) -> String {
        guard let slash = path.utf8.lastIndex(of: 0x2f) else { return "." }
        return slash == path.startIndex ? "/" : String(path[..<slash])
    }
}

/// Reading and writing open files. The one place that goes on after a signal has come in between (EINTR).
enum Descriptor {
    /// Reads once.
    /// - Returns: How many bytes; 0 at the end, negative if it failed.
    static func read(_ descriptor: CInt, _ buffer: UnsafeMutableRawBufferPointer, at offset: Int64? = nil) -> Int {
        while true {
            let count =
                if let offset {
                    unsafe pread(descriptor, buffer.baseAddress, buffer.count, off_t(offset))
                } else {
                    unsafe systemRead(descriptor, buffer.baseAddress, buffer.count)
                }
            if count < 0 && errno == EINTR { continue }
            return count
        }
    }

    /// Writes everything.
    /// - Returns: The system's number for why not; `nil` if all of it was written.
    static func write(_ descriptor: CInt, _ bytes: UnsafeRawBufferPointer) -> CInt? {
        var rest = unsafe bytes[...]
        while unsafe !rest.isEmpty {
            let piece = unsafe UnsafeRawBufferPointer(rebasing: rest)
            let count = unsafe systemWrite(descriptor, piece.baseAddress, piece.count)
            if count < 0 && errno == EINTR { continue }
            guard count > 0 else { return count < 0 ? errno : EIO }
            unsafe rest = unsafe rest.dropFirst(count)
        }
        return nil
    }
}

/// An open folder: what is in it is reached from here, even if its path changes.
package final class OpenFolder: Sendable {
    let descriptor: CInt

    /// Opens a folder.
    /// - Parameters:
    ///   - path: The folder.
    ///   - parent: An open folder that a relative path begins at.
    ///   - followingLinks: Whether a symbolic link to a folder will do.
    /// - Throws: `SigstoreError` with `file-not-found` or `file-unreadable`.
    package init(_ path: String, in parent: OpenFolder? = nil, followingLinks: Bool = true) throws(SigstoreError) {
        let flags = O_RDONLY | O_DIRECTORY | O_CLOEXEC | (followingLinks ? 0 : O_NOFOLLOW)
        descriptor = unsafe openat(Self.descriptor(parent), path, flags)
        guard descriptor >= 0 else { throw .opening(path, errno) }
    }

    deinit { if descriptor >= 0 { close(descriptor) } }

    static func descriptor(_ folder: OpenFolder?) -> CInt { folder?.descriptor ?? AT_FDCWD }

    /// Opens a folder in this one, and makes it if it is not there. A link in its place would lead out of this one, and is
    /// refused.
    package func folder(making name: String, mode: UInt32) throws(SigstoreError) -> OpenFolder {
        _ = unsafe mkdirat(descriptor, name, mode_t(truncatingIfNeeded: mode))
        return try OpenFolder(name, in: self, followingLinks: false)
    }

    /// Removes a file in this folder; that there is none is fine.
    package func remove(_ path: String) { _ = unsafe unlinkat(descriptor, path, 0) }
}

/// A regular file, open for reading.
public final class OpenFile: Sendable {
    let descriptor: CInt
    /// Where it was found.
    public let path: String
    /// Its size in bytes when it was opened.
    public let size: Int64

    /// Opens a file; `nil` if there is none. Waits for nothing: a pipe or a device is refused.
    /// - Parameters:
    ///   - path: The file.
    ///   - folder: An open folder that a relative path begins at.
    ///   - followingLinks: Whether a symbolic link to a file will do.
    ///   - name: What errors call it; by default its path.
    package init?(
        reading path: String, in folder: OpenFolder? = nil, followingLinks: Bool = true, calling name: String? = nil
    ) throws(SigstoreError) {
        let name = name ?? path
        let flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY | (followingLinks ? 0 : O_NOFOLLOW)
        let descriptor = unsafe openat(OpenFolder.descriptor(folder), path, flags)
        guard descriptor >= 0 else {
            if errno == ENOENT || errno == ENOTDIR { return nil }
            throw .reading(name, errno)
        }
        var status = stat()
        guard unsafe fstat(descriptor, &status) == 0, status.st_mode & S_IFMT == S_IFREG else {
            close(descriptor)
            throw SigstoreError(.fileUnreadable, "\(name) cannot be read: it is not a regular file")
        }
        self.descriptor = descriptor
        self.path = name
        size = Int64(status.st_size)
    }

    /// Takes an open file over.
    init(takingOwnershipOf descriptor: CInt, path: String, size: Int64) {
        self.descriptor = descriptor
        self.path = path
        self.size = size
    }

    deinit { close(descriptor) }

    /// Remembers that the file is read, so that no result replaces it (``OutputPlaces``).
    package func noteReading() { OutputPlaces.noteReading(descriptor) }

    /// The first byte; `nil` if the file is empty.
    package func firstByte() throws(SigstoreError) -> UInt8? {
        var byte: UInt8 = 0
        return unsafe try withUnsafeMutableBytes(of: &byte) { (buffer) throws(SigstoreError) in
            unsafe try read(into: buffer, at: 0) == 1
        } ? byte : nil
    }

    /// Reads once, from a place in the file.
    /// - Returns: How many bytes; 0 at the end.
    package func read(into buffer: UnsafeMutableRawBufferPointer, at offset: Int64) throws(SigstoreError) -> Int {
        let count = unsafe Descriptor.read(descriptor, buffer, at: offset)
        guard count >= 0 else { throw .reading(path, errno) }
        return count
    }

    /// Reads the file from its beginning to its end.
    package func forEachPiece(_ body: (UnsafeRawBufferPointer) throws(SigstoreError) -> Void) throws(SigstoreError) {
        unsafe try forEachPiece(from: 0, count: nil, body)
    }

    /// Reads a part of the file.
    /// - Parameters:
    ///   - start: The first byte.
    ///   - count: How many bytes; all that are left if it is `nil`.
    /// - Throws: `SigstoreError` with `file-unreadable`, also if the file ends earlier.
    package func forEachPiece(
        from start: Int64, count: Int64?, _ body: (UnsafeRawBufferPointer) throws(SigstoreError) -> Void
    ) throws(SigstoreError) {
        let buffer = unsafe LocalFile.pieceBuffer(size: count ?? size)
        defer { unsafe buffer.deallocate() }
        var done: Int64 = 0
        while count.map({ done < $0 }) ?? true {
            let wanted = count.map { Int(min(Int64(buffer.count), $0 - done)) } ?? buffer.count
            let piece = unsafe UnsafeMutableRawBufferPointer(rebasing: buffer[..<wanted])
            let got = unsafe try read(into: piece, at: start + done)
            guard got > 0 else {
                guard count == nil else {
                    throw SigstoreError(.fileUnreadable, "\(path) became shorter while it was read")
                }
                return
            }
            done += Int64(got)
            unsafe try body(UnsafeRawBufferPointer(rebasing: piece[..<got]))
        }
    }
}

/// The right to change what other processes change too. It ends with the object, and with the process.
package final class FileLock: Sendable {
    private let descriptor: CInt
    private let path: String

    /// Opens what is locked, and does not lock it yet.
    /// - Parameters:
    ///   - path: A file or a folder.
    ///   - folder: An open folder that a relative path begins at.
    ///   - creating: Whether the file is made if it is not there.
    package init(on path: String, in folder: OpenFolder? = nil, creating: Bool = false) throws(SigstoreError) {
        let parent = OpenFolder.descriptor(folder)
        let flags = O_CLOEXEC | O_NOFOLLOW | (creating ? O_CREAT : 0)
        var descriptor = unsafe openat(parent, path, O_RDWR | flags, 0o644)
        if descriptor < 0, !creating { descriptor = unsafe openat(parent, path, O_RDONLY | O_CLOEXEC) }
        guard descriptor >= 0 else { throw .writing(path, errno) }
        self.descriptor = descriptor
        self.path = path
    }

    deinit { if descriptor >= 0 { close(descriptor) } }

    /// Takes the lock if no other process has it.
    package func take() throws(SigstoreError) -> Bool {
        while flock(descriptor, LOCK_EX | LOCK_NB) != 0 {
            if errno == EINTR { continue }
            guard errno == EWOULDBLOCK else { throw .writing(path, errno) }
            return false
        }
        return true
    }

    /// Takes the lock as soon as no other process has it.
    /// - Returns: Whether it was to be had within that time.
    /// - Throws: `SigstoreError` with `cancelled` if the task was cancelled, `file-unwritable` if it cannot be locked.
    package func take(within limit: Duration) async throws(SigstoreError) -> Bool {
        let end = ContinuousClock.now + limit
        while try !take() {
            guard ContinuousClock.now < end else { return false }
            do { try await Task.sleep(for: .milliseconds(Int64.random(in: 1...15))) } catch {
                throw SigstoreError(.cancelled, "cancelled while waiting for \(path)")
            }
        }
        return true
    }
}
