public import InToto
public import SigstoreCrypto
public import StrictJSON

/// What a signature of a model says of its files: the digest of each, and how they were found (OpenSSF model signing 1.0,
/// as `model_signing` writes it; version 0.2's form too).
public struct ModelManifest: Sendable {
    /// The predicate that is written.
    public static let predicateType = PredicateType(uri: "https://model_signing/signature/v1.0")
    /// The predicate of version 0.2, in which each file is a subject.
    public static let olderPredicateType = PredicateType(uri: "https://model_signing/Digests/v0.1")
    /// How many files a model may have.
    public static let fileLimit = 100_000
    /// What is left out of a model unless a signature names it: what belongs to Git and to the place where it is kept.
    public static let gitPaths = [".git", ".gitattributes", ".github", ".gitignore"]

    /// One file of a model.
    public struct File: Sendable {
        /// The path from the model's folder, with `/` between the names.
        public let name: String
        /// The digest by the manifest's hash function.
        public let digest: [UInt8]

        /// Names a file.
        public init(name: String, digest: [UInt8]) { (self.name, self.digest) = (name, digest) }
    }

    /// The name of the model, which is its folder's and binds nobody; `nil` in version 0.2's form.
    public let name: String?
    /// The hash function.
    public let hash: ContentHash
    /// Whether files may be reached by symbolic links.
    public let allowsLinks: Bool
    /// Paths from the folder that are left out, with all that is below them.
    public let ignoredPaths: [String]
    /// The files, in the order of their names' parts.
    public let files: [File]

    /// Makes the manifest of files that were hashed.
    /// - Parameters:
    ///   - name: The name of the model.
    ///   - hash: The hash function.
    ///   - allowsLinks: Whether files may be reached by symbolic links.
    ///   - ignoredPaths: Paths from the folder that are left out.
    ///   - files: The files, in any order.
    /// - Throws: `SigstoreError` with `model-file-name` if a file cannot be named in a signature, and with
    ///   `malformed-model-signature` if there is none, or there are too many.
    public init(name: String?, hash: ContentHash, allowsLinks: Bool, ignoredPaths: [String], files: [File])
        throws(SigstoreError)
    {
        let files = files.sorted { Self.precedes($0.name, $1.name) }
        try Self.expectSound(files)
        for path in ignoredPaths { try Self.expectName(path) }
        self.name = name
        self.hash = hash
        self.allowsLinks = allowsLinks
        self.ignoredPaths = ignoredPaths
        self.files = files
    }

    /// Whether a path is left out of the model by a list of paths: it is one of them, or below one.
    public static func isIgnored(_ path: String, by ignored: some Sequence<String>) -> Bool {
        let path = path.utf8
        return ignored.contains { ignored in
            path.starts(with: ignored.utf8)
                && (path.count == ignored.utf8.count || path.dropFirst(ignored.utf8.count).first == 0x2f)
        }
    }

    // MARK: - Names

    /// Refuses a path that not every system takes for the same file below the folder: one that is absolute, has an empty
    /// part, `.` or `..`, a backslash, or a control character.
    /// - Throws: `SigstoreError` with `model-file-name`.
    public static func expectName(_ name: String) throws(SigstoreError) {
        func refused(_ why: String) -> SigstoreError {
            SigstoreError(
                .modelFileName, "the file name \"\(name)\" is not one that a signature of a model may hold: \(why)",
                advice: "rename the file, or leave it out of the model")
        }
        let parts = name.utf8.split(separator: 0x2f, omittingEmptySubsequences: false)
        guard name.utf8.first != 0x2f else { throw refused("it is absolute") }
        guard name.utf8.count <= 4096 else { throw refused("it is longer than 4,096 bytes") }
        for part in parts {
            guard !part.isEmpty else { throw refused("a part of it is empty") }
            guard !part.elementsEqual(".".utf8), !part.elementsEqual("..".utf8) else {
                throw refused("\(Substring(part)) is one of its parts")
            }
        }
        guard !name.utf8.contains(0x5c) else { throw refused("it has a backslash") }
        guard !name.unicodeScalars.contains(where: { $0.value < 0x20 || (0x7f...0x9f).contains($0.value) }) else {
            throw refused("it has a control character")
        }
    }

    /// Refuses files that cannot all stand in one folder, wherever that is.
    private static func expectSound(_ files: [File]) throws(SigstoreError) {
        guard !files.isEmpty else { throw SigstoreError(.malformedModelSignature, "the model has no file") }
        guard files.count <= fileLimit else {
            throw SigstoreError(.malformedModelSignature, "the model has more than \(fileLimit) files")
        }
        // Swift's strings are equal if their normal forms are.
        var names: Set<String> = []
        for file in files {
            try expectName(file.name)
            guard names.insert(file.name).inserted else {
                throw SigstoreError(
                    .modelFileName,
                    "the file name \"\(file.name)\" stands there twice, or one that some systems take for the same",
                    advice: "rename one of the two files")
            }
        }
    }

    /// The order of files in a statement: by the parts of their paths, each byte by byte.
    private static func precedes(_ one: String, _ other: String) -> Bool {
        one.utf8.split(separator: 0x2f).lexicographicallyPrecedes(other.utf8.split(separator: 0x2f)) {
            $0.lexicographicallyPrecedes($1)
        }
    }

    // MARK: - Reading

    /// Reads what a verified statement says of a model.
    /// - Throws: `SigstoreError` with `malformed-model-signature` if it is not of the form, or its digests do not fit together;
    ///   with `model-file-name`; with `unsupported-model-signature` for a hash function or a serialization that is not
    ///   known here.
    public init(_ statement: Statement) throws(SigstoreError) {
        guard statement.layout == .v1 else {
            throw SigstoreError(
                .malformedModelSignature,
                "the statement is \(statement.layout.rawValue), expected \(Statement.Layout.v1.rawValue)")
        }
        let type = statement.predicateType.uri
        if type.utf8.elementsEqual(Self.olderPredicateType.uri.utf8) {
            self = try Self.older(statement)
        } else if type.utf8.elementsEqual(Self.predicateType.uri.utf8) {
            self = try Self.current(statement)
        } else {
            throw SigstoreError(
                .notAModelSignature,
                "the attestation's predicate is \"\(type)\", expected \"\(Self.predicateType.uri)\"",
                advice: "give the model's own signature, most often model.sig")
        }
    }

    /// The form of version 0.2: each file is a subject, and nothing is said of links and of what is left out.
    private static func older(_ statement: Statement) throws(SigstoreError) -> ModelManifest {
        var files: [File] = []
        for subject in statement.subjects {
            guard let name = subject.name else {
                throw SigstoreError(.malformedModelSignature, "a file has no name")
            }
            guard let found = subject.digests.first(where: { $0.algorithm.utf8.elementsEqual("sha256".utf8) }) else {
                throw SigstoreError(.malformedModelSignature, "the file \"\(name)\" has no SHA-256")
            }
            files.append(File(name: name, digest: try digest(found.hex, .sha256, of: name)))
        }
        return try ModelManifest(name: nil, hash: .sha256, allowsLinks: false, ignoredPaths: [], files: files)
    }

    private static func current(_ statement: Statement) throws(SigstoreError) -> ModelManifest {
        let predicate = JSONCursor(statement.predicate)
        let serialization = try predicate.member("serialization")
        let method = try serialization.member("method").string()
        guard method.utf8.elementsEqual("files".utf8) else {
            throw SigstoreError(
                .unsupportedModelSignature,
                method.utf8.elementsEqual("shards".utf8)
                    ? "the signature is over parts of files (method \"shards\"), which cannot be verified here"
                    : "the signature's method \"\(method)\" is not known, expected \"files\"",
                advice: "verify it with model_signing, or have the model signed by files")
        }
        try serialization.expectOnly(["method", "hash_type", "allow_symlinks", "ignore_paths"])
        let hash = try self.hash(named: try serialization.member("hash_type").string())
        var ignored: [String] = []
        for path in try serialization.optional("ignore_paths")?.elements() ?? [] { ignored.append(try path.string()) }
        guard ignored.count <= fileLimit else {
            throw SigstoreError(.malformedModelSignature, "the signature leaves out more than \(fileLimit) paths")
        }

        var files: [File] = []
        var digests: [UInt8] = []
        for resource in try predicate.member("resources").elements() {
            guard files.count < fileLimit else {
                throw SigstoreError(.malformedModelSignature, "the model has more than \(fileLimit) files")
            }
            try resource.expectOnly(["name", "algorithm", "digest"])
            let name = try resource.member("name").string()
            let algorithm = try resource.member("algorithm").string()
            guard try self.hash(named: algorithm) == hash else {
                throw SigstoreError(
                    .malformedModelSignature,
                    "the digest of \"\(name)\" is by \(algorithm), expected \(hash.rawValue) as for the others")
            }
            let digest = try digest(try resource.member("digest").string(), hash, of: name)
            digests += digest
            files.append(File(name: name, digest: digest))
        }
        try expectSorted(files)
        let name = try expectSubject(of: statement, digest: try Digest.sha256(digests))
        for file in files where isIgnored(file.name, by: ignored) {
            throw SigstoreError(
                .malformedModelSignature, "the signature names the file \"\(file.name)\", and leaves it out too")
        }
        return try ModelManifest(
            name: name, hash: hash, allowsLinks: try serialization.member("allow_symlinks").bool(),
            ignoredPaths: ignored, files: files)
    }

    /// Refuses a statement whose one subject is not what its files add up to.
    /// - Returns: The subject's name.
    private static func expectSubject(of statement: Statement, digest: Digest) throws(SigstoreError) -> String? {
        guard statement.subjects.count == 1, let subject = statement.subjects.first else {
            throw SigstoreError(
                .malformedModelSignature,
                "the statement has \(statement.subjects.count) subjects, expected one, the model")
        }
        guard let stated = subject.digests.first(where: { $0.algorithm.utf8.elementsEqual("sha256".utf8) }) else {
            throw SigstoreError(.malformedModelSignature, "the statement's subject has no SHA-256")
        }
        guard stated.hex.utf8.elementsEqual(digest.hex.utf8) else {
            throw SigstoreError(
                .malformedModelSignature,
                "the files that the signature names do not add up to its model: expected sha256:\(stated.hex), found \(digest)",
                advice: "have the model signed again")
        }
        return subject.name
    }

    /// Files are sorted, by the parts of their paths or by the whole path, so that one model has one digest.
    private static func expectSorted(_ files: [File]) throws(SigstoreError) {
        let pairs = zip(files, files.dropFirst())
        guard
            pairs.allSatisfy({ !precedes($1.name, $0.name) })
                || pairs.allSatisfy({ !$1.name.utf8.lexicographicallyPrecedes($0.name.utf8) })
        else { throw SigstoreError(.malformedModelSignature, "the files that the signature names are not sorted") }
    }

    private static func hash(named name: String) throws(SigstoreError) -> ContentHash {
        // `model_signing` is asked for "blake2" and writes "blake2b".
        for (known, hash) in [("sha256", ContentHash.sha256), ("blake2b", .blake2b), ("blake2", .blake2b)]
        where known.utf8.elementsEqual(name.utf8) { return hash }
        throw SigstoreError(
            .unsupportedModelSignature,
            name.utf8.elementsEqual("blake3".utf8)
                ? "the model's files are named by BLAKE3, which cannot be verified here"
                : "the hash function \"\(name)\" is not known, expected sha256 or blake2b",
            advice: "verify it with model_signing, or have the model signed with SHA-256")
    }

    private static func digest(_ hex: String, _ hash: ContentHash, of name: String) throws(SigstoreError) -> [UInt8] {
        guard let bytes = Hexadecimal.decode(hex), bytes.count == hash.byteCount else {
            throw SigstoreError(
                .malformedModelSignature,
                "the digest of \"\(name)\" is \"\(hex)\", expected \(hash.byteCount * 2) hexadecimal digits")
        }
        return bytes
    }

    // MARK: - Writing

    /// The statement to sign.
    /// - Returns: JSON in UTF-8.
    /// - Throws: `SigstoreError` with `cryptography-failed`.
    public func statement() throws(SigstoreError) -> [UInt8] {
        var serialization: JSONObject = [
            "method": .string("files"), "hash_type": .string(hash.rawValue), "allow_symlinks": .bool(allowsLinks),
        ]
        if !ignoredPaths.isEmpty { serialization["ignore_paths"] = .array(ignoredPaths.map { .string($0) }) }
        let resources = files.map { file in
            JSONValue.object([
                "name": .string(file.name), "algorithm": .string(hash.rawValue),
                "digest": .string(Hexadecimal.encode(file.digest)),
            ])
        }
        let digest = try Digest.sha256(files.flatMap(\.digest))
        return Statement(
            layout: .v1,
            subjects: [ResourceDescriptor(name: name, digests: [(algorithm: "sha256", hex: digest.hex)])],
            predicateType: Self.predicateType,
            predicate: .object(["serialization": .object(serialization), "resources": .array(resources)])
        ).json().serialized()
    }
}

extension SigstoreError.Code {
    /// An attestation that is not about a model.
    public static let notAModelSignature = Self("not-a-model-signature")
    /// A signature of a model that is not of the form, or does not fit together.
    public static let malformedModelSignature = Self("malformed-model-signature")
    /// A signature of a model by a hash function or a method that is not known here.
    public static let unsupportedModelSignature = Self("unsupported-model-signature")
    /// A file name that a signature of a model may not hold, or that stands there twice.
    public static let modelFileName = Self("model-file-name")
}
