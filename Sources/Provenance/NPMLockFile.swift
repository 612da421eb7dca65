public import SigstoreCrypto
internal import SigstoreVerification
public import StrictJSON

/// The packages that a lock file of npm installs (`package-lock.json`, `npm-shrinkwrap.json`; npm's documentation,
/// "package-lock.json", versions 2 and 3).
public struct NPMLockFile: Sendable {
    /// One package that is installed.
    public struct Package: Sendable {
        /// Its name with its scope.
        public let name: String
        /// Its version.
        public let version: String
        /// The digest of its archive.
        public let digest: Digest

        /// The package as npm writes it: `name@version`.
        public var reference: String { "\(name)@\(version)" }
    }

    /// How many packages a lock file may have.
    public static let limit = 100_000

    /// The packages that a registry has, each once, in the order of the file.
    public let packages: [Package]
    /// What no registry has published, or has two digests, each by its place in the file, with why nothing can be proven of it.
    public let unprovable: [(place: String, reason: SigstoreError)]

    /// Reads a lock file.
    /// - Parameter content: JSON in UTF-8.
    /// - Throws: `SigstoreError` naming the member that is wrong; with `malformed-lock-file` for a version that lists no packages, and
    ///   for a file without any.
    public init(parsing content: [UInt8]) throws(SigstoreError) {
        let top = JSONCursor(try JSONValue(parsing: content))
        let version = try top.member("lockfileVersion").integer()
        guard version == 2 || version == 3 else {
            throw SigstoreError(
                .malformedLockFile, "the lock file is of version \(version), expected 2 or 3",
                advice: "have npm 7 or later write it anew")
        }
        guard case .object(let entries) = try top.member("packages").value else {
            throw SigstoreError(.malformedLockFile, "\"packages\" is not an object")
        }
        guard entries.members.count <= Self.limit else {
            throw SigstoreError(.tooManyEntries, "the lock file has more than \(Self.limit) packages")
        }
        var (packages, unprovable): ([Package], [(place: String, reason: SigstoreError)]) = ([], [])
        var seen: [[UInt8]: Digest] = [:]
        // The first is the project itself.
        for (place, value) in entries.members where !place.isEmpty {
            switch try Self.package(place, JSONCursor(value)) {
            case .failure(let reason): unprovable.append((place, reason))
            case .success(let package):
                let key = Array(package.reference.utf8)
                guard let known = seen[key] else {
                    seen[key] = package.digest
                    packages.append(package)
                    continue
                }
                guard known != package.digest else { continue }
                unprovable.append(
                    (
                        place,
                        SigstoreError(
                            .malformedLockFile,
                            "the lock file has two archives of \(package.reference): \(known) and \(package.digest)",
                            advice: "npm has published one: find out which, and who changed the other")
                    ))
            }
        }
        guard !packages.isEmpty || !unprovable.isEmpty else {
            throw SigstoreError(.malformedLockFile, "the lock file names no package but the project itself")
        }
        (self.packages, self.unprovable) = (packages, unprovable)
    }

    private static func package(_ place: String, _ json: JSONCursor) throws(SigstoreError)
        -> Result<Package, SigstoreError>
    {
        func unprovable(_ what: String) -> Result<Package, SigstoreError> {
            .failure(
                SigstoreError(
                    .noProvenance, "nothing can be proven of it: it is \(what), which no registry has published",
                    advice: "look at it by other means; provenance is of packages of a registry"))
        }
        let marker = Array("node_modules/".utf8)
        let bytes = Array(place.utf8)
        if try json.optional("link")?.bool() == true { return unprovable("a link") }
        guard let last = bytes.indices.last(where: { bytes[$0...].starts(with: marker) }) else {
            return unprovable("a workspace or folder of the project")
        }
        if try json.optional("inBundle")?.bool() == true { return unprovable("in the archive of another package") }
        guard let version = try json.optional("version")?.string() else { return unprovable("without a version") }
        let resolved = try json.optional("resolved")?.string() ?? ""
        func comes(_ from: String...) -> Bool { from.contains { resolved.utf8.starts(with: $0.utf8) } }
        if comes("git+", "git:", "git@", "github:", "gitlab:", "bitbucket:") {
            return unprovable("of a git repository")
        }
        if comes("file:") { return unprovable("a file or folder") }
        guard let integrity = try json.optional("integrity")?.string() else {
            return unprovable("without an \"integrity\"")
        }
        // Several digests may stand there, with a space between them.
        let prefix = "sha512-"
        let digests = integrity.utf8.split(separator: 0x20).filter { $0.starts(with: prefix.utf8) }
        guard digests.count == 1, let bytes512 = Base64.decode(Array(digests[0].dropFirst(prefix.utf8.count))) else {
            return unprovable("without one digest of sha512")
        }
        let named = try json.optional("name")?.string()
        let name = named ?? String(decoding: bytes[(last + marker.count)...], as: UTF8.self)
        return .success(Package(name: name, version: version, digest: try Digest(.sha512, bytes: bytes512)))
    }
}

extension SigstoreError.Code {
    /// A lock file that cannot be read, or names no packages.
    public static let malformedLockFile = Self("malformed-lock-file")
}
