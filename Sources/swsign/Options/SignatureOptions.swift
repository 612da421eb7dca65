import ArgumentParser
import SigstoreCrypto
import SigstoreVerification
import StrictJSON
import SwSignCore

/// The flags that say where the signature of a file is.
struct SignatureOptions: ParsableArguments {
    @Option(
        help:
            "The bundle, or several, one a line, of which one must hold; without it, FILE.sigstore.json, FILE.sigstore or FILE.sigstore.jsonl beside the file."
    )
    var bundle: String?
    @Option(help: "The signature: a file (a bundle too), or the base64 itself.")
    var signature: String?
    @Option(help: "The signer's certificate, where it is not in the bundle: PEM, or base64 of PEM.")
    var certificate: String?
    @Option(name: .customLong("rfc3161-timestamp"), help: "A timestamp over the signature, as cosign writes it.")
    var timestamp: String?
    @Option(name: .customLong("max-workers"), help: "How many files are worked on at the same time.")
    var maxWorkers = 10

    /// Refuses combinations that cannot be meant.
    /// - Parameter files: How many files are verified.
    func expectSound(files: Int) throws(SigstoreError) {
        if files > 1, [bundle, signature, certificate, timestamp].contains(where: { $0 != nil }) {
            throw SigstoreError(
                .usage,
                "\(files) files are to be verified, and --bundle, --signature, --certificate or --rfc3161-timestamp names one",
                advice: "leave it out: each file's bundle is looked for beside it")
        }
        if certificate != nil, bundle == nil, signature == nil {
            throw SigstoreError(.usage, "--certificate needs --signature or --bundle")
        }
    }

    var standardInputs: [String] { [bundle, signature, certificate, timestamp].compactMap { $0 } }

    /// The signatures of a file, each as a bundle; one of them must hold.
    func bundles(for file: InputFile, attestation: Bool) throws(SigstoreError) -> [SigstoreBundle] {
        let parts = SignatureFile.Parts(
            signature: signature, bundle: bundle.map(InputFile.init), certificate: certificate.map(InputFile.init),
            timestamp: timestamp.map(InputFile.init), names: .flags)
        if parts.isEmpty { return try SignatureFile.bundles(beside: file, attestation: attestation) }
        return try parts.signatures(attestation: attestation)
    }
}

extension SignatureFile.Names {
    /// The flags that name the parts.
    static let flags = SignatureFile.Names(
        signature: "--signature", certificate: "--certificate", timestamp: "--rfc3161-timestamp")
}

extension SignatureOptions: FlagReader {
    mutating func take(_ given: inout GivenFlags) {
        bundle = given.value("bundle")
        signature = given.value("signature")
        certificate = given.value("certificate")
        timestamp = given.value("rfc3161-timestamp")
        maxWorkers = given.value("max-workers") ?? 10
    }
}
