internal import HTTPTransport
internal import LocalSystem
internal import SigstoreCrypto
internal import SigstoreVerification
public import StrictJSON

/// A TUF mirror of a Sigstore instance, and the root that it is verified from.
public struct TUFMirror: Sendable {
    /// The mirror's URL.
    public let url: String
    /// The root file that everything is verified from.
    public let root: [UInt8]
    /// Targets that this library brings along, by name.
    public let embeddedTargets: [String: [UInt8]]
    /// When these were what the mirror has; `nil` without any.
    public let embeddedDate: Instant?

    /// Makes a mirror of a Sigstore instance of one's own.
    /// - Parameters:
    ///   - url: `https`, `http` or `file`.
    ///   - root: The root file that everything is verified from.
    public init(url: String, root: [UInt8]) {
        self.init(url: url, root: root, embeddedTargets: [:], of: nil)
    }

    private init(url: String, root: [UInt8], embeddedTargets: [String: [UInt8]], of embeddedDate: Instant?) {
        self.url = url
        self.root = root
        self.embeddedTargets = embeddedTargets
        self.embeddedDate = embeddedDate
    }

    /// The target with the keys and certificates of an instance's services.
    public static let trustedRootTarget = "trusted_root.json"
    /// The target that says which services to sign with.
    public static let signingConfigTarget = "signing_config.v0.2.json"
    /// The target that says which services to sign with if signatures are to be recorded in Rekor v2 already.
    public static let signingConfigRekorV2Target = "signing_config_rekor_v2.v0.2.json"

    /// Sigstore's public instance.
    public static var production: TUFMirror {
        TUFMirror(
            url: "https://tuf-repo-cdn.sigstore.dev", root: EmbeddedTrust.productionRoot,
            embeddedTargets: [
                trustedRootTarget: EmbeddedTrust.productionTrustedRoot,
                signingConfigTarget: EmbeddedTrust.productionSigningConfig,
            ], of: EmbeddedTrust.productionDate)
    }

    /// Sigstore's public instance for tests.
    public static var staging: TUFMirror {
        TUFMirror(
            url: "https://tuf-repo-cdn.sigstage.dev", root: EmbeddedTrust.stagingRoot,
            embeddedTargets: [
                trustedRootTarget: EmbeddedTrust.stagingTrustedRoot,
                signingConfigTarget: EmbeddedTrust.stagingSigningConfig,
            ], of: EmbeddedTrust.stagingDate)
    }

    // MARK: - Which one

    /// The folder in which the caches of all mirrors lie: `TUF_ROOT`, or `~/.sigstore/root`.
    /// - Parameter environment: The process's environment.
    /// - Returns: `nil` if neither `TUF_ROOT` nor `HOME` is set.
    public static func cacheFolder(_ environment: [String: String]) -> String? {
        if let folder = environment["TUF_ROOT"], !folder.isEmpty { return folder }
        guard let home = environment["HOME"], !home.isEmpty else { return nil }
        return "\(home)/.sigstore/root"
    }

    /// The mirror to use: what the caller names, else what the environment names (`TUF_MIRROR`, `TUF_ROOT_JSON`), else
    /// the mirror that was chosen for this cache, else Sigstore's public instance.
    /// - Parameters:
    ///   - url: A mirror's URL, or `nil`.
    ///   - root: The root file of that mirror, or `nil`.
    ///   - staging: Whether the public instance for tests is meant.
    ///   - environment: The process's environment.
    /// - Throws: `SigstoreError` with `tuf-no-root` if a mirror is named that no root is known for, or with `tuf-cache`
    ///   if the file that `TUF_ROOT_JSON` names cannot be read.
    public static func resolve(
        url: String? = nil, root: [UInt8]? = nil, staging: Bool = false, environment: [String: String]
    ) throws(SigstoreError) -> TUFMirror {
        let folder = cacheFolder(environment)
        let chosen: String
        if let named = url ?? (staging ? Self.staging.url : nonEmpty(environment["TUF_MIRROR"])) {
            chosen = named
        } else if let folder, let remembered = try rememberedURL(in: folder) {
            chosen = remembered
        } else {
            chosen = production.url
        }
        if let root { return TUFMirror(url: chosen, root: root) }
        if url == nil, !staging, let path = nonEmpty(environment["TUF_ROOT_JSON"]) {
            guard let root = try TUFCache.read(file: path, limit: TUFLimits().root) else {
                throw SigstoreError(.tufNoRoot, "TUF_ROOT_JSON names \(path), and there is no such file")
            }
            return TUFMirror(url: chosen, root: root)
        }
        if let folder,
            let root = try TUFCache(mirror: chosen, in: folder).read(initialRoot, limit: TUFLimits().root)
        {
            return TUFMirror(url: chosen, root: root)
        }
        for known in [production, Self.staging] where isSame(known.url, chosen) { return known }
        // cosign keeps the root of a mirror that it was initialized with under this name.
        if let folder, let root = try TUFCache(mirror: chosen, in: folder).read("root.json", limit: TUFLimits().root) {
            return TUFMirror(url: chosen, root: root)
        }
        throw SigstoreError(
            .tufNoRoot, "no root of trust is known for the TUF mirror \(chosen)",
            advice: .remedy(.initializeMirror, of: chosen))
    }

    private static func nonEmpty(_ text: String?) -> String? { text.flatMap { $0.isEmpty ? nil : $0 } }

    private static func isSame(_ left: String, _ right: String) -> Bool {
        func trimmed(_ url: String) -> Substring.UTF8View {
            url.utf8.last == 0x2f ? url.utf8.dropLast() : url.utf8[...]
        }
        return trimmed(left).elementsEqual(trimmed(right))
    }

    /// The file in a mirror's cache that holds the root that a user gave for it. No role's file has such a name, since
    /// those end in `.json`.
    private static let initialRoot = "initial-root"
    /// The file in the folder of all caches that names the mirror in use. cosign reads and writes the same one.
    private static let remembered = "remote.json"

    private static func rememberedURL(in folder: String) throws(SigstoreError) -> String? {
        guard let bytes = try TUFCache.read(file: "\(folder)/\(remembered)", limit: 65536) else { return nil }
        do throws(SigstoreError) {
            return try JSONCursor(JSONValue(parsing: bytes)).optional("mirror")?.string()
        } catch {
            throw SigstoreError(
                .tufCache, "\(folder)/\(remembered) cannot be read: \(error.message)",
                advice: .remedy(.initializeAgain), cause: error)
        }
    }

    // MARK: - initialize

    /// A client for this mirror.
    /// - Parameters:
    ///   - environment: The process's environment, for the cache's place.
    ///   - freshness: When the mirror is asked.
    ///   - fetcher: Who brings files from the mirror.
    ///   - notice: Takes what the user should know though the work goes on.
    public func client(
        environment: [String: String], freshness: TUFClient.Freshness = .daily, fetcher: any TUFFetcher,
        notice: @escaping @Sendable (SigstoreError) -> Void = { _ in }
    ) -> TUFClient {
        let folder = Self.cacheFolder(environment)
        if folder == nil {
            notice(SigstoreError(.tufCache, "neither TUF_ROOT nor HOME is set, so TUF metadata is not kept"))
        }
        var configuration = TUFClient.Configuration(
            mirror: url, root: root, cache: folder.map { TUFCache(mirror: url, in: $0) }, freshness: freshness)
        let targets = embeddedTargets
        configuration.embeddedTarget = { targets[$0] }
        configuration.embeddedDate = embeddedDate
        // Signing needs a network in any case, and is told so before anything is done.
        configuration.embeddedWithoutNetwork = [Self.trustedRootTarget]
        configuration.notice = notice
        return TUFClient(configuration, fetcher: fetcher)
    }

    /// Reads the root file of a mirror.
    /// - Parameters:
    ///   - reference: A path, or an `https`, `http` or `file` URL.
    ///   - checksum: The file's digest as `<hex>` (SHA-256) or `sha512:<hex>`; required if it comes over a network.
    ///   - fetcher: Who fetches it.
    /// - Throws: `SigstoreError` with `tuf-no-root`, `malformed-digest` or `tuf-mismatch`, or what the fetcher throws;
    ///   the fault of a file that is no root metadata.
    public static func readRoot(
        _ reference: String, checksum: String?, fetcher: any TUFFetcher
    ) async throws(SigstoreError) -> [UInt8] {
        let limit = TUFLimits().root
        let isRemote = ["http://", "https://"].contains { reference.utf8.starts(with: $0.utf8) }
        guard !isRemote || checksum != nil else {
            throw SigstoreError(
                .tufNoRoot,
                "the root of trust \(reference) comes over a network, and nothing says that it is the right one",
                advice: .remedy(.giveRootChecksum))
        }
        let isURL = isRemote || reference.utf8.starts(with: "file://".utf8)
        guard
            let bytes = isURL
                ? try await fetcher.fetch(reference, limit: limit) : try TUFCache.read(file: reference, limit: limit)
        else { throw SigstoreError(.tufNoRoot, "there is no root of trust at \(reference)") }
        if let checksum {
            let expected =
                checksum.utf8.contains(0x3a) ? try Digest(parsing: checksum) : try Digest(hex: checksum, .sha256)
            let found = try Digest.hash(bytes, expected.algorithm)
            guard found.bytes == expected.bytes else {
                throw SigstoreError(
                    .tufMismatch, "\(reference) has the digest \(found), not \(expected)",
                    advice: "compare the checksum with the one that was published; do not use this root")
            }
        }
        do throws(SigstoreError) { _ = try TUFMetadata<TUFRoot>(parsing: bytes) } catch {
            throw error.concerning(reference)
        }
        return bytes
    }

    /// Makes this mirror the one that is used from now on: fetches and verifies its metadata and Sigstore's targets,
    /// then notes the choice in the cache (cosign's `initialize`).
    /// - Parameters:
    ///   - keepingRoot: Whether the root was given by the user and is to be kept for later runs.
    ///   - environment: The process's environment, for the cache's place.
    ///   - fetcher: Who brings files from the mirror.
    ///   - notice: Takes what the user should know though the work goes on.
    /// - Returns: The state that was reached.
    /// - Throws: `SigstoreError` as ``TUFClient/target(_:)`` does, and if the cache cannot be written to.
    public func initialize(
        keepingRoot: Bool, environment: [String: String], fetcher: any TUFFetcher,
        notice: @escaping @Sendable (SigstoreError) -> Void = { _ in }
    ) async throws(SigstoreError) -> TUFUpdate {
        guard let folder = Self.cacheFolder(environment) else {
            throw SigstoreError(.tufCache, "there is no place to keep TUF metadata in", advice: "set TUF_ROOT or HOME")
        }
        // The cache is read and written all along.
        return try await onBlockingExecutor { () throws(SigstoreError) in
            let client = client(environment: environment, freshness: .now, fetcher: fetcher, notice: notice)
            if keepingRoot { try await keepRoot(in: TUFCache(mirror: url, in: folder), client) }
            let update = try await client.refresh()
            var daily = client.configuration
            daily.freshness = .daily
            for name in [Self.trustedRootTarget, Self.signingConfigTarget] {
                do throws(SigstoreError) {
                    _ = try await TUFClient(daily, fetcher: fetcher).target(name)
                } catch {
                    // A repository need not have a signing config.
                    guard error.code == .tufNoTarget else { throw error }
                    notice(error)
                }
            }
            let choice = JSONValue.object(["mirror": .string(url)]).serialized()
            // No other process may write the same file: this one is shared by all mirrors.
            let all = TUFCache(folder: folder)
            let lock = try await all.lock()
            defer { withExtendedLifetime(lock) {} }
            try all.write(choice, to: Self.remembered)
            return update
        }
    }

    /// Keeps the root that the user gave for this mirror.
    private func keepRoot(in cache: TUFCache, _ client: TUFClient) async throws(SigstoreError) {
        guard try cache.read(Self.initialRoot, limit: TUFLimits().root) != root else { return }
        // What is kept is not given up for a root that does not lead to the mirror's metadata.
        var trial = client.configuration
        trial.cache = nil
        try await TUFClient(trial, fetcher: client.fetcher).refresh()
        let lock = try await cache.lock()
        defer { withExtendedLifetime(lock) {} }
        // Another process may have kept it meanwhile, and gone on from it.
        guard try cache.read(Self.initialRoot, limit: TUFLimits().root) != root else { return }
        // The user trusts another root from now on. What the former one vouched for says nothing about it.
        for version in cache.rootHistory() { try cache.remove("root_history/\(version).root.json") }
        for name in ["root.json", "timestamp.json", "snapshot.json", "targets.json"] { try cache.remove(name) }
        try cache.write(root, to: Self.initialRoot)
    }
}

extension SigstoreError.Code {
    /// A TUF mirror without a root to verify it from.
    public static let tufNoRoot = Self("tuf-no-root")
}

extension SigstoreError.Remedy {
    /// No root of trust is known for the mirror that is named.
    public static let initializeMirror = Self("give-its-root-of-trust-once")
    /// The file that names the mirror in use cannot be read.
    public static let initializeAgain = Self("initialize-the-cache-again")
    /// A root of trust that comes over a network needs a checksum.
    public static let giveRootChecksum = Self("give-the-checksum-of-the-root")
}
