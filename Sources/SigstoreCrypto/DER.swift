internal import StrictJSON

/// One element of DER (X.690): a tag, and what it holds.
struct DERElement {
    /// The identifier octet; tags above 30 are refused, nothing here has one.
    let tag: UInt8
    /// The content octets.
    let content: ArraySlice<UInt8>
    /// Identifier, length and content, as they stood.
    let encoded: ArraySlice<UInt8>
}

/// What is being read, so that an error can name it.
struct DERSubject: Sendable {
    let code: SigstoreError.Code
    /// The beginning of a sentence, such as `the certificate`.
    let name: String

    func fault(_ what: String) -> SigstoreError { SigstoreError(code, "\(name) is malformed: \(what)") }
}

/// Reads DER elements one after another, strictly: definite lengths in their shortest form, nothing left over.
/// It does not recurse: the caller decides what to look into.
struct DERReader {
    /// Tags of the universal class (X.680, section 8.6).
    enum Tag {
        static let boolean: UInt8 = 0x01
        static let integer: UInt8 = 0x02
        static let bitString: UInt8 = 0x03
        static let octetString: UInt8 = 0x04
        static let objectIdentifier: UInt8 = 0x06
        static let enumerated: UInt8 = 0x0a
        static let utf8String: UInt8 = 0x0c
        static let printableString: UInt8 = 0x13
        static let ia5String: UInt8 = 0x16
        static let utcTime: UInt8 = 0x17
        static let generalizedTime: UInt8 = 0x18
        static let sequence: UInt8 = 0x30
        static let set: UInt8 = 0x31
        /// A context-specific tag whose content is other elements.
        static func constructed(_ number: UInt8) -> UInt8 { 0xa0 | number }
        /// A context-specific tag whose content is a value.
        static func primitive(_ number: UInt8) -> UInt8 { 0x80 | number }
    }

    let subject: DERSubject
    private var rest: ArraySlice<UInt8>

    /// - Parameters:
    ///   - bytes: The elements, one after another.
    ///   - subject: What they are, for errors.
    init(_ bytes: ArraySlice<UInt8>, of subject: DERSubject) {
        rest = bytes
        self.subject = subject
    }

    func fault(_ what: String) -> SigstoreError { subject.fault(what) }

    var isAtEnd: Bool { rest.isEmpty }
    /// The next element's tag, if there is one.
    var nextTag: UInt8? { rest.first }

    /// Refuses anything that is left.
    func end() throws(SigstoreError) {
        guard rest.isEmpty else { throw fault("\(rest.count) bytes stand where it should end") }
    }

    /// The next element, whatever its tag.
    mutating func next() throws(SigstoreError) -> DERElement {
        var position = rest.startIndex
        func byte() -> UInt8? {
            guard position < rest.endIndex else { return nil }
            defer { position += 1 }
            return rest[position]
        }
        guard let tag = byte(), let first = byte() else { throw fault("it ends where an element should stand") }
        guard tag & 0x1f != 0x1f else { throw fault("a tag of more than one byte") }
        var length = Int(first)
        if first >= 0x80 {
            guard (0x81...0x83).contains(first) else { throw fault("a length that is indefinite or above 16 MiB") }
            length = 0
            for _ in 0..<(first & 0x7f) {
                guard let digit = byte() else { throw fault("it ends inside a length") }
                length = length << 8 | Int(digit)
            }
            let shortest = length < 0x80 ? 0x80 : length < 0x100 ? 0x81 : length < 0x10000 ? 0x82 : 0x83
            guard first == shortest else { throw fault("a length that is not in its shortest form") }
        }
        guard length <= rest.endIndex - position else { throw fault("an element is longer than what holds it") }
        let end = position + length
        let element = DERElement(tag: tag, content: rest[position..<end], encoded: rest[rest.startIndex..<end])
        rest = rest[end...]
        return element
    }

    /// The next element, which must have this tag.
    mutating func read(_ tag: UInt8, _ what: String) throws(SigstoreError) -> DERElement {
        guard nextTag == tag else {
            let found = nextTag.map { "tag \($0)" } ?? "the end"
            throw fault("expected \(what) with tag \(tag), found \(found)")
        }
        return try next()
    }

    /// The next element if it has this tag, else nothing.
    mutating func readIfPresent(_ tag: UInt8) throws(SigstoreError) -> DERElement? {
        nextTag == tag ? try next() : nil
    }

    /// A reader of what the next element holds, which must have this tag.
    mutating func enter(_ tag: UInt8, _ what: String) throws(SigstoreError) -> DERReader {
        DERReader(try read(tag, what).content, of: subject)
    }

    /// A reader of what the next element holds if it has this tag, else nothing.
    mutating func enterIfPresent(_ tag: UInt8) throws(SigstoreError) -> DERReader? {
        try readIfPresent(tag).map { DERReader($0.content, of: subject) }
    }

    /// An INTEGER's content, in its shortest form.
    mutating func integer(_ what: String) throws(SigstoreError) -> ArraySlice<UInt8> {
        let content = try read(Tag.integer, what).content
        guard let first = content.first else { throw fault("\(what) is an empty INTEGER") }
        if let second = content.dropFirst().first, first == 0 && second < 0x80 || first == 0xff && second >= 0x80 {
            throw fault("\(what) is an INTEGER that is not in its shortest form")
        }
        return content
    }

    /// An INTEGER from 0 to 127.
    mutating func smallInteger(_ what: String) throws(SigstoreError) -> UInt8 {
        let content = try integer(what)
        guard content.count == 1, let value = content.first, value < 0x80 else {
            throw fault("\(what) is out of range")
        }
        return value
    }

    /// An OBJECT IDENTIFIER.
    mutating func objectIdentifier(_ what: String) throws(SigstoreError) -> ObjectIdentifier {
        let content = try read(Tag.objectIdentifier, what).content
        guard let identifier = ObjectIdentifier(content: content) else {
            throw fault("\(what) is not an object identifier of at most \(ObjectIdentifier.limit) bytes")
        }
        return identifier
    }

    /// A BOOLEAN.
    mutating func boolean(_ what: String) throws(SigstoreError) -> Bool {
        let content = try read(Tag.boolean, what).content
        guard content.count == 1, let value = content.first, value == 0 || value == 0xff else {
            throw fault("\(what) is not a BOOLEAN")
        }
        return value == 0xff
    }

    /// An OCTET STRING's content.
    mutating func octetString(_ what: String) throws(SigstoreError) -> ArraySlice<UInt8> {
        try read(Tag.octetString, what).content
    }

    /// An AlgorithmIdentifier's object identifier; parameters must be absent or NULL.
    mutating func plainAlgorithm(_ what: String) throws(SigstoreError) -> ObjectIdentifier {
        var algorithm = try enter(Tag.sequence, what)
        let identifier = try algorithm.objectIdentifier(what)
        if !algorithm.isAtEnd {
            guard try algorithm.next().encoded.elementsEqual([5, 0]) else { throw fault("\(what) has parameters") }
        }
        try algorithm.end()
        return identifier
    }

    /// A UTCTime or GeneralizedTime as RFC 5280 (section 4.1.2.5) has them, in seconds since 1970.
    mutating func time(_ what: String) throws(SigstoreError) -> Int64 {
        guard let seconds = try next().seconds(allowingFraction: false) else {
            throw fault("\(what) is not a date in UTC")
        }
        return seconds
    }
}

/// Writes DER elements.
enum DERWriter {
    /// Identifier, shortest length, content.
    static func element(_ tag: UInt8, _ content: some Collection<UInt8>) -> [UInt8] {
        var length: [UInt8] = []
        var rest = content.count
        if rest < 0x80 {
            length = [UInt8(rest)]
        } else {
            while rest > 0 {
                length.insert(UInt8(truncatingIfNeeded: rest), at: 0)
                rest >>= 8
            }
            length.insert(0x80 | UInt8(length.count), at: 0)
        }
        return [tag] + length + content
    }
}

/// An OBJECT IDENTIFIER, kept as its content octets, so that comparing compares bytes.
struct ObjectIdentifier: Hashable, Sendable, CustomStringConvertible {
    /// Longer ones are refused wherever they stand: no identifier in use comes near it.
    static let limit = 64

    /// The content octets.
    let content: [UInt8]

    /// - Returns: `nil` if the octets are not whole arcs in their shortest form, or are too many.
    init?(content: ArraySlice<UInt8>) {
        guard let last = content.last, last < 0x80, content.count <= Self.limit else { return nil }
        var startsArc = true
        for byte in content {
            if startsArc && byte == 0x80 { return nil }
            startsArc = byte < 0x80
        }
        self.content = Array(content)
    }

    /// Reads `1.3.6.1.…`.
    /// - Returns: `nil` if the text is not an object identifier whose arcs fit 32 bits.
    init?(dotted text: String) {
        var arcs: [UInt32] = []
        for part in text.utf8.split(separator: 0x2e, omittingEmptySubsequences: false) {
            guard part.allSatisfy({ (0x30...0x39).contains($0) }), let arc = UInt32(Substring(part)) else { return nil }
            arcs.append(arc)
        }
        guard arcs.count >= 2, arcs[0] < 2 && arcs[1] < 40 || arcs[0] == 2 && arcs[1] < UInt32.max - 80 else {
            return nil
        }
        self.init(arcs: [arcs[0] * 40 + arcs[1]] + arcs[2...])
    }

    /// - Parameter arcs: The first two as one number, 40 times the first plus the second, then the others.
    init(arcs: [UInt32]) {
        var content: [UInt8] = []
        for arc in arcs {
            for shift in [28, 21, 14, 7] as [UInt32] where arc >> shift != 0 {
                content.append(UInt8(truncatingIfNeeded: arc >> shift) | 0x80)
            }
            content.append(UInt8(arc & 0x7f))
        }
        self.content = content
    }

    /// The identifier in dotted form; an arc beyond 64 bits is written as `?`.
    var description: String {
        var parts: [String] = []
        var arc: UInt64 = 0
        var fits = true
        for byte in content {
            fits = fits && arc >> 57 == 0
            arc = arc << 7 | UInt64(byte & 0x7f)
            guard byte < 0x80 else { continue }
            if parts.isEmpty {
                let first = min(arc / 40, 2)
                parts = ["\(first)", fits ? "\(arc - first * 40)" : "?"]
            } else {
                parts.append(fits ? "\(arc)" : "?")
            }
            arc = 0
            fits = true
        }
        return parts.joined(separator: ".")
    }
}

extension DERElement {
    /// The time of a UTCTime (`YYMMDDhhmmssZ`) or GeneralizedTime (`YYYYMMDDhhmmssZ`), in seconds since 1970; `nil` if this
    /// is neither.
    /// - Parameter allowingFraction: Whether a GeneralizedTime may have a fraction of a second (RFC 3161,
    ///   section 2.4.2), which is cut off.
    func seconds(allowingFraction: Bool) -> Int64? {
        var text = content
        guard text.last == 0x5a else { return nil }
        text.removeLast()
        if allowingFraction, tag == DERReader.Tag.generalizedTime, let dot = text.firstIndex(of: 0x2e) {
            let fraction = text[dot...].dropFirst()
            guard let last = fraction.last, last != 0x30, fraction.count <= 9,
                fraction.allSatisfy({ (0x30...0x39).contains($0) })
            else { return nil }
            text = text[..<dot]
        }
        guard text.allSatisfy({ (0x30...0x39).contains($0) }) else { return nil }
        var fields: [Int64] = []
        var digits = text
        while digits.count >= 2 {
            fields.append(digits.prefix(2).reduce(0) { $0 * 10 + Int64($1 - 0x30) })
            digits = digits.dropFirst(2)
        }
        let year: Int64
        switch (tag, text.count) {
        case (DERReader.Tag.utcTime, 12):
            year = fields[0] + (fields[0] < 50 ? 2000 : 1900)
            fields.removeFirst()
        case (DERReader.Tag.generalizedTime, 14):
            year = fields[0] * 100 + fields[1]
            fields.removeFirst(2)
        default: return nil
        }
        return Instant(
            year: year, month: fields[0], day: fields[1], hour: fields[2], minute: fields[3], second: fields[4])?
            .seconds
    }
}
