internal import SigstoreCrypto
public import StrictJSON

/// A log's signed statement of how large its tree is and what its root is (C2SP `tlog-checkpoint` on `signed-note`).
public struct Checkpoint: Sendable {
    /// One signature line of a note.
    public struct Signature: Sendable {
        /// The name of the key.
        public let name: String
        /// The first four bytes of the key's hash.
        public let keyHash: [UInt8]
        /// The signature; a witness's begins with a time.
        public let signature: [UInt8]
    }

    /// The log's name.
    public let origin: String
    /// How many leaves the tree has.
    public let treeSize: Int64
    /// The root of the tree.
    public let rootHash: [UInt8]
    /// The signatures: the log's own, among others' and witnesses'.
    public let signatures: [Signature]
    /// What is signed: the note's text with its last line feed.
    public let text: [UInt8]

    /// Reads a checkpoint.
    /// - Parameter note: The whole signed note, as it stands in a bundle.
    /// - Throws: `SigstoreError` with `malformed-checkpoint` if it is not a signed note, or its text is not a
    ///   checkpoint.
    public init(_ note: String) throws(SigstoreError) {
        let bytes = Array(note.utf8)
        guard bytes.count <= 1 << 20, bytes.last == 0x0a, bytes.allSatisfy({ $0 >= 0x20 || $0 == 0x0a }) else {
            throw Self.fault("it is not a text of whole lines")
        }
        // The signatures stand after the last empty line.
        guard let gap = bytes.indices.dropLast().last(where: { bytes[$0] == 0x0a && bytes[$0 + 1] == 0x0a }) else {
            throw Self.fault("it has no signatures")
        }
        text = Array(bytes[...gap])
        let lines = bytes[(gap + 2)...].split(separator: 0x0a, omittingEmptySubsequences: false).dropLast()
        guard (1...100).contains(lines.count) else { throw Self.fault("it has \(lines.count) signatures") }
        var signatures: [Signature] = []
        for line in lines { signatures.append(try Self.signature(line)) }
        self.signatures = signatures

        let body = text.split(separator: 0x0a, omittingEmptySubsequences: false).dropLast()
        guard body.count >= 3, !body[0].isEmpty else { throw Self.fault("it has not the lines of a checkpoint") }
        origin = String(decoding: body[0], as: UTF8.self)
        let size = body[1]
        guard !size.isEmpty, size.count <= 19, size.allSatisfy({ (0x30...0x39).contains($0) }),
            size.first != 0x30 || size.count == 1, let treeSize = Int64(String(decoding: size, as: UTF8.self))
        else { throw Self.fault("the tree's size is not a number") }
        self.treeSize = treeSize
        guard let root = Base64.decode(body[2]), root.count == 32 else {
            throw Self.fault("the root is not base64 of 32 bytes")
        }
        rootHash = root
    }

    /// One line: an em dash, the key's name, and base64 of the key's hash and the signature.
    private static func signature(_ line: some Collection<UInt8>) throws(SigstoreError) -> Signature {
        let parts = line.split(separator: 0x20, omittingEmptySubsequences: false)
        guard parts.count == 3, parts[0].elementsEqual("—".utf8), !parts[1].isEmpty,
            let bytes = Base64.decode(parts[2]), bytes.count > 4
        else { throw fault("a signature line is malformed") }
        return Signature(
            name: String(decoding: parts[1], as: UTF8.self), keyHash: Array(bytes.prefix(4)),
            signature: Array(bytes.dropFirst(4)))
    }

    private static func fault(_ what: String) -> SigstoreError {
        SigstoreError(.malformedCheckpoint, "the log's checkpoint cannot be read: \(what)")
    }

    /// Verifies that a log signed this checkpoint, among others and witnesses who may have.
    ///
    /// Rekor v2's origin is the host name of its base URL. Rekor v1's is the log's name, ` - ` and the number of its tree.
    /// Under that name the log signs. Of several signatures that are the log's by name and key
    /// hash the first must hold (C2SP `signed-note`, "Verifying"), so that none can be put before it unnoticed.
    /// - Parameters:
    ///   - log: The log whose id the entry names.
    ///   - rekorV2: Whether the log is one of Rekor v2.
    /// - Throws: `SigstoreError` with `invalid-checkpoint`.
    public func verify(_ log: TrustedRoot.Log, rekorV2: Bool) throws(SigstoreError) {
        guard let name = rekorV2 ? origin : nameBeforeTree, Self.isName(name, of: log, rekorV2: rekorV2) else {
            let expected = Self.authority(of: log.baseURL).map { String(decoding: Self.host($0), as: UTF8.self) }
            throw SigstoreError(
                .invalidCheckpoint,
                "the checkpoint is of another log: expected the origin \(expected ?? log.name)"
                    + "\(rekorV2 ? "" : " and a tree's number"), found \(origin)",
                advice: "check that the trusted root has the right URL for this log")
        }
        let candidate = signatures.first { signature in
            signature.keyHash.elementsEqual(log.logID.prefix(4)) && signature.name.utf8.elementsEqual(name.utf8)
        }
        guard let candidate else {
            throw SigstoreError(.invalidCheckpoint, "the log \(log.name) has not signed the checkpoint")
        }
        for scheme in log.publicKey.schemes where scheme != .ed25519ph {
            if try log.publicKey.verifies(candidate.signature, ofBytes: text, scheme: scheme) { return }
        }
        throw SigstoreError(.invalidCheckpoint, "the signature of the log \(log.name) on its checkpoint does not hold")
    }

    /// The name in an origin of Rekor v1's form, `NAME - TREE`; `nil` for another form.
    private var nameBeforeTree: String? {
        let parts = origin.utf8.split(separator: 0x20, omittingEmptySubsequences: false)
        guard parts.count == 3, !parts[0].isEmpty, parts[1].elementsEqual([0x2d]), (1...19).contains(parts[2].count),
            parts[2].allSatisfy({ (0x30...0x39).contains($0) })
        else { return nil }
        return String(parts[0])
    }

    /// Whether a log may call itself by a name in its checkpoints.
    ///
    /// The host of its URL it may, and with Rekor v2 only that. Rekor v1 is told its name by a setting of its own, and
    /// without one uses the name of its machine, which is often a container's. So names count too that mean something
    /// within one network only; a domain that is not the URL's is another log's. Without a URL there is nothing to compare.
    private static func isName(_ name: String, of log: TrustedRoot.Log, rekorV2: Bool) -> Bool {
        let named = rekorV2 ? Array(name.utf8)[...] : host(Array(name.utf8)[...])
        if let authority = authority(of: log.baseURL), named.elementsEqual(host(authority)) { return true }
        guard !rekorV2, !log.baseURL.isEmpty else { return !rekorV2 }
        let labels = named.split(separator: 0x2e, omittingEmptySubsequences: false)
        return labels.count == 1
            || ["local", "localhost", "internal", "svc"].contains { labels.last?.elementsEqual($0.utf8) == true }
    }

    /// Host and port of a URL, without a user; `nil` if there is none.
    private static func authority(of url: String) -> ArraySlice<UInt8>? {
        var rest = Array(url.utf8)[...]
        guard let colon = rest.firstIndex(of: 0x3a), rest[colon...].starts(with: Array("://".utf8)) else { return nil }
        rest = rest[(colon + 3)...]
        rest = rest.prefix { $0 != 0x2f && $0 != 0x3f && $0 != 0x23 }
        if let at = rest.lastIndex(of: 0x40) { rest = rest[(at + 1)...] }
        return host(rest).isEmpty ? nil : rest
    }

    /// The host in what ``authority(of:)`` found, an IPv6 address without its brackets.
    private static func host(_ authority: ArraySlice<UInt8>) -> ArraySlice<UInt8> {
        guard authority.first == 0x5b else { return authority.prefix { $0 != 0x3a } }
        guard let close = authority.firstIndex(of: 0x5d) else { return [] }
        return authority[(authority.startIndex + 1)..<close]
    }
}

extension SigstoreError.Code {
    /// A checkpoint that is not a signed note about a tree.
    public static let malformedCheckpoint = Self("malformed-checkpoint")
    /// A checkpoint that the log did not sign, or that is of another log.
    public static let invalidCheckpoint = Self("invalid-checkpoint")
}
