internal import CProcess

#if canImport(Glibc)
    internal import Glibc
#elseif canImport(Musl)
    internal import Musl
#elseif canImport(Darwin)
    internal import Darwin
#endif

/// The variables of this process, read when they are asked for.
public enum ProcessEnvironment {
    /// The value of a variable.
    /// - Returns: `nil` if it is not set, or empty; bytes that are not UTF-8 are replaced.
    public static func value(_ name: String) -> String? {
        guard let value = unsafe getenv(name) else { return nil }
        let text = unsafe String(cString: value)
        return text.isEmpty ? nil : text
    }

    /// All variables by their names. Bytes that are not UTF-8 are replaced; of a name that stands twice the first counts, as for
    /// ``value(_:)``.
    public static func all() -> [String: String] {
        var variables: [String: String] = [:]
        guard var next = unsafe cprocess_environment() else { return variables }
        while let variable = unsafe next.pointee {
            unsafe next += 1
            guard let equals = unsafe strchr(variable, 0x3d) else { continue }
            let name = unsafe String(
                decoding: UnsafeRawBufferPointer(start: variable, count: equals - variable), as: UTF8.self)
            if variables[name] == nil { variables[name] = unsafe String(cString: equals + 1) }
        }
        return variables
    }

    /// The words that this process was started with, byte for byte, the program's name first.
    /// - Returns: `nil` if the C library does not tell them.
    public static func arguments() -> [[UInt8]]? {
        guard var next = unsafe cprocess_arguments() else { return nil }
        var words: [[UInt8]] = []
        while let word = unsafe next.pointee {
            unsafe words.append([UInt8](UnsafeRawBufferPointer(start: word, count: strlen(word))))
            unsafe next += 1
        }
        return words
    }

    /// Overwrites a variable that held a secret, its name too: it is not set any more.
    package static func erase(_ name: String) {
        guard let value = unsafe getenv(name) else { return }
        let length = name.utf8.count + 1
        unsafe systemErase(value - length, length + strlen(value))
    }

    /// The number of this process.
    package static var processNumber: Int32 { getpid() }

    /// What tells this process from all others, of other times and other containers too.
    package static let runIdentifier = String(UInt64.random(in: .min ... .max), radix: 16)

    /// Whether a process runs that has this number.
    package static func isRunning(_ process: Int32) -> Bool { kill(process, 0) == 0 || errno != ESRCH }

    /// The value of a variable, byte for byte.
    /// - Parameter body: Is given the bytes, which are valid until it returns.
    /// - Returns: `nil` if the variable is not set.
    package static func withBytes<Result>(_ name: String, _ body: (UnsafeRawBufferPointer) -> Result) -> Result? {
        guard let value = unsafe getenv(name) else { return nil }
        return unsafe body(UnsafeRawBufferPointer(start: value, count: strlen(value)))
    }
}
