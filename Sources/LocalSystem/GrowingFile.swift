#if canImport(Glibc)
    internal import Glibc
#elseif canImport(Musl)
    internal import Musl
#elseif canImport(Darwin)
    internal import Darwin
#endif
package import StrictJSON

/// A file that only grows, one whole piece at a time, so that a run that is stopped keeps what it wrote before.
///
/// It is locked while it is open: two processes that add to one file would each believe the other's pieces to be its own.
package final class GrowingFile: Sendable {
    /// The file, for reading what is in it.
    package let reading: OpenFile
    private var descriptor: CInt { reading.descriptor }

    /// Opens the file, and makes it if it is not there.
    /// - Parameter mode: The permissions of a file that is made.
    /// - Throws: `SigstoreError` with `file-unwritable`, also if another process has it open or it is no regular file.
    package init(_ path: String, mode: UInt32) throws(SigstoreError) {
        let descriptor = unsafe open(
            path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, mode_t(truncatingIfNeeded: mode))
        guard descriptor >= 0 else { throw .writing(path, errno) }
        var status = stat()
        guard unsafe fstat(descriptor, &status) == 0, status.st_mode & S_IFMT == S_IFREG else {
            close(descriptor)
            throw SigstoreError(.fileUnwritable, "\(path) cannot be added to: it is not a regular file")
        }
        reading = OpenFile(takingOwnershipOf: descriptor, path: path, size: Int64(status.st_size))
        while flock(descriptor, LOCK_EX | LOCK_NB) != 0 {
            if errno == EINTR { continue }
            throw errno == EWOULDBLOCK
                ? SigstoreError(.fileUnwritable, "\(path) cannot be added to: another process does so now")
                : .writing(path, errno)
        }
    }

    /// Adds a piece at the end.
    /// - Throws: `SigstoreError` with `file-unwritable`.
    package func append(_ bytes: [UInt8]) throws(SigstoreError) {
        let number = unsafe bytes.span.bytes.withUnsafeBytes { unsafe Descriptor.write(descriptor, $0) }
        if let number { throw .writing(reading.path, number) }
    }

    /// Takes away what stands behind a place in the file.
    /// - Throws: `SigstoreError` with `file-unwritable`.
    package func truncate(to size: Int64) throws(SigstoreError) {
        guard ftruncate(descriptor, off_t(size)) == 0 else { throw .writing(reading.path, errno) }
    }
}
