internal import LocalSystem
public import Provenance
internal import SigstoreVerification
public import StrictJSON

/// Files of published attestations, beside the files that they are about or in a folder of their own.
public enum AttestationFiles {
    /// What such a file's name ends with behind the name of the file that it is about: of PyPI's, all that are there count.
    private static let endings = (
        pypi: [".provenance", ".publish.attestation", ".slsa.attestation", ".attestation"],
        others: [
            ".sigstore.json", ".sigstore", ".sigstore.jsonl", ".attestations.json", ".intoto.jsonl", ".sigs",
            ".v0.sigs", ".jsonl",
        ]
    )

    /// Tells the files of a directory apart: what has the name of another file that is there and an ending of attestations, and is
    /// read for that file or holds attestations, belongs to it; everything else must be proven.
    /// - Parameters:
    ///   - files: The files of the directory.
    ///   - areElsewhere: Whether the attestations are in another place, so that none of these files is read for another.
    public static func artifacts(among files: [InputFile], areElsewhere: Bool = false) -> [InputFile] {
        let paths = Set(files.map { Array($0.path.utf8) })
        /// The endings of what ``document(for:at:)`` reads for a file.
        func read(_ stem: [UInt8]) -> ArraySlice<String> {
            func there(_ endings: [String]) -> [String] { endings.filter { paths.contains(stem + $0.utf8) } }
            let pypi = there(endings.pypi)
            return pypi.isEmpty ? there(endings.others).prefix(1) : pypi[...]
        }
        return files.filter { file in
            let path = Array(file.path.utf8)
            let named = (endings.pypi + endings.others).filter { ending in
                path.suffix(ending.utf8.count).elementsEqual(ending.utf8)
                    && paths.contains(Array(path.dropLast(ending.utf8.count)))
            }
            guard !named.isEmpty else { return true }
            if !areElsewhere, named.contains(where: { read(path.dropLast($0.utf8.count)).contains($0) }) {
                return false
            }
            // What only has such a name could be anything.
            return (try? file.expectFile()) == nil || (try? document(file)) == nil
        }
    }

    /// The attestations about a file.
    /// - Parameters:
    ///   - artifact: The file.
    ///   - place: The file with its attestations, or a folder with a file for each; without one, they stand beside the file.
    ///   - workers: How lines are read.
    /// - Returns: All that are there, of which nothing is believed yet.
    /// - Throws: `SigstoreError` that names the file which cannot be read, or with `file-not-found` those that were looked for.
    public static func document(for artifact: InputFile, at place: InputFile? = nil, by workers: Workers = .one)
        throws(SigstoreError) -> AttestationDocument
    {
        if let place, !isFolder(place) { return try document(place, workers) }
        let stem: String
        if let place {
            stem = place.path.hasSuffix("/") ? place.path + artifact.baseName : "\(place.path)/\(artifact.baseName)"
        } else {
            stem = artifact.path
        }
        guard !artifact.isStandardInput else {
            throw SigstoreError(
                .usage, "there are no attestations beside standard input", advice: .remedy(.giveAttestations))
        }
        var paths = endings.pypi.map { stem + $0 }.filter(LocalFile.exists)
        if paths.isEmpty, let ending = endings.others.first(where: { LocalFile.exists(stem + $0) }) {
            paths = [stem + ending]
        }
        guard !paths.isEmpty else {
            try LocalFile.expectThere(artifact.path)
            throw SigstoreError(
                .fileNotFound,
                "there are no attestations of \(artifact.path): none of "
                    + (endings.pypi + endings.others).map { stem + $0 }.joined(separator: ", ") + " is there",
                advice: .remedy(.giveAttestations))
        }
        var documents: [(name: String, document: AttestationDocument)] = []
        for path in paths {
            var file = InputFile(path)
            // What came with the file could be a pipe that nobody writes to.
            file.isFound = true
            try file.expectFile()
            documents.append((file.name, try document(file, workers)))
        }
        if let only = documents.first, documents.count == 1 { return only.document }
        return try AttestationDocument(joining: documents)
    }

    /// Whether attestations are in a folder, with a file for each artifact.
    public static func isFolder(_ place: InputFile) -> Bool {
        !place.isStandardInput && FileStatus(place.path)?.kind == .folder
    }

    private static func document(_ file: InputFile, _ workers: Workers = .one) throws(SigstoreError)
        -> AttestationDocument
    {
        let content = try file.contents(limit: SigstoreBundle.sizeLimit)
        do throws(SigstoreError) { return try AttestationDocument(parsing: content, by: workers) } catch {
            throw error.concerning(file.name)
        }
    }
}

extension SigstoreError.Remedy {
    /// No attestations were given for the file.
    public static let giveAttestations = Self("give-the-attestations")
}
