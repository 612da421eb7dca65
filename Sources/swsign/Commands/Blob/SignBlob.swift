import ArgumentParser
import LocalSystem
import SigstoreCrypto
import SigstoreVerification
import StrictJSON
import SwSignCore

struct SignBlob: SwSignCommand {
    static let configuration = CommandConfiguration(
        commandName: "sign-blob", _superCommandName: "swsign",
        abstract: "Signs files. Prints the base64 signature, or writes bundles.")

    @Argument(help: "The files to sign; - is standard input.")
    var files: [String]
    @OptionGroup(title: "Signing") var signing: SigningOptions
    @OptionGroup(title: "Signing") var place: BundlePlaceOptions
    @OptionGroup(title: "Services and identity") var services: ServiceOptions
    @Option(
        name: .customLong("signing-algorithm"), help: "The algorithm, where the key allows more than one: ed25519-ph.")
    var signingAlgorithm: String?
    @Flag(inversion: .prefixedNo, help: "Write the signature in base64; otherwise its bare bytes.")
    var b64 = true
    @Option(help: "The same as --output-signature.")
    var output: String?
    @OptionGroup(title: "Global options") var global: GlobalOptions

    func run(_ context: Context) throws(SigstoreError) {
        var signing = signing
        if let output, signing.outputSignature == nil { signing.outputSignature = output }
        try place.expectSound(with: signing, files: files.count)
        try signing.expectOwnPlaces(inputs: files + services.inputs, files: files)
        let algorithm = try signingAlgorithm.map { name throws(SigstoreError) in try SigningAlgorithm(named: name) }
        let inputs = files.map(InputFile.init)
        try BlobBatch.expectOneStandardInput(files + services.inputs)
        try place.expectDistinctBundles(inputs)
        let beside = files.count > 1 || place.outputDirectory != nil
        let printing =
            !beside && signing.outputSignature == nil
            && (signing.bundle == nil || !signing.newBundleFormat && signing.bundle != "-")
        var forms: Set<BlobSigner.Form> = []
        if beside || signing.bundle != nil { forms.insert(signing.newBundleFormat ? .bundle : .detached) }
        if printing || signing.outputSignature != nil { forms.insert(.detached) }
        if algorithm == .ed25519ph, forms.contains(.detached) {
            throw SigstoreError(
                .usage, "a bare signature does not say that it is Ed25519ph, and everybody would check it as Ed25519",
                advice: "write a bundle with --bundle FILE, which says so")
        }
        let session = try services.session(
            signing, algorithm: algorithm, attestations: false,
            standardInputIsTaken: (files + services.inputs).contains("-"),
            isLegacyForm: !signing.newBundleFormat && (beside || signing.bundle != nil),
            isBare: !beside && signing.bundle == nil, context)
        let signer = BlobSigner(session)
        try BlobBatch(verb: "signed", context: context).forEach(inputs) {
            [signing, place, b64, forms] file throws(SigstoreError) in
            if beside { try place.expectPlace(for: file, replacing: signing.yes) }
            let signed = try await signer.sign(file, forms: forms)
            let delivered = signed.detached ?? []
            try await session.deliver(signed.bundle) { bundle throws(SigstoreError) in
                let content =
                    signing.newBundleFormat
                    ? bundle.serialized() : try LegacySignature(bundle).blobBundle(signature: delivered)
                if beside {
                    try place.write(content, for: file, replacing: signing.yes, context)
                } else if let path = signing.bundle {
                    try context.output.write(content, .json, to: path, "bundle")
                }
                if let path = signing.outputSignature {
                    try context.output.write(
                        b64 ? Array(Base64.encode(delivered).utf8) : delivered, b64 ? .line : .bytes, to: path,
                        "signature")
                }
                try signing.writeParts(of: bundle, context)
            }
            if printing {
                if b64 {
                    try context.output.result(Base64.encode(delivered))
                } else {
                    try context.output.bytes(delivered)
                }
            }
            return "signed"
        }
    }
}
