public import Provenance
public import SigstoreVerification
public import StrictJSON

/// Says of commits and tags whether they are signed by a signer who was asked for.
public struct GitJudge: Sendable {
    /// Verifies signatures of certificates and keys, and who must have made them; `nil` if none was asked for.
    private let sigstore: (verifier: Verifier, signers: DemandedSigners)?
    /// Who may sign with SSH keys; `nil` if none may.
    private let allowedSigners: AllowedSigners?
    private let offline: Bool

    /// - Parameters:
    ///   - sigstore: Verifies signatures of certificates and keys; `nil` if none of these is asked for.
    ///   - allowedSigners: Who may sign with SSH keys.
    ///   - offline: Whether the person has said that no service is to be asked.
    public init(
        sigstore: (verifier: Verifier, signers: DemandedSigners)?, allowedSigners: AllowedSigners?, offline: Bool
    ) {
        (self.sigstore, self.allowedSigners, self.offline) = (sigstore, allowedSigners, offline)
    }

    /// What came of one object.
    public struct Row: Sendable {
        /// How it was signed.
        public enum Kind: String, Sendable {
            case certificate, key, ssh, gpg, unsigned
            /// It could not be read.
            case unknown
        }

        /// What is to be thought of it.
        public enum Verdict: String, Sendable {
            /// A signer who was asked for has signed it.
            case accepted
            /// It is not signed.
            case unsigned
            /// Its signature does not hold, or is by another signer.
            case refused
            /// What would be needed to say so was not looked at, or is not there.
            case couldNotLook = "could-not-look"
        }

        /// The object's name.
        public let id: String
        /// The commit or tag; `nil` if it cannot be read.
        public internal(set) var object: GitObject?
        /// How it was signed.
        public internal(set) var kind = Kind.unknown
        /// Who signed, if that is known: an identity, a key's name, the names that an SSH key may use.
        public internal(set) var signer: String?
        /// The issuer of the identity.
        public internal(set) var issuer: String?
        /// What is to be thought of it.
        public internal(set) var verdict = Verdict.refused
        /// The first thing that is wrong; `nil` if nothing is.
        public internal(set) var failure: SigstoreError?

        init(_ id: String) { self.id = id }
    }

    /// Judges what a repository has under a name.
    /// - Parameters:
    ///   - entry: The object.
    ///   - tags: The names of tags by which the person named it: a signed tag of another name was put in its place.
    public func judge(_ entry: GitRepository.Entry, namedBy tags: [String] = []) -> Row {
        var row = Row(entry.id)
        do throws(SigstoreError) {
            guard !entry.type.isEmpty else {
                row.verdict = .couldNotLook
                throw SigstoreError(
                    .noGitObject, "it is not in this repository", advice: "fetch the whole history, and try again")
            }
            guard let kind = GitObject.Kind(rawValue: entry.type) else {
                throw SigstoreError(.malformedGitObject, "it is a \(entry.type), not a commit or a tag")
            }
            guard let content = entry.content else {
                throw SigstoreError(.gitObjectTooLarge, "the \(kind.rawValue) has \(entry.size) bytes")
            }
            let object = try GitObject(content, kind)
            row.object = object
            guard object.id.utf8.elementsEqual(entry.id.utf8) else {
                throw SigstoreError(
                    .malformedGitObject,
                    "the \(kind.rawValue) has another name than it should: expected \(entry.id), found \(object.id)")
            }
            try judge(object, &row)
            for tag in tags {
                guard let name = object.tagName, !name.utf8.elementsEqual(tag.utf8) else { continue }
                throw SigstoreError(
                    .wrongTagName,
                    "the signed tag is another one: expected \(tag), it says of itself that it is \(name)")
            }
            row.verdict = .accepted
        } catch { row.failure = error }
        return row
    }

    private func judge(_ object: GitObject, _ row: inout Row) throws(SigstoreError) {
        switch object.signature {
        case nil:
            (row.kind, row.verdict) = (.unsigned, .unsigned)
            throw SigstoreError(.unsignedGitObject, "the \(object.kind.rawValue) is not signed")
        case .openPGP?:
            (row.kind, row.verdict) = (.gpg, .couldNotLook)
            throw SigstoreError(.gpgNotLookedAt, "the signature is GPG's, which is not looked at")
        case .ssh(let armored)?:
            row.kind = .ssh
            let signature = try SSHSignature(armored: armored)
            try signature.verify(object.payload, namespace: "git")
            row.signer = try signature.fingerprint()
            guard let allowedSigners else {
                throw SigstoreError(
                    .noSignerDemanded, "an SSH key signed it, and nothing says which SSH keys may",
                    advice: .remedy(.giveAllowedSigners))
            }
            row.signer = try allowedSigners.names(for: signature, at: object.maker?.seconds)
        case .x509(let pem)?:
            row.kind = .certificate
            let signature = try GitSignature(pem: pem, payload: object.payload)
            if case .publicKey = signature.bundle.keyMaterial { row.kind = .key }
            guard let sigstore else {
                throw SigstoreError(
                    .noSignerDemanded, "a certificate's identity or a key signed it, and nothing says which may",
                    advice: .remedy(.giveIdentityOrKey))
            }
            do throws(RejectedBundle) {
                let held = try sigstore.verifier.verify([signature.bundle], signature.claim, sigstore.signers)
                if let signer = held.first?.signer {
                    switch signer {
                    case .certificate(let identity, let issuer): (row.signer, row.issuer) = (identity, issuer)
                    case .key(let fingerprint): row.signer = fingerprint
                    }
                }
            } catch {
                // Online, gitsign logs the finished commit, and nothing of that is in the commit.
                guard signature.keyIdentifier == nil, signature.bundle.logEntries.isEmpty,
                    [.noLogEntry, .noTime].contains(error.error.code)
                else { throw error.explained }
                if !offline { row.verdict = .couldNotLook }
                throw SigstoreError(
                    .noLogEntry,
                    "the log entry is not in the \(object.kind.rawValue): gitsign's online mode keeps it in the log alone, "
                        + "where it is not looked up", advice: "have it signed in gitsign's offline mode")
            }
        }
    }
}

extension SigstoreError.Code {
    /// A commit or tag is not signed.
    public static let unsignedGitObject = Self("unsigned-git-object")
    /// A commit or tag that is named is not in the repository.
    public static let noGitObject = Self("no-git-object")
    /// A reference to a tag leads to a signed tag of another name.
    public static let wrongTagName = Self("wrong-tag-name")
    /// A commit or tag is signed with GPG.
    public static let gpgNotLookedAt = Self("gpg-not-looked-at")
    /// A commit or tag is signed in a way for which nothing says who may sign.
    public static let noSignerDemanded = Self("no-signer-demanded")
}

extension SigstoreError.Remedy {
    /// Nothing says which SSH keys may sign.
    public static let giveAllowedSigners = Self("say-which-ssh-keys-may-sign")
    /// Nothing says which identities and keys may sign.
    public static let giveIdentityOrKey = Self("say-which-identities-or-keys-may-sign")
}
