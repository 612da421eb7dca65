/// Base64 as RFC 4648 defines it, strictly: no white space, no missing or extra padding, no stray bits.
public enum Base64 {
    private static let standard = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/".utf8)

    /// What each byte stands for: 0 to 63, or 255 for a byte outside the alphabet.
    private static func table(urlSafe: Bool) -> [UInt8] {
        var table = [UInt8](repeating: 255, count: 256)
        for (value, letter) in standard.enumerated() { table[Int(letter)] = UInt8(value) }
        if urlSafe {
            table[0x2b] = 255
            table[0x2f] = 255
            table[0x2d] = 62
            table[0x5f] = 63
        }
        return table
    }
    private static let standardTable = table(urlSafe: false)
    private static let urlSafeTable = table(urlSafe: true)

    /// Encodes bytes in the standard alphabet with padding (RFC 4648, section 4).
    /// - Parameter bytes: Any bytes.
    public static func encode(_ bytes: some Collection<UInt8>) -> String {
        let bytes = Array(bytes)
        var out: [UInt8] = []
        out.reserveCapacity((bytes.count + 2) / 3 * 4)
        encode(bytes) { out.append($0) }
        return String(decoding: out, as: UTF8.self)
    }

    /// Encodes bytes in the URL-safe alphabet without padding (RFC 4648, section 5), as in a JSON Web Token.
    /// - Parameter bytes: Any bytes.
    public static func encodeURLSafe(_ bytes: some Collection<UInt8>) -> String {
        let bytes = Array(bytes)
        var out: [UInt8] = []
        out.reserveCapacity((bytes.count + 2) / 3 * 4)
        encode(bytes) { letter in
            if letter != 0x3d { out.append(letter == 0x2b ? 0x2d : letter == 0x2f ? 0x5f : letter) }
        }
        return String(decoding: out, as: UTF8.self)
    }

    /// Encodes a secret in the standard alphabet, without a string in between.
    /// - Parameters:
    ///   - bytes: Any bytes.
    ///   - take: Is given one letter after the other.
    @inline(__always)
    package static func encode(_ bytes: some Sequence<UInt8>, _ take: (UInt8) -> Void) {
        var group: UInt32 = 0
        var held = 0
        for byte in bytes {
            group = group << 8 | UInt32(byte)
            held += 1
            if held == 3 {
                for shift in [18, 12, 6, 0] as [UInt32] { take(standard[Int(group >> shift & 63)]) }
                group = 0
                held = 0
            }
        }
        if held > 0 {
            group <<= UInt32(8 * (3 - held))
            for place in 0..<4 {
                take(place <= held ? standard[Int(group >> UInt32(18 - 6 * place) & 63)] : 0x3d)
            }
        }
    }

    /// Decodes the standard alphabet with padding (RFC 4648, section 4).
    /// - Parameter text: The characters, nothing else around them.
    /// - Returns: The bytes, or `nil` if `text` is not exactly the encoding of some bytes.
    public static func decode(_ text: some Collection<UInt8>) -> [UInt8]? {
        let letters = Array(text)
        guard letters.count % 4 == 0 else { return nil }
        var end = letters.count
        while end > 0, letters.count - end < 2, letters[end - 1] == 0x3d { end -= 1 }
        return unpadded(letters[..<end], standardTable)
    }

    /// Decodes the standard alphabet with padding (RFC 4648, section 4).
    /// - Parameter text: The characters, nothing else around them.
    /// - Returns: The bytes, or `nil` if `text` is not exactly the encoding of some bytes.
    public static func decode(_ text: String) -> [UInt8]? { decode(Array(text.utf8)) }

    /// Decodes the URL-safe alphabet without padding (RFC 4648, section 5), as in a JSON Web Token.
    /// - Parameter text: The characters, nothing else around them.
    /// - Returns: The bytes, or `nil` if `text` is not exactly the encoding of some bytes.
    public static func decodeURLSafe(_ text: String) -> [UInt8]? {
        unpadded(Array(text.utf8)[...], urlSafeTable)
    }

    private static func unpadded(_ text: ArraySlice<UInt8>, _ table: [UInt8]) -> [UInt8]? {
        guard text.count % 4 != 1 else { return nil }
        var out: [UInt8] = []
        out.reserveCapacity(text.count / 4 * 3 + 2)
        var group: UInt32 = 0
        var bits: UInt32 = 0
        for letter in text {
            let value = table[Int(letter)]
            guard value != 255 else { return nil }
            group = group << 6 | UInt32(value)
            bits += 6
            if bits >= 8 {
                bits -= 8
                out.append(UInt8(truncatingIfNeeded: group >> bits))
                group &= (1 << bits) - 1
            }
        }
        // Bits left over must be zero, or two texts would mean the same bytes.
        return group == 0 ? out : nil
    }
}
