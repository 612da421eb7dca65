internal import CYAML
public import StrictJSON

/// One YAML document (YAML 1.2, chapter 10), read as the JSON value that it says.
///
/// What stands without quotation marks is a value of JSON's if it is written as JSON writes it (`true`, `false`, `null`, a
/// number), and in the capitals that YAML allows; `~` and nothing are null, and everything else is text. What only some readers
/// take for a number or for true or false, such as `0x1f`, `017`, `yes` and `off`, is refused. Messages hold nothing of the values,
/// which may be secrets.
public struct YAMLDocument: Sendable {
    /// What the document says; `null` if there is none.
    public let value: JSONValue
    private let lines: Lines

    /// The version of libyaml, such as `0.2.5`.
    public static var libraryVersion: String { unsafe String(cString: yaml_get_version_string()) }

    /// Where values stand.
    fileprivate struct Lines: Sendable {
        let line: Int
        /// Those of the members or elements, in order.
        var children: [Lines] = []
    }

    /// Reads one document strictly: UTF-8, no member twice, no tags but those of YAML's core, nothing after it, all bounded.
    /// - Parameters:
    ///   - bytes: The whole text.
    ///   - limit: How many bytes it may have, and how many those that aliases repeat.
    ///   - depth: How many sequences and mappings may stand within one another.
    ///   - values: How many values there may be in all, with those that aliases repeat.
    /// - Throws: `SigstoreError` with `malformed-yaml`, whose message names the line.
    public init(parsing bytes: [UInt8], limit: Int = 1 << 20, depth: Int = 64, values: Int = 1 << 16)
        throws(SigstoreError)
    {
        guard bytes.count <= limit else {
            throw SigstoreError(.malformedYAML, "it has \(bytes.count) bytes, expected at most \(limit)")
        }
        try Self.expectPlain(bytes)
        var builder = Builder(depth: depth, valuesLeft: values, repeatedBytesLeft: limit)
        let events = Events()
        try unsafe bytes.withUnsafeBufferPointer { buffer throws(SigstoreError) in
            try unsafe events.forEach(in: buffer) { event throws(SigstoreError) in try builder.take(event) }
        }
        (value, lines) = builder.document ?? (.null, Lines(line: 1))
    }

    /// Refuses what readers see differently, or what libyaml needs long for: line ends that only Unicode knows (NEL, LS, PS), and names
    /// for tags.
    private static func expectPlain(_ bytes: [UInt8]) throws(SigstoreError) {
        var line = 1
        for (index, byte) in bytes.enumerated() {
            let rest = bytes[index...]
            if byte == 0x0a { line += 1 }
            if byte == 0xc2 && rest.starts(with: [0xc2, 0x85])
                || byte == 0xe2 && (rest.starts(with: [0xe2, 0x80, 0xa8]) || rest.starts(with: [0xe2, 0x80, 0xa9]))
            {
                throw SigstoreError(
                    .malformedYAML,
                    "line \(line): a line end of Unicode stands in it, which not all programs take for one")
            }
            if byte == 0x25, index == 0 || bytes[index - 1] == 0x0a || bytes[index - 1] == 0x0d,
                rest.starts(with: "%TAG".utf8)
            {
                throw SigstoreError(.malformedYAML, "line \(line): a name for tags (%TAG) is not read")
            }
        }
    }

    /// The line of a value, counted from 1.
    /// - Parameter path: Where it stands, as in `JSONCursor.path`, such as `users[0].name`.
    /// - Returns: The line of the value, or of what is nearest above it.
    public func line(of path: String) -> Int {
        var (value, lines, rest) = (value, lines, path.utf8[...])
        while !rest.isEmpty {
            let index: Int
            switch value {
            case .object(let object):
                if rest.first == 0x2e { rest.removeFirst() }
                // A name may have a dot in it, so the longest one that fits is meant.
                let fits = object.members.indices.filter { rest.starts(with: object.members[$0].name.utf8) }
                guard
                    let longest = fits.max(by: {
                        object.members[$0].name.utf8.count < object.members[$1].name.utf8.count
                    })
                else { return lines.line }
                (index, value) = (longest, object.members[longest].value)
                rest = rest.dropFirst(object.members[longest].name.utf8.count)
            case .array(let elements):
                guard rest.first == 0x5b, let end = rest.firstIndex(of: 0x5d),
                    let number = Int(String(Substring(rest[..<end].dropFirst()))), elements.indices.contains(number)
                else { return lines.line }
                (index, value) = (number, elements[number])
                rest = rest[rest.index(after: end)...]
            default: return lines.line
            }
            guard lines.children.indices.contains(index) else { return lines.line }
            lines = lines.children[index]
        }
        return lines.line
    }
}

extension SigstoreError.Code {
    /// Bytes that should be YAML are not, or break a rule of the strict reader (duplicates, tags, depth, size).
    public static let malformedYAML = Self("malformed-yaml")
}

// MARK: - What libyaml sees

/// One thing that stands in the text, and on which line.
private struct Event {
    enum Kind {
        case scalar(text: String, isPlain: Bool, tag: String?, anchor: String?)
        case sequenceStart(tag: String?, anchor: String?)
        case mappingStart(tag: String?, anchor: String?)
        case end
        case alias(String)
        case documentStart
    }
    let kind: Kind
    let line: Int

    func fault(_ what: String) -> SigstoreError { SigstoreError(.malformedYAML, "line \(line): \(what)") }
}

/// libyaml's parser, which nests nothing on the stack.
@safe private final class Events {
    private let parser = UnsafeMutablePointer<yaml_parser_t>.allocate(capacity: 1)
    private var isReady = false

    init() { unsafe parser.initialize(to: yaml_parser_t()) }

    deinit {
        if isReady { unsafe yaml_parser_delete(parser) }
        unsafe parser.deallocate()
    }

    func forEach(
        in bytes: UnsafeBufferPointer<UInt8>, _ body: (Event) throws(SigstoreError) -> Void
    ) throws(SigstoreError) {
        isReady = unsafe yaml_parser_initialize(parser) == 1
        guard isReady else { throw SigstoreError(.malformedYAML, "memory is short") }
        unsafe yaml_parser_set_encoding(parser, YAML_UTF8_ENCODING)
        unsafe yaml_parser_set_input_string(parser, bytes.baseAddress, bytes.count)
        while true {
            var event = unsafe yaml_event_t()
            guard unsafe yaml_parser_parse(parser, &event) == 1 else { throw fault }
            defer { unsafe yaml_event_delete(&event) }
            let line = Int(clamping: unsafe event.start_mark.line) + 1
            let kind: Event.Kind
            switch unsafe event.type {
            case YAML_STREAM_START_EVENT, YAML_DOCUMENT_END_EVENT: continue
            case YAML_STREAM_END_EVENT: return
            case YAML_DOCUMENT_START_EVENT: kind = .documentStart
            case YAML_SEQUENCE_START_EVENT:
                let start = unsafe event.data.sequence_start
                kind = .sequenceStart(tag: unsafe Self.text(start.tag), anchor: unsafe Self.text(start.anchor))
            case YAML_MAPPING_START_EVENT:
                let start = unsafe event.data.mapping_start
                kind = .mappingStart(tag: unsafe Self.text(start.tag), anchor: unsafe Self.text(start.anchor))
            case YAML_SEQUENCE_END_EVENT, YAML_MAPPING_END_EVENT: kind = .end
            case YAML_ALIAS_EVENT: kind = .alias(unsafe Self.text(event.data.alias.anchor) ?? "")
            case YAML_SCALAR_EVENT:
                let scalar = unsafe event.data.scalar
                let text = unsafe String(
                    validating: UnsafeBufferPointer(start: scalar.value, count: Int(clamping: scalar.length)),
                    as: UTF8.self)
                guard let text else {
                    throw SigstoreError(.malformedYAML, "line \(line): this is not UTF-8")
                }
                kind = .scalar(
                    text: text, isPlain: unsafe scalar.style == YAML_PLAIN_SCALAR_STYLE,
                    tag: unsafe Self.text(scalar.tag), anchor: unsafe Self.text(scalar.anchor))
            default: continue
            }
            try body(Event(kind: kind, line: line))
        }
    }

    /// libyaml's own words, which hold nothing of the text.
    private var fault: SigstoreError {
        let line = Int(clamping: unsafe parser.pointee.problem_mark.line) + 1
        let words = unsafe parser.pointee.problem.map { unsafe String(cString: $0) } ?? "memory is short"
        return SigstoreError(.malformedYAML, "line \(line): this is not YAML: \(words)")
    }

    private static func text(_ bytes: UnsafeMutablePointer<yaml_char_t>?) -> String? {
        unsafe bytes.map { unsafe String(cString: $0) }
    }
}

// MARK: - The value

private struct Builder {
    /// A value that is whole.
    private struct Node {
        let value: JSONValue
        let lines: YAMLDocument.Lines
        /// How many values it is made of, itself among them, and how many bytes their texts have.
        var values = 1
        var bytes = 0
        /// How many sequences and mappings stand within one another in it.
        var height = 0
    }

    /// A sequence or mapping that has not ended.
    private struct Open {
        let line: Int
        let anchor: String?
        let isMapping: Bool
        var names: [String] = []
        var taken: Set<[UInt8]> = []
        /// The name whose value comes next.
        var name: String?
        var nodes: [Node] = []
    }

    let depth: Int
    var valuesLeft: Int
    var repeatedBytesLeft: Int
    private var open: [Open] = []
    private var anchors: [String: Node] = [:]
    private var root: Node?
    private var hasDocument = false

    init(depth: Int, valuesLeft: Int, repeatedBytesLeft: Int) {
        (self.depth, self.valuesLeft, self.repeatedBytesLeft) = (depth, valuesLeft, repeatedBytesLeft)
    }

    var document: (JSONValue, YAMLDocument.Lines)? { root.map { ($0.value, $0.lines) } }

    mutating func take(_ event: Event) throws(SigstoreError) {
        switch event.kind {
        case .documentStart:
            guard !hasDocument else { throw event.fault("a second document begins, and one is expected") }
            hasDocument = true
        case .sequenceStart(let tag, let anchor):
            try expect(tag, ["seq"], event)
            try begin(Open(line: event.line, anchor: anchor, isMapping: false), event)
        case .mappingStart(let tag, let anchor):
            try expect(tag, ["map"], event)
            try begin(Open(line: event.line, anchor: anchor, isMapping: true), event)
        case .end:
            guard let ended = open.popLast() else { return }
            let children = ended.nodes
            let value: JSONValue =
                ended.isMapping
                ? .object(JSONObject(zip(ended.names, children).map { (name: $0, value: $1.value) }))
                : .array(children.map(\.value))
            let node = Node(
                value: value, lines: YAMLDocument.Lines(line: ended.line, children: children.map(\.lines)),
                values: children.reduce(1) { $0 + $1.values },
                bytes: children.reduce(ended.names.reduce(0) { $0 + $1.utf8.count }) { $0 + $1.bytes },
                height: 1 + (children.map(\.height).max() ?? 0))
            place(node, ended.anchor)
        case .alias(let name):
            guard !awaitsName else { throw event.fault("a member's name is an alias, expected text") }
            guard let node = anchors[name] else {
                throw event.fault("nothing that is whole has the anchor that is named here")
            }
            // What stands once may be repeated so often that nothing can hold it.
            try count(node.values, event)
            repeatedBytesLeft -= node.bytes
            guard repeatedBytesLeft >= 0 else { throw event.fault("its aliases repeat too much") }
            guard open.count + node.height <= depth else { throw event.fault("it is nested too deeply") }
            place(
                Node(
                    value: node.value, lines: YAMLDocument.Lines(line: event.line), values: node.values,
                    bytes: node.bytes, height: node.height), nil)
        case .scalar(let text, let isPlain, let tag, let anchor):
            if awaitsName { return try takeName(text, isPlain, tag, anchor, event) }
            let value = try value(text, isPlain, tag, event)
            try count(1, event)
            place(
                Node(value: value, lines: YAMLDocument.Lines(line: event.line), bytes: text.utf8.count), anchor)
        }
    }

    private var awaitsName: Bool { open.last.map { $0.isMapping && $0.name == nil } ?? false }

    private mutating func count(_ values: Int, _ event: Event) throws(SigstoreError) {
        valuesLeft -= values
        guard valuesLeft >= 0 else { throw event.fault("it holds too many values") }
    }

    private mutating func begin(_ new: Open, _ event: Event) throws(SigstoreError) {
        guard !awaitsName else { throw event.fault("a member's name is a sequence or mapping, expected text") }
        guard open.count < depth else { throw event.fault("it is nested too deeply") }
        try count(1, event)
        open.append(new)
    }

    private mutating func takeName(
        _ text: String, _ isPlain: Bool, _ tag: String?, _ anchor: String?, _ event: Event
    ) throws(SigstoreError) {
        try expect(tag, ["str"], event)
        guard anchor == nil else { throw event.fault("a member's name has an anchor, which is not read") }
        if isPlain {
            guard !text.utf8.elementsEqual("<<".utf8) else {
                throw event.fault("a mapping is merged into another (<<), which is not read: write its members out")
            }
            guard !["", "~", "null", "Null", "NULL"].contains(text) else {
                throw event.fault("a member has no name")
            }
        }
        guard open[open.count - 1].taken.insert(Array(text.utf8)).inserted else {
            throw event.fault("the member \"\(Self.shown(text))\" stands twice in one mapping")
        }
        open[open.count - 1].name = text
        open[open.count - 1].names.append(text)
    }

    /// Puts a whole value where it belongs.
    private mutating func place(_ node: Node, _ anchor: String?) {
        if let anchor { anchors[anchor] = node }
        guard !open.isEmpty else { return root = node }
        open[open.count - 1].name = nil
        open[open.count - 1].nodes.append(node)
    }

    // MARK: Tags and scalars

    private static let core = "tag:yaml.org,2002:"

    /// The short name of a tag of YAML's core; `nil` if there is no tag, or `!`, which says that the text is meant.
    private func short(_ tag: String, _ event: Event) throws(SigstoreError) -> String {
        if tag.utf8.elementsEqual("!".utf8) { return "str" }
        let name = String(Substring(tag.utf8.dropFirst(Self.core.utf8.count)))
        guard tag.utf8.starts(with: Self.core.utf8),
            ["str", "int", "float", "bool", "null", "seq", "map"].contains(name)
        else { throw event.fault("the tag that stands here is not read") }
        return name
    }

    private func expect(_ tag: String?, _ names: [String], _ event: Event) throws(SigstoreError) {
        guard let tag, !tag.utf8.elementsEqual("!".utf8) else { return }
        let name = try short(tag, event)
        guard names.contains(name) else { throw event.fault("the tag !!\(name) stands at something else") }
    }

    private func value(_ text: String, _ isPlain: Bool, _ tag: String?, _ event: Event) throws(SigstoreError)
        -> JSONValue
    {
        guard let tag else { return isPlain ? try resolve(text, event) : .string(text) }
        let name = try short(tag, event)
        if name == "str" { return .string(text) }
        let value = try resolve(text, event)
        switch (name, value) {
        case ("null", .null), ("bool", .bool), ("float", .number): return value
        case ("int", .number(let literal)) where !literal.utf8.contains(where: { [0x2e, 0x45, 0x65].contains($0) }):
            return value
        default: throw event.fault("the tag !!\(name) stands at something else")
        }
    }

    /// What a text without quotation marks says.
    private func resolve(_ text: String, _ event: Event) throws(SigstoreError) -> JSONValue {
        switch text {
        case "", "~", "null", "Null", "NULL": return .null
        case "true", "True", "TRUE": return .bool(true)
        case "false", "False", "FALSE": return .bool(false)
        case "y", "Y", "yes", "Yes", "YES", "n", "N", "no", "No", "NO", "on", "On", "ON", "off", "Off", "OFF":
            throw event.fault(
                "this is true or false to some programs and text to others: put it in quotation marks, or write true or false"
            )
        default: break
        }
        let bytes = Array(text.utf8)
        // A sign or a point may stand before what makes it a number.
        let rest = bytes.drop { $0 == 0x2b || $0 == 0x2d || $0 == 0x2e }
        guard let first = rest.first, bytes.count - rest.count <= 2, bytes.count <= 64,
            (0x30...0x39).contains(first) || [".inf", ".nan"].contains(text.lowercased().drop { "+-".contains($0) })
        else { return .string(text) }
        if let value = try? JSONValue(parsing: bytes, depth: 0, values: 1), case .number = value { return value }
        guard Self.isNumberToSome(bytes) else { return .string(text) }
        throw event.fault(
            "this is a number to some programs and text to others: put it in quotation marks, or write it in digits alone"
        )
    }

    /// Whether some reader of YAML 1.1 or 1.2 takes a text for a number that JSON does not know.
    private static func isNumberToSome(_ bytes: [UInt8]) -> Bool {
        var digits = bytes.drop { $0 == 0x2b || $0 == 0x2d }.map { $0 | ((0x41...0x5a).contains($0) ? 0x20 : 0) }
        guard bytes.count - digits.count <= 1 else { return false }
        if [Array(".inf".utf8), Array(".nan".utf8)].contains(digits) { return true }
        digits.removeAll { $0 == 0x5f }
        for (prefix, letters) in [("0x", 0x66 as UInt8), ("0o", 0x37), ("0b", 0x31)]
        where digits.starts(with: prefix.utf8) {
            let rest = digits.dropFirst(2)
            return !rest.isEmpty
                && rest.allSatisfy {
                    (0x30...min(letters, 0x39)).contains($0) || letters == 0x66 && (0x61...0x66).contains($0)
                }
        }
        var (hasPoint, hasExponent, hasDigit) = (false, false, false)
        var last: UInt8 = 0
        for byte in digits {
            switch byte {
            case 0x30...0x39: hasDigit = true
            case 0x2e where !hasPoint && !hasExponent: hasPoint = true
            case 0x65 where hasDigit && !hasExponent: hasExponent = true
            case 0x2b where last == 0x65, 0x2d where last == 0x65: break
            default: return false
            }
            last = byte
        }
        return hasDigit && (0x30...0x39).contains(last) || hasDigit && last == 0x2e
    }

    /// The beginning of a text, for a message.
    private static func shown(_ text: String) -> String { String(text.prefix(64)) }
}
