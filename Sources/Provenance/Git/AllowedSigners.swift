internal import SigstoreCrypto
public import StrictJSON

/// Who may sign with which SSH key: a file as `ssh-keygen` has it (ssh-keygen(1), "ALLOWED SIGNERS").
///
/// What cannot be read is refused with its line, never passed over: a line that was meant to limit a key would else not count.
public struct AllowedSigners: Sendable {
    /// A file larger than this many bytes is refused.
    public static let sizeLimit = 1 << 20
    /// How many lines it may have.
    static let lineLimit = 20_000

    /// One line.
    private struct Line {
        let number: Int
        /// The names, as patterns.
        let principals: [UInt8]
        var isAuthority = false
        var namespaces: [UInt8]?
        var validAfter: Int64?
        var validBefore: Int64?
        let key: [UInt8]
    }

    private let lines: [Line]

    /// Reads a file.
    /// - Parameters:
    ///   - file: Its content.
    ///   - localTime: Turns a moment that was read as if it were in UTC into the moment when clocks here show it: dates without
    ///     a `Z` are in local time.
    /// - Throws: `SigstoreError` with `malformed-allowed-signers`, naming the line.
    public init(parsing file: [UInt8], localTime: (Int64) -> Int64?) throws(SigstoreError) {
        func fault(_ what: String, _ line: Int? = nil) -> SigstoreError {
            SigstoreError(
                .malformedAllowedSigners,
                line.map { "line \($0) of the allowed signers: \(what)" } ?? "the allowed signers: \(what)")
        }
        guard file.count <= Self.sizeLimit else { throw fault("more than \(Self.sizeLimit) bytes") }
        var lines: [Line] = []
        var number = 0
        for text in file.split(separator: 0x0a, omittingEmptySubsequences: false) {
            number += 1
            guard number <= Self.lineLimit else { throw fault("more than \(Self.lineLimit) lines") }
            var fields = Fields(text)
            guard let first = fields.peek, first != 0x23 else { continue }
            guard !text.contains(0) else { throw fault("it holds a NUL", number) }
            guard let principals = fields.next(), !principals.isEmpty, var field = fields.next() else {
                throw fault("expected names, a type of key and a key", number)
            }
            var options: [(name: [UInt8], value: [UInt8]?)] = []
            if !Self.isKeyType(field) {
                guard let read = Self.options(field), let next = fields.next() else {
                    throw fault("its options cannot be read", number)
                }
                (options, field) = (read, next)
            }
            guard Self.isKeyType(field), let encoded = fields.next(), let key = Base64.decode(encoded) else {
                throw fault("expected a type of key and a key in base64", number)
            }
            var reader = SSHReader(key)
            guard let type = try? reader.name(), type.utf8.elementsEqual(field) else {
                throw fault("its key is of another type than it says", number)
            }
            var line = Line(number: number, principals: principals, key: key)
            var seen: [[UInt8]] = []
            for (name, value) in options {
                guard !seen.contains(name) else { throw fault("an option stands twice", number) }
                seen.append(name)
                func time() throws(SigstoreError) -> Int64 {
                    guard let value, let seconds = Self.time(value, localTime) else {
                        throw fault("a time is not of the form YYYYMMDD[HHMM[SS]][Z]", number)
                    }
                    return seconds
                }
                switch (String(decoding: name, as: UTF8.self), value) {
                case ("cert-authority", nil): line.isAuthority = true
                case ("namespaces", let value?) where !value.isEmpty: line.namespaces = value
                case ("valid-after", _?): line.validAfter = try time()
                case ("valid-before", _?): line.validBefore = try time()
                default:
                    throw fault("the option \(String(decoding: name.prefix(64), as: UTF8.self)) is not known", number)
                }
            }
            if let after = line.validAfter, let before = line.validBefore, before <= after {
                throw fault("it ends before it begins", number)
            }
            lines.append(line)
        }
        self.lines = lines
    }

    /// The names under which a key may sign.
    /// - Parameters:
    ///   - signature: The signature, which was verified.
    ///   - seconds: When it was made, in seconds since 1970, as the signer claims; `nil` if nothing says it. Lines and certificates
    ///     with a validity do not hold then.
    /// - Returns: The names of the first line that holds, as patterns; of a certificate, those that the line allows.
    /// - Throws: `SigstoreError` with `unknown-ssh-signer` or `ssh-signer-not-valid`.
    public func names(for signature: SSHSignature, at seconds: Int64?) throws(SigstoreError) -> String {
        var failure: String?
        for line in lines {
            var names = line.principals
            if line.isAuthority {
                guard let certificate = signature.certificate, certificate.authority == line.key else { continue }
                let matching = certificate.principals.filter { Self.matches($0, line.principals) }
                guard let seconds, let time = UInt64(exactly: seconds), time >= certificate.validAfter,
                    time < certificate.validBefore
                else {
                    failure = "its certificate does not hold at that time"
                    continue
                }
                guard !matching.isEmpty else {
                    failure = "its certificate is for none of the names of line \(line.number)"
                    continue
                }
                names = Array(matching.joined(separator: [0x2c]))
            } else if line.key != signature.key {
                continue
            }
            if let namespaces = line.namespaces, !Self.matches(signature.namespace, namespaces) {
                failure =
                    "by line \(line.number), it may not sign for \(String(decoding: signature.namespace.prefix(64), as: UTF8.self))"
                continue
            }
            if line.validAfter != nil || line.validBefore != nil {
                guard let seconds, seconds >= line.validAfter ?? seconds, seconds <= line.validBefore ?? seconds else {
                    failure = "by line \(line.number), it may not sign at that time"
                    continue
                }
            }
            return String(decoding: names, as: UTF8.self)
        }
        let key = try signature.fingerprint()
        guard let failure else {
            throw SigstoreError(.unknownSSHSigner, "the SSH key \(key) is not among the allowed signers")
        }
        throw SigstoreError(.sshSignerNotValid, "the SSH key \(key) is among the allowed signers, but \(failure)")
    }

    // MARK: - Parts of a line

    /// Fields between blanks; blanks in quotes do not part them.
    private struct Fields {
        private var rest: ArraySlice<UInt8>

        init(_ line: ArraySlice<UInt8>) {
            rest = line
            if rest.last == 0x0d { rest.removeLast() }
            skip()
        }

        /// The first byte of the next field.
        var peek: UInt8? { rest.first }

        private mutating func skip() { rest = rest.drop { $0 == 0x20 || $0 == 0x09 } }

        mutating func next() -> [UInt8]? {
            guard !rest.isEmpty else { return nil }
            var field: [UInt8] = []
            var isQuoted = false
            while let byte = rest.first {
                if !isQuoted, byte == 0x20 || byte == 0x09 { break }
                if byte == 0x22, field.last != 0x5c { isQuoted.toggle() }
                field.append(byte)
                rest.removeFirst()
            }
            skip()
            guard !isQuoted else { return nil }
            // Names may stand in quotes as a whole.
            if field.count >= 2, field.first == 0x22, field.last == 0x22 { field = Array(field.dropFirst().dropLast()) }
            return field
        }
    }

    private static func isKeyType(_ field: [UInt8]) -> Bool {
        ["ssh-", "ecdsa-", "sk-", "rsa-", "webauthn-"].contains { field.starts(with: $0.utf8) }
    }

    /// Options, parted by commas outside quotes; names in lower case.
    private static func options(_ field: [UInt8]) -> [(name: [UInt8], value: [UInt8]?)]? {
        var options: [(name: [UInt8], value: [UInt8]?)] = []
        var rest = field[...]
        while true {
            let name = rest.prefix { $0 != 0x2c && $0 != 0x3d }
            guard !name.isEmpty, name.count <= 64 else { return nil }
            rest = rest.dropFirst(name.count)
            var value: [UInt8]?
            if rest.first == 0x3d {
                guard rest.dropFirst().first == 0x22 else { return nil }
                rest = rest.dropFirst(2)
                var text: [UInt8] = []
                while let byte = rest.popFirst(), byte != 0x22 {
                    guard byte == 0x5c, rest.first == 0x22 else {
                        text.append(byte)
                        continue
                    }
                    text.append(0x22)
                    rest.removeFirst()
                }
                value = text
            }
            options.append((name.map { (0x41...0x5a).contains($0) ? $0 | 0x20 : $0 }, value))
            guard let comma = rest.popFirst() else { return options }
            guard comma == 0x2c, options.count < 16 else { return nil }
        }
    }

    /// `YYYYMMDD`, `YYYYMMDDHHMM` or `YYYYMMDDHHMMSS`; with a `Z` in UTC.
    private static func time(_ text: [UInt8], _ localTime: (Int64) -> Int64?) -> Int64? {
        let isUTC = text.last == 0x5a || text.last == 0x7a
        let digits = isUTC ? text.dropLast() : text[...]
        guard [8, 12, 14].contains(digits.count), digits.allSatisfy({ (0x30...0x39).contains($0) }) else { return nil }
        let values = digits.map { Int64($0 - 0x30) } + [0, 0, 0, 0, 0, 0]
        func number(_ range: Range<Int>) -> Int64 { values[range].reduce(0) { $0 * 10 + $1 } }
        guard
            let moment = Instant(
                year: number(0..<4), month: number(4..<6), day: number(6..<8), hour: number(8..<10),
                minute: number(10..<12), second: number(12..<14))
        else { return nil }
        return isUTC ? moment.seconds : localTime(moment.seconds)
    }

    /// Whether a name is one of a list of patterns with `*` and `?`, and none of those with a `!` before it.
    static func matches(_ name: [UInt8], _ patterns: [UInt8]) -> Bool {
        var matches = false
        for pattern in patterns.split(separator: 0x2c) {
            if pattern.first == 0x21 {
                if fits(name, pattern.dropFirst()) { return false }
            } else if fits(name, pattern) {
                matches = true
            }
        }
        return matches
    }

    private static func fits(_ name: [UInt8], _ pattern: ArraySlice<UInt8>) -> Bool {
        let pattern = Array(pattern)
        var (at, place) = (0, 0)
        // Where the last star stands, and how much of the name it has taken: it alone is tried anew.
        var star: (place: Int, at: Int)?
        while at < name.count {
            if place < pattern.count, pattern[place] == 0x2a {
                star = (place, at)
                place += 1
            } else if place < pattern.count, pattern[place] == 0x3f || pattern[place] == name[at] {
                (at, place) = (at + 1, place + 1)
            } else if let last = star {
                star = (last.place, last.at + 1)
                (at, place) = (last.at + 1, last.place + 1)
            } else {
                return false
            }
        }
        return pattern[place...].allSatisfy { $0 == 0x2a }
    }
}

extension SigstoreError.Code {
    /// A file of allowed signers cannot be read.
    public static let malformedAllowedSigners = Self("malformed-allowed-signers")
    /// An SSH key is not among the allowed signers.
    public static let unknownSSHSigner = Self("unknown-ssh-signer")
    /// An SSH key is among the allowed signers, but not for this purpose, this time or this name.
    public static let sshSignerNotValid = Self("ssh-signer-not-valid")
}
