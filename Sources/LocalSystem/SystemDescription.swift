#if canImport(Glibc)
    internal import Glibc
#elseif canImport(Musl)
    internal import Musl
#elseif canImport(Darwin)
    internal import Darwin
#endif

/// The system that this process runs on, in words for a report.
package enum SystemDescription {
    /// The kernel, its release and the machine, such as `Linux 6.12.4 x86_64`.
    /// - Returns: `nil` if the system does not tell.
    package static var kernel: String? {
        var names = utsname()
        guard unsafe uname(&names) == 0 else { return nil }
        func text<Field>(_ field: Field) -> String {
            unsafe withUnsafeBytes(of: field) { bytes in
                unsafe String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
            }
        }
        return "\(text(names.sysname)) \(text(names.release)) \(text(names.machine))"
    }

    /// The name of this machine in its network.
    /// - Returns: `nil` if the system does not tell.
    package static var hostName: String? {
        var names = utsname()
        guard unsafe uname(&names) == 0 else { return nil }
        return unsafe withUnsafeBytes(of: names.nodename) { bytes in
            unsafe String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
        }
    }

    /// The C library, such as `glibc 2.41`.
    /// - Returns: `nil` if it does not tell its version.
    package static var cLibrary: String? {
        #if canImport(Glibc)
            var text = [CChar](repeating: 0, count: 64)
            let count = unsafe confstr(CInt(_CS_GNU_LIBC_VERSION), &text, text.count)
            guard (2...text.count).contains(count) else { return nil }
            return unsafe text.withUnsafeBytes { unsafe String(decoding: $0.prefix(count - 1), as: UTF8.self) }
        #else
            return nil
        #endif
    }

    /// The distribution, such as `Debian GNU/Linux 13 (trixie)` (os-release, `PRETTY_NAME`).
    /// - Returns: `nil` if no file says it.
    package static var distribution: String? {
        for path in ["/etc/os-release", "/usr/lib/os-release"] {
            guard let content = try? LocalFile.read(path, limit: 1 << 16) else { continue }
            for line in content.split(separator: 0x0a) where line.starts(with: "PRETTY_NAME=".utf8) {
                let value = line.dropFirst("PRETTY_NAME=".utf8.count)
                return String(decoding: value.filter { $0 != 0x22 && $0 != 0x27 && $0 != 0x0d }, as: UTF8.self)
            }
        }
        return nil
    }
}
