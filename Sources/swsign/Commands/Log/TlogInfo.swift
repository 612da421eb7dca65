import ArgumentParser
import HTTPTransport
import LocalSystem
import SigstoreClients
import SigstoreCrypto
import SigstoreVerification
import StrictJSON

struct TlogInfo: SwSignCommand {
    static let configuration = CommandConfiguration(
        commandName: "info", abstract: "Shows how large a log is, as it has signed.")

    @OptionGroup(title: "Log") var log: LogOptions
    @OptionGroup(title: "Global options") var global: GlobalOptions

    func run(_ context: Context) throws(SigstoreError) {
        let reader = try log.reader(context)
        let found = try waiting { () throws(SigstoreError) in
            try await reader.client.checkpoint(root: reader.root, now: context.now())
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
            return try context.output.json(.object(JSONObject([(name: "version", value: .integer(1))] + members)))
        }
        for row in rows { try context.output.result("\(row.name): \(row.value)") }
        context.output.note("The log has signed this.")
    }
}
