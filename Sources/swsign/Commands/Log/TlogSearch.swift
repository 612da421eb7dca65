import ArgumentParser
import LocalSystem
import SigstoreClients
import SigstoreVerification
import StrictJSON
import SwSignCore

struct TlogSearch: SwSignCommand {
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

    func run(_ context: Context) throws(SigstoreError) {
        guard [artifact, sha, email, publicKey].filter({ $0 != nil }).count == 1 else {
            throw SigstoreError(.usage, "give exactly one of --artifact, --sha, --email and --public-key")
        }
        let term: LogSearchTerm
        if let email {
            term = .email(email)
        } else if let publicKey {
            term = .key(try context.key(publicKey).readPublicKey())
        } else {
            term = .digest(try LogOptions.digest(artifact: artifact, sha: sha))
        }
        let reader = try log.reader(context)
        let found = try waiting { () throws(SigstoreError) in try await reader.client.search(term) }
        guard !found.isEmpty else {
            throw SigstoreError(
                .noSuchLogEntry, "the log \(reader.client.url) has no such entry",
                advice: "an entry may also be in another log: name it with --rekor-url")
        }
        if found.count > Self.limit {
            context.output.warn("the log has \(found.count) such entries; \(Self.limit) are shown")
        }
        for uuid in found.prefix(Self.limit) {
            let entry = try waiting { () throws(SigstoreError) in
                try await reader.client.entry(uuid: uuid, root: reader.root, now: context.now())
            }
            if try !entry.states(term) {
                context.output.warn(
                    "that entry \(entry.entry.logIndex) is about this says the log's index, and not the entry itself"
                )
            }
            try log.show(entry, reader, context.output)
        }
    }
}
