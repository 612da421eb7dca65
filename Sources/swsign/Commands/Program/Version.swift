import ArgumentParser
import LocalSystem
import StrictJSON
import SwSignCore

struct Version: SwSignCommand {
    static let configuration = CommandConfiguration(commandName: "version", abstract: "Prints the version.")
    static let number = "0.1.0"

    @Flag(help: "Print JSON.")
    var json = false
    @OptionGroup(title: "Global options") var global: GlobalOptions

    /// The system and architecture that this program was built for, as Go names them.
    static var platform: String {
        #if arch(x86_64)
            "linux/amd64"
        #elseif arch(arm64)
            "linux/arm64"
        #else
            "linux"
        #endif
    }

    func run(_ context: Context) throws(SigstoreError) {
        if json {
            try context.output.json(
                .object(["gitVersion": .string("v\(Self.number)"), "platform": .string(Self.platform)]))
        } else {
            try context.output.text("swsign: signs and verifies container images, attestations and files\n\n")
            try context.output.text("GitVersion:    v\(Self.number)\nPlatform:      \(Self.platform)\n")
        }
    }
}

extension Version: FlagReader {
    mutating func take(_ given: inout GivenFlags) {
        json = given.isOn("json")
        global = GlobalOptions(&given)
    }
}
