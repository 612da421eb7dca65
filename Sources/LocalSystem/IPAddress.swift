#if canImport(Glibc)
    internal import Glibc
#elseif canImport(Musl)
    internal import Musl
#elseif canImport(Darwin)
    internal import Darwin
#endif

/// An IP address. An IPv4 address is the IPv6 address that it is mapped to (RFC 4291, section 2.5.5.2).
package struct IPAddress: Sendable, Equatable {
    private var bytes: [UInt8]

    /// Reads an address, without brackets, zone or port.
    /// - Returns: `nil` if the text is none.
    package init?(_ text: String) {
        guard text.utf8.count <= 45 else { return nil }
        var four = [UInt8](repeating: 0, count: 4)
        var all = [UInt8](repeating: 0, count: 16)
        if unsafe inet_pton(AF_INET, text, &four) == 1 {
            bytes = [UInt8](repeating: 0, count: 10) + [0xff, 0xff] + four
        } else if unsafe inet_pton(AF_INET6, text, &all) == 1 {
            bytes = all
        } else {
            return nil
        }
    }

    private var isIPv4: Bool { bytes.prefix(10).allSatisfy { $0 == 0 } && bytes[10] == 0xff && bytes[11] == 0xff }

    /// Whether a network has this address.
    /// - Parameter network: In CIDR notation (RFC 4632, section 3.1; RFC 4291, section 2.3), such as `10.0.0.0/8`.
    /// - Returns: `nil` if that is no network.
    package func isIn(network: String) -> Bool? {
        let parts = network.split(separator: "/", omittingEmptySubsequences: false)
        guard parts.count == 2, var start = IPAddress(String(parts[0])),
            (1...3).contains(parts[1].utf8.count), parts[1].utf8.allSatisfy({ (0x30...0x39).contains($0) }),
            var length = Int(parts[1])
        else { return nil }
        if !parts[0].utf8.contains(0x3a) { length += 96 }
        guard length <= 128 else { return nil }
        var masked = self
        for index in 0..<16 {
            let mask = UInt8(truncatingIfNeeded: 0xff00 >> min(8, max(0, length - index * 8)))
            start.bytes[index] &= mask
            masked.bytes[index] &= mask
        }
        // The network of all IPv6 addresses has no IPv4 address.
        return start == masked && start.isIPv4 == isIPv4
    }
}
