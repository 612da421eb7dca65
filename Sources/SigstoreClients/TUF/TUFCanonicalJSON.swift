public import StrictJSON

/// The canonical JSON that TUF signs (OLPC's; TUF specification 1.0, section 4.2.1).
///
/// It is not RFC 8785: members are sorted by their UTF-8 bytes, only `"` and `\` are escaped, control characters stand
/// as they are, and there are no fractions.
public enum TUFCanonicalJSON {
    /// Writes a value canonically.
    /// - Parameter value: The value, as deep as it was read.
    /// - Throws: `SigstoreError` with `unexpected-json` if a number is not whole.
    public static func encode(_ value: JSONValue) throws(SigstoreError) -> [UInt8] {
        var out: [UInt8] = []
        try write(value, to: &out)
        return out
    }

    private static func write(_ value: JSONValue, to out: inout [UInt8]) throws(SigstoreError) {
        switch value {
        case .null: out.append(contentsOf: "null".utf8)
        case .bool(let flag): out.append(contentsOf: (flag ? "true" : "false").utf8)
        case .number(let literal):
            let digits = literal.utf8.first == 0x2d ? literal.utf8.dropFirst() : literal.utf8[...]
            // "-0" is a second way to write 0, and would be hashed differently by others.
            guard digits.allSatisfy({ (0x30...0x39).contains($0) }), !literal.utf8.elementsEqual("-0".utf8) else {
                throw SigstoreError(.unexpectedJSON, "canonical JSON has whole numbers only, not \(literal)")
            }
            out.append(contentsOf: literal.utf8)
        case .string(let text): write(text, to: &out)
        case .array(let values):
            out.append(0x5b)
            for (index, element) in values.enumerated() {
                if index > 0 { out.append(0x2c) }
                try write(element, to: &out)
            }
            out.append(0x5d)
        case .object(let object):
            out.append(0x7b)
            let members = object.members.sorted { $0.name.utf8.lexicographicallyPrecedes($1.name.utf8) }
            for (index, member) in members.enumerated() {
                if index > 0 { out.append(0x2c) }
                write(member.name, to: &out)
                out.append(0x3a)
                try write(member.value, to: &out)
            }
            out.append(0x7d)
        }
    }

    private static func write(_ text: String, to out: inout [UInt8]) {
        out.append(0x22)
        for byte in text.utf8 {
            if byte == 0x22 || byte == 0x5c { out.append(0x5c) }
            out.append(byte)
        }
        out.append(0x22)
    }
}
