import ArgumentParser
import InToto
import LocalSystem
import SigstoreVerification
import StrictJSON
import SwSignCore

struct GitAttest: SwSignCommand {
    static let configuration = CommandConfiguration(
        commandName: "attest", _superCommandName: "\(SwSign.name) git",
        abstract: "Signs a statement about a commit or its files, and keeps it in the repository, as gitsign does.")

    @Argument(help: "The commit.")
    var revision = "HEAD"
    @Option(name: [.customLong("filepath"), .customShort("f")], help: "The file with the predicate, in JSON.")
    var predicate: String
    @Option(help: "The type of the predicate: \(PredicateType.nameList), or a URI.", completion: .predicateTypes)
    var type = "custom"
    @Option(
        name: .customLong("objtype"),
        help: "What the statement is about: commit, or tree, which is the commit's files.")
    var kind = Kind.commit
    @Option(
        name: [.customLong("directory"), .customShort("C")],
        help: "The repository; without it, the one of the working directory.")
    var directory: String?
    @Option(
        help:
            "The private key: a file, env://NAME, - for standard input, or a key service's reference. Without it, an identity signs."
    )
    var key: String?
    @OptionGroup var securityKey: SecurityKeyOptions
    @Flag(name: .shortAndLong, help: "Do not ask before something becomes public.")
    var yes = false
    @OptionGroup(title: "Services and identity") var services: ServiceOptions
    @OptionGroup(title: "Global options") var global: GlobalOptions

    enum Kind: String, ExpressibleByArgument, CaseIterable {
        case commit, tree

        var subject: GitAttestation.Subject { self == .commit ? .commit : .tree }
    }

    func run(_ context: Context) throws(SigstoreError) {
        var none = GivenFlags([])
        var signing = SigningOptions(&none)
        (signing.key, signing.securityKey, signing.yes) = (key, securityKey, yes)
        let repository = GitRepository(folder: directory, environment: context.environment.all)
        let file = InputFile(predicate)
        guard !file.isStandardInput else {
            throw SigstoreError(.usage, "the predicate is kept by its file's name", advice: "name a file")
        }
        let content = try file.contents(limit: Attester.predicateLimit)
        let (revision, subject) = (revision, kind.subject)
        let id = try waiting { () throws(SigstoreError) in
            try await onBlockingThread { () throws(SigstoreError) in try repository.attested(revision, subject) }
        }
        let attestation: GitAttestation
        do throws(SigstoreError) {
            attestation = try GitAttestation(subject, id, name: file.baseName, predicate: content, type: type)
        } catch { throw error.code == .malformedPredicate ? error.concerning(file.name) : error }
        let session = try services.session(signing, standardInputIsTaken: false, entryPlace: .bundle, context)
        try BlobSigner(session).expectRecordable(statementsAs: .bundle)
        try services.confirm(session, signing, attestations: true, unkept: nil, context)
        try waiting { () throws(SigstoreError) in
            let signed = try await BlobSigner(session).attest(attestation.statement)
            try await session.deliver(signed) { bundle throws(SigstoreError) in
                let commit = try await onBlockingThread { () throws(SigstoreError) in
                    try repository.keep(attestation, bundle)
                }
                try context.output.result(commit)
            }
        }
        context.output.note("Attested the \(subject.rawValue) \(id) in \(subject.reference)", .success)
    }
}
