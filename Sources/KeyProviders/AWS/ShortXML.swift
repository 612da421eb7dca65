import StrictJSON

/// The texts of a short XML document, such as AWS's security token service answers: elements and texts, without
/// declarations of types, entities of its own, or anything that would be fetched.
struct ShortXML: Sendable {
    private var texts: [(path: [String], text: String)] = []

    /// The most bytes that a document may have.
    static let limit = 1 << 17

    /// The text of an element that has no others in it, the first with this path.
    func text(_ path: [String]) -> String? {
        texts.first { found in
            found.path.count == path.count && zip(found.path, path).allSatisfy { $0.utf8.elementsEqual($1.utf8) }
        }?.text
    }

    /// Reads a document.
    /// - Parameter bytes: UTF-8.
    /// - Throws: `SigstoreError` with `unexpected-json` (an answer that is not as it should be).
    init(parsing bytes: [UInt8]) throws(SigstoreError) {
        func malformed(_ what: String) -> SigstoreError {
            SigstoreError(.unexpectedJSON, "it is not XML that is understood here: \(what)")
        }
        guard bytes.count <= Self.limit else { throw malformed("it is longer than \(Self.limit) bytes") }
        guard String(validating: bytes, as: UTF8.self) != nil else { throw malformed("it is not UTF-8") }
        var rest = bytes[...]
        var path: [String] = []
        var text: [UInt8] = []
        var isLeaf = false
        var hasRoot = false
        while let start = rest.firstIndex(of: 0x3c) {
            text += rest[..<start]
            rest = rest[(start + 1)...]
            guard let end = Self.endOfTag(rest) else { throw malformed("a tag does not end") }
            var tag = rest[..<end]
            rest = rest[(end + 1)...]
            switch tag.first {
            case 0x21: throw malformed("it has a declaration or a comment")
            case 0x3f:
                guard !hasRoot else { throw malformed("it has an instruction") }
            case 0x2f:
                let name = Self.name(tag.dropFirst())
                guard let open = path.last, open.utf8.elementsEqual(name.utf8) else {
                    throw malformed("an element ends that is not open")
                }
                if isLeaf {
                    guard texts.count < 1024 else { throw malformed("it has more than 1024 elements") }
                    guard let value = Self.unescaped(text) else {
                        throw malformed("it has an entity that is not known")
                    }
                    texts.append((path, value))
                }
                isLeaf = false
                path.removeLast()
            default:
                let isEmpty = tag.last == 0x2f
                if isEmpty { tag.removeLast() }
                let name = Self.name(tag)
                guard !name.isEmpty, path.count < 16, !path.isEmpty || !hasRoot else {
                    throw malformed("it is nested too deeply, or has two roots")
                }
                hasRoot = true
                isLeaf = !isEmpty
                if !isEmpty { path.append(name) }
            }
            text = []
        }
        guard hasRoot, path.isEmpty, rest.allSatisfy({ $0 <= 0x20 }) else {
            throw malformed("it ends too early, or too late")
        }
    }

    /// Where a tag ends: a `>` within quotes does not count.
    private static func endOfTag(_ rest: ArraySlice<UInt8>) -> Int? {
        var quote: UInt8?
        for place in rest.indices {
            let byte = rest[place]
            if let open = quote {
                if byte == open { quote = nil }
            } else if byte == 0x22 || byte == 0x27 {
                quote = byte
            } else if byte == 0x3e {
                return place
            }
        }
        return nil
    }

    private static func name(_ tag: ArraySlice<UInt8>) -> String {
        String(decoding: tag.prefix { $0 > 0x20 }, as: UTF8.self)
    }

    /// A text with the five entities of XML and numbers of ASCII in place.
    private static func unescaped(_ text: [UInt8]) -> String? {
        var out: [UInt8] = []
        var rest = text[...]
        let names: [(String, UInt8)] = [("amp", 0x26), ("lt", 0x3c), ("gt", 0x3e), ("quot", 0x22), ("apos", 0x27)]
        while let byte = rest.popFirst() {
            guard byte == 0x26 else {
                out.append(byte)
                continue
            }
            guard let end = rest.prefix(8).firstIndex(of: 0x3b) else { return nil }
            let name = rest[..<end]
            rest = rest[(end + 1)...]
            if let found = names.first(where: { name.elementsEqual($0.0.utf8) }) {
                out.append(found.1)
            } else {
                let digits = String(decoding: name.dropFirst(), as: UTF8.self)
                let isHex = digits.utf8.first == 0x78
                guard name.first == 0x23,
                    let code = UInt8(isHex ? String(digits.dropFirst()) : digits, radix: isHex ? 16 : 10),
                    (0x20...0x7e).contains(code)
                else { return nil }
                out.append(code)
            }
        }
        return String(validating: out, as: UTF8.self)
    }
}
