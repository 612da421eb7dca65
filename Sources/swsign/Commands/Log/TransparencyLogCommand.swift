import ArgumentParser
import HTTPTransport
import LocalSystem
import SigstoreClients
import SigstoreCrypto
import SigstoreVerification
import StrictJSON
import SwSignCore

struct TransparencyLogCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "tlog", abstract: "Looks into a transparency log. What it answers is verified before it is shown.",
        subcommands: [Get.self, Search.self, Verify.self, Info.self])

    struct Get: ParsableCommand {
        static let configuration = CommandConfiguration(commandName: "get", abstract: "Shows an entry of a log.")

        @OptionGroup(title: "Entry") var place: LogEntryOptions
        @OptionGroup(title: "Log") var log: LogOptions
        @OptionGroup(title: "Global options") var global: GlobalOptions

        mutating func run() throws {
            try global.apply()
            try place.expectOne()
            let reader = try log.reader()
            try log.show(try place.entry(reader), reader)
        }
    }

    struct Search: ParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "search", abstract: "Shows the entries about a file, of an email address, or of a key.",
            discussion: "Logs of Rekor v1 have an index for this, those of Rekor v2 have none.")

        @Option(help: "The file that was signed.")
        var artifact: String?
        @Option(help: "The digest of what was signed, such as sha256:…")
        var sha: String?
        @Option(help: "The email address in the signer's certificate.")
        var email: String?
        @Option(name: .customLong("public-key"), help: "The key that verifies.")
        var publicKey: String?
        @OptionGroup(title: "Log") var log: LogOptions
        @OptionGroup(title: "Global options") var global: GlobalOptions

        /// How many entries are read.
        private static let limit = 100

        mutating func run() throws {
            try global.apply()
            guard [artifact, sha, email, publicKey].filter({ $0 != nil }).count == 1 else {
                throw SigstoreError(.usage, "give exactly one of --artifact, --sha, --email and --public-key")
            }
            let term: LogSearchTerm
            if let email {
                term = .email(email)
            } else if let publicKey {
                term = .key(try KeyReference(publicKey).publicKey())
            } else {
                term = .digest(try LogOptions.digest(artifact: artifact, sha: sha))
            }
            let reader = try log.reader()
            let found = try waiting { () throws(SigstoreError) in try await reader.client.search(term) }
            guard !found.isEmpty else {
                throw SigstoreError(
                    .noSuchLogEntry, "the log \(reader.client.url) has no such entry",
                    advice: "an entry may also be in another log: name it with --rekor-url")
            }
            if found.count > Self.limit {
                Output.warn("the log has \(found.count) such entries; \(Self.limit) are shown")
            }
            for uuid in found.prefix(Self.limit) {
                let entry = try waiting { () throws(SigstoreError) in
                    try await reader.client.entry(uuid: uuid, root: reader.root, now: SystemClock.now())
                }
                if try !entry.states(term) {
                    Output.warn(
                        "that entry \(entry.entry.logIndex) is about this says the log's index, and not the entry itself"
                    )
                }
                try log.show(entry, reader)
            }
        }
    }

    struct Verify: ParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "verify", abstract: "Verifies that an entry, or those of a bundle, are in their log now.",
            discussion: """
                With --bundle, the log is asked for each of the bundle's entries, which must be the same there. That the \
                bundle's signature holds is for verify-blob and verify.
                """)

        @Option(help: "A bundle, whose entries are looked for.")
        var bundle: String?
        @OptionGroup(title: "Entry") var place: LogEntryOptions
        @Option(help: "A file that the entry must be about.")
        var artifact: String?
        @Option(help: "A digest that the entry must be about, such as sha256:…")
        var sha: String?
        @OptionGroup(title: "Log") var log: LogOptions
        @OptionGroup(title: "Global options") var global: GlobalOptions

        mutating func run() throws {
            try global.apply()
            let digest =
                artifact == nil && sha == nil ? nil : try LogOptions.digest(artifact: artifact, sha: sha)
            guard let bundle else {
                try place.expectOne()
                let reader = try log.reader()
                return try check(try place.entry(reader), digest, reader)
            }
            guard !place.isGiven else {
                throw SigstoreError(.usage, "give --bundle, or the entry's index or UUID")
            }
            let entries = try SignatureFile.bundle(InputFile(bundle)).logEntries
            guard !entries.isEmpty else {
                throw SigstoreError(.noLogEntry, "\(bundle) has no entry in a transparency log")
            }
            for entry in entries {
                let reader = try log.reader(version: try LogEntryBody(parsing: entry.body).isRekorV2 ? .v2 : .v1)
                let found = try waiting { () throws(SigstoreError) in
                    try await reader.client.entry(
                        at: entry.logIndex, root: reader.root, now: SystemClock.now())
                }
                guard found.entry.body == entry.body, found.log.logID == entry.logID,
                    found.entry.integratedTime == entry.integratedTime
                else {
                    throw SigstoreError(
                        .logEntryMismatch,
                        "entry \(entry.logIndex) of the log \(reader.client.url) is another one than the bundle's",
                        advice:
                            "check that the bundle is of this log; its entry was not recorded there, or at another time"
                    )
                }
                try check(found, digest, reader)
            }
            Output.note(
                "The bundle's own signature was not looked at: verify-blob and verify-blob-attestation do that.")
        }

        private func check(_ entry: VerifiedLogEntry, _ digest: Digest?, _ reader: LogOptions.Reader)
            throws(SigstoreError)
        {
            if let digest, try !entry.states(.digest(digest)) {
                throw SigstoreError(
                    .logEntryMismatch, "entry \(entry.entry.logIndex) is not about \(digest)",
                    advice: "check that the file is the one that was signed")
            }
            try log.show(entry, reader)
            Output.note("The entry is in the log, as the log has signed.")
        }
    }

    struct Info: ParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "info", abstract: "Shows how large a log is, as it has signed.")

        @OptionGroup(title: "Log") var log: LogOptions
        @OptionGroup(title: "Global options") var global: GlobalOptions

        mutating func run() throws {
            try global.apply()
            let reader = try log.reader()
            let found = try waiting { () throws(SigstoreError) in
                try await reader.client.checkpoint(root: reader.root, now: SystemClock.now())
            }
            let rows: [(name: String, value: String, json: JSONValue)] = [
                ("log", reader.client.url.description, .string(reader.client.url.description)),
                ("origin", found.checkpoint.origin, .string(found.checkpoint.origin)),
                ("treeSize", String(found.checkpoint.treeSize), .integer(found.checkpoint.treeSize)),
                ("rootHash", Hexadecimal.encode(found.checkpoint.rootHash), .bytes(found.checkpoint.rootHash)),
            ]
            if log.output == .json {
                let members =
                    rows.map { (name: $0.name, value: $0.json) } + [
                        (name: "checkpoint", value: .string(found.note)), TrustVariables.member(reader.trustVariables),
                    ]
                return try Output.json(.object(JSONObject([(name: "version", value: .integer(1))] + members)))
            }
            for row in rows { try Output.result("\(row.name): \(row.value)") }
            Output.note("The log has signed this.")
        }
    }
}

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

    func entry(_ reader: LogOptions.Reader) throws(SigstoreError) -> VerifiedLogEntry {
        let (logIndex, uuid) = (logIndex, uuid)
        return try waiting { () throws(SigstoreError) in
            let now = SystemClock.now()
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

    /// Makes the client of the log that is meant.
    /// - Parameter wanted: The version of the API that the log must speak; `nil` where any will do.
    func reader(version wanted: RekorClient.Version? = nil) throws(SigstoreError) -> Reader {
        if let rekorVersion, RekorClient.Version(rawValue: rekorVersion) == nil {
            throw SigstoreError(.usage, "--rekor-version is \(rekorVersion), expected 1 or 2")
        }
        let sources = TrustSources(trustedRoot: trustedRoot, staging: staging)
        let names = TrustVariables.named(sources.variables)
        let (root, (url, version)) = try TUFAccess.advising(TUFAccess.filesInstead) { () throws(SigstoreError) in
            (try sources.trustedRoot(offline: false), try place(wanted))
        }
        return Reader(
            client: RekorClient(url: url, version: version, http: try TUFAccess.http()), root: root,
            trustVariables: names)
    }

    private func place(_ wanted: RekorClient.Version?) throws(SigstoreError) -> (HTTPURL, RekorClient.Version) {
        let given = rekorVersion.flatMap { RekorClient.Version(rawValue: $0) } ?? wanted
        let named = try rekorURL.map { text throws(SigstoreError) in try HTTPURL(parsing: text) }
        if let named, let given { return (named, given) }
        let config: SigningConfig
        if let signingConfig {
            let file = InputFile(signingConfig)
            let content = try file.contents(limit: 1 << 20)
            do throws(SigstoreError) { config = try SigningConfig(parsing: content) } catch {
                throw error.concerning(file.name)
            }
        } else if let named {
            return (named, .v1)
        } else {
            config = try SigningConfig(
                parsing: try TUFAccess(staging: staging).target(TUFMirror.signingConfigTarget, offline: false))
        }
        let now = Instant(seconds: SystemClock.now())
        // What signing would use comes first; an older entry may be in a log that is not written to any more.
        for log in try config.transparencyLogs(at: now) + config.transparencyLogs {
            guard let version = RekorClient.Version(rawValue: log.majorAPIVersion) else { continue }
            let url = try HTTPURL(parsing: log.url)
            if given.map({ $0 == version }) ?? true,
                named.map({ $0.description.utf8.elementsEqual(url.description.utf8) }) ?? true
            {
                return (url, version)
            }
        }
        if let named { return (named, .v1) }
        throw SigstoreError(
            .noUsableService,
            "the signing config names no transparency log\(given.map { " of Rekor v\($0.rawValue)" } ?? "")",
            advice: "name the log with --rekor-url")
    }

    /// Prints an entry.
    func show(_ found: VerifiedLogEntry, _ reader: Reader) throws(SigstoreError) {
        let entry = found.entry
        let url = reader.client.url.description
        if output == .json {
            var object: JSONObject = [
                "version": .integer(1), "log": .string(url), "logIndex": .integer(entry.logIndex),
                "leafHash": .string(Hexadecimal.encode(found.leafHash)), "body": try JSONValue(parsing: entry.body),
                "entry": entry.json,
            ]
            if entry.promise != nil { object["integratedTime"] = .string(CalendarTime.iso8601(entry.integratedTime)) }
            let member = TrustVariables.member(reader.trustVariables)
            object[member.name] = member.value
            return try Output.json(.object(object))
        }
        try Output.result("entry: \(entry.logIndex) of \(url)")
        try Output.result("  kind: \(entry.kind) \(entry.kindVersion)")
        if entry.promise != nil { try Output.result("  recorded: \(CalendarTime.iso8601(entry.integratedTime))") }
        switch found.body.subject {
        case .message(let digest): try Output.result("  about: \(digest)")
        case .payload(let digest): try Output.result("  about: an attestation, \(digest)")
        case .envelope(let digest, let payload):
            try Output.result("  about: an attestation, \(payload), in an envelope, \(digest)")
        }
        for signature in found.body.signatures {
            try Output.result("  signer: \(try signer(signature, found, reader.root))")
        }
        try Output.result("  leaf: \(Hexadecimal.encode(found.leafHash))")
        if let proof = entry.proof {
            try Output.result(
                "  proof: in a tree of \(proof.treeSize) with the root \(Hexadecimal.encode(proof.rootHash))")
        }
    }

    /// Who verifies a signature. A log takes any certificate, so it is said whether a trusted authority issued it.
    private func signer(_ signature: LogEntryBody.Signature, _ found: VerifiedLogEntry, _ root: TrustedRoot)
        throws(SigstoreError) -> String
    {
        switch signature.verifier {
        case .publicKey(let spki): return "the key \(Base64.encode(try Digest.sha256(spki).bytes))"
        case .certificate(let der):
            let certificate = try Certificate(der: der)
            let name = certificate.subjectAlternativeNames.first?.text ?? certificate.displayName
            var issuer = try certificate.fulcioExtension(8)
            if issuer == nil { issuer = try certificate.fulcioExtension(1) }
            let time = found.entry.promise == nil ? certificate.notBefore : found.entry.integratedTime
            for authority in root.certificateAuthorities where authority.validFor.contains(Instant(seconds: time)) {
                do throws(SigstoreError) {
                    _ = try CertificatePath.build(
                        leaf: certificate, intermediates: authority.intermediates, anchors: authority.anchors, at: time,
                        purpose: .codeSigning)
                } catch { continue }
                return "\(name)\(issuer.map { " (issuer \($0))" } ?? "")"
            }
            return "a certificate that no trusted authority issued, which says \(name)"
        }
    }
}
