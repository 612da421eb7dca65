import ArgumentParser
import InToto
import LocalSystem
import SigstoreCrypto
import SigstoreVerification
import StrictJSON
import SwSignCore

struct BundleCreate: SwSignCommand {
    static let configuration = CommandConfiguration(
        commandName: "create", abstract: "Makes a bundle of the parts that older versions of cosign wrote.",
        discussion: """
            The parts are joined as they are; only an artifact that is named is checked against the signature's key. \
            Verify the bundle before you rely on it.
            """)

    @Option(help: "The file that was signed; its digest goes into the bundle.")
    var artifact: String?
    @Option(help: "The signature: a file, or the base64 itself.")
    var signature: String?
    @Option(help: "An attestation: a DSSE envelope.")
    var attestation: String?
    @Option(help: "A bundle of the form that cosign 2 wrote.")
    var bundle: String?
    @Option(help: "The signer's certificate.")
    var certificate: String?
    @Option(help: "The signer's public key.")
    var key: String?
    @OptionGroup var securityKey: SecurityKeyOptions
    @Option(name: .customLong("rfc3161-timestamp"), help: "A timestamp over the signature.")
    var timestamp: String?
    @Flag(name: .customLong("ignore-tlog"), help: "Make a bundle although the parts hold no log entry.")
    var ignoreTlog = false
    @Option(help: "The file to write; without it, standard output.")
    var out: String?
    @OptionGroup(title: "Global options") var global: GlobalOptions

    func run(_ context: Context) throws(SigstoreError) {
        guard signature == nil || attestation == nil else {
            throw SigstoreError(.usage, "--signature and --attestation cannot be given together")
        }
        var joined = try SignatureFile.Parts(
            signature: attestation ?? signature, bundle: bundle.map(InputFile.init),
            certificate: certificate.map(InputFile.init), timestamp: timestamp.map(InputFile.init), names: .flags
        ).joined(attestation: attestation != nil)
        guard ignoreTlog || !joined.logEntries.isEmpty else {
            throw SigstoreError(
                .noLogEntry, "the parts hold no entry in a transparency log",
                advice: "add --ignore-tlog, or --bundle with the entry")
        }
        if let key = try securityKey.key(or: key, context) {
            let reference = try context.key(key)
            joined.keyMaterial = .publicKey(hint: try reference.readPublicKey().hint())
        }
        if case .messageSignature(var message) = joined.content {
            guard let artifact else {
                throw SigstoreError(
                    .usage, "--artifact is missing: a bundle names the digest of the file that was signed")
            }
            let signer = try signer(joined, context)
            let read = try InputFile(artifact).read(digests: [.sha256], schemes: Set(signer?.schemes ?? []))
            message.digest = read.digest(.sha256)
            joined.content = .messageSignature(message)
            if let signer {
                var holds = false
                for scheme in signer.schemes where !holds {
                    holds = try signer.verifies(message.signature, of: read, scheme: scheme)
                }
                guard holds else {
                    throw SigstoreError(
                        .invalidSignature,
                        "the signature is not one over \(artifact) by the key or certificate given",
                        advice: "check that artifact, signature and key belong together")
                }
            }
        } else if let artifact, case .dsse(let envelope) = joined.content {
            try Attester.check(
                statement: envelope.payload,
                isAbout: try InputFile(artifact).read(digests: [.sha256], schemes: []).digest(.sha256))
        }
        // A log entry of cosign 2's has a promise only, which no later version takes; nor do they take a chain.
        if joined.logEntries.isEmpty, !joined.hasChain { joined.version = .v03 }
        let content = joined.serialized()
        _ = try SigstoreBundle(parsing: content)
        guard let out, out != "-" else { return try context.output.json(content) }
        try OutputFile(out).write(content)
        context.output.note("Wrote bundle to file \(out)", .success)
    }
}

extension BundleCreate {
    /// The key that must have signed, if one is known.
    private func signer(_ bundle: SigstoreBundle, _ context: Context) throws(SigstoreError) -> PublicKey? {
        if let key = try securityKey.key(or: key, context) { return try context.key(key).readPublicKey() }
        guard case .certificates(let chain) = bundle.keyMaterial, let leaf = chain.first else { return nil }
        return try Certificate(der: leaf).publicKey
    }
}

extension SigstoreBundle {
    /// Whether more than one certificate is in it.
    fileprivate var hasChain: Bool { if case .certificates(let chain) = keyMaterial { chain.count > 1 } else { false } }
}
