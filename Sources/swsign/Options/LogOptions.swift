import ArgumentParser
import HTTPTransport
import LocalSystem
import SigstoreClients
import SigstoreCrypto
import SigstoreVerification
import StrictJSON
import SwSignCore

/// Which entry is meant.
struct LogEntryOptions: ParsableArguments {
    @Option(name: .customLong("log-index"), help: "The entry's place in the log, counted from 0.")
    var logIndex: Int64?
    @Option(help: "The entry's UUID, in a log of Rekor v1.")
    var uuid: String?

    var isGiven: Bool { logIndex != nil || uuid != nil }

    func expectOne() throws(SigstoreError) {
        guard (logIndex == nil) != (uuid == nil), logIndex.map({ $0 >= 0 }) ?? true else {
            throw SigstoreError(.usage, "give the entry's --log-index, counted from 0, or its --uuid")
        }
    }

    func entry(_ reader: LogOptions.Reader, _ context: Context) throws(SigstoreError) -> VerifiedLogEntry {
        let (logIndex, uuid) = (logIndex, uuid)
        return try waiting { () throws(SigstoreError) in
            let now = context.now()
            if let logIndex { return try await reader.client.entry(at: logIndex, root: reader.root, now: now) }
            return try await reader.client.entry(uuid: uuid ?? "", root: reader.root, now: now)
        }
    }
}

/// Which log is read, who is believed, and how it is printed.
struct LogOptions: ParsableArguments {
    @Option(name: .customLong("rekor-url"), help: "The log; without it, the one that signing would use.")
    var rekorURL: String?
    @Option(
        name: .customLong("rekor-version"),
        help: "1 or 2: the version of that log's API, where the signing config does not say it.")
    var rekorVersion: Int64?
    @Option(name: .customLong("signing-config"), help: "A signing config file that names the logs.")
    var signingConfig: String?
    @Option(name: .customLong("trusted-root"), help: "A trusted root file; without it, the public Sigstore instance's.")
    var trustedRoot: String?
    @Flag(help: "Look into the public instance's staging log, which is for rehearsals only.")
    var staging = false
    @Option(name: .shortAndLong, help: "How it is printed: text or json.")
    var output: OutputFormat = .text

    /// A log, and who is believed.
    struct Reader: Sendable {
        let client: RekorClient
        let root: TrustedRoot
        /// The variables of the environment that say so.
        let trustVariables: [String]
    }

    /// The digest of a file, or the one that stands there.
    static func digest(artifact: String?, sha: String?) throws(SigstoreError) -> Digest {
        guard let sha else {
            guard let digest = try InputFile(artifact ?? "").read(digests: [.sha256], schemes: []).digest(.sha256)
            else {
                throw SigstoreError(.cryptographyFailed, "the file's digest cannot be made")
            }
            return digest
        }
        guard artifact == nil else { throw SigstoreError(.usage, "--artifact and --sha cannot be given together") }
        return sha.utf8.contains(0x3a) ? try Digest(parsing: sha) : try Digest(hex: sha, .sha256)
    }

    /// Every log that is meant: the one that is named, or else all of the trusted root that count now.
    func readers(_ context: Context) throws(SigstoreError) -> (readers: [Reader], trustVariables: [String]) {
        guard rekorURL == nil, signingConfig == nil, rekorVersion == nil else {
            let reader = try reader(context)
            return ([reader], reader.trustVariables)
        }
        let sources = TrustSources(trustedRoot: trustedRoot, staging: staging, context: context)
        let names = context.trustVariables.named(sources.variables)
        let instance = try sources.instance()
        let now = Instant(seconds: context.now())
        return try TUFAccess.advising(TUFAccess.filesInstead) { () throws(SigstoreError) in
            try waiting { () throws(SigstoreError) in
                let root = try await instance.trustedRoot()
                var readers: [Reader] = []
                for log in root.transparencyLogs where log.validFor.contains(now) {
                    guard let client = try instance.readableLog(of: root, logID: log.logID),
                        !readers.contains(where: {
                            $0.client.url.description.utf8.elementsEqual(client.url.description.utf8)
                        })
                    else { continue }
                    readers.append(Reader(client: client, root: root, trustVariables: names))
                }
                guard !readers.isEmpty else {
                    throw SigstoreError(
                        .noUsableService, "the trusted root does not say where a log is that counts now",
                        advice: "name the log with --rekor-url")
                }
                return (readers, names)
            }
        }
    }

    /// Makes the client of the log that is meant.
    /// - Parameters:
    ///   - wanted: The version of the API that the log must speak; `nil` if any will do.
    ///   - logID: The id of the log, if an entry names it: its address stands in the trusted root.
    func reader(version wanted: RekorClient.Version? = nil, logID: [UInt8]? = nil, _ context: Context)
        throws(SigstoreError) -> Reader
    {
        if let rekorVersion, RekorClient.Version(rawValue: rekorVersion) == nil {
            throw SigstoreError(.usage, "--rekor-version is \(rekorVersion), expected 1 or 2")
        }
        let sources = TrustSources(trustedRoot: trustedRoot, staging: staging, context: context)
        let names = context.trustVariables.named(sources.variables)
        let version = rekorVersion.flatMap { RekorClient.Version(rawValue: $0) } ?? wanted
        var instance = try sources.instance()
        if let rekorURL { instance.services.transparencyLog = try HTTPURL(parsing: rekorURL) }
        if let signingConfig { instance.signingConfigSource = .file(signingConfig) }
        return try TUFAccess.advising(TUFAccess.filesInstead) { () throws(SigstoreError) in
            try waiting { [instance] () throws(SigstoreError) in
                let root = try await instance.trustedRoot()
                // What was given says where the log is; only if nothing was, the instance's signing config is got.
                if rekorURL == nil, signingConfig == nil, logID != nil || trustedRoot != nil {
                    if let client = try instance.readableLog(of: root, logID: logID, version: version) {
                        return Reader(client: client, root: root, trustVariables: names)
                    }
                    guard trustedRoot == nil else {
                        throw SigstoreError(
                            .noUsableService, "the trusted root does not say where the log is that is meant",
                            advice: "name the log with --rekor-url")
                    }
                }
                guard let client = try await instance.readableLog(version: version) else {
                    throw SigstoreError(
                        .noUsableService,
                        "the signing config names no transparency log\(version.map { " of Rekor v\($0.rawValue)" } ?? "")",
                        advice: "name the log with --rekor-url")
                }
                return Reader(client: client, root: root, trustVariables: names)
            }
        }
    }
}
