#if canImport(Glibc)
    internal import Glibc
#elseif canImport(Musl)
    internal import Musl
#elseif canImport(Darwin)
    internal import Darwin
#endif

/// The terminal that this process is on, for asking a person something.
package final class TerminalDevice {
    private let descriptor: CInt

    /// Opens it.
    /// - Returns: `nil` if there is none.
    package init?() {
        descriptor = unsafe open("/dev/tty", O_RDWR | O_CLOEXEC | O_NOCTTY)
        guard descriptor >= 0 else { return nil }
    }

    deinit { close(descriptor) }

    /// How a terminal was before a question changed it.
    package struct Settings {
        fileprivate let descriptor: CInt
        fileprivate var state: termios

        /// Puts the terminal back. May be called by a signal handler.
        package func putBack() {
            var state = state
            unsafe tcsetattr(descriptor, TCSANOW, &state)
        }
    }

    /// Runs work while typed characters come one by one, Control-C among them.
    /// - Parameters:
    ///   - echo: Whether what is typed is shown.
    ///   - changing: Is given how the terminal is, before it is changed, and `nil` when it is as it was. A program that may
    ///     be ended by a signal meanwhile puts the terminal back itself.
    /// - Returns: `nil` if the terminal cannot be changed.
    package func withBytes<Result, Failure: Error>(
        echo: Bool, changing: (Settings?) -> Void, _ work: () throws(Failure) -> Result
    ) throws(Failure) -> Result? {
        var state = termios()
        guard unsafe tcgetattr(descriptor, &state) == 0 else { return nil }
        var during = state
        during.c_lflag &= ~(tcflag_t(ICANON) | tcflag_t(ISIG))
        if !echo { during.c_lflag &= ~tcflag_t(ECHO) }
        changing(Settings(descriptor: descriptor, state: state))
        defer { changing(nil) }
        guard unsafe tcsetattr(descriptor, TCSAFLUSH, &during) == 0 else { return nil }
        defer {
            unsafe tcsetattr(descriptor, TCSAFLUSH, &state)
            if !echo { write(Array("\n".utf8)) }
        }
        return try work()
    }

    /// Shows something.
    package func write(_ bytes: [UInt8]) {
        _ = unsafe bytes.withUnsafeBytes { unsafe Descriptor.write(descriptor, $0) }
    }

    /// Waits for a byte.
    /// - Returns: `nil` if the terminal was closed.
    package func readByte() -> UInt8? {
        var byte: UInt8 = 0
        let count = unsafe withUnsafeMutableBytes(of: &byte) { unsafe Descriptor.read(descriptor, $0) }
        return count == 1 ? byte : nil
    }
}
