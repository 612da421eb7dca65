import ArgumentParser
import InToto
import StrictJSON
import SwSignCore

/// The flags that say what is attested: a predicate, or a whole statement.
struct StatementOptions: ParsableArguments {
    @Option(help: "The file with the predicate; - is standard input.")
    var predicate: String?
    @Option(help: "A file with a whole in-toto statement, signed as it is; - is standard input.")
    var statement: String?
    @Option(
        help: "The type of the predicate: \(PredicateType.nameList), or a URI.", completion: .predicateTypes)
    var type = "custom"

    func expectOne() throws(SigstoreError) {
        guard (predicate == nil) != (statement == nil) else {
            throw SigstoreError(.usage, "exactly one of --predicate and --statement must be given")
        }
    }

    /// The file that is named.
    var input: InputFile { InputFile(predicate ?? statement ?? "") }
}

extension StatementOptions: FlagReader {
    mutating func take(_ given: inout GivenFlags) {
        predicate = given.value("predicate")
        statement = given.value("statement")
        type = given.value("type") ?? "custom"
    }
}
