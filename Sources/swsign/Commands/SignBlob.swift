import ArgumentParser
import InToto
import SigstoreCrypto
import SigstoreVerification
import SwSignCore

struct SignBlob: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "sign-blob", abstract: "Signs files. Prints the base64 signature, or writes bundles.")

    @Argument(help: "The files to sign; - is standard input.")
    var files: [String]
    @OptionGroup(title: "Signing") var signing: SigningOptions
    @Option(name: .customLong("signing-algorithm"), help: "The algorithm, where the key allows more than one: ed25519-ph.")
    var signingAlgorithm: String?
    @Flag(inversion: .prefixedNo, help: "Write the signature in base64; otherwise its bare bytes.")
    var b64 = true
    @Option(help: "The same as --output-signature.")
    var output: String?
    @OptionGroup(title: "Global options") var global: GlobalOptions

    mutating func run() throws {
        try global.apply()
        if let output, signing.outputSignature == nil { signing.outputSignature = output }
        try signing.expectNoServices()
        try signing.expectSoundOutputs(files: files.count)
        let algorithm = try signingAlgorithm.map { name throws(SigstoreError) in try SigningAlgorithm(named: name) }
        let inputs = files.map(InputFile.init)
        try BlobBatch.expectOneStandardInput(files)
        try signing.expectDistinctBundles(inputs)
        let beside = files.count > 1 || signing.outputDirectory != nil
        let printing = !beside && signing.outputSignature == nil && (signing.bundle == nil || !signing.newBundleFormat)
        var forms: Set<BlobSigner.Form> = []
        if beside || signing.bundle != nil { forms.insert(signing.newBundleFormat ? .bundle : .detached) }
        if printing || signing.outputSignature != nil { forms.insert(.detached) }
        if algorithm == .ed25519ph, forms.contains(.detached) {
            throw SigstoreError(
                .usage, "a bare signature does not say that it is Ed25519ph, and everybody would check it as Ed25519",
                advice: "write a bundle with --bundle FILE, which says so")
        }
        let key = try signing.signer(standardInputIsTaken: files.contains("-"))
        let signer = try BlobSigner(signer: key, algorithm: algorithm)
        try BlobBatch(verb: "signed").forEach(inputs) { [signing, b64, forms] file throws(SigstoreError) in
            let signed = try signer.sign(file, forms: forms)
            let base64 = Base64.encode(signed.detached ?? [])
            let content = signed.bundle?.serialized() ?? JSONValue.object(["base64Signature": .string(base64)]).serialized()
            if beside {
                try signing.writeBeside(content, try signing.bundleFile(for: file))
            } else if let bundle = signing.bundle {
                try OutputFile(bundle).write(content)
                Output.note("Wrote bundle to file \(bundle)")
            }
            if let path = signing.outputSignature {
                try OutputFile(path).write(b64 ? Array(base64.utf8) : signed.detached ?? [])
                Output.note("Wrote signature to file \(path)")
            } else if printing {
                if b64 { try Output.result(base64) } else { try Output.bytes(signed.detached ?? []) }
            }
            return "signed"
        }
    }
}
