import ArgumentParser
import HTTPTransport
import LocalSystem
import SigstoreClients
import SigstoreCrypto
import SigstoreVerification
import StrictJSON
import SwSignCore

struct TlogVerify: SwSignCommand {
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

    func run(_ context: Context) throws(SigstoreError) {
        let digest =
            artifact == nil && sha == nil ? nil : try LogOptions.digest(artifact: artifact, sha: sha)
        guard let bundle else {
            try place.expectOne()
            let reader = try log.reader(context)
            return try check(try place.entry(reader, context), digest, reader, context)
        }
        guard !place.isGiven else {
            throw SigstoreError(.usage, "give --bundle, or the entry's index or UUID")
        }
        let entries = try SignatureFile.bundle(InputFile(bundle)).logEntries
        guard !entries.isEmpty else {
            throw SigstoreError(.noLogEntry, "\(bundle) has no entry in a transparency log")
        }
        for entry in entries {
            let reader = try log.reader(
                version: try LogEntryBody(parsing: entry.body).isRekorV2 ? .v2 : .v1, logID: entry.logID, context)
            try reader.expectOwnLog(of: entry)
            let found = try waiting { () throws(SigstoreError) in
                try await reader.client.entry(
                    at: entry.logIndex, root: reader.root, now: context.now())
            }
            guard found.log.logID == entry.logID else { throw reader.otherLog(entry, than: found.log.logID) }
            guard found.entry.body == entry.body, found.entry.integratedTime == entry.integratedTime else {
                throw SigstoreError(
                    .logEntryMismatch,
                    "entry \(entry.logIndex) of the log \(reader.client.url) is another one than the bundle's",
                    advice:
                        "check that the bundle is of this log; its entry was not recorded there, or at another time"
                )
            }
            try check(found, digest, reader, context)
        }
        context.output.note(
            "The bundle's own signature was not looked at: verify-blob and verify-blob-attestation do that.")
    }

    private func check(_ entry: VerifiedLogEntry, _ digest: Digest?, _ reader: LogOptions.Reader, _ context: Context)
        throws(SigstoreError)
    {
        if let digest, try !entry.states(.digest(digest)) {
            throw SigstoreError(
                .logEntryMismatch, "entry \(entry.entry.logIndex) is not about \(digest)",
                advice: "check that the file is the one that was signed")
        }
        try log.show(entry, reader, context.output)
        context.output.note("The entry is in the log, as the log has signed.")
    }
}

extension LogOptions.Reader {
    /// Refuses to look an entry up in a log that is known to be another one than its own.
    fileprivate func expectOwnLog(of entry: TransparencyLogEntry) throws(SigstoreError) {
        let address = client.url.description
        let here = root.transparencyLogs.filter { log in
            (try? HTTPURL(parsing: log.baseURL))?.description.utf8.elementsEqual(address.utf8) ?? false
        }
        guard let other = here.first, !here.contains(where: { $0.logID == entry.logID }) else { return }
        throw otherLog(entry, than: other.logID)
    }

    fileprivate func otherLog(_ entry: TransparencyLogEntry, than logID: [UInt8]) -> SigstoreError {
        let own = root.transparencyLogs.first { $0.logID == entry.logID && !$0.baseURL.isEmpty }
        return SigstoreError(
            .logEntryMismatch,
            "the bundle's entry \(entry.logIndex) is in another log: expected the log \(Hexadecimal.encode(entry.logID)), and "
                + "\(client.url) is the log \(Hexadecimal.encode(logID))",
            advice: own.map { log in
                "leave out --rekor-url and --signing-config: by the trusted root, the entry's log is \(log.name)"
            } ?? "name the entry's own log with --rekor-url, and a trusted root that knows it with --trusted-root")
    }
}
