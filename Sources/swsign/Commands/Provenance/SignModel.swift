import ArgumentParser
import LocalSystem
import Provenance
import SigstoreCrypto
import SigstoreVerification
import StrictJSON
import SwSignCore

struct SignModel: SwSignCommand {
    static let configuration = CommandConfiguration(
        commandName: "sign-model", _superCommandName: SwSign.name,
        abstract: "Signs a folder of model files, as model_signing does.")

    @Argument(help: "The folder with the model's files.")
    var folder: String
    @Option(help: "Where the signature is written; by default model.sig in the folder.", completion: .file())
    var signature: String?
    @OptionGroup var model: ModelOptions
    @Flag(
        name: .customLong("allow-symlinks"),
        help: "Sign what links in the folder lead to, if that is a file in the folder; otherwise links are refused.")
    var allowSymlinks = false
    @Option(name: .customLong("hash-type"), help: "The hash function that names the files: sha256 or blake2b.")
    var hashType = ModelHash.sha256
    @Option(
        help:
            "The private key: a file, env://NAME, - for standard input, or a key service's reference. Without it, an identity signs."
    )
    var key: String?
    @OptionGroup var securityKey: SecurityKeyOptions
    @Flag(
        name: .shortAndLong,
        help: "Do not ask before something becomes public; replace a signature that stands there.")
    var yes = false
    @OptionGroup(title: "Services and identity") var services: ServiceOptions
    @OptionGroup(title: "Global options") var global: GlobalOptions

    func run(_ context: Context) throws(SigstoreError) {
        var none = GivenFlags([])
        var signing = SigningOptions(&none)
        (signing.key, signing.securityKey, signing.yes) = (key, securityKey, yes)
        var services = self.services
        if try securityKey.key(or: key, context) != nil {
            // The form has no place for what services answer.
            for (isGiven, flag) in [
                (services.signingConfig != nil, "signing-config"), (services.rekorURL != nil, "rekor-url"),
            ] where isGiven { context.output.warn("nothing is recorded, as a key signs: --\(flag) has no part") }
            (services.tlogUpload, services.signingConfig, services.useSigningConfig) = (false, nil, false)
        }
        let folder = try model.folder(self.folder, signature: signature, context)
        let place = OutputFile(folder.signature, mode: 0o644)
        guard yes || !place.exists else {
            throw SigstoreError(
                .fileExists, "\(place.path) stands there already",
                advice: "give --yes to replace it, or --signature for another place")
        }
        try place.expectWritable()
        let session = try services.session(signing, standardInputIsTaken: false, entryPlace: .bundle, context)
        let signer = try ModelSigner(session)
        try services.confirm(session, signing, attestations: true, unkept: nil, context)
        let (hashType, allowSymlinks, yes) = (self.hashType.hash, self.allowSymlinks, self.yes)
        let manifest = try waiting { () throws(SigstoreError) in
            try await folder.manifest(hash: hashType, allowsLinks: allowSymlinks)
        }
        try waiting { () throws(SigstoreError) in
            try await session.deliver(try await signer.sign(manifest)) { bundle throws(SigstoreError) in
                let written = try signer.serialized(bundle)
                try place.write(written, replacing: yes)
            }
        }
        context.output.note("Signed \(manifest.files.count) \(manifest.files.count == 1 ? "file" : "files")", .success)
        context.output.note("Wrote signature to file \(place.path)", .success)
    }
}
