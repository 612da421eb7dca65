internal import InToto
internal import SigstoreCrypto
public import SigstoreVerification
public import StrictJSON

/// What must hold of a package of conda: its publish attestation (CEP 27), one of those that stand beside it (CEP 50).
public struct CondaPolicy: Sendable {
    /// Who must have published.
    public enum Publisher: Sendable {
        /// A workflow of GitHub for which the policy holds; the type that it demands is not looked at.
        case workflow(GitHubPolicy)
        /// This identity, by this issuer.
        case identity(CertificateIdentity)
    }

    static let publishType = PredicateType(uri: "https://schemas.conda.org/attestations-publish-1.schema.json")

    private let publisher: Publisher
    /// The channel that it must have been published for; `nil` if any will do.
    private let channel: String?

    /// Makes a policy.
    /// - Parameters:
    ///   - publisher: Who must have published.
    ///   - channel: The address of the channel that it must have been published for, such as `https://prefix.dev/conda-forge`; a
    ///     slash at its end does not count. `nil` if any will do.
    /// - Throws: `SigstoreError` with `wrong-channel` if that is no address.
    public init(_ publisher: Publisher, channel: String? = nil) throws(SigstoreError) {
        var address = channel.map { Array($0.utf8) }
        if address?.last == 0x2f { address?.removeLast() }
        if let address, !address.starts(with: "https://".utf8) && !address.starts(with: "http://".utf8) {
            throw SigstoreError(
                .wrongChannel, "\"\(channel ?? "")\" is no address of a channel",
                advice: "write it as https://conda.anaconda.org/NAME")
        }
        (self.publisher, self.channel) = (publisher, address.map { String(decoding: $0, as: UTF8.self) })
    }

    /// Verifies a package: attestations that do not hold, or are of another type, are passed over, and one must hold.
    /// - Parameters:
    ///   - file: The package.
    ///   - name: Its file's name, without its folder.
    ///   - document: Its attestations.
    ///   - verifier: The verifier.
    ///   - workers: How attestations are verified.
    ///   - known: What is known of this document's attestations already, if several files are about it.
    /// - Returns: What is known, with every publish attestation that holds.
    /// - Throws: `SigstoreError` of the attestation that came furthest, with why each of the others does not hold.
    public func verify(
        _ file: any ArtifactSource, name: String, _ document: AttestationDocument, with verifier: Verifier,
        by workers: Workers = .one, knowing known: KnownAttestations? = nil
    ) throws(SigstoreError) -> VerifiedProvenance {
        let package = try CondaPackage(name)
        let identity: CertificateIdentity
        switch publisher {
        case .workflow(let policy): identity = try policy.identity()
        case .identity(let given): identity = given
        }
        let held = try document.held(
            about: file, namedBy: .sha256, as: Self.publishType,
            VerificationPolicy(signedBy: .identities([identity])), with: verifier, by: workers, knowing: known
        ) { verified throws(SigstoreError) in
            if case .workflow(let policy) = publisher { try policy.check(verified) }
            guard let statement = verified.statement else {
                throw SigstoreError(.malformedProvenance, "it is a signature over a file, and conda has attestations")
            }
            try check(statement, package)
        }
        var channel: String?
        if let statement = held.first?.statement { channel = try Self.channel(statement) }
        return VerifiedProvenance(
            .conda, held, [(.package, package.name), (.version, package.version), (.channel, channel)])
    }

    /// The statement is about this one file, by its name, and for the channel that was asked for.
    private func check(_ statement: Statement, _ package: CondaPackage) throws(SigstoreError) {
        guard statement.subjects.count == 1, let subject = statement.subjects.first, let name = subject.name,
            subject.digests.count == 1
        else {
            throw SigstoreError(
                .malformedProvenance,
                "the attestation is about \(statement.subjects.count) files, expected one, with a name and its SHA-256 alone"
            )
        }
        try package.expectSame(name)
        let found = try Self.channel(statement)
        guard let channel else { return }
        guard let found, found.utf8.elementsEqual(channel.utf8) else {
            throw SigstoreError(
                .wrongChannel, "expected the channel \(channel), the attestation names \(found ?? "none")",
                advice: "do not use the file, unless it is from another channel than you think")
        }
    }

    /// The channel that a publish attestation names; `nil` if it names none.
    private static func channel(_ statement: Statement) throws(SigstoreError) -> String? {
        if case .null = statement.predicate { return nil }
        do throws(SigstoreError) { return try JSONCursor(statement.predicate).member("targetChannel").string() } catch {
            throw SigstoreError(
                .malformedProvenance, "the attestation does not name its channel: \(error.message)", cause: error)
        }
    }
}

/// A package by the name of its file: name, version and build, with a dash between them (CEP 26).
private struct CondaPackage: Sendable {
    private let file: String
    let name, version: String

    /// Reads a file's name.
    /// - Throws: `SigstoreError` with `wrong-package` if it is none of a package.
    init(_ file: String) throws(SigstoreError) {
        let stem = [".conda", ".tar.bz2"].first { file.utf8.suffix($0.utf8.count).elementsEqual($0.utf8) }
            .map { file.utf8.dropLast($0.utf8.count) }
        let parts = stem?.split(separator: 0x2d, omittingEmptySubsequences: false) ?? []
        guard parts.count >= 3, parts.allSatisfy({ !$0.isEmpty }) else {
            throw SigstoreError(
                .wrongPackage,
                "\"\(file)\" is no name of a package of conda: expected NAME-VERSION-BUILD.conda or .tar.bz2",
                advice: "give the file by the name that it has in its channel")
        }
        self.file = file
        name = parts.dropLast(2).map { String(Substring($0)) }.joined(separator: "-")
        version = String(Substring(parts[parts.count - 2]))
    }

    /// Compares the name with that of an attestation's subject, byte for byte.
    func expectSame(_ found: String) throws(SigstoreError) {
        guard !found.utf8.elementsEqual(file.utf8) else { return }
        let other = try? CondaPackage(found)
        let isOfPackage = other?.name.utf8.elementsEqual(name.utf8) == true
        let isOfVersion = other?.version.utf8.elementsEqual(version.utf8) == true
        throw SigstoreError(
            isOfPackage && !isOfVersion ? .wrongVersion : .wrongPackage,
            "the attestation is about another file: expected \(file), found \(found)",
            advice: "get the attestation that belongs to the file")
    }
}

extension SigstoreError.Code {
    /// The package was published for another channel than was asked for.
    public static let wrongChannel = Self("wrong-channel")
}
