#if canImport(Glibc)
    internal import Glibc
#elseif canImport(Musl)
    internal import Musl
#elseif canImport(Darwin)
    internal import Darwin
#endif
public import StrictJSON

/// A folder that nobody but its owner, who runs this process, can reach into or put another in the place of.
package enum PrivateFolder {
    /// Makes a folder, or makes sure of one that is there.
    /// - Parameter path: The folder.
    /// - Throws: `SigstoreError` with `folder-not-private` if others could reach into it, or put another folder in its place;
    ///   `file-unwritable` if it cannot be made.
    package static func make(_ path: String) throws(SigstoreError) {
        try LocalFile.makeParent(of: path, mode: 0o700)
        guard var above = LocalFile.realPath(LocalFile.folder(of: path)) else { throw .writing(path, errno) }
        if unsafe mkdir(path, 0o700) != 0, errno != EEXIST { throw .writing(path, errno) }
        var status = stat()
        guard unsafe lstat(path, &status) == 0 else { throw .writing(path, errno) }
        guard status.st_mode & S_IFMT == S_IFDIR else {
            throw fault(path, status.st_mode & S_IFMT == S_IFLNK ? "is a symbolic link" : "is no folder")
        }
        guard status.st_uid == geteuid() else { throw fault(path, "belongs to another user") }
        guard status.st_mode & 0o077 == 0 else {
            throw fault(
                path, "is open to others: its mode is \(String(status.st_mode & 0o7777, radix: 8)), expected 700")
        }
        while true {
            guard unsafe stat(above, &status) == 0 else { throw .writing(above, errno) }
            guard status.st_uid == geteuid() || status.st_uid == 0 else {
                throw fault(path, "is below \(above), which belongs to another user")
            }
            // In a folder such as /tmp, nobody moves what is another's.
            guard status.st_mode & 0o022 == 0 || status.st_mode & S_ISVTX != 0 else {
                throw fault(path, "is below \(above), where others may put another folder in its place")
            }
            let next = LocalFile.folder(of: above)
            guard !next.utf8.elementsEqual(above.utf8) else { return }
            above = next
        }
    }

    private static func fault(_ path: String, _ what: String) -> SigstoreError {
        SigstoreError(
            .folderNotPrivate, "\(path) \(what)",
            advice:
                "name a place in a folder that is yours alone, with mode 700, and below none that others may write to")
    }
}

extension SigstoreError.Code {
    /// A folder that must be closed to others is not.
    public static let folderNotPrivate = Self("folder-not-private")
}
