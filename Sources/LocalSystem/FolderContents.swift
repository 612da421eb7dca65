#if canImport(Glibc)
    internal import Glibc
#elseif canImport(Musl)
    internal import Musl
#elseif canImport(Darwin)
    internal import Darwin
#endif
package import StrictJSON

/// Something in an open folder or below it.
package struct FolderEntry: Sendable {
    /// Its path from the folder, in UTF-8, with `/` between the names.
    package let path: String
    /// What it is. A link is a link, whatever it leads to.
    package let kind: FileStatus.Kind
    /// Its size in bytes.
    package let size: Int64
    /// Which one it is, by all of its names.
    package let identity: FileStatus.Identity
}

extension OpenFolder {
    /// The longest path below a folder that is looked at, in bytes, and how many links one path may go through.
    private static let pathLimit = 4096
    private static let linkLimit = 40

    /// What is in this folder and below it, in no order. Folders are entered, links never.
    /// - Parameters:
    ///   - limit: How many things there may be, folders included.
    ///   - isWanted: Takes a path from here. What is not wanted is not looked at, and nothing below it is.
    /// - Returns: Everything but folders.
    /// - Throws: `SigstoreError` with `file-unreadable`, also for a name that is not UTF-8, and with `file-too-large` if there
    ///   is more.
    package func entriesBelow(limit: Int, _ isWanted: (String) -> Bool) throws(SigstoreError) -> [FolderEntry] {
        var entries: [FolderEntry] = []
        var folders = [""]
        var count = 0
        while let path = folders.popLast() {
            let folder = path.isEmpty ? self : try self.folder(below: path)
            try LocalFile.forEachName(".", in: folder) { (bytes) throws(SigstoreError) in
                guard let name = String(validating: bytes, as: UTF8.self) else {
                    let inside = path.isEmpty ? "" : "\(path)/"
                    throw .notUTF8("the name of the file \(inside)\(String(decoding: bytes, as: UTF8.self))")
                }
                let inside = path.isEmpty ? name : "\(path)/\(name)"
                guard isWanted(inside) else { return }
                count += 1
                guard count <= limit, inside.utf8.count <= Self.pathLimit else {
                    throw SigstoreError(
                        .fileTooLarge,
                        count > limit
                            ? "there are more than \(limit) files and folders in it"
                            : "the path of a file in it is longer than \(Self.pathLimit) bytes")
                }
                guard let status = FileStatus(name, in: folder) else {
                    throw SigstoreError(.fileUnreadable, "\(inside) cannot be looked at", advice: "try again")
                }
                if status.kind == .folder {
                    folders.append(inside)
                } else {
                    entries.append(
                        FolderEntry(path: inside, kind: status.kind, size: status.size, identity: status.identity))
                }
            }
        }
        return entries
    }

    /// Opens a file below this folder. Nothing leads out of the folder: no link on the way is followed, unless links are,
    /// and then only those that lead to something in this folder by a relative path.
    /// - Parameters:
    ///   - path: The file's path from here.
    ///   - followingLinks: Whether links inside this folder are followed.
    /// - Returns: `nil` if there is no such file.
    /// - Throws: `SigstoreError` with `link-leads-out` for a link that leads elsewhere or to a folder, or is not to be followed; with
    ///   `file-unreadable`, also if it is no regular file.
    package func file(below path: String, followingLinks: Bool) throws(SigstoreError) -> OpenFile? {
        func leadsOut(_ to: String) -> SigstoreError {
            SigstoreError(.linkLeadsOut, "the link \(path) leads out of the folder, to \(to)")
        }
        let isFolder = SigstoreError(.linkLeadsOut, "\(path) leads to a folder, expected a file")
        var folders: [OpenFolder] = [self]
        var names = Self.names(path)
        var links = 0
        while !names.isEmpty {
            let name = names.removeFirst()
            if name.utf8.elementsEqual(".".utf8) { continue }
            if name.utf8.elementsEqual("..".utf8) {
                guard folders.count > 1 else { throw leadsOut("what is above it") }
                folders.removeLast()
                continue
            }
            guard let folder = folders.last else { return nil }
            guard let status = FileStatus(name, in: folder) else { return nil }
            switch status.kind {
            case .link:
                guard followingLinks else {
                    throw SigstoreError(.linkLeadsOut, "\(path) is reached by a symbolic link, which is not followed")
                }
                links += 1
                let target = try folder.target(ofLink: name)
                guard target.utf8.first != 0x2f, !target.isEmpty else { throw leadsOut(target) }
                names = Self.names(target) + names
                guard links <= Self.linkLimit, names.count <= Self.pathLimit else {
                    throw SigstoreError(.linkLeadsOut, "the link \(path) leads through too many others")
                }
            case .folder:
                guard !names.isEmpty else { throw isFolder }
                folders.append(try OpenFolder(name, in: folder, followingLinks: false))
            default:
                guard names.isEmpty else { return nil }
                return try OpenFile(reading: name, in: folder, followingLinks: false, calling: path)
            }
        }
        throw isFolder
    }

    private func folder(below path: String) throws(SigstoreError) -> OpenFolder {
        var folder = self
        for name in Self.names(path) { folder = try OpenFolder(name, in: folder, followingLinks: false) }
        return folder
    }

    private static func names(_ path: String) -> [String] {
        path.utf8.split(separator: 0x2f).map { String(Substring($0)) }
    }

    private func target(ofLink name: String) throws(SigstoreError) -> String {
        var buffer = [UInt8](repeating: 0, count: Self.pathLimit + 1)
        let count = unsafe buffer.withUnsafeMutableBytes { bytes in
            guard let start = unsafe bytes.baseAddress?.assumingMemoryBound(to: CChar.self) else { return -1 }
            return unsafe readlinkat(descriptor, name, start, bytes.count)
        }
        guard count >= 0 else { throw .reading(name, errno) }
        guard count <= Self.pathLimit else {
            throw SigstoreError(.linkLeadsOut, "the link \(name) is longer than \(Self.pathLimit) bytes")
        }
        guard let target = String(validating: buffer.prefix(count), as: UTF8.self) else {
            throw .notUTF8("what the link \(name) leads to")
        }
        return target
    }
}

extension SigstoreError.Code {
    /// A symbolic link that leads out of the folder that is looked at, or that is not to be followed.
    package static let linkLeadsOut = Self("link-leads-out")
}
