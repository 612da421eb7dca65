import Foundation
import StrictJSON

/// Writes ASN.1 in DER (X.690): each function returns one whole element.
enum DER {
    static func element(_ tag: UInt8, _ content: [UInt8]) -> [UInt8] {
        var length: [UInt8] = []
        if content.count < 0x80 {
            length = [UInt8(content.count)]
        } else {
            var rest = content.count
            while rest > 0 {
                length.insert(UInt8(truncatingIfNeeded: rest), at: 0)
                rest >>= 8
            }
            length.insert(0x80 | UInt8(length.count), at: 0)
        }
        return [tag] + length + content
    }

    static func sequence(_ elements: [[UInt8]]) -> [UInt8] { element(0x30, elements.flatMap { $0 }) }
    /// A SET OF: its elements stand in the order of their encodings.
    static func set(_ elements: [[UInt8]]) -> [UInt8] {
        element(0x31, elements.sorted { $0.lexicographicallyPrecedes($1) }.flatMap { $0 })
    }
    /// A number that is not negative, from its bytes, highest first.
    static func integer(_ magnitude: [UInt8]) -> [UInt8] {
        var bytes = Array(magnitude.drop { $0 == 0 })
        if bytes.first.map({ $0 >= 0x80 }) ?? true { bytes.insert(0, at: 0) }
        return element(0x02, bytes)
    }
    static func integer(_ value: UInt8) -> [UInt8] { integer([value]) }
    static func boolean(_ value: Bool) -> [UInt8] { element(0x01, [value ? 0xff : 0]) }
    static func octetString(_ bytes: [UInt8]) -> [UInt8] { element(0x04, bytes) }
    /// A BIT STRING of whole bytes.
    static func bitString(_ bytes: [UInt8]) -> [UInt8] { element(0x03, [0] + bytes) }
    static func utf8String(_ text: String) -> [UInt8] { element(0x0c, Array(text.utf8)) }
    /// A context-specific tag around whole elements.
    static func explicit(_ number: UInt8, _ content: [UInt8]) -> [UInt8] { element(0xa0 | number, content) }
    /// A context-specific tag in place of a primitive element's own.
    static func implicit(_ number: UInt8, _ content: [UInt8]) -> [UInt8] { element(0x80 | number, content) }

    /// An object identifier from its numbers with dots between them.
    static func oid(_ text: String) -> [UInt8] {
        let numbers = text.split(separator: ".").compactMap { UInt64($0) }
        var content: [UInt8] = []
        guard numbers.count >= 2 else { return element(0x06, []) }
        for number in [numbers[0] * 40 + numbers[1]] + numbers.dropFirst(2) {
            var group = [UInt8(number & 0x7f)]
            var rest = number >> 7
            while rest > 0 {
                group.insert(0x80 | UInt8(rest & 0x7f), at: 0)
                rest >>= 7
            }
            content += group
        }
        return element(0x06, content)
    }

    /// `20261121065655Z`, from seconds since 1970.
    private static func digits(_ time: Int64) -> String {
        Instant(seconds: time).description.filter(\.isNumber) + "Z"
    }
    static func generalizedTime(_ time: Int64) -> [UInt8] { element(0x18, Array(digits(time).utf8)) }
    /// A certificate's time: UTCTime until 2049, GeneralizedTime from then on (RFC 5280, section 4.1.2.5).
    static func time(_ time: Int64) -> [UInt8] {
        time < 2_524_608_000 ? utcTime(time) : generalizedTime(time)
    }
    static func utcTime(_ time: Int64) -> [UInt8] { element(0x17, Array(digits(time).dropFirst(2).utf8)) }
}

/// One element of DER that was read.
struct DERElement: Sendable {
    let tag: UInt8
    let content: [UInt8]
    /// Tag, length and content as they stood.
    let whole: [UInt8]

    /// The elements inside.
    /// - Throws: If the content is not whole elements.
    func children() throws(SigstoreError) -> [DERElement] {
        var rest = content[...]
        var elements: [DERElement] = []
        while !rest.isEmpty { elements.append(try Self.read(&rest)) }
        return elements
    }

    /// A BIT STRING's whole bytes.
    var bits: [UInt8] { Array(content.dropFirst()) }

    /// Reads one element and nothing after it.
    init(parsing bytes: [UInt8]) throws(SigstoreError) {
        var rest = bytes[...]
        self = try Self.read(&rest)
        guard rest.isEmpty else { throw SigstoreError(.malformedDER, "bytes follow the DER element") }
    }

    private init(tag: UInt8, content: [UInt8], whole: [UInt8]) {
        self.tag = tag
        self.content = content
        self.whole = whole
    }

    private static func read(_ rest: inout ArraySlice<UInt8>) throws(SigstoreError) -> DERElement {
        let start = rest
        guard let tag = rest.popFirst(), tag & 0x1f != 0x1f, let first = rest.popFirst() else {
            throw SigstoreError(.malformedDER, "DER ends early or has a long tag")
        }
        var length = Int(first)
        if first >= 0x80 {
            guard (0x81...0x84).contains(first) else { throw SigstoreError(.malformedDER, "a DER length is not one") }
            length = 0
            for _ in 0..<(first & 0x7f) {
                guard let byte = rest.popFirst() else { throw SigstoreError(.malformedDER, "DER ends early") }
                length = length << 8 | Int(byte)
            }
        }
        guard rest.count >= length else { throw SigstoreError(.malformedDER, "DER ends early") }
        let content = Array(rest.prefix(length))
        rest = rest.dropFirst(length)
        return DERElement(tag: tag, content: content, whole: Array(start.prefix(start.count - rest.count)))
    }
}

extension [DERElement] {
    /// The element at a place, with a tag that it must have.
    func at(_ index: Int, _ tag: UInt8) throws(SigstoreError) -> DERElement {
        guard indices.contains(index), self[index].tag == tag else {
            throw SigstoreError(.malformedDER, "DER does not hold the element that should stand there")
        }
        return self[index]
    }
}

extension SigstoreError.Code {
    /// Bytes sent to a local service that should be DER are not, or not of the type that is needed.
    static let malformedDER = Self("malformed-der")
}
