#if canImport(Glibc)
    internal import Glibc
#elseif canImport(Musl)
    internal import Musl
#elseif canImport(Darwin)
    internal import Darwin
#endif

// Calls of the C library whose names methods of this module have too: in such a type the bare name would be the method.

func systemRead(_ descriptor: CInt, _ buffer: UnsafeMutableRawPointer?, _ count: Int) -> Int {
    unsafe read(descriptor, buffer, count)
}
func systemWrite(_ descriptor: CInt, _ bytes: UnsafeRawPointer?, _ count: Int) -> Int {
    unsafe write(descriptor, bytes, count)
}
func systemLink(_ path: String, _ name: String) -> CInt { unsafe link(path, name) }
func systemRename(_ path: String, _ name: String) -> CInt { unsafe rename(path, name) }
func systemListen(_ descriptor: CInt, _ count: CInt) -> CInt { listen(descriptor, count) }
func systemAccept(_ descriptor: CInt) -> CInt { accept(descriptor, nil, nil) }
func systemBind(_ descriptor: CInt, _ name: UnsafePointer<sockaddr>, _ size: socklen_t) -> CInt {
    unsafe bind(descriptor, name, size)
}

// What differs between the systems.

/// Opens a new file without a name in a folder, for reading and writing.
/// - Parameter mode: The file's permissions, less what the umask takes away.
/// - Returns: Negative if the system or the file system has no such files.
func systemOpenUnnamed(_ parent: CInt, _ folder: String, _ mode: UInt32) -> CInt {
    #if canImport(Darwin)
        errno = ENOTSUP
        return -1
    #else
        // Linux's `O_TMPFILE`, a macro that Swift does not import.
        return unsafe openat(parent, folder, 0o20000000 | O_DIRECTORY | O_RDWR | O_CLOEXEC, mode_t(mode))
    #endif
}

/// Whether a file that was opened without a name can get one.
func systemNamesOpenFiles() -> Bool {
    #if canImport(Darwin)
        return false
    #else
        return unsafe access("/proc/self/fd", X_OK) == 0
    #endif
}

/// Gives a file that was opened without a name one.
/// - Returns: 0, or negative with the reason in `errno`.
func systemLinkUnnamed(_ descriptor: CInt, _ parent: CInt, _ path: String) -> CInt {
    unsafe linkat(AT_FDCWD, "/proc/self/fd/\(descriptor)", parent, path, AT_SYMLINK_FOLLOW)
}

/// Waits until a file is on the disk.
/// - Returns: 0, or negative with the reason in `errno`.
func systemSync(_ descriptor: CInt) -> CInt {
    #if canImport(Darwin)
        // There `fsync` does not wait for the disk's own cache; not every file system can be asked to.
        if fcntl(descriptor, F_FULLFSYNC) == 0 { return 0 }
    #endif
    return fsync(descriptor)
}

/// Says that a file will be read from its beginning to its end.
func systemWillReadAll(_ descriptor: CInt) {
    #if canImport(Darwin)
        _ = fcntl(descriptor, F_RDAHEAD, 1)
    #else
        _ = posix_fadvise(descriptor, 0, 0, POSIX_FADV_SEQUENTIAL)
    #endif
}

/// Overwrites a secret; a compiler does not leave that out.
func systemErase(_ memory: UnsafeMutableRawPointer, _ count: Int) {
    #if canImport(Darwin)
        _ = unsafe memset_s(memory, count, 0, count)
    #else
        unsafe explicit_bzero(memory, count)
    #endif
}

/// A stream socket that no other program gets, and whose peer's end is an error and not SIGPIPE.
/// - Returns: Negative with the reason in `errno` if there is none.
func systemStreamSocket(_ family: CInt, isNonBlocking: Bool = false) -> CInt {
    #if canImport(Glibc)
        let flags = SOCK_CLOEXEC.rawValue | (isNonBlocking ? SOCK_NONBLOCK.rawValue : 0)
        return socket(family, CInt(SOCK_STREAM.rawValue | flags), 0)
    #elseif canImport(Musl)
        return socket(family, SOCK_STREAM | SOCK_CLOEXEC | (isNonBlocking ? SOCK_NONBLOCK : 0), 0)
    #else
        let descriptor = socket(family, SOCK_STREAM, 0)
        guard descriptor >= 0 else { return -1 }
        guard systemPrepare(descriptor, isNonBlocking: isNonBlocking) else {
            let number = errno
            close(descriptor)
            errno = number
            return -1
        }
        return descriptor
    #endif
}

/// Makes of a socket that was taken what ``systemStreamSocket(_:isNonBlocking:)`` gives.
/// - Returns: Whether it is that now; if not, `errno` says why.
func systemPrepare(_ descriptor: CInt, isNonBlocking: Bool) -> Bool {
    #if canImport(Darwin)
        var on: CInt = 1
        let size = socklen_t(MemoryLayout<CInt>.size)
        guard unsafe setsockopt(descriptor, SOL_SOCKET, SO_NOSIGPIPE, &on, size) == 0 else { return false }
    #endif
    return fcntl(descriptor, F_SETFD, FD_CLOEXEC) == 0
        && (!isNonBlocking || fcntl(descriptor, F_SETFL, O_NONBLOCK) == 0)
}

/// Sends bytes to a socket of ``systemStreamSocket(_:isNonBlocking:)``.
func systemSend(_ descriptor: CInt, _ bytes: UnsafeRawPointer?, _ count: Int) -> Int {
    #if canImport(Darwin)
        return unsafe send(descriptor, bytes, count, 0)
    #else
        return unsafe send(descriptor, bytes, count, CInt(MSG_NOSIGNAL))
    #endif
}
