import ArgumentParser
import InToto
import LocalSystem
import OCIRegistry
import SigstoreCrypto
import SigstoreVerification
import StrictJSON
import SwSignCore

struct Sign: SwSignCommand {
    static let configuration = CommandConfiguration(
        commandName: "sign", _superCommandName: SwSign.name, abstract: "Signs container images.")

    @Argument(help: "The images: references, best with @DIGEST, or oci-layout:PATH[:TAG|@DIGEST].")
    var images: [String]
    @OptionGroup(title: "Signing") var signing: SigningOptions
    @Option(
        name: [.customLong("annotations"), .customShort("a")],
        help: "What the signature says of the image, as key=value.")
    var annotations: [String] = []
    @Flag(name: .shortAndLong, help: "Sign every image of an index as well.")
    var recursive = false
    @Flag(inversion: .prefixedNo, help: "Put the signature beside the image.")
    var upload = true
    @Option(help: "A file with the payload to sign, in place of one made here; needs --new-bundle-format=false.")
    var payload: String?
    @Option(name: .customLong("output-payload"), help: "Write what was signed to this file.")
    var outputPayload: String?
    @Option(
        name: .customLong("sign-container-identity"), help: "The repository that a signature of the older scheme names."
    )
    var identity: String?
    @Option(help: "Sign what is attached to the image, such as sbom, in place of the image.")
    var attachment: String?
    @OptionGroup var storage: StorageOptions
    @OptionGroup(title: "Services and identity") var services: ServiceOptions
    @OptionGroup(title: "Registry") var registry: RegistryFlags
    @OptionGroup(title: "Global options") var global: GlobalOptions

    func run(_ context: Context) throws(SigstoreError) {
        try expectSound()
        try BlobBatch.expectOneStandardInput([payload].compactMap { $0 } + services.inputs)
        try signing.expectOwnPlaces([outputPayload], inputs: [payload] + services.inputs, printing: isPrinting)
        let scheme: ImageSigner.Scheme = signing.newBundleFormat && payload == nil ? .bundle : .layer
        let now = try context.signingTime()
        let content = try payload.map { path throws(SigstoreError) in try InputFile(path).contents(limit: 1 << 20) }
        let images = try storage.images(registry, context)
        // Of several values for one name the last counts, as in cosign.
        var stated = JSONObject([])
        for pair in try AnnotationFlag.pairs(annotations) { stated[pair.name] = .string(pair.value) }
        let session = try services.session(
            signing, standardInputIsTaken: ([payload] + services.inputs).contains("-"),
            entryPlace: signing.newBundleFormat ? .bundle : .legacyForm, context)
        let targets = ImageTargets(
            access: images, isRecursive: recursive && attachment == nil, upload: upload, kind: .signature,
            isLegacyForm: scheme == .layer,
            creationTime: storage.creationTime(now))
        let batch = ImageBatch(verb: "signed", context: context)
        let names = self.images
        try batch.forEach(names) { name throws(SigstoreError) in
            var image = try await images.image(name, toBe: "signed")
            if attachment != nil { image = try await image.attachment(.sbom, tagPrefix: images.tagPrefix) }
            return try await targets.find(image)
        } begin: { () throws(SigstoreError) in
            let signer = BlobSigner(session)
            if scheme == .layer {
                try signer.expectRecordable(filesAs: [.detached])
            } else {
                try signer.expectRecordable(statementsAs: .bundle)
            }
            try services.confirm(
                session, signing, attestations: false, unkept: signing.unkept(upload: upload), context)
            if upload { images.noteScheme("signature", isLegacyForm: scheme == .layer, isQuiet: global.quiet) }
            return ImageSigner(signer: signer, scheme: scheme, now: now)
        } _: { [stated] signer, found throws(SigstoreError) in
            let count = batch.counting(found.count, within: names)
            return try await concurrently(found) { (image, store) throws(SigstoreError) in
                async let prepared: Void = upload && scheme == .bundle ? store.prepare() : ()
                let signed = try await signer.sign(image, annotations: stated, identity: identity, payload: content)
                await prepared
                if upload { try await signer.store(signed, in: store) }
                count()
                return (image: image, signed: signed)
            }
        } print: { name, made, isTabled throws(SigstoreError) in
            for (image, signed) in made {
                try write(signed, context)
                if upload, !isTabled {
                    context.output.note(
                        "Signed \(image.name) (\(image.digest)); the signature is in \(image.signatureStore.name)",
                        .success)
                }
            }
            return made.map { image, _ in
                "Signed \(image.digest)\(upload ? "; the signature is in \(image.signatureStore.name)" : "")"
            }
        }
    }

    /// Whether the signature is printed: it goes nowhere else.
    private var isPrinting: Bool { !upload && signing.bundle == nil && signing.outputSignature == nil }

    private func expectSound() throws(SigstoreError) {
        guard attachment == nil || attachment == "sbom" else {
            throw SigstoreError(.usage, "--attachment knows sbom, not \(attachment ?? "")")
        }
        if payload != nil, signing.newBundleFormat {
            throw SigstoreError(
                .usage, "--payload is for signatures of the older scheme", advice: "add --new-bundle-format=false")
        }
        let outputs = [
            signing.bundle, signing.outputSignature, signing.outputCertificate, signing.timestampOutput, outputPayload,
            payload,
        ].compactMap { $0 }
        if !outputs.isEmpty, images.count > 1 || recursive {
            throw SigstoreError(
                .usage,
                "several images are to be signed, and --bundle, --payload, --output-signature, --output-payload or another flag names one file"
            )
        }
        // What is signed of an envelope is not its payload alone: the two files would not verify together.
        if signing.newBundleFormat, signing.outputSignature != nil || isPrinting, outputPayload != nil {
            throw SigstoreError(
                .usage, "the signature and what --output-payload writes are a pair in the older scheme only",
                advice: "write --bundle FILE, which holds both, or add --new-bundle-format=false")
        }
        if signing.bundle != nil, !signing.newBundleFormat {
            throw SigstoreError(
                .usage, "--bundle is for the newer scheme", advice: "leave out --new-bundle-format=false")
        }
        try registry.connection.expectWritable(newBundleFormat: signing.newBundleFormat)
    }

    /// Writes what the person wants in files; prints the signature if it goes nowhere else.
    private func write(_ signed: ImageSigner.Signed, _ context: Context) throws(SigstoreError) {
        if let path = outputPayload { try context.output.write(signed.payload, .bytes, to: path, "payload") }
        if let path = signing.bundle {
            try context.output.write(signed.bundle.serialized(), .json, to: path, "bundle")
        }
        let signature: [UInt8] = if let detached = signed.signature { detached } else { try signed.bundle.signature() }
        try signing.writeParts(of: signed.bundle, context)
        if let path = signing.outputSignature {
            try context.output.write(Array(Base64.encode(signature).utf8), .line, to: path, "signature")
        } else if isPrinting {
            try context.output.result(Base64.encode(signature))
        }
    }
}
