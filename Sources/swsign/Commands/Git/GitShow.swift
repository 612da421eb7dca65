import ArgumentParser
import InToto
import LocalSystem
import Provenance
import StrictJSON
import SwSignCore

struct GitShow: SwSignCommand {
    static let configuration = CommandConfiguration(
        commandName: "show", _superCommandName: "\(SwSign.name) git",
        abstract: "Prints what a commit or tag says of itself as a statement, as gitsign does. Nothing is verified.")

    @Argument(help: "The commit or tag.")
    var revision = "HEAD"
    @Option(name: .shortAndLong, help: "The remote repository whose address names the subject.")
    var remote = "origin"
    @Option(
        name: [.customLong("directory"), .customShort("C")],
        help: "The repository; without it, the one of the working directory.")
    var directory: String?
    @OptionGroup(title: "Global options") var global: GlobalOptions

    func run(_ context: Context) throws(SigstoreError) {
        let repository = GitRepository(folder: directory, environment: context.environment.all)
        let (revision, remote) = (revision, remote)
        let statement = try waiting { () throws(SigstoreError) in
            try await onBlockingThread { () throws(SigstoreError) in
                let selection = try repository.objects([revision], all: false)
                guard !selection.isWalk else {
                    throw SigstoreError(.usage, "\(revision) is a range", advice: "name one commit or tag")
                }
                var statement: Statement?
                let address = try repository.address(ofRemote: remote)
                try repository.read(selection.ids) { entries throws(SigstoreError) in
                    guard let entry = entries.first else { return }
                    guard let kind = GitObject.Kind(rawValue: entry.type), let content = entry.content else {
                        throw SigstoreError(
                            .malformedGitObject, "\(revision) is no commit or tag that can be read",
                            advice: "name a commit or a tag")
                    }
                    statement = try GitObject(content, kind).statement(repository: address)
                }
                return statement
            }
        }
        guard let statement else { throw SigstoreError(.noGitObject, "\(revision) is not in the repository") }
        try context.output.json(statement.json())
    }
}
