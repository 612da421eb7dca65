import ArgumentParser
import InToto
import SigstoreCrypto
import SigstoreVerification
import SwSignCore

struct VerifyBlob: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "verify-blob", abstract: "Verifies the signatures of files.")

    @Argument(help: "The files that were signed; - is standard input, sha256:<hex> a file of which only the digest is known.")
    var files: [String]
    @OptionGroup(title: "Verification") var verification: VerificationOptions
    @OptionGroup(title: "Global options") var global: GlobalOptions

    mutating func run() throws {
        try global.apply()
        try verification.expectSound(files: files.count)
        try BlobBatch.expectOneStandardInput(files + [verification.bundle, verification.signature].compactMap { $0 })
        let key = try verification.publicKey(standardInputIsTaken: files.contains("-"))
        let rule = verification.transparencyLogRule()
        let verifier = Verifier(trustedRoot: try verification.trust())
        let (named, signature) = (verification.bundle, verification.signature)
        try FileVerification(options: verification, verifier: verifier).run(files.map(InputFile.init)) { file in
            let bundle =
                if let signature {
                    try SignatureFile.detached(signature)
                } else {
                    try SignatureFile.bundle(try named.map(InputFile.init) ?? SignatureFile.bundle(beside: file))
                }
            let policy = VerificationPolicy(
                signedBy: .key(key), claim: .message(try file.artifact()), transparencyLog: rule)
            return try verifier.verify(bundle, policy)
        }
    }
}

struct VerifyBlobAttestation: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "verify-blob-attestation", abstract: "Verifies attestations about files.")

    @Argument(help: "The files that are attested; - is standard input. May be left out with --digest or --check-claims=false.")
    var files: [String] = []
    @OptionGroup(title: "Verification") var verification: VerificationOptions
    @Option(help: "The type that the predicate must have: custom, slsaprovenance, slsaprovenance02, slsaprovenance1, link, spdx, spdxjson, cyclonedx, vuln, openvex, or a URI.")
    var type = "custom"
    @Flag(name: .customLong("check-claims"), inversion: .prefixedNo, help: "Check that the statement is about the file.")
    var checkClaims = true
    @Option(help: "The digest that the statement must be about, in hexadecimal, in place of a file.")
    var digest: String?
    @Option(name: .customLong("digestAlg"), help: "The algorithm of --digest: sha256, sha384 or sha512.")
    var digestAlg: String?
    @OptionGroup(title: "Global options") var global: GlobalOptions

    mutating func run() throws {
        try global.apply()
        try verification.expectSound(files: files.count)
        try BlobBatch.expectOneStandardInput(files + [verification.bundle, verification.signature].compactMap { $0 })
        let predicateType = try PredicateType(named: type)
        let stated = try statedDigest()
        guard !files.isEmpty || stated != nil || !checkClaims else {
            throw SigstoreError(
                .usage, "nothing says what the attestation must be about",
                advice: "name the file, or give --digest and --digestAlg")
        }
        guard files.isEmpty || stated == nil else {
            throw SigstoreError(.usage, "a file and --digest cannot be given together")
        }
        let key = try verification.publicKey(standardInputIsTaken: files.contains("-"))
        let rule = verification.transparencyLogRule()
        if !checkClaims { Output.warn("the attestation's subject is not checked: it may be about anything (--check-claims=false)") }
        let verifier = Verifier(trustedRoot: try verification.trust())
        let (named, signature, checkClaims) = (verification.bundle, verification.signature, checkClaims)
        let inputs = files.isEmpty ? [InputFile(stated?.description ?? named ?? signature ?? "")] : files.map(InputFile.init)
        try FileVerification(options: verification, verifier: verifier).run(inputs) { file in
            let bundle =
                if let signature {
                    try SignatureFile.detachedAttestation(signature)
                } else {
                    try SignatureFile.bundle(try named.map(InputFile.init) ?? SignatureFile.bundle(beside: file))
                }
            let subject: VerificationPolicy.Subject? =
                if !checkClaims { nil } else if let stated { .digest(stated) } else { .artifact(try file.artifact()) }
            let policy = VerificationPolicy(
                signedBy: .key(key), claim: .attestation(subject: subject, predicateType: predicateType),
                transparencyLog: rule)
            return try verifier.verify(bundle, policy)
        }
    }

    private func statedDigest() throws(SigstoreError) -> Digest? {
        guard let digest else {
            guard digestAlg == nil else { throw SigstoreError(.usage, "--digestAlg needs --digest") }
            return nil
        }
        let name = digestAlg ?? "sha256"
        guard let algorithm = HashAlgorithm(rawValue: name) else {
            throw SigstoreError(
                .unknownAlgorithm, "the digest algorithm \"\(name)\" is not known", advice: "use sha256, sha384 or sha512")
        }
        return try Digest(hex: digest, algorithm)
    }
}

extension InputFile {
    /// The artifact that the person named: a file, or `sha256:<hex>` where no file has that name.
    func artifact() throws(SigstoreError) -> any ArtifactSource {
        guard path.utf8.starts(with: "sha256:".utf8), !OutputFile(path).exists else { return self }
        return ArtifactDigest(try Digest(parsing: path))
    }
}
