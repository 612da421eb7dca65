internal import HTTPTransport
internal import LocalSystem
public import StrictJSON

/// Where one mirror's metadata and targets are kept between runs.
///
/// Files are written whole or not at all, by renaming. Nothing in here is trusted: ``TUFUpdate`` verifies it anew each
/// time, starting from a root that the caller brings along, so a damaged folder costs a download and
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
    /// - Returns: `nil` if there is none.
    /// - Throws: `SigstoreError` with `tuf-cache` if there is one that cannot be read.
    public func read(_ path: String, limit: Int) throws(SigstoreError) -> [UInt8]? {
        try Self.read(file: "\(folder)/\(path)", limit: limit)
    }

    /// Reads a file; see ``read(_:limit:)``.
    public static func read(file path: String, limit: Int) throws(SigstoreError) -> [UInt8]? {
        try caching { () throws(SigstoreError) in try LocalFile.read(path, limit: limit) }
    }

    /// Whatever happens to a file of a cache is the cache's fault, and has its code.
    private static func caching<Value>(_ work: () throws(SigstoreError) -> Value) throws(SigstoreError) -> Value {
        do throws(SigstoreError) { return try work() } catch {
            throw SigstoreError(.tufCache, error.message, advice: error.advice, cause: error)
        }
    }

    /// The numbers of the root versions that are kept in the history.
    func rootHistory() -> [Int64] {
        let names = (try? LocalFile.names("\(folder)/root_history", limit: 100_000)) ?? []
        return names.compactMap { name in name.hasSuffix(".root.json") ? Int64(name.dropLast(10)) : nil }
    }

    /// Writes a file in place of the one that may stand there, by renaming. Only the holder of the lock does so.
    /// - Parameters:
    ///   - bytes: The whole content.
    ///   - path: Below the folder.
    /// - Throws: `SigstoreError` with `tuf-cache`.
    public func write(_ bytes: [UInt8], to path: String) throws(SigstoreError) {
        try Self.write(bytes, file: "\(folder)/\(path)")
    }

    static func write(_ bytes: [UInt8], file path: String) throws(SigstoreError) {
        try caching { () throws(SigstoreError) in
            try LocalFile.makeParent(of: path, mode: 0o755)
            try LocalFile.replace(path, with: bytes, mode: 0o644)
        }
    }

    /// Removes a file; that there is none is fine.
    func remove(_ path: String) throws(SigstoreError) {
        try Self.caching { () throws(SigstoreError) in try LocalFile.remove(reporting: "\(folder)/\(path)") }
    }

    // MARK: - Lock

    /// Waits until no other process holds the lock, and takes it. It ends with this object or the process.
    /// - Throws: `SigstoreError` with `tuf-cache` if the folder cannot be written to, or the lock was not to be had
    ///   within the time.
    func lock(within limit: Duration = .seconds(120)) async throws(SigstoreError) -> FileLock {
        let path = "\(folder)/.lock"
        let lock = try Self.caching { () throws(SigstoreError) in
            try LocalFile.makeFolder(folder, mode: 0o755)
            return try FileLock(on: path, creating: true)
        }
        let isTaken: Bool
        do throws(SigstoreError) { isTaken = try await lock.take(within: limit) } catch {
            guard error.code != .cancelled else { throw error }
            throw SigstoreError(.tufCache, error.message, advice: error.advice, cause: error)
        }
        guard isTaken else { throw SigstoreError(.tufCache, "another process has held \(path) for \(limit)") }
        return lock
    }
}

extension SigstoreError.Code {
    /// The folder where TUF metadata is kept cannot be read or written.
    public static let tufCache = Self("tuf-cache")
}
