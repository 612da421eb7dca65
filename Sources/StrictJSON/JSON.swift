/// A JSON value as it stands in the text (RFC 8259).
///
/// Numbers keep their literal, so nothing is lost to floating point; objects keep the order of their members.
public enum JSONValue: Sendable {
    case null
    case bool(Bool)
    /// The literal as written, such as `-12` or `1.5e3`.
    case number(String)
    case string(String)
    case array([JSONValue])
    case object(JSONObject)

    /// A whole number.
    public static func integer(_ value: some BinaryInteger) -> JSONValue { .number(String(value)) }
    /// Bytes as base64, the way protobuf's JSON writes them.
    public static func bytes(_ value: [UInt8]) -> JSONValue { .string(Base64.encode(value)) }
}

/// The members of a JSON object, in order. Names are compared byte by byte, never by Unicode equivalence.
public struct JSONObject: Sendable, ExpressibleByDictionaryLiteral {
    /// The members in the order in which they were written.
    public private(set) var members: [(name: String, value: JSONValue)]

    /// Makes an object of members in order.
    public init(_ members: [(name: String, value: JSONValue)] = []) { self.members = members }
    public init(dictionaryLiteral elements: (String, JSONValue)...) {
        members = elements.map { (name: $0.0, value: $0.1) }
    }

    /// The member of that name; setting `nil` removes it.
    public subscript(name: String) -> JSONValue? {
        get { members.first { $0.name.utf8.elementsEqual(name.utf8) }?.value }
        set {
            let index = members.firstIndex { $0.name.utf8.elementsEqual(name.utf8) }
            switch (index, newValue) {
            case (let index?, let value?): members[index].value = value
            case (let index?, nil): members.remove(at: index)
            case (nil, let value?): members.append((name: name, value: value))
            case (nil, nil): break
            }
        }
    }
}

// MARK: - Reading

extension JSONValue {
    /// Reads one JSON text strictly: UTF-8, no duplicate member, nothing after the value, bounded depth and number of
    /// values, since each takes many times the memory of its two or three bytes.
    /// - Parameters:
    ///   - bytes: The whole text. A byte order mark is refused.
    ///   - depth: How many arrays and objects may stand within one another.
    ///   - values: How many values there may be in all.
    /// - Throws: ``SigstoreError`` with ``SigstoreError/Code/malformedJSON``.
    public init(parsing bytes: [UInt8], depth: Int = 64, values: Int = 1 << 22) throws(SigstoreError) {
        var reader = JSONReader(bytes: bytes, valuesLeft: values)
        self = try reader.document(depth: depth)
    }

    /// Tells a file of several JSON objects, one a line (JSON Lines), from one that holds a single value.
    /// - Parameters:
    ///   - bytes: The whole file.
    ///   - limit: How many objects are expected at most. One more is taken, so that the caller sees that there are too many.
    /// - Returns: The lines that are not blank, each with its number counted from 1; `nil` if the first of them is no object
    ///   by itself, or nothing follows it. The lines after it are not looked at.
    public static func lines(of bytes: [UInt8], limit: Int) -> [(number: Int, text: [UInt8])]? {
        func isBlank(_ byte: UInt8) -> Bool { byte == 0x20 || byte == 0x09 || byte == 0x0d }
        // Most often there is one line, or the first one is no whole object.
        guard let lineBreak = bytes.firstIndex(of: 0x0a),
            bytes[lineBreak...].contains(where: { $0 != 0x0a && !isBlank($0) })
        else { return nil }
        var lines: [(number: Int, text: [UInt8])] = []
        var rest = bytes[...]
        var number = 0
        while !rest.isEmpty, lines.count <= limit {
            let line = rest.prefix { $0 != 0x0a }
            rest = rest.dropFirst(line.count + 1)
            number += 1
            guard let first = line.first(where: { !isBlank($0) }) else { continue }
            if lines.isEmpty, first != 0x7b || line.last(where: { !isBlank($0) }) != 0x7d { return nil }
            lines.append((number: number, text: Array(line)))
        }
        guard lines.count > 1, let first = lines.first,
            (try? JSONValue(parsing: first.text, values: 1 << 16)) != nil
        else { return nil }
        return lines
    }
}

private struct JSONReader {
    let bytes: [UInt8]
    var valuesLeft: Int
    var at = 0

    init(bytes: [UInt8], valuesLeft: Int) {
        self.bytes = bytes
        self.valuesLeft = valuesLeft
    }

    var next: UInt8? { at < bytes.count ? bytes[at] : nil }

    func fault(_ what: String) -> SigstoreError {
        SigstoreError(.malformedJSON, "not valid JSON: \(what) at byte \(at)")
    }

    mutating func document(depth: Int) throws(SigstoreError) -> JSONValue {
        skipSpace()
        guard next != nil else { throw SigstoreError(.malformedJSON, "not valid JSON: it is empty") }
        let value = try value(depth: depth)
        skipSpace()
        guard next == nil else { throw fault("something follows the value") }
        return value
    }

    mutating func skipSpace() {
        while let byte = next, byte == 0x20 || byte == 0x0a || byte == 0x0d || byte == 0x09 { at += 1 }
    }

    mutating func value(depth: Int) throws(SigstoreError) -> JSONValue {
        guard let byte = next else { throw fault("it ends where a value should stand") }
        guard valuesLeft > 0 else { throw fault("it holds too many values") }
        valuesLeft -= 1
        switch byte {
        case 0x22: return .string(try string())
        case 0x7b: return .object(try object(depth: depth))
        case 0x5b: return .array(try array(depth: depth))
        case 0x2d, 0x30...0x39: return .number(try number())
        case 0x74: return try word("true", .bool(true))
        case 0x66: return try word("false", .bool(false))
        case 0x6e: return try word("null", .null)
        default: throw fault("unexpected character")
        }
    }

    mutating func word(_ word: StaticString, _ value: JSONValue) throws(SigstoreError) -> JSONValue {
        let letters = Array(word.description.utf8)
        guard bytes[at...].starts(with: letters) else { throw fault("unexpected character") }
        at += letters.count
        return value
    }

    mutating func array(depth: Int) throws(SigstoreError) -> [JSONValue] {
        guard depth > 0 else { throw fault("it is nested too deeply") }
        at += 1
        var values: [JSONValue] = []
        skipSpace()
        if next == 0x5d {
            at += 1
            return values
        }
        while true {
            skipSpace()
            values.append(try value(depth: depth - 1))
            skipSpace()
            switch next {
            case 0x2c: at += 1
            case 0x5d:
                at += 1
                return values
            default: throw fault("an array goes on without a comma or does not end")
            }
        }
    }

    mutating func object(depth: Int) throws(SigstoreError) -> JSONObject {
        guard depth > 0 else { throw fault("it is nested too deeply") }
        at += 1
        var members: [(name: String, value: JSONValue)] = []
        var names: Set<[UInt8]> = []
        skipSpace()
        if next == 0x7d {
            at += 1
            return JSONObject()
        }
        while true {
            skipSpace()
            guard next == 0x22 else { throw fault("an object's member has no name") }
            let name = try string()
            // A few names are compared faster than they are hashed. By bytes: to Swift, é is é however it is written.
            let isTaken: Bool
            if members.count < 16 {
                isTaken = members.contains { $0.name.utf8.elementsEqual(name.utf8) }
            } else {
                if names.isEmpty { names = Set(members.map { Array($0.name.utf8) }) }
                isTaken = !names.insert(Array(name.utf8)).inserted
            }
            guard !isTaken else { throw fault("a member stands twice in one object") }
            skipSpace()
            guard next == 0x3a else { throw fault("a member has no value") }
            at += 1
            skipSpace()
            members.append((name: name, value: try value(depth: depth - 1)))
            skipSpace()
            switch next {
            case 0x2c: at += 1
            case 0x7d:
                at += 1
                return JSONObject(members)
            default: throw fault("an object goes on without a comma or does not end")
            }
        }
    }

    mutating func number() throws(SigstoreError) -> String {
        let start = at
        if next == 0x2d { at += 1 }
        if next == 0x30 { at += 1 } else { try digits() }
        if next == 0x2e {
            at += 1
            try digits()
        }
        if next == 0x65 || next == 0x45 {
            at += 1
            if next == 0x2b || next == 0x2d { at += 1 }
            try digits()
        }
        guard at - start <= 64 else { throw fault("a number is too long") }
        return String(decoding: bytes[start..<at], as: UTF8.self)
    }

    mutating func digits() throws(SigstoreError) {
        guard let first = next, (0x30...0x39).contains(first) else { throw fault("a number is malformed") }
        while let byte = next, (0x30...0x39).contains(byte) { at += 1 }
    }

    mutating func string() throws(SigstoreError) -> String {
        at += 1
        let start = at
        while let byte = next, byte != 0x22, byte != 0x5c, byte >= 0x20 { at += 1 }
        var text: [UInt8] = []
        if next != 0x22 {
            text.append(contentsOf: bytes[start..<at])
            try escapedRest(into: &text)
        }
        let whole = text.isEmpty ? bytes[start..<at] : text[...]
        guard let string = String(validating: whole, as: UTF8.self) else { throw fault("a string is not UTF-8") }
        at += 1
        return string
    }

    /// Reads the rest of a string that holds escapes, up to its closing quote.
    mutating func escapedRest(into text: inout [UInt8]) throws(SigstoreError) {
        while true {
            guard let byte = next else { throw fault("a string does not end") }
            if byte == 0x22 { return }
            guard byte >= 0x20 else { throw fault("a control character stands in a string") }
            at += 1
            guard byte == 0x5c else {
                text.append(byte)
                continue
            }
            guard let letter = next else { throw fault("a string does not end") }
            at += 1
            switch letter {
            case 0x22, 0x5c, 0x2f: text.append(letter)
            case 0x62: text.append(0x08)
            case 0x66: text.append(0x0c)
            case 0x6e: text.append(0x0a)
            case 0x72: text.append(0x0d)
            case 0x74: text.append(0x09)
            case 0x75: text.append(contentsOf: try unicodeEscape().utf8)
            default: throw fault("an unknown escape stands in a string")
            }
        }
    }

    mutating func unicodeEscape() throws(SigstoreError) -> String {
        var code = try hexQuad()
        if (0xd800..<0xdc00).contains(code) {
            guard next == 0x5c, at + 1 < bytes.count, bytes[at + 1] == 0x75 else {
                throw fault("half a surrogate pair")
            }
            at += 2
            let low = try hexQuad()
            guard (0xdc00..<0xe000).contains(low) else { throw fault("half a surrogate pair") }
            code = 0x10000 + (code - 0xd800) << 10 + (low - 0xdc00)
        }
        guard let scalar = Unicode.Scalar(code) else { throw fault("half a surrogate pair") }
        return String(scalar)
    }

    mutating func hexQuad() throws(SigstoreError) -> UInt32 {
        guard bytes.count - at >= 4 else { throw fault("a string does not end") }
        var code: UInt32 = 0
        for byte in bytes[at..<at + 4] {
            switch byte {
            case 0x30...0x39: code = code << 4 | UInt32(byte - 0x30)
            case 0x41...0x46: code = code << 4 | UInt32(byte - 0x41 + 10)
            case 0x61...0x66: code = code << 4 | UInt32(byte - 0x61 + 10)
            default: throw fault("an escape is not four hexadecimal digits")
            }
        }
        at += 4
        return code
    }
}

// MARK: - Writing

extension JSONValue {
    /// The value as compact JSON in UTF-8. Control characters and characters that change how text is displayed
    /// (bidirectional marks, line separators and the like) are written as escapes, so the text is safe on a terminal.
    public func serialized() -> [UInt8] {
        var out: [UInt8] = []
        write(to: &out, sortingMembers: false)
        return out
    }

    /// The value as RFC 8785 canonical JSON: sorted members, no spaces, only the escapes that are required.
    /// Exact for objects, arrays, strings, booleans and whole numbers, which is all that Sigstore signs.
    public func canonicalized() -> [UInt8] {
        var out: [UInt8] = []
        write(to: &out, sortingMembers: true)
        return out
    }

    private func write(to out: inout [UInt8], sortingMembers: Bool) {
        switch self {
        case .null: out.append(contentsOf: "null".utf8)
        case .bool(let value): out.append(contentsOf: (value ? "true" : "false").utf8)
        case .number(let literal): out.append(contentsOf: literal.utf8)
        case .string(let text): Self.write(text, to: &out, escapingInvisible: !sortingMembers)
        case .array(let values):
            out.append(0x5b)
            for (index, value) in values.enumerated() {
                if index > 0 { out.append(0x2c) }
                value.write(to: &out, sortingMembers: sortingMembers)
            }
            out.append(0x5d)
        case .object(let object):
            var members = object.members
            if sortingMembers { members.sort { $0.name.utf16.lexicographicallyPrecedes($1.name.utf16) } }
            out.append(0x7b)
            for (index, member) in members.enumerated() {
                if index > 0 { out.append(0x2c) }
                Self.write(member.name, to: &out, escapingInvisible: !sortingMembers)
                out.append(0x3a)
                member.value.write(to: &out, sortingMembers: sortingMembers)
            }
            out.append(0x7d)
        }
    }

    private static func write(_ text: String, to out: inout [UInt8], escapingInvisible: Bool) {
        out.append(0x22)
        // Most strings are plain ASCII: copy them as they are.
        if text.utf8.allSatisfy({ $0 >= 0x20 && $0 < 0x7f && $0 != 0x22 && $0 != 0x5c }) {
            out.append(contentsOf: text.utf8)
        } else {
            for scalar in text.unicodeScalars {
                switch scalar {
                case "\"": out.append(contentsOf: "\\\"".utf8)
                case "\\": out.append(contentsOf: "\\\\".utf8)
                case "\n": out.append(contentsOf: "\\n".utf8)
                case "\r": out.append(contentsOf: "\\r".utf8)
                case "\t": out.append(contentsOf: "\\t".utf8)
                case "\u{8}": out.append(contentsOf: "\\b".utf8)
                case "\u{c}": out.append(contentsOf: "\\f".utf8)
                case _ where scalar.value < 0x20, _ where escapingInvisible && scalar.changesDisplay:
                    for unit in String(scalar).utf16 {
                        let hex = String(unit, radix: 16)
                        out.append(contentsOf: ("\\u" + String(repeating: "0", count: 4 - hex.count) + hex).utf8)
                    }
                default: out.append(contentsOf: scalar.utf8)
                }
            }
        }
        out.append(0x22)
    }
}

extension Unicode.Scalar {
    /// Whether printing this scalar could do anything but show one glyph: controls, escapes, bidirectional marks,
    /// invisible format characters, line separators, private and unassigned code points.
    public var changesDisplay: Bool {
        if isASCII { return value < 0x20 || value == 0x7f }
        return switch properties.generalCategory {
        case .control, .format, .lineSeparator, .paragraphSeparator, .surrogate, .privateUse, .unassigned: true
        default: false
        }
    }
}

// MARK: - Looking inside

/// A JSON value together with where it stands, so that an error can name the member.
public struct JSONCursor: Sendable {
    /// The value.
    public let value: JSONValue
    /// Where it stands, such as `verificationMaterial.tlogEntries[0].logIndex`; empty for the whole text.
    public let path: String

    /// Starts at the top of a document.
    public init(_ value: JSONValue) {
        self.value = value
        path = ""
    }
    private init(_ value: JSONValue, _ path: String) {
        self.value = value
        self.path = path
    }

    /// An error about this value.
    /// - Parameter what: What is wrong, as the end of a sentence that begins with the member's name.
    public func fault(_ what: String) -> SigstoreError {
        SigstoreError(.unexpectedJSON, "\(path.isEmpty ? "the JSON value" : path) \(what)")
    }

    private func object() throws(SigstoreError) -> JSONObject {
        guard case .object(let object) = value else { throw fault("is not an object") }
        return object
    }

    /// The names of this object's members, in order.
    /// - Throws: If the value is not an object.
    public func names() throws(SigstoreError) -> [String] { try object().members.map(\.name) }

    /// Refuses members that are not in the list: what we do not know, we do not skip.
    /// - Parameter names: The names that may stand in this object.
    public func expectOnly(_ names: [String]) throws(SigstoreError) {
        for member in try object().members where !names.contains(where: { $0.utf8.elementsEqual(member.name.utf8) }) {
            throw fault("has the member \"\(member.name)\", which is not known")
        }
    }

    /// A member that may be absent; `null` counts as absent, as in protobuf's JSON.
    public func optional(_ name: String) throws(SigstoreError) -> JSONCursor? {
        guard let value = try object()[name] else { return nil }
        if case .null = value { return nil }
        return JSONCursor(value, path.isEmpty ? name : "\(path).\(name)")
    }

    /// A member that must be there.
    public func member(_ name: String) throws(SigstoreError) -> JSONCursor {
        guard let member = try optional(name) else { throw fault("has no \"\(name)\"") }
        return member
    }

    /// The elements of an array.
    public func elements() throws(SigstoreError) -> [JSONCursor] {
        guard case .array(let values) = value else { throw fault("is not an array") }
        return values.enumerated().map { JSONCursor($1, "\(path)[\($0)]") }
    }

    /// A string.
    public func string() throws(SigstoreError) -> String {
        guard case .string(let text) = value else { throw fault("is not a string") }
        return text
    }

    /// `true` or `false`.
    public func bool() throws(SigstoreError) -> Bool {
        guard case .bool(let value) = value else { throw fault("is not true or false") }
        return value
    }

    /// A whole number of 64 bits, as a number or, as protobuf writes it, as a string.
    public func integer() throws(SigstoreError) -> Int64 {
        let literal: String
        switch value {
        case .number(let text), .string(let text): literal = text
        default: throw fault("is not a whole number")
        }
        guard literal.utf8.allSatisfy({ (0x30...0x39).contains($0) || $0 == 0x2d }), let number = Int64(literal) else {
            throw fault("is not a whole number of 64 bits")
        }
        return number
    }

    /// Bytes in base64.
    public func bytes() throws(SigstoreError) -> [UInt8] {
        guard let bytes = Base64.decode(try string()) else {
            throw SigstoreError(.malformedBase64, "\(path) is not base64")
        }
        return bytes
    }
}
