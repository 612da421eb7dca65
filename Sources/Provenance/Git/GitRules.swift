public import SigstoreCrypto
public import SigstoreVerification
public import StrictJSON

/// Who may sign which commits and tags: signers by name, and rules by branch, tag and path.
///
/// For every path that a commit changes, the first rule counts that fits the branch and the path. The signer must be among the
/// signers of each of these rules. What no rule fits, nobody may sign.
public struct GitRules: Sendable {
    /// A file larger than this many bytes is refused.
    public static let sizeLimit = 1 << 20
    /// How many signers, rules and patterns there may be of each.
    static let countLimit = 1000
    /// How many keys there may be: each is tried.
    static let keyLimit = 90
    /// How long a pattern may be.
    static let patternLimit = 256

    /// A person or a job that signs, with everything that this signer may sign with.
    public struct Signer: Sendable {
        /// What rules call the signer.
        public let name: String
        /// The identities in certificates.
        public fileprivate(set) var identities: [CertificateIdentity] = []
        /// Public keys.
        public fileprivate(set) var keys: [PublicKey] = []
        /// SSH keys: the type and the key in base64, as in a file of allowed signers.
        public fileprivate(set) var sshKeys: [String] = []
        /// The fingerprints of GPG keys, in capital hexadecimal digits.
        public fileprivate(set) var gpgKeys: [String] = []
        /// The first and the last second, since 1970, at which the signer may have signed.
        public fileprivate(set) var since, until: Int64?
    }

    /// What stands behind a name in a repository, as far as rules know it.
    public enum Reference: Sendable, Hashable {
        /// A branch, by its name without `refs/heads/`.
        case branch(String)
        /// A tag, by its name without `refs/tags/`.
        case tag(String)
        /// Anything else, or nothing that is known.
        case other

        /// - Parameter name: The whole name, such as `refs/heads/main`.
        public init(_ name: String) {
            func rest(_ prefix: String) -> String? {
                guard name.utf8.starts(with: prefix.utf8), name.utf8.count > prefix.utf8.count else { return nil }
                return String(decoding: name.utf8.dropFirst(prefix.utf8.count), as: UTF8.self)
            }
            if let branch = rest("refs/heads/") {
                self = .branch(branch)
            } else if let tag = rest("refs/tags/") {
                self = .tag(tag)
            } else {
                self = .other
            }
        }
    }

    private struct Rule: Sendable {
        var branches, tags: [Glob]?
        var paths: [Glob]?
        var signers: Set<Int> = []
    }

    /// The signers, by the numbers that ``signers(among:path:)`` gives.
    public let signers: [Signer]
    /// A commit: it and what came before it are not judged. All digits of its name.
    public let since: String?
    private let rules: [Rule]

    /// Whether any rule is about some branches or tags only.
    public var nameReferences: Bool { rules.contains { $0.branches != nil || $0.tags != nil } }
    /// Whether any rule is about some paths only.
    public var namePaths: Bool { rules.contains { $0.paths != nil } }

    // MARK: - Reading

    /// Reads a file of rules.
    /// - Parameter file: Its content, JSON.
    /// - Throws: `SigstoreError` with `malformed-git-rules`, also for a member that is not known or is `null`.
    public init(parsing file: [UInt8]) throws(SigstoreError) {
        guard file.count <= Self.sizeLimit else { throw Self.fault("more than \(Self.sizeLimit) bytes") }
        do throws(SigstoreError) {
            let top = JSONCursor(try JSONValue(parsing: file, depth: 8, values: 1 << 17))
            try top.expectOnly(["version", "since", "signers", "rules"])
            guard try top.member("version").integer() == 1 else { throw try top.member("version").fault("is not 1") }
            since = try top.given("since").map { item throws(SigstoreError) in
                let text = try item.string()
                guard GitObject.isName(text.utf8) else {
                    throw item.fault("is not the whole name of a commit, 40 or 64 digits")
                }
                return text
            }
            let named = try top.member("signers")
            var signers: [Signer] = []
            for name in try named.names() { signers.append(try Self.signer(name, try named.member(name))) }
            guard signers.count <= Self.countLimit, signers.reduce(0, { $0 + $1.keys.count }) <= Self.keyLimit else {
                throw named.fault("has more than \(Self.countLimit) signers or \(Self.keyLimit) keys")
            }
            self.signers = signers
            var rules: [Rule] = []
            for item in try top.member("rules").elements() { rules.append(try Self.rule(item, signers)) }
            guard (1...Self.countLimit).contains(rules.count) else {
                throw try top.member("rules").fault("is not a list of 1 to \(Self.countLimit) rules")
            }
            self.rules = rules
        } catch { throw error.code == .malformedGitRules ? error : Self.fault(error.message) }
    }

    private static func fault(_ what: String) -> SigstoreError {
        SigstoreError(.malformedGitRules, "the rules cannot be read: \(what)")
    }

    private static func signer(_ name: String, _ item: JSONCursor) throws(SigstoreError) -> Signer {
        guard (1...64).contains(name.utf8.count), name.utf8.allSatisfy(isNameByte) else {
            throw fault("a signer's name is of 1 to 64 letters, digits and . _ @ + -")
        }
        try item.expectOnly(["identities", "keys", "sshKeys", "gpgKeys", "since", "until"])
        var signer = Signer(name: name)
        for each in try item.all("identities") {
            try each.expectOnly(["identity", "identityRegexp", "issuer", "issuerRegexp"])
            signer.identities.append(
                CertificateIdentity(
                    subject: try pattern(each, "identity"), issuer: try pattern(each, "issuer")))
        }
        for each in try item.all("keys") { signer.keys.append(try PublicKey(file: Array(try each.string().utf8))) }
        for each in try item.all("sshKeys") {
            let words = try each.string().utf8.split(separator: 0x20)
            guard words.count >= 2, try each.string().utf8.allSatisfy({ $0 >= 0x20 && $0 < 0x7f }),
                let key = Base64.decode(Array(words[1]))
            else { throw each.fault("is not the type of a key and a key in base64") }
            var reader = SSHReader(key)
            guard let type = try? reader.name(), type.utf8.elementsEqual(words[0]) else {
                throw each.fault("is a key of another type than it says")
            }
            signer.sshKeys.append("\(type) \(Base64.encode(key))")
        }
        for each in try item.all("gpgKeys") { signer.gpgKeys.append(try fingerprint(each)) }
        func time(_ name: String) throws(SigstoreError) -> Int64? {
            guard let member = try item.given(name) else { return nil }
            guard let time = Instant(rfc3339: try member.string()) else {
                throw member.fault("is not a time such as 2026-11-27T01:02:03Z")
            }
            return time.seconds
        }
        (signer.since, signer.until) = (try time("since"), try time("until"))
        if let since = signer.since, let until = signer.until, until <= since {
            throw item.fault("ends before it begins")
        }
        guard !signer.identities.isEmpty || !signer.keys.isEmpty || !signer.sshKeys.isEmpty || !signer.gpgKeys.isEmpty
        else { throw item.fault("has neither identities nor keys") }
        return signer
    }

    /// A text that must be the same, or an expression that must match.
    private static func pattern(_ item: JSONCursor, _ name: String) throws(SigstoreError) -> CertificateIdentity.Pattern
    {
        let (text, expression) = (try item.given(name), try item.given(name + "Regexp"))
        switch (text, expression) {
        case (let text?, nil):
            guard try !text.string().isEmpty else { throw text.fault("is empty") }
            return .exactly(try text.string())
        case (nil, let expression?): return .matching(try IdentityPattern(try expression.string()))
        default: throw item.fault("has not exactly one of \"\(name)\" and \"\(name)Regexp\"")
        }
    }

    private static func fingerprint(_ item: JSONCursor) throws(SigstoreError) -> String {
        guard let fingerprint = GPGStatus.fingerprint(try item.string()) else {
            throw item.fault("is not a whole fingerprint, 40 or 64 hexadecimal digits")
        }
        return fingerprint
    }

    private static func rule(_ item: JSONCursor, _ signers: [Signer]) throws(SigstoreError) -> Rule {
        try item.expectOnly(["branches", "tags", "paths", "signers"])
        func globs(_ name: String) throws(SigstoreError) -> [Glob]? {
            guard let member = try item.given(name) else { return nil }
            let patterns = try member.elements()
            guard (1...countLimit).contains(patterns.count) else { throw member.fault("is empty, or too long") }
            var globs: [Glob] = []
            for pattern in patterns {
                let text = try pattern.string()
                guard (1...patternLimit).contains(text.utf8.count), text.utf8.first != 0x2f else {
                    throw pattern.fault("is empty, begins with a slash, or is longer than \(patternLimit) bytes")
                }
                globs.append(Glob(text))
            }
            return globs
        }
        var rule = Rule(branches: try globs("branches"), tags: try globs("tags"), paths: try globs("paths"))
        guard rule.tags == nil || rule.paths == nil || rule.branches != nil else {
            throw item.fault("has paths, which tags do not have")
        }
        for name in try item.member("signers").elements() {
            let text = try name.string()
            guard let index = signers.firstIndex(where: { $0.name.utf8.elementsEqual(text.utf8) }) else {
                throw name.fault("is no signer of this file")
            }
            rule.signers.insert(index)
        }
        return rule
    }

    private static func isNameByte(_ byte: UInt8) -> Bool {
        (0x61...0x7a).contains(byte) || (0x41...0x5a).contains(byte) || (0x30...0x39).contains(byte)
            || [0x2e, 0x5f, 0x40, 0x2b, 0x2d].contains(byte)
    }

    // MARK: - Who signers are

    /// The SSH keys of some signers as a file of allowed signers, in which each is called by its name in the rules.
    /// - Parameter signers: The signers.
    /// - Returns: `nil` if they have none.
    public static func allowedSigners(of signers: [Signer]) throws(SigstoreError) -> AllowedSigners? {
        func time(_ seconds: Int64) -> String {
            String(decoding: Instant(seconds: seconds).description.utf8.filter(isDigit).prefix(14), as: UTF8.self) + "Z"
        }
        var text = ""
        for signer in signers {
            var options = "namespaces=\"git\""
            if let since = signer.since { options += ",valid-after=\"\(time(since))\"" }
            if let until = signer.until { options += ",valid-before=\"\(time(until))\"" }
            for key in signer.sshKeys { text += "\(signer.name) \(options) \(key)\n" }
        }
        return text.isEmpty ? nil : try AllowedSigners(parsing: Array(text.utf8)) { $0 }
    }

    private static func isDigit(_ byte: UInt8) -> Bool { (0x30...0x39).contains(byte) }

    // MARK: - Which rule counts

    /// The rules that may count for a branch or a tag, in their order.
    /// - Returns: Their numbers. Two references with the same ones are under the same rules.
    public func rules(for reference: Reference) -> [Int] {
        rules.indices.filter { index in
            let rule = rules[index]
            if rule.branches == nil, rule.tags == nil { return true }
            switch reference {
            case .branch(let name): return rule.branches?.contains { $0.matches(Array(name.utf8)) } ?? false
            case .tag(let name): return rule.tags?.contains { $0.matches(Array(name.utf8)) } ?? false
            case .other: return false
            }
        }
    }

    /// Who may sign a change.
    /// - Parameters:
    ///   - numbers: The rules that may count, as ``rules(for:)`` gives them.
    ///   - path: The path that is changed; `nil` for what changes none, such as a tag, of which no rule with paths counts.
    /// - Returns: The numbers of the signers; `nil` if no rule fits.
    public func signers(among numbers: [Int], path: [UInt8]?) -> Set<Int>? {
        for number in numbers where rules.indices.contains(number) {
            let rule = rules[number]
            guard let paths = rule.paths else { return rule.signers }
            if let path, paths.contains(where: { $0.matches(path) }) { return rule.signers }
        }
        return nil
    }
}

/// A pattern for names with slashes: `?` is one character, `*` any but a slash, `**` any; all else is itself.
struct Glob: Sendable {
    private enum Part: Sendable, Equatable {
        case byte(UInt8), one, some, all
    }

    private let parts: [Part]

    init(_ text: String) {
        var parts: [Part] = []
        var rest = Array(text.utf8)[...]
        while let byte = rest.popFirst() {
            switch byte {
            case 0x2a where rest.first == 0x2a:
                rest = rest.drop { $0 == 0x2a }
                parts.append(.all)
            case 0x2a: parts.append(.some)
            case 0x3f: parts.append(.one)
            default: parts.append(.byte(byte))
            }
        }
        self.parts = parts
    }

    /// Whether a name is of this form, as a whole. All places in the pattern are followed at once, so that no name takes long.
    func matches(_ name: [UInt8]) -> Bool {
        var places = [Bool](repeating: false, count: parts.count + 1)
        places[0] = true
        /// A star may stand for nothing.
        func skip() {
            for (index, part) in parts.enumerated() where places[index] && (part == .some || part == .all) {
                places[index + 1] = true
            }
        }
        skip()
        for byte in name {
            var next = [Bool](repeating: false, count: parts.count + 1)
            for (index, part) in parts.enumerated() where places[index] {
                switch part {
                case .byte(let expected): if expected == byte { next[index + 1] = true }
                case .one: if byte != 0x2f { next[index + 1] = true }
                case .some: if byte != 0x2f { next[index] = true }
                case .all: next[index] = true
                }
            }
            places = next
            skip()
            if !places.contains(true) { return false }
        }
        return places[parts.count]
    }
}

extension JSONCursor {
    /// A member that may be left out, but is not `null`: what a person meant by that is not guessed.
    fileprivate func given(_ name: String) throws(SigstoreError) -> JSONCursor? {
        if case .object(let object) = value, case .null? = object[name] { throw fault("has null as its \"\(name)\"") }
        return try optional(name)
    }

    /// The elements of a list that may be left out.
    fileprivate func all(_ name: String) throws(SigstoreError) -> [JSONCursor] {
        guard let member = try given(name) else { return [] }
        let elements = try member.elements()
        guard elements.count <= GitRules.countLimit else {
            throw member.fault("has more than \(GitRules.countLimit) elements")
        }
        return elements
    }
}

extension SigstoreError.Code {
    /// A file that says who may sign which commits cannot be read.
    public static let malformedGitRules = Self("malformed-git-rules")
}
