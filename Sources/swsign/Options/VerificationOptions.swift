import ArgumentParser
import InToto
import SigstoreCrypto
import SigstoreVerification
import SwSignCore

/// The flags of the commands that verify.
struct VerificationOptions: ParsableArguments {
    @Option(help: "The public key: a file, env://NAME, or - for standard input.")
    var key: String?
    @Option(help: "The bundle; without it, FILE.sigstore.json or FILE.sigstore beside the file.")
    var bundle: String?
    @Option(help: "The signature: a file, or the base64 itself.")
    var signature: String?
    @Flag(
        name: .customLong("new-bundle-format"), inversion: .prefixedNo,
        help: "Accepted as in cosign; both forms of bundles are always read.")
    var newBundleFormat = true
    @Flag(name: .customLong("insecure-ignore-tlog"), help: "Do not demand an entry in a transparency log. Weakens the check.")
    var insecureIgnoreTlog = false
    @Flag(name: .customLong("private-infrastructure"), help: "The same, for signatures that were meant to be made without a log.")
    var privateInfrastructure = false
    @Option(name: .customLong("trusted-root"), help: "A trusted root file: the authorities and logs to believe.")
    var trustedRoot: String?
    @Flag(help: "Use no network. Files are always verified without.")
    var offline = false
    @Option(name: .customLong("max-workers"), help: "How many files are verified at the same time.")
    var maxWorkers = 10
    @Option(name: .shortAndLong, help: "How results are printed: text, or json on standard output, one object a file.")
    var output: OutputFormat = .text

    enum OutputFormat: String, ExpressibleByArgument, CaseIterable { case text, json }

    /// What is demanded of logs; says so where that is less than usual.
    func transparencyLogRule() -> VerificationPolicy.TransparencyLogRule {
        guard insecureIgnoreTlog || privateInfrastructure else { return .required(threshold: 1) }
        Output.warn(
            "transparency log entries are not demanded: nothing shows that this signature was made in public "
                + "(\(insecureIgnoreTlog ? "--insecure-ignore-tlog" : "--private-infrastructure"))")
        return .insecurelyIgnored
    }

    /// The key that must have signed.
    func publicKey(standardInputIsTaken: Bool) throws(SigstoreError) -> PublicKey {
        guard let key else {
            throw SigstoreError(
                .notBuiltYet, "verifying certificates cannot be used yet; nothing was verified",
                advice: "give the signer's public key with --key")
        }
        let reference = try KeyReference(key)
        if reference.takesStandardInput && standardInputIsTaken {
            throw SigstoreError(.usage, "standard input (-) is named twice", advice: "name a file for one of the two")
        }
        return try reference.publicKey()
    }

    /// Refuses combinations that cannot be meant.
    func expectSound(files: Int) throws(SigstoreError) {
        if bundle != nil, signature != nil {
            throw SigstoreError(.usage, "--bundle and --signature cannot be given together")
        }
        if files > 1, bundle != nil || signature != nil {
            throw SigstoreError(
                .usage, "\(files) files are to be verified, and --bundle or --signature names one signature",
                advice: "leave it out: each file's bundle is looked for beside it")
        }
    }

    /// The trusted root to believe: the file that was named.
    func trust() throws(SigstoreError) -> TrustedRoot? {
        guard let trustedRoot else { return nil }
        let file = InputFile(trustedRoot)
        let content = try file.contents(limit: 1 << 24)
        do throws(SigstoreError) { _ = try JSONValue(parsing: content) ; return nil } catch { throw error.concerning(file.name) }
    }
}

/// Verifies files and prints what came of each.
struct FileVerification {
    let options: VerificationOptions
    let verifier: Verifier

    /// Verifies all of the files, side by side.
    /// - Parameters:
    ///   - files: The files as the person named them.
    ///   - check: Reads one file's bundle and verifies it.
    func run(
        _ files: [InputFile], _ check: @Sendable (InputFile) throws -> VerifiedBundle
    ) throws(SigstoreError) {
        try BlobBatch(verb: "verified", workers: options.maxWorkers).forEach(files) { file throws(SigstoreError) in
            do {
                let verified = try check(file)
                if options.output == .json { try Output.json(Self.report(file, verified)) }
                for check in verified.checks { Output.detail("\(file.name): \(check.name): \(check.detail)") }
                Output.note(files.count > 1 ? "\(file.name): Verified OK" : "Verified OK")
            } catch let rejected as RejectedBundle {
                if options.output == .json {
                    try Output.json(Self.report(file, rejected.error, step: rejected.step, rejected.checks))
                }
                throw rejected.error
            } catch let error as SigstoreError {
                if options.output == .json, error.code != .outputFailed {
                    try Output.json(Self.report(file, error, step: nil, []))
                }
                throw error
            } catch {
                throw SigstoreError(.cryptographyFailed, "\(error)")
            }
        }
    }

    /// The layout of the objects that `--output json` prints.
    private static let version = JSONValue.integer(1)

    private static func report(_ file: InputFile, _ verified: VerifiedBundle) -> JSONValue {
        var object: JSONObject = [
            "version": version, "file": .string(file.name), "verified": .bool(true), "checks": checks(verified.checks),
        ]
        switch verified.signer {
        case .key(let fingerprint):
            object["signer"] = .object(["key": .string(fingerprint)])
        case .certificate(let identity, let issuer):
            object["signer"] = .object(["identity": .string(identity), "issuer": .string(issuer)])
        }
        object["signatureScheme"] = .string(verified.scheme.description)
        if let statement = verified.statement { object["predicateType"] = .string(statement.predicateType.uri) }
        return .object(object)
    }

    private static func report(
        _ file: InputFile, _ error: SigstoreError, step: VerificationStep?, _ held: [VerificationCheck]
    ) -> JSONValue {
        var object: JSONObject = [
            "version": version, "file": .string(file.name), "verified": .bool(false), "checks": checks(held),
        ]
        if let step { object["failedStep"] = .string(step.rawValue) }
        if case .object(let members) = Output.report(error), let words = members["error"] { object["error"] = words }
        return .object(object)
    }

    private static func checks(_ checks: [VerificationCheck]) -> JSONValue {
        .array(
            checks.map {
                .object([
                    "step": .string($0.step.rawValue), "name": .string($0.name), "detail": .string($0.detail),
                ])
            })
    }
}
