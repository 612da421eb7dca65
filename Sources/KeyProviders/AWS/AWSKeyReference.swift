import HTTPTransport
import StrictJSON

/// A key of AWS KMS: `awskms://[HOST[:PORT]]/KEY`, KEY being the id of a key, an alias, or the ARN of either.
struct AWSKeyReference: Sendable {
    static let scheme = "awskms"

    /// The reference as the person wrote it.
    let text: String
    /// The endpoint that the reference names; `nil` if it names none.
    let endpoint: HTTPURL?
    /// What KMS is asked for: the id, `alias/NAME`, or the ARN.
    let keyID: String
    /// What an ARN says of itself; `nil` for ids and aliases.
    let arn: (partition: String, region: String, account: String)?
    /// The alias with its `alias/`; `nil` if the key is named by its id.
    let alias: String?

    /// Whether a text is meant to be such a reference: by its scheme in any letter case, with any number of slashes; or it is
    /// the bare ARN of a key.
    static func isMeant(_ text: String) -> Bool {
        let bytes = text.utf8.map { (0x41...0x5a).contains($0) ? $0 + 32 : $0 }
        return bytes.starts(with: "\(scheme):".utf8) || bytes.starts(with: "arn:aws".utf8)
    }

    /// Reads a reference.
    /// - Throws: `SigstoreError` with `unknown-key-reference`, which says the right form.
    init(_ text: String) throws(SigstoreError) {
        self.text = text
        func malformed(_ why: String, _ right: String) -> SigstoreError {
            let shown = String(decoding: text.utf8.prefix(256), as: UTF8.self)
            return SigstoreError(
                .unknownKeyReference, "\"\(shown)\" is not a reference to a key of AWS KMS: \(why)",
                advice: .sentence("write it as \(right)"))
        }
        let forms = "awskms:///alias/NAME, awskms:///KEY-ID or awskms:///arn:aws:kms:REGION:ACCOUNT:key/ID"
        let prefix = "\(Self.scheme)://"
        guard text.utf8.count <= 2048, text.utf8.allSatisfy({ (0x21...0x7e).contains($0) }) else {
            throw malformed("it is too long, or has other characters than visible ASCII", forms)
        }
        if text.utf8.starts(with: "arn:".utf8) {
            throw malformed("it begins with no scheme", "\(prefix)/\(text)")
        }
        guard text.utf8.starts(with: prefix.utf8) else {
            let isCase = text.lowercased().utf8.starts(with: prefix.utf8)
            throw malformed(
                isCase ? "its scheme is not in lower case" : "it does not begin with \(prefix)",
                isCase ? prefix + String(text.dropFirst(prefix.count)) : forms)
        }
        let rest = Substring(text.dropFirst(prefix.count))
        guard let slash = rest.utf8.firstIndex(of: 0x2f) else {
            if Self.isKey(rest) || rest.utf8.starts(with: "arn:".utf8) {
                throw malformed("a third slash is missing, so that the key stands as a host", "\(prefix)/\(rest)")
            }
            throw malformed("it names no key", forms)
        }
        let (host, key) = (rest[..<slash], rest[slash...].dropFirst())
        if host.utf8.elementsEqual("alias".utf8) || host.utf8.starts(with: "arn:".utf8) {
            throw malformed("a third slash is missing, so that \"\(host)\" stands as a host", "\(prefix)/\(rest)")
        }
        if host.isEmpty {
            endpoint = nil
        } else {
            guard let origin = try? HTTPURL.origin(String(host), .https), let url = try? HTTPURL(origin, path: "/")
            else {
                throw malformed("\"\(host)\" is not a host with or without a port", forms)
            }
            endpoint = url
        }
        keyID = String(key)
        if key.utf8.starts(with: "arn:".utf8) {
            let parts = key.split(separator: ":", maxSplits: 5, omittingEmptySubsequences: false)
            let letters = Self.isLetters
            guard parts.count == 6, parts[1].utf8.starts(with: "aws".utf8), letters(parts[1]) else {
                throw malformed("its ARN does not begin with arn:aws…:kms:", forms)
            }
            guard parts[2].utf8.elementsEqual("kms".utf8) else {
                throw malformed("its ARN is one of \(parts[2]), not of kms", forms)
            }
            guard letters(parts[3]) else { throw malformed("its ARN names no region", forms) }
            guard parts[4].utf8.count == 12, parts[4].utf8.allSatisfy({ (0x30...0x39).contains($0) }) else {
                throw malformed("the account in its ARN is not a number of 12 digits", forms)
            }
            let resource = parts[5]
            let isKey = resource.utf8.starts(with: "key/".utf8) && Self.isKey(resource.dropFirst(4))
            guard isKey || Self.isAlias(resource) else {
                throw malformed("its ARN is neither that of a key (key/ID) nor that of an alias (alias/NAME)", forms)
            }
            arn = (String(parts[1]), String(parts[3]), String(parts[4]))
            alias = isKey ? nil : String(resource)
        } else if Self.isAlias(key) {
            (arn, alias) = (nil, String(key))
        } else {
            guard Self.isKey(key) else {
                let path = key.lowercased().utf8.starts(with: "alias/".utf8) ? key.dropFirst(6) : key
                if !path.isEmpty, !path.utf8.starts(with: "alias".utf8), Self.isAlias("alias/\(path)") {
                    throw malformed(
                        "\"\(key)\" is not the id of a key", "\(prefix)\(host)/alias/\(path) if it is an alias")
                }
                throw malformed("\"\(key)\" is neither the id of a key, nor an alias, nor an ARN", forms)
            }
            (arn, alias) = (nil, nil)
        }
    }

    /// Refuses an answer that is about another key than the reference names: for an id the key has to be that, for an ARN also region
    /// and account. What an alias names is the service's to say.
    /// - Parameter id: The key that the answer says it is about: its ARN or its id; empty if it says nothing.
    /// - Throws: `SigstoreError` with `unexpected-json`.
    func expectAnswer(about id: String) throws(SigstoreError) {
        guard !id.isEmpty else { return }
        let found = Self.arn(id)
        let isSamePlace =
            arn.map { own in found.map { $0.parts == own } ?? true } ?? true
        guard isSamePlace, alias != nil || Self.isSameKey(id, keyID) else {
            throw SigstoreError(
                .unexpectedJSON, "it is about another key than \(keyID): about \(SigstoreError.shortened(id))")
        }
    }

    /// The parts of a key's ARN; `nil` if a text is none.
    static func arn(_ text: String) -> (parts: (partition: String, region: String, account: String), id: Substring)? {
        let parts = text.split(separator: ":", maxSplits: 5, omittingEmptySubsequences: false)
        guard parts.count == 6, parts[0].utf8.elementsEqual("arn".utf8), parts[2].utf8.elementsEqual("kms".utf8),
            isLetters(parts[1]), isLetters(parts[3]), parts[4].utf8.count == 12,
            parts[4].utf8.allSatisfy({ (0x30...0x39).contains($0) }), parts[5].utf8.starts(with: "key/".utf8),
            isKey(parts[5].dropFirst(4))
        else { return nil }
        return ((String(parts[1]), String(parts[3]), String(parts[4])), parts[5].dropFirst(4))
    }

    /// Whether two ids, or ARNs with them, are of one key, whatever way they are written in.
    static func isSameKey(_ one: String, _ other: String) -> Bool {
        func digits(_ text: String) -> [UInt8] {
            (arn(text)?.id ?? text[...]).lowercased().utf8.filter { $0 != 0x2d }
        }
        return digits(one) == digits(other)
    }

    private static func isLetters(_ text: Substring) -> Bool {
        !text.isEmpty && text.utf8.count <= 64
            && text.utf8.allSatisfy { (0x61...0x7a).contains($0) || (0x30...0x39).contains($0) || $0 == 0x2d }
    }

    /// Whether a text is the id of a key: a UUID with or without hyphens, or `mrk-` and 32 hexadecimal digits.
    private static func isKey(_ text: Substring) -> Bool {
        let isMultiRegion = text.utf8.starts(with: "mrk-".utf8)
        let digits = Array(isMultiRegion ? text.utf8.dropFirst(4) : text.utf8.dropFirst(0))
        let places = [8, 13, 18, 23]
        let hasHyphens = digits.count == 36 && places.allSatisfy { digits[$0] == 0x2d }
        guard digits.count == 32 || hasHyphens else { return false }
        return digits.enumerated().allSatisfy { place, digit in
            (0x30...0x39).contains(digit) || (0x61...0x66).contains(digit) || (0x41...0x46).contains(digit)
                || hasHyphens && places.contains(place)
        }
    }

    /// Whether a text is an alias: `alias/` and 1 to 250 letters, digits, `/`, `_`, `-` and `:` (KMS API, CreateAlias).
    private static func isAlias(_ text: Substring) -> Bool {
        let name = text.utf8.dropFirst(6)
        return text.utf8.starts(with: "alias/".utf8) && (1...250).contains(name.count)
            && name.allSatisfy {
                (0x30...0x39).contains($0) || (0x41...0x5a).contains($0) || (0x61...0x7a).contains($0)
                    || [0x2f, 0x5f, 0x2d, 0x3a].contains($0)
            }
    }
}
