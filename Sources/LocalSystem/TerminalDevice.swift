internal import Glibc

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

    /// The terminal that a question has changed, else -1, and how it was before.
    nonisolated(unsafe) private static var changed: CInt = -1
    nonisolated(unsafe) private static var before = termios()

    /// Runs work while typed characters come one by one, Control-C among them, so that the terminal is put back before the
    /// program ends.
    /// - Parameter echo: Whether what is typed is shown.
    /// - Returns: `nil` if the terminal cannot be changed.
    package func withBytes<Result, Failure: Error>(
        echo: Bool, _ work: () throws(Failure) -> Result
    ) throws(Failure) -> Result? {
        var state = termios()
        guard unsafe tcgetattr(descriptor, &state) == 0 else { return nil }
        var during = state
        during.c_lflag &= ~(tcflag_t(ICANON) | tcflag_t(ISIG))
        if !echo { during.c_lflag &= ~tcflag_t(ECHO) }
        unsafe Self.changed = -1
        unsafe Self.before = state
        unsafe Self.changed = descriptor
        defer { unsafe Self.changed = -1 }
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

    /// Puts the terminal back if a question has changed it. May be called by a signal handler.
    /// - Returns: Whether it had.
    package static func putBack() -> Bool {
        guard unsafe changed >= 0 else { return false }
        var state = unsafe before
        unsafe tcsetattr(changed, TCSANOW, &state)
        return true
    }
}
