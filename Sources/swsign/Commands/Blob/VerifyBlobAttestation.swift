import ArgumentParser
import InToto
import SigstoreCrypto
import SigstoreVerification
import StrictJSON
import SwSignCore

struct VerifyBlobAttestation: FileVerificationCommand {
    static let configuration = CommandConfiguration(
        commandName: "verify-blob-attestation", _superCommandName: SwSign.name,
        abstract: "Verifies attestations about files.")

    @Argument(
        help: "The files that are attested; - is standard input. May be left out with --digest or --check-claims=false."
    )
    var files: [String] = []
    @Option(
        help: "The type that the predicate must have: \(PredicateType.nameList), or a URI.",
        completion: .predicateTypes)
    var type = "custom"
    @Flag(
        name: .customLong("check-claims"), inversion: .prefixedNo, help: "Check that the statement is about the file.")
    var checkClaims = true
    @Option(help: "The digest that the statement must be about, in hexadecimal, in place of a file.")
    var digest: String?
    @Option(
        name: .customLong("digestAlg"),
        help:
            "The algorithm of --digest, or of the digest by which the statement must name the file: sha256, sha384 or sha512.",
        completion: .list(["sha256", "sha384", "sha512"])
    )
    var digestAlg: String?
    @OptionGroup(title: "Signature") var signature: SignatureOptions
    @OptionGroup(title: "Verification") var verification: VerificationOptions
    @OptionGroup(title: "Identity") var identity: IdentityOptions
    @OptionGroup(title: "Trust") var trust: TrustOptions
    @Option(name: .shortAndLong, help: "How results are printed: text, or json on standard output, one object a file.")
    var output: OutputFormat = .text
    @OptionGroup(title: "Global options") var global: GlobalOptions

    func run(_ context: Context) throws(SigstoreError) {
        try BlobBatch.expectOneStandardInput(files + signature.standardInputs)
        let predicateType = try PredicateType(named: type)
        let algorithm = try digestAlg.map { name throws(SigstoreError) in try Self.algorithm(named: name) }
        let stated = try digest.map { digest throws(SigstoreError) in try Digest(hex: digest, algorithm ?? .sha256) }
        guard !files.isEmpty || stated != nil || !checkClaims else {
            throw SigstoreError(
                .usage, "nothing says what the attestation must be about",
                advice: "name the file, or give --digest and --digestAlg")
        }
        guard files.isEmpty || stated == nil else {
            throw SigstoreError(.usage, "a file and --digest cannot be given together")
        }
        guard digestAlg == nil || checkClaims && !(files.isEmpty && stated == nil) else {
            throw SigstoreError(
                .usage, "--digestAlg is the algorithm of a digest, and none is compared",
                advice: "name the file, or give --digest")
        }
        guard !files.isEmpty || signature.bundle != nil || signature.signature != nil else {
            throw SigstoreError(.usage, "no attestation was given", advice: "give --bundle or --signature")
        }
        var inputs = try inputs(context)
        if inputs.isEmpty { inputs = [InputFile(stated?.description ?? signature.bundle ?? signature.signature ?? "")] }
        try signature.expectSound(files: inputs.count)
        let signers = try signers(context)
        if !checkClaims {
            context.output.warn(
                "what the attestation is about is not checked: it may be about anything (--check-claims=false)")
        }
        let (checkClaims, signature) = (self.checkClaims, self.signature)
        try verifying(signers, context).run(inputs) { file throws(SigstoreError) in
            try signature.bundles(for: file, attestation: true)
        } claim: { file throws(SigstoreError) in
            let subject: BundleClaim.Subject?
            if !checkClaims {
                subject = nil
            } else if let stated {
                subject = .digest(stated)
            } else {
                subject = .artifact(try file.artifact(), namedBy: algorithm)
            }
            return .attestation(subject: subject, predicateType: predicateType)
        }
    }

    private static func algorithm(named name: String) throws(SigstoreError) -> HashAlgorithm {
        guard let algorithm = HashAlgorithm(rawValue: name) else {
            throw SigstoreError(
                .unknownAlgorithm, "the digest algorithm \"\(name)\" is not known",
                advice: "use sha256, sha384 or sha512")
        }
        return algorithm
    }
}

extension VerifyBlobAttestation: FlagReader {
    mutating func take(_ given: inout GivenFlags) {
        files = given.names(atLeast: 0)
        type = given.value("type") ?? "custom"
        checkClaims = !given.isOn("no-check-claims")
        digest = given.value("digest")
        digestAlg = given.value("digestAlg")
        signature = SignatureOptions(&given)
        verification = VerificationOptions(&given)
        identity = IdentityOptions(&given)
        trust = TrustOptions(&given)
        output = given.value("output") ?? .text
        global = GlobalOptions(&given)
    }
}
