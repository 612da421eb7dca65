#if canImport(Glibc)
    internal import Glibc
#elseif canImport(Musl)
    internal import Musl
#elseif canImport(Darwin)
    internal import Darwin
#endif
public import StrictJSON

/// The three streams that a program has from its start.
public enum StandardStream: Sendable {
    case input, output, errors

    private var descriptor: CInt {
        switch self {
        case .input: STDIN_FILENO
        case .output: STDOUT_FILENO
        case .errors: STDERR_FILENO
        }
    }

    /// Whether it is a terminal.
    public var isTerminal: Bool { isatty(descriptor) == 1 }

    /// Whether it is a file on a disk: no terminal, pipe, socket or device.
    package var isFile: Bool {
        var status = stat()
        return unsafe fstat(descriptor, &status) == 0 && status.st_mode & S_IFMT == S_IFREG
    }

    /// How many characters a line of the terminal has; `nil` if it is none, or does not say.
    package var columns: Int? {
        var size = winsize()
        guard unsafe ioctl(descriptor, UInt(TIOCGWINSZ), &size) == 0, size.ws_col > 0 else { return nil }
        return Int(size.ws_col)
    }

    /// Writes everything.
    /// - Throws: `SigstoreError` with `reader-ended` if it is a pipe that nothing reads any more, and with `file-unwritable`
    ///   if it cannot be written to.
    public func write(_ bytes: [UInt8]) throws(SigstoreError) {
        guard let number = unsafe bytes.withUnsafeBytes({ unsafe Descriptor.write(descriptor, $0) }) else { return }
        throw SigstoreError(number == EPIPE ? .readerEnded : .fileUnwritable, SigstoreError.reason(number))
    }

    /// Reads one byte.
    /// - Returns: `nil` at the end.
    /// - Throws: `SigstoreError` with `file-unreadable` if it cannot be read.
    package func readByte() throws(SigstoreError) -> UInt8? {
        var byte: UInt8 = 0
        let count = unsafe withUnsafeMutableBytes(of: &byte) { unsafe Descriptor.read(descriptor, $0) }
        guard count >= 0 else { throw .reading("standard input", errno) }
        return count == 1 ? byte : nil
    }
}
