import ArgumentParser
import InToto
import SigstoreClients
import SigstoreCrypto
import SwSignCore

/// The flags of the commands that sign files.
struct SigningOptions: ParsableArguments {
    @Option(help: "The private key: a file, env://NAME, or - for standard input.")
    var key: String?
    @Option(help: "Write a Sigstore bundle to this file.")
    var bundle: String?
    @Option(name: .customLong("output-signature"), help: "Write the signature to this file.")
    var outputSignature: String?
    @Option(name: .customLong("output-directory"), help: "Write the bundle of each file into this directory.")
    var outputDirectory: String?
    @Flag(
        name: .customLong("new-bundle-format"), inversion: .prefixedNo,
        help: "Write bundles of version 0.3; otherwise the form that cosign 2 wrote.")
    var newBundleFormat = true
    @Flag(
        name: .customLong("tlog-upload"), inversion: .prefixedNo,
        help: "Record the signature in a transparency log.")
    var tlogUpload = true
    @Option(name: .customLong("signing-config"), help: "A signing config file: the services to sign with.")
    var signingConfig: String?
    @Flag(
        name: .customLong("use-signing-config"), inversion: .prefixedNo,
        help: "Take the services from the public instance's signing config.")
    var useSigningConfig = true
    @Flag(name: .shortAndLong, help: "Replace bundles that stand beside their files already, without asking.")
    var yes = false

    /// Refuses what needs services: until signing with a log is built, the person says that there is none.
    func expectNoServices() throws(SigstoreError) {
        guard key != nil else {
            throw SigstoreError(
                .notBuiltYet, "signing without a key cannot be used yet; nothing was signed",
                advice: "give a private key with --key (make one with swsign generate-key-pair)")
        }
        if let signingConfig {
            let config: SigningConfig
            do throws(SigstoreError) {
                config = try SigningConfig(parsing: try InputFile(signingConfig).contents(limit: 1 << 20))
            } catch { throw error.concerning(signingConfig) }
            guard config.transparencyLogs.isEmpty, config.timestampAuthorities.isEmpty else {
                throw SigstoreError(
                    .notBuiltYet,
                    "\(signingConfig) names transparency logs or timestamp authorities, which cannot be used yet; nothing was signed",
                    advice: "give a signing config without services, or --tlog-upload=false")
            }
        } else if tlogUpload {
            throw SigstoreError(
                .notBuiltYet, "signatures cannot be recorded in a transparency log yet; nothing was signed",
                advice: "add --tlog-upload=false, or --signing-config with a file that names no log, to sign without one")
        }
    }

    /// Refuses combinations of outputs that cannot all be meant.
    /// - Parameter files: How many files are signed.
    func expectSoundOutputs(files: Int) throws(SigstoreError) {
        if files > 1, bundle != nil || outputSignature != nil {
            throw SigstoreError(
                .usage, "\(files) files are to be signed, and --bundle or --output-signature names only one",
                advice: "leave it out (each bundle goes beside its file) or give --output-directory")
        }
        if bundle != nil, outputDirectory != nil {
            throw SigstoreError(.usage, "--bundle and --output-directory cannot be given together")
        }
    }

    /// Refuses two files whose bundles would get one name.
    func expectDistinctBundles(_ files: [InputFile]) throws(SigstoreError) {
        guard outputDirectory != nil else { return }
        var paths: Set<[UInt8]> = []
        for file in files where !file.isStandardInput {
            let path = try bundleFile(for: file).path
            guard paths.insert(Array(path.utf8)).inserted else {
                throw SigstoreError(
                    .usage, "the bundles of two files would both be \(path)",
                    advice: "leave --output-directory out (each bundle goes beside its file), or sign them in two calls")
            }
        }
    }

    /// Opens the private key.
    /// - Parameter standardInputIsTaken: Whether something else is read from standard input.
    func signer(standardInputIsTaken: Bool) throws(SigstoreError) -> PrivateKey {
        let reference = try KeyReference(key ?? "")
        if reference.takesStandardInput && standardInputIsTaken {
            throw SigstoreError(.usage, "standard input (-) is named twice", advice: "name a file for one of the two")
        }
        return try reference.privateKey { () throws(SigstoreError) in
            try Terminal.password(standardInputIsTaken: standardInputIsTaken || reference.takesStandardInput)
        }
    }

    /// Where the bundle of a file goes that was given no name: beside the file, or into the directory.
    func bundleFile(for file: InputFile) throws(SigstoreError) -> OutputFile {
        guard !file.isStandardInput else {
            throw SigstoreError(
                .usage, "there is no name for the bundle of standard input", advice: "give --bundle FILE")
        }
        guard let outputDirectory else { return OutputFile(file.path + SignatureFile.bundleSuffix) }
        return OutputFile("\(outputDirectory)/\(file.baseName)\(SignatureFile.bundleSuffix)")
    }

    /// Writes a bundle beside its file; one that stands there already is only replaced with `--yes`.
    func writeBeside(_ bundle: [UInt8], _ output: OutputFile) throws(SigstoreError) {
        do throws(SigstoreError) { try output.write(bundle, replacing: yes) } catch where error.code == .fileExists {
            throw SigstoreError(
                .fileExists, error.message, advice: "give --yes to replace it, or --output-directory for another place")
        }
        Output.note("Wrote bundle to file \(output.path)")
    }
}
