import Glibc
import HTTPTransport
import InToto

/// Files on this machine: read within bounds, written whole or not at all.
enum LocalFile {
    /// The content of a regular file.
    /// - Returns: `nil` where there is no such file.
    static func read(
        _ path: String, in folder: CInt = AT_FDCWD, limit: Int
    ) throws(SigstoreError) -> [UInt8]? {
        guard let file = try OpenFile(reading: path, in: folder) else { return nil }
        guard file.size <= Int64(limit) else {
            throw SigstoreError(.tooLarge, "\(path) has \(file.size) bytes, more than the \(limit) accepted")
        }
        var bytes: [UInt8] = []
        unsafe try file.forEachPiece { (piece) throws(SigstoreError) in
            guard bytes.count + piece.count <= limit else {
                throw SigstoreError(.tooLarge, "\(path) grew while it was read")
            }
            unsafe bytes.append(contentsOf: piece)
        }
        return bytes
    }

    /// Writes a file beside its place and moves it there, so that a reader sees the old content or the new.
    /// A symbolic link stays one; the file behind it is replaced. With `unlessThere`, a file that is there stays.
    static func replace(
        _ path: String, in folder: CInt = AT_FDCWD, with bytes: [UInt8], mode: mode_t, unlessThere: Bool = false
    ) throws(SigstoreError) {
        var target = path
        if folder == AT_FDCWD, let real = unsafe realpath(path, nil) {
            target = unsafe String(cString: real)
            unsafe free(real)
        }
        let file = try TemporaryFile(beside: target, in: folder, mode: mode)
        unsafe try bytes.span.bytes.withUnsafeBytes { (buffer) throws(SigstoreError) in
            unsafe try file.write(buffer)
        }
        try file.publish(as: target, replacing: !unlessThere)
    }

    /// The names of what is in a folder.
    /// - Throws: ``SigstoreError`` with `too-large` where there are more than `limit`; none where there is no folder.
    static func names(_ path: String, in folder: CInt = AT_FDCWD, limit: Int) throws(SigstoreError) -> [String] {
        let descriptor = unsafe openat(folder, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard descriptor >= 0 else {
            if errno == ENOENT { return [] }
            throw unreadable(path, errno)
        }
        guard let stream = unsafe fdopendir(descriptor) else {
            close(descriptor)
            throw unreadable(path, errno)
        }
        defer { unsafe closedir(stream) }
        var names: [String] = []
        while let entry = unsafe readdir(stream) {
            let name = unsafe withUnsafeBytes(of: entry.pointee.d_name) {
                unsafe String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self)
            }
            if name == "." || name == ".." { continue }
            guard names.count < limit else {
                throw SigstoreError(.tooLarge, "\(path) holds more than the \(limit) files accepted")
            }
            names.append(name)
        }
        return names
    }

    /// Makes the folders above a file.
    static func makeParent(of path: String, mode: mode_t) throws(SigstoreError) {
        guard let slash = path.utf8.lastIndex(of: 0x2f), slash != path.utf8.startIndex else { return }
        try makeFolder(String(path[..<slash]), mode: mode)
    }

    /// Makes a folder and those above it.
    static func makeFolder(_ path: String, mode: mode_t) throws(SigstoreError) {
        for end in path.utf8.indices where path.utf8[end] == 0x2f && end != path.utf8.startIndex {
            _ = unsafe mkdir(String(path[..<end]), mode)
        }
        guard unsafe mkdir(path, mode) == 0 || errno == EEXIST else { throw unwritable(path, errno) }
    }

    static func unreadable(_ path: String, _ code: CInt) -> SigstoreError {
        SigstoreError(.fileUnreadable, "\(path) cannot be read: \(unsafe String(cString: strerror(code)))")
    }
    static func unwritable(_ path: String, _ code: CInt) -> SigstoreError {
        SigstoreError(.fileUnwritable, "\(path) cannot be written: \(unsafe String(cString: strerror(code)))")
    }
}

/// A regular file, open for reading.
final class OpenFile: Sendable {
    let descriptor: CInt
    let path: String
    /// Its size in bytes when it was opened.
    let size: Int64

    /// Opens a file; `nil` where there is none. Waits for nothing: a pipe or a device is refused.
    init?(reading path: String, in folder: CInt = AT_FDCWD) throws(SigstoreError) {
        let descriptor = unsafe openat(folder, path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY)
        guard descriptor >= 0 else {
            if errno == ENOENT || errno == ENOTDIR { return nil }
            throw LocalFile.unreadable(path, errno)
        }
        var status = stat()
        guard unsafe fstat(descriptor, &status) == 0, status.st_mode & S_IFMT == S_IFREG else {
            close(descriptor)
            throw SigstoreError(.fileUnreadable, "\(path) cannot be read: it is not a regular file")
        }
        self.descriptor = descriptor
        self.path = path
        size = Int64(status.st_size)
    }

    deinit { close(descriptor) }

    /// The first byte; `nil` where the file is empty.
    func firstByte() throws(SigstoreError) -> UInt8? {
        var byte: UInt8 = 0
        let count = unsafe pread(descriptor, &byte, 1, 0)
        guard count >= 0 else { throw LocalFile.unreadable(path, errno) }
        return count == 1 ? byte : nil
    }

    /// Reads the file from its beginning to its end.
    func forEachPiece(_ body: (UnsafeRawBufferPointer) throws(SigstoreError) -> Void) throws(SigstoreError) {
        var buffer = [UInt8](repeating: 0, count: 256 << 10)
        var offset: off_t = 0
        while true {
            let count = unsafe pread(descriptor, &buffer, buffer.count, offset)
            if count < 0 && errno == EINTR { continue }
            guard count >= 0 else { throw LocalFile.unreadable(path, errno) }
            guard count > 0 else { return }
            offset += off_t(count)
            unsafe try buffer.span.bytes.withUnsafeBytes { (bytes) throws(SigstoreError) in
                unsafe try body(UnsafeRawBufferPointer(rebasing: bytes[..<count]))
            }
        }
    }
}

/// A file under a name of its own until it is whole; gone where it never is.
final class TemporaryFile: Sendable {
    private let descriptor: CInt
    private let folder: CInt
    private let name: String

    /// - Parameters:
    ///   - path: What the file will be called.
    ///   - folder: An open folder that relative paths begin at; it must stay open.
    ///   - mode: The file's permissions.
    init(beside path: String, in folder: CInt, mode: mode_t) throws(SigstoreError) {
        self.folder = folder
        let parent = path.utf8.lastIndex(of: 0x2f).map { String(path[...$0]) } ?? ""
        name = "\(parent).tmp-\(String(UInt64.random(in: .min ... .max), radix: 36))"
        descriptor = unsafe openat(folder, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, mode)
        guard descriptor >= 0 else { throw LocalFile.unwritable(path, errno) }
        // The permissions are to be these whatever the umask says, unless it is to be everyone's.
        if mode == 0o600 { _ = fchmod(descriptor, mode) }
    }

    deinit {
        guard descriptor >= 0 else { return }
        close(descriptor)
        _ = unsafe unlinkat(folder, name, 0)
    }

    func write(_ bytes: UnsafeRawBufferPointer) throws(SigstoreError) {
        var rest = unsafe bytes[...]
        while unsafe !rest.isEmpty {
            let piece = unsafe UnsafeRawBufferPointer(rebasing: rest)
            let count = unsafe Glibc.write(descriptor, piece.baseAddress, piece.count)
            if count < 0 && errno == EINTR { continue }
            guard count > 0 else { throw LocalFile.unwritable(name, errno) }
            unsafe rest = unsafe rest.dropFirst(count)
        }
    }

    /// Drops what was written, for another try.
    func rewind() throws(SigstoreError) {
        guard ftruncate(descriptor, 0) == 0, lseek(descriptor, 0, SEEK_SET) == 0 else {
            throw LocalFile.unwritable(name, errno)
        }
    }

    /// Gives the file its name, on the disk and not only in its cache.
    /// - Parameters:
    ///   - path: The name.
    ///   - replacing: Whether a file that has the name already gives way; otherwise it stays, and that is no error.
    func publish(as path: String, replacing: Bool = true) throws(SigstoreError) {
        guard fsync(descriptor) == 0 else { throw LocalFile.unwritable(path, errno) }
        if replacing {
            guard unsafe renameat(folder, name, folder, path) == 0 else { throw LocalFile.unwritable(path, errno) }
        } else {
            guard unsafe linkat(folder, name, folder, path, 0) == 0 || errno == EEXIST else {
                throw LocalFile.unwritable(path, errno)
            }
        }
        let parent = path.utf8.lastIndex(of: 0x2f).map { String(path[...$0]) } ?? "."
        let directory = unsafe openat(folder, parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard directory >= 0 else { return }
        // Some file systems cannot do this for a folder; the file itself is safe then.
        _ = fsync(directory)
        close(directory)
    }
}

extension SigstoreError.Code {
    /// A file on this machine cannot be read.
    static let fileUnreadable = Self("file-unreadable")
    /// A file on this machine cannot be written.
    static let fileUnwritable = Self("file-unwritable")
}
