public import OCIRegistry
internal import SigstoreCrypto
public import StrictJSON
internal import Synchronization

/// Looks at every image of repositories and layouts, and at every file of folders, and says of each digest once whether it is
/// signed, by whom, and whether that signer is accepted.
///
/// Memory grows with the number of tags and digests of a place, by some hundred bytes each, and not with what is found of them.
public struct Audit: Sendable {
    /// What is looked at, and how.
    public struct Options: Sendable {
        /// Whether the platforms of indexes are rows as well.
        public var includesPlatforms = false
        /// Which part of the digests is looked at; `nil` for all.
        public var shard: AuditShard?
        /// How many digests are looked at side by side.
        public var width = 20
        /// The folder for what is kept while the audit runs.
        public var temporaryFolder = "/tmp"

        public init() {}
    }

    /// What is no row.
    public struct Tally: Sendable {
        /// How many tags and untagged manifests are carriers: of signatures, attestations or SBOMs.
        public var carriers = 0
        /// How many rows are from the state of an earlier run.
        public var resumed = 0

        static func + (one: Tally, other: Tally) -> Tally {
            Tally(carriers: one.carriers + other.carriers, resumed: one.resumed + other.resumed)
        }
    }

    /// What judges signatures.
    public let judge: AuditJudge
    let registries: Registries
    let options: Options
    let state: AuditState?
    /// The repository in which signatures are kept, if it is not the images' own.
    public var signatureRepository: String?
    /// Is told how many more digests there are to look at, and how many more are done.
    public var progress: @Sendable (_ more: Int, _ done: Int) -> Void = { _, _ in }

    /// - Parameters:
    ///   - judge: What judges signatures.
    ///   - registries: Opens repositories.
    ///   - options: What is looked at.
    ///   - state: Keeps rows, so that a run that is stopped goes on where it was; `nil` if none are kept.
    public init(
        _ judge: AuditJudge, _ registries: Registries, _ options: Options = Options(), state: AuditState? = nil
    ) {
        (self.judge, self.registries, self.options, self.state) = (judge, registries, options, state)
    }

    /// What came of one place of several.
    private struct Part: Sendable {
        let spool: AuditSpool
        let tally: Tally
    }

    /// How many places are looked at side by side.
    private static let placeWidth = 4

    /// Looks at places. What cannot be looked at is a row.
    /// - Parameters:
    ///   - places: The places. Each is looked at once.
    ///   - take: Takes each row: place after place, in the order of its tags.
    /// - Returns: What is no row.
    /// - Throws: What `take` throws, or because rows cannot be kept.
    public func run(
        _ places: [AuditPlace], _ take: (AuditRow) throws(SigstoreError) -> Void
    ) async throws(SigstoreError) -> Tally {
        var tally = Tally()
        var seen: Set<[UInt8]> = []
        let different = places.filter { seen.insert(Array($0.name.utf8)).inserted }
        if different.count == 1, let only = different.first { return try await run(only, take) }
        // Each place has rows of its own, so that they come out place after place.
        try await inOrder(different, width: Self.placeWidth) { place throws(SigstoreError) -> Part in
            let spool = try AuditSpool(in: options.temporaryFolder)
            return Part(
                spool: spool, tally: try await run(place) { row throws(SigstoreError) in try spool.append(row) })
        } take: { _, result throws(SigstoreError) in
            let part = try result.get()
            tally = tally + part.tally
            try part.spool.forEach(take)
        }
        return tally
    }

    private func run(_ place: AuditPlace, _ take: (AuditRow) throws(SigstoreError) -> Void) async throws(SigstoreError)
        -> Tally
    {
        switch place {
        case .repository(let repository):
            var walk = Walk(self, place)
            try await walk.list(registries.client(for: repository), take)
            try await walk.judge(take)
            return walk.tally
        case .layout(let path):
            var walk = Walk(self, place)
            do throws(SigstoreError) { try walk.list(try ImageLayout(opening: path)) } catch {
                try take(Self.unread(place, [], nil, error))
            }
            try await walk.judge(take)
            return walk.tally
        case .folder(let path): return try await runFiles(path, take)
        }
    }

    /// A row of what could not be looked at.
    static func unread(_ place: AuditPlace, _ names: [String], _ digest: Digest?, _ error: SigstoreError) -> AuditRow {
        var row = AuditRow(
            place: place.name, names: names, digest: digest, signed: .couldNotLook, verdict: .couldNotLook)
        row.failures = [AuditFailure(error)]
        return row
    }

    /// Hands a row on, and keeps it.
    /// - Parameter isKept: Whether it is in the state already.
    func finish(
        _ row: AuditRow, isKept: Bool = false, _ take: (AuditRow) throws(SigstoreError) -> Void
    ) throws(SigstoreError) {
        var row = row
        // What is said of a digest must be readable again.
        if !isKept, row.json().serialized().count > AuditRow.byteLimit {
            let error = SigstoreError(
                .tooLarge, "what is said of it takes more than \(AuditRow.byteLimit) bytes, and is left out")
            (row.signatures, row.attestations, row.sboms, row.failures) = ([], [], [], [AuditFailure(error)])
            (row.signed, row.verdict) = (.couldNotLook, .couldNotLook)
            row.names = Array(row.names.prefix(1000))
        }
        if let state, !isKept { try state.append(row) }
        try take(row)
        progress(0, 1)
    }
}

/// Runs work side by side, a bounded number at a time, and takes what comes of it in order.
func inOrder<Input: Sendable, Output: Sendable>(
    _ inputs: [Input], width: Int, _ work: @escaping @Sendable (Input) async throws(SigstoreError) -> Output,
    take: (Input, Result<Output, SigstoreError>) throws(SigstoreError) -> Void
) async throws(SigstoreError) {
    var rest = inputs[...]
    while !rest.isEmpty {
        let part = Array(rest.prefix(width))
        rest = rest.dropFirst(width)
        let results = try await concurrently(part) { input throws(SigstoreError) -> Result<Output, SigstoreError> in
            do throws(SigstoreError) { return .success(try await work(input)) } catch { return .failure(error) }
        }
        for (input, result) in zip(part, results) { try take(input, result) }
    }
}
