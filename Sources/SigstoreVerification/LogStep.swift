internal import InToto
internal import SigstoreCrypto
public import StrictJSON

extension Verification {
    /// 5. Each log entry is in its log, and is about this signature (client specification, section 4.4).
    ///
    /// Every entry that is there must hold. What is counted are different logs, never entries.
    mutating func verifyLogEntries(_ key: PublicKey, _ message: HashedMessage) throws(SigstoreError) {
        guard case .required(let threshold) = policy.transparencyLog else { return }
        if isPrivateInstance { return unproven.append(.logEntry) }
        guard !bundle.logEntries.isEmpty else {
            throw SigstoreError(
                .noLogEntry, "the signature has no entry in a transparency log, and one is demanded",
                advice: .remedy(.verifyWithoutLog))
        }
        for (index, entry) in bundle.logEntries.enumerated()
        where bundle.logEntries[..<index].contains(where: { $0.logID == entry.logID && $0.logIndex == entry.logIndex })
        {
            throw SigstoreError(.tooManyEntries, "the log entry \(entry.logIndex) stands twice in the bundle")
        }
        var logs: [[UInt8]] = []
        for entry in bundle.logEntries {
            let body = try LogEntryBody(parsing: entry.body)
            try checkKind(entry, body)
            try verifyInclusion(of: entry, body)
            try checkBody(body, key, message)
            held("log-entry", "entry \(entry.logIndex) (\(body.kind) \(body.kindVersion)) is about this signature")
            if !logs.contains(entry.logID) { logs.append(entry.logID) }
        }
        guard logs.count >= max(1, threshold) else {
            throw SigstoreError(
                .noLogEntry, "expected entries in \(threshold) different logs, found them in \(logs.count)")
        }
    }

    /// 5.1 The kind that the bundle names is the kind that the log holds, and one of the log's version of Rekor.
    private func checkKind(_ entry: TransparencyLogEntry, _ body: LogEntryBody) throws(SigstoreError) {
        guard entry.kind.utf8.elementsEqual(body.kind.utf8), entry.kindVersion.utf8.elementsEqual(body.kindVersion.utf8)
        else {
            throw SigstoreError(
                .logEntryMismatch,
                "the log entry is of another kind than the bundle says: expected \(entry.kind) \(entry.kindVersion), "
                    + "found \(body.kind) \(body.kindVersion)")
        }
        try body.checkPromise(of: entry)
    }

    /// 2.2 The promise of Rekor v1, with a key that counted at that time.
    /// - Returns: The time, which without a promise does not exist.
    func verifyPromise(of entry: TransparencyLogEntry, _ promise: [UInt8]) throws(SigstoreError) -> VerifiedTime {
        let log = try logsOfRoot().verifyPromise(of: entry, promise)
        return VerifiedTime(source: .transparencyLog(log.name), seconds: entry.integratedTime)
    }

    private func logsOfRoot() throws(SigstoreError) -> TrustedRoot {
        guard let trustedRoot else {
            throw SigstoreError(
                .noTrustedRoot, "there is no trusted root to verify the log entry with",
                advice: .remedy(.giveTrustedRootOrIgnoreLog))
        }
        return trustedRoot
    }

    /// 5.2 The entry is in its log. The promise, if there is one, was verified with the time.
    private mutating func verifyInclusion(of entry: TransparencyLogEntry, _ body: LogEntryBody) throws(SigstoreError) {
        if entry.promise != nil {
            held("inclusion-promise", "the log promised to include entry \(entry.logIndex)")
        } else if entry.proof == nil {
            throw SigstoreError(.noLogEntry, "nothing proves that the entry is in the log")
        }
        guard let proof = entry.proof else { return }
        let log = try logsOfRoot().verifyInclusion(
            of: entry, proof, isRekorV2: body.isRekorV2, at: moments(of: entry))
        if let log { held("inclusion-proof", "entry \(entry.logIndex) is in the log \(log.name)") }
    }

    /// When an entry's log key must have counted: at the time that the log promised, else at the verified times of
    /// the signature, else now.
    private func moments(of entry: TransparencyLogEntry) -> [Instant] {
        if entry.promise != nil { return [Instant(seconds: entry.integratedTime)] }
        if times.isEmpty { return [Instant(seconds: currentTime)] }
        return times.map { Instant(seconds: $0.seconds) }
    }

    /// 5.3 The entry is about this signature, this certificate or key, and this artifact.
    private func checkBody(_ body: LogEntryBody, _ key: PublicKey, _ message: HashedMessage) throws(SigstoreError) {
        guard body.signatures.count == 1, let logged = body.signatures.first else {
            throw SigstoreError(
                .logEntryMismatch, "the log entry holds \(body.signatures.count) signatures, the bundle one")
        }
        if let found = logged.signature {
            guard found == signature else {
                throw SigstoreError(
                    .logEntryMismatch,
                    "the log entry is about another signature: expected \(Base64.encode(signature)), found "
                        + Base64.encode(found),
                    advice: "the entry was taken from another bundle, or the signature was changed")
            }
        }
        switch (logged.verifier, statedCertificate) {
        case (.certificate(let found), let certificate?):
            guard found == certificate.der else {
                throw SigstoreError(
                    .logEntryMismatch,
                    "the log entry is about another certificate than the bundle's: expected one with "
                        + "\(try Digest.sha256(certificate.der)), found one with \(try Digest.sha256(found))")
            }
        case (.publicKey(let found), nil):
            guard found == key.spki else {
                throw SigstoreError(
                    .logEntryMismatch,
                    "the log entry is about another key: expected \(try key.hint()), found "
                        + Base64.encode(try Digest.sha256(found).bytes),
                    advice: "give the public key of whoever signed")
            }
        case (.certificate, nil):
            throw SigstoreError(
                .logEntryMismatch, "the log entry is about a certificate, the signature was made by a key")
        case (.publicKey, .some):
            throw SigstoreError(
                .logEntryMismatch, "the log entry is about a key, the signature was made with a certificate")
        }
        try checkSubject(body.subject, hasSignature: logged.signature != nil, message)
    }

    private func checkSubject(_ subject: LogEntryBody.Subject, hasSignature: Bool, _ message: HashedMessage)
        throws(SigstoreError)
    {
        func demand(_ found: Digest, _ expected: Digest?, _ what: String) throws(SigstoreError) {
            guard let expected, expected == found else {
                throw SigstoreError(
                    .logEntryMismatch,
                    "the log entry is about another \(what): expected "
                        + "\(expected.map(\.description) ?? "a digest of another algorithm"), found \(found)")
            }
        }
        switch (subject, bundle.content) {
        case (.message(let found), _):
            guard hasSignature else { throw SigstoreError(.logEntryMismatch, "the log entry holds no signature") }
            try demand(found, message.digest(found.algorithm), "artifact")
        case (.payload(let found), .dsse(let envelope)):
            guard hasSignature else { throw SigstoreError(.logEntryMismatch, "the log entry holds no signature") }
            try demand(found, try Digest.hash(envelope.payload, found.algorithm), "attestation")
        case (.envelope(let found, let payload), .dsse(let envelope)):
            try demand(payload, try Digest.hash(envelope.payload, payload.algorithm), "attestation")
            // The envelope as cosign writes it, which is what it sent to the log: with its signature in it.
            let written = envelope.json(includingEmptyKeyID: true).serialized()
            try demand(found, try Digest.hash(written, found.algorithm), "envelope")
        case (.payload, .messageSignature), (.envelope, .messageSignature):
            throw SigstoreError(.logEntryMismatch, "the log entry is about an attestation, the bundle is not one")
        }
    }
}

extension LogEntryBody {
    /// A promise is Rekor v1's: an entry of Rekor v2's with one was put into a log of the other version.
    fileprivate func checkPromise(of entry: TransparencyLogEntry) throws(SigstoreError) {
        guard isRekorV2, entry.promise != nil else { return }
        throw SigstoreError(
            .logEntryMismatch,
            "the log entry is of Rekor v2's kind \(kind) \(kindVersion), and has a promise, which only Rekor v1 makes")
    }
}

extension TrustedRoot {
    /// Checks that an entry is in a log of this root, for a client that reads the log itself.
    /// - Parameters:
    ///   - entry: The entry, with its proof; the promise is checked too if there is one.
    ///   - body: What stands in it.
    ///   - currentTime: In seconds since 1970; when the log's key must count if no promise says another time.
    /// - Returns: The log.
    /// - Throws: `SigstoreError` that says what does not hold.
    public func verify(_ entry: TransparencyLogEntry, _ body: LogEntryBody, currentTime: Int64) throws(SigstoreError)
        -> Log
    {
        try body.checkPromise(of: entry)
        if let promise = entry.promise { _ = try verifyPromise(of: entry, promise) }
        let moment = Instant(seconds: entry.promise == nil ? currentTime : entry.integratedTime)
        guard let proof = entry.proof,
            let log = try verifyInclusion(of: entry, proof, isRekorV2: body.isRekorV2, at: [moment])
        else { throw SigstoreError(.noLogEntry, "nothing proves that the entry is in the log") }
        return log
    }

    /// Logs in words, each with its id.
    static func names(_ logs: [Log]) -> String {
        logs.isEmpty ? "none" : logs.map { "\($0.name) (\(Hexadecimal.encode($0.logID)))" }.joined(separator: ", ")
    }

    /// The trusted logs with the id that an entry names, of the version of Rekor that has entries and proofs of its kind.
    private func logs(of entry: TransparencyLogEntry, rekorV2: Bool) throws(SigstoreError) -> [Log] {
        let named = transparencyLogs.filter { $0.logID == entry.logID }
        var logs: [Log] = []
        for log in named where try log.mayBe(rekorV2: rekorV2) { logs.append(log) }
        if let other = named.first, logs.isEmpty {
            throw SigstoreError(
                .logEntryMismatch,
                "the log entry \(entry.logIndex) is one of Rekor \(rekorV2 ? "v2" : "v1"): expected one of Rekor "
                    + "\(rekorV2 ? "v1" : "v2"), which the log \(other.name) is in the trusted root")
        }
        guard !logs.isEmpty else {
            throw SigstoreError(
                .unknownLog,
                "the log entry is of an unknown log: expected one of \(Self.names(transparencyLogs)), found "
                    + Hexadecimal.encode(entry.logID.prefix(32)),
                advice: "check that the trusted root is the one that the signer used")
        }
        return logs
    }

    /// Runs a check against each trusted log that an entry may be of; one must hold.
    private func anyLog(
        of entry: TransparencyLogEntry, rekorV2: Bool, _ check: (Log) throws(SigstoreError) -> Void
    ) throws(SigstoreError) -> Log {
        var failure: SigstoreError?
        for log in try logs(of: entry, rekorV2: rekorV2) {
            do throws(SigstoreError) {
                try check(log)
                return log
            } catch { failure = failure ?? error }
        }
        throw failure ?? SigstoreError(.unknownLog, "the log entry is of no log that the trusted root knows")
    }

    /// The promise of Rekor v1: the log signed body, time, index and its id (Rekor specification, "Signed Entry
    /// Timestamp"), with a key that counted at that time.
    /// - Returns: The log that made it.
    func verifyPromise(of entry: TransparencyLogEntry, _ promise: [UInt8]) throws(SigstoreError) -> Log {
        let signed = JSONValue.object([
            "body": .bytes(entry.body), "integratedTime": .integer(entry.integratedTime),
            "logID": .string(Hexadecimal.encode(entry.logID)), "logIndex": .integer(entry.logIndex),
        ]).canonicalized()
        return try anyLog(of: entry, rekorV2: false) { log throws(SigstoreError) in
            var holds = false
            for scheme in log.publicKey.schemes where scheme != .ed25519ph && !holds {
                holds = try log.publicKey.verifies(promise, ofBytes: signed, scheme: scheme)
            }
            guard holds else {
                throw SigstoreError(
                    .invalidPromise, "the inclusion promise of log entry \(entry.logIndex) does not hold",
                    advice: "the entry was changed, or another log made the promise")
            }
            try checkWindow(of: log, at: Instant(seconds: entry.integratedTime))
        }
    }

    private func checkWindow(of log: Log, at moment: Instant) throws(SigstoreError) {
        guard log.validFor.contains(moment) else {
            throw SigstoreError(
                .logKeyNotValid,
                "the key of the log \(log.name) is valid from \(log.validFor.description), not at \(moment)")
        }
    }

    /// The inclusion proof leads to the root that the log signed (RFC 6962, section 2.1.1; C2SP tlog-checkpoint).
    /// - Parameter moments: When the log's key must have counted.
    /// - Returns: The log; `nil` if the proof came without a checkpoint, which before bundles of version 0.2 could be.
    ///   It proves nothing then, and the promise has to do.
    func verifyInclusion(
        of entry: TransparencyLogEntry, _ proof: TransparencyLogEntry.InclusionProof, isRekorV2: Bool,
        at moments: [Instant]
    ) throws(SigstoreError) -> Log? {
        let root = try MerkleTree.root(
            leafHash: try MerkleTree.leafHash(entry.body), index: proof.logIndex, size: proof.treeSize,
            path: proof.hashes)
        guard root == proof.rootHash else {
            throw SigstoreError(
                .invalidInclusionProof,
                "the inclusion proof of log entry \(entry.logIndex) does not lead to its root: expected "
                    + "\(Hexadecimal.encode(proof.rootHash)), found \(Hexadecimal.encode(root))")
        }
        // Rekor v2 has no shards under one name: both indices are the same number.
        guard !isRekorV2 || proof.logIndex == entry.logIndex else {
            throw SigstoreError(
                .invalidInclusionProof,
                "the log index is \(entry.logIndex), and the inclusion proof is for \(proof.logIndex)")
        }
        guard let note = proof.checkpoint else { return nil }
        let checkpoint = try Checkpoint(note)
        guard checkpoint.treeSize == proof.treeSize, checkpoint.rootHash == proof.rootHash else {
            throw SigstoreError(
                .invalidCheckpoint,
                "the checkpoint is of another tree than the inclusion proof: expected size \(proof.treeSize) and root "
                    + "\(Hexadecimal.encode(proof.rootHash)), found size \(checkpoint.treeSize) and root "
                    + Hexadecimal.encode(checkpoint.rootHash))
        }
        return try anyLog(of: entry, rekorV2: isRekorV2) { log throws(SigstoreError) in
            try checkpoint.verify(log, rekorV2: isRekorV2)
            for moment in moments { try checkWindow(of: log, at: moment) }
        }
    }
}

extension SigstoreError.Code {
    /// A log entry is about another signature, key, certificate, artifact or kind than the bundle.
    public static let logEntryMismatch = Self("log-entry-mismatch")
    /// A log entry names a log that the trusted root does not know.
    public static let unknownLog = Self("unknown-log")
    /// The promise of a log entry does not hold.
    public static let invalidPromise = Self("invalid-inclusion-promise")
    /// The key of a log did not count at the time in question.
    public static let logKeyNotValid = Self("log-key-not-valid")
}

extension SigstoreError.Remedy {
    /// Nothing was recorded in a log, be it on purpose.
    public static let verifyWithoutLog = Self("if-it-was-made-without-a-log-verify-it-without")
    /// The log entry needs a trusted root.
    public static let giveTrustedRootOrIgnoreLog = Self("give-a-trusted-root-or-ignore-the-log")
}
