import ArgumentParser
import OCIRegistry
import SigstoreCrypto
import StrictJSON
import SwSignCore

struct Logout: SwSignCommand {
    static let configuration = CommandConfiguration(
        commandName: "logout", abstract: "Forgets the credentials for a registry.")

    @Argument(help: "The registry; Docker Hub unless given.")
    var server: String?
    @OptionGroup(title: "Global options") var global: GlobalOptions

    func run(_ context: Context) throws(SigstoreError) {
        let server = try server.map { (name) throws(SigstoreError) in try Registry(parsing: name) } ?? .dockerHub
        let credentials = CredentialStore(environment: context.environment.value)
        let wasThere = try waiting { () throws(SigstoreError) in try await credentials.remove(for: server) }
        context.output.note(
            wasThere ? "removed the credentials for \(server)" : "there were no credentials for \(server)")
    }
}
