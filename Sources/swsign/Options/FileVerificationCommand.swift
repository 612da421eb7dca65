import SigstoreVerification
import StrictJSON
import SwSignCore

/// A command that verifies files.
protocol FileVerificationCommand: SwSignCommand {
    var files: [String] { get }
    var signature: SignatureOptions { get }
    var verification: VerificationOptions { get }
    var identity: IdentityOptions { get }
    var trust: TrustOptions { get }
    var output: OutputFormat { get }
}

extension FileVerificationCommand {
    /// The files that were named, or that stand in the directories that were named.
    func inputs(_ context: Context) throws(SigstoreError) -> [InputFile] {
        try FileVerification.files(files, expandingDirectories: signature.standardInputs.isEmpty, context)
    }

    /// What must hold, warning of each check that is weaker than usual.
    func signers(_ context: Context) throws(SigstoreError) -> DemandedSigners {
        try verification.signers(
            identity, standardInputIsTaken: (files + signature.standardInputs).contains("-"), context)
    }

    /// What verifies the files and prints what came of each.
    /// - Parameter signers: Who must have signed.
    func verifying(_ signers: DemandedSigners, _ context: Context) throws(SigstoreError) -> FileVerification {
        let verifier = try verification.verifier(identity, trust, context)
        return FileVerification(
            format: output, workers: signature.maxWorkers, verifier: verifier, signers: signers,
            trustVariables: verification.trustVariables(identity, trust, context),
            isDetached: signature.signature != nil && signature.bundle == nil,
            lookup: verification.lookup(verifier, signers, context), isOffline: verification.offline, context: context)
    }
}
