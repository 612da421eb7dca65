public import StrictJSON

/// A reference to a key on a token: a PKCS#11 URI (RFC 7512), such as `pkcs11:token=release;object=signing?module-path=/lib/x.so`.
///
/// All attributes of RFC 7512 are read, and none may stand twice. The values of those that name the token and the key are any
/// bytes, or none, for what has no such name. As in cosign's references, `&` parts attributes as `;` does, and `+` is a space; if
/// nothing has that name, it is a plus.
public struct PKCS11URI: Sendable {
    /// The value of an attribute, percent-decoded.
    struct Value: Sendable, Hashable {
        /// With a space for each `+`.
        let spaced: [UInt8]
        /// With each `+` as it is.
        let plain: [UInt8]

        /// What it may mean, the likelier first.
        var readings: [[UInt8]] { spaced == plain ? [plain] : [spaced, plain] }
    }

    static let scheme = ReferenceScheme("pkcs11", form: "pkcs11:token=TOKEN;object=KEY?module-path=/PATH/MODULE.so")

    /// What names the module, the token and the key.
    private let path: [String: Value]
    /// What says how the module is found, and the PIN.
    private let query: [String: Value]
    /// The reference, without the PIN.
    let shown: String
    /// The attributes that nothing here knows, such as `x-vendor`; they are left aside.
    let unknown: [String]

    private static let pathNames = [
        "token", "manufacturer", "serial", "model", "slot-id", "slot-manufacturer", "slot-description", "object", "id",
        "type", "library-manufacturer", "library-description", "library-version",
    ]
    private static let queryNames = ["pin-source", "pin-value", "module-name", "module-path"]

    /// Reads a reference. Nothing is opened.
    /// - Parameter text: The reference.
    /// - Throws: `SigstoreError` with `unknown-key-reference`, which says the right form and holds no PIN.
    public init(_ text: String) throws(SigstoreError) {
        shown = Self.withoutPIN(text)
        let bytes = Array(text.utf8)
        guard bytes.starts(with: "pkcs11:".utf8) else {
            throw Self.malformed(text, "it does not begin with pkcs11: in small letters")
        }
        guard bytes.count <= 1 << 14 else { throw Self.malformed(text, "it is longer than 16 KiB") }
        guard !bytes.contains(where: { $0 < 0x20 || $0 == 0x7f }) else {
            throw Self.malformed(text, "it holds control characters, which are written as %0a")
        }
        let rest = bytes.dropFirst("pkcs11:".utf8.count)
        guard rest.first != 0x2f else {
            throw Self.malformed(text, "nothing but attributes follow the colon, no slashes")
        }
        let parts = rest.split(separator: 0x3f, maxSplits: 1, omittingEmptySubsequences: false)
        var unknown: [String] = []
        path = try Self.attributes(parts.first ?? [], Self.pathNames, &unknown, text)
        query = try Self.attributes(parts.count > 1 ? parts[1] : [], Self.queryNames, &unknown, text)
        self.unknown = unknown
        try check(text)
    }

    private static func attributes(
        _ bytes: ArraySlice<UInt8>, _ names: [String], _ unknown: inout [String], _ text: String
    ) throws(SigstoreError) -> [String: Value] {
        var found: [String: Value] = [:]
        for part in bytes.split(whereSeparator: { $0 == 0x3b || $0 == 0x26 }) {
            let sides = part.split(separator: 0x3d, maxSplits: 1, omittingEmptySubsequences: false)
            let name = String(decoding: sides[0], as: UTF8.self)
            guard sides.count == 2 else {
                throw malformed(text, "an attribute is written as NAME=VALUE, and one has no =")
            }
            guard names.contains(where: { $0.utf8.elementsEqual(name.utf8) }) else {
                guard name.utf8.starts(with: "x-".utf8) else {
                    // Behind the ? it may be a piece of a PIN.
                    let isPath = names.contains("token")
                    throw malformed(
                        text,
                        "there is no \(isPath ? "attribute \"\(name.prefix(64))\" before" : "such attribute behind") the ?; those are \(names.joined(separator: ", ")) (a & in a value is written as %26)"
                    )
                }
                unknown.append(name)
                continue
            }
            guard found[name] == nil else { throw malformed(text, "the attribute \(name) stands twice") }
            guard let value = decoded(sides[1]) else {
                throw malformed(text, "the value of \(name) has a % that two hexadecimal digits do not follow")
            }
            // It would be shown with the value.
            guard name.utf8.starts(with: "pin-".utf8) || !hidesPIN(Array(part)) else {
                throw malformed(text, "a PIN stands within the value of \(name), and not behind the ? by itself")
            }
            found[name] = value
        }
        return found
    }

    /// A value without its percent-encoding; `nil` if that is broken.
    private static func decoded(_ bytes: ArraySlice<UInt8>) -> Value? {
        var (spaced, plain): ([UInt8], [UInt8]) = ([], [])
        var rest = bytes
        while let byte = rest.popFirst() {
            if byte == 0x25 {
                guard let high = rest.popFirst().flatMap(digit), let low = rest.popFirst().flatMap(digit) else {
                    return nil
                }
                spaced.append(high << 4 | low)
                plain.append(high << 4 | low)
            } else {
                spaced.append(byte == 0x2b ? 0x20 : byte)
                plain.append(byte)
            }
        }
        return Value(spaced: spaced, plain: plain)
    }

    private static func digit(_ byte: UInt8) -> UInt8? {
        switch byte {
        case 0x30...0x39: byte - 0x30
        case 0x41...0x46: byte - 0x41 + 10
        case 0x61...0x66: byte - 0x61 + 10
        default: nil
        }
    }

    private func check(_ text: String) throws(SigstoreError) {
        for name in ["slot-id", "library-version", "type"] + Self.queryNames where name != "pin-value" {
            guard let value = path[name] ?? query[name] else { continue }
            guard !value.plain.isEmpty else { throw Self.malformed(text, "the attribute \(name) has no value") }
            guard String(validating: value.plain, as: UTF8.self) != nil, !value.plain.contains(where: { $0 < 0x20 })
            else {
                throw Self.malformed(text, "the value of \(name) is no text")
            }
        }
        if let value = path["slot-id"], slotID == nil {
            throw Self.malformed(text, "slot-id is \"\(Self.text(value))\", expected a decimal number")
        }
        if let value = path["library-version"], libraryVersion == nil {
            throw Self.malformed(text, "library-version is \"\(Self.text(value))\", expected N or N.N, of at most 255")
        }
        if let type = path["type"].map(Self.text), type != "private", type != "public" {
            throw Self.malformed(text, "type=\(type) is no key that signs: leave it out, or write type=private")
        }
        if let pin = query["pin-value"] {
            guard query["pin-source"] == nil else {
                throw Self.malformed(text, "pin-value and pin-source cannot both be given")
            }
            guard pin.spaced == pin.plain else {
                throw Self.malformed(
                    text, "the PIN has a +, which some programs take for a space: write %2B for a plus, %20 for a space"
                )
            }
            guard !pin.plain.isEmpty else {
                throw Self.malformed(text, "pin-value is empty: leave it out to be asked for the PIN")
            }
        }
        if let source = query["pin-source"], source.plain.first == 0x7c {
            throw Self.malformed(text, "pin-source names a program, and none is run: name a file, as file:/PATH")
        }
        _ = try pinFile()
        if let path = modulePath, path.contains(where: { $0.utf8.first != 0x2f }) {
            throw Self.malformed(text, "module-path is no absolute path")
        }
        if let name = moduleName, name.utf8.contains(where: { $0 == 0x2f }) || name.utf8.first == 0x2e {
            throw Self.malformed(text, "module-name is a name such as softhsm2, and module-path a path")
        }
    }

    private static func text(_ value: Value) -> String { String(decoding: value.plain, as: UTF8.self) }

    // MARK: - What it names

    /// Which token is meant, by the attributes that are given.
    var tokenAttributes: [(name: String, value: Value)] {
        Self.pathNames.filter { !["object", "id", "type", "slot-id", "library-version"].contains($0) }
            .compactMap { name in path[name].map { (name, $0) } }
    }
    /// The slot's number.
    var slotID: UInt? { path["slot-id"].flatMap { Self.number($0.plain) } }
    /// The library's version; without the second number, that is 0 (RFC 7512, section 2.3).
    var libraryVersion: (UInt8, UInt8)? {
        guard let value = path["library-version"] else { return nil }
        let numbers = value.plain.split(separator: 0x2e, omittingEmptySubsequences: false).map {
            Self.number(Array($0)).flatMap { UInt8(exactly: $0) }
        }
        guard (1...2).contains(numbers.count), let major = numbers[0] else { return nil }
        if numbers.count == 1 { return (major, 0) }
        return numbers[1].map { (major, $0) }
    }
    /// The key's label.
    var object: Value? { path["object"] }
    /// The key's identifier: any bytes. A `+` in it is a plus.
    var id: [UInt8]? { path["id"]?.plain }
    /// Where the module is: what it may mean, the likelier first.
    var modulePath: [String]? { query["module-path"]?.readings.map { String(decoding: $0, as: UTF8.self) } }
    /// The module's name, without `lib` and `.so`; capitals do not count.
    var moduleName: String? { query["module-name"].map(Self.text) }

    /// The name of the module in a file: the file's name without `lib` and without `.so` and what follows that.
    static func moduleName(ofFile path: String) -> String {
        var name = path.utf8.split(separator: 0x2f).last.map { Array($0) } ?? []
        let suffix = Array(".so".utf8)
        if let end = name.indices.first(where: { name[$0...].starts(with: suffix) }) { name.removeSubrange(end...) }
        if name.starts(with: "lib".utf8) { name.removeFirst(3) }
        return String(decoding: name, as: UTF8.self)
    }

    /// Whether the module in a file has a name, which may have been given with `lib` and `.so` all the same.
    static func isModule(_ path: String, named name: String) -> Bool {
        moduleName(ofFile: path).lowercased().utf8.elementsEqual(moduleName(ofFile: name).lowercased().utf8)
    }
    /// The PIN.
    var pinValue: [UInt8]? { query["pin-value"]?.plain }

    /// The file that holds the PIN.
    func pinFile() throws(SigstoreError) -> String? {
        guard let source = query["pin-source"].map(Self.text) else { return nil }
        guard source.utf8.starts(with: "file:".utf8) else { return source }
        var path = Substring(source.utf8.dropFirst("file:".utf8.count))
        if path.utf8.starts(with: "//".utf8) {
            // file://HOST/PATH; the host can only be this machine (RFC 8089).
            path = Substring(path.utf8.dropFirst(2))
            if path.utf8.starts(with: "localhost/".utf8) {
                path = Substring(path.utf8.dropFirst("localhost".utf8.count))
            }
        }
        guard path.utf8.first == 0x2f else {
            throw Self.malformed(shown, "pin-source names no file on this machine: write it as file:/PATH")
        }
        return String(path)
    }

    /// Which key it is, whatever is said of the module and the PIN, and in whichever order: the same for references to one key
    /// that are written with the same attributes.
    var owner: String {
        let parts = path.filter { $0.key != "type" }.map { name, value in "\(name)=\(Self.encoded(value.plain))" }
        return "pkcs11:\(parts.sorted().joined(separator: ";"))"
    }

    private static func number(_ bytes: [UInt8]) -> UInt? {
        guard !bytes.isEmpty, bytes.allSatisfy({ (0x30...0x39).contains($0) }) else { return nil }
        return UInt(String(decoding: bytes, as: UTF8.self))
    }

    // MARK: - Writing

    /// A reference to one key, in the order in which cosign writes the attributes; without a PIN.
    /// - Parameters:
    ///   - token: The token that the key is on.
    ///   - id: The key's identifier.
    ///   - label: The key's label.
    ///   - namesEmpty: Whether an identifier or a label without bytes is named too, to tell the key from others.
    ///   - module: The path of the module, or the name of the file that the system found it by.
    /// - Returns: `nil` if no reference that can be read here names the key.
    static func reference(
        token: PKCS11Token, id: [UInt8], label: PKCS11Text, namesEmpty: Bool = false, module: String
    ) -> String? {
        func attribute(_ name: String, _ value: String) -> String? {
            // Not of one that would be refused, such as a label that reads like a PIN.
            let text = "\(name)=\(value)"
            return (try? PKCS11URI("pkcs11:\(text)")) == nil ? nil : text
        }
        let place = [attribute("token", encoded(token.label.bytes)), "slot-id=\(token.slot)"].compactMap(\.self)
        let namesEmpty = namesEmpty || id.isEmpty && label.bytes.isEmpty
        var key: [String] = []
        // Each byte is encoded: an identifier is no text.
        if namesEmpty || !id.isEmpty, let id = attribute("id", id.map { "%\(hexadecimal($0))" }.joined()) {
            key.append(id)
        }
        if namesEmpty || !label.bytes.isEmpty, let label = attribute("object", encoded(label.bytes)) {
            key.append(label)
        }
        let query =
            module.utf8.first == 0x2f
            ? "module-path=\(encoded(Array(module.utf8)))"
            : "module-name=\(encoded(Array(moduleName(ofFile: module).utf8)))"
        let reference = "pkcs11:\((place + key).joined(separator: ";"))?\(query)"
        return key.isEmpty || (try? PKCS11URI(reference)) == nil ? nil : reference
    }

    /// Bytes in hexadecimal, two small letters or digits each.
    static func hexadecimal(_ byte: UInt8) -> String { (byte < 16 ? "0" : "") + String(byte, radix: 16) }

    private static func encoded(_ bytes: [UInt8]) -> String {
        bytes.map { byte in
            switch byte {
            case 0x30...0x39, 0x41...0x5a, 0x61...0x7a, 0x2d, 0x2e, 0x5f, 0x7e, 0x2f:
                String(decoding: [byte], as: UTF8.self)
            default: "%\(hexadecimal(byte))"
            }
        }.joined()
    }

    /// Whether a part of a reference, decoded, has what names a PIN in its value.
    private static func hidesPIN(_ part: [UInt8]) -> Bool {
        let value = part.drop { $0 != 0x3d }.dropFirst()
        var plain: [UInt8] = []
        var rest = value
        while let byte = rest.popFirst() {
            if byte == 0x25, let high = rest.first.flatMap(digit), let low = rest.dropFirst().first.flatMap(digit) {
                plain.append(high << 4 | low)
                rest = rest.dropFirst(2)
            } else {
                plain.append(byte)
            }
        }
        let text = String(decoding: plain, as: UTF8.self).lowercased()
        return text.contains("pin-value") || text.contains("pin-source")
    }

    /// A reference as it may be shown: whatever can be a PIN is left out, also of one that cannot be read.
    /// - Parameter text: The reference, or what was meant to be one.
    public static func withoutPIN(_ text: String) -> String {
        let bytes = Array(text.utf8)
        var (shown, part): ([UInt8], [UInt8]) = ([], [])
        var isQuery = false
        func flush() {
            let name = part.prefix { $0 != 0x3d }
            let word = String(decoding: name, as: UTF8.self).lowercased()
            let isHarmless =
                isQuery
                ? ["module-path", "module-name"].contains(word)
                    || word == "pin-source" && part.dropFirst(name.count + 1).first != 0x7c
                : !word.contains("pin") && !name.contains(0x25)
            shown +=
                isHarmless && !hidesPIN(part) || part.isEmpty
                ? part
                : (isQuery && !["pin-value", "pin-source"].contains(word) ? [] : Array(name) + [0x3d]) + "…".utf8
            part = []
        }
        for (index, byte) in bytes.enumerated() {
            if !isQuery, byte == 0x3a, index < 8 {
                shown += part + [byte]
                part = []
            } else if byte == 0x3b || byte == 0x26 || byte == 0x3f && !isQuery {
                flush()
                shown.append(byte)
                if byte == 0x3f { isQuery = true }
            } else {
                part.append(byte)
            }
        }
        flush()
        return String(decoding: shown, as: UTF8.self)
    }

    private static func malformed(_ text: String, _ why: String) -> SigstoreError {
        scheme.malformed(withoutPIN(text), why)
    }
}
