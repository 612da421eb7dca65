import ArgumentParser
import InToto
import LocalSystem
import SigstoreCrypto
import SigstoreVerification
import StrictJSON
import SwSignCore

struct VerifyBlob: FileVerificationCommand {
    static let configuration = CommandConfiguration(
        commandName: "verify-blob", _superCommandName: SwSign.name, abstract: "Verifies the signatures of files.")

    @Argument(
        help:
            "The files that were signed, or directories of them; - is standard input, sha256:<hex> a file of which only the digest is known."
    )
    var files: [String]
    @OptionGroup(title: "Signature") var signature: SignatureOptions
    @OptionGroup(title: "Verification") var verification: VerificationOptions
    @OptionGroup(title: "Identity") var identity: IdentityOptions
    @OptionGroup(title: "Trust") var trust: TrustOptions
    @Option(name: .shortAndLong, help: "How results are printed: text, or json on standard output, one object a file.")
    var output: OutputFormat = .text
    @OptionGroup(title: "Global options") var global: GlobalOptions

    func run(_ context: Context) throws(SigstoreError) {
        try BlobBatch.expectOneStandardInput(files + signature.standardInputs)
        let inputs = try inputs(context)
        try signature.expectSound(files: inputs.count)
        let signers = try signers(context)
        let signature = self.signature
        try verifying(signers, context).run(inputs) { file throws(SigstoreError) in
            try signature.bundles(for: file, attestation: false)
        } claim: { file throws(SigstoreError) in
            .message(try file.artifact())
        }
    }
}

extension InputFile {
    /// The artifact that the person named: a file, or `sha256:<hex>` (`sha384:`, `sha512:`) if no file has that name.
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

extension VerifyBlob: FlagReader {
    mutating func take(_ given: inout GivenFlags) {
        files = given.names(atLeast: 1)
        signature = SignatureOptions(&given)
        verification = VerificationOptions(&given)
        identity = IdentityOptions(&given)
        trust = TrustOptions(&given)
        output = given.value("output") ?? .text
        global = GlobalOptions(&given)
    }
}
