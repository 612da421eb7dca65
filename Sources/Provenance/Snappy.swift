internal import SigstoreVerification
public import StrictJSON

/// What is compressed with Snappy, as GitHub keeps bundles (Snappy's "compressed format description", the block format).
public enum Snappy {
    /// Unpacks a block.
    /// - Parameters:
    ///   - block: The whole block.
    ///   - limit: How many bytes may come out of it.
    /// - Throws: `SigstoreError` with `malformed-compression` if it is no such block, and with `too-many-entries` if it is too
    ///   large.
    public static func unpack(_ block: [UInt8], limit: Int) throws(SigstoreError) -> [UInt8] {
        func fault(_ what: String) -> SigstoreError {
            SigstoreError(.malformedCompression, "it is not compressed with Snappy, or damaged: \(what)")
        }
        var rest = block[...]
        /// A number of so many bytes, the lowest first.
        func number(_ count: Int) throws(SigstoreError) -> Int {
            guard rest.count >= count else { throw fault("it ends too early") }
            defer { rest = rest.dropFirst(count) }
            return rest.prefix(count).reversed().reduce(0) { $0 << 8 | Int($1) }
        }
        var (size, shift, isMore) = (0, 0, true)
        while isMore {
            let byte = try number(1)
            guard shift < 35 else { throw fault("its size has too many digits") }
            size |= (byte & 0x7f) << shift
            (shift, isMore) = (shift + 7, byte & 0x80 != 0)
        }
        guard size <= limit else {
            throw SigstoreError(.tooManyEntries, "it has \(size) bytes, and at most \(limit) are read")
        }
        var out: [UInt8] = []
        // A block of a few bytes may name any size.
        out.reserveCapacity(min(size, 64 * block.count))
        while !rest.isEmpty {
            let tag = try number(1)
            if tag & 3 == 0 {
                let count = try (tag >> 2 < 60 ? tag >> 2 : number((tag >> 2) - 59)) + 1
                guard count <= rest.count, count <= size - out.count else { throw fault("a piece is too long") }
                out += rest.prefix(count)
                rest = rest.dropFirst(count)
            } else {
                let isShort = tag & 3 == 1
                let count = isShort ? 4 + (tag >> 2 & 7) : 1 + (tag >> 2)
                let back = try isShort ? (tag >> 5) << 8 | number(1) : number(tag & 3 == 2 ? 2 : 4)
                guard (1...max(1, out.count)).contains(back), back <= out.count, count <= size - out.count else {
                    throw fault("a piece repeats what is not there")
                }
                // What is repeated may overlap with what is written.
                for _ in 0..<count { out.append(out[out.count - back]) }
            }
        }
        guard out.count == size else { throw fault("it has \(out.count) bytes, expected \(size)") }
        return out
    }
}

extension SigstoreError.Code {
    /// Something that is compressed cannot be unpacked.
    public static let malformedCompression = Self("malformed-compression")
}
