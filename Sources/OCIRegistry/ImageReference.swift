import HTTPTransport
public import SigstoreCrypto
public import StrictJSON

/// A registry by the name that references and credentials know it by.
public struct Registry: Sendable, Hashable, CustomStringConvertible {
    /// Docker Hub's name in references.
    public static let dockerHub = Registry(checked: "index.docker.io")

    /// Host and perhaps port, in lower case; `index.docker.io` for Docker Hub.
    public let name: String

    private init(checked name: String) { self.name = name }

    /// Reads a registry's name.
    /// - Parameter name: A host with an optional port; `docker.io` and its other names all mean Docker Hub.
    /// - Throws: `SigstoreError` with `malformed-reference`.
    public init(parsing name: String) throws(SigstoreError) {
        let authority: String
        do throws(SigstoreError) {
            // An http origin keeps a port of 443 and loses 80, an https one the other way: the name stays as given.
            let origin = try HTTPURL.origin(name, .https)
            authority = name.utf8.contains(0x3a) && origin.port == 443 ? "\(origin.host):443" : origin.authority
        } catch {
            throw SigstoreError(
                .malformedReference, "\"\(name.prefix(256))\" is not the name of a registry", cause: error)
        }
        self.name =
            ["docker.io", "registry-1.docker.io", "registry.hub.docker.com"].contains(authority)
            ? Self.dockerHub.name : authority
    }

    /// The host and port that requests go to.
    public var authority: String { self == .dockerHub ? "registry-1.docker.io" : name }
    public var description: String { name }
}

/// A place in a registry where images are kept together.
public struct Repository: Sendable, Hashable, CustomStringConvertible {
    /// The registry.
    public let registry: Registry
    /// The path in the registry, such as `library/alpine`.
    public let path: String

    /// Reads the name of a repository, without tag and digest.
    /// - Parameter text: `[HOST[:PORT]/]PATH`; the first part is a host if it has a dot or a colon or is `localhost`.
    ///   Without a host Docker Hub is meant, and without a slash its `library/`.
    /// - Throws: `SigstoreError` with `malformed-reference`.
    public init(parsing text: String) throws(SigstoreError) {
        var rest = text
        var registry = Registry.dockerHub
        if let slash = text.utf8.firstIndex(of: 0x2f) {
            let first = text[..<slash]
            if first.utf8.contains(where: { $0 == 0x2e || $0 == 0x3a }) || first.utf8.elementsEqual("localhost".utf8) {
                registry = try Registry(parsing: String(first))
                rest = String(text[text.utf8.index(after: slash)...])
            }
        }
        if registry == .dockerHub, !rest.utf8.contains(0x2f) { rest = "library/\(rest)" }
        guard (2...255).contains(rest.utf8.count),
            rest.utf8.split(separator: 0x2f, omittingEmptySubsequences: false).allSatisfy(Self.isComponent)
        else {
            throw SigstoreError(
                .malformedReference, "\"\(text.prefix(256))\" is not the name of a repository",
                advice: "write it as [HOST[:PORT]/]PATH in lower case letters, digits, and . _ - between them")
        }
        self.registry = registry
        path = rest
    }

    /// OCI distribution specification, "Pulling manifests": letters and digits, separators only between them.
    private static func isComponent(_ part: Substring.UTF8View) -> Bool {
        func isLetter(_ byte: UInt8?) -> Bool {
            guard let byte else { return false }
            return (0x30...0x39).contains(byte) || (0x61...0x7a).contains(byte)
        }
        return isLetter(part.first) && isLetter(part.last)
            && part.allSatisfy { isLetter($0) || $0 == 0x2e || $0 == 0x5f || $0 == 0x2d }
    }

    /// The full name, such as `index.docker.io/library/alpine`; what cosign writes as `docker-reference`.
    public var name: String { "\(registry.name)/\(path)" }
    public var description: String { name }
}

/// What picks a manifest in a repository or a layout.
public enum ManifestSelector: Sendable, Hashable, CustomStringConvertible {
    /// A name that may point elsewhere tomorrow. Made by ``init(tag:)``, it holds nothing but `[A-Za-z0-9_.-]`.
    case tag(String)
    /// The content itself.
    case digest(Digest)

    /// A tag that was checked.
    /// - Parameter tag: A letter, digit or `_`, then up to 127 of those, `.` and `-`.
    /// - Throws: `SigstoreError` with `malformed-reference`.
    public init(tag: String) throws(SigstoreError) {
        guard Self.isTag(tag) else {
            throw SigstoreError(
                .malformedReference, "\"\(tag.prefix(256))\" is not a tag",
                advice: "a tag is up to 128 letters, digits, and _ . - that does not begin with . or -")
        }
        self = .tag(tag)
    }

    /// Whether the text can be a tag (OCI distribution specification, "Pulling manifests").
    static func isTag(_ text: String) -> Bool {
        (1...128).contains(text.utf8.count) && text.utf8.first != 0x2e && text.utf8.first != 0x2d
            && text.utf8.allSatisfy {
                (0x30...0x39).contains($0) || (0x41...0x5a).contains($0) || (0x61...0x7a).contains($0) || $0 == 0x5f
                    || $0 == 0x2e || $0 == 0x2d
            }
    }

    /// The tag or the digest as it stands in a URL.
    public var description: String {
        switch self {
        case .tag(let tag): tag
        case .digest(let digest): digest.description
        }
    }
}

/// The name of an image in a registry, parsed once (go-containerregistry's rules).
public struct ImageReference: Sendable, Hashable, CustomStringConvertible {
    /// Where the image is.
    public let repository: Repository
    /// The tag if one was written; if neither tag nor digest was, it is `latest`.
    public let tag: String?
    /// The digest if one was written. It counts more than the tag.
    public let digest: Digest?

    /// Reads a reference.
    /// - Parameter text: `[oci://][HOST[:PORT]/]PATH[:TAG][@DIGEST]`.
    /// - Throws: `SigstoreError` with `malformed-reference`.
    public init(parsing text: String) throws(SigstoreError) {
        var name = text.utf8.starts(with: "oci://".utf8) ? String(text.dropFirst(6)) : text
        if let scheme = name.firstRange(of: "://") {
            throw SigstoreError(
                .malformedReference,
                "\"\(text.prefix(256))\" is a URL: expected the name of an image, which begins with its registry",
                advice: "leave out \(name[..<scheme.upperBound].prefix(64)): write HOST/PATH:TAG or HOST/PATH@DIGEST")
        }
        var digest: Digest?
        if let at = name.utf8.firstIndex(of: 0x40) {
            digest = try Self.digest(String(name[name.utf8.index(after: at)...]))
            name = String(name[..<at])
        }
        var tag: String?
        if let colon = name.utf8.lastIndex(of: 0x3a), !name.utf8[colon...].contains(0x2f) {
            tag = try ManifestSelector(tag: String(name[name.utf8.index(after: colon)...])).description
            name = String(name[..<colon])
        }
        self.init(
            repository: try Repository(parsing: name), tag: tag ?? (digest == nil ? "latest" : nil), digest: digest)
    }

    private init(repository: Repository, tag: String?, digest: Digest?) {
        self.repository = repository
        self.tag = tag
        self.digest = digest
    }

    /// A reference to content in a repository.
    public init(_ repository: Repository, _ digest: Digest) {
        self.init(repository: repository, tag: nil, digest: digest)
    }

    /// Reads a digest as registries write it, in lower case only, so that one digest has one spelling.
    static func digest(_ text: String) throws(SigstoreError) -> Digest {
        do throws(SigstoreError) {
            let digest = try Digest(parsing: text)
            guard digest.description.utf8.elementsEqual(text.utf8) else {
                throw SigstoreError(.malformedDigest, "\"\(text)\" has capital letters")
            }
            return digest
        } catch {
            throw SigstoreError(
                .malformedReference, "\"\(text.prefix(256))\" is not a digest",
                advice: "write it as sha256:<64 hexadecimal digits in lower case>", cause: error)
        }
    }

    /// What picks the manifest: the digest, or else the tag.
    public var selector: ManifestSelector { digest.map { .digest($0) } ?? .tag(tag ?? "latest") }

    /// `REPOSITORY@DIGEST` or `REPOSITORY:TAG`, with the registry's name.
    public var description: String {
        digest.map { "\(repository)@\($0)" } ?? "\(repository):\(tag ?? "latest")"
    }
}

/// Where an image is: in a registry, or in an OCI image layout on disk.
public enum ImageLocation: Sendable, Hashable, CustomStringConvertible {
    case registry(ImageReference)
    /// A folder, and what was picked in it; `nil` for its only image.
    case layout(path: String, ManifestSelector?)

    /// Reads the name of an image.
    /// - Parameter text: A reference as ``ImageReference`` reads it, or `oci-layout:PATH[:TAG|@DIGEST]`.
    /// - Throws: `SigstoreError` with `malformed-reference`.
    public init(parsing text: String) throws(SigstoreError) {
        guard text.utf8.starts(with: "oci-layout:".utf8) else {
            self = .registry(try ImageReference(parsing: text))
            return
        }
        let rest = text.utf8.dropFirst("oci-layout:".utf8.count)
        let name = rest.lastIndex(of: 0x2f).map { rest.index(after: $0) } ?? rest.startIndex
        var path = rest
        var selector: ManifestSelector?
        if let at = rest[name...].firstIndex(of: 0x40) {
            selector = .digest(try ImageReference.digest(String(Substring(rest[rest.index(after: at)...]))))
            path = rest[..<at]
        } else if let colon = rest[name...].lastIndex(of: 0x3a) {
            selector = try ManifestSelector(tag: String(Substring(rest[rest.index(after: colon)...])))
            path = rest[..<colon]
        }
        guard !path.isEmpty, !path.contains(0) else {
            throw SigstoreError(
                .malformedReference, "\"\(text.prefix(256))\" names no folder",
                advice: "write it as oci-layout:PATH, oci-layout:PATH:TAG or oci-layout:PATH@DIGEST")
        }
        self = .layout(path: String(Substring(path)), selector)
    }

    public var description: String {
        switch self {
        case .registry(let reference): return reference.description
        case .layout(let path, .tag(let tag)?): return "oci-layout:\(path):\(tag)"
        case .layout(let path, .digest(let digest)?): return "oci-layout:\(path)@\(digest)"
        case .layout(let path, nil): return "oci-layout:\(path)"
        }
    }
}

extension SigstoreError.Code {
    /// The name of an image, repository, registry, tag or digest breaks a rule.
    public static let malformedReference = Self("malformed-reference")
}
