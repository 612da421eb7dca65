import ArgumentParser
import SigstoreVerification
import StrictJSON
import SwSignCore

/// The flags that both commands that verify files have.
struct FileVerificationOptions: ParsableArguments {
    @OptionGroup(title: "Signature") var signature: SignatureOptions
    @OptionGroup(title: "Verification") var verification: VerificationOptions
    @OptionGroup(title: "Identity") var identity: IdentityOptions
    @OptionGroup(title: "Trust") var trust: TrustOptions
    @Option(name: .shortAndLong, help: "How results are printed: text, or json on standard output, one object a file.")
    var output: OutputFormat = .text

    /// The files that the names stand for.
    func files(_ names: [String]) throws(SigstoreError) -> [InputFile] {
        try FileVerification.files(names, expandingDirectories: signature.standardInputs.isEmpty)
    }

    /// What must hold, warning of each check that is weaker than usual.
    /// - Parameter names: The files as the person named them; one may be standard input.
    func policy(_ names: [String]) throws(SigstoreError) -> @Sendable (VerificationPolicy.Claim) -> VerificationPolicy {
        try verification.policy(identity, standardInputIsTaken: (names + signature.standardInputs).contains("-"))
    }

    /// What verifies the files and prints what came of each.
    func verifying() throws(SigstoreError) -> FileVerification {
        FileVerification(
            format: output, workers: signature.maxWorkers, verifier: try verification.verifier(trust),
            trustVariables: verification.trustVariables(trust),
            isDetached: signature.signature != nil && signature.bundle == nil)
    }
}
