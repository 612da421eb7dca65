import ArgumentParser
import OCIRegistry
import SigstoreCrypto
import StrictJSON
import SwSignCore

struct Logout: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "logout", abstract: "Forgets the credentials for a registry.")

    @Argument(help: "The registry; Docker Hub unless given.")
    var server: String?
    @OptionGroup(title: "Global options") var global: GlobalOptions

    mutating func run() throws {
        try global.apply()
        let server = try server.map { (name) throws(SigstoreError) in try Registry(parsing: name) } ?? .dockerHub
        let wasThere = try waiting { () throws(SigstoreError) in try await CredentialStore().remove(for: server) }
        Output.note(wasThere ? "removed the credentials for \(server)" : "there were no credentials for \(server)")
    }
}
