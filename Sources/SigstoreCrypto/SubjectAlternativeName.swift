internal import StrictJSON

/// One name that a certificate says its key belongs to (RFC 5280, section 4.2.1.6).
///
/// The texts are an outsider's: they may hold NUL and control characters. They are compared as bytes (`utf8`), which
/// is why this type has no `==`.
public enum SubjectAlternativeName: Sendable {
    /// An rfc822Name: ASCII.
    case email(String)
    /// A uniformResourceIdentifier: ASCII.
    case uri(String)
    /// A dNSName: ASCII.
    case dns(String)
    /// An otherName whose value is a UTF8String, with its type in dotted form. Fulcio writes user names so, under
    /// ``fulcioUserName``.
    case otherName(oid: String, value: String)
    /// Any other kind of name, such as an IP address: present, and not an identity here.
    case other

    /// The type of otherName that Fulcio writes for users without an email address (Fulcio's `oid-info.md`).
    public static let fulcioUserName = "1.3.6.1.4.1.57264.1.7"

    /// The name itself, if it is a text.
    public var text: String? {
        switch self {
        case .email(let text), .uri(let text), .dns(let text), .otherName(_, let text): text
        case .other: nil
        }
    }

    /// How many names a certificate may have.
    static let limit = 64

    /// Reads the content of a subjectAltName extension.
    static func read(_ extensionValue: ArraySlice<UInt8>, of subject: DERSubject)
        throws(SigstoreError) -> [SubjectAlternativeName]
    {
        var outer = DERReader(extensionValue, of: subject)
        var reader = try outer.enter(DERReader.Tag.sequence, "the subject alternative name")
        try outer.end()
        var names: [SubjectAlternativeName] = []
        while !reader.isAtEnd {
            guard names.count < limit else { throw subject.fault("more than \(limit) subject alternative names") }
            names.append(try read(try reader.next(), of: subject))
        }
        guard !names.isEmpty else { throw subject.fault("the subject alternative name is empty") }
        return names
    }

    private static func read(_ element: DERElement, of subject: DERSubject)
        throws(SigstoreError) -> SubjectAlternativeName
    {
        switch element.tag {
        case DERReader.Tag.primitive(1): return .email(try ascii(element.content, of: subject))
        case DERReader.Tag.primitive(2): return .dns(try ascii(element.content, of: subject))
        case DERReader.Tag.primitive(6): return .uri(try ascii(element.content, of: subject))
        case DERReader.Tag.constructed(0):
            var reader = DERReader(element.content, of: subject)
            let type = try reader.objectIdentifier("an other name's type").description
            var wrapped = try reader.enter(DERReader.Tag.constructed(0), "an other name's value")
            try reader.end()
            let value = try wrapped.next()
            try wrapped.end()
            if value.tag == DERReader.Tag.utf8String, let text = String(validating: value.content, as: UTF8.self) {
                return .otherName(oid: type, value: text)
            }
            guard type != fulcioUserName else { throw subject.fault("the user name is not a UTF8String") }
            return .other
        default: return .other
        }
    }

    private static func ascii(_ bytes: ArraySlice<UInt8>, of subject: DERSubject) throws(SigstoreError) -> String {
        guard bytes.allSatisfy({ $0 < 0x80 }) else {
            throw subject.fault("a subject alternative name is not ASCII")
        }
        return String(decoding: bytes, as: UTF8.self)
    }
}
