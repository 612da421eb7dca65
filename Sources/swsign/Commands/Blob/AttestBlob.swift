import ArgumentParser
import InToto
import LocalSystem
import SigstoreCrypto
import SigstoreVerification
import StrictJSON
import SwSignCore

struct AttestBlob: SwSignCommand {
    static let configuration = CommandConfiguration(
        commandName: "attest-blob", _superCommandName: SwSign.name,
        abstract: "Signs a statement about a file: an in-toto attestation.")

    @Argument(help: "The file that is attested; - is standard input. May be left out with --statement.")
    var file: String?
    @OptionGroup(title: "Signing") var signing: SigningOptions
    @OptionGroup(title: "Signing") var place: BundlePlaceOptions
    @OptionGroup var content: StatementOptions
    @Option(help: "The SHA-256 of the file in hexadecimal, for a file that is kept elsewhere.")
    var hash: String?
    @Option(name: .customLong("output-attestation"), help: "Write the statement that was signed to this file.")
    var outputAttestation: String?
    @OptionGroup(title: "Services and identity") var services: ServiceOptions
    @OptionGroup(title: "Global options") var global: GlobalOptions

    func run(_ context: Context) throws(SigstoreError) {
        try place.expectSound(with: signing, files: 1, areMany: false)
        try content.expectOne()
        guard file != nil || content.statement != nil else {
            throw SigstoreError(.usage, "the file that is attested is not named")
        }
        let inputs = [file, content.predicate, content.statement] + services.inputs
        try BlobBatch.expectOneStandardInput(inputs.compactMap { $0 })
        let hasBundle = signing.bundle != nil || place.outputDirectory != nil
        try signing.expectOwnPlaces(
            [outputAttestation], inputs: inputs, files: [file],
            printing: !hasBundle && signing.outputSignature == nil)
        if place.outputDirectory != nil {
            guard let file else {
                throw SigstoreError(.usage, "--output-directory needs the file to be named")
            }
            try place.expectPlace(for: InputFile(file))
            if !signing.yes, let standing = try place.standingBundle(of: InputFile(file)) {
                throw place.refusal(toReplace: standing)
            }
        }
        let form: BlobSigner.Form = hasBundle && signing.newBundleFormat ? .bundle : .detached
        let statement = try attestedStatement(form == .bundle ? .v1 : .v01, context)
        let session = try services.session(
            signing, standardInputIsTaken: inputs.contains("-"),
            entryPlace: !signing.newBundleFormat && hasBundle ? .legacyForm : .bundle, context)
        try BlobSigner(session).expectRecordable(statementsAs: form)
        try services.confirm(
            session, signing, attestations: true, unkept: hasBundle ? nil : "give --bundle FILE", context)
        let signed = try waiting { () throws(SigstoreError) in
            try await BlobSigner(session).attest(statement, form: form)
        }
        try waiting { () throws(SigstoreError) in
            try await session.deliver(signed) { bundle throws(SigstoreError) in
                guard case .dsse(let envelope) = bundle.content else {
                    throw SigstoreError(.cryptographyFailed, "no envelope was made")
                }
                let detached = envelope.json(includingEmptyKeyID: true).serialized()
                if let path = outputAttestation {
                    try context.output.write(statement, .json, to: path, "statement")
                }
                if let path = signing.outputSignature {
                    try context.output.write(detached, .json, to: path, "attestation")
                } else if !hasBundle {
                    try context.output.bytes(detached + [0x0a])
                }
                try signing.writeParts(of: bundle, context)
                // The bundle comes last: once it stands in its directory, the same command does not replace it.
                if hasBundle {
                    let written =
                        signing.newBundleFormat
                        ? bundle.serialized() : try LegacySignature(bundle).blobBundle(signature: detached)
                    if let path = signing.bundle {
                        try context.output.write(written, .json, to: path, "bundle")
                    } else {
                        guard let file else {
                            throw SigstoreError(.usage, "--output-directory needs the file to be named")
                        }
                        try place.write(written, for: InputFile(file), replacing: signing.yes, context)
                    }
                }
            }
        }
    }

    /// The statement to sign, made from the predicate or given whole.
    private func attestedStatement(_ layout: Statement.Layout, _ context: Context) throws(SigstoreError) -> [UInt8] {
        var digest: Digest?
        if let hash {
            digest = try Digest(hex: hash, .sha256)
        } else if let file {
            let input = InputFile(file)
            context.progress.begin(input.size, of: .bytes)
            let read = try input.counting(context.progress.advance).read(digests: [.sha256], schemes: [])
            digest = read.digest(.sha256)
        }
        let input = content.input
        let text = try input.contents(limit: Attester.predicateLimit)
        guard content.statement == nil else {
            do throws(SigstoreError) { try Attester.check(statement: text, isAbout: digest) } catch {
                throw error.concerning(input.name)
            }
            return text
        }
        guard let digest, let file else { throw SigstoreError(.usage, "the file is not named") }
        let subject = ResourceDescriptor(
            name: InputFile(file).baseName, digests: [(algorithm: "sha256", hex: digest.hex)])
        do throws(SigstoreError) {
            return try Attester.statement(about: subject, type: content.type, predicate: text, layout: layout)
        } catch { throw error.code == .malformedPredicate ? error.concerning(input.name) : error }
    }
}

extension AttestBlob: FlagReader {
    mutating func take(_ given: inout GivenFlags) {
        file = given.name()
        signing = SigningOptions(&given)
        place = BundlePlaceOptions(&given)
        content = StatementOptions(&given)
        hash = given.value("hash")
        outputAttestation = given.value("output-attestation")
        services = ServiceOptions(&given)
        global = GlobalOptions(&given)
    }
}
