import ArgumentParser
import HTTPTransport
import SigstoreClients
import SigstoreVerification
import StrictJSON
import SwSignCore

struct Initialize: SwSignCommand {
    static let configuration = CommandConfiguration(
        commandName: "initialize",
        abstract: "Fetches and verifies a Sigstore instance's trust root over TUF, and uses that instance from now on.")

    @Option(
        help: "The TUF mirror: an https, http or file URL; without it, that of TUF_MIRROR, or the public instance's.")
    var mirror: String?
    @Option(
        help:
            "The root file that everything is verified from: a path or URL; without it, the one given before, or the one built in."
    )
    var root: String?
    @Option(
        name: .customLong("root-checksum"),
        help: "The SHA-256 of the root file (or sha512:<hex>); needed if it comes over a network.")
    var rootChecksum: String?
    @Flag(help: "Use the public instance's staging, which is for rehearsals only.")
    var staging = false
    @OptionGroup(title: "Global options") var global: GlobalOptions

    func run(_ context: Context) throws(SigstoreError) {
        let (environment, fetcher) = (context.environment.all, TUFMirrorFetcher(try context.http()))
        let (root, checksum, staging) = (root, rootChecksum, staging && mirror == nil)
        // Without any word on which mirror, it is the public one, whatever was initialized before.
        let named = environment["TUF_MIRROR"].map { !$0.isEmpty } ?? false
        let mirror = mirror ?? (staging || named ? nil : TUFMirror.production.url)
        let version = try waiting { () throws(SigstoreError) in
            var given: [UInt8]?
            if let root { given = try await TUFMirror.readRoot(root, checksum: checksum, fetcher: fetcher) }
            let chosen = try TUFMirror.resolve(
                url: mirror, root: given, staging: staging, environment: environment)
            return try await chosen.initialize(
                keepingRoot: given != nil, environment: environment, fetcher: fetcher,
                notice: { context.output.warn($0.message) }
            ).root.version
        }
        // A mirror or root that was given leaves the instance's own variables without a part.
        var variables = TUFAccess(staging: staging || mirror != nil, context).variables
        if root != nil { variables.removeAll { $0 == "TUF_ROOT_JSON" } }
        context.trustVariables.named(variables)
        context.output.note("The trust root was fetched and verified: version \(version) of the root metadata")
    }
}
