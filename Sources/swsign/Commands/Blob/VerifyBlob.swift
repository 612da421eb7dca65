import ArgumentParser
import InToto
import LocalSystem
import SigstoreCrypto
import SigstoreVerification
import StrictJSON
import SwSignCore

struct VerifyBlob: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "verify-blob", _superCommandName: "swsign", abstract: "Verifies the signatures of files.")

    @Argument(
        help:
            "The files that were signed, or directories of them; - is standard input, sha256:<hex> a file of which only the digest is known."
    )
    var files: [String]
    @OptionGroup var options: FileVerificationOptions
    @OptionGroup(title: "Global options") var global: GlobalOptions

    mutating func run() throws {
        try global.apply()
        try BlobBatch.expectOneStandardInput(files + options.signature.standardInputs)
        let inputs = try options.files(files)
        try options.signature.expectSound(files: inputs.count)
        let policy = try options.policy(files)
        let signature = options.signature
        try options.verifying().run(inputs) { file throws(SigstoreError) in
            try signature.bundles(for: file, attestation: false)
        } policy: { file throws(SigstoreError) in
            policy(.message(try file.artifact()))
        }
    }
}

extension InputFile {
    /// The artifact that the person named: a file, or `sha256:<hex>` (`sha384:`, `sha512:`) where no file has that name.
    func artifact() throws(SigstoreError) -> any ArtifactSource {
        let isDigest = HashAlgorithm.allCases.contains { path.utf8.starts(with: "\($0.rawValue):".utf8) }
        guard isDigest, !OutputFile(path).exists else { return self }
        return ArtifactDigest(try Digest(parsing: path))
    }
}

extension PredicateType {
    /// The short names that `--type` knows.
    static let nameList = shortNames.map(\.name).joined(separator: ", ")
}
