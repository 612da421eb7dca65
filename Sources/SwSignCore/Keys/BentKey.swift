internal import SigstoreCrypto
internal import StrictJSON

/// The text of a key that was bent on its way, by a CI system, a shell or an editor: its line breaks lost, in quotation marks,
/// in UTF-16, in base64 once more.
///
/// At most one such thing is undone, and one layer of base64 beside it, and only if the result is one PEM block and nothing
/// else. Anything more would be guessing at a key.
struct BentKey {
    private var text: [UInt8]?
    /// What happened to it, or seems to have happened, in words.
    let words: String

    /// Looks at the text of a key that could not be read.
    /// - Parameter bytes: The text.
    /// - Returns: `nil` if nothing seems to have happened to it that is known here.
    init?(_ bytes: [UInt8]) {
        // A block that stands there as it should is what it is, and so is DER.
        guard !Self.holdsBlock(bytes), bytes.first != 0x30 else { return nil }
        // The fewest things that can have happened come first.
        for attempt in Self.attempts {
            guard var candidate = attempt.undo(bytes) else { continue }
            if Self.isBlock(candidate) {
                (text, words) = (candidate, attempt.words)
                return
            }
            SecretBytes.cleanse(&candidate)
        }
        let signs = Self.signs(in: bytes)
        guard !signs.isEmpty else { return nil }
        (text, words) = (nil, signs.joined(separator: ", and "))
    }

    /// The key as it was; `nil` if that is not known. It is given once, so that its only copy can be overwritten.
    mutating func take() -> [UInt8]? { text.take() }

    // MARK: - What can have happened

    /// One thing that happens to keys.
    private struct Damage: Sendable {
        /// What happened, as in "it is in UTF-16".
        let words: String
        /// The text as it was before; `nil` if this did not happen.
        let undo: @Sendable ([UInt8]) -> [UInt8]?

        /// This one, and within it another.
        func around(_ inner: Damage) -> Damage {
            let undo = undo
            return Damage(words: "\(words), and in that \(inner.words)") { bytes in
                guard var middle = undo(bytes) else { return nil }
                defer { SecretBytes.cleanse(&middle) }
                return inner.undo(middle)
            }
        }
    }

    private static let base64 = Damage(words: "it is in base64 once more") { bytes in
        var letters = bytes.filter { !isSpace($0) }
        defer { SecretBytes.cleanse(&letters) }
        guard !letters.isEmpty else { return nil }
        return Base64.decode(letters)
    }

    private static let damages = [
        Damage(words: "it is in UTF-16") { asciiOfUTF16($0) },
        Damage(words: "it begins with a byte order mark") {
            $0.starts(with: [0xef, 0xbb, 0xbf]) ? Array($0.dropFirst(3)) : nil
        },
        Damage(words: "it stands in quotation marks") { bytes in
            let text = trimmed(bytes)
            guard let first = text.first, text.count > 2, first == text.last, first == 0x22 || first == 0x27 else {
                return nil
            }
            return Array(text.dropFirst().dropLast())
        },
        Damage(words: "its line breaks are written as \\n") { withLineBreaks($0) },
        Damage(words: "its line breaks were turned into spaces") { blockOfOneLine($0, hasSpaces: true) },
        Damage(words: "its line breaks were lost") { blockOfOneLine($0, hasSpaces: false) },
    ]

    private static let attempts =
        damages + [base64] + damages.map { base64.around($0) } + damages.map { $0.around(base64) }

    /// What is seen of a text that looks like a key and of which more happened than is undone.
    private static func signs(in bytes: [UInt8]) -> [String] {
        var plain = asciiOfUTF16(bytes) ?? bytes
        defer { SecretBytes.cleanse(&plain) }
        let text = trimmed(plain[...])
        // "-----BEGIN", and its base64.
        let isKey = [Array("-----BEGIN".utf8), Array("LS0tLS1CRUdJT".utf8)].contains { begin in
            text.indices.contains { text[$0...].starts(with: begin) }
        }
        guard isKey else { return [] }
        var signs: [String] = []
        if plain.count != bytes.count { signs.append("it is in UTF-16") }
        if plain.starts(with: [0xef, 0xbb, 0xbf]) { signs.append("it begins with a byte order mark") }
        if [0x22, 0x27].contains(text.first) || [0x22, 0x27].contains(text.last) {
            signs.append("it stands in quotation marks")
        }
        if text.indices.contains(where: { text[$0...].starts(with: [0x5c, 0x6e]) }) {
            signs.append("its line breaks are written as \\n")
        } else if isHeaderFollowed(text) {
            signs.append("its line breaks were lost")
        }
        if text.indices.contains(where: { text[$0...].starts(with: Array("LS0tLS1CRUdJT".utf8)) }) {
            signs.append("it is in base64 once more")
        }
        return signs
    }

    /// Whether more stands on the line on which a block begins.
    private static func isHeaderFollowed(_ text: ArraySlice<UInt8>) -> Bool {
        guard text.starts(with: begin) else { return false }
        let rest = text.dropFirst(begin.count).drop { $0 != 0x2d }.prefix { $0 != 0x0a && $0 != 0x0d }
        return rest.starts(with: dashes) && rest.count > dashes.count
    }

    // MARK: - Texts

    private static func isSpace(_ byte: UInt8) -> Bool { byte == 0x20 || byte == 0x09 || byte == 0x0a || byte == 0x0d }

    private static func trimmed(_ bytes: [UInt8]) -> ArraySlice<UInt8> { trimmed(bytes[...]) }

    private static func trimmed(_ bytes: ArraySlice<UInt8>) -> ArraySlice<UInt8> {
        var bytes = bytes.drop(while: isSpace)
        while let last = bytes.last, isSpace(last) { bytes.removeLast() }
        return bytes
    }

    /// UTF-16 with its mark, if all of it is ASCII.
    private static func asciiOfUTF16(_ bytes: [UInt8]) -> [UInt8]? {
        let isLittle = bytes.starts(with: [0xff, 0xfe])
        guard isLittle || bytes.starts(with: [0xfe, 0xff]), bytes.count.isMultiple(of: 2) else { return nil }
        var text: [UInt8] = []
        text.reserveCapacity(bytes.count / 2)
        for index in stride(from: 2, to: bytes.count, by: 2) {
            let (low, high) = isLittle ? (bytes[index], bytes[index + 1]) : (bytes[index + 1], bytes[index])
            guard high == 0, low < 0x80 else {
                SecretBytes.cleanse(&text)
                return nil
            }
            text.append(low)
        }
        return text
    }

    /// A text whose line breaks are written as `\n` or `\r\n`.
    private static func withLineBreaks(_ bytes: [UInt8]) -> [UInt8]? {
        guard bytes.contains(0x5c) else { return nil }
        var text: [UInt8] = []
        text.reserveCapacity(bytes.count)
        var rest = bytes[...]
        while let byte = rest.popFirst() {
            if byte != 0x5c {
                text.append(byte)
            } else if let letter = rest.popFirst(), letter == 0x6e || letter == 0x72 {
                text.append(0x0a)
            } else {
                SecretBytes.cleanse(&text)
                return nil
            }
        }
        return text
    }

    private static let (begin, end, dashes) = (Array("-----BEGIN ".utf8), Array("-----END ".utf8), Array("-----".utf8))

    /// A block that stands on one line, with line breaks again.
    /// - Parameter hasSpaces: Whether there are spaces in place of its line breaks, or nothing.
    private static func blockOfOneLine(_ bytes: [UInt8], hasSpaces: Bool) -> [UInt8]? {
        let text = trimmed(bytes)
        guard !text.contains(0x0a), !text.contains(0x0d), text.starts(with: begin) else { return nil }
        let label = text.dropFirst(begin.count).prefix { $0 != 0x2d }
        let ending = end + label + dashes
        let inside = text.dropFirst(begin.count + label.count)
        guard inside.starts(with: dashes), inside.count > dashes.count + ending.count,
            inside.suffix(ending.count).elementsEqual(ending)
        else { return nil }
        let body = inside.dropFirst(dashes.count).dropLast(ending.count)
        guard body.contains(where: isSpace) == hasSpaces else { return nil }
        var block: [UInt8] = []
        block.reserveCapacity(text.count + 3)
        block += begin + label + dashes + [0x0a]
        for letter in body where !isSpace(letter) { block.append(letter) }
        block += [0x0a] + ending + [0x0a]
        return block
    }

    /// The label of a line that begins a block.
    private static func label(_ line: ArraySlice<UInt8>) -> ArraySlice<UInt8>? {
        guard line.starts(with: begin), line.count > begin.count + dashes.count,
            line.suffix(dashes.count).elementsEqual(dashes)
        else { return nil }
        let label = line.dropFirst(begin.count).dropLast(dashes.count)
        return label.contains(0x2d) ? nil : label
    }

    private static func lines(_ bytes: [UInt8]) -> [ArraySlice<UInt8>] {
        bytes.split(whereSeparator: { $0 == 0x0a || $0 == 0x0d }).map { trimmed($0) }.filter { !$0.isEmpty }
    }

    /// Whether a block begins and ends on lines of its own.
    private static func holdsBlock(_ bytes: [UInt8]) -> Bool {
        let lines = lines(bytes)
        return lines.contains { label($0) != nil }
            && lines.contains { $0.starts(with: end) && $0.suffix(5).elementsEqual(dashes) }
    }

    /// Whether a text is one PEM block and nothing else.
    private static func isBlock(_ bytes: [UInt8]) -> Bool {
        let lines = lines(bytes)
        guard lines.count > 2, let first = lines.first, let last = lines.last, let label = label(first),
            last.elementsEqual(end + label + dashes)
        else { return false }
        var body: [UInt8] = []
        body.reserveCapacity(bytes.count)
        for line in lines.dropFirst().dropLast() { body += line }
        defer { SecretBytes.cleanse(&body) }
        guard var decoded = Base64.decode(body) else { return false }
        defer { SecretBytes.cleanse(&decoded) }
        return !decoded.isEmpty
    }
}
