import ArgumentParser
import Glibc
import InToto
import OCIRegistry
import SigstoreCrypto
import SigstoreVerification
import SwSignCore

/// The moment that signatures of this run carry where they carry one: now, or what `SOURCE_DATE_EPOCH` says; in seconds
/// since 1970.
enum SigningTime {
    static func now() throws(SigstoreError) -> Int64 {
        guard let text = CredentialStore.processEnvironment("SOURCE_DATE_EPOCH") else {
            return VerificationPolicy.systemClock()
        }
        guard let seconds = Int64(text), (0..<253_402_300_800).contains(seconds) else {
            throw SigstoreError(.usage, "SOURCE_DATE_EPOCH is \"\(text)\", which is not a number of seconds since 1970")
        }
        return seconds
    }
}

struct Sign: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "sign", _superCommandName: "swsign", abstract: "Signs container images.")

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
    @Option(name: .customLong("attachment-tag-prefix"), help: "What stands before tags of the older scheme.")
    var tagPrefix = ""
    @OptionGroup(title: "Services and identity") var services: ServiceOptions
    @OptionGroup(title: "Registry") var registry: RegistryFlags
    @OptionGroup(title: "Global options") var global: GlobalOptions

    mutating func run() throws {
        try global.apply()
        try expectSound()
        try signing.expectOwnPlaces([outputPayload], inputs: [payload])
        let session = try services.session(
            signing, attestations: false, standardInputIsTaken: payload == "-", isOlderForm: !signing.newBundleFormat)
        let scheme: ImageSigner.Scheme = signing.newBundleFormat && payload == nil ? .bundle : .layer
        let signer = ImageSigner(signer: BlobSigner(session), scheme: scheme, now: try SigningTime.now())
        let content = try payload.map { path throws(SigstoreError) in try InputFile(path).contents(limit: 1 << 20) }
        let registries = try registry.registries(global)
        // Of several values for one name the last counts, as in cosign.
        var stated = JSONObject([])
        for pair in try Verify.pairs(annotations) { stated[pair.name] = .string(pair.value) }
        let (flags, recursive, attachment, upload, annotations) = (registry, recursive, attachment, upload, stated)
        let (tagPrefix, identity) = (tagPrefix, identity)
        try ImageBatch(verb: "signed").forEach(images) { name throws(SigstoreError) in
            var image = try await flags.image(name, registries)
            if image.isNamedByTag {
                Output.warn(
                    "\(name) is named by a tag, which may point elsewhere by the time it is used: \(image.digest) is what is signed"
                )
            }
            if attachment != nil { image = try await image.attachment(.sbom, tagPrefix: tagPrefix) }
            var made: [(image: Image, signed: ImageSigner.Signed)] = []
            for each in recursive && attachment == nil ? try await image.withPlatforms().map(\.image) : [image] {
                let signed = try await signer.sign(each, annotations: annotations, identity: identity, payload: content)
                if upload { try await signer.store(signed, in: try flags.signatures(of: each, tagPrefix: tagPrefix)) }
                made.append((image: each, signed: signed))
            }
            return made
        } print: { name, made throws(SigstoreError) in
            for (image, signed) in made {
                try write(signed)
                if upload {
                    Output.note(
                        "Signed \(image.name) (\(image.digest)); the signature is in \(image.signatureStore.name)")
                }
            }
        }
    }

    private func expectSound() throws(SigstoreError) {
        guard attachment == nil || attachment == "sbom" else {
            throw SigstoreError(.usage, "--attachment knows sbom, not \(attachment ?? "")")
        }
        if payload != nil, signing.newBundleFormat {
            throw SigstoreError(
                .usage, "--payload is for signatures of the older scheme", advice: "add --new-bundle-format=false")
        }
        let outputs = [signing.bundle, signing.outputSignature, outputPayload, payload].compactMap { $0 }
        if !outputs.isEmpty, images.count > 1 || recursive {
            throw SigstoreError(
                .usage,
                "several images are to be signed, and --bundle, --payload, --output-signature or --output-payload names one file"
            )
        }
        if signing.bundle != nil, !signing.newBundleFormat {
            throw SigstoreError(
                .usage, "--bundle is for the newer scheme", advice: "leave out --new-bundle-format=false")
        }
        try registry.connection.expectWritable(newBundleFormat: signing.newBundleFormat)
    }

    /// Writes what the person wants in files; prints the signature where it goes nowhere else.
    private func write(_ signed: ImageSigner.Signed) throws(SigstoreError) {
        if let path = outputPayload { try OutputFile(path).write(signed.payload) }
        if let path = signing.bundle {
            try OutputFile(path).write(signed.bundle.serialized())
            Output.note("Wrote bundle to file \(path)")
        }
        let signature: [UInt8] = if let detached = signed.signature { detached } else { try signed.bundle.signature() }
        try signing.writeParts(of: signed.bundle)
        if let path = signing.outputSignature {
            try OutputFile(path).write(Array(Base64.encode(signature).utf8))
        } else if !upload, signing.bundle == nil {
            try Output.result(Base64.encode(signature))
        }
    }
}

struct Attest: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "attest", _superCommandName: "swsign",
        abstract: "Signs statements about container images: in-toto attestations.")

    @Argument(help: "The images: references, best with @DIGEST, or oci-layout:PATH[:TAG|@DIGEST].")
    var images: [String]
    @OptionGroup(title: "Signing") var signing: SigningOptions
    @Option(help: "The file with the predicate; - is standard input.")
    var predicate: String?
    @Option(help: "A file with a whole in-toto statement, signed as it is; - is standard input.")
    var statement: String?
    @Option(help: "The type of the predicate: \(PredicateType.nameList), or a URI.")
    var type = "custom"
    @Flag(help: "Remove attestations whose predicate has the same type.")
    var replace = false
    @Flag(name: .shortAndLong, help: "Attest every image of an index as well.")
    var recursive = false
    @Option(name: .customLong("attachment-tag-prefix"), help: "What stands before tags of the older scheme.")
    var tagPrefix = ""
    @Flag(inversion: .prefixedNo, help: "Put the attestation beside the image; otherwise print its envelope.")
    var upload = true
    @OptionGroup(title: "Services and identity") var services: ServiceOptions
    @OptionGroup(title: "Registry") var registry: RegistryFlags
    @OptionGroup(title: "Global options") var global: GlobalOptions

    mutating func run() throws {
        try global.apply()
        guard (predicate == nil) != (statement == nil) else {
            throw SigstoreError(.usage, "exactly one of --predicate and --statement must be given")
        }
        if statement != nil, images.count > 1 || recursive {
            throw SigstoreError(.usage, "a statement is about its own subjects: --statement takes one image")
        }
        try expectSound()
        let input = InputFile(predicate ?? statement ?? "")
        let session = try services.session(
            signing, attestations: true, standardInputIsTaken: input.isStandardInput,
            isOlderForm: !signing.newBundleFormat)
        let content = try input.contents(limit: Attester.predicateLimit)
        let now = try SigningTime.now()
        let signer = ImageSigner(
            signer: BlobSigner(session), scheme: signing.newBundleFormat ? .bundle : .layer, now: now)
        let registries = try registry.registries(global)
        let (flags, recursive, type, isWhole) = (registry, recursive, type, statement != nil)
        let (upload, replace, tagPrefix) = (upload, replace, tagPrefix)
        try ImageBatch(verb: "attested").forEach(images) { name throws(SigstoreError) in
            let image = try await flags.image(name, registries)
            if image.isNamedByTag {
                Output.warn(
                    "\(name) is named by a tag, which may point elsewhere by the time it is used: \(image.digest) is what is attested"
                )
            }
            var made: [(image: Image, attestation: (bundle: SigstoreBundle, envelope: DSSEEnvelope))] = []
            for each in recursive ? try await image.withPlatforms().map(\.image) : [image] {
                let statement: [UInt8]
                do throws(SigstoreError) {
                    if isWhole {
                        try Attester.check(statement: content, isAbout: each.digest)
                        statement = content
                    } else {
                        let subject = ResourceDescriptor(
                            name: each.repositoryName,
                            digests: [(algorithm: each.digest.algorithm.rawValue, hex: each.digest.hex)])
                        statement = try Attester.statement(about: subject, type: type, predicate: content, now: now)
                    }
                } catch { throw error.concerning(input.name) }
                let attestation = try await signer.attest(
                    statement, in: try flags.signatures(of: each, tagPrefix: tagPrefix), upload: upload,
                    replacing: replace)
                made.append((image: each, attestation: attestation))
            }
            return made
        } print: { name, made throws(SigstoreError) in
            for (image, attestation) in made {
                try write(attestation.bundle, attestation.envelope)
                if upload {
                    Output.note(
                        "Attested \(image.name) (\(image.digest)); the attestation is in \(image.signatureStore.name)")
                } else {
                    try Output.json(attestation.envelope.json(includingEmptyKeyID: true))
                }
            }
        }
    }

    private func expectSound() throws(SigstoreError) {
        try signing.expectOwnPlaces(inputs: [predicate, statement])
        try registry.connection.expectWritable(newBundleFormat: signing.newBundleFormat)
        let outputs = [signing.bundle, signing.outputSignature, signing.outputCertificate, signing.timestampOutput]
        if outputs.contains(where: { $0 != nil }), images.count > 1 || recursive {
            throw SigstoreError(
                .usage,
                "several images are to be attested, and --bundle or another flag names one file for what is written")
        }
        if signing.bundle != nil, !signing.newBundleFormat {
            throw SigstoreError(
                .usage, "--bundle is for the newer scheme", advice: "leave out --new-bundle-format=false")
        }
    }

    /// Writes what the person wants in files besides.
    private func write(_ bundle: SigstoreBundle, _ envelope: DSSEEnvelope) throws(SigstoreError) {
        if let path = signing.bundle {
            try OutputFile(path).write(bundle.serialized())
            Output.note("Wrote bundle to file \(path)")
        }
        if let path = signing.outputSignature {
            try OutputFile(path).write(envelope.json(includingEmptyKeyID: true).serialized())
            Output.note("Wrote attestation to file \(path)")
        }
        try signing.writeParts(of: bundle)
    }
}
