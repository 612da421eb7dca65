internal import LocalSystem
public import Provenance
public import SigstoreVerification
public import StrictJSON

/// Says of commits and tags whether they are signed by a signer who was asked for.
public struct GitJudge: Sendable {
    /// Verifies signatures of certificates and keys, and who must have made them; `nil` if none was asked for.
    let sigstore: (verifier: Verifier, signers: DemandedSigners)?
    /// Who may sign with SSH keys; `nil` if none may.
    private let allowedSigners: AllowedSigners?
    /// The fingerprints of GPG keys that may sign, and what checks such signatures.
    private let gpg: (program: GPGProgram, keys: [String])?
    private let offline: Bool
    /// Asks logs for what gitsign's online mode keeps there alone; `nil` if none may be asked.
    private let lookup: LogLookup?
    /// The signers of rules, who may sign at some times only.
    private let named: [GitRules.Signer]
    /// Seconds since 1970 in UTC.
    private let now: Int64
    /// Why nobody may sign this, whatever the signature.
    private let refusal: SigstoreError?

    /// - Parameters:
    ///   - sigstore: Verifies signatures of certificates and keys; `nil` if none of these is asked for.
    ///   - allowedSigners: Who may sign with SSH keys.
    ///   - gpg: What checks GPG's signatures, and the fingerprints of the keys that may sign, in capitals.
    ///   - offline: Whether the person has said that no service is to be asked.
    ///   - lookup: Asks logs for what gitsign's online mode keeps there alone; `nil` if none may be asked.
    ///   - named: The signers of rules who are meant; one who may sign at some times only is held to them.
    ///   - now: Seconds since 1970 in UTC: no signature is from later.
    public init(
        sigstore: (verifier: Verifier, signers: DemandedSigners)?, allowedSigners: AllowedSigners?,
        gpg: (program: GPGProgram, keys: [String])? = nil, offline: Bool, lookup: LogLookup? = nil,
        named: [GitRules.Signer] = [], now: Int64
    ) {
        (self.sigstore, self.allowedSigners, self.offline) = (sigstore, allowedSigners, offline)
        (self.gpg, self.lookup, self.named, self.now, refusal) = (gpg, lookup, named, now, nil)
    }

    /// Refuses everything that is signed.
    init(refusing error: SigstoreError) {
        (sigstore, allowedSigners, offline, gpg, lookup, named, now) = (nil, nil, true, nil, nil, [], 0)
        refusal = error
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
        /// The signature whose log entry is still to be looked up; `nil` if all is said.
        var pending: GitSignature?

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
            row.kind = Row.Kind(object.signature)
            if row.kind == .unsigned {
                row.verdict = .unsigned
                throw SigstoreError(.unsignedGitObject, "the \(object.kind.rawValue) is not signed")
            }
            if let refusal { throw refusal }
            for tag in tags {
                guard let name = object.tagName, !name.utf8.elementsEqual(tag.utf8) else { continue }
                throw SigstoreError(
                    .wrongTagName,
                    "the signed tag is another one: expected \(tag), it says of itself that it is \(name)")
            }
            try judge(object, &row)
            row.verdict = .accepted
        } catch { row.failure = error }
        return row
    }

    private func judge(_ object: GitObject, _ row: inout Row) throws(SigstoreError) {
        switch object.signature {
        case nil: return
        case .openPGP(let armored)?:
            guard let gpg, !gpg.keys.isEmpty else {
                throw SigstoreError(
                    .noSignerDemanded, "a GPG key signed it, and nothing says which GPG keys may",
                    advice: .remedy(.giveGPGKeys))
            }
            let status: GPGStatus
            do throws(SigstoreError) { status = try gpg.program.status(of: armored, over: object.payload) } catch {
                let cannotSay: [SigstoreError.Code] = [.gpgFailed, .gpgKeyMissing, .fileUnwritable]
                if cannotSay.contains(error.code) { row.verdict = .couldNotLook }
                throw error
            }
            row.signer = status.primaryFingerprint
            let names = [status.primaryFingerprint, status.fingerprint]
            guard gpg.keys.contains(where: { key in names.contains { $0.utf8.elementsEqual(key.utf8) } }) else {
                throw SigstoreError(
                    .unknownGPGSigner, "the GPG key \(status.primaryFingerprint) is not among those that may sign")
            }
            try expectTime(
                named.filter { $0.gpgKeys.contains { key in names.contains { $0.utf8.elementsEqual(key.utf8) } } },
                [saidTime(of: object)])
        case .ssh(let armored)?:
            let signature = try SSHSignature(armored: armored)
            try signature.verify(object.payload, namespace: "git")
            row.signer = try signature.fingerprint()
            guard let allowedSigners else {
                throw SigstoreError(
                    .noSignerDemanded, "an SSH key signed it, and nothing says which SSH keys may",
                    advice: .remedy(.giveAllowedSigners))
            }
            row.signer = try allowedSigners.names(for: signature, at: saidTime(of: object))
        case .x509(let pem)?:
            let signature = try GitSignature(pem: pem, payload: object.payload)
            if case .publicKey = signature.bundle.keyMaterial { row.kind = .key }
            guard let sigstore else {
                throw SigstoreError(
                    .noSignerDemanded, "a certificate's identity or a key signed it, and nothing says which may",
                    advice: .remedy(.giveIdentityOrKey))
            }
            let held: [VerifiedBundle]
            do throws(RejectedBundle) {
                held = try sigstore.verifier.verify([signature.bundle], signature.claim, sigstore.signers)
            } catch {
                // Online, gitsign logs the finished commit, and nothing of that is in the commit.
                guard signature.isWithoutEntry, [.noLogEntry, .noTime].contains(error.error.code)
                else { throw signature.explained(error.explained, keys: sigstore.signers.keys) }
                if !offline {
                    row.verdict = .couldNotLook
                    row.pending = signature
                }
                throw SigstoreError(
                    .noLogEntry,
                    "the log entry is not in the \(object.kind.rawValue): gitsign's online mode keeps it in the log alone, "
                        + "where it is not looked up", advice: "have it signed in gitsign's offline mode")
            }
            try accept(held, &row)
        }
    }

    /// When it was made, as it says of itself; `nil` if it says none, or one that is still to come.
    private func saidTime(of object: GitObject) -> Int64? {
        object.maker.flatMap(\.seconds).flatMap { VerifiedBundle.isToCome($0, now: now) ? nil : $0 }
    }

    /// Takes down who signed, if it was at a time at which that signer may.
    private func accept(_ held: [VerifiedBundle], _ row: inout Row) throws(SigstoreError) {
        for one in held {
            try one.expectPast(now)
            let signers: [GitRules.Signer]
            switch one.signer {
            case .certificate(let identity, let issuer):
                (row.signer, row.issuer) = (row.signer ?? identity, row.issuer ?? issuer)
                signers = named.filter { signer in
                    signer.identities.contains { $0.subject.holds(for: identity) && $0.issuer.holds(for: issuer) }
                }
            case .key(let fingerprint):
                row.signer = row.signer ?? fingerprint
                signers = named.filter { signer in
                    signer.keys.contains { (try? $0.hint())?.utf8.elementsEqual(fingerprint.utf8) == true }
                }
            }
            try expectTime(signers, one.times.map(\.seconds))
        }
    }

    /// Refuses what no one of these signers may have signed at that time.
    /// - Parameters:
    ///   - signers: The signers of rules by whom it is.
    ///   - times: The times; one that is not known is at no time at which a signer may sign.
    private func expectTime(_ signers: [GitRules.Signer], _ times: [Int64?]) throws(SigstoreError) {
        guard !named.isEmpty else { return }
        for signer in signers {
            guard signer.since != nil || signer.until != nil else { return }
            let holds =
                !times.isEmpty
                && times.allSatisfy { time in
                    guard let time else { return false }
                    return time >= signer.since ?? time && time <= signer.until ?? time
                }
            if holds { return }
        }
        throw SigstoreError(
            .gitSignerNotThen,
            "the rules know the signer\(signers.first.map { " as \($0.name)" } ?? ""), but not for the time of the signature"
        )
    }

    // MARK: - What a log alone has

    /// Whether the log is still to be asked about a row.
    static func isPending(_ row: Row) -> Bool { row.pending != nil }

    /// Asks the log about a commit or tag that gitsign's online mode signed: there, the log's entry is over the name of the
    /// finished object, by the same certificate.
    func lookUp(_ row: Row) async -> Row {
        guard let signature = row.pending, let object = row.object, let sigstore else { return row }
        var row = row
        row.pending = nil
        guard let lookup else { return row }
        do throws(LogLookup.Failure) {
            let held = try await lookup.verified(
                signature.bundle, signature.claim, named: object.id, by: sigstore.signers)
            (row.verdict, row.failure) = (.accepted, nil)
            do throws(SigstoreError) { try accept([held], &row) } catch {
                (row.verdict, row.failure) = (.refused, error)
            }
        } catch {
            switch error {
            case .refused(let rejected): (row.verdict, row.failure) = (.refused, rejected.explained)
            case .notFound(let failure): (row.verdict, row.failure) = (.refused, failure)
            case .couldNotLook(let failure): (row.verdict, row.failure) = (.couldNotLook, failure)
            }
        }
        return row
    }
}

extension GitJudge.Row.Kind {
    fileprivate init(_ signature: GitObject.Signature?) {
        switch signature {
        case nil: self = .unsigned
        case .openPGP?: self = .gpg
        case .ssh?: self = .ssh
        case .x509?: self = .certificate
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
    /// A GPG key is not among those that may sign.
    public static let unknownGPGSigner = Self("unknown-gpg-signer")
    /// The rules know a signer, but not for the time at which it signed.
    public static let gitSignerNotThen = Self("git-signer-not-then")
    /// A commit or tag is signed in a way for which nothing says who may sign.
    public static let noSignerDemanded = Self("no-signer-demanded")
}

extension SigstoreError.Remedy {
    /// Nothing says which SSH keys may sign.
    public static let giveAllowedSigners = Self("say-which-ssh-keys-may-sign")
    /// Nothing says which GPG keys may sign.
    public static let giveGPGKeys = Self("say-which-gpg-keys-may-sign")
    /// Nothing says which identities and keys may sign.
    public static let giveIdentityOrKey = Self("say-which-identities-or-keys-may-sign")
}
