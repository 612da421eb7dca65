import ArgumentParser
import InToto
import LocalSystem
import OCIRegistry
import SigstoreCrypto
import SigstoreVerification
import StrictJSON
import SwSignCore

struct Attest: SwSignCommand {
    static let configuration = CommandConfiguration(
        commandName: "attest", _superCommandName: SwSign.name,
        abstract: "Signs statements about container images: in-toto attestations.")

    @Argument(help: "The images: references, best with @DIGEST, or oci-layout:PATH[:TAG|@DIGEST].")
    var images: [String]
    @OptionGroup(title: "Signing") var signing: SigningOptions
    @OptionGroup var content: StatementOptions
    @Flag(help: "Remove attestations whose predicate has the same type.")
    var replace = false
    @Flag(name: .shortAndLong, help: "Attest every image of an index as well.")
    var recursive = false
    @Flag(inversion: .prefixedNo, help: "Put the attestation beside the image; otherwise print its envelope.")
    var upload = true
    @OptionGroup var storage: StorageOptions
    @OptionGroup(title: "Services and identity") var services: ServiceOptions
    @OptionGroup(title: "Registry") var registry: RegistryFlags
    @OptionGroup(title: "Global options") var global: GlobalOptions

    func run(_ context: Context) throws(SigstoreError) {
        try content.expectOne()
        if content.statement != nil, images.count > 1 || recursive {
            throw SigstoreError(.usage, "a statement is about its own subjects: --statement takes one image")
        }
        try expectSound()
        let input = content.input
        try BlobBatch.expectOneStandardInput([input.path] + services.inputs)
        let text = try input.contents(limit: Attester.predicateLimit)
        let now = try context.signingTime()
        let images = try storage.images(registry, context)
        let session = try services.session(
            signing, standardInputIsTaken: ([input.path] + services.inputs).contains("-"),
            entryPlace: signing.newBundleFormat ? .bundle : .legacyForm, context)
        let targets = ImageTargets(
            access: images, isRecursive: recursive, upload: upload, kind: .attestation,
            isLegacyForm: !signing.newBundleFormat,
            creationTime: storage.creationTime(now))
        let (upload, replace) = (upload, replace)
        let batch = ImageBatch(verb: "attested", context: context)
        let names = self.images
        try batch.forEach(names) { name throws(SigstoreError) in
            let found = try await targets.find(try await images.image(name, toBe: "attested"))
            // What is wrong with a predicate is wrong for all of them; a statement is about one image.
            if let first = found.first { _ = try self.statement(about: first.image, text, now) }
            // All of that type are to be replaced: that cannot be done if not all could be looked at.
            if upload, replace, signing.newBundleFormat {
                for (_, store) in found {
                    if let error = try await store.find(.attestation).unread.first { throw error }
                }
            }
            return found
        } begin: { () throws(SigstoreError) in
            let form: BlobSigner.Form = signing.newBundleFormat ? .bundle : .detached
            try BlobSigner(session).expectRecordable(statementsAs: form)
            try services.confirm(
                session, signing, attestations: true, unkept: signing.unkept(upload: upload), context)
            if upload {
                images.noteScheme("attestation", isLegacyForm: !signing.newBundleFormat, isQuiet: global.quiet)
            }
            return ImageSigner(
                signer: BlobSigner(session), scheme: signing.newBundleFormat ? .bundle : .layer, now: now)
        } _: { signer, found throws(SigstoreError) in
            let count = batch.counting(found.count, within: names)
            return try await concurrently(found) { (image, store) throws(SigstoreError) in
                let statement = try self.statement(about: image, text, now)
                let attestation = try await signer.attest(statement, in: store, upload: upload, replacing: replace)
                count()
                return (image: image, attestation: attestation)
            }
        } print: { name, made, isTabled throws(SigstoreError) in
            for (image, attestation) in made {
                try write(attestation.bundle, attestation.envelope, context)
                if !upload {
                    try context.output.json(attestation.envelope.json(includingEmptyKeyID: true))
                } else if !isTabled {
                    context.output.note(
                        "Attested \(image.name) (\(image.digest)); the attestation is in \(image.signatureStore.name)",
                        .success)
                }
            }
            return made.map { image, _ in
                "Attested \(image.digest)\(upload ? "; the attestation is in \(image.signatureStore.name)" : "")"
            }
        }
    }

    /// The statement to sign: the one that was given, if it is about the image, or one made of the predicate.
    private func statement(about image: Image, _ text: [UInt8], _ now: Int64) throws(SigstoreError) -> [UInt8] {
        do throws(SigstoreError) {
            if content.statement != nil {
                try Attester.check(statement: text, isAbout: image.digest)
                return text
            }
            let subject = ResourceDescriptor(
                name: image.repositoryName,
                digests: [(algorithm: image.digest.algorithm.rawValue, hex: image.digest.hex)])
            return try Attester.statement(
                about: subject, type: content.type, predicate: text, layout: signing.newBundleFormat ? .v1 : .v01,
                now: now)
        } catch { throw error.concerning(content.input.name) }
    }

    private func expectSound() throws(SigstoreError) {
        try signing.expectOwnPlaces(
            inputs: [content.predicate, content.statement] + services.inputs, printing: !upload)
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
    private func write(_ bundle: SigstoreBundle, _ envelope: DSSEEnvelope, _ context: Context) throws(SigstoreError) {
        if let path = signing.bundle {
            try context.output.write(bundle.serialized(), .json, to: path, "bundle")
        }
        if let path = signing.outputSignature {
            try context.output.write(
                envelope.json(includingEmptyKeyID: true).serialized(), .json, to: path, "attestation")
        }
        try signing.writeParts(of: bundle, context)
    }
}
