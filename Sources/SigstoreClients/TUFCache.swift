internal import Glibc
internal import HTTPTransport
public import InToto

/// Where one mirror's metadata and targets are kept between runs.
///
/// Files are written whole or not at all, by renaming. Nothing in here is trusted: ``TUFUpdate`` verifies it anew each
/// time, starting from a root that came with the program or from the user, so a damaged folder costs a download and
/// not the safety.
public struct TUFCache: Sendable {
    /// The folder of the mirror.
    public let folder: String
    /// Where targets are kept.
    public let targetsFolder: String

    /// Makes a cache in a folder of its own.
    /// - Parameters:
    ///   - folder: The folder. It is made when something is written.
    ///   - targetsFolder: Where targets are kept; `targets` in the folder unless told.
    public init(folder: String, targetsFolder: String? = nil) {
        self.folder = folder
        self.targetsFolder = targetsFolder ?? "\(folder)/targets"
    }

    /// The cache of a mirror below the folder of all mirrors, named as other Sigstore clients name it.
    /// - Parameters:
    ///   - mirror: The mirror's URL.
    ///   - parent: The folder of all mirrors, such as `~/.sigstore/root`.
    public init(mirror: String, in parent: String) {
        var name = mirror.utf8[...]
        for scheme in ["https://", "http://"] where name.starts(with: scheme.utf8) {
            name = name.dropFirst(scheme.utf8.count)
        }
        while name.last == 0x2f { name = name.dropLast() }
        let dashed = name.map { byte in
            switch byte {
            case 0x2f, 0x3a: UInt8(0x2d)
            case 0x41...0x5a: byte + 32
            default: byte
            }
        }
        self.init(folder: "\(parent)/\(Self.fileName(String(decoding: dashed, as: UTF8.self)))")
    }

    /// A name as one component of a path: everything but letters, digits and `_ - . ~` is percent-encoded, and so is a
    /// dot at the beginning, so that no name can lead out of the folder or hide in it.
    static func fileName(_ name: String) -> String {
        let quoted = percentEncoded(name)
        return quoted.utf8.first == 0x2e ? "%2E\(quoted.dropFirst())" : quoted
    }

    /// A name percent-encoded for a URL: all bytes but the unreserved ones (RFC 3986, section 2.3).
    static func percentEncoded(_ name: String) -> String {
        var out: [UInt8] = []
        for byte in name.utf8 {
            switch byte {
            case 0x30...0x39, 0x41...0x5a, 0x61...0x7a, 0x2d, 0x2e, 0x5f, 0x7e: out.append(byte)
            default: out.append(contentsOf: "%\(byte < 16 ? "0" : "")\(String(byte, radix: 16, uppercase: true))".utf8)
            }
        }
        return String(decoding: out, as: UTF8.self)
    }

    // MARK: - Files

    /// Reads a file.
    /// - Parameters:
    ///   - path: Below the folder.
    ///   - limit: The most bytes that it may have.
    /// - Returns: `nil` where there is none.
    /// - Throws: ``SigstoreError`` with ``SigstoreError/Code/tufCache`` where there is one that cannot be read.
    public func read(_ path: String, limit: Int) throws(SigstoreError) -> [UInt8]? {
        try Self.read(file: "\(folder)/\(path)", limit: limit)
    }

    /// Reads a file; see ``read(_:limit:)``.
    public static func read(file path: String, limit: Int) throws(SigstoreError) -> [UInt8]? {
        // A pipe that somebody put there must not make us wait.
        let descriptor = unsafe open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
        guard descriptor >= 0 else {
            let number = errno
            if number == ENOENT || number == ENOTDIR { return nil }
            throw failure("reading", path, number)
        }
        defer { close(descriptor) }
        var status = stat()
        guard unsafe fstat(descriptor, &status) == 0 else { throw failure("reading", path, errno) }
        guard status.st_mode & S_IFMT == S_IFREG, status.st_size <= limit else {
            throw SigstoreError(.tufCache, "\(path) is not a file of at most \(limit) bytes")
        }
        var bytes: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 65536)
        while true {
            let count = unsafe buffer.withUnsafeMutableBytes { unsafe Glibc.read(descriptor, $0.baseAddress, $0.count) }
            if count < 0 {
                if errno == EINTR { continue }
                throw failure("reading", path, errno)
            }
            if count == 0 { return bytes }
            bytes.append(contentsOf: buffer.prefix(count))
            guard bytes.count <= limit else {
                throw SigstoreError(.tufCache, "\(path) has grown beyond \(limit) bytes")
            }
        }
    }

    /// The numbers of the root versions that are kept in the history.
    func rootHistory() -> [Int64] {
        guard let directory = unsafe opendir("\(folder)/root_history") else { return [] }
        defer { unsafe closedir(directory) }
        var versions: [Int64] = []
        while let entry = unsafe readdir(directory) {
            let name = unsafe withUnsafePointer(to: &entry.pointee.d_name) { pointer in
                unsafe pointer.withMemoryRebound(to: CChar.self, capacity: 256) { unsafe String(cString: $0) }
            }
            if name.hasSuffix(".root.json"), let version = Int64(name.dropLast(10)) { versions.append(version) }
        }
        return versions
    }

    /// Writes a file in place of the one that may stand there, by renaming. Only the holder of the lock does so.
    /// - Parameters:
    ///   - bytes: The whole content.
    ///   - path: Below the folder.
    /// - Throws: ``SigstoreError`` with ``SigstoreError/Code/tufCache``.
    public func write(_ bytes: [UInt8], to path: String) throws(SigstoreError) {
        try Self.write(bytes, file: "\(folder)/\(path)")
    }

    static func write(_ bytes: [UInt8], file path: String) throws(SigstoreError) {
        let (directory, name) = split(path)
        try makeFolder(directory)
        // One name for all: what an interrupted run left there is written over by the next holder of the lock.
        let temporary = "\(directory)/.new-\(name)"
        let descriptor = unsafe open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0o644)
        guard descriptor >= 0 else { throw failure("writing", temporary, errno) }
        do throws(SigstoreError) {
            defer { close(descriptor) }
            var rest = bytes[...]
            while !rest.isEmpty {
                let count = unsafe rest.withUnsafeBytes { unsafe Glibc.write(descriptor, $0.baseAddress, $0.count) }
                if count < 0 {
                    if errno == EINTR { continue }
                    throw failure("writing", temporary, errno)
                }
                rest = rest.dropFirst(count)
            }
            guard fsync(descriptor) == 0 else { throw failure("writing", temporary, errno) }
            guard unsafe rename(temporary, path) == 0 else { throw failure("writing", path, errno) }
        } catch {
            unsafe unlink(temporary)
            throw error
        }
    }

    /// Removes a file; that there is none is fine.
    func remove(_ path: String) throws(SigstoreError) {
        guard unsafe unlink("\(folder)/\(path)") == 0 || errno == ENOENT || errno == ENOTDIR else {
            throw Self.failure("removing", "\(folder)/\(path)", errno)
        }
    }

    private static func split(_ path: String) -> (directory: String, name: String) {
        guard let slash = path.utf8.lastIndex(of: 0x2f) else { return (".", path) }
        return (slash == path.startIndex ? "/" : String(path[..<slash]), String(path[path.utf8.index(after: slash)...]))
    }

    private static func makeFolder(_ path: String) throws(SigstoreError) {
        // Most often it is there, or only the last component is missing.
        var missing: [String] = []
        var current = path
        while unsafe mkdir(current, 0o755) != 0 {
            let number = errno
            if number == EEXIST { break }
            guard number == ENOENT, missing.count < 64 else { throw failure("making the folder", current, number) }
            missing.append(current)
            current = split(current).directory
        }
        for folder in missing.reversed() where unsafe mkdir(folder, 0o755) != 0 && errno != EEXIST {
            throw failure("making the folder", folder, errno)
        }
    }

    // MARK: - Lock

    /// Waits until no other process holds the lock, and takes it. It ends with this object or the process.
    /// - Throws: ``SigstoreError`` with ``SigstoreError/Code/tufCache`` where the folder cannot be written to, or the
    ///   lock was not to be had within the time.
    func lock(within limit: Duration = .seconds(120)) async throws(SigstoreError) -> TUFCacheLock {
        try Self.makeFolder(folder)
        let path = "\(folder)/.lock"
        let descriptor = unsafe open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0o644)
        guard descriptor >= 0 else { throw Self.failure("opening", path, errno) }
        let lock = TUFCacheLock(descriptor: descriptor)
        let end = ContinuousClock.now + limit
        while flock(descriptor, LOCK_EX | LOCK_NB) != 0 {
            let number = errno
            if number == EINTR { continue }
            guard number == EWOULDBLOCK else { throw Self.failure("locking", path, number) }
            guard ContinuousClock.now < end else {
                throw SigstoreError(.tufCache, "another process has held \(path) for \(limit)")
            }
            do {
                try await Task.sleep(for: .milliseconds(Int64.random(in: 5...25)))
            } catch {
                throw SigstoreError(.cancelled, "cancelled while waiting for \(path)")
            }
        }
        return lock
    }

    private static func failure(_ what: String, _ path: String, _ number: Int32) -> SigstoreError {
        let reason = unsafe strerror(number).map { unsafe String(cString: $0) } ?? "error \(number)"
        return SigstoreError(.tufCache, "\(what) \(path) failed: \(reason)")
    }
}

/// The right to write to a cache. It ends with the object.
final class TUFCacheLock: Sendable {
    private let descriptor: Int32
    init(descriptor: Int32) { self.descriptor = descriptor }
    deinit { close(descriptor) }
}

extension SigstoreError.Code {
    /// The folder where TUF metadata is kept cannot be read or written.
    public static let tufCache = Self("tuf-cache")
}
