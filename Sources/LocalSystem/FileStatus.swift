#if canImport(Glibc)
    internal import Glibc
#elseif canImport(Musl)
    internal import Musl
#elseif canImport(Darwin)
    internal import Darwin
#endif
package import StrictJSON

/// What stands at a path.
package struct FileStatus: Sendable {
    /// The kinds of things that can stand there.
    package enum Kind: Sendable { case file, folder, link, device, other }

    /// Which thing it is, by all of its names.
    package struct Identity: Hashable, Sendable {
        let device: UInt64
        let number: UInt64
    }

    /// The kind.
    package let kind: Kind
    /// Its size in bytes.
    package let size: Int64
    /// Which one it is.
    package let identity: Identity
    /// When its content was last written.
    package let modified: Instant

    private init(_ status: stat) {
        kind =
            switch status.st_mode & S_IFMT {
            case S_IFREG: .file
            case S_IFDIR: .folder
            case S_IFLNK: .link
            case S_IFCHR: .device
            default: .other
            }
        size = Int64(status.st_size)
        identity = Identity(
            device: UInt64(truncatingIfNeeded: status.st_dev), number: UInt64(truncatingIfNeeded: status.st_ino))
        #if canImport(Darwin)
            modified = Instant(seconds: Int64(status.st_mtimespec.tv_sec))
        #else
            modified = Instant(seconds: Int64(status.st_mtim.tv_sec))
        #endif
    }

    /// Looks at a path; `nil` if nothing can be seen there.
    /// - Parameter followingLinks: Whether a symbolic link stands for what it leads to.
    package init?(_ path: String, followingLinks: Bool = true) {
        var status = stat()
        guard unsafe (followingLinks ? stat(path, &status) : lstat(path, &status)) == 0 else { return nil }
        self.init(status)
    }

    /// Looks at something in an open folder, and through no link; `nil` if nothing can be seen there.
    init?(_ name: String, in folder: OpenFolder) {
        var status = stat()
        guard unsafe fstatat(folder.descriptor, name, &status, AT_SYMLINK_NOFOLLOW) == 0 else { return nil }
        self.init(status)
    }

    /// Looks at an open file.
    init?(_ descriptor: CInt) {
        var status = stat()
        guard unsafe fstat(descriptor, &status) == 0 else { return nil }
        self.init(status)
    }
}
