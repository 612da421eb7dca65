internal import LocalSystem
public import OCIRegistry
public import SigstoreCrypto
public import StrictJSON

/// Where an audit looks.
public enum AuditPlace: Sendable {
    /// A repository of a registry.
    case repository(Repository)
    /// An OCI image layout, by its path.
    case layout(String)
    /// A folder of files with their signatures beside them.
    case folder(String)

    /// Reads a place as a person names it.
    /// - Parameter text: `oci-layout:PATH`, the path of a folder, or the name of a repository.
    /// - Throws: `SigstoreError` with `malformed-reference`, also for an image: a repository is audited whole.
    public init(parsing text: String) throws(SigstoreError) {
        let prefix = "oci-layout:"
        if text.utf8.starts(with: prefix.utf8) {
            self = .layout(String(Substring(text.utf8.dropFirst(prefix.utf8.count))))
            return
        }
        switch FileStatus(text)?.kind {
        case .folder:
            self = LocalFile.exists("\(text)/oci-layout") ? .layout(text) : .folder(text)
        case .file:
            throw SigstoreError(
                .malformedReference, "\(text) is a file: expected a repository, an image layout or a folder",
                advice: "name the folder that it is in")
        default:
            let name = text.utf8.starts(with: "oci://".utf8) ? String(Substring(text.utf8.dropFirst(6))) : text
            do throws(SigstoreError) { self = .repository(try Repository(parsing: name)) } catch {
                let isPath = ["/", "./", "../", "~"].contains { text.utf8.starts(with: $0.utf8) }
                guard !isPath else { throw SigstoreError(.fileNotFound, "there is no folder \(text)") }
                guard let image = try? ImageReference(parsing: name) else { throw error }
                throw SigstoreError(
                    .malformedReference, "\(text) names an image: expected a repository, which is audited whole",
                    advice: .sentence("name the repository \(image.repository.name)"))
            }
        }
    }

    /// The place as rows name it.
    public var name: String {
        switch self {
        case .repository(let repository): repository.name
        case .layout(let path): "oci-layout:\(path)"
        case .folder(let path): path
        }
    }
}

/// A part of all digests, for one of several machines. Which digests it has follows from the digests alone, so that the machines
/// need to agree on nothing else.
public struct AuditShard: Sendable, CustomStringConvertible {
    /// Which part, from 1.
    public let number: Int
    /// How many parts there are.
    public let count: Int

    /// Reads `3/16`.
    /// - Throws: `SigstoreError` with `malformed-shard`.
    public init(parsing text: String) throws(SigstoreError) {
        let parts = text.utf8.split(separator: 0x2f, omittingEmptySubsequences: false)
        let numbers = parts.compactMap { part in
            part.allSatisfy { (0x30...0x39).contains($0) } ? Int(Substring(part)) : nil
        }
        guard parts.count == 2, numbers.count == 2, (1...10_000).contains(numbers[1]),
            (1...numbers[1]).contains(numbers[0])
        else {
            throw SigstoreError(
                .malformedShard, "\"\(text)\" is no part: expected NUMBER/COUNT, such as 3/16, of at most 10,000 parts")
        }
        (number, count) = (numbers[0], numbers[1])
    }

    /// Whether a digest is of this part.
    public func contains(_ digest: Digest) -> Bool {
        let start = digest.bytes.prefix(8).reduce(UInt64(0)) { $0 << 8 | UInt64($1) }
        return start % UInt64(count) == UInt64(number - 1)
    }

    public var description: String { "\(number)/\(count)" }
}

extension SigstoreError.Code {
    /// What should name a part of all digests does not.
    public static let malformedShard = Self("malformed-shard")
    /// A state file that cannot be gone on with: it is damaged, of another version, or of another question.
    public static let unusableState = Self("unusable-state")
}
