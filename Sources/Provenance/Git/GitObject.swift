internal import SigstoreCrypto
public import StrictJSON

/// A commit or a tag of git: who it says made it, and what was signed of it, byte for byte.
///
/// That it was read says nothing about its signature. What is unclear is refused and never guessed at: git itself takes the
/// last of several signatures of a tag, and puts several of a commit together.
public struct GitObject: Sendable {
    /// What it is.
    public enum Kind: String, Sendable {
        case commit, tag
    }

    /// How it was signed, by the first line of the signature.
    public enum Signature: Sendable {
        /// CMS (`SIGNED MESSAGE`), as gitsign and gpgsm write it: the whole PEM.
        case x509([UInt8])
        /// SSHSIG (`SSH SIGNATURE`): the whole block.
        case ssh([UInt8])
        /// OpenPGP (`PGP SIGNATURE` or `PGP MESSAGE`): the whole block.
        case openPGP([UInt8])
    }

    /// A person and a time, as an author, committer or tagger is written.
    public struct Person: Sendable {
        /// The name, in which bytes that are not UTF-8 are replaced. It may be empty.
        public let name: String
        /// What stands between the angle brackets.
        public let email: String
        /// Seconds since 1970, as they are claimed; `nil` if no time can be read.
        public let seconds: Int64?
    }

    /// An object larger than this many bytes is refused.
    public static let sizeLimit = 4 << 20
    /// A signature larger than this many bytes is refused.
    public static let signatureLimit = 1 << 17
    /// How many lines stand before the message, at most.
    static let headerLimit = 1 << 14

    /// What it is.
    public let kind: Kind
    /// What was signed: the object without its signatures.
    public let payload: [UInt8]
    /// The signature; `nil` if there is none over this form of the object.
    public let signature: Signature?
    /// The author of a commit; `nil` for a tag.
    public let author: Person?
    /// Who made the object: the committer of a commit, the tagger of a tag; `nil` for old tags that name nobody.
    public let maker: Person?
    /// The name that a tag gives itself; `nil` for a commit.
    public let tagName: String?
    /// The parents of a commit, in hexadecimal as they stand there; what a tag points to.
    public let references: [String]
    /// The object's name by SHA-1, in hexadecimal.
    public let sha1: String
    /// The object's name by SHA-256, in hexadecimal.
    public let sha256: String
    /// Whether its repository names objects by SHA-256.
    public let isSHA256: Bool

    /// The object's name in its repository.
    public var id: String { isSHA256 ? sha256 : sha1 }

    /// Reads an object.
    /// - Parameters:
    ///   - content: The object without git's own header, as `git cat-file` prints it.
    ///   - kind: What it is.
    /// - Throws: `SigstoreError` with `git-object-too-large`, `malformed-git-object`, `several-git-signatures` or
    ///   `unknown-git-signature`.
    public init(_ content: [UInt8], _ kind: Kind) throws(SigstoreError) {
        guard content.count <= Self.sizeLimit else {
            throw SigstoreError(
                .gitObjectTooLarge, "the \(kind.rawValue) has \(content.count) bytes, more than \(Self.sizeLimit)")
        }
        self.kind = kind
        let parts = try Self.split(content, kind)
        let headers = parts.headers
        guard let first = headers.first, first.name.elementsEqual((kind == .commit ? "tree" : "object").utf8) else {
            throw Self.fault(kind, "it does not begin with its \(kind == .commit ? "tree" : "object")")
        }
        let target = try Self.identifier(first.value, kind)
        isSHA256 = target.utf8.count == 64
        var references: [String] = kind == .tag ? [target] : []
        var people: (author: Person?, maker: Person?) = (nil, nil)
        var tagName: String?
        var seen: [ArraySlice<UInt8>] = []
        // The names that stand once at most; a second one would be read by one program and not by another.
        for header in headers {
            func isName(_ name: String) -> Bool { header.name.elementsEqual(name.utf8) }
            if kind == .commit, isName("parent") {
                let parent = try Self.identifier(header.value, kind)
                guard (parent.utf8.count == 64) == isSHA256 else {
                    throw Self.fault(kind, "its names are of two kinds")
                }
                references.append(parent)
                continue
            }
            if Self.single(of: kind).contains(where: isName) {
                guard !seen.contains(header.name) else {
                    throw Self.fault(kind, "its \(String(decoding: header.name, as: UTF8.self)) stands twice")
                }
                seen.append(header.name)
            }
            if kind == .tag, isName("tag") { tagName = String(validating: header.value, as: UTF8.self) }
            if kind == .commit, isName("author") { people.author = try Self.person(header.value, kind) }
            if isName(kind == .commit ? "committer" : "tagger") { people.maker = try Self.person(header.value, kind) }
        }
        guard kind == .tag || people.author != nil && people.maker != nil else {
            throw Self.fault(kind, "it names no author or no committer")
        }
        (author, maker) = people
        guard kind == .commit || tagName != nil else { throw Self.fault(kind, "it gives itself no name in UTF-8") }
        self.references = references
        self.tagName = tagName

        // Each form of an object, by SHA-1 and by SHA-256, has its own signature; neither is part of what was signed.
        let own = isSHA256 ? "gpgsig-sha256" : "gpgsig"
        let ours = parts.signatures.filter { $0.name.elementsEqual(own.utf8) }
        guard parts.signatures.count <= 2, ours.count <= 1,
            parts.signatures.count - ours.count <= 1
        else {
            throw SigstoreError(.severalGitSignatures, "the \(kind.rawValue) has more than one signature")
        }
        switch kind {
        case .commit:
            payload = parts.head + parts.message
            signature = try ours.first.map { header throws(SigstoreError) in
                try Self.signature(header.block, kind)
            }
        case .tag:
            guard ours.isEmpty else {
                throw SigstoreError(
                    .severalGitSignatures,
                    "the tag has a signature among its headers, where one of its form does not belong")
            }
            let (message, block) = try Self.signedMessage(parts.message)
            payload = parts.head + message
            signature = try block.map { block throws(SigstoreError) in try Self.signature(block, kind) }
        }
        let named = Array("\(kind.rawValue) \(content.count)\0".utf8) + content
        sha1 = Hexadecimal.encode(try Digest.sha1(named))
        sha256 = try Digest.sha256(named).hex
    }

    private static func fault(_ kind: Kind, _ what: String) -> SigstoreError {
        SigstoreError(.malformedGitObject, "the \(kind.rawValue) is malformed: \(what)")
    }

    private static func single(of kind: Kind) -> [String] {
        kind == .commit ? ["tree", "author", "committer", "encoding"] : ["object", "type", "tag", "tagger"]
    }

    // MARK: - Headers

    private struct Header {
        let name: ArraySlice<UInt8>
        /// The first line's value.
        let value: ArraySlice<UInt8>
        /// The value with its continuation lines, each without the space before it.
        let block: [UInt8]
    }

    /// The lines before the message, those of signatures apart; and the message with the empty line before it.
    private struct Parts {
        var headers: [Header] = []
        var signatures: [Header] = []
        /// The lines that were signed, as they stand.
        var head: [UInt8] = []
        var message: ArraySlice<UInt8> = []
    }

    private static func split(_ content: [UInt8], _ kind: Kind) throws(SigstoreError) -> Parts {
        var parts = Parts()
        var rest = content[...]
        var count = 0
        while true {
            guard let end = rest.firstIndex(of: 0x0a) else {
                throw fault(kind, "no empty line stands between its headers and its message")
            }
            if end == rest.startIndex {
                parts.message = rest
                break
            }
            let name = rest[..<end].prefix { $0 != 0x20 }
            guard !name.isEmpty, name.count < end - rest.startIndex, name.allSatisfy(isNameByte) else {
                throw fault(
                    kind,
                    rest.first == 0x20
                        ? "it continues a header that is not there" : "a header is not a name and a value")
            }
            // The header with the lines that continue it.
            var next = end + 1
            var block = Array(rest[(name.endIndex + 1)...end])
            while next < rest.endIndex, rest[next] == 0x20 {
                guard let stop = rest[next...].firstIndex(of: 0x0a) else {
                    throw fault(kind, "no empty line stands between its headers and its message")
                }
                block += rest[(next + 1)...stop]
                next = stop + 1
                count += 1
                guard count <= headerLimit else {
                    throw fault(kind, "more than \(headerLimit) lines stand before its message")
                }
            }
            count += 1
            guard count <= headerLimit else {
                throw fault(kind, "more than \(headerLimit) lines stand before its message")
            }
            guard !block.contains(0), !block.contains(0x0d) else {
                throw fault(kind, "a header has a NUL or a carriage return in it")
            }
            let header = Header(name: name, value: rest[(name.endIndex + 1)..<end], block: block)
            if name.starts(with: "gpgsig".utf8) {
                guard name.elementsEqual("gpgsig".utf8) || name.elementsEqual("gpgsig-sha256".utf8) else {
                    throw SigstoreError(
                        .unknownGitSignature,
                        "the \(kind.rawValue) has a signature of an unknown form: \(String(decoding: name.prefix(64), as: UTF8.self))"
                    )
                }
                parts.signatures.append(header)
            } else {
                parts.headers.append(header)
                parts.head += rest[..<next]
            }
            rest = rest[next...]
        }
        // git cuts what it shows of a message at a NUL, and signs the whole.
        guard !parts.message.contains(0) else { throw fault(kind, "a NUL stands in its message") }
        return parts
    }

    private static func isNameByte(_ byte: UInt8) -> Bool {
        (0x61...0x7a).contains(byte) || (0x41...0x5a).contains(byte) || (0x30...0x39).contains(byte) || byte == 0x2d
    }

    /// Whether bytes are the whole name of an object: 40 or 64 hexadecimal digits, in small letters.
    /// - Parameter bytes: The name as text.
    public static func isName(_ bytes: some Collection<UInt8>) -> Bool {
        (bytes.count == 40 || bytes.count == 64)
            && bytes.allSatisfy { (0x30...0x39).contains($0) || (0x61...0x66).contains($0) }
    }

    private static func identifier(_ value: ArraySlice<UInt8>, _ kind: Kind) throws(SigstoreError) -> String {
        guard isName(value) else { throw fault(kind, "what should be an object's name is none") }
        return String(decoding: value, as: UTF8.self)
    }

    /// `Name <mail> seconds +zone`; of old objects the time may be unreadable, and then there is none.
    private static func person(_ value: ArraySlice<UInt8>, _ kind: Kind) throws(SigstoreError) -> Person {
        guard let open = value.firstIndex(of: 0x3c), let close = value.lastIndex(of: 0x3e), open < close else {
            throw fault(kind, "a person in it has no address in angle brackets")
        }
        let email = value[(open + 1)..<close]
        guard !email.contains(0x3c), !email.contains(0x3e) else {
            throw fault(kind, "a person in it has more than one address")
        }
        var name = value[..<open]
        while name.last == 0x20 { name.removeLast() }
        let words = value[(close + 1)...].split(separator: 0x20)
        var seconds: Int64?
        if words.count == 2, let digits = words.first, (1...12).contains(digits.count),
            digits.allSatisfy({ (0x30...0x39).contains($0) })
        {
            seconds = digits.reduce(0) { $0 * 10 + Int64($1 - 0x30) }
        }
        return Person(
            name: String(decoding: name, as: UTF8.self), email: String(decoding: email, as: UTF8.self), seconds: seconds
        )
    }

    // MARK: - Signatures

    private static let labels = ["SIGNED MESSAGE", "SSH SIGNATURE", "PGP SIGNATURE", "PGP MESSAGE"]

    /// The label of a line that begins a signature.
    private static func label(beginning line: ArraySlice<UInt8>) -> String? {
        labels.first { line.elementsEqual("-----BEGIN \($0)-----".utf8) }
    }

    /// What of a tag's message was signed, and the block that ends it.
    private static func signedMessage(_ message: ArraySlice<UInt8>) throws(SigstoreError)
        -> (message: ArraySlice<UInt8>, block: [UInt8]?)
    {
        var start: Int?
        var rest = message
        while !rest.isEmpty {
            let end = rest.firstIndex(of: 0x0a) ?? rest.endIndex
            if label(beginning: rest[..<end]) != nil {
                guard start == nil else {
                    throw SigstoreError(.severalGitSignatures, "the tag has more than one signature")
                }
                start = rest.startIndex
            }
            rest = rest[min(end + 1, rest.endIndex)...]
        }
        guard let start else { return (message, nil) }
        return (message[..<start], Array(message[start...]))
    }

    /// Sorts a signature by its first line, after making sure that it is one block and nothing else.
    private static func signature(_ block: [UInt8], _ kind: Kind) throws(SigstoreError) -> Signature {
        guard block.count <= signatureLimit else {
            throw SigstoreError(
                .gitObjectTooLarge,
                "the \(kind.rawValue)'s signature has \(block.count) bytes, more than \(signatureLimit)")
        }
        guard let label = label(beginning: block.prefix { $0 != 0x0a }) else {
            throw SigstoreError(
                .unknownGitSignature,
                "the \(kind.rawValue)'s signature is none of \(labels.joined(separator: ", "))")
        }
        let lines = block.split(separator: 0x0a, omittingEmptySubsequences: true)
        let ends = lines.indices.filter { lines[$0].starts(with: "-----END ".utf8) }
        guard ends.count == 1, ends.first == lines.count - 1,
            lines.last?.elementsEqual("-----END \(label)-----".utf8) == true,
            lines.filter({ $0.starts(with: "-----BEGIN ".utf8) }).count == 1
        else {
            throw fault(kind, "its signature is not one whole block with nothing after it")
        }
        switch label {
        case "SIGNED MESSAGE": return .x509(block)
        case "SSH SIGNATURE": return .ssh(block)
        default: return .openPGP(block)
        }
    }
}

extension SigstoreError.Code {
    /// A commit or tag, or the signature in it, is larger than what is read.
    public static let gitObjectTooLarge = Self("git-object-too-large")
    /// Bytes that should be a commit or a tag are none.
    public static let malformedGitObject = Self("malformed-git-object")
    /// A commit or tag has several signatures over the same form of it.
    public static let severalGitSignatures = Self("several-git-signatures")
    /// A commit or tag has a signature of a form that is not known.
    public static let unknownGitSignature = Self("unknown-git-signature")
}
