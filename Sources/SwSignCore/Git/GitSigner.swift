public import Provenance
public import SigstoreCrypto
public import SigstoreVerification
public import StrictJSON

/// Signs commits and tags of git in the form that gitsign writes and reads, with the log entry and the timestamp in it, so that
/// verifying needs no network.
public struct GitSigner: Sendable {
    /// A signed commit or tag.
    public struct Signed: Sendable {
        /// The signature as git keeps it: a PEM block.
        public let pem: String
        /// The same as a bundle over the signed attributes, which our own verifier has accepted.
        public let bundle: SigstoreBundle
        /// The commit or tag.
        public let object: GitObject
        /// The signer's certificate; `nil` if a key signed that has none.
        public let certificate: Certificate?
        /// The signer's key.
        public let publicKey: PublicKey
        /// How it was signed.
        public let scheme: SignatureScheme
        /// When, as the signature says.
        public let time: Int64
    }

    /// Who signs, and who is told of it.
    public let session: SigningSession
    private let matchesCommitter: Bool
    private let scheme: SignatureScheme

    /// Makes a signer. No person and no service is asked yet.
    /// - Parameters:
    ///   - session: Who signs, and who is told of it. It need not keep unfinished signatures: each is over another time.
    ///   - matchesCommitter: Whether the certificate must be for the committer of a commit or the tagger of a tag: for the mail
    ///     address, or if it is for a URI, for the name.
    /// - Throws: `SigstoreError` with `unsupported-key` if this form has no place for such signatures, with `log-entry-refused`
    ///   if a log does not record them, or with `usage` if there are several logs or timestamp authorities.
    public init(_ session: SigningSession, matchesCommitter: Bool = false) throws(SigstoreError) {
        let (logs, authorities) = (session.services.transparencyLogs, session.services.timestampAuthorities)
        guard logs.count <= 1, authorities.count <= 1 else {
            throw SigstoreError(
                .usage,
                "git's signature has a place for one log entry and one timestamp, and \(logs.count) logs and "
                    + "\(authorities.count) timestamp authorities would be asked; nothing was signed",
                advice: "name services of which one log and one timestamp authority is to be asked")
        }
        scheme = try session.schemes.scheme(for: .file)
        guard SignedDataDraft.allows(scheme) else {
            throw SigstoreError(
                .unsupportedKey, "the form of git's signatures has no place for one by \(scheme); nothing was signed",
                advice: "use an ECDSA key, or an RSA key that signs with PKCS#1 v1.5")
        }
        self.session = session
        self.matchesCommitter = matchesCommitter
    }

    /// Signs a commit or a tag.
    /// - Parameter payload: The object without a signature, byte for byte as git hands it to the program that signs.
    /// - Returns: The signature, which was read back and holds.
    /// - Throws: `SigstoreError` with `malformed-git-object` and its like if that is no commit and no tag, or is signed
    ///   already; with `wrong-committer`; and what ``SigningSession`` throws when it signs.
    public func sign(_ payload: [UInt8]) async throws(SigstoreError) -> Signed {
        let object = try Self.object(payload)
        if matchesCommitter { try Self.expectCommitter(of: object, in: try await session.signerCertificate()) }
        let time = session.clock()
        guard let hash = scheme.hash else {
            throw SigstoreError(.unsupportedKey, "the form of git's signatures has no place for one by \(scheme)")
        }
        let draft = try SignedDataDraft(content: payload, hash: hash, time: time)
        let bundle = try await session.sign(ArtifactBytes(draft.signedAttributes), scheme: scheme)
        var certificate: Certificate?
        if case .certificates(let chain) = bundle.keyMaterial, let leaf = chain.first {
            certificate = try Certificate(der: leaf)
        }
        guard let publicKey = certificate?.publicKey ?? session.key?.publicKey else {
            throw SigstoreError(.malformedGitSignature, "the signature names neither a certificate nor a key")
        }
        let pem = try GitSignature.pem(
            of: bundle, draft, scheme, by: certificate.map { .certificate($0) } ?? .key(publicKey))
        try Self.expect(pem, of: bundle, draft, over: payload)
        return Signed(
            pem: pem, bundle: bundle, object: object, certificate: certificate, publicKey: publicKey, scheme: scheme,
            time: time)
    }

    /// Records the finished commit or tag too, as gitsign does in its online mode, which looks for that entry alone: the signer
    /// signs the object's name. Nothing of it is kept in the object.
    /// - Parameter signed: What ``sign(_:)`` gave.
    /// - Throws: As ``SigningSession`` does.
    public func recordFinished(_ signed: Signed) async throws(SigstoreError) {
        let object = signed.object
        let pem = Array(signed.pem.utf8)
        var content = object.payload
        switch object.kind {
        case .tag: content += pem
        case .commit:
            guard
                let end = zip(content, content.dropFirst()).enumerated()
                    .first(where: { $0.element == (0x0a, 0x0a) })?.offset
            else { throw SigstoreError(.malformedGitObject, "the commit has no message") }
            // As git puts it in: behind the other headers, each further line behind a space.
            let lines = pem.split(separator: 0x0a).joined(separator: [0x0a, 0x20])
            content.insert(
                contentsOf: Array((object.isSHA256 ? "gpgsig-sha256 " : "gpgsig ").utf8) + lines + [0x0a], at: end + 1)
        }
        let finished = try GitObject(content, object.kind)
        guard finished.payload == object.payload else {
            throw SigstoreError(
                .malformedGitObject, "the \(object.kind.rawValue) cannot be put together with its signature")
        }
        _ = try await session.sign(ArtifactBytes(Array(finished.id.utf8)), scheme: scheme)
    }

    /// Reads what is to be signed. That nothing but a commit or a tag is signed keeps what is signed here from being taken for
    /// something else.
    /// - Parameter payload: The object without a signature.
    /// - Throws: `SigstoreError` as `GitObject` does, also if there is a signature in it.
    public static func object(_ payload: [UInt8]) throws(SigstoreError) -> GitObject {
        let object = try GitObject(payload, payload.starts(with: "object ".utf8) ? .tag : .commit)
        guard object.signature == nil, object.payload == payload else {
            throw SigstoreError(
                .severalGitSignatures, "the \(object.kind.rawValue) that is to be signed has a signature already")
        }
        return object
    }

    /// Refuses to sign for a committer who is not the certificate's.
    /// - Throws: `SigstoreError` with `wrong-committer`.
    public static func expectCommitter(of object: GitObject, in certificate: Certificate?) throws(SigstoreError) {
        let names = certificate?.subjectAlternativeNames ?? []
        let maker = object.maker
        let isTheirs = names.contains { name in
            switch name {
            case .email(let email): maker?.email.utf8.elementsEqual(email.utf8) == true
            case .uri(let uri): maker?.name.utf8.elementsEqual(uri.utf8) == true
            case .dns, .otherName, .other: false
            }
        }
        guard isTheirs else {
            let found = names.compactMap(\.text).joined(separator: ", ")
            throw SigstoreError(
                .wrongCommitter,
                "the \(object.kind.rawValue) is by \(maker.map { "\($0.name) <\($0.email)>" } ?? "nobody"), and the signer is "
                    + "\(found.isEmpty ? "a key without a name" : found); nothing was signed",
                advice: .remedy(.commitAsSigner))
        }
    }

    /// Reads what was written, which must be all that was verified.
    private static func expect(
        _ pem: String, of bundle: SigstoreBundle, _ draft: SignedDataDraft, over payload: [UInt8]
    ) throws(SigstoreError) {
        let read = try GitSignature(pem: Array(pem.utf8), payload: payload)
        var timestamps: [[UInt8]] = []
        for timestamp in bundle.timestamps { timestamps.append(try TimestampToken(response: timestamp).der) }
        guard case .message(let attributes as ArtifactBytes) = read.claim,
            attributes.bytes == draft.signedAttributes,
            try read.bundle.signature() == (try bundle.signature()), read.bundle.timestamps == timestamps,
            read.bundle.logEntries.map({ $0.json.serialized() }) == bundle.logEntries.map({ $0.json.serialized() }),
            read.bundle.leaf == bundle.leaf
        else {
            throw SigstoreError(
                .malformedGitSignature,
                "the signature that was just made does not read back as it was; it was not given out"
            )
        }
    }
}

extension SigstoreBundle {
    /// The signer's certificate in DER, if there is one.
    fileprivate var leaf: [UInt8]? {
        if case .certificates(let chain) = keyMaterial { chain.first } else { nil }
    }
}

extension SigstoreError.Code {
    /// A commit or tag is not by the identity that would sign it.
    public static let wrongCommitter = Self("wrong-committer")
}

extension SigstoreError.Remedy {
    /// The committer is to be the signer.
    public static let commitAsSigner = Self("commit-as-the-signer")
}
