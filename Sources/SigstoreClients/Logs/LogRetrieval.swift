internal import HTTPTransport
public import SigstoreCrypto
public import SigstoreVerification
public import StrictJSON

// MARK: - Asking for an entry that is known whole

extension RekorClient {
    /// How many answers to one question are read.
    public static let answerLimit = 32

    /// Asks a log of Rekor v1 whether it has this very entry, in any of its shards (`openapi.yaml`, `searchLogQuery`).
    /// - Parameters:
    ///   - entry: The signature.
    ///   - written: An attestation's envelope as it was sent to the log, if that is known; by default as cosign writes it.
    /// - Returns: What the log answers, at most ``answerLimit``. Nothing of it is believed yet.
    /// - Throws: `SigstoreError` that names the log: `log-entry-refused` if it does not take such a question,
    ///   `unexpected-answer`, `too-many-entries`, or what the transport throws.
    public func retrieve(_ entry: ProposedLogEntry, written: [UInt8]? = nil) async throws(SigstoreError)
        -> [TransparencyLogEntry]
    {
        try await naming { () throws(SigstoreError) in
            guard version == .v1 else { throw Self.onlyV1("an answer to whether they have an entry") }
            let response = try await post(
                "\(Self.entriesV1)/retrieve", .object(["entries": .array([Self.proposalV1(entry, written: written)])]))
            guard response.status == 200 else {
                throw SigstoreError(
                    .entryRefused,
                    "it does not say whether it has the entry: status \(response.status)\(ServiceMessage.suffix(response))",
                    advice: "give the bundle that was written at signing, which keeps the entry",
                    cause: HTTPStatusError(response: response))
            }
            return try Self.answers(response.body)
        }
    }

    /// The key that a log of Rekor v1 says is its own. It is believed only if the trusted root has it.
    /// - Throws: `SigstoreError` that names the log.
    public func statedKey() async throws(SigstoreError) -> PublicKey {
        try await naming { () throws(SigstoreError) in
            let body = try await read(
                "/api/v1/log/publicKey", [:], missing: "API of Rekor v1", accepting: "application/x-pem-file")
            return try Self.answer("a public key") { () throws(SigstoreError) in try PublicKey(file: body) }
        }
    }

    private static func answers(_ body: [UInt8]) throws(SigstoreError) -> [TransparencyLogEntry] {
        let answers = try answer("a list of entries") { () throws(SigstoreError) in
            try JSONCursor(try JSONValue(parsing: body, depth: 16)).elements()
        }
        guard answers.count <= answerLimit else {
            throw SigstoreError(
                .tooManyEntries, "the log answers with \(answers.count) entries, more than \(answerLimit)",
                advice: "do not trust this log")
        }
        var entries: [TransparencyLogEntry] = []
        for answer in answers { entries.append(try entryV1(answer)) }
        return entries
    }
}
